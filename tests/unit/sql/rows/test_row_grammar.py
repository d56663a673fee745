"""What the analysis says of rows, held against PostgreSQL's own parser."""

from __future__ import annotations

import random

from ormcache.sql import analyse_rows
from tests.examples import examples
from tests.oracle import conditions, mutated, recordings, row_grammar
from tests.oracle.row_grammar import against_facts

SEEDS = range(examples(5000))


def misses(texts: list[str]) -> tuple[list[tuple[str, list[str]]], int]:
    """Return the texts that are not what the analysis says they are, and how many it has analysed."""
    found, analysed = [], 0
    for text in texts:
        rows = analyse_rows(text, "postgresql")
        parsed = None if rows is None else row_grammar.facts(text)
        if rows is None or parsed is None:
            continue
        analysed += 1
        if wrong := against_facts(rows, parsed):
            found.append((text, wrong))
    return found, analysed


def test_recorded_statements():
    found, analysed = misses([one.sql.replace("%%", "%") for one in recordings.kept("postgresql")])

    assert found == []
    assert analysed > 2000


def test_conditions():
    texts = []
    for seed in SEEDS:
        condition = conditions.Conditions("postgresql", random.Random(seed)).text(seed % 4)
        start = ("SELECT r.id, b FROM r WHERE", "DELETE FROM r WHERE", "UPDATE r SET a = 1, s = %s WHERE")[seed % 3]
        texts.append(f"{start} {condition}")
    found, analysed = misses(texts)

    assert found == []
    assert analysed > len(SEEDS) * 0.9


def test_statements_that_nobody_would_write():
    recorded = [one.sql.replace("%%", "%") for one in recordings.kept("postgresql")]
    recorded = [text for text in recorded if analyse_rows(text, "postgresql") is not None]
    texts = []
    for seed in SEEDS:
        chance = random.Random(seed)
        condition = conditions.Conditions("postgresql", chance).text(seed % 3)
        select = f"SELECT r.id, a FROM r WHERE {condition} ORDER BY b LIMIT 5"
        texts.append(conditions.mutated(chance.choice(recorded) if seed % 2 else select, chance))
        texts.append(mutated.mutated("postgresql", chance))
    found, analysed = misses(texts)

    assert found == []
    assert analysed > len(SEEDS) * 0.1
