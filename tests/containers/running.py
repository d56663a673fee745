"""Starts and stops containers that are namespaces."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Self

import psutil

from tests.torture import network
from tests.torture.network import Network

ROOT = Path(__file__).parents[2]
INSIDE = Path(__file__).with_name("inside.py")
#: What Docker gives to one that asks for nothing else
SHM_SIZE = "64m"
STOP_TIMEOUT = 10.0
TIMEOUT = 60.0

_numbers = itertools.count()


@dataclass
class Specification:
    """What a container is to be, in the words of Compose."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    working_directory: str = "/"
    volumes: Mapping[str, Path] = field(default_factory=dict)  # path in the container → folder here
    tmpfs: Mapping[str, str] = field(default_factory=dict)  # path → options of mount
    shm_size: str = SHM_SIZE
    read_only: bool = False
    init: bool = False
    user: tuple[int, int] | None = None
    stop_grace_period: float = STOP_TIMEOUT


class Container:
    """One that runs. A context manager, which kills it."""

    def __init__(
        self,
        given: Specification,
        folder: Path,
        network: Network | None = None,
        *,
        processes_of: Container | None = None,
        log: IO[bytes] | int = subprocess.PIPE,
    ) -> None:
        """``folder``: one for its layers. ``network``: where its name is a host; None: that of this machine.

        ``processes_of``: another one, whose PID namespace it shares, as with ``pid: "service:…"``.
        """
        self.given = given
        described = {
            "name": given.name,
            "folder": str(folder / f"{given.name}-{next(_numbers)}"),
            "command": list(given.command),
            "environment": {
                "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
                "HOME": "/tmp",
                "LANG": "C.UTF-8",
                "PYTHONPATH": str(ROOT),
                "PYTHONDONTWRITEBYTECODE": "1",
                "container": "tests",  # as systemd-nspawn and Podman say it
                **given.environment,
            },
            "working_directory": given.working_directory,
            # They may be on other file systems than the root.
            "shown": sorted({str(ROOT), sys.prefix, sys.base_prefix}),
            "volumes": {path: str(source) for path, source in given.volumes.items()},
            "tmpfs": dict(given.tmpfs),
            "shm_size": given.shm_size,
            "read_only": given.read_only,
            "init": given.init,
            "user": given.user,
            "hosts": {} if network is None else network.addresses,
        }
        command = ["unshare", "--mount", "--ipc", "--uts", "--kill-child", "--pid", "--fork"]
        if processes_of is not None:
            command = ["nsenter", "--target", str(processes_of.first_process.pid), "--pid"]
            command += ["unshare", "--mount", "--ipc", "--uts"]
        command += [sys.executable, str(INSIDE), json.dumps(described)]
        streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": subprocess.STDOUT}
        self._process = (
            subprocess.Popen(command, cwd=ROOT, text=True, **streams)  # type: ignore[call-overload]
            if network is None
            else network.start(given.name, command, **streams)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def first_process(self) -> psutil.Process:
        """The one with the number 1 in the container; if it has ended, ``psutil.NoSuchProcess`` is raised."""
        below = psutil.Process(self._process.pid).children(recursive=True)
        if not below:
            raise psutil.NoSuchProcess(self._process.pid)
        return below[0]

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def output(self) -> str:
        """Wait until it has ended, and return what it has printed."""
        printed, _ = self._process.communicate(timeout=TIMEOUT)
        return str(printed)

    def wait(self) -> int:
        """Return the code with which its command ended; negative, or above 128: the signal that ended it."""
        return int(self._process.wait(TIMEOUT))

    def stop(self) -> int:
        """``docker stop``: SIGTERM to the first process, and SIGKILL when the time is over."""
        first = self.first_process
        first.send_signal(signal.SIGTERM)
        try:
            return int(self._process.wait(self.given.stop_grace_period))
        except subprocess.TimeoutExpired:
            first.kill()
            return self.wait()

    def kill(self) -> None:
        if self.running:
            with contextlib.suppress(psutil.NoSuchProcess):  # it ends meanwhile
                for process in self._all():
                    process.kill()
            self._process.kill()
            self._process.wait(TIMEOUT)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _all(self) -> list[psutil.Process]:
        first = self.first_process
        return [first, *first.children(recursive=True)]


@functools.cache
def is_available() -> bool:
    """Return whether this machine lets the tests make such containers."""
    if not network.is_available() or shutil.which("unshare") is None:
        return False
    folder = Path("/tmp") / f"ormcache-try-{os.getpid()}"
    folder.mkdir()
    try:
        with Container(Specification("try", ["true"]), folder) as container:
            return container.wait() == 0
    finally:
        shutil.rmtree(folder)
