"""One fixture for all stores: the contract suite runs on each of them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import pytest
from django.test import override_settings

from ormcache.context.request_scope import as_request
from ormcache.stores.base import Store
from tests.stores.helpers import Clock

S = TypeVar("S", bound=Store)

TIMEOUT = 0.25  # seconds, the default: for tests of outages
PATIENT = 10.0  # for all others: a busy machine may stop a process for longer than a quarter of a second

DJANGO_REDIS = "django_redis.cache.RedisCache"
DJANGOS_REDIS = "django.core.cache.backends.redis.RedisCache"
PYMEMCACHE = "django.core.cache.backends.memcached.PyMemcacheCache"
LOCMEM = "django.core.cache.backends.locmem.LocMemCache"
FILE = "django.core.cache.backends.filebased.FileBasedCache"

KINDS = (
    "embedded",
    "redis, django-redis",
    "redis, django-redis, socket",
    "redis, Django",
    "redis, Django, socket",
    "redis, valkey",
    "redis-cluster, django-redis",
    "memcached",
    "memcached, three servers",
    "django, locmem",
    "django, file",
    "django, redis",
    "near, redis",
    "near, redis, valkey",
    "request, redis",
    "request, embedded",
)

#: Those whose clocks and expiries differ: for tests that wait until something has run out
TIMED_KINDS = (
    "embedded",
    "redis, django-redis",
    "redis-cluster, django-redis",
    "memcached",
    "django, locmem",
    "django, redis",
    "near, redis",
)

#: Those that forget the stamp of a row after a while, each by a clock of its own
FORGETFUL_KINDS = tuple(kind for kind in TIMED_KINDS if kind != "embedded")

#: Those that processes share by code of their own. How Redis is connected to makes no difference there, and the level
#: "request" is "strict" outside of requests: tests of several processes take seconds for each
SHARED_KINDS = (
    "embedded",
    "redis, django-redis",
    "redis-cluster, django-redis",
    "memcached",
    "memcached, three servers",
    "django, redis",
    "near, redis",
)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def closed_at_end() -> Iterator[Callable[[S], S]]:
    """``closed_at_end(store)``: the store, which is closed when the test is over."""
    with ExitStack() as stack:

        def closed(store: S) -> S:
            stack.callback(store.close)
            return store

        yield closed


@pytest.fixture
def use_cache() -> Iterator[Callable[..., str]]:
    """``use_cache(backend, location, **keys)``: the name of an alias in CACHES that leads there, for this test."""
    overrides = []

    def use(backend: str, location: Any = "", **keys: Any) -> str:
        from django.conf import settings

        alias = f"tested{len(overrides)}"
        caches = settings.CACHES | {alias: {"BACKEND": backend, "LOCATION": location, **keys}}
        override = override_settings(CACHES=caches)
        override.enable()
        overrides.append(override)
        return alias

    yield use
    while overrides:
        overrides.pop().disable()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for an embedded store that does not exist yet, in memory where that is possible."""
    base = Path(tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
    yield base / "store"
    shutil.rmtree(base)


@pytest.fixture
def make_store(
    request: pytest.FixtureRequest, use_cache: Callable[..., str], closed_at_end: Callable[[Store], Store]
) -> Callable[..., Store]:
    """``make_store("redis, Django", **arguments)``: a new store of this kind, on the servers of the run.

    "near, …" and "request, …" are what stands in front of a store on these levels.
    """
    aliases: dict[str, str] = {}

    def alias_of(kind: str) -> str:
        if kind not in aliases:
            aliases[kind] = _alias(kind, request, use_cache)
        return aliases[kind]

    def make(kind: str, **arguments: Any) -> Store:
        from ormcache.stores.django import DjangoStore
        from ormcache.stores.embedded.store import EmbeddedStore
        from ormcache.stores.memcached.store import MemcachedStore
        from ormcache.stores.redis.cluster import RedisClusterStore
        from ormcache.stores.redis.near import NearStore
        from ormcache.stores.redis.store import RedisStore
        from ormcache.stores.request import RequestStore

        store: Store
        level, _, behind = kind.partition(", ")
        if level == "near":
            store = NearStore(RedisStore(alias_of(behind), PATIENT, **arguments), alias_of(behind), PATIENT, PATIENT)
        elif level == "request":
            store = RequestStore(make(behind, **arguments))
        elif kind == "embedded":
            store = EmbeddedStore(request.getfixturevalue("folder"), 64 * 2**20, **arguments)
        elif kind.startswith("redis-cluster"):
            # Without the time in which a new period stores nothing, which has tests of its own.
            store = RedisClusterStore(alias_of(kind), PATIENT, 0, **arguments)
        elif kind.startswith("redis"):
            store = RedisStore(alias_of(kind), PATIENT, **arguments)
        elif kind.startswith("memcached"):
            store = MemcachedStore(alias_of(kind), PATIENT, **arguments)
        else:
            store = DjangoStore(alias_of(kind), **arguments)
        return closed_at_end(store)

    return make


def _alias(kind: str, request: pytest.FixtureRequest, use_cache: Callable[..., str]) -> str:
    if "redis-cluster" in kind:
        return use_cache(DJANGO_REDIS, request.getfixturevalue("redis_cluster").seeds)
    if "redis" in kind:
        server = request.getfixturevalue("valkey_server" if "valkey" in kind else "redis_server")
        location = f"redis://{server.host}:{server.port}/3"
        if "socket" in kind:
            if server.unix_socket is None:
                pytest.skip("the Redis of this run has no socket here")
            location = f"unix://{server.unix_socket}?db=3"
        return use_cache(DJANGOS_REDIS if "Django" in kind else DJANGO_REDIS, location)
    if "memcached" in kind:
        servers = request.getfixturevalue("memcached_servers")
        count = 3 if "three" in kind else 1
        if len(servers) < count:
            pytest.skip(f"this run has fewer than {count} memcached servers")
        return use_cache(PYMEMCACHE, [f"{server.host}:{server.port}" for server in servers[:count]])
    options = {"MAX_ENTRIES": 100_000}
    if "file" in kind:
        return use_cache(FILE, str(request.getfixturevalue("tmp_path")), OPTIONS=options)
    return use_cache(LOCMEM, request.node.nodeid, OPTIONS=options)


@pytest.fixture
def brief_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let stores forget the stamps of rows after two seconds."""
    from ormcache.stores import django
    from ormcache.stores.memcached import store as memcached
    from ormcache.stores.redis import cluster_operations, operations

    for module in (django, memcached, operations, cluster_operations):
        monkeypatch.setattr(module, "ROW_SLOT_LIFETIME", 2)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def store(make_store: Callable[..., Store], kind: str) -> Iterator[Store]:
    with as_request():  # the level "request" remembers nothing elsewhere
        yield make_store(kind)
