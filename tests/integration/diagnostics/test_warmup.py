"""Reads that were worth a lot are run again."""

from __future__ import annotations

import datetime
from decimal import Decimal

import pytest
from django.db import connection, connections
from django.db.models import Count, Exists, OuterRef, Q

import ormcache
from ormcache import reasons
from ormcache.diagnostics.warmup import WarmupOutcome, WarmupRead, WarmupResult, most_valuable, warm
from tests.integration.calls import count_anew
from tests.integration.reading import execute
from tests.shop.models import Author, Book, Genre

#: Reads of every shape that Django has
READS = {
    "rows": lambda: list(Author.objects.filter(name__in=["Ann", "Bob", "Cid", "Dan"])),
    "one": lambda: Author.objects.get(name="Ann"),
    "count": lambda: Author.objects.filter(name="Ann").count(),
    "exists": lambda: Author.objects.filter(name="Ann").exists(),
    "aggregate": lambda: Author.objects.aggregate(Count("pk")),
    "aggregate of a slice": lambda: Author.objects.order_by("pk")[:3].aggregate(Count("pk")),
    "values": lambda: list(Author.objects.values_list("name", flat=True)),
    "extra": lambda: list(Author.objects.extra(select={"one": "1"})),
    "annotated": lambda: list(Author.objects.annotate(busy=Exists(Book.objects.filter(author=OuterRef("pk"))))),
    "joined": lambda: list(Book.objects.select_related("author").filter(~Q(author__name="Zoe"))),
    "nothing": lambda: Author.objects.filter(name="nobody").first(),
}


@pytest.fixture(autouse=True)
def _fresh() -> None:
    count_anew()
    Author.objects.using("plain").create(name="Ann")


def valuable(most: int = 100) -> list[WarmupRead]:
    report = ormcache.report("default")
    assert report is not None
    return most_valuable(report, most)


def warmed(reads: list[WarmupRead]) -> list[WarmupOutcome]:
    connection.ensure_connection()
    return list(warm(connection, connection.ormcache.known(), reads))


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_what_was_warmed_is_a_hit(read, queries):
    for _ in range(3):
        read()
    (valued,) = valuable()
    ormcache.invalidate()
    (outcome,) = warmed([valued])
    assert outcome.result is WarmupResult.STORED
    with queries(0):
        answer = read()
    with ormcache.disabled():
        assert read() == answer
    assert warmed([valued])[0].result is WarmupResult.PRESENT


def test_warming_is_no_traffic():
    """Else the reads that were warmed would be the most valuable ones after the next deployment."""
    for _ in range(3):
        READS["rows"]()
    before = ormcache.stats("default")
    assert [outcome.result for outcome in warmed(valuable())] == [WarmupResult.PRESENT]
    ormcache.invalidate()
    assert [outcome.result for outcome in warmed(valuable())] == [WarmupResult.STORED]
    after = ormcache.stats("default")
    assert [after[name] for name in ("hits", "misses")] == [before[name] for name in ("hits", "misses")]


def test_the_most_valuable_come_first():
    def ask(name: str, times: int) -> None:
        for _ in range(times):
            list(Author.objects.filter(name=name))

    ask("often", 100)
    ask("seldom", 3)
    ask("sometimes", 40)

    assert [read.params for read in valuable()] == [("often",), ("sometimes",)]
    assert [read.params for read in valuable(1)] == [("often",)]
    assert all(read.saved_seconds > 0 for read in valuable())


def test_parameters_come_back_as_they_were(queries):
    def read() -> list[Book]:
        return list(Book.objects.filter(price__gt=Decimal("1.50"), published__lt=datetime.date(2026, 1, 1)))

    for _ in range(3):
        read()
    reads = valuable()
    ormcache.invalidate()
    warmed(reads)
    with queries(0):
        read()


def test_nothing_but_reads_is_run(queries):
    evil = WarmupRead("DELETE FROM shop_author", (), ("multi", 1, False), 1.0)
    now = WarmupRead("SELECT CURRENT_TIMESTAMP", (), ("multi", 1, False), 1.0)
    connection.ensure_connection()
    with queries(0):
        outcomes = warmed([evil, now])

    assert [(outcome.result, outcome.reason) for outcome in outcomes] == [
        (WarmupResult.NOT_STORED, reasons.NOT_A_READ),
        (WarmupResult.NOT_STORED, reasons.CLOCK),
    ]
    assert Author.objects.using("plain").count() == 1


def test_a_query_of_before_fails_alone(ddl):
    outcomes = warmed(
        [
            WarmupRead("SELECT nothing_of_the_kind FROM shop_author", (), ("multi", 1, False), 1.0),
            WarmupRead("SELECT name FROM shop_author", (), ("multi", 1, False), 1.0),
        ]
    )

    assert [outcome.result for outcome in outcomes] == [WarmupResult.FAILED, WarmupResult.STORED]
    assert "nothing_of_the_kind" in outcomes[0].reason


def test_what_is_not_kept_is_said(configure):
    configure(MAX_ROWS=0)
    (outcome,) = warmed([WarmupRead("SELECT name FROM shop_author", (), ("multi", 1, False), 1.0)])

    assert (outcome.result, outcome.reason) == (WarmupResult.NOT_STORED, reasons.TOO_MANY_ROWS)


def test_other_databases_are_not_meant():
    list(Genre.objects.using("second").all())
    read = WarmupRead("SELECT name FROM shop_author", (), ("multi", 1, False), 1.0)

    assert warmed([read])[0].result is WarmupResult.STORED
    assert ormcache.stats("second")["misses"] >= 1
    connections["second"].close()
    execute("UPDATE shop_author SET name = 'x'")
    assert warmed([read])[0].result is WarmupResult.STORED
