"""Looks up this thread's connections that go through ormcache."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeGuard

from django.db import connections

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

    from ormcache.connection.protocol import CachedConnection


def is_cached(connection: BaseDatabaseWrapper) -> TypeGuard[CachedConnection]:
    """Return whether a Django connection goes through ormcache."""
    return hasattr(connection, "ormcache")


def cached_connection(alias: str) -> CachedConnection | None:
    """Return this thread's connection of an alias; None if it does not go through ormcache."""
    connection = connections[alias]
    return connection if is_cached(connection) else None
