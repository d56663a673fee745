"""The asynchronous ORM, ASGI, and threads."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.core.exceptions import SynchronousOnlyOperation
from django.db import DatabaseError, connection, connections
from django.db.models import Count
from django.test import AsyncClient

import ormcache
from tests.shop.models import Author, Book


def titles(using: str = "default") -> list[str]:
    return list(Book.objects.using(using).order_by("pk").values_list("title", flat=True))


@pytest.fixture
def book() -> Book:
    return Book.objects.create(author=Author.objects.create(name="Homer"), title="Iliad")


# asyncio -----------------------------------------------------------------------------


def run(coroutine: Any, *args: Any, **kwargs: Any) -> Any:
    """As an ASGI server does. Its synchronous part, all of the ORM's, runs in the thread and context of the test."""

    async def call() -> Any:
        return await coroutine(*args, **kwargs)

    return async_to_sync(call)()


async def every(queryset: Any) -> list[str]:
    return [found.title async for found in queryset]


def test_reading(book, queries):
    for expected in (1, 0):
        with queries(expected):
            assert run(Book.objects.aget, title="Iliad") == book
        with queries(expected):
            assert run(every, Book.objects.order_by("pk")) == ["Iliad"]
        with queries(expected):
            assert run(Book.objects.acount) == 1
        with queries(expected):
            assert run(Book.objects.filter(title="Iliad").aexists)
        with queries(expected):
            assert run(Book.objects.aaggregate, count=Count("pk")) == {"count": 1}
        with queries(expected):
            assert run(Book.objects.order_by("-pk").afirst) == book


def test_writing(book):
    async def work() -> None:
        in_order = Book.objects.order_by("pk")
        assert await every(in_order) == ["Iliad"]
        await Book.objects.acreate(author_id=book.author_id, title="Odyssey")
        assert await every(in_order.all()) == ["Iliad", "Odyssey"]
        await Book.objects.filter(pk=book.pk).aupdate(title="The Iliad")
        assert await every(in_order.all()) == ["The Iliad", "Odyssey"]
        found = await Book.objects.aget(title="Odyssey")
        found.title = "The Odyssey"
        await found.asave()
        assert await every(in_order.all()) == ["The Iliad", "The Odyssey"]
        await found.arefresh_from_db()
        await Book.objects.abulk_create([Book(author_id=book.author_id, title="Margites")])
        assert await Book.objects.acount() == 3
        await found.adelete()
        assert await every(in_order.all()) == ["The Iliad", "Margites"]

    run(work)
    assert titles() == titles("plain") == ["The Iliad", "Margites"]


def test_rows_that_stream_beyond_one_chunk_are_not_cached(book, queries):
    for _ in range(2):
        with queries() as seen:
            assert run(every, Book.objects.aiterator(chunk_size=1)) == ["Iliad"]
        assert seen


def test_rows_that_end_within_the_first_chunk(book, queries):
    assert run(every, Book.objects.aiterator()) == ["Iliad"]
    with queries(0):
        assert run(every, Book.objects.aiterator()) == ["Iliad"]


def test_a_would_be_hit_in_the_loops_own_thread_is_refused_like_any_query(book):
    assert titles() == titles() == ["Iliad"]
    hits = ormcache.stats("default")["hits"]

    async def careless() -> list[str]:
        return titles()

    with pytest.raises(SynchronousOnlyOperation):
        asyncio.run(careless())
    assert ormcache.stats("default")["hits"] == hits


def test_what_is_known_to_be_empty_is_allowed_there_as_in_django():
    async def work(using: str) -> None:
        assert list(Book.objects.using(using).none()) == []
        assert list(Book.objects.using(using).filter(pk__in=[])) == []
        assert Book.objects.using(using).filter(pk__in=[]).count() == 0
        assert not Book.objects.using(using).filter(pk__in=[]).exists()

    for using in ("plain", "default"):
        asyncio.run(work(using))


def test_a_page_by_asgi(book, queries):
    async def get() -> list[str]:
        return (await AsyncClient().get("/books/")).json()["books"]

    with queries(1):
        assert run(get) == ["Iliad"]
    with queries(0):
        assert run(get) == ["Iliad"]
    Book.objects.filter(pk=book.pk).update(title="Odyssey")
    assert run(get) == ["Odyssey"]


def test_many_requests_at_once(book):
    async def gather() -> list[Any]:
        async def one(number: int) -> Any:
            if number % 5 == 0:
                await Book.objects.filter(pk=book.pk).aupdate(copies=number)
                return (await Book.objects.aget(pk=book.pk)).copies
            return [found.title async for found in Book.objects.all()]

        return await asyncio.gather(*(one(number) for number in range(25)))

    answers = run(gather)

    assert [answer for number, answer in enumerate(answers) if number % 5] == [["Iliad"]] * 20
    assert Book.objects.get().copies == Book.objects.using("plain").get().copies


def test_switched_off_in_one_task_only(book):
    titles()

    async def off(inside: asyncio.Event, done: asyncio.Event) -> dict[str, Any]:
        with ormcache.disabled():
            inside.set()
            await done.wait()
            await sync_to_async(titles)()
            return ormcache.stats("default")

    async def on(inside: asyncio.Event, done: asyncio.Event) -> dict[str, Any]:
        await inside.wait()
        await sync_to_async(titles)()
        done.set()
        return ormcache.stats("default")

    async def both() -> Any:
        events = asyncio.Event(), asyncio.Event()
        return await asyncio.gather(off(*events), on(*events))

    before = ormcache.stats("default")
    when_off, when_on = run(both)

    assert when_on["hits"] == before["hits"] + 1
    assert when_off["hits"] == when_on["hits"]
    assert when_off["bypassed"]["disabled"] == before["bypassed"].get("disabled", 0) + 1


# Threads -----------------------------------------------------------------------------


def in_thread(function: Any, *args: Any) -> Any:
    def work() -> Any:
        try:
            return function(*args)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result(30)


def test_each_thread_has_its_own_connection(book):
    assert titles() == ["Iliad"]

    def other() -> tuple[list[str], Any]:
        found = titles()
        Book.objects.update(title="Odyssey")
        return found, connection.ormcache

    found, state = in_thread(other)

    assert found == ["Iliad"]
    assert state is not connection.ormcache
    assert titles() == ["Odyssey"]


def test_what_one_thread_stores_serves_the_next_one_without_a_connection(book):
    titles()
    connection.close()  # the first connection of a process is made before it knows of the schema
    connection.ensure_connection()

    def other() -> Any:
        return titles(), connection.connection

    assert in_thread(other) == (["Iliad"], None)


def test_a_connection_of_another_thread_is_refused_on_a_hit_as_well(book):
    titles()
    mine = connections["default"]

    def other() -> list[str]:
        connections["default"] = mine
        try:
            return titles()
        finally:
            del connections["default"]

    with pytest.raises(DatabaseError, match="objects created in a thread can only be used in that same thread"):
        in_thread(other)


def test_a_connection_that_is_shared_on_purpose(book, queries):
    """LiveServerTestCase does so."""
    titles()
    mine = connections["default"]
    mine.inc_thread_sharing()

    def other() -> list[str]:
        connections["default"] = mine
        try:
            with queries(0):
                return titles()
        finally:
            del connections["default"]

    try:
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(other).result(30) == ["Iliad"]
    finally:
        mine.dec_thread_sharing()


def test_another_thread_does_not_see_what_is_not_committed(book):
    from django.db import transaction

    assert titles() == ["Iliad"]
    with transaction.atomic():
        Book.objects.create(author_id=book.author_id, title="Odyssey")
        assert titles() == ["Iliad", "Odyssey"]
        assert in_thread(titles) == ["Iliad"]
    assert in_thread(titles) == titles() == ["Iliad", "Odyssey"]


def test_threads_that_read_and_write_at_once(book, engine):
    """Whoever has written something reads it, or something newer, from then on."""
    rounds, failures = 15, []
    start = threading.Barrier(4)

    def write_and_read(number: int) -> None:
        try:
            mine = Author.objects.create(name=f"{number} -1")
            start.wait(30)
            for turn in range(rounds):
                Author.objects.filter(pk=mine.pk).update(name=f"{number} {turn}")
                seen = Author.objects.get(pk=mine.pk).name
                if seen != f"{number} {turn}":
                    failures.append((number, turn, seen))
        except BaseException as error:
            failures.append(error)
            raise
        finally:
            connections.close_all()

    threads = [threading.Thread(target=write_and_read, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert failures == []
    rows = Author.objects.order_by("pk").values_list("name", flat=True)
    assert list(rows) == list(rows.using("plain"))
