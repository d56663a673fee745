"""What plans take for relations, and what is remembered of texts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection, models
from django.db.models import Count, Exists, F, OuterRef

from tests.integration.reading import QUOTE, Reading, execute, stats
from tests.integration.schema import World, made, row_model
from tests.shop.models import Author


@pytest.fixture
def world(queries: Any) -> Iterator[World]:
    """With a table that is called like a column of all the others."""
    with made(queries) as world:
        world.make(f"CREATE TABLE {QUOTE}ref{QUOTE} AS SELECT * FROM b")
        yield world


def rows(table: str, using: str) -> models.QuerySet[Any]:
    return row_model(table)._base_manager.using(using)


#: Reads that name the column and not the table
_OF_THE_COLUMN: dict[str, Callable[[str], Any]] = {
    "whole rows": lambda using: list(rows("a", using).values_list()),
    "ordered by it": lambda using: list(rows("a", using).order_by("-ref").values_list()),
    "filtered by it": lambda using: list(rows("a", using).filter(ref__gt=1).values_list("id")),
    "in a subquery": lambda using: list(rows("a", using).filter(id__in=rows("c", using).values("ref")).values_list()),
    "around a subquery": lambda using: list(
        rows("a", using).filter(Exists(rows("c", using).filter(id=OuterRef("ref")))).values_list()
    ),
    "grouped by it": lambda using: list(rows("a", using).values("ref").annotate(n=Count("id")).order_by("ref")),
    "compared with another": lambda using: rows("a", using).filter(ref=F("id")).count(),
}


@pytest.mark.parametrize("read", _OF_THE_COLUMN.values(), ids=_OF_THE_COLUMN)
def test_a_table_that_is_called_like_a_column_leaves_its_results_alone(
    world: World, read: Callable[[str], Any]
) -> None:
    reading = Reading(world.queries, read)
    before = stats()["hits"]
    for number in range(3):
        execute(f"UPDATE {QUOTE}ref{QUOTE} SET name = '{number}'")
        reading.assert_hit()

    assert stats()["hits"] == before + 3


def test_what_reads_that_table_too_is_fresh(world: World) -> None:
    world.check(f"UPDATE {QUOTE}ref{QUOTE} SET name = 'other'", changed="ref", kept="a b c d")
    readings = [
        Reading(
            world.queries,
            lambda using: list(rows("a", using).filter(id__in=rows("ref", using).values("id")).values_list()),
        ),
        Reading(world.queries, lambda using: rows("ref", using).filter(id__gt=0).count()),
        Reading(
            world.queries,
            lambda using: list(
                rows("a", using).filter(Exists(rows("ref", using).filter(id=OuterRef("ref")))).values("ref")
            ),
        ),
    ]
    execute(f"UPDATE {QUOTE}ref{QUOTE} SET id = id - 1")
    for reading in readings:
        reading.assert_fresh()


def test_a_view_with_such_a_column(world: World) -> None:
    world.make("CREATE VIEW v AS SELECT a.* FROM a JOIN c ON c.id = a.ref")

    world.check("UPDATE c SET id = id + 10", changed="c v", kept="a b d")
    world.check("UPDATE a SET ref = id + 10", changed="a v", kept="b c d")


def test_lists_of_any_length_share_one_plan() -> None:
    list(Author.objects.all())  # connects, and reads the catalog
    database = connection.ormcache.known()  # type: ignore[attr-defined]  # the backend of the tests has it
    context = connection.ormcache.resolution_context()  # type: ignore[attr-defined]
    before = len(database.plans._plans)
    answers = [
        database.plans.plan(f"SELECT id FROM shop_author WHERE id IN ({', '.join(['%s'] * length)})", context)
        for length in range(2, 1002)
    ]
    assert len(database.plans._plans) == before + 1
    assert len({id(plan) for plan, _ in answers}) == 1
    assert len({lengths for _, lengths in answers}) == len(answers)


def test_a_long_list_costs_little() -> None:
    list(Author.objects.all())
    database = connection.ormcache.known()  # type: ignore[attr-defined]
    context = connection.ormcache.resolution_context()  # type: ignore[attr-defined]
    text = f"SELECT id FROM shop_author WHERE id IN ({', '.join(['%s'] * 5000)})"
    times = []
    for number in range(5):
        started = time.process_time()
        database.plans.plan(f"{text} AND id > {number}", context)
        times.append(time.process_time() - started)

    assert min(times) < 0.003
