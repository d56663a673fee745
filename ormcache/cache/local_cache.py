"""Results in the memory of this process, bounded in bytes.

An entry here is validated by the same vector as one in the store, so nothing has to be removed when a table is written.
What it saves is fetching and decoding. Only results whose values are all immutable are stored here.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

#: Bytes of an entry besides its values: the key, the vector and this bookkeeping
OVERHEAD = 600
#: Bytes of a row, and of a value's place in it
ROW, PLACE = 56, 8
#: Bytes of a value where the interpreter does not say, besides the length of a text
OBJECT = 48
#: Rows of a larger result that are weighed, evenly spread; the others are taken to be like them
SAMPLE = 5


@dataclass(slots=True)
class LocalEntry:
    """A result in this process, and what it is valid under."""

    result: Any  # a list of rows, one row, or None
    vector: bytes
    expires: float | None  # seconds since the epoch
    weight: int  # bytes, an estimate
    shared: bool  # whether it is in the store too, or need not be
    rows: tuple[bytes, ...] | None = None  # the row slots that it depends on; None: on its relations as a whole

    def record_shared(self) -> None:
        """Record that the result is in the store too, or is not to be."""
        self.shared = True

    def expired(self) -> bool:
        """Return whether the entry has reached its timeout."""
        return self.expires is not None and self.expires <= time.time()


class LocalCache:
    """Entries of one database in this process; the least recently used ones are evicted first.

    Any thread may call any method, and so may a signal handler that interrupts one of them.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.RLock()  # guards the two below
        self._entries: OrderedDict[bytes, LocalEntry] = OrderedDict()
        self._weight = 0
        #: number of changes that have begun, and of the last one up to which the weight is right
        self._begun = self._ended = 0

    def fits(self, weight: int, vector: bytes) -> bool:
        """Return whether a result of this weight (bytes) takes no more than a quarter of the room."""
        return weight + OVERHEAD + len(vector) <= self._size // 4

    def get(self, name: bytes) -> LocalEntry | None:
        """Return the entry of this name, and count that as a use."""
        entry = self._entries.get(name)
        if entry is not None:
            with self._lock:
                if name in self._entries:
                    self._entries.move_to_end(name)
        return entry

    def put(
        self,
        name: bytes,
        result: Any,
        vector: bytes,
        *,
        expires: float | None,
        weight: int,
        shared: bool,
        rows: tuple[bytes, ...] | None = None,
    ) -> None:
        """Store ``result`` of ``weight`` bytes until ``expires``, seconds since the epoch; None: until a write.

        ``rows``: the row slots that it depends on.
        """
        if not self.fits(weight, vector):
            return
        weight += OVERHEAD + len(vector) * (1 if rows is None else 4)  # each name of a slot is an object of its own
        entry = LocalEntry(result, vector, expires, weight, shared, rows)
        with self._lock:
            change = self._begin_change()
            self._drop(name)
            self._entries[name] = entry
            self._weight += weight
            while self._weight > self._size and self._entries:
                self._weight -= self._entries.popitem(last=False)[1].weight
            self._end_change(change)

    def drop(self, name: bytes) -> None:
        """Remove the entry of this name, if there is one."""
        with self._lock:
            change = self._begin_change()
            self._drop(name)
            self._end_change(change)

    def _begin_change(self) -> int:
        self._begun += 1
        return self._begun

    def _end_change(self, change: int) -> None:
        """Weigh all entries if another change interrupted this one, or if the one before it did not finish."""
        if self._begun != change or self._ended != change - 1:
            self._weight = sum(entry.weight for entry in list(self._entries.values()))
        self._ended = self._begun

    def _drop(self, name: bytes) -> None:
        old = self._entries.pop(name, None)
        if old is not None:
            self._weight -= old.weight

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def weight(self) -> int:
        """The size of all entries in bytes, an estimate."""
        return self._weight


def weigh(rows: Any) -> int:
    """Estimate how many bytes a result takes in memory: a list of rows, one row, or None."""
    if not rows:
        return 0
    if type(rows) is tuple:
        return _weight(rows)
    sample = rows[:: len(rows) // SAMPLE + 1]
    return len(rows) * sum(map(_weight, sample)) // len(sample)


def _weight(row: tuple[Any, ...]) -> int:
    return ROW + PLACE * len(row) + sum(map(_size, row))


def _estimate(value: Any) -> int:
    return OBJECT + (len(value) if isinstance(value, (str, bytes)) else 0)


#: PyPy's ``sys.getsizeof`` raises TypeError, whatever it is asked
_size = _estimate if sys.implementation.name == "pypy" else sys.getsizeof
