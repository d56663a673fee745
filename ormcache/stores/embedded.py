"""The store that needs no server: two memory-mapped files that all processes of one user on one host share.

Times in it are ``time.monotonic``: one clock for all processes from boot to boot, and nobody sets it.

Threads share a :class:`EmbeddedStore` without a lock of ours: LMDB lets one writer and any number of readers in, and
what is open is one attribute. The lock ``_opening`` is held while files are opened, closed or deleted, and during
a fork, since a file that is open in the parent must not be used in the child, nor opened there once more: the files are
closed before the fork, and parent and child each open them again when they need them.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Concatenate, ParamSpec, TypeVar

import lmdb

from ormcache.conf import Config
from ormcache.stores.base import MARK, Store, last_lease_end, marks_of, with_mark, without_mark
from ormcache.stores.facts import ServerFacts
from ormcache.stores.files import NOTICE, Files, default_folder, open_files

NEVER = bytes(8)  # an entry begins with the microsecond of its expiry; this stands for none
CLAIM = b"claim "  # before the names of claims, which live among the entries and as those do
NEWER = b"newer"  # in the file of entries: which of the two generations is written to
ATTEMPTS = 3  # at an operation that fails
FULL_ATTEMPTS = 100  # at one that finds the file of slots full, a pause before each
PAUSE = 0.0025  # seconds

P = ParamSpec("P")
T = TypeVar("T")


class EmbeddedStore(Store):
    """Slots and entries in :mod:`~ormcache.stores.files`.

    Entries come in two generations. What is stored goes to the newer one, and an entry is never in both. When the newer
    one is full, the older one is emptied and changes places with it.
    """

    kind: ClassVar[str] = "embedded"

    def __init__(self, folder: Path, max_size: int, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self._folder = folder
        self._max_size = max_size
        self._opening = threading.RLock()
        self._files: Files | None = None

    @staticmethod
    def identity(config: Config) -> tuple[object, ...]:
        """What tells one store from another. Two stores must never have the same folder open in one process."""
        return (os.path.realpath(config.location or default_folder()),)

    @classmethod
    def from_config(cls, config: Config) -> EmbeddedStore:
        return cls(Path(config.location) if config.location else default_folder(), config.max_size)

    def close(self) -> None:
        with self._opening:
            files, self._files = self._files, None
            if files is not None:
                files.close()

    # Operations -----------------------------------------------------------------

    def _look_up(self, entry: bytes | None, slots: Sequence[bytes]) -> tuple[bytes | None, list[bytes | None]]:
        return self._run(_look_up, entry, slots)

    def _fill(self, slots: Sequence[bytes], stamp: bytes) -> list[bytes | None]:
        return self._run(_fill, slots, stamp)

    def _put(self, entry: bytes, value: bytes, timeout: float | None) -> bool:
        expiry = NEVER if timeout is None else (_now() + int(timeout * 1e6)).to_bytes(8, "big")
        return self._run(_put, entry, expiry + value)

    def _mark(self, slots: Sequence[bytes], writer: bytes, lease: float, watch: bytes | None) -> bytes | None:
        return self._run(_mark, slots, writer, lease, watch)

    def _settle(self, slots: Sequence[bytes], writer: bytes, stamp: bytes, watch: bytes | None) -> bytes | None:
        return self._run(_settle, slots, writer, stamp, watch)

    def _remove(self, entries: Sequence[bytes]) -> None:
        self._run(_remove, entries)

    def _claim(self, name: bytes, owner: bytes, seconds: float) -> bytes:
        return self._run(_claim, CLAIM + name, owner, _now() + int(seconds * 1e6))

    def _release(self, name: bytes, word: bytes, seconds: float) -> None:
        self._run(_put, CLAIM + name, (_now() + int(seconds * 1e6)).to_bytes(8, "big") + word)

    def _empty(self, slots: Sequence[bytes]) -> None:
        self._run(_empty, slots)

    def _describe(self) -> tuple[ServerFacts, ...]:
        return (self._run(_described),)

    # What is open ---------------------------------------------------------------

    def _run(self, operation: Callable[Concatenate[Files, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        failures = 0
        user = object()
        while True:
            files = self._files
            if files is None or time.monotonic_ns() >= files.next_check:
                files = self._checked()
            try:
                # First entered, then looked: whoever closes does it the other way round, and waits for us.
                files.users.add(user)
                if files.closing:
                    continue
                return operation(files, *args, **kwargs)
            except lmdb.Error as error:
                failures += 1
                failure = error
            finally:
                files.users.discard(user)
            self._recover(files, failure, failures)

    def _checked(self) -> Files:
        """The open files, or new ones where those that were open are gone or belong to the process that forked."""
        with self._opening:
            now = time.monotonic_ns()
            if self._files is not None:
                # The process id: a fork of which Python was not told (uWSGI without py-call-osafterfork).
                if self._files.pid != os.getpid() or self._files.gone():
                    self.close()
                else:
                    self._files.next_check = now + int(NOTICE * 1e9)
            if self._files is None:
                self._files = open_files(self._folder, self._max_size)
            return self._files

    def _recover(self, files: Files, error: lmdb.Error, failures: int) -> None:
        """Put right what made an operation fail, so that it can be tried again; raise ``error`` if nothing can."""
        full = isinstance(error, lmdb.MapFullError)
        if failures >= ATTEMPTS + (FULL_ATTEMPTS if full else 0):
            raise error
        with self._opening:
            if self._files is not files:
                return  # another thread has done so
            # Who reads keeps all pages that are freed meanwhile: for ever if the process was killed in the middle ...
            freed = (full or isinstance(error, lmdb.ReadersFullError)) and (
                files.slots.reader_check() + files.entries.reader_check()
            )
            if not freed and not (full and failures < FULL_ATTEMPTS):
                if not isinstance(error, (lmdb.MapResizedError, *_HOPELESS)):
                    raise error
                if isinstance(error, _HOPELESS):
                    # A new beginning is always right: empty slots retire every entry.
                    files.remove()
                self.close()
                return
        if not freed:
            time.sleep(PAUSE)  # ... or until it gets the processor back

    def _reset(self) -> None:
        self.close()

    def _before_fork(self) -> None:
        self._opening.acquire()
        self.close()

    def _after_fork(self, in_child: bool) -> None:
        super()._after_fork(in_child)
        if in_child:
            self._opening = threading.RLock()
        else:
            self._opening.release()


# No hole is large enough for a value, or the file cannot grow because the disk is full.
_FULL = (lmdb.MapFullError, lmdb.DiskError)

# A file that LMDB finds damaged, and a file of slots that is full. (One of entries makes room by itself.)
_HOPELESS = (
    lmdb.MapFullError,
    lmdb.CorruptedError,
    lmdb.PageNotFoundError,
    lmdb.InvalidError,
    lmdb.VersionMismatchError,
    lmdb.PanicError,
    lmdb.IncompatibleError,
)


# Every change is committed by name: at the end of a ``with`` block py-lmdb passes over in silence that another thread
# has closed the file meanwhile, and the change with it.


def _now() -> int:
    return time.monotonic_ns() // 1000


def _look_up(files: Files, entry: bytes | None, slots: Sequence[bytes]) -> tuple[bytes | None, list[bytes | None]]:
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
        held = [txn.get(slot) for slot in slots]
    for at, slot in enumerate(held):
        if slot is not None and slot.startswith(MARK):
            held[at] = _living(slot, _now())
    return value, held


def _fill(files: Files, slots: Sequence[bytes], stamp: bytes) -> list[bytes | None]:
    held: list[bytes | None] = []
    now = _now()
    with files.slots.begin(write=True) as txn:
        for slot in slots:
            value = _living(txn.get(slot), now)
            if value is None:
                txn.put(slot, stamp)
            held.append(stamp if value is None else value)
        txn.commit()
    return held


def _mark(files: Files, slots: Sequence[bytes], writer: bytes, lease: float, watch: bytes | None) -> bytes | None:
    now = _now()
    end = now + int(lease * 1e6)
    with files.slots.begin(write=True) as txn:
        watched = None if watch is None else _living(txn.get(watch), now)
        for slot in slots:
            txn.put(slot, with_mark(txn.get(slot), writer, now, end))
        txn.commit()
    return watched


def _settle(files: Files, slots: Sequence[bytes], writer: bytes, stamp: bytes, watch: bytes | None) -> bytes | None:
    now = _now()
    with files.slots.begin(write=True) as txn:
        watched = None if watch is None else _living(txn.get(watch), now)
        for slot in slots:
            txn.put(slot, without_mark(txn.get(slot), writer, now, stamp))
        txn.commit()
    return watched


def _put(files: Files, entry: bytes, value: bytes) -> bool:
    if len(value) > files.largest:
        return False
    for _ in range(ATTEMPTS):
        newer = files.newer
        try:
            with files.entries.begin(write=True) as txn:
                files.newer = newer = _newer(txn)
                _write(files, txn, newer, entry, value)
                txn.commit()
        except _FULL:
            if not _make_room(files, newer):
                return False
        else:
            return True
    return False


def _claim(files: Files, name: bytes, owner: bytes, end: int) -> bytes:
    held, _ = _look_up(files, name, ())
    if held is not None:
        return held  # as whoever polls is told most of the time, without keeping writers out
    for _ in range(ATTEMPTS):
        newer = files.newer
        try:
            with files.entries.begin(write=True) as txn:
                files.newer = newer = _newer(txn)
                for generation in files.generations:
                    value = txn.get(name, None, generation)
                    if value is not None and int.from_bytes(value[:8], "big") > _now():
                        return value[8:]
                _write(files, txn, newer, name, end.to_bytes(8, "big") + owner)
                txn.commit()
        except _FULL:
            if not _make_room(files, newer):
                break
        else:
            break
    return owner


def _write(files: Files, txn: lmdb.Transaction[bytes], newer: int, entry: bytes, value: bytes) -> None:
    """Put a value into the newer generation, and turn if that is full then."""
    older, generation = files.generations[1 - newer], files.generations[newer]
    txn.put(entry, value, db=generation)
    txn.delete(entry, db=older)
    state = txn.stat(generation)
    if state["leaf_pages"] + state["overflow_pages"] + state["branch_pages"] > files.limit:
        _turn(files, txn)


def _make_room(files: Files, newer: int) -> bool:
    """Empty the older generation, if ``newer`` is still the other one: or else another process has just done so."""
    try:
        with files.entries.begin(write=True) as txn:
            if _newer(txn) == newer:
                _turn(files, txn)
            txn.commit()
    except _FULL:
        return False  # even that takes a few pages: the disk has to have them
    return True


def _remove(files: Files, entries: Sequence[bytes]) -> None:
    with files.entries.begin(write=True) as txn:
        for entry in entries:
            for generation in files.generations:
                txn.delete(entry, db=generation)
        txn.commit()


def _empty(files: Files, slots: Sequence[bytes]) -> None:
    with files.slots.begin(write=True) as txn:
        for slot in slots:
            txn.delete(slot)
        txn.commit()


def _described(files: Files) -> ServerFacts:
    with files.entries.begin() as txn:
        states = [txn.stat(generation) for generation in files.generations]
    pages = sum(state["leaf_pages"] + state["overflow_pages"] + state["branch_pages"] for state in states)
    slots = files.slots.stat()
    sizes = {"slots_file": files.slots.info()["map_size"], "entries_file": files.entries.info()["map_size"]}
    filesystem = os.statvfs(files.folder)
    return ServerFacts(
        str(files.folder),
        version="LMDB " + ".".join(map(str, lmdb.version())),
        used=pages * states[0]["psize"] + (slots["leaf_pages"] + slots["branch_pages"]) * slots["psize"],
        limit=sum(sizes.values()),
        policy="two generations, the older one goes",
        largest=files.largest,
        more={
            **sizes,
            "relations": slots["entries"],
            "entries": sum(state["entries"] for state in states),
            "disk_taken": sum(state.st_blocks * 512 for state in files.states()),
            "disk_free": filesystem.f_bavail * filesystem.f_frsize,
        },
    )


def _newer(txn: lmdb.Transaction[bytes]) -> int:
    return 1 if txn.get(NEWER) == b"1" else 0


def _turn(files: Files, txn: lmdb.Transaction[bytes]) -> None:
    """Empty the older generation and make it the newer one."""
    newer = 1 - _newer(txn)
    txn.drop(files.generations[newer], delete=False)
    txn.put(NEWER, b"%d" % newer)


def _living(value: bytes | None, now: int) -> bytes | None:
    """A slot's value, or None where it holds nothing but marks that nobody will settle any more."""
    if value is not None and value.startswith(MARK) and marks_of(value) and last_lease_end(value) <= now:
        return None
    return value
