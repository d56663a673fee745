"""PostgreSQL: finds conversions that may read the clock, depending on the types of what is converted.

A text that is converted to a date may be 'now' or 'today', https://www.postgresql.org/docs/current/datatype-datetime.html.
A time of day that is moved to another time zone is moved by that zone's offset of today.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ormcache.sql.lexer import Token, TokenKind
from ormcache.sql.times import LONGEST_EXPRESSION, UNKNOWN, TimeConversions
from ormcache.sql.vocabulary import KEYWORDS_BEFORE_PARENTHESIS_OF, TYPES

_DATES = frozenset(
    """
    date timestamp timestamptz time timetz tsrange tstzrange daterange tsmultirange tstzmultirange datemultirange
    """.split()
)
#: Types without dates in them; a type that is in neither list may have some
_OTHERS = (TYPES - _DATES) | frozenset(
    """
    box bpchar cidr circle float4 float8 geography geometry hstore int2 int4 int4multirange int4range int8
    int8multirange int8range interval jsonpath line lseg ltree macaddr macaddr8 name nummultirange numrange oid path
    point polygon raster regclass regconfig regproc regtype tsquery tsvector varbit vector xml
    """.split()
)
#: Functions of documents whose columns or fields have types: those that the text names, or those of a table
_OF_TYPES_IN_TEXT = frozenset(
    """
    json_query json_table json_to_record json_to_recordset json_value jsonb_to_record jsonb_to_recordset xmltable
    """.split()
)
_OF_TYPES_OF_TABLES = frozenset(
    """
    json_populate_record json_populate_recordset jsonb_populate_record jsonb_populate_recordset populate_record
    """.split()
)
#: Functions that return text only if they are given text
_NO_TEXT = _DATES | frozenset(
    """
    abs age avg cast ceil coalesce count date_bin date_part date_trunc every extract first_value floor generate_series
    greatest justify_days justify_hours justify_interval lag last_value lead least lower make_date make_interval
    make_time make_timestamp make_timestamptz max min mod nth_value nullif range_merge round sum timezone to_date
    to_timestamp upper
    """.split()
)
#: Words that can stand in an expression and are no columns unless they are quoted
_RESERVED = frozenset(
    """
    all and any array as asc both by case cast collate desc distinct else end except false for from group having in
    intersect interval is leading like limit not null on or order over partition select similar some symmetric then to
    trailing true union using when where with within
    """.split()
)
#: Words of the types that have several
_OF_TYPES = frozenset("timestamp time with without zone double precision character varying bit".split())

_OPEN, _CAST, _COMMA = (TokenKind.PUNCTUATION, "("), (TokenKind.PUNCTUATION, "::"), (TokenKind.PUNCTUATION, ",")
_DOT, _SUBSCRIPT = (TokenKind.PUNCTUATION, "."), (TokenKind.PUNCTUATION, "[")
_NAMES = (TokenKind.WORD, TokenKind.QUOTED)
#: In place of a column: an expression that may be text, whatever the columns are
_TEXT = ""
#: Words after which a whole expression begins
_BEFORE_WHOLE = frozenset({"select", "distinct", "all", "returning"})
#: Words that can stand between "WITH name (columns) AS" and the query
_HINTS = (["materialized"], ["not"])


@dataclass(frozen=True, slots=True)
class Conversions:
    """What a query of PostgreSQL converts in ways that may read the clock."""

    #: folded columns in what is converted to a date; the result can be cached if none of them is text
    to_dates: frozenset[str]
    #: what is moved to another time zone
    of_times: TimeConversions | None


NO_CONVERSIONS = Conversions(frozenset(), None)


def find_conversions(tokens: list[Token], words: list[str]) -> Conversions:
    """Find what a query of PostgreSQL converts to dates, and what it moves to another time zone."""
    present = {text.lower() for kind, text in tokens if kind in _NAMES}  # functions may be quoted
    zoned = not present.isdisjoint(_ZONED)
    if not zoned and _CAST not in tokens and present.isdisjoint(_CONVERTING):
        return NO_CONVERSIONS
    query = _ConversionFinder(tokens, words)
    dated: set[str] = set()
    done = 0
    for start, end in sorted(query.find_dates()):
        dated |= query.columns(max(start, done), end)  # each token once: casts can stand in casts
        done = max(done, end)
    if dated:
        dated |= query.resolve_aliases(dated)
    return Conversions(frozenset(dated), query.find_zone_changes() if zoned else None)


_ZONED = frozenset({"zone", "timezone", "local"})
#: Words with which a query can convert, besides "::"
_CONVERTING = _DATES | _OF_TYPES_IN_TEXT | _OF_TYPES_OF_TABLES | {"cast"}
_TIMES = frozenset({"time", "timetz", "make_time"})


class _ConversionFinder:
    """Finds the conversions in the tokens of one query. The other methods need :meth:`find_dates` to be exhausted."""

    def __init__(self, tokens: list[Token], words: list[str]) -> None:
        self._tokens = tokens
        self._words = words
        self._pairs = _match_brackets(tokens)
        self._starts: dict[int, int] = {}  # where a cast stands → where its value begins
        self._targets: set[int] = set()  # where the AS of a CAST stands

    def find_dates(self) -> Iterator[tuple[int, int]]:
        """Yield begin and end of each expression that is converted to a date."""
        tokens = self._tokens
        any_dates = any(text.lower() in _DATES for kind, text in tokens if kind in _NAMES)
        for at, token in enumerate(tokens[:-1]):
            if token == _CAST:
                self._starts[at] = self._find_operand(at)
                if self._is_date(at + 1):
                    yield self._starts[at], at
            elif token == _DOT and at - 1 in self._pairs and tokens[at + 1][1].lower() in _DATES:
                yield self._find_operand(at), at  # "(t).date" is date(t)
            elif token == _OPEN and at:
                name, end = tokens[at - 1][1].lower(), self._pairs.get(at, len(tokens))
                if name == "cast":
                    to = self._find_as(at, end)
                    if to is not None:
                        self._targets.add(to)
                    if to is None or self._is_date(to + 1):
                        yield at + 1, end if to is None else to
                elif (
                    name in _DATES
                    or name in _OF_TYPES_OF_TABLES
                    or (
                        name in _OF_TYPES_IN_TEXT
                        and (any_dates or (end in self._pairs and self._names_types(name, end)))
                    )
                ):
                    yield at + 1, end

    def _names_types(self, name: str, end: int) -> bool:
        """Return whether a function of documents, closed at ``end``, may name types that may have dates in them."""
        tokens, words = self._tokens, self._words
        opened: int | None = self._pairs[end]
        if name.endswith(("_query", "_value")):
            return "returning" in words
        if not name.endswith("table"):  # AS alias (name type, …)
            opened = next((at for at in range(end + 1, min(end + 4, len(tokens))) if at in self._pairs), None)
        if opened is None:
            return False
        return any(
            (tokens[at] in (_OPEN, _COMMA) or words[at] == "columns")
            and tokens[at + 1][0] in _NAMES
            and tokens[at + 2][0] in _NAMES
            and words[at + 2] not in _RESERVED
            and self._is_date(at + 2)
            for at in range(opened, self._pairs[opened] - 2)
        )

    def resolve_aliases(self, names: set[str]) -> set[str]:
        """Return the columns behind these names where they are aliases; :data:`_TEXT` for what is not known."""
        renamed = self._find_aliases()
        found: set[str] = set()
        waiting = list(names)
        while waiting:
            new = renamed.get(waiting.pop(), set()) - found
            found |= new
            waiting.extend(new)
        return found

    def _find_aliases(self) -> dict[str, set[str]]:
        """Return each alias, folded, with the columns in what it names."""
        tokens, words, pairs = self._tokens, self._words, self._pairs
        found: dict[str, set[str]] = {}
        for at, (kind, text) in enumerate(tokens):
            if kind not in _NAMES or words[at] in _RESERVED:
                continue
            name, opens = text.lower(), tokens[at + 1 : at + 2] == [_OPEN]
            end = self._aliased_until(at)
            if end is not None:
                found.setdefault(name, set()).update(self._columns_before(end))
            if not opens or words[at] in KEYWORDS_BEFORE_PARENTHESIS_OF["postgresql"]:
                continue
            if name not in _DATES:
                found.setdefault(name, set()).add(_TEXT)  # a function's result is a column of that name
            closed = pairs.get(at + 1, at)
            if end is not None or (
                words[closed + 1 : closed + 2] == ["as"]
                and (tokens[closed + 2 : closed + 3] == [_OPEN] or words[closed + 2 : closed + 3] in _HINTS)
            ):
                inside = at + 2
                while inside < closed:
                    if tokens[inside][0] in _NAMES and tokens[inside - 1] in (_OPEN, _COMMA):
                        found.setdefault(tokens[inside][1].lower(), set()).add(_TEXT)
                    inside = max(inside, pairs.get(inside, inside)) + 1
        return found

    def _aliased_until(self, at: int) -> int | None:
        """Return where the expression ends whose alias stands at ``at``; None if it is no alias."""
        if not at or self._words[at - 1] == "as":
            return None if not at or at - 1 in self._targets else at - 1
        kind, text = self._tokens[at - 1]
        if kind in _NAMES:
            return None if self._words[at - 1] in _RESERVED or self._is_type(at) else at
        return at if kind in (TokenKind.LITERAL, TokenKind.NUMBER, TokenKind.PLACEHOLDER) or text in ")]" else None

    def _columns_before(self, end: int) -> set[str]:
        """Return the columns in the aliased expression that ends at ``end``."""
        start = self._find_operand(end)
        if end - start > LONGEST_EXPRESSION:
            return {_TEXT}
        before = self._tokens[start - 1] if start else _COMMA
        whole = before in (_COMMA, _OPEN) or self._words[start - 1] in _BEFORE_WHOLE
        return self.columns(start, end) if whole else {_TEXT}

    def find_zone_changes(self) -> TimeConversions | None:
        """Return what is moved to another time zone, by AT TIME ZONE, AT LOCAL or timezone(); None if nothing is."""
        names: set[str] = set()
        aliases: set[tuple[str, str]] = set()
        always, done = False, 0
        words = self._words
        for at, word in enumerate(words):
            if word == "as" and 0 < at < len(words) - 1:
                alias, start = self._tokens[at + 1][1].lower(), self._find_operand(at)
                columns = self.columns(start, at) if at - start <= LONGEST_EXPRESSION else {UNKNOWN}
                aliases |= {(name, alias) for name in columns}
            elif at and (words[at : at + 3] == ["at", "time", "zone"] or words[at : at + 2] == ["at", "local"]):
                start = max(self._find_operand(at), done)
                done = at
                names |= self.columns(start, at)
                always = always or self._gives_time(start, at)
            elif self._tokens[at][1].lower() == "timezone" and at + 1 in self._pairs:
                start, end = max(at + 2, done), self._pairs[at + 1]
                done = max(done, end)
                names |= self.columns(start, end)
                always = always or self._gives_time(start, end)
        return TimeConversions(frozenset(names), frozenset(aliases), always) if names or always else None

    def columns(self, start: int, end: int) -> set[str]:
        """Return the columns in an expression, folded, and the functions that may return text."""
        found = set()
        for at in range(start, end):
            kind, text = self._tokens[at]
            if kind is TokenKind.OPERATOR and ("|" in text or (text == "*" and at and self._tokens[at - 1] == _DOT)):
                found.add(_TEXT)  # texts put together; a whole row
            elif kind in _NAMES:
                after = self._tokens[at + 1] if at + 1 < len(self._tokens) else _CAST
                word = self._words[at]
                if after == _DOT or word in _RESERVED or self._is_type(at):
                    continue
                found |= {text.lower()} - _NO_TEXT if after == _OPEN else {text.lower()}
        return found

    def _gives_time(self, start: int, end: int) -> bool:
        """Return whether there is a time of day in an expression that is no column."""
        return any(
            self._words[at] == "make_time" or (self._words[at] in _TIMES and self._is_type(at))
            for at in range(start, end)
            if not at or self._words[at - 1] not in ("at", "with", "without")
        )

    def _is_type(self, at: int) -> bool:
        """Return whether a word belongs to a type's name or to AT TIME ZONE, or is a field of EXTRACT."""
        words, before = self._words, self._tokens[at - 1] if at else _CAST
        if before == _CAST or words[at - 1] == "as":
            return True
        if words[at] in _OF_TYPES | _DATES:
            after = self._tokens[at + 1 : at + 2]
            typed = words[at - 1] in _OF_TYPES or words[at - 1] == "at" or (after and after[0][0] is TokenKind.LITERAL)
            return bool(typed) or after == [_OPEN]
        if words[at] in ("at", "local"):
            return words[at + 1 : at + 2] == ["time"] or words[at - 1] == "at" or words[at + 1 : at + 2] == ["local"]
        return before == _OPEN and at > 1 and words[at - 2] == "extract"

    def _is_date(self, at: int) -> bool:
        """Return whether the type that begins at ``at`` may have dates in it."""
        tokens = self._tokens
        while tokens[at + 1 : at + 2] == [_DOT]:
            at += 2
        return at >= len(tokens) or tokens[at][1].lower() not in _OTHERS

    def _find_as(self, at: int, end: int) -> int | None:
        """Return where the AS of a CAST stands whose parenthesis opens at ``at``; None if it has none."""
        inside = at + 1
        while inside < end:
            if self._words[inside] == "as":
                return inside
            inside = self._pairs.get(inside, inside) + 1
        return None

    def _find_operand(self, at: int) -> int:
        """Return where the value begins that ends before ``at``."""
        tokens, words, pairs = self._tokens, self._words, self._pairs
        at -= 1
        while at > 0:
            while at > 0 and pairs.get(at, at) < at:
                opened = pairs[at]
                kind = tokens[opened - 1][0]
                if words[opened - 1] in ("over", "filter"):
                    at = opened - 2
                    continue
                if words[opened - 1] == "group" and words[opened - 2] == "within":
                    at = opened - 3
                    continue
                called = kind in _NAMES and words[opened - 1] not in KEYWORDS_BEFORE_PARENTHESIS_OF["postgresql"]
                if not opened or not (called or (tokens[opened] == _SUBSCRIPT and opened - 1 in pairs)):
                    return opened
                at = opened - 1
            kind = tokens[at][0]
            if kind not in _NAMES:
                return at - (kind is TokenKind.LITERAL and words[at - 1] in _DATES | {"zone"})
            while at > 1 and tokens[at - 1] == _DOT:
                at -= 2
            if words[at - 1] == "over":
                at -= 2
                continue
            before = at - 1
            while before > 0 and words[at] in _OF_TYPES and words[before] in _OF_TYPES:
                before -= 1
            if before <= 0 or tokens[before] != _CAST:
                return at
            if before in self._starts:
                return self._starts[before]
            at = before - 1  # what was cast before
        return max(at, 0)


def _match_brackets(tokens: list[Token]) -> dict[int, int]:
    """Where each parenthesis or bracket has its other one, in both directions."""
    found: dict[int, int] = {}
    waiting = []
    for at, (kind, text) in enumerate(tokens):
        if kind is TokenKind.PUNCTUATION:
            if text in "([":
                waiting.append(at)
            elif text in ")]" and waiting:
                opened = waiting.pop()
                found[opened], found[at] = at, opened
    return found
