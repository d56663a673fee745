"""Plans which row slots a result depends on, from the text, the catalog and the parameters.

``docs/how-it-works.md``, "Rows", has the rules and the argument for them. What is not plainly covered by a
rule is a result that depends on its relations as a whole. Those of writes are in :mod:`ormcache.database.row_writes`.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ormcache.catalog import Resolver
from ormcache.catalog.row_keys import KeyColumn, KeyKind, RowKeys
from ormcache.database.row_slots import RowSlots, SlotOfValue
from ormcache.sql.rows import (
    UNKNOWN,
    Column,
    Comparison,
    Join,
    Literal,
    Placeholder,
    RowRead,
    analyse_rows,
)
from ormcache.utils.bounded import Bounded

#: Row slots of one result or one write; with more, it depends on its relations as a whole, or writes unknown rows
MOST_ROW_SLOTS = 64
#: Results that writes to a relation have ended, after which its results depend on rows
INVALIDATIONS = 3
#: Relations whose slots of rows, and switches, are remembered
MOST_RELATIONS = 16_384
#: Texts whose readers or writers are remembered, and characters of all together
MOST_TEXTS, MOST_CHARACTERS = 16_384, 8 * 2**20
#: Characters; longer texts are not analysed for rows
LONGEST_TEXT = 16_384

_NO_SLOTS: frozenset[bytes] = frozenset()


class RowSwitch:
    """Says whether results that read a relation depend on its rows. Threads share it; once on, it stays on.

    Results of a relation that nobody writes would gain nothing, and cost more.
    """

    __slots__ = ("ended", "is_on")

    def __init__(self, *, is_on: bool = False) -> None:
        self.is_on = is_on
        #: results that writes to the relation have ended
        self.ended = 0

    def record_invalidation(self) -> None:
        """Record that a write to the relation has ended a result, which may be of other rows."""
        self.ended += 1
        if self.ended >= INVALIDATIONS:
            self.is_on = True


class RowCatalog:
    """What is known of the rows of one database's relations: the names of their slots, and their switches.

    Threads share it.
    """

    def __init__(self, slot_name: Callable[[str], bytes], mode: str) -> None:
        """``slot_name``: returns the name of a relation's slot. ``mode``: the setting ROWS."""
        self._slot_name = slot_name
        self.mode = mode
        self._slots: Bounded[str, RowSlots] = Bounded(MOST_RELATIONS)
        self._switches: Bounded[str, RowSwitch] = Bounded(MOST_RELATIONS)
        #: the readers or writers of the texts of all plans, which hold the catalog that the plans were made from
        self.made = _no_texts()

    def forget_texts(self) -> None:
        """Forget the readers and writers of all texts, with the catalogs that they hold: their plans are forgotten."""
        self.made = _no_texts()

    def slots(self, relation: str) -> RowSlots:
        """Return the names of a relation's row slots."""
        found = self._slots.get(relation)
        if found is None:
            found = RowSlots(self._slot_name(relation))
            self._slots.put(relation, found)
        return found

    def relation_of(self, name: bytes) -> str | None:
        """Return the relation whose slot of bulk writes or of departures has this name; None: it is another slot."""
        slots = self._slots.copy()
        return next((relation for relation, of in slots.items() if name in (of.bulk, of.departures)), None)

    def switch(self, relation: str) -> RowSwitch:
        """Return the switch of a relation."""
        found = self._switches.get(relation)
        if found is None:
            found = RowSwitch(is_on=self.mode == "always")
            self._switches.put(relation, found)
        return found

    def record_invalidation(self, relation: str) -> None:
        """Record that a write to a relation has ended a result."""
        if self.mode == "auto":
            self.switch(relation).record_invalidation()


# Reads ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KnownRows:
    """What a result depends on, as far as it is known before its query has run.

    ``slots``: enough for any result of the query, if ``count`` is None, or else for one of so many rows. ``count``:
    None where any number of rows will do.
    """

    slots: tuple[bytes, ...]
    count: int | None = None


class _KeyComparison(NamedTuple):
    """A key column of the table in FROM, what it is compared with, and what gives the slots of those values."""

    column: KeyColumn
    comparison: Comparison
    slot_of: SlotOfValue

    def slots(self, params: Sequence[Any]) -> set[bytes] | None:
        """Return the slots of the values that it is compared with, one for each; None: they are not all known."""
        slot_of, found = self.slot_of, set()
        for operand in self.comparison.operands:
            slot = slot_of(_value(operand, params))
            if slot is None:
                return None
            found.add(slot)
        return found

    def most_rows(self, params: Sequence[Any], slots: set[bytes]) -> int:
        """Return how many rows it can be true of if the column is unique. ``slots``: of the values."""
        if not self.column.folds:
            return len(slots)
        # The database may distinguish what has one slot.
        return len({_value(operand, params) for operand in self.comparison.operands})


class RowReader:
    """How the results of one text depend on rows. Threads share it."""

    def __init__(self, read: RowRead, relations: Sequence[str], keys: Sequence[RowKeys], slots: list[RowSlots]) -> None:
        """``relations``, ``keys``, ``slots``: of the tables in the text, in order; the first is that of FROM."""
        self._root = slots[0]
        self._joins = read.joins
        self._outer_tables = {join.table: _outer(join, read, keys, relations) for join in read.joins if join.is_outer}
        self._bulk = tuple(dict.fromkeys(one.bulk for one in slots))
        primary = keys[0].primary
        compared = [one for one in read.comparisons if one.column.table == 0]
        self._by_primary: _KeyComparison | None = None
        by_primary = next((one for one in compared if one.column.name == primary), None)
        if by_primary is not None:
            key = keys[0].columns[by_primary.column.name]
            self._by_primary = _KeyComparison(key, by_primary, slots[0].rows_by(key))
        self._by_columns = [
            _KeyComparison(
                keys[0].columns[one.column.name], one, slots[0].arrivals_by(keys[0].columns[one.column.name])
            )
            for one in compared
            if one.column.name != primary and one.column.name in keys[0].columns
        ]
        self._unique = next((one for one in self._by_columns if one.column.name in keys[0].unique), None)
        self._returns_rows = not (read.has_calls or read.has_offset)
        #: for each table: the place of its primary key in a row, and what gives its slot; None: it is not returned
        self._places = [
            _place(read, number, one, own) for number, (one, own) in enumerate(zip(keys, slots, strict=True))
        ]
        #: whether nothing but the key columns decides which rows are returned, but for LIMIT
        self._is_plain = (
            read.is_all
            and self._by_primary is None
            and len(self._by_columns) == len(read.comparisons)
            and all(_never_filters(join, keys, relations, self._outer_tables) for join in read.joins)
        )
        self._limit = read.limit

    @property
    def is_useful(self) -> bool:
        """Whether any of its results can depend on rows."""
        return bool(self._by_columns) or self._by_primary is not None

    def known_before(self, params: Sequence[Any]) -> KnownRows | None:
        """Return the row slots that a result of these parameters depends on, or could; None: there are none."""
        if self._by_primary is not None and not self._joins:
            if not self._returns_rows:
                return None
            slots = self._by_primary.slots(params)
            if slots is None:
                return None
            return KnownRows((*self._bulk, *sorted(slots)), self._by_primary.most_rows(params, slots))
        if self._by_primary is not None or self._joins:
            return None
        arrivals = self._arrivals_of_one(params)
        return None if arrivals is None else KnownRows((self._root.bulk, self._root.departures, *arrivals))

    def _arrivals_of_one(self, params: Sequence[Any]) -> list[bytes] | None:
        """Return the slots of arrivals in one of the compared columns; None: there is none whose values are known."""
        for comparison in [*([self._unique] if self._unique else []), *self._by_columns]:
            slots = comparison.slots(params)
            if slots is not None:
                return sorted(slots)
        return None

    def known_after(self, params: Sequence[Any], rows: Sequence[Sequence[Any]]) -> tuple[bytes, ...] | None:
        """Return the row slots that a result depends on, by its rows. None: it depends on its relations as a whole."""
        if not self._returns_rows or len(rows) * len(self._places) > MOST_ROW_SLOTS:
            return None
        slots = self._rows_found(params, rows)
        if slots is None:
            slots = self._complete(params, rows)
        if slots is None:
            return None
        returned = self._returned(rows)
        if returned is None:
            return None
        found = (*self._bulk, *sorted(slots | returned))
        return found if len(found) <= MOST_ROW_SLOTS else None

    def _rows_found(self, params: Sequence[Any], rows: Sequence[Sequence[Any]]) -> frozenset[bytes] | None:
        """Return no slots if there is a row for each value of a unique column: none can come to it."""
        unique = self._by_primary or self._unique
        slots = None if unique is None else unique.slots(params)
        if unique is None or slots is None:
            return None
        return _NO_SLOTS if unique.most_rows(params, slots) == len(rows) else None

    def _complete(self, params: Sequence[Any], rows: Sequence[Sequence[Any]]) -> frozenset[bytes] | None:
        """Return the slots of arrivals if all rows with certain values of key columns are returned."""
        if not self._is_plain or not self._by_columns:
            return None
        if self._limit is not None:
            limit = _value(self._limit, params)
            if type(limit) is not int or len(rows) >= limit:
                return None
        arrivals: set[bytes] = set()
        for comparison in self._by_columns:
            slots = comparison.slots(params)
            if slots is None:
                return None
            arrivals |= slots
        return frozenset(arrivals)

    def _returned(self, rows: Sequence[Sequence[Any]]) -> frozenset[bytes] | None:
        """Return the slots of the rows of all tables in a result; None: they are not known."""
        found: set[bytes] = set()
        for number, place in enumerate(self._places):
            if place is None:
                return None
            at, slot_of = place
            for row in rows:
                value = row[at]
                if value is None:
                    stays_alone = self._outer_tables.get(number)
                    if stays_alone is None or not stays_alone(row):
                        return None
                    continue
                slot = slot_of(value)
                if slot is None:
                    return None
                found.add(slot)
        return frozenset(found)


def read_plan(
    text: str,
    vendor: str,
    relations: frozenset[str],
    called: frozenset[str],
    resolver: Resolver,
    catalog: RowCatalog,
) -> RowReader | None:
    """Return how the results of a text depend on rows; None: on its relations as a whole.

    ``relations``: that it reads. ``called``: the functions that it may call, among them any that ``row.name`` calls.
    """
    read = analyse_rows(text, vendor)
    if not isinstance(read, RowRead) or len(read.tables) > MOST_ROW_SLOTS:
        return None
    if any(column is not None and column.name in called for column in read.columns):
        return None  # PostgreSQL: it could be an aggregate over rows, which returns one where none is found
    found = [only(resolver.find(table.name)) for table in read.tables]
    names = [name for name in found if name is not None]
    keys = [one for one in map(resolver.row_keys, names) if one is not None]
    if len(keys) != len(read.tables) or frozenset(names) != relations:
        return None
    if any(one.column.table != 0 for one in read.comparisons):
        return None
    if [join.table for join in read.joins] != list(range(1, len(read.tables))):
        return None
    if not all(_leads_to_primary(join, keys) for join in read.joins):
        return None
    reader = RowReader(read, names, keys, [catalog.slots(name) for name in names])
    return reader if reader.is_useful else None


def _place(read: RowRead, table: int, keys: RowKeys, slots: RowSlots) -> tuple[int, SlotOfValue] | None:
    """Return where in a row the primary key of a table stands, and what gives the slot of the row."""
    if keys.primary is None:
        return None
    wanted = Column(table, keys.primary)
    if wanted not in read.columns:
        return None
    return read.columns.index(wanted), slots.rows_by(keys.columns[keys.primary])


def _sides(join: Join) -> tuple[Column, Column]:
    """Return the column of an earlier table and that of the joined one."""
    return (join.left, join.right) if join.right.table == join.table else (join.right, join.left)


def _leads_to_primary(join: Join, keys: Sequence[RowKeys]) -> bool:
    """Return whether a join finds at most one row of its table for each row of the others: by primary key."""
    earlier, own = _sides(join)
    if own.table != join.table or earlier.table >= join.table or own.name != keys[join.table].primary:
        return False
    primary = keys[join.table].columns[own.name]
    if primary.kind is not KeyKind.TEXT:
        return True
    # A column of another type or collation can be equal to several texts.
    column = keys[earlier.table].columns.get(earlier.name)
    return column is not None and (column.kind, column.collation) == (primary.kind, primary.collation)


def _is_enforced(earlier: Column, join: Join, keys: Sequence[RowKeys], relations: Sequence[str]) -> bool:
    """Return whether the database sees to it that the joined row exists, unless the foreign key is NULL."""
    target = keys[earlier.table].references.get(earlier.name)
    return target == (relations[join.table], keys[join.table].primary)


def _never_filters(join: Join, keys: Sequence[RowKeys], relations: Sequence[str], outer_tables: Container[int]) -> bool:
    """Return whether no row of the other tables is left out because it has none to be joined with."""
    if join.is_outer:
        return True
    earlier, _ = _sides(join)
    if earlier.table in outer_tables:
        return False  # it may have no row itself
    column = keys[earlier.table].columns.get(earlier.name)
    return column is not None and not column.is_nullable and _is_enforced(earlier, join, keys, relations)


def _outer(
    join: Join, read: RowRead, keys: Sequence[RowKeys], relations: Sequence[str]
) -> Callable[[Sequence[Any]], bool]:
    """Return a check: will a row without a joined one have none for as long as it is unchanged itself?"""
    earlier, _ = _sides(join)
    if earlier in read.columns:
        at = read.columns.index(earlier)
        return lambda row: row[at] is None
    is_enforced = _is_enforced(earlier, join, keys, relations)
    return lambda row: is_enforced


# Both ----------------------------------------------------------------------------------------


class RowPlans:
    """The readers or writers of the texts that share one plan. Threads share it."""

    __slots__ = ("_made", "_make", "switches")

    def __init__(self, make: Callable[[str], Any], catalog: RowCatalog, switches: Sequence[RowSwitch] = ()) -> None:
        """``make``: makes the one of a text. ``switches``: of the relations that are read."""
        self._make = make
        self._made = catalog.made
        self.switches = switches

    @property
    def is_on(self) -> bool:
        """Whether results depend on rows."""
        for switch in self.switches:  # noqa: SIM110  # asked at every read, and any() would take four times as long
            if switch.is_on:
                return True
        return False

    def of(self, text: str) -> Any:
        """Return the reader or writer of a text; None: it has none."""
        try:
            return self._made[self, text]
        except KeyError:
            if len(text) > LONGEST_TEXT:
                return None
            made = self._make(text)
            self._made.put((self, text), made)
            return made


def _no_texts() -> Bounded[tuple[RowPlans, str], Any]:
    return Bounded(MOST_TEXTS, MOST_CHARACTERS, lambda key: len(key[1]))


def _value(operand: Any, params: Sequence[Any]) -> Any:
    """Return the value of an operand; None: it is NULL, or not known; UNKNOWN: it was not passed where we see it."""
    if isinstance(operand, Placeholder):
        return params[operand.position] if operand.position < len(params) else UNKNOWN
    return operand.value if isinstance(operand, Literal) else None


def only(found: Sequence[str]) -> str | None:
    """Return the one relation that a name can mean; None: there are several, or none."""
    return found[0] if len(found) == 1 else None
