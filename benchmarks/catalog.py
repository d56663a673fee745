"""How long it takes to read a catalog and to draw conclusions from it, by vendor and number of relations.

    python -m benchmarks.catalog [--engine postgresql|mysql|sqlite] [--relations 100 1000 5000] [--rounds 5]

Needs the environment that ``make test`` makes. Of the relations one in five is a view; for every two there is one
trigger, for every twenty one function that triggers share, and every other table has a cascading foreign key. Prints
the least of the rounds, in milliseconds: reading the facts, indexing them, and the first plan of a write to each table
(which draws all conclusions that there are), all of them together.
"""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ormcache.catalog import READERS, Catalog
from ormcache.catalog.facts import Facts
from tests.servers import Attached, Servers

ENGINES = ("postgresql", "mysql", "sqlite")


def statements(engine: str, relations: int) -> Iterator[str]:
    """What makes the schema."""
    views, triggers, functions = relations // 5, relations // 2, max(relations // 20, 1)
    tables = relations - views
    key = {"postgresql": "serial PRIMARY KEY", "mysql": "int AUTO_INCREMENT PRIMARY KEY"}.get(
        engine, "integer PRIMARY KEY"
    )
    for n in range(tables):
        refers = f", FOREIGN KEY (ref) REFERENCES t{n - 1} (id) ON DELETE CASCADE" if n % 2 else ""
        yield f"CREATE TABLE t{n} (id {key}, name varchar(50), price numeric(10, 2) DEFAULT 0, ref int{refers})"
    for n in range(views):
        a, b, x = n % tables, (n + 1) % tables, (n + 2) % tables
        yield (
            f"CREATE VIEW v{n} AS SELECT a.id, a.name, b.price, upper(b.name) AS u, (SELECT count(*) FROM t{x} x"
            f" WHERE x.ref = a.id) AS n FROM t{a} a JOIN t{b} b ON b.ref = a.id WHERE a.price > 3"
        )
    if engine == "postgresql":
        for n in range(functions):
            yield (
                f"CREATE FUNCTION f{n}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE t{n % tables} SET price ="
                " price + 1 WHERE id = NEW.ref; IF NEW.name IS NULL THEN NEW.name := 'x'; END IF; RETURN NEW; END $$"
            )
    for n in range(triggers):
        on = f"CREATE TRIGGER g{n} AFTER INSERT ON t{(n + tables // 8) % tables} FOR EACH ROW"
        if engine == "postgresql":
            yield f"{on} EXECUTE FUNCTION f{n % functions}()"
        else:
            yield f"{on} BEGIN UPDATE t{n % tables} SET price = price + 1 WHERE id = NEW.ref; END"


@contextmanager
def database(engine: str, servers: Servers, folder: Path, name: str) -> Iterator[Any]:
    """A DB-API connection to a new database, in autocommit."""
    if engine == "sqlite":
        connection: Any = sqlite3.connect(folder / name, isolation_level=None)
    elif engine == "postgresql":
        import psycopg

        server = Attached(**servers.shared(engine)[0].describe())
        place = {"host": server.host, "port": server.port, "user": server.user, "password": server.password}
        with psycopg.connect(**place, dbname="postgres", autocommit=True) as administration:
            administration.execute(f"CREATE DATABASE {name}")
        connection = psycopg.connect(**place, dbname=name, autocommit=True)
    else:
        import pymysql

        server = Attached(**servers.shared(engine)[0].describe())
        place = {"host": server.host, "port": server.port, "user": server.user, "password": server.password}
        connection = pymysql.connect(**place, autocommit=True)
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name}")
            cursor.execute(f"USE {name}")
    try:
        yield connection
    finally:
        connection.close()


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    answer = call()
    return (time.perf_counter() - began) * 1000, answer


def conclusions(facts: Facts, catalog: Catalog) -> None:
    scope = catalog.resolver_for()
    for relation in facts.relations:
        scope.written([relation.name])
        scope.read([relation.name])


def measure(engine: str, connection: Any, rounds: int) -> tuple[float, float, float]:
    """The least time of reading, indexing and concluding."""
    found = []
    wrapper = SimpleNamespace(connection=connection)
    for _ in range(rounds):
        read, facts = timed(lambda: READERS[engine].load(wrapper))
        index, catalog = timed(lambda facts=facts: Catalog(engine, facts))
        conclude, _ = timed(lambda facts=facts, catalog=catalog: conclusions(facts, catalog))
        found.append((read, index, conclude))
    return min(one for one, _, _ in found), min(one for _, one, _ in found), min(one for _, _, one in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=ENGINES, action="append")
    parser.add_argument("--relations", type=int, nargs="*", default=[100, 1000, 5000])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"{'engine':<12}{'relations':>10}{'read':>10}{'index':>10}{'conclude':>10}   milliseconds")
    with tempfile.TemporaryDirectory(prefix="ormcache-benchmark-") as folder:
        servers = Servers(Path(folder))
        try:
            for engine in options.engine or ENGINES:
                for relations in options.relations:
                    with database(engine, servers, Path(folder), f"catalog_{relations}") as connection:
                        cursor = connection.cursor()
                        for statement in statements(engine, relations):
                            cursor.execute(statement)
                        figures = measure(engine, connection, options.rounds)
                    shown = "".join(f"{figure:>10.1f}" for figure in figures)
                    print(f"{engine:<12}{relations:>10}{shown}", flush=True)
        finally:
            servers.close()


if __name__ == "__main__":
    main()
