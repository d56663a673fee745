"""What advice is based on that only a database knows."""

from __future__ import annotations

import pytest
from django.db import connection

from ormcache.diagnostics.advice import advice_context
from tests.shop.models import Author


@pytest.mark.parametrize(
    "sql, is_followed",
    [
        ("SELECT id, name FROM shop_author WHERE id = 1", True),
        ("SELECT id FROM shop_book WHERE author_id = %s", True),
        ("SELECT id, name FROM shop_author WHERE name = 'Ann'", False),
        ("SELECT DISTINCT name FROM shop_author WHERE id = 1", False),
        ("UPDATE shop_author SET name = %s WHERE id = %s", True),
        ("UPDATE shop_author SET name = %s", False),
        ("DELETE FROM nowhere WHERE id = 1", False),
    ],
)
@pytest.mark.parametrize("mode", ["auto", "never"])
def test_which_statements_are_followed_by_row(configure, sql, is_followed, mode):
    configure(ROWS=mode)
    list(Author.objects.all())
    assert advice_context(connection.ormcache.database).follows_rows(sql) == (is_followed and mode != "never")
