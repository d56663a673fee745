"""Holding a hit against what the database answers."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ormcache.sql import collapsed

#: Kinds of differences
ROWS, ORDER = "rows", "order"

#: Rows that are shown of each side, and characters of the statement
MOST_ROWS, MOST_CHARACTERS = 10, 2000


class StaleRead(AssertionError):
    """The cache would have served other rows than the database did."""


#: What was found since the beginning of the test that asked for it, innermost last: a program may swallow the error.
#: Any thread appends
_watches: list[list[StaleRead]] = []


def watch() -> list[StaleRead]:
    """Begin to collect. :func:`unwatch` ends it."""
    found: list[StaleRead] = []
    _watches.append(found)
    return found


def unwatch(found: list[StaleRead]) -> None:
    _watches[:] = [one for one in _watches if one is not found]


def difference(cached: list[Any], live: list[Any]) -> str | None:
    """How rows differ: None, ROWS, or ORDER, which no database owes to a query without ORDER BY.

    Values of different types are different.
    """
    cached, live = [exact(row) for row in cached], [exact(row) for row in live]
    if cached == live:
        return None
    return ORDER if Counter(cached) == Counter(live) else ROWS


def exact(value: Any) -> str:
    """A text that is equal for values that are equal in value and type, at any depth."""
    name = type(value).__qualname__
    if isinstance(value, (list, tuple)):
        return f"{name}({','.join(map(exact, value))})"
    if isinstance(value, dict):
        return f"{name}({','.join(f'{exact(key)}:{exact(item)}' for key, item in value.items())})"
    return f"{name}({bytes(value)!r})" if isinstance(value, memoryview) else f"{name}({value!r})"


def found(kind: str, using: str, sql: str, params: Any, cached: list[Any], live: list[Any]) -> StaleRead:
    """The error to raise. ``kind`` is what :func:`difference` has said."""
    text = collapsed(sql)[0]
    shown = text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]} …"
    what = "other rows than the database has" if kind == ROWS else "the database's rows in another order"
    error = StaleRead(
        f"the cache would have served {what}.\n"
        f"  SQL, on {using!r}: {shown}\n"
        f"  parameters: {params!r}\n"
        f"  the cache has {_listed(cached, live)}\n"
        f"  the database has {_listed(live, cached)}"
    )
    for watching in _watches:
        watching.append(error)
    return error


def _listed(rows: list[Any], others: list[Any]) -> str:
    """Rows as text; of many those that the other side has not."""
    count = f"{len(rows)} row{'' if len(rows) == 1 else 's'}"
    if len(rows) > MOST_ROWS:
        known = Counter(map(exact, others))
        rows = [row for row in rows if not known[exact(row)]] or rows
        count += ", among them"
    more = f"\n    … and {len(rows) - MOST_ROWS} more" if len(rows) > MOST_ROWS else ""
    return f"{count}:" + "".join(f"\n    {row!r}" for row in rows[:MOST_ROWS]) + more
