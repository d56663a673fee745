"""Reports errors of a database to the block that is tracked.

A block that handles an error goes on without an answer, and nothing says for how long that is right.
"""

from __future__ import annotations

from types import TracebackType

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import DatabaseErrorWrapper

from ormcache import reasons
from ormcache.cache.tracking import current_tracker
from ormcache.connection.protocol import CachedConnection


class TrackingErrorWrapper(DatabaseErrorWrapper):
    """Django's conversion of a driver's errors, which is around everything that the driver is asked for."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and (tracker := current_tracker()) is not None:
            tracker.reject(reasons.FAILED)
        super().__exit__(kind, error, trace)


def report_errors(connection: BaseDatabaseWrapper | CachedConnection) -> None:
    """Have the errors of a Django connection reported."""
    vars(connection)["wrap_database_errors"] = TrackingErrorWrapper(connection)  # a cached property of Django's
