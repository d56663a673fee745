"""The level ``request``: slots are asked for once in a request or task, and then remembered until its end.

What is answered is never older than the beginning of the request. Outside of requests this is the level ``strict``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ormcache.conf import Config
from ormcache.scope import current_scope
from ormcache.stores.base import Store, is_stamp
from ormcache.stores.remembering import RememberingStore

#: Slots that this process has written, as far back as it remembers them one by one
MOST_WRITTEN = 100_000


class RequestStore(RememberingStore):
    """Threads share it. What a request remembers is in its scope: slot → (stamp, number of the last write before)."""

    def __init__(self, store: Store, **options: Any) -> None:
        super().__init__(store, **options)
        # The lock of the base class guards these two when they change.
        self._writes = 0  # counts what this process has written
        self._written_last: dict[bytes, int] = {}  # slot → the number of the last such write
        self._written_before = 0  # the number of the last write of any slot that is not in there

    @staticmethod
    def identity(config: Config) -> tuple[object, ...]:
        return ()

    @classmethod
    def in_front_of(cls, store: Store, config: Config) -> RequestStore:
        return cls(store)

    def look_up(self, entry: bytes | None, slots: Sequence[bytes]) -> tuple[bytes | None, list[bytes | None]]:
        scope = current_scope()
        memory = None if scope is None else scope.memory_of(self)
        if memory is None:
            return self._store.look_up(entry, slots)
        if entry is None:
            held = self._remembered(memory, slots)
            if held is not None:
                return None, held
        # A stamp that was read before a write of this process is not to be believed after it.
        writes = self._writes
        value, fetched = self._store.look_up(entry, slots)
        for slot, stamp in zip(slots, fetched, strict=True):
            if is_stamp(stamp):
                memory[slot] = (stamp, writes)
            else:
                memory.pop(slot, None)
        return value, fetched

    def _remembered(self, memory: dict[bytes, tuple[bytes, int]], slots: Sequence[bytes]) -> list[bytes | None] | None:
        """The slots' stamps as this request knows them, or None if it does not know all of them."""
        held: list[bytes | None] = []
        written, before = self._written_last, self._written_before
        for slot in slots:
            known = memory.get(slot)
            if known is None or known[1] < written.get(slot, before):
                return None
            held.append(known[0])
        return held

    def _written(self, slots: Sequence[bytes]) -> None:
        with self._lock:
            if len(self._written_last) + len(slots) > MOST_WRITTEN:
                self._written_before = self._writes + 1
                self._written_last = {}
            number = self._writes + 1
            self._written_last.update(dict.fromkeys(slots, number))
            self._writes = number
