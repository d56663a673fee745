"""Removes the values from SQL that is shown to people or sent to tools."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ormcache.sql.generic import spans_other
from ormcache.sql.lexer import VENDORS, TokenKind, spans
from ormcache.utils.patterns import compile_pattern

MASK, CUT = "?", "…"

_VALUES = (TokenKind.LITERAL, TokenKind.NUMBER)
_FIRST_WORD = compile_pattern(r"\s*+([a-zA-Z]++)")
_PLAIN_NAME = compile_pattern(r'"\w++"')


def mask_literals(text: str, vendor: str) -> str:
    """Replace every literal and number of a statement by ``?``, and remove comments, which may quote some.

    ``vendor`` is the database's, as Django names it. A text that is not understood is cut to its first word, because it
    is not known where its literals end. SQLite takes a quoted name that it does not know for a literal; so what stands
    in double quotes and is more than a word is replaced there too.
    """
    places = spans(text, vendor) if vendor in VENDORS else spans_other(text)
    if places is None:
        word = _FIRST_WORD.match(text)
        return f"{word[1]} {CUT}" if word else CUT
    return "".join(_pieces(text, vendor, places)).strip()


def _pieces(text: str, vendor: str, places: Sequence[tuple[TokenKind | None, int, int]]) -> Iterator[str]:
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
