"""SQL of databases of other kinds: what all of them mean by it, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ormcache import reasons
from ormcache.sql import UNKNOWN_VENDOR, Effect, analyse
from tests.examples import examples


@pytest.mark.parametrize(
    "text, sources, bypass_reason",
    [
        ("SELECT * FROM a WHERE x = %s", {(None, "a")}, None),
        ('SELECT "A"."X" FROM "S"."A" INNER JOIN "B" ON ("A"."ID" = "B"."ID")', {("s", "a"), (None, "b")}, None),
        ("SELECT [a].[x], count(*) FROM [a] WHERE [x] IN (SELECT [y] FROM [b c])", {(None, "a"), (None, "b c")}, None),
        ("SELECT `x` FROM `a` WHERE name = 'it''s' OR n > 1.5e3", {(None, "a")}, None),
        ("SELECT * FROM (SELECT x FROM a ORDER BY x) WHERE rownum <= 10", {(None, "a")}, None),
        ("SELECT x FROM a UNION ALL SELECT y FROM b", {(None, "a"), (None, "b")}, None),
        ("SELECT x FROM a FOR UPDATE", {(None, "a")}, reasons.LOCKING),
        ("SELECT sysdate FROM dual", {(None, "dual")}, reasons.CLOCK),
        ("SELECT CURRENT_TIMESTAMP FROM a", {(None, "a")}, reasons.CLOCK),
        ("SELECT s.nextval FROM a", {(None, "a")}, reasons.SEQUENCE),
        ("SELECT NEXT VALUE FOR s", None, reasons.SEQUENCE),
        ("SELECT user FROM a", {(None, "a")}, reasons.SESSION_FUNCTION),
        ("SELECT * FROM a SAMPLE (10)", {(None, "a")}, reasons.RANDOM),
        ("SELECT * FROM a WITH (NOLOCK)", {(None, "a")}, reasons.UNCOMMITTED),
        ("SELECT nvl(x, 1) FROM a", {(None, "a")}, reasons.FUNCTION),
        ("SELECT getdate() FROM a", {(None, "a")}, reasons.CLOCK),
    ],
)
def test_reads(text, sources, bypass_reason):
    statement = analyse(text, UNKNOWN_VENDOR)

    assert statement.effect is Effect.READ
    # Whether a function is repeatable is for the catalog to say.
    assert (statement.bypass_reason or _of_calls(statement)) == bypass_reason
    if sources is not None:
        assert statement.sources == sources


def _of_calls(statement):
    from ormcache.catalog.facts import Facts
    from ormcache.catalog.functions import Functions

    return Functions(UNKNOWN_VENDOR, Facts([])).bypass_reason(statement.calls)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT x FROM a -- , b",
        "SELECT /* b */ x FROM a",
        "SELECT x FROM a # , b",
        "SELECT q'[it's]' FROM a",
        "SELECT N'x' FROM a",
        "SELECT E'\\'' FROM a",
        "SELECT '\\' FROM a",
        "SELECT $$ FROM b $$ FROM a",
        "SELECT 'no end FROM a",
        "SELECT {d '2020-01-01'} FROM a",
        "SELECT @x",
        "SELECT 1--1 FROM a",
    ],
)
def test_what_is_not_the_same_everywhere(text):
    statement = analyse(text, UNKNOWN_VENDOR)

    assert (statement.effect, statement.bypass_reason) == (Effect.OPAQUE, reasons.NOT_UNDERSTOOD)


@pytest.mark.parametrize(
    "text, targets",
    [
        ("INSERT INTO a (x) VALUES (%s)", {(None, "a")}),
        ('UPDATE "S"."A" SET x = 1', {("s", "a")}),
        ("DELETE FROM [a] WHERE x IN (SELECT y FROM b)", {(None, "a")}),
    ],
)
def test_writes(text, targets):
    statement = analyse(text, UNKNOWN_VENDOR)

    assert (statement.effect, statement.targets) == (Effect.WRITE, targets)


@pytest.mark.parametrize(
    "text",
    [
        "MERGE INTO a USING b ON (1 = 1) WHEN MATCHED THEN UPDATE SET x = 1",
        "TRUNCATE TABLE a",
        "BEGIN p(); END;",
        "CALL p()",
        "EXEC p",
        "INSERT ALL INTO a VALUES (1) INTO b VALUES (2) SELECT 1 FROM c",
        "EXPLAIN PLAN FOR SELECT 1 FROM a",
        "UPDATE a SET x = 1; DELETE FROM b; what",
        "COPY a TO STDOUT",
        "VACUUM",
        "USE b",
    ],
)
def test_what_could_be_anything(text):
    assert analyse(text, UNKNOWN_VENDOR).effect is Effect.OPAQUE


def test_schema_changes_may_commit():
    statement = analyse("ALTER TABLE a ADD x integer", UNKNOWN_VENDOR)

    assert (statement.effect, statement.commits_implicitly) == (Effect.SCHEMA, True)


def test_transactions():
    for text, word in [("SAVEPOINT a", "savepoint"), ("ROLLBACK TO SAVEPOINT a", "rollback to"), ("COMMIT", "commit")]:
        assert analyse(text, UNKNOWN_VENDOR).transaction == word
    assert analyse("SET CONSTRAINTS ALL IMMEDIATE", UNKNOWN_VENDOR).effect is Effect.HARMLESS


def test_sessions():
    def changes(text: str):
        change = analyse(text, UNKNOWN_VENDOR).session
        return [(part.name, part.value, part.is_tracked) for part in (change, *change.also)]

    oracle = "ALTER SESSION SET NLS_DATE_FORMAT = 'YYYY' TIME_ZONE = 'UTC'"
    assert changes(oracle) == [("nls_date_format", ("'YYYY'",), True), ("time_zone", ("'UTC'",), True)]
    assert changes("SET x = 1") == [("x", ("1",), True)]
    for text in ("SET x = y + 1", "SET x = f(1)", "ALTER SESSION CLOSE DATABASE LINK x", "SET x 1", "SET SESSION"):
        assert changes(text) == [(None, None, False)]


@given(text=st.text(max_size=60))
@settings(max_examples=examples(500))
def test_any_text(text):
    statement = analyse(text, UNKNOWN_VENDOR)

    if statement.effect is Effect.READ and statement.bypass_reason is None:
        assert text.lstrip("( \t\n").lower().startswith(("select", "with", "values", "table"))
