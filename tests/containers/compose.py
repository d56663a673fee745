"""Reads a compose file, as far as the example of the documentation needs it, and runs its services as namespaces."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from ctypes import CDLL
from pathlib import Path
from typing import Any, Self, TypeVar

import yaml

from tests.containers.running import SHM_SIZE, STOP_TIMEOUT, Container, Specification
from tests.servers import Server
from tests.torture.network import Network

T = TypeVar("T")

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "containers"
CLONE_NEWNET = 0x40000000
#: What else a service may say here: whoever adds something to the example has to say what it is to be in the tests
KNOWN = {
    *("build", "image", "command", "environment", "read_only", "tmpfs", "shm_size", "volumes", "init"),
    *("stop_grace_period", "ports", "depends_on", "healthcheck", "restart"),
}


def services() -> dict[str, dict[str, Any]]:
    """Return the services of the example, as the file says them."""
    found: dict[str, dict[str, Any]] = yaml.safe_load((EXAMPLE / "compose.yaml").read_text(encoding="utf-8"))[
        "services"
    ]
    return found


def specification(name: str, said: dict[str, Any], volumes: dict[str, Path]) -> Specification:
    """Return what a service is to be. ``volumes``: name → its folder. Images are the programs of this machine."""
    unknown = said.keys() - KNOWN
    assert not unknown, f"{name} says {unknown}"
    mounts = dict(one.split(":") for one in said.get("volumes", ()))
    is_site = "build" in said
    return Specification(
        name,
        shlex.split(said["command"]),
        {key: str(value) for key, value in said.get("environment", {}).items()},
        "/app" if is_site else "/",
        {path: volumes[volume] for volume, path in mounts.items()} | ({"/app": EXAMPLE} if is_site else {}),
        dict(one.partition(":")[::2] for one in said.get("tmpfs", ())),
        said.get("shm_size", SHM_SIZE),
        said.get("read_only", False),
        said.get("init", False),
        None,
        float(re.sub("s$", "", str(said.get("stop_grace_period", STOP_TIMEOUT)))),
    )


class Composed:
    """The example, as ``docker compose up`` would have it. A context manager: ``docker compose down``."""

    def __init__(self, folder: Path, start_server: Callable[..., Server]) -> None:
        self._folder = folder
        self._services = services()
        self._network = Network(["client", *self._services])
        self._stack = ExitStack()
        self._running: dict[str, Container] = {}
        self._database = start_server("postgresql")  # for its program and its user

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self._network)
            self._make_database()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        for container in self._running.values():
            container.kill()
        self._stack.close()

    def __getitem__(self, service: str) -> Container:
        return self._running[service]

    def up(self, service: str) -> Container:
        """Start a service, and do not wait until it answers."""
        self._running[service] = self.run(service)
        return self._running[service]

    def run(self, service: str, *command: str, environment: dict[str, str] | None = None) -> Container:
        """``docker compose run``: one more container of a service, with another command."""
        given = specification(service, self._services[service], {"data": self._data})
        if command:
            given.command = command
        given.environment = {**given.environment, **(environment or {})}
        if service == "database":
            user = self._database.credentials()
            given.user = (user["user"], user["group"]) if user else None
            given.command = [str(self._database.program), *given.command[1:], "-D", "/var/lib/postgresql/data"]
        if service == "redis":
            given.command = [*given.command, "--protected-mode", "no"]  # the image is built like that
        folder = self._folder / "containers"
        folder.mkdir(exist_ok=True)
        if command:
            return Container(given, folder, self._network)
        with (self._folder / f"{service}.log").open("ab") as log:
            return Container(given, folder, self._network, log=log)

    def logs(self) -> str:
        """Return what all services have printed."""
        return "".join(f"{path.stem}:\n{path.read_text()}\n" for path in sorted(self._folder.glob("*.log")))

    def as_client(self, ask: Callable[[], T]) -> T:
        """Call a function in a thread of this process that is on the network of the containers."""

        def asked() -> T:
            with open(f"/run/netns/{self._network.namespace('client')}") as namespace:
                assert CDLL(None).setns(namespace.fileno(), CLONE_NEWNET) == 0
            return ask()

        with ThreadPoolExecutor(1) as executor:  # the thread stays there, and ends
            return executor.submit(asked).result()

    def address(self, service: str) -> str:
        return self._network.addresses[service]

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _make_database(self) -> None:
        """What the image's entry point does with an empty volume."""
        said = self._services["database"]["environment"]
        program = self._database.program
        user = self._database.credentials()
        self._data.mkdir(mode=0o700)
        password = self._folder / "password"
        password.write_text(said["POSTGRES_PASSWORD"])
        for path in (self._data, password):
            if user:
                os.chown(path, user["user"], user["group"])
        for path in (self._folder, *self._folder.parents):
            if user and path.stat().st_uid == os.geteuid() and not path.stat().st_mode & 0o001:
                path.chmod(path.stat().st_mode | 0o011)
        subprocess.run(
            [program.parent / "initdb", "--pgdata", self._data, f"--username={said['POSTGRES_USER']}"]
            + [f"--pwfile={password}", "--auth-host=scram-sha-256", "--auth-local=trust", "--no-sync"]
            + ["--encoding=UTF8", "--locale=C"],
            cwd="/",
            check=True,
            capture_output=True,
            **user,
        )
        with (self._data / "pg_hba.conf").open("a") as rules:
            rules.write("host all all all scram-sha-256\n")
        with (self._data / "postgresql.conf").open("a") as settings:
            settings.write("listen_addresses = '*'\nunix_socket_directories = '/var/run/postgresql'\nfsync = off\n")
        subprocess.run(
            [program, "--single", "-D", self._data, "postgres"],
            input=f"CREATE DATABASE {said['POSTGRES_DB']}\n",
            text=True,
            cwd="/",
            check=True,
            capture_output=True,
            **user,
        )
