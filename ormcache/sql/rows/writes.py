"""Analyses an INSERT of listed values or arrays of them, and an UPDATE or a DELETE of a single table."""

from __future__ import annotations

from ormcache.sql.lexer import TokenKind
from ormcache.sql.rows.conditions import find_comparisons
from ormcache.sql.rows.statements import (
    DEFAULT,
    UNKNOWN,
    Comparison,
    Elements,
    InsertedValue,
    Operand,
    Placeholder,
    RowDelete,
    RowInsert,
    RowUpdate,
    Table,
)
from ormcache.sql.rows.tokens import EQUALS, STAR, Tokens, as_table

#: Other names of a primary key: SQLite's for any table, and MySQL's
_ROW_IDS = frozenset({"rowid", "oid", "_rowid_", "_rowid"})

#: What stands around the type in ``(%s)::type[]``
_ARRAY = [(TokenKind.PUNCTUATION, mark) for mark in ("::", "[", "]")]
#: Types to which a value is converted without being changed, or not at all
_EXACT_TYPES = frozenset({"smallint", "integer", "bigint", "text", "varchar", "uuid"})


def analyse_row_insert(tokens: Tokens) -> RowInsert | None:
    """Analyse an INSERT into listed columns; return None for all but ``VALUES (value, …), …`` and arrays of values."""
    clauses = tokens.clauses(("insert", "into", "values", "returning")) or _array_clauses(tokens)
    if clauses is None or "into" not in clauses or clauses["insert"] != (1, 1):
        return None
    start, stop = clauses["into"]
    opens = tokens.end_of_name(start, stop)
    table = as_table(tokens.name(start, opens))
    if table is None or not tokens.is_group(opens, stop):
        return None
    columns = []
    for begin, end in tokens.split_at_commas(opens + 1, stop - 1):
        if end - begin != 1 or tokens.tokens[begin][0] not in (TokenKind.WORD, TokenKind.QUOTED):
            return None
        columns.append(tokens.tokens[begin][1].lower())
    if len(set(columns)) < len(columns) or not _ROW_IDS.isdisjoint(columns):
        return None
    if "values" in clauses:
        rows = _read_rows(tokens, *_without_conflict(tokens, *clauses["values"]), len(columns))
    elif "from" in clauses:
        rows = _read_arrays(tokens, *_without_conflict(tokens, *clauses["from"]), len(columns))
    else:
        rows = None
    return None if rows is None else RowInsert(table, tuple(columns), rows)


def _array_clauses(tokens: Tokens) -> dict[str, tuple[int, int]] | None:
    """PostgreSQL: return the clauses of an INSERT by ``SELECT * FROM …``; None if it is none."""
    clauses = tokens.clauses(("insert", "into", "select", "from", "returning"))
    if tokens.vendor != "postgresql" or clauses is None or "select" not in clauses:
        return None
    start, stop = clauses["select"]
    return clauses if tokens.tokens[start:stop] == [STAR] else None


def _read_arrays(tokens: Tokens, start: int, stop: int, width: int) -> tuple[tuple[InsertedValue, ...], ...] | None:
    """Return the one row that stands for those of ``UNNEST((%s)::type[], …)``; None if it is not that."""
    if tokens.words[start : start + 1] != ["unnest"] or not tokens.is_group(start + 1, stop):
        return None
    arrays = tokens.split_at_commas(start + 2, stop - 1)
    return (tuple(_read_array(tokens, *array) for array in arrays),) if len(arrays) == width else None


def _read_array(tokens: Tokens, start: int, stop: int) -> InsertedValue:
    """Return the elements of ``(%s)::type[]``, for a type that leaves values as they are."""
    at = stop - len(_ARRAY) - 1
    if at <= start or [*tokens.tokens[at : at + 1], *tokens.tokens[at + 2 : stop]] != _ARRAY:
        return UNKNOWN
    value = tokens.operand(start, at)
    if isinstance(value, Placeholder) and tokens.words[at + 1] in _EXACT_TYPES:
        return Elements(value.position, tokens.words[at + 1])
    return UNKNOWN


def _without_conflict(tokens: Tokens, start: int, stop: int) -> tuple[int, int]:
    """Return where the rows begin and end, without an ``ON CONFLICT … DO NOTHING`` behind them."""
    words = tokens.words
    at = next((at for at in tokens.outside(start, stop) if words[at] == "on"), stop)
    target, end = at + 2, stop - 2
    if tokens.vendor == "mysql" or words[end:stop] != ["do", "nothing"] or words[at + 1 : target] != ["conflict"]:
        return start, stop
    if words[target : target + 2] == ["on", "constraint"]:
        is_plain = target + 3 == end
    else:
        is_plain = target == end or tokens.is_group(target, end)
    return start, at if is_plain else stop


def _read_rows(tokens: Tokens, start: int, stop: int, width: int) -> tuple[tuple[InsertedValue, ...], ...] | None:
    """Return the values of each row; None if they are not rows of this many values."""
    rows = []
    for begin, end in tokens.split_at_commas(start, stop):
        if not tokens.is_group(begin, end):
            return None
        values = tokens.split_at_commas(begin + 1, end - 1)
        if len(values) != width or any(first >= last for first, last in values):
            return None
        rows.append(tuple(_read_value(tokens, *value) for value in values))
    return tuple(rows)


def _read_value(tokens: Tokens, start: int, stop: int) -> InsertedValue:
    if stop - start == 1 and tokens.words[start] == "default":
        return DEFAULT
    return tokens.operand(start, stop)


def analyse_row_update(tokens: Tokens) -> RowUpdate | None:
    """Analyse an UPDATE; return None unless it is of a single table, without ORDER BY and LIMIT."""
    clauses = tokens.clauses(("update", "set", "where", "returning"))
    if clauses is None or "set" not in clauses:
        return None
    table = _read_target(tokens, *clauses["update"])
    if table is None:
        return None
    assigned: dict[str, Operand] = {}
    for begin, end in tokens.split_at_commas(*clauses["set"]):
        equals = tokens.end_of_name(begin, end)
        name = _assigned_column(tokens, begin, equals, table)
        if name is None or name in assigned or equals + 1 >= end or tokens.tokens[equals] != EQUALS:
            return None
        assigned[name] = tokens.operand(equals + 1, end)
    comparisons = _read_where(tokens, clauses, table)
    if comparisons is None or not _ROW_IDS.isdisjoint(assigned):
        return None
    return RowUpdate(table.name, assigned, comparisons)


def _assigned_column(tokens: Tokens, start: int, stop: int, table: Table) -> str | None:
    """Return the folded name of a column that SET names; MySQL takes a table's name before it, others a field's."""
    parts = tokens.name(start, stop)
    if parts is None or len(parts) > (2 if tokens.vendor == "mysql" else 1):
        return None
    return parts[-1] if len(parts) == 1 or parts[0] == table.alias else None


def analyse_row_delete(tokens: Tokens) -> RowDelete | None:
    """Analyse a DELETE; return None unless it is of a single table, without ORDER BY and LIMIT."""
    clauses = tokens.clauses(("delete", "from", "where", "returning"))
    if clauses is None or "from" not in clauses or clauses["delete"] != (1, 1):
        return None
    table = _read_target(tokens, *clauses["from"])
    comparisons = None if table is None else _read_where(tokens, clauses, table)
    return None if table is None or comparisons is None else RowDelete(table.name, comparisons)


def _read_target(tokens: Tokens, start: int, stop: int) -> Table | None:
    """Return the table that is written, ``name [[AS] alias]``; None if anything else is there."""
    at = tokens.end_of_name(start, stop)
    name = as_table(tokens.name(start, at))
    if name is None:
        return None
    if at == stop:
        return Table(name, name[1])
    at += tokens.words[at] == "as"
    alias = tokens.name(at, stop)
    return None if alias is None or len(alias) > 1 else Table(name, alias[0])


def _read_where(tokens: Tokens, clauses: dict[str, tuple[int, int]], table: Table) -> tuple[Comparison, ...] | None:
    """Return the comparisons that every written row fulfils; None if the condition is not understood for certain."""
    if "where" not in clauses:
        return ()
    found = find_comparisons(tokens, *clauses["where"], [table])
    return None if found is None else found[0]
