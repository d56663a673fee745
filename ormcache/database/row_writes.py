"""Plans which row slots a write marks, from the text, the catalog and the parameters.

``docs/how-it-works.md``, "Rows", has the rules and the argument for them. Whatever is not plainly covered by a rule is
a write to rows that are not known.

What follows from the text is found out once, so that a write is left with naming the slots of its parameters.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ormcache.catalog import Resolver
from ormcache.catalog.row_keys import KeyColumn, KeyKind, RowKeys
from ormcache.database.row_plans import MOST_ROW_SLOTS, RowCatalog, only
from ormcache.database.row_slots import RowSlots, SlotOfValue
from ormcache.sql.rows import (
    DEFAULT,
    NULL,
    Comparison,
    Elements,
    Literal,
    Placeholder,
    RowDelete,
    RowInsert,
    RowRead,
    RowUpdate,
    analyse_rows,
)

#: Types of PostgreSQL → the kind of column that stores their values as they are
_KINDS_OF_TYPES = {
    **dict.fromkeys(("smallint", "integer", "bigint"), KeyKind.INTEGER),
    **dict.fromkeys(("text", "varchar"), KeyKind.TEXT),
    "uuid": KeyKind.UUID,
}


class _Unknown(Exception):
    """Raised for a text whose writes are to rows that are not known, whatever its parameters are."""


class _Values(NamedTuple):
    """The parameters that are values of one key column."""

    slot_of: SlotOfValue
    is_nullable: bool
    positions: tuple[int, ...]


class RowWriter:
    """Which row slots a write of one text to one relation marks. Threads share it."""

    def __init__(self, write: RowInsert | RowUpdate | RowDelete, relation: str, keys: RowKeys, slots: RowSlots) -> None:
        self.relation = relation
        self._slots = slots
        #: slots that every write of the text marks
        self._always: set[bytes] = set()
        #: parameters that rows come to have in key columns, one for each row, and lists of such parameters
        self._values: tuple[_Values, ...] = ()
        self._lists: tuple[_Values, ...] = ()
        #: ways to know which rows are written, the first of which that applies to the parameters is enough
        self._named: tuple[tuple[frozenset[bytes], _Values], ...] = ()
        self._names_rows = not isinstance(write, RowInsert)
        try:
            self._analyse(write, keys)
            self.is_useful = True
        except _Unknown:
            #: whether the rows of any such write can be known
            self.is_useful = False

    def _analyse(self, write: RowInsert | RowUpdate | RowDelete, keys: RowKeys) -> None:
        columns = [column for name, column in keys.columns.items() if name != keys.primary]
        values: list[_Values] = []
        if isinstance(write, RowInsert):
            places = {name: at for at, name in enumerate(write.columns)}
            for column in columns:
                at = places.get(column.name)
                if at is not None:
                    values += self._arrivals(column, [row[at] for row in write.rows])
                elif not column.is_null_by_default:
                    raise _Unknown
        else:
            if isinstance(write, RowUpdate):
                if keys.primary in write.assigned:
                    raise _Unknown
                for column in columns:
                    if column.name in write.assigned:
                        values += self._arrivals(column, [write.assigned[column.name]])
            self._always.add(self._slots.departures)
            self._named = tuple(self._rows_named(write.comparisons, keys))
            if not self._named:
                raise _Unknown
        self._values = tuple(values)

    def _arrivals(self, column: KeyColumn, operands: Iterable[Any]) -> Iterable[_Values]:
        """Return which parameters a column comes to have as values. Those in lists, and literals, are recorded."""
        slot_of = self._slots.arrivals_by(column)
        positions = []
        for operand in operands:
            if isinstance(operand, Placeholder):
                positions.append(operand.position)
            elif isinstance(operand, Elements):
                if _KINDS_OF_TYPES.get(operand.type) is not column.kind:
                    raise _Unknown  # they are converted twice
                self._lists += (_Values(slot_of, column.is_nullable, (operand.position,)),)
            elif isinstance(operand, Literal):
                self._always.add(_known(slot_of(operand.value)))
            elif not (
                # MySQL may store a zero in place of a NULL
                (operand is NULL and column.is_nullable) or (operand is DEFAULT and column.is_null_by_default)
            ):
                raise _Unknown
        return [_Values(slot_of, column.is_nullable, tuple(positions))] if positions else []

    def _rows_named(
        self, comparisons: Iterable[Comparison], keys: RowKeys
    ) -> Iterable[tuple[frozenset[bytes], _Values]]:
        """Return the comparisons that name rows by primary key: the slots of their literals, and their parameters."""
        if keys.primary is None:
            return
        slot_of = self._slots.rows_by(keys.columns[keys.primary])
        for comparison in comparisons:
            if comparison.column.name != keys.primary:
                continue
            positions = tuple(one.position for one in comparison.operands if isinstance(one, Placeholder))
            literals = [slot_of(one.value) for one in comparison.operands if isinstance(one, Literal)]
            known = [slot for slot in literals if slot is not None]
            if len(known) + len(positions) == len(comparison.operands):
                yield frozenset(known), _Values(slot_of, False, positions)

    def marked_by_all(self, sets: Sequence[Any]) -> frozenset[bytes] | None:
        """Return the same as :meth:`marked_by` for a statement that runs with each of these sets of parameters."""
        if len(sets) > MOST_ROW_SLOTS:
            return None
        found: set[bytes] = set()
        for params in sets:
            marked = self.marked_by(params)
            if marked is None:
                return None
            found |= marked
        return frozenset(found) if len(found) <= MOST_ROW_SLOTS else None

    def marked_by(self, params: Any) -> frozenset[bytes] | None:
        """Return the row slots that a write with these parameters marks; None: it is to rows that are not known.

        ``params``: a list or tuple, or None; of a mapping, or something of the driver's own, no value is known.
        """
        if type(params) is not tuple and type(params) is not list:
            if params is not None:
                return None
            params = ()
        found = set(self._always)
        if self._names_rows and not self._add_rows(found, params):
            return None
        for slot_of, is_nullable, positions in self._values:
            for position in positions:
                # What was not passed where we see it is not known.
                value = params[position] if position < len(params) else DEFAULT
                slot = slot_of(value)
                if slot is not None:
                    found.add(slot)
                elif value is not None or not is_nullable:  # NULL is equal to nothing
                    return None
        for values in self._lists:
            if not _add_elements(found, values, params):
                return None
        return frozenset(found) if len(found) <= MOST_ROW_SLOTS else None

    def _add_rows(self, found: set[bytes], params: Sequence[Any]) -> bool:
        """Add the slots of the rows that are named by primary key. Return False if they are not known."""
        for slots, (slot_of, _, positions) in self._named:
            if positions and positions[-1] < len(params):
                named = [slot_of(params[position]) for position in positions]
                if None in named:
                    continue
                found.update(named)  # type: ignore[arg-type]  # there is no None among them
            elif positions:
                continue
            found |= slots
            return True
        return False


def _add_elements(found: set[bytes], values: _Values, params: Sequence[Any]) -> bool:
    """Add the slots of the values in a list, of which each row has one. Return False if they are not known."""
    (position,) = values.positions
    elements = params[position] if position < len(params) else None
    if (type(elements) is not list and type(elements) is not tuple) or len(elements) > MOST_ROW_SLOTS:
        return False
    for value in elements:
        slot = values.slot_of(value)
        if slot is not None:
            found.add(slot)
        elif value is not None or not values.is_nullable:
            return False
    return True


def _known(slot: bytes | None) -> bytes:
    """Return the slot of a literal. Raises _Unknown."""
    if slot is None:
        raise _Unknown
    return slot


def write_plan(
    text: str, vendor: str, written: frozenset[str], resolver: Resolver, catalog: RowCatalog
) -> RowWriter | None:
    """Return which row slots a write of this text marks; None: it is to rows that are not known.

    ``written``: the relations that it may change.
    """
    write = analyse_rows(text, vendor)
    if write is None or isinstance(write, RowRead):
        return None
    relation = only(resolver.find(write.table))
    if relation is None or relation not in written or resolver.writes_itself(relation):
        return None
    keys = resolver.row_keys(relation)
    if keys is None or not keys.has_plain_writes:
        return None
    writer = RowWriter(write, relation, keys, catalog.slots(relation))
    return writer if writer.is_useful else None
