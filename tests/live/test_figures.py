"""What is counted of real reads and writes, and gathered from several processes."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

import pytest
import redis
from django.conf import settings
from django.db import connection, connections, transaction
from django.test import override_settings

import ormcache
from ormcache import publishing, reasons
from ormcache.figures import Miss, Tally, Text, figures_of
from ormcache.figures.report import Report
from ormcache.publishing import Publisher, params_of, publisher
from ormcache.stores.base import StoreUnavailable
from tests.live.actors import Actor, points
from tests.live.calls import count_anew
from tests.live.reading import execute, not_on_sqlite
from tests.live.test_stores_end_to_end import SHARED, STORES
from tests.shop.models import Author, Book, Genre

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(autouse=True)
def _fresh() -> None:
    count_anew()
    Author.objects.using("plain").create(name="Ann")


@pytest.fixture(params=[2**20, 0], ids=["in memory", "in the store"])
def _local(request, configure) -> None:
    configure(LOCAL_SIZE=request.param)


def authors() -> list[Author]:
    return list(Author.objects.order_by("pk"))


def books_of_ann() -> list[Book]:
    return list(Book.objects.filter(author__name="Ann"))


def total() -> Tally:
    return figures_of("default").total()


def text(read: Any) -> Text:
    """The figures of the one text that a read asks for."""
    before = {id(one) for one in figures_of("default")._texts.values()}
    read()
    (new,) = (one for one in figures_of("default")._texts.values() if id(one) not in before)
    return new


# What happens -------------------------------------------------------------------------


@pytest.mark.usefixtures("_local")
def test_a_hit_and_a_miss():
    one = text(authors)
    authors()
    tally = one.tally

    assert (tally.hits, tally.misses, tally.missed, tally.kept) == (1, 1, {Miss.COLD: 1}, 1)
    assert tally.query_seconds > 0
    assert tally.hit_seconds > 0
    assert tally.miss_seconds > 0
    assert (one.relations, one.sql.startswith("SELECT")) == ({"shop_author"}, True)
    assert one.caller is not None
    assert one.caller.startswith("tests/live/test_figures.py:")


@pytest.mark.parametrize("kind", ["embedded", "redis by django-redis"])
def test_bytes_of_the_store(kind, configure):
    configure(**STORES[kind], LOCAL_SIZE=0)
    authors()
    authors()

    assert total().bytes_written > 0
    assert total().bytes_read == total().bytes_written


@pytest.mark.usefixtures("_local")
def test_the_relation_that_retired_it():
    books_of_ann()
    Author.objects.create(name="Bob")
    books_of_ann()
    Book.objects.update(title="x")
    books_of_ann()
    ormcache.invalidate()
    books_of_ann()

    assert total().missed == {Miss.COLD: 1, Miss.RETIRED: 3}
    assert total().retired_by == {"shop_author": 1, "shop_book": 1, "*": 1}


def test_writes_to_a_blacklisted_table_are_counted_and_retire_nothing(configure):
    configure(BLACKLIST=["shop.Author"])
    Author.objects.create(name="Bob")
    with transaction.atomic():
        Author.objects.update(name="x")
        Author.objects.filter(name="x").delete()
        Book.objects.update(title="x")
    figures = figures_of("default")
    written = figures.written()["shop_author"]

    assert written.writes == 3
    assert written.cause("shop_author").startswith("DELETE FROM")
    assert figures.writing.writes == 1
    assert ["shop_author" in event.relations for event in figures.events()] == [False]
    assert figures.written()["shop_book"].writes == 1


@pytest.mark.usefixtures("_local")
def test_the_first_of_several_has_retired_it():
    books_of_ann()
    Book.objects.update(title="x")
    Author.objects.create(name="Bob")
    books_of_ann()

    assert total().retired_by == {"shop_book": 1}


@not_on_sqlite
def test_a_marked_relation(monkeypatch):
    with points(monkeypatch):
        writer = Actor(lambda: Author.objects.create(name="Bob")).to("after mark")
        authors()
        writer.finish()

    assert total().missed == {Miss.MARKED: 1}
    assert total().refused == {reasons.MARKED: 1}


def test_an_expired_result(configure):
    configure(TIMEOUT=0.001)  # and not without memory: most stores forget such an entry by themselves
    authors()
    began = time.time()
    while time.time() < began + 0.01:
        pass
    authors()

    assert total().missed == {Miss.COLD: 1, Miss.EXPIRED: 1}


@pytest.mark.usefixtures("_local")
def test_lost_stamps(configure, redis_server):
    configure(STORE="redis", CACHE="redis")
    authors()
    client = redis.Redis.from_url(settings.CACHES["redis"]["LOCATION"])
    slots = [key for key in client.keys("ormcache:*") if key.split(b":", 3)[2] == b"s"]
    assert slots
    client.delete(*slots)
    client.close()
    authors()

    assert total().missed == {Miss.COLD: 1, Miss.LOST: 1}


def test_reads_past_the_cache(configure):
    configure(BLACKLIST=["shop.Author"])
    one = text(authors)
    with ormcache.disabled():
        authors()
    list(Author.objects.iterator())

    assert total().bypassed == {reasons.BLACKLISTED: 1, reasons.DISABLED: 1, reasons.CHUNKED: 1}
    assert (one.tally.bypassed, one.tally.uncached) == ({reasons.BLACKLISTED: 1}, 1)
    assert one.tally.uncached_seconds > 0


def test_a_read_that_fails_is_counted(configure, ddl):
    configure(BLACKLIST=["shop.Author"])
    connection.ensure_connection()

    def fail(execute: Any, *args: Any) -> None:
        raise ZeroDivisionError

    with connection.execute_wrapper(fail), pytest.raises(ZeroDivisionError):
        authors()
    assert total().bypassed == {reasons.BLACKLISTED: 1}


def test_writes_and_what_has_made_them():
    Author.objects.update(name="x")
    with transaction.atomic():
        Author.objects.update(name="y")
        Book.objects.update(title="y")
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        Author.objects.update(name="z")
        raise ZeroDivisionError
    figures = figures_of("default")
    written = figures.written()

    assert (written["shop_author"].writes, written["shop_book"].writes, figures.writing.writes) == (2, 1, 2)
    assert written["shop_author"].cause("shop_author").startswith("UPDATE")
    assert "shop_author" in written["shop_author"].cause("shop_author")
    assert "shop_book" in written["shop_book"].cause("shop_book")
    assert figures.writing.seconds > 0
    first, second = figures.events()
    assert first.relations == ("shop_author",)
    assert {"shop_author", "shop_book"} <= set(second.relations)


def test_other_causes(ddl):
    ormcache.invalidate("shop.Author")
    ddl("CREATE TABLE shop_new (id int)", "DROP TABLE shop_new")
    kinds = [(event.kind, event.cause.split(" (")[0]) for event in figures_of("default").events()]

    assert ("invalidation", "ormcache.invalidate()") in kinds
    count_anew()
    execute("CREATE TABLE shop_newer (id int)")
    execute("DROP TABLE shop_newer")
    events = figures_of("default").events()
    assert [(event.kind, event.relations) for event in events] == [("schema change", ("*",))] * 2
    assert "shop_newer" in events[0].cause


def test_a_read_that_hits_often_is_remembered():
    for _ in range(40):
        list(Author.objects.filter(name="Ann")[:5])
    (one,) = figures_of("default").texts()
    (sample,) = one.samples.values()

    assert tuple(sample.params) == ("Ann",)
    assert sample.seen == 3


# Several processes --------------------------------------------------------------------


def report() -> Report:
    found = ormcache.report("default")
    assert found is not None
    return found


def read_and_publish(hits: int) -> int:
    """For another process: so many hits, told."""
    for _ in range(hits + 1):
        list(Author.objects.filter(pk=1))
    publisher.publish()
    return os.getpid()


def read_only() -> None:
    list(Author.objects.all())


@pytest.mark.parametrize("kind", SHARED)
def test_processes_tell_their_figures(kind, configure, other_process):
    configure(**STORES[kind], FIGURES_INTERVAL=3600)
    pids = {other_process("tests.live.test_figures.read_and_publish", hits) for hits in (3, 4)}
    authors()
    found = report()

    assert {process.pid for process in found.processes} == pids | {os.getpid()}
    assert found.total.reads == 3 + 1 + 4 + 1 + 1
    assert found.total.hits >= 7
    assert found.unread == 0
    assert {sample.sql for sample in found.texts} == {one.sql for one in found.texts if "shop_author" in one.sql}
    assert sum(point.hits for point in found.history) == found.total.hits


def test_a_process_counts_once(configure):
    configure(FIGURES_INTERVAL=3600)
    authors()
    publisher.publish()
    authors()

    assert report().total.reads == 2
    assert len(report().processes) == 1


def test_idle_processes_tell_again_what_the_store_has_lost(configure, redis_server, monkeypatch):
    configure(STORE="redis", CACHE="redis", FIGURES_INTERVAL=3600)
    authors()
    publisher.publish()
    client = redis.Redis.from_url(settings.CACHES["redis"]["LOCATION"])
    client.flushdb()
    client.close()
    database = connection.ormcache.database

    def listed() -> list[str]:
        publisher.publish()
        return list(publishing._listed(database.stamps.store, database.identity))

    assert listed() == []
    monkeypatch.setattr(publishing, "AGAIN", 0)
    assert listed() == [figures_of("default").process]


def test_a_process_tells_them_by_itself(configure):
    configure(FIGURES_INTERVAL=0.02)
    began = time.monotonic()
    authors()
    figures = figures_of("default")
    figures.process, told = "nobody's", figures.process
    while told not in {process.id for process in report().processes}:
        figures.process = told
        assert time.monotonic() < began + 30
        authors()
        time.sleep(0.02)
        figures.process = "nobody's"


def test_a_process_tells_them_at_its_end(configure, other_process):
    configure(FIGURES_INTERVAL=3600)
    other_process("tests.live.test_figures.read_only")

    assert report().total.reads == 1


def test_nothing_is_told_without_an_interval(configure, other_process):
    configure(FIGURES_INTERVAL=0)
    other_process("tests.live.test_figures.read_and_publish", 2)
    authors()

    assert report().total.reads == 1


def test_what_another_project_has_written_is_not_read(configure, other_process):
    configure(FIGURES_INTERVAL=3600)
    other_process("tests.live.test_figures.read_and_publish", 2)
    authors()
    assert report().total.reads == 4
    with override_settings(SECRET_KEY="another"):
        connection.close()
        found = report()
        assert found.total.reads == 1
        assert found.texts[0].tally.reads == 1
        publisher.publish()  # which must not write over what the first one has listed
    connection.close()
    assert report().total.reads == 4


def test_fewer_texts_where_there_is_little_room(configure, monkeypatch, other_process):
    configure(FIGURES_INTERVAL=3600)
    monkeypatch.setattr(publishing, "MOST_BYTES", 4000)
    for number in range(60):
        list(Author.objects.extra(select={f"column_{number:x}{os.urandom(8).hex()}": "1"}))
    publisher.publish()
    told = figures_of("default").total()
    count_anew()
    authors()
    found = report()

    assert found.total.reads == told.reads + 1 == 61
    assert 1 < len(found.texts) < 60


def test_the_store_is_away(start_server, configure):
    server = start_server("redis")
    own = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": server.url}
    with override_settings(CACHES=settings.CACHES | {"own": own}):
        configure(STORE="redis", CACHE="own", FIGURES_INTERVAL=3600)
        authors()
        server.stop()
        authors()
        publisher.publish()
        with pytest.raises(StoreUnavailable):
            report()
        (told,) = publisher.here(connection.ormcache.database.identity)
        (outage,) = told["outages"]

        assert outage[1] is None
        assert total().bypassed == {reasons.STORE_AWAY: 1}
        server.restart()
        while ormcache.stats("default")["hits"] == 0:
            authors()
        (over,) = report().outages
        assert over.ended is not None
        assert over.ended > over.began


def test_a_sample_can_be_read_again(configure, other_process):
    configure(FIGURES_INTERVAL=3600)
    other_process("tests.live.test_figures.read_and_publish", 5)
    (sample,) = report().texts[0].samples

    assert params_of(sample) == (1,)
    assert sample["shape"][0] == "multi"


def test_publishers_of_one_process_do_not_share():
    assert Publisher()._homes == {}


def test_no_report_where_nothing_is_cached(configure):
    assert ormcache.report("plain") is None
    assert ormcache.report("default") is None  # nothing was counted
    configure(ENABLED=False)
    connection.close()
    authors()
    assert ormcache.report("default") is None


def test_a_cause_is_not_of_an_earlier_write():
    def last() -> str:
        return figures_of("default").events()[-1].cause

    Author.objects.update(name="x")
    assert last().startswith("UPDATE")
    Author.objects.create(name="y")
    assert last().startswith("INSERT")
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        Author.objects.create(name="z")
        raise ZeroDivisionError
    Author.objects.update(name="z")
    assert last().startswith("UPDATE")


def test_the_thread_ends_where_nothing_is_to_be_told(configure):
    configure(FIGURES_INTERVAL=0.005)
    authors()
    thread = publisher._thread
    assert thread is not None
    configure(FIGURES_INTERVAL=0)
    connection.close()
    authors()
    thread.join(30)
    assert not thread.is_alive()
    assert publisher._thread is None


def fork_and_write() -> list[str]:
    """For another process: the threads after a fork and a write on a connection that stays open."""
    authors()
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    Author.objects.create(name="new")
    return [thread.name for thread in threading.enumerate()]


def test_a_connection_that_outlives_a_fork_tells_its_figures_all_the_same(configure, other_process):
    configure(FIGURES_INTERVAL=3600)
    assert "ormcache-figures" in other_process("tests.live.test_figures.fork_and_write")


def test_what_an_invalidation_inside_a_transaction_is_told_of():
    with transaction.atomic():
        Author.objects.create(name="new")
        ormcache.invalidate("shop.Genre")
    at_once, at_commit = sorted(figures_of("default").events(), key=lambda event: len(event.relations))
    assert (at_once.relations, at_once.cause) == (("shop_genre",), "ormcache.invalidate()")
    assert at_commit.cause.startswith("INSERT")
    written = figures_of("default").written()
    assert written["shop_author"].cause("shop_author").startswith("INSERT")
    assert written["shop_genre"].cause("shop_genre") == "ormcache.invalidate()"


def test_long_writes_are_kept_short(configure):
    configure(MAX_ROWS=10)
    for number in (400, 500):
        Genre.objects.bulk_create(Genre(name=f"{number} {place}") for place in range(number))
    (event,) = figures_of("default").events()
    assert event.times == 2
    assert len(event.cause) < 200


def fork_and_go_on() -> list[Any]:
    """For another process: are there threads that tell figures before a fork, right after it, and later?"""

    def threads() -> int:
        return [thread.name for thread in threading.enumerate()].count("ormcache-figures")

    authors()
    found = [threads()]
    child = os.fork()
    if not child:
        os._exit(threads())
    found.append(threads())
    connections.close_all()
    connection.ensure_connection()
    authors()
    return [*found, threads(), os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), total().reads]


def test_a_fork_finds_no_thread(configure, other_process):
    configure(FIGURES_INTERVAL=3600)

    assert other_process("tests.live.test_figures.fork_and_go_on") == [1, 0, 1, 0, 2]
