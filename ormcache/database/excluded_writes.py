"""Writes of one process to relations that its settings exclude from the cache: by ``BLACKLIST``, or outside ``ONLY``.

Another deploy may cache them, as in a rolling deploy that changes these settings. So their slots are marked before a
write becomes visible, as for every write. But nobody here gains anything from their being settled, and such tables are
often written all the time. So the marks are left to run out, and one mark serves all writes of the process that follow
within :data:`RELIED_ON` seconds: it outlives each of them by a whole lease. While it stands, no process stores
anything that depends on the relation.

A store can lose a mark: it is started again, or runs out of memory. So each write is followed by another mark, within
seconds and in the background, which ends whatever was stored meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from ormcache.cache.stamps import new_writer
from ormcache.exceptions import StoreUnavailable
from ormcache.utils.bounded import Bounded

#: Seconds during which a mark serves later writes as well
RELIED_ON = 2.0
MOST_MARKED = 4096  # relations whose last mark is remembered

#: Marks relations for a writer, for a lease in seconds, and returns what the slot of the schema holds
Mark = Callable[[frozenset[str], bytes, float], bytes | None]


class LastMark(NamedTuple):
    """The last mark of this process on one relation."""

    asked: float  # the time.monotonic before the store was asked for it
    schema: bytes | None  # what the schema's slot held then


class ExcludedWrites:
    """The marks of one process on the excluded relations of one database. Threads share it without a lock.

    Each step is one operation on a dict, and what two threads do at once is done twice at worst.
    """

    def __init__(self, mark: Mark, lease: float, *, relies: bool) -> None:
        """``mark`` raises StoreUnavailable. ``lease``: seconds, longer than any COMMIT.

        ``relies``: whether one mark may serve several writes; not where this process remembers stamps, as what it has
        remembered before it has to forget at each write.
        """
        self._mark = mark
        self._lease = lease
        self._relied_on = RELIED_ON if relies else 0.0
        self._writer = new_writer()  # one mark of this process in each slot, however often it is marked
        self._marks: Bounded[str, LastMark] = Bounded(MOST_MARKED)
        self._written: dict[str, bytes | None] = {}  # relation written since its mark → LastMark.schema of that mark

    @property
    def has_written(self) -> bool:
        """Whether relations were written that have not been marked since."""
        return bool(self._written)

    def mark(self, relations: frozenset[str]) -> tuple[bool, bytes | None]:
        """Mark these relations, unless the last mark of each may be relied on.

        Return whether the store was asked, and what the schema's slot held when they were marked. Raises
        StoreUnavailable.
        """
        now = time.monotonic()
        due = frozenset(name for name in relations if not self._is_marked(name, self._relied_on, now))
        if due:
            self._mark_at(now, due)
        schemas = {None if (last := self._marks.get(name)) is None else last.schema for name in relations}
        return bool(due), schemas.pop() if len(schemas) == 1 else None

    def record_write(self, relations: frozenset[str], schema: bytes | None) -> None:
        """Record that these relations were written, or may have been. Raises StoreUnavailable.

        ``schema``: what the schema's slot held when they were marked.
        """
        now = time.monotonic()
        for name in relations:
            self._written[name] = schema
        if not all(self._is_marked(name, self._lease, now) for name in relations):
            self.mark_written()  # the mark may have run out while the statement ran

    def mark_written(self) -> bool:
        """Mark what was written since its mark. Raises StoreUnavailable.

        Return whether the schema may have changed since: then the writes may have changed more than was known.
        """
        written = {name: self._written.pop(name, None) for name in list(self._written)}
        if not written:
            return False
        try:
            schema = self._mark_at(time.monotonic(), frozenset(written))
        except StoreUnavailable:
            for name, before in written.items():
                self._written.setdefault(name, before)
            raise
        return any(before != schema for before in written.values())

    def _mark_at(self, now: float, relations: frozenset[str]) -> bytes | None:
        schema = self._mark(relations, self._writer, self._lease + self._relied_on)
        for name in relations:
            self._marks.put(name, LastMark(now, schema))
        return schema

    def _is_marked(self, relation: str, seconds: float, now: float) -> bool:
        """Return whether a relation was marked within so many seconds."""
        last = self._marks.get(relation)
        return last is not None and now - seconds < last.asked <= now
