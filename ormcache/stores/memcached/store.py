"""A store on memcached, through a CACHES alias of Django's pymemcache backend.

Servers and TLS come from the alias; the clients are our own: no pickling, no retries, short timeouts. All processes
must look for a slot in the same place, so its name alone decides on which server it is; while that server is away, no
other one takes its place. Hence all processes must have the same list of servers, and a server that was removed must be
restarted before it is added again, or it comes back with outdated slots.

Leases end by the clock of their writer's host, and a slot expires up to two seconds after its last lease, because
memcached counts whole seconds.
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
from functools import partial
from typing import Any, ClassVar, TypeVar, TypeVarTuple

from django.core.cache import caches
from django.core.cache.backends.memcached import PyMemcacheCache
from django.core.exceptions import ImproperlyConfigured
from pymemcache.client.base import Client, normalize_server_spec
from pymemcache.exceptions import MemcacheError

from ormcache.conf import Config
from ormcache.exceptions import StoreBusy, StoreFull
from ormcache.stores.base import (
    ROW_SLOT_LENGTH,
    ROW_SLOT_LIFETIME,
    Last,
    Store,
    add_mark,
    decode_marks,
    last_lease_end,
    remove_mark,
)
from ormcache.stores.info import ServerInfo
from ormcache.stores.memcached.connection import MemcachedConnection, NewItem, Versioned
from ormcache.stores.pool import IdleConnections

MAX_ATTEMPTS = 50  # to change a slot that others change as well
ITEM_OVERHEAD = 512  # bytes of an item beside its value, rounded up generously
MAX_RELATIVE_EXPIRY = 30 * 24 * 3600  # seconds; memcached takes larger numbers for seconds since the epoch
MAX_BATCH = 1000  # names in one exchange
MAX_NAME_LENGTH = 100  # bytes, which become 200 characters; memcached takes 250
FULL = "memcached is out of memory and evicts nothing"
ENTRIES = b"entries"  # stands for the names of all: whether there is room for them says nothing of slots
ABSENT = (None, b"")  # value and version of a name that holds nothing

#: The OPTIONS of a HashClient that concern a connection
OPTIONS = ("tls_context", "socket_keepalive", "socket_module")

Args = TypeVarTuple("Args")
T = TypeVar("T")


class MemcachedServer:
    """One memcached. Threads share it: each call has a connection for itself."""

    def __init__(self, address: Any, options: dict[str, Any], timeout: float) -> None:
        self._address = address
        self._options = options | {"connect_timeout": timeout, "timeout": timeout}
        self._idle: IdleConnections[MemcachedConnection] = IdleConnections(MemcachedConnection.close)
        self._max_item_bytes: int | None = None  # once asked

    def run(self, operation: Callable[[MemcachedConnection, *Args], T], *args: *Args) -> T:
        """Call ``operation`` with a connection."""
        connection = self._idle.acquire()
        if connection is not None and connection.is_stale:
            connection.close()
            connection = None
        if connection is None:
            connection = MemcachedConnection(Client(self._address, no_delay=True, **self._options))
        try:
            answer = operation(connection, *args)
        except BaseException:
            # Even for what a signal handler or a greenlet raises: an unread reply must not be taken for the next one.
            connection.close()
            raise
        connection.touch()
        self._idle.release(connection)
        return answer

    def max_item_bytes(self) -> int:
        """Return the size of the largest item that the server takes; it is asked once."""
        if self._max_item_bytes is None:
            self._max_item_bytes = self.run(MemcachedConnection.max_item_bytes)
        return self._max_item_bytes

    @property
    def address(self) -> str:
        return _format_address(self._address)

    def describe(self) -> ServerInfo:
        before = time.time()
        statistics = self.run(MemcachedConnection.statistics, b"")
        after = time.time()
        settings = self.run(MemcachedConnection.statistics, b"settings")
        clock = _int_field(statistics, b"time")
        evicts = settings.get(b"evictions") == b"on"
        return ServerInfo(
            self.address,
            version=statistics.get(b"version", b"").decode("ascii", "replace") or None,
            used_bytes=_int_field(statistics, b"bytes"),
            max_bytes=_int_field(statistics, b"limit_maxbytes"),
            evicted_keys=_int_field(statistics, b"evictions"),
            uptime=_int_field(statistics, b"uptime"),
            eviction_policy="lru" if evicts else "noeviction",
            max_entry_bytes=_int_field(settings, b"item_size_max"),
            # Its time is the sum of two numbers of whole seconds: when it was started, and for how long it has run.
            clock_offset=None if clock is None else clock + 1 - (before + after) / 2,
            clock_error=1.0 + (after - before) / 2,
            details={"curr_connections": _int_field(statistics, b"curr_connections") or 0},
        )

    def close(self) -> None:
        self._idle.clear()
        self._max_item_bytes = None


class MemcachedStore(Store):
    """A store on one or more memcached servers."""

    kind: ClassVar[str] = "memcached"
    reads_at_once = False  # there may be several servers, which are asked one after the other
    errors = (*Store.errors, MemcacheError)

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
        cache_options: dict[str, Any] = vars(cache)["_options"]
        options = {name: value for name, value in cache_options.items() if name in OPTIONS}
        # Sorted, because the order in which a process lists its servers must not decide where a slot is.
        addresses = sorted(map(normalize_server_spec, cache.client_servers), key=repr)
        self._servers = [MemcachedServer(address, options, timeout) for address in addresses]

    @staticmethod
    def identity(config: Config) -> tuple[object, ...]:
        return (config.cache, config.store_timeout)

    @classmethod
    def from_config(cls, config: Config) -> MemcachedStore:
        return cls(config.cache, config.store_timeout)

    @property
    def location(self) -> str:
        return ", ".join(server.address for server in self._servers)

    def close(self) -> None:
        for server in self._servers:
            server.close()

    def _look_up(self, entry: bytes | None, slots: Sequence[bytes]) -> tuple[bytes | None, list[bytes | None]]:
        names = [_slot_key(slot) for slot in slots]
        wanted = names if entry is None else [_entry_key(entry), *names]
        values: dict[bytes, Versioned] = {}
        for server, part in self._group_by_server(wanted):
            values |= server.run(MemcachedConnection.get, part)
        results = [values.get(name, ABSENT)[0] for name in wanted]
        return (None, results) if entry is None else (results[0], results[1:])

    def _fill_slots(self, slots: Sequence[bytes], stamp: bytes) -> list[bytes | None]:
        names = [_slot_key(slot) for slot in slots]
        values: dict[bytes, Versioned] = {}
        denied: set[bytes] = set()
        for server, part in self._batches(names):
            items = [NewItem(name, stamp, _stamp_expiry(name)) for name in part]
            found, without_room = server.run(MemcachedConnection.add, items)
            values |= found
            denied |= without_room
        if not denied.isdisjoint(name for name in names if name not in values):
            raise StoreFull(FULL, [slot for slot, name in zip(slots, names, strict=True) if name in denied])
        return [values.get(name, ABSENT)[0] for name in names]

    def _put_entry(self, entry: bytes, value: bytes, timeout: float | None) -> bool:
        name = _entry_key(entry)
        server = self._server(name)
        if len(value) > server.max_item_bytes() - ITEM_OVERHEAD:
            return False
        expiry = 0 if timeout is None else self._expiry(max(1, int(timeout)))
        is_stored = server.run(MemcachedConnection.put, NewItem(name, value, expiry))
        if is_stored is None:
            raise StoreFull(FULL, (ENTRIES,))
        if is_stored and self.room.refusals:
            self._record_room((ENTRIES,))
        return is_stored

    def _mark(self, slots: Sequence[bytes], writer: bytes, lease: float, watch: bytes | None) -> bytes | None:
        now = int(self._wall_clock() * 1e6)
        end = now + int(lease * 1e6)
        watched, emptied = self._update_slots(
            slots, writer, lambda value: add_mark(value, writer, now, end), now, watch
        )
        if emptied:
            raise StoreFull(FULL, emptied, watched)
        return watched

    def _settle(
        self, slots: Sequence[bytes], writer: bytes, stamp: bytes, watch: bytes | None, last: Last | None
    ) -> bytes | None:
        now = int(self._wall_clock() * 1e6)
        emptied: list[bytes] = []
        if last is not None:
            update = partial(remove_mark, writer=writer, now=now, stamp=last[1])
            for slot in slots[-last[0] :][::-1]:
                emptied += self._update_slots([slot], writer, update, now, None)[1]
            slots = slots[: -last[0]]
        watched, more = self._update_slots(
            slots, writer, lambda value: remove_mark(value, writer, now, stamp), now, watch
        )
        if emptied + more:
            self._record_refusal(emptied + more, FULL)
        return watched

    def _delete_entries(self, entries: Sequence[bytes]) -> None:
        for server, part in self._batches([_entry_key(entry) for entry in entries]):
            server.run(MemcachedConnection.delete, part)

    def _claim(self, name: bytes, owner: bytes, seconds: float) -> bytes:
        key = _claim_key(name)
        values, _ = self._server(key).run(MemcachedConnection.add, [NewItem(key, owner, self._ttl(seconds))])
        return values.get(key, (owner, b""))[0]  # no room: each process may take it for its own

    def _release(self, name: bytes, word: bytes, seconds: float) -> None:
        key = _claim_key(name)
        self._server(key).run(MemcachedConnection.put, NewItem(key, word, self._ttl(seconds)))

    def _clear_slots(self, slots: Sequence[bytes]) -> None:
        for server, part in self._batches([_slot_key(slot) for slot in slots]):
            server.run(MemcachedConnection.delete, part)

    def _describe(self) -> tuple[ServerInfo, ...]:
        return tuple(server.describe() for server in self._servers)

    def _reset(self) -> None:
        self.close()

    def _update_slots(
        self,
        slots: Sequence[bytes],
        writer: bytes,
        update: Callable[[bytes | None], bytes],
        now: int,
        watch: bytes | None,
    ) -> tuple[bytes | None, list[bytes]]:
        """Replace the value of every slot by ``update`` of it.

        Return what the slot ``watch`` held before (where a writer settles on the connection on which it has marked,
        what it holds afterwards), and the slots that were emptied because there was no room.
        """

        def new(name: bytes, value: bytes | None) -> NewItem:
            value = update(value)
            is_marked = bool(decode_marks(value))
            expiry = self._ttl((last_lease_end(value) - now) / 1e6) if is_marked else _stamp_expiry(name)
            return NewItem(name, value, expiry)

        names = {_slot_key(slot) for slot in slots}
        watched = set() if watch is None else {_slot_key(watch)}
        seen: dict[bytes, Versioned] = {}
        emptied: set[bytes] = set()
        for server, part in self._batches([*(names | watched)]):
            found, denied = server.run(_update_on, writer, names.intersection(part), watched.intersection(part), new)
            seen |= found
            emptied |= denied
        without_room = [slot for slot in slots if _slot_key(slot) in emptied] if emptied else []
        return None if watch is None else seen.get(_slot_key(watch), ABSENT)[0], without_room

    def _ttl(self, seconds: float) -> int:
        """Return an expiry with which an item stays for so long, or up to two seconds longer.

        memcached's clock ticks once a second, so an item with an expiry of n seconds lasts for n-1 to n.
        """
        return self._expiry(math.ceil(seconds) + 1)

    def _expiry(self, seconds: int) -> int:
        """Return seconds as memcached expects them: above 30 days as a time since the epoch."""
        return seconds if seconds <= MAX_RELATIVE_EXPIRY else int(self._wall_clock()) + seconds

    def _place_of(self, name: bytes) -> bytes:
        if name is ENTRIES or len(self._servers) == 1:
            return name if name is ENTRIES else b""
        return self._server(_slot_key(name)).address.encode()

    def _room_of(self, entry: bytes) -> Sequence[bytes]:
        return ()  # where one was denied, there may be room for another of another size

    def _server(self, name: bytes) -> MemcachedServer:
        """Return the server that a name is on."""
        if len(self._servers) == 1:
            return self._servers[0]
        return self._servers[zlib.crc32(name) % len(self._servers)]

    def _group_by_server(self, names: Sequence[bytes]) -> Iterable[tuple[MemcachedServer, Sequence[bytes]]]:
        if len(self._servers) == 1:
            return [(self._servers[0], names)]
        parts: dict[MemcachedServer, list[bytes]] = {}
        for name in names:
            parts.setdefault(self._server(name), []).append(name)
        return parts.items()

    def _batches(self, names: Sequence[bytes]) -> Iterable[tuple[MemcachedServer, Sequence[bytes]]]:
        """Group names by server, in batches small enough for the replies to fit into the connection's buffers.

        Otherwise the replies to the first commands could fill it before the last command is sent.
        """
        for server, part in self._group_by_server(names):
            for begin in range(0, len(part), MAX_BATCH):
                yield server, part[begin : begin + MAX_BATCH]


def _update_on(
    connection: MemcachedConnection,
    writer: bytes,
    names: AbstractSet[bytes],
    watched: AbstractSet[bytes],
    new: Callable[[bytes, bytes | None], NewItem],
) -> tuple[dict[bytes, Versioned], set[bytes]]:
    """Replace the values of names on one server by what ``new`` makes of them.

    Return the values of ``watched``, and the names that were emptied because there was no room.
    A writer that settles on the connection on which it has marked need not ask again what the slots hold: the version
    says whether that is still what they held right after the mark.
    """
    values = connection.marks_of(writer)
    asks = not values.keys() >= names or not watched.isdisjoint(names)
    if asks:
        values = connection.get({*names, *watched})
    seen = values
    left, emptied = set(names), set[bytes]()
    for attempt in range(MAX_ATTEMPTS):
        if attempt > MAX_ATTEMPTS // 10:
            time.sleep(random.random() / 1000)  # noqa: S311 - so that two do not go on in step
            values = connection.get(left)
        left, values, denied = connection.replace(
            [new(name, values.get(name, ABSENT)[0]) for name in left], values, {*names, *watched}
        )
        emptied |= denied
        if not asks and not attempt:
            seen = values
        if not left:
            connection.remember_marks(writer, values)
            return {name: seen[name] for name in watched if name in seen}, emptied
    raise StoreBusy(f"others changed the same slots {MAX_ATTEMPTS} times in a row")


def _format_address(address: Any) -> str:
    """Return the address of a server for display: the path of a socket, or host and port."""
    return ":".join(map(str, address)) if isinstance(address, tuple) else str(address)


def _int_field(statistics: Mapping[bytes, bytes], name: bytes) -> int | None:
    return int(statistics[name]) if statistics.get(name, b"").isdigit() else None


def _entry_key(name: bytes) -> bytes:
    return b"ormcache:e:" + _encode_name(name)


def _slot_key(name: bytes) -> bytes:
    return b"ormcache:s:" + _encode_name(name)


def _stamp_expiry(slot_key: bytes) -> int:
    """Return the expiry, as memcached counts it, of a stamp in the slot of this key."""
    return ROW_SLOT_LIFETIME if len(slot_key) == _ROW_KEY_LENGTH else 0


def _claim_key(name: bytes) -> bytes:
    return b"ormcache:c:" + _encode_name(name)


def _encode_name(name: bytes) -> bytes:
    """Return a name as characters that memcached takes; a digest of it if it is too long."""
    if len(name) > MAX_NAME_LENGTH:
        name = hashlib.blake2b(name, digest_size=32).digest()
    return binascii.hexlify(name)


_ROW_KEY_LENGTH = len(_slot_key(bytes(ROW_SLOT_LENGTH)))
