"""Has one process of a deployment listen for what triggers record, unless a process of its own does.

It is a task of the background thread that chooses who listens; the listener waits in a thread of its own.
"""

from __future__ import annotations

import threading

from ormcache.background.worker import LONGEST_PAUSE, Databases
from ormcache.database.database import Database
from ormcache.exceptions import StoreUnavailable
from ormcache.outside.leader import Leader
from ormcache.outside.listener import Listener
from ormcache.session.registry import registry
from ormcache.utils.forks import at_fork

INTERVAL = 2.0  # seconds between two claims
CLAIM = 10.0  # seconds after which another process listens in place of one that died

#: Vendors that have triggers
_VENDORS = ("postgresql", "mysql")


class _RunningListener:
    """A listener and its thread."""

    def __init__(self, alias: str) -> None:
        self.listener = Listener(alias)
        self.thread = threading.Thread(target=self._run, name=f"ormcache-listen-{alias}", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.listener.run()
        finally:
            self.listener.close()


class ListenerTask:
    """The listeners of one process, a task of its background thread."""

    title = "listening for recorded writes"

    def __init__(self) -> None:
        self.leader = Leader("listener", CLAIM)
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.RLock()  # guards the following
        self._running: dict[str, _RunningListener] = {}  # by the identity of the database

    def reset(self) -> None:
        """Forget all listeners: the process is a forked child, which has none of their threads, or a test begins."""
        self._begin()
        self.leader.reset()

    def interval(self, databases: Databases) -> float | None:
        """Return how often the listeners are chosen, while there is a database with triggers."""
        return INTERVAL if self._running or any(map(_is_wanted, databases.values())) else None

    def run(self, databases: Databases) -> None:
        """Begin to listen where this process is the one to do it, and end where it is not any more."""
        wanted = {
            database.identity: alias
            for alias, database in databases.items()
            if _is_wanted(database) and not registry.is_test_database(alias) and self._leads(database)
        }
        with self._lock:
            for identity in self._running.keys() - wanted.keys():
                self._running.pop(identity).listener.stop()
            for identity, alias in wanted.items():
                running = self._running.get(identity)
                if running is None or not running.thread.is_alive():
                    self._running[identity] = _RunningListener(alias)

    def pause(self) -> None:
        """End all listeners, before a fork; the next run begins them again."""
        with self._lock:
            running, self._running = self._running, {}
        for one in running.values():
            one.listener.stop()
        for one in running.values():
            one.thread.join(LONGEST_PAUSE)

    def _leads(self, database: Database) -> bool:
        try:
            return self.leader.leads(database)
        except StoreUnavailable:
            return False  # nothing can be invalidated either


def _is_wanted(database: Database) -> bool:
    """Return whether the writes of others are recorded there."""
    return database.vendor in _VENDORS and database.config.listen and database.catalog_cache.has_write_triggers


#: The one of this process
listener_task = ListenerTask()
at_fork(before=listener_task.pause)
