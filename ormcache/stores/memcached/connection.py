"""A connection to one memcached, and the part of its text protocol that the store needs.

The protocol is defined in `protocol.txt <https://github.com/memcached/memcached/blob/master/doc/protocol.txt>`_.
pymemcache makes the connection and nothing else: it waits for each reply before it sends the next command, and takes
longer to read an answer than the server takes to give it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pymemcache.client.base import Client

from ormcache.utils.sockets import readable_probe

CHECK_AFTER = 0.1  # seconds after which an idle connection is checked before it is used
CONFLICTS = (b"EXISTS", b"NOT_FOUND", b"NOT_STORED")  # replies to cas and add if another client was first

DENIED = b"SERVER_ERROR"  # what the reply to a command begins with that the server has no room for
OUT_OF_MEMORY = b"out of memory"  # is in that reply where the value is not just too large

#: A value, and its version (the "cas unique"), which changes with it for as long as the server runs
Versioned = tuple[bytes, bytes]


class NewItem(NamedTuple):
    """An item to be stored."""

    name: bytes
    value: bytes
    expiry: int  # as memcached counts: seconds, or seconds since the epoch above 30 days; 0: never


class MemcachedConnection:
    """A connection. Whoever fails in the middle of an exchange must close it: a reply may still come."""

    def __init__(self, client: Client) -> None:
        """Connect with the client of pymemcache. Raise what that raises."""
        client.version()  # connects
        self._client = client
        self._socket: Any = client.sock
        self._replies = self._socket.makefile("rb")
        self._last_used = -math.inf
        self._marked: tuple[bytes, dict[bytes, Versioned]] = (b"", {})

    @property
    def is_stale(self) -> bool:
        """Whether the server closed the idle connection, or sent something that was not asked for."""
        if time.monotonic() - self._last_used < CHECK_AFTER:
            return False
        return readable_probe(self._socket)()

    def touch(self) -> None:
        """Record that the connection has just been used."""
        self._last_used = time.monotonic()

    def remember_marks(self, writer: bytes, values: dict[bytes, Versioned]) -> None:
        """Remember what slots hold after ``writer`` has marked or settled them on this connection."""
        self._marked = (writer, values)

    def marks_of(self, writer: bytes) -> dict[bytes, Versioned]:
        """Return what slots held after ``writer`` had changed them here, if it was the last writer; else nothing."""
        return self._marked[1] if self._marked[0] == writer else {}

    def close(self) -> None:
        self._replies.close()
        self._client.close()

    def get(self, names: Iterable[bytes]) -> dict[bytes, Versioned]:
        """Return the values of the names that hold one."""
        self._socket.sendall(_pack_gets(names))
        return self._read_values()

    def put(self, item: NewItem) -> bool | None:
        """Store an item. Return False if it is too large, and None if there is no room for it."""
        self._socket.sendall(_pack_storage(b"set", item))
        line = self._read_line()
        return None if OUT_OF_MEMORY in line else line == b"STORED"

    def add(self, items: Sequence[NewItem]) -> tuple[dict[bytes, Versioned], set[bytes]]:
        """Store the items whose names hold nothing, as far as there is room.

        Return the values of all names, and for which there was no room. It takes one round trip.
        """
        commands = [_pack_storage(b"add", item) for item in items]
        self._socket.sendall(b"".join([*commands, _pack_gets(item.name for item in items)]))
        denied = {item.name for item in items if self._read_line().startswith(DENIED)}
        return self._read_values(), denied

    def replace(
        self, items: Sequence[NewItem], before: Mapping[bytes, Versioned], names: Iterable[bytes]
    ) -> tuple[set[bytes], dict[bytes, Versioned], set[bytes]]:
        """Store the items whose names still hold what they held ``before``, in one round trip.

        Return the names that had changed meanwhile, the values that ``names`` hold now, and the names that were
        emptied: where there is no room for a new value, the old one is deleted, because an empty slot serves as well as
        a new stamp. The room of the old one mostly suffices for the new one.
        """
        commands = []
        for item in items:
            held = before.get(item.name)
            commands.append(
                _pack_storage(b"add", item) if held is None else _pack_storage(b"cas", item, b" " + held[1])
            )
        self._socket.sendall(b"".join([*commands, _pack_gets(names)]))
        answers = {item.name: self._read_line() for item in items}
        values = self._read_values()
        denied = [item for item in items if answers[item.name].startswith(DENIED)]
        changed = {name for name, answer in answers.items() if answer in CONFLICTS}
        emptied: set[bytes] = set()
        if denied:
            self.delete([item.name for item in denied])
            found, emptied = self.add(denied)
            self.delete([*emptied])
            for item in denied:
                values.pop(item.name, None)
                held = found.get(item.name)
                if item.name not in emptied and held is not None:
                    values[item.name] = held
                    if held[0] != item.value:
                        changed.add(item.name)  # by others, meanwhile
        return changed, values, emptied

    def delete(self, names: Sequence[bytes]) -> None:
        """Delete the values of these names, as far as they hold one."""
        if names:
            self._socket.sendall(b"".join([b"delete %b\r\n" % name for name in names]))
        for _ in names:
            self._read_line()

    def max_item_bytes(self) -> int:
        """Return the size of the largest item that the server takes."""
        return int(self._client.stats("settings")[b"item_size_max"])

    def statistics(self, about: bytes) -> dict[bytes, bytes]:
        """Return the statistics of the server; ``about`` names a group of them other than the general ones."""
        self._socket.sendall(b"stats %b\r\n" % about if about else b"stats\r\n")
        statistics = {}
        while (line := self._read_line()) != b"END":
            _, name, *value = line.split(b" ", 2)
            statistics[name] = b"".join(value)
        return statistics

    def _read_line(self) -> bytes:
        """Return one line of a reply. Raise ConnectionError unless the server goes on after it.

        It does after SERVER_ERROR, which says that there is no room.
        """
        line: bytes = self._replies.readline()
        if not line.endswith(b"\r\n") or line.startswith((b"ERROR", b"CLIENT_ERROR")):
            raise ConnectionError(f"memcached answered {line!r}")
        return line[:-2]

    def _read_values(self) -> dict[bytes, Versioned]:
        values = {}
        while (line := self._read_line()) != b"END":
            if not line.startswith(b"VALUE "):
                raise ConnectionError(f"memcached answered {line!r}")
            _, name, _, length, version = line.split(b" ")
            size = int(length)
            value = self._replies.read(size + 2)
            if len(value) < size + 2:
                raise ConnectionError("memcached closed the connection")
            values[name] = (value[:size], version)
        return values


def _pack_gets(names: Iterable[bytes]) -> bytes:
    return b"gets %b\r\n" % b" ".join(names)


def _pack_storage(verb: bytes, item: NewItem, version: bytes = b"") -> bytes:
    return b"%b %b 0 %d %d%b\r\n%b\r\n" % (verb, item.name, item.expiry, len(item.value), version, item.value)
