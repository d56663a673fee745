"""The lock that keeps processes of different PID namespaces from using one folder of the embedded store.

LMDB identifies its readers by their process ids, and by these it checks which are alive (see `mdb_reader_check
<http://www.lmdb.tech/doc/group__mdb.html>`_). In two containers that share a folder both processes may have the id 1,
and one would take the other's reader slots for its own. So processes of different `PID namespaces
<https://man7.org/linux/man-pages/man7/pid_namespaces.7.html>`_ must not have the same files open. Nor may any of them
go on alone: it would not see what the others write.

Each process holds a shared lock on a file named after its PID namespace, from before it opens the store's files until
it ends. The lock is visible from every namespace of one kernel, and is released however its process ends. A process
that finds another namespace there deletes the store's files and has no store; the others notice that their files are
gone (see :mod:`~ormcache.stores.embedded.files`), and have none either.
"""

from __future__ import annotations

import fcntl
import os
import stat
import sys
from pathlib import Path

from ormcache.exceptions import StoreUnavailable
from ormcache.utils.interruptions import let_through

_PREFIX = "users-"


def pid_namespace() -> str:
    """Return the name of this process's PID namespace; "" on a system that has none.

    Raise StoreUnavailable where Linux does not say which it is.
    """
    try:
        state = os.stat("/proc/self/ns/pid")
    except OSError as error:
        if sys.platform == "linux":
            raise StoreUnavailable("cannot find out in which PID namespace this process is") from error
        return ""
    return f"{state.st_dev}-{state.st_ino}"


def is_same_file(path: Path, state: os.stat_result) -> bool:
    """Return whether a path still leads to the open file that has this status."""
    try:
        return os.path.samestat(path.lstat(), state)
    except OSError as error:
        let_through(error)
        return False


class NamespaceLock:
    """The shared lock of this process's PID namespace on a folder.

    All methods but :meth:`release` need the folder's guard (see :func:`~ormcache.stores.embedded.files.open_files`). A
    forked child inherits the lock of its parent, for as long as it does not move to another namespace.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor: int | None = None
        self._name = ""

    def acquire(self) -> None:
        """Take the lock, unless this process has it. Raise StoreUnavailable and OSError."""
        name = _PREFIX + pid_namespace()
        if self._descriptor is not None and name == self._name:
            if is_same_file(self._folder / name, os.fstat(self._descriptor)):
                return
        self.release()
        descriptor = os.open(self._folder / name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            _check_owner(descriptor, self._folder / name)
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor, self._name = descriptor, name

    def is_alone(self) -> bool:
        """Return whether no process of another namespace has its lock. Delete the files of those that are gone."""
        alone = True
        for path in self._folder.iterdir():
            if path.name.startswith(_PREFIX) and path.name != self._name:
                if _is_locked(path):
                    alone = False
                else:
                    path.unlink(missing_ok=True)
        return alone

    def release(self) -> None:
        """Release the lock: this process does not use the folder any more."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def _check_owner(descriptor: int, path: Path) -> None:
    """Raise StoreUnavailable unless the open file is a regular one that belongs to this process's user."""
    state = os.fstat(descriptor)
    if state.st_uid != os.geteuid() or not stat.S_ISREG(state.st_mode):
        raise StoreUnavailable(f"{path} belongs to user {state.st_uid}, this process runs as user {os.geteuid()}")


def _is_locked(path: Path) -> bool:
    """Return whether some process has the lock of this file."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
