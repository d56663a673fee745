"""``manage.py ormcache advise``."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from ormcache.figures.report import Report
from ormcache.insight.advising import Advised, Snippet, advised_on
from ormcache.insight.gathering import Known
from ormcache.insight.plain import plain
from ormcache.insight.quantities import count, duration
from ormcache.insight.statements import short
from ormcache.insight.statistics import moment
from ormcache.insight.wording import relation_named
from ormcache.management.common import add_json, add_using, gather
from ormcache.management.output import Output
from ormcache.management.words import not_cached, nothing, title

HELP = """Advises what to change in settings and code, from the figures of all processes.

What most time is at stake for comes first, with the figures behind it and settings that are ready to paste. Nothing is
changed."""

LONGEST = 300  # characters of a statement
MOST_CALLERS = 5


def add_arguments(parser: ArgumentParser) -> None:
    add_using(parser)
    add_json(parser)


def run(options: Mapping[str, Any], out: Output) -> None:
    gathered = gather(options)
    found = [(known, advised_on(known)) for known in gathered.known]
    if options["json"]:
        out.json(gathered.as_json([_as_json(known, advised) for known, advised in found]))
    else:
        for place, (known, advised) in enumerate(found):
            out.show(*([""] if place else []), title(known))
            if known.report is None:
                out.show(nothing(known))
                continue
            if advised:
                out.show(_drawn(advised))
            out.show(_basis(known.report, advised))
        out.show(*not_cached(gathered.not_cached))
    gathered.complain()


def _as_json(known: Known, advised: Sequence[Advised]) -> dict[str, Any]:
    report = known.report
    return {
        "using": known.using,
        "asked": known.asked,
        "reads": 0 if report is None else report.total.reads,
        "writes": 0 if report is None else report.writes,
        "since": None if report is None or report.since is None else moment(report.since),
        "processes": 0 if report is None else len(report.processes),
        "advice": [plain(one.advice) | {"snippet": plain(one.snippet)} for one in advised],
    }


def _basis(report: Report, advised: Sequence[Advised]) -> str:
    """How much it rests upon."""
    since = "" if report.since is None else f" since {moment(report.since):%Y-%m-%d %H:%M:%S} UTC"
    text = (
        f"{count(report.total.reads, 'read')} and {count(report.writes, 'write')} "
        f"of {count(len(report.processes), 'process', 'processes')}{since}"
    )
    return f"This rests on {text}." if advised else f"Nothing to advise, from {text}."


def _drawn(advised: Sequence[Advised]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(justify="right")
    table.add_column(overflow="fold")
    shown: set[Snippet] = set()
    for place, one in enumerate(advised, 1):
        table.add_row(f"{place}.", Text("\n").join([*_lines(one, shown), Text("")]))
    return table


def _lines(advised: Advised, shown: set[Snippet]) -> Iterator[Text]:
    """``shown``: snippets that stand above already."""
    advice, snippet = advised.advice, advised.snippet
    subject = {"relation": relation_named(advice.subject), "query": "a query", "database": "the database"}[advice.kind]
    stake = f" ({duration(advice.seconds)} at stake)" if advice.seconds > 0 else ""
    yield Text(f"{subject}: {advice.verdict}{stake}", style="bold")
    if advice.sql:
        text = short(advice.sql)
        yield Text(text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…", style="dim")
    yield Text(advice.finding)
    yield Text(advice.remedy, style="yellow")
    if snippet is not None and snippet in shown:
        yield Text(f"In {snippet.place}: {snippet.setting} as above.")
    elif snippet is not None:
        shown.add(snippet)
        yield Text(f"In {snippet.place}:")
        yield Text("\n".join(f"    {line}" for line in snippet.text.splitlines()), style="green")
    if advice.callers:
        more = f", {len(advice.callers) - MOST_CALLERS} more" if len(advice.callers) > MOST_CALLERS else ""
        yield Text(f"asked for in {', '.join(advice.callers[:MOST_CALLERS])}{more}", style="dim")
