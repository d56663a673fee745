"""The statistics of a whole deployment: the sum of what its processes published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ormcache.database.outside_writes import OutsideCounts, OutsideWrite, lag_not_exceeded
from ormcache.stores.base import StoreOutage
from ormcache.telemetry.counters import Event
from ormcache.telemetry.derived_stats import DerivedCounters
from ormcache.telemetry.history import History, HistoryPoint
from ormcache.telemetry.tally import Tally, saved_seconds

MOST_EVENTS = 200  # in a report
#: Samples of one query in a report: those that were seen most often
MOST_SAMPLES_REPORTED = 64


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """A process that published its statistics. Times are in seconds since the epoch."""

    id: str
    host: str
    pid: int
    command: str  # how it was started, without the values of its arguments
    began: float
    at: float  # when it last published


@dataclass(slots=True)
class QueryReport:
    """One query, over all processes."""

    digest: str
    sql: str
    relations: tuple[str, ...]
    tally: Tally = field(default_factory=Tally)
    callers: dict[str, None] = field(default_factory=dict)  # "path:line", in the order in which they came up
    uses_current_time: bool = False  # is one of its parameters the current time?
    adaptive_bypass: dict[str, Any] | None = None  # why it bypasses the cache in some process: a Judgement
    samples: list[Mapping[str, Any]] = field(default_factory=list)  # see ormcache.telemetry.payload

    def add(self, given: Mapping[str, Any]) -> None:
        """Add what one process published of the query."""
        self.tally.add(Tally.from_mapping(given["tally"]))
        if given["caller"] is not None:
            self.callers[given["caller"]] = None
        self.uses_current_time = self.uses_current_time or given["uses_current_time"]
        self.adaptive_bypass = given["adaptive_bypass"] or self.adaptive_bypass
        self.samples += given["samples"]
        if len(self.samples) > MOST_SAMPLES_REPORTED:
            self.samples = sorted(self.samples, key=lambda sample: sample["seen"], reverse=True)[:MOST_SAMPLES_REPORTED]

    @property
    def saved_seconds(self) -> float:
        """The time that the database would have taken for the hits: an estimate by the mean of its executions."""
        return self.tally.saving_hits * (self.tally.mean_query_seconds or 0.0)

    @property
    def database_seconds(self) -> float:
        """The time that the database took for misses and bypasses, and for hits that were compared."""
        return self.tally.database_seconds


@dataclass(slots=True)
class RelationReport:
    """One relation, over all processes; ``"*"`` stands for writes that invalidate everything."""

    name: str
    tally: Tally = field(default_factory=Tally)
    writes: int = 0
    written_at: float = 0.0  # seconds since the epoch; 0: not while these processes run
    cause: str = ""  # the statement of the last write
    writes_per_minute: float = 0.0
    invalidated: int = 0  # results that its writes invalidated and that were looked up again
    outside_writes: int = 0  # of other programs, that were noticed
    outside_written_at: float = 0.0  # when the last of these was noticed, seconds since the epoch; 0: never

    def add(self, given: Mapping[str, Any], minutes: float) -> None:
        """Add what one process published of the relation. ``minutes``: for which the process has been known."""
        self.tally.add(Tally.from_mapping(given["tally"]))
        self.writes += given["writes"]
        self.writes_per_minute += given["writes"] / minutes
        if given["at"] > self.written_at:
            self.written_at, self.cause = given["at"], given["cause"]

    def record_invalidated(self, count: int) -> None:
        """Record how many results its writes invalidated that were looked up again."""
        self.invalidated = count

    def add_outside(self, given: OutsideWrite) -> None:
        """Add what one process has noticed of other programs' writes to the relation."""
        self.outside_writes += given.times
        self.outside_written_at = max(self.outside_written_at, given.at)


@dataclass(slots=True)
class Report:
    """One database alias, over all processes that published statistics of it within a day."""

    using: str
    at: float  # seconds since the epoch
    processes: list[ProcessInfo] = field(default_factory=list)
    unreadable: int = 0  # processes whose statistics are gone from the store, or signed with another key
    total: Tally = field(default_factory=Tally)
    writes: int = 0
    unpublished: int = 0  # writes that could not be published to the store at once
    write_seconds: float = 0.0
    saved_seconds: float = 0.0  # that the database would have taken for the hits; an estimate
    queries: list[QueryReport] = field(default_factory=list)  # the most time first
    relations: list[RelationReport] = field(default_factory=list)  # by name
    derived: list[DerivedCounters] = field(default_factory=list)  # functions, fragments, pages; the most time first
    history: list[HistoryPoint] = field(default_factory=list)  # oldest first
    events: list[Event] = field(default_factory=list)  # newest first
    outages: list[StoreOutage] = field(default_factory=list)  # newest first
    pending: tuple[str, ...] = ()  # relations whose writes are still to be published to the store

    purges: int = 0  # of CDNs and reverse proxies, that have succeeded
    purge_failures: int = 0  # attempts that have failed
    unpurged: int = 0  # tags that they are still to be purged of

    recorded_writes: int = 0  # writes of other programs that triggers had recorded, and that were invalidated
    recorded_lag_seconds: float = 0.0  # from these writes to their invalidations, in total
    longest_recorded_lag: float = 0.0  # of them
    recorded_lags: tuple[int, ...] = OutsideCounts().lags  # how many of them are in each range
    outside_doubts: int = 0  # SQLite: invalidations of everything because another program may have written

    @property
    def outside_writes(self) -> int:
        """How often a write of another program was noticed."""
        return sum(relation.outside_writes for relation in self.relations)

    @property
    def outside_written_at(self) -> float:
        """When the last one was noticed, in seconds since the epoch; 0: none was."""
        return max((relation.outside_written_at for relation in self.relations), default=0.0)

    @property
    def mean_recorded_lag(self) -> float | None:
        """The mean time from a recorded write to its invalidation, in seconds; None: there was none."""
        return self.recorded_lag_seconds / self.recorded_writes if self.recorded_writes else None

    @property
    def p99_recorded_lag(self) -> float | None:
        """The time in seconds that 99 of 100 recorded writes did not take; None: there was none."""
        return lag_not_exceeded(0.99, self.recorded_lags, self.longest_recorded_lag)

    def add_recorded(self, given: OutsideCounts) -> None:
        """Add what became of the recorded writes in one process, and of what it could not know."""
        self.outside_doubts += given.doubts
        self.recorded_writes += given.recorded
        self.recorded_lag_seconds += given.lag_seconds
        self.longest_recorded_lag = max(self.longest_recorded_lag, given.longest_lag)
        self.recorded_lags = tuple(map(sum, zip(self.recorded_lags, given.lags, strict=True)))

    def add_purges(self, given: Mapping[str, Any]) -> None:
        """Add what became of the purges of one process."""
        self.purges += given["purges"]
        self.purge_failures += given["failures"]
        self.unpurged += given["waiting"]

    def add_writes(self, given: Mapping[str, Any]) -> None:
        """Add the sums over the writes of one process."""
        self.writes += given["writes"]
        self.unpublished += given["unpublished"]
        self.write_seconds += given["seconds"]

    @property
    def since(self) -> float | None:
        """When the first of the processes began; None without any."""
        return min((process.began for process in self.processes), default=None)

    @property
    def cache_seconds(self) -> float:
        """The time that the cache took for reads and writes."""
        return self.total.cache_seconds + self.write_seconds

    @property
    def gain_seconds(self) -> float:
        """The time that was saved, less the time that the cache took."""
        return self.saved_seconds - self.cache_seconds


def time_of(tally: Tally) -> float:
    """Return how many seconds a query is about: what its hits saved and its other reads took, roughly."""
    return tally.saving_hits * (tally.mean_query_seconds or 0.0) + tally.database_seconds


class ReportBuilder:
    """Adds up the payloads of one alias, one after the other, so that they need not all be in memory at once."""

    def __init__(self, using: str, now: float) -> None:
        """``now``: seconds since the epoch."""
        self._report = Report(using, now)
        self._queries: dict[str, QueryReport] = {}
        self._relations: dict[str, RelationReport] = {}
        self._derived: dict[tuple[str, str], DerivedCounters] = {}
        self._history = History()
        self._pending: set[str] = set()
        self._events: dict[tuple[str, tuple[str, ...], str], Event] = {}

    def add(self, payload: Mapping[str, Any]) -> None:
        """Add what one process published, see :mod:`ormcache.telemetry.payload`."""
        report = self._report
        process = ProcessInfo(**payload["process"])
        report.processes.append(process)
        report.total.add(Tally.from_mapping(payload["total"]))
        report.add_writes(payload["writes"])
        # Until now, and not until it last published: a command that has ended writes no more.
        minutes = max((report.at - process.began) / 60, 1.0)
        for name, given in payload["relations"].items():
            self._relations.setdefault(name, RelationReport(name)).add(given, minutes)
        for given in payload["queries"]:
            key = given["key"]
            if key not in self._queries:
                self._queries[key] = QueryReport(given["digest"], given["sql"], tuple(given["relations"]))
            self._queries[key].add(given)
        for given in payload["derived"]:
            counters = DerivedCounters.from_mapping(given)
            self._derived.setdefault((counters.kind, counters.label), counters.empty()).add(counters)
        self._history.add_rows(payload["history"])
        for given in payload["events"]:
            _add_event(self._events, Event(**given | {"relations": tuple(given["relations"])}))
        report.outages.extend(StoreOutage(**outage) for outage in payload["outages"])
        self._pending.update(payload["pending"])
        report.add_purges(payload["purges"])
        outside = OutsideCounts.from_mapping(payload["outside"])
        report.add_recorded(outside)
        for name, noticed in outside.noticed.items():
            self._relations.setdefault(name, RelationReport(name)).add_outside(noticed)

    def report(self) -> Report:
        """Return the sum. Nothing can be added after that."""
        report, relations = self._report, self._relations
        for name, count in report.total.invalidated_by.items():
            relations.setdefault(name, RelationReport(name)).record_invalidated(count)
        queries = sorted(self._queries.values(), key=lambda query: time_of(query.tally), reverse=True)
        return replace(
            report,
            queries=queries,
            relations=[relations[name] for name in sorted(relations)],
            derived=sorted(self._derived.values(), key=lambda one: one.seconds_at_stake, reverse=True),
            saved_seconds=saved_seconds([query.tally for query in queries], report.total),
            history=self._history.points(report.at),
            events=sorted(self._events.values(), reverse=True)[:MOST_EVENTS],
            outages=sorted(report.outages, key=lambda outage: outage.began, reverse=True),
            pending=tuple(sorted(self._pending)),
        )


def _add_event(events: dict[tuple[str, tuple[str, ...], str], Event], event: Event) -> None:
    key = (event.kind, event.relations, event.cause)
    known = events.get(key)
    if known is not None:
        event = event._replace(at=max(event.at, known.at), times=event.times + known.times)
    events[key] = event
