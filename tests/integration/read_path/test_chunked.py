"""``.iterator()``: cached where its rows end within the first chunk, streamed where they do not."""

from __future__ import annotations

import asyncio

import pytest
from django import forms
from django.db import connection, transaction

import ormcache
from ormcache import reasons
from tests.integration.calls import count_anew
from tests.integration.reading import ENGINE, stats
from tests.shop.models import Author, Book


@pytest.fixture(autouse=True)
def _authors() -> None:
    Author.objects.bulk_create([Author(name=name) for name in "ABC"])


def names(chunk_size: int = 4) -> list[str]:
    return [author.name for author in Author.objects.order_by("pk").iterator(chunk_size=chunk_size)]


def test_rows_that_end_within_the_first_chunk(queries):
    assert names() == list("ABC")
    with queries(0):
        assert names() == list("ABC")
    Author.objects.filter(name="B").update(name="X")
    assert names() == list("AXC")
    Author.objects.all().delete()
    assert names() == names() == []
    with queries(0):
        assert names() == []


def test_the_same_result_as_without_chunks(queries):
    """Whoever has read it first."""
    assert names() == list("ABC")
    with queries(0):
        assert [author.name for author in Author.objects.order_by("pk")] == list("ABC")
        assert names(chunk_size=1) == list("ABC")


@pytest.mark.parametrize("chunk_size", [1, 2, 3])
def test_more_rows_are_streamed(queries, chunk_size):
    """A last chunk that is full does not say that it is the last one."""
    for _ in range(2):
        with queries() as seen:
            assert names(chunk_size) == list("ABC")
        assert seen
    assert stats()["rejected"][reasons.CHUNKED] >= 2


@pytest.mark.skipif(ENGINE == "sqlite", reason="SQLite lets nobody write while rows are read")
def test_of_more_rows_none_is_held(queries):
    rows = Author.objects.order_by("pk").iterator(chunk_size=1)
    assert next(rows).name == "A"
    Author.objects.using("plain").filter(name="C").update(name="X")
    later = [author.name for author in rows]
    assert later in (["B", "C"], ["B", "X"])  # as the database has it: a cursor's snapshot, or rows read on the way
    assert [author.name for author in Author.objects.order_by("pk")] == list("ABX")


def test_who_stops_early_leaves_nothing_behind(queries):
    rows = Author.objects.order_by("pk").iterator(chunk_size=1)
    next(rows)
    rows.close()
    Author.objects.create(name="D")
    assert names(5) == list("ABCD")
    with queries(0):
        assert names(5) == list("ABCD")


def test_in_a_transaction(queries):
    assert names() == list("ABC")
    with transaction.atomic():
        Author.objects.filter(name="B").update(name="X")
        assert names() == list("AXC")
        transaction.set_rollback(True)
    assert names() == list("ABC")


def test_with_prefetch(queries):
    Book.objects.create(title="T", author=Author.objects.get(name="A"))

    def titles() -> list[list[str]]:
        found = Author.objects.order_by("pk").prefetch_related("books").iterator(chunk_size=10)
        return [[book.title for book in author.books.all()] for author in found]

    assert titles() == [["T"], [], []]
    with queries(0):
        assert titles() == [["T"], [], []]


def test_the_choices_of_a_form(queries):
    class Choosing(forms.Form):
        author = forms.ModelChoiceField(Author.objects.order_by("pk"))

    drawn = str(Choosing()["author"])
    assert ">A</option>" in drawn
    with queries(0):
        assert str(Choosing()["author"]) == drawn
    Author.objects.filter(name="A").update(name="Zoe")
    assert "Zoe" in str(Choosing()["author"])


def test_asynchronously(queries):
    async def read() -> list[str]:
        return [author.name async for author in Author.objects.order_by("pk").aiterator(chunk_size=10)]

    assert asyncio.run(read()) == list("ABC")
    assert asyncio.run(read()) == list("ABC")


def test_held_against_the_database(configure):
    configure(VERIFY="raise")
    names()
    assert names() == list("ABC")


@pytest.mark.skipif(ENGINE == "sqlite", reason="SQLite has no row locks")
def test_reads_past_the_cache_are_known_by_their_query():
    """Which ones they are, and what they take, not only how many."""
    count_anew()
    with transaction.atomic():
        list(Author.objects.select_for_update())
    with ormcache.disabled():
        list(Author.objects.all())
    found = {text.sql: text.tally for text in connection.ormcache.observer.counters.queries()}
    (locking,) = [tally for sql, tally in found.items() if "FOR UPDATE" in sql]
    assert (locking.bypassed, locking.uncached) == ({reasons.LOCKING: 1}, 1)
    assert locking.uncached_seconds > 0
    assert sum(tally.bypassed.get(reasons.DISABLED, 0) for tally in found.values()) == 1
