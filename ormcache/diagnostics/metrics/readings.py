"""Reads the counts of this process, or of all processes, for the table of metrics."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import Error, connections

from ormcache.background.worker import worker
from ormcache.catalog import SCHEMA, is_of_schema
from ormcache.database.database import Database
from ormcache.database.outside_writes import OutsideCounts
from ormcache.diagnostics.metrics.definitions import Reading
from ormcache.exceptions import StoreUnavailable
from ormcache.purging.queue import PurgeCounts
from ormcache.session.connections import cached_connection
from ormcache.telemetry import OTHER_RELATIONS, Tally, all_counters
from ormcache.telemetry.derived_stats import OTHER, DerivedCounters
from ormcache.telemetry.exchange import Exchange
from ormcache.telemetry.publisher import publisher

#: Relations of a process that have a label value of their own in metrics
MOST_RELATIONS = 50
#: Functions, fragments and pages of a process that have a label value of their own in metrics
MOST_LABELS = 50
#: Seconds after which a process that published nothing is left out. Counters that stand still are of no use, and those
#: of processes that have ended would pile up
QUIET = 3600.0


def bounded(counts: Mapping[str, int], most: int) -> dict[str, int]:
    """Return the counts of the first relations, and the sum of all others as ``OTHER_RELATIONS``.

    The first that came up in their process, not the highest counts: a relation that overtakes another one would take
    its count out of ``OTHER_RELATIONS``, which must not fall.
    """
    found: dict[str, int] = {}
    for relation, count in counts.items():
        if relation != SCHEMA and not is_of_schema(relation):
            name = relation if relation in found or len(found) < most else OTHER_RELATIONS
            found[name] = found.get(name, 0) + count
    return found


def bounded_labels(counted: Iterable[DerivedCounters], most: int) -> list[DerivedCounters]:
    """Return the first functions, fragments and pages, and the sum of all others of each kind as ``OTHER``."""
    found: dict[tuple[str, str], DerivedCounters] = {}
    for one in counted:
        key = one.kind, one.label if len(found) < most else OTHER
        found.setdefault(key, DerivedCounters(*key)).add(one)
    return list(found.values())


def process_readings(relations: int = MOST_RELATIONS, labels: int = MOST_LABELS) -> list[Reading]:
    """Return a reading of every alias that this process has used. Asks neither the store nor a database."""
    databases = worker.databases()
    found = []
    for counters in all_counters():
        database = databases.get(counters.alias)
        store = None if database is None else database.stamps.store.strict
        purged = counters.count_purges(PurgeCounts() if database is None else database.purge_counts)
        outside = counters.count_outside(OutsideCounts() if database is None else database.outside_writes.counts)
        found.append(
            Reading(
                counters.alias,
                counters.process,
                counters.total(),
                counters.write_totals.writes,
                counters.write_totals.unpublished,
                counters.write_totals.seconds,
                counters.saved_seconds(),
                counters.count_outages(0 if store is None else store.outage_count),
                bounded(counters.invalidated_counts(), relations),
                bounded(counters.write_counts(), relations),
                bounded_labels(counters.derived, labels),
                purged.purges,
                purged.failures,
                bounded(outside.times, relations),
                outside.recorded,
                outside.lag_seconds,
                outside.within,
                None if store is None else store.is_answering,
                None if store is None else store.is_full,
                None if database is None else len(database.pending.relations),
            )
        )
    return found


def deployment_readings(relations: int = MOST_RELATIONS, labels: int = MOST_LABELS) -> list[Reading]:
    """Return the readings of every process that published statistics lately, as it published them.

    That holds for this process too, so that every process returns the same, and no counter falls because another one
    answers. Connects to databases that this process has not used yet, and leaves out those that do not answer.
    """
    publisher.publish()
    now = time.time()
    found = []
    for database in _databases():
        try:
            payloads = list(Exchange(database).payloads())
        except StoreUnavailable:
            continue
        found += [
            _reading(payload, relations, labels) for payload in payloads if now - payload["process"]["at"] < QUIET
        ]
    return found


def _databases() -> list[Database]:
    """Return the databases behind all aliases, each once."""
    known = worker.databases()
    found: dict[str, Database] = {}
    for alias in connections:
        database = known.get(alias) or _identify(alias)
        if database is not None:
            found[database.identity] = database
    return list(found.values())


def _identify(alias: str) -> Database | None:
    """Return the database behind an alias, whose connection is left as it was."""
    connection = cached_connection(alias)
    if connection is None or connection.ormcache.bypass_reason is not None:
        return None
    state = connection.ormcache
    try:
        known = state.known()
        if known is None and connection.connection is None:
            connection.ensure_connection()
            known = state.known()
            connection.close()
    except (Error, ImproperlyConfigured):
        return None
    return known


def _reading(payload: Mapping[str, Any], relations: int, labels: int) -> Reading:
    """Make a reading of a payload, maybe of another version: see :mod:`ormcache.telemetry.payload`."""
    process, writes = payload["process"], payload["writes"]
    outside = OutsideCounts.from_mapping(payload["outside"])
    return Reading(
        payload["alias"],
        process["id"],
        Tally.from_mapping(payload["total"]),
        writes["writes"],
        writes["unpublished"],
        writes["seconds"],
        payload["saved_seconds"],
        payload["outage_count"],
        bounded(payload["invalidated_counts"], relations),
        bounded(payload["write_counts"], relations),
        bounded_labels(map(DerivedCounters.from_mapping, payload["derived"]), labels),
        payload["purges"]["purges"],
        payload["purges"]["failures"],
        bounded(outside.times, relations),
        outside.recorded,
        outside.lag_seconds,
        outside.within,
        host=process["host"],
        pid=process["pid"],
        command=process["command"],
    )
