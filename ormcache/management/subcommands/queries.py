"""``manage.py ormcache queries``."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from ormcache.insight.listing import ORDERS, Query, queries_of
from ormcache.insight.quantities import count, duration, percent
from ormcache.insight.statements import short
from ormcache.insight.wording import relation_named
from ormcache.management.common import add_json, add_using, gather, number
from ormcache.management.output import Output
from ormcache.management.words import counted, not_cached, nothing, title

HELP = """Lists the queries that matter: what the cache makes of each, and what to do about it.

Those that most time was saved with, those that missed most, those that went past the cache for the longest time. Values
in them are masked."""

#: The lists that are shown if nobody says which
SHOWN = ("saved", "misses", "uncached")
FEW, MANY = 5, 20  # in each of several lists, and in the only one
LONGEST = 300  # characters of a statement that is not shown whole
MOST_CALLERS = 3


def add_arguments(parser: ArgumentParser) -> None:
    add_using(parser)
    add_json(parser)
    parser.add_argument(
        "--by", choices=list(ORDERS), help=f"Show one list: by time saved, misses, time uncached, or reads ({MANY})."
    )
    parser.add_argument("--limit", type=number(1), metavar="N", help="Show the first N of each list.")
    parser.add_argument("--full", action="store_true", help="Do not shorten statements. Values stay masked.")


def run(options: Mapping[str, Any], out: Output) -> None:
    orders = SHOWN if options["by"] is None else (options["by"],)
    most = options["limit"] or (FEW if options["by"] is None else MANY)
    gathered = gather(options)
    found = [(known, {order: queries_of(known, order, most) for order in orders}) for known in gathered.known]
    if options["json"]:
        out.json(
            gathered.as_json([{"using": known.using, "asked": known.asked, "queries": lists} for known, lists in found])
        )
    else:
        for place, (known, lists) in enumerate(found):
            out.show(*([""] if place else []), title(known))
            if known.report is None:
                out.show(nothing(known))
                continue
            for nth, (order, queries) in enumerate(lists.items()):
                heading, _ = ORDERS[order]
                out.show(*([""] if nth else []), Text(heading if queries else f"{heading}: none", style="underline"))
                if queries:
                    out.show(_drawn(queries, whole=options["full"]))
        out.show(*not_cached(gathered.not_cached))
    gathered.complain()


def _drawn(queries: Sequence[Query], *, whole: bool) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(justify="right")
    table.add_column(overflow="fold")
    for place, query in enumerate(queries, 1):
        table.add_row(f"{place}.", Text("\n").join(_lines(query, whole=whole)))
    return table


def _lines(query: Query, *, whole: bool) -> Iterator[Text]:
    yield Text(_cut(query.sql, whole=whole))
    yield Text(_numbers(query), style="cyan")
    why = _why(query)
    if why:
        yield Text(why)
    yield Text(f"{query.verdict}: {query.finding}")
    if query.remedy:
        yield Text(f"What you can do: {query.remedy}", style="yellow")
    if query.callers:
        more = f", {len(query.callers) - MOST_CALLERS} more" if len(query.callers) > MOST_CALLERS else ""
        yield Text(f"asked for in {', '.join(query.callers[:MOST_CALLERS])}{more}", style="dim")


def _cut(sql: str, *, whole: bool) -> str:
    if whole:
        return sql
    text = short(sql)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _numbers(query: Query) -> str:
    rate = "" if query.hit_rate is None else f" ({percent(query.hit_rate)})"
    mean = "" if query.mean_seconds is None else f", {duration(query.mean_seconds)} each"
    reads = f"{count(query.reads, 'read')}: {query.hits:,} hit{rate}, {query.misses:,} missed"
    took = f"took the database {duration(query.database_seconds)}{mean}"
    return f"{reads}, {query.bypasses:,} past the cache; saved {duration(query.saved_seconds)}, {took}"


def _why(query: Query) -> str:
    told = []
    if query.missed:
        by = {relation_named(name): times for name, times in query.retired_by.items()}
        tables = f" (by writes to: {', '.join(list(by)[:3])})" if by else ""
        told.append(f"missed: {counted(query.missed, 3)}{tables}")
    if query.bypassed:
        told.append(f"past the cache: {counted(query.bypassed, 3)}")
    if query.refused:
        told.append(f"not kept: {counted(query.refused, 3)}")
    return "; ".join(told)
