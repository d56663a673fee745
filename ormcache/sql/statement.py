"""What one text of SQL is, judged from the text alone: its kind, the names in it and the functions that it calls.

Names are folded to lower case whatever their quotes say: two relations whose names differ in case alone are then taken
for one, which costs hits and never a row. What the database adds (which names are relations, what a view or
a trigger reaches, what a function does) is for :mod:`ormcache.catalog`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from ormcache import reasons
from ormcache.sql import vocabulary
from ormcache.sql.lexer import Kind, Token, lex

#: (schema or None, relation), folded
Name = tuple[str | None, str]


class Effect(Enum):
    """What running a statement does, as far as a cache is concerned."""

    READ = "read"
    WRITE = "write"
    SCHEMA = "schema change"
    SESSION = "session change"
    TRANSACTION = "transaction control"
    HARMLESS = "harmless"  # neither rows of relations nor anything in the session changes
    OPAQUE = "opaque"  # could be anything


@dataclass(frozen=True, slots=True)
class SessionChange:
    """A ``SET`` or its like. What the value is may depend on parameters, so it is kept as tokens."""

    name: str | None  # the setting; None: every one of them
    value: tuple[str, ...] | None  # None: back to its default
    local: bool = False  # until the transaction ends
    isolation: bool = False  # it changes the isolation level of this or of later transactions
    followed: bool = True  # False: the session cannot be described any more


@dataclass(frozen=True, slots=True)
class Statement:
    effect: Effect
    digest: bytes  # of the normalized text, 16 bytes
    names: frozenset[str] = frozenset()  # every identifier, wherever it stands
    sources: frozenset[Name] = frozenset()  # what stands where a relation is read
    targets: frozenset[Name] | None = None  # what a write changes; None: any of the names
    calls: frozenset[str] = frozenset()  # what is called, or may be
    obstacle: str | None = None  # why a read cannot be kept
    session: SessionChange | None = None
    transaction: str | None = None  # the first word, and the next one where it matters: "begin", "rollback to"
    savepoint: str | None = None
    serial: bool = False  # asks for a snapshot that outlives one statement
    cascades: bool = False  # reaches further relations by its own words (TRUNCATE … CASCADE)
    creates: str | None = None  # the temporary table that it makes, folded
    commits: bool = False  # MySQL commits the transaction that is open before it runs this


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

_WRITING_WORDS = frozenset({"insert", "update", "delete", "merge"})

_RUNNING_WORDS = _WRITING_WORDS | {"execute", "replace", "call"}

#: First words of statements that commit implicitly, https://dev.mysql.com/doc/refman/8.0/en/implicit-commit.html
_COMMITTING_WORDS = frozenset(
    """
    alter analyze begin cache change check create drop flush grant install load lock optimize rename repair reset revoke
    set start stop truncate uninstall unlock
    """.split()
)

#: SQLite pragmas that change neither rows nor what a query answers
_HARMLESS_PRAGMAS = frozenset(
    """
    application_id auto_vacuum busy_timeout cache_size cache_spill checkpoint_fullfsync collation_list compile_options
    database_list data_version defer_foreign_keys foreign_key_check foreign_key_list foreign_keys freelist_count fullfsync
    function_list incremental_vacuum index_info index_list index_xinfo integrity_check journal_mode journal_size_limit
    legacy_alter_table locking_mode max_page_count mmap_size module_list optimize page_count page_size pragma_list
    quick_check schema_version secure_delete shrink_memory soft_heap_limit synchronous table_info table_list table_xinfo
    temp_store threads user_version wal_autocheckpoint wal_checkpoint
    """.split()
)

#: Settings that no result depends on
_HARMLESS_SETTINGS = frozenset(
    """
    application_name client_min_messages constraints deadlock_timeout effective_cache_size enable_hashjoin enable_indexscan
    enable_mergejoin enable_nestloop enable_seqscan foreign_key_checks idle_in_transaction_session_timeout jit
    lock_timeout lock_wait_timeout innodb_lock_wait_timeout maintenance_work_mem max_execution_time max_statement_time
    net_read_timeout net_write_timeout random_page_cost statement_timeout synchronous_commit unique_checks wait_timeout
    work_mem
    """.split()
)

# The clock in disguise: PostgreSQL reads these words as moments wherever a date is expected.
CLOCK_WORDS = re.compile(r"(?<![a-z])(?:now|today|tomorrow|yesterday)(?![a-z])", re.IGNORECASE)
LONGEST_DATE = 128  # characters; PostgreSQL's MAXDATELEN: a longer text is never a date


def reads_clock(text: str) -> bool:
    return len(text) <= LONGEST_DATE and CLOCK_WORDS.search(text) is not None


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
    return statements[0] if len(statements) == 1 else _together(statements, digest)


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


def _together(statements: list[Statement], digest: bytes) -> Statement:
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
    if effects <= {Effect.READ, Effect.WRITE, Effect.SCHEMA}:
        return Statement(Effect.SCHEMA, digest, names, calls=calls, obstacle=reasons.NOT_A_READ)
    unfollowed = SessionChange(None, None, followed=False) if Effect.SESSION in effects else None
    return Statement(Effect.OPAQUE, digest, names, calls=calls, obstacle=reasons.NOT_UNDERSTOOD, session=unfollowed)


def _analyse_one(tokens: list[Token], vendor: str, digest: bytes) -> Statement:
    words = [text.lower() if kind is Kind.WORD else "" for kind, text in tokens]
    first = next((word for word in words if word), "") if tokens[0] == (Kind.PUNCTUATION, "(") else words[0]
    effect = _EFFECTS.get(first, Effect.OPAQUE)
    if first == "explain":
        # EXPLAIN ANALYZE runs what it explains.
        runs = "analyze" in words and not _RUNNING_WORDS.isdisjoint(words)
        return Statement(Effect.OPAQUE if runs else Effect.HARMLESS, digest, obstacle=reasons.EXPLAIN)
    if first == "analyze" and not _RUNNING_WORDS.isdisjoint(words):
        return Statement(Effect.OPAQUE, digest, obstacle=reasons.EXPLAIN)  # MariaDB's EXPLAIN ANALYZE
    if first == "pragma" and vendor == "sqlite":
        return _pragma(tokens, digest)
    if effect is Effect.TRANSACTION or (first == "prepare" and words[1:2] == ["transaction"]):
        return _transaction(tokens, words, digest)
    if effect is Effect.SESSION:
        return _session(tokens, words, digest)
    names, calls = _names_and_calls(tokens, words)
    if effect is Effect.SCHEMA:
        if first == "create" and not {"temporary", "temp"}.isdisjoint(words[1:5]) and _creates_temporary(words):
            change = SessionChange(None, None, followed=False)
            return Statement(
                Effect.SESSION,
                digest,
                names,
                calls=calls,
                obstacle=reasons.TEMPORARY,
                session=change,
                creates=_created(tokens, words),
            )
        return Statement(Effect.SCHEMA, digest, names, calls=calls, obstacle=reasons.NOT_A_READ)
    if effect is Effect.WRITE:
        return _write(tokens, words, first, vendor, digest, names, calls)
    if effect is Effect.READ:
        return _read(tokens, words, vendor, digest, names, calls)
    obstacle = reasons.NOT_A_READ if effect is Effect.HARMLESS else reasons.NOT_UNDERSTOOD
    return Statement(effect, digest, names, calls=calls, obstacle=obstacle)


def _creates_temporary(words: list[str]) -> bool:
    """CREATE [OR REPLACE] [LOCAL | GLOBAL] TEMP …: the word stands before the kind of object."""
    prefix = {"create", "or", "replace", "local", "global"}
    return next(word for word in words if word not in prefix) in ("temp", "temporary")


def _created(tokens: list[Token], words: list[str]) -> str | None:
    """The name in CREATE TEMP … [IF NOT EXISTS] name."""
    at = next((n for n, word in enumerate(words) if word in ("table", "view")), None)
    if at is None:
        return None
    at += 4 if words[at + 1 : at + 4] == ["if", "not", "exists"] else 1
    return _name_at(tokens, at)[0][1] if at < len(tokens) else None


# Reads -------------------------------------------------------------------------


def _read(
    tokens: list[Token], words: list[str], vendor: str, digest: bytes, names: frozenset[str], calls: frozenset[str]
) -> Statement:
    setting = _set_config(tokens, words)
    if setting is not None:
        return Statement(Effect.SESSION, digest, names, calls=calls, obstacle=reasons.NOT_A_READ, session=setting)
    if "into" in words and not _WRITING_WORDS & set(words):
        # A new table (PostgreSQL), a file or a variable (MySQL)
        return Statement(Effect.OPAQUE, digest, names, calls=calls, obstacle=reasons.NOT_A_READ)
    locking = _locks(words)
    replaces = any(word == "replace" and words[at + 1 : at + 2] == ["into"] for at, word in enumerate(words))
    if replaces or any(word in _WRITING_WORDS and not locked for word, locked in zip(words, locking, strict=True)):
        # A writing WITH; a column that is called so only costs hits.
        return Statement(Effect.WRITE, digest, names, calls=calls, obstacle=reasons.NOT_A_READ)
    ctes = _common_table_expressions(tokens, words) if "with" in words else frozenset()
    calls -= ctes  # "WITH c (a, b) AS" calls nothing
    sources = _sources(tokens, words, ctes)
    obstacle = reasons.LOCKING if any(locking) else _obstacle(tokens, words, vendor, calls)
    return Statement(Effect.READ, digest, names, sources, calls=calls, obstacle=obstacle)


def _locks(words: list[str]) -> list[bool]:
    """Which words belong to FOR UPDATE, FOR NO KEY UPDATE, FOR [KEY] SHARE or LOCK IN SHARE MODE."""
    found = [False] * len(words)
    for at, word in enumerate(words):
        before = words[max(at - 3, 0) : at]
        if word in ("update", "share") and (before[-1:] == ["for"] or before[-2:] in (["for", "key"],)):
            found[at] = True
        elif (word == "update" and before == ["for", "no", "key"]) or (word == "share" and before[-1:] == ["in"]):
            found[at] = True
    return found


def _obstacle(tokens: list[Token], words: list[str], vendor: str, calls: frozenset[str]) -> str | None:
    for at, (kind, text) in enumerate(tokens):
        if kind is Kind.VARIABLE:
            return reasons.SESSION_FUNCTION
        if kind is Kind.WORD and words[at] in vocabulary.BARE_CALLS and not _qualified(tokens, at):
            return vocabulary.BARE_CALLS[words[at]]
        if kind is Kind.LITERAL and vendor == "postgresql" and reads_clock(text):
            return reasons.CLOCK
    for name in sorted(calls - vocabulary.REPEATABLE[vendor]):
        return vocabulary.UNREPEATABLE.get(name, reasons.FUNCTION)
    return None


def _qualified(tokens: list[Token], at: int) -> bool:
    return at > 0 and tokens[at - 1][1] == "."


def _sources(tokens: list[Token], words: list[str], ctes: frozenset[str]) -> frozenset[Name]:
    """What stands in FROM position and is no CTE of this text.

    A missed one would still be among the names; being found here, it must be known to the catalog.
    """
    found: set[Name] = set()
    # One entry for each open parenthesis: is it a query (or a joined table), and does a relation come next?
    levels: list[tuple[bool, bool]] = [(True, False)]
    in_from = [False]
    at, end = 0, len(tokens)
    while at < end:
        kind, text = tokens[at]
        query, expecting = levels[-1]
        if kind is Kind.PUNCTUATION and text == "(":
            opens = words[at + 1] if at + 1 < end else ""
            subquery = opens in ("select", "with", "values", "table")
            joined = expecting and not subquery
            levels[-1] = (query, False)
            levels.append((subquery or joined or (opens == "" and tokens[at + 1 : at + 2] == [(Kind.PUNCTUATION, "(")]), joined))
            in_from.append(joined)
        elif kind is Kind.PUNCTUATION and text == ")":
            if len(levels) > 1:
                levels.pop()
                in_from.pop()
        elif kind is Kind.PUNCTUATION and text == ",":
            levels[-1] = (query, in_from[-1])
        elif kind is Kind.WORD and query and words[at] in ("from", "join", "straight_join"):
            if not (words[at] == "from" and words[at - 1] == "distinct" and words[at - 2] in ("is", "not")):
                levels[-1] = (query, True)
                in_from[-1] = True
        elif kind is Kind.WORD and words[at] == "table" and words[at - 1] != "materialized" and not expecting and at == 0:
            levels[-1] = (query, True)
        elif kind is Kind.WORD and words[at] in _ENDS_FROM:
            levels[-1] = (query, False)
            in_from[-1] = False
        elif expecting and kind in (Kind.WORD, Kind.QUOTED):
            if not (kind is Kind.WORD and words[at] in ("only", "lateral")):
                name, at = _name_at(tokens, at)
                called = tokens[at + 1 : at + 2] == [(Kind.PUNCTUATION, "(")]
                if not called and not (name[0] is None and name[1] in ctes):
                    found.add(name)
                levels[-1] = (query, False)
        at += 1
    return frozenset(found)


_ENDS_FROM = frozenset(
    "where group order having limit offset union intersect except window fetch for returning set on using select".split()
)


def _name_at(tokens: list[Token], at: int) -> tuple[Name, int]:
    """The possibly qualified name that begins at ``at``, and where its last token is."""
    parts = [tokens[at][1].lower()]
    while (
        tokens[at + 1 : at + 2] == [(Kind.PUNCTUATION, ".")]
        and at + 2 < len(tokens)
        and tokens[at + 2][0] in (Kind.WORD, Kind.QUOTED)
    ):
        at += 2
        parts.append(tokens[at][1].lower())
    return (parts[-2] if len(parts) > 1 else None, parts[-1]), at


def _common_table_expressions(tokens: list[Token], words: list[str]) -> frozenset[str]:
    """Names that stand before ``AS [NOT] [MATERIALIZED] (``, with or without a list of columns."""
    found = set()
    for at, word in enumerate(words):
        if word != "as":
            continue
        after = at + 1
        while words[after : after + 1] in (["not"], ["materialized"]):
            after += 1
        if tokens[after : after + 1] != [(Kind.PUNCTUATION, "(")]:
            continue
        before = at - 1
        if tokens[before] == (Kind.PUNCTUATION, ")"):
            while before > 0 and tokens[before] != (Kind.PUNCTUATION, "("):
                before -= 1
            before -= 1
        if before >= 0 and tokens[before][0] in (Kind.WORD, Kind.QUOTED):
            found.add(tokens[before][1].lower())
    return frozenset(found)


def _names_and_calls(tokens: list[Token], words: list[str]) -> tuple[frozenset[str], frozenset[str]]:
    names, calls = set(), set()
    for at, (kind, text) in enumerate(tokens):
        if kind is Kind.QUOTED or kind is Kind.WORD:
            names.add(text.lower())
            follows = tokens[at + 1 : at + 2] == [(Kind.PUNCTUATION, "(")]
            if follows and (kind is Kind.QUOTED or words[at] not in vocabulary.NOT_FUNCTIONS):
                calls.add(text.lower())
    return frozenset(names), frozenset(calls)


# Writes --------------------------------------------------------------------------


def _write(
    tokens: list[Token],
    words: list[str],
    first: str,
    vendor: str,
    digest: bytes,
    names: frozenset[str],
    calls: frozenset[str],
) -> Statement:
    if first == "copy" and (tokens[1] == (Kind.PUNCTUATION, "(") or "from" not in words):
        effect = Effect.HARMLESS if _WRITING_WORDS.isdisjoint(words) else Effect.OPAQUE
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
    if sum(word in _WRITING_WORDS for word in words) > allowed:
        return None
    if at >= len(tokens) or tokens[at][0] not in (Kind.WORD, Kind.QUOTED):
        return None
    name, at = _name_at(tokens, at)
    if first in ("update", "delete") and vendor == "mysql" and not _single_table(tokens, words, at + 1):
        return None
    return frozenset({name})


_INSERT_WORDS = frozenset("into low_priority delayed high_priority ignore or".split())
_UPDATE_WORDS = frozenset("only low_priority ignore or".split())
_DELETE_WORDS = frozenset("from only low_priority quick ignore".split())


def _single_table(tokens: list[Token], words: list[str], at: int) -> bool:
    """MySQL: no further relation joins in before SET, WHERE or the end."""
    for word, (kind, text) in zip(words[at:], tokens[at:], strict=True):
        if word in ("set", "where", "order", "limit", "returning"):
            return True
        if word in ("join", "using", "from", "straight_join") or (kind is Kind.PUNCTUATION and text == ","):
            return False
    return True


# Session and transaction -----------------------------------------------------------


def _pragma(tokens: list[Token], digest: bytes) -> Statement:
    if any(text.lower() in _HARMLESS_PRAGMAS for kind, text in tokens[1:4] if kind is Kind.WORD):
        return Statement(Effect.HARMLESS, digest, obstacle=reasons.NOT_A_READ)
    change = SessionChange(None, None, followed=False)
    return Statement(Effect.SESSION, digest, obstacle=reasons.NOT_A_READ, session=change)


def _transaction(tokens: list[Token], words: list[str], digest: bytes) -> Statement:
    first, rest = words[0], [word for word in words[1:] if word not in ("transaction", "work", "tran")]
    savepoint = None
    if first in ("savepoint", "release") or (first == "rollback" and "to" in rest):
        first = "rollback to" if first == "rollback" else first
        savepoint = tokens[-1][1].lower()
    elif first == "start":
        first = "begin"
    elif first in ("end", "commit") and "prepared" not in rest:
        first = "commit"
    elif first in ("rollback", "abort") and "prepared" not in rest:
        first = "rollback"
    elif first != "begin":
        # Two-phase commit and XA: the rows change when another statement, perhaps another session's, says so.
        return Statement(Effect.OPAQUE, digest, obstacle=reasons.NOT_A_READ)
    serial = first == "begin" and bool({"repeatable", "serializable", "snapshot", "immediate", "exclusive"} & set(rest))
    return Statement(
        Effect.TRANSACTION, digest, obstacle=reasons.NOT_A_READ, transaction=first, savepoint=savepoint, serial=serial
    )


def _session(tokens: list[Token], words: list[str], digest: bytes) -> Statement:
    if words[0] == "set" and "autocommit" in words[1:3]:
        on = tokens[-1][1].lower() in ("1", "on", "true")
        return Statement(
            Effect.TRANSACTION,
            digest,
            obstacle=reasons.NOT_A_READ,
            transaction="autocommit on" if on else "autocommit off",
        )
    change = _session_change(tokens, words)
    effect = Effect.HARMLESS if change is None else Effect.SESSION
    return Statement(effect, digest, obstacle=reasons.NOT_A_READ, session=change)


def _session_change(tokens: list[Token], words: list[str]) -> SessionChange | None:
    first = words[0]
    if first == "discard":
        return SessionChange(None, None) if words[1:2] == ["all"] else SessionChange(None, None, followed=False)
    if first == "reset":
        if words[1:2] == ["all"]:
            return SessionChange(None, None, followed=False)
        return SessionChange(_setting_name(tokens[1:])[0], ("default",))
    if first != "set" or len(tokens) < 2:
        return SessionChange(None, None, followed=False)
    at = 1
    local = words[1] == "local"
    if words[1] in ("session", "local") and words[2:3] != ["authorization"]:
        at = 2
    if "transaction" in words[at : at + 3] or "characteristics" in words[at : at + 2]:
        return SessionChange("transaction", tuple(words), isolation=True, local="session" not in words)
    name, after = _setting_name(tokens[at:])
    if name in _HARMLESS_SETTINGS or words[at] == "constraints":
        return None
    if any(kind is Kind.VARIABLE for kind, _ in tokens):
        # MySQL: a user's variable alone changes nothing (queries that read one are not cached).
        user_variable = tokens[at][1].startswith("@") and not tokens[at][1].startswith("@@")
        return None if user_variable else SessionChange(None, None, followed=False)
    if any(token == (Kind.PUNCTUATION, ",") for token in tokens[at:]) and name not in ("search_path", "datestyle"):
        return SessionChange(None, None, followed=False)  # MySQL: several settings at once
    if "isolation" in name:
        return SessionChange(name, tuple(words), isolation=True, local=local)
    value = tuple(text for kind, text in tokens[at + after :] if text not in ("=", "TO", "to"))
    return SessionChange(name, value, local=local)


def _setting_name(tokens: list[Token]) -> tuple[str, int]:
    """The dotted name at the beginning, and how many tokens it takes. SET TIME ZONE, SET ROLE and SET NAMES have none."""
    words = [text.lower() for _, text in tokens]
    if words[:2] == ["time", "zone"]:
        return "timezone", 2
    if words[:2] == ["session", "authorization"]:
        return "session authorization", 2
    at = 1
    while words[at : at + 1] == ["."] and at + 1 < len(words):
        at += 2
    return "".join(words[:at]), at


def _set_config(tokens: list[Token], words: list[str]) -> SessionChange | None:
    """``SELECT set_config(name, value, local)``, the way to SET with parameters in PostgreSQL."""
    if "set_config" not in words:
        return None
    arguments = tokens[3::2]
    plain = (
        words[:2] == ["select", "set_config"]
        and len(tokens) == 9
        and [text for _, text in tokens[2::2]] == ["(", ",", ",", ")"]
        and arguments[0][0] is Kind.LITERAL
        and arguments[1][0] in (Kind.LITERAL, Kind.PLACEHOLDER)
        and words[7] in ("true", "false")
    )
    if not plain:
        return SessionChange(None, None, followed=False)
    name = arguments[0][1].strip("'").lower()
    if "isolation" in name:
        return SessionChange(name, None, isolation=True, local=words[7] == "true")
    return SessionChange(name, (arguments[1][1],), local=words[7] == "true")
