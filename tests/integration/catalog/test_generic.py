"""A database of a kind that ormcache does not know: SQLite, under a name that nobody has heard of."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.conf import settings
from django.db import connections, transaction

import ormcache
from tests.integration.reading import only_sqlite
from tests.shop.models import Author, Book, Genre

pytestmark = only_sqlite


@pytest.fixture
def other(monkeypatch) -> Iterator[str]:
    """An alias of the database under test, which a store is named for."""
    given = settings.DATABASES["default"]
    cache = given["ORMCACHE"] | {"ENGINE": "tests.projects.engines.unknown", "STORE": "embedded"}
    changed = given | {"ENGINE": "ormcache.backends.wrap", "ORMCACHE": cache}
    completed = connections.configure_settings({"default": changed})["default"]
    monkeypatch.setitem(settings.DATABASES, "other", completed)
    monkeypatch.setitem(connections.settings, "other", completed)
    yield "other"
    connections["other"].close()
    del connections["other"]


def genres() -> list[str]:
    return sorted(Genre.objects.using("other").values_list("name", flat=True))


def bypassed() -> dict[str, int]:
    return dict(ormcache.stats("other")["bypassed"])


def test_the_whole_story(other, queries):
    genre = Genre.objects.using("other").create(name="A")
    assert genres() == ["A"]
    with queries(0, using="other"):
        assert genres() == ["A"]
    genre.name = "B"
    genre.save(using="other")
    assert genres() == ["B"]
    with transaction.atomic(using="other"):
        Genre.objects.using("other").create(name="C")
    assert genres() == ["B", "C"]
    with transaction.atomic(using="other"):
        Genre.objects.using("other").all().delete()
        transaction.set_rollback(True, using="other")
    with queries(0, using="other"):
        assert genres() == ["B", "C"]
    with connections["other"].cursor() as cursor:
        cursor.execute("DELETE FROM shop_genre")
    assert genres() == []


def test_a_foreign_key_counts_as_one_that_cascades(other):
    author = Author.objects.using("other").create(name="A")
    Book.objects.using("other").create(author=author, title="T", copies=1)
    with connections["other"].cursor() as cursor:
        cursor.execute("CREATE TABLE parents (id integer PRIMARY KEY)")
        cursor.execute("CREATE TABLE children (parent integer REFERENCES parents (id) ON DELETE CASCADE)")
        cursor.execute("INSERT INTO parents VALUES (1)")
    database = connections["other"].ormcache.known()
    database.catalog_cache.ensure_loaded(connections["other"])
    try:
        assert database.plans.closure(frozenset({"parents"})) == {"parents", "children"}
        assert "shop_book" in database.plans.closure(frozenset({"shop_author"}))
        assert database.plans.closure(frozenset({"children"})) == {"children"}
    finally:
        with connections["other"].cursor() as cursor:
            cursor.execute("DROP TABLE children")
            cursor.execute("DROP TABLE parents")


def test_views_are_not_cached_and_written_through_to_everything(other):
    with connections["other"].cursor() as cursor:
        cursor.execute("CREATE VIEW names AS SELECT id, name FROM shop_genre")
    database = connections["other"].ormcache.known()
    database.catalog_cache.ensure_loaded(connections["other"])
    try:
        plan, _ = database.plans.plan("SELECT name FROM names")
        assert plan.bypass_reason == "not understood"
        assert "*" in database.plans.plan("DELETE FROM names")[0].written
    finally:
        with connections["other"].cursor() as cursor:
            cursor.execute("DROP VIEW names")


def test_in_a_transaction_nothing_is_cached(other):
    genres()
    before = bypassed().get("snapshot", 0)
    with transaction.atomic(using="other"):
        genres()
    assert bypassed()["snapshot"] == before + 1


def test_a_session_that_cannot_be_followed(other):
    genres()
    with connections["other"].cursor() as cursor:
        cursor.execute("PRAGMA case_sensitive_like = 1")
    before = bypassed().get("untracked session", 0)
    genres()
    assert bypassed()["untracked session"] == before + 1


def test_two_users_share_stamps_and_no_results(other):
    connection = connections["other"]
    connection.ensure_connection()
    reader = connection.ormcache.known().server
    assert "USER" not in reader.identity
    one = connection.ormcache.prefix(connection.ormcache.known())
    connection.close()
    connection.settings_dict["USER"] = "somebody"
    connection.ensure_connection()
    assert connection.ormcache.known().server.identity == reader.identity
    assert connection.ormcache.prefix(connection.ormcache.known()) != one
