"""MySQL: a time of day becomes a moment of today where a date is expected, in a cast or in a function of dates.

https://dev.mysql.com/doc/refman/8.4/en/date-and-time-type-conversion.html
"""

from __future__ import annotations

from dataclasses import dataclass

from ormcache.sql.lexer import Kind, Token

#: Functions that complete a time of day by a date, or give it to what does
_COMPLETING = frozenset(
    """
    adddate cast coalesce convert convert_tz date date_add date_format date_sub datediff day dayname dayofmonth
    dayofweek dayofyear extract greatest if ifnull last_day least month monthname nullif nvl nvl2 quarter subdate
    timestamp timestampadd timestampdiff to_days to_seconds unix_timestamp week weekday weekofyear year yearweek
    """.split()
)
#: What EXTRACT takes from a time of day without a date
_OF_TIMES = frozenset({"hour", "minute", "second", "microsecond"})


@dataclass(frozen=True, slots=True)
class Completed:
    """Identifiers of a text, folded, that may be completed by the date of today if they are times of day."""

    names: frozenset[str]
    aliases: frozenset[tuple[str, str]]  # (name, alias): what stands directly before AS

    def includes(self, times: frozenset[str]) -> bool:
        """Is one of these columns among them, by its own name or by another one?"""
        meant = times | {alias for name, alias in self.aliases if name in times}
        return not meant.isdisjoint(self.names)


def completed(tokens: list[Token], words: list[str], calls: frozenset[str]) -> Completed | None:
    """What stands in the arguments of functions that complete times; None where nothing does."""
    if calls.isdisjoint(_COMPLETING):
        return None
    names: set[str] = set()
    aliases: set[tuple[str, str]] = set()
    inside: list[bool] = []
    for at, (kind, text) in enumerate(tokens):
        if kind is Kind.PUNCTUATION and text == "(":
            opens = at > 0 and words[at - 1] in _COMPLETING
            opens = opens and not (words[at - 1] == "extract" and at + 1 < len(words) and words[at + 1] in _OF_TIMES)
            inside.append(opens or (bool(inside) and inside[-1]))
        elif kind is Kind.PUNCTUATION and text == ")":
            if inside:
                inside.pop()
        elif kind is Kind.WORD or kind is Kind.QUOTED:
            if inside and inside[-1]:
                names.add(text.lower())
            if at > 1 and words[at - 1] == "as":
                aliases.add((tokens[at - 2][1].lower(), text.lower()))
    return Completed(frozenset(names), frozenset(aliases))
