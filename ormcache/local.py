"""Decoded results in this process's memory, bounded in bytes.

They are validated by the same vectors as the store's entries, so nothing here needs to be told of a write; what it
saves is fetching and decoding. Only results whose values are all immutable come in.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from sys import getsizeof
from typing import Any

#: What a kept result weighs beyond its values, bytes: the key, the vector and this bookkeeping
OVERHEAD = 600
#: What a row weighs, and a value's place in it, bytes
ROW, PLACE = 56, 8
#: Of a larger result about so many rows are weighed, evenly spread, and the others taken to be like them
SAMPLE = 5


@dataclass(slots=True)
class Kept:
    rows: Any
    vector: bytes
    expires: float | None  # seconds since the epoch
    weight: int  # bytes, an estimate
    shared: bool  # is it in the store too, or not to be?

    def expired(self) -> bool:
        return self.expires is not None and self.expires <= time.time()


class Local:
    """The least recently used results go first. Any thread may call any method."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()  # guards the two below
        self._kept: OrderedDict[bytes, Kept] = OrderedDict()
        self._weight = 0

    def fits(self, weight: int, vector: bytes) -> bool:
        """Is a result of this weight to be kept? What takes more than a quarter of the room is not."""
        return weight + OVERHEAD + len(vector) <= self._size // 4

    def get(self, name: bytes) -> Kept | None:
        kept = self._kept.get(name)
        if kept is not None:
            with self._lock:
                if name in self._kept:
                    self._kept.move_to_end(name)
        return kept

    def put(self, name: bytes, rows: Any, vector: bytes, *, expires: float | None, weight: int, shared: bool) -> None:
        """Keep ``rows``, of so many bytes, until ``expires``, seconds since the epoch (None: until a write)."""
        if not self.fits(weight, vector):
            return
        weight += OVERHEAD + len(vector)
        with self._lock:
            self._drop(name)
            self._kept[name] = Kept(rows, vector, expires, weight, shared)
            self._weight += weight
            while self._weight > self._size:
                self._weight -= self._kept.popitem(last=False)[1].weight

    def drop(self, name: bytes) -> None:
        with self._lock:
            self._drop(name)

    def _drop(self, name: bytes) -> None:
        old = self._kept.pop(name, None)
        if old is not None:
            self._weight -= old.weight

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def weight(self) -> int:
        """Bytes, as estimated."""
        return self._weight


def weigh(rows: Any) -> int:
    """About what a result takes in memory, bytes: a list of rows, one row, or None."""
    if not rows:
        return 0
    if type(rows) is tuple:
        return _weight(rows)
    sample = rows[:: len(rows) // SAMPLE + 1]
    return len(rows) * sum(map(_weight, sample)) // len(sample)


def _weight(row: tuple[Any, ...]) -> int:
    return ROW + PLACE * len(row) + sum(map(getsizeof, row))
