"""A text of SQL that may be shown to people and sent to tools: without the values that stand in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ormcache.sql.lexer import VENDORS, Kind, spans
from ormcache.sql.other import spans_other

MASK, CUT = "?", "…"

_VALUES = (Kind.LITERAL, Kind.NUMBER)
_FIRST_WORD = re.compile(r"\s*+([a-zA-Z]++)")
_PLAIN_NAME = re.compile(r'"\w++"')


def masked(text: str, vendor: str) -> str:
    """``text`` as it is spelled, with ``?`` for every literal and number, and without comments, which may quote some.

    ``vendor``: as Django calls it. A text that is not understood is cut to its first word, because nobody can tell
    where its literals end. (SQLite takes a quoted name that it does not know for a literal: so one in double quotes
    that is more than a word is masked there.)
    """
    places = spans(text, vendor) if vendor in VENDORS else spans_other(text)
    if places is None:
        word = _FIRST_WORD.match(text)
        return f"{word[1]} {CUT}" if word else CUT
    return "".join(_pieces(text, vendor, places)).strip()


def _pieces(text: str, vendor: str, places: Sequence[tuple[Kind | None, int, int]]) -> Iterator[str]:
    position = 0
    for kind, start, end in places:
        yield text[position:start]
        position = end
        piece = text[start:end]
        if kind is None:
            # Without it two words would be one, or two operators a comment.
            yield "" if text[start - 1 : start].isspace() else " "
        elif kind in _VALUES or (vendor == "sqlite" and piece[0] == '"' and not _PLAIN_NAME.fullmatch(piece)):
            yield MASK
        else:
            yield piece
