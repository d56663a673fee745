"""Runs the site ``library`` in processes of its own, with the settings that a test says."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from django.conf import settings

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent.parent
TIMEOUT = 100  # seconds
#: The plugin for pytest as ``-p`` takes it: by the name of its entry point where ormcache is installed, which then
#: is there without being asked for
PLUGIN = "ormcache" if entry_points(group="pytest11", name="ormcache") else "ormcache.pytest_plugin"


class Library:
    """One site on a database of its own beside the one under test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment: dict[str, str] = {}
        self.path: list[str] = []  # folders of further modules
        given = settings.DATABASES["default"]
        self.database = {
            key: given[key] for key in ("ENGINE", "HOST", "PORT", "USER", "PASSWORD", "OPTIONS") if given[key]
        }
        if "sqlite3" in given["ENGINE"]:
            self.database["NAME"] = str(folder / "library.sqlite3")
        else:
            self.database["NAME"] = f"{given['NAME']}_library"
            if "mysql" in given["ENGINE"]:
                self.database["TEST"] = {"CHARSET": "utf8mb4"}
        #: the site's settings, beside the few that it comes with
        self.settings: dict[str, Any] = {
            "DATABASES": {"default": self.database},
            "ORMCACHE": {"LOCATION": str(folder / "store")},
        }

    @property
    def test_database(self) -> str:
        return f"test_{self.database['NAME']}"

    def manage(self, *arguments: str, fails: bool = False) -> str:
        """``manage.py`` with these arguments. Returns all that it printed."""
        return self._run("-m", "django", *arguments, fails=fails)

    def pytest(self, *arguments: str, file: str = "checked_by_pytest.py", fails: bool = False) -> str:
        return self._run("-m", "pytest", "-p", "no:cacheprovider", f"library/{file}", *arguments, fails=fails)

    def call(self, function: str, *arguments: Any) -> Any:
        """``library.<function>(*arguments)`` in a process where the site is set up; what it returns, as JSON has it."""
        module, _, name = function.rpartition(".")
        code = (
            "import django, importlib, json, sys; django.setup();"
            f"found = getattr(importlib.import_module('library.{module}'), {name!r})(*json.loads(sys.argv[1]));"
            "print(); print(json.dumps(found))"
        )
        return json.loads(self._run("-c", code, json.dumps(arguments)).splitlines()[-1])

    @contextlib.contextmanager
    def serving(self, port: int = 0) -> Iterator[str]:
        """The site in a process that answers requests; its address."""
        with (self.folder / "served.log").open("a") as log:
            process = self._start(
                "-c", f"from library.served import serve; serve({port})", stderr=log, stdin=subprocess.PIPE
            )
        assert process.stdin is not None
        assert process.stdout is not None
        with process:
            try:
                port = process.stdout.readline().strip()
                assert port, (self.folder / "served.log").read_text()
                yield f"http://127.0.0.1:{port}"
                process.stdin.close()
                process.wait(TIMEOUT)
            finally:
                process.kill()

    def _start(self, *arguments: str, **streams: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-W", "error", *arguments],
            cwd=FOLDER,
            env=os.environ
            | {
                "DJANGO_SETTINGS_MODULE": "library.settings",
                "LIBRARY_SETTINGS": json.dumps(self.settings),
                "PYTHONPATH": os.pathsep.join([str(FOLDER), str(ROOT), *self.path]),
                "PYTHONDONTWRITEBYTECODE": "1",
            }
            | self.environment,
            stdout=subprocess.PIPE,
            text=True,
            **streams,
        )

    def _run(self, *arguments: str, fails: bool = False) -> str:
        process = self._start(*arguments, stderr=subprocess.STDOUT)
        try:
            output, _ = process.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
            raise AssertionError(f"no end after {TIMEOUT} s; until then:\n{output}") from None
        assert bool(process.returncode) == fails, output
        return output
