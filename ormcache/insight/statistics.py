"""The figures of one database in total, as people and programs take them."""

from __future__ import annotations

import datetime
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields

from ormcache.figures.report import Report
from ormcache.insight.gathering import Known


@dataclass(frozen=True, slots=True)
class Process:
    host: str
    pid: int
    command: str
    began: datetime.datetime
    told: datetime.datetime  # when it last told its figures


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which the store did not answer one of the processes."""

    began: datetime.datetime
    ended: datetime.datetime | None  # None: it goes on
    error: str


@dataclass(frozen=True, slots=True)
class Statistics:
    """One database under one name, over all processes. Times are in seconds; what most came of is first."""

    using: str
    asked: str  # the alias of this project that leads to it
    told: bool  # False: the processes of this project tell nobody their figures (FIGURES_INTERVAL)
    at: datetime.datetime
    since: datetime.datetime | None  # when the first of the processes began
    reads: int
    hits: int
    misses: int
    bypasses: int
    hit_rate: float | None  # of the reads that asked the cache
    missed: Mapping[str, int]  # by cause
    retired_by: Mapping[str, int]  # by relation
    bypassed: Mapping[str, int]  # by reason
    refused: Mapping[str, int]  # by reason
    kept: int
    damaged: int
    waited: int
    waited_seconds: float
    saved_seconds: float  # that hits would have taken the database; an estimate
    database_seconds: float  # that misses, and bypasses that were timed, did take it
    read_seconds: float  # that the cache took for reads
    write_seconds: float  # and for writes
    gain_seconds: float
    bytes_read: int
    bytes_written: int
    writes: int
    untold: int  # of those: the store could not be told at once
    pending: tuple[str, ...]  # relations that wait to be told to it
    outages: tuple[Outage, ...]  # newest first
    processes: tuple[Process, ...]  # by host, oldest first
    unread: int  # processes whose figures could not be read


@dataclass(frozen=True, slots=True)
class Change:
    """How the figures of one database have grown in so many seconds."""

    seconds: float
    reads: float
    hits: float
    misses: float
    bypasses: float
    writes: float
    saved_seconds: float
    read_seconds: float
    write_seconds: float


def statistics_of(known: Known) -> Statistics:
    report = known.report or Report(known.using, time.time())
    total = report.total
    return Statistics(
        using=known.using,
        asked=known.asked,
        told=known.is_told,
        at=moment(report.at),
        since=None if report.since is None else moment(report.since),
        reads=total.reads,
        hits=total.hits,
        misses=total.misses,
        bypasses=total.bypasses,
        hit_rate=total.hit_rate,
        missed=most_first(total.missed),
        retired_by=most_first(total.retired_by),
        bypassed=most_first(total.bypassed),
        refused=most_first(total.refused),
        kept=total.kept,
        damaged=total.damaged,
        waited=total.waited,
        waited_seconds=total.waited_seconds,
        saved_seconds=report.saved_seconds,
        database_seconds=total.query_seconds + total.uncached_seconds,
        read_seconds=total.cache_seconds,
        write_seconds=report.write_seconds,
        gain_seconds=report.gain_seconds,
        bytes_read=total.bytes_read,
        bytes_written=total.bytes_written,
        writes=report.writes,
        untold=report.untold,
        pending=report.pending,
        outages=tuple(
            Outage(moment(one.began), None if one.ended is None else moment(one.ended), one.error)
            for one in report.outages
        ),
        processes=_processes(report),
        unread=report.unread,
    )


def change_of(now: Statistics, before: Statistics) -> Change:
    """What has come since then. Nothing has become less: if a process is gone, so are its figures."""

    def grown(name: str) -> float:
        return max(float(getattr(now, name) - getattr(before, name)), 0.0)

    seconds, *names = (field.name for field in fields(Change))
    return Change(**{seconds: (now.at - before.at).total_seconds()} | {name: grown(name) for name in names})


def moment(at: float) -> datetime.datetime:
    """``at``: seconds since the epoch."""
    return datetime.datetime.fromtimestamp(at, datetime.UTC)


def most_first(counted: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))


def _processes(report: Report) -> tuple[Process, ...]:
    ordered = sorted(report.processes, key=lambda process: (process.host, process.began, process.pid))
    return tuple(Process(one.host, one.pid, one.command, moment(one.began), moment(one.at)) for one in ordered)
