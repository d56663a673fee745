"""What could differ the next time goes to the database every time, and is counted with its reason."""

from __future__ import annotations

import datetime
import json

import pytest
from django.db import DatabaseError, connection, models, transaction
from django.db.models import (
    CharField,
    Count,
    DateField,
    DateTimeField,
    Exists,
    ExpressionWrapper,
    F,
    Func,
    OuterRef,
    Q,
)
from django.db.models.expressions import Case, RawSQL, Subquery, When
from django.db.models.functions import Cast, ExtractHour, ExtractYear, Now, Random, Round, TruncDate, TruncDay
from django.utils.safestring import SafeString

from ormcache import reasons
from tests.integration.reading import (
    ENGINE,
    execute,
    model_of,
    not_on_sqlite,
    only_mysql,
    only_postgresql,
    only_sqlite,
    stats,
)
from tests.shop.models import Author, Book, Genre, Review


@pytest.fixture(autouse=True)
def _rows() -> None:
    book = Book.objects.using("plain").create(author=Author.objects.using("plain").create(name="Ann"), title="T")
    Review.objects.using("plain").create(book=book)
    Genre.objects.using("plain").create(name="Prose")


@pytest.fixture
def never_cached(queries):
    """``never_cached(read, reason)``: every reading reaches the database and is counted."""

    def check(read, reason: str, times: int = 1) -> None:
        for _ in range(2):
            before = stats()["bypassed"].get(reason, 0)
            with queries(times):
                read()
            assert stats()["bypassed"].get(reason, 0) == before + times, stats()["bypassed"]

    return check


def raw(sql: str, *params) -> RawSQL:
    return RawSQL(sql, params, output_field=CharField())


# Ways of reading -----------------------------------------------------------------------------


@pytest.mark.parametrize("read", [Genre.objects.all(), Genre.objects.values_list("name")])
def test_more_rows_than_a_chunk_has(queries, read):
    for number in range(2):
        before = stats()["rejected"].get(reasons.CHUNKED, 0)
        with queries() as seen:
            assert len(list(read.iterator(chunk_size=1))) == 1 + number
        assert seen  # a server-side cursor fetches chunk by chunk
        assert stats()["rejected"][reasons.CHUNKED] == before + 1
        execute("INSERT INTO shop_genre (name) VALUES ('past the cache')", using="plain")


def test_explain(never_cached):
    never_cached(Genre.objects.explain, reasons.EXPLAIN)


def test_explain_analyze_of_a_read_retires_nothing(queries):
    if ENGINE == "sqlite":
        pytest.skip("SQLite has nothing of the kind")
    list(Genre.objects.all())
    Genre.objects.explain(analyze=True)
    with queries(0):
        list(Genre.objects.all())


@not_on_sqlite
@pytest.mark.parametrize("options", [{}, {"nowait": True}, {"of": ("self",)}, {"no_key": True}, {"skip_locked": True}])
def test_select_for_update(never_cached, options):
    features = {
        "nowait": "has_select_for_update_nowait",
        "of": "has_select_for_update_of",
        "no_key": "has_select_for_no_key_update",
        "skip_locked": "has_select_for_update_skip_locked",
    }
    if not all(getattr(connection.features, features[option]) for option in options):
        pytest.skip("this server has no such option")
    with transaction.atomic():
        never_cached(lambda: list(Genre.objects.select_for_update(**options)), reasons.LOCKING)


@not_on_sqlite
def test_locks_in_raw_parts(never_cached):
    lock = "LOCK IN SHARE MODE" if ENGINE == "mysql" else "FOR SHARE"
    with transaction.atomic():
        never_cached(
            lambda: list(Genre.objects.filter(pk__in=RawSQL(f"SELECT id FROM shop_genre {lock}", ()))), reasons.LOCKING
        )


def test_a_broken_transaction(never_cached):
    list(Genre.objects.all())
    with transaction.atomic():
        transaction.set_rollback(True)
        before = stats()["bypassed"].get(reasons.BROKEN_TRANSACTION, 0)
        with pytest.raises(transaction.TransactionManagementError):
            list(Genre.objects.all())
        assert stats()["bypassed"][reasons.BROKEN_TRANSACTION] == before + 1


def test_dirty(never_cached):
    with transaction.atomic():
        Genre.objects.update(name="new")
        never_cached(lambda: list(Genre.objects.all()), reasons.DIRTY)


def test_disabled(configure, never_cached):
    configure(ENABLED=False)
    never_cached(lambda: list(Genre.objects.all()), reasons.DISABLED)


# The clock, dice, sequences, the session ----------------------------------------------------------

CLOCK = {
    "filter": lambda: Book.objects.filter(created__lt=Now()),
    "arithmetic": lambda: Book.objects.filter(created__lt=Now() - datetime.timedelta(days=1)),
    "annotation": lambda: Book.objects.annotate(age=ExpressionWrapper(Now() - F("created"), models.DurationField())),
    "inside functions": lambda: Book.objects.filter(copies__lt=ExtractYear(TruncDay(Now()))),
    "in a case": lambda: Book.objects.annotate(x=Case(When(created__lt=Now(), then=1), default=2)),
    "in an exists": lambda: Author.objects.filter(
        Exists(Book.objects.filter(author=OuterRef("pk"), created__lt=Now()))
    ),
    "in a subquery's annotation": lambda: Author.objects.annotate(
        x=Subquery(Book.objects.annotate(n=Now()).values("n")[:1])
    ),
    "in an aggregate": lambda: Author.objects.annotate(n=Count("books", filter=Q(books__created__lt=Now()))),
    "in order_by": lambda: Book.objects.order_by(Now() - F("created")),
    "in having": lambda: Author.objects.annotate(m=models.Max("books__created")).filter(m__lt=Now()),
    "in extra": lambda: Book.objects.extra(where=["created < CURRENT_TIMESTAMP"]),
    "CURRENT_DATE": lambda: Book.objects.annotate(x=raw("CURRENT_DATE")),
    "current_timestamp": lambda: Book.objects.annotate(x=raw("current_timestamp")),
    "a comment in between": lambda: Book.objects.annotate(x=raw("CURRENT_TIMESTAMP/* */")),
}
if ENGINE == "postgresql":
    from django.db.backends.postgresql.psycopg_any import DateTimeTZRange, Jsonb

    CLOCK |= {
        sql: lambda sql=sql: Book.objects.annotate(x=raw(sql))
        for sql in (
            "now()",
            "NOW ( )",
            "now/**/()",
            'pg_catalog."now"()',
            "clock_timestamp()",
            "statement_timestamp()",
            "transaction_timestamp()",
            "timeofday()",
            "LOCALTIME",
            "localtimestamp(2)",
            "current_time(0)",
            "'today'::date",
            "'now'::text::timestamptz",
            "date 'TOMORROW'",
            "timestamp ' Yesterday '",
            "CAST('now' AS timestamp)",
            "$$today$$::date",
            "E'today'::date",
            "'today 12:00'::timestamp",
            "E'\\x74oday'::date",
            "age(created)",
            "date('today')",
        )
    }
    CLOCK |= {
        "a parameter": lambda: Book.objects.extra(where=["created > %s::timestamptz"], params=["today"]),
        "a parameter in a list": lambda: Book.objects.extra(
            where=["created > ALL (%s::timestamptz[])"], params=[["today", "yesterday"]]
        ),
        "a safe string": lambda: Book.objects.extra(where=["created > %s::timestamptz"], params=[SafeString("today")]),
        "a parameter that is a range": lambda: Book.objects.extra(
            where=["created <@ %s::tstzrange"], params=[DateTimeTZRange("yesterday", "now")]
        ),
        "ranges in a list": lambda: Book.objects.extra(
            where=["created <@ ANY (%s::tstzrange[])"], params=[[DateTimeTZRange("yesterday", "now")]]
        ),
        "a parameter that is a long array": lambda: Book.objects.extra(
            where=["created <> ALL (%s::timestamptz[])"], params=["{" + "2000-01-01," * 20 + "now}"]
        ),
        "a document": lambda: Book.objects.extra(
            where=["created > (SELECT r.created FROM jsonb_populate_record(NULL::shop_book, %s) r)"],
            params=[Jsonb({"created": "now"}, dumps=json.dumps)],
        ),
        "a text column": lambda: Book.objects.annotate(x=Cast("title", DateTimeField())).filter(title="now"),
        "a field of a document": lambda: Book.objects.annotate(
            x=raw("(to_jsonb(shop_book) ->> 'title')::timestamptz")
        ).filter(title="now"),
    }
elif ENGINE == "mysql":
    CLOCK |= {
        sql: lambda sql=sql: Book.objects.annotate(x=raw(sql))
        for sql in (
            "now()",
            "NOW(6)",
            "curdate()",
            "curtime()",
            "sysdate()",
            "unix_timestamp()",
            "utc_date()",
            "UTC_TIMESTAMP",
            "utc_time",
            "localtime",
            "LOCALTIMESTAMP()",
            "current_date()",
            "current_timestamp(3)",
        )
    }
else:
    CLOCK |= {
        sql: lambda sql=sql: Book.objects.annotate(x=raw(sql))
        for sql in (
            "date()",
            "date('now')",
            "time('now')",
            "datetime('now', '-1 day')",
            "julianday('now')",
            "DATE ( 'now' )",
            "strftime('%%s', 'now')",
            "unixepoch()",
            "\"date\"('now')",
            "[datetime]('now')",
            "current_time",
        )
    }


@pytest.mark.parametrize("query", [pytest.param(query, id=name) for name, query in CLOCK.items()])
def test_the_clock(never_cached, query):
    if "age(" in str(query().query):
        return never_cached(lambda: list(query()), reasons.FUNCTION)
    return never_cached(lambda: list(query()), reasons.CLOCK)


RANDOM = {
    "order_by('?')": lambda: Book.objects.order_by("?"),
    "order_by(Random())": lambda: Book.objects.order_by(Random()),
    "annotation": lambda: Book.objects.annotate(x=Random()),
    "arithmetic": lambda: Book.objects.annotate(x=Round(Random() * 100)),
    "in a filter": lambda: Book.objects.filter(copies__lt=Random()),
    "in a subquery": lambda: (
        Author.objects.filter(pk__in=Book.objects.order_by("?").values("author")[:1])
        if ENGINE != "mysql"
        else Author.objects.annotate(x=Subquery(Book.objects.order_by("?").values("pk")[:1]))
    ),
    "a function": lambda: Book.objects.annotate(
        x=Func(
            function={"postgresql": "gen_random_uuid", "mysql": "UUID", "sqlite": "random"}[ENGINE],
            output_field=CharField(),
        )
    ),
}
if ENGINE == "postgresql":
    RANDOM |= {
        "TABLESAMPLE": lambda: Book.objects.filter(
            pk__in=RawSQL("SELECT id FROM shop_book TABLESAMPLE bernoulli(50)", ())
        )
    }
elif ENGINE == "mysql":
    RANDOM |= {"uuid_short()": lambda: Book.objects.annotate(x=raw("uuid_short()"))}
else:
    RANDOM |= {"randomblob(4)": lambda: Book.objects.annotate(x=raw("hex(randomblob(4))"))}


@pytest.mark.parametrize("query", [pytest.param(query, id=name) for name, query in RANDOM.items()])
def test_dice(never_cached, query):
    # Django's own RAND of SQLite is a function in Python.
    never_cached(lambda: list(query()), reasons.RANDOM)


SEQUENCE = {
    "postgresql": [
        "nextval('shop_genre_id_seq')",
        "lastval()",
        "currval('shop_genre_id_seq')",
        "txid_current()",
        "setval('shop_genre_id_seq', 1000)",
    ],
    "mysql": ["last_insert_id()", "LAST_INSERT_ID(5)", "row_count()", "found_rows()"],
    "sqlite": ["last_insert_rowid()", "changes()", "total_changes()"],
}[ENGINE]


@pytest.mark.parametrize("sql", SEQUENCE)
def test_sequences(never_cached, sql):
    if ENGINE == "postgresql":
        Genre.objects.create(name="for its sequence")
        connection.ensure_connection()
    never_cached(lambda: list(Book.objects.annotate(x=raw(sql)).values_list("x")), reasons.SEQUENCE)


SESSION = {
    "postgresql": [
        "current_user",
        "session_user",
        "current_role",
        "current_schema",
        "current_schema()",
        "CURRENT_CATALOG",
        "current_setting('TimeZone')",
        "pg_backend_pid()",
        "version()",
        "pg_sleep(0)",
        "current_database()",
        "pg_try_advisory_lock(1)",
        "inet_client_port()",
        "current_schemas(true)",
        "pg_advisory_unlock_all()",
    ],
    "mysql": [
        "current_user()",
        "CURRENT_USER",
        "user()",
        "session_user()",
        "database()",
        "schema()",
        "version()",
        "connection_id()",
        "@@version",
        "@@session.time_zone",
        "@x",
        "(@x := 1)",
        "sleep(0)",
        "get_lock('a', 0)",
        "release_lock('a')",
        "benchmark(1, 1)",
        "is_free_lock('a')",
    ],
    "sqlite": ["sqlite_version()"],
}[ENGINE]


@pytest.mark.parametrize("sql", SESSION)
def test_the_session(never_cached, sql):
    never_cached(lambda: list(Book.objects.annotate(x=raw(sql)).values_list("x")), reasons.SESSION_FUNCTION)


# Functions ------------------------------------------------------------------------------------------


@only_postgresql
@pytest.mark.parametrize("volatility", ["VOLATILE", "STABLE"])
@pytest.mark.parametrize("call", ["own(1)", "OWN(1)", "public.own(1)", '"own"(1)'])
def test_own_functions_that_could_differ(ddl, never_cached, volatility, call):
    ddl(
        f"CREATE FUNCTION own(integer) RETURNS integer {volatility} LANGUAGE sql AS 'SELECT 1'",
        "DROP FUNCTION own(integer)",
    )

    never_cached(lambda: list(Book.objects.annotate(x=raw(call))), reasons.FUNCTION)


@only_postgresql
def test_an_immutable_function_is_repeatable(ddl, queries):
    ddl(
        "CREATE FUNCTION own(integer) RETURNS integer IMMUTABLE LANGUAGE sql AS 'SELECT 1'",
        "DROP FUNCTION own(integer)",
    )
    read = Book.objects.annotate(x=raw("own(1)")).values_list("x")
    list(read)
    with queries(0):
        list(read.all())


@only_postgresql
def test_an_own_function_behind_a_known_name(ddl, never_cached):
    ddl(
        "CREATE FUNCTION lower(integer) RETURNS text VOLATILE LANGUAGE sql AS 'SELECT random()::text'",
        "DROP FUNCTION lower(integer)",
    )
    never_cached(lambda: list(Book.objects.annotate(x=raw("lower(1)"))), reasons.FUNCTION)


@only_postgresql
def test_an_own_type_cast_like_a_function_of_a_row(ddl, never_cached):
    ddl(
        "CREATE FUNCTION dice(shop_book) RETURNS float VOLATILE LANGUAGE sql AS 'SELECT random()'",
        "DROP FUNCTION dice(shop_book)",
    )
    never_cached(lambda: list(Book.objects.annotate(x=raw("shop_book.dice"))), reasons.FUNCTION)


@only_mysql
def test_stored_functions(ddl, never_cached):
    ddl("CREATE FUNCTION own() RETURNS double DETERMINISTIC NO SQL RETURN rand()", "DROP FUNCTION own")

    never_cached(lambda: list(Book.objects.annotate(x=raw("own()"))), reasons.FUNCTION)


@only_sqlite
def test_functions_of_python(never_cached):
    connection.ensure_connection()
    connection.connection.create_function("own", 0, lambda: 1)

    never_cached(lambda: list(Book.objects.annotate(x=raw("own()"))), reasons.FUNCTION)


# Relations -----------------------------------------------------------------------------------------

CATALOGS = {
    "postgresql": ["pg_class", "pg_stat_activity", "pg_catalog.pg_tables", "information_schema.tables", "pg_settings"],
    "mysql": ["information_schema.TABLES", "performance_schema.threads", "mysql.user"],
    "sqlite": ["sqlite_master", "sqlite_schema", "main.sqlite_master", "pragma_database_list"],
}[ENGINE]


@pytest.mark.parametrize("name", CATALOGS)
def test_system_catalogs(never_cached, name):
    read = Book.objects.annotate(x=raw(f"(SELECT count(*) FROM {name})"))

    never_cached(lambda: list(read.all()), reasons.SYSTEM_CATALOG)


def test_a_table_made_past_the_cache(never_cached):
    list(Genre.objects.all())
    execute("CREATE TABLE unknown (id integer)", using="plain")
    try:
        never_cached(lambda: list(model_of("unknown").objects.all()), reasons.UNKNOWN_RELATION)
    finally:
        execute("DROP TABLE unknown", using="plain")


@not_on_sqlite
def test_a_schema_that_is_not_known():
    read = Book.objects.filter(pk__gt=RawSQL("(SELECT count(*) FROM somewhere.shop_genre)", ()))
    connection.ensure_connection()
    before = stats()["bypassed"].get(reasons.UNKNOWN_RELATION, 0)
    with pytest.raises(DatabaseError):
        list(read)
    assert stats()["bypassed"][reasons.UNKNOWN_RELATION] == before + 1


# The database's ways ----------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
@not_on_sqlite
def test_snapshots(never_cached, level):
    if ENGINE == "postgresql":
        with transaction.atomic():
            execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
            never_cached(lambda: list(Genre.objects.all()), reasons.SNAPSHOT)
    else:
        execute(f"SET SESSION TRANSACTION ISOLATION LEVEL {level}")
        with transaction.atomic():
            never_cached(lambda: list(Genre.objects.all()), reasons.SNAPSHOT)


@only_sqlite
def test_a_transaction_of_sqlite_under_way(never_cached):
    with transaction.atomic():
        execute("SELECT 1 FROM shop_author")
        never_cached(lambda: list(Genre.objects.all()), reasons.SNAPSHOT)


@only_postgresql
def test_casts_to_dates_of_what_is_no_text_are_cached(queries):
    for read in (
        Book.objects.annotate(x=Cast("created", DateField())),
        Book.objects.filter(created__date="2000-01-01"),
        Book.objects.annotate(x=TruncDate("created")),
    ):
        list(read.all())
        with queries(0):
            list(read.all())


@only_postgresql
def test_a_time_of_day_in_another_time_zone(ddl, never_cached, queries):
    ddl("CREATE TABLE days (id bigint PRIMARY KEY, opens time, since timestamptz)", "DROP TABLE days")
    table = model_of("days")
    for expression in ("opens AT TIME ZONE 'CET'", "timezone('CET', days.opens)"):
        never_cached(lambda sql=expression: list(table.objects.annotate(x=raw(sql)).values_list("x")), reasons.CLOCK)
    read = table.objects.annotate(x=raw("since AT TIME ZONE 'CET'"), opens=raw("opens")).values_list("x", "opens")
    list(read.all())
    with queries(0):
        list(read.all())


@only_postgresql
def test_a_time_of_day_with_a_time_zone(ddl, never_cached):
    ddl("CREATE TABLE days (id bigint PRIMARY KEY, opens timetz)", "DROP TABLE days")

    never_cached(lambda: list(model_of("days").objects.extra(where=["opens > '10:00'"])), reasons.CLOCK)


@only_postgresql
@pytest.mark.parametrize("column", ["xmin", "xmax", "cmin", "ctid"])
def test_versions_of_rows(never_cached, column):
    never_cached(lambda: list(Genre.objects.annotate(x=raw(column)).values_list("x")), reasons.SYSTEM_CATALOG)


@only_sqlite
def test_vacuum_gives_rows_other_rowids(ddl):
    ddl("CREATE TABLE days (id text)", "DROP TABLE days")
    execute("INSERT INTO days VALUES ('a'), ('b'), ('c')")
    execute("DELETE FROM days WHERE id = 'a'")
    read = model_of("days").objects.annotate(x=raw("rowid")).values_list("x")
    list(read.all())

    execute("VACUUM")

    assert list(read.all()) == list(read.using("plain"))


@only_mysql
@pytest.mark.parametrize(
    "column, reason",
    [
        ("now() > since", reasons.CLOCK),
        ("rand()", reasons.RANDOM),
        ("current_user()", reasons.SESSION_FUNCTION),
        ("CAST(opens AS datetime)", reasons.CLOCK),
    ],
)
def test_a_virtual_column_that_asks_the_clock_or_the_like(ddl, never_cached, column, reason):
    if not connection.mysql_is_mariadb:
        pytest.skip("MySQL has no such columns")
    ddl(
        f"CREATE TABLE days (id bigint PRIMARY KEY, opens time, since datetime, x varchar(99) AS ({column}) VIRTUAL)",
        "DROP TABLE days",
    )

    never_cached(lambda: list(model_of("days").objects.values_list("id")), reason)


@only_mysql
def test_a_virtual_column_of_other_columns(ddl, queries):
    ddl(
        "CREATE TABLE days (id bigint PRIMARY KEY, name varchar(9), x varchar(9) AS (concat(name, 'x')) VIRTUAL)",
        "DROP TABLE days",
    )
    table = model_of("days", x=CharField())
    list(table.objects.values_list("x"))
    with queries(0):
        list(table.objects.values_list("x"))


@only_mysql
def test_the_default_of_a_column(ddl, never_cached):
    ddl("CREATE TABLE days (id bigint PRIMARY KEY, since datetime DEFAULT now())", "DROP TABLE days")

    never_cached(
        lambda: list(model_of("days").objects.annotate(x=raw("DEFAULT(since)")).values_list("x")), reasons.FUNCTION
    )


@only_mysql
@pytest.mark.parametrize(
    "expression",
    [
        "CAST(opens AS datetime(6))",
        "opens < since",
        "days.since > days.opens",
        "since BETWEEN opens AND '2000-01-01'",
        "since IN ('2000-01-01', opens)",
        "CASE WHEN id > 1 THEN opens ELSE since END",
        "opens + INTERVAL 1 DAY",
        "(SELECT d.since FROM days d UNION SELECT opens FROM days LIMIT 1)",
        "DATE(MAKETIME(1, 2, 3))",
        "TIMESTAMP(TIME'10:00')",
        "DATE(opens)",
        "COALESCE(opens, since)",
        "YEAR(days.opens)",
        "DATEDIFF(opens, since)",
    ],
)
def test_a_time_of_day_that_is_taken_for_one_of_today(ddl, never_cached, expression):
    ddl("CREATE TABLE days (id bigint PRIMARY KEY, opens time, since datetime)", "DROP TABLE days")
    ddl(f"CREATE VIEW today AS SELECT id, {expression} AS moment FROM days", "DROP VIEW today")
    table = model_of("days")
    never_cached(lambda: list(table.objects.annotate(moment=raw(expression)).values_list("moment")), reasons.CLOCK)
    view = model_of("today", moment=CharField())
    never_cached(lambda: list(view.objects.values_list("moment")), reasons.CLOCK)


@only_mysql
@pytest.mark.parametrize(
    "named",
    [
        "SELECT opens AS t FROM days",
        "SELECT opens t FROM days",
        "SELECT NULLIF(opens, 0) t FROM days",
        "SELECT s AS t FROM (SELECT opens AS s FROM days) y",
        "SELECT s t FROM (SELECT r s FROM (SELECT opens r FROM days) z) y",
    ],
)
def test_a_time_of_day_by_another_name(ddl, never_cached, named):
    ddl("CREATE TABLE days (id bigint PRIMARY KEY, opens time)", "DROP TABLE days")
    moment = raw(f"(SELECT DATE(x.t) FROM ({named}) x LIMIT 1)")
    never_cached(lambda: list(Genre.objects.annotate(moment=moment).values_list("moment")), reasons.CLOCK)


@only_mysql
def test_a_time_of_day_that_is_left_as_it_is(ddl, queries):
    ddl("CREATE TABLE days (id bigint PRIMARY KEY, opens time, since datetime)", "DROP TABLE days")
    table = model_of("days", opens=models.TimeField(), since=models.DateTimeField())
    for read in (
        table.objects.all(),
        table.objects.annotate(year=ExtractYear("since")),
        table.objects.annotate(hour=ExtractHour("opens")),
    ):
        list(read.all())
        with queries(0):
            list(read.all())


@only_mysql
def test_read_uncommitted(never_cached, monkeypatch):
    connection.close()
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", {"isolation_level": "read uncommitted"})
    connection.ensure_connection()

    never_cached(lambda: list(Genre.objects.all()), reasons.UNCOMMITTED)


def test_parameters_of_unknown_types(never_cached):
    class Odd(int):
        def __str__(self) -> str:
            return super().__str__()

    never_cached(lambda: list(Genre.objects.extra(where=["id = %s"], params=[Odd(1)])), reasons.PARAMETER)


# Too large, not exact ----------------------------------------------------------------------------


def test_too_many_rows(configure, queries):
    configure(MAX_ROWS=2)
    Genre.objects.bulk_create([Genre(name=str(number)) for number in range(2)])
    for _ in range(2):
        before = stats()["rejected"].get(reasons.TOO_MANY_ROWS, 0)
        with queries(1):
            assert len(Genre.objects.all()) == 3
        assert stats()["rejected"][reasons.TOO_MANY_ROWS] == before + 1
    list(Genre.objects.order_by("pk")[:2])
    with queries(0):
        list(Genre.objects.order_by("pk")[:2])


def test_too_large(configure, queries):
    configure(MAX_BYTES=4000)
    Genre.objects.update(name="x" * 50)
    Author.objects.update(name="x")
    Review.objects.update(text="x" * 5000)
    for _ in range(2):
        before = stats()["rejected"].get(reasons.TOO_LARGE, 0)
        with queries(1):
            list(Review.objects.all())
        assert stats()["rejected"][reasons.TOO_LARGE] == before + 1
    list(Genre.objects.all())
    with queries(0):
        list(Genre.objects.all())


@only_postgresql
def test_values_of_a_class_that_a_program_has_registered(ddl, queries):
    """What makes them is the program's: another process may make something else of the same bytes."""
    ddl("CREATE TYPE pair AS (a integer, b text)", "DROP TYPE pair")
    connection.ensure_connection()
    from psycopg.types.composite import CompositeInfo, register_composite

    register_composite(CompositeInfo.fetch(connection.connection, "pair"), connection.connection)
    for _ in range(2):
        before = stats()["bypassed"].get(reasons.CONVERTERS, 0)
        with queries(1):
            Genre.objects.annotate(x=raw("(1, 'x')::pair")).values_list("x").get()
        assert stats()["bypassed"][reasons.CONVERTERS] == before + 1
    connection.close()


@only_postgresql
def test_values_that_would_not_come_back_exactly(queries):
    """Lists inside of lists, more than can be written down again."""
    depth = 600
    for _ in range(2):
        before = stats()["rejected"].get(reasons.UNSERIALIZABLE, 0)
        with queries(1):
            value = Genre.objects.annotate(x=raw(f"'{'[' * depth}{']' * depth}'::json")).values_list("x").get()
        assert type(value[0]) is list
        assert stats()["rejected"][reasons.UNSERIALIZABLE] == before + 1


def test_reads_that_are_not_the_orms(queries):
    for _ in range(2):
        with queries(2):
            list(Genre.objects.raw("SELECT * FROM shop_genre"))
            execute("SELECT * FROM shop_genre")
