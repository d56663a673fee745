"""Memos of bounded size, for everything that a process remembers of statements, models, schemas or settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Bounded(dict[K, V]):
    """A dict that evicts its oldest items to make room for new ones, a quarter of them at once.

    Look items up as in any dict, but add them with :meth:`put` alone. It is for what can be computed again, because an
    item may be gone at any time. Threads may share one without a lock, and a signal handler may interrupt :meth:`put`
    and use the same dict.
    """

    def __init__(self, most: int, heaviest: int | None = None, weigh: Callable[[K], int] | None = None) -> None:
        """Hold at most ``most`` items, whose keys weigh at most ``heaviest`` together, in the units of ``weigh``."""
        super().__init__()
        self._most = most
        self._heaviest = heaviest
        self._weigh = weigh
        self._weight = 0

    def put(self, key: K, value: V) -> None:
        """Add an item, or replace it. One whose key is heavier than all may be together is not added."""
        if self._weigh is not None and self._heaviest is not None and key not in self:
            weight = self._weigh(key)
            if self._weight + weight > self._heaviest:
                self._make_room()
                if self._weight + weight > self._heaviest:
                    return
            self._weight += weight
        if len(self) >= self._most and key not in self:
            self._make_room()
        self[key] = value

    def _make_room(self) -> None:
        """Evict the oldest quarter."""
        keys = list(self)  # in one step, whatever other threads do meanwhile
        for key in keys[: len(keys) // 4 + 1]:
            self.pop(key, None)
        if self._weigh is not None:
            self._weight = sum(map(self._weigh, list(self)))
