"""What a site does with its connections: opens them late, keeps, checks, copies, pools and closes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, connection, connections, transaction
from django.db.utils import InterfaceError, OperationalError
from django.test import Client

import ormcache
from tests import environment
from tests.shop.models import Author, Genre

#: psycopg's pool is a PostgreSQL matter
only_postgresql = pytest.mark.skipif(environment.current().engine != "postgresql", reason="PostgreSQL only")


@pytest.fixture
def add_database(monkeypatch) -> Iterator[Callable[..., Any]]:
    """``add_database(CONN_MAX_AGE=60)``: one more alias of the database under test; returns its connection."""

    def add(**changes: Any) -> Any:
        given = {**settings.DATABASES["default"], **changes}
        completed = connections.configure_settings({"default": given})["default"]
        monkeypatch.setitem(settings.DATABASES, "other", completed)
        monkeypatch.setitem(connections.settings, "other", completed)
        return connections["other"]

    yield add
    if "other" in connections.settings:
        other = connections["other"]
        other.close()
        if hasattr(other, "close_pool"):
            other.close_pool()
        del connections["other"]


def names(using: str = "default") -> list[str]:
    return list(Author.objects.using(using).order_by("pk").values_list("name", flat=True))


# Opening late ------------------------------------------------------------------------


def test_a_hit_opens_no_connection():
    Author.objects.create(name="A")
    for _ in range(2):  # the first connection of a process is made before it knows of the schema
        connection.ensure_connection()
        names()
        connection.close()

    assert names() == ["A"]
    assert connection.connection is None
    assert Author.objects.count() == 1  # a miss opens it
    assert connection.connection is not None


def test_a_page_without_a_connection():
    for _ in range(2):  # the first connection of a process is made before it knows of the schema
        connection.ensure_connection()
        Client().get("/books/")
        request_finished.send(sender=None)
        close_old_connections()
    assert connection.connection is None

    assert Client().get("/books/").json() == {"books": []}
    assert connection.connection is None


def test_a_write_without_a_connection_retires_what_was_read():
    author = Author.objects.create(name="A")
    names()
    connection.close()
    author.name = "B"
    author.save()

    assert names() == names("plain") == ["B"]


def test_a_new_process_is_served_from_the_store(other_process):
    Author.objects.create(name="A")
    names()

    assert other_process("tests.integration.django.test_connections.served") == [["A"], 1]


def served() -> list[Any]:
    return [names(), ormcache.stats("default")["hits"]]


# Keeping -----------------------------------------------------------------------------


@pytest.mark.parametrize("age", [0, 60, None])
@pytest.mark.parametrize("health_checks", [False, True])
def test_ages_and_health_checks(add_database, age, health_checks, queries):
    other = add_database(CONN_MAX_AGE=age, CONN_HEALTH_CHECKS=health_checks)
    Author.objects.create(name="A")
    for turn in range(3):
        request_started.send(sender=None)
        assert names("other") == ["A"] + ["B"] * turn
        with queries(0, using="other"):
            assert names("other") == ["A"] + ["B"] * turn
        Author.objects.using("other").create(name="B")
        was = other.connection
        request_finished.send(sender=None)
        assert (other.connection is was) == (age != 0)
    assert names() == names("other") == ["A", "B", "B", "B"]


def test_a_persistent_connection_that_the_server_has_closed(add_database, engine):
    """With health checks the next request opens a new one; without them its first query fails, as ever."""
    if engine == "sqlite":
        pytest.skip("there is no server to close it")
    other = add_database(CONN_MAX_AGE=None, CONN_HEALTH_CHECKS=True)
    Author.objects.create(name="A")
    names("other")
    _kill(other, engine)

    assert names("other") == ["A"]  # a hit does not notice
    with pytest.raises((OperationalError, InterfaceError)):
        Author.objects.using("other").create(name="B")
    request_finished.send(sender=None)
    request_started.send(sender=None)
    Author.objects.using("other").create(name="B")
    assert names("other") == names() == names("plain") == ["A", "B"]


def _kill(other: Any, engine: str) -> None:
    with connections["plain"].cursor() as cursor:
        if engine == "postgresql":
            cursor.execute("SELECT pg_terminate_backend(%s)", [other.connection.info.backend_pid])
        else:
            cursor.execute(f"KILL {other.connection.thread_id()}")


# Closing -----------------------------------------------------------------------------


def test_close_all():
    Author.objects.create(name="A")
    assert names() == ["A"]
    connections.close_all()
    assert names() == ["A"]
    Author.objects.create(name="B")
    connections.close_all()
    assert names() == ["A", "B"]


def test_closed_inside_a_transaction():
    Author.objects.create(name="A")
    names()

    def work() -> None:
        with transaction.atomic():
            Author.objects.create(name="B")
            assert names() == ["A", "B"]
            connection.close()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()

    assert names() == names("plain") == ["A"]
    Author.objects.create(name="C")
    assert names() == names("plain") == ["A", "C"]


def test_a_copy():
    Author.objects.create(name="A")
    names()
    copy = connections["default"].copy()
    assert type(copy) is type(connections["default"])
    try:
        with copy.cursor() as cursor:
            cursor.execute("UPDATE shop_author SET name = 'B'")
    finally:
        copy.close()

    assert names() == ["B"]


def test_a_temporary_connection():
    Author.objects.create(name="A")
    names()
    connection.close()
    with connection.temporary_connection() as cursor:
        cursor.execute("UPDATE shop_author SET name = 'B'")

    assert connection.connection is None
    assert names() == ["B"]


def test_the_connection_to_no_database(engine):
    if engine == "sqlite":
        pytest.skip("Django has none there")
    with connection._nodb_cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)


def test_the_cursor_as_a_context_manager(queries):
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO shop_genre (name) VALUES (%s)", ["Poetry"])
        assert cursor.rowcount == 1
        cursor.executemany("INSERT INTO shop_genre (name) VALUES (%s)", [["Drama"], ["Essay"]])
        cursor.execute("SELECT name FROM shop_genre ORDER BY id")
        assert cursor.description[0][0] == "name"
        assert cursor.fetchone() == ("Poetry",)
        assert list(cursor) == [("Drama",), ("Essay",)]
    with pytest.raises(Exception, match=r"(?i)closed"), connection.wrap_database_errors:
        cursor.execute("SELECT 1")
    assert Genre.objects.count() == 3


def test_a_database_in_memory_is_one_connections_own(monkeypatch):
    """Another thread of the same alias has an empty one, and the cache must not fill it."""
    from tests.integration.django.test_async import in_thread

    own = {"LOCATION": settings.DATABASES["default"]["ORMCACHE"]["LOCATION"]}
    given = {"ENGINE": "ormcache.backends.sqlite3", "NAME": ":memory:", "ORMCACHE": own}
    completed = connections.configure_settings({"default": given})["default"]
    monkeypatch.setitem(settings.DATABASES, "memory", completed)
    monkeypatch.setitem(connections.settings, "memory", completed)

    def create() -> None:
        with connections["memory"].schema_editor() as editor:
            editor.create_model(Genre)

    def read() -> list[str]:
        return list(Genre.objects.using("memory").values_list("name", flat=True))

    def other() -> Any:
        with pytest.raises(OperationalError, match="no such table"):
            read()
        create()
        found = read()
        connections["memory"].connection.close()
        return found

    try:
        create()
        Genre.objects.using("memory").create(name="Poetry")
        assert read() == read() == ["Poetry"]
        assert in_thread(other) == []
        assert read() == ["Poetry"]
    finally:
        connections["memory"].connection.close()
        del connections["memory"]


# psycopg's pool ----------------------------------------------------------------------


@only_postgresql
def test_a_pool(add_database, queries):
    add_database(OPTIONS={"pool": True}, CONN_MAX_AGE=0)
    Author.objects.create(name="A")
    for turn in range(3):
        assert names("other") == ["A"] + ["B"] * turn
        with queries(0, using="other"):
            assert names("other") == ["A"] + ["B"] * turn
        with transaction.atomic(using="other"):
            Author.objects.using("other").create(name="B")
        close_old_connections()
    with transaction.atomic(using="other"):
        Author.objects.using("other").create(name="C")
        transaction.set_rollback(True, using="other")
    assert names() == names("other") == ["A", "B", "B", "B"]


@only_postgresql
def test_what_is_set_on_a_pooled_connection_is_met_again(add_database):
    """The pool hands a connection out with all that the last one who had it has set on it."""
    pool = {"min_size": 1, "max_size": 1}
    add_database(OPTIONS={"pool": pool}, CONN_MAX_AGE=0)
    Author.objects.create(name="A")
    with connections["plain"].cursor() as cursor:
        cursor.execute("CREATE SCHEMA aside CREATE TABLE shop_author (LIKE public.shop_author)")
    try:
        assert names("other") == ["A"]
        with connections["other"].cursor() as cursor:
            cursor.execute("SET search_path = aside")
        assert names("other") == []
        connections["other"].close()

        assert names("other") == []  # Django resets nothing, and the cache may not know better
        assert names() == ["A"]
        with connections["other"].cursor() as cursor:
            cursor.execute("RESET search_path")
        assert names("other") == ["A"]
    finally:
        connections["other"].close()
        with connections["plain"].cursor() as cursor:
            cursor.execute("DROP SCHEMA aside CASCADE")


@only_postgresql
def test_a_pooled_connection_that_goes_from_thread_to_thread(add_database):
    from tests.integration.django.test_async import in_thread

    add_database(OPTIONS={"pool": {"min_size": 1, "max_size": 1}}, CONN_MAX_AGE=0)
    Author.objects.create(name="A")

    def turn(name: str) -> list[str]:
        before = names("other")
        Author.objects.using("other").create(name=name)
        return before

    assert turn("B") == ["A"]
    connections["other"].close()
    assert in_thread(turn, "C") == ["A", "B"]
    assert names("other") == names() == ["A", "B", "C"]


@only_postgresql
@pytest.mark.parametrize("options", [{"server_side_binding": True}, {"isolation_level": 4}, {"prepare_threshold": 0}])
def test_options_of_psycopg(add_database, options):
    if "isolation_level" in options:
        from psycopg import IsolationLevel

        options = {"isolation_level": IsolationLevel.SERIALIZABLE}
    add_database(OPTIONS=options)
    Author.objects.using("other").create(name="A")
    assert names("other") == names("other") == names() == ["A"]
    with transaction.atomic(using="other"):
        Author.objects.using("other").filter(name="A").update(name="B")
        assert names("other") == ["B"]
        assert names() == ["A"]
    assert names("other") == names("other") == names() == ["B"]
