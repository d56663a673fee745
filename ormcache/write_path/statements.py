"""Every statement on its way to the driver: what it may write is invalidated once others can see it.

In a transaction a write makes its relations dirty, and nothing more; COMMIT is run between marking and settling them
(:mod:`ormcache.write_path.transaction_control`). In autocommit the statement itself is.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from django.db import Error

from ormcache import reasons
from ormcache.cache.tracking import current_tracker
from ormcache.catalog import ALL_ROWS_AND_SCHEMA, EPOCH
from ormcache.database.database import Database
from ormcache.database.plans import Plan
from ormcache.database.row_plans import RowPlans
from ormcache.database.row_writes import RowWriter
from ormcache.session.state import ConnectionState
from ormcache.session.tracker import unwrapped
from ormcache.session.transaction import ANY_ROWS, Transaction, WrittenRows
from ormcache.session.values import Several
from ormcache.sql import Effect
from ormcache.utils import drivers
from ormcache.write_path.buffered_cursor import BufferedCursor
from ormcache.write_path.connecting import WritesWhileConnecting
from ormcache.write_path.consequences import Consequences
from ormcache.write_path.driver_calls import DriverCalls
from ormcache.write_path.explicit_invalidation import ExplicitInvalidation
from ormcache.write_path.invalidation import Announces, Invalidator
from ormcache.write_path.planning import StatementPlanner, may_commit
from ormcache.write_path.transaction_control import TransactionControl
from ormcache.write_path.untracked import MAY_PASS, UntrackedStatements

if TYPE_CHECKING:
    from ormcache.connection.protocol import CachedConnection

T = TypeVar("T")


class Writes:
    """The writes of one connection. The thread that owns the connection owns this."""

    def __init__(self, connection: CachedConnection, state: ConnectionState) -> None:
        self._connection: CachedConnection = weakref.proxy(connection)
        self._state = state
        self.transaction = Transaction(connection, state)
        state.watch_session(self._end_session)
        self._invalidator = Invalidator(connection, self.transaction, state.observer)
        self._accounts = self._invalidator.accounts
        self._planner = StatementPlanner(connection, state, self.transaction)
        self._consequences = Consequences(connection, state, self.transaction, self._planner)
        self.control = TransactionControl(connection, state, self.transaction, self._invalidator)
        self.explicit = ExplicitInvalidation(state, self.transaction)
        self.connecting = WritesWhileConnecting(
            connection, state, self.transaction, self._planner, self._invalidator, self.explicit
        )
        self._untracked = UntrackedStatements(state, self.transaction, self._planner, self.connecting)
        self.driver_calls = DriverCalls(
            state, self.transaction, self._planner, self._consequences, self._invalidator, self._untracked
        )
        #: is the statement under way the query of a miss?
        self.is_running_miss = False

    @property
    def has_unfinished(self) -> bool:
        """Whether a statement may be going on after the driver has returned, or may have results to come."""
        return self._invalidator.unfinished is not None

    # Statements -----------------------------------------------------------------------------

    def run(self, execute: Callable[[], T], sql: Any, params: Any, cursor: Any) -> T:
        """Run one statement, by ``execute``, and invalidate what it may have written once others can see it.

        ``sql``: whatever the driver takes. ``params``: a Several where they are not one set. Returns what ``execute``
        returns, and raises what it raises and WriteRefused.
        """
        state, transaction = self._state, self.transaction

        # A connection that is being made, or leads to no database that is known
        if state.is_connecting:
            return self.connecting.run(execute, sql, params)
        database = state.known()
        if state.last_hit is not None and state.last_hit.query is not None:
            self._consequences.run_last_hit(sql)
        if self._invalidator.unfinished is not None:
            execute = partial(self._invalidator.run_next, execute)
        if database is None:
            return self._untracked.run(execute, sql)

        # What it may do
        if type(sql) is not str:
            sql = self._planner.to_str(sql)
        plan = self._planner.plan(database, sql, cursor)
        if plan.excluded_writes:
            state.observer.excluded_write(plan.excluded_writes, sql)
            transaction.record_excluded(plan.excluded_writes)
        excluded = self._excluded_at_once(plan, sql) if transaction.excluded else None
        if excluded and state.vendor != "sqlite":
            execute = partial(self._invalidator.run_excluded, database, execute, excluded)
        if current_tracker() is not None:
            self._reject_tracking(plan, sql)

        # Most statements, for which little has to be asked: reads, and writes of rows alone
        if (
            state.vendor != "sqlite"
            and not transaction.is_begun
            and not plan.statement.commits_implicitly
            and not state.session.is_opaque
        ):
            if plan.changes_nothing:
                transaction.record_statement()
                return execute()
            if plan.only_writes_rows and not state.elsewhere and not transaction.may_have_ended:
                transaction.record_statement()
                transaction.record_cause(plan.written, sql)
                rows = ANY_ROWS if plan.row_writers is None else self._rows(plan.row_writers, sql, params)
                if not transaction.is_open:
                    return self._invalidator.run_marked(
                        database, execute, plan.written, rows, is_statement=True, cursor=cursor
                    )
                transaction.record_write(plan.written, rows)
                return execute()

        # All others
        if plan.effect is Effect.TRANSACTION:
            return self.control.run(execute, plan.statement)
        if excluded and state.vendor == "sqlite":
            # Around the COMMIT as well, if the statement is run in a transaction of its own.
            run = partial(self._run_planned, database, plan, execute, sql, params, cursor)
            return self._invalidator.run_excluded(database, run, excluded)
        return self._run_planned(database, plan, execute, sql, params, cursor)

    def _excluded_at_once(self, plan: Plan, sql: str) -> frozenset[str] | None:
        """Return the excluded relations to which a statement may make writes visible; None: to none."""
        transaction = self.transaction
        if plan.effect is Effect.TRANSACTION:
            return None  # TransactionControl marks them
        excluded = transaction.excluded
        if not transaction.is_open:
            transaction.forget_excluded()
        elif not plan.statement.commits_implicitly and not transaction.may_commit_at_once(sql):
            return None
        return excluded

    def _reject_tracking(self, plan: Plan, sql: str) -> None:
        """Record with the block in which this statement runs that nothing computed there can be cached.

        What a statement on a cursor reads is not tracked, and what it writes would be written by the first use alone.
        Transaction control does neither, nor does a setting that ends with the transaction: what that decides is in the
        names of the entries.
        """
        tracker, setting = current_tracker(), plan.statement.session
        is_local = plan.effect is Effect.SESSION and setting is not None and setting.local is True
        if tracker is None or is_local or plan.effect is Effect.TRANSACTION:
            return
        if plan.changes_nothing and not plan.excluded_writes:
            tracker.reject(reasons.STATEMENT, sql, plan.relations)
        else:
            tracker.reject(reasons.WRITES, sql, plan.written | plan.excluded_writes)

    def _run_planned(
        self, database: Database, plan: Plan, execute: Callable[[], T], sql: str, params: Any, cursor: Any
    ) -> T:
        """Run a statement of any kind but transaction control."""
        # Before: what it writes
        transaction, effect = self.transaction, plan.effect
        transaction.record_statement()
        written = self._planner.written(plan)
        if plan.statement.commits_implicitly and transaction.is_open:
            written |= transaction.dirty  # MySQL commits the open transaction before it runs such a statement
        # It changes nothing if the catalog is right: a schema change of such a kind, or a write to temporary tables.
        is_presumed = not written and (effect is Effect.SCHEMA or bool(plan.changed_names))
        if is_presumed and not self._invalidator.surely_knows_schema(database):
            written = ALL_ROWS_AND_SCHEMA
        if plan.statement.session is not None:
            execute = partial(self._consequences.run_setting, execute, plan.statement.session, params)
        may_skip = bool(written) and not is_presumed and self._may_skip(plan, params)
        if written and not may_skip:
            transaction.record_cause(written, sql)

        # The statement, and after it: what it means for the transaction and the session
        if database.commits is not None and may_commit(plan):
            transaction.record_possible_write()
            if not written and not self._connection.connection.in_transaction:
                run = self._accounts.run_write if self._is_one_write(plan, params) else self._accounts.run
                execute = partial(run, database, self._fetching(plan, execute, cursor))
        try:
            if may_skip:
                answer, written = self._run_skippable(database, plan, execute, written, sql)
            elif written:
                answer = self._run_writing(database, plan, execute, written, sql, params, cursor)
            else:
                answer = execute()
                if is_presumed:
                    self._invalidator.recheck_unmarked(database)
            if plan.statement.commits_implicitly or effect is Effect.OPAQUE:
                transaction.record_possible_end()
            self._consequences.follow(database, plan, params, written)
            if (
                self._state.vendor == "sqlite"
                and not self.is_running_miss
                and cursor is not None
                and (effect is not Effect.WRITE or "returning" in plan.statement.names)
            ):
                # The driver's own cursor: sqlite3's execute() returns it, and a loop over it keeps no wrapper alive.
                transaction.open_cursors.add(_driver_cursor(cursor))
            if effect is Effect.OPAQUE and self._invalidator.unfinished is None:
                transaction.update_from_driver(written)
        except Error:
            transaction.record_failure()
            raise
        except BaseException:
            transaction.record_failure()
            self._consequences.record_interruption(database, plan)
            raise
        return answer

    def _run_writing(
        self,
        database: Database,
        plan: Plan,
        execute: Callable[[], T],
        written: frozenset[str],
        sql: str,
        params: Any,
        cursor: Any,
    ) -> T:
        """Run a statement that may write these relations, marked where it may also make the change visible."""
        transaction, run_marked = self.transaction, self._invalidator.run_marked
        rows = ANY_ROWS
        if plan.row_writers is not None and not self._state.session.is_opaque:
            rows = self._rows(plan.row_writers, sql, params)
        if transaction.is_open and not plan.statement.commits_implicitly:
            transaction.record_write(written, rows)
            if plan.effect is Effect.OPAQUE:
                return run_marked(database, execute, transaction.dirty, cursor=cursor)  # it may contain a COMMIT
            if transaction.may_commit_at_once(sql):
                execute, announces = self._fetching(plan, execute, cursor), Announces.UNLOCKED
                return run_marked(database, execute, written, rows, announces=announces, cursor=cursor)
            return execute()
        if self._state.vendor != "sqlite":
            return run_marked(database, execute, written, rows, is_statement=True, cursor=cursor)
        execute = self._fetching(plan, execute, cursor)
        if database.commits is not None and self._is_one_write(plan, params):
            return self._run_in_transaction(database, execute, written, rows)
        return run_marked(database, execute, written, rows, is_statement=True, announces=Announces.UNLOCKED)

    # SQLite: statements in autocommit -------------------------------------------------------

    def _fetching(self, plan: Plan, execute: Callable[[], T], cursor: Any) -> Callable[[], T]:
        """Return what runs a statement and fetches its rows: in autocommit SQLite commits it when they are fetched."""
        if "returning" not in plan.statement.names or cursor is None:
            return execute
        return partial(_run_and_fetch, execute, cursor)

    def _is_one_write(self, plan: Plan, params: Any) -> bool:
        """Return whether a statement writes rows of this database only, so that it may run in a transaction."""
        made = self._connection.connection
        return (
            plan.effect is Effect.WRITE
            and type(params) is not Several
            and not self._state.elsewhere
            and made.isolation_level is None
            and not made.in_transaction
        )

    def _run_in_transaction(
        self, database: Database, execute: Callable[[], T], written: frozenset[str], rows: WrittenRows
    ) -> T:
        """Run a statement in autocommit in a transaction of its own, whose COMMIT is run as any other one."""
        run_marked, locked = self._invalidator.run_marked, Announces.LOCKED
        run_commit = partial(run_marked, database, relations=written, rows=rows, is_commit=True, announces=locked)
        try:
            return self._accounts.run_statement(execute, run_commit)
        except BaseException:
            self.transaction.take_causes()  # if nothing was left of it to be settled
            raise

    def _rows(self, writers: RowPlans, sql: str, params: Any) -> WrittenRows:
        """Return which rows a statement writes, as far as its text and parameters show it."""
        writer: RowWriter | None = writers.of(sql)
        if writer is None or self._state.code.unknown:
            return ANY_ROWS
        if type(params) is not Several:
            marked = writer.marked_by(params)
        else:
            marked = None if params.sets is None else writer.marked_by_all(params.sets)
        return ANY_ROWS if marked is None else {writer.relation: marked}

    def _may_skip(self, plan: Plan, params: Any) -> bool:
        """Return whether it can be found out that a statement with IF NOT EXISTS has done nothing.

        Only in a transaction: in autocommit others can see what it has done before it is known.
        """
        return (
            plan.statement.skip_state is not None
            and self.transaction.is_open
            and not isinstance(params, Several)
            and plan.catalog is not None
            and not plan.catalog.has_event_triggers
            and EPOCH not in self.transaction.dirty
            and not self._state.session.is_opaque
            and not drivers.in_pipeline(self._connection.connection)
        )

    def _run_skippable(
        self, database: Database, plan: Plan, execute: Callable[[], T], written: frozenset[str], sql: str
    ) -> tuple[T, frozenset[str]]:
        """Run a schema change with IF NOT EXISTS. Return what ``execute`` returns, and what was written."""
        transaction = self.transaction
        before, had_changed_schema = transaction.dirty, transaction.has_changed_schema
        transaction.record_write(written)
        recorded = transaction.dirty
        with drivers.watch_notices(unwrapped(self._connection.connection)) as states:
            answer = execute()
        # Others mark an event trigger before it is visible.
        is_skipped = plan.statement.skip_state in states and self._invalidator.surely_knows_schema(database)
        if is_skipped and transaction.take_back(recorded, before, had_changed_schema=had_changed_schema):
            return answer, frozenset()
        transaction.record_cause(written, sql)
        return answer, written

    def changes_nothing(self, sql: Any, cursor: Any) -> bool:
        """Return whether a statement changes neither rows nor settings, so that it makes no difference when it ends."""
        database = self._state.known()
        if database is None:
            return self._state.bypass_reason not in MAY_PASS
        return (
            not self._state.session.is_opaque
            and self._planner.plan(database, self._planner.to_str(sql), cursor).changes_nothing
        )

    def run_accounted(self, call: Callable[[], T]) -> T:
        """SQLite: run a statement of ormcache's own, neither planned nor marked, and account for its commit."""
        database = self._state.known()
        return call() if database is None else self._accounts.run(database, call)

    def run_miss(self, call: Callable[[], T]) -> T:
        """Run the query of a miss, whose cursor is closed by the time that it returns."""
        before, self.is_running_miss = self.is_running_miss, True
        try:
            return call()
        finally:
            self.is_running_miss = before  # a signal's handler may read in the middle of another read

    # Cursors and connections ----------------------------------------------------------------

    def record_closed_cursor(self, cursor: Any) -> None:
        """SQLite: record that a cursor was closed."""
        self.transaction.open_cursors.discard(_driver_cursor(cursor))

    def record_last_result(self, cursor: Any) -> None:
        """MySQL: record that a cursor has no more results to come."""
        unfinished = self._invalidator.unfinished
        if unfinished is not None and unfinished.cursor() is cursor:
            self._invalidator.settle_unfinished()

    def end_connection(self) -> None:
        """Settle and forget what can be: the connection is about to be closed, or to be made anew."""
        self._invalidator.end_connection()
        self.connecting.forget()
        self.transaction.discard()
        self._accounts.close(self._state.database)

    def _end_session(self) -> None:
        """Do the same for a driver that has reconnected by itself: what it answers now is another session's answer."""
        self._invalidator.end_connection()
        self.transaction.lose()


def _driver_cursor(cursor: Any) -> Any:
    """Return the driver's cursor inside of Django's wrapper."""
    inner = cursor.cursor
    return inner.cursor if isinstance(inner, BufferedCursor) else inner


def _run_and_fetch(execute: Callable[[], Any], cursor: Any) -> Any:
    """Run a statement, fetch its rows, and return them as a cursor."""
    execute()
    return cursor.buffer_rows()
