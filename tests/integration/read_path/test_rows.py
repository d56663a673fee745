"""Results by key: which writes they outlive, and which ones end them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, transaction
from django.db.models import Prefetch, prefetch_related_objects

import ormcache
from ormcache.stores.base import Store
from ormcache.telemetry.recorder import Recorder
from tests.integration.calls import run
from tests.shop.models import Author, Book, Genre, Place, Restaurant

pytestmark = pytest.mark.usefixtures("_shop")

ONE, TWO, NEW = (UUID(int=number) for number in (1, 2, 3))


@pytest.fixture
def _shop(configure):
    configure(ROWS="always", ADAPTIVE=False)
    for pk, name in ((1, "Homer"), (2, "Sappho")):
        Author.objects.create(pk=pk, name=name, email=f"{name.lower()}@example.org")
    Book.objects.bulk_create(
        [
            Book(pk=1, author_id=1, title="Iliad", uuid=ONE, copies=5),
            Book(pk=2, author_id=2, title="Fragments", uuid=TWO, copies=2),
        ]
    )
    Genre.objects.create(pk=1, name="Poetry")


def outlives(read: Callable[[], Any], write: Callable[[], Any]) -> bool:
    """Is a result served after this write? It is right in any case."""
    read()
    read()
    hits = connection.ormcache.observer.counters
    write()
    before = hits.snapshot()["hits"]
    found = read()
    served = hits.snapshot()["hits"] > before
    assert found == uncached(read)
    return served


def uncached(read: Callable[[], Any]) -> Any:
    with ormcache.disabled():
        return read()


READS: dict[str, Callable[[], Any]] = {
    "row": lambda: list(Book.objects.filter(pk=1).values("id", "title")),
    "column of a row": lambda: list(Book.objects.filter(pk=1).values_list("title", flat=True)),
    "unique": lambda: list(Book.objects.filter(uuid=ONE).values("id", "title")),
    "related": lambda: list(Book.objects.filter(author=1).values("id", "title")),
    "count": lambda: Book.objects.filter(author=1).count(),
    "with author": lambda: [
        (book.title, book.author.name) for book in Book.objects.filter(pk=1).select_related("author")
    ],
    "table": lambda: list(Book.objects.values("id", "title")),
}
WRITES: dict[str, tuple[Callable[[], Any], set[str]]] = {
    "another row": (lambda: Book.objects.filter(pk=2).update(title="Odes"), {"table", "count"}),
    "another row, saved": (lambda: Book.objects.get(pk=2).save(), {"table", "count"}),
    "another row's column, raw": (
        lambda: run("UPDATE shop_book SET copies = copies + 1 WHERE id = %s", 2),
        {"table", "count"},
    ),
    "another row, raw": (lambda: run("UPDATE shop_book SET title = 'Odes' WHERE id = 2"), {"table", "count"}),
    "a row of another author": (
        lambda: Book.objects.bulk_create([Book(pk=3, author_id=2, title="Odes", uuid=NEW)]),
        {"table"},
    ),
    "another author": (lambda: Author.objects.filter(pk=2).update(name="Psappha"), set()),
    "its row": (lambda: Book.objects.filter(pk=1).update(title="Odyssey"), set(READS)),
    "its author": (lambda: Author.objects.filter(pk=1).update(name="Homeros"), {"with author"}),
    "a row of its author": (
        lambda: Book.objects.bulk_create([Book(pk=3, author_id=1, title="Odyssey", uuid=NEW)]),
        {"related", "count", "table"},
    ),
    "a row that moves to its author": (
        lambda: Book.objects.filter(pk=2).update(author=1),
        {"related", "count", "table"},
    ),
    "many rows": (lambda: Book.objects.filter(copies__gt=100).update(title="Odyssey"), set(READS)),
    "a key by an expression": (lambda: run("UPDATE shop_book SET author_id = id WHERE id = 2"), set(READS)),
    "each of several rows": (
        lambda: run_many("UPDATE shop_book SET copies = %s WHERE id = %s", [(7, 2), (8, 3)]),
        {"table", "count"},
    ),
    "its row among several": (
        lambda: run_many("UPDATE shop_book SET copies = %s WHERE id = %s", [(7, 2), (8, 1)]),
        set(READS),
    ),
}


def run_many(sql: str, sets: list[tuple[Any, ...]]) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(sql, sets)


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("read", READS)
def test_what_a_result_outlives(read, write):
    change, ended = WRITES[write]
    assert outlives(READS[read], change) == (read not in ended)


def test_a_row_that_is_not_there_depends_on_its_table():
    read = lambda: list(Book.objects.filter(uuid=NEW).values("id", "title"))  # noqa: E731
    assert not outlives(read, lambda: Book.objects.bulk_create([Book(pk=3, author_id=2, title="Odes", uuid=NEW)]))
    assert outlives(read, lambda: Book.objects.filter(pk=1).update(title="Odyssey"))


def test_a_parent_of_a_row_counts():
    place = Restaurant.objects.create(pk=1, name="Taverna").place_ptr
    Place.objects.create(pk=2, name="Agora")
    read = lambda: [one.name for one in Restaurant.objects.filter(pk=1)]  # noqa: E731
    assert outlives(read, lambda: Place.objects.filter(pk=2).update(name="Stoa"))
    assert not outlives(read, lambda: Place.objects.filter(pk=place.pk).update(name="Kapileio"))


def test_prefetched_rows_outlive_writes_to_others():
    author = Author.objects.get(pk=1)

    def read() -> list[str]:
        prefetch_related_objects([author], Prefetch("books", to_attr="prefetched"))
        found = [book.title for book in author.prefetched]
        del author.prefetched
        return found

    assert outlives(read, lambda: Book.objects.filter(pk=2).update(title="Odes"))
    assert not outlives(read, lambda: Book.objects.filter(pk=1).update(title="Odyssey"))


def test_a_transaction_is_served_rows_that_it_has_not_written():
    READS["row"]()
    READS["row"]()
    counters = connection.ormcache.observer.counters
    with transaction.atomic():
        Book.objects.filter(pk=2).update(title="Odes")
        before = counters.snapshot()["hits"]
        assert READS["row"]() == [{"id": 1, "title": "Iliad"}]
        assert counters.snapshot()["hits"] == before + 1
        Book.objects.filter(pk=1).update(title="Odyssey")
        assert READS["row"]() == [{"id": 1, "title": "Odyssey"}]
        transaction.set_rollback(True)
    assert READS["row"]() == [{"id": 1, "title": "Iliad"}]


def test_nothing_is_stored_of_a_relation_that_the_transaction_has_written():
    with transaction.atomic():
        Book.objects.bulk_create([Book(pk=3, author_id=2, title="Odes", uuid=NEW)])
        assert len(Book.objects.filter(pk=3)) == 1
        transaction.set_rollback(True)
    assert len(Book.objects.filter(pk=3)) == 0


def test_rows_count_once_writes_have_ended_results(configure):
    configure(ROWS="auto", ADAPTIVE=False)
    other = lambda: Genre.objects.filter(pk=2).update(name="Prose")  # noqa: E731
    read = lambda: list(Genre.objects.filter(pk=1).values("name"))  # noqa: E731
    assert not outlives(read, other)
    for _ in range(4):
        outlives(read, other)
    assert outlives(read, other)


def test_hits_and_ends_of_results_of_rows_are_counted_apart():
    counters = connection.ormcache.observer.counters
    counters.reset()
    with Recorder() as recorder:
        for _ in range(3):
            READS["row"]()
            READS["table"]()
        WRITES["its row"][0]()
        READS["row"]()
        READS["table"]()
    total, of_table = counters.total(), counters.tally_by_relation()["shop_book"]
    assert (total.hits, total.row_hits, total.missed["invalidated"], total.row_invalidated) == (4, 2, 2, 1)
    assert (of_table.hits, of_table.row_hits, of_table.row_invalidated) == (4, 2, 1)
    assert [read.by_row for read in recorder.reads if "title" in read.sql and "WHERE" in read.sql][1:] == [True] * 3
    assert not any(read.by_row for read in recorder.reads if "WHERE" not in read.sql)
    assert total.invalidated_by == {"shop_book": 2}


@pytest.mark.parametrize("place", ["process", "store"])
@pytest.mark.parametrize(
    "read, write, by",
    [
        ("row", WRITES["its row"][0], "shop_book"),
        ("related", WRITES["a row of its author"][0], "shop_book"),
        ("with author", WRITES["its row"][0], "shop_book"),
        ("with author", WRITES["its author"][0], "shop_author"),
        ("with author", WRITES["many rows"][0], "shop_book"),
        ("row", ormcache.invalidate, "*"),
        ("with author", ormcache.invalidate, "*"),
    ],
)
def test_a_miss_names_the_relation_whose_row_was_written(configure, place, read, write, by):
    configure(ROWS="always", ADAPTIVE=False, SHARE="always")
    READS[read]()
    database = connection.ormcache.database
    for entry in list(database.local._entries):
        if place == "process":
            database.stamps.remove_entry(entry)
        else:
            database.local.drop(entry)
    write()
    with Recorder() as recorder:
        READS[read]()
    assert [(miss.cause, miss.invalidated_by) for miss in recorder.misses] == [("invalidated", by)]


def test_rows_never_count(configure):
    configure(ROWS="never", ADAPTIVE=False)
    for _ in range(6):
        assert not outlives(READS["row"], WRITES["another row"][0])


def test_a_result_of_rows_survives_marks_on_its_table(monkeypatch):
    """On a table that is written all the time its slot is marked at nearly every lookup."""
    READS["row"]()
    store: Store = connection.ormcache.database.stamps.store
    slot = connection.ormcache.database.slots.name("shop_book")
    store.mark([slot], b"12345678", 60)
    counters = connection.ormcache.observer.counters
    before = counters.snapshot()["hits"]
    READS["row"]()
    READS["row"]()
    assert counters.snapshot()["hits"] >= before + 1
    store.settle([slot], b"12345678", b"S" + bytes(16))


def test_rows_inserted_together_end_what_they_come_to():
    assert outlives(
        READS["related"],
        lambda: Book.objects.bulk_create([Book(pk=pk, author_id=2, title="Odes", uuid=UUID(int=pk)) for pk in (7, 8)]),
    )
    assert not outlives(
        READS["related"],
        lambda: Book.objects.bulk_create(
            [Book(pk=pk, author_id=author, title="Odes", uuid=UUID(int=pk)) for pk, author in ((9, 2), (10, 1))]
        ),
    )
