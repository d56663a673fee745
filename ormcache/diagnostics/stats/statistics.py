"""The statistics of one database in total, as people and programs take them."""

from __future__ import annotations

import datetime
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields

from ormcache.diagnostics.stats.collection import DatabaseReport
from ormcache.telemetry.report import Report


@dataclass(frozen=True, slots=True)
class ReportingProcess:
    host: str
    pid: int
    command: str
    began: datetime.datetime
    last_published: datetime.datetime  # when it last published its statistics


@dataclass(frozen=True, slots=True)
class OutagePeriod:
    """A time in which the store did not answer one of the processes."""

    began: datetime.datetime
    ended: datetime.datetime | None  # None: it goes on
    error: str


@dataclass(frozen=True, slots=True)
class DatabaseStatistics:
    """One database under one name, over all processes.

    Times are in seconds. Mappings have the highest counts first.
    """

    using: str
    own_alias: str  # the alias of this project that leads to it
    published: bool  # False: the processes of this project publish no statistics (STATISTICS_INTERVAL)
    at: datetime.datetime
    since: datetime.datetime | None  # when the first of the processes began
    reads: int
    hits: int
    row_hits: int  # of those: hits of results that depend on single rows
    misses: int
    bypasses: int
    hit_rate: float | None  # of lookups, from 0 to 1
    missed: Mapping[str, int]  # by cause
    invalidated_by: Mapping[str, int]  # by relation
    row_invalidated: int  # of the results that writes invalidated: those that depended on single rows
    bypassed: Mapping[str, int]  # by reason
    rejected: Mapping[str, int]  # by reason
    compared: int  # hits whose query was run all the same: VERIFY, or ENABLED "observe"
    compared_seconds: float
    observed: int  # of those: because ENABLED is "observe"
    verified: int  # of those that were compared: it is certain whether the stored result was right
    violations: int  # of those: it was not
    stored: int
    damaged: int
    waited: int
    waited_seconds: float
    saved_seconds: float  # that hits would have taken the database; an estimate
    database_seconds: float  # that misses, bypasses that were timed, and hits that were compared did take it
    read_seconds: float  # that the cache took for reads
    write_seconds: float  # and for writes
    gain_seconds: float
    bytes_read: int
    bytes_written: int
    writes: int
    unpublished: int  # of those: the store could not be reached at once
    pending: tuple[str, ...]  # relations whose invalidation waits for the store
    purges: int  # of CDNs and reverse proxies, that have succeeded
    purge_failures: int  # attempts that have failed
    unpurged: int  # tags that they are still to be purged of
    outside_writes: Mapping[str, int]  # of other programs, that were noticed, by relation; "*": the file of SQLite
    outside_written: datetime.datetime | None  # when the last of these was noticed
    outside_doubts: int  # SQLite: invalidations of everything because another program may have written
    recorded_writes: int  # of other programs, that triggers had recorded, and that were invalidated
    mean_recorded_lag: float | None  # from these writes to their invalidations
    p99_recorded_lag: float | None  # what 99 of 100 did not exceed
    longest_recorded_lag: float | None
    outages: tuple[OutagePeriod, ...]  # newest first
    processes: tuple[ReportingProcess, ...]  # by host, oldest first
    unreadable: int  # processes whose statistics could not be read


@dataclass(frozen=True, slots=True)
class StatisticsChange:
    """How the statistics of one database have grown in so many seconds."""

    seconds: float
    reads: float
    hits: float
    misses: float
    bypasses: float
    writes: float
    saved_seconds: float
    read_seconds: float
    write_seconds: float


def summarize(known: DatabaseReport) -> DatabaseStatistics:
    report = known.report or Report(known.using, time.time())
    total = report.total
    return DatabaseStatistics(
        using=known.using,
        own_alias=known.own_alias,
        published=known.is_published,
        at=utc(report.at),
        since=None if report.since is None else utc(report.since),
        reads=total.reads,
        hits=total.hits,
        row_hits=total.row_hits,
        misses=total.misses,
        bypasses=total.bypasses,
        hit_rate=total.hit_rate,
        missed=highest_first(total.missed),
        invalidated_by=highest_first(total.invalidated_by),
        row_invalidated=total.row_invalidated,
        bypassed=highest_first(total.bypassed),
        rejected=highest_first(total.rejected),
        compared=total.compared,
        compared_seconds=total.compared_seconds,
        observed=total.observed,
        verified=total.verified,
        violations=total.violations,
        stored=total.stored,
        damaged=total.damaged,
        waited=total.waited,
        waited_seconds=total.waited_seconds,
        saved_seconds=report.saved_seconds,
        database_seconds=total.database_seconds,
        read_seconds=total.cache_seconds,
        write_seconds=report.write_seconds,
        gain_seconds=report.gain_seconds,
        bytes_read=total.bytes_read,
        bytes_written=total.bytes_written,
        writes=report.writes,
        unpublished=report.unpublished,
        pending=report.pending,
        purges=report.purges,
        purge_failures=report.purge_failures,
        unpurged=report.unpurged,
        outside_writes=outside_writes_of(report),
        outside_written=utc(report.outside_written_at) if report.outside_written_at else None,
        outside_doubts=report.outside_doubts,
        recorded_writes=report.recorded_writes,
        mean_recorded_lag=report.mean_recorded_lag,
        p99_recorded_lag=report.p99_recorded_lag,
        longest_recorded_lag=report.longest_recorded_lag if report.recorded_writes else None,
        outages=tuple(
            OutagePeriod(utc(one.began), None if one.ended is None else utc(one.ended), one.error)
            for one in report.outages
        ),
        processes=_processes(report),
        unreadable=report.unreadable,
    )


def difference(now: DatabaseStatistics, before: DatabaseStatistics) -> StatisticsChange:
    """Return by how much statistics have grown. Where they have shrunk, because a process has gone, return 0."""

    def growth(name: str) -> float:
        return max(float(getattr(now, name) - getattr(before, name)), 0.0)

    seconds, *names = (field.name for field in fields(StatisticsChange))
    return StatisticsChange(**{seconds: (now.at - before.at).total_seconds()} | {name: growth(name) for name in names})


def utc(seconds: float) -> datetime.datetime:
    """Convert seconds since the epoch."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


def highest_first(counts: Mapping[str, int]) -> dict[str, int]:
    """Sort counts, the highest first; equal ones by name."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def outside_writes_of(report: Report) -> dict[str, int]:
    """Return relation → writes of other programs that were noticed, the highest first."""
    return highest_first({one.name: one.outside_writes for one in report.relations if one.outside_writes})


def _processes(report: Report) -> tuple[ReportingProcess, ...]:
    ordered = sorted(report.processes, key=lambda process: (process.host, process.began, process.pid))
    return tuple(ReportingProcess(one.host, one.pid, one.command, utc(one.began), utc(one.at)) for one in ordered)
