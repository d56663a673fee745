"""What foreign keys change by themselves: CASCADE, SET NULL, SET DEFAULT, on DELETE and on UPDATE."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.reading import ENGINE, only_postgresql
from tests.integration.schema import World, made


@pytest.fixture
def world(queries: Any) -> Iterator[World]:
    with made(queries) as world:
        yield world


def _key(world: World, child: str, parent: str, action: str, column: str = "ref", default: str = "NULL") -> None:
    """The child's column refers to the parent's id. SQLite takes keys with CREATE TABLE alone."""
    key = f"FOREIGN KEY ({column}) REFERENCES {parent} (id) {action}"
    world.make(
        f"DROP TABLE {child}",
        f"CREATE TABLE {child} (id integer PRIMARY KEY, name varchar(100), ref integer DEFAULT {default}, {key})",
        f"INSERT INTO {child} (id, name, ref) VALUES (1, 'one', 1), (2, 'two', 2)",
    )


#: InnoDB knows no SET DEFAULT
ACTIONS = [
    "ON DELETE CASCADE",
    "ON DELETE SET NULL",
    "ON UPDATE CASCADE",
    "ON UPDATE SET NULL",
    *([] if ENGINE == "mysql" else ["ON DELETE SET DEFAULT", "ON UPDATE SET DEFAULT"]),
]


@pytest.mark.parametrize("action", ACTIONS)
def test_an_action_changes_the_other_table_and_no_further_one(world, action):
    _key(world, "b", "a", action, default="2")
    write = "DELETE FROM a WHERE id = 1" if "DELETE" in action else "UPDATE a SET id = 7 WHERE id = 1"

    world.check(write, changed="a b", kept="c d")


@pytest.mark.parametrize("action", ["", "ON DELETE RESTRICT ON UPDATE RESTRICT", "ON DELETE NO ACTION"])
def test_a_key_without_an_action_changes_nothing(world, action):
    _key(world, "b", "a", action)

    world.check("UPDATE a SET name = 'new'", changed="a", kept="b c d")


@pytest.mark.parametrize("action", ["ON DELETE CASCADE", "ON UPDATE CASCADE"])
def test_actions_over_three_tables(world, action):
    _key(world, "b", "a", action, column="id")
    _key(world, "c", "b", action, column="id")
    write = "DELETE FROM a WHERE id = 1" if "DELETE" in action else "UPDATE a SET id = 7 WHERE id = 1"

    world.check(write, changed="a b c", kept="d")
    world.check("DELETE FROM c", changed="c", kept="a b d")


def test_an_action_that_follows_another(world):
    """What CASCADE takes away sets the next table's column to NULL, and ends there."""
    _key(world, "b", "a", "ON DELETE CASCADE")
    _key(world, "c", "b", "ON DELETE SET NULL")

    world.check("DELETE FROM a WHERE id = 1", changed="a b c", kept="d")


def test_a_table_that_refers_to_itself(world):
    _key(world, "b", "b", "ON DELETE CASCADE")

    world.check("DELETE FROM b WHERE id = 1", changed="b", kept="a c d")


def test_tables_that_refer_to_each_other(world):
    if ENGINE == "sqlite":
        key = "FOREIGN KEY (ref) REFERENCES"
        world.make(
            "PRAGMA foreign_keys = OFF",
            *("DROP TABLE a", "DROP TABLE b"),
            f"CREATE TABLE a (id integer PRIMARY KEY, name text, ref integer, {key} b (id) ON DELETE SET NULL)",
            f"CREATE TABLE b (id integer PRIMARY KEY, name text, ref integer, {key} a (id) ON DELETE CASCADE)",
            *(f"INSERT INTO {table} VALUES (1, 'one', 1), (2, 'two', 2)" for table in ("a", "b")),
        )
    else:
        _key(world, "b", "a", "ON DELETE CASCADE")
        world.make("ALTER TABLE a ADD FOREIGN KEY (ref) REFERENCES b (id) ON DELETE SET NULL")

    world.check("DELETE FROM b WHERE id = 1", changed="a b", kept="c d")


def test_an_action_that_fires_a_trigger(world):
    """MySQL's cascades fire none, which costs a hit and nothing else."""
    _key(world, "b", "a", "ON DELETE CASCADE")
    body = "UPDATE c SET name = 'by a trigger'"
    if ENGINE == "postgresql":
        world.make(
            f"CREATE FUNCTION react() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; RETURN NULL; END $$",
            "CREATE TRIGGER reacting AFTER DELETE ON b FOR EACH ROW EXECUTE FUNCTION react()",
        )
    else:
        world.make(f"CREATE TRIGGER reacting AFTER DELETE ON b FOR EACH ROW BEGIN {body}; END")
    fired = "" if ENGINE == "mysql" else " c"

    world.check("DELETE FROM a WHERE id = 1", changed=f"a b{fired}", kept="d")


@only_postgresql
def test_a_key_of_another_schema(world):
    world.make(
        "CREATE SCHEMA elsewhere",
        "CREATE TABLE elsewhere.b (id integer, name text, ref integer REFERENCES public.a ON DELETE CASCADE)",
        "INSERT INTO elsewhere.b VALUES (1, 'one', 1)",
    )

    world.check("DELETE FROM a WHERE id = 1", changed='a elsewhere"."b', kept="c d")


@only_postgresql
def test_some_columns_are_set_to_null(world):
    world.make(
        "ALTER TABLE a ADD UNIQUE (id, ref)",
        "ALTER TABLE b ADD FOREIGN KEY (id, ref) REFERENCES a (id, ref) ON DELETE SET NULL (ref)",
    )

    world.check("DELETE FROM a WHERE id = 1", changed="a b", kept="c d")


@only_postgresql
def test_a_deferred_key(world):
    world.make("ALTER TABLE b ADD FOREIGN KEY (ref) REFERENCES a ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED")

    world.check("DELETE FROM a WHERE id = 1", changed="a b", kept="c d")


@only_postgresql
def test_truncate_reaches_what_refers_to_the_table(world):
    world.make("ALTER TABLE b ADD FOREIGN KEY (ref) REFERENCES a")

    world.check("TRUNCATE a CASCADE", changed="a b")


@only_postgresql
@pytest.mark.parametrize("write", ["SELECT empty()", "UPDATE d SET name = 'new'"])
def test_truncate_in_code_reaches_what_refers_to_the_table(world, write):
    world.make(
        "ALTER TABLE b ADD FOREIGN KEY (ref) REFERENCES a",
        "ALTER TABLE c ADD FOREIGN KEY (ref) REFERENCES b",
        "CREATE FUNCTION empty() RETURNS integer LANGUAGE plpgsql AS $$ BEGIN TRUNCATE a CASCADE; RETURN 1; END $$",
        "CREATE FUNCTION react() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN TRUNCATE a CASCADE; RETURN NULL; END $$",
        "CREATE TRIGGER react AFTER UPDATE ON d EXECUTE FUNCTION react()",
    )

    world.check(write, changed="a b c", **({"kept": "d"} if write.startswith("SELECT") else {}))


@pytest.mark.skipif(ENGINE == "postgresql", reason="PostgreSQL has no REPLACE")
def test_a_row_that_is_replaced_is_deleted_first(world):
    _key(world, "b", "a", "ON DELETE CASCADE")

    world.check("REPLACE INTO a VALUES (1, 'new', 1)", changed="a b", kept="c d")
