"""MySQL: finds where a time of day may become a moment of today: in a cast, or in a function of dates.

https://dev.mysql.com/doc/refman/8.4/en/date-and-time-type-conversion.html
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from ormcache.sql.lexer import Token, TokenKind
from ormcache.sql.vocabulary import KEYWORDS_BEFORE_PARENTHESIS_OF, RESERVED

#: Functions that add the date of today to a time of day, or pass it on to what does
_CONVERTING_FUNCTIONS = frozenset(
    """
    adddate cast coalesce convert convert_tz date date_add date_format date_sub datediff day dayname dayofmonth
    dayofweek dayofyear extract greatest if ifnull last_day least month monthname nullif nvl nvl2 quarter subdate
    timestamp timestampadd timestampdiff to_days to_seconds unix_timestamp week weekday weekofyear year yearweek
    """.split()
)
#: Fields that EXTRACT takes from a time of day without a date
_OF_TIMES = frozenset({"hour", "minute", "second", "microsecond"})


#: In place of a name: an expression that is not analysed
UNKNOWN = ""
#: Tokens; a longer expression is not analysed
LONGEST_EXPRESSION = 64


@dataclass(frozen=True, slots=True)
class TimeConversions:
    """What a statement converts in ways that depend on the date of today where it is a time of day."""

    #: identifiers, folded, that are converted
    names: frozenset[str]
    #: (name, alias), folded: the last name before an AS, and the alias after it
    aliases: frozenset[tuple[str, str]]
    #: whether it converts a time of day that is no column
    always: bool = False

    def includes(self, times: AbstractSet[str]) -> bool:
        """Return whether one of these columns is among them, by its own name or by an alias."""
        if not times:
            return False
        meant = set(times) | {UNKNOWN}
        while more := {alias for name, alias in self.aliases if name in meant} - meant:
            meant |= more
        return not (meant - {UNKNOWN}).isdisjoint(self.names)

    def union(self, other: TimeConversions | None) -> TimeConversions:
        """Return the conversions of two parts of a statement."""
        if other is None:
            return self
        return TimeConversions(self.names | other.names, self.aliases | other.aliases, self.always or other.always)


def find_time_conversions(tokens: list[Token], words: list[str], calls: frozenset[str]) -> TimeConversions | None:
    """Find what may be converted: in functions and comparisons, in CASE, and in a UNION. None if nothing is."""
    everywhere = _mixes_types(tokens, words)
    names: set[str] = set()
    aliases: set[tuple[str, str]] = set()
    inside: list[bool] = [everywhere]  # whether times are converted: in the text itself, in each open parenthesis
    cases = 0
    always = False
    for at, (kind, text) in enumerate(tokens):
        if kind is TokenKind.PUNCTUATION and text == "(":
            opens = at > 0 and words[at - 1] in _CONVERTING_FUNCTIONS
            opens = opens and not (words[at - 1] == "extract" and at + 1 < len(words) and words[at + 1] in _OF_TIMES)
            inside.append(opens or inside[-1])
        elif kind is TokenKind.PUNCTUATION and text == ")":
            if len(inside) > 1:
                inside.pop()
        elif kind is TokenKind.WORD or kind is TokenKind.QUOTED:
            word = words[at]
            if word in ("case", "end"):
                cases = max(0, cases + (1 if word == "case" else -1))
            elif word in _BEFORE_VALUES:
                names |= _find_operands(tokens, words, at)
            if (inside[-1] or cases) and _is_column(tokens, words, at):
                names.add(text.lower())
            if word in _TIMES:
                always = always or _is_converted(tokens, words, at, inside)
            if at and word not in _NO_ALIAS and words[at - 1] not in _NO_ALIAS:  # without AS
                aliased, before = tokens[at - 1]
                if aliased in _NAMES or before == ")":
                    aliases.add((before.lower() if aliased in _NAMES else UNKNOWN, text.lower()))
            if at > 1 and words[at - 1] == "as":
                aliased, before = tokens[at - 2]
                aliases.add((UNKNOWN if aliased is TokenKind.PUNCTUATION else before.lower(), text.lower()))
        elif kind is TokenKind.OPERATOR and (text in _COMPARISONS or words[at + 1 : at + 2] == ["interval"]):
            names |= _find_operands(tokens, words, at)
    return TimeConversions(frozenset(names), frozenset(aliases), always) if names or always else None


#: Words that put rows of several queries together
_MIXING = frozenset({"union", "intersect", "except"})
#: Words that end the tables of a query
_AFTER_TABLES = _MIXING | frozenset("where group having order limit window for".split())
#: Operators and words that compare what stands on both sides
_COMPARISONS = frozenset("= < > <= >= <> != <=>".split())
_BEFORE_VALUES = frozenset({"between", "in", "using"})
#: Words that are no names beside a name
_NO_ALIAS = RESERVED | KEYWORDS_BEFORE_PARENTHESIS_OF["mysql"]
#: Words that give a time of day
_TIMES = frozenset({"time", "maketime", "sec_to_time", "timediff"})
_VALUES = (TokenKind.PLACEHOLDER, TokenKind.LITERAL, TokenKind.NUMBER)
_NAMES = (TokenKind.WORD, TokenKind.QUOTED)


def _mixes_types(tokens: list[Token], words: list[str]) -> bool:
    """Return whether rows of several queries are combined that may differ in a column's type.

    They do not if all of these select the same expressions from the same tables, as those that Django combines do.
    """
    mixing = sum(word in _MIXING for word in words)
    if not mixing:
        return False
    selected = [_select_list(tokens, words, at) for at, word in enumerate(words) if word == "select"]
    return len(selected) <= mixing or len(set(selected)) > 1


def _select_list(tokens: list[Token], words: list[str], at: int) -> tuple[Token, ...]:
    """Return the tokens of a SELECT up to its conditions, or to its end: what it selects, and from where."""
    depth = 0
    for end in range(at, len(tokens)):
        text = tokens[end][1] if tokens[end][0] is TokenKind.PUNCTUATION else ""
        depth += (text == "(") - (text == ")")
        if depth < 0 or (depth == 0 and words[end] in _AFTER_TABLES):
            return tuple(tokens[at:end])
    return tuple(tokens[at:])


def _is_column(tokens: list[Token], words: list[str], at: int) -> bool:
    """Return whether a name may be a column's: it is no function, qualifier, unit or alias."""
    if tokens[at + 1 : at + 2] in ([(TokenKind.PUNCTUATION, "(")], [(TokenKind.PUNCTUATION, ".")]):
        return False
    return at < 2 or not (words[at - 1] == "as" or words[at - 2] == "extract")


def _find_operands(tokens: list[Token], words: list[str], at: int) -> set[str]:
    """Return the names on both sides of a comparison; none if one side is a plain value: it takes the other's type."""
    after = tokens[at + 1 : at + 1 + LONGEST_EXPRESSION]
    if after[:1] == [(TokenKind.PUNCTUATION, "(")]:
        end = next((n for n, (_, text) in enumerate(after) if text == ")" or text.lower() == "from"), len(after))
        sides = [token for token in after[1:end] if token[0] is not TokenKind.PUNCTUATION]
        sides += [(TokenKind.OPERATOR, "")] if end == LONGEST_EXPRESSION else []  # it goes on
    else:
        end = _skip_name(after, 0)
        sides = after[:end]
        if words[at] == "between":  # x AND y; where they are longer, x is no plain value either
            sides = after[:end] + after[end + 1 : _skip_name(after, end + 1)]
    if words[at] != "using" and (tokens[at - 1][0] in _VALUES or all(kind in _VALUES for kind, _ in sides)):
        return set()
    return {text.lower() for kind, text in (tokens[at - 1], *sides) if kind in _NAMES}


def _skip_name(tokens: list[Token], at: int) -> int:
    """Return where the possibly qualified name, or the single other token, at ``at`` has ended."""
    while tokens[at + 1 : at + 2] == [(TokenKind.PUNCTUATION, ".")]:
        at += 2
    return at + 1


def _is_converted(tokens: list[Token], words: list[str], at: int, inside: list[bool]) -> bool:
    """Return whether the time of day that this word makes (a function, a literal, a cast) is converted."""
    if words[at - 1] == "as" or tokens[at - 1] == (TokenKind.PUNCTUATION, ","):
        # CAST(… AS TIME), CONVERT(…, TIME): what counts is where the parenthesis stands.
        return (
            words[at] == "time" and tokens[at + 1 : at + 2] != [(TokenKind.PUNCTUATION, "(")] and any(inside[:-1][-1:])
        )
    called = tokens[at + 1 : at + 2] == [(TokenKind.PUNCTUATION, "(")]
    literal = words[at] == "time" and tokens[at + 1 : at + 2] != [] and tokens[at + 1][0] is TokenKind.LITERAL
    return (called or literal) and inside[-1]
