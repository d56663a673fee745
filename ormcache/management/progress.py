"""Shows how far a sub-command has come, in a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from ormcache.management.output import Output

T = TypeVar("T")


def with_bar(outcomes: Iterable[T], total: int, description: str, out: Output) -> Iterator[T]:
    """Yield the outcomes, of which there are so many, and draw a bar meanwhile if the output is a terminal."""
    if not out.is_terminal or not total:
        yield from outcomes
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, console=out.terminal(), transient=True, redirect_stdout=False, redirect_stderr=False
    ) as progress:
        yield from progress.track(outcomes, total=total, description=description)
