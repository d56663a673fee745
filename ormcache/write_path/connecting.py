"""What is written on a connection that is still being made, when the database behind it is not known."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from ormcache.catalog import ALL_ROWS
from ormcache.database.plan_cache import LONGEST_STATEMENT
from ormcache.exceptions import StoreUnavailable
from ormcache.session.state import ConnectionState
from ormcache.session.transaction import Transaction
from ormcache.sql import analyse
from ormcache.write_path.explicit_invalidation import ExplicitInvalidation
from ormcache.write_path.invalidation import Invalidator
from ormcache.write_path.planning import StatementPlanner, possible_effects

if TYPE_CHECKING:
    from ormcache.connection.protocol import CachedConnection

T = TypeVar("T")

#: Statements that may have written and are remembered until the connection is made; of more, everything is invalidated
MOST_WHILE_CONNECTING = 64


class WritesWhileConnecting:
    """The writes of one connection until it is made. The thread that owns the connection owns this."""

    def __init__(
        self,
        connection: CachedConnection,
        state: ConnectionState,
        transaction: Transaction,
        planner: StatementPlanner,
        invalidator: Invalidator,
        explicit: ExplicitInvalidation,
    ) -> None:
        self._connection: CachedConnection = weakref.proxy(connection)
        self._state = state
        self._transaction = transaction
        self._planner = planner
        self._invalidator = invalidator
        self._accounts = invalidator.accounts
        self._explicit = explicit
        self._invalidates_all = False  # once the connection is made
        self._statements: list[str] = []  # that ran before it was, as far as they may have written

    def run(self, execute: Callable[[], T], sql: Any, params: Any) -> T:
        """Run what Django, a ``connection_created`` receiver or a signal's handler asks of a half-made connection.

        The database behind it is not known yet. What is written is settled by :meth:`end`.
        """
        sql = self._planner.to_str(sql)
        statement = analyse(sql, self._state.vendor)
        if len(sql) > LONGEST_STATEMENT or len(self._statements) >= MOST_WHILE_CONNECTING:
            self._transaction.record_write(ALL_ROWS)
        elif statement.session is None and possible_effects(sql, self._state.vendor)[1]:
            self._statements.append(sql)
        answer = execute()
        if statement.session is not None:
            self._state.session.record_change(statement.session, params, in_transaction=False)
        return answer

    def end(self) -> None:
        """Settle what was written while connecting, now that the database is known."""
        if self._invalidates_all:
            self._invalidate_all()
            self._invalidates_all = False
        database, transaction = self._state.database, self._transaction
        if database is None:
            return
        if not database.outbox.was_read:
            self._invalidator.outbox.read_first(database, self._accounts)
        for sql in tuple(self._statements):
            plan = self._planner.plan(database, sql)
            written = self._planner.written(plan)
            if plan.excluded_writes:
                self._invalidator.run_excluded(database, lambda: None, plan.excluded_writes)
            if written:
                transaction.record_write(written)
                transaction.record_cause(written, sql)
        if transaction.dirty and not transaction.is_open:
            self._invalidator.run_marked(database, lambda: None, transaction.dirty)
            transaction.clear_writes()
            if database.own_commits is not None:
                database.own_commits.invalidate()
        self._statements = []

    def forget(self) -> None:
        """Forget what was written: the connection is about to be closed, or to be made anew."""
        self._statements = []

    def invalidate_all(self) -> None:
        """Invalidate everything: the rows of this connection's database have changed without ormcache.

        Done now if the connection is open, or else when it is made.
        """
        self._invalidates_all = self._connection.connection is None
        if not self._invalidates_all:
            self._invalidate_all()

    def _invalidate_all(self) -> None:
        try:
            self._explicit.invalidate(ALL_ROWS)
        except StoreUnavailable:
            pass  # it waits for the store
