"""Counting decisions: how often a read was a hit, a miss or went past the cache, and why."""

from __future__ import annotations

import os
import threading
from collections import Counter
from typing import Any

HITS, MISSES, KEPT, DAMAGED, WAITED = "hits", "misses", "kept", "damaged", "waited"


class Counts:
    """The counts of one database in one process. Any thread may count."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # "+= 1" on a Counter is three steps
        self._events: Counter[str] = Counter()
        self._bypassed: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()

    def count(self, event: str) -> None:
        with self._lock:
            self._events[event] += 1

    def bypassed(self, reason: str) -> None:
        """A read went to the database without asking the cache."""
        with self._lock:
            self._bypassed[reason] += 1

    def refused(self, reason: str) -> None:
        """A result was read and not kept."""
        with self._lock:
            self._refused[reason] += 1

    def snapshot(self) -> dict[str, Any]:
        with self._lock:
            return {
                **{event: self._events[event] for event in (HITS, MISSES, KEPT, DAMAGED, WAITED)},
                **self._events,
                "bypassed": dict(self._bypassed),
                "refused": dict(self._refused),
            }

    def clear(self) -> None:
        with self._lock:
            self._events.clear()
            self._bypassed.clear()
            self._refused.clear()


#: Database alias → its counts in this process; any thread may add one, none is ever replaced
_by_alias: dict[str, Counts] = {}


def counts_of(alias: str) -> Counts:
    counts = _by_alias.get(alias)
    return counts if counts is not None else _by_alias.setdefault(alias, Counts())


def _begin_in_child() -> None:
    """A forked child has counted nothing yet, and a thread that it does not have may have held a lock."""
    for counts in _by_alias.values():
        counts.__init__()  # type: ignore[misc]  # the very same beginning


os.register_at_fork(after_in_child=_begin_in_child)


def everything() -> dict[str, dict[str, Any]]:
    return {alias: counts.snapshot() for alias, counts in _by_alias.items()}
