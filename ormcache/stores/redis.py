"""Redis, Valkey and their like, through the CACHES alias of django-redis or of Django itself.

The alias says how to connect (TLS, password, database, socket, Sentinel). Its client is not used: ours talks over
connections of its own, with its own timeouts, no retries and plain bytes, which halves the time of a hit.

Leases and their ends are times of the server's own clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, TypeVar, TypeVarTuple

import redis
from redis.exceptions import ResponseError

from ormcache.conf import Config
from ormcache.stores.base import Store
from ormcache.stores.facts import ServerFacts
from ormcache.stores.idle import Idle
from ormcache.stores.redis_address import way_to_connect
from ormcache.stores.redis_link import Link, LinkLost
from ormcache.stores.redis_scripts import MARK, SETTLE

OUT_OF_MEMORY = "OOM"

Args = TypeVarTuple("Args")
T = TypeVar("T")


class RedisStore(Store):
    """Threads share it: each call takes a connection for itself and gives it back."""

    kind: ClassVar[str] = "redis"

    def __init__(self, alias: str, timeout: float, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self._connection_class, self._arguments = way_to_connect(alias, timeout)
        self._idle: Idle[Link] = Idle(Link.close)

    @staticmethod
    def identity(config: Config) -> tuple[object, ...]:
        return (config.cache, config.store_timeout)

    @classmethod
    def from_config(cls, config: Config) -> RedisStore:
        return cls(config.cache, config.store_timeout)

    def close(self) -> None:
        self._idle.clear()

    def look_up_there(
        self, entry: bytes | None, slots: Sequence[bytes]
    ) -> tuple[bytes, bytes | None, list[bytes | None]]:
        """What :meth:`look_up` returns, after the beginning of the slots' keys on the server that answered."""
        return self._guarded(self._run, _look_up_there, entry, slots)

    def _look_up(self, entry: bytes | None, slots: Sequence[bytes]) -> tuple[bytes | None, list[bytes | None]]:
        if entry is None and not slots:
            return None, []
        return self._run(_look_up, entry, slots)

    def _fill(self, slots: Sequence[bytes], stamp: bytes) -> list[bytes | None]:
        return self._run(_fill, slots, stamp) if slots else []

    def _put(self, entry: bytes, value: bytes, timeout: float | None) -> bool:
        return self._run(_put, entry, value, timeout)

    def _mark(self, slots: Sequence[bytes], writer: bytes, lease: float, watch: bytes | None) -> bytes | None:
        return self._run(_mark, slots, writer, lease, watch)

    def _settle(self, slots: Sequence[bytes], writer: bytes, stamp: bytes, watch: bytes | None) -> bytes | None:
        return self._run(_settle, slots, writer, stamp, watch)

    def _remove(self, entries: Sequence[bytes]) -> None:
        if entries:
            self._run(_remove, entries)

    def _claim(self, name: bytes, owner: bytes, seconds: float) -> bytes:
        return self._run(_claim, name, owner, seconds)

    def _release(self, name: bytes, word: bytes, seconds: float) -> None:
        self._run(_release, name, word, seconds)

    def _empty(self, slots: Sequence[bytes]) -> None:
        if slots:
            self._run(_empty, slots)

    def _describe(self) -> tuple[ServerFacts, ...]:
        return (self._run(_described),)

    def _reset(self) -> None:
        self._idle.clear()

    def _run(self, operation: Callable[[Link, *Args], T], *args: *Args) -> T:
        while True:
            link = self._idle.take() or self._connect()
            try:
                answer = operation(link, *args)
            except LinkLost:
                # What was written went to names that nobody reads any more. All idle connections may be as old.
                link.close()
                self._idle.clear()
            except BaseException:
                # Also a signal's or a greenlet's: an unread reply must never be taken for the next one.
                link.close()
                raise
            else:
                self._idle.give(link)
                return answer

    def _connect(self) -> Link:
        return Link(self._connection_class(**self._arguments))


def _look_up(link: Link, entry: bytes | None, slots: Sequence[bytes]) -> tuple[bytes | None, list[bytes | None]]:
    prefix = link.slots
    names = [prefix + slot for slot in slots]
    if entry is None:
        return None, link.call(b"MGET", *names)
    value, *held = link.call(b"MGET", link.entries + entry, *names)
    return value, held


def _look_up_there(
    link: Link, entry: bytes | None, slots: Sequence[bytes]
) -> tuple[bytes, bytes | None, list[bytes | None]]:
    return link.slots, *(_look_up(link, entry, slots) if entry is not None or slots else (None, []))


def _fill(link: Link, slots: Sequence[bytes], stamp: bytes) -> list[bytes | None]:
    names = [link.slots + slot for slot in slots]
    commands: list[tuple[bytes, ...]] = [(b"SETNX", name, stamp) for name in names]
    try:
        held: list[bytes | None] = link.call_many([*commands, (b"MGET", *names)])[-1]
    except ResponseError as error:
        if not _is_full(error):
            raise
        held = link.call(b"MGET", *names)
    return held


def _put(link: Link, entry: bytes, value: bytes, timeout: float | None) -> bool:
    expiry = () if timeout is None else (b"PX", _milliseconds(timeout))
    try:
        link.call(b"SET", link.entries + entry, value, *expiry)
    except ResponseError as error:
        if not _is_full(error):
            raise
        return False
    return True


def _mark(link: Link, slots: Sequence[bytes], writer: bytes, lease: float, watch: bytes | None) -> bytes | None:
    names = [link.slots + slot for slot in (slots if watch is None else [*slots, watch])]
    watched: bytes | None = link.run(MARK, names, writer, b"%d" % int(lease * 1e6), b"%d" % len(slots))
    return watched


def _settle(link: Link, slots: Sequence[bytes], writer: bytes, stamp: bytes, watch: bytes | None) -> bytes | None:
    names = [link.slots + slot for slot in (slots if watch is None else [*slots, watch])]
    watched: bytes | None = link.run(SETTLE, names, writer, stamp, b"%d" % len(slots))
    return watched


def _remove(link: Link, entries: Sequence[bytes]) -> None:
    link.call(b"DEL", *[link.entries + entry for entry in entries])


def _empty(link: Link, slots: Sequence[bytes]) -> None:
    link.call(b"DEL", *[link.slots + slot for slot in slots])


#: What matters of a Redis besides what all stores have: the names of INFO
TOLD = (
    "redis_mode",
    "role",
    "connected_slaves",
    "rdb_last_save_time",
    "aof_enabled",
    "mem_fragmentation_ratio",
    "expired_keys",
    "keyspace_hits",
    "keyspace_misses",
)


def _described(link: Link) -> ServerFacts:
    told = dict(
        line.split(":", 1) for line in link.call(b"INFO").decode("utf-8", "replace").splitlines() if ":" in line
    )
    before = time.time()
    seconds, microseconds = link.call(b"TIME")
    after = time.time()
    return ServerFacts(
        link.address,
        version=told.get("valkey_version") or told.get("redis_version"),
        used=_number(told, "used_memory"),
        limit=_number(told, "maxmemory"),
        evicted=_number(told, "evicted_keys"),
        running=_number(told, "uptime_in_seconds"),
        policy=told.get("maxmemory_policy"),
        ahead=int(seconds) + int(microseconds) / 1e6 - (before + after) / 2,
        ahead_by=(after - before) / 2,
        more={name: told[name] for name in TOLD if name in told},
    )


def _number(told: Mapping[str, str], name: str) -> int | None:
    return int(told[name]) if told.get(name, "").isdecimal() else None


def _claim(link: Link, name: bytes, owner: bytes, seconds: float) -> bytes:
    key = link.claims + name
    try:
        # Not SET with NX and GET, which needs Redis 7; and not GET, to which a value of another type is an error.
        claimed, (held,) = link.call_many([(b"SET", key, owner, b"NX", b"PX", _milliseconds(seconds)), (b"MGET", key)])
    except ResponseError as error:
        if not _is_full(error):
            raise
        return owner
    return owner if claimed else held or b""


def _release(link: Link, name: bytes, word: bytes, seconds: float) -> None:
    try:
        link.call(b"SET", link.claims + name, word, b"PX", _milliseconds(seconds))
    except ResponseError as error:
        if not _is_full(error):
            raise


def _milliseconds(seconds: float) -> bytes:
    return b"%d" % max(1, int(seconds * 1000))


def _is_full(error: ResponseError) -> bool:
    return isinstance(error, redis.exceptions.OutOfMemoryError) or str(error).startswith(OUT_OF_MEMORY)
