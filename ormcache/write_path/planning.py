"""What a statement on its way to the driver may do: its plan, and what that means in this session."""

from __future__ import annotations

import weakref
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ormcache.catalog import ALL_ROWS_AND_SCHEMA, ANYWHERE, EPOCH, ResolutionContext
from ormcache.database.database import Database
from ormcache.database.plans import Plan, runs_query
from ormcache.session.state import ConnectionState
from ormcache.session.tracker import unwrapped
from ormcache.session.transaction import Transaction
from ormcache.sql import Effect, analyse
from ormcache.sql.vocabulary import REPEATABLE

if TYPE_CHECKING:
    from ormcache.connection.protocol import CachedConnection


class StatementPlanner:
    """Plans the statements of one connection. The thread that owns the connection owns this."""

    def __init__(self, connection: CachedConnection, state: ConnectionState, transaction: Transaction) -> None:
        self._connection: CachedConnection = weakref.proxy(connection)
        self._state = state
        self._transaction = transaction

    def plan(self, database: Database, sql: str, cursor: Any = None) -> Plan:
        """Return the plan of a statement; without a catalog, one by which it may write anything."""
        context, transaction = self._state.resolution_context(cursor), self._transaction
        if transaction.has_changed_schema:
            context = context._replace(has_moved=True)
        planned = database.plans.find(sql, context)
        plan = self._plan_anew(database, sql, context) if planned is None else planned[0]
        if plan.part is not None or not (plan.needs_no_catalog or plan.effect is Effect.TRANSACTION):
            transaction.record_plan(plan.part, ANYWHERE if plan.part is None else context)
        return plan

    def _plan_anew(self, database: Database, sql: str, context: ResolutionContext) -> Plan:
        """Read the catalog for a statement, if it has to be and can be, and return the statement's plan."""
        if analyse(sql, self._state.vendor).effect is Effect.TRANSACTION:
            # A broken transaction cannot read the catalog, and has to get to its ROLLBACK TO SAVEPOINT.
            return database.plans.blind_plan(sql)
        plan = database.plans.provisional_plan(sql, context)
        if plan is not None:
            return plan
        # What this transaction would be shown of the schema can be older than the stamps.
        if self._transaction.in_old_snapshot or not database.catalog_cache.ensure_loaded(
            self._connection, context, sql, is_own=self._transaction.has_changed_schema
        ):
            return database.plans.blind_plan(sql)
        return database.plans.plan(sql, context)[0]

    def to_str(self, sql: Any) -> str:
        """Return the SQL in whatever the drivers take for a query: str, bytes, psycopg's composed SQL."""
        if isinstance(sql, str):
            return str(sql)
        if isinstance(sql, (bytes, bytearray)):
            return bytes(sql).decode("utf-8", "replace")
        compose = getattr(sql, "as_string", None)
        if compose is None:
            return "?"  # no SQL at all: not understood
        # Written in C it takes the driver's own connection only, which may be inside of a proxy.
        return str(compose(unwrapped(self._connection.connection)))

    def written(self, plan: Plan) -> frozenset[str]:
        """Return the relations that a statement may write in this session."""
        session, statement = self._state.session, plan.statement
        if session.is_opaque:
            reads = plan.effect in (Effect.READ, Effect.HARMLESS, Effect.SESSION)
            if not (reads and statement.calls <= REPEATABLE[self._state.vendor]):
                return ALL_ROWS_AND_SCHEMA
        written = plan.written
        if plan.changed_names:
            made = self._transaction.schemas_of_tables(plan.changed_names)
            if plan.changed_names <= session.temporary & plan.unknown_targets:
                written = plan.certainly_written
            elif made is not None and not (statement.change is not None and statement.change.is_mixed_case):
                written = plan.certainly_written | made
        elsewhere = self._state.elsewhere
        if written and elsewhere:
            # What is written but not known, and what could be anything, could be in another database.
            is_unknown = EPOCH in written
            written = written.union(
                *(there for word, there in elsewhere.items() if is_unknown or not word or word in statement.names)
            )
        return written


def may_commit(plan: Plan) -> bool:
    """Return whether a statement could make SQLite commit something, be it to a table that is on the blacklist."""
    return plan.effect not in (Effect.READ, Effect.HARMLESS) or not plan.changes_nothing


@lru_cache(maxsize=1024)  # for the process: a statement means the same to every thread
def possible_effects(sql: str, vendor: str) -> tuple[bool, bool]:
    """Return whether a statement could change the session, and whether it could change rows or the schema."""
    statement = analyse(sql, vendor)
    effect, calls_nothing = statement.effect, statement.calls <= REPEATABLE[vendor]
    if vendor == "sqlite" and effect is Effect.SCHEMA and not runs_query(sql):
        calls_nothing = True  # CREATE TABLE a (…): what looks like a call is the table's name
    sets_nothing = (
        effect in (Effect.READ, Effect.WRITE, Effect.SCHEMA, Effect.TRANSACTION, Effect.HARMLESS)
        and statement.session is None
        and statement.temporary_table is None
        and calls_nothing
    )
    writes_nothing = effect in (Effect.READ, Effect.HARMLESS, Effect.SESSION, Effect.TRANSACTION) and calls_nothing
    return not sets_nothing, not writes_nothing
