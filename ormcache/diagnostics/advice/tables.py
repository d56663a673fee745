"""Judgements on tables: does caching what depends on one pay?"""

from __future__ import annotations

from dataclasses import dataclass

from ormcache import reasons
from ormcache.catalog import is_pseudo
from ormcache.diagnostics.advice.advice import Advice, AdviceContext, Verdict, most_frequent
from ormcache.diagnostics.advice.thresholds import (
    ENOUGH_LOOKUPS,
    ENOUGH_MISSES,
    ENOUGH_SECONDS,
    ENOUGH_WRITES,
    MOSTLY,
    READS_BY_KEY_PER_WRITE,
    READS_PER_WRITE,
    WRITES_PER_LOOKUP,
)
from ormcache.diagnostics.format.quantities import count, duration, percent
from ormcache.telemetry import Tally, total_of
from ormcache.telemetry.report import RelationReport, Report


@dataclass(frozen=True, slots=True)
class _Balance:
    """What caching one relation saves and costs, in seconds."""

    lookups: int
    saved: float
    spent: float

    @classmethod
    def of(cls, relation: RelationReport, report: Report) -> _Balance:
        tally = relation.tally
        per_write = report.write_seconds / report.writes if report.writes else 0.0
        return cls(
            tally.hits + tally.misses,
            tally.saving_hits * (tally.mean_query_seconds or 0.0),
            tally.cache_seconds + relation.writes * per_write,
        )

    def __str__(self) -> str:
        return f"Hits saved {duration(self.saved)} of database time; lookups and writes cost {duration(self.spent)}."


def judge_table(relation: RelationReport, report: Report, context: AdviceContext) -> Advice:
    """Judge whether caching what depends on one relation pays."""
    balance = _Balance.of(relation, report)
    judge = _TableJudge(relation, balance)
    if is_pseudo(relation.name):
        return judge.advice(Verdict.NOT_READ, "Counts the writes that invalidate everything.")
    if context.excludes(relation.name):
        return _judge_blacklisted(relation, report, context, judge)
    if _is_served_by_row(relation, report):
        return _judge_reads(relation, balance, judge)
    return _judge_writes(relation, balance, judge) or _judge_reads(relation, balance, judge)


def _is_served_by_row(relation: RelationReport, report: Report) -> bool:
    """Return whether hits of results that depend on rows save more than they and all writes to the relation cost.

    Then writes are no reason to blacklist it. If its other queries do not pay, they are bypassed after a while.
    """
    saved, spent = 0.0, relation.writes * report.write_seconds / report.writes if report.writes else 0.0
    for query in report.queries:
        tally = query.tally
        if relation.name in query.relations and tally.row_hits:
            saved += tally.row_hits * (tally.mean_query_seconds or 0.0)
            spent += tally.row_hits * tally.hit_seconds / tally.hits
            spent += tally.row_invalidated * tally.miss_seconds / max(tally.misses, 1)
    return saved > spent


@dataclass(frozen=True, slots=True)
class _TableJudge:
    """Makes advice on one relation, with the statistics that any judgement on it rests on."""

    relation: RelationReport
    balance: _Balance

    def advice(
        self, verdict: str, finding: str, remedy: str = "", seconds: float = 0.0, setting: str | None = None
    ) -> Advice:
        tally = self.relation.tally
        statistics = {
            "hits": tally.hits,
            "misses": tally.misses,
            "writes": self.relation.writes,
            "invalidated": self.relation.invalidated,
            "saved_seconds": self.balance.saved,
            "spent_seconds": self.balance.spent,
        }
        return Advice("relation", self.relation.name, verdict, finding, remedy, setting, seconds, statistics)

    def blacklist(self, verdict: str, finding: str) -> Advice:
        """Advise to blacklist the relation, if caching it costs more than it saves."""
        loss = self.balance.spent - self.balance.saved
        remedy = (
            f'Exclude the table from caching: add "{self.relation.name}" to BLACKLIST. Its reads then always go to the '
            "database, and its writes become cheaper."
        )
        return self.advice(verdict, finding, remedy if loss > 0 else "", loss, "BLACKLIST")


def _judge_writes(relation: RelationReport, balance: _Balance, judge: _TableJudge) -> Advice | None:
    """Judge a table whose writes are many for its reads. None: they are not."""
    tally = relation.tally
    if relation.writes < ENOUGH_WRITES:
        return None
    if balance.lookups * WRITES_PER_LOOKUP < relation.writes:
        written = f"It was written {count(relation.writes, 'time')}"
        if tally.reads * WRITES_PER_LOOKUP < relation.writes:
            return judge.blacklist(Verdict.RARELY_READ, f"{written} and read {count(tally.reads, 'time')}. {balance}")
        bypass_reason, _ = most_frequent(tally.bypassed)
        why = "because it did not pay" if bypass_reason == reasons.ADAPTIVE_BYPASS else f"most often as {bypass_reason}"
        return judge.blacklist(
            Verdict.WRITE_HEAVY,
            f"{written}. Of its {count(tally.reads, 'read')}, only {balance.lookups:,} looked in the cache; the others "
            f"bypassed it, {why}. {balance}",
        )
    if (
        balance.lookups >= ENOUGH_LOOKUPS
        and balance.saved < balance.spent
        and relation.invalidated >= MOSTLY * tally.misses
    ):
        return judge.blacklist(
            Verdict.WRITE_HEAVY,
            f"{relation.writes_per_minute:,.1f} writes a minute invalidated {count(relation.invalidated, 'result')}. "
            f"Of {count(balance.lookups, 'lookup')}, {percent(tally.hits / balance.lookups)} hit. {balance}",
        )
    return None


def _judge_reads(relation: RelationReport, balance: _Balance, judge: _TableJudge) -> Advice:
    """Judge a table by what becomes of its reads."""
    tally = relation.tally
    if not balance.lookups:
        return judge.advice(Verdict.NOT_READ, "No read has looked for it in the cache.")
    if balance.lookups < ENOUGH_LOOKUPS:
        return judge.advice(Verdict.TOO_EARLY, f"There were only {count(balance.lookups, 'lookup')} so far.")
    if balance.saved >= balance.spent:
        return judge.advice(Verdict.GOOD, str(balance))
    if not tally.hits and tally.misses >= ENOUGH_MISSES:
        return judge.advice(
            Verdict.NEVER_HITS, f"{count(balance.lookups, 'lookup')} and no hit. See its queries for the reason."
        )
    # Queries that do not pay are bypassed after a while, without anybody's help: there is nothing to do.
    return judge.advice(Verdict.NO_GAIN, str(balance))


def _judge_blacklisted(relation: RelationReport, report: Report, context: AdviceContext, judge: _TableJudge) -> Advice:
    """Judge whether a blacklisted table would be worth caching."""
    reads, seconds = relation.tally.bypassed.get(reasons.BLACKLISTED, 0), relation.tally.uncached_seconds
    finding = (
        f"{count(reads, 'read')} of it bypassed the cache and took {duration(seconds)} of database time; "
        f"meanwhile it was written {count(relation.writes, 'time')}."
    )
    remedy = "Let it be cached: remove it from BLACKLIST, or add it to ONLY if you use that."
    if reads >= max(ENOUGH_LOOKUPS, READS_PER_WRITE * relation.writes) and seconds >= ENOUGH_SECONDS:
        return judge.advice(Verdict.BLACKLISTED, finding, remedy, seconds, "BLACKLIST")
    by_key = _bypassed_by_key(relation, report, context)
    reads_by_key = by_key.bypassed.get(reasons.BLACKLISTED, 0)
    if (
        reads_by_key >= max(ENOUGH_LOOKUPS, MOSTLY * reads, READS_BY_KEY_PER_WRITE * relation.writes)
        and by_key.uncached_seconds >= ENOUGH_SECONDS
        and (not relation.cause or context.follows_rows(relation.cause))
    ):
        finding = f"{finding} {reads_by_key:,} of the reads are by key: their results outlive writes to other rows."
        return judge.advice(Verdict.BLACKLISTED, finding, remedy, by_key.uncached_seconds, "BLACKLIST")
    return judge.advice(Verdict.BLACKLISTED, finding)


def _bypassed_by_key(relation: RelationReport, report: Report, context: AdviceContext) -> Tally:
    """Return the tally of a blacklisted relation's queries whose results could depend on rows if it were cached."""
    return total_of(
        query.tally
        for query in report.queries
        if relation.name in query.relations
        and not any(context.excludes(other) for other in query.relations if other != relation.name)
        and context.follows_rows(query.sql)
    )
