"""One store for each place, and no client library before it is needed."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from ormcache import stores
from ormcache.conf import Config, config_for
from ormcache.stores import close_all, open_store
from ormcache.stores.base import Store
from tests.stores.helpers import Child, name, stamp


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
    store.fill([slot], old)
    close_all()
    again = open_store(config, "embedded")
    assert again is not store
    assert again.look_up(None, [slot])[1] == [old]  # the files of the first are closed, or this could not open them


def test_a_change_of_settings_forgets_them(config: Config) -> None:
    store = open_store(config, "django")
    with override_settings(ORMCACHE={"MAX_ROWS": 1}):
        assert open_store(config, "django") is not store


def test_a_fork_keeps_the_registry(config: Config) -> None:
    store = open_store(config, "embedded")
    slot, old = name(), stamp()
    store.fill([slot], old)
    assert Child(lambda: open_store(config, "embedded").look_up(None, [slot])[1]).result() == [old]


def test_a_library_that_is_missing_is_named(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, library in (("redis", "redis"), ("memcached", "pymemcache")):
        monkeypatch.delitem(sys.modules, f"ormcache.stores.{kind}", raising=False)
        for module in [library, *(module for module in sys.modules if module.startswith(f"{library}."))]:
            monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(ImproperlyConfigured, match=rf"pip install 'ormcache\[{kind}\]'"):
            open_store(replace(config, cache=kind), kind)


def test_no_client_library_is_imported_before_it_is_needed() -> None:
    program = """
import sys
import django.conf
django.conf.settings.configure()
import ormcache.stores, ormcache.stores.base
print(sorted({"redis", "pymemcache", "lmdb", "hiredis", "django_redis"} & sys.modules.keys()))
import ormcache.stores.embedded, ormcache.stores.django
print(sorted({"redis", "pymemcache", "hiredis", "django_redis"} & sys.modules.keys()))
"""
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert answer.stdout == "[]\n[]\n", answer.stderr


def test_every_kind_in_the_settings_is_there() -> None:
    from ormcache.conf import STORES

    assert set(stores._CLASSES) == set(STORES)
