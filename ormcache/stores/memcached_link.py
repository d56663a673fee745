"""One connection to one memcached, and the few words of its text protocol that the store needs.

pymemcache makes the connection. It is not asked for more than that: it waits for each reply before it sends the next
command, and takes longer to read an answer than the server to give it.
"""

from __future__ import annotations

import math
import select
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pymemcache.client.base import Client

QUIET = 0.1  # seconds after which an idle connection is looked at before it is used
CHANGED = (b"EXISTS", b"NOT_FOUND", b"NOT_STORED")  # what cas and add answer then


#: What a name holds: its value, and a version that changes with it as long as the server runs
Held = tuple[bytes, bytes]


class New(NamedTuple):
    """What a name is to hold."""

    name: bytes
    value: bytes
    expire: int  # as memcached counts: seconds, or a date; 0: never


class Link:
    """One connection. Whoever fails in the middle of an exchange must close it: a reply may still come."""

    def __init__(self, client: Client) -> None:
        client.version()  # connects
        self._client = client
        self._socket: Any = client.sock
        self._replies = self._socket.makefile("rb")
        self.used = -math.inf
        #: The writer of the last marks that were set here, and what the slots held when they were.
        self.marked: tuple[bytes, dict[bytes, Held]] = (b"", {})

    @property
    def stale(self) -> bool:
        """Whether the server has closed the connection while it was idle, or sent something that nobody asked for."""
        if time.monotonic() - self.used < QUIET:
            return False
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        self._replies.close()
        self._client.close()

    def get(self, names: Iterable[bytes]) -> dict[bytes, Held]:
        """Names that hold nothing are left out."""
        self._socket.sendall(_gets(names))
        return self._held()

    def put(self, new: New) -> bool:
        """False: there is no room for it."""
        self._socket.sendall(_storing(b"set", new))
        return self._answer() == b"STORED"

    def add(self, news: Sequence[New]) -> dict[bytes, Held]:
        """Store what holds nothing yet, as far as there is room; then what all of them hold. One round trip."""
        commands = [_storing(b"add", new) for new in news]
        self._socket.sendall(b"".join([*commands, _gets(new.name for new in news)]))
        for _ in news:
            self._answer()
        return self._held()

    def replace(
        self, news: Sequence[New], before: Mapping[bytes, Held], names: Iterable[bytes]
    ) -> tuple[set[bytes], dict[bytes, Held]]:
        """Store what still holds what it held ``before``; then what ``names`` hold. One round trip.

        Returns the names that had changed, and what is held now. Where there is no room for a new value the old one is
        deleted: a name that holds nothing is as good as one that holds something new.
        """
        commands = []
        for new in news:
            held = before.get(new.name)
            commands.append(_storing(b"add", new) if held is None else _storing(b"cas", new, b" " + held[1]))
        self._socket.sendall(b"".join([*commands, _gets(names)]))
        answers = {new.name: self._answer() for new in news}
        found = self._held()
        self.delete([name for name, answer in answers.items() if answer.startswith(b"SERVER_ERROR")])
        return {name for name, answer in answers.items() if answer in CHANGED}, found

    def delete(self, names: Sequence[bytes]) -> None:
        if names:
            self._socket.sendall(b"".join([b"delete %b\r\n" % name for name in names]))
        for _ in names:
            self._answer()

    def largest(self) -> int:
        """Bytes of one item."""
        return int(self._client.stats("settings")[b"item_size_max"])

    def told(self, about: bytes) -> dict[bytes, bytes]:
        """The statistics of the server, or those ``about`` something."""
        self._socket.sendall(b"stats %b\r\n" % about if about else b"stats\r\n")
        found = {}
        while (line := self._answer()) != b"END":
            _, name, *value = line.split(b" ", 2)
            found[name] = b"".join(value)
        return found

    def _answer(self) -> bytes:
        """One line. SERVER_ERROR is an answer: no room, and the server goes on."""
        line: bytes = self._replies.readline()
        if not line.endswith(b"\r\n") or line.startswith((b"ERROR", b"CLIENT_ERROR")):
            raise ConnectionError(f"memcached answered {line!r}")
        return line[:-2]

    def _held(self) -> dict[bytes, Held]:
        found = {}
        while (line := self._answer()) != b"END":
            if not line.startswith(b"VALUE "):
                raise ConnectionError(f"memcached answered {line!r}")
            _, name, _, length, version = line.split(b" ")
            size = int(length)
            value = self._replies.read(size + 2)
            if len(value) < size + 2:
                raise ConnectionError("memcached closed the connection")
            found[name] = (value[:size], version)
        return found


def _gets(names: Iterable[bytes]) -> bytes:
    return b"gets %b\r\n" % b" ".join(names)


def _storing(verb: bytes, new: New, version: bytes = b"") -> bytes:
    return b"%b %b 0 %d %d%b\r\n%b\r\n" % (verb, new.name, new.expire, len(new.value), version, new.value)
