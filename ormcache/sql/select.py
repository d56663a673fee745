"""Analyses statements that begin like a read: SELECT, WITH, VALUES, TABLE."""

from __future__ import annotations

import re

from ormcache import reasons
from ormcache.sql import vocabulary
from ormcache.sql.casts import NO_CONVERSIONS, find_conversions
from ormcache.sql.dml import analyse_write, find_writing_words
from ormcache.sql.in_lists import find_in_lists
from ormcache.sql.lexer import Token, TokenKind
from ormcache.sql.names import find_columns, find_sources, names_and_calls, parse_name
from ormcache.sql.set_statements import parse_set_config
from ormcache.sql.statement import Effect, Statement
from ormcache.sql.temporary import temporary_statement
from ormcache.sql.times import find_time_conversions

# PostgreSQL reads these words as the current time wherever a date is expected,
# https://www.postgresql.org/docs/current/datatype-datetime.html#DATATYPE-DATETIME-SPECIAL-VALUES
CLOCK_WORDS = re.compile(r"(?<![a-z])(?:now|today|tomorrow|yesterday)(?![a-z])", re.IGNORECASE)
LONGEST_DATE = 128  # characters; PostgreSQL's MAXDATELEN: a longer text is never a date

#: How arrays, ranges and rows begin, as literals of SQL or as parameters
_SEVERAL = re.compile(r"(?:[eE]?'|\$\w*\$)?\s*[\[({]")

# In E'…' any letter can be spelled like these …
_SPELLED = re.compile(r"\\(?:[xXuU0-7])")
# … and these are the characters that are not themselves behind a backslash.
_ESCAPED = re.compile(r"\\([\s\S])")
_CONTROL = dict.fromkeys("bfnrt", " ")


def reads_clock(text: str) -> bool:
    """Return whether PostgreSQL may take a text for a moment of its own clock, or for a list with one among others."""
    if len(text) > LONGEST_DATE and not _SEVERAL.match(text):
        return False
    return CLOCK_WORDS.search(text) is not None


def reads_clock_anywhere(text: str) -> bool:
    """Return whether one of PostgreSQL's words for the current time stands anywhere in a text."""
    return CLOCK_WORDS.search(text) is not None


def analyse_read(tokens: list[Token], words: list[str], vendor: str, digest: bytes) -> Statement:
    """Analyse a statement that begins like a read; it may turn out to write, to set something or to lock."""
    present = set(words)
    names, calls = names_and_calls(tokens, words, vendor)
    if "set_config" in names:
        setting = parse_set_config(tokens, words)
        if setting is not None and setting.is_tracked:
            return Statement(
                Effect.SESSION, digest, names, calls=calls, bypass_reason=reasons.NOT_A_READ, session=setting
            )
    if not present.isdisjoint(vocabulary.MAY_WRITE) and find_writing_words(tokens, words):
        # A writing WITH; a column that is called so only costs hits.
        return analyse_write(tokens, words, words[0], vendor, digest)
    if "into" in present:
        return _analyse_into(tokens, words, vendor, digest, names, calls)
    sources, definitions = find_sources(tokens, words, vendor)
    if definitions:
        names, calls = names_and_calls(tokens, words, vendor, definitions)
    if vendor == "sqlite":
        names |= {name for _, name in sources}  # also those that are written as texts
    # What stands where a relation is read is one, however it is spelled.
    read = {name for _, name in sources}
    columns = frozenset(one for one in find_columns(tokens, words) if one[1] not in read)
    locks = not present.isdisjoint(("update", "share")) and _locks(words)
    bypass_reason: str | None
    if locks:
        bypass_reason = reasons.LOCKING
    elif vendor == "postgresql" and not names.isdisjoint(_ROW_VERSIONS):
        bypass_reason = reasons.SYSTEM_CATALOG
    else:
        if vendor == "mysql" and _reads_default(tokens, words):
            calls |= {"default"}
        bypass_reason = _bypass_reason(tokens, words, vendor, names, calls)
    converted = find_conversions(tokens, words) if vendor == "postgresql" else NO_CONVERSIONS
    times = find_time_conversions(tokens, words, calls) if vendor == "mysql" else converted.of_times
    return Statement(
        Effect.READ,
        digest,
        names,
        sources,
        columns=columns,
        in_lists=find_in_lists(tokens, words, calls),
        calls=calls,
        time_conversions=times,
        date_conversions=converted.to_dates,
        bypass_reason=bypass_reason,
    )


#: PostgreSQL's system columns of row versions: VACUUM FULL, CLUSTER and row locks change them without a write
#: (https://www.postgresql.org/docs/current/ddl-system-columns.html)
_ROW_VERSIONS = frozenset({"ctid", "xmin", "xmax", "cmin", "cmax"})


def _reads_default(tokens: list[Token], words: list[str]) -> bool:
    """MySQL: return whether DEFAULT(column) is called: the column's default may be an expression."""
    return "default" in words and any(
        word == "default" and tokens[at + 1 : at + 2] == [(TokenKind.PUNCTUATION, "(")] for at, word in enumerate(words)
    )


def _analyse_into(
    tokens: list[Token], words: list[str], vendor: str, digest: bytes, names: frozenset[str], calls: frozenset[str]
) -> Statement:
    """Analyse SELECT … INTO: it creates a table in PostgreSQL, and fills a variable or a file in MySQL."""
    if vendor != "postgresql":
        return Statement(Effect.HARMLESS, digest, names, calls=calls, bypass_reason=reasons.NOT_A_READ)
    at = words.index("into") + 1
    if words[at : at + 1] in (["temporary"], ["temp"], ["local"], ["global"]):
        at += words[at] in ("local", "global")
        at += 2 if words[at + 1 : at + 2] == ["table"] else 1
        table = parse_name(tokens, at)[0][1] if at < len(tokens) else None
        return temporary_statement(table, digest, names, calls)
    return Statement(Effect.SCHEMA, digest, names, calls=calls, bypass_reason=reasons.NOT_A_READ)


def _locks(words: list[str]) -> bool:
    """Return whether rows are locked: FOR [NO KEY] UPDATE, FOR [KEY] SHARE, LOCK IN SHARE MODE."""
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


def _bypass_reason(
    tokens: list[Token], words: list[str], vendor: str, names: frozenset[str], calls: frozenset[str]
) -> str | None:
    """Return why a read is not cached, as far as its functions and literals show; None if they do not forbid it."""
    bare = vocabulary.BARE_CALLS[vendor]
    if not bare.keys().isdisjoint(words):
        for at, word in enumerate(words):
            # Behind a dot or AS it is the name of a column.
            if word in bare and not (at and (words[at - 1] == "as" or tokens[at - 1][1] == ".")):
                return bare[word]
    if vendor == "mysql":
        if any(kind is TokenKind.VARIABLE for kind, _ in tokens):
            return reasons.SESSION_FUNCTION
        if _takes_from_sequence(words) or "sql_calc_found_rows" in words:
            return reasons.SEQUENCE
    elif vendor == "postgresql" and (_literals_read_clock(tokens, words) or _gives_zoned_time(words, names)):
        return reasons.CLOCK
    for name in sorted(calls - vocabulary.REPEATABLE[vendor]):
        return vocabulary.UNREPEATABLE.get(name, reasons.FUNCTION)
    return None


def _takes_from_sequence(words: list[str]) -> bool:
    """MariaDB: return whether there is a NEXT VALUE FOR s or a PREVIOUS VALUE FOR s."""
    return any(
        word == "value" and words[at - 1] in ("next", "previous") and words[at + 1 : at + 2] == ["for"]
        for at, word in enumerate(words)
        if at
    )


def _gives_zoned_time(words: list[str], names: frozenset[str]) -> bool:
    """PostgreSQL: return whether something becomes a time of day with a zone: it gets the zone's offset of today."""
    return "timetz" in names or any(
        word == "with"
        and words[at + 1 : at + 3] == ["time", "zone"]
        and "time" in (words[at - 1], *words[max(at - 4, 0) : at - 3])  # time(3) with time zone
        for at, word in enumerate(words)
        if at
    )


def _literals_read_clock(tokens: list[Token], words: list[str]) -> bool:
    """PostgreSQL: return whether a literal of the statement may stand for the current time."""
    before = ""  # a text that the next one goes on with, in another line
    for kind, text in tokens:
        if kind is not TokenKind.LITERAL:
            before = ""
            continue
        if text[0] in "uU" and ("\\" in text or "uescape" in words):
            return True  # it may spell anything
        if text[0] in "eE" and _SPELLED.search(text):
            return True
        plain = _ESCAPED.sub(_unescape, text) if text[0] in "eE" else text
        if reads_clock(plain) or (before and reads_clock(before + plain[1:])):
            return True
        if len(before) <= LONGEST_DATE or _SEVERAL.match(before):
            before = before + plain[1:-1] if before else plain[:-1]
    return False


def _unescape(match: re.Match[str]) -> str:
    return _CONTROL.get(match[1], match[1])
