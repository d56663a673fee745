"""The table of metrics, for whatever monitoring tool they are exported to.

A counter counts what one process has done since it began, and never falls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from operator import attrgetter

from ormcache.telemetry import Miss, Tally
from ormcache.telemetry.derived_stats import DerivedCounters

#: The values of a metric by the values of its labels, in the order of :attr:`Metric.labels`
Values = Mapping[tuple[str, ...], float]


@dataclass(frozen=True, slots=True)
class Reading:
    """The counts of one database alias in one process at one moment. Times are in seconds."""

    alias: str
    process: str  # an id that no other process has, before or after
    total: Tally = field(default_factory=Tally)
    writes: int = 0
    unpublished: int = 0  # writes that could not be published to the store at once
    write_seconds: float = 0.0
    saved_seconds: float = 0.0  # an estimate that never falls
    outages: int = 0
    #: relation → results that its writes invalidated, and its writes; of a bounded number of relations
    invalidated: Mapping[str, int] = field(default_factory=dict)
    written: Mapping[str, int] = field(default_factory=dict)
    #: of functions, fragments and pages, of a bounded number of labels
    derived: Sequence[DerivedCounters] = ()
    purges: int = 0  # of CDNs and reverse proxies
    purge_failures: int = 0
    #: relation → writes of other programs that were noticed; of a bounded number of relations
    outside: Mapping[str, int] = field(default_factory=dict)
    recorded: int = 0  # writes of other programs that triggers had recorded, and that were invalidated
    recorded_lag_seconds: float = 0.0  # from these writes to their invalidations
    #: upper bound in seconds → how many of these times are not above it
    recorded_within: Mapping[str, int] = field(default_factory=dict)
    # Known only to the process itself. None: it has no database of this alias yet
    is_store_up: bool | None = None
    is_store_full: bool | None = None
    pending: int | None = None
    # Only in readings of other processes
    host: str = ""
    pid: int = 0
    command: str = ""


class MetricKind(Enum):
    """Whether a metric only grows."""

    COUNTER = "counter"
    GAUGE = "gauge"


class MetricSource(Enum):
    """Whose readings a metric has where a whole deployment is exported."""

    EACH_PROCESS = "each process"
    ANSWERING_PROCESS = "the process that answers"  # other processes cannot publish it in time
    DEPLOYMENT = "each process, and only where a whole deployment is exported"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: its name and meaning, and how its values are read."""

    name: str  # without prefix, unit and suffix
    help: str
    values: Callable[[Reading], Values]
    kind: MetricKind = MetricKind.COUNTER
    unit: str = ""  # "seconds", "bytes", or none
    counted: str = ""  # what it counts, if it has no unit
    labels: tuple[str, ...] = ()  # in addition to the alias
    source: MetricSource = MetricSource.EACH_PROCESS


def _value(attribute: str) -> Callable[[Reading], Values]:
    """Read one number, if it is known. ``attribute``: of a reading, with dots."""
    read = attrgetter(attribute)

    def values(reading: Reading) -> Values:
        value = read(reading)
        return {} if value is None else {(): value}

    return values


def _counts(attribute: str, always: tuple[str, ...] = ()) -> Callable[[Reading], Values]:
    """Read a mapping of counts. ``always``: keys that are exported even as 0, so that the first count is a change."""
    read = attrgetter(attribute)

    def values(reading: Reading) -> Values:
        counts: Mapping[str, int] = read(reading)
        return {(key,): counts.get(key, 0) for key in dict.fromkeys((*always, *counts))}

    return values


def _derived(attribute: str) -> Callable[[Reading], Values]:
    """Read one number of each function, fragment and page."""
    read = attrgetter(attribute)

    def values(reading: Reading) -> Values:
        return {(one.kind, one.label): read(one) for one in reading.derived}

    return values


CAUSES = tuple(cause for name, cause in vars(Miss).items() if name.isupper())

METRICS = (
    Metric(
        "requests",
        "Reads of the ORM, by result.",
        lambda reading: {
            ("hit",): reading.total.hits,
            ("miss",): reading.total.misses,
            ("bypass",): reading.total.bypasses,
        },
        counted="request",
        labels=("result",),
    ),
    Metric(
        "row_hits",
        "Hits of results that depend on single rows; requests counts them among its hits.",
        _value("total.row_hits"),
        counted="request",
    ),
    Metric(
        "observed_hits",
        "Hits that were not served, because ENABLED is observe; requests counts them among its hits.",
        _value("total.observed"),
        counted="request",
    ),
    Metric(
        "verified_results",
        "Results of hits that were held against the database, with certainty that they are right or wrong.",
        _value("total.verified"),
        counted="result",
    ),
    Metric(
        "violations",
        "Results of hits that differed from the database, although no write was seen.",
        _value("total.violations"),
        counted="result",
    ),
    Metric(
        "misses",
        "Reads for which the cache had nothing to serve, by cause.",
        _counts("total.missed", CAUSES),
        counted="request",
        labels=("cause",),
    ),
    Metric(
        "bypasses",
        "Reads that bypassed the cache, by reason.",
        _counts("total.bypassed"),
        counted="request",
        labels=("reason",),
    ),
    Metric(
        "stored_results",
        "Results of misses that were stored.",
        _value("total.stored"),
        counted="result",
    ),
    Metric(
        "rejected_results",
        "Results of misses that were not stored, by reason.",
        _counts("total.rejected"),
        counted="result",
        labels=("reason",),
    ),
    Metric(
        "store_read",
        "Size of results read from the store.",
        _value("total.bytes_read"),
        unit="bytes",
    ),
    Metric(
        "store_written",
        "Size of results written to the store.",
        _value("total.bytes_written"),
        unit="bytes",
    ),
    Metric(
        "cache",
        "Time spent in the cache itself, by operation; waiting for other readers is not included.",
        lambda reading: {
            ("hit",): reading.total.hit_seconds,
            ("miss",): reading.total.miss_seconds,
            ("write",): reading.write_seconds,
        },
        unit="seconds",
        labels=("operation",),
    ),
    Metric(
        "database",
        "Time that the database took to answer reads, by result; for a hit only if it was compared.",
        lambda reading: {
            ("hit",): reading.total.compared_seconds,
            ("miss",): reading.total.query_seconds,
            ("bypass",): reading.total.uncached_seconds,
        },
        unit="seconds",
        labels=("result",),
    ),
    Metric(
        "database_queries",
        "Reads that the database answered and that were timed, by result.",
        lambda reading: {
            ("hit",): reading.total.compared,
            ("miss",): reading.total.misses,
            ("bypass",): reading.total.uncached,
        },
        counted="query",
        labels=("result",),
    ),
    Metric(
        "saved",
        "Time that the database would have taken to answer the hits: an estimate from the mean time of each statement.",
        _value("saved_seconds"),
        unit="seconds",
    ),
    Metric(
        "single_flight_waits",
        "Reads that waited for another reader's query of the same result.",
        _value("total.waited"),
        counted="request",
    ),
    Metric(
        "single_flight_wait",
        "Time that such reads took, without their own query.",
        _value("total.waited_seconds"),
        unit="seconds",
    ),
    Metric(
        "damaged_entries",
        "Entries of the store that could not be read and were removed.",
        _value("total.damaged"),
        counted="entry",
    ),
    Metric(
        "writes",
        "Commits and statements that invalidated results.",
        _value("writes"),
        counted="write",
    ),
    Metric(
        "unpublished_writes",
        "Writes that could not be published to the store at once.",
        _value("unpublished"),
        counted="write",
    ),
    Metric(
        "relation_writes",
        "Writes by relation; a write to several relations counts for each.",
        _counts("written"),
        counted="write",
        labels=("relation",),
    ),
    Metric(
        "invalidated_results",
        "Results that were looked up again after a write to this relation had invalidated them.",
        _counts("invalidated"),
        counted="result",
        labels=("relation",),
    ),
    Metric(
        "row_invalidated_results",
        "Results that depended on single rows, looked up again after a write to one of these had invalidated them.",
        _value("total.row_invalidated"),
        counted="result",
    ),
    Metric(
        "derived_hits",
        "Uses of functions, fragments and pages that were served from the cache.",
        _derived("hits"),
        counted="use",
        labels=("kind", "label"),
    ),
    Metric(
        "derived_outdated_hits",
        "Hits of functions, fragments and pages that were served under their grace; derived_hits counts them too.",
        _derived("outdated_hits"),
        counted="use",
        labels=("kind", "label"),
    ),
    Metric(
        "derived_misses",
        "Uses of functions, fragments and pages that were computed.",
        _derived("misses"),
        counted="use",
        labels=("kind", "label"),
    ),
    Metric(
        "derived_invalidations",
        "Functions, fragments and pages that were looked up after a write had invalidated them.",
        _derived("invalidated"),
        counted="use",
        labels=("kind", "label"),
    ),
    Metric(
        "derived_rejections",
        "Functions, fragments and pages that were computed and not stored, by reason.",
        lambda reading: {
            (one.kind, one.label, reason): times for one in reading.derived for reason, times in one.rejected.items()
        },
        counted="use",
        labels=("kind", "label", "reason"),
    ),
    Metric(
        "derived_computing",
        "Time that computing functions, fragments and pages took.",
        _derived("miss_seconds"),
        unit="seconds",
        labels=("kind", "label"),
    ),
    Metric(
        "derived_cache",
        "Time spent in the cache for hits of functions, fragments and pages.",
        _derived("hit_seconds"),
        unit="seconds",
        labels=("kind", "label"),
    ),
    Metric(
        "store_outages",
        "Times that the store stopped answering.",
        _value("outages"),
        counted="outage",
    ),
    Metric(
        "purges",
        "Requests by which CDNs and reverse proxies were purged of what was written.",
        _value("purges"),
        counted="purge",
    ),
    Metric(
        "purge_failures",
        "Attempts to purge a CDN or reverse proxy that have failed, and are retried.",
        _value("purge_failures"),
        counted="attempt",
    ),
    Metric(
        "outside_writes",
        "Times that a write of another program to this relation was noticed, without triggers.",
        _counts("outside"),
        counted="write",
        labels=("relation",),
    ),
    Metric(
        "recorded_writes",
        "Writes of other programs that triggers had recorded, and that were invalidated.",
        _value("recorded"),
        counted="write",
    ),
    Metric(
        "recorded_write_lag",
        "Time from such writes to their invalidations.",
        _value("recorded_lag_seconds"),
        unit="seconds",
    ),
    Metric(
        "recorded_writes_within",
        "Such writes that were invalidated within so many seconds: a histogram of the lag.",
        _counts("recorded_within"),
        counted="write",
        labels=("le",),
    ),
    Metric(
        "store_up",
        "1 if the store answered the last request, 0 if not.",
        _value("is_store_up"),
        kind=MetricKind.GAUGE,
        source=MetricSource.ANSWERING_PROCESS,
    ),
    Metric(
        "store_full",
        "1 if the store had no room for the last new value, 0 if not.",
        _value("is_store_full"),
        kind=MetricKind.GAUGE,
        source=MetricSource.ANSWERING_PROCESS,
    ),
    Metric(
        "pending_relations",
        "Relations whose writes are still to be published to the store.",
        _value("pending"),
        kind=MetricKind.GAUGE,
        counted="relation",
        source=MetricSource.ANSWERING_PROCESS,
    ),
    Metric(
        "process_info",
        "1 for each process that has published its statistics lately.",
        lambda reading: {(reading.host, str(reading.pid), reading.command): 1},
        kind=MetricKind.GAUGE,
        labels=("host", "pid", "command"),
        source=MetricSource.DEPLOYMENT,
    ),
)
