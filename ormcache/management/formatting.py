"""Numbers, times and tables as several sub-commands show them in a terminal."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence

from rich.table import Table
from rich.text import Text

from ormcache.diagnostics.format.quantities import duration
from ormcache.diagnostics.stats.collection import DatabaseReport

UNITS = (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))


def size(bytes_: int) -> str:
    """Return a size in the largest unit of which there is one: ``"1.5 MiB"``."""
    for unit, least in UNITS:
        if bytes_ >= least:
            return f"{bytes_ / least:.1f} {unit}"
    return f"{bytes_} bytes"


def short_number(value: float) -> str:
    """Return a number in at most five characters: ``"12.3k"``."""
    for unit, least in (("G", 1e9), ("M", 1e6), ("k", 1e4)):
        if value >= least:
            scaled = value / (1e3 if unit == "k" else least)
            return f"{scaled:.1f}{unit}" if scaled < 100 else f"{scaled:.0f}{unit}"
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.2g}"


def short_duration(seconds: float) -> str:
    """Return a duration in at most eight characters: ``"1.5 h"``."""
    for unit, least in (("d", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if abs(seconds) >= least:
            return f"{seconds / least:.1f} {unit}" if abs(seconds) < 100 * least else f"{seconds / least:.0f} {unit}"
    return duration(seconds)


def ago(then: datetime.datetime, now: datetime.datetime) -> str:
    """Return how long ago something was: ``"12 s"``."""
    seconds = (now - then).total_seconds()
    return "now" if seconds < 1 else short_duration(round(seconds))


def list_counts(counts: Mapping[str, int], most: int) -> str:
    """Return the first ``most`` counts and the sum of the others: ``"12 invalidated, 3 cold, 5 more"``."""
    shown = [f"{number:,} {name}" for name, number in list(counts.items())[:most]]
    rest = sum(list(counts.values())[most:])
    return ", ".join([*shown, f"{rest:,} more"] if rest else shown)


def title(known: DatabaseReport) -> Text:
    """Return the heading above what concerns one database under one name."""
    text = Text(known.using, style="bold")
    if not known.is_own_alias:
        text.append(f": the name of the database {known.own_alias!r} in other processes", style="not bold")
    return text


def no_statistics(known: DatabaseReport) -> str:
    """Say why there is nothing to show."""
    if known.is_published:
        return "No statistics yet."
    return "Processes do not publish statistics: STATISTICS_INTERVAL is 0."


def not_cached(reasons: Mapping[str, str]) -> Iterable[Text]:
    """Yield a line for each database of which nothing is cached. ``reasons``: by alias."""
    for alias, reason in reasons.items():
        yield Text.assemble((alias, "bold"), f": nothing is cached ({reason}).")


def named_lines(style: str = "dim") -> Table:
    """Return a table without lines of its own, for lines with a name in front, which is in a style of rich."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(min_width=9, style=style)
    table.add_column(overflow="fold")
    return table


def numbered_list() -> Table:
    """Return a table without lines of its own, for a list whose items have more than one line."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def list_callers(callers: Sequence[str], most: int) -> str:
    """Return the lines of code that run a query: ``"run in shop/views.py:12, 3 more"``."""
    more = f", {len(callers) - most} more" if len(callers) > most else ""
    return f"run in {', '.join(callers[:most])}{more}"
