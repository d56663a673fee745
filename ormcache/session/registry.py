"""Remembers the databases that this process has met, for connections that are still to be made."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable

from ormcache import conf
from ormcache.catalog import Server
from ormcache.conf import Config
from ormcache.database.catalog_cache import SessionBeginning
from ormcache.database.database import Database
from ormcache.session.tracker import Session
from ormcache.stores import open_store
from ormcache.utils.bounded import Bounded
from ormcache.utils.forks import at_fork

MOST_DATABASES = 256  # that one process keeps in mind
MOST_ALTERED = 1024  # aliases whose pools hand out altered connections
MOST_NEWS = 1024  # for the log


class DatabaseRegistry:
    """The databases that this process has met, and which of them an alias led to the last time.

    That is how a connection that is not open yet can be served from the cache. Any thread may call any method; a
    forked child begins with nothing, because the locks inside may have been held by a thread that it does not have.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin with nothing, and with a fresh lock."""
        self._lock = threading.RLock()  # guards the two below
        self._databases: OrderedDict[Hashable, Database] = OrderedDict()
        self._last: OrderedDict[Hashable, tuple[Database, Session, SessionBeginning | None]] = OrderedDict()
        #: keys whose next connection may be in another session than the last one; None: there are too many to remember
        self._altered: set[Hashable] | None = set()
        #: aliases that lead to a test database
        self._testing: frozenset[str] = frozenset()
        #: what was logged, with the alias and the generation of settings that it is about
        self._logged: Bounded[tuple[str, str, int], bool] = Bounded(MOST_NEWS)

    def should_log(self, message: str, alias: str) -> bool:
        """Return whether to log a message about an alias: once, as a connection can be made for every request."""
        news = (message, alias, conf.generation)
        with self._lock:
            known = news in self._logged
            self._logged.put(news, True)
        return not known

    def database(self, vendor: str, server: Server, config: Config, kind: str, runtime: str) -> Database:
        """Return the one database of this identity and configuration. ``kind``: of the store.

        ``runtime``: see :class:`~ormcache.database.database.Database`.
        """
        key = (vendor, server.identity, server.replica, config, kind, runtime, conf.generation)
        with self._lock:
            database = self._databases.get(key)
            if database is None:
                # Unless a signal's handler has met it meanwhile.
                made = Database(vendor, server, config, open_store(config, kind), runtime)
                database = self._databases.setdefault(key, made)
            if key in self._databases:
                self._databases.move_to_end(key)
            while len(self._databases) > MOST_DATABASES:
                self._databases.popitem(last=False)
        return database

    def remember(self, key: Hashable, database: Database, session: Session, beginning: SessionBeginning | None) -> None:
        """Remember where a connection led. ``beginning``: what sessions of the database began with then, or later."""
        with self._lock:
            if self._altered is None or key in self._altered:
                return
            self._last.pop(key, None)
            self._last[key] = (database, session, beginning)
            while len(self._last) > MOST_DATABASES:
                self._last.popitem(last=False)

    def forget_altered(self, key: Hashable) -> None:
        """Record that a pool has got back a connection with something set on it, and will hand it out as it is."""
        with self._lock:
            self._last.pop(key, None)
            if self._altered is not None:
                self._altered.add(key)
                if len(self._altered) > MOST_ALTERED:
                    self._altered = None
                    self._last.clear()

    def recall(self, key: Hashable) -> tuple[Database, Session, SessionBeginning | None] | None:
        """Return where the last connection led, and the session that it began with.

        None where no connection was made, or none since the schema has changed: what a session begins with is among
        what changes with it (``ALTER ROLE … SET``).
        """
        last = self._last.get(key)
        return None if last is None or last[0].catalog_cache.session_beginning is not last[2] else last

    def record_test_database(self, alias: str, *, exists: bool) -> None:
        """Record that an alias leads to a test database from now on, or no longer."""
        with self._lock:
            self._testing = self._testing | {alias} if exists else self._testing - {alias}

    def is_test_database(self, alias: str) -> bool:
        """Return whether an alias leads to a test database, which others want to drop or to clone."""
        return alias in self._testing

    def databases(self) -> list[Database]:
        """Return the databases that this process has met."""
        with self._lock:
            return list(self._databases.values())


registry = DatabaseRegistry()
at_fork(after_in_child=registry.forget)
