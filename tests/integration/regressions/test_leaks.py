"""Rows of another session, and rows that hang on what no statement names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.db.backends.signals import connection_created
from django.db.models import F, Func, IntegerField

import ormcache
from ormcache import reasons
from ormcache.signals import invalidated
from tests.shop.models import Author, Book


@pytest.fixture
def postgresql(engine: str) -> None:
    if engine != "postgresql":
        pytest.skip("a feature of PostgreSQL")


def names() -> list[str]:
    return [author.name for author in Author.objects.order_by("name")]


@contextmanager
def policy(condition: str) -> Iterator[None]:
    """Authors seen by the role ``reader`` under this condition only."""
    with connections["plain"].cursor() as cursor:
        cursor.execute("INSERT INTO shop_author (name, active) VALUES ('a', true), ('b', true)")
        cursor.execute("ALTER TABLE shop_author ENABLE ROW LEVEL SECURITY")
        cursor.execute(f"CREATE POLICY own ON shop_author USING ({condition})")
        cursor.execute("CREATE ROLE reader")
        cursor.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO reader")
    try:
        yield
    finally:
        connection.close()
        with connections["plain"].cursor() as cursor:
            cursor.execute("DROP POLICY own ON shop_author")
            cursor.execute("ALTER TABLE shop_author DISABLE ROW LEVEL SECURITY")
            cursor.execute("DROP OWNED BY reader")
            cursor.execute("DROP ROLE reader")


@pytest.mark.usefixtures("postgresql")
def test_a_tenant_that_a_receiver_sets_at_every_connection() -> None:
    tenant = ""

    def set_tenant(connection: Any, **kwargs: Any) -> None:
        if connection.alias == "default":
            with connection.cursor() as cursor:
                cursor.execute("SELECT set_config('app.tenant', %s, false)", [tenant])
                cursor.execute("SET ROLE reader")

    seen = []
    with policy("name = current_setting('app.tenant')"):
        connection.close()
        connection_created.connect(set_tenant)
        try:
            for tenant in "aabb":  # noqa: B007  # the receiver reads it
                seen.append(names())
                connection.close()  # as at the end of every request
        finally:
            connection_created.disconnect(set_tenant)
    assert seen == [["a"], ["a"], ["b"], ["b"]]
    assert ormcache.stats("default")["hits"] >= 2


@pytest.mark.usefixtures("postgresql")
def test_a_policy_that_reads_another_table() -> None:
    with policy("EXISTS (SELECT 1 FROM shop_genre)"):
        connection.close()
        with connection.cursor() as cursor:
            cursor.execute("SET ROLE reader")
        assert names() == []
        assert names() == []
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO shop_genre (name) VALUES ('x')")
        assert names() == ["a", "b"]


@pytest.mark.usefixtures("postgresql")
def test_a_policy_that_reads_the_clock(bypassed: Callable[[], dict[str, int]]) -> None:
    with policy("now() > '2000-01-01'"):
        connection.close()
        names()
        names()
        assert bypassed() == {reasons.CLOCK: 2}


@pytest.fixture
def bypassed() -> Callable[[], dict[str, int]]:
    before = ormcache.stats("default")["bypassed"]

    def since() -> dict[str, int]:
        now = ormcache.stats("default")["bypassed"]
        return {reason: count - before.get(reason, 0) for reason, count in now.items() if count > before.get(reason, 0)}

    return since


@pytest.mark.usefixtures("postgresql")
def test_a_moment_inside_a_list_of_dates(bypassed: Callable[[], dict[str, int]]) -> None:
    for _ in range(2):
        list(Book.objects.extra(where=["published = ANY(%s::date[])"], params=[["today"]]))
    assert bypassed() == {reasons.CLOCK: 2}


@pytest.mark.usefixtures("postgresql")
def test_age_of_now() -> None:
    before = ormcache.stats("default")["hits"]
    for _ in range(2):
        list(Author.objects.annotate(age=Func(F("born"), function="age")).values_list("pk", "age"))
    assert ormcache.stats("default")["hits"] == before


@pytest.mark.usefixtures("postgresql")
def test_a_function_of_the_project_with_the_name_of_a_known_one() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION similarity(int) RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM shop_genre'"
        )
    try:
        Author.objects.create(name="x")
        counted = Author.objects.annotate(n=Func(1, function="similarity", output_field=IntegerField())).values_list(
            "n", flat=True
        )
        assert list(counted.all()) == [0]
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO shop_genre (name) VALUES ('g')")
        assert list(counted.all()) == [1]
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION similarity(int)")


def test_what_was_written_while_the_cache_was_off(configure: Callable[..., None]) -> None:
    Author.objects.create(name="one")
    assert names() == ["one"]
    configure(ENABLED=False)
    Author.objects.update(name="two")
    configure(ENABLED=True)
    assert names() == ["two"]


def test_what_was_written_while_it_was_blacklisted(configure: Callable[..., None]) -> None:
    Author.objects.create(name="one")
    assert names() == ["one"]
    configure(BLACKLIST=["shop.Author"])
    Author.objects.update(name="two")
    configure(BLACKLIST=[])
    assert names() == ["two"]


def test_invalidating_a_table_that_one_of_two_databases_has() -> None:
    with connections["second"].cursor() as cursor:
        cursor.execute("CREATE TABLE only_second (id int)")
    try:
        ormcache.invalidate("only_second")
        with pytest.raises(ormcache.UnknownTable, match="nowhere"):
            ormcache.invalidate("only_second", "nowhere")
    finally:
        with connections["second"].cursor() as cursor:
            cursor.execute("DROP TABLE only_second")


def test_a_receiver_that_raises_disturbs_nobody() -> None:
    def bad(**kwargs: Any) -> None:
        raise ValueError("bad receiver")

    ran = []
    invalidated.connect(bad)
    try:
        with transaction.atomic():
            Author.objects.create(name="x")
            transaction.on_commit(lambda: ran.append(True))
    finally:
        invalidated.disconnect(bad)
    assert ran == [True]
    assert not connection.ormcache_writes.transaction.dirty
