"""``manage.py ormcache stats``."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ormcache.insight.plain import plain
from ormcache.insight.quantities import count, duration, percent
from ormcache.insight.statistics import Change, Process, Statistics, statistics_of
from ormcache.insight.wording import relation_named
from ormcache.management.common import Gathered, add_json, add_using, gather, number
from ormcache.management.output import Output
from ormcache.management.watching import Window, repeated
from ormcache.management.words import ago, counted, lines_table, not_cached, nothing, size, title

HELP = """Shows what became of reads and writes in all processes: hits, misses, and what was saved.

For each database, under each name that processes use for it."""

EVERY = 2.0  # seconds between two looks, if nobody says
#: What is shown of each; JSON has all
MOST_COUNTED, MOST_TABLES, MOST_PROCESSES, MOST_OUTAGES = 6, 3, 10, 3


def add_arguments(parser: ArgumentParser) -> None:
    add_using(parser)
    add_json(parser)
    parser.add_argument(
        "--watch",
        nargs="?",
        type=number(0.1, float),
        const=EVERY,
        metavar="SECONDS",
        help=f"Look again every so many seconds ({EVERY:g}) until Ctrl-C, and tell what has come since.",
    )


@dataclass(frozen=True, slots=True)
class Look:
    """One look at all databases."""

    gathered: Gathered
    statistics: Mapping[tuple[str, str], Statistics]  # by alias that was asked, and name
    changes: Mapping[tuple[str, str], Change]


def run(options: Mapping[str, Any], out: Output) -> None:
    window = Window()
    if options["watch"] is None:
        look = _look(options, window)
        if options["json"]:
            out.json(_document(look))
        else:
            out.show(*_drawn(look, whole=True))
        look.gathered.complain()
        return

    def line(look: Look) -> None:
        out.json_line(_document(look))

    repeated(
        lambda: _look(options, window),
        line if options["json"] else None,
        lambda look: Group(*_drawn(look, whole=False), *_complaint(look.gathered)),
        out,
        options["watch"],
    )


def _look(options: Mapping[str, Any], window: Window) -> Look:
    """Raises CommandError."""
    gathered = gather(options)
    found = {(known.asked, known.using): statistics_of(known) for known in gathered.known}
    longest = max((known.database.config.figures_interval for known in gathered.known), default=0.0)
    return Look(gathered, found, window.changes(found, longest))


def _document(look: Look) -> dict[str, Any]:
    databases = [plain(one) | {"change": look.changes.get(key)} for key, one in look.statistics.items()]
    return look.gathered.as_json(databases)


# How it looks -----------------------------------------------------------------------------


def _drawn(look: Look, *, whole: bool) -> Iterator[RenderableType]:
    """``whole``: with the processes, and with more than fits on a screen that is drawn over again."""
    for position, known in enumerate(look.gathered.known):
        if position:
            yield ""
        yield title(known)
        key = known.asked, known.using
        if known.report is None:
            yield nothing(known)
            continue
        statistics = look.statistics[key]
        table = lines_table()
        for name, text in _lines(statistics, look.changes.get(key)):
            table.add_row(name, text)
        yield table
        if whole:
            yield from _processes(statistics)
    yield from not_cached(look.gathered.not_cached)


def _complaint(gathered: Gathered) -> Iterator[Text]:
    for alias, error in gathered.away.items():
        yield Text(f"{alias}: the store does not answer ({error}).", style="yellow")


def _lines(told: Statistics, change: Change | None) -> Iterator[tuple[str, str]]:
    asked = "" if told.hit_rate is None else f" ({percent(told.hit_rate)} of those that asked the cache)"
    yield "reads", f"{told.reads:,}: {told.hits:,} hit{asked}, {told.misses:,} missed, {told.bypasses:,} went past it"
    if change is not None:
        yield "just now", _just_now(change)
    if told.missed:
        yield "missed", counted(told.missed, MOST_COUNTED)
    if told.retired_by:
        tables = {relation_named(name): times for name, times in told.retired_by.items()}
        yield "retired", f"by writes to: {_by_table(tables)}"
    if told.bypassed:
        yield "past it", counted(told.bypassed, MOST_COUNTED)
    if told.refused:
        yield "not kept", counted(told.refused, MOST_COUNTED)
    if told.waited:
        yield "waited", f"{count(told.waited, 'read')} for another one's query, {duration(told.waited_seconds)} in all"
    yield "saved", f"{duration(told.saved_seconds)} of the database, by hits (an estimate)"
    yield "spent", _spent(told)
    damaged = f"; {count(told.damaged, 'entry', 'entries')} damaged" if told.damaged else ""
    yield (
        "results",
        f"{told.kept:,} kept; {size(told.bytes_written)} to the store, {size(told.bytes_read)} from it{damaged}",
    )
    yield "writes", f"{told.writes:,}" + (f", {told.untold:,} told the store later" if told.untold else "")
    if told.pending:
        yield "waiting", f"to be told to the store: {', '.join(map(relation_named, told.pending))}"
    for outage in told.outages[:MOST_OUTAGES]:
        lasted = "until now" if outage.ended is None else f"for {ago(outage.began, outage.ended)}"
        yield "outage", f"{outage.began:%Y-%m-%d %H:%M:%S} UTC {lasted}: {outage.error}"
    if len(told.outages) > MOST_OUTAGES:
        yield "", f"{len(told.outages) - MOST_OUTAGES} more"
    yield "counted", _counted_by(told)


def _by_table(tables: Mapping[str, int]) -> str:
    shown = [f"{name} {times:,}" for name, times in list(tables.items())[:MOST_TABLES]]
    more = len(tables) - MOST_TABLES
    return ", ".join([*shown, f"{count(more, 'other')}"] if more > 0 else shown)


def _spent(told: Statistics) -> str:
    gain = told.gain_seconds
    return (
        f"{duration(told.read_seconds)} by the cache for reads, {duration(told.write_seconds)} for writes: "
        + (f"a gain of {duration(gain)}" if gain >= 0 else f"a loss of {duration(-gain)}")
        + f"; {duration(told.database_seconds)} by the database for misses and bypasses"
    )


def _counted_by(told: Statistics) -> str:
    hosts = len({process.host for process in told.processes})
    text = f"by {count(len(told.processes), 'process', 'processes')} on {count(hosts, 'host')}"
    if told.since is not None:
        text += f" since {told.since:%Y-%m-%d %H:%M:%S} UTC"
    if told.unread:
        text += f"; {told.unread} more could not be read: gone from the store, or signed with another key"
    return text if told.told else f"{text}; those whose FIGURES_INTERVAL is 0, as it is here, do not tell"


def _just_now(change: Change) -> str:
    asked = change.hits + change.misses
    rate = f", {percent(change.hits / asked)} hit" if asked else ""
    per = 1 / change.seconds if change.seconds > 0 else 0.0
    return (
        f"in {duration(change.seconds)}: {change.reads:,.0f} reads ({change.reads * per:,.1f}/s{rate}), "
        f"{change.writes:,.0f} writes ({change.writes * per:,.1f}/s), {duration(change.saved_seconds)} saved"
    )


def _processes(told: Statistics) -> Iterator[Table | str]:
    table = Table("host", "pid", "command", "since (UTC)", "told", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.columns[0].overflow = table.columns[2].overflow = "fold"
    table.columns[4].justify = "right"
    latest = sorted(told.processes, key=lambda process: process.told, reverse=True)[:MOST_PROCESSES]
    for process in sorted(latest, key=told.processes.index):
        table.add_row(*_process(process, told))
    yield table
    if len(told.processes) > MOST_PROCESSES:
        yield f"and {len(told.processes) - MOST_PROCESSES} more that told before them"


def _process(process: Process, told: Statistics) -> tuple[str, ...]:
    since = f"{process.began:%Y-%m-%d %H:%M:%S}"
    return process.host, str(process.pid), process.command, since, f"{ago(process.told, told.at)}"
