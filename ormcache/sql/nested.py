"""Finds the SQL that functions of PostgreSQL are given as text, where it is a plain literal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ormcache.sql.lexer import Token, TokenKind

#: How many literals may lie inside each other
DEEPEST = 4

#: Function → the positions of those of its arguments that are SQL. The other argument of crosstab() is a number.
_ARGUMENTS = {
    "ts_stat": (0,),
    "ts_rewrite": (1,),
    "query_to_xml": (0,),
    "query_to_xmlschema": (0,),
    "query_to_xml_and_xmlschema": (0,),
    **dict.fromkeys(("crosstab", "crosstab2", "crosstab3", "crosstab4"), (0, 1)),
}
#: Function → with how many arguments it runs no SQL: ts_rewrite(query, target, substitute)
_PLAIN_FORM = {"ts_rewrite": 3}


class NestedStatements(NamedTuple):
    """The statements in the literals of another one."""

    #: each is a statement that a function runs
    texts: list[str]
    #: folded names of the functions of which every call runs nothing but such a text
    functions: frozenset[str]


NO_NESTED_STATEMENTS = NestedStatements([], frozenset())


def find_nested(tokens: list[Token]) -> NestedStatements:
    """Find the literals in tokens of PostgreSQL that functions run as SQL."""
    texts: list[str] = []
    called, unread = set(), set()
    for at, (kind, text) in enumerate(tokens[:-1]):
        name = text.lower()
        if name not in _ARGUMENTS or kind not in (TokenKind.WORD, TokenKind.QUOTED):
            continue
        called.add(name)
        arguments = list(_arguments(tokens, at + 1))
        if len(arguments) == _PLAIN_FORM.get(name):
            continue
        for place in _ARGUMENTS[name]:
            argument = arguments[place] if place < len(arguments) else []
            sql = literal_text(argument)
            if sql is not None:
                texts.append(sql)
            elif place == 0 or name == "ts_rewrite" or any(one is not TokenKind.NUMBER for one, _ in argument):
                unread.add(name)
    return NestedStatements(texts, frozenset(called - unread)) if called else NO_NESTED_STATEMENTS


def _arguments(tokens: list[Token], at: int) -> Iterator[list[Token]]:
    """Yield the tokens of each argument in the parentheses that open at ``at``; none if none open there."""
    if tokens[at] != (TokenKind.PUNCTUATION, "("):
        return
    depth = 0
    argument: list[Token] = []
    for token in tokens[at:]:
        kind, text = token
        if kind is TokenKind.PUNCTUATION and text in "([":
            depth += 1
            if depth == 1:
                continue
        elif kind is TokenKind.PUNCTUATION and text in ")]":
            depth -= 1
            if not depth:
                yield argument
                return
        elif depth == 1 and token == (TokenKind.PUNCTUATION, ","):
            yield argument
            argument = []
            continue
        argument.append(token)


def literal_text(tokens: list[Token]) -> str | None:
    """Return the value of a single literal, cast to ``text`` or not; None for anything else.

    None, too, for a literal with escapes, and for one that the driver puts values into.
    """
    if tokens[1:] not in ([], [(TokenKind.PUNCTUATION, "::"), (TokenKind.WORD, "text")]):
        return None
    kind, text = tokens[0] if tokens else (None, "")
    if kind is not TokenKind.LITERAL or "%" in text:
        return None
    if text[0] == "'":
        return text[1:-1].replace("''", "'")
    if text[0] == "$":
        tag = text.index("$", 1) + 1
        return text[tag:-tag]
    return None
