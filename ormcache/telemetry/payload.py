"""What a process publishes of one database alias: plain values, as JSON takes them.

:class:`~ormcache.telemetry.report.ReportBuilder` adds them up, and :mod:`ormcache.diagnostics.metrics.readings` makes
metrics of them.
"""

from __future__ import annotations

import base64
import os
import socket
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ormcache.cache import serializer
from ormcache.cache.adaptive import Judgement
from ormcache.cache.keys import digest
from ormcache.cache.serializer import Unreadable, Unserializable
from ormcache.database.database import Database
from ormcache.telemetry.counters import Counters, RelationWrites
from ormcache.telemetry.derived_stats import DerivedCounters
from ormcache.telemetry.history import History
from ormcache.telemetry.query_stats import QueryCounters, Sample
from ormcache.telemetry.report import ProcessInfo, time_of
from ormcache.telemetry.tally import Tally

#: Queries that one process publishes: those that saved or took the most time
MOST_QUERIES_PUBLISHED = 200
#: Functions, fragments and pages whose last rejected use one process publishes, with its statement: those that took the
#: most time. The counts of all are published
MOST_REJECTIONS_PUBLISHED = 100
#: Relations that one process publishes: those that are read and written most
MOST_RELATIONS_PUBLISHED = 1000

#: Where psycopg has the types that Django wraps some numbers in; they come back as what they were
_NUMBERS = "psycopg.types.numeric"

#: Of the names below and of what they mean: other names are another version
VERSION = 5

#: JSON-ready values
Payload = dict[str, Any]


def payload_of(counters: Counters, database: Database, history: History, most_queries: int) -> Payload:
    """Describe what this process has counted of one alias, with so many of its queries."""
    bypasses = {
        (plan.statement.digest, plan.relations): judged for _, plan, judged in database.plans.adaptive_bypasses()
    }
    queries = sorted(counters.queries(), key=lambda query: time_of(query.tally), reverse=True)[:most_queries]
    store = database.stamps.store.strict
    return {
        "version": VERSION,
        "process": asdict(
            ProcessInfo(counters.process, socket.gethostname(), os.getpid(), _command(), counters.began, time.time())
        ),
        "alias": counters.alias,
        **counts_of(counters, min(most_queries, MOST_REJECTIONS_PUBLISHED)),
        "queries": [_describe_query(query, bypasses.get(query.key)) for query in queries],
        "history": history.rows(),
        "outage_count": counters.count_outages(store.outage_count),
        "outages": [outage._asdict() for outage in store.outages],
        "pending": sorted(database.pending.relations),
        "purges": counters.count_purges(database.purge_counts)._asdict(),
        "outside": counters.count_outside(database.outside_writes.counts).as_mapping(),
    }


def counts_of(counters: Counters, most_rejections: int = MOST_REJECTIONS_PUBLISHED) -> Payload:
    """Describe the counts alone, without queries and without what only the database and its store know.

    ``most_rejections``: so many functions, fragments and pages are described with their last rejected use.
    """
    return {
        "total": counters.total().nonzero(),
        "writes": asdict(counters.write_totals),
        "relations": _describe_relations(counters.tally_by_relation(), counters.relation_writes()),
        "events": [event._asdict() for event in counters.events()],
        "saved_seconds": counters.saved_seconds(),
        # In the order in which the relations came up: see ormcache.diagnostics.metrics.readings
        "write_counts": counters.write_counts(),
        "invalidated_counts": counters.invalidated_counts(),
        "derived": _describe_derived(counters.derived, most_rejections),
    }


def _describe_derived(counted: Sequence[DerivedCounters], most_rejections: int) -> list[Payload]:
    """Describe functions, fragments and pages, in the order in which they came up."""
    slowest = sorted(counted, key=lambda one: one.miss_seconds, reverse=True)[:most_rejections]
    with_sql = {(one.kind, one.label) for one in slowest}
    return [one.published(with_sql=(one.kind, one.label) in with_sql) for one in counted]


def totals_of(counters: Counters) -> tuple[float, ...]:
    """Return the totals that :mod:`~ormcache.telemetry.history` follows, one for each of its columns."""
    total, writes = counters.total(), counters.write_totals
    return (
        total.hits,
        total.misses,
        total.bypasses,
        writes.writes,
        total.missed.get("invalidated", 0),
        counters.saved_seconds(),
        total.cache_seconds + writes.seconds,
        total.database_seconds,
    )


def params_of(sample: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """Return the parameters of one of :attr:`QueryReport.samples`. Raises Unreadable."""
    if sample["params"] is None:
        return None
    values = list(serializer.decode(base64.b85decode(sample["params"])))
    for place, name in sample["numbers"].items():
        kind = getattr(sys.modules.get(_NUMBERS), name, None)
        if kind is None:
            raise Unreadable(f"psycopg has no type {name} any more")
        values[int(place)] = kind(values[int(place)])
    return tuple(values)


def _describe_relations(tallies: Mapping[str, Tally], writes: Mapping[str, RelationWrites]) -> Payload:
    no_reads, no_writes = Tally(), RelationWrites()

    def activity(name: str) -> int:
        return tallies.get(name, no_reads).reads + writes.get(name, no_writes).writes

    busiest = sorted(tallies.keys() | writes.keys(), key=activity, reverse=True)[:MOST_RELATIONS_PUBLISHED]
    return {
        name: {
            "tally": tallies.get(name, no_reads).nonzero(),
            "writes": of_relation.writes,
            "at": of_relation.at,
            "cause": of_relation.cause(name),
        }
        for name in sorted(busiest)
        for of_relation in [writes.get(name, no_writes)]
    }


def _describe_query(query: QueryCounters, judgement: Judgement | None) -> Payload:
    names = "\n".join(sorted(query.relations))
    return {
        "key": digest(query.digest, names.encode("utf-8", "surrogatepass")).hex(),
        "digest": query.digest.hex(),
        "sql": query.sql,
        "relations": sorted(query.relations),
        "tally": query.tally.nonzero(),
        "caller": query.caller,
        "uses_current_time": query.uses_current_time,
        "adaptive_bypass": None if judgement is None else asdict(judgement),
        "samples": list(_describe_samples(query.samples.values())),
    }


def _describe_samples(samples: Iterable[Sample]) -> Iterable[Payload]:
    """Describe those whose parameters can be serialized."""
    for sample in samples:
        params, numbers = None, {}
        if sample.params is not None:
            values = list(sample.params)
            for place, value in enumerate(values):
                if type(value).__module__ == _NUMBERS:
                    numbers[str(place)] = type(value).__name__
                    values[place] = float(value) if isinstance(value, float) else int(value)
            try:
                params = base64.b85encode(serializer.encode(tuple(values))).decode()
            except Unserializable:
                continue
        yield {
            "sql": sample.sql,
            "params": params,
            "numbers": numbers,
            "shape": list(sample.shape),
            "seen": sample.seen,
        }


def _command() -> str:
    """Return how the process was started: the program, and the name of a management command."""
    program = os.path.basename(sys.argv[0] or "python")
    return f"{program} {sys.argv[1]}" if program in ("manage.py", "django-admin") and sys.argv[1:] else program
