"""Finds the database that belongs to a server: by its identity, and by what the settings say of it."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import django
from django.apps import apps

from ormcache import conf, reasons
from ormcache.catalog import ResolutionContext, Server
from ormcache.conf import Config
from ormcache.database.database import Database
from ormcache.session.primary import identity_behind
from ormcache.session.registry import registry
from ormcache.stores import missing_for_embedded
from ormcache.utils.host import in_container

if TYPE_CHECKING:
    from ormcache.connection.protocol import CachedConnection

logger = logging.getLogger("ormcache")


class Identification:
    """Finds the databases of one alias. The thread that owns the connection owns this."""

    def __init__(self, alias: str, vendor: str) -> None:
        self._alias = alias
        self._vendor = vendor
        self._is_asking_primary = False

    def database_of(
        self,
        server: Server,
        connection: CachedConnection,
        config: Config,
        settings: Mapping[str, Any],
        context: ResolutionContext,
    ) -> Database | str:
        """Return the database of a server, with its catalog; or a bypass reason: why nothing of it can be cached.

        ``settings``: those of the connection. ``context``: its resolution context. Raises the errors of the database.
        """
        kind = self._kind_of_store(config, server, settings)
        if kind is None:
            return reasons.NO_STORE
        if server.replica or config.primary is not None:
            primary = self._identity_of_primary(config)
            if primary is None:
                return reasons.REPLICA
            server = replace(server, identity=primary, replica=True)
        if self._vendor == "sqlite" and kind == "embedded" and config.location is None:
            folder = folder_beside(str(settings["NAME"]))
            # Another container that has the file has not this one's shared memory. What is there, a container has made.
            if folder is not None and (in_container() or os.path.isdir(folder)):
                config = replace(config, location=folder)
        database = registry.database(self._vendor, server, config, kind, _runtime_of(connection))
        if not database.catalog_cache.has_part(context):
            database.catalog_cache.load(connection, context)
        return database

    def _kind_of_store(self, config: Config, server: Server, settings: Mapping[str, Any]) -> str | None:
        """Return the store that is named or follows from where the database is; None: there is none.

        The embedded store is not available on every platform. An application runs there without a cache. Where writes
        are to be refused if other processes are not notified of them, it is a store that does not answer.
        """
        kind = config.store or self._derived_store(server, settings)
        missing = missing_for_embedded() if kind == "embedded" and config.on_outage == "proceed" else None
        if missing is None:
            return kind
        if registry.should_log("missing", self._alias):
            logger.warning("the embedded store of the database %r needs %s: nothing is cached", self._alias, missing)
        return None

    def _derived_store(self, server: Server, settings: Mapping[str, Any]) -> str | None:
        """Return the embedded store where the database is on this host by its address and by its own word."""
        if conf.is_local(settings) and server.local:
            return "embedded"
        if registry.should_log("elsewhere", self._alias):
            logger.warning(
                "the database %r is not certain to be on this host, and no STORE is named in ORMCACHE: "
                "nothing is cached",
                self._alias,
            )
        return None

    def _identity_of_primary(self, config: Config) -> str | None:
        """Return the identity of the primary that is named; None: there is none, or it leads back to this one."""
        if config.primary is None or self._is_asking_primary:
            return None
        self._is_asking_primary = True
        try:
            return identity_behind(config.primary)
        finally:
            self._is_asking_primary = False


def _runtime_of(connection: CachedConnection) -> str:
    """Name what decides the types of values: the driver, Django, and its one app that registers adapters."""
    driver = connection.Database
    adapters = apps.is_installed("django.contrib.postgres")
    return f"{driver.__name__} {getattr(driver, '__version__', '')} {django.VERSION[:2]} {adapters}"


def folder_beside(path: str) -> str | None:
    """Return a folder for the embedded store next to a database file; None for a database in memory."""
    if path == ":memory:" or path.startswith("file:"):
        return None
    folder, name = os.path.split(os.path.realpath(path))
    return os.path.join(folder, f".{name}.ormcache")
