"""Running the most valuable reads again, so that after a deployment the first visitors find them in the cache.

Which those are the figures tell, see :mod:`ormcache.publishing`: of each query the executions that hit most often, with
their parameters. They are run the way the ORM runs them, by the compiler that asks the cache first, in a session as
new connections begin.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any

from django.db import DatabaseError
from django.db.models.sql import Query

from ormcache import signals
from ormcache.database import Database
from ormcache.figures.report import Report
from ormcache.publishing import params_of
from ormcache.rows import Unreadable


@dataclass(frozen=True, slots=True)
class Read:
    """One read that is worth having in the cache."""

    sql: str
    params: tuple[Any, ...] | None
    shape: tuple[str, int, bool]  # how Django cuts its rows, see ormcache.reads
    worth: float  # seconds of the database that it has saved, an estimate


class Warmed(Enum):
    """What became of one."""

    READ = "read"  # from the database, and kept
    THERE = "there"  # in the cache already
    NOT_KEPT = "not kept"
    FAILED = "failed"  # the query means nothing any more, because tables or code have changed


@dataclass(frozen=True, slots=True)
class Outcome:
    read: Read
    result: Warmed
    why: str | None = None  # the reason, or the database's error


def most_valuable(report: Report, most: int) -> list[Read]:
    """The reads that have saved the most, best first."""
    found: dict[tuple[str, Any, tuple[Any, ...]], Read] = {}
    for text in report.texts:
        seen = sum(sample["seen"] for sample in text.samples)
        for sample in text.samples:
            read = _read(sample, text.saved_seconds * sample["seen"] / seen)
            if read is None:
                continue
            key = (sample["sql"], sample["params"], read.shape)
            known = found.get(key)
            found[key] = read if known is None else Read(read.sql, read.params, read.shape, known.worth + read.worth)
    return sorted(found.values(), key=lambda read: read.worth, reverse=True)[:most]


def _read(sample: Mapping[str, Any], worth: float) -> Read | None:
    try:
        params = params_of(sample)
    except Unreadable:
        return None  # of a type that this process does not have
    result_type, columns, extra = sample["shape"]
    return Read(sample["sql"], params, (result_type, columns, extra), worth)


def warm(connection: Any, database: Database, reads: list[Read]) -> Iterator[Outcome]:
    """Run these one by one, in autocommit; nothing but reads that may be cached is run."""
    for read in reads:
        plan, _ = database.plan(read.sql, connection.ormcache.standpoint())
        if plan.obstacle is not None:
            yield Outcome(read, Warmed.NOT_KEPT, plan.obstacle)
            continue
        with _heard(connection.alias) as heard:
            try:
                _run(connection, read)
            except DatabaseError as error:
                yield Outcome(read, Warmed.FAILED, str(error).strip())
                continue
        result, why = heard[-1] if heard else (Warmed.NOT_KEPT, None)
        yield Outcome(read, result, why)


def _run(connection: Any, read: Read) -> None:
    compiler = connection.ops.compiler("SQLCompiler")(Query(None), connection, connection.alias)
    result_type, compiler.col_count, compiler.has_extra_select = read.shape
    compiler.execute_compiled((read.sql, read.params), result_type)


@contextmanager
def _heard(alias: str) -> Iterator[list[tuple[Warmed, str | None]]]:
    """What becomes of the reads of a database inside."""
    found: list[tuple[Warmed, str | None]] = []

    def on_hit(using: str, **kwargs: Any) -> None:
        if using == alias:
            found.append((Warmed.THERE, None))

    def on_miss(using: str, refused: str | None, **kwargs: Any) -> None:
        if using == alias:
            found.append((Warmed.READ if refused is None else Warmed.NOT_KEPT, refused))

    def on_bypass(using: str, reason: str, **kwargs: Any) -> None:
        if using == alias:
            found.append((Warmed.NOT_KEPT, reason))

    signals.hit.connect(on_hit, weak=False)
    signals.missed.connect(on_miss, weak=False)
    signals.bypassed.connect(on_bypass, weak=False)
    try:
        yield found
    finally:
        signals.hit.disconnect(on_hit)
        signals.missed.disconnect(on_miss)
        signals.bypassed.disconnect(on_bypass)
