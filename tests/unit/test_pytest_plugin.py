"""The plugin where there is no Django project: pytest loads it wherever ormcache is installed."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.projects.running import PLUGIN

ROOT = Path(__file__).parents[2]
BARE = {name: value for name, value in os.environ.items() if "DJANGO" not in name and "PYTEST" not in name}


def run(*arguments: str, folder: Path = ROOT) -> str:
    environment = BARE | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr


def test_its_entry_point() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["pytest11"] == {"ormcache": "ormcache.pytest_plugin"}


def test_importing_it_imports_no_django() -> None:
    code = "import sys, ormcache.pytest_plugin; print([name for name in sys.modules if name.startswith('django')])"
    assert run("-c", code) == "[]\n"


def test_a_project_without_django(tmp_path: Path) -> None:
    (tmp_path / "test_plain.py").write_text(
        "import sys\n"
        "def test_plain():\n"
        "    assert not [name for name in sys.modules if name.split('.')[0] in ('django', 'asgiref')]\n"
    )
    # pytest-django is somebody else's plugin, and imports Django.
    output = run("-m", "pytest", "-q", "-p", PLUGIN, "-p", "no:django", "-p", "no:cacheprovider", folder=tmp_path)
    assert "1 passed" in output


def test_its_mark_is_known(tmp_path: Path) -> None:
    output = run("-m", "pytest", "-p", PLUGIN, "-p", "no:django", "--markers", folder=tmp_path)
    assert "@pytest.mark.ormcache(mode): " in output


def test_django_that_is_not_configured(tmp_path: Path) -> None:
    """A recorder and a mode need no settings."""
    (tmp_path / "test_plain.py").write_text(
        "import pytest\n"
        "@pytest.mark.ormcache('off')\n"
        "def test_plain(ormcache_recorder):\n"
        "    assert ormcache_recorder.reads == []\n"
    )
    output = run("-m", "pytest", "-q", "-p", PLUGIN, "-p", "no:cacheprovider", folder=tmp_path)
    assert "1 passed" in output
