"""When a result that was read goes to the store, and what stays in the process."""

from __future__ import annotations

import time

import pytest
from django.contrib.postgres.aggregates import ArrayAgg
from django.db import connection

import ormcache
from ormcache.cache import serializer, single_flight
from ormcache.exceptions import StoreUnavailable
from ormcache.read_path import admission
from ormcache.stores.base import Store
from tests.integration.reading import only_postgresql, stats
from tests.shop.models import Author

LONG, NEVER = 0, 10**12  # for WORTH: any query is worth sharing at once, none is


def names() -> list[str]:
    return list(Author.objects.order_by("pk").values_list("name", flat=True))


def hits() -> int:
    """In another process: does it find what this one has read?"""
    before = ormcache.stats("default")["hits"]
    names()
    return ormcache.stats("default")["hits"] - before


@pytest.fixture
def puts(monkeypatch):
    """The time limits with which results have gone to the store."""
    found = []
    put = Store.put_entry

    def noted(self, entry, value, timeout):
        found.append(timeout)
        return put(self, entry, value, timeout)

    monkeypatch.setattr(Store, "put_entry", noted)
    return found


@pytest.fixture
def auto(configure, monkeypatch):
    configure(SHARE="auto", FLIGHT_WAIT=0)
    monkeypatch.setattr(admission, "SHARED_AT_ONCE", NEVER)
    Author.objects.create(name="Ada")


def test_what_was_cheap_goes_to_the_store_when_it_is_asked_for_again(auto, puts, queries, other_process):
    assert names() == ["Ada"]
    assert puts == []
    assert other_process("tests.integration.read_path.test_admission.hits") == 0
    with queries(0):
        assert names() == names() == ["Ada"]
    assert puts == [None]
    assert other_process("tests.integration.read_path.test_admission.hits") == 1


def test_what_was_not_goes_there_at_once(auto, puts, monkeypatch):
    monkeypatch.setattr(admission, "SHARED_AT_ONCE", LONG)
    names()
    assert puts == [None]
    names()
    assert puts == [None]


def test_what_needed_a_connection_was_not_cheap(auto, puts):
    connection.close()
    names()
    assert puts == [None]


def test_what_other_processes_may_wait_for_goes_there_at_once(auto, configure, puts, monkeypatch):
    """The first run of a text in a process, of which nobody knows how long it takes, is claimed for all."""
    monkeypatch.setattr(single_flight, "QUICK", 60.0)  # the second one is quick, however busy the machine
    configure(FLIGHT_WAIT=5)
    names()
    assert puts == [None]
    Author.objects.create(name="Grace")
    names()
    assert puts == [None]


def test_always(auto, configure, puts):
    configure(SHARE="always")
    names()
    assert puts == [None]


@pytest.mark.parametrize("size", [0, 1000, 2400])
def test_what_no_process_can_keep_goes_there_at_once(auto, configure, puts, size):
    configure(LOCAL_SIZE=size)
    names()
    names()
    assert puts == [None]


def test_what_is_larger_than_results_may_be_is_not_kept_here_either(auto, configure, puts):
    configure(MAX_BYTES=10)
    before = stats()["rejected"].get("too large", 0)
    for _ in range(2):
        names()
    assert stats()["rejected"]["too large"] == before + 2
    assert puts == []


def test_what_was_read_under_an_older_stamp_never_gets_there(auto, puts):
    names()
    Author.objects.create(name="Grace")
    assert names() == ["Ada", "Grace"]
    assert puts == []


def test_it_lives_as_long_as_if_it_had_gone_there_at_once(auto, configure, puts, monkeypatch):
    configure(TIMEOUT=100)
    names()
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now + 60)
    names()
    (timeout,) = puts
    assert 39 < timeout <= 40


def test_a_copy_of_an_entry_lives_as_long_as_the_entry(auto, configure, queries, monkeypatch):
    configure(TIMEOUT=100, SHARE="always")
    names()
    connection.ormcache.database.local.drop(*connection.ormcache.database.local._entries)
    with queries(0):
        names()
    (kept,) = connection.ormcache.database.local._entries.values()
    assert time.time() + 90 < kept.expires < time.time() + 101


def test_what_came_from_the_store_is_decoded_once(auto, configure, monkeypatch, queries):
    configure(SHARE="always")
    names()
    connection.ormcache.database.local.drop(*connection.ormcache.database.local._entries)
    decoded = []
    decode = serializer.decode
    monkeypatch.setattr(serializer, "decode", lambda data: decoded.append(1) or decode(data))
    with queries(0):
        first, second = names(), names()
    assert first == second == ["Ada"]
    assert decoded == [1]


def test_who_changes_what_came_from_the_store_changes_no_copy(auto, configure, queries):
    def read():
        (chunk,) = Author.objects.order_by("pk").query.get_compiler("default").execute_sql()
        return chunk

    configure(SHARE="always")
    read()
    connection.ormcache.database.local.drop(*connection.ormcache.database.local._entries)
    with queries(0):
        for _ in range(3):
            chunk = read()
            assert [row[1] for row in chunk] == ["Ada"]
            chunk.clear()


def test_a_store_that_is_away_when_it_is_asked_for_again(auto, queries, monkeypatch):
    names()
    before = stats()["rejected"].get("store unavailable", 0)

    def away(self, entry, value, timeout):
        raise StoreUnavailable("away")

    monkeypatch.setattr(Store, "put_entry", away)
    with queries(0):
        assert names() == names() == ["Ada"]
    assert stats()["rejected"]["store unavailable"] == before + 1


@only_postgresql
def test_mutable_values_go_to_the_store_at_once_and_nowhere_else(auto, puts, queries):
    def tags():
        return list(Author.objects.annotate(tags=ArrayAgg("name")).values_list("tags", flat=True))

    tags().clear()
    assert puts == [None]
    with queries(0):
        tags()[0].append("changed")
        assert tags() == [["Ada"]]


def test_what_another_hand_has_put_into_the_store_is_served_and_not_copied(auto, configure, queries, monkeypatch):
    configure(SHARE="always")
    names()
    connection.ormcache.database.local.drop(*connection.ormcache.database.local._entries)
    monkeypatch.setattr(serializer, "decode", lambda data: [["Ada"]])
    with queries(0):
        assert names() == ["Ada"]
    assert len(connection.ormcache.database.local) == 0


def test_large_results_are_compressed_where_that_is_wished(configure, monkeypatch, queries):
    configure(SHARE="always", LOCAL_SIZE=0, COMPRESS=500, MAX_BYTES=2000)
    packed = []
    compress = serializer.compress
    monkeypatch.setattr(serializer, "compress", lambda data: packed.append(len(data)) or compress(data))
    Author.objects.bulk_create(Author(name="a" * 100) for _ in range(100))
    names()
    with queries(0):
        assert names() == ["a" * 100] * 100
    assert Author.objects.count() == 100
    (length,) = packed
    assert length > 2000


def test_what_was_kept_here_alone_and_is_retired_is_not_looked_for_elsewhere(auto, monkeypatch):
    asked = []
    look_up = Store.look_up
    monkeypatch.setattr(
        Store, "look_up", lambda self, entry, slots: asked.append(entry is not None) or look_up(self, entry, slots)
    )
    names()
    Author.objects.update(name="1")
    asked.clear()
    names()
    assert asked == [False]
    names()  # it is shared now
    Author.objects.update(name="2")
    asked.clear()
    names()
    assert asked == [False, True]
