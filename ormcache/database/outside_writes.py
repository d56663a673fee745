"""Counts what other programs were noticed to have written to one database, in one process."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

#: Relations that are counted one by one
MOST_RELATIONS = 4096
#: The name for all other relations together
OTHER_RELATIONS = "other"

#: Upper bounds in seconds of the ranges in which lags are counted; the last range has none
LAG_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_NO_LAGS = (0,) * (len(LAG_BOUNDS) + 1)


class OutsideWrite(NamedTuple):
    """The writes of other programs to one relation that were noticed."""

    times: int = 0
    at: float = 0.0  # when the last one was noticed, in seconds since the epoch


@dataclass(frozen=True, slots=True)
class OutsideCounts:
    """What one process has noticed. None of the numbers ever falls."""

    #: by relation; ``EPOCH`` is the whole file of SQLite. In the order of the first ones
    noticed: Mapping[str, OutsideWrite] = field(default_factory=dict)
    recorded: int = 0  # writes that triggers had recorded, and that this process has invalidated
    lag_seconds: float = 0.0  # from these writes to their invalidations, in total
    longest_lag: float = 0.0  # of them
    lags: tuple[int, ...] = _NO_LAGS  # how many of them are in each range of LAG_BOUNDS
    doubts: int = 0  # SQLite: invalidations of everything because another program may have written

    @property
    def times(self) -> dict[str, int]:
        """Relation → how often a write of another program to it was noticed."""
        return {relation: one.times for relation, one in self.noticed.items()}

    @property
    def total(self) -> int:
        """The number of writes, noticed, possible and recorded."""
        return sum(self.times.values()) + self.doubts + self.recorded

    @property
    def within(self) -> dict[str, int]:
        """Upper bound in seconds → how many lags are not above it. ``+Inf``: all, as Prometheus has it."""
        bounds = (*map(str, LAG_BOUNDS), "+Inf")
        return {bound: sum(self.lags[: place + 1]) for place, bound in enumerate(bounds)}

    def as_mapping(self) -> dict[str, Any]:
        """Return the counts as JSON takes them."""
        return asdict(self) | {"noticed": {relation: list(one) for relation, one in self.noticed.items()}}

    @classmethod
    def from_mapping(cls, given: Mapping[str, Any]) -> OutsideCounts:
        """Return the counts of which :meth:`as_mapping` has made a mapping."""
        noticed = {relation: OutsideWrite(*one) for relation, one in given["noticed"].items()}
        lags = tuple(given["lags"])
        return cls(noticed, given["recorded"], given["lag_seconds"], given["longest_lag"], lags, given["doubts"])

    def at_least(self, before: OutsideCounts) -> OutsideCounts:
        """Return these counts, where they are not lower than those before."""
        return OutsideCounts(
            {
                relation: max(self.noticed.get(relation, _NEVER), before.noticed.get(relation, _NEVER))
                for relation in list(dict.fromkeys((*before.noticed, *self.noticed)))[: MOST_RELATIONS + 1]
            },
            max(self.recorded, before.recorded),
            max(self.lag_seconds, before.lag_seconds),
            max(self.longest_lag, before.longest_lag),
            tuple(map(max, self.lags, before.lags)),
            max(self.doubts, before.doubts),
        )


_NEVER = OutsideWrite()


def lag_not_exceeded(share: float, lags: Sequence[int], longest: float) -> float | None:
    """Return what this share of lags does not exceed, in seconds: the upper bound of a range. None: there are no lags.

    ``lags``: as :class:`OutsideCounts` has them. ``longest``: of all, which no answer is above.
    """
    needed, seen = share * sum(lags), 0
    if not needed:
        return None
    for count, bound in zip(lags, LAG_BOUNDS, strict=False):
        seen += count
        if seen >= needed:
            return min(bound, longest)
    return longest


class OutsideWrites:
    """The writes of other programs to one database. Any thread may call any method."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._counts = OutsideCounts()

    @property
    def counts(self) -> OutsideCounts:
        """What was counted until now."""
        return self._counts

    def record(self, relation: str) -> None:
        """Count a write to this relation that was noticed."""
        with self._lock:
            before = self._counts
            noticed = dict(before.noticed)
            name = relation if relation in noticed or len(noticed) < MOST_RELATIONS else OTHER_RELATIONS
            noticed[name] = OutsideWrite(noticed.get(name, _NEVER).times + 1, time.time())
            self._counts = replace(before, noticed=noticed)

    def record_doubt(self) -> None:
        """Count an invalidation of everything because it was not known whether another program has written."""
        with self._lock:
            self._counts = replace(self._counts, doubts=self._counts.doubts + 1)

    def record_lags(self, lags: Sequence[float]) -> None:
        """Count recorded writes that were invalidated. ``lags``: seconds from each write to its invalidation."""
        with self._lock:
            before, ranges = self._counts, list(self._counts.lags)
            for lag in lags:
                ranges[bisect_left(LAG_BOUNDS, lag)] += 1
            self._counts = replace(
                before,
                recorded=before.recorded + len(lags),
                lag_seconds=before.lag_seconds + sum(lags),
                longest_lag=max(before.longest_lag, *lags) if lags else before.longest_lag,
                lags=tuple(ranges),
            )
