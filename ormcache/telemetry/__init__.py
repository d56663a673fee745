"""Counts what became of reads and writes, how long it took and what it saved, and publishes that to other processes."""

from ormcache.database.outside_writes import OTHER_RELATIONS
from ormcache.reasons import Miss
from ormcache.telemetry.counters import (
    Counters,
    Event,
    RelationWrites,
    WriteTotals,
    all_counters,
    counters_of,
)
from ormcache.telemetry.query_stats import QueryCounters, Sample
from ormcache.telemetry.tally import Tally, total_of

__all__ = [
    "OTHER_RELATIONS",
    "Counters",
    "Event",
    "Miss",
    "QueryCounters",
    "RelationWrites",
    "Sample",
    "Tally",
    "WriteTotals",
    "all_counters",
    "counters_of",
    "total_of",
]
