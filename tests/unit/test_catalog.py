"""What the facts of a database mean for reading and for writing."""

from __future__ import annotations

import pytest

from ormcache import reasons
from ormcache.catalog import EPOCH, SCHEMA, Catalog, Scope
from ormcache.catalog.facts import Code, Facts, Function, Relation
from ormcache.sql import VENDORS, analyse


def catalog(vendor: str = "postgresql", tables: str = "a b c d", **facts) -> Scope:
    """As seen without a search path. ``functions``: name → volatility, or volatility and bodies."""
    relations = [Relation(name, "public", name.lower()) for name in [*tables.split(), *facts.get("views", ())]]
    facts["functions"] = [
        Function(name, volatility[0], Code(body, reads=volatility[0] != "v"))
        for name, (*volatility, bodies) in facts.get("functions", {}).items()
        for body in bodies
    ]
    facts["bodies"] = [(relation, Code(body)) for relation, body in facts.get("bodies", ())]
    return Catalog(vendor, Facts(relations, **facts)).seen_from()


def unlisted(relation: str) -> bool:
    return False


def test_names():
    two = Catalog(
        "postgresql",
        Facts(
            [
                Relation("a", "public", "a"),
                Relation("s.a", "s", "a"),
                Relation("B", "public", "b"),
                Relation("b", "public", "b"),
            ]
        ),
    ).seen_from()

    assert two.named({"a", "b", "what"}) == {"a", "s.a", "B", "b"}
    assert two.find((None, "a")) == ["a", "s.a"]
    assert two.find(("s", "a")) == ["s.a"]
    assert two.find(("what", "a")) == []
    assert two.find((None, "what")) == []


def test_what_a_view_reads():
    views = {"v": "SELECT * FROM a JOIN b ON true", "w": "SELECT * FROM v, c", "x": "SELECT * FROM w"}
    found = catalog(views=views)

    assert found.read({"x"}) == {"x", "w", "v", "a", "b", "c"}
    assert found.read({"v"}) == {"v", "a", "b"}
    assert found.written({"w"}) == {"w", "v", "a", "b", "c"}
    assert found.obstacle({"x", "a"}, unlisted) is None


def test_views_in_a_circle_end():
    found = catalog(views={"v": "SELECT * FROM w", "w": "SELECT * FROM v, a"})

    assert found.read({"v"}) == {"v", "w", "a"}


@pytest.mark.parametrize(
    "text, obstacle",
    [
        ("SELECT now() FROM a", reasons.CLOCK),
        ("SELECT random() FROM a", reasons.RANDOM),
        ("SELECT what() FROM a", reasons.FUNCTION),
        ("SELECT * FROM unknown", reasons.UNKNOWN_RELATION),
        ("what is this", reasons.NOT_UNDERSTOOD),
        (None, reasons.NOT_UNDERSTOOD),
        ("SELECT * FROM a", None),
    ],
)
def test_what_keeps_a_view_out(text, obstacle):
    found = catalog(views={"v": text, "w": "SELECT * FROM v"})

    assert found.obstacle({"v"}, unlisted) == obstacle
    assert found.obstacle(found.read({"w"}), unlisted) == obstacle
    assert found.obstacle({"a"}, unlisted) is None


def test_an_obstacle_below_a_view():
    relations = [Relation("a", None, "a", reasons.UNLOGGED), Relation("v", None, "v")]
    found = Catalog("postgresql", Facts(relations, views={"v": "SELECT * FROM a"})).seen_from()

    assert found.obstacle(found.read({"v"}), unlisted) == reasons.UNLOGGED


def test_what_a_write_reaches():
    found = catalog(reaches=[("a", "b"), ("b", "c"), ("c", "a")], bodies=[("d", "UPDATE a SET x = 1")])

    assert found.written({"a"}) == {"a", "b", "c"}
    assert found.written({"d"}) == {"a", "b", "c", "d"}
    assert found.written({EPOCH}) == {EPOCH}
    assert found.written(set()) == set()


@pytest.mark.parametrize(
    "body, reached",
    [
        ("BEGIN INSERT INTO b VALUES (1); END", {"b"}),
        ('BEGIN UPDATE "B" SET x = 1; END', {"b"}),
        ("BEGIN EXECUTE 'UPDATE b'; END", {EPOCH, SCHEMA}),
        ("BEGIN execute format('x'); END", {EPOCH, SCHEMA}),
        ("BEGIN CREATE TABLE x (); END", {EPOCH, SCHEMA}),
        ("BEGIN 'no end", {EPOCH, SCHEMA}),
        (None, {EPOCH, SCHEMA}),
        ("BEGIN PERFORM f(); END", {"c"}),
        ("BEGIN PERFORM g(); END", {"c", "d"}),
        ("BEGIN PERFORM opaque(); END", {EPOCH, SCHEMA}),
        ("BEGIN PERFORM query_to_xml('DELETE FROM b', true, true, ''); END", {EPOCH, SCHEMA}),
        ("BEGIN PERFORM pure(); END", set()),
        ("BEGIN PERFORM stable(); END", {"c"}),
        ("BEGIN -- b\n END", set()),
        ("BEGIN PERFORM 'b'; END", set()),
    ],
)
def test_what_the_code_of_a_trigger_reaches(body, reached):
    found = catalog(
        bodies=[("a", body)],
        functions={
            "f": ("v", ["UPDATE c SET x = 1"]),
            "g": ("v", ["SELECT f(); DELETE FROM d; SELECT g()"]),
            "opaque": ("v", [None]),
            "pure": ("i", ["SELECT d"]),
            "stable": ("s", ["SELECT * FROM d; SELECT f()"]),
        },
    )

    assert found.written({"a"}) == {"a"} | reached


def test_functions():
    found = catalog(
        functions={
            "pure": ("i", ["SELECT 1"]),
            "stable": ("s", ["SELECT * FROM a"]),
            "wild": ("v", ["UPDATE a SET x = 1", "UPDATE b SET x = 1"]),
            "lower": ("v", ["SELECT 1"]),
        },
    )

    assert found.obstacle_of_calls({"pure", "count"}) is None
    for call in ("stable", "wild", "lower", "unknown"):
        assert found.obstacle_of_calls({call, "count"}) == reasons.FUNCTION
    assert found.obstacle_of_calls({"now"}) == reasons.CLOCK
    assert found.effects_of_calls({"wild"}) == {"a", "b"}
    assert found.effects_of_calls({"pure", "stable", "count"}) == set()
    assert EPOCH in found.effects_of_calls({"query_to_xml"})


@pytest.mark.parametrize(
    "text, called",
    [
        ("SELECT wild(1)", {"wild"}),
        ('SELECT "wild"(1)', {"wild"}),
        ("SELECT (a).wild FROM a", {"wild"}),
        ("SELECT add(1, 2)", {"add"}),
        ("SELECT x FROM a WHERE x IN (1)", set()),
    ],
)
def test_what_a_statement_calls(text, called):
    found = catalog(functions={"wild": ("v", [""]), "add": ("v", [""])})

    assert found.called(analyse(text, "postgresql")) == called


@pytest.mark.parametrize(
    "body, sets",
    [
        ("SELECT 1", False),
        ("UPDATE a SET x = 1", False),
        ("SET LOCAL x = 1", True),
        ("SELECT set_config('a', 'b', false)", True),
        ("EXECUTE 'x'", True),
        (None, True),
    ],
)
def test_functions_that_change_the_session(body, sets):
    found = catalog(functions={"f": ("v", [body])}, views={"v": "SELECT f()", "w": "SELECT * FROM v"})

    assert found.calls_set_session({"f"}) is sets
    assert found.reading_sets_session({"w"}) is sets
    assert not found.reading_sets_session({"a"})


def test_reading_a_view_can_write():
    found = catalog(
        functions={"f": ("v", ["UPDATE b SET x = 1"])},
        views={"v": "SELECT f() FROM a", "w": "SELECT * FROM v"},
    )

    assert found.effects_of_reading({"w"}) == {"b"}
    assert found.effects_of_reading({"a", "b"}) == set()


@pytest.mark.parametrize("vendor", VENDORS)
def test_an_empty_catalog(vendor):
    found = Catalog(vendor, Facts([])).seen_from()

    assert found.named({"a"}) == set()
    assert found.written({EPOCH, SCHEMA}) == {EPOCH, SCHEMA}
