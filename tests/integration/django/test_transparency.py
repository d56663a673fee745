"""What a program notices of ormcache besides its speed: nothing. Each of these once went wrong."""

from __future__ import annotations

from unittest import mock

import pytest
from django.db import DatabaseError, connection, connections, transaction
from django.db.models import Count
from django.test import override_settings

from tests.shop.models import Author, Book, Genre


@pytest.fixture
def postgresql(engine):
    if engine != "postgresql":
        pytest.skip("what other engines do here differs without ormcache too")


def test_an_aggregate_over_a_subquery():
    Genre.objects.create(name="Crime")
    for _ in range(2):
        assert Genre.objects.distinct()[:5].count() == 1
        assert Author.objects.annotate(n=Count("books")).filter(n__gt=0).aggregate(total=Count("pk")) == {"total": 0}


def test_connecting_leaves_no_transaction_behind_with_autocommit_off(postgresql):
    """The first set_autocommit(True) would fail in it, and the server would wait for its end."""
    own = connection.copy()
    own.settings_dict["AUTOCOMMIT"] = False
    try:
        own.connect()
        assert own.connection.info.transaction_status == 0  # idle
        own.set_autocommit(True)
    finally:
        own.close()


def test_times_are_naive_without_use_tz_whoever_read_them_first(postgresql):
    book = Book.objects.create(author=Author.objects.create(name="Ada"), title="One")

    def zone():
        return Book.objects.get(pk=book.pk).created.tzinfo

    assert zone() is not None
    with override_settings(USE_TZ=False):
        assert zone() is None
        assert zone() is None
    assert zone() is not None


def test_a_broken_transaction_gets_to_its_savepoint_when_the_catalog_is_out_of_date(postgresql):
    def break_off():
        with transaction.atomic():
            try:
                Genre.objects.extra(where=["1 / (id - id) = 0"]).exists()
            finally:
                connection.ormcache.known().catalog_cache.forget()  # as a schema change on another thread does

    with transaction.atomic():
        genre = Genre.objects.create(name="Crime")
        with pytest.raises(DatabaseError):
            break_off()
        Genre.objects.create(name="Poetry")
    assert Genre.objects.filter(pk__gte=genre.pk).count() == 2


def test_a_test_may_put_a_mock_in_place_of_ensure_connection():
    Genre.objects.create(name="Crime")
    assert Genre.objects.count() == 1
    with mock.patch("django.db.backends.base.base.BaseDatabaseWrapper.ensure_connection") as ensured:
        assert Genre.objects.count() == 1
    assert ensured.called


def test_a_plan_is_made_while_another_thread_forgets_the_catalog():
    Genre.objects.create(name="Crime")
    connections["default"].ensure_connection()
    database = connection.ormcache.known()
    database.catalog_cache.forget()
    plan, _ = database.plans.plan("SELECT name FROM shop_genre WHERE 1 = 1", connection.ormcache.resolution_context())
    assert plan.relations == {"shop_genre"}
