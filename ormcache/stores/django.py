"""A store on any cache of Django, through its public methods alone.

Django's caches cannot change a value atomically, so marks are merged under a lock in the cache: a key that only one
writer can add. Two writers can lose each other's mark where ``add`` is not atomic (the file-based cache), or where a
writer is held up for longer than ``LOCK_LEASE`` between taking the lock and storing. Only the protection of that mark
is lost then: reads between the other writer's commit and its settling may be one write behind.

Leases end by the clock of their writer's host.

**A cache without room** (:func:`_is_refusal`) can still delete. A slot that it takes no new value for is deleted, and
the value is added in the room that this leaves. There is none for the lock then, so the mark of another writer may be
deleted with the slot.

Most of Django's caches unpickle what is in their server before it can be verified, so whoever writes there runs code in
every process that reads. :func:`uses_pickle` finds such caches. ``SIGN``, which keeps foreign bytes out, cannot work
there and is rejected.
"""

from __future__ import annotations

import errno
import hashlib
import math
import random
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar

from django.conf import settings
from django.core.cache import CacheHandler, caches
from django.core.cache.backends.db import DatabaseCache
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from ormcache.conf import Config
from ormcache.exceptions import StoreBusy, StoreFull, StoreUnavailable
from ormcache.stores.base import (
    ROW_SLOT_LIFETIME,
    Last,
    Store,
    add_mark,
    decode_marks,
    describe_error,
    is_row_slot,
    last_lease_end,
    remove_mark,
)
from ormcache.stores.info import ServerInfo
from ormcache.stores.serializer import BytesSerializer
from ormcache.utils.interruptions import let_through

#: Class of a cache → the option that names its serializer, pickle by default
_SERIALIZER_OPTIONS = {
    "django.core.cache.backends.redis.RedisCache": "serializer",
    "django_redis.cache.RedisCache": "SERIALIZER",
    "django.core.cache.backends.memcached.PyMemcacheCache": "serde",
}
LOCK_LEASE = 2  # seconds after which a lock ends whose owner is gone
LOCK_TIMEOUT = 3.0  # seconds that a writer waits for a lock: longer than one lasts that is never released
MAX_NAME_LENGTH = 60  # bytes, which become 120 characters; some caches take 250, prefix and version included


class DjangoStore(Store):
    """A store on the cache of an alias. Threads share it; Django gives each thread its own cache object."""

    kind: ClassVar[str] = "django"
    reads_at_once = False  # what get_many() does is the cache's to decide
    errors = (Exception,)  # any client may be behind it; what a signal handler raises is known by its origin alone

    def __init__(
        self,
        alias: str,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        *,
        sign: bool = False,
    ) -> None:
        super().__init__(clock)
        self._alias = alias
        self._settings = settings.CACHES.get(alias)
        self._caches = caches
        setting_changed.connect(self._pin_cache)
        self._wall_clock = wall_clock
        if isinstance(self._cache, DatabaseCache):
            raise ImproperlyConfigured(
                f"CACHES[{alias!r}] is in a database, where its changes would be part of the transactions themselves."
                " Name another cache in ORMCACHE['CACHE']."
            )
        if sign and uses_pickle(alias):
            raise ImproperlyConfigured(
                f"CACHES[{alias!r}] unpickles whatever is in it, before ormcache can look at a signature."
                " Use another STORE, or give the cache a serializer that does not."
            )
        self._is_dummy = isinstance(self._cache, DummyCache)

    @staticmethod
    def identity(config: Config) -> tuple[object, ...]:
        return (config.cache, config.sign)

    @classmethod
    def from_config(cls, config: Config) -> DjangoStore:
        return cls(config.cache, sign=config.sign)

    @property
    def location(self) -> str:
        return f"CACHES[{self._alias!r}] {_dotted_path(type(self._cache))}"

    @property
    def _cache(self) -> Any:
        return self._caches[self._alias]

    def _pin_cache(self, *, setting: str, **kwargs: Any) -> None:
        """Stay with the first cache of the alias, whatever a test puts behind the alias."""
        if setting == "CACHES":
            is_unchanged = settings.CACHES.get(self._alias) == self._settings
            self._caches = caches if is_unchanged else CacheHandler({self._alias: self._settings})

    def _look_up(self, entry: bytes | None, slots: Sequence[bytes]) -> tuple[bytes | None, list[bytes | None]]:
        names = [_slot_key(slot) for slot in slots]
        wanted = names if entry is None else [_entry_key(entry), *names]
        found = self._cache.get_many(wanted)
        value = None if entry is None else _bytes(found.get(wanted[0]))
        return value, [_bytes(found.get(name)) for name in names]

    def _fill_slots(self, slots: Sequence[bytes], stamp: bytes) -> list[bytes | None]:
        cache = self._cache
        names = [_slot_key(slot) for slot in slots]
        for slot, name in zip(slots, names, strict=True):
            self._store(cache.add, name, stamp, timeout=_stamp_timeout(slot))
        found = cache.get_many(names)
        return [_bytes(found.get(name)) for name in names]

    def _put_entry(self, entry: bytes, value: bytes, timeout: float | None) -> bool:
        self._store(
            self._cache.set, _entry_key(entry), value, timeout=None if timeout is None else max(1, int(timeout))
        )
        return True

    def _mark(self, slots: Sequence[bytes], writer: bytes, lease: float, watch: bytes | None) -> bytes | None:
        watched = None if watch is None else _bytes(self._cache.get(_slot_key(watch)))
        now = self._now()
        end = now + int(lease * 1e6)
        emptied, why = self._update_slots(slots, lambda value: add_mark(value, writer, now, end))
        if emptied:
            raise StoreFull(why, emptied, watched)
        return watched

    def _settle(
        self, slots: Sequence[bytes], writer: bytes, stamp: bytes, watch: bytes | None, last: Last | None
    ) -> bytes | None:
        now = self._now()
        emptied: list[bytes] = []
        why = ""
        parts = [(slots, stamp)] if last is None else [(slots[-last[0] :][::-1], last[1]), (slots[: -last[0]], stamp)]
        for some, new in parts:
            more, error = self._update_slots(some, partial(remove_mark, writer=writer, now=now, stamp=new))
            emptied, why = emptied + more, why or error
        if emptied:
            self._record_refusal(emptied, why)
        return None if watch is None else _bytes(self._cache.get(_slot_key(watch)))

    def _delete_entries(self, entries: Sequence[bytes]) -> None:
        self._cache.delete_many([_entry_key(entry) for entry in entries])

    def _clear_slots(self, slots: Sequence[bytes]) -> None:
        self._cache.delete_many([_slot_key(slot) for slot in slots])

    def _describe(self) -> tuple[ServerInfo, ...]:
        return (ServerInfo(f"CACHES[{self._alias!r}]", details={"backend": _dotted_path(type(self._cache))}),)

    def _claim(self, name: bytes, owner: bytes, seconds: float) -> bytes:
        cache = self._cache
        key = _claim_key(name)
        try:
            if self._store(cache.add, key, owner, timeout=math.ceil(seconds)):
                return owner
        except StoreFull:
            return owner
        return _bytes(cache.get(key)) or b""

    def _release(self, name: bytes, word: bytes, seconds: float) -> None:
        with suppress(StoreFull):
            self._store(self._cache.set, _claim_key(name), word, timeout=math.ceil(seconds))

    def _store(self, call: Callable[..., Any], name: str, value: bytes, *, timeout: int | None) -> Any:
        """Store a value by a method of the cache. Raise StoreFull if the cache has no room for it."""
        try:
            return call(name, value, timeout=timeout)
        except Exception as error:
            let_through(error)
            if _is_refusal(error):
                raise StoreFull(f"CACHES[{self._alias!r}] is full: {describe_error(error)}") from error
            raise

    def _update_slots(self, slots: Sequence[bytes], update: Callable[[bytes | None], bytes]) -> tuple[list[bytes], str]:
        """Replace the value of each slot by ``update`` of it, and empty those that the cache has no room for.

        Return these, and the last error.
        """
        emptied, why = [], ""
        for slot in slots:
            try:
                self._update_slot(slot, update)
            except StoreFull as error:
                why = str(error)
                if not self._update_empty_slot(slot, update(None)):
                    emptied.append(slot)
        return emptied, why

    def _update_empty_slot(self, slot: bytes, value: bytes) -> bool:
        """Empty a slot, and write this value into the room that it has left. Return False if the slot stays empty.

        There is no room for a lock, so the value of another writer who comes in between is never overwritten.
        """
        name = _slot_key(slot)
        self._empty(name)
        try:
            is_stored = self._store(self._cache.add, name, value, timeout=self._timeout_of(slot, value))
        except StoreFull:
            is_stored = False
        if not is_stored:
            self._empty(name)
        return bool(is_stored)

    def _empty(self, name: str) -> None:
        """Delete the value of a name. Raise StoreUnavailable if it is still there."""
        self._cache.delete(name)
        if self._cache.get(name) is not None:
            raise StoreUnavailable(f"CACHES[{self._alias!r}] is full, and did not delete what it was asked to delete")

    def _update_slot(self, slot: bytes, update: Callable[[bytes | None], bytes]) -> None:
        """Replace the value of a slot by ``update`` of that value, one writer at a time.

        Raise StoreBusy if the lock is not released in time, StoreFull if the cache has no room, and StoreUnavailable if
        it does not store the value.
        """
        if self._is_dummy:
            return
        cache = self._cache
        name = _slot_key(slot)
        lock, owner = f"{name}.lock", uuid.uuid4().bytes
        deadline = time.monotonic() + LOCK_TIMEOUT
        while not self._store(cache.add, lock, owner, timeout=LOCK_LEASE):
            if time.monotonic() > deadline:
                raise StoreBusy(f"the lock of a slot in CACHES[{self._alias!r}] was not released in time")
            time.sleep(random.uniform(0.0005, 0.005))  # noqa: S311 - so that two do not go on in step
        try:
            value = update(_bytes(cache.get(name)))
            self._store(cache.set, name, value, timeout=self._timeout_of(slot, value))
            # Some caches swallow their errors. A mark that was not stored must not be taken for one that was.
            if _bytes(cache.get(name)) != value:
                raise StoreUnavailable(f"CACHES[{self._alias!r}] did not return what was just stored in it")
        finally:
            if cache.get(lock) == owner:
                cache.delete(lock)

    def _timeout_of(self, slot: bytes, value: bytes) -> int | None:
        """Return for how many seconds a slot holds this value; None: until it is evicted."""
        if not decode_marks(value):
            return _stamp_timeout(slot)
        return math.ceil((last_lease_end(value) - self._now()) / 1e6) + 1

    def _now(self) -> int:
        """Return the time of this host in microseconds."""
        return int(self._wall_clock() * 1e6)


def uses_pickle(alias: str) -> bool:
    """Return whether the cache of an alias unpickles what others may have put there: yes, unless known not to."""
    cache = caches[alias]
    if isinstance(cache, (LocMemCache, DummyCache)):
        return False  # no other process can put anything there
    options = settings.CACHES[alias].get("OPTIONS") or {}
    names = [_dotted_path(cls) for cls in type(cache).__mro__]
    serializers = [options.get(_SERIALIZER_OPTIONS[name]) for name in names if name in _SERIALIZER_OPTIONS]
    return not any(
        one in (BytesSerializer, _dotted_path(BytesSerializer)) or isinstance(one, BytesSerializer)
        for one in serializers
    )


#: What Redis and memcached answer then, and the file system
_NO_ROOM = ("used memory > 'maxmemory'", "out of memory storing object")
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


def _is_refusal(error: BaseException) -> bool:
    """Return whether an error says that there is no room."""
    if isinstance(error, OSError):
        return error.errno in _NO_SPACE
    text = str(error)
    return any(words in text for words in _NO_ROOM)


def _dotted_path(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _stamp_timeout(slot: bytes) -> int | None:
    """Return for how many seconds a stamp is stored in a slot; None: until it is evicted."""
    return ROW_SLOT_LIFETIME if is_row_slot(slot) else None


def _bytes(value: Any) -> bytes | None:
    """Return a value of the cache, or None in place of anything that ormcache cannot have stored there."""
    return value if isinstance(value, bytes) else None


def _entry_key(name: bytes) -> str:
    return "ormcache.e." + _encode_name(name)


def _slot_key(name: bytes) -> str:
    return "ormcache.s." + _encode_name(name)


def _claim_key(name: bytes) -> str:
    return "ormcache.c." + _encode_name(name)


def _encode_name(name: bytes) -> str:
    """Return a name as characters that every cache takes in a key; a digest of it if it is too long."""
    if len(name) > MAX_NAME_LENGTH:
        name = hashlib.blake2b(name, digest_size=32).digest()
    return name.hex()
