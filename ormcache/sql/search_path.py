"""Splits PostgreSQL's ``search_path`` into the names of schemas."""

from __future__ import annotations

import re

LONGEST_NAME = 63  # bytes; PostgreSQL cuts longer ones

#: A name with or without quotes, and the comma or the end behind it
_ITEM = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^\s,"]+))\s*(?:(,)|$)')


def split_path(text: str) -> tuple[str, ...] | None:
    """Return the names in a value of ``search_path``, as ``set_config()`` takes and ``current_setting()`` returns it.

    Names are as the server compares them. Returns None if the server would not accept the text, or would cut a name.
    """
    if not text.strip():
        return ()
    found, at = [], 0
    while True:
        match = _ITEM.match(text, at)
        if match is None:
            return None
        quoted, bare, comma = match.groups()
        name = quoted.replace('""', '"') if quoted is not None else fold(bare)
        if len(name.encode("utf-8", "surrogatepass")) > LONGEST_NAME:
            return None
        found.append(name)
        at = match.end()
        if not comma:
            return tuple(found)


def fold(text: str) -> str:
    """Fold a name without quotes as PostgreSQL does: letters beyond ASCII stay as they are."""
    return (
        text.lower()
        if text.isascii()
        else text.encode("utf-8", "surrogatepass").lower().decode("utf-8", "surrogatepass")
    )
