"""What an entry takes, in each store and in the process itself: one row, twenty, and a whole page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil

from benchmarks.candidates import REFERENCE, Candidate
from benchmarks.suite import Suite, explain
from benchmarks.worker import WorkerError

SHAPES = ("one", "twenty", "page")


def run(suite: Suite) -> dict[str, Any]:
    """Shape → candidate → bytes for one entry in the store, and in the process."""
    found: dict[str, Any] = {"entries": suite.size.memory_entries}
    for shape in SHAPES:
        found[shape] = {}
        for candidate in suite.candidates:
            if candidate.name == REFERENCE:
                continue
            suite.say(f"memory of {suite.size.memory_entries:,} entries of {shape}: {candidate.title}")
            try:
                with suite.configured(SHARE="always"):
                    found[shape][candidate.name] = _one(suite, candidate, shape)
            except WorkerError as error:
                found[shape][candidate.name] = {"failed": explain(error)}
    return found


def _one(suite: Suite, candidate: Candidate, shape: str) -> dict[str, float]:
    entries = suite.size.memory_entries
    worker = suite.worker(candidate)
    worker.call("benchmarks.memory.fill", shape=shape, first=0, last=min(20, entries))  # what comes once only
    process = psutil.Process(worker.pid)
    store, resident = used(suite, candidate), process.memory_info().rss
    worker.call("benchmarks.memory.fill", shape=shape, first=entries, last=2 * entries)
    return {
        "store": (used(suite, candidate) - store) / entries,
        "process": (process.memory_info().rss - resident) / entries,
    }


def used(suite: Suite, candidate: Candidate) -> int:
    """Bytes that its store takes now. Of shared servers: all bytes, since nobody else works."""
    if "redis" in candidate.cache_servers:
        import redis

        client = redis.Redis.from_url(suite.bench.places.redis_for(candidate))
        try:
            return int(client.info("memory")["used_memory"])
        finally:
            client.close()
    if "memcached" in candidate.cache_servers:
        from pymemcache import Client

        client = Client(suite.bench.places.memcached)
        try:
            return int(client.stats()[b"bytes"])
        finally:
            client.close()
    return _on_disk(suite.bench.folder_of(candidate))


def _on_disk(folder: Path) -> int:
    # Blocks and not lengths: the file of the embedded store is as long as it may ever become.
    return sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file())


# In the worker --------------------------------------------------------------------------


def fill(shape: str, first: int, last: int) -> None:
    """So many queries or pages that differ by a number."""
    from django.test import RequestFactory

    from benchmarks.reading import read
    from benchmarks.shop.models import Product
    from benchmarks.wsgi import cached, page

    view = cached(page)

    for number in range(first, last):
        bound = 10**12 + number
        if shape == "one":
            read(f"memory one {number}", lambda bound=bound: list(Product.objects.filter(pk=1, pk__lt=bound)))
        elif shape == "page":  # with few queries beside it, which are the same for all
            view(RequestFactory().get(f"/{number}/", headers={"host": "localhost"}))
        else:
            read(f"memory twenty {number}", lambda bound=bound: list(Product.objects.filter(pk__lt=bound)[:20]))
