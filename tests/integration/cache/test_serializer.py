"""A hit gives the very values that the database gave: equal, and of the same types."""

from __future__ import annotations

import datetime
import decimal
import uuid

import pytest
import pytz
from django.db import connection, models
from django.db.models import (
    Avg,
    Case,
    Count,
    Exists,
    F,
    FloatField,
    JSONField,
    Max,
    Min,
    OuterRef,
    Q,
    Subquery,
    Sum,
    Value,
    When,
    Window,
)
from django.db.models.expressions import RawSQL
from django.db.models.functions import Cast, Concat, Extract, Length, Rank, TruncDate, TruncHour, TruncMonth
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy

import ormcache
from tests.integration.reading import ENGINE, only_mysql, only_postgresql, only_sqlite, stats
from tests.shop.models import Author, Book, Genre, LegacyStock, Novel, Restaurant, Review, Upper

# Without its tables of time zones MySQL converts nothing.
BERLIN = datetime.UTC if ENGINE == "mysql" else datetime.timezone(datetime.timedelta(hours=1))
JSON = {"a": [1, 2.5, None, True, "ü\u2028", {"deep": [[]]}], "big": 10**30, "": {}, "s": "x" * 300}


def typed(value):
    """The value with all its types, so that 1 and True, a list and a tuple, two time zones differ."""
    if isinstance(value, models.Model):
        return (
            type(value),
            typed({field.attname: getattr(value, field.attname) for field in value._meta.concrete_fields}),
        )
    if isinstance(value, dict):
        return (type(value), [(typed(key), typed(item)) for key, item in value.items()])
    if isinstance(value, (list, tuple)):
        return (type(value), [typed(item) for item in value])
    if isinstance(value, memoryview):
        return (type(value), value.readonly, value.format, bytes(value))
    if isinstance(value, (datetime.datetime, datetime.time)):
        return (type(value), value, value.fold, type(value.tzinfo), str(value.tzinfo))
    if isinstance(value, (float, decimal.Decimal)):
        return (type(value), repr(value))
    if type(value).__name__ in ("Multirange", "Range") or hasattr(value, "lower_inc"):
        parts = list(value) if type(value).__name__ == "Multirange" else [value.lower, value.upper, value._bounds]
        return (type(value), typed(parts))
    return (type(value), value)


@pytest.fixture(autouse=True)
def _rows() -> None:
    ann = Author.objects.using("plain").create(name="Ann ü \u2603 '\\\"", email=None, born=datetime.date(1, 1, 1))
    bob = Author.objects.using("plain").create(name="", email="b@x.org", born=datetime.date(9999, 12, 31), active=False)
    prose = Genre.objects.using("plain").create(name="Prose")
    book = Book.objects.using("plain").create(
        author=ann,
        title="All",
        price=decimal.Decimal("-123456.70"),
        published=datetime.date(2000, 2, 29),
        created=datetime.datetime(2020, 10, 25, 1, 30, 0, 123456, tzinfo=datetime.UTC),
        data=JSON,
        uuid=uuid.UUID("12345678123456781234567812345678"),
        cover=b"\x00\xff'\\ cover",
        in_print=True,
        copies=2**63 - 1,
        listening_time=datetime.timedelta(days=-3, seconds=5, microseconds=7),
        read_aloud_at=datetime.time(23, 59, 59, 999999),
        rating=0.1,
        ordered_from="2001:db8::1",
    )
    book.genres.add(prose)
    Book.objects.using("plain").create(
        author=bob,
        title="Edges",
        price=0,
        created=datetime.datetime(1970, 1, 1, tzinfo=BERLIN),
        data=[],
        in_print=False,
        copies=-(2**63),
        cover=b"",
        rating=-0.0,
        listening_time=datetime.timedelta(),
        read_aloud_at=datetime.time(0),
        ordered_from="10.0.0.1",
    )
    for number, data in enumerate([None, "text", 1, 1.5, True, [], {}, [None]]):
        Book.objects.using("plain").create(
            author=ann, title=f"JSON {number}", data=Value(data, JSONField()) if data is None else data
        )
    Review.objects.using("plain").create(book=book, stars=3, text="x" * 5000)
    Restaurant.objects.using("plain").create(name="Chez", serves_pizza=True)
    Upper.objects.using("plain").create(label="L")
    LegacyStock.objects.using("plain").create(book=book, quantity=-1)


READS = {
    "all columns": lambda: Book.objects.order_by("pk"),
    "a proxy": lambda: Novel.objects.order_by("pk"),
    "values": lambda: Book.objects.order_by("pk").values(),
    "values_list": lambda: Book.objects.order_by("pk").values_list(),
    "named": lambda: Book.objects.order_by("pk").values_list("title", "price", named=True),
    "flat": lambda: Book.objects.order_by("pk").values_list("data", flat=True),
    "defer": lambda: Book.objects.order_by("pk").values_list("cover", "rating"),
    "joins": lambda: Review.objects.values("book__author__name", "book__data", "book__created"),
    "left join": lambda: Author.objects.order_by("pk").values_list("name", "books__reviews__stars", "books__uuid"),
    "a child table": Restaurant.objects.all,
    "quoted names": Upper.objects.all,
    "an unmanaged table": LegacyStock.objects.all,
    "reverse": lambda: Author.objects.filter(books__genres__name="Prose"),
    "dates": lambda: Book.objects.dates("published", "month"),
    "datetimes": lambda: Book.objects.datetimes("created", "hour", tzinfo=BERLIN),
    "union": lambda: Author.objects.values_list("name").union(Genre.objects.values_list("name")).order_by("name"),
    "annotations": lambda: (
        Book.objects.order_by("pk")
        .annotate(
            a=Value(1),
            b=Value("1"),
            c=Value(True),
            d=Value(1.5),
            e=Value(decimal.Decimal("1.50")),
            f=Length("title"),
            g=Concat("title", Value("!")),
            h=TruncMonth("created"),
            i=Extract("created", "week"),
            j=TruncDate("created"),
            k=Cast("copies", FloatField()),
            l=Case(When(copies__gt=0, then=Value("yes"))),
            m=F("price") * 2,
            n=Exists(Review.objects.filter(book=OuterRef("pk"))),
            o=TruncHour("created", tzinfo=BERLIN),
            p=Subquery(Review.objects.filter(book=OuterRef("pk")).values("stars")[:1]),
            q=F("data__a"),
        )
        .values_list("a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q")
    ),
    "windows": lambda: Book.objects.order_by("pk").annotate(r=Window(Rank(), order_by="copies")).values_list("r"),
    "aggregates by group": lambda: (
        Author.objects.order_by("pk")
        .annotate(
            n=Count("books"),
            total=Sum("books__price"),
            first=Min("books__created"),
            mean=Avg("books__rating"),
            time=Sum("books__listening_time"),
            some=Count("books", filter=Q(books__in_print=True)),
        )
        .values_list("n", "total", "first", "mean", "time", "some")
    ),
    "extra": lambda: Book.objects.order_by("pk").extra(select={"twice": "id * 2"}).values("twice", "title"),
    "raw parts": lambda: Genre.objects.annotate(x=RawSQL("SELECT NULL", ()), y=RawSQL("SELECT 1.50", ())).values(
        "x", "y"
    ),
    "no rows": lambda: Book.objects.filter(title="none").values_list(),
}
ONE = {
    "get": lambda: Book.objects.get(title="All"),
    "first": lambda: Book.objects.order_by("pk").first(),
    "first of nothing": lambda: Book.objects.filter(title="none").first(),
    "count": Book.objects.count,
    "exists": lambda: Book.objects.filter(title="All").exists(),
    "exists not": lambda: Book.objects.filter(title="none").exists(),
    "aggregate": lambda: Book.objects.aggregate(
        Sum("price"), Avg("price"), Max("created"), Min("published"), Sum("listening_time"), Avg("rating"), n=Count("*")
    ),
    "aggregate over a subquery": lambda: Book.objects.order_by("pk")[:2].aggregate(n=Count("pk"), s=Sum("copies")),
    "aggregate of nothing": lambda: Book.objects.filter(title="none").aggregate(Sum("price"), Max("created")),
    "in_bulk": Book.objects.in_bulk,
    "contains": lambda: Book.objects.contains(Book(pk=1)),
    "latest": lambda: Book.objects.latest("created"),
}


def _check(queries, read):
    live = typed(read())
    for _ in range(2):
        with queries(0):
            assert typed(read()) == live
    with ormcache.disabled():
        assert typed(read()) == live


@pytest.mark.parametrize("local_size", [0, 32 * 2**20])
@pytest.mark.parametrize("query", [pytest.param(query, id=name) for name, query in READS.items()])
def test_rows(configure, queries, query, local_size):
    configure(LOCAL_SIZE=local_size)

    _check(queries, lambda: list(query()))
    _check_driver_rows(queries, query())


@pytest.mark.parametrize("read", [pytest.param(read, id=name) for name, read in ONE.items()])
def test_single_answers(queries, read):
    _check(queries, read)


def _check_driver_rows(queries, query):
    """The rows before Django's converters, as the compiler hands them out."""

    def rows():
        compiler = query.query.get_compiler("default")
        return [[tuple(row) for row in chunk] for chunk in compiler.execute_sql()]

    hit = rows()
    with queries(0):
        assert typed(rows()) == typed(hit)
    with ormcache.disabled():
        live = rows()
    flat = [row for chunk in live for row in chunk]
    assert typed([row for chunk in hit for row in chunk]) == typed(flat)


def test_a_result_of_many_chunks(queries):
    Genre.objects.bulk_create([Genre(name=str(number)) for number in range(350)])

    _check(queries, lambda: list(Genre.objects.order_by("pk").values_list()))


def test_prefetch_and_select_related(queries):
    def read():
        books = Book.objects.order_by("pk").select_related("author").prefetch_related("genres", "reviews")
        return [(typed(b), typed(b.author), typed(list(b.genres.all())), typed(list(b.reviews.all()))) for b in books]

    live = read()
    with queries(0):
        assert read() == live


def test_parameters_that_are_equal_and_differ(queries):
    """Equal in Python, and the database gives another answer for each."""
    values = [1, True, 1.0, decimal.Decimal(1), "1", decimal.Decimal("1.0"), decimal.Decimal("1.00"), 0.0, -0.0]
    read = {repr(v): Genre.objects.annotate(x=Value(v)).values_list("x", flat=True) for v in values}
    with ormcache.disabled():
        live = {key: typed(query.all().get()) for key, query in read.items()}
    for _ in range(2):
        assert {key: typed(query.all().get()) for key, query in read.items()} == live


# What a caller does to a value ------------------------------------------------------------------


class Name(str):
    """A project's own name for a text."""

    __slots__ = ()


def test_parameters_of_a_projects_own_types(queries):
    zone = pytz.timezone("Europe/Berlin")
    Author.objects.create(name="A")
    reads = [
        lambda: list(Author.objects.filter(name=Name("A"))),
        lambda: Author.objects.filter(pk__gte=Name("1")).count(),
        lambda: Book.objects.filter(created__lt=zone.localize(datetime.datetime(2020, 7, 1))).count(),
        lambda: Author.objects.filter(name=gettext_lazy("A")).count(),
        lambda: Author.objects.filter(name=mark_safe("A")).count(),
    ]
    answers = [read() for read in reads]
    with queries(0):
        assert [read() for read in reads] == answers


@pytest.mark.parametrize("local_size", [0, 32 * 2**20])
def test_what_a_caller_changes_stays_with_the_caller(configure, queries, local_size):
    configure(LOCAL_SIZE=local_size)

    def rows():
        compiler = Book.objects.order_by("pk").query.get_compiler("default")
        return list(compiler.execute_sql())  # lists, or one tuple with some drivers

    for _ in range(3):
        book = Book.objects.get(title="All")
        assert book.data == JSON
        book.data["a"].append("changed")
        book.data.clear()
        listed = Book.objects.filter(title="All").values_list("data", flat=True)[0]
        assert listed == JSON
        listed["a"].clear()
        chunks = rows()
        assert sum(map(len, chunks)) == 10
        for chunk in chunks:
            if isinstance(chunk, list):
                chunk.clear()
        found = Book.objects.in_bulk()
        found.clear()
    with queries(0):
        assert Book.objects.get(title="All").data == JSON


# PostgreSQL ---------------------------------------------------------------------------------------

TYPES = """
    ARRAY[1, NULL, 3]; ARRAY[[1, 2], [3, 4]]; '{}'::text[]; ARRAY['a', 'b,c', '"', NULL]
    '[1,5)'::int4range; '(,5]'::int8range; 'empty'::int4range; '[1.5,2.5]'::numrange
    '[2020-01-01,2020-02-01)'::daterange
    '[2020-01-01 10:00,)'::tsrange; '[2020-01-01 10:00+02,2020-01-02 10:00+02]'::tstzrange
    '{[1,3), [5,9)}'::int4multirange; '{}'::datemultirange
    'a=>1, b=>NULL, "c d"=>"e"'::hstore; ''::hstore
    '10.0.0.1'::inet; '10.0.0.0/8'::cidr; '::1'::inet; '10.0.0.1/8'::inet; '08:00:2b:01:02:03'::macaddr
    '1 year 2 mons 3 days 04:05:06.789'::interval; '-1 day'::interval; '999999 days'::interval; '0'::interval
    '\\x00ff'::bytea; ''::bytea
    '{"a": [1, 2.5, null]}'::jsonb; 'null'::jsonb; '"x"'::jsonb; '1e400'::jsonb; '{"b": 1, "a": 2}'::json
    'NaN'::numeric; 'NaN'::float8; 'Infinity'::float8; '-Infinity'::numeric; 1e100::numeric; 0.1::float4; '-0'::float8
    1.10::numeric; 1e-20::numeric; 2::smallint; 9223372036854775807
    99999999999999999999999999; 170141183460469231731687303715884105728
    '2020-06-01 12:00+05'::timestamptz; '2020-06-01 12:00'::timestamp; '12:00:00.5'::time
    '0001-01-01'::date; '9999-12-31'::date
    'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid; true; NULL; NULL::integer; 'x'::char(5); B'101'
    'x'::name; 12::oid; 12.34::money
    '(1,2)'::point; '<a/>'::xml; to_tsvector('simple', 'a b a'); '1 2'::int2vector; ''; 'pg_class'::regclass
"""
SQL_TYPES = [one.strip() for line in TYPES.strip().splitlines() for one in line.split("; ")]


@only_postgresql
@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_the_types_of_postgresql(queries, monkeypatch, zone):
    if zone:
        monkeypatch.setitem(connection.settings_dict, "TIME_ZONE", zone)
        for name in ("timezone", "timezone_name"):
            connection.__dict__.pop(name, None)
        connection.close()
    rejected = []
    for sql in SQL_TYPES:
        query = Genre.objects.annotate(x=RawSQL(sql.replace("%", "%%"), ())).values_list("x").query

        def rows(query=query):
            return [row for chunk in query.clone().get_compiler("default").execute_sql() for row in chunk]

        before = stats()["rejected"].get("unserializable", 0)
        live = typed(rows())
        if stats()["rejected"].get("unserializable", 0) > before:
            rejected.append(sql)
        assert typed(rows()) == live, sql
        if sql not in rejected:
            with queries(0):
                assert typed(rows()) == live, sql
    assert rejected == []
    for name in ("timezone", "timezone_name"):
        connection.__dict__.pop(name, None)


@only_postgresql
def test_fields_of_postgresql(queries):
    from django.contrib.postgres.aggregates import ArrayAgg, JSONBAgg
    from psycopg.types.range import DateRange, Int4Range, NumericRange, TimestamptzRange

    from tests.shop_postgresql.models import Reading

    Reading.objects.using("plain").create(
        tags=["a", "b"],
        seats=[[1, 2], [3, None]],
        days=DateRange(datetime.date(2020, 1, 1), None),
        window=TimestamptzRange(datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC), None, "()"),
        ages=Int4Range(1, 5),
        prices=NumericRange(decimal.Decimal("1.5"), decimal.Decimal(2)),
        attributes={"a": "1", "b": None},
    )
    Reading.objects.using("plain").create(tags=[])
    _check(queries, lambda: list(Reading.objects.order_by("pk")))
    _check(queries, lambda: list(Reading.objects.order_by("pk").values_list()))
    _check(queries, lambda: list(Reading.objects.filter(tags__contains=["a"]).values_list("tags", "ages")))
    _check(queries, lambda: list(Reading.objects.filter(attributes__a="1", ages__contains=2).values_list("attributes")))
    _check(
        queries, lambda: Book.objects.aggregate(a=ArrayAgg("copies", order_by="pk"), j=JSONBAgg("data", order_by="pk"))
    )
    for _ in range(3):
        reading = Reading.objects.order_by("pk").first()
        assert (reading.tags, reading.seats) == (["a", "b"], [[1, 2], [3, None]])
        reading.tags.append("c")
        reading.seats[0].clear()
        reading.attributes.clear()


@only_postgresql
def test_long_json_parameters_with_equal_beginnings(queries):
    one, other = ({"a": "x" * 100 + end} for end in "ab")
    Book.objects.filter(title="All").update(data=one)
    Book.objects.filter(title="Edges").update(data=other)
    for _ in range(2):
        assert Book.objects.get(data=one).title == "All"
        assert Book.objects.get(data=other).title == "Edges"
        assert not Book.objects.filter(cover=b"x" * 100 + b"a").exists()


@only_mysql
def test_the_types_of_mysql(queries):
    sql_types = """
        1; -1; 18446744073709551615; 1.50; 1e10; 'x'; ''; NULL; TRUE; b'101'; x'00ff'; DATE'2020-01-01'; TIME'00:00:01'
        TIME'10:00:00.123456'; TIMESTAMP'2020-01-01 10:00:00.000001'; JSON_OBJECT('a', 1); CAST(1 AS DECIMAL(30,10))
        0.1e0
        CAST('x' AS BINARY); 99999999999999999999999
    """
    for sql in [one.strip() for line in sql_types.strip().splitlines() for one in line.split("; ")]:
        query = Genre.objects.annotate(x=RawSQL(sql, ())).values_list("x").query

        def rows(query=query):
            return [row for chunk in query.clone().get_compiler("default").execute_sql() for row in chunk]

        live = typed(rows())
        with queries(0):
            assert typed(rows()) == live, sql


@only_sqlite
def test_the_types_of_sqlite(queries):
    for sql in "1; -9223372036854775808; 1.5; 9e999; 'x'; ''; NULL; x'00ff'; x''; 1e-300; 'ü'; -0.0".split("; "):
        query = Genre.objects.annotate(x=RawSQL(sql, ())).values_list("x").query

        def rows(query=query):
            return [row for chunk in query.clone().get_compiler("default").execute_sql() for row in chunk]

        live = typed(rows())
        with queries(0):
            assert typed(rows()) == live, sql


@only_postgresql
def test_a_time_zone_that_django_sets_anew(settings):
    """On the driver's own cursor, when the settings change while a connection is open."""
    author = Author.objects.create(name="A")
    Book.objects.create(author=author, title="B", created=datetime.datetime(2024, 1, 1, 12, tzinfo=datetime.UTC))
    texts = (
        Book.objects.filter(author=author)
        .annotate(text=Cast("created", models.CharField()))
        .values_list("text", flat=True)
    )
    settings.USE_TZ = False
    for _ in range(2):
        for zone, hour in (("Asia/Tokyo", "21:00"), ("UTC", "12:00")):
            settings.TIME_ZONE = zone
            assert hour in texts[0]
            assert hour in texts[0]
