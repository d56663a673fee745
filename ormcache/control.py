"""What a program may ask of the cache."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections, router
from django.db.models import Manager, Model, QuerySet

from ormcache.catalog import ANYTHING, EVERYTHING, SCHEMA
from ormcache.database import Database
from ormcache.figures import all_figures, figures_of
from ormcache.figures.report import Report
from ormcache.insight import explaining
from ormcache.insight.aliases import NotCached
from ormcache.insight.explanation import Explanation
from ormcache.publishing import gathered
from ormcache.selection import table_of, tables_of
from ormcache.stamps import time_of
from ormcache.stores.base import StoreUnavailable, is_stamp
from ormcache.switch import disabled
from ormcache.writes import Writes

__all__ = [
    "NotCached",
    "UnknownTable",
    "disabled",
    "explain",
    "invalidate",
    "last_write",
    "left_alone",
    "report",
    "stats",
]


class UnknownTable(LookupError):
    """A name that is neither a model, nor an app, nor a relation of the database. ``names``: those of the call."""

    def __init__(self, message: str, names: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.names = names


def invalidate(*models_or_tables: type[Model] | str, using: str | None = None) -> None:
    """Retire all results that depend on these models or tables; without any, all results and the known schema.

    ``models_or_tables``: model classes, labels (``"shop.Order"``, ``"shop.*"``) or tables. ``using``: a database
    alias, None for all that are cached. For what was written past ormcache: by psql, by another service.

    Raises UnknownTable for a name that means nothing in any of the databases, StoreUnavailable if a store could not be
    told (the process tells it as soon as it answers, and reads from the database until then).
    """
    for retired in retire(models_or_tables, using):
        if retired.failed is not None:
            raise retired.failed


@dataclass(frozen=True, slots=True)
class Retired:
    """What :func:`retire` has done on one database."""

    using: str
    relations: frozenset[str]  # "*" for everything
    failed: StoreUnavailable | None  # the store could not be told; it is as soon as it answers


def retire(models_or_tables: Sequence[type[Model] | str], using: str | None = None) -> list[Retired]:
    """:func:`invalidate`, and what came of it on each database that has any of these. Raises UnknownTable."""
    found = []
    for connection, relations in _meant(models_or_tables, using):
        writes: Writes = connection.ormcache_writes
        reached, failed = writes.reached(relations), None
        try:
            writes.invalidate(relations)
        except StoreUnavailable as error:
            failed = error
        found.append(Retired(connection.alias, reached, failed))
    return found


def explain(
    queryset_or_sql_or_model: QuerySet[Any] | Manager[Any] | type[Model] | str, using: str | None = None
) -> Explanation:
    """What ormcache makes of a queryset, of a model's or manager's ``all()``, or of a text of SQL, and why.

    Whether its result is cached, on which tables it depends and why on each, what it may change, whether the cache has
    it now. Nothing is run. ``using``: a database alias; None for the one that the queryset, or the router for the
    model, leads to, and for the default one.

    Raises NotCached (a LookupError) for an alias without an engine of ormcache, and TypeError.
    """
    if using is None:
        subject = queryset_or_sql_or_model
        if isinstance(subject, (QuerySet, Manager)):
            using = subject.db
        else:
            using = DEFAULT_DB_ALIAS if isinstance(subject, str) else router.db_for_read(subject)
    return explaining.explain(queryset_or_sql_or_model, using)


def last_write(*models_or_tables: type[Model] | str, using: str | None = None) -> datetime.datetime | None:
    """The moment since when none of these models or tables was written, as far as the cache knows; without any, the
    moment since when not everything was retired at once.

    That is the last write, or, for a table that nobody has written since the cache began, the first read. An aware
    datetime in UTC by the clock of the writer's host: for people and for HTTP headers, not for ordering. None if
    the cache does not know: it is empty, a write is under way, or a table is on the blacklist.

    Raises UnknownTable and StoreUnavailable.
    """
    latest: float | None = None
    for connection, relations in _meant(models_or_tables, using):
        database: Database = connection.ormcache.database
        slots = [database.slot(relation) for relation in sorted((relations - {SCHEMA}) | EVERYTHING)]
        for value in database.stamps.store.strict.look_up(None, slots)[1]:
            if value is None or not is_stamp(value):
                return None
            latest = max(latest or 0.0, time_of(value))
    return None if latest is None else datetime.datetime.fromtimestamp(latest, datetime.UTC)


def stats(using: str | None = None) -> dict[str, Any]:
    """What this process has counted: for one database, or for each by its alias.

    ``hits``, ``misses``, ``kept`` and ``damaged`` entries, reads that ``waited`` while another ran their query,
    ``bypassed`` (reads that did not ask the cache) and ``refused`` (results that were not kept) by reason; the reasons
    are those of :mod:`ormcache.reasons`.
    """
    if using is not None:
        return figures_of(using).snapshot()
    return {figures.alias: figures.snapshot() for figures in all_figures()}


def report(using: str) -> Report | None:
    """The figures of one database alias over all processes; None if nothing is cached there, or nothing was counted.

    Connects if need be. Raises StoreUnavailable.
    """
    for _, database in _databases(using):
        return gathered(database).get(using)
    return None


def left_alone(using: str | None = None) -> list[dict[str, Any]]:
    """Statements for which this process does not ask the cache at the moment, because that cost more than it saved.

    For one database alias, or all that are open. Each is a dict: ``using``, ``sql`` (without its parameters),
    ``relations``, ``hits``, ``misses`` and, of those, ``retired`` (a write had retired what was there), ``saved`` and
    ``spent`` (seconds), and ``until`` (an aware datetime in UTC), when it will be tried again.
    """
    found = []
    for alias in connections if using is None else [using]:
        state = getattr(connections[alias], "ormcache", None)
        database = None if state is None else state.known()
        for sql, plan, judgement in [] if database is None else database.left_alone():
            figures = asdict(judgement) | {"until": datetime.datetime.fromtimestamp(judgement.until, datetime.UTC)}
            found.append({"using": alias, "sql": sql, "relations": plan.relations, **figures})
    return found


def _databases(using: str | None) -> Iterator[tuple[Any, Database]]:
    for alias in connections if using is None else [using]:
        connection: Any = connections[alias]
        state = getattr(connection, "ormcache", None)
        if state is None:
            continue
        connection.ensure_connection()
        database = state.known()
        if database is not None:
            if not database.has_catalog:
                database.load_catalog(connection)
            yield connection, database


def _meant(named: Sequence[type[Model] | str], using: str | None) -> list[tuple[Any, frozenset[str]]]:
    """The connections that have any of these, with the relations meant there. Raises UnknownTable."""
    if not named:
        return [(connection, ANYTHING) for connection, _ in _databases(using)]
    meant = []
    unknown = set(named)
    for connection, database in _databases(using):
        found: set[str] = set()
        for one in named:
            tables = {table_of(one)} if isinstance(one, type) else tables_of(one) or {one}
            relations = {relation for table in tables for relation in database.find(table)}
            if relations:
                unknown.discard(one)
            found |= relations
        if found:
            meant.append((connection, frozenset(found)))
    if unknown:
        names = sorted(map(str, unknown))
        raise UnknownTable(f"{', '.join(names)}: no model and no table of a cached database", names)
    return meant
