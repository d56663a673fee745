"""The search through a model: every state that can be reached, until a step is wrong."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from typing import NamedTuple, TypeVar

World = TypeVar("World", bound=Hashable)


class Search(NamedTuple):
    """What a search has found."""

    worlds: int  # states that were reached
    history: list[str] | None  # the steps that led to the first wrong one; None: there is none


def search(start: World, steps: Callable[[World], Iterable[tuple[str, World | None]]]) -> Search:
    """Search breadth first, so that the history is a shortest one.

    ``steps`` yields what can happen in a world, and the world after it; None stands for something that must not be.
    """
    came_from: dict[World, tuple[World, str] | None] = {start: None}
    todo = deque([start])
    while todo:
        world = todo.popleft()
        for happens, after in steps(world):
            if after is None:
                history = [happens]
                while (step := came_from[world]) is not None:
                    world, happened = step
                    history.append(happened)
                return Search(len(came_from), history[::-1])
            if after not in came_from:
                came_from[after] = (world, happens)
                todo.append(after)
    return Search(len(came_from), None)
