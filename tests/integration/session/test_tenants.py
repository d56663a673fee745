"""The real django-tenants: a schema for each tenant, and a search path that is set whenever a cursor is made."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.db import connections, transaction
from django.db.utils import ProgrammingError

from ormcache.database.catalog_cache import CatalogCache
from tests.integration.reading import in_thread, only_postgresql
from tests.shop.models import Author, Genre

pytest.importorskip("django_tenants")
pytestmark = only_postgresql

ANY_CURSOR = object()  # one that is there already
MODULE = "django_tenants.postgresql_backend.base"
SCHEMAS = ("one", "two", "three")


@pytest.fixture(params=["wrap", "original"])
def tenants(request, monkeypatch, ddl) -> Iterator[Any]:
    """The alias ``tenants``, with ormcache around django-tenants, and with ormcache as what that calls its original."""
    for name in SCHEMAS:
        ddl(f"CREATE SCHEMA {name}", f"DROP SCHEMA {name} CASCADE")
        ddl(f"CREATE TABLE {name}.shop_author (LIKE public.shop_author INCLUDING ALL)")
        ddl(f"INSERT INTO {name}.shop_author (id, name, active) VALUES (1, '{name}', true)")
    given = dict(settings.DATABASES["default"])
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    if request.param == "wrap":
        given["ENGINE"] = "ormcache.backends.wrap"
        given["ORMCACHE"] = given["ORMCACHE"] | {"ENGINE": "django_tenants.postgresql_backend"}
    else:
        given["ENGINE"] = "django_tenants.postgresql_backend"
        monkeypatch.setattr(settings, "ORIGINAL_BACKEND", "ormcache.backends.postgresql", raising=False)
    monkeypatch.setitem(connections.settings, "tenants", connections.configure_settings({"default": given})["default"])
    yield connections["tenants"]
    connections["tenants"].close()
    del connections["tenants"]
    sys.modules.pop(MODULE, None)


def names() -> list[str]:
    return list(Author.objects.using("tenants").order_by("pk").values_list("name", flat=True))


def rename(name: str) -> None:
    Author.objects.using("tenants").update(name=name)


def test_tenants_never_see_each_others_rows(tenants):
    for _ in range(3):
        for name in SCHEMAS:
            tenants.set_schema(name)
            assert names() == names() == [name]
    tenants.set_schema_to_public()
    assert names() == []
    tenants.set_schema("two")
    rename("new")
    for name, expected in (("one", "one"), ("two", "new"), ("three", "three")):
        tenants.set_schema(name)
        assert names() == [expected]


def test_tenants_that_take_turns_have_hits(tenants, queries):
    """The path that the one before has left behind does not matter to the next."""
    for name in SCHEMAS:
        tenants.set_schema(name)
        assert names() == [name]
    with queries(0, using="tenants"):
        for name in ("three", "one", "two", "one", "three"):
            tenants.set_schema(name)
            assert names() == [name]


def test_tenants_in_threads(tenants):
    def work(name: str) -> list[str]:
        connections["tenants"].set_schema(name)
        return names()

    for _ in range(2):
        for name in SCHEMAS:
            assert in_thread(lambda name=name: work(name)) == [name]


def test_with_and_without_the_public_schema(tenants):
    Genre.objects.create(name="of all")
    tenants.set_schema("one")
    assert [genre.name for genre in Genre.objects.using("tenants").all()] == ["of all"]
    tenants.set_schema("one", include_public=False)
    with pytest.raises(ProgrammingError, match="shop_genre"):
        list(Genre.objects.using("tenants").all())
    tenants.set_schema("one")
    Genre.objects.using("tenants").update(name="changed")
    assert Genre.objects.get().name == "changed"


def test_the_path_that_is_told(tenants):
    state = tenants.ormcache
    tenants.set_schema("one")
    tenants.ensure_connection()
    assert state.resolution_context().path == ("one", "public")
    assert state.resolution_context(ANY_CURSOR).path is None  # nothing is set before a cursor is made
    names()
    assert (state.resolution_context().path, state.resolution_context(ANY_CURSOR).path) == (
        ("one", "public"),
        ("one", "public"),
    )
    tenants.set_schema("two", include_public=False)
    assert (state.resolution_context().path, state.resolution_context(ANY_CURSOR).path) == (("two",), ("one", "public"))
    tenants.cursor().close()
    assert (state.resolution_context().path, state.resolution_context(ANY_CURSOR).path) == (("two",), ("two",))
    tenants.set_schema_to_public()
    assert state.resolution_context().path == ("public",)
    tenants.schema_name = 'no "schema"'
    assert state.resolution_context().path is None


def test_a_cursor_that_is_older_than_the_switch(tenants):
    tenants.set_schema("one")
    names()
    with tenants.cursor() as cursor:
        tenants.set_schema("two")
        assert tenants.ormcache.resolution_context(ANY_CURSOR).path == ("one", "public")
        cursor.execute("UPDATE shop_author SET name = 'changed'")
        assert names() == ["two"]
        # The connection is on the path of the last cursor, whichever runs the statement.
        assert tenants.ormcache.resolution_context(ANY_CURSOR).path == ("two", "public")
        cursor.execute("UPDATE shop_author SET name = 'changed too'")
    assert names() == ["changed too"]
    tenants.set_schema("one")
    assert names() == ["changed"]


def test_a_copy_on_a_cursor_that_is_older_than_the_switch(tenants):
    tenants.set_schema("one")
    assert names() == ["one"]
    with tenants.cursor() as cursor:
        tenants.set_schema("two")
        with cursor.copy("COPY shop_author (id, name, active) FROM STDIN") as copy:
            copy.write_row((100, "copied", True))
    tenants.set_schema("one")
    assert names() == ["one", "copied"]


def test_a_switch_that_is_not_seen(tenants):
    """For a cursor in the server django-tenants sets the path on a cursor of the driver."""
    tenants.set_schema("one")
    names()
    with tenants.cursor() as cursor:
        tenants.set_schema("two")
        list(Author.objects.using("tenants").iterator())
        assert tenants.ormcache.resolution_context(ANY_CURSOR).path is None
        cursor.execute("UPDATE shop_author SET name = 'changed'")
    assert names() == ["changed"]
    tenants.set_schema("one")
    assert names() == ["one"]


def test_a_switch_that_is_taken_back(tenants):
    tenants.set_schema("one")
    assert names() == ["one"]
    with contextlib.suppress(ZeroDivisionError), transaction.atomic(using="tenants"):
        rename("changed")
        tenants.set_schema("two")
        assert names() == ["two"]
        with contextlib.suppress(ZeroDivisionError), transaction.atomic(using="tenants"):
            tenants.set_schema("three")
            assert names() == ["three"]
            raise ZeroDivisionError
        tenants.set_schema("one")
        assert names() == ["changed"]
        raise ZeroDivisionError
    for name in SCHEMAS:
        tenants.set_schema(name)
        assert names() == [name]


def test_with_as_few_switches_as_possible(tenants, monkeypatch, queries):
    monkeypatch.setattr(settings, "TENANT_LIMIT_SET_CALLS", True, raising=False)
    for counted in (None, 0, 0):
        with queries(counted, using="tenants"):
            for name in SCHEMAS:
                tenants.set_schema(name)
                assert names() == [name]
    tenants.set_schema("one")
    with tenants.cursor() as cursor:
        assert tenants.ormcache.resolution_context().path == ("one", "public")
        cursor.execute("SET search_path TO three")
        # What somebody has set stays now, and is not what the tenant is told by.
        assert tenants.ormcache.resolution_context().path is None
        assert names() == ["three"]
        cursor.execute("SET search_path TO two")
        assert names() == ["two"]


def test_a_backend_that_switches_and_does_not_tell(tenants, monkeypatch):
    """Nobody knows for whom it makes its cursors: nothing is shared."""
    from tests.projects.engines.switching.base import tenant

    given = settings.DATABASES["default"] | {"ENGINE": "ormcache.backends.wrap"}
    given["ORMCACHE"] = given["ORMCACHE"] | {"ENGINE": "tests.projects.engines.switching"}
    tenants.close()
    del connections["tenants"]
    connections.settings["tenants"] = connections.configure_settings({"default": given})["default"]
    for _ in range(2):
        for name in SCHEMAS:
            tenant.set(name)
            assert names() == [name]
    tenant.set("two")
    rename("changed")
    tenant.set("public")
    assert connections["tenants"].ormcache.resolution_context().path is None
    assert connections["tenants"].ormcache.resolution_context(ANY_CURSOR).path is None


def test_a_write_retires_no_other_tenants_results(tenants, queries):
    for name in SCHEMAS:
        tenants.set_schema(name)
        names()
    tenants.set_schema("one")
    rename("changed")
    assert names() == ["changed"]
    with queries(0, using="tenants"):
        for name in ("two", "three"):
            tenants.set_schema(name)
            assert names() == [name]


def test_no_tenant_needs_the_catalog_of_all(tenants, monkeypatch):
    """SET search_path means the same by any catalog, so that none has to be read for it."""
    read = []
    real = CatalogCache.load

    def load(self: CatalogCache, connection: Any, context: Any, *args: Any, **options: Any) -> None:
        real(self, connection, context, *args, **options)
        read.append(self._parts.find(context, *args).extent.schemas)  # type: ignore[union-attr]

    monkeypatch.setattr(CatalogCache, "load", load)
    for name in SCHEMAS:
        tenants.set_schema(name)
        assert names() == [name]
    with transaction.atomic(using="tenants"):
        for name in SCHEMAS:
            tenants.set_schema(name)
            rename("new")
    tenants.set_schema("one")
    with tenants.cursor() as cursor:
        cursor.execute("CREATE TABLE made (id integer)")
    for name in SCHEMAS:
        tenants.set_schema(name)
        assert names() == ["new"]
    assert read
    assert None not in read
