"""Where names stand in a text: relations that are read, functions that are called, tables of the text's own."""

from __future__ import annotations

from ormcache.sql import vocabulary
from ormcache.sql.lexer import Kind, Token
from ormcache.sql.statement import Name

_ENDS_FROM = frozenset(
    "where group order having limit offset union intersect except window fetch for returning set on using".split()
) | {"select"}


def names_and_calls(tokens: list[Token], words: list[str]) -> tuple[frozenset[str], frozenset[str]]:
    names, calls = set(), set()
    for at, (kind, text) in enumerate(tokens):
        if kind is Kind.QUOTED or kind is Kind.WORD:
            names.add(text.lower())
            follows = tokens[at + 1 : at + 2] == [(Kind.PUNCTUATION, "(")]
            if follows and (kind is Kind.QUOTED or words[at] not in vocabulary.NOT_FUNCTIONS):
                calls.add(text.lower())
    return frozenset(names), frozenset(calls)


def name_at(tokens: list[Token], at: int) -> tuple[Name, int]:
    """The possibly qualified name that begins at ``at``, and where its last token is."""
    parts = [tokens[at][1].lower()]
    while (
        tokens[at + 1 : at + 2] == [(Kind.PUNCTUATION, ".")]
        and at + 2 < len(tokens)
        and tokens[at + 2][0] in (Kind.WORD, Kind.QUOTED)
    ):
        at += 2
        parts.append(tokens[at][1].lower())
    return (parts[-2] if len(parts) > 1 else None, parts[-1]), at


def common_table_expressions(tokens: list[Token], words: list[str]) -> frozenset[str]:
    """Names that stand before ``AS [NOT] [MATERIALIZED] (``, with or without a list of columns."""
    found = set()
    for at, word in enumerate(words):
        if word != "as":
            continue
        after = at + 1
        while words[after : after + 1] in (["not"], ["materialized"]):
            after += 1
        if tokens[after : after + 1] != [(Kind.PUNCTUATION, "(")]:
            continue
        before = at - 1
        if tokens[before] == (Kind.PUNCTUATION, ")"):
            while before > 0 and tokens[before] != (Kind.PUNCTUATION, "("):
                before -= 1
            before -= 1
        if before >= 0 and tokens[before][0] in (Kind.WORD, Kind.QUOTED):
            found.add(tokens[before][1].lower())
    return frozenset(found)


def sources_of(tokens: list[Token], words: list[str], ctes: frozenset[str]) -> frozenset[Name]:
    """What stands in FROM position and is no CTE of this text.

    A missed one would still be among the names; being found here, it must be known to the catalog.
    """
    found: set[Name] = set()
    # One entry for each open parenthesis: is it a query (or a joined table), and does a relation come next?
    levels: list[tuple[bool, bool]] = [(True, False)]
    in_from = [False]
    at, end = 0, len(tokens)
    while at < end:
        kind, text = tokens[at]
        query, expecting = levels[-1]
        if kind is Kind.PUNCTUATION and text == "(":
            opens = words[at + 1] if at + 1 < end else ""
            subquery = opens in ("select", "with", "values", "table")
            joined = expecting and not subquery
            levels[-1] = (query, False)
            levels.append(
                (subquery or joined or (opens == "" and tokens[at + 1 : at + 2] == [(Kind.PUNCTUATION, "(")]), joined)
            )
            in_from.append(joined)
        elif kind is Kind.PUNCTUATION and text == ")":
            if len(levels) > 1:
                levels.pop()
                in_from.pop()
        elif kind is Kind.PUNCTUATION and text == ",":
            levels[-1] = (query, in_from[-1])
        elif kind is Kind.WORD and query and words[at] in ("from", "join", "straight_join"):
            if not (words[at] == "from" and words[at - 1] == "distinct" and words[at - 2] in ("is", "not")):
                levels[-1] = (query, True)
                in_from[-1] = True
        elif (
            kind is Kind.WORD and words[at] == "table" and words[at - 1] != "materialized" and not expecting and at == 0
        ):
            levels[-1] = (query, True)
        elif kind is Kind.WORD and words[at] in _ENDS_FROM:
            levels[-1] = (query, False)
            in_from[-1] = False
        elif expecting and kind in (Kind.WORD, Kind.QUOTED):
            if not (kind is Kind.WORD and words[at] in ("only", "lateral")):
                name, at = name_at(tokens, at)
                called = tokens[at + 1 : at + 2] == [(Kind.PUNCTUATION, "(")]
                if not called and not (name[0] is None and name[1] in ctes):
                    found.add(name)
                levels[-1] = (query, False)
        at += 1
    return frozenset(found)
