"""What one text of SQL is, judged from the text alone: its kind, the names in it and the functions that it calls.

Names are folded to lower case whatever their quotes say: two relations whose names differ in case alone are then taken
for one, which costs hits and never a row. What the database adds (which names are relations, what a view or
a trigger reaches, what a function does) is for :mod:`ormcache.catalog`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from ormcache import reasons
from ormcache.sql.lexer import Kind, Token, lex
from ormcache.sql.names import literal_names, names_and_calls
from ormcache.sql.other import MODEL, as_everywhere, lex_other
from ormcache.sql.reading import read
from ormcache.sql.session import pragma, session, transaction
from ormcache.sql.settings import set_config
from ormcache.sql.statement import Effect, SessionChange, Statement
from ormcache.sql.temporary import created, creates_temporary, temporary
from ormcache.sql.vocabulary import COMMON_OPERATORS, OTHER
from ormcache.sql.writing import write

_FIRST_WORDS = {
    Effect.SCHEMA: "create alter drop comment rename grant revoke reassign security import",
    Effect.HARMLESS: """
        analyze vacuum reindex cluster checkpoint listen unlisten notify show lock unlock kill optimize repair fetch
        move close prepare deallocate help check checksum purge
    """,
    Effect.TRANSACTION: "begin start commit end rollback abort savepoint release xa",
    Effect.SESSION: "set reset discard use attach detach",
    Effect.WRITE: "insert update delete merge replace truncate copy refresh",
    Effect.READ: "select with values table",
}
_EFFECTS = {word: effect for effect, words in _FIRST_WORDS.items() for word in words.split()}
#: What only one vendor has, or means differently. DO and HANDLER run queries whose answers nobody keeps; a cursor's
#: query counts when it is declared, for whatever it calls.
_EFFECTS_OF = {
    "postgresql": {"declare": Effect.HARMLESS},
    "mysql": {"load": Effect.WRITE, **dict.fromkeys(("do", "handler", "flush", "cache"), Effect.HARMLESS)},
    "sqlite": {},
}
_EXPLAINS = frozenset({"explain", "describe", "desc"})
#: What MySQL's ANALYZE counts in place of explaining it
_ANALYZED: tuple[list[str], ...] = ([], ["table"], ["tables"], ["local"], ["no_write_to_binlog"])

#: First words of statements that commit implicitly, https://dev.mysql.com/doc/refman/8.0/en/implicit-commit.html
_COMMITTING_WORDS = frozenset(
    """
    alter analyze begin cache change check create drop flush grant install load lock optimize rename repair reset revoke
    set start stop truncate uninstall unlock
    """.split()
)


_SEMICOLON = (Kind.PUNCTUATION, ";")


def analyse(text: str, vendor: str) -> Statement:
    """What ``text`` is by the rules of ``vendor``: :data:`~ormcache.sql.lexer.VENDORS` or OTHER. Never raises."""
    tokens = lex_other(text) if vendor == OTHER else lex(text, vendor)
    if tokens is None:
        return Statement(Effect.OPAQUE, _digest_of_text(text), obstacle=reasons.NOT_UNDERSTOOD)
    return as_everywhere(_analysed(tokens, MODEL), tokens) if vendor == OTHER else _analysed(tokens, vendor)


def _analysed(tokens: list[Token], vendor: str) -> Statement:
    digest = digest_of(tokens)
    parts = list(_split(tokens)) if _SEMICOLON in tokens else [tokens] if tokens else []
    if not parts:
        return Statement(Effect.HARMLESS, digest, obstacle=reasons.NOT_A_READ)
    statements = [_analyse_one(part, vendor, digest) for part in parts]
    statement = statements[0] if len(statements) == 1 else _together(statements, vendor, digest)
    if vendor == "mysql" and any(map(_commits, parts)):
        statement = replace(statement, commits=True)
    return statement


def _commits(tokens: list[Token]) -> bool:
    first, *rest = (text.lower() for _, text in tokens[:2])
    return first in _COMMITTING_WORDS and not (first == "begin" and rest == ["not"])  # BEGIN NOT ATOMIC


def digest_of(tokens: Sequence[Token]) -> bytes:
    """16 bytes that differ for texts that differ in more than white space and comments."""
    # "_value_" is the same as "value", and five times as fast. No text has a NUL in it.
    parts = "\0".join([f"{kind._value_}\0{text}" for kind, text in tokens])
    return hashlib.blake2b(parts.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _digest_of_text(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16, person=b"not lexed").digest()


def _split(tokens: list[Token]) -> Iterator[list[Token]]:
    part: list[Token] = []
    for token in tokens:
        if token == _SEMICOLON:
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
    operators = frozenset().union(*(statement.operators for statement in statements))
    cascades = any(statement.cascades for statement in statements)
    together = partial(Statement, digest=digest, names=names, calls=calls, operators=operators)
    if effects <= {Effect.READ}:
        return together(Effect.READ, obstacle=reasons.NOT_UNDERSTOOD)
    if effects <= {Effect.READ, Effect.WRITE} and all(
        statement.targets is not None for statement in statements if statement.effect is Effect.WRITE
    ):
        targets = frozenset().union(*(statement.targets or () for statement in statements))
        return together(Effect.WRITE, targets=targets, obstacle=reasons.NOT_A_READ, cascades=cascades)
    changes = any(statement.session is not None for statement in statements)
    if Effect.SCHEMA in effects and vendor == "postgresql":
        changes |= not effects <= {Effect.READ, Effect.WRITE, Effect.SCHEMA}
    hides = any(statement.session is not None and statement.session.hides for statement in statements)
    unfollowed = SessionChange(None, None, followed=False, hides=hides) if changes else None
    if Effect.SCHEMA in effects:
        # The others can be the body of a trigger or of a routine, cut at its semicolons.
        return together(Effect.SCHEMA, obstacle=reasons.NOT_A_READ, session=unfollowed)
    return together(Effect.OPAQUE, obstacle=reasons.NOT_UNDERSTOOD, session=unfollowed)


def _analyse_one(tokens: list[Token], vendor: str, digest: bytes) -> Statement:
    words = [text.lower() if kind is Kind.WORD else "" for kind, text in tokens]
    statement = _analyse_kind(tokens, words, vendor, digest)
    if statement.session is None and "set_config" in statement.names:
        statement = replace(statement, session=set_config(tokens, words))
    operators = {text for kind, text in tokens if kind is Kind.OPERATOR} - COMMON_OPERATORS
    return replace(statement, operators=frozenset(operators)) if operators else statement


def _analyse_kind(tokens: list[Token], words: list[str], vendor: str, digest: bytes) -> Statement:
    first = next((word for word in words if word), "") if tokens[0] == (Kind.PUNCTUATION, "(") else words[0]
    if first in _EXPLAINS or (first == "analyze" and vendor == "mysql" and words[1:2] not in _ANALYZED):
        # MariaDB: ANALYZE UPDATE …
        return _explain(tokens, words, vendor, digest)
    effect = _EFFECTS_OF[vendor].get(first) or _EFFECTS.get(first, Effect.OPAQUE)
    if first == "load" and words[1:2] == ["index"]:
        effect = Effect.HARMLESS
    if effect is Effect.READ:
        return read(tokens, words, vendor, digest)
    if effect is Effect.WRITE:
        return write(tokens, words, first, vendor, digest)
    if first == "pragma" and vendor == "sqlite":
        return pragma(tokens, digest)
    if first == "prepare" and words[1:2] == ["transaction"]:
        return transaction(tokens, words, digest)
    if effect is Effect.TRANSACTION and not (first == "start" and words[1:2] != ["transaction"]):
        return transaction(tokens, words, digest)
    names, calls = names_and_calls(tokens, words, vendor)
    if effect is Effect.SESSION:
        # MySQL: SET @x = f() runs the function.
        return replace(session(tokens, words, vendor, digest), names=names, calls=calls)
    if effect is Effect.SCHEMA:
        if first == "create" and creates_temporary(words):
            return temporary(created(tokens, words), digest, names, calls)
        names |= literal_names(tokens, vendor)
        return Statement(Effect.SCHEMA, digest, names, calls=calls, obstacle=reasons.NOT_A_READ)
    if effect is not Effect.HARMLESS:
        return Statement(Effect.OPAQUE, digest, names, calls=calls, obstacle=reasons.NOT_UNDERSTOOD)
    return Statement(Effect.HARMLESS, digest, names, calls=calls, obstacle=reasons.NOT_A_READ)


def _explain(tokens: list[Token], words: list[str], vendor: str, digest: bytes) -> Statement:
    """EXPLAIN changes nothing; with ANALYZE it does what the statement does that it explains."""
    names, calls = names_and_calls(tokens, words, vendor)
    statement = Statement(Effect.HARMLESS, digest, names, calls=calls, obstacle=reasons.EXPLAIN)
    at = _explained(words)
    if "analyze" not in words or not at:
        return statement
    explained = _analyse_kind(tokens[at:], words[at:], vendor, digest)
    if explained.effect is Effect.HARMLESS:
        return statement
    if explained.effect is Effect.READ:
        return replace(statement, sources=explained.sources)
    return replace(explained, names=names, calls=calls, obstacle=reasons.EXPLAIN)


def _explained(words: list[str]) -> int:
    """Where the statement begins that is explained; 0 where there is none."""
    for at, word in enumerate(words):
        if at and (word in _EFFECTS or word in ("execute", "call", "declare")) and word != "analyze":
            return at
    return 0
