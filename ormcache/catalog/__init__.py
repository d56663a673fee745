"""What the database itself adds: views, cascades, triggers, partitions, functions; and who it is."""

from __future__ import annotations

from types import ModuleType

from ormcache.catalog import mysql, postgresql, sqlite
from ormcache.catalog.base import EPOCH, EVERYTHING, SCHEMA, Catalog, Server

#: Django's name of a kind of database → how its catalog is read
READERS: dict[str, ModuleType] = {"postgresql": postgresql, "mysql": mysql, "sqlite": sqlite}

__all__ = ["EPOCH", "EVERYTHING", "READERS", "SCHEMA", "Catalog", "Server"]
