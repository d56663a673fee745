"""One connection to one Redis, and the incarnation of the server that it reaches.

**Incarnation.** A Redis can come back with old data: restarted from a snapshot, or failed over to a replica that had
missed the last stamps. So every key begins with a digest of the server's run id and replication id, asked for on every
new connection, and again, in the same round trip as a command, when the last answer is older than ``ASK_AGAIN``. That
also notices a primary that was made a replica without closing its connections, and one that refuses to write:
whoever cannot mark must not go on reading either.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Sequence
from typing import Any

import redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError

from ormcache.stores.base import StoreUnavailable
from ormcache.stores.redis_scripts import DIGESTS

ASK_AGAIN = 0.1  # seconds

#: Who are you? DEL of nothing: a command that a server refuses whenever it refuses to write.
QUESTIONS: Sequence[Sequence[bytes]] = ((b"INFO", b"server"), (b"INFO", b"replication"), (b"DEL", b"ormcache:"))


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

    @property
    def address(self) -> str:
        """Of the server, for people."""
        path = getattr(self._connection, "path", None)
        return str(path) if path else f"{self._connection.host}:{self._connection.port}"

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
