"""Finds the line of the project that runs a query."""

from __future__ import annotations

import sys
import sysconfig
from functools import lru_cache
from pathlib import Path
from types import FrameType

import django

from ormcache.utils.interruptions import let_through

#: Frames that are looked at, from the innermost one outwards
MOST_FRAMES = 80

_OWN = str(Path(__file__).parents[1]) + "/"
_LIBRARIES = tuple(
    {f"{folder}/" for folder in (sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")) if folder}
)
_NOT_THE_PROJECT = (_OWN, str(Path(django.__file__).parent) + "/", *_LIBRARIES, "<frozen")


def caller() -> str | None:
    """Return ``"path:line"`` of the innermost frame outside ormcache, Django, Python and all other libraries.

    A path inside the working directory is relative to it. None if there is no such frame.
    """
    frame: FrameType | None = sys._getframe(1)
    for _ in range(MOST_FRAMES):
        if frame is None:
            return None
        if _is_of_project(frame.f_code.co_filename):
            return f"{_relative(frame.f_code.co_filename)}:{frame.f_lineno}"
        frame = frame.f_back
    return None


@lru_cache(maxsize=4096)  # for the process: where a file lies does not change
def _is_of_project(path: str) -> bool:
    return not path.startswith(_NOT_THE_PROJECT)


def _relative(path: str) -> str:
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except (ValueError, OSError) as error:
        let_through(error)
        return path
