"""The database of a soak: tables and rows, made by Django's own engine in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import django
import psycopg

from tests.servers import Server
from tests.torture.torture import SOAKED, WORKERS
from tests.torture.worker import own_authors

ROOT = Path(__file__).parents[2]


def prepare(server: Server) -> None:
    """Make the database of a soak on a server of PostgreSQL."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {SOAKED}")
    site = {
        "database": SOAKED,
        "user": "postgres",
        "database_host": server.host,
        "database_port": server.port,
        "store": "redis://127.0.0.1:1",
        "ormcache": {"ENABLED": False},
    }
    environment = os.environ | {"ORMCACHE_TORTURE": json.dumps(site)}
    subprocess.run([sys.executable, "-m", "tests.torture.prepare"], cwd=ROOT, env=environment, check=True)


def main() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.torture.settings"
    django.setup()
    from django.core.management import call_command

    from tests.shop.models import Author

    call_command("migrate", run_syncdb=True, verbosity=0, skip_checks=True)
    Author.objects.bulk_create(
        Author(pk=author, name="0", email=f"{author}@x") for worker in WORKERS for author in own_authors(worker)
    )


if __name__ == "__main__":
    main()
