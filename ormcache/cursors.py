"""Cursors that show every statement to the write path, whatever method it is run by."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from ormcache.fetched import Fetched
from ormcache.values import SEVERAL
from ormcache.writes import Writes

if TYPE_CHECKING:
    from django.db.backends.utils import CursorWrapper as _Cursor
else:
    _Cursor = object


class CursorMixin(_Cursor):
    """A cursor that shows every statement to the connection's Writes, right before the driver gets it.

    Below the execute wrappers, which may change a statement, and with the methods that pass no execute wrapper.
    """

    # Django calls these two innermost, whatever wrappers are installed.

    def _execute(self, sql: Any, params: Any, *ignored: Any) -> Any:
        writes: Writes = self.db.ormcache_writes
        execute = super()._execute  # type: ignore[misc]  # the stubs leave it out
        if isinstance(self.cursor, Fetched):
            self.cursor = self.cursor.cursor
        # A cursor with a name runs its query when it is fetched from, as often as rows are wanted.
        told = SEVERAL if getattr(self.cursor, "name", None) else params
        return writes.run(partial(execute, sql, params, *ignored), sql, told, self)

    def _executemany(self, sql: Any, param_list: Any, *ignored: Any) -> Any:
        writes: Writes = self.db.ormcache_writes
        execute = super()._executemany  # type: ignore[misc]  # the stubs leave it out
        return writes.run(partial(execute, sql, param_list, *ignored), sql, SEVERAL, self)

    def callproc(self, *args: Any, **kwargs: Any) -> Any:
        writes: Writes = self.db.ormcache_writes
        return writes.touch(partial(super().callproc, *args, **kwargs))

    def fetch_now(self) -> Any:
        """Fetch the rows of the statement that has just run, and keep them for whoever asks: it is over then."""
        if self.cursor.description is not None:
            with self.db.wrap_database_errors:
                self.cursor = Fetched(self.cursor)
        return self.cursor


class ClosedMixin(_Cursor):
    """SQLite: an unfinished SELECT of an open cursor holds the snapshot that it began with."""

    def close(self) -> None:
        # Django's own wrapper has no close() and leaves it to __getattr__, which super() does not ask.
        close = getattr(super(), "close", None) or self.cursor.close
        try:
            close()
        finally:
            self.db.ormcache_writes.closed(self)


def _copy(cursor: Any, copy: Callable[..., Any], statement: Any, *args: Any, **kwargs: Any) -> Any:
    """psycopg 3: the rows go in while the context manager is open, in autocommit each COPY is a transaction."""
    return _Copying(cursor, copy(statement, *args, **kwargs), statement)


def _copy_at_once(cursor: Any, copy: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return cursor.db.ormcache_writes.touch(partial(copy, *args, **kwargs), sets=False)


def _script(cursor: Any, run: Callable[..., Any], *args: Any) -> Any:
    """sqlite3: any number of statements, after a COMMIT of what is open."""
    return cursor.db.ormcache_writes.touch(partial(run, *args), commits=True)


def _stream(cursor: Any, stream: Callable[..., Any], query: Any, *args: Any, **kwargs: Any) -> Any:
    """psycopg 3: a generator, run to its end so that there is a moment at which the statement is over."""
    run: Callable[[], list[Any]] = partial(list, stream(query, *args, **kwargs))
    return iter(cursor.db.ormcache_writes.run(run, query, None, cursor))


#: Methods of drivers' cursors that run statements without passing execute()
_COPYING: dict[str, Callable[..., Any]] = {
    "copy": _copy,
    "copy_from": _copy_at_once,
    "copy_to": _copy_at_once,
    "copy_expert": _copy_at_once,
    "executescript": _script,
    "stream": _stream,
}


class _Copying:
    """The context manager of psycopg 3's ``copy()``, marked from before its beginning until after its end."""

    def __init__(self, cursor: Any, copying: Any, statement: Any) -> None:
        self._cursor = cursor
        self._copying = copying
        self._statement = statement
        self._settle: Callable[[BaseException | None], None] | None = None

    def __enter__(self) -> Any:
        self._settle = self._cursor.db.ormcache_writes.begin(self._statement, self._cursor)
        try:
            return self._copying.__enter__()
        except BaseException as error:
            self._settle(error)
            raise

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> Any:
        raised = error
        try:
            return self._copying.__exit__(kind, error, trace)
        except BaseException as own:
            raised = own
            raise
        finally:
            if self._settle is not None:
                self._settle(raised)


def watched(cursor: Any) -> Any:
    """The backend's own cursor wrapper, with whatever it holds, as one of the class that watches."""
    cursor.__class__ = _watching(cursor.__class__, cursor.cursor.__class__, cursor.db.vendor)
    cursor.db.ormcache.cursor_made()
    return cursor


@cache
def _watching(cursor: Any, inner: Any, vendor: str) -> type[Any]:
    """The class of a cursor wrapper around such a driver's cursor with the watching in front.

    Its constructor stays ``(cursor, db)``. It has methods of the driver's only where the driver has them: programs ask.
    """
    names = [name for name in _COPYING if hasattr(inner, name) and not hasattr(cursor, name)]
    copying = {name: _passing(name, _COPYING[name]) for name in names}
    front = (ClosedMixin, CursorMixin) if vendor == "sqlite" else (CursorMixin,)
    return type(cursor.__name__, (*front, cursor), {"__module__": cursor.__module__, **copying})


def _passing(name: str, run: Callable[..., Any]) -> property:
    """A method of the driver's cursor, with the watching around it."""
    return property(lambda cursor: partial(run, cursor, getattr(cursor.cursor, name)))
