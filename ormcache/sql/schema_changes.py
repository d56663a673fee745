"""PostgreSQL's schema changes that concern some relations and nothing else, by their words.

Most schema changes can change anything: what a name means, what a function returns, what a write sets off. Those that
stand here cannot. They make, change or drop tables and indexes, and set off nothing that the catalog did not say
before: no trigger, rule or policy comes or goes, no table becomes part of another one, no view changes, and no relation
gets the name of another one. For whatever is not listed there is no :class:`SchemaChange`, and it counts as a change of
everything.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from ormcache.sql.lexer import Token, TokenKind
from ormcache.sql.names import is_name, parse_name
from ormcache.sql.statement import Name, SchemaChange

NO_SCHEMA_CHANGE = SchemaChange()

_OPEN, _CLOSE = (TokenKind.PUNCTUATION, "("), (TokenKind.PUNCTUATION, ")")
_COMMA = (TokenKind.PUNCTUATION, ",")

#: Words of ALTER TABLE that do more than to change the table itself, or run a query
_BEYOND_TABLE = frozenset("inherit partition of owner rule trigger row schema select values execute table".split())
#: Kinds of objects whose grants decide which statements fail, and not which rows one sees. A right on a schema decides
#: what names mean, and being in a role which policies apply.
_GRANTED = frozenset("table sequence function procedure routine type domain all".split())


def schema_change(tokens: list[Token], words: list[str]) -> SchemaChange | None:
    """Return what a statement of PostgreSQL's that changes the schema is confined to; None: it could be anything."""
    change = _confined_change(tokens, words)
    if change is not None and any(kind is TokenKind.QUOTED and text != text.lower() for kind, text in tokens):
        return replace(change, is_mixed_case=True)
    return change


def _confined_change(tokens: list[Token], words: list[str]) -> SchemaChange | None:
    match words[:2]:
        case ["comment", "on"]:
            return NO_SCHEMA_CHANGE  # no result has comments but those of the system catalogs, which are not cached
        case ["grant" | "revoke", _]:
            return _rights(tokens, words)
        case ["alter", "sequence"]:
            # Sequences are never read from the cache. By another name one could hide a table.
            return None if {"rename", "schema", "owner"} & set(words) else NO_SCHEMA_CHANGE
        case ["drop", "index"]:
            return None if "cascade" in words else NO_SCHEMA_CHANGE  # foreign keys would go with it
        case ["drop", "schema"]:
            return _dropped_schemas(tokens, words)
        case ["drop", "table"]:
            return _dropped_tables(tokens, words)
        case ["alter", "table"]:
            return _altered_table(tokens, words)
        case ["create", "schema"]:
            return _created_schema(tokens, words)
        case ["create", "table"]:
            return _created_table(tokens, words, 2)
        case ["create", "unlogged"] if words[2:3] == ["table"]:
            return _created_table(tokens, words, 3)
        case ["create", "index" | "unique"]:
            return _created_index(tokens, words)
    return None


#: Kinds of objects → the SQLSTATE of the notice that there is one of that name already
_SKIP_STATES = {"table": "42P07", "index": "42P07", "schema": "42P06", "extension": "42710"}


def skip_state(words: list[str]) -> str | None:
    """Return the SQLSTATE of the notice by which PostgreSQL says that IF NOT EXISTS has made this do nothing.

    None: it has no IF NOT EXISTS, or is of another kind.
    https://www.postgresql.org/docs/current/errcodes-appendix.html
    """
    at = 2 if words[1:2] in (["unlogged"], ["unique"]) else 1
    if words[0] != "create" or words[at + 1 : at + 4] != ["if", "not", "exists"]:
        return None
    return _SKIP_STATES.get(words[at])


def _rights(tokens: list[Token], words: list[str]) -> SchemaChange | None:
    if "on" not in words:
        return None  # a role is granted to a role
    at = words.index("on") + 1
    kind = words[at] if at < len(words) else ""
    end = "to" if words[0] == "grant" else "from"
    if words[0] == "grant":
        # An object whose name is one of these words would have a kind before it, or be a table all the same.
        return NO_SCHEMA_CHANGE if kind in _GRANTED or kind not in _OTHER_KINDS else None
    if kind == "table":
        at += 1
    elif kind in _GRANTED | _OTHER_KINDS:
        return None
    names = _names(tokens, words, at, {end})
    return None if names is None else SchemaChange(revoked=names)


#: What else rights can be granted on
_OTHER_KINDS = frozenset("schema database foreign language large parameter tablespace".split())


def _dropped_tables(tokens: list[Token], words: list[str]) -> SchemaChange | None:
    at = 4 if words[2:4] == ["if", "exists"] else 2
    names = _names(tokens, words, at, {"cascade", "restrict"})
    return None if names is None else SchemaChange(altered=names, drops=True)


def _dropped_schemas(tokens: list[Token], words: list[str]) -> SchemaChange | None:
    at = 4 if words[2:4] == ["if", "exists"] else 2
    names = _names(tokens, words, at, {"cascade", "restrict"})
    if names is None or any(qualifier is not None for qualifier, _ in names):
        return None
    return SchemaChange(dropped_schemas=frozenset(name for _, name in names), drops=True)


def _altered_table(tokens: list[Token], words: list[str]) -> SchemaChange | None:
    at = 4 if words[2:4] == ["if", "exists"] else 2
    at += words[at : at + 1] == ["only"]
    if at >= len(tokens) or not is_name(tokens[at]):
        return None
    name, last = parse_name(tokens, at)
    rest = words[last + 1 :]
    if not _BEYOND_TABLE.isdisjoint(rest) or _links(rest) or ("rename", "to") in pairwise(rest):
        return None
    return SchemaChange(altered=frozenset({name}))


def _created_schema(tokens: list[Token], words: list[str]) -> SchemaChange | None:
    at = 5 if words[2:5] == ["if", "not", "exists"] else 2
    if at >= len(tokens) or not is_name(tokens[at]) or words[at] == "authorization":
        return None
    (database, name), last = parse_name(tokens, at)
    rest = words[last + 1 :]
    if database is not None or not (rest == [] or (len(rest) == 2 and rest[0] == "authorization")):
        return None  # with what it is to hold
    return SchemaChange(schema=name)


def _created_table(tokens: list[Token], words: list[str], at: int) -> SchemaChange | None:
    at += 3 if words[at : at + 3] == ["if", "not", "exists"] else 0
    if at >= len(tokens) or not is_name(tokens[at]):
        return None
    name, last = parse_name(tokens, at)
    if tokens[last + 1 : last + 2] != [_OPEN] or _links(words[last + 1 :]):
        return None  # OF type, PARTITION OF, AS query
    depth = 0
    for token, word, before in zip(tokens[last + 1 :], words[last + 1 :], tokens[last:], strict=False):
        depth += (token == _OPEN) - (token == _CLOSE)
        if depth == 0 and word in ("inherits", "partition", "as"):
            return None
        if word == "like" and before in (_OPEN, _COMMA):
            return None  # with defaults that it does not name
    return SchemaChange(table=name)


def _created_index(tokens: list[Token], words: list[str]) -> SchemaChange | None:
    if "on" not in words or (words[1] == "unique" and words[2:3] != ["index"]):
        return None
    at = words.index("on") + 1
    at += words[at : at + 1] == ["only"]
    if at >= len(tokens) or not is_name(tokens[at]):
        return None
    return SchemaChange(altered=frozenset({parse_name(tokens, at)[0]}))


def _links(words: list[str]) -> bool:
    """Does a foreign key do something to the rows that refer by it?"""
    return any(pair in (("on", "delete"), ("on", "update")) for pair in pairwise(words))


def _names(tokens: list[Token], words: list[str], at: int, ends: set[str]) -> frozenset[Name] | None:
    """The names of a list that goes on to one of these words, or to the end; None: it is no such list."""
    found = set()
    while at < len(tokens) and is_name(tokens[at]):
        name, last = parse_name(tokens, at)
        found.add(name)
        at = last + 1
        if at == len(tokens) or words[at] in ends:
            return frozenset(found)
        if tokens[at] != _COMMA:
            return None
        at += 1
    return None
