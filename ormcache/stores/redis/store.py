"""A store on Redis, Valkey or the like, through a CACHES alias of django-redis or of Django itself.

The alias defines how to connect (TLS, password, database, socket, Sentinel). Its client is not used: this store has
connections of its own, with its own timeouts, without retries and decoding, which halves the time of a hit.

Leases end by the server's clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import ClassVar, TypeVar, TypeVarTuple

import redis
from redis.exceptions import ResponseError

from ormcache.conf import Config
from ormcache.exceptions import StoreFull
from ormcache.stores.base import Last, Store
from ormcache.stores.info import ServerInfo
from ormcache.stores.pool import IdleConnections
from ormcache.stores.redis import operations
from ormcache.stores.redis.connection import RedisConnection, ServerIsReplica, StaleConnection
from ormcache.stores.redis.settings import connection_settings

Args = TypeVarTuple("Args")
T = TypeVar("T")

FULL = "Redis is out of memory and evicts nothing"


class RedisStore(Store):
    """A store on one Redis. Threads share it: each call has a connection for itself."""

    kind: ClassVar[str] = "redis"
    errors = (*Store.errors, redis.RedisError)

    def __init__(self, alias: str, timeout: float, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self._connection_class, self._arguments = connection_settings(alias, timeout)
        self._idle: IdleConnections[RedisConnection] = IdleConnections(RedisConnection.close)

    @staticmethod
    def identity(config: Config) -> tuple[object, ...]:
        return (config.cache, config.store_timeout)

    @classmethod
    def from_config(cls, config: Config) -> RedisStore:
        return cls(config.cache, config.store_timeout)

    @property
    def location(self) -> str:
        arguments = self._arguments
        if "connection_pool" in arguments:
            return "behind sentinels"
        return arguments.get("path") or f"{arguments.get('host', 'localhost')}:{arguments.get('port', 6379)}"

    def close(self) -> None:
        self._idle.clear()

    def look_up_with_prefix(
        self, entry: bytes | None, slots: Sequence[bytes]
    ) -> tuple[bytes, bytes | None, list[bytes | None]]:
        """Return the prefix of the slots' keys on the server that answered, then what :meth:`look_up` returns."""
        return self._call_guarded(self._run, operations.look_up_with_prefix, entry, slots)

    def _look_up(self, entry: bytes | None, slots: Sequence[bytes]) -> tuple[bytes | None, list[bytes | None]]:
        if entry is None and not slots:
            return None, []
        return self._run(operations.look_up, entry, slots)

    def _fill_slots(self, slots: Sequence[bytes], stamp: bytes) -> list[bytes | None]:
        if not slots:
            return []
        values = self._run(operations.fill_slots, slots, stamp)
        if values is None:
            raise StoreFull(FULL)
        return values

    def _put_entry(self, entry: bytes, value: bytes, timeout: float | None) -> bool:
        if not self._run(operations.put_entry, entry, value, timeout):
            raise StoreFull(FULL)
        return True

    def _mark(self, slots: Sequence[bytes], writer: bytes, lease: float, watch: bytes | None) -> bytes | None:
        watched, denied = self._run(operations.mark, slots, writer, lease, watch)
        if denied:
            raise StoreFull(FULL, slots, watched)
        return watched

    def _settle(
        self, slots: Sequence[bytes], writer: bytes, stamp: bytes, watch: bytes | None, last: Last | None
    ) -> bytes | None:
        watched, denied = self._run(operations.settle, slots, writer, stamp, watch, last)
        if denied:
            self._record_refusal(slots, FULL)
        return watched

    def _delete_entries(self, entries: Sequence[bytes]) -> None:
        if entries:
            self._run(operations.delete_entries, entries)

    def _claim(self, name: bytes, owner: bytes, seconds: float) -> bytes:
        return self._run(operations.claim, name, owner, seconds)

    def _release(self, name: bytes, word: bytes, seconds: float) -> None:
        self._run(operations.release, name, word, seconds)

    def _clear_slots(self, slots: Sequence[bytes]) -> None:
        if slots:
            self._run(operations.clear_slots, slots)

    def _describe(self) -> tuple[ServerInfo, ...]:
        return (self._run(operations.describe_server),)

    def _reset(self) -> None:
        self._idle.clear()

    def _is_answer(self, error: Exception) -> bool:
        return isinstance(error, (ResponseError, ServerIsReplica))

    def _run(self, operation: Callable[[RedisConnection, *Args], T], *args: *Args) -> T:
        """Call ``operation`` with a connection, and again on a new one as long as the connection is stale."""
        while True:
            connection = self._idle.acquire() or self._connect()
            try:
                answer = operation(connection, *args)
            except StaleConnection:
                # Whatever was written went to keys that are not read any more. All idle connections may be as old.
                connection.close()
                self._idle.clear()
            except BaseException:
                # Even for what a signal handler or a greenlet raises: an unread reply must not be taken for the next.
                connection.close()
                raise
            else:
                self._idle.release(connection)
                return answer

    def _connect(self) -> RedisConnection:
        return RedisConnection(self._connection_class(**self._arguments))
