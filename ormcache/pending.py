"""Writes that the store could not be told of, and telling it as soon as it answers.

Until then this process reads what they changed from the database. A thread of its own tries again while
anything waits, because a process that is idle now would otherwise leave all others with what they have cached.
"""

from __future__ import annotations

import atexit
import threading
import weakref
from collections.abc import Callable

from ormcache.stores.base import FIRST_BACK_OFF, StoreUnavailable

Settle = Callable[[frozenset[str]], None]


class Pending:
    """The relations of one database that wait to be settled. Any thread may call any method."""

    def __init__(self, settle: Settle, wake: Callable[[], None]) -> None:
        """``settle`` raises StoreUnavailable while the store is away; after ``wake`` it asks it, whatever it knows."""
        self._settle = settle
        self._wake = wake
        self._lock = threading.Lock()  # guards the two below
        # Relation → the write that waits, so that settling one takes away no later one of the same relation
        self._writes: dict[str, object] = {}
        self._thread: threading.Thread | None = None

    @property
    def relations(self) -> frozenset[str]:
        return frozenset(self._writes)

    def add(self, relations: frozenset[str]) -> None:
        with self._lock:
            self._writes = {**self._writes, **dict.fromkeys(relations, object())}
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="ormcache-pending", daemon=True)
                self._thread.start()
        _waiting.add(self)

    def retry(self) -> None:
        """Settle what waits. Raises StoreUnavailable if the store is still away."""
        waiting = self._writes
        if waiting:
            self._settle(frozenset(waiting))
            with self._lock:
                later = {name: write for name, write in self._writes.items() if waiting.get(name) is not write}
                self._writes = later

    def retry_now(self) -> None:
        """The same, also where the store was away until a moment ago. Raises StoreUnavailable."""
        if self._writes:
            self._wake()
            self.retry()

    def _work(self) -> None:
        pause = threading.Event()  # never set: a sleep that no test's frozen clock stops
        while True:
            pause.wait(FIRST_BACK_OFF)
            try:
                self.retry()
            except StoreUnavailable:
                continue
            with self._lock:
                if not self._writes:
                    self._thread = None
                    return


#: Databases with something waiting, for the last attempt when the process ends
_waiting: weakref.WeakSet[Pending] = weakref.WeakSet()


@atexit.register
def _last_attempt() -> None:
    for pending in list(_waiting):
        try:
            pending.retry_now()
        except StoreUnavailable:
            pass  # what is lost then is said in the guarantees
