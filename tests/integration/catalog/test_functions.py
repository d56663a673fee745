"""Functions, procedures, operators, casts and aggregates: whose answers are kept, and what calling them changes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import models
from django.db.models import Func

from ormcache import reasons
from tests.integration.reading import ENGINE, execute, not_on_sqlite, only_mysql, only_postgresql, stats
from tests.integration.schema import World, made, row_model

TOUCH_B = "UPDATE b SET ref = ref + 1"

CHANGE_B = f"CREATE FUNCTION change_b(n integer) RETURNS integer LANGUAGE sql AS $$ {TOUCH_B}; SELECT n $$"


@pytest.fixture
def world(queries: Any) -> Iterator[World]:
    with made(queries) as world:
        yield world


def uncached(queries: Any, sql: str, reason: str = reasons.FUNCTION) -> None:
    """``sql`` in the place of a model's query."""
    model = row_model("a")
    for _ in range(2):
        before = stats()["bypassed"].get(reason, 0)
        with queries(1):
            list(model.objects.extra(where=[sql]).values_list("id"))
        assert stats()["bypassed"].get(reason, 0) == before + 1, stats()["bypassed"]


def cached(queries: Any, sql: str) -> None:
    model = row_model("a")
    list(model.objects.extra(where=[sql]).values_list("id"))
    with queries(0):
        list(model.objects.extra(where=[sql]).values_list("id"))


class ChangeB(Func):
    function = "change_b"
    output_field = models.IntegerField()


# Called --------------------------------------------------------------------------------


@not_on_sqlite
def test_a_function_in_a_query_set(world):
    if ENGINE == "postgresql":
        world.make(CHANGE_B)
    else:
        world.make(f"CREATE FUNCTION change_b(n integer) RETURNS integer BEGIN {TOUCH_B}; RETURN n; END")
    b, c = world.reading("b"), world.reading("c")

    list(row_model("a").objects.annotate(n=ChangeB("ref")).values_list("n"))

    b.assert_fresh()
    c.assert_hit()


@only_postgresql
@pytest.mark.parametrize(
    "call",
    [
        "SELECT change_b(1)",
        "SELECT nested(1)",
        "SELECT of_sql()",
        "SELECT (SELECT nested(id) FROM a LIMIT 1)",
        "SELECT count(*) FROM a WHERE id = ANY (ARRAY[nested(1)])",
        "SELECT id FROM a ORDER BY nested(id)",
        "SELECT with_default()",
        "CALL procedure()",
        "CALL outer_procedure()",
    ],
)
def test_calls_within_calls(world, call):
    world.make(
        CHANGE_B,
        "CREATE FUNCTION nested(n integer) RETURNS integer STABLE LANGUAGE plpgsql AS"
        " $$ BEGIN RETURN change_b(n); END $$",
        "CREATE FUNCTION of_sql() RETURNS integer LANGUAGE sql BEGIN ATOMIC; SELECT nested(1); END",
        "CREATE FUNCTION with_default(n integer DEFAULT change_b(1)) RETURNS integer LANGUAGE sql AS $$ SELECT n $$",
        f"CREATE PROCEDURE procedure() LANGUAGE plpgsql AS $$ BEGIN {TOUCH_B}; END $$",
        "CREATE PROCEDURE outer_procedure() LANGUAGE sql AS $$ CALL procedure() $$",
    )

    changes = "a" if call.startswith("CALL") else ""
    world.check(call, changed="b", stale=changes, kept="" if changes else "a c d")


@only_postgresql
@pytest.mark.parametrize(
    "made, call",
    [
        ("f(a) RETURNS integer", "SELECT a.f FROM a"),
        ("f(a) RETURNS integer", "SELECT x.f FROM (SELECT * FROM a) AS x"),
        ("f(anyelement) RETURNS integer", "SELECT a.f FROM a"),
        ("f(record) RETURNS integer", "SELECT a.f FROM a"),
        ("f(VARIADIC anyarray) RETURNS integer", "SELECT a.f FROM a"),
        ("f(a, n integer DEFAULT 1) RETURNS integer", "SELECT a.f FROM a"),
        ("f(pair) RETURNS integer", "SELECT (p).f FROM (SELECT ROW(1, 2)::pair AS p) AS x"),
        ("f(cast_to) RETURNS integer", "SELECT a.f FROM a"),
        ("f(integer) RETURNS integer", "SELECT (id).f FROM a"),
        ("f(integer) RETURNS integer", "SELECT (ARRAY[id])[1].f FROM a"),
    ],
)
def test_a_function_that_is_called_like_a_column(world, made, call):
    world.make(
        "CREATE TYPE pair AS (x integer, y integer)",
        "CREATE TYPE cast_to AS ENUM ('good', 'bad')",
        "CREATE FUNCTION to_it(a) RETURNS cast_to IMMUTABLE LANGUAGE sql AS $$ SELECT 'good'::cast_to $$",
        "CREATE CAST (a AS cast_to) WITH FUNCTION to_it(a) AS IMPLICIT",
        f"CREATE FUNCTION {made} LANGUAGE plpgsql AS $$ BEGIN {TOUCH_B}; RETURN 1; END $$",
    )

    world.check(call, changed="b", kept="a c d")


@only_postgresql
def test_a_column_of_the_name_of_a_function_that_takes_no_row_calls_none(world):
    world.make("ALTER TABLE a ADD change_b integer", CHANGE_B)

    world.check("SELECT a.change_b FROM a", changed="", kept="a b c d")
    world.check("UPDATE a SET change_b = 3", stale="a", kept="b c d")


@only_postgresql
@pytest.mark.parametrize("body", ["PERFORM change_b(1)", "UPDATE b SET ref = 7", "EXECUTE 'DELETE FROM b'"])
def test_anonymous_code(world, body):
    """It counts as a write to everything."""
    world.make(CHANGE_B)

    world.check(f"DO $$ BEGIN {body}; END $$", changed="b", stale="a c")


@only_postgresql
@pytest.mark.parametrize(
    "block",
    [
        f"DO $b$ BEGIN {TOUCH_B}; END $b$",
        f"DO LANGUAGE plpgsql 'BEGIN {TOUCH_B}; END'",
        "DO $b$ BEGIN PERFORM change_b(1); END $b$ LANGUAGE plpgsql",
    ],
)
def test_anonymous_code_in_a_function(world, block):
    world.make(
        CHANGE_B,
        f"CREATE FUNCTION runs_a_block() RETURNS integer LANGUAGE plpgsql AS $$ BEGIN {block}; RETURN 1; END $$",
    )

    world.check("SELECT runs_a_block()", changed="b", kept="a c d")


@only_postgresql
@pytest.mark.parametrize(
    "sql",
    [
        "to_tsvector(name) @@ ts_rewrite(to_tsquery(name), 'SELECT name::tsquery, name::tsquery FROM b')",
        "query_to_xml('SELECT name FROM b', true, true, '') IS NOT NULL",
        "EXISTS (SELECT FROM ts_stat('SELECT to_tsvector(name) FROM b'))",
    ],
)
def test_queries_in_literals_are_part_of_the_query(world, queries, sql):
    cached(queries, sql)
    execute("UPDATE b SET name = 'new'")

    with queries(1):
        list(row_model("a").objects.extra(where=[sql]).values_list("id"))


@only_postgresql
def test_a_query_in_a_literal_changes_what_its_functions_change(world):
    world.make(CHANGE_B)

    world.check("SELECT query_to_xml('SELECT change_b(1)', true, true, '')", changed="b", kept="a c d")


@only_postgresql
def test_functions_of_extensions_that_run_queries(world):
    with world.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'tablefunc'")
        if cursor.fetchone() is None:
            pytest.skip("no tablefunc here")
    world.make(
        "CREATE EXTENSION tablefunc",
        CHANGE_B,
        "CREATE FUNCTION renamed(text) RETURNS SETOF record STABLE LANGUAGE c AS '$libdir/tablefunc', 'crosstab'",
    )
    table = "AS t (id text, one text)"

    world.check(f"SELECT * FROM crosstab('SELECT ''a'', ''b'', change_b(1)::text') {table}", changed="b", kept="a c d")
    world.check(
        f"SELECT * FROM crosstab('SELECT ''a'', ''b'', ' || 'change_b(1)::text') {table}", changed="b", stale="a c d"
    )
    world.check(f"SELECT * FROM renamed('SELECT ''a'', ''b'', change_b(1)::text') {table}", changed="b", stale="a c d")


@only_postgresql
@pytest.mark.parametrize("function", ["with_out_parameters", "rows_of"])
def test_functions_in_from(world, function):
    world.make(
        f"CREATE FUNCTION with_out_parameters(OUT id integer, OUT n integer) LANGUAGE plpgsql AS"
        f" $$ BEGIN {TOUCH_B}; id := 1; END $$",
        f"CREATE FUNCTION rows_of() RETURNS SETOF a LANGUAGE sql AS $$ {TOUCH_B}; SELECT * FROM a $$",
    )

    world.check(f"SELECT * FROM {function}()", changed="b", kept="c d")


@only_postgresql
def test_a_function_among_the_built_in_ones(world, queries):
    """Some extensions put theirs there; this one hides a common one for arguments of its own."""
    with world.cursor() as cursor:
        cursor.execute("SET allow_system_table_mods = on")
        cursor.execute(
            "CREATE FUNCTION pg_catalog.reverse(integer) RETURNS integer LANGUAGE sql AS"
            " $$ UPDATE public.b SET ref = ref + 1; SELECT 1 $$"
        )
    try:
        world.make("CREATE TABLE further (id integer)")
        uncached(queries, "reverse(id) = 1")
        world.check("SELECT reverse(1)", changed="b", kept="a c")
    finally:
        execute("DROP FUNCTION pg_catalog.reverse(integer)", using="plain")


# Run by writes -------------------------------------------------------------------------


@only_postgresql
@pytest.mark.parametrize(
    "made_with",
    [
        "ALTER TABLE a ALTER ref SET DEFAULT change_b(1)",
        "ALTER TABLE a ALTER ref SET DEFAULT 1 + abs(change_b(1))",
        "ALTER TABLE a ADD CHECK (change_b(1) = 1)",
        "ALTER TABLE a ADD CHECK (ref IS NULL OR ref @! 1 > 0)",
        "ALTER TABLE a ALTER ref TYPE checked",
        "ALTER TABLE a ALTER ref TYPE checked_again",
        "ALTER TABLE a ALTER ref TYPE defaulted",
        "ALTER TABLE a ADD more checked[]",
        "ALTER TABLE a ADD more pair DEFAULT ROW(1, 2)::pair",
        "CREATE INDEX ON a (pure(ref))",
        "ALTER TABLE a ADD more integer GENERATED ALWAYS AS (pure(ref)) STORED",
    ],
)
def test_what_a_write_runs(world, made_with):
    world.make(
        CHANGE_B,
        "CREATE FUNCTION pure(n integer) RETURNS integer IMMUTABLE LANGUAGE sql AS $$ SELECT n + 1 $$",
        "CREATE FUNCTION pair_of(n integer, m integer) RETURNS integer LANGUAGE sql AS $$ SELECT change_b(1) $$",
        "CREATE OPERATOR @! (FUNCTION = pair_of, LEFTARG = integer, RIGHTARG = integer)",
        "CREATE DOMAIN checked AS integer CHECK (change_b(1) = 1)",
        "CREATE DOMAIN checked_again AS checked",
        "CREATE DOMAIN defaulted AS integer DEFAULT change_b(1)",
        "CREATE TYPE pair AS (x integer, y checked)",
        made_with,
    )
    changes = "pure" not in made_with
    columns, values = "id, name", "3, 'three'"
    if "DEFAULT change_b" not in made_with and "abs(" not in made_with and "defaulted" not in made_with:
        columns, values = "id, name, ref", "3, 'three', 3"
    if "[]" in made_with:
        columns, values = "id, more", "3, ARRAY[1]"

    write = f"INSERT INTO a ({columns}) VALUES ({values})"
    world.check(write, changed="a b" if changes else "a", kept="c d" if changes else "b c d")
    world.check("INSERT INTO c (id, ref) VALUES (3, 3)", changed="c", kept="a b d")
    world.check("SELECT count(*) FROM a", kept="a b c d")


@only_postgresql
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1::checked",
        "SELECT CAST(1 AS checked_again)",
        "SELECT takes('1')",
        "SELECT ROW(1, 2)::pair",
        "SELECT '{1,2}'::checked[]",
        "SELECT x FROM json_to_record('{\"x\": 1}') AS t(x checked)",
    ],
)
def test_conditions_of_types_in_a_query(world, sql):
    world.make(
        CHANGE_B,
        "CREATE DOMAIN checked AS integer CHECK (change_b(1) = 1)",
        "CREATE DOMAIN checked_again AS checked",
        "CREATE TYPE pair AS (x integer, y checked)",
        "CREATE FUNCTION takes(n checked) RETURNS integer LANGUAGE plpgsql AS $$ BEGIN RETURN n; END $$",
    )

    world.check(sql, changed="b", kept="a c d")


@only_postgresql
def test_conditions_that_change_nothing_cost_nothing(world):
    """A function that only looks is often left VOLATILE, PostgreSQL's default."""
    world.make(
        "CREATE FUNCTION looks(text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RETURN $1 ~ '@'; END $$",
        "CREATE DOMAIN email AS text CHECK (looks(VALUE))",
        "CREATE TABLE e (id integer, name email, ref integer)",
        "ALTER TABLE a ADD CHECK (looks(name || '@'))",
    )

    world.check("INSERT INTO e VALUES (1, 'a@b', 1)", changed="e", kept="a b c d")
    world.check("UPDATE a SET name = 'new'", changed="a", kept="b c d e")


# Operators, casts, aggregates ------------------------------------------------------------


@only_postgresql
@pytest.mark.parametrize(
    "volatility, kept",
    [("IMMUTABLE", True), ("STABLE", False), ("VOLATILE", False)],
)
def test_an_own_operator(world, queries, volatility, kept):
    world.make(
        f"CREATE FUNCTION compare(integer, integer) RETURNS boolean {volatility} LANGUAGE sql AS $$ SELECT $1 = $2 $$",
        "CREATE OPERATOR === (FUNCTION = compare, LEFTARG = integer, RIGHTARG = integer)",
    )

    (cached if kept else uncached)(queries, "a.id === 1")
    cached(queries, "a.id = 1")


@only_postgresql
@pytest.mark.parametrize("name", ["=", "+"])
def test_an_own_operator_of_a_common_name_keeps_everything_out(world, name):
    """Every text has such operators, which are not looked at."""
    world.make(
        f"CREATE FUNCTION write(a text, b boolean) RETURNS boolean LANGUAGE sql AS $$ {TOUCH_B}; SELECT true $$",
        f"CREATE OPERATOR public.{name} (FUNCTION = write, LEFTARG = text, RIGHTARG = boolean)",
    )

    world.assert_uncached("a", reasons.FUNCTION)


@only_postgresql
@pytest.mark.parametrize("name", ["===", "@-@"])
def test_an_own_operator_that_writes(world, name):
    world.make(
        f"CREATE FUNCTION write(a text, b boolean) RETURNS boolean LANGUAGE sql AS $$ {TOUCH_B}; SELECT true $$",
        f"CREATE OPERATOR public.{name} (FUNCTION = write, LEFTARG = text, RIGHTARG = boolean)",
        "CREATE FUNCTION react() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN IF NEW.name {name} true THEN RETURN NEW; END IF; END $$",
        "CREATE TRIGGER react BEFORE UPDATE ON a FOR EACH ROW EXECUTE FUNCTION react()",
    )

    world.check("UPDATE a SET name = 'new'", changed="a b", kept="c d")
    world.check(f"SELECT 'x'::text {name} true", changed="b")
    world.check(f"INSERT INTO c (id, ref) VALUES (3, ('x'::text OPERATOR(public.{name}) true)::integer)", changed="b c")


@only_postgresql
@pytest.mark.parametrize("volatility", ["STABLE", "VOLATILE"])
def test_an_own_cast_that_varies_keeps_everything_out(world, volatility):
    """No text shows where it is called."""
    world.make(
        "CREATE TYPE mood AS ENUM ('good', 'bad')",
        f"CREATE FUNCTION to_mood(integer) RETURNS mood {volatility} LANGUAGE sql AS $$ SELECT 'good'::mood $$",
        "CREATE CAST (integer AS mood) WITH FUNCTION to_mood(integer) AS IMPLICIT",
    )

    world.assert_uncached("a", reasons.FUNCTION)
    world.make("DROP CAST (integer AS mood)")
    world.check("UPDATE a SET name = 'new'", changed="a", kept="b")


@only_postgresql
@pytest.mark.parametrize("default, kept", [("1", True), ("change_b(1)", False), ("extract(hour FROM now())", False)])
def test_defaults_of_arguments(world, queries, default, kept):
    world.make(
        CHANGE_B,
        f"CREATE FUNCTION f(n numeric DEFAULT {default}) RETURNS numeric IMMUTABLE LANGUAGE sql AS $$ SELECT n $$",
    )

    (cached if kept else uncached)(queries, "f() > 0")


@only_postgresql
def test_an_own_cast_that_does_not_vary(world):
    world.make(
        "CREATE TYPE mood AS ENUM ('good', 'bad')",
        "CREATE FUNCTION to_mood(integer) RETURNS mood IMMUTABLE LANGUAGE sql AS $$ SELECT 'good'::mood $$",
        "CREATE CAST (integer AS mood) WITH FUNCTION to_mood(integer)",
    )

    world.check("UPDATE a SET name = 'new'", changed="a", kept="b")


@only_postgresql
@pytest.mark.parametrize(
    "volatility, body, kept",
    [
        ("IMMUTABLE", "SELECT s + n", True),
        ("STABLE", "SELECT s + (SELECT max(ref) FROM b)", False),
        ("VOLATILE", "SELECT s + n", False),
    ],
)
def test_an_own_aggregate(world, queries, volatility, body, kept):
    world.make(
        f"CREATE FUNCTION add_up(s integer, n integer) RETURNS integer {volatility} LANGUAGE sql AS $$ {body} $$",
        "CREATE AGGREGATE total (integer) (SFUNC = add_up, STYPE = integer, INITCOND = '0')",
    )

    (cached if kept else uncached)(queries, "(SELECT total(id) FROM a) > 0")


@only_postgresql
@pytest.mark.parametrize(
    "part", ["SFUNC = writes, STYPE = integer", "SFUNC = int4pl, STYPE = integer, FINALFUNC = last"]
)
def test_an_own_aggregate_that_writes(world, part):
    world.make(
        f"CREATE FUNCTION writes(s integer, n integer) RETURNS integer LANGUAGE sql AS $$ {TOUCH_B}; SELECT n $$",
        f"CREATE FUNCTION last(s integer) RETURNS integer LANGUAGE sql AS $$ {TOUCH_B}; SELECT s $$",
        f"CREATE AGGREGATE total (integer) ({part}, INITCOND = '0')",
    )

    world.check("SELECT total(id) FROM a", changed="b", kept="a c d")
    world.check("SELECT id, total(id) OVER (ORDER BY id) FROM a", changed="b", kept="a c d")


# What cannot be read -----------------------------------------------------------------------


@only_postgresql
@pytest.mark.parametrize(
    "extension, default",
    [
        ("pgcrypto", "gen_random_bytes(4)::text"),
        ("pgcrypto", "crypt('a', gen_salt('md5'))"),
        ("uuid-ossp", "uuid_generate_v4()::text"),
        ("uuid-ossp", "uuid_generate_v1mc()::text"),
        (None, "gen_random_uuid()::text"),
        (None, "clock_timestamp()::text"),
    ],
)
def test_functions_of_extensions_as_defaults_retire_no_other_tables(world, extension, default):
    available = f"SELECT 1 FROM pg_available_extensions WHERE name = '{extension}'"
    with world.cursor() as cursor:
        cursor.execute(available)
        if extension and cursor.fetchone() is None:
            pytest.skip(f"no {extension} here")
    world.make(
        *([f'CREATE EXTENSION "{extension}"'] if extension else []), f"ALTER TABLE a ALTER name SET DEFAULT {default}"
    )

    world.check("INSERT INTO a (id) VALUES (3)", changed="a", kept="b c d")


@only_postgresql
@pytest.mark.parametrize("name, options", [("unreadable", ""), ("unreadable", "STABLE")])
def test_an_unreadable_function_may_change_anything(world, name, options):
    """A language other than SQL and PL/pgSQL; here it is one that nobody has written anything in."""
    world.make(
        "CREATE LANGUAGE other HANDLER plpgsql_call_handler",
        f"CREATE FUNCTION {name}() RETURNS integer LANGUAGE other {options} AS"
        f" $$ BEGIN PERFORM change_b(1); RETURN 1; END $$",
        CHANGE_B,
    )
    try:
        world.check(f"SELECT {name}()", changed="b", stale="a")
    finally:
        execute("DROP LANGUAGE other CASCADE", using="plain")


@only_mysql
@pytest.mark.parametrize(
    "call", ["SELECT nested()", "CALL outer_one()", "SELECT count(*) FROM a WHERE id = nested()", "DO nested()"]
)
def test_calls_within_calls_of_mysql(world, call):
    world.make(
        f"CREATE PROCEDURE inner_one() BEGIN {TOUCH_B}; END",
        "CREATE PROCEDURE outer_one() BEGIN CALL inner_one(); END",
        "CREATE FUNCTION nested() RETURNS integer READS SQL DATA BEGIN CALL inner_one(); RETURN 1; END",
    )

    kept = "a c d" if call.startswith("SELECT") else ""
    world.check(call, changed="b", kept=kept)


@only_mysql
def test_sql_that_is_put_together_at_run_time_of_mysql(world):
    world.make("CREATE PROCEDURE run(t text) BEGIN PREPARE s FROM t; EXECUTE s; DEALLOCATE PREPARE s; END")

    world.check("CALL run(CONCAT('UPDATE ', 'b SET ref = 9'))", changed="b", stale="a")


@only_mysql
def test_a_sequence_of_mariadb_is_not_cached(world):
    world.make("CREATE SEQUENCE s")
    for _ in range(2):
        with world.queries(1):
            list(row_model("s").objects.extra(select={"n": "next_not_cached_value"}).values_list("n"))
