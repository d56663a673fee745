"""The databases that go through ormcache."""

from __future__ import annotations

import difflib
from typing import Any

from django.db import connections

from ormcache.connection import ConnectionMixin


class NotCached(LookupError):
    """A database alias that does not lead through ormcache; the text says why."""


def cached_aliases() -> list[str]:
    """Those in ``DATABASES`` whose engine is one of ormcache."""
    return [alias for alias in connections if isinstance(connections[alias], ConnectionMixin)]


def connection_to(alias: str) -> Any:
    """The connection of this alias, as it is. Raises NotCached."""
    if alias not in connections.settings:
        near = difflib.get_close_matches(alias, connections.settings, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else "There are " + ", ".join(map(repr, connections.settings)) + "."
        raise NotCached(f"There is no database {alias!r} in DATABASES. {hint}")
    connection = connections[alias]
    if not isinstance(connection, ConnectionMixin):
        engine = connection.settings_dict["ENGINE"]
        raise NotCached(f"The database {alias!r} does not go through ormcache: its ENGINE is {engine!r}.")
    return connection
