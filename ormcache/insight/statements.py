"""Statements as they may be shown to people."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from ormcache.sql import masked

_COLUMN = r"""["`]?\w++["`]?\.["`]?\w++["`]?(?: AS ["`]?\w++["`]?)?"""
#: Three columns or more in a row, as the ORM writes them
_COLUMNS = re.compile(rf"{_COLUMN}(?:,\s*+{_COLUMN}){{2,}}")
_QUOTED = re.compile(r"'((?:[^']|'')++)'")
MASK, CUT = "?", "…"


class Statements:
    def __init__(self, vendor: str, *, whole: bool) -> None:
        """``whole``: values may be shown too (``SHOW_PARAMETERS``)."""
        self._vendor = vendor
        self.whole = whole
        self._masked: dict[str, str] = {}  # one statement is the cause of many things

    def shown(self, sql: str) -> str:
        if self.whole:
            return sql
        if sql not in self._masked:
            self._masked[sql] = masked(sql, self._vendor)
        return self._masked[sql]

    def error(self, text: str, sql: str, params: Iterable[Any] | None) -> str:
        """What a database said about a statement, which may quote values of it. One line of it."""
        text = text.strip()
        if not self.whole:
            values = {*_told(params or ()), *_QUOTED.findall(sql)}
            for value in sorted(filter(None, values), key=len, reverse=True):
                text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", MASK, text)
        return text.partition("\n")[0]


def _told(params: Iterable[Any]) -> Iterator[str]:
    """The values as a database may quote them, those in lists one by one."""
    for param in params:
        if isinstance(param, (list, tuple)):
            yield from _told(param)
        else:
            yield str(param)


def short(sql: str) -> str:
    """A statement of the ORM without its long lists of columns."""
    return _COLUMNS.sub(CUT, sql)
