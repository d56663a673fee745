"""The tables of a statement as sqlparse reads them: a second reader that shares no line with the package's lexers.

It knows no vendor and no catalog. It takes for a table what stands after FROM, JOIN, INTO or UPDATE, which is too much
at times: the column in ``EXTRACT(year FROM created)``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import sqlparse
from sqlparse import sql, tokens

#: (schema or None, table), in lower case
Name = tuple[str | None, str]

_INTRODUCES = re.compile(r"FROM|(?:[A-Z]+\s+)*JOIN|INTO|UPDATE", re.IGNORECASE)
#: Words that may stand between such a keyword and the table
_BETWEEN = frozenset({"ONLY", "LATERAL", "TABLE", "IGNORE", "LOW_PRIORITY", "DELAYED", "HIGH_PRIORITY"})


def tables_of(text: str) -> set[Name]:
    """Return what stands where a table has to stand, common table expressions left out."""
    found: set[Name] = set()
    for statement in sqlparse.parse(text):
        found.update(_tables_in(statement))
    return found - {(None, name) for name in _common_tables(text)}


def _tables_in(group: sql.TokenList) -> Iterator[Name]:
    children = [token for token in group.tokens if not (token.is_whitespace or token.ttype in tokens.Comment)]
    children = [token for token in children if not isinstance(token, sql.Comment)]
    for place, token in enumerate(children):
        if token.is_group:
            yield from _tables_in(token)
        elif token.ttype in tokens.Keyword and _INTRODUCES.fullmatch(token.value):
            following = (one for one in children[place + 1 :] if one.value.upper() not in _BETWEEN)
            yield from _names_in(next(following, None), is_written=token.value.upper() == "INTO")


def _names_in(token: sql.Token | None, *, is_written: bool) -> Iterator[Name]:
    """Yield the names of one token after the keyword: of a table, of several, of none in a subquery.

    ``is_written``: then ``t (x, y)`` is a table with its columns; else it is a call.
    """
    if isinstance(token, sql.IdentifierList):
        for identifier in token.get_identifiers():
            yield from _names_in(identifier, is_written=is_written)
    elif isinstance(token, sql.Function):
        if is_written:
            yield from _name_of(token)
    elif isinstance(token, sql.Identifier):
        first = token.token_first(skip_cm=True)
        if isinstance(first, sql.Function):
            yield from _names_in(first, is_written=is_written)
        elif not isinstance(first, sql.Parenthesis):  # else a subquery with an alias
            yield from _name_of(token)
    elif token is not None and token.ttype in tokens.Keyword:
        yield None, token.value.lower()  # a table that is called like a keyword


def _name_of(token: sql.TokenList) -> Iterator[Name]:
    name, schema = token.get_real_name(), token.get_parent_name()
    if name:
        yield (schema.lower() if schema else None), name.strip("[]").lower()


_COMMON_TABLE = re.compile(
    r"(?:\bWITH(?:\s+RECURSIVE)?|,)\s+[\"`]?(\w+)[\"`]?\s*(?:\([^()]*\)\s*)?AS\s*(?:(?:NOT\s+)?MATERIALIZED\s*)?\(",
    re.IGNORECASE,
)


def _common_tables(text: str) -> set[str]:
    return {match[1].lower() for match in _COMMON_TABLE.finditer(text)}
