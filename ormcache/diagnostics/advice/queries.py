"""Judgements on queries: why one does not come from the cache, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass

from ormcache import reasons
from ormcache.diagnostics.advice.advice import (
    Advice,
    AdviceContext,
    Verdict,
    as_sentence,
    describe_remedy,
    most_frequent,
)
from ormcache.diagnostics.advice.thresholds import (
    ENOUGH_LOOKUPS,
    ENOUGH_MISSES,
    ENOUGH_READS,
    ENOUGH_SECONDS,
    MOSTLY,
)
from ormcache.diagnostics.format.meanings import MEANINGS
from ormcache.diagnostics.format.quantities import count, duration, percent
from ormcache.telemetry import Miss
from ormcache.telemetry.report import QueryReport

#: Bypass reasons about which somebody can do something. What, is with their meaning
AVOIDABLE = frozenset(
    {
        reasons.CLOCK,
        reasons.RANDOM,
        reasons.FUNCTION,
        reasons.SESSION_FUNCTION,
        reasons.PARAMETER,
        reasons.NOT_UNDERSTOOD,
        reasons.UNKNOWN_RELATION,
        reasons.FOREIGN_TABLE,
        reasons.UNLOGGED,
        reasons.NOT_TRANSACTIONAL,
        reasons.DIRTY,
        reasons.SNAPSHOT,
        reasons.UNCOMMITTED,
        reasons.UNTRACKED_SESSION,
        reasons.CONVERTERS,
    }
)

#: Reason for which a result is rejected → what to do, and the setting that it is about
REJECTION_REMEDIES: dict[str, tuple[str, str | None]] = {
    reasons.TOO_MANY_ROWS: (
        "Read fewer rows at once: paginate, filter or slice. Or raise MAX_ROWS (now {max_rows:,}).",
        "MAX_ROWS",
    ),
    reasons.TOO_LARGE: (
        "Read fewer columns, with only() or values(), or fewer rows. Or raise MAX_BYTES (now {max_bytes:,}).",
        "MAX_BYTES",
    ),
    reasons.UNSERIALIZABLE: (
        "Cast the value in the query to a type that comes back equal, for example with Cast(…, TextField()).",
        None,
    ),
    reasons.PIPELINE: ("Run the query outside of psycopg's pipeline, before it or after it.", None),
    reasons.OPEN_CURSOR: ("Fetch results to their end, and close cursors, before the query runs.", None),
}

#: The table of Django's own sessions, which are looked up by "expire_date > now"
_SESSIONS = "django_session"

_NO_TWO_ALIKE = "One of its parameters is the current time, so no two executions are alike."


def judge_query(query: QueryReport, context: AdviceContext) -> Advice:
    """Judge whether one query profits from the cache: first what never looks in it, then what it makes of lookups."""
    judge = _QueryJudge(query, context)
    for phase in (judge.bypasses, judge.rejections, judge.current_time, judge.lookups):
        advice = phase()
        if advice is not None:
            return advice
    return judge.balance()


@dataclass(frozen=True, slots=True)
class _QueryJudge:
    """The phases of one judgement. Each returns None if the query is none of its business."""

    query: QueryReport
    context: AdviceContext

    def bypasses(self) -> Advice | None:
        """Judge a query most of whose reads never looked in the cache, for one reason."""
        tally = self.query.tally
        reason, times = most_frequent(tally.bypassed)
        if times < ENOUGH_READS or times < MOSTLY * tally.reads:
            return None
        took = f" and took {duration(tally.uncached_seconds)} of database time" if tally.uncached else ""
        finding = f"{times:,} of {count(tally.reads, 'read')} bypassed the cache{took}. Reason: {reason}."
        if reason == reasons.CURRENT_TIME:
            return self._current_time(f"{finding} {_NO_TWO_ALIKE}", reason)
        if reason == reasons.ADAPTIVE_BYPASS:
            finding = f"{finding} Its lookups cost more time than its hits saved."
            return self._advice(Verdict.ADAPTIVE_BYPASS, finding, bypass_reason=reason)
        functions = self.context.uncacheable_functions(self.query.sql) if reason == reasons.FUNCTION else ()
        calls = f" It calls {', '.join(functions)}." if functions else ""
        return self._advice(
            Verdict.BYPASSED,
            f"{finding}{calls} {as_sentence(MEANINGS[reason].text)}",
            describe_remedy(reason) if reason in AVOIDABLE else "",
            bypass_reason=reason,
        )

    def rejections(self) -> Advice | None:
        """Judge a query most of whose results could not be stored, for one reason."""
        tally = self.query.tally
        reason, times = most_frequent(tally.rejected)
        if times < ENOUGH_READS or times < MOSTLY * tally.misses or reason not in REJECTION_REMEDIES:
            return None
        remedy, setting = REJECTION_REMEDIES[reason]
        return self._advice(
            Verdict.NOT_STORED,
            f"{times:,} of {count(tally.misses, 'result')} were read from the database and then not cached ({reason}): "
            f"{MEANINGS[reason].text}.",
            remedy.format(max_rows=self.context.max_rows, max_bytes=self.context.max_bytes),
            setting,
            reason,
        )

    def current_time(self) -> Advice | None:
        """Judge a query with the current time as a parameter that has not been noticed yet when it ran."""
        tally = self.query.tally
        if not self.query.uses_current_time or tally.hits or tally.misses < ENOUGH_READS:
            return None
        return self._current_time(f"{count(tally.misses, 'lookup')} and no hit. {_NO_TWO_ALIKE}")

    def lookups(self) -> Advice | None:
        """Judge a query that looks in the cache, unless its lookups are many and some of them hit."""
        tally = self.query.tally
        lookups = tally.hits + tally.misses
        if lookups < ENOUGH_LOOKUPS:
            return self._advice(Verdict.TOO_EARLY, f"There were only {count(lookups, 'lookup')} so far.")
        if self.query.adaptive_bypass is not None:
            return self._advice(
                Verdict.ADAPTIVE_BYPASS,
                "At least one process bypasses the cache for a while: its lookups cost more time than its hits saved.",
            )
        if not tally.hits:
            return self._never_hits()
        expired = tally.missed.get(Miss.EXPIRED, 0)
        timeout = self.context.timeout
        if timeout is not None and expired >= ENOUGH_READS and expired >= MOSTLY * tally.misses:
            return self._advice(
                Verdict.EXPIRES_EARLY,
                f"{expired:,} of {count(tally.misses, 'miss', 'misses')} happened because TIMEOUT was over, not "
                "because of a write.",
                f"Raise TIMEOUT (now {timeout:g} seconds), or set it to None: writes invalidate results without it.",
                "TIMEOUT",
            )
        return None

    def balance(self) -> Advice:
        """Judge a query by what its hits save and its lookups cost."""
        tally = self.query.tally
        lookups = tally.hits + tally.misses
        return self._advice(
            Verdict.GOOD if self.query.saved_seconds >= tally.cache_seconds else Verdict.NO_GAIN,
            f"{percent(tally.hits / lookups)} of {count(lookups, 'lookup')} hit. Hits saved "
            f"{duration(self.query.saved_seconds)} of database time; lookups cost {duration(tally.cache_seconds)}.",
        )

    # What several phases say --------------------------------------------------------------

    def _never_hits(self) -> Advice:
        tally = self.query.tally
        finding = f"{count(tally.misses, 'lookup')} and no hit"
        if tally.misses < ENOUGH_MISSES or tally.missed.get(Miss.COLD, 0) < MOSTLY * tally.misses:
            return self._advice(Verdict.TOO_EARLY, f"{finding} yet.")
        return self._advice(
            Verdict.NEVER_HITS,
            f"{finding}: its parameters seem to differ each time.",
            "Look for a parameter that is new in every call, such as a timestamp or a token, and round it or leave it "
            "out.",
        )

    def _current_time(self, finding: str, bypass_reason: str | None = None) -> Advice:
        """Say what to do about a parameter that is the current time."""
        relations = self.query.relations
        if _SESSIONS in relations:
            # The line of code that asks is Django's own: nobody can round the time there.
            remedy = (
                'Set SESSION_ENGINE = "django.contrib.sessions.backends.cached_db": sessions then come from Django\'s '
                f'cache. If you would rather not, add "{_SESSIONS}" to BLACKLIST, which makes its writes cheaper.'
            )
            return self._advice(Verdict.CURRENT_TIME, finding, remedy, "BLACKLIST", bypass_reason)
        if self.query.callers:
            remedy = (
                "Round the time before you pass it to the query, as far as the page allows. To the minute: "
                "timezone.now().replace(second=0, microsecond=0). To the day, for a DateField: timezone.localdate()."
            )
            return self._advice(Verdict.CURRENT_TIME, finding, remedy, None, bypass_reason)
        tables = " and ".join(f'"{name}"' for name in sorted(relations))
        remedy = (
            f"No line of your project runs it, so the time cannot be rounded there. If no other query reads {tables}, "
            "add that to BLACKLIST."
        )
        return self._advice(Verdict.CURRENT_TIME, finding, remedy, "BLACKLIST", bypass_reason)

    def _advice(
        self,
        verdict: str,
        finding: str,
        remedy: str = "",
        setting: str | None = None,
        bypass_reason: str | None = None,
    ) -> Advice:
        query, tally = self.query, self.query.tally
        return Advice(
            "query",
            query.digest,
            verdict,
            finding,
            remedy if query.database_seconds >= ENOUGH_SECONDS else "",
            setting,
            query.database_seconds,
            {
                "hits": tally.hits,
                "misses": tally.misses,
                "bypasses": tally.bypasses,
                "saved_seconds": query.saved_seconds,
                "database_seconds": query.database_seconds,
            },
            tuple(query.callers),
            query.sql,
            bypass_reason,
        )
