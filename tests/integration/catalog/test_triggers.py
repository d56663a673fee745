"""Triggers: what a write sets off, through functions and further triggers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ormcache import reasons
from tests.integration.reading import ENGINE, execute, not_on_mysql, only_mysql, only_postgresql, only_sqlite, stats
from tests.integration.schema import World, made

TOUCH_B = "UPDATE b SET name = 'by a trigger'"


@pytest.fixture
def world(queries: Any) -> Iterator[World]:
    with made(queries) as world:
        yield world


def function(name: str, body: str, *, answer: str = "NULL", options: str = "", declare: str = "") -> str:
    return (
        f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql {options} AS"
        f" $f$ {declare} BEGIN {body}; RETURN {answer}; END $f$"
    )


def trigger(name: str, when: str, body: str, table: str = "a") -> list[str]:
    """The statements that make one, which runs for each row."""
    if ENGINE == "postgresql":
        answer = "OLD" if "DELETE" in when else "NEW"
        return [
            function(name, body, answer=answer),
            f"CREATE TRIGGER {name} {when} ON {table} FOR EACH ROW EXECUTE FUNCTION {name}()",
        ]
    return [f"CREATE TRIGGER {name} {when} ON {table} FOR EACH ROW BEGIN {body}; END"]


@pytest.mark.parametrize("moment", ["BEFORE", "AFTER"])
@pytest.mark.parametrize(
    "event, write",
    [
        ("INSERT", "INSERT INTO a (id, name) VALUES (3, 'three')"),
        ("UPDATE", "UPDATE a SET name = 'new'"),
        ("DELETE", "DELETE FROM a"),
    ],
)
def test_row(world, moment, event, write):
    world.make(*trigger("react", f"{moment} {event}", TOUCH_B))

    world.check(write, changed="a b", kept="c d")
    world.check("UPDATE c SET name = 'unrelated'", changed="c", kept="a b d")


@not_on_mysql
def test_on_update_of_a_column(world):
    """Whether the column is among those of the statement is not looked at, which only costs hits."""
    world.make(*trigger("react", "AFTER UPDATE OF ref", TOUCH_B))

    world.check("UPDATE a SET ref = 7", changed="a b", kept="c d")
    world.check("UPDATE a SET name = 'new'", changed="a", stale="b", kept="c d")


def test_under_a_condition(world):
    if ENGINE == "mysql":
        world.make(*trigger("react", "AFTER UPDATE", f"IF NEW.ref > 1 THEN {TOUCH_B}; END IF"))
    elif ENGINE == "sqlite":
        world.make(f"CREATE TRIGGER react AFTER UPDATE ON a WHEN NEW.ref > 1 BEGIN {TOUCH_B}; END")
    else:
        world.make(
            function("react", TOUCH_B),
            "CREATE TRIGGER react AFTER UPDATE ON a FOR EACH ROW WHEN (NEW.ref > 1) EXECUTE FUNCTION react()",
        )

    world.check("UPDATE a SET ref = 7", changed="a b", kept="c d")


def test_triggers_that_set_off_triggers(world):
    world.make(
        *trigger("first", "AFTER UPDATE", TOUCH_B),
        *trigger("second", "AFTER UPDATE", "DELETE FROM c", "b"),
        *trigger("third", "AFTER DELETE", "INSERT INTO d (id, name) VALUES (OLD.id + 10, 'by a trigger')", "c"),
    )

    world.check("UPDATE a SET name = 'new'", changed="a b c d")
    world.check("UPDATE a SET name = 'newer'", changed="a", stale="b c d")
    world.check("INSERT INTO c (id) VALUES (5)", changed="c", stale="d", kept="a b")


def test_what_is_read_alone_is_retired_as_well(world):
    """A trigger's body counts by its names: reading ``b`` invalidates it, which costs hits and nothing else."""
    body = "INSERT INTO c (id, name) SELECT id + 10, name FROM b"
    world.make(*trigger("react", "AFTER UPDATE", body))

    world.check("UPDATE a SET name = 'new' WHERE id = 1", changed="a c", stale="b", kept="d")


@only_postgresql
@pytest.mark.parametrize("condition", ["change_c() > 0", "NEW.ref @! 1"])
def test_a_condition_that_writes(world, condition):
    world.make(
        "CREATE FUNCTION change_c() RETURNS integer LANGUAGE sql AS $$ UPDATE c SET ref = ref + 1; SELECT 1 $$",
        "CREATE FUNCTION compare(n integer, m integer) RETURNS boolean LANGUAGE sql AS $$ SELECT change_c() > 0 $$",
        "CREATE OPERATOR @! (FUNCTION = compare, LEFTARG = integer, RIGHTARG = integer)",
        function("react", TOUCH_B),
        f"CREATE TRIGGER react AFTER UPDATE ON a FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION react()",
    )

    world.check("UPDATE a SET name = 'new'", changed="a b c", kept="d")


@only_postgresql
def test_statement(world):
    world.make(
        function("react", TOUCH_B),
        "CREATE TRIGGER react AFTER UPDATE OR TRUNCATE ON a FOR EACH STATEMENT EXECUTE FUNCTION react()",
    )

    world.check("UPDATE a SET name = 'new' WHERE false", stale="a", changed="b", kept="c d")
    world.make("UPDATE b SET name = 'old'")
    world.check("TRUNCATE a", changed="a b", kept="c d")


@only_postgresql
def test_transition_tables(world):
    world.make(
        function("react", "INSERT INTO b SELECT id + 10, name, ref FROM new_rows"),
        "CREATE TRIGGER react AFTER UPDATE ON a REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows"
        " FOR EACH STATEMENT EXECUTE FUNCTION react()",
    )

    world.check("UPDATE a SET name = 'new'", changed="a b", kept="c d")


@only_postgresql
def test_deferred(world):
    """It runs at COMMIT."""
    world.make(
        function("react", TOUCH_B),
        "CREATE CONSTRAINT TRIGGER react AFTER UPDATE ON a DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION react()",
    )

    world.check("UPDATE a SET name = 'new'", changed="a b", kept="c d")


@only_postgresql
@pytest.mark.parametrize(
    "body",
    [
        "PERFORM change_b()",
        "PERFORM public.change_b()",
        "NEW.ref := change_b()",
        "CALL change_b_too()",
        "IF change_b() > 0 THEN NULL; END IF",
        "FOR i IN 1..change_b() LOOP NULL; END LOOP",
        "BEGIN PERFORM change_b() / 0; EXCEPTION WHEN OTHERS THEN PERFORM change_b(); END",
        "PERFORM stable_one()",
    ],
)
def test_what_is_called(world, body):
    world.make(
        f"CREATE FUNCTION change_b() RETURNS integer LANGUAGE sql AS $$ {TOUCH_B}; SELECT 1 $$",
        f"CREATE PROCEDURE change_b_too() LANGUAGE sql AS $$ {TOUCH_B} $$",
        "CREATE FUNCTION stable_one() RETURNS integer STABLE LANGUAGE plpgsql AS $$ BEGIN RETURN change_b(); END $$",
        *trigger("react", "BEFORE UPDATE", body),
    )

    world.check("UPDATE a SET name = 'new'", changed="a b", kept="c d")


@only_mysql
def test_what_is_called_in_mysql(world):
    world.make(
        f"CREATE PROCEDURE change_b() BEGIN {TOUCH_B}; END",
        "CREATE PROCEDURE change_it() BEGIN CALL change_b(); END",
        "CREATE FUNCTION changed() RETURNS integer BEGIN DELETE FROM c; RETURN 1; END",
        *trigger("react", "BEFORE UPDATE", "CALL change_it(); SET NEW.ref = changed()"),
    )

    world.check("UPDATE a SET name = 'new'", changed="a b c", kept="d")


@only_postgresql
def test_sql_that_is_put_together_at_run_time(world):
    world.make(*trigger("react", "AFTER UPDATE", "EXECUTE 'DELETE FROM ' || chr(98)"))

    world.check("UPDATE a SET name = 'new'", changed="a b", stale="c d")


@only_postgresql
def test_sql_that_is_put_together_in_a_stable_function(world):
    """It may change nothing by itself; what it calls may."""
    world.make(
        "CREATE FUNCTION change_b() RETURNS integer LANGUAGE sql AS $$ UPDATE b SET ref = ref + 1; SELECT 1 $$",
        "CREATE FUNCTION run(text) RETURNS integer STABLE LANGUAGE plpgsql AS"
        " $$ DECLARE n integer; BEGIN EXECUTE $1 INTO n; RETURN n; END $$",
    )

    world.check("SELECT run('SELECT change_' || 'b()')", changed="b", stale="a")
    world.make(*trigger("react", "BEFORE UPDATE", "NEW.ref := run('SELECT change_' || 'b()')"))
    world.check("UPDATE a SET name = 'new'", changed="a b")


@only_postgresql
@pytest.mark.parametrize("options", ["", "SET search_path = elsewhere, public", "SET search_path TO 'elsewhere'"])
def test_a_function_in_another_schema(world, options):
    """It names its table without the schema; the trigger fixes where it is looked up, or the session does."""
    world.make(
        "CREATE SCHEMA elsewhere",
        "CREATE TABLE elsewhere.log (id integer, name text, ref integer)",
        function(
            "elsewhere.react",
            f"INSERT INTO {'' if options else 'elsewhere.'}log VALUES (1, 'by a trigger', 1)",
            options=options,
        ),
        "CREATE TRIGGER react AFTER UPDATE ON a FOR EACH ROW EXECUTE FUNCTION elsewhere.react()",
    )

    world.check("UPDATE a SET name = 'new'", changed='a elsewhere"."log', kept="b c d")


@only_postgresql
def test_a_fixed_search_path_tells_which_table_is_meant(world):
    world.make(
        "CREATE SCHEMA elsewhere",
        "CREATE TABLE elsewhere.b (id integer, name text, ref integer)",
        function("react", "INSERT INTO b VALUES (1, 'by a trigger', 1)", options="SET search_path = elsewhere"),
        "CREATE TRIGGER react AFTER UPDATE ON a FOR EACH ROW EXECUTE FUNCTION react()",
    )

    world.check("UPDATE a SET name = 'new'", changed='a elsewhere"."b', kept="b c d")


@only_postgresql
@pytest.mark.parametrize(
    "body",
    [
        "PERFORM set_config('app.person', 'somebody', false)",
        "SET app.person = 'somebody'",
        "PERFORM become()",
        "EXECUTE 'SET app.person = 1'",
    ],
)
def test_a_trigger_that_changes_the_session(world, body):
    world.make(
        "CREATE FUNCTION become() RETURNS void LANGUAGE plpgsql AS $$ BEGIN SET app.person = 'somebody'; END $$",
        *trigger("react", "AFTER UPDATE", body),
    )
    world.reading("b")
    execute("UPDATE a SET name = 'new'")

    before = stats()["bypassed"].get(reasons.UNTRACKED_SESSION, 0)
    world.assert_uncached_now("b")
    assert stats()["bypassed"][reasons.UNTRACKED_SESSION] > before


@only_mysql
@pytest.mark.parametrize("body", ["SET SESSION time_zone = '+05:00'", "SET @@div_precision_increment = 9"])
def test_a_trigger_that_changes_the_session_of_mysql(world, body):
    world.make(*trigger("react", "AFTER UPDATE", body))
    world.reading("b")
    execute("UPDATE a SET name = 'new'")

    world.assert_uncached_now("b")


@only_mysql
@pytest.mark.parametrize(
    "body", ["SET @x = 1", "SET NEW.ref = 3", "BEGIN DECLARE n int; SET n = 3; SET NEW.ref = n; END"]
)
def test_a_trigger_that_sets_variables_of_its_own(world, body):
    world.make(*trigger("react", "BEFORE UPDATE", body))
    reading = world.reading("b")
    execute("UPDATE a SET name = 'new'")

    world.assert_shared_now(reading)


@only_postgresql
def test_a_trigger_that_only_fills_in_columns_costs_nothing(world):
    world.make(*trigger("react", "BEFORE UPDATE", "NEW.ref := 7; NEW.name := upper(NEW.name)"))
    reading = world.reading("b")

    world.check("UPDATE a SET name = 'new'", changed="a", kept="b c d")
    execute("UPDATE a SET name = 'newer'")
    world.assert_shared_now(reading)


# Made and dropped ----------------------------------------------------------------------


def test_made_and_dropped_at_run_time(world):
    write = "UPDATE a SET name = 'new'"
    world.check("UPDATE a SET name = 'newer'", changed="a", kept="b")
    world.make(*trigger("react", "AFTER UPDATE", "UPDATE b SET ref = ref + 1"))
    world.check(write, changed="a b", kept="c")
    world.make("DROP TRIGGER react ON a" if ENGINE == "postgresql" else "DROP TRIGGER react")
    world.check("UPDATE a SET name = 'newest'", changed="a", kept="b c")


@only_postgresql
def test_a_function_that_is_replaced(world):
    world.make(*trigger("react", "AFTER UPDATE", TOUCH_B))
    world.check("UPDATE a SET name = 'new'", changed="a b", kept="c")
    world.make(function("react", "DELETE FROM c"))

    world.check("UPDATE a SET name = 'newer'", changed="a c", kept="b d")


@only_postgresql
def test_disabled_and_enabled_again(world):
    world.make(*trigger("react", "AFTER UPDATE", TOUCH_B), "ALTER TABLE a DISABLE TRIGGER react")
    world.check("UPDATE a SET name = 'new'", changed="a", stale="b", kept="c")
    world.make("ALTER TABLE a ENABLE TRIGGER react")

    world.check("UPDATE a SET name = 'newer'", changed="a b", kept="c d")


@only_sqlite
@pytest.mark.parametrize(
    "text",
    [
        "CREATE TRIGGER main.react AFTER UPDATE ON a BEGIN UPDATE b SET name = 'x'; END",
        'create trigger "begin" after update of ref, name on a when new."name" <> \'begin\' begin delete from b; end',
        'CREATE TRIGGER react AFTER UPDATE ON a /* BEGIN */ BEGIN -- END\n DELETE FROM "b"; END',
        "CREATE TRIGGER react UPDATE ON a BEGIN INSERT OR REPLACE INTO [b] VALUES (1, 'x', 1); SELECT 1; END",
        (
            "CREATE TRIGGER react AFTER UPDATE ON a BEGIN INSERT INTO b VALUES (1, 'x', 1)"
            " ON CONFLICT DO UPDATE SET name = 'x'; END"
        ),
    ],
)
def test_ways_to_write_a_trigger(world, text):
    world.make(text)

    world.check("UPDATE a SET name = 'new'", changed="a b", kept="d")


@only_sqlite
def test_upsert_and_replace_set_off_what_they_do(world):
    world.make(*trigger("react", "AFTER UPDATE", TOUCH_B), *trigger("gone", "AFTER DELETE", "DELETE FROM c"))
    world.check(
        "INSERT INTO a VALUES (1, 'new', 1) ON CONFLICT (id) DO UPDATE SET name = 'newer'",
        changed="a b",
        stale="c",
        kept="d",
    )
    world.check("REPLACE INTO a VALUES (1, 'newest', 1)", changed="a", stale="b c", kept="d")


@only_postgresql
def test_upsert_and_merge_set_off_what_they_do(world):
    world.make(*trigger("react", "AFTER UPDATE", TOUCH_B))
    world.check(
        "INSERT INTO a VALUES (1, 'new', 1) ON CONFLICT (id) DO UPDATE SET name = 'newer'", changed="a b", kept="c d"
    )
    world.make("UPDATE b SET name = 'old'")
    world.check(
        "WITH x AS (UPDATE a SET name = 'y' RETURNING id) INSERT INTO c SELECT id + 20 FROM x",
        changed="a b c",
        kept="d",
    )
