"""A user's typed project against the installed package, with mypy and the plugin of django-stubs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

import ormcache
from tests.packaging.conftest import Environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # the index may be far away

PROJECT = Path(__file__).parent / "typed_project"

_EXPECTED = re.compile(r"# wrong: ([a-z-]+)$")
_REPORTED = re.compile(r"^(?P<file>[\w/]+\.py):(?P<line>\d+): error: .*\[(?P<code>[a-z-]+)\]$")


@pytest.fixture(scope="module")
def reported(with_wheel: Environment, tmp_path_factory: pytest.TempPathFactory) -> set[tuple[str, int, str]]:
    """File, line and code of all errors that mypy finds in the project."""
    folder = tmp_path_factory.mktemp("typed") / "project"
    shutil.copytree(PROJECT, folder)
    done = with_wheel.run("-m", "mypy", "--config-file", "mypy.ini", ".", cwd=folder)
    errors = [line for line in done.stdout.splitlines() if ": error: " in line]
    matches = [_REPORTED.match(line) for line in errors]
    assert all(matches), done.stdout
    assert done.returncode == (1 if errors else 0), done.stdout + done.stderr
    return {(match["file"], int(match["line"]), match["code"]) for match in matches if match}


def test_right_uses_are_right(reported: set[tuple[str, int, str]]) -> None:
    assert {error for error in reported if error[0] != "wrong.py"} == set()


def test_wrong_uses_are_reported(reported: set[tuple[str, int, str]]) -> None:
    lines = (PROJECT / "wrong.py").read_text(encoding="utf-8").splitlines()
    expected = {
        ("wrong.py", number, found[1])
        for number, line in enumerate(lines, start=1)
        if (found := _EXPECTED.search(line)) is not None
    }

    assert expected
    assert {error for error in reported if error[0] == "wrong.py"} == expected


def test_every_public_name_is_used() -> None:
    used = (PROJECT / "uses.py").read_text(encoding="utf-8")

    assert [name for name in ormcache.__all__ if f"ormcache.{name}" not in used] == []
