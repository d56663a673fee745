"""Repeated looks at the statistics, until Ctrl-C."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TypeVar

from rich.console import RenderableType
from rich.live import Live

from ormcache.diagnostics.stats.statistics import DatabaseStatistics, StatisticsChange, difference
from ormcache.management.output import Output

T = TypeVar("T")
Key = tuple[str, str]


class Window:
    """Compares each look with an earlier one.

    Processes publish their statistics only every few seconds. Between two looks that are closer to each other most
    processes would seem to stand still. So the earlier look is one from before all of them published for the last time.
    """

    def __init__(self) -> None:
        self._looks: deque[tuple[float, Mapping[Key, DatabaseStatistics]]] = deque()

    def changes(self, statistics: Mapping[Key, DatabaseStatistics], interval: float) -> dict[Key, StatisticsChange]:
        """Return what has changed since the earlier look; nothing at the first one.

        ``interval``: seconds in which every process publishes once.
        """
        now = max((one.at.timestamp() for one in statistics.values()), default=0.0)
        # The latest look that is old enough stays; those before it are of no more use.
        while len(self._looks) > 1 and self._looks[1][0] <= now - interval:
            self._looks.popleft()
        before = self._looks[0][1] if self._looks else {}
        if statistics:
            self._looks.append((now, statistics))
        return {key: difference(one, before[key]) for key, one in statistics.items() if key in before}


def repeat(
    look: Callable[[], T],
    write: Callable[[T], None] | None,
    draw: Callable[[T], RenderableType],
    out: Output,
    seconds: float,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Look every so many seconds, until Ctrl-C, and ``write`` what was seen, or ``draw`` it if ``write`` is None.

    A drawing replaces the one before it. Where there is no terminal, it comes below.
    """
    try:
        first = look()
        if write is None and out.is_terminal:
            with Live(
                draw(first), console=out.terminal(), auto_refresh=False, redirect_stdout=False, redirect_stderr=False
            ) as live:
                while True:
                    pause(seconds)
                    live.update(draw(look()), refresh=True)
        show = write if write is not None else lambda seen: out.show(draw(seen), "")
        show(first)
        while True:
            pause(seconds)
            show(look())
    except KeyboardInterrupt:
        pass
