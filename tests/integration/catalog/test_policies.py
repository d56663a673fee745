"""Row level security: what decides which rows a query of a table shows, and which a write may change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, connections

from ormcache import reasons
from tests.integration.reading import execute, only_postgresql, rows_of
from tests.integration.schema import World, made, plan_of, row_model

pytestmark = only_postgresql


@pytest.fixture
def world(queries: Any) -> Iterator[World]:
    """All connections are those of a role that policies hold for."""
    with made(queries) as world:
        world.make(
            "CREATE ROLE reader",
            *(f"GRANT ALL ON {table} TO reader" for table in "abcd"),
        )
        yield world


class Guarded:
    """Reads and writes as the role ``reader``."""

    def __init__(self, world: World) -> None:
        self._world = world

    def read(self, table: str, using: str = "default") -> list[Any]:
        connections[using].close()
        execute("SET ROLE reader", using=using)
        return rows_of(row_model(table))(using)

    def hit(self, table: str) -> list[Any]:
        connection.close()
        execute("SET ROLE reader")
        with self._world.queries(0):
            return rows_of(row_model(table))("default")

    def check(self, write: str, *, changed: str = "", kept: str = "", as_reader: bool = False) -> None:
        before = {table: self.read(table) for table in f"{changed} {kept}".split()}
        for table, rows in before.items():
            assert self.hit(table) == rows
        connection.close()
        if as_reader:
            execute("SET ROLE reader")
        execute(write)
        for table in changed.split():
            after = self.read(table)
            assert after == self.read(table, "plain")
            assert after != before[table]
        for table in kept.split():
            assert self.hit(table) == before[table] == self.read(table, "plain")


@pytest.fixture
def guarded(world: World) -> Guarded:
    return Guarded(world)


def policy(world: World, using: str, table: str = "a", tail: str = "") -> None:
    world.make(
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
        f"CREATE POLICY own_{table} ON {table} USING ({using}){tail}",
    )


def test_a_policy_that_names_another_table(world, guarded):
    policy(world, "id IN (SELECT ref FROM b WHERE name = 'one')")

    guarded.check("UPDATE b SET name = 'one'", changed="a b", kept="c d")
    guarded.check("UPDATE c SET name = 'unrelated'", changed="c", kept="a b d")


def test_a_policy_that_names_a_table_with_a_policy(world, guarded):
    policy(world, "id IN (SELECT id FROM b)")
    policy(world, "id IN (SELECT id FROM c)", table="b")

    guarded.check("DELETE FROM c WHERE id = 1", changed="a b c", kept="d")


def test_a_policy_that_names_a_view(world, guarded):
    world.make("CREATE VIEW v AS SELECT ref FROM b WHERE name = 'one'", "GRANT ALL ON v TO reader")
    policy(world, "id IN (SELECT ref FROM v)")

    guarded.check("UPDATE b SET name = 'one'", changed="a b", kept="c d")


def test_a_view_over_a_table_with_a_policy(world, guarded):
    policy(world, "id IN (SELECT id FROM c)", table="b")
    world.make(
        "CREATE VIEW v WITH (security_invoker = true) AS SELECT * FROM b"
        if connection.pg_version >= 150000
        else "CREATE VIEW v AS SELECT * FROM b",
        "GRANT ALL ON v TO reader",
        "ALTER VIEW v OWNER TO reader",
    )

    guarded.check("DELETE FROM c WHERE id = 1", changed="v c", kept="a d")


def test_switched_on_and_off(world, guarded):
    policy(world, "id = 1")
    assert len(guarded.read("a")) == 1
    assert guarded.hit("a") == guarded.read("a", "plain")
    world.make("ALTER TABLE a DISABLE ROW LEVEL SECURITY")
    assert len(guarded.read("a")) == 2
    world.make("ALTER TABLE a ENABLE ROW LEVEL SECURITY")
    assert len(guarded.read("a")) == 1
    world.make("ALTER POLICY own_a ON a USING (id = 2)")
    assert [key for key, *_ in guarded.read("a")] == [2]
    world.make("CREATE POLICY more ON a USING (true)")
    assert len(guarded.read("a")) == 2
    world.make("DROP POLICY more ON a", "DROP POLICY own_a ON a")
    assert guarded.read("a") == []


@pytest.mark.parametrize(
    "condition, reason",
    [
        ("now() > '2020-01-01'::timestamptz", reasons.CLOCK),
        ("CURRENT_DATE > '2020-01-01'::date", reasons.CLOCK),
        ("random() >= 0", reasons.RANDOM),
        ("looks()", reasons.FUNCTION),
        ("id IN (SELECT id FROM v)", reasons.CLOCK),
        ("pg_backend_pid() > 0", reasons.SESSION_FUNCTION),
        ("name <> current_user", None),
        ("name <> current_setting('app.tenant', true)", None),
        ("id = ANY (ARRAY[1, 2])", None),
        ("pure(id) > 0", None),
    ],
)
def test_what_a_policy_asks(world, condition, reason):
    world.make(
        "CREATE FUNCTION looks() RETURNS boolean STABLE LANGUAGE sql AS $$ SELECT EXISTS (SELECT FROM b) $$",
        "CREATE FUNCTION pure(n integer) RETURNS integer IMMUTABLE LANGUAGE sql AS $$ SELECT n + 1 $$",
        "CREATE VIEW v AS SELECT id FROM b WHERE now() > '2020-01-01'::timestamptz",
    )
    policy(world, condition)

    assert plan_of("SELECT id FROM a").bypass_reason == reason
    assert plan_of("SELECT id FROM b").bypass_reason is None


@pytest.mark.parametrize(
    "clauses",
    [
        "USING (change_b() > 0)",
        "USING (true) WITH CHECK (change_b() > 0)",
        "FOR UPDATE USING (id IN (SELECT id + change_b() - 1 FROM d))",
        "FOR UPDATE USING (EXISTS (SELECT FROM v WHERE n > 0))",
        "FOR UPDATE USING (true) WITH CHECK ((SELECT sum(n) FROM v) > 0)",
        "FOR UPDATE USING (id @! 1)",
    ],
)
def test_a_policy_that_writes(world, guarded, clauses):
    world.make(
        "CREATE FUNCTION change_b() RETURNS integer LANGUAGE sql SECURITY DEFINER AS"
        " $$ UPDATE public.b SET ref = ref + 1; SELECT 1 $$",
        "CREATE FUNCTION compare(n integer, m integer) RETURNS boolean LANGUAGE sql AS $$ SELECT change_b() > 0 $$",
        "CREATE OPERATOR @! (FUNCTION = compare, LEFTARG = integer, RIGHTARG = integer)",
        "CREATE VIEW v AS SELECT change_b() AS n FROM d",
        "GRANT ALL ON v TO reader",
        "ALTER TABLE a ENABLE ROW LEVEL SECURITY",
        f"CREATE POLICY own ON a {clauses}",
        *(["CREATE POLICY seen ON a FOR SELECT USING (true)"] if "FOR UPDATE" in clauses else []),
    )

    guarded.check("UPDATE a SET name = 'new'", changed="b", kept="c d", as_reader=True)
    if clauses.startswith("USING (change_b"):
        guarded.check("SELECT id FROM a", changed="b", kept="c d", as_reader=True)
        guarded.check("SELECT 1 FROM c WHERE id IN (SELECT id FROM a)", changed="b", kept="c d", as_reader=True)


def test_a_function_that_reads_a_table_whose_policy_writes(world, guarded):
    world.make(
        "CREATE FUNCTION change_b() RETURNS integer LANGUAGE sql SECURITY DEFINER AS"
        " $$ UPDATE public.b SET ref = ref + 1; SELECT 1 $$",
        "CREATE FUNCTION look() RETURNS bigint STABLE LANGUAGE plpgsql AS"
        " $$ BEGIN RETURN (SELECT count(*) FROM a); END $$",
    )
    policy(world, "change_b() > 0")

    guarded.check("SELECT look()", changed="b", kept="c d", as_reader=True)


def test_what_a_role_may_see_is_its_own(world, guarded):
    """GRANT and REVOKE change what a query answers: an error or rows."""
    assert len(guarded.read("a")) == 2
    guarded.hit("a")
    world.make("REVOKE SELECT ON a FROM reader")
    with pytest.raises(Exception, match="permission denied"):
        guarded.read("a")
    world.make("GRANT SELECT ON a TO reader")
    assert len(guarded.read("a")) == 2
