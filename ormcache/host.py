"""Where this process runs: what it shares with other processes of the same machine.

Two containers of one machine can reach one database, by a shared network or a shared volume, and yet have no file and
no shared memory in common. A store that needs those must not be taken for granted there.
"""

from __future__ import annotations

import ctypes
import os
import struct
from functools import cache
from pathlib import Path

# statx(2): where its answer has the mask of what it tells, and the seconds and nanoseconds of a file's birth
_AT_FDCWD = -100
_STATX_BTIME = 0x800
_STATX_SIZE = 256  # bytes
_BIRTH = struct.Struct("=I76xqI")


@cache
def in_container() -> bool:
    """Docker and podman leave a file behind, systemd-nspawn and LXC a variable, Kubernetes another one."""
    marks = ("/.dockerenv", "/run/.containerenv")
    return any(map(os.path.exists, marks)) or "container" in os.environ or "KUBERNETES_SERVICE_HOST" in os.environ


def birth_of(path: str) -> int:
    """When a file was made, in nanoseconds since the epoch; 0 where that cannot be told.

    An inode's number tells too little: the file that follows a deleted one gets it again. Found by name, since
    opening and closing a SQLite file takes away the locks that this process has on it.
    """
    told = getattr(os.stat(path), "st_birthtime", None)  # macOS
    if told is not None:
        return int(told * 1e9)
    answer = ctypes.create_string_buffer(_STATX_SIZE)
    try:
        failed = ctypes.CDLL(None).statx(_AT_FDCWD, os.fsencode(path), 0, _STATX_BTIME, answer)
    except AttributeError:
        return 0  # a C library without it
    mask, seconds, nanoseconds = _BIRTH.unpack_from(answer)
    return 0 if failed or not mask & _STATX_BTIME else int(seconds) * 10**9 + int(nanoseconds)


def runs_here(process: int, name: str) -> bool:
    """Is there a process of this number and name among those that this one can see?"""
    try:
        return Path(f"/proc/{process}/comm").read_text().startswith(name)
    except (OSError, UnicodeDecodeError):
        return False
