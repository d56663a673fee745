"""Notices that processes of one database use different stores, so that neither sees the other's writes.

Each process leaves a note of its database and its store where the other processes of the host find it, whatever user
they run as: a small file in shared memory. A process that finds another store's note there carries it into its own
store, where the processes of other hosts find it.

Addresses do not identify a store: one may have several, and one address may lead to another server in each container.
So the first process that uses a store for a database puts a stamp into it, which all that share the store find there.
A note from before that stamp was made counts for nothing, since the store may have been emptied in between.

Whoever can write to shared memory or to the store can forge notes. They are bounded and checked, and nothing but a
warning ever comes of them.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import secrets
import socket
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ormcache.cache.keys import name_beside
from ormcache.cache.stamps import FORMAT, new_stamp
from ormcache.database.database import Database
from ormcache.stores.base import is_stamp
from ormcache.utils.bounded import Bounded
from ormcache.utils.host import shared_folder, user_id
from ormcache.utils.interruptions import let_through

logger = logging.getLogger("ormcache")

#: Seconds after which a process leaves its note again, and for which a note counts
AGAIN = 600.0
RETENTION = 3600.0

_PREFIX = "ormcache-store-"
_MOST_BYTES = 4096  # of one file, or of the entry in a store
_MOST_NOTES = 32  # that are looked at
_LONGEST = 256  # characters of an address or of a host's name
_RELATION = "*store"  # whose slot has the store's stamp

#: (identity of a database, stamp of another store) → True once it was logged
_warned: Bounded[tuple[str, str], bool] = Bounded(256)


class StoreUse(NamedTuple):
    """A note that a process uses a store for a database."""

    stamp: str  # the store's, hexadecimal
    place: str  # the store's kind and address, for people
    host: str
    user: int
    process: int
    at: float  # seconds since the epoch


def announce(database: Database) -> list[StoreUse]:
    """Leave this process's note, and return the uses of other stores. Each other store is logged once.

    Raises StoreUnavailable.
    """
    if not database.server.shared:
        return []  # no other process can reach it
    store, slot = database.stamps.store.strict, database.stamps.slot(_RELATION)
    (held,) = store.look_up(None, [slot])[1]
    if held is None:
        (held,) = store.fill_slots([slot], new_stamp())
    if held is None or not is_stamp(held):
        return []
    name = _name(database)
    own = StoreUse(held.hex(), _place(database), socket.gethostname()[:_LONGEST], user_id(), os.getpid(), time.time())
    with _tolerant():
        _sweep(shared_folder())
        _write(shared_folder(), name, own)
    here = _others(held, _on_host(name))
    carried = _others(held, _in_store(database, name))
    merged = _newest([*here, *carried])
    if here and set(_newest(here)) - set(carried):
        store.put_entry(name, _encoded(merged[:_MOST_NOTES]), RETENTION)
    for use in merged:
        if (database.identity, use.stamp) not in _warned:
            _warned.put((database.identity, use.stamp), True)
            logger.warning(
                "processes of one database use different stores, and do not see each other's writes: this one uses %s,"
                " process %d of user %d on %s uses %s; give all the same STORE, CACHE, LOCATION and user",
                own.place,
                use.process,
                use.user,
                use.host,
                use.place,
            )
    return merged


def uses_of_other_stores(database: Database) -> list[StoreUse]:
    """Return the uses of other stores for this database, without leaving a note. Raises StoreUnavailable."""
    if not database.server.shared:
        return []
    name = _name(database)
    (held,) = database.stamps.store.strict.look_up(None, [database.stamps.slot(_RELATION)])[1]
    own = _place(database)
    found = _others(held, [*_on_host(name), *_in_store(database, name)])
    # Without a stamp, the store may have been emptied since its own processes have left their notes.
    return _newest(use for use in found if held is not None or use.place != own)


def _others(held: bytes | None, uses: Iterable[StoreUse]) -> list[StoreUse]:
    own, born = ("", 0.0) if held is None else (held.hex(), int.from_bytes(held[1:9], "big") / 1e6)
    now = time.time()
    return [use for use in uses if use.stamp != own and max(born, now - RETENTION) < use.at < now + RETENTION]


def _newest(uses: Iterable[StoreUse]) -> list[StoreUse]:
    """Return the last use of each store, the latest one first."""
    by_stamp = {use.stamp: use for use in sorted(uses, key=lambda use: use.at)}
    return sorted(by_stamp.values(), key=lambda use: use.at, reverse=True)


def _name(database: Database) -> bytes:
    return name_beside(database.stamps.partition, b"stores", FORMAT, database.identity.encode())


def _place(database: Database) -> str:
    store = database.stamps.store.strict
    return f"{store.kind} {store.location}".strip()[:_LONGEST]


# In the store --------------------------------------------------------------------------


def _in_store(database: Database, name: bytes) -> list[StoreUse]:
    value, _ = database.stamps.store.strict.look_up(name, [])
    return [] if value is None else list(_decoded(value))


# On the host ---------------------------------------------------------------------------


def _on_host(name: bytes) -> list[StoreUse]:
    """Return what processes of this host have noted about a database."""
    prefix = f"{_PREFIX}{name.hex()}-"
    found: list[StoreUse] = []
    with _tolerant():
        with os.scandir(shared_folder()) as entries:
            paths = [entry.path for entry in entries if entry.name.startswith(prefix)]
        for path in paths[:_MOST_NOTES]:
            with _tolerant():
                found += _read(path)
    return found


def _read(path: str) -> list[StoreUse]:
    # It may be anything that another user has put there: a pipe, a link, something large.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        state = os.fstat(descriptor)
        value = os.read(descriptor, _MOST_BYTES + 1) if stat.S_ISREG(state.st_mode) else b""
    finally:
        os.close(descriptor)
    return [use._replace(user=state.st_uid) for use in _decoded(value)]


def _write(folder: Path, name: bytes, own: StoreUse) -> None:
    """Write one file for each database, user and store, in place of the previous one."""
    path = folder / f"{_PREFIX}{name.hex()}-{own.user}-{own.stamp[-16:]}"
    made = folder / f"{_PREFIX}{secrets.token_hex(8)}"
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            os.write(descriptor, _encoded([own]))
            os.fchmod(descriptor, 0o644)  # for other users
        finally:
            os.close(descriptor)
        made.replace(path)
    except BaseException:
        made.unlink(missing_ok=True)
        raise


def _sweep(folder: Path) -> None:
    """Remove the expired notes of this user's processes."""
    oldest = time.time() - RETENTION
    with os.scandir(folder) as entries:
        left = [entry.path for entry in entries if entry.name.startswith(_PREFIX)]
    for path in left:
        with contextlib.suppress(FileNotFoundError):
            state = os.lstat(path)
            if state.st_uid == user_id() and state.st_mtime < oldest:
                os.unlink(path)


@contextlib.contextmanager
def _tolerant() -> Iterator[None]:
    """Go on where notes cannot be left or read: on a read-only or full file system, or with another user's file."""
    try:
        yield
    except OSError as error:
        let_through(error)


# Bytes ---------------------------------------------------------------------------------


def _encoded(uses: list[StoreUse]) -> bytes:
    while True:
        value = json.dumps(uses, separators=(",", ":")).encode()
        if len(value) <= _MOST_BYTES or not uses:
            return value
        uses = uses[:-1]


def _decoded(value: bytes) -> Iterator[StoreUse]:
    """Yield the uses in bytes of unknown origin, without anything that does not look like one."""
    if len(value) > _MOST_BYTES:
        return
    try:
        notes = json.loads(value)
    except (ValueError, RecursionError):
        return
    for note in notes[:_MOST_NOTES] if isinstance(notes, list) else ():
        if isinstance(note, list) and len(note) == len(StoreUse._fields) and _is_use(*note):
            yield StoreUse(*note)


def _is_use(stamp: Any, place: Any, host: Any, user: Any, process: Any, at: Any) -> bool:
    texts = all(isinstance(text, str) and len(text) <= _LONGEST and text.isprintable() for text in (stamp, place, host))
    numbers = all(type(number) is int and 0 <= number < 2**32 for number in (user, process))
    return texts and numbers and type(at) is float and math.isfinite(at)
