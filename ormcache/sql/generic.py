"""Analyses the SQL of databases of other kinds, as far as it is the same everywhere.

What databases read by different rules is not understood here. The rest is analysed as if it were PostgreSQL's, and only
what means the same in every database is taken from that analysis.
"""

from __future__ import annotations

import re
from dataclasses import replace

from ormcache import reasons
from ormcache.sql.lexer import Token, TokenKind
from ormcache.sql.statement import Effect, SessionChange, Statement

#: The vendor whose rules are applied to the tokens
MODEL = "postgresql"

# Left out: comments, which begin differently; backslashes, which escape in some databases; quotes behind a letter,
# which begin literals with rules of their own (q'[…]', E'…'); dollar signs, but in names.
_TOKENS: list[tuple[str, TokenKind]] = [
    (r"[^\W\d][\w$#]*(?!['\"])\b", TokenKind.WORD),
    (r"'(?:[^'\\]|'')*'", TokenKind.LITERAL),
    (r'"(?:[^"\\]|"")+"', TokenKind.QUOTED),
    (r"`[^`\\]+`", TokenKind.QUOTED),
    (r"\[[\w $#]+\]", TokenKind.QUOTED),
    (r"%[sbt](?!\w)|%\(\w+\)[sbt]|\?|:[^\W\d]\w*", TokenKind.PLACEHOLDER),
    (r"\d+(?:\.\d*)?(?:[eE][-+]?\d+)?(?!\w)|\.\d+(?!\w)", TokenKind.NUMBER),
    (r"[(),;.]", TokenKind.PUNCTUATION),
    (r"%%|\|\||<>|!=|<=|>=|[-+*/<>=&|^](?![-*])", TokenKind.OPERATOR),
]
_LEXER = re.compile(r"\s*(?:" + "|".join(f"({rule})" for rule, _ in _TOKENS) + r")\s*")


def lex_other(text: str) -> list[Token] | None:
    """Return the tokens of a text, or None if databases read it differently."""
    places = spans_other(text)
    if places is None:
        return None
    return [
        (kind, text[start + 1 : end - 1].replace('""', '"') if kind is TokenKind.QUOTED else text[start:end])
        for kind, start, end in places
    ]


def spans_other(text: str) -> list[tuple[TokenKind, int, int]] | None:
    """Return each token's kind, begin and end, or None if databases read the text differently."""
    found: list[tuple[TokenKind, int, int]] = []
    position = 0
    while position < len(text):
        match = _LEXER.match(text, position)
        if match is None or match.lastindex is None:
            return None
        found.append((_TOKENS[match.lastindex - 1][1], *match.span(match.lastindex)))
        position = match.end()
    return found


#: Words without parentheses that some database reads as more than a name → the bypass reason
_BYPASS_REASONS = {
    **dict.fromkeys("getdate systimestamp sysdatetime sysdate sysdatetimeoffset".split(), reasons.CLOCK),
    **dict.fromkeys("nextval currval next".split(), reasons.SEQUENCE),
    **dict.fromkeys("sample tablesample rand newid".split(), reasons.RANDOM),
    **dict.fromkeys("user uid sessiontimezone dbtimezone system_user".split(), reasons.SESSION_FUNCTION),
    **dict.fromkeys("nolock readuncommitted".split(), reasons.UNCOMMITTED),
    **dict.fromkeys("updlock xlock holdlock".split(), reasons.LOCKING),
}


def restrict_to_common_sql(statement: Statement, tokens: list[Token]) -> Statement:
    """Reduce the analysis of ``tokens`` by the model's rules to what holds for a database of any kind."""
    words = [text.lower() if kind is TokenKind.WORD else "" for kind, text in tokens]
    effect = statement.effect
    if effect is Effect.READ:
        statement = replace(statement, time_conversions=None, date_conversions=frozenset())  # PostgreSQL's alone
        found = [_BYPASS_REASONS[word] for word in words if word in _BYPASS_REASONS]
        has_none = statement.bypass_reason in (None, reasons.FUNCTION)
        return replace(statement, bypass_reason=found[0]) if found and has_none else statement
    if effect is Effect.WRITE and statement.targets is not None:
        if words[0] in ("update", "delete") or words[:2] == ["insert", "into"]:
            return statement
    if effect is Effect.TRANSACTION:
        return statement
    if words[:2] == ["set", "constraints"] or words[:1] == ["lock"]:
        return replace(statement, effect=Effect.HARMLESS, session=None)
    if words[:1] == ["set"] or words[:2] == ["alter", "session"]:
        return replace(statement, effect=Effect.SESSION, session=_set(tokens, words))
    if effect is Effect.SCHEMA:
        return replace(statement, commits_implicitly=True)  # some databases commit the open transaction before it
    untracked = SessionChange(None, None, is_tracked=False)
    return replace(statement, effect=Effect.OPAQUE, session=untracked, commits_implicitly=True)


def _set(tokens: list[Token], words: list[str]) -> SessionChange:
    """Parse ``SET [SESSION] name = value`` and Oracle's ``ALTER SESSION SET name = value name = value``."""
    at = 3 if words[0] == "alter" else 1
    if words[at : at + 1] == ["session"]:
        at += 1
    changes = []
    while at < len(tokens):
        names, operators, values = tokens[at : at + 1], tokens[at + 1 : at + 2], tokens[at + 2 : at + 3]
        to = operators == [(TokenKind.OPERATOR, "=")] or words[at + 1 : at + 2] == ["to"]
        if not to or names[0][0] is not TokenKind.WORD or not values or values[0][0] not in _VALUES:
            return SessionChange(None, None, is_tracked=False)
        changes.append(SessionChange(words[at], (values[0][1],), isolation="isolation" in words[at]))
        at += 3
    if not changes or (words[0] == "alter" and words[2:3] != ["set"]):
        return SessionChange(None, None, is_tracked=False)
    return replace(changes[0], also=tuple(changes[1:]))


_VALUES = (TokenKind.WORD, TokenKind.LITERAL, TokenKind.NUMBER)
