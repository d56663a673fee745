"""Any other cache of Django, through nothing but its public methods.

Django's caches cannot change a value atomically, so marks are merged under a lock of the cache's own: a key that only
one writer can add. Where ``add`` is not atomic (the file-based cache) or a writer is held up for longer than
``LOCK_SECONDS`` between taking the lock and storing, two writers can lose a mark of each other. Lost is only what
the mark is for: reads between the other's commit and its settling may then be one write behind.

Leases end by the clock of their writer's host.
"""

from __future__ import annotations

import hashlib
import math
import random
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from django.core.cache import caches
from django.core.cache.backends.db import DatabaseCache
from django.core.cache.backends.dummy import DummyCache
from django.core.exceptions import ImproperlyConfigured

from ormcache.conf import Config
from ormcache.stores.base import (
    Store,
    StoreBusy,
    StoreUnavailable,
    last_lease_end,
    marks_of,
    with_mark,
    without_mark,
)
from ormcache.stores.facts import ServerFacts

LOCK_SECONDS = 2  # that a lock outlives its owner
LOCK_WAIT = 3.0  # seconds that a writer waits for a lock: longer than one that nobody will give back
LONGEST_NAME = 60  # bytes, of which 120 characters are made; some caches take 250 with prefix and version


class DjangoStore(Store):
    """Threads share it; Django gives each thread its own cache object."""

    kind: ClassVar[str] = "django"

    def __init__(
        self,
        alias: str,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(clock)
        self._alias = alias
        self._wall_clock = wall_clock
        if isinstance(self._cache, DatabaseCache):
            raise ImproperlyConfigured(
                f"CACHES[{alias!r}] is kept in a database, whose transactions it would have to watch over."
                " Name another cache in ORMCACHE['CACHE']."
            )
        self._keeps_nothing = isinstance(self._cache, DummyCache)

    @staticmethod
    def identity(config: Config) -> tuple[object, ...]:
        return (config.cache,)

    @classmethod
    def from_config(cls, config: Config) -> DjangoStore:
        return cls(config.cache)

    @property
    def _cache(self) -> Any:
        return caches[self._alias]

    def _look_up(self, entry: bytes | None, slots: Sequence[bytes]) -> tuple[bytes | None, list[bytes | None]]:
        names = [_slot(slot) for slot in slots]
        wanted = names if entry is None else [_entry(entry), *names]
        found = self._cache.get_many(wanted)
        value = None if entry is None else _bytes(found.get(wanted[0]))
        return value, [_bytes(found.get(name)) for name in names]

    def _fill(self, slots: Sequence[bytes], stamp: bytes) -> list[bytes | None]:
        cache = self._cache
        names = [_slot(slot) for slot in slots]
        for name in names:
            cache.add(name, stamp, timeout=None)
        found = cache.get_many(names)
        return [_bytes(found.get(name)) for name in names]

    def _put(self, entry: bytes, value: bytes, timeout: float | None) -> bool:
        self._cache.set(_entry(entry), value, timeout=None if timeout is None else max(1, int(timeout)))
        return True

    def _mark(self, slots: Sequence[bytes], writer: bytes, lease: float, watch: bytes | None) -> bytes | None:
        watched = None if watch is None else _bytes(self._cache.get(_slot(watch)))
        now = self._now()
        end = now + int(lease * 1e6)
        for slot in slots:
            self._change(slot, lambda value: with_mark(value, writer, now, end))
        return watched

    def _settle(self, slots: Sequence[bytes], writer: bytes, stamp: bytes, watch: bytes | None) -> bytes | None:
        now = self._now()
        for slot in slots:
            self._change(slot, lambda value: without_mark(value, writer, now, stamp))
        return None if watch is None else _bytes(self._cache.get(_slot(watch)))

    def _remove(self, entries: Sequence[bytes]) -> None:
        self._cache.delete_many([_entry(entry) for entry in entries])

    def _empty(self, slots: Sequence[bytes]) -> None:
        self._cache.delete_many([_slot(slot) for slot in slots])

    def _describe(self) -> tuple[ServerFacts, ...]:
        backend = type(self._cache)
        return (
            ServerFacts(f"CACHES[{self._alias!r}]", more={"backend": f"{backend.__module__}.{backend.__qualname__}"}),
        )

    def _claim(self, name: bytes, owner: bytes, seconds: float) -> bytes:
        cache = self._cache
        key = _claimed(name)
        if cache.add(key, owner, timeout=math.ceil(seconds)):
            return owner
        return _bytes(cache.get(key)) or b""

    def _release(self, name: bytes, word: bytes, seconds: float) -> None:
        self._cache.set(_claimed(name), word, timeout=math.ceil(seconds))

    def _change(self, slot: bytes, changed: Callable[[bytes | None], bytes]) -> None:
        """Replace the value of a slot by what ``changed`` makes of it, one writer at a time."""
        if self._keeps_nothing:
            return
        cache = self._cache
        name = _slot(slot)
        lock, owner = f"{name}.lock", uuid.uuid4().hex
        deadline = time.monotonic() + LOCK_WAIT
        while not cache.add(lock, owner, timeout=LOCK_SECONDS):
            if time.monotonic() > deadline:
                raise StoreBusy(f"the lock of a slot in CACHES[{self._alias!r}] cannot be had")
            time.sleep(random.uniform(0.0005, 0.005))  # noqa: S311 - so that two do not go on in step
        try:
            value = changed(_bytes(cache.get(name)))
            seconds = math.ceil((last_lease_end(value) - self._now()) / 1e6) + 1 if marks_of(value) else None
            cache.set(name, value, timeout=seconds)
            # Some caches swallow their errors. A mark that was not stored must not be taken for one that was.
            if _bytes(cache.get(name)) != value:
                raise StoreUnavailable(f"CACHES[{self._alias!r}] did not keep what was stored in it")
        finally:
            if cache.get(lock) == owner:
                cache.delete(lock)

    def _now(self) -> int:
        return int(self._wall_clock() * 1e6)


def _bytes(value: Any) -> bytes | None:
    """What others put under our names is as good as nothing."""
    return value if isinstance(value, bytes) else None


def _entry(name: bytes) -> str:
    return "ormcache.e." + _text(name)


def _slot(name: bytes) -> str:
    return "ormcache.s." + _text(name)


def _claimed(name: bytes) -> str:
    return "ormcache.c." + _text(name)


def _text(name: bytes) -> str:
    if len(name) > LONGEST_NAME:
        name = hashlib.blake2b(name, digest_size=32).digest()
    return name.hex()
