"""Adaptive bypass: whether the cache currently saves time for one statement in this process.

It does not where a table is written so often that results are invalidated before they are read again, or where the
query takes less time than asking a distant store. Such a statement bypasses the cache until
:mod:`probes <ormcache.cache.probes>` find that it would pay again. This can serve no wrong row, because a read may
always go to the database. Writes are published as ever, because other processes may have results.

Misses invest time, and hits earn some. A write ends what was stored, so that what has not been earned by then is a
loss. Losses add up and gains reduce them, but never below zero: a phase of writes is noticed soon, however long the
cache has paid before. The unit is what one miss costs.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from ormcache.cache.probes import Probes
from ormcache.utils.bounded import Bounded

logger = logging.getLogger("ormcache")

#: Loss at which a statement bypasses the cache. Doubled where the cache has earned more since the last bypass
WINDOW, LONGEST_WINDOW = 32, 256
#: Lookups after which time invested is lost even without a write: many, because that is how a cache fills
LONG_WINDOW = 131_072
#: A statement never bypasses the cache if a lookup takes a smaller part of the query's time than this ...
NEGLIGIBLE = 0.03
#: ... or if the query takes so many seconds: of simultaneous readers one runs it, which takes a lookup
SLOW = 0.02
#: Hits that are looked at together; fewer on probation
HITS, HITS_ON_PROBATION = 64, 8
SMOOTHING = 8  # executions over which times are averaged, about

YOUTH = 8  # executions for which a statement is judged together with others that read the same relations
MOST_GROUPS = 1024  # of such statements


class Kind(Enum):
    """What a statement's results depend on."""

    TABLE = "table"  # whole relations: a write invalidates all of them
    ROWS = "rows"  # rows, others for each result: a write invalidates some of them


@dataclass(frozen=True, slots=True)
class Judgement:
    """Why a statement bypasses the cache."""

    hits: int
    misses: int
    invalidated: int  # of the misses: those with a write since the last lookup, or since the result was stored
    saved: float  # seconds that the database would have taken for the hits
    spent: float  # seconds that the cache took
    since: float  # when the bypass began, in seconds since the epoch

    def __str__(self) -> str:
        return (
            f"{self.hits} hits saved {self.saved * 1e3:.1f} ms and {self.misses} misses, {self.invalidated} of them"
            f" after a write, made that cost {self.spent * 1e3:.1f} ms"
        )


class AdaptiveBypass:
    """Weighs what the cache costs and saves for one statement, and bypasses it while it does not pay.

    Threads share it without a lock: losing a count now and then changes no judgement.
    """

    __slots__ = (
        "_balance",
        "_due",
        "_groups",
        "_hit_cost",
        "_hit_time",
        "_hits",
        "_invalidated",
        "_kind",
        "_longest",
        "_loss",
        "_miss_cost",
        "_miss_time",
        "_misses",
        "_name",
        "_past",
        "_probes",
        "_query_time",
        "_vector",
        "_window",
        "_youth",
        "is_active",
        "judgement",
    )

    def __init__(self, name: str = "", groups: Groups | None = None) -> None:
        """``name``: what the log calls the statement. ``groups``: of all statements that read the same relations."""
        self._name = name
        self._kind = Kind.TABLE  # at the last miss
        #: which of them judges in its place ...
        self._groups = groups
        self._youth = YOUTH  # ... for so many executions more
        group = None if groups is None else groups[Kind.TABLE]
        #: whether executions bypass the cache, except those that :meth:`is_probe_due` picks
        self.is_active: bool = group is not None and group.is_active
        #: why it bypasses the cache, which it does on probation as well; None: it does not
        self.judgement: Judgement | None = None if group is None else group.judgement
        self._probes = Probes()
        # Means, in seconds; None: not known
        self._query_time: float | None = None
        self._miss_cost: float | None = None
        self._hit_cost: float | None = None
        self._longest = math.inf  # what one lookup counts at most: it may have waited for a processor
        # Time invested, and what it has earned
        self._hits = self._misses = self._invalidated = 0
        self._hit_time = self._miss_time = 0.0  # seconds
        self._due = HITS if groups is None else 0  # hits at which they are looked at
        self._vector: bytes | None = None  # at the last miss
        # What became of that
        self._loss = 0.0  # misses
        self._past = _Totals()  # since there was no loss
        self._balance = 0.0  # what has been lost since the last bypass, in misses; negative: earned
        self._window = WINDOW

    # While the cache is bypassed ---------------------------------------------------------

    def is_probe_due(self) -> bool:
        """Count an execution while the cache is bypassed. Return whether it is to be looked up all the same."""
        if self._groups is None:
            return self._probes.are_due()
        group = self._groups[self._kind]
        self._grow_up(group)
        return not group.is_active or group.is_probe_due()

    def record_query(self, took: float) -> None:
        """Record that the database took so many seconds, with a lookup or without one."""
        mean = self._query_time
        mean = self._query_time = took if mean is None else mean + (took - mean) / SMOOTHING
        self._longest = 2 * mean
        if self.is_active and self._groups is None and self._is_exempt():
            self._probes = Probes()
            self._end("lookups take next to no time beside the query")

    # Lookups ----------------------------------------------------------------------------

    def record_hit(self, took: float) -> None:
        """Record a result that came from the cache in ``took`` seconds."""
        self._hits += 1
        self._hit_time += took if took < self._longest else self._longest  # noqa: FURB136 - min() would be a call
        if self._hits >= self._due:
            self._review_hits(took)

    def record_miss(
        self, took: float, query: float, *, invalidated: bool, vector: bytes | None, kind: Kind = Kind.TABLE
    ) -> None:
        """Record a result that came from the database in ``query`` seconds, after ``took`` seconds of the cache.

        ``invalidated``: a write had invalidated the entry. ``vector``: the stamps of what it depends on, which is of
        this ``kind``; None: one of them was marked.
        """
        self._kind = kind
        if self._groups is not None:
            group = self._groups[kind]
            group.record_miss(took, query, invalidated=invalidated, vector=vector, kind=kind)
            self._grow_up(group)
            return
        was_written = self._notice_write(vector, invalidated=invalidated)
        self.record_query(query)
        took = min(took, self._longest)
        self._miss_cost = took if self._miss_cost is None else self._miss_cost + (took - self._miss_cost) / SMOOTHING
        if self.is_active:
            # If hits are known to be slower than the query, it does not matter that nobody writes.
            self._probes.miss(was_written=was_written or not self._can_pay())
            self._follow_probes()
            return
        if was_written and self._kind is Kind.TABLE:
            self._settle(self._misses, self._miss_time, was_written=True)
            if self.is_active:
                return
        self._misses += 1
        self._miss_time += took
        self._invalidated += invalidated or was_written
        if was_written and self._kind is Kind.ROWS:
            self._settle(1, took, was_written=True)
        elif vector is None or self._misses + self._hits >= LONG_WINDOW or self._has_spent_credit():
            self._settle(self._misses, self._miss_time, was_written=vector is None)

    def _notice_write(self, vector: bytes | None, *, invalidated: bool) -> bool:
        """Return whether there was a write since the last miss that has ended what was stored by then."""
        before, self._vector = self._vector, vector or self._vector
        if self._kind is Kind.ROWS:
            return invalidated
        return vector is None or (before is not None and vector != before)

    def _review_hits(self, took: float) -> None:
        query = self._query_time
        if self._groups is not None:
            group = self._groups[self._kind]
            self._hits, self._hit_time = 0, 0.0
            group.record_hit(took)
            self._grow_up(group)
        elif self.is_active:
            self._hits, self._hit_time, self._hit_cost = 0, 0.0, took
            self._probes.hit(pays=self._can_pay())
            self._follow_probes()
        elif query is not None and not self._hit_time <= self._hits * query < self._hit_time + self._miss_time:
            self._settle(self._misses, self._miss_time)
        else:
            # What was invested has not been earned yet.
            self._due = self._hits + (HITS if self._probes.credit is None else HITS_ON_PROBATION)

    # The balance ------------------------------------------------------------------------

    def _settle(self, misses: int, miss_time: float, *, was_written: bool = False) -> None:
        """Balance the hits with these misses, and draw the conclusion."""
        hits, saved, spent = self._hits, self._hits * (self._query_time or 0.0), self._hit_time + miss_time
        self._past.add(hits, misses, self._invalidated, saved, spent)
        if hits:
            self._hit_cost = self._hit_time / hits
        self._misses -= misses
        self._miss_time -= miss_time
        self._hits = self._invalidated = 0
        self._hit_time = 0.0
        self._due = HITS if self._probes.credit is None else HITS_ON_PROBATION

        unit = miss_time / misses if misses else self._miss_cost
        loss = (spent - saved) / unit if unit else 0.0
        self._loss += loss
        self._balance += loss
        if self._probes.credit is not None:
            has_succeeded = self._probes.spend(loss, hits + misses, was_written=was_written)
            if has_succeeded:
                self._probes = self._probes.successor()
                self._end("it saves time again")
            elif has_succeeded is False:
                self._begin()
        elif self._loss <= 0 or self._is_exempt():
            self._loss, self._past = 0.0, _Totals()
        elif self._loss >= self._window:
            self._window = min(2 * self._window, LONGEST_WINDOW) if self._balance < 0 else WINDOW
            self._balance = 0.0
            self._begin()

    def _has_spent_credit(self) -> bool:
        """Return whether a probation has lost all that it may, unless what it has stored earns more later."""
        credit, cost, query = self._probes.credit, self._miss_cost, self._query_time
        if credit is None or not cost or query is None:
            return False
        return self._miss_time + self._hit_time - self._hits * query >= credit * cost

    def _can_pay(self) -> bool:
        """Return whether hits save time."""
        return self._hit_cost is None or self._query_time is None or self._hit_cost < self._query_time

    def _is_exempt(self) -> bool:
        """Return whether the statement never bypasses the cache."""
        query, cost = self._query_time, self._miss_cost
        return query is None or query >= SLOW or (cost is not None and cost < NEGLIGIBLE * query)

    # Begin and end ----------------------------------------------------------------------

    def _begin(self) -> None:
        """Bypass the cache, for the first time or after a probation has failed."""
        if self.judgement is None:
            self.judgement = self._past.judgement()
            logger.info("adaptive bypass began: %s (%s)", self._name, self.judgement)
        self._due = 1  # each hit is that of a probe
        self.is_active = True

    def _follow_probes(self) -> None:
        """Use the cache on probation, if that is what the last probe has led to."""
        if self._probes.credit is not None:
            self._use(HITS_ON_PROBATION)

    def _end(self, why: str) -> None:
        if self.judgement is not None:
            logger.info("adaptive bypass ended: %s, because %s", self._name, why)
        self.judgement = None
        self._loss, self._past = 0.0, _Totals()
        self._use(HITS)

    def _use(self, due: int) -> None:
        self._hits = self._misses = self._invalidated = 0
        self._hit_time = self._miss_time = 0.0
        self._due = due
        self.is_active = False

    # Among others -----------------------------------------------------------------------

    def _grow_up(self, group: AdaptiveBypass) -> None:
        """Count an execution that the group has judged. After the last one, begin with what the group knows."""
        self._youth -= 1
        self.is_active, self.judgement = group.is_active, group.judgement
        if self._youth <= 0:
            self._query_time, self._miss_cost, self._hit_cost = group._query_time, group._miss_cost, group._hit_cost
            self._longest, self._vector = group._longest, group._vector
            self._due = 1 if group.is_active else HITS
            self._groups = None


class AdaptiveBypasses:
    """Makes the adaptive bypasses of one database's statements. Threads share it."""

    def __init__(self) -> None:
        self._groups: Bounded[frozenset[str], Groups] = Bounded(MOST_GROUPS)

    def of_statement(self, relations: frozenset[str]) -> AdaptiveBypass:
        """Return the adaptive bypass of a statement that is new to the process. ``relations``: those that it reads.

        Where there are too many statements to learn about each, each one is judged as all of them are.
        """
        name = " ".join(sorted(relations))
        groups = self._groups.get(relations)
        if groups is None:
            groups = {kind: AdaptiveBypass(name) for kind in Kind}
            self._groups.put(relations, groups)
        return AdaptiveBypass(name, groups)


#: What a statement's results depend on → the judge of all statements on the same relations with such results
Groups = Mapping[Kind, AdaptiveBypass]


class _Totals:
    """Lookups, with what they cost and saved."""

    __slots__ = ("hits", "invalidated", "misses", "saved", "spent")

    def __init__(self) -> None:
        self.hits = self.misses = self.invalidated = 0
        self.saved = self.spent = 0.0  # seconds

    def add(self, hits: int, misses: int, invalidated: int, saved: float, spent: float) -> None:
        """Add other lookups."""
        self.hits += hits
        self.misses += misses
        self.invalidated += invalidated
        self.saved += saved
        self.spent += spent

    def judgement(self) -> Judgement:
        """Return them as the reason why a bypass begins now."""
        return Judgement(self.hits, self.misses, self.invalidated, self.saved, self.spent, time.time())
