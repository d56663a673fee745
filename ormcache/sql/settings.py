"""Which setting a statement sets, and to what: SET, RESET and set_config()."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ormcache.sql.lexer import Kind, Token
from ormcache.sql.search_path import fold
from ormcache.sql.statement import Parameter, SessionChange

#: Settings that no result depends on
_HARMLESS = frozenset(
    """
    application_name auto_increment_increment auto_increment_offset binlog_format bulk_insert_buffer_size
    check_constraint_checks check_function_bodies client_min_messages constraints cursor_tuple_fraction
    deadlock_timeout default_statistics_target default_storage_engine default_tablespace
    default_transaction_deferrable default_transaction_read_only effective_cache_size effective_io_concurrency
    enable_bitmapscan enable_hashagg enable_hashjoin enable_indexonlyscan enable_indexscan enable_material
    enable_mergejoin enable_nestloop enable_partition_pruning enable_seqscan enable_sort foreign_key_checks
    hash_mem_multiplier idle_in_transaction_session_timeout idle_session_timeout innodb_lock_wait_timeout
    innodb_strict_mode interactive_timeout jit join_buffer_size join_collapse_limit from_collapse_limit lc_messages
    lock_timeout lock_wait_timeout log_duration log_min_duration_statement log_min_messages log_statement
    long_query_time maintenance_work_mem max_execution_time max_heap_table_size max_parallel_workers_per_gather
    max_statement_time net_read_timeout net_write_timeout optimizer_switch parallel_setup_cost parallel_tuple_cost
    plan_cache_mode profiling random_page_cost read_rnd_buffer_size seed seq_page_cost slow_query_log
    sort_buffer_size sql_log_bin sql_notes sql_safe_updates sql_warnings statement_timeout synchronous_commit
    temp_buffers temp_tablespaces tmp_table_size transaction_deferrable transaction_read_only transaction_timeout
    tx_read_only unique_checks wait_timeout work_mem
    """.split()
)

_ISOLATION = frozenset({"default_transaction_isolation", "transaction_isolation", "tx_isolation"})

#: Words that stand for a setting of another name
_ALIASES = {"time zone": "timezone", "session authorization": "session_authorization", "xml option": "xmloption"}
_SHORT_ALIASES = {"schema": "search_path", "names": "client_encoding"}

#: PostgreSQL's settings that are lists
_LISTS = frozenset({"search_path", "datestyle"})

#: Modes of MySQL under which quotes and backslashes read as the lexer thinks. ANSI and the like stand for several.
_MODES = frozenset(
    """
    ALLOW_INVALID_DATES EMPTY_STRING_IS_NULL ERROR_FOR_DIVISION_BY_ZERO HIGH_NOT_PRECEDENCE IGNORE_SPACE
    NO_AUTO_CREATE_USER NO_AUTO_VALUE_ON_ZERO NO_DIR_IN_CREATE NO_ENGINE_SUBSTITUTION NO_UNSIGNED_SUBTRACTION
    NO_ZERO_DATE NO_ZERO_IN_DATE ONLY_FULL_GROUP_BY PAD_CHAR_TO_FULL_LENGTH PIPES_AS_CONCAT REAL_AS_FLOAT
    SIMULTANEOUS_ASSIGNMENT STRICT_ALL_TABLES STRICT_TRANS_TABLES TIME_TRUNCATE_FRACTIONAL TRADITIONAL
    """.split()
)
#: Character sets of MySQL in which no byte of a longer character is a quote or a backslash
_CHARACTER_SETS = frozenset({"utf8", "utf8mb3", "utf8mb4", "latin1", "ascii", "binary"})
#: Settings by which MySQL is told how the bytes of a text are to be read
_ENCODINGS = frozenset({"names", "character set", "character_set_client"})
#: Of MySQL's scopes, those that another session begins with and this one keeps to what it has
_LATER_SESSIONS = ("global", "persist", "persist_only")

_TRUE, _FALSE = frozenset({"true", "'true'", "'t'"}), frozenset({"false", "'false'", "'f'"})

UNFOLLOWED = SessionChange(None, None, followed=False)
HIDING = SessionChange(None, None, followed=False, hides=True)


def setting(
    name: str, value: tuple[str | Parameter, ...] | None, *, local: bool | Parameter = False, whole: bool = False
) -> SessionChange | None:
    """What it means that a setting is set to a value (None: to its default), or None if no result depends on it."""
    if name == "standard_conforming_strings":
        # With anything but "on" quotes do not read as the lexer thinks.
        return None if value in (("on",), ("'on'",), ("true",), ("'true'",), ("1",)) else HIDING
    if name == "sql_mode" and not _keeps_lexicon(value):
        return HIDING
    if name in _ENCODINGS and value is not None and _plain_text(value[:1]) not in _CHARACTER_SETS:
        return HIDING
    if name in _HARMLESS:
        return None
    return SessionChange(name, value, local, isolation=name in _ISOLATION, whole=whole)


def _keeps_lexicon(value: tuple[str | Parameter, ...] | None) -> bool:
    modes = None if value is None else _plain_text(value)
    return modes is not None and all(mode.strip().upper() in _MODES for mode in modes.split(",") if mode.strip())


def _plain_text(value: tuple[str | Parameter, ...]) -> str | None:
    """The text of a value that is one word or one literal without anything special in it."""
    if len(value) != 1 or isinstance(value[0], Parameter):
        return None
    text = value[0]
    if text[:1] in ("'", '"') and text[-1:] == text[:1] and len(text) > 1:
        text = text[1:-1]
    return text if not set(text) & set("'\"\\%") else None


def combined(changes: Sequence[SessionChange | None]) -> SessionChange | None:
    """What one statement changes that sets several things in this order."""
    real = [change for change in changes if change is not None]
    for change in real:
        if not change.followed:
            hides = any(other.hides for other in real)
            return HIDING if hides else change
    if not real:
        return None
    return replace(real[0], also=tuple(real[1:]))


# SET ------------------------------------------------------------------------------------------


def set_postgresql(tokens: list[Token], words: list[str]) -> SessionChange | None:
    """``SET [SESSION | LOCAL] …``"""
    at = 1
    local = words[1] == "local"
    if words[1] in ("session", "local") and words[2:3] != ["authorization"]:
        at = 2
    if words[at : at + 1] == ["constraints"]:
        return None
    if words[at : at + 1] == ["transaction"] or words[at : at + 1] == ["characteristics"]:
        return _transaction(words[at:], local=words[1] != "session")
    name, after = name_of(tokens[at:])
    if not name:
        return UNFOLLOWED
    if name not in _LISTS and any(token == (Kind.PUNCTUATION, ",") for token in tokens[at:]):
        return UNFOLLOWED
    value = spelled(tokens)[at + after :]
    if value[:1] in (("=",), ("to",)):
        value = value[1:]
    default = value in ((), ("default",)) or (name == "timezone" and value == ("local",))
    return setting(name, None if default else value, local=local)


def _transaction(words: list[str], *, local: bool) -> SessionChange | None:
    """SET TRANSACTION for the open one or the next one, SET SESSION CHARACTERISTICS AS TRANSACTION for all."""
    if {"isolation", "snapshot"}.isdisjoint(words):
        return None  # READ ONLY, DEFERRABLE and their opposites
    return SessionChange("transaction", tuple(words), local, isolation=True)


def set_mysql(tokens: list[Token], words: list[str]) -> SessionChange | None:
    """``SET a = 1, SESSION b = 2, @@c = 3, @d = 4, NAMES x``"""
    scope = words[1] if words[1] in ("session", "local", *_LATER_SESSIONS) else ""
    at = 2 if scope else 1
    if words[at : at + 1] == ["transaction"]:
        if scope == "global":
            return None
        return _transaction(words[at:], local=not scope)
    if words[1] == "password" or words[1:3] in (["default", "role"], ["resource", "group"]):
        return None
    if words[1] == "role":
        value = spelled(tokens)[2:]
        # Which roles those are is kept in the user's account.
        return SessionChange("role", None if value in (("default",), ("all",)) else value)
    pieces = spelled(tokens)
    changes: list[SessionChange | None] = []
    later = False  # has a part named a scope that those after it may inherit?
    for start, end in _parts(tokens, 1):
        change, later = _assigned(tokens[start:end], words[start:end], pieces[start:end], later)
        changes.append(change)
    return combined(changes)


def _parts(tokens: list[Token], start: int) -> Iterator[tuple[int, int]]:
    """What stands between the commas that are in no parentheses."""
    depth, begin = 0, start
    for at in range(start, len(tokens)):
        text = tokens[at][1] if tokens[at][0] is Kind.PUNCTUATION else ""
        depth += (text == "(") - (text == ")")
        if text == "," and depth == 0:
            yield begin, at
            begin = at + 1
    yield begin, len(tokens)


def _assigned(
    tokens: list[Token], words: list[str], pieces: tuple[str | Parameter, ...], later: bool
) -> tuple[SessionChange | None, bool]:
    """One part of MySQL's SET, and whether what follows may be meant for other sessions too."""
    if not tokens:
        return UNFOLLOWED, later
    if words[0] in _LATER_SESSIONS and len(words) > 1 and words[1] != "":
        return None, True
    own = words[0] in ("session", "local")
    at = 1 if own else 0
    if at >= len(tokens):
        return UNFOLLOWED, later
    kind, text = tokens[at]
    if kind is Kind.VARIABLE:
        if not text.startswith("@@"):
            return None, later  # a user's variable alone changes nothing: queries that read one are not cached
        scope, _, name = text[2:].lower().replace("`", "").rpartition(".")
        if scope in _LATER_SESSIONS:
            return None, later
        if scope not in ("", "session", "local"):
            return UNFOLLOWED, later
        after = at + 1
    elif words[at] == "names":
        return _set_names("names", pieces[at + 1 :]), later
    elif words[at : at + 2] in (["character", "set"], ["char", "set"]):
        return _set_names("character set", pieces[at + 2 :]), later
    elif words[at] == "charset":
        return _set_names("character set", pieces[at + 1 :]), later
    elif later and not own:
        return UNFOLLOWED, later
    else:
        name, length = name_of(tokens[at:])
        after = at + length
    if pieces[after : after + 1] not in (("=",), (":=",)):
        return UNFOLLOWED, later
    value = pieces[after + 1 :]
    if name in _HARMLESS:
        return None, later
    if not _is_plain(tokens[after + 1 :]):
        return (HIDING if name == "sql_mode" or name in _ENCODINGS else UNFOLLOWED), later
    return setting(name, None if value == ("default",) else value), later


def _set_names(name: str, value: tuple[str | Parameter, ...]) -> SessionChange | None:
    """SET NAMES x [COLLATE y], SET CHARACTER SET x"""
    if value == ("default",):
        return setting(name, None)
    if len(value) not in (1, 3) or (len(value) == 3 and value[1] != "collate"):
        return HIDING
    return setting(name, value)


_VALUES = (Kind.WORD, Kind.QUOTED, Kind.LITERAL, Kind.NUMBER, Kind.PLACEHOLDER)


def _is_plain(value: list[Token]) -> bool:
    """Is it a value and no expression, whose result nobody knows?"""
    if len(value) == 2 and value[0] in ((Kind.OPERATOR, "-"), (Kind.OPERATOR, "+")):
        return value[1][0] is Kind.NUMBER
    return len(value) == 1 and value[0][0] in _VALUES


def reset(tokens: list[Token], words: list[str]) -> SessionChange | None:
    """PostgreSQL's ``RESET x`` and ``RESET ALL``"""
    if words[1:2] == ["all"] or len(tokens) < 2:
        return SessionChange("all", None)
    return setting(name_of(tokens[1:])[0], None)


def name_of(tokens: list[Token]) -> tuple[str, int]:
    """The dotted name at the beginning, and how many tokens it takes."""
    words = [fold(text) for _, text in tokens]
    alias = _ALIASES.get(" ".join(words[:2]))
    if alias is not None:
        return alias, 2
    at = 1
    while words[at : at + 1] == ["."] and at + 1 < len(words):
        at += 2
    name = "".join(words[:at])
    return _SHORT_ALIASES.get(name, name), at


def spelled(tokens: Sequence[Token]) -> tuple[str | Parameter, ...]:
    """The tokens, different for different values: a quoted name is not the bare one, which is folded."""
    placeholders = sum(kind is Kind.PLACEHOLDER for kind, _ in tokens)
    found: list[str | Parameter] = []
    seen = 0
    for kind, text in tokens:
        if kind is Kind.PLACEHOLDER:
            found.append(Parameter(text[2:-2] if text.startswith("%(") else seen, placeholders))
            seen += 1
        elif kind is Kind.QUOTED:
            found.append('"' + text.replace('"', '""') + '"')
        else:
            found.append(fold(text) if kind is Kind.WORD else text)
    return tuple(found)


#: Settings that one SELECT may set to be followed
MOST_AT_ONCE = 50

# set_config() ---------------------------------------------------------------------------------


def set_config(tokens: list[Token], words: list[str]) -> SessionChange | None:
    """``SELECT set_config(name, value, local) [AS alias], …``, the way to SET with parameters in PostgreSQL."""
    if all(text.lower() != "set_config" for _, text in tokens):
        return None
    changes = _set_configs(tokens, words) if words[0] == "select" else None
    if changes is None:
        return UNFOLLOWED if _names_harmless_settings(tokens) else HIDING
    return combined(changes)


def _set_configs(tokens: list[Token], words: list[str]) -> list[SessionChange | None] | None:
    """What each of them sets, or None where anything but calls with plain arguments stands in the list."""
    pieces = spelled(tokens)
    if pieces.count("set_config") > MOST_AT_ONCE:
        return None
    changes: list[SessionChange | None] = []
    for start, end in _parts(tokens, 1):
        at = start + 2 if pieces[start : start + 2] == ("pg_catalog", ".") else start
        if pieces[at : at + 2] != ("set_config", "("):
            return None
        close = next((n for n in range(at, end) if pieces[n] == ")"), end)
        arguments = [_argument(tokens[one:other], pieces[one:other]) for one, other in _parts(tokens[:close], at + 2)]
        if close == end or not _is_alias(tokens, words, _after_cast(pieces, close + 1), end) or len(arguments) != 3:
            return None
        name, text, third = arguments
        if name is None or text is None or third is None:
            return None
        if isinstance(third, str) and third not in _TRUE | _FALSE:
            return None
        local = third if isinstance(third, Parameter) else third in _TRUE
        value = None if text == "null" else (text,)
        if isinstance(name, Parameter):
            changes.append(SessionChange(name, value, local, whole=True))
        elif not name.startswith("'") or set(name[1:-1]) & set("'%"):
            return None
        else:
            changes.append(setting(fold(name[1:-1]), value, local=local, whole=True))
    return changes


def _argument(tokens: list[Token], pieces: tuple[str | Parameter, ...]) -> str | Parameter | None:
    """An argument that is a literal or a placeholder, cast or not; None for anything else."""
    if not tokens or _after_cast(pieces, 1) != len(tokens):
        return None
    kind, piece = tokens[0][0], pieces[0]
    plain = kind in (Kind.LITERAL, Kind.PLACEHOLDER) or piece in ("true", "false", "null")
    return piece if plain else None


def _after_cast(pieces: tuple[str | Parameter, ...], at: int) -> int:
    return at + 2 if pieces[at : at + 2] in (("::", "text"), ("::", "boolean"), ("::", "bool")) else at


def _is_alias(tokens: list[Token], words: list[str], at: int, end: int) -> bool:
    """Is there nothing, or the name of a column?"""
    if at < end and words[at] == "as":
        at += 1
        return end - at == 1 and tokens[at][0] in (Kind.WORD, Kind.QUOTED)
    return at == end or (end - at == 1 and tokens[at][0] is Kind.QUOTED)


def _names_harmless_settings(tokens: list[Token]) -> bool:
    """Is the setting that decides how texts are to be read in no ``set_config``, wherever it stands?"""
    for at, (_, text) in enumerate(tokens):
        if text.lower() == "set_config":
            (kind, name), after = (*tokens[at + 2 : at + 4], (Kind.PUNCTUATION, ""), (Kind.PUNCTUATION, ""))[:2]
            if kind is not Kind.LITERAL or after[1] != "," or name.strip("'").lower() == "standard_conforming_strings":
                return False
    return True
