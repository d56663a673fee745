"""What texts are, and what their plans say: by the table of statements in tests/corpus."""

from __future__ import annotations

from collections import Counter
from functools import cache

import pytest

from ormcache.catalog import EPOCH, Catalog, ResolutionContext, Resolver
from ormcache.database.catalog_parts import CatalogPart
from ormcache.database.plans import Plan, Planner
from ormcache.sql import VENDORS, Effect, analyse
from tests import corpus

ROWS = corpus.rows()


@cache
def planner(vendor: str) -> tuple[Planner, CatalogPart, Resolver]:
    catalog = Catalog(vendor, corpus.facts(vendor))
    path = ("public",) if vendor == "postgresql" else None
    return (
        corpus.planner(vendor),
        CatalogPart(catalog),
        catalog.resolver_for(ResolutionContext(path, "somebody")),
    )


def plan_of(vendor: str, sql: str) -> Plan:
    maker, part, scope = planner(vendor)
    return maker.plan(analyse(sql, vendor), part, scope)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_statement(row):
    plan = plan_of(row.vendor, row.sql)

    assert corpus.told(plan, row) == corpus.expected(row)


@pytest.mark.parametrize("vendor", VENDORS)
def test_size(vendor):
    kinds = Counter(row.kind for row in ROWS if row.vendor == vendor)

    assert kinds.keys() == {effect.name.lower() for effect in Effect}
    assert kinds["read"] > 100
    assert kinds["write"] > 25


def test_no_statement_stands_twice():
    assert [key for key, times in Counter((row.vendor, row.sql) for row in ROWS).items() if times > 1] == []


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_kept_read_knows_its_slots(vendor):
    for row in ROWS:
        if row.vendor == vendor and row.verdict == "kept":
            plan = plan_of(vendor, row.sql)
            assert plan.slots == (EPOCH.encode(), *(name.encode() for name in sorted(plan.relations)))
