"""What readers have to see: numbers that only grow, noted in shared memory once they are committed.

A note is made by the process that committed, after it did. What was noted before a page was begun is the least that
the page may show. Each process has cells of its own, so that no two write to one.
"""

from __future__ import annotations

import mmap
import time
from pathlib import Path
from typing import Self

VOTES, COMMENTS = range(2)  # of a story
NEWEST = 0  # in place of a story's number: the newest comment of the site, by its key
_KINDS = 2
_CELL = 8  # bytes


def make_board(path: Path, *, stories: int, processes: int) -> None:
    """An empty one, before any process uses it."""
    path.write_bytes(bytes(2 * _CELL * _KINDS * (stories + 1) * processes))


class Witness:
    """The board of one candidate, as one of its processes uses it. A context manager: closes the file.

    ``lag``: seconds for which nothing noted binds a reader yet.
    """

    def __init__(self, path: Path, *, stories: int, processes: int, number: int, lag: float) -> None:
        self._stories, self._processes, self._number = stories, processes, number
        self._lag = lag * 1e9
        self._file = path.open("r+b")
        self._memory = mmap.mmap(self._file.fileno(), 0)
        self._bytes = memoryview(self._memory)
        self._noted = self._bytes.cast("Q")
        self._times = len(self._noted) // 2  # where the times of the notes begin: nanoseconds of the machine's clock

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._noted.release()
        self._bytes.release()
        self._memory.close()
        self._file.close()

    def note(self, kind: int, story: int, value: int) -> None:
        """A commit has brought it to this value. Stories that came later have no cell."""
        if story > self._stories:
            return
        cell = self._cell(self._number, kind, story)
        self._noted[self._times + cell] = time.monotonic_ns()  # first: see least()
        self._noted[cell] = max(value, self._noted[cell])

    def least(self, kind: int, story: int, began: int) -> int:
        """What a read that began at that time (``time.monotonic_ns()``) has to show at least; 0: anything."""
        if story > self._stories:
            return 0
        found = 0
        for process in range(self._processes):
            cell = self._cell(process, kind, story)
            value = self._noted[cell]
            # Whoever notes a value notes the time before: if this value is a later one, so is the time.
            if self._noted[self._times + cell] < began - self._lag:
                found = max(found, value)
        return found

    def _cell(self, process: int, kind: int, story: int) -> int:
        return (process * _KINDS + kind) * (self._stories + 1) + story
