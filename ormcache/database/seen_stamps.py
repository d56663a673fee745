"""Remembers which stamps this process has seen, and since when: what a transaction that keeps its snapshot may use.

What such a transaction reads is the state of the database when its snapshot was taken, at *q*. A result of the cache is
that state if no write came between the two, in either order. A stamp never comes back to a slot once it has gone. So
where a lookup after *q* finds a stamp that was seen before *q*, it has been there all the time, and no write was
marked meanwhile: whatever is stored under it is the state at *q*, and what is read at *q* may be stored under it. A
stamp that is first seen after *q* may be that of a write which the snapshot does not have.

Before and after are a matter of counting in one process; no clock is involved.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from ormcache.stores.base import STAMP_LENGTH
from ormcache.utils.bounded import Bounded

#: Slots whose stamps are remembered, and vectors that need no second look
MOST_SLOTS, MOST_VECTORS = 8192, 4096
#: Slots that transactions used last: looked up before the next one takes its snapshot
MOST_USED = 32

#: Returns the next moment of this process, as a number that grows
tick = itertools.count(1).__next__


class SeenStamps:
    """The stamps that were seen in the slots of one database. Any thread may call any method."""

    def __init__(self) -> None:
        #: slot → the stamp that it held, and a moment before which it was seen there
        self._seen: Bounded[bytes, tuple[bytes, int]] = Bounded(MOST_SLOTS)
        #: vectors all of whose stamps are recorded
        self._vectors: Bounded[bytes, None] = Bounded(MOST_VECTORS)
        self._used: Bounded[bytes, None] = Bounded(MOST_USED)

    def record(self, slots: Sequence[bytes], vector: bytes) -> None:
        """Record that these slots have held the stamps of this vector at some time before now."""
        if vector in self._vectors:
            return
        seen, moment = self._seen, tick()
        for slot, stamp in _pairs(slots, vector):
            if seen.get(slot, _NOTHING)[0] != stamp:
                seen.put(slot, (stamp, moment))
        self._vectors.put(vector, None)

    def held_before(self, slots: Sequence[bytes], vector: bytes, moment: int) -> bool:
        """Return whether all of these stamps were seen in their slots before ``moment``, a value of :func:`tick`.

        If not, record them now."""
        seen = self._seen
        for slot, stamp in _pairs(slots, vector):
            known, since = seen.get(slot, _NOTHING)
            if known != stamp or since >= moment:
                self._vectors.pop(vector, None)
                self.record(slots, vector)
                return False
        return True

    def slots_before_snapshot(self, slots: Sequence[bytes]) -> tuple[bytes, ...]:
        """Return what to look up before a snapshot is taken: these slots first, then those that transactions used."""
        return tuple(dict.fromkeys((*slots, *self._used.copy())))

    def record_use(self, slots: Sequence[bytes]) -> None:
        """Record that a transaction needs these slots."""
        used = self._used
        for slot in slots:
            if slot not in used:
                used.put(slot, None)


_NOTHING = (b"", 0)


def _pairs(slots: Sequence[bytes], vector: bytes) -> list[tuple[bytes, bytes]]:
    """Return each slot with its stamp."""
    return [(slot, vector[number * STAMP_LENGTH : (number + 1) * STAMP_LENGTH]) for number, slot in enumerate(slots)]
