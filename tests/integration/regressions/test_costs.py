"""What reads and writes of real applications cost, counted: questions to the store and to the database, no times.

They were the loudest reports of the cache doing harm: form choices that are never cached, sessions that leave a dead
entry each, writes of packages and of thousands of rows that invalidate everything or read the catalog anew.
"""

from __future__ import annotations

import threading
from collections import Counter

import pytest
from django import forms
from django.contrib.sessions.models import Session
from django.db import transaction
from django.utils import timezone

from ormcache.database.catalog_cache import CatalogCache
from ormcache.database.current_time import SUSPICIOUS
from ormcache.stores.base import Store
from tests.integration.calls import count_anew
from tests.integration.reading import ENGINE, execute, only_postgresql
from tests.shop.models import Author, Book, Genre

OPERATIONS = ("look_up", "fill_slots", "put_entry", "mark", "settle")


@pytest.fixture
def costs(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """What this thread has asked of the store and of the catalog since the counter was cleared.

    Another one may still try to bring a store of earlier tests what it has missed.
    """
    counted: Counter[str] = Counter()
    thread = threading.get_ident()
    for name in OPERATIONS:
        real = getattr(Store, name)

        def operation(self, *args, name=name, real=real, **kwargs):
            if threading.get_ident() == thread:
                counted[name] += 1
            return real(self, *args, **kwargs)

        monkeypatch.setattr(Store, name, operation)
    load = CatalogCache.load

    def loading(self, connection):
        counted["catalog"] += 1
        return load(self, connection)

    monkeypatch.setattr(CatalogCache, "load", loading)
    return counted


@pytest.fixture(autouse=True)
def _rows() -> None:
    Author.objects.bulk_create([Author(name=name, email=f"{name}@x.org") for name in "ABC"])
    Genre.objects.bulk_create([Genre(name=name) for name in ("Prose", "Verse")])


class Editing(forms.Form):
    author = forms.ModelChoiceField(Author.objects.order_by("pk"))
    genres = forms.ModelMultipleChoiceField(Genre.objects.order_by("pk"))


def test_the_choices_of_a_form(costs, queries):
    """One look-up for each select, as for any read; the rows come from the store or from this process's memory."""
    drawn = str(Editing())
    costs.clear()

    with queries(0):
        assert str(Editing()) == drawn

    assert costs == {"look_up": 2}


def test_sessions(costs, queries):
    """``expire_date > now`` never asks the same twice: once that is known, nothing is looked up and nothing stored."""
    count_anew()

    def session() -> None:
        assert not Session.objects.filter(session_key="none", expire_date__gt=timezone.now()).exists()

    session()
    costs.clear()
    for _ in range(SUSPICIOUS - 1):
        session()
    assert costs["look_up"] <= SUSPICIOUS - 1
    assert costs["put_entry"] <= SUSPICIOUS - 1
    costs.clear()
    with queries(20):
        for _ in range(20):
            session()

    assert costs == {}


@only_postgresql
def test_a_context_in_front_of_a_write(costs, queries):
    """As django-pghistory does: one table is marked and settled once, and no catalog is read."""
    list(Author.objects.all()), list(Genre.objects.all())
    costs.clear()

    with transaction.atomic():
        execute(
            "SELECT set_config('pghistory.context_id', %s, true), set_config('pghistory.context_metadata', %s, true); "
            "UPDATE shop_genre SET name = 'Drama' WHERE name = 'Prose'",
            ["a", "{}"],
        )

    assert costs == {"mark": 1, "settle": 1}
    with queries(1):
        assert {genre.name for genre in Genre.objects.all()} == {"Drama", "Verse"}
    list(Author.objects.all())  # a custom setting is empty from now on, and not missing: another session
    costs.clear()
    with queries(0):
        list(Author.objects.all()), list(Genre.objects.all())
    assert costs == {"look_up": 2}


def test_an_update_of_thousands_of_rows(costs, queries):
    number = 6000 if ENGINE != "sqlite" else 900  # as many parameters as SQLite takes at once
    Genre.objects.bulk_create([Genre(name=f"genre {n}") for n in range(number)])
    rows, books = list(Genre.objects.using("plain").all()), list(Book.objects.all())
    list(Author.objects.all())
    for row in rows:
        row.name += "!"
    costs.clear()

    with transaction.atomic():
        Genre.objects.bulk_update(rows, ["name"])

    assert costs == {"mark": 1, "settle": 1}
    costs.clear()
    with queries(0):  # what is not written stays
        assert list(Book.objects.all()) == books
        list(Author.objects.all())
    assert costs == {"look_up": 2}
