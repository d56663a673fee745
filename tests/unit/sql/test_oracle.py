"""Statements of Django's own test suite: no relation, no function and no write that the database names is missed."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

import pytest

from ormcache.sql import VENDORS, Effect, analyse
from tests.oracle import check, grammar, judge, recordings
from tests.oracle.authorizer import Authorizer


@pytest.mark.parametrize("vendor", VENDORS)
def test_recorded_statements(vendor):
    report = check.texts(recordings.kept(vendor))

    assert not report.misses, str(report)
    assert report.statements > 1000
    assert report.exact > 10 * len(report.extra)


# The oracle itself ------------------------------------------------------------------------

#: A fault in the analysis → a word of the misses that it must lead to
FAULTS = {
    "a source is lost": (lambda one: replace(one, sources=frozenset(sorted(one.sources, key=str)[1:])), "sources"),
    "no names": (lambda one: replace(one, names=frozenset()), "names"),
    "all is read": (lambda one: replace(one, effect=Effect.READ, bypass_reason=None), "write"),
}


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("fault, word", FAULTS.values(), ids=FAULTS)
def test_it_reports_a_fault(vendor, fault, word):
    report = check.texts(recordings.kept(vendor)[::20], lambda *text: fault(analyse(*text)))

    assert any(word in miss for _, miss in report.misses)


@pytest.mark.parametrize(
    "text, fault, word",
    [
        ("SELECT what(1) FROM a", {"calls": frozenset()}, "calls"),
        ("SELECT CURRENT_DATE", {"bypass_reason": None}, "current_date"),
        ("SELECT * FROM a FOR UPDATE", {"bypass_reason": None}, "plain read"),
        (
            "WITH d AS (DELETE FROM a RETURNING *) SELECT * FROM d",
            {"effect": Effect.READ, "bypass_reason": None},
            "write",
        ),
        ("INSERT INTO a VALUES (1)", {"targets": frozenset({(None, "b")})}, "targets"),
        ("UPDATE s.a SET x = 1", {"targets": frozenset({("t", "a")})}, "targets"),
        ("DROP TABLE a", {"effect": Effect.WRITE}, "DropStmt"),
        ("CALL p()", {"effect": Effect.HARMLESS}, "CallStmt"),
        ("TRUNCATE a", {"effect": Effect.HARMLESS}, "TruncateStmt"),
        ("SET x = 1", {"effect": Effect.WRITE}, "VariableSetStmt"),
        ("SELECT 1; DELETE FROM a", {"effect": Effect.READ, "bypass_reason": None}, "write"),
    ],
)
def test_the_grammar_finds(text, fault, word):
    parsed = grammar.parse(text)
    statement = analyse(text, "postgresql")

    assert judge.against_grammar(statement, parsed) == []
    assert word in " ".join(judge.against_grammar(replace(statement, **fault), parsed))


@pytest.mark.parametrize(
    "text, relations",
    [
        ("WITH c AS (SELECT * FROM c) SELECT * FROM c", {(None, "c")}),
        ("WITH RECURSIVE c AS (SELECT 1 UNION SELECT * FROM c) SELECT * FROM c, s.c", {("s", "c")}),
        ("WITH c AS (SELECT 1), d AS (SELECT * FROM c, d) SELECT * FROM c", {(None, "d")}),
        ("SELECT * FROM (WITH c AS (SELECT 1) SELECT * FROM c) x, c", {(None, "c")}),
        ("WITH c AS (SELECT 1) INSERT INTO c SELECT * FROM c", {(None, "c")}),
        ("SELECT * FROM a x WHERE x IN (TABLE b) FOR UPDATE OF x", {(None, "a"), (None, "b")}),
    ],
)
def test_the_grammar_knows_scopes(text, relations):
    assert grammar.parse(text).relations == relations


def test_a_plan_that_misses_is_reported():
    note = {
        "vendor": "postgresql",
        "sql": "SELECT …",
        "plan": {"effect": "READ", "bypass_reason": None, "relations": ["a"], "written": [], "temporary": []},
        "touched": ["a", "b"],
        "invalidating": ["a"],
        "written": [],
    }
    writing = note | {"plan": note["plan"] | {"effect": "WRITE", "written": ["a"]}, "written": ["a", "c"]}
    opaque = writing | {"plan": writing["plan"] | {"written": ["*"]}}

    assert check.plans([note]).misses == [("SELECT …", "reads ['b']")]
    assert check.plans([note | {"invalidating": ["b"]}]).misses == []
    assert check.plans([writing]).misses == [("SELECT …", "writes ['c']")]
    assert check.plans([opaque]).misses == []


def test_shapes():
    one = 'SELECT "a"."x", "a"."y" FROM "a" WHERE "a"."x" IN (1, 2) AND "a"."t" = \'x\''
    other = 'SELECT "b"."z", "b"."y", "b"."x" FROM "b" WHERE "b"."x" IN (3, 4) AND "b"."t" = \'yy\''

    assert recordings.shape(one) == recordings.shape(other)
    assert recordings.shape(one) != recordings.shape(one.replace("IN", "NOT IN"))


def test_the_authorizer():
    connection = sqlite3.connect(":memory:", cached_statements=0)
    connection.executescript(
        """
        CREATE TABLE a (x); CREATE TABLE b (x); CREATE TABLE c (x);
        CREATE VIEW v AS SELECT x FROM a;
        CREATE TRIGGER t AFTER INSERT ON b BEGIN DELETE FROM c; END;
        """
    )
    authorizer = Authorizer(connection)
    connection.execute("INSERT INTO b SELECT x FROM v, (WITH d AS (SELECT 1) SELECT * FROM d)")

    assert authorizer.told("read") == {"v", "a"}
    assert authorizer.told("read", direct=True) == {"v"}
    assert authorizer.told("written") == {"b", "c"}
    assert authorizer.told("written", direct=True) == {"b"}
    authorizer.forget()
    assert authorizer.told("read") == set()
    connection.close()
