"""Where names stand in a text: relations that are read, functions that are called, tables of the text's own."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from ormcache.sql import vocabulary
from ormcache.sql.lexer import Kind, Token
from ormcache.sql.search_path import fold
from ormcache.sql.statement import Name

_OPEN, _CLOSE = (Kind.PUNCTUATION, "("), (Kind.PUNCTUATION, ")")
_COMMA, _DOT = (Kind.PUNCTUATION, ","), (Kind.PUNCTUATION, ".")

#: What ends a list of relations, as far as commas can come behind it
_ENDS_FROM = frozenset("where group order having limit union intersect except select".split())
#: Words that matter where relations are listed
_CLAUSES = _ENDS_FROM | {"from", "table", "in", "join", "straight_join", "window"}
#: What a query in parentheses begins with
_QUERIES = frozenset({"select", "values", "table"})
#: Functions with a FROM among their arguments
_WITH_FROM = frozenset("extract trim substring substr mid overlay position".split())

#: Common table expressions that one query may see; with more of them none is told from a table
MOST_EXPRESSIONS = 500

#: Where no name hides another one
_NONE: frozenset[str] = frozenset()


def names_and_calls(
    tokens: list[Token], words: list[str], vendor: str, definitions: Collection[int] = ()
) -> tuple[frozenset[str], frozenset[str]]:
    """Every identifier, and those that are called; ``definitions``: where one before a parenthesis is not."""
    names, calls = set(words), set()
    for at, (kind, text) in enumerate(tokens):
        if kind is Kind.QUOTED:
            names.add(text.lower())
        elif kind is Kind.PUNCTUATION and text == "(" and at and at - 1 not in definitions:
            before, name = tokens[at - 1]
            # "a AS b (c)" names columns, "CAST(a AS b (1))" a type.
            if at > 1 and words[at - 2] == "as":
                continue
            if vendor == "mysql" and at > 2 and tokens[at - 2] == _DOT:
                # The function of a database, never a built-in one of that name.
                calls.add(f"{tokens[at - 3][1].lower()}.{name.lower()}")
            elif before is Kind.QUOTED:
                calls.add(name.lower())
            elif before is Kind.WORD and words[at - 1] not in vocabulary.NOT_CALLED[vendor]:
                calls.add(words[at - 1])
    reserved = names & vocabulary.RESERVED
    if reserved:
        names -= reserved
        # Quoted, or behind a dot, they can be names all the same.
        names |= {
            text.lower()
            for at, (kind, text) in enumerate(tokens)
            if text.lower() in reserved and (kind is Kind.QUOTED or (at and tokens[at - 1] == _DOT))
        }
    names.discard("")
    return frozenset(names), frozenset(calls)


def name_at(tokens: list[Token], at: int) -> tuple[Name, int]:
    """The possibly qualified name that begins at ``at``, and where its last token is."""
    parts = [_bare(tokens[at])]
    while at + 2 < len(tokens) and tokens[at + 1] == _DOT and is_name(tokens[at + 2]):
        at += 2
        parts.append(_bare(tokens[at]))
    return (parts[-2] if len(parts) > 1 else None, parts[-1]), at


def is_name(token: Token) -> bool:
    """Can it be a name where one is expected? SQLite takes texts for names there."""
    return token[0] in (Kind.WORD, Kind.QUOTED, Kind.LITERAL)


def _bare(token: Token) -> str:
    kind, text = token
    return text[1:-1].replace("''", "'").lower() if kind is Kind.LITERAL else text.lower()


def literal_names(tokens: list[Token], vendor: str) -> frozenset[str]:
    """What the texts in quotes name where a relation stands there: SQLite takes 'a' for "a", folded."""
    if vendor != "sqlite":
        return frozenset()
    return frozenset(_bare(token) for token in tokens if token[0] is Kind.LITERAL)


def closings(tokens: list[Token]) -> dict[int, int]:
    """Where each parenthesis that opens is closed."""
    found: dict[int, int] = {}
    waiting = []
    for at, token in enumerate(tokens):
        if token == _OPEN:
            waiting.append(at)
        elif token == _CLOSE and waiting:
            found[waiting.pop()] = at
    return found


# Common table expressions -----------------------------------------------------------------------


class With(NamedTuple):
    """A WITH clause."""

    queries: dict[int, frozenset[str]]  # where the parenthesis of each query opens → the names that it sees
    names: frozenset[str]  # that what follows the clause sees
    definitions: list[int]  # where the names stand that have a list of columns behind them
    after: int  # where the clause has ended


def with_clause(
    tokens: list[Token], words: list[str], at: int, vendor: str, ends: dict[int, int], around: frozenset[str] = _NONE
) -> With | None:
    """The clause that begins at ``at``, or None where it is none that is understood.

    ``around``: the names of clauses around it.
    """
    at += 1
    recursive = words[at : at + 1] == ["recursive"] and words[at + 1 : at + 2] != ["as"]
    at += recursive
    expressions: list[tuple[str, int]] = []
    definitions = []
    while at + 2 < len(tokens):
        if tokens[at][0] not in (Kind.WORD, Kind.QUOTED):
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
            at = _after_search(tokens, words, at)
        if tokens[at : at + 1] != [_COMMA]:
            return _seen(expressions, recursive, vendor, around, definitions, at)
        at += 1
    return None


def _seen(
    expressions: list[tuple[str, int]],
    recursive: bool,
    vendor: str,
    around: frozenset[str],
    definitions: list[int],
    after: int,
) -> With:
    """Which of the names each of the queries sees. One too few costs hits, one too many hides a table."""
    everything = around | {name for name, _ in expressions}
    queries = {}
    earlier = around
    for name, opens in expressions:
        if vendor == "sqlite" or (recursive and vendor == "postgresql"):
            queries[opens] = everything
        else:
            queries[opens] = earlier | {name} if recursive else earlier
        earlier |= {name}
    return With(queries, everything, definitions, after)


def _after_search(tokens: list[Token], words: list[str], at: int) -> int:
    """PostgreSQL's SEARCH … SET x CYCLE … USING y end where the next expression or the query itself begins."""
    while at < len(tokens) and words[at] not in ("select", "values", "table", "insert", "update", "delete", "merge"):
        if tokens[at] == _OPEN:
            break
        if tokens[at] == _COMMA and (words[at + 2 : at + 3] == ["as"] or tokens[at + 2 : at + 3] == [_OPEN]):
            break
        at += 1
    return at


def _own_name(token: Token, vendor: str) -> str:
    """Equal for names that the database takes for one, and for as few others as may be."""
    kind, text = token
    if vendor == "mysql" or (vendor == "postgresql" and kind is Kind.QUOTED):
        return text
    return fold(text)


# Sources ----------------------------------------------------------------------------------------


def sources_of(tokens: list[Token], words: list[str], vendor: str) -> tuple[frozenset[Name], list[int]]:
    """What stands where a relation is read and is no table of this text's own, and where those are defined.

    A relation that is missed would still be among the names; being found here, it must be known to the catalog.
    """
    found: set[Name] = set()
    definitions: list[int] = []
    ends = closings(tokens) if "with" in words else {}
    queries: dict[int, frozenset[str]] = {}  # where a common table expression's query opens → the names it sees
    # Of each open parenthesis, and of the text itself: are we in a list of relations, does FROM stand for something
    # else, which names hide tables? Does a relation come next?
    outer: list[tuple[bool, bool, frozenset[str]]] = []
    listing = argument = expecting = False
    hidden = _NONE
    at, end = 0, len(tokens)
    while at < end:
        kind, text = tokens[at]
        if kind is Kind.PUNCTUATION:
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
        word = words[at]
        if word == "with" and (at == 0 or tokens[at - 1] == _OPEN):
            clause = with_clause(tokens, words, at, vendor, ends, hidden)
            if clause is not None:
                queries |= clause.queries
                definitions += clause.definitions
                hidden = clause.names
                listing = expecting = False
                at += 1
                continue
        if expecting and (kind is Kind.WORD or kind is Kind.QUOTED or (kind is Kind.LITERAL and vendor == "sqlite")):
            if not _is_before_relation(words, at, vendor):
                expecting = False
                name, last = name_at(tokens, at)
                hides = last == at and bool(hidden) and _own_name(tokens[at], vendor) in hidden
                called = last + 1 < end and tokens[last + 1] == _OPEN
                if not called and not hides and not (word == "dual" and vendor == "mysql"):
                    found.add(name)
                at = last
        elif word in _CLAUSES and not (at and (words[at - 1] == "as" or tokens[at - 1] == _DOT)):
            # Behind a dot it is a column, behind AS an alias.
            hint = at > 0 and words[at - 1] == "for"  # MySQL: USE INDEX FOR ORDER BY (i), b
            if word == "from":
                if not argument and not _is_comparison(words, at):
                    listing = expecting = True
            elif word == "table":
                expecting = True
            elif word == "in":
                # SQLite: x IN a, for x IN (SELECT * FROM a)
                expecting = vendor == "sqlite" and at + 1 < end and is_name(tokens[at + 1])
            elif word == "join" or (word == "straight_join" and listing):
                if not hint:
                    listing = expecting = True
            elif word == "window":
                if words[at + 2 : at + 3] == ["as"]:
                    listing = expecting = False
            elif word in _ENDS_FROM and not hint:
                listing = expecting = False
        at += 1
    return frozenset(found), definitions


def _is_before_relation(words: list[str], at: int, vendor: str) -> bool:
    """Is it a word that stands between FROM and a relation?"""
    word = words[at]
    if word == "lateral":
        return vendor != "sqlite"
    if vendor != "postgresql":
        return False
    return word == "only" or (word == "rows" and words[at + 1 : at + 2] == ["from"])


def _is_comparison(words: list[str], at: int) -> bool:
    """The FROM of IS [NOT] DISTINCT FROM"""
    return at > 1 and words[at - 1] == "distinct" and words[at - 2] in ("is", "not")
