"""The functions of the workloads. They run in a worker: a Django project with the settings of one candidate.

Writes go to rows that no other workload reads, so that a workload's answers do not depend on which ones ran before.
"""

from __future__ import annotations

import datetime
import functools
import itertools
import os
from collections.abc import Callable
from typing import Any

from django.db import connection, transaction
from django.db.models import Avg, Count, F, Max, Sum
from django.template import Context, Engine

from benchmarks.reading import derived, fragment_tags, read
from benchmarks.shop.models import (
    Address,
    Brand,
    Category,
    Customer,
    Item,
    Order,
    Product,
    Review,
    Supplier,
    Tag,
    Visit,
)

#: Numbers that no query has used yet, in no process of this run
_fresh = itertools.count(os.getpid() * 10**6)

OFTEN_READ = 7
OFTEN_WRITTEN = 11  # a product that nothing else reads by its key
MOMENT = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


# Reads ----------------------------------------------------------------------------------


def get() -> Any:
    return read("get", lambda: Product.objects.get(pk=OFTEN_READ))


def rows_20() -> Any:
    return read("rows_20", lambda: list(Order.objects.filter(status="paid").order_by("pk")[:20]))


def related_100() -> Any:
    query = Item.objects.select_related("order__customer", "product").order_by("pk")
    return read("related_100", lambda: list(query[:100]))


def prefetch() -> Any:
    query = Order.objects.prefetch_related("items").order_by("pk")
    return read("prefetch", lambda: list(query[:50]))


def count() -> Any:
    return read("count", lambda: Customer.objects.filter(points__gte=2500).count())


def exists() -> Any:
    return read("exists", lambda: Order.objects.filter(customer_id=5).exists())


def aggregate() -> Any:
    return read("aggregate", lambda: Item.objects.aggregate(Sum("quantity"), Avg("price"), n=Count("pk")))


def rows_1000() -> Any:
    return read("rows_1000", lambda: list(Product.objects.order_by("pk")[:1000]))


def values_list() -> Any:
    return read("values_list", lambda: list(Product.objects.order_by("pk").values_list("pk", "name", "price")[:1000]))


# Pages ----------------------------------------------------------------------------------

_Query = Callable[[], Any]

#: What a page of a shop asks for: the visitor, menus, a product with all around it; one statement each
_PAGE: list[_Query] = [
    lambda: Customer.objects.get(pk=17),
    lambda: list(Category.objects.filter(parent=None).order_by("name")),
    lambda: Product.objects.select_related("brand", "category", "supplier").get(pk=21),
    lambda: list(Tag.objects.filter(product=21).order_by("pk")),
    lambda: list(Review.objects.filter(product_id=21).select_related("customer").order_by("-written")[:10]),
    lambda: Review.objects.filter(product_id=21).aggregate(Avg("stars"), Count("pk")),
    lambda: list(Product.objects.filter(category_id=3, active=True).order_by("-created")[:8]),
    lambda: list(Product.objects.filter(brand_id=5, active=True).order_by("price")[:8]),
    lambda: Order.objects.filter(customer_id=17).count(),
    lambda: Order.objects.filter(customer_id=17, status="new").exists(),
    lambda: list(Order.objects.filter(customer_id=17).order_by("-placed")[:5]),
    lambda: list(Brand.objects.order_by("name")[:20]),
    lambda: list(Supplier.objects.filter(country__startswith="C").order_by("pk")),
    lambda: Product.objects.filter(active=True, brand_id=5).aggregate(Max("price")),
    lambda: list(Address.objects.filter(customer_id=17).order_by("pk")),
    # The longer page goes on.
    lambda: Category.objects.get(pk=12),
    lambda: Category.objects.get(pk=3),
    lambda: list(Product.objects.filter(supplier_id=9).order_by("pk").values_list("pk", "name")[:50]),
    lambda: list(Order.objects.filter(customer_id=17).select_related("address").order_by("-placed")[:3]),
    lambda: list(Tag.objects.order_by("name")[:30]),
    lambda: Product.objects.get(pk=22),
    lambda: Product.objects.get(pk=23),
    lambda: Product.objects.filter(category_id=3).count(),
    lambda: list(Review.objects.filter(customer_id=17).order_by("-written")[:5]),
    lambda: Brand.objects.get(pk=5),
]


def page(queries: int) -> list[Any]:
    return [read(f"page {number}", _PAGE[number]) for number in range(queries)]


def page_15() -> Any:
    return page(15)


def page_25() -> Any:
    return page(25)


def text_of_page() -> str:
    return "\n".join(map(str, page_15()))


_text_of_page = derived(text_of_page)


def function_15() -> Any:
    return _text_of_page()


@functools.cache
def _template() -> Any:
    begin, end = fragment_tags()
    libraries = {"cache": "django.templatetags.cache", "ormcache": "ormcache.templatetags.ormcache"}
    return Engine(libraries=libraries).from_string(f"{begin}{{{{ text }}}}{end}")


def fragment_15() -> Any:
    return str(_template().render(Context({"text": text_of_page})))


# Reads for the first time ---------------------------------------------------------------

# A bound that no key comes near makes each of them another query with the same answer.


def miss_one() -> Any:
    bound = 10**9 + next(_fresh)
    return read(f"miss_one {bound}", lambda: list(Product.objects.filter(pk=OFTEN_READ, pk__lt=bound)))


def miss_20() -> Any:
    bound = 10**9 + next(_fresh)
    return read(f"miss_20 {bound}", lambda: list(Order.objects.filter(pk__lt=bound).order_by("pk")[:20]))


def miss_1000() -> Any:
    bound = 10**9 + next(_fresh)
    return read(f"miss_1000 {bound}", lambda: list(Product.objects.filter(pk__lt=bound).order_by("pk")[:1000]))


# Writes ---------------------------------------------------------------------------------

_instances: dict[str, Any] = {}


def _mine(model: Any, key: int) -> Any:
    """An instance that was read once: a save alone is to be measured."""
    name = f"{model.__name__} {key}"
    if name not in _instances:
        _instances[name] = model.objects.get(pk=key)
    return _instances[name]


def save() -> None:
    product = _mine(Product, OFTEN_WRITTEN)
    product.stock = next(_fresh) % 1000
    product.save()


def create() -> None:
    Review.objects.create(product_id=1, customer_id=1, stars=3, text="It came in time.", written=MOMENT)


def update() -> Any:
    return Product.objects.filter(pk=OFTEN_WRITTEN).update(weight=F("weight") + 1)


def bulk_create() -> Any:
    new = [Review(product_id=1, customer_id=1, stars=4, text="Again.", written=MOMENT) for _ in range(1000)]
    return len(Review.objects.bulk_create(new))


def atomic_10() -> None:
    with transaction.atomic():
        for key in range(100, 110):
            product = _mine(Product, key)
            product.version += 1
            product.save()


def raw_update() -> Any:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE shop_product SET weight = weight + 1 WHERE id = %s", [OFTEN_WRITTEN])
        return cursor.rowcount


# Bypassing the cache -------------------------------------------------------------------------


def raw_select() -> Any:
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, name, price FROM shop_product WHERE id = %s", [OFTEN_READ])
        return cursor.fetchall()


def blacklisted_get() -> Any:
    return Visit.objects.get(pk=OFTEN_READ).path


def blacklisted_save() -> None:
    visit = _mine(Visit, OFTEN_READ)
    visit.hits += 1
    visit.save()
