"""Which relations the names in BLACKLIST and ONLY mean."""

from __future__ import annotations

import pytest

from ormcache.database.table_filter import TableFilter, table_of, tables_of, unmatched
from tests.shop.models import Book, LegacyStock, Novel, Upper


@pytest.mark.parametrize(
    "name, inside, outside",
    [
        ("shop.Book", ["shop_book", "SHOP_BOOK", "tenant.shop_book"], ["shop_books", "book", "shop_book_genres"]),
        ("shop.novel", ["shop_book"], ["shop_novel"]),
        ("shop.*", ["shop_book", "shop_book_genres", "legacy_stock", "Shop_Upper"], ["auth_user", "shop_other"]),
        ("shop_*", ["shop_book", "shop_other", "x.shop_a"], ["shop", "a_shop_"]),
        ("x.shop_*", ["x.shop_a"], ["shop_a", "y.shop_a"]),
        ("Audit_Log", ["audit_log", "x.AUDIT_LOG"], ["audit_logs"]),
        ("a[bc]?", ["abx", "acx"], ["aax", "ab"]),
        ("*", ["anything", "a.b"], []),
        ("shop.Nothing", [], ["shop_nothing", "shop_book"]),
        ("nothing.*", ["nothing.a"], ["shop_book"]),
    ],
)
def test_names(name, inside, outside):
    selection = TableFilter([name])

    assert [relation for relation in inside if relation not in selection] == []
    assert [relation for relation in outside if relation in selection] == []


def test_several_names():
    selection = TableFilter(["shop.Book", "audit_*"])

    assert selection
    assert {"shop_book", "audit_x"} == {r for r in ("shop_book", "audit_x", "shop_review") if r in selection}
    assert not TableFilter([])


def test_tables():
    assert (table_of(Book), table_of(Novel), table_of(Upper)) == ("shop_book", "shop_book", "shop_upper")
    assert table_of(LegacyStock) == "legacy_stock"
    assert tables_of("shop.Upper") == {"shop_upper"}
    assert {"shop_book", "shop_book_genres"} <= tables_of("shop.*")
    assert tables_of("shop.Nothing") is tables_of("what.Book") is tables_of("shop_book") is None


def test_unmatched():
    assert unmatched(["shop.Book", "no_*", "SHOP_r*"], ["shop_book", "shop_review"]) == ["no_*"]
