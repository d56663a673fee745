"""What every store can do, and how all of them fail.

A store holds three kinds of things under opaque byte names:

* **slots**, one per relation: a *stamp* (17 bytes: ``b"S"``, 8 bytes of time, 8 random ones), or *marks* (``b"M"``
  followed by one 16-byte record per writer: its id and the end of its lease), or nothing;
* **entries**, the encoded results of queries, which may be lost at any time;
* **claims**, each the word of one process that runs a query for all others. They save work and decide nothing about
  what is served: a store may lose them, or let two processes have one.

The rules by which slots and entries are read and written (:mod:`ormcache.stamps`) need only the first six operations of
:class:`Store`; the next two are for claims (:mod:`ormcache.flights`), the last two for those who look after it.
Every operation costs one round trip where the server has a way to do it in one.

A subclass implements the underscored hooks and raises whatever its client raises; this class turns all of it
into :class:`StoreUnavailable` and keeps a store that is away from costing more than one timeout: after a failure
the breaker opens, and until its back-off has passed every call fails at once without touching the network.

What callers must keep to: a stamp is used for one call only. After a call that failed, its command may still sit in
a server's socket and run much later; with a stamp that nobody ever reads again that does no harm, while one that
is offered twice could bring back entries from before a write.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple, TypeVar, TypeVarTuple

from ormcache.stores.facts import ServerFacts, StoreFacts

logger = logging.getLogger("ormcache")

STAMP = b"S"
STAMP_LENGTH = 17
MARK = b"M"
MARK_RECORD = 16  # bytes: an 8-byte writer id and the end of its lease, big-endian microseconds
WRITER_LENGTH = 8

FIRST_BACK_OFF = 0.5  # seconds that the breaker stays open after the first failure
MOST_OUTAGES = 20  # that are remembered
LONGEST_BACK_OFF = 30.0  # seconds; the back-off doubles up to here while failures go on

Args = TypeVarTuple("Args")
T = TypeVar("T")


class StoreUnavailable(Exception):
    """The store did not do what it was asked for: away, too slow, full, refused or damaged.

    After a failed ``mark``, ``settle`` or ``put`` the change may or may not have happened.
    """


class StoreBusy(StoreUnavailable):
    """The store answers, but others changed the same slot again and again. Does not open the breaker."""


class Outage(NamedTuple):
    """A time in which the store did not answer this process."""

    began: float  # seconds since the epoch
    ended: float | None  # None: it goes on
    error: str


def is_stamp(value: bytes | None) -> bool:
    return value is not None and len(value) == STAMP_LENGTH and value[:1] == STAMP


def marks_of(value: bytes | None) -> list[tuple[bytes, int]]:
    """The ``(writer, lease end in microseconds)`` pairs of a slot's value; empty for anything but marks."""
    if not value or not value.startswith(MARK) or (len(value) - 1) % MARK_RECORD:
        return []
    return [
        (value[at : at + WRITER_LENGTH], int.from_bytes(value[at + WRITER_LENGTH : at + MARK_RECORD], "big"))
        for at in range(1, len(value), MARK_RECORD)
    ]


def with_mark(value: bytes | None, writer: bytes, now: int, lease_end: int) -> bytes:
    """The marks of ``value`` that are alive at ``now``, and one more for ``writer``."""
    return encode_marks([*_others(value, writer, now), (writer, lease_end)])


def without_mark(value: bytes | None, writer: bytes, now: int, stamp: bytes) -> bytes:
    """What a slot holds once ``writer`` has settled: the living marks of others, or else the fresh ``stamp``."""
    others = _others(value, writer, now)
    return encode_marks(others) if others else stamp


def _others(value: bytes | None, writer: bytes, now: int) -> list[tuple[bytes, int]]:
    if not value or not value.startswith(MARK):
        return []  # as most slots are
    return [(other, end) for other, end in marks_of(value) if end > now and other != writer]


def encode_marks(marks: Sequence[tuple[bytes, int]]) -> bytes:
    return MARK + b"".join(writer + end.to_bytes(8, "big") for writer, end in marks)


def last_lease_end(value: bytes) -> int:
    """Microseconds, on the clock that the marks were written with."""
    return max(end for _, end in marks_of(value))


#: Every store of this process, for the fork hooks below. Stores add themselves when they are made.
_stores: weakref.WeakSet[Store] = weakref.WeakSet()


class Store:
    """One store as one process sees it. Threads may share it; a child process opens its own connections.

    Every public operation raises :class:`StoreUnavailable` and nothing else.
    """

    #: the name that ``ORMCACHE["STORE"]`` knows it by
    kind: ClassVar[str]

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()  # guards the three fields below when they change
        self._failures = 0
        self._closed_until = 0.0  # a time of self._clock; calls before it fail at once
        self._probing = False
        self._outages: deque[Outage] = deque(maxlen=MOST_OUTAGES)
        #: outages that this process has met, those that are forgotten among them
        self.outages_met = 0
        _stores.add(self)

    @property
    def answers(self) -> bool:
        """Did it answer when it was last asked?"""
        return not self._failures

    @property
    def outages(self) -> list[Outage]:
        """The last ones that this process has met, oldest first."""
        return list(self._outages)

    # Operations -------------------------------------------------------------

    def look_up(self, entry: bytes | None, slots: Sequence[bytes]) -> tuple[bytes | None, list[bytes | None]]:
        """The entry (None: absent, or not asked for) and the value of every slot, in order, in one round trip.

        A slot whose marks have all outlived their leases reads as None.
        """
        return self._guarded(self._look_up, entry, slots)

    def fill(self, slots: Sequence[bytes], stamp: bytes) -> list[bytes | None]:
        """Add ``stamp`` to those ``slots`` that hold nothing, never over a value; then read all of them back."""
        return self._guarded(self._fill, slots, stamp)

    def put(self, entry: bytes, value: bytes, timeout: float | None) -> bool:
        """Keep ``value`` for at most ``timeout`` seconds (None: until it is evicted). False: there is no room for it.

        A store that counts whole seconds rounds down, but not below one.
        """
        return self._guarded(self._put, entry, value, timeout)

    def mark(self, slots: Sequence[bytes], writer: bytes, lease: float, watch: bytes | None = None) -> bytes | None:
        """Mark every slot for ``writer`` for ``lease`` seconds, atomically per slot, beside the marks of others.

        A marked slot expires with its last lease. Returns the value that the slot ``watch`` had before (None: it
        was empty, or none was named), read in the same round trip.
        """
        return self._guarded(self._mark, slots, writer, lease, watch)

    def settle(self, slots: Sequence[bytes], writer: bytes, stamp: bytes, watch: bytes | None = None) -> bytes | None:
        """Take ``writer``'s marks away; a slot without living marks of others gets ``stamp``, whatever it held.

        Returns the value of the slot ``watch``, which is none of ``slots``, as :meth:`mark` does.
        """
        return self._guarded(self._settle, slots, writer, stamp, watch)

    def remove(self, entries: Sequence[bytes]) -> None:
        """Forget these entries."""
        self._guarded(self._remove, entries)

    def claim(self, name: bytes, owner: bytes, seconds: float) -> bytes:
        """Put ``owner`` under this name for ``seconds``, unless something that is alive is there. Returns what is then.

        ``owner``: the claim is had, or the store has no room for it. Empty: somebody else's word ended just now. A
        store that counts whole seconds rounds up.
        """
        return self._guarded(self._claim, name, owner, seconds)

    def release(self, name: bytes, word: bytes, seconds: float) -> None:
        """Put ``word`` in the place of a claim for ``seconds``, whatever is there.

        It is for those who wait: they learn what became of it. Without room for the word, the claim may stay.
        """
        self._guarded(self._release, name, word, seconds)

    def empty(self, slots: Sequence[bytes]) -> None:
        """Take away what these slots hold, as if it had been evicted: who reads begins anew."""
        self._guarded(self._empty, slots)

    def describe(self) -> StoreFacts:
        """What the store tells of itself, for people."""
        return StoreFacts(self.kind, self._guarded(self._describe))

    def close(self) -> None:
        """Give back connections, files and memory. The next operation opens them again."""

    @property
    def strict(self) -> Store:
        """The store itself, where this one may answer for slots from the process's memory."""
        return self

    # Hooks, one per operation ------------------------------------------------

    def _look_up(self, entry: bytes | None, slots: Sequence[bytes]) -> tuple[bytes | None, list[bytes | None]]:
        raise NotImplementedError

    def _fill(self, slots: Sequence[bytes], stamp: bytes) -> list[bytes | None]:
        raise NotImplementedError

    def _put(self, entry: bytes, value: bytes, timeout: float | None) -> bool:
        raise NotImplementedError

    def _mark(self, slots: Sequence[bytes], writer: bytes, lease: float, watch: bytes | None) -> bytes | None:
        raise NotImplementedError

    def _settle(self, slots: Sequence[bytes], writer: bytes, stamp: bytes, watch: bytes | None) -> bytes | None:
        raise NotImplementedError

    def _remove(self, entries: Sequence[bytes]) -> None:
        raise NotImplementedError

    def _claim(self, name: bytes, owner: bytes, seconds: float) -> bytes:
        raise NotImplementedError

    def _release(self, name: bytes, word: bytes, seconds: float) -> None:
        raise NotImplementedError

    def _empty(self, slots: Sequence[bytes]) -> None:
        raise NotImplementedError

    def _describe(self) -> tuple[ServerFacts, ...]:
        raise NotImplementedError

    def _reset(self) -> None:
        """Drop what just failed, so that the next call opens it anew."""

    # Forks ----------------------------------------------------------------------

    def _before_fork(self) -> None:
        """Runs in the parent; whatever lock is taken here is given back in :meth:`_after_fork`."""

    def _after_fork(self, in_child: bool) -> None:
        if in_child:
            self._lock = threading.Lock()  # a thread that does not exist here may have held it
            self._probing = False

    # The breaker ----------------------------------------------------------------

    @property
    def available(self) -> bool:
        """False while the breaker is open."""
        return not self._failures or self._clock() >= self._closed_until

    def _guarded(self, call: Callable[[*Args], T], *args: *Args) -> T:
        seen = self._failures
        if seen and not self._may_probe():
            raise StoreUnavailable(f"the {self.kind} store is away; it will be tried again")
        try:
            answer = call(*args)
        except StoreBusy:
            raise
        except Exception as error:
            # Whatever a client or a foreign byte makes a store raise, the query goes on without the cache.
            self._failed(error, seen)
            if isinstance(error, StoreUnavailable):
                raise
            raise StoreUnavailable(f"the {self.kind} store failed: {error!r}") from error
        finally:
            if seen:
                self._probing = False
        if seen:
            self._recovered()
        return answer

    def wake(self) -> None:
        """The next call tries, however short ago the last failure was."""
        with self._lock:
            self._closed_until = 0.0

    def _may_probe(self) -> bool:
        """One caller a back-off may try again; the others keep failing at once meanwhile."""
        with self._lock:
            if self._probing or self._clock() < self._closed_until:
                return False
            self._probing = True
            return True

    def _failed(self, error: Exception, seen: int) -> None:
        with self._lock:
            counted = self._failures == seen  # or else another thread has counted this outage already
            if counted:
                self._failures += 1
                back_off = min(FIRST_BACK_OFF * 2 ** min(seen, 16), LONGEST_BACK_OFF)
                self._closed_until = self._clock() + back_off
                if not seen:
                    self.outages_met += 1
                    self._outages.append(Outage(time.time(), None, repr(error)))
        self._reset()
        if counted and not seen:
            logger.warning("the %s store is away, reads go to the database: %r", self.kind, error)

    def _recovered(self) -> None:
        now, lasted = time.time(), 0.0
        with self._lock:
            self._failures = 0
            if self._outages:
                outage = self._outages.pop()
                lasted = now - outage.began
                self._outages.append(outage._replace(ended=now))
        logger.warning("the %s store answers again, after %.1f s", self.kind, lasted)


def _before_fork() -> None:
    for store in list(_stores):
        store._before_fork()


def _after_fork_in_parent() -> None:
    for store in list(_stores):
        store._after_fork(in_child=False)


def _after_fork_in_child() -> None:
    for store in list(_stores):
        store._after_fork(in_child=True)


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
