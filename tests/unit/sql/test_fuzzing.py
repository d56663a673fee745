"""Any text at all: the analysis ends, raises nothing, and takes nothing that writes for a read that may be kept."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ormcache.sql import VENDORS, Effect, Statement, analyse
from tests.examples import examples
from tests.oracle import generated, grammar, mutated
from tests.oracle.judge import against_grammar, may_be_kept

#: CPU seconds for one kilobyte, and for any text. More than ten times what it takes.
A_KILOBYTE, ANY = 0.05, 0.5

seeds = st.integers(0, 2**32).map(random.Random)
vendors = st.sampled_from(VENDORS)


def analysed(text: str, vendor: str) -> Statement:
    started = time.thread_time()
    statement = analyse(text, vendor)
    assert time.thread_time() - started < ANY + A_KILOBYTE * len(text) / 1000
    assert isinstance(statement, Statement)
    return statement


@given(vendors, st.text())
def test_any_text(vendor, text):
    analysed(text, vendor)
    analysed(f"SELECT {text}", vendor)


@settings(max_examples=examples(500))
@given(vendors, seeds)
def test_soups(vendor, chance):
    analysed(mutated.soup(chance), vendor)


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("start", ["", "SELECT * FROM a WHERE x IN (", "'", "/*", "e'a'"])
def test_long_texts(vendor, start):
    """One piece over and over: an expression that backtracks would not end."""
    pieces = [
        *mutated.MARKS,
        *mutated.LITERALS,
        "\n",
        "a, ",
        "a.",
        "((",
        "/* ",
        "''",
        "$a",
        "() AS (",
        ") AS (",
        "e'a' \n",
    ]
    pieces += ["FROM a ", "JOIN a ON ", "WITH a AS (", "SELECT 1;", "UPDATE a SET x = 1;", "%s, ", "\ud800", "\0"]
    for piece in pieces:
        analysed(start + piece * (5000 // len(piece)), vendor)


def test_what_postgresql_parses():
    parsed = 0
    for seed in range(examples(5000)):
        text = mutated.mutated("postgresql", random.Random(seed)).replace("%s", "1")
        found = grammar.parse(text, formatted=False)
        if found is not None:
            parsed += 1
            assert against_grammar(analysed(text, "postgresql"), found) == [], text

    assert parsed > examples(1000)


_HARMLESS = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}


class Compiler:
    """Compiles statements for SQLite tables and runs none; says what they would do. To be closed."""

    def __init__(self) -> None:
        self._connection = sqlite3.connect(":memory:", cached_statements=0)
        for statement in generated.schema("sqlite"):
            self._connection.execute(statement)
        self._actions: set[tuple[int, str]] = set()
        self._connection.set_authorizer(self._note)

    def close(self) -> None:
        self._connection.close()

    def _note(self, action: int, first: str | None, *ignored: object) -> int:
        self._actions.add((action, (first or "").lower()))
        return sqlite3.SQLITE_OK

    def compiles(self, text: str) -> bool:
        self._actions.clear()
        try:
            self._connection.execute(f"EXPLAIN {text}").close()
        except (sqlite3.Error, sqlite3.Warning, ValueError):
            return False
        return True

    @property
    def writes(self) -> bool:
        return any(action not in _HARMLESS for action, _ in self._actions)

    @property
    def written(self) -> set[str]:
        """There are no triggers and no foreign keys: tables that the text itself names."""
        kinds = (sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE)
        return {table for action, table in self._actions if action in kinds and not table.startswith("sqlite_")}


@pytest.fixture
def compiler() -> Iterator[Compiler]:
    with closing(Compiler()) as found:
        yield found


def test_what_sqlite_compiles(compiler):
    compiled, kept, writing = 0, 0, 0
    for seed in range(examples(5000)):
        text = mutated.mutated("sqlite", random.Random(seed))
        statement = analysed(text, "sqlite")
        if not compiler.compiles(text):
            continue
        compiled += 1
        kept += may_be_kept(statement)
        if compiler.writes:
            writing += 1
            assert not may_be_kept(statement), text
            assert statement.effect not in (Effect.READ, Effect.HARMLESS), text
        if statement.effect is Effect.WRITE:
            known = statement.names if statement.targets is None else {name for _, name in statement.targets}
            assert compiler.written <= known, text

    assert min(compiled, kept, writing) > examples(300), (compiled, kept, writing)
