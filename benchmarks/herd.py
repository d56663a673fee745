"""Many readers, at the same moment, of one slow query that nobody has kept: how often does it run?

The database counts: each execution reads the largest table from one end to the other once.
"""

from __future__ import annotations

import os
import threading
import time
import traceback
from typing import Any

from benchmarks.candidates import REFERENCE, Candidate
from benchmarks.suite import Suite

FLUSH_TIMEOUT = 15.0  # seconds; how long the statistics of connections that were closed may need


def run(suite: Suite) -> dict[str, Any]:
    plain = next(one for one in suite.candidates if one.name == REFERENCE)
    sums = suite.worker(plain).call("benchmarks.herd.calibrate", milliseconds=suite.size.herd_milliseconds)
    suite.release()
    found: dict[str, Any] = {"readers": suite.size.herd_readers, "milliseconds": suite.size.herd_milliseconds}
    serial = iter(range(1, 10**6))
    for way in ("threads", "processes"):
        suite.say(f"{suite.size.herd_readers} readers in {way}")
        found[way] = suite.by_turns(
            suite.size.herd_rounds, lambda candidate, way=way: _slice(suite, candidate, way, sums, next(serial))
        )
    return found


def _slice(suite: Suite, candidate: Candidate, way: str, sums: int, serial: int) -> dict[str, Any]:
    worker = suite.worker(candidate)
    worker.call("benchmarks.tasks.close_connection")
    _quiet(suite, candidate)
    before = suite.bench.scans_of(candidate.database_name, "shop_item")
    answer: dict[str, Any] = worker.call(
        f"benchmarks.herd.in_{way}", readers=suite.size.herd_readers, sums=sums, serial=serial
    )
    _quiet(suite, candidate)
    return answer | {"executions": suite.bench.scans_of(candidate.database_name, "shop_item") - before}


def _quiet(suite: Suite, candidate: Candidate) -> None:
    until = time.monotonic() + FLUSH_TIMEOUT
    while suite.bench.readers_of(candidate.database_name):
        if time.monotonic() > until:
            raise RuntimeError("connections stay open")
        time.sleep(0.02)


# In the worker --------------------------------------------------------------------------


def slow(sums: int, serial: int) -> Any:
    """An aggregate over the largest table, the slower the more sums it has; ``serial`` makes it a new query."""
    from django.db.models import F, Sum

    from benchmarks.reading import read
    from benchmarks.shop.models import Item

    columns = {f"sum{number}": Sum(F("price") * F("quantity") + number) for number in range(sums)}
    query = Item.objects.filter(quantity__gt=-serial)
    return read(f"slow {sums} {serial}", lambda: query.aggregate(**columns))


def calibrate(milliseconds: float) -> int:
    """How many sums take that long on this machine."""
    times = {}
    for sums in (1, 21):
        spent = []
        for _ in range(3):
            began = time.perf_counter()
            slow(sums, 1)
            spent.append(time.perf_counter() - began)
        times[sums] = min(spent)
    one = max((times[21] - times[1]) / 20, 1e-6)
    # PostgreSQL allows 1,664 columns.
    return max(1, min(1600, 1 + round((milliseconds / 1000 - times[1]) / one)))


def in_threads(readers: int, sums: int, serial: int) -> dict[str, float]:
    from django.db import connection

    gate = threading.Barrier(readers + 1)
    latencies: list[float] = []
    errors: list[str] = []

    def one() -> None:
        try:
            connection.ensure_connection()  # connecting is not what is measured
            gate.wait()
            began = time.perf_counter()
            slow(sums, serial)
            latencies.append(time.perf_counter() - began)
        except Exception:
            errors.append(traceback.format_exc())
            gate.abort()
        finally:
            connection.close()

    threads = [threading.Thread(target=one) for _ in range(readers)]
    for thread in threads:
        thread.start()
    try:
        gate.wait()
    except threading.BrokenBarrierError:
        pass
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    if errors:
        raise RuntimeError(errors[0])
    return {"wall": time.perf_counter() - began, "slowest": max(latencies)}


def in_processes(readers: int, sums: int, serial: int) -> dict[str, float]:
    """Forked, as a server's processes are. Each tells by a byte that it stands ready, and waits for another."""
    from django.db import connection

    connection.close()
    ready, tell_ready = os.pipe()
    go, tell_go = os.pipe()
    children = [_fork(tell_ready, go, sums, serial) for _ in range(readers)]
    os.close(tell_ready)
    waiting = 0
    while waiting < readers:
        told = os.read(ready, readers)
        if not told:
            break  # all the others have died
        waiting += len(told)
    began = time.perf_counter()
    os.write(tell_go, bytes(readers))
    failed = [os.waitpid(child, 0)[1] for child in children]
    spent = time.perf_counter() - began
    for end in (ready, go, tell_go):
        os.close(end)
    if any(failed):
        raise RuntimeError(f"{sum(map(bool, failed))} of {readers} readers failed")
    return {"wall": spent, "slowest": spent}


def _fork(tell_ready: int, go: int, sums: int, serial: int) -> int:
    from django.db import connection

    child = os.fork()
    if child:
        return child
    status = 1
    try:
        connection.ensure_connection()
        os.write(tell_ready, b"r")
        os.read(go, 1)
        slow(sums, serial)
        connection.close()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)  # past the exit handlers, which are the worker's
