"""The store goes away, forgets or holds rubbish, at every step: reads are right all the same."""

from __future__ import annotations

import contextlib
import zlib

import pytest
import redis
from django.conf import settings
from django.db import DatabaseError, connection, connections, transaction
from django.test import override_settings

from ormcache import reasons
from ormcache.cache import serializer, stamps
from ormcache.catalog import ALL_ROWS
from ormcache.exceptions import StoreUnavailable, WriteRefused
from ormcache.stores.base import Store
from tests import databases, environment
from tests.integration.actors import Actor
from tests.integration.calls import add, add_atomically, genres, is_cached, kill, names, run, session_id
from tests.shop.models import Author
from tests.waiting import eventually

ENGINE = environment.current().engine
MARK = "after:ormcache.stores.base.Store.mark"
SETTLE = "before:ormcache.stores.base.Store.settle"

pytestmark = pytest.mark.usefixtures("interleaved")


@pytest.fixture
def server(start_server):
    return start_server("redis")


@pytest.fixture
def store(server, configure):
    """A Redis that this test may stop, as the store; nothing is kept in memory beside it."""
    own = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": server.url}
    with override_settings(CACHES=settings.CACHES | {"own": own}):
        configure(STORE="redis", CACHE="own", LOCAL_SIZE=0, STORE_TIMEOUT=0.5, LEASE=2)
        client = redis.Redis(host=server.host, port=server.port)
        yield client
        client.close()
        connections.close_all()


@pytest.fixture(params=[add, add_atomically], ids=["autocommit", "atomic"])
def write(request):
    return request.param


def pending():
    return connection.ormcache.database.pending.relations


def bypassed(reason):
    return connection.ormcache.observer.counters.snapshot()["bypassed"].get(reason, 0)


def all_agree():
    expected = names("plain")
    assert names() == expected
    assert names() == expected
    assert Actor(names).finish() == expected
    return expected


def keys(store, kind):
    return [key for key in store.keys("ormcache:*") if key.split(b":", 3)[2] == kind]


# Away, and back again ----------------------------------------------------------------


@contextlib.contextmanager
def away(server, how):
    """Paused, it comes back with all that it held; killed, with nothing."""
    getattr(server, how)()
    try:
        yield
    finally:
        if how == "pause":
            server.resume()
        else:
            server.start()


@pytest.fixture(params=["pause", "stop", "kill"])
def how(request):
    return request.param


def test_lost_before_the_mark(server, store, how, write):
    assert is_cached(names)
    with away(server, how):
        write("A")
        assert "shop_author" in pending()
        before = bypassed(reasons.PENDING) + bypassed(reasons.STORE_UNAVAILABLE)
        assert all_agree() == ["A"]
        assert bypassed(reasons.PENDING) + bypassed(reasons.STORE_UNAVAILABLE) > before
        assert genres() == []
    eventually(lambda: not pending())
    assert all_agree() == ["A"]
    eventually(lambda: is_cached(names))


def test_the_thread_that_tries_again_ends_with_the_test(server, store):
    names()
    server.stop()
    add("A")
    queue = connection.ormcache.database.pending
    assert queue.relations
    thread = queue._thread
    databases.forget_pending()
    thread.join(30)

    assert not thread.is_alive()
    assert not queue.relations


@pytest.mark.skipif(ENGINE == "sqlite", reason="SQLite always answers")
def test_lost_before_the_mark_of_a_write_that_gets_no_answer(server, store, how, write):
    """It may become visible after the store is back, so nothing may be kept until its lease has passed."""
    assert is_cached(names)
    sessions = []
    writer = Actor(lambda: (sessions.append(session_id()), write("A"))).to("before mark")
    with away(server, how):
        writer.on(lambda point: point in ("before write", "before commit"))
        kill(*sessions)
        with pytest.raises(DatabaseError):
            writer.finish()
        assert "shop_author" in pending()
    eventually(lambda: not pending())
    assert names() == []
    add("A", "plain")  # now it becomes visible
    assert all_agree() == ["A"]
    eventually(lambda: is_cached(names))
    assert all_agree() == ["A"]


def test_lost_between_mark_and_commit(server, store, how, write):
    names()
    writer = Actor(lambda: write("A")).to("after mark")
    with away(server, how):
        assert names() == []
        writer.finish()
        assert "shop_author" in pending()
        assert all_agree() == ["A"]
    eventually(lambda: not pending())
    assert all_agree() == ["A"]
    eventually(lambda: is_cached(names))


def test_lost_between_commit_and_settle(server, store, how, write):
    names()
    writer = Actor(lambda: write("A")).to("before settle")
    with away(server, how):
        writer.finish()
        assert "shop_author" in pending()
        assert all_agree() == ["A"]
    eventually(lambda: not pending())
    assert all_agree() == ["A"]
    eventually(lambda: is_cached(names))


def test_lost_after_the_settling(server, store, how, write):
    write("A")
    assert is_cached(names)
    with away(server, how):
        assert all_agree() == ["A"]
        assert not pending()
    eventually(lambda: is_cached(names))
    assert all_agree() == ["A"]


def test_a_statement_that_could_not_be_settled_may_have_written_what_a_new_trigger_writes(store, monkeypatch):
    """Somebody may have changed the schema while it waited for a lock, and nobody can be asked any more."""
    add("0")
    settle = Store.settle

    def lost(self, *args):
        raise StoreUnavailable("lost")

    for write, everything in ((add, True), (add_atomically, False)):
        monkeypatch.setattr(Store, "settle", lost)
        write("1")
        assert (pending() >= ALL_ROWS) is everything
        assert pending()
        monkeypatch.setattr(Store, "settle", settle)
        connection.ormcache.database.pending.retry()
        assert not pending()


def test_what_could_not_be_marked_retires_everything_once_the_store_is_back(store, monkeypatch, write):
    """The mark asks whether the schema has changed since the writes were planned: here nobody could be asked."""
    genres()
    assert is_cached(genres)
    mark = Store.mark

    def lost(self, *args, **more):
        monkeypatch.setattr(Store, "mark", mark)
        raise StoreUnavailable("lost")

    monkeypatch.setattr(Store, "mark", lost)
    write("1")
    assert not pending()
    before = connection.ormcache.observer.counters.snapshot()["hits"]
    genres()
    assert connection.ormcache.observer.counters.snapshot()["hits"] == before


def test_what_waits_is_read_past_the_cache_as_soon_as_the_store_is_back(server, store):
    """Between its coming back and the settling, this process still must not believe it."""
    names()
    with away(server, "pause"):
        add("A")
    assert names() == ["A"]
    eventually(lambda: not pending())
    assert all_agree() == ["A"]


def test_a_later_write_that_waits_is_not_taken_for_an_earlier_one(server, store):
    """While the earlier one is being settled, the store goes away again."""
    names()
    database = connection.ormcache.database
    with away(server, "pause"):
        add("A")
    told = []

    def settle(relations):
        told.append(relations)
        if len(told) == 1:
            database.pending.add(relations)  # another thread's write, after this settling has passed

    original, database.pending._settle = database.pending._settle, settle
    try:
        database.pending.retry()
        assert "shop_author" in database.pending.relations
    finally:
        database.pending._settle = original
    eventually(lambda: not pending())


# ON_OUTAGE = "refuse" -------------------------------------------------------------------


@pytest.fixture
def refuse(store, configure):
    configure(ON_OUTAGE="refuse")


def test_refused_in_a_transaction(server, refuse, how):
    names()
    with away(server, how):
        with pytest.raises(WriteRefused, match="ON_OUTAGE"), transaction.atomic():
            Author.objects.create(name="A")
        assert not connection.in_atomic_block
        assert all_agree() == []
        assert not pending()
    eventually(lambda: is_cached(names))
    add("B")
    assert all_agree() == ["B"]


def test_refused_in_autocommit(server, refuse, how):
    names()
    with away(server, how):
        with pytest.raises(WriteRefused):
            Author.objects.create(name="A")
        with pytest.raises(WriteRefused):
            Author.objects.update(name="A")
        assert all_agree() == []
    eventually(lambda: is_cached(names))


def test_refused_without_autocommit_and_by_a_raw_commit(server, refuse):
    names()
    with away(server, "pause"):
        transaction.set_autocommit(False)
        Author.objects.create(name="A")
        with pytest.raises(WriteRefused):
            transaction.commit()
        transaction.rollback()
        transaction.set_autocommit(True)
        run("BEGIN")
        run("INSERT INTO shop_author (name, active) VALUES ('B', true)")
        with pytest.raises(WriteRefused):
            run("COMMIT")
        run("ROLLBACK")
        assert all_agree() == []


def test_a_schema_change_is_refused(server, refuse):
    with away(server, "pause"):
        with pytest.raises(WriteRefused), connection.schema_editor() as editor:
            editor.execute("CREATE TABLE shop_refused (id integer)")
        with connections["plain"].cursor() as cursor:
            assert "shop_refused" not in connections["plain"].introspection.table_names(cursor)


def test_a_write_to_a_temporary_table_is_refused(server, refuse):
    """Only the store could say that no trigger, function or default has changed since the catalog was read."""
    run("CREATE TEMPORARY TABLE passing (id integer)")
    run("INSERT INTO passing VALUES (1)")
    with away(server, "pause"):
        with pytest.raises(WriteRefused):
            run("INSERT INTO passing VALUES (2)")
        with connection.cursor() as cursor:
            cursor.execute("SELECT id FROM passing")
            assert list(cursor.fetchall()) == [(1,)]


def test_a_transaction_that_only_reads_is_not_refused(server, refuse):
    names()
    with away(server, "pause"), transaction.atomic():
        assert names() == []


def test_lost_after_the_mark_it_is_too_late_to_refuse(server, refuse, how, write):
    names()
    writer = Actor(lambda: write("A")).to("before settle")
    with away(server, how):
        writer.finish()
        assert "shop_author" in pending()
        assert all_agree() == ["A"]
    eventually(lambda: not pending())
    assert all_agree() == ["A"]


# Forgetting -------------------------------------------------------------------------------


def forget_slots(store):
    for key in keys(store, b"s"):
        store.delete(key)


def forget_all(store):
    store.flushall()


def forget_entries(store):
    for key in keys(store, b"e"):
        store.delete(key)


@pytest.fixture(params=[forget_slots, forget_entries, forget_all], ids=lambda forget: forget.__name__)
def forget(request):
    return request.param


@pytest.mark.parametrize("point", ["after look_up", "after query", "before put", "end"])
def test_forgotten_under_a_reader(store, forget, point, write):
    reader = Actor(names)
    reader.on(lambda reached: reached == point)
    write("A")
    forget(store)
    reader.finish()
    assert all_agree() == ["A"]
    assert is_cached(names)


@pytest.mark.parametrize("point", ["before mark", "after mark", "before settle"])
def test_forgotten_under_a_writer(store, forget, point, write, configure):
    """The loss of a mark lets readers be one write behind, until the writer settles and no longer."""
    configure(FLIGHT_WAIT=0)  # the second reader is not to wait for the first one, who stands still
    genres()
    slow = Actor(names).to("before put")
    writer = Actor(lambda: write("A")).to(point)
    forget(store)
    names()
    slow.finish()
    writer.finish()
    assert all_agree() == ["A"]
    assert is_cached(names)


def test_one_slot_forgotten_at_a_time(store):
    names()
    for number, slot in enumerate(sorted(keys(store, b"s"))):
        store.delete(slot)
        add(f"{number}")
        assert len(all_agree()) == number + 1


# Rubbish ---------------------------------------------------------------------------------------


def flipped(value):
    return value[:-1] + bytes([value[-1] ^ 1])


RUBBISH = {
    "empty": lambda value: b"",
    "other": lambda value: b"rubbish",
    "cut": lambda value: value[: len(value) // 2],
    "cut at the end": lambda value: value[:-1],
    "longer": lambda value: value + b"x",
    "flipped": flipped,
    "marks": lambda value: b"M" + b"x" * 15,
    "zeros": lambda value: bytes(len(value)),
}


@pytest.mark.parametrize("rubbish", RUBBISH.values(), ids=RUBBISH)
def test_rubbish_in_entries_is_a_miss_and_counted(store, rubbish):
    add("A")
    names()
    before = connection.ormcache.observer.counters.snapshot()
    for key in keys(store, b"e"):
        store.set(key, rubbish(store.get(key)))
    assert names() == ["A"]
    after = connection.ormcache.observer.counters.snapshot()
    assert after["hits"] == before["hits"]
    assert after["damaged"] == before["damaged"] + 1
    assert is_cached(names)


def authors():
    return list(Author.objects.values_list("name", "id"))


def with_rows(value, result):
    """An entry as it is, checksum and all, with other rows in it."""
    end = stamps._PREAMBLE + sum(stamps._LENGTHS.unpack_from(value, stamps._LENGTHS_AT))
    rest = value[stamps._CHECKSUM.stop : end] + serializer.encode(result)
    return value[: stamps._CHECKSUM.start] + zlib.crc32(rest).to_bytes(4, "big") + rest


@pytest.mark.parametrize("result", [None, ("A", 1), [()], [("A",)] * 9], ids=repr)
def test_rows_of_another_shape_are_a_miss(store, result):
    """Whoever forges an entry cannot make a query fail for want of a column."""
    add("A")
    expected = authors()
    before = connection.ormcache.observer.counters.snapshot()["damaged"]
    for key in keys(store, b"e"):
        store.set(key, with_rows(store.get(key), result))
    assert authors() == expected
    assert connection.ormcache.observer.counters.snapshot()["damaged"] == before + 1


@pytest.mark.parametrize("rubbish", RUBBISH.values(), ids=RUBBISH)
def test_rubbish_in_slots_is_a_miss_and_goes_with_the_next_write(store, rubbish):
    names()
    for key in keys(store, b"s"):
        store.set(key, rubbish(store.get(key)))
    assert names() == []
    add("A")
    assert all_agree() == ["A"]
    run("CREATE TABLE shop_rubbish (id integer)")  # a write to the epoch and to the schema's slot
    run("DROP TABLE shop_rubbish")
    add("B")
    assert all_agree() == ["A", "B"]
    eventually(lambda: is_cached(names))


def test_values_of_another_type(store):
    names()
    for key in store.keys("ormcache:*"):
        store.delete(key)
        store.rpush(key, "x")
    assert names() == []
    add("A")
    assert all_agree() == ["A"]


# A writer dies ------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", ["add", "add_atomically"])
@pytest.mark.parametrize("stop", [MARK, SETTLE], ids=["before commit", "before settle"])
@pytest.mark.parametrize("kind", ["embedded", "redis"])
def test_a_killed_writer(other_process, configure, function, stop, kind):
    """Its mark keeps everybody from the cache until its lease is over, and leaves nothing stale."""
    if kind == "redis":
        configure(STORE="redis", CACHE="redis")
    configure(LEASE=1)
    assert is_cached(names)
    writer = other_process.start(f"tests.integration.calls.{function}", "A", stops=[stop])
    writer.wait_for(stop)
    slow = Actor(names).to("after query")
    writer.kill()
    slow.finish()

    expected = ["A"] if stop == SETTLE else []
    assert all_agree() == expected
    eventually(lambda: is_cached(names))
    assert all_agree() == expected
    add("B")
    assert all_agree() == [*expected, "B"]
    assert is_cached(names)


def test_a_killed_writer_and_a_living_one(other_process, configure):
    """The dead one's mark goes with its lease, the living one's with its settling."""
    configure(LEASE=1)
    names()
    writer = other_process.start("tests.integration.calls.add_atomically", "A", stops=[SETTLE])
    writer.wait_for(SETTLE)
    writer.kill()
    add_atomically("B")
    assert all_agree() == ["A", "B"]
    eventually(lambda: is_cached(names))
    assert all_agree() == ["A", "B"]
