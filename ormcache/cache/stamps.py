"""The protocol: when a stored result may be served.

A relation's *slot* holds the stamp of its last write. A result is stored together with the *vector* of the stamps of
all relations that it depends on, as they were BEFORE its query ran, and is served only while every one of them is
unchanged, byte for byte. A writer marks its slots before it commits and settles them after: from its mark on, nothing
that was read earlier is served, and nothing that is read meanwhile is stored.

``docs/how-it-works.md`` has the proof. Stamps are compared for equality alone; no clock decides anything but how long a
mark outlives a writer that died.
"""

from __future__ import annotations

import os
import struct
import time
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ormcache.cache.keys import KEY_LENGTH, name_beside, partition_of
from ormcache.cache.serializer import Unreadable, mac, verify
from ormcache.exceptions import StoreFull
from ormcache.stores.base import ROW_SLOT_LENGTH, STAMP, STAMP_LENGTH, WRITER_LENGTH, Last, Store, is_stamp

#: The format of entries and slots: part of every name, so that another format is another namespace
FORMAT = b"6"

#: Seconds since the epoch: no datetime is later, and anyone can have written a stamp
_LAST_MOMENT = 253_402_300_799.0

_HEADER = b"oc2"
# An entry: header, checksum of the rest, expiry, lengths of the names of row slots and of the vector, those names, the
# vector, serialized rows. Integers are big-endian; the expiry is in microseconds since the epoch, zero for none.
_CHECKSUM = slice(3, 7)
_EXPIRY = slice(7, 15)
_LENGTHS = struct.Struct(">II")
_LENGTHS_AT = 15
_PREAMBLE = 23  # bytes before the names
_LENGTHS_OF_NAMES = frozenset({KEY_LENGTH, ROW_SLOT_LENGTH})


def new_stamp() -> bytes:
    """Return a stamp that no slot has ever held. Its time serves people, never an ordering."""
    return STAMP + (time.time_ns() // 1000).to_bytes(8, "big") + os.urandom(8)


def new_writer() -> bytes:
    """Return an id that no other write has."""
    return os.urandom(WRITER_LENGTH)


def time_of(stamp: bytes) -> float:
    """Return when a stamp was made: seconds since the epoch, by the clock of the writer's host."""
    return min(int.from_bytes(stamp[1:9], "big") / 1e6, _LAST_MOMENT)


class LookupResult(NamedTuple):
    """What a lookup of an entry and its slots returned."""

    #: the serialized result, if it may be served
    data: bytes | None
    #: the stamps of the relations' slots under which a result that is read from now on may be stored; None while one of
    #: them is marked: it may not
    vector: bytes | None
    #: the value of the first slot, which is the epoch's
    epoch: bytes | None
    #: whether the entry cannot be read
    damaged: bool = False
    #: whether there is an entry that may not be served
    invalidated: bool = False
    #: when the entry expires, in seconds since the epoch
    expires: float | None = None
    #: the vector that the entry was stored under
    before: bytes | None = None
    #: whether slots were empty, so that it is not known what was written
    filled: bool = False
    #: whether slots were empty and the store had no room to fill them
    denied: bool = False
    #: the same as ``vector`` for the slots that every entry depends on and the row slots that were asked for; None
    #: also where none were
    row_vector: bytes | None = None
    #: the row slots that the entry depends on, besides those that every entry depends on; None: on all of its relations
    rows: tuple[bytes, ...] | None = None
    #: of an entry that may not be served and depends on rows: the stamps that its slots hold now; None: one holds none
    now: bytes | None = None


class EntryInspection(NamedTuple):
    """What a store holds for an entry and its slots, for people.

    ``held``: the values of the slots. ``size``: bytes of the entry as it is stored; None: there is none. ``stamps``:
    those that it is stored under; None: it is damaged. ``expires``: seconds since the epoch. ``rows``: the row slots
    that the entry depends on beside the first ``shared`` slots, in place of the others; None: on all of ``held``.
    ``held_by_rows``: their values.
    """

    held: list[bytes | None]
    size: int | None = None
    stamps: list[bytes] | None = None
    expires: float | None = None
    rows: tuple[bytes, ...] | None = None
    held_by_rows: Sequence[bytes | None] = ()

    def current(self, count: int, shared: int) -> list[bytes | None]:
        """Return the values of all slots that the entry depends on: of the first ``count``, or of rows."""
        return self.held[:count] if self.rows is None else [*self.held[:shared], *self.held_by_rows]


class OutdatedEntry(NamedTuple):
    """An entry that need not be valid any more."""

    data: bytes  # the serialized result
    vector: bytes  # that it was stored under


class Stamps:
    """The slots and entries of one database in one store. Threads share it; it has no state of a connection."""

    def __init__(
        self,
        store: Store,
        identity: bytes,
        *,
        lease: float = 60.0,  # seconds, longer than any COMMIT
        signing_key: bytes | None = None,
        on_stamped: Callable[[Sequence[bytes]], None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``identity``: of the database. ``signing_key``: for the MACs of entries; None: they have none.

        ``on_stamped``: called with slots after the store has given them fresh stamps for a write.
        """
        self.store = store
        self._identity = identity
        #: what the names of its slots, entries and claims begin with
        self.partition = partition_of(identity)
        self._lease = lease
        self._signing_key = signing_key
        self._on_stamped = on_stamped
        self._clock = clock

    def slot(self, relation: str, identity: bytes | None = None) -> bytes:
        """Return the name of a relation's slot, which all applications on a database share, whatever their version.

        ``identity``: of the other database that the relation belongs to; None: it belongs to this one.
        """
        partition = self.partition if identity is None else partition_of(identity)
        return name_beside(partition, FORMAT, identity or self._identity, relation.encode())

    # Reading ------------------------------------------------------------------

    def look_up(
        self, entry: bytes | None, slots: Sequence[bytes], rows: tuple[bytes, ...] = (), shared: int = 1
    ) -> LookupResult:
        """Look up an entry and its slots: in one round trip, and another one to fill the slots that are empty.

        ``entry``: None looks up the slots alone. ``slots``: of relations, the epoch's first. ``rows``: the row slots
        that the result may depend on instead, beside the first ``shared`` of ``slots``. An entry that depends on other
        row slots costs one more round trip. Raises StoreUnavailable.
        """
        value, held = self.store.look_up(entry, (*slots, *rows) if rows else slots)
        vector = _vector(held[: len(slots)] if rows else held)
        if value is None or entry is None:
            if vector is not None and not rows:
                return LookupResult(None, vector, held[0])
            return self._begin(held, slots, rows, shared)

        # The entry, by the slots that it depends on
        row_vector = _vector(held[:shared] + held[len(slots) :]) if rows else None
        try:
            names, before, end, value = self._open(entry, value)
            under, own = vector, None
            if names:
                own = _split_slots(names)
                if own == rows:
                    under = row_vector
                else:
                    _verify_checksum(value)  # before the store is asked for what stands in it
                    under = self._row_vector(held[:shared], own)
            if under is not None and before == under:
                data, expires = self._result(value, end)
                if data is not None:
                    return LookupResult(
                        data, vector, held[0], expires=expires, before=before, row_vector=row_vector, rows=own
                    )
                found = self._begin(held, slots, rows, shared)
                return found._replace(invalidated=True, expires=expires, rows=own)
        except Unreadable:
            return self._begin(held, slots, rows, shared)._replace(damaged=True)
        found = self._begin(held, slots, rows, shared)
        return found._replace(invalidated=True, before=before, rows=own, now=under if names else None)

    def _row_vector(self, shared: list[bytes | None], rows: tuple[bytes, ...]) -> bytes | None:
        """Return the stamps of the slots that every entry depends on and of these row slots; None: one holds none."""
        return None if _vector(shared) is None else _vector(shared + self.store.look_up(None, rows)[1])

    def _begin(
        self, held: list[bytes | None], slots: Sequence[bytes], rows: tuple[bytes, ...], shared: int
    ) -> LookupResult:
        """Return what a lookup found whose entry may not be served. Fill the empty slots if that allows to store one.

        An empty slot begins anew: whatever depends on it is older.
        """
        count, filled, denied = len(slots), False, False
        if None in held and (
            not any(map(_is_marked, held[:count]))
            or (rows and not any(map(_is_marked, held[:shared])) and not any(map(_is_marked, held[count:])))
        ):
            try:
                held = self.store.fill_slots((*slots, *rows), new_stamp())
                filled = True
            except StoreFull:
                denied = True  # nothing is stored under slots that stay empty
        row_vector = _vector(held[:shared] + held[count:]) if rows else None
        return LookupResult(None, _vector(held[:count]), held[0], filled=filled, denied=denied, row_vector=row_vector)

    def inspect(self, entry: bytes | None, slots: Sequence[bytes]) -> EntryInspection:
        """Return what the store holds for an entry and its slots, without changing it. Raises StoreUnavailable."""
        value, held = self.store.strict.look_up(entry, slots)
        if value is None or entry is None:
            return EntryInspection(held)
        try:
            names, vector, _, opened = self._open(entry, value)
        except Unreadable:
            return EntryInspection(held, len(value))
        try:
            rows = _split_slots(names) if names else None
        except Unreadable:
            return EntryInspection(held, len(value))
        by_rows = () if rows is None else self.store.strict.look_up(None, rows)[1]
        stamps = [vector[at : at + STAMP_LENGTH] for at in range(0, len(vector), STAMP_LENGTH)]
        expiry = int.from_bytes(opened[_EXPIRY], "big")
        return EntryInspection(held, len(value), stamps, expiry / 1e6 if expiry else None, rows, by_rows)

    def read_outdated(self, entry: bytes, shared: Sequence[bytes]) -> OutdatedEntry | None:
        """Return an entry whatever its slots hold now, unless it has expired; None: there is none.

        ``shared``: the slots that every entry of its kind depends on. For callers that have to say what they serve.
        Raises StoreUnavailable, and Unreadable for one that is damaged.
        """
        value, _ = self.store.look_up(entry, shared)
        if value is None:
            return None
        _, vector, end, value = self._open(entry, value)
        data, _ = self._result(value, end)
        return None if data is None else OutdatedEntry(data, vector)

    def has_changed(
        self,
        entry: bytes,
        slots: Sequence[bytes],
        vector: bytes,
        rows: tuple[bytes, ...] = (),
        shared: int = 1,
    ) -> bool:
        """Return whether an entry that was missed under ``vector`` is there by now, or the vector is another one.

        The vector is that of the row slots where there are some. Raises StoreUnavailable.
        """
        found = self.look_up(entry, slots, rows, shared)
        return found.data is not None or (found.row_vector if rows else found.vector) != vector

    def store_entry(
        self, entry: bytes, vector: bytes, data: bytes, timeout: float | None, rows: Sequence[bytes] = ()
    ) -> bool:
        """Store a serialized result under the vector that was read before its query ran.

        ``timeout``: seconds; None: until a write. ``rows``: the row slots that it depends on. Returns False if it is
        too large for the store. Raises StoreUnavailable.
        """
        expiry = 0 if timeout is None else int((self._clock() + timeout) * 1e6)
        names = _join_slots(rows)
        lengths = _LENGTHS.pack(len(names), len(vector))
        rest = expiry.to_bytes(8, "big") + lengths + names + vector + data
        body = _HEADER + zlib.crc32(rest).to_bytes(4, "big") + rest
        if self._signing_key is not None:
            body = mac(self._signing_key, entry, body) + body
        return self.store.put_entry(entry, body, timeout)

    def remove_entry(self, entry: bytes) -> None:
        """Remove an entry that turned out to be damaged. Raises StoreUnavailable."""
        self.store.delete_entries([entry])

    def _open(self, entry: bytes, value: bytes) -> tuple[bytes, bytes, int, bytes]:
        """Return the names of the row slots in an entry, its vector, where its rows begin, and it without its MAC.

        Raises Unreadable.
        """
        if self._signing_key is not None:
            value = verify(self._signing_key, entry, value)
        if len(value) < _PREAMBLE or value[:3] != _HEADER:
            raise Unreadable("not an entry")
        names, stamps = _LENGTHS.unpack_from(value, _LENGTHS_AT)
        middle = _PREAMBLE + names
        end = middle + stamps
        if end > len(value) or stamps % STAMP_LENGTH:
            raise Unreadable("damaged")
        return value[_PREAMBLE:middle], value[middle:end], end, value

    def _result(self, value: bytes, end: int) -> tuple[bytes | None, float | None]:
        """Return the rows in an entry whose vector is right, None if they have expired, and when they expire.

        Raises Unreadable.
        """
        _verify_checksum(value)
        expiry = int.from_bytes(value[_EXPIRY], "big")
        if not expiry:
            return value[end:], None
        expires = expiry / 1e6
        return (value[end:] if expires > self._clock() else None), expires

    # Writing ------------------------------------------------------------------

    def mark(
        self,
        slots: Sequence[bytes],
        watch: bytes | None = None,
        *,
        lease: float | None = None,
        writer: bytes | None = None,
    ) -> tuple[bytes, bytes | None]:
        """Mark the slots for a writer. Returns the writer's id and what the slot ``watch`` holds.

        ``lease``: seconds; None: the one that is set. ``writer``: one that has marked before; None: a new one. If this
        raises StoreUnavailable, the marks may or may not have been made; they expire by themselves. StoreFull: slots
        without room for a mark were emptied, and what is stored under them from now on may be from before the write.
        """
        writer = writer or new_writer()
        return writer, self.store.mark(slots, writer, self._lease if lease is None else lease, watch)

    def mark_more(self, slots: Sequence[bytes], writer: bytes) -> None:
        """Mark further slots for the same writer. Raises StoreUnavailable, as :meth:`mark` does."""
        self.store.mark(slots, writer, self._lease)

    def settle(
        self, slots: Sequence[bytes], writer: bytes, watch: bytes | None = None, last: Last | None = None
    ) -> bytes | None:
        """Replace the writer's marks by a fresh stamp. Returns what the slot ``watch`` holds.

        ``last``: how many slots at the end stand for no relations and get another value, and which.

        If this raises StoreUnavailable, the marks expire by themselves.
        """
        watched = self.store.settle(slots, writer, new_stamp(), watch, last)
        if self._on_stamped is not None:
            self._on_stamped(slots if last is None else slots[: -last[0]])
        return watched

    def renew(self, slots: Sequence[bytes]) -> bytes:
        """Give the slots a fresh stamp without a mark, for writes that are visible already. Return it.

        Raises StoreUnavailable.
        """
        stamp = new_stamp()
        self.store.settle(slots, new_writer(), stamp)
        if self._on_stamped is not None:
            self._on_stamped(slots)
        return stamp


def _join_slots(rows: Sequence[bytes]) -> bytes:
    """Return the names of row slots one behind the other, each with its length before it."""
    return b"".join([bytes((len(name),)) + name for name in rows])


def _split_slots(names: bytes) -> tuple[bytes, ...]:
    """Return the names that :func:`_join_slots` has joined. Raises Unreadable."""
    found, at = [], 0
    while at < len(names):
        end = at + 1 + names[at]
        found.append(names[at + 1 : end])
        at = end
    if at != len(names) or not _LENGTHS_OF_NAMES.issuperset(map(len, found)):
        raise Unreadable("damaged")
    return tuple(found)


def _verify_checksum(value: bytes) -> None:
    """Raise Unreadable for an entry that is not as it was stored."""
    if zlib.crc32(memoryview(value)[_CHECKSUM.stop :]) != int.from_bytes(value[_CHECKSUM], "big"):
        raise Unreadable("damaged")


def first_changed_slot(before: bytes, now: bytes) -> int | None:
    """Return the index of the slot that changed first between two vectors of the same slots.

    That is by the clocks of the writers' hosts, so it serves people. None: the vectors are equal, or of other slots.
    """
    if len(before) != len(now):
        return None
    changes = [
        (time_of(now[at : at + STAMP_LENGTH]), at)
        for at in range(0, len(now), STAMP_LENGTH)
        if now[at : at + STAMP_LENGTH] != before[at : at + STAMP_LENGTH]
    ]
    return min(changes)[1] // STAMP_LENGTH if changes else None


def _vector(held: Sequence[bytes | None]) -> bytes | None:
    """Return the stamps of the slots as one vector; None if a slot holds no stamp."""
    for value in held:
        if value is None or len(value) != STAMP_LENGTH or value[:1] != STAMP:
            return None
    return b"".join(held)  # type: ignore[arg-type]  # the loop has returned for None


def _is_marked(value: bytes | None) -> bool:
    return value is not None and not is_stamp(value)
