"""Cursors that show every statement to the write path, by whatever method it is run."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from ormcache import reasons
from ormcache.cache.tracking import current_tracker
from ormcache.connection.column_cache import MOST_CLASSES
from ormcache.connection.compiler import ASKING
from ormcache.read_path.own_compilers import runs_for_own_compiler
from ormcache.session.values import SEVERAL, Several
from ormcache.write_path.buffered_cursor import BufferedCursor
from ormcache.write_path.statements import Writes

if TYPE_CHECKING:
    from django.db.backends.utils import CursorWrapper as _Cursor
else:
    _Cursor = object


class CursorMixin(_Cursor):
    """A cursor that runs every statement through the connection's Writes, right before the driver gets it.

    That is below the execute wrappers, which may change a statement, and covers the methods that pass none of them.
    """

    # Django calls these two innermost, whatever wrappers are installed.

    def _execute(self, sql: Any, params: Any, *ignored: Any) -> Any:
        writes: Writes = self.db.ormcache_writes
        execute = super()._execute  # type: ignore[misc]  # the stubs leave it out
        if isinstance(self.cursor, BufferedCursor):
            self.cursor = self.cursor.cursor
        # A cursor with a name runs its query when it is fetched from, as often as rows are wanted.
        known_params = SEVERAL if getattr(self.cursor, "name", None) else params
        run = partial(execute, sql, params, *ignored)
        if runs_for_own_compiler(self, sql, ASKING):
            return self._run_bypass(partial(writes.run, run, sql, known_params, self), sql, params)
        return writes.run(run, sql, known_params, self)

    def _run_bypass(self, run: Callable[[], Any], sql: Any, params: Any) -> Any:
        """Run and report a read of a compiler that does not ask the cache."""
        if (tracker := current_tracker()) is not None:
            tracker.reject(reasons.OWN_COMPILER, str(sql))
        began = time.perf_counter()
        try:
            return run()
        finally:
            seconds = time.perf_counter() - began
            self.db.ormcache.observer.bypass(reasons.OWN_COMPILER, None, sql, params, query_seconds=seconds)

    def _executemany(self, sql: Any, param_list: Any, *ignored: Any) -> Any:
        writes: Writes = self.db.ormcache_writes
        execute = super()._executemany  # type: ignore[misc]  # the stubs leave it out
        # Whatever else it is could be read only once.
        sets = Several(param_list) if type(param_list) in (list, tuple) else SEVERAL
        return writes.run(partial(execute, sql, param_list, *ignored), sql, sets, self)

    def callproc(self, *args: Any, **kwargs: Any) -> Any:
        """Run a stored procedure, which may do anything."""
        writes: Writes = self.db.ormcache_writes
        return writes.driver_calls.run(partial(super().callproc, *args, **kwargs), self)

    def buffer_rows(self) -> Any:
        """Fetch the rows of the statement that has just run, so that it is over. Returns the driver's cursor."""
        if self.cursor.description is not None:
            with self.db.wrap_database_errors:
                self.cursor = BufferedCursor(self.cursor)
        return self.cursor


class SQLiteCursorMixin(_Cursor):
    """SQLite: an unfinished SELECT of an open cursor holds the snapshot that it began with."""

    def close(self) -> None:
        """Close the cursor, which ends its SELECT."""
        # Django's own wrapper has no close() and leaves it to __getattr__, which super() does not ask.
        close = getattr(super(), "close", None) or self.cursor.close
        try:
            close()
        finally:
            self.db.ormcache_writes.record_closed_cursor(self)


class MySQLCursorMixin(_Cursor):
    """MySQL: what comes after a result is still running when that result is read."""

    def close(self) -> None:
        """Close the cursor. The drivers read what results are left."""
        close = getattr(super(), "close", None) or self.cursor.close
        close()
        self.db.ormcache_writes.record_last_result(self)

    def nextset(self) -> Any:
        """Go on to the next result."""
        nextset = getattr(super(), "nextset", None) or self.__getattr__("nextset")
        more = nextset()
        if not more:
            self.db.ormcache_writes.record_last_result(self)
        return more


# Methods of the drivers' cursors that run statements without passing execute()


def _copy(cursor: Any, copy: Callable[..., Any], statement: Any, *args: Any, **kwargs: Any) -> Any:
    """psycopg 3: the rows are sent while the context manager is open; in autocommit each COPY is a transaction."""
    return _CopyContext(cursor, copy(statement, *args, **kwargs), statement)


def _copy_without_sql(cursor: Any, copy: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return cursor.db.ormcache_writes.driver_calls.run(partial(copy, *args, **kwargs), cursor, may_set=False)


def _copy_expert(cursor: Any, copy: Callable[..., Any], sql: Any, *args: Any, **kwargs: Any) -> Any:
    """psycopg2: COPY as SQL."""
    try:
        return _copy_without_sql(cursor, copy, sql, *args, **kwargs)
    finally:
        cursor.db.ormcache_writes.driver_calls.record_copy(sql, cursor)


def _copy_from(cursor: Any, copy: Callable[..., Any], file: Any, table: str, *args: Any, **kwargs: Any) -> Any:
    """psycopg2: COPY of a file into a table, whose name it quotes."""
    try:
        return _copy_without_sql(cursor, copy, file, table, *args, **kwargs)
    finally:
        name = str(table).replace('"', '""')
        cursor.db.ormcache_writes.driver_calls.record_copy(f'COPY "{name}" FROM STDIN', cursor)


def _executescript(cursor: Any, run: Callable[..., Any], *args: Any) -> Any:
    """sqlite3: any number of statements, after a COMMIT of the open transaction."""
    return cursor.db.ormcache_writes.driver_calls.run(partial(run, *args), cursor, commits_first=True)


def _stream(cursor: Any, stream: Callable[..., Any], query: Any, *args: Any, **kwargs: Any) -> Any:
    """psycopg 3: a generator of rows. That of a statement that changes something is run to its end at once."""
    writes: Writes = cursor.db.ormcache_writes
    rows = stream(query, *args, **kwargs)
    if writes.changes_nothing(query, cursor):
        return writes.run(lambda: rows, query, None, cursor)
    return iter(writes.run(partial(list, rows), query, None, cursor))


#: Method of a driver's cursor → what runs it
_DRIVER_METHODS: dict[str, Callable[..., Any]] = {
    "copy": _copy,
    "copy_from": _copy_from,
    "copy_to": _copy_without_sql,
    "copy_expert": _copy_expert,
    "executescript": _executescript,
    "stream": _stream,
}


class _CopyContext:
    """The context manager of psycopg 3's ``copy()``, marked from before its beginning until after its end."""

    def __init__(self, cursor: Any, copying: Any, statement: Any) -> None:
        self._cursor = cursor
        self._copying = copying
        self._statement = statement
        self._finish: Callable[[BaseException | None], None] | None = None

    def __enter__(self) -> Any:
        self._finish = self._cursor.db.ormcache_writes.driver_calls.begin(self._statement, self._cursor)
        try:
            return self._copying.__enter__()
        except BaseException as error:
            self._finish(error)
            raise

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> Any:
        raised = error
        try:
            return self._copying.__exit__(kind, error, trace)
        except BaseException as own:
            raised = own
            raise
        finally:
            if self._finish is not None:
                self._finish(raised)


# The classes of cursors


def make_tracking(cursor: Any) -> Any:
    """Turn a cursor wrapper of the backend's, with whatever it holds, into one that shows its statements."""
    cursor.__class__ = _tracking_class(cursor.__class__, cursor.cursor.__class__, cursor.db.vendor)
    cursor.db.ormcache.record_cursor()
    return cursor


@lru_cache(maxsize=MOST_CLASSES)
def _tracking_class(wrapper: Any, driver_cursor: Any, vendor: str) -> type[Any]:
    """Return a class of cursor wrappers, around such a cursor of the driver's, with the mixins in front.

    Its constructor stays ``(cursor, db)``. It has the driver's methods only where the driver has them: programs ask.
    """
    names = [name for name in _DRIVER_METHODS if hasattr(driver_cursor, name) and not hasattr(wrapper, name)]
    methods = {name: _driver_method(name, _DRIVER_METHODS[name]) for name in names}
    front = _VENDOR_MIXINS.get(vendor, ())
    return type(wrapper.__name__, (*front, CursorMixin, wrapper), {"__module__": wrapper.__module__, **methods})


_VENDOR_MIXINS: dict[str, tuple[type[Any], ...]] = {"sqlite": (SQLiteCursorMixin,), "mysql": (MySQLCursorMixin,)}


def _driver_method(name: str, run: Callable[..., Any]) -> property:
    """Return an attribute that stands for a method of the driver's cursor and runs it by ``run``."""
    return property(lambda cursor: partial(run, cursor, getattr(cursor.cursor, name)))
