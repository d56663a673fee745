"""Statements that begin like a read: SELECT, WITH, VALUES, TABLE."""

from __future__ import annotations

import re

from ormcache import reasons
from ormcache.sql import vocabulary
from ormcache.sql.lexer import Kind, Token
from ormcache.sql.names import name_at, names_and_calls, sources_of
from ormcache.sql.settings import set_config
from ormcache.sql.statement import Effect, Statement
from ormcache.sql.temporary import temporary
from ormcache.sql.times import completed
from ormcache.sql.writing import write, writing_words

# The clock in disguise: PostgreSQL reads these words as moments wherever a date is expected.
CLOCK_WORDS = re.compile(r"(?<![a-z])(?:now|today|tomorrow|yesterday)(?![a-z])", re.IGNORECASE)
LONGEST_DATE = 128  # characters; PostgreSQL's MAXDATELEN: a longer text is never a date

# In E'…' any letter can be spelled like these …
_SPELLED = re.compile(r"\\(?:[xXuU0-7])")
# … and these are the characters that are not themselves behind a backslash.
_ESCAPED = re.compile(r"\\([\s\S])")
_CONTROL = dict.fromkeys("bfnrt", " ")


def reads_clock(text: str) -> bool:
    return len(text) <= LONGEST_DATE and CLOCK_WORDS.search(text) is not None


def read(tokens: list[Token], words: list[str], vendor: str, digest: bytes) -> Statement:
    present = set(words)
    names, calls = names_and_calls(tokens, words, vendor)
    if "set_config" in names:
        setting = set_config(tokens, words)
        if setting is not None and setting.followed:
            return Statement(Effect.SESSION, digest, names, calls=calls, obstacle=reasons.NOT_A_READ, session=setting)
    if not present.isdisjoint(vocabulary.MAY_WRITE) and writing_words(tokens, words):
        # A writing WITH; a column that is called so only costs hits.
        return write(tokens, words, words[0], vendor, digest)
    if "into" in present:
        return _into(tokens, words, vendor, digest, names, calls)
    sources, definitions = sources_of(tokens, words, vendor)
    if definitions:
        names, calls = names_and_calls(tokens, words, vendor, definitions)
    if vendor == "sqlite":
        names |= {name for _, name in sources}  # also those that are written as texts
    locks = not present.isdisjoint(("update", "share")) and _locks(words)
    obstacle: str | None
    if locks:
        obstacle = reasons.LOCKING
    elif vendor == "postgresql" and "ctid" in names:
        obstacle = reasons.SYSTEM_CATALOG  # VACUUM FULL and CLUSTER give rows other places, and write nothing
    else:
        obstacle = _obstacle(tokens, words, vendor, calls)
    times = completed(tokens, words, calls) if vendor == "mysql" else None
    return Statement(Effect.READ, digest, names, sources, calls=calls, completed=times, obstacle=obstacle)


def _into(
    tokens: list[Token], words: list[str], vendor: str, digest: bytes, names: frozenset[str], calls: frozenset[str]
) -> Statement:
    """SELECT … INTO: in PostgreSQL a new table, in MySQL a variable or a file."""
    if vendor != "postgresql":
        return Statement(Effect.HARMLESS, digest, names, calls=calls, obstacle=reasons.NOT_A_READ)
    at = words.index("into") + 1
    if words[at : at + 1] in (["temporary"], ["temp"], ["local"], ["global"]):
        at += words[at] in ("local", "global")
        at += 2 if words[at + 1 : at + 2] == ["table"] else 1
        table = name_at(tokens, at)[0][1] if at < len(tokens) else None
        return temporary(table, digest, names, calls)
    return Statement(Effect.SCHEMA, digest, names, calls=calls, obstacle=reasons.NOT_A_READ)


def _locks(words: list[str]) -> bool:
    """FOR UPDATE, FOR NO KEY UPDATE, FOR [KEY] SHARE or LOCK IN SHARE MODE"""
    for at, word in enumerate(words):
        if word in ("update", "share"):
            before = words[max(at - 3, 0) : at]
            if (
                before[-1:] == ["for"]
                or before[-2:] == ["for", "key"]
                or (word == "update" and before == ["for", "no", "key"])
                or (word == "share" and before[-1:] == ["in"])
            ):
                return True
    return False


def _obstacle(tokens: list[Token], words: list[str], vendor: str, calls: frozenset[str]) -> str | None:
    bare = vocabulary.BARE_CALLS[vendor]
    if not bare.keys().isdisjoint(words):
        for at, word in enumerate(words):
            # Behind a dot or AS it is the name of a column.
            if word in bare and not (at and (words[at - 1] == "as" or tokens[at - 1][1] == ".")):
                return bare[word]
    if vendor == "mysql":
        if any(kind is Kind.VARIABLE for kind, _ in tokens):
            return reasons.SESSION_FUNCTION
        if _takes_from_sequence(words):
            return reasons.SEQUENCE
    elif vendor == "postgresql" and _literals_read_clock(tokens, words):
        return reasons.CLOCK
    for name in sorted(calls - vocabulary.REPEATABLE[vendor]):
        return vocabulary.UNREPEATABLE.get(name, reasons.FUNCTION)
    return None


def _takes_from_sequence(words: list[str]) -> bool:
    """MariaDB: NEXT VALUE FOR s, PREVIOUS VALUE FOR s"""
    return any(
        word == "value" and words[at - 1] in ("next", "previous") and words[at + 1 : at + 2] == ["for"]
        for at, word in enumerate(words)
        if at
    )


def _literals_read_clock(tokens: list[Token], words: list[str]) -> bool:
    """PostgreSQL: may a text in the statement say that the time is meant?"""
    before = ""  # a text that the next one goes on with, in another line
    for kind, text in tokens:
        if kind is not Kind.LITERAL:
            before = ""
            continue
        if text[0] in "uU" and ("\\" in text or "uescape" in words):
            return True  # could spell anything
        if text[0] in "eE" and _SPELLED.search(text):
            return True
        plain = _ESCAPED.sub(_unescaped, text) if text[0] in "eE" else text
        if reads_clock(plain) or (before and reads_clock(before + plain[1:])):
            return True
        if len(before) <= LONGEST_DATE:
            before = before + plain[1:-1] if before else plain[:-1]
    return False


def _unescaped(match: re.Match[str]) -> str:
    return _CONTROL.get(match[1], match[1])
