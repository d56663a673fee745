"""The plan that a connection through ormcache makes of a text, as its own statements get it."""

from __future__ import annotations

from typing import Any


def plan_of(connection: Any, text: str) -> Any:
    """None: nothing is known of its database just now."""
    database = connection.ormcache.database
    if database is None:
        return None
    # Inside a transaction ormcache itself would go without: others may have changed the schema meanwhile.
    context = connection.ormcache.resolution_context()
    if database.plans.find(text, context) is None and (
        _is_broken(connection) or not database.catalog_cache.ensure_loaded(connection, context, text)
    ):
        return None
    return connection.ormcache_writes._planner.plan(database, text)


def _is_broken(connection: Any) -> bool:
    """Is a transaction open in which PostgreSQL answers nothing any more?"""
    return connection.vendor == "postgresql" and connection.connection.info.transaction_status == _IN_ERROR


_IN_ERROR = 3  # libpq's PQTRANS_INERROR
