"""Reads databases of other kinds by Django's introspection.

Introspection lists tables, views and foreign keys. It does not show what a view reads, what a foreign key does to rows,
or what triggers, rules and functions do: views are not cached, each foreign key counts as one that cascades, and the
rest is ignored, which a system check reports.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import closing
from typing import TYPE_CHECKING

from ormcache import reasons
from ormcache.catalog.facts import EPOCH, WHOLE_CATALOG, Extent, Facts, Relation, Server

if TYPE_CHECKING:
    from ormcache.connection.protocol import CachedConnection


def identify(connection: CachedConnection) -> Server:
    """Return the server that the settings of a connection describe, since there is no question that all servers answer.

    Two users of one database share its relations, whatever names they see them by, and no results.
    """
    given = connection.ormcache.settings
    place = " ".join(str(given.get(key) or "") for key in ("HOST", "PORT", "NAME"))
    return Server(
        identity=f"{connection.vendor} {place}",
        local=None,
        replica=False,
        settings=(connection.vendor, given.get("USER"), repr(given.get("OPTIONS"))),
        isolation="unknown",
    )


def custom_settings(connection: CachedConnection, names: Collection[str]) -> dict[str, str | None]:
    """Return none: only PostgreSQL has custom settings."""
    return {}


def is_same(connection: CachedConnection, server: Server) -> bool:
    """Return True: nothing but the settings is known of the server."""
    return True


def is_there(server: Server) -> bool | None:
    """Return True: nothing but the settings is known of the server."""
    return True


def elsewhere(connection: CachedConnection, server: Server) -> dict[str, frozenset[str]]:
    """Return none: a session that was led to another database cannot be tracked."""
    return {}


def extent(connection: CachedConnection, schemas: frozenset[str] | None) -> Extent:
    """Return that the catalog is read in one go, whatever part of it is wanted."""
    return WHOLE_CATALOG


def load(connection: CachedConnection, extent: Extent = WHOLE_CATALOG) -> Facts:
    """Read the catalog by Django's introspection."""
    introspection = connection.introspection
    # The backend's own cursor, which shows its statements to nobody.
    with closing(connection.create_cursor()) as cursor:
        listed = introspection.get_table_list(cursor)
        tables = [item.name for item in listed if item.type in _TABLES]
        views = [item.name for item in listed if item.type not in _TABLES]
        reaches = [(view, EPOCH) for view in views]
        names = {name.lower(): name for name in tables}
        for table in tables:
            for _, referenced, *_ in introspection.get_relations(cursor, table).values():
                reaches.append((names.get(referenced.lower(), EPOCH), table))
    return Facts(
        relations=[
            *(Relation(name, None, name.lower()) for name in tables),
            *(Relation(name, None, name.lower(), reasons.NOT_UNDERSTOOD) for name in views),
        ],
        reaches=reaches,
    )


#: As TableInfo spells the types: a table, and one that has partitions
_TABLES = frozenset({"t", "p"})
