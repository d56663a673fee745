"""The servers of a run: started for it, or named by ``ORMCACHE_TEST_POSTGRESQL`` and its like.

    python -m benchmarks.servers --install

puts what is missing on a Debian machine, where it may. ``make bench`` does so.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg import sql

from benchmarks.candidates import Candidate, Places
from tests import servers as tests_servers
from tests.servers import AnyServer, Servers

KINDS = ("postgresql", "redis", "memcached")
TEMPLATE = "benchmark_template"

#: What the report says of PostgreSQL: a commit that need not reach the disk is cheap, and makes all that is added to it
#: look expensive.
TOLD = ("server_version", "fsync", "synchronous_commit", "shared_buffers", "max_connections")


class Bench:
    """Servers, and the databases of the candidates in them. A context manager: leaves nothing behind."""

    def __init__(self) -> None:
        # Where ormcache itself would put the embedded store's files, if that is there
        memory = Path("/dev/shm")
        base = memory if memory.is_dir() and os.access(memory, os.W_OK) else None
        self._store_folder = Path(tempfile.mkdtemp(prefix="ormcache-benchmark-", dir=base))
        self._servers = Servers(Path(tempfile.mkdtemp(prefix="ormcache-benchmark-")))
        self.running: dict[str, AnyServer] = {}
        for kind in KINDS:
            # One memcached, not the three of the tests: the usual case of a small site, as with Redis.
            given = os.environ.get(tests_servers.variable(kind))
            try:
                self.running[kind] = self._servers.shared(kind)[0] if given else self._servers.start(kind)
            except tests_servers.ServerMissing:
                if kind == "postgresql":
                    self.close()
                    raise
        self._databases: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if "postgresql" in self.running and not self.running["postgresql"].controlled:
            for name in self._databases:
                self._drop(name)
        self._servers.close()
        shutil.rmtree(self._store_folder, ignore_errors=True)

    # Places ---------------------------------------------------------------------------

    @property
    def places(self) -> Places:
        database, redis, memcached = (self.running.get(kind) for kind in KINDS)
        assert database is not None
        return Places(
            database={
                "HOST": database.host,
                "PORT": database.port,
                "USER": getattr(database, "user", "") or "postgres",
                "PASSWORD": getattr(database, "password", ""),
            },
            redis=f"redis://{redis.host}:{redis.port}" if redis else "",
            memcached=f"{memcached.host}:{memcached.port}" if memcached else "",
            folder=self._store_folder,
        )

    def folder_of(self, candidate: Candidate) -> Path:
        return self._store_folder / candidate.name

    # Databases ------------------------------------------------------------------------

    def make_database(self, name: str, template: str | None = None) -> None:
        """An empty one, or a copy of ``template``. No parallel workers and no JIT, whose costs come and go."""
        self._drop(name)
        identifier = sql.Identifier(name)
        copied = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(identifier, sql.Identifier(template or "template0"))
        with self.administration() as connection:
            connection.execute(copied)
            for setting in ("max_parallel_workers_per_gather", "jit"):
                change = sql.SQL("ALTER DATABASE {} SET {} = 0").format(identifier, sql.Identifier(setting))
                connection.execute(change)
        self._databases.append(name)

    def administration(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """A connection past all candidates, in autocommit."""
        place = self.places.database
        return psycopg.connect(
            host=place["HOST"],
            port=place["PORT"],
            user=place["USER"],
            password=place["PASSWORD"],
            dbname=database,
            autocommit=True,
        )

    def scans_of(self, database: str, table: str) -> int:
        """How often the table was read from one end to the other, by the server's own statistics.

        A backend reports what it has done when it ends, so whoever is counted has to have closed its connection.
        """
        with self.administration(database) as connection:
            row = connection.execute("SELECT pg_stat_get_numscans(%s::regclass)", [table]).fetchone()
        assert row is not None
        return int(row[0])

    def readers_of(self, database: str) -> int:
        """How many connections to it are open."""
        with self.administration() as connection:
            row = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = %s", [database]).fetchone()
        assert row is not None
        return int(row[0])

    def _drop(self, name: str) -> None:
        with self.administration() as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    # What they are --------------------------------------------------------------------

    def versions(self) -> dict[str, str]:
        """Of the servers, and PostgreSQL's settings that decide what a commit costs."""
        with self.administration() as connection:
            told = connection.execute("SELECT name, current_setting(name) FROM unnest(%s::text[]) name", [list(TOLD)])
            found = {f"PostgreSQL {name}": str(value) for name, value in told}
        found["PostgreSQL"] = found.pop("PostgreSQL server_version")
        for kind in ("redis", "memcached"):
            program = tests_servers.find_program(kind) if kind in self.running else None
            if program and self.running[kind].controlled:
                found[kind] = subprocess.run(
                    [program, "--version"], capture_output=True, text=True, check=False
                ).stdout.strip()
        return found


def install() -> None:
    """Install servers and wrk from Debian's packages, if this process may."""
    tests_servers.install(KINDS)
    if shutil.which("wrk") or os.geteuid() != 0 or not shutil.which("apt-get"):
        return
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "-qq", "install", "-y", "--no-install-recommends", "wrk"], env=environment, check=False)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.servers", description="Which servers would be used")
    parser.add_argument("--install", action="store_true", help="install missing Debian packages, as root on Debian")
    if parser.parse_args().install:
        install()
    for kind in KINDS:
        found = os.environ.get(tests_servers.variable(kind)) or tests_servers.find_program(kind)
        print(f"{kind:11} {found or 'MISSING: ' + tests_servers.explain_missing(kind)}")
    print(f"{'wrk':11} {shutil.which('wrk') or 'MISSING: the pages through gunicorn are left out'}")


if __name__ == "__main__":
    main()
