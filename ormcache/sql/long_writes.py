"""Shortens long writes, such as an INSERT with a megabyte of values in its text.

No plain value decides what a write changes. It may decide what a read answers, so reads are not shortened. Time is
linear in the length of a text, and other threads run meanwhile: no single match takes in more than one row.
"""

from __future__ import annotations

import re

from ormcache.sql.lexer import BLANKS, MOST_PIECES, NUMBERS, STRINGS, is_covered, next_piece
from ormcache.utils.patterns import compile_pattern

#: Characters; shorter texts are read as they are
SHORT = 65_536
#: Characters; longer writes are not read at all
LONGEST_WRITE = 1 << 26
#: Characters; a longer literal is no name
LONGEST_NAME = 1000

_WRITES = compile_pattern(rf"[{BLANKS}]*+(?:insert|replace|update|delete|merge|with)\b", re.IGNORECASE)


def _row_pattern(string: str, number: str) -> re.Pattern[str]:
    """Return the pattern of a row of plain values and the comma behind it."""
    value = rf"[{BLANKS}]*+(?:{string}|[-+]?(?:{number})|%s|null|true|false|default)(?:::[a-z]++)?[{BLANKS}]*+"
    return compile_pattern(rf"[{BLANKS}]*+\({value}(?:,{value})*\)[{BLANKS}]*+,", re.IGNORECASE)


#: What stands before a row; behind a comment the next one does
_BEFORE_ROWS = frozenset({"values", "value", "(", ","})

_ROWS = {vendor: _row_pattern(STRINGS[vendor], NUMBERS[vendor]) for vendor in STRINGS}
#: What is left of a long literal, by what it begins with. The rest of one with escapes may go on in another line.
_SHORTENED = {**dict.fromkeys("'\"$bBnNxX", "''"), "e": "e''", "E": "e''"}


def strip_values(text: str, vendor: str) -> str | None:
    """Cut a long write to one row of each run of rows, and its long literals to empty ones.

    Any other text is returned as it is. Returns None for a write that stays too long.
    """
    if len(text) <= SHORT or not _WRITES.match(text):
        return text
    if len(text) > LONGEST_WRITE:
        return None
    row = _ROWS[vendor]
    left: list[str] = []
    at = 0
    follows = False  # whether a row may follow: behind any other word it would be the arguments of a function
    while at < len(text):
        match = row.match(text, at) if follows else None
        if match is not None:
            at = match.end()
            continue
        start, end = next_piece(text, at, vendor)
        follows = text[start:end].lower() in _BEFORE_ROWS
        if end - start > LONGEST_NAME and is_covered(text, start, vendor):
            left.append(text[at:start] + _shorten_literal(text[start:end], vendor))
        else:
            left.append(text[at:end])
        at = end
        if len(left) > MOST_PIECES:
            return None
    return "".join(left)


def _shorten_literal(piece: str, vendor: str) -> str:
    """Return an empty literal for a literal, and any other token as it is."""
    first, last = piece[0], piece[-1]
    empty = _SHORTENED.get(first)
    if empty is None or (first == '"' and vendor != "mysql"):
        return piece
    if last != (first if first in "'\"$" else "'"):
        return piece
    return f" {empty}"  # so that a word before it is none of its prefix
