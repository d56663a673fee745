"""How figures have grown, by time: minutes of the last hour, and ten of them together before that, for a day."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

#: What is kept of each time, in this order. Seconds where the name says so
COLUMNS = ("hits", "misses", "bypassed", "writes", "retired", "saved_seconds", "cache_seconds", "query_seconds")

FINE, COARSE = 60, 600  # seconds
FINE_FOR, KEPT_FOR = 3600, 24 * 3600  # seconds


@dataclass(frozen=True, slots=True)
class Point:
    """What has happened in ``seconds`` seconds from ``at`` on, which is in seconds since the epoch."""

    at: int
    seconds: int
    hits: float
    misses: float
    bypassed: float
    writes: float
    retired: float  # misses because of writes
    saved_seconds: float  # what the hits would have taken the database, an estimate
    cache_seconds: float
    query_seconds: float


class History:
    """Sums by the time that they belong to. Not for several threads at once."""

    def __init__(self) -> None:
        self._last: tuple[float, ...] | None = None
        self._sums: dict[tuple[int, int], list[float]] = {}  # (beginning, length) → one of each column

    def reached(self, now: float, totals: Sequence[float]) -> None:
        """The totals by now: what they have grown by goes to the present minute."""
        before = self._last or (0.0,) * len(COLUMNS)
        self._last = tuple(totals)
        self.add(int(now) // FINE * FINE, FINE, [total - old for total, old in zip(totals, before, strict=True)])
        self._age(now)

    def add(self, at: int, seconds: int, values: Iterable[float]) -> None:
        sums = self._sums.setdefault((at, seconds), [0.0] * len(COLUMNS))
        for place, value in enumerate(values):
            sums[place] += value

    def _age(self, now: float) -> None:
        for (at, seconds), values in list(self._sums.items()):
            if at + KEPT_FOR < now:
                del self._sums[at, seconds]
            elif seconds == FINE and at // COARSE * COARSE + COARSE + FINE_FOR < now:
                del self._sums[at, seconds]
                self.add(at // COARSE * COARSE, COARSE, values)

    def told(self) -> list[list[float]]:
        """Rows of beginning, length and one value a column; for :meth:`heard`."""
        return [[at, seconds, *(round(value, 6) for value in values)] for (at, seconds), values in self._sums.items()]

    def heard(self, rows: Iterable[Sequence[float]]) -> None:
        """Add what another process has told."""
        for at, seconds, *values in rows:
            self.add(int(at), int(seconds), values[: len(COLUMNS)])

    def points(self, now: float) -> list[Point]:
        """All of it, oldest first."""
        self._age(now)
        return [Point(at, seconds, *values) for (at, seconds), values in sorted(self._sums.items())]
