"""memcached, through the CACHES alias of Django's pymemcache backend.

Servers and TLS come from the alias; the clients are our own: no pickling, no retries, short timeouts. A slot must be
where every other process looks for it, so its name alone says which server it lives on: when that server is away, it is
not looked for on another one. All processes must therefore have the same servers, and a server that is taken away and
put back must be restarted, or it comes back with what it knew.

Leases end by the clock of their writer's host, and a slot expires up to two seconds after its last lease: memcached
counts whole seconds.
"""

from __future__ import annotations

import binascii
import hashlib
import math
import random
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, ClassVar, TypeVar, TypeVarTuple

from django.core.cache import caches
from django.core.cache.backends.memcached import PyMemcacheCache
from django.core.exceptions import ImproperlyConfigured
from pymemcache.client.base import Client, normalize_server_spec

from ormcache.conf import Config
from ormcache.stores.base import Store, StoreBusy, last_lease_end, marks_of, with_mark, without_mark
from ormcache.stores.facts import ServerFacts
from ormcache.stores.idle import Idle
from ormcache.stores.memcached_link import Held, Link, New

ATTEMPTS = 50  # to change a slot that others change as well
ITEM_OVERHEAD = 512  # bytes of an item that are not its value, generously
LONGEST_RELATIVE = 30 * 24 * 3600  # seconds; memcached takes anything above for a date
LARGEST_PART = 1000  # names in one exchange
LONGEST_NAME = 100  # bytes, of which 200 characters are made; memcached takes 250
NOTHING = (None, b"")  # what a name holds that nobody has stored

#: What a HashClient's OPTIONS can say about a connection
OPTIONS = ("tls_context", "socket_keepalive", "socket_module")

Args = TypeVarTuple("Args")
T = TypeVar("T")


class Server:
    """One memcached. Threads share it: each call takes a connection for itself."""

    def __init__(self, address: Any, options: dict[str, Any], timeout: float) -> None:
        self._address = address
        self._options = options | {"connect_timeout": timeout, "timeout": timeout}
        self._idle: Idle[Link] = Idle(Link.close)
        self._largest: int | None = None  # bytes of one item, once asked

    def run(self, operation: Callable[[Link, *Args], T], *args: *Args) -> T:
        link = self._idle.take()
        if link is not None and link.stale:
            link.close()
            link = None
        if link is None:
            link = Link(Client(self._address, no_delay=True, **self._options))
        try:
            answer = operation(link, *args)
        except BaseException:
            # Also a signal's or a greenlet's: an unread reply must never be taken for the next one.
            link.close()
            raise
        link.used = time.monotonic()
        self._idle.give(link)
        return answer

    def largest(self) -> int:
        if self._largest is None:
            self._largest = self.run(Link.largest)
        return self._largest

    def described(self) -> ServerFacts:
        before = time.time()
        told = self.run(Link.told, b"")
        after = time.time()
        settings = self.run(Link.told, b"settings")
        clock = _number(told, b"time")
        evicts = settings.get(b"evictions") == b"on"
        return ServerFacts(
            _shown(self._address),
            version=told.get(b"version", b"").decode("ascii", "replace") or None,
            used=_number(told, b"bytes"),
            limit=_number(told, b"limit_maxbytes"),
            evicted=_number(told, b"evictions"),
            running=_number(told, b"uptime"),
            policy="lru" if evicts else "noeviction",
            largest=_number(settings, b"item_size_max"),
            # It adds up two numbers of whole seconds, when it was started and for how long it has run.
            ahead=None if clock is None else clock + 1 - (before + after) / 2,
            ahead_by=1.0 + (after - before) / 2,
            more={"curr_connections": _number(told, b"curr_connections") or 0},
        )

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
        found: dict[bytes, Held] = {}
        for server, part in self._by_server(wanted):
            found |= server.run(Link.get, part)
        held = [found.get(name, NOTHING)[0] for name in wanted]
        return (None, held) if entry is None else (held[0], held[1:])

    def _fill(self, slots: Sequence[bytes], stamp: bytes) -> list[bytes | None]:
        names = [_slot(slot) for slot in slots]
        found: dict[bytes, Held] = {}
        for server, part in self._in_parts(names):
            found |= server.run(Link.add, [New(name, stamp, 0) for name in part])
        return [found.get(name, NOTHING)[0] for name in names]

    def _put(self, entry: bytes, value: bytes, timeout: float | None) -> bool:
        name = _entry(entry)
        server = self._server(name)
        if len(value) > server.largest() - ITEM_OVERHEAD:
            return False
        expire = 0 if timeout is None else self._expiry(max(1, int(timeout)))
        return server.run(Link.put, New(name, value, expire))

    def _mark(self, slots: Sequence[bytes], writer: bytes, lease: float, watch: bytes | None) -> bytes | None:
        now = int(self._wall_clock() * 1e6)
        end = now + int(lease * 1e6)
        return self._change(slots, writer, lambda value: with_mark(value, writer, now, end), now, watch)

    def _settle(self, slots: Sequence[bytes], writer: bytes, stamp: bytes, watch: bytes | None) -> bytes | None:
        now = int(self._wall_clock() * 1e6)
        return self._change(slots, writer, lambda value: without_mark(value, writer, now, stamp), now, watch)

    def _remove(self, entries: Sequence[bytes]) -> None:
        for server, part in self._in_parts([_entry(entry) for entry in entries]):
            server.run(Link.delete, part)

    def _claim(self, name: bytes, owner: bytes, seconds: float) -> bytes:
        key = _claimed(name)
        found = self._server(key).run(Link.add, [New(key, owner, self._lasting(seconds))])
        return found.get(key, (owner, b""))[0]  # no room: everybody's

    def _release(self, name: bytes, word: bytes, seconds: float) -> None:
        key = _claimed(name)
        self._server(key).run(Link.put, New(key, word, self._lasting(seconds)))

    def _empty(self, slots: Sequence[bytes]) -> None:
        for server, part in self._in_parts([_slot(slot) for slot in slots]):
            server.run(Link.delete, part)

    def _describe(self) -> tuple[ServerFacts, ...]:
        return tuple(server.described() for server in self._servers)

    def _reset(self) -> None:
        self.close()

    def _change(
        self,
        slots: Sequence[bytes],
        writer: bytes,
        changed: Callable[[bytes | None], bytes],
        now: int,
        watch: bytes | None,
    ) -> bytes | None:
        """Replace the value of every slot by what ``changed`` makes of it; what the slot ``watch`` holds."""

        def new(name: bytes, value: bytes | None) -> New:
            value = changed(value)
            return New(name, value, self._lasting((last_lease_end(value) - now) / 1e6) if marks_of(value) else 0)

        names = {_slot(slot) for slot in slots}
        watched = set() if watch is None else {_slot(watch)}
        seen: dict[bytes, Held] = {}
        for server, part in self._in_parts([*(names | watched)]):
            seen |= server.run(_change_on, writer, names.intersection(part), watched.intersection(part), new)
        return None if watch is None else seen.get(_slot(watch), NOTHING)[0]

    def _lasting(self, seconds: float) -> int:
        """What to ask for to have something kept for so long, or up to two seconds longer.

        memcached's second begins when it likes, so one that is asked to keep something for n keeps it n-1 to n.
        """
        return self._expiry(math.ceil(seconds) + 1)

    def _expiry(self, seconds: int) -> int:
        return seconds if seconds <= LONGEST_RELATIVE else int(self._wall_clock()) + seconds

    def _server(self, name: bytes) -> Server:
        if len(self._servers) == 1:
            return self._servers[0]
        return self._servers[zlib.crc32(name) % len(self._servers)]

    def _by_server(self, names: Sequence[bytes]) -> Iterable[tuple[Server, Sequence[bytes]]]:
        if len(self._servers) == 1:
            return [(self._servers[0], names)]
        parts: dict[Server, list[bytes]] = {}
        for name in names:
            parts.setdefault(self._server(name), []).append(name)
        return parts.items()

    def _in_parts(self, names: Sequence[bytes]) -> Iterable[tuple[Server, Sequence[bytes]]]:
        """None is so large that the answers to its first commands could fill the connection before the last is sent."""
        for server, part in self._by_server(names):
            for begin in range(0, len(part), LARGEST_PART):
                yield server, part[begin : begin + LARGEST_PART]


def _change_on(
    link: Link,
    writer: bytes,
    names: AbstractSet[bytes],
    watched: AbstractSet[bytes],
    new: Callable[[bytes, bytes | None], New],
) -> dict[bytes, Held]:
    """Replace what these names hold on one server by what ``new`` makes of it; what those of ``watched`` hold.

    Who settles on the connection on which it has marked need not ask again what the slots hold: if it is still what it
    was right after the mark, the version says so.
    """
    who, held = link.marked
    asks = who != writer or not held.keys() >= names or not watched.isdisjoint(names)
    if asks:
        held = link.get({*names, *watched})
    seen = held
    left = set(names)
    for attempt in range(ATTEMPTS):
        if attempt > ATTEMPTS // 10:
            time.sleep(random.random() / 1000)  # noqa: S311 - so that two do not go on in step
            held = link.get(left)
        left, held = link.replace([new(name, held.get(name, NOTHING)[0]) for name in left], held, {*names, *watched})
        if not asks and not attempt:
            seen = held
        if not left:
            link.marked = (writer, held)
            return {name: seen[name] for name in watched if name in seen}
    raise StoreBusy(f"others changed the same slots {ATTEMPTS} times in a row")


def _shown(address: Any) -> str:
    """A server's address for people: of a socket its path, else host and port."""
    return ":".join(map(str, address)) if isinstance(address, tuple) else str(address)


def _number(told: Mapping[bytes, bytes], name: bytes) -> int | None:
    return int(told[name]) if told.get(name, b"").isdigit() else None


def _entry(name: bytes) -> bytes:
    return b"ormcache:e:" + _text(name)


def _slot(name: bytes) -> bytes:
    return b"ormcache:s:" + _text(name)


def _claimed(name: bytes) -> bytes:
    return b"ormcache:c:" + _text(name)


def _text(name: bytes) -> bytes:
    if len(name) > LONGEST_NAME:
        name = hashlib.blake2b(name, digest_size=32).digest()
    return binascii.hexlify(name)
