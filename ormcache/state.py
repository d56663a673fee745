"""What ormcache knows of one Django connection: its database, its session and what its transaction has touched.

The thread that owns the connection owns this as well; nothing here is locked. ``connect()`` begins it anew, so
that no failure can leave anything behind.
"""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import django
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import Error, connections

from ormcache import conf, reasons
from ormcache.catalog import ANYWHERE, EVERYTHING, READERS, Server, Standpoint, reader_of
from ormcache.conf import Config
from ormcache.database import Database
from ormcache.figures import figures_of
from ormcache.host import in_container
from ormcache.publishing import publisher
from ormcache.registry import begins_alike, registry
from ormcache.session import Session
from ormcache.sql import OTHER
from ormcache.switch import forces_on, is_disabled
from ormcache.tenants import Below

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

logger = logging.getLogger("ormcache")


class State:
    """One Django connection as ormcache sees it."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self._connection = weakref.proxy(connection)
        self.alias = connection.alias
        self.vendor = connection.vendor if connection.vendor in READERS else OTHER
        self.figures = figures_of(connection.alias)
        self.database: Database | None = None
        self.session = Session()
        #: other databases that it was led to: a word of the statements that mean one, or "" for all of them → what
        #: stands for all that it holds
        self.elsewhere: Mapping[str, frozenset[str]] = {}
        #: while nothing was followed, has anything run that may have set something?
        self.unseen = False
        #: why nothing is cached or settled on this connection, whatever the query
        self.obstacle: str | None = None
        #: the DB-API connection that session and database were learned from
        self._learned_from: Any = None
        self._connecting = False
        self._begun = b""  # the session's fingerprint when it was met
        self._generation = conf.generation
        self._prefix: tuple[Database, bytes, tuple[Any, ...], bytes] | None = None
        self._below = Below(connection)
        #: what ``ormcache.columns`` remembers of models
        self.columns: dict[Any, Any] = {}

    # Getting to know the database -------------------------------------------------------

    @property
    def config(self) -> Config:
        return conf.config_for(self.alias, self._connection.settings_dict)

    def connecting(self) -> None:
        """A connection is about to be made: nothing of an earlier one counts any more."""
        self.database = None
        self.session = Session()
        self.elsewhere = {}
        self.unseen = False
        self._learned_from = None
        self._connecting = True

    def connected(self) -> None:
        """A connection was made: ask the server who it is and what this session begins with."""
        self._connecting = False
        connection = self._connection
        taken = Session.taken(connection.connection)
        taken.absorb(self.session)
        self.session = taken
        self.learn()

    def not_connected(self) -> None:
        """There was none to be had."""
        self._connecting = False

    def learn(self) -> None:
        connection = self._connection
        if self.unseen and self._learned_from is connection.connection:
            self.session.unfollowed()
        self.unseen = False
        self._generation = conf.generation
        self._learned_from = connection.connection
        self.database = None
        config = self.config
        try:
            self.obstacle = self._judge(config) or self._meet(config)
        except ImproperlyConfigured:
            raise
        except Exception:
            # Whatever it is, the application works without the cache.
            if registry.first_time("unidentified", self.alias):
                logger.exception("the database %r does not tell who it is; nothing is cached", self.alias)
            self.obstacle = reasons.UNIDENTIFIED

    def _meet(self, config: Config) -> str | None:
        """Ask the server who it is. Returns why nothing can be cached, or None."""
        connection = self._connection
        server = self._identified()
        kind = config.store or self._derived_store(server)
        if kind is None:
            return reasons.NO_STORE
        if server.replica or config.primary is not None:
            primary = None if config.primary is None else _identity_of(config.primary)
            if primary is None:
                return reasons.REPLICA
            server = replace(server, identity=primary, replica=True)
        if self.vendor == "sqlite" and kind == "embedded" and config.location is None and in_container():
            # Another container that has the file has not this one's shared memory.
            config = replace(config, location=beside(str(connection.settings_dict["NAME"])))
        driver = connection.Database
        # The driver, Django, and the one app of Django's that registers adapters decide the types of values.
        adapters = apps.is_installed("django.contrib.postgres")
        runtime = f"{driver.__name__} {getattr(driver, '__version__', '')} {django.VERSION[:2]} {adapters}"
        database = registry.database(self.vendor, server, config, kind, runtime)
        if not database.has_catalog:
            database.load_catalog(connection)
        self.database = database
        self._look_elsewhere(server)
        if conf.changes and registry.first_time("settings", self.alias):
            # Under other settings writes may have passed unseen: with ENABLED False, with another blacklist.
            database.renew(EVERYTHING)
        self._begun = self.session.fingerprint
        publisher.met(self.figures, database)
        if server.shared:
            registry.met(self._key(), database, self.session.copied())
        return None

    def look_elsewhere(self) -> None:
        """The session may have been led to other databases."""
        if self.database is not None:
            self._look_elsewhere(self.database.server)

    def _look_elsewhere(self, server: Server) -> None:
        self.elsewhere = reader_of(self.vendor).elsewhere(self._connection, server)

    def _identified(self) -> Server:
        connection = self._connection
        server: Server = reader_of(self.vendor).identify(connection)
        self.session.described(
            (*server.settings, *self._given()),
            server.isolation,
            path=server.path,
            user=server.user,
            pooled=server.pooled,
        )
        if not server.understood:
            self.session.unfollowed()
            self.session.hides = True
        if server.pooled and (connection.settings_dict.get("OPTIONS") or {}).get("assume_role"):
            self.session.unfollowed()  # Django sets it on whichever of the server's sessions it meets first
        return server

    def _given(self) -> tuple[str, ...]:
        """What the driver is told to set, which no statement shows."""
        options = self._connection.settings_dict.get("OPTIONS") or {}
        return (
            str(options.get("options", "")),
            str(options.get("init_command", "")),
            os.environ.get("PGOPTIONS", "") if self.vendor == "postgresql" else "",
        )

    def _judge(self, config: Config) -> str | None:
        if not (config.enabled or forces_on()):
            return reasons.DISABLED
        if self._connection.settings_dict["NAME"] is None or self._connection.alias == "__no_db__":
            return reasons.NO_STORE
        return None

    def _derived_store(self, server: Server) -> str | None:
        """The embedded store where the database is on this host by its address and by its own word."""
        if conf.is_local(self._connection.settings_dict) and server.local:
            return "embedded"
        if registry.first_time("elsewhere", self.alias):
            logger.warning(
                "the database %r is not certain to be on this host, and no STORE is named in ORMCACHE: "
                "nothing is cached",
                self.alias,
            )
        return None

    def _key(self) -> Hashable:
        given = self._connection.settings_dict
        place = (str(given.get(key)) for key in ("NAME", "HOST", "PORT", "USER"))
        return (self.alias, conf.generation, *place, *self._given())

    # Being asked ------------------------------------------------------------------------

    def known(self) -> Database | None:
        """The database behind this connection, as far as that is known without connecting."""
        if self._connection.connection is not None:
            if self._generation != conf.generation:
                self.learn()
            return self.database
        return self._recalled()

    def _recalled(self) -> Database | None:
        if self.database is not None and self._learned_from is None and self._generation == conf.generation:
            return self.database
        self._generation = conf.generation
        self.obstacle = self._judge(self.config)
        last = None if self.obstacle else registry.last(self._key())
        if last is None or not begins_alike(self._connection):
            self.database = None
            return None
        self.database, session = last
        self.session = session.copied()
        self._learned_from = None
        return self.database

    def closed(self) -> None:
        """The connection is about to be closed or given back."""
        connection = self._connection.connection
        if connection is not None and self._learned_from is connection:
            session = self.session
            session.leave(connection, undone=self.vendor == "postgresql")
            pooled = (self._connection.settings_dict.get("OPTIONS") or {}).get("pool")
            if pooled and (session.obstacle or session.fingerprint != self._begun):
                registry.altered(self._key())
                if isinstance(pooled, dict) and pooled.get("reset") is not None:
                    session.unfollowed()  # the pool is about to do something to it
        self.database = None
        self.session = Session()
        self._learned_from = None

    @property
    def is_connecting(self) -> bool:
        return self._connecting

    @property
    def session_obstacle(self) -> str | None:
        """Why results of this session cannot be shared, or None."""
        if self._connection.connection is not self._learned_from or self._below.is_unknown:
            return reasons.SESSION  # somebody has put another DB-API connection in place, or sets nobody knows what
        session = self.session
        if session.base is None and session.obstacle is None:
            try:
                self._identified()
            except Exception:
                return reasons.SESSION  # in a transaction that is broken; the query will say so
        return session.obstacle

    def prefix(self, database: Database) -> bytes:
        """What the names of all entries of this session have in common."""
        session, connection = self.session, self._connection
        if session.base is None and connection.connection is not None:
            self._identified()
        fingerprint = session.fingerprint
        # Without USE_TZ, and in a session that is in UTC either way, drivers hand out naive times.
        told, coming = self._below.told(session)
        besides = (connection.timezone, *told)
        kept = self._prefix
        if kept is not None and kept[0] is database and kept[1] == fingerprint and kept[2] == besides:
            return kept[3]
        # The path that such a connection was left in is not the one in which the query would run.
        described = fingerprint if coming is None else session.fingerprint_along(coming)
        prefix = database.namespace + described + repr(besides).encode("utf-8", "surrogatepass")
        self._prefix = (database, fingerprint, besides, prefix)
        return prefix

    @property
    def tenant(self) -> str | None:
        """The schema that a backend below makes cursors for; None: none does so."""
        schema = self._below.schema
        return None if schema is None else str(schema)

    def cursor_made(self) -> None:
        """The backend below has made a cursor."""
        self._below.cursor_made(self.session)

    def standpoint(self, cursor: Any = None) -> Standpoint:
        """From where the next query of the ORM sees the catalog, or a statement on a cursor that is there already."""
        if self.vendor != "postgresql":
            return ANYWHERE
        made = self._connection.connection
        if made is not self._learned_from and (made is not None or cursor is not None):
            return ANYWHERE  # somebody has put another DB-API connection in place
        return self._below.standpoint(self.session, on_cursor=cursor is not None)

    @property
    def disabled(self) -> bool:
        return is_disabled()


def beside(path: str) -> str | None:
    """A folder for the embedded store next to a database file; None for a database in memory."""
    if path == ":memory:" or path.startswith("file:"):
        return None
    folder, name = os.path.split(os.path.realpath(path))
    return os.path.join(folder, f".{name}.ormcache")


def _identity_of(alias: str) -> str | None:
    """The identity of the database behind another alias, which is connected to if this process has never been.

    None if it is not cached, or cannot be asked.
    """
    primary: Any = connections[alias]
    state: State | None = getattr(primary, "ormcache", None)
    if state is None:
        return None
    database = state.known()
    if database is None:
        try:
            primary.ensure_connection()
        except Error:
            return None
        database = state.known()
    return None if database is None else database.identity
