"""What a result depends on, where it can be single rows in place of its relations: chosen once its rows are known.

What it depends on must be read before its query runs. Where that is not possible, because the rows are only known
afterwards, the result begins as one that depends on its relations, and is *promoted*: the slots of its rows are read,
and then those of its relations. If these are still the ones of before the query, no write can have come in between.
``docs/how-it-works.md``, "Rows", has the argument.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from ormcache.cache.stamps import LookupResult
from ormcache.database.database import Database
from ormcache.database.plans import Plan
from ormcache.database.row_plans import KnownRows, RowReader
from ormcache.exceptions import StoreUnavailable
from ormcache.read_path.admission import Dependence
from ormcache.stores.base import STAMP_LENGTH


class RowResult:
    """The rows that one read may depend on. The thread that reads owns this."""

    def __init__(self, database: Database, plan: Plan, reader: RowReader, params: Sequence[Any]) -> None:
        self._database = database
        self._plan = plan
        self._reader = reader
        self._params = params
        self._known: KnownRows | None = reader.known_before(params)
        #: the row slots that are known before the query, to be looked up with the others
        self.slots: tuple[bytes, ...] = () if self._known is None else self._known.slots

    def overlaps(self, written: frozenset[bytes]) -> bool:
        """Return whether any result of this read depends on one of these row slots."""
        known = self._known
        return known is not None and known.count is not None and not written.isdisjoint(known.slots)

    def dependence(
        self, rows: Sequence[Sequence[Any]] | None, vector: bytes | None, row_vector: bytes | None
    ) -> Dependence | None:
        """Return what a result is stored under; None: it may not be stored.

        ``rows``: all that the query finds; None: it may find more than the result has. ``vector``, ``row_vector``: the
        stamps of before the query, see :class:`~ormcache.cache.stamps.LookupResult`.
        """
        if vector is None and not self._knows_keys_of_writers():
            return None
        known = self._known
        number = None if rows is None else len(rows)
        if known is not None and row_vector is not None and known.count in (None, number):
            by_row = Dependence(row_vector, known.slots)
            if known.count is not None:
                return by_row
        else:
            by_row = None
        promoted = None if vector is None or rows is None else self._promoted(rows, vector)
        return promoted or by_row or (None if vector is None else Dependence(vector))

    def _knows_keys_of_writers(self) -> bool:
        """Return whether whoever has marked the relations knows the same key columns.

        In autocommit a writer may have marked before the last schema change, and wait for a lock ever since: it has
        marked the arrivals in those columns that were keys then, and marks everything once its write is visible.
        """
        part = self._plan.part
        return part is not None and time.monotonic() > part.read_by + self._database.config.lease

    def _promoted(self, rows: Sequence[Sequence[Any]], vector: bytes) -> Dependence | None:
        """Return the rows of a result as what it depends on, if none was written since ``vector`` was read."""
        slots = self._reader.known_after(self._params, rows)
        if slots is None:
            return None
        plan, stamps = self._plan, self._database.strict_stamps
        try:
            found = stamps.look_up(None, plan.slots, slots, plan.shared_slots)
            now = found.vector
            if found.row_vector is not None and (found.filled or not stamps.store.reads_at_once):
                now = stamps.look_up(None, plan.slots).vector  # not before the rows
        except StoreUnavailable:
            return None
        shared = plan.shared_slots * STAMP_LENGTH
        if found.row_vector is None or now != vector or found.row_vector[:shared] != vector[:shared]:
            return None
        return Dependence(found.row_vector, slots)


def stamps_of(found: LookupResult) -> bytes | None:
    """Return the stamps under which a result may be stored, whether of rows or of relations; None: there are none."""
    return found.row_vector or found.vector
