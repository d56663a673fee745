"""Lists of parameters in a text, and rows of them: what a text means does not depend on how long they are."""

from __future__ import annotations

import re

_LIST, _ROW = "%s, %s, %s", "), (%s"
_LISTS = re.compile(r"%s(?:, %s)+")
_ROWS = re.compile(r"(\((?:%s|, |DEFAULT|NULL)*\))(?:, \1)+")


def collapsed(sql: str) -> tuple[str, bytes]:
    """The text with every list of parameters and every list of rows cut to two, and what tells it from others.

    The lengths of ALL runs, as soon as one is cut: were short ones left out, "a IN (%s, %s) AND b IN (%s, %s, %s)" and
    its mirror image would be one.
    """
    if _LIST not in sql and _ROW not in sql:
        return sql, b""
    lists = [len(match.group()) for match in _LISTS.finditer(sql)]
    sql = _LISTS.sub("%s, %s", sql)
    rows = [len(match.group()) for match in _ROWS.finditer(sql)]
    return _ROWS.sub(r"\1, \1", sql), repr((lists, rows)).encode()
