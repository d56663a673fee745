"""Databases of other kinds: what Django's introspection tells of them.

It tells of tables, views and foreign keys. What a view reads, what a foreign key does to rows, what triggers, rules and
functions do it does not: views are not cached, each foreign key counts as one that cascades, and the rest is not seen,
which a system check says.
"""

from __future__ import annotations

from contextlib import closing
from typing import Any

from ormcache import reasons
from ormcache.catalog.facts import EPOCH, Facts, Relation, Server


def identify(connection: Any) -> Server:
    """What the settings of a Django connection say of its server, which cannot be asked in a way that all understand.

    Two users of one database share its relations, whatever names they see them by, and no results.
    """
    given = connection.settings_dict
    place = " ".join(str(given.get(key) or "") for key in ("HOST", "PORT", "NAME"))
    return Server(
        identity=f"{connection.vendor} {place}",
        local=None,
        replica=False,
        settings=(connection.vendor, given.get("USER"), repr(given.get("OPTIONS"))),
        isolation="unknown",
    )


def elsewhere(connection: Any, server: Server) -> dict[str, frozenset[str]]:
    """Nothing is known of other databases: a session that was led to one cannot be followed."""
    return {}


def load(connection: Any) -> Facts:
    """The catalog by Django's introspection."""
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
