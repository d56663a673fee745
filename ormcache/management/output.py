"""Where a sub-command's words go: Django's ``self.stdout``, drawn with rich, or one JSON document."""

from __future__ import annotations

import io
import json
import os
import shutil
from typing import Any

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
        is_terminal = bool(stdout.isatty())
        wanted = not no_color and "NO_COLOR" not in os.environ and is_terminal and bool(supports_color())
        self._coloured = force_color or wanted
        self.width = shutil.get_terminal_size((WIDTH, 24)).columns if is_terminal or "COLUMNS" in os.environ else WIDTH

    def show(self, *drawn: RenderableType) -> None:
        """Draw these below each other."""
        # Drawn first and then written as one text: rich would look at the stream and decide by itself.
        canvas = io.StringIO()
        console = Console(
            file=canvas,
            width=self.width,
            force_terminal=self._coloured,
            color_system="standard" if self._coloured else None,
            no_color=not self._coloured,
            markup=False,
            highlight=False,
            emoji=False,
            legacy_windows=False,
            _environ={},
        )
        for one in drawn:
            console.print(one)
        lines = canvas.getvalue().splitlines()
        self._stdout.write("\n".join(line.rstrip() for line in lines))

    def json(self, value: Any) -> None:
        """One document."""
        self._stdout.write(json.dumps(plain(value), indent=2, ensure_ascii=False))
