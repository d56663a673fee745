"""The tests' own ground: two ways to one database, other processes, counted queries."""

from __future__ import annotations

import os

import pytest
from django.conf import settings
from django.core.cache import caches
from django.db import connections, transaction

from tests.process import OtherProcessError, stop
from tests.shop.models import Author, Book, Genre, LegacyStock, Restaurant, Upper


def count_authors(using: str = "plain") -> int:
    return Author.objects.using(using).count()


def add_author(name: str) -> None:
    with transaction.atomic():
        Author.objects.create(name=name)
        stop("written")


def store_name(alias: str) -> str:
    return settings.DATABASES[alias]["ORMCACHE"]["STORE"]


def fail() -> None:
    raise ValueError("on purpose")


def test_plain_and_default_reach_one_database():
    Author.objects.create(name="Ursula K. Le Guin")

    assert Author.objects.using("plain").get().name == "Ursula K. Le Guin"
    assert Author.objects.using("second_plain").count() == 0


@pytest.mark.parametrize("attempt", [1, 2])
def test_every_test_starts_with_empty_tables(attempt):
    author = Author.objects.create(name=f"author {attempt}")
    book = Book.objects.create(author=author, title="Title")
    book.genres.add(Genre.objects.create(name="Genre"))
    LegacyStock.objects.create(book=book, quantity=attempt)
    Restaurant.objects.create(name="Restaurant")
    Upper.objects.using("second").create(label="label")

    assert Author.objects.using("plain").count() == Restaurant.objects.using("plain").count() == 1
    assert Upper.objects.using("second_plain").count() == 1


def test_the_database_deletes_the_stock_of_a_book():
    book = Book.objects.create(author=Author.objects.create(name="A"), title="Title")
    LegacyStock.objects.create(book=book, quantity=3)
    with connections["plain"].cursor() as cursor:
        cursor.execute("DELETE FROM shop_book")

    assert LegacyStock.objects.using("plain").count() == 0


def test_queries_are_counted_at_the_driver(queries):
    with queries(1):
        Author.objects.create(name="A")
    with queries(0):
        pass
    with pytest.raises(pytest.fail.Exception, match="1 queries reached the database instead of 0"), queries(0):
        Author.objects.create(name="B")


def test_another_process_shares_the_database(other_process):
    Author.objects.create(name="A")

    assert other_process("tests.integration.test_environment.count_authors") == 1
    assert other_process("tests.integration.test_environment.count_authors", using="second_plain") == 0
    assert other_process("os.getpid") != os.getpid()


def test_another_process_has_the_settings_of_this_test(configure, other_process):
    configure(STORE="django", CACHE="default")

    assert other_process("tests.integration.test_environment.store_name", "second") == "django"


def test_configuring_a_cache_empties_it(configure):
    caches["default"].set("key", "value")
    configure(STORE="django", CACHE="default")

    assert caches["default"].get("key") is None


def test_the_types_of_postgresql(engine):
    if engine != "postgresql":
        pytest.skip("PostgreSQL only")
    from tests.shop_postgresql.models import Reading

    Reading.objects.using("plain").create(tags=["poetry"], seats=[[1, 2], [3, 4]], ages=(6, 12), attributes={"a": "b"})
    reading = Reading.objects.using("plain").get()

    assert (reading.tags, reading.seats) == (["poetry"], [[1, 2], [3, 4]])
    assert (reading.ages.lower, reading.attributes) == (6, {"a": "b"})


def test_the_error_of_another_process_comes_back(other_process):
    with pytest.raises(OtherProcessError, match="ValueError: on purpose"):
        other_process("tests.integration.test_environment.fail")


def test_another_process_stops_where_it_is_told(other_process):
    process = other_process.start(
        "tests.integration.test_environment.add_author",
        "A",
        stops=["written", "after:django.db.backends.base.base.BaseDatabaseWrapper.commit"],
    )
    process.wait_for("written")
    assert count_authors() == 0
    process.go()
    process.wait_for("after:django.db.backends.base.base.BaseDatabaseWrapper.commit")
    assert count_authors() == 1
    process.go()
    assert process.result() is None


def test_a_killed_process_leaves_nothing(other_process):
    process = other_process.start("tests.integration.test_environment.add_author", "A", stops=["written"])
    process.wait_for("written")
    process.kill()

    assert count_authors() == 0
