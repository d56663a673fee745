"""Mixins that put the cache around any Django database backend.

:class:`ConnectionMixin` goes before the backend's ``DatabaseWrapper``. It must be the outermost mixin, so that whatever
lies below it (metrics, tenants, pools) sees only the queries that really run.
"""

from __future__ import annotations

import _thread
from asyncio import _get_running_loop
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from django.core.exceptions import ImproperlyConfigured
from django.db import Error
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.asyncio import async_unsafe

from ormcache.background.excluded_marks import excluded_marks
from ormcache.background.worker import Task, worker
from ormcache.connection import uncached  # noqa: F401  # connects a receiver
from ormcache.connection.compiler import READING, cached_compiler
from ormcache.connection.cursors import make_tracking
from ormcache.connection.errors import report_errors
from ormcache.session.connections import is_cached
from ormcache.session.registry import registry
from ormcache.session.state import ConnectionState
from ormcache.telemetry.observer import TelemetryObserver
from ormcache.write_path.statements import Writes

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper as _Wrapper
    from django.db.backends.base.creation import BaseDatabaseCreation as _Creation
    from django.db.backends.base.operations import BaseDatabaseOperations as _Operations
else:
    _Wrapper = _Operations = _Creation = object


#: The qualified name of ensure_connection() unless it was replaced
_ENSURE_CONNECTION = "BaseDatabaseWrapper.ensure_connection"


def _with_mixin(mixin: Any, cls: Any) -> Any:
    """Return ``cls`` with the mixin in front, or as it is if it has that already."""
    return cls if issubclass(cls, mixin) else type(cls.__name__, (mixin, cls), {"__module__": cls.__module__})


class OperationsMixin(_Operations):
    """Database operations whose SELECT compilers ask the cache first."""

    def compiler(self, compiler_name: str) -> Any:
        """Return Django's compiler class of this name, with the cache in front of one that compiles SELECTs."""
        compiler: Any = super().compiler(compiler_name)
        operations: Any = type(self)
        return cached_compiler(compiler, operations) if compiler_name in READING else compiler


class CreationMixin(_Creation):
    """Creates test databases, whose rows are copied without ormcache and whose name may have been used before."""

    def create_test_db(self, *args: Any, **kwargs: Any) -> Any:
        """Create a test database, and invalidate what is stored of an earlier one."""
        registry.record_test_database(self.connection.alias, exists=True)
        name = super().create_test_db(*args, **kwargs)
        if is_cached(self.connection):
            self.connection.ormcache_writes.connecting.invalidate_all()
        return name

    def destroy_test_db(self, *args: Any, **kwargs: Any) -> None:
        """Destroy a test database."""
        super().destroy_test_db(*args, **kwargs)
        registry.record_test_database(self.connection.alias, exists=False)

    def setup_worker_connection(self, *args: Any, **kwargs: Any) -> None:
        """Connect a parallel test process to its clone of the database, and invalidate what is stored of it."""
        registry.record_test_database(self.connection.alias, exists=True)
        super().setup_worker_connection(*args, **kwargs)
        if is_cached(self.connection):
            self.connection.ormcache_writes.connecting.invalidate_all()


class ConnectionMixin(_Wrapper):
    """A connection that caches what is read through it, and invalidates what is written through it."""

    if TYPE_CHECKING:
        Database: Any  # the driver's module, which every backend has

    #: What the background thread does for the databases of this engine, beside what no engine can do without
    ormcache_tasks: ClassVar[tuple[Task, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.ops_class = _with_mixin(OperationsMixin, cls.ops_class)
        cls.creation_class = _with_mixin(CreationMixin, cls.creation_class)
        for task in (excluded_marks, *cls.ormcache_tasks):
            worker.add_task(task)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ormcache = ConnectionState(self, TelemetryObserver(self.alias, self.__class__))
        self.ormcache_writes = Writes(self, self.ormcache)
        report_errors(self)

    # Connecting -----------------------------------------------------------------------

    @async_unsafe
    def connect(self) -> None:
        """Connect, and get to know the database and the session."""
        try:
            # Nothing of an earlier connection counts any more, whatever became of it.
            self.ormcache_writes.end_connection()
            self.ormcache.begin_connecting()
            super().connect()
            was_interrupted = not self.ormcache.is_connecting
            self._end_connecting()
            if was_interrupted:
                # By a signal's handler that has connected for itself: what it has set counts for another session.
                self.ormcache.session.mark_untracked()
        except BaseException as error:
            # Django goes on with a connection whose set-up failed halfway.
            self._end_connecting()
            if not isinstance(error, (Error, ImproperlyConfigured)):
                # What came from outside may have interrupted the tracking of what the session has set.
                self.ormcache.session.mark_untracked()
            raise

    def _end_connecting(self) -> None:
        """Follow the connection that was made, or that none was. It is harmless to do so once more."""
        if self.connection is not None:
            self.ormcache.finish_connecting()
            self.ormcache_writes.connecting.end()
        else:
            self.ormcache.fail_connecting()

    def ensure_timezone(self) -> bool:
        """Set the session's time zone if it is not the one of the settings."""
        try:
            return super().ensure_timezone()
        finally:
            self.ormcache.session.forget_base()  # on the driver's own cursor

    def make_cursor(self, cursor: Any) -> Any:
        """Wrap a cursor of the driver's."""
        return make_tracking(super().make_cursor(cursor))

    def make_debug_cursor(self, cursor: Any) -> Any:
        """Wrap a cursor of the driver's so that its queries are logged."""
        return make_tracking(super().make_debug_cursor(cursor))

    def check_read(self) -> None:
        """Raise what would keep a query from running, before a hit is served.

        That is what Django checks itself, and the ways in which SimpleTestCase (it replaces the connection's methods by
        objects with ``wrapped``) and pytest-django (it replaces ``ensure_connection``) forbid access to the database.
        """
        # These may be forbidden. Django's own checks cost a hundred times as much.
        thread = self._thread_ident  # type: ignore[attr-defined]  # the stubs leave it out
        if _get_running_loop() is not None or thread != _thread.get_ident():
            self._check_thread()
        if "cursor" in self.__dict__ and hasattr(self.__dict__["cursor"], "wrapped"):
            self.cursor()
        if getattr(BaseDatabaseWrapper.ensure_connection, "__qualname__", None) != _ENSURE_CONNECTION:
            self.ensure_connection()

    @async_unsafe
    def _check_thread(self) -> None:
        """Raise what Django raises in an event loop, and in a thread that the connection is not shared with."""
        self.validate_thread_sharing()

    # Committing and closing ----------------------------------------------------------------------------

    def _commit(self) -> Any:
        return self.ormcache_writes.control.commit(super()._commit)  # type: ignore[misc]  # the stubs leave it out

    def _rollback(self) -> Any:
        return self.ormcache_writes.control.rollback(super()._rollback)  # type: ignore[misc]  # the stubs leave it out

    def _set_autocommit(self, autocommit: bool) -> Any:
        switch = partial(super()._set_autocommit, autocommit)  # type: ignore[misc]  # the stubs leave it out
        if autocommit and self.ormcache_writes.transaction.has_written and not self.ormcache.is_connecting:
            # MySQL commits the open transaction when autocommit is switched on.
            return self.ormcache_writes.control.commit(switch)
        return switch()

    def _close(self) -> Any:
        self.ormcache_writes.end_connection()
        self.ormcache.close()
        return super()._close()  # type: ignore[misc]  # the stubs leave it out
