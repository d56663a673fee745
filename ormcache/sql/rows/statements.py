"""The results of :func:`ormcache.sql.analyse_rows`: what a statement says of the rows that it reads or writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple
from typing import Literal as OneOf

from ormcache.sql.statement import Name


@dataclass(frozen=True, slots=True)
class Placeholder:
    """A value that is passed beside the statement; its position counts from 0, in the order of the text."""

    position: int


@dataclass(frozen=True, slots=True)
class Elements:
    """The elements of a list that is passed beside the statement: an INSERT has one row for each of them.

    If there are several lists, the shorter ones are filled up with NULL.
    """

    position: int
    #: to which they are converted before the column's own type
    type: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Literal:
    """A value that stands in the statement itself."""

    value: int | str


class Marker(Enum):
    """Values that are neither a placeholder nor a plain literal."""

    NULL = "NULL"
    DEFAULT = "DEFAULT"
    UNKNOWN = "unknown"  # an expression, or a literal of another kind


NULL: Final = Marker.NULL
DEFAULT: Final = Marker.DEFAULT
UNKNOWN: Final = Marker.UNKNOWN

#: A value that a column is compared with or gets
Operand = Placeholder | Literal | OneOf[Marker.NULL, Marker.UNKNOWN]
#: A value that an INSERT gives to a column
InsertedValue = Operand | Elements | OneOf[Marker.DEFAULT]


class Column(NamedTuple):
    """A column of one of the statement's tables."""

    table: int  # its position among the tables
    name: str  # folded


class Table(NamedTuple):
    """A table that a statement reads."""

    name: Name
    alias: str  # folded; the bare name if it has none


class Comparison(NamedTuple):
    """``column = operand`` or ``column IN (operand, …)``: every row that is read or written fulfils it.

    No operand is UNKNOWN. Nothing is equal to NULL.
    """

    column: Column
    operands: tuple[Operand, ...]


class Join(NamedTuple):
    """``[INNER | LEFT OUTER] JOIN … ON (left = right)``, and nothing else behind ON.

    One column is of the table that is joined, the other one of a table before it.
    """

    table: int  # the joined one, by its position among the tables
    left: Column
    right: Column
    is_outer: bool


class RowRead(NamedTuple):
    """A plain SELECT: no subquery, set operation, grouping, DISTINCT, window or lock, nor any other kind of join."""

    tables: tuple[Table, ...]
    joins: tuple[Join, ...]
    comparisons: tuple[Comparison, ...]
    is_all: bool  # whether nothing but the comparisons stands in WHERE
    columns: tuple[Column | None, ...]  # the select list; None for an expression
    #: whether there is an expression in the select list, or a call in ORDER BY: either can make it an aggregate
    has_calls: bool
    ordered_by: tuple[Column | None, ...]  # None for an expression
    #: None: there is none. It is no literal below 1, but a placeholder can be passed any value.
    limit: Operand | None
    has_offset: bool


class RowInsert(NamedTuple):
    """An INSERT of listed rows into listed columns. Rows that are in conflict with others may be left out."""

    table: Name
    columns: tuple[str, ...]  # folded
    #: if there are Elements among the values, this is one that stands for all rows
    rows: tuple[tuple[InsertedValue, ...], ...]


class RowUpdate(NamedTuple):
    """An UPDATE of one table."""

    table: Name
    assigned: Mapping[str, Operand]  # by the folded name of the column
    comparisons: tuple[Comparison, ...]


class RowDelete(NamedTuple):
    """A DELETE from one table."""

    table: Name
    comparisons: tuple[Comparison, ...]
