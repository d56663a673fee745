"""What only the store on any Django cache has: its lock, and caches that lie."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured

from ormcache.exceptions import StoreBusy, StoreUnavailable
from ormcache.stores import django as module
from ormcache.stores.base import decode_marks
from ormcache.stores.django import DjangoStore, uses_pickle
from ormcache.stores.serializer import BytesSerializer
from tests.servers import free_port
from tests.stores.conftest import DJANGO_REDIS, DJANGOS_REDIS, FILE, LOCMEM, PYMEMCACHE
from tests.stores.helpers import name, names, stamp, writer

DUMMY = "django.core.cache.backends.dummy.DummyCache"
DATABASE = "django.core.cache.backends.db.DatabaseCache"


@pytest.fixture
def alias(use_cache: Callable[..., str], request: pytest.FixtureRequest) -> str:
    return use_cache(LOCMEM, request.node.nodeid, OPTIONS={"MAX_ENTRIES": 10_000})


@pytest.fixture
def store(alias: str) -> DjangoStore:
    return DjangoStore(alias)


def test_a_dummy_cache_keeps_nothing_and_refuses_nothing(use_cache: Callable[..., str]) -> None:
    store = DjangoStore(use_cache(DUMMY))
    slot, entry, who = name(), name(), writer()
    assert store.fill_slots([slot], stamp()) == [None]
    assert store.mark([slot], who, 60, slot) is None
    store.settle([slot], who, stamp())
    store.put_entry(entry, b"rows", None)
    store.delete_entries([entry])
    assert store.look_up(entry, [slot]) == (None, [None])
    assert store.is_available


def test_a_cache_in_a_database_is_refused(use_cache: Callable[..., str]) -> None:
    with pytest.raises(ImproperlyConfigured, match="database"):
        DjangoStore(use_cache(DATABASE, "cache_table"))


@pytest.mark.parametrize("foreign", ["text", 5, None, b"bytes".decode(), ["S"], object], ids=repr)
def test_values_that_are_no_bytes_are_nothing(store: DjangoStore, alias: str, foreign: Any) -> None:
    slot, entry = name(), name()
    store.fill_slots([slot], stamp())
    store.put_entry(entry, b"rows", None)
    for key in list(caches[alias]._cache):  # type: ignore[attr-defined]
        caches[alias].set(key.partition(":1:")[2], foreign, None)
    assert store.look_up(entry, [slot]) == (None, [None])
    who, new = writer(), stamp()
    store.mark([slot], who, 60, slot)
    assert [other for other, _ in decode_marks(store.look_up(None, [slot])[1][0])] == [who]
    store.settle([slot], who, new)
    assert store.look_up(None, [slot])[1] == [new]


def test_a_cache_that_swallows_its_outage_is_found_out(
    use_cache: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mark that went nowhere must not be taken for one that hides what is about to be committed."""
    monkeypatch.setattr(module, "LOCK_TIMEOUT", 0.2)
    location = f"redis://127.0.0.1:{free_port()}/0?socket_connect_timeout=0.1&socket_timeout=0.1"
    alias = use_cache(DJANGO_REDIS, location, OPTIONS={"IGNORE_EXCEPTIONS": True})
    store = DjangoStore(alias)
    assert store.look_up(name(), names(2)) == (None, [None, None])
    with pytest.raises(StoreUnavailable):
        store.mark([name()], writer(), 60)


def test_so_is_one_that_drops_what_is_stored(store: DjangoStore, alias: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(type(caches[alias]), "set", lambda *args, **kwargs: None)
    with pytest.raises(StoreUnavailable, match="did not return what"):
        store.settle([name()], writer(), stamp())


def test_writers_wait_for_each_other(store: DjangoStore, alias: str) -> None:
    """Two marks that overlap in the middle of a change are both there in the end."""
    slot, one, two = name(), writer(), writer()
    entered, go_on = threading.Event(), threading.Event()

    def slowly(value: bytes | None) -> bytes:
        entered.set()
        go_on.wait(5)
        return module.add_mark(value, one, store._now(), store._now() + 60_000_000)

    first = threading.Thread(target=store._update_slot, args=(slot, slowly))
    first.start()
    assert entered.wait(5)
    second = threading.Thread(target=store.mark, args=([slot], two, 60))
    second.start()
    second.join(0.1)
    assert second.is_alive()
    go_on.set()
    first.join()
    second.join()
    assert {who for who, _ in decode_marks(store.look_up(None, [slot])[1][0])} == {one, two}


def test_a_lock_that_is_never_released_expires(store: DjangoStore, alias: str) -> None:
    slot, who = name(), writer()
    caches[alias].add(f"{module._slot_key(slot)}.lock", "dead", timeout=1)
    began = time.monotonic()
    store.mark([slot], who, 60)
    assert 0.5 < time.monotonic() - began < module.LOCK_TIMEOUT
    assert [other for other, _ in decode_marks(store.look_up(None, [slot])[1][0])] == [who]


def test_a_lock_is_not_waited_for_for_ever(store: DjangoStore, alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOCK_TIMEOUT", 0.1)
    slot = name()
    lock = f"{module._slot_key(slot)}.lock"
    caches[alias].add(lock, "somebody", timeout=60)
    with pytest.raises(StoreBusy):
        store.mark([slot], writer(), 60)
    assert store.is_available
    assert caches[alias].get(lock) == "somebody"


def test_the_lock_of_another_is_left_alone(store: DjangoStore, alias: str) -> None:
    """A writer that was held up until its lock had run out meets somebody else's."""
    slot = name()
    lock = f"{module._slot_key(slot)}.lock"

    def held_up(value: bytes | None) -> bytes:
        caches[alias].set(lock, "somebody", timeout=60)
        return stamp()

    store._update_slot(slot, held_up)
    assert caches[alias].get(lock) == "somebody"


def test_the_lock_is_given_back_after_a_failure(store: DjangoStore) -> None:
    slot = name()

    def fail(value: bytes | None) -> bytes:
        raise LookupError(slot)

    with pytest.raises(LookupError):
        store._update_slot(slot, fail)
    began = time.monotonic()
    store.mark([slot], writer(), 60)
    assert time.monotonic() - began < 0.5


@pytest.mark.parametrize("skew", [-20, 20])
def test_hosts_whose_clocks_differ_keep_each_others_marks(alias: str, skew: float) -> None:
    here, there = DjangoStore(alias), DjangoStore(alias, wall_clock=lambda: time.time() + skew)
    slot, one, two = name(), writer(), writer()
    here.mark([slot], one, 60)
    there.mark([slot], two, 60)
    there.settle([slot], two, stamp())
    assert [who for who, _ in decode_marks(here.look_up(None, [slot])[1][0])] == [one]
    new = stamp()
    here.settle([slot], one, new)
    assert there.look_up(None, [slot])[1] == [new]


# Pickles -----------------------------------------------------------------------------------------

RAN: list[str] = []


def run(what: str) -> None:
    RAN.append(what)


class Poison:
    def __reduce__(self) -> tuple[Any, ...]:
        return run, ("ran",)


SERIALIZER = "ormcache.stores.serializer.BytesSerializer"
CACHES_THAT_TAKE_ONE = {
    "Django's Redis": (DJANGOS_REDIS, "redis_server", {"serializer": SERIALIZER}),
    "django-redis": (DJANGO_REDIS, "redis_server", {"SERIALIZER": SERIALIZER}),
    "memcached": (PYMEMCACHE, "memcached_servers", {"serde": BytesSerializer()}),
}


@pytest.fixture(params=CACHES_THAT_TAKE_ONE)
def shared(request: pytest.FixtureRequest, use_cache: Callable[..., str]) -> str:
    """A cache in a server that hands bytes through."""
    backend, server, options = CACHES_THAT_TAKE_ONE[request.param]
    found = request.getfixturevalue(server)
    if server == "redis_server":
        location = f"redis://{found.host}:{found.port}/3"
    else:
        location = f"{found[0].host}:{found[0].port}"
    return use_cache(backend, location, OPTIONS=options, KEY_PREFIX=uuid.uuid4().hex)


def test_a_pickle_in_a_cache_with_the_serializer_does_not_run(shared: str, use_cache: Callable[..., str]) -> None:
    given = settings.CACHES[shared]
    pickling = use_cache(given["BACKEND"], given["LOCATION"], KEY_PREFIX=given["KEY_PREFIX"])
    store = DjangoStore(shared, sign=True)
    slot, entry, who, new = name(), name(), writer(), stamp()
    assert store.fill_slots([slot], new) == [new]
    store.put_entry(entry, b"rows", None)
    assert store.look_up(entry, [slot]) == (b"rows", [new])
    store.mark([slot], who, 60)
    store.settle([slot], who, newer := stamp())
    assert store.look_up(None, [slot])[1] == [newer]
    assert store.claim(entry, who, 5) == who

    # As an attacker would put it there, by the same cache without the serializer.
    RAN.clear()
    for key in (module._entry_key(entry), module._slot_key(slot)):
        caches[pickling].set(key, Poison(), None)
    value, held = store.look_up(entry, [slot])
    assert RAN == []
    assert value is not None
    assert held != [newer]
    caches[pickling].get(module._entry_key(entry))
    assert RAN == ["ran"]  # the poison is one


def test_the_serializer_takes_nothing_but_bytes(shared: str) -> None:
    with pytest.raises(TypeError, match="for ormcache alone"):
        caches[shared].set("key", ["list"])


def test_signatures_are_refused_where_pickles_run_first(use_cache: Callable[..., str], tmp_path: Path) -> None:
    for backend in (FILE, DJANGOS_REDIS, PYMEMCACHE):
        alias = use_cache(backend, "redis://127.0.0.1:1" if "redis" in backend else str(tmp_path))
        assert uses_pickle(alias)
        DjangoStore(alias)
        with pytest.raises(ImproperlyConfigured, match="unpickles"):
            DjangoStore(alias, sign=True)
    assert not uses_pickle(use_cache(LOCMEM))
    DjangoStore(use_cache(LOCMEM), sign=True)
