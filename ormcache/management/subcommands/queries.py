"""``manage.py ormcache queries``."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from ormcache.diagnostics.format.quantities import count, duration, percent
from ormcache.diagnostics.format.relations import display_name
from ormcache.diagnostics.format.sql import LONGEST_INDENTED, indent, to_line
from ormcache.diagnostics.stats.rankings import ORDERS, QueryStatistics, rank_queries
from ormcache.management.common import add_json, add_using, collect_requested_reports, number
from ormcache.management.formatting import (
    list_callers,
    list_counts,
    no_statistics,
    not_cached,
    numbered_list,
    title,
)
from ormcache.management.output import Output

HELP = """Lists the queries that matter: what becomes of each, why, and what to do about it.

Shows the queries that saved the most time, those that missed most often, and those whose bypasses took the most time.
Values in statements are masked."""

#: The lists that are shown without --by
SHOWN = ("saved", "misses", "uncached")
FEW, MANY = 5, 20  # queries in each of several lists, and in a single one
LONGEST = 300  # characters of a statement, without --full
MOST_CALLERS = 3


def add_arguments(parser: ArgumentParser) -> None:
    add_using(parser)
    add_json(parser)
    parser.add_argument(
        "--by",
        choices=list(ORDERS),
        help=f"Show one list of {MANY}: by time saved, misses, time in bypasses (uncached), or reads.",
    )
    parser.add_argument("--limit", type=number(1), metavar="N", help="Show the first N queries of each list.")
    parser.add_argument(
        "--full", action="store_true", help="Show whole statements, indented. Their values stay masked."
    )


def run(options: Mapping[str, Any], out: Output) -> None:
    orders = SHOWN if options["by"] is None else (options["by"],)
    most = options["limit"] or (FEW if options["by"] is None else MANY)
    collected = collect_requested_reports(options)
    found = [(known, {order: rank_queries(known, order, most) for order in orders}) for known in collected.reports]
    if options["json"]:
        databases = [{"using": known.using, "own_alias": known.own_alias, "queries": lists} for known, lists in found]
        out.json(collected.as_json(databases))
    else:
        for place, (known, lists) in enumerate(found):
            out.show(*([""] if place else []), title(known))
            if known.report is None:
                out.show(no_statistics(known))
                continue
            for nth, (order, queries) in enumerate(lists.items()):
                heading, _ = ORDERS[order]
                out.show(*([""] if nth else []), Text(heading if queries else f"{heading}: none", style="underline"))
                if queries:
                    out.show(_list(queries, whole=options["full"]))
        out.show(*not_cached(collected.not_cached))
    collected.raise_errors()


def _list(queries: Sequence[QueryStatistics], *, whole: bool) -> Table:
    table = numbered_list()
    for place, query in enumerate(queries, 1):
        table.add_row(f"{place}.", Text("\n").join(_lines(query, whole=whole)))
    return table


def _lines(query: QueryStatistics, *, whole: bool) -> Iterator[Text]:
    yield Text(_statement(query.sql, whole=whole))
    if query.callers:
        yield Text(list_callers(query.callers, MOST_CALLERS), style="dim")
    yield Text(_numbers(query), style="cyan")
    causes = _causes(query)
    if causes:
        yield Text(causes)
    yield Text(f"{query.verdict}: {query.finding}")
    if query.remedy:
        yield Text(f"What to do: {query.remedy}", style="yellow")


def _statement(sql: str, *, whole: bool) -> str:
    """Return it in one line; or whole, and then indented unless it is too long for that."""
    if not whole:
        return to_line(sql, LONGEST)
    return indent(sql) if len(sql) <= LONGEST_INDENTED else sql


def _numbers(query: QueryStatistics) -> str:
    by_row = f", {query.row_hits:,} by row" if query.row_hits else ""
    rate = "" if query.hit_rate is None else f" ({percent(query.hit_rate)}{by_row})"
    mean = "" if query.mean_seconds is None else f", {duration(query.mean_seconds)} each"
    return (
        f"{count(query.reads, 'read')}: {count(query.hits, 'hit')}{rate}, {count(query.misses, 'miss', 'misses')}, "
        f"{count(query.bypasses, 'bypass', 'bypasses')}; {duration(query.saved_seconds)} of database time saved, "
        f"{duration(query.database_seconds)} spent{mean}"
    )


def _causes(query: QueryStatistics) -> str:
    causes = []
    if query.missed:
        relations = ", ".join(map(display_name, list(query.invalidated_by)[:3]))
        writes = f" (writes to {relations})" if relations else ""
        causes.append(f"misses: {list_counts(query.missed, 3)}{writes}")
    if query.bypassed:
        causes.append(f"bypasses: {list_counts(query.bypassed, 3)}")
    if query.rejected:
        causes.append(f"rejected results: {list_counts(query.rejected, 3)}")
    return "; ".join(causes)
