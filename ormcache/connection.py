"""Two mixins that put the cache around any Django database backend.

:class:`ConnectionMixin` goes before the backend's ``DatabaseWrapper``; it must be the outermost one, so that whatever
lies below (metrics, tenants, pools) sees only the queries that really run.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.asyncio import async_unsafe

from ormcache.reads import READING, cached_compiler
from ormcache.state import State
from ormcache.writes import Writes

if TYPE_CHECKING:
    from django.db.backends.base.operations import BaseDatabaseOperations
    from django.db.backends.utils import CursorWrapper

    _Wrapper, _Operations, _Cursor = BaseDatabaseWrapper, BaseDatabaseOperations, CursorWrapper
else:
    _Wrapper = _Operations = _Cursor = object


class OperationsMixin(_Operations):
    """Database operations whose SELECT compilers ask the cache first."""

    def compiler(self, compiler_name: str) -> Any:
        compiler = super().compiler(compiler_name)
        return cached(compiler) if compiler_name in READING else compiler


class CursorMixin(_Cursor):
    """A cursor that shows every statement to the connection's Writes, right before the driver gets it.

    Below the execute wrappers, which may change a statement, and with the methods that pass no execute wrapper.
    """

    # Django calls these two innermost, whatever wrappers are installed.

    def _execute(self, sql: Any, params: Any, *ignored: Any) -> Any:
        writes: Writes = self.db.ormcache_writes  # type: ignore[attr-defined]
        return writes.run(partial(super()._execute, sql, params, *ignored), sql, params, self)

    def _executemany(self, sql: Any, param_list: Any, *ignored: Any) -> Any:
        writes: Writes = self.db.ormcache_writes  # type: ignore[attr-defined]
        return writes.run(partial(super()._executemany, sql, param_list, *ignored), sql, None, self)

    def callproc(self, *args: Any, **kwargs: Any) -> Any:
        writes: Writes = self.db.ormcache_writes  # type: ignore[attr-defined]
        return writes.touch(partial(super().callproc, *args, **kwargs))

    def close(self) -> None:
        self.db.ormcache_writes.closed(self)  # type: ignore[attr-defined]
        self.cursor.close()

    def __getattr__(self, name: str) -> Any:
        attribute = super().__getattr__(name)
        if name in _COPYING:
            return partial(_COPYING[name], self, attribute)
        return attribute


def _copy(cursor: Any, copy: Callable[..., Any], statement: Any, *args: Any, **kwargs: Any) -> Any:
    """psycopg 3: the rows go in while the context manager is open, in autocommit each COPY is a transaction."""
    return _Copying(cursor.db.ormcache_writes, copy(statement, *args, **kwargs), statement)


def _copy_at_once(cursor: Any, copy: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return cursor.db.ormcache_writes.touch(partial(copy, *args, **kwargs))


def _stream(cursor: Any, stream: Callable[..., Any], query: Any, *args: Any, **kwargs: Any) -> Any:
    """psycopg 3: a generator, run to its end so that there is a moment at which the statement is over."""
    run = partial(list, stream(query, *args, **kwargs))
    return iter(cursor.db.ormcache_writes.run(run, query, None, cursor))


#: Methods of drivers' cursors that run statements without passing execute()
_COPYING: dict[str, Callable[..., Any]] = {
    "copy": _copy,
    "copy_from": _copy_at_once,
    "copy_to": _copy_at_once,
    "copy_expert": _copy_at_once,
    "stream": _stream,
}


class _Copying:
    """The context manager of psycopg 3's ``copy()``, marked from before its beginning until after its end."""

    def __init__(self, writes: Writes, copying: Any, statement: Any) -> None:
        self._writes = writes
        self._copying = copying
        self._statement = statement
        self._settle: Callable[[BaseException | None], None] | None = None

    def __enter__(self) -> Any:
        self._settle = self._writes.begin(self._statement)
        try:
            return self._copying.__enter__()
        except BaseException as error:
            self._settle(error)
            raise

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> Any:
        raised = error
        try:
            return self._copying.__exit__(kind, error, trace)
        except BaseException as own:
            raised = own
            raise
        finally:
            if self._settle is not None:
                self._settle(raised)


_ENSURE_CONNECTION = "BaseDatabaseWrapper.ensure_connection"


@cache
def cached(compiler: type[Any]) -> type[Any]:
    return cached_compiler(compiler)


@cache
def watched(cursor: type[Any]) -> type[Any]:
    """The class of a cursor wrapper with the watching in front; its constructor stays ``(cursor, db)``."""
    return type(cursor.__name__, (CursorMixin, cursor), {"__module__": cursor.__module__})


class ConnectionMixin(_Wrapper):
    """A connection that caches what is read through it and retires what is written through it."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        operations = cls.ops_class
        if not issubclass(operations, OperationsMixin):
            cls.ops_class = type(
                operations.__name__, (OperationsMixin, operations), {"__module__": operations.__module__}
            )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ormcache = State(self)
        self.ormcache_writes = Writes(self, self.ormcache)

    # Beginnings -----------------------------------------------------------------------

    @async_unsafe
    def connect(self) -> None:
        # Whatever became of an earlier connection, nothing of it counts any more.
        self.ormcache_writes.forget()
        self.ormcache.connecting()
        super().connect()
        self.ormcache.connected()
        self.ormcache_writes.connected()

    def make_cursor(self, cursor: Any) -> Any:
        wrapped = super().make_cursor(cursor)
        return watched(type(wrapped))(cursor, self)

    def make_debug_cursor(self, cursor: Any) -> Any:
        wrapped = super().make_debug_cursor(cursor)
        return watched(type(wrapped))(cursor, self)

    @async_unsafe
    def check_read(self) -> None:
        """What would keep a query from running keeps a hit from being served.

        Django's own checks, and the ways in which SimpleTestCase (it replaces the connection's methods by objects
        with ``wrapped``) and pytest-django (it replaces ``ensure_connection``) forbid access to the database.
        """
        self.validate_thread_sharing()
        if hasattr(self.__dict__.get("cursor"), "wrapped"):
            self.cursor()
        if BaseDatabaseWrapper.ensure_connection.__qualname__ != _ENSURE_CONNECTION:
            self.ensure_connection()

    # Endings ----------------------------------------------------------------------------

    def _commit(self) -> Any:
        return self.ormcache_writes.commit(super()._commit)

    def _rollback(self) -> Any:
        return self.ormcache_writes.rollback(super()._rollback)

    def _set_autocommit(self, autocommit: bool) -> Any:
        switch = partial(super()._set_autocommit, autocommit)
        if autocommit and self.ormcache_writes.dirty:
            # MySQL commits what is open when autocommit is switched on.
            return self.ormcache_writes.commit(switch)
        return switch()

    def _close(self) -> Any:
        self.ormcache.closed()
        self.ormcache_writes.forget()
        return super()._close()
