"""What is counted of reads: of one query, of one relation, or of all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from ormcache.reasons import Miss


@dataclass(slots=True)
class Tally:
    """Numbers that add up over threads, processes and hosts. Times are in seconds, sizes in bytes."""

    hits: int = 0
    row_hits: int = 0  # of those: hits of results that depend on single rows
    hit_seconds: float = 0.0  # that the cache took for hits, without those that waited for another reader
    misses: int = 0
    miss_seconds: float = 0.0  # that the cache took for misses, in vain
    query_seconds: float = 0.0  # that the database took for misses
    stored: int = 0
    row_invalidated: int = 0  # of the results that writes ended: those that depended on single rows
    damaged: int = 0
    waited: int = 0  # reads that waited for another reader's query
    waited_seconds: float = 0.0
    uncached: int = 0  # bypasses that were timed
    uncached_seconds: float = 0.0
    compared: int = 0  # hits whose query was run all the same, and whose result was compared with its answer
    compared_seconds: float = 0.0  # that the database took for these
    observed: int = 0  # of those: because ENABLED is "observe"
    verified: int = 0  # of those that were compared: it is certain whether the stored result was right
    violations: int = 0  # of those: it was not
    bytes_read: int = 0  # of results, from the store
    bytes_written: int = 0
    missed: dict[str, int] = field(default_factory=dict)  # by cause, see ormcache.reasons.Miss
    bypassed: dict[str, int] = field(default_factory=dict)  # by reason
    rejected: dict[str, int] = field(default_factory=dict)  # by reason
    invalidated_by: dict[str, int] = field(default_factory=dict)  # by relation

    @property
    def bypasses(self) -> int:
        """The number of bypasses, whatever their reason."""
        return sum(self.bypassed.values())

    @property
    def reads(self) -> int:
        """The number of reads, whatever became of them."""
        return self.hits + self.misses + self.bypasses

    @property
    def hit_rate(self) -> float | None:
        """The share of lookups that hit, from 0 to 1; None without any lookup."""
        lookups = self.hits + self.misses
        return self.hits / lookups if lookups else None

    @property
    def mean_query_seconds(self) -> float | None:
        """The mean time of one execution in the database; None if none was timed."""
        runs = self.misses + self.uncached + self.compared
        return (self.query_seconds + self.uncached_seconds + self.compared_seconds) / runs if runs else None

    @property
    def saving_hits(self) -> int:
        """The number of hits that saved the database a query, or would have if ENABLED were not "observe"."""
        return self.hits - (self.compared - self.observed)

    @property
    def database_seconds(self) -> float:
        """The time that the database took for reads."""
        return self.query_seconds + self.uncached_seconds + self.compared_seconds

    @property
    def cache_seconds(self) -> float:
        """The time that the cache took for reads."""
        return self.hit_seconds + self.miss_seconds

    def record_hit(self, seconds: float, *, bytes_read: int, waited: bool, by_row: bool = False) -> None:
        """Count a hit. ``seconds``: that the cache took, with the wait for another reader's query if it ``waited``.

        ``by_row``: the result depends on single rows.
        """
        self.hits += 1
        if by_row:
            self.row_hits += 1
        if bytes_read:
            self.bytes_read += bytes_read
        if waited:
            self.waited_seconds += seconds
        else:
            self.hit_seconds += seconds

    def record_miss(
        self,
        cause: str,
        invalidated_by: str | None,
        seconds: float,
        query_seconds: float,
        *,
        rejected: str | None,
        bytes_written: int,
        waited: bool,
        by_row: bool = False,
    ) -> None:
        """Count a miss, see :meth:`ormcache.telemetry.Counters.record_miss`."""
        self.missed[cause] = self.missed.get(cause, 0) + 1
        if by_row and cause == Miss.INVALIDATED:
            self.row_invalidated += 1
        self.misses += 1
        self.query_seconds += query_seconds
        self.bytes_written += bytes_written
        if waited:
            self.waited_seconds += seconds
        else:
            self.miss_seconds += seconds
        if invalidated_by is not None:
            self.invalidated_by[invalidated_by] = self.invalidated_by.get(invalidated_by, 0) + 1
        if rejected is None:
            self.stored += 1
        else:
            self.rejected[rejected] = self.rejected.get(rejected, 0) + 1

    def record_comparison(self, seconds: float, *, observed: bool, verified: bool, violation: bool) -> None:
        """Count a hit whose query was run all the same, for so many seconds.

        ``observed``: because ENABLED is "observe". ``verified``: it is certain whether the stored result was right; it
        is not if something was written meanwhile. ``violation``: it was not.
        """
        self.compared += 1
        self.compared_seconds += seconds
        self.observed += observed
        self.verified += verified
        self.violations += violation

    def record_wait(self) -> None:
        """Count a read that begins to wait for another reader's query."""
        self.waited += 1

    def record_share(self, bytes_written: int, rejected: str | None) -> None:
        """Count a result that was put into the store later, or rejected."""
        self.bytes_written += bytes_written
        if rejected is not None:
            self.rejected[rejected] = self.rejected.get(rejected, 0) + 1

    def record_bypass(self, reason: str) -> None:
        """Count a bypass."""
        self.bypassed[reason] = self.bypassed.get(reason, 0) + 1

    def record_bypass_time(self, seconds: float) -> None:
        """Add the time that the database took for a bypass."""
        self.uncached += 1
        self.uncached_seconds += seconds

    def record_damaged_entry(self) -> None:
        """Count an entry that could not be read."""
        self.damaged += 1

    def add(self, other: Tally) -> None:
        """Add the numbers of another tally."""
        for name in NUMBERS:
            number = getattr(other, name)
            if number:
                setattr(self, name, getattr(self, name) + number)
        for name in MAPPINGS:
            mine = getattr(self, name)
            for key, count in getattr(other, name).copy().items():  # to which another thread may add
                mine[key] = mine.get(key, 0) + count

    def copy(self) -> Tally:
        """Return a tally of the same numbers."""
        return total_of([self])

    def nonzero(self) -> dict[str, Any]:
        """Return the numbers that are not 0, for JSON: most of them are, and a payload has hundreds of tallies.

        Not by ``dataclasses.asdict``, which takes twice as long.
        """
        return {name: value for name in (*NUMBERS, *MAPPINGS) if (value := getattr(self, name))}

    @classmethod
    def from_mapping(cls, given: Mapping[str, Any]) -> Tally:
        """Make a tally of what :meth:`nonzero` returned. Unknown names are left out."""
        return cls(**{name: given[name] for name in (*NUMBERS, *MAPPINGS) if name in given})


MAPPINGS = ("missed", "bypassed", "rejected", "invalidated_by")
NUMBERS = tuple(one.name for one in fields(Tally) if one.name not in MAPPINGS)


def total_of(tallies: Iterable[Tally]) -> Tally:
    """Return the sum of these."""
    total = Tally()
    for tally in tallies:
        total.add(tally)
    return total


def saved_seconds(queries: Iterable[Tally], total: Tally) -> float:
    """Estimate how long the database would have taken for the hits of ``total``.

    Each of ``queries`` counts with its own mean time; the hits that are in none of them with the mean of all.
    """
    hits, seconds = total.saving_hits, 0.0
    for tally in queries:
        mean = tally.mean_query_seconds
        if mean is not None:
            seconds += tally.saving_hits * mean
            hits -= tally.saving_hits
    return seconds + max(hits, 0) * (total.mean_query_seconds or 0.0)
