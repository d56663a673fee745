"""What drivers do besides executing statements: stored procedures, COPY."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from ormcache import reasons
from ormcache.cache.tracking import current_tracker
from ormcache.catalog import ALL_ROWS, ALL_ROWS_AND_SCHEMA
from ormcache.database.database import Database
from ormcache.database.plans import Plan
from ormcache.session.state import ConnectionState
from ormcache.session.transaction import Transaction
from ormcache.write_path.consequences import Consequences
from ormcache.write_path.invalidation import Announces, Invalidator
from ormcache.write_path.planning import StatementPlanner
from ormcache.write_path.untracked import UntrackedStatements

T = TypeVar("T")

#: What reports show as their cause where they have no SQL
_NO_SQL = "a stored procedure, or COPY"


class DriverCalls:
    """Invalidates what a driver writes besides executing statements, on one connection.

    The thread that owns the connection owns this.
    """

    def __init__(
        self,
        state: ConnectionState,
        transaction: Transaction,
        planner: StatementPlanner,
        consequences: Consequences,
        invalidator: Invalidator,
        untracked: UntrackedStatements,
    ) -> None:
        self._state = state
        self._transaction = transaction
        self._planner = planner
        self._consequences = consequences
        self._invalidator = invalidator
        self._untracked = untracked

    def run(self, call: Callable[[], T], cursor: Any, *, commits_first: bool = False, may_set: bool = True) -> T:
        """Run something without SQL that could change any row: a stored procedure, a driver's COPY.

        ``commits_first``: it commits the open transaction before it begins. ``may_set``: it could also set anything in
        the session. Returns what ``call`` returns, and raises what it raises and WriteRefused.
        """
        state, transaction = self._state, self._transaction

        # A connection that is being made, or leads to no database that is known
        if (tracker := current_tracker()) is not None:
            tracker.reject(reasons.WRITES, _NO_SQL)
        database = state.known()
        if state.last_hit is not None and state.last_hit.query is not None:
            self._consequences.run_last_hit("CALL")
        if self._invalidator.unfinished is not None:
            call = partial(self._invalidator.run_next, call)
        if state.is_connecting:
            transaction.record_write(ALL_ROWS)
            return call()
        if database is None:
            state.record_untracked(may_set=may_set)
            if transaction.is_open:
                transaction.record_write(ALL_ROWS_AND_SCHEMA)
            return call()

        # Before: it writes anything
        transaction.record_statement()
        transaction.record_possible_write()
        announces = None if database.commits is None else Announces.UNLOCKED
        if may_set:
            state.session.mark_untracked()
        transaction.record_cause(ALL_ROWS_AND_SCHEMA, _NO_SQL)
        relations = transaction.dirty | ALL_ROWS_AND_SCHEMA

        # The call, and after it: what the driver knows of the transaction
        if transaction.is_open and not commits_first:
            transaction.record_write(relations)
            try:
                if may_set or transaction.may_commit_at_once():  # what could set anything could also commit
                    answer = self._invalidator.run_marked(database, call, relations, announces=announces, cursor=cursor)
                else:
                    answer = call()
            except BaseException:
                transaction.record_failure()
                raise
            if may_set:
                transaction.record_possible_end()
        else:
            answer = self._invalidator.run_marked(database, call, relations, announces=announces, cursor=cursor)
        if self._invalidator.unfinished is None:
            transaction.update_from_driver(ALL_ROWS_AND_SCHEMA)
        return answer

    def begin(self, sql: Any, cursor: Any) -> Callable[[BaseException | None], None]:
        """Mark what a statement writes that runs while a context manager is open, as psycopg's ``copy()`` does.

        Returns a function to be called at its end, with the exception that ended it. Raises WriteRefused.
        """
        if (tracker := current_tracker()) is not None:
            tracker.reject(reasons.WRITES, _NO_SQL)
        database, transaction = self._state.known(), self._transaction
        if self._state.is_connecting:
            transaction.record_write(ALL_ROWS)
            return _do_nothing
        if database is None:
            self._untracked.record(sql)
            return _do_nothing
        sql = self._planner.to_str(sql)
        plan = self._planner.plan(database, sql, cursor)
        finish_excluded = self._begin_excluded(database, plan, sql)
        self._consequences.record_settings(plan)
        transaction.record_statement()
        written = self._planner.written(plan)
        if not written and plan.changed_names:
            if self._invalidator.surely_knows_schema(database):
                return lambda error: self._invalidator.recheck_unmarked(database)
            written = ALL_ROWS_AND_SCHEMA
        if not written:
            return finish_excluded
        transaction.record_cause(written, sql)
        if transaction.is_open:
            transaction.record_write(written)
            return _do_nothing
        marked = self._invalidator.mark(database, written)

        def finish(error: BaseException | None) -> None:
            finish_excluded(error)
            if error is None:
                self._invalidator.settle(database, marked, recheck_schema=True)
            else:
                self._invalidator.settle_failed(database, marked, error)

        return finish

    def _begin_excluded(self, database: Database, plan: Plan, sql: str) -> Callable[[BaseException | None], None]:
        """Do the same for the excluded relations that a statement writes."""
        excluded = plan.excluded_writes
        if not excluded:
            return _do_nothing
        self._state.observer.excluded_write(excluded, sql)
        if self._transaction.is_open:
            self._transaction.record_excluded(excluded)
            return _do_nothing
        self._invalidator.run_excluded(database, lambda: None, excluded)
        return lambda error: self._invalidator.run_excluded(database, lambda: None, excluded)

    def record_copy(self, sql: Any, cursor: Any) -> None:
        """Record that a method of the driver's has run this COPY: its triggers and its query may have set something."""
        database = self._state.known()
        if database is not None:
            self._consequences.record_settings(self._planner.plan(database, self._planner.to_str(sql), cursor))


def _do_nothing(error: BaseException | None) -> None:
    """End a statement for which there is nothing to do."""
