"""A store in front of another one, that may answer for slots from this process's memory.

Only :meth:`Store.look_up` without an entry may be answered so: it is what results in process memory are checked with.
A look-up with an entry, whose vector a new result is going to be kept under, always asks the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ormcache.stores.base import Store
from ormcache.stores.facts import StoreFacts


class RememberingStore(Store):
    """Passes everything on, and is told what this process writes."""

    def __init__(self, store: Store, **options: Any) -> None:
        super().__init__(**options)
        self._store = store
        self.kind = store.kind  # type: ignore[misc]  # it stands for that one

    @property
    def strict(self) -> Store:
        return self._store

    @property
    def available(self) -> bool:
        return self._store.available

    def look_up(self, entry: bytes | None, slots: Sequence[bytes]) -> tuple[bytes | None, list[bytes | None]]:
        raise NotImplementedError

    def _written(self, slots: Sequence[bytes]) -> None:
        """This process is about to change these slots, or has: what is remembered of them is to be forgotten."""
        raise NotImplementedError

    def fill(self, slots: Sequence[bytes], stamp: bytes) -> list[bytes | None]:
        return self._store.fill(slots, stamp)

    def put(self, entry: bytes, value: bytes, timeout: float | None) -> bool:
        return self._store.put(entry, value, timeout)

    def remove(self, entries: Sequence[bytes]) -> None:
        self._store.remove(entries)

    def claim(self, name: bytes, owner: bytes, seconds: float) -> bytes:
        return self._store.claim(name, owner, seconds)

    def release(self, name: bytes, word: bytes, seconds: float) -> None:
        self._store.release(name, word, seconds)

    def describe(self) -> StoreFacts:
        return self._store.describe()

    # After the call, also one that raises: a process sees its own writes, whatever its other threads have read
    # meanwhile. Before it, because nobody need be told any longer what is about to be untrue.

    def mark(self, slots: Sequence[bytes], *args: Any, **kwargs: Any) -> bytes | None:
        self._written(slots)
        try:
            return self._store.mark(slots, *args, **kwargs)
        finally:
            self._written(slots)

    def settle(self, slots: Sequence[bytes], *args: Any, **kwargs: Any) -> bytes | None:
        self._written(slots)
        try:
            return self._store.settle(slots, *args, **kwargs)
        finally:
            self._written(slots)

    def empty(self, slots: Sequence[bytes]) -> None:
        self._written(slots)
        try:
            self._store.empty(slots)
        finally:
            self._written(slots)

    def close(self) -> None:
        self._store.close()
