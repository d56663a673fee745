"""What a worker is told to do with a workload: try it, estimate it, run a slice of it."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed
from django.db import connection

from benchmarks import calls
from benchmarks.answers import digest


class Statements:
    """How many of them reached the database, transaction control apart."""

    def __init__(self) -> None:
        self.total = 0
        self.writes = 0

    def __call__(self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:
        self.total += 1
        if str(sql).lstrip("( ")[:6].upper() != "SELECT":
            self.writes += 1
        return execute(sql, params, many, context)

    @property
    def reads(self) -> int:
        return self.total - self.writes


@contextmanager
def counted() -> Iterator[Statements]:
    found = Statements()
    with connection.execute_wrapper(found):
        yield found


def attempt(function: str) -> dict[str, Any]:
    """Run it twice, as a check: digests of both answers, and how many statements the second one needed."""
    work = getattr(calls, function)
    first = digest(work())
    with counted() as statements:
        answer = work()
    return {"digests": [first, digest(answer)], "statements": statements.total}


def estimate(function: str) -> float:
    """Seconds for one call: the least of a few."""
    work = getattr(calls, function)
    times = []
    for _ in range(3):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def measure(function: str, times: int) -> dict[str, float]:
    """Run it so many times: wall time and CPU time of this process, all its threads, in seconds."""
    work = getattr(calls, function)
    gc.collect()
    cpu = time.process_time()
    wall = time.perf_counter()
    for _ in range(times):
        work()
    return {"wall": time.perf_counter() - wall, "application": time.process_time() - cpu, "calls": times}


def configure(**keys: Any) -> None:
    """Settings of ormcache for a running process."""
    settings.ORMCACHE = {**settings.ORMCACHE, **keys}
    setting_changed.send(sender=None, setting="ORMCACHE", value=settings.ORMCACHE, enter=True)


def close_connection() -> None:
    """So that the server's statistics and its limit of connections are others' to use."""
    connection.close()


def ready() -> str:
    """The first call that a worker answers: it imports what all others need."""
    return connection.vendor
