"""What a block of code reads: the slots and stamps of every result, so that what is computed of them can be cached.

A block that is tracked has a :class:`Tracker`, with which the read path records the dependence of each result, hit or
miss, and the write path each write. Threads and asyncio tasks have trackers of their own; a task, and a thread that
Django or asgiref starts for one, report to the tracker of the block in which they were started.

The stamps are read before the queries that they stand for. Found unchanged at the end of the block, all results were
true at one moment, and so is what was computed of them: see :meth:`Tracker.is_current`.

A block can end while one inside it has not, where a generator is left in the middle, or while a task that it has
started goes on. What is read from then on belongs to the next block around it that goes on itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import NamedTuple, Self

from ormcache import reasons
from ormcache.exceptions import StoreUnavailable, WriteInSnapshot
from ormcache.stores.base import STAMP_LENGTH, Store
from ormcache.utils.call_site import caller

#: Slots that one block depends on at most: what reads more is not stored
MOST_SLOTS = 2_000


class Rejection(NamedTuple):
    """Why a block cannot be cached."""

    reason: str  # see ormcache.reasons
    sql: str | None = None  # of the statement that is the reason
    relations: frozenset[str] = frozenset()  # of that statement
    caller: str | None = None  # "path:line" of the project that ran it; None: there is none in this thread
    subject: str | None = None  # what the reason is about, in words, if it is no statement


class Tracker:
    """The reads of one block. Threads and tasks that the block starts may share it: no step needs a lock."""

    __slots__ = ("_around", "_forbids_writes", "_open", "_stamps", "expires", "rejection", "sessions")

    def __init__(self, *, forbids_writes: bool = False) -> None:
        """``forbids_writes``: whether statements that write, in this block or inside of it, are errors."""
        #: why what was read cannot be cached; None: it can, so far. The first reason stays
        self.rejection: Rejection | None = None
        #: until when what was read may be served, in seconds since the epoch; None: until a write
        self.expires: float | None = None
        #: database alias → what the names of all entries of its session have in common
        self.sessions: dict[str, bytes] = {}
        self._stamps: dict[Store, dict[bytes, bytes]] = {}  # of each store, slot → stamp
        self._around: Tracker | None = None  # of the block around this one
        self._open = 0  # how many blocks report to it that have not ended
        self._forbids_writes = forbids_writes

    @classmethod
    def of_stored(
        cls,
        sessions: Mapping[str, bytes],
        store: Store,
        slots: Sequence[bytes],
        vector: bytes,
        *,
        expires: float | None = None,
    ) -> Self:
        """Return the tracker of something that was stored under these stamps of these slots.

        ``expires``: seconds since the epoch; None: it does not.
        """
        tracker = cls()
        tracker.sessions.update(sessions)
        tracker._record_stamps(store, _pairs(slots, vector))
        tracker.record_expiry(expires)
        return tracker

    # Blocks -------------------------------------------------------------------------------------------

    def begin(self, around: Tracker | None) -> None:
        """Record that a block begins that reports to this tracker. ``around``: that of the block around it."""
        self._open += 1
        if around is not self:
            self._around = around

    def end(self) -> None:
        """Record that the block has ended."""
        self._open -= 1

    def find_open(self) -> Tracker | None:
        """Return this tracker, or that of the next block around it that has not ended; None: there is none."""
        tracker: Tracker | None = self
        while tracker is not None and tracker._open < 1:
            tracker = tracker._around
        return tracker

    # Reads --------------------------------------------------------------------------------------------

    def record(
        self,
        alias: str,
        session: bytes,
        store: Store,
        slots: Sequence[bytes],
        vector: bytes,
        *,
        expires: float | None = None,
    ) -> None:
        """Record the dependence of one result: the stamps that these slots held before its query ran.

        ``session``: what the names of all entries of the session have in common. ``store``: that has the slots.
        ``expires``: until when the result may be served, in seconds since the epoch; None: until a write.
        """
        if self.sessions.setdefault(alias, session) != session:
            self.reject(reasons.SEVERAL_SESSIONS)
        self._record_stamps(store, _pairs(slots, vector))
        self.record_expiry(expires)

    def _record_stamps(self, store: Store, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        stamps = self._stamps.setdefault(store.strict, {})
        for slot, stamp in pairs:
            if stamps.setdefault(slot, stamp) != stamp:
                self.reject(reasons.WRITTEN_MEANWHILE)
            if len(stamps) > MOST_SLOTS:
                self.reject(reasons.TOO_LARGE)
                stamps.clear()  # nothing will be made of them, and the block may go on for long

    def record_expiry(self, expires: float | None) -> None:
        """Record until when what is computed may be served, in seconds since the epoch; None: until a write."""
        if expires is not None and (self.expires is None or expires < self.expires):
            self.expires = expires

    def reject(
        self,
        reason: str,
        sql: str | None = None,
        relations: frozenset[str] = frozenset(),
        line: str | None = None,
        subject: str | None = None,
    ) -> None:
        """Record that nothing that is computed of these reads can be cached.

        ``sql``: of the statement that is the reason, if it is one. ``line``: see :attr:`Rejection.caller`; None: this
        call is made before the statement runs. ``subject``: see :attr:`Rejection.subject`.

        Raises WriteInSnapshot for one that writes where that is forbidden.
        """
        if reason == reasons.WRITES:
            self._forbid_write(sql)
        if self.rejection is None:
            line = caller() if line is None and sql is not None else line
            self.rejection = Rejection(reason, sql, relations, line, subject)

    def _forbid_write(self, sql: str | None) -> None:
        """Raise WriteInSnapshot if this block, or one around it, must not write."""
        tracker: Tracker | None = self
        while tracker is not None:
            if tracker._forbids_writes:
                tracker._record_write(sql)
                raise WriteInSnapshot(f"a function that reads a snapshot must not write: {sql}")
            tracker = tracker._around

    def _record_write(self, sql: str | None) -> None:
        """Record that a statement was to write, should the error be handled in the block."""
        self.rejection = Rejection(reasons.WRITES, sql)

    def absorb(self, other: Tracker) -> None:
        """Record all that another tracker has recorded: of a block within this one, or of what was cached there."""
        for alias, session in list(other.sessions.items()):
            if self.sessions.setdefault(alias, session) != session:
                self.reject(reasons.SEVERAL_SESSIONS)
        for store, stamps in list(other._stamps.items()):
            self._record_stamps(store, list(stamps.items()))
        self.record_expiry(other.expires)
        if other.rejection is not None:
            self.reject(*other.rejection)

    # Its end ------------------------------------------------------------------------------------------

    @property
    def stores(self) -> Mapping[Store, Mapping[bytes, bytes]]:
        """Of each store, the slots that were read, and the stamps that they held."""
        return self._stamps

    def is_current(self) -> bool:
        """Return whether all slots hold the stamps that were read, each store asked at one moment.

        Raises StoreUnavailable.
        """
        for store, stamps in list(self._stamps.items()):
            recorded = list(stamps.items())  # at one moment: a thread of the block may go on
            if store.look_up(None, [slot for slot, _ in recorded])[1] != [stamp for _, stamp in recorded]:
                return False
        return True

    def validate(self) -> Rejection | None:
        """Return why what was computed of these reads cannot be cached, or None: it may be stored under the stamps."""
        if self.rejection is None:
            try:
                if not self.is_current():
                    self.reject(reasons.WRITTEN_MEANWHILE)
            except StoreUnavailable:
                self.reject(reasons.STORE_UNAVAILABLE)
        return self.rejection


_current: ContextVar[Tracker | None] = ContextVar("ormcache_tracker", default=None)


def current_tracker() -> Tracker | None:
    """Return the tracker of the innermost block in which the running code is; None: it is in none."""
    tracker = _current.get()
    return None if tracker is None else tracker.find_open()


@contextmanager
def tracking(tracker: Tracker) -> Iterator[Tracker]:
    """Report the reads of this block to ``tracker``, and at its end to the tracker of the block around it."""
    around = current_tracker()
    tracker.begin(around)
    _current.set(tracker)
    try:
        yield tracker
    finally:
        tracker.end()
        if _current.get() is tracker:
            _current.set(around)
        else:
            # A block inside has not ended, or this one ends in the context of another task: it may lack some reads.
            tracker.reject(reasons.OVERLAPPING)
        outer = None if around is None else around.find_open()
        if outer is not None:
            outer.absorb(tracker)


@contextmanager
def tracked_by(tracker: Tracker | None) -> Iterator[None]:
    """Report the reads of this block to ``tracker`` alone; None: to none."""
    token = _current.set(tracker)
    try:
        yield
    finally:
        _current.reset(token)


def untracked() -> AbstractContextManager[None]:
    """Report nothing of this block: what runs in it is part of a read that is reported as a whole."""
    return tracked_by(None)


def _pairs(slots: Sequence[bytes], vector: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield each slot with its stamp."""
    for number, slot in enumerate(slots):
        yield slot, vector[number * STAMP_LENGTH : (number + 1) * STAMP_LENGTH]
