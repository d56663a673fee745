"""Statements as people may see them: masked, indented for a detail view, or cut to one line for a table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

import sqlparse
from sqlparse.exceptions import SQLParseError

from ormcache.sql import mask_literals
from ormcache.utils.patterns import compile_pattern

#: Characters of a statement that sqlparse is given to indent. Its time grows faster than its input: 2,000 characters
#: take about 20 ms, 10,000 ten times as long. Whatever is longer is cut before it is parsed.
LONGEST_INDENTED = 2_000
#: Columns after which a list of columns or values goes on in the next line
WRAP_AFTER = 100
#: Laid out statements that are remembered: a page that reloads itself shows the same ones again and again
REMEMBERED = 256
#: Characters that are searched for lists of columns: a table of 200 columns has about 10,000 in one
_LONGEST_READ = 20_000
MASK, CUT = "?", "…"

_COLUMN = r"""["`]?\w++["`]?\.["`]?\w++["`]?(?: AS ["`]?\w++["`]?)?"""
#: Three columns or more in a row, as the ORM writes them
_COLUMNS = compile_pattern(rf"{_COLUMN}(?:,\s*+{_COLUMN}){{2,}}")
_QUOTED = re.compile(r"'((?:[^']|'')+)'(?!')")


class StatementMasker:
    """Hides the values in statements of one vendor, unless ``SHOW_PARAMETERS`` allows them to be seen."""

    def __init__(self, vendor: str, *, shows_values: bool) -> None:
        self._vendor = vendor
        self.shows_values = shows_values
        self._masked: dict[str, str] = {}  # one statement is often the cause of many invalidations

    def mask(self, sql: str) -> str:
        """Return the statement with ``?`` in place of every literal."""
        if self.shows_values:
            return sql
        if sql not in self._masked:
            self._masked[sql] = mask_literals(sql, self._vendor)
        return self._masked[sql]

    def mask_error(self, message: str, sql: str, params: Iterable[Any] | None) -> str:
        """Return the first line of a database's error message, without the values of the statement that it quotes."""
        message = message.strip()
        if not self.shows_values:
            values = {*_quotable(params or ()), *_QUOTED.findall(sql)}
            for value in sorted(filter(None, values), key=len, reverse=True):
                message = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", MASK, message)
        return message.partition("\n")[0]


def _quotable(params: Iterable[Any]) -> Iterator[str]:
    """Yield parameters as a database may quote them, the items of lists one by one."""
    for param in params:
        if isinstance(param, (list, tuple)):
            yield from _quotable(param)
        else:
            yield str(param)


def elide_columns(sql: str) -> str:
    """Replace the long lists of columns that the ORM writes by ``…``."""
    return _COLUMNS.sub(CUT, sql)


def truncate(text: str, longest: int) -> str:
    """Cut the text to at most ``longest`` characters, the last of which is then ``…``."""
    return text if len(text) <= longest else text[: longest - 1] + CUT


def indent(sql: str, longest: int = LONGEST_INDENTED, *, without_columns: bool = False) -> str:
    """Lay a statement out over several lines, one clause a line, for a view of its details.

    At most ``longest`` characters of it are read; the rest is cut off first, because sqlparse is slow on long input.
    What sqlparse cannot read (it rejects deep nesting) comes back as it is. ``without_columns``: leave out the long
    lists of columns that the ORM writes.
    """
    return _indented(_shortened(sql, longest) if without_columns else truncate(sql, min(longest, LONGEST_INDENTED)))


@lru_cache(maxsize=REMEMBERED)
def _indented(sql: str) -> str:
    try:
        return str(sqlparse.format(sql, reindent=True, wrap_after=WRAP_AFTER)).strip()
    except SQLParseError:
        return sql


def to_line(sql: str, longest: int) -> str:
    """Put a statement into one line of at most ``longest`` characters, without comments and lists of columns."""
    return truncate(_in_one_line(_shortened(sql, LONGEST_INDENTED)), longest)


@lru_cache(maxsize=REMEMBERED)
def _in_one_line(sql: str) -> str:
    try:
        sql = sqlparse.format(sql, strip_comments=True, strip_whitespace=True)
    except SQLParseError:
        pass  # too deeply nested for sqlparse: as it is
    return " ".join(sql.split())


def _shortened(sql: str, longest: int) -> str:
    """Return at most ``longest`` characters without lists of columns, of which a bounded part of the text is read."""
    return truncate(elide_columns(truncate(sql, _LONGEST_READ)), longest)
