"""What ``BLACKLIST`` and ``ONLY`` keep out of the cache."""

from __future__ import annotations

import pytest
from django.db import connections
from django.db.models import Exists, OuterRef

from ormcache import reasons
from tests.integration.reading import Reading, execute, only_postgresql, rows_of, stats
from tests.shop.models import Author, Book, Genre, Novel, Place, Restaurant, Review, Upper


@pytest.fixture(autouse=True)
def _rows() -> None:
    book = Book.objects.using("plain").create(author=Author.objects.using("plain").create(name="Ann"), title="T")
    Review.objects.using("plain").create(book=book)
    Genre.objects.using("plain").create(name="Prose")
    Upper.objects.using("plain").create(label="x")
    Restaurant.objects.using("plain").create(name="x")


def is_cached(queries, query) -> bool:
    list(query.all())
    before = stats()["bypassed"].get(reasons.BLACKLISTED, 0)
    with queries() as seen:
        list(query.all())
    assert stats()["bypassed"].get(reasons.BLACKLISTED, 0) == before + len(seen)
    return not seen


@pytest.mark.parametrize(
    "name, out",
    [
        ("shop.Review", {Review}),
        ("shop.review", {Review}),
        ("shop.Restaurant", {Restaurant}),
        ("shop.Place", {Place, Restaurant}),
        ("shop.Novel", {Book, Novel}),
        ("shop.*", {Author, Book, Novel, Genre, Review, Place, Restaurant, Upper}),
        ("shop_review", {Review}),
        ("SHOP_REVIEW", {Review}),
        ("shop_re*", {Review, Restaurant}),
        ("Shop_Upper", {Upper}),
        ("shop_upper", {Upper}),
        ("*_genre", {Genre}),
        ("shop_[ag]*", {Author, Genre}),
        ("*", {Author, Book, Novel, Genre, Review, Place, Restaurant, Upper}),
        ("auth.*", set()),
        ("shop", set()),
    ],
)
def test_names(configure, queries, name, out):
    configure(BLACKLIST=[name])

    for model in (Author, Book, Novel, Genre, Review, Place, Restaurant, Upper):
        assert is_cached(queries, model.objects.order_by("pk")) == (model not in out), model


@pytest.mark.parametrize(
    "query",
    [
        lambda: Review.objects.select_related("book"),
        lambda: Book.objects.filter(reviews__stars=5),
        lambda: Book.objects.filter(Exists(Review.objects.filter(book=OuterRef("pk")))),
        lambda: Genre.objects.values_list("name").union(Review.objects.values_list("text")),
        lambda: Book.objects.extra(where=["(SELECT count(*) FROM shop_review) > 0"]),
    ],
)
def test_a_query_that_joins_a_blacklisted_table(configure, queries, query):
    configure(BLACKLIST=["shop.Review"])

    assert not is_cached(queries, query())
    assert is_cached(queries, Book.objects.filter(title="T"))


def test_only(configure, queries):
    configure(ONLY=["shop.Book", "shop_author"])

    assert is_cached(queries, Book.objects.all())
    assert is_cached(queries, Book.objects.select_related("author"))
    assert not is_cached(queries, Review.objects.all())
    assert not is_cached(queries, Review.objects.select_related("book"))


def test_the_blacklist_goes_before_only(configure, queries):
    configure(ONLY=["shop.*"], BLACKLIST=["shop.Review"])

    assert is_cached(queries, Book.objects.all())
    assert not is_cached(queries, Review.objects.all())


def test_a_view_over_a_blacklisted_table(configure, ddl, queries):
    from django.db import models

    from tests.integration.reading import model_of

    configure(BLACKLIST=["shop.Review"])
    ddl("CREATE VIEW v AS SELECT id, text AS name FROM shop_review", "DROP VIEW v")
    view = model_of("v", name=models.TextField())

    assert not is_cached(queries, view.objects.all())
    Review.objects.update(text="new")
    assert view.objects.get().name == "new"


def test_writes_to_a_blacklisted_table_contact_the_store_once(configure, queries, monkeypatch):
    configure(BLACKLIST=["shop.Review"])
    list(Author.objects.all())
    store = connections["default"].ormcache.database.stamps.store
    used = []
    for method in ("look_up", "mark", "settle", "keep", "renew"):
        if hasattr(store, method):
            real = getattr(store, method)
            monkeypatch.setattr(
                store,
                method,
                lambda *a, _real=real, _name=method, **k: used.append(_name) or _real(*a, **k),
                raising=False,
            )
    list(Review.objects.all())
    Review.objects.update(stars=1)
    Review.objects.create(book=Book.objects.using("plain").get())
    Review.objects.all().delete()
    assert used[:1] == ["mark"]
    assert len(used) <= 2  # and one in the background

    list(Author.objects.all())
    Author.objects.update(name="x")
    assert used


def test_an_entry_from_before_the_blacklist_does_not_revive(configure, queries):
    reading = Reading(queries, rows_of(Review))
    configure(BLACKLIST=["shop.Review"])
    Review.objects.update(stars=1)
    reading.assert_fresh()
    configure(BLACKLIST=[])

    reading.assert_fresh()


def test_a_cascade_through_a_blacklisted_table(configure, queries):
    from tests.shop.models import LegacyStock

    LegacyStock.objects.using("plain").create(book=Book.objects.using("plain").get(), quantity=1)
    configure(BLACKLIST=["shop.Book"])
    reading = Reading(queries, rows_of(LegacyStock))
    Review.objects.all().delete()

    execute("DELETE FROM shop_book")

    reading.assert_fresh()


@only_postgresql
def test_a_qualified_pattern(configure, ddl, queries):
    from django.db import models

    from tests.integration.reading import model_of

    configure(BLACKLIST=["audit.*"])
    ddl("CREATE SCHEMA audit", "DROP SCHEMA audit CASCADE")
    ddl("CREATE TABLE audit.log (id integer, name text)")

    assert not is_cached(queries, model_of('audit"."log', name=models.TextField()).objects.all())
    assert is_cached(queries, Genre.objects.all())
