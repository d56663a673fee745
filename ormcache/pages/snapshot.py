"""Functions all of whose reads are as of one moment: from the cache if that can be shown, or in one transaction."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any, TypeVar, overload

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.models import QuerySet

from ormcache import reasons
from ormcache.cache.tracking import Rejection, Tracker, current_tracker, tracked_by, tracking
from ormcache.connection.uncached import watch_connections
from ormcache.context.switch import disabled
from ormcache.exceptions import SnapshotUnavailable, WriteInSnapshot
from ormcache.pages.readiness import connection_of
from ormcache.session.connections import is_cached

F = TypeVar("F", bound=Callable[..., Any])

#: How often a function, and a coroutine function, which cannot have a transaction, is run to be validated
MOST_ATTEMPTS, MOST_ASYNC_ATTEMPTS = 2, 5

#: Kind of database → what begins the snapshot of a transaction that reads; None: its first read
_BEGINNINGS: dict[str, str | None] = {
    "postgresql": "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY",
    "mysql": "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
    "sqlite": None,
}

#: Rejections after which another attempt may be valid
_PASSING = frozenset({reasons.WRITTEN_MEANWHILE, reasons.MARKED})


@overload
def snapshot(function: F) -> F: ...
@overload
def snapshot(function: None = None, *, using: str | None = None) -> Callable[[F], F]: ...
def snapshot(function: Any = None, *, using: str | None = None) -> Any:
    """Let all reads of the decorated function or coroutine function be as of one moment, so that they fit together.

    It runs, and one look-up says whether all that it has read is still as it was; then all of it was true at that
    moment. If not, it runs once more, and then in a transaction with a snapshot of its own, uncached. So it may
    run up to three times, and must do nothing but read and compute. A coroutine function is run up to five times, and
    never in a transaction.

    ``using``: the database alias of that transaction; None for the default one. Raises WriteInSnapshot for a statement
    that writes; and SnapshotUnavailable where the transaction is needed and there can be none: in an open transaction
    without a snapshot, or where the function also reads from another database.
    """
    if function is None:
        return lambda decorated: snapshot(decorated, using=using)
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(f"{function.__qualname__} is a generator, whose reads are not over when it returns")
    if iscoroutinefunction(function):

        @wraps(function)
        async def read_coroutine(*args: Any, **kwargs: Any) -> Any:
            for _ in range(MOST_ASYNC_ATTEMPTS):
                with _attempt() as tracker:
                    value = await function(*args, **kwargs)
                rejection = await sync_to_async(_validate)(tracker)
                if rejection is None:
                    return _evaluated(value, function)
                if rejection.reason not in _PASSING:
                    break
            raise SnapshotUnavailable(f"{function.__qualname__} cannot be validated: {_describe(rejection)}")

        return read_coroutine

    @wraps(function)
    def read(*args: Any, **kwargs: Any) -> Any:
        alias = _alias(using)
        if not _has_snapshot(alias):
            for _ in range(MOST_ATTEMPTS):
                with _attempt() as tracker:
                    value = function(*args, **kwargs)
                rejection = _validate(tracker)
                if rejection is None:
                    return _evaluated(value, function)
                if rejection.reason not in _PASSING:
                    break
            if connections[alias].in_atomic_block:
                raise SnapshotUnavailable(
                    f"{function.__qualname__} cannot be validated ({_describe(rejection)}), and the open transaction "
                    "has no snapshot: begin none, or begin it with REPEATABLE READ"
                )
        with _snapshot_of(alias), _attempt() as tracker:
            value = function(*args, **kwargs)
        _report(tracker)
        return _evaluated(value, function)

    return read


def _alias(using: str | None) -> str:
    connection = connection_of(None) if using is None else None
    return using or (DEFAULT_DB_ALIAS if connection is None else connection.alias)


@contextmanager
def _attempt() -> Iterator[Tracker]:
    """Track a block that must not write. What it reads is reported to the block around it only if it is valid."""
    watch_connections()
    tracker = Tracker(forbids_writes=True)
    with tracked_by(None), tracking(tracker):
        yield tracker


def _validate(tracker: Tracker) -> Rejection | None:
    """Return why the reads of a block are not known to be as of one moment; None: they are."""
    rejection = tracker.validate()
    if rejection is None or rejection.reason == reasons.WRITES:
        _report(tracker)
    return rejection


def _report(tracker: Tracker) -> None:
    """Report the reads to the block around. Raises WriteInSnapshot if the block has handled that error itself."""
    rejection, around = tracker.rejection, current_tracker()
    if rejection is not None and rejection.reason == reasons.WRITES:
        raise WriteInSnapshot(f"a function that reads a snapshot must not write: {rejection.sql}")
    if around is not None:
        around.absorb(tracker)


def _has_snapshot(alias: str) -> bool:
    """Return whether the open transaction of a connection sees one state of the database; False: or none is open."""
    connection = connections[alias]
    if is_cached(connection):
        return connection.connection is not None and connection.ormcache_writes.transaction.in_old_snapshot
    return connection.vendor == "sqlite" and connection.in_atomic_block


@contextmanager
def _snapshot_of(alias: str) -> Iterator[None]:
    """Let a block read from one snapshot of one database, and from no other database. Raises SnapshotUnavailable."""
    connection = connections[alias]
    with ExitStack() as stack:
        stack.enter_context(disabled())
        for other in connections:
            if other != alias:
                try:
                    stack.enter_context(connections[other].execute_wrapper(_reject_database(other, alias)))
                except ImproperlyConfigured:
                    pass  # nothing can be read from it
        if not _has_snapshot(alias):
            if connection.vendor not in _BEGINNINGS:
                raise SnapshotUnavailable(f"no transaction with a snapshot is known for {connection.vendor}")
            stack.enter_context(transaction.atomic(alias))
            beginning = _BEGINNINGS[connection.vendor]
            if beginning is not None:
                with connection.cursor() as cursor, tracked_by(None):
                    cursor.execute(beginning)
        yield


def _reject_database(other: str, alias: str) -> Callable[..., Any]:
    def reject(execute: Any, sql: Any, params: Any, many: Any, context: Any) -> Any:
        raise SnapshotUnavailable(
            f"a snapshot of the database {alias!r} has nothing of {other!r}: read from one database, or from less that "
            "is written at the same time"
        )

    return reject


def _evaluated(value: Any, function: Callable[..., Any]) -> Any:
    """Return the value. Raises TypeError for a queryset that would be read later."""
    if isinstance(value, QuerySet) and value._result_cache is None:
        raise TypeError(f"{function.__qualname__} returns a queryset that is not evaluated: return list(…) of it")
    return value


def _describe(rejection: Rejection | None) -> str:
    if rejection is None:
        return ""
    return rejection.reason if rejection.sql is None else f"{rejection.reason}: {rejection.sql}"
