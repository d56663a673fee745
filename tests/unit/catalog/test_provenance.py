"""Why a relation is in a plan: beside each that the plan has stands a cause, and beside no other."""

from __future__ import annotations

import pytest

from ormcache.catalog import EPOCH, SCHEMA, Catalog, ResolutionContext, Resolver
from ormcache.catalog import provenance as c
from ormcache.catalog.facts import Code, Facts, Function, Relation
from ormcache.catalog.provenance import Cause, causes_of_reading, causes_of_writing
from ormcache.database.catalog_parts import CatalogPart
from ormcache.sql import VENDORS, analyse
from tests import corpus


def scope_of(vendor: str = "postgresql", tables: str = "a b c d", **facts) -> Resolver:
    relations = [Relation(name, "public", name) for name in [*tables.split(), *facts.get("views", ())]]
    return Catalog(vendor, Facts(relations, **facts)).resolver_for(ResolutionContext(("public",), "somebody"))


def reading(sql: str, **facts) -> dict[str, Cause]:
    return causes_of_reading(scope_of(**facts), analyse(sql, "postgresql"))


def writing(sql: str, **facts) -> dict[str, Cause]:
    return causes_of_writing(scope_of(**facts), analyse(sql, "postgresql"))


@pytest.mark.parametrize("vendor", VENDORS)
def test_causes_are_those_of_the_plan(vendor):
    catalog = Catalog(vendor, corpus.facts(vendor))
    scope = catalog.resolver_for(ResolutionContext(("public",) if vendor == "postgresql" else None, "somebody"))
    planner = corpus.planner(vendor)
    for row in corpus.rows():
        if row.vendor == vendor:
            statement = analyse(row.sql, vendor)
            plan = planner.plan(statement, CatalogPart(catalog), scope)

            assert causes_of_reading(scope, statement).keys() == plan.relations, row.sql
            assert causes_of_writing(scope, statement).keys() == plan.written, row.sql


def test_reading():
    views = {"v": "SELECT * FROM a", "w": "SELECT * FROM v, c"}

    assert reading("SELECT x.b, b FROM w x", views=views) == {
        "w": Cause(c.NAMED),
        "b": Cause(c.WORD),
        "v": Cause(c.VIEW, "w"),
        "c": Cause(c.VIEW, "w"),
        "a": Cause(c.VIEW, "v"),
    }


def test_reading_a_table_with_a_policy():
    found = reading("SELECT 1 FROM a", policies=[("a", "EXISTS (SELECT 1 FROM b)")])

    assert found == {"a": Cause(c.NAMED), "b": Cause(c.POLICY, "a")}


def test_a_view_and_its_policy_are_told_apart():
    found = reading("SELECT 1 FROM v", views={"v": "SELECT 1 FROM a"}, policies=[("v", "EXISTS (SELECT 1 FROM b)")])

    assert found == {"v": Cause(c.NAMED), "a": Cause(c.VIEW, "v"), "b": Cause(c.POLICY, "v")}


def test_writing():
    trigger = Code("INSERT INTO d VALUES (1)", origin="the trigger t")
    found = writing("DELETE FROM a", reaches=[("a", "b")], inherits=[("a", "c")], bodies=[("b", trigger)])

    assert found == {
        "a": Cause(c.NAMED),
        "b": Cause(c.FOREIGN_KEY, "a"),
        "c": Cause(c.PARTITION, "a"),
        "d": Cause(c.CODE, "b", "the trigger t"),
    }


def test_writing_to_a_partition():
    found = writing("DELETE FROM b", inherits=[("a", "b"), ("a", "c")])

    assert found == {"b": Cause(c.NAMED), "a": Cause(c.PARENT, "b")}


def test_writing_through_a_view():
    assert writing("DELETE FROM v", views={"v": "SELECT * FROM a"}) == {"v": Cause(c.NAMED), "a": Cause(c.VIEW, "v")}


def test_a_function_that_writes():
    functions = [Function("f", "v", Code("UPDATE b SET x = 1"))]

    assert writing("SELECT f()", functions=functions) == {"b": Cause(c.FUNCTION, "f")}
    assert writing("SELECT 1 FROM v", functions=functions, views={"v": "SELECT f()"}) == {"b": Cause(c.READ_CODE)}


@pytest.mark.parametrize(
    "sql, found",
    [
        ("CREATE TABLE e (x int)", {EPOCH: Cause(c.STATEMENT), SCHEMA: Cause(c.STATEMENT)}),
        ("DO $$ BEGIN END $$", {EPOCH: Cause(c.STATEMENT), SCHEMA: Cause(c.STATEMENT)}),
        ("TRUNCATE a CASCADE", {EPOCH: Cause(c.STATEMENT)}),
        ("DELETE FROM what", {EPOCH: Cause(c.UNKNOWN, "what")}),
        ("DELETE FROM s.what", {EPOCH: Cause(c.UNKNOWN, "s.what")}),
        ("SELECT 1 FROM a", {}),
    ],
)
def test_writing_anything(sql, found):
    assert writing(sql) == found


def test_another_database():
    scope = scope_of("mysql", other_databases={"blog": ["blog"]})
    found = causes_of_writing(scope, analyse("DELETE FROM blog.what", "mysql"))

    assert found[EPOCH] == Cause(c.UNKNOWN, "blog.what")
    assert {cause.kind for cause in found.values()} == {c.UNKNOWN, c.ELSEWHERE}
