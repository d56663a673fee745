"""Connections that wait for their next use."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Generic, TypeVar

L = TypeVar("L")


class Idle(Generic[L]):
    """The connections of one process to one server that nobody uses at the moment.

    As many are kept as were ever in use at once, whichever threads those were, so a thread that ends leaves nothing
    behind. The last one given back is taken first. No lock: ``list.pop`` and ``list.append`` are atomic.
    """

    def __init__(self, close: Callable[[L], object]) -> None:
        self._close = close
        self._links: list[L] = []
        self._pid = os.getpid()

    def take(self) -> L | None:
        if self._pid != os.getpid():
            # They belong to the parent process; the client libraries let go of them without a word to the server.
            self._links = []
            self._pid = os.getpid()
        try:
            return self._links.pop()
        except IndexError:
            return None

    def give(self, link: L) -> None:
        if self._pid == os.getpid():
            self._links.append(link)

    def clear(self) -> None:
        while (link := self.take()) is not None:
            self._close(link)
