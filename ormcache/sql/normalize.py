"""Shortens lists of placeholders, rows of them, and the cases of ``bulk_update()``.

What a statement means does not depend on their length.
"""

from __future__ import annotations

import re
from functools import lru_cache

#: Texts that are remembered with what was cut, and characters of the longest ones: each INSERT has a list
MOST_TEXTS, LONGEST_TEXT = 512, 1024

_LIST, _ROW, _CASE = "%s, %s, %s", "), (%s", "= %s) THEN "
_LISTS = re.compile(r"%s(?:, %s)+")
_ROWS = re.compile(r"(\((?:%s|, |DEFAULT|NULL)*\))(?:, \1)+")
# Nothing in a case begins or ends a literal or a comment, so wherever the cases stand, two of them leave the same text
# behind them as all.
_NAME = r"""(?:"[\w .]+"|`[\w .]+`|\w+)"""
_CASES = re.compile(rf"( WHEN \({_NAME}(?:\.{_NAME})? = %s\) THEN (?:%s|\(CAST\(%s AS \w+\)\)))\1+")


def collapse_lists(sql: str) -> tuple[str, bytes]:
    """Cut every list of placeholders, rows and cases to two; return the text, and the lengths as bytes.

    Texts that differ differ in one of both. Once one list is cut, the lengths of all lists are returned: without the
    short ones, "a IN (%s, %s) AND b IN (%s, %s, %s)" and its mirror image would be the same.
    """
    if _LIST not in sql and _ROW not in sql:  # an update of many rows has the list of their keys
        return sql, b""
    return _collapse_short(sql) if len(sql) <= LONGEST_TEXT else _collapse(sql)


def _collapse(sql: str) -> tuple[str, bytes]:
    cases = []
    if _CASE in sql:
        cases = [len(match.group()) for match in _CASES.finditer(sql)]
        sql = _CASES.sub(r"\1\1", sql)
    lists = [len(match.group()) for match in _LISTS.finditer(sql)]
    sql = _LISTS.sub("%s, %s", sql)
    rows = [len(match.group()) for match in _ROWS.finditer(sql)]
    return _ROWS.sub(r"\1, \1", sql), repr((lists, rows, cases) if cases else (lists, rows)).encode()


_collapse_short = lru_cache(MOST_TEXTS)(_collapse)
