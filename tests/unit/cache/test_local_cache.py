"""Results in the memory of this process take no more of it than LOCAL_SIZE allows."""

from __future__ import annotations

import datetime
import gc
import os
import tracemalloc
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from ormcache.cache.local_cache import LocalCache, weigh
from ormcache.stores.base import ROW_SLOT_LENGTH, STAMP_LENGTH

SIZE = 2**20  # bytes
#: Of the allowed size: what may be taken, as weights are estimates, and what is used at least
MOST, LEAST = 1.2, 0.5


def texts(rows: int, number: int) -> list[tuple[Any, ...]]:
    return [(10**6 + number, 10**9 + row, f"name {number}", f"{number}@example.org") for row in range(rows)]


def mixed(rows: int, number: int) -> list[tuple[Any, ...]]:
    moment = datetime.datetime(2026, 1, 1)
    return [
        (number + row + 1000, f"Ünïcode {number} {row}", moment + row * datetime.timedelta(1), Decimal(row) / 7, None)
        for row in range(rows)
    ]


SHAPES: dict[str, Callable[[int], Any]] = {
    "nothing found": lambda number: None,
    "a count": lambda number: (10**6 + number,),
    "one row": lambda number: texts(1, number),
    "twenty rows": lambda number: texts(20, number),
    "twenty rows of many types": lambda number: mixed(20, number),
    "three hundred rows of many types": lambda number: mixed(300, number),
}


@pytest.mark.parametrize("slots", [0, 3, 23], ids=["of relations", "of a row", "of twenty rows"])
@pytest.mark.parametrize(
    "shape",
    # What another Python changes shows in three of them.
    [
        pytest.param(
            shape, marks=[pytest.mark.slow] if shape in ("a count", "one row", "twenty rows of many types") else []
        )
        for shape in SHAPES
    ],
)
def test_no_more_memory_than_is_allowed(shape: str, slots: int) -> None:
    """``slots``: how many row slots each result depends on."""
    make = SHAPES[shape]
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        cache = LocalCache(SIZE)
        put = 0
        while put <= len(cache) + 10:  # until some have been evicted
            result = make(put)
            cache.put(
                os.urandom(16),
                result,
                os.urandom(STAMP_LENGTH * max(slots, 3)),
                expires=None,
                weight=weigh(result),
                shared=False,
                rows=tuple(os.urandom(ROW_SLOT_LENGTH) for _ in range(slots)) or None,
            )
            put += 1
        del result
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()

    assert LEAST * SIZE < taken < MOST * SIZE
    assert cache.weight <= SIZE
