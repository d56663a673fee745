"""SELECTs by chance, held against the database's own parser: no relation that it finds is missed."""

from __future__ import annotations

import sqlite3

import pytest

from ormcache.sql import Effect, analyse
from tests.examples import examples
from tests.oracle import generated, grammar
from tests.oracle.authorizer import Authorizer
from tests.oracle.judge import against_grammar, against_tables, may_be_kept

SEEDS = range(examples(1500))


def shown(misses: list[tuple[str, list[str]]]) -> str:
    """The shortest ones."""
    return f"{len(misses)} texts\n" + "\n".join(f"{what}\n   {text}" for text, what in sorted(misses, key=_length)[:5])


def _length(miss: tuple[str, list[str]]) -> int:
    return len(miss[0])


def test_postgresql():
    misses, kept = [], 0
    for seed in SEEDS:
        text = generated.text("postgresql", seed, depth=1 + seed % 3)
        parsed, statement = grammar.parse(text, formatted=False), analyse(text, "postgresql")
        assert parsed is not None, text
        if found := against_grammar(statement, parsed):
            misses.append((text, found))
        kept += may_be_kept(statement)

    assert not misses, shown(misses)
    assert kept > len(SEEDS) * 0.95


@pytest.fixture
def tables():
    connection = sqlite3.connect(":memory:", cached_statements=0)
    for statement in generated.schema("sqlite"):
        connection.execute(statement)
    yield connection
    connection.close()


def test_sqlite(tables):
    authorizer = Authorizer(tables)
    misses, kept, taken = [], 0, 0
    for seed in SEEDS:
        text = generated.text("sqlite", seed, depth=1 + seed % 3)
        authorizer.forget()
        try:
            tables.execute(f"EXPLAIN {text}").close()  # compiled, not run
        except sqlite3.Error:
            continue
        statement = analyse(text, "sqlite")
        assert statement.effect is Effect.READ
        if found := against_tables(statement, authorizer.told("read")):
            misses.append((text, found))
        taken += 1
        kept += may_be_kept(statement)

    assert not misses, shown(misses)
    assert taken > len(SEEDS) * 0.75
    assert kept > taken * 0.95
