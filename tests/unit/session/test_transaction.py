"""What drivers tell of open transactions, each in its own way."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from ormcache.catalog import ANYWHERE
from ormcache.session.tracker import Session
from ormcache.session.transaction import Transaction


def transaction(driver: object) -> Transaction:
    # Transactions refer weakly to Django's connection.
    connection = type("Connection", (), {"connection": driver, "in_atomic_block": False, "autocommit": True})()
    state = type("State", (), {"vendor": "mysql", "database": None, "session": Session()})()
    found = Transaction(connection, state)
    found.kept = connection
    return found


def info() -> str:
    """mysqlclient's connections have such a method."""
    return ""


@pytest.mark.parametrize(
    "driver, is_open, is_broken",
    [
        (SimpleNamespace(info=SimpleNamespace(transaction_status=0)), False, False),
        (SimpleNamespace(info=SimpleNamespace(transaction_status=2)), True, False),
        (SimpleNamespace(info=SimpleNamespace(transaction_status=3)), True, True),
        (SimpleNamespace(in_transaction=True), True, False),
        (SimpleNamespace(in_transaction=False), False, False),
        (SimpleNamespace(server_status=1), True, False),
        (SimpleNamespace(server_status=2), False, False),
        (SimpleNamespace(info=info), False, False),
        (None, False, False),
    ],
    ids=["idle", "open", "failed", "sqlite3 open", "sqlite3 idle", "PyMySQL open", "PyMySQL idle", "mysqlclient", "-"],
)
def test_what_drivers_tell(driver, is_open, is_broken):
    found = transaction(driver)

    assert found.is_broken is is_broken
    found.update_from_driver(frozenset({"a"}))
    assert (found.is_open, found.dirty) == ((True, {"a"}) if is_open else (False, frozenset()))


def test_what_one_transaction_was_planned_by_is_nothing_to_the_next():
    found = transaction(None)
    one, other = object(), object()
    found.record_plan(one, ANYWHERE)
    found.record_write(frozenset({"a"}))
    found.record_plan(other, ANYWHERE)
    assert found.parts == {one, other}

    found.end(committed=True)
    found.record_plan(other, ANYWHERE)
    assert found.parts == {other}
