"""Database aliases, and which of them go through ormcache."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from django.db import connections

from ormcache.connection.mixins import ConnectionMixin
from ormcache.exceptions import NotCached

if TYPE_CHECKING:
    from ormcache.connection.protocol import CachedConnection


def cached_aliases() -> list[str]:
    """Return the aliases in ``DATABASES`` with an engine of ormcache."""
    return [alias for alias in connections if isinstance(connections[alias], ConnectionMixin)]


def connection_to(alias: str) -> CachedConnection:
    """Return the connection of an alias, open or not. Raises NotCached if it does not go through ormcache."""
    if alias not in connections.settings:
        near = difflib.get_close_matches(alias, connections.settings, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else "There are " + ", ".join(map(repr, connections.settings)) + "."
        raise NotCached(f"There is no database {alias!r} in DATABASES. {hint}")
    connection = connections[alias]
    if not isinstance(connection, ConnectionMixin):
        engine = connection.settings_dict["ENGINE"]
        raise NotCached(f"The database {alias!r} does not go through ormcache: its ENGINE is {engine!r}.")
    return connection
