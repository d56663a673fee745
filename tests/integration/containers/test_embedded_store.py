"""The embedded store in containers: little shared memory, roots that are read-only, and volumes under other paths."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from tests.containers.running import Container, Specification, is_available
from tests.integration.reading import shown_on_sqlite
from tests.projects.running import FOLDER, ROOT
from tests.servers import free_port
from tests.waiting import eventually

pytestmark = [shown_on_sqlite, pytest.mark.slow]


@pytest.fixture
def folder() -> Iterator[Path]:
    if not is_available():
        pytest.skip("needs namespaces and overlayfs, and therefore root on Linux")
    found = Path(tempfile.mkdtemp(prefix="ormcache-tests-"))
    yield found
    shutil.rmtree(found)


def filled(folder: Path, left_by_others: int) -> dict[str, Any]:
    """What a process does in a container with the shared memory that Docker gives to one."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.containers.filling", str(left_by_others)]
    given = Specification("filling", command, read_only=True, tmpfs={"/tmp": ""})
    with Container(given, folder) as container:
        printed = container.output()
        assert container.wait() == 0, printed  # or else the signal that has ended it: SIGBUS
        found: dict[str, Any] = json.loads(printed.splitlines()[-1])
        return found


def test_it_takes_half_of_a_small_shared_memory_and_no_process_dies_when_that_is_full(folder: Path) -> None:
    found = filled(folder, 0)
    assert found["room"] > 100
    assert 2**25 <= found["left"] < 2**26
    assert found["written"] == 5000
    assert found["again"] > 0


def test_no_process_dies_where_others_have_left_no_room(folder: Path) -> None:
    assert "No space left" in filled(folder, 2**20)["unavailable"]


#: Prints what the page says, and how many hits and misses that took
READ = """
import django; django.setup()
import ormcache
from library.urls import shelves
said = shelves(None).content.decode().removeprefix("<body>").removesuffix("</body>")
print(said, ormcache.stats("default")["hits"], ormcache.stats("default")["misses"])
"""


class Site:
    """The site ``library`` in a container, on a SQLite file in a volume that is mounted at ``path``."""

    def __init__(self, folder: Path, volume: Path, path: str, processes_of: Site | None = None) -> None:
        self._port = free_port()
        settings = {
            "DATABASES": {"default": {"ENGINE": "ormcache.backends.sqlite3", "NAME": f"{path}/library.sqlite3"}},
            "ORMCACHE": {"SHARE": "always", "ADAPTIVE": False, "STATISTICS_INTERVAL": 0},
            "ALLOWED_HOSTS": ["*"],
        }
        self._environment = {
            "DJANGO_SETTINGS_MODULE": "library.settings",
            "LIBRARY_SETTINGS": json.dumps(settings),
            "PYTHONPATH": f"{FOLDER}:{ROOT}",
        }
        self._folder, self._volumes = folder, {path: volume}
        serve = ["gunicorn", "django.core.wsgi:get_wsgi_application()", "--bind", f"127.0.0.1:{self._port}"]
        self._processes_of = None if processes_of is None else processes_of.container
        self.manage("migrate", "-v0")
        self.container = self._start([*serve, "--worker-tmp-dir", "/dev/shm"], self._processes_of)
        self._processes_of = self.container

    def __enter__(self) -> Self:
        try:
            eventually(self._answers, 60)
        except BaseException:
            self.container.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.container.kill()

    def page(self, path: str = "") -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/{path}", timeout=20) as answer:
            return str(answer.read().decode()).removeprefix("<body>").removesuffix("</body>")

    def manage(self, *arguments: str) -> str:
        """``docker exec``: a command beside the processes of this container."""
        command = [sys.executable, "-m", "ormcache" if arguments[0] == "check" else "django", *arguments]
        if arguments[0] == "read":
            command = [sys.executable, "-c", READ]
        with self._start(command, self._processes_of) as container:
            return container.output().strip()

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            return bool(self.page())
        return False

    def _start(self, command: list[str], processes_of: Container | None) -> Container:
        given = Specification(
            "site", command, self._environment, volumes=self._volumes, read_only=True, tmpfs={"/tmp": ""}
        )
        return Container(given, self._folder, processes_of=processes_of)


def test_one_volume_under_two_paths_is_one_store_within_one_pid_namespace(folder: Path) -> None:
    volume = folder / "volume"
    volume.mkdir()
    with Site(folder, volume, "/data") as web, Site(folder, volume, "/srv/shop", processes_of=web) as worker:
        for number in range(5):
            assert web.page() == worker.page() == web.page()
            written = worker.page(f"add/?name={number}")
            assert written.endswith(f",{number}")
            assert web.page() == written
        # Its first read is a hit: another container has stored it.
        assert worker.manage("read") == web.manage("read") == f"{written} 1 0"


def test_two_pid_namespaces_go_on_without_the_cache(folder: Path) -> None:
    volume = folder / "volume"
    volume.mkdir()
    with Site(folder, volume, "/data") as web:
        assert web.page() == web.page() == "first"
        with Site(folder, volume, "/srv/shop") as worker:
            for number in range(5):
                assert web.page() == worker.page() == web.page()
                written = worker.page(f"add/?name={number}")
                assert written.endswith(f",{number}")
                assert web.page() == written
            assert "PID namespace" in worker.manage("check")
