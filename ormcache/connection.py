"""Mixins that put the cache around any Django database backend.

:class:`ConnectionMixin` goes before the backend's ``DatabaseWrapper``; it must be the outermost one, so that whatever
lies below (metrics, tenants, pools) sees only the queries that really run.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.asyncio import async_unsafe

from ormcache.compiler import READING, cached_compiler
from ormcache.cursors import watched
from ormcache.state import State
from ormcache.writes import Writes

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper as _Wrapper
    from django.db.backends.base.creation import BaseDatabaseCreation as _Creation
    from django.db.backends.base.operations import BaseDatabaseOperations as _Operations
else:
    _Wrapper = _Operations = _Creation = object


#: What ensure_connection() is called as long as nobody has replaced it
_ENSURE_CONNECTION = "BaseDatabaseWrapper.ensure_connection"


def _mixed(mixin: Any, cls: Any) -> Any:
    """``cls`` with the mixin in front, as it is where it has that already."""
    return cls if issubclass(cls, mixin) else type(cls.__name__, (mixin, cls), {"__module__": cls.__module__})


class OperationsMixin(_Operations):
    """Database operations whose SELECT compilers ask the cache first."""

    def compiler(self, compiler_name: str) -> Any:
        compiler: Any = super().compiler(compiler_name)
        operations: Any = type(self)
        return cached_compiler(compiler, operations) if compiler_name in READING else compiler


class CreationMixin(_Creation):
    """Makes test databases, whose rows come past the cache, copied from a template, under a name that is not new."""

    def create_test_db(self, *args: Any, **kwargs: Any) -> Any:
        name = super().create_test_db(*args, **kwargs)
        connection: Any = self.connection
        connection.ormcache_writes.renew_all()
        return name

    def setup_worker_connection(self, *args: Any, **kwargs: Any) -> None:
        super().setup_worker_connection(*args, **kwargs)
        connection: Any = self.connection
        connection.ormcache_writes.renew_all()


class ConnectionMixin(_Wrapper):
    """A connection that caches what is read through it and retires what is written through it."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.ops_class = _mixed(OperationsMixin, cls.ops_class)
        cls.creation_class = _mixed(CreationMixin, cls.creation_class)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ormcache = State(self)
        self.ormcache_writes = Writes(self, self.ormcache)

    # Beginnings -----------------------------------------------------------------------

    @async_unsafe
    def connect(self) -> None:
        # Whatever became of an earlier connection, nothing of it counts any more.
        self.ormcache_writes.transaction.forget()
        self.ormcache.connecting()
        try:
            super().connect()
        finally:
            # Also where the set-up failed halfway: Django keeps such a connection and goes on with it.
            if self.connection is not None:
                self.ormcache.connected()
                self.ormcache_writes.connected()
            else:
                self.ormcache.not_connected()

    def make_cursor(self, cursor: Any) -> Any:
        return watched(super().make_cursor(cursor))

    def make_debug_cursor(self, cursor: Any) -> Any:
        return watched(super().make_debug_cursor(cursor))

    @async_unsafe
    def check_read(self) -> None:
        """What would keep a query from running keeps a hit from being served.

        Django's own checks, and the ways in which SimpleTestCase (it replaces the connection's methods by objects
        with ``wrapped``) and pytest-django (it replaces ``ensure_connection``) forbid access to the database.
        """
        self.validate_thread_sharing()
        if hasattr(self.__dict__.get("cursor"), "wrapped"):
            self.cursor()
        if getattr(BaseDatabaseWrapper.ensure_connection, "__qualname__", None) != _ENSURE_CONNECTION:
            self.ensure_connection()

    # Endings ----------------------------------------------------------------------------

    def _commit(self) -> Any:
        return self.ormcache_writes.control.commit(super()._commit)  # type: ignore[misc]  # the stubs leave it out

    def _rollback(self) -> Any:
        return self.ormcache_writes.control.rollback(super()._rollback)  # type: ignore[misc]  # the stubs leave it out

    def _set_autocommit(self, autocommit: bool) -> Any:
        switch = partial(super()._set_autocommit, autocommit)  # type: ignore[misc]  # the stubs leave it out
        if autocommit and self.ormcache_writes.transaction.dirty:
            # MySQL commits what is open when autocommit is switched on.
            return self.ormcache_writes.control.commit(switch)
        return switch()

    def _close(self) -> Any:
        self.ormcache_writes.transaction.forget()
        self.ormcache.closed()
        return super()._close()  # type: ignore[misc]  # the stubs leave it out
