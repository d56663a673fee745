"""Judges every commit to a SQLite file, so that those of other programs are noticed.

Each state of the file has a number, and each commit of any program leads to the next one
(:mod:`ormcache.catalog.sqlite_file`). The store has two slots for each number, modulo ``SLOTS``: one for marks, and one
for the state. Who commits through ormcache marks the number that the commit leads to, and puts the state into its slot
after it (:mod:`ormcache.database.own_commits`). So no number of ormcache's own is ever seen that is neither marked nor
has its state. (In one slot, the mark of a writer who has committed nothing would keep the state out that another one
has led to, and be replaced by something else later.)

Whoever reads looks at the number first. It is the one that was seen last, as mostly; or its slot has this state: then
all was committed by ormcache, or is accounted for. A mark means that it cannot be judged yet: what is read comes from
the database, and is not stored. Otherwise somebody else has committed. What they wrote is unknown, so everything is
invalidated; and then that state is put into its slot. In doubt everything is invalidated, which is always right.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from ormcache.cache.stamps import Stamps, new_writer
from ormcache.catalog.sqlite_file import FileState, Sighting, SQLiteFile
from ormcache.stores.base import STAMP, decode_marks
from ormcache.utils.interruptions import let_through
from ormcache.utils.log_throttle import LogThrottle

logger = logging.getLogger("ormcache")

#: Numbers of commits that have slots of their own
SLOTS = 1024
#: Seconds that a mark of the number of now keeps everybody from the cache: its writer may have died
PATIENCE = 2.0


class Commits:
    """What is known of the commits to one file. Threads share it; its methods raise StoreUnavailable."""

    def __init__(
        self,
        file: SQLiteFile,
        path: str,
        stamps: Stamps,
        *,
        renew: Callable[[], None],
        on_outside: Callable[[], None],
        on_doubt: Callable[[], None],
    ) -> None:
        """``stamps``: of the store itself. ``renew``: invalidates everything.

        ``on_outside``: called when another program has committed. ``on_doubt``: when that is possible.
        """
        self._file = file
        self._path = path
        self._stamps = stamps
        self._renew = renew
        self._on_outside = on_outside
        self._on_doubt = on_doubt
        states, marks = stamps.slot("*commit")[:-2], stamps.slot("*commit to come")[:-2]
        self._slots = tuple(states + number.to_bytes(2, "big") for number in range(SLOTS))
        self._marks = tuple(marks + number.to_bytes(2, "big") for number in range(SLOTS))
        #: the slot for marks of commits whose number is not known
        self.any_mark = stamps.slot("*commits")
        #: the state that is known to be accounted for
        self.seen: Sighting | None = None
        self._outages = 0  # of the store, until then
        self._lock = threading.RLock()  # guards the next two
        #: invalidations because another program has committed, and because that was possible
        self.outside, self.in_doubt = 0, 0
        self._waiting: tuple[FileState, float] | None = None  # for whom, and since when by time.monotonic
        self._log = LogThrottle()

    def check(self) -> bool:
        """Return whether all that is committed is accounted for, invalidating everything where it was not.

        False: that cannot be known yet.
        """
        seen = self.seen
        try:
            return (seen is not None and seen.is_current()) or self._judge()
        except OSError as error:
            let_through(error)
            return False

    def have_moved(self) -> bool:
        """Return whether anything may have been committed since the last look, by ormcache or another program.

        If so, it is accounted for as :meth:`check` does: what was looked up before need not be valid any more.
        """
        seen = self.seen
        try:
            if seen is not None and seen.is_current():
                return False
        except OSError as error:
            let_through(error)
        self.check()
        return True

    def _judge(self) -> bool:
        seen, known = self._file.read(), self.seen
        if seen is None:
            return False
        state = seen.state
        slot, known_slot = self.slot(state), self.slot(state if known is None else known.state)
        held, known_held, *marks = self.look_up(slot, known_slot, self.mark(state), self.any_mark)
        if stands_for(held, state) or self.is_known_at_rest():
            self.take(seen)
            return True
        if any(map(decode_marks, marks)):
            if not self._has_waited(state):
                return False
            is_outside = False
        elif stands_for(self.look_up(slot)[0], state):
            # Where the store does not read all slots at once: its writer has settled meanwhile.
            self.take(seen)
            return True
        else:
            is_outside = known is not None and self._was_complete(known, known_held, state)
        self.invalidate(seen, is_outside=is_outside)
        return True

    def _was_complete(self, known: Sighting, held: bytes | None, state: FileState) -> bool:
        """Return whether nothing but another program's commit explains that a state is not accounted for."""
        return (
            state.may_follow(known.state)
            and stands_for(held, known.state)
            and self._outages == self._stamps.store.outage_count
        )

    def _has_waited(self, state: FileState) -> bool:
        """Return whether this state has been waited for long enough, for a writer who does not settle."""
        now = time.monotonic()
        with self._lock:
            if self._waiting is None or self._waiting[0] != state:
                self._waiting = (state, now)
            return now - self._waiting[1] > PATIENCE

    # What those who commit need as well ---------------------------------------------------------

    def is_known_at_rest(self) -> bool:
        """WAL: return whether the database itself is in a state that is accounted for, and all that is committed."""
        resting = self._file.at_rest()
        return resting is not None and stands_for(self.look_up(self.slot(resting.state))[0], resting.state)

    def invalidate(self, seen: Sighting, *, is_outside: bool, publishes: bool = True) -> None:
        """Invalidate everything because a state was not accounted for, which was seen before. It is then.

        ``publishes``: the state is put into its slot here, and not by the caller.
        """
        self._renew()
        if publishes:
            self.publish(seen.state)
        self.take(seen)
        if self._stamps.store.is_full:
            is_outside = False  # there may have been no room to account for it
        with self._lock:
            if is_outside:
                self.outside += 1
            else:
                self.in_doubt += 1
        (self._on_outside if is_outside else self._on_doubt)()
        more = self._log.due() if is_outside else None
        if more is not None:
            logger.warning("another program has written to %s: everything was invalidated%s", self._path, more)

    def take(self, seen: Sighting) -> None:
        """Record that a state is accounted for."""
        self._outages = self._stamps.store.outage_count
        self.seen = seen

    def slot(self, state: FileState) -> bytes:
        """Return the name of the slot of a state."""
        return self._slots[state.number % SLOTS]

    def mark(self, state: FileState, further: int = 0) -> bytes:
        """Return the name of the slot for marks of a state, or of the one so many commits later."""
        return self._marks[(state.number + further) % SLOTS]

    def look_up(self, *slots: bytes) -> list[bytes | None]:
        """Return what slots hold."""
        return self._stamps.store.look_up(None, slots)[1]

    def publish(self, state: FileState) -> None:
        """Put a state that is accounted for into its slot.

        It takes as much room as a writer needs, so that a store without room for that is known to be full.
        """
        self._stamps.store.settle((self.mark(state), self.slot(state)), new_writer(), STAMP + state.encode())


def stands_for(held: bytes | None, state: FileState) -> bool:
    """Return whether a slot holds this state."""
    return held == STAMP + state.encode()
