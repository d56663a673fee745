"""Which statements can be planned by a catalog that is out of date."""

from __future__ import annotations

import pytest

from ormcache.database.plans import needs_catalog, only_sets
from ormcache.sql import analyse

P, M, S = "postgresql", "mysql", "sqlite"


@pytest.mark.parametrize(
    "vendor, text",
    [
        (P, 'CREATE TABLE "a" ("id" bigint NOT NULL PRIMARY KEY, "at" timestamp with time zone NOT NULL)'),
        (P, 'ALTER TABLE "a" ADD CONSTRAINT "c" FOREIGN KEY ("b_id") REFERENCES "b" ("id") DEFERRABLE'),
        (P, "DROP TABLE s.a CASCADE"),
        (M, "CREATE INDEX `i` ON `a` (`x`)"),
        (M, "SHOW FULL TABLES"),
        (M, "SELECT engine FROM information_schema.tables WHERE table_schema = database()"),
        (S, 'CREATE UNIQUE INDEX "i" ON "a" ("x")'),
        (P, "LISTEN a"),
    ],
)
def test_an_old_catalog_is_good_enough(vendor, text):
    assert not needs_catalog(text, analyse(text, vendor), vendor, is_divided=False)


@pytest.mark.parametrize(
    "vendor, text",
    [
        (P, "CREATE TABLE a AS SELECT f()"),
        (P, "CREATE TABLE a AS TABLE v"),
        (P, "CREATE MATERIALIZED VIEW m AS\nselect * FROM v"),
        (M, "ALTER TABLE other.a ADD x integer"),
        (M, "CREATE TABLE `other`.`a` (x integer)"),
        (P, "COPY v TO STDOUT"),
        (P, "EXPLAIN ANALYZE SELECT * FROM v"),
        (P, "DECLARE c CURSOR FOR SELECT * FROM v"),
        (M, "DO f()"),
        (P, "SELECT 1"),
        (P, "SELECT f() FROM information_schema.tables"),
        (P, "SELECT * FROM information_schema.tables, v"),
        (P, "INSERT INTO a VALUES (1)"),
        (P, "CALL p()"),
        (P, "SET x = 1"),
    ],
)
def test_the_catalog_of_now_is_needed(vendor, text):
    assert needs_catalog(text, analyse(text, vendor), vendor, is_divided=False)


@pytest.mark.parametrize(
    "text",
    ["SET search_path = 'one','public'", "set local app.x to 1;", "RESET ALL", "SET ROLE a", " SET TIME ZONE 'x'"],
)
def test_what_only_sets(text):
    assert only_sets(text, analyse(text, "postgresql"), "postgresql")


@pytest.mark.parametrize(
    "text",
    [
        "SET app.x = 1; SELECT * FROM a",
        "SET app.x = 1; UPDATE a SET b = 1",
        "SELECT set_config('app.x', '1', false)",
        "CREATE TEMPORARY TABLE a (b int)",
        "SET CONSTRAINTS ALL IMMEDIATE; ALTER TABLE a ADD b int",
        "DISCARD ALL",
        "UPDATE a SET b = 1",
        "BEGIN",
    ],
)
def test_what_does_more_than_set(text):
    assert not only_sets(text, analyse(text, "postgresql"), "postgresql")


def test_what_mysql_sets_may_be_the_answer_of_a_function():
    text = "SET @x = f()"
    assert not only_sets(text, analyse(text, "mysql"), "mysql")
