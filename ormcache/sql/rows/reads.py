"""Analyses a plain SELECT: its tables and joins, its select list, its conditions, its order and its limit."""

from __future__ import annotations

from collections.abc import Sequence

from ormcache.sql.rows.conditions import column_at, find_comparisons
from ormcache.sql.rows.statements import UNKNOWN, Column, Join, Literal, Operand, Placeholder, RowRead, Table
from ormcache.sql.rows.tokens import DOT, EQUALS, OPEN, STAR, Tokens, as_table, find_column

_ORDER = ("select", "from", "where", "order", "limit", "offset")
#: PostgreSQL: aggregates that take a whole row: "t.count" is count(t) where t has no such column. Beside a column,
#: without GROUP BY, they would be an error.
_AGGREGATES_OF_ROWS = frozenset(
    "any_value array_agg count json_agg json_agg_strict jsonb_agg jsonb_agg_strict max min".split()
)


def analyse_row_read(tokens: Tokens) -> RowRead | None:
    """Analyse a SELECT; return None for anything that is not plainly understood."""
    clauses = tokens.clauses(_ORDER)
    if clauses is None or "from" not in clauses or "over" in tokens.words:
        return None
    relations = _Relations(tokens)
    if not relations.read(*clauses["from"]):
        return None
    tables = tuple(relations.tables)
    selected = _read_select_list(tokens, *clauses["select"], tables)
    conditions = find_comparisons(tokens, *clauses["where"], tables) if "where" in clauses else ((), True)
    if selected is None or conditions is None:
        return None
    columns, names = selected
    ordered_by: tuple[Column | None, ...] = ()
    if "order" in clauses:
        start, stop = clauses["order"]
        if start >= stop or tokens.words[start] != "by":
            return None
        ordered_by = tuple(
            _read_order(tokens, *part, tables, columns, names) for part in tokens.split_at_commas(start + 1, stop)
        )
    limit, has_offset = None, "offset" in clauses
    if has_offset and not _is_count(tokens, *clauses["offset"]):
        return None
    if "limit" in clauses:
        counts = tokens.split_at_commas(*clauses["limit"])
        if len(counts) > (1 if has_offset or tokens.vendor == "postgresql" else 2):
            return None
        if not all(_is_count(tokens, *count) for count in counts):
            return None
        has_offset = has_offset or len(counts) > 1
        limit = tokens.operand(*counts[-1])
        if not (isinstance(limit, Placeholder) or (isinstance(limit, Literal) and _is_positive(limit))):
            limit = UNKNOWN
    has_calls = (
        None in columns
        or ("order" in clauses and OPEN in tokens.tokens[slice(*clauses["order"])])
        or (tokens.vendor == "postgresql" and all(column.name in _AGGREGATES_OF_ROWS for column in columns if column))
    )
    return RowRead(tables, tuple(relations.joins), *conditions, columns, has_calls, ordered_by, limit, has_offset)


def _is_positive(literal: Literal) -> bool:
    return isinstance(literal.value, int) and literal.value > 0


def _is_count(tokens: Tokens, start: int, stop: int) -> bool:
    """Return whether a number of rows stands there, and no keyword (ROWS EXAMINED, ALL)."""
    return start < stop and all(word in ("", "null") for word in tokens.words[start:stop])


class _Relations:
    """The tables and joins of a FROM clause."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self.tables: list[Table] = []
        self.joins: list[Join] = []

    def read(self, start: int, stop: int) -> bool:
        """Read the clause that stands there; return whether it is understood."""
        at = self._read_table(start, stop)
        while at is not None and at < stop:
            at = self._read_join(at, stop)
        return at is not None

    def _read_table(self, start: int, stop: int) -> int | None:
        """Read a table and its alias, and return where they end; None if they are not understood."""
        at = self._tokens.end_of_name(start, stop)
        name = as_table(self._tokens.name(start, at))
        if name is None:
            return None
        alias = name[1]
        if at < stop and self._tokens.words[at] not in ("on", "left", "inner", "join"):
            at += self._tokens.words[at] == "as"
            parts = self._tokens.name(at, min(at + 1, stop))
            if parts is None:
                return None
            alias = parts[0]
            at += 1
        if any(alias == table.alias for table in self.tables):
            return None
        self.tables.append(Table(name, alias))
        return at

    def _read_join(self, start: int, stop: int) -> int | None:
        """Read ``[INNER | LEFT [OUTER]] JOIN table ON condition``, and return where it ends; None for any other."""
        tokens, words, at = self._tokens, self._tokens.words, start
        is_outer = words[at] == "left"
        at += words[at] in ("left", "inner")
        at += is_outer and words[at : at + 1] == ["outer"]
        if words[at : at + 1] != ["join"]:
            return None
        behind = self._read_table(at + 1, stop)
        if behind is None or words[behind : behind + 1] != ["on"]:
            return None
        begin = behind + 1
        end = next((n for n in tokens.outside(begin, stop) if words[n] in ("left", "inner", "join")), stop)
        inside = tokens.without_parentheses(begin, end)
        equals = next((n for n in range(*inside) if tokens.tokens[n] == EQUALS), inside[0])
        left = column_at(tokens, inside[0], equals, self.tables)
        right = column_at(tokens, equals + 1, inside[1], self.tables)
        joined = len(self.tables) - 1
        if left is None or right is None or (left.table == joined) == (right.table == joined):
            return None
        self.joins.append(Join(joined, left, right, is_outer))
        return end


def _read_select_list(
    tokens: Tokens, start: int, stop: int, tables: Sequence[Table]
) -> tuple[tuple[Column | None, ...], frozenset[str]] | None:
    """Return the columns of a select list, None for each expression, and the names that it gives to them.

    Returns None if it is not certain how many columns there are.
    """
    columns: list[Column | None] = []
    names = set()
    for begin, end in tokens.split_at_commas(start, stop):
        if begin >= end or any(
            tokens.tokens[at] == STAR and (at == begin or tokens.tokens[at - 1] == DOT)
            for at in tokens.outside(begin, end)
        ):
            return None
        is_named = end - begin > 2 and tokens.words[end - 2] == "as"
        if is_named:
            names.add(tokens.tokens[end - 1][1].strip("'\"").lower())
        item = (begin, end - 2 if is_named else end)
        columns.append(column_at(tokens, *tokens.without_parentheses(*item), tables))
    return tuple(columns), frozenset(names)


def _read_order(
    tokens: Tokens,
    start: int,
    stop: int,
    tables: Sequence[Table],
    columns: Sequence[Column | None],
    names: frozenset[str],
) -> Column | None:
    """Return the column by which an item of ORDER BY sorts; None for an expression."""
    words = tokens.words
    if stop - start > 2 and words[stop - 2] == "nulls" and words[stop - 1] in ("first", "last"):
        stop -= 2
    if stop - start > 1 and words[stop - 1] in ("asc", "desc"):
        stop -= 1
    position: Operand = tokens.operand(start, stop)
    if isinstance(position, Literal):
        value = position.value
        return columns[value - 1] if isinstance(value, int) and 0 < value <= len(columns) else None
    parts = tokens.name(start, stop)
    if parts is None or (len(parts) == 1 and (None in columns or parts[0] in names)):
        return None  # an expression, or a name that the select list may have given to another column
    return find_column(parts, tables)
