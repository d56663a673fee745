"""Databases that are restored, made again or renamed while processes answer from the cache."""

from __future__ import annotations

import io
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connections

from ormcache.management.subcommands import restored
from tests.integration.reading import ENGINE, execute, only_postgresql, only_sqlite
from tests.integration.session.test_identity import add_alias, furnish, leads_to, names
from tests.process import stop
from tests.shop.models import Genre, Upper

TABLE = Upper._meta.db_table


def labels(using: str = "default") -> list[str]:
    return list(Upper.objects.using(using).order_by("pk").values_list("label", flat=True))


def read_twice() -> list[list[str]]:
    """What another process reads, before the restore and after it."""
    before = labels()
    assert labels() == before
    connections["default"].close()
    labels()
    stop("read")
    return [before, labels()]


def run(*command: str, stdin: bytes = b"") -> bytes:
    """The output of a program."""
    return subprocess.run(command, input=stdin, check=True, stdout=subprocess.PIPE).stdout


def dump_and_restore(folder: Path) -> Callable[[], None]:
    """Dump the table; return what restores it, over what is there by then."""
    given = connections["plain"].settings_dict
    if ENGINE == "sqlite":
        path = str(given["NAME"])
        dump = run("sqlite3", path, f'.dump "{TABLE}"')
        return lambda: run("sqlite3", path, stdin=f'DROP TABLE "{TABLE}";\n'.encode() + dump)
    if ENGINE == "postgresql":
        os.environ["PGPASSWORD"] = given["PASSWORD"] or "-"
        place = ("-h", given["HOST"], "-p", str(given["PORT"]), "-U", given["USER"], "-d", given["NAME"])
        dump = run("pg_dump", *place, "--clean", "-t", f'"{TABLE}"')
        return lambda: run("psql", "-q", "-v", "ON_ERROR_STOP=1", *place, stdin=dump)
    user = (f"--user={given['USER']}", *([f"--password={given['PASSWORD']}"] if given["PASSWORD"] else []))
    place = ("--skip-ssl", f"--host={given['HOST']}", f"--port={given['PORT']}", *user, given["NAME"])
    dump = run("mariadb-dump", *place, TABLE)
    return lambda: run("mariadb", *place, stdin=dump)


@pytest.fixture
def _at_once(configure: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is to ask again asks soon, so that nobody waits for long."""
    configure(IDENTITY_MAX_AGE=0.2)
    monkeypatch.setattr(restored, "MARGIN", 0.1)


@pytest.mark.usefixtures("_at_once")
def test_a_dump_that_is_restored_over_its_database(other_process, tmp_path, queries):
    Upper.objects.using("plain").create(label="dumped")
    restore = dump_and_restore(tmp_path)
    Upper.objects.update(label="later")
    reader = other_process.start(f"{__name__}.read_twice", stops=["read"])
    reader.wait_for("read")
    assert labels() == labels() == ["later"]

    restore()
    with queries(0):
        assert labels() == ["later"]  # nobody can know
    call_command("ormcache", "restored", "--using", "default", stdout=io.StringIO())

    assert labels() == ["dumped"]
    reader.go()
    assert reader.result() == [["later"], ["dumped"]]


def lead_to(path: str) -> None:
    """The alias ``moved`` leads to this file, and ``plain_moved`` past ormcache."""
    given = {key: value for key, value in settings.DATABASES["default"].items() if key != "TEST"}
    add_alias("moved", **{**given, "NAME": path})
    add_alias("plain_moved", **{**settings.DATABASES["plain"], "NAME": path})


def read_file_twice(path: str) -> list[list[str]]:
    lead_to(path)
    for _ in range(3):
        before = names()
        connections["moved"].close()
    stop("read")
    return [before, names()]


@only_sqlite
@pytest.mark.parametrize("put", [shutil.move, shutil.copyfile], ids=["mv", "cp"])
def test_a_file_that_is_put_in_place_of_another(put, tmp_path, other_process, configure):
    configure(IDENTITY_MAX_AGE=2)
    path, backup = tmp_path / "site.sqlite3", tmp_path / "backup.sqlite3"
    lead_to(str(path))
    try:
        with connections["plain_moved"].schema_editor() as editor:
            editor.create_model(Genre)
        Genre.objects.using("plain_moved").create(name="saved")
        source, target = sqlite3.connect(path), sqlite3.connect(backup)
        source.backup(target)
        source.close()
        target.close()
        Genre.objects.using("plain_moved").update(name="later")
        connections["plain_moved"].close()
        reader = other_process.start(f"{__name__}.read_file_twice", str(path), stops=["read"])
        reader.wait_for("read")

        put(backup, path)
        call_command("ormcache", "restored", "--using", "moved", stdout=io.StringIO())
        reader.go()
        assert reader.result() == [["later"], ["saved"]]
    finally:
        for alias in ("moved", "plain_moved"):
            connections[alias].close()
            del connections[alias], connections.settings[alias]


# PostgreSQL: databases of one name --------------------------------------------------------------


ONE, TWO = (f"{name}_{os.getpid()}" for name in ("one", "two"))


@pytest.fixture
def database_one(postgresql_server: Any) -> Iterator[None]:
    """A database of its own: ``moved`` leads to it, ``plain_moved`` past ormcache, and ``admin`` to another one."""
    for alias, like in (("moved", "default"), ("plain_moved", "plain"), ("admin", "plain")):
        leads_to(postgresql_server, alias, like)
    execute(f"CREATE DATABASE {ONE}", using="admin")
    for alias in ("moved", "plain_moved"):
        connections.settings[alias]["NAME"] = ONE
    furnish("plain_moved")
    yield
    close_all()
    execute(f"DROP DATABASE {ONE}", using="admin")
    for alias in ("moved", "plain_moved", "admin"):
        connections[alias].close()
        del connections[alias], connections.settings[alias]


def close_all() -> None:
    for alias in ("moved", "plain_moved"):
        connections[alias].close()


def cache_for_the_next_connection() -> None:
    for _ in range(3):  # the first connection, which has read the catalog, is not remembered
        assert names() == names() == ["old"]
        close_all()
        connections["moved"].ensure_connection()
    close_all()


@only_postgresql
@pytest.mark.parametrize("max_age", [0, 0.001])
def test_a_database_that_is_made_again(database_one, configure, max_age):
    configure(IDENTITY_MAX_AGE=max_age)
    Genre.objects.using("moved").create(name="old")
    cache_for_the_next_connection()
    execute(f"DROP DATABASE {ONE} WITH (FORCE)", using="admin")
    execute(f"CREATE DATABASE {ONE}", using="admin")
    connections["plain_moved"].close()
    furnish("plain_moved")
    Genre.objects.using("plain_moved").create(name="new")
    assert names() == ["new"]


@only_postgresql
def test_a_database_that_changes_its_name_and_back(database_one, configure):
    """What is written to it under the other name is written to it, though nobody has asked for it meanwhile."""
    configure(IDENTITY_MAX_AGE=3600)
    Genre.objects.using("moved").create(name="old")
    cache_for_the_next_connection()
    assert names() == ["old"]
    assert connections["moved"].connection is None
    execute(f"ALTER DATABASE {ONE} RENAME TO {TWO}", using="admin")
    connections.settings["moved"]["NAME"] = TWO
    Genre.objects.using("moved").update(name="new")
    close_all()
    execute(f"ALTER DATABASE {TWO} RENAME TO {ONE}", using="admin")
    connections.settings["moved"]["NAME"] = ONE
    connections["moved"].close()
    assert names() == ["new"]
