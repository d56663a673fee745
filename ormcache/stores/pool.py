"""Connections that wait for their next use."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Generic, TypeVar

C = TypeVar("C")


class IdleConnections(Generic[C]):
    """The connections of one process to one server that are not in use at the moment.

    It keeps as many as were ever in use at once, by whichever threads, so a thread that ends leaves nothing behind. The
    connection released last is acquired first. There is no lock: ``list.pop`` and ``list.append`` are atomic.
    """

    def __init__(self, close: Callable[[C], object]) -> None:
        self._close = close
        self._connections: list[C] = []
        self._pid = os.getpid()

    def acquire(self) -> C | None:
        """Take a connection out; None if there is none."""
        if self._pid != os.getpid():
            # They belong to the parent process; the client libraries let go of them without a word to the server.
            self._connections = []
            self._pid = os.getpid()
        try:
            return self._connections.pop()
        except IndexError:
            return None

    def release(self, connection: C) -> None:
        """Put a connection back, unless the process has forked meanwhile."""
        if self._pid == os.getpid():
            self._connections.append(connection)

    def clear(self) -> None:
        """Close all idle connections."""
        while (connection := self.acquire()) is not None:
            self._close(connection)
