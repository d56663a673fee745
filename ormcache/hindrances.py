"""What keeps a read out of the cache just now: the session and the transaction of its connection, its parameters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ormcache import reasons
from ormcache.catalog import EVERYTHING
from ormcache.database import Database
from ormcache.planning import Plan
from ormcache.sql import reads_clock
from ormcache.state import State
from ormcache.stores.base import StoreUnavailable
from ormcache.transaction import Transaction


def hindrance(connection: Any, state: State, transaction: Transaction, database: Database, plan: Plan) -> str | None:
    """What in the connection keeps the result of this plan out of the cache."""
    if connection.connection is not None:
        obstacle = state.session_obstacle
        if obstacle is not None:
            return obstacle
        if state.session.isolation == "read uncommitted" and state.vendor == "mysql":
            return reasons.UNCOMMITTED
        if transaction.is_open:
            dirty = transaction.dirty
            if dirty and (dirty >= EVERYTHING or not dirty.isdisjoint(plan.relations)):
                return reasons.DIRTY
            if transaction.ran if state.vendor == "sqlite" else transaction.keeps_snapshot:
                return reasons.SNAPSHOT
    pending = database.pending.relations
    if pending and (pending >= EVERYTHING or not pending.isdisjoint(plan.relations)):
        try:
            database.pending.retry()
        except StoreUnavailable:
            return reasons.PENDING
    return None


def read_clock(params: Iterable[Any]) -> bool:
    """PostgreSQL: would one of these be read as a moment of the server's own clock where it expects a date?"""
    return any(map(_reads_clock, params))


def _reads_clock(param: Any) -> bool:
    if isinstance(param, str):
        return reads_clock(param)
    return isinstance(param, (list, tuple)) and any(map(_reads_clock, param))
