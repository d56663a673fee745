"""Repeats the most valuable reads, so that after a deployment the first visitors find their results in the cache.

Which reads those are is known from the statistics: of each query, the executions that hit most often are published with
their parameters, see :mod:`ormcache.telemetry.payload`. They are run as the ORM runs them, through the compiler that
looks in the cache first, in a session as new connections begin it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any

from django.db import Error
from django.db.models.sql import Query

from ormcache.cache.serializer import Unreadable
from ormcache.database.database import Database
from ormcache.telemetry.listener import HIT, MISS
from ormcache.telemetry.payload import params_of
from ormcache.telemetry.recorder import RecordedRead, Recorder
from ormcache.telemetry.report import Report

if TYPE_CHECKING:
    from ormcache.connection.protocol import CachedConnection


@dataclass(frozen=True, slots=True)
class WarmupRead:
    """One read whose result is worth having in the cache."""

    sql: str
    params: tuple[Any, ...] | None
    shape: tuple[str, int, bool]  # how Django cuts its rows, see ormcache.read_path.read
    saved_seconds: float  # of database time, by its hits so far; an estimate


class WarmupResult(Enum):
    """What became of one read."""

    STORED = "stored"  # read from the database, and stored
    PRESENT = "present"  # in the cache already
    NOT_STORED = "not stored"
    FAILED = "failed"  # the database rejects the query: tables or code have changed


@dataclass(frozen=True, slots=True)
class WarmupOutcome:
    read: WarmupRead
    result: WarmupResult
    reason: str | None = None  # of ormcache.reasons, or the database's error


def most_valuable(report: Report, most: int) -> list[WarmupRead]:
    """Return the reads that have saved the most time, best first."""
    found: dict[tuple[str, Any, tuple[Any, ...]], WarmupRead] = {}
    for text in report.queries:
        seen = sum(sample["seen"] for sample in text.samples)
        for sample in text.samples:
            read = _read(sample, text.saved_seconds * sample["seen"] / seen)
            if read is None:
                continue
            key = (sample["sql"], sample["params"], read.shape)
            known = found.get(key)
            found[key] = (
                read if known is None else replace(read, saved_seconds=known.saved_seconds + read.saved_seconds)
            )
    return sorted(found.values(), key=lambda read: read.saved_seconds, reverse=True)[:most]


def _read(sample: Mapping[str, Any], saved_seconds: float) -> WarmupRead | None:
    try:
        params = params_of(sample)
    except Unreadable:
        return None  # of a type that this process does not have
    result_type, columns, extra = sample["shape"]
    return WarmupRead(sample["sql"], params, (result_type, columns, extra), saved_seconds)


def warm(connection: CachedConnection, database: Database, reads: list[WarmupRead]) -> Iterator[WarmupOutcome]:
    """Run these reads one by one, in autocommit; those whose results may not be cached are left out.

    The results go to the store, where all processes find them, whatever SHARE says. The reads do not count in the
    statistics.
    """
    for read in reads:
        plan, _ = database.plans.plan(read.sql, connection.ormcache.resolution_context())
        if plan.bypass_reason is not None:
            yield WarmupOutcome(read, WarmupResult.NOT_STORED, plan.bypass_reason)
            continue
        with Recorder(connection.alias) as recorder, connection.ormcache.observer.uncounted():
            try:
                _run(connection, read)
                result, reason = _result_of(recorder.reads[0])
                if result is WarmupResult.STORED and database.config.share == "auto":
                    # A cheap result stays in the memory of this process until it is looked up a second time.
                    _run(connection, read)
            except Error as error:
                result, reason = WarmupResult.FAILED, str(error).strip()
        yield WarmupOutcome(read, result, reason)


def _run(connection: CachedConnection, read: WarmupRead) -> None:
    compiler: Any = connection.ops.compiler("SQLCompiler")
    compiler = compiler(Query(None), connection, connection.alias)
    result_type, compiler.col_count, compiler.has_extra_select = read.shape
    compiler.execute_compiled((read.sql, read.params), result_type)


def _result_of(read: RecordedRead) -> tuple[WarmupResult, str | None]:
    if read.outcome == HIT:
        return WarmupResult.PRESENT, None
    reason = read.rejected if read.outcome == MISS else read.reason
    return (WarmupResult.STORED if reason is None else WarmupResult.NOT_STORED), reason
