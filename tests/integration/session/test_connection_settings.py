"""What leads an alias to its database can change while a process runs: its settings, the environment, the alias."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

import pytest
from django.db import connection, connections, models

from ormcache import conf
from tests.integration.reading import execute, model_of, only_postgresql, only_sqlite, stats
from tests.shop.models import Author

Note = model_of("notes", text=models.CharField(max_length=20))


@pytest.fixture(autouse=True)
def as_before(database):
    """Puts the aliases of this thread back, whatever a test does to them."""
    before = {alias: (connections[alias], connections[alias].settings_dict) for alias in ("default", "second")}
    for one, given in before.values():
        one.settings_dict = {**given, "OPTIONS": {**given["OPTIONS"]}}
    yield
    connections.close_all()
    for alias, (one, given) in before.items():
        one.close()
        one.settings_dict = given
        connections[alias] = one


def names() -> list[str]:
    return list(Author.objects.order_by("pk").values_list("name", flat=True))


def first_the_name(name: str) -> None:
    connection.settings_dict["NAME"] = name
    connection.close()


def first_close(name: str) -> None:
    connection.close()
    connection.settings_dict["NAME"] = name


def other_settings(name: str) -> None:
    connection.close()
    connections["default"].settings_dict = {**connection.settings_dict, "NAME": name}


def made_anew(name: str) -> None:
    given = {**connection.settings_dict, "NAME": name}
    connection.close()
    connections["default"] = connections["default"].__class__(given, "default")


@pytest.mark.parametrize("lead", [first_the_name, first_close, other_settings, made_anew])
def test_a_database_for_each_tenant(lead: Callable[[str], None], queries):
    """Whoever is shown a page that is all hits is shown their own."""
    tenants = {"A": connection.settings_dict["NAME"], "B": connections["second"].settings_dict["NAME"]}
    Author.objects.using("plain").create(name="A")
    Author.objects.using("second_plain").create(name="B")
    for tenant in "AABB":
        lead(tenants[tenant])
        assert names() == [tenant]

    for tenant in "ABBA":
        lead(tenants[tenant])
        with queries(0):
            assert names() == [tenant]
    lead(tenants["B"])
    Author.objects.create(name="C")
    lead(tenants["A"])
    assert names() == ["A"]
    lead(tenants["B"])
    assert names() == ["B", "C"]


def test_an_open_connection_stays_what_it_was_made_as(queries):
    """Django goes on using it: what it reads and writes belongs to the database that it leads to."""
    Author.objects.using("plain").create(name="A")
    Author.objects.using("second_plain").create(name="B")
    assert names() == ["A"]

    connection.settings_dict["NAME"] = connections["second"].settings_dict["NAME"]
    conf.reload()  # asks again what is behind it
    assert names() == ["A"]
    Author.objects.create(name="C")
    assert names() == ["A", "C"]
    connection.close()
    assert names() == ["B"]


def test_the_settings_of_the_cache_are_of_the_connection():
    names()
    before = stats()

    def outcomes() -> tuple[int, int]:
        names()
        now = stats()
        disabled = now["bypassed"].get("disabled", 0) - before["bypassed"].get("disabled", 0)
        return now["hits"] - before["hits"], disabled

    connection.settings_dict["ORMCACHE"] = {**(connection.settings_dict.get("ORMCACHE") or {}), "ENABLED": False}
    assert outcomes() == (1, 0)
    connection.close()
    assert outcomes() == (1, 1)
    connection.settings_dict["ORMCACHE"]["ENABLED"] = True
    connection.close()
    assert outcomes() == (2, 1)


@only_sqlite
@pytest.mark.parametrize("way", ["a link", "a relative name", "a URI"])
def test_a_name_that_leads_to_another_file(configure, tmp_path, monkeypatch, way):
    """Nothing in the settings has changed, and a page of hits does not connect."""
    configure(IDENTITY_MAX_AGE=0)
    was = connection.settings_dict["NAME"]
    connection.close()
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        shutil.copy(was, tmp_path / folder / "shop.db")
    link = tmp_path / "current"
    given = {"a link": f"{link}/shop.db", "a relative name": "shop.db", "a URI": f"file:{link}/shop.db?mode=rw"}[way]
    connection.settings_dict["NAME"] = given
    connection.settings_dict["OPTIONS"]["uri"] = True

    def turn_to(folder: str) -> None:
        link.unlink(missing_ok=True)
        link.symlink_to(tmp_path / folder)
        monkeypatch.chdir(tmp_path / folder)
        connection.close()

    try:
        for folder in ("one", "two"):
            turn_to(folder)
            Author.objects.create(name=folder)
        for folder in ("one", "two", "one", "two", "two"):
            turn_to(folder)
            assert names() == [folder]
            assert names() == [folder]
    finally:
        connection.close()
        connection.settings_dict["NAME"] = was


@only_sqlite
def test_a_file_beside_the_first():
    """Another path is another database, also where the files are equal."""
    Author.objects.create(name="A")
    names()
    connection.close()
    was = connection.settings_dict["NAME"]
    copy = f"{was}.copy"
    shutil.copy(was, copy)
    try:
        connection.settings_dict["NAME"] = copy
        Author.objects.create(name="B")
        assert names() == ["A", "B"]
        connection.close()
        connection.settings_dict["NAME"] = was
        assert names() == ["A"]
    finally:
        connection.close()
        os.remove(copy)


@pytest.fixture
def two_schemas(ddl):
    for schema in ("one", "two"):
        ddl(f"CREATE SCHEMA {schema}", f"DROP SCHEMA {schema} CASCADE")
        execute(f"CREATE TABLE {schema}.notes (id integer, text text)")
        execute(f"INSERT INTO {schema}.notes VALUES (1, '{schema}')")
    connection.close()


def notes() -> list[str]:
    return list(Note.objects.values_list("text", flat=True))


@only_postgresql
@pytest.mark.parametrize("where", ["options", "environment"])
def test_what_the_driver_is_told_to_set(two_schemas, where, monkeypatch, queries):
    def lead(schema: str) -> None:
        connection.close()
        if where == "options":
            connection.settings_dict["OPTIONS"]["options"] = f"-c search_path={schema}"
        else:
            monkeypatch.setenv("PGOPTIONS", f"-c search_path={schema}")

    for schema in ("one", "one", "two", "two"):
        lead(schema)
        assert notes() == [schema]
    for schema in ("one", "two", "one"):
        lead(schema)
        with queries(0):
            assert notes() == [schema]
    connection.close()
    monkeypatch.delenv("PGOPTIONS", raising=False)


@only_postgresql
def test_a_role_that_django_assumes_from_now_on(two_schemas, ddl, queries):
    ddl("CREATE ROLE two", "DROP OWNED BY two; DROP ROLE two")
    execute("GRANT ALL ON SCHEMA two TO two")
    execute("GRANT ALL ON TABLE two.notes TO two")
    connection.settings_dict["OPTIONS"]["options"] = '-c search_path="$user",one'
    for role in (None, None, "two", "two", None):
        connection.close()
        if role is None:
            connection.settings_dict["OPTIONS"].pop("assume_role", None)
        else:
            connection.settings_dict["OPTIONS"]["assume_role"] = role
        assert notes() == [role or "one"]


@only_postgresql
def test_a_pool_that_was_made_for_another_database():
    """Django keeps one for each alias, whatever the settings say meanwhile."""
    made_anew(connection.settings_dict["NAME"])
    connection.settings_dict |= {"CONN_MAX_AGE": 0, "OPTIONS": {"pool": True}}
    Author.objects.using("plain").create(name="A")
    Author.objects.using("second_plain").create(name="B")

    def shown() -> list[list[str]]:
        found = []
        for _ in range(3):
            found.append(names())
            connection.close()
        return found

    try:
        assert shown() == [["A"]] * 3
        connection.settings_dict["NAME"] = connections["second"].settings_dict["NAME"]
        assert shown() == [["A"]] * 3
        connection.close_pool()
        assert shown() == [["B"]] * 3
    finally:
        connection.close_pool()


def test_settings_of_the_cache_count_on_an_open_connection(configure, queries):
    """What the cache is to do can change while the connection stays; what leads to the database is fixed with it."""
    Author.objects.create(name="A")
    assert names() == ["A"]
    configure(BLACKLIST=["shop.Author"])
    for _ in range(2):
        with queries(1):
            assert names() == ["A"]
    configure(BLACKLIST=["shop.Book"])
    assert names() == ["A"]
    with queries(0):
        assert names() == ["A"]
