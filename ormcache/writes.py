"""Which relations a connection has touched, and marking and settling them.

Every statement passes :meth:`Writes.run` on its way to the driver. In a transaction a write makes relations dirty,
nothing more; before COMMIT they are marked, after it they are settled. In autocommit one statement is all of it.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, TypeVar

from ormcache import reasons
from ormcache.catalog import ANYTHING, ANYWHERE, EPOCH, EVERYTHING, SCHEMA, is_pseudo
from ormcache.database import LONGEST_TEXT, Database
from ormcache.fetched import Fetched
from ormcache.marking import Marking
from ormcache.planning import Plan, runs_query
from ormcache.sql import Effect, SessionChange, analyse, collapsed
from ormcache.sql.vocabulary import REPEATABLE
from ormcache.state import State
from ormcache.stores.base import StoreUnavailable
from ormcache.transaction import Transaction
from ormcache.transaction_control import TransactionControl

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

T = TypeVar("T")

#: Obstacles that may be gone by the next statement
_MAY_CHANGE = frozenset({reasons.REPLICA, reasons.UNIDENTIFIED})

#: Words of statements that lead a session to another database
_LEADING_ELSEWHERE = frozenset({"use", "attach", "detach"})

#: What is told as the cause of writes that are no statement
_INVALIDATE, _UNREAD = "ormcache.invalidate()", "a stored procedure, or COPY"

#: Where PostgreSQL and SQLite put temporary objects
_TEMPORARY_SCHEMAS = frozenset({"pg_temp", "temp"})


class Writes:
    """The writes of one connection. The thread that owns the connection owns this."""

    def __init__(self, connection: BaseDatabaseWrapper, state: State) -> None:
        self._connection = weakref.proxy(connection)
        self._state = state
        self.transaction = Transaction(connection, state)
        self._marking = Marking(connection, self.transaction)
        self.control = TransactionControl(connection, state, self.transaction, self._marking)
        self._reading = False  # the statement under way is the cache's own miss
        self._renews = False  # everything is to be retired once the connection is made

    # Statements -----------------------------------------------------------------------------

    def run(self, execute: Callable[[], T], sql: Any, params: Any, cursor: Any) -> T:
        """Run one statement; whatever it may have written is settled when it is visible to others."""
        state, transaction = self._state, self.transaction
        if state.is_connecting:
            return self._run_while_connecting(execute, sql, params)
        database = state.known()
        if database is None:
            self._pass_unseen(sql)
            return self._run_unknown(execute, sql) if state.obstacle in _MAY_CHANGE else execute()
        if not database.has_catalog:
            # A broken transaction cannot read the catalog, and has to get to its ROLLBACK TO SAVEPOINT.
            statement = analyse(self._as_text(sql), state.vendor)
            if statement.effect is Effect.TRANSACTION:
                return self.control.run(execute, statement)
        if type(sql) is not str:
            sql = self._as_text(sql)
        plan = self._plan(database, sql, cursor)
        if plan.kept_out:
            state.figures.wrote_past(plan.kept_out, sql)
        if state.vendor != "sqlite" and not plan.statement.commits and not state.session.hides:
            if plan.quiet:
                transaction.ran = True
                return execute()
            if plan.plain and not state.elsewhere and not transaction.unsure:
                transaction.ran = True
                transaction.causes.setdefault(plan.written, sql)
                if not transaction.is_open:
                    return self._marking.around(database, execute, plan.written, statement=True)
                transaction.dirty |= plan.written
                return execute()
        if plan.effect is Effect.TRANSACTION:
            return self.control.run(execute, plan.statement)
        transaction.ran = True
        written = self._written(plan)
        if plan.statement.commits and transaction.is_open:
            written |= transaction.dirty  # MySQL commits what is open before it runs this.
        if plan.statement.session is not None:
            execute = partial(self._set, execute, plan.statement.session, params)
        if written:
            transaction.causes.setdefault(written, sql)
        if not written:
            answer = execute()
        elif transaction.is_open and not plan.statement.commits:
            transaction.dirty |= written
            if plan.effect is Effect.OPAQUE:
                # A COMMIT may be among what it does.
                answer = self._marking.around(database, execute, transaction.dirty)
            elif transaction.may_be_over(sql):
                answer = self._marking.around(database, execute, written)
            else:
                answer = execute()
        else:
            if state.vendor == "sqlite" and "returning" in plan.statement.names and cursor is not None:
                # In autocommit SQLite commits such a statement when its rows are fetched, not when it runs.
                execute = partial(_run_and_fetch, execute, cursor)
            answer = self._marking.around(database, execute, written, statement=True)
        if transaction.began and (plan.statement.commits or plan.effect is Effect.OPAQUE):
            transaction.unsure = True
        self._follow(database, plan, params, cursor)
        if plan.effect is Effect.OPAQUE:
            transaction.look(written)
        return answer

    def _set(self, execute: Callable[[], T], change: SessionChange, params: Any) -> T:
        """Run a statement that sets something. One that fails can have set something all the same."""
        broken = self.transaction.is_broken  # then it does not run at all
        try:
            return execute()
        except BaseException:
            if not broken:
                self._state.session.failed(change, params)
            raise

    def _pass_unseen(self, sql: Any) -> None:
        """Nothing is followed at the moment. Settings can change while the session is open, which tests do."""
        state, transaction = self._state, self.transaction
        unseen = transaction.is_open and not transaction.dirty >= ANYTHING
        if unseen or not state.unseen:
            text, _ = collapsed(self._as_text(sql))
            sets, writes = (True, True) if len(text) > LONGEST_TEXT else _may_do(text, state.vendor)
            state.unseen = state.unseen or sets
            if unseen and writes:
                # What is not committed must not be kept, should it be read when things are followed again.
                transaction.dirty |= ANYTHING
        transaction.ran = True

    def touch(self, call: Callable[[], T], *, commits: bool = False, sets: bool = True) -> T:
        """Run something that could change any row and has no text: a stored procedure, a driver's COPY.

        ``commits``: it commits an open transaction first. ``sets``: it could also set anything in the session.
        """
        database = self._state.known()
        if database is None:
            self._state.unseen = self._state.unseen or sets
            if self.transaction.is_open:
                self.transaction.dirty |= ANYTHING
            return call()
        self.transaction.ran = True
        if sets:
            self._state.session.unfollowed()
        self.transaction.causes.setdefault(ANYTHING, _UNREAD)
        relations = self.transaction.dirty | ANYTHING
        if self.transaction.is_open and not commits:
            self.transaction.dirty = relations
            # What could set anything could also commit.
            if sets or self.transaction.may_be_over():
                answer = self._marking.around(database, call, relations)
            else:
                answer = call()
            self.transaction.unsure = self.transaction.unsure or (self.transaction.began and sets)
        else:
            answer = self._marking.around(database, call, relations)
        self.transaction.look(ANYTHING)
        return answer

    def begin(self, sql: Any, cursor: Any) -> Callable[[BaseException | None], None]:
        """For a statement that runs for as long as a context manager is open: what :meth:`run` does before it.

        Returns what is to be called at its end, with the exception that ended it.
        """
        database = self._state.known()
        if database is None:
            self._pass_unseen(sql)
            return lambda error: None
        sql = self._as_text(sql)
        plan = self._plan(database, sql, cursor)
        if plan.kept_out:
            self._state.figures.wrote_past(plan.kept_out, sql)
        self.transaction.ran = True
        written = self._written(plan)
        if not written:
            return lambda error: None
        self.transaction.causes.setdefault(written, sql)
        if self.transaction.is_open:
            self.transaction.dirty |= written
            return lambda error: None
        marked = self._marking.mark(database, written)

        def finish(error: BaseException | None) -> None:
            if error is None or self._marking.is_decided():
                self._marking.settle(database, marked, asks_again=True)

        return finish

    def reached(self, relations: frozenset[str]) -> frozenset[str]:
        """What :meth:`invalidate` retires along with these."""
        database = self._state.known()
        return frozenset() if database is None else database.closure(relations) | (relations & ANYTHING)

    def invalidate(self, relations: frozenset[str]) -> None:
        """Retire what depends on these now, and again when the open transaction ends. Raises StoreUnavailable."""
        database = self._state.known()
        if database is None:
            return
        relations = self.reached(relations)
        self.transaction.planned(database.catalog, ANYWHERE)
        if self.transaction.is_open:
            self.transaction.dirty |= relations
            self.transaction.causes.setdefault(relations, _INVALIDATE)
        began, told = time.perf_counter(), False
        try:
            database.stamps.renew(database.slots_of(relations))
            told = True
        except StoreUnavailable:
            database.pending.add(relations)
            raise
        finally:
            if SCHEMA in relations:
                database.forget_catalog()
            seconds = time.perf_counter() - began
            self._marking.tell(relations, {relations: _INVALIDATE}, seconds, marked=False, told=told)

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

    def _plan(self, database: Database, sql: str, cursor: Any = None) -> Plan:
        standpoint = self._state.standpoint(cursor)
        if not database.has_catalog:
            plan = database.provisional_plan(sql, standpoint)
            if plan is not None:
                self.transaction.planned(plan.catalog, standpoint)
                return plan
            # What this transaction would be shown of the schema can be older than the stamps.
            if self.transaction.in_old_snapshot or not database.has_loaded(self._connection):
                self.transaction.planned(None, ANYWHERE)
                return database.blind_plan(sql)
        plan = database.plan(sql, standpoint)[0]
        self.transaction.planned(plan.catalog, standpoint)
        return plan

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
        written = plan.written
        if plan.unknown and plan.unknown <= session.temporary:
            written = frozenset(relation for relation in written if not is_pseudo(relation))
        elsewhere = self._state.elsewhere
        if written and elsewhere:
            # What is written but not known, and what could be anything, could be anywhere.
            unsure = EPOCH in written
            written = written.union(
                *(there for word, there in elsewhere.items() if unsure or not word or word in statement.names)
            )
        return written

    def _follow(self, database: Database, plan: Plan, params: Any, cursor: Any) -> None:
        """What a statement that has run means for the session and for later reads."""
        statement, session = plan.statement, self._state.session
        if plan.effect is Effect.SESSION and not statement.names.isdisjoint(_LEADING_ELSEWHERE):
            self._state.look_elsewhere()
        if statement.session is not None:
            session.change(statement.session, params, in_transaction=self.transaction.is_open)
        if statement.creates is not None:
            session.temporary |= {statement.creates}
        if plan.effect is Effect.SCHEMA and not statement.names.isdisjoint(session.temporary | _TEMPORARY_SCHEMAS):
            session.hides = True  # a trigger of a temporary table, a temporary function
            session.unfollowed(reasons.TEMPORARY)
        if plan.unfollowed:
            session.unfollowed()
        if SCHEMA in plan.written and not self.transaction.is_open:
            database.forget_catalog()
        if self._state.vendor == "sqlite" and not self._reading and cursor is not None:
            if plan.effect is not Effect.WRITE or "returning" in statement.names:
                # The driver's own: sqlite3's execute() returns it, and a loop over that keeps no wrapper.
                self.transaction.open_cursors.add(_innermost(cursor))

    def closed(self, cursor: Any) -> None:
        self.transaction.open_cursors.discard(_innermost(cursor))

    def _run_while_connecting(self, execute: Callable[[], T], sql: Any, params: Any) -> T:
        """What Django and ``connection_created`` receivers set; the database behind is not known yet."""
        answer = execute()
        statement = analyse(self._as_text(sql), self._state.vendor)
        if statement.session is not None:
            self._state.session.change(statement.session, params, in_transaction=False)
        elif statement.effect not in (Effect.READ, Effect.HARMLESS, Effect.TRANSACTION):
            self.transaction.dirty |= EVERYTHING
        return answer

    def connected(self) -> None:
        """What was written while connecting is settled now that the database is known."""
        if self._renews:
            self._renews = False
            self._renew_all()
        if self.transaction.dirty and not self.transaction.is_open and self._state.database is not None:
            dirty, self.transaction.dirty = self.transaction.dirty, frozenset()
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
                self.transaction.dirty |= ANYTHING
                if not self.transaction.is_open:
                    self.connected()
        return answer


@lru_cache(maxsize=1024)  # for the process; a text means the same to every thread
def _may_do(sql: str, vendor: str) -> tuple[bool, bool]:
    """Could a statement change the session, and could it change rows or the schema?"""
    statement = analyse(sql, vendor)
    effect, calls_nothing = statement.effect, statement.calls <= REPEATABLE[vendor]
    if vendor == "sqlite" and effect is Effect.SCHEMA and not runs_query(sql):
        calls_nothing = True  # CREATE TABLE a (…): what looks like a call is the table
    sets_nothing = (
        effect in (Effect.READ, Effect.WRITE, Effect.SCHEMA, Effect.TRANSACTION, Effect.HARMLESS)
        and statement.session is None
        and statement.creates is None
        and calls_nothing
    )
    writes_nothing = effect in (Effect.READ, Effect.HARMLESS, Effect.SESSION, Effect.TRANSACTION) and calls_nothing
    return not sets_nothing, not writes_nothing


def _innermost(cursor: Any) -> Any:
    """The driver's cursor inside of a wrapper."""
    inner = cursor.cursor
    return inner.cursor if isinstance(inner, Fetched) else inner


def _run_and_fetch(execute: Callable[[], Any], cursor: Any) -> Any:
    execute()
    return cursor.fetch_now()
