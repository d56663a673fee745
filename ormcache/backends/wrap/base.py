"""Any other database backend with the cache in front.

``DATABASES[alias]["ENGINE"]`` is this package, ``DATABASES[alias]["ORMCACHE"]["ENGINE"]`` the backend to wrap.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS
from django.db.utils import load_backend

from ormcache.connection import ConnectionMixin


@cache
def wrapped(engine: str) -> type[Any]:
    """The connection class of ``engine`` with the cache in front. Raises ImproperlyConfigured for no such backend."""
    base = load_backend(engine).DatabaseWrapper
    if issubclass(base, ConnectionMixin):
        raise ImproperlyConfigured(f"the engine {engine!r} has the cache in front already; name it as ENGINE itself")
    return type("DatabaseWrapper", (ConnectionMixin, base), {"__module__": __name__})


class DatabaseWrapper:
    """Makes a connection of the class that the database's settings ask for."""

    def __new__(cls, settings_dict: dict[str, Any], alias: str = DEFAULT_DB_ALIAS) -> Any:
        engine = (settings_dict.get("ORMCACHE") or {}).get("ENGINE")
        if not engine:
            raise ImproperlyConfigured(
                f"the database {alias!r} uses the engine 'ormcache.backends.wrap' and does not say what to wrap; "
                f"put {{'ENGINE': 'dotted.path.of.the.backend'}} into DATABASES[{alias!r}]['ORMCACHE']"
            )
        return wrapped(engine)(settings_dict, alias)
