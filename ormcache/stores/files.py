"""The two memory-mapped files of the embedded store: where they are, whose they are, and whether they may be used.

``slots-<boot>`` holds the slots, ``entries-<boot>`` the entries. Two files, so that stamps always find room, wait for
no large result that is being stored, and stay as fast as on the first day when entries have come and gone.

The name of a boot is part of theirs: after a crash of the host nothing that was half written is ever opened.

**A file that is gone.** People and clean-up jobs delete files that are in use, and :meth:`Files.remove` does so with
files that are damaged. Whoever has them open would then go on with slots that nobody else writes to. So every process
looks at least every ``NOTICE`` seconds whether its files still have a name, and a fresh file of slots is used by
nobody before ``NOTICE`` has passed: by then all have left the old one.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import lmdb

from ormcache.stores.base import StoreUnavailable

MIB = 2**20
NOTICE = 0.05  # seconds
LONGEST_WAIT = 5.0  # seconds for the other processes that are opening the files
SMALLEST = 4 * MIB  # of both files together
SLOTS_SIZE = 16 * MIB  # room for more than 100,000 relations
READERS = 4096  # threads that read at one moment, of all processes
ENTRIES_USED = 0.8  # of the file of entries; the rest lets large values find room between small ones
LARGEST_ENTRY = 1 / 8  # of one generation

# LMDB's meta page: magic, version, address, size of the map, two tables of 48 bytes (page size and root are in them),
# last page, transaction. It stands behind a header of 16 bytes on each of the first two pages.
_META = struct.Struct("=IIQQ48s48sQQ")
_META_AT = 16
_MAGIC = 0xBEEFC0DE
_VERSION = 1
_NO_PAGE = 2**64 - 1


class Files:
    """Both files as one process has them open."""

    def __init__(self, folder: Path, boot: str, max_size: int) -> None:
        self.folder = folder
        self.pid = os.getpid()
        self.next_check = 0  # time.monotonic_ns() at which it is to be asked whether the files are still there
        self.newer = 0  # the generation of entries that was the newer one when last seen, to be asked first
        self.users: set[object] = set()  # one for each operation that is going on, of any thread
        self.closing = False
        self._descriptors: list[int] = []
        self._paths = (folder / f"slots-{boot}", folder / f"entries-{boot}")
        slots, entries = self._paths
        slots_size = _size_of(slots) or min(SLOTS_SIZE, max_size // 4)
        entries_size = max(max_size - slots_size, _map_size_of(entries))
        try:
            # The slots are written through the map, which is four times as fast. It asks for a file that has all
            # its blocks: where the disk is full, writing to a hole in it kills the process.
            self.slots = _open(slots, slots_size, writemap=True)
            self._watch(slots)
            _allocate(self._descriptors[0], slots_size)
            if 0 < _size_of(entries) < entries_size:
                os.truncate(entries, entries_size)  # another process was content with less
            self.entries = _open(entries, entries_size, max_dbs=2)
            self._watch(entries)
            os.ftruncate(self._descriptors[1], entries_size)  # full of holes; a file that is shorter was cut
            self.generations = (self.entries.open_db(b"0"), self.entries.open_db(b"1"))
            self.slots.reader_check()  # frees the places of processes that were killed
            self.entries.reader_check()
        except BaseException:
            self.close()
            raise
        self.limit = int((max_size - slots_size) * ENTRIES_USED / 2) // mmap.PAGESIZE  # pages of one generation
        self.largest = int(self.limit * mmap.PAGESIZE * LARGEST_ENTRY)  # bytes of one entry
        self._sizes = [os.fstat(descriptor).st_size for descriptor in self._descriptors]

    def gone(self) -> bool:
        """Whether one of the files was deleted or cut short: what is mapped is not what other processes will open.

        Not to be asked while another thread closes the files.
        """
        states = self.states()
        return any(state.st_nlink == 0 or state.st_size < size for state, size in zip(states, self._sizes, strict=True))

    def states(self) -> list[os.stat_result]:
        """What the file system says of both files. As :meth:`gone`."""
        return [os.fstat(descriptor) for descriptor in self._descriptors]

    def close(self) -> None:
        """Close the files once no thread uses them any more.

        LMDB would unmap them under a thread that reads. So if one does not come to an end, they are left open, and
        this process has no store until it has.
        """
        self.closing = True
        if self.pid == os.getpid():  # the users of another process are not here, and will never leave
            deadline = time.monotonic() + LONGEST_WAIT
            while self.users:
                if time.monotonic() > deadline:
                    return
                time.sleep(0.0001)
        for name in ("slots", "entries"):
            environment = getattr(self, name, None)
            if environment is not None:
                environment.close()
        while self._descriptors:
            os.close(self._descriptors.pop())

    __del__ = close

    def remove(self) -> None:
        """Delete the files, unless somebody else already has. Ours stay open."""
        with _guard(self.folder):
            if self.gone():
                return
            for path in self._paths:
                _delete(path)

    def _watch(self, path: Path) -> None:
        self._descriptors.append(os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC))


def open_files(folder: Path, max_size: int) -> Files:
    """Open the files of this boot, or begin empty ones. Raises StoreUnavailable where another user owns them."""
    boot = boot_id()
    _own_folder(folder)
    filesystem = os.statvfs(folder)
    if filesystem.f_blocks:  # some say nothing about their size
        max_size = max(SMALLEST, min(max_size, filesystem.f_blocks * filesystem.f_frsize // 2))
    with _guard(folder):
        for path in folder.iterdir():
            if path.name.startswith(("slots-", "entries-")):
                _own_file(path)
                if boot not in path.name:
                    path.unlink(missing_ok=True)
        slots, entries = folder / f"slots-{boot}", folder / f"entries-{boot}"
        if not _is_sound(entries):
            _delete(entries)
        fresh = not _is_sound(slots)
        if fresh:
            _delete(slots)
        files = Files(folder, boot, max_size)
        if fresh:
            time.sleep(NOTICE * 1.2)
    return files


def default_folder() -> Path:
    """A folder that follows from the user alone.

    Neither from the environment (TMPDIR, XDG_RUNTIME_DIR) nor below /tmp where that can be private to a service:
    two processes of one user that took different folders would not see each other's writes.
    """
    shared_memory = Path("/dev/shm")  # noqa: S108 - a folder of our own in it, whose owner is verified
    base = shared_memory if os.access(shared_memory, os.W_OK) else Path("/tmp")  # noqa: S108
    return base / f"ormcache-{os.geteuid()}"


def boot_id() -> str:
    """The name of the time since this host was started."""
    try:
        name = Path("/proc/sys/kernel/random/boot_id").read_text()
    except OSError:
        key = "kern.bootsessionuuid" if sys.platform == "darwin" else "kern.boottime"
        try:
            answer = subprocess.run(["/sbin/sysctl", "-n", key], capture_output=True, check=True, text=True)  # noqa: S603
            name = answer.stdout
        except (OSError, subprocess.CalledProcessError) as error:
            raise StoreUnavailable("this host does not tell when it was started; use another STORE") from error
    return "".join(filter(str.isalnum, name))


@contextlib.contextmanager
def _guard(folder: Path) -> Iterator[None]:
    """One process at a time makes, deletes or opens files here."""
    path = folder / "guard"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        _own_file(path)
        deadline = time.monotonic() + LONGEST_WAIT
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise StoreUnavailable(f"another process holds {path} and does not let go") from None
                time.sleep(0.002)
            else:
                break
        yield
    finally:
        os.close(descriptor)


def _own_folder(folder: Path) -> None:
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700, parents=True)
    state = folder.lstat()
    if not stat.S_ISDIR(state.st_mode):
        raise StoreUnavailable(f"{folder} must be a folder, and not a symbolic link to one")
    _own(folder, state)
    if state.st_mode & stat.S_IWOTH:
        raise StoreUnavailable(f"everybody may write to the folder {folder}; take that right away or use another")


def _own_file(path: Path) -> None:
    try:
        state = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISREG(state.st_mode):
        raise StoreUnavailable(f"{path} must be a file, and not a symbolic link to one")
    _own(path, state)


def _own(path: Path, state: os.stat_result) -> None:
    if state.st_uid != os.geteuid():
        raise StoreUnavailable(f"{path} belongs to user {state.st_uid}, this process runs as user {os.geteuid()}")


def _open(path: Path, size: int, *, writemap: bool = False, max_dbs: int = 0) -> lmdb.Environment:
    return lmdb.open(
        str(path),
        map_size=size,
        subdir=False,
        mode=0o600,
        max_readers=READERS,
        max_dbs=max_dbs,
        max_spare_txns=1,
        # Nothing has to outlive the host, and what a process wrote outlives the process without any of these.
        sync=False,
        metasync=False,
        writemap=writemap,
        map_async=writemap,
        lib_version=0,  # the format that _is_sound knows
    )


def _allocate(descriptor: int, size: int) -> None:
    if os.fstat(descriptor).st_blocks * 512 < size and hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)


def _delete(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.with_name(path.name + "-lock").unlink(missing_ok=True)


def _is_sound(path: Path) -> bool:
    """Whether LMDB may map this file: reading a page behind the end of a file kills the process.

    Others may be writing to it: only what stays the same, or grows with the file, can be judged.
    """
    metas = _metas(path)
    size = _size_of(path)
    for magic, version, _, map_size, free, main, _, _ in metas:
        page_size = int.from_bytes(free[:4], sys.byteorder)
        if magic != _MAGIC or version != _VERSION or page_size != mmap.PAGESIZE or map_size > size:
            return False
        for table in (free, main):
            root = int.from_bytes(table[-8:], sys.byteorder)
            if root != _NO_PAGE and root * page_size >= size:
                return False
    return bool(metas)


def _map_size_of(path: Path) -> int:
    return max((meta[3] for meta in _metas(path)), default=0)


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _metas(path: Path) -> list[tuple[int, int, int, int, bytes, bytes, int, int]]:
    try:
        with path.open("rb") as file:
            pages = file.read(2 * mmap.PAGESIZE)
    except FileNotFoundError:
        return []
    if len(pages) < 2 * mmap.PAGESIZE:
        return []
    return [_META.unpack_from(pages, start + _META_AT) for start in (0, mmap.PAGESIZE)]
