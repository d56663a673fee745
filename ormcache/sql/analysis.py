"""What one text of SQL is, judged from the text alone: its kind, the names in it and the functions that it calls.

Names are folded to lower case whatever their quotes say: two relations whose names differ in case alone are then taken
for one, which costs hits and never a row. What the database adds (which names are relations, what a view or
a trigger reaches, what a function does) is for :mod:`ormcache.catalog`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ormcache import reasons
from ormcache.sql.lexer import Kind, Token, lex
from ormcache.sql.names import name_at, names_and_calls
from ormcache.sql.reading import read
from ormcache.sql.session import pragma, session, set_config, transaction
from ormcache.sql.statement import Effect, SessionChange, Statement
from ormcache.sql.vocabulary import WRITING_WORDS
from ormcache.sql.writing import write

_FIRST_WORDS = {
    Effect.SCHEMA: "create alter drop comment rename grant revoke reassign security import",
    Effect.HARMLESS: """
        analyze vacuum reindex cluster checkpoint listen unlisten notify show describe desc lock unlock kill optimize
        repair fetch move close prepare deallocate help check checksum binlog purge
    """,
    Effect.TRANSACTION: "begin start commit end rollback abort savepoint release xa",
    Effect.SESSION: "set reset discard use attach detach",
    Effect.WRITE: "insert update delete merge replace truncate copy refresh",
    Effect.READ: "select with values table",
}
_EFFECTS = {word: effect for effect, words in _FIRST_WORDS.items() for word in words.split()}

#: Words of statements that change something when EXPLAIN ANALYZE runs them
_RUNNING_WORDS = WRITING_WORDS | {"execute", "replace", "call", "create", "refresh"}

#: First words of statements that commit implicitly, https://dev.mysql.com/doc/refman/8.0/en/implicit-commit.html
_COMMITTING_WORDS = frozenset(
    """
    alter analyze begin cache change check create drop flush grant install load lock optimize rename repair reset revoke
    set start stop truncate uninstall unlock
    """.split()
)


def analyse(text: str, vendor: str) -> Statement:
    """What ``text`` is by the rules of ``vendor`` (one of :data:`ormcache.sql.lexer.VENDORS`). Never raises."""
    tokens = lex(text, vendor)
    if tokens is None:
        return Statement(Effect.OPAQUE, _digest_of_text(text), obstacle=reasons.NOT_UNDERSTOOD)
    digest = digest_of(tokens)
    statements = [_analyse_one(part, vendor, digest) for part in _split(tokens)]
    if vendor == "mysql" and any(part[0][1].lower() in _COMMITTING_WORDS for part in _split(tokens)):
        statements = [replace(statement, commits=True) for statement in statements]
    if not statements:
        return Statement(Effect.HARMLESS, digest, obstacle=reasons.NOT_A_READ)
    return statements[0] if len(statements) == 1 else _together(statements, vendor, digest)


def names_in(code: str, vendor: str) -> frozenset[str] | None:
    """Every identifier and keyword, folded, in a piece of stored code; None where it does not lex cleanly."""
    tokens = lex(code, vendor)
    if tokens is None:
        return None
    return frozenset(text.lower() for kind, text in tokens if kind in (Kind.WORD, Kind.QUOTED))


def digest_of(tokens: Sequence[Token]) -> bytes:
    """16 bytes that differ for texts that differ in more than white space and comments."""
    parts = "\0".join(f"{kind.value}\0{len(text)}\0{text}" for kind, text in tokens)
    return hashlib.blake2b(parts.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _digest_of_text(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16, person=b"not lexed").digest()


def _split(tokens: list[Token]) -> Iterator[list[Token]]:
    part: list[Token] = []
    for token in tokens:
        if token == (Kind.PUNCTUATION, ";"):
            if part:
                yield part
            part = []
        else:
            part.append(token)
    if part:
        yield part


def _together(statements: list[Statement], vendor: str, digest: bytes) -> Statement:
    """Several statements in one text: the sum of what they do; what cannot be summed is opaque."""
    effects = {statement.effect for statement in statements} - {Effect.HARMLESS}
    names = frozenset().union(*(statement.names for statement in statements))
    calls = frozenset().union(*(statement.calls for statement in statements))
    cascades = any(statement.cascades for statement in statements)
    if effects <= {Effect.READ}:
        return Statement(Effect.READ, digest, names, calls=calls, obstacle=reasons.NOT_UNDERSTOOD)
    if effects <= {Effect.READ, Effect.WRITE} and all(
        statement.targets is not None for statement in statements if statement.effect is Effect.WRITE
    ):
        targets = frozenset().union(*(statement.targets or () for statement in statements))
        return Statement(
            Effect.WRITE, digest, names, targets=targets, calls=calls, obstacle=reasons.NOT_A_READ, cascades=cascades
        )
    changes = any(statement.session is not None for statement in statements)
    if Effect.SCHEMA in effects and vendor == "postgresql":
        changes |= not effects <= {Effect.READ, Effect.WRITE, Effect.SCHEMA}
    hides = any(statement.session is not None and statement.session.hides for statement in statements)
    unfollowed = SessionChange(None, None, followed=False, hides=hides) if changes else None
    if Effect.SCHEMA in effects:
        # The others can be the body of a trigger or of a routine, cut at its semicolons.
        return Statement(Effect.SCHEMA, digest, names, calls=calls, obstacle=reasons.NOT_A_READ, session=unfollowed)
    return Statement(Effect.OPAQUE, digest, names, calls=calls, obstacle=reasons.NOT_UNDERSTOOD, session=unfollowed)


def _analyse_one(tokens: list[Token], vendor: str, digest: bytes) -> Statement:
    words = [text.lower() if kind is Kind.WORD else "" for kind, text in tokens]
    statement = _analyse_kind(tokens, words, vendor, digest)
    if "set_config" in statement.calls and statement.session is None:
        statement = replace(statement, session=set_config(tokens, words))
    return statement


def _analyse_kind(tokens: list[Token], words: list[str], vendor: str, digest: bytes) -> Statement:
    first = next((word for word in words if word), "") if tokens[0] == (Kind.PUNCTUATION, "(") else words[0]
    effect = _EFFECTS.get(first, Effect.OPAQUE)
    names, calls = names_and_calls(tokens, words)
    if first in ("explain", "analyze"):
        # EXPLAIN ANALYZE, in MariaDB ANALYZE alone, runs what it explains, functions that write among it.
        runs = "analyze" in words and not _RUNNING_WORDS.isdisjoint(words)
        effect = Effect.OPAQUE if runs else Effect.HARMLESS
        return Statement(effect, digest, names, calls=calls, obstacle=reasons.EXPLAIN)
    if first == "pragma" and vendor == "sqlite":
        return pragma(tokens, digest)
    if effect is Effect.TRANSACTION or (first == "prepare" and words[1:2] == ["transaction"]):
        return transaction(tokens, words, digest)
    if effect is Effect.SESSION:
        # MySQL: SET @x = f() runs the function.
        return replace(session(tokens, words, vendor, digest), names=names, calls=calls)
    if effect is Effect.SCHEMA:
        if first == "create" and not {"temporary", "temp"}.isdisjoint(words[1:5]) and _creates_temporary(words):
            table = _created(tokens, words)
            change = SessionChange(None, None, followed=False, hides=table is None, reason=reasons.TEMPORARY)
            return Statement(
                Effect.SESSION,
                digest,
                names,
                calls=calls,
                obstacle=reasons.TEMPORARY,
                session=change,
                creates=table,
            )
        return Statement(Effect.SCHEMA, digest, names, calls=calls, obstacle=reasons.NOT_A_READ)
    if effect is Effect.WRITE:
        return write(tokens, words, first, vendor, digest, names, calls)
    if effect is Effect.READ:
        return read(tokens, words, vendor, digest, names, calls)
    obstacle = reasons.NOT_A_READ if effect is Effect.HARMLESS else reasons.NOT_UNDERSTOOD
    return Statement(effect, digest, names, calls=calls, obstacle=obstacle)


def _creates_temporary(words: list[str]) -> bool:
    """CREATE [OR REPLACE] [LOCAL | GLOBAL] TEMP …: the word stands before the kind of object."""
    prefix = {"create", "or", "replace", "local", "global"}
    return next(word for word in words if word not in prefix) in ("temp", "temporary")


def _created(tokens: list[Token], words: list[str]) -> str | None:
    """The name in CREATE TEMP TABLE [IF NOT EXISTS] name. Writing to a temporary view changes what is under it."""
    at = next((n for n, word in enumerate(words) if word == "table"), None)
    if at is None:
        return None
    at += 4 if words[at + 1 : at + 4] == ["if", "not", "exists"] else 1
    return name_at(tokens, at)[0][1] if at < len(tokens) else None
