"""Publishes what this process has counted, every few seconds and at its end, for other processes to add up."""

from __future__ import annotations

import atexit
import threading
import time
from contextlib import suppress

from django.core.exceptions import ImproperlyConfigured

from ormcache.background.worker import Databases, worker
from ormcache.database.database import Database
from ormcache.exceptions import StoreUnavailable
from ormcache.telemetry import other_stores
from ormcache.telemetry.counters import Counters, counters_of
from ormcache.telemetry.exchange import Exchange, can_sign
from ormcache.telemetry.history import History
from ormcache.telemetry.payload import MOST_QUERIES_PUBLISHED, Payload, payload_of, totals_of
from ormcache.utils.interruptions import UNEXPECTED

#: Seconds after which unchanged statistics are published again: the store may have evicted them
REPUBLISH_AFTER = 1800.0


class Publisher:
    """The publisher of one process, a task of its background thread. Any thread may call any method."""

    title = "publishing of the statistics"

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget what was published."""
        self._publishing = threading.RLock()  # guards the following
        self._histories: dict[str, History] = {}
        #: alias → when its statistics were last published, by time.monotonic, and what was counted then
        self._published: dict[str, tuple[float, tuple[float, ...]]] = {}
        #: alias → its database, and the time.monotonic at which its store is to be announced again
        self._announced: dict[str, tuple[Database, float]] = {}

    def interval(self, databases: Databases) -> float | None:
        """Return the shortest interval that the settings of these databases name."""
        return min(filter(None, (one.config.statistics_interval for one in databases.values())), default=None)

    def run(self, databases: Databases) -> None:
        """Publish what is new. What a store does not take is published the next time."""
        with self._publishing:
            for alias, database in databases.items():
                if database.config.statistics_interval:
                    self._announce(alias, database)
                    if can_sign():
                        self._publish_alias(counters_of(alias), database)

    def publish(self) -> None:
        """Publish what is new of all databases that this process has connected, now."""
        self.run(worker.databases())

    def payloads(self, identity: str) -> list[Payload]:
        """Return what this process would publish of the database of this identity, if it has counted anything."""
        with self._publishing:
            found = []
            for alias, database in worker.databases().items():
                counters = counters_of(alias)
                totals = totals_of(counters)
                if database.identity == identity and any((*totals[:4], *_further_counts(counters, database))):
                    history = self._history(counters.alias, totals)
                    found.append(payload_of(counters, database, history, MOST_QUERIES_PUBLISHED))
            return found

    def _publish_alias(self, counters: Counters, database: Database) -> None:
        totals = totals_of(counters)
        further = _further_counts(counters, database)
        counted = (*totals, *further)
        last, published = self._published.get(counters.alias, (0.0, ()))
        if not any((*totals[:4], *further)) or (counted == published and time.monotonic() < last + REPUBLISH_AFTER):
            return
        history = self._history(counters.alias, totals)
        with suppress(StoreUnavailable):
            exchange = Exchange(database)
            most = MOST_QUERIES_PUBLISHED
            while not exchange.put(counters.process, payload_of(counters, database, history, most)) and most:
                most //= 2  # until there is room
            exchange.enlist(counters.process)
            self._published[counters.alias] = (time.monotonic(), counted)

    def _history(self, alias: str, totals: tuple[float, ...]) -> History:
        history = self._histories.setdefault(alias, History())
        history.record(time.time(), totals)
        return history

    def _announce(self, alias: str, database: Database) -> None:
        known, due = self._announced.get(alias, (None, 0.0))
        if known is database and time.monotonic() < due:
            return
        with suppress(StoreUnavailable):
            other_stores.announce(database)
            self._announced[alias] = (database, time.monotonic() + other_stores.AGAIN)


def _further_counts(counters: Counters, database: Database) -> tuple[int, ...]:
    """Return what is worth publishing even where nothing was read or written."""
    return counters.derived_uses, database.outside_writes.counts.total


#: The one of this process
publisher = Publisher()


@atexit.register
def _publish_at_end() -> None:
    with suppress(ImproperlyConfigured, *UNEXPECTED):  # not worth a traceback after the program's last line
        publisher.publish()
