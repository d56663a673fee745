"""A query-result cache for the Django ORM that is never stale.

Change one line, the ``ENGINE`` of a database, to ``"ormcache.backends.postgresql"`` (``mysql``, ``sqlite3``). What
a program may ask of the cache is here; why a query was not cached is in :mod:`ormcache.reasons`; signals are in
:mod:`ormcache.signals`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ormcache.control import (
        NotCached,
        UnknownTable,
        disabled,
        explain,
        invalidate,
        last_write,
        left_alone,
        report,
        stats,
    )
    from ormcache.marking import WriteRefused
    from ormcache.scope import as_request
    from ormcache.stores.base import StoreUnavailable

__version__ = "0.1.0"

__all__ = [
    "NotCached",
    "StoreUnavailable",
    "UnknownTable",
    "WriteRefused",
    "as_request",
    "disabled",
    "explain",
    "invalidate",
    "last_write",
    "left_alone",
    "report",
    "stats",
]

#: Name → the module that has it. Django imports this package while it loads the apps, when models cannot be imported.
_HOMES = {
    "NotCached": "ormcache.control",
    "StoreUnavailable": "ormcache.stores.base",
    "UnknownTable": "ormcache.control",
    "WriteRefused": "ormcache.marking",
    "as_request": "ormcache.scope",
    "disabled": "ormcache.control",
    "explain": "ormcache.control",
    "invalidate": "ormcache.control",
    "last_write": "ormcache.control",
    "left_alone": "ormcache.control",
    "report": "ormcache.control",
    "stats": "ormcache.control",
}


if not TYPE_CHECKING:  # to whom this function would mean that there is every name

    def __getattr__(name: str) -> Any:
        if name in _HOMES:
            return getattr(import_module(_HOMES[name]), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
