"""A Redis Cluster as the store, through the ORM: new periods, and a node that is away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings
from django.db import connections, transaction
from django.test import override_settings

from ormcache.exceptions import StoreUnavailable, WriteRefused
from tests.clusters import Cluster, slot_of
from tests.integration.calls import is_cached
from tests.shop.models import Author, Book
from tests.waiting import eventually

pytestmark = pytest.mark.any_engine

LEASE = 1  # seconds


@pytest.fixture
def use(configure: Callable[..., None]) -> Iterator[Callable[[Cluster], None]]:
    """``use(cluster)``: have it as the store, with nothing in memory beside it."""
    overrides = []

    def use(cluster: Cluster) -> None:
        own = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": cluster.seeds}
        overrides.append(override_settings(CACHES=settings.CACHES | {"own": own}))
        overrides[-1].enable()
        configure(STORE="redis-cluster", CACHE="own", LOCAL_SIZE=0, LEASE=LEASE)

    yield use
    for override in overrides:
        override.disable()


def names(using: str = "default") -> list[str]:
    return list(Author.objects.using(using).order_by("pk").values_list("name", flat=True))


def partition_of(using: str) -> bytes:
    connections[using].ensure_connection()
    partition: bytes = connections[using].ormcache.database.stamps.partition
    return partition


def store_answers(using: str) -> bool:
    database = connections[using].ormcache.database
    try:
        database.stamps.look_up(None, (database.slots.epoch,))
    except StoreUnavailable:
        return False
    return True


def test_hits_and_writes(redis_cluster: Cluster, use: Callable[..., None], queries: Any) -> None:
    use(redis_cluster)
    author = Author.objects.create(name="A")
    assert names() == ["A"]
    eventually(lambda: is_cached(names))
    author.name = "B"
    author.save()
    assert names() == ["B"]
    with queries(0):
        assert names() == ["B"]
    with transaction.atomic():
        Author.objects.update(name="C")
        assert names() == ["C"]
        transaction.set_rollback(True)
    with queries(0):
        assert names() == ["B"]
    Book.objects.create(author=author, title="Iliad")
    with queries(0):
        assert names() == ["B"]
    assert list(Book.objects.select_related("author").filter(pk=Book.objects.get().pk)) == [Book.objects.get()]


def test_a_period_that_stores_nothing_yet_costs_no_catalog(
    redis_cluster: Cluster, use: Callable[..., None], queries: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(redis_cluster)
    Author.objects.create(name="A")
    eventually(lambda: is_cached(names))
    database = connections["default"].ormcache.database
    monkeypatch.setattr(database.stamps.store, "_lease", 3600)
    read = []
    load = database.catalog_cache.load
    monkeypatch.setattr(database.catalog_cache, "load", lambda *args, **keys: read.append(1) or load(*args, **keys))
    partition = partition_of("default")
    redis_cluster.owner(partition).client.delete(b"ormcache:{%b}:period" % partition.hex().encode())
    for _ in range(3):
        with queries(1):
            assert names() == ["A"]
    for name in ("B", "C", "D"):
        Author.objects.update(name=name)
        with queries(1):
            assert names() == [name]
    assert len(read) <= 1
    redis_cluster.owner(partition).client.delete(b"ormcache:{%b}:period" % partition.hex().encode())


@pytest.mark.parametrize("on_outage", ["refuse", "proceed"])
def test_a_node_that_is_away(
    redis_cluster: Cluster,
    use: Callable[..., None],
    configure: Callable[..., None],
    on_outage: str,
    request: pytest.FixtureRequest,
) -> None:
    """Only the databases on it are not cached, and only their writes are refused."""
    cluster = redis_cluster
    use(cluster)
    configure(ON_OUTAGE=on_outage, STORE_TIMEOUT=1)
    gone, here = (cluster.owner(partition_of(using)) for using in ("default", "second"))
    if gone is here:
        here = next(node for node in cluster.nodes if node is not gone)
        cluster.move(slot_of(partition_of("second")), gone, here)
    for using in ("default", "second"):
        Author.objects.using(using).create(name="A")
        eventually(lambda using=using: is_cached(lambda: names(using), using))
    gone.server.pause()
    request.addfinalizer(gone.server.resume)
    assert names() == ["A"]
    assert not is_cached(names)
    assert is_cached(lambda: names("second"), "second")
    Author.objects.using("second").update(name="B")
    assert names("second") == ["B"]
    assert is_cached(lambda: names("second"), "second")
    if on_outage == "refuse":
        with pytest.raises(WriteRefused):
            Author.objects.update(name="B")
        assert names() == ["A"]
    else:
        Author.objects.update(name="B")
        assert names() == ["B"]
    gone.server.resume()
    eventually(lambda: connections["default"].ormcache.database.stamps.store.retry_now() or store_answers("default"))
    eventually(lambda: is_cached(names), within=20)
    assert names() == (["A"] if on_outage == "refuse" else ["B"])
