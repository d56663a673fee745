"""Statements that are given the current time as a parameter: no two executions are alike, so none of them can hit."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import Any

#: The parameters of a statement that has never hit are examined once in so many misses
SUSPICIOUS = 8
NOW = datetime.timedelta(hours=1)  # how far from the clock a current time is ...
NOW_SOMEWHERE = datetime.timedelta(hours=15)  # ... and one without a zone: it may be any hour of the day
#: SQLite and MySQL get times as text: "2026-01-31 12:00:00.123456"
LENGTH_TO_MICROSECONDS = 26


class CurrentTimeDetector:
    """Finds out whether one statement is given the current time.

    Threads share it without a lock: a count that is lost only delays the discovery.
    """

    __slots__ = ("_misses", "found", "has_hit")

    def __init__(self) -> None:
        self._misses = 0
        #: was a result of this statement ever served from the cache? Then its parameters are not the current time
        self.has_hit = False
        #: is a parameter the current time, in some executions at least?
        self.found = False

    def hit(self) -> None:
        """Note that a result was served."""
        self.has_hit = True

    def missed(self, params: Any) -> bool:
        """Note a miss with these parameters. Returns True the first time that the current time is among them."""
        if self.has_hit or self.found:
            return False
        self._misses += 1
        if self._misses % SUSPICIOUS or not params:
            return False
        self.found = has_current_time(params)
        return self.found


def has_current_time(params: Iterable[Any]) -> bool:
    """Return whether one of the parameters is a time of about now, given to the microsecond."""
    for param in params:
        if isinstance(param, datetime.datetime) and param.microsecond:
            now = datetime.datetime.now(param.tzinfo or datetime.UTC)
            moment = param if param.tzinfo is not None else param.replace(tzinfo=datetime.UTC)
            if abs(now - moment) <= (NOW if param.tzinfo is not None else NOW_SOMEWHERE):
                return True
        elif isinstance(param, (list, tuple)) and has_current_time(param):
            return True
        elif isinstance(param, str) and len(param) >= LENGTH_TO_MICROSECONDS and param[4:5] == "-":
            try:
                parsed = datetime.datetime.fromisoformat(param)
            except ValueError:
                continue
            if has_current_time([parsed]):
                return True
    return False
