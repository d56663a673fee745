"""``manage.py ormcache tables``."""

from __future__ import annotations

import datetime
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from ormcache.diagnostics.format.quantities import percent
from ormcache.diagnostics.format.relations import display_name
from ormcache.diagnostics.format.sql import to_line
from ormcache.diagnostics.stats.rankings import SORTS, TableStatistics, rank_tables
from ormcache.diagnostics.stats.statistics import utc
from ormcache.management.common import add_json, add_using, collect_requested_reports, number
from ormcache.management.formatting import (
    ago,
    named_lines,
    no_statistics,
    not_cached,
    short_duration,
    short_number,
    title,
)
from ormcache.management.output import Output

HELP = """Lists tables: how often each is read and written, and whether caching it pays.

The tables that are read most come first."""

LONGEST = 200  # characters of a statement


def add_arguments(parser: ArgumentParser) -> None:
    add_using(parser)
    add_json(parser)
    parser.add_argument(
        "--sort",
        choices=list(SORTS),
        default="reads",
        help="Column to sort by, highest values first; names in alphabetical order.",
    )
    parser.add_argument("--limit", type=number(1), metavar="N", help="Show the first N tables of each database.")
    parser.add_argument(
        "--verbose", action="store_true", help="Show the reasoning behind each verdict, and the last write."
    )


def run(options: Mapping[str, Any], out: Output) -> None:
    collected = collect_requested_reports(options)
    found = [(known, rank_tables(known, options["sort"])) for known in collected.reports]
    if options["json"]:
        databases = [
            {
                "using": known.using,
                "own_alias": known.own_alias,
                "total": len(tables),
                "tables": tables[: options["limit"]],
            }
            for known, tables in found
        ]
        out.json(collected.as_json(databases))
    else:
        for place, (known, tables) in enumerate(found):
            out.show(*([""] if place else []), title(known))
            if known.report is None or not tables:
                out.show(no_statistics(known))
                continue
            shown = tables[: options["limit"]]
            out.show(_table(shown, utc(known.report.at)))
            if len(shown) < len(tables):
                out.show(f"and {len(tables) - len(shown):,} more")
            if options["verbose"]:
                out.show("", _details(shown))
        out.show(*not_cached(collected.not_cached))
    collected.raise_errors()


#: Heading, and whether the column has numbers, which are aligned to the right
_COLUMNS = (
    ("table", False),
    ("reads", True),
    ("hits", True),
    ("by\nrow", True),
    ("writes\n/min", True),
    ("last\nwrite", True),
    ("inval-\nidated", True),
    ("time\nsaved", True),
    ("time\nspent", True),
    ("verdict", False),
)


def _table(tables: Sequence[TableStatistics], now: datetime.datetime) -> Table:
    result = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name, is_number in _COLUMNS:
        result.add_column(
            name, justify="right" if is_number else "left", overflow="fold", no_wrap=is_number, vertical="top"
        )
    for table in tables:
        result.add_row(
            Text(display_name(table.name)),
            short_number(table.reads),
            "" if table.hit_rate is None else percent(table.hit_rate),
            percent(table.row_hits / table.hits) if table.row_hits else "",
            short_number(table.writes_per_minute),
            "" if table.written is None else ago(table.written, now),
            short_number(table.invalidated),
            short_duration(table.saved_seconds),
            short_duration(table.spent_seconds),
            table.verdict,
        )
    return result


def _details(tables: Sequence[TableStatistics]) -> Table:
    lines = named_lines()
    for table in tables:
        text = table.finding
        if table.outside_written is not None:
            last = f"{table.outside_written:%Y-%m-%d %H:%M:%S} UTC"
            text += f"\nwrites of other programs: {table.outside_writes:,} noticed, the last at {last}"
        if table.cause:
            text += f"\nlast write: {to_line(table.cause, LONGEST)}"
        lines.add_row(display_name(table.name), text)
    return lines
