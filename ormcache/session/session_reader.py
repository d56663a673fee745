"""Asks the server, and the driver, what the session of one connection has set."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ormcache.catalog import Server, reader_of
from ormcache.database.catalog_cache import SessionBeginning
from ormcache.database.database import Database
from ormcache.session.converters import Converters, converters_of
from ormcache.session.tracker import Session

if TYPE_CHECKING:
    from ormcache.connection.protocol import CachedConnection


class SessionReader:
    """Reads what statements do not show of a session. The thread that owns the connection owns this."""

    def __init__(self, connection: CachedConnection, vendor: str) -> None:
        self._connection: CachedConnection = weakref.proxy(connection)
        self._reader = reader_of(vendor)
        #: what sessions began with when the session's custom settings were asked for
        self._customs_by: SessionBeginning | None = None

    def restart(self) -> None:
        """Have the custom settings asked for anew, because the session is another one."""
        self._customs_by = None

    def identify(self, session: Session, settings: Mapping[str, Any]) -> Server:
        """Ask the server who it is and what the session has set. ``settings``: those that the connection is made with.

        Raises the errors of the database.
        """
        server = self._reader.identify(self._connection)
        session.describe(
            (*server.settings, *self._driver_settings(settings)),
            server.isolation,
            path=server.path,
            user=server.user,
            pooled=server.pooled,
        )
        if not server.understood:
            session.mark_untracked()
            session.make_opaque()
        if server.pooled and (settings.get("OPTIONS") or {}).get("assume_role"):
            session.mark_untracked()  # Django sets it on whichever of the server's sessions it meets first
        return server

    def _driver_settings(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        """Return what the driver sets in a new session, which no statement shows."""
        options = settings.get("OPTIONS") or {}
        # By the settings, a service file or the environment. (mysqlclient has a method ``info``.)
        info = getattr(self._connection.connection, "info", None)
        return str(getattr(info, "options", "")), str(options.get("init_command", ""))

    def read_converters(self, session: Session, settings: Mapping[str, Any]) -> Converters:
        """Find out what the driver makes of values."""
        converters = converters_of(self._connection.connection, settings.get("OPTIONS") or {})
        session.use_converters(converters)
        return converters

    def has_customs_by(self, beginning: SessionBeginning | None) -> bool:
        """Return whether the custom settings were read that sessions begin with by now, and code reads."""
        return beginning is self._customs_by

    def read_customs(self, session: Session, database: Database) -> None:
        """Ask for the custom settings that the session began with, once for all code that reads the same ones.

        Raises the errors of the database.
        """
        beginning, before = database.catalog_cache.session_beginning, self._customs_by
        names: frozenset[str] = frozenset() if beginning is None else beginning.custom_settings
        if before is None or before.custom_settings != names:
            session.set_customs(self._reader.custom_settings(self._connection, names))
        self._customs_by = beginning

    def read_again(self, session: Session, settings: Mapping[str, Any], database: Database | None) -> None:
        """Ask for what is not known of the session any more, or is read by something new.

        Raises the errors of the database.
        """
        if session.base is None:
            self.identify(session, settings)
            self._customs_by = None
        if database is not None:
            self.read_customs(session, database)

    def other_databases(self, server: Server) -> Mapping[str, frozenset[str]]:
        """Ask which other databases statements of the session reach.

        Returns a word by which a statement refers to one ("": every statement reaches it) → the pseudo relations that
        stand for all its relations.
        """
        return self._reader.elsewhere(self._connection, server)
