"""The tables and the queries of one database, each with its figures and with what is to be thought of it."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ormcache.figures.report import RelationReport, Report, TextReport
from ormcache.insight.advice import Facts, on_query, on_relation
from ormcache.insight.gathering import Known
from ormcache.insight.statements import Statements
from ormcache.insight.statistics import moment, most_first


@dataclass(frozen=True, slots=True)
class Table:
    """One relation. Times are in seconds."""

    name: str  # "*" for everything, "*schema" for the schema
    reads: int
    hits: int
    misses: int
    bypasses: int
    hit_rate: float | None  # of the reads that asked the cache
    writes: int
    writes_per_minute: float
    written: datetime.datetime | None  # None: not as long as these processes run
    cause: str  # the statement of the last write
    retired: int  # results that its writes have retired, and that were asked for again
    saved_seconds: float
    spent_seconds: float  # that the cache took, for reads and writes
    verdict: str
    finding: str


@dataclass(frozen=True, slots=True)
class Query:
    """One text of SQL. Times are in seconds; what most came of is first."""

    digest: str
    sql: str
    relations: tuple[str, ...]
    callers: tuple[str, ...]  # "path:line"
    reads: int
    hits: int
    misses: int
    bypasses: int
    hit_rate: float | None  # of the reads that asked the cache
    missed: Mapping[str, int]  # by cause
    retired_by: Mapping[str, int]  # by relation
    bypassed: Mapping[str, int]  # by reason
    refused: Mapping[str, int]  # by reason
    mean_seconds: float | None  # that one execution takes the database
    saved_seconds: float
    database_seconds: float  # that its misses and bypasses took
    uncached_seconds: float  # that its bypasses took
    spent_seconds: float  # that the cache took
    resting: bool  # does some process leave it alone at the moment?
    verdict: str
    finding: str
    remedy: str
    setting: str | None  # that the remedy is about


#: Column of tables → what is compared, and do large ones come first? What is not known comes last
SORTS: dict[str, tuple[Callable[[Table], Any], bool]] = {
    "name": (lambda table: table.name, False),
    "reads": (lambda table: table.reads, True),
    "hits": (lambda table: table.hit_rate, True),
    "writes": (lambda table: table.writes_per_minute, True),
    "written": (lambda table: table.written, True),
    "retired": (lambda table: table.retired, True),
    "saved": (lambda table: table.saved_seconds, True),
    "spent": (lambda table: table.spent_seconds, True),
    "verdict": (lambda table: table.verdict, False),
}

#: What queries are listed by → the title of the list, and what is compared
ORDERS: dict[str, tuple[str, Callable[[Query], float]]] = {
    "saved": ("most time saved", lambda query: query.saved_seconds),
    "misses": ("most misses", lambda query: query.misses),
    "uncached": ("most time past the cache", lambda query: query.uncached_seconds),
    "reads": ("most reads", lambda query: query.reads),
}


def tables_of(known: Known, sort: str) -> list[Table]:
    """``sort``: one of :data:`SORTS`."""
    report = known.report
    if report is None:
        return []
    facts, statements = known.facts, known.statements
    tables = [_table(relation, report, facts, statements) for relation in report.relations]
    value, descending = SORTS[sort]
    ranked = sorted((one for one in tables if value(one) is not None), key=value, reverse=descending)
    return ranked + [one for one in tables if value(one) is None]


def _table(relation: RelationReport, report: Report, facts: Facts, statements: Statements) -> Table:
    advice, tally = on_relation(relation, report, facts), relation.tally
    return Table(
        relation.name,
        tally.reads,
        tally.hits,
        tally.misses,
        tally.bypasses,
        tally.hit_rate,
        relation.writes,
        relation.writes_per_minute,
        moment(relation.written_at) if relation.written_at else None,
        statements.shown(relation.cause),
        relation.retired,
        advice.figures["saved_seconds"],
        advice.figures["spent_seconds"],
        advice.verdict,
        advice.finding,
    )


def queries_of(known: Known, order: str, most: int) -> list[Query]:
    """The first ones by ``order``, one of :data:`ORDERS`; without those that have nothing of it."""
    if known.report is None:
        return []
    facts, statements = known.facts, known.statements
    _, value = ORDERS[order]
    queries = [_query(text, facts, statements) for text in known.report.texts]
    return sorted((query for query in queries if value(query) > 0), key=value, reverse=True)[:most]


def _query(text: TextReport, facts: Facts, statements: Statements) -> Query:
    advice, tally = on_query(text, facts), text.tally
    return Query(
        text.digest,
        statements.shown(text.sql),
        text.relations,
        tuple(text.callers),
        tally.reads,
        tally.hits,
        tally.misses,
        tally.bypasses,
        tally.hit_rate,
        most_first(tally.missed),
        most_first(tally.retired_by),
        most_first(tally.bypassed),
        most_first(tally.refused),
        tally.mean_query_seconds,
        text.saved_seconds,
        text.database_seconds,
        tally.uncached_seconds,
        tally.cache_seconds,
        text.resting is not None,
        advice.verdict,
        advice.finding,
        advice.remedy,
        advice.setting,
    )
