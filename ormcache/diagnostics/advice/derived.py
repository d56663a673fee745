"""Judgements on functions, fragments and pages: why one is not served from the cache, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass

from ormcache import reasons
from ormcache.cache.tracking import Rejection
from ormcache.diagnostics.advice.advice import Advice, AdviceContext, Verdict, describe_remedy, most_frequent
from ormcache.diagnostics.advice.thresholds import (
    ENOUGH_LOOKUPS,
    ENOUGH_MISSES,
    ENOUGH_READS,
    ENOUGH_SECONDS,
    MOSTLY,
)
from ormcache.diagnostics.format.meanings import MEANINGS
from ormcache.diagnostics.format.quantities import count, duration, percent
from ormcache.diagnostics.format.relations import display_name
from ormcache.telemetry import Miss
from ormcache.telemetry.derived_stats import OTHER, DerivedCounters

#: Reasons for which one is not stored that pass, or are meant so: nothing is to be done about them
PASSING = frozenset(
    {
        reasons.DISABLED,
        reasons.MARKED,
        reasons.WRITTEN_MEANWHILE,
        reasons.STORE_UNAVAILABLE,
        reasons.STORE_FULL,
        reasons.PENDING,
        reasons.UNCONFIRMED,
        reasons.ON_REPLICA,
        reasons.REPLICA_BEHIND,
        reasons.BROKEN_TRANSACTION,
        reasons.EXPIRED_MEANWHILE,
        reasons.FAILED,
        reasons.MESSAGES,
        reasons.PRIVATE,
    }
)


def judge_derived(counters: DerivedCounters, context: AdviceContext) -> Advice:
    """Judge whether one function, fragment or page profits from the cache: first whether it can be stored at all."""
    judge = _DerivedJudge(counters, context)
    for phase in (judge.rejections, judge.lookups):
        advice = phase()
        if advice is not None:
            return advice
    return judge.balance()


@dataclass(frozen=True, slots=True)
class _DerivedJudge:
    """The phases of one judgement. Each returns None if what is judged is none of its business."""

    counters: DerivedCounters
    context: AdviceContext

    def rejections(self) -> Advice | None:
        """Judge one that mostly could not be stored, for one reason."""
        counters = self.counters
        reason, times = most_frequent(counters.rejected)
        if times < ENOUGH_READS or times < MOSTLY * counters.misses:
            return None
        meaning = MEANINGS.get(reason)  # None: of a release that has others
        is_avoidable = meaning is not None and meaning.remedy != "nothing" and reason not in PASSING
        text = "" if meaning is None else f": {meaning.text}"
        return self._advice(
            Verdict.NOT_STORED,
            f"{times:,} of {count(counters.misses, 'time')} that it was computed, it could not be stored ({reason})"
            f"{text}.{self._statement(reason)}",
            describe_remedy(reason) if is_avoidable else "",
            reason,
        )

    def _statement(self, reason: str) -> str:
        """Return a sentence on the statement, or what else, for which it was not stored the last time."""
        last = self._last_rejection(reason)
        if last is not None and last.subject is not None:
            return f" The last time: {last.subject}."
        if last is None or last.sql is None:
            return ""
        of = " and ".join(map(display_name, sorted(last.relations)))
        at = "" if last.caller is None else f", run in {last.caller}"
        functions = self.context.uncacheable_functions(last.sql) if reason == reasons.FUNCTION else ()
        calls = f" It calls {', '.join(functions)}." if functions else ""
        return f" The last time, the reason was a statement{f' on {of}' if of else ''}{at}.{calls}"

    def _last_rejection(self, reason: str | None) -> Rejection | None:
        last = self.counters.last_rejection
        return None if last is None or last.reason != reason else last

    def lookups(self) -> Advice | None:
        """Judge one that is looked up, unless that is often and some of its lookups hit."""
        counters = self.counters
        if counters.uses < ENOUGH_LOOKUPS:
            return self._advice(Verdict.TOO_EARLY, f"There were only {count(counters.uses, 'use')} so far.")
        if counters.invalidated > counters.hits and counters.invalidated >= MOSTLY * counters.misses:
            return self._invalidated()
        if not counters.hits:
            return self._never_hits()
        return None

    def balance(self) -> Advice:
        """Judge one by what its hits save."""
        counters = self.counters
        took = duration(counters.mean_seconds or 0.0)
        return self._advice(
            Verdict.GOOD if counters.saved_seconds >= 0 else Verdict.NO_GAIN,
            f"{percent(counters.hits / counters.uses)} of {count(counters.uses, 'use')} hit. Hits saved "
            f"{duration(counters.saved_seconds)}; computing it takes {took}.",
        )

    def _invalidated(self) -> Advice:
        counters = self.counters
        relation, times = most_frequent(counters.invalidated_by)
        by = "" if relation in ("", OTHER) else f", {times:,} of them to {display_name(relation)}"
        parts = "" if counters.kind == "fragment" else " Or cache the parts of it that read other tables, as fragments."
        return self._advice(
            Verdict.OFTEN_INVALIDATED,
            f"Writes invalidated it {count(counters.invalidated, 'time')}{by}; there were "
            f"{count(counters.hits, 'hit')}.",
            f"Read what is written so often outside of it.{parts} If it may be a little old, its grace lets others be "
            "served while one computes it. Or do not cache it.",
        )

    def _never_hits(self) -> Advice:
        counters = self.counters
        finding = f"It was computed {count(counters.misses, 'time')} without a hit"
        if counters.misses < ENOUGH_MISSES or counters.missed.get(Miss.COLD, 0) < MOSTLY * counters.misses:
            return self._advice(Verdict.TOO_EARLY, f"{finding} yet.")
        return self._advice(
            Verdict.NEVER_HITS,
            f"{finding}: what it is named by seems to differ each time.",
            "Look for an argument, a part of the URL or a header that is new each time, such as a timestamp or a "
            "token, and leave it out.",
        )

    def _advice(self, verdict: str, finding: str, remedy: str = "", bypass_reason: str | None = None) -> Advice:
        counters = self.counters
        last = self._last_rejection(bypass_reason)
        return Advice(
            counters.kind,
            counters.label,
            verdict,
            finding,
            remedy if counters.miss_seconds >= ENOUGH_SECONDS else "",
            None,
            counters.miss_seconds,
            {
                "hits": counters.hits,
                "misses": counters.misses,
                "saved_seconds": counters.saved_seconds,
                "miss_seconds": counters.miss_seconds,
            },
            () if last is None or last.caller is None else (last.caller,),
            "" if last is None or last.sql is None else last.sql,
            bypass_reason,
        )
