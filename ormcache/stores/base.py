"""The interface of a store, and the circuit breaker that all stores share.

A store holds three kinds of values under opaque byte names:

* **slots**, of relations and of rows: a *stamp* (17 bytes: ``b"S"``, 8 bytes of time, 8 random bytes), or *marks*
  (``b"M"`` followed by one 16-byte record per writer: its id and the end of its lease), or nothing;
* **entries**, the serialized results of queries, which may be lost at any time;
* **claims**, by which one process announces that it runs a query for all others. Claims save work and decide nothing
  about what is served: a store may lose them, or grant one to two processes.

The names of one database begin with the same ``PARTITION_LENGTH`` bytes, its *partition*. A store on several servers
may keep the names of one partition together, and so answer a lookup in one round trip; names of several partitions in
one call are rare, and take one for each.

The protocol of slots and entries (:mod:`ormcache.cache.stamps`) needs only the first six operations of :class:`Store`;
the next two are for claims (:mod:`ormcache.cache.single_flight`), the last two for health checks. An operation costs
one round trip where the server offers a way to do it in one.

A subclass implements the underscored hooks, raises whatever its client raises, and lists those types in ``errors``.
This class turns them into :class:`StoreUnavailable`, lets everything else through
(:mod:`ormcache.utils.interruptions`), and limits the cost of an outage to one timeout: a failure opens the breaker, and
until its back-off has passed every call fails at once, without touching the network.

**A store without room.** A store may refuse new values and still delete: a Redis or a memcached that is full and evicts
nothing, a full disk. :meth:`Store.mark` and :meth:`Store.settle` then empty the slots that they cannot write, which
invalidates whatever depends on them, and whoever cannot fill a slot stores nothing. A hook says so by
:class:`~ormcache.exceptions.StoreFull`, and where it has emptied slots that were to be settled by
:meth:`Store._record_refusal`: nobody has to do anything about these. After a refusal nothing is filled or stored for
``FULL_PAUSE`` (:mod:`ormcache.stores.room`), so that a full store is not asked at every read; marks and settling are
always tried. A store that refuses deletions too is away: the hook raises what its client raises.

**Slots of rows** are known by the length of their names (:func:`is_row_slot`). There may be any number of them, so a
store bounds the room that they take: it may forget a stamp at any time, and forgets one that nobody has written for
``ROW_SLOT_LIFETIME``, or lets several of them share one place, where a write to one changes what the others hold. It
never forgets a mark before its lease ends, and never gives back a stamp that was forgotten or replaced. In all else a
row slot is a slot like any other, and no number of them takes anything from the slots of relations.

Callers must use each stamp for one call only. The command of a call that failed may still wait in a server's socket
and run much later. With a stamp that is never read again that is harmless, but a stamp that is offered twice could
bring back entries from before a write.
"""

from __future__ import annotations

import errno
import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple, NoReturn, TypeVar, TypeVarTuple

from ormcache.conf import Config
from ormcache.exceptions import StoreBusy, StoreFull, StoreUnavailable
from ormcache.stores.info import ServerInfo, StoreInfo
from ormcache.stores.room import Room
from ormcache.utils.forks import at_fork
from ormcache.utils.interruptions import UNEXPECTED, let_through
from ormcache.utils.log_throttle import LogThrottle

logger = logging.getLogger("ormcache")

PARTITION_LENGTH = 2  # bytes at the beginning of a name that all names of one database share

STAMP = b"S"
STAMP_LENGTH = 17
MARK = b"M"
MARK_LENGTH = 16  # bytes of one mark: an 8-byte writer id and the end of its lease in microseconds, big-endian
WRITER_LENGTH = 8

ROW_SLOT_LENGTH = 17  # bytes of the name of a row slot; no other slot's name is so long
ROW_SLOT_LIFETIME = 3600  # seconds after which a store may forget a stamp in a row slot, if nobody writes it

MIN_BACK_OFF = 0.5  # seconds that the breaker stays open after the first failure
MAX_BACK_OFF = 30.0  # seconds; each further failure doubles the back-off up to this
#: Seconds that the breaker stays open at most after an answer: to ask again costs a round trip, and no timeout
MAX_BACK_OFF_ANSWERED = 2.0
MAX_OUTAGES = 20  # remembered per store

Args = TypeVarTuple("Args")
T = TypeVar("T")

#: How many slots at the end get another value in place of a stamp, and that value
Last = tuple[int, bytes]


class StoreOutage(NamedTuple):
    """A period in which the store did not answer this process."""

    began: float  # seconds since the epoch
    ended: float | None  # likewise; None: it has not ended
    error: str  # the type and the message of the first error


def is_stamp(value: bytes | None) -> bool:
    """Return whether the value of a slot is a stamp, rather than marks or nothing."""
    return value is not None and len(value) == STAMP_LENGTH and value[:1] == STAMP


def is_row_slot(slot: bytes) -> bool:
    """Return whether the name of a slot is that of a row slot."""
    return len(slot) == ROW_SLOT_LENGTH


def decode_marks(value: bytes | None) -> list[tuple[bytes, int]]:
    """Return the ``(writer, end of lease in microseconds)`` pairs in the value of a slot; none if it holds no marks."""
    if not value or not value.startswith(MARK) or (len(value) - 1) % MARK_LENGTH:
        return []
    return [
        (value[at : at + WRITER_LENGTH], int.from_bytes(value[at + WRITER_LENGTH : at + MARK_LENGTH], "big"))
        for at in range(1, len(value), MARK_LENGTH)
    ]


def add_mark(value: bytes | None, writer: bytes, now: int, lease_end: int) -> bytes:
    """Return the value of a slot with a mark for ``writer`` beside the marks of others that are alive at ``now``.

    Times are in microseconds.
    """
    return encode_marks([*_live_marks_of_others(value, writer, now), (writer, lease_end)])


def remove_mark(value: bytes | None, writer: bytes, now: int, stamp: bytes) -> bytes:
    """Return the value of a slot after ``writer`` has settled: the live marks of others, or else ``stamp``."""
    others = _live_marks_of_others(value, writer, now)
    return encode_marks(others) if others else stamp


def _live_marks_of_others(value: bytes | None, writer: bytes, now: int) -> list[tuple[bytes, int]]:
    """Return the marks in the value of a slot that are not ``writer``'s and whose lease ends after ``now``."""
    if not value or not value.startswith(MARK):
        return []  # as most slots are
    return [(other, end) for other, end in decode_marks(value) if end > now and other != writer]


def encode_marks(marks: Sequence[tuple[bytes, int]]) -> bytes:
    """Return the value of a slot that holds these ``(writer, end of lease in microseconds)`` pairs."""
    return MARK + b"".join(writer + end.to_bytes(8, "big") for writer, end in marks)


def last_lease_end(value: bytes) -> int:
    """Return the end of the last lease among the marks, in microseconds of the clock that they were written with."""
    return max(end for _, end in decode_marks(value))


def describe_error(error: Exception) -> str:
    """Return type and message of an error. The repr of redis-py's errors leaves out the message."""
    return f"{type(error).__name__}({str(error)!r})"


def back_off_after(failures: int, *, answered: bool = False) -> float:
    """Return for how many seconds to try nothing after a failure that followed on so many others in a row.

    ``answered``: the store has answered that it does not do what it was asked for.
    """
    return min(MIN_BACK_OFF * 2.0 ** min(failures, 16), MAX_BACK_OFF_ANSWERED if answered else MAX_BACK_OFF)


#: All stores of this process, for the fork hooks below; each store adds itself when it is made.
_stores: weakref.WeakSet[Store] = weakref.WeakSet()


class Store:
    """Base class of all stores: one store as seen by one process.

    Threads may share it; a child process opens its own connections. Public operations raise
    :class:`StoreUnavailable` and whatever interrupts them from outside, nothing else.
    """

    #: its name in ``ORMCACHE["STORE"]``
    kind: ClassVar[str]
    #: whether a lookup reads all of its slots at one moment
    reads_at_once: ClassVar[bool] = True
    #: the exceptions that the hooks raise when the store fails
    errors: ClassVar[tuple[type[Exception], ...]] = (StoreUnavailable, *UNEXPECTED)

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.RLock()  # held to change any of the following
        self._failures = 0  # in a row
        self._retry_at = 0.0  # a time of self._clock; calls before it fail at once
        self._prober: object = None  # identifies the one call that tries again while the others fail at once
        self._outages: deque[StoreOutage] = deque(maxlen=MAX_OUTAGES)
        #: the number of outages that this process has seen, including those no longer in ``outages``
        self.outage_count = 0
        self.room = Room(clock)
        self._full_log = LogThrottle()
        _stores.add(self)

    @property
    def location(self) -> str:
        """Where the store is according to the settings, for display and without passwords; may be empty."""
        return ""

    @property
    def is_answering(self) -> bool:
        """Whether the store answered the last call."""
        return not self._failures

    @property
    def is_full(self) -> bool:
        """Whether the store has refused the last new value that this process had for it, or for one of its servers."""
        return self.room.is_full

    @property
    def outages(self) -> list[StoreOutage]:
        """The last outages that this process has seen, oldest first."""
        return list(self._outages)

    # Making ---------------------------------------------------------------------

    @staticmethod
    def identity(config: Config) -> tuple[object, ...]:
        """Return what distinguishes stores of this kind: equal identities share one store in a process."""
        raise NotImplementedError

    @classmethod
    def from_config(cls, config: Config) -> Store:
        """Make a store for these settings; it connects when it is first used.

        Raises ImproperlyConfigured if the settings do not fit.
        """
        raise NotImplementedError

    # Operations -------------------------------------------------------------

    def look_up(self, entry: bytes | None, slots: Sequence[bytes]) -> tuple[bytes | None, list[bytes | None]]:
        """Return the entry (None: absent, or not asked for) and the value of every slot, in order, in one round trip.

        A slot whose leases have all ended reads as None.
        """
        if self._failures:
            return self._probe(self._look_up, entry, slots)
        try:
            return self._look_up(entry, slots)
        except self.errors as error:
            self._fail(error, 0)

    def fill_slots(self, slots: Sequence[bytes], stamp: bytes) -> list[bytes | None]:
        """Write ``stamp`` into those ``slots`` that are empty, never over a value, and return the values of all.

        Raises StoreFull if it was not written, or was not tried because the store had no room a moment ago.
        """
        self._check_room(slots)
        values = self._call_guarded(self._fill_slots, slots, stamp)
        if self.room.refusals:
            self._record_room(slots)
        return values

    def put_entry(self, entry: bytes, value: bytes, timeout: float | None) -> bool:
        """Store an entry for at most ``timeout`` seconds (None: until it is evicted). Return False if it does not fit.

        A store that counts whole seconds rounds down, but not below one. Raises StoreFull as :meth:`fill_slots` does.
        """
        if self.room.refusals:
            self._check_room(self._room_of(entry))
        is_stored = self._call_guarded(self._put_entry, entry, value, timeout)
        if is_stored and self.room.refusals:
            self._record_room(self._room_of(entry))
        return is_stored

    def mark(self, slots: Sequence[bytes], writer: bytes, lease: float, watch: bytes | None = None) -> bytes | None:
        """Mark every slot for ``writer`` for ``lease`` seconds, atomically per slot, beside the marks of others.

        A marked slot expires with its last lease. Return the value that the slot ``watch`` had before (None: it was
        empty, or no slot was named), read in the same round trip. Raises StoreFull if there was no room to mark some of
        them: these were emptied, the others are marked.
        """
        if self._failures:
            return self._probe(self._mark, slots, writer, lease, watch)
        try:
            return self._mark(slots, writer, lease, watch)
        except self.errors as error:
            self._fail(error, 0)

    def settle(
        self,
        slots: Sequence[bytes],
        writer: bytes,
        stamp: bytes,
        watch: bytes | None = None,
        last: Last | None = None,
    ) -> bytes | None:
        """Remove the marks of ``writer``, and write ``stamp`` into each slot that is left without live marks.

        A slot gets the stamp whatever it held before, and is emptied where there is no room for it. ``last``: how many
        slots at the end get another value in place of the stamp, and which; a store that does not change all slots at
        once begins with the very last one. Return the value of the slot ``watch``, which is not among ``slots``, as
        :meth:`mark` does.
        """
        if self._failures:
            return self._probe(self._settle, slots, writer, stamp, watch, last)
        try:
            return self._settle(slots, writer, stamp, watch, last)
        except self.errors as error:
            self._fail(error, 0)

    def delete_entries(self, entries: Sequence[bytes]) -> None:
        """Delete these entries, as far as they are there."""
        self._call_guarded(self._delete_entries, entries)

    def claim(self, name: bytes, owner: bytes, seconds: float) -> bytes:
        """Claim a name for ``owner`` for ``seconds`` unless another claim is alive, and return who holds it then.

        ``owner`` is also returned where the store has no room for the claim, and an empty value where another claim
        ended this moment. A store that counts whole seconds rounds up.
        """
        return self._call_guarded(self._claim, name, owner, seconds)

    def release(self, name: bytes, word: bytes, seconds: float) -> None:
        """Replace a claim, or whatever holds its name, by ``word`` for ``seconds``.

        The word says to those who wait for the claim what became of it. Where the store has no room for the word, the
        claim may stay.
        """
        self._call_guarded(self._release, name, word, seconds)

    def clear_slots(self, slots: Sequence[bytes]) -> None:
        """Delete the values of these slots, as an eviction would: the next reader fills them anew."""
        self._call_guarded(self._clear_slots, slots)

    def describe(self) -> StoreInfo:
        """Return what the servers of the store report about themselves."""
        return StoreInfo(self.kind, self._call_guarded(self._describe))

    def close(self) -> None:
        """Close connections and files, and free memory. The next operation opens them again."""

    @property
    def strict(self) -> Store:
        """The store that always asks the server, where this one may answer for slots from the process's memory."""
        return self

    # Hooks, one per operation. They raise ``errors`` -------------------------

    def _look_up(self, entry: bytes | None, slots: Sequence[bytes]) -> tuple[bytes | None, list[bytes | None]]:
        raise NotImplementedError

    def _fill_slots(self, slots: Sequence[bytes], stamp: bytes) -> list[bytes | None]:
        raise NotImplementedError

    def _put_entry(self, entry: bytes, value: bytes, timeout: float | None) -> bool:
        raise NotImplementedError

    def _mark(self, slots: Sequence[bytes], writer: bytes, lease: float, watch: bytes | None) -> bytes | None:
        raise NotImplementedError

    def _settle(
        self, slots: Sequence[bytes], writer: bytes, stamp: bytes, watch: bytes | None, last: Last | None
    ) -> bytes | None:
        raise NotImplementedError

    def _delete_entries(self, entries: Sequence[bytes]) -> None:
        raise NotImplementedError

    def _claim(self, name: bytes, owner: bytes, seconds: float) -> bytes:
        raise NotImplementedError

    def _release(self, name: bytes, word: bytes, seconds: float) -> None:
        raise NotImplementedError

    def _clear_slots(self, slots: Sequence[bytes]) -> None:
        raise NotImplementedError

    def _describe(self) -> tuple[ServerInfo, ...]:
        raise NotImplementedError

    def _reset(self) -> None:
        """Drop what has just failed, so that the next call opens it anew."""

    # Forks ----------------------------------------------------------------------

    def _before_fork(self) -> None:
        """Prepare for a fork, in the parent; locks that are taken here are released in :meth:`_after_fork`."""

    def _after_fork(self, in_child: bool) -> None:
        """Clean up after a fork, in the parent and in the child."""
        if in_child:
            self._lock = threading.RLock()  # a thread that does not exist here may have held it
            self._prober = None
            self.room.forget_lock()

    # The breaker ----------------------------------------------------------------

    @property
    def is_available(self) -> bool:
        """Whether a call would be tried; False while the breaker is open."""
        return not self._failures or self._clock() >= self._retry_at

    def _call_guarded(self, call: Callable[[*Args], T], *args: *Args) -> T:
        """Call a hook through the breaker. The three operations of hits and writes do the same themselves."""
        if self._failures:
            return self._probe(call, *args)
        try:
            return call(*args)
        except self.errors as error:
            self._fail(error, 0)

    def _probe(self, call: Callable[[*Args], T], *args: *Args) -> T:
        """Call a hook of a store that did not answer the last time, if the back-off is over and no other call does."""
        seen, prober = self._failures, object()
        try:
            if seen and not self._claim_probe(prober):
                raise StoreUnavailable(f"the {self.kind} store is away; it will be tried again")
            try:
                answer = call(*args)
            except self.errors as error:
                self._fail(error, seen)
        finally:
            if self._prober is prober:
                self._prober = None
        if seen:
            self._record_recovery()
        return answer

    def _fail(self, error: Exception, seen: int) -> NoReturn:
        """Record an error of the store and raise it as StoreUnavailable: the query goes on without the cache."""
        if isinstance(error, StoreBusy):
            raise error
        let_through(error)
        if isinstance(error, StoreFull):
            self._record_refusal(error.names, str(error))
            raise error
        self._record_failure(error, seen)
        if isinstance(error, StoreUnavailable):
            raise error
        raise StoreUnavailable(f"the {self.kind} store failed: {describe_error(error)}") from error

    def retry_now(self) -> None:
        """Let the next call try again, without waiting for the end of the back-off."""
        with self._lock:
            self._retry_at = 0.0

    def _claim_probe(self, prober: object) -> bool:
        """Return whether this caller may try again: one per back-off, while the others keep failing at once."""
        with self._lock:
            if self._prober is not None or self._clock() < self._retry_at:
                return False
            self._prober = prober
            return True

    def _record_failure(self, error: Exception, seen: int) -> None:
        """Open the breaker, or extend its back-off. ``seen``: the failures so far when the call began."""
        with self._lock:
            counts = self._failures == seen  # or else another thread has recorded this failure already
            if counts:
                self._failures += 1
                self._retry_at = self._clock() + back_off_after(seen, answered=self._is_answer(error))
                if not seen:
                    self.outage_count += 1
                    self._outages.append(StoreOutage(time.time(), None, describe_error(error)))
        self._reset()
        if counts and not seen:
            logger.warning("the %s store is away, reads go to the database: %s", self.kind, describe_error(error))

    def _record_recovery(self) -> None:
        """Close the breaker, and the outage with it."""
        now, lasted = time.time(), 0.0
        with self._lock:
            self._failures = 0
            if self._outages and self._outages[-1].ended is None:
                outage = self._outages[-1]
                lasted = now - outage.began
                self._outages[-1] = outage._replace(ended=now)
        logger.warning("the %s store answers again, after %.1f s", self.kind, lasted)

    def _is_answer(self, error: Exception) -> bool:
        """Return whether an error says that the store denies what it was asked for, which took it no time."""
        return isinstance(error, OSError) and error.errno in _DENIALS

    # Room ---------------------------------------------------------------------------

    def _place_of(self, name: bytes) -> bytes:
        """Return which part of the store a name is in, if some of its servers may be full and others not."""
        return b""

    def _places_of(self, names: Sequence[bytes]) -> set[bytes]:
        return set(map(self._place_of, names))

    def _room_of(self, entry: bytes) -> Sequence[bytes]:
        """Return the names that have to have had room of late for an entry to be tried."""
        return (entry,)

    def _check_room(self, names: Sequence[bytes]) -> None:
        """Raise StoreFull for names of which one is where there was no room a moment ago."""
        if self.room.refusals and self.room.is_paused(self._places_of(names)):
            raise StoreFull(f"the {self.kind} store is full; it will be tried again")

    def _record_refusal(self, names: Sequence[bytes], error: str) -> None:
        """Record that there was no room for new values under these names; none: anywhere."""
        begins = self.room.record_refusal(self._places_of(names))
        suffix = self._full_log.due() if begins else None
        if suffix is not None:
            logger.warning(
                "the %s store takes no new values, so what it lacks is read from the database: %s%s",
                self.kind,
                error,
                suffix,
            )

    def _record_room(self, names: Sequence[bytes]) -> None:
        """Record that new values were stored under these names."""
        lasted = self.room.record_room(self._places_of(names))
        if lasted is not None:
            logger.info("the %s store takes new values again, after %.1f s", self.kind, lasted)


#: What the system answers for a file system that is read-only, full or somebody else's
_DENIALS = frozenset({errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM})


def _before_fork() -> None:
    for store in list(_stores):
        store._before_fork()


def _after_fork_in_parent() -> None:
    for store in list(_stores):
        store._after_fork(in_child=False)


def _after_fork_in_child() -> None:
    for store in list(_stores):
        store._after_fork(in_child=True)


at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
