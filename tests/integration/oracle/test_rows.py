"""What a statement's text says of rows, held against the rows that the database returns, and what Django writes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import pytest
from django.db import DatabaseError, connections
from django.db.models import F

from ormcache.sql import (
    NULL,
    UNKNOWN,
    Column,
    Elements,
    Join,
    Literal,
    Placeholder,
    RowDelete,
    RowInsert,
    RowRead,
    RowUpdate,
    Table,
    analyse_rows,
)
from tests.examples import examples
from tests.integration.reading import ENGINE, QUOTE, execute
from tests.oracle import conditions
from tests.oracle.row_judge import against_rows
from tests.shop.models import Author, Book, Genre, Review

SEEDS = range(examples(1500))


# Conditions by chance ------------------------------------------------------------------------------


@pytest.fixture
def _table() -> Iterator[None]:
    for statement in conditions.schema(ENGINE):
        execute(statement, using="plain")
    yield
    execute(f"DROP TABLE {QUOTE}r{QUOTE}", using="plain")


@pytest.mark.usefixtures("_table")
@pytest.mark.parametrize("is_mutated", [False, True], ids=["written", "mutated"])
def test_every_row_fulfils_what_is_compared(is_mutated):
    rows = {row["id"]: row for row in conditions.rows()}
    run = compared = complete = 0
    with connections["plain"].cursor() as cursor:
        for seed in SEEDS:
            chance = random.Random(seed)
            made = conditions.Conditions(ENGINE, chance, placeholders=0 if is_mutated else 0.5)
            condition = made.text(seed % 4)
            if is_mutated:
                condition = conditions.mutated(condition, chance)
            text = f"SELECT id FROM r WHERE {condition}"
            try:
                cursor.execute(text, made.values or None)
                returned = [key for (key,) in cursor.fetchall()]
            except DatabaseError:
                continue
            run += 1
            read = analyse_rows(text, ENGINE)
            if isinstance(read, RowRead):
                assert against_rows(read, made.values, returned, rows) == [], text
                compared += bool(read.comparisons)
                complete += read.is_all

    assert run > len(SEEDS) * (0.05 if is_mutated else 0.4)
    assert compared > run * 0.2
    assert complete > run * 0.05


# What Django writes --------------------------------------------------------------------------------


class Analysed(NamedTuple):
    """What is known of one statement, and the values that it was run with."""

    rows: Any
    params: Sequence[Any]

    def value(self, operand: Any) -> Any:
        """Return the value of an operand, None for NULL; anything else as it is."""
        if isinstance(operand, Placeholder):
            return self.params[operand.position]
        return None if operand is NULL else operand

    def compared(self) -> list[tuple[Column, tuple[Any, ...]]]:
        return [(column, tuple(map(self.value, operands))) for column, operands in self.rows.comparisons]

    def assigned(self) -> dict[str, Any]:
        return {name: self.value(operand) for name, operand in self.rows.assigned.items()}


def analysed(call: Callable[[], Any]) -> list[Analysed]:
    """Return what is known of the statements on rows that a call runs, past the cache."""
    found = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith(("SELECT", "INSERT", "UPDATE", "DELETE")):
            found.append(Analysed(analyse_rows(sql, ENGINE), params))
        return execute(sql, params, many, context)

    with connections["plain"].execute_wrapper(note):
        call()
    return found


@pytest.fixture
def books() -> Any:
    return Book.objects.using("plain")


@pytest.fixture
def author() -> Author:
    return Author.objects.using("plain").create(name="a")


def columns_of(model: Any) -> list[str]:
    return [field.column for field in model._meta.concrete_fields]


ID, AUTHOR = Column(0, "id"), Column(0, "author_id")


@pytest.mark.parametrize(
    "read, compared, is_all",
    [
        (lambda books: books.filter(pk=1), [(ID, (1,))], True),
        (lambda books: books.filter(pk__in=[1, 2, 3]), [(ID, (1, 2, 3))], True),
        (lambda books: books.filter(author_id=1, published=None), [(AUTHOR, (1,))], False),
        (lambda books: books.filter(author_id=1, price__lt=3), [(AUTHOR, (1,))], False),
        (lambda books: books.filter(author_id=1, published__year=2000), [(AUTHOR, (1,))], False),
        (lambda books: books.filter(rating__range=(1, 2), author_id=3), [(AUTHOR, (3,))], False),
        (lambda books: books.filter(author_id=1).exclude(pk=3), [(AUTHOR, (1,))], False),
        (lambda books: books.filter(author_id__in=[1, 2]).order_by("-title"), [(AUTHOR, (1, 2))], True),
        (lambda books: books.filter(pk=1).filter(author_id=2), [(ID, (1,)), (AUTHOR, (2,))], True),
        (lambda books: books.exclude(pk=1), [], False),
        (lambda books: books.filter(pk=1) | books.filter(author_id=2), [], False),
        (lambda books: books.all(), [], True),
    ],
)
def test_reads(books, read, compared, is_all):
    (found,) = analysed(lambda: list(read(books)))

    assert isinstance(found.rows, RowRead)
    assert (found.compared(), found.rows.is_all) == (compared, is_all)
    assert found.rows.columns == tuple(Column(0, name) for name in columns_of(Book))
    assert (found.rows.has_calls, found.rows.limit) == (False, None)


def test_get(books, author):
    book = books.create(author=author, title="t")
    found, related = analysed(lambda: books.get(pk=book.pk).author)

    assert (found.rows.limit, found.rows.has_offset) == (Literal(21), False)
    assert found.compared() == [(ID, (book.pk,))]
    assert related.compared() == [(ID, (author.pk,))]


def test_slices(books):
    (first,) = analysed(lambda: list(books.order_by("title")[:3]))
    (page,) = analysed(lambda: list(books.order_by("title")[3:6]))

    assert first.rows.ordered_by == page.rows.ordered_by == (Column(0, "title"),)
    assert (first.rows.limit, first.rows.has_offset) == (Literal(3), False)
    assert (page.rows.limit, page.rows.has_offset) == (Literal(3), True)


@pytest.mark.parametrize("read", [lambda books: books.count(), lambda books: books.exists()])
def test_count_and_exists(books, read):
    (found,) = analysed(lambda: read(books.filter(author_id=1)))

    assert found.compared() == [(AUTHOR, (1,))]
    assert (found.rows.columns, found.rows.has_calls) == ((None,), True)


def test_select_related(books):
    (found,) = analysed(lambda: list(books.filter(pk=1).select_related("author")))

    assert found.rows.tables == (Table((None, "shop_book"), "shop_book"), Table((None, "shop_author"), "shop_author"))
    assert found.rows.joins == (Join(1, AUTHOR, Column(1, "id"), False),)
    assert found.compared() == [(ID, (1,))]
    assert Column(1, "id") in found.rows.columns


def test_prefetch_related(books, author):
    keys = {books.create(author=author, title=title).pk for title in "tu"}
    _, genres, reviews = analysed(lambda: list(books.filter(author=author).prefetch_related("genres", "reviews")))

    ((column, values),) = genres.compared()
    assert (column, set(values), genres.rows.is_all) == (Column(1, "book_id"), keys, True)
    assert genres.rows.columns == (Column(1, "book_id"), ID, Column(0, "name"))
    ((column, values),) = reviews.compared()
    assert (column, set(values), reviews.rows.is_all) == (Column(0, "book_id"), keys, True)


def test_an_insert():
    (found,) = analysed(lambda: Genre.objects.using("plain").create(name="a"))

    assert found.rows == RowInsert((None, "shop_genre"), ("name",), ((Placeholder(0),),))
    assert found.params[0] == "a"


def test_bulk_create():
    (found,) = analysed(lambda: Genre.objects.using("plain").bulk_create(Genre(name=name) for name in "abc"))

    if isinstance(found.rows.rows[0][0], Elements):  # PostgreSQL, by its driver
        assert found.rows == RowInsert((None, "shop_genre"), ("name",), ((Elements(0),),))
        assert found.params == (["a", "b", "c"],)
    else:
        rows = tuple((Placeholder(position),) for position in range(3))
        assert found.rows == RowInsert((None, "shop_genre"), ("name",), rows)


def test_updates(books, author):
    book = books.create(author=author, title="t")
    (saved,) = analysed(book.save)
    (field,) = analysed(lambda: book.save(update_fields=["author"]))
    (several,) = analysed(lambda: books.filter(pk__in=[1, 2]).update(title="v", author_id=author.pk))
    (expression,) = analysed(lambda: books.filter(author_id=1).update(copies=F("copies") + 1))
    (all_of_them,) = analysed(lambda: books.update(title="v"))

    assert isinstance(saved.rows, RowUpdate)
    assert list(saved.assigned()) == [name for name in columns_of(Book) if name != "id"]
    assert UNKNOWN not in saved.assigned().values()
    assert saved.compared() == [(ID, (book.pk,))]
    assert (field.assigned(), field.compared()) == ({"author_id": author.pk}, [(ID, (book.pk,))])
    assert (several.assigned(), several.compared()) == ({"title": "v", "author_id": author.pk}, [(ID, (1, 2))])
    assert (expression.assigned(), expression.compared()) == ({"copies": UNKNOWN}, [(AUTHOR, (1,))])
    assert (all_of_them.assigned(), all_of_them.compared()) == ({"title": "v"}, [])


def test_bulk_update(books, author):
    made = [books.create(author=author, title=title) for title in "tu"]
    (found,) = analysed(lambda: books.bulk_update(made, ["title"]))

    assert found.assigned() == {"title": UNKNOWN}
    assert found.compared() == [(ID, tuple(book.pk for book in made))]


def test_deletes(books, author):
    book = books.create(author=author, title="t")
    Review.objects.using("plain").create(book=book)
    key = book.pk
    deletes = [found for found in analysed(book.delete) if isinstance(found.rows, RowDelete)]

    assert [(found.rows.table[1], found.compared()) for found in deletes] == [
        ("shop_book_genres", [(Column(0, "book_id"), (key,))]),
        ("shop_review", [(Column(0, "book_id"), (key,))]),
        ("shop_book", [(ID, (key,))]),
    ]
