"""Test suites of projects put other settings in place, and projects have fewer settings than one would think."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection, connections
from django.test import override_settings

from ormcache import reasons
from ormcache.exceptions import WriteRefused
from tests.shop.models import Author
from tests.waiting import eventually

DUMMY = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}


def names():
    return list(Author.objects.order_by("pk").values_list("name", flat=True))


@pytest.mark.parametrize("kind", ["redis", "memcached"])
def test_other_caches_for_a_test_change_nothing(configure, queries, other_process, kind):
    configure(STORE=kind, CACHE=kind, LOCAL_SIZE=0)
    Author.objects.create(name="a")
    names()
    store = connection.ormcache.database.stamps.store
    with override_settings(CACHES=DUMMY | {kind: DUMMY["default"]}):
        with queries(0):
            assert names() == ["a"]
        Author.objects.update(name="b")
        connection.close()
        assert names() == ["b"]
    assert connection.ormcache.database.stamps.store is store
    with queries(0):
        assert names() == ["b"]
    with override_settings(CACHES=DUMMY), queries(0):  # the alias is gone
        assert names() == ["b"]


def bypassed():
    counts = connection.ormcache.observer.counters.snapshot()["bypassed"]
    return counts.get(reasons.STORE_UNAVAILABLE, 0) + counts.get(reasons.PENDING, 0)


@pytest.mark.parametrize("caches", [DUMMY, DUMMY | {"redis": DUMMY["default"]}], ids=["gone", "another"])
def test_a_cache_that_cannot_serve_breaks_no_query(configure, queries, caches, caplog, monkeypatch):
    monkeypatch.setattr("ormcache.stores.base.MIN_BACK_OFF", 0.01)
    configure(STORE="redis", CACHE="redis", LOCAL_SIZE=0)
    Author.objects.create(name="a")
    names()
    connections.close_all()
    before = bypassed()
    with override_settings(CACHES=caches, ORMCACHE={}), caplog.at_level(logging.WARNING, "ormcache"):
        assert names() == ["a"]
        Author.objects.update(name="b")
        assert names() == ["b"]
        assert bypassed() == before + 2
        assert [record for record in caplog.records if "redis" in record.message and "away" in record.message]
        # It is told as soon as there is a store to tell.
        pending = connection.ormcache.database.pending
        assert pending.relations
        with override_settings(CACHES=settings.CACHES | {"redis": ORIGINAL["redis"]}):
            eventually(lambda: not pending.relations)
    assert names() == ["b"]
    with queries(0):
        assert names() == ["b"]


ORIGINAL = settings.CACHES


def test_a_write_is_refused_where_that_is_wanted(configure):
    configure(STORE="redis", CACHE="redis", ON_OUTAGE="refuse")
    with override_settings(CACHES=DUMMY, ORMCACHE={}), pytest.raises(WriteRefused):
        Author.objects.create(name="a")
    assert names() == []


PROGRAM = """
import sys, django
from django.conf import settings
from django.db import connection, models
name = sys.argv[1]
settings.configure(
    DATABASES={"default": {"ENGINE": "ormcache.backends.sqlite3", "NAME": name, "ORMCACHE": {"LOCATION": name + ".d"}}},
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
)
django.setup()

class Note(models.Model):
    text = models.TextField()

    class Meta:
        app_label = "notes"

with connection.schema_editor() as editor:
    editor.create_model(Note)
Note.objects.create(text="x")
for _ in range(3):
    assert len(Note.objects.all()) == 1
import ormcache
print(ormcache.stats()["default"]["hits"], len(ormcache.report("default").queries))
"""


def test_a_project_without_a_secret_key(tmp_path: Path):
    answer = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, str(tmp_path / "db")],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert (answer.stdout, answer.stderr, answer.returncode) == ("2 1\n", "", 0)


def test_who_goes_on_with_a_store_of_other_settings_does_not_keep_it_from_the_next(configure, queries):
    """A thread of a live server, or writes that wait to be told, when a test changes the settings."""
    Author.objects.create(name="a")
    names()
    before = connection.ormcache.database
    configure(LOCAL_SIZE=0, MAX_SIZE=2 * before.config.max_size)
    before.renew(frozenset({"shop_author"}))  # opens what was closed

    names()
    with queries(0):
        assert names() == ["a"]
    assert connection.ormcache.database is not before
    before.renew(frozenset({"shop_author"}))
    with queries(1):
        assert names() == ["a"]
    assert connection.ormcache.database.stamps.store.is_answering
