"""What ormcache thinks about a statement that it has not seen before, in microseconds.

    python -m benchmarks.planning [--rounds 7] [postgresql mysql sqlite]

The statements are the distilled ones of Django's own test suite, see :mod:`tests.oracle`; the catalog is that of a real
database with all tables that they name. For each vendor: the analysis of the text alone, the whole plan at first sight,
and the plan of a text that is known already. Median, ninetieth percentile and most of all texts, each at the best of
its rounds: a machine that does other work at the same time makes less noise in that.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import django
from django.conf import settings

from ormcache.sql.lexer import VENDORS
from tests.oracle import grammar
from tests.oracle.recordings import Recorded, kept
from tests.servers import Servers

ENGINES = {"postgresql": "postgresql", "mysql": "mysql", "sqlite": "sqlite3"}


def set_up(vendors: list[str], servers: Servers, folder: Path) -> None:
    databases: dict[str, Any] = {}
    for vendor in vendors:
        place: dict[str, Any] = {"NAME": str(folder / "benchmark.sqlite3")}
        if vendor != "sqlite":
            server = servers.shared(vendor)[0]
            address = urllib.parse.urlsplit(server.url)
            place = {"HOST": server.host, "PORT": server.port, "USER": address.username or ""}
            place |= {"PASSWORD": urllib.parse.unquote(address.password or "")}
            # A database that is always there, to make the other one from
            maker = "postgres" if vendor == "postgresql" else "mysql"
            databases[f"{vendor} maker"] = {"ENGINE": f"django.db.backends.{vendor}", "NAME": maker, **place}
            place["NAME"] = f"planning_{folder.name}".lower()
        databases[vendor] = {"ENGINE": f"ormcache.backends.{ENGINES[vendor]}", **place}
        databases[vendor]["ORMCACHE"] = {"STORE": "embedded", "LOCATION": str(folder / vendor)}
    databases["default"] = databases[vendors[0]]
    settings.configure(DATABASES=databases, INSTALLED_APPS=[], USE_TZ=True)
    django.setup()


def make_database(vendor: str, texts: list[Recorded], *, there: bool) -> None:
    """Make it with the tables of the texts, or drop it. Bypasses the cache."""
    from django.db import connections

    if vendor != "sqlite":
        name = connections[vendor].settings_dict["NAME"]
        maker = connections[f"{vendor} maker"]
        with maker.cursor() as cursor:
            cursor.execute(f"{'CREATE' if there else 'DROP'} DATABASE {maker.ops.quote_name(name)}")
    if not there:
        return
    connection = connections[vendor]
    connection.ensure_connection()
    cursor = connection.connection.cursor()
    for table in sorted(tables_of(vendor, texts)):
        cursor.execute(f"CREATE TABLE {connection.ops.quote_name(table)} (id integer)")
    cursor.close()
    connection.close()  # so that the next one reads the catalog


def tables_of(vendor: str, texts: list[Recorded]) -> set[str]:
    found: set[str] = set()
    for one in texts:
        if vendor == "postgresql":
            parsed = grammar.parse(one.sql, formatted=one.formatted)
            found |= {name for schema, name in parsed.relations if schema is None} if parsed else set()
        else:
            found |= {table.lower() for table in one.direct or ()}
    return {table for table in found if not table.startswith(("pg_", "sqlite_"))}


def timed(call: Callable[[str], object], texts: list[str], rounds: int) -> list[float]:
    """The least time of each text, in microseconds."""
    found = [float("inf")] * len(texts)
    for _ in range(rounds):
        for number, text in enumerate(texts):
            started = time.perf_counter()
            call(text)
            found[number] = min(found[number], (time.perf_counter() - started) * 1e6)
    return found


def measure(vendor: str, texts: list[str], rounds: int) -> dict[str, list[float]]:
    from django.db import connections

    from ormcache.sql import analyse

    connection = connections[vendor]
    connection.ensure_connection()
    database, context = connection.ormcache.database, connection.ormcache.resolution_context()
    fresh = iter(range(10**9))
    for text in texts:
        database.plans.plan(text, context)
    # A comment that no text has had yet makes each of them one that has not been seen.
    return {
        "analysis": timed(lambda text: analyse(text, vendor), texts, rounds),
        "plan, first sight": timed(
            lambda text: database.plans.plan(f"{text}\n-- {next(fresh)}", context), texts, rounds
        ),
        "plan, known": timed_known(lambda text: database.plans.plan(text, context), texts, rounds),
    }


def timed_known(plan: Callable[[str], object], texts: list[str], rounds: int) -> list[float]:
    def twice(text: str) -> list[float]:
        plan(text)
        return timed(plan, [text], rounds)

    return [time for text in texts for time in twice(text)]


def shown(times: list[float]) -> str:
    ordered = sorted(times)
    median, ninetieth = (ordered[len(ordered) * part // 10] for part in (5, 9))
    return f"{median:10.1f}{ninetieth:10.1f}{ordered[-1]:10.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vendors", nargs="*", help=", ".join(VENDORS))
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    vendors = options.vendors or list(VENDORS)
    servers = Servers(Path(tempfile.mkdtemp(prefix="ormcache-benchmark-")))
    with tempfile.TemporaryDirectory(prefix="planning-") as folder:
        try:
            set_up(vendors, servers, Path(folder))
            print(f"{'µs':32}{'median':>10}{'90 %':>10}{'most':>10}")
            for vendor in vendors:
                recorded = kept(vendor)
                make_database(vendor, recorded, there=True)
                for name, times in measure(vendor, [one.sql for one in recorded], options.rounds).items():
                    print(f"{vendor:12}{name:20}{shown(times)}   {len(times)} texts", flush=True)
                close()
                make_database(vendor, recorded, there=False)
        finally:
            close()
            servers.close()


def close() -> None:
    from django.db import connections

    connections.close_all()


if __name__ == "__main__":
    main()
