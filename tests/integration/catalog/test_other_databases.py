"""MySQL: statements reach the tables of other databases on the same server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, connections

from ormcache import reasons
from tests.integration.reading import execute, only_mysql
from tests.integration.schema import World, made, plan_of, row_model

pytestmark = only_mysql

#: The alias ``second`` is on another database of the server that ``default`` is on
OTHER = "second"


@pytest.fixture
def world(queries: Any) -> Iterator[World]:
    with made(queries) as world:
        for using in ("second_plain",):
            execute("SET foreign_key_checks = 0", using=using)
            for table in ("a", "t"):
                execute(f"DROP TABLE IF EXISTS {table}", using=using)
                execute(
                    f"CREATE TABLE {table} (id integer PRIMARY KEY, name varchar(50), ref integer) ENGINE=InnoDB",
                    using=using,
                )
                execute(f"INSERT INTO {table} VALUES (1, 'one', 1), (2, 'two', 2)", using=using)
        yield world
        execute("SET foreign_key_checks = 0", using="second_plain")
        for table in ("a", "t"):
            execute(f"DROP TABLE IF EXISTS {table}", using="second_plain")
        execute("DROP PROCEDURE IF EXISTS touch", using="second_plain")
        connections["second_plain"].close()


@pytest.fixture
def other() -> str:
    """The name of the other database."""
    return str(connections[OTHER].settings_dict["NAME"])


class Elsewhere:
    """A cached read through the alias that is on the other database."""

    def __init__(self, queries: Any, table: str = "t") -> None:
        self._queries, self._table = queries, table
        connections[OTHER].close()
        self.before = self._read(OTHER)
        self.assert_hit()

    def _read(self, using: str) -> list[Any]:
        return list(row_model(self._table).objects.using(using).order_by("id").values_list())

    def assert_hit(self) -> None:
        connections[OTHER].close()
        with self._queries(0, using=OTHER):
            assert self._read(OTHER) == self.before

    def assert_fresh(self) -> None:
        connections["second_plain"].close()
        after = self._read(OTHER)
        assert after == self._read("second_plain")
        assert after != self.before, "the write under test has changed nothing"


@pytest.mark.parametrize(
    "write",
    [
        "UPDATE {other}.t SET name = 'new'",
        "UPDATE `{other}`.`t` SET name = 'new'",
        "INSERT INTO {other}.t SELECT id + 10, name, ref FROM a",
        "REPLACE INTO {other}.t VALUES (1, 'new', 1)",
        "DELETE FROM {other}.t WHERE id = 1",
        "DELETE x FROM {other}.t AS x JOIN a ON a.id = x.id",
        "UPDATE a JOIN {other}.t AS x ON x.id = a.id SET x.name = 'new'",
        "TRUNCATE {other}.t",
        "TRUNCATE TABLE `{other}`.t",
    ],
)
@pytest.mark.parametrize("atomic", [False, True])
def test_a_write_there(world, other, queries, write, atomic):
    from django.db import transaction

    there = Elsewhere(queries)
    if atomic and not write.startswith("TRUNCATE"):
        with transaction.atomic():
            execute(write.format(other=other))
            there.assert_hit()
    else:
        execute(write.format(other=other))

    there.assert_fresh()


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE {other}.t DROP COLUMN ref, ADD ref integer DEFAULT 7",
        "RENAME TABLE {other}.t TO {other}.t_old, {other}.a TO {other}.t, {other}.t_old TO {other}.a",
        "DROP TABLE {other}.t",
        "CREATE OR REPLACE TABLE {other}.t (id integer, name varchar(50), ref integer)",
    ],
)
def test_a_schema_change_there(world, other, queries, change):
    execute("UPDATE a SET name = 'new'", using="second_plain")
    there = Elsewhere(queries)
    execute(change.format(other=other))
    if change.startswith("DROP"):
        with pytest.raises(Exception, match="doesn't exist"):
            there._read(OTHER)
    else:
        there.assert_fresh()


def test_a_trigger_made_from_here_is_known_there(world, other, queries):
    there, beside = Elsewhere(queries, "t"), Elsewhere(queries, "a")
    execute(f"CREATE TRIGGER {other}.react AFTER UPDATE ON {other}.a FOR EACH ROW DELETE FROM {other}.t")
    there, beside = Elsewhere(queries, "t"), Elsewhere(queries, "a")
    execute("UPDATE a SET name = 'new'", using=OTHER)

    there.assert_fresh()
    beside.assert_fresh()


def test_a_trigger_that_writes_there(world, other, queries):
    world.make(f"CREATE TRIGGER react AFTER UPDATE ON a FOR EACH ROW UPDATE {other}.t SET name = 'by a trigger'")
    there = Elsewhere(queries)
    execute("UPDATE b SET name = 'unrelated'")
    there.assert_hit()
    execute("UPDATE a SET name = 'new'")

    there.assert_fresh()


def test_a_trigger_that_comes_back(world, other, queries):
    """What is set off there is not known here, and changes a table of this database."""
    here = connection.settings_dict["NAME"]
    execute(f"CREATE TRIGGER back AFTER UPDATE ON t FOR EACH ROW UPDATE {here}.c SET name = 'back'", using=OTHER)
    world.make(f"CREATE TRIGGER react AFTER UPDATE ON a FOR EACH ROW UPDATE {other}.t SET name = 'by a trigger'")
    there, back = Elsewhere(queries), world.reading("c")
    execute("UPDATE a SET name = 'new'")

    there.assert_fresh()
    back.assert_fresh()


def test_a_cascade_there(world, other, queries):
    world.make(f"ALTER TABLE {other}.t ADD FOREIGN KEY (ref) REFERENCES {connection.settings_dict['NAME']}.a (id)"
               " ON DELETE CASCADE")  # fmt: skip
    there = Elsewhere(queries)
    execute("DELETE FROM b")
    there.assert_hit()
    execute("DELETE FROM a WHERE id = 1")

    there.assert_fresh()


def test_a_cascade_there_that_comes_back(world, other, queries):
    here = connection.settings_dict["NAME"]
    world.make(
        f"ALTER TABLE {other}.t ADD FOREIGN KEY (ref) REFERENCES {here}.a (id) ON DELETE CASCADE",
        f"ALTER TABLE c ADD FOREIGN KEY (ref) REFERENCES {other}.t (id) ON DELETE CASCADE",
    )
    there, back, kept = Elsewhere(queries), world.reading("c"), world.reading("b")
    execute("DELETE FROM a WHERE id = 1")

    there.assert_fresh()
    back.assert_fresh()
    kept.assert_hit()


def test_a_key_there_without_an_action(world, other, queries):
    world.make(f"ALTER TABLE {other}.t ADD FOREIGN KEY (ref) REFERENCES {connection.settings_dict['NAME']}.a (id)")
    there = Elsewhere(queries)
    execute("UPDATE a SET name = 'new'")

    there.assert_hit()


@pytest.mark.parametrize("call", ["CALL touch_there()", "CALL {other}.touch()", "SELECT touched_there()"])
def test_a_routine_that_writes_there(world, other, queries, call):
    execute("CREATE PROCEDURE touch() UPDATE t SET name = 'by a routine'", using=OTHER)
    world.make(
        f"CREATE PROCEDURE touch_there() CALL {other}.touch()",
        f"CREATE FUNCTION touched_there() RETURNS integer BEGIN UPDATE {other}.t SET ref = 7; RETURN 1; END",
    )
    there = Elsewhere(queries)
    execute(call.format(other=other))

    there.assert_fresh()


def test_reads_of_tables_there_are_not_cached(world, other):
    assert plan_of(f"SELECT * FROM {other}.t").bypass_reason == reasons.UNKNOWN_RELATION
    assert plan_of(f"SELECT * FROM a JOIN {other}.a AS x ON x.id = a.id").bypass_reason == reasons.UNKNOWN_RELATION
    world.make(f"CREATE VIEW v AS SELECT * FROM {other}.t")
    assert plan_of("SELECT * FROM v").bypass_reason == reasons.UNKNOWN_RELATION


def test_a_write_there_from_a_view_here(world, other, queries):
    world.make(f"CREATE VIEW v AS SELECT * FROM {other}.t")
    there = Elsewhere(queries)
    execute("UPDATE v SET name = 'new'")

    there.assert_fresh()


def test_a_write_here_is_no_matter_of_the_others(world, other, queries):
    there = Elsewhere(queries)
    world.check("UPDATE a SET name = 'new'", changed="a", kept="b c d")
    execute("UPDATE t SET name = 'new'", using=OTHER)

    there.assert_fresh()
    there = Elsewhere(queries)
    execute("UPDATE a SET name = 'newer'")
    there.assert_hit()


def test_a_database_that_is_made_later(world, queries):
    """Statements find it by its name alone; it is known once this connection, or another one, has read the catalog."""
    execute("CREATE DATABASE made_later")
    execute("CREATE TABLE made_later.t (id integer)")
    kept = world.reading("a")
    execute("UPDATE b SET name = 'new'")
    kept.assert_hit()
    assert "made_later" in "".join(plan_of("UPDATE made_later.t SET id = 1").written)


@pytest.mark.parametrize("name", ["touched", "upper"])
@pytest.mark.parametrize(
    "through", ["SELECT {call}", "SELECT * FROM v", "DO {call}", "INSERT INTO b (id) SELECT {call}"]
)
def test_a_function_there_that_writes(world, other, queries, name, through):
    execute(f"DROP FUNCTION IF EXISTS {name}", using="second_plain")
    execute(f"CREATE FUNCTION {name}() RETURNS integer BEGIN UPDATE t SET ref = 70; RETURN 70; END", using=OTHER)
    try:
        call = f"{other}.{name}()"
        world.make(f"CREATE VIEW v AS SELECT {call} AS n FROM a")
        there = Elsewhere(queries)
        execute(through.format(call=call))
        there.assert_fresh()
    finally:
        execute(f"DROP FUNCTION {name}", using="second_plain")


def test_a_function_there_with_the_name_of_a_common_one_is_not_cached(world, other):
    execute("DROP FUNCTION IF EXISTS upper", using="second_plain")
    execute("CREATE FUNCTION upper(t text) RETURNS text RETURN (SELECT max(name) FROM t)", using=OTHER)
    try:
        assert plan_of(f"SELECT {other}.upper(name) FROM a").bypass_reason == reasons.FUNCTION
    finally:
        execute("DROP FUNCTION upper", using="second_plain")
