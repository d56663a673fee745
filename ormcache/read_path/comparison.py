"""Whether two answers to one query are the same, as far as SQL promises that they are.

A database may answer the same query of the same rows differently: in another order where no ORDER BY says which, with
other rows where a LIMIT cuts between equal ones, with another last digit where it adds up floating-point numbers.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from django.core.exceptions import FieldDoesNotExist
from django.db.models import F
from django.db.models.expressions import OrderBy

#: Kinds of differences
ROWS, ORDER = "rows", "order"

#: Two floating-point numbers that are as close are sums of the same numbers in another order
RELATIVE, ABSOLUTE = 1e-9, 1e-12

_LIMIT = re.compile(r"\b(?:LIMIT|FETCH\s+FIRST)\b", re.IGNORECASE)
#: Values that depend on the order in which the database meets the rows: aggregates of lists, and windows with ties
_BY_ORDER_OF_ROWS = re.compile(
    r"\b(?:(?:array|string|xml|jsonb?|json_object|jsonb_object)_agg|group_concat|json_(?:array|object)agg|"
    r"json_group_(?:array|object)|any_value|mode)\s*\(|\bOVER\b|\bDISTINCT\s+ON\b",
    re.IGNORECASE,
)


def difference(cached: Sequence[Any], live: Sequence[Any]) -> str | None:
    """Return how rows differ: None, ROWS, or ORDER for the same rows in another one.

    Values of different types are different. Floating-point numbers that differ in their last digits are not.
    """
    ours, theirs = [exact(row) for row in cached], [exact(row) for row in live]
    if ours == theirs:
        return None
    if Counter(ours) == Counter(theirs):
        return ORDER
    if len(ours) != len(theirs):
        return ROWS
    rounded, expected = [_split(row) for row in cached], [_split(row) for row in live]
    if _are_close(rounded, expected):
        return None
    return ORDER if _are_close(sorted(rounded, key=_sortable), sorted(expected, key=_sortable)) else ROWS


def exact(value: Any, floats: list[float] | None = None) -> str:
    """Return a string that is equal for values of equal value and type only, at any depth.

    ``floats``: a list for the floating-point numbers in it, which are left out of the string then.
    """
    name = type(value).__qualname__
    if isinstance(value, (list, tuple)):
        return f"{name}({','.join(exact(item, floats) for item in value)})"
    if isinstance(value, dict):
        return f"{name}({','.join(f'{exact(key)}:{exact(item, floats)}' for key, item in value.items())})"
    if floats is not None and isinstance(value, float):
        floats.append(value)
        return name
    return f"{name}({bytes(value)!r})" if isinstance(value, memoryview) else f"{name}({value!r})"


_SplitRow = tuple[str, tuple[float, ...]]


def _split(row: Any) -> _SplitRow:
    """Return what is exact in a row, and its floating-point numbers."""
    floats: list[float] = []
    text = exact(row, floats)
    return text, tuple(floats)


def _sortable(row: _SplitRow) -> tuple[str, tuple[str, ...]]:
    # Rounded, so that what is close is sorted alike; as text, because NaN has no order.
    return row[0], tuple(f"{number:.9g}" for number in row[1])


def _are_close(ours: Sequence[_SplitRow], theirs: Sequence[_SplitRow]) -> bool:
    return all(
        one[0] == other[0] and all(map(_is_close, one[1], other[1])) for one, other in zip(ours, theirs, strict=True)
    )


def _is_close(one: float, other: float) -> bool:
    return (math.isnan(one) and math.isnan(other)) or math.isclose(one, other, rel_tol=RELATIVE, abs_tol=ABSOLUTE)


# What a query determines ----------------------------------------------------------------


def is_determined(kind: str, query: Any, sql: str, cached: Sequence[Any], live: Sequence[Any]) -> bool:
    """Return whether a difference of this kind can only come from other rows in the tables.

    ``query``: a ``django.db.models.sql.Query``; ``sql``: what it was compiled to.
    """
    if _BY_ORDER_OF_ROWS.search(sql):
        return False
    cuts = len(_LIMIT.findall(sql))
    if kind == ORDER:
        return not query.combinator and orders_totally(query)
    if cuts == 0 and not query.is_sliced:
        return True
    if cuts > 1 or not query.is_sliced or query.combinator:
        return False  # a subquery cuts its rows, or one of those that are combined does
    if len(cached) != len(live) or None in (*cached[:1], *live[:1]):
        return True  # however the rows are cut, their number is the same
    limit = None if query.high_mark is None else query.high_mark - query.low_mark
    return (query.low_mark == 0 and limit is not None and len(live) < limit) or orders_totally(query)


def orders_totally(query: Any) -> bool:
    """Return whether the ORDER BY of a query leaves no ties: it names a unique column, and no join repeats rows."""
    meta = None if query.model is None else query.get_meta()
    if meta is None or query.extra_order_by or query.distinct_fields:
        return False
    for alias, join in query.alias_map.items():
        field = getattr(join, "join_field", None)
        if field is not None and query.alias_refcount.get(alias) and not (field.many_to_one or field.one_to_one):
            return False
    ordering = query.order_by or (meta.ordering if query.default_ordering else ())
    return any(_is_unique(name, meta) for name in _names(ordering))


def _names(ordering: Sequence[Any]) -> Iterator[str]:
    """Yield the names in an ordering that are plain columns."""
    for item in ordering:
        by = item.expression if isinstance(item, OrderBy) else item
        name = getattr(by, "name", None) if isinstance(by, F) else by
        if isinstance(name, str):
            yield name.removeprefix("-")


def _is_unique(name: str, meta: Any) -> bool:
    if name == "pk":
        return True
    try:
        field = meta.get_field(name)
    except FieldDoesNotExist:
        return False
    return bool(getattr(field, "concrete", False) and field.unique and not field.null)
