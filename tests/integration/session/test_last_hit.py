"""What a query leaves behind in its session, asked for after a hit: the answers are those of plain Django."""

from __future__ import annotations

import pytest
from django.db import connection, connections, transaction

from tests import environment
from tests.integration.calls import add, is_cached, run
from tests.shop.models import Author, Genre
from tests.unit.sql.test_aftermath import KEEPING, REPLACING

pytestmark = pytest.mark.skipif(environment.current().engine != "mysql", reason="only MySQL tells of such things")


@pytest.fixture(autouse=True)
def _authors():
    for name in "ABC":
        add(name)
    for using in ("default", "plain"):
        assert read(using) == ["A", "B"]
    assert is_cached(read)
    Genre.objects.count()
    assert is_cached(Genre.objects.count)
    yield
    connections.close_all()


def read(using="default"):
    return list(Author.objects.using(using).order_by("name").values_list("name", flat=True)[:2])


def ask(sql, using):
    with connections[using].cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def same(program):
    """What a program answers, with the cache, once it is the same as without."""
    expected = program("plain")
    assert program("default") == expected
    return expected


def test_found_rows():
    run("SELECT 1")
    run("SELECT 1", using="plain")
    assert same(lambda using: (read(using), ask("SELECT FOUND_ROWS()", using))) == (["A", "B"], ((2,),))


def test_it_was_a_hit_and_runs_when_it_is_asked_for(queries):
    with queries(0):
        read()
    with queries(2):
        ask("SELECT FOUND_ROWS()", "default")
    with queries(1):
        ask("SELECT FOUND_ROWS()", "default")


def test_nothing_runs_where_nothing_asks(queries):
    read()
    with queries(1):
        run("UPDATE shop_genre SET name = 'x'")
    with queries(1):
        run("SELECT 1")
    with queries(1):
        ask("SELECT FOUND_ROWS()", "default")


def test_a_savepoint_in_between():
    def program(using):
        with transaction.atomic(using=using):
            run("SELECT 1", using=using)
            with transaction.atomic(using=using):
                read(using)
            Genre.objects.using(using).update(name="x")
            return ask("SELECT FOUND_ROWS()", using)

    assert same(program) == ((2,),)


@pytest.mark.parametrize("question", ["SELECT ROW_COUNT()", "SELECT @@warning_count", "SHOW WARNINGS"])
def test_other_questions(question):
    def program(using):
        run("SELECT CAST('1y' AS SIGNED)", using=using)  # with a warning
        read(using)
        warned = ask(question, using)
        run("UPDATE shop_author SET name = CONCAT(name, '')", using=using)
        read(using)
        return warned, ask(question, using)

    same(program)


def test_a_write_after_the_hit_counts():
    def program(using):
        Genre.objects.using(using).count()
        run("DELETE FROM shop_author WHERE name = 'C'", using=using)
        return ask("SELECT ROW_COUNT()", using)

    expected = program("plain")
    add("C", "plain")
    assert program("default") == expected == ((1,),)


def test_a_procedure_may_ask(ddl):
    ddl("CREATE PROCEDURE asks() SELECT FOUND_ROWS()", "DROP PROCEDURE asks")

    def program(using):
        run("SELECT 1", using=using)
        read(using)
        return ask("CALL asks()", using)

    assert same(program) == ((2,),)


@pytest.mark.parametrize("question", ["SELECT asks()", "EXECUTE shop_asks"])
def test_whatever_is_not_known_may_ask_later(ddl, question):
    ddl("CREATE FUNCTION asks() RETURNS int READS SQL DATA RETURN FOUND_ROWS()", "DROP FUNCTION asks")

    def program(using):
        run("PREPARE shop_asks FROM 'SELECT FOUND_ROWS()'", using=using)
        run("SELECT 1", using=using)
        read(using)
        run("SET @x = 1", using=using)
        return ask(question, using)

    assert same(program) == ((2,),)


def test_another_connection_has_nothing_to_run_again(queries):
    read()
    connection.close()
    with queries(1):
        ask("SELECT FOUND_ROWS()", "default")


@pytest.mark.parametrize("sql", [*KEEPING, *REPLACING])
def test_which_statements_leave_rows_alone(ddl, sql):
    ddl("CREATE TABLE a (n int, m int, warning_count int)", "DROP TABLE a")
    ddl("CREATE TABLE b (n int, m int)", "DROP TABLE b")
    ddl("CREATE TABLE IF NOT EXISTS c (n int)", "DROP TABLE IF EXISTS c")
    run("INSERT INTO a (n, m) VALUES (1, 1)")
    with connections["plain"].cursor() as cursor:
        cursor.execute("SELECT name FROM shop_author")
        cursor.fetchall()
        if " c " in sql and sql.startswith("CREATE"):
            cursor.execute("DROP TABLE c")
        cursor.execute(sql)
        cursor.fetchall()
        cursor.execute("SELECT FOUND_ROWS()")
        rows = cursor.fetchone()[0]
    assert (rows == 3) == (sql in KEEPING)
