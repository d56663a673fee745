"""From single measurements to the figures of the report. Nothing here knows where they come from."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Spread:
    """The middle of some values, and the half of them that lies around it."""

    median: float
    low: float  # a quarter of the values is lower
    high: float  # a quarter is higher

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        if not values:
            raise ValueError("no values")
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)


def ratios(ours: Sequence[float], reference: Sequence[float]) -> Spread | None:
    """Of values that were measured side by side: round by round, then the middle of that.

    A round in which the machine was slow was slow for both. None where the reference took no time that was seen.
    """
    pairs = [(one, other) for one, other in zip(ours, reference, strict=False) if other > 0]
    return Spread.of([one / other for one, other in pairs]) if pairs else None


def is_tie(spread: Spread | None) -> bool:
    """Is a ratio no different from 1, as far as was seen: are its rounds further apart than it is from 1?"""
    return spread is not None and spread.high - spread.low >= abs(spread.median - 1)


def of_rounds(rounds: Sequence[Mapping[str, float]], what: str) -> list[float]:
    """Seconds for one call, round by round."""
    return [one[what] / one["calls"] for one in rounds if what in one]


def total(rounds: Sequence[Mapping[str, float]], what: str) -> float | None:
    """Seconds for one call over all rounds: what servers use comes in ticks too coarse for a single round."""
    used = [(one[what], one["calls"]) for one in rounds if what in one]
    calls = sum(count for _, count in used)
    return sum(time for time, _ in used) / calls if calls else None


ROLES = ("application", "database", "cache")


def summary(rounds: Sequence[Mapping[str, float]], reference: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """What the report says of one candidate at one workload. Seconds for one call, and ratios to the reference.

    ``cpu`` is that of application, database and cache together: what a call costs the machines, wherever they are.
    """
    if not rounds:
        raise ValueError("no rounds")
    walls = of_rounds(rounds, "wall")
    parts = {role: total(rounds, role) for role in ROLES}
    whole = sum(part for part in parts.values() if part is not None)
    reference_parts = [total(reference, role) for role in ROLES]
    reference_whole = sum(part for part in reference_parts if part is not None)
    cpus, reference_cpus = ([sum(one.get(role, 0.0) for role in ROLES) for one in each] for each in (rounds, reference))
    return {
        "wall": Spread.of(walls),
        "ratio": ratios(walls, of_rounds(reference, "wall")),
        "application_ratio": ratios(of_rounds(rounds, "application"), of_rounds(reference, "application")),
        "cpu": whole,
        "cpu_spread": ratios(cpus, reference_cpus),
        "cpu_ratio": whole / reference_whole if reference_whole else None,
        **parts,
    }


def seconds(value: float | None) -> str:
    """With a unit that suits it, in three digits: 0.000123 is ``123 µs``."""
    if value is None:
        return "n/a"
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= size:
            return f"{_three(value / size)} {unit}"
    return f"{_three(value * 1e6)} µs"


def number(value: float | None) -> str:
    """Of three digits, or all that are before the point: ``0.312``, ``1,234``."""
    return "n/a" if value is None else _three(value)


def ratio(value: float | None) -> str:
    """Two digits after the point are as much as a ratio of times can bear."""
    if value is None:
        return "n/a"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def size(value: float | None) -> str:
    """Bytes with a unit that suits them."""
    if value is None:
        return "n/a"
    for unit, one in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if value >= one:
            return f"{_three(value / one)} {unit}"
    return f"{value:.0f} B"


def _three(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 1 else f"{value:.3f}".rstrip("0").rstrip(".") or "0"
