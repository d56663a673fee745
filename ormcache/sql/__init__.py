"""Analyses single SQL statements by their text alone: tokens, effect, names, functions, changes of the session.

Imports nothing but the standard library, :mod:`ormcache.reasons` and :mod:`ormcache.utils`: it knows neither Django nor
any database. What a database adds to a text is for :mod:`ormcache.catalog`.

``analysis`` is where to begin: :func:`analyse` returns a :class:`Statement` (``statement``).

* ``lexer`` cuts SQL into tokens. ``names`` finds the names among them. By the kind of statement, ``select``, ``dml``,
  ``control_statements``, ``set_statements``, ``temporary`` and ``schema_changes`` find its effect; ``generic`` is for
  databases of unknown kinds. ``nested`` finds SQL in the arguments of functions.
* ``vocabulary`` and ``spatialite`` list words and functions. ``casts`` (PostgreSQL) and ``times`` (MySQL) find
  conversions that read the clock.
* ``in_lists`` finds the lists of parameters whose order does not matter.
* ``routines`` reads stored code, ``aftermath`` what a statement of MySQL reads of the one before it (``FOUND_ROWS()``,
  warnings), ``search_path`` the value of that setting.
* ``rows`` finds which rows a plain statement reads or writes, by the values in its conditions: :func:`analyse_rows`.
* ``masking``, ``normalize`` and ``long_writes`` shorten SQL: for people, for statistics, for analysis.
"""

from ormcache.sql.aftermath import read_aftermath
from ormcache.sql.analysis import analyse
from ormcache.sql.lexer import VENDORS
from ormcache.sql.masking import mask_literals
from ormcache.sql.normalize import collapse_lists
from ormcache.sql.routines import StoredCode, read_code
from ormcache.sql.rows import (
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
    analyse_rows,
)
from ormcache.sql.search_path import split_path
from ormcache.sql.select import reads_clock, reads_clock_anywhere
from ormcache.sql.set_statements import setting_change
from ormcache.sql.statement import Effect, Name, Parameter, SchemaChange, SessionChange, Statement
from ormcache.sql.vocabulary import UNKNOWN_VENDOR

__all__ = [
    "DEFAULT",
    "NULL",
    "UNKNOWN",
    "UNKNOWN_VENDOR",
    "VENDORS",
    "Column",
    "Comparison",
    "Effect",
    "Elements",
    "InsertedValue",
    "Join",
    "Literal",
    "Name",
    "Operand",
    "Parameter",
    "Placeholder",
    "RowDelete",
    "RowInsert",
    "RowRead",
    "RowUpdate",
    "SchemaChange",
    "SessionChange",
    "Statement",
    "StoredCode",
    "Table",
    "analyse",
    "analyse_rows",
    "collapse_lists",
    "mask_literals",
    "read_aftermath",
    "read_code",
    "reads_clock",
    "reads_clock_anywhere",
    "setting_change",
    "split_path",
]
