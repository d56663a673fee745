"""Finds the lists of ``column IN (%s, %s, …)`` whose order cannot matter, so that a read has one name under each order.

``x IN (1, 2)`` and ``x IN (2, 1)`` say the same of every row. So they are the same question where each row is in the
result, or not, by itself: in a single SELECT that filters and sorts, and neither calls, groups, limits nor combines
anything. In which order rows come is then open, as far as ORDER BY leaves it open.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from ormcache.sql.lexer import Token, TokenKind

#: With more values MariaDB makes a table of the list, and may return rows in its order
#: (https://mariadb.com/kb/en/conversion-of-big-in-predicates-into-subqueries/).
MOST_VALUES = 999

#: Types whose values have an order, and of which equal values have equal texts
_SORTABLE = frozenset({int, str, uuid.UUID})
#: The module of psycopg's subclasses of ``int``, one for each type of PostgreSQL
_NUMBERS_OF_PSYCOPG = "psycopg.types.numeric"
#: Words by which more than the row itself decides whether it is in the result, or what the result says of it
_BEYOND_ROWS = frozenset(
    """
    distinct distinctrow except fetch group having intersect into limit minus offset over procedure tablesample table
    union values window with
    """.split()
)

_OPEN, _CLOSE = (TokenKind.PUNCTUATION, "("), (TokenKind.PUNCTUATION, ")")
_COMMA, _PLACEHOLDER = (TokenKind.PUNCTUATION, ","), (TokenKind.PLACEHOLDER, "%s")
_NEXT_ROW = [_CLOSE, _COMMA, _OPEN, _PLACEHOLDER, _CLOSE]
_DIGITS = re.compile(rb"\d+")


class _List(NamedTuple):
    before: int  # how many placeholders stand between it and the list before
    is_of_rows: bool  # (%s), (%s): Django 5.2 writes so where it fetches the objects that foreign keys refer to
    can_be_sorted: bool


@dataclass(frozen=True, slots=True)
class InLists:
    """The lists of placeholders in a statement, of which at least one can be sorted."""

    #: in their order in the text
    lists: tuple[_List, ...]
    #: how many placeholders stand outside of them
    others: int

    def sort(self, params: Sequence[Any], lengths: bytes) -> Sequence[Any]:
        """Return the parameters with the values of each list sorted where that can be.

        ``lengths``: of the lists in the text that is run, as :func:`~ormcache.sql.collapse_lists` returns them.
        """
        counts = self._counts(lengths)
        if type(params) not in (tuple, list) or counts is None or sum(counts, self.others) != len(params):
            return params  # some list is not spelled as Django does
        found = list(params)
        at = 0
        for one, count in zip(self.lists, counts, strict=True):
            at += one.before
            if one.can_be_sorted and count <= MOST_VALUES:
                values = found[at : at + count]
                types = set(map(type, values))
                if len(types) == 1 and _is_sortable(*types):
                    found[at : at + count] = sorted(values)
            at += count
        return found

    def _counts(self, lengths: bytes) -> list[int] | None:
        """Return how many values each list has; None if these are lengths of other lists too."""
        if not lengths:
            return [2] * len(self.lists)
        # The lengths of lists in brackets, those of rows in brackets, and more; each in characters of the text
        plain, rows = (list(map(int, _DIGITS.findall(one))) for one in lengths.split(b"]")[:2])
        if len(rows) != sum(one.is_of_rows for one in self.lists) or len(plain) + len(rows) != len(self.lists):
            return None
        remaining = iter([(length + len(", ")) // len("%s, ") for length in plain])
        remaining_rows = iter([(length + len(", ")) // len("(%s), ") for length in rows])
        return [next(remaining_rows if one.is_of_rows else remaining) for one in self.lists]


def _is_sortable(cls: type[Any]) -> bool:
    return cls in _SORTABLE or (cls.__module__ == _NUMBERS_OF_PSYCOPG and issubclass(cls, int))


def find_in_lists(tokens: list[Token], words: list[str], calls: frozenset[str]) -> InLists | None:
    """Find the lists in a read whose lists of placeholders have been cut to two; None if none can be sorted.

    ``calls``: the functions that it calls.
    """
    if calls or words[0] != "select" or words.count("select") > 1 or not _BEYOND_ROWS.isdisjoint(words):
        return None
    places = [at for at, (kind, _) in enumerate(tokens) if kind is TokenKind.PLACEHOLDER]
    if any(tokens[at] != _PLACEHOLDER for at in places):
        return None
    lists: list[_List] = []
    end = 0  # how many placeholders have been seen by the end of the last list
    for number, at, is_of_rows in _adjacent(tokens, places):
        if number < end:
            return None  # a list that has not been cut
        lists.append(_List(number - end, is_of_rows, _is_operand(tokens, words, at, is_of_rows=is_of_rows)))
        end = number + 2
    if not any(one.can_be_sorted for one in lists):
        return None
    return InLists(tuple(lists), len(places) - 2 * len(lists))


def _adjacent(tokens: list[Token], places: list[int]) -> Iterator[tuple[int, int, bool]]:
    """Yield the number and the position of each placeholder that another one follows, and whether as a row of one."""
    for number, (at, following) in enumerate(pairwise(places)):
        if tokens[at + 1 : following] == [_COMMA]:
            yield number, at, False
        elif tokens[at - 1] == _OPEN and tokens[at + 1 : following + 2] == _NEXT_ROW:
            yield number, at, True


def _is_operand(tokens: list[Token], words: list[str], at: int, *, is_of_rows: bool) -> bool:
    """Return whether two placeholders are all that stands in the list of a ``column [NOT] IN (…)``.

    ``at``: the position of the first one. Of rows of one, the column may stand in parentheses too.
    """
    before, behind = (at - 2, at + 6) if is_of_rows else (at - 1, at + 3)
    if before < 2 or tokens[before] != _OPEN or words[before - 1] != "in" or tokens[behind : behind + 1] != [_CLOSE]:
        return False
    column = tokens[before - 3] if words[before - 2] == "not" else tokens[before - 2]
    return column[0] in (TokenKind.QUOTED, TokenKind.WORD) or (is_of_rows and column == _CLOSE)
