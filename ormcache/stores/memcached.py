"""memcached, through the CACHES alias of Django's pymemcache backend.

Servers and TLS come from the alias; the clients are our own: no pickling, no retries, short timeouts. A slot must be
where every other process looks for it, so its name alone says which server it lives on: when that server is away, it is
not looked for on another one. All processes must therefore have the same servers, and a server that is taken away and
put back must be restarted, or it comes back with what it knew.

Leases end by the clock of their writer's host, and a slot expires up to two seconds after its last lease: memcached
counts whole seconds.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import math
import random
import select
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

from django.core.cache import caches
from django.core.cache.backends.memcached import PyMemcacheCache
from django.core.exceptions import ImproperlyConfigured
from pymemcache.client.base import Client, normalize_server_spec
from pymemcache.exceptions import MemcacheServerError

from ormcache.conf import Config
from ormcache.stores.base import Store, StoreBusy, last_lease_end, marks_of, with_mark, without_mark
from ormcache.stores.idle import Idle

ATTEMPTS = 50  # to change a slot that others change as well
ITEM_OVERHEAD = 512  # bytes of an item that are not its value, generously
LONGEST_RELATIVE = 30 * 24 * 3600  # seconds; memcached takes anything above for a date
QUIET = 0.1  # seconds after which an idle connection is looked at before it is used
LONGEST_NAME = 120  # bytes, of which 160 characters are made; memcached takes 250

#: What a HashClient's OPTIONS can say about a connection
OPTIONS = ("tls_context", "socket_keepalive", "socket_module")


class Link:
    """One connection to one server."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.used = -math.inf

    @property
    def stale(self) -> bool:
        """Whether the server has closed the connection while it was idle."""
        if time.monotonic() - self.used < QUIET:
            return False
        if self.client.sock is None:
            return True
        poll = select.poll()
        poll.register(self.client.sock, select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        self.client.close()


class Server:
    """One memcached. Threads share it: each call takes a connection for itself."""

    def __init__(self, address: Any, options: dict[str, Any], timeout: float) -> None:
        self._address = address
        self._options = options | {"connect_timeout": timeout, "timeout": timeout}
        self._idle: Idle[Link] = Idle(Link.close)
        self._largest: int | None = None  # bytes of one item, once asked

    def run(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """One method of pymemcache's client."""
        link = self._idle.take()
        if link is not None and link.stale:
            link.close()
            link = None
        if link is None:
            link = Link(Client(self._address, no_delay=True, default_noreply=False, ignore_exc=False, **self._options))
        try:
            answer = getattr(link.client, method)(*args, **kwargs)
        except BaseException:
            # Also a signal's or a greenlet's: an unread reply must never be taken for the next one.
            link.close()
            raise
        link.used = time.monotonic()
        self._idle.give(link)
        return answer

    def largest(self) -> int:
        if self._largest is None:
            self._largest = int(self.run("stats", "settings")[b"item_size_max"])
        return self._largest

    def close(self) -> None:
        self._idle.clear()
        self._largest = None


class MemcachedStore(Store):
    kind: ClassVar[str] = "memcached"

    def __init__(
        self,
        alias: str,
        timeout: float,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(clock)
        self._wall_clock = wall_clock
        cache: Any = caches[alias]
        if not isinstance(cache, PyMemcacheCache):
            raise ImproperlyConfigured(
                f"CACHES[{alias!r}] is not a memcached that the store can use:"
                " its BACKEND must be django.core.cache.backends.memcached.PyMemcacheCache."
            )
        given: dict[str, Any] = vars(cache)["_options"]
        options = {name: value for name, value in given.items() if name in OPTIONS}
        # Sorted: the order in which a process lists its servers must not decide where a slot is.
        addresses = sorted(map(normalize_server_spec, cache.client_servers), key=repr)
        self._servers = [Server(address, options, timeout) for address in addresses]

    @staticmethod
    def identity(config: Config) -> tuple[object, ...]:
        return (config.cache, config.store_timeout)

    @classmethod
    def from_config(cls, config: Config) -> MemcachedStore:
        return cls(config.cache, config.store_timeout)

    def close(self) -> None:
        for server in self._servers:
            server.close()

    def _look_up(self, entry: bytes | None, slots: Sequence[bytes]) -> tuple[bytes | None, list[bytes | None]]:
        names = [_slot(slot) for slot in slots]
        wanted = names if entry is None else [_entry(entry), *names]
        found = self._get_many(wanted)
        return (None if entry is None else found.get(wanted[0])), [found.get(name) for name in names]

    def _fill(self, slots: Sequence[bytes], stamp: bytes) -> list[bytes | None]:
        names = [_slot(slot) for slot in slots]
        for name in names:
            self._server(name).run("add", name, stamp, expire=0, noreply=False)
        found = self._get_many(names)
        return [found.get(name) for name in names]

    def _put(self, entry: bytes, value: bytes, timeout: float | None) -> bool:
        name = _entry(entry)
        server = self._server(name)
        if len(value) > server.largest() - ITEM_OVERHEAD:
            return False
        expire = 0 if timeout is None else self._expiry(max(1, int(timeout)))
        try:
            return bool(server.run("set", name, value, expire=expire, noreply=False))
        except MemcacheServerError:
            return False  # out of memory for items of this size

    def _mark(self, slots: Sequence[bytes], writer: bytes, lease: float, watch: bytes | None) -> bytes | None:
        now = int(self._wall_clock() * 1e6)
        end = now + int(lease * 1e6)
        watched = None if watch is None else _slot(watch)
        return self._change(slots, lambda value: with_mark(value, writer, now, end), now, watched)

    def _settle(self, slots: Sequence[bytes], writer: bytes, stamp: bytes, watch: bytes | None) -> bytes | None:
        now = int(self._wall_clock() * 1e6)
        watched = None if watch is None else _slot(watch)
        return self._change(slots, lambda value: without_mark(value, writer, now, stamp), now, watched)

    def _remove(self, entries: Sequence[bytes]) -> None:
        for entry in entries:
            name = _entry(entry)
            self._server(name).run("delete", name, noreply=False)

    def _claim(self, name: bytes, owner: bytes, seconds: float) -> bytes:
        key = _claimed(name)
        server = self._server(key)
        try:
            if server.run("add", key, owner, expire=self._lasting(seconds), noreply=False):
                return owner
        except MemcacheServerError:
            return owner  # out of memory for items of this size
        return server.run("get", key) or b""

    def _release(self, name: bytes, word: bytes, seconds: float) -> None:
        key = _claimed(name)
        with contextlib.suppress(MemcacheServerError):
            self._server(key).run("set", key, word, expire=self._lasting(seconds), noreply=False)

    def _reset(self) -> None:
        self.close()

    def _change(
        self, slots: Sequence[bytes], changed: Callable[[bytes | None], bytes], now: int, watched: str | None = None
    ) -> bytes | None:
        """Replace the value of every slot by what ``changed`` makes of it; what the slot ``watched`` held before."""
        left = {_slot(slot) for slot in slots}
        before: bytes | None = None
        for attempt in range(ATTEMPTS):
            names = left if watched is None or attempt else {*left, watched}
            held = self._gets_many(names)
            if watched is not None and not attempt:
                before = held.get(watched, (None,))[0]
            left = {name for name in left if not self._store(name, held.get(name), changed, now)}
            if not left:
                return before
            if attempt > ATTEMPTS // 10:
                time.sleep(random.random() / 1000)  # noqa: S311 - so that two do not go on in step
        raise StoreBusy(f"others changed the same slots {ATTEMPTS} times in a row")

    def _store(
        self, name: str, held: tuple[bytes, bytes] | None, changed: Callable[[bytes | None], bytes], now: int
    ) -> bool:
        """Put the changed value into a slot, unless the slot has changed since it held ``held``."""
        value = changed(held[0] if held else None)
        marked = marks_of(value)
        expire = self._lasting((last_lease_end(value) - now) / 1e6) if marked else 0

        server = self._server(name)
        try:
            if held is None:
                return bool(server.run("add", name, value, expire=expire, noreply=False))
            return bool(server.run("cas", name, value, held[1], expire=expire, noreply=False))
        except MemcacheServerError:
            # No memory for the new value. An empty slot retires every entry as well.
            server.run("delete", name, noreply=False)
            return True

    def _lasting(self, seconds: float) -> int:
        """What to ask for to have something kept for so long, or up to two seconds longer.

        memcached's second begins when it likes, so one that is asked to keep something for n keeps it n-1 to n.
        """
        return self._expiry(math.ceil(seconds) + 1)

    def _expiry(self, seconds: int) -> int:
        return seconds if seconds <= LONGEST_RELATIVE else int(self._wall_clock()) + seconds

    def _server(self, name: str) -> Server:
        if len(self._servers) == 1:
            return self._servers[0]
        return self._servers[zlib.crc32(name.encode()) % len(self._servers)]

    def _by_server(self, names: Iterable[str]) -> Iterable[tuple[Server, list[str]]]:
        if len(self._servers) == 1:
            return [(self._servers[0], list(names))]
        parts: dict[int, list[str]] = {}
        for name in names:
            parts.setdefault(zlib.crc32(name.encode()) % len(self._servers), []).append(name)
        return [(self._servers[number], part) for number, part in parts.items()]

    def _get_many(self, names: Sequence[str]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for server, part in self._by_server(names):
            if part:
                found |= server.run("get_many", part)
        return found

    def _gets_many(self, names: Iterable[str]) -> dict[str, tuple[bytes, bytes]]:
        found: dict[str, tuple[bytes, bytes]] = {}
        for server, part in self._by_server(names):
            if part:
                found |= server.run("gets_many", part)
        return found


def _entry(name: bytes) -> str:
    return "ormcache:e:" + _text(name)


def _slot(name: bytes) -> str:
    return "ormcache:s:" + _text(name)


def _claimed(name: bytes) -> str:
    return "ormcache:c:" + _text(name)


def _text(name: bytes) -> str:
    if len(name) > LONGEST_NAME:
        name = hashlib.blake2b(name, digest_size=32).digest()
    return base64.urlsafe_b64encode(name).decode()
