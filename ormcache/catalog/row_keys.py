"""Describes the columns that identify the rows of a relation: primary keys, unique columns, foreign keys.

A key column is one whose equality in the database is known: each value has a canonical form, and two values that the
database takes for equal have the same one. Where that is not certain of a column, it is no key column; where it is not
certain of a value, the value has no canonical form, and counts as one that is not known.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple
from uuid import UUID


class KeyKind(Enum):
    """The kinds of values that a key column can hold."""

    INTEGER = "integer"
    UUID = "uuid"
    TEXT = "text"


#: A UUID in a form that every database reads alike
_PLAIN_UUID = re.compile(r"[0-9a-fA-F]{8}(-?)[0-9a-fA-F]{4}\1[0-9a-fA-F]{4}\1[0-9a-fA-F]{4}\1[0-9a-fA-F]{12}")


class KeyColumn(NamedTuple):
    """A column by which rows are found."""

    name: str  # folded
    kind: KeyKind
    #: the range of an integer column; None: no bound
    lowest: int | None = None
    highest: int | None = None
    #: how many characters a text column holds; None: no bound
    length: int | None = None
    #: whether only values of printable ASCII characters are compared and converted in a known way
    ascii_only: bool = False
    #: whether the database may take texts for equal that differ in case, or in the number of spaces at their ends
    folds: bool = False
    #: the collation of a text column; "": its texts are equal if they are the same, whatever it is compared with
    collation: str = ""
    #: False: a NULL is rejected, or is stored as another value
    is_nullable: bool = True
    #: whether an INSERT that leaves the column out stores NULL
    is_null_by_default: bool = True

    def canonical(self, value: object) -> int | str | None:
        """Return the form that this value shares with all that the database may take for equal to it.

        None: the value is NULL, or not certain to be stored and compared as it is, because it is of another type, out
        of range or too long, or has characters that collations treat in their own ways.
        """
        if self.kind is KeyKind.INTEGER:
            if type(value) is not int:  # True is an int as well
                return None
            is_within = (self.lowest is None or value >= self.lowest) and (
                self.highest is None or value <= self.highest
            )
            return value if is_within else None
        if self.kind is KeyKind.UUID:
            if type(value) is UUID:
                return value.hex
            if type(value) is str and _PLAIN_UUID.fullmatch(value):
                return value.replace("-", "").lower()
            return None
        if type(value) is not str or (self.length is not None and len(value) > self.length):
            return None
        if (self.ascii_only or self.folds) and not (value.isascii() and value.isprintable()):
            return None
        return value.rstrip(" ").lower() if self.folds else value


_NO_REFERENCES: Mapping[str, tuple[str, str]] = MappingProxyType({})


class RowKeys(NamedTuple):
    """The key columns of a table, and whether its writes store what their statements say."""

    #: the column that is the primary key, never NULL; None: there is none of a known equality, or it is of several
    primary: str | None
    #: other columns in which no two rows are equal: each has a UNIQUE index of its own, without a condition
    unique: frozenset[str]
    #: folded name → the column, of the primary key, the unique columns and the foreign keys
    columns: Mapping[str, KeyColumn]
    #: foreign key column → the relation and the column of which it is sure to hold a value, if it holds one at all
    references: Mapping[str, tuple[str, str]] = _NO_REFERENCES
    #: False: a write may store other values, or change other rows, than its statement says
    has_plain_writes: bool = True
    #: names other than its own by which a statement can assign to the primary key: ``rowid``
    other_names_of_primary: frozenset[str] = frozenset()
