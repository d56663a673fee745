"""Where this process runs, and what it shares with other processes of the same machine.

Two containers of one machine can reach one database, over a shared network or through a shared volume, and yet share
neither files nor memory. A store that needs those must not be taken for granted there.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import socket
import struct
import sys
import time
from functools import cache
from pathlib import Path

from ormcache.utils.interruptions import let_through

# statx(2), https://man7.org/linux/man-pages/man2/statx.2.html: the answer has a mask of the fields that it contains at
# its beginning, and the seconds and nanoseconds of a file's birth at byte 80
_AT_FDCWD = -100
_STATX_BTIME = 0x800
_STATX_SIZE = 256  # bytes
_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - whoever uses files there checks their owners

_HAS_OWNERS = hasattr(os, "geteuid")  # files belong to users that have numbers

_BIRTH = struct.Struct("=I76xqI")


def shared_folder() -> Path:
    """Return the folder for files that every process of this host finds, whatever user it runs as.

    It depends on no variable (TMPDIR, XDG_RUNTIME_DIR). It is /tmp, which can be private to a service, only where there
    is no shared memory. Raises FileNotFoundError on Windows, which has no such folder.
    """
    if not _HAS_OWNERS:
        raise FileNotFoundError("no folder is shared by all users of this system")
    shared_memory = Path(_SHARED_MEMORY)
    return shared_memory if os.access(shared_memory, os.W_OK) else Path("/tmp")  # noqa: S108 - owners are checked


def user_id() -> int:
    """Return the number of the user that this process acts for; 0 on Windows, where users have none."""
    return os.geteuid() if _HAS_OWNERS else 0


@cache
def in_container() -> bool:
    """Return whether this process runs in a container.

    Docker and Podman leave a file there, systemd-nspawn and LXC a variable, Kubernetes another one.
    """
    marks = ("/.dockerenv", "/run/.containerenv")
    return any(map(os.path.exists, marks)) or "container" in os.environ or "KUBERNETES_SERVICE_HOST" in os.environ


def creation_time(path: str) -> int:
    """Return when a file was created, in nanoseconds since the epoch; 0 if that is not known.

    The inode number is not enough, because a file that follows a deleted one can get the same. ``path`` is not opened:
    closing a SQLite file drops the locks that this process holds on it (https://www.sqlite.org/howtocorrupt.html).
    """
    status = os.stat(path)
    created = getattr(status, "st_birthtime", None)  # macOS, and Windows from Python 3.12 on
    if created is None and sys.platform == "win32":
        created = status.st_ctime  # elsewhere the time of the last change of its owner, mode or size
    if created is not None:
        return int(created * 1e9)
    answer = ctypes.create_string_buffer(_STATX_SIZE)
    try:
        failed = ctypes.CDLL(None).statx(_AT_FDCWD, os.fsencode(path), 0, _STATX_BTIME, answer)
    except AttributeError:
        return 0  # a C library without it
    mask, seconds, nanoseconds = _BIRTH.unpack_from(answer)
    return 0 if failed or not mask & _STATX_BTIME else int(seconds) * 10**9 + int(nanoseconds)


#: Whether /proc describes processes; without it there is no proof of where a server runs
HAS_PROC = os.path.exists("/proc/self/stat")


def is_on_this_host(process: int, name: str, started: float, within: float) -> bool:
    """Return whether a server's process runs on this host and has the same shared memory as this process.

    A port or a socket proves little: a tunnel, a proxy or a server in a container may answer there. So a process of
    this host must have the id, the name (or the beginning of it) and the start time (seconds since the epoch, give or
    take ``within``) that the server reports of itself. A server elsewhere is unlikely to share all three with one.
    """
    try:
        if not Path(f"/proc/{process}/comm").read_text().startswith(name):
            return False
        # The name, in parentheses, may have anything in it; the 22nd field is the time of start, in ticks since boot.
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        since_boot = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        # By the system call, which tests that freeze the time leave alone.
        booted = time.clock_gettime(time.CLOCK_REALTIME) - time.clock_gettime(time.CLOCK_BOOTTIME)
        seen = booted + since_boot
        return abs(seen - started) <= within and _shared_memory_of(process) == os.stat(_SHARED_MEMORY).st_dev
    except (OSError, ValueError, IndexError) as error:
        let_through(error)
        return False


def local_port(descriptor: int) -> int | None:
    """Return the port at this end of a TCP connection; None for another kind of socket.

    A server that sees another port is behind a tunnel or a proxy.
    """
    with socket.socket(fileno=socket.dup(descriptor)) as end:
        name = end.getsockname()
    return name[1] if isinstance(name, tuple) else None


def pids_of(*names: str) -> list[int]:
    """Return the ids of the processes with one of these names that this process can see."""
    found = []
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            if path.read_text().strip() in names:
                found.append(int(path.parent.name))
        except (OSError, UnicodeDecodeError) as error:  # it has ended meanwhile
            let_through(error)
    return found


def _shared_memory_of(process: int) -> int | None:
    """Return the device of a process's shared memory, of which each container has its own; None: there is none."""
    found = None
    for line in Path(f"/proc/{process}/mountinfo").read_text().splitlines():
        _, _, device, _, place, *_ = line.split(" ")
        if place in ("/", "/dev", _SHARED_MEMORY) and (found is None or len(place) >= len(found[0])):
            found = (place, device)  # what is mounted later lies above
    if found is None:
        return None
    major, _, minor = found[1].partition(":")
    return os.makedev(int(major), int(minor))


@cache
def boot() -> str:
    """Return an id of the time since this host was booted; "" if there is none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError as error:
        let_through(error)
        return ""


@cache
def viewpoint() -> str:
    """Return an id of the point from which this process sees addresses and paths: its host, boot and namespaces.

    Processes with the same id share one ``time.monotonic``. Where it cannot be determined, it is an id of this process.
    """
    try:
        kinds = [kind for kind in ("net", "mnt", "time") if kind != "time" or os.path.exists("/proc/self/ns/time")]
        seen = [os.stat(f"/proc/self/ns/{kind}").st_ino for kind in kinds]
        root = os.stat("/")
    except OSError as error:
        let_through(error)
        return secrets.token_hex(16)
    return f"{socket.gethostname()} {boot()} {seen} {root.st_dev} {root.st_ino}"
