"""Statements that change rows, and which relation each of the common shapes changes."""

from __future__ import annotations

from ormcache import reasons
from ormcache.sql.lexer import Kind, Token
from ormcache.sql.names import name_at
from ormcache.sql.statement import Effect, Name, Statement
from ormcache.sql.vocabulary import WRITING_WORDS

_INSERT_WORDS = frozenset("into low_priority delayed high_priority ignore or".split())
_UPDATE_WORDS = frozenset("only low_priority ignore or".split())
_DELETE_WORDS = frozenset("from only low_priority quick ignore".split())


def write(
    tokens: list[Token],
    words: list[str],
    first: str,
    vendor: str,
    digest: bytes,
    names: frozenset[str],
    calls: frozenset[str],
) -> Statement:
    if first == "copy" and (tokens[1:2] == [(Kind.PUNCTUATION, "(")] or "from" not in words):
        effect = Effect.HARMLESS if WRITING_WORDS.isdisjoint(words) else Effect.OPAQUE
        return Statement(effect, digest, names, calls=calls, obstacle=reasons.NOT_A_READ)
    targets = _target(tokens, words, first, vendor)
    if targets is not None:
        # "INSERT INTO t (a, b)" calls nothing.
        calls = calls - {name for _, name in targets}
    return Statement(
        Effect.WRITE,
        digest,
        names,
        targets=targets,
        calls=calls,
        obstacle=reasons.NOT_A_READ,
        cascades=first == "truncate" and "cascade" in words,
    )


def _target(tokens: list[Token], words: list[str], first: str, vendor: str) -> frozenset[Name] | None:
    """The one relation that a write of a common shape changes; None for any other shape."""
    at = 1
    allowed = 1
    if first == "insert" or (first == "replace" and vendor != "postgresql"):
        while words[at : at + 1] and words[at] in _INSERT_WORDS:
            at += 2 if words[at] == "or" else 1
        allowed = 1 if first == "insert" else 0
        # INSERT … ON CONFLICT DO UPDATE, ON DUPLICATE KEY UPDATE
        allowed += sum(words[n - 1] in ("do", "key") for n, word in enumerate(words) if word == "update" and n)
        # SQLite: INSERT OR REPLACE and REPLACE delete the rows in the way, which is the same relation.
    elif first == "update":
        while words[at : at + 1] and words[at] in _UPDATE_WORDS:
            at += 2 if words[at] == "or" else 1
    elif first == "delete":
        while words[at : at + 1] and words[at] in _DELETE_WORDS:
            at += 1
        if words[at - 1] != "from":
            return None
    else:
        return None
    if sum(word in WRITING_WORDS for word in words) > allowed:
        return None
    if at >= len(tokens) or tokens[at][0] not in (Kind.WORD, Kind.QUOTED):
        return None
    name, at = name_at(tokens, at)
    if first in ("update", "delete") and vendor == "mysql" and not _single_table(tokens, words, at + 1):
        return None
    return frozenset({name})


def _single_table(tokens: list[Token], words: list[str], at: int) -> bool:
    """MySQL: no further relation joins in before SET, WHERE or the end."""
    for word, (kind, text) in zip(words[at:], tokens[at:], strict=True):
        if word in ("set", "where", "order", "limit", "returning"):
            return True
        if word in ("join", "using", "from", "straight_join") or (kind is Kind.PUNCTUATION and text == ","):
            return False
    return True
