"""What the database itself adds: views, cascades, triggers, partitions, functions; and who it is."""

from __future__ import annotations

from typing import Any, Protocol

from ormcache.catalog import mysql, other, postgresql, sqlite
from ormcache.catalog.catalog import Catalog
from ormcache.catalog.facts import ANYTHING, ANYWHERE, EPOCH, EVERYTHING, SCHEMA, Facts, Path, Server, Standpoint
from ormcache.catalog.neighbours import is_pseudo, split_neighbour
from ormcache.catalog.scope import Scope


class Reader(Protocol):
    """What is asked of a kind of database, through a Django connection, past everything that watches statements."""

    def identify(self, connection: Any) -> Server:
        """Who is the server behind a connection that was just made?"""

    def elsewhere(self, connection: Any, server: Server) -> dict[str, frozenset[str]]:
        """The other databases that a session was led to.

        A word of the statements that mean one, or "" for all of them → what stands for all that it holds.
        """

    def load(self, connection: Any) -> Facts:
        """The catalog as it is now."""


#: Django's name of a kind of database → how its catalog is read
READERS: dict[str, Reader] = {"postgresql": postgresql, "mysql": mysql, "sqlite": sqlite}


def reader_of(vendor: str) -> Reader:
    """How the catalog of a database is read; of a kind that is not known, by Django's introspection."""
    return READERS.get(vendor, other)


__all__ = [
    "ANYTHING",
    "ANYWHERE",
    "EPOCH",
    "EVERYTHING",
    "READERS",
    "SCHEMA",
    "Catalog",
    "Path",
    "Scope",
    "Server",
    "Standpoint",
    "is_pseudo",
    "reader_of",
    "split_neighbour",
]
