"""What is seen on the terminal: progress while it runs, tables at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from benchmarks.tables import FAILED, STALE, WRONG, all_tables, faults, notes

#: Of a file or a pipe, which has no width of its own
WIDTH = 200


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """What the function is told stands in one line of a terminal, and in a line each elsewhere."""
    console = Console()
    began = time.monotonic()
    with console.status("starting the servers") as status:

        def say(text: str) -> None:
            line = f"{time.monotonic() - began:6.0f} s  {text}"
            if console.is_terminal:
                status.update(line)
            else:
                print(line, flush=True)

        yield say


def show(results: dict[str, Any], console: Console | None = None) -> None:
    console = console or _console()
    for table in all_tables(results):
        shown = RichTable(title=table.title, caption=table.caption, title_justify="left", caption_justify="left")
        for number, column in enumerate(table.columns):
            shown.add_column(column, overflow="fold", justify="left" if number == 0 else "right")
        for row in table.rows:
            shown.add_row(row[0], *(_coloured(cell) for cell in row[1:]))
        console.print(shown)
        console.print()
    for note in notes(results):
        console.print(Text(note, style="yellow"))
    for fault in faults(results):
        console.print(Text(f"FAULT: {fault}", style="bold red"))


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH)


def _coloured(cell: str) -> Text:
    if any(word in cell for word in (STALE, WRONG, FAILED)):
        return Text(cell, style="red")
    # A line each for wall time and CPU, where the columns are narrow
    return Text(cell.replace(" CPU ", "\nCPU "))
