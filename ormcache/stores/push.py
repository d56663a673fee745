"""The connection on which a Redis server tells, unasked, which slots are changed.

``CLIENT TRACKING ON BCAST``: the server pushes the name of every key with a given beginning, whoever changes it.
Nothing here waits, but for the making of the connection.

**Proof.** That nothing was heard does not say that nothing happened: a push may be on its way, or the line may be dead.
So now and then a key of our own is set, whose changes are tracked too. What has been changed before it on the server
is pushed before its own push is, on the same connection. So once that has come, everything has that was changed
before the moment at which the SET was sent. (The reply to a PING would not do: a server collects pushes while it works
through the commands of many clients, and may answer some of these before it sends what it has collected.) The beginning
of that key sorts after the slots' own, since the server pushes what it has collected in this order.
"""

from __future__ import annotations

import math
import os
import select
import threading
from collections.abc import Callable, Sequence
from ssl import SSLWantReadError
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError

from ormcache.stores.redis_link import Link
from ormcache.stores.resp import Incomplete, Push, Refusal, pack, parse

#: Seconds that the server keeps our own key after it was set the last time
KEPT = b"60"

CHUNK = 65_536  # bytes

Forget = Callable[[Sequence[bytes] | None], None]


class NotTracked(Exception):
    """The server does not push, or no longer what it pushed so far."""


class PushLink:
    """Belongs to one thread at a time, which holds its owner's lock."""

    def __init__(
        self, connection: Any, timeout: float, max_lag: float, clock: Callable[[], float], forget: Forget
    ) -> None:
        """Connect, and begin to listen.

        ``timeout``: seconds to wait for an answer. ``forget`` is told of the slots that have changed, None for all of
        them. Raises NotTracked, and whatever the client raises.
        """
        self._connection = connection
        self._timeout = timeout
        self._max_lag = max_lag
        self._clock = clock
        self._forget = forget
        self._unread = b""
        self._replies = 0  # that are still to come
        self._asked: float | None = None  # when the SET was sent whose push has not come yet
        #: a time of the clock: until then what was not pushed has not changed for longer than ``max_lag``
        self.fresh_until = -math.inf
        #: a time of the clock: then there is something to do
        self.due = -math.inf
        #: a time of the clock: when it was used the last time, give or take half of ``max_lag``
        self.used = clock()
        self.closed = threading.Event()
        try:
            connection.connect()
            self._socket = connection._sock  # the client has no public way to it
            self._replication = self._incarnation(self._exchange(b"INFO", b"replication"))
            self.prefix = Link(connection).slots
            mine = self.prefix.removesuffix(b"s:") + b"t:" + os.urandom(8).hex().encode()
            self._exchange(b"HELLO", b"3")
            self._exchange(b"CLIENT", b"TRACKING", b"ON", b"BCAST", b"PREFIX", self.prefix, b"PREFIX", mine)
            self._socket.setblocking(False)
        except BaseException:
            self.close()
            raise
        self._mine = mine
        self._question = pack(b"INFO", b"replication") + pack(b"SET", mine, b"", b"EX", KEPT)
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        self._poll = poll.poll

    def readable(self) -> bool:
        return bool(self._poll(0))

    def tend(self, now: float) -> None:
        """Take in what has come, and ask for the next proof when it is time. Raises when it is of no use any more."""
        self._take_in()
        if now < self.due:
            return
        if self._asked is not None:
            raise TimeoutError("the push connection is silent")
        if self._socket.send(self._question) != len(self._question):
            raise BlockingIOError("the push connection is full")
        self._asked = self.used = now
        self._replies = 2
        self.due = now + max(self._timeout, self._max_lag)

    def close(self) -> None:
        self.fresh_until = -math.inf
        self.closed.set()
        self._connection.disconnect()

    def abandon(self) -> None:
        """In a forked child: close its copy of the socket, and touch nothing that another thread may have held."""
        self._socket.close()

    def _take_in(self) -> None:
        data, at = self._unread + self._received(), 0
        changed: list[bytes] = []
        proven = None
        try:
            while at < len(data):
                message, at = parse(data, at)
                if not isinstance(message, Push):
                    self._replied(message)
                elif message[0] == b"invalidate":
                    if message[1] is None:  # FLUSHALL
                        self._forget(None)
                        continue
                    changed += message[1]
                    # The push that comes before the reply is an earlier one, or of the key's end.
                    if self._asked is not None and not self._replies and self._mine in message[1]:
                        proven, self._asked = self._asked, None
        except Incomplete:
            pass
        self._unread = data[at:]
        if changed:
            start = len(self.prefix)
            self._forget([key[start:] for key in changed if key.startswith(self.prefix)])
        if proven is not None:  # not before all of it is forgotten
            self.fresh_until = proven + self._max_lag
            self.due = proven + self._max_lag / 2

    def _replied(self, reply: Any) -> None:
        if isinstance(reply, Refusal):
            raise reply
        if not self._replies:
            raise NotTracked("a reply that nobody asked for")
        self._replies -= 1
        if self._replies and self._incarnation(reply) != self._replication:
            raise NotTracked("the server is another one than it was")

    def _incarnation(self, replication: Any) -> bytes:
        """What changes when a server becomes a replica, or ceases to be one."""
        lines: list[bytes] = replication.splitlines()
        return b" ".join(line for line in lines if line.startswith((b"role:", b"master_replid:")))

    def _received(self) -> bytes:
        received: list[bytes] = []
        while True:
            try:
                chunk = self._socket.recv(CHUNK)
            except (BlockingIOError, SSLWantReadError):
                return b"".join(received)
            if not chunk:
                raise RedisConnectionError("the server has closed the push connection")
            received.append(chunk)

    def _exchange(self, *command: bytes) -> Any:
        """The reply to one command, while the connection is made."""
        self._socket.settimeout(self._timeout)
        self._socket.sendall(pack(*command))
        while True:
            try:
                reply, at = parse(self._unread)
            except Incomplete:
                chunk = self._socket.recv(CHUNK)
                if not chunk:
                    raise RedisConnectionError("the server has closed the push connection") from None
                self._unread += chunk
                continue
            self._unread = self._unread[at:]  # pushes may follow at once
            if isinstance(reply, Refusal):
                raise NotTracked(str(reply))
            if not isinstance(reply, Push):
                return reply
