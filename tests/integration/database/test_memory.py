"""What is remembered of models, schemas and statements keeps nothing alive that its owner has let go."""

from __future__ import annotations

import gc
import weakref

import pytest
from django.apps import apps
from django.db import connection
from django.db.migrations.state import ProjectState
from django.test.utils import isolate_apps

from ormcache.database import catalog_parts, plan_cache, slots
from ormcache.database.database import Database
from tests.shop.models import Author


def test_models_of_migrations_are_let_go():
    old = ProjectState.from_apps(apps).apps  # the models as a migration sees them
    for _ in range(2):
        list(old.get_model("shop", "Author").objects.all())
    alive = weakref.ref(old)
    del old
    gc.collect()
    assert alive() is None


def test_models_of_the_project_are_remembered():
    connection.ormcache.columns.clear()
    list(Author.objects.all())
    assert set(connection.ormcache.columns) == {Author}


@isolate_apps("tests.shop")
def test_models_outside_of_the_project_are_not():
    from django.db import models

    class Author2(models.Model):
        class Meta:
            app_label = "shop"
            db_table = Author._meta.db_table

    connection.ormcache.columns.clear()
    list(Author2.objects.all())
    assert not connection.ormcache.columns


@pytest.fixture
def small(monkeypatch):
    """A database as a new process knows it, with little room."""
    for module, name in (
        (plan_cache, "MOST_STATEMENTS"),
        (plan_cache, "MOST_PLANS"),
        (catalog_parts, "MOST_CLOSURES"),
        (slots, "MOST_RELATIONS"),
        (slots, "MOST_WRITES"),
    ):
        monkeypatch.setattr(module, name, 10)
    known = connection.ormcache.known() or (connection.ensure_connection(), connection.ormcache.known())[1]
    made = Database(known.vendor, known.server, known.config, known.stamps.store, "small")
    made.catalog_cache.load(connection)
    return made


def test_statements_and_relations_that_are_remembered(small):
    for number in range(50):
        small.plans.plan(f"SELECT {number} FROM shop_author")
        small.slots.names(frozenset({f"table{number}"}))
        small.plans.closure(frozenset({f"table{number}"}))
    plans, named, part = small.plans, small.slots, small.catalog_cache.part
    memos = (plans._statements, plans._plans, named._names, named._names_of_writes, part.closures)
    assert [len(memo) <= 10 for memo in memos] == [True] * 5
    assert small.plans.plan("SELECT 49 FROM shop_author")[0] is small.plans.plan("SELECT 49 FROM shop_author")[0]


def test_long_statements_are_remembered_up_to_so_many_characters(small, monkeypatch):
    monkeypatch.setattr(plan_cache, "MOST_STATEMENTS", 1000)
    monkeypatch.setattr(plan_cache, "MOST_PLANS", 1000)
    monkeypatch.setattr(plan_cache, "MOST_CHARACTERS", 5000)
    made = Database(small.vendor, small.server, small.config, small.stamps.store, "small")
    made.catalog_cache.load(connection)
    for number in range(50):
        made.plans.plan(f"SELECT {number} AS {'x' * 1000} FROM shop_author")
    assert 0 < sum(map(len, made.plans._statements)) <= 5000
    assert 0 < sum(len(sql) for sql, _ in made.plans._plans) <= 5000
