"""What no cache below the ORM can go under: Django's own work with a database that answers in no time.

The database is stubbed out here and nowhere else: a cursor that has the rows already. Then the same with the SQL not
even compiled. And a round trip to Redis on a bare socket, which is what any store in a server costs at least.
"""

from __future__ import annotations

import socket
import time
import urllib.parse
from collections.abc import Callable
from typing import Any
from unittest import mock

from benchmarks.candidates import REFERENCE
from benchmarks.suite import Suite

SHAPES = ("get", "rows_20", "rows_1000")
TURNS = 50  # round trips and calls of one round


def run(suite: Suite) -> dict[str, Any]:
    """Shape → seconds of one call with a real database, a stubbed one, and without compiling, round by round."""
    plain = next(one for one in suite.candidates if one.name == REFERENCE)
    found: dict[str, Any] = {shape: [] for shape in SHAPES}
    trips = []
    for _ in range(suite.rounds):
        for shape in SHAPES:
            found[shape].append(suite.worker(plain).call("benchmarks.floor.measure", function=shape))
        if suite.bench.places.redis:
            trips.append(round_trip(suite.bench.places.redis))
    return {"shapes": found, "redis": trips}


def round_trip(url: str) -> float:
    """Seconds of a PING, the middle of some."""
    parts = urllib.parse.urlsplit(url)
    times = []
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(TURNS * 4):
            began = time.perf_counter()
            connection.sendall(b"PING\r\n")
            connection.recv(64)
            times.append(time.perf_counter() - began)
    return sorted(times)[len(times) // 2]


# In the worker --------------------------------------------------------------------------


class StubbedCursor:
    """Has the rows of one query, whatever is asked."""

    def __init__(self, rows: list[Any]) -> None:
        self._rows = rows
        self._given = 0

    def execute(self, sql: Any, params: Any = None) -> None:
        self._given = 0

    def fetchone(self) -> Any:
        self._given = 1
        return self._rows[0] if self._rows else None

    def fetchmany(self, size: int) -> list[Any]:
        rows = self._rows[self._given : self._given + size]
        self._given += len(rows)
        return rows

    def close(self) -> None:
        pass


def measure(function: str) -> dict[str, float]:
    from django.db import connection
    from django.db.models.sql.compiler import SQLCompiler

    from benchmarks import calls

    work = getattr(calls, function)
    times = {"database": _timed(work)}
    rows, compiler = _recorded(work)
    with mock.patch.object(connection, "cursor", return_value=StubbedCursor(rows)):
        times["stubbed"] = _timed(work)

    def without_compiling(self: Any, *arguments: Any, **options: Any) -> Any:
        for name in ("select", "klass_info", "annotation_col_map", "col_count", "has_extra_select"):
            if hasattr(compiler, name):
                setattr(self, name, getattr(compiler, name))
        return [rows]

    with mock.patch.object(SQLCompiler, "execute_sql", without_compiling):
        times["not compiled"] = _timed(work)
    return times


def _recorded(work: Callable[[], Any]) -> tuple[list[Any], Any]:
    """The rows that a workload's only query returns, and the compiler that asked for them."""
    from django.db.models.sql.compiler import SQLCompiler

    found: list[Any] = []
    original = SQLCompiler.execute_sql

    def recording(self: Any, *arguments: Any, **options: Any) -> Any:
        rows = [row for chunk in original(self, *arguments, **options) for row in chunk]
        found[:] = [rows, self]
        return [rows]

    with mock.patch.object(SQLCompiler, "execute_sql", recording):
        work()
    return found[0], found[1]


def _timed(work: Callable[[], Any]) -> float:
    work()
    times = []
    for _ in range(TURNS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return sorted(times)[len(times) // 2]
