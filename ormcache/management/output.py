"""Where a sub-command's words go: Django's ``self.stdout``, drawn with rich, or one JSON document."""

from __future__ import annotations

import io
import json
import os
import shutil
from typing import IO, Any, cast

from django.core.management.base import OutputWrapper
from django.core.management.color import supports_color
from rich.console import Console, RenderableType

from ormcache.insight.plain import plain

#: Columns where nobody says how many there are
WIDTH = 80


class Output:
    """Colours only decorate: whatever they say is there in words too."""

    def __init__(self, stdout: OutputWrapper, *, no_color: bool, force_color: bool) -> None:
        self._stdout = stdout
        self.is_terminal = bool(stdout.isatty())
        wanted = not no_color and "NO_COLOR" not in os.environ and self.is_terminal and bool(supports_color())
        self._coloured = force_color or wanted
        sized = self.is_terminal or "COLUMNS" in os.environ
        self.width = shutil.get_terminal_size((WIDTH, 24)).columns if sized else WIDTH

    def show(self, *drawn: RenderableType) -> None:
        """Draw these below each other."""
        # Drawn first and then written as one text: rich would look at the stream and decide by itself.
        canvas = io.StringIO()
        console = self._console(canvas, width=self.width, force_terminal=self._coloured, _environ={})
        for one in drawn:
            console.print(one)
        lines = canvas.getvalue().splitlines()
        self._stdout.write("".join(f"{line.rstrip()}\n" for line in lines), ending="")

    def terminal(self) -> Console:
        """What may be drawn over again. Only if this is a terminal."""
        return self._console(cast("IO[str]", _Stream(self._stdout)), force_terminal=True)

    def _console(self, file: IO[str], **more: Any) -> Console:
        return Console(
            file=file,
            color_system="standard" if self._coloured else None,
            no_color=not self._coloured,
            markup=False,
            highlight=False,
            emoji=False,
            legacy_windows=False,
            **more,
        )

    def json(self, value: Any) -> None:
        """One document."""
        self._stdout.write(json.dumps(plain(value), indent=2, ensure_ascii=False))

    def json_line(self, value: Any) -> None:
        """One document of many, each in a line of its own, at once."""
        self._stdout.write(json.dumps(plain(value), ensure_ascii=False))
        self._stdout.flush()


class _Stream:
    """Django's standard output for those who end their lines themselves."""

    def __init__(self, stdout: OutputWrapper) -> None:
        self._stdout = stdout

    def write(self, text: str) -> int:
        self._stdout.write(text, ending="")
        return len(text)

    def flush(self) -> None:
        self._stdout.flush()

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stdout.fileno()
