"""Statements that make temporary objects, which only this session sees."""

from __future__ import annotations

from ormcache import reasons
from ormcache.sql.lexer import Token
from ormcache.sql.names import name_at
from ormcache.sql.statement import Effect, SessionChange, Statement


def creates_temporary(words: list[str]) -> bool:
    """CREATE [OR REPLACE] [LOCAL | GLOBAL] TEMP …: the word stands before the kind of object."""
    prefix = {"create", "or", "replace", "local", "global"}
    return next((word for word in words if word not in prefix), "") in ("temp", "temporary")


def created(tokens: list[Token], words: list[str]) -> str | None:
    """The name in CREATE TEMP TABLE [IF NOT EXISTS] name. Writing to a temporary view changes what is under it."""
    at = next((n for n, word in enumerate(words) if word == "table"), None)
    if at is None:
        return None
    at += 4 if words[at + 1 : at + 4] == ["if", "not", "exists"] else 1
    return name_at(tokens, at)[0][1] if at < len(tokens) else None


def temporary(table: str | None, digest: bytes, names: frozenset[str], calls: frozenset[str]) -> Statement:
    """``table``: None for anything else than a table."""
    return Statement(
        Effect.SESSION,
        digest,
        names,
        calls=calls,
        obstacle=reasons.TEMPORARY,
        session=SessionChange(None, None, followed=False, hides=table is None, reason=reasons.TEMPORARY),
        creates=table,
    )
