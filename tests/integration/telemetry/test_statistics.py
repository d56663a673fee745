"""What is counted of real reads and writes, and gathered from several processes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from django.conf import settings
from django.db import connection, connections, transaction
from django.test import override_settings

import ormcache
from ormcache import reasons
from ormcache.background.worker import BackgroundWorker, worker
from ormcache.cache.tracking import Rejection
from ormcache.diagnostics.metrics.readings import deployment_readings
from ormcache.exceptions import StoreUnavailable
from ormcache.stores.base import StoreOutage
from ormcache.telemetry import Miss, QueryCounters, Tally, counters_of
from ormcache.telemetry import exchange as exchanging
from ormcache.telemetry import payload as payloads
from ormcache.telemetry import publisher as publishing
from ormcache.telemetry.counters import Event
from ormcache.telemetry.exchange import Exchange
from ormcache.telemetry.payload import params_of
from ormcache.telemetry.publisher import publisher
from ormcache.telemetry.report import Report
from ormcache.telemetry.tally import MAPPINGS, NUMBERS
from tests.integration.actors import Actor, points
from tests.integration.calls import count_anew
from tests.integration.reading import execute, not_on_sqlite
from tests.integration.stores.test_end_to_end import SHARED, STORES
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
    return counters_of("default").total()


def text(read: Any) -> QueryCounters:
    """The counters of the one query that a read runs."""
    before = {id(one) for one in counters_of("default")._queries.values()}
    read()
    (new,) = (one for one in counters_of("default")._queries.values() if id(one) not in before)
    return new


# What happens -------------------------------------------------------------------------


@pytest.mark.usefixtures("_local")
def test_a_hit_and_a_miss():
    one = text(authors)
    authors()
    tally = one.tally

    assert (tally.hits, tally.misses, tally.missed, tally.stored) == (1, 1, {Miss.COLD: 1}, 1)
    assert tally.query_seconds > 0
    assert tally.hit_seconds > 0
    assert tally.miss_seconds > 0
    assert (one.relations, one.sql.startswith("SELECT")) == ({"shop_author"}, True)
    assert one.caller is not None
    assert one.caller.startswith("tests/integration/telemetry/test_statistics.py:")


@pytest.mark.parametrize("kind", ["embedded", "redis by django-redis"])
def test_bytes_of_the_store(kind, configure):
    configure(**STORES[kind], LOCAL_SIZE=0)
    authors()
    authors()

    assert total().bytes_written > 0
    assert total().bytes_read == total().bytes_written


@pytest.mark.usefixtures("_local")
def test_the_relation_that_invalidated_it():
    books_of_ann()
    Author.objects.create(name="Bob")
    books_of_ann()
    Book.objects.update(title="x")
    books_of_ann()
    ormcache.invalidate()
    books_of_ann()

    assert total().missed == {Miss.COLD: 1, Miss.INVALIDATED: 3}
    assert total().invalidated_by == {"shop_author": 1, "shop_book": 1, "*": 1}


def test_writes_to_a_blacklisted_table_are_counted_and_retire_nothing(configure):
    configure(BLACKLIST=["shop.Author"])
    Author.objects.create(name="Bob")
    with transaction.atomic():
        Author.objects.update(name="x")
        Author.objects.filter(name="x").delete()
        Book.objects.update(title="x")
    counters = counters_of("default")
    written = counters.relation_writes()["shop_author"]

    assert written.writes == 3
    assert written.cause("shop_author").startswith("DELETE FROM")
    assert counters.write_totals.writes == 1
    assert ["shop_author" in event.relations for event in counters.events()] == [False]
    assert counters.relation_writes()["shop_book"].writes == 1


@pytest.mark.usefixtures("_local")
def test_the_first_of_several_has_invalidated_it():
    books_of_ann()
    Book.objects.update(title="x")
    Author.objects.create(name="Bob")
    books_of_ann()

    assert total().invalidated_by == {"shop_book": 1}


@not_on_sqlite
def test_a_marked_relation(monkeypatch):
    with points(monkeypatch):
        writer = Actor(lambda: Author.objects.create(name="Bob")).to("after mark")
        authors()
        writer.finish()

    assert total().missed == {Miss.MARKED: 1}
    assert total().rejected == {reasons.MARKED: 1}


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


def test_bypasses_are_counted_and_timed(configure):
    configure(BLACKLIST=["shop.Author"])
    one = text(authors)
    with ormcache.disabled():
        authors()
    list(Author.objects.order_by("?"))

    assert total().bypassed == {reasons.BLACKLISTED: 1, reasons.DISABLED: 1, reasons.RANDOM: 1}
    assert (one.tally.bypassed, one.tally.uncached) == ({reasons.BLACKLISTED: 1, reasons.DISABLED: 1}, 2)
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
    counters = counters_of("default")
    written = counters.relation_writes()

    assert (written["shop_author"].writes, written["shop_book"].writes, counters.write_totals.writes) == (2, 1, 2)
    assert written["shop_author"].cause("shop_author").startswith("UPDATE")
    assert "shop_author" in written["shop_author"].cause("shop_author")
    assert "shop_book" in written["shop_book"].cause("shop_book")
    assert counters.write_totals.seconds > 0
    first, second = counters.events()
    assert first.relations == ("shop_author",)
    assert {"shop_author", "shop_book"} <= set(second.relations)


def test_other_causes(ddl):
    ormcache.invalidate("shop.Author")
    ddl("CREATE TABLE shop_new (id int)", "DROP TABLE shop_new")
    kinds = [(event.kind, event.cause.split(" (")[0]) for event in counters_of("default").events()]

    assert ("invalidation", "ormcache.invalidate()") in kinds
    count_anew()
    execute("CREATE TABLE shop_newer (id int)")
    execute("DROP TABLE shop_newer")
    events = counters_of("default").events()
    assert [(event.kind, event.relations) for event in events] == [("schema change", ("*",))] * 2
    assert "shop_newer" in events[0].cause


def test_a_read_that_hits_often_is_remembered():
    for _ in range(40):
        list(Author.objects.filter(name="Ann")[:5])
    (one,) = counters_of("default").queries()
    (sample,) = one.samples.values()

    assert tuple(sample.params) == ("Ann",)
    assert sample.seen == 3


# Several processes --------------------------------------------------------------------


def report() -> Report:
    found = ormcache.report("default")
    assert found is not None
    return found


def read_and_publish(hits: int) -> int:
    """For another process: so many hits, published."""
    for _ in range(hits + 1):
        list(Author.objects.filter(pk=1))
    publisher.publish()
    return os.getpid()


def read_only() -> None:
    list(Author.objects.all())


@pytest.mark.parametrize("kind", SHARED)
def test_processes_publish_their_statistics(kind, configure, other_process):
    configure(**STORES[kind], STATISTICS_INTERVAL=3600)
    pids = {other_process("tests.integration.telemetry.test_statistics.read_and_publish", hits) for hits in (3, 4)}
    authors()
    found = report()

    assert {process.pid for process in found.processes} == pids | {os.getpid()}
    assert found.total.reads == 3 + 1 + 4 + 1 + 1
    assert found.total.hits >= 7
    assert found.unreadable == 0
    assert {sample.sql for sample in found.queries} == {one.sql for one in found.queries if "shop_author" in one.sql}
    assert sum(point.hits for point in found.history) == found.total.hits


def publish_as_another_version() -> None:
    authors()
    with pytest.MonkeyPatch.context() as patching:
        patching.setattr(payloads, "VERSION", payloads.VERSION + 1)
        publisher.publish()


def test_statistics_of_another_version_are_left_out(configure, other_process):
    """While a release is deployed, processes of two of them run at once."""
    configure(STATISTICS_INTERVAL=3600)
    other_process("tests.integration.telemetry.test_statistics.publish_as_another_version")
    authors()

    assert report().total.reads == 1
    assert report().unreadable == 1
    publisher.publish()
    assert [one["process"]["pid"] for one in Exchange(connection.ormcache.database).payloads()] == [os.getpid()]


def test_who_has_only_noticed_writes_of_others_publishes_that(configure):
    """Such as the one process that looks for them, if no request comes to it."""
    configure(STATISTICS_INTERVAL=3600)
    connection.ensure_connection()
    database = connection.ormcache.known()
    for times in (1, 2):
        database.outside_writes.record("shop_author")
        publisher.publish()
        (payload,) = Exchange(database).payloads()
        assert payload["outside"]["noticed"]["shop_author"][0] == times
        assert report().outside_writes == times
        (reading,) = deployment_readings()
        assert reading.outside == {"shop_author": times}
    database.outside_writes.record_lags([0.5])
    (reading,) = deployment_readings()
    assert (reading.recorded, reading.recorded_lag_seconds) == (1, 0.5)


#: What payloads consist of, by their version
NAMES_IN_PAYLOADS = {
    2: """
        adaptive_bypass alias at began bypassed bytes_read bytes_written caller cause command damaged derived
        digest ended error events failures history hit_seconds hits host id invalidated_by invalidated_counts
        key kind label last_rejection marks miss_seconds missed misses numbers outage_count outages
        outdated_hits params pending pid process purges queries query_seconds reason rejected relations
        row_hits row_invalidated samples saved_seconds seconds seen shape sql stored subject tally times total
        uncached uncached_seconds unpublished uses_current_time version waited waited_seconds waiting
        write_counts writes
    """,
    3: """
        adaptive_bypass alias at began bypassed bytes_read bytes_written caller cause command compared
        compared_seconds damaged derived digest ended error events failures history hit_seconds hits host id
        invalidated_by invalidated_counts key kind label last_rejection marks miss_seconds missed misses numbers
        observed outage_count outages outdated_hits params pending pid process purges queries query_seconds
        reason rejected relations row_hits row_invalidated samples saved_seconds seconds seen shape sql stored
        subject tally times total uncached uncached_seconds unpublished uses_current_time verified version
        violations waited waited_seconds waiting write_counts writes
    """,
    4: """
        adaptive_bypass alias at began bypassed bytes_read bytes_written caller cause command compared
        compared_seconds damaged derived digest ended error events failures history hit_seconds hits host id
        invalidated_by invalidated_counts key kind label lag_seconds last_rejection longest_lag marks miss_seconds
        missed misses noticed numbers observed outage_count outages outdated_hits outside params pending pid process
        purges queries query_seconds reason recorded rejected relations row_hits row_invalidated samples
        saved_seconds seconds seen shape sql stored subject tally times total uncached uncached_seconds unpublished
        uses_current_time verified version violations waited waited_seconds waiting write_counts writes
    """,
    5: """
        adaptive_bypass alias at began bypassed bytes_read bytes_written caller cause command compared compared_seconds
        damaged derived digest doubts ended error events failures history hit_seconds hits host id invalidated_by
        invalidated_counts key kind label lag_seconds lags last_rejection longest_lag marks miss_seconds missed misses
        noticed numbers observed outage_count outages outdated_hits outside params pending pid process purges queries
        query_seconds reason recorded rejected relations row_hits row_invalidated samples saved_seconds seconds seen
        shape sql stored subject tally times total uncached uncached_seconds unpublished uses_current_time verified
        version violations waited waited_seconds waiting write_counts writes
    """,
}

#: What is named for that which was counted
COUNTED = {
    "noticed",
    "relations",
    "write_counts",
    "invalidated_counts",
    "missed",
    "bypassed",
    "rejected",
    "invalidated_by",
}


def names_in(value: Any, *, are_counted: bool = False) -> Iterator[str]:
    if isinstance(value, dict):
        if not are_counted:
            yield from value
        for name, one in value.items():
            yield from names_in(one, are_counted=not are_counted and name in COUNTED)
    elif isinstance(value, list):
        for one in value:
            yield from names_in(one)


def test_other_names_in_payloads_are_another_version():
    Author.objects.create(name="Bea")
    for _ in range(40):
        list(Author.objects.filter(name="Ann")[:5])
    counters_of("default").record_derived_miss(
        "page", "/", 1.0, cause=None, invalidated_by=None, rejection=Rejection(reasons.CLOCK, "SELECT now()")
    )
    (payload,) = publisher.payloads(connection.ormcache.database.identity)
    (sample,) = payload["queries"][0]["samples"]
    assert sample["params"]

    others = {*Event._fields, *StoreOutage._fields, *NUMBERS, *MAPPINGS, "outdated_hits"}
    assert sorted({*names_in(payload), *others}) == NAMES_IN_PAYLOADS[payloads.VERSION].split()


def test_a_process_counts_once(configure):
    configure(STATISTICS_INTERVAL=3600)
    authors()
    publisher.publish()
    authors()

    assert report().total.reads == 2
    assert len(report().processes) == 1


def test_idle_processes_publish_again_what_the_store_has_lost(configure, redis_server, monkeypatch):
    configure(STORE="redis", CACHE="redis", STATISTICS_INTERVAL=3600)
    authors()
    publisher.publish()
    client = redis.Redis.from_url(settings.CACHES["redis"]["LOCATION"])
    client.flushdb()
    client.close()
    database = connection.ormcache.database

    def listed() -> list[str]:
        publisher.publish()
        return list(Exchange(database).processes())

    assert listed() == []
    monkeypatch.setattr(publishing, "REPUBLISH_AFTER", 0)
    assert listed() == [counters_of("default").process]


def test_a_process_publishes_by_itself(configure):
    configure(STATISTICS_INTERVAL=0.02)
    began = time.monotonic()
    authors()
    counters = counters_of("default")
    counters.process, own = "another's", counters.process
    while own not in {process.id for process in report().processes}:
        counters.process = own
        assert time.monotonic() < began + 30
        authors()
        time.sleep(0.02)
        counters.process = "another's"


def test_a_process_publishes_at_its_end(configure, other_process):
    configure(STATISTICS_INTERVAL=3600)
    other_process("tests.integration.telemetry.test_statistics.read_only")

    assert report().total.reads == 1


def test_nothing_is_published_without_an_interval(configure, other_process):
    configure(STATISTICS_INTERVAL=0)
    other_process("tests.integration.telemetry.test_statistics.read_and_publish", 2)
    authors()

    assert report().total.reads == 1


def test_what_another_project_has_written_is_not_read(configure, other_process):
    configure(STATISTICS_INTERVAL=3600)
    other_process("tests.integration.telemetry.test_statistics.read_and_publish", 2)
    authors()
    assert report().total.reads == 4
    with override_settings(SECRET_KEY="another"):
        connection.close()
        found = report()
        assert found.total.reads == 1
        assert found.queries[0].tally.reads == 1
        publisher.publish()  # which must not write over what the first one has listed
    connection.close()
    assert report().total.reads == 4


def test_fewer_queries_where_there_is_little_room(configure, monkeypatch, other_process):
    configure(STATISTICS_INTERVAL=3600)
    monkeypatch.setattr(exchanging, "MOST_BYTES", 4000)
    for number in range(60):
        list(Author.objects.extra(select={f"column_{number:x}{os.urandom(8).hex()}": "1"}))
    publisher.publish()
    before = counters_of("default").total()
    count_anew()
    authors()
    found = report()

    assert found.total.reads == before.reads + 1 == 61
    assert 1 < len(found.queries) < 60


def test_the_store_is_away(start_server, configure):
    server = start_server("redis")
    own = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": server.url}
    with override_settings(CACHES=settings.CACHES | {"own": own}):
        configure(STORE="redis", CACHE="own", STATISTICS_INTERVAL=3600)
        authors()
        server.stop()
        authors()
        publisher.publish()
        with pytest.raises(StoreUnavailable):
            report()
        (payload,) = publisher.payloads(connection.ormcache.database.identity)
        (outage,) = payload["outages"]

        assert outage["ended"] is None
        assert total().bypassed == {reasons.STORE_UNAVAILABLE: 1}
        server.restart()
        while ormcache.stats("default")["hits"] == 0:
            authors()
        (over,) = report().outages
        assert over.ended is not None
        assert over.ended > over.began


def test_a_sample_can_be_read_again(configure, other_process):
    configure(STATISTICS_INTERVAL=3600)
    other_process("tests.integration.telemetry.test_statistics.read_and_publish", 5)
    (sample,) = report().queries[0].samples

    assert params_of(sample) == (1,)
    assert sample["shape"][0] == "multi"


def test_workers_of_one_process_do_not_share():
    assert BackgroundWorker()._databases == {}


def test_no_report_where_nothing_is_cached(configure):
    assert ormcache.report("plain") is None
    assert ormcache.report("default") is None  # nothing was counted
    configure(ENABLED=False)
    connection.close()
    authors()
    assert ormcache.report("default") is None


def test_a_cause_is_not_of_an_earlier_write():
    def last() -> str:
        return counters_of("default").events()[-1].cause

    Author.objects.update(name="x")
    assert last().startswith("UPDATE")
    Author.objects.create(name="y")
    assert last().startswith("INSERT")
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        Author.objects.create(name="z")
        raise ZeroDivisionError
    Author.objects.update(name="z")
    assert last().startswith("UPDATE")


def test_the_thread_ends_where_nothing_is_to_be_published(configure):
    configure(STATISTICS_INTERVAL=0.005)
    authors()
    thread = worker._thread
    assert thread is not None
    configure(STATISTICS_INTERVAL=0)
    connection.close()
    authors()
    thread.join(30)
    assert not thread.is_alive()
    assert worker._thread is None


def fork_and_write() -> list[str]:
    """For another process: the threads after a fork and a write on a connection that stays open."""
    authors()
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    Author.objects.create(name="new")
    return [thread.name for thread in threading.enumerate()]


def test_a_connection_that_outlives_a_fork_publishes_its_statistics(configure, other_process):
    configure(STATISTICS_INTERVAL=3600)
    assert "ormcache-background" in other_process("tests.integration.telemetry.test_statistics.fork_and_write")


def test_the_events_of_an_invalidation_inside_a_transaction():
    with transaction.atomic():
        Author.objects.create(name="new")
        ormcache.invalidate("shop.Genre")
    at_once, at_commit = sorted(counters_of("default").events(), key=lambda event: len(event.relations))
    assert (at_once.relations, at_once.cause) == (("shop_genre",), "ormcache.invalidate()")
    assert at_commit.cause.startswith("INSERT")
    written = counters_of("default").relation_writes()
    assert written["shop_author"].cause("shop_author").startswith("INSERT")
    assert written["shop_genre"].cause("shop_genre") == "ormcache.invalidate()"


def test_long_writes_are_kept_short(configure):
    configure(MAX_ROWS=10)
    for number in (400, 500):
        Genre.objects.bulk_create(Genre(name=f"{number} {place}") for place in range(number))
    (event,) = counters_of("default").events()
    assert event.times == 2
    assert len(event.cause) < 200


def fork_and_go_on() -> list[Any]:
    """For another process: are there threads that publish before a fork, right after it, and later?"""

    def threads() -> int:
        return [thread.name for thread in threading.enumerate()].count("ormcache-background")

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
    configure(STATISTICS_INTERVAL=3600)

    assert other_process("tests.integration.telemetry.test_statistics.fork_and_go_on") == [1, 0, 1, 0, 2]
