"""The bookshop, running: for the pictures, and for the tests that need a browser."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

WEB = Path(__file__).parent / "bookshop" / "web.py"


class Bookshop:
    """A site in a folder of its own. A context manager: ends its processes."""

    def __init__(self, folder):
        self._environment = os.environ | {"BOOKSHOP_FOLDER": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
        self._servers = []

    def run(self, *arguments):
        """An action of ``web.py``, to its end."""
        self._start(*arguments).communicate()

    def visited(self, hours, visits, processes=2):
        """Visitors come to several processes at once."""
        running = [self._start("visit", seed, hours, visits) for seed in range(1, processes + 1)]
        for process in running:
            process.communicate()
            if process.returncode:
                raise RuntimeError(f"the visitors went away with {process.returncode}")

    def serve(self):
        """The address of the running site, without a slash at its end."""
        server = self._start("serve", stdin=subprocess.PIPE)
        self._servers.append(server)
        return f"http://127.0.0.1:{int(server.stdout.readline())}"

    def _start(self, *arguments, **options):
        return subprocess.Popen(
            [sys.executable, str(WEB), *map(str, arguments)],
            env=self._environment,
            stdout=subprocess.PIPE,
            text=True,
            **options,
        )

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        for server in self._servers:
            with contextlib.suppress(BrokenPipeError):
                server.stdin.close()
            server.stdout.close()
            server.wait()
