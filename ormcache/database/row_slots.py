"""Names the row slots of one relation: what stands for its single rows, in place of the slot of the whole relation.

A write to rows that are known marks their slots, and the *arrivals* of the values that it gives to key columns. A
result that depends on row slots survives the writes that mark none of them. ``docs/how-it-works.md`` says which ones a
write marks and a result depends on, and why that is enough.

Two values of one column never have the same slot. Two of different columns could, in theory: who writes one of them
would also end what depends on the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from ormcache.cache.keys import KEY_LENGTH, name_beside
from ormcache.catalog.row_keys import KeyColumn, KeyKind
from ormcache.stores.base import PARTITION_LENGTH, ROW_SLOT_LENGTH

_KIND = b"r" * (ROW_SLOT_LENGTH - KEY_LENGTH)

#: Integers of 8 bytes: most keys. They stand at the end of the names of their slots
_LOWEST, _HIGHEST, _BITS = -(2**63), 2**63 - 1, 2**64 - 1
_INTEGER_LENGTH = 8

#: Returns the slot of a value of one column, be it a parameter, a literal, or what the driver has returned. None: it is
#: NULL, or it is not known which values the database takes for equal to it
SlotOfValue = Callable[[object], bytes | None]


class RowSlots:
    """The names of one relation's row slots. Threads share it."""

    __slots__ = ("_arrivals", "_rows", "_slot", "bulk", "departures")

    def __init__(self, slot: bytes) -> None:
        """``slot``: the name of the relation's own slot."""
        self._slot = slot
        #: of writes to rows that are not known. Named like a relation's slot, because a store never forgets those
        self.bulk = name_beside(slot, slot, b"bulk")
        #: of rows that are changed or deleted: it is not known which values they had in key columns
        self.departures = name_beside(slot, slot, b"departures")
        self._rows: dict[KeyColumn, SlotOfValue] = {}
        self._arrivals: dict[KeyColumn, SlotOfValue] = {}

    def rows_by(self, primary: KeyColumn) -> SlotOfValue:
        """Return a function from a value of the primary key to the slot of its row."""
        found = self._rows.get(primary)
        if found is None:
            found = self._rows[primary] = _slot_of_value(self._slot, b"row", primary)
        return found

    def arrivals_by(self, column: KeyColumn) -> SlotOfValue:
        """Return a function from a value of a key column to the slot of rows that come to have it."""
        found = self._arrivals.get(column)
        if found is None:
            found = self._arrivals[column] = _slot_of_value(self.bulk, column.name.encode(), column)
        return found


def _slot_of_value(slot: bytes, kind: bytes, column: KeyColumn) -> SlotOfValue:
    begun = hashlib.blake2b(digest_size=KEY_LENGTH - PARTITION_LENGTH)
    partition = slot[:PARTITION_LENGTH] + _KIND
    # All slots are of one length, and a kind ends where its length says, so that no two sequences are alike.
    for part in (slot, kind):
        begun.update(len(part).to_bytes(4, "big"))
        begun.update(part)

    def slot_of(value: object) -> bytes | None:
        canonical = column.canonical(value)
        if canonical is None:
            return None
        continued = begun.copy()
        continued.update(str(canonical).encode("utf-8", "surrogatepass"))
        return partition + continued.digest()

    if column.kind is not KeyKind.INTEGER:
        return slot_of
    lowest = _LOWEST if column.lowest is None else max(column.lowest, _LOWEST)
    highest = _HIGHEST if column.highest is None else min(column.highest, _HIGHEST)
    prefix = partition + begun.digest()[:-_INTEGER_LENGTH]

    def slot_of_integer(value: object) -> bytes | None:
        # As KeyColumn.canonical has it, in one step: a write has one of these for each of its foreign keys.
        if type(value) is int and lowest <= value <= highest:
            return prefix + (value & _BITS).to_bytes(_INTEGER_LENGTH, "big")
        return slot_of(value)

    return slot_of_integer
