"""What is counted of reads: of one text, of one relation, or of all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any


class Miss:
    """Why there was nothing to serve: the names under which misses are counted."""

    COLD = "cold"  # it was not there
    RETIRED = "retired"  # a write has retired it
    MARKED = "marked"  # a writer was committing to one of the relations
    EXPIRED = "expired"  # TIMEOUT was over
    LOST = "lost"  # the store has lost the stamps of its relations


@dataclass(slots=True)
class Tally:
    """Numbers that add up, over threads, processes and hosts. Times are in seconds."""

    hits: int = 0
    hit_seconds: float = 0.0  # that the cache took for them, without waiting for others
    misses: int = 0
    miss_seconds: float = 0.0  # that the cache took for them in vain
    query_seconds: float = 0.0  # that the database took for them
    kept: int = 0
    damaged: int = 0
    waited: int = 0  # reads that waited for another one's query
    waited_seconds: float = 0.0
    uncached: int = 0  # reads past the cache whose time was taken
    uncached_seconds: float = 0.0
    bytes_read: int = 0  # of results, from the store
    bytes_written: int = 0
    missed: dict[str, int] = field(default_factory=dict)  # by cause, see Miss
    bypassed: dict[str, int] = field(default_factory=dict)  # by reason
    refused: dict[str, int] = field(default_factory=dict)  # by reason
    retired_by: dict[str, int] = field(default_factory=dict)  # by relation

    @property
    def bypasses(self) -> int:
        return sum(self.bypassed.values())

    @property
    def reads(self) -> int:
        return self.hits + self.misses + self.bypasses

    @property
    def hit_rate(self) -> float | None:
        """Of the reads that asked the cache; None if none has."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else None

    @property
    def mean_query_seconds(self) -> float | None:
        """What one execution takes the database; None if none was timed."""
        runs = self.misses + self.uncached
        return (self.query_seconds + self.uncached_seconds) / runs if runs else None

    @property
    def cache_seconds(self) -> float:
        """What the cache has taken for reads."""
        return self.hit_seconds + self.miss_seconds

    def add(self, other: Tally) -> None:
        for name in NUMBERS:
            number = getattr(other, name)
            if number:
                setattr(self, name, getattr(self, name) + number)
        for name in COUNTERS:
            mine = getattr(self, name)
            for key, count in getattr(other, name).copy().items():  # to which another thread may add
                mine[key] = mine.get(key, 0) + count

    def copy(self) -> Tally:
        return total_of([self])

    def as_dict(self) -> dict[str, Any]:
        """What is not nought, for JSON."""
        return {name: value for name in (*NUMBERS, *COUNTERS) if (value := getattr(self, name))}

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Tally:
        """What :meth:`as_dict` has made, maybe of another version: what is not known here is left out."""
        return cls(**{name: given[name] for name in (*NUMBERS, *COUNTERS) if name in given})


COUNTERS = ("missed", "bypassed", "refused", "retired_by")
NUMBERS = tuple(one.name for one in fields(Tally) if one.name not in COUNTERS)


def total_of(tallies: Iterable[Tally]) -> Tally:
    made = Tally()
    for tally in tallies:
        made.add(tally)
    return made


def saved_seconds(texts: Iterable[Tally], total: Tally) -> float:
    """What the hits would have taken the database, by the means of texts, and by the mean of all for the others."""
    hits, seconds = total.hits, 0.0
    for tally in texts:
        mean = tally.mean_query_seconds
        if mean is not None:
            seconds += tally.hits * mean
            hits -= tally.hits
    return seconds + max(hits, 0) * (total.mean_query_seconds or 0.0)
