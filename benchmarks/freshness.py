"""Is the first read after a write right? For each kind of write, and each kind of read that was kept before.

What is right is asked of the database past Django, so that no candidate is its own witness.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from typing import Any

from benchmarks.candidates import Candidate
from benchmarks.suite import Suite, explain
from benchmarks.worker import WorkerError

KEY = 31  # a product that no workload writes
BRAND = 7


def run(suite: Suite) -> dict[str, Any]:
    """Kind of write → candidate → kinds of reads that were stale after it, or why it failed."""
    found: dict[str, dict[str, Any]] = {}
    for candidate in suite.candidates:
        for name, answer in _check(suite, candidate).items():
            found.setdefault(name, {})[candidate.name] = answer
    return {"writes": found}


def _check(suite: Suite, candidate: Candidate) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    for name in WRITES:
        if not candidate.is_ours:
            suite.flush(candidate)  # else what is stale since one write would be counted against the next one as well
        try:
            answers[name] = {"stale": suite.worker(candidate).call("benchmarks.freshness.check", write=name)}
        except WorkerError as error:
            answers[name] = {"failed": explain(error)}
    if not candidate.is_ours:
        suite.flush(candidate)
    try:
        reader, writer = suite.team(candidate, 2)
        reader.call("benchmarks.freshness.warm")
        writer.call("benchmarks.freshness.write", name="save()")
        time.sleep(candidate.lag)
        answers["save() elsewhere"] = {"stale": reader.call("benchmarks.freshness.stale")}
    except WorkerError as error:
        answers["save() elsewhere"] = {"failed": explain(error)}
    return answers


# In the worker --------------------------------------------------------------------------


def check(write: str) -> list[str]:
    """Read twice, write, read again: which reads are stale?"""
    warm()
    WRITES[write]()
    return stale()


def write(name: str) -> None:
    WRITES[name]()


def warm() -> None:
    for _ in range(2):
        for look, _ in READS.values():
            look()


def stale() -> list[str]:
    import psycopg
    from django.db import connection

    place = connection.settings_dict
    with psycopg.connect(
        host=place["HOST"], port=place["PORT"], user=place["USER"], password=place["PASSWORD"], dbname=place["NAME"]
    ) as truth:
        return [
            name for name, (look, statement) in READS.items() if look() != sorted(truth.execute(statement).fetchall())
        ]


def _product() -> Any:
    from benchmarks.shop.models import Product

    return Product


def _get() -> Any:
    from benchmarks.reading import read

    product = read("fresh get", lambda: _product().objects.filter(pk=KEY).first())
    return [(product.pk, product.stock, product.name)]


def _rows() -> Any:
    from benchmarks.reading import read

    def rows() -> list[Any]:
        return list(_product().objects.filter(brand_id=BRAND).order_by("pk"))

    return [(one.pk, one.stock) for one in read("fresh rows", rows)]


def _count() -> Any:
    from benchmarks.reading import read

    return [(read("fresh count", lambda: _product().objects.filter(stock__gte=5000).count()),)]


def _sum() -> Any:
    from django.db.models import Sum

    from benchmarks.reading import read

    return [(read("fresh sum", lambda: _product().objects.aggregate(all=Sum("stock")))["all"],)]


def _join() -> Any:
    from benchmarks.reading import read
    from benchmarks.shop.models import Review

    def rows() -> list[Any]:
        return list(Review.objects.filter(product_id=KEY).select_related("product").order_by("pk"))

    return sorted((one.pk, one.product.stock) for one in read("fresh join", rows))


#: Kind of read → how it is made, and what tells the truth about it
READS: dict[str, tuple[Callable[[], Any], str]] = {
    "get": (_get, f"SELECT id, stock, name FROM shop_product WHERE id = {KEY}"),
    "rows": (_rows, f"SELECT id, stock FROM shop_product WHERE brand_id = {BRAND} ORDER BY id"),
    "count": (_count, "SELECT count(*) FROM shop_product WHERE stock >= 5000"),
    "aggregate": (_sum, "SELECT sum(stock) FROM shop_product"),
    "join": (
        _join,
        f"SELECT id, (SELECT stock FROM shop_product WHERE id = {KEY}) FROM shop_review WHERE product_id = {KEY}",
    ),
}


def _current() -> Any:
    return _product().objects.select_for_update().get(pk=KEY)


def _new(number: int) -> Any:
    return _product()(
        name="new",
        sku=f"N{time.time_ns() % 10**15}-{number}",
        price=1,
        weight=1.0,
        stock=6000,
        active=True,
        created=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
        category_id=1,
        brand_id=BRAND,
        supplier_id=1,
    )


def _save() -> None:
    from django.db import transaction

    with transaction.atomic():
        product = _current()
    product.stock = 6000 - product.stock
    product.save()


def _create() -> None:
    _new(0).save()


def _update() -> None:
    from django.db.models import F

    _product().objects.filter(pk=KEY).update(stock=6000 - F("stock"))


def _bulk_create() -> None:
    _product().objects.bulk_create([_new(number) for number in range(3)])


def _bulk_update() -> None:
    from django.db import transaction

    with transaction.atomic():
        product = _current()
    product.stock = 6000 - product.stock
    _product().objects.bulk_update([product], ["stock"])


def _atomic() -> None:
    from django.db import transaction

    with transaction.atomic():
        product = _current()
        for _ in range(3):
            product.stock = 6000 - product.stock
            product.save()


def _delete() -> None:
    _product().objects.filter(name="new").order_by("pk").first().delete()


def _raw() -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("UPDATE shop_product SET stock = 6000 - stock, name = name || '!' WHERE id = %s", [KEY])


def _raw_with() -> None:
    """A text that does not begin with the word."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "WITH chosen AS (SELECT id FROM shop_product WHERE id = %s)"
            " UPDATE shop_product p SET stock = 6000 - stock FROM chosen WHERE p.id = chosen.id",
            [KEY],
        )


#: Kind of write → how it is made. Stocks go from below 1,000 to above 5,000 or back, which every read of them shows.
#: Product KEY is not BRAND's, so the list of that brand's changes when products are added only.
WRITES: dict[str, Callable[[], None]] = {
    "save()": _save,
    "create()": _create,
    "update()": _update,
    "bulk_create()": _bulk_create,
    "bulk_update()": _bulk_update,
    "delete()": _delete,
    "atomic()": _atomic,
    "raw UPDATE": _raw,
    "raw WITH … UPDATE": _raw_with,
}
