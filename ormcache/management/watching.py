"""Looking again and again, until somebody presses Ctrl-C."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TypeVar

from rich.console import RenderableType
from rich.live import Live

from ormcache.insight.statistics import Change, Statistics, change_of
from ormcache.management.output import Output

T = TypeVar("T")
Key = tuple[str, str]


class Window:
    """What has come between now and an earlier look.

    Processes tell their figures only every few seconds. Between two looks that are nearer to each other most of them
    would seem to stand still, so the earlier look is one of before they have told for the last time.
    """

    def __init__(self) -> None:
        self._looks: deque[tuple[float, Mapping[Key, Statistics]]] = deque()

    def changes(self, found: Mapping[Key, Statistics], interval: float) -> dict[Key, Change]:
        """``interval``: seconds in which every process tells once. Nothing at the first look."""
        now = max((one.at.timestamp() for one in found.values()), default=0.0)
        # The latest one that is old enough stays; those before it have no more use.
        while len(self._looks) > 1 and self._looks[1][0] <= now - interval:
            self._looks.popleft()
        before = self._looks[0][1] if self._looks else {}
        if found:
            self._looks.append((now, found))
        return {key: change_of(one, before[key]) for key, one in found.items() if key in before}


def repeated(
    look: Callable[[], T],
    tell: Callable[[T], None] | None,
    draw: Callable[[T], RenderableType],
    out: Output,
    seconds: float,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Look every so many seconds: ``tell``, or, if it is None, ``draw`` in the same place again.

    Where there is no terminal to draw over, one drawing comes below the other. Ends with Ctrl-C.
    """
    try:
        first = look()
        if tell is None and out.is_terminal:
            with Live(
                draw(first), console=out.terminal(), auto_refresh=False, redirect_stdout=False, redirect_stderr=False
            ) as live:
                while True:
                    pause(seconds)
                    live.update(draw(look()), refresh=True)
        show = tell if tell is not None else lambda found: out.show(draw(found), "")
        show(first)
        while True:
            pause(seconds)
            show(look())
    except KeyboardInterrupt:
        pass
