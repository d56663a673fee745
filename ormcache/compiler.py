"""A compiler that asks the cache first.

Mixed into whatever compiler the database's operations return for a SELECT. Every read of the ORM passes
``execute_sql`` and nothing else does.
"""

from __future__ import annotations

import time
from functools import cache
from typing import TYPE_CHECKING, Any

from django.core.exceptions import EmptyResultSet
from django.db.models.sql.constants import GET_ITERATOR_CHUNK_SIZE, MULTI, SINGLE

from ormcache import reasons, signals
from ormcache.account import Account
from ormcache.columns import ColumnsMixin, is_djangos
from ormcache.reads import Read
from ormcache.shadow import StaleRead
from ormcache.state import State
from ormcache.switch import is_disabled

if TYPE_CHECKING:
    from django.db.models.sql.compiler import SQLCompiler as _Compiler
else:
    _Compiler = object


class CachedCompiler(_Compiler):
    """Mixin for a SELECT's compiler class; its connection has ``ormcache`` (State) and ``ormcache_writes`` (Writes)."""

    #: what as_sql() is to answer next: the text is compiled once, for the key and for the query
    _compiled: Any = None

    def as_sql(self, *args: Any, **kwargs: Any) -> Any:
        compiled = self._compiled
        if compiled is None:
            return super().as_sql(*args, **kwargs)
        self._compiled = None
        if compiled is EmptyResultSet:
            raise EmptyResultSet
        return compiled

    def execute_sql(
        self, result_type: Any = MULTI, chunked_fetch: bool = False, chunk_size: int = GET_ITERATOR_CHUNK_SIZE
    ) -> Any:
        connection: Any = self.connection
        state: State = connection.ormcache
        reason = self._obstacle(state, result_type, chunked_fetch)
        if reason is not None:
            return self._past(reason, state, result_type, chunked_fetch, chunk_size)
        try:
            compiled = self.as_sql()
        except EmptyResultSet:
            self._compiled = EmptyResultSet
            return super().execute_sql(result_type, chunked_fetch, chunk_size)
        return Read(self, state, connection.ormcache_writes, result_type, chunk_size, compiled).run()

    def execute_compiled(self, compiled: Any, result_type: Any) -> Any:
        """Run a query that was compiled before, whatever this compiler's own is; rows are cut as the compiler says."""
        self._compiled = compiled
        try:
            return self.execute_sql(result_type)
        finally:
            self._compiled = None

    def _obstacle(self, state: State, result_type: Any, chunked_fetch: bool) -> str | None:
        """What is known before the query is compiled."""
        if is_disabled():
            return reasons.DISABLED
        if chunked_fetch:
            return reasons.CHUNKED
        if self.query.select_for_update:
            return reasons.LOCKING
        if self.query.explain_info:
            return reasons.EXPLAIN
        if result_type not in (MULTI, SINGLE):
            return reasons.NOT_A_READ
        if self.connection.needs_rollback:
            return reasons.BROKEN_TRANSACTION
        if state.obstacle is not None and self.connection.connection is not None and state.known() is None:
            return state.obstacle
        return None

    def _past(self, reason: str, state: State, *how: Any) -> Any:
        """Read without the cache, whatever the query is."""
        account = Account(state)
        account.bypassed(reason)
        if not signals.bypassed.receivers:
            return super().execute_sql(*how)
        compiled: Any = (None, None)
        try:
            self._compiled = compiled = self.as_sql()
        except EmptyResultSet:
            self._compiled = EmptyResultSet
        try:
            return super().execute_sql(*how)
        finally:
            self._compiled = None
            query = time.perf_counter() - account.began
            account.uncached(self.connection.__class__, reason, compiled, query)

    def read_uncached(self, compiled: Any, result_type: Any, chunk_size: int) -> Any:
        """Run the query that was compiled already."""
        self._compiled = compiled
        try:
            return super().execute_sql(result_type, False, chunk_size)
        finally:
            self._compiled = None

    def hit(self, result: Any, compiled: Any, result_type: Any, chunk_size: int) -> Any:
        """What a hit returns, for tests that put something of their own in its place."""
        return result

    def stale(self, error: StaleRead, live: Any) -> Any:
        """What a hit returns that was held against the database, and was wrong."""
        raise error


@cache
def cached_compiler(compiler: Any, operations: Any) -> type[Any]:
    """The class of a SELECT's compiler, used with these operations, with the cache in front."""
    front = (CachedCompiler, ColumnsMixin) if is_djangos(compiler, operations) else (CachedCompiler,)
    return type(compiler.__name__, (*front, compiler), {"__module__": compiler.__module__})


#: The compilers of reads; those of writes read nothing that could be cached
READING = frozenset({"SQLCompiler", "SQLAggregateCompiler"})
