"""Raising for a hit that differs from what the database answers: in tests, and with ``VERIFY = "raise"``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ormcache.exceptions import StaleRead
from ormcache.read_path.comparison import ROWS, exact
from ormcache.sql import collapse_lists

#: Rows that are shown of each side, and characters of the statement
MOST_ROWS, MOST_CHARACTERS = 10, 2000


#: Lists of the stale reads since the beginning of each test that collects them, innermost last: a program may swallow
#: the error. Any thread appends
_collections: list[list[StaleRead]] = []


def watch() -> list[StaleRead]:
    """Begin to collect stale reads in the list that is returned. :func:`unwatch` ends it."""
    stale_reads: list[StaleRead] = []
    _collections.append(stale_reads)
    return stale_reads


def unwatch(stale_reads: list[StaleRead]) -> None:
    """Stop collecting in the list that :func:`watch` has returned."""
    _collections[:] = [one for one in _collections if one is not stale_reads]


def stale_read(kind: str, using: str, sql: str, params: Any, cached: Sequence[Any], live: Sequence[Any]) -> StaleRead:
    """Return the error to raise for a hit that differs. ``kind``: ROWS or ORDER."""
    what = "other rows than the database has" if kind == ROWS else "the database's rows in another order"
    error = StaleRead(
        f"the cache would have served {what}.\n"
        f"  SQL, on {using!r}: {shortened(sql)}\n"
        f"  parameters: {params!r}\n"
        f"  the cache has {listing(cached, live)}\n"
        f"  the database has {listing(live, cached)}"
    )
    for stale_reads in _collections:
        stale_reads.append(error)
    return error


def shortened(sql: str) -> str:
    """Return a statement without most items of its lists, cut."""
    statement = collapse_lists(sql)[0]
    return statement if len(statement) <= MOST_CHARACTERS else f"{statement[:MOST_CHARACTERS]} …"


def listing(rows: Sequence[Any], other_side: Sequence[Any]) -> str:
    """Return rows as text; of many rows, those that the other side does not have."""
    count = count_rows(rows)
    if len(rows) > MOST_ROWS:
        rows = only_here(rows, other_side) or rows
        count += ", among them"
    more = f"\n    … and {len(rows) - MOST_ROWS} more" if len(rows) > MOST_ROWS else ""
    return f"{count}:" + "".join(f"\n    {row!r}" for row in rows[:MOST_ROWS]) + more


def only_here(rows: Sequence[Any], other_side: Sequence[Any]) -> list[Any]:
    """Return the rows that the other side does not have."""
    known = Counter(map(exact, other_side))
    return [row for row in rows if not known[exact(row)]]


def count_rows(rows: Sequence[Any]) -> str:
    """Return their number with its noun."""
    return f"{len(rows)} row{'' if len(rows) == 1 else 's'}"
