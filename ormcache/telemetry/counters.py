"""Counts, in one process, what became of the reads and writes of each database alias, and how long they took.

An event costs a lock and a few additions. Whatever needs thought (rates, savings, rankings) is left to those who read
the counts.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar

from ormcache.cache.tracking import Rejection
from ormcache.catalog import SCHEMA
from ormcache.database.outside_writes import OTHER_RELATIONS, OutsideCounts
from ormcache.database.plans import Plan
from ormcache.purging.queue import PurgeCounts
from ormcache.sql import collapse_lists
from ormcache.telemetry.derived_stats import DerivedCounters, DerivedTable, snapshot_of
from ormcache.telemetry.query_stats import QueryCounters
from ormcache.telemetry.tally import Tally, total_of
from ormcache.utils.call_site import caller
from ormcache.utils.forks import at_fork

V = TypeVar("V")

#: Queries that one process has statistics of. Beyond that the least used make room, so many at once
MOST_QUERIES, LEAVING = 2048, 512
LONGEST_SQL = 4096  # characters of a statement that are remembered
LONGEST_SUBJECT = 512  # characters of what a page was not stored for, if that is no statement
SHORT = 256  # characters up to which a statement is not searched for lists
MOST_EVENTS = 100  # different ones
MOST_NEW_WRITES = 64  # writes that are only noted, until they are counted together
#: Relations that one process has statistics of. Schemas and scratch tables come and go: those whose last write is
#: oldest make room, so many at once, but never the first ones, which have names of their own in metrics
MOST_RELATIONS, FIRST_RELATIONS = 4096, 1024


@dataclass(slots=True)
class RelationWrites:
    """The writes to one relation."""

    writes: int = 0  # invalidations; for a relation that the settings exclude, statements
    at: float = 0.0  # of the last one, seconds since the epoch
    #: of the last one: the relations that each of its statements wrote → the first such statement
    causes: Mapping[frozenset[str], str] = field(default_factory=dict)

    def record(self, at: float, causes: Mapping[frozenset[str], str]) -> None:
        """Count a write at this time, in seconds since the epoch, with its statements."""
        self.writes += 1
        self.at = at
        self.causes = causes

    def cause(self, relation: str) -> str:
        """Return the statement behind the last write, or ``""`` if it is not known."""
        causes = self.causes
        return next((sql for of, sql in causes.items() if relation in of), next(iter(causes.values()), ""))


@dataclass(slots=True)
class WriteTotals:
    """Sums over all writes."""

    writes: int = 0  # commits and statements that invalidated results
    unpublished: int = 0  # of those: the store did not have it at once
    seconds: float = 0.0  # that marking and settling took
    marks: int = 0  # writes whose relations were marked before

    def record(self, seconds: float, *, marked: bool, published: bool) -> None:
        """Count a write, see :meth:`Counters.record_write`."""
        self.writes += 1
        self.seconds += seconds
        self.marks += marked
        self.unpublished += not published


class NewWrite(NamedTuple):
    """A write that is noted and not yet counted, see :meth:`Counters.record_write`."""

    at: float
    relations: frozenset[str]
    causes: Mapping[frozenset[str], str]
    seconds: float
    marked: bool
    published: bool


class Event(NamedTuple):
    """Something that people may want to know of."""

    at: float  # of the last time, seconds since the epoch
    kind: str  # "invalidation", "schema change", "damaged entry" or "violation"
    relations: tuple[str, ...] = ()
    cause: str = ""
    times: int = 1


class Counters:
    """The counts of one database alias in one process. Threads, and signal handlers inside them, may count at once.

    Everything is counted once, with the query or the relation that it is about; whoever asks for totals adds them up.
    """

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self.reset()

    def reset(self) -> None:
        """Start from nothing, under a new process id: what a forked child does, and what tests do."""
        self.began = time.time()
        self.process = os.urandom(8).hex()
        #: writes that wait to be counted. Who writes has just waited for the database, and finds nothing that counting
        #: needs in the processor's caches; many at once take a third of the time
        self._new_writes: deque[NewWrite] = deque()
        self._lock = threading.RLock()  # guards all that follows, and what is inside: "+= 1" is three steps
        self._write_totals = WriteTotals()
        self._queries: dict[tuple[bytes, frozenset[str]], QueryCounters] = {}
        #: relation → the tally of queries that made room, and the sum of these
        self._gone: dict[str, Tally] = {}
        self._gone_together = Tally()
        self._unplanned = Tally()  # bypasses of statements that were not analysed
        self._derived = DerivedTable()
        self._relation_writes: dict[str, RelationWrites] = {}
        self._invalidated: dict[str, int] = {}  # relation → results that its writes invalidated
        #: of relations that made room
        self._writes_gone = self._invalidated_gone = 0
        #: guards the next one, and how many hits of each query are in it; may be taken while the other lock is held
        self._valuing = threading.RLock()
        self._saved = 0.0
        self._outages = 0
        self._purged = PurgeCounts()
        self._outside = OutsideCounts()
        #: (kind, relations, cause) → how often, and when last; the latest at the end. Not one by one: a table that is
        #: written all the time would leave no room for others
        self._events: OrderedDict[tuple[str, frozenset[str], str], tuple[int, float]] = OrderedDict()

    # Reads ------------------------------------------------------------------------------

    def query(self, plan: Plan, sql: str) -> QueryCounters:
        """Return the statistics of a query. The first time, this looks for the line of the project that runs it."""
        return self._queries.get((plan.statement.digest, plan.relations)) or self._add_query(plan, sql)

    def _add_query(self, plan: Plan, sql: str) -> QueryCounters:
        query = QueryCounters(plan.statement.digest, _shortened(sql), plan.relations, caller())
        with self._lock:
            query = self._queries.setdefault(query.key, query)
            if len(self._queries) > MOST_QUERIES:
                self._make_room(query)
        return query

    def _make_room(self, newest: QueryCounters) -> None:
        others = [query for query in list(self._queries.values()) if query is not newest]
        least = sorted(others, key=lambda query: query.tally.reads)[:LEAVING]
        leaving = [query for query in least if self._queries.pop(query.key, None) is query]
        with self._valuing:
            saved = sum(query.new_savings() for query in leaving)
            self._saved += saved
        for query in leaving:
            self._gone_together.add(query.tally)
            for relation in query.relations:
                self._gone.setdefault(relation, Tally()).add(query.tally)
        _drop_oldest(self._gone)
        _drop_oldest(self._gone_together.invalidated_by)

    def record_derived_hit(self, kind: str, label: str, seconds: float, *, outdated: bool) -> None:
        """Count a use of a function, a fragment or a page that was served from the cache.

        ``outdated``: with one that is being computed anew.
        """
        with self._lock:
            self._derived.counters(kind, label).record_hit(seconds, outdated=outdated)

    def record_derived_miss(
        self,
        kind: str,
        label: str,
        seconds: float,
        *,
        cause: str | None,
        invalidated_by: str | None,
        rejection: Rejection | None,
    ) -> None:
        """Count a use that was computed, in so many seconds.

        ``cause``: one of :class:`ormcache.reasons.Miss`; None: nothing was looked up. ``rejection``: why it was not
        stored; None: it was.
        """
        if rejection is not None and rejection.sql is not None:
            rejection = rejection._replace(sql=_shortened(rejection.sql))
        if rejection is not None and rejection.subject is not None:
            rejection = rejection._replace(subject=rejection.subject[:LONGEST_SUBJECT])
        with self._lock:
            self._derived.counters(kind, label).record_miss(seconds, cause, invalidated_by, rejection)

    def mean_computing_seconds(self, kind: str, label: str) -> float | None:
        """Return how long computing a function, a fragment or a page takes; None if it was not computed yet."""
        with self._lock:
            return self._derived.counters(kind, label).mean_seconds

    @property
    def derived_uses(self) -> int:
        """The number of uses of functions, fragments and pages."""
        with self._lock:
            return self._derived.uses

    @property
    def derived(self) -> list[DerivedCounters]:
        """Copies of the counts of functions, fragments and pages, in the order in which they came up."""
        with self._lock:
            return self._derived.copies()

    def record_hit(
        self, query: QueryCounters, seconds: float, *, bytes_read: int, waited: bool, by_row: bool = False
    ) -> None:
        """Count a result that came from the cache; ``bytes_read`` from the store, 0 from this process's memory.

        ``by_row``: it depends on single rows.
        """
        with self._lock:
            query.tally.record_hit(seconds, bytes_read=bytes_read, waited=waited, by_row=by_row)

    def record_comparison(
        self, query: QueryCounters, seconds: float, *, observed: bool, verified: bool, violation: bool
    ) -> None:
        """Count a hit whose query was run all the same, for so many seconds; see :meth:`Tally.record_comparison`."""
        if violation:
            self._count_writes()
        with self._lock:
            query.tally.record_comparison(seconds, observed=observed, verified=verified, violation=violation)
            if violation:
                self._record_event("violation", query.relations, query.sql, time.time())

    def record_sample(self, query: QueryCounters, entry: bytes, sql: str, params: Any, shape: tuple[Any, ...]) -> None:
        """Remember an execution with its parameters, where :attr:`QueryCounters.is_sampled` says so."""
        with self._lock:
            query.add_sample(entry, sql, params, shape)

    def record_miss(
        self,
        query: QueryCounters,
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
        """Count a result that came from the database.

        ``cause``: one of :class:`ormcache.reasons.Miss`. ``invalidated_by``: the relation whose write invalidated the
        stored result. ``seconds``: that the cache took; ``query_seconds``: that the database took. ``rejected``: why
        the result was not stored. ``bytes_written``: to the store. ``by_row``: the stored result depended on single
        rows.
        """
        with self._lock:
            query.tally.record_miss(
                cause,
                invalidated_by,
                seconds,
                query_seconds,
                rejected=rejected,
                bytes_written=bytes_written,
                waited=waited,
                by_row=by_row,
            )
            if invalidated_by is not None:
                self._invalidated[invalidated_by] = self._invalidated.get(invalidated_by, 0) + 1
                if len(self._invalidated) > MOST_RELATIONS:
                    self._invalidated_gone += sum(_drop_oldest(self._invalidated))

    def record_wait(self, query: QueryCounters) -> None:
        """Count a read that begins to wait for another reader's query."""
        with self._lock:
            query.tally.record_wait()

    def record_share(self, query: QueryCounters, bytes_written: int, rejected: str | None) -> None:
        """Count a result of this process's memory that was put into the store, or rejected."""
        with self._lock:
            query.tally.record_share(bytes_written, rejected)

    def record_bypass(self, reason: str, query: QueryCounters | None) -> None:
        """Count a read that bypasses the cache. ``query``: None if the statement was not analysed."""
        tally = self._unplanned if query is None else query.tally
        with self._lock:
            tally.record_bypass(reason)

    def record_bypass_time(self, query: QueryCounters, seconds: float) -> None:
        """Add the time that the database took for a bypass."""
        with self._lock:
            query.tally.record_bypass_time(seconds)

    def record_damaged_entry(self, query: QueryCounters) -> None:
        """Count an entry of the store that could not be read."""
        self._count_writes()
        with self._lock:
            query.tally.record_damaged_entry()
            self._record_event("damaged entry", query.relations, "", time.time())

    # Writes -----------------------------------------------------------------------------

    def record_write(
        self,
        relations: frozenset[str],
        causes: Mapping[frozenset[str], str],
        seconds: float,
        *,
        marked: bool,
        published: bool,
    ) -> None:
        """Count an invalidation of the results that depend on these relations, which took so many seconds.

        ``causes``: its statements, by the relations that they wrote. ``marked``: the relations were marked before.
        ``published``: the store had it at once.
        """
        for sql in causes.values():
            if len(sql) > SHORT:
                causes = {of: _shortened(sql) for of, sql in causes.items()}
                break
        waiting = self._new_writes
        waiting.append(NewWrite(time.time(), relations, causes, seconds, marked, published))
        if len(waiting) >= MOST_NEW_WRITES:
            self._count_writes()

    def _count_writes(self) -> None:
        """Count the writes that were noted."""
        waiting = self._new_writes
        with self._lock:
            while waiting:
                try:
                    new = waiting.popleft()
                except IndexError:  # a signal handler has counted the last one
                    break
                self._write_totals.record(new.seconds, marked=new.marked, published=new.published)
                for relation in new.relations:
                    self._record_relation_write(relation, new.at, new.causes)
                kind = "schema change" if SCHEMA in new.relations else "invalidation"
                self._record_event(kind, new.relations, next(iter(new.causes.values()), ""), new.at)

    @property
    def write_totals(self) -> WriteTotals:
        """The sums over all writes so far."""
        self._count_writes()
        return self._write_totals

    def record_excluded_write(self, relations: frozenset[str], sql: str) -> None:
        """Count a statement that wrote relations which the settings exclude: it invalidates nothing."""
        now = time.time()
        causes = {relations: _shortened(sql)}
        self._count_writes()
        with self._lock:
            for relation in relations:
                self._record_relation_write(relation, now, causes)

    def _record_relation_write(self, relation: str, now: float, causes: Mapping[frozenset[str], str]) -> None:
        writes = self._relation_writes.get(relation)
        if writes is None:
            if len(self._relation_writes) >= MOST_RELATIONS:
                self._drop_relations()
            writes = self._relation_writes[relation] = RelationWrites()
        writes.record(now, causes)

    def _drop_relations(self) -> None:
        later = list(self._relation_writes.items())[FIRST_RELATIONS:]
        for relation, writes in sorted(later, key=lambda item: item[1].at)[:LEAVING]:
            if self._relation_writes.pop(relation, None) is writes:
                self._writes_gone += writes.writes

    def _record_event(self, kind: str, relations: frozenset[str], cause: str, now: float) -> None:
        events, key = self._events, (kind, relations, cause)
        times, _ = events.pop(key, (0, now))
        events[key] = (times + 1, now)
        if len(events) > MOST_EVENTS:
            events.popitem(last=False)

    # Reading the counts -----------------------------------------------------------------

    # Adding up takes milliseconds where there are many queries, during which no reader may wait for the lock. So each
    # number is right, but reads that are counted meanwhile may be in one of them and not yet in the next.

    def queries(self) -> list[QueryCounters]:
        """Return copies of the statistics of all queries."""
        with self._lock:
            queries = list(self._queries.values())
        return [query.copy() for query in queries]

    def total(self) -> Tally:
        """Return the tally of all reads."""
        with self._lock:
            queries, gone = list(self._queries.values()), self._gone_together.copy()
        return total_of([self._unplanned, gone, *(query.tally for query in queries)])

    def tally_by_relation(self) -> dict[str, Tally]:
        """Return relation → the tally of its reads. A read of two relations counts for both."""
        with self._lock:
            queries = list(self._queries.values())
            found = {relation: tally.copy() for relation, tally in list(self._gone.items())}
        for query in queries:
            for relation in query.relations:
                found.setdefault(relation, Tally()).add(query.tally)
        return found

    def relation_writes(self) -> dict[str, RelationWrites]:
        """Return relation → its writes, in the order of the first ones; ``SCHEMA`` is among them."""
        self._count_writes()
        with self._lock:
            return {relation: replace(writes) for relation, writes in list(self._relation_writes.items())}

    def write_counts(self) -> dict[str, int]:
        """Return relation → the number of its writes, in the order of the first ones.

        ``OTHER_RELATIONS`` stands for relations that made room; the sum never falls.
        """
        self._count_writes()
        with self._lock:
            counts = {relation: writes.writes for relation, writes in list(self._relation_writes.items())}
            return counts | _others(self._writes_gone)

    def invalidated_counts(self) -> dict[str, int]:
        """Return relation → the number of results that its writes invalidated and that were looked up again.

        In the order of the first ones; ``OTHER_RELATIONS`` stands for relations that made room; the sum never falls.
        """
        with self._lock:
            return self._invalidated | _others(self._invalidated_gone)

    def saved_seconds(self) -> float:
        """Estimate how long the database would have taken for the hits. Never falls.

        A hit counts with the mean time of its query at the next call, which comes every few seconds.
        """
        with self._lock:
            queries = list(self._queries.values())
        with self._valuing:
            saved = sum(query.new_savings() for query in queries)
            self._saved += saved
            return self._saved

    def count_outages(self, met: int) -> int:
        """Return the number of outages, of which the store of this moment has met so many. Never falls."""
        with self._lock:
            self._outages = max(self._outages, met)
            return self._outages

    def count_purges(self, met: PurgeCounts) -> PurgeCounts:
        """Return the counts of purges, of which the database of this moment has met so many. Its sums never fall."""
        with self._lock:
            before = self._purged
            found = met._replace(purges=max(before.purges, met.purges), failures=max(before.failures, met.failures))
            self._purged = found
            return found

    def count_outside(self, met: OutsideCounts) -> OutsideCounts:
        """Return the counts of writes of other programs, of which the database of this moment has met so many."""
        with self._lock:
            self._outside = met.at_least(self._outside)
            return self._outside

    def events(self) -> list[Event]:
        """Return the last events, oldest first."""
        self._count_writes()
        with self._lock:
            events = list(self._events.items())
        return [
            Event(at, kind, tuple(sorted(relations - {SCHEMA})), cause, times)
            for (kind, relations, cause), (times, at) in events
        ]

    def snapshot(self) -> dict[str, Any]:
        """Return the totals of all reads and writes, as ``ormcache.stats()`` does."""
        total, writes = self.total(), self.write_totals
        return {
            "hits": total.hits,
            "row_hits": total.row_hits,
            "misses": total.misses,
            "stored": total.stored,
            "damaged": total.damaged,
            "compared": total.compared,
            "observed": total.observed,
            "verified": total.verified,
            "violations": total.violations,
            "compared_seconds": total.compared_seconds,
            "waited": total.waited,
            "bypassed": total.bypassed,
            "rejected": total.rejected,
            "missed": total.missed,
            "invalidated_by": total.invalidated_by,
            "row_invalidated": total.row_invalidated,
            "writes": writes.writes,
            "marked_writes": writes.marks,
            "unpublished_writes": writes.unpublished,
            "hit_seconds": total.hit_seconds,
            "miss_seconds": total.miss_seconds,
            "write_seconds": writes.seconds,
            "query_seconds": total.query_seconds,
            "uncached_seconds": total.uncached_seconds,
            "waited_seconds": total.waited_seconds,
            "bytes_read": total.bytes_read,
            "bytes_written": total.bytes_written,
            "derived": snapshot_of(self.derived),
        }


def _others(count: int) -> dict[str, int]:
    return {OTHER_RELATIONS: count} if count else {}


def _drop_oldest(by_relation: dict[str, V]) -> list[V]:
    """Drop the items of the oldest relations after the first ones where there are too many, and return their values."""
    if len(by_relation) <= MOST_RELATIONS:
        return []
    leaving = list(by_relation)[FIRST_RELATIONS : FIRST_RELATIONS + max(LEAVING, len(by_relation) - MOST_RELATIONS)]
    return [by_relation.pop(relation) for relation in leaving if relation in by_relation]


def _shortened(sql: str) -> str:
    """Return what is remembered of a statement: its lists cut to two items, and its first characters."""
    return sql if len(sql) <= SHORT else collapse_lists(sql)[0][:LONGEST_SQL]


#: Database alias → its counters in this process; any thread may add some, none are ever replaced
_by_alias: dict[str, Counters] = {}


def counters_of(alias: str) -> Counters:
    """Return the counters of a database alias."""
    counters = _by_alias.get(alias)
    return counters if counters is not None else _by_alias.setdefault(alias, Counters(alias))


def all_counters() -> list[Counters]:
    """Return the counters of all aliases that this process has used."""
    return list(_by_alias.values())


def _reset_in_child() -> None:
    """Reset a forked child's counters: it has counted nothing, and a thread that it does not have may hold a lock."""
    for counters in _by_alias.values():
        counters.reset()


at_fork(after_in_child=_reset_in_child)
