"""Random reads and writes by key on two connections: whatever they do, a read answers what the database answers."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from django.db import IntegrityError, connections, transaction

import ormcache
from ormcache.database.row_plans import RowReader
from ormcache.database.row_writes import RowWriter
from ormcache.database.slots import Slots
from ormcache.read_path import eligibility
from tests.integration.calls import leftovers
from tests.integration.protocol.row_programs import READS, WRITES, read_with, try_to
from tests.integration.reading import shown_on_sqlite
from tests.shop.models import Author, Genre, Restaurant


class Steps:
    """Two connections, each with a thread of its own, of which one runs at a time."""

    def __init__(self, seed: int, reads: Sequence[str]) -> None:
        self.rng = random.Random(seed)
        self.threads = [ThreadPoolExecutor(1) for _ in range(2)]
        self.in_transaction: int | None = None
        self.block: Any = None
        self.wrong: list[str] = []
        self.log: list[str] = []
        #: what is asked, and asked again and again
        self.favourites = [(self.rng.choice(reads), self.rng.randrange(3)) for _ in range(5)]

    def on(self, who: int, function: Callable[..., Any], *args: Any) -> Any:
        return self.threads[who].submit(function, *args).result(60)

    def read(self, who: int) -> None:
        name, seed = self.rng.choice(self.favourites)
        found = self.on(who, read_with, name, "default", seed)
        self.log.append(f"{who} {name} {seed}")
        true = self.on(who, self.uncached, name, seed) if who == self.in_transaction else read_with(name, "plain", seed)
        if found != true:
            self.wrong.append(f"{name} with {seed} on {who}: {found} is not {true}, after {self.log[-12:]}")

    @staticmethod
    def uncached(name: str, seed: int) -> Any:
        with ormcache.disabled():
            return read_with(name, "default", seed)

    def write(self, who: int) -> None:
        if self.in_transaction in (None, who):  # or else it could wait for a lock for ever
            write, seed = self.rng.choice(WRITES), self.rng.randrange(1000)
            self.log.append(f"{who} {write.__name__} {seed}")
            self.on(who, try_to, write, random.Random(seed), self.in_transaction == who)

    def begin_or_end(self, who: int) -> None:
        if self.in_transaction is None:
            self.block, self.in_transaction = transaction.atomic(), who
            self.log.append(f"{who} begin")
            self.on(who, self.block.__enter__)
        elif self.in_transaction == who:
            self.in_transaction = None
            undone = self.rng.random() < 0.4
            self.log.append(f"{who} {'rollback' if undone else 'commit'}")
            error = (ValueError, ValueError("undone"), None) if undone else (None, None, None)
            with suppress(IntegrityError):  # foreign keys are looked at now
                self.on(who, self.block.__exit__, *error)

    def run(self, steps: int) -> None:
        for _ in range(steps):
            who, what = self.rng.randrange(2), self.rng.random()
            if what < 0.7:
                self.read(who)
            elif what < 0.93:
                self.write(who)
            else:
                self.begin_or_end(who)
            if self.wrong:
                break

    def close(self) -> None:
        if self.in_transaction is not None:
            with suppress(IntegrityError):
                self.on(self.in_transaction, self.block.__exit__, None, None, None)
        for thread in self.threads:
            thread.submit(leftovers).result(30)
            thread.submit(connections.close_all).result(30)
            thread.shutdown()


def run_steps(seed: int, steps: int, reads: Sequence[str] = tuple(READS)) -> list[str]:
    """Return what was read that is not so. ``reads``: the names of those to choose from."""
    for model in (Author, Genre, Restaurant):
        model.objects.all().delete()
    Genre.objects.create(pk=1, name="Poetry")
    some_steps = Steps(seed, reads)
    try:
        some_steps.run(steps)
    finally:
        some_steps.close()
    return some_steps.wrong


@pytest.mark.parametrize("local_size", [0, 2**20])
@pytest.mark.parametrize("rows", ["always", "auto"])
def test_random_reads_and_writes_by_key(configure, rows, local_size):
    configure(LOCAL_SIZE=local_size, ROWS=rows, ADAPTIVE=False, FLIGHT_WAIT=0)
    for seed in range(3):
        assert run_steps(seed, 400) == []


def without_departures(monkeypatch: pytest.MonkeyPatch) -> None:
    """A write to known rows does not say that they may have left the values that they had."""
    marked_by = RowWriter.marked_by

    def fewer(self: RowWriter, params: Any) -> Any:
        found = marked_by(self, params)
        return found and found - {self._slots.departures}

    monkeypatch.setattr(RowWriter, "marked_by", fewer)


def without_arrivals(monkeypatch: pytest.MonkeyPatch) -> None:
    """A write does not say which values its rows come to have."""
    analyse = RowWriter._analyse

    def analyse_less(self: RowWriter, *args: Any) -> None:
        analyse(self, *args)
        self._values = self._lists = ()

    monkeypatch.setattr(RowWriter, "_analyse", analyse_less)


def without_bulk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A write to rows that are not known marks nothing but its relation."""
    names_by_row = Slots.names_by_row

    def fewer(self: Slots, relations: frozenset[str], rows: Any) -> tuple[bytes, ...]:
        bulk = {self.rows.slots(relation).bulk for relation in relations}
        return tuple(slot for slot in names_by_row(self, relations, rows) if slot not in bulk)

    monkeypatch.setattr(Slots, "names_by_row", fewer)


def with_rows_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A result by unique keys depends on the rows that it has, though it lacks some of those that were asked for."""
    monkeypatch.setattr(RowReader, "_rows_found", lambda self, *args: self._unique and frozenset())


def with_partial_results_for_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    """A result depends on the rows that it has, though other conditions or LIMIT have left out some."""
    complete = RowReader._complete

    def too_much(self: RowReader, *args: Any) -> Any:
        self._is_plain, self._limit = self._by_primary is None, None
        return complete(self, *args)

    monkeypatch.setattr(RowReader, "_complete", too_much)


def with_one_column_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """A complete result depends on arrivals in one of the compared columns."""
    complete = RowReader._complete

    def too_few(self: RowReader, *args: Any) -> Any:
        found = complete(self, *args)
        return found and frozenset(sorted(found)[:1])

    monkeypatch.setattr(RowReader, "_complete", too_few)


def with_dirty_results_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction is served what depends on rows that it has written."""
    rows_written = eligibility.rows_written

    def none_of_them(*args: Any) -> Any:
        return None if rows_written(*args) is None else frozenset()

    monkeypatch.setattr(eligibility, "rows_written", none_of_them)


@shown_on_sqlite
@pytest.mark.parametrize(
    "fault, reads",
    [
        (without_departures, ["count", "children if", "most"]),
        (without_arrivals, ["children", "count", "email"]),
        (without_bulk, ["row", "children", "count"]),
        (with_rows_that_are_not_there, ["emails", "uuids"]),
        pytest.param(with_partial_results_for_complete, ["children if", "page"], marks=pytest.mark.slow),
        pytest.param(with_one_column_for_all, ["children of some"], marks=pytest.mark.slow),
        (with_dirty_results_kept, ["row", "children", "with parent"]),
    ],
)
def test_such_steps_find_a_fault(configure, monkeypatch, fault, reads):
    configure(ROWS="always", ADAPTIVE=False, FLIGHT_WAIT=0)
    with monkeypatch.context() as broken:
        fault(broken)
        found = next((wrong for seed in range(12) if (wrong := run_steps(seed, 300, reads))), None)
    ormcache.invalidate()
    assert found is not None
