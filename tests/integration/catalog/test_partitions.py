"""Partitions and inheritance: rows that are rows of several relations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ormcache import reasons
from tests.integration.reading import execute, only_mysql, only_postgresql
from tests.integration.schema import World, made, plan_of


@pytest.fixture
def world(queries: Any) -> Iterator[World]:
    with made(queries) as world:
        yield world


@pytest.fixture
def parts(world: World) -> World:
    """``p`` has ``p1`` and ``p2``, and ``p2`` has ``p21`` and ``p22``."""
    world.make(
        "CREATE TABLE p (id integer, name text, ref integer) PARTITION BY RANGE (id)",
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10)",
        "CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (30) PARTITION BY RANGE (id)",
        "CREATE TABLE p21 PARTITION OF p2 FOR VALUES FROM (10) TO (20)",
        "CREATE TABLE p22 PARTITION OF p2 FOR VALUES FROM (20) TO (30)",
        "INSERT INTO p VALUES (1, 'one', 1), (11, 'eleven', 11), (21, 'twenty-one', 21)",
    )
    return world


@only_postgresql
def test_a_write_to_the_whole_reaches_every_part(parts):
    parts.check("UPDATE p SET name = 'new'", changed="p p1 p2 p21 p22", kept="a")
    parts.check("UPDATE p SET name = 'newer' WHERE id = 1", changed="p p1", stale="p2 p21 p22", kept="a")
    parts.check("UPDATE p SET id = 12 WHERE id = 1", changed="p p1 p2 p21", stale="p22", kept="a")


@only_postgresql
def test_a_write_to_a_part_reaches_what_is_above(parts):
    parts.check("UPDATE p1 SET name = 'new'", changed="p p1", kept="a")
    parts.check("UPDATE p21 SET name = 'new'", changed="p p2 p21", kept="a")
    parts.check("UPDATE p2 SET name = 'newer'", changed="p p2 p21 p22", kept="a")


@only_postgresql
@pytest.mark.parametrize(
    "write, changed, kept",
    [
        ("UPDATE p1 SET name = 'new'", "p p1", "p2 p21 p22"),
        ("UPDATE p21 SET name = 'new'", "p p2 p21", "p1 p22"),
        ("UPDATE p2 SET name = 'new'", "p p2 p21 p22", "p1"),
        ("TRUNCATE p1", "p p1", "p2"),
        ("INSERT INTO p22 VALUES (22, 'x', 22)", "p p2 p22", "p1 p21"),
    ],
)
def test_a_write_to_a_part_does_not_reach_what_is_beside(parts, write, changed, kept):
    parts.check(write, changed=changed, kept=kept)


@only_postgresql
def test_what_hangs_on_a_part(parts):
    """A trigger on the whole is one on each part; what the parts set off is set off by writes to the whole."""
    parts.make(
        "CREATE FUNCTION react() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN UPDATE b SET ref = ref + 1; RETURN NULL; END $$",
        "CREATE TRIGGER react AFTER UPDATE ON p FOR EACH ROW EXECUTE FUNCTION react()",
        "CREATE FUNCTION react_too() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN UPDATE c SET ref = ref + 1; RETURN NULL; END $$",
        "CREATE TRIGGER react_too AFTER UPDATE ON p22 FOR EACH ROW EXECUTE FUNCTION react_too()",
    )

    parts.check("UPDATE p1 SET name = 'new'", changed="p p1 b", stale="c", kept="d")
    parts.check("UPDATE p SET name = 'newer'", changed="p p1 p22 b c", kept="a")


@only_postgresql
def test_cascades_to_and_from_partitions(parts):
    parts.make(
        "ALTER TABLE p ADD PRIMARY KEY (id)",
        "UPDATE a SET ref = 1",
        "ALTER TABLE a ADD FOREIGN KEY (ref) REFERENCES p ON DELETE SET NULL",
        "INSERT INTO b VALUES (11, 'eleven', 1), (21, 'twenty-one', 1)",
        "ALTER TABLE p ADD FOREIGN KEY (ref) REFERENCES b ON DELETE CASCADE",
    )

    parts.check("DELETE FROM p WHERE id = 1", changed="p p1 a", kept="b c")
    parts.check("DELETE FROM b WHERE id = 21", changed="b p p2 p22", stale="p1 p21", kept="c")


@only_postgresql
def test_attach_and_detach(parts):
    parts.make("CREATE TABLE p3 (id integer, name text, ref integer)", "INSERT INTO p3 VALUES (31, 'x', 31)")
    whole = parts.reading("p")
    execute("ALTER TABLE p ATTACH PARTITION p3 FOR VALUES FROM (30) TO (40)")
    whole.assert_fresh()
    parts.check("UPDATE p3 SET name = 'new'", changed="p p3", kept="a")

    whole = parts.reading("p")
    execute("ALTER TABLE p DETACH PARTITION p3")
    whole.assert_fresh()
    parts.check("UPDATE p3 SET name = 'newer'", changed="p3", kept="p p1 a")

    whole = parts.reading("p")
    execute("ALTER TABLE p DETACH PARTITION p1 CONCURRENTLY")
    whole.assert_fresh()
    parts.check("UPDATE p1 SET name = 'newer'", changed="p1", kept="p p2 a")


@only_postgresql
@pytest.mark.parametrize(
    "write", ["TRUNCATE p", "TRUNCATE ONLY p1", "TRUNCATE p, a", "TRUNCATE TABLE p1 RESTART IDENTITY"]
)
def test_truncate(parts, write):
    parts.check(write, changed="p p1", kept="b")


@only_postgresql
def test_copy_into_partitions(parts):
    readings = [parts.reading(name) for name in ("p", "p1")]
    kept = parts.reading("a")
    execute("COPY p FROM PROGRAM 'printf \"2\\\\ttwo\\\\t2\\\\n\"'")
    for reading in readings:
        reading.assert_fresh()
    kept.assert_hit()


@only_postgresql
def test_a_default_partition(parts):
    parts.make("CREATE TABLE rest PARTITION OF p DEFAULT")

    parts.check("INSERT INTO p VALUES (99, 'x', 99)", changed="p rest", stale="p1", kept="a")
    parts.check("DELETE FROM rest", changed="p rest", kept="a")


@only_postgresql
def test_a_partition_in_another_schema(parts):
    parts.make("CREATE SCHEMA elsewhere", "CREATE TABLE elsewhere.p4 PARTITION OF p FOR VALUES FROM (40) TO (50)")

    parts.check("INSERT INTO p VALUES (41, 'x', 41)", changed='p elsewhere"."p4', kept="a")
    parts.check("DELETE FROM elsewhere.p4", changed='p elsewhere"."p4', kept="a")


@only_postgresql
@pytest.mark.parametrize(
    "part, reason",
    [
        ("CREATE UNLOGGED TABLE p4 PARTITION OF p FOR VALUES FROM (40) TO (50)", reasons.UNLOGGED),
        ("CREATE FOREIGN TABLE p4 PARTITION OF p2 DEFAULT SERVER nowhere", reasons.FOREIGN_TABLE),
    ],
)
def test_a_part_that_is_not_cached_keeps_the_whole_out(parts, part, reason):
    parts.make("CREATE FOREIGN DATA WRAPPER nothing", "CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing", part)
    plan = plan_of("SELECT * FROM p")
    assert plan.bypass_reason == reason
    parts.check("UPDATE p1 SET name = 'new'", changed="p1", kept="a")


# Inheritance ---------------------------------------------------------------------------


@pytest.fixture
def heirs(world: World) -> World:
    """``h1`` and ``h2`` inherit from ``a``, ``h12`` from both of them."""
    world.make(
        "CREATE TABLE h1 () INHERITS (a)",
        "CREATE TABLE h2 () INHERITS (a)",
        "CREATE TABLE h12 () INHERITS (h1, h2)",
        *(f"INSERT INTO {name} VALUES ({number}, 'x', 1)" for number, name in enumerate(("h1", "h2", "h12"), 10)),
    )
    return world


@only_postgresql
def test_heirs(heirs):
    heirs.check("UPDATE a SET name = 'new'", changed="a h1 h2 h12", kept="b")
    heirs.check("UPDATE h1 SET name = 'newer'", changed="a h1 h12 h2", kept="b")
    heirs.check("INSERT INTO h1 VALUES (20, 'y', 1)", changed="a h1", stale="h12 h2", kept="b")
    heirs.check("UPDATE h12 SET name = 'newest'", changed="a h1 h2 h12", kept="b")


@only_postgresql
def test_only(heirs):
    """A write to one table alone counts as one to its heirs, a read of it as one of them. That costs hits alone."""
    heirs.check("UPDATE ONLY a SET name = 'new'", changed="a", stale="h1 h2 h12", kept="b")
    heirs.make("CREATE VIEW v AS SELECT * FROM ONLY a")
    heirs.check("UPDATE ONLY a SET name = 'newer'", changed="v", kept="b")
    heirs.check("UPDATE h2 SET name = 'newer'", changed="h2", stale="v", kept="b")


@only_postgresql
def test_heirs_that_come_and_go(heirs):
    heirs.check("UPDATE h2 SET name = 'new'", changed="a h2", stale="h12", kept="b")
    heirs.make("ALTER TABLE h12 NO INHERIT h2")
    heirs.check("UPDATE h2 SET name = 'newer'", changed="a h2", kept="b")
    heirs.make("ALTER TABLE h2 NO INHERIT a")
    heirs.check("UPDATE h2 SET name = 'newest'", changed="h2", kept="a b h1")
    heirs.make("ALTER TABLE b INHERIT a")
    heirs.check("UPDATE b SET name = 'newest'", changed="a b", kept="c h2")


# MySQL ---------------------------------------------------------------------------------


@only_mysql
def test_partitions_of_mysql(world):
    world.make(
        "CREATE TABLE p (id integer, name varchar(50), ref integer) PARTITION BY RANGE (id)"
        " (PARTITION p1 VALUES LESS THAN (10), PARTITION p2 VALUES LESS THAN (20))",
        "INSERT INTO p VALUES (1, 'one', 1), (11, 'eleven', 11)",
        "CREATE TABLE twin (id integer, name varchar(50), ref integer)",
        "INSERT INTO twin VALUES (2, 'two', 2)",
    )

    world.check("UPDATE p SET name = 'new'", changed="p", kept="a twin")
    world.check("UPDATE p PARTITION (p1) SET name = 'newer'", changed="p", kept="a twin")
    world.check("DELETE FROM p PARTITION (p2)", changed="p", kept="a twin")
    for change in (
        "ALTER TABLE p EXCHANGE PARTITION p1 WITH TABLE twin",
        "ALTER TABLE p TRUNCATE PARTITION p1",
    ):
        readings = [world.reading("p"), world.reading("twin")]
        execute(change)
        readings[0].assert_fresh()
        readings[1].assert_fresh(changed="EXCHANGE" in change)
    execute("INSERT INTO p VALUES (3, 'x', 3)")
    whole = world.reading("p")
    execute("ALTER TABLE p DROP PARTITION p1")
    whole.assert_fresh()
