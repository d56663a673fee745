"""What is remembered of texts."""

from __future__ import annotations

import time

from django.db import connection

from tests.shop.models import Author


def test_lists_of_any_length_share_one_plan() -> None:
    list(Author.objects.all())  # connects, and reads the catalog
    database = connection.ormcache.known()  # type: ignore[attr-defined]  # the backend of the tests has it
    before = len(database._plans)
    answers = [
        database.plan(f"SELECT id FROM shop_author WHERE id IN ({', '.join(['%s'] * length)})")
        for length in range(2, 1002)
    ]
    assert len(database._plans) == before + 1
    assert len({id(plan) for plan, _ in answers}) == 1
    assert len({lengths for _, lengths in answers}) == len(answers)


def test_a_long_list_costs_little() -> None:
    list(Author.objects.all())
    database = connection.ormcache.known()  # type: ignore[attr-defined]
    text = f"SELECT id FROM shop_author WHERE id IN ({', '.join(['%s'] * 5000)})"
    times = []
    for number in range(5):
        started = time.process_time()
        database.plan(f"{text} AND id > {number}")
        times.append(time.process_time() - started)

    assert min(times) < 0.003
