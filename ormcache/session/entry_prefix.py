"""Computes what the names of all entries of one session have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ormcache.database.database import Database
from ormcache.session.tenants import TenantBackend
from ormcache.session.tracker import Session

if TYPE_CHECKING:
    from ormcache.connection.protocol import CachedConnection


class EntryPrefix:
    """The last prefix of one connection, with what it was computed from. The thread that owns it owns this."""

    __slots__ = ("_besides", "_database", "_fingerprint", "_prefix")

    def __init__(self) -> None:
        self._database: Database | None = None
        self._fingerprint = b""
        self._besides: tuple[Any, ...] = ()
        self._prefix = b""

    def compute(
        self, connection: CachedConnection, database: Database, session: Session, tenants: TenantBackend
    ) -> bytes:
        """Return the prefix for the next query of the ORM."""
        fingerprint = session.fingerprint
        parts, path = tenants.key_parts(session)
        converters = session.converters
        # Without USE_TZ, and in a session that is in UTC either way, drivers hand out naive times.
        besides = (connection.timezone, converters and converters.digest, *parts)
        if self._database is database and self._fingerprint == fingerprint and self._besides == besides:
            return self._prefix
        # The path that such a connection was left in is not the one in which the query would run.
        described = fingerprint if path is None else session.fingerprint_along(path)
        prefix = database.namespace + described + repr(besides).encode("utf-8", "surrogatepass")
        self._database, self._fingerprint, self._besides, self._prefix = database, fingerprint, besides, prefix
        return prefix
