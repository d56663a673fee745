"""Reads from a database what its SQL does not show: its identity, views, cascades, triggers, partitions, functions.

* :class:`Reader` is what each of the modules ``postgresql``, ``mysql``, ``sqlite`` and ``generic`` implements: they ask
  a database, and return ``facts``. ``row_keys`` describes the columns that identify rows.
* ``catalog`` is where to begin with the conclusions: a :class:`Catalog` holds the facts of a database, and has a
  :class:`Resolver` (``resolver``) for each resolution context. The resolver uses ``lookup`` (which relations a name can
  mean), ``views``, ``functions``, ``schemas`` (what a schema change invalidates), ``other_databases`` and
  ``settings_read``.
* ``provenance`` explains to people why a relation is among those of a statement.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Protocol

from ormcache.catalog import generic, mysql, postgresql, sqlite
from ormcache.catalog.catalog import Catalog
from ormcache.catalog.facts import (
    ALL_ROWS,
    ALL_ROWS_AND_SCHEMA,
    ANYWHERE,
    EPOCH,
    SCHEMA,
    WHOLE_CATALOG,
    Extent,
    Facts,
    Path,
    ResolutionContext,
    Server,
    input_relation,
    is_of_input,
    is_of_schema,
)
from ormcache.catalog.other_databases import is_pseudo, split_database
from ormcache.catalog.outbox import is_outbox
from ormcache.catalog.resolver import Resolver
from ormcache.catalog.schemas import StatementChanges

if TYPE_CHECKING:
    from ormcache.connection.protocol import CachedConnection


class Reader(Protocol):
    """Asks one kind of database, through a Django connection, without passing what watches its statements."""

    def identify(self, connection: CachedConnection) -> Server:
        """Return the server behind a connection that was just made."""

    def is_same(self, connection: CachedConnection, server: Server) -> bool:
        """Ask an open connection whether the server behind it is still this one."""

    def is_there(self, server: Server) -> bool | None:
        """Return whether a new connection would lead to this server; None: only a connection can show."""

    def elsewhere(self, connection: CachedConnection, server: Server) -> dict[str, frozenset[str]]:
        """Return the other databases that a session was led to.

        Maps a word by which statements refer to one, or "" for any statement, to what stands for all its relations.
        """

    def custom_settings(self, connection: CachedConnection, names: Collection[str]) -> dict[str, str | None]:
        """Return the values in this session of these custom settings, and of those that sessions can begin with."""

    def extent(self, connection: CachedConnection, schemas: frozenset[str] | None) -> Extent:
        """Return what has to be read for statements about these schemas, folded; None: about any schema.

        It includes the schemas that these depend on.
        """

    def load(self, connection: CachedConnection, extent: Extent = WHOLE_CATALOG) -> Facts:
        """Read the catalog of these schemas as it is now. Raises the errors of the database."""


#: Django's name of a kind of database → how its catalog is read
READERS: dict[str, Reader] = {"postgresql": postgresql, "mysql": mysql, "sqlite": sqlite}


def reader_of(vendor: str) -> Reader:
    """Return the reader of a kind of database: of an unknown kind, the one that uses Django's introspection."""
    return READERS.get(vendor, generic)


__all__ = [
    "ALL_ROWS",
    "ALL_ROWS_AND_SCHEMA",
    "ANYWHERE",
    "EPOCH",
    "READERS",
    "SCHEMA",
    "WHOLE_CATALOG",
    "Catalog",
    "Extent",
    "Path",
    "ResolutionContext",
    "Resolver",
    "Server",
    "StatementChanges",
    "input_relation",
    "is_of_input",
    "is_of_schema",
    "is_outbox",
    "is_pseudo",
    "reader_of",
    "split_database",
]
