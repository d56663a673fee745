"""Random pages, fragments and functions, whose writers are other processes: shown is what a plain alias shows.

See ``page_programs`` for what the pages are, and ``page_processes`` for what is right while others write.
"""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections

import ormcache
from ormcache.cache.tracking import Tracker
from tests.examples import examples
from tests.integration.protocol.page_programs import VIEWS, Screen, Shown, read
from tests.integration.protocol.row_processes import turns_of
from tests.integration.reading import ENGINE, only_sqlite, shown_on_sqlite
from tests.shop.models import Author, Genre, Restaurant, Upper

MODULE = "tests.integration.protocol.page_processes"

STORES: dict[str, dict[str, Any]] = {
    "embedded": {},
    "redis": {"STORE": "redis", "CACHE": "redis"},
    "embedded, request": {"ROWS": "auto", "CONSISTENCY": "request"},
}
#: With the other engines, which do not know of stores
FEWER_STORES = ("embedded", "redis")


@pytest.fixture(params=STORES if ENGINE == "sqlite" else FEWER_STORES)
def store(request, configure):
    configure(**{"ROWS": "always", "LOCAL_SIZE": 2**20} | STORES[request.param])
    return request.param


def empty() -> None:
    """Through the cache, where results of the run before may be."""
    for model in (Author, Restaurant, Genre, Upper):
        model.objects.all().delete()
    Genre.objects.using("second").all().delete()
    Genre.objects.create(pk=1, name="Poetry")


class Turns:
    """This process shows pages, also while they are computed with turns of others in between."""

    def __init__(self, other_process: Any, seed: int, count: int, *, interrupts: bool = True) -> None:
        """``interrupts``: whether others write while a page is computed. ``count``: of turns, of all of them."""
        processes = 2
        empty()
        self.seed = seed
        self.rng = random.Random(seed)
        self.wrong: list[str] = []
        self.interrupted = 0
        self.served = 0
        self._interrupts = interrupts
        self._turns = turns_of(seed, processes, count)
        self._left = [sum(turn.who == who for turn in self._turns) for who in range(processes)]
        self._processes = [
            other_process.start(f"{MODULE}.take_turns", seed, who, processes, count, stops=["turn"])
            for who in range(processes)
        ]
        for process, left in zip(self._processes, self._left, strict=True):
            if left:
                process.wait_for("turn")
        self._is_inside = False  # one of them, in a transaction
        self._log: list[str] = []
        self._screen = Screen(seed, self._judge)
        #: reads without the cache: what is tracked has no part in it
        self._plain = ThreadPoolExecutor(1)

    def run(self) -> None:
        try:
            while self._turns and not self.wrong:
                if self.rng.random() < 0.4:
                    self._take_turn()
                else:
                    self._show()
            while self._turns:
                self._take_turn()
        finally:
            self._plain.submit(connections.close_all).result(60)
            self._plain.shutdown()

    def _show(self) -> None:
        number = self.rng.randrange(self._is_inside, VIEWS)  # the first one writes, and would wait for a lock
        self._log.append(f"view {number}")
        with ormcache.as_request(), self._screen.interrupted_by(self._interrupt if number else lambda: None):
            self._screen.show(number, asks=self.rng.random() < 0.3)

    def _interrupt(self) -> None:
        if self._interrupts and self._turns and self.rng.random() < 0.1:
            self.interrupted += 1
            self._take_turn()

    def _take_turn(self) -> None:
        turn = self._turns.pop(0)
        self._log.append(f"{turn}")
        if turn.what in ("begin", "commit", "rollback"):
            self._is_inside = turn.what == "begin"
        process = self._processes[turn.who]
        process.go()
        self._left[turn.who] -= 1
        if self._left[turn.who]:
            process.wait_for("turn")
        else:
            self.wrong += process.result()["wrong"]

    def _judge(self, shown: Shown) -> None:
        text, parts, computed = shown
        if computed is None:
            self.served += parts in self._screen.program.views
            computed = self._plain.submit(self._screen.program.text, parts, read).result(60)
            if any(part.kind == "write" for part in self._screen.program.leaves(parts)):
                computed = "(its writes)"
        if text != computed:
            self.wrong.append(f"{parts} of {self.seed}: {text} is not {computed}, after {self._log[-20:]}")


@pytest.mark.slow
def test_in_turns(store, other_process):
    # On the level "request", what has been read stays as it was.
    interrupts = not store.endswith("request")
    served = interrupted = 0
    for seed in range(examples(3)):
        turns = Turns(other_process, seed, 80, interrupts=interrupts)
        turns.run()
        assert turns.wrong == []
        served, interrupted = served + turns.served, interrupted + turns.interrupted

    assert served > 10
    assert bool(interrupted) == interrupts


def run_at_will(
    other_process: Any, seed: int, count: int, processes: int = 2, fault: str | None = None
) -> list[dict[str, Any]]:
    """What the processes report that act at the same time. ``fault``: the rule that they break."""
    empty()
    started = [
        other_process.start(f"{MODULE}.act_at_will", seed, who, count, fault, stops=["begin"])
        for who in range(processes)
    ]
    for process in started:
        process.wait_for("begin")
    for process in started:
        process.go()
    return [process.result() for process in started]


@pytest.mark.slow
def test_at_the_same_time(store, other_process):
    for seed in range(examples(3)):
        reports = run_at_will(other_process, seed, 50)

        assert [report["wrong"] for report in reports] == [[], []]
        assert sum(report["reads"] for report in reports) > 10
        assert sum(report["served"] for report in reports) > 5


@pytest.mark.slow
@only_sqlite
def test_at_the_same_time_in_snapshots(wal, configure, other_process):
    configure(ROWS="always")
    reports = run_at_will(other_process, 2, 100, processes=3)

    assert [report["wrong"] for report in reports] == [[], [], []]


# Faults ---------------------------------------------------------------------------------------


def without_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is served within a page does not pass on what it depends on."""
    monkeypatch.setattr(Tracker, "absorb", lambda self, other: None)


@shown_on_sqlite
@pytest.mark.slow
def test_such_turns_find_a_fault(configure, other_process, monkeypatch):
    configure(ROWS="always")
    without_parts(monkeypatch)

    def is_found(seed: int) -> bool:
        turns = Turns(other_process, seed, 80)
        turns.run()
        return bool(turns.wrong)

    assert any(map(is_found, range(20)))


@shown_on_sqlite
@pytest.mark.slow
def test_such_acts_find_a_fault(configure, other_process):
    configure(ROWS="always")

    runs = (run_at_will(other_process, seed, 50, fault="without_parts") for seed in range(20))
    assert any(report["wrong"] for reports in runs for report in reports)
