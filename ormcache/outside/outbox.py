"""Settles what stands in the outboxes: one process of a deployment reads each of them every few seconds.

Besides that one, a process reads an outbox whose store has been away from it and answers again.
"""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured
from django.db import Error

from ormcache.background.worker import Databases
from ormcache.database.database import Database
from ormcache.exceptions import StoreUnavailable
from ormcache.outside.connections import own_connections
from ormcache.outside.leader import Leader
from ormcache.utils.bounded import Bounded

#: Intervals after which a leader that died is replaced
MISSED_INTERVALS = 2
MOST_DATABASES = 256


class OutboxSettler:
    """The task of the background thread."""

    title = "settling of the outbox"

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything, as another process."""
        self._leaders: Bounded[float, Leader] = Bounded(MOST_DATABASES)  # by the interval
        #: identity of a database → how many outages of its store this process had seen when it last read the outbox
        self._outages: Bounded[str, int] = Bounded(MOST_DATABASES)

    def interval(self, databases: Databases) -> float | None:
        """Return the shortest interval of the databases that have an outbox, or may have one."""
        return min((one.config.outbox_interval for one in databases.values() if _has_outbox(one)), default=None)

    def run(self, databases: Databases) -> None:
        """Read each outbox that is this process's to read. Raises the first error of a database."""
        own_connections.close_idle()
        failed: Exception | None = None
        for alias, database in {one.identity: (alias, one) for alias, one in databases.items()}.values():
            if _has_outbox(database):
                try:
                    self._run(alias, database)
                except StoreUnavailable:
                    continue  # nothing is served from it either
                except (Error, ImproperlyConfigured) as error:
                    own_connections.close(alias)
                    failed = failed or error
        if failed is not None:
            raise failed

    def _run(self, alias: str, database: Database) -> None:
        store = database.stamps.store.strict
        if not store.is_answering:
            store.retry_now()
        leads = self._leader(database.config.outbox_interval).leads(database)
        seen = self._outages.get(database.identity)
        if leads or (seen is not None and seen != store.outage_count):
            own = own_connections.get(alias, database)
            if own is None:
                return
            own.run(lambda made: database.outbox.settle(made, own.run_commit))
        self._outages.put(database.identity, store.outage_count)

    def _leader(self, interval: float) -> Leader:
        leader = self._leaders.get(interval)
        if leader is None:
            leader = Leader("outbox", interval * MISSED_INTERVALS + 1)
            self._leaders.put(interval, leader)
        return leader


def _has_outbox(database: Database) -> bool:
    outbox = database.outbox
    is_wanted = bool(database.config.outbox_interval) and database.config.on_outage == "proceed"
    return is_wanted and outbox.is_shared and (outbox.table is not None or not outbox.was_read)


#: The one of this process
outbox_settler = OutboxSettler()
