"""Reads from a SQLite file how many transactions any program has committed to it, without a statement.

With a rollback journal that is the `file change counter <https://www.sqlite.org/fileformat2.html>`_ in the header of
the database. In WAL mode it is a number in the header of the `WAL index
<https://www.sqlite.org/walformat.html#the_wal_index_header>`_, the file ``-shm``, which exists as long as any
connection is open. The last one writes all that is committed into the database and deletes the other files: from then
on the database's header, size and time of the last change stand for its state, until it is opened again.

Nothing here closes a descriptor of a file that SQLite may have open: the operating system would drop all locks that
this process holds on that file (`How To Corrupt An SQLite Database File
<https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_>`_). A
descriptor is kept for the life of the process, and in its forked children, until the file is deleted, when no lock on
it protects anything any more. For the same reason nothing is mapped into memory: Python's maps have descriptors of
their own.
"""

from __future__ import annotations

import os
import struct
import sys
import threading
from hashlib import blake2b
from typing import NamedTuple

from ormcache.utils.forks import at_fork
from ormcache.utils.host import creation_time

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # a module elsewhere; is_supported() says which

#: Files of which one process has descriptors; of more, nothing is known
MOST_FILES = 256

#: The header of the database: from the numbers of its format on, by which WAL mode is known, to its end
_HEADER_AT, _HEADER_LENGTH = 18, 82
_WAL_FORMAT = 2
_COUNTER = slice(24 - _HEADER_AT, 28 - _HEADER_AT)

#: The header of the WAL index, whose second copy follows, and what was written into the database of what it counts
_INDEX_LENGTH = 48
_COMMITS = slice(8, 12)
_IS_INITIALIZED = 12
_FRAMES = slice(16, 20)
_CHECKSUM = slice(24, 32)  # of all in the log up to the last commit, and of the random numbers that it begins with
_FRAMES_WRITTEN = slice(96, 100)
_INDEX_READ = 100

#: What a rollback journal begins with while it is in use
_JOURNAL = bytes.fromhex("d9d505f920a163d7")

_TRIES = 100  # at a header that others are changing

#: The byte of the WAL index that every process with a connection has a lock on
_USERS_LOCK = 128


def is_supported() -> bool:
    """Return whether files can be read like this on this platform."""
    return fcntl is not None and hasattr(os, "pread")


class Descriptors:
    """The descriptors of one process, each of which is open until its file is deleted. Threads share it."""

    def __init__(self) -> None:
        #: (device, inode) → the descriptor, and when the file was created
        self._open: dict[tuple[int, int], tuple[int, int]] = {}
        self.renew_lock()

    def renew_lock(self) -> None:
        """Take a fresh lock, as a forked child does. It has all descriptors, and keeps them."""
        self._lock = threading.RLock()

    def open(self, path: str) -> tuple[int, int]:
        """Return a descriptor of a file, and when the file was created, in nanoseconds since the epoch; 0: unknown.

        Raises OSError, also where there are too many.
        """
        status = os.stat(path)
        with self._lock:
            known = self._open.get((status.st_dev, status.st_ino))
            if known is not None and os.fstat(known[0]).st_nlink:
                return known
            self._close_deleted()
            if len(self._open) >= MOST_FILES:
                raise OSError(f"{MOST_FILES} database files are open")
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            status = os.fstat(descriptor)
            # If it was replaced meanwhile by one that is known, this descriptor must not be closed either.
            return self._open.setdefault((status.st_dev, status.st_ino), (descriptor, creation_time(path)))

    def _close_deleted(self) -> None:
        for key, (descriptor, _) in list(self._open.items()):
            if not os.fstat(descriptor).st_nlink:
                del self._open[key]
                os.close(descriptor)


#: Those of this process
descriptors = Descriptors()
at_fork(after_in_child=descriptors.renew_lock)


class FileState(NamedTuple):
    """What stands for the state of a database file: files with equal states have equal rows.

    The next commit leads to the same ``series`` and the next ``number``, unless the journal mode changes.
    """

    series: bytes  # 4 bytes
    number: int  # of 32 bits
    place: bytes  # 8 bytes, of what is not known of the next commit beforehand

    def encode(self) -> bytes:
        """Return it as 16 bytes."""
        return self.series + self.number.to_bytes(4, "big") + self.place

    def may_follow(self, known: FileState) -> bool:
        """Return whether commits alone can have led from another state to this one.

        False where the count has begun anew: in WAL mode whenever somebody opens it while nobody else has, also in the
        same file ``-shm``, if it was left by a program that was killed.
        """
        if self.series == JOURNAL:
            return known.series == JOURNAL
        ahead = (self.number - known.number) % 2**32
        return self.series == known.series != AT_REST and 0 < ahead < 2**31


#: The series of states with a rollback journal, and of those in WAL mode while no connection is open
JOURNAL, AT_REST = b"jrnl", b"rest"


class Sighting(NamedTuple):
    """A state that was read, and how to find out at once whether it is still the one of now."""

    state: FileState
    shown: bytes  # what was read
    length: int  # of that, if all of it was there
    descriptor: int  # from this file
    offset: int  # from here on
    is_in_index: bool = False  # WAL: from the file -shm, which may be deleted
    #: WAL, while no connection is open: the path of the file -shm
    absent: str | None = None
    #: WAL, where the log holds nothing: a descriptor of the database, and when that was changed (nanoseconds)
    database: int | None = None
    changed: int = 0

    def is_current(self) -> bool:
        """Return whether nothing was committed since. Costs about a microsecond. Raises OSError."""
        if os.pread(self.descriptor, self.length, self.offset) != self.shown:
            return False
        if self.is_in_index and not os.fstat(self.descriptor).st_nlink:
            return False
        if self.absent is not None and os.access(self.absent, os.F_OK):
            return False
        return self.database is None or os.fstat(self.database).st_mtime_ns == self.changed


class SQLiteFile:
    """One database file. Threads share it."""

    def __init__(self, path: str) -> None:
        """``path``: without symbolic links. Raises OSError."""
        self._path, self._index_path = path, f"{path}-shm"
        self._descriptor, _ = descriptors.open(path)

    def read(self, *, is_own: bool = False) -> Sighting | None:
        """Return the state of now; None: a transaction is in the middle of its commit. Raises OSError.

        ``is_own``: the caller's connection has the only transaction that can be, or finds out whether it had.
        """
        for _ in range(_TRIES):
            header = os.pread(self._descriptor, _HEADER_LENGTH, _HEADER_AT)  # empty, if there never was a table
            if _WAL_FORMAT in header[:2]:
                found = self._read_wal(header)
            elif not is_own and self._has_journal():
                return None
            else:
                number = int.from_bytes(header[_COUNTER], "big")
                state = FileState(JOURNAL, number, blake2b(header, digest_size=8).digest())
                found = Sighting(state, header, _HEADER_LENGTH, self._descriptor, _HEADER_AT)
            if found is not None and (is_own or found.is_current()):
                return found
        return None

    def _has_journal(self) -> bool:
        """Return whether a transaction may have written to the database what is not committed."""
        try:
            journal = os.open(f"{self._path}-journal", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            return os.read(journal, len(_JOURNAL)) == _JOURNAL
        finally:
            os.close(journal)  # SQLite has no locks on it

    def _read_wal(self, header: bytes) -> Sighting | None:
        try:
            index, created = descriptors.open(self._index_path)
        except FileNotFoundError:
            return self._read_at_rest(header)
        shown = os.pread(index, _INDEX_LENGTH, 0)
        if shown != os.pread(index, _INDEX_LENGTH, _INDEX_LENGTH) or len(shown) < _INDEX_LENGTH:
            return None
        if not shown[_IS_INITIALIZED]:
            return None  # nobody has read the log yet
        status = os.fstat(index)
        named = f"{status.st_dev} {status.st_ino} {created}".encode()
        number = int.from_bytes(shown[_COMMITS], sys.byteorder)
        # Numbers come again where the index was made anew. The checksum does not, and stays if the log begins anew
        # before the next commit. There is none if the log was empty when the index was made: the database holds all.
        state = FileState(blake2b(named, digest_size=4).digest(), number, shown[_CHECKSUM])
        seen = Sighting(state, shown, _INDEX_LENGTH, index, 0, is_in_index=True)
        if any(shown[_CHECKSUM]):
            return seen
        at_rest = self._read_at_rest(header)
        state = state._replace(place=at_rest.state.place)
        return seen._replace(state=state, database=at_rest.database, changed=at_rest.changed)

    # WAL mode, while no connection is open ----------------------------------------------------

    def at_rest(self) -> Sighting | None:
        """WAL: return the state that will be read once no connection is open, if nothing is committed until then.

        None: not all that is committed is in the database itself, or it is not in WAL mode. Raises OSError.
        """
        try:
            index, _ = descriptors.open(self._index_path)
        except FileNotFoundError:
            return None
        shown = os.pread(index, _INDEX_READ, 0)
        if len(shown) < _INDEX_READ or shown[_FRAMES] not in (shown[_FRAMES_WRITTEN], bytes(4)):
            return None
        header = os.pread(self._descriptor, _HEADER_LENGTH, _HEADER_AT)
        if _WAL_FORMAT not in header[:2]:
            return None
        found = self._read_at_rest(header)
        return found if os.pread(index, _INDEX_READ, 0) == shown else None

    def _read_at_rest(self, header: bytes) -> Sighting:
        status = os.fstat(self._descriptor)
        digest = blake2b(header + f"{status.st_mtime_ns} {status.st_size}".encode(), digest_size=12).digest()
        state = FileState(AT_REST, int.from_bytes(digest[:4], "big"), digest[4:])
        seen = Sighting(state, header, _HEADER_LENGTH, self._descriptor, _HEADER_AT, absent=self._index_path)
        return seen._replace(database=self._descriptor, changed=status.st_mtime_ns)

    def is_used_elsewhere(self) -> bool:
        """WAL: return whether another process has a connection to it, or that is not known. Raises OSError."""
        if not sys.platform.startswith("linux") or sys.maxsize < 2**32:
            return True
        index, _ = descriptors.open(self._index_path)
        # A lock is asked for, and none is taken.
        asked = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, _USERS_LOCK, 1, 0)
        kind, *_ = struct.unpack_from("h", fcntl.fcntl(index, fcntl.F_GETLK, asked))
        return bool(kind != fcntl.F_UNLCK)
