"""The same small story on every store, told through the ORM."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.cache import caches
from django.db import connection, transaction

import ormcache
from tests.shop.models import Author, Book

STORES = {
    "embedded": {},
    "redis by django-redis": {"STORE": "redis", "CACHE": "redis"},
    "redis by Django's client": {"STORE": "redis", "CACHE": "redis_django"},
    "memcached, three servers": {"STORE": "memcached", "CACHE": "memcached"},
    "memcached, one server": {"STORE": "memcached", "CACHE": "memcached_one"},
    "django, in memory": {"STORE": "django", "CACHE": "default"},
    "django, in files": {"STORE": "django", "CACHE": "file"},
    "django, on redis": {"STORE": "django", "CACHE": "redis_django"},
}
#: Those that other processes share
SHARED = [name for name in STORES if name != "django, in memory"]


@pytest.fixture
def store(request, configure) -> str:
    # Nothing in the process's own memory: what is read comes from the store.
    configure(**STORES[request.param], LOCAL_SIZE=0)
    connection.close()
    return request.param


#: One of each kind that can be emptied while it is in use
EMPTIED = ["redis by django-redis", "memcached, three servers", "django, in files"]

on_each = pytest.mark.parametrize("store", STORES, indirect=True)
on_shared = pytest.mark.parametrize("store", SHARED, indirect=True)


def names(using: str = "default") -> list[str]:
    return list(Author.objects.using(using).order_by("pk").values_list("name", flat=True))


def rename(to: str) -> None:
    Author.objects.update(name=to)


def served(expected_hits: int) -> list[Any]:
    return [names(), ormcache.stats("default")["hits"] == expected_hits]


@on_each
def test_hits_and_writes(store, queries):
    author = Author.objects.create(name="A")
    with queries(1):
        assert names() == ["A"]
    with queries(0):
        assert names() == ["A"]
    author.name = "B"
    author.save()
    assert names() == ["B"]
    rename("C")
    assert names() == ["C"]
    with connection.cursor() as cursor:
        cursor.execute("UPDATE shop_author SET name = 'D'")
    assert names() == ["D"]
    with queries(0):
        assert names() == ["D"]
    Book.objects.create(author=author, title="Iliad")  # another table
    with queries(0):
        assert names() == ["D"]
    author.delete()
    assert names() == []


@on_each
def test_transactions(store, queries):
    Author.objects.create(name="A")
    assert names() == ["A"]
    with transaction.atomic():
        rename("B")
        assert names() == ["B"]
        transaction.set_rollback(True)
    with queries(0):
        assert names() == ["A"]  # nothing was committed, so nothing was invalidated
    with transaction.atomic():
        rename("C")
        with transaction.atomic():
            rename("D")
            transaction.set_rollback(True)
        assert names() == ["C"]
    assert names() == ["C"]
    seen = []
    with transaction.atomic():
        rename("E")
        transaction.on_commit(lambda: seen.append(names()))
    assert seen == [["E"]]


@on_shared
def test_another_process(store, queries, other_process):
    Author.objects.create(name="A")
    assert names() == ["A"]
    assert other_process("tests.integration.stores.test_end_to_end.served", 1) == [["A"], True]
    other_process("tests.integration.stores.test_end_to_end.rename", "B")
    with queries(1):
        assert names() == ["B"]


@on_each
def test_values_of_every_kind_come_back(store, queries):
    author = Author.objects.create(name="Ünïcode ✓", born="1900-01-01")
    Book.objects.create(author=author, title="x" * 200, cover=b"\x00\xff", data={"a": [1, None, "ü"]}, rating=0.1)
    truth = list(Book.objects.using("plain").values())
    for expected in (1, 0):
        with queries(expected):
            assert list(Book.objects.values()) == truth
            assert [list(map(type, row.values())) for row in Book.objects.values()] == [
                list(map(type, row.values())) for row in truth
            ]


@on_each
def test_invalidating_by_hand(store, queries):
    Author.objects.create(name="A")
    names()
    Author.objects.using("plain").update(name="B")  # nobody is told
    with queries(0):
        assert names() == ["A"]
    ormcache.invalidate(Author)
    assert names() == ["B"]
    assert ormcache.last_write(Author) is not None


@pytest.mark.parametrize("store", EMPTIED, indirect=True)
def test_a_store_that_is_emptied(store, queries):
    Author.objects.create(name="A")
    names()
    caches[STORES[store]["CACHE"]].clear()
    with queries(1):
        assert names() == ["A"]
    rename("B")
    assert names() == ["B"]
