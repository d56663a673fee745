"""Judgements on a database: what concerns neither one table nor one query."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ormcache import reasons
from ormcache.catalog import EPOCH
from ormcache.diagnostics.advice.advice import Advice, Verdict, describe_remedy
from ormcache.diagnostics.advice.thresholds import (
    ENOUGH_LOOKUPS,
    ENOUGH_WRITES,
    NOTABLE_BYPASSES,
    NOTABLE_LOSSES,
    NOTABLE_MISSES,
)
from ormcache.diagnostics.format.quantities import count, percent
from ormcache.diagnostics.format.relations import display_name
from ormcache.diagnostics.format.verification import describe_verification
from ormcache.telemetry import Miss
from ormcache.telemetry.report import QueryReport, Report

#: Tables that are named as those of results that differed
MOST_TABLES = 8

#: Bypass reasons that lie in the connection, whatever the query
CONNECTION_REASONS = (
    reasons.DIRTY,
    reasons.SNAPSHOT,
    reasons.UNCOMMITTED,
    reasons.UNTRACKED_SESSION,
    reasons.CONVERTERS,
)

#: Reason of the connection → why its reads bypass the cache, for people who do not know the reasons' names
_BECAUSE = {
    reasons.DIRTY: "their transaction had written one of the tables before",
    reasons.SNAPSHOT: "their transaction may see older rows than the cache",
    reasons.UNCOMMITTED: "their transaction is READ UNCOMMITTED",
    reasons.UNTRACKED_SESSION: "their session has a setting that ormcache cannot track",
    reasons.CONVERTERS: "code of the project converts values in the database driver",
}


def judge_database(report: Report) -> list[Advice]:
    """Judge what affects all queries of a database: what is wrong, connections, sweeping invalidations, the store."""
    return [
        *_judge_violations(report),
        *_judge_connections(report),
        *_judge_sweeping_invalidations(report),
        *_judge_store(report),
    ]


def _judge_violations(report: Report) -> Iterator[Advice]:
    total = report.total
    if not total.violations:
        return
    queries = sorted(
        (query for query in report.queries if query.tally.violations),
        key=lambda query: query.tally.violations,
        reverse=True,
    )
    tables = list(dict.fromkeys(display_name(name) for query in queries for name in query.relations))
    of_tables = f" They were results of {', '.join(tables[:MOST_TABLES])}." if tables else ""
    yield Advice(
        "database",
        report.using,
        Verdict.STALE,
        f"{describe_verification(total.compared, total.verified, total.violations)}.{of_tables}",
        'Find out what writes to these tables without ormcache: the log of "ormcache" has the evidence. Then let it '
        "call ormcache.invalidate(), or put the tables on the BLACKLIST.",
        statistics={"compared": total.compared, "verified": total.verified, "violations": total.violations},
        callers=tuple(dict.fromkeys(caller for query in queries for caller in query.callers)),
    )


def _judge_connections(report: Report) -> Iterator[Advice]:
    total = report.total
    for reason in CONNECTION_REASONS:
        bypasses = total.bypassed.get(reason, 0)
        if bypasses < ENOUGH_LOOKUPS or bypasses < NOTABLE_BYPASSES * total.reads:
            continue
        affected = _queries_with(reason, report)
        yield Advice(
            "database",
            report.using,
            Verdict.BYPASSED,
            f"{percent(bypasses / total.reads)} of all reads ({bypasses:,} of {total.reads:,}) bypassed the cache "
            f"({reason}): {_BECAUSE[reason]}.{_most_affected(affected)}",
            describe_remedy(reason),
            seconds=bypasses * (total.mean_query_seconds or 0.0),
            statistics={"bypasses": bypasses, "reads": total.reads},
            callers=tuple(dict.fromkeys(caller for query in affected for caller in query.callers)),
            bypass_reason=reason,
        )


def _queries_with(reason: str, report: Report) -> list[QueryReport]:
    """Return the queries that have a bypass reason, the most affected ones first."""
    affected = [query for query in report.queries if reason in query.tally.bypassed]
    return sorted(affected, key=lambda query: query.tally.bypassed[reason], reverse=True)


def _most_affected(queries: Sequence[QueryReport]) -> str:
    """Return a sentence on the tables of the first query."""
    if not queries or not queries[0].relations:
        return ""
    return f" Most affected are queries of {' and '.join(queries[0].relations)}."


def _judge_sweeping_invalidations(report: Report) -> Iterator[Advice]:
    total = report.total
    everything = next((relation for relation in report.relations if relation.name == EPOCH), None)
    misses = total.invalidated_by.get(EPOCH, 0)
    if everything is None or everything.writes < ENOUGH_WRITES or misses < NOTABLE_MISSES * total.misses:
        return
    yield Advice(
        "database",
        report.using,
        Verdict.ALL_INVALIDATED,
        f"{count(everything.writes, 'statement')} with an unknown effect invalidated all results, which caused "
        f"{misses:,} of {count(total.misses, 'miss', 'misses')}.",
        "Find the code that sends them: manage.py ormcache tables --verbose shows the last one, at everything. Then "
        "name the tables in calls to ormcache.invalidate(), and use plain INSERT, UPDATE and DELETE in place of a "
        "procedure.",
        seconds=misses * (total.mean_query_seconds or 0.0),
        statistics={"writes": everything.writes, "invalidated": misses, "misses": total.misses},
    )


def _judge_store(report: Report) -> Iterator[Advice]:
    total = report.total
    lost = total.missed.get(Miss.LOST, 0)
    if lost < ENOUGH_LOOKUPS or lost < NOTABLE_LOSSES * total.misses:
        return
    yield Advice(
        "database",
        report.using,
        Verdict.STORE_TOO_SMALL,
        f"{lost:,} of {count(total.misses, 'miss', 'misses')} happened because the store had evicted the stamps of the "
        "tables.",
        "Give the store more memory (embedded: MAX_SIZE, Redis: maxmemory, memcached: -m), or cache less: BLACKLIST, "
        "MAX_BYTES, TIMEOUT.",
        "MAX_SIZE",
        seconds=lost * (total.mean_query_seconds or 0.0),
        statistics={"lost": lost, "misses": total.misses},
    )
