"""Random functions that are cached, with reads of every shape and cached parts, and writes, also between two reads.

Whatever they do, a function answers what it answers on the alias ``plain``. If a write came while it was computed, what
its caller gets may be mixed, as without a cache; what is served from then on is not.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

import pytest

import ormcache
from ormcache.cache.tracking import Tracker
from ormcache.pages.derivation import Derivation
from ormcache.read_path.read import ReadExecution
from tests.integration.pages.derived import use
from tests.integration.protocol.row_programs import READS, read_with
from tests.integration.protocol.test_random_rows import Steps
from tests.integration.reading import shown_on_sqlite
from tests.shop.models import Author, Genre, Restaurant

FUNCTIONS = 6


class Part(NamedTuple):
    """What a function does: a read, or a call of another one."""

    name: str
    seed: int  # of the read, or the number of the function


def functions_of(rng: random.Random) -> list[list[Part]]:
    """Each may call those before it."""
    functions: list[list[Part]] = []
    for number in range(FUNCTIONS):
        parts = [Part(rng.choice(list(READS)), rng.randrange(3)) for _ in range(rng.randint(1, 3))]
        if number:
            parts += [Part("", rng.randrange(number)) for _ in range(rng.randint(0, 2))]
        rng.shuffle(parts)
        functions.append(parts)
    return functions


class FunctionSteps(Steps):
    """The same two connections, which call functions in place of single reads."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, tuple(READS))
        self.functions = functions_of(self.rng)
        self.hits = self.computed = self.interrupted = 0

    def read(self, who: int) -> None:
        number = self.rng.randrange(FUNCTIONS)
        self.log.append(f"{who} function {number}")
        before = self.interrupted
        found = self.on(who, self.call, number, self.writes_between(who))
        if self.interrupted > before:
            found = self.on(who, self.call, number, lambda: None)
        true = self.on(who, self.truth, number, "default" if who == self.in_transaction else "plain")
        if found != true:
            self.wrong.append(f"function {number} on {who}: {found} is not {true}, after {self.log[-15:]}")

    def writes_between(self, who: int) -> Callable[[], None]:
        """Return what is called between two parts: sometimes the other connection writes there."""
        other = 1 - who
        if self.in_transaction is not None or self.rng.random() < 0.7:
            return lambda: None
        left = [self.rng.randint(0, 3)]

        def write() -> None:
            left[0] -= 1
            if left[0] == 0:
                self.interrupted += 1
                self.write(other)

        return write

    def call(self, number: int, between: Callable[[], None]) -> str:
        derivation = Derivation(use(f"function {number}"))
        found = derivation.look_up()
        if found is not None:
            self.hits += 1
            return str(found.payload)
        self.computed += 1
        with derivation.computing():
            values = []
            for part in self.functions[number]:
                between()
                values.append(
                    self.call(part.seed, between) if part.name == "" else read_with(part.name, "default", part.seed)
                )
            value = repr(values)
            between()
        derivation.store(value)
        return value

    def truth(self, number: int, using: str) -> str:
        with ormcache.disabled():
            return repr(
                [
                    self.truth(part.seed, using) if part.name == "" else read_with(part.name, using, part.seed)
                    for part in self.functions[number]
                ]
            )


def run_steps(seed: int, steps: int) -> FunctionSteps:
    """Return what has happened; its ``wrong`` is what was answered that is not so."""
    for model in (Author, Genre, Restaurant):
        model.objects.all().delete()
    Genre.objects.create(pk=1, name="Poetry")
    some_steps = FunctionSteps(seed)
    try:
        some_steps.run(steps)
    finally:
        some_steps.close()
    return some_steps


@pytest.mark.parametrize("local_size", [0, 2**20])
@pytest.mark.parametrize("rows", ["always", "never"])
def test_random_functions(configure, rows, local_size):
    configure(LOCAL_SIZE=local_size, ROWS=rows, ADAPTIVE=False, FLIGHT_WAIT=0)
    steps = run_steps(local_size, 300)
    assert steps.wrong == []
    assert steps.hits > 10
    assert steps.interrupted > 0


def without_hits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a hit depends on does not count."""
    monkeypatch.setattr(ReadExecution, "_track", lambda self, *args: None)


def without_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that is served does not pass on what it depends on."""
    monkeypatch.setattr(Tracker, "absorb", lambda self, other: None)


@shown_on_sqlite
@pytest.mark.slow
@pytest.mark.parametrize("fault", [without_hits, without_parts])
def test_a_fault_is_found(configure, monkeypatch, fault):
    configure(LOCAL_SIZE=0, ROWS="never", ADAPTIVE=False, FLIGHT_WAIT=0)
    fault(monkeypatch)
    assert any(run_steps(seed, 400).wrong for seed in range(20))
