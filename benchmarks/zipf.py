"""Keys as visitors ask for them: a few of them often, most of them hardly ever."""

from __future__ import annotations

import itertools
import random
from bisect import bisect_left

EXPONENT = 1.1  # of web requests and catalogues, as usually reported, around 1


class Zipf:
    """Numbers from 1 to ``size``; the one of rank r comes in proportion to 1 / r ** ``exponent``. Same seed, same row.

    Ranks are spread over the keys, else the popular rows of all tables would be neighbours on one page of the database.
    """

    def __init__(self, size: int, seed: int, exponent: float = EXPONENT) -> None:
        self._random = random.Random(seed)
        self._sums = list(itertools.accumulate(1 / rank**exponent for rank in range(1, size + 1)))
        self._keys = list(range(1, size + 1))
        random.Random(size).shuffle(self._keys)  # by size alone: all readers agree which keys are popular

    def draw(self) -> int:
        # The sum is a float, and a draw may round up to it.
        place = bisect_left(self._sums, self._random.random() * self._sums[-1])
        return self._keys[min(place, len(self._keys) - 1)]
