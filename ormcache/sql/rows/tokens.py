"""The tokens of one statement, with what its columns, values and clauses are read from."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from ormcache.sql.lexer import Token, TokenKind, lex
from ormcache.sql.rows.statements import NULL, UNKNOWN, Column, Literal, Operand, Placeholder, Table
from ormcache.sql.search_path import LONGEST_NAME
from ormcache.sql.statement import Name

OPEN, CLOSE = (TokenKind.PUNCTUATION, "("), (TokenKind.PUNCTUATION, ")")
COMMA, DOT = (TokenKind.PUNCTUATION, ","), (TokenKind.PUNCTUATION, ".")
EQUALS, STAR = (TokenKind.OPERATOR, "="), (TokenKind.OPERATOR, "*")
_SEMICOLON = (TokenKind.PUNCTUATION, ";")
_MINUS = (TokenKind.OPERATOR, "-")
_CLOSING = {"(": ")", "[": "]"}

#: Characters, and placeholders; a statement with more of them is not read, nor worth a slot for each of its rows
LONGEST = 1 << 17
MOST_PLACEHOLDERS = 256

#: Words that begin a query inside another statement, or an expression of one
_QUERY_WORDS = frozenset({"select", "values", "table", "with"})

#: Words that begin a clause or belong to one. Outside of parentheses, each stands where the kind of statement has it,
#: or the statement is not understood.
_CLAUSE_WORDS = frozenset(
    """
    select distinct distinctrow into from where group having window order limit offset fetch for lock procedure union
    except intersect minus insert update delete merge set values using returning current over qualify connect
    """.split()
)

#: Words that, without quotes, may be anything but the name of a table or a column: keywords of all vendors
_KEYWORDS = _CLAUSE_WORDS | frozenset(
    """
    all analyse analyze and any array as asc asymmetric between binary both by case cast check collate collation column
    concurrently constraint convert create cross cube current_catalog current_date current_path current_role
    current_schema current_time current_timestamp current_user database default deferrable desc describe div do dual
    else elseif end escape exists explain false filter force foreign freeze full fulltext glob grant grouping
    high_priority if ignore ilike in index indexed inner interval is isnull join key lateral leading left like
    localtime localtimestamp low_priority match mod natural next not nothing notnull null on only or outer overlaps
    partition placing previous primary quick raise range recursive references regexp right rlike row rownum rows schema
    session_user share similar some sounds sql_big_result sql_buffer_result sql_cache sql_calc_found_rows sql_no_cache
    sql_small_result straight_join symmetric sysdate system_user table tablesample then to top trailing true unique
    unknown use user utc_date utc_time utc_timestamp value variadic verbose when with xor
    """.split()
)

#: What stands behind "%", once doubled ones are gone
_FORMATTED = re.compile(r"%(.?)", re.DOTALL)

_NAMES = (TokenKind.WORD, TokenKind.QUOTED)


@dataclass(frozen=True, slots=True)
class Tokens:
    """One statement. All methods take the positions of the first token and of the one behind the last."""

    vendor: str
    tokens: list[Token]
    #: for each token, the folded word if it is one without quotes that does not stand behind a dot; "" for others
    words: list[str]
    #: where parentheses and brackets open → where they close
    ends: dict[int, int]
    #: the position of a placeholder among the tokens → its position among the placeholders
    placeholders: dict[int, int]

    def outside(self, start: int, stop: int) -> Iterator[int]:
        """Yield the positions of all tokens but those inside of parentheses and those that close them."""
        at = start
        while at < stop:
            yield at
            at = self.ends.get(at, at) + 1

    def split_at_commas(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Return where the parts between commas begin and end."""
        commas = [at for at in self.outside(start, stop) if self.tokens[at] == COMMA]
        return list(zip([start, *(at + 1 for at in commas)], [*commas, stop], strict=True))

    def is_group(self, start: int, stop: int) -> bool:
        """Return whether one pair of parentheses is around all of it."""
        return start < stop and self.tokens[start] == OPEN and self.ends[start] == stop - 1

    def without_parentheses(self, start: int, stop: int) -> tuple[int, int]:
        """Return where what stands there begins and ends, without one pair of parentheses around it."""
        return (start + 1, stop - 1) if self.is_group(start, stop) else (start, stop)

    def clauses(self, order: Collection[str]) -> dict[str, tuple[int, int]] | None:
        """Return where each clause begins, behind its first word, and ends.

        ``order``: the words that can begin one, in their order. Returns None if any other clause is there, or one of
        them twice or elsewhere.
        """
        coming = list(order)
        found: dict[str, tuple[int, int]] = {}
        begun, begins = "", 0
        for at in self.outside(0, len(self.tokens)):
            word = self.words[at]
            if word in _CLAUSE_WORDS:
                if word not in coming:
                    return None
                del coming[: coming.index(word) + 1]
                if begun:
                    found[begun] = (begins, at)
                begun, begins = word, at + 1
        found[begun] = (begins, len(self.tokens))
        return found

    def name(self, start: int, stop: int) -> tuple[str, ...] | None:
        """Return the folded parts of a name, ``a.b.c``; None if it is none for certain."""
        if start >= stop or (stop - start) % 2 == 0 or self.words[start] in _KEYWORDS:
            return None
        for at in range(start, stop):
            if (at - start) % 2:
                if self.tokens[at] != DOT:
                    return None
            elif self.tokens[at][0] not in _NAMES:
                return None
        return tuple(self.tokens[at][1].lower() for at in range(start, stop, 2))

    def end_of_name(self, start: int, stop: int) -> int:
        """Return where the name that begins at ``start`` ends."""
        at = start + 1
        while at + 1 < stop and self.tokens[at] == DOT:
            at += 2
        return min(at, stop)

    def operand(self, start: int, stop: int) -> Operand:
        """Return the value that stands there; UNKNOWN for all but placeholders, plain literals and NULL."""
        start, stop = self.without_parentheses(start, stop)
        if stop - start == 1:
            kind, text = self.tokens[start]
            if kind is TokenKind.PLACEHOLDER:
                return Placeholder(self.placeholders[start])
            if kind is TokenKind.NUMBER:
                return _integer(text)
            if kind is TokenKind.LITERAL:
                return _string(text)
            if self.words[start] == "null":
                return NULL
        elif stop - start == 2 and self.tokens[start] == _MINUS and self.tokens[start + 1][0] is TokenKind.NUMBER:
            return _integer(f"-{self.tokens[start + 1][1]}")
        return UNKNOWN


def _integer(text: str) -> Operand:
    """Return a whole number of 64 bits; others are of another type for one database or another."""
    if not text.removeprefix("-").isdecimal() or len(text) > 20:
        return UNKNOWN
    value = int(text)
    return Literal(value) if -(1 << 63) <= value < 1 << 63 else UNKNOWN


def _string(text: str) -> Operand:
    """Return a string without prefix and escapes. A driver that is passed values makes one "%" of two."""
    if text[0] != "'" or "\\" in text or "%" in text:
        return UNKNOWN
    return Literal(text[1:-1].replace("''", "'"))


def tokenize(text: str, vendor: str) -> Tokens | None:
    """Cut one statement into tokens; return None if it is not understood for certain, or too long."""
    if len(text) > LONGEST:
        return None
    tokens = lex(text, vendor)
    if not tokens:
        return None
    if tokens[-1] == _SEMICOLON:
        del tokens[-1]
    ends = _match(tokens)
    if ends is None or not all(_is_plain(token, vendor) for token in tokens):
        return None
    words = [
        text.lower() if kind is TokenKind.WORD and not (at and tokens[at - 1] == DOT) else ""
        for at, (kind, text) in enumerate(tokens)
    ]
    if any(words[at + 1] in _QUERY_WORDS for at in ends):
        return None
    if any(word == "in" and tokens[at + 1 : at + 2] != [OPEN] for at, word in enumerate(words)):
        return None  # SQLite: a table
    places = [at for at, (kind, _) in enumerate(tokens) if kind is TokenKind.PLACEHOLDER]
    # The driver formats the whole text, literals too: it has to see the same placeholders, and no others.
    seen = _FORMATTED.findall(text.replace("%%", ""))
    if len(places) > MOST_PLACEHOLDERS or seen != ["s"] * len(places):
        return None
    return Tokens(vendor, tokens, words, ends, {at: position for position, at in enumerate(places)})


def _is_plain(token: Token, vendor: str) -> bool:
    """Return whether a token is understood for certain, wherever it stands."""
    kind, text = token
    if kind is TokenKind.PLACEHOLDER:
        return text == "%s"
    if kind in _NAMES:
        if "%" in text:
            return False  # a driver that is passed values makes one of two
        if vendor == "postgresql" and len(text.encode("utf-8", "surrogatepass")) > LONGEST_NAME:
            return False  # it is cut
        # Beyond ASCII, MySQL compares names by rules of its own, and PostgreSQL folds them by those of the server.
        return text.isascii() or vendor == "sqlite" or (vendor == "postgresql" and kind is TokenKind.QUOTED)
    return kind is not TokenKind.VARIABLE and token != _SEMICOLON


def _match(tokens: Sequence[Token]) -> dict[int, int] | None:
    """Return where each parenthesis and bracket closes; None if one does not."""
    found: dict[int, int] = {}
    waiting: list[tuple[int, str]] = []
    for at, (kind, text) in enumerate(tokens):
        if kind is not TokenKind.PUNCTUATION:
            continue
        if text in _CLOSING:
            waiting.append((at, _CLOSING[text]))
        elif text in (")", "]"):
            if not waiting or waiting[-1][1] != text:
                return None
            found[waiting.pop()[0]] = at
    return None if waiting else found


def find_column(parts: Sequence[str], tables: Sequence[Table]) -> Column | None:
    """Return the column that a name means; None if it is not certain of which table it is."""
    *qualifier, name = parts
    if not qualifier:
        return Column(0, name) if len(tables) == 1 else None
    for at, table in enumerate(tables):
        if table.alias == qualifier[-1]:
            # With its schema only a table that has no alias can be named.
            plain = len(qualifier) == 1 or (tuple(qualifier) == table.name and table.alias == table.name[1])
            return Column(at, name) if plain else None
    return None


def as_table(parts: Sequence[str] | None) -> Name | None:
    """Return the name of a table, with or without a schema; None if it has more parts."""
    if parts is None or len(parts) > 2:
        return None
    return (parts[0] if len(parts) > 1 else None, parts[-1])
