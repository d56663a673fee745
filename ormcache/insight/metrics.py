"""The metrics that monitoring tools are told: one table for all of them.

A counter counts what one process has done since it began, and never falls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from ormcache.figures import Miss, Tally

#: The values of a metric by the values of its labels, in the order of :attr:`Metric.labels`
Values = Mapping[tuple[str, ...], float]


@dataclass(frozen=True, slots=True)
class Reading:
    """The figures of one database alias in one process at one moment. Times are in seconds."""

    alias: str
    process: str  # an id that no other process has, before or after
    total: Tally = field(default_factory=Tally)
    writes: int = 0
    untold: int = 0  # writes that the store could not be told of at once
    write_seconds: float = 0.0
    saved_seconds: float = 0.0  # an estimate that does not fall
    outages: int = 0
    #: relation → results that its writes have retired, and its writes; of a bounded number of relations
    retired: Mapping[str, int] = field(default_factory=dict)
    written: Mapping[str, int] = field(default_factory=dict)
    # What only the process itself knows of the present moment. None: it knows no database of this alias yet
    is_store_up: bool | None = None
    pending: int | None = None
    # Only of what was told by a process
    host: str = ""
    pid: int = 0
    command: str = ""


class Kind(Enum):
    COUNTER = "counter"
    GAUGE = "gauge"


class Of(Enum):
    """Whose readings a metric is made of, where a whole deployment is asked."""

    EACH = "each process"
    ASKED = "the process that answers"  # it is of the present moment, which the others cannot tell in time
    TOLD = "each process, but only in a whole deployment"


@dataclass(frozen=True, slots=True)
class Metric:
    name: str  # without prefix, unit and suffix
    help: str
    values: Callable[[Reading], Values]
    kind: Kind = Kind.COUNTER
    unit: str = ""  # "seconds", "bytes", or none
    counted: str = ""  # what it counts, where it has no unit
    labels: tuple[str, ...] = ()  # beside the alias
    of: Of = Of.EACH


def _one(value: float | None) -> Values:
    return {} if value is None else {(): value}


def _by(counts: Mapping[str, int], always: tuple[str, ...] = ()) -> Values:
    """``always``: what is told even if there was none, so that the first one is seen to be a change."""
    return {(key,): counts.get(key, 0) for key in (*dict.fromkeys((*always, *counts)),)}


CAUSES = tuple(cause for name, cause in vars(Miss).items() if name.isupper())

METRICS = (
    Metric(
        "requests",
        "Reads of the ORM by what became of them.",
        lambda one: {("hit",): one.total.hits, ("miss",): one.total.misses, ("bypass",): one.total.bypasses},
        counted="request",
        labels=("result",),
    ),
    Metric(
        "misses",
        "Reads that found nothing to serve, by why.",
        lambda one: _by(one.total.missed, CAUSES),
        counted="request",
        labels=("cause",),
    ),
    Metric(
        "bypasses",
        "Reads that did not ask the cache, by reason.",
        lambda one: _by(one.total.bypassed),
        counted="request",
        labels=("reason",),
    ),
    Metric(
        "kept",
        "Results of misses that were kept.",
        lambda one: _one(one.total.kept),
        counted="result",
    ),
    Metric(
        "refused",
        "Results of misses that were not kept, by reason.",
        lambda one: _by(one.total.refused),
        counted="result",
        labels=("reason",),
    ),
    Metric(
        "read",
        "Size of results read from the store.",
        lambda one: _one(one.total.bytes_read),
        unit="bytes",
    ),
    Metric(
        "written",
        "Size of results put into the store.",
        lambda one: _one(one.total.bytes_written),
        unit="bytes",
    ),
    Metric(
        "cache",
        "Time that the cache itself took, by what it did; waiting for other readers is not in it.",
        lambda one: {
            ("hit",): one.total.hit_seconds,
            ("miss",): one.total.miss_seconds,
            ("write",): one.write_seconds,
        },
        unit="seconds",
        labels=("on",),
    ),
    Metric(
        "database",
        "Time that the database took for reads.",
        lambda one: {("miss",): one.total.query_seconds, ("bypass",): one.total.uncached_seconds},
        unit="seconds",
        labels=("on",),
    ),
    Metric(
        "database_queries",
        "Reads that the database was asked for and whose time was taken.",
        lambda one: {("miss",): one.total.misses, ("bypass",): one.total.uncached},
        counted="query",
        labels=("on",),
    ),
    Metric(
        "saved",
        "Time that hits would have taken the database: an estimate by the mean of each statement.",
        lambda one: _one(one.saved_seconds),
        unit="seconds",
    ),
    Metric(
        "waits",
        "Reads that waited for another reader's query.",
        lambda one: _one(one.total.waited),
        counted="request",
    ),
    Metric(
        "waited",
        "Time that such reads took besides their own query.",
        lambda one: _one(one.total.waited_seconds),
        unit="seconds",
    ),
    Metric(
        "damaged",
        "Entries of the store that could not be read and were removed.",
        lambda one: _one(one.total.damaged),
        counted="entry",
    ),
    Metric(
        "writes",
        "Commits and statements that retired results.",
        lambda one: _one(one.writes),
        counted="write",
    ),
    Metric(
        "untold_writes",
        "Writes that the store could not be told of at once.",
        lambda one: _one(one.untold),
        counted="write",
    ),
    Metric(
        "relation_writes",
        "Writes by relation; one to several counts for each.",
        lambda one: _by(one.written),
        counted="write",
        labels=("relation",),
    ),
    Metric(
        "retired",
        "Results that were asked for again after a write to this relation had retired them.",
        lambda one: _by(one.retired),
        counted="result",
        labels=("relation",),
    ),
    Metric(
        "store_outages",
        "Times that the store stopped to answer.",
        lambda one: _one(one.outages),
        counted="outage",
    ),
    Metric(
        "store_up",
        "1 if the store answered when it was last asked, 0 if not.",
        lambda one: _one(one.is_store_up),
        kind=Kind.GAUGE,
        of=Of.ASKED,
    ),
    Metric(
        "pending_relations",
        "Relations whose writes wait to be told to the store.",
        lambda one: _one(one.pending),
        kind=Kind.GAUGE,
        counted="relation",
        of=Of.ASKED,
    ),
    Metric(
        "process_info",
        "1 for each process that has told its figures lately.",
        lambda one: {(one.host, str(one.pid), one.command): 1},
        kind=Kind.GAUGE,
        labels=("host", "pid", "command"),
        of=Of.TOLD,
    ),
)
