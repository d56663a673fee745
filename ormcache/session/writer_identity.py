"""Says to the database that a session is ormcache's, so that its triggers leave out what the session writes.

That is a setting of the session, and it must never become one of a program that ormcache does not see: that program's
writes would be recorded by nobody. A pooler or a proxy may lend the session to other clients, with all that is set in
it. So only a session says it that leads straight to the server. All others, and those in which the setting is lost
(``RESET ALL``, a driver that reconnects), are taken for programs that ormcache does not see: their writes are recorded
and invalidated once more, which costs time and is never wrong.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from django.db import Error

from ormcache.catalog import Server
from ormcache.catalog.write_triggers import WRITER_SETTING, WRITER_VARIABLE
from ormcache.database.database import Database
from ormcache.utils import drivers
from ormcache.utils.interruptions import UNEXPECTED, let_through

if TYPE_CHECKING:
    from ormcache.connection.protocol import CachedConnection

#: Django's name of a kind of database → the statement that says it
_STATEMENTS = {
    "postgresql": f"SELECT set_config('{WRITER_SETTING}', %s, false)",
    "mysql": f"SET {WRITER_VARIABLE} = %s",
}
#: What no session of ormcache says
_NO_WRITER = 0


class WriterIdentity:
    """What the session of one connection says of itself. The thread that owns the connection owns this."""

    def __init__(self, connection: CachedConnection) -> None:
        self._connection: CachedConnection = weakref.proxy(connection)
        #: whether the open connection leads straight to its server, so that its session may say it
        self.is_allowed = False
        self._said_on: Any = None  # a weak reference to the DB-API connection whose session has said something

    def announce(self, database: Database | None, server: Server | None) -> None:
        """Say which writes of the open connection are published; none without a database.

        ``server``: the one that this connection leads to; another one to the same database may lead there otherwise.
        A failure is ignored: the database then takes the connection for one of a program that ormcache does not see.
        """
        connection = self._connection.connection
        self.is_allowed = server is not None and server.direct and not server.replica
        has_said = self._said_on is not None and self._said_on() is connection
        has_triggers = database is not None and database.catalog_cache.has_write_triggers
        writer = database.rules.writer if database is not None and has_triggers and self.is_allowed else _NO_WRITER
        statement = _STATEMENTS.get(self._connection.vendor)
        if connection is None or statement is None or (writer == _NO_WRITER and not has_said):
            return
        try:
            self._said_on = weakref.ref(connection)
            _run(connection, statement, str(writer) if self._connection.vendor == "postgresql" else writer)
        except (Error, self._connection.Database.Error, *UNEXPECTED) as error:
            let_through(error)


def _run(driver_connection: Any, statement: str, value: str | int) -> None:
    """Run a statement past what watches them, and keep what it sets where the driver begins a transaction for it."""
    commits = drivers.is_idle(driver_connection) and not driver_connection.autocommit
    try:
        with driver_connection.cursor() as cursor:
            cursor.execute(statement, [value])
    finally:
        if commits:
            driver_connection.commit()
