"""The outbox of one database: what is read there is invalidated, and only then deleted.

``docs/how-it-works.md`` says what it is for, and :mod:`ormcache.catalog.outbox` has its table.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from ormcache.cache.keys import digest
from ormcache.cache.stamps import Stamps
from ormcache.catalog import Server, is_pseudo, outbox
from ormcache.catalog.outbox import OutboxRow
from ormcache.database.slots import Slots
from ormcache.exceptions import StoreFull
from ormcache.stores.base import WRITER_LENGTH
from ormcache.utils.bounded import Bounded

MOST_UNFINISHED = 4096  # rows of unfinished writes that are remembered


class Outbox:
    """The outbox of one database in one process. Any thread may call any method."""

    def __init__(
        self,
        vendor: str,
        server: Server,
        stamps: Stamps,
        slots: Slots,
        affected: Callable[[frozenset[str]], frozenset[str]],
        lease: float,
    ) -> None:
        """``affected``: returns what a write may change, or raises StoreUnavailable. ``lease``: seconds."""
        self._vendor = vendor
        self._stamps = stamps
        self._slots = slots
        self._affected = affected
        self._lease = lease
        self._identity = stamps.partition
        #: whether other processes could find there what this one writes, and this one what they do
        self.is_shared = server.shared and not server.replica and (vendor != "sqlite" or server.file is not None)
        #: its table, as statements name it; None: there is none, as far as known
        self.table: str | None = None
        #: whether this process has read it
        self.was_read = False
        #: id of a row of an unfinished write → until when that may become visible, by time.monotonic
        self._unfinished: Bounded[int, float] = Bounded(MOST_UNFINISHED)

    # Writing: all of these raise the driver's errors ------------------------------------------

    def add(self, driver_connection: Any, relations: frozenset[str], *, unfinished: bool) -> tuple[int, ...]:
        """Insert rows for a write to these relations. Return their ids; none where there is no table."""
        table = self.locate(driver_connection)
        if table is None:
            return ()
        names = outbox.relations_in_rows(relations)
        return tuple(outbox.insert(driver_connection, self._vendor, table, names, unfinished=unfinished))

    def finish(self, driver_connection: Any, ids: Sequence[int]) -> None:
        """Record that the write of these rows is over."""
        if self.table is not None:
            outbox.finish(driver_connection, self._vendor, self.table, ids)

    def remove(self, driver_connection: Any, ids: Sequence[int]) -> None:
        """Delete rows whose relations are invalidated."""
        if self.table is not None:
            outbox.delete(driver_connection, self._vendor, self.table, ids)

    # Reading --------------------------------------------------------------------------------

    def locate(self, driver_connection: Any) -> str | None:
        """Look where the table is, and return how statements name it. Raises the driver's errors."""
        self.table = outbox.find_outbox(driver_connection, self._vendor)
        return self.table

    def relations(self, driver_connection: Any) -> list[str] | None:
        """Return the relations that stand in the table, by name; None: there is none. Raises the driver's errors."""
        table = self.locate(driver_connection)
        return None if table is None else sorted({row.relation for row in outbox.read(driver_connection, table)})

    def count_rows(self, driver_connection: Any) -> int | None:
        """Return how many rows wait in the table; None: there is none. Raises the driver's errors."""
        table = self.locate(driver_connection) if self.is_shared else None
        return None if table is None else outbox.count_rows(driver_connection, table)

    def settle(self, driver_connection: Any, run_commit: Callable[[Callable[[], None]], None]) -> int:
        """Invalidate what stands in the table, delete it, and return how many rows these were.

        ``run_commit``: runs what commits on the connection and accounts for it. The connection sees what is committed
        and nothing else, and is in no transaction. Raises the driver's errors, and StoreUnavailable, in which case
        nothing is deleted.
        """
        table = self.table or self.locate(driver_connection)
        if table is None:
            self.was_read = True
            return 0
        rows = outbox.read(driver_connection, table)
        over = [row for row in rows if self._is_over(row)]
        for row in over:
            if row.id in self._unfinished:
                self._stamps.settle(self._slots_of(row.relation), self._writer(row.id))
        relations = frozenset(row.relation for row in over if row.id not in self._unfinished)
        if relations:
            self._stamps.renew(self._slots_of(*relations))
        if over:  # by now the store has answered for each of them
            keys = [row.id for row in over]
            run_commit(lambda: outbox.delete(driver_connection, self._vendor, table, keys))
            for row in over:
                self._unfinished.pop(row.id, None)
        self.was_read = True
        return len(over)

    def _is_over(self, row: OutboxRow) -> bool:
        """Return whether the write of a row is visible or will never be. Otherwise its relation is marked meanwhile.

        Under a stamp a reader could store rows from before the write becomes visible. Raises StoreUnavailable.
        """
        if not row.unfinished:
            return True
        now = time.monotonic()
        until = self._unfinished.get(row.id)
        if until is None:
            with suppress(StoreFull):  # then it is emptied now, and once more when it is over
                self._stamps.mark(self._slots_of(row.relation), lease=self._lease, writer=self._writer(row.id))
            self._unfinished.put(row.id, now + self._lease)
            return False
        return now >= until

    def _slots_of(self, *relations: str) -> tuple[bytes, ...]:
        named = frozenset(relations)
        pseudo = frozenset(filter(is_pseudo, named))
        real = named - pseudo
        return self._slots.names(pseudo | real | (self._affected(real) if real else frozenset()))

    def _writer(self, key: int) -> bytes:
        """Return the id as whose writer every process marks the relation of an unfinished row."""
        return digest(b"outbox", self._identity, b"%d" % key)[:WRITER_LENGTH]
