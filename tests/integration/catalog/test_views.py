"""Views, materialized views and rules: what reading one depends on, and what writing through one changes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ormcache import reasons
from tests.integration.reading import (
    ENGINE,
    execute,
    not_on_mysql,
    not_on_sqlite,
    only_mysql,
    only_postgresql,
    only_sqlite,
)
from tests.integration.schema import World, made


@pytest.fixture
def world(queries: Any) -> Iterator[World]:
    with made(queries) as world:
        yield world


# Reading -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM a",
        "SELECT a.* FROM a JOIN b ON b.id = a.id WHERE b.name = 'one'",
        "SELECT * FROM a WHERE id IN (SELECT ref FROM b)",
        "WITH x AS (SELECT * FROM b) SELECT a.* FROM a JOIN x ON x.id = a.id",
        "SELECT * FROM a UNION ALL SELECT id + 10, name, ref FROM b",
        "SELECT id, (SELECT max(b.name) FROM b) AS name, ref FROM a",
    ],
)
def test_a_view_over_a_view_over_tables(world, query):
    world.make(f"CREATE VIEW v AS {query}", "CREATE VIEW w AS SELECT * FROM v WHERE id > 0")

    if " b" in query:
        world.check("UPDATE b SET name = 'zwei'", changed="b", stale="w v", kept="a c d")
    world.check("UPDATE a SET name = 'uno', ref = 9 WHERE id = 1", changed="a", stale="w v", kept="b c d")
    world.check("UPDATE c SET name = 'unrelated'", changed="c", kept="a b d v w")


@only_postgresql
def test_a_view_over_a_view_in_another_schema(world):
    world.make(
        "CREATE SCHEMA elsewhere",
        "CREATE VIEW elsewhere.v AS SELECT * FROM a",
        "CREATE VIEW w AS SELECT * FROM elsewhere.v",
        "CREATE TABLE elsewhere.b AS SELECT * FROM b",  # not the one that is written below
        "CREATE VIEW x AS SELECT * FROM elsewhere.b",
    )

    world.check("UPDATE a SET name = 'new'", changed='a w elsewhere"."v', kept="b x")
    world.check("UPDATE elsewhere.b SET name = 'new'", changed="x", kept="a w c")


@only_postgresql
def test_a_view_over_a_table_whose_name_is_there_twice(world):
    """The name alone stands for a column's table as well, and so for the table that it would mean elsewhere."""
    world.make(
        "CREATE SCHEMA elsewhere",
        "CREATE TABLE elsewhere.b AS SELECT * FROM b",
        "CREATE VIEW x AS SELECT * FROM elsewhere.b",
        "CREATE VIEW y AS SELECT * FROM b",
    )

    world.check("UPDATE b SET name = 'new'", changed="b y", stale="x", kept="a")
    world.check("UPDATE elsewhere.b SET name = 'new'", changed="x", kept="a b y")


@only_postgresql
@pytest.mark.parametrize(
    "volatility, body, reason",
    [
        ("IMMUTABLE", "SELECT upper($1)", None),
        ("STABLE", "SELECT max(name) FROM b", reasons.FUNCTION),
        ("VOLATILE", "SELECT $1", reasons.FUNCTION),
    ],
)
def test_a_function_inside_a_view(world, volatility, body, reason):
    world.make(
        f"CREATE FUNCTION f(text) RETURNS text {volatility} LANGUAGE sql AS $$ {body} $$",
        "CREATE VIEW v AS SELECT id, f(name) AS name, ref FROM a",
        "CREATE VIEW w AS SELECT * FROM v",
    )
    if reason is not None:
        world.assert_uncached("w", reason)
    else:
        world.check("UPDATE a SET name = 'new'", changed="a v w", kept="b")


@only_mysql
def test_a_function_inside_a_view_of_mysql(world):
    world.make(
        "CREATE FUNCTION f(t text) RETURNS text DETERMINISTIC NO SQL RETURN upper(t)",
        "CREATE VIEW v AS SELECT id, f(name) AS name, ref FROM a",
    )

    world.assert_uncached("v", reasons.FUNCTION)


@not_on_sqlite
def test_a_function_inside_a_view_that_writes(world):
    """Whoever reads the view changes ``b``: by a query, through another view, from a trigger, from a function."""
    if ENGINE == "postgresql":
        world.make(
            "CREATE FUNCTION f() RETURNS integer LANGUAGE sql AS $$ UPDATE b SET ref = ref + 1; SELECT 1 $$",
            "CREATE FUNCTION stable() RETURNS bigint STABLE LANGUAGE plpgsql AS"
            " $$ BEGIN RETURN (SELECT sum(ref) FROM w); END $$",
            "CREATE FUNCTION react() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN NEW.ref := (SELECT sum(ref) FROM w); RETURN NEW; END $$",
        )
    else:
        world.make("CREATE FUNCTION f() RETURNS integer BEGIN UPDATE b SET ref = ref + 1; RETURN 1; END")
    world.make("CREATE VIEW v AS SELECT id, name, f() AS ref FROM c", "CREATE VIEW w AS SELECT * FROM v")

    world.check("SELECT ref FROM w", changed="b", kept="a c d")
    world.check("INSERT INTO a SELECT id + 10, name, ref FROM w", changed="a b", kept="c d")
    if ENGINE == "postgresql":
        world.check("SELECT stable()", changed="b", kept="a c d")
        world.make("CREATE TRIGGER reacting BEFORE UPDATE ON a FOR EACH ROW EXECUTE FUNCTION react()")
    else:
        world.make("CREATE TRIGGER reacting BEFORE UPDATE ON a FOR EACH ROW SET NEW.ref = (SELECT sum(ref) FROM w)")
    world.check("UPDATE a SET name = 'new'", changed="a b", kept="d")


def test_a_view_with_a_clock_in_it(world):
    world.make("CREATE VIEW v AS SELECT id, CURRENT_TIMESTAMP AS name, ref FROM a", "CREATE VIEW w AS SELECT * FROM v")

    world.assert_uncached("w", reasons.CLOCK)


@only_sqlite
@pytest.mark.parametrize(
    "text",
    [
        "CREATE VIEW v AS -- all of them\n SELECT * FROM a WHERE id IN (WITH x AS (SELECT id FROM b) SELECT id FROM x)",
        "CREATE VIEW v /* AS SELECT 1 */ AS/**/SELECT * FROM a",
        'CREATE VIEW v ("id", "name", "as (select", ref) AS SELECT id, name, 1, ref FROM a',
        "CREATE VIEW v (id, name, ref) AS VALUES (1, (SELECT min(name) FROM a), 1)",
        "create view if not exists main.v as with x as (select * from a) select * from x",
    ],
)
def test_ways_to_write_a_view(world, text):
    world.make(text)

    world.check("UPDATE a SET name = 'new'", changed="a v", kept="c")


# Writing -----------------------------------------------------------------------------


@not_on_sqlite
@pytest.mark.parametrize("tail", ["", " WITH CHECK OPTION", " WITH CASCADED CHECK OPTION", " WITH LOCAL CHECK OPTION"])
def test_writing_through_a_view_changes_what_is_under_it(world, tail):
    world.make("CREATE VIEW v AS SELECT * FROM a WHERE id < 90", f"CREATE VIEW w AS SELECT * FROM v WHERE id > 0{tail}")

    world.check("UPDATE w SET name = 'new'", changed="a v w", kept="b c d")
    world.check("INSERT INTO w (id, name) VALUES (3, 'three')", changed="a v w", kept="b c d")
    world.check("DELETE FROM w WHERE id = 3", changed="a v w", kept="b c d")


@not_on_sqlite
def test_writing_through_a_view_sets_off_what_hangs_on_the_table(world):
    world.make("CREATE VIEW v AS SELECT * FROM a")
    if ENGINE == "postgresql":
        world.make(
            "CREATE FUNCTION react() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN UPDATE b SET name = 'by a trigger'; RETURN NULL; END $$",
            "CREATE TRIGGER reacting AFTER UPDATE ON a FOR EACH ROW EXECUTE FUNCTION react()",
        )
    else:
        world.make("CREATE TRIGGER reacting AFTER UPDATE ON a FOR EACH ROW UPDATE b SET name = 'by a trigger'")

    world.check("UPDATE v SET name = 'new'", changed="a b v", kept="c d")


@not_on_mysql
@pytest.mark.parametrize("event", ["UPDATE", "INSERT", "DELETE"])
def test_instead_of_triggers(world, event):
    world.make("CREATE VIEW v AS SELECT * FROM a")
    body = "UPDATE b SET name = 'by a trigger'"
    if ENGINE == "postgresql":
        world.make(
            f"CREATE FUNCTION react() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; RETURN NEW; END $$",
            f"CREATE TRIGGER reacting INSTEAD OF {event} ON v FOR EACH ROW EXECUTE FUNCTION react()",
        )
    else:
        world.make(f"CREATE TRIGGER reacting INSTEAD OF {event} ON v BEGIN {body}; END")
    write = {"UPDATE": "UPDATE v SET ref = 3", "INSERT": "INSERT INTO v VALUES (3, 'x', 3)", "DELETE": "DELETE FROM v"}

    world.check(write[event], changed="b", kept="c d")


@only_postgresql
@pytest.mark.parametrize(
    "rule, write, changed, kept",
    [
        ("ON UPDATE TO a DO ALSO UPDATE b SET name = 'by a rule'", "UPDATE a SET name = 'new'", "a b", "c d"),
        ("ON UPDATE TO a DO INSTEAD UPDATE b SET name = 'by a rule'", "UPDATE a SET name = 'new'", "b", "c d"),
        ("ON DELETE TO a DO INSTEAD NOTHING", "UPDATE a SET name = 'new'", "a", "b c d"),
        ("ON INSERT TO a DO ALSO DELETE FROM b WHERE id = NEW.ref", "INSERT INTO a VALUES (3, 'x', 1)", "a b", "c d"),
        (
            "ON UPDATE TO a DO ALSO (DELETE FROM b; INSERT INTO c VALUES (7, 'by a rule'))",
            "UPDATE a SET name = 'new'",
            "a b c",
            "d",
        ),
        (
            "ON UPDATE TO a WHERE OLD.id IN (SELECT id FROM d) DO ALSO UPDATE b SET name = 'by a rule'",
            "UPDATE a SET name = 'new'",
            "a b",
            "c",
        ),
        ("ON UPDATE TO a DO ALSO SELECT change_c()", "UPDATE a SET name = 'new'", "a c", "b d"),
        ("ON UPDATE TO a DO ALSO NOTIFY changes", "UPDATE a SET name = 'new'", "a", "b c d"),
    ],
)
def test_a_rule_changes_what_it_names_and_no_more(world, rule, write, changed, kept):
    world.make(
        "CREATE FUNCTION change_c() RETURNS void LANGUAGE sql AS $$ UPDATE c SET name = 'by a function' $$",
        f"CREATE RULE own AS {rule}",
    )

    world.check(write, changed=changed, kept=kept)


@only_postgresql
def test_rules_that_make_a_view_writable(world):
    world.make(
        "CREATE VIEW v AS SELECT a.id, a.name, b.ref FROM a JOIN b ON b.id = a.id",
        "CREATE RULE own AS ON UPDATE TO v DO INSTEAD (UPDATE a SET name = NEW.name WHERE id = OLD.id;"
        " UPDATE c SET name = NEW.name WHERE id = OLD.id)",
        "CREATE RULE other AS ON UPDATE TO c DO ALSO DELETE FROM d",
    )

    world.check("UPDATE v SET name = 'new'", changed="v a c d", stale="b")


# Materialized views ----------------------------------------------------------------------


@only_postgresql
@pytest.mark.parametrize("how", ["", "CONCURRENTLY "])
def test_a_materialized_view_changes_when_it_is_refreshed(world, how):
    world.make(
        "CREATE MATERIALIZED VIEW mv AS SELECT * FROM a",
        "CREATE UNIQUE INDEX ON mv (id)",
        "CREATE VIEW v AS SELECT * FROM mv",
        "CREATE MATERIALIZED VIEW mw AS SELECT * FROM v",
    )

    world.check("UPDATE a SET name = 'new'", changed="a", kept="mv v mw b")
    world.check(f"REFRESH MATERIALIZED VIEW {how}mv", changed="mv v", kept="a b mw")
    world.check("REFRESH MATERIALIZED VIEW mw", changed="mw", kept="a b mv v")


@only_postgresql
@pytest.mark.parametrize("below", ["mv AS SELECT id, name, f() AS ref FROM a", "mv AS SELECT * FROM v"])
def test_a_refresh_that_runs_a_function_that_writes(world, below):
    world.make(
        "CREATE FUNCTION f() RETURNS integer LANGUAGE sql AS $$ UPDATE public.b SET ref = ref + 1; SELECT 1 $$",
        "CREATE VIEW v AS SELECT id, name, f() AS ref FROM a",
        f"CREATE MATERIALIZED VIEW {below}",
    )

    world.check("REFRESH MATERIALIZED VIEW mv", changed="b", stale="mv", kept="a c d")


@only_postgresql
def test_a_materialized_view_of_what_varies_is_cached(world):
    """Its rows vary when it is refreshed, and not before."""
    world.make("CREATE MATERIALIZED VIEW mv AS SELECT id, clock_timestamp()::text AS name, ref FROM a")

    world.check("REFRESH MATERIALIZED VIEW mv", changed="mv", kept="a")


@only_postgresql
def test_a_materialized_view_without_rows(world):
    world.make("CREATE MATERIALIZED VIEW mv AS SELECT * FROM a")
    reading = world.reading("mv")
    execute("REFRESH MATERIALIZED VIEW mv WITH NO DATA")
    with pytest.raises(Exception, match="has not been populated"):
        reading.read()
