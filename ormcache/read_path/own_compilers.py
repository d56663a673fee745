"""Queries that bring a compiler of their own, which does not ask the cache.

``Query.get_compiler()`` asks the database's operations for a compiler, and gets one that asks the cache. Queries of
some packages override it and make a compiler themselves, of a class that knows of no cache: their reads can be counted
as bypasses, and no more.
"""

from __future__ import annotations

import sys
from types import CodeType, FrameType
from typing import Any

from django.db.models.sql.compiler import SQLCompiler, SQLDeleteCompiler, SQLInsertCompiler, SQLUpdateCompiler

from ormcache.session.tracker import unwrapped

#: Code of the method that runs the query of every compiler
_EXECUTE_SQL = getattr(SQLCompiler.execute_sql, "__code__", None)

#: Compilers of writes, which run their statements by the same method
_WRITE_COMPILERS = (SQLInsertCompiler, SQLUpdateCompiler, SQLDeleteCompiler)

#: What the statements of those begin with, and no query does
_WRITES = ("UPDATE ", "INSERT ", "DELETE ")

#: Frames from here up to the nearest one that can be that method's: a cursor's ``_execute()``, what has called it,
#: and that method. None of those before it are looked at, which makes Python create no objects for them
_NEAREST_FRAME = 3
#: Frames from there on that are looked at: Django's own, execute wrappers, what tools put around both
_MOST_FRAMES = 14


def is_own_compiler(compiler: Any) -> bool:
    """Return whether this is the compiler of a read, of a class that does not ask the cache."""
    return (
        isinstance(compiler, SQLCompiler)
        and not isinstance(compiler, _WRITE_COMPILERS)
        and not hasattr(compiler, "read_uncached")
    )


def runs_for_own_compiler(cursor: Any, sql: Any, asking: frozenset[CodeType]) -> bool:
    """Return whether the statement that a cursor is running is the query of a compiler that does not ask the cache.

    Other statements may run meanwhile, on cursors of their own: those that set up a connection, or read the catalog.
    ``asking``: code objects of the methods of ormcache's compilers by which they run a query after they have asked
    the cache.
    """
    if type(sql) is str and sql.startswith(_WRITES):
        return False
    try:
        frame: FrameType | None = sys._getframe(_NEAREST_FRAME)
    except ValueError:  # there are fewer
        return False
    execute_sql = _EXECUTE_SQL
    for _ in range(_MOST_FRAMES):
        if frame is None:
            return False
        if frame.f_code is execute_sql:
            caller = frame.f_back
            if caller is not None and caller.f_code in asking:
                return False  # without a look at the frame's variables, for which Python would make a dict
            variables = frame.f_locals
            return unwrapped(variables.get("cursor")) is cursor and is_own_compiler(variables.get("self"))
        frame = frame.f_back
    return False
