"""The functions, fragments and pages of one database, each with its statistics and a judgement, sorted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ormcache.cache.tracking import Rejection
from ormcache.diagnostics.advice.advice import AdviceContext
from ormcache.diagnostics.advice.derived import judge_derived
from ormcache.diagnostics.format.sql import StatementMasker
from ormcache.diagnostics.stats.collection import DatabaseReport
from ormcache.diagnostics.stats.statistics import highest_first
from ormcache.telemetry.derived_stats import DerivedCounters


@dataclass(frozen=True, slots=True)
class DerivedStatistics:
    """One function, fragment or page. Times are in seconds; mappings have the highest counts first."""

    kind: str  # "function", "fragment" or "page"
    label: str  # "other": all that came up after the first ones of their process
    uses: int
    hits: int
    outdated_hits: int  # of those: served while another caller computed
    misses: int
    stored: int
    hit_rate: float | None  # of uses, from 0 to 1
    missed: Mapping[str, int]  # by cause
    invalidated: int
    invalidated_by: Mapping[str, int]  # by relation, where that is known
    rejected: Mapping[str, int]  # by reason
    last_rejection: RejectionStatistics | None
    mean_seconds: float | None  # that computing it takes
    hit_seconds: float  # that the cache took for hits
    miss_seconds: float  # that computing it took
    saved_seconds: float  # by hits; an estimate
    verdict: str
    finding: str
    remedy: str


@dataclass(frozen=True, slots=True)
class RejectionStatistics:
    """Why something was not stored the last time that it was not."""

    reason: str
    sql: str  # masked; "": the reason is no statement
    relations: tuple[str, ...]  # of that statement
    caller: str | None  # "path:line" of the project that ran it
    subject: str | None  # what the reason is about, in words, if it is no statement


#: Name of an order → its value, the highest first
DERIVED_SORTS: dict[str, Callable[[DerivedStatistics], float]] = {
    "saved": lambda one: one.saved_seconds,
    "computed": lambda one: one.miss_seconds,
    "uses": lambda one: one.uses,
    "misses": lambda one: one.misses,
    "invalidated": lambda one: one.invalidated,
    "rejected": lambda one: sum(one.rejected.values()),
}


def rank_derived(known: DatabaseReport, sort: str, kind: str | None = None) -> list[DerivedStatistics]:
    """List all functions, fragments and pages. ``sort``: one of :data:`DERIVED_SORTS`. ``kind``: of these alone."""
    if known.report is None:
        return []
    context, masker = known.advice_context, known.masker
    found = [_derived(one, context, masker) for one in known.report.derived if kind in (None, one.kind)]
    value = DERIVED_SORTS[sort]
    return sorted(found, key=lambda one: (-value(one), one.kind, one.label))


def _derived(counters: DerivedCounters, context: AdviceContext, masker: StatementMasker) -> DerivedStatistics:
    advice = judge_derived(counters, context)
    return DerivedStatistics(
        kind=counters.kind,
        label=counters.label,
        uses=counters.uses,
        hits=counters.hits,
        outdated_hits=counters.outdated_hits,
        misses=counters.misses,
        stored=counters.stored,
        hit_rate=counters.hit_rate,
        missed=highest_first(counters.missed),
        invalidated=counters.invalidated,
        invalidated_by=highest_first(counters.invalidated_by),
        rejected=highest_first(counters.rejected),
        last_rejection=_rejection(counters.last_rejection, masker),
        mean_seconds=counters.mean_seconds,
        hit_seconds=counters.hit_seconds,
        miss_seconds=counters.miss_seconds,
        saved_seconds=counters.saved_seconds,
        verdict=advice.verdict,
        finding=advice.finding,
        remedy=advice.remedy,
    )


def _rejection(last: Rejection | None, masker: StatementMasker) -> RejectionStatistics | None:
    if last is None:
        return None
    sql = masker.mask(last.sql) if last.sql else ""
    return RejectionStatistics(last.reason, sql, tuple(sorted(last.relations)), last.caller, last.subject)
