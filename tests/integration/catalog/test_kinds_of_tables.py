"""Relations whose rows are kept in another place than their own: foreign, virtual, temporary and unlogged tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, connections, models

from ormcache import reasons
from tests.integration.reading import Reading, execute, in_thread, model_of, only_mysql, only_postgresql, only_sqlite
from tests.integration.schema import World, made, plan_of, row_model


@pytest.fixture
def world(queries: Any) -> Iterator[World]:
    with made(queries) as world:
        yield world


# Foreign tables ------------------------------------------------------------------------


@pytest.fixture
def foreign(world: World) -> World:
    """``f`` shows the table ``a`` of the same database, by way of another connection."""
    with world.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'postgres_fdw'")
        if cursor.fetchone() is None:
            pytest.skip("no postgres_fdw here")
    place = connections["plain"].get_connection_params()
    world.make(
        "CREATE EXTENSION postgres_fdw",
        f"CREATE SERVER loop FOREIGN DATA WRAPPER postgres_fdw OPTIONS"
        f" (host '{place['host']}', port '{place['port']}', dbname '{place['dbname']}')",
        f"CREATE USER MAPPING FOR CURRENT_USER SERVER loop OPTIONS"
        f" (user '{place['user']}', password '{place.get('password', '')}')",
        "CREATE FOREIGN TABLE f (id integer, name text, ref integer) SERVER loop OPTIONS (table_name 'a')",
        "CREATE VIEW v AS SELECT * FROM f",
    )
    return world


@only_postgresql
def test_a_foreign_table_is_not_cached(foreign):
    foreign.assert_uncached("f", reasons.FOREIGN_TABLE)
    foreign.assert_uncached("v", reasons.FOREIGN_TABLE)


@only_postgresql
def test_a_foreign_table_that_is_listed(foreign, configure):
    configure(FOREIGN_TABLES=["f"])
    reading, view = foreign.reading("f"), foreign.reading("v")
    execute("UPDATE b SET name = 'unrelated'")
    reading.assert_hit()
    execute("UPDATE f SET name = 'new'")
    reading.assert_fresh()
    view.assert_fresh()


@only_postgresql
@pytest.mark.parametrize("listed", [["other"], ["public.other"], ["elsewhere.*"]])
def test_a_foreign_table_that_is_not_listed(foreign, configure, listed):
    configure(FOREIGN_TABLES=listed)

    foreign.assert_uncached("f", reasons.FOREIGN_TABLE)


@only_postgresql
def test_a_foreign_table_without_a_handler(world):
    world.make(
        "CREATE FOREIGN DATA WRAPPER nothing",
        "CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing",
        "CREATE FOREIGN TABLE f (id integer, name text, ref integer) SERVER nowhere",
    )

    assert plan_of("SELECT * FROM f").bypass_reason == reasons.FOREIGN_TABLE


# Temporary and unlogged tables -----------------------------------------------------------


@only_postgresql
def test_an_unlogged_table(world):
    world.make(
        "CREATE UNLOGGED TABLE u (id integer, name text, ref integer)",
        "CREATE VIEW v AS SELECT * FROM u",
        "CREATE MATERIALIZED VIEW mv AS SELECT * FROM u",
    )

    world.assert_uncached("u", reasons.UNLOGGED)
    world.assert_uncached("v", reasons.UNLOGGED)
    world.check("INSERT INTO u VALUES (1, 'x', 1)", kept="mv a")
    world.make("ALTER TABLE u SET LOGGED")
    world.check("INSERT INTO u VALUES (2, 'x', 1)", changed="u v", kept="mv a")


def test_a_temporary_table_shares_nothing_and_retires_nothing(world):
    kept = world.reading("a")
    execute("CREATE TEMPORARY TABLE t (id integer, name varchar(50), ref integer)")
    for number in (1, 2):
        execute("INSERT INTO t VALUES (%s, 'x', 1)", [number])
        with world.queries(1):
            assert row_model("t").objects.count() == number
    kept.assert_hit()


def test_a_temporary_table_in_front_of_another_hides_it_here_alone(world):
    kept = world.reading("a")
    execute("CREATE TEMPORARY TABLE a (id integer, name varchar(50), ref integer)")
    execute("INSERT INTO a VALUES (1, 'temporary', 1)")
    assert [name for _, name, _ in row_model("a").objects.values_list()] == ["temporary"]
    connection.close()
    assert kept.read() == kept.before


def test_a_write_to_another_table_from_a_temporary_one(world):
    execute("CREATE TEMPORARY TABLE t (id integer, name varchar(50), ref integer)")
    execute("INSERT INTO t VALUES (7, 'x', 1)")
    changed, kept = _cached_by_another(world, "a"), _cached_by_another(world, "b")
    execute("INSERT INTO a SELECT * FROM t")
    changed.assert_fresh()
    kept.assert_hit()


def _cached_by_another(world: World, relation: str) -> Reading:
    """What is cached while this connection keeps what it has made."""
    return in_thread(lambda: world.reading(relation))


# Virtual tables ------------------------------------------------------------------------


FTS = "id UNINDEXED, name, ref UNINDEXED"


@only_sqlite
@pytest.mark.parametrize(
    "columns", [f"fts5({FTS})", "rtree(id, name, ref)", "fts4(id, name, ref)", "FTS5 (id, name, ref)"]
)
def test_a_virtual_table_that_keeps_its_rows_in_this_database(world, columns):
    value = "7" if "rtree" in columns else "'seven'"
    world.make(f"CREATE VIRTUAL TABLE f USING {columns}", f"INSERT INTO f (id, name, ref) VALUES (1, {value}, 8)")

    world.check(f"INSERT INTO f (id, name, ref) VALUES (2, {value}, 9)", changed="f", kept="a b")
    world.check("UPDATE f SET ref = 10 WHERE id = 2", changed="f", kept="a b")
    world.check("UPDATE a SET name = 'unrelated'", changed="a", kept="b f")
    world.check("DELETE FROM f WHERE id = 2", changed="f", kept="a b")


@only_sqlite
def test_the_tables_behind_a_virtual_table(world):
    world.make(f"CREATE VIRTUAL TABLE f USING fts5({FTS})", "INSERT INTO f (id, name, ref) VALUES (1, 'one', 8)")
    behind = Reading(world.queries, lambda using: _rows(using, "SELECT id, c1 FROM f_content", "f_content"))

    world.check("UPDATE f_content SET c1 = 'uno'", changed="f", kept="a")
    behind.assert_fresh()
    behind = Reading(world.queries, lambda using: _rows(using, "SELECT id, c1 FROM f_content", "f_content"))
    execute("INSERT INTO f (id, name, ref) VALUES (2, 'two', 8)")
    behind.assert_fresh()


def _rows(using: str, sql: str, table: str) -> list[Any]:
    model = model_of(table, c1=models.TextField())
    return list(model.objects.using(using).order_by("id").values_list("id", "c1"))


@only_sqlite
@pytest.mark.parametrize("content", ["a", "v"])
def test_text_that_is_kept_in_another_table_or_view(world, content):
    """With the triggers that SQLite's manual shows."""
    world.make(
        "CREATE VIEW v AS SELECT a.id, a.name, b.ref FROM a JOIN b ON b.id = a.id",
        f"CREATE VIRTUAL TABLE f USING fts5({FTS}, content='{content}', content_rowid='id')",
        "INSERT INTO f (f) VALUES ('rebuild')",
        "CREATE TRIGGER inserted AFTER INSERT ON a BEGIN INSERT INTO f (rowid, name) VALUES (new.id, new.name); END",
        "CREATE TRIGGER updated AFTER UPDATE ON a BEGIN"
        " INSERT INTO f (f, rowid, name) VALUES ('delete', old.id, old.name);"
        " INSERT INTO f (rowid, name) VALUES (new.id, new.name); END",
    )
    found = Reading(world.queries, lambda using: _matching(using, "uno"))
    assert found.before == []

    world.check("UPDATE a SET name = 'uno' WHERE id = 1", changed="a f v", kept="c")
    found.assert_fresh()
    assert found.read() == [1]
    if content == "v":
        world.check("UPDATE b SET ref = 77", changed="b f v", kept="a c")


def _matching(using: str, text: str) -> list[int]:
    rows = row_model("f").objects.using(using).extra(select={"n": "f.rowid"}, where=["f MATCH %s"], params=[text])
    return [n for (n,) in rows.order_by("n").values_list("n")]


@only_sqlite
def test_text_that_is_kept_nowhere(world):
    world.make(
        "CREATE VIRTUAL TABLE f USING fts5(name, content='')", "INSERT INTO f (rowid, name) VALUES (1, 'one two')"
    )
    found = Reading(world.queries, lambda using: _matching(using, "two"))
    assert found.before == [1]
    kept = world.reading("a")

    execute("INSERT INTO f (rowid, name) VALUES (2, 'two three')")
    found.assert_fresh()
    kept.assert_hit()
    execute("INSERT INTO f (f, rowid, name) VALUES ('delete', 1, 'one two')")
    found.assert_fresh()


@only_sqlite
def test_a_trigger_that_writes_to_a_virtual_table(world):
    world.make(
        f"CREATE VIRTUAL TABLE f USING fts5({FTS})",
        "CREATE TRIGGER react AFTER INSERT ON a BEGIN INSERT INTO f VALUES (new.id, new.name, new.ref); END",
    )

    world.check("INSERT INTO a VALUES (3, 'three', 3)", changed="a f", kept="b c")


@only_sqlite
@pytest.mark.parametrize("module", ["fts5vocab('f', 'row')", "dbstat"])
def test_a_virtual_table_of_another_module(world, configure, module):
    modules = {name for (name,) in _ask(world, "SELECT name FROM pragma_module_list")}
    if module.partition("(")[0] not in modules:
        pytest.skip("not built in here")
    world.make(f"CREATE VIRTUAL TABLE f USING fts5({FTS})", f"CREATE VIRTUAL TABLE w USING {module}")
    assert plan_of("SELECT * FROM w").bypass_reason == reasons.FOREIGN_TABLE
    assert plan_of("SELECT * FROM f").bypass_reason is None

    configure(FOREIGN_TABLES=["w"])
    connection.close()
    assert plan_of("SELECT * FROM w").bypass_reason is None


def _ask(world: World, sql: str) -> list[Any]:
    with world.cursor() as cursor:
        cursor.execute(sql)
        return list(cursor.fetchall())


# Other engines of MySQL -------------------------------------------------------------------


@only_mysql
@pytest.mark.parametrize("storage", ["MyISAM", "MEMORY", "Aria", "CSV", "MRG_MyISAM"])
def test_engines_without_transactions(world, storage):
    null = " NOT NULL" if storage == "CSV" else ""
    columns = f"id integer{null}, name varchar(50){null}, ref integer{null}"
    tail = " UNION=(m)" if storage == "MRG_MyISAM" else ""
    world.make(
        f"CREATE TABLE m ({columns}) ENGINE=MyISAM",
        f"CREATE TABLE t ({columns}) ENGINE={storage}{tail}",
        "CREATE VIEW v AS SELECT * FROM t",
    )

    world.assert_uncached("t", reasons.NOT_TRANSACTIONAL)
    world.assert_uncached("v", reasons.NOT_TRANSACTIONAL)


@only_mysql
def test_tables_with_a_history(world):
    columns = "id integer, name varchar(50), ref integer"
    world.make(
        f"CREATE TABLE h ({columns}) ENGINE=InnoDB WITH SYSTEM VERSIONING",
        f"CREATE TABLE m ({columns}) ENGINE=MyISAM WITH SYSTEM VERSIONING",
        "INSERT INTO h VALUES (1, 'one', 1)",
    )

    world.check("UPDATE h SET name = 'new'", changed="h", kept="a")
    world.assert_uncached("m", reasons.NOT_TRANSACTIONAL)
