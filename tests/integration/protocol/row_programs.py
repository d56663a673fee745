"""What random programs read and write by key: :data:`READS` and :data:`WRITES`.

Each chooses by a generator of random numbers that it is given, so that the same seed asks the same.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import Any

from django.db import DatabaseError, connection, transaction
from django.db.models import Count, F, Max, Model

from tests.integration.calls import run
from tests.shop.models import Author, Book, Genre, Restaurant, Review

IDS = range(1, 6)
EMAILS = ("a", "b", "c", "B")
UUIDS = [uuid.UUID(int=number) for number in range(4)]

Read = Callable[[str, random.Random], Any]


def rows(found: Any) -> list[Any]:
    """What is compared: in the order in which it came, where the query asks for one."""
    return list(found) if found.ordered else sorted(found, key=repr)


def some(rng: random.Random, among: Any = IDS) -> list[Any]:
    return rng.sample(list(among), rng.choice([1, 1, 2, 3]))


READS: dict[str, Read] = {
    "row": lambda using, rng: rows(Author.objects.using(using).filter(pk=rng.choice(IDS)).values_list("name", "email")),
    "rows": lambda using, rng: rows(Author.objects.using(using).filter(pk__in=some(rng)).values_list("id", "name")),
    "row if": lambda using, rng: rows(
        Book.objects.using(using).filter(pk=rng.choice(IDS), copies__gt=2).values("title")
    ),
    "email": lambda using, rng: rows(Author.objects.using(using).filter(email=rng.choice(EMAILS)).values("id", "name")),
    "emails": lambda using, rng: rows(Author.objects.using(using).filter(email__in=some(rng, EMAILS)).values("id")),
    "uuid": lambda using, rng: rows(Book.objects.using(using).filter(uuid=rng.choice(UUIDS)).values("id", "title")),
    "uuids": lambda using, rng: rows(
        Book.objects.using(using).filter(uuid__in=some(rng, UUIDS)).values("id", "copies")
    ),
    "children": lambda using, rng: rows(
        Book.objects.using(using).filter(author=rng.choice(IDS)).values("id", "title").order_by("title", "id")
    ),
    "children of some": lambda using, rng: rows(
        Book.objects.using(using).filter(author__in=some(rng)).values("id", "author_id", "copies")
    ),
    "child of two": lambda using, rng: rows(
        Book.genres.through.objects.using(using).filter(book=rng.choice(IDS), genre__in=some(rng)).values("id")
    ),
    "children if": lambda using, rng: rows(
        Book.objects.using(using).filter(author=rng.choice(IDS), copies__gt=2).values("id", "title")
    ),
    "page": lambda using, rng: rows(
        Book.objects.using(using)
        .filter(author=rng.choice(IDS))
        .order_by("copies", "id")
        .values("id")[: rng.choice([1, 2])]
    ),
    "second page": lambda using, rng: rows(
        Book.objects.using(using).filter(author=rng.choice(IDS)).order_by("copies", "id").values("id")[1:2]
    ),
    "count": lambda using, rng: Book.objects.using(using).filter(author=rng.choice(IDS)).count(),
    "exists": lambda using, rng: Book.objects.using(using).filter(author=rng.choice(IDS)).exists(),
    "row exists": lambda using, rng: Book.objects.using(using).filter(pk=rng.choice(IDS)).exists(),
    "most": lambda using, rng: (
        Book.objects.using(using).filter(author=rng.choice(IDS)).aggregate(Max("copies"), number=Count("*"))
    ),
    "either": lambda using, rng: rows(
        Book.objects.using(using).filter(author=rng.choice(IDS)).exclude(uuid=rng.choice(UUIDS)).values("id")
    ),
    "with parent": lambda using, rng: [
        (book.title, book.author.name, book.author.email)
        for book in Book.objects.using(using).filter(pk=rng.choice(IDS)).select_related("author")
    ],
    "children with parent": lambda using, rng: sorted(
        (book.pk, book.title, book.author.name)
        for book in Book.objects.using(using).filter(author=rng.choice(IDS)).select_related("author")
    ),
    "grandchildren": lambda using, rng: sorted(
        (review.pk, review.stars, review.book.title, review.book.author.name)
        for review in Review.objects.using(using).filter(book=rng.choice(IDS)).select_related("book__author")
    ),
    "by parent's column": lambda using, rng: rows(
        Book.objects.using(using).filter(author__email=rng.choice(EMAILS)).values("id", "title")
    ),
    "prefetched": lambda using, rng: [
        (author.name, sorted((book.title, book.copies) for book in author.books.all()))
        for author in Author.objects.using(using).filter(pk__in=some(rng)).order_by("id").prefetch_related("books")
    ],
    "in bulk": lambda using, rng: sorted(
        (pk, book.title, book.copies) for pk, book in Book.objects.using(using).in_bulk(some(rng)).items()
    ),
    "first child": lambda using, rng: (
        Book.objects.using(using)
        .filter(author=rng.choice(IDS))
        .order_by("-copies", "id")
        .values("id", "copies")
        .first()
    ),
    "email of one": lambda using, rng: rows(
        Author.objects.using(using).filter(pk__in=some(rng), email=rng.choice(EMAILS)).values("id", "name")
    ),
    "grandchild": lambda using, rng: [
        (review.stars, review.book.copies, review.book.author.name)
        for review in Review.objects.using(using).filter(pk=rng.choice(IDS)).select_related("book__author")
    ],
    "genres": lambda using, rng: rows(Genre.objects.using(using).filter(books=rng.choice(IDS)).values("id", "name")),
    "links": lambda using, rng: rows(
        Book.genres.through.objects.using(using).filter(book=rng.choice(IDS)).values("genre_id")
    ),
    "restaurant": lambda using, rng: rows(Restaurant.objects.using(using).filter(pk=rng.choice(IDS)).values("name")),
    "all": lambda using, rng: rows(Book.objects.using(using).values("id", "author_id", "copies")),
}


def any_of(model: type[Model], rng: random.Random) -> Any:
    """A row that is there by now; None: there is none."""
    keys = sorted(model._base_manager.using("plain").values_list("pk", flat=True))
    return model._base_manager.using("plain").filter(pk=rng.choice(keys)).first() if keys else None


def insert_author(rng: random.Random) -> None:
    pk = rng.choice(IDS)
    if not Author.objects.using("plain").filter(pk=pk).exists():
        Author.objects.create(pk=pk, name=rng.choice("XYZ"), email=free_email(rng))


def free_email(rng: random.Random) -> str | None:
    email = rng.choice([*EMAILS, None])
    # A case-insensitive collation takes two of them for the same.
    return None if email and Author.objects.using("plain").filter(email__iexact=email).exists() else email


def insert_book(rng: random.Random) -> None:
    author = any_of(Author, rng)
    pk, key = rng.choice(IDS), rng.choice(UUIDS)
    taken = Book.objects.using("plain").filter(pk=pk) | Book.objects.using("plain").filter(uuid=key)
    if author is not None and not taken.exists():
        Book.objects.bulk_create(
            [Book(pk=pk, author_id=author.pk, title=rng.choice("TUV"), uuid=key, copies=rng.randrange(5))]
        )


def insert_review(rng: random.Random) -> None:
    book = any_of(Book, rng)
    if book is not None:
        Review.objects.create(book_id=book.pk, stars=rng.randrange(5))
        book.genres.through.objects.create(book_id=book.pk, genre_id=Genre.objects.using("plain").first().pk)


def insert_restaurant(rng: random.Random) -> None:
    pk = rng.choice(IDS)
    if not Restaurant.objects.using("plain").filter(pk=pk).exists():
        Restaurant.objects.create(pk=pk, name=rng.choice("RS"))


def save_author(rng: random.Random) -> None:
    author = any_of(Author, rng)
    if author is not None:
        author.name, author.email = rng.choice("PQR"), rng.choice([author.email, free_email(rng)])
        author.save(using="default", force_update=True)


def save_book(rng: random.Random) -> None:
    book = Book.objects.using("plain").filter(pk=rng.choice(IDS)).first()
    if book is not None:
        book.copies = rng.randrange(5)
        book.save(using="default", update_fields=rng.choice([None, ["copies"]]), force_update=True)


def save_restaurant(rng: random.Random) -> None:
    restaurant = any_of(Restaurant, rng)
    if restaurant is not None:
        restaurant.name = rng.choice("MNO")
        restaurant.save(using="default")


def move_book(rng: random.Random) -> None:
    author = any_of(Author, rng)
    if author is not None:
        Book.objects.filter(pk__in=some(rng)).update(author=author)


def update_by_key(rng: random.Random) -> None:
    Book.objects.filter(pk=rng.choice(IDS), copies__lt=4).update(title=rng.choice("ABC"), copies=rng.randrange(5))


def update_by_parent(rng: random.Random) -> None:
    Book.objects.filter(author=rng.choice(IDS)).update(copies=rng.randrange(5))


def raw_update(rng: random.Random) -> None:
    run("UPDATE shop_book SET copies = copies + 1 WHERE id = %s", rng.choice(IDS))


def raw_literal(rng: random.Random) -> None:
    run(f"UPDATE shop_author SET name = 'literal' WHERE id = {rng.choice(IDS)}")


def raw_swap(rng: random.Random) -> None:
    run("UPDATE shop_book SET author_id = (SELECT max(id) FROM shop_author) WHERE id = %s", rng.choice(IDS))


def raw_or(rng: random.Random) -> None:
    run("UPDATE shop_book SET copies = 1 WHERE id = %s OR author_id = %s", rng.choice(IDS), rng.choice(IDS))


def bulk_update(rng: random.Random) -> None:
    books = list(Book.objects.using("plain").filter(pk__in=some(rng)))
    for book in books:
        book.copies = rng.randrange(5)
    Book.objects.bulk_update(books, ["copies"])


def delete_book(rng: random.Random) -> None:
    Book.objects.filter(pk=rng.choice(IDS)).delete()


def delete_raw(rng: random.Random) -> None:
    run("DELETE FROM shop_review WHERE id = (SELECT min(id) FROM (SELECT id FROM shop_review) AS one)")


def delete_author(rng: random.Random) -> None:
    Author.objects.filter(pk=rng.choice(IDS)).delete()


def count_by_key(rng: random.Random) -> None:
    Book.objects.filter(pk=rng.choice(IDS)).update(copies=F("copies") + 1)


def lock_and_save(rng: random.Random) -> None:
    with transaction.atomic():
        author = Author.objects.select_for_update().filter(pk=rng.choice(IDS)).first()
        if author is not None:
            author.name = rng.choice("JKL")
            author.save()


def update_or_create(rng: random.Random) -> None:
    Author.objects.update_or_create(pk=rng.choice(IDS), defaults={"name": rng.choice("GHI")})


def get_or_create(rng: random.Random) -> None:
    Author.objects.get_or_create(email=rng.choice(EMAILS), defaults={"pk": rng.choice(IDS), "name": "got"})


def upsert_authors(rng: random.Random) -> None:
    authors = [Author(pk=pk, name=rng.choice("DEF"), email=free_email(rng)) for pk in some(rng)]
    by_key = {"unique_fields": ["pk"]} if connection.features.supports_update_conflicts_with_target else {}
    fields = rng.choice([["name"], ["name", "email"]])
    Author.objects.bulk_create(authors, update_conflicts=True, update_fields=fields, **by_key)


def insert_if_free(rng: random.Random) -> None:
    author = any_of(Author, rng)
    if author is not None:
        books = [Book(pk=pk, author_id=author.pk, title="free", uuid=rng.choice(UUIDS)) for pk in some(rng)]
        Book.objects.bulk_create(books, ignore_conflicts=True)


def raw_upsert(rng: random.Random) -> None:
    update = {
        "mysql": "ON DUPLICATE KEY UPDATE name = 'upsert'",
    }.get(connection.vendor, "ON CONFLICT (email) DO UPDATE SET name = 'upsert'")
    run(
        f"INSERT INTO shop_author (id, name, email, active) VALUES (%s, 'new', %s, true) {update}",
        rng.choice(IDS),
        rng.choice(EMAILS),
    )


def raw_replace(rng: random.Random) -> None:
    if connection.vendor == "postgresql":
        return
    run(
        f"REPLACE INTO shop_review (id, book_id, stars, text) VALUES ({rng.choice(IDS)}, %s, %s, '')",
        rng.choice(IDS),
        rng.randrange(5),
    )


def update_many(rng: random.Random) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(
            "UPDATE shop_book SET copies = %s, author_id = author_id WHERE id = %s",
            [(rng.randrange(5), pk) for pk in some(rng)],
        )


def move_many(rng: random.Random) -> None:
    # Atomically: a deferred check that fails in the pipeline of psycopg breaks the connection.
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.executemany(
            "UPDATE shop_book SET author_id = %s WHERE id = %s", [(rng.choice(IDS), pk) for pk in some(rng)]
        )


def insert_many(rng: random.Random) -> None:
    # Atomically: a deferred check that fails in the pipeline of psycopg breaks the connection.
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO shop_review (id, book_id, stars, text) VALUES (%s, %s, 1, 'many')",
            [(pk, rng.choice(IDS)) for pk in some(rng)],
        )


def delete_many(rng: random.Random) -> None:
    with connection.cursor() as cursor:
        cursor.executemany("DELETE FROM shop_review WHERE id = %s", [(pk,) for pk in some(rng)])


def literal_move(rng: random.Random) -> None:
    run(f"UPDATE shop_book SET author_id = {rng.choice(IDS)} WHERE id IN ({rng.choice(IDS)}, {rng.choice(IDS)})")


def literal_email(rng: random.Random) -> None:
    run(f"UPDATE shop_author SET email = '{rng.choice(EMAILS)}' WHERE id = {rng.choice(IDS)} AND name <> 'X'")


def literal_insert(rng: random.Random) -> None:
    run(
        "INSERT INTO shop_review (id, book_id, stars, text)"
        f" VALUES ({rng.choice(IDS)}, {rng.choice(IDS)}, 2, ''), ({rng.choice(IDS)}, {rng.choice(IDS)}, 3, '')"
    )


def literal_delete(rng: random.Random) -> None:
    run(f"DELETE FROM shop_review WHERE id = {rng.choice(IDS)}")


def insert_chosen(rng: random.Random) -> None:
    run(
        "INSERT INTO shop_review (book_id, stars, text) SELECT id, 4, 'chosen' FROM shop_book WHERE author_id = %s",
        rng.choice(IDS),
    )


def set_primary_key(rng: random.Random) -> None:
    run("UPDATE shop_review SET id = %s WHERE id = %s", rng.choice(IDS), rng.choice(IDS))


def swap_emails(rng: random.Random) -> None:
    one, two = rng.sample(list(IDS), 2)
    author = Author.objects.using("plain").filter(pk=two).first()
    if author is not None:
        with transaction.atomic():
            Author.objects.filter(pk=two).update(email=None)
            Author.objects.filter(pk=one).update(email=author.email)


def change_genres(rng: random.Random) -> None:
    genre = Genre.objects.using("plain").first()
    book = Book.objects.filter(pk=rng.choice(IDS)).first()  # through the cache
    if book is not None and genre is not None:
        rng.choice([book.genres.add, book.genres.remove])(genre.pk)


def write_in_savepoints(rng: random.Random) -> None:
    """A write that stays, one that is undone, and one more."""
    with transaction.atomic():
        try_to(rng.choice(WRITES), rng, True)
        with suppress(ValueError), transaction.atomic():
            try_to(rng.choice(WRITES), rng, True)
            raise ValueError
        try_to(rng.choice(WRITES), rng, True)


WRITES: list[Callable[[random.Random], None]] = [
    *[insert_author] * 3,
    *[insert_book] * 5,
    *[insert_review] * 2,
    *(insert_restaurant, save_author, save_book, save_restaurant),
    *(move_book, update_by_key, update_by_parent, raw_update, raw_literal, raw_swap, raw_or, bulk_update),
    *(delete_book, delete_raw, delete_author),
    *(count_by_key, lock_and_save, update_or_create, get_or_create, upsert_authors, insert_if_free),
    *(raw_upsert, raw_replace, update_many, move_many, insert_many, delete_many),
    *(literal_move, literal_email, literal_insert, literal_delete, insert_chosen, set_primary_key),
    *(swap_emails, change_genres, write_in_savepoints),
]


def read_with(name: str, using: str, seed: int) -> Any:
    return READS[name](using, random.Random(seed))


def try_to(write: Callable[[random.Random], None], rng: random.Random, in_transaction: bool) -> None:
    """Write, unless a constraint is against it, or the row is gone."""
    with suppress(DatabaseError), transaction.atomic() if in_transaction else nullcontext():
        write(rng)
