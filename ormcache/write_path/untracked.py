"""Statements on a connection whose database is not known, or not cached."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ormcache import reasons
from ormcache.cache.tracking import current_tracker
from ormcache.catalog import ALL_ROWS_AND_SCHEMA
from ormcache.database.plan_cache import LONGEST_STATEMENT
from ormcache.session.state import ConnectionState
from ormcache.session.transaction import Transaction
from ormcache.sql import Effect, analyse, collapse_lists
from ormcache.write_path.connecting import WritesWhileConnecting
from ormcache.write_path.planning import StatementPlanner, possible_effects

T = TypeVar("T")

#: Reasons to cache nothing on a connection that may no longer hold after the next statement
MAY_PASS = frozenset({reasons.REPLICA, reasons.UNIDENTIFIED})


class UntrackedStatements:
    """Runs statements that are not tracked, on one connection. The thread that owns the connection owns this."""

    def __init__(
        self,
        state: ConnectionState,
        transaction: Transaction,
        planner: StatementPlanner,
        connecting: WritesWhileConnecting,
    ) -> None:
        self._state = state
        self._transaction = transaction
        self._planner = planner
        self._connecting = connecting

    def run(self, execute: Callable[[], T], sql: Any) -> T:
        """Run a statement on a connection whose database is not known, or not cached."""
        if current_tracker() is not None:
            self._reject_tracking(self._planner.to_str(sql))
        self.record(sql)
        return self._run_and_learn(execute, sql) if self._state.bypass_reason in MAY_PASS else execute()

    def _reject_tracking(self, sql: str) -> None:
        """Record with the block in which a statement runs that nothing computed there can be cached."""
        tracker, state = current_tracker(), self._state
        if tracker is not None:
            may_write = len(sql) > LONGEST_STATEMENT or possible_effects(sql, state.vendor)[1]
            tracker.reject(reasons.WRITES if may_write else state.bypass_reason or reasons.NO_STORE, sql)

    def record(self, sql: Any) -> None:
        """Record what a statement may do while none is tracked: tests change the settings of an open connection."""
        state, transaction = self._state, self._transaction
        may_add_writes = transaction.is_open and not transaction.dirty >= ALL_ROWS_AND_SCHEMA
        if may_add_writes or not state.has_untracked_settings:
            sql, _ = collapse_lists(self._planner.to_str(sql))
            may_set, may_write = (True, True) if len(sql) > LONGEST_STATEMENT else possible_effects(sql, state.vendor)
            state.record_untracked(may_set=may_set)
            if may_add_writes and may_write:
                # If it is read before it is committed, when statements are tracked again, it must not be stored.
                transaction.record_write(ALL_ROWS_AND_SCHEMA)
        transaction.record_statement()

    def _run_and_learn(self, execute: Callable[[], T], sql: Any) -> T:
        """Run a statement, and ask the server for its identity again if it has taken a write.

        A replica that takes writes has been promoted since this connection was made; a server that did not answer may
        do so now.
        """
        answer = execute()
        effect = analyse(self._planner.to_str(sql), self._state.vendor).effect
        if effect in (Effect.WRITE, Effect.SCHEMA, Effect.OPAQUE):
            self._state.learn()
            if self._state.database is not None:
                self._transaction.record_write(ALL_ROWS_AND_SCHEMA)
                if not self._transaction.is_open:
                    self._connecting.end()
        return answer
