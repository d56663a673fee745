"""SQL of databases of other kinds: as much of it as is the same everywhere.

What is read by different rules in different databases is not understood here. The rest is analysed as if it were
PostgreSQL's, and of that only what every database means by it counts.
"""

from __future__ import annotations

import re
from dataclasses import replace

from ormcache import reasons
from ormcache.sql.lexer import Kind, Token
from ormcache.sql.statement import Effect, SessionChange, Statement

#: Whose rules are applied to the tokens
MODEL = "postgresql"

# No comments, which do not begin alike everywhere; no backslashes, which escape in some; no quotes behind a letter,
# which make a literal of rules of its own (q'[…]', E'…'); no dollar signs but in names.
_TOKENS: list[tuple[str, Kind]] = [
    (r"[^\W\d][\w$#]*(?!['\"])\b", Kind.WORD),
    (r"'(?:[^'\\]|'')*'", Kind.LITERAL),
    (r'"(?:[^"\\]|"")+"', Kind.QUOTED),
    (r"`[^`\\]+`", Kind.QUOTED),
    (r"\[[\w $#]+\]", Kind.QUOTED),
    (r"%[sbt](?!\w)|%\(\w+\)[sbt]|\?|:[^\W\d]\w*", Kind.PLACEHOLDER),
    (r"\d+(?:\.\d*)?(?:[eE][-+]?\d+)?(?!\w)|\.\d+(?!\w)", Kind.NUMBER),
    (r"[(),;.]", Kind.PUNCTUATION),
    (r"%%|\|\||<>|!=|<=|>=|[-+*/<>=&|^](?![-*])", Kind.OPERATOR),
]
_LEXER = re.compile(r"\s*(?:" + "|".join(f"({rule})" for rule, _ in _TOKENS) + r")\s*")


def lex_other(text: str) -> list[Token] | None:
    """The tokens of ``text``, or None where it is not the same in every database."""
    places = spans_other(text)
    if places is None:
        return None
    return [
        (kind, text[start + 1 : end - 1].replace('""', '"') if kind is Kind.QUOTED else text[start:end])
        for kind, start, end in places
    ]


def spans_other(text: str) -> list[tuple[Kind, int, int]] | None:
    """Where these tokens begin and end."""
    found: list[tuple[Kind, int, int]] = []
    position = 0
    while position < len(text):
        match = _LEXER.match(text, position)
        if match is None or match.lastindex is None:
            return None
        found.append((_TOKENS[match.lastindex - 1][1], *match.span(match.lastindex)))
        position = match.end()
    return found


#: Words without parentheses that some database reads as more than a name
_OBSTACLES = {
    **dict.fromkeys("getdate systimestamp sysdatetime sysdate sysdatetimeoffset".split(), reasons.CLOCK),
    **dict.fromkeys("nextval currval next".split(), reasons.SEQUENCE),
    **dict.fromkeys("sample tablesample rand newid".split(), reasons.RANDOM),
    **dict.fromkeys("user uid sessiontimezone dbtimezone system_user".split(), reasons.SESSION_FUNCTION),
    **dict.fromkeys("nolock readuncommitted".split(), reasons.UNCOMMITTED),
    **dict.fromkeys("updlock xlock holdlock".split(), reasons.LOCKING),
}


def as_everywhere(statement: Statement, tokens: list[Token]) -> Statement:
    """What remains of the analysis of ``tokens`` by the model's rules, for a database of another kind."""
    words = [text.lower() if kind is Kind.WORD else "" for kind, text in tokens]
    effect = statement.effect
    if effect is Effect.READ:
        obstacles = [_OBSTACLES[word] for word in words if word in _OBSTACLES]
        first = statement.obstacle in (None, reasons.FUNCTION)
        return replace(statement, obstacle=obstacles[0]) if obstacles and first else statement
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
        return replace(statement, commits=True)  # some databases commit the open transaction before it
    unfollowed = SessionChange(None, None, followed=False)
    return replace(statement, effect=Effect.OPAQUE, session=unfollowed, commits=True)


def _set(tokens: list[Token], words: list[str]) -> SessionChange:
    """``SET [SESSION] name = value``, Oracle's ``ALTER SESSION SET name = value name = value``"""
    at = 3 if words[0] == "alter" else 1
    if words[at : at + 1] == ["session"]:
        at += 1
    changes = []
    while at < len(tokens):
        names, operators, values = tokens[at : at + 1], tokens[at + 1 : at + 2], tokens[at + 2 : at + 3]
        to = operators == [(Kind.OPERATOR, "=")] or words[at + 1 : at + 2] == ["to"]
        if not to or names[0][0] is not Kind.WORD or not values or values[0][0] not in _VALUES:
            return SessionChange(None, None, followed=False)
        changes.append(SessionChange(words[at], (values[0][1],), isolation="isolation" in words[at]))
        at += 3
    if not changes or (words[0] == "alter" and words[2:3] != ["set"]):
        return SessionChange(None, None, followed=False)
    return replace(changes[0], also=tuple(changes[1:]))


_VALUES = (Kind.WORD, Kind.LITERAL, Kind.NUMBER)
