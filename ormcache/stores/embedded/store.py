"""The store that needs no server: two memory-mapped files that all processes of one user on one host share.

Times in it are ``time.monotonic``, a clock that all processes of a boot share and that nobody sets.

Threads share an :class:`EmbeddedStore` without a lock of ours: LMDB lets one writer and any number of readers in, and
what is open is one attribute. ``_open_lock`` is held while files are opened, closed or deleted, and during a fork: a
file that is open in the parent must not be used in the child, nor be opened there once more (see the `caveats
<http://www.lmdb.tech/doc/>`_ of LMDB). So the files are closed before the fork, and parent and child each open them
again when they need them.

A signal handler or a destructor may use the store in a thread that is in the middle of an operation. It would wait for
ever for LMDB's writer lock if that operation holds it. So a thread runs one operation at a time, and the store is busy
for whoever interrupts it: reads go to the database, invalidations wait or fail.
"""

from __future__ import annotations

import mmap
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from threading import get_ident
from typing import ClassVar, Concatenate, ParamSpec, TypeVar

import lmdb

from ormcache.conf import Config
from ormcache.exceptions import StoreBusy, StoreFull
from ormcache.stores.base import (
    MARK,
    MARK_LENGTH,
    ROW_SLOT_LENGTH,
    Last,
    Store,
    add_mark,
    decode_marks,
    encode_marks,
    is_row_slot,
    last_lease_end,
    remove_mark,
)
from ormcache.stores.embedded.files import StoreFiles, default_folder, open_files, writer_in_place
from ormcache.stores.embedded.presence import NamespaceLock
from ormcache.stores.info import ServerInfo

INTERRUPTED = "this thread has interrupted an operation of its own"
NEVER = bytes(8)  # in place of the time of expiry, in microseconds, that each entry begins with
CLAIM = b"claim "  # prefix of the names of claims, which are among the entries and expire as those do
MARKED = MARK[0]  # the first byte of a slot that holds marks
NEWER = b"newer"  # in the file of entries: the number of the generation that is written to
MAX_ATTEMPTS = 3  # at an operation that fails
MAX_ATTEMPTS_WHEN_FULL = 100  # at an operation that finds the file of slots full, after a pause each
PAUSE = 0.0025  # seconds

P = ParamSpec("P")
T = TypeVar("T")


class EmbeddedStore(Store):
    """A store in the files of a folder (:mod:`~ormcache.stores.embedded.files`).

    Entries are in two generations. New entries go to the newer one, and no entry is in both. When the newer generation
    is full, the older one is emptied and becomes the newer one.
    """

    kind: ClassVar[str] = "embedded"
    errors = (*Store.errors, lmdb.Error)

    #: Real path of a folder → its store, as long as it is referenced. LMDB lets no process open a file twice, which a
    #: second store would do while a thread or a pending write still uses one that the settings no longer name.
    _by_folder: ClassVar[weakref.WeakValueDictionary[str, EmbeddedStore]] = weakref.WeakValueDictionary()

    def __init__(self, folder: Path, max_size: int, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self._folder = folder
        self._max_size = max_size
        self._open_lock = threading.RLock()
        self._files: StoreFiles | None = None
        self._changing = False  # whether the holder of the lock is opening, closing or recovering the files
        self._namespace_lock = NamespaceLock(folder)

    @staticmethod
    def identity(config: Config) -> tuple[object, ...]:
        """Return the real path of the folder: two stores must never have the same one open in one process."""
        return (os.path.realpath(config.location or default_folder()),)

    @classmethod
    def from_config(cls, config: Config) -> EmbeddedStore:
        folder = Path(config.location) if config.location else default_folder()
        store = cls._by_folder.setdefault(os.path.realpath(folder), cls(folder, config.max_size))
        store.resize(config.max_size)
        store.retry_now()
        return store

    def resize(self, max_size: int) -> None:
        """Set the size, in bytes, that the files have when they are opened next."""
        self._max_size = max_size

    @property
    def location(self) -> str:
        return str(self._folder)

    def close(self) -> None:
        self._exclusively(self._close_and_leave)

    # Operations -----------------------------------------------------------------

    def _look_up(self, entry: bytes | None, slots: Sequence[bytes]) -> tuple[bytes | None, list[bytes | None]]:
        return self._run(_look_up, entry, slots)

    def _fill_slots(self, slots: Sequence[bytes], stamp: bytes) -> list[bytes | None]:
        return self._run(_fill_slots, slots, stamp)

    def _put_entry(self, entry: bytes, value: bytes, timeout: float | None) -> bool:
        expiry = NEVER if timeout is None else (_now() + int(timeout * 1e6)).to_bytes(8, "big")
        is_stored = self._run(_put_entry, entry, expiry + value)
        if is_stored is None:
            raise StoreFull(f"the disk of {self._folder} is full")
        return is_stored

    def _mark(self, slots: Sequence[bytes], writer: bytes, lease: float, watch: bytes | None) -> bytes | None:
        return self._run(_mark, slots, writer, lease, watch)

    def _settle(
        self, slots: Sequence[bytes], writer: bytes, stamp: bytes, watch: bytes | None, last: Last | None
    ) -> bytes | None:
        return self._run(_settle, slots, writer, stamp, watch, last)

    def _delete_entries(self, entries: Sequence[bytes]) -> None:
        self._run(_delete_entries, entries)

    def _claim(self, name: bytes, owner: bytes, seconds: float) -> bytes:
        return self._run(_claim, CLAIM + name, owner, _now() + int(seconds * 1e6))

    def _release(self, name: bytes, word: bytes, seconds: float) -> None:
        self._run(_put_entry, CLAIM + name, (_now() + int(seconds * 1e6)).to_bytes(8, "big") + word)

    def _clear_slots(self, slots: Sequence[bytes]) -> None:
        self._run(_clear_slots, slots)

    def _describe(self) -> tuple[ServerInfo, ...]:
        return (self._run(_describe_files),)

    # What is open ---------------------------------------------------------------

    def _run(self, operation: Callable[Concatenate[StoreFiles, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        failures = 0
        thread = get_ident()
        while True:
            files = self._files
            if files is not None and thread in files.users:
                raise StoreBusy(INTERRUPTED)
            if files is None or time.monotonic_ns() >= files.next_check:
                files = self._exclusively(self._ensure_open)
            try:
                # Enter first, then check: whoever closes the files does it the other way round, and waits for us.
                files.users.add(thread)
                if files.closing:
                    continue
                return operation(files, *args, **kwargs)
            except lmdb.Error as error:
                failures += 1
                failure = error
            finally:
                files.users.discard(thread)
            if not self._exclusively(partial(self._recover, files, failure, failures)):
                time.sleep(PAUSE)  # until a reader that holds old pages gets the processor back

    def _exclusively(self, change: Callable[[], T]) -> T:
        """Change what is open. Raise StoreBusy where this interrupts another change in the same thread."""
        with self._open_lock:
            if self._changing:
                raise StoreBusy(INTERRUPTED)
            self._changing = True
            try:
                return change()
            finally:
                self._changing = False

    def _close_and_leave(self) -> None:
        self._close()
        self._namespace_lock.release()

    def _close(self) -> None:
        """Close the files. This process still counts as one that uses them."""
        files, self._files = self._files, None
        if files is not None:
            files.close()

    def _ensure_open(self) -> StoreFiles:
        """Return the open files, or newly opened ones if those are gone or belong to the process that forked."""
        if self._files is not None:
            # The process id detects a fork that Python does not know of (uWSGI without py-call-osafterfork).
            if self._files.pid != os.getpid() or self._files.are_gone():
                self._close()
            elif self._files.have_gone_back():
                self._files.delete()
                self._close()
            else:
                self._files.postpone_check()
        if self._files is None:
            self._files = open_files(self._folder, self._max_size, self._namespace_lock)
        return self._files

    def _recover(self, files: StoreFiles, error: lmdb.Error, failures: int) -> bool:
        """Repair what made an operation fail, so that it can be tried again; raise ``error`` if that is impossible.

        Return False if the operation should be tried again after a pause.
        """
        full = isinstance(error, lmdb.MapFullError)
        if failures >= MAX_ATTEMPTS + (MAX_ATTEMPTS_WHEN_FULL if full else 0):
            raise error
        if self._files is not files:
            return True  # another thread has repaired it
        # A reader keeps all pages that are freed meanwhile: for ever, if its process was killed in the middle.
        if full or isinstance(error, lmdb.ReadersFullError):
            if files.slots.reader_check() + files.entries.reader_check():
                return True
            if full and failures < MAX_ATTEMPTS_WHEN_FULL:
                return False
        if not isinstance(error, (lmdb.MapResizedError, *_UNRECOVERABLE)):
            raise error
        if isinstance(error, _UNRECOVERABLE):
            # Beginning anew is always correct: empty slots invalidate every entry.
            files.delete()
        self._close()
        return True

    def _reset(self) -> None:
        self._exclusively(self._close)

    def _before_fork(self) -> None:
        self._open_lock.acquire()
        if not self._changing:
            self._close()

    def _after_fork(self, in_child: bool) -> None:
        super()._after_fork(in_child)
        if in_child:
            self._open_lock = threading.RLock()
            self._changing = False
        else:
            self._open_lock.release()


# No free space is large enough for a value, or the file cannot grow because the disk is full.
_FULL = (lmdb.MapFullError, lmdb.DiskError)

# LMDB finds a file damaged, or the file of slots is full. (In the file of entries, room is made.)
_UNRECOVERABLE = (
    lmdb.MapFullError,
    lmdb.CorruptedError,
    lmdb.PageNotFoundError,
    lmdb.InvalidError,
    lmdb.VersionMismatchError,
    lmdb.PanicError,
    lmdb.IncompatibleError,
)


# Every change is committed explicitly: at the end of a ``with`` block, py-lmdb ignores that another thread has closed
# the file meanwhile, and the change is lost silently.


def _now() -> int:
    """Return the time in microseconds since the host was started."""
    return time.monotonic_ns() // 1000


def _look_up(files: StoreFiles, entry: bytes | None, slots: Sequence[bytes]) -> tuple[bytes | None, list[bytes | None]]:
    value = None
    if entry is not None:
        newer = files.newer
        with files.entries.begin() as txn:
            value = txn.get(entry, None, files.generations[newer])
            if value is None:
                value = txn.get(entry, None, files.generations[1 - newer])
        if value is not None:
            expired = not value.startswith(NEVER) and int.from_bytes(value[:8], "big") <= _now()
            value = None if expired else value[8:]
    # The slots after the entry and in a transaction of their own: a later stamp can only make a hit a miss.
    with files.slots.begin() as txn:
        held = [
            txn.get(slot) if len(slot) != ROW_SLOT_LENGTH else txn.get(files.place_of(slot), None, files.rows)
            for slot in slots
        ]
    for at, held_value in enumerate(held):
        if held_value and held_value[0] == MARKED:
            held[at] = _live_value(slots[at], held_value, _now())
    return value, held


def _fill_slots(files: StoreFiles, slots: Sequence[bytes], stamp: bytes) -> list[bytes | None]:
    held: list[bytes | None] = []
    now = _now()
    with files.slots.begin(write=True) as txn:
        for slot in slots:
            value = _live_value(slot, _get(files, txn, slot), now)
            if value is None and is_row_slot(slot):
                txn.put(files.place_of(slot), stamp, db=files.rows)
            elif value is None:
                txn.put(slot, stamp)
            held.append(stamp if value is None else value)
        txn.commit()
    return held


#: Bytes of a slot that one writer has marked
_ONE_MARK = 1 + MARK_LENGTH


def _mark(files: StoreFiles, slots: Sequence[bytes], writer: bytes, lease: float, watch: bytes | None) -> bytes | None:
    now = _now()
    end = now + int(lease * 1e6)
    own_end = end.to_bytes(8, "big")
    with files.slots.begin(write=True) as txn:
        watched = None
        if watch is not None:
            watched = _get(files, txn, watch)
            if watched and watched[0] == MARKED:
                watched = _live_value(watch, watched, now)
        replace = txn.replace
        for name, mark, table in files.places_of(slots, writer):
            before = replace(name, mark + own_end, table)
            if before and before[0] == MARKED:  # as few slots are
                txn.put(name, add_mark(before, mark[1:], now, end), db=table)
        txn.commit()
    return watched


def _settle(
    files: StoreFiles, slots: Sequence[bytes], writer: bytes, stamp: bytes, watch: bytes | None, last: Last | None
) -> bytes | None:
    with files.slots.begin(write=True) as txn:
        watched = None
        if watch is not None:
            watched = _get(files, txn, watch)
            if watched and watched[0] == MARKED:
                watched = _live_value(watch, watched, _now())
        replace = txn.replace
        places = files.places_of(slots, writer)
        parts = ((places, stamp),) if last is None else ((places[: -last[0]], stamp), (places[-last[0] :], last[1]))
        for some, value in parts:
            for name, mark, table in some:
                before = replace(name, value, table)
                if before and before[0] == MARKED and not (len(before) == _ONE_MARK and before[:9] == mark):
                    txn.put(name, remove_mark(before, mark[1:], _now(), value), db=table)
        txn.commit()
    return watched


def _get(files: StoreFiles, txn: lmdb.Transaction[bytes], slot: bytes) -> bytes | None:
    return txn.get(slot) if len(slot) != ROW_SLOT_LENGTH else txn.get(files.place_of(slot), None, files.rows)


def _put_entry(files: StoreFiles, entry: bytes, value: bytes) -> bool | None:
    """Store an entry. Return False if it is too large, and None if the disk is full."""

    def put(txn: lmdb.Transaction[bytes], newer: int) -> bool:
        _write(files, txn, newer, entry, value)
        return True

    return _change_entries(files, put) if len(value) <= files.largest else False


def _claim(files: StoreFiles, name: bytes, owner: bytes, end: int) -> bytes:
    holder, _ = _look_up(files, name, ())
    if holder is not None:
        return holder  # most of the time, whoever polls gets its answer here, without locking out writers

    def claim(txn: lmdb.Transaction[bytes], newer: int) -> bytes:
        for generation in files.generations:
            value = txn.get(name, None, generation)
            if value is not None and int.from_bytes(value[:8], "big") > _now():
                return value[8:]
        _write(files, txn, newer, name, end.to_bytes(8, "big") + owner)
        return owner

    holder = _change_entries(files, claim)
    return owner if holder is None else holder


def _change_entries(files: StoreFiles, change: Callable[[lmdb.Transaction[bytes], int], T]) -> T | None:
    """Call ``change`` with a transaction on the entries and the number of the newer generation.

    Make room and try again where it does not fit; return None if it still does not.
    """
    for _ in range(MAX_ATTEMPTS):
        newer = files.newer
        try:
            with files.entries.begin(write=True) as txn:
                newer = _read_newer(txn)
                files.remember_newer(newer)
                answer = change(txn, newer)
                txn.commit()
                return answer
        except _FULL:
            if not _make_room(files, newer):
                return None
    return None


def _write(files: StoreFiles, txn: lmdb.Transaction[bytes], newer: int, entry: bytes, value: bytes) -> None:
    """Write an entry to the newer generation, and swap the generations if that is full now."""
    older, generation = files.generations[1 - newer], files.generations[newer]
    txn.put(entry, value, db=generation)
    txn.delete(entry, db=older)
    if _count_pages(txn, generation) > files.limit:
        _swap_generations(files, txn)


def _make_room(files: StoreFiles, newer: int) -> bool:
    """Swap the generations, unless another process has just done so: ``newer`` is not the newer one any more."""
    try:
        with files.entries.begin(write=True) as txn:
            if _read_newer(txn) == newer:
                _swap_generations(files, txn)
            txn.commit()
    except _FULL:
        return False  # even that takes a few pages, which the disk does not have
    return True


def _delete_entries(files: StoreFiles, entries: Sequence[bytes]) -> None:
    def delete(txn: lmdb.Transaction[bytes], newer: int) -> bool:
        for entry in entries:
            for generation in files.generations:
                txn.delete(entry, db=generation)
        return True

    if _change_entries(files, delete) is None:
        raise StoreFull(f"the disk of {files.folder} is full")


def _clear_slots(files: StoreFiles, slots: Sequence[bytes]) -> None:
    with files.slots.begin(write=True) as txn:
        for slot in slots:
            if is_row_slot(slot):
                txn.delete(files.place_of(slot), db=files.rows)
            else:
                txn.delete(slot)
        txn.commit()


def _describe_files(files: StoreFiles) -> ServerInfo:
    with files.entries.begin() as txn:
        entries = sum(txn.stat(generation)["entries"] for generation in files.generations)
        pages = sum(_count_pages(txn, generation) for generation in files.generations)
    with files.slots.begin() as txn:
        relations = txn.stat()["entries"] - 2  # without the file's origin and the root of the rows
        rows = txn.stat(files.rows)["entries"]
        pages += _count_pages(txn) + _count_pages(txn, files.rows)
    sizes = {"slots_file": files.slots.info()["map_size"], "entries_file": files.entries.info()["map_size"]}
    filesystem = os.statvfs(files.folder)
    return ServerInfo(
        str(files.folder),
        version="LMDB " + ".".join(map(str, lmdb.version())),
        used_bytes=pages * mmap.PAGESIZE,
        max_bytes=sum(sizes.values()),
        eviction_policy="two generations; the older one is evicted",
        max_entry_bytes=files.largest,
        details={
            **sizes,
            "relations": relations,
            "rows": rows,
            "entries": entries,
            "disk_taken": sum(state.st_blocks * 512 for state in files.stats()),
            "disk_free": filesystem.f_bavail * filesystem.f_frsize,
        },
    )


def _count_pages(txn: lmdb.Transaction[bytes], database: lmdb._Database | None = None) -> int:
    state = txn.stat(database)
    return state["leaf_pages"] + state["overflow_pages"] + state["branch_pages"]


def _read_newer(txn: lmdb.Transaction[bytes]) -> int:
    """Return the number of the newer generation."""
    return 1 if txn.get(NEWER) == b"1" else 0


def _swap_generations(files: StoreFiles, txn: lmdb.Transaction[bytes]) -> None:
    """Empty the older generation and make it the newer one."""
    newer = 1 - _read_newer(txn)
    txn.drop(files.generations[newer], delete=False)
    txn.put(NEWER, b"%d" % newer)


def _live_value(slot: bytes, value: bytes | None, now: int) -> bytes | None:
    """Return the value of a slot, or None if it holds nothing but marks whose leases have ended."""
    if value is None or not value.startswith(MARK):
        return value
    marks = decode_marks(value)
    if marks and last_lease_end(value) <= now:
        return None
    if marks and is_row_slot(slot):
        return encode_marks([(writer_in_place(who, slot), end) for who, end in marks])
    return value
