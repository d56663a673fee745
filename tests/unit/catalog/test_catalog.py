"""What the facts of a database mean for reading and for writing."""

from __future__ import annotations

import pytest

from ormcache import reasons
from ormcache.catalog import EPOCH, SCHEMA, Catalog, ResolutionContext, Resolver, is_pseudo, split_database
from ormcache.catalog.facts import Code, Facts, Function, Relation
from ormcache.catalog.other_databases import name_in_database
from ormcache.sql import VENDORS, Effect, Statement, analyse


def catalog(vendor: str = "postgresql", tables: str = "a b c d", **facts) -> Resolver:
    """As seen without a search path. ``functions``: name → volatility, or volatility and bodies."""
    relations = [Relation(name, "public", name.lower()) for name in [*tables.split(), *facts.get("views", ())]]
    facts["functions"] = [
        Function(name, volatility[0], Code(body, reads=volatility[0] != "v", believed=volatility[0] == "i"))
        for name, (*volatility, bodies) in facts.get("functions", {}).items()
        for body in bodies
    ]
    facts["bodies"] = [(relation, Code(body)) for relation, body in facts.get("bodies", ())]
    return Catalog(vendor, Facts(relations, **facts)).resolver_for()


def unlisted(relation: str) -> bool:
    return False


def naming(*names: str, **columns: str) -> Statement:
    """A read with these identifiers. ``columns``: each with what stands before it."""
    behind = frozenset((schema, name) for name, schema in columns.items())
    return Statement(Effect.READ, b"", frozenset({*names, *columns, *columns.values()}), columns=behind)


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
    ).resolver_for()

    assert two.named(naming("a", "b", "what")) == {"a", "s.a", "B", "b"}
    assert two.named(naming("b", a="what")) == {"B", "b"}
    assert two.named(naming(a="s")) == {"s.a"}
    assert two.named(naming("public", "s", a="b")) == {"B", "b"}
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
    assert found.bypass_reason({"x", "a"}, unlisted) is None


def test_a_column_in_a_view_that_is_called_like_a_table():
    views = {
        "v": "SELECT a.b, z.c AS d FROM a, public.d z",
        "w": 'SELECT public.a.b, public.c FROM public.a, b "z"',
    }
    found = catalog(views=views)

    assert found.read({"v"}) == {"v", "a", "d"}
    assert found.read({"w"}) == {"w", "a", "b", "c"}


def test_views_in_a_circle_end():
    found = catalog(views={"v": "SELECT * FROM w", "w": "SELECT * FROM v, a"})

    assert found.read({"v"}) == {"v", "w", "a"}


@pytest.mark.parametrize(
    "text, bypass_reason",
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
def test_what_keeps_a_view_out(text, bypass_reason):
    found = catalog(views={"v": text, "w": "SELECT * FROM v"})

    assert found.bypass_reason({"v"}, unlisted) == bypass_reason
    assert found.bypass_reason(found.read({"w"}), unlisted) == bypass_reason
    assert found.bypass_reason({"a"}, unlisted) is None


def test_a_bypass_reason_below_a_view():
    relations = [Relation("a", None, "a", reasons.UNLOGGED), Relation("v", None, "v")]
    found = Catalog("postgresql", Facts(relations, views={"v": "SELECT * FROM a"})).resolver_for()

    assert found.bypass_reason(found.read({"v"}), unlisted) == reasons.UNLOGGED


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
        ("BEGIN PERFORM query_to_xml('SELECT f() FROM b', true, true, ''); END", {"b", "c"}),
        ("BEGIN PERFORM query_to_xml('SELECT f() FROM ' || 'b', true, true, ''); END", {EPOCH, SCHEMA}),
        ("BEGIN PERFORM ts_rewrite(q, target, substitute) FROM b; END", {"b"}),
        ("BEGIN PERFORM ts_rewrite(q, 'SELECT x, y FROM b'); END", {"b"}),
        ("BEGIN PERFORM ts_rewrite(q, a_text); END", {EPOCH, SCHEMA}),
        ("BEGIN DO 'BEGIN DELETE FROM b; END'; END", {"b"}),
        ("BEGIN DO LANGUAGE plpgsql $x$ BEGIN PERFORM f(); END $x$; END", {"c"}),
        ("BEGIN DO $x$ BEGIN DO $y$ BEGIN DELETE FROM b; END $y$; END $x$; END", {"b"}),
        ("BEGIN DO $x$ BEGIN EXECUTE 'DELETE FROM b'; END $x$; END", {EPOCH, SCHEMA}),
        ("BEGIN DO E'BEGIN DELETE FROM b; END'; END", {EPOCH, SCHEMA}),
        ("BEGIN DO LANGUAGE plpython3u 'plpy.execute(1)'; END", {EPOCH, SCHEMA}),
        ("BEGIN INSERT INTO b VALUES ('x') ON CONFLICT DO NOTHING; END", {"b"}),
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


def test_truncate_cascade_in_code_empties_what_references_the_table():
    keys = [("b", "c"), ("c", "d")]
    found = catalog(bodies=[("a", "BEGIN TRUNCATE b CASCADE; END")], references=keys)
    plain = catalog(bodies=[("a", "BEGIN TRUNCATE b; END")], references=keys)

    assert found.written({"a"}) == {"a", "b", "c", "d"}
    assert plain.written({"a"}) == {"a", "b"}


def test_truncate_cascade_in_code_empties_partitions_and_what_references_those():
    found = catalog(bodies=[("a", "BEGIN TRUNCATE b CASCADE; END")], inherits=[("b", "c")], references=[("c", "d")])

    assert found.written({"a"}) == {"a", "b", "c", "d"}


def test_functions():
    found = catalog(
        functions={
            "pure": ("i", ["SELECT 1"]),
            "stable": ("s", ["SELECT * FROM a"]),
            "wild": ("v", ["UPDATE a SET x = 1", "UPDATE b SET x = 1"]),
            "lower": ("v", ["SELECT 1"]),
        },
    )

    assert found.bypass_reason_of_calls({"pure", "count"}) is None
    for call in ("stable", "wild", "lower", "unknown"):
        assert found.bypass_reason_of_calls({call, "count"}) == reasons.FUNCTION
    assert found.bypass_reason_of_calls({"now"}) == reasons.CLOCK
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


# Partitions, views in code, resolution contexts --------------------------------------------------------


def test_partitions():
    """Rows of a part are rows of the whole, and not of the parts beside it."""
    found = catalog(tables="p p1 p2 p21 p22 z", inherits=[("p", "p1"), ("p", "p2"), ("p2", "p21"), ("p2", "p22")])

    assert found.written({"p1"}) == {"p1", "p"}
    assert found.written({"p21"}) == {"p21", "p2", "p"}
    assert found.written({"p2"}) == {"p2", "p21", "p22", "p"}
    assert found.written({"p"}) == {"p", "p1", "p2", "p21", "p22"}


def test_what_a_part_sets_off_is_set_off_by_the_whole():
    found = catalog(
        tables="p p1 p2 z y",
        inherits=[("p", "p1"), ("p", "p2")],
        bodies=[("p1", "UPDATE z SET x = 1")],
        reaches=[("p", "y")],
    )

    assert found.written({"p"}) == {"p", "p1", "p2", "z", "y"}
    assert found.written({"p1"}) == {"p", "p1", "z", "y"}
    assert found.written({"p2"}) == {"p", "p2", "y"}


@pytest.mark.parametrize("reason", [reasons.UNLOGGED, reasons.FOREIGN_TABLE])
def test_a_part_that_is_not_cached_keeps_the_whole_out(reason):
    relations = [Relation(name, None, name, reason if name == "p11" else None) for name in ("p", "p1", "p11", "p2")]
    facts = Facts(relations, inherits=[("p", "p1"), ("p1", "p11"), ("p", "p2")])
    found = Catalog("postgresql", facts).resolver_for()

    assert found.bypass_reason({"p"}, unlisted) == found.bypass_reason({"p1"}, unlisted) == reason
    assert found.bypass_reason({"p2"}, unlisted) is None
    if reason == reasons.FOREIGN_TABLE:
        assert found.bypass_reason({"p"}, lambda relation: relation == "p11") is None


@pytest.mark.parametrize(
    "body, reached",
    [
        ("BEGIN SELECT * FROM w; END", {"w", "b", "d", "v"}),
        ("BEGIN PERFORM look(); END", {"b"}),
        ("BEGIN PERFORM put_together(); END", {EPOCH, SCHEMA}),
        ("BEGIN PERFORM believed(); END", set()),
    ],
)
def test_views_that_write_in_code(body, reached):
    found = catalog(
        views={"v": "SELECT f() FROM d", "w": "SELECT * FROM v"},
        bodies=[("a", body)],
        functions={
            "f": ("v", ["UPDATE b SET x = 1"]),
            "look": ("s", ["SELECT * FROM w"]),
            "put_together": ("s", ["EXECUTE $1"]),
            "believed": ("i", ["EXECUTE $1"]),
        },
    )

    assert found.written({"a"}) == {"a"} | reached


def test_operators_in_code():
    wild = Function("@@@", "v", Code("UPDATE b SET x = 1"))
    code = Code("BEGIN IF NEW.x @@@ 1 THEN RETURN NEW; END IF; END")
    relations = [Relation(name, None, name) for name in "abc"]
    found = Catalog("postgresql", Facts(relations, bodies=[("a", code)], operators=[wild])).resolver_for()

    assert found.written({"a"}) == {"a", "b"}
    assert found.written({"c"}) == {"c"}


def test_databases_beside_this_one():
    facts = Facts(
        [Relation(name, "own", name) for name in ("a", "b", "v")],
        views={"v": "select * from `blog`.`t`"},
        bodies=[("a", Code("UPDATE blog.t SET x = 1"))],
        other_databases={"blog": ["Blog", "blog"], "shop": ["shop"]},
    )
    found = Catalog("mysql", facts).resolver_for()
    blog = {name_in_database(name, one) for name in ("Blog", "blog") for one in (EPOCH, SCHEMA)}

    # What is set off there can come back.
    assert found.written({"a"}) == {"a", EPOCH} | blog
    assert found.written({"v"}) == {"v", EPOCH} | blog
    assert found.written({"b"}) == {"b"}
    assert found.other_databases(frozenset({"blog", "x"})) == blog
    assert found.all_other_databases() == blog | {name_in_database("shop", one) for one in (EPOCH, SCHEMA)}
    assert all(is_pseudo(name) for name in blog)
    assert split_database(name_in_database("blog", "t")) == ("blog", "t")
    assert split_database("t") == (None, "t")


def two_schemas(**facts) -> Catalog:
    """``a`` in two schemas, ``b`` in one, ``c`` in the other; read by ``owner``."""
    relations = [
        Relation("one.a", "one", "a"),
        Relation("two.a", "two", "a"),
        Relation("one.b", "one", "b"),
        Relation("two.c", "two", "c"),
    ]
    schemas = frozenset({"one", "two"})
    return Catalog("postgresql", Facts(relations, usable=schemas, user="owner", **facts))


@pytest.mark.parametrize(
    "path, user, meant",
    [
        (("one", "two"), "owner", ["one.a"]),
        (("two", "one"), "owner", ["two.a"]),
        (("what", "two"), "owner", ["two.a"]),
        (("what",), "owner", []),
        ((), "owner", []),
        # Another user may not look into a schema, and passes over it; one that is not known may be anybody.
        (("one", "two"), "guest", ["one.a", "two.a"]),
        (("one", "two"), None, ["one.a", "two.a"]),
        (("one",), "guest", ["one.a"]),
        (None, "owner", ["one.a", "two.a"]),
    ],
)
def test_a_name_along_a_path(path, user, meant):
    seen = two_schemas().resolver_for(ResolutionContext(path, user))

    assert sorted(seen.find((None, "a"))) == meant
    assert seen.named(naming("a")) == set(meant)
    assert seen.find(("two", "a")) == ["two.a"]
    assert seen.named(naming("a", "two")) == {"two.a", *meant}


def test_a_schema_that_the_reader_may_not_look_into():
    """It is passed over on the way along the path, which the session of the same user does as well."""
    relations = [Relation("one.a", "one", "a"), Relation("two.a", "two", "a")]
    facts = Facts(relations, usable=frozenset({"two"}), user="owner")
    seen = Catalog("postgresql", facts).resolver_for(ResolutionContext(("one", "two"), "owner"))

    # That the catalog says so is older than the statement, so both count.
    assert seen.find((None, "a")) == ["one.a", "two.a"]


def test_what_code_names_is_looked_up_as_its_session_does():
    found = two_schemas(
        bodies=[
            ("one.b", Code("UPDATE a SET x = 1")),
            ("two.c", Code("UPDATE a SET x = 1", fixed=True, path=("one",))),
        ]
    )

    for path in (("one",), ("two", "one")):
        seen = found.resolver_for(ResolutionContext(path, "owner"))
        assert seen.written({"one.b"}) == {"one.b", f"{path[0]}.a"}
        assert seen.written({"two.c"}) == {"two.c", "one.a"}
    assert found.resolver_for().written({"one.b"}) == {"one.b", "one.a", "two.a"}


@pytest.mark.parametrize(
    "code",
    ["SET search_path TO two; UPDATE a SET x = 1", "PERFORM set_config('search_path', x, true); UPDATE a SET x = 1"],
)
def test_code_that_sets_the_path(code):
    seen = two_schemas(bodies=[("one.b", Code(code))]).resolver_for(ResolutionContext(("one",), "owner"))

    assert seen.written({"one.b"}) == {"one.b", "one.a", "two.a"}


def test_views_are_looked_up_as_the_reader_did():
    found = Catalog(
        "postgresql",
        Facts(
            [Relation("one.a", "one", "a"), Relation("two.a", "two", "a"), Relation("two.v", "two", "v")],
            views={"two.v": "SELECT * FROM a"},
            usable=frozenset({"one", "two"}),
            user="owner",
            path=("one",),
        ),
    )
    for path in (("one",), ("two",), None):
        assert found.resolver_for(ResolutionContext(path, "owner")).read({"two.v"}) == {"two.v", "one.a"}


def test_fifty_tenants():
    """Tables and triggers of the same names in each of them: a write in one reaches only its own."""
    schemas = [f"t{number}" for number in range(50)]
    found = Catalog(
        "postgresql",
        Facts(
            [Relation(f"{schema}.{name}", schema, name) for schema in schemas for name in ("notes", "counters")],
            bodies=[(f"{schema}.notes", Code("UPDATE counters SET n = n + 1")) for schema in schemas],
            usable=frozenset(schemas),
            user="owner",
        ),
    )
    for schema in schemas:
        seen = found.resolver_for(ResolutionContext((schema, "public"), "owner"))
        assert seen.find((None, "notes")) == [f"{schema}.notes"]
        assert seen.written({f"{schema}.notes"}) == {f"{schema}.notes", f"{schema}.counters"}
        assert seen.read(seen.named(naming("notes"))) == {f"{schema}.notes"}
    assert len(found.resolver_for().written({"t7.notes"})) == 51


def test_resolution_contexts_are_remembered_up_to_a_bound(monkeypatch):
    monkeypatch.setattr("ormcache.catalog.catalog.MOST_RESOLVERS", 3)
    found = two_schemas()
    first = found.resolver_for(ResolutionContext(("one",), "owner"))

    assert found.resolver_for(ResolutionContext(("one",), "owner")) is first
    for number in range(9):
        found.resolver_for(ResolutionContext((f"s{number}",), "owner"))
    assert found.resolver_for(ResolutionContext(("one",), "owner")) is not first


@pytest.mark.parametrize("vendor", VENDORS)
def test_an_empty_catalog(vendor):
    found = Catalog(vendor, Facts([])).resolver_for()

    assert found.named(naming("a")) == set()
    assert found.written({EPOCH, SCHEMA}) == {EPOCH, SCHEMA}
