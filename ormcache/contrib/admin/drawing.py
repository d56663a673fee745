"""Curves over time as shapes for SVG. Colours, texts and their places are the template's and the style sheet's.

A drawing is as wide as the page lets it be, and stretched: so there are no letters in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ormcache.figures.history import COARSE, FINE, Point

#: The user units of a drawing; the page stretches it to the size that it has room for
WIDTH, HEIGHT = 1000, 100
#: Longer histories are drawn in tens of minutes throughout
FINE_UP_TO = 3 * 3600  # seconds
LEAST_SPAN = 600  # seconds; a cache that began just now fills a part of the width
NICE = (1, 1.5, 2, 3, 4, 5, 6, 8, 10)


@dataclass(frozen=True, slots=True)
class Curve:
    name: str
    kind: str  # the class under which the style sheet knows it
    line: str  # of a <path>
    area: str = ""  # the same, down to what lies below


@dataclass(frozen=True, slots=True)
class Slot:
    """A vertical strip of the drawing, for the mouse."""

    x: float
    width: float
    title: str


@dataclass(frozen=True, slots=True)
class Chart:
    name: str
    title: str
    summary: str  # what somebody needs to know who does not see it
    highest: str  # at the top of the scale
    middle: str
    curves: tuple[Curve, ...]
    slots: tuple[Slot, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[float, tuple[str, ...]], ...]  # (seconds since the epoch, one text a column), newest first
    times: tuple[float, ...]  # seconds since the epoch, evenly spread below the drawing


def even(points: Sequence[Point], now: float) -> list[Point]:
    """Points of one length without gaps, oldest first, up to the last one that is half over; none of no points."""
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
        # It would look like a drop at the end. Its figures are in the next drawing.
        sums.pop()
    return [Point(first + place * step, step, *values) for place, values in enumerate(sums)]


_VALUES = tuple(name for name in Point.__slots__ if name not in ("at", "seconds"))


class Axis:
    """Time from left to right."""

    def __init__(self, points: Sequence[Point]) -> None:
        self.step = points[0].seconds
        self.start = points[0].at
        self.end = max(points[-1].at + self.step, self.start + LEAST_SPAN)

    def x(self, point: Point) -> float:
        """The middle of a point's time."""
        return (point.at + self.step / 2 - self.start) / (self.end - self.start) * WIDTH

    @property
    def times(self) -> tuple[float, ...]:
        return tuple(self.start + (self.end - self.start) * part / 4 for part in range(5))

    def slots(self, points: Sequence[Point], titles: Sequence[str]) -> tuple[Slot, ...]:
        width = self.step / (self.end - self.start) * WIDTH
        return tuple(
            Slot(round(self.x(point) - width / 2, 1), round(width, 1), title)
            for point, title in zip(points, titles, strict=True)
        )


def curve(
    name: str,
    kind: str,
    axis: Axis,
    points: Sequence[Point],
    values: Sequence[float | None],
    highest: float,
    below: Sequence[float] | None = None,
    *,
    filled: bool = False,
) -> Curve:
    """``values``: None where there is none. ``below``: what they are stacked upon."""
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
    runs = [_widened(run, half) for run in runs if run]
    line = "".join(_path((x, top) for x, top, _ in run) for run in runs)
    if not filled:
        return Curve(name, kind, line)
    area = "".join(
        _path([*((x, top) for x, top, _ in run), *((x, ground) for x, _, ground in reversed(run))]) + "Z"
        for run in runs
    )
    return Curve(name, kind, line, area)


def _widened(run: list[tuple[float, float, float]], half: float) -> list[tuple[float, float, float]]:
    """A point by itself becomes as wide as its time is: a line of no length is not seen."""
    if len(run) > 1:
        return run
    x, top, ground = run[0]
    return [(x - half, top, ground), (x + half, top, ground)]


def _path(places: Iterable[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)


def nice(value: float) -> float:
    """The end of a scale that has room for this value."""
    if value <= 0:
        return 1.0
    power = 10.0 ** _exponent(value)
    return next(step * power for step in NICE if step * power >= value * 0.999)


def _exponent(value: float) -> int:
    return int(f"{value:e}".partition("e")[2])


def highest_of(*columns: Sequence[float | None]) -> float:
    return nice(max((value for values in columns for value in values if value is not None), default=0.0))


def per_minute(points: Sequence[Point], value: Callable[[Point], float]) -> list[float]:
    return [value(point) / point.seconds * 60 for point in points]
