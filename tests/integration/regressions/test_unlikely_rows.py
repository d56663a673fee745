"""Results by key in unlikely places: each of these was served a row that was not so, or could have been."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, models
from django.db.models import Func
from django.db.models.sql.constants import SINGLE

import ormcache
from ormcache.catalog import ALL_ROWS_AND_SCHEMA
from tests.integration.calls import is_cached, run
from tests.integration.reading import ENGINE, QUOTE, model_of, only_mysql, only_postgresql, only_sqlite
from tests.shop.models import Author, Book


@pytest.fixture(autouse=True)
def _by_row(configure):
    configure(ROWS="always", ADAPTIVE=False)


def assert_right(read: Callable[[], Any], write: Callable[[], Any]) -> None:
    """A result by key that is cached is what the database answers, after this write too, which changes it."""
    before = read()
    assert is_cached(read)
    write()
    found = read()
    with ormcache.disabled():
        assert found == read()
    assert found != before


def is_hit(read: Callable[[], Any]) -> bool:
    counters = connection.ormcache.observer.counters
    before = counters.snapshot()["hits"]
    read()
    return counters.snapshot()["hits"] > before


def two_books() -> None:
    for pk in (1, 2):
        Author.objects.create(pk=pk, name="Homer")
        Book.objects.bulk_create([Book(pk=pk, author_id=pk, title="Iliad", copies=pk)])


# Values that are equal by the column, and not by the database ---------------------------------

FOLDING = {
    "sqlite": ("CREATE TABLE coded (id integer PRIMARY KEY, code varchar(10) COLLATE NOCASE NOT NULL UNIQUE)", "a "),
    "mysql": (
        "CREATE TABLE coded (id integer PRIMARY KEY, code varchar(10) COLLATE utf8mb4_bin NOT NULL UNIQUE)",
        "A",
    ),
}


@pytest.mark.skipif(ENGINE not in FOLDING, reason="PostgreSQL tells all values apart")
def test_a_value_that_is_folded_with_another_one_may_still_come(ddl):
    create, other = FOLDING[ENGINE]
    ddl(create, "DROP TABLE coded")
    run("INSERT INTO coded (id, code) VALUES (1, 'a')")
    coded = model_of("coded", code=models.CharField(max_length=10))
    assert_right(
        lambda: sorted(coded.objects.filter(code__in=["a", other]).values_list("id", "code")),
        lambda: coded.objects.bulk_create([coded(id=2, code=other)]),
    )


@pytest.mark.skipif(ENGINE not in FOLDING, reason="PostgreSQL tells all values apart")
def test_a_primary_key_that_is_folded_with_another_one_may_still_come(ddl):
    create, other = FOLDING[ENGINE]
    ddl(
        create.replace("NOT NULL UNIQUE", "NOT NULL PRIMARY KEY").replace("integer PRIMARY KEY", "integer"),
        "DROP TABLE coded",
    )
    run("INSERT INTO coded (id, code) VALUES (1, 'a')")
    coded = model_of("coded", code=models.CharField(max_length=10, primary_key=True), id=models.IntegerField())
    assert_right(
        lambda: sorted(coded.objects.filter(code__in=["a", other]).values_list("id", "code")),
        lambda: coded.objects.bulk_create([coded(id=2, code=other)]),
    )


# Functions that a statement calls ------------------------------------------------------------


@only_postgresql
def test_a_function_that_a_write_calls_writes_other_rows_of_the_table(ddl):
    two_books()
    ddl(
        "CREATE FUNCTION rename_all() RETURNS bigint LANGUAGE sql AS"
        " 'UPDATE shop_book SET title = ''Odyssey'' WHERE id = 1; SELECT 5::bigint'",
        "DROP FUNCTION rename_all",
    )
    assert_right(
        lambda: list(Book.objects.filter(pk=1).values_list("title", flat=True)),
        lambda: Book.objects.filter(pk=2).update(copies=Func(function="rename_all")),
    )


@only_postgresql
def test_a_foreign_key_that_is_dropped_with_an_index(ddl):
    """The column is none by which other processes read, any more, so they do not say which values come."""
    ddl("CREATE TABLE parent (id integer PRIMARY KEY, code integer NOT NULL)", "DROP TABLE parent")
    ddl("CREATE UNIQUE INDEX parent_code ON parent (code)", "")
    ddl("CREATE TABLE child (id integer PRIMARY KEY, of integer REFERENCES parent (code))", "DROP TABLE child")
    run("INSERT INTO parent (id, code) VALUES (1, 1)")
    child = model_of("child", of=models.IntegerField(null=True))
    read = lambda: list(child.objects.filter(of=1).values_list("id", flat=True))  # noqa: E731
    assert is_cached(read)
    run("DROP INDEX parent_code CASCADE")
    assert not is_hit(read)


# Indexes and constraints -----------------------------------------------------------------------


def test_a_unique_index_that_is_dropped_lets_a_second_row_come(ddl):
    tail = " ENGINE=InnoDB" if ENGINE == "mysql" else ""
    ddl(f"CREATE TABLE coded (id integer PRIMARY KEY, code varchar(10) NOT NULL){tail}", "DROP TABLE coded")
    ddl("CREATE UNIQUE INDEX coded_code ON coded (code)", "")
    run("INSERT INTO coded (id, code) VALUES (1, 'a')")
    coded = model_of("coded", code=models.CharField(max_length=10))
    read = lambda: sorted(coded.objects.filter(code="a").values_list("id", flat=True))  # noqa: E731
    assert is_cached(read)
    run("DROP INDEX coded_code" + (" ON coded" if ENGINE == "mysql" else ""))
    assert_right(read, lambda: coded.objects.bulk_create([coded(id=2, code="a")]))


# What is passed past execute() ------------------------------------------------------------------


@only_postgresql
def test_a_streamed_insert_names_no_values(ddl):
    cursor = connection.cursor()
    if not hasattr(cursor, "stream"):
        pytest.skip("psycopg2 streams nothing")
    with cursor:
        assert_right(
            lambda: list(Author.objects.filter(email="a@example.org").values_list("name", flat=True)),
            lambda: list(
                cursor.stream(
                    "INSERT INTO shop_author (name, email, active) VALUES (%s, %s, true) RETURNING id",
                    ["Homer", "a@example.org"],
                )
            ),
        )


# Joins -------------------------------------------------------------------------------------------


@only_sqlite
def test_a_join_finds_two_rows_by_the_collation_of_the_other_column(ddl):
    ddl("CREATE TABLE parent (code varchar(10) NOT NULL PRIMARY KEY, name text)", "DROP TABLE parent")
    ddl("CREATE TABLE child (id integer PRIMARY KEY, of varchar(10) COLLATE NOCASE)", "DROP TABLE child")
    run("INSERT INTO parent (code, name) VALUES ('a', 'one')")
    run("INSERT INTO child (id, of) VALUES (1, 'a')")

    class Parent(models.Model):
        code = models.CharField(max_length=10, primary_key=True)
        name = models.TextField()

        class Meta:
            app_label, db_table, managed = "shop", "parent", False

    class Child(models.Model):
        of = models.ForeignKey(Parent, models.DO_NOTHING, db_column="of")

        class Meta:
            app_label, db_table, managed = "shop", "child", False

    assert_right(
        lambda: sorted(child.of.name for child in Child.objects.filter(pk=1).select_related("of")),
        lambda: Parent.objects.bulk_create([Parent(code="A", name="another")]),
    )


# What others than Django's own methods ask for --------------------------------------------------------


def test_the_first_row_of_several(ddl):
    two_books()
    Book.objects.bulk_create([Book(pk=3, author_id=1, title="Odyssey", copies=3)])
    first = Book.objects.filter(author=1).order_by("title").values_list("id", "title").query
    assert_right(
        lambda: first.get_compiler("default").execute_sql(SINGLE),
        lambda: Book.objects.filter(pk=3).update(title="Achilleid"),
    )


# Schema changes ------------------------------------------------------------------------------------


def test_a_writer_that_waits_may_not_know_the_key_columns_of_now(monkeypatch):
    """It has marked before a schema change, in autocommit, and has been waiting for a lock since."""
    two_books()
    database = connection.ormcache.database
    by_author = lambda: list(Book.objects.filter(author=1).values_list("id", flat=True))  # noqa: E731
    store, slot = database.stamps.store, database.slots.name("shop_book")
    database.renew(ALL_ROWS_AND_SCHEMA)
    store.mark([slot], b"12345678", 60)
    by_author()
    assert not is_hit(by_author)
    by_now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: by_now + database.config.lease + 1)
    by_author()
    assert is_hit(by_author)
    monkeypatch.undo()
    store.settle([slot], b"12345678", b"S" + bytes(16))


# Names ---------------------------------------------------------------------------------------------


def test_a_table_whose_name_begins_like_the_epoch(ddl):
    quoted = f"{QUOTE}*starred{QUOTE}"
    ddl(f"CREATE TABLE {quoted} (id integer PRIMARY KEY, name varchar(10))", f"DROP TABLE {quoted}")
    run(f"INSERT INTO {quoted} (id, name) VALUES (1, 'one')")
    starred = model_of("*starred", name=models.CharField(max_length=10))
    assert_right(
        lambda: list(starred.objects.filter(pk=1).values_list("name", flat=True)),
        lambda: starred.objects.filter(name="one").update(name="two"),
    )


# Settings of a session -------------------------------------------------------------------------------


@only_mysql
def test_a_session_that_is_shown_one_row_of_each_result(request):
    two_books()
    Book.objects.bulk_create([Book(pk=3, author_id=1, title="Odyssey", copies=3)])
    request.addfinalizer(connection.close)
    run("SET sql_select_limit = 1")
    assert_right(
        lambda: list(Book.objects.filter(author=1).order_by("title").values_list("id", "title")),
        lambda: Book.objects.filter(pk=3).update(title="Achilleid"),
    )


# Conversions -----------------------------------------------------------------------------------------


@only_postgresql
@pytest.mark.parametrize("kind, given, stored", [("integer", "007", "7"), ("uuid", "A" * 32, str(UUID("A" * 32)))])
def test_elements_of_another_type_than_the_columns(ddl, kind, given, stored):
    ddl("CREATE TABLE coded (id integer PRIMARY KEY, code text UNIQUE)", "DROP TABLE coded")
    coded = model_of("coded", code=models.TextField())
    assert_right(
        lambda: list(coded.objects.filter(code=stored).values_list("id", flat=True)),
        lambda: run(
            f"INSERT INTO coded (id, code) SELECT * FROM UNNEST((%s)::integer[], (%s)::{kind}[])", [1], [given]
        ),
    )
