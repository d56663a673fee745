"""Statements that change rows, and which relations they change by their own words."""

from __future__ import annotations

from ormcache import reasons
from ormcache.sql.lexer import Kind, Token
from ormcache.sql.names import closings, is_name, literal_names, name_at, names_and_calls, with_clause
from ormcache.sql.search_path import LONGEST_NAME
from ormcache.sql.statement import Effect, Name, Statement
from ormcache.sql.vocabulary import WRITING_WORDS

_OPEN, _COMMA, _DOT = (Kind.PUNCTUATION, "("), (Kind.PUNCTUATION, ","), (Kind.PUNCTUATION, ".")

#: What can stand between MySQL's first word and INTO, FROM or the relation; elsewhere they are names
_MODIFIERS = frozenset("low_priority delayed high_priority ignore quick".split())
#: Words before UPDATE, INSERT and DELETE where they continue a statement: ON CONFLICT DO UPDATE, ON DUPLICATE KEY
#: UPDATE, WHEN MATCHED THEN DELETE, FOR UPDATE, FOR NO KEY UPDATE
_CONTINUED = frozenset({"do", "key", "then", "for"})


#: What follows a relation that has no alias
_BEHIND_RELATION = (["inner"], ["left"], ["right"], ["cross"], ["natural"], ["join"], ["straight_join"], ["where"])


def write(tokens: list[Token], words: list[str], first: str, vendor: str, digest: bytes) -> Statement:
    """``first``: the word that says what it does; in a text with a WITH clause the clause's own."""
    if first == "copy":
        # COPY a TO, COPY (SELECT …) TO, COPY (DELETE … RETURNING …) TO
        reads = tokens[1:2] == [_OPEN] or "from" not in words
        if reads and WRITING_WORDS.isdisjoint(words):
            names, calls = names_and_calls(tokens, words, vendor)
            return Statement(Effect.HARMLESS, digest, names, calls=calls, obstacle=reasons.NOT_A_READ)
    found = _targets(tokens, words, first, vendor)
    # "INSERT INTO t (a, b)" calls nothing.
    names, calls = names_and_calls(tokens, words, vendor, () if found is None else found.values())
    if found is None:
        names |= {_as_cut(name) for name in names} | literal_names(tokens, vendor)
    else:
        names |= {name for _, name in found}
    return Statement(
        Effect.WRITE,
        digest,
        names,
        targets=None if found is None else frozenset(found),
        calls=calls,
        obstacle=reasons.NOT_A_READ,
        cascades=first == "truncate" and "cascade" in words,
    )


def _as_cut(name: str) -> str:
    """PostgreSQL takes a longer name for what it begins with."""
    return name.encode("utf-8", "surrogatepass")[:LONGEST_NAME].decode("utf-8", "ignore")


def writing_words(tokens: list[Token], words: list[str]) -> list[int]:
    """Where words stand that begin a write: at least those; a column may be called so."""
    found = []
    for at, word in enumerate(words):
        if word in WRITING_WORDS or word == "replace":
            before = words[at - 1] if at else ""
            if word == "replace" and at and (before == "or" or words[at + 1 : at + 2] != ["into"]):
                continue  # INSERT OR REPLACE; the function
            if word == "insert" and tokens[at + 1 : at + 2] == [_OPEN]:
                continue  # MySQL: the function; WHEN NOT MATCHED THEN INSERT (a, b)
            if before in _CONTINUED or (at and tokens[at - 1] == _DOT):
                continue
            found.append(at)
    return found


def _targets(tokens: list[Token], words: list[str], first: str, vendor: str) -> dict[Name, int] | None:
    """The relations that are written, and where each is named; None: any of the names.

    MySQL's UPDATE and DELETE of several tables are left at that: what they change they may name by aliases.
    """
    if first == "truncate":
        return _listed(tokens, words, 2 if words[1:2] == ["table"] else 1, vendor)
    if first == "refresh":
        at = 3 if words[1:3] == ["materialized", "view"] else 1
        return _one(tokens, at + (words[at : at + 1] == ["concurrently"]))
    if first == "load":
        at = next((n for n in range(len(words) - 1) if words[n : n + 2] == ["into", "table"]), len(words))
        return _one(tokens, at + 2)
    if first == "copy" and tokens[1:2] != [_OPEN]:
        return _one(tokens, 2 if words[1:2] == ["binary"] else 1)
    starts = {0}
    if words[0] == "with":
        clause = with_clause(tokens, words, 0, vendor, closings(tokens))
        if clause is None:
            return None
        starts = {clause.after}
    writing = writing_words(tokens, words)
    if len(writing) > 1 and vendor != "postgresql":
        return None  # only PostgreSQL has writing expressions
    found: dict[Name, int] = {}
    for at in writing:
        if at not in starts and not (at and tokens[at - 1] == _OPEN):
            return None  # a column, perhaps
        target = _target(tokens, words, at, vendor)
        if target is None:
            return None
        found.update(target)
    return found or None


def _target(tokens: list[Token], words: list[str], at: int, vendor: str) -> dict[Name, int] | None:
    """What INSERT, REPLACE, UPDATE, DELETE or MERGE at this place changes."""
    first = words[at]
    at += 1
    if vendor == "sqlite" and words[at : at + 1] == ["or"]:
        at += 2
    while vendor == "mysql" and at < len(words) and words[at] in _MODIFIERS:
        at += 1
    between = "from" if first == "delete" else "into"
    if words[at : at + 1] == [between]:
        at += 1
    elif first == "delete":
        return _joined(tokens, words, at)
    if vendor == "postgresql" and words[at : at + 1] == ["only"]:
        at += 1
        at += tokens[at : at + 1] == [_OPEN]
    found = _one(tokens, at)
    if found and first in ("update", "delete") and vendor == "mysql":
        ((_, last),) = found.items()
        return found if _single_table(tokens, words, last + 1) else None
    return found


def _one(tokens: list[Token], at: int) -> dict[Name, int] | None:
    if at >= len(tokens) or not is_name(tokens[at]):
        return None
    name, last = name_at(tokens, at)
    return {name: last}


def _joined(tokens: list[Token], words: list[str], at: int) -> dict[Name, int] | None:
    """MySQL's DELETE a FROM a JOIN …, as Django writes it. Any other name before FROM can be an alias."""
    found = _one(tokens, at)
    if found is None:
        return None
    ((_, last),) = found.items()
    again, after = last + 2, 2 * last + 3 - at
    if words[last + 1 : again] != ["from"] or tokens[again:after] != tokens[at : last + 1]:
        return None
    plain = words[after : after + 1] in _BEHIND_RELATION or tokens[after : after + 1] in ([], [_COMMA])
    return found if plain else None


def _listed(tokens: list[Token], words: list[str], at: int, vendor: str) -> dict[Name, int] | None:
    """TRUNCATE a, ONLY b, c *"""
    found: dict[Name, int] = {}
    while True:
        if words[at : at + 1] == ["only"] and vendor == "postgresql":
            at += 1
            at += tokens[at : at + 1] == [_OPEN]
        one = _one(tokens, at)
        if one is None:
            return None
        found.update(one)
        at = max(one.values()) + 1
        while at < len(tokens) and tokens[at][1] in ("*", ")"):
            at += 1
        if tokens[at : at + 1] != [_COMMA]:
            return found
        at += 1


def _single_table(tokens: list[Token], words: list[str], at: int) -> bool:
    """MySQL: no further relation joins in before SET, WHERE or the end."""
    for word, (kind, text) in zip(words[at:], tokens[at:], strict=True):
        if word in ("set", "where", "order", "limit", "returning"):
            return True
        if word in ("join", "using", "from", "straight_join") or (kind is Kind.PUNCTUATION and text == ","):
            return False
    return True
