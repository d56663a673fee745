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
from typing import Any, ClassVar, TypeVar, TypeVarTuple

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

#: Who are you? DEL of nothing: a command that a server refuses whenever it refuses to write.
QUESTIONS: Sequence[Sequence[bytes]] = ((b"INFO", b"server"), (b"INFO", b"replication"), (b"DEL", b"ormcache:"))

Args = TypeVarTuple("Args")
T = TypeVar("T")


class LinkLost(Exception):
    """The connection was closed, or leads to another incarnation than the keys that were used; try on a new one."""


class Link:
    """One connection, and the beginnings of the keys on the server that it reaches."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._asked = -math.inf
        connection.connect()
        try:
            facts = self._ask()
        except BaseException:
            self.close()
            raise
        digest = hashlib.blake2b(b"".join(facts), digest_size=8).hexdigest().encode()
        self._facts = facts
        self.entries = b"ormcache:" + digest + b":e:"
        self.slots = b"ormcache:" + digest + b":s:"
        self.claims = b"ormcache:" + digest + b":c:"

    def call(self, *command: bytes) -> Any:
        """The reply to one command; raises what the server answers with if that is an error."""
        if time.monotonic() - self._asked >= ASK_AGAIN:
            return self._call_and_ask([command])[0]
        self._connection.send_packed_command((_packed(command),), check_health=False)
        return self._connection.read_response(disable_decoding=True)

    def call_many(self, commands: Sequence[Sequence[bytes]]) -> list[Any]:
        """The replies to all commands, sent at once. An error among them is raised when all have been read."""
        if time.monotonic() - self._asked >= ASK_AGAIN:
            return self._call_and_ask(commands)
        return _without_errors(self._exchange(commands))

    def run(self, script: str, keys: Sequence[bytes], *arguments: bytes) -> Any:
        try:
            return self.call(b"EVALSHA", DIGESTS[script], b"%d" % len(keys), *keys, *arguments)
        except NoScriptError:
            return self.call(b"EVAL", script.encode(), b"%d" % len(keys), *keys, *arguments)

    def close(self) -> None:
        self._connection.disconnect()

    def _call_and_ask(self, commands: Sequence[Sequence[bytes]]) -> list[Any]:
        """The replies to the commands, and in the same round trip whether the server still is who it was."""
        try:
            # The server has closed the connection while it was idle, or sent something that nobody asked for.
            lost = self._connection.can_read(timeout=0)
        except (redis.RedisError, OSError):
            lost = True
        if lost:
            raise LinkLost
        now = time.monotonic()
        server, replication, deleted, *replies = self._exchange([*QUESTIONS, *commands])
        if _facts(server, replication, deleted) != self._facts:
            raise LinkLost
        self._asked = now
        return _without_errors(replies)

    def _ask(self) -> tuple[bytes, bytes]:
        now = time.monotonic()
        facts = _facts(*self._exchange(QUESTIONS))
        self._asked = now
        return facts

    def _exchange(self, commands: Sequence[Sequence[bytes]]) -> list[Any]:
        self._connection.send_packed_command((b"".join(map(_packed, commands)),), check_health=False)
        replies = []
        for _ in commands:
            try:
                replies.append(self._connection.read_response(disable_decoding=True))
            except ResponseError as error:
                replies.append(error)
        return replies


def _packed(command: Sequence[bytes]) -> bytes:
    # The client's own way to pack takes twice as long: it expects texts, numbers and views, and words in one argument.
    return b"*%d\r\n%b" % (len(command), b"".join([b"$%d\r\n%b\r\n" % (len(part), part) for part in command]))


def _without_errors(replies: list[Any]) -> list[Any]:
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies


def _facts(server: Any, replication: Any, deleted: Any) -> tuple[bytes, bytes]:
    """The run id and the replication id that a server tells in reply to ``QUESTIONS``. Raises what is wrong with it."""
    _without_errors([server, replication])
    if b"cluster" in (_fact(b"redis_mode", server), _fact(b"server_mode", server)):  # the latter is Valkey's word
        raise StoreUnavailable("a Redis cluster cannot be the store: a look-up reads many keys at once")
    if _fact(b"role", replication) not in (b"master", b""):
        raise RedisConnectionError("the server is a replica")
    _without_errors([deleted])
    run_id = _fact(b"run_id", server)
    if not run_id:
        raise StoreUnavailable("the server does not tell its run id, so it could come back with old data unnoticed")
    return run_id, _fact(b"master_replid", replication)


def _fact(name: bytes, told: bytes) -> bytes:
    """What a server tells under this name; nothing if it does not."""
    return told.partition(b"\n" + name + b":")[2].partition(b"\n")[0].strip()


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


def way_to_connect(alias: str, timeout: float) -> tuple[Any, dict[str, Any]]:
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
