"""A busy site's metrics, and what texts for people and for tools say of metrics."""

from __future__ import annotations

import re
from collections.abc import Iterator

from django.db import connections, transaction

import ormcache
from ormcache.contrib.prometheus.collector import OrmcacheCollector
from ormcache.pages.computing import compute
from ormcache.pages.derivation import Use
from tests.shop.models import Author, Genre

_NAME = re.compile(r"\bdjango_ormcache_\w+")
#: A metric with its labels, if there are any
_SELECTED = re.compile(r"\b(django_ormcache_\w+)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"')
_GROUPED = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")

Families = dict[str, tuple[set[str], float]]


def be_busy(using: str = "default") -> None:
    """Something of everything: hits, misses of several kinds, rejected results, bypasses."""
    authors = Author.objects.using(using)
    Author.objects.using(using).bulk_create([Author(name=f"author {number}") for number in range(5)])
    for _ in range(3):
        list(authors.filter(name="author 1"))
        list(Genre.objects.using(using).all())
        list(authors.all())  # too many rows, where the test says so
    authors.filter(name="author 1").update(name="author 7")
    list(authors.filter(name="author 1"))
    list(authors.order_by("?"))
    with ormcache.disabled():
        list(authors.filter(name="author 1"))
    with transaction.atomic(using=using):
        Genre.objects.using(using).create(name="poetry")
        list(Genre.objects.using(using).all())
    for _ in range(3):
        compute(Use("page", "/", b"page", using=using), lambda: 1)
        compute(Use("function", "shop.object", b"function", using=using), object)  # which cannot be stored
    connections[using].ormcache.database.outside_writes.record("shop_genre")
    assert connections[using].ormcache.database.stamps.store.strict.is_answering


def scraped(collector: OrmcacheCollector) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Series → its value."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in collector.collect()
        for sample in family.samples
    }


def labels_of(collector: OrmcacheCollector) -> dict[str, set[str]]:
    """The name of each metric that has a series, and its labels."""
    found: dict[str, set[str]] = {}
    for name, labels in scraped(collector):
        found.setdefault(name, set()).update(label for label, _ in labels)
    return found


def unknown_in(expression: str, known: dict[str, set[str]]) -> Iterator[str]:
    """What a query of Prometheus asks for that there is not."""
    used: set[str] = set()
    for name, matchers in _SELECTED.findall(expression):
        if name not in known:
            yield name
            continue
        used |= known[name]
        for label in _MATCHER.findall(matchers):
            if label not in known[name] | FROM_PROMETHEUS:
                yield f"{name}{{{label}}}"
    for group in _GROUPED.findall(expression):
        for label in filter(None, map(str.strip, group.split(","))):
            if label not in used | FROM_PROMETHEUS:
                yield f"({label})"
    if not _NAME.search(expression):
        yield expression


#: Labels that Prometheus itself adds
FROM_PROMETHEUS = {"job", "instance"}
