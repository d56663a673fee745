"""What the analysis says of conditions by chance, held against the rows that SQLite returns."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing

import pytest

from ormcache.sql import RowRead, analyse_rows
from tests.examples import examples
from tests.oracle import conditions
from tests.oracle.row_judge import against_rows

SEEDS = range(examples(4000))


class Checked:
    """Runs conditions, and counts what the analysis says of them."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.run = self.compared = self.complete = 0
        self._connection = connection
        self._rows = {row["id"]: row for row in conditions.rows()}

    def check(self, condition: str, values: Sequence[int] = ()) -> None:
        text = f"SELECT id FROM r WHERE {condition}"
        try:
            returned = [key for (key,) in self._connection.execute(text.replace("%s", "?"), values)]
        except sqlite3.Error:
            return
        self.run += 1
        read = analyse_rows(text, "sqlite")
        if isinstance(read, RowRead):
            assert against_rows(read, values, returned, self._rows) == [], text
            self.compared += bool(read.comparisons)
            self.complete += read.is_all


@pytest.fixture
def checked() -> Iterator[Checked]:
    with closing(sqlite3.connect(":memory:")) as connection:
        for statement in conditions.schema("sqlite"):
            connection.execute(statement)
        yield Checked(connection)


def test_every_row_fulfils_what_is_compared(checked):
    for seed in SEEDS:
        made = conditions.Conditions("sqlite", random.Random(seed))
        checked.check(made.text(seed % 4), made.values)

    assert checked.run > len(SEEDS) * 0.9
    assert checked.compared > len(SEEDS) * 0.25
    assert checked.complete > len(SEEDS) * 0.1


def test_conditions_that_nobody_would_write(checked):
    for seed in SEEDS:
        chance = random.Random(seed)
        made = conditions.Conditions("sqlite", chance, placeholders=0)
        checked.check(conditions.mutated(made.text(seed % 4), chance))

    assert checked.run > len(SEEDS) * 0.08
    assert checked.compared > len(SEEDS) * 0.02
