"""Prepares what a page shows of one database, for its template."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from ormcache.cache.keys import digest
from ormcache.cache.serializer import Unreadable
from ormcache.catalog import is_pseudo
from ormcache.diagnostics.advice import (
    Advice,
    AdviceContext,
    Verdict,
    advice_context,
    advise,
    judge_derived,
    judge_query,
    judge_table,
)
from ormcache.diagnostics.format.meanings import MEANINGS
from ormcache.diagnostics.format.outside_writes import describe_outside_writes
from ormcache.diagnostics.format.quantities import count, duration, percent
from ormcache.diagnostics.format.relations import display_name
from ormcache.diagnostics.format.sql import StatementMasker, indent, to_line
from ormcache.diagnostics.format.verification import describe_verification
from ormcache.diagnostics.page.charts import charts_of
from ormcache.diagnostics.page.drawing import Chart
from ormcache.diagnostics.stats.overview import Overview
from ormcache.diagnostics.stats.statistics import highest_first, outside_writes_of, utc
from ormcache.telemetry import Event, Miss
from ormcache.telemetry.derived_stats import DerivedCounters
from ormcache.telemetry.payload import params_of
from ormcache.telemetry.report import QueryReport, RelationReport, Report

#: What one page shows of each; the rest is for ``manage.py ormcache``
MOST_QUERIES, MOST_RELATIONS, MOST_EVENTS, MOST_ADVICE, MOST_OUTAGES, MOST_PROCESSES = 20, 40, 15, 12, 10, 40
MOST_DERIVED = 30
#: Characters of a statement in a table
LONGEST_LINE = 240

#: The orders of the queries: value of the parameter in the URL → (label, sort key)
ORDERS: dict[str, tuple[str, Callable[[QueryReport], float]]] = {
    "saved": ("time saved", lambda query: query.saved_seconds),
    "misses": ("misses", lambda query: query.tally.misses),
    "uncached": ("time of bypasses", lambda query: query.tally.uncached_seconds),
    "database": ("time in the database", lambda query: query.database_seconds),
}

#: Cause of a miss → what it means, for people
MISSES = {
    Miss.COLD: "looked up for the first time, or evicted",
    Miss.INVALIDATED: "a write invalidated the result",
    Miss.MARKED: "a write was being committed",
    Miss.EXPIRED: "TIMEOUT was over",
    Miss.LOST: "the store had lost the stamps of the tables",
}

#: Verdict → its class in the style sheet: good, bad, or neither
TONES = {
    Verdict.GOOD: "good",
    Verdict.WRITE_HEAVY: "bad",
    Verdict.RARELY_READ: "bad",
    Verdict.NEVER_HITS: "bad",
    Verdict.CURRENT_TIME: "bad",
    Verdict.NOT_STORED: "bad",
    Verdict.BYPASSED: "bad",
    Verdict.OFTEN_INVALIDATED: "bad",
    Verdict.EXPIRES_EARLY: "bad",
    Verdict.ALL_INVALIDATED: "bad",
    Verdict.STORE_TOO_SMALL: "bad",
    Verdict.STALE: "bad",
    Verdict.WRITTEN_OUTSIDE: "bad",
}


@dataclass(frozen=True, slots=True)
class ShownAdvice:
    """A piece of advice, with its statement as it may be shown."""

    advice: Advice
    sql: str  # indented
    line: str  # the same in one line, without long lists of columns, and cut
    tone: str


@dataclass(frozen=True, slots=True)
class QueryRow:
    """A row of the table of queries."""

    query: QueryReport
    advice: ShownAdvice
    reasons: tuple[tuple[str, int], ...]  # of bypasses and of rejected results, and how often
    params: tuple[str, ...]  # of the executions that hit most, if they may be shown


@dataclass(frozen=True, slots=True)
class DerivedRow:
    """A row of the table of pages, fragments and functions."""

    id: str  # the same whenever the page is made
    counters: DerivedCounters
    advice: ShownAdvice
    missed: tuple[tuple[str, int], ...]  # by cause, the most frequent first
    invalidated_by: tuple[tuple[str, int], ...]  # by relation
    rejected: tuple[tuple[str, int], ...]  # by reason
    not_stored: int
    sql: str  # for which it was not stored the last time, indented
    caller: str | None  # "path:line" that ran it
    subject: str | None  # what the reason was about, in words, if it was no statement


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row of the table of tables. Widths are per cent of the longest bar."""

    relation: RelationReport
    advice: ShownAdvice
    hits: float
    misses: float
    writes: float
    cause: str


@dataclass(frozen=True, slots=True)
class CountRow:
    """A reason or a cause, and how often it occurred."""

    name: str
    meaning: str
    number: int
    part: float  # per cent of the most frequent one


@dataclass(frozen=True, slots=True)
class EventRow:
    """An event, and how often it occurred."""

    event: Event  # the last one
    times: int
    cause: str

    def plus(self, times: int) -> EventRow:
        """Return the row with so many more occurrences."""
        return replace(self, times=self.times + times)


@dataclass(frozen=True, slots=True)
class Page:
    """Everything that the template shows of one database."""

    overview: Overview
    report: Report | None
    state: str  # "working", "costly", "idle", "unavailable" or "off": a class in the style sheet
    headline: str
    hosts: int
    charts: tuple[Chart, ...]
    advice: tuple[ShownAdvice, ...]
    tables: tuple[TableRow, ...]
    queries: tuple[QueryRow, ...]
    counts: tuple[tuple[str, tuple[CountRow, ...]], ...]  # title → rows
    events: tuple[EventRow, ...]
    hidden_tables: int  # tables beyond MOST_RELATIONS
    derived: tuple[DerivedRow, ...] = ()
    hidden_derived: int = 0  # pages, fragments and functions beyond MOST_DERIVED
    verification: str = ""  # what became of hits that were held against the database; "": none was
    outside_writes: str = ""  # which tables other programs were noticed to write; "": none

    @property
    def is_observed(self) -> bool:
        """Whether no hit was served, because of ENABLED = "observe"."""
        return self.report is not None and self.report.total.observed == self.report.total.hits > 0

    @property
    def has_violations(self) -> bool:
        """Whether a result differed from the database."""
        return self.report is not None and self.report.total.violations > 0


def page_of(overview: Overview, order: str) -> Page:
    """Return the page of one database. ``order``: of its queries, one of :data:`ORDERS`."""
    report, database = overview.report, overview.database
    state, headline = _headline(overview)
    if report is None or database is None:
        return Page(overview, None, state, headline, 0, (), (), (), (), (), (), 0)
    context = advice_context(database)
    presenter = _Presenter(StatementMasker(database.vendor, shows_values=database.config.show_parameters))
    relations = _relations(report)
    return Page(
        overview,
        report,
        state,
        headline,
        len({process.host for process in report.processes}),
        charts_of(report),
        tuple(presenter.advice(advice) for advice in advise(report, context)[:MOST_ADVICE]),
        _table_rows(relations[:MOST_RELATIONS], report, context, presenter),
        _query_rows(report, order, context, presenter),
        _counts(report),
        _event_rows(report.events, presenter)[:MOST_EVENTS],
        max(len(relations) - MOST_RELATIONS, 0),
        tuple(_derived_row(one, context, presenter) for one in report.derived[:MOST_DERIVED]),
        max(len(report.derived) - MOST_DERIVED, 0),
        describe_verification(report.total.compared, report.total.verified, report.total.violations)
        if report.total.compared
        else "",
        describe_outside_writes(outside_writes_of(report), utc(report.outside_written_at))
        if report.outside_writes
        else "",
    )


def _headline(overview: Overview) -> tuple[str, str]:
    report = overview.report
    if overview.bypass_reason is not None:
        return "off", f"Nothing of this database is cached: {overview.bypass_reason}."
    if overview.store_error is not None:
        return "unavailable", "The store does not answer. Reads go to the database."
    if report is None:
        return "idle", "Ready; nothing has been counted yet."
    rate = report.total.hit_rate
    if rate is None:
        return "idle", f"{count(report.total.reads, 'read')} so far; none of them was looked up in the cache."
    gain = report.gain_seconds
    balance = f"a gain of {duration(gain)}" if gain >= 0 else f"a loss of {duration(-gain)}"
    state = "working" if gain >= 0 or report.total.hits + report.total.misses < WARMING_UP else "costly"
    if report.total.observed == report.total.hits > 0:
        return state, (
            f"{percent(rate)} of the lookups would have hit, and saved the database {duration(report.saved_seconds)}. "
            f"That cost {duration(report.cache_seconds)}: {balance}. Nothing was served: ENABLED is observe."
        )
    return state, (
        f"{percent(rate)} of the lookups hit. That saved the database "
        f"{duration(report.saved_seconds)} and cost {duration(report.cache_seconds)}: {balance}."
    )


#: Lookups before a negative balance means anything: a cache costs time while it fills
WARMING_UP = 1000


class _Presenter:
    """Masks statements, and turns advice and samples into what may be shown."""

    def __init__(self, masker: StatementMasker) -> None:
        self._shows_values = masker.shows_values
        self.mask = masker.mask

    def advice(self, advice: Advice) -> ShownAdvice:
        tone = TONES.get(advice.verdict, "quiet")
        sql = self.mask(advice.sql)
        return ShownAdvice(
            advice, indent(sql), to_line(sql, LONGEST_LINE), tone if tone == "good" or advice.remedy else "quiet"
        )

    def params(self, samples: Sequence[Mapping[str, object]]) -> tuple[str, ...]:
        if not self._shows_values:
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
    found = [relation for relation in report.relations if not is_pseudo(relation.name)]
    return sorted(found, key=lambda relation: relation.tally.reads + relation.writes, reverse=True)


def _table_rows(
    relations: Sequence[RelationReport], report: Report, context: AdviceContext, presenter: _Presenter
) -> tuple[TableRow, ...]:
    longest = max((max(one.tally.hits + one.tally.misses, one.writes) for one in relations), default=0) or 1

    def part(number: int) -> float:
        return round(number / longest * 100, 2)

    return tuple(
        TableRow(
            relation,
            presenter.advice(judge_table(relation, report, context)),
            part(relation.tally.hits),
            part(relation.tally.misses),
            part(relation.writes),
            to_line(presenter.mask(relation.cause), LONGEST_LINE),
        )
        for relation in relations
    )


def _query_rows(report: Report, order: str, context: AdviceContext, presenter: _Presenter) -> tuple[QueryRow, ...]:
    _, value = ORDERS[order]
    chosen = [query for query in report.queries if value(query) > 0]
    chosen = sorted(chosen, key=value, reverse=True)[:MOST_QUERIES]
    return tuple(
        QueryRow(
            query,
            presenter.advice(judge_query(query, context)),
            tuple(sorted((query.tally.bypassed | query.tally.rejected).items(), key=lambda item: -item[1])),
            presenter.params(query.samples),
        )
        for query in chosen
    )


def _derived_row(counters: DerivedCounters, context: AdviceContext, presenter: _Presenter) -> DerivedRow:
    last = counters.last_rejection
    return DerivedRow(
        digest(counters.kind.encode(), counters.label.encode()).hex(),
        counters,
        presenter.advice(judge_derived(counters, context)),
        _most_frequent_first(counters.missed),
        tuple((display_name(name), times) for name, times in _most_frequent_first(counters.invalidated_by)),
        _most_frequent_first(counters.rejected),
        sum(counters.rejected.values()),
        indent(presenter.mask(last.sql)) if last is not None and last.sql else "",
        None if last is None else last.caller,
        None if last is None else last.subject,
    )


def _most_frequent_first(counts: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple(highest_first(counts).items())


def _event_rows(events: Sequence[Event], presenter: _Presenter) -> tuple[EventRow, ...]:
    """Return the events, newest first; those that differ only in masked values are merged."""
    found: dict[tuple[str, tuple[str, ...], str], EventRow] = {}
    for event in events:
        cause = to_line(presenter.mask(event.cause), LONGEST_LINE)
        key = (event.kind, event.relations, cause)
        known = found.get(key)
        found[key] = EventRow(event, event.times, cause) if known is None else known.plus(event.times)
    return tuple(found.values())


def _counts(report: Report) -> tuple[tuple[str, tuple[CountRow, ...]], ...]:
    total = report.total
    found = []
    for title, counts in (
        ("Misses by cause", total.missed),
        ("Bypasses by reason", total.bypassed),
        ("Rejected results by reason", total.rejected),
    ):
        longest = max(counts.values(), default=1)
        ordered = sorted(counts.items(), key=lambda item: -item[1])
        rows = (CountRow(name, _meaning(name), number, round(number / longest * 100, 2)) for name, number in ordered)
        found.append((title, tuple(rows)))
    return tuple(found)


def _meaning(name: str) -> str:
    if name in MISSES:
        return MISSES[name]
    return MEANINGS[name].text if name in MEANINGS else ""
