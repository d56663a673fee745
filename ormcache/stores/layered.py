"""Base class of a store in front of another one that may answer for slots from the memory of this process.

Only :meth:`Store.look_up` without an entry may be answered from memory: it validates results in the process's memory.
A lookup with an entry always asks the store, because a new result may be stored under the vector that it returns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ormcache.conf import Config
from ormcache.stores.base import Store
from ormcache.stores.info import StoreInfo

T = TypeVar("T")


class LayeredStore(Store):
    """Pass all operations on to a store, and record what this process writes."""

    def __init__(self, store: Store, **options: Any) -> None:
        super().__init__(**options)
        self._store = store
        self.kind = store.kind  # type: ignore[misc]  # it stands in for that one

    @classmethod
    def wrap(cls, store: Any, config: Config) -> LayeredStore:
        """Put a store of this level in front of another one, for these settings."""
        raise NotImplementedError

    @property
    def strict(self) -> Store:
        return self._store

    @property
    def is_available(self) -> bool:
        return self._store.is_available

    def look_up(self, entry: bytes | None, slots: Sequence[bytes]) -> tuple[bytes | None, list[bytes | None]]:
        raise NotImplementedError

    def _record_write(self, slots: Sequence[bytes]) -> None:
        """Forget what is remembered of these slots: this process is about to change them, or has done so."""
        raise NotImplementedError

    def fill_slots(self, slots: Sequence[bytes], stamp: bytes) -> list[bytes | None]:
        return self._store.fill_slots(slots, stamp)

    def put_entry(self, entry: bytes, value: bytes, timeout: float | None) -> bool:
        return self._store.put_entry(entry, value, timeout)

    def delete_entries(self, entries: Sequence[bytes]) -> None:
        self._store.delete_entries(entries)

    def claim(self, name: bytes, owner: bytes, seconds: float) -> bytes:
        return self._store.claim(name, owner, seconds)

    def release(self, name: bytes, word: bytes, seconds: float) -> None:
        self._store.release(name, word, seconds)

    def describe(self) -> StoreInfo:
        return self._store.describe()

    def mark(self, slots: Sequence[bytes], *args: Any, **kwargs: Any) -> bytes | None:
        return self._write(self._store.mark, slots, *args, **kwargs)

    def settle(self, slots: Sequence[bytes], *args: Any, **kwargs: Any) -> bytes | None:
        return self._write(self._store.settle, slots, *args, **kwargs)

    def clear_slots(self, slots: Sequence[bytes]) -> None:
        self._write(self._store.clear_slots, slots)

    def _write(self, operation: Callable[..., T], slots: Sequence[bytes], *args: Any, **kwargs: Any) -> T:
        """Call an operation that changes slots, and record that before and after it.

        Afterwards even if it raises, so that a process sees its own writes whatever its other threads have read
        meanwhile; and before, because an answer that is about to become untrue helps no one.
        """
        self._record_write(slots)
        try:
            return operation(slots, *args, **kwargs)
        finally:
            self._record_write(slots)

    def close(self) -> None:
        self._store.close()
