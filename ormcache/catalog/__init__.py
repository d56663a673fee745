"""What the database itself adds: views, cascades, triggers, partitions, functions; and who it is."""

from __future__ import annotations

from types import ModuleType

from ormcache.catalog import mysql, postgresql, sqlite
from ormcache.catalog.catalog import Catalog
from ormcache.catalog.facts import ANYTHING, EPOCH, EVERYTHING, SCHEMA, Path, Server, Standpoint
from ormcache.catalog.neighbours import is_pseudo, split_neighbour
from ormcache.catalog.scope import Scope

#: Django's name of a kind of database → how its catalog is read
READERS: dict[str, ModuleType] = {"postgresql": postgresql, "mysql": mysql, "sqlite": sqlite}

__all__ = [
    "ANYTHING",
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
    "split_neighbour",
]
