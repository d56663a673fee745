"""A statement for which the cache does not pay is left alone, and its answers stay right."""

from __future__ import annotations

import datetime
import logging

import pytest
from django.db import connection, connections

import ormcache
from ormcache import reads, worth
from tests.live.reading import stats
from tests.shop.models import Author


def names(using: str = "default") -> list[str]:
    return list(Author.objects.using(using).order_by("pk").values_list("name", flat=True))


@pytest.fixture
def judged(configure, monkeypatch):
    """The first two results that a write retires decide, whatever the times."""
    configure(ADAPTIVE=True)
    monkeypatch.setattr(worth, "WINDOW", 2)
    Author.objects.create(name="0")


def write_and_read(times: int) -> None:
    for number in range(times):
        Author.objects.update(name=str(number))
        assert names() == names("plain") == [str(number)]


def test_a_table_that_is_written_before_each_read(judged, queries, caplog):
    with caplog.at_level(logging.INFO, "ormcache"):
        write_and_read(3)
    before = stats()["bypassed"].get("not worth it", 0)
    with queries(2):
        assert names() == names()
    assert stats()["bypassed"]["not worth it"] == before + 2

    (alone,) = ormcache.left_alone("default")
    assert alone["sql"].startswith("SELECT")
    assert alone["relations"] == connection.ormcache.database.plan(alone["sql"])[0].relations
    assert (alone["hits"], alone["retired"]) == (0, 2)
    assert alone["until"] > datetime.datetime.now(datetime.UTC)
    assert ormcache.left_alone() == [alone]
    (record,) = [record for record in caplog.records if "left alone" in record.getMessage()]
    assert record.levelname == "INFO"


def test_what_is_left_alone_shows_every_write(judged):
    write_and_read(10)


def test_other_statements_on_the_table_are_asked_for(judged, queries):
    write_and_read(3)
    Author.objects.count()
    with queries(0):
        Author.objects.count()


def test_it_is_tried_again(judged, queries, monkeypatch):
    write_and_read(3)
    later = worth.time.monotonic() + worth.FIRST_REST
    monkeypatch.setattr(worth.time, "monotonic", lambda: later)
    names()
    with queries(0):
        names()
    assert ormcache.left_alone() == []


@pytest.mark.parametrize("setting", [{"ADAPTIVE": False}, {"PINNED": ["shop.Author"]}, {"PINNED": ["shop_auth*"]}])
def test_overruled(judged, configure, queries, setting):
    configure(**setting)
    write_and_read(5)
    names()
    with queries(0):
        names()


def test_a_write_tells_the_store_all_the_same(judged, other_process):
    """Another process has results of what is left alone here."""
    write_and_read(3)
    assert other_process("tests.live.test_adaptive.names") == ["2"]
    Author.objects.update(name="new")
    assert other_process("tests.live.test_adaptive.names") == ["new"]


def test_a_result_that_was_retired_in_the_store_counts_as_retired(judged, configure, queries):
    """Not only one in the memory of this process."""
    configure(LOCAL_SIZE=0)
    write_and_read(3)
    with queries(1):
        names()


def test_what_a_read_had_to_connect_for_is_time_of_the_database(judged, monkeypatch):
    """By a clock that goes on while connecting only."""
    told, now = [], [0.0]
    names()
    Author.objects.update(name="1")
    connection.close()

    wrapper = type(connections["default"])
    connect = wrapper.connect
    monkeypatch.setattr(wrapper, "connect", lambda self: now.append(now[-1] + 5) or connect(self))
    monkeypatch.setattr(reads.time, "perf_counter", lambda: now[-1])
    monkeypatch.setattr(worth.Worth, "missed", lambda self, took, query, **more: told.append((took, query)))
    names()
    assert told == [(0, 5)]
