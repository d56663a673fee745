"""Reads from an SQLite database the columns that identify the rows of its tables.

Names, types and indexes of columns are asked for. Only the text of a CREATE TABLE shows collations, and ON CONFLICT. No
foreign key counts as enforced, because it is each connection's own choice whether SQLite enforces them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from ormcache.catalog.row_keys import KeyColumn, KeyKind, RowKeys
from ormcache.sql.lexer import TokenKind, lex

# Those that may be unique ones without a condition; the indexes of constraints have no text.
_INDEXES = """
    SELECT m.tbl_name, m.name, x.name, x.coll FROM sqlite_master m JOIN pragma_index_xinfo(m.name, 'main') x
    WHERE m.type = 'index' AND x.key
      AND (m.sql IS NULL OR m.sql LIKE 'CREATE UNIQUE INDEX%' AND m.sql NOT LIKE '%WHERE%')
"""
# Hidden ones are generated columns. The names are given as the lines of a text, because a schema can have more of them
# than a query may have parameters.
_COLUMNS = """
    SELECT m.name, c.name, c.type, c."notnull", c.dflt_value, c.pk
    FROM sqlite_master m JOIN pragma_table_xinfo(m.name, 'main') c
    WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite^_%' ESCAPE '^' AND m.sql NOT LIKE 'CREATE VIRTUAL%'
      AND NOT c.hidden AND (c.pk OR instr(?, char(10) || c.name || char(10)))
"""

_LOWEST, _HIGHEST = -(2**63), 2**63 - 1

#: Names of the number that each row has: an INTEGER PRIMARY KEY is one more name of it
_NAMES_OF_ROWID = frozenset({"rowid", "oid", "_rowid_"})

_BINARY = "binary"
#: Collations by which equal texts differ at most in the case of ASCII letters and in spaces at their ends
_FOLDING = frozenset({"nocase", "rtrim"})


class _Column(NamedTuple):
    name: str
    type: str
    is_required: int
    default: str | None
    is_of_primary: int  # its position there


def read_row_keys(
    driver_connection: Any, texts: Mapping[str, str], foreign_keys: Collection[tuple[str, str]]
) -> dict[str, RowKeys]:
    """Return the key columns of each table that has any. Raises the errors of the database.

    ``texts``: table → its CREATE TABLE. ``foreign_keys``: tables, and columns of them that are part of a foreign key.
    """
    indexes: dict[tuple[str, str], list[tuple[str | None, str]]] = {}
    for table, index, column, collation in driver_connection.execute(_INDEXES).fetchall():
        indexes.setdefault((table, index), []).append((column, collation.lower()))
    # table → column → the collations by which no two of its values are equal
    unique: dict[str, dict[str, set[str]]] = {}
    for (table, _), indexed in indexes.items():
        column, collation = indexed[0]
        if len(indexed) == 1 and column is not None:  # None: an expression
            unique.setdefault(table, {}).setdefault(column, set()).add(collation)
    wanted = {*foreign_keys, *((table, column) for table, columns in unique.items() for column in columns)}
    names = "\n".join(["", *sorted({column for _, column in wanted}), ""])
    candidates: dict[str, list[_Column]] = {}
    for table, *row in driver_connection.execute(_COLUMNS, [names]).fetchall():
        found = _Column(*row)
        if found.is_of_primary or (table, found.name) in wanted:
            candidates.setdefault(table, []).append(found)
    keys = {}
    for table, columns in candidates.items():
        referring = {column for column in columns if (table, column.name) in foreign_keys}
        of_table = _row_keys(columns, referring, unique.get(table, {}), texts[table])
        if of_table is not None:
            keys[table] = of_table
    return keys


def _row_keys(
    columns: list[_Column], referring: Collection[_Column], unique: Mapping[str, Collection[str]], text: str
) -> RowKeys | None:
    collations = _collations(text) if "collate" in text.lower() or not text.isascii() else {}
    if collations is None:
        return None
    found: dict[str, KeyColumn] = {}
    uniques: set[str] = set()
    primary = None
    of_primary = [column for column in columns if column.is_of_primary]
    for column in columns:
        collation = collations.get(column.name.lower(), _BINARY)
        key = _key_column(column, collation)
        if key is None:
            continue
        # What is equal byte by byte is equal by every collation.
        is_unique = column.name in unique and (collation == _BINARY or collation in unique[column.name])
        # A primary key without an index is the number of the row, or that of a table WITHOUT ROWID. Others can be NULL.
        has_no_index = column.name not in unique and collation == _BINARY
        if of_primary == [column] and (has_no_index or (is_unique and column.is_required)):
            primary = key.name
            key = key._replace(is_nullable=False, is_null_by_default=False)
        elif is_unique:
            uniques.add(key.name)
        elif column not in referring:
            continue
        found[key.name] = key
    if not found:
        return None
    return RowKeys(
        primary,
        frozenset(uniques),
        found,
        # By ON CONFLICT REPLACE a row takes the place of others.
        has_plain_writes="conflict" not in text.lower(),
        other_names_of_primary=frozenset() if primary is None else _NAMES_OF_ROWID,
    )


def _key_column(column: _Column, collation: str) -> KeyColumn | None:
    """Return a column as one that is a key; None if it is not known which of its values are equal."""
    is_nullable = not column.is_required
    is_null_by_default = is_nullable and (column.default is None or column.default.upper() == "NULL")
    # https://sqlite.org/datatype3.html#determination_of_column_affinity
    kind = column.type.upper()
    if "INT" in kind:
        return KeyColumn(
            column.name.lower(),
            KeyKind.INTEGER,
            lowest=_LOWEST,
            highest=_HIGHEST,
            is_nullable=is_nullable,
            is_null_by_default=is_null_by_default,
        )
    if any(word in kind for word in ("CHAR", "CLOB", "TEXT")) and collation in {_BINARY, *_FOLDING}:
        return KeyColumn(
            column.name.lower(),
            KeyKind.TEXT,
            ascii_only=collation != _BINARY,
            folds=collation != _BINARY,
            collation="" if collation == _BINARY else collation,
            is_nullable=is_nullable,
            is_null_by_default=is_null_by_default,
        )
    return None


def _collations(text: str) -> dict[str, str] | None:
    """Return a mapping of the columns in a CREATE TABLE to their collations, in lower case, where they have one.

    None: the text is not understood, or has two columns of one name but for the case of letters beyond ASCII.
    """
    tokens = lex(text, "sqlite")
    if tokens is None:
        return None
    found: dict[str, str] = {}
    names: set[str] = set()
    depth, column = 0, ""
    for before, (kind, piece), (_, after) in zip([_COMMA, *tokens[:-1]], tokens, [*tokens[1:], _COMMA], strict=True):
        if kind is TokenKind.PUNCTUATION:
            depth += {"(": 1, ")": -1}.get(piece, 0)
        elif depth == 1 and before in (_OPEN, _COMMA):
            column = _unquoted(piece).lower()
            if column in names:
                return None
            if kind is not TokenKind.WORD or column not in _BEGIN_CONSTRAINT:
                names.add(column)
        elif depth == 1 and kind is TokenKind.WORD and piece.lower() == "collate":
            found[column] = _unquoted(after).lower()
    return found


_OPEN, _COMMA = (TokenKind.PUNCTUATION, "("), (TokenKind.PUNCTUATION, ",")
_BEGIN_CONSTRAINT = frozenset({"constraint", "primary", "unique", "check", "foreign"})


def _unquoted(piece: str) -> str:
    """Return a name that may be written like a text, as SQLite allows."""
    return piece[1:-1].replace("''", "'") if piece.startswith("'") else piece
