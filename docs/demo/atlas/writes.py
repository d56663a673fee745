"""The ways to write that the demo tries, each the way a site would do it."""

import time

from django.db import connection, transaction

from .models import City, Country, PageView, Review


def save(pk, population):
    city = City.objects.get(pk=pk)
    city.population = population
    city.save()


def update(iso, capital):
    Country.objects.filter(pk=iso).update(capital=capital)


def raw_sql(city, author):
    with connection.cursor() as cursor:
        cursor.execute("UPDATE atlas_review SET author = %s WHERE city_id = %s", [author, city])


def create_review(city, author):
    written = Review.objects.latest("written").written
    Review.objects.create(city_id=city, author=author, stars=5, text="Go and see it.", written=written)


_open = []  # the transaction that begin() has opened


def begin():
    _open.append(transaction.atomic())
    _open[-1].__enter__()


def commit():
    _open.pop().__exit__(None, None, None)


def roll_back():
    transaction.set_rollback(True)
    _open.pop().__exit__(None, None, None)


def record_views(path, count):
    """Returns the milliseconds that each INSERT took."""
    took = []
    for _ in range(count):
        start = time.perf_counter()
        PageView.objects.create(path=path)
        took.append((time.perf_counter() - start) * 1000)
    return took
