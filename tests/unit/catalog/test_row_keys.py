"""The canonical forms of values in key columns, and what a resolver says of a relation's rows."""

from __future__ import annotations

import uuid

import pytest
from django.utils.safestring import mark_safe

from ormcache.catalog import Catalog, Resolver
from ormcache.catalog.facts import Code, Facts, Relation
from ormcache.catalog.row_keys import KeyColumn, KeyKind, RowKeys

HEX = "0123456789abcdef0123456789abcdef"
DASHED = "01234567-89ab-cdef-0123-456789abcdef"


@pytest.mark.parametrize(
    "value, form",
    [
        (5, 5),
        (-3, -3),
        (7, 7),
        (8, None),
        (-4, None),
        (True, None),
        (False, None),
        (5.0, None),
        ("5", None),
        (None, None),
    ],
)
def test_integers(value, form):
    column = KeyColumn("id", KeyKind.INTEGER, lowest=-3, highest=7)

    assert column.canonical(value) == form
    assert type(column.canonical(value)) is type(form)


def test_integers_without_bounds():
    assert KeyColumn("id", KeyKind.INTEGER).canonical(2**80) == 2**80


@pytest.mark.parametrize("value", [uuid.UUID(HEX), HEX, HEX.upper(), DASHED, DASHED.upper()])
def test_uuids(value):
    assert KeyColumn("id", KeyKind.UUID).canonical(value) == HEX


@pytest.mark.parametrize(
    "value", ["", f"{{{DASHED}}}", f" {HEX}", f"{HEX}\n", HEX[1:], DASHED.replace("-", "", 1), 5, None]
)
def test_no_uuids(value):
    assert KeyColumn("id", KeyKind.UUID).canonical(value) is None


@pytest.mark.parametrize("value", ["", "a", "A ", "é", "a\n"])
def test_texts_that_are_compared_by_their_bytes(value):
    assert KeyColumn("name", KeyKind.TEXT, length=2).canonical(value) == value


@pytest.mark.parametrize("value", ["abc", "   ", 5, None, b"a", mark_safe("a"), uuid.UUID(HEX)])
def test_no_texts(value):
    """Too long, or of another type: drivers may send a subclass of ``str`` in ways of its own."""
    assert KeyColumn("name", KeyKind.TEXT, length=2).canonical(value) is None


@pytest.mark.parametrize(
    "value, form",
    [("Ann ", "ann"), ("ANN", "ann"), (" ann", " ann"), ("", ""), ("é", None), ("a\x01", None), ("\u212a", None)],
)
def test_texts_that_are_folded(value, form):
    """Collations pass over some control characters, and take the Kelvin sign for a K."""
    column = KeyColumn("name", KeyKind.TEXT, length=9, ascii_only=True, folds=True)

    assert column.canonical(value) == form


@pytest.mark.parametrize("value, form", [("Ann ", "Ann "), ("é", None), ("a\x01", None)])
def test_texts_of_ascii_characters(value, form):
    assert KeyColumn("name", KeyKind.TEXT, ascii_only=True).canonical(value) == form


def resolver(**facts) -> Resolver:
    relations = [Relation(name, "public", name) for name in "abc"]
    facts["bodies"] = [(relation, Code(body)) for relation, body in facts.get("bodies", ())]
    return Catalog("postgresql", Facts(relations, **facts)).resolver_for()


def test_keys_of_a_relation():
    keys = RowKeys("id", frozenset(), {"id": KeyColumn("id", KeyKind.INTEGER)})
    found = resolver(keys={"a": keys})

    assert found.row_keys("a") is keys
    assert found.row_keys("b") is None
    assert found.row_keys("what") is None


@pytest.mark.parametrize(
    "facts, by",
    [
        ({}, ""),
        ({"reaches": [("a", "b")]}, ""),
        ({"reaches": [("a", "a")]}, "a"),
        ({"reaches": [("a", "b"), ("b", "a"), ("c", "a")]}, "ab"),
        ({"reaches": [("a", "b"), ("b", "b")]}, "b"),
        ({"reaches": [("a", "b")], "bodies": [("b", "UPDATE a SET x = 1")]}, "ab"),
        ({"bodies": [("a", "UPDATE b SET x = 1")]}, ""),
        ({"bodies": [("a", "UPDATE a SET x = 1")]}, "a"),
        ({"bodies": [("a", "EXECUTE 'UPDATE ' || 'a SET x = 1'")]}, "a"),
        ({"bodies": [("a", None)]}, "a"),
        ({"bodies": [("b", None)], "reaches": [("a", "b")]}, "ab"),
        ({"inherits": [("a", "b")]}, "ab"),
    ],
)
def test_writes_that_reach_their_own_relation(facts, by):
    """At once, by other relations, or by code that could write to anything."""
    found = resolver(**facts)

    assert "".join(name for name in "abc" if found.writes_itself(name)) == by
