"""Watches connections without ormcache for statements of tracked blocks: nothing is known of what they read.

Such a connection has an execute wrapper of Django's (``connection.execute_wrappers``), which asks one context variable
for each statement and does no more while no block is tracked; and its errors are reported, such as that it cannot be
made. What is asked of the driver itself, or by ``callproc()``, is not seen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from ormcache import reasons
from ormcache.cache.tracking import current_tracker
from ormcache.catalog import READERS
from ormcache.connection.errors import report_errors
from ormcache.session.connections import is_cached
from ormcache.sql import UNKNOWN_VENDOR, Effect, analyse

#: What reads, or nothing that could be cached
_READING = frozenset({Effect.READ, Effect.HARMLESS})
#: What neither reads nor writes
_NEITHER = frozenset({Effect.TRANSACTION, Effect.SESSION})


def _reject_tracking(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
    """Run a statement, and record with the block around it that nothing computed there can be cached."""
    tracker = current_tracker()
    if tracker is not None:
        text = sql if isinstance(sql, str) else str(sql)
        vendor = context["connection"].vendor
        effect = analyse(text, vendor if vendor in READERS else UNKNOWN_VENDOR).effect
        if effect not in _NEITHER:
            tracker.reject(reasons.UNCACHED_DATABASE if effect in _READING else reasons.WRITES, text)
    return execute(sql, params, many, context)


def watch(connection: BaseDatabaseWrapper) -> None:
    """Have the statements of a connection reported to the blocks that run them, if it does not go through ormcache."""
    if not is_cached(connection) and _reject_tracking not in connection.execute_wrappers:
        # The outermost, at the end that the context manager execute_wrapper() takes nothing off.
        connection.execute_wrappers.insert(0, _reject_tracking)
        report_errors(connection)


def watch_connections() -> None:
    """Do so for this thread's connections: they may be older than the signal's receiver, or fail to be made."""
    for alias, values in settings.DATABASES.items():
        if not str(values.get("ENGINE")).startswith("ormcache."):
            try:
                watch(connections[alias])
            except ImproperlyConfigured:
                pass  # its driver is missing: nobody can use it


def _connection_created(connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
    watch(connection)


# Imported by every engine and by the app, whichever a process has.
connection_created.connect(_connection_created, dispatch_uid="ormcache.connection.uncached")
