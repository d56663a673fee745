"""Statements that begin like a read: SELECT, WITH, VALUES, TABLE."""

from __future__ import annotations

import re

from ormcache import reasons
from ormcache.sql import vocabulary
from ormcache.sql.lexer import Kind, Token
from ormcache.sql.names import common_table_expressions, sources_of
from ormcache.sql.session import set_config
from ormcache.sql.statement import Effect, Statement
from ormcache.sql.vocabulary import WRITING_WORDS

# The clock in disguise: PostgreSQL reads these words as moments wherever a date is expected.
CLOCK_WORDS = re.compile(r"(?<![a-z])(?:now|today|tomorrow|yesterday)(?![a-z])", re.IGNORECASE)
LONGEST_DATE = 128  # characters; PostgreSQL's MAXDATELEN: a longer text is never a date


def reads_clock(text: str) -> bool:
    return len(text) <= LONGEST_DATE and CLOCK_WORDS.search(text) is not None


def read(
    tokens: list[Token], words: list[str], vendor: str, digest: bytes, names: frozenset[str], calls: frozenset[str]
) -> Statement:
    setting = set_config(tokens, words)
    if setting is not None and setting.followed:
        return Statement(Effect.SESSION, digest, names, calls=calls, obstacle=reasons.NOT_A_READ, session=setting)
    replaces = any(word == "replace" and words[at + 1 : at + 2] == ["into"] for at, word in enumerate(words))
    if "into" in words and not replaces and not WRITING_WORDS & set(words):
        # A new table (PostgreSQL), a file or a variable (MySQL)
        return Statement(Effect.OPAQUE, digest, names, calls=calls, obstacle=reasons.NOT_A_READ)
    locking = _locks(words)
    if replaces or any(word in WRITING_WORDS and not locked for word, locked in zip(words, locking, strict=True)):
        # A writing WITH; a column that is called so only costs hits.
        return Statement(Effect.WRITE, digest, names, calls=calls, obstacle=reasons.NOT_A_READ)
    ctes = common_table_expressions(tokens, words) if "with" in words else frozenset()
    calls -= ctes  # "WITH c (a, b) AS" calls nothing
    sources = sources_of(tokens, words, ctes)
    obstacle = reasons.LOCKING if any(locking) else _obstacle(tokens, words, vendor, calls)
    return Statement(Effect.READ, digest, names, sources, calls=calls, obstacle=obstacle)


def _locks(words: list[str]) -> list[bool]:
    """Which words belong to FOR UPDATE, FOR NO KEY UPDATE, FOR [KEY] SHARE or LOCK IN SHARE MODE."""
    found = [False] * len(words)
    for at, word in enumerate(words):
        before = words[max(at - 3, 0) : at]
        if (
            (word in ("update", "share") and (before[-1:] == ["for"] or before[-2:] == ["for", "key"]))
            or (word == "update" and before == ["for", "no", "key"])
            or (word == "share" and before[-1:] == ["in"])
        ):
            found[at] = True
    return found


def _obstacle(tokens: list[Token], words: list[str], vendor: str, calls: frozenset[str]) -> str | None:
    for at, (kind, text) in enumerate(tokens):
        if kind is Kind.VARIABLE:
            return reasons.SESSION_FUNCTION
        if kind is Kind.WORD and words[at] in vocabulary.BARE_CALLS and not _qualified(tokens, at):
            return vocabulary.BARE_CALLS[words[at]]
        if kind is Kind.LITERAL and vendor == "postgresql":
            escaped = text[0] in "eE" and "\\" in text  # could spell anything
            if escaped or reads_clock(text):
                return reasons.CLOCK
    for name in sorted(calls - vocabulary.REPEATABLE[vendor]):
        return vocabulary.UNREPEATABLE.get(name, reasons.FUNCTION)
    return None


def _qualified(tokens: list[Token], at: int) -> bool:
    return at > 0 and tokens[at - 1][1] == "."
