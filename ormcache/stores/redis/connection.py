"""A connection to one Redis, and the incarnation of the server that it reaches.

**Incarnation.** A Redis can come back with old data: restarted from a snapshot, or failed over to a replica that had
missed the last stamps. So every key begins with a digest of the server's run id and replication id, the fields
``run_id`` and ``master_replid`` of `INFO <https://redis.io/docs/latest/commands/info/>`_. A new connection asks for
them, and asks again, in the same round trip as a command, when the last answer is older than ``VERIFY_INTERVAL``. That
also detects a primary that became a replica without closing its connections, and a server that denies writes: whoever
cannot mark must not go on reading.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import hiredis
import redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError

from ormcache.exceptions import StoreUnavailable
from ormcache.stores.redis.scripts import DIGESTS
from ormcache.utils.interruptions import let_through

VERIFY_INTERVAL = 0.1  # seconds for which the incarnation of a server counts as known

#: Encode a command. The client's own packer takes longer: it expects strings, and several words in one argument.
pack: Callable[[tuple[bytes, ...]], bytes] = hiredis.pack_command  # type: ignore[assignment]  # typed for one word

#: What is asked to verify the incarnation, and after them to delete a key that does not exist
INFO_COMMANDS: Sequence[tuple[bytes, ...]] = ((b"INFO", b"server"), (b"INFO", b"replication"))

#: A key without value. To delete it fails whenever the server denies writes
WRITE_PROBE = b"ormcache:"


class StaleConnection(Exception):
    """Raised when a connection was closed or now reaches another incarnation than its keys; try again on a new one."""


class ServerIsReplica(RedisConnectionError):
    """Raised for a server that is a replica: writes to it would be lost, and what it holds is older than the rows."""


class RedisConnection:
    """A connection of redis-py, and the prefixes of the keys for the incarnation that it reaches.

    Whoever fails in the middle of an exchange must close it: a reply may still come.
    """

    def __init__(self, connection: Any, write_probe: bytes = WRITE_PROBE, *, in_cluster: bool = False) -> None:
        """Connect. Raise what the client raises, and StoreUnavailable where the server cannot be a store.

        ``in_cluster``: whether the server may be a node of a cluster.
        """
        self._connection = connection
        self._in_cluster = in_cluster
        #: a key without value that the server is asked to delete
        self.write_probe = write_probe
        self._verified_at = -math.inf
        connection.connect()
        try:
            self._run_and_replication = self._read_incarnation()
        except BaseException:
            self.close()
            raise
        #: a digest of the run id and the replication id: 16 characters
        self.incarnation = hashlib.blake2b(b"".join(self._run_and_replication), digest_size=8).hexdigest().encode()
        self.entry_prefix = b"ormcache:" + self.incarnation + b":e:"
        self.slot_prefix = b"ormcache:" + self.incarnation + b":s:"
        self.claim_prefix = b"ormcache:" + self.incarnation + b":c:"

    @property
    def address(self) -> str:
        """The path or the host and port of the server, for display."""
        path = getattr(self._connection, "path", None)
        return str(path) if path else f"{self._connection.host}:{self._connection.port}"

    def call(self, *command: bytes) -> Any:
        """Return the reply to one command. Raise ResponseError if it is an error, and StaleConnection."""
        if time.monotonic() - self._verified_at >= VERIFY_INTERVAL:
            return self._call_and_verify([command])[0]
        self._connection.send_packed_command((pack(command),), check_health=False)
        return self._connection.read_response(disable_decoding=True)

    def call_many(self, commands: Sequence[tuple[bytes, ...]]) -> list[Any]:
        """Return the replies to several commands in one round trip. Raise the first error once all have been read."""
        if time.monotonic() - self._verified_at >= VERIFY_INTERVAL:
            return self._call_and_verify(commands)
        return _raise_errors(self._exchange(commands))

    def run_script(self, script: str, keys: Sequence[bytes], *arguments: bytes) -> Any:
        """Return the result of a script, which is sent only to a server that does not know it."""
        try:
            return self.call(b"EVALSHA", DIGESTS[script], b"%d" % len(keys), *keys, *arguments)
        except NoScriptError:
            return self.call(b"EVAL", script.encode(), b"%d" % len(keys), *keys, *arguments)

    def verify_again(self) -> None:
        """Verify the incarnation in the round trip of the next command, however lately that was done."""
        self._verified_at = -math.inf

    def close(self) -> None:
        self._connection.disconnect()

    def _call_and_verify(self, commands: Sequence[tuple[bytes, ...]]) -> list[Any]:
        """Return the replies to the commands, after verifying the incarnation in the same round trip."""
        try:
            # There is something to read if the server closed the idle connection, or sent what no one has asked for.
            is_stale = self._connection.can_read(timeout=0)
        except (redis.RedisError, OSError) as error:
            let_through(error)
            is_stale = True
        if is_stale:
            raise StaleConnection
        now = time.monotonic()
        server, replication, deleted, *replies = self._exchange([*self._identity_commands(), *commands])
        if _parse_incarnation(server, replication, deleted, self._in_cluster) != self._run_and_replication:
            raise StaleConnection
        self._verified_at = now
        return _raise_errors(replies)

    def _read_incarnation(self) -> tuple[bytes, bytes]:
        now = time.monotonic()
        server, replication, deleted = self._exchange(self._identity_commands())
        incarnation = _parse_incarnation(server, replication, deleted, self._in_cluster)
        self._verified_at = now
        return incarnation

    def _identity_commands(self) -> Sequence[tuple[bytes, ...]]:
        return (*INFO_COMMANDS, (b"DEL", self.write_probe))

    def _exchange(self, commands: Sequence[tuple[bytes, ...]]) -> list[Any]:
        return exchange(self._connection, commands)


def exchange(connection: Any, commands: Sequence[tuple[bytes, ...]]) -> list[Any]:
    """Return the replies to several commands on a connection of the client, errors among them."""
    connection.send_packed_command((b"".join(map(pack, commands)),), check_health=False)
    replies = []
    for _ in commands:
        try:
            replies.append(connection.read_response(disable_decoding=True))
        except ResponseError as error:
            replies.append(error)
    return replies


def _raise_errors(replies: list[Any]) -> list[Any]:
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies


def _parse_incarnation(server: Any, replication: Any, deleted: Any, in_cluster: bool = False) -> tuple[bytes, bytes]:
    """Return the run id and the replication id from the replies to ``INFO_COMMANDS`` and to the deletion of a key.

    Raise an error among the replies, ServerIsReplica for a replica, and StoreUnavailable for a server that reports
    no run id, or that is a node of a cluster where it may not be one.
    """
    _raise_errors([server, replication])
    if not in_cluster and b"cluster" in (
        _info_field(b"redis_mode", server),
        _info_field(b"server_mode", server),
    ):
        raise StoreUnavailable("this Redis is a node of a cluster: set STORE to 'redis-cluster'")
    if _info_field(b"role", replication) not in (b"master", b""):
        raise ServerIsReplica("the server is a replica")
    _raise_errors([deleted])
    run_id = _info_field(b"run_id", server)
    if not run_id:
        raise StoreUnavailable("the server reports no run id, so it could come back with old data unnoticed")
    return run_id, _info_field(b"master_replid", replication)


def _info_field(name: bytes, info: bytes) -> bytes:
    """Return the value of a field in a reply to INFO; empty if it is not there."""
    return info.partition(b"\n" + name + b":")[2].partition(b"\n")[0].strip()
