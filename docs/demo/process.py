"""The parent's end of ``worker.py``: starts a process of the site, asks it, ends it."""

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

PLAIN = "django.db.backends.sqlite3"


class SiteFailed(Exception):
    """A process of the site could not do what it was asked; its own traceback is in the message or on stderr."""


class Site:
    """A process of the site, kept running and asked over a pipe. Its actions are methods: ``site.inspect("/")``."""

    def __init__(self, folder, engine, blacklist=(), purge=""):
        self.engine = engine
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("worker.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            env=os.environ
            | {
                "DJANGO_SETTINGS_MODULE": "atlas.settings",
                "DEMO_ENGINE": engine,
                "DEMO_DATABASE": str(folder / "atlas.sqlite3"),
                "DEMO_CACHE": str(folder / "cache"),
                "DEMO_BLACKLIST": " ".join(blacklist),
                "DEMO_PURGE": purge,
                "PYTHONDONTWRITEBYTECODE": "1",
                "PYTHONIOENCODING": "utf-8",
            },
        )
        self.pid = self._process.pid

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        with suppress(BrokenPipeError):  # it has ended by itself, and said why on stderr
            self._process.stdin.close()  # the worker's loop ends here
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def __getattr__(self, action):
        return lambda *arguments: self._ask(action, arguments)

    def _ask(self, action, arguments):
        try:
            print(json.dumps([action, arguments]), file=self._process.stdin, flush=True)
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise SiteFailed(f"the process with {self.engine} ended before it answered {action!r}")
        answer = json.loads(answer)
        if "error" in answer:
            raise SiteFailed(f"the process with {self.engine} failed in {action!r}:\n{answer['error']}")
        return answer["result"]
