"""Tools that count, change or forbid queries, and the clock of a test that stands still."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from django.db import connection, connections, reset_queries
from django.test import SimpleTestCase, TestCase, override_settings
from django.test.testcases import DatabaseOperationForbidden
from django.test.utils import CaptureQueriesContext

import ormcache
from tests.shop.models import Author


def names(using: str = "default") -> list[str]:
    return list(Author.objects.using(using).order_by("pk").values_list("name", flat=True))


# Counting ----------------------------------------------------------------------------


def test_a_hit_is_no_query():
    Author.objects.create(name="A")
    with CaptureQueriesContext(connection) as captured:
        names()
    assert len(captured) == 1
    assert captured[0]["sql"].startswith("SELECT")
    with CaptureQueriesContext(connection) as captured:
        names()
        names()
    assert len(captured) == 0


def test_connection_queries():
    names()
    with override_settings(DEBUG=True):
        reset_queries()
        Author.objects.create(name="A")
        names()
        names()
        assert [query["sql"].split()[0] for query in connection.queries] == ["INSERT", "SELECT"]


def test_assert_num_queries():
    class Case(TestCase):
        def runTest(self) -> None:  # noqa: N802  # unittest's name for it
            with self.assertNumQueries(1):
                names()
            with self.assertNumQueries(0):
                names()

    connection.ensure_connection()
    Author.objects.create(name="A")
    Case().assertNumQueries(1, names)
    Case().assertNumQueries(0, names)


def test_djangos_test_case_forbids_a_hit_where_it_forbids_a_query():
    class Case(SimpleTestCase):
        def runTest(self) -> None:  # noqa: N802  # unittest's name for it
            """Nothing; its class is what is used."""

    Author.objects.create(name="A")
    assert names() == names() == ["A"]
    Case.setUpClass()
    try:
        with pytest.raises(DatabaseOperationForbidden, match="Database queries to 'default' are not allowed"):
            names()
        assert list(Author.objects.filter(pk__in=[])) == []
    finally:
        Case.doClassCleanups()
        Case.tearDownClass()
    assert names() == ["A"]


def test_pytest_django_blocks_a_hit_where_it_blocks_a_query(django_db_blocker):
    Author.objects.create(name="A")
    assert names() == names() == ["A"]
    with django_db_blocker.block():
        with pytest.raises(RuntimeError, match="Database access not allowed"):
            names()
        connection.close()
        with pytest.raises(RuntimeError, match="Database access not allowed"):
            names()
    assert names() == ["A"]


# Execute wrappers --------------------------------------------------------------------


def test_a_wrapper_that_adds_comments():
    """As sqlcommenter and its like do: to the end, or to the front, of every statement."""

    def comment(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        return execute(f"/* shop_genre */ {sql} /*route='UPDATE shop_genre'*/", params, many, context)

    Author.objects.create(name="A")
    assert names() == ["A"]
    with connection.execute_wrapper(comment):
        assert names() == ["A"]
        Author.objects.update(name="B")
        assert names() == names() == ["B"]
        author = Author.objects.create(name="C")
        assert names() == ["B", "C"]
        author.delete()
    assert names() == names("plain") == ["B"]


def test_a_wrapper_that_writes_to_another_table():
    """What runs counts, not what was asked for."""

    def redirect(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        return execute(sql.replace("shop_genre", "shop_author"), params, many, context)

    Author.objects.create(name="A")
    assert names() == ["A"]
    with connection.execute_wrapper(redirect), connection.cursor() as cursor:
        cursor.execute("UPDATE shop_genre SET name = 'B'")

    assert names() == ["B"]


def test_a_wrapper_that_raises():
    def block(*args: Any) -> None:
        raise ZeroDivisionError

    Author.objects.create(name="A")
    assert names() == ["A"]
    with connection.execute_wrapper(block):
        for read in (names, Author.objects.count):  # also what would be a hit without it
            with pytest.raises(ZeroDivisionError):
                read()
        with pytest.raises(ZeroDivisionError):
            Author.objects.update(name="B")
    assert Author.objects.count() == 1
    Author.objects.update(name="C")
    assert names() == names("plain") == ["C"]


def test_a_wrapper_that_raises_when_the_write_is_done():
    def stumble(execute: Any, *args: Any) -> None:
        execute(*args)
        raise ZeroDivisionError

    Author.objects.create(name="A")
    assert names() == ["A"]
    with connection.cursor() as cursor, connection.execute_wrapper(stumble), pytest.raises(ZeroDivisionError):
        cursor.execute("UPDATE shop_author SET name = 'B'")

    assert names() == names("plain") == ["B"]


def test_a_wrapper_that_reads():
    """It asks the ORM in the middle of a write, and meets itself there."""
    seen = []
    busy = False

    def look(execute: Any, *args: Any) -> Any:
        nonlocal busy
        if busy:
            return execute(*args)
        busy = True
        try:
            seen.append(names())
            return execute(*args)
        finally:
            seen.append(names())
            busy = False

    Author.objects.create(name="A")
    with connection.execute_wrapper(look), connection.cursor() as cursor:
        cursor.execute("UPDATE shop_author SET name = 'B'")

    assert seen == [["A"], ["B"]]
    assert names() == ["B"]


# Time --------------------------------------------------------------------------------


def test_a_clock_that_stands_still(store_of_all_kinds):
    freezegun = pytest.importorskip("freezegun")
    with freezegun.freeze_time("2001-02-03"):
        for number in range(4):
            Author.objects.create(name=str(number))
            assert names() == names() == names("plain")
        hits = ormcache.stats("default")["hits"]
        names()
        assert ormcache.stats("default")["hits"] == hits + 1


@pytest.mark.parametrize("step", [datetime.timedelta(days=-400), datetime.timedelta(days=400)])
def test_a_clock_that_jumps(store_of_all_kinds, step):
    freezegun = pytest.importorskip("freezegun")
    Author.objects.create(name="before")
    names()
    moment = datetime.datetime(2026, 1, 1)
    for number in range(3):
        moment += step
        with freezegun.freeze_time(moment):
            assert names() == names("plain")
            Author.objects.filter(name__isnull=False).update(name=str(number))
            assert names() == names() == [str(number)]
    assert names() == ["2"]


def test_a_clock_that_runs_fast(store_of_all_kinds):
    freezegun = pytest.importorskip("freezegun")
    with freezegun.freeze_time("2026-01-01", auto_tick_seconds=3600):
        for number in range(3):
            Author.objects.create(name=str(number))
            assert names() == names() == names("plain")


@pytest.fixture(params=["embedded", "redis", "memcached", "django"])
def store_of_all_kinds(request, configure) -> None:
    if request.param != "embedded":
        configure(STORE=request.param, CACHE="default" if request.param == "django" else request.param)
    # Drivers that wait for a server measure the time as well.
    for alias in ("default", "plain"):
        connections[alias].ensure_connection()
