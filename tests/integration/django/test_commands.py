"""Django's own commands, through a connection of ormcache; and small sites of which only one line was changed."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command

from tests import databases, environment
from tests.projects.running import Library
from tests.shop.models import Author, Book, Genre


def command(*args: Any, **options: Any) -> str:
    out = io.StringIO()
    call_command(*args, stdout=out, stderr=out, **options)
    return out.getvalue()


def names(using: str = "default") -> list[str]:
    return list(Author.objects.using(using).order_by("pk").values_list("name", flat=True))


def test_dumpdata_and_loaddata(tmp_path):
    book = Book.objects.create(author=Author.objects.create(name="Homer"), title="Iliad")
    book.genres.add(Genre.objects.create(name="Poetry"))
    file = tmp_path / "shop.json"
    assert names() == ["Homer"]
    file.write_text(command("dumpdata", "shop", exclude=["shop.LegacyStock"]))
    assert {row["model"] for row in json.loads(file.read_text())} == {"shop.author", "shop.book", "shop.genre"}

    Author.objects.all().delete()
    assert names() == []
    command("loaddata", str(file), verbosity=0)
    assert names() == names("plain") == ["Homer"]
    assert Book.objects.get().genres.get().name == "Poetry"
    file.write_text(file.read_text().replace("Homer", "Hesiod"))
    command("loaddata", str(file), verbosity=0)
    assert names() == names("plain") == ["Hesiod"]


def test_flush_and_sqlflush():
    Author.objects.create(name="Homer")
    assert names() == ["Homer"]
    assert "shop_author" in command("sqlflush")
    assert names() == ["Homer"]
    if environment.current().engine != "postgresql":
        command("flush", interactive=False, verbosity=0)
        assert names() == names("plain") == []
        return
    from django.core.management.base import CommandError

    # legacy_stock, which is no model's of Django, refers to a table that is to be emptied.
    with pytest.raises(CommandError, match="couldn't be flushed"):
        command("flush", interactive=False, verbosity=0)
    assert names() == names("plain") == ["Homer"]


def test_inspectdb():
    first = command("inspectdb", "shop_author", "Shop_Upper")
    assert "class ShopAuthor(models.Model):" in first
    assert (
        command("inspectdb", "shop_author", "Shop_Upper")
        == first
        == command("inspectdb", "shop_author", "Shop_Upper", database="plain")
    )


def test_commands_that_know_the_engine():
    assert command("showmigrations") == command("showmigrations", database="plain")
    command("createcachetable", "--dry-run")
    command("sqlsequencereset", "shop")
    command("check", databases=["default"])


def test_dbshell_finds_its_client(monkeypatch):
    """It starts another program; what it would start is what the stock backend starts."""
    from django.db import connections
    from django.db.backends.base.client import BaseDatabaseClient

    started = []

    def start(arguments: list[str], env: dict[str, str] | None = None, **kwargs: Any) -> None:
        started.append((arguments, env))

    monkeypatch.setattr("django.db.backends.base.client.subprocess.run", start)
    assert isinstance(connections["default"].client, BaseDatabaseClient)
    command("dbshell", database="default")
    command("dbshell", database="plain")
    assert started[0] == started[1]


# Sites of their own ------------------------------------------------------------------


@pytest.fixture
def library(tmp_path) -> Iterator[Library]:
    site = Library(tmp_path)
    run = environment.current()
    name = site.database["NAME"]
    force = " WITH (FORCE)" if run.engine == "postgresql" else ""
    if run.engine != "sqlite":
        with databases._administration(run) as execute:
            execute(f"CREATE DATABASE {name}")
    yield site
    if run.engine != "sqlite":
        with databases._administration(run) as execute:
            execute(f"DROP DATABASE IF EXISTS {name}{force}")


def test_the_one_line(library):
    """No ORMCACHE, no app: the checks have nothing to say, the tables can be made, and reads are cached."""
    del library.settings["ORMCACHE"]
    # The folder of the store is the user's own; the test's user is a stranger to it.
    library.database["ORMCACHE"] = {"LOCATION": str(library.folder / "store")}
    assert "no issues (0 silenced)" in library.manage("check", "--database", "default")
    library.manage("migrate", "--verbosity=0")
    assert library.call("scenes.read_write_read") == [["first"], 0, ["first", "second"]]
    assert library.call("scenes.read_write_read") == [["first", "second"], 0, ["first", "second", "second"]]


@pytest.mark.slow
def test_migrating_to_nothing_and_back(library):
    """Each command is a process of its own, and another one reads in between."""
    library.manage("migrate", "--verbosity=0")
    assert library.call("scenes.names") == library.call("scenes.names") == ["first"]
    library.manage("migrate", "library", "zero", "--verbosity=0")
    assert library.call("scenes.names") == "no such table"
    library.environment["LIBRARY_FIRST"] = "anew"
    library.manage("migrate", "library", "--verbosity=0")
    assert library.call("scenes.names") == ["anew"]
    library.manage("migrate", "library", "0001", "--verbosity=0")
    assert library.call("scenes.names") == []


def test_a_site_whose_store_is_away(library):
    library.settings["CACHES"] = {
        "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": "redis://127.0.0.1:1/0"}
    }
    library.settings["ORMCACHE"] = {"STORE": "redis"}
    assert "no issues (0 silenced)" in library.manage("check", "--database", "default")
    library.manage("migrate", "--verbosity=0")
    assert library.call("scenes.read_write_read") == [["first"], 1, ["first", "second"]]


def test_a_site_with_a_wrong_setting(library, engine):
    library.settings["ORMCACHE"]["TIMEOT"] = 5
    said = library.manage("check", *_asking(engine), fails=True)
    assert "(ormcache.E002) ORMCACHE has the unknown key 'TIMEOT'." in said
    assert "HINT: Did you mean 'TIMEOUT'?" in said
    said = library.manage("migrate", "--skip-checks", fails=True)
    assert "ORMCACHE has the unknown key 'TIMEOT'. Did you mean 'TIMEOUT'?" in said


@pytest.mark.slow
def test_a_site_without_the_client_library(library, engine):
    library.settings["CACHES"] = {
        "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": "redis://127.0.0.1:1/0"}
    }
    library.settings["ORMCACHE"] = {"STORE": "redis", "BLACKLIST": ["audit_*"]}
    library.environment["LIBRARY_MISSING"] = "redis"
    said = library.manage("check", *_asking(engine), fails=True)
    assert "(ormcache.E013)" in said
    assert "HINT: pip install 'ormcache[redis]'" in said
    # Nothing of that breaks a query.
    assert "pip install 'ormcache[redis]'" in library.manage("migrate", "--skip-checks")


def _asking(engine: str) -> list[str]:
    """Let the checks ask the database, which Django 6.1 does by itself. On MySQL a check of Django's own connects."""
    return ["--tag", "caches"] if engine == "mysql" else ["--database", "default"]


@pytest.mark.slow
def test_debug_toolbar(library):
    """Its SQL panel counts what reached the database, and writes under its cursors are seen."""
    pytest.importorskip("debug_toolbar")
    library.settings |= {
        "DEBUG": True,
        "INTERNAL_IPS": ["127.0.0.1"],
        "INSTALLED_APPS": ["django.contrib.staticfiles", "debug_toolbar", "library"],
        "MIDDLEWARE": ["debug_toolbar.middleware.DebugToolbarMiddleware"],
        "TEMPLATES": [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
        "DEBUG_TOOLBAR_PANELS": ["debug_toolbar.panels.sql.SQLPanel"],
        "ROOT_URLCONF": "library.urls_of_toolbar",
    }
    library.manage("migrate", "--verbosity=0")
    assert library.call("scenes.toolbar") == {"read": 1, "again": 0, "written": 2, "after": 0}


@pytest.mark.slow
def test_silk(library):
    """It records what passes SQLCompiler.execute_sql below ours: no INSERT, and no hit."""
    pytest.importorskip("silk")
    library.settings |= {
        "INSTALLED_APPS": ["django.contrib.contenttypes", "django.contrib.auth", "silk", "library"],
        "MIDDLEWARE": ["silk.middleware.SilkyMiddleware"],
        "SILKY_META": False,
    }
    library.manage("migrate", "--verbosity=0")
    assert library.call("scenes.silk") == {"read": 1, "again": 0, "written": 1, "after": 0}


def test_psycopg2(library, engine):
    """Where psycopg 3 is not installed, Django takes the older driver."""
    pytest.importorskip("psycopg2")
    if engine != "postgresql":
        pytest.skip("PostgreSQL only")
    library.environment["LIBRARY_MISSING"] = "psycopg"
    library.manage("migrate", "--verbosity=0")
    assert library.call("scenes.read_write_read") == [["first"], 0, ["first", "second"]]
    copied = [["copied"], ["copied", "once more"], None, "session"]
    assert library.call("scenes.psycopg2") == ["2", ["first", "second"], *copied]
