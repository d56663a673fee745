"""Where a sub-command writes: Django's ``self.stdout``, laid out by rich, or as one JSON document."""

from __future__ import annotations

import io
import json
import os
import shutil
from typing import IO, Any, cast

from django.core.management.base import OutputWrapper
from django.core.management.color import supports_color
from rich.console import Console, RenderableType

from ormcache.diagnostics.format.encoder import JSONEncoder

#: Columns of the output where neither a terminal nor COLUMNS says how many there are
WIDTH = 80


class Output:
    """Writes to a sub-command's standard output. Colours only decorate: all that they say stands there in words too."""

    def __init__(self, stdout: OutputWrapper, *, no_color: bool, force_color: bool) -> None:
        self._stdout = stdout
        self.is_terminal = bool(stdout.isatty())
        may_colour = not no_color and "NO_COLOR" not in os.environ and self.is_terminal and bool(supports_color())
        self._has_colour = force_color or may_colour
        self._encoding: str = getattr(stdout, "encoding", None) or "utf-8"
        has_width = self.is_terminal or "COLUMNS" in os.environ
        self.width = shutil.get_terminal_size((WIDTH, 24)).columns if has_width else WIDTH

    def show(self, *renderables: RenderableType) -> None:
        """Write these below each other."""
        # Rendered first and then written at once: rich would look at the stream and decide about colours by itself.
        buffer = io.StringIO()
        console = self._console(buffer, width=self.width, force_terminal=self._has_colour, _environ={})
        for one in renderables:
            console.print(one)
        lines = buffer.getvalue().splitlines()
        self._stdout.write(encodable("".join(f"{line.rstrip()}\n" for line in lines), self._encoding), ending="")

    def line(self, text: str) -> None:
        """Write one line of many, as it is, and flush it."""
        self._stdout.write(encodable(text, self._encoding))
        self._stdout.flush()

    def terminal(self) -> Console:
        """Return a console whose lines can be drawn over again, for ``is_terminal`` only."""
        return self._console(cast("IO[str]", _Stream(self._stdout)), force_terminal=True)

    def _console(self, file: IO[str], **more: Any) -> Console:
        return Console(
            file=file,
            color_system="standard" if self._has_colour else None,
            no_color=not self._has_colour,
            markup=False,
            highlight=False,
            emoji=False,
            legacy_windows=False,
            **more,
        )

    def json(self, value: Any) -> None:
        """Write one document."""
        self._stdout.write(self._dumps(value, indent=2))

    def html(self, document: str) -> None:
        """Write an HTML document, with references for the characters that the output's encoding does not have."""
        self._stdout.write(document.encode(self._encoding, "xmlcharrefreplace").decode(self._encoding))

    def json_line(self, value: Any) -> None:
        """Write one document of many, in a line of its own, and flush it."""
        self._stdout.write(self._dumps(value))
        self._stdout.flush()

    def _dumps(self, value: Any, **options: Any) -> str:
        text = json.dumps(value, cls=JSONEncoder, ensure_ascii=False, **options)
        try:
            text.encode(self._encoding)
        except UnicodeEncodeError:
            return json.dumps(value, cls=JSONEncoder, **options)
        return text


#: What an output that has only ASCII gets in place of the characters used here
_ASCII = str.maketrans(
    {
        "µ": "u",
        "…": "...",
        "→": "->",
        "\u00d7": "x",
        "\u2013": "-",
        "—": "-",
        "·": "*",
        "•": "*",
        "─": "-",
        "━": "=",
        "│": "|",
    }
)


def encodable(text: str, encoding: str) -> str:
    """Replace the characters that an encoding does not have by the nearest ones, or by question marks."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_ASCII).encode(encoding, "replace").decode(encoding)
    return text


class _Stream:
    """Django's standard output as a stream for rich, which ends its lines itself."""

    def __init__(self, stdout: OutputWrapper) -> None:
        self._stdout = stdout

    def write(self, text: str) -> int:
        self._stdout.write(encodable(text, getattr(self._stdout, "encoding", None) or "utf-8"), ending="")
        return len(text)

    def flush(self) -> None:
        self._stdout.flush()

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stdout.fileno()
