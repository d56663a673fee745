"""Finds names in a statement: relations that are read, functions that are called, common table expressions."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from ormcache.sql import vocabulary
from ormcache.sql.lexer import Token, TokenKind
from ormcache.sql.search_path import fold
from ormcache.sql.statement import Name

_OPEN, _CLOSE = (TokenKind.PUNCTUATION, "("), (TokenKind.PUNCTUATION, ")")
_COMMA, _DOT = (TokenKind.PUNCTUATION, ","), (TokenKind.PUNCTUATION, ".")

_IDENTIFIERS = (TokenKind.WORD, TokenKind.QUOTED)
#: What a value can end with, other than a name
_VALUE_ENDS = (_CLOSE, (TokenKind.PUNCTUATION, "]"))

#: Words that end a list of relations, as far as commas can follow
_ENDS_FROM = frozenset("where group order having limit union intersect except select".split())
#: Words that begin or end a list of relations
_CLAUSES = _ENDS_FROM | {"from", "table", "in", "join", "straight_join", "window"}
#: First words of a query in parentheses
_QUERIES = frozenset({"select", "values", "table"})
#: Functions with a FROM among their arguments
_WITH_FROM = frozenset("extract trim substring substr mid overlay position".split())

#: Common table expressions that one query may see; with more of them, all count as tables
MOST_EXPRESSIONS = 500

#: The names that are hidden where no common table expression is visible
_NONE: frozenset[str] = frozenset()


def names_and_calls(
    tokens: list[Token], words: list[str], vendor: str, definitions: Collection[int] = ()
) -> tuple[frozenset[str], frozenset[str]]:
    """Return every identifier and keyword, and the names that are called, all folded.

    ``definitions``: positions of names that stand before a parenthesis and are not called.
    """
    names, calls = set(words), set()
    for at, (kind, text) in enumerate(tokens):
        if kind is TokenKind.QUOTED:
            names.add(text.lower())
        elif kind is TokenKind.PUNCTUATION and text == "(" and at and at - 1 not in definitions:
            before, name = tokens[at - 1]
            # "a AS b (c)" names columns, "CAST(a AS b (1))" a type.
            if at > 1 and words[at - 2] == "as":
                continue
            if vendor == "mysql" and at > 2 and tokens[at - 2] == _DOT:
                # The function of a database, never a built-in one of that name.
                calls.add(f"{tokens[at - 3][1].lower()}.{name.lower()}")
            elif before is TokenKind.QUOTED:
                calls.add(name.lower())
            elif before is TokenKind.WORD and words[at - 1] not in vocabulary.KEYWORDS_BEFORE_PARENTHESIS_OF[vendor]:
                calls.add(words[at - 1])
        elif text == "." and vendor == "postgresql" and kind is TokenKind.PUNCTUATION and tokens[at - 1] in _VALUE_ENDS:
            # "(x).f" is f(x) where x has no such field.
            if at + 1 < len(tokens) and tokens[at + 1][0] in (TokenKind.WORD, TokenKind.QUOTED):
                calls.add(tokens[at + 1][1].lower())
    reserved = names & vocabulary.RESERVED
    if reserved:
        names -= reserved
        # Quoted, or behind a dot, they can be names all the same.
        names |= {
            text.lower()
            for at, (kind, text) in enumerate(tokens)
            if text.lower() in reserved and (kind is TokenKind.QUOTED or (at and tokens[at - 1] == _DOT))
        }
    names.discard("")
    return frozenset(names), frozenset(calls)


def find_columns(tokens: list[Token], words: list[str]) -> frozenset[Name]:
    """Return the folded identifiers that stand nowhere but behind AS, or behind another identifier and a dot.

    Each is returned with every identifier that stands before it, "" for AS. If none of these is a schema, it is the
    name of no relation.
    """
    found: set[Name] = set()
    others: set[str] = set()
    for at, (kind, text) in enumerate(tokens):
        if kind is not TokenKind.WORD and kind is not TokenKind.QUOTED:
            continue
        name = text.lower()
        follows_dot = at > 1 and tokens[at - 1] == _DOT
        # MySQL: "FROM .t" is "FROM t".
        if follows_dot and tokens[at - 2][0] in _IDENTIFIERS and words[at - 2] not in _CLAUSES:
            found.add((tokens[at - 2][1].lower(), name))
        elif at > 1 and words[at - 1] == "as" and tokens[at - 2] != _DOT:
            found.add(("", name))
        else:
            others.add(name)
    return frozenset(one for one in found if one[1] not in others)


def parse_name(tokens: list[Token], at: int) -> tuple[Name, int]:
    """Return the possibly qualified name that begins at ``at``, and the position of its last token."""
    parts = [_bare(tokens[at])]
    while at + 2 < len(tokens) and tokens[at + 1] == _DOT and is_name(tokens[at + 2]):
        at += 2
        parts.append(_bare(tokens[at]))
    return (parts[-2] if len(parts) > 1 else None, parts[-1]), at


def is_name(token: Token) -> bool:
    """Return whether a token can be a name where one is expected: for SQLite, a literal too."""
    return token[0] in (TokenKind.WORD, TokenKind.QUOTED, TokenKind.LITERAL)


def _bare(token: Token) -> str:
    kind, text = token
    return text[1:-1].replace("''", "'").lower() if kind is TokenKind.LITERAL else text.lower()


def literal_names(tokens: list[Token], vendor: str) -> frozenset[str]:
    """Return the folded names that literals may stand for: SQLite takes 'a' for "a" where a name is expected."""
    if vendor != "sqlite":
        return frozenset()
    return frozenset(_bare(token) for token in tokens if token[0] is TokenKind.LITERAL)


def match_parentheses(tokens: list[Token]) -> dict[int, int]:
    """Return the position of each opening parenthesis, with that of the one that closes it."""
    found: dict[int, int] = {}
    waiting = []
    for at, token in enumerate(tokens):
        if token == _OPEN:
            waiting.append(at)
        elif token == _CLOSE and waiting:
            found[waiting.pop()] = at
    return found


# Common table expressions -----------------------------------------------------------------------


class WithClause(NamedTuple):
    """A WITH clause, by the positions of its tokens."""

    #: where the parenthesis of each query opens → the common table expressions that the query sees
    queries: dict[int, frozenset[str]]
    #: the common table expressions that the statement behind the clause sees
    names: frozenset[str]
    #: positions of the names with a list of columns behind them
    definitions: list[int]
    #: where the statement behind the clause begins
    after: int


def parse_with(
    tokens: list[Token], words: list[str], at: int, vendor: str, ends: dict[int, int], around: frozenset[str] = _NONE
) -> WithClause | None:
    """Parse the WITH clause that begins at ``at``; return None if it is not understood.

    ``around``: the common table expressions that are visible around it.
    """
    at += 1
    recursive = words[at : at + 1] == ["recursive"] and words[at + 1 : at + 2] != ["as"]
    at += recursive
    expressions: list[tuple[str, int]] = []
    definitions = []
    while at + 2 < len(tokens):
        if tokens[at][0] not in (TokenKind.WORD, TokenKind.QUOTED):
            return None
        name = _own_name(tokens[at], vendor)
        at += 1
        if tokens[at] == _OPEN:
            definitions.append(at - 1)
            at = ends.get(at, len(tokens)) + 1
        if words[at : at + 1] != ["as"]:
            return None
        at += 1
        at += words[at : at + 1] == ["not"]
        at += words[at : at + 1] == ["materialized"]
        if at not in ends:
            return None
        expressions.append((name, at))
        if len(around) + len(expressions) > MOST_EXPRESSIONS:
            return None
        at = ends[at] + 1
        if words[at : at + 1] in (["search"], ["cycle"]):
            at = _skip_search(tokens, words, at)
        if tokens[at : at + 1] != [_COMMA]:
            return _visible_names(expressions, recursive, vendor, around, definitions, at)
        at += 1
    return None


def _visible_names(
    expressions: list[tuple[str, int]],
    recursive: bool,
    vendor: str,
    around: frozenset[str],
    definitions: list[int],
    after: int,
) -> WithClause:
    """Return the clause with the names that each query sees. One too few costs hits, one too many hides a table."""
    everything = around | {name for name, _ in expressions}
    queries = {}
    earlier = around
    for name, opens in expressions:
        if vendor == "sqlite" or (recursive and vendor == "postgresql"):
            queries[opens] = everything
        else:
            queries[opens] = earlier | {name} if recursive else earlier
        earlier |= {name}
    return WithClause(queries, everything, definitions, after)


def _skip_search(tokens: list[Token], words: list[str], at: int) -> int:
    """PostgreSQL: return where SEARCH … SET x and CYCLE … USING y end: at the next expression, or at the query."""
    while at < len(tokens) and words[at] not in ("select", "values", "table", "insert", "update", "delete", "merge"):
        if tokens[at] == _OPEN:
            break
        if tokens[at] == _COMMA and (words[at + 2 : at + 3] == ["as"] or tokens[at + 2 : at + 3] == [_OPEN]):
            break
        at += 1
    return at


def _own_name(token: Token, vendor: str) -> str:
    """Return a text that is equal for names that the database takes for the same, and for few others."""
    kind, text = token
    if vendor == "mysql" or (vendor == "postgresql" and kind is TokenKind.QUOTED):
        return text
    return fold(text)


# Sources ----------------------------------------------------------------------------------------


def find_sources(tokens: list[Token], words: list[str], vendor: str) -> tuple[frozenset[Name], list[int]]:
    """Find the relations that stand where a relation is read, other than common table expressions.

    Returns their names, and the positions at which common table expressions with a list of columns are defined. A
    relation that is missed here is still among the names of the statement; one that is found must be known to the
    catalog.
    """
    found: set[Name] = set()
    definitions: list[int] = []
    ends = match_parentheses(tokens) if "with" in words else {}
    queries: dict[int, frozenset[str]] = {}  # where a common table expression's query opens → the names it sees
    # The state around each open parenthesis. ``listing``: in a list of relations; ``argument``: FROM means something
    # else; ``hidden``: names that mean common table expressions; ``expecting``: a relation comes next.
    outer: list[tuple[bool, bool, frozenset[str]]] = []
    listing = argument = expecting = False
    hidden = _NONE
    at, end = 0, len(tokens)
    while at < end:
        kind, text = tokens[at]

        # Parentheses keep the state of what is around them
        if kind is TokenKind.PUNCTUATION:
            if text in ("(", "["):
                outer.append((listing, argument, hidden))
                begins = words[at + 1] if at + 1 < end else ""
                listing = expecting = expecting and text == "(" and begins not in _QUERIES
                argument = at > 0 and words[at - 1] in _WITH_FROM
                hidden = queries.get(at, hidden)
            elif text in (")", "]"):
                if outer:
                    listing, argument, hidden = outer.pop()
                expecting = False
            elif text == ",":
                expecting = listing
            at += 1
            continue

        # A WITH clause defines names that hide tables
        word = words[at]
        if word == "with" and (at == 0 or tokens[at - 1] == _OPEN):
            clause = parse_with(tokens, words, at, vendor, ends, hidden)
            if clause is not None:
                queries |= clause.queries
                definitions += clause.definitions
                hidden = clause.names
                listing = expecting = False
                at += 1
                continue

        # A relation, or a word that says where the next ones stand
        if expecting and (
            kind is TokenKind.WORD or kind is TokenKind.QUOTED or (kind is TokenKind.LITERAL and vendor == "sqlite")
        ):
            if not _is_before_relation(words, at, vendor):
                expecting = False
                name, last = parse_name(tokens, at)
                if not _is_other_name(tokens, words, at, last, vendor, hidden):
                    found.add(name)
                at = last
        elif word in _CLAUSES and not (at and (words[at - 1] == "as" or tokens[at - 1] == _DOT)):
            # Behind a dot it is a column, behind AS an alias.
            listing, expecting = _state_after_keyword(tokens, words, at, vendor, listing, expecting, argument)
        at += 1
    return frozenset(found), definitions


def _is_other_name(
    tokens: list[Token], words: list[str], at: int, last: int, vendor: str, hidden: frozenset[str]
) -> bool:
    """Return whether the name from ``at`` to ``last``, where a relation is expected, means something else.

    That is a function, a common table expression, or MySQL's DUAL.
    """
    if last + 1 < len(tokens) and tokens[last + 1] == _OPEN:
        return True
    if last == at and hidden and _own_name(tokens[at], vendor) in hidden:
        return True
    return words[at] == "dual" and vendor == "mysql"


def _state_after_keyword(
    tokens: list[Token], words: list[str], at: int, vendor: str, listing: bool, expecting: bool, argument: bool
) -> tuple[bool, bool]:
    """Return ``listing`` and ``expecting`` as they are behind the keyword at ``at``, one of :data:`_CLAUSES`.

    See :func:`find_sources`.
    """
    word = words[at]
    hint = at > 0 and words[at - 1] == "for"  # MySQL: USE INDEX FOR ORDER BY (i), b
    if word == "from":
        begins = not argument and not _is_comparison(words, at)
        return (True, True) if begins else (listing, expecting)
    if word == "table":
        return listing, True
    if word == "in":
        # SQLite: x IN a, for x IN (SELECT * FROM a)
        return listing, vendor == "sqlite" and at + 1 < len(tokens) and is_name(tokens[at + 1])
    if word == "join" or (word == "straight_join" and listing):
        return (listing, expecting) if hint else (True, True)
    if word == "window":
        ends = words[at + 2 : at + 3] == ["as"]
        return (False, False) if ends else (listing, expecting)
    if word in _ENDS_FROM and not hint:
        return False, False
    return listing, expecting


def _is_before_relation(words: list[str], at: int, vendor: str) -> bool:
    """Return whether the word at ``at`` stands between FROM and a relation: LATERAL, ONLY, ROWS FROM."""
    word = words[at]
    if word == "lateral":
        return vendor != "sqlite"
    if vendor != "postgresql":
        return False
    return word == "only" or (word == "rows" and words[at + 1 : at + 2] == ["from"])


def _is_comparison(words: list[str], at: int) -> bool:
    """Return whether a FROM is that of ``IS [NOT] DISTINCT FROM``."""
    return at > 1 and words[at - 1] == "distinct" and words[at - 2] in ("is", "not")
