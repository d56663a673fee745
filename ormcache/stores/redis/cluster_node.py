"""One node of a Redis Cluster as seen by one process: its connections, and its circuit breaker."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar, TypeVarTuple

import redis
from redis.exceptions import AskError, MovedError, ResponseError, TryAgainError

from ormcache.exceptions import StoreUnavailable
from ormcache.stores.base import Store
from ormcache.stores.pool import IdleConnections
from ormcache.stores.redis.connection import RedisConnection, ServerIsReplica, StaleConnection

#: Host and port of a node
Address = tuple[str, int]

#: What a node answers that does not have the keys (any more, or all of them): MovedError is a kind of AskError
Redirection = (AskError, TryAgainError)
_REDIRECTIONS: dict[str, type[AskError | TryAgainError]] = {
    "ASK": AskError,
    "MOVED": MovedError,
    "TRYAGAIN": TryAgainError,
}

Args = TypeVarTuple("Args")
T = TypeVar("T")


class NodeUnavailable(StoreUnavailable):
    """Raised when one node of a cluster cannot do what it was asked for. Others can: the store is not away."""


class ClusterNode(Store):
    """A node that owns hash slots. Threads share it: each call has a connection for itself."""

    errors = (*Store.errors, redis.RedisError)

    def __init__(
        self,
        address: Address,
        connection_class: Callable[..., Any],
        arguments: dict[str, Any],
        on_outage: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``arguments``: of the connections, besides host and port. ``on_outage``: called when an outage begins."""
        super().__init__(clock)
        self.address = address
        self.kind = f"redis-cluster ({format_address(address)})"  # type: ignore[misc]  # for the log
        self._connection_class = connection_class
        self._arguments = arguments
        self._on_outage = on_outage
        self._idle: IdleConnections[RedisConnection] = IdleConnections(RedisConnection.close)

    def run(
        self, write_probe: bytes, operation: Callable[[RedisConnection, *Args], T], *args: *Args
    ) -> T | AskError | TryAgainError:
        """Return what ``operation`` returns, called with a connection, or the redirection that the node answers with.

        ``write_probe``: a key without value in the hash slot that the operation is about. Raises StoreUnavailable.
        """
        return self._call_guarded(self._run, write_probe, operation, *args)

    def close(self) -> None:
        self._idle.clear()

    def _run(
        self, write_probe: bytes, operation: Callable[[RedisConnection, *Args], T], *args: *Args
    ) -> T | AskError | TryAgainError:
        while True:
            connection = self._idle.acquire()
            try:
                if connection is None:
                    host, port = self.address
                    made = self._connection_class(host=host, port=port, **self._arguments)
                    connection = RedisConnection(made, write_probe, in_cluster=True)
                connection.write_probe = write_probe
                answer: T | AskError | TryAgainError = operation(connection, *args)
            except StaleConnection:
                # All idle connections may be as old.
                if connection is not None:
                    connection.close()
                self._idle.clear()
            except ResponseError as error:
                redirection = redirection_of(error)
                if redirection is None:
                    if connection is not None:
                        connection.close()
                    raise
                answer = redirection  # an answer like any other: all replies have been read
                break
            except BaseException:
                # Even for what a signal handler or a greenlet raises: an unread reply must not be taken for the next.
                if connection is not None:
                    connection.close()
                raise
            else:
                break
        if connection is not None:
            self._idle.release(connection)
        return answer

    def _record_failure(self, error: Exception, seen: int) -> None:
        before = self.outage_count
        super()._record_failure(error, seen)
        if self.outage_count != before:
            self._on_outage()

    def _reset(self) -> None:
        self._idle.clear()

    def _is_answer(self, error: Exception) -> bool:
        return isinstance(error, (ResponseError, ServerIsReplica))


def redirection_of(error: ResponseError) -> AskError | TryAgainError | None:
    """Return the redirection that a reply of a node is, or None. Older versions of the client do not know them."""
    if isinstance(error, Redirection):
        return error
    code, _, rest = str(error).partition(" ")
    return _REDIRECTIONS[code](rest) if code in _REDIRECTIONS else None


def redirected_to(redirection: AskError, asked: Address) -> Address:
    """Return where a node redirects to, which was ``asked``: without a host, that is its own."""
    return redirection.host or asked[0], redirection.port


def format_address(address: Address) -> str:
    """Return an address for display."""
    return f"{address[0]}:{address[1]}"
