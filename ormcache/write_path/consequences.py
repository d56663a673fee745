"""What a statement that has run means for the session, the schema and later reads.

And what leads to it: settings that may fail halfway, and the query of a hit that a statement asks about.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from django.db import Error

from ormcache import reasons
from ormcache.catalog import EPOCH, SCHEMA, is_of_schema
from ormcache.database.database import Database
from ormcache.database.plans import Plan
from ormcache.session.state import ConnectionState
from ormcache.session.transaction import Transaction
from ormcache.sql import Effect, SessionChange
from ormcache.utils import drivers
from ormcache.utils.interruptions import let_through
from ormcache.write_path.planning import StatementPlanner

if TYPE_CHECKING:
    from ormcache.connection.protocol import CachedConnection

T = TypeVar("T")

#: Words of statements that lead a session to another database
_SWITCHING_DATABASES = frozenset({"use", "attach", "detach"})

#: Where PostgreSQL and SQLite put temporary objects
_TEMPORARY_SCHEMAS = frozenset({"pg_temp", "temp"})


class Consequences:
    """Follows what the statements of one connection leave behind. The thread that owns the connection owns this."""

    def __init__(
        self, connection: CachedConnection, state: ConnectionState, transaction: Transaction, planner: StatementPlanner
    ) -> None:
        self._connection: CachedConnection = weakref.proxy(connection)
        self._state = state
        self._transaction = transaction
        self._planner = planner

    def run_last_hit(self, sql: Any) -> None:
        """Run the last hit's query for what it leaves behind in the session, if a statement asks for that."""
        leaving = self._state.last_hit
        compiled = None if leaving is None else leaving.query_before(self._planner.to_str(sql))
        if compiled is None:
            return
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(*compiled)
                cursor.fetchall()
        except Error as error:
            let_through(error)  # else the statement that asks goes on as after any query that failed

    def run_setting(self, execute: Callable[[], T], change: SessionChange, params: Any) -> T:
        """Run a statement that sets something. One that fails can have set something all the same."""
        was_broken = self._transaction.is_broken  # then it does not run at all
        try:
            answer = execute()
        except Error:
            if not was_broken:
                self._state.session.record_failure(change, params)
            raise
        if drivers.in_pipeline(self._connection.connection):
            self._state.session.mark_untracked()  # it may still fail, or be undone
        return answer

    def follow(self, database: Database, plan: Plan, params: Any, written: frozenset[str]) -> None:
        """Follow what a statement that has run means for the session and for later reads. ``written``: its changes."""
        statement, session = plan.statement, self._state.session
        if plan.effect is Effect.SESSION and not statement.names.isdisjoint(_SWITCHING_DATABASES):
            self._state.update_elsewhere()
        if statement.session is not None:
            session.record_change(statement.session, params, in_transaction=self._transaction.is_open)
        if statement.temporary_table is not None:
            session.record_temporary_table(
                statement.temporary_table,
                in_transaction=self._transaction.is_open,
                drops_on_commit=statement.drops_on_commit,
            )
            if written:
                session.make_opaque()  # what has changed something may do so again: a default of a column
        change = statement.change
        temporary = session.temporary & plan.unknown_targets
        if change is not None and change.drops and change.altered and plan.changed_names <= temporary:
            session.forget_temporary_tables(plan.changed_names, in_transaction=self._transaction.is_open)
        elif plan.effect is Effect.SCHEMA and (
            session.creates_temporary or not statement.names.isdisjoint(session.temporary | _TEMPORARY_SCHEMAS)
        ):
            session.make_opaque()  # a trigger of a temporary table, a temporary function
            session.mark_untracked(reasons.TEMPORARY)
        if plan.may_set_anything:
            session.mark_untracked()
        if SCHEMA in written:
            self._follow_schema_change(database, plan, written)

    def _follow_schema_change(self, database: Database, plan: Plan, written: frozenset[str]) -> None:
        change, transaction = plan.statement.change, self._transaction
        if not transaction.is_open:
            database.catalog_cache.record_schema_change(written)
        elif change is not None and change.table is not None and EPOCH not in written and not change.is_mixed_case:
            schema, bare = change.table
            made_in = frozenset(name for name in plan.certainly_written if name == SCHEMA or is_of_schema(name))
            transaction.record_table(bare if schema is None else f"{schema}.{bare}", made_in)
        elif change is None or change.dropped_schemas:
            transaction.forget_tables()
        elif change.drops:
            transaction.forget_tables(plan.changed_names)

    def record_interruption(self, database: Database, plan: Plan) -> None:
        """Record that something from outside has interrupted a statement: it may have run, and was not followed."""
        statement, session = plan.statement, self._state.session
        if statement.session is not None or plan.may_set_anything or plan.effect in (Effect.SESSION, Effect.OPAQUE):
            session.mark_untracked()
        if statement.temporary_table is not None or plan.effect in (Effect.SCHEMA, Effect.OPAQUE):
            session.mark_untracked()
            session.make_opaque()
            database.catalog_cache.forget()
        if statement.commits_implicitly or plan.effect is Effect.OPAQUE:
            self._transaction.record_possible_end()

    def record_settings(self, plan: Plan) -> None:
        """Record that a statement that is not followed may have set something."""
        if plan.may_set_anything or plan.statement.session is not None:
            self._state.session.mark_untracked()
