"""CPU time of processes that are not this one: the database, the cache, a web server."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import psutil


class Meter:
    """Roles (``"database"``, ``"cache"``) and the processes that play them, each with all its descendants.

    What a descendant has used that ended meanwhile is in its parent's account of children, on Linux; elsewhere it is
    lost. Where the kernel does not keep the nanoseconds of each thread, times come in ticks of a hundredth of a
    second, and only a sum over many slices says anything.
    """

    def __init__(self, pids: Mapping[str, int | None]) -> None:
        self._pids = {role: pid for role, pid in pids.items() if pid is not None}

    def read(self) -> dict[str, float]:
        """Role → seconds of CPU since its processes began."""
        return {role: _of_tree(pid) for role, pid in self._pids.items()}

    def since(self, before: Mapping[str, float]) -> dict[str, float]:
        # A connection's process that ends is counted by its parent a moment later.
        return {role: max(0.0, now - before[role]) for role, now in self.read().items()}


def _of_tree(pid: int) -> float:
    try:
        root = psutil.Process(pid)
        tree = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0
    total = 0.0
    for process in tree:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        exact = _nanoseconds(process.pid)
        total += exact / 1e9 if exact is not None else times.user + times.system
        total += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    return total


def _nanoseconds(pid: int) -> int | None:
    """Of all its threads that are alive; None where Linux does not say, or it is not Linux."""
    found = None
    for file in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        try:
            found = (found or 0) + int(file.read_text().split()[0])
        except (OSError, IndexError):
            continue  # a thread that has ended, or a kernel without these statistics
    return found
