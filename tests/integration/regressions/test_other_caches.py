"""Holes of other caches, proven absent here."""

from __future__ import annotations

import pytest
from django.db import connection, connections, transaction
from django.db.models import (
    Case,
    CharField,
    Count,
    Exists,
    F,
    FilteredRelation,
    IntegerField,
    OuterRef,
    Q,
    Subquery,
    Sum,
    Value,
    When,
    Window,
)
from django.db.models.expressions import RawSQL
from django.db.models.functions import Cast, Coalesce, Concat, Greatest, Length, NullIf, Rank
from django.db.models.functions import Upper as Capitals

from tests.integration.reading import ENGINE, Reading, execute, rows_of
from tests.shop.models import Author, Book, Genre, Novel, Place, Review, Upper

R = Review.objects.filter
B = Book.objects.filter


@pytest.fixture(autouse=True)
def _rows() -> None:
    ann, bob = (Author.objects.using("plain").create(name=name) for name in ("Ann", "Bob"))
    for number, author in enumerate((ann, ann, bob)):
        book = Book.objects.using("plain").create(author=author, title=f"T{number}", copies=number)
        Review.objects.using("plain").create(book=book, stars=number, text=f"T{number}")
    Genre.objects.using("plain").create(name="Ann")


def counted(book="pk"):
    return R(book=OuterRef(book)).order_by().values("book").annotate(n=Count("pk")).values("n")


SHAPES = {
    # each depends on shop_review, somewhere
    "join": lambda: B(reviews__stars__gt=0),
    "exclude over a join": lambda: Book.objects.exclude(reviews__stars__gt=0),
    "select_related": lambda: Review.objects.select_related("book__author"),
    "reverse values": lambda: Author.objects.values("name", "books__reviews__stars"),
    "aggregate": lambda: Author.objects.annotate(n=Sum("books__reviews__stars")),
    "having": lambda: Author.objects.annotate(n=Sum("books__reviews__stars")).filter(n__gt=1),
    "having with coalesce": lambda: Author.objects.annotate(n=Coalesce(Sum("books__reviews__stars"), 0)).filter(
        n__gt=1
    ),
    "exists": lambda: B(Exists(R(book=OuterRef("pk"), stars__gt=0))),
    "not exists": lambda: B(~Exists(R(book=OuterRef("pk"), stars__gt=0))),
    "exists or": lambda: B(Q(copies=9) | Exists(R(book=OuterRef("pk"), stars__gt=0))),
    "exists of exists": lambda: Author.objects.filter(
        Exists(B(Exists(R(book=OuterRef("pk"), stars=2)), author=OuterRef("pk")))
    ),
    "outer ref of outer ref": lambda: Author.objects.filter(
        Exists(
            B(author=OuterRef("pk")).filter(
                Exists(R(book=OuterRef("pk"), stars__gt=0, book__author=OuterRef(OuterRef("pk"))))
            )
        )
    ),
    "subquery": lambda: Book.objects.annotate(n=Subquery(counted())),
    "subquery + 1": lambda: Book.objects.annotate(n=Coalesce(Subquery(counted()), 0) + 1),
    "subquery in coalesce in filter": lambda: B(
        copies__lt=Coalesce(Subquery(R(book=OuterRef("pk")).values("stars")[:1]), 0) + 1
    ),
    "subquery in greatest": lambda: Book.objects.annotate(
        n=Greatest(Coalesce(Subquery(R(book=OuterRef("pk")).values("stars")[:1]), 0), 1)
    ),
    "subquery in case": lambda: Book.objects.annotate(
        n=Case(When(Exists(R(book=OuterRef("pk"), stars=0)), then=Value(1)), default=2)
    ),
    "case in filter": lambda: B(
        Case(When(Exists(R(book=OuterRef("pk"), stars=0)), then=Value(True)), default=Value(False))
    ),
    "when q and exists": lambda: Book.objects.annotate(
        n=Case(When(Q(copies__gte=0) & Q(Exists(R(book=OuterRef("pk"), stars=0))), then=Value(1)), default=2)
    ),
    "subquery as then": lambda: Book.objects.annotate(
        n=Case(
            When(copies__gte=0, then=Subquery(R(book=OuterRef("pk")).values("stars")[:1])),
            default=None,
            output_field=IntegerField(),
        )
    ),
    "in a queryset": lambda: B(pk__in=R(stars__gt=0).values("book")),
    "not in": lambda: Book.objects.exclude(pk__in=R(stars__gt=0).values("book")),
    "in an annotated queryset": lambda: B(
        pk__in=Review.objects.annotate(x=F("stars") + 1).filter(x__gt=1).values("book")
    ),
    "gt subquery": lambda: B(copies__gte=Subquery(Review.objects.order_by("-stars").values("stars")[:1])),
    "range with subqueries": lambda: B(
        copies__range=(0, Subquery(Review.objects.order_by("-stars").values("stars")[:1]))
    ),
    "in list of subqueries": lambda: B(
        copies__in=[Subquery(Review.objects.order_by("-stars").values("stars")[:1]), 77]
    ),
    "order_by exists": lambda: Book.objects.order_by(Exists(R(book=OuterRef("pk"), stars__gt=0)).desc(), "pk"),
    "order_by subquery": lambda: Book.objects.order_by(
        Subquery(R(book=OuterRef("pk")).values("stars")[:1]).desc(), "-pk"
    ),
    "order_by raw": lambda: Book.objects.order_by(
        RawSQL("(SELECT -max(stars) FROM shop_review WHERE book_id = shop_book.id)", ()), "pk"
    ),
    "order_by a join": lambda: Book.objects.order_by("-reviews__stars", "pk"),
    "raw in filter": lambda: B(pk__in=RawSQL("SELECT book_id FROM shop_review WHERE stars > 0", ())),
    "raw in an annotation": lambda: Book.objects.annotate(n=RawSQL("(SELECT sum(stars) FROM shop_review)", ())),
    "raw in capitals": lambda: Book.objects.annotate(
        n=RawSQL(f"(select sum(STARS) from {'SHOP_REVIEW' if ENGINE != 'mysql' else 'shop_review'})", ())
    ),
    "extra where": lambda: Book.objects.extra(
        where=["EXISTS (SELECT 1 FROM shop_review r WHERE r.book_id = shop_book.id AND stars > 0)"]
    ),
    "extra select": lambda: Book.objects.extra(select={"n": "SELECT sum(stars) FROM shop_review"}),
    "extra tables": lambda: Book.objects.extra(
        tables=["shop_review"], where=["shop_review.book_id = shop_book.id", "stars > 0"]
    ),
    "union": lambda: Genre.objects.values_list("name").union(Review.objects.values_list("text")).order_by("name"),
    "union all, nested": lambda: (
        Genre.objects.values_list("name")
        .union(Upper.objects.values_list("label"), Review.objects.values_list("text"), all=True)
        .order_by("name")
    ),
    "union with lookups": lambda: (
        Genre.objects.filter(name__contains="A")
        .values_list("name")
        .union(R(text__contains="T", text__startswith="T").values_list("text"))
        .order_by("name")
    ),
    "difference": lambda: (
        Book.objects.values_list("title").difference(R(stars__gt=0).values_list("text"))
        if connection.features.supports_select_difference
        else Book.objects.filter(reviews__stars__gt=0)
    ),
    "lookups around a subquery": lambda: B(
        Exists(R(book=OuterRef("pk"), text__icontains="t", stars__gt=0)),
        title__contains="T",
        author__name__endswith="n",
    ),
    "filtered relation": lambda: Book.objects.annotate(
        good=FilteredRelation("reviews", condition=Q(reviews__stars__gt=0))
    ).filter(good__isnull=False),
    "filtered aggregate": lambda: Book.objects.annotate(n=Count("reviews", filter=Q(reviews__stars__gt=0))),
    "window": lambda: Review.objects.annotate(r=Window(Rank(), order_by=F("stars").desc())),
    "window over a subquery": lambda: Book.objects.annotate(
        s=Subquery(R(book=OuterRef("pk")).values("stars")[:1])
    ).annotate(r=Window(Rank(), order_by=F("s").desc())),
    "distinct": lambda: Author.objects.filter(books__reviews__stars__gt=0).distinct(),
    "values of an annotation": lambda: Book.objects.annotate(s=Sum("reviews__stars")).values_list("s", flat=True),
    "alias": lambda: Book.objects.alias(s=Sum("reviews__stars")).filter(s__gt=0),
    "concat of a subquery": lambda: Book.objects.annotate(
        x=Concat("title", Capitals(Subquery(R(book=OuterRef("pk")).values("text")[:1])), output_field=CharField())
    ),
    "nullif": lambda: Book.objects.annotate(
        x=NullIf("copies", Subquery(R(book=OuterRef("pk")).values("stars")[:1]), output_field=IntegerField())
    ),
    "cast of a subquery": lambda: Book.objects.annotate(
        x=Cast(Subquery(R(book=OuterRef("pk")).values("stars")[:1]), CharField(max_length=9))
    ),
    "length in filter": lambda: B(copies__lt=Length(Subquery(R(book=OuterRef("pk")).values("text")[:1]))),
    "m2m through": lambda: Genre.objects.filter(
        Q(books__reviews__stars__gt=0) | Q(name__in=R(stars__gt=0).values("text"))
    ),
    "a slice of a subquery": lambda: B(pk__in=list(Book.objects.values_list("pk", flat=True))).filter(
        copies__gte=Coalesce(Subquery(R(stars__gt=0).order_by("-stars").values("stars")[:1]), 0)
    ),
    "a proxy": lambda: Novel.objects.filter(reviews__stars__gt=0),
}


@pytest.mark.parametrize("query", [pytest.param(query, id=name) for name, query in SHAPES.items()])
def test_a_table_anywhere_in_a_query_counts(queries, query):
    """However deep it stands: a write to it invalidates the result."""

    def read(using):
        rows = query().using(using)
        whole = not rows.query.combinator and not rows.query.values_select
        return list(rows.values_list() if whole else rows)

    assert "shop_review" in str(query().query).lower()
    reading = Reading(queries, read)
    Place.objects.create(name="unrelated")
    reading.assert_hit()

    Review.objects.filter(book__title="T2").update(stars=0, text="zzz")
    Review.objects.filter(book__title="T0").update(stars=1, text="Ann")
    Review.objects.filter(book__title="T1").delete()

    reading.assert_fresh()


def test_count_exists_aggregate_of_joined_tables(queries):
    reading = Reading(
        queries,
        lambda using: (
            B(reviews__stars__gt=0).using(using).count(),
            B(reviews__stars__gt=1).using(using).exists(),
            Book.objects.using(using).aggregate(s=Sum("reviews__stars")),
        ),
    )
    Review.objects.update(stars=0)
    reading.assert_fresh()


def test_parameters_whose_text_is_cut(queries):
    """H12: long parameters that begin alike."""
    for end in "ab":
        Book.objects.create(
            author=Author.objects.first(), title=end, data={"k": "x" * 200 + end}, cover=b"x" * 200 + end.encode()
        )
    for _ in range(2):
        for end in "ab":
            assert B(data={"k": "x" * 200 + end}).get().title == end
            assert B(cover=b"x" * 200 + end.encode()).get().title == end


def test_lists_and_their_mirror_image():
    """The same parameters in the same order, cut into lists at different places."""
    for _ in range(2):
        assert B(title__in=["T0", "Ann", "y"]).filter(author__name__in=["Bob"]).count() == 0
        assert B(title__in=["T0"]).filter(author__name__in=["Ann", "y", "Bob"]).count() == 1
        assert B(title__in=["T0", "x", "Ann"]).filter(author__name__in=["Bob", "z"]).count() == 0
        assert B(title__in=["T0", "x"]).filter(author__name__in=["Ann", "Bob", "z"]).count() == 1
        assert B(copies__in=[0, 1, 2]).filter(pk__in=[-1]).count() == 0
        assert B(Q(copies__in=[0]) | Q(pk__in=[1, 2, -1])).count() == 1 + B(pk__in=[1, 2], copies__gt=0).count()
        assert B(Q(copies__in=[0, 1]) | Q(pk__in=[2, -1])).count() == 2 + B(pk=2, copies=2).count()


def test_a_clock_that_stands_still(queries):
    """H3: stamps of the same moment differ."""
    from freezegun import freeze_time

    with freeze_time("2020-01-01", tick=False):
        for number in range(3):
            reading = Reading(queries, rows_of(Genre))
            Genre.objects.update(name=f"new {number}")
            reading.assert_fresh()


def test_hooks_after_commit_see_the_new_rows(queries):
    """H7: another process that such a hook starts, too."""
    reading = Reading(queries, rows_of(Genre))
    seen = []
    with transaction.atomic():
        Genre.objects.update(name="new")
        transaction.on_commit(lambda: seen.append(Genre.objects.get().name))
    assert seen == ["new"]
    reading.assert_fresh()


def test_manual_transactions(queries):
    """H8: set_autocommit(False), and a rollback of it."""
    reading = Reading(queries, rows_of(Genre))
    connection.set_autocommit(False)
    try:
        Genre.objects.update(name="never")
        assert Genre.objects.get().name == "never"
        connection.rollback()
        assert Genre.objects.get().name == "Ann"
        Genre.objects.update(name="new")
        connection.commit()
    finally:
        connection.rollback()
        connection.set_autocommit(True)
    reading.assert_fresh()


def test_savepoints(queries):
    reading = Reading(queries, rows_of(Genre))
    with transaction.atomic():
        # Renamed in Django 6.1
        create = getattr(transaction, "savepoint_create", None) or transaction.savepoint
        point = create()
        Genre.objects.update(name="never")
        assert Genre.objects.get().name == "never"
        transaction.savepoint_rollback(point)
        assert Genre.objects.get().name == "Ann"
    reading.assert_fresh(changed=False)


@pytest.mark.parametrize("begin", ["BEGIN; UPDATE shop_genre SET name = 'new'", "a procedure", "a script"])
def test_a_transaction_that_something_leaves_open(queries, ddl, begin):
    """What it has written is not visible yet, and invalidates nothing for good before it is."""
    if {"BEGIN;": "postgresql", "a proc": "mysql", "a scri": "sqlite"}[begin[:6]] != ENGINE:
        pytest.skip("not on this engine")
    if ENGINE == "mysql":
        body = "BEGIN START TRANSACTION; UPDATE shop_genre SET name = 'new'; END"
        ddl(f"CREATE PROCEDURE begin_and_write() {body}", "DROP PROCEDURE begin_and_write")
    reading = Reading(queries, rows_of(Genre))
    with connection.cursor() as cursor:
        if ENGINE == "mysql":
            cursor.callproc("begin_and_write")
        elif ENGINE == "sqlite":
            cursor.executescript("BEGIN; UPDATE shop_genre SET name = 'new'")
        else:
            cursor.execute(begin)
    reading.cache_again()
    execute("COMMIT")

    reading.assert_fresh()


def test_a_transaction_that_cannot_begin(queries, monkeypatch):
    """H16: nothing is left behind."""
    wrapper = connections["default"]
    wrapper.close()
    monkeypatch.setattr(wrapper, "get_new_connection", _fails)
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        pass
    monkeypatch.undo()
    reading = Reading(queries, rows_of(Genre))
    Genre.objects.update(name="new")
    reading.assert_fresh()


def _fails(*args):
    raise ZeroDivisionError


# Below Django -------------------------------------------------------------------------------------------

#: statements that are the cache's own questions to the database, run when it connects or reads the catalog
_OWN = (
    "sqlite_master",
    "pg_",
    "information_schema",
    "@@",
    "SHOW VARIABLES",
    "PRAGMA",
    "SELECT DATABASE()",
    "has_function_privilege",
    "current_schemas",
    "current_setting",
    "current_user",
    "set_config('search_path', '', true), set_config('jit', 'off', true)",
)


def test_no_statement_reaches_the_driver_unseen(monkeypatch, ddl):
    """Every text that the driver is given has passed the write path."""
    from ormcache.write_path.driver_calls import DriverCalls
    from ormcache.write_path.statements import Writes

    seen, given = [], []
    for owner, method in ((Writes, "run"), (DriverCalls, "begin")):
        real = getattr(owner, method)

        def noted(self, *args, _real=real, _at=1 if method == "run" else 0):
            seen.append(_text(args[_at]))
            return _real(self, *args)

        monkeypatch.setattr(owner, method, noted)
    real_run = DriverCalls.run

    def running(self, *args, **kwargs):
        seen.append("anything")
        given.append("(")
        try:
            return real_run(self, *args, **kwargs)
        finally:
            given.append(")")

    monkeypatch.setattr(DriverCalls, "run", running)
    connection.ensure_connection()
    undo = _record_at_the_driver(given)
    try:
        _do_all_kinds_of_things()
    finally:
        undo()

    covered, depth = list(seen), 0
    for text in given:
        depth += (text == "(") - (text == ")")
        if (
            depth
            or text in "()"
            or text.upper().startswith(("BEGIN", "COMMIT", "ROLLBACK"))
            or any(own in text for own in _OWN)
        ):
            continue
        assert any(_same(text, one) for one in covered), f"unseen: {text}"
    assert len([text for text in given if "shop_" in text.lower()]) > 15


def _text(sql) -> str:
    if isinstance(sql, bytes):
        return sql.decode()
    return sql.as_string(None) if hasattr(sql, "as_string") else str(sql)


def _same(given: str, seen: str) -> bool:
    """The driver may have put parameters in place of the placeholders."""
    import re

    parts = [re.escape(part) for part in re.split(r"%s|\?", " ".join(seen.split()).replace("%%", "%"))]
    return re.fullmatch("(?s:.*?)".join(parts), " ".join(given.split())) is not None


def _record_at_the_driver(given: list[str]):
    raw = connections["default"].connection
    if ENGINE == "sqlite":
        # What SQLite itself runs, triggers and all, with the parameters in place.
        raw.set_trace_callback(lambda text: None if text.startswith("--") else given.append(text))
        return lambda: raw.set_trace_callback(None)
    if ENGINE == "postgresql":
        base = raw.cursor_factory

        class Recording(base):
            def execute(self, query, *args, **kwargs):
                given.append(_text(query))
                return super().execute(query, *args, **kwargs)

            def executemany(self, query, *args, **kwargs):
                given.append(_text(query))
                return super().executemany(query, *args, **kwargs)

            def stream(self, query, *args, **kwargs):
                given.append(_text(query))
                return super().stream(query, *args, **kwargs)

            def copy(self, statement, *args, **kwargs):
                given.append(_text(statement))
                return super().copy(statement, *args, **kwargs)

        raw.cursor_factory = Recording

        def undo() -> None:
            raw.cursor_factory = base

        return undo
    real = raw.query

    def query(sql, *args, **kwargs):
        given.append(sql.decode() if isinstance(sql, (bytes, bytearray)) else str(sql))
        return real(sql, *args, **kwargs)

    raw.query = query
    return lambda: raw.__dict__.pop("query", None)


def _do_all_kinds_of_things() -> None:
    author = Author.objects.create(name="New")
    author.name = "Newer"
    author.save()
    Book.objects.bulk_create([Book(author=author, title=title) for title in "ab"])
    books = list(Book.objects.all())
    for book in books:
        book.copies = 5
    Book.objects.bulk_update(books, ["copies"])
    books[0].genres.add(Genre.objects.first())
    books[0].genres.clear()
    Review.objects.update(stars=F("stars") + 1)
    list(Book.objects.iterator(chunk_size=1))
    list(Genre.objects.raw("SELECT * FROM shop_genre"))
    with transaction.atomic():
        Genre.objects.create(name="x")
        with transaction.atomic():
            Genre.objects.filter(name="x").delete()
    author.delete()
    with connection.schema_editor() as editor:
        editor.execute("CREATE TABLE shop_extra (id integer)")
        editor.execute("DROP TABLE shop_extra")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE shop_genre SET name = 'y'")
        cursor.executemany("UPDATE shop_genre SET name = %s", [("a",), ("b",)])
        if ENGINE == "sqlite":
            cursor.executescript("UPDATE shop_genre SET name = 'z'; DELETE FROM shop_review")
        if ENGINE == "postgresql":
            from psycopg import sql

            cursor.execute(b"UPDATE shop_genre SET name = 'z'")
            cursor.execute(sql.SQL("UPDATE {} SET name = 'q'").format(sql.Identifier("shop_genre")))
            list(cursor.stream("SELECT * FROM shop_genre"))
            with cursor.copy("COPY shop_genre TO STDOUT") as copy:
                list(copy)
    with connection.chunked_cursor() as cursor:
        cursor.execute("SELECT * FROM shop_book")
        cursor.fetchall()
    connection.check_constraints()
