"""A read with an ``IN`` list is one entry under every order of the list, and its look-alikes are none."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from django import VERSION
from django.db import connection
from django.db.models import Case, F, Func, IntegerField, Value, When
from django.db.models.sql.constants import SINGLE

from ormcache.sql.in_lists import MOST_VALUES
from tests.integration.reading import only_mysql, only_postgresql
from tests.shop.models import Author, Book, Genre


@pytest.fixture(autouse=True)
def _rows() -> None:
    genres = [Genre.objects.using("plain").create(name=name) for name in ("Prose", "Verse", "Drama")]
    for number in range(4):
        author = Author.objects.using("plain").create(name=f"author {number}")
        for copies in range(3):
            book = Book.objects.using("plain").create(author=author, title=f"{number}.{copies}", copies=copies)
            book.genres.set(genres[: copies + 1])


def authors() -> list[int]:
    return list(Author.objects.using("plain").order_by("pk").values_list("pk", flat=True))


# One entry ------------------------------------------------------------------------------------------

_PREFETCHES: dict[str, Callable[[str, str], list[Any]]] = {
    "children": lambda using, order: [
        (author.name, [book.title for book in author.books.all()])
        for author in Author.objects.using(using).order_by(order).prefetch_related("books")
    ],
    "parents": lambda using, order: [
        (book.title, book.author.name) for book in Book.objects.using(using).order_by(order).prefetch_related("author")
    ],
    "many to many": lambda using, order: [
        (book.title, sorted(genre.name for genre in book.genres.all()))
        for book in Book.objects.using(using).order_by(order).prefetch_related("genres")
    ],
}


@pytest.mark.parametrize("read", _PREFETCHES.values(), ids=_PREFETCHES)
def test_a_prefetch_under_another_order_of_the_parents_is_a_hit(queries, read):
    read("default", "pk")
    # SQLite has no IN for rows of one, with which Django fetches parents since 5.2.
    in_rows = read is _PREFETCHES["parents"] and not connection.features.supports_tuple_lookups
    with queries(2 if in_rows and VERSION >= (5, 2) else 1):
        answer = read("default", "-pk")
    assert answer == read("plain", "-pk")

    Author.objects.update(name="other")
    Book.objects.filter(copies=2).delete()
    for order in ("pk", "-pk"):
        assert read("default", order) == read("plain", order)


@pytest.mark.parametrize(
    "read",
    [
        lambda using, pks: Author.objects.using(using).in_bulk(pks),
        lambda using, pks: list(Author.objects.using(using).filter(pk__in=pks).order_by("-pk").values_list("pk")),
        lambda using, pks: list(Author.objects.using(using).exclude(pk__in=pks).order_by("pk").values_list("pk")),
        lambda using, pks: sorted(Book.objects.using(using).filter(author__in=pks, copies=1).values_list("title")),
        lambda using, pks: list(Book.objects.using(using).filter(author__in=pks, copies__in=pks).order_by("pk")),
    ],
)
def test_lists_of_keys_in_any_order_are_one_entry(queries, read):
    pks = authors()
    found = read("default", pks)
    with queries(0):
        assert read("default", pks[::-1]) == found
    assert found == read("plain", pks[::-1])
    with queries(1):
        shorter = read("default", pks[1:])
    assert shorter == read("plain", pks[1:])


def test_lists_of_uuids_and_of_strings(queries):
    for values, field in (
        (list(Book.objects.using("plain").values_list("uuid", flat=True)), "uuid__in"),
        (list(Book.objects.using("plain").values_list("title", flat=True)), "title__in"),
    ):
        books = Book.objects.order_by("pk")
        found = list(books.filter(**{field: values}))
        random.Random(1).shuffle(values)
        with queries(0):
            assert list(books.filter(**{field: values})) == found


# Look-alikes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "read",
    [
        lambda using, pks: list(Author.objects.using(using).filter(pk__range=pks[:2])),
        lambda using, pks: list(Author.objects.using(using).filter(pk__in=pks[:2]).order_by("pk")[: pks[0] % 2 + 1]),
        lambda using, pks: list(
            Author.objects.using(using)
            .filter(pk__in=pks)
            .order_by(Case(*(When(pk=pk, then=Value(n)) for n, pk in enumerate(pks)), output_field=IntegerField()))
        ),
        lambda using, pks: list(
            Author.objects.using(using)
            .annotate(one=Value(pks[0]), two=Value(pks[1]))
            .filter(pk__in=pks)
            .order_by("pk")
            .values_list("one", "two")
        ),
        lambda using, pks: list(Book.objects.using(using).filter(author=pks[0], copies__lt=pks[1]).order_by("pk")),
        lambda using, pks: list(
            Book.objects.using(using).filter(author__in=pks[:2]).exclude(author__in=pks[1:]).order_by("pk")
        ),
    ],
)
def test_look_alikes_answer_for_their_own_order(read):
    pks = authors()
    for order in (pks, pks[::-1], pks):
        assert read("default", order) == read("plain", order)


def test_of_a_single_row_it_matters_which_one_comes_first(queries):
    pks = authors()
    for order in (pks, pks[::-1]):
        with queries(1):
            Author.objects.filter(pk__in=order).query.get_compiler("default").execute_sql(SINGLE)


@only_mysql
def test_a_list_in_the_place_of_an_order(queries):
    def read(using: str, pks: list[int]) -> list[Any]:
        found = Author.objects.using(using).filter(pk__in=pks)
        return list(found.order_by(Func(F("pk"), *map(Value, pks), function="FIELD", output_field=IntegerField())))

    pks = authors()
    for order in (pks, pks[::-1]):
        assert [author.pk for author in read("default", order)] == order
        assert read("default", order) == read("plain", order)


@only_postgresql
def test_the_order_of_an_array_counts():
    def read(using: str, pks: list[int]) -> list[Any]:
        place = Func(
            Value(pks), F("pk"), template="array_position(%(expressions)s::bigint)", output_field=IntegerField()
        )
        return list(Author.objects.using(using).filter(pk__in=pks).order_by(place))

    pks = authors()
    for order in (pks, pks[::-1]):
        assert [author.pk for author in read("default", order)] == order


# What the databases themselves do ---------------------------------------------------------------------


@pytest.mark.parametrize("field", ["pk", "author", "uuid", "title", "genres__name"])
def test_no_database_returns_rows_in_the_order_of_the_list(field):
    """So not even an unordered result would have shown another order of its list. Some fields have an index."""
    Book.objects.using("plain").all().delete()
    Author.objects.using("plain").bulk_create(Author(name=str(number)) for number in range(1200))
    numbers = list(Author.objects.using("plain").order_by("pk").values_list("pk", flat=True))
    random.Random(field).shuffle(numbers)
    Book.objects.using("plain").bulk_create(Book(author_id=number, title=str(number)) for number in numbers * 2)
    Genre.objects.using("plain").bulk_create(Genre(name=str(number)) for number in range(1000))
    through = Book.genres.through.objects.using("plain")
    through.bulk_create(
        Book.genres.through(book_id=book, genre_id=genre)
        for book, genre in zip(
            Book.objects.using("plain").values_list("pk", flat=True),
            Genre.objects.using("plain").order_by("name").values_list("pk", flat=True),
            strict=False,
        )
    )
    books = Book.objects.using("plain")
    known = list(books.filter(**{f"{field}__isnull": False}).order_by("pk").values_list(field, flat=True))
    for length in (2, 3, 40, MOST_VALUES):
        values = known[:length]
        answers = [
            list(books.filter(**{f"{field}__in": order}).values_list("pk", "title"))
            for order in (sorted(values), sorted(values, reverse=True), values)
        ]
        assert len(answers[0]) >= length
        assert answers[0] == answers[1] == answers[2]
