"""How totals grow over time: by minutes for the last hour, by ten minutes for the rest of a day."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

#: The totals that are followed, in this order; in seconds where the name says so
COLUMNS = ("hits", "misses", "bypassed", "writes", "invalidated", "saved_seconds", "cache_seconds", "query_seconds")

FINE, COARSE = 60, 600  # seconds
FINE_FOR, REMEMBERED_FOR = 3600, 24 * 3600  # seconds


@dataclass(frozen=True, slots=True)
class HistoryPoint:
    """What happened in the ``seconds`` from ``at`` on, which is in seconds since the epoch."""

    at: int
    seconds: int
    hits: float
    misses: float
    bypassed: float
    writes: float
    invalidated: float  # misses because of writes
    saved_seconds: float  # that the database would have taken for the hits, an estimate
    cache_seconds: float
    query_seconds: float


class History:
    """The growth of totals by the time that it belongs to. Not thread-safe."""

    def __init__(self) -> None:
        self._last: tuple[float, ...] | None = None
        self._sums: dict[tuple[int, int], list[float]] = {}  # (beginning, length) → one number for each column

    def record(self, now: float, totals: Sequence[float]) -> None:
        """Add what the totals, one for each column, have grown by since the last call to the current minute."""
        before = self._last or (0.0,) * len(COLUMNS)
        self._last = tuple(totals)
        self._add(int(now) // FINE * FINE, FINE, [total - old for total, old in zip(totals, before, strict=True)])
        self._age(now)

    def rows(self) -> list[list[float]]:
        """Return rows of beginning, length and one number for each column, for JSON and :meth:`add_rows`."""
        return [[at, seconds, *(round(value, 6) for value in values)] for (at, seconds), values in self._sums.items()]

    def add_rows(self, rows: Iterable[Sequence[float]]) -> None:
        """Add the :meth:`rows` of another process, maybe of a version with more columns."""
        for at, seconds, *values in rows:
            self._add(int(at), int(seconds), values[: len(COLUMNS)])

    def points(self, now: float) -> list[HistoryPoint]:
        """Return all of it, oldest first."""
        self._age(now)
        return [HistoryPoint(at, seconds, *values) for (at, seconds), values in sorted(self._sums.items())]

    def _add(self, at: int, seconds: int, values: Iterable[float]) -> None:
        sums = self._sums.setdefault((at, seconds), [0.0] * len(COLUMNS))
        for place, value in enumerate(values):
            sums[place] += value

    def _age(self, now: float) -> None:
        """Merge minutes of more than an hour ago into tens of minutes, and drop what is older than a day."""
        for (at, seconds), values in list(self._sums.items()):
            if at + REMEMBERED_FOR < now:
                del self._sums[at, seconds]
            elif seconds == FINE and at // COARSE * COARSE + COARSE + FINE_FOR < now:
                del self._sums[at, seconds]
                self._add(at // COARSE * COARSE, COARSE, values)
