"""The connection on which a Redis server pushes the names of slots that change.

After ``CLIENT TRACKING ON BCAST`` the server pushes the name of every key with a given prefix when it changes, by
whichever client; see `Client-side caching <https://redis.io/docs/latest/develop/reference/client-side-caching/>`_.
Nothing here waits for the server, except while the connection is made.

**Proof.** Silence does not prove that nothing has changed: a push may be on its way, or the connection may be dead. So
from time to time this process sets a key of its own, which is tracked as well. The server pushes earlier changes before
the change of that key, on the same connection. Once the push of that key arrives, so have those of all changes from
before the SET was sent. (The reply to a PING would prove nothing: a server collects pushes while it processes the
commands of many clients, and may reply to some of them before it sends what it has collected.) The prefix of that key
sorts after the slots' prefix, because the server pushes what it has collected in this order.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Sequence
from ssl import SSLWantReadError
from typing import Any

import hiredis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, ResponseError

from ormcache.stores.redis.connection import RedisConnection, pack
from ormcache.utils.sockets import readable_probe

#: Seconds after which this process's own key expires in the server
OWN_KEY_TTL = b"60"

CHUNK_SIZE = 65_536  # bytes read at once

_INCOMPLETE = object()  # what the reader returns while the rest of a message is still to come

#: Takes the slots that have changed; None: all
Forget = Callable[[Sequence[bytes] | None], None]


class TrackingFailed(Exception):
    """Raised when the server does not push changes, or may have stopped pushing all of them."""


class TrackingConnection:
    """A connection that receives pushes. It belongs to one thread at a time, which holds its owner's lock."""

    def __init__(
        self, connection: Any, timeout: float, max_lag: float, clock: Callable[[], float], forget: Forget
    ) -> None:
        """Connect and begin to track.

        ``timeout`` is the time to wait for a reply and ``max_lag`` the age up to which a proof counts, in seconds.
        ``forget`` is called with the slots that have changed. Raise TrackingFailed, and whatever the client raises.
        """
        self._connection = connection
        self._timeout = timeout
        self._max_lag = max_lag
        self._clock = clock
        self._forget = forget
        # The client's own parser waits for the rest of a message; this one is fed with whatever has arrived.
        self._reader = hiredis.Reader(
            protocolError=InvalidResponse, replyError=ResponseError, notEnoughData=_INCOMPLETE
        )
        self._pending_replies = 0  # to the last probe, still to come
        self._probed_at: float | None = None  # when the SET was sent whose push has not come yet
        #: a time of the clock until which a slot that was not pushed has not been outdated for more than ``max_lag``
        self.fresh_until = -math.inf
        #: a time of the clock from which :meth:`poll` has a probe to send, or to miss
        self.next_poll = -math.inf
        #: a time of the clock: the last use, give or take half of ``max_lag``
        self.last_used = clock()
        self.closed = threading.Event()
        try:
            connection.connect()
            self._socket = connection._sock  # the client has no public access to it
            self._replication = _replication_state(self._exchange(b"INFO", b"replication"))
            self.prefix = RedisConnection(connection).slot_prefix
            own_key = self.prefix.removesuffix(b"s:") + b"t:" + os.urandom(8).hex().encode()
            self._exchange(b"HELLO", b"3")
            self._exchange(b"CLIENT", b"TRACKING", b"ON", b"BCAST", b"PREFIX", self.prefix, b"PREFIX", own_key)
            self._socket.setblocking(False)
        except BaseException:
            self.close()
            raise
        self._own_key = own_key
        self._probe = pack((b"INFO", b"replication")) + pack((b"SET", own_key, b"", b"EX", OWN_KEY_TTL))
        #: returns whether the server has sent something that was not read yet
        self.readable = readable_probe(self._socket)

    def poll(self, now: float) -> None:
        """Process the pushes that have arrived, and send the next probe when it is time.

        Raise TrackingFailed, and whatever the client raises, when the connection is of no more use.
        """
        self._read_pushes()
        if now < self.next_poll:
            return
        if self._probed_at is not None:
            raise TimeoutError("the push connection is silent")
        if self._socket.send(self._probe) != len(self._probe):
            raise BlockingIOError("the push connection is full")
        self._probed_at = self.last_used = now
        self._pending_replies = 2
        self.next_poll = now + max(self._timeout, self._max_lag)

    def close(self) -> None:
        """Close the connection; from now on it proves nothing."""
        self.fresh_until = -math.inf
        self.closed.set()
        self._connection.disconnect()

    def abandon(self) -> None:
        """Close a forked child's copy of the socket, and touch nothing that another thread may have held."""
        self._socket.close()

    def _read_pushes(self) -> None:
        """Process all messages that have arrived completely."""
        self._receive()
        changed: list[bytes] = []
        proven = None
        while (message := self._reader.gets()) is not _INCOMPLETE:
            if not isinstance(message, hiredis.PushNotification):
                self._check_reply(message)
            elif message[0] == b"invalidate":
                if message[1] is None:  # FLUSHALL
                    self._forget(None)
                    continue
                changed += message[1]
                # A push that comes before the replies is that of an earlier SET, or of the key's expiry.
                if self._probed_at is not None and not self._pending_replies and self._own_key in message[1]:
                    proven, self._probed_at = self._probed_at, None
        if changed:
            start = len(self.prefix)
            self._forget([key[start:] for key in changed if key.startswith(self.prefix)])
        if proven is not None:  # not before all changes are forgotten
            self.fresh_until = proven + self._max_lag
            self.next_poll = proven + self._max_lag / 2

    def _check_reply(self, reply: Any) -> None:
        """Take a reply to the probe. Raise if it is an error, or shows that the server is not the same primary."""
        if isinstance(reply, ResponseError):
            raise reply
        if not self._pending_replies:
            raise TrackingFailed("the server sent a reply to no command")
        self._pending_replies -= 1
        if self._pending_replies and _replication_state(reply) != self._replication:
            raise TrackingFailed("the server is not the same primary any more")

    def _receive(self) -> None:
        """Feed the reader with what has arrived, without waiting for more."""
        while True:
            try:
                chunk = self._socket.recv(CHUNK_SIZE)
            except (BlockingIOError, SSLWantReadError):
                return
            self._feed(chunk)

    def _feed(self, chunk: bytes) -> None:
        if not chunk:
            raise RedisConnectionError("the server has closed the push connection")
        self._reader.feed(chunk)

    def _exchange(self, *command: bytes) -> Any:
        """Return the reply to one command, while the connection is made. Raise TrackingFailed if it is an error."""
        self._socket.settimeout(self._timeout)
        self._socket.sendall(pack(command))
        while True:
            reply = self._reader.gets()  # pushes may follow it at once
            if reply is _INCOMPLETE:
                self._feed(self._socket.recv(CHUNK_SIZE))
            elif isinstance(reply, ResponseError):
                raise TrackingFailed(str(reply))
            elif not isinstance(reply, hiredis.PushNotification):
                return reply


def _replication_state(replication: Any) -> bytes:
    """Return the lines of INFO that change when a server becomes a replica, or ceases to be one."""
    lines: list[bytes] = replication.splitlines()
    return b" ".join(line for line in lines if line.startswith((b"role:", b"master_replid:")))
