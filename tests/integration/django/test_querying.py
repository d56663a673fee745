"""The many ways to ask: each answers from the cache what it answers without, and is invalidated like any other."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.contrib.contenttypes.prefetch import GenericPrefetch
from django.db import connections, models
from django.db.models import Count, Exists, F, OuterRef, Prefetch, Q, Subquery, Sum, Value
from django.db.models.signals import post_save, pre_save
from django.test import override_settings

from tests.shop.models import Author, Book, Genre, Novel, Place, Restaurant, Review, Upper


@pytest.fixture(autouse=True)
def shop() -> None:
    for number in range(3):
        author = Author.objects.create(name=f"author {number}")
        for letter in "ab":
            book = Book.objects.create(author=author, title=f"book {number}{letter}", price=number * 10)
            Review.objects.create(book=book, stars=number + 1)
    Book.objects.first().genres.add(Genre.objects.create(name="Poetry"))
    Restaurant.objects.create(name="Chez ormcache")


def titles(books: Any) -> list[str]:
    return sorted(str(book) for book in books)


def related(using: str) -> dict[str, Any]:
    books = Book.objects.using(using).select_related("author").prefetch_related("genres", "reviews").order_by("pk")
    return {
        book.title: (
            book.author.name,
            sorted(genre.name for genre in book.genres.all()),
            [review.stars for review in book.reviews.all()],
        )
        for book in books
    }


def pages(using: str) -> list[str]:
    from django.core.paginator import Paginator

    page = Paginator(Book.objects.using(using).order_by("title"), 4).page(2)
    return [page.paginator.count, *map(str, page)]


#: Ways to read; each names a write that changes its answer
READS: dict[str, tuple[Callable[[str], Any], Callable[[], Any]]] = {
    "get": (
        lambda using: Book.objects.using(using).get(title="book 1a").price,
        lambda: Book.objects.filter(title="book 1a").update(price=77),
    ),
    "in_bulk": (
        lambda using: {key: str(book) for key, book in Book.objects.using(using).in_bulk().items()},
        lambda: Book.objects.filter(title="book 1a").update(title="changed"),
    ),
    "first, last, earliest": (
        lambda using: (
            str(Book.objects.using(using).order_by("title").first()),
            str(Book.objects.using(using).order_by("title").last()),
            str(Book.objects.using(using).earliest("created")),
        ),
        lambda: Book.objects.order_by("title").first().delete(),
    ),
    "slices": (
        lambda using: (
            titles(Book.objects.using(using).order_by("title")[1:3]),
            str(Book.objects.using(using).order_by("-title")[0]),
        ),
        lambda: Book.objects.create(author=Author.objects.first(), title="book 00"),
    ),
    "values, values_list, dates": (
        lambda using: (
            list(Book.objects.using(using).order_by("pk").values("title", "author__name")),
            list(Book.objects.using(using).order_by("pk").values_list("title", flat=True)),
            list(Book.objects.using(using).order_by("pk").values_list("pk", "price", named=True)),
            list(Book.objects.using(using).dates("created", "year")),
            list(Book.objects.using(using).datetimes("created", "day")),
        ),
        lambda: Book.objects.update(created="2001-02-03T04:05:06Z"),
    ),
    "count, exists, aggregate": (
        lambda using: (
            Book.objects.using(using).count(),
            Book.objects.using(using).filter(price__gt=15).exists(),
            Book.objects.using(using).aggregate(Sum("price"), total=Count("pk", filter=Q(price=0))),
            Book.objects.using(using).distinct()[:2].aggregate(Count("pk")),
        ),
        lambda: Book.objects.filter(price=20).delete(),
    ),
    "annotations and subqueries": (
        lambda using: list(
            Author.objects.using(using)
            .annotate(
                number=Count("books"),
                best=Subquery(
                    Review.objects.filter(book__author=OuterRef("pk")).order_by("-stars").values("stars")[:1]
                ),
                poet=Exists(Genre.objects.filter(books__author=OuterRef("pk"))),
                one=Value(1),
            )
            .order_by("pk")
            .values_list("name", "number", "best", "poet", "one")
        ),
        lambda: Review.objects.filter(stars=2).update(stars=5),
    ),
    "related objects": (related, lambda: Book.objects.get(title="book 2b").genres.add(Genre.objects.get())),
    "prefetch of a queryset": (
        lambda using: [
            (author.name, titles(author.cheap))
            for author in Author.objects.using(using)
            .order_by("pk")
            .prefetch_related(Prefetch("books", Book.objects.using(using).cheap(), to_attr="cheap"))
        ],
        lambda: Book.objects.filter(title="book 2b").update(price=1),
    ),
    "reverse and forward": (
        lambda using: (
            titles(Author.objects.using(using).get(name="author 1").books.all()),
            Review.objects.using(using).order_by("pk").first().book.author.name,
        ),
        lambda: Author.objects.filter(name="author 0").update(name="renamed"),
    ),
    "deferred": (
        lambda using: [
            (set(book.get_deferred_fields()), book.price)
            for book in Book.objects.using(using).defer("price", "data").order_by("pk")
        ],
        lambda: Book.objects.update(price=F("price") + 1),
    ),
    "only": (
        lambda using: [
            (book.title, book.price, book.uuid) for book in Book.objects.using(using).only("title").order_by("pk")
        ],
        lambda: Book.objects.filter(price=20).update(price=3),
    ),
    "unions": (
        lambda using: titles(
            Book.objects.using(using).filter(price=0).union(Book.objects.using(using).filter(price=20))
        ),
        lambda: Book.objects.filter(price=0).update(title="free"),
    ),
    "proxy": (
        lambda using: [type(novel).__name__ + novel.title for novel in Novel.objects.using(using).order_by("pk")],
        lambda: Book.objects.filter(price=0).update(title="by its parent"),
    ),
    "the table of a proxy": (
        lambda using: titles(Book.objects.using(using)),
        lambda: Novel.objects.filter(price=0).update(title="by its proxy"),
    ),
    "multi-table child": (
        lambda using: [
            (place.name, place.serves_pizza, place.place_ptr.pk) for place in Restaurant.objects.using(using)
        ],
        lambda: Place.objects.update(name="by its parent"),
    ),
    "multi-table parent": (
        lambda using: [(place.name, place.restaurant.serves_pizza) for place in Place.objects.using(using)],
        lambda: Restaurant.objects.update(serves_pizza=True),
    ),
    "a manager that hides rows": (
        lambda using: titles(Book.available.using(using)),
        lambda: Book.objects.filter(title="book 0a").update(in_print=False),
    ),
    "a queryset's method": (
        lambda using: titles(Book.objects.using(using).cheap()),
        lambda: Book.objects.filter(price=20).update(price=2),
    ),
    "the base manager": (
        lambda using: Review._base_manager.using(using).filter(stars=1).count(),
        lambda: Review.objects.filter(stars=1).delete(),
    ),
    "a paginator": (pages, lambda: Book.objects.order_by("title").first().delete()),
    "containment and membership": (
        lambda using: (
            Book.objects.using(using).contains(Book(pk=Book.objects.using("plain").get(title="book 0a").pk)),
            titles(Book.objects.using(using).filter(author__in=Author.objects.using(using).filter(name__endswith="1"))),
        ),
        lambda: Author.objects.filter(name="author 1").update(name="somebody"),
    ),
}


@pytest.mark.parametrize("name", READS)
def test_reads(name, queries):
    read, write = READS[name]
    truth = read("plain")
    assert read("default") == truth
    with queries(0):
        assert read("default") == truth

    write()

    changed = read("plain")
    assert changed != truth, "the write under test has changed nothing"
    assert read("default") == changed


def test_iterator_streams(queries):
    for _ in range(2):
        with queries() as seen:
            assert titles(Book.objects.iterator(chunk_size=2)) == titles(Book.objects.using("plain"))
        assert seen


def test_a_deferred_field_is_read_from_the_cache_later(queries):
    def price() -> Any:
        return Book.objects.only("title").get(title="book 1a").price

    with queries(2):
        price()
    with queries(0):
        assert price() == 10


def test_pickled_querysets(queries):
    books = Book.objects.filter(price__lt=15).order_by("pk")
    again = pickle.loads(pickle.dumps(books))
    assert titles(again) == titles(Book.objects.using("plain").filter(price__lt=15))

    with queries(0):
        assert titles(pickle.loads(pickle.dumps(books))) == titles(books)
    unevaluated = Book.objects.all()
    unevaluated.query = pickle.loads(pickle.dumps(books.query))
    with queries(0):
        assert titles(unevaluated) == titles(books)
    objects = pickle.loads(pickle.dumps(list(books)))
    assert objects == list(books)
    assert titles(copy.deepcopy(books)) == titles(books)


def test_an_object_from_the_cache_is_saved_and_refreshed(queries):
    Book.objects.get(title="book 1a")
    with queries(0):
        book = Book.objects.get(title="book 1a")
    book.title = "changed"
    book.save(update_fields=["title"])
    assert Book.objects.get(pk=book.pk).title == "changed"
    Book.objects.filter(pk=book.pk).update(title="again")
    book.refresh_from_db()
    assert book.title == "again"
    with connections["default"].cursor() as cursor:
        cursor.execute("UPDATE shop_book SET title = 'raw' WHERE id = %s", [book.pk])
    book.refresh_from_db(fields=["title"])
    assert book.title == "raw"


def test_what_a_caller_does_to_an_object_is_not_seen_by_the_next_one(queries):
    def book() -> Book:
        return Book.objects.select_related("author").get(title="book 1a")

    book().author.name = "changed"
    with queries(0):
        found = book()
        assert found.author.name == "author 1"
        found.data["changed"] = True
        found.author = None
        assert book().data == {}
        assert book().author.name == "author 1"


def test_get_or_create_and_update_or_create():
    for _ in range(2):
        author, created = Author.objects.get_or_create(name="new")
    assert not created
    assert Author.objects.filter(name="new").count() == 1
    Author.objects.update_or_create(name="new", defaults={"email": "new@example.org"})
    assert Author.objects.get(pk=author.pk).email == "new@example.org"
    author.delete()
    assert Author.objects.get_or_create(name="new")[1]


def test_generic_relations(queries):
    user = User.objects.create(username="ann")

    def objects() -> list[str]:
        entries = LogEntry.objects.order_by("pk")
        types = ContentType.objects.in_bulk(entries.values_list("content_type", flat=True))
        return [str(types[entry.content_type_id].get_object_for_this_type(pk=entry.object_id)) for entry in entries]

    for thing in (Book.objects.get(title="book 1a"), Genre.objects.get()):
        LogEntry.objects.create(
            user=user,
            content_type=ContentType.objects.get_for_model(thing),
            object_id=thing.pk,
            object_repr=str(thing),
            action_flag=ADDITION,
        )
    assert objects() == ["book 1a", "Poetry"]
    with queries(0):
        assert objects() == ["book 1a", "Poetry"]
    Genre.objects.update(name="Drama")
    assert objects() == ["book 1a", "Drama"]
    assert GenericPrefetch is not None


def test_signal_receivers_read_what_is_being_saved():
    seen: list[Any] = []

    def before(sender: Any, instance: Book, **kwargs: Any) -> None:
        seen.append(titles(Book.objects.filter(pk=instance.pk)))

    after = before
    Book.objects.filter(title="book 1a").first()
    pre_save.connect(before, sender=Book)
    post_save.connect(after, sender=Book, dispatch_uid="after")
    try:
        book = Book.objects.get(title="book 1a")
        book.title = "changed"
        book.save()
    finally:
        pre_save.disconnect(before, sender=Book)
        post_save.disconnect(dispatch_uid="after", sender=Book)

    assert seen == [["book 1a"], ["changed"]]


def test_a_receiver_that_writes_something_else():
    def count(sender: Any, instance: Review, **kwargs: Any) -> None:
        Book.objects.filter(pk=instance.book_id).update(copies=F("copies") + 1)

    book = Book.objects.get(title="book 1a")
    assert Book.objects.get(pk=book.pk).copies == 0
    post_save.connect(count, sender=Review)
    try:
        Review.objects.create(book=book)
    finally:
        post_save.disconnect(count, sender=Review)

    assert Book.objects.get(pk=book.pk).copies == 1


# Several databases -------------------------------------------------------------------


def labels(using: str) -> list[str]:
    return list(Upper.objects.using(using).order_by("pk").values_list("label", flat=True))


def test_two_databases_with_the_same_tables(queries):
    Upper.objects.using("default").create(pk=1, label="first")
    Upper.objects.using("second").create(pk=1, label="second")
    assert [labels("default"), labels("second")] == [["first"], ["second"]]
    with queries(0), queries(0, using="second"):
        assert [labels("default"), labels("second")] == [["first"], ["second"]]

    Upper.objects.using("second").update(label="changed")

    with queries(0):
        assert labels("default") == ["first"]
    assert labels("second") == ["changed"]


def test_saving_into_another_database():
    upper = Upper.objects.create(label="moved")
    assert [labels("default"), labels("second")] == [["moved"], []]
    upper.save(using="second")
    assert [labels("default"), labels("second")] == [["moved"], ["moved"]]
    upper.delete(using="default")
    assert [labels("default"), labels("second")] == [[], ["moved"]]


class Router:
    """Reads from the one, writes to the other."""

    def db_for_read(self, model: type[models.Model], **hints: Any) -> str | None:
        return "second" if model is Upper else None

    def db_for_write(self, model: type[models.Model], **hints: Any) -> str | None:
        return "default" if model is Upper else None


def test_routers(queries):
    with override_settings(DATABASE_ROUTERS=[Router()]):
        Upper.objects.create(label="written")
        Upper.objects.using("second").create(label="read")
        assert titles(Upper.objects.all()) == ["read"]
        with queries(0, using="second"):
            assert titles(Upper.objects.all()) == ["read"]
        Upper.objects.update(label="written once more")
        with queries(0, using="second"):
            assert titles(Upper.objects.all()) == ["read"]
        Upper.objects.using("second").update(label="read once more")
        assert titles(Upper.objects.all()) == ["read once more"]
        assert titles(Upper.objects.using("default")) == ["written once more"]
