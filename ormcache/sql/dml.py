"""Analyses statements that change rows: which relations they name as their targets."""

from __future__ import annotations

from ormcache import reasons
from ormcache.sql.lexer import Token, TokenKind
from ormcache.sql.names import is_name, literal_names, match_parentheses, names_and_calls, parse_name, parse_with
from ormcache.sql.search_path import LONGEST_NAME
from ormcache.sql.statement import Effect, Name, Statement
from ormcache.sql.vocabulary import WRITING_WORDS

_OPEN, _COMMA, _DOT = (TokenKind.PUNCTUATION, "("), (TokenKind.PUNCTUATION, ","), (TokenKind.PUNCTUATION, ".")

#: MySQL: words that can stand between the first one and INTO, FROM or the relation; elsewhere they are names
_MODIFIERS = frozenset("low_priority delayed high_priority ignore quick".split())
#: Words before UPDATE, INSERT and DELETE where they continue a statement: ON CONFLICT DO UPDATE, ON DUPLICATE KEY
#: UPDATE, WHEN MATCHED THEN DELETE, FOR UPDATE, FOR NO KEY UPDATE
_CONTINUED = frozenset({"do", "key", "then", "for"})


#: Words that follow a relation without an alias
_BEHIND_RELATION = (["inner"], ["left"], ["right"], ["cross"], ["natural"], ["join"], ["straight_join"], ["where"])


def analyse_write(tokens: list[Token], words: list[str], first: str, vendor: str, digest: bytes) -> Statement:
    """Analyse a statement that changes rows.

    ``first``: the word that says what it does; of a statement with a WITH clause, WITH.
    """
    if first == "copy":
        # COPY a TO, COPY (SELECT …) TO, COPY (DELETE … RETURNING …) TO
        reads = tokens[1:2] == [_OPEN] or "from" not in words
        if reads and WRITING_WORDS.isdisjoint(words):
            names, calls = names_and_calls(tokens, words, vendor)
            return Statement(Effect.HARMLESS, digest, names, calls=calls, bypass_reason=reasons.NOT_A_READ)
    found = _find_targets(tokens, words, first, vendor)
    # "INSERT INTO t (a, b)" calls nothing.
    names, calls = names_and_calls(tokens, words, vendor, () if found is None else found.values())
    if found is None:
        names |= {_truncate_name(name) for name in names} | literal_names(tokens, vendor)
    else:
        names |= {name for _, name in found}
    return Statement(
        Effect.WRITE,
        digest,
        names,
        targets=None if found is None else frozenset(found),
        calls=calls,
        bypass_reason=reasons.NOT_A_READ,
        cascades=first == "truncate" and "cascade" in words,
    )


def _truncate_name(name: str) -> str:
    """Cut a name to the bytes that PostgreSQL keeps of a longer one."""
    return name.encode("utf-8", "surrogatepass")[:LONGEST_NAME].decode("utf-8", "ignore")


def find_writing_words(tokens: list[Token], words: list[str]) -> list[int]:
    """Return the positions of the words that begin a write, and of columns that may be called so."""
    found = []
    for at, word in enumerate(words):
        if word in WRITING_WORDS or word == "replace":
            before = words[at - 1] if at else ""
            if word == "replace" and at and (before == "or" or words[at + 1 : at + 2] != ["into"]):
                continue  # INSERT OR REPLACE; the function
            if word == "insert" and tokens[at + 1 : at + 2] == [_OPEN]:
                continue  # MySQL: the function; WHEN NOT MATCHED THEN INSERT (a, b)
            if before in _CONTINUED or (at and tokens[at - 1] == _DOT):
                continue
            found.append(at)
    return found


def _find_targets(tokens: list[Token], words: list[str], first: str, vendor: str) -> dict[Name, int] | None:
    """Return the relations that are written, with the position of each name; None: it may be any of the names.

    None, too, for UPDATE and DELETE of several tables in MySQL, which may name what they change by aliases.
    """
    if first == "truncate":
        return _targets_of_truncate(tokens, words, 2 if words[1:2] == ["table"] else 1, vendor)
    if first == "refresh":
        at = 3 if words[1:3] == ["materialized", "view"] else 1
        return _target_at(tokens, at + (words[at : at + 1] == ["concurrently"]))
    if first == "load":
        at = next((n for n in range(len(words) - 1) if words[n : n + 2] == ["into", "table"]), len(words))
        return _target_at(tokens, at + 2)
    if first == "copy" and tokens[1:2] != [_OPEN]:
        return _target_at(tokens, 2 if words[1:2] == ["binary"] else 1)
    starts = {0}
    if words[0] == "with":
        clause = parse_with(tokens, words, 0, vendor, match_parentheses(tokens))
        if clause is None:
            return None
        starts = {clause.after}
    writing = find_writing_words(tokens, words)
    if len(writing) > 1 and vendor != "postgresql":
        return None  # only PostgreSQL has writing expressions
    found: dict[Name, int] = {}
    for at in writing:
        if at not in starts and not (at and tokens[at - 1] == _OPEN):
            return None  # a column, perhaps
        target = _find_target(tokens, words, at, vendor)
        if target is None:
            return None
        found.update(target)
    return found or None


def _find_target(tokens: list[Token], words: list[str], at: int, vendor: str) -> dict[Name, int] | None:
    """Return what the INSERT, REPLACE, UPDATE, DELETE or MERGE at this position changes; None: any of the names."""
    first = words[at]
    at += 1
    if vendor == "sqlite" and words[at : at + 1] == ["or"]:
        at += 2
    while vendor == "mysql" and at < len(words) and words[at] in _MODIFIERS:
        at += 1
    between = "from" if first == "delete" else "into"
    if words[at : at + 1] == [between]:
        at += 1
    elif first == "delete":
        return _target_of_delete_join(tokens, words, at)
    if vendor == "postgresql" and words[at : at + 1] == ["only"]:
        at += 1
        at += tokens[at : at + 1] == [_OPEN]
    found = _target_at(tokens, at)
    if found and first in ("update", "delete") and vendor == "mysql":
        ((_, last),) = found.items()
        return found if _single_table(tokens, words, last + 1) else None
    return found


def _target_at(tokens: list[Token], at: int) -> dict[Name, int] | None:
    """Return the relation that is named at a position, with the position of its last token; None if none is."""
    if at >= len(tokens) or not is_name(tokens[at]):
        return None
    name, last = parse_name(tokens, at)
    return {name: last}


def _target_of_delete_join(tokens: list[Token], words: list[str], at: int) -> dict[Name, int] | None:
    """Return the target of MySQL's ``DELETE a FROM a JOIN …``, as Django writes it; other names may be aliases."""
    found = _target_at(tokens, at)
    if found is None:
        return None
    ((_, last),) = found.items()
    again, after = last + 2, 2 * last + 3 - at
    if words[last + 1 : again] != ["from"] or tokens[again:after] != tokens[at : last + 1]:
        return None
    plain = words[after : after + 1] in _BEHIND_RELATION or tokens[after : after + 1] in ([], [_COMMA])
    return found if plain else None


def _targets_of_truncate(tokens: list[Token], words: list[str], at: int, vendor: str) -> dict[Name, int] | None:
    """Return the targets of ``TRUNCATE a, ONLY b, c *``."""
    found: dict[Name, int] = {}
    while True:
        if words[at : at + 1] == ["only"] and vendor == "postgresql":
            at += 1
            at += tokens[at : at + 1] == [_OPEN]
        one = _target_at(tokens, at)
        if one is None:
            return None
        found.update(one)
        at = max(one.values()) + 1
        while at < len(tokens) and tokens[at][1] in ("*", ")"):
            at += 1
        if tokens[at : at + 1] != [_COMMA]:
            return found
        at += 1


def _single_table(tokens: list[Token], words: list[str], at: int) -> bool:
    """MySQL: return whether no further relation is joined before SET, WHERE or the end."""
    for word, (kind, text) in zip(words[at:], tokens[at:], strict=True):
        if word in ("set", "where", "order", "limit", "returning"):
            return True
        if word in ("join", "using", "from", "straight_join") or (kind is TokenKind.PUNCTUATION and text == ","):
            return False
    return True
