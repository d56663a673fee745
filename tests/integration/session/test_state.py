"""Two sessions share a result only if the database would answer both alike."""

from __future__ import annotations

import contextlib

import pytest
from django.db import connection, connections, models, transaction
from django.db.models.functions import Cast

from ormcache import reasons
from tests.integration.reading import (
    ENGINE,
    Reading,
    execute,
    in_thread,
    model_of,
    only_mysql,
    only_postgresql,
    only_sqlite,
    rows_of,
    stats,
)
from tests.shop.models import Author, Book, Genre

Note = model_of("notes", owner=models.CharField(max_length=20))


def owners() -> list[str]:
    return list(Note.objects.order_by("pk").values_list("owner", flat=True))


@contextlib.contextmanager
def bypasses(reason: str):
    before = stats()["bypassed"].get(reason, 0)
    yield
    assert stats()["bypassed"].get(reason, 0) > before


# Schemas and roles ------------------------------------------------------------------------


@pytest.fixture
def tenants(ddl):
    """The table ``notes`` in two schemas, each with one row that names its schema."""
    for schema in ("one", "two", '"One"', '"to"', '"TO"'):
        ddl(f"CREATE SCHEMA {schema}", f"DROP SCHEMA {schema} CASCADE")
        ddl(f"CREATE TABLE {schema}.notes (id integer, owner text)")
        execute(f"INSERT INTO {schema}.notes VALUES (1, %s)", [schema])
    connection.close()


@only_postgresql
@pytest.mark.parametrize(
    "switch",
    [
        "SET search_path TO {}",
        "SET search_path = {}",
        "SET SESSION search_path TO {}, public",
        "set Search_Path to {}",
        "SELECT set_config('search_path', '{}', false)",
        "SET SCHEMA '{}'",
        "SELECT pg_catalog.set_config('search_path', '{}', false)",
    ],
)
def test_tenants_by_search_path_never_share(tenants, switch):
    for _ in range(2):
        for schema in ("one", "two"):
            execute(switch.format(schema))
            assert owners() == [schema]


@only_postgresql
def test_tenants_that_take_turns_have_hits(tenants, queries):
    for schema in ("one", "two"):
        execute(f"SET search_path TO {schema}")
        owners()
    for schema in ("one", "two"):
        execute(f"SET search_path TO {schema}")
        with queries(0):
            assert owners() == [schema]


@only_postgresql
def test_schemas_whose_names_differ_in_case_alone(tenants):
    for _ in range(2):
        for schema in ("one", '"One"', '"to"', '"TO"', '"one"'):
            execute(f"SET search_path TO {schema}")
            assert owners() == [schema if schema != '"one"' else "one"]


@only_postgresql
def test_the_last_of_several_ways_to_say_it_counts(tenants):
    orders = [
        ["SET search_path TO one", "SET SCHEMA 'two'"],
        ["SET SCHEMA 'two'", "SET search_path TO one"],
        [
            "SET SCHEMA 'two'",
            "SELECT set_config('search_path', 'one', false)",
            "SELECT set_config(E'search_path', 'two', false)",
        ],
        ["SELECT set_config(E'search_path', 'two', false)", "SELECT set_config('search_path', 'one', false)"],
    ]
    for _ in range(2):
        for order, expected in zip(orders, ("two", "one", "two", "one"), strict=True):
            connection.close()
            for statement in order:
                execute(statement)
            assert owners() == [expected], order


@only_postgresql
def test_set_local_ends_with_the_transaction(tenants):
    execute("SET search_path TO one")
    for _ in range(2):
        with transaction.atomic():
            execute("SET LOCAL search_path TO two")
            assert owners() == ["two"]
        assert owners() == ["one"]


@only_postgresql
@pytest.mark.parametrize("local", ["SET LOCAL search_path TO two", "SELECT set_config('search_path', 'two', true)"])
def test_set_local_outside_a_transaction_does_nothing(tenants, local):
    execute("SET search_path TO one")
    execute(local)
    assert owners() == ["one"]
    connection.close()

    execute("SET search_path TO one")
    with transaction.atomic():
        execute(local)
        assert owners() == ["two"]


@only_postgresql
def test_a_rollback_undoes_a_set(tenants):
    execute("SET search_path TO one")
    for _ in range(2):
        with transaction.atomic():
            execute("SET search_path TO two")
            assert owners() == ["two"]
            transaction.set_rollback(True)
        assert owners() == ["one"]


@only_postgresql
def test_a_rollback_to_a_savepoint_undoes_a_set(tenants):
    for _ in range(2):
        with transaction.atomic():
            execute("SET search_path TO one")
            with contextlib.suppress(ZeroDivisionError), transaction.atomic():
                execute("SET search_path TO two")
                assert owners() == ["two"]
                raise ZeroDivisionError
            assert owners() == ["one"]
            with transaction.atomic():
                execute("SET search_path TO two")
            assert owners() == ["two"]


@only_postgresql
@pytest.mark.parametrize("reset", ["RESET search_path", "RESET ALL", "DISCARD ALL", "SET search_path TO DEFAULT"])
def test_reset(tenants, ddl, reset):
    ddl("CREATE TABLE notes (id integer, owner text)", "DROP TABLE notes")
    execute("INSERT INTO notes VALUES (1, 'public')")
    for _ in range(2):
        execute("SET search_path TO one")
        assert owners() == ["one"]
        execute(reset)
        assert owners() == ["public"]


@only_postgresql
def test_sessions_are_cached_again_after_discard_all(tenants, queries):
    execute("CREATE TEMPORARY TABLE t (id integer)")
    with bypasses(reasons.TEMPORARY):
        list(Genre.objects.all())
    execute("DISCARD ALL")
    list(Genre.objects.all())
    with queries(0):
        list(Genre.objects.all())


# Time zones and the like -------------------------------------------------------------------


@only_postgresql
@pytest.mark.parametrize(
    "switch", ["SET TIME ZONE '{}'", "SET timezone TO '{}'", "SELECT set_config('TimeZone', '{}', false)"]
)
def test_time_zones_never_share(queries, switch):
    from django.db.models import CharField
    from django.db.models.functions import Cast

    Book.objects.create(author=Author.objects.create(name="A"), title="T", created="2020-01-01T12:00Z")
    read = Book.objects.annotate(shown=Cast("created", CharField())).values_list("shown", flat=True)
    seen = []
    for counted in (None, 0):
        for zone in ("UTC", "Asia/Tokyo"):
            execute(switch.format(zone))
            with queries(counted):
                seen.append(read.get())
    assert seen == ["2020-01-01 12:00:00+00", "2020-01-01 21:00:00+09"] * 2


@only_mysql
@pytest.mark.parametrize(
    "switch",
    [
        "SET time_zone = '{}'",
        "SET SESSION time_zone = '{}'",
        "SET LOCAL time_zone = '{}'",
        "SET @@time_zone = '{}'",
        "SET @@session.time_zone = '{}'",
        "SET foreign_key_checks = 1, time_zone = '{}'",
        "SET @x = 1, time_zone = '{}'",
        "SET NAMES utf8mb4, time_zone = '{}'",
    ],
)
@pytest.mark.parametrize("atomic", [False, True], ids=["autocommit", "atomic"])
def test_time_zones_of_mysql_never_share(ddl, switch, atomic):
    ddl("CREATE TABLE moments (id integer PRIMARY KEY, at timestamp)", "DROP TABLE moments")
    moments = model_of("moments", at=models.CharField(max_length=30))
    execute("SET time_zone = '+00:00'")
    execute("INSERT INTO moments VALUES (1, '2020-01-01 12:00:00')")
    connection.close()
    read = moments.objects.extra(select={"hour": "hour(at)"}).values_list("hour", flat=True)
    for _ in range(2):
        for zone, hour in (("+00:00", 12), ("+05:00", 17)):
            connection.close()
            with transaction.atomic() if atomic else contextlib.nullcontext():
                execute(switch.format(zone))
                assert read.get() == hour
            assert read.get() == hour  # the transaction's end does not take it back


@only_mysql
def test_a_rollback_does_not_undo_a_set_in_mysql(ddl):
    moments = model_of("shop_genre")
    Genre.objects.create(name="x")
    read = moments.objects.extra(select={"zone": "hour(from_unixtime(0))"}).values_list("zone", flat=True)
    execute("SET time_zone = '+00:00'")
    assert read.get() == 0
    with transaction.atomic():
        with contextlib.suppress(ZeroDivisionError), transaction.atomic():
            execute("SET time_zone = '+05:00'")
            raise ZeroDivisionError
        assert read.get() == 5
        transaction.set_rollback(True)
    assert read.get() == 5


@only_mysql
@pytest.mark.parametrize("text", ["SET autocommit = 0, time_zone = '{}'", "SET time_zone = '{}', @@autocommit = 0"])
def test_what_is_set_beside_autocommit(text):
    Genre.objects.create(name="x")
    read = model_of("shop_genre").objects.extra(select={"zone": "hour(from_unixtime(0))"})
    for _ in range(2):
        for zone, hour in (("+00:00", 0), ("+05:00", 5)):
            connection.close()
            execute(text.format(zone))
            assert read.values_list("zone", flat=True).get() == hour
            execute("ROLLBACK")
            assert read.values_list("zone", flat=True).get() == hour
            execute("ROLLBACK")


@only_mysql
@pytest.mark.parametrize("mode", ["ANSI_QUOTES", "NO_BACKSLASH_ESCAPES", "ANSI"])
def test_writes_are_seen_under_other_rules_for_quotes(queries, mode):
    Genre.objects.create(name="old")
    Author.objects.create(name="A")
    reading = Reading(queries, rows_of(Genre))
    execute(f"SET SESSION sql_mode = '{mode}'")
    if mode == "NO_BACKSLASH_ESCAPES":
        execute("UPDATE shop_author, shop_genre SET shop_author.name = '\\', shop_genre.name = 'new' WHERE 'x' <> '\\'")
    else:
        execute('UPDATE "shop_genre" SET name = (SELECT max(name) FROM shop_author)')

    reading.assert_fresh()


@only_postgresql
def test_writes_are_seen_without_standard_strings(queries):
    Genre.objects.create(name="old")
    reading = Reading(queries, rows_of(Genre))
    execute("SET standard_conforming_strings = off")
    execute("UPDATE shop_author SET name = 'it\\'s'; UPDATE shop_genre SET name = 'a\\'b' WHERE '' = ''")

    reading.assert_fresh()


@only_postgresql
@pytest.mark.parametrize(
    "switch",
    [
        "SET DateStyle TO 'SQL, DMY'",
        "SET IntervalStyle TO 'iso_8601'",
        "SET bytea_output TO 'escape'",
        "SET extra_float_digits TO -3",
    ],
)
def test_how_values_are_shown(ddl, switch):
    ddl(
        "CREATE VIEW notes AS SELECT 1 AS id, '2020-02-01'::date::text || '1 day 1 hour'::interval::text"
        " || '\\x4142'::bytea::text || 0.1::float8::text || (1/3.0)::float8::text AS owner",
        "DROP VIEW notes",
    )
    before = owners()
    execute(switch)

    assert owners() != before


@only_postgresql
def test_an_order_of_days_and_months_that_was_there_before(ddl):
    """Half of DateStyle stays as it was."""
    ddl("CREATE TABLE notes (id integer, owner text)", "DROP TABLE notes")
    execute("INSERT INTO notes VALUES (1, '1/2/2020')")
    read = Note.objects.annotate(day=Cast("owner", models.DateField())).values_list("day", flat=True)
    for _ in range(2):
        for first, month in (("'SQL, DMY'", 2), ("'SQL, MDY'", 1)):
            connection.close()
            execute(f"SET DateStyle = {first}")
            execute("SET DateStyle = 'ISO'")
            assert read.get().month == month


@only_postgresql
@pytest.mark.parametrize("inside", [False, True], ids=["autocommit", "atomic"])
def test_a_default_that_has_changed_since(tenants, inside):
    """What a setting is reset to is what the server says, not what it has said before."""
    database = connection.settings_dict["NAME"]
    try:
        for schema in ("one", "two"):
            execute(f"ALTER DATABASE {database} SET search_path = {schema}", using="plain")
            connection.close()
            execute("SET search_path TO public")
            with transaction.atomic() if inside else contextlib.nullcontext():
                execute("RESET search_path")
                assert owners() == [schema]
                assert connection.ormcache.resolution_context().path == (schema,)
                transaction.set_rollback(True) if inside else None
            if inside:
                assert connection.ormcache.resolution_context().path == ("public",)
    finally:
        execute(f"ALTER DATABASE {database} RESET search_path", using="plain")


@only_mysql
def test_rows_that_nobody_has_committed(queries):
    """The level of the session is known again by the time of the next read."""
    execute("SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED")
    with transaction.atomic(using="plain"):
        execute("INSERT INTO shop_genre (name) VALUES ('x')", using="plain")
        assert Genre.objects.count() == 1
        transaction.set_rollback(True, using="plain")
    connection.close()
    assert Genre.objects.count() == 0
    execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
    Genre.objects.count()
    with transaction.atomic(), queries(0):
        assert Genre.objects.count() == 0


@only_mysql
def test_a_mode_that_keeps_the_rules_for_quotes_costs_no_hits(queries):
    Genre.objects.create(name="x")
    for counted in (None, 0):
        for mode in ("", "PIPES_AS_CONCAT,STRICT_TRANS_TABLES"):
            execute(f"SET SESSION sql_mode = '{mode}', @x = 1")
            with queries(counted):
                read = Genre.objects.extra(select={"shown": "name || 'y'"}).values_list("shown", flat=True)
                assert read.get() == ("xy" if mode else 0)


@only_sqlite
def test_pragmas_that_change_answers(queries):
    Genre.objects.create(name="a")
    Genre.objects.create(name="b")
    read = Genre.objects.extra(where=["name LIKE 'A'"])
    for counted in (None, 0):
        for sensitive, found in ((0, 1), (1, 0)):
            execute(f"PRAGMA main.case_sensitive_like = {sensitive}")
            with queries(counted):
                assert len(read.all()) == found
    for backwards, first in ((0, "a"), (1, "b")):
        execute(f"PRAGMA reverse_unordered_selects({backwards})")
        assert Genre.objects.all()[:1].get().name == first


def test_settings_that_change_no_result_cost_no_hits(queries):
    list(Genre.objects.all())
    execute(
        {
            "sqlite": "PRAGMA cache_size = 1000",
            "postgresql": "SET statement_timeout = '10s'",
            "mysql": "SET SESSION max_statement_time = 10",
        }[ENGINE]
    )
    with queries(0):
        list(Genre.objects.all())


def test_a_session_that_cannot_be_followed_shares_nothing(queries):
    execute(
        {
            "sqlite": "PRAGMA read_uncommitted = 1",
            "postgresql": "DO $$ BEGIN END $$",
            "mysql": "SET @@sql_auto_is_null = 1 + 0",
        }[ENGINE]
    )
    for _ in range(2):
        with bypasses(reasons.UNTRACKED_SESSION), queries(1):
            list(Genre.objects.all())
    connection.close()
    list(Genre.objects.all())
    with queries(0):
        list(Genre.objects.all())


# Connections ------------------------------------------------------------------------------------


@pytest.mark.parametrize("age", [0, None])
def test_a_hit_without_a_connection(queries, monkeypatch, age):
    Genre.objects.create(name="x")
    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", age)
    list(Genre.objects.all())
    connection.close()

    with queries(0):
        assert [genre.name for genre in Genre.objects.all()] == ["x"]
    connection.close()
    assert [genre.name for genre in Genre.objects.all()] == ["x"]
    assert connection.connection is None


def test_databases_with_the_same_tables_never_share(queries):
    Genre.objects.using("default").create(name="in default")
    Genre.objects.using("second").create(name="in second")
    for _ in range(2):
        assert Genre.objects.using("default").get().name == "in default"
        assert Genre.objects.using("second").get().name == "in second"

    reading = Reading(queries, rows_of(Genre))
    Genre.objects.using("second").update(name="new")
    reading.assert_hit()
    with queries(0):
        assert Genre.objects.using("default").get().name == "in default"
    assert Genre.objects.using("second").get().name == "new"


def test_another_process_shares_hits(other_process):
    Genre.objects.create(name="x")
    list(Genre.objects.order_by("pk").values_list())

    assert other_process("tests.integration.session.test_state.hits_of_a_read") == 1


def hits_of_a_read() -> int:
    # The first connection of a process tells which database this is.
    connections["default"].ensure_connection()
    list(Genre.objects.order_by("pk").values_list())
    return stats()["hits"]


def test_threads_share_hits(queries):
    Genre.objects.create(name="x")
    list(Genre.objects.all())

    def read():
        with queries(0):
            return [genre.name for genre in Genre.objects.all()]

    assert in_thread(read) == ["x"]


@pytest.fixture
def alias(request):
    """``alias(ENGINE=…)``: one more database alias, the default one with other settings."""
    made = []

    def make(**changes):
        settings = connections.settings
        name = f"extra{len(made)}"
        settings[name] = {**settings["default"], **changes}
        made.append(name)
        return connections[name]

    yield make
    for name in made:
        connections[name].close()
        if hasattr(connections[name], "close_pool"):
            connections[name].close_pool()
        del connections[name]
        del connections.settings[name]


def test_another_engine_below(alias, queries):
    pytest.importorskip("django_prometheus")
    vendor = {"sqlite": "sqlite3", "postgresql": "postgresql", "mysql": "mysql"}[ENGINE]
    own = connections.settings["default"]["ORMCACHE"]
    wrapped = alias(
        ENGINE="ormcache.backends.wrap", ORMCACHE={**own, "ENGINE": f"django_prometheus.db.backends.{vendor}"}
    )
    Genre.objects.using(wrapped.alias).create(name="x")
    assert type(wrapped).__mro__[2].__module__.startswith("django_prometheus")
    list(Genre.objects.using(wrapped.alias).all())
    with queries(0, using=wrapped.alias):
        assert len(Genre.objects.using(wrapped.alias).all()) == 1

    # Both aliases lead to one database: a write through one invalidates what the other has read.
    Genre.objects.using("default").update(name="new")
    assert Genre.objects.using(wrapped.alias).get().name == "new"
