"""Analyses single SQL statements for the rows that they read or write: :func:`analyse_rows` is where to begin.

``statements`` has its results. ``tokens`` cuts a statement into clauses, names and values, ``conditions`` finds what
every row fulfils, ``reads`` and ``writes`` put them together.
"""

from __future__ import annotations

from ormcache.sql.lexer import VENDORS
from ormcache.sql.rows.reads import analyse_row_read
from ormcache.sql.rows.statements import (
    DEFAULT,
    NULL,
    UNKNOWN,
    Column,
    Comparison,
    Elements,
    InsertedValue,
    Join,
    Literal,
    Operand,
    Placeholder,
    RowDelete,
    RowInsert,
    RowRead,
    RowUpdate,
    Table,
)
from ormcache.sql.rows.tokens import tokenize
from ormcache.sql.rows.writes import analyse_row_delete, analyse_row_insert, analyse_row_update

__all__ = [
    "DEFAULT",
    "NULL",
    "UNKNOWN",
    "Column",
    "Comparison",
    "Elements",
    "InsertedValue",
    "Join",
    "Literal",
    "Operand",
    "Placeholder",
    "RowDelete",
    "RowInsert",
    "RowRead",
    "RowUpdate",
    "Table",
    "analyse_rows",
]

_ANALYSES = {
    "select": analyse_row_read,
    "insert": analyse_row_insert,
    "update": analyse_row_update,
    "delete": analyse_row_delete,
}


def analyse_rows(text: str, vendor: str) -> RowRead | RowInsert | RowUpdate | RowDelete | None:
    """Analyse which rows a statement reads or writes, from its text alone, as its vendor reads it. Never raises.

    ``text`` must be the whole one, with its lists as long as they are. Returns None for a statement that is not plainly
    understood, or is too long. Functions that it calls, and what its tables really are, are for others to look at.
    """
    tokens = tokenize(text, vendor) if vendor in VENDORS else None
    analysis = None if tokens is None or not tokens.words else _ANALYSES.get(tokens.words[0])
    return None if analysis is None or tokens is None else analysis(tokens)
