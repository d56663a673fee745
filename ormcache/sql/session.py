"""Statements about the session and its transactions: SET and its like, PRAGMA, BEGIN to ROLLBACK."""

from __future__ import annotations

from ormcache import reasons
from ormcache.sql.lexer import Kind, Token
from ormcache.sql.statement import Effect, SessionChange, Statement

#: SQLite pragmas that change neither rows nor what a query answers
_HARMLESS_PRAGMAS = frozenset(
    """
    application_id auto_vacuum busy_timeout cache_size cache_spill checkpoint_fullfsync collation_list
    compile_options database_list data_version defer_foreign_keys foreign_key_check foreign_key_list foreign_keys
    freelist_count fullfsync function_list incremental_vacuum index_info index_list index_xinfo integrity_check
    journal_mode journal_size_limit legacy_alter_table locking_mode max_page_count mmap_size module_list optimize
    page_count page_size pragma_list quick_check schema_version secure_delete shrink_memory soft_heap_limit
    synchronous table_info table_list table_xinfo temp_store threads user_version wal_autocheckpoint wal_checkpoint
    """.split()
)

#: Settings that no result depends on
_HARMLESS_SETTINGS = frozenset(
    """
    application_name client_min_messages constraints deadlock_timeout effective_cache_size enable_hashjoin
    enable_indexscan enable_mergejoin enable_nestloop enable_seqscan foreign_key_checks
    idle_in_transaction_session_timeout jit lock_timeout lock_wait_timeout innodb_lock_wait_timeout
    maintenance_work_mem max_execution_time max_statement_time net_read_timeout net_write_timeout random_page_cost
    statement_timeout synchronous_commit unique_checks wait_timeout work_mem
    """.split()
)


def pragma(tokens: list[Token], digest: bytes) -> Statement:
    if any(text.lower() in _HARMLESS_PRAGMAS for kind, text in tokens[1:4] if kind is Kind.WORD):
        return Statement(Effect.HARMLESS, digest, obstacle=reasons.NOT_A_READ)
    change = SessionChange(None, None, followed=False)
    return Statement(Effect.SESSION, digest, obstacle=reasons.NOT_A_READ, session=change)


def transaction(tokens: list[Token], words: list[str], digest: bytes) -> Statement:
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
        return Statement(Effect.OPAQUE, digest, obstacle=reasons.NOT_A_READ)
    serial = first == "begin" and bool({"repeatable", "serializable", "snapshot", "immediate", "exclusive"} & set(rest))
    return Statement(
        Effect.TRANSACTION,
        digest,
        obstacle=reasons.NOT_A_READ,
        transaction=first,
        savepoint=savepoint,
        serial=serial,
        chains="chain" in rest and "no" not in rest,
    )


def session(tokens: list[Token], words: list[str], vendor: str, digest: bytes) -> Statement:
    if words[0] == "set" and "autocommit" in words[1:3]:
        on = tokens[-1][1].lower() in ("1", "on", "true")
        return Statement(
            Effect.TRANSACTION,
            digest,
            obstacle=reasons.NOT_A_READ,
            transaction="autocommit on" if on else "autocommit off",
        )
    change = _session_change(tokens, words, vendor)
    effect = Effect.HARMLESS if change is None else Effect.SESSION
    return Statement(effect, digest, obstacle=reasons.NOT_A_READ, session=change)


def _session_change(tokens: list[Token], words: list[str], vendor: str) -> SessionChange | None:
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
    local = words[1] == "local" and vendor == "postgresql"  # in MySQL another word for SESSION
    if words[1] in ("session", "local") and words[2:3] != ["authorization"]:
        at = 2
    if "transaction" in words[at : at + 3] or "characteristics" in words[at : at + 2]:
        return SessionChange("transaction", tuple(words), isolation=True, local="session" not in words)
    name, after = _setting_name(tokens[at:])
    if any(setting in text.lower() for _, text in tokens for setting in _LEXICAL_SETTINGS):
        return SessionChange(None, None, followed=False, hides=True)
    if words[at] == "constraints":
        return None
    several = any(token == (Kind.PUNCTUATION, ",") for token in tokens[at:])
    if several and name not in ("search_path", "datestyle"):
        return SessionChange(None, None, followed=False)  # MySQL: several settings at once
    if name in _HARMLESS_SETTINGS:
        return None
    if any(kind is Kind.VARIABLE for kind, _ in tokens):
        # MySQL: a user's variable alone changes nothing (queries that read one are not cached).
        user_variable = tokens[at][1].startswith("@") and not tokens[at][1].startswith("@@")
        return None if user_variable else SessionChange(None, None, followed=False)
    if "isolation" in name:
        return SessionChange(name, tuple(words), isolation=True, local=local)
    value = tuple(_spelled(kind, text) for kind, text in tokens[at + after :])
    if value[:1] in (("=",), ("to",)):
        value = value[1:]
    return SessionChange(name, value, local=local)


def _names_a_harmless_setting(tokens: list[Token]) -> bool:
    """Is no setting that decides how texts are to be read among those of ``set_config``, wherever it stands?"""
    for at, (_, text) in enumerate(tokens):
        if text.lower() == "set_config":
            (kind, name), after = (*tokens[at + 2 : at + 4], (Kind.PUNCTUATION, ""), (Kind.PUNCTUATION, ""))[:2]
            if kind is not Kind.LITERAL or after[1] != "," or name.strip("'").lower() in _LEXICAL_SETTINGS:
                return False
    return True


def _spelled(kind: Kind, text: str) -> str:
    """Different for different values: a quoted name is not the bare one, which is folded."""
    if kind is Kind.QUOTED:
        return '"' + text.replace('"', '""') + '"'
    return text.lower() if kind is Kind.WORD else text


#: Settings that decide how a text is to be read
_LEXICAL_SETTINGS = ("sql_mode", "standard_conforming_strings")

#: Words that stand for a setting of another name
_ALIASES = {"time zone": "timezone", "session authorization": "session_authorization", "xml option": "xmloption"}
_SHORT_ALIASES = {"schema": "search_path", "names": "client_encoding"}


def _setting_name(tokens: list[Token]) -> tuple[str, int]:
    """The dotted name at the beginning, and how many tokens it takes."""
    words = [text.lower() for _, text in tokens]
    alias = _ALIASES.get(" ".join(words[:2]))
    if alias is not None:
        return alias, 2
    at = 1
    while words[at : at + 1] == ["."] and at + 1 < len(words):
        at += 2
    name = "".join(words[:at])
    return _SHORT_ALIASES.get(name, name), at


def set_config(tokens: list[Token], words: list[str]) -> SessionChange | None:
    """``SELECT set_config(name, value, local)``, the way to SET with parameters in PostgreSQL."""
    if all(text.lower() != "set_config" for _, text in tokens):
        return None
    arguments = tokens[3::2]
    plain = (
        words[:2] == ["select", "set_config"]
        and len(tokens) == 9
        and [text for _, text in tokens[2::2]] == ["(", ",", ",", ")"]
        and arguments[0][0] is Kind.LITERAL
        and arguments[0][1].startswith("'")
        and arguments[1][0] in (Kind.LITERAL, Kind.PLACEHOLDER)
        and words[7] in ("true", "false")
    )
    if not plain:
        return SessionChange(None, None, followed=False, hides=not _names_a_harmless_setting(tokens))
    name = arguments[0][1].strip("'").lower()
    if name in _LEXICAL_SETTINGS:
        return SessionChange(None, None, followed=False, hides=True)
    if "isolation" in name:
        return SessionChange(name, None, isolation=True, local=words[7] == "true")
    return SessionChange(name, (arguments[1][1],), local=words[7] == "true")
