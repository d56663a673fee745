"""Does the cache pay for one statement, in this process and just now?

It does not where a table is written so often that results are retired before they are asked for again, or where a
query is quicker to run than a far store is to ask. Such a statement is left alone for a while, and then tried again.
That costs nobody a right answer: a read may always go to the database. Writes are told to the store as ever, because
other processes may have results.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

logger = logging.getLogger("ormcache")

#: After so many hits and misses that writes have made it is time to judge ...
WINDOW = 64
#: ... and after so many look-ups, whatever came of them. Misses between which nobody writes say nothing for long: that
#: is how a cache fills.
LONG_WINDOW = 131_072
FIRST_REST, LONGEST_REST = 10.0, 320.0  # seconds for which a statement is left alone; doubled each time in a row
SMOOTHING = 8  # the time of a query is the mean of about so many


@dataclass(frozen=True, slots=True)
class Judgement:
    """Why a statement is left alone."""

    hits: int
    misses: int
    retired: int  # of the misses: a write had come before, since the last look-up or the last result
    saved: float  # seconds: what the hits would have taken the database
    spent: float  # seconds that the cache took
    until: float  # seconds since the epoch

    def __str__(self) -> str:
        return (
            f"{self.hits} hits saved {self.saved * 1e3:.1f} ms and {self.misses} misses, {self.retired} of them"
            f" after a write, made that cost {self.spent * 1e3:.1f} ms"
        )


class Worth:
    """What asking the cache for one statement has cost and saved since it was last judged.

    Threads share it without a lock: a count that is lost now and then changes no judgement.
    """

    __slots__ = (
        "_cold",
        "_hit_time",
        "_hits",
        "_lost",
        "_lost_cold",
        "_name",
        "_query_time",
        "_rest",
        "_retired",
        "_until",
        "_vector",
        "judgement",
    )

    def __init__(self, name: str = "") -> None:
        """``name``: of the statement, for the log."""
        self._name = name
        self.judgement: Judgement | None = None  # the last one, if it was against the cache
        self._query_time: float | None = None  # seconds, a mean
        self._rest = FIRST_REST
        self._until = 0.0  # a time of time.monotonic
        self._vector: bytes | None = None  # at the last miss
        self._begin()

    def _begin(self) -> None:
        self._hits = self._retired = self._cold = 0
        self._hit_time = self._lost = self._lost_cold = 0.0  # seconds

    @property
    def rests(self) -> bool:
        """Is the statement to be left alone?"""
        return self._until > 0 and self._until > time.monotonic()

    def hit(self, took: float) -> None:
        """A result came from the cache in so many seconds."""
        self._hit_time += self._usual(took)
        self._hits += 1
        if self._hits + self._retired >= WINDOW:
            self._judge(self._lost)

    def missed(self, took: float, query: float, *, retired: bool, vector: bytes | None) -> None:
        """A result came from the database in ``query`` seconds; the cache took other ``took`` seconds in vain.

        ``retired``: it had one, which a write has retired. ``vector``: the stamps of its relations, None for a mark.
        """
        retired = retired or vector is None or (self._vector is not None and self._vector != vector)
        self._vector = vector or self._vector
        mean = self._query_time
        self._query_time = query if mean is None else mean + (query - mean) / SMOOTHING
        took = self._usual(took)
        if retired:
            self._lost += took
            self._retired += 1
        else:
            self._lost_cold += took
            self._cold += 1
        if self._hits + self._retired >= WINDOW:
            self._judge(self._lost)
        elif self._hits + self._retired + self._cold >= LONG_WINDOW:
            self._judge(self._lost + self._lost_cold)

    def _usual(self, took: float) -> float:
        """One that had to wait for the processor, or for the catalog, says little about the others."""
        return took if self._query_time is None else min(took, 2 * self._query_time)

    def _judge(self, lost: float) -> None:
        if self._query_time is None:
            return  # all that was asked for was there already
        saved, spent = self._hits * self._query_time, self._hit_time + lost
        if saved >= spent:
            if self.judgement is not None:
                logger.info("asked for again: %s, because it pays by now", self._name)
            self._rest = FIRST_REST
            self.judgement = None
        else:
            misses = self._retired + self._cold
            self.judgement = Judgement(self._hits, misses, self._retired, saved, spent, time.time() + self._rest)
            self._until = time.monotonic() + self._rest
            logger.info("left alone for %d s: %s (%s)", self._rest, self._name, self.judgement)
            self._rest = min(2 * self._rest, LONGEST_REST)
        self._begin()
