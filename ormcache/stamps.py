"""The protocol: when a cached result may be served.

A relation's *slot* holds the stamp of its last write. A result is kept together with the *vector* of the stamps of all
relations that it depends on, as they were BEFORE its query ran, and is served only while every one of them is
unchanged, byte for byte. A writer marks its slots before it commits and settles them after: from its mark on nothing
that was read earlier is served, and nothing that is read meanwhile is kept.

The argument is in ``docs/how-it-works.md``. Stamps are compared for equality alone; no clock decides anything but
how long a mark outlives a writer that died.
"""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ormcache.keys import digest
from ormcache.rows import Unreadable, mac, verified
from ormcache.stores.base import STAMP, STAMP_LENGTH, WRITER_LENGTH, Store, is_stamp

#: Part of every name: another format is another namespace
FORMAT = b"1"

_HEADER = b"oc1"
# An entry: header, checksum of the rest, expiry, number of bytes of the vector, vector, encoded rows. Integers are
# big-endian; the expiry is in microseconds since the epoch, zero for none.
_CHECKSUM = slice(3, 7)
_EXPIRY = slice(7, 15)
_LENGTH = slice(15, 19)
_PREAMBLE = 19  # bytes before the vector


def new_stamp() -> bytes:
    """A stamp that no slot has ever held. Its time serves people, never an ordering."""
    return STAMP + (time.time_ns() // 1000).to_bytes(8, "big") + os.urandom(8)


def time_of(stamp: bytes) -> float:
    """Seconds since the epoch, by the clock of the writer's host."""
    return int.from_bytes(stamp[1:9], "big") / 1e6


class Found(NamedTuple):
    """What a look-up brought.

    ``data``: the encoded result if it may be served. ``vector``: the stamps to keep a result under that is read from
    now on; None while a slot is marked (nothing may be kept). ``epoch``: the first slot's value. ``expires``: when the
    result does, seconds since the epoch. ``retired``: there was a result that may not be served. ``before``: the vector
    that it was kept under, if that is another one. ``filled``: slots were empty, so it is not known what was written.
    """

    data: bytes | None
    vector: bytes | None
    epoch: bytes | None
    damaged: bool = False
    retired: bool = False
    expires: float | None = None
    before: bytes | None = None
    filled: bool = False


class Inspected(NamedTuple):
    """What a store has.

    ``held``: the values of the slots. ``size``: of the entry as it is stored, bytes; None: there is none. ``kept``: the
    stamps that it is kept under; None: it is damaged. ``expires``: seconds since the epoch.
    """

    held: list[bytes | None]
    size: int | None = None
    kept: list[bytes] | None = None
    expires: float | None = None


class Stamps:
    """The slots and entries of one database in one store. Threads share it; it holds no state of a connection."""

    def __init__(
        self,
        store: Store,
        identity: bytes,
        *,
        lease: float = 60.0,  # seconds, longer than any COMMIT
        signing_key: bytes | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.store = store
        self._identity = identity
        self._lease = lease
        self._signing_key = signing_key
        self._clock = clock

    def slot(self, relation: str, identity: bytes | None = None) -> bytes:
        """The name of a relation's slot: all applications on a database share it, whatever their version.

        ``identity``: of another database, whose relation it is.
        """
        return digest(FORMAT, identity or self._identity, relation.encode())

    # Reading ------------------------------------------------------------------

    def look_up(self, entry: bytes | None, slots: Sequence[bytes]) -> Found:
        """R2 to R4: one round trip for the entry and its slots, one more where slots are empty.

        ``slots[0]`` is the epoch's; ``entry`` None asks for the slots alone. Raises StoreUnavailable.
        """
        value, held = self.store.look_up(entry, slots)
        vector = _vector(held)
        if vector is None:
            if any(slot is not None and not is_stamp(slot) for slot in held):
                return Found(None, None, held[0], retired=value is not None)
            held = self.store.fill(slots, new_stamp())
            # An empty slot was a new beginning: whatever the entry is, it is from before.
            return Found(None, _vector(held), held[0], retired=value is not None, filled=True)
        if value is None or entry is None:
            return Found(None, vector, held[0])
        try:
            data, expires, before = self._opened(entry, value, vector)
        except Unreadable:
            return Found(None, vector, held[0], damaged=True)
        return Found(data, vector, held[0], retired=data is None, expires=expires, before=before)

    def inspect(self, entry: bytes | None, slots: Sequence[bytes]) -> Inspected:
        """What is there for an entry and in its slots, for people: nothing is changed. Raises StoreUnavailable."""
        value, held = self.store.strict.look_up(entry, slots)
        if value is None or entry is None:
            return Inspected(held)
        try:
            opened = value if self._signing_key is None else verified(self._signing_key, entry, value)
        except Unreadable:
            return Inspected(held, len(value))
        length = int.from_bytes(opened[_LENGTH], "big")
        if opened[:3] != _HEADER or length % STAMP_LENGTH or _PREAMBLE + length > len(opened):
            return Inspected(held, len(value))
        vector = opened[_PREAMBLE : _PREAMBLE + length]
        kept = [vector[at : at + STAMP_LENGTH] for at in range(0, length, STAMP_LENGTH)]
        expiry = int.from_bytes(opened[_EXPIRY], "big")
        return Inspected(held, len(value), kept, expiry / 1e6 if expiry else None)

    def has_news(self, entry: bytes, slots: Sequence[bytes], vector: bytes) -> bool:
        """Would looking up an entry that was missed under ``vector`` come to another end by now?

        Raises StoreUnavailable.
        """
        found = self.look_up(entry, slots)
        return found.data is not None or found.vector != vector

    def keep(self, entry: bytes, vector: bytes, data: bytes, timeout: float | None) -> bool:
        """R6: keep a result under the vector that was read before its query ran.

        ``timeout`` in seconds, None until a write. False: too large for the store. Raises StoreUnavailable.
        """
        expiry = 0 if timeout is None else int((self._clock() + timeout) * 1e6)
        rest = expiry.to_bytes(8, "big") + len(vector).to_bytes(4, "big") + vector + data
        body = _HEADER + zlib.crc32(rest).to_bytes(4, "big") + rest
        if self._signing_key is not None:
            body = mac(self._signing_key, entry, body) + body
        return self.store.put(entry, body, timeout)

    def forget(self, entry: bytes) -> None:
        """Remove an entry that turned out to be damaged. Raises StoreUnavailable."""
        self.store.remove([entry])

    def _opened(self, entry: bytes, value: bytes, vector: bytes) -> tuple[bytes | None, float | None, bytes | None]:
        """The result inside an entry if its vector is this one (R3), when it expires, and its vector if it is not.

        Raises Unreadable.
        """
        if self._signing_key is not None:
            value = verified(self._signing_key, entry, value)
        if len(value) < _PREAMBLE or value[:3] != _HEADER:
            raise Unreadable("not an entry")
        end = _PREAMBLE + len(vector)
        if int.from_bytes(value[_LENGTH], "big") != len(vector) or value[_PREAMBLE:end] != vector:
            length = int.from_bytes(value[_LENGTH], "big")
            return None, None, value[_PREAMBLE : _PREAMBLE + length]
        if zlib.crc32(memoryview(value)[_CHECKSUM.stop :]) != int.from_bytes(value[_CHECKSUM], "big"):
            raise Unreadable("damaged")
        expiry = int.from_bytes(value[_EXPIRY], "big")
        if not expiry:
            return value[end:], None, None
        expires = expiry / 1e6
        return (value[end:] if expires > self._clock() else None), expires, None

    # Writing ------------------------------------------------------------------

    def mark(self, slots: Sequence[bytes], watch: bytes | None = None) -> tuple[bytes, bytes | None]:
        """W3: mark the slots for a new writer. Returns the writer's id and what the slot ``watch`` holds.

        Raises StoreUnavailable; the marks may or may not be there then, and run out by themselves.
        """
        writer = os.urandom(WRITER_LENGTH)
        return writer, self.store.mark(slots, writer, self._lease, watch)

    def mark_more(self, slots: Sequence[bytes], writer: bytes) -> None:
        """Mark further slots for the same writer. Raises StoreUnavailable."""
        self.store.mark(slots, writer, self._lease)

    def settle(self, slots: Sequence[bytes], writer: bytes, watch: bytes | None = None) -> bytes | None:
        """W5: take the writer's marks away and stamp anew. Returns what the slot ``watch`` holds.

        Raises StoreUnavailable; the marks run out then.
        """
        return self.store.settle(slots, writer, new_stamp(), watch)

    def renew(self, slots: Sequence[bytes]) -> None:
        """Stamp anew without having marked, for what is visible already. Raises StoreUnavailable."""
        self.store.settle(slots, os.urandom(WRITER_LENGTH), new_stamp())


def changed(before: bytes, now: bytes) -> int | None:
    """Which slot was the first to change between two vectors of the same slots, by its place; None: they are not.

    By the clocks of the writers' hosts: for people.
    """
    if len(before) != len(now):
        return None
    news = [
        (time_of(now[at : at + STAMP_LENGTH]), at)
        for at in range(0, len(now), STAMP_LENGTH)
        if now[at : at + STAMP_LENGTH] != before[at : at + STAMP_LENGTH]
    ]
    return min(news)[1] // STAMP_LENGTH if news else None


def _vector(held: Sequence[bytes | None]) -> bytes | None:
    """The slots' stamps in a row, or None if one of them holds no stamp."""
    for value in held:
        if value is None or len(value) != STAMP_LENGTH or value[:1] != STAMP:
            return None
    return b"".join(held)  # type: ignore[arg-type]  # the loop has left out None
