"""ormcache in front of other wrappers: metrics, tenants, a project's own backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, transaction
from django.db.utils import load_backend

import ormcache
from ormcache.connection.mixins import ConnectionMixin
from tests import environment
from tests.shop.models import Author

ENGINE = environment.current().engine
only_postgresql = pytest.mark.skipif(ENGINE != "postgresql", reason="PostgreSQL only")
VENDOR = {"sqlite": "sqlite3"}.get(ENGINE, ENGINE)


@pytest.fixture
def add_database(monkeypatch) -> Iterator[Callable[..., Any]]:
    """``add_database("ormcache.backends.wrap", "some.engine")``: the database under test by another engine."""

    def add(engine: str, base: str | None = None, **changes: Any) -> Any:
        given = settings.DATABASES["default"] | changes | {"ENGINE": engine}
        # The engines of the project there count cursors, or tell for whom they make them.
        given["ORMCACHE"] = given["ORMCACHE"] | {"TRANSPARENT": ["tests"]}
        if base is not None:
            given["ORMCACHE"] = given["ORMCACHE"] | {"ENGINE": base}
        completed = connections.configure_settings({"default": given})["default"]
        monkeypatch.setitem(settings.DATABASES, "other", completed)
        monkeypatch.setitem(connections.settings, "other", completed)
        return connections["other"]

    yield add
    if "other" in connections.settings and hasattr(connections._connections, "other"):
        connections["other"].close()
        del connections["other"]


def names(using: str = "other") -> list[str]:
    return list(Author.objects.using(using).order_by("pk").values_list("name", flat=True))


@pytest.mark.parametrize("wrapper", ["ormcache.backends.wrap", "tests.projects.engines.own"])
def test_the_whole_story(add_database, wrapper, queries):
    """Through a wrapped stock backend, and through a project's own one with the mixin."""
    base = f"django.db.backends.{VENDOR}" if wrapper.endswith("wrap") else None
    other = add_database(wrapper, base)
    assert isinstance(other, ConnectionMixin)
    author = Author.objects.using("other").create(name="A")
    with queries(1, using="other"):
        assert names() == ["A"]
    with queries(0, using="other"):
        assert names() == ["A"]
    author.name = "B"
    author.save()
    assert names() == names("default") == ["B"]
    with transaction.atomic(using="other"):
        author.delete(using="other")
        assert names() == []
        assert names("default") == ["B"]
        transaction.set_rollback(True, using="other")
    with queries(0, using="other"):
        assert names() == ["B"]


def test_what_one_engine_stores_serves_another_of_the_same_database(add_database, queries):
    """The identity is what the database tells, not how it is reached."""
    add_database("ormcache.backends.wrap", f"django.db.backends.{VENDOR}").ensure_connection()
    Author.objects.create(name="A")
    names("default")
    with queries(0, using="other"):
        assert names() == ["A"]
    Author.objects.using("other").update(name="B")
    assert names("default") == ["B"]


def test_the_projects_own_backend_below_sees_what_really_runs(add_database):
    other = add_database("tests.projects.engines.own")
    Author.objects.create(name="A")
    names()
    opened = other.cursors
    names()
    names()
    assert other.cursors == opened
    Author.objects.using("other").update(name="B")
    assert other.cursors == opened + 1


def test_django_prometheus(add_database):
    """Its counters stand below: they count what the database was asked."""
    if VENDOR == "mysql":
        pytest.importorskip("MySQLdb")
    metrics = pytest.importorskip("django_prometheus.db.metrics", reason="django-prometheus is not installed")
    other = add_database("ormcache.backends.wrap", f"django_prometheus.db.backends.{VENDOR}")

    def counted() -> int:
        return int(metrics.execute_total.labels("other", other.vendor)._value.get())

    Author.objects.using("other").create(name="A")
    assert names() == ["A"]
    before = counted()
    assert names() == names() == ["A"]
    assert counted() == before
    Author.objects.using("other").update(name="B")
    assert counted() == before + 1
    assert names() == names("default") == ["B"]
    assert counted() == before + 2


def test_two_databases_with_two_base_engines(add_database, queries):
    """The setting is of one database; another wrapped one is not touched by it."""
    first = add_database("ormcache.backends.wrap", f"django.db.backends.{VENDOR}")
    assert type(first) is not type(connections["default"])
    assert type(first).__mro__[1] is ConnectionMixin
    assert type(first).__mro__[2] is load_backend(f"django.db.backends.{VENDOR}").DatabaseWrapper


def test_wrapping_what_is_wrapped(add_database):
    with pytest.raises(ImproperlyConfigured, match="has the cache in front already"):
        add_database("ormcache.backends.wrap", f"ormcache.backends.{VENDOR}")
    with pytest.raises(ImproperlyConfigured, match="cannot wrap itself"):
        add_database("ormcache.backends.wrap", "ormcache.backends.wrap")


def test_the_other_modules_of_the_engine_are_those_of_the_base(add_database):
    other = add_database("ormcache.backends.wrap", f"django.db.backends.{VENDOR}")
    stock = connections["plain"]
    for part in ("client", "features", "introspection", "validation"):
        assert type(getattr(other, part)) is type(getattr(stock, part))
    for part in ("creation", "ops"):
        assert isinstance(getattr(other, part), type(getattr(stock, part)))
    assert other.SchemaEditorClass is stock.SchemaEditorClass
    assert other.Database is stock.Database


# Tenants -----------------------------------------------------------------------------


@pytest.fixture
def tenants(add_database) -> Iterator[Any]:
    with connections["plain"].cursor() as cursor:
        for name in ("one", "two"):
            cursor.execute(f"CREATE SCHEMA {name} CREATE TABLE shop_author (LIKE public.shop_author INCLUDING ALL)")
            cursor.execute(f"INSERT INTO {name}.shop_author (id, name, active) VALUES (1, '{name}', true)")
    yield add_database("ormcache.backends.wrap", "tests.projects.engines.tenants")
    connections["other"].close()
    with connections["plain"].cursor() as cursor:
        cursor.execute("DROP SCHEMA one CASCADE")
        cursor.execute("DROP SCHEMA two CASCADE")


@only_postgresql
def test_tenants_never_see_each_others_rows(tenants, queries):
    for _ in range(2):
        for name in ("one", "two"):
            tenants.set_schema(name)
            assert names() == names() == [name]
    with queries(0, using="other"):
        for name in ("one", "two", "one"):
            tenants.set_schema(name)
            assert names() == [name]

    tenants.set_schema("one")
    Author.objects.using("other").update(name="changed")
    assert names() == ["changed"]
    tenants.set_schema("two")
    assert names() == ["two"]
    tenants.set_schema("public")
    assert names() == names("default") == []


@only_postgresql
def test_tenants_without_a_connection(tenants):
    """A hit needs none, and is still the tenant's own."""
    for name in ("one", "two"):
        tenants.set_schema(name)
        names()
    for name in ("two", "one"):
        tenants.close()
        tenants.set_schema(name)
        assert names() == [name]


@only_postgresql
def test_a_tenant_in_a_transaction_that_is_taken_back(tenants):
    tenants.set_schema("one")
    assert names() == ["one"]
    with transaction.atomic(using="other"):
        Author.objects.using("other").update(name="changed")
        tenants.set_schema("two")
        assert names() == ["two"]
        tenants.set_schema("one")
        assert names() == ["changed"]
        transaction.set_rollback(True, using="other")
    # The search path was taken back with the rest, as with django-tenants, until it is set again.
    for name in ("two", "one"):
        tenants.set_schema(name)
        assert names() == [name]


@only_postgresql
def test_tenants_in_one_thread_each(tenants):
    from tests.integration.django.test_async import in_thread

    def work(name: str) -> list[list[str]]:
        connections["other"].set_schema(name)
        return [names(), names()]

    for _ in range(2):
        for name in ("one", "two"):
            assert in_thread(work, name) == [[name], [name]]


# Options of the driver -----------------------------------------------------------------


def test_statistics_are_kept_by_alias(add_database):
    add_database("ormcache.backends.wrap", f"django.db.backends.{VENDOR}")
    before = ormcache.stats("other")["hits"], ormcache.stats("default")["hits"]
    names()
    names()
    assert ormcache.stats("other")["hits"] == before[0] + 1
    assert ormcache.stats("default")["hits"] == before[1]
