"""Packages that bring a compiler, a connection or rows of their own kind: what they read is right, and is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.conf import settings
from django.db import connection, connections, models
from django.db.models.signals import pre_delete
from django.db.models.sql.compiler import SQLCompiler
from django.db.models.sql.query import Query

import ormcache
from ormcache import reasons, signals
from tests.integration.reading import execute, only_postgresql, stats
from tests.shop.models import Author

HERE = "tests.integration.django.test_packages"


def authors(query: type[Query] | None = None, using: str = "default") -> models.QuerySet[Author]:
    found = Author.objects.using(using).order_by("pk")
    if query is not None:
        found.query = found.query.chain(query)
    return found


def bypassed() -> int:
    return int(stats()["bypassed"].get(reasons.OWN_COMPILER, 0))


# Compilers -------------------------------------------------------------------------------


class Prefixed:
    """Goes above whatever class a compiler has, and adds a WITH clause to what that class answers: django-cte."""

    asked = 0  # of all

    def as_sql(self, *args: Any, **kwargs: Any) -> Any:
        Prefixed.asked += 1
        sql, params = super().as_sql(*args, **kwargs)  # type: ignore[misc]  # it is a mixin
        return f"WITH known AS (SELECT 1 AS one) {sql}", params


class PrefixedQuery(Query):
    def get_compiler(self, *args: Any, **kwargs: Any) -> Any:
        compiler = super().get_compiler(*args, **kwargs)
        compiler.__class__ = type("PrefixedCompiler", (Prefixed, type(compiler)), {"__module__": HERE})
        return compiler


def test_a_compiler_above_that_adds_to_the_text(queries):
    Author.objects.create(name="A")
    before = Prefixed.asked
    with queries() as seen:
        assert [author.name for author in authors(PrefixedQuery)] == ["A"]
    assert Prefixed.asked == before + 1  # for its entry's name and for the database
    assert [sql.count("WITH known") for sql in seen] == [1]
    with queries(0):
        assert [author.name for author in authors(PrefixedQuery)] == ["A"]
    Author.objects.update(name="B")
    assert [author.name for author in authors(PrefixedQuery)] == ["B"]


def test_a_compiler_above_of_a_read_past_the_cache():
    """Compiled for the signal, and run as it was compiled."""
    Author.objects.create(name="A")
    told = []

    def receive(sql: str, **kwargs: Any) -> None:
        told.append(sql)

    signals.bypassed.connect(receive)
    try:
        with ormcache.disabled():
            assert [author.name for author in authors(PrefixedQuery)] == ["A"]
            assert [author.name for author in authors(PrefixedQuery).iterator()] == ["A"]
    finally:
        signals.bypassed.disconnect(receive)
    assert [sql.count("WITH known") for sql in told] == [1, 1]


def test_a_compiler_above_of_a_query_that_is_known_to_be_empty(queries):
    with queries(0):
        assert list(authors(PrefixedQuery).filter(pk__in=[])) == []


class OwnCompiler(SQLCompiler):
    pass


class OwnQuery(Query):
    """Makes its compiler itself: django-tree-queries."""

    def get_compiler(self, using: Any = None, connection: Any = None, *args: Any, **kwargs: Any) -> Any:
        return OwnCompiler(self, connection or connections[using], using, *args, **kwargs)


def test_a_query_that_makes_its_compiler_itself(queries):
    Author.objects.create(name="A")
    connection.close()  # what sets up the next one, and asks it who it is, is no read of theirs
    before = bypassed()
    with queries() as seen:
        for _ in range(2):
            assert [author.name for author in authors(OwnQuery)] == ["A"]
    assert len([sql for sql in seen if "shop_author" in sql]) == 2
    assert bypassed() == before + 2
    Author.objects.update(name="B")
    assert [author.name for author in authors(OwnQuery)] == ["B"]


def test_it_is_explained():
    told = ormcache.explain(authors(OwnQuery))

    assert not told.cached
    assert told.reason is not None
    assert told.reason.name == reasons.OWN_COMPILER


def test_it_is_told_to_receivers():
    told = []

    def receive(reason: str, sql: str, **kwargs: Any) -> None:
        told.append((reason, sql.split(maxsplit=1)[0]))

    signals.bypassed.connect(receive)
    try:
        list(authors(OwnQuery))
    finally:
        signals.bypassed.disconnect(receive)
    assert told == [(reasons.OWN_COMPILER, "SELECT")]


def test_other_statements_are_not_counted_for_it():
    before = bypassed()
    author = Author.objects.create(name="A")
    Author.objects.update(name="B")
    list(authors().iterator())
    list(Author.objects.raw("SELECT * FROM shop_author"))
    execute("SELECT name FROM shop_author")
    author.delete()
    assert bypassed() == before


# Connections -----------------------------------------------------------------------------


class Proxy:
    """Around a driver's connection, of whose class it says that it is: as agents and pools have them."""

    def __init__(self, wrapped: Any) -> None:
        object.__setattr__(self, "__wrapped__", wrapped)

    @property
    def __class__(self) -> Any:
        return type(self.__wrapped__)

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "__wrapped__"), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.__wrapped__, name, value)


@pytest.fixture
def proxied(monkeypatch, configure) -> None:
    configure(TRANSPARENT=[HERE, "tests.conftest"])
    driver = connection.Database
    connect = driver.connect
    monkeypatch.setattr(driver, "connect", lambda *args, **kwargs: Proxy(connect(*args, **kwargs)))
    connection.close()
    yield
    connection.close()


@only_postgresql
def test_composed_sql_on_a_connection_inside_of_a_proxy(proxied, queries):
    from psycopg import sql

    Author.objects.create(name="A")
    assert [author.name for author in authors()] == ["A"]
    with queries(0):
        assert [author.name for author in authors()] == ["A"]

    class Composed(sql.SQL):
        def as_string(self, context: Any = None) -> str:
            if type(context) is Proxy:
                raise TypeError("argument must be connection")  # as in psycopg 2, whose C code takes no proxy
            return super().as_string(context)

    execute(Composed("UPDATE shop_author SET name = 'B'"))
    assert [author.name for author in authors()] == ["B"]
    assert [author.name for author in authors(using="plain")] == ["B"]


@only_postgresql
def test_rows_with_names(monkeypatch, queries):
    """What psycopg makes of a row is not what Django makes of it."""
    from psycopg.rows import namedtuple_row

    Author.objects.create(name="A")
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", {"row_factory": namedtuple_row})
    connection.close()
    for _ in range(2):
        assert list(authors().values_list("name", "active")) == [("A", True)]
        assert authors().first().name == "A"
        assert Author.objects.count() == 1
    Author.objects.update(name="B")
    assert list(authors().values_list("name", flat=True)) == ["B"]


# Schemas ---------------------------------------------------------------------------------

SCHEMAS = ("one", "two")


@pytest.fixture
def pgschemas(monkeypatch, ddl) -> Iterator[Any]:
    """The alias ``tenants`` through ormcache around django-pgschemas."""
    schema = pytest.importorskip("django_pgschemas.schema")
    receivers = pytest.importorskip("django_pgschemas.signals")
    # It asks for the setting TENANTS whenever a row of any model is deleted
    pre_delete.disconnect(receivers.tenant_delete_callback)
    for name in SCHEMAS:
        ddl(f"CREATE SCHEMA {name}", f"DROP SCHEMA {name} CASCADE")
        ddl(f"CREATE TABLE {name}.shop_author (LIKE public.shop_author INCLUDING ALL)", "")
        ddl(f"INSERT INTO {name}.shop_author (id, name, active) VALUES (1, '{name}', true)", "")
    given = settings.DATABASES["default"] | {"ENGINE": "ormcache.backends.wrap"}
    given["ORMCACHE"] = given["ORMCACHE"] | {"ENGINE": "django_pgschemas.postgresql"}
    monkeypatch.setitem(connections.settings, "tenants", connections.configure_settings({"default": given})["default"])

    @contextmanager
    def served(name: str) -> Iterator[None]:
        with schema.override(schema.Schema.create(name)):
            yield

    yield served
    connections["tenants"].close()
    del connections["tenants"]


def tenants_names() -> list[str]:
    return [author.name for author in authors(using="tenants")]


@only_postgresql
def test_django_pgschemas(pgschemas, queries):
    for _ in range(2):
        for name in SCHEMAS:
            with pgschemas(name):
                assert tenants_names() == [name]
    with queries(0, using="tenants"):
        for name in ("two", "one", "two"):
            with pgschemas(name):
                assert tenants_names() == [name]
    with pgschemas("one"):
        Author.objects.using("tenants").update(name="changed")
        assert tenants_names() == ["changed"]
    with queries(0, using="tenants"), pgschemas("two"):
        assert tenants_names() == ["two"]
    assert tenants_names() == []
