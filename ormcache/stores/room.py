"""Remembers where a store has had no room for new values: see :mod:`ormcache.stores.base`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet

FULL_PAUSE = 2.0  # seconds after a refusal in which nothing new is stored
FULL_MEMORY = 60.0  # seconds after the last refusal until which a store counts as full that was not tried again

#: Where a refusal counts that names no place
EVERYWHERE = frozenset({b""})


class Room:
    """The room of one store as this process has met it. Any thread may call any method.

    A *place* is a part of the store that may be full while others are not. A store without parts is one: ``b""``.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.RLock()  # held to change any of the following
        #: place → until when nothing new is stored there, by the clock; empty: there is room everywhere
        self.refusals: dict[bytes, float] = {}
        self._full_since = 0.0  # seconds since the epoch
        #: how often this process has found the store without room
        self.full_count = 0

    @property
    def is_full(self) -> bool:
        """Whether the last new value was refused, at one place at least, and that is not long ago."""
        if not self.refusals:
            return False
        latest = max(list(self.refusals.values()), default=0.0)
        return self._clock() < latest - FULL_PAUSE + FULL_MEMORY

    def is_paused(self, places: AbstractSet[bytes]) -> bool:
        """Return whether there was no room at one of these places a moment ago."""
        now, refusals = self._clock(), self.refusals
        return any(now < refusals.get(place, now) for place in places)

    def record_refusal(self, places: AbstractSet[bytes]) -> bool:
        """Record that there was no room at these places; none: anywhere. Return whether the store was not full."""
        with self._lock:
            begins = not self.is_full
            if begins:
                self.full_count += 1
                self._full_since = time.time()
                self.refusals = {}
            self.refusals = self.refusals | dict.fromkeys(places or EVERYWHERE, self._clock() + FULL_PAUSE)
        return begins

    def record_room(self, places: AbstractSet[bytes]) -> float | None:
        """Record that new values were stored at these places.

        Return for how many seconds the store was full if there is room everywhere from now on, or None.
        """
        with self._lock:
            was_full = self.is_full
            self.refusals = {place: until for place, until in self.refusals.items() if place not in places}
            return time.time() - self._full_since if was_full and not self.refusals else None

    def forget_lock(self) -> None:
        """Have a fresh lock, in a forked child: a thread that does not exist there may have held it."""
        self._lock = threading.RLock()
