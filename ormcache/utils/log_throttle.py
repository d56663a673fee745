"""Keeps a line that could be logged for every query from flooding the log."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

#: Seconds between two lines about one subject
PAUSE = 60.0


class LogThrottle:
    """Decides whether a line about one subject is due. Any thread may call it."""

    def __init__(self, pause: float = PAUSE, clock: Callable[[], float] = time.monotonic) -> None:
        self._pause = pause
        self._clock = clock
        self._lock = threading.RLock()  # guards the two below
        self._next = 0.0
        self._suppressed = 0

    def due(self) -> str | None:
        """Return the end of the line: how many were suppressed since the last one. None: the line is not due."""
        now = self._clock()
        with self._lock:
            if self._next and now < self._next:
                self._suppressed += 1
                return None
            self._next = now + self._pause
            suppressed, self._suppressed = self._suppressed, 0
        return f" (and {suppressed} more since the last such line)" if suppressed else ""
