"""The rows of the shop: the same ones in every run, made inside PostgreSQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Rows:
    """How many there are of what, all following from the largest table."""

    items: int

    def counts(self) -> dict[str, int]:
        """Model → rows, parents first."""
        items = self.items
        return {
            "Category": 50,
            "Supplier": 100,
            "Brand": 200,
            "Tag": 100,
            "Product": max(items // 40, 1200),  # there is a query for 1,000 of them
            "Customer": max(items // 20, 200),
            "Address": max(items // 20, 200),
            "Order": items // 4,
            "Item": items,
            "Review": max(items // 10, 1000),
            "Visit": 1000,
        }


#: Model → its columns, and an expression for each of them in n, the key. Remainders by different primes give values
#: that look unrelated. Names in braces are numbers of rows.
_COLUMNS = {
    "Category": {"name": "'category ' || n", "parent_id": "CASE WHEN n > 10 THEN n % 10 + 1 END"},
    "Supplier": {
        "name": "'supplier ' || n",
        "country": "chr(65 + n % 26) || chr(65 + n % 7)",
        "email": "'office@supplier' || n || '.example.org'",
    },
    "Brand": {"name": "'brand ' || n", "founded": "1850 + n * 37 % 170"},
    "Tag": {"name": "'tag ' || n"},
    "Product": {
        "name": "'product ' || n",
        "sku": "'SKU-' || lpad(n::text, 8, '0')",
        "price": "(n * 7919 % 50000) / 100.0 + 1",
        "weight": "(n * 104729 % 9973) / 7.0::float8",
        "stock": "n * 31 % 1000",
        "active": "n % 5 <> 0",
        "created": "timestamptz '2020-01-01 00:00+00' + n * interval '37 minutes'",
        "category_id": "n * 13 % {Category} + 1",
        "brand_id": "n * 17 % {Brand} + 1",
        "supplier_id": "n * 19 % {Supplier} + 1",
    },
    "Customer": {
        "name": "'Customer Number ' || n",
        "email": "'customer' || n || '@example.org'",
        "birthday": "date '1950-01-01' + (n * 7919 % 20000)::int",
        "points": "n * 101 % 5000",
    },
    "Address": {
        "customer_id": "(n - 1) % {Customer} + 1",
        "street": "n % 200 || ' Long Street'",
        "city": "'city ' || n % 500",
        "postcode": "lpad((n * 7 % 100000)::text, 5, '0')",
    },
    "Order": {
        "customer_id": "n * 23 % {Customer} + 1",
        "address_id": "n * 23 % {Address} + 1",
        "placed": "timestamptz '2024-01-01 00:00+00' + n * interval '11 minutes'",
        "status": "(ARRAY['new', 'paid', 'sent', 'done'])[n % 4 + 1]",
        "total": "(n * 15485863::bigint % 100000) / 100.0",
    },
    "Item": {
        "order_id": "(n - 1) / 4 + 1",
        "product_id": "n * 7919::bigint % {Product} + 1",
        "quantity": "n % 7 + 1",
        "price": "(n * 104729::bigint % 50000) / 100.0 + 1",
    },
    "Review": {
        "product_id": "n * 29 % {Product} + 1",
        "customer_id": "n * 41 % {Customer} + 1",
        "stars": "n % 5 + 1",
        "text": "repeat('Good value for the money. ', (n % 9 + 1)::int)",
        "written": "timestamptz '2024-06-01 00:00+00' + n * interval '53 minutes'",
    },
    "Visit": {"path": "'/page/' || n", "hits": "0"},
}


def create(items: int) -> None:
    """Make all tables and fill them. Runs in a worker on the database that the others are copied from."""
    from django.apps import apps
    from django.db import connection

    models = list(apps.get_app_config("shop").get_models())
    with connection.schema_editor() as editor:
        for model in models:
            editor.create_model(model)
    with connection.cursor() as cursor:
        counts = Rows(items).counts()
        for name, columns in _COLUMNS.items():
            _fill(cursor, name, columns, counts)
        cursor.execute(
            "INSERT INTO shop_product_tags (product_id, tag_id)"
            " SELECT p, (p * 3 + k * 7) %% 100 + 1 FROM generate_series(1, %s) p, generate_series(0, 2) k",
            [counts["Product"]],
        )
        for number in range(sum(model.__name__.startswith("Link") for model in models)):
            refers = ({"previous_id": "n"}) if number else {}
            _fill(cursor, f"Link{number:02}", {"name": "'link ' || n", **refers}, {f"Link{number:02}": 5})
        for model in models:
            table = model._meta.db_table
            cursor.execute(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT max(id) FROM {table}))")
        # Else the first readers would set hint bits, and autovacuum would come while something is measured.
        cursor.execute("VACUUM (ANALYZE, FREEZE)")
    connection.close()


def _fill(cursor: Any, name: str, columns: dict[str, str], counts: dict[str, int]) -> None:
    expressions = ", ".join(one.format(**counts) for one in columns.values())
    cursor.execute(
        f"INSERT INTO shop_{name.lower()} (id, version, {', '.join(columns)})"
        f" SELECT n, 0, {expressions} FROM generate_series(1, {counts[name]}) n"
    )
