"""What a program may ask of the cache."""

from __future__ import annotations

import asyncio
import datetime
import threading
import time

import pytest
from asgiref.sync import async_to_sync
from django.db import connections, transaction
from django.test import override_settings

import ormcache
from ormcache import reasons, signals
from tests.integration.reading import Reading, execute, in_thread, model_of, rows_of, stats
from tests.shop.models import Author, Genre, Upper


@pytest.fixture(autouse=True)
def _rows() -> None:
    Author.objects.using("plain").create(name="Ann")
    Genre.objects.using("plain").create(name="Prose")


def hits(read) -> int:
    before = stats()["hits"]
    read()
    return stats()["hits"] - before


def read() -> list[Genre]:
    return list(Genre.objects.all())


# disabled() ---------------------------------------------------------------------------------


def test_disabled_reads_from_the_database(queries):
    read()
    before = stats()["bypassed"].get(reasons.DISABLED, 0)
    with ormcache.disabled():
        with queries(2):
            read()
            read()
        with ormcache.disabled(), queries(1):
            read()
        with queries(1):
            read()
    assert stats()["bypassed"][reasons.DISABLED] == before + 4
    with queries(0):
        read()


def test_disabled_stores_nothing(queries):
    with ormcache.disabled():
        read()
    with queries(1):
        read()


def test_disabled_writes_still_count(queries):
    reading = Reading(queries, rows_of(Genre))
    with ormcache.disabled():
        Genre.objects.update(name="new")
    reading.assert_fresh()


def test_disabled_ends_with_an_exception(queries):
    read()
    with pytest.raises(ZeroDivisionError), ormcache.disabled():
        raise ZeroDivisionError
    with queries(0):
        read()


def test_disabled_as_a_decorator(queries):
    read()

    @ormcache.disabled()
    def uncached(depth: int = 0):
        read()
        if depth:
            uncached(depth - 1)
        return read()

    with queries(4):
        uncached(1)
    with queries(0):
        read()


def test_disabled_is_of_one_thread():
    read()
    with ormcache.disabled():
        assert hits(lambda: in_thread(read)) == 1
    began, go = threading.Event(), threading.Event()

    def hold() -> None:
        with ormcache.disabled():
            began.set()
            go.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    began.wait(10)
    assert hits(read) == 1
    go.set()
    holder.join()


def test_disabled_is_of_one_task():
    read()

    async def main() -> list[int]:
        entered, leave = asyncio.Event(), asyncio.Event()

        async def off() -> int:
            with ormcache.disabled():
                entered.set()
                await leave.wait()
                before = stats()["hits"]
                assert [genre async for genre in Genre.objects.all()]
                return stats()["hits"] - before

        async def on() -> int:
            await entered.wait()
            before = stats()["hits"]
            assert [genre async for genre in Genre.objects.all()]
            count = stats()["hits"] - before
            leave.set()
            return count

        # One after the other on the thread of sync_to_async, so that the counts are theirs.
        return list(await asyncio.gather(off(), on()))

    assert async_to_sync(main)() == [0, 1]


def test_disabled_as_a_decorator_of_a_coroutine():
    read()

    @ormcache.disabled()
    async def uncached() -> str:
        return (await Genre.objects.aget()).name

    async def main() -> list[int]:
        counts = []
        for call in (uncached, Genre.objects.all().afirst, Genre.objects.all().afirst):
            before = stats()["hits"]
            await call()
            counts.append(stats()["hits"] - before)
        return counts

    assert async_to_sync(main)() == [0, 0, 1]


# invalidate() ----------------------------------------------------------------------------------


@pytest.mark.parametrize("named", [Genre, "shop.Genre", "shop.genre", "shop_genre", "SHOP_GENRE", "shop.*"])
def test_invalidate(queries, named):
    reading = Reading(queries, rows_of(Genre))
    users = Reading(queries, lambda using: list(Upper.objects.using(using).values_list()))
    execute("UPDATE shop_genre SET name = 'past the cache'", using="plain")
    with queries(0):
        assert reading.read() == reading.before

    ormcache.invalidate(named)

    reading.assert_fresh()
    if named != "shop.*":
        users.assert_hit()


def test_invalidate_everything(queries):
    reading = Reading(queries, rows_of(Genre))
    execute("UPDATE shop_genre SET name = 'past the cache'", using="plain")
    ormcache.invalidate()

    reading.assert_fresh()


def test_invalidate_everything_has_the_schema_read_anew(queries):
    row = model_of("made_elsewhere")
    list(Genre.objects.all())  # the schema is known
    execute("CREATE TABLE made_elsewhere (id integer)", using="plain")
    try:
        ormcache.invalidate()
        list(row.objects.all())
        with queries(0):
            list(row.objects.all())
    finally:
        execute("DROP TABLE made_elsewhere", using="plain")
        ormcache.invalidate()


def test_invalidate_one_database(queries):
    Genre.objects.using("second").create(name="x")
    for using in ("default", "second"):
        list(Genre.objects.using(using).all())
    ormcache.invalidate(Genre, using="second")
    with queries(0):
        list(Genre.objects.using("default").all())
    with queries(1, using="second"):
        list(Genre.objects.using("second").all())


def test_invalidate_an_unknown_name():
    for name in ("nothing", "shop.Nothing", "nothing.*"):
        with pytest.raises(ormcache.UnknownTable, match="nothing"):
            ormcache.invalidate(name.lower())


def test_invalidate_in_a_transaction(queries):
    reading = Reading(queries, rows_of(Genre))
    with transaction.atomic():
        ormcache.invalidate(Genre)
        execute("UPDATE shop_genre SET name = 'new'")
        in_thread(read)

    reading.assert_fresh()


def test_invalidate_reaches_what_hangs_on_it(ddl, queries):
    from django.db import models

    from tests.integration.reading import model_of

    ddl("CREATE VIEW v AS SELECT id, name FROM shop_genre", "DROP VIEW v")
    reading = Reading(queries, rows_of(model_of("v", name=models.TextField())))
    execute("UPDATE shop_genre SET name = 'past the cache'", using="plain")
    ormcache.invalidate(Genre)

    reading.assert_fresh()


# last_write() --------------------------------------------------------------------------------------


def test_last_write():
    read()
    list(Author.objects.all())
    before = datetime.datetime.now(datetime.UTC)
    Genre.objects.update(name="new")
    after = datetime.datetime.now(datetime.UTC)
    Author.objects.update(name="new")

    last = ormcache.last_write(Genre, using="default")

    assert before - datetime.timedelta(seconds=1) <= last <= after + datetime.timedelta(seconds=1)
    assert last.tzinfo is datetime.UTC
    assert ormcache.last_write("shop_author", using="default") > last
    assert ormcache.last_write(Genre, "shop.Author", using="default") == ormcache.last_write(Author, using="default")
    assert ormcache.last_write(Genre, using="default") == last
    with pytest.raises(ormcache.UnknownTable):
        ormcache.last_write("nothing")
    Genre.objects.update(name="newer")
    assert ormcache.last_write(Genre, using="default") > last


# Signals ---------------------------------------------------------------------------------------------


@pytest.fixture
def heard():
    events = []

    def listen(name, signal):
        def receive(sender, using, signal, **what):
            events.append((name, using, what.get("reason") or what["relations"]))

        signal.connect(receive, weak=False)
        return signal, receive

    receivers = [listen(name, getattr(signals, name)) for name in ("hit", "missed", "bypassed", "invalidated")]
    yield events
    for signal, receive in receivers:
        signal.disconnect(receive)


def test_signals(heard):
    list(Genre.objects.all())
    list(Genre.objects.all())
    list(Genre.objects.order_by("?"))
    Genre.objects.update(name="x")
    Genre.objects.using("second").create(name="x")
    with transaction.atomic():
        Author.objects.update(name="x")
        Upper.objects.create(label="x")
        count = len(heard)
    assert heard == [
        ("missed", "default", {"shop_genre"}),
        ("hit", "default", {"shop_genre"}),
        ("bypassed", "default", reasons.RANDOM),
        ("invalidated", "default", {"shop_genre"}),
        ("invalidated", "second", {"shop_genre"}),
        ("invalidated", "default", {"shop_author", "Shop_Upper"}),
    ]
    assert count == 5  # not before the transaction has ended


def test_signals_are_not_sent_if_nobody_listens(monkeypatch):
    sent = []
    for name in ("hit", "missed", "bypassed", "invalidated"):
        monkeypatch.setattr(getattr(signals, name), "send", lambda *args, **kwargs: sent.append(args))
    read(), read(), list(Genre.objects.order_by("?"))
    Genre.objects.update(name="x")

    assert sent == []


# Settings ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("local_size", [0, 32 * 2**20])
def test_timeout(configure, monkeypatch, queries, local_size):
    configure(TIMEOUT=60, LOCAL_SIZE=local_size)
    read()
    stamps = connections["default"].ormcache.database.stamps
    for seconds, expected in ((0, 0), (59, 0), (61, 1)):
        now = time.time()
        with monkeypatch.context() as patched:
            patched.setattr(time, "time", lambda: now + seconds)  # noqa: B023
            patched.setattr(stamps, "_clock", lambda: now + seconds)  # noqa: B023
            with queries(expected):
                read()


def test_timeout_for_ever(monkeypatch, queries):
    read()
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 10 * 365 * 24 * 3600)
    with queries(0):
        read()


def test_version(configure, queries):
    reading = Reading(queries, rows_of(Genre))
    configure(VERSION="2")
    with queries(1):
        reading.read()
    # Both versions share the stamps.
    Genre.objects.update(name="new")
    configure(VERSION="")
    reading.assert_fresh()


def test_override_settings(queries):
    reading = Reading(queries, rows_of(Genre))
    with override_settings(ORMCACHE={"ENABLED": False}):
        with queries(2):
            reading.read()
            reading.read()
        Genre.objects.update(name="written while it was off")
    reading.assert_fresh()
    reading.read()
    with queries(0):
        reading.read()


def test_stats():
    before = stats()
    read(), read()
    after = stats()
    assert {key: after[key] - before[key] for key in ("hits", "misses", "stored", "damaged")} == {
        "hits": 1,
        "misses": 1,
        "stored": 1,
        "damaged": 0,
    }
    assert ormcache.stats()["default"] == after
