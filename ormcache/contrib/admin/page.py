"""What the page shows of one database, as the template takes it: drawings, bars, and statements that may be shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from ormcache.catalog import EPOCH, SCHEMA
from ormcache.contrib.admin.charts import charts_of
from ormcache.contrib.admin.drawing import Chart
from ormcache.figures import Event, Miss
from ormcache.figures.report import RelationReport, Report, TextReport
from ormcache.insight.advice import Advice, Facts, Verdict, advice_on, facts_of, on_query, on_relation
from ormcache.insight.meanings import MEANINGS
from ormcache.insight.overview import Overview
from ormcache.insight.quantities import count, duration, percent
from ormcache.insight.statements import Statements, short
from ormcache.publishing import params_of
from ormcache.rows import Unreadable

#: What one page shows of each; the rest is for ``manage.py ormcache``
MOST_QUERIES, MOST_RELATIONS, MOST_EVENTS, MOST_ADVICE, MOST_OUTAGES, MOST_PROCESSES = 20, 40, 15, 12, 10, 40

#: How queries may be sorted: the address's word → (what people read, what is compared)
ORDERS: dict[str, tuple[str, Callable[[TextReport], float]]] = {
    "saved": ("time saved", lambda text: text.saved_seconds),
    "misses": ("misses", lambda text: text.tally.misses),
    "uncached": ("time past the cache", lambda text: text.tally.uncached_seconds),
    "database": ("time of the database", lambda text: text.database_seconds),
}

#: Causes of misses, in the words of people
MISSES = {
    Miss.COLD: "asked for the first time, or thrown out for want of room",
    Miss.RETIRED: "a write has retired the result",
    Miss.MARKED: "somebody was writing at that moment",
    Miss.EXPIRED: "TIMEOUT was over",
    Miss.LOST: "the store has forgotten the tables",
}

#: Judgement → the class that the style sheet knows it by: well, to be changed, or neither
TONES = {
    Verdict.GOOD: "good",
    Verdict.WRITE_HEAVY: "bad",
    Verdict.HARDLY_READ: "bad",
    Verdict.NEVER_HIT: "bad",
    Verdict.NOW: "bad",
    Verdict.NOT_KEPT: "bad",
    Verdict.PAST: "bad",
    Verdict.EXPIRES: "bad",
    Verdict.EVERYTHING: "bad",
    Verdict.LOSING: "bad",
}


@dataclass(frozen=True, slots=True)
class Judged:
    """A piece of advice and its statement as it may be shown."""

    advice: Advice
    sql: str
    short: str  # the same without long lists of columns
    tone: str


@dataclass(frozen=True, slots=True)
class Query:
    text: TextReport
    judged: Judged
    past: tuple[tuple[str, int], ...]  # reasons and how often: reads past the cache, results that were not kept
    params: tuple[str, ...]  # of the executions that hit most, if they may be shown


@dataclass(frozen=True, slots=True)
class Bar:
    """A row of the table of tables. Widths are per cent of the longest one."""

    relation: RelationReport
    judged: Judged
    hits: float
    misses: float
    writes: float
    cause: str


@dataclass(frozen=True, slots=True)
class Counted:
    name: str
    meaning: str
    number: int
    part: float  # per cent of the most frequent one


@dataclass(frozen=True, slots=True)
class Happened:
    """An event, as often as it came."""

    event: Event  # the last one
    times: int
    cause: str

    def more(self, times: int) -> Happened:
        return replace(self, times=self.times + times)


@dataclass(frozen=True, slots=True)
class Page:
    overview: Overview
    report: Report | None
    state: str  # "working", "idle", "away", "off": for the style sheet
    headline: str
    hosts: int
    charts: tuple[Chart, ...]
    advice: tuple[Judged, ...]
    bars: tuple[Bar, ...]
    queries: tuple[Query, ...]
    counted: tuple[tuple[str, tuple[Counted, ...]], ...]  # title → what was counted
    events: tuple[Happened, ...]
    left_out: int  # relations that are not in the table


def page_of(overview: Overview, order: str) -> Page:
    """``order``: one of :data:`ORDERS`."""
    report, database = overview.report, overview.database
    state, headline = _headline(overview)
    if report is None or database is None:
        return Page(overview, None, state, headline, 0, (), (), (), (), (), (), 0)
    facts = facts_of(database)
    shown = _Shown(Statements(database.vendor, whole=database.config.show_parameters))
    relations = _relations(report)
    return Page(
        overview,
        report,
        state,
        headline,
        len({process.host for process in report.processes}),
        charts_of(report),
        tuple(shown.judged(advice) for advice in advice_on(report, facts)[:MOST_ADVICE]),
        _bars(relations[:MOST_RELATIONS], report, facts, shown),
        _queries(report, order, facts, shown),
        _counted(report),
        _events(report.events, shown)[:MOST_EVENTS],
        max(len(relations) - MOST_RELATIONS, 0),
    )


def _headline(overview: Overview) -> tuple[str, str]:
    report = overview.report
    if overview.obstacle is not None:
        return "off", f"Nothing of this database is cached: {overview.obstacle}."
    if overview.away is not None:
        return "away", "The store does not answer. Reads go to the database."
    if report is None:
        return "idle", "Ready, and nothing counted yet."
    rate = report.total.hit_rate
    if rate is None:
        return "idle", f"{count(report.total.reads, 'read')} so far, and none of them asked the cache."
    gain = report.gain_seconds
    balance = f"a gain of {duration(gain)}" if gain >= 0 else f"a loss of {duration(-gain)}"
    state = "working" if gain >= 0 or report.total.hits + report.total.misses < WARMING_UP else "costly"
    return state, (
        f"{percent(rate)} of the reads that asked the cache came from it. That saved the database "
        f"{duration(report.saved_seconds)} and took {duration(report.cache_seconds)}: {balance}."
    )


#: Reads before a balance below nought is more than a beginning
WARMING_UP = 1000


class _Shown:
    """Statements and judgements as they may be shown."""

    def __init__(self, statements: Statements) -> None:
        self._whole = statements.whole
        self.sql = statements.shown

    def judged(self, advice: Advice) -> Judged:
        tone = TONES.get(advice.verdict, "quiet")
        sql = self.sql(advice.sql)
        return Judged(advice, sql, short(sql), tone if tone == "good" or advice.remedy else "quiet")

    def params(self, samples: Sequence[Mapping[str, object]]) -> tuple[str, ...]:
        if not self._whole:
            return ()
        found = []
        for sample in sorted(samples, key=lambda sample: -int(str(sample["seen"])))[:3]:
            try:
                found.append(repr(params_of(sample)))
            except Unreadable:
                continue
        return tuple(found)


# Tables -------------------------------------------------------------------------------


def _relations(report: Report) -> list[RelationReport]:
    found = [relation for relation in report.relations if relation.name not in (EPOCH, SCHEMA)]
    return sorted(found, key=lambda relation: relation.tally.reads + relation.writes, reverse=True)


def _bars(relations: Sequence[RelationReport], report: Report, facts: Facts, shown: _Shown) -> tuple[Bar, ...]:
    longest = max((max(one.tally.hits + one.tally.misses, one.writes) for one in relations), default=0) or 1

    def part(number: int) -> float:
        return round(number / longest * 100, 2)

    return tuple(
        Bar(
            relation,
            shown.judged(on_relation(relation, report, facts)),
            part(relation.tally.hits),
            part(relation.tally.misses),
            part(relation.writes),
            shown.sql(relation.cause),
        )
        for relation in relations
    )


def _queries(report: Report, order: str, facts: Facts, shown: _Shown) -> tuple[Query, ...]:
    _, value = ORDERS[order]
    chosen = [text for text in report.texts if value(text) > 0]
    chosen = sorted(chosen, key=value, reverse=True)[:MOST_QUERIES]
    return tuple(
        Query(
            text,
            shown.judged(on_query(text, facts)),
            tuple(sorted((text.tally.bypassed | text.tally.refused).items(), key=lambda item: -item[1])),
            shown.params(text.samples),
        )
        for text in chosen
    )


def _events(events: Sequence[Event], shown: _Shown) -> tuple[Happened, ...]:
    """Newest first. What differs in values only is one by now."""
    found: dict[tuple[str, tuple[str, ...], str], Happened] = {}
    for event in events:
        cause = shown.sql(event.cause)
        key = (event.kind, event.relations, cause)
        known = found.get(key)
        found[key] = Happened(event, event.times, cause) if known is None else known.more(event.times)
    return tuple(found.values())


def _counted(report: Report) -> tuple[tuple[str, tuple[Counted, ...]], ...]:
    total = report.total
    found = []
    for title, counts in (
        ("Why reads missed", total.missed),
        ("Why reads went past the cache", total.bypassed),
        ("Why results were not kept", total.refused),
    ):
        longest = max(counts.values(), default=1)
        ordered = sorted(counts.items(), key=lambda item: -item[1])
        rows = (Counted(name, _meaning(name), number, round(number / longest * 100, 2)) for name, number in ordered)
        found.append((title, tuple(rows)))
    return tuple(found)


def _meaning(name: str) -> str:
    if name in MISSES:
        return MISSES[name]
    return MEANINGS[name].text if name in MEANINGS else ""
