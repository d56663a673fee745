"""The tables and the queries of one database, each with its statistics and a judgement, sorted."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ormcache.diagnostics.advice.advice import AdviceContext
from ormcache.diagnostics.advice.queries import judge_query
from ormcache.diagnostics.advice.tables import judge_table
from ormcache.diagnostics.format.sql import StatementMasker
from ormcache.diagnostics.stats.collection import DatabaseReport
from ormcache.diagnostics.stats.statistics import highest_first, utc
from ormcache.telemetry.report import QueryReport, RelationReport, Report


@dataclass(frozen=True, slots=True)
class TableStatistics:
    """One relation. Times are in seconds."""

    name: str  # "*" for everything, "*schema" for the schema
    reads: int
    hits: int
    row_hits: int  # of those: hits of results that depend on single rows
    misses: int
    bypasses: int
    hit_rate: float | None  # of lookups, from 0 to 1
    writes: int
    writes_per_minute: float
    written: datetime.datetime | None  # None: not since these processes began
    cause: str  # the statement of the last write
    outside_writes: int  # of other programs, that were noticed
    outside_written: datetime.datetime | None  # when the last of these was noticed
    invalidated: int  # results that its writes have invalidated, and that were looked up again
    row_invalidated: int  # invalidated results of its reads that depended on single rows
    verified: int  # hits of which it is certain whether they were right, by comparison with the database
    violations: int  # of those: they were not
    saved_seconds: float
    spent_seconds: float  # by the cache, for reads and writes
    verdict: str
    finding: str


@dataclass(frozen=True, slots=True)
class QueryStatistics:
    """One statement. Times are in seconds; mappings have the highest counts first."""

    digest: str
    sql: str
    relations: tuple[str, ...]
    callers: tuple[str, ...]  # "path:line"
    reads: int
    hits: int
    row_hits: int  # of those: hits of results that depend on single rows
    misses: int
    bypasses: int
    hit_rate: float | None  # of lookups, from 0 to 1
    missed: Mapping[str, int]  # by cause
    invalidated_by: Mapping[str, int]  # by relation
    row_invalidated: int  # of the invalidated results: those that depended on single rows
    verified: int  # hits of which it is certain whether they were right, by comparison with the database
    violations: int  # of those: they were not
    bypassed: Mapping[str, int]  # by reason
    rejected: Mapping[str, int]  # by reason
    mean_seconds: float | None  # that one execution takes the database
    saved_seconds: float
    database_seconds: float  # that its misses and bypasses took
    uncached_seconds: float  # that its bypasses took
    spent_seconds: float  # that the cache took
    adaptive_bypass: bool  # whether some process bypasses the cache for it at the moment
    verdict: str
    finding: str
    remedy: str
    setting: str | None  # that the remedy is about


#: Column of tables → its value, and whether high values come first. Unknown values come last
SORTS: dict[str, tuple[Callable[[TableStatistics], Any], bool]] = {
    "name": (lambda table: table.name, False),
    "reads": (lambda table: table.reads, True),
    "hits": (lambda table: table.hit_rate, True),
    "rows": (lambda table: table.row_hits, True),
    "writes": (lambda table: table.writes_per_minute, True),
    "written": (lambda table: table.written, True),
    "invalidated": (lambda table: table.invalidated, True),
    "saved": (lambda table: table.saved_seconds, True),
    "spent": (lambda table: table.spent_seconds, True),
    "verdict": (lambda table: table.verdict, False),
}

#: Name of a list of queries → its title, and the value by which it is sorted
ORDERS: dict[str, tuple[str, Callable[[QueryStatistics], float]]] = {
    "saved": ("most time saved", lambda query: query.saved_seconds),
    "misses": ("most misses", lambda query: query.misses),
    "uncached": ("most time in bypasses", lambda query: query.uncached_seconds),
    "reads": ("most reads", lambda query: query.reads),
}


def rank_tables(known: DatabaseReport, sort: str) -> list[TableStatistics]:
    """List all tables. ``sort``: one of :data:`SORTS`."""
    report = known.report
    if report is None:
        return []
    context, masker = known.advice_context, known.masker
    tables = [_table(relation, report, context, masker) for relation in report.relations]
    value, descending = SORTS[sort]
    ranked = sorted((one for one in tables if value(one) is not None), key=value, reverse=descending)
    return ranked + [one for one in tables if value(one) is None]


def _table(
    relation: RelationReport, report: Report, context: AdviceContext, masker: StatementMasker
) -> TableStatistics:
    advice, tally = judge_table(relation, report, context), relation.tally
    return TableStatistics(
        relation.name,
        tally.reads,
        tally.hits,
        tally.row_hits,
        tally.misses,
        tally.bypasses,
        tally.hit_rate,
        relation.writes,
        relation.writes_per_minute,
        utc(relation.written_at) if relation.written_at else None,
        masker.mask(relation.cause),
        relation.outside_writes,
        utc(relation.outside_written_at) if relation.outside_written_at else None,
        relation.invalidated,
        tally.row_invalidated,
        tally.verified,
        tally.violations,
        advice.statistics["saved_seconds"],
        advice.statistics["spent_seconds"],
        advice.verdict,
        advice.finding,
    )


def rank_queries(known: DatabaseReport, order: str, most: int) -> list[QueryStatistics]:
    """List at most ``most`` queries by ``order``, one of :data:`ORDERS`, without those whose value is 0."""
    if known.report is None:
        return []
    context, masker = known.advice_context, known.masker
    _, value = ORDERS[order]
    queries = [_query(text, context, masker) for text in known.report.queries]
    return sorted((query for query in queries if value(query) > 0), key=value, reverse=True)[:most]


def _query(text: QueryReport, context: AdviceContext, masker: StatementMasker) -> QueryStatistics:
    advice, tally = judge_query(text, context), text.tally
    return QueryStatistics(
        text.digest,
        masker.mask(text.sql),
        text.relations,
        tuple(text.callers),
        tally.reads,
        tally.hits,
        tally.row_hits,
        tally.misses,
        tally.bypasses,
        tally.hit_rate,
        highest_first(tally.missed),
        highest_first(tally.invalidated_by),
        tally.row_invalidated,
        tally.verified,
        tally.violations,
        highest_first(tally.bypassed),
        highest_first(tally.rejected),
        tally.mean_query_seconds,
        text.saved_seconds,
        text.database_seconds,
        tally.uncached_seconds,
        tally.cache_seconds,
        text.adaptive_bypass is not None,
        advice.verdict,
        advice.finding,
        advice.remedy,
        advice.setting,
    )
