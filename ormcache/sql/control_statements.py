"""Analyses statements about the session and its transactions: SET and its like, PRAGMA, BEGIN to ROLLBACK."""

from __future__ import annotations

from ormcache import reasons
from ormcache.sql.lexer import Token, TokenKind
from ormcache.sql.set_statements import (
    OPAQUE_FROM_HERE,
    UNTRACKED,
    changes_other_sessions,
    parse_reset,
    parse_set_mysql,
    parse_set_postgresql,
    spell,
)
from ormcache.sql.statement import Effect, SessionChange, Statement

#: Pragmas of SQLite that change neither rows nor what a query answers, https://sqlite.org/pragma.html. Those that
#: decide which writes pass, or what else a write does, are among them: a write counts as one to all it could reach.
_HARMLESS_PRAGMAS = frozenset(
    """
    analysis_limit application_id auto_vacuum automatic_index busy_timeout cache_size cache_spill cell_size_check
    checkpoint_fullfsync collation_list compile_options database_list data_version default_cache_size
    defer_foreign_keys foreign_key_check foreign_key_list foreign_keys freelist_count fullfsync function_list
    hard_heap_limit ignore_check_constraints incremental_vacuum index_info index_list index_xinfo integrity_check
    journal_mode journal_size_limit legacy_alter_table legacy_file_format locking_mode max_page_count mmap_size
    module_list optimize page_count page_size pragma_list query_only quick_check recursive_triggers schema_version
    secure_delete shrink_memory soft_heap_limit synchronous table_info table_list table_xinfo temp_store threads
    user_version wal_autocheckpoint wal_checkpoint
    """.split()
)
#: Pragmas that change what a query answers and nothing else. No rollback undoes them.
_TRACKED_PRAGMAS = frozenset(
    """
    case_sensitive_like count_changes empty_result_callbacks encoding full_column_names reverse_unordered_selects
    short_column_names trusted_schema
    """.split()
)


def analyse_pragma(tokens: list[Token], digest: bytes) -> Statement:
    """Analyse ``PRAGMA [schema.]name``, with ``= value`` or ``(value)`` or neither."""
    at = 3 if tokens[2:3] == [(TokenKind.PUNCTUATION, ".")] else 1
    name = tokens[at][1].lower() if at < len(tokens) else ""
    value = spell(tokens)[at + 1 :]
    change: SessionChange | None = UNTRACKED
    if name in _HARMLESS_PRAGMAS or (name in _TRACKED_PRAGMAS and not value):
        change = None
    elif name in _TRACKED_PRAGMAS:
        change = SessionChange(name, value[1:2])
    elif name == "writable_schema":
        change = OPAQUE_FROM_HERE  # an UPDATE of sqlite_schema is a schema change from then on
    effect = Effect.HARMLESS if change is None else Effect.SESSION
    return Statement(effect, digest, bypass_reason=reasons.NOT_A_READ, session=change)


def analyse_transaction_control(tokens: list[Token], words: list[str], digest: bytes) -> Statement:
    """Analyse what begins and ends transactions and savepoints."""
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
    elif first == "prepare":
        pass  # PostgreSQL: the session is out of the transaction, whose rows come with COMMIT PREPARED
    elif first != "begin":
        # COMMIT PREPARED and XA: the rows change when another statement, perhaps another session's, says so.
        return Statement(Effect.OPAQUE, digest, bypass_reason=reasons.NOT_A_READ)
    serial = first == "begin" and bool({"repeatable", "serializable", "snapshot", "immediate", "exclusive"} & set(rest))
    return Statement(
        Effect.TRANSACTION,
        digest,
        bypass_reason=reasons.NOT_A_READ,
        transaction=first,
        savepoint=savepoint,
        takes_snapshot=serial,
        chains="chain" in rest and "no" not in rest,
    )


def analyse_session_change(tokens: list[Token], words: list[str], vendor: str, digest: bytes) -> Statement:
    """Analyse SET, RESET and DISCARD, and other changes of a session: USE, ATTACH, DETACH."""
    first = words[0]
    if first == "set" and vendor == "mysql":
        if words[1:2] == ["statement"]:
            # MariaDB: SET STATEMENT … FOR any statement
            return Statement(Effect.OPAQUE, digest, bypass_reason=reasons.NOT_UNDERSTOOD)
        switched = _autocommit(tokens)
        if switched is not None:
            several = any(token == (TokenKind.PUNCTUATION, ",") for token in tokens)
            return Statement(
                Effect.TRANSACTION,
                digest,
                bypass_reason=reasons.NOT_A_READ,
                transaction=switched,
                session=UNTRACKED if several else None,
            )
    change: SessionChange | None = UNTRACKED
    if first == "discard":
        if words[1:2] == ["all"]:
            change = SessionChange(None, None)
        elif words[1:2] in (["plans"], ["sequences"]):
            change = None
    elif first == "reset" and vendor == "postgresql":
        change = parse_reset(tokens, words)
    elif first == "set" and len(tokens) > 1 and vendor != "sqlite":
        change = parse_set_mysql(tokens, words) if vendor == "mysql" else parse_set_postgresql(tokens, words)
    effect = Effect.HARMLESS if change is None else Effect.SESSION
    if vendor == "mysql" and changes_other_sessions(tokens, words):
        effect = Effect.SCHEMA  # what sessions begin with is remembered until the schema changes
    return Statement(effect, digest, bypass_reason=reasons.NOT_A_READ, session=change)


def _autocommit(tokens: list[Token]) -> str | None:
    """MySQL: return "autocommit on", "autocommit off" or "autocommit ?" for ``SET autocommit`` in any of its forms.

    "?" stands for a value that only the server knows: a variable, an expression, a parameter, DEFAULT. None for any
    other statement.
    """
    texts = [text.lower().replace("`", "") for _, text in tokens]
    for at, text in enumerate(texts):
        meant = text.startswith("@@") and text in _AUTOCOMMIT
        if meant or (text == "autocommit" and texts[at - 1] in ("set", "session", "local", ",")):
            if texts[at + 1 : at + 2] in (["="], [":="]):
                value, after = texts[at + 2 : at + 3], texts[at + 3 : at + 4]
                plain = _SWITCHED.get(value[0].strip("'\"")) if value and after in ([], [","]) else None
                if sum("autocommit" in text for text in texts) > 1:
                    plain = None
                return plain or "autocommit ?"
    return None


_AUTOCOMMIT = frozenset({"@@autocommit", "@@session.autocommit", "@@local.autocommit"})
_SWITCHED = {
    **dict.fromkeys(("1", "on", "true"), "autocommit on"),
    **dict.fromkeys(("0", "off", "false"), "autocommit off"),
}
