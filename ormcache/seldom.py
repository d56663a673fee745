"""Keeping what could be said at every query from flooding a log."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

#: Seconds between two lines about one thing
PAUSE = 60.0


class Seldom:
    """May a line about one thing be written? Any thread may ask."""

    def __init__(self, pause: float = PAUSE, clock: Callable[[], float] = time.monotonic) -> None:
        self._pause = pause
        self._clock = clock
        self._lock = threading.Lock()  # guards the two below
        self._next = 0.0
        self._untold = 0

    def due(self) -> str | None:
        """None: not now. Else what to put at the end of the line: how often it was kept back since the last one."""
        now = self._clock()
        with self._lock:
            if self._next and now < self._next:
                self._untold += 1
                return None
            self._next = now + self._pause
            untold, self._untold = self._untold, 0
        return f" (and {untold} more since this was said last)" if untold else ""
