"""Functions whose reads are as of one moment."""

from __future__ import annotations

import asyncio

import pytest
from asgiref.sync import sync_to_async
from django.db import connections, transaction

import ormcache
from ormcache import reasons
from tests.integration.reading import execute, in_thread, not_on_sqlite, only_sqlite
from tests.shop.models import Author, Genre, Review


@pytest.fixture(autouse=True)
def _rows(wal) -> None:
    Author.objects.create(name="1")
    Genre.objects.create(name="1")


def move(number: int) -> None:
    """One transaction that changes both: all readers have to see both or neither."""
    with transaction.atomic():
        Author.objects.update(name=str(number))
        Genre.objects.update(name=str(number))


class Pair:
    """Reads two tables, with writes in between as often as it is asked for."""

    def __init__(self, meanwhile: int = 0) -> None:
        self.meanwhile, self.calls = meanwhile, 0

    def first(self) -> str:
        self.calls += 1
        found = Author.objects.get().name
        if self.calls <= self.meanwhile:
            in_thread(lambda: move(self.calls + 1))
        return found

    def read(self) -> tuple[str, str]:
        return self.first(), Genre.objects.get().name


@pytest.mark.parametrize("meanwhile, calls", [(0, 1), (1, 2), (2, 3), (3, 3)])
def test_all_reads_are_of_one_moment(meanwhile, calls):
    pair = Pair(meanwhile)
    first, second = ormcache.snapshot(pair.read)()
    assert first == second
    assert pair.calls == calls
    assert not connections["default"].in_atomic_block
    assert Pair().read() == (str(meanwhile + 1),) * 2


def test_without_it_they_are_not():
    first, second = Pair(1).read()
    assert first != second


def test_from_the_cache(queries):
    pair = Pair()
    read = ormcache.snapshot(pair.read)
    read()
    with queries(0):
        read()


def test_what_cannot_be_validated_is_read_in_a_transaction_at_once():
    pair = Pair(1)

    @ormcache.snapshot
    def read():
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT 1")
        return pair.read()

    assert read()[0] == "2"
    pair = Pair()
    assert len(set(read())) == 1
    assert pair.calls == 2


@pytest.mark.parametrize("meanwhile", [0, 2])
@pytest.mark.parametrize("handled", [False, True])
def test_a_write_is_an_error_before_it_runs(meanwhile, handled):
    pair = Pair(meanwhile)

    @ormcache.snapshot
    def read():
        found = pair.read()
        if pair.calls > meanwhile:
            try:
                Review.objects.all().delete()
                Author.objects.update(name="written")
            except ormcache.WriteInSnapshot:
                if not handled:
                    raise
        return found

    with pytest.raises(ormcache.WriteInSnapshot, match=r"must not write: (UPDATE|DELETE)"):
        read()
    assert Author.objects.get().name != "written"


@pytest.mark.parametrize("write", ["cursor", "plain", "cached", "changed", "invalidate"])
def test_every_way_of_writing(write):
    def change():
        if write == "changed":
            ormcache.changed("rates")
        elif write == "invalidate":
            ormcache.invalidate("shop.Genre")
        else:
            execute("UPDATE shop_author SET name = 'written'", using="plain" if write == "plain" else "default")

    cached = ormcache.cached(change)

    @ormcache.snapshot
    def read():
        return cached() if write == "cached" else change()

    with pytest.raises(ormcache.WriteInSnapshot):
        read()
    assert Author.objects.using("plain").get().name == "1"


@not_on_sqlite
def test_in_a_transaction_without_a_snapshot():
    pair = Pair(9)
    read = ormcache.snapshot(pair.read)
    with (
        transaction.atomic(),
        pytest.raises(ormcache.SnapshotUnavailable, match="has no snapshot"),
    ):
        read()
    pair.meanwhile = 0
    with transaction.atomic():
        assert len(set(read())) == 1


def test_in_a_transaction_with_one(engine):
    pair = Pair(1)
    beginning = {
        "postgresql": "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "mysql": "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    }.get(engine)
    with transaction.atomic():
        if beginning is not None:
            execute(beginning)
        assert ormcache.snapshot(pair.read)() == ("1", "1")
        assert pair.calls == 1


def test_several_databases():
    Author.objects.using("second").create(name="s")

    @ormcache.snapshot
    def read():
        return pair.first(), Author.objects.using("second").get().name, Genre.objects.get().name

    pair = Pair(1)
    assert read() == ("2", "s", "2")
    pair = Pair(9)
    with pytest.raises(ormcache.SnapshotUnavailable, match="has nothing of 'second'"):
        read()
    assert not connections["default"].in_atomic_block


def test_the_block_around_depends_on_what_was_valid():
    pair = Pair(1)
    with ormcache.track() as dependencies:
        ormcache.snapshot(pair.read)()
    assert dependencies.rejection is None
    assert dependencies.tables == {"shop_author", "shop_genre"}
    pair = Pair(2)
    with ormcache.track() as dependencies:
        ormcache.snapshot(pair.read)()
    assert dependencies.rejection.reason == reasons.DISABLED


def test_coroutine_functions():
    calls = []

    @ormcache.snapshot
    async def read():
        calls.append(1)
        author = await Author.objects.aget()
        if len(calls) <= meanwhile:
            await asyncio.to_thread(in_thread, lambda: move(len(calls) + 1))
        return author.name, (await Genre.objects.aget()).name

    async def main():
        try:
            return await read()
        finally:
            await sync_to_async(connections.close_all)()

    meanwhile = 2
    assert asyncio.run(main()) == ("3", "3")
    assert len(calls) == 3
    meanwhile = 99
    with pytest.raises(ormcache.SnapshotUnavailable, match="written meanwhile"):
        asyncio.run(main())


def test_what_it_must_not_return_or_be():
    with pytest.raises(TypeError, match="is a generator"):

        @ormcache.snapshot
        def generate():
            yield 1

    @ormcache.snapshot
    def read():
        return Author.objects.all()

    with pytest.raises(TypeError, match="a queryset that is not evaluated"):
        read()


def test_using():
    @ormcache.snapshot(using="second")
    def read():
        return Author.objects.using("second").count(), execute("SELECT 1", using="second")

    assert read() == (0, None)


def test_errors_are_raised():
    @ormcache.snapshot
    def read():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        read()


@only_sqlite
def test_in_a_file_without_a_log():
    assert ormcache.snapshot(Pair(0).read)() == ("1", "1")
