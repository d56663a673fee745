"""Reads code that a database has stored: the bodies of triggers, functions, rules and procedures."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from ormcache.sql.lexer import VENDORS, Token, TokenKind, lex
from ormcache.sql.names import literal_names
from ormcache.sql.nested import DEEPEST, NO_NESTED_STATEMENTS, find_nested, literal_text
from ormcache.sql.vocabulary import RUN_SQL, RUN_TEXT

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
class StoredCode:
    """What is known of a piece of stored code from its words."""

    #: every identifier and keyword, folded
    names: frozenset[str]
    #: those of them that stand before a dot
    qualifiers: frozenset[str]
    #: whether it may change settings of the session by a statement of its own
    sets: bool
    #: whether it may run SQL that is put together at run time
    runs: bool
    #: whether it may empty tables along with all that reference them
    cascades: bool = False


def read_code(code: str, vendor: str, depth: int = 0) -> StoredCode | None:
    """Read a piece of code by the rules of ``vendor``; return None if these do not cover it.

    Code in its literals that it runs is read as a part of it. ``depth``: in how many literals this code lies.
    """
    tokens = lex(code, vendor) if vendor in VENDORS else None
    if tokens is None:
        return None
    words = [text.lower() if kind is TokenKind.WORD else "" for kind, text in tokens]
    sets = any(
        word in _SETTERS
        and (not at or words[at - 1] in _OPENERS or tokens[at - 1] == (TokenKind.PUNCTUATION, ";"))
        and (vendor != "mysql" or _sets_session(tokens[at + 1 : at + 2]))
        for at, word in enumerate(words)
    )
    names = frozenset(text.lower() for kind, text in tokens if kind in _NAMES) | literal_names(tokens, vendor)
    qualifiers = frozenset(
        text.lower()
        for (kind, text), after in pairwise(tokens)
        if kind in _NAMES and after == (TokenKind.PUNCTUATION, ".")
    )
    texts, functions = find_nested(tokens) if vendor == "postgresql" else NO_NESTED_STATEMENTS
    runs = not names.isdisjoint(RUN_TEXT | RUN_SQL - functions)
    blocks = _find_blocks(tokens, words) if vendor == "postgresql" else []
    inner = [
        None if text is None or depth == DEEPEST else read_code(text, vendor, depth + 1) for text in (*texts, *blocks)
    ]
    cascades = {"truncate", "cascade"} <= names
    for one in inner:
        if one is None:
            runs = True
            continue
        names, qualifiers = names | one.names, qualifiers | one.qualifiers
        sets, runs, cascades = sets or one.sets, runs or one.runs, cascades or one.cascades
    return StoredCode(names, qualifiers, sets, runs, cascades)


def _find_blocks(tokens: list[Token], words: list[str]) -> list[str | None]:
    """Return the code of each ``DO [LANGUAGE name] 'code' [LANGUAGE name]``; None for one in an unknown language.

    Any other DO of a body (ON CONFLICT DO, a loop's, a rule's) is followed by a word of another kind.
    """
    found: list[str | None] = []
    for at, word in enumerate(words):
        if word != "do":
            continue
        language = at + 1 if words[at + 1 : at + 2] == ["language"] else at + 2
        code = at + 3 if language == at + 1 else at + 1
        if tokens[code : code + 1] and tokens[code][0] is TokenKind.LITERAL:
            named = words[language] == "language" if language < len(words) else False
            known = not named or tokens[language + 1 : language + 2] in (
                [(TokenKind.WORD, "plpgsql")],
                [(TokenKind.WORD, "sql")],
            )
            found.append(literal_text(tokens[code : code + 1]) if known else None)
    return found


_NAMES = (TokenKind.WORD, TokenKind.QUOTED)


def _sets_session(target: list[tuple[TokenKind, str]]) -> bool:
    """MySQL: return whether what follows SET may be more than a variable of the code or of the user."""
    for kind, text in target:
        if kind is TokenKind.VARIABLE:
            return text.startswith("@@")
        return text.lower() in _SESSION_VARIABLES
    return True
