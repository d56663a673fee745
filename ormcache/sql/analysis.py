"""Analyses a statement from its text alone: its effect, the names in it, and the functions that it calls.

Names are folded to lower case, quoted or not. Two relations whose names differ in case alone are therefore taken for
one, which costs hits and never returns wrong rows. What the database adds (which names are relations, what a view or a
trigger reaches, what a function does) is for :mod:`ormcache.catalog`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial, reduce

from ormcache import reasons
from ormcache.sql.control_statements import analyse_pragma, analyse_session_change, analyse_transaction_control
from ormcache.sql.dml import analyse_write
from ormcache.sql.generic import MODEL, lex_other, restrict_to_common_sql
from ormcache.sql.lexer import Token, TokenKind, lex
from ormcache.sql.long_writes import strip_values
from ormcache.sql.names import literal_names, names_and_calls
from ormcache.sql.nested import DEEPEST, find_nested
from ormcache.sql.schema_changes import schema_change, skip_state
from ormcache.sql.select import analyse_read
from ormcache.sql.set_statements import OPAQUE_FROM_HERE, UNTRACKED, parse_set_config
from ormcache.sql.statement import Effect, SchemaChange, SessionChange, Statement
from ormcache.sql.temporary import created_table, is_dropped_on_commit, is_temporary, temporary_statement
from ormcache.sql.times import TimeConversions
from ormcache.sql.vocabulary import COMMON_OPERATORS, RUN_SQL, UNKNOWN_VENDOR

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
#: First words that only one vendor has, or means differently. DO and HANDLER run queries whose results are not cached;
#: a cursor's query counts when it is declared, for the functions that it calls.
_EFFECTS_OF = {
    "postgresql": {"declare": Effect.HARMLESS},
    "mysql": {"load": Effect.WRITE, **dict.fromkeys(("do", "handler", "flush", "cache"), Effect.HARMLESS)},
    # VACUUM may change the rowids of tables without an INTEGER PRIMARY KEY, https://sqlite.org/lang_vacuum.html
    "sqlite": {"vacuum": Effect.SCHEMA},
}
_EXPLAINS = frozenset({"explain", "describe", "desc"})
#: What stands behind MySQL's ANALYZE where it counts the rows of tables; otherwise it explains a statement
_ANALYZED: tuple[list[str], ...] = ([], ["table"], ["tables"], ["local"], ["no_write_to_binlog"])

#: First words of statements that commit implicitly, https://dev.mysql.com/doc/refman/8.0/en/implicit-commit.html
_COMMITTING_WORDS = frozenset(
    """
    alter analyze begin cache change check create drop flush grant install load lock optimize rename repair reset revoke
    set start stop truncate uninstall unlock
    """.split()
)


_SEMICOLON = (TokenKind.PUNCTUATION, ";")


def analyse(text: str, vendor: str) -> Statement:
    """Analyse a text by a vendor's rules: one of :data:`~ormcache.sql.lexer.VENDORS`, or UNKNOWN_VENDOR. Never raises.

    A text that the rules do not cover is a statement whose effect is ``Effect.OPAQUE``.
    """
    short = text if vendor == UNKNOWN_VENDOR else strip_values(text, vendor)
    if short is not None and short is not text:
        tokens = lex(short, vendor)
        statement = None if tokens is None else _analyse_tokens(tokens, vendor)
        if statement is not None and statement.effect is Effect.WRITE and statement.session is None:
            return statement  # what is set depends on values, and on the positions of placeholders
    tokens = lex_other(text) if vendor == UNKNOWN_VENDOR else lex(text, vendor)
    if tokens is None:
        return Statement(Effect.OPAQUE, _digest_text(text), bypass_reason=reasons.NOT_UNDERSTOOD)
    return (
        restrict_to_common_sql(_analyse_tokens(tokens, MODEL), tokens)
        if vendor == UNKNOWN_VENDOR
        else _analyse_tokens(tokens, vendor)
    )


def _analyse_tokens(tokens: list[Token], vendor: str, depth: int = 0) -> Statement:
    digest = digest_tokens(tokens)
    parts = list(_split(tokens)) if _SEMICOLON in tokens else [tokens] if tokens else []
    if not parts:
        return Statement(Effect.HARMLESS, digest, bypass_reason=reasons.NOT_A_READ)
    statements = [_analyse_statement(part, vendor, digest, depth) for part in parts]
    statement = statements[0] if len(statements) == 1 else _combine(statements, parts, vendor, digest)
    if vendor == "mysql" and any(map(_commits_implicitly, parts)):
        statement = replace(statement, commits_implicitly=True)
    return statement


def _commits_implicitly(tokens: list[Token]) -> bool:
    first, *rest = (text.lower() for _, text in tokens[:2])
    return first in _COMMITTING_WORDS and not (first == "begin" and rest == ["not"])  # BEGIN NOT ATOMIC


def digest_tokens(tokens: Sequence[Token]) -> bytes:
    """Return 16 bytes that differ for texts that differ in more than white space and comments."""
    # "_value_" is the same as "value", and five times as fast. No text has a NUL in it.
    parts = "\0".join([f"{kind._value_}\0{text}" for kind, text in tokens])
    return hashlib.blake2b(parts.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _digest_text(text: str) -> bytes:
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


def _combine(statements: list[Statement], parts: list[list[Token]], vendor: str, digest: bytes) -> Statement:
    """Combine several statements of one text into one that does what they do together, or is opaque."""
    effects = {statement.effect for statement in statements} - {Effect.HARMLESS}
    names = frozenset().union(*(statement.names for statement in statements))
    calls = frozenset().union(*(statement.calls for statement in statements))
    operators = frozenset().union(*(statement.operators for statement in statements))
    cascades = any(statement.cascades for statement in statements)
    unread = frozenset().union(*(statement.calls - statement.inlined_calls for statement in statements)) & RUN_SQL
    nested = frozenset().union(*(statement.inlined_calls for statement in statements)) - unread
    together = partial(Statement, digest=digest, names=names, calls=calls, operators=operators, inlined_calls=nested)
    changes = any(statement.session is not None for statement in statements)
    if effects <= {Effect.READ} and not changes:
        return together(Effect.READ, bypass_reason=reasons.NOT_UNDERSTOOD)
    writing = [statement.targets for statement in statements if statement.effect is Effect.WRITE]
    known = [targets for targets in writing if targets is not None]
    targets = frozenset().union(*known) if len(known) == len(writing) else None
    if effects <= {Effect.READ, Effect.WRITE} and targets is not None and not changes:
        return together(Effect.WRITE, targets=targets, bypass_reason=reasons.NOT_A_READ, cascades=cascades)
    if vendor == "postgresql" and effects <= {Effect.READ, Effect.WRITE, Effect.SESSION}:
        session = _combine_session_changes(statements, parts)
        if session is not None:
            effect = Effect.WRITE if writing else Effect.SESSION
            return together(
                effect, targets=targets, bypass_reason=reasons.NOT_A_READ, session=session, cascades=cascades
            )
    if Effect.SCHEMA in effects and vendor == "postgresql":
        changes |= not effects <= {Effect.READ, Effect.WRITE, Effect.SCHEMA}
    makes_opaque = any(statement.session is not None and statement.session.makes_opaque for statement in statements)
    untracked = SessionChange(None, None, is_tracked=False, makes_opaque=makes_opaque) if changes else None
    if Effect.SCHEMA in effects:
        # The others can be the body of a trigger or of a routine, cut at its semicolons.
        change = _single_change(statements, parts) if vendor == "postgresql" else None
        return together(Effect.SCHEMA, bypass_reason=reasons.NOT_A_READ, session=untracked, change=change)
    return together(Effect.OPAQUE, bypass_reason=reasons.NOT_UNDERSTOOD, session=untracked)


def _single_change(statements: list[Statement], parts: list[list[Token]]) -> SchemaChange | None:
    """Return what the one schema change of a text is confined to; None unless all the others are SET CONSTRAINTS.

    Django has a foreign key checked at once that way, when it adds or drops one.
    """
    changes = [
        statement.change
        for statement, part in zip(statements, parts, strict=True)
        if [text.lower() for _, text in part[:2]] != ["set", "constraints"]
    ]
    return changes[0] if len(changes) == 1 else None


def _combine_session_changes(statements: list[Statement], parts: list[list[Token]]) -> SessionChange | None:
    """Return what several statements of one text set, in order; None if they do not do the same one after the other.

    PostgreSQL runs such a text in one transaction, and parses all of it before it runs any of it. So nothing that is
    set changes how the rest is parsed, but it may change which relations the rest means.
    """
    among = sum(kind is TokenKind.PLACEHOLDER for part in parts for kind, _ in part)
    changes: list[SessionChange] = []
    seen = 0
    for statement, part in zip(statements, parts, strict=True):
        if statement.temporary_table is not None or (
            statement.effect in (Effect.READ, Effect.WRITE) and any(map(_changes_resolution, changes))
        ):
            return None
        if statement.session is not None:
            changes += [one.shift(seen, among) for one in (statement.session, *statement.session.also)]
        seen += sum(kind is TokenKind.PLACEHOLDER for kind, _ in part)
    if not changes or not all(change.is_tracked for change in changes):
        return None
    first, *rest = (replace(change, also=()) for change in changes)
    return replace(first, also=tuple(rest))


def _changes_resolution(change: SessionChange) -> bool:
    """Return whether a name may mean another relation from here on."""
    return not isinstance(change.name, str) or change.isolation or change.name in _RESOLUTION_SETTINGS


_RESOLUTION_SETTINGS = frozenset({"search_path", "role", "session_authorization", "all"})


def _analyse_statement(tokens: list[Token], vendor: str, digest: bytes, depth: int) -> Statement:
    words = [text.lower() if kind is TokenKind.WORD else "" for kind, text in tokens]
    statement = _analyse_by_first_word(tokens, words, vendor, digest)
    if statement.session is None and "set_config" in statement.names:
        statement = replace(statement, session=parse_set_config(tokens, words))
    if vendor == "postgresql" and (statement.effect is Effect.WRITE or "pg_reload_conf" in statement.names):
        statement = _with_hidden_settings(statement)
    operators = {text for kind, text in tokens if kind is TokenKind.OPERATOR} - COMMON_OPERATORS
    if operators:
        statement = replace(statement, operators=frozenset(operators))
    if vendor == "postgresql" and depth < DEEPEST and not RUN_SQL.isdisjoint(statement.calls):
        return _with_nested(statement, tokens, vendor, depth)
    return statement


def _join_time_conversions(one: TimeConversions | None, other: TimeConversions | None) -> TimeConversions | None:
    return other if one is None else one.union(other)


def _with_nested(statement: Statement, tokens: list[Token], vendor: str, depth: int) -> Statement:
    """Return a statement that includes the queries in its literals that functions run.

    Returns the statement as it is if one of these is not understood, or is no plain query.
    """
    texts, functions = find_nested(tokens)
    if not functions:
        return statement
    inner = []
    for text in texts:
        lexed = lex(text, vendor)
        one = None if lexed is None else _analyse_tokens(lexed, vendor, depth + 1)
        if one is None or one.effect is not Effect.READ or one.session is not None:
            return statement
        inner.append(one)
    inner_reasons = [one.bypass_reason for one in inner if one.bypass_reason not in (None, reasons.FUNCTION)]
    if inner_reasons and statement.effect is Effect.READ and statement.bypass_reason in (None, reasons.FUNCTION):
        statement = replace(statement, bypass_reason=inner_reasons[0])
    unread = frozenset().union(*(one.calls - one.inlined_calls for one in inner), statement.calls - functions) & RUN_SQL
    return replace(
        statement,
        names=statement.names.union(*(one.names for one in inner)),
        columns=frozenset(),  # what is a column in one of them may be a relation in another
        sources=statement.sources.union(*(one.sources for one in inner)),
        calls=statement.calls.union(*(one.calls for one in inner)),
        operators=statement.operators.union(*(one.operators for one in inner)),
        date_conversions=statement.date_conversions.union(*(one.date_conversions for one in inner)),
        time_conversions=reduce(
            _join_time_conversions, (one.time_conversions for one in inner), statement.time_conversions
        ),
        inlined_calls=functions.union(*(one.inlined_calls for one in inner)) - unread,
    )


def _with_hidden_settings(statement: Statement) -> Statement:
    """PostgreSQL: add the session change of a statement that sets something without looking like it."""
    if "pg_reload_conf" in statement.calls:
        # From some moment on, every session of the server has another value of each setting that it has not set itself.
        return replace(statement, effect=Effect.OPAQUE, bypass_reason=reasons.NOT_A_READ, session=UNTRACKED)
    targets = statement.targets
    names = statement.names if targets is None else {name for _, name in targets}
    # A rule of that view runs set_config() for each row.
    return replace(statement, session=OPAQUE_FROM_HERE) if "pg_settings" in names else statement


def _analyse_by_first_word(tokens: list[Token], words: list[str], vendor: str, digest: bytes) -> Statement:
    first = next((word for word in words if word), "") if tokens[0] == (TokenKind.PUNCTUATION, "(") else words[0]
    if first in _EXPLAINS or (first == "analyze" and vendor == "mysql" and words[1:2] not in _ANALYZED):
        # MariaDB: ANALYZE UPDATE …
        return _analyse_explain(tokens, words, vendor, digest)
    effect = _EFFECTS_OF[vendor].get(first) or _EFFECTS.get(first, Effect.OPAQUE)
    if first == "load" and words[1:2] == ["index"]:
        effect = Effect.HARMLESS
    if effect is Effect.READ:
        return analyse_read(tokens, words, vendor, digest)
    if effect is Effect.WRITE:
        return analyse_write(tokens, words, first, vendor, digest)
    if first == "pragma" and vendor == "sqlite":
        return analyse_pragma(tokens, digest)
    if first == "prepare" and words[1:2] == ["transaction"]:
        return analyse_transaction_control(tokens, words, digest)
    if effect is Effect.TRANSACTION and not (first == "start" and words[1:2] != ["transaction"]):
        return analyse_transaction_control(tokens, words, digest)
    names, calls = names_and_calls(tokens, words, vendor)
    if effect is Effect.SESSION:
        # MySQL: SET @x = f() runs the function.
        return replace(analyse_session_change(tokens, words, vendor, digest), names=names, calls=calls)
    if effect is Effect.SCHEMA:
        if first == "create" and is_temporary(words):
            table, at_end = created_table(tokens, words), is_dropped_on_commit(words)
            return temporary_statement(table, digest, names, calls, drops_on_commit=at_end)
        names |= literal_names(tokens, vendor)
        change = schema_change(tokens, words) if vendor == "postgresql" else None
        skip = skip_state(words) if vendor == "postgresql" else None
        return Statement(
            Effect.SCHEMA,
            digest,
            names,
            calls=calls,
            bypass_reason=reasons.NOT_A_READ,
            change=change,
            skip_state=skip,
        )
    if effect is not Effect.HARMLESS:
        return Statement(Effect.OPAQUE, digest, names, calls=calls, bypass_reason=reasons.NOT_UNDERSTOOD)
    return Statement(Effect.HARMLESS, digest, names, calls=calls, bypass_reason=reasons.NOT_A_READ)


def _analyse_explain(tokens: list[Token], words: list[str], vendor: str, digest: bytes) -> Statement:
    """Analyse EXPLAIN, which changes nothing; with ANALYZE, it does what the explained statement does."""
    names, calls = names_and_calls(tokens, words, vendor)
    statement = Statement(Effect.HARMLESS, digest, names, calls=calls, bypass_reason=reasons.EXPLAIN)
    at = _find_explained(words)
    if "analyze" not in words or not at:
        return statement
    explained = _analyse_by_first_word(tokens[at:], words[at:], vendor, digest)
    if explained.effect is Effect.HARMLESS:
        return statement
    if explained.effect is Effect.READ:
        return replace(statement, sources=explained.sources)
    return replace(explained, names=names, calls=calls, bypass_reason=reasons.EXPLAIN)


def _find_explained(words: list[str]) -> int:
    """Return where the explained statement begins; 0 if there is none."""
    for at, word in enumerate(words):
        if at and (word in _EFFECTS or word in ("execute", "call", "declare")) and word != "analyze":
            return at
    return 0
