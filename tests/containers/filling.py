"""A process on the embedded store of a container whose shared memory fills up: ``filling.py BYTES``.

``BYTES``: how much others leave free before the store is opened. Prints what happened, as JSON.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys

from ormcache.exceptions import StoreUnavailable
from ormcache.stores.base import decode_marks
from ormcache.stores.embedded.files import default_folder
from ormcache.stores.embedded.store import EmbeddedStore
from tests.stores.helpers import name, stamp, writer

MEMORY = "/dev/shm"
VALUE = 100_000  # bytes


def fill(free: int) -> None:
    """Leave so many bytes to others."""
    with open(f"{MEMORY}/others", "ab", buffering=0) as others:
        try:
            while (left := shutil.disk_usage(MEMORY).free - free) > 0:
                others.write(bytes(min(left, 2**20)))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise


def put(store: EmbeddedStore, entries: list[bytes]) -> int:
    """Store a value for each of these names, and return how many are found afterwards: whole, or not at all."""
    for entry in entries:
        try:
            store.put_entry(entry, entry * (VALUE // len(entry)), None)
        except StoreUnavailable:
            store.retry_now()
    found = 0
    for entry in entries:
        value, _ = store.look_up(entry, [])
        assert value in (None, entry * (VALUE // len(entry)))
        found += value is not None
    return found


def write(store: EmbeddedStore, count: int) -> int:
    """Mark and settle so many slots, and return for how many the store says what it has to."""
    right = 0
    for _ in range(count):
        slot, who, new = name(), writer(), stamp()
        store.mark([slot], who, 60)
        _, [marked] = store.look_up(None, [slot])
        store.settle([slot], who, new)
        right += [other for other, _ in decode_marks(marked)] == [who] and store.look_up(None, [slot])[1] == [new]
    return right


def main(free: int) -> None:
    if free:
        fill(free)
    store = EmbeddedStore(default_folder(), 256 * 2**20)
    said: dict[str, object] = {}
    try:
        store.fill_slots([name()], stamp())
    except StoreUnavailable as error:
        said["unavailable"] = str(error)
    else:
        said["room"] = put(store, [os.urandom(20) for _ in range(1000)])
        said["left"] = shutil.disk_usage(MEMORY).free
        fill(0)
        said["full"] = put(store, [os.urandom(20) for _ in range(200)])
        said["written"] = write(store, 5000)
        os.unlink(f"{MEMORY}/others")
        said["again"] = put(store, [os.urandom(20) for _ in range(100)])
    print(json.dumps(said))


if __name__ == "__main__":
    main(int(sys.argv[1]))
