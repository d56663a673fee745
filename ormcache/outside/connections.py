"""Connections of ormcache's own to the project's databases, for tasks of the background thread.

Their statements go straight to the driver: they are neither cached nor marked, counted or logged. Each statement is a
transaction of its own that sees what is committed. A connection is opened when a task first needs it, closed when none
has needed it for a while, and opened anew when it is older than a few minutes, as ``CONN_MAX_AGE`` would do. None is
ever opened to a test database, which could not be dropped or cloned then.
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from django.core.exceptions import ImproperlyConfigured
from django.db import Error, connections

from ormcache.catalog import outbox
from ormcache.database.database import Database
from ormcache.session.connections import is_cached
from ormcache.session.registry import registry
from ormcache.utils.forks import at_fork
from ormcache.utils.interruptions import UNEXPECTED, let_through

if TYPE_CHECKING:
    from ormcache.connection.protocol import CachedConnection

LONGEST_LIFE = 600.0  # seconds for which one is used
LONGEST_IDLE = 30.0  # seconds after which one is closed that nobody has used
CONNECT_TIMEOUT = 5  # seconds

#: Databases behind a network
_REMOTE = frozenset({"postgresql", "mysql"})


T = TypeVar("T")


class OwnConnection:
    """One connection of ormcache's own. Raises ``django.db.Error`` where the database does."""

    def __init__(self, connection: CachedConnection) -> None:
        self._connection = connection
        self.opened = self.used = time.monotonic()

    @property
    def connection(self) -> CachedConnection:
        """Django's connection, on which nothing but the catalog is to be read."""
        return self._connection

    @property
    def vendor(self) -> str:
        """Django's name of the kind of database."""
        return self._connection.vendor

    @property
    def driver_connection(self) -> Any:
        """The driver's connection (DB-API 2.0). What it raises is not turned into Django's errors."""
        self.used = time.monotonic()
        return self._connection.connection

    def execute(self, sql: str, params: Sequence[Any] = ()) -> list[Any]:
        """Run a statement, with the driver's placeholders, and return its rows as tuples."""
        with self._connection.wrap_database_errors:
            run = partial(outbox.run, self.driver_connection, sql, params)
            writes = self.vendor == "sqlite" and not sql.lstrip().upper().startswith("SELECT")
            return self._connection.ormcache_writes.run_accounted(run) if writes else run()

    def run(self, call: Callable[[Any], T]) -> T:
        """Call something with the driver's connection, and return what it returns."""
        with self._connection.wrap_database_errors:
            return call(self.driver_connection)

    def run_commit(self, call: Callable[[], None]) -> None:
        """Run a statement that writes, and account for its commit: it is no other program's."""
        self._connection.ormcache_writes.run_accounted(call)

    def leads_to(self, database: Database) -> bool:
        """Return whether this is the database at the other end, as far as that is known."""
        return self._connection.ormcache.known() is database

    def close(self) -> None:
        """Close it, whatever state it is in."""
        try:
            self._connection.close()
        except (Error, self._connection.Database.Error, *UNEXPECTED) as error:
            let_through(error)


class OwnConnections:
    """The connections of ormcache's own in one process. A forked child begins with none, and closes none."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all of them, without closing any."""
        self._lock = threading.RLock()
        self._open: dict[str, OwnConnection] = {}  # by alias

    def get(self, alias: str, database: Database) -> OwnConnection | None:
        """Return a connection to a database through an alias.

        None: the alias is not to be used in this way, or leads to another database by now. Raises ``django.db.Error``.
        """
        if registry.is_test_database(alias):
            return None
        with self._lock:
            own = self._open.get(alias)
            if own is not None and (time.monotonic() > own.opened + LONGEST_LIFE or not own.leads_to(database)):
                self.close(alias)
                own = None
            if own is None:
                own = connect(alias)
                if own is None:
                    return None
                if not own.leads_to(database):
                    own.close()
                    return None
                self._open[alias] = own
            return own

    def close(self, alias: str) -> None:
        """Close the connection of an alias if there is one, as after an error."""
        with self._lock:
            own = self._open.pop(alias, None)
        if own is not None:
            own.close()

    def close_idle(self) -> None:
        """Close those that nobody has used for a while."""
        for alias, own in list(self._open.items()):
            if time.monotonic() > own.used + LONGEST_IDLE:
                self.close(alias)

    def close_all(self) -> None:
        """Close all of them."""
        for alias in list(self._open):
            self.close(alias)


def connect(alias: str) -> OwnConnection | None:
    """Return a new connection, which nobody else uses; None where the alias does not go through ormcache.

    Raises ``django.db.Error``.
    """
    thread_connection = connections[alias]
    if not is_cached(thread_connection):
        return None
    settings = copy.deepcopy(thread_connection.settings_dict)
    options = settings["OPTIONS"] = dict(settings.get("OPTIONS") or {})
    options.pop("pool", None)  # whose connections are the project's
    if thread_connection.vendor in _REMOTE:
        options.setdefault("connect_timeout", CONNECT_TIMEOUT)
    if thread_connection.vendor == "mysql":
        options["isolation_level"] = "read committed"  # a project may have set one that shows what is not committed
    settings.update(ATOMIC_REQUESTS=False, AUTOCOMMIT=True, CONN_MAX_AGE=None, CONN_HEALTH_CHECKS=False)
    wrapper_class: Any = type(thread_connection)
    wrapper = wrapper_class(settings, alias)
    wrapper.inc_thread_sharing()  # whichever thread is the background thread
    try:
        wrapper.connect()
    except BaseException:
        with suppress(Error, ImproperlyConfigured):
            wrapper.close()
        raise
    return OwnConnection(wrapper)


#: Those of this process
own_connections = OwnConnections()
at_fork(after_in_child=own_connections.reset)
