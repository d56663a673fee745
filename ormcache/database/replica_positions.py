"""How far a replica must have replayed before what it answers may be stored under the stamps that were read.

A position of the primary that was asked for *after* a stamp was read is a bound for that stamp: whoever has settled
before the stamp was written has committed before. Bounds are remembered here, and kept in the store beside the entries,
for all vectors that were asked for, so that one process asks the primary for all. They never change: whichever is lost
is asked for again. ``docs/how-it-works.md``, "Replicas", has the argument.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from ormcache.cache.keys import name_beside
from ormcache.cache.serializer import Unreadable
from ormcache.cache.stamps import FORMAT, Stamps
from ormcache.catalog import wal_positions
from ormcache.catalog.wal_positions import Position
from ormcache.exceptions import StoreUnavailable
from ormcache.stores.base import STAMP_LENGTH
from ormcache.utils import drivers
from ormcache.utils.bounded import Bounded
from ormcache.utils.interruptions import UNEXPECTED, let_through

if TYPE_CHECKING:
    from ormcache.connection.protocol import CachedConnection

MOST_STAMPS = 16_384  # whose bounds are remembered
LIFETIME = 3600.0  # seconds that a bound is kept in the store
RETRY = 5.0  # seconds for which a server that gave no position is not asked again


class ReplicaPositions:
    """The positions that stamps of one database stand for, as one process knows them. Threads share it."""

    def __init__(self, stamps: Stamps, epoch: bytes) -> None:
        """``epoch``: the slot of all relations."""
        self._stamps = stamps
        self._epoch = epoch
        self._bounds: Bounded[bytes, Position] = Bounded(MOST_STAMPS)
        self._has_read = False  # has a replica ever given a position?
        self._read_again_at = self._ask_again_at = self._read_catalog_at = 0.0  # by time.monotonic

    # The replica --------------------------------------------------------------------------

    def read_replayed(self, connection: CachedConnection) -> Position | None:
        """Return up to which position the next statement on a connection sees everything; None: it does not say."""
        driver_connection = connection.connection
        if connection.ormcache.session.is_pooled:
            return None  # a pooler could run the next statement in another session, of another server
        if time.monotonic() < self._read_again_at or not (
            drivers.is_idle(driver_connection)
            # An error would end the transaction.
            or (self._has_read and drivers.is_in_transaction(driver_connection))
        ):
            return None
        try:
            position = wal_positions.replayed(driver_connection)
        except (connection.Database.Error, *UNEXPECTED) as error:
            let_through(error)
            position = None
        if position is None:
            self._read_again_at = time.monotonic() + RETRY
        else:
            self._has_read = True
        return position

    def may_read_catalog(self) -> bool:
        """Return whether the catalog is to be read anew because it may be older than the stamps: not all the time."""
        now = time.monotonic()
        if now < self._read_catalog_at:
            return False
        self._read_catalog_at = now + RETRY
        return True

    # The primary --------------------------------------------------------------------------

    @property
    def may_ask_primary(self) -> bool:
        """Whether the primary is to be asked for its position: it has not just failed to give one."""
        return time.monotonic() >= self._ask_again_at

    def record_primary(self, position: Position, vectors: list[bytes]) -> None:
        """Record what the primary said when it was asked after these vectors had been read."""
        for vector in vectors:
            self._learn(vector, position)
            with suppress(StoreUnavailable):
                self._stamps.store_entry(self._name(vector), vector, b"%d %d %d" % position, LIFETIME)

    def record_silence(self) -> None:
        """Record that the primary could not be asked."""
        self._ask_again_at = time.monotonic() + RETRY

    # Bounds -------------------------------------------------------------------------------

    def bound(self, vector: bytes) -> Position | None:
        """Return what a replica must have replayed for these stamps, as far as this process remembers it.

        None: that is not known of all of them.
        """
        bounds = [self._bounds.get(stamp) for stamp in _stamps(vector)]
        last: Position | None = None
        for bound in bounds:
            if bound is None or (last is not None and last[:2] != bound[:2]):
                return None
            last = bound if last is None or bound.lsn > last.lsn else last
        return last

    def recall(self, vector: bytes) -> Position | None:
        """Return the same, and ask the store for what is not remembered."""
        known = self.bound(vector)
        if known is not None:
            return known
        try:
            found = self._stamps.read_outdated(self._name(vector), (self._epoch,))
        except (StoreUnavailable, Unreadable):
            return None
        position = None if found is None or found.vector != vector else _parse(found.data)
        if position is not None:
            self._learn(vector, position)
        return position

    def _learn(self, vector: bytes, position: Position) -> None:
        for stamp in _stamps(vector):
            known = self._bounds.get(stamp)
            if known is None or not position.reaches(known):
                self._bounds.put(stamp, position)

    def _name(self, vector: bytes) -> bytes:
        return name_beside(self._stamps.partition, b"position", FORMAT, vector)


def _stamps(vector: bytes) -> Iterator[bytes]:
    for at in range(0, len(vector), STAMP_LENGTH):
        yield vector[at : at + STAMP_LENGTH]


def _parse(data: bytes) -> Position | None:
    """Return a position as the store has it; None: that is none."""
    try:
        system, timeline, lsn = map(int, data.split())
    except ValueError:
        return None
    return Position(system, timeline, lsn)
