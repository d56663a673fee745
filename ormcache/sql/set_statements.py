"""Parses SET, RESET and set_config(): which setting a statement sets, and to what."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ormcache.sql.lexer import Token, TokenKind
from ormcache.sql.search_path import fold
from ormcache.sql.statement import Parameter, SessionChange

#: Settings that no result depends on, of PostgreSQL and of MySQL
_IRRELEVANT = frozenset(
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

#: Modes of MySQL under which the lexer's rules for quotes and backslashes hold. ANSI and its like combine several.
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
#: Settings of MySQL by which the bytes of a text are decoded
_ENCODINGS = frozenset({"names", "character set", "character_set_client"})
#: Scopes of MySQL that later sessions begin with, and that do not change this one
_LATER_SESSIONS = ("global", "persist", "persist_only")

_TRUE, _FALSE = frozenset({"true", "'true'", "'t'"}), frozenset({"false", "'false'", "'f'"})

UNTRACKED = SessionChange(None, None, is_tracked=False)
OPAQUE_FROM_HERE = SessionChange(None, None, is_tracked=False, makes_opaque=True)


def setting_change(
    name: str, value: tuple[str | Parameter, ...] | None, *, local: bool | Parameter = False, whole: bool = False
) -> SessionChange | None:
    """Return the change of a setting to a value, or to its default (None); None if no result depends on it."""
    if name == "standard_conforming_strings":
        # With anything but "on", the lexer's rules for quotes do not hold.
        return None if value in (("on",), ("'on'",), ("true",), ("'true'",), ("1",)) else OPAQUE_FROM_HERE
    if name == "sql_mode" and not _has_known_modes(value):
        return OPAQUE_FROM_HERE
    if name in _ENCODINGS and value is not None and _plain_text(value[:1]) not in _CHARACTER_SETS:
        return OPAQUE_FROM_HERE
    if name in _IRRELEVANT:
        return None
    return SessionChange(name, value, local, isolation=name in _ISOLATION, whole=whole)


def _has_known_modes(value: tuple[str | Parameter, ...] | None) -> bool:
    modes = None if value is None else _plain_text(value)
    return modes is not None and all(mode.strip().upper() in _MODES for mode in modes.split(",") if mode.strip())


def _plain_text(value: tuple[str | Parameter, ...]) -> str | None:
    """Return the text of a value that is one word, or one literal without quotes, backslashes and placeholders."""
    if len(value) != 1 or isinstance(value[0], Parameter):
        return None
    text = value[0]
    if text[:1] in ("'", '"') and text[-1:] == text[:1] and len(text) > 1:
        text = text[1:-1]
    return text if not set(text) & set("'\"\\%") else None


def combine(changes: Sequence[SessionChange | None]) -> SessionChange | None:
    """Combine the changes of one statement, in order, into one change; None if no result depends on any."""
    real = [change for change in changes if change is not None]
    for change in real:
        if not change.is_tracked:
            return OPAQUE_FROM_HERE if any(other.makes_opaque for other in real) else change
    if not real:
        return None
    return replace(real[0], also=tuple(real[1:]))


# SET ------------------------------------------------------------------------------------------


def parse_set_postgresql(tokens: list[Token], words: list[str]) -> SessionChange | None:
    """Parse PostgreSQL's ``SET [SESSION | LOCAL] …``."""
    at = 1
    local = words[1] == "local"
    if words[1] in ("session", "local") and words[2:3] != ["authorization"]:
        at = 2
    if words[at : at + 1] == ["constraints"]:
        return None
    if words[at : at + 1] == ["transaction"] or words[at : at + 1] == ["characteristics"]:
        return _transaction_change(words[at:], local=words[1] != "session")
    name, after = parse_setting_name(tokens[at:])
    if not name:
        return UNTRACKED
    if name not in _LISTS and any(token == (TokenKind.PUNCTUATION, ",") for token in tokens[at:]):
        return UNTRACKED
    value = spell(tokens)[at + after :]
    if value[:1] in (("=",), ("to",)):
        value = value[1:]
    default = value in ((), ("default",)) or (name == "timezone" and value == ("local",))
    return setting_change(name, None if default else value, local=local)


def _transaction_change(words: list[str], *, local: bool) -> SessionChange | None:
    """Return the change of SET TRANSACTION (this transaction or the next one) and SET SESSION CHARACTERISTICS (all)."""
    if {"isolation", "snapshot"}.isdisjoint(words):
        return None  # READ ONLY, DEFERRABLE and their opposites
    return SessionChange("transaction", tuple(words), local, isolation=True)


def parse_set_mysql(tokens: list[Token], words: list[str]) -> SessionChange | None:
    """Parse MySQL's ``SET a = 1, SESSION b = 2, @@c = 3, @d = 4, NAMES x``."""
    scope = words[1] if words[1] in ("session", "local", *_LATER_SESSIONS) else ""
    at = 2 if scope else 1
    if words[at : at + 1] == ["transaction"]:
        if scope == "global":
            return None
        return _transaction_change(words[at:], local=not scope)
    if words[1] == "password" or words[1:3] in (["default", "role"], ["resource", "group"]):
        return None
    if words[1] == "role":
        value = spell(tokens)[2:]
        # Which roles those are depends on the user's account.
        return SessionChange("role", None if value in (("default",), ("all",)) else value)
    pieces = spell(tokens)
    changes: list[SessionChange | None] = []
    later = False  # whether a part has named a scope that those after it may inherit
    for start, end in _split_parts(tokens, 1):
        change, later = _parse_assignment(tokens[start:end], words[start:end], pieces[start:end], later)
        changes.append(change)
    return combine(changes)


def _split_parts(tokens: list[Token], start: int) -> Iterator[tuple[int, int]]:
    """Yield begin and end of each part between commas that are in no parentheses."""
    depth, begin = 0, start
    for at in range(start, len(tokens)):
        text = tokens[at][1] if tokens[at][0] is TokenKind.PUNCTUATION else ""
        depth += (text == "(") - (text == ")")
        if text == "," and depth == 0:
            yield begin, at
            begin = at + 1
    yield begin, len(tokens)


def _parse_assignment(
    tokens: list[Token], words: list[str], pieces: tuple[str | Parameter, ...], later: bool
) -> tuple[SessionChange | None, bool]:
    """Return the change of one part of MySQL's SET, and whether the parts behind it may be for other sessions."""
    if not tokens:
        return UNTRACKED, later
    if words[0] in _LATER_SESSIONS and len(words) > 1 and words[1] != "":
        return None, True
    own = words[0] in ("session", "local")
    at = 1 if own else 0
    if at >= len(tokens):
        return UNTRACKED, later
    kind, text = tokens[at]
    if kind is TokenKind.VARIABLE:
        if not text.startswith("@@"):
            return None, later  # a user variable changes no results: queries that read one are not cached
        scope, _, name = text[2:].lower().replace("`", "").rpartition(".")
        if scope in _LATER_SESSIONS:
            return None, later
        if scope not in ("", "session", "local"):
            return UNTRACKED, later
        after = at + 1
    elif words[at] == "names":
        return _names_change("names", pieces[at + 1 :]), later
    elif words[at : at + 2] in (["character", "set"], ["char", "set"]):
        return _names_change("character set", pieces[at + 2 :]), later
    elif words[at] == "charset":
        return _names_change("character set", pieces[at + 1 :]), later
    elif later and not own:
        return UNTRACKED, later
    else:
        name, length = parse_setting_name(tokens[at:])
        after = at + length
    if pieces[after : after + 1] not in (("=",), (":=",)):
        return UNTRACKED, later
    value = pieces[after + 1 :]
    if name in _IRRELEVANT:
        return None, later
    if not _is_plain_value(tokens[after + 1 :]):
        return (OPAQUE_FROM_HERE if name == "sql_mode" or name in _ENCODINGS else UNTRACKED), later
    return setting_change(name, None if value == ("default",) else value), later


def changes_other_sessions(tokens: list[Token], words: list[str]) -> bool:
    """Return whether MySQL's SET changes what other sessions begin with, in a setting that results depend on."""
    if words[:3] == ["set", "default", "role"]:
        return True
    later = False
    for start, end in _split_parts(tokens, 1):
        if start == end:
            continue
        kind, text = tokens[start]
        if words[start] in _LATER_SESSIONS and end - start > 1 and words[start + 1]:
            later = True
            name = parse_setting_name(tokens[start + 1 : end])[0]
        elif kind is TokenKind.VARIABLE:
            scope, _, name = text[2:].lower().replace("`", "").rpartition(".")
            if not text.startswith("@@") or scope not in _LATER_SESSIONS:
                continue
        elif later and words[start] not in ("session", "local"):
            name = parse_setting_name(tokens[start:end])[0]
        else:
            continue
        if name not in _IRRELEVANT:
            return True
    return False


def _names_change(name: str, value: tuple[str | Parameter, ...]) -> SessionChange | None:
    """Return the change of ``SET NAMES x [COLLATE y]`` or ``SET CHARACTER SET x``."""
    if value == ("default",):
        return setting_change(name, None)
    if len(value) not in (1, 3) or (len(value) == 3 and value[1] != "collate"):
        return OPAQUE_FROM_HERE
    return setting_change(name, value)


_VALUES = (TokenKind.WORD, TokenKind.QUOTED, TokenKind.LITERAL, TokenKind.NUMBER, TokenKind.PLACEHOLDER)


def _is_plain_value(value: list[Token]) -> bool:
    """Return whether it is a single value, and no expression whose result only the server knows."""
    if len(value) == 2 and value[0] in ((TokenKind.OPERATOR, "-"), (TokenKind.OPERATOR, "+")):
        return value[1][0] is TokenKind.NUMBER
    return len(value) == 1 and value[0][0] in _VALUES


def parse_reset(tokens: list[Token], words: list[str]) -> SessionChange | None:
    """Parse PostgreSQL's ``RESET x`` and ``RESET ALL``."""
    if words[1:2] == ["all"] or len(tokens) < 2:
        return SessionChange("all", None)
    return setting_change(parse_setting_name(tokens[1:])[0], None)


def parse_setting_name(tokens: list[Token]) -> tuple[str, int]:
    """Return the dotted name of a setting at the beginning, and how many tokens it takes."""
    words = [fold(text) for _, text in tokens]
    alias = _ALIASES.get(" ".join(words[:2]))
    if alias is not None:
        return alias, 2
    at = 1
    while words[at : at + 1] == ["."] and at + 1 < len(words):
        at += 2
    name = "".join(words[:at])
    return _SHORT_ALIASES.get(name, name), at


def spell(tokens: Sequence[Token]) -> tuple[str | Parameter, ...]:
    """Return texts that differ for tokens of different values: a quoted name keeps its quotes, a bare one is folded."""
    placeholders = sum(kind is TokenKind.PLACEHOLDER for kind, _ in tokens)
    found: list[str | Parameter] = []
    seen = 0
    for kind, text in tokens:
        if kind is TokenKind.PLACEHOLDER:
            found.append(Parameter(text[2:-2] if text.startswith("%(") else seen, placeholders))
            seen += 1
        elif kind is TokenKind.QUOTED:
            found.append('"' + text.replace('"', '""') + '"')
        else:
            found.append(fold(text) if kind is TokenKind.WORD else text)
    return tuple(found)


#: Types to which a cast changes no argument of set_config()
_PLAIN_TYPES = (("text",), ("varchar",), ("boolean",), ("bool",))

#: Settings that one SELECT may set; with more of them the session is untracked
MOST_AT_ONCE = 50

# set_config() ---------------------------------------------------------------------------------


def parse_set_config(tokens: list[Token], words: list[str]) -> SessionChange | None:
    """Parse ``SELECT set_config(name, value, local) [AS alias], …``, PostgreSQL's SET with parameters."""
    if all(text.lower() != "set_config" for _, text in tokens):
        return None
    changes = _parse_calls(tokens, words) if words[0] == "select" else None
    if changes is None:
        return UNTRACKED if _keeps_quoting_rules(tokens) else OPAQUE_FROM_HERE
    return combine(changes)


def _parse_calls(tokens: list[Token], words: list[str]) -> list[SessionChange | None] | None:
    """Return the change of each call; None if the list has anything but calls with plain arguments."""
    pieces = spell(tokens)
    if pieces.count("set_config") > MOST_AT_ONCE:
        return None
    changes: list[SessionChange | None] = []
    for start, end in _split_parts(tokens, 1):
        at = start + 2 if pieces[start : start + 2] == ("pg_catalog", ".") else start
        if pieces[at : at + 2] != ("set_config", "("):
            return None
        close = _find_closing(pieces, at + 1, end)
        arguments = [
            _parse_argument(tokens[one:other], pieces[one:other]) for one, other in _split_parts(tokens[:close], at + 2)
        ]
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
            changes.append(setting_change(fold(name[1:-1]), value, local=local, whole=True))
    return changes


def _parse_argument(tokens: list[Token], pieces: tuple[str | Parameter, ...]) -> str | Parameter | None:
    """Return an argument that is a literal or a placeholder, cast or not; None for anything else."""
    if pieces[:2] == ("cast", "(") and pieces[3:4] == ("as",) and pieces[5:] == (")",):
        tokens, pieces = [tokens[2], tokens[3], tokens[4]], (pieces[2], "::", pieces[4])
    if not tokens or _after_cast(pieces, 1) != len(tokens):
        return None
    kind, piece = tokens[0][0], pieces[0]
    plain = kind in (TokenKind.LITERAL, TokenKind.PLACEHOLDER) or piece in ("true", "false", "null")
    return piece if plain else None


def _after_cast(pieces: tuple[str | Parameter, ...], at: int) -> int:
    """Return where the cast that may begin at ``at`` has ended."""
    return at + 2 if pieces[at : at + 1] == ("::",) and pieces[at + 1 : at + 2] in _PLAIN_TYPES else at


def _find_closing(pieces: Sequence[str | Parameter], at: int, end: int) -> int:
    """Return where the parenthesis at ``at`` is closed, or ``end`` if it is not closed before."""
    depth = 0
    for n in range(at, end):
        depth += (pieces[n] == "(") - (pieces[n] == ")")
        if depth == 0:
            return n
    return end


def _is_alias(tokens: list[Token], words: list[str], at: int, end: int) -> bool:
    """Return whether nothing, or the alias of a column, stands from ``at`` to ``end``."""
    if at < end and words[at] == "as":
        at += 1
        return end - at == 1 and tokens[at][0] in (TokenKind.WORD, TokenKind.QUOTED)
    return at == end or (end - at == 1 and tokens[at][0] is TokenKind.QUOTED)


def _keeps_quoting_rules(tokens: list[Token]) -> bool:
    """Return whether no ``set_config`` in the statement can set ``standard_conforming_strings``."""
    for at, (_, text) in enumerate(tokens):
        if text.lower() == "set_config":
            (kind, name), after = (*tokens[at + 2 : at + 4], (TokenKind.PUNCTUATION, ""), (TokenKind.PUNCTUATION, ""))[
                :2
            ]
            if (
                kind is not TokenKind.LITERAL
                or after[1] != ","
                or name.strip("'").lower() == "standard_conforming_strings"
            ):
                return False
    return True
