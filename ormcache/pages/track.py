"""What a block of a program's own depends on, for programs that cache by themselves or answer with 304."""

from __future__ import annotations

import datetime
from types import TracebackType

from ormcache.cache.stamps import time_of
from ormcache.cache.tracking import Rejection, Tracker, tracking
from ormcache.connection.uncached import watch_connections
from ormcache.session.registry import registry


class Dependencies:
    """What a tracked block has read."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker

    @property
    def rejection(self) -> Rejection | None:
        """Why it is not known what the block depends on: a reason, SQL and the like; None: it is known.

        Then what was computed in the block must not be stored.
        """
        return self._tracker.rejection

    @property
    def tables(self) -> frozenset[str]:
        """The tables that the block has read, as far as this process can name them: for people. Rows have none."""
        named = {
            database.slots.relation_of(slot)
            for database in registry.databases()
            for slot in list(self._tracker.stores.get(database.stamps.store.strict, ()))
        }
        return frozenset(name for name in named if name is not None and not name.startswith("*"))

    def is_current(self) -> bool:
        """Return whether nothing was written that the block has read: by one round trip to each store.

        True at the end of the block says that all results in it were true at one moment, now. False also where it is
        not known what the block depends on. Raises StoreUnavailable.
        """
        return self._tracker.rejection is None and self._tracker.is_current()

    @property
    def last_modified(self) -> datetime.datetime | None:
        """When anything was written last that the block has read, in UTC, by the clocks of the writers' hosts.

        For people and for HTTP headers. None: it has read nothing, or it is not known what.
        """
        stamps = [stamp for slots in list(self._tracker.stores.values()) for stamp in list(slots.values())]
        if self._tracker.rejection is not None or not stamps:
            return None
        return datetime.datetime.fromtimestamp(max(map(time_of, stamps)), datetime.UTC)


class track:  # noqa: N801  # used like a function, as contextlib's own are
    """Track what this block reads from databases through ormcache, hit or miss, in its threads and tasks too.

    ``with ormcache.track() as dependencies:`` gives an object with ``rejection``, ``tables``, ``last_modified`` and
    ``is_current()``. Works in coroutines as well, around ``await``.
    """

    def __init__(self) -> None:
        self._tracker = Tracker()
        self._block = tracking(self._tracker)

    def __enter__(self) -> Dependencies:
        watch_connections()
        self._block.__enter__()
        return Dependencies(self._tracker)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._block.__exit__(kind, error, traceback)
