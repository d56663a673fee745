"""Redis, Valkey and their like, through the CACHES alias of django-redis or of Django itself.

The alias says how to connect (TLS, password, database, socket, Sentinel). Its client is not used: ours talks over
connections of its own, with its own timeouts, no retries and plain bytes, which halves the time of a hit.

**Incarnation.** A Redis can come back with old data: restarted from a snapshot, or failed over to a replica that had
missed the last stamps. So every key begins with a digest of the server's run id and replication id, asked for on every
new connection, and again, in the same round trip as a command, when the last answer is older than ``ASK_AGAIN``. That
also notices a primary that was made a replica without closing its connections, and one that refuses to write:
whoever cannot mark must not go on reading either.

Leases and their ends are times of the server's own clock.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

import redis
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from ormcache.conf import Config
from ormcache.stores.base import Store, StoreUnavailable
from ormcache.stores.idle import Idle
from ormcache.stores.redis_scripts import DIGESTS, MARK, SETTLE

ASK_AGAIN = 0.1  # seconds
OUT_OF_MEMORY = "OOM"

T = TypeVar("T")


class ServerChanged(Exception):
    """The connection leads to another incarnation than the keys that were just used."""


class Link:
    """One connection, and the beginnings of the keys on the server that it reaches."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._incarnation = ""
        self._asked = -math.inf
        connection.connect()
        try:
            self._incarnation = self._ask([])[0]
        except BaseException:
            self.close()
            raise
        digest = hashlib.blake2b(self._incarnation.encode(), digest_size=8).hexdigest().encode()
        self.entries = b"ormcache:" + digest + b":e:"
        self.slots = b"ormcache:" + digest + b":s:"
        self.claims = b"ormcache:" + digest + b":c:"

    @property
    def stale(self) -> bool:
        """Whether the server has closed the connection while it was idle, or sent something that nobody asked for."""
        if time.monotonic() - self._asked < ASK_AGAIN:
            return False
        try:
            return bool(self._connection.can_read(timeout=0))
        except (redis.RedisError, OSError):
            return True

    def call(self, *command: bytes | int) -> Any:
        """The reply to one command; raises what the server answers with if that is an error."""
        if time.monotonic() - self._asked >= ASK_AGAIN:
            return self.call_many([command])[0]
        self._connection.send_packed_command(self._connection.pack_command(*command), check_health=False)
        return self._connection.read_response(disable_decoding=True)

    def call_many(self, commands: Sequence[Sequence[bytes | int]]) -> list[Any]:
        """The replies to all commands, sent at once. An error among them is raised when all have been read."""
        if time.monotonic() - self._asked >= ASK_AGAIN:
            incarnation, replies = self._ask(commands)
            if incarnation != self._incarnation:
                raise ServerChanged
        else:
            replies = self._exchange(commands)
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies

    def run(self, script: str, keys: Sequence[bytes], arguments: Sequence[bytes | int]) -> Any:
        try:
            return self.call(b"EVALSHA", DIGESTS[script], len(keys), *keys, *arguments)
        except NoScriptError:
            return self.call(b"EVAL", script.encode(), len(keys), *keys, *arguments)

    def close(self) -> None:
        self._connection.disconnect()

    def _ask(self, commands: Sequence[Sequence[bytes | int]]) -> tuple[str, list[Any]]:
        """Who the server is, and the replies to ``commands``, in one round trip."""
        now = time.monotonic()
        # DEL of nothing: a command that a server refuses whenever it refuses to write.
        questions = [(b"INFO", b"server"), (b"INFO", b"replication"), (b"DEL", b"ormcache:")]
        server, replication, deleted, *replies = self._exchange([*questions, *commands])
        for reply in (server, replication):
            if isinstance(reply, Exception):
                raise reply
        facts = dict(line.split(":", 1) for line in (server + b"\n" + replication).decode().splitlines() if ":" in line)
        if facts.get("redis_mode") == "cluster":
            raise StoreUnavailable("a Redis cluster cannot be the store: a look-up reads many keys at once")
        if facts.get("role", "master") != "master":
            raise RedisConnectionError("the server is a replica")
        if isinstance(deleted, Exception):
            raise deleted
        if not facts.get("run_id"):
            raise StoreUnavailable("the server does not tell its run id, so it could come back with old data unnoticed")
        self._asked = now
        return facts["run_id"] + facts.get("master_replid", ""), replies

    def _exchange(self, commands: Sequence[Sequence[bytes | int]]) -> list[Any]:
        self._connection.send_packed_command(self._connection.pack_commands(commands), check_health=False)
        replies = []
        for _ in commands:
            try:
                replies.append(self._connection.read_response(disable_decoding=True))
            except ResponseError as error:
                replies.append(error)
        return replies


class RedisStore(Store):
    """Threads share it: each call takes a connection for itself and gives it back."""

    kind: ClassVar[str] = "redis"

    def __init__(self, alias: str, timeout: float, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self._connection_class, self._arguments = _way_to_connect(alias, timeout)
        self._idle: Idle[Link] = Idle(Link.close)

    @staticmethod
    def identity(config: Config) -> tuple[object, ...]:
        return (config.cache, config.store_timeout)

    @classmethod
    def from_config(cls, config: Config) -> RedisStore:
        return cls(config.cache, config.store_timeout)

    def close(self) -> None:
        self._idle.clear()

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

    def _reset(self) -> None:
        self._idle.clear()

    def _run(self, operation: Callable[..., T], *args: Any) -> T:
        link = self._idle.take()
        if link is not None and link.stale:
            link.close()
            link = None
        try:
            return self._run_on(link or self._connect(), operation, *args)
        except ServerChanged:
            # What was written went to names that nobody reads any more. All idle connections may be as old.
            self._idle.clear()
            return self._run_on(self._connect(), operation, *args)

    def _run_on(self, link: Link, operation: Callable[..., T], *args: Any) -> T:
        try:
            answer = operation(link, *args)
        except BaseException:
            # Also a signal's or a greenlet's: an unread reply must never be taken for the next one.
            link.close()
            raise
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
    expiry: tuple[bytes | int, ...] = () if timeout is None else (b"PX", _milliseconds(timeout))
    try:
        link.call(b"SET", link.entries + entry, value, *expiry)
    except ResponseError as error:
        if not _is_full(error):
            raise
        return False
    return True


def _mark(link: Link, slots: Sequence[bytes], writer: bytes, lease: float, watch: bytes | None) -> bytes | None:
    names = [link.slots + slot for slot in (slots if watch is None else [*slots, watch])]
    watched: bytes | None = link.run(MARK, names, (writer, int(lease * 1e6), len(slots)))
    return watched


def _settle(link: Link, slots: Sequence[bytes], writer: bytes, stamp: bytes, watch: bytes | None) -> bytes | None:
    names = [link.slots + slot for slot in (slots if watch is None else [*slots, watch])]
    watched: bytes | None = link.run(SETTLE, names, (writer, stamp, len(slots)))
    return watched


def _remove(link: Link, entries: Sequence[bytes]) -> None:
    link.call(b"DEL", *[link.entries + entry for entry in entries])


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


def _milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))


def _is_full(error: ResponseError) -> bool:
    return isinstance(error, redis.exceptions.OutOfMemoryError) or str(error).startswith(OUT_OF_MEMORY)


def _way_to_connect(alias: str, timeout: float) -> tuple[Any, dict[str, Any]]:
    """The class of connection and its arguments that the client of a CACHES alias would use, with our own timeouts.

    Connections are not taken from its pool: that would count against the bound that the user gave it.
    """
    cache: Any = caches[alias]
    if hasattr(cache, "client"):  # django-redis
        make_client = cache.client.get_client
    elif hasattr(getattr(cache, "_cache", None), "get_client"):  # Django's own
        make_client = cache._cache.get_client
    else:
        raise ImproperlyConfigured(
            f"CACHES[{alias!r}] is not a Redis cache: its BACKEND must be django_redis.cache.RedisCache"
            " or django.core.cache.backends.redis.RedisCache."
        )
    try:
        pool = make_client(write=True).connection_pool
    except (AttributeError, NotImplementedError, TypeError):
        raise ImproperlyConfigured(
            f"The client of CACHES[{alias!r}] spreads its keys over several servers; the store must be one server."
        ) from None
    if not isinstance(pool, redis.ConnectionPool):
        raise ImproperlyConfigured(f"The client of CACHES[{alias!r}] must be redis-py, not {type(pool).__module__}.")
    ours = {"socket_timeout": timeout, "socket_connect_timeout": timeout, "retry": Retry(NoBackoff(), 0)}
    plain = {"retry_on_timeout": False, "retry_on_error": [], "decode_responses": False, "health_check_interval": 0}
    arguments = pool.connection_kwargs | ours | plain
    if isinstance(pool, SentinelConnectionPool):
        arguments["connection_pool"] = _sentinel_pool(pool, ours)
    return pool.connection_class, arguments


def _sentinel_pool(pool: Any, ours: dict[str, Any]) -> Any:
    """What a managed connection asks for its server's address: the same sentinels, but with our timeouts."""
    asked: Any = Sentinel([], min_other_sentinels=pool.sentinel_manager.min_other_sentinels)  # type: ignore[no-untyped-call]
    for sentinel in pool.sentinel_manager.sentinels:
        theirs = sentinel.connection_pool
        way = redis.ConnectionPool(connection_class=theirs.connection_class, **theirs.connection_kwargs | ours)
        asked.sentinels.append(redis.Redis(connection_pool=way))
    return SentinelConnectionPool(pool.service_name, asked, is_master=True)  # type: ignore[no-untyped-call]
