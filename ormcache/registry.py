"""The databases that this process has met, for connections that are still to be made."""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

from django.db.backends.signals import connection_created

from ormcache import conf
from ormcache.catalog import Server
from ormcache.conf import Config
from ormcache.database import Database
from ormcache.session import Session
from ormcache.stores import open_store

MOST_DATABASES = 256  # that one process keeps in mind

#: Where what sets up a connection does so in the same way every time
_TRUSTED = ("django.", "ormcache.", "django_prometheus.")
_SETTING_UP = frozenset(
    {"connect", "get_connection_params", "get_new_connection", "init_connection_state", "cursor", "_cursor"}
)


def begins_alike(connection: Any) -> bool:
    """Will the next connection begin with the session that the last one began with?

    Not if code of the project takes part: a receiver of ``connection_created``, or a backend of its own, may set
    the tenant or the role of whoever is being served.
    """
    for cls in connection.__class__.__mro__:
        if not f"{cls.__module__}.".startswith(_TRUSTED) and not _SETTING_UP.isdisjoint(vars(cls)):
            return False
    for _, reference, *_ in connection_created.receivers:
        receiver = reference() if isinstance(reference, weakref.ReferenceType) else reference
        if receiver is not None and not f"{getattr(receiver, '__module__', '')}.".startswith(_TRUSTED):
            return False
    return True


class Registry:
    """The databases that this process has met, and which of them an alias led to the last time.

    That is how a connection that is not open yet can be served from the cache. Any thread asks and tells; a forked
    child begins with nothing, because the locks inside may have been held by a thread that it does not have.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the two below
        self._databases: OrderedDict[Hashable, Database] = OrderedDict()
        self._last: OrderedDict[Hashable, tuple[Database, Session]] = OrderedDict()
        #: whose next connection may be in another session than the last one
        self._unlike: set[Hashable] = set()
        #: what the log has been told, with the alias and the generation of settings that it was told of
        self._told: set[tuple[str, str, int]] = set()

    def first_time(self, message: str, alias: str) -> bool:
        """Is this news for the log? A connection can be made for every request."""
        news = (message, alias, conf.generation)
        with self._lock:
            known = news in self._told
            self._told.add(news)
        return not known

    def database(self, vendor: str, server: Server, config: Config, kind: str, runtime: str) -> Database:
        key = (vendor, server.identity, server.replica, config, kind, runtime, conf.generation)
        with self._lock:
            database = self._databases.get(key)
            if database is None:
                database = self._databases[key] = Database(vendor, server, config, open_store(config, kind), runtime)
            self._databases.move_to_end(key)
            while len(self._databases) > MOST_DATABASES:
                self._databases.popitem(last=False)
        return database

    def met(self, key: Hashable, database: Database, session: Session) -> None:
        with self._lock:
            if key in self._unlike:
                return
            self._last[key] = (database, session)
            self._last.move_to_end(key)
            while len(self._last) > MOST_DATABASES:
                self._last.popitem(last=False)

    def altered(self, key: Hashable) -> None:
        """A pool has got back a connection with something set on it, and will hand it out to whoever comes next."""
        with self._lock:
            self._unlike.add(key)
            self._last.pop(key, None)

    def last(self, key: Hashable) -> tuple[Database, Session] | None:
        return self._last.get(key)

    def databases(self) -> list[Database]:
        with self._lock:
            return list(self._databases.values())

    def forget(self) -> None:
        self.__init__()  # type: ignore[misc]  # the very same beginning, with a fresh lock


registry = Registry()
os.register_at_fork(after_in_child=registry.forget)
