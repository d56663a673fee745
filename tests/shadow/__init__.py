"""Engines that hold every hit against the database: ``tests.shadow.postgresql``, ``.sqlite3`` and ``.mysql``.

They do what ``VERIFY = "raise"`` does (ormcache.read_path.shadow), and more. A stale read is raised, or appended to the
file that the environment variable ``ORMCACHE_SHADOW_REPORT`` names, and then the program goes on with what the database
has.

After every write all that was read in the same test is asked for once more, outside transactions: a write that
invalidated too little is found even if the test itself does not look again.

With ``ORMCACHE_SHADOW_SERVE`` set, hits are served after all, and shown in ``connection.queries`` as the queries that
they stand for, so that tests that count queries can run unchanged.
"""

from __future__ import annotations

import json
import os
import traceback
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from django.db.models.sql.constants import GET_ITERATOR_CHUNK_SIZE, MULTI

from ormcache import signals
from ormcache.context import switch
from ormcache.context.switch import Mode
from ormcache.exceptions import StaleRead

SERVES = bool(os.environ.get("ORMCACHE_SHADOW_SERVE"))

#: The test under way, for the report
current = ""

#: How many writes were settled in this process
writes = 0


def count_write(**kwargs: Any) -> None:
    global writes
    writes += 1


signals.invalidated.connect(count_write, dispatch_uid="tests.shadow")
switch.set_mode(None if SERVES else Mode.SHADOW)


class ShadowCompiler:
    def execute_sql(
        self, result_type: Any = MULTI, chunked_fetch: bool = False, chunk_size: int = GET_ITERATOR_CHUNK_SIZE
    ) -> Any:
        self.connection.shadow_asked.ask_again()
        return super().execute_sql(result_type, chunked_fetch, chunk_size)

    def read_uncached(self, compiled: Any, result_type: Any, chunk_size: int, chunked: bool) -> Any:
        if self.connection.ormcache_writes.is_running_miss:  # it is a miss, no bypass
            self.connection.shadow_asked.add(self, compiled, result_type)
        return super().read_uncached(compiled, result_type, chunk_size, chunked)

    def hit(self, result: Any, compiled: Any, result_type: Any, chunk_size: int) -> Any:
        connection = self.connection
        if connection.queries_logged:
            connection.queries_log.append({"sql": as_executed(connection, *compiled), "time": "0.000"})
        return super().hit(result, compiled, result_type, chunk_size)

    def stale(self, error: StaleRead, live: Any) -> Any:
        report(self.connection, error)
        return live


class Asked:
    """What was read through one connection, to be read again after writes. The thread of the connection owns it."""

    def __init__(self, connection: Any) -> None:
        self._connection = weakref.proxy(connection)
        self._reads: dict[Any, tuple[Any, Any, Any]] = {}
        self._test = ""
        self._writes = 0
        self._busy = False

    def add(self, compiler: Any, compiled: Any, result_type: Any) -> None:
        if self._test != current:
            self._reads.clear()
            self._test = current
        if not self._busy and not SERVES and len(self._reads) < 100:
            key = (compiled[0], repr(compiled[1]), result_type)
            self._reads[key] = (compiler, compiled, result_type)

    def ask_again(self) -> None:
        connection = self._connection
        if self._busy or self._writes == writes or connection.connection is None:
            return
        if connection.ormcache_writes.transaction.is_open or self._test != current:
            return
        self._writes = writes
        self._busy = True
        try:
            with unseen(connection):
                for key, (compiler, compiled, result_type) in list(self._reads.items()):
                    try:
                        compiler.execute_compiled(compiled, result_type)
                    except StaleRead:
                        raise
                    except Exception:
                        del self._reads[key]  # its table is gone, or the test has broken something on purpose
        finally:
            self._busy = False


@contextmanager
def unseen(connection: Any) -> Iterator[None]:
    """The queries inside are nobody's: not logged, and shown to no wrapper."""
    log, wrappers = list(connection.queries_log), connection.execute_wrappers
    connection.execute_wrappers = []
    try:
        yield
    finally:
        connection.execute_wrappers = wrappers
        connection.queries_log.clear()
        connection.queries_log.extend(log)


class ShadowOperations:
    def compiler(self, compiler_name: str) -> Any:
        compiler = super().compiler(compiler_name)
        return shadowed(compiler) if hasattr(compiler, "hit") else compiler


@cache
def shadowed(compiler: type[Any]) -> type[Any]:
    return type(compiler.__name__, (ShadowCompiler, compiler), {"__module__": compiler.__module__})


class ShadowMixin:
    """Goes before one of ormcache's own connection classes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.shadow_asked = Asked(self)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        operations = cls.ops_class
        cls.ops_class = type(operations.__name__, (ShadowOperations, operations), {"__module__": operations.__module__})


def as_executed(connection: Any, sql: str, params: Any) -> str:
    """The text that the log would show, had the query run."""
    connection.ensure_connection()
    if connection.vendor == "postgresql":
        return connection.ops.compose_sql(sql, params)
    return connection.ops.last_executed_query(None, sql, params)


def report(connection: Any, error: StaleRead) -> None:
    found = {
        "test": current,
        "alias": connection.alias,
        "stale": str(error),
        "dirty": sorted(connection.ormcache_writes.transaction.dirty),
        "in transaction": connection.ormcache_writes.transaction.is_open,
        "stack": traceback.format_stack()[-12:-2],
    }
    path = os.environ.get("ORMCACHE_SHADOW_REPORT")
    if path is None:
        raise StaleRead(json.dumps(found, indent=1))
    with open(path, "a") as file:
        file.write(json.dumps(found) + "\n")
