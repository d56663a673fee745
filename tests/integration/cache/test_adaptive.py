"""A statement for which the cache does not pay bypasses it, and its answers stay right."""

from __future__ import annotations

import datetime
import logging
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, connections

import ormcache
from ormcache.cache import adaptive, single_flight
from ormcache.cache.adaptive import AdaptiveBypass
from ormcache.cache.probes import LONGEST_GAP, RUN
from ormcache.read_path import read
from tests.integration import actors
from tests.integration.actors import Actor
from tests.integration.reading import judge_at_once, stats
from tests.shop.models import Author
from tests.waiting import eventually

#: Seconds; nobody is to wait for so long
FOR_EVER = 40


def names(using: str = "default") -> list[str]:
    return list(Author.objects.using(using).order_by("pk").values_list("name", flat=True))


@pytest.fixture
def judged(configure, monkeypatch):
    """Results that two writes have invalidated decide, whatever the times."""
    configure(ADAPTIVE=True)
    judge_at_once(monkeypatch)
    Author.objects.create(name="0")


def write_and_read(times: int) -> None:
    for number in range(times):
        Author.objects.update(name=str(number))
        assert names() == names("plain") == [str(number)]


def test_a_table_that_is_written_before_each_read(judged, queries, caplog):
    with caplog.at_level(logging.INFO, "ormcache"):
        write_and_read(3)
    before = stats()["bypassed"].get("adaptive bypass", 0)
    with queries(2):
        assert names() == names()
    assert stats()["bypassed"]["adaptive bypass"] == before + 2

    (alone,) = ormcache.adaptive_bypasses("default")
    assert alone["sql"].startswith("SELECT")
    state = connection.ormcache
    assert alone["relations"] == state.database.plans.plan(alone["sql"], state.resolution_context())[0].relations
    assert (alone["hits"], alone["invalidated"]) == (0, 1)
    assert alone["since"] <= datetime.datetime.now(datetime.UTC)
    assert ormcache.adaptive_bypasses() == [alone]
    (record,) = [record for record in caplog.records if "adaptive bypass" in record.getMessage()]
    assert record.levelname == "INFO"


def test_a_bypassed_statement_shows_every_write(judged):
    write_and_read(10)


def test_other_statements_on_the_table_are_asked_for(judged, queries):
    write_and_read(3)
    Author.objects.count()
    with queries(0):
        Author.objects.count()


def test_it_is_tried_again(judged, queries):
    write_and_read(10)
    assert ormcache.adaptive_bypasses()
    for _ in range(LONGEST_GAP + RUN):
        names()
    with queries(0):
        names()


@pytest.mark.parametrize("setting", [{"ADAPTIVE": False}, {"PINNED": ["shop.Author"]}, {"PINNED": ["shop_auth*"]}])
def test_overruled(judged, configure, queries, setting):
    configure(**setting)
    write_and_read(5)
    names()
    with queries(0):
        names()


def test_a_write_is_published_all_the_same(judged, other_process):
    """Another process has results of what is left alone here."""
    write_and_read(3)
    assert other_process("tests.integration.cache.test_adaptive.names") == ["2"]
    Author.objects.update(name="new")
    assert other_process("tests.integration.cache.test_adaptive.names") == ["new"]


def test_a_result_that_was_invalidated_in_the_store_counts_as_invalidated(judged, configure, queries):
    """Not only one in the memory of this process."""
    configure(LOCAL_SIZE=0)
    write_and_read(3)
    with queries(1):
        names()


def test_what_a_read_had_to_connect_for_is_time_of_the_database(configure, monkeypatch):
    """By a clock that goes on while connecting only."""
    configure(ADAPTIVE=True)
    Author.objects.create(name="0")
    told, now = [], [0.0]
    names()
    Author.objects.update(name="1")
    connection.close()

    wrapper = type(connections["default"])
    connect = wrapper.connect
    monkeypatch.setattr(wrapper, "connect", lambda self: now.append(now[-1] + 5) or connect(self))
    monkeypatch.setattr(read.time, "perf_counter", lambda: now[-1])
    monkeypatch.setattr(
        adaptive.AdaptiveBypass, "record_miss", lambda self, took, query, **more: told.append((took, query))
    )
    names()
    assert told == [(0, 5)]


def test_simultaneous_readers_of_a_slow_query_wait_for_one_after_a_phase_of_writes(configure, monkeypatch):
    """By what is told of its time: 200 ms, whatever it takes here."""
    configure(ADAPTIVE=True, FLIGHT_WAIT=FOR_EVER)
    record_miss = AdaptiveBypass.record_miss
    monkeypatch.setattr(
        AdaptiveBypass, "record_miss", lambda self, took, query, **more: record_miss(self, took, 0.2, **more)
    )
    monkeypatch.setattr(single_flight, "TRIVIAL", 0)
    Author.objects.create(name="0")
    for number in range(3 * adaptive.WINDOW):
        Author.objects.update(name=str(number))
        names()
    assert ormcache.adaptive_bypasses() == []

    Author.objects.update(name="last")
    before = stats()
    with actors.points(monkeypatch), ThreadPoolExecutor(30) as pool:
        leader = Actor(names).to("before query")
        answers = [pool.submit(read_and_close) for _ in range(29)]
        eventually(lambda: stats()["waited"] == before["waited"] + 29)
        assert leader.finish() == ["last"]
        assert [answer.result() for answer in answers] == [["last"]] * 29
    assert stats()["misses"] == before["misses"] + 1
    assert stats()["bypassed"] == before["bypassed"]


def read_and_close() -> list[str]:
    try:
        return names()
    finally:
        connections.close_all()


def test_one_execution_in_some_is_looked_up_while_writes_go_on(judged, queries):
    write_and_read(10)
    before = stats()
    write_and_read(200)
    after = stats()
    lookups = after["misses"] + after["hits"] - before["misses"] - before["hits"]
    bypasses = after["bypassed"]["adaptive bypass"] - before["bypassed"]["adaptive bypass"]
    assert lookups + bypasses == 200
    assert 2 <= lookups <= 30


def test_a_probe_that_has_to_connect_is_looked_up(judged, monkeypatch):
    """It is decided anew once there is a connection."""
    write_and_read(5)
    monkeypatch.setattr(AdaptiveBypass, "is_probe_due", lambda self: True)
    Author.objects.update(name="new")
    connection.close()
    before = stats()
    assert names() == ["new"]
    assert stats()["misses"] == before["misses"] + 1
