"""``manage.py ormcache stats``."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from ormcache.diagnostics.format.encoder import items_of
from ormcache.diagnostics.format.outside_writes import describe_outside_writes
from ormcache.diagnostics.format.quantities import count, duration, percent
from ormcache.diagnostics.format.relations import display_name
from ormcache.diagnostics.format.sql import truncate
from ormcache.diagnostics.format.verification import describe_verification
from ormcache.diagnostics.stats.derived import DerivedStatistics, rank_derived
from ormcache.diagnostics.stats.statistics import (
    DatabaseStatistics,
    ReportingProcess,
    StatisticsChange,
    summarize,
)
from ormcache.management.common import CollectedReports, add_json, add_using, collect_requested_reports, number
from ormcache.management.formatting import (
    ago,
    list_counts,
    named_lines,
    no_statistics,
    not_cached,
    short_duration,
    short_number,
    size,
    title,
)
from ormcache.management.output import Output
from ormcache.management.watch import Window, repeat

HELP = """Shows hits, misses and bypasses, and the time saved, over all processes.

Lists each database under each name that processes use for it."""

INTERVAL = 2.0  # seconds between two looks of --watch
#: How much is shown of each; JSON has all
MOST_COUNTED, MOST_TABLES, MOST_PROCESSES, MOST_OUTAGES, MOST_DERIVED = 6, 3, 10, 3, 10
LONGEST_LABEL = 36  # characters


def add_arguments(parser: ArgumentParser) -> None:
    add_using(parser)
    add_json(parser)
    parser.add_argument(
        "--watch",
        nargs="?",
        type=number(0.1, float),
        const=INTERVAL,
        metavar="SECONDS",
        help=f"Look again every so many seconds ({INTERVAL:g}) until Ctrl-C, and show what has changed.",
    )


@dataclass(frozen=True, slots=True)
class Look:
    """One look at all databases."""

    collected: CollectedReports
    statistics: Mapping[tuple[str, str], DatabaseStatistics]  # by alias of this project, and name
    changes: Mapping[tuple[str, str], StatisticsChange]


def run(options: Mapping[str, Any], out: Output) -> None:
    window = Window()
    if options["watch"] is None:
        look = _look(options, window)
        if options["json"]:
            out.json(_document(look))
        else:
            out.show(*_drawn(look, whole=True))
        look.collected.raise_errors()
        return

    def line(look: Look) -> None:
        out.json_line(_document(look))

    repeat(
        lambda: _look(options, window),
        line if options["json"] else None,
        lambda look: Group(*_drawn(look, whole=False), *_errors(look.collected)),
        out,
        options["watch"],
    )


def _look(options: Mapping[str, Any], window: Window) -> Look:
    """Raises CommandError."""
    collected = collect_requested_reports(options)
    statistics = {(known.own_alias, known.using): summarize(known) for known in collected.reports}
    longest = max((known.database.config.statistics_interval for known in collected.reports), default=0.0)
    return Look(collected, statistics, window.changes(statistics, longest))


def _document(look: Look) -> dict[str, Any]:
    databases = [
        items_of(look.statistics[known.own_alias, known.using])
        | {
            "outbox_rows": known.outbox_rows,
            "derived": rank_derived(known, "saved"),
            "change": look.changes.get((known.own_alias, known.using)),
        }
        for known in look.collected.reports
    ]
    return look.collected.as_json(databases)


# Layout -----------------------------------------------------------------------------------


def _drawn(look: Look, *, whole: bool) -> Iterator[RenderableType]:
    """Yield what to show of one look. ``whole``: with the processes, even if that is more than fits on a screen."""
    for position, known in enumerate(look.collected.reports):
        if position:
            yield ""
        yield title(known)
        key = known.own_alias, known.using
        if known.report is None:
            yield no_statistics(known)
            continue
        statistics = look.statistics[key]
        table = named_lines()
        for name, text in _lines(statistics, look.changes.get(key)):
            table.add_row(name, text)
        if known.outbox_rows:
            table.add_row("outbox", f"{count(known.outbox_rows, 'row')} of writes that no process has invalidated yet")
        yield table
        if whole:
            yield from _derived(rank_derived(known, "saved"))
            yield from _processes(statistics)
    yield from not_cached(look.collected.not_cached)


def _errors(collected: CollectedReports) -> Iterator[Text]:
    for alias, error in collected.store_errors.items():
        yield Text(f"{alias}: the store does not answer ({error}).", style="yellow")
    for error in collected.unreachable.values():
        yield Text(error, style="yellow")


def _lines(statistics: DatabaseStatistics, change: StatisticsChange | None) -> Iterator[tuple[str, str]]:
    """Yield (name, text) of each line."""
    rate = "" if statistics.hit_rate is None else f" ({percent(statistics.hit_rate)} of lookups)"
    missed, bypassed = count(statistics.misses, "miss", "misses"), count(statistics.bypasses, "bypass", "bypasses")
    is_observed = statistics.observed == statistics.hits > 0
    hits = count(statistics.hits, "would-be hit" if is_observed else "hit")
    if 0 < statistics.observed < statistics.hits:
        rate += f", of which {statistics.observed:,} were observed and not served"
    yield "reads", f"{statistics.reads:,}: {hits}{rate}, {missed}, {bypassed}"
    if statistics.compared:
        yield "verified", describe_verification(statistics.compared, statistics.verified, statistics.violations)
    if change is not None:
        yield "recently", _recently(change)
    if statistics.missed:
        yield "misses", list_counts(statistics.missed, MOST_COUNTED)
    if statistics.invalidated_by:
        tables = {display_name(name): times for name, times in statistics.invalidated_by.items()}
        yield "", f"invalidated by writes to: {_by_table(tables)}"
    if statistics.row_hits:
        ended = count(statistics.row_invalidated, "such result")
        yield "rows", f"{count(statistics.row_hits, 'hit')} of results that depend on single rows; writes ended {ended}"
    if statistics.bypassed:
        yield "bypasses", list_counts(statistics.bypassed, MOST_COUNTED)
    if statistics.rejected:
        yield "rejected", list_counts(statistics.rejected, MOST_COUNTED)
    if statistics.waited:
        took = duration(statistics.waited_seconds)
        yield "waited", f"{count(statistics.waited, 'read')} for the same query of another one, {took} in total"
    by = "if hits were served" if is_observed else "by hits"
    yield "saved", f"{duration(statistics.saved_seconds)} of database time, {by} (estimated)"
    yield "spent", _spent(statistics)
    damaged = f"; {count(statistics.damaged, 'entry', 'entries')} damaged" if statistics.damaged else ""
    transferred = f"{size(statistics.bytes_written)} to the store, {size(statistics.bytes_read)} from it"
    yield "results", f"{statistics.stored:,} stored; {transferred}{damaged}"
    late = f", {statistics.unpublished:,} of them invalidated later: the store did not answer"
    yield "writes", f"{statistics.writes:,}" + (late if statistics.unpublished else "")
    if statistics.pending:
        yield "pending", f"invalidations, until the store answers: {', '.join(map(display_name, statistics.pending))}"
    if statistics.purges or statistics.purge_failures:
        failed = f"; {count(statistics.purge_failures, 'attempt')} failed" if statistics.purge_failures else ""
        waiting = f", {count(statistics.unpurged, 'tag')} still to be purged" if statistics.unpurged else ""
        yield "purges", f"{statistics.purges:,} of CDNs and reverse proxies{failed}{waiting}"
    yield from _outside(statistics)
    for outage in statistics.outages[:MOST_OUTAGES]:
        lasted = "until now" if outage.ended is None else f"for {ago(outage.began, outage.ended)}"
        yield "outage", f"{outage.began:%Y-%m-%d %H:%M:%S} UTC {lasted}: {outage.error}"
    if len(statistics.outages) > MOST_OUTAGES:
        yield "", f"{len(statistics.outages) - MOST_OUTAGES} more"
    yield "source", _source(statistics)


def _outside(statistics: DatabaseStatistics) -> Iterator[tuple[str, str]]:
    """Yield the lines about writes of other programs."""
    if statistics.outside_written is not None:
        yield "outside", describe_outside_writes(statistics.outside_writes, statistics.outside_written)
    if statistics.outside_doubts:
        times = count(statistics.outside_doubts, "time")
        yield "doubt", f"everything invalidated {times}: another program may have written to the file"
    lags = (statistics.mean_recorded_lag, statistics.p99_recorded_lag, statistics.longest_recorded_lag)
    known = [duration(lag) for lag in lags if lag is not None]
    if len(known) == len(lags):
        written = count(statistics.recorded_writes, "recorded write")
        text = "{} on average, 99 of 100 within {}, {} at most".format(*known)
        yield "recorded", f"{written} of other programs, invalidated after {text}"


def _by_table(tables: Mapping[str, int]) -> str:
    shown = [f"{name} {times:,}" for name, times in list(tables.items())[:MOST_TABLES]]
    more = len(tables) - MOST_TABLES
    return ", ".join([*shown, f"{count(more, 'other')}"] if more > 0 else shown)


def _spent(statistics: DatabaseStatistics) -> str:
    gain = statistics.gain_seconds
    return (
        f"{duration(statistics.read_seconds)} in the cache for reads, {duration(statistics.write_seconds)} for writes: "
        + (f"a gain of {duration(gain)}" if gain >= 0 else f"a loss of {duration(-gain)}")
        + f"; {duration(statistics.database_seconds)} in the database for misses and bypasses"
    )


def _source(statistics: DatabaseStatistics) -> str:
    hosts = len({process.host for process in statistics.processes})
    text = f"{count(len(statistics.processes), 'process', 'processes')} on {count(hosts, 'host')}"
    if statistics.since is not None:
        text += f" since {statistics.since:%Y-%m-%d %H:%M:%S} UTC"
    if statistics.unreadable:
        text += (
            f"; {statistics.unreadable} more could not be read: evicted from the store, signed with another "
            "SECRET_KEY, or of another version of ormcache"
        )
    return text if statistics.published else f"{text}; processes with STATISTICS_INTERVAL 0, as here, are missing"


def _recently(change: StatisticsChange) -> str:
    lookups = change.hits + change.misses
    rate = f", {percent(change.hits / lookups)} of lookups hit" if lookups else ""
    per = 1 / change.seconds if change.seconds > 0 else 0.0
    return (
        f"in {duration(change.seconds)}: {change.reads:,.0f} reads ({change.reads * per:,.1f}/s{rate}), "
        f"{change.writes:,.0f} writes ({change.writes * per:,.1f}/s), {duration(change.saved_seconds)} saved"
    )


def _derived(ranked: Sequence[DerivedStatistics]) -> Iterator[Table | str]:
    """Yield the table of functions, fragments and pages."""
    if not ranked:
        return
    columns = [Column(""), *(Column(name, justify="right", no_wrap=True) for name in _DERIVED_COLUMNS)]
    table = Table(Column("cached"), *columns, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for one in ranked[:MOST_DERIVED]:
        rate = "" if one.hit_rate is None else percent(one.hit_rate)
        rejected = short_number(sum(one.rejected.values())) if one.rejected else ""
        table.add_row(
            one.kind,
            truncate(one.label, LONGEST_LABEL),
            short_number(one.uses),
            rate,
            rejected,
            short_duration(one.saved_seconds),
        )
    yield table
    if len(ranked) > MOST_DERIVED:
        yield f"and {len(ranked) - MOST_DERIVED:,} more that saved less: manage.py ormcache pages"


#: Of the table of functions, fragments and pages
_DERIVED_COLUMNS = ("uses", "hits", "not stored", "saved")


def _processes(statistics: DatabaseStatistics) -> Iterator[Table | str]:
    table = Table("host", "pid", "command", "since (UTC)", "published", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.columns[0].overflow = table.columns[2].overflow = "fold"
    table.columns[4].justify = "right"
    latest = sorted(statistics.processes, key=lambda process: process.last_published, reverse=True)[:MOST_PROCESSES]
    for process in sorted(latest, key=statistics.processes.index):
        table.add_row(*_process(process, statistics))
    yield table
    if len(statistics.processes) > MOST_PROCESSES:
        yield f"and {len(statistics.processes) - MOST_PROCESSES} more that published before them"


def _process(process: ReportingProcess, statistics: DatabaseStatistics) -> tuple[str, ...]:
    since = f"{process.began:%Y-%m-%d %H:%M:%S}"
    published = f"{ago(process.last_published, statistics.at)} ago"
    return process.host, str(process.pid), process.command, since, published
