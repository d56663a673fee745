"""What becomes of a read: a lookup in the cache or a bypass, and why.

The read path acts on :func:`decide`, and ``ormcache.explain()`` describes what it returns, so the two cannot differ.
What is decided later needs the store: whether the slots are marked, and whether an open transaction's snapshot allows
for what is stored (:mod:`ormcache.read_path.read`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db.models.sql.constants import MULTI, SINGLE

from ormcache import reasons
from ormcache.cache import keys
from ormcache.catalog import ALL_ROWS
from ormcache.context.switch import is_disabled, mode
from ormcache.database.current_time import has_current_time
from ormcache.database.database import Database
from ormcache.database.plans import Plan
from ormcache.exceptions import StoreUnavailable
from ormcache.read_path.clock_parameters import any_reads_clock
from ormcache.read_path.row_results import RowResult
from ormcache.session.interception import has_something_on
from ormcache.session.state import ConnectionState
from ormcache.session.transaction import Transaction
from ormcache.utils import drivers

if TYPE_CHECKING:
    from ormcache.connection.protocol import CachedConnection

#: A compiled statement: its SQL and its parameters
Compiled = tuple[str, Any]


class Eligible(NamedTuple):
    """The decision to look a read up in the cache, with what its entry is named by."""

    compiled: Compiled
    database: Database
    plan: Plan
    shape: tuple[Any, ...]  # see shape_of()
    prefix: bytes  # of the names of all entries of the session
    entry: bytes  # the entry's name
    #: by time.perf_counter: when the query had been compiled for the decision; None: it came compiled
    compiled_at: float | None
    #: the rows that its result may depend on in place of its relations; None: there are none
    rows: RowResult | None = None
    #: the row slots that the open transaction's writes will mark: a result that depends on none of them may be served,
    #: and none may be stored. None: it has written none of the plan's relations
    own_writes: frozenset[bytes] | None = None


class Bypass(NamedTuple):
    """The decision to send a read to the database without a lookup, as far as it had been analysed by then."""

    reason: str  # see ormcache.reasons
    compiled: Compiled | None = None
    plan: Plan | None = None


def decide(
    connection: CachedConnection,
    compiler: Any,
    result_type: str,
    compiled: Compiled | None = None,
    *,
    connect: Callable[[], None] | None = None,
    at_rest: bool = False,
    for_probe: bool = False,
) -> Eligible | Bypass:
    """Decide whether a read is looked up in the cache. The first reason against it counts.

    ``compiler``: of the query. ``compiled``: what it has compiled before, or SQL that comes from no compiler.
    ``connect``: makes the connection, where the database is not known without one. ``at_rest``: decide for a connection
    in no transaction and no ``disabled()`` block and without adaptive bypass, that is, about the query alone.
    ``for_probe``: without adaptive bypass.

    Reads the catalog if it has to. Raises EmptyResultSet for a query that Django knows to be empty, and what
    connecting raises.
    """
    state = connection.ormcache
    transaction = connection.ormcache_writes.transaction

    # What is known without compiling the query
    reason = _reason_before_compiling(connection, state, compiler.query, result_type, at_rest=at_rest)
    if reason is not None:
        return Bypass(reason, compiled)
    compiled_at = None
    if compiled is None:
        compiled = compiler.as_sql()
        compiled_at = time.perf_counter()
    sql, params = compiled

    # The database and its catalog
    database = state.known()
    if database is None:
        # This process does not know yet which database this is.
        (connect or connection.ensure_connection)()
        database = state.known()
    if database is None:
        return Bypass(state.bypass_reason or reasons.NO_STORE, compiled)
    if state.session.base is None and state.session.bypass_reason is None and not state.describe_session():
        return Bypass(reasons.UNTRACKED_SESSION, compiled)  # what names mean is part of what is not known
    planned = database.plans.find(sql, state.resolution_context())
    if planned is None:
        prepared = _with_catalog(connection, state, transaction, database, sql, connect or connection.ensure_connection)
        if isinstance(prepared, str):
            return Bypass(prepared, compiled)
        database = prepared
        planned = database.plans.plan(sql, state.resolution_context())

    # The statement, and the connection that it would run on
    plan, lengths = planned
    reason = plan.bypass_reason
    if reason is None and not at_rest:
        reason = connection_reason(connection, state, transaction, database, plan)
        adaptive = plan.adaptive_bypass
        if reason is None and adaptive is not None and adaptive.is_active and not for_probe and mode() is None:
            reason = reasons.ADAPTIVE_BYPASS
    if reason is not None:
        return Bypass(reason, compiled, plan)

    # The parameters, which name the entry
    if plan.current_time.found and params and has_current_time(params):
        return Bypass(reasons.CURRENT_TIME, compiled, plan)
    try:
        shape = shape_of(compiler, result_type)
        prefix = state.prefix(database)
        statement = plan.statement
        in_lists = statement.in_lists if result_type == MULTI else None  # for SINGLE, which row comes first matters
        values = params if in_lists is None else in_lists.sort(params, lengths)
        entry = keys.entry_name(prefix, plan.digest + lengths, values, shape)
    except keys.Unkeyable:
        return Bypass(reasons.PARAMETER, compiled, plan)
    if state.vendor == "postgresql" and params and any_reads_clock(params):
        return Bypass(reasons.CLOCK, compiled, plan)
    eligible = Eligible(compiled, database, plan, shape, prefix, entry, compiled_at)
    if plan.row_readers is None or not plan.row_readers.is_on:
        return eligible
    return _with_rows(eligible, None if at_rest or connection.connection is None else transaction)


def _with_rows(eligible: Eligible, transaction: Transaction | None) -> Eligible | Bypass:
    """Add to a decision the rows that the result may depend on, and those that an open transaction has written."""
    compiled, database, plan = eligible[:3]
    sql, params = compiled
    reader = None if plan.row_readers is None else plan.row_readers.of(sql)
    rows = None if reader is None else RowResult(database, plan, reader, params or ())
    own_writes = None if transaction is None else rows_written(transaction, plan)
    if own_writes is not None and (rows is None or rows.overlaps(own_writes)):
        return Bypass(reasons.DIRTY, compiled, plan)
    return eligible._replace(rows=rows, own_writes=own_writes)


def rows_written(transaction: Transaction, plan: Plan) -> frozenset[bytes] | None:
    """Return the slots of the rows of a plan's relations that a transaction has written.

    None: it has written none of them, or the result does not depend on rows, or it is not known which rows.
    """
    if plan.row_readers is None or not plan.row_readers.is_on or not transaction.rows:
        return None
    written = transaction.dirty & plan.relations
    if not written or not written <= transaction.rows.keys() or not transaction.dirty.isdisjoint(plan.schemas):
        return None
    return frozenset().union(*(transaction.rows[relation] for relation in written))


def shape_of(compiler: Any, result_type: str) -> tuple[Any, ...]:
    """Return how Django cuts the rows that a compiled statement returns."""
    # The compiler of an aggregation over a subquery never asks for extra columns, and lacks the attribute.
    return (result_type, compiler.col_count, bool(getattr(compiler, "has_extra_select", False)))


def _reason_before_compiling(
    connection: CachedConnection, state: ConnectionState, query: Any, result_type: str, *, at_rest: bool
) -> str | None:
    if is_disabled() and not at_rest:
        return reasons.DISABLED
    if query.select_for_update:
        return reasons.LOCKING
    if query.explain_info:
        return reasons.EXPLAIN
    if result_type not in (MULTI, SINGLE):
        return reasons.NOT_A_READ
    if connection.needs_rollback and not at_rest:
        return reasons.BROKEN_TRANSACTION
    if state.bypass_reason is not None and connection.connection is not None and state.known() is None:
        return state.bypass_reason
    return None


def _with_catalog(
    connection: CachedConnection,
    state: ConnectionState,
    transaction: Transaction,
    database: Database,
    sql: str,
    connect: Callable[[], None],
) -> Database | str:
    """Read the catalog for a query. Returns the database that the query goes to, or a bypass reason.

    It may be another database: whoever finds a new server at an old address changes the schema of the old one.
    """
    was_open = connection.connection is not None
    connect()
    if was_open:
        state.confirmation.doubt()
    if not transaction.is_open:
        if was_open and not state.confirm() and state.known() is database:
            return reasons.UNCONFIRMED
        known = state.known()
        if known is None:
            return state.bypass_reason or reasons.UNCONFIRMED
        database = known
    if database.plans.find(sql, state.resolution_context()) is not None:
        return database
    if transaction.in_old_snapshot:
        # A catalog must not be read in a snapshot that is older than the stamps.
        if transaction.has_run or state.vendor != "sqlite":
            return reasons.SNAPSHOT
        transaction.record_statement()  # SQLite takes the snapshot now, for the catalog
    is_loaded = database.catalog_cache.ensure_loaded(connection, state.resolution_context(), sql)
    return database if is_loaded else reasons.SNAPSHOT


def connection_reason(
    connection: CachedConnection,
    state: ConnectionState,
    transaction: Transaction,
    database: Database,
    plan: Plan | None,
) -> str | None:
    """Return why this connection may not use the cache for this plan just now, or None.

    ``plan``: None for what may depend on any relation. The reasons lie in its session, in its transaction, and in
    writes of this process that the store has not got yet.
    """
    # Code that could change what the driver returns
    if (state.code.unknown or has_something_on(connection)) and state.intercepted_by:
        return reasons.INTERCEPTED
    if connection.connection is not None:
        # The session
        reason = state.session_bypass_reason()
        if reason is not None:
            return reason
        if state.session.isolation != "read committed" and state.vendor != "sqlite":
            if state.vendor == "mysql" and state.session.isolation == "read uncommitted":
                return reasons.UNCOMMITTED
            if state.vendor == "postgresql" and drivers.in_pipeline(connection.connection):
                return reasons.PIPELINE  # a pipeline is one transaction, which keeps its snapshot
        # The transaction
        if transaction.is_open_on(connection):
            dirty = transaction.dirty
            if dirty and (plan is None or dirty >= ALL_ROWS or not dirty.isdisjoint(plan.relations | plan.schemas)):
                if plan is None or dirty >= ALL_ROWS or rows_written(transaction, plan) is None:
                    return reasons.DIRTY
            if state.vendor != "sqlite" and transaction.keeps_snapshot:
                return reasons.SNAPSHOT
        # The server at the other end. Asking it could take away results that are still to be fetched.
        if time.monotonic() >= state.confirmation.due and (
            connection.ormcache_writes.has_unfinished or not state.confirm()
        ):
            return reasons.UNCONFIRMED
    # Writes that wait for the store
    pending = database.pending.relations
    if pending and (plan is None or pending >= ALL_ROWS or not pending.isdisjoint(plan.relations)):
        try:
            database.pending.retry()
        except StoreUnavailable:
            return reasons.PENDING
    return None
