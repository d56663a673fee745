"""Counting decisions in one process: what became of every read and write of one database alias, and what it took.

A decision costs a lock and a few additions. Everything that needs thought (rates, savings, who gained most) is left
to those who read the figures.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from ormcache.catalog import SCHEMA
from ormcache.figures.caller import caller
from ormcache.figures.tally import Tally, total_of
from ormcache.figures.text import Text
from ormcache.planning import Plan
from ormcache.sql import collapsed

#: Texts that one process keeps figures of; then those that were asked for least make room, so many at once
MOST_TEXTS, LEAVING = 2048, 512
LONGEST_TEXT = 4096  # characters that are kept of one
SHORT = 256  # characters up to which one is not looked at for lists
MOST_EVENTS = 100  # that differ


@dataclass(slots=True)
class Written:
    """Writes to one relation."""

    writes: int = 0  # that the cache was told of; where the settings keep the relation out, statements
    at: float = 0.0  # of the last one, seconds since the epoch
    #: of the last one: what its statements have written → the first of them that did
    causes: Mapping[frozenset[str], str] = field(default_factory=dict)

    def cause(self, relation: str) -> str:
        """The statement behind the last write, as far as that is known."""
        causes = self.causes
        return next((sql for of, sql in causes.items() if relation in of), next(iter(causes.values()), ""))


@dataclass(slots=True)
class Writing:
    """Numbers that add up of all writes."""

    writes: int = 0  # commits and statements that were told to the store
    untold: int = 0  # of those: the store could not be told at once
    seconds: float = 0.0  # that marking and settling took
    marks: int = 0  # of the writes: their relations were marked before


class Event(NamedTuple):
    """Something that people may want to know of."""

    at: float  # seconds since the epoch; of the last time
    kind: str  # "invalidation", "schema change", "damaged entry"
    relations: tuple[str, ...] = ()
    cause: str = ""
    times: int = 1


class Figures:
    """The figures of one database alias in one process. Any thread may count.

    What is counted is counted once, with the text or the relation that it is about: totals are added up by whoever
    asks for them.
    """

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self.began = time.time()
        self.process = os.urandom(8).hex()
        self.writing = Writing()
        self._lock = threading.Lock()  # guards all that follows and what is inside; "+= 1" is three steps
        self._texts: dict[tuple[bytes, frozenset[str]], Text] = {}
        #: relation → the figures of texts that have made room, and those of all of them
        self._gone: dict[str, Tally] = {}
        self._gone_together = Tally()
        self._unplanned = Tally()  # bypasses before the text was known
        self._written: dict[str, Written] = {}
        self._retired: dict[str, int] = {}  # relation → results that its writes have retired
        #: guards the next one, and how many hits of each text are in it; may be taken while the other lock is held
        self._valuing = threading.Lock()
        self._saved = 0.0
        self._outages = 0
        #: (kind, relations, cause) → how often, and when last; the latest at the end. Not one by one: a table that is
        #: written all the time would leave no room for others
        self._events: OrderedDict[tuple[str, frozenset[str], str], tuple[int, float]] = OrderedDict()

    # Reads ------------------------------------------------------------------------------

    def text(self, plan: Plan, sql: str) -> Text:
        """The figures of a text; the first time it is asked for, the project's line is looked for."""
        return self._texts.get((plan.statement.digest, plan.relations)) or self._meet(plan, sql)

    def _meet(self, plan: Plan, sql: str) -> Text:
        text = Text(plan.statement.digest, _cut(sql), plan.relations, caller())
        with self._lock:
            text = self._texts.setdefault(text.key, text)
            if len(self._texts) > MOST_TEXTS:
                self._make_room(text)
        return text

    def _make_room(self, newest: Text) -> None:
        texts = self._texts
        least = sorted((key for key in texts if texts[key] is not newest), key=lambda key: texts[key].tally.reads)
        leaving = [texts.pop(key) for key in least[:LEAVING]]
        with self._valuing:
            self._saved += sum(text.valued() for text in leaving)
        for text in leaving:
            self._gone_together.add(text.tally)
            for relation in text.relations:
                self._gone.setdefault(relation, Tally()).add(text.tally)

    def hit(self, text: Text, seconds: float, *, read: int, waited: bool) -> None:
        """A result came from the cache; ``read`` bytes of it from the store (0: from this process's memory)."""
        tally = text.tally
        with self._lock:
            tally.hits += 1
            if read:
                tally.bytes_read += read
            if waited:
                tally.waited_seconds += seconds
            else:
                tally.hit_seconds += seconds

    def sample(self, text: Text, entry: bytes, sql: str, params: Any, shape: tuple[Any, ...]) -> None:
        """Remember an execution with its parameters, where :attr:`Text.is_sampled` says so."""
        with self._lock:
            text.sample(entry, sql, params, shape)

    def missed(
        self,
        text: Text,
        cause: str,
        by: str | None,
        seconds: float,
        query: float,
        *,
        refused: str | None,
        written: int,
        waited: bool,
    ) -> None:
        """A result came from the database.

        ``cause``: one of :class:`Miss`. ``by``: the relation that has retired it. ``seconds`` were the cache's,
        ``query`` seconds the database's. ``refused``: why the result was not kept; ``written`` bytes were.
        """
        tally = text.tally
        with self._lock:
            tally.missed[cause] = tally.missed.get(cause, 0) + 1
            tally.misses += 1
            tally.query_seconds += query
            tally.bytes_written += written
            if waited:
                tally.waited_seconds += seconds
            else:
                tally.miss_seconds += seconds
            if by is not None:
                tally.retired_by[by] = tally.retired_by.get(by, 0) + 1
                self._retired[by] = self._retired.get(by, 0) + 1
            if refused is None:
                tally.kept += 1
            else:
                tally.refused[refused] = tally.refused.get(refused, 0) + 1

    def waits(self, text: Text) -> None:
        """A read begins to wait for another reader's query."""
        with self._lock:
            text.tally.waited += 1

    def shared(self, text: Text, written: int, refused: str | None) -> None:
        """A result that was in this process only was put into the store."""
        tally = text.tally
        with self._lock:
            tally.bytes_written += written
            if refused is not None:
                tally.refused[refused] = tally.refused.get(refused, 0) + 1

    def bypassed(self, reason: str, text: Text | None) -> None:
        """A read goes to the database without asking the cache. ``text``: None if that is not known yet."""
        bypassed = (self._unplanned if text is None else text.tally).bypassed
        with self._lock:
            bypassed[reason] = bypassed.get(reason, 0) + 1

    def uncached(self, text: Text, seconds: float) -> None:
        """A read past the cache took the database so long."""
        tally = text.tally
        with self._lock:
            tally.uncached += 1
            tally.uncached_seconds += seconds

    def damaged(self, text: Text) -> None:
        with self._lock:
            text.tally.damaged += 1
            self._happened("damaged entry", text.relations, "", time.time())

    # Writes -----------------------------------------------------------------------------

    def wrote(
        self,
        relations: frozenset[str],
        causes: Mapping[frozenset[str], str],
        seconds: float,
        *,
        marked: bool,
        told: bool,
    ) -> None:
        """Results that depend on these relations were retired, which took so long.

        ``causes``: the statements that did it, by what they have written. ``marked``: the relations were, before.
        ``told``: the store was told at once.
        """
        now = time.time()
        writing = self.writing
        causes = {of: _cut(sql) for of, sql in causes.items()}
        with self._lock:
            writing.writes += 1
            writing.seconds += seconds
            writing.marks += marked
            writing.untold += not told
            for relation in relations:
                self._written_to(relation, now, causes)
            kind = "schema change" if SCHEMA in relations else "invalidation"
            self._happened(kind, relations, next(iter(causes.values()), ""), now)

    def wrote_past(self, relations: frozenset[str], sql: str) -> None:
        """A statement has written what the settings keep out of the cache: nothing is retired, and nobody is told."""
        now = time.time()
        causes = {relations: _cut(sql)}
        with self._lock:
            for relation in relations:
                self._written_to(relation, now, causes)

    def _written_to(self, relation: str, now: float, causes: Mapping[frozenset[str], str]) -> None:
        written = self._written.get(relation)
        if written is None:
            written = self._written[relation] = Written()
        written.writes += 1
        written.at = now
        written.causes = causes

    def _happened(self, kind: str, relations: frozenset[str], cause: str, now: float) -> None:
        events, key = self._events, (kind, relations, cause)
        times, _ = events.get(key, (0, now))
        events[key] = (times + 1, now)
        events.move_to_end(key)
        if len(events) > MOST_EVENTS:
            events.popitem(last=False)

    # Reading them -----------------------------------------------------------------------

    # Adding up takes milliseconds where there are many texts, in which nobody is to wait for the lock. So each number
    # is right, but the reads that are counted meanwhile may be in one of them and not yet in the next.

    def texts(self) -> list[Text]:
        """Copies of the figures of all texts."""
        with self._lock:
            texts = list(self._texts.values())
        return [text.copy() for text in texts]

    def total(self) -> Tally:
        """The figures of all reads."""
        with self._lock:
            texts, gone = list(self._texts.values()), self._gone_together.copy()
        return total_of([self._unplanned, gone, *(text.tally for text in texts)])

    def relations(self) -> dict[str, Tally]:
        """The figures of reads by relation: a read of two relations counts for both."""
        with self._lock:
            texts = list(self._texts.values())
            found = {relation: tally.copy() for relation, tally in self._gone.items()}
        for text in texts:
            for relation in text.relations:
                found.setdefault(relation, Tally()).add(text.tally)
        return found

    def written(self) -> dict[str, Written]:
        """Relation → its writes, in the order of the first ones; ``SCHEMA`` among them."""
        with self._lock:
            return {relation: replace(written) for relation, written in self._written.items()}

    def retired(self) -> dict[str, int]:
        """Relation → results that its writes have retired and that were asked for again, in the order of the first."""
        with self._lock:
            return self._retired.copy()

    def saved_seconds(self) -> float:
        """What the hits would have taken the database: an estimate that never falls.

        Hits count by what the query's mean was when this was asked after them; they are asked for every few seconds.
        """
        with self._lock:
            texts = list(self._texts.values())
        with self._valuing:
            self._saved += sum(text.valued() for text in texts)
            return self._saved

    def outages(self, met: int) -> int:
        """Outages of the store, of which the one that the alias leads to now has met so many. Never falls."""
        with self._lock:
            self._outages = max(self._outages, met)
            return self._outages

    def events(self) -> list[Event]:
        """The last ones, oldest first."""
        with self._lock:
            events = list(self._events.items())
        return [
            Event(at, kind, tuple(sorted(relations - {SCHEMA})), cause, times)
            for (kind, relations, cause), (times, at) in events
        ]

    def snapshot(self) -> dict[str, Any]:
        """The numbers of all reads and writes, as ``ormcache.stats()`` gives them."""
        total, writing = self.total(), self.writing
        return {
            "hits": total.hits,
            "misses": total.misses,
            "kept": total.kept,
            "damaged": total.damaged,
            "waited": total.waited,
            "bypassed": total.bypassed,
            "refused": total.refused,
            "missed": total.missed,
            "retired_by": total.retired_by,
            "writes": writing.writes,
            "marked_writes": writing.marks,
            "untold_writes": writing.untold,
            "hit_seconds": total.hit_seconds,
            "miss_seconds": total.miss_seconds,
            "write_seconds": writing.seconds,
            "query_seconds": total.query_seconds,
            "uncached_seconds": total.uncached_seconds,
            "waited_seconds": total.waited_seconds,
            "bytes_read": total.bytes_read,
            "bytes_written": total.bytes_written,
        }


def _cut(sql: str) -> str:
    """What is kept of a text: its lists cut to two, and no more than so many characters."""
    return sql if len(sql) <= SHORT else collapsed(sql)[0][:LONGEST_TEXT]


#: Database alias → its figures in this process; any thread may add some, none are ever replaced
_by_alias: dict[str, Figures] = {}


def figures_of(alias: str) -> Figures:
    figures = _by_alias.get(alias)
    return figures if figures is not None else _by_alias.setdefault(alias, Figures(alias))


def all_figures() -> list[Figures]:
    return list(_by_alias.values())


def _begin_in_child() -> None:
    """A forked child has counted nothing yet, and a thread that it does not have may have held a lock."""
    for figures in _by_alias.values():
        figures.__init__(figures.alias)  # type: ignore[misc]  # the very same beginning


os.register_at_fork(after_in_child=_begin_in_child)
