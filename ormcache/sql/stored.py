"""Code that a database has stored: the bodies of triggers, functions, rules, procedures."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from ormcache.sql.lexer import VENDORS, Kind, lex
from ormcache.sql.names import literal_names

#: Words after which a statement begins in a body of code; so it does at the beginning and behind a semicolon
_OPENERS = frozenset({"begin", "then", "else", "loop", "do", "atomic", "declare", "repeat"})
#: Statements that change the session
_SETTERS = frozenset({"set", "reset", "discard", "use"})
#: MySQL: what SET can be followed by when it is not a variable of the code itself
_SESSION_VARIABLES = frozenset(
    """
    character charset collation_connection default default_week_format div_precision_increment global
    group_concat_max_len lc_time_names local names password role session sql_auto_is_null sql_mode sql_select_limit
    statement time_zone timestamp transaction tx_isolation transaction_isolation autocommit
    """.split()
)


@dataclass(frozen=True, slots=True)
class Stored:
    """What can be told of a piece of stored code by its words."""

    names: frozenset[str]  # every identifier and keyword, folded
    qualifiers: frozenset[str]  # those of them that stand before a dot
    sets: bool  # it may change settings of the session by a statement of its own


def read_stored(code: str, vendor: str) -> Stored | None:
    """The words of ``code`` by the rules of ``vendor``; None where it does not lex cleanly."""
    tokens = lex(code, vendor) if vendor in VENDORS else None
    if tokens is None:
        return None
    words = [text.lower() if kind is Kind.WORD else "" for kind, text in tokens]
    sets = any(
        word in _SETTERS
        and (not at or words[at - 1] in _OPENERS or tokens[at - 1] == (Kind.PUNCTUATION, ";"))
        and (vendor != "mysql" or _sets_session(tokens[at + 1 : at + 2]))
        for at, word in enumerate(words)
    )
    names = frozenset(text.lower() for kind, text in tokens if kind in _NAMES) | literal_names(tokens, vendor)
    qualifiers = frozenset(
        text.lower() for (kind, text), after in pairwise(tokens) if kind in _NAMES and after == (Kind.PUNCTUATION, ".")
    )
    return Stored(names, qualifiers, sets)


_NAMES = (Kind.WORD, Kind.QUOTED)


def _sets_session(target: list[tuple[Kind, str]]) -> bool:
    """MySQL: is what follows SET more than a variable of the code or of the user?"""
    for kind, text in target:
        if kind is Kind.VARIABLE:
            return text.startswith("@@")
        return text.lower() in _SESSION_VARIABLES
    return True
