"""Invalidations that the store did not take, and that it is given as soon as it answers.

Until then this process reads what those writes changed from the database. A thread of its own retries as long as
anything waits: otherwise a process that is idle would leave stale results to all other processes.

A write that the database has not answered may still become visible. It is given the mark that it would have had, had
the store been available: for the rest of its lease, and never settled.
"""

from __future__ import annotations

import atexit
import threading
import time
import weakref
from collections.abc import Callable
from typing import NamedTuple

from ormcache.exceptions import StoreFull, StoreUnavailable
from ormcache.stores.base import MIN_BACK_OFF

Settle = Callable[[frozenset[str]], None]
#: Seconds after which the store is asked again, however long the breaker's back-off is by then
RETRY_INTERVAL = 2.0

Mark = Callable[[frozenset[str], float], None]


class QueuedWrite(NamedTuple):
    """A write to one relation that the store does not know of yet."""

    until: float  # by time.monotonic: until then it may still become visible; 0: it is visible
    write: object  # distinguishes writes, so that settling one removes no later one of the same relation


class InvalidationQueue:
    """The relations of one database that wait for their invalidation.

    Any thread may call any method, and so may a signal handler that interrupts one of them.
    """

    def __init__(self, settle: Settle, mark: Mark, wake: Callable[[], None]) -> None:
        """``settle`` and ``mark`` raise StoreUnavailable while the store is unavailable.

        ``mark`` also takes a lease in seconds. ``wake`` makes both ask the store again, even right after an error.
        """
        self._settle = settle
        self._mark = mark
        self._wake = wake
        self._lock = threading.RLock()  # guards the two below
        self._writes: dict[str, QueuedWrite] = {}
        self._thread: threading.Thread | None = None

    @property
    def relations(self) -> frozenset[str]:
        """The relations that wait, by their names in the catalog."""
        return frozenset(self._writes)

    def add(self, relations: frozenset[str], *, unanswered: float = 0.0) -> None:
        """Queue a write to these relations. ``unanswered``: seconds within which it may still become visible."""
        until, write = time.monotonic() + unanswered if unanswered else 0.0, object()
        with self._lock:
            self._replace(
                lambda before: {
                    **before,
                    **{
                        name: QueuedWrite(max(until, before[name].until if name in before else 0.0), write)
                        for name in relations
                    },
                }
            )
            if self._thread is None:
                thread = threading.Thread(target=self._work, name="ormcache-pending", daemon=True)
                thread.start()
                self._thread = thread  # once it runs: starting it can be interrupted
        _queues.add(self)

    def retry(self) -> None:
        """Invalidate what waits. Raises StoreUnavailable if the store is still unavailable."""
        waiting = self._writes
        if waiting:
            now = time.monotonic()
            unanswered = frozenset(name for name, one in waiting.items() if one.until > now)
            unmarked: frozenset[str] = frozenset()
            if unanswered:
                # Under a stamp a reader could store rows from before the write becomes visible.
                try:
                    self._mark(unanswered, max(waiting[name].until for name in unanswered) - now)
                except StoreFull:
                    unmarked = unanswered  # their slots are empty now, and must not be filled for long
            if len(unanswered) < len(waiting):
                self._settle(frozenset(waiting) - unanswered)
            with self._lock:
                self._replace(
                    lambda before: {
                        name: one for name, one in before.items() if name in unmarked or waiting.get(name) is not one
                    }
                )

    def _replace(self, change: Callable[[dict[str, QueuedWrite]], dict[str, QueuedWrite]]) -> None:
        """Change what waits, and do so again if a signal handler has changed it meanwhile."""
        while True:
            before = self._writes
            after = change(before)
            if before is self._writes:
                self._writes = after
                return

    def retry_now(self) -> None:
        """Retry even if the store was unavailable a moment ago. Raises StoreUnavailable."""
        if self._writes:
            self._wake()
            self.retry()

    def _work(self) -> None:
        """Retry until nothing waits any more."""
        pause = threading.Event()  # never set: a sleep that a frozen clock in tests does not stop
        wake_at = time.monotonic() + RETRY_INTERVAL
        while True:
            pause.wait(MIN_BACK_OFF)
            if time.monotonic() >= wake_at:
                self._wake()
                wake_at = time.monotonic() + RETRY_INTERVAL
            try:
                self.retry()
            except StoreUnavailable:
                continue
            with self._lock:
                if not self._writes:
                    self._thread = None
                    return


#: Queues that have held something, for the last attempt when the process ends
_queues: weakref.WeakSet[InvalidationQueue] = weakref.WeakSet()


@atexit.register
def _last_attempt() -> None:
    for queue in list(_queues):
        try:
            queue.retry_now()
        except StoreUnavailable:
            pass  # docs/guarantees.md says what is lost then
