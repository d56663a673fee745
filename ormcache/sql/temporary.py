"""Analyses statements that create temporary objects, which only their session sees."""

from __future__ import annotations

from ormcache import reasons
from ormcache.sql.lexer import Token
from ormcache.sql.names import parse_name
from ormcache.sql.statement import Effect, SessionChange, Statement


def is_temporary(words: list[str]) -> bool:
    """Return whether a statement is ``CREATE [OR REPLACE] [LOCAL | GLOBAL] TEMP …``."""
    prefix = {"create", "or", "replace", "local", "global"}
    return next((word for word in words if word not in prefix), "") in ("temp", "temporary")


def created_table(tokens: list[Token], words: list[str]) -> str | None:
    """Return the name in ``CREATE TEMP TABLE [IF NOT EXISTS] name``; None for anything else than a table.

    (A write to a temporary view changes the relations below it.)
    """
    at = next((n for n, word in enumerate(words) if word == "table"), None)
    if at is None:
        return None
    at += 4 if words[at + 1 : at + 4] == ["if", "not", "exists"] else 1
    return parse_name(tokens, at)[0][1] if at < len(tokens) else None


def is_dropped_on_commit(words: list[str]) -> bool:
    """Return whether a statement that creates a temporary table says ON COMMIT DROP."""
    return ("on", "commit", "drop") in zip(words, words[1:], words[2:], strict=False)


def temporary_statement(
    table: str | None,
    digest: bytes,
    names: frozenset[str],
    calls: frozenset[str],
    *,
    drops_on_commit: bool = False,
) -> Statement:
    """Return the statement that creates a temporary table of this name; None: something else that is temporary."""
    return Statement(
        Effect.SESSION,
        digest,
        names,
        calls=calls,
        bypass_reason=reasons.TEMPORARY,
        session=SessionChange(None, None, is_tracked=False, makes_opaque=table is None, reason=reasons.TEMPORARY),
        temporary_table=table,
        drops_on_commit=drops_on_commit,
    )
