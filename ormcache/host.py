"""Where this process runs: what it shares with other processes of the same machine.

Two containers of one machine can reach one database, by a shared network or a shared volume, and yet have no file and
no shared memory in common. A store that needs those must not be taken for granted there.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path


@cache
def in_container() -> bool:
    """Docker and podman leave a file behind, systemd-nspawn and LXC a variable, Kubernetes another one."""
    marks = ("/.dockerenv", "/run/.containerenv")
    return any(map(os.path.exists, marks)) or "container" in os.environ or "KUBERNETES_SERVICE_HOST" in os.environ


def runs_here(process: int, name: str) -> bool:
    """Is there a process of this number and name among those that this one can see?"""
    try:
        return Path(f"/proc/{process}/comm").read_text().startswith(name)
    except (OSError, UnicodeDecodeError):
        return False
