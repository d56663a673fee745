"""Decides whether what is derived may be served on this thread's connections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS

from ormcache import reasons
from ormcache.context.switch import mode
from ormcache.read_path.eligibility import connection_reason
from ormcache.session.connections import cached_connection

if TYPE_CHECKING:
    from ormcache.connection.protocol import CachedConnection
    from ormcache.database.database import Database


def connection_of(alias: str | None) -> CachedConnection | None:
    """Return this thread's connection of an alias; None for the default one, or else the first that is cached."""
    if alias is not None:
        return _cached_connection(alias)
    for each in (DEFAULT_DB_ALIAS, *settings.DATABASES):
        connection = _cached_connection(each)
        if connection is not None:
            return connection
    return None


def _cached_connection(alias: str) -> CachedConnection | None:
    """Return this thread's connection of an alias; None if it is not cached, or if there can be none."""
    try:
        return cached_connection(alias) if alias in settings.DATABASES else None
    except ImproperlyConfigured:
        return None


def is_signed(alias: str | None) -> bool:
    """Return whether all that is read of the store of an alias carries a digest that nobody else can make."""
    connection = connection_of(alias)
    database = None if connection is None else connection.ormcache.known()
    return database is not None and database.config.sign


def is_session(alias: Any, session: Any) -> bool:
    """Return whether this thread's connection of an alias has this session, and may be served what was read in it.

    Raises StoreUnavailable.
    """
    connection = connection_of(alias) if type(alias) is str else None
    database = None if connection is None else connection.ormcache.known()
    return (
        connection is not None
        and database is not None
        and reason_against(connection, database) is None  # which also asks for what the session has set, if need be
        and connection.ormcache.prefix(database) == session
        and (database.commits is None or not database.commits.have_moved())
    )


def reason_against(connection: CachedConnection, database: Database) -> str | None:
    """Return why something derived may not be served on this connection now, whatever it depends on; or None."""
    state, transaction = connection.ormcache, connection.ormcache_writes.transaction
    if connection.needs_rollback:
        return reasons.BROKEN_TRANSACTION
    if database.config.observes and mode() is None:
        return reasons.OBSERVE
    reason = connection_reason(connection, state, transaction, database, None)
    if reason is not None:
        return reason
    if state.vendor == "sqlite" and connection.connection is not None and transaction.is_open_on(connection):
        return reasons.SNAPSHOT
    return None
