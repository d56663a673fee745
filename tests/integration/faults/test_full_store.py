"""A site whose store has no room for new values, or takes neither values nor deletions, while it is written."""

from __future__ import annotations

import logging
import os
import subprocess
import time

import pytest
import redis
from django.conf import settings
from django.db import DatabaseError, connection, connections, transaction
from django.test import override_settings

import ormcache
from ormcache import reasons
from ormcache.contrib.prometheus.collector import OrmcacheCollector
from ormcache.exceptions import StoreFull, WriteRefused
from ormcache.models import OutboxEntry
from ormcache.outside import write_watch
from ormcache.outside.connections import own_connections
from ormcache.stores.memcached.store import MemcachedStore
from ormcache.stores.redis.connection import VERIFY_INTERVAL
from ormcache.stores.room import FULL_PAUSE
from tests import environment
from tests.integration.actors import Actor
from tests.integration.calls import add, add_atomically, genres, is_cached, kill, names, printed, session_id
from tests.metrics import scraped
from tests.process import stop
from tests.shop.models import Author
from tests.waiting import eventually

ENGINE = environment.current().engine

pytestmark = pytest.mark.usefixtures("interleaved")


class FullRedis:
    """A Redis that evicts nothing."""

    refuses = True

    def __init__(self, request, use):
        server = request.getfixturevalue("start_server")("redis")
        self._client = redis.Redis(host=server.host, port=server.port)
        self.close = self._client.close
        self._client.config_set("maxmemory-policy", "noeviction")
        use("redis", {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": server.url})

    def fill(self):
        self._client.config_set("maxmemory", 1)

    def make_room(self):
        self._client.config_set("maxmemory", 0)


class FullMemcached:
    """A memcached that evicts nothing."""

    refuses = None  # what is deleted makes room, a bit later

    def __init__(self, request, use):
        server = request.getfixturevalue("start_server")("memcached", options=["-m", "2", "-M", "-I", "512k"])
        use(
            "memcached",
            {
                "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
                "LOCATION": f"{server.host}:{server.port}",
            },
        )
        self._filler = MemcachedStore("own", 10)
        self.close = self._filler.close
        self._stored = []

    def fill(self):
        for size in (400_000, 100_000, 30_000, 10_000, 3000, 1000, 400, 300, 200, 150, 120, 100, 80, 60, 40, 17):
            with pytest.raises(StoreFull):
                while True:
                    self._stored.append(os.urandom(16))
                    self._filler.put_entry(self._stored[-1], bytes(size), None)

    def make_room(self):
        self._filler.delete_entries(self._stored)


class FullDisk:
    """A file-based cache of Django's on a disk without space."""

    size = "4m"
    refuses = True

    def __init__(self, request, use):
        self._folder = request.getfixturevalue("tmp_path") / "small"
        self._folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={self.size}", "none", self._folder]
        if os.geteuid() or subprocess.run(mount, check=False).returncode:
            pytest.skip("needs to mount a small file system")
        self._use(use, str(self._folder / "cache"))

    def _use(self, use, location):
        use("django", {"BACKEND": "django.core.cache.backends.filebased.FileBasedCache", "LOCATION": location})

    def fill(self):
        ballast = os.open(self._folder / "ballast", os.O_WRONLY | os.O_CREAT)
        with pytest.raises(OSError, match="space"):
            while True:
                os.write(ballast, bytes(4096))
        os.close(ballast)

    def make_room(self):
        (self._folder / "ballast").unlink()

    def close(self):
        subprocess.run(["umount", "--lazy", self._folder], check=True)


class FullEmbedded(FullDisk):
    """An embedded store on a disk without space: it has all the room that slots take, and uses that of old entries."""

    size = "24m"
    refuses = False

    def _use(self, use, location):
        use("embedded", {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}, LOCATION=location)


@pytest.fixture(params=[FullRedis, FullMemcached, FullDisk, FullEmbedded])
def full_store(request, configure):
    """A store that can be filled; nothing is kept in memory beside it."""
    overrides = []

    def use(kind, cache, **keys):
        overrides.append(override_settings(CACHES=settings.CACHES | {"own": cache}))
        overrides[0].enable()
        configure(STORE=kind, CACHE="own", LOCAL_SIZE=0, STORE_TIMEOUT=10, LEASE=2, **keys)

    store = request.param(request, use)
    yield store
    connections.close_all()
    if connection.ormcache.known() is not None:
        connection.ormcache.database.stamps.store.strict.close()
    store.close()
    overrides[0].disable()


@pytest.fixture(params=[add, add_atomically], ids=["autocommit", "atomic"])
def write(request):
    return request.param


def counted(kind, reason):
    return connection.ormcache.observer.counters.snapshot()[kind].get(reason, 0)


def store():
    return connection.ormcache.database.stamps.store.strict


def pending():
    return connection.ormcache.database.pending.relations


def refusals():
    """How often this process could not store something because there was no room."""
    return counted("bypassed", reasons.STORE_FULL) + counted("rejected", reasons.STORE_FULL)


def all_agree():
    expected = names("plain")
    assert names() == expected
    assert names() == expected
    assert Actor(names).finish() == expected
    return expected


def read_along(cache):
    """In another process: what it reads before the store is full, meanwhile, and when there is room again."""
    with override_settings(CACHES=settings.CACHES | {"own": cache}):
        found = {"before": is_cached(names) and names()}
        stop("warm")
        found["meanwhile"] = [names() for _ in range(5)]
        found["refusals"] = refusals()
        found["full"] = store().is_full
        stop("full")
        found["again"] = names()
        eventually(lambda: is_cached(names), within=FULL_PAUSE + 10)
        found["cached"] = names()
        return found


@pytest.mark.any_engine
@pytest.mark.slow
@pytest.mark.parametrize("on_outage", ["proceed", "refuse"])
def test_two_processes(full_store, configure, other_process, on_outage):
    """One reads, one writes, and nobody reads what is outdated or gets an error."""
    configure(ON_OUTAGE=on_outage)
    add("0")
    reader = other_process.start(f"{__name__}.read_along", settings.CACHES["own"], stops=["warm", "full"])
    reader.wait_for("warm")
    full_store.fill()
    for number in range(1, 4):
        add(str(number))
        with transaction.atomic():
            Author.objects.filter(name=str(number)).update(name=f"{number}a")
        assert all_agree() == ["0", *(f"{n}a" for n in range(1, number + 1))]
    assert not pending()
    reader.go()
    reader.wait_for("full")
    add("more")
    full_store.make_room()
    reader.go()
    expected = names("plain")
    found = reader.result()
    assert found["before"] == ["0"]
    assert found["meanwhile"] == [["0", "1a", "2a", "3a"]] * 5
    if full_store.refuses is not None:
        assert (found["refusals"] > 0) is found["full"] is full_store.refuses
    assert found["again"] == found["cached"] == expected
    eventually(lambda: is_cached(names), within=FULL_PAUSE + 10)
    assert all_agree() == expected


@pytest.mark.any_engine
@pytest.mark.parametrize("point", ["before mark", "before commit", "after commit", "before settle"])
def test_readers_beside_a_writer(full_store, point):
    """Whatever was stored before is not served after the COMMIT, and nothing is stored that is older."""
    add("A")
    assert is_cached(names)
    full_store.fill()
    writer = Actor(lambda: add_atomically("B")).to(point)
    assert all_agree() in (["A"], ["A", "B"])
    slow = None if point == "before mark" else Actor(names).to("before query")  # else it is served what is stored
    writer.finish()
    assert slow is None or slow.finish() in (["A"], ["A", "B"])
    assert all_agree() == ["A", "B"]
    full_store.make_room()
    eventually(lambda: is_cached(names), within=FULL_PAUSE + 10)
    assert all_agree() == ["A", "B"]


@pytest.mark.any_engine
def test_it_becomes_full_under_a_writer(full_store, write):
    """Between its mark and its settling."""
    assert is_cached(names)
    writer = Actor(lambda: write("A")).to("before settle")
    full_store.fill()
    assert all_agree() in ([], ["A"])
    writer.finish()
    assert not pending()
    assert all_agree() == ["A"]
    full_store.make_room()
    eventually(lambda: is_cached(names), within=FULL_PAUSE + 10)
    assert all_agree() == ["A"]


@pytest.mark.any_engine
def test_what_is_still_valid_is_served(full_store, queries):
    """On SQLite, a commit that there is no room to account for invalidates everything."""
    assert is_cached(genres)
    add("0")
    full_store.fill()
    with queries(0):
        assert genres() == []
    add("1")
    with queries(0 if connection.vendor != "sqlite" else None):
        assert genres() == []
    assert all_agree() == ["0", "1"]


#: Stores that refuse to mark a slot that was empty
without_marks = pytest.mark.parametrize("full_store", [FullMemcached, FullDisk], indirect=True)


@without_marks
def test_what_cannot_be_marked_is_left_in_the_outbox(full_store, write):
    """A reader may have filled the slot, and the writer may die before it empties it once more."""
    connection.ensure_connection()
    full_store.fill()
    writer = Actor(lambda: write("A")).to("before settle")
    assert "shop_author" in set(OutboxEntry.objects.using("plain").values_list("relation", flat=True))
    writer.finish()
    assert not OutboxEntry.objects.using("plain").exists()
    assert all_agree() == ["A"]


@without_marks
@pytest.mark.skipif(ENGINE == "sqlite", reason="SQLite always answers")
def test_a_write_without_mark_and_answer_is_marked_when_there_is_room(full_store, write):
    connection.ensure_connection()
    full_store.fill()
    sessions = []
    writer = Actor(lambda: (sessions.append(session_id()), write("A"))).to("before mark")
    writer.on(lambda point: point in ("before write", "before commit"))
    kill(*sessions)
    with pytest.raises(DatabaseError):
        writer.finish()
    assert "shop_author" in pending()
    full_store.make_room()
    eventually(lambda: not pending())
    assert names() == []
    add("A", "plain")  # now it becomes visible
    assert all_agree() == ["A"]
    eventually(lambda: is_cached(names))
    assert all_agree() == ["A"]


def write_excluded(cache):
    with override_settings(CACHES=settings.CACHES | {"own": cache}):
        Author.objects.count()
        stop("connected")
        add("1")
        stop("first")
        add("2")
        stop("second")


@pytest.mark.any_engine
@pytest.mark.slow
@without_marks
def test_a_deploy_that_excludes_the_table_does_not_rely_on_a_mark_that_it_has_not_made(
    full_store, configure, other_process
):
    configure(BLACKLIST=["shop.Author"])
    stops = ["connected", "first", "second"]
    writer = other_process.start(f"{__name__}.write_excluded", settings.CACHES["own"], stops=stops)
    configure(BLACKLIST=[])
    writer.wait_for("connected")
    full_store.fill()
    writer.go()
    writer.wait_for("first")
    full_store.make_room()
    eventually(lambda: is_cached(names))
    writer.go()
    writer.wait_for("second")
    assert all_agree() == ["1", "2"]
    writer.go()
    writer.result()


@pytest.mark.any_engine
@pytest.mark.slow
def test_what_cannot_be_deleted_either_is_an_outage(start_server, configure, other_process):
    """A Redis that denies every write: nothing that it holds is served until it takes them again."""
    server = start_server("redis")
    cache = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": server.url}
    with override_settings(CACHES=settings.CACHES | {"own": cache}), redis.Redis.from_url(server.url) as client:
        configure(STORE="redis", CACHE="own", LOCAL_SIZE=0, STORE_TIMEOUT=10, LEASE=2)
        add("0")
        reader = other_process.start(f"{__name__}.read_along", cache, stops=["warm", "full"])
        reader.wait_for("warm")
        client.config_set("min-replicas-to-write", 1)
        time.sleep(VERIFY_INTERVAL)
        configure(ON_OUTAGE="refuse")
        with pytest.raises(WriteRefused):
            add("refused")
        configure(ON_OUTAGE="proceed")
        add("1")
        assert all_agree() == ["0", "1"]
        assert "shop_author" in pending()
        reader.go()
        reader.wait_for("full")
        client.config_set("min-replicas-to-write", 0)
        eventually(lambda: not pending())
        eventually(lambda: is_cached(names))
        reader.go()
        found = reader.result()
        assert found["meanwhile"] == [["0", "1"]] * 5
        assert found["refusals"] == 0
        assert found["again"] == found["cached"] == all_agree() == ["0", "1"]
        connections.close_all()


def read_commits(cache):
    with override_settings(CACHES=settings.CACHES | {"own": cache}):
        assert is_cached(names)
        stop("warm")
        return names(), connection.ormcache.database.commits.outside, connection.ormcache.database.commits.in_doubt


@pytest.mark.skipif(ENGINE != "sqlite", reason="of SQLite's files")
@pytest.mark.parametrize("full_store", [FullRedis, FullMemcached, FullDisk], indirect=True)
def test_a_commit_without_room_to_account_for_it_is_not_taken_for_another_programs(
    full_store, configure, other_process
):
    configure(OUTSIDE_WRITES_INTERVAL=5)
    add("0")
    reader = other_process.start(f"{__name__}.read_commits", settings.CACHES["own"], stops=["warm"])
    reader.wait_for("warm")
    full_store.fill()
    add("1")
    reader.go()
    found, outside, in_doubt = reader.result()
    assert (found, outside) == (["0", "1"], 0)
    if full_store.refuses is not None:  # else deleting the mark may have made the room
        assert in_doubt == 1


@pytest.mark.skipif(ENGINE == "sqlite", reason="SQLite counts commits")
@pytest.mark.parametrize("full_store", [FullRedis], indirect=True)
def test_own_writes_without_stamps_raise_no_alarm(full_store, configure, monkeypatch):
    configure(OUTSIDE_WRITES_INTERVAL=3600)
    monkeypatch.setattr(write_watch, "LATEST", -1.0)
    watch = write_watch.WriteWatch()

    def counted_now():
        connection.ensure_connection()
        database = connection.ormcache.database
        watch.run({"default": database})
        return watch._watches.get(database.identity).values.get("shop_author")

    add("0")
    connection.close()  # PostgreSQL has counted all at the end of a session
    full_store.fill()
    for _ in range(3):
        before = counted_now()
        # Again and again: MySQL has the time of the last write, in seconds
        eventually(lambda: (add("more"), connection.close(), counted_now() != before)[2])  # noqa: B023
    own_connections.close_all()
    assert connection.ormcache.database.outside_writes.counts.times == {}


# What it says ----------------------------------------------------------------------------------


@ormcache.cached
def number_of_authors():
    return Author.objects.count()


@pytest.mark.any_engine
@pytest.mark.parametrize("full_store", [FullRedis, FullDisk], indirect=True)
def test_everybody_is_told(full_store, caplog):
    """By name, and once."""
    caplog.set_level(logging.WARNING, "ormcache")
    add("0")
    full_store.fill()
    caplog.clear()
    add("1")
    for _ in range(30):
        names()
        number_of_authors()
    assert refusals() > 0
    assert store().is_full
    stated = ormcache.stats()["default"]
    assert stated["bypassed"].get(reasons.STORE_FULL, 0) + stated["rejected"].get(reasons.STORE_FULL, 0) > 0
    assert len([message for message in caplog.messages if "takes no new values" in message]) == 1
    samples = scraped(OrmcacheCollector())
    assert samples["django_ormcache_store_full", frozenset({("alias", "default")})] == 1
    assert samples["django_ormcache_store_up", frozenset({("alias", "default")})] == 1
    checked = printed("check")
    assert "The store takes no new values" in checked
