"""The line of the project that runs a query."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ormcache.utils.call_site import MOST_FRAMES, caller

HERE = Path(__file__)


def through_frames(count: int) -> str | None:
    """What :func:`caller` returns below so many frames of Python's own."""
    names: dict[str, Any] = {"caller": caller}
    source = "def call(count): return call(count - 1) if count > 1 else caller()"
    exec(compile(source, os.__file__, "exec"), names)
    call: Callable[[int], str | None] = names["call"]
    return call(count)


def test_the_innermost_line_of_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE.parent)
    line = through_frames.__code__.co_firstlineno + 6

    assert through_frames(5) == f"{HERE.name}:{line}"


def test_a_path_outside_of_the_working_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert str(through_frames(1)).startswith(f"{HERE}:")

    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert str(through_frames(1)).startswith(f"{HERE}:")


def test_no_line_of_the_project_is_looked_for_in_vain() -> None:
    assert through_frames(MOST_FRAMES - 1) is not None
    assert through_frames(MOST_FRAMES) is None
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(caller).result() is None
