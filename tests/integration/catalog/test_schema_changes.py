"""A schema that changes, by this process or by another: from then on the new one counts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, models, transaction

from ormcache.database.catalog_cache import CatalogCache
from tests.integration.reading import ENGINE, execute, not_on_mysql, not_on_sqlite, only_postgresql, only_sqlite
from tests.integration.schema import World, made
from tests.shop.models import Author, Genre


@pytest.fixture
def world(queries: Any) -> Iterator[World]:
    with made(queries) as world:
        yield world


# By another process ------------------------------------------------------------------------


def _trigger(body: str = "UPDATE b SET name = 'by a trigger'") -> list[str]:
    if ENGINE == "postgresql":
        return [
            f"CREATE FUNCTION react() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; RETURN NULL; END $$",
            "CREATE TRIGGER react AFTER UPDATE ON a FOR EACH ROW EXECUTE FUNCTION react()",
        ]
    return [f"CREATE TRIGGER react AFTER UPDATE ON a FOR EACH ROW BEGIN {body}; END"]


def elsewhere(other_process: Any, *statements: str) -> None:
    """All of them in one new process."""
    other_process("tests.integration.schema.run", list(statements))


def test_a_trigger(world, other_process):
    reading = world.reading("b")
    elsewhere(other_process, *_trigger())
    reading.read()  # the epoch has changed
    execute("UPDATE a SET name = 'new'")

    reading.assert_fresh()


def test_a_cascade(world, other_process):
    reading = world.reading("b")
    key = "FOREIGN KEY (ref) REFERENCES a (id) ON DELETE CASCADE"
    if ENGINE == "sqlite":
        change = ["DROP TABLE b", f"CREATE TABLE b (id integer PRIMARY KEY, name text, ref integer, {key})"]
        change.append("INSERT INTO b VALUES (1, 'one', 1)")
    else:
        change = [f"ALTER TABLE b ADD {key}"]
    elsewhere(other_process, *change)
    reading.before = reading.read()
    execute("DELETE FROM a WHERE id = 1")

    reading.assert_fresh()


def test_a_view(world, other_process):
    world.reading("a")
    elsewhere(other_process, "CREATE VIEW v AS SELECT * FROM a")
    # What is not known is not cached, and looked up once another read has found that the schema has changed.
    world.reading("a")
    reading = world.reading("v")
    execute("UPDATE a SET name = 'new'")

    reading.assert_fresh()


def test_a_view_that_is_made_anew(world, other_process):
    world.make("CREATE VIEW v AS SELECT * FROM a")
    world.reading("v")
    elsewhere(other_process, "DROP VIEW v", "CREATE VIEW v AS SELECT * FROM b")
    reading = world.reading("v")
    execute("UPDATE b SET name = 'new'")

    reading.assert_fresh()


def test_a_column(world, other_process):
    reading = world.reading("a")
    elsewhere(other_process, "ALTER TABLE a RENAME COLUMN ref TO old", "ALTER TABLE a ADD COLUMN ref integer DEFAULT 7")

    reading.assert_fresh()


def test_a_table_that_takes_the_name_of_another(world, other_process):
    reading = world.reading("a")
    elsewhere(other_process, "ALTER TABLE a RENAME TO old_a", "ALTER TABLE c RENAME TO a", "UPDATE a SET name = 'of c'")
    reading.assert_fresh()

    reading = world.reading("a")
    execute("UPDATE a SET name = 'newer'")
    reading.assert_fresh()


@not_on_sqlite
def test_a_partition(world, other_process):
    if ENGINE == "postgresql":
        world.make("CREATE TABLE p (id integer, name text, ref integer) PARTITION BY LIST (id)")
        change = ["CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1)", "INSERT INTO p1 VALUES (1, 'one', 1)"]
    else:
        world.make(
            "CREATE TABLE p (id integer, name varchar(9), ref integer) PARTITION BY LIST (id)"
            " (PARTITION p1 VALUES IN (1))"
        )
        change = ["ALTER TABLE p ADD PARTITION (PARTITION p2 VALUES IN (2))", "INSERT INTO p VALUES (2, 'two', 1)"]
    reading = world.reading("p")
    elsewhere(other_process, *change)
    reading.assert_fresh()
    if ENGINE == "postgresql":
        reading = world.reading("p")
        execute("UPDATE p1 SET name = 'new'")
        reading.assert_fresh()


@only_postgresql
def test_a_function_that_is_replaced(world, other_process):
    world.make(*_trigger("UPDATE c SET name = 'by a trigger'"))
    b, c = world.reading("b"), world.reading("c")
    elsewhere(
        other_process,
        "CREATE OR REPLACE FUNCTION react() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN UPDATE b SET name = 'by a trigger'; RETURN NULL; END $$",
    )
    c.read()
    execute("UPDATE a SET name = 'new'")

    b.assert_fresh()
    c.assert_fresh(changed=False)


def test_a_transaction_that_was_planned_before_the_change(world, other_process):
    """The write runs before the trigger is there; the commit comes after it, and the next write has the trigger."""
    reading = world.reading("b")
    if ENGINE == "postgresql":
        # Another table's: a trigger on ``a`` would wait for this transaction.
        statements = [one.replace("ON a ", "ON d ") for one in _trigger()]
        with transaction.atomic():
            execute("UPDATE a SET name = 'new'")
            elsewhere(other_process, *statements)
            execute("UPDATE d SET name = 'new'")
    else:
        execute("UPDATE a SET name = 'new'")
        elsewhere(other_process, *_trigger())
        execute("UPDATE a SET name = 'newer'")

    reading.assert_fresh()


# By this one -------------------------------------------------------------------------------


def test_a_migration(world):
    """Django's own operations, in the transaction that it runs them in."""
    from django.db import migrations
    from django.db.migrations.state import ProjectState

    part = migrations.CreateModel(
        "Part", [("id", models.BigAutoField(primary_key=True)), ("name", models.CharField(max_length=9))]
    )
    operations = [
        part,
        migrations.AddField("Part", "ref", models.IntegerField(default=3)),
        migrations.RunSQL("INSERT INTO parts_part (name, ref) VALUES ('one', 4)"),
        migrations.RenameField("Part", "ref", "number"),
        migrations.AddField("Part", "ref", models.IntegerField(default=5)),
        migrations.AlterModelTable("Part", "renamed_parts"),
    ]
    migration = migrations.Migration("0001", "parts")
    state = ProjectState()
    for operation in operations:
        migration.operations = [operation]
        with connection.schema_editor(atomic=connection.features.can_rollback_ddl) as editor:
            state = migration.apply(state, editor)
        table = "renamed_parts" if operation is operations[-1] else "parts_part"
        if operation not in (part, operations[3]):
            reading = world.reading(table)
    assert reading.before == [(1, "one", 5)]
    execute("UPDATE renamed_parts SET ref = 6")

    reading.assert_fresh()


@pytest.mark.parametrize(
    "change",
    [
        ["ALTER TABLE a RENAME TO old_a", "CREATE TABLE a (id integer, name varchar(9), ref integer)"],
        ["DROP TABLE a", "CREATE TABLE a (id integer, name varchar(9), ref integer)"],
        ["DROP TABLE a", "CREATE VIEW a AS SELECT id, ref AS name, ref FROM b"],
        ["DROP TABLE a", "CREATE TABLE a AS SELECT id, ref AS name, ref FROM b"],
    ],
)
def test_another_relation_of_the_name(world, change):
    reading = world.reading("a")
    for statement in change:
        execute(statement)
    reading.assert_fresh()

    reading = world.reading("a")
    execute("INSERT INTO b VALUES (9, 'nine', 9)" if "VIEW" in change[-1] else "INSERT INTO a VALUES (9, '9', 9)")
    reading.assert_fresh()


@only_postgresql
def test_a_table_that_moves_to_another_schema(world):
    reading = world.reading("a")
    world.make("CREATE SCHEMA elsewhere", "ALTER TABLE a SET SCHEMA elsewhere", "ALTER TABLE b RENAME TO a")
    reading.before = reading.read()
    moved = world.reading('elsewhere"."a')

    world.check("UPDATE elsewhere.a SET name = 'new'", changed='elsewhere"."a', kept="c")
    moved.assert_fresh()
    world.make("ALTER SCHEMA elsewhere RENAME TO other")
    world.check("UPDATE other.a SET name = 'newer'", changed='other"."a', kept="c")


@only_postgresql
@pytest.mark.parametrize(
    "change",
    [
        "CREATE RULE own AS ON UPDATE TO a DO ALSO UPDATE b SET name = 'by a rule'",
        "CREATE OR REPLACE FUNCTION f() RETURNS integer LANGUAGE sql AS $$ UPDATE b SET name = 'x'; SELECT 1 $$",
        "ALTER TABLE a ALTER ref SET DEFAULT f()",
        "CREATE TRIGGER react AFTER UPDATE ON a FOR EACH ROW EXECUTE FUNCTION react()",
    ],
)
def test_what_is_added_reaches_what_it_did_not_before(world, change):
    world.make(
        "CREATE FUNCTION f() RETURNS integer LANGUAGE sql AS $$ SELECT 1 $$",
        "CREATE FUNCTION react() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN UPDATE b SET name = 'by a trigger'; RETURN NULL; END $$",
    )
    write = "SELECT f()" if "f()" in change else "UPDATE a SET name = 'new'"
    if "DEFAULT" in change:
        world.make("CREATE OR REPLACE FUNCTION f() RETURNS integer LANGUAGE sql AS $$ DELETE FROM b; SELECT 1 $$")
        write = "INSERT INTO a (id) VALUES (3)"
        world.check("UPDATE a SET name = 'newer'", changed="a", kept="b c")
    else:
        world.check(write, kept="b c")
    world.make(change)

    world.check(write, changed="b", kept="c")


@only_postgresql
@pytest.mark.parametrize(
    "statement",
    [
        "COMMENT ON TABLE a IS 'of no matter'",
        "CREATE INDEX ON a (name)",
        "CREATE INDEX CONCURRENTLY ON a (name)",
        "ALTER SEQUENCE s RESTART WITH 7",
        "GRANT SELECT ON a TO PUBLIC",
        "REVOKE ALL ON a FROM PUBLIC",
        "ALTER TABLE a ENABLE ROW LEVEL SECURITY",
        "ANALYZE a",
        "VACUUM a",
        "CREATE STATISTICS st ON name, ref FROM a",
        "CLUSTER a USING a_pkey",
        "REINDEX TABLE a",
    ],
)
def test_whatever_is_changed_answers_stay_right(world, statement):
    world.make("CREATE SEQUENCE s")
    reading = world.reading("a")
    execute(statement)

    reading.assert_fresh(changed=False)
    world.check("UPDATE a SET name = 'new'", changed="a", kept="b")


@not_on_mysql
def test_a_trigger_that_is_taken_back(world):
    """Made in a transaction that is rolled back: it is known inside, and not any more afterwards."""
    reading = world.reading("b")
    with transaction.atomic():
        for statement in _trigger():
            execute(statement)
        execute("UPDATE a SET name = 'new'")
        assert [name for _, name, _ in reading.read()] == ["by a trigger"] * 2
        transaction.set_rollback(True)
    reading.assert_hit()

    world.check("UPDATE a SET name = 'new'", changed="a", kept="b")


# In a row ------------------------------------------------------------------------------------


@pytest.fixture
def loads(monkeypatch):
    """The times that the catalog was read."""
    read: list[int] = []
    real = CatalogCache.load

    def load(self, *args, **options):
        read.append(1)
        real(self, *args, **options)

    monkeypatch.setattr(CatalogCache, "load", load)
    return read


def test_a_row_of_schema_changes_reads_the_catalog_once(world, loads):
    """A migration is one. Nothing that they are about is needed before something is read or written."""
    list(Genre.objects.all())
    del loads[:]
    for number in range(3):
        execute(f"CREATE INDEX more{number} ON a (name)")
        execute(f"ALTER TABLE b ADD COLUMN more{number} integer")
    assert loads == []
    list(Genre.objects.all())
    assert loads == [1]


@not_on_sqlite
def test_a_schema_change_with_a_query_in_it_needs_the_catalog_of_now(world, loads):
    execute("CREATE INDEX more ON a (name)")
    del loads[:]
    world.make("CREATE VIEW v AS SELECT * FROM a")
    assert loads == [1]


@only_sqlite
def test_writes_right_after_a_change_leave_the_session_known(ddl, queries):
    execute("CREATE TABLE shop_new (id int)")  # as migrations do, in the same process
    with transaction.atomic():
        Author.objects.create(name="A")
        Author.objects.bulk_create([Author(name="B"), Author(name="C")])
    execute("DROP TABLE shop_new")
    list(Author.objects.all())
    with queries(0):
        assert len(Author.objects.all()) == 3
