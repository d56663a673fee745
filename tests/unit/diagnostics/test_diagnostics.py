"""What is computed for people, as far as it needs no database."""

from __future__ import annotations

import datetime
import json

import pytest
import sqlparse

from ormcache import conf
from ormcache.catalog import EPOCH, SCHEMA
from ormcache.catalog import provenance as c
from ormcache.catalog.other_databases import name_in_database
from ormcache.catalog.provenance import Cause
from ormcache.diagnostics.format.encoder import JSONEncoder
from ormcache.diagnostics.format.relations import describe_cause, display_name
from ormcache.diagnostics.format.sql import LONGEST_INDENTED, StatementMasker, indent, to_line
from ormcache.diagnostics.health.findings import ERROR, LEVELS, NOTE, WARNING, Finding, judge_store
from ormcache.stores.info import ServerInfo, StoreInfo

KINDS = [value for name, value in vars(c).items() if name.isupper() and isinstance(value, str) and name != "EPOCH"]


def findings(kind: str, look_up: float = 0.0, settings: dict | None = None, **facts) -> list[tuple[str, str]]:
    config = conf._build(conf._merge({"ORMCACHE": settings or {}}))
    details = {"disk_free": 2**40, "disk_taken": 0} if kind == "embedded" else {}
    server = ServerInfo("here", **({"details": details, "ends_leases": kind == "redis"} | facts))
    found = list(judge_store(StoreInfo(kind, (server,)), config, look_up))
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

    assert StatementMasker("mysql", shows_values=False).mask_error(text, sql, ("Ann", 7)) == shown
    assert StatementMasker("mysql", shows_values=True).mask_error(text, sql, ("Ann", 7)) == text.splitlines()[0]


def test_values_that_hide_are_not_shown_either():
    told = 'invalid input syntax for type integer: "secret\nmore" or "one" or "two"'

    shown = StatementMasker("postgresql", shows_values=False).mask_error(
        told, "SELECT", ("secret\nmore", ["one", ("two",)])
    )
    assert shown == 'invalid input syntax for type integer: "?" or "?" or "?"'


ORM = 'SELECT "shop_book"."id", "shop_book"."title", "shop_book"."year" FROM "shop_book" WHERE "shop_book"."id" = ?'


def test_a_statement_is_laid_out():
    columns = 'SELECT "shop_book"."id", "shop_book"."title", "shop_book"."year"'

    assert indent(ORM) == f'{columns}\nFROM "shop_book"\nWHERE "shop_book"."id" = ?'
    assert indent(ORM, without_columns=True) == 'SELECT …\nFROM "shop_book"\nWHERE "shop_book"."id" = ?'
    assert to_line(ORM, 100) == 'SELECT … FROM "shop_book" WHERE "shop_book"."id" = ?'
    assert to_line(ORM, 20) == 'SELECT … FROM "shop…'
    assert to_line("SELECT '-- 1',\n  2 -- a comment\nFROM x", 100) == "SELECT '-- 1', 2 FROM x"


@pytest.mark.parametrize("repeated", ["(", "'", "/*", "a AND ", '"a"."b", ', "?, ", "SELECT (", "CASE WHEN a + "])
def test_no_more_of_a_statement_is_parsed_than_is_quick(repeated, monkeypatch):
    parsed = []
    formatted = sqlparse.format
    monkeypatch.setattr(sqlparse, "format", lambda sql, **options: parsed.append(len(sql)) or formatted(sql, **options))
    sql = "SELECT " + repeated * 100_000

    assert indent(sql)
    assert indent(sql, without_columns=True)
    assert len(to_line(sql, 100)) <= 100
    assert parsed
    assert max(parsed) <= LONGEST_INDENTED


def test_json():
    moment = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    text = json.dumps({"x": (Finding("ok", "a", "b"), frozenset({"z", "y"}), moment, None, 1.5)}, cls=JSONEncoder)

    assert json.loads(text) == {
        "x": [
            {"level": "ok", "about": "a", "text": "b", "hint": ""},
            ["y", "z"],
            "2026-01-02T03:04:05Z",
            None,
            1.5,
        ]
    }


@pytest.mark.parametrize("kind", KINDS)
def test_every_cause_has_words(kind):
    told = describe_cause(Cause(kind, "shop_book", "the trigger t"))

    assert told
    assert "{" not in told


def test_words():
    assert describe_cause(Cause(c.CODE, "a", "the trigger t")) == "the trigger t runs when a is written"
    assert describe_cause(Cause(c.CODE, "a")) == "code of the database runs when a is written"
    assert describe_cause(None) == "the catalog has not been read"
    assert display_name(EPOCH) == "everything"
    assert display_name(SCHEMA) == "the schema"
    assert display_name("a") == "a"
    assert display_name(name_in_database("blog", EPOCH)) == "everything of the database blog"


# What a store tells -------------------------------------------------------------------------


def test_a_good_store():
    assert (
        findings(
            "redis",
            max_bytes=100,
            used_bytes=1,
            eviction_policy="allkeys-lru",
            evicted_keys=0,
            uptime=10,
            clock_offset=0.0,
        )
        == []
    )
    assert (
        findings(
            "memcached",
            max_bytes=100,
            used_bytes=1,
            eviction_policy="lru",
            max_entry_bytes=2**20,
            clock_offset=0.5,
            clock_error=1.0,
        )
        == []
    )
    assert findings("embedded", max_bytes=2**28, used_bytes=1) == []


def test_redis():
    only(findings("redis", max_bytes=0, eviction_policy="noeviction"), WARNING, "has no memory limit")
    only(findings("redis", max_bytes=100, used_bytes=10, eviction_policy="noeviction"), WARNING, "once it is full")
    only(findings("redis", max_bytes=100, used_bytes=99, eviction_policy="noeviction"), ERROR, "is full")
    only(
        findings("redis", max_bytes=100, used_bytes=99, eviction_policy="volatile-lru"),
        WARNING,
        "only entries with a TIMEOUT",
    )
    assert (
        findings("redis", max_bytes=100, used_bytes=99, eviction_policy="volatile-lru", settings={"TIMEOUT": 5}) == []
    )
    only(
        findings("redis", max_bytes=9, eviction_policy="allkeys-lru", details={"connected_slaves": "1"}),
        NOTE,
        "has replicas",
    )


def test_memcached():
    only(findings("memcached", eviction_policy="noeviction"), WARNING, "evicts nothing")
    only(findings("memcached", eviction_policy="lru", max_entry_bytes=1024), NOTE, "items of 1024 bytes")


def test_embedded():
    only(findings("embedded", max_bytes=2**28, details={"disk_free": 5, "disk_taken": 0}), WARNING, "has 5 bytes left")
    assert findings("embedded", max_bytes=2**28, details={"disk_free": 5, "disk_taken": 2**28}) == []
    only(findings("embedded", max_bytes=2**20), NOTE, "half of its file system")


def test_other_stores_tell_little():
    only(findings("django"), NOTE, "does not report")


def test_evictions():
    only(
        findings("redis", max_bytes=1, eviction_policy="allkeys-lru", evicted_keys=10, uptime=100),
        NOTE,
        "evicted 10 keys",
    )
    only(
        findings("redis", max_bytes=1, eviction_policy="allkeys-lru", evicted_keys=5000, uptime=100),
        WARNING,
        "50 per second",
    )


def test_clocks():
    only(findings("redis", max_bytes=1, eviction_policy="allkeys-lru", clock_offset=3.0), NOTE, "3.0 s ahead of")
    only(findings("redis", max_bytes=1, eviction_policy="allkeys-lru", clock_offset=-300.0), NOTE, "behind")
    only(findings("memcached", eviction_policy="lru", clock_offset=5.0, clock_error=1.0), NOTE, "ahead of")
    only(findings("memcached", eviction_policy="lru", clock_offset=30.0, clock_error=1.0), WARNING, "ahead of")


def test_a_store_that_is_about_to_be_away():
    only(findings("redis", 0.2, max_bytes=1, eviction_policy="allkeys-lru"), WARNING, "counts as failed")
    assert findings("embedded", 0.2, max_bytes=2**28) == []
