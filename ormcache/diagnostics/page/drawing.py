"""Computes the shapes of charts over time, for SVG. The template and the style sheet add colours and text.

A chart is stretched to the width of the page, so it has no text inside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ormcache.telemetry.history import COARSE, FINE, HistoryPoint

#: The user units of a chart, which the page stretches
WIDTH, HEIGHT = 1000, 100
#: Longer histories are drawn in steps of ten minutes throughout
FINE_UP_TO = 3 * 3600  # seconds
LEAST_SPAN = 600  # seconds; a new cache fills only a part of the width
NICE = (1, 1.5, 2, 3, 4, 5, 6, 8, 10)


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of a chart, and the area below it."""

    name: str
    kind: str  # its class in the style sheet
    line: str  # the d of a <path>
    area: str = ""  # the same, down to the curve below


@dataclass(frozen=True, slots=True)
class ChartStrip:
    """A vertical strip of a chart with a tooltip."""

    x: float
    width: float
    title: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart, and its numbers as a table."""

    name: str
    title: str
    summary: str  # for those who do not see the chart
    highest: str  # at the top of the scale
    middle: str
    curves: tuple[Curve, ...]
    strips: tuple[ChartStrip, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[float, tuple[str, ...]], ...]  # (seconds since the epoch, one text for each column), newest first
    times: tuple[float, ...]  # seconds since the epoch, evenly spread below the chart


def even(points: Sequence[HistoryPoint], now: float) -> list[HistoryPoint]:
    """Return points of equal length without gaps, oldest first, up to the last one that is at least half over."""
    if not points:
        return []
    now = max(now, points[-1].at)  # another host's clock may be ahead
    step = FINE if now - points[0].at <= FINE_UP_TO else COARSE
    first = points[0].at // step * step
    count = int(now - first) // step + 1
    sums = [[0.0] * len(_VALUES) for _ in range(count)]
    for point in points:
        place = min((point.at - first) // step, count - 1)
        for column, name in enumerate(_VALUES):
            sums[place][column] += getattr(point, name)
    if count > 1 and (now - first) % step < step / 2:
        # It would look like a drop at the end. Its numbers are in the next chart.
        sums.pop()
    return [HistoryPoint(first + place * step, step, *values) for place, values in enumerate(sums)]


_VALUES = tuple(name for name in HistoryPoint.__slots__ if name not in ("at", "seconds"))


class Axis:
    """The time axis, from left to right."""

    def __init__(self, points: Sequence[HistoryPoint]) -> None:
        self.step = points[0].seconds
        self.start = points[0].at
        self.end = max(points[-1].at + self.step, self.start + LEAST_SPAN)

    def x(self, point: HistoryPoint) -> float:
        """Return the middle of a point's period."""
        return (point.at + self.step / 2 - self.start) / (self.end - self.start) * WIDTH

    @property
    def times(self) -> tuple[float, ...]:
        """Five times, evenly spread, in seconds since the epoch."""
        return tuple(self.start + (self.end - self.start) * part / 4 for part in range(5))

    def strips(self, points: Sequence[HistoryPoint], titles: Sequence[str]) -> tuple[ChartStrip, ...]:
        """Return one strip for each point."""
        width = self.step / (self.end - self.start) * WIDTH
        return tuple(
            ChartStrip(round(self.x(point) - width / 2, 1), round(width, 1), title)
            for point, title in zip(points, titles, strict=True)
        )


def curve(
    name: str,
    kind: str,
    axis: Axis,
    points: Sequence[HistoryPoint],
    values: Sequence[float | None],
    highest: float,
    below: Sequence[float] | None = None,
    *,
    filled: bool = False,
) -> Curve:
    """Draw a curve. ``values``: None where there is a gap. ``below``: the values that it is stacked on."""
    scale = HEIGHT / highest
    runs: list[list[tuple[float, float, float]]] = [[]]
    for place, (point, value) in enumerate(zip(points, values, strict=True)):
        if value is None:
            if runs[-1]:
                runs.append([])
            continue
        ground = below[place] if below is not None else 0.0
        runs[-1].append((axis.x(point), HEIGHT - (ground + value) * scale, HEIGHT - ground * scale))
    half = axis.step / (axis.end - axis.start) * WIDTH / 2
    runs = [_widen(run, half) for run in runs if run]
    line = "".join(_path((x, top) for x, top, _ in run) for run in runs)
    if not filled:
        return Curve(name, kind, line)
    area = "".join(
        _path([*((x, top) for x, top, _ in run), *((x, ground) for x, _, ground in reversed(run))]) + "Z"
        for run in runs
    )
    return Curve(name, kind, line, area)


def _widen(run: list[tuple[float, float, float]], half: float) -> list[tuple[float, float, float]]:
    """Give a single point the width of its period: a line of no length is invisible."""
    if len(run) > 1:
        return run
    x, top, ground = run[0]
    return [(x - half, top, ground), (x + half, top, ground)]


def _path(places: Iterable[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)


def nice(value: float) -> float:
    """Return a round number, this value or a little more, for the end of a scale."""
    if value <= 0:
        return 1.0
    power = 10.0 ** _exponent(value)
    return next(step * power for step in NICE if step * power >= value * 0.999)


def _exponent(value: float) -> int:
    return int(f"{value:e}".partition("e")[2])


def highest_of(*columns: Sequence[float | None]) -> float:
    """Return the end of a scale for all of these values."""
    return nice(max((value for values in columns for value in values if value is not None), default=0.0))


def per_minute(points: Sequence[HistoryPoint], value: Callable[[HistoryPoint], float]) -> list[float]:
    """Return a value of each point, per minute."""
    return [value(point) / point.seconds * 60 for point in points]
