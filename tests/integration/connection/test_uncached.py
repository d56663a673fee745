"""A block that is tracked knows that it has read from, or written to, a database without ormcache."""

from __future__ import annotations

import asyncio

import pytest
from asgiref.sync import sync_to_async
from django.db import connections, transaction

from ormcache import reasons
from ormcache.cache.tracking import Tracker, tracking
from ormcache.connection import uncached
from ormcache.pages.computing import compute
from ormcache.pages.derivation import Use
from tests.integration.reading import execute, in_thread
from tests.shop.models import Author


@pytest.fixture(autouse=True)
def _rows() -> None:
    Author.objects.create(name="Ann")
    connections.close_all()


def read(using: str = "plain") -> list[str]:
    return list(Author.objects.using(using).values_list("name", flat=True))


def rejection_of(block) -> tuple[str, str | None] | None:
    with tracking(Tracker()) as tracker:
        block()
    return None if tracker.rejection is None else tracker.rejection[:2]


def test_a_read_of_a_database_without_ormcache():
    reason, sql = rejection_of(read)
    assert reason == reasons.UNCACHED_DATABASE
    assert "shop_author" in sql
    assert rejection_of(lambda: read("default")) is None


def test_a_write_to_a_database_without_ormcache():
    reason, sql = rejection_of(lambda: Author.objects.using("plain").update(name="Bea"))
    assert reason == reasons.WRITES
    assert sql.startswith("UPDATE")
    assert rejection_of(lambda: execute("DELETE FROM shop_author", using="plain"))[0] == reasons.WRITES


def test_a_transaction_alone_is_neither():
    def begin() -> None:
        with transaction.atomic("plain"), transaction.atomic("plain"):
            pass

    assert rejection_of(begin) is None


def test_other_threads_of_the_block():
    async def block() -> None:
        await sync_to_async(read)()

    with tracking(Tracker()) as tracker:
        asyncio.run(block())
    assert tracker.rejection.reason == reasons.UNCACHED_DATABASE


def test_a_connection_has_one_wrapper_however_often_it_is_made():
    for _ in range(3):
        read()
        connections["plain"].close()
    read()
    assert connections["plain"].execute_wrappers.count(uncached._reject_tracking) == 1
    read("default")
    assert uncached._reject_tracking not in connections["default"].execute_wrappers


def test_a_connection_that_is_made_while_somebody_wraps_its_statements():
    seen = []

    def wrapper(execute, sql, params, many, context):
        seen.append(sql)
        return execute(sql, params, many, context)

    connection = connections["plain"]
    with connection.execute_wrapper(wrapper):
        read()
    number = len(seen)
    assert number > 0
    assert rejection_of(read)[0] == reasons.UNCACHED_DATABASE
    assert len(seen) == number


def test_a_connection_from_before_the_receiver():
    def block() -> None:
        read()
        connections["plain"].execute_wrappers.clear()  # as if it had been made before
        assert compute(Use("function", "a", b"a"), read) == ["Ann"]
        Author.objects.update(name="Bea")
        assert compute(Use("function", "a", b"a"), read) == ["Bea"]
        execute("UPDATE shop_author SET name = 'Cid'", using="plain")
        assert compute(Use("function", "a", b"a"), read) == ["Cid"]

    in_thread(block)


def test_what_is_computed_of_it_is_not_stored():
    calls = []

    def both() -> list[str]:
        calls.append(1)
        return read("default") + read()

    for name in ("Bea", "Cid"):
        execute(f"UPDATE shop_author SET name = '{name}'", using="plain")
        assert compute(Use("function", "b", b"b"), both)[1] == name
    assert len(calls) == 2
