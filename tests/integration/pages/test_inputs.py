"""Inputs that are no tables: what depends on them ends when a program says that they have changed."""

from __future__ import annotations

import pytest
from django.conf import settings
from django.db import connections, transaction
from django.test import override_settings

import ormcache
from ormcache import reasons
from ormcache.cache.tracking import Tracker, tracking
from ormcache.pages.computing import compute
from ormcache.pages.derivation import Use
from tests.integration.calls import change_rates
from tests.integration.reading import in_thread, stats
from tests.shop.models import Author, Genre
from tests.waiting import eventually

RATES = {"now": 1}


@pytest.fixture(autouse=True)
def _rate() -> None:
    RATES["now"] = 1


class Converted:
    """A use that depends on the input and on a table; counts how often it is computed."""

    def __init__(self, *names: str, using: str | None = None) -> None:
        self.names, self.using, self.calls = names or ("rates",), using, 0

    def compute(self) -> list[int]:
        self.calls += 1
        ormcache.depends_on(*self.names, using=self.using)
        return [RATES["now"], Genre.objects.using(self.using).count()]

    def __call__(self) -> list[int]:
        return compute(Use("function", "converted", repr(self.names).encode(), using=self.using), self.compute)


def test_a_change_ends_what_depends_on_it():
    converted, other = Converted(), Converted("weather")
    for expected in (1, 1):
        assert [converted(), other()] == [[1, 0], [1, 0]]
        assert (converted.calls, other.calls) == (expected, expected)
    RATES["now"] = 2
    ormcache.changed("rates")
    assert [converted(), other()] == [[2, 0], [1, 0]]
    Genre.objects.create(name="Prose")
    assert converted() == [2, 1]


def test_a_change_in_another_process(other_process):
    converted = Converted()
    converted()
    RATES["now"] = 2
    other_process("tests.integration.calls.change_rates")
    assert converted() == [2, 0]


def test_several_names():
    converted = Converted("a", "b")
    for name in ("a", "b"):
        converted()
        RATES["now"] += 1
        ormcache.changed(name)
        assert converted() == [RATES["now"], 0]
    calls = converted.calls
    ormcache.changed("c")
    converted()
    assert converted.calls == calls


def test_other_results_stay(queries):
    list(Author.objects.all())
    ormcache.changed("rates")
    with queries(0):
        list(Author.objects.all())


def test_a_change_while_it_is_computed():
    def slow() -> list[int]:
        ormcache.depends_on("rates")
        seen = RATES["now"]
        if seen == 1:
            RATES["now"] = 2
            in_thread(change_rates)
        return [seen]

    use = Use("function", "slow", b"slow")
    assert compute(use, slow) == [1]
    assert compute(use, slow) == [2]


def test_in_a_transaction_it_counts_at_its_commit_too():
    converted = Converted()
    converted()
    with transaction.atomic():
        ormcache.changed("rates")
        in_thread(converted)  # of before
        RATES["now"] = 2
        assert converted() == [2, 0]
    assert converted() == [2, 0]
    assert in_thread(converted) == [2, 0]


def test_a_commit_of_it_invalidates_nothing_else(queries):
    list(Author.objects.all())
    connections.close_all()
    with transaction.atomic():
        ormcache.changed("rates")
    with queries(0):
        list(Author.objects.all())


def test_with_tables_in_one_transaction():
    converted = Converted()
    converted()
    with transaction.atomic():
        Genre.objects.create(name="Prose")
        ormcache.changed("rates")
        RATES["now"] = 2
    assert in_thread(converted) == [2, 1]


def test_each_database_has_names_of_its_own():
    first, second = Converted(using="default"), Converted(using="second")
    first(), second()
    ormcache.changed("rates", using="second")
    first(), second()
    assert (first.calls, second.calls) == (1, 2)
    ormcache.changed("rates")
    first(), second()
    assert (first.calls, second.calls) == (2, 3)


def test_under_only(configure):
    configure(ONLY=["shop.Genre"])
    connections.close_all()
    converted = Converted()
    converted()
    RATES["now"] = 2
    ormcache.changed("rates")
    assert converted() == [2, 0]


def test_a_change_while_the_store_is_away(start_server, configure):
    """What was computed before it is in the store all the while, and is served no more when that is back."""
    server = start_server("redis")
    own = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": server.url}
    with override_settings(CACHES=settings.CACHES | {"own": own}):
        configure(STORE="redis", CACHE="own", STORE_TIMEOUT=0.25)
        converted = Converted(using="default")
        for _ in range(2):
            assert converted() == [1, 0]
        server.pause()
        try:
            RATES["now"] = 2
            with pytest.raises(ormcache.StoreUnavailable):
                ormcache.changed("rates", using="default")
            assert (converted(), converted(), converted.calls) == ([2, 0], [2, 0], 3)
        finally:
            server.resume()

        def hits() -> bool:
            calls = converted.calls
            assert converted() == [2, 0]
            return converted.calls == calls

        eventually(hits)
        connections.close_all()


def test_outside_of_a_block_it_does_nothing():
    ormcache.depends_on("rates")


@pytest.mark.parametrize("name", ["", 1, None, "a\0b", "x" * 201, Genre])
def test_what_is_no_name(name):
    for call in (ormcache.depends_on, ormcache.changed):
        with pytest.raises(ValueError, match="the name of an input"):
            call(name)


def test_a_change_inside_of_what_is_computed_is_a_write():
    with tracking(Tracker()) as tracker:
        ormcache.changed("rates")
    assert tracker.rejection.reason == reasons.WRITES


def test_without_a_cached_database():
    with tracking(Tracker()) as tracker:
        ormcache.depends_on("rates", using="plain")
    assert tracker.rejection.reason == reasons.UNCACHED_DATABASE


def test_it_is_counted_as_what_invalidated():
    before = stats()["writes"]
    converted = Converted()
    converted()
    ormcache.changed("rates", using="default")
    converted()
    assert stats()["writes"] >= before
