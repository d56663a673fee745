"""What a block reads, and what makes it untrackable: every shape of read, every way past the ORM."""

from __future__ import annotations

import asyncio
import contextvars
import threading

import pytest
from asgiref.sync import sync_to_async
from django.db import DatabaseError, connection, connections, models, transaction
from django.db.models import Count, OuterRef, Prefetch, Subquery, Sum

import ormcache
from ormcache import reasons
from ormcache.cache.tracking import Tracker, current_tracker, tracking
from tests.integration.calls import add, genres, names
from tests.integration.pages.derived import Computed, page
from tests.integration.reading import execute, in_thread, not_on_sqlite, only_sqlite
from tests.shop.models import Author, Book, Genre, Review


@pytest.fixture(autouse=True)
def _rows():
    author = Author.objects.create(name="A", email="a@example.org")
    genre = Genre.objects.create(name="G")
    for number in range(3):
        book = Book.objects.create(author=author, title=f"B{number}")
        book.genres.add(genre)
        Review.objects.create(book=book, stars=number)
    connections.close_all()


#: Reads of every shape; each depends on all names of authors
READS = {
    "list": lambda: [author.name for author in Author.objects.all()],
    "values": lambda: list(Author.objects.values_list("name", flat=True)),
    "get": lambda: Author.objects.get(email="a@example.org").name,
    "by key": lambda: Author.objects.get(pk=Author.objects.values_list("pk", flat=True)[0]).name,
    "exists": lambda: Author.objects.filter(name="A").exists(),
    "count": lambda: Author.objects.filter(name="A").count(),
    "aggregate": lambda: Author.objects.aggregate(first=models.Min("name"))["first"],
    "in_bulk": lambda: sorted(author.name for author in Author.objects.in_bulk().values()),
    "iterator": lambda: [author.name for author in Author.objects.iterator()],
    "iterator in chunks": lambda: [
        book.author.name for book in Book.objects.select_related("author").iterator(chunk_size=2)
    ],
    "join": lambda: [book.author.name for book in Book.objects.select_related("author")],
    "prefetch": lambda: (
        [book.title for author in Author.objects.prefetch_related("books") for book in author.books.all()] + names()
    ),
    "prefetch from books": lambda: [
        book.author.name for book in Book.objects.prefetch_related(Prefetch("author", Author.objects.all()))
    ],
    "lazy": lambda: Book.objects.first().author.name,
    "deferred": lambda: Author.objects.defer("name").get().name,
    "union": lambda: sorted(
        Author.objects.values_list("name", flat=True).union(Genre.objects.values_list("name", flat=True))
    ),
    "subquery": lambda: list(
        Book.objects.annotate(
            who=Subquery(Author.objects.filter(pk=OuterRef("author")).values("name")[:1])
        ).values_list("who", flat=True)
    ),
    "annotated": lambda: list(Author.objects.annotate(number=Count("books")).values_list("name", "number")),
    "slice": lambda: [author.name for author in Author.objects.order_by("name")[:1]],
    "none": lambda: list(Author.objects.none()) + names(),
    "in a transaction": lambda: in_transaction(names),
    "in a nested transaction": lambda: in_transaction(lambda: in_transaction(names)),
}


def in_transaction(read):
    with transaction.atomic():
        return read()


@pytest.mark.parametrize("shape", READS)
def test_a_read_of_every_shape_is_tracked(shape, queries):
    read = READS[shape]
    function = Computed(lambda: repr(read()))
    before = function()
    assert function.rejected is None
    with queries(0):
        assert function() == before

    in_thread(lambda: Author.objects.update(name="Z"))

    assert function() == repr(read())
    assert function.times == 2
    assert function() == function()
    assert function.times == 2


@pytest.mark.parametrize("shape", READS)
def test_nothing_is_ended_by_a_write_to_another_table(shape):
    if shape == "union":
        pytest.skip("it reads that table")
    function = Computed(lambda: repr(READS[shape]()))
    function()
    Genre.objects.create(name="H")

    function()
    assert function.times == 1


def test_the_first_block_of_a_process_is_stored(other_process):
    """The catalog, the session and the server are asked meanwhile: those are no reads of the program."""
    assert other_process("tests.integration.pages.test_tracking.rejected_at_first") == [None, None]


def rejected_at_first():
    function = Computed(page)
    in_new_thread = Computed(page, "another")
    function()
    in_thread(in_new_thread)
    return [function.rejected, in_new_thread.rejected]


# What cannot be tracked --------------------------------------------------------------------------


def write():
    return Author.objects.create(name="W").name


def statement():
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM shop_author")
        return cursor.fetchall()[0][0]


def fetched_from_plain():
    with connections["plain"].cursor() as cursor:
        cursor.execute("SELECT name FROM shop_author")
        return cursor.fetchall()[0][0]


def disabled_inside():
    with ormcache.disabled():
        return names()


def locking():
    with transaction.atomic():
        return [author.name for author in Author.objects.select_for_update()]


def invalidating():
    ormcache.invalidate(Author)
    return names()


UNTRACKABLE = {
    "write": (write, reasons.WRITES),
    "statement": (statement, reasons.STATEMENT),
    "raw": (lambda: Author.objects.raw("SELECT * FROM shop_author")[0].name, reasons.STATEMENT),
    "explain": (lambda: Author.objects.all().explain(), reasons.EXPLAIN),
    "disabled": (disabled_inside, reasons.DISABLED),
    "locking": (locking, reasons.LOCKING),
    "plain": (lambda: names("plain"), reasons.UNCACHED_DATABASE),
    "cursor of plain": (fetched_from_plain, reasons.UNCACHED_DATABASE),
    "random": (lambda: Author.objects.order_by("?")[0].name, reasons.RANDOM),
    "clock": (lambda: Author.objects.filter(born__lt=models.functions.Now()).count(), reasons.CLOCK),
    "invalidating": (invalidating, reasons.WRITES),
}


@pytest.mark.parametrize("way", UNTRACKABLE)
def test_what_cannot_be_tracked_is_not_stored(way):
    read, reason = UNTRACKABLE[way]
    function = Computed(lambda: names() + [str(read())])
    function()

    assert function.rejected == reason
    function()
    assert function.times == 2


@pytest.mark.parametrize("way", UNTRACKABLE)
def test_neither_is_what_has_such_a_part(way):
    inner = Computed(UNTRACKABLE[way][0], "inner")
    outer = Computed(lambda: [str(inner())], "outer")
    outer()

    assert outer.rejected == UNTRACKABLE[way][1]


def test_a_write_to_a_table_that_is_not_cached_is_a_write(configure):
    configure(BLACKLIST=["shop.Genre"])
    connections.close_all()
    function = Computed(lambda: names() + [Genre.objects.create(name="N").name])
    function()

    assert function.rejected == reasons.WRITES


def test_a_read_of_a_table_that_is_not_cached(configure):
    configure(BLACKLIST=["shop.Genre"])
    connections.close_all()
    function = Computed(page)
    function()

    assert function.rejected == reasons.BLACKLISTED


@not_on_sqlite
def test_a_setting_for_the_rest_of_the_session_is_an_effect():
    sql = "SET DateStyle TO 'ISO'" if connection.vendor == "postgresql" else "SET @a = 1"
    function = Computed(lambda: (execute(sql), names())[1])
    function()

    assert function.rejected in (reasons.WRITES, reasons.STATEMENT, reasons.SEVERAL_SESSIONS)


# Errors ----------------------------------------------------------------------------------------------


def test_what_stands_in_for_a_failed_query_is_not_stored():
    """It would be served until the next write, long after the query would succeed."""

    def read():
        try:
            with transaction.atomic():
                return list(Author.objects.extra(select={"x": "1 / no_such_column"}).values_list("x"))
        except DatabaseError:
            return "none"

    function = Computed(read)
    assert function() == "none"
    assert function.rejected == reasons.FAILED


def test_what_stands_in_for_an_error_of_an_inner_part():
    def fail():
        names()
        raise ValueError

    def read():
        try:
            return Computed(fail, "inner")()
        except ValueError:
            return "none"

    function = Computed(read, "outer")
    assert function() == "none"
    assert function.rejected is None  # the error came of the rows that it has read
    add("N")
    function()
    assert function.times == 2


def test_what_stands_in_for_a_database_that_cannot_be_reached(monkeypatch):
    connections.close_all()

    def unreachable(*args, **kwargs):
        raise connections[using].Database.OperationalError("away")

    def read():
        try:
            return names(using)
        except DatabaseError:
            return "away"

    for using in ("second", "plain"):
        with monkeypatch.context() as patch:
            patch.setattr(connections[using], "get_new_connection", unreachable)
            function = Computed(read, using)
            connections[using].close()
            result = function()
        if result == "away":
            assert function.rejected == reasons.FAILED
        else:
            assert using == "second"  # a hit needs no connection


@only_sqlite
def test_an_error_while_chunks_are_fetched():
    """SQLite computes rows as they are fetched: the last one overflows."""
    overflow = "CASE WHEN shop_book.title = 'B2' THEN abs(-9223372036854775808) ELSE 0 END"

    def read():
        found = []
        try:
            for book in Book.objects.extra(select={"x": overflow}).order_by("id").iterator(chunk_size=1):
                found.append(book.title)  # noqa: PERF401  # what came before the error stays
        except DatabaseError:
            return found
        return []

    function = Computed(read)
    assert function()[0] == "B0"
    assert function.rejected == reasons.FAILED


# Blocks, generators, tasks and threads ------------------------------------------------------------------


def test_a_generator_that_is_left_in_the_middle():
    """Its block is open when the one around it ends: reads between went to the wrong one of the two."""
    inner = Tracker()

    def generator():
        with tracking(inner):
            yield names()
            yield genres()

    left = []

    def read():
        left.append(generator())
        return next(left[0]), genres()

    function = Computed(lambda: repr(read()))
    function()
    assert function.rejected == reasons.OVERLAPPING
    left[0].close()
    assert current_tracker() is None


def test_generators_that_end_in_another_order():
    ended = []

    def generator(name):
        tracker = Tracker()
        with tracking(tracker):
            yield names()
            yield genres()
        ended.append((name, tracker))

    first, second = generator("first"), generator("second")
    next(first), next(second)
    next(first)
    list(first)
    next(second)
    list(second)

    assert current_tracker() is None
    trackers = dict(ended)
    assert trackers["first"].rejection.reason == reasons.OVERLAPPING
    assert trackers["second"].rejection is None
    slots = {slot for stamps in trackers["second"].stores.values() for slot in stamps}
    assert len(slots) >= 3  # the epoch, authors, genres: none is missing


def test_a_generator_that_ends_in_another_context():
    tracker = Tracker()

    def generator():
        with tracking(tracker):
            yield names()

    running = generator()
    contextvars.copy_context().run(next, running)
    running.close()

    assert tracker.rejection.reason == reasons.OVERLAPPING
    assert current_tracker() is None


def test_a_generator_that_is_forgotten_elsewhere_reports_to_the_block_around():
    """Whoever closes it, the block that it was begun in goes on to track."""
    function = Computed(lambda: repr(read()))

    def read():
        def generator():
            with tracking(Tracker()):
                yield names()

        running = generator()
        next(running)
        contextvars.copy_context().run(running.close)
        return genres()

    function()
    Genre.objects.create(name="N")
    function()
    assert function.times == 2


def test_a_task_that_outlives_the_block_that_has_started_it():
    """It belongs to the block around that one, which may wait for it."""
    outer, inner = Tracker(), Tracker()

    async def read():
        with tracking(outer):
            go = asyncio.Event()

            async def later():
                await go.wait()
                return await sync_to_async(genres)()

            with tracking(inner):
                task = asyncio.create_task(later())
                await asyncio.sleep(0)
            go.set()
            return await task

    asyncio.run(read())
    assert sum(map(len, inner.stores.values())) == 0
    assert sum(map(len, outer.stores.values())) == 2
    connections.close_all()


def test_tasks_and_threads_of_asgiref_report_to_their_block():
    function = Computed(lambda: None)

    async def read():
        found = await asyncio.gather(
            sync_to_async(names)(), sync_to_async(genres)(), asyncio.to_thread(_closing(names))
        )
        return repr(found)

    async def twice():
        return [await function.acompute(read), await function.acompute(read)]

    first, second = asyncio.run(twice())
    assert first == second
    assert function.times == 1
    Genre.objects.create(name="N")
    asyncio.run(function.acompute(read))
    assert function.times == 2


def _closing(read):
    def run():
        try:
            return read()
        finally:
            connections.close_all()

    return run


def test_a_thread_of_its_own_is_not_tracked():
    """A limit, which cannot be noticed: a thread that is started without the context of its starter."""
    function = Computed(lambda: in_thread(names))
    assert function() == ["A"]
    in_thread(lambda: add("N"))

    assert function() == ["A"]


def test_a_thread_with_the_context_is():
    def read():
        found = []
        context = contextvars.copy_context()
        thread = threading.Thread(target=lambda: found.append(context.run(_closing(names))))
        thread.start()
        thread.join()
        return found[0]

    function = Computed(read)
    assert function() == ["A"]
    add("N")

    assert function() == ["A", "N"]


def test_a_block_of_many_slots_is_not_stored(monkeypatch):
    monkeypatch.setattr("ormcache.cache.tracking.MOST_SLOTS", 2)
    function = Computed(page)
    function()
    assert function.rejected == reasons.TOO_LARGE


def test_results_from_the_memory_of_a_request_are_validated_in_the_store(configure, other_process):
    """Slots that were answered from memory can be old; the end of the block asks the store itself."""
    configure(CONSISTENCY="request")
    connections.close_all()
    function = Computed(page)
    with ormcache.as_request():
        names()
        names()
        other_process("tests.integration.calls.add", "N")
        names()  # as the request remembers it
        function()
    assert function.rejected == reasons.WRITTEN_MEANWHILE
    assert function() == page("plain")


@only_sqlite
def test_an_older_snapshot_is_not_stored_as_of_now(wal):
    """An unfinished SELECT holds it, and a streamed read sees it."""
    cursor = connection.cursor()
    cursor.execute("SELECT id FROM shop_book")
    cursor.fetchone()
    Genre.objects.using("plain").count()
    in_thread(lambda: Author.objects.update(name="Z"))

    function = Computed(lambda: [book.author.name for book in Book.objects.select_related("author").iterator(1)])
    function()
    assert function.rejected in (reasons.OPEN_CURSOR, reasons.SNAPSHOT)
    cursor.close()
    assert function() == ["Z", "Z", "Z"]


def test_sums_and_their_rows_are_of_one_moment():
    function = Computed(lambda: (Review.objects.aggregate(Sum("stars"))["stars__sum"], *_stars()))
    whole, *parts = function()
    assert whole == sum(parts)


def _stars():
    return list(Review.objects.values_list("stars", flat=True))
