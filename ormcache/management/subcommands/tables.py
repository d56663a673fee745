"""``manage.py ormcache tables``."""

from __future__ import annotations

import datetime
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table as Drawing
from rich.text import Text

from ormcache.insight.listing import SORTS, Table, tables_of
from ormcache.insight.quantities import percent
from ormcache.insight.statements import short
from ormcache.insight.wording import relation_named
from ormcache.management.common import add_json, add_using, gather, number
from ormcache.management.output import Output
from ormcache.management.words import ago, lines_table, not_cached, nothing, short_duration, short_number, title

HELP = """Lists tables: how often they are read and written, and whether caching them pays.

Those that are read most come first."""


def add_arguments(parser: ArgumentParser) -> None:
    add_using(parser)
    add_json(parser)
    parser.add_argument(
        "--sort", choices=list(SORTS), default="reads", help="Column to sort by: the highest first, names by alphabet."
    )
    parser.add_argument("--limit", type=number(1), metavar="N", help="Show the first N of each database.")
    parser.add_argument("--verbose", action="store_true", help="Show the statement of the last write, and the finding.")


def run(options: Mapping[str, Any], out: Output) -> None:
    gathered = gather(options)
    found = [(known, tables_of(known, options["sort"])) for known in gathered.known]
    if options["json"]:
        databases = [
            {"using": known.using, "asked": known.asked, "total": len(tables), "tables": tables[: options["limit"]]}
            for known, tables in found
        ]
        out.json(gathered.as_json(databases))
    else:
        for place, (known, tables) in enumerate(found):
            out.show(*([""] if place else []), title(known))
            if known.report is None or not tables:
                out.show(nothing(known))
                continue
            now = datetime.datetime.fromtimestamp(known.report.at, datetime.UTC)
            shown = tables[: options["limit"]]
            out.show(_drawn(shown, now))
            if len(shown) < len(tables):
                out.show(f"and {len(tables) - len(shown):,} more")
            if options["verbose"]:
                out.show("", _more(shown))
        out.show(*not_cached(gathered.not_cached))
    gathered.complain()


#: Heading and is it a number, by which columns are set to the right
_COLUMNS = (
    ("table", False),
    ("reads", True),
    ("hits", True),
    ("writes\n/min", True),
    ("last\nwrite", True),
    ("re-\ntired", True),
    ("time\nsaved", True),
    ("time\nspent", True),
    ("verdict", False),
)


def _drawn(tables: Sequence[Table], now: datetime.datetime) -> Drawing:
    drawing = Drawing(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name, is_number in _COLUMNS:
        drawing.add_column(
            name, justify="right" if is_number else "left", overflow="fold", no_wrap=is_number, vertical="top"
        )
    for table in tables:
        drawing.add_row(
            Text(relation_named(table.name)),
            short_number(table.reads),
            "" if table.hit_rate is None else percent(table.hit_rate),
            short_number(table.writes_per_minute),
            "" if table.written is None else ago(table.written, now),
            short_number(table.retired),
            short_duration(table.saved_seconds),
            short_duration(table.spent_seconds),
            table.verdict,
        )
    return drawing


def _more(tables: Sequence[Table]) -> Drawing:
    drawing = lines_table()
    for table in tables:
        text = table.finding
        if table.cause:
            text += f"\nlast write: {short(table.cause)}"
        drawing.add_row(relation_named(table.name), text)
    return drawing
