"""No table that sqlparse, a reader of its own, sees in a recorded statement is missing from its plan."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from functools import cache

import pytest

from ormcache.catalog import EPOCH, Catalog, ResolutionContext, Resolver
from ormcache.catalog.facts import Facts, Relation
from ormcache.database.catalog_parts import CatalogPart
from ormcache.database.plans import Plan
from ormcache.sql import VENDORS, Effect, analyse
from tests import corpus
from tests.oracle import recordings
from tests.oracle.second_reader import Name, tables_of

PATH = {"postgresql": ("public",), "mysql": None, "sqlite": None}


def missing(seen: Iterable[Name], plan: Plan, scope: Resolver) -> set[Name]:
    """Return the tables of the second reader that the plan neither has nor makes unnecessary."""
    if plan.effect is Effect.OPAQUE or EPOCH in plan.written:
        return set()  # it may change anything
    known = plan.relations | plan.written
    absent = set()
    for name in seen:
        relations = scope.find(name)
        if relations:
            if known.isdisjoint(relations):
                absent.add(name)
        elif plan.effect is Effect.READ and plan.bypass_reason is None:
            absent.add(name)  # a result that is cached, of a table that nobody knows
    return absent


#: Pattern of what sqlparse takes for a table and is none; ``NAME`` stands for it → why
EXCEPTIONS = {
    r"\bIS (?:NOT )?DISTINCT FROM NAME\b": "compares two values",
    r"\b(?:extract|substring|trim)\([\w' ]+ FROM NAME\b": "the FROM of a function's own syntax",
    r", NAME (?:pt0|\(b\))": "PostgreSQL's ONLY in a list, taken for a table with an alias",
    r", NAME \(SELECT": "PostgreSQL's LATERAL in a list, taken for a table with an alias",
    r"\bFROM NAME FROM \(": "PostgreSQL's ROWS FROM (…)",
    r"\bFROM (?=dual\b)NAME": "MySQL's DUAL stands for no table",
    r"\bFROM NAME\.public\.a\b": "PostgreSQL's name of the database itself before that of the schema",
}


def exceptions_for(name: Name, text: str) -> list[str]:
    schema, bare = name
    spelled = [bare, *([schema, f"{schema}.{bare}"] if schema else [])]
    return [
        pattern
        for pattern in EXCEPTIONS
        if any(re.search(pattern.replace("NAME", re.escape(one)), text, re.IGNORECASE) for one in spelled)
    ]


@cache
def corpus_misses() -> list[tuple[corpus.Row, Name]]:
    found = []
    for vendor in VENDORS:
        catalog = Catalog(vendor, corpus.facts(vendor))
        scope = catalog.resolver_for(ResolutionContext(PATH[vendor], "somebody"))
        for row in corpus.rows():
            if row.vendor == vendor:
                plan = corpus.planner(vendor).plan(analyse(row.sql, vendor), CatalogPart(catalog), scope)
                found += [(row, name) for name in sorted(missing(tables_of(row.sql), plan, scope), key=str)]
    return found


def test_no_table_of_the_corpus_is_missing():
    assert [f"{row}: {name}" for row, name in corpus_misses() if not exceptions_for(name, row.sql)] == []


def test_every_exception_is_needed():
    needed = {pattern for row, name in corpus_misses() for pattern in exceptions_for(name, row.sql)}

    assert needed == EXCEPTIONS.keys()


@cache
def recorded_plans(vendor: str, every: int = 1) -> tuple[Resolver, list[tuple[str, set[Name], Plan]]]:
    """Plan what Django's own test suite sends, against a catalog of all the tables that sqlparse sees in it."""
    seen = {one.sql: tables_of(one.sql) for one in recordings.kept(vendor)[::every]}
    own = "public" if vendor == "postgresql" else "main"
    relations = [
        Relation(bare if schema in (None, own) else f"{schema}.{bare}", schema or own, bare)
        for schema, bare in set().union(*seen.values())
    ]
    catalog = Catalog(vendor, Facts(relations=relations, usable=frozenset({"public"})))
    scope = catalog.resolver_for(ResolutionContext(PATH[vendor]))
    maker, part = corpus.planner(vendor), CatalogPart(catalog)
    return scope, [(sql, names, maker.plan(analyse(sql, vendor), part, scope)) for sql, names in seen.items()]


@pytest.mark.slow
@pytest.mark.parametrize("vendor", VENDORS)
def test_no_table_of_a_recorded_statement_is_missing(vendor):
    scope, plans = recorded_plans(vendor)

    misses = [(sql, absent) for sql, names, plan in plans if (absent := missing(names, plan, scope))]
    assert misses == []
    assert sum(bool(names) for _, names, _ in plans) > 2000


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_lost_table_is_seen(vendor):
    scope, plans = recorded_plans(vendor, every=50)
    sound = [(names, plan) for _, names, plan in plans if plan.relations and plan.effect is Effect.READ and names]

    assert len(sound) > 30
    for names, plan in sound:
        lost = replace(plan, relations=frozenset(), written=frozenset())
        assert missing(names, lost, scope) == names
    assert missing({(None, "nowhere")}, sound[0][1], scope) == {(None, "nowhere")}


@pytest.mark.parametrize(
    "text, tables",
    [
        ("SELECT * FROM a", "a"),
        ('SELECT * FROM "A" x, c JOIN s.b ON true', "a s.b c"),
        ("SELECT * FROM a LEFT OUTER JOIN `b` USING (x) CROSS JOIN c", "a b c"),
        ("SELECT (SELECT max(x) FROM a) FROM (SELECT * FROM b) z", "a b"),
        ("WITH z AS (SELECT * FROM a) SELECT * FROM z", "a"),
        ("INSERT INTO a (x, y) SELECT x, y FROM b", "a b"),
        ("UPDATE ONLY a SET x = 1 FROM b", "a b"),
        ("DELETE FROM a WHERE EXISTS (SELECT 1 FROM b)", "a b"),
        ("SELECT * FROM generate_series(1, 2) z", ""),
        ("SELECT 'FROM a' -- FROM b", ""),
        ("SELECT * FROM order", "order"),
    ],
)
def test_the_reader(text, tables):
    assert tables_of(text) == {
        (schema or None, name) for schema, _, name in (table.rpartition(".") for table in tables.split())
    }
