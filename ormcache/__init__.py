"""A query-result cache for the Django ORM that is never stale.

Change one line, the ``ENGINE`` of a database, to ``"ormcache.backends.postgresql"`` (``mysql``, ``sqlite3``). The
functions that programs call are here; :mod:`ormcache.reasons` names the reasons why a query was not cached,
:mod:`ormcache.signals` has the signals, and :mod:`ormcache.exceptions` the exceptions.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ormcache.api import (
        adaptive_bypasses,
        changed,
        disabled,
        explain,
        invalidate,
        last_write,
        report,
        stats,
    )
    from ormcache.context.request_scope import as_request
    from ormcache.exceptions import (
        InexactArgument,
        NotCached,
        OrmcacheError,
        SnapshotUnavailable,
        StoreUnavailable,
        UncacheableValue,
        UnknownTable,
        WriteInSnapshot,
        WriteRefused,
    )
    from ormcache.pages.cache_page import cache_page, cache_page_exempt
    from ormcache.pages.functions import cached
    from ormcache.pages.inputs import depends_on
    from ormcache.pages.snapshot import snapshot
    from ormcache.pages.track import track

__version__ = "0.1.0"

__all__ = [
    "InexactArgument",
    "NotCached",
    "OrmcacheError",
    "SnapshotUnavailable",
    "StoreUnavailable",
    "UncacheableValue",
    "UnknownTable",
    "WriteInSnapshot",
    "WriteRefused",
    "adaptive_bypasses",
    "as_request",
    "cache_page",
    "cache_page_exempt",
    "cached",
    "changed",
    "depends_on",
    "disabled",
    "explain",
    "invalidate",
    "last_write",
    "report",
    "snapshot",
    "stats",
    "track",
]

#: Name → its module, imported on use: Django imports this package before models can be imported.
_HOMES = {
    "InexactArgument": "ormcache.exceptions",
    "NotCached": "ormcache.exceptions",
    "OrmcacheError": "ormcache.exceptions",
    "SnapshotUnavailable": "ormcache.exceptions",
    "WriteInSnapshot": "ormcache.exceptions",
    "StoreUnavailable": "ormcache.exceptions",
    "UncacheableValue": "ormcache.exceptions",
    "UnknownTable": "ormcache.exceptions",
    "WriteRefused": "ormcache.exceptions",
    "as_request": "ormcache.context.request_scope",
    "cache_page": "ormcache.pages.cache_page",
    "cache_page_exempt": "ormcache.pages.cache_page",
    "cached": "ormcache.pages.functions",
    "changed": "ormcache.api",
    "depends_on": "ormcache.pages.inputs",
    "snapshot": "ormcache.pages.snapshot",
    "track": "ormcache.pages.track",
    "disabled": "ormcache.api",
    "explain": "ormcache.api",
    "invalidate": "ormcache.api",
    "last_write": "ormcache.api",
    "adaptive_bypasses": "ormcache.api",
    "report": "ormcache.api",
    "stats": "ormcache.api",
}


if not TYPE_CHECKING:  # for type checkers, this function would mean that every name exists

    def __getattr__(name: str) -> Any:
        if name in _HOMES:
            return getattr(import_module(_HOMES[name]), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
