"""Puts the cache in front of any other database backend.

``DATABASES[alias]["ENGINE"]`` is this package, ``DATABASES[alias]["ORMCACHE"]["ENGINE"]`` the backend to wrap.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS
from django.db.utils import load_backend

from ormcache.backends.server_tasks import SERVER_TASKS
from ormcache.connection.mixins import ConnectionMixin


@lru_cache(maxsize=64)
def wrap(engine: str) -> type[Any]:
    """Return the connection class of ``engine`` with the cache in front. Raises ImproperlyConfigured."""
    base = load_backend(engine).DatabaseWrapper
    if base is DatabaseWrapper:
        raise ImproperlyConfigured(f"{engine!r} cannot wrap itself; name the engine that it is to wrap")
    if issubclass(base, ConnectionMixin):
        raise ImproperlyConfigured(f"the engine {engine!r} has the cache in front already; name it as ENGINE itself")
    return type("DatabaseWrapper", (ConnectionMixin, base), {"__module__": __name__, "ormcache_tasks": SERVER_TASKS})


class DatabaseWrapper:
    """Makes connections of the wrapped class that the database's settings name."""

    def __new__(cls, settings_dict: dict[str, Any], alias: str = DEFAULT_DB_ALIAS) -> Any:
        engine = (settings_dict.get("ORMCACHE") or {}).get("ENGINE")
        if not engine:
            raise ImproperlyConfigured(
                f"the database {alias!r} uses the engine 'ormcache.backends.wrap' and does not say what to wrap; "
                f"put {{'ENGINE': 'dotted.path.of.the.backend'}} into DATABASES[{alias!r}]['ORMCACHE']"
            )
        return wrap(engine)(settings_dict, alias)
