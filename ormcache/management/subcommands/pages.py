"""``manage.py ormcache pages``."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from ormcache.diagnostics.format.quantities import count, duration, percent
from ormcache.diagnostics.format.relations import display_name
from ormcache.diagnostics.format.sql import to_line
from ormcache.diagnostics.stats.derived import DERIVED_SORTS, DerivedStatistics, RejectionStatistics, rank_derived
from ormcache.management.common import add_json, add_using, collect_requested_reports, number
from ormcache.management.formatting import list_counts, no_statistics, not_cached, numbered_list, title
from ormcache.management.output import Output

HELP = """Lists the pages, fragments and functions that are cached: what becomes of each, why, and what to do about it.

Where one is not stored, shows the query that is the reason, and the line of your code that runs it. Values in
statements are masked."""

KINDS = ("page", "fragment", "function")
MOST = 20  # without --limit
LONGEST = 300  # characters of a statement


def add_arguments(parser: ArgumentParser) -> None:
    add_using(parser)
    add_json(parser)
    parser.add_argument(
        "--sort",
        choices=list(DERIVED_SORTS),
        default="saved",
        help="Sort by time saved (the default), time that computing took, uses, misses, invalidations or rejections, "
        "highest first.",
    )
    parser.add_argument("--kind", choices=KINDS, help="Show only these.")
    parser.add_argument("--limit", type=number(1), default=MOST, metavar="N", help=f"Show the first N ({MOST}).")


def run(options: Mapping[str, Any], out: Output) -> None:
    collected = collect_requested_reports(options)
    found = [(known, rank_derived(known, options["sort"], options["kind"])) for known in collected.reports]
    most = options["limit"]
    if options["json"]:
        databases = [
            {"using": known.using, "own_alias": known.own_alias, "total": len(ranked), "derived": ranked[:most]}
            for known, ranked in found
        ]
        out.json(collected.as_json(databases))
    else:
        for place, (known, ranked) in enumerate(found):
            out.show(*([""] if place else []), title(known))
            if known.report is None:
                out.show(no_statistics(known))
            elif not ranked:
                out.show(f"No {options['kind'] or 'page, fragment or function'} was used.")
            else:
                out.show(_list(ranked[:most]))
            if len(ranked) > most:
                out.show(f"and {len(ranked) - most:,} more")
        out.show(*not_cached(collected.not_cached))
    collected.raise_errors()


def _list(ranked: Sequence[DerivedStatistics]) -> Table:
    table = numbered_list()
    for place, one in enumerate(ranked, 1):
        table.add_row(f"{place}.", Text("\n").join(_lines(one)))
    return table


def _lines(one: DerivedStatistics) -> Iterator[Text]:
    yield Text(f"{one.kind} {one.label}", style="bold")
    yield Text(_numbers(one), style="cyan")
    causes = _causes(one)
    if causes:
        yield Text(causes)
    if one.last_rejection is not None:
        yield from _rejection(one.last_rejection)
    yield Text(f"{one.verdict}: {one.finding}")
    if one.remedy:
        yield Text(f"What to do: {one.remedy}", style="yellow")


def _numbers(one: DerivedStatistics) -> str:
    outdated = f", {one.outdated_hits:,} outdated" if one.outdated_hits else ""
    rate = "" if one.hit_rate is None else f" ({percent(one.hit_rate)}{outdated})"
    mean = "" if one.mean_seconds is None else f", {duration(one.mean_seconds)} each"
    return (
        f"{count(one.uses, 'use')}: {count(one.hits, 'hit')}{rate}, {count(one.misses, 'miss', 'misses')}; "
        f"{duration(one.saved_seconds)} saved, {duration(one.miss_seconds)} spent computing it{mean}"
    )


def _causes(one: DerivedStatistics) -> str:
    causes = []
    if one.missed:
        relations = ", ".join(map(display_name, list(one.invalidated_by)[:3]))
        writes = f" (writes to {relations})" if relations else ""
        causes.append(f"misses: {list_counts(one.missed, 3)}{writes}")
    if one.rejected:
        causes.append(f"not stored: {list_counts(one.rejected, 3)}")
    return "; ".join(causes)


def _rejection(last: RejectionStatistics) -> Iterator[Text]:
    at = f", run in {last.caller}" if last.caller is not None else ""
    if last.sql:
        yield Text(f"last not stored because of this query ({last.reason}{at}):", style="dim")
        yield Text(to_line(last.sql, LONGEST), style="dim")
    elif last.subject:
        yield Text(f"last not stored ({last.reason}): {last.subject}", style="dim")
