"""Figures as people read them in a terminal, and what several sub-commands draw."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping

from rich.table import Table
from rich.text import Text

from ormcache.insight.gathering import Known
from ormcache.insight.quantities import duration

UNITS = (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))


def size(bytes_: int) -> str:
    for unit, least in UNITS:
        if bytes_ >= least:
            return f"{bytes_ / least:.1f} {unit}"
    return f"{bytes_} bytes"


def short_number(value: float) -> str:
    """In at most five characters."""
    for unit, least in (("G", 1e9), ("M", 1e6), ("k", 1e4)):
        if value >= least:
            scaled = value / (1e3 if unit == "k" else least)
            return f"{scaled:.1f}{unit}" if scaled < 100 else f"{scaled:.0f}{unit}"
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.2g}"


def short_duration(seconds: float) -> str:
    """In at most eight characters."""
    for unit, least in (("d", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if abs(seconds) >= least:
            return f"{seconds / least:.1f} {unit}" if abs(seconds) < 100 * least else f"{seconds / least:.0f} {unit}"
    return duration(seconds)


def ago(then: datetime.datetime, now: datetime.datetime) -> str:
    """How long it is ago: ``"12 s"``."""
    seconds = (now - then).total_seconds()
    return "now" if seconds < 1 else short_duration(round(seconds))


def counted(counts: Mapping[str, int], most: int) -> str:
    """``"12 retired, 3 cold, 5 more"``: the first so many of them."""
    shown = [f"{number:,} {name}" for name, number in list(counts.items())[:most]]
    rest = sum(list(counts.values())[most:])
    return ", ".join([*shown, f"{rest:,} more"] if rest else shown)


def title(known: Known) -> Text:
    text = Text(known.using, style="bold")
    if not known.is_own:
        text.append(f": what other processes call the database {known.asked!r}", style="not bold")
    return text


def nothing(known: Known) -> str:
    if known.is_told:
        return "Nothing was counted yet."
    return "Processes do not tell their figures: FIGURES_INTERVAL is 0."


def not_cached(reasons: Mapping[str, str]) -> Iterable[Text]:
    for alias, reason in reasons.items():
        yield Text.assemble((alias, "bold"), f": nothing of it is cached ({reason}).")


def lines_table() -> Table:
    """For lines with a name in front."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(min_width=9, style="dim")
    table.add_column(overflow="fold")
    return table
