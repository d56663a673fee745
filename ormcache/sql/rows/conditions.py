"""Finds the comparisons in a condition that every row fulfils.

Whatever is not plainly ``column = value`` between ANDs is none: read as the database reads it, it could be anything.
"""

from __future__ import annotations

from collections.abc import Sequence

from ormcache.sql.lexer import TokenKind
from ormcache.sql.rows.statements import UNKNOWN, Column, Comparison, Operand, Table
from ormcache.sql.rows.tokens import COMMA, EQUALS, Tokens, find_column

#: Words that bind less than AND, and one that has ANDs of its own
_LOOSE = frozenset({"or", "xor", "case"})


def find_comparisons(
    tokens: Tokens, start: int, stop: int, tables: Sequence[Table]
) -> tuple[tuple[Comparison, ...], bool] | None:
    """Return the comparisons of a condition that are ANDed to all the rest of it, and whether there is no rest.

    Returns None if it is not certain how the condition is read.
    """
    found: list[Comparison] = []
    is_all = True
    waiting = [(start, stop)]
    while waiting:
        start, stop = waiting.pop()
        if tokens.is_group(start, stop):
            waiting.append((start + 1, stop - 1))
            continue
        if _is_loose(tokens, start, stop):
            is_all = False
            continue
        parts = _split_at_ands(tokens, start, stop)
        if parts is None:
            return None
        if len(parts) > 1:
            waiting.extend(reversed(parts))
            continue
        comparison = _read_comparison(tokens, start, stop, tables)
        if comparison is None:
            is_all = False
        else:
            found.append(comparison)
    return tuple(found), is_all


def _is_loose(tokens: Tokens, start: int, stop: int) -> bool:
    """Return whether something outside of parentheses binds less than AND, or has ANDs of its own."""
    for at in tokens.outside(start, stop):
        if tokens.words[at] in _LOOSE:
            return True
        # MySQL: OR, unless the session has it otherwise
        if tokens.vendor == "mysql" and tokens.tokens[at][0] is TokenKind.OPERATOR and "||" in tokens.tokens[at][1]:
            return True
    return False


def _split_at_ands(tokens: Tokens, start: int, stop: int) -> list[tuple[int, int]] | None:
    """Return where the parts between ANDs begin and end, other than the AND of BETWEEN.

    Returns None if one is empty, or if it is a list.
    """
    ands = []
    between = 0
    for at in tokens.outside(start, stop):
        word = tokens.words[at]
        if tokens.tokens[at] == COMMA:
            return None
        if word == "between":
            between += 1
        elif word == "and":
            if between:
                between -= 1
            else:
                ands.append(at)
    parts = list(zip([start, *(at + 1 for at in ands)], [*ands, stop], strict=True))
    return None if between or any(begin >= end for begin, end in parts) else parts


def _read_comparison(tokens: Tokens, start: int, stop: int, tables: Sequence[Table]) -> Comparison | None:
    """Return the comparison that stands there; None if it is anything else."""
    equals = [at for at in tokens.outside(start, stop) if tokens.tokens[at] == EQUALS]
    if len(equals) == 1:
        at = equals[0]
        left, right = tokens.operand(start, at), tokens.operand(at + 1, stop)
        if left is UNKNOWN and right is not UNKNOWN:
            return _compare(column_at(tokens, start, at, tables), [right])
        if right is UNKNOWN and left is not UNKNOWN:
            return _compare(column_at(tokens, at + 1, stop, tables), [left])
        return None
    at = tokens.end_of_name(start, stop)
    if at < stop and tokens.words[at] == "in" and tokens.is_group(at + 1, stop):
        operands = [tokens.operand(*part) for part in tokens.split_at_commas(at + 2, stop - 1)]
        return _compare(column_at(tokens, start, at, tables), operands)
    return None


def _compare(column: Column | None, operands: Sequence[Operand]) -> Comparison | None:
    return None if column is None or UNKNOWN in operands else Comparison(column, tuple(operands))


def column_at(tokens: Tokens, start: int, stop: int, tables: Sequence[Table]) -> Column | None:
    """Return the column that is named there; None if it is anything else, or not certain which."""
    parts = tokens.name(start, stop)
    return None if parts is None else find_column(parts, tables)
