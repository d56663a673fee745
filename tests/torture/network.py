"""Hosts as network namespaces on one machine, all on one switch, and links between two of them that can be cut."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Self

ROOT = Path(__file__).parents[2]
#: How a link is cut: what the first host sends, what the second one answers, or both is lost
DIRECTIONS = ("requests", "answers", "both")
SLOW = "rate 64kbit burst 4kb latency 200ms"

_numbers = itertools.count()


def is_available() -> bool:
    """Return whether this process may make network namespaces."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    name = f"ormcache-try-{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode:
        return False
    return not subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False).returncode


class Network:
    """A switch and the hosts on it. Used as a context manager."""

    def __init__(self, hosts: Sequence[str]) -> None:
        self._prefix = f"ormcache-{os.getpid()}-{next(_numbers)}"
        self.addresses = {host: f"10.77.0.{number}" for number, host in enumerate(hosts, 1)}
        self._cuts: dict[tuple[str, str], str] = {}
        self._slow: set[str] = set()

    def __enter__(self) -> Self:
        try:
            self._build()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    def _build(self) -> None:
        switch = self.namespace("switch")
        _ip("netns", "add", switch)
        _ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        _ip("-n", switch, "link", "set", "bridge", "up")
        for number, (host, address) in enumerate(self.addresses.items()):
            namespace, port = self.namespace(host), f"port{number}"
            _ip("netns", "add", namespace)
            _ip("-n", switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", namespace)
            _ip("-n", switch, "link", "set", port, "master", "bridge", "up")
            _ip("-n", namespace, "link", "set", "lo", "up")
            _ip("-n", namespace, "address", "add", f"{address}/24", "dev", "eth0")
            _ip("-n", namespace, "link", "set", "eth0", "up")

    def _remove(self) -> None:
        for host in (*self.addresses, "switch"):
            subprocess.run(["ip", "netns", "del", self.namespace(host)], capture_output=True, check=False)

    def namespace(self, host: str) -> str:
        return f"{self._prefix}-{host}"

    def start(self, host: str, command: Sequence[str], **options: object) -> subprocess.Popen[str]:
        """Start a program on a host."""
        inside = ["ip", "netns", "exec", self.namespace(host), *command]
        return subprocess.Popen(inside, cwd=ROOT, text=True, **options)  # type: ignore[call-overload, no-any-return]

    def cut(self, host: str, other: str, direction: str = "both") -> None:
        """Lose what a host sends to another one, what that one answers, or both, without a word to anybody."""
        self.heal(host, other)
        self._cuts[host, other] = direction
        for one, target in self._losing(host, other, direction):
            _ip("-n", self.namespace(one), "route", "add", "blackhole", self.addresses[target])

    def heal(self, host: str, other: str) -> None:
        """Let all through again between two hosts."""
        direction = self._cuts.pop((host, other), None)
        if direction is not None:
            for one, target in self._losing(host, other, direction):
                _ip("-n", self.namespace(one), "route", "del", "blackhole", self.addresses[target])

    def slow(self, host: str) -> None:
        """Let little through of what a host sends."""
        if host not in self._slow:
            self._slow.add(host)
            _run("tc", "-n", self.namespace(host), "qdisc", "add", "dev", "eth0", "root", "tbf", *SLOW.split())

    def quicken(self, host: str) -> None:
        """Let all through again that a host sends."""
        if host in self._slow:
            self._slow.remove(host)
            _run("tc", "-n", self.namespace(host), "qdisc", "del", "dev", "eth0", "root")

    def heal_all(self) -> None:
        for host, other in list(self._cuts):
            self.heal(host, other)
        for host in list(self._slow):
            self.quicken(host)

    @staticmethod
    def _losing(host: str, other: str, direction: str) -> list[tuple[str, str]]:
        ways = {"requests": [(host, other)], "answers": [(other, host)]}
        return ways.get(direction, [(host, other), (other, host)])


def _ip(*arguments: str) -> None:
    _run("ip", *arguments)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
