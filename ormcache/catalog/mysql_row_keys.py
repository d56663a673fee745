"""Reads from MySQL and MariaDB the columns that identify the rows of their tables.

Texts are equal by collations, most of which pass over case and spaces at the end. Of some it is known that they take no
other texts of printable ASCII characters for equal.

Any session may switch off the checks of foreign keys, and what it writes meanwhile is never validated. So no foreign
key is sure to hold.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from ormcache.catalog.row_keys import KeyColumn, KeyKind, RowKeys

# Those of indexes, and those whose names folding could make equal to one of theirs. MariaDB describes a default of NULL
# by that word, MySQL by none.
_COLUMNS = """
    SELECT TABLE_NAME, COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, COLLATION_NAME, CHARACTER_MAXIMUM_LENGTH,
           IS_NULLABLE = 'YES',
           CASE WHEN VERSION() LIKE '%MariaDB%' THEN COLUMN_DEFAULT = 'NULL' ELSE COLUMN_DEFAULT IS NULL END, EXTRA
    FROM information_schema.COLUMNS
    WHERE TABLE_SCHEMA = DATABASE() AND (COLUMN_KEY <> '' OR COLUMN_NAME REGEXP '[^ -~]')
"""
# Whether a part of an index is a column, and all of it; only MySQL has parts without a name, which are expressions.
_UNIQUE_INDEXES = """
    SELECT TABLE_NAME, INDEX_NAME, MIN(COLUMN_NAME) FROM information_schema.STATISTICS
    WHERE TABLE_SCHEMA = DATABASE() AND NON_UNIQUE = 0 AND INDEX_TYPE = 'BTREE'
    GROUP BY TABLE_NAME, INDEX_NAME HAVING COUNT(*) = 1 AND COUNT(SUB_PART) = 0 AND COUNT(COLUMN_NAME) = 1
"""
_FOREIGN_KEYS = """
    SELECT TABLE_NAME, COLUMN_NAME FROM information_schema.KEY_COLUMN_USAGE
    WHERE TABLE_SCHEMA = DATABASE() AND REFERENCED_TABLE_NAME IS NOT NULL
"""

_BITS = {"tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32, "bigint": 64}
_TEXTS = frozenset({"char", "varchar", "tinytext", "text", "mediumtext", "longtext"})

#: Collations without rules for a language, by which other characters or several ones may count as equal; and Swedish
#: ones, which were MySQL's default
FOLDING = re.compile(
    r"(utf8|utf8mb3|utf8mb4|latin1|ascii)_((general|swedish|unicode|unicode_520)(_nopad)?_ci|(nopad_)?bin"
    r"|uca1400(_nopad)?_(ai|as)_(ci|cs)|0900_(ai_ci|as_ci|as_cs|bin))"
)
#: Those by which two texts are equal only if they are the same one, spaces at the end included
_EXACT = re.compile(r"\w+_nopad_bin|\w+_0900_bin")

#: It means the primary key where that is a number, in an UPDATE too
_NAMES_OF_PRIMARY = frozenset({"_rowid"})


class _SchemaColumn(NamedTuple):
    name: str
    data_type: str
    type: str
    collation: str | None
    length: int | None
    is_nullable: int
    is_null_by_default: int | None
    extra: str


def read_row_keys(
    rows: Callable[[str], list[Any]], tables: Collection[str], with_changing_triggers: Collection[str]
) -> dict[str, RowKeys]:
    """Return the key columns of each of these tables that has any.

    ``rows``: runs a query. ``with_changing_triggers``: tables with triggers that can change what a statement writes.
    """
    referring = {(table, column) for table, column in rows(_FOREIGN_KEYS)}
    primary: set[tuple[str, str]] = set()
    unique: set[tuple[str, str]] = set()
    for table, index, column in rows(_UNIQUE_INDEXES):
        (primary if index == "PRIMARY" else unique).add((table, column))
    wanted = primary | unique | referring
    names: dict[str, list[str]] = {}
    columns: dict[str, dict[str, KeyColumn]] = {}
    for table, *row in rows(_COLUMNS):
        column = _SchemaColumn(*row)
        names.setdefault(table, []).append(column.name.lower())
        if table in tables and (table, column.name) in wanted:
            key = _key_column(column, is_primary=(table, column.name) in primary)
            if key is not None:
                columns.setdefault(table, {})[key.name] = key
    primaries = {table: column.lower() for table, column in primary}
    uniques: dict[str, set[str]] = {}
    for table, column in unique - primary:
        uniques.setdefault(table, set()).add(column.lower())
    return {
        table: RowKeys(
            primaries[table] if primaries.get(table) in keys else None,
            frozenset(uniques.get(table, ())) & keys.keys(),
            keys,
            has_plain_writes=table not in with_changing_triggers,
            other_names_of_primary=_NAMES_OF_PRIMARY,
        )
        for table, keys in columns.items()
        if len(set(names[table])) == len(names[table])
    }


def _key_column(column: _SchemaColumn, *, is_primary: bool) -> KeyColumn | None:
    """Return a column as one that is a key; None if it is not known what it stores or which of its values are equal."""
    extra = column.extra.upper()
    if any(word in extra for word in ("VIRTUAL", "STORED", "PERSISTENT")):
        return None
    if "AUTO_INCREMENT" in extra and not is_primary:
        return None  # it stores another value for NULL and 0
    name, is_nullable = column.name.lower(), bool(column.is_nullable)
    is_null_by_default = is_nullable and bool(column.is_null_by_default)
    if column.data_type in _BITS:
        bits, is_unsigned = _BITS[column.data_type], "unsigned" in column.type
        return KeyColumn(
            name,
            KeyKind.INTEGER,
            lowest=0 if is_unsigned else -(2 ** (bits - 1)),
            highest=2 ** (bits if is_unsigned else bits - 1) - 1,
            is_nullable=is_nullable,
            is_null_by_default=is_null_by_default,
        )
    if column.data_type == "uuid":
        return KeyColumn(name, KeyKind.UUID, is_nullable=is_nullable, is_null_by_default=is_null_by_default)
    if column.data_type in _TEXTS and FOLDING.fullmatch(column.collation or ""):
        return KeyColumn(
            name,
            KeyKind.TEXT,
            length=column.length,
            ascii_only=True,
            # A CHAR loses the spaces at its end.
            folds=column.data_type == "char" or not _EXACT.fullmatch(column.collation or ""),
            collation=column.collation or "",
            is_nullable=is_nullable,
            is_null_by_default=is_null_by_default,
        )
    return None
