"""Chooses one process of a deployment for a task, by a claim in the store.

The leader stays the leader as long as it asks in time. If it dies, its claim ends by itself, and whoever asks next is
the leader. Two processes can lead at once for a moment, or for as long as a store has no room for claims: a leader
saves work, and nothing that it does may be wrong if another one does it too.
"""

from __future__ import annotations

import os
import time

from ormcache.cache.keys import name_beside
from ormcache.database.database import Database
from ormcache.utils.bounded import Bounded

OWNER_LENGTH = 16
MOST_DATABASES = 256


class Leader:
    """This process's part in the choice for one task. One thread at a time calls its methods."""

    def __init__(self, task: str, seconds: float) -> None:
        """``task``: its name, the same in all processes. ``seconds``: for which a leader that died is missed."""
        self._task = task.encode()
        self._seconds = seconds
        self.reset()

    def reset(self) -> None:
        """Begin anew, as another process: a claim that is alive is somebody else's."""
        self._owner = os.urandom(OWNER_LENGTH)
        #: identity of a database → the time.monotonic from which its claim is to be renewed
        self._renew_at: Bounded[str, float] = Bounded(MOST_DATABASES)

    def leads(self, database: Database) -> bool:
        """Return whether this process is the one for this database, from now until the claim ends.

        To be called more often than the claim lasts. Raises StoreUnavailable.
        """
        store, name = database.stamps.store.strict, self._name(database)
        if store.claim(name, self._owner, self._seconds) != self._owner:
            self._renew_at.pop(database.identity, None)
            return False
        now = time.monotonic()
        renew_at = self._renew_at.get(database.identity)
        if renew_at is not None and now >= renew_at:
            store.release(name, self._owner, self._seconds)  # which begins the claim anew
        if renew_at is None or now >= renew_at:
            self._renew_at.put(database.identity, now + self._seconds / 3)
        return True

    def _name(self, database: Database) -> bytes:
        return name_beside(database.stamps.partition, b"leader", self._task, database.identity.encode())
