"""On which rows the results of a query depend, in words; and why they depend on whole tables, where they do.

The planner of :mod:`ormcache.database.row_plans` decides; this looks at what it has decided, and names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ormcache.catalog import Resolver
from ormcache.catalog.row_keys import RowKeys
from ormcache.database.database import Database
from ormcache.database.plans import Plan
from ormcache.database.row_plans import INVALIDATIONS, LONGEST_TEXT, MOST_ROW_SLOTS, RowReader
from ormcache.diagnostics.explain.explanation import RowDependence
from ormcache.sql.rows import Literal, Operand, Placeholder, RowRead, analyse_rows

LONGEST_VALUE = 60  # characters of a value in a description

AFTER_THE_QUERY = "the rows of its result, which are known once the query has run"


class RowNames:
    """Names the row slots that results of one query can depend on, as far as its text and parameters show them."""

    def __init__(
        self, database: Database, plan: Plan, resolver: Resolver | None, sql: str, vendor: str, params: Sequence[Any]
    ) -> None:
        """``resolver``: of the plan's catalog, for this session. ``params``: empty where they are not known."""
        self._database = database
        self._plan = plan
        self._resolver = resolver
        self._sql = sql
        self._params = params
        read = analyse_rows(sql, vendor) if resolver is not None and len(sql) <= LONGEST_TEXT else None
        self._read = read if isinstance(read, RowRead) else None
        #: slot → its relation, and what it stands for
        self._named: dict[bytes, tuple[str, str]] = {}
        if resolver is not None and self._read is not None:
            self._named.update(self._names(self._read, resolver))

    def _names(self, read: RowRead, resolver: Resolver) -> Iterator[tuple[bytes, tuple[str, str]]]:
        catalog = self._database.slots.rows
        for relation in sorted(self._plan.relations):
            slots = catalog.slots(relation)
            yield slots.bulk, (relation, f"writes to unknown rows of {relation}")
            yield slots.departures, (relation, f"any row of {relation} that is changed or deleted")
        root = resolver.find(read.tables[0].name)
        keys = resolver.row_keys(root[0]) if len(root) == 1 else None
        if keys is None:
            return
        relation, slots = root[0], catalog.slots(root[0])
        for comparison in read.comparisons:
            name = comparison.column.name
            column = keys.columns.get(name) if comparison.column.table == 0 else None
            if column is None:
                continue
            for value in self._values(comparison.operands):
                if name == keys.primary:
                    slot, words = slots.rows_by(column)(value), f"row {_shown(value)} of {relation}"
                else:
                    slot = slots.arrivals_by(column)(value)
                    words = f"rows of {relation} that come to have {name} = {_shown(value)}"
                if slot is not None:
                    yield slot, (relation, words)

    def _values(self, operands: Iterable[Operand]) -> Iterator[Any]:
        for operand in operands:
            if isinstance(operand, Literal):
                yield operand.value
            elif isinstance(operand, Placeholder) and operand.position < len(self._params):
                yield self._params[operand.position]

    def describe(self, slots: Iterable[bytes]) -> tuple[str, ...]:
        """Return in words what row slots stand for. Those of other rows that a result has are counted together."""
        slots = tuple(slots)
        found = [self._named[slot][1] for slot in slots if slot in self._named]
        others = len(slots) - len(found)
        if others:
            found.append(f"{others} row{'' if others == 1 else 's'} of its result")
        return tuple(found)

    def relation_of(self, slot: bytes) -> str:
        """Return the relation that a row slot is of; several, if that is not known."""
        named = self._named.get(slot)
        return ", ".join(sorted(self._plan.relations)) if named is None else named[0]

    def dependence(self) -> RowDependence | None:
        """Return on which rows the results of the query depend; None: they depend on nothing."""
        plan, mode = self._plan, self._database.slots.rows.mode
        if not plan.relations:
            return None
        if mode == "never":
            return RowDependence(False, 'the setting ROWS is "never"', mode, False, 0, INVALIDATIONS, ())
        reader: RowReader | None = None if plan.row_readers is None else plan.row_readers.of(self._sql)
        if reader is None:
            return RowDependence(False, self._why_not(), mode, False, 0, INVALIDATIONS, ())
        known = reader.known_before(self._params)
        return RowDependence(
            True,
            None,
            mode,
            plan.row_readers is not None and plan.row_readers.is_on,
            max(self._database.slots.rows.switch(relation).ended for relation in plan.relations),
            INVALIDATIONS,
            (AFTER_THE_QUERY,) if known is None else self.describe(known.slots),
        )

    # Why not ----------------------------------------------------------------------------

    def _why_not(self) -> str:
        resolver, read = self._resolver, self._read
        if resolver is None:
            return "the catalog is not known"
        without = [relation for relation in sorted(self._plan.relations) if resolver.row_keys(relation) is None]
        if without:
            return f"{without[0]} is no plain table: it has no key columns that identify its rows"
        if len(self._sql) > LONGEST_TEXT:
            return f"the statement is longer than {LONGEST_TEXT:,} characters"
        if read is None:
            return (
                "it is more than a plain SELECT: it has a subquery, UNION, DISTINCT, GROUP BY, a window, a join that "
                "does not compare two columns, or syntax that is not followed"
            )
        if len(read.tables) > MOST_ROW_SLOTS:
            return f"it joins more than {MOST_ROW_SLOTS} tables"
        relations = [found[0] for found in map(resolver.find, (table.name for table in read.tables)) if len(found) == 1]
        keys = [one for one in map(resolver.row_keys, relations) if one is not None]
        if len(keys) != len(read.tables) or frozenset(relations) != self._plan.relations:
            return "it reads other tables than those that it names, as by a policy or a function"
        return _why_no_key(read, relations, keys)


def _why_no_key(read: RowRead, relations: Sequence[str], keys: Sequence[RowKeys]) -> str:
    """Return why the conditions and joins of a plain SELECT identify no rows."""
    others = [one.column for one in read.comparisons if one.column.table]
    if others:
        return f"it compares a column of a joined table: {relations[others[0].table]}.{others[0].name}"
    if not any(one.column.name in keys[0].columns for one in read.comparisons):
        names = ", ".join(sorted(keys[0].columns))
        has = f"the key columns of {relations[0]} are {names}" if names else f"{relations[0]} has none"
        return f"no condition says which value a key column has; {has}"
    for join in read.joins:
        own = join.right if join.right.table == join.table else join.left
        if own.name != keys[join.table].primary:
            return f"it joins {relations[join.table]} by {own.name}, which is not its primary key"
    return "it may call an aggregate, or its joins are not followed"


def _shown(value: Any) -> str:
    text = str(value) if type(value) is int else repr(str(value))
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"
