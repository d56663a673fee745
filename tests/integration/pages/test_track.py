"""What a program learns of a block that it tracks."""

from __future__ import annotations

import asyncio
import datetime

from django.db import connections

import ormcache
from ormcache import reasons
from tests.integration.reading import execute
from tests.shop.models import Author, Book, Genre, Review


def read() -> None:
    list(Author.objects.all())
    Book.objects.count()


def test_what_the_block_has_read():
    for _ in range(2):  # misses, and hits
        with ormcache.track() as dependencies:
            read()
        assert dependencies.rejection is None
        assert dependencies.tables == {"shop_author", "shop_book"}
        assert dependencies.is_current()
    Genre.objects.create(name="Prose")
    assert dependencies.is_current()
    assert dependencies.last_modified <= datetime.datetime.now(datetime.UTC)
    before = dependencies.last_modified
    Author.objects.create(name="Ann")
    assert not dependencies.is_current()
    with ormcache.track() as dependencies:
        read()
    assert dependencies.last_modified > before


def test_a_write_between_two_reads():
    Author.objects.using("plain").exists()  # a new connection asks for properties of the server
    with ormcache.track() as dependencies:
        Author.objects.count()
        execute("UPDATE shop_author SET name = 'x'", using="plain")
        Author.objects.using("default").exists()
    assert dependencies.rejection.reason == reasons.WRITES
    assert not dependencies.is_current()
    assert dependencies.last_modified is None


def test_why_it_is_not_known():
    with ormcache.track() as dependencies:
        execute("SELECT 1", using="default")
    assert dependencies.rejection[:2] == (reasons.STATEMENT, "SELECT 1")


def test_around_await():
    async def block():
        with ormcache.track() as dependencies:
            [author async for author in Author.objects.all()]
            await Review.objects.acount()
        return dependencies

    dependencies = asyncio.run(block())
    assert dependencies.tables == {"shop_author", "shop_review"}
    assert dependencies.rejection is None


def test_blocks_in_blocks_and_one_after_the_other():
    with ormcache.track() as outer:
        with ormcache.track() as inner:
            Author.objects.count()
        Genre.objects.count()
    Review.objects.count()
    assert inner.tables == {"shop_author"}
    assert outer.tables == {"shop_author", "shop_genre"}


def test_inputs_and_nothing():
    with ormcache.track() as dependencies:
        pass
    assert (dependencies.tables, dependencies.last_modified) == (frozenset(), None)
    assert dependencies.is_current()
    with ormcache.track() as dependencies:
        ormcache.depends_on("rates")
    assert dependencies.is_current()
    ormcache.changed("rates")
    assert not dependencies.is_current()


def test_a_connection_from_before_ormcache():
    Author.objects.using("plain").count()
    connections["plain"].execute_wrappers.clear()
    with ormcache.track() as dependencies:
        Author.objects.using("plain").count()
    assert dependencies.rejection.reason == reasons.UNCACHED_DATABASE
