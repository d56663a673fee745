"""What ormcache knows of one Django connection: its database, its session, and whether it may be cached.

The thread that owns the connection owns this as well; nothing here is locked. ``connect()`` begins it anew, so
that no failure can leave anything behind.
"""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable, Hashable, Mapping
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.db import Error

from ormcache import conf, reasons
from ormcache.catalog import ALL_ROWS, ANYWHERE, READERS, ResolutionContext
from ormcache.conf import Config
from ormcache.context.switch import is_forced_on
from ormcache.database.catalog_cache import SessionBeginning
from ormcache.database.database import Database
from ormcache.exceptions import StoreUnavailable
from ormcache.session.addresses import NEVER
from ormcache.session.code_watch import CodeWatch
from ormcache.session.confirmation import Confirmation, ServerCheck
from ormcache.session.connection_settings import ConnectionSettings
from ormcache.session.entry_prefix import EntryPrefix
from ormcache.session.identification import Identification
from ormcache.session.interception import begins_alike
from ormcache.session.last_hit import VENDORS_WITH_AFTERMATH, LastHit
from ormcache.session.observer import Observer
from ormcache.session.reconnection import ReconnectionDetector
from ormcache.session.registry import registry
from ormcache.session.session_reader import SessionReader
from ormcache.session.tenants import TenantBackend
from ormcache.session.tracker import Session
from ormcache.session.writer_identity import WriterIdentity
from ormcache.sql import UNKNOWN_VENDOR
from ormcache.utils.bounded import Bounded
from ormcache.utils.interruptions import UNEXPECTED, let_through

if TYPE_CHECKING:
    from ormcache.connection.column_cache import ModelColumns
    from ormcache.connection.protocol import CachedConnection

logger = logging.getLogger("ormcache")

#: Models of which one connection remembers the columns
MOST_MODELS = 1024


#: No generation of settings
OUTDATED = -1


class ConnectionState:
    """One Django connection as ormcache sees it."""

    def __init__(self, connection: CachedConnection, observer: Observer) -> None:
        self._connection: CachedConnection = weakref.proxy(connection)
        self.alias = connection.alias
        self.vendor = connection.vendor if connection.vendor in READERS else UNKNOWN_VENDOR
        self.observer = observer
        #: what ``ormcache.connection.column_cache`` remembers of models
        self.columns: Bounded[Any, ModelColumns] = Bounded(MOST_MODELS)

        # What is known
        self.database: Database | None = None
        self.session = Session()
        #: other databases that statements of the session reach: a word by which a statement refers to one ("": every
        #: statement reaches it) → the pseudo relations that stand for all its relations
        self.elsewhere: Mapping[str, frozenset[str]] = {}
        #: why nothing is cached or settled on this connection, whatever the query; None: something may be
        self.bypass_reason: str | None = None
        #: the last hit, where a query leaves something behind in its session that a hit does not; else None
        self.last_hit = LastHit(self.vendor) if self.vendor in VENDORS_WITH_AFTERMATH else None

        # What it is known by
        self.confirmation = Confirmation(self.vendor)
        self._tenants = TenantBackend(connection)
        self.code = CodeWatch(connection, self._tenants.known)
        self._reader = SessionReader(connection, self.vendor)
        self._identification = Identification(self.alias, self.vendor)
        self._reconnection = ReconnectionDetector()
        #: what the session says to the database of itself
        self.writer_identity = WriterIdentity(connection)
        self._prefix = EntryPrefix()
        #: what led to that database, or leads to the next one
        self._connection_settings: ConnectionSettings | None = None
        #: the DB-API connection that session and database were learned from
        self._learned_from: Any = None
        #: the catalog of when the database was remembered for connections that are still to be made
        self._remembered_with: SessionBeginning | None = None
        self._generation = conf.generation  # of the settings, when that was
        self._first_fingerprint = b""  # of the session, when it was learned

        # What is going on
        self.is_connecting = False
        self._is_set_up = True  # by Django, and not by a driver that reconnected
        self._connected_after = 0.0  # by time.monotonic
        #: whether something has run, while statements were not tracked, that may have set something
        self.has_untracked_settings = False
        self._on_new_session: Callable[[], None] = lambda: None

    # Settings -----------------------------------------------------------------------------

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings with which the open connection was made, whatever became of them; else those of now."""
        if self._connection_settings is not None and (self.is_connecting or self._connection.connection is not None):
            return self._connection_settings.settings
        settings: Mapping[str, Any] = self._connection.settings_dict
        return settings

    @property
    def config(self) -> Config:
        """What the settings say of the cache now: on an open connection too, as long as they lead to its database."""
        made, now = self.settings, self._connection.settings_dict
        leads_there = made is now or {**now, "ORMCACHE": None} == {**made, "ORMCACHE": None}
        return conf.config_for(self.alias, now if leads_there else made)

    def _bypass_reason_by_settings(self, config: Config) -> str | None:
        if not (config.enabled or is_forced_on()):
            return reasons.DISABLED
        if self.settings["NAME"] is None or self._connection.alias == "__no_db__":
            return reasons.NO_STORE
        return None

    # Connecting and closing ---------------------------------------------------------------

    def begin_connecting(self) -> None:
        """Record that a connection is about to be made: nothing of an earlier one counts any more."""
        self._connection_settings = ConnectionSettings(self._connection)
        self.database = None
        self.session = Session()
        self.elsewhere = {}
        self.has_untracked_settings = False
        self._learned_from = None
        self._reader.restart()
        self._reconnection.stop()
        self._is_set_up = True
        self.is_connecting = True
        self._generation = OUTDATED
        self._connected_after = time.monotonic()

    def finish_connecting(self) -> None:
        """Record that a connection was made: ask the server who it is and what this session begins with."""
        self.is_connecting = False
        session = Session.take(self._connection.connection)
        session.absorb(self.session)
        self.session = session
        self.learn()

    def fail_connecting(self) -> None:
        """Record that no connection could be made."""
        self.is_connecting = False

    def close(self) -> None:
        """Record that the connection is about to be closed or given back."""
        self._give_up()
        connection = self._connection.connection
        if connection is not None and self._learned_from is connection:
            session = self.session
            session.leave(connection, undone=self.vendor == "postgresql")
            pool = (self.settings.get("OPTIONS") or {}).get("pool")
            if pool and (session.bypass_reason or session.fingerprint != self._first_fingerprint):
                registry.forget_altered(self._key())
                if isinstance(pool, dict) and pool.get("reset") is not None:
                    session.mark_untracked()  # the pool is about to do something to it
        self._generation = OUTDATED  # a signal's handler may use it before it is closed
        self.database = None
        self.session = Session()
        self._learned_from = None
        self._reconnection.stop()
        self._forget_hit()

    def _give_up(self) -> None:
        """Record that nobody will ask this connection any more, or not for what is known of it now."""
        if self.database is not None and self._learned_from is not None:
            self.confirmation.give_up(self.database, self._connection_settings)

    def _forget_hit(self) -> None:
        if self.last_hit is not None:
            self.last_hit.forget()

    # Getting to know the database -------------------------------------------------------

    def learn(self) -> None:
        """Ask the server who it is and what this session has set.

        Only the end makes that count: a signal's handler that uses the connection meanwhile asks for itself, and so
        does the next statement after an exception from outside.
        """
        connection, generation = self._connection, conf.generation
        self._generation = OUTDATED
        if self.has_untracked_settings and self._learned_from is connection.connection:
            self.session.mark_untracked()
        self.has_untracked_settings = False
        self._give_up()
        self._learned_from = connection.connection
        self._reconnection.watch(connection.connection)
        self.database = None
        config = self.config
        self.code.restart()
        self.check_code()
        try:
            self._reconnection.remember()
            self.bypass_reason = self._bypass_reason_by_settings(config) or self._learn_database(config)
        except (Error, connection.Database.Error, ImproperlyConfigured, StoreUnavailable, *UNEXPECTED) as error:
            let_through(error)
            # Whatever it is, the application works without the cache.
            if registry.should_log("unidentified", self.alias):
                logger.exception("the database %r does not report its identity; nothing is cached", self.alias)
            self.bypass_reason = reasons.UNIDENTIFIED
        if self.database is None:
            self.writer_identity.announce(None, None)
        self._generation = generation

    def _learn_database(self, config: Config) -> str | None:
        """Ask the server who it is. Return why nothing can be cached, or None. Raises the errors of the database."""
        asked = time.monotonic()
        server = self._reader.identify(self.session, self.settings)
        context = self.resolution_context()
        database = self._identification.database_of(server, self._connection, config, self.settings, context)
        if isinstance(database, str):
            return database
        self.database = database
        self._reader.read_converters(self.session, self.settings)
        self._reader.read_customs(self.session, database)
        self.confirmation.record_identity(database, server, self._connection_settings, asked)
        self.elsewhere = self._reader.other_databases(server)
        self.writer_identity.announce(database, server)
        if conf.changes and registry.should_log("settings", self.alias):
            # Under other settings writes may have gone untracked: with ENABLED False, with another blacklist.
            database.renew(ALL_ROWS)
        self._first_fingerprint = self.session.fingerprint
        self.observer.connected(database)
        # A default of a role or of the server that has changed between the beginning of this session and the reading of
        # the catalog would never be noticed: the next connection is made, and remembered.
        if (
            server.shared
            and self.code.unknown is None
            and self._is_set_up
            and (self.vendor == "sqlite" or database.catalog_cache.read_after < self._connected_after)
        ):
            registry.remember(self._key(), database, self.session.copy(), database.catalog_cache.session_beginning)
        return None

    def known(self) -> Database | None:
        """Return the database behind this connection, as far as that is known without connecting."""
        if self._connection.connection is not None:
            if self._generation != conf.generation:
                if self.is_connecting:
                    return None
                self.learn()
            if self._reconnection.is_watching and self._reconnection.has_reconnected(self._connection.Database.Error):
                self._learn_new_session()
            return self.database
        return self._recall()

    def _recall(self) -> Database | None:
        """Return the database to which the next connection leads, by what this process remembers; or None."""
        settings, database = self._connection_settings, self.database
        if (
            database is not None
            and settings is not None
            and self._learned_from is None
            and self._generation == conf.generation
            and settings.is_current(self._connection.settings_dict)
            and database.catalog_cache.session_beginning is self._remembered_with
            and _will_convert_alike(self.session)
            and time.monotonic() < self.confirmation.due
        ):
            return database
        self._connection_settings = ConnectionSettings(self._connection)
        self._generation = conf.generation
        config = self.config
        self.bypass_reason = self._bypass_reason_by_settings(config)
        last = None if self.bypass_reason else registry.recall(self._key())
        if last is None or not _will_convert_alike(last[1]) or not begins_alike(self._connection, config.transparent):
            self.database = None
            return None
        until = self.confirmation.good_until(last[0], self._connection_settings)
        if until == NEVER or not self._connection_settings.leads_to(last[0].server.file):
            self.database = None
            return None
        self.confirmation.extend(until)
        self.code.examine_engine(config.transparent)
        self.database, session, self._remembered_with = last
        self.session = session.copy()
        self._learned_from = None
        return self.database

    def _key(self) -> Hashable:
        return (None if self._connection_settings is None else self._connection_settings.key, conf.generation)

    # Sessions -----------------------------------------------------------------------------

    def watch_session(self, on_new_session: Callable[[], None]) -> None:
        """Have this called when the driver is found to have reconnected by itself."""
        self._on_new_session = on_new_session

    def _learn_new_session(self) -> None:
        """Begin anew, because the driver has reconnected: see :mod:`ormcache.session.reconnection`."""
        self._is_set_up = False
        self.session = Session()
        self.has_untracked_settings = False
        self._forget_hit()
        self._on_new_session()
        self.learn()

    def record_untracked(self, *, may_set: bool) -> None:
        """Record that something has run while statements are not tracked. ``may_set``: it may have set anything."""
        self.has_untracked_settings = self.has_untracked_settings or may_set

    def update_elsewhere(self) -> None:
        """Ask for the other databases that the session may have been led to. Raises the errors of the database."""
        if self.database is not None:
            self.elsewhere = self._reader.other_databases(self.database.server)

    # Is it that database still? -------------------------------------------------------------

    def confirm(self) -> bool:
        """Find out, for an open connection of which that is due, whether it leads to the same server still.

        False: it does not, or it cannot be asked, as in a transaction that is broken. Then nothing of what is known may
        be relied on, and outside of a transaction :meth:`known` learns it anew.
        """
        if self.database is None:
            return False
        answer = self.confirmation.confirm(self._connection, self.database, self._connection_settings)
        if answer is ServerCheck.ANOTHER:
            self._generation = OUTDATED
        return answer is ServerCheck.SAME

    def record_answer(self, asked: float) -> None:
        """Record that the database has answered a statement that was begun at ``asked``, by ``time.monotonic``."""
        if self.database is not None:
            self.confirmation.record_answer(self.database, asked)

    def record_commit(self) -> None:
        """Record that what this connection wrote is committed, and settled where the connection is known to lead."""
        if self.confirmation.record_commit(self.database) and not self.confirm() and self._generation == OUTDATED:
            self.learn()

    # What the next query depends on ----------------------------------------------------------

    def check_code(self) -> str | None:
        """Look at the code that takes part in the reads of the open connection. Return the name of what is unknown."""
        if self.code.has_changed():
            self.code.examine(self.config.transparent)
        return self.code.unknown

    @property
    def unknown_in_engine(self) -> str | None:
        """The name of unknown code in the engine below that takes part in every read; None: there is none."""
        return self.code.unknown_in_engine(self.config.transparent)

    @property
    def intercepted_by(self) -> str | None:
        """The name of unknown code that could decide what the next query of the ORM returns; None: there is none."""
        return self.code.unknown_anywhere(self.config.transparent)

    def session_bypass_reason(self) -> str | None:
        """Return why results of the open connection's session cannot be shared, or None."""
        driver_connection = self._learned_from
        if self._connection.connection is not driver_connection:
            return reasons.UNTRACKED_SESSION  # something has put another DB-API connection in place
        session = self.session
        converters = session.converters
        if converters is None or not converters.are_current(driver_connection):
            converters = self._reader.read_converters(session, self.settings)
            if self.check_code() is not None:
                return reasons.INTERCEPTED  # by what makes cursors or rows now
        if converters.digest is None:
            return reasons.CONVERTERS
        if session.bypass_reason is None and not self._is_described() and not self.describe_session():
            return reasons.UNTRACKED_SESSION
        return session.bypass_reason

    def _is_described(self) -> bool:
        if self.session.base is None:
            return False
        database = self.database
        return database is None or self._reader.has_customs_by(database.catalog_cache.session_beginning)

    def describe_session(self) -> bool:
        """Ask the server for what is not known of the open connection's session any more. Return whether it answered.

        In a transaction that is broken it does not, which the query itself will report.
        """
        if self._connection.connection is not self._learned_from:
            return False  # something has put another DB-API connection in place
        try:
            self._reader.read_again(self.session, self.settings, self.database)
        except (Error, self._connection.Database.Error, *UNEXPECTED) as error:
            let_through(error)
            return False
        return True

    def prefix(self, database: Database) -> bytes:
        """Return what the names of all entries of this session have in common."""
        if self.session.base is None and self._connection.connection is not None:
            self._reader.read_again(self.session, self.settings, self.database)
        return self._prefix.compute(self._connection, database, self.session, self._tenants)

    @property
    def tenant(self) -> str | None:
        """The schema that a backend below makes cursors for; None: none does so."""
        schema = self._tenants.schema
        return None if schema is None else str(schema)

    def record_cursor(self) -> None:
        """Record that the backend below has made a cursor."""
        self._tenants.record_cursor(self.session)

    def resolution_context(self, cursor: Any = None) -> ResolutionContext:
        """Return in which context the next query of the ORM looks names up, or a statement on an existing cursor."""
        if self.vendor != "postgresql":
            return ANYWHERE
        driver_connection = self._connection.connection
        if driver_connection is not self._learned_from and (driver_connection is not None or cursor is not None):
            return ANYWHERE  # something has put another DB-API connection in place
        if self.code.unknown is not None:
            return ANYWHERE  # what it sets is unknown
        return self._tenants.resolution_context(self.session, has_cursor=cursor is not None)


def _will_convert_alike(session: Session) -> bool:
    """Return whether the next connection's driver will make the same of values as the last one's, of this session."""
    converters = session.converters
    return converters is not None and converters.digest is not None and converters.are_current(None)
