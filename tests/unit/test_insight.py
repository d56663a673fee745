"""What is computed for people, as far as it needs no database."""

from __future__ import annotations

import datetime
import json

import pytest

from ormcache import conf
from ormcache.catalog import EPOCH, SCHEMA
from ormcache.catalog import causes as c
from ormcache.catalog.causes import Cause
from ormcache.catalog.neighbours import in_neighbour
from ormcache.insight.plain import plain
from ormcache.insight.statements import Statements
from ormcache.insight.verdicts import ERROR, LEVELS, NOTE, WARNING, Finding, of_store
from ormcache.insight.wording import cause_told, relation_named
from ormcache.stores.facts import ServerFacts, StoreFacts

KINDS = [value for name, value in vars(c).items() if name.isupper() and isinstance(value, str) and name != "EPOCH"]


def findings(kind: str, look_up: float = 0.0, settings: dict | None = None, **facts) -> list[tuple[str, str]]:
    config = conf._build(conf._merged({"ORMCACHE": settings or {}}))
    more = {"disk_free": 2**40, "disk_taken": 0} if kind == "embedded" else {}
    server = ServerFacts("here", **({"more": more} | facts))
    found = list(of_store(StoreFacts(kind, (server,)), config, look_up))
    assert all(finding.level in LEVELS and finding.text.endswith(".") for finding in found)
    return [(finding.level, finding.text) for finding in found]


def only(found: list[tuple[str, str]], level: str, words: str) -> None:
    assert len(found) == 1, found
    assert found[0][0] == level
    assert words in found[0][1]


@pytest.mark.parametrize(
    "text, shown",
    [
        ("no such column: now_gone", "no such column: now_gone"),
        ("near ''secret' AND' at line 1", "near ''?' AND' at line 1"),
        (
            'invalid input syntax for type integer: "Ann"\nLINE 1: SELECT 1',
            'invalid input syntax for type integer: "?"',
        ),
        ("Annabel is not Ann, 7 is", "Annabel is not ?, ? is"),
    ],
)
def test_what_a_database_says_is_shown_without_values(text, shown):
    sql = "SELECT x FROM y WHERE z = %s AND u = %s AND v = 'secret' AND"

    assert Statements("mysql", whole=False).error(text, sql, ("Ann", 7)) == shown
    assert Statements("mysql", whole=True).error(text, sql, ("Ann", 7)) == text.splitlines()[0]


def test_values_that_hide_are_not_shown_either():
    told = 'invalid input syntax for type integer: "secret\nmore" or "one" or "two"'

    shown = Statements("postgresql", whole=False).error(told, "SELECT", ("secret\nmore", ["one", ("two",)]))
    assert shown == 'invalid input syntax for type integer: "?" or "?" or "?"'


def test_plain():
    moment = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    value = plain({"x": (Finding("ok", "a", "b"), frozenset({"z", "y"}), moment, None, 1.5)})

    assert value == {
        "x": [
            {"level": "ok", "about": "a", "text": "b", "hint": ""},
            ["y", "z"],
            "2026-01-02T03:04:05+00:00",
            None,
            1.5,
        ]
    }
    json.dumps(value)


@pytest.mark.parametrize("kind", KINDS)
def test_every_cause_has_words(kind):
    told = cause_told(Cause(kind, "shop_book", "the trigger t"))

    assert told
    assert "{" not in told


def test_words():
    assert cause_told(Cause(c.CODE, "a", "the trigger t")) == "the trigger t runs when a is written"
    assert cause_told(Cause(c.CODE, "a")) == "code of the database runs when a is written"
    assert cause_told(None) == "the catalog has not been read"
    assert relation_named(EPOCH) == "everything"
    assert relation_named(SCHEMA) == "the schema"
    assert relation_named("a") == "a"
    assert relation_named(in_neighbour("blog", EPOCH)) == "everything of the database blog"


# What a store tells -------------------------------------------------------------------------


def test_a_good_store():
    assert findings("redis", limit=100, used=1, policy="allkeys-lru", evicted=0, running=10, ahead=0.0) == []
    assert findings("memcached", limit=100, used=1, policy="lru", largest=2**20, ahead=0.5, ahead_by=1.0) == []
    assert findings("embedded", limit=2**28, used=1) == []


def test_redis():
    only(findings("redis", limit=0, policy="noeviction"), WARNING, "has no bound")
    only(findings("redis", limit=100, used=10, policy="noeviction"), WARNING, "once it is full")
    only(findings("redis", limit=100, used=99, policy="noeviction"), ERROR, "is full")
    only(findings("redis", limit=100, used=99, policy="volatile-lru"), WARNING, "only what has a TIMEOUT")
    assert findings("redis", limit=100, used=99, policy="volatile-lru", settings={"TIMEOUT": 5}) == []
    only(findings("redis", limit=9, policy="allkeys-lru", more={"connected_slaves": "1"}), NOTE, "has replicas")


def test_memcached():
    only(findings("memcached", policy="noeviction"), WARNING, "evicts nothing")
    only(findings("memcached", policy="lru", largest=1024), NOTE, "items of 1024 bytes")


def test_embedded():
    only(findings("embedded", limit=2**28, more={"disk_free": 5, "disk_taken": 0}), WARNING, "has 5 left")
    assert findings("embedded", limit=2**28, more={"disk_free": 5, "disk_taken": 2**28}) == []
    only(findings("embedded", limit=2**20), NOTE, "half of its file system")


def test_other_stores_tell_little():
    only(findings("django"), NOTE, "tells nothing")


def test_evictions():
    only(findings("redis", limit=1, policy="allkeys-lru", evicted=10, running=100), NOTE, "evict 10 keys")
    only(findings("redis", limit=1, policy="allkeys-lru", evicted=5000, running=100), WARNING, "50 a second")


def test_clocks():
    only(findings("redis", limit=1, policy="allkeys-lru", ahead=3.0), NOTE, "3.0 s ahead of")
    only(findings("redis", limit=1, policy="allkeys-lru", ahead=-300.0), NOTE, "behind")
    only(findings("memcached", policy="lru", ahead=5.0, ahead_by=1.0), NOTE, "ahead of")
    only(findings("memcached", policy="lru", ahead=30.0, ahead_by=1.0), WARNING, "ahead of")


def test_a_store_that_is_about_to_be_away():
    only(findings("redis", 0.2, limit=1, policy="allkeys-lru"), WARNING, "counts as away")
    assert findings("embedded", 0.2, limit=2**28) == []
