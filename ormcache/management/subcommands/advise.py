"""``manage.py ormcache advise``."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from ormcache.diagnostics.advice.snippets import AdviceWithSnippet, Snippet, advise_with_snippets
from ormcache.diagnostics.format.encoder import items_of
from ormcache.diagnostics.format.quantities import count, duration
from ormcache.diagnostics.format.relations import display_name
from ormcache.diagnostics.format.sql import indent
from ormcache.diagnostics.format.verification import describe_verification
from ormcache.diagnostics.stats.collection import DatabaseReport
from ormcache.diagnostics.stats.statistics import utc
from ormcache.management.common import add_json, add_using, collect_requested_reports
from ormcache.management.formatting import list_callers, no_statistics, not_cached, numbered_list, title
from ormcache.management.output import Output
from ormcache.telemetry.report import Report

HELP = """Recommends changes to settings and code, based on the statistics of all processes.

The recommendation with the most time at stake comes first. Each comes with the numbers behind it, the lines of your
code that it is about, and settings that are ready to paste. Nothing is changed."""

LONGEST = 300  # characters of a statement
MOST_CALLERS = 5


def add_arguments(parser: ArgumentParser) -> None:
    add_using(parser)
    add_json(parser)


def run(options: Mapping[str, Any], out: Output) -> None:
    collected = collect_requested_reports(options)
    found = [(known, advise_with_snippets(known)) for known in collected.reports]
    if options["json"]:
        out.json(collected.as_json([_as_json(known, advice) for known, advice in found]))
    else:
        for place, (known, advice) in enumerate(found):
            out.show(*([""] if place else []), title(known))
            if known.report is None:
                out.show(no_statistics(known))
                continue
            if advice:
                out.show(_list(advice))
            out.show(_basis(known.report, advice))
        out.show(*not_cached(collected.not_cached))
    collected.raise_errors()


def _as_json(known: DatabaseReport, advice: Sequence[AdviceWithSnippet]) -> dict[str, Any]:
    report = known.report
    return {
        "using": known.using,
        "own_alias": known.own_alias,
        "reads": 0 if report is None else report.total.reads,
        "writes": 0 if report is None else report.writes,
        "since": None if report is None or report.since is None else utc(report.since),
        "processes": 0 if report is None else len(report.processes),
        "advice": [items_of(one.advice) | {"snippet": one.snippet} for one in advice],
    }


def _basis(report: Report, advice: Sequence[AdviceWithSnippet]) -> str:
    """Say on how many reads and writes the advice is based."""
    since = "" if report.since is None else f" since {utc(report.since):%Y-%m-%d %H:%M:%S} UTC"
    statistics = (
        f"{count(report.total.reads, 'read')} and {count(report.writes, 'write')} "
        f"in {count(len(report.processes), 'process', 'processes')}{since}"
    )
    total = report.total
    if total.compared:
        statistics += f"; {describe_verification(total.compared, total.verified, total.violations)}"
    at_stake = " The times at stake are estimates over that period."
    return f"Based on {statistics}.{at_stake}" if advice else f"No recommendations, based on {statistics}."


def _list(advice: Sequence[AdviceWithSnippet]) -> Table:
    table = numbered_list()
    shown: set[Snippet] = set()
    for place, one in enumerate(advice, 1):
        table.add_row(f"{place}.", Text("\n").join([*_lines(one, shown), Text("")]))
    return table


def _lines(one: AdviceWithSnippet, shown: set[Snippet]) -> Iterator[Text]:
    """Yield the lines of one recommendation. ``shown``: snippets of those above."""
    advice, snippet = one.advice, one.snippet
    subject = {
        "relation": f"Table {display_name(advice.subject)}",
        "query": "Query",
        "function": f"Function {advice.subject}",
        "fragment": f"Fragment {advice.subject}",
        "page": f"Page {advice.subject}",
        "database": f"Database {advice.subject}",
    }[advice.kind]
    at_stake = f" ({duration(advice.seconds)} at stake)" if advice.seconds > 0 else ""
    yield Text(f"{subject}: {advice.verdict}{at_stake}", style="bold")
    if advice.sql:
        yield Text(indent(advice.sql, LONGEST, without_columns=True), style="dim")
    if advice.callers:
        yield Text(list_callers(advice.callers, MOST_CALLERS), style="dim")
    yield Text(advice.finding)
    yield Text(f"What to do: {advice.remedy}", style="yellow")
    if snippet is not None and snippet in shown:
        yield Text(f"In settings.py, in {snippet.place}: {snippet.setting} as above.")
    elif snippet is not None:
        shown.add(snippet)
        yield Text(f"In settings.py, in {snippet.place}:")
        yield Text("\n".join(f"    {line}" for line in snippet.text.splitlines()), style="green")
