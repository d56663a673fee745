"""MySQL: finds statements that read what an earlier statement has left in the session, its aftermath.

Every query sets ``FOUND_ROWS()``; every statement sets ``ROW_COUNT()``, the warnings and the diagnostics area
(https://dev.mysql.com/doc/refman/8.4/en/information-functions.html).
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from ormcache.sql.analysis import analyse
from ormcache.sql.lexer import TokenKind, lex
from ormcache.sql.statement import Effect
from ormcache.sql.vocabulary import REPEATABLE, UNREPEATABLE

LONGEST_REMEMBERED = 4096  # characters


class Aftermath(NamedTuple):
    """What a statement reads, and what it preserves, of what earlier statements have left in the session."""

    #: whether it may call FOUND_ROWS()
    reads_found_rows: bool
    #: whether it may read anything else of the statement before it
    reads_diagnostics: bool
    #: whether FOUND_ROWS() answers the same before and after it
    preserves_found_rows: bool


def read_aftermath(text: str, vendor: str) -> Aftermath:
    """Return what a statement reads and preserves of what earlier ones have left. Short texts are remembered."""
    return _remembered(text, vendor) if len(text) <= LONGEST_REMEMBERED else _aftermath(text, vendor)


def _aftermath(text: str, vendor: str) -> Aftermath:
    tokens = lex(text, "mysql") if vendor == "mysql" else None
    statement = analyse(text, vendor)
    if not tokens or statement.effect is Effect.OPAQUE:
        # A procedure may read it, and so does GET DIAGNOSTICS; in other databases anything that is not understood.
        opaque = statement.effect is Effect.OPAQUE
        return Aftermath(reads_found_rows=opaque, reads_diagnostics=opaque, preserves_found_rows=False)
    reads_found_rows = "found_rows" in statement.calls or not statement.calls <= _BUILT_IN
    if _SEMICOLON in tokens[:-1]:
        return Aftermath(reads_found_rows=reads_found_rows, reads_diagnostics=True, preserves_found_rows=False)
    words = [value.lower() if kind is TokenKind.WORD else "" for kind, value in tokens]
    shows = words[0] == "show" and not _SHOWN.isdisjoint(words)
    variables = any(kind is TokenKind.VARIABLE and value.lower().endswith(_COUNTS) for kind, value in tokens)
    return Aftermath(
        reads_found_rows=reads_found_rows,
        reads_diagnostics=shows or variables or "row_count" in statement.calls,
        preserves_found_rows=shows or _preserves_found_rows(words, [value for _, value in tokens], statement.effect),
    )


_remembered = lru_cache(maxsize=1024)(_aftermath)  # for the process; a text means the same to every thread

#: Functions that are known; any other one may be a stored function, which can read it
_BUILT_IN = REPEATABLE["mysql"] | UNREPEATABLE.keys()
_SEMICOLON = (TokenKind.PUNCTUATION, ";")
_SHOWN = frozenset({"warnings", "errors"})
_COUNTS = ("warning_count", "error_count", "warning_count`", "error_count`")
#: First words of statements that select, whatever else they do
_SELECTING = frozenset({"show", "explain", "describe", "desc", "handler", "help"})


def _preserves_found_rows(words: list[str], texts: list[str], effect: Effect) -> bool:
    first = words[0]
    if effect in (Effect.TRANSACTION, Effect.SESSION):
        return True
    if effect is Effect.HARMLESS:
        return first not in _SELECTING
    if "select" in words or "join" in words:
        return False  # of a write with a query inside, that is not certain
    if first == "update":
        return "," not in texts[: words.index("set")] if "set" in words else False  # not of several tables
    if first == "delete":
        return "from" in words[1:4] and "using" not in words
    return effect is Effect.SCHEMA or first in ("insert", "replace")
