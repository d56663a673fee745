"""What :func:`ormcache.invalidate` and :func:`ormcache.changed` invalidate, at once."""

from __future__ import annotations

import time

from ormcache import reasons
from ormcache.cache.tracking import current_tracker
from ormcache.catalog import ALL_ROWS_AND_SCHEMA, ANYWHERE, SCHEMA
from ormcache.exceptions import StoreUnavailable
from ormcache.session.state import ConnectionState
from ormcache.session.transaction import Transaction

#: What reports show as the cause of these
_INVALIDATE, _CHANGED = "ormcache.invalidate()", "ormcache.changed()"


class ExplicitInvalidation:
    """Invalidates what a program names. The thread that owns the connection owns this."""

    def __init__(self, state: ConnectionState, transaction: Transaction) -> None:
        self._state = state
        self._transaction = transaction

    def affected_by(self, relations: frozenset[str]) -> frozenset[str]:
        """Return what :meth:`invalidate` invalidates for these relations, with themselves."""
        database = self._state.known()
        return (
            frozenset() if database is None else database.plans.closure(relations) | (relations & ALL_ROWS_AND_SCHEMA)
        )

    def invalidate(self, relations: frozenset[str]) -> None:
        """Invalidate what depends on these now, and again when the open transaction ends. Raises StoreUnavailable."""
        self._invalidate(self.affected_by(relations), _INVALIDATE)

    def change_inputs(self, inputs: frozenset[str]) -> None:
        """Do the same for inputs that are no tables, by their pseudo relations. Raises StoreUnavailable."""
        self._invalidate(inputs, _CHANGED)

    def _invalidate(self, relations: frozenset[str], cause: str) -> None:
        database = self._state.known()
        if database is None:
            return
        if (tracker := current_tracker()) is not None:
            tracker.reject(reasons.WRITES, cause, relations)
        self._transaction.record_plan(database.catalog_cache.part, ANYWHERE)
        if self._transaction.is_open:
            self._transaction.record_write(relations)
            self._transaction.record_cause(relations, cause)
        began, published = time.perf_counter(), False
        try:
            database.stamps.renew(database.slots.names(relations))
            published = True
        except StoreUnavailable:
            database.postpone(relations)
            raise
        finally:
            if SCHEMA in relations:
                database.catalog_cache.record_schema_change(relations)
            seconds = time.perf_counter() - began
            self._state.observer.invalidation(
                relations, {relations: cause}, seconds=seconds, marked=False, published=published
            )
