"""Counts, percentages and durations as people read them."""

from __future__ import annotations


def count(number: float, one: str, many: str | None = None) -> str:
    """Return a number with its noun: ``"1 read"``, ``"2,000 misses"``. ``many``: a plural other than by an s."""
    return f"{number:,.0f} {one if number == 1 else many or one + 's'}"


def percent(share: float) -> str:
    """Return a share, from 0 to 1, as ``"99.9 %"``. What is not quite all is not rounded to 100 %."""
    rounded = f"{share * 100:.3g}"
    return ("99.9" if rounded == "100" and share < 1 else rounded) + " %"


def duration(seconds: float) -> str:
    """Return seconds in the unit that suits them: ``"250 ms"``, ``"1 h 30 min"``."""
    sign, seconds = ("-" if seconds < 0 else ""), abs(seconds)
    if seconds == 0:
        return "0 s"
    if seconds < 0.0009995:
        return f"{sign}{seconds * 1e6:.3g} µs"
    if seconds < 0.9995:
        return f"{sign}{seconds * 1e3:.3g} ms"
    if seconds < 59.95:
        return f"{sign}{seconds:.3g} s"
    seconds = round(seconds)
    for unit, longer, below in (("min", 60, "s"), ("h", 3600, "min"), ("d", 86_400, "h")):
        shorter = {"s": 1, "min": 60, "h": 3600}[below]
        if seconds < longer * {"min": 60, "h": 24, "d": 10**9}[unit]:
            whole, rest = divmod(seconds, longer)
            return f"{sign}{whole:,} {unit}" + (f" {rest // shorter} {below}" if rest // shorter else "")
    raise AssertionError  # pragma: no cover  # the last unit has no end
