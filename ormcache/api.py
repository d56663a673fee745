"""The functions that programs call: invalidate, explain, and read the statistics."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from django.db import DEFAULT_DB_ALIAS, connections, router
from django.db.models import Manager, Model, QuerySet

from ormcache.cache.stamps import time_of
from ormcache.catalog import ALL_ROWS, ALL_ROWS_AND_SCHEMA, SCHEMA
from ormcache.context.switch import disabled
from ormcache.database.database import Database
from ormcache.database.table_filter import table_of, tables_of
from ormcache.diagnostics.explain import explainer
from ormcache.diagnostics.explain.explanation import Explanation
from ormcache.exceptions import NotCached, StoreUnavailable, UnknownTable
from ormcache.pages.inputs import input_named
from ormcache.session.connections import cached_connection
from ormcache.stores.base import is_stamp
from ormcache.telemetry import all_counters, counters_of
from ormcache.telemetry.deployment import collect_reports
from ormcache.telemetry.report import Report

if TYPE_CHECKING:
    from ormcache.connection.protocol import CachedConnection

__all__ = [
    "NotCached",
    "UnknownTable",
    "adaptive_bypasses",
    "changed",
    "disabled",
    "explain",
    "invalidate",
    "last_write",
    "report",
    "stats",
]


def invalidate(*models_or_tables: type[Model] | str, using: str | None = None) -> None:
    """Invalidate all results that depend on these models or tables; without any, all results and the known schema.

    For writes that ormcache did not see: by psql, or by another service. ``models_or_tables``: model classes, labels
    (``"shop.Order"``, ``"shop.*"``) or tables. ``using``: a database alias, None for all cached databases.

    Raises UnknownTable for a name that exists in none of the databases, and StoreUnavailable if a store does not
    answer: the process publishes the invalidation as soon as it does, and reads from the database until then.
    """
    for invalidated in invalidate_tables(models_or_tables, _aliases(using)):
        if invalidated.failed is not None:
            raise invalidated.failed


def changed(*names: str, using: str | None = None) -> None:
    """Invalidate what depends on inputs of these names: see :func:`depends_on`. On all hosts that share the store.

    Call it when an input has changed: a file, or what another service has. In a transaction it counts at once and again
    at its COMMIT. ``using``: a database alias, None for all cached databases.

    Raises ValueError for what is no name, and StoreUnavailable if a store does not answer: the process publishes the
    change as soon as it does.
    """
    inputs = frozenset(map(input_named, names))
    failed: StoreUnavailable | None = None
    for connection, _ in _databases(_aliases(using)):
        try:
            connection.ormcache_writes.explicit.change_inputs(inputs)
        except StoreUnavailable as error:
            failed = error
    if failed is not None:
        raise failed


@dataclass(frozen=True, slots=True)
class InvalidatedTables:
    """What :func:`invalidate_tables` did on one database."""

    using: str
    relations: frozenset[str]  # "*" for everything
    failed: StoreUnavailable | None  # not None: it is published as soon as the store answers


def invalidate_tables(
    models_or_tables: Sequence[type[Model] | str], aliases: Iterable[str] | None = None
) -> list[InvalidatedTables]:
    """Invalidate as :func:`invalidate` does, and return the outcome on each database that has any of these tables.

    ``aliases``: the databases to look at; None for all. Raises UnknownTable.
    """
    found = []
    for connection, relations in _connections_with(models_or_tables, aliases):
        explicit = connection.ormcache_writes.explicit
        reached, failed = explicit.affected_by(relations), None
        try:
            explicit.invalidate(relations)
        except StoreUnavailable as error:
            failed = error
        found.append(InvalidatedTables(connection.alias, reached, failed))
    return found


def explain(
    queryset_or_sql_or_model: QuerySet[Any] | Manager[Any] | type[Model] | str, using: str | None = None
) -> Explanation:
    """Explain what ormcache does with a queryset, with a model's or manager's ``all()``, or with a string of SQL.

    The explanation says whether the result is cached and why not, on which tables it depends and why on each, what the
    statement may change, and whether the cache has the result now. Nothing is run. ``using``: a database alias; None
    for the one of the queryset, the one that the router chooses for the model, or the default one for SQL.

    Raises NotCached (a LookupError) for an alias without an engine of ormcache, and TypeError for anything else.
    """
    if using is None:
        subject = queryset_or_sql_or_model
        if isinstance(subject, (QuerySet, Manager)):
            using = subject.db
        else:
            using = DEFAULT_DB_ALIAS if isinstance(subject, str) else router.db_for_read(subject)
    return explainer.explain(queryset_or_sql_or_model, using)


def last_write(*models_or_tables: type[Model] | str, using: str | None = None) -> datetime.datetime | None:
    """Return since when none of these models or tables was written; without any, since when not everything was
    invalidated at once.

    That is the last write, or, for a table without a write since the cache began, its first read. An aware datetime in
    UTC by the clock of the writer's host: for people and for HTTP headers, not for ordering. None if the cache does not
    know: it is empty, a write is in progress, or a table is on the blacklist.

    Raises UnknownTable and StoreUnavailable.
    """
    latest: float | None = None
    for connection, relations in _connections_with(models_or_tables, _aliases(using)):
        database = connection.ormcache.database
        if database is None:
            return None
        asked = (relations | ALL_ROWS | database.catalog_cache.schema_changes_of(relations)) - {SCHEMA}
        slots = [database.slots.name(relation) for relation in sorted(asked)]
        for value in database.stamps.store.strict.look_up(None, slots)[1]:
            if value is None or not is_stamp(value):
                return None
            latest = max(latest or 0.0, time_of(value))
    return None if latest is None else datetime.datetime.fromtimestamp(latest, datetime.UTC)


def stats(using: str | None = None) -> dict[str, Any]:
    """Return what this process has counted: for one database alias, or for all, by alias.

    ``hits`` (of those, ``row_hits`` of results that depend on single rows), ``misses``, results that were ``stored``,
    entries that were ``damaged``, reads that ``waited`` for another reader's query, ``bypassed`` (reads without a
    lookup) and ``rejected`` (results that were not stored), both by reason, see :mod:`ormcache.reasons`; ``missed`` by
    cause and ``invalidated_by`` by relation (of those, ``row_invalidated`` that depended on single rows); ``writes``;
    times in ``…_seconds``, and sizes in ``bytes_…``.

    ``derived``: functions, fragments and pages that are cached, by kind (``"function"``, ``"fragment"``, ``"page"``)
    and label: ``hits`` (of those, ``outdated_hits`` that were served while another caller computed), ``misses``,
    ``stored``, ``missed`` by cause, ``invalidated`` and ``invalidated_by`` by relation, ``rejected`` by reason, and
    ``last_rejection``, a dict of ``reason``, ``sql``, ``relations`` and ``caller`` (``"path:line"`` of the project that
    ran that statement), and ``subject`` (what it is about, in words, if it is no statement), or None.
    """
    if using is not None:
        return counters_of(using).snapshot()
    return {counters.alias: counters.snapshot() for counters in all_counters()}


def report(using: str) -> Report | None:
    """Return the statistics of one database alias over all processes.

    None if nothing of it is cached or nothing was counted. Connects if need be. Raises StoreUnavailable.
    """
    for _, database in _databases(_aliases(using)):
        return collect_reports(database).get(using)
    return None


def adaptive_bypasses(using: str | None = None) -> list[dict[str, Any]]:
    """Return the statements that bypass the cache in this process for now, because it cost more than it saved.

    For one database alias, or all that are open. Each is a dict: ``using``, ``sql`` (without its parameters),
    ``relations``, ``hits``, ``misses`` and, of those, ``invalidated`` (a write had invalidated the result), ``saved``
    and ``spent`` (seconds), and ``since`` (an aware datetime in UTC), when the bypass began.
    """
    found = []
    for alias in connections if using is None else [using]:
        connection = cached_connection(alias)
        database = None if connection is None else connection.ormcache.known()
        for sql, plan, judgement in [] if database is None else database.plans.adaptive_bypasses():
            counts = asdict(judgement) | {"since": datetime.datetime.fromtimestamp(judgement.since, datetime.UTC)}
            found.append({"using": alias, "sql": sql, "relations": plan.relations, **counts})
    return found


def _aliases(using: str | None) -> list[str] | None:
    return None if using is None else [using]


def _databases(aliases: Iterable[str] | None) -> Iterator[tuple[CachedConnection, Database]]:
    for alias in connections if aliases is None else aliases:
        connection = cached_connection(alias)
        if connection is None:
            continue
        connection.ensure_connection()
        database = connection.ormcache.known()
        if database is not None:
            if not database.catalog_cache.is_loaded:
                database.catalog_cache.load(connection)
            yield connection, database


def _connections_with(
    named: Sequence[type[Model] | str], aliases: Iterable[str] | None
) -> list[tuple[CachedConnection, frozenset[str]]]:
    """Return the connections that have any of these tables, with their relations. Raises UnknownTable."""
    if not named:
        return [(connection, ALL_ROWS_AND_SCHEMA) for connection, _ in _databases(aliases)]
    affected = []
    unknown = set(named)
    for connection, database in _databases(aliases):
        found: set[str] = set()
        for one in named:
            tables = {table_of(one)} if isinstance(one, type) else tables_of(one) or {one}
            relations = {relation for table in tables for relation in database.catalog_cache.find(table)}
            if relations:
                unknown.discard(one)
            found |= relations
        if found:
            affected.append((connection, frozenset(found)))
    if unknown:
        names = sorted(map(str, unknown))
        raise UnknownTable(f"{', '.join(names)}: no model and no table of a cached database", names)
    return affected
