"""One store for each place, and no client library before it is needed."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import override_settings

from ormcache import stores
from ormcache.conf import Config, config_for
from ormcache.exceptions import StoreUnavailable
from ormcache.stores import close_all, open_store
from ormcache.stores.base import Store
from tests.stores.helpers import Child, name, stamp, writer


@pytest.fixture
def config(folder: Path) -> Iterator[Config]:
    yield replace(config_for("tested", {"ENGINE": "django.db.backends.sqlite3"}), location=str(folder))
    close_all()


def test_a_place_has_one_store(config: Config, folder: Path) -> None:
    store = open_store(config, "embedded")
    assert open_store(config, "embedded") is store
    assert open_store(replace(config, max_rows=5), "embedded") is store
    assert open_store(replace(config, location=str(folder / ".." / folder.name)), "embedded") is store
    assert open_store(replace(config, location=str(folder / "other")), "embedded") is not store
    cache = open_store(config, "django")
    assert cache.kind == "django"
    assert open_store(config, "django") is cache


def test_settings_reach_the_store(config: Config) -> None:
    for kind, alias in (("redis", "redis"), ("redis", "redis_django"), ("memcached", "memcached")):
        store = open_store(replace(config, cache=alias), kind)
        assert store.kind == kind
        assert open_store(replace(config, cache=alias), kind) is store
        assert open_store(replace(config, cache=alias, store_timeout=1.0), kind) is not store


def test_threads_get_the_same_store(config: Config) -> None:
    found: list[Store] = []
    barrier = threading.Barrier(8)

    def get() -> None:
        barrier.wait()
        found.append(open_store(config, "embedded"))

    threads = [threading.Thread(target=get) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, found))) == 1


def test_all_are_closed_and_forgotten(config: Config) -> None:
    store = open_store(config, "embedded")
    slot, old = name(), stamp()
    store.fill_slots([slot], old)
    close_all()
    again = open_store(config, "embedded")
    assert again.look_up(None, [slot])[1] == [old]


def test_a_change_of_settings_forgets_them(config: Config) -> None:
    store = open_store(config, "django")
    with override_settings(ORMCACHE={"MAX_ROWS": 1}):
        assert open_store(config, "django") is not store


def test_a_fork_keeps_the_registry(config: Config) -> None:
    store = open_store(config, "embedded")
    slot, old = name(), stamp()
    store.fill_slots([slot], old)
    assert Child(lambda: open_store(config, "embedded").look_up(None, [slot])[1]).result() == [old]


@pytest.mark.parametrize("kind, library", [("redis", "redis"), ("redis", "hiredis"), ("memcached", "pymemcache")])
def test_a_library_that_is_missing_is_named(
    config: Config, monkeypatch: pytest.MonkeyPatch, kind: str, library: str
) -> None:
    for module in [module for module in sys.modules if module.startswith(f"ormcache.stores.{kind}.")]:
        monkeypatch.delitem(sys.modules, module)
    for module in [library, *(module for module in sys.modules if module.startswith(f"{library}."))]:
        monkeypatch.setitem(sys.modules, module, None)
    store = open_store(replace(config, cache=kind), kind)
    assert store.kind == kind
    with pytest.raises(StoreUnavailable, match=rf"needs {library}\S*: pip install 'ormcache\[{kind}\]'"):
        store.look_up(None, [name()])


WRONG = {
    "missing": ("nowhere", "redis", "nowhere"),
    "of another kind": ("memcached", "redis", "memcached"),
    "in a database": ("in_database", "django", "is in a database"),
}


@pytest.mark.parametrize("cache, kind, why", WRONG.values(), ids=WRONG)
def test_a_cache_that_cannot_serve_is_a_store_that_is_away(config: Config, cache: str, kind: str, why: str) -> None:
    in_database = {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "t"}
    with override_settings(CACHES=settings.CACHES | {"in_database": in_database}):
        for level in ("strict", "request") + (("near",) if kind == "redis" else ()):
            store = open_store(replace(config, cache=cache, consistency=level), kind)
            assert store.kind == kind
            assert store.strict is store
            for call in OPERATIONS:
                store.retry_now()
                with pytest.raises(StoreUnavailable, match=why):
                    call(store)
            with pytest.raises(StoreUnavailable, match="is away"):
                store.look_up(None, [name()])  # and the next query is not kept waiting by it
            assert not store.is_answering


OPERATIONS: list[Callable[[Store], Any]] = [
    lambda store: store.look_up(None, [name()]),
    lambda store: store.fill_slots([name()], stamp()),
    lambda store: store.put_entry(name(), b"", None),
    lambda store: store.mark([name()], writer(), 60),
    lambda store: store.settle([name()], writer(), stamp()),
    lambda store: store.delete_entries([name()]),
    lambda store: store.claim(name(), b"owner", 1),
    lambda store: store.release(name(), b"owner", 1),
    lambda store: store.clear_slots([name()]),
    lambda store: store.describe(),
]


def test_it_is_opened_as_soon_as_it_can_be(config: Config) -> None:
    slot, entry, old, new, who = name(), name(), stamp(), stamp(), writer()
    with override_settings(CACHES=settings.CACHES | {"redis": settings.CACHES["memcached"]}):
        store = open_store(replace(config, cache="redis"), "redis")
        with pytest.raises(StoreUnavailable):
            store.fill_slots([slot], old)
    assert store.fill_slots([slot], old) == [old]
    assert store.put_entry(entry, b"rows", None)
    assert store.look_up(entry, [slot]) == (b"rows", [old])
    assert store.mark([slot], who, 60) is None
    assert store.settle([slot], who, new) is None
    assert store.claim(name(), b"owner", 60) == b"owner"
    store.release(name(), b"word", 1)
    store.delete_entries([entry])
    # It is the one that everybody else has.
    other = open_store(replace(config, cache="redis"), "redis")
    assert other is not store
    assert other.look_up(entry, [slot]) == (None, [new])
    assert store.describe().servers[0].address == other.describe().servers[0].address
    store.clear_slots([slot])
    assert other.look_up(None, [slot])[1] == [None]


@pytest.mark.parametrize("kind, cache", [("redis", "redis"), ("memcached", "memcached"), ("django", "files")])
def test_other_caches_lead_no_process_away_from_its_store(
    config: Config, tmp_path: Path, kind: str, cache: str
) -> None:
    files = {"BACKEND": "django.core.cache.backends.filebased.FileBasedCache", "LOCATION": str(tmp_path)}
    slot, old, new = name(), stamp(), stamp()
    with override_settings(CACHES=settings.CACHES | {"files": files}):
        store = open_store(replace(config, cache=cache), kind)
        store.fill_slots([slot], old)
        for backend in ("locmem.LocMemCache", "dummy.DummyCache", None):
            others = {"default": {"BACKEND": f"django.core.cache.backends.{backend or 'dummy.DummyCache'}"}}
            if backend is not None:
                others[cache] = others["default"]
            with override_settings(CACHES=others):
                assert open_store(replace(config, cache=cache), kind) is store
                assert store.look_up(None, [slot])[1] == [old]
                store.settle([slot], writer(), new)
            assert store.look_up(None, [slot])[1] == [new]
            old, new = new, stamp()
        with override_settings(ORMCACHE={"MAX_ROWS": 1}):
            assert open_store(replace(config, cache=cache), kind) is not store


def test_no_client_library_is_imported_before_it_is_needed() -> None:
    program = """
import sys
import django.conf
django.conf.settings.configure()
import ormcache.stores, ormcache.stores.base
print(sorted({"redis", "pymemcache", "lmdb", "hiredis", "django_redis"} & sys.modules.keys()))
import ormcache.stores.embedded.store, ormcache.stores.django
print(sorted({"redis", "pymemcache", "hiredis", "django_redis"} & sys.modules.keys()))
"""
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert answer.stdout == "[]\n[]\n", answer.stderr


def test_every_kind_in_the_settings_is_there() -> None:
    from ormcache.conf import STORES

    assert set(stores._STORES) == set(STORES)
