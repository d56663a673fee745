"""Single flight: of all who miss one entry at the same moment, one runs the query.

A *flight* is one execution of a query for all readers that miss the same entry under the same vector. Under the same
vector: rows that somebody began to read under an older one can be older than what a reader has to see. Who finds that
a flight is under way waits, a bounded time, and then looks up as any reader does: nothing goes from hand to hand, so
a follower is served what the store would serve to anybody, or nothing.

A query that is over at once is not worth that: each of its readers runs it. In one process a flight is an object in a
dict. Among processes it is a *claim* in the store, two round trips, which a query must be worth: one that took less
than ``QUICK`` the last times is not claimed, and so runs at most once in each process. Whoever waits for another
process's claim polls it. A claim ends with its lease, so that where the leader was killed one of those who wait takes
over.

When a result cannot be kept, waiting for it is in vain. Then all who wait run the query at once, not one after the
other, and the next readers of that text do not wait at all, until a result of it was kept again.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable
from enum import Enum, auto
from typing import TypeVar

from ormcache import reasons
from ormcache.keys import digest
from ormcache.stores.base import Store, StoreUnavailable

K = TypeVar("K")
V = TypeVar("V")

TRIVIAL = 0.002  # seconds; a query that takes less is over before waiting for it could save anything
QUICK = 0.02  # seconds; a query that takes less is not claimed among processes
FIRST_PAUSE = 0.001  # seconds between two looks at another process's claim; it doubles up to the longest
LONGEST_PAUSE = 0.025
SHORTEST_LEASE = 1.0  # seconds that a claim outlives a leader that died ...
LEASES = 3  # ... or as many times as long as the query took
FIRST_LEASE = 2.0  # ... or this, where nobody knows how long that is
LAST_WORD = 1.0  # seconds that a claim says what became of it
MOST_TEXTS = 4096  # of which it is known how long they take
MOST_FLIGHTS = 4096

#: What a claim says when it is over; as long as it is not, it has OWNER_LENGTH random bytes
LANDED, GAVE_UP = b"landed", b"gave up"
OWNER_LENGTH = 16


class Way(Enum):
    """What a process does about a flight that another one could have claimed."""

    LEAD = auto()  # run the query for all who wait
    LOOK = auto()  # look up again: it is there, or another vector is
    ALONE = auto()  # everybody runs the query, at once: nobody could be told of the result


class Flight:
    """One execution of one query. The thread that leads it owns it, but for ``ended`` and ``gave_up``."""

    #: the name of what it has claimed in the store; None: other processes do not wait for it
    claim: bytes | None = None
    #: why its result was not kept, None: it was; empty: it has not come to its end
    refused: str | None = ""
    #: made by the first one who waits
    ended: threading.Event | None = None
    #: there is nothing to look up; set before ``ended`` is
    gave_up = False

    def __init__(self, key: tuple[bytes, bytes], text: bytes) -> None:
        self.key = key
        self.text = text
        self.thread = threading.get_ident()
        self.began = time.monotonic()


class Flights:
    """The flights of one database in one process. Any thread may call any method; a forked child begins with none."""

    def __init__(self, store: Store, longest_wait: float) -> None:
        """``longest_wait``: seconds after which nobody waits for a flight any more; 0: nobody ever does."""
        self.longest_wait = longest_wait
        self._store = store
        self._lock = threading.Lock()  # guards the two below; never held while anything is waited for
        self._flights: dict[tuple[bytes, bytes], Flight] = {}
        #: digest of a text → seconds that it took, None: its last result was not kept
        self._known: dict[bytes, float | None] = {}

    def pays(self, text: bytes) -> bool:
        """May it be worth waiting for another reader's execution of this text?"""
        known = self._known.get(text, math.inf)
        return self.longest_wait > 0 and (known is None or known >= TRIVIAL)

    def join(
        self,
        name: bytes,
        vector: bytes,
        text: bytes,
        deadline: Callable[[], float],
        has_landed: Callable[[], bool],
    ) -> Flight | None:
        """Of a reader that misses this entry under this vector: a flight to lead, or None: look up again.

        Who gets a flight runs the query, sets ``refused``, and gives it to :meth:`end` whatever happens. It may be one
        that nobody follows.

        ``text``: a digest of the SQL. ``deadline``: asked right before the reader would wait, by ``time.monotonic``; 0:
        it must not. ``has_landed``: would looking up again bring anything but this miss? It may raise StoreUnavailable.
        """
        flight = Flight((name, vector), text)
        known = self._known.get(text, math.inf)
        if known is None:
            return flight
        with self._lock:
            other = self._flights.get(flight.key)
            # A leader that hangs is not waited for by those who come later, one after the other.
            if other is None or flight.began - other.began > self.longest_wait:
                other = None
                _put(self._flights, flight.key, flight, MOST_FLIGHTS)
            elif other.ended is None:
                other.ended = threading.Event()
        if other is None:
            return flight if known < QUICK else self._among_processes(flight, known, deadline, has_landed)
        # The very same thread: an execute wrapper, or a signal's handler, runs the query that it is in.
        until = 0.0 if other.thread == flight.thread else deadline()
        if until and other.ended is not None and other.ended.wait(until - time.monotonic()) and not other.gave_up:
            return None
        flight.began = time.monotonic()
        return flight

    def end(self, flight: Flight) -> None:
        """The leader is done with it."""
        took = time.monotonic() - flight.began
        if flight.refused != "":
            self.learn(flight.text, took, flight.refused)
        kept = flight.refused is None
        self._close(flight, gave_up=not kept)
        if flight.claim is not None:
            try:
                self._store.release(flight.claim, LANDED if kept else GAVE_UP, LAST_WORD)
            except StoreUnavailable:
                pass  # it runs out

    def __len__(self) -> int:
        return len(self._flights)

    def learn(self, text: bytes, took: float, refused: str | None) -> None:
        """A query of this text has run for so many seconds; ``refused``: why its result was not kept."""
        before = self._known.get(text)
        if refused == reasons.STORE_AWAY or (before is not None and before < TRIVIAL and took < TRIVIAL):
            return  # as nearly always
        if refused is not None:
            known = None
        elif before is not None and max(took, before) < QUICK and (took < TRIVIAL) == (before < TRIVIAL):
            return
        else:
            # One quick answer among slow ones does not make a text quick.
            known = max(took, (before or 0.0) / 2)
        with self._lock:
            _put(self._known, text, known, MOST_TEXTS)

    def _close(self, flight: Flight, *, gave_up: bool) -> None:
        """Nobody joins it any more, and who waits for it goes on."""
        with self._lock:
            if self._flights.get(flight.key) is flight:
                del self._flights[flight.key]
            ended = flight.ended
        if ended is not None:
            flight.gave_up = gave_up
            ended.set()

    # Among processes --------------------------------------------------------------------

    def _among_processes(
        self, flight: Flight, known: float, deadline: Callable[[], float], has_landed: Callable[[], bool]
    ) -> Flight | None:
        """Claim the flight that this process's readers follow, or wait for the process that has."""
        try:
            way = self._way(flight, known, deadline, has_landed)
        except StoreUnavailable:
            way = Way.ALONE
        except BaseException:
            self.end(flight)
            raise
        if way is not Way.LEAD:
            self._close(flight, gave_up=way is Way.ALONE)
        if way is Way.LOOK:
            return None
        flight.began = time.monotonic()
        return flight

    def _way(self, flight: Flight, known: float, deadline: Callable[[], float], has_landed: Callable[[], bool]) -> Way:
        """Claim the flight, or wait until it has ended or the wait is over. Raises StoreUnavailable."""
        claim, owner = digest(b"flight", *flight.key), os.urandom(OWNER_LENGTH)
        lease = min(FIRST_LEASE if known == math.inf else max(LEASES * known, SHORTEST_LEASE), self.longest_wait)
        pause, until = FIRST_PAUSE, None
        while True:
            word = self._store.claim(claim, owner, lease)
            if word == owner:
                flight.claim = claim
                return Way.LEAD
            if word == GAVE_UP:
                return Way.ALONE
            if word == LANDED:
                # After this reader has looked, or else the store has lost it since.
                return Way.LOOK if has_landed() else Way.LEAD
            if until is None:
                until = deadline()
            if time.monotonic() + pause > until:
                return Way.LEAD
            time.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
            if has_landed():
                return Way.LOOK


def _put(memo: dict[K, V], key: K, value: V, most: int) -> None:
    """Remember one thing more, and forget the oldest one for it."""
    if len(memo) >= most and key not in memo:
        del memo[next(iter(memo))]
    memo[key] = value
