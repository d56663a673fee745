"""Single flight: of all readers that miss one entry at the same moment, one runs the query.

A *flight* is one execution of a query for all readers that miss the same entry under the same vector. It has to be the
same vector, because rows whose reading began under an older one can be older than what a reader has to see. A reader
that finds a flight under way waits for a bounded time, and then looks up as any reader does. Nothing is handed over, so
a follower is served what the store would serve to any reader, or nothing.

That does not pay for a query that is over at once: each of its readers runs it. In one process a flight is an object in
a dict. Among processes it is a *claim* in the store, which costs two round trips: a query that last took less than
``QUICK`` is not claimed, and so runs at most once in each process. A process that waits for the claim of another one
polls it. A claim ends with its lease, so that one of those who wait takes over if the leader was killed.

Waiting is in vain for a result that cannot be stored. Then all readers that wait run the query at once, not one after
the other, and the next readers of that statement do not wait at all, until one of its results has been stored again.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable
from enum import Enum, auto
from queue import Empty, SimpleQueue

from ormcache import reasons
from ormcache.cache.keys import name_beside
from ormcache.exceptions import StoreUnavailable
from ormcache.stores.base import Store
from ormcache.utils.bounded import Bounded

TRIVIAL = 0.002  # seconds; a query that takes less is over before waiting for it could save anything
QUICK = 0.02  # seconds; a query that takes less is not claimed among processes
FIRST_PAUSE = 0.001  # seconds between two polls of another process's claim; doubles up to the longest
LONGEST_PAUSE = 0.025
SHORTEST_LEASE = 1.0  # seconds that a claim outlives a leader that died ...
LEASES = 3  # ... or this many times as long as the query took
FIRST_LEASE = 2.0  # ... or this, where it is not known how long that is
#: Why a result was not stored that says nothing about its statement
_OF_THE_STORE = frozenset({reasons.STORE_UNAVAILABLE, reasons.STORE_FULL})
LAST_WORD = 1.0  # seconds for which a claim that is over says what became of it
MOST_STATEMENTS = 4096  # whose durations are remembered
MOST_FLIGHTS = 4096

#: What a claim that is over says; before that, it has OWNER_LENGTH random bytes of its owner
LANDED, GAVE_UP = b"landed", b"gave up"
OWNER_LENGTH = 16


class NextStep(Enum):
    """What a process does about a flight that another process may have claimed."""

    LEAD = auto()  # run the query for all that wait
    LOOK_UP = auto()  # look up again: the result is there, or another vector is
    RUN_ALONE = auto()  # every reader runs the query at once, because the result cannot be shared


class Flight:
    """One execution of one query for all readers that miss this entry under this vector.

    The thread that leads it owns it, except for ``followers``, ``ended`` and ``gave_up``.
    """

    #: name of its claim in the store; None: other processes do not wait for it
    claim: bytes | None = None
    #: why its result was not stored; None: it was; empty: the query has not finished
    rejected: str | None = ""
    #: number of readers that wait for it
    followers = 0
    #: made by the first follower; gets one item for each when the flight ends. A signal handler that interrupts a
    #: follower may wait as well, which it could not with an Event
    ended: SimpleQueue[None] | None = None
    #: whether there is nothing to look up; None: the flight goes on. Set before the followers are woken
    gave_up: bool | None = None

    def __init__(self, name: bytes, vector: bytes, statement: bytes) -> None:
        """``name``: of the entry. ``statement``: a digest of the SQL."""
        self.key = (name, vector)
        self.statement = statement
        self.thread = threading.get_ident()
        self.began = time.monotonic()

    def restart(self) -> None:
        """Begin the query now, after another one was waited for."""
        self.began = time.monotonic()

    def record_claim(self, claim: bytes | None) -> None:
        """Record the name of what is claimed in the store; None: nothing is."""
        self.claim = claim

    def record_rejection(self, reason: str | None) -> None:
        """Record that the query has come to its end, and why its result was not stored; None: it was."""
        self.rejected = reason

    def add_follower(self) -> SimpleQueue[None]:
        """Add a reader that waits for this flight. Return the queue in which it finds something at the end."""
        self.ended = self.ended or SimpleQueue()
        self.followers += 1
        return self.ended

    def wake_followers(self, *, gave_up: bool) -> None:
        """Let those go on who wait for this flight. ``gave_up``: there is nothing for them to look up."""
        if self.ended is None:
            return
        if self.gave_up is None:
            self.gave_up = gave_up
        for _ in range(self.followers):
            self.ended.put(None)


class Flights:
    """The flights of one database in one process. Any thread may call any method; a forked child begins with none."""

    def __init__(self, store: Store, longest_wait: float) -> None:
        """``longest_wait``: seconds that a reader waits for a flight at most; 0: it never waits."""
        self.longest_wait = longest_wait
        self._store = store
        self._lock = threading.RLock()  # guards the two below; never held during a wait
        self._flights: Bounded[tuple[bytes, bytes], Flight] = Bounded(MOST_FLIGHTS)
        #: digest of a statement → seconds that it took; None: its last result was not stored
        self._durations: Bounded[bytes, float | None] = Bounded(MOST_STATEMENTS)

    def pays(self, statement: bytes) -> bool:
        """Return whether waiting for another reader's execution of this statement may save time."""
        known = self._durations.get(statement, math.inf)
        return self.longest_wait > 0 and (known is None or known >= TRIVIAL)

    def join(self, flight: Flight, deadline: Callable[[], float], has_landed: Callable[[], bool]) -> bool:
        """Return whether the reader that has made this flight leads it; if it does not, it looks up again.

        The leader runs the query and sets ``rejected``. Every caller passes the flight to :meth:`end`, whatever
        happens. A flight may have no followers.

        ``deadline``: called right before the reader would wait; returns a time of ``time.monotonic``, or 0 if it must
        not wait. ``has_landed``: asks the store, and returns whether to look up again would give anything but this
        miss; may raise StoreUnavailable.
        """
        known = self._durations.get(flight.statement, math.inf)
        if known is None:
            return True
        with self._lock:
            other = self._flights.get(flight.key)
            # Later readers must not wait for a leader that hangs, one after the other.
            if other is None or flight.began - other.began > self.longest_wait:
                other = None
                self._flights.put(flight.key, flight)
            else:
                ended = other.add_follower()
        if other is None:
            return True if known < QUICK else self._among_processes(flight, known, deadline, has_landed)
        # The very same thread: an execute wrapper, or a signal handler, runs the query that it is in.
        until = 0.0 if other.thread == flight.thread else deadline()
        if until and _wait_for(ended, until - time.monotonic()) and not other.gave_up:
            return False
        flight.restart()
        return True

    def end(self, flight: Flight) -> None:
        """End a flight, on the part of the reader that has made it. Does no harm to one that has ended."""
        took = time.monotonic() - flight.began
        if flight.rejected != "":
            self.learn(flight.statement, took, flight.rejected)
        is_stored = flight.rejected is None
        self._close(flight, gave_up=not is_stored)
        if flight.claim is not None:
            try:
                self._store.release(flight.claim, LANDED if is_stored else GAVE_UP, LAST_WORD)
            except StoreUnavailable:
                pass  # the claim expires

    def __len__(self) -> int:
        return len(self._flights)

    def learn(self, statement: bytes, took: float, rejected: str | None) -> None:
        """Remember that a query of this statement took so many seconds. ``rejected``: why its result was not stored."""
        before = self._durations.get(statement)
        if rejected in _OF_THE_STORE or (before is not None and before < TRIVIAL and took < TRIVIAL):
            return  # as nearly always
        if rejected is not None:
            known = None
        elif before is not None and max(took, before) < QUICK and (took < TRIVIAL) == (before < TRIVIAL):
            return
        else:
            # One quick answer among slow ones does not make a statement quick.
            known = max(took, (before or 0.0) / 2)
        with self._lock:
            self._durations.put(statement, known)

    def _close(self, flight: Flight, *, gave_up: bool) -> None:
        """Let no further reader join a flight, and wake its followers."""
        with self._lock:
            if self._flights.get(flight.key) is flight:
                self._flights.pop(flight.key, None)
        flight.wake_followers(gave_up=gave_up)

    # Among processes --------------------------------------------------------------------

    def _among_processes(
        self, flight: Flight, known: float, deadline: Callable[[], float], has_landed: Callable[[], bool]
    ) -> bool:
        """Claim the flight that readers of this process follow, or wait for the process that has claimed it.

        Returns whether this reader runs the query. ``known``: seconds that it last took; infinite: not known.
        """
        try:
            step = self._claim(flight, known, deadline, has_landed)
        except StoreUnavailable:
            step = NextStep.RUN_ALONE
        if step is not NextStep.LEAD:
            self._close(flight, gave_up=step is NextStep.RUN_ALONE)
        if step is NextStep.LOOK_UP:
            return False
        flight.restart()
        return True

    def _claim(
        self, flight: Flight, known: float, deadline: Callable[[], float], has_landed: Callable[[], bool]
    ) -> NextStep:
        """Claim the flight, or wait until it has ended or the deadline has passed. Raises StoreUnavailable."""
        claim, owner = name_beside(flight.key[0], b"flight", *flight.key), os.urandom(OWNER_LENGTH)
        lease = min(FIRST_LEASE if known == math.inf else max(LEASES * known, SHORTEST_LEASE), self.longest_wait)
        pause, until = FIRST_PAUSE, None
        while True:
            flight.record_claim(claim)  # before it is claimed: a reader that is interrupted then releases it
            word = self._store.claim(claim, owner, lease)
            if word == owner:
                return NextStep.LEAD
            flight.record_claim(None)
            if word == GAVE_UP:
                return NextStep.RUN_ALONE
            if word == LANDED:
                # It landed after this reader had looked up, or else the store has lost the entry since.
                return NextStep.LOOK_UP if has_landed() else NextStep.LEAD
            if until is None:
                until = deadline()
            if time.monotonic() + pause > until:
                return NextStep.LEAD
            time.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
            if has_landed():
                return NextStep.LOOK_UP


def _wait_for(queue: SimpleQueue[None], seconds: float) -> bool:
    """Return whether the queue has an item within so many seconds; takes it."""
    try:
        queue.get(timeout=max(seconds, 0))
    except Empty:
        return False
    return True
