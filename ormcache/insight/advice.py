"""What to change, and why: judgements on tables, queries and a database, from the figures of a whole deployment.

A judgement needs enough figures, or says that there are too few; whoever follows a wrong one makes his site slower. All
thresholds are here, each with its reason. What can be computed is computed elsewhere: this module draws conclusions
and puts them into words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ormcache import reasons
from ormcache.catalog import ANYWHERE, EPOCH, is_pseudo
from ormcache.database import Database
from ormcache.figures import Miss
from ormcache.figures.report import RelationReport, Report, TextReport
from ormcache.insight.meanings import MEANINGS
from ormcache.insight.quantities import count, duration, percent
from ormcache.sql import analyse

#: Times that the cache was asked before a hit rate is judged: from fewer it may be ten per cent off by chance
ENOUGH_ASKED = 100
#: Misses without a single hit before a query is said never to hit: that many different pages can be asked for once
#: while a cache fills
ENOUGH_MISSES = 200
#: Writes before a table is called written often: a deploy or an import makes some dozens at once
ENOUGH_WRITES = 50
#: Reads past the cache before a query is worth a change of code: fewer are an admin's or a test's
ENOUGH_READS = 30
#: Seconds of the database before anything is worth a person's time
ENOUGH_SECONDS = 0.5
#: Of its reads, the part that has to have gone one way before that way is called the query's
MOSTLY = 0.5
#: The cache was asked less than once in so many writes: what the writes tell the store serves nobody
WRITES_A_READ = 10
#: Reads for each write from which on a table may come off the blacklist: a write retires the results of all of them
READS_A_WRITE = 10
#: Of all reads, the part that a reason of the connection must have before it is worth a look into the settings
NOTABLE = 0.2
#: Of all misses, the part that a store may lose before it is too small
LOST = 0.1


class Verdict:
    """The judgements, by the names that people see."""

    GOOD = "good"
    EARLY = "too early to say"
    QUIET = "not read"
    WRITE_HEAVY = "write-heavy"
    HARDLY_READ = "hardly read"
    LISTED = "blacklisted"
    COSTLY = "no gain"
    NEVER_HIT = "never hits"
    NOW = "asks for now"
    RESTING = "left alone"
    PAST = "past the cache"
    NOT_KEPT = "not kept"
    EXPIRES = "expires early"
    EVERYTHING = "everything is retired"
    LOSING = "the store forgets"


@dataclass(frozen=True, slots=True)
class Advice:
    """One judgement. All of it goes into JSON."""

    kind: str  # "relation", "query" or "database"
    subject: str  # the relation; the digest of the query's text; the database alias
    verdict: str  # see Verdict
    finding: str  # the figures behind it, as a sentence
    remedy: str = ""  # what to do, as a sentence; "": nothing
    setting: str | None = None  # the key of ORMCACHE that the remedy is about
    seconds: float = 0.0  # that are at stake over the time of the report; an estimate
    figures: Mapping[str, float] = field(default_factory=dict)  # that the judgement rests on
    callers: tuple[str, ...] = ()  # "path:line" of the project that ask
    sql: str = ""  # of a query
    reason: str | None = None  # of ormcache.reasons, if there is one


@dataclass(frozen=True, slots=True)
class Facts:
    """What the figures do not tell and judgements depend on."""

    #: do the settings keep a relation out of the cache?
    excludes: Callable[[str], bool] = lambda relation: False
    #: the functions of a text whose answers cannot be kept
    functions: Callable[[str], tuple[str, ...]] = lambda sql: ()
    max_rows: int = 10_000
    max_bytes: int = 2**20
    timeout: float | None = None  # seconds


def facts_of(database: Database) -> Facts:
    config = database.config

    def functions(sql: str) -> tuple[str, ...]:
        statement = analyse(sql, database.vendor)
        if database.catalog is None:
            return ()
        scope = database.catalog.seen_from(ANYWHERE)
        return tuple(name for name in sorted(scope.called(statement)) if scope.obstacle_of_calls({name}) is not None)

    return Facts(database.excludes, functions, config.max_rows, config.max_bytes, config.timeout)


def advice_on(report: Report, facts: Facts) -> list[Advice]:
    """All that there is to change: what most time is at stake for first."""
    found = on_database(report)
    told = {advice.reason for advice in found}
    found += [on_relation(relation, report, facts) for relation in report.relations]
    to_leave = {advice.subject for advice in found if advice.verdict in (Verdict.WRITE_HEAVY, Verdict.HARDLY_READ)}
    for text in report.texts:
        advice = on_query(text, facts)
        # One cause is told once: where it is to be found.
        if (advice.reason is None or advice.reason not in told) and to_leave.isdisjoint(text.relations):
            found.append(advice)
    return sorted((advice for advice in found if advice.remedy), key=lambda advice: advice.seconds, reverse=True)


# Relations ----------------------------------------------------------------------------


def on_relation(relation: RelationReport, report: Report, facts: Facts) -> Advice:
    """What is to be thought of caching one relation."""
    tally, name = relation.tally, relation.name
    asked = tally.hits + tally.misses
    saved = tally.hits * (tally.mean_query_seconds or 0.0)
    write = report.write_seconds / report.writes if report.writes else 0.0
    spent = tally.cache_seconds + relation.writes * write
    figures = {
        "hits": tally.hits,
        "misses": tally.misses,
        "writes": relation.writes,
        "retired": relation.retired,
        "saved_seconds": saved,
        "spent_seconds": spent,
    }

    def judged(
        verdict: str, finding: str, remedy: str = "", seconds: float = 0.0, setting: str | None = None
    ) -> Advice:
        return Advice("relation", name, verdict, finding, remedy, setting, seconds, figures)

    if is_pseudo(name):
        return judged(Verdict.QUIET, "Stands for writes that retire everything.")
    if facts.excludes(name):
        return _on_listed(relation, judged)
    balance = f"Hits saved the database {duration(saved)}; reads and writes of the cache took {duration(spent)}."
    if relation.writes >= ENOUGH_WRITES and asked * WRITES_A_READ < relation.writes:
        return judged(
            Verdict.HARDLY_READ,
            f"{count(relation.writes, 'write')} told the store of it, and it was asked for {count(asked, 'read')}.",
            f'Put "{name}" into BLACKLIST: its writes then cost nothing.' if spent > saved else "",
            spent - saved,
            "BLACKLIST",
        )
    if asked < ENOUGH_ASKED:
        return judged(
            Verdict.EARLY if asked else Verdict.QUIET,
            f"The cache was asked {count(asked, 'time')}." if asked else "Nobody has asked the cache for it.",
        )
    if saved >= spent:
        return judged(Verdict.GOOD, balance)
    if relation.writes >= ENOUGH_WRITES and relation.retired >= MOSTLY * tally.misses:
        return judged(
            Verdict.WRITE_HEAVY,
            f"{relation.writes_per_minute:,.1f} writes a minute have retired {count(relation.retired, 'result')}; "
            f"of {count(asked, 'read')}, {percent(tally.hits / asked)} hit. {balance}",
            f'Put "{name}" into BLACKLIST.',
            spent - saved,
            "BLACKLIST",
        )
    if not tally.hits and tally.misses >= ENOUGH_MISSES:
        return judged(Verdict.NEVER_HIT, f"{count(asked, 'read')} and no hit. Its queries say why.")
    # Queries that do not pay are left alone by themselves: there is nothing to do.
    return judged(Verdict.COSTLY, balance)


def _on_listed(relation: RelationReport, judged: Callable[..., Advice]) -> Advice:
    reads, seconds = relation.tally.bypassed.get(reasons.BLACKLISTED, 0), relation.tally.uncached_seconds
    finding = (
        f"{count(reads, 'read')} of it went past the cache and took the database {duration(seconds)}; "
        f"meanwhile it had {count(relation.writes, 'write')}."
    )
    if reads < max(ENOUGH_ASKED, READS_A_WRITE * relation.writes) or seconds < ENOUGH_SECONDS:
        return judged(Verdict.LISTED, finding)
    return judged(Verdict.LISTED, finding, "Take it off BLACKLIST, or add it to ONLY.", seconds, "BLACKLIST")


# Queries ------------------------------------------------------------------------------

#: Reasons for which a read goes past the cache that somebody can do something about; what, is with their meaning
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
        reasons.CHUNKED,
        reasons.DIRTY,
        reasons.SNAPSHOT,
        reasons.UNCOMMITTED,
        reasons.SESSION,
    }
)

#: Reasons that the connection has, whatever the query
OF_THE_CONNECTION = (reasons.CHUNKED, reasons.DIRTY, reasons.SNAPSHOT, reasons.UNCOMMITTED, reasons.SESSION)

#: Reason for which a read result is not kept → what to do, and the setting that it is about
NOT_KEPT: dict[str, tuple[str, str | None]] = {
    reasons.TOO_MANY_ROWS: ("Raise MAX_ROWS (now {max_rows:,}), or read fewer rows.", "MAX_ROWS"),
    reasons.TOO_LARGE: (
        "Raise MAX_BYTES (now {max_bytes:,}) if the store takes items of that size, or read fewer columns.",
        "MAX_BYTES",
    ),
    reasons.UNENCODABLE: ("Cast the value in the query to a type that comes back equal, such as a text.", None),
    reasons.OPEN_CURSOR: ("Fetch results to their end and close cursors before you read on.", None),
}


def on_query(text: TextReport, facts: Facts) -> Advice:
    """What is to be thought of caching one query."""
    tally = text.tally
    asked = tally.hits + tally.misses
    figures = {
        "hits": tally.hits,
        "misses": tally.misses,
        "bypasses": tally.bypasses,
        "saved_seconds": text.saved_seconds,
        "database_seconds": text.database_seconds,
    }

    def judged(
        verdict: str, finding: str, remedy: str = "", setting: str | None = None, reason: str | None = None
    ) -> Advice:
        worth_it = text.database_seconds >= ENOUGH_SECONDS
        return Advice(
            "query",
            text.digest,
            verdict,
            finding,
            remedy if worth_it else "",
            setting,
            text.database_seconds,
            figures,
            tuple(text.callers),
            text.sql,
            reason,
        )

    reason, past = most(tally.bypassed)
    if past >= ENOUGH_READS and past >= MOSTLY * tally.reads:
        finding = f"{count(past, 'read')} of {tally.reads:,} went past the cache ({reason})"
        took = f" and took the database {duration(tally.uncached_seconds)}." if tally.uncached else "."
        if reason == reasons.NOT_WORTH:
            return judged(Verdict.RESTING, f"{finding}: asking it did not pay.", reason=reason)
        functions = facts.functions(text.sql) if reason == reasons.FUNCTION else ()
        which = f" It calls {', '.join(functions)}." if functions else ""
        return judged(
            Verdict.PAST, finding + took + which, remedy_of(reason) if reason in AVOIDABLE else "", reason=reason
        )
    refused, times = most(tally.refused)
    if times >= ENOUGH_READS and times >= MOSTLY * tally.misses and refused in NOT_KEPT:
        remedy, setting = NOT_KEPT[refused]
        return judged(
            Verdict.NOT_KEPT,
            f"{count(times, 'result')} of {tally.misses:,} were read and not kept ({refused}).",
            remedy.format(max_rows=facts.max_rows, max_bytes=facts.max_bytes),
            setting,
            refused,
        )
    if text.moment and tally.misses >= ENOUGH_READS and not tally.hits:
        return judged(
            Verdict.NOW,
            f"{count(tally.misses, 'read')} and no hit: one of its parameters is the present moment, "
            "so that no two executions are alike.",
            "Round the moment as far as the page allows: to the minute, the hour or the day.",
        )
    if asked < ENOUGH_ASKED:
        return judged(Verdict.EARLY, f"The cache was asked {count(asked, 'time')}.")
    if text.resting is not None:
        return judged(Verdict.RESTING, "Some process leaves it alone for a while: asking the cache did not pay.")
    if not tally.hits:
        if tally.misses >= ENOUGH_MISSES and tally.missed.get(Miss.COLD, 0) >= MOSTLY * tally.misses:
            return judged(
                Verdict.NEVER_HIT,
                f"{count(tally.misses, 'read')} and no hit: its parameters seem to be different each time.",
                "Look for a parameter that is new at each call, such as a moment or a token, and leave it out or "
                "round it.",
            )
        return judged(Verdict.EARLY, f"{count(tally.misses, 'read')} and no hit yet.")
    expired = tally.missed.get(Miss.EXPIRED, 0)
    if facts.timeout is not None and expired >= ENOUGH_READS and expired >= MOSTLY * tally.misses:
        return judged(
            Verdict.EXPIRES,
            f"{count(expired, 'miss', 'misses')} of {tally.misses:,} came because TIMEOUT was over, not because "
            "anybody had written.",
            f"Raise TIMEOUT (now {facts.timeout:g} seconds): writes retire results without it.",
            "TIMEOUT",
        )
    spent = tally.cache_seconds
    finding = (
        f"{percent(tally.hits / asked)} of {count(asked, 'read')} hit. Hits saved the database "
        f"{duration(text.saved_seconds)}; the cache took {duration(spent)}."
    )
    return judged(Verdict.GOOD if text.saved_seconds >= spent else Verdict.COSTLY, finding)


# The database -------------------------------------------------------------------------


def on_database(report: Report) -> list[Advice]:
    """What concerns neither one table nor one query."""
    total, found = report.total, []
    for reason in OF_THE_CONNECTION:
        past = total.bypassed.get(reason, 0)
        if past >= ENOUGH_ASKED and past >= NOTABLE * total.reads:
            finding = f"{count(past, 'read')} of {total.reads:,} went past the cache ({reason})."
            mean = total.mean_query_seconds or 0.0
            found.append(
                Advice(
                    "database",
                    report.using,
                    Verdict.PAST,
                    finding,
                    remedy_of(reason),
                    seconds=past * mean,
                    figures={"bypasses": past, "reads": total.reads},
                    reason=reason,
                )
            )
    everything = next((relation for relation in report.relations if relation.name == EPOCH), None)
    retired = total.retired_by.get(EPOCH, 0)
    if everything is not None and everything.writes >= ENOUGH_WRITES and retired >= NOTABLE * total.misses:
        found.append(
            Advice(
                "database",
                report.using,
                Verdict.EVERYTHING,
                f"{count(everything.writes, 'statement')} whose effect is not known retired all results, which made "
                f"{count(retired, 'miss', 'misses')} of {total.misses:,}.",
                "See the last causes under the invalidations. Call ormcache.invalidate() only for the tables that "
                "were written, and write by plain statements where a procedure does.",
                seconds=retired * (total.mean_query_seconds or 0.0),
                figures={"writes": everything.writes, "retired": retired, "misses": total.misses},
            )
        )
    lost = total.missed.get(Miss.LOST, 0)
    if lost >= ENOUGH_ASKED and lost >= LOST * total.misses:
        found.append(
            Advice(
                "database",
                report.using,
                Verdict.LOSING,
                f"{count(lost, 'miss', 'misses')} of {total.misses:,} came because the store had lost what it knew.",
                "Give the store more room (MAX_SIZE for the embedded one), or keep less in it.",
                "MAX_SIZE",
                seconds=lost * (total.mean_query_seconds or 0.0),
                figures={"lost": lost, "misses": total.misses},
            )
        )
    return found


def remedy_of(reason: str) -> str:
    """What one can do about a reason, as a sentence."""
    remedy = MEANINGS[reason].remedy
    return remedy[:1].upper() + remedy[1:].rstrip(".") + "."


def most(counted: Mapping[str, int]) -> tuple[str, int]:
    """The most frequent one, and how often; ``("", 0)`` of none."""
    return max(counted.items(), key=lambda item: item[1], default=("", 0))
