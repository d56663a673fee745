"""Confirms that a connection, or the next one, leads to the database that it led to before.

What confirms that, and for how long, is the subject of :mod:`ormcache.session.addresses`.
"""

from __future__ import annotations

import time
from enum import Enum, auto
from typing import TYPE_CHECKING

from django.db import Error

from ormcache.catalog import Server, reader_of
from ormcache.database.database import Database
from ormcache.exceptions import StoreUnavailable
from ormcache.session.addresses import ALWAYS, NEVER, address_of
from ormcache.session.connection_settings import ConnectionSettings
from ormcache.session.primary import identity_behind
from ormcache.utils.interruptions import UNEXPECTED, let_through

if TYPE_CHECKING:
    from ormcache.connection.protocol import CachedConnection


class ServerCheck(Enum):
    """What came of asking whether a connection leads to the same server still."""

    SAME = auto()
    ANOTHER = auto()
    UNKNOWN = auto()  # it cannot be asked just now, as in a transaction that is broken


class Confirmation:
    """Decides when to ask whether a connection still leads to its database. Owned by the connection's thread."""

    def __init__(self, vendor: str) -> None:
        self._reader = reader_of(vendor)
        #: the ``time.monotonic`` from which what is known of the database has to be confirmed
        self.due = NEVER
        self._is_doubted = False  # only the answer of the open connection itself confirms it
        #: what the open connection leads to; another one to the same database may lead there by a proxy, or straight
        self._server: Server | None = None

    def good_until(self, database: Database, settings: ConnectionSettings | None) -> float:
        """Return until when a database may be relied on, by ``time.monotonic``; NEVER: it must be asked."""
        if database.config.name is not None:
            return ALWAYS
        if not database.server.replica:
            is_there = self._reader.is_there(database.server)
            if is_there is not None:
                return time.monotonic() + database.config.identity_max_age if is_there else NEVER
        return NEVER if settings is None else address_of(settings).good_until(database)

    def extend(self, until: float) -> None:
        """Record that the database may be relied on until then, by ``time.monotonic``."""
        self.due = until

    def confirm(
        self, connection: CachedConnection, database: Database, settings: ConnectionSettings | None
    ) -> ServerCheck:
        """Find out, for an open connection of which that is due, whether it leads to the same server still."""
        if self.due == ALWAYS:
            return ServerCheck.SAME
        until = NEVER if self._is_doubted else self.good_until(database, settings)
        if until != NEVER:
            self.due = until
            return ServerCheck.SAME
        asked = time.monotonic()
        try:
            is_same = self._is_same(connection, database)
        except (Error, connection.Database.Error, StoreUnavailable, *UNEXPECTED) as error:
            let_through(error)
            return ServerCheck.UNKNOWN
        if not is_same:
            return ServerCheck.ANOTHER
        self._record(database, settings, asked, is_new=False)
        return ServerCheck.SAME

    def _is_same(self, connection: CachedConnection, database: Database) -> bool:
        if database.server.replica and database.config.primary is not None:
            return identity_behind(database.config.primary) == database.server.identity
        return self._reader.is_same(connection, database.server)

    def record_identity(
        self, database: Database, server: Server, settings: ConnectionSettings | None, asked: float
    ) -> None:
        """Record that a connection was just made, and that this server was its database's when it was asked.

        ``asked``: by ``time.monotonic``.
        """
        self._server = server
        self._record(database, settings, asked, is_new=True)

    def _record(self, database: Database, settings: ConnectionSettings | None, asked: float, *, is_new: bool) -> None:
        """Record that the server of the open connection was that of this database when it was asked.

        ``is_new``: the connection was just made. Only then, or through a pooler, does it show where the next one leads:
        an old one stays with its server when the address leads to another one by now.
        """
        self.due, self._is_doubted = ALWAYS, False
        if database.config.name is not None or not database.server.shared or settings is None:
            return
        if database.server.replica or self._reader.is_there(database.server) is None:
            if is_new or not self._server_of(database).direct:
                self.due = address_of(settings).answered(database, asked)
            else:
                self.due = asked + database.config.identity_max_age

    def record_answer(self, database: Database, asked: float) -> None:
        """Record that the database has answered a statement that was begun at ``asked``, by ``time.monotonic``.

        A connection with nothing but its server behind it does not outlive it.
        """
        if self._server_of(database).steady and not database.server.replica and self.due != ALWAYS:
            self.due = asked + database.config.identity_max_age

    def record_commit(self, database: Database | None) -> bool:
        """Record that the database has committed something. Return whether it has to be confirmed now."""
        if self.due == ALWAYS:
            return False  # a file does not become another one, nor what NAME names
        now = time.monotonic()
        if not self._is_doubted and database is not None:
            self.record_answer(database, now)
        return now >= self.due

    def doubt(self) -> None:
        """Have the open connection asked before long: the schema has changed, which can mean that the server has."""
        if self.due != ALWAYS:
            self.due, self._is_doubted = NEVER, True

    def _server_of(self, database: Database) -> Server:
        return database.server if self._server is None else self._server

    def give_up(self, database: Database, settings: ConnectionSettings | None) -> None:
        """Record that nobody will ask this connection any more, or not for what is known of it now."""
        if self.due != ALWAYS and not self._server_of(database).direct and settings is not None:
            address_of(settings).leave(database)
