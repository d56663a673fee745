"""What is counted of functions, fragments and pages, and gathered from several processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now, Random

import ormcache
from ormcache import reasons, signals
from ormcache.cache.keys import digest
from ormcache.pages.computing import compute
from ormcache.pages.derivation import Use
from ormcache.reasons import Miss
from ormcache.telemetry import counters_of
from ormcache.telemetry.derived_stats import DerivedCounters
from ormcache.telemetry.publisher import publisher
from tests.integration.calls import count_anew
from tests.shop.models import Author, Genre

pytestmark = pytest.mark.filterwarnings("error")

HERE = "tests/integration/telemetry/test_derived.py:"


@pytest.fixture(autouse=True)
def _fresh(configure) -> None:
    configure(ADAPTIVE=False)
    count_anew()
    Author.objects.using("plain").create(name="Ann")


def use(label: str = "shop.names", **others: Any) -> Use:
    return Use("function", label, digest(b"tests", label.encode()), **others)


def names() -> tuple[str, ...]:
    return tuple(Author.objects.order_by("pk").values_list("name", flat=True))


def call(function: Callable[[], Any] = names, **others: Any) -> Any:
    return compute(use(**others), function)


def counted(label: str = "shop.names") -> DerivedCounters:
    (found,) = (one for one in counters_of("default").derived if one.label == label)
    return found


# What happens -------------------------------------------------------------------------


@pytest.mark.parametrize("local", [2**20, 0], ids=["in memory", "in the store"])
def test_hits_misses_and_what_invalidated_it(configure, local):
    configure(LOCAL_SIZE=local)
    for _ in range(3):
        assert call() == ("Ann",)
    Author.objects.create(name="Bea")
    assert call() == ("Ann", "Bea")
    ormcache.invalidate()
    call()
    Genre.objects.create(name="x")
    call()

    found = counted()
    assert (found.kind, found.hits, found.outdated_hits, found.misses) == ("function", 3, 0, 3)
    assert found.missed == {Miss.COLD: 1, Miss.INVALIDATED: 2}
    assert found.invalidated_by == {"shop_author": 1, "*": 1}
    assert (found.rejected, found.last_rejection) == ({}, None)
    assert found.miss_seconds > 0
    assert found.hit_seconds > 0


def test_a_write_to_one_row_of_what_depends_on_rows(configure):
    """The row's slot says nothing of its relation: that it was invalidated is counted all the same."""
    configure(ROWS="always")
    key = Author.objects.using("plain").get().pk

    def name() -> str:
        return Author.objects.get(pk=key).name

    call(name)
    Author.objects.filter(pk=key).update(name="Bea")
    assert call(name) == "Bea"
    found = counted()
    assert found.missed == {Miss.COLD: 1, Miss.INVALIDATED: 1}
    assert set(found.invalidated_by) <= {"shop_author"}


def test_a_lifetime_that_is_over_is_no_invalidation(configure, monkeypatch):
    configure(LOCAL_SIZE=0)
    call(timeout=3600)
    stamps = connection.ormcache.database.stamps
    monkeypatch.setattr(stamps, "_clock", lambda: time.time() + 7200)
    call(timeout=3600)
    assert counted().missed == {Miss.COLD: 1, Miss.EXPIRED: 1}
    assert counted().invalidated_by == {}


def random_first() -> Any:
    return Author.objects.order_by(Random()).values_list("name", flat=True).first()


def test_the_statement_and_the_line_for_which_it_is_not_stored():
    line = random_first.__code__.co_firstlineno + 1
    for _ in range(2):
        call(random_first)

    found = counted()
    assert (found.hits, found.misses, found.rejected) == (0, 2, {reasons.RANDOM: 2})
    last = found.last_rejection
    assert last is not None
    assert (last.reason, last.relations, last.caller) == (reasons.RANDOM, {"shop_author"}, f"{HERE}{line}")
    assert "ORDER BY RAND" in (last.sql or "").upper()


def test_a_block_around_it_has_the_same_line():
    line = random_first.__code__.co_firstlineno + 1

    def around() -> Any:
        return names(), call(random_first)

    call(around, label="shop.around")
    last = counted("shop.around").last_rejection
    assert last is not None
    assert (last.reason, last.caller) == (reasons.RANDOM, f"{HERE}{line}")


def test_what_writes_or_asks_the_clock():
    def write() -> None:
        Author.objects.create(name="Bea")

    def clock() -> Any:
        return Author.objects.annotate(now=Now()).values_list("now", flat=True).first()

    call(write, label="write")
    call(clock, label="clock")
    assert counted("write").last_rejection.reason == reasons.WRITES
    assert counted("write").last_rejection.caller == f"{HERE}{write.__code__.co_firstlineno + 1}"
    assert counted("clock").last_rejection.reason == reasons.CLOCK


def test_uses_for_which_nothing_is_looked_up():
    with ormcache.disabled():
        call()
    with transaction.atomic():
        Author.objects.create(name="Bea")
        call()
    assert (counted().misses, sum(counted().rejected.values())) == (2, 2)
    assert counted().missed in ({}, {Miss.COLD: 1})  # the second one on SQLite, or on others
    assert counted().rejected[reasons.DISABLED] == 1


def test_diagnostics_are_no_use():
    with connection.ormcache.observer.uncounted():
        call()
    assert counters_of("default").derived == []


# What people see ------------------------------------------------------------------------


def test_stats():
    call()
    call()
    call(random_first, label="shop.random")
    found = ormcache.stats("default")["derived"]["function"]

    assert list(found) == ["shop.names", "shop.random"]
    assert (found["shop.names"]["hits"], found["shop.names"]["misses"], found["shop.names"]["stored"]) == (1, 1, 1)
    assert found["shop.names"]["last_rejection"] is None
    names_ = found["shop.names"]
    assert names_["saved_seconds"] == pytest.approx(names_["miss_seconds"] - names_["hit_seconds"])
    rejected = found["shop.random"]
    assert (rejected["stored"], rejected["rejected"]) == (0, {reasons.RANDOM: 1})
    assert rejected["last_rejection"]["caller"].startswith(HERE)


def test_signals():
    sent: list[tuple[str, dict[str, Any]]] = []

    def on_hit(sender: Any, signal: Any, **arguments: Any) -> None:
        sent.append(("hit", arguments))

    def on_miss(sender: Any, signal: Any, **arguments: Any) -> None:
        sent.append(("miss", arguments))

    signals.derived_hit.connect(on_hit)
    signals.derived_missed.connect(on_miss)
    try:
        call()
        call()
        Author.objects.create(name="Bea")
        call()
        call(random_first, label="shop.random")
    finally:
        signals.derived_hit.disconnect(on_hit)
        signals.derived_missed.disconnect(on_miss)

    assert [name for name, _ in sent] == ["miss", "hit", "miss", "miss"]
    first, hit, second, rejected = (arguments for _, arguments in sent)
    assert {name: first[name] for name in first if name != "took"} == {
        "using": "default",
        "kind": "function",
        "label": "shop.names",
        "cause": Miss.COLD,
        "invalidated_by": None,
        "rejected": None,
        "sql": None,
        "relations": frozenset(),
        "caller": None,
        "subject": None,
    }
    assert hit["saved"] == pytest.approx(first["took"] - hit["took"])
    assert hit["outdated"] is False
    assert (second["cause"], second["invalidated_by"]) == (Miss.INVALIDATED, "shop_author")
    assert (rejected["rejected"], rejected["relations"]) == (reasons.RANDOM, {"shop_author"})
    assert rejected["caller"].startswith(HERE)


# Several processes --------------------------------------------------------------------


def use_and_publish(hits: int) -> None:
    """For another process: so many hits, published."""
    for _ in range(hits + 1):
        call()
    call(random_first, label="shop.random")
    publisher.publish()


def test_the_sum_over_processes(configure, other_process):
    configure(STATISTICS_INTERVAL=3600)
    for hits in (3, 4):
        other_process("tests.integration.telemetry.test_derived.use_and_publish", hits)
    call()
    report = ormcache.report("default")

    assert report is not None
    by_label = {one.label: one for one in report.derived}
    assert by_label["shop.names"].uses == 4 + 5 + 1
    assert by_label["shop.names"].hits >= 7
    assert by_label["shop.random"].rejected == {reasons.RANDOM: 2}
    last = by_label["shop.random"].last_rejection
    assert last is not None
    assert last.caller.startswith(HERE)


def use_without_queries() -> None:
    """For another process: hits alone, which ask the database nothing."""
    call()
    publisher.publish()
    call()
    publisher.publish()


def test_hits_that_run_no_query_are_published_too(configure, other_process):
    configure(STATISTICS_INTERVAL=3600)
    call()
    count_anew()
    other_process("tests.integration.telemetry.test_derived.use_without_queries")
    report = ormcache.report("default")

    assert report is not None
    assert [(one.hits, one.misses) for one in report.derived] == [(2, 0)]
    assert report.total.reads == 0
