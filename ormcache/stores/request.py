"""The consistency level ``request``: a request or task asks for each slot once and remembers it until it ends.

No answer is older than the beginning of the request. Outside of requests the level is ``strict``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ormcache.conf import Config
from ormcache.context.request_scope import current_scope
from ormcache.stores.base import Store, is_stamp
from ormcache.stores.layered import LayeredStore

#: How many slots that this process has written are remembered one by one
MAX_WRITES = 100_000
#: How many slots a request remembers; rather than more, it begins anew
MAX_SLOTS = 100_000


class RequestStore(LayeredStore):
    """A store that answers for slots from what the current request has asked already. Threads share it.

    What a request remembers is in its scope: slot → (stamp, number of the last write before it was read).
    """

    def __init__(self, store: Store, **options: Any) -> None:
        super().__init__(store, **options)
        # The lock of the base class is held to change these.
        self._writes = 0  # the number of writes of this process
        self._last_writes: dict[bytes, int] = {}  # slot → the number of its last write
        self._last_forgotten_write = 0  # the number of the last write to any slot that is not in _last_writes

    @staticmethod
    def identity(config: Config) -> tuple[object, ...]:
        return ()

    @classmethod
    def wrap(cls, store: Store, config: Config) -> RequestStore:
        return cls(store)

    def look_up(self, entry: bytes | None, slots: Sequence[bytes]) -> tuple[bytes | None, list[bytes | None]]:
        scope = current_scope()
        memory = None if scope is None else scope.memory_of(self)
        if memory is None:
            return self._store.look_up(entry, slots)
        if entry is None:
            stamps = self._recall(memory, slots)
            if stamps is not None:
                return None, stamps
        # A stamp that was read before a write of this process does not count after it.
        writes = self._writes
        value, fetched = self._store.look_up(entry, slots)
        if len(memory) + len(slots) > MAX_SLOTS:
            memory.clear()
        for slot, stamp in zip(slots, fetched, strict=True):
            if is_stamp(stamp):
                memory[slot] = (stamp, writes)
            else:
                memory.pop(slot, None)
        return value, fetched

    def _recall(self, memory: dict[bytes, tuple[bytes, int]], slots: Sequence[bytes]) -> list[bytes | None] | None:
        """Return the stamps of the slots as this request remembers them, or None if it lacks one of them."""
        stamps: list[bytes | None] = []
        written, before = self._last_writes, self._last_forgotten_write
        for slot in slots:
            known = memory.get(slot)
            if known is None or known[1] < written.get(slot, before):
                return None
            stamps.append(known[0])
        return stamps

    def _record_write(self, slots: Sequence[bytes]) -> None:
        with self._lock:
            if len(self._last_writes) + len(slots) > MAX_WRITES:
                self._last_forgotten_write = self._writes + 1
                self._last_writes = {}
            number = self._writes + 1
            self._last_writes.update(dict.fromkeys(slots, number))
            self._writes = number
