"""Which relations a connection has touched, and marking and settling them.

Every statement passes :meth:`Writes.run` on its way to the driver. In a transaction a write makes relations dirty,
nothing more; before COMMIT they are marked, after it they are settled. In autocommit one statement is all of it.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from ormcache import reasons
from ormcache.catalog import ANYTHING, EVERYTHING, SCHEMA, is_pseudo
from ormcache.database import ANYWHERE, Database
from ormcache.marking import Marking, slots_of
from ormcache.planning import Plan
from ormcache.sql import Effect, Statement, analyse
from ormcache.sql.vocabulary import REPEATABLE
from ormcache.state import State
from ormcache.stores.base import StoreUnavailable

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

T = TypeVar("T")

#: Obstacles that may be gone by the next statement
_MAY_CHANGE = frozenset({reasons.REPLICA, reasons.UNIDENTIFIED})

#: Where PostgreSQL and SQLite put temporary objects
_TEMPORARY_SCHEMAS = frozenset({"pg_temp", "temp"})


class Writes:
    """The writes of one connection. The thread that owns the connection owns this."""

    def __init__(self, connection: BaseDatabaseWrapper, state: State) -> None:
        self._connection = weakref.proxy(connection)
        self._state = state
        self._marking = Marking(connection, lambda: self.in_old_snapshot, lambda: self._standpoints)
        #: of the statements that have written what is not settled yet
        self._standpoints = {ANYWHERE}
        #: relations that the open transaction has written
        self.dirty: frozenset[str] = frozenset()
        #: has a statement run since the transaction began? (SQLite: then it has its snapshot)
        self.ran = False
        #: SQLite: cursors with a SELECT that may be unfinished, each of which keeps the snapshot it began with
        self._open_cursors: weakref.WeakSet[Any] = weakref.WeakSet()
        self._began = False  # by a BEGIN that Django has not sent
        self._unsure = False  # MySQL may have ended what began that way, by a statement that commits
        self._found_open = False  # begun by something that cannot be read
        self._manual = False  # by SET autocommit = 0
        self._reading = False  # the statement under way is the cache's own miss
        self._renews = False  # everything is to be retired once the connection is made

    # State ------------------------------------------------------------------------------

    @property
    def in_transaction(self) -> bool:
        connection = self._connection
        return connection.in_atomic_block or not connection.autocommit or self._began

    @property
    def in_old_snapshot(self) -> bool:
        """May what this transaction is shown be older than what others have committed?"""
        return self.in_transaction and (self._state.vendor == "sqlite" or self.keeps_snapshot)

    @property
    def keeps_snapshot(self) -> bool:
        """PostgreSQL and MySQL: does the open transaction see what it began with, whatever others commit?"""
        session = self._state.session
        # In autocommit BEGIN is the program's; else psycopg sends its own, with its own level if it has one.
        level = getattr(self._connection.connection, "isolation_level", None)
        if level is None or self._state.vendor != "postgresql" or self._connection.autocommit:
            return session.snapshots()
        # psycopg 3 has an enum; psycopg 2 has numbers, 1 and 4 for READ COMMITTED and READ UNCOMMITTED
        per_statement = level.name.endswith("COMMITTED") if hasattr(level, "name") else level in (1, 4)
        return session.serial or not per_statement

    @property
    def open_cursors(self) -> bool:
        return bool(self._open_cursors)

    def forget(self) -> None:
        """There is no transaction any more, and nothing of it was committed."""
        self._forget_schema()
        self._standpoints = {ANYWHERE}
        self.dirty = frozenset()
        self.ran = False
        self._began = False
        self._unsure = self._found_open = False
        self._manual = False
        self._open_cursors.clear()

    def _ended(self, *, committed: bool) -> None:
        self._forget_schema()
        self.dirty = frozenset()
        self.ran = False
        self._began = self._manual
        self._unsure = self._found_open = False
        undone = not committed and self._state.vendor == "postgresql"
        self._state.session.ended(undone=undone)

    def _forget_schema(self) -> None:
        """The catalog may have been read inside the transaction, whose changes are undone, or before them."""
        if SCHEMA in self.dirty and self._state.database is not None:
            self._state.database.forget_catalog()

    # Statements -----------------------------------------------------------------------------

    def run(self, execute: Callable[[], T], sql: Any, params: Any, cursor: Any) -> T:
        """Run one statement; whatever it may have written is settled when it is visible to others."""
        state = self._state
        if state.is_connecting:
            return self._run_while_connecting(execute, sql, params)
        database = state.known()
        if database is None:
            return self._run_unknown(execute, sql) if state.obstacle in _MAY_CHANGE else execute()
        if not database.has_catalog:
            # A broken transaction cannot read the catalog, and has to get to its ROLLBACK TO SAVEPOINT.
            statement = analyse(self._as_text(sql), state.vendor)
            if statement.effect is Effect.TRANSACTION:
                return self._run_transaction_control(execute, statement)
        plan = self._plan(database, sql, cursor)
        if plan.quiet and state.vendor != "sqlite" and not plan.statement.commits and not state.session.hides:
            self.ran = True
            return execute()
        if plan.effect is Effect.TRANSACTION:
            return self._run_transaction_control(execute, plan.statement)
        self.ran = True
        written = self._written(plan)
        if plan.statement.commits and self.in_transaction:
            written |= self.dirty  # MySQL commits what is open before it runs this.
        if not written:
            answer = execute()
        elif self.in_transaction and not plan.statement.commits:
            self.dirty |= written
            answer = self._marking.around(database, execute, written) if self._unsure else execute()
        else:
            if state.vendor == "sqlite" and "returning" in plan.statement.names and cursor is not None:
                # In autocommit SQLite commits such a statement when its rows are fetched, not when it runs.
                execute = partial(_run_and_fetch, execute, cursor)
            answer = self._marking.around(database, execute, written, statement=True)
        self._unsure = self._unsure or (self._began and plan.statement.commits)
        self._follow(database, plan, params, cursor)
        if plan.effect is Effect.OPAQUE:
            self._look_at_transaction(written)
        return answer

    def touch(self, call: Callable[[], T], *, commits: bool = False, sets: bool = True) -> T:
        """Run something that could change any row and has no text: a stored procedure, a driver's COPY.

        ``commits``: it commits an open transaction first. ``sets``: it could also set anything in the session.
        """
        database = self._state.known()
        if database is None:
            return call()
        self.ran = True
        if sets:
            self._state.session.unfollowed()
        if self.in_transaction and not commits:
            self.dirty |= ANYTHING
            answer = self._marking.around(database, call, ANYTHING) if self._unsure else call()
        else:
            answer = self._marking.around(database, call, self.dirty | ANYTHING)
        self._look_at_transaction(ANYTHING)
        return answer

    def _look_at_transaction(self, written: frozenset[str]) -> None:
        """Something that cannot be read has run and was settled: it may have begun a transaction, or ended that one."""
        if not self.in_transaction and _has_open_transaction(self._connection.connection):
            # What it has written is still to come. Any further such thing is settled for itself: it may commit.
            self._began = self._unsure = self._found_open = True
            self.dirty |= written
        elif self._found_open and not _has_open_transaction(self._connection.connection):
            self._ended(committed=True)

    def begin(self, sql: Any) -> Callable[[BaseException | None], None]:
        """For a statement that runs for as long as a context manager is open: what :meth:`run` does before it.

        Returns what is to be called at its end, with the exception that ended it.
        """
        database = self._state.known()
        if database is None:
            return lambda error: None
        plan = self._plan(database, sql)
        self.ran = True
        written = self._written(plan)
        if not written:
            return lambda error: None
        if self.in_transaction:
            self.dirty |= written
            return lambda error: None
        marked = self._marking.mark(database, written)

        def finish(error: BaseException | None) -> None:
            if error is None or self._marking.is_decided():
                self._marking.settle(database, marked, asks_again=True)

        return finish

    def invalidate(self, relations: frozenset[str]) -> None:
        """Retire what depends on these now, and again when the open transaction ends. Raises StoreUnavailable."""
        database = self._state.known()
        if database is None:
            return
        relations = database.closure(relations) | (relations & ANYTHING)
        if self.in_transaction:
            self.dirty |= relations
        try:
            database.stamps.renew(slots_of(database, relations))
        except StoreUnavailable:
            database.pending.add(relations)
            raise
        finally:
            if SCHEMA in relations:
                database.forget_catalog()
        self._marking.tell(relations)

    def renew_all(self) -> None:
        """This connection leads to another database than before, whose rows have come past the cache.

        Done at once where it is open already, else when it is.
        """
        self._renews = self._connection.connection is None
        if not self._renews:
            self._renew_all()

    def _renew_all(self) -> None:
        try:
            self.invalidate(EVERYTHING)
        except StoreUnavailable:
            pass  # it is told when it answers

    def reading(self, call: Callable[[], T]) -> T:
        """Run the query of a miss: its cursor is closed by the time it returns."""
        self._reading = True
        try:
            return call()
        finally:
            self._reading = False

    def _plan(self, database: Database, sql: Any, cursor: Any = None) -> Plan:
        if type(sql) is not str:
            sql = self._as_text(sql)
        if not database.has_catalog:
            # What this transaction would be shown of the schema can be older than the stamps.
            if self.in_old_snapshot or not database.has_loaded(self._connection.connection):
                return database.blind_plan(sql)
        standpoint = self._state.standpoint(cursor)
        if standpoint not in self._standpoints:
            self._standpoints = {standpoint, *self._standpoints} if self.dirty else {standpoint}
        return database.plan(sql, standpoint)[0]

    def _as_text(self, sql: Any) -> str:
        """The text of whatever the drivers take for a query: str, bytes, psycopg's composed SQL."""
        if isinstance(sql, str):
            return str(sql)
        if isinstance(sql, (bytes, bytearray)):
            return bytes(sql).decode("utf-8", "replace")
        compose = getattr(sql, "as_string", None)
        if compose is None:
            return "?"  # no SQL at all: not understood
        return str(compose(self._connection.connection))

    def _written(self, plan: Plan) -> frozenset[str]:
        session, statement = self._state.session, plan.statement
        if session.hides:
            reads = plan.effect in (Effect.READ, Effect.HARMLESS, Effect.SESSION)
            if not (reads and statement.calls <= REPEATABLE[self._state.vendor]):
                return ANYTHING
        if plan.unknown and plan.unknown <= session.temporary:
            return frozenset(relation for relation in plan.written if not is_pseudo(relation))
        return plan.written

    def _follow(self, database: Database, plan: Plan, params: Any, cursor: Any) -> None:
        """What a statement that has run means for the session and for later reads."""
        statement, session = plan.statement, self._state.session
        if statement.session is not None:
            session.change(statement.session, params, in_transaction=self.in_transaction)
        if statement.creates is not None:
            session.temporary |= {statement.creates}
        if plan.effect is Effect.SCHEMA and not statement.names.isdisjoint(session.temporary | _TEMPORARY_SCHEMAS):
            session.hides = True  # a trigger of a temporary table, a temporary function
        if plan.unfollowed:
            session.unfollowed()
        if SCHEMA in plan.written and not self.in_transaction:
            database.forget_catalog()
        if self._state.vendor == "sqlite" and not self._reading and cursor is not None:
            if plan.effect is not Effect.WRITE or "returning" in statement.names:
                self._open_cursors.add(cursor)

    def closed(self, cursor: Any) -> None:
        self._open_cursors.discard(cursor)

    def _run_while_connecting(self, execute: Callable[[], T], sql: Any, params: Any) -> T:
        """What Django and ``connection_created`` receivers set; the database behind is not known yet."""
        answer = execute()
        if self._state.vendor in ("postgresql", "mysql", "sqlite"):
            statement = analyse(self._as_text(sql), self._state.vendor)
            if statement.session is not None:
                self._state.session.change(statement.session, params, in_transaction=False)
            elif statement.effect not in (Effect.READ, Effect.HARMLESS, Effect.TRANSACTION):
                self.dirty |= EVERYTHING
        return answer

    def connected(self) -> None:
        """What was written while connecting is settled now that the database is known."""
        if self._renews:
            self._renews = False
            self._renew_all()
        if self.dirty and not self.in_transaction and self._state.database is not None:
            dirty, self.dirty = self.dirty, frozenset()
            self._marking.around(self._state.database, lambda: None, dirty)

    def _run_unknown(self, execute: Callable[[], T], sql: Any) -> T:
        """Ask again who the server is once it has taken a write.

        A replica that does so has been promoted since this connection was made; one that did not tell may do so now.
        """
        answer = execute()
        effect = analyse(self._as_text(sql), self._state.vendor).effect
        if effect in (Effect.WRITE, Effect.SCHEMA, Effect.OPAQUE):
            self._state.learn()
            if self._state.database is not None:
                self.dirty |= ANYTHING
                if not self.in_transaction:
                    self.connected()
        return answer

    # Transactions -------------------------------------------------------------------------

    def _run_transaction_control(self, execute: Callable[[], T], statement: Statement) -> T:
        session, vendor = self._state.session, self._state.vendor
        word, serial = statement.transaction, session.serial
        if word == "commit" or (word == "autocommit on" and self.in_transaction):
            answer = self.commit(execute)
        elif word == "begin" and statement.commits and self.in_transaction:
            answer = self.commit(execute)  # MySQL commits what is open
        elif word == "release" and vendor == "sqlite" and self.dirty and not self._connection.in_atomic_block:
            answer = self._marked(execute, self.dirty)  # SQLite commits if it is the outermost one.
        else:
            answer = execute()
        if word == "begin":
            self._began = True
            self._unsure = self._found_open = False
            session.serial = session.serial or statement.serial
            self.ran = statement.serial
        elif word == "rollback":
            self._ended(committed=False)
        elif word == "prepare":
            self._ended(committed=True)
        elif word == "savepoint" and statement.savepoint is not None:
            session.savepoint(statement.savepoint)
            if vendor == "sqlite" and not self.in_transaction:
                self._began = True
        elif word == "rollback to" and statement.savepoint is not None:
            if vendor == "postgresql":  # MySQL does not take back what was set
                session.rolled_back_to(statement.savepoint)
        elif word == "release" and vendor == "sqlite" and not self._connection.connection.in_transaction:
            self._ended(committed=True)
        elif word in ("autocommit off", "autocommit on"):
            self._manual = self._began = word == "autocommit off"
        if statement.chains:
            self._began = True
            session.serial = serial
        return answer

    def commit(self, commit: Callable[[], T]) -> T:
        """Run COMMIT between marking and settling what the transaction has written."""
        answer = self._marked(commit, self.dirty)
        self._ended(committed=True)
        return answer

    def _marked(self, call: Callable[[], T], relations: frozenset[str]) -> T:
        """Run what makes the changes to these relations visible, if there are any."""
        database = self._state.known() if relations else None
        return call() if database is None else self._marking.around(database, call, relations)

    def rollback(self, rollback: Callable[[], T]) -> T:
        """Run ROLLBACK. Nothing was told to the store, so there is nothing to take back."""
        try:
            return rollback()
        finally:
            self._ended(committed=False)


def _has_open_transaction(connection: Any) -> bool:
    """As the driver sees it; False where the driver does not tell."""
    if hasattr(connection, "info"):  # psycopg 3 and 2
        return bool(connection.info.transaction_status != _IDLE)
    if hasattr(connection, "in_transaction"):  # sqlite3
        return bool(connection.in_transaction)
    return bool(getattr(connection, "server_status", 0) & _IN_TRANSACTION)  # PyMySQL


_IDLE = 0  # libpq's PQTRANS_IDLE
_IN_TRANSACTION = 1  # MySQL's SERVER_STATUS_IN_TRANS


def _run_and_fetch(execute: Callable[[], Any], cursor: Any) -> Any:
    execute()
    return cursor.fetch_now()
