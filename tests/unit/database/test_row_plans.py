"""Which rows a result depends on, from its text and its rows."""

from __future__ import annotations

import gc
import weakref

import pytest

from ormcache.cache.stamps import Stamps
from ormcache.catalog.row_keys import KeyColumn, KeyKind, RowKeys
from ormcache.database.catalog_parts import CatalogParts
from ormcache.database.plan_cache import PlanCache
from ormcache.database.row_plans import RowPlans, RowReader
from ormcache.database.row_slots import RowSlots
from ormcache.database.slots import Slots
from ormcache.database.table_filter import TableRules
from ormcache.sql.rows import RowRead, analyse_rows
from ormcache.stores.base import Store

ID, AUTHOR = (KeyColumn(name, KeyKind.INTEGER, is_nullable=name != "id") for name in ("id", "author_id"))
AUTHORS = RowKeys("id", frozenset(), {"id": ID})
BOOKS = RowKeys("id", frozenset(), {"id": ID, "author_id": AUTHOR}, references={"author_id": ("authors", "id")})


@pytest.mark.parametrize(
    "row, is_known",
    [
        ((7, 1, 1), True),
        ((7, None, None), True),
        # The database enforces the foreign key, but need not have done so when the row was written.
        ((7, 1, None), False),
    ],
)
def test_a_row_whose_foreign_key_leads_nowhere(row, is_known):
    read = analyse_rows(
        'SELECT "books"."id", "books"."author_id", "authors"."id" FROM "books"'
        ' LEFT OUTER JOIN "authors" ON ("books"."author_id" = "authors"."id") WHERE "books"."id" = %s',
        "postgresql",
    )
    assert isinstance(read, RowRead)
    slots = [RowSlots(name * 16) for name in (b"b", b"a")]
    reader = RowReader(read, ["books", "authors"], [BOOKS, AUTHORS], slots)
    assert (reader.known_after((7,), [row]) is not None) == is_known


def test_texts_are_forgotten_with_their_plans():
    """They hold the catalog, of which a row of migrations must not keep one after the other alive."""
    slots = Slots(Stamps(Store(), b"identity"), None)
    plans = PlanCache("sqlite", slots, TableRules(), CatalogParts())
    made = RowPlans(lambda text: object(), slots.rows)
    made.of("SELECT 1")
    alive = weakref.ref(slots.rows.made)
    assert list(slots.rows.made) == [(made, "SELECT 1")]

    plans.clear()
    del made
    gc.collect()

    assert not slots.rows.made
    assert alive() is None
