"""Compilers that ask the cache before they run a query.

:class:`CachedCompiler` is mixed into the class that the database's operations return for a SELECT, and overrides
``execute_sql()``, by which the ORM runs every query. Compilers that a query makes itself lack the mixin; see
:mod:`ormcache.read_path.own_compilers`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from django.core.exceptions import EmptyResultSet
from django.db.models.sql.constants import GET_ITERATOR_CHUNK_SIZE, MULTI

from ormcache import reasons
from ormcache.cache.tracking import current_tracker
from ormcache.connection.column_cache import MOST_CLASSES, ColumnCacheMixin, compiles_as_django
from ormcache.exceptions import StaleRead
from ormcache.read_path.read import ReadExecution

if TYPE_CHECKING:
    from django.db.models.sql.compiler import SQLCompiler as _Compiler

    from ormcache.connection.protocol import CachedConnection

else:
    _Compiler = object


class CachedCompiler(_Compiler):
    """Mixin for the compiler class of a SELECT on a :class:`~ormcache.connection.protocol.CachedConnection`."""

    if TYPE_CHECKING:
        connection: CachedConnection  # type: ignore[assignment]  # Django's own type would do for fewer connections

    def execute_sql(
        self, result_type: Any = MULTI, chunked_fetch: bool = False, chunk_size: int = GET_ITERATOR_CHUNK_SIZE
    ) -> Any:
        connection = self.connection
        try:
            return ReadExecution(
                self, connection.ormcache, connection.ormcache_writes, result_type, chunk_size, chunked_fetch
            ).run()
        except BaseException:
            tracker = current_tracker()
            if tracker is not None:
                tracker.reject(reasons.FAILED)  # whoever handles the error goes on without the rows
            raise

    def execute_compiled(self, compiled: Any, result_type: Any) -> Any:
        """Run a query that was compiled before, whatever this compiler's own is; rows are cut as the compiler says."""
        with _Compiled(self, compiled):
            return self.execute_sql(result_type)

    def read_uncached(self, compiled: Any, result_type: Any, chunk_size: int, chunked: bool) -> Any:
        """Run a query that was compiled already, as Django does.

        ``compiled``: SQL and parameters, or EmptyResultSet for a query that Django knows to be empty and does not run.
        ``chunked``: return a generator that fetches rows as they are asked for.
        """
        with _Compiled(self, compiled):
            return super().execute_sql(result_type, chunked, chunk_size)

    def hit(self, result: Any, compiled: Any, result_type: Any, chunk_size: int) -> Any:
        """Return what a hit returns: a method, so that tests can check every hit."""
        return result

    def stale(self, error: StaleRead, live: Any) -> Any:
        """Return what a hit returns that was compared with the database and differed; raise the error, by default."""
        raise error


class _Compiled:
    """A context in which a compiler's ``as_sql()`` returns what was compiled before.

    So a query is compiled once, for its key and for the database. The method is set on the instance, before the
    ``as_sql()`` of every class, because some classes above CachedCompiler add to what they are given. (A class: as a
    context manager it costs a quarter of what a generator does, at every miss.)
    """

    __slots__ = ("_before", "_compiled", "_compiler")

    def __init__(self, compiler: Any, compiled: Any) -> None:
        """``compiled``: SQL and parameters, or EmptyResultSet."""
        self._compiler = compiler
        self._compiled = compiled

    def __enter__(self) -> None:
        attributes = self._compiler.__dict__
        self._before = attributes.get("as_sql")
        attributes["as_sql"] = self._as_sql

    def __exit__(self, *raised: object) -> None:
        attributes = self._compiler.__dict__
        if self._before is None:
            del attributes["as_sql"]
        else:
            attributes["as_sql"] = self._before

    def _as_sql(self, *args: Any, **kwargs: Any) -> Any:
        if args or kwargs:  # not execute_sql(), which passes none
            return type(self._compiler).as_sql(self._compiler, *args, **kwargs)
        if self._compiled is EmptyResultSet:
            raise EmptyResultSet
        return self._compiled


@lru_cache(maxsize=MOST_CLASSES)
def cached_compiler(compiler: Any, operations: Any) -> type[Any]:
    """Return the class of a SELECT's compiler, used with these operations, with the cache in front of it."""
    front = (CachedCompiler, ColumnCacheMixin) if compiles_as_django(compiler, operations) else (CachedCompiler,)
    return type(compiler.__name__, (*front, compiler), {"__module__": compiler.__module__})


#: Code of the methods from which Django's ``execute_sql()`` runs the queries of compilers that ask the cache
ASKING = frozenset({CachedCompiler.read_uncached.__code__})

#: Names of the compilers of reads; those of writes return nothing that could be cached
READING = frozenset({"SQLCompiler", "SQLAggregateCompiler"})
