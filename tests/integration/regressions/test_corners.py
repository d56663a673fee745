"""Holes in narrow places: texts that few programs run, and transactions that are over before Django knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
from django.db import IntegrityError, connection, models, transaction
from django.db.models.expressions import RawSQL

from ormcache import reasons
from tests.integration.reading import (
    Reading,
    execute,
    in_thread,
    model_of,
    not_on_sqlite,
    only_mysql,
    only_postgresql,
    only_sqlite,
    stats,
)
from tests.shop.models import Author, Genre, Upper


@pytest.fixture(autouse=True)
def _rows() -> None:
    Author.objects.using("plain").create(name="old")
    Genre.objects.using("plain").create(name="old")


def names(using: str = "default") -> list[str]:
    return sorted(Author.objects.using(using).values_list("name", flat=True))


def others_see_the_truth(read: Callable[[str], Any] = names) -> bool:
    return in_thread(lambda: read("default")) == in_thread(lambda: read("plain"))


# A transaction that is over --------------------------------------------------------------------


class Undone(Exception):
    """Ends a block."""


def ends_it_by_a_script() -> None:
    with connection.cursor() as cursor:
        cursor.executescript("SELECT 1;")


def ends_it_by_commit() -> None:
    execute("COMMIT")


def ends_it_by_a_conflict() -> None:
    with pytest.raises(IntegrityError):
        execute("INSERT OR ROLLBACK INTO shop_author (id, name, active) SELECT id, 'x', 1 FROM shop_author")


@only_sqlite
@pytest.mark.usefixtures("wal")
@pytest.mark.parametrize("end", [ends_it_by_a_script, ends_it_by_commit, ends_it_by_a_conflict])
def test_a_transaction_that_has_ended_inside_its_block(end, queries):
    reading = Reading(queries, names)
    with pytest.raises(Exception) as raised, transaction.atomic():  # noqa: PT011  # sqlite3's own where none is open
        end()
        reading.cache_again()
        Author.objects.update(name="new")
        assert others_see_the_truth()
        raise Undone
    assert "Undone" in repr(raised.value) or "no transaction is active" in str(raised.value)
    reading.assert_fresh()


@only_sqlite
@pytest.mark.usefixtures("wal")
def test_a_write_before_which_sqlite3_begins_no_transaction(queries):
    reading = Reading(queries, names)
    transaction.set_autocommit(False)
    try:
        execute("WITH x AS (SELECT 1) UPDATE shop_author SET name = 'new'")
        assert others_see_the_truth()
        transaction.rollback()
    finally:
        transaction.set_autocommit(True)
    reading.assert_fresh()


@only_mysql
@pytest.mark.parametrize(
    "call", [lambda cursor: cursor.callproc("pays"), lambda cursor: cursor.execute("CALL pays()")], ids=["proc", "text"]
)
def test_a_procedure_that_commits_what_its_caller_has_written(call, ddl, queries):
    ddl("CREATE PROCEDURE pays() BEGIN START TRANSACTION; UPDATE shop_genre SET name = 'x'; COMMIT; END")
    try:
        reading = Reading(queries, names)
        with pytest.raises(Undone), transaction.atomic():
            Author.objects.update(name="new")
            with connection.cursor() as cursor:
                call(cursor)
            assert others_see_the_truth()
            raise Undone
        reading.assert_fresh()
    finally:
        execute("DROP PROCEDURE pays", using="plain")


@only_postgresql
def test_a_commit_among_several_statements(queries):
    reading = Reading(queries, names)
    with pytest.raises(Undone), transaction.atomic():
        Author.objects.update(name="new")
        execute("COMMIT; BEGIN")
        assert others_see_the_truth()
        raise Undone
    reading.assert_fresh()


# A snapshot that nobody sees ---------------------------------------------------------------------


@only_sqlite
@pytest.mark.usefixtures("wal")
def test_a_loop_over_the_drivers_own_cursor():
    """sqlite3's execute() returns it: nobody has the wrapper around it any more."""
    Genre.objects.using("plain").bulk_create([Genre(name=str(number)) for number in range(2000)])
    names()
    for _ in connection.cursor().execute("SELECT id FROM shop_genre"):
        in_thread(lambda: Author.objects.update(name="new"))
        assert names() == ["old"]
        assert stats()["rejected"][reasons.OPEN_CURSOR] >= 1
        break
    assert others_see_the_truth()


# Temporary objects ----------------------------------------------------------------------------------


def assert_kept_to_itself(read: Callable[[str], Any]) -> None:
    assert read("default") == read("default") != read("plain")
    assert others_see_the_truth(read)


@pytest.mark.parametrize(
    "sql",
    [
        pytest.param("CREATE TABLE temp.shop_author AS SELECT * FROM main.shop_author WHERE 0", marks=only_sqlite),
        pytest.param("CREATE VIEW temp.shop_author AS SELECT * FROM main.shop_author WHERE 0", marks=only_sqlite),
        pytest.param(
            "CREATE TABLE pg_temp.shop_author AS SELECT * FROM shop_author WHERE false", marks=only_postgresql
        ),
        pytest.param("SELECT * INTO pg_temp.shop_author FROM shop_author WHERE false", marks=only_postgresql),
        pytest.param("CREATE VIEW pg_temp.shop_author AS SELECT * FROM shop_author WHERE false", marks=only_postgresql),
    ],
)
def test_a_temporary_object_named_by_its_schema(sql):
    execute(sql)
    try:
        assert_kept_to_itself(lambda using: Author.objects.using(using).filter(id__gt=0).count())
    finally:
        connection.close()


@only_sqlite
def test_a_temporary_trigger_whose_schema_is_in_single_quotes(queries):
    reading = Reading(queries, names)
    execute("CREATE TRIGGER 'temp'.t AFTER UPDATE ON shop_genre BEGIN UPDATE shop_author SET name = 'new'; END")
    reading.cache_again()
    Genre.objects.update(name="x")
    reading.assert_fresh()


@only_sqlite
def test_a_temporary_view_that_the_connection_begins_with(monkeypatch):
    view = "CREATE TEMP VIEW shop_upper AS SELECT id, name AS Label FROM shop_author"
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", {"init_command": view})
    connection.close()
    try:
        for name in ("old", "new"):
            Author.objects.update(name=name)
            for _ in range(2):
                assert list(Upper.objects.values_list("label", flat=True)) == [name]
        assert stats()["bypassed"][reasons.UNTRACKED_SESSION] >= 4
    finally:
        connection.close()


# Texts ----------------------------------------------------------------------------------------------


@pytest.fixture
def trigger(ddl: Callable[[str, str], None]) -> Callable[[str], None]:
    return lambda body: ddl(f"CREATE TRIGGER t AFTER UPDATE ON shop_genre BEGIN {body}; END", "DROP TRIGGER t")


@only_sqlite
def test_a_table_in_single_quotes_in_a_trigger(trigger, queries):
    trigger("UPDATE 'shop_author' SET name = 'new'")
    reading = Reading(queries, names)
    Genre.objects.update(name="x")
    reading.assert_fresh()


@only_sqlite
def test_a_table_in_single_quotes_in_a_write_that_is_not_understood_wholly(queries):
    reading = Reading(queries, names)
    execute("UPDATE 'shop_author' SET name = 'new' WHERE 1 IN (SELECT 1 FROM shop_genre merge)")
    reading.assert_fresh()


@only_sqlite
def test_a_table_that_sqlite_itself_writes():
    def last(using: str) -> Any:
        sql = "(SELECT seq FROM sqlite_sequence WHERE name = 'shop_author')"
        return Genre.objects.using(using).annotate(last=RawSQL(sql, ())).values_list("last", flat=True).first()

    for name in "abc":
        assert last("default") == last("default") == last("plain")
        Author.objects.create(name=name)
    assert stats()["bypassed"][reasons.SYSTEM_CATALOG] >= 6


@only_sqlite
def test_a_carriage_return_does_not_end_a_comment(queries):
    sql = "(SELECT max(a.name) FROM shop_genre g -- \r'\n , shop_author a -- '\n)"
    reading = Reading(
        queries,
        lambda using: list(Genre.objects.using(using).annotate(n=RawSQL(sql, ())).values_list("n", flat=True)),
    )
    Author.objects.update(name="new")
    reading.assert_fresh()


@only_mysql
def test_a_carriage_return_does_not_end_a_comment_of_mysql():
    with connection.cursor() as cursor:
        for comment in ("-- ", "--\r", "# "):
            cursor.execute(f"SELECT 1 {comment}\r + 1\n + 5")
            assert cursor.fetchall() == ((6,),), comment


@not_on_sqlite
def test_a_value_in_a_comment():
    first, second = (Author.objects.create(name=name).pk for name in ("one", "two"))

    def read(where: str, using: str = "default") -> list[str]:
        return list(
            Author.objects.using(using).extra(where=[where], params=[first, second]).values_list("name", flat=True)
        )

    for where, name in [("id = %s /* %s */", "one"), ("/* %s */ id = %s", "two")] * 2:
        assert read(where) == read(where, "plain") == [name]
    assert stats()["bypassed"][reasons.NOT_UNDERSTOOD] >= 4


@only_postgresql
def test_the_place_of_a_row():
    Author.objects.using("plain").all().delete()
    Author.objects.create(name="a")

    def places(using: str) -> list[str]:
        return list(Author.objects.using(using).annotate(c=RawSQL("ctid::text", ())).values_list("c", flat=True))

    before = places("default")
    execute("VACUUM FULL shop_author")
    assert places("default") == places("plain") != before


@only_postgresql
def test_the_limit_of_pg_trgm(ddl):
    ddl("CREATE EXTENSION IF NOT EXISTS pg_trgm", "DROP EXTENSION pg_trgm")
    Author.objects.create(name="hello world")

    def similar(using: str) -> int:
        return Author.objects.using(using).extra(where=["name %% 'hello'"]).count()

    assert similar("default") == similar("default") == 1
    execute("SELECT set_limit(0.99)")
    assert similar("default") == similar("default") == 0
    assert others_see_the_truth(similar)


@only_sqlite
def test_rows_that_a_write_returns_are_iterated_over():
    assert next(connection.cursor().execute("INSERT INTO shop_genre (name) VALUES ('q') RETURNING name")) == ("q",)


# Fields --------------------------------------------------------------------------------------------


class Marked(models.CharField):
    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        return value


def test_a_field_that_reads_otherwise_for_a_while():
    model = model_of("shop_author", name=Marked(max_length=100))
    assert [one.name for one in model.objects.all()] == ["old"]
    with mock.patch.object(Marked, "from_db_value", lambda self, value, *_: value.upper()):
        assert [one.name for one in model.objects.all()] == ["OLD"]
    assert [one.name for one in model.objects.all()] == ["old"]
