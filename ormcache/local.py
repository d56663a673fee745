"""Decoded results in this process's memory, bounded in bytes.

They are validated by the same vectors as the store's entries, so nothing here needs to be told of a write; what it
saves is fetching and decoding. Only results whose values are all immutable come in.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

#: What a kept result weighs beyond its encoded rows, bytes: the key, the vector and this bookkeeping
OVERHEAD = 600
#: Python objects take about this many times the room of their encoding
EXPANSION = 3


@dataclass(frozen=True, slots=True)
class Kept:
    rows: Any
    vector: bytes
    expires: float | None  # seconds since the epoch
    weight: int  # bytes, an estimate

    def expired(self) -> bool:
        return self.expires is not None and self.expires <= time.time()


class Local:
    """The least recently used results go first. Any thread may call any method."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()  # guards the two below
        self._kept: OrderedDict[bytes, Kept] = OrderedDict()
        self._weight = 0

    def get(self, name: bytes) -> Kept | None:
        kept = self._kept.get(name)
        if kept is not None:
            with self._lock:
                if name in self._kept:
                    self._kept.move_to_end(name)
        return kept

    def put(self, name: bytes, rows: Any, vector: bytes, timeout: float | None, encoded: int) -> None:
        """Keep ``rows``, whose encoding has ``encoded`` bytes, for ``timeout`` seconds (None: until a write).

        What is larger than a quarter of the room is not kept.
        """
        weight = OVERHEAD + encoded * EXPANSION + len(vector)
        if weight > self._size // 4:
            return
        with self._lock:
            self._drop(name)
            self._kept[name] = Kept(rows, vector, None if timeout is None else time.time() + timeout, weight)
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
