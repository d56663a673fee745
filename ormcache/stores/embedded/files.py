"""The two memory-mapped files of the embedded store: where they are, who owns them, and whether they may be used.

``slots-<boot>`` holds the slots, ``entries-<boot>`` the entries. There are two files so that stamps always find room,
never wait for a large result that is being stored, and stay fast however many entries have come and gone.

The slots of rows are in a fixed number of places, so that their room is bounded without evicting anything: those whose
names lead to the same place share it. The number of places follows from the size of the file, which all processes see.

The id of the host's boot is part of their names: after a crash of the host, no half-written file is ever opened.

**A copy that is put back.** Its stamps are those of the time when it was made, and could bring back old entries. So the
file of slots records its own inode and time of birth, which no copy shares. Where a copy was written over the file
itself, LMDB's number of the last transaction goes backwards, which every process notices that has the file open.

**A file that is gone.** People and clean-up jobs delete files that are in use, move their folder away or mount another
one over it, and :meth:`StoreFiles.delete` deletes files that are damaged. A process that has them open would go on with
slots that no other process writes to. So at least every ``CHECK_INTERVAL`` seconds each process checks whether its
files are still those at their paths, and a new file of slots is not used before ``CHECK_INTERVAL`` has passed: by then
all processes have left the old one.
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
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import lmdb

from ormcache.exceptions import StoreUnavailable
from ormcache.stores.base import MARK, ROW_SLOT_LENGTH, WRITER_LENGTH
from ormcache.stores.embedded.presence import NamespaceLock, is_same_file
from ormcache.utils.host import creation_time, shared_folder
from ormcache.utils.interruptions import let_through

MIB = 2**20
CHECK_INTERVAL = 0.05  # seconds after which a process checks whether its files are still there
LOCK_TIMEOUT = 5.0  # seconds to wait for other processes that are opening the files
MIN_SIZE = 4 * MIB  # bytes of both files together
SLOTS_SIZE = 16 * MIB  # room for more than 100,000 relations
MAX_READERS = 4096  # threads of all processes that read at the same time
ENTRIES_FILL_RATIO = 0.8  # of the file of entries; with the rest, large values find room between small ones
MAX_ENTRY_RATIO = 1 / 8  # of one generation
# Bytes of the file of slots for each place of rows. One takes about 45, and three times as much while all are written
# in one transaction: neither the pages before it nor those before the last one are free yet.
SLOTS_FILE_PER_PLACE = 192

# The meta page of LMDB (MDB_meta in mdb.c): magic, version, address, size of the map, two tables of 48 bytes (which
# hold page size and root), last page, transaction. It follows a header of 16 bytes on each of the first two pages.
_META = struct.Struct("=IIQQ48s48sQQ")
_META_AT = 16
_MAGIC = 0xBEEFC0DE
_VERSION = 1
_NO_PAGE = 2**64 - 1

# Bits of the id of a writer
_HALF = 8 * WRITER_LENGTH
_BITS = (1 << _HALF) - 1

# In the file of slots beside the relations, and no slot has so short a name: what distinguishes the file from a copy,
# and the places of rows
_ORIGIN = b"itself"
_ROWS = b"rows"


#: Where a slot is: its name there, how the mark of a certain writer begins, and the table; None: that of relations
Place = tuple[bytes, bytes, "lmdb._Database | None"]


class StoreFiles:
    """Both files as one process has them open."""

    pid = 0  # until it has begun

    def __init__(self, folder: Path, boot: str, max_size: int) -> None:
        self.folder = folder
        self.next_check = 0  # time.monotonic_ns() from which to check whether the files are still there
        self.rows: lmdb._Database  # the places of rows; set by begin()
        self.newer = 0  # the generation of entries that was the newer one when last read, to be looked up first
        self.users: set[int] = set()  # ids of the threads that are in the middle of an operation
        self.closing = False
        self._descriptors: list[int] = []
        self._last_places: tuple[Sequence[bytes], bytes, list[Place]] = ((), b"", [])
        self.pid = os.getpid()
        self._paths = (folder / f"slots-{boot}", folder / f"entries-{boot}")
        slots, entries = self._paths
        slots_size = _size_of(slots) or min(SLOTS_SIZE, max_size // 4)
        entries_size = max(max_size - slots_size, _map_size_of(entries))
        try:
            # The slots are written through the map, which is four times as fast. All blocks of the file must exist:
            # where the disk is full, writing to a hole in it kills the process.
            self.slots = _open(slots, slots_size, max_dbs=1, writemap=True)
            self._open_descriptor(slots)
            _allocate(self._descriptors[0], slots_size)
            if 0 < _size_of(entries) < entries_size:
                os.truncate(entries, entries_size)  # another process asked for a smaller one
            self._places = slots_size // SLOTS_FILE_PER_PLACE
            self.entries = _open(entries, entries_size, max_dbs=2)
            self._open_descriptor(entries)
            os.ftruncate(self._descriptors[1], entries_size)  # sparse; a file that is shorter was cut
            self.generations = (self.entries.open_db(b"0"), self.entries.open_db(b"1"))
            self.slots.reader_check()  # frees the reader slots of processes that were killed
            self.entries.reader_check()
            generation_size = int((max_size - slots_size) * ENTRIES_FILL_RATIO / 2)
            self.limit = generation_size // mmap.PAGESIZE  # pages of one generation
            self.largest = int(self.limit * mmap.PAGESIZE * MAX_ENTRY_RATIO)  # bytes of one entry
            self._sizes = [os.fstat(descriptor).st_size for descriptor in self._descriptors]
            self._changes = 0  # of the file of slots, when last seen
        except BaseException:
            self.close()
            raise

    def begin(self, *, fresh: bool) -> bool:
        """Begin to use the file of slots. Return False if it is a copy or damaged.

        ``fresh``: it was just made, and is to record its origin.
        """
        slots = self._paths[0]
        own = f"{slots.stat().st_ino} {creation_time(str(slots))}".encode()
        try:
            if fresh:
                with self.slots.begin(write=True) as txn:
                    txn.put(_ORIGIN, own)
                    txn.commit()
            else:
                with self.slots.begin() as txn:
                    if txn.get(_ORIGIN) != own:
                        return False
            self.rows = self.slots.open_db(_ROWS)
        except lmdb.Error:
            if fresh:
                raise
            return False  # damaged
        return True

    def place_of(self, row_slot: bytes) -> bytes:
        """Return the place of a row slot: its name among ``rows``."""
        return (int.from_bytes(row_slot, "big") % self._places).to_bytes(3, "big")

    def places_of(self, slots: Sequence[bytes], writer: bytes) -> list[Place]:
        """Return where these slots are, and how a mark of this writer begins there.

        A writer settles what it has marked, and perhaps another slot, so the last answer is remembered.
        """
        known, known_writer, found = self._last_places
        if known_writer == writer:
            if known is slots:
                return found
            if len(slots) > len(known) and slots[:-1] == known and len(slots[-1]) != ROW_SLOT_LENGTH:
                return [*found, (slots[-1], MARK + writer, None)]
        own, places, rows, from_bytes = int.from_bytes(writer, "big"), self._places, self.rows, int.from_bytes
        found = []
        for slot in slots:
            if len(slot) != ROW_SLOT_LENGTH:
                found.append((slot, MARK + writer, None))
            else:
                number = from_bytes(slot, "big")  # as in place_of() and writer_in_place()
                who = own ^ (number & _BITS) ^ (number >> _HALF & _BITS)
                found.append(((number % places).to_bytes(3, "big"), MARK + who.to_bytes(WRITER_LENGTH, "big"), rows))
        self._last_places = (slots, writer, found)
        return found

    def have_gone_back(self) -> bool:
        """Return whether the file of slots was overwritten with an older one. See :meth:`are_gone` for when to call."""
        before, self._changes = self._changes, self.slots.info()["last_txnid"]
        return self._changes < before

    def postpone_check(self) -> None:
        """Record that the files have just been checked."""
        self.next_check = time.monotonic_ns() + int(CHECK_INTERVAL * 1e9)

    def remember_newer(self, generation: int) -> None:
        """Record which generation of entries is the newer one."""
        self.newer = generation

    def are_gone(self) -> bool:
        """Return whether a file was deleted, moved, cut short or covered, so that other processes open another one.

        Must not be called while another thread closes the files.
        """
        return any(
            state.st_size < size or not is_same_file(path, state)
            for path, state, size in zip(self._paths, self.stats(), self._sizes, strict=True)
        )

    def stats(self) -> list[os.stat_result]:
        """Return the status of both open files. See :meth:`are_gone` for when to call."""
        return [os.fstat(descriptor) for descriptor in self._descriptors]

    def close(self) -> None:
        """Close the files once no thread uses them any more.

        LMDB would unmap them under a thread that reads. So if an operation does not end, or if it is one of this thread
        that a signal has interrupted, the files are left open, and this process has no store until it has ended.
        """
        self.closing = True
        if self.pid == os.getpid():  # a forked child has none of its parent's threads
            deadline = time.monotonic() + LOCK_TIMEOUT
            while self.users:
                if time.monotonic() > deadline or threading.get_ident() in self.users:
                    return
                time.sleep(0.0001)
        for name in ("slots", "entries"):
            environment = getattr(self, name, None)
            if environment is not None:
                environment.close()
        descriptors: list[int] = getattr(self, "_descriptors", [])
        while descriptors:
            os.close(descriptors.pop())

    __del__ = close

    def delete(self) -> None:
        """Delete the files, unless another process already has. They stay open here."""
        with _guard(self.folder) as guard:
            _lock(guard)
            if self.are_gone():
                return
            for path in self._paths:
                _delete(path)

    def _open_descriptor(self, path: Path) -> None:
        self._descriptors.append(os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC))


def writer_in_place(writer: bytes, row_slot: bytes) -> bytes:
    """Return the id that a writer has for one of its row slots, or from that id the writer's.

    Where two of its slots share a place, settling one of them must leave the mark of the other.
    """
    number = int.from_bytes(row_slot, "big")
    own = int.from_bytes(writer, "big") ^ (number & _BITS) ^ (number >> _HALF & _BITS)
    return own.to_bytes(WRITER_LENGTH, "big")


def open_files(folder: Path, max_size: int, namespace_lock: NamespaceLock) -> StoreFiles:
    """Open the files of this boot, or create empty ones. ``max_size`` is in bytes.

    Raise StoreUnavailable where another user owns them, or where processes of another PID namespace use the folder.
    """
    boot = boot_id()
    _check_folder(folder)
    filesystem = os.statvfs(folder)
    if filesystem.f_blocks:  # some file systems do not report their size
        max_size = max(MIN_SIZE, min(max_size, filesystem.f_blocks * filesystem.f_frsize // 2))
    with _guard(folder) as guard:
        _lock(guard)
        namespace_lock.acquire()
        alone = namespace_lock.is_alone()
        for path in folder.iterdir():
            if path.name.startswith(("slots-", "entries-")):
                _check_file(path)
                if boot not in path.name or not alone:
                    path.unlink(missing_ok=True)
        if alone:
            return _open_or_create(folder, boot, max_size)
    time.sleep(CHECK_INTERVAL * 1.2)  # nothing is written before the others have left the files as well
    raise StoreUnavailable(
        f"processes of another PID namespace, such as another container, use {folder} as well, which works within one"
        " namespace only. Use STORE 'redis', or another LOCATION if they do not share the database"
    )


def _open_or_create(folder: Path, boot: str, max_size: int) -> StoreFiles:
    """Open sound files or create new ones. The caller holds the guard of the folder."""
    slots, entries = folder / f"slots-{boot}", folder / f"entries-{boot}"
    if not _is_sound(entries):
        _delete(entries)
    fresh = not _is_sound(slots)
    if fresh:
        _delete(slots)
    files = StoreFiles(folder, boot, max_size)
    try:
        if not files.begin(fresh=fresh):
            files.close()
            _delete(slots)
            fresh = True
            files = StoreFiles(folder, boot, max_size)
            files.begin(fresh=True)
        if fresh:
            time.sleep(CHECK_INTERVAL * 1.2)
    except BaseException:
        files.close()  # or else a traceback keeps them open
        raise
    return files


def default_folder() -> Path:
    """Return a folder that depends on nothing but the user.

    Two processes of one user with different folders would not see each other's writes.
    """
    return shared_folder() / f"ormcache-{os.geteuid()}"


def boot_id() -> str:
    """Return the id of this host's current boot. Raise StoreUnavailable if there is none."""
    try:
        name = Path("/proc/sys/kernel/random/boot_id").read_text()
    except OSError as error:
        let_through(error)
        key = "kern.bootsessionuuid" if sys.platform == "darwin" else "kern.boottime"
        try:
            answer = subprocess.run(["/sbin/sysctl", "-n", key], capture_output=True, check=True, text=True)  # noqa: S603
            name = answer.stdout
        except (OSError, subprocess.CalledProcessError) as failure:
            raise StoreUnavailable("this host does not report when it was started; use another STORE") from failure
    return "".join(filter(str.isalnum, name))


def _guard(folder: Path) -> BinaryIO:
    """Open the guard of a folder for :func:`_lock`. Closing the file releases it, whatever interrupts its owner."""
    path = folder / "guard"
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    return open(path, "r+b", buffering=0, opener=lambda name, _: os.open(name, flags, 0o600))


def _lock(guard: BinaryIO) -> None:
    """Wait for the lock of the guard: one process at a time creates, deletes or opens files. Raise StoreUnavailable."""
    path = Path(guard.name)
    _check_file(path)
    deadline = time.monotonic() + LOCK_TIMEOUT
    while True:
        try:
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise StoreUnavailable(f"another process holds {path} and does not release it") from None
            time.sleep(0.002)
        else:
            return


def _check_folder(folder: Path) -> None:
    """Create the folder if need be. Raise StoreUnavailable if it is not this user's, or others may write to it."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700, parents=True)
    state = folder.lstat()
    if not stat.S_ISDIR(state.st_mode):
        raise StoreUnavailable(f"{folder} must be a folder, and not a symbolic link to one")
    _check_owner(folder, state)
    if state.st_mode & stat.S_IWOTH:
        raise StoreUnavailable(f"every user may write to the folder {folder}; remove that permission or use another")


def _check_file(path: Path) -> None:
    """Raise StoreUnavailable unless the file is a regular one of this user's, or does not exist."""
    try:
        state = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISREG(state.st_mode):
        raise StoreUnavailable(f"{path} must be a file, and not a symbolic link to one")
    _check_owner(path, state)


def _check_owner(path: Path, state: os.stat_result) -> None:
    if state.st_uid != os.geteuid():
        raise StoreUnavailable(f"{path} belongs to user {state.st_uid}, this process runs as user {os.geteuid()}")


def _open(path: Path, size: int, *, writemap: bool = False, max_dbs: int = 0) -> lmdb.Environment:
    return lmdb.open(
        str(path),
        map_size=size,
        subdir=False,
        mode=0o600,
        max_readers=MAX_READERS,
        max_dbs=max_dbs,
        max_spare_txns=1,
        # Nothing has to survive the host, and what a process wrote survives the process without any of these.
        sync=False,
        metasync=False,
        writemap=writemap,
        map_async=writemap,
        lib_version=0,  # the format that _is_sound knows
    )


def _allocate(descriptor: int, size: int) -> None:
    """Give all blocks to a sparse file, where the system can."""
    if os.fstat(descriptor).st_blocks * 512 < size and hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)


def _delete(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.with_name(path.name + "-lock").unlink(missing_ok=True)


def _is_sound(path: Path) -> bool:
    """Return whether LMDB may map this file: reading a page behind the end of a file kills the process.

    Other processes may be writing to it, so it checks only what stays the same or grows with the file.
    """
    metas = _read_metas(path)
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
    """Return the size of the map in bytes as LMDB has recorded it; 0 if there is no file."""
    return max((meta[3] for meta in _read_metas(path)), default=0)


def _size_of(path: Path) -> int:
    """Return the size of a file in bytes; 0 if there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _read_metas(path: Path) -> list[tuple[int, int, int, int, bytes, bytes, int, int]]:
    """Return both meta pages, unpacked; none if the file is absent or too short."""
    try:
        with path.open("rb") as file:
            pages = file.read(2 * mmap.PAGESIZE)
    except FileNotFoundError:
        return []
    if len(pages) < 2 * mmap.PAGESIZE:
        return []
    return [_META.unpack_from(pages, start + _META_AT) for start in (0, mmap.PAGESIZE)]
