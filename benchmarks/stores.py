"""What the operations of a store cost, in microseconds of CPU: of this process, and of the server.

    python -m benchmarks.stores [--rounds 15] [redis memcached embedded]

Each beside a round trip on a bare socket, which asks the same server for three slots. All operations take turns, and
each counts at the best of its rounds: a machine that does other work at the same time makes less noise in that. Before
each call this process does something else, as between two queries: the processor's caches are not as warm as in a
loop, and the server sleeps. A rest is longer than the time for which a store trusts a connection without a look at it.

What it costs to wake another processor is the larger part of a round trip, and differs from machine to machine:
``taskset -c 0 python -m benchmarks.stores`` shows what is left without.
"""

from __future__ import annotations

import argparse
import ast
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import django
from django.conf import settings

from benchmarks.meter import Meter
from ormcache.cache.stamps import new_stamp
from ormcache.conf import config_for
from ormcache.stores import open_store
from ormcache.stores.base import WRITER_LENGTH, Store
from tests.servers import Server, Servers

SLOTS = 3  # a table, the schema's and the epoch's: what the simplest query depends on
ENTRY = 3000  # bytes
CALLS = 200  # in one slice
RESTS = 10  # in one slice of calls that come after a rest
REST = 0.11  # seconds
LEASE = 60.0  # seconds

BACKENDS = {
    "redis": "django_redis.cache.RedisCache",
    "memcached": "django.core.cache.backends.memcached.PyMemcacheCache",
}

SOURCE = Path(__file__).read_text(encoding="utf-8")

Operation = Callable[[], object]


def set_up(servers: dict[str, Server]) -> None:
    caches = {
        kind: {"BACKEND": BACKENDS[kind], "LOCATION": f"{server.host}:{server.port}"}
        for kind, server in servers.items()
    }
    if "redis" in caches:
        caches["redis"]["LOCATION"] = servers["redis"].url
    default = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
    settings.configure(CACHES={"default": default, **caches}, DATABASES={}, INSTALLED_APPS=[])
    django.setup()


def operations(store: Store) -> dict[str, Operation]:
    slots = [os.urandom(16) for _ in range(SLOTS)]
    table, schema = slots[1:2], slots[2]
    entry, value = os.urandom(16), os.urandom(ENTRY)
    store.fill_slots(slots, new_stamp())
    store.put_entry(entry, value, None)

    def write() -> None:
        writer = os.urandom(WRITER_LENGTH)
        store.mark(table, writer, LEASE, schema)
        store.settle(table, writer, new_stamp(), schema)

    def commit() -> None:
        writer = os.urandom(WRITER_LENGTH)
        store.mark(table, writer, LEASE, schema)
        store.settle(table, writer, new_stamp())

    return {
        "look up slots": lambda: store.look_up(None, slots),
        "look up an entry": lambda: store.look_up(entry, slots),
        "put": lambda: store.put_entry(entry, value, 300),
        "mark and settle": write,
        "mark and settle unasked": commit,
    }


@contextmanager
def round_trip(kind: str, server: Server) -> Iterator[Operation]:
    """Three slots, asked for by bytes that are ready, and answered by bytes that nobody reads."""
    names = [b"ormcache:12345678:s:%016d" % number for number in range(SLOTS)]
    setting = {
        "redis": b"".join(
            b"*3\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$17\r\n%b\r\n" % (len(name), name, b"x" * 17) for name in names
        ),
        "memcached": b"".join(b"set %b 0 0 17\r\n%b\r\n" % (name, b"x" * 17) for name in names),
    }[kind]
    asking = {
        "redis": b"*4\r\n$4\r\nMGET\r\n" + b"".join(b"$%d\r\n%b\r\n" % (len(name), name) for name in names),
        "memcached": b"get " + b" ".join(names) + b"\r\n",
    }[kind]
    with socket.create_connection((server.host, server.port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(setting)
        time.sleep(0.1)
        connection.recv(1000)

        def ask() -> None:
            connection.sendall(asking)
            connection.recv(1000)

        yield ask


def timed(operation: Operation, meter: Meter, calls: int, before_each: Operation) -> tuple[float, float]:
    """Microseconds of one call: here, and in the server."""
    here, before = 0.0, meter.read()
    for _ in range(calls):
        before_each()
        began = time.process_time()
        operation()
        here += time.process_time() - began
    return here / calls * 1e6, sum(meter.since(before).values()) / calls * 1e6


def work() -> None:
    """Some hundred microseconds of Python all over the memory."""
    ast.parse(SOURCE)


def rest() -> None:
    time.sleep(REST)


def measure(kind: str, server: Server | None, folder: Path, rounds: int) -> dict[str, list[tuple[float, float]]]:
    store = open_store(config_for(kind, {"ORMCACHE": {"STORE": kind, "CACHE": kind, "LOCATION": str(folder)}}), kind)
    meter = Meter({kind: server.pid if server is not None else None})
    with ExitStack() as stack:
        stack.callback(store.close)
        each = operations(store)
        if server is not None:
            each = {"bare round trip": stack.enter_context(round_trip(kind, server))} | each
        found: dict[str, list[tuple[float, float]]] = {}
        for _ in range(rounds):
            for name, operation in each.items():
                found.setdefault(name, []).append(timed(operation, meter, CALLS, work))
        for name in ("bare round trip", "look up slots"):
            if name in each:
                found[f"{name}, after a rest"] = [timed(each[name], meter, RESTS, rest) for _ in range(rounds)]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = [*BACKENDS, "embedded"]
    parser.add_argument("kinds", nargs="*", metavar="store", help=", ".join(kinds))
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    chosen = options.kinds or kinds
    servers = Servers(Path(tempfile.mkdtemp(prefix="ormcache-benchmark-")))
    with tempfile.TemporaryDirectory(prefix="ormcache-benchmark-") as folder:
        try:
            running = {kind: servers.start(kind) for kind in chosen if kind in BACKENDS}
            set_up(running)
            print(f"{'µs of CPU':44}{'here':>10}{'server':>10}")
            for kind in chosen:
                for name, times in measure(kind, running.get(kind), Path(folder) / "store", options.rounds).items():
                    here, there = (min(column) for column in zip(*times, strict=True))
                    print(f"{kind:12}{name:32}{here:10.1f}{there:10.1f}", flush=True)
        finally:
            servers.close()


if __name__ == "__main__":
    main()
