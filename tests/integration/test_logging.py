"""Every line that the logger ``ormcache`` may write: each is documented, each is written once for what it is about."""

from __future__ import annotations

import ast
import functools
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from django.conf import settings
from django.db import connection, connections
from django.test import override_settings

import ormcache
from ormcache.background.worker import Databases, worker
from ormcache.session import identification, session_reader
from ormcache.signals import hit
from ormcache.telemetry.publisher import Publisher
from ormcache.utils.log_throttle import PAUSE, LogThrottle
from tests.integration.calls import count_anew
from tests.integration.reading import judge_at_once
from tests.shop.models import Author, Genre
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]

#: (level, line with … for what differs)
Line = tuple[str, str]


@functools.cache
def lines_of_the_code() -> frozenset[Line]:
    found = set()
    for path in (ROOT / "ormcache").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if not (isinstance(node.func.value, ast.Name) and node.func.value.id == "logger"):
                continue
            text = node.args[0]
            assert isinstance(text, ast.Constant), f"{path.name}:{node.lineno}: the line is written out"
            level = {"exception": "ERROR"}.get(node.func.attr, node.func.attr.upper())
            found.add((level, re.sub("…+$", "…", re.sub(r"%\.?\d*[sdrf]", "…", text.value))))
    return frozenset(found)


def lines_of_the_guide() -> list[Line]:
    section = (ROOT / "docs/guide.md").read_text(encoding="utf-8").split("### The log\n")[1].split("\n#")[0]
    return re.findall(r"^\| (\w+) \| `([^`]+)` \|", section, re.MULTILINE)


def test_every_line_is_documented():
    documented = lines_of_the_guide()
    assert len(documented) == len(set(documented))
    assert set(documented) == lines_of_the_code()


def test_every_module_has_the_same_logger():
    for path in (ROOT / "ormcache").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert set(re.findall(r"getLogger\(([^)]*)\)", text)) <= {'"ormcache"'}, path.name


@pytest.fixture
def log(caplog) -> Callable[[], list[Line]]:
    """The lines that were written, with … for what differs."""
    caplog.set_level(logging.DEBUG, "ormcache")
    patterns = {line: re.escape(line[1]).replace("…", ".*") for line in lines_of_the_code()}

    def written() -> list[Line]:
        found = []
        for record in caplog.records:
            if record.name == "ormcache":
                text = record.getMessage()
                assert "\n" not in text
                of_it = [one for one, pattern in patterns.items() if re.fullmatch(pattern, text)]
                assert [level for level, _ in of_it] == [record.levelname], text
                found += of_it
        return found

    return written


def test_a_normal_life_has_nothing_to_say(log, other_process):
    for number in range(3):
        Author.objects.create(name=str(number))
        assert Author.objects.count() == Author.objects.count() == number + 1
        connection.close()
    ormcache.invalidate(Author)
    with ormcache.disabled():
        Author.objects.count()
    assert log() == []


# An outage --------------------------------------------------------------------------------


@pytest.fixture
def server(start_server):
    return start_server("redis")


@pytest.fixture
def store(server, configure) -> Iterator[Any]:
    """A Redis that this test may stop, as the store; nothing is kept in memory beside it."""
    own = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": server.url}
    with override_settings(CACHES=settings.CACHES | {"own": own}):
        configure(STORE="redis", CACHE="own", LOCAL_SIZE=0)
        client = redis.Redis(host=server.host, port=server.port)
        yield client
        client.close()
        connections.close_all()


AWAY = ("WARNING", "the … store is away, reads go to the database: …")
BACK = ("WARNING", "the … store answers again, after … s")
REFUSED = ("WARNING", "a write on … was refused: …")
DAMAGED = ("WARNING", "a damaged entry was removed: a query of …")


def test_an_outage(store, server, log):
    Author.objects.count()
    for _ in range(2):
        server.stop()
        for _ in range(5):
            Author.objects.count()
        server.start()
        eventually(_asks_the_store)
    assert [line for line in log() if line[0] == "WARNING"] == [AWAY, BACK] * 2


def _asks_the_store() -> bool:
    Author.objects.count()
    return connection.ormcache.database.stamps.store.is_answering


def test_refused_writes(store, server, log, configure):
    configure(ON_OUTAGE="refuse")
    Author.objects.count()
    server.stop()
    for _ in range(3):
        with pytest.raises(ormcache.WriteRefused):
            Author.objects.create(name="A")
    assert log() == [AWAY, REFUSED]
    server.start()


def test_damaged_entries(store, log, caplog):
    count_anew()
    for _ in range(3):
        Author.objects.count()
        for key in store.keys("ormcache:*:e*") or store.keys("ormcache:*"):
            value = store.get(key)
            if len(value) > 16:
                store.set(key, value[:-1] + bytes([value[-1] ^ 1]))
        Author.objects.count()
    counted = ormcache.stats("default")
    assert {key: counted[key] for key in ("damaged", "stored", "bypassed", "rejected")} == {
        "damaged": 3,
        "stored": 4,
        "bypassed": {},
        "rejected": {},
    }
    assert log() == [DAMAGED]
    assert "shop_author" in caplog.messages[-1]


# What cannot be read -------------------------------------------------------------------------


def test_a_database_that_does_not_tell_who_it_is(log, monkeypatch):
    def fail(self, *args) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(session_reader.SessionReader, "identify", fail)
    connection.close()
    for _ in range(2):
        Author.objects.count()
        connection.close()
    assert log() == [("ERROR", "the database … does not report its identity; nothing is cached")]


def test_a_catalog_that_cannot_be_read(log, monkeypatch):
    Author.objects.count()

    def fail(self, *args) -> None:
        raise ZeroDivisionError

    database = connection.ormcache.database
    with monkeypatch.context() as patched:
        patched.setattr(type(database.catalog_cache), "load", fail)
        database.catalog_cache.forget()
        for _ in range(3):
            Author.objects.count()
    assert log() == [("ERROR", "the catalog of … could not be read…")]
    Author.objects.count()


def test_a_platform_without_an_embedded_store(log, configure, monkeypatch):
    monkeypatch.setattr(identification, "missing_for_embedded", lambda: "the package lmdb")
    connection.close()
    for _ in range(2):
        Author.objects.count()
        connection.close()
    assert log() == [("WARNING", "the embedded store of the database … needs …: nothing is cached")]


def test_a_database_elsewhere_without_a_store(log, configure, monkeypatch):
    monkeypatch.setattr(identification.conf, "is_local", lambda settings_dict: False)
    connection.close()
    for _ in range(2):
        Author.objects.count()
        connection.close()
    assert log() == [
        (
            "WARNING",
            "the database … is not certain to be on this host, and no STORE is named in ORMCACHE: nothing is cached",
        )
    ]


def test_statistics_that_cannot_be_published(log, configure, monkeypatch):
    """Said once; the thread goes on."""
    calls = []

    def fail(self: Publisher, databases: Databases) -> None:
        calls.append(self)
        raise ZeroDivisionError

    monkeypatch.setattr(Publisher, "run", fail)
    worker.reset()
    configure(STATISTICS_INTERVAL=0.005)
    connection.close()
    Author.objects.count()
    eventually(lambda: len(calls) >= 3)
    worker.reset()  # ends its thread
    assert log() == [("ERROR", "the … of this process failed, and will be tried again")]


# What is good to know -----------------------------------------------------------------------


def test_changes_of_the_schema(log, ddl):
    Author.objects.count()
    for number in range(3):
        ddl(f"CREATE TABLE log_{number} (id integer)", f"DROP TABLE log_{number}")
        Author.objects.count()
    assert log() == [
        ("INFO", "the catalog of … was read anew in … ms: the schema has changed, or the store is a new one…")
    ]


def test_what_does_not_pay(log, configure, monkeypatch):
    configure(ADAPTIVE=True)
    judge_at_once(monkeypatch)
    for number in range(3):
        Genre.objects.update(name=str(number))
        list(Genre.objects.all())
    assert log() == [("INFO", "adaptive bypass began: … (…)")]
    plan = connection.ormcache.database.plans.adaptive_bypasses()[0][1]
    plan.adaptive_bypass.record_miss(0.001, 1.0, invalidated=False, vector=b"last")
    for _ in range(50):
        if not plan.adaptive_bypass.is_active or plan.adaptive_bypass.is_probe_due():
            plan.adaptive_bypass.record_hit(0.001)
    assert log()[1:] == [("INFO", "adaptive bypass ended: …, because …")]


def test_a_receiver_that_django_cannot_name(log):
    def fail(**arguments: Any) -> None:
        raise ZeroDivisionError

    receiver = functools.partial(fail)
    hit.connect(receiver)
    try:
        assert Author.objects.count() == Author.objects.count()
    finally:
        hit.disconnect(receiver)
    assert log() == [("ERROR", "a signal could not be sent to all of its receivers")]


# Not too much --------------------------------------------------------------------------------


def test_what_could_be_said_all_the_time_is_said_seldom():
    now = [1.0]
    seldom = LogThrottle(clock=lambda: now[0])
    assert seldom.due() == ""
    assert [seldom.due() for _ in range(5)] == [None] * 5
    now[0] += PAUSE
    assert seldom.due() == " (and 5 more since the last such line)"
    now[0] += PAUSE
    assert seldom.due() == ""


def test_every_line_is_tested():
    """Here, or with what writes it: its beginning stands in some test. (Those about pushes in tests/stores.)"""
    tests = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")]
    lines = [text for _, text in lines_of_the_code() if " push" not in text]

    assert [text for text in lines if not any(text.partition("…")[0][:40] in test for test in tests)] == []
