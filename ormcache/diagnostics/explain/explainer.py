"""What ormcache makes of a statement, and why: its plan, the name of its entry, what the store has.

Nothing is run and nothing is changed, in the database or in the store; the catalog is read if it has to be.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from django.core.exceptions import EmptyResultSet
from django.db.models import Manager, Model, QuerySet
from django.db.models.sql.constants import MULTI

from ormcache import reasons
from ormcache.database.database import Database
from ormcache.database.plans import Plan
from ormcache.database.table_filter import table_of
from ormcache.diagnostics.aliases import connection_to
from ormcache.diagnostics.explain.explanation import (
    NO_QUERY,
    AdaptiveState,
    BypassReason,
    EntryKey,
    Explanation,
    ModelTable,
)
from ormcache.diagnostics.explain.inspection import PlanInspection, as_datetime
from ormcache.diagnostics.explain.rows import RowNames
from ormcache.diagnostics.explain.subject import Subject, compile_subject, name_of
from ormcache.diagnostics.format.meanings import MEANINGS
from ormcache.exceptions import StoreUnavailable
from ormcache.read_path.eligibility import Bypass, Eligible, decide
from ormcache.read_path.own_compilers import is_own_compiler
from ormcache.session.state import ConnectionState
from ormcache.sql import analyse

if TYPE_CHECKING:
    from ormcache.connection.protocol import CachedConnection


def explain(subject: QuerySet[Any] | Manager[Any] | type[Model] | str, using: str) -> Explanation:
    """Explain a queryset, the ``all()`` of a manager or a model, or SQL, on one database.

    Raises NotCached for an alias that does not go through ormcache, TypeError for any other subject, and what the
    database raises if it cannot be reached.
    """
    connection = connection_to(using)
    connection.ensure_connection()
    try:
        compiled = compile_subject(subject, connection)
    except EmptyResultSet:
        return Explanation(using, name_of(subject), "", NO_QUERY)
    explanation, plan = _explain(connection, compiled)
    database = connection.ormcache.known()
    if database is not None and plan is not None and not _is_current(database, plan):
        explanation, _ = _explain(connection, compiled)
    return explanation


def explain_reason(name: str | None) -> BypassReason | None:
    """Return a bypass reason by its name, with its meaning."""
    return None if name is None else BypassReason(name, *MEANINGS[name])


def _query_reason(name: str | None, inspection: PlanInspection) -> BypassReason | None:
    """Return why a query is not cached; if that is due to functions that it calls, also which functions."""
    reason = explain_reason(name)
    calls = inspection.uncacheable_calls() if name == reasons.FUNCTION else ()
    return (
        reason if reason is None or not calls else replace(reason, text=f"{reason.text}. It calls {', '.join(calls)}")
    )


def _connection_reason(name: str | None, state: ConnectionState) -> BypassReason | None:
    """Return why a connection bypasses the cache; if that is due to unknown code, also which code."""
    reason = explain_reason(name)
    by = state.intercepted_by if name == reasons.INTERCEPTED else None
    return reason if reason is None or by is None else replace(reason, text=f"{reason.text}. It is {by}")


def _decide(connection: CachedConnection, subject: Subject, *, at_rest: bool = False) -> Eligible | Bypass:
    """Decide as the read path does: what becomes of the read now, or ``at_rest``, by the query alone."""
    if is_own_compiler(subject.compiler):
        return Bypass(reasons.OWN_COMPILER)  # it asks no cache; the cursor counts its queries
    return decide(connection, subject.compiler, MULTI, (subject.sql, subject.params), at_rest=at_rest)


def _is_current(database: Database, plan: Plan) -> bool:
    """Return False, and have the catalog read again, if the schema has changed since the catalog was read."""
    try:
        current = database.catalog_cache.check_plan(plan, None)
    except StoreUnavailable:
        return True
    if current is False:
        database.catalog_cache.forget(plan.part)
    return current is not False


def _explain(connection: CachedConnection, subject: Subject) -> tuple[Explanation, Plan | None]:
    state = connection.ormcache
    transaction = connection.ormcache_writes.transaction
    kind = analyse(subject.sql, state.vendor).effect.value
    explanation = Explanation(state.alias, subject.name, subject.sql, kind)
    now, at_rest = _decide(connection, subject), _decide(connection, subject, at_rest=True)
    database = state.known()
    if database is None:
        return replace(explanation, reason=explain_reason(state.bypass_reason or reasons.NO_STORE)), None
    current = now.reason if isinstance(now, Bypass) else None
    context = state.resolution_context()
    if database.plans.find(subject.sql, context) is None and (
        transaction.in_old_snapshot or not database.catalog_cache.ensure_loaded(connection, context, subject.sql)
    ):
        return replace(explanation, bypass_reason=explain_reason(current or reasons.SNAPSHOT)), None
    plan, lengths = database.plans.plan(subject.sql, context)
    reason = at_rest.reason if isinstance(at_rest, Bypass) else None
    name = at_rest.entry if isinstance(at_rest, Eligible) and not subject.is_sql else None
    resolver = None if plan.catalog is None else plan.catalog.resolver_for(context)
    row_names = RowNames(database, plan, resolver, subject.sql, state.vendor, subject.params or ())
    inspection = PlanInspection(database, state, plan, name, row_names)
    return (
        replace(
            explanation,
            cached=reason is None,
            reason=_query_reason(reason, inspection),
            bypass_reason=None if current == reason else _connection_reason(current, state),
            reads=inspection.reads(),
            writes=inspection.writes(),
            unknown=inspection.unknown(),
            key=_key(database, state, plan, lengths, subject, name, str(connection.timezone_name)),
            entry=inspection.entry(),
            rows=None if reason is not None else row_names.dependence(),
            adaptive=None if reason is not None else _adaptive_state(plan),
            table=None if subject.model is None else _table(database, state, subject.model),
        ),
        plan,
    )


def _key(
    database: Database,
    state: ConnectionState,
    plan: Plan,
    lengths: bytes,
    subject: Subject,
    name: bytes | None,
    time_zone: str,
) -> EntryKey:
    state.prefix(database)  # asks the server for what is no longer known of the session
    session, params = state.session, subject.params
    return EntryKey(
        name=None if name is None else name.hex(),
        statement=(plan.digest + lengths).hex(),
        parameters=None if subject.is_sql else tuple(type(value).__name__ for value in params or ()),
        namespace=database.namespace.hex(),
        version=database.config.version,
        session=session.fingerprint.hex(),
        search_path=state.resolution_context().path,
        user=session.user,
        time_zone=time_zone,
        tenant=state.tenant,
        settings=session.names_set,
    )


def _adaptive_state(plan: Plan) -> AdaptiveState:
    if plan.adaptive_bypass is None:
        return AdaptiveState(True, None, None)
    judgement = plan.adaptive_bypass.judgement
    if judgement is None:
        return AdaptiveState(False, None, None)
    return AdaptiveState(False, as_datetime(judgement.since), str(judgement))


def _table(database: Database, state: ConnectionState, model: type[Model]) -> ModelTable:
    name = table_of(model)
    found = database.catalog_cache.find(name, state.resolution_context())
    return ModelTable(
        model._meta.label,
        found[0] if found else name,
        bool(found),
        database.rules.settings_of(found[0] if found else name),
    )
