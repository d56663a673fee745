"""Random reads and writes by key in several processes, on real stores: a read answers what the database answers."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.protocol.row_processes import turns_of
from tests.integration.reading import ENGINE, only_sqlite, shown_on_sqlite
from tests.shop.models import Author, Genre, Restaurant, Upper

MODULE = "tests.integration.protocol.row_processes"
LAG = 0.1  # seconds, on the level "near"

STORES: dict[str, dict[str, Any]] = {
    "embedded": {},
    "embedded, auto": {"ROWS": "auto", "SHARE": "auto"},
    "embedded, request": {"CONSISTENCY": "request"},
    "redis": {"STORE": "redis", "CACHE": "redis"},
    "redis, request": {"STORE": "redis", "CACHE": "redis", "CONSISTENCY": "request"},
    "redis, near": {"STORE": "redis", "CACHE": "redis", "CONSISTENCY": "near", "NEAR_MAX_LAG": LAG},
    "memcached": {"STORE": "memcached", "CACHE": "memcached"},
    "django": {"STORE": "django", "CACHE": "redis_django"},
}


#: With the other engines, which do not know of stores
FEWER_STORES = ("embedded", "redis")


@pytest.fixture(params=STORES if ENGINE == "sqlite" else FEWER_STORES)
def store(request, configure):
    configure(**{"ROWS": "always", "LOCAL_SIZE": 2**20} | STORES[request.param])
    return request.param


def lag_of(store: str) -> float:
    return LAG if store.endswith("near") else 0.0


def empty() -> None:
    """Through the cache, where results of the run before may be."""
    for model in (Author, Restaurant, Genre, Upper):
        model.objects.all().delete()
    Genre.objects.create(pk=1, name="Poetry")


def run_turns(
    other_process, seed: int, count: int, lag: float, processes: int = 2, fault: str | None = None
) -> list[dict[str, Any]]:
    """What the processes report that take these turns. ``fault``: the rule that they break."""
    empty()
    started = [
        other_process.start(f"{MODULE}.take_turns", seed, who, processes, count, lag, fault, stops=["turn"])
        for who in range(processes)
    ]
    turns = turns_of(seed, processes, count)
    left = [sum(turn.who == who for turn in turns) for who in range(processes)]
    for process, number in zip(started, left, strict=True):
        if number:
            process.wait_for("turn")
    reports = {}
    for turn in turns:
        process = started[turn.who]
        process.go()
        left[turn.who] -= 1
        if left[turn.who]:
            process.wait_for("turn")
        else:
            reports[turn.who] = process.result()
    return list(reports.values())


def run_at_will(
    other_process, seed: int, count: int, lag: float, processes: int = 2, fault: str | None = None
) -> list[dict[str, Any]]:
    """What the processes report that act at the same time. ``fault``: the rule that they break."""
    empty()
    started = [
        other_process.start(f"{MODULE}.act_at_will", seed, who, count, lag, fault, stops=["begin"])
        for who in range(processes)
    ]
    for process in started:
        process.wait_for("begin")
    for process in started:
        process.go()
    return [process.result() for process in started]


@pytest.mark.slow
def test_in_turns(store, other_process):
    reports = run_turns(other_process, 1, 200, lag_of(store))

    assert [report["wrong"] for report in reports] == [[], []]
    assert sum(report["hits"] for report in reports) > 50


@pytest.mark.slow
def test_at_the_same_time(store, other_process):
    reports = run_at_will(other_process, 1, 100, lag_of(store))

    assert [report["wrong"] for report in reports] == [[], []]
    assert sum(report["reads"] for report in reports) > 20


@pytest.mark.slow
@only_sqlite
def test_at_the_same_time_in_snapshots(wal, configure, other_process):
    configure(ROWS="always")
    reports = run_at_will(other_process, 2, 150, 0.0, processes=3)

    assert [report["wrong"] for report in reports] == [[], [], []]


FAULTS = ("without_arrivals", "without_bulk")


@shown_on_sqlite
@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_such_turns_find_a_fault(configure, other_process, fault):
    configure(ROWS="always")

    runs = (run_turns(other_process, seed, 200, 0.0, fault=fault) for seed in range(10))
    assert any(report["wrong"] for reports in runs for report in reports)


@shown_on_sqlite
@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_such_acts_find_a_fault(configure, other_process, fault):
    configure(ROWS="always")

    runs = (run_at_will(other_process, seed, 100, 0.0, fault=fault) for seed in range(10))
    assert any(report["wrong"] for reports in runs for report in reports)
