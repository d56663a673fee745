"""Stores that have no room for a new value, and still delete."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis

from ormcache.exceptions import StoreFull, StoreUnavailable
from ormcache.stores.base import MAX_BACK_OFF_ANSWERED, Store, decode_marks, is_stamp
from ormcache.stores.django import DjangoStore
from ormcache.stores.embedded.files import MIB
from ormcache.stores.embedded.store import EmbeddedStore
from ormcache.stores.memcached.store import MemcachedStore
from ormcache.stores.redis.cluster import RedisClusterStore
from ormcache.stores.redis.store import RedisStore
from ormcache.stores.room import FULL_MEMORY, FULL_PAUSE
from tests.clusters import Cluster
from tests.servers import Server
from tests.stores.conftest import DJANGO_REDIS, DJANGOS_REDIS, FILE, PATIENT, PYMEMCACHE
from tests.stores.helpers import Clock, name, stamp, writer
from tests.waiting import eventually

#: Those that have no room for a slot then, and those that have none for an entry
SLOTS_TOO = (
    "redis",
    "redis-cluster",
    "memcached",
    "django, django-redis",
    "django, Django's redis",
    "django, memcached",
    "django, file",
)
KINDS = (*SLOTS_TOO, "embedded")


class Filling(NamedTuple):
    """A store, how to leave it no room, and how to give it room again."""

    store: Store
    fill: Callable[[], None]
    make_room: Callable[[], None]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mounted = tmp_path / "small"
    mounted.mkdir()
    if (
        os.geteuid()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", mounted], check=False).returncode
    ):
        pytest.skip("needs to mount a small file system")
    yield mounted
    subprocess.run(["umount", "--lazy", mounted], check=True)


def fill_disk(folder: Path) -> None:
    ballast = os.open(folder / "ballast", os.O_WRONLY | os.O_CREAT)
    with pytest.raises(OSError, match="space"):
        while True:
            os.write(ballast, bytes(4096))
    os.close(ballast)


def limit(client: redis.Redis, size: int) -> None:
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", size)


def fill_memcached(filler: MemcachedStore, stored: list[bytes]) -> None:
    """Take all room of a memcached that evicts nothing, in items of all sizes."""
    for size in (400_000, 100_000, 30_000, 10_000, 5000, 3000, 1000, 300, 200, 150, 120, 100, 90, 80, 70, 60, 40, 17):
        with pytest.raises(StoreFull):
            while True:
                stored.append(name())
                filler.put_entry(stored[-1], bytes(size), None)


@pytest.fixture
def make_filling(
    request: pytest.FixtureRequest,
    start_server: Callable[..., Server],
    use_cache: Callable[..., str],
    closed_at_end: Callable[[Store], Store],
    clock: Clock,
) -> Callable[[str], Filling]:
    def on_redis(kind: str) -> Filling:
        server = start_server("redis")
        client = redis.Redis(host=server.host, port=server.port)
        request.addfinalizer(client.close)
        alias = use_cache(DJANGOS_REDIS if kind == "django, Django's redis" else DJANGO_REDIS, server.url)
        store = RedisStore(alias, PATIENT, clock) if kind == "redis" else DjangoStore(alias, clock)
        return Filling(store, lambda: limit(client, 1), lambda: limit(client, 0))

    def on_cluster() -> Filling:
        cluster: Cluster = request.getfixturevalue("start_cluster")()
        store = RedisClusterStore(use_cache(DJANGO_REDIS, cluster.seeds), PATIENT, 0.0, clock)

        def limit_all(size: int) -> None:
            for node in cluster.nodes:
                limit(node.client, size)

        return Filling(store, lambda: limit_all(1), lambda: limit_all(0))

    def on_memcached(kind: str) -> Filling:
        server = start_server("memcached", options=["-m", "2", "-M", "-I", "512k"])
        alias = use_cache(PYMEMCACHE, f"{server.host}:{server.port}")
        store = MemcachedStore(alias, PATIENT, clock) if kind == "memcached" else DjangoStore(alias, clock)
        filler, stored = MemcachedStore(alias, PATIENT), list[bytes]()
        closed_at_end(filler)
        return Filling(store, lambda: fill_memcached(filler, stored), lambda: filler.delete_entries(stored))

    def on_disk(kind: str) -> Filling:
        disk: Path = request.getfixturevalue("small_disk")
        store: Store
        if kind == "embedded":
            store = EmbeddedStore(disk / "store", 64 * MIB, clock)
        else:
            store = DjangoStore(use_cache(FILE, str(disk / "cache")), clock)
        return Filling(store, lambda: fill_disk(disk), (disk / "ballast").unlink)

    def make(kind: str) -> Filling:
        if kind == "redis-cluster":
            filling = on_cluster()
        elif kind in ("memcached", "django, memcached"):
            filling = on_memcached(kind)
        elif kind in ("embedded", "django, file"):
            filling = on_disk(kind)
        else:
            filling = on_redis(kind)
        closed_at_end(filling.store)
        return filling

    return make


@pytest.mark.parametrize("kind", SLOTS_TOO)
def test_what_cannot_be_marked_is_emptied_and_what_cannot_be_filled_stays_empty(
    make_filling: Callable[[str], Filling], kind: str, clock: Clock
) -> None:
    store, fill, make_room = make_filling(kind)
    partition = os.urandom(2)
    settled, marked, empty, kept, entry = [partition + name() for _ in range(5)]
    old, who = stamp(), writer()
    store.fill_slots([settled, marked, kept], old)
    store.put_entry(entry, b"rows", None)
    assert not store.is_full
    fill()

    with contextlib.suppress(StoreFull):  # deleting the old value may make the room
        for number in range(20):
            store.mark([marked], number.to_bytes(8, "big"), 60, kept)
    held = store.look_up(None, [marked])[1][0]
    assert held is None or decode_marks(held)
    store.settle([settled], who, stamp())
    assert store.look_up(None, [settled])[1] != [old]
    clock.advance(FULL_PAUSE)
    with pytest.raises(StoreFull):
        for _ in range(1000):  # one that stores what it has been given has some room left
            store.fill_slots([partition + name()], stamp())
    with pytest.raises(StoreFull):
        store.fill_slots([empty], stamp())
    assert store.look_up(None, [empty])[1] == [None]
    assert store.is_full
    assert store.room.full_count
    # What it holds is still served.
    assert store.look_up(entry, [kept]) == (b"rows", [old])
    assert store.is_available
    assert store.is_answering
    assert not store.outages

    make_room()
    clock.advance(FULL_PAUSE)
    new = stamp()
    assert store.fill_slots([empty], new) == [new]
    assert not store.is_full
    store.mark([marked], who, 60)
    assert who in [other for other, _ in decode_marks(store.look_up(None, [marked])[1][0])]


@pytest.mark.parametrize("kind", ["redis", "redis-cluster"])
def test_a_full_redis_takes_marks_and_empties_what_is_settled(
    make_filling: Callable[[str], Filling], kind: str
) -> None:
    """A script that has deleted something may write: marks, which are gone before long, and no stamps."""
    store, fill, make_room = make_filling(kind)
    partition = os.urandom(2)
    slots, watched, old = [partition + name(), partition + name()], partition + name(), stamp()
    one, other = writer(), writer()
    store.fill_slots([slots[0], watched], old)
    fill()
    assert store.mark(slots, one, 60, watched) == old
    store.mark(slots[1:], other, 60)
    assert [[who for who, _ in decode_marks(held)] for held in store.look_up(None, slots)[1]] == [[one], [one, other]]
    assert store.settle([*slots, partition + name()], one, stamp(), watched) == old
    assert store.is_full
    first, second = store.look_up(None, slots)[1]
    assert first is None
    assert [who for who, _ in decode_marks(second)] == [other]
    store.settle(slots, other, stamp())
    assert store.look_up(None, slots)[1] == [None, None]
    make_room()
    store.settle(slots, other, old)
    assert store.look_up(None, slots)[1] == [old, old]


@pytest.mark.parametrize("kind", ["memcached", "django, memcached", "django, file"])
def test_a_mark_that_was_not_made_is_no_mark(make_filling: Callable[[str], Filling], kind: str) -> None:
    """A slot that was empty leaves no room for the mark."""
    store, fill, _ = make_filling(kind)
    slot, watched, old = name(), name(), stamp()
    store.fill_slots([watched], old)
    fill()
    with pytest.raises(StoreFull) as caught:
        for _ in range(1000):
            slot = name()
            store.mark([slot], writer(), 60, watched)
    assert caught.value.names == [slot]
    assert caught.value.watched == old
    assert store.is_full
    assert store.settle([slot], writer(), stamp(), watched) == old  # to stay empty is as good as a new stamp
    assert store.look_up(None, [slot])[1] == [None]


def test_a_slot_that_is_emptied_has_room_for_the_mark(make_filling: Callable[[str], Filling]) -> None:
    """Or a reader could fill it, and store what it has read before the COMMIT.

    memcached frees the room of an item a bit after it has deleted it.
    """
    store, fill, _ = make_filling("django, file")
    slot, old, who = name(), stamp(), writer()
    store.fill_slots([slot], old)
    fill()
    store.mark([slot], who, 60)
    assert [other for other, _ in decode_marks(store.look_up(None, [slot])[1][0])] == [who]


@pytest.mark.parametrize("kind", KINDS)
def test_an_entry_without_room_is_not_stored_and_claims_hold_nobody_up(
    make_filling: Callable[[str], Filling], kind: str, clock: Clock
) -> None:
    store, fill, make_room = make_filling(kind)
    entry = name()
    store.put_entry(name(), bytes(9000), None)
    fill()
    with pytest.raises(StoreFull):
        store.put_entry(entry, os.urandom(9000), None)
    claimed, owner = name(), b"owner"
    assert store.claim(claimed, owner, 60) == owner
    store.release(claimed, b"word", 60)
    with contextlib.suppress(StoreFull):
        store.delete_entries([entry])
    assert store.look_up(entry, [])[0] is None
    assert store.is_available
    assert not store.outages
    make_room()
    clock.advance(FULL_PAUSE)
    assert store.put_entry(entry, b"rows", None)
    assert store.look_up(entry, [])[0] == b"rows"
    assert not store.is_full


def test_after_a_refusal_nothing_is_tried_for_a_while(
    make_filling: Callable[[str], Filling], clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    assert 0 < FULL_PAUSE <= 2
    assert MAX_BACK_OFF_ANSWERED <= 2
    caplog.set_level(logging.INFO, "ormcache")
    store, fill, make_room = make_filling("redis")
    fill()
    with pytest.raises(StoreFull):
        store.fill_slots([name()], stamp())
    make_room()
    clock.advance(FULL_PAUSE - 0.1)
    for refused in (lambda: store.fill_slots([name()], stamp()), lambda: store.put_entry(name(), b"rows", None)):
        with pytest.raises(StoreFull, match="tried again"):
            refused()
    clock.advance(0.1)
    assert store.put_entry(name(), b"rows", None)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "the redis store takes no new values" in caplog.messages[0]
    assert "takes new values again" in caplog.messages[1]


def test_one_full_server_of_several_holds_up_its_own_slots_alone(
    make_filling: Callable[[str], Filling],
    start_server: Callable[..., Server],
    use_cache: Callable[..., str],
    closed_at_end: Callable[[Store], Store],
    clock: Clock,
) -> None:
    full = start_server("memcached", options=["-m", "2", "-M", "-I", "512k"])
    other = start_server("memcached")
    fill_memcached(
        closed_at_end(MemcachedStore(use_cache(PYMEMCACHE, f"{full.host}:{full.port}"), PATIENT)),  # type: ignore[arg-type]
        [],
    )
    locations = [f"{server.host}:{server.port}" for server in (full, other)]
    store = closed_at_end(MemcachedStore(use_cache(PYMEMCACHE, locations), PATIENT, clock))
    filled: list[bytes] = []
    filled_before = None  # the first refusal
    for slot in (name() for _ in range(50)):
        try:
            assert is_stamp(store.fill_slots([slot], stamp())[0])
            filled.append(slot)
        except StoreFull:
            filled_before = len(filled) if filled_before is None else filled_before
    assert filled_before is not None
    assert len(filled) > filled_before
    assert store.is_full
    assert all(map(is_stamp, store.look_up(None, filled)[1]))


def test_a_store_that_nobody_tries_again_does_not_count_as_full_for_ever(
    make_filling: Callable[[str], Filling], clock: Clock
) -> None:
    store, fill, _ = make_filling("redis")
    fill()
    with pytest.raises(StoreFull):
        store.put_entry(name(), b"rows", None)
    clock.advance(FULL_MEMORY - 1)
    assert store.is_full
    clock.advance(1)
    assert not store.is_full
    with pytest.raises(StoreFull):
        store.put_entry(name(), b"rows", None)
    assert store.room.full_count == 2


# Read-only --------------------------------------------------------------------------------


@pytest.fixture(params=["a replica", "a disk error", "too few replicas"])
def read_only(request: pytest.FixtureRequest, start_server: Callable[..., Server]) -> Iterator[Any]:
    """A Redis, how it comes to take neither values nor deletions, and how that ends."""
    server = start_server("redis")
    client = redis.Redis(host=server.host, port=server.port)

    def deny() -> None:
        if request.param == "a replica":
            client.replicaof("127.0.0.1", "1")
        elif request.param == "too few replicas":
            client.config_set("min-replicas-to-write", 1)
        else:
            (server.folder / "dump.rdb").mkdir()  # which no file can replace
            client.config_set("save", "3600 1")
            client.bgsave()
            eventually(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")

    def allow() -> None:
        if request.param == "a replica":
            client.replicaof("NO", "ONE")
        client.config_set("min-replicas-to-write", 0)
        client.config_set("save", "")

    yield server, deny, allow
    client.close()


def test_one_that_denies_deletions_is_away_and_asked_again_every_two_seconds(
    read_only: Any, use_cache: Callable[..., str], closed_at_end: Callable[[Store], Store], clock: Clock
) -> None:
    server, deny, allow = read_only
    store = closed_at_end(RedisStore(use_cache(DJANGO_REDIS, server.url), PATIENT, clock))
    slot = name()
    store.fill_slots([slot], stamp())
    deny()

    def is_denied() -> bool:
        try:
            store.look_up(None, [slot])
        except StoreUnavailable:
            return True
        return False

    eventually(is_denied)  # within VERIFY_INTERVAL
    for call in (lambda: store.mark([slot], writer(), 60), lambda: store.settle([slot], writer(), stamp())):
        for _ in range(10):
            clock.advance(60)
            with pytest.raises(StoreUnavailable) as caught:
                call()
            assert not isinstance(caught.value, StoreFull)
    assert not store.is_full
    allow()
    assert not store.is_available
    clock.advance(MAX_BACK_OFF_ANSWERED)
    store.settle([slot], writer(), stamp())
    assert is_stamp(store.look_up(None, [slot])[1][0])
