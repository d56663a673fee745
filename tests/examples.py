"""How many examples generated tests try: all of them, or a fifth where others try them all.

The interpreter that runs everything tries all (see ``tests/run.py``). ``make quick`` and the other interpreters run
``pytest --few``, to notice what has just been broken: most of that is found by the first few.
"""

from __future__ import annotations

import os

_FEW = "ORMCACHE_TEST_FEW"
#: One in how many is left
FEWER = 5


def try_few() -> None:
    """Have all modules that are imported from now on, in this process and in others, try few examples."""
    os.environ[_FEW] = "1"


def examples(number: int) -> int:
    """Return how many of this number of examples to try."""
    return max(1, number // FEWER) if os.environ.get(_FEW) else number
