"""A stand-in for a store that cannot be opened with the settings as they are; it counts as away until it can be.

The alias in ``CACHE`` is missing or belongs to another kind of cache, as in a test that replaces ``CACHES``, or the
client library is not installed. None of that may break a query. Invalidations wait, as for any store that is away.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence

from django.core.exceptions import ImproperlyConfigured

from ormcache.exceptions import StoreUnavailable
from ormcache.stores.base import Last, Store
from ormcache.stores.info import ServerInfo


class UnopenedStore(Store):
    """Try to open the real store at each operation, and pass all operations on to it once it is open."""

    def __init__(self, kind: str, opener: Callable[[], Store]) -> None:
        """Make a store of this kind that ``opener`` returns, or raises ImproperlyConfigured for."""
        super().__init__()
        self.kind = kind  # type: ignore[misc]  # it stands in for one of that kind
        self._opener = opener
        self._store: Store | None = None
        _unopened.add(self)

    def _open(self) -> Store:
        """Return the real store. Raise StoreUnavailable if it cannot be opened."""
        if self._store is None:
            try:
                self._store = self._opener()
            except ImproperlyConfigured as error:
                raise StoreUnavailable(str(error)) from error
        return self._store

    def _look_up(self, entry: bytes | None, slots: Sequence[bytes]) -> tuple[bytes | None, list[bytes | None]]:
        return self._open().look_up(entry, slots)

    def _fill_slots(self, slots: Sequence[bytes], stamp: bytes) -> list[bytes | None]:
        return self._open().fill_slots(slots, stamp)

    def _put_entry(self, entry: bytes, value: bytes, timeout: float | None) -> bool:
        return self._open().put_entry(entry, value, timeout)

    def _mark(self, slots: Sequence[bytes], writer: bytes, lease: float, watch: bytes | None) -> bytes | None:
        return self._open().mark(slots, writer, lease, watch)

    def _settle(
        self, slots: Sequence[bytes], writer: bytes, stamp: bytes, watch: bytes | None, last: Last | None
    ) -> bytes | None:
        return self._open().settle(slots, writer, stamp, watch, last)

    def _delete_entries(self, entries: Sequence[bytes]) -> None:
        self._open().delete_entries(entries)

    def _claim(self, name: bytes, owner: bytes, seconds: float) -> bytes:
        return self._open().claim(name, owner, seconds)

    def _release(self, name: bytes, word: bytes, seconds: float) -> None:
        self._open().release(name, word, seconds)

    def _clear_slots(self, slots: Sequence[bytes]) -> None:
        self._open().clear_slots(slots)

    def _describe(self) -> tuple[ServerInfo, ...]:
        return self._open().describe().servers


_unopened: weakref.WeakSet[UnopenedStore] = weakref.WeakSet()


def retry_unopened_stores() -> None:
    """Let every store that could not be opened try again at its next operation: the settings have changed."""
    for store in list(_unopened):
        store.retry_now()
