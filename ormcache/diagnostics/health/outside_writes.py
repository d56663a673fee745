"""Findings about writes of other programs that were noticed without triggers."""

from __future__ import annotations

from collections.abc import Iterator

from ormcache.catalog import EPOCH
from ormcache.diagnostics.format.outside_writes import describe_outside_writes
from ormcache.diagnostics.health.findings import NOTE, WARNING, Finding
from ormcache.diagnostics.stats.statistics import outside_writes_of, utc
from ormcache.telemetry.report import Report


def judge_outside_writes(report: Report) -> Iterator[Finding]:
    """Judge what all processes have noticed."""
    times = outside_writes_of(report)
    if not times:
        return
    text = f"{describe_outside_writes(times, utc(report.outside_written_at))}."
    if EPOCH in times:  # SQLite: each was noticed by the next read
        hint = "Each invalidates everything. Let these programs write through ormcache if hits matter."
        yield Finding(NOTE, "outside", text, hint)
    else:
        hint = (
            "Results were stale until then. Run: manage.py ormcache triggers install. Or let these programs write "
            "through ormcache, or put the tables on the BLACKLIST."
        )
        yield Finding(WARNING, "outside", text, hint)
