"""What one session has set, and which sessions are alike."""

from __future__ import annotations

import pytest

from ormcache import reasons
from ormcache.session import Session
from ormcache.sql import analyse

BASE = ("server", "settings")


def after(*statements: str, vendor: str = "postgresql", in_transaction: bool = False, params=None) -> Session:
    """A new session in which these have run."""
    session = Session()
    session.described(BASE, "read committed")
    for text in statements:
        change = analyse(text, vendor).session
        if change is not None:
            session.change(change, params, in_transaction=in_transaction)
    return session


PLAIN = after().fingerprint

DIFFERENT = [
    [],
    ["SET search_path TO a"],
    ["SET search_path TO b"],
    ['SET search_path TO "A"'],
    ["SET search_path TO a, b"],
    ["SET ROLE a"],
    ["SET SESSION AUTHORIZATION a"],
    ["SET ROLE a", "SET SESSION AUTHORIZATION b"],
    ["SET SESSION AUTHORIZATION b", "SET ROLE a"],
    ["SET TIME ZONE 'UTC'"],
    ["SET TIME ZONE 'utc '"],
    ["SET a.b = 'x'"],
    ["SET a.b = 'x'", "SET a.c = 'x'"],
    ["SET DateStyle = 'ISO, DMY'"],
]


def test_different_sessions():
    fingerprints = {after(*statements).fingerprint: statements for statements in DIFFERENT}

    assert len(fingerprints) == len(DIFFERENT)
    assert all(after(*statements).obstacle is None for statements in DIFFERENT)


@pytest.mark.parametrize(
    "one, other",
    [
        (["SET search_path TO b", "SET search_path TO a"], ["SET search_path TO a"]),
        (["SET SCHEMA 'b'", "SET search_path TO a"], ["SET search_path TO a"]),
        (["SET statement_timeout = 1"], []),
        (["SET LOCAL a.b = 'x'"], []),
        (["SELECT set_config('a.b', 'x', true)"], []),
        (["BEGIN", "SELECT 1"], []),
    ],
)
def test_alike_sessions(one, other):
    assert after(*one).fingerprint == after(*other).fingerprint


def test_values_of_parameters_count():
    text = "SELECT set_config('a.b', %s, false)"
    fingerprints = {after(text, params=(value,)).fingerprint for value in ("x", "y", "", 1, None)}

    assert len(fingerprints | {PLAIN}) == 6
    assert after(text, params=(object(),)).obstacle == reasons.SESSION


def test_a_transaction_takes_back_what_was_set_in_it():
    session = after("SET a.b = 'x'")
    before = session.fingerprint
    for text in ("SET a.b = 'y'", "SET LOCAL a.c = 'z'"):
        session.change(analyse(text, "postgresql").session, None, in_transaction=True)
    assert session.fingerprint != before
    session.ended(undone=True)
    assert session.fingerprint == before


def test_a_commit_keeps_all_but_what_is_local():
    session = after()
    for text in ("SET a.b = 'y'", "SET LOCAL a.c = 'z'"):
        session.change(analyse(text, "postgresql").session, None, in_transaction=True)
    session.ended(undone=False)
    assert session.fingerprint == after("SET a.b = 'y'").fingerprint


def test_savepoints():
    session = after("SET a.b = '1'")
    one = session.fingerprint
    session.savepoint("s")
    session.change(analyse("SET a.b = '2'", "postgresql").session, None, in_transaction=True)
    two = session.fingerprint
    session.savepoint("s")
    session.change(analyse("SET LOCAL a.b = '3'", "postgresql").session, None, in_transaction=True)
    session.rolled_back_to("s")
    assert session.fingerprint == two
    session.rolled_back_to("unknown")
    assert session.fingerprint == two
    session.ended(undone=True)
    assert session.fingerprint == one


@pytest.mark.parametrize(
    "text, vendor",
    [
        ("SELECT set_config('a' || 'b', 'x', false)", "postgresql"),
        ("RESET ALL", "postgresql"),
        ("DISCARD TEMP", "postgresql"),
        ("SET a = 1; SET b = 2", "postgresql"),
        ("UPDATE a SET x = set_config('a.b', 'x', false)", "postgresql"),
        ("SET @@time_zone = '+00:00'", "mysql"),
        ("SET a = 1, b = 2", "mysql"),
        ("USE other", "mysql"),
        ("ATTACH 'x' AS y", "sqlite"),
        ("PRAGMA case_sensitive_like = 1", "sqlite"),
    ],
)
def test_what_cannot_be_followed(text, vendor):
    assert after(text, vendor=vendor).obstacle == reasons.SESSION


@pytest.mark.parametrize("vendor", ["postgresql", "mysql", "sqlite"])
def test_a_temporary_table_has_a_reason_of_its_own(vendor):
    assert after("CREATE TEMPORARY TABLE t (x integer)", vendor=vendor).obstacle == reasons.TEMPORARY


def test_discard_all_begins_anew():
    session = after("SET a.b = 'x'", "CREATE TEMP VIEW v AS SELECT 1", "DISCARD ALL")

    assert (session.obstacle, session.hides, session.base) == (None, False, None)
    session.described(BASE, "read committed")
    assert session.fingerprint == PLAIN


def test_isolation():
    assert not after().snapshots()
    assert after("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE").snapshots()
    assert after("SET default_transaction_isolation = 'repeatable read'").snapshots()
    assert after("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", vendor="mysql").snapshots()
    session = after("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", in_transaction=True)
    assert session.snapshots()
    session.ended(undone=False)
    assert not session.snapshots()


def test_local_means_the_session_in_mysql():
    one = after("SET LOCAL time_zone = '+05:00'", vendor="mysql", in_transaction=True)
    one.ended(undone=False)

    assert one.fingerprint == after("SET time_zone = '+05:00'", vendor="mysql").fingerprint != PLAIN
