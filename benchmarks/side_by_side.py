"""ormcache beside plain Django: the same work on the same PostgreSQL, by turns, in one process.

    python -m benchmarks.side_by_side [--store embedded|redis|memcached] [--rounds 15] [WORKLOAD …]

Needs the environment that ``make test`` makes. Prints the median of the rounds, wall time and CPU of this process, in
microseconds, and their ratio: below 1 ormcache is faster. A machine that does other work at the same time makes all
of it noise, the CPU ratio the least.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import django
from django.conf import settings

from tests.servers import Servers

ALIASES = ("plain", "cached")
ROWS = 2000

Work = Callable[[str], Any]


def set_up(servers: Servers, folder: Path, store: str) -> None:
    database = servers.shared("postgresql")[0]
    options = {"redis": {"STORE": "redis", "CACHE": "redis"}, "memcached": {"STORE": "memcached", "CACHE": "memcached"}}
    place = {
        "NAME": "benchmark",
        "HOST": database.host,
        "PORT": database.port,
        "USER": "postgres",
        "CONN_MAX_AGE": None,
    }
    caches = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    if store == "redis":
        caches["redis"] = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": servers.shared("redis")[0].url}
    if store == "memcached":
        server = servers.shared("memcached")[0]
        backend = "django.core.cache.backends.memcached.PyMemcacheCache"
        caches["memcached"] = {"BACKEND": backend, "LOCATION": f"{server.host}:{server.port}"}
    own = {"STORE": "embedded", "LOCATION": str(folder), "BLACKLIST": ["auth.Group"], **options.get(store, {})}
    plain = {"ENGINE": "django.db.backends.postgresql", **place}
    settings.configure(
        DATABASES={
            "default": plain,
            "plain": plain,
            "cached": {"ENGINE": "ormcache.backends.postgresql", **place, "ORMCACHE": own},
        },
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth"],
        CACHES=caches,
        USE_TZ=True,
    )
    import psycopg

    with psycopg.connect(host=database.host, port=database.port, user="postgres", autocommit=True) as connection:
        connection.execute("CREATE DATABASE benchmark")
    django.setup()
    from django.core.management import call_command

    call_command("migrate", database="cached", verbosity=0)


def workloads() -> dict[str, Work]:
    from django.contrib.auth.models import Group, User
    from django.db import connections, transaction

    User.objects.using("plain").bulk_create(
        User(username=f"user{number}", first_name=f"first{number}", last_name="last", email=f"{number}@example.org")
        for number in range(ROWS)
    )
    Group.objects.using("plain").create(name="group")
    users = {alias: User.objects.using(alias).get(username="user7") for alias in ALIASES}
    groups = {alias: Group.objects.using(alias).get() for alias in ALIASES}
    key = users["plain"].pk
    fresh = iter(range(10**9))  # numbers that no query has used yet

    def users_of(alias: str) -> Any:
        return User.objects.using(alias)

    def raw(alias: str, statement: str) -> None:
        with connections[alias].cursor() as cursor:
            cursor.execute(statement, [key])

    def atomic(alias: str) -> None:
        with transaction.atomic(using=alias):
            for _ in range(10):
                users[alias].save()

    return {
        "get(pk), hit": lambda alias: users_of(alias).get(pk=key),
        "20 rows, hit": lambda alias: list(users_of(alias).filter(first_name__gt="first1")[:20]),
        "1000 rows, hit": lambda alias: list(users_of(alias).order_by("pk")[:1000]),
        "count, hit": lambda alias: users_of(alias).filter(first_name__gt="first1").count(),
        "one row, miss": lambda alias: list(users_of(alias).filter(pk=key, id__lt=key + 1 + next(fresh))),
        "20 rows, miss": lambda alias: list(users_of(alias).filter(pk__lt=10**6 + next(fresh))[:20]),
        "1000 rows, miss": lambda alias: list(users_of(alias).filter(pk__lt=10**6 + next(fresh))[:1000]),
        "save()": lambda alias: users[alias].save(),
        "update()": lambda alias: users_of(alias).filter(pk=key).update(last_name="other"),
        "atomic, 10 saves": atomic,
        "blacklisted get": lambda alias: Group.objects.using(alias).get(pk=groups[alias].pk),
        "blacklisted save": lambda alias: groups[alias].save(),
        "raw SELECT": lambda alias: raw(alias, "SELECT username FROM auth_user WHERE id = %s"),
        "raw UPDATE": lambda alias: raw(alias, "UPDATE auth_user SET last_name = 'raw' WHERE id = %s"),
    }


def measure(work: Work, rounds: int, seconds: float) -> dict[str, tuple[float, float]]:
    """Alias → medians over the rounds of wall time and CPU time, in microseconds for one call."""
    for alias in ALIASES:
        work(alias)
        work(alias)
    started = time.perf_counter()
    work("plain")
    calls = max(3, int(seconds / (time.perf_counter() - started)))
    found: dict[str, list[tuple[float, float]]] = {alias: [] for alias in ALIASES}
    for _ in range(rounds):
        for alias in ALIASES:
            wall, cpu = time.perf_counter(), time.thread_time()
            for _ in range(calls):
                work(alias)
            found[alias].append(((time.perf_counter() - wall) / calls * 1e6, (time.thread_time() - cpu) / calls * 1e6))
    return {
        alias: (statistics.median(wall for wall, _ in times), statistics.median(cpu for _, cpu in times))
        for alias, times in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workload", nargs="*", help="names, or parts of names, of what to measure")
    parser.add_argument("--store", choices=["embedded", "redis", "memcached"], default="embedded")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.05, help="how long plain Django works in one round")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        servers = Servers(Path(tempfile.mkdtemp(prefix="ormcache-benchmark-")))
        try:
            set_up(servers, Path(folder) / "store", options.store)
            print(f"store {options.store}, {options.rounds} rounds, µs for one call")
            print(f"{'':18}{'plain: wall':>12}{'CPU':>8}{'cached: wall':>14}{'CPU':>8}{'ratio: wall':>13}{'CPU':>7}")
            for name, work in workloads().items():
                if options.workload and not any(part in name for part in options.workload):
                    continue
                times = measure(work, options.rounds, options.seconds)
                (plain, plain_cpu), (cached, cached_cpu) = times["plain"], times["cached"]
                print(
                    f"{name:18}{plain:12.0f}{plain_cpu:8.0f}{cached:14.0f}{cached_cpu:8.0f}"
                    f"{cached / plain:13.2f}{cached_cpu / plain_cpu:7.2f}",
                    flush=True,
                )
        finally:
            servers.close()


if __name__ == "__main__":
    main()
