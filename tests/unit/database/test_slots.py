"""Which relation a slot is of, for people."""

from __future__ import annotations

from typing import Any

import pytest

from ormcache.cache.stamps import Stamps
from ormcache.catalog.row_keys import KeyColumn, KeyKind
from ormcache.database import slots as module
from ormcache.database.slots import Slots


@pytest.fixture
def slots() -> Slots:
    store: Any = None  # names need none
    return Slots(Stamps(store, b"database"), None)


def test_the_relation_of_a_slot(slots: Slots) -> None:
    assert slots.relation_of(slots.name("book")) == "book"
    assert slots.relation_of(slots.name("*")) == "*"
    rows = slots.rows.slots("author")
    assert slots.relation_of(rows.bulk) == slots.relation_of(rows.departures) == "author"
    row = rows.rows_by(KeyColumn("id", KeyKind.INTEGER))(1)
    assert row is not None
    assert slots.relation_of(row) is None
    assert slots.relation_of(b"x" * 16) is None


def test_it_is_not_looked_for_among_too_many(slots: Slots, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_SEARCHED", 2)
    names = [slots.name(f"table{number}") for number in range(3)]
    assert slots.relation_of(names[0]) is None
