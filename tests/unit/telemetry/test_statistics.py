"""Counters of one process, and what is made of those of several."""

from __future__ import annotations

import threading
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ormcache.database.outside_writes import OutsideCounts, OutsideWrite
from ormcache.purging.queue import PurgeCounts
from ormcache.telemetry import Counters, Miss, QueryCounters, Tally, total_of
from ormcache.telemetry import counters as counting
from ormcache.telemetry.history import COARSE, COLUMNS, FINE, History
from ormcache.telemetry.payload import MOST_RELATIONS_PUBLISHED, counts_of
from ormcache.telemetry.query_stats import MOST_SAMPLES
from ormcache.telemetry.report import (
    MOST_SAMPLES_REPORTED,
    Report,
    ReportBuilder,
)
from ormcache.telemetry.tally import saved_seconds

NOW = 1_800_000_000.0


def plan(text: str, *relations: str) -> Any:
    """As much of a plan as counters look at."""
    return SimpleNamespace(statement=SimpleNamespace(digest=text.encode()), relations=frozenset(relations))


def missed(counters: Counters, query: QueryCounters, cause: str = Miss.COLD, **others: Any) -> None:
    given = {
        "invalidated_by": None,
        "seconds": 0.001,
        "query_seconds": 0.01,
        "rejected": None,
        "bytes_written": 0,
        "waited": False,
    } | others
    counters.record_miss(query, cause, **given)


# Counting -----------------------------------------------------------------------------


def test_total_is_all_there_is():
    counters = Counters("default")
    first, second = counters.query(plan("a", "t"), "SELECT 1"), counters.query(plan("b", "t", "u"), "SELECT 2")
    counters.record_hit(first, 0.5, bytes_read=10, waited=False)
    counters.record_wait(second)
    counters.record_hit(second, 0.25, bytes_read=0, waited=True, by_row=True)
    missed(counters, first, Miss.INVALIDATED, invalidated_by="t", bytes_written=7, by_row=True)
    missed(counters, second, Miss.MARKED, rejected="marked", by_row=True)
    counters.record_bypass("disabled", None)
    counters.record_bypass("blacklisted", second)
    counters.record_bypass_time(second, 2.0)
    counters.record_share(first, 5, "too large")

    assert counters.total() == Tally(
        hits=2,
        row_hits=1,
        row_invalidated=1,
        hit_seconds=0.5,
        misses=2,
        miss_seconds=0.002,
        query_seconds=0.02,
        stored=1,
        waited=1,
        waited_seconds=0.25,
        uncached=1,
        uncached_seconds=2.0,
        bytes_read=10,
        bytes_written=12,
        missed={"invalidated": 1, "marked": 1},
        bypassed={"disabled": 1, "blacklisted": 1},
        rejected={"marked": 1, "too large": 1},
        invalidated_by={"t": 1},
    )
    relations = counters.tally_by_relation()
    assert {name: tally.hits for name, tally in relations.items()} == {"t": 2, "u": 1}
    assert relations["u"].bypassed == {"blacklisted": 1}


def test_nothing_is_lost_when_queries_make_room(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(counting, "MOST_QUERIES", 8)
    monkeypatch.setattr(counting, "LEAVING", 3)
    counters = Counters("default")
    often = counters.query(plan("often", "t"), "SELECT 0")
    for _ in range(5):
        counters.record_hit(often, 1.0, bytes_read=0, waited=False)
    for number in range(50):
        counters.record_hit(counters.query(plan(str(number), "t"), "SELECT 1"), 1.0, bytes_read=0, waited=False)

    assert len(counters.queries()) <= 8
    assert counters.query(plan("often", "t"), "SELECT 0") is often
    assert counters.total().hits == 55
    assert counters.tally_by_relation()["t"].hits == 55


def test_savings_are_what_hits_would_have_taken_at_the_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(counting, "MOST_QUERIES", 2)
    monkeypatch.setattr(counting, "LEAVING", 1)
    counters = Counters("default")
    text = counters.query(plan("a", "t"), "SELECT")
    counters.record_hit(text, 0.0, bytes_read=0, waited=False)
    assert counters.saved_seconds() == 0  # nobody knows yet what it takes
    missed(counters, text, query_seconds=8.0)
    assert counters.saved_seconds() == 8
    assert counters.saved_seconds() == 8
    missed(counters, text, query_seconds=2.0)
    assert counters.saved_seconds() == 8
    counters.record_hit(text, 0.0, bytes_read=0, waited=False)
    for name in ("b", "c", "d"):  # it makes room, and is not forgotten
        other = counters.query(plan(name, "t"), "SELECT")
        for _ in range(9):
            counters.record_hit(other, 0.0, bytes_read=0, waited=False)
    assert text.digest not in {one.digest for one in counters.queries()}
    assert counters.saved_seconds() == 8 + 5


def test_one_text_of_two_tenants_is_two():
    counters = Counters("default")
    counters.record_hit(counters.query(plan("a", "one.t"), "SELECT"), 1.0, bytes_read=0, waited=False)
    counters.record_hit(counters.query(plan("a", "two.t"), "SELECT"), 1.0, bytes_read=0, waited=False)

    assert {name: tally.hits for name, tally in counters.tally_by_relation().items()} == {"one.t": 1, "two.t": 1}


def test_threads_lose_no_count():
    counters = Counters("default")
    text = counters.query(plan("a", "t"), "SELECT")

    def count() -> None:
        for _ in range(5000):
            counters.record_hit(text, 1.0, bytes_read=1, waited=False)
            counters.record_bypass("disabled", None)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    total = counters.total()
    assert (total.hits, total.hit_seconds, total.bytes_read, total.bypassed) == (
        20000,
        20000,
        20000,
        {"disabled": 20000},
    )


def test_writes_are_counted_many_at_once():
    counters, written = Counters("default"), frozenset({"a"})
    for number in range(3 * counting.MOST_NEW_WRITES + 1):
        counters.record_write(written, {written: f"UPDATE a {number} {'x' * 10_000}"}, 0.5, marked=True, published=True)
        assert len(counters._new_writes) < counting.MOST_NEW_WRITES
        assert all(len(new.causes[written]) <= counting.LONGEST_SQL for new in counters._new_writes)

    assert counters.write_totals.writes == number + 1
    assert counters.write_counts() == {"a": number + 1}
    assert counters.relation_writes()["a"].cause("a").startswith(f"UPDATE a {number} ")
    counters.reset()
    counters.record_write(written, {}, 0.5, marked=True, published=True)
    counters.record_excluded_write(frozenset({"b"}), "UPDATE b")  # counted after what was before it
    assert list(counters.write_counts()) == ["a", "b"]


def test_writes_by_relation_with_their_cause():
    counters = Counters("default")
    causes = {frozenset({"a", "b"}): "UPDATE a", frozenset({"c"}): "INSERT INTO c"}
    counters.record_write(frozenset({"a", "b", "c", "*schema"}), causes, 0.5, marked=True, published=True)
    counters.record_write(frozenset({"c"}), {}, 0.25, marked=False, published=False)

    written = counters.relation_writes()
    assert {name: one.writes for name, one in written.items()} == {"a": 1, "b": 1, "c": 2, "*schema": 1}
    assert (written["b"].cause("b"), written["a"].cause("a"), written["c"].cause("c")) == ("UPDATE a", "UPDATE a", "")
    assert asdict(counters.write_totals) == {"writes": 2, "unpublished": 1, "seconds": 0.75, "marks": 1}
    assert [(event.kind, event.relations, event.cause) for event in counters.events()] == [
        ("schema change", ("a", "b", "c"), "UPDATE a"),
        ("invalidation", ("c",), ""),
    ]


def test_events_of_one_kind_leave_room_for_others():
    counters = Counters("default")
    counters.record_write(frozenset({"rare"}), {}, 0.0, marked=True, published=True)
    for number in range(1000):
        often = frozenset({"often"})
        counters.record_write(often, {often: f"UPDATE {number % 3}"}, 0.0, marked=True, published=True)

    events = counters.events()
    assert [(event.relations, event.cause, event.times) for event in events] == [
        (("rare",), "", 1),
        (("often",), "UPDATE 1", 333),
        (("often",), "UPDATE 2", 333),
        (("often",), "UPDATE 0", 334),
    ]
    both = report_of("default", [payload("1", counters), payload("2", counters)], NOW).events
    assert [(event.cause, event.times) for event in both] == [
        ("UPDATE 0", 668),
        ("UPDATE 2", 666),
        ("UPDATE 1", 666),
        ("", 2),
    ]


def test_events_are_bounded():
    counters = Counters("default")
    for number in range(3 * counting.MOST_EVENTS):
        counters.record_write(
            frozenset({"t"}), {frozenset({"t"}): f"UPDATE {number}"}, 0.0, marked=True, published=True
        )

    assert [event.cause for event in counters.events()][-1] == f"UPDATE {3 * counting.MOST_EVENTS - 1}"
    assert len(counters.events()) == counting.MOST_EVENTS


def test_the_project_s_line_is_found():
    text = Counters("default").query(plan("a", "t"), "SELECT")

    assert text.caller is not None
    path, line = text.caller.split(":")
    assert path == "tests/unit/telemetry/test_statistics.py"
    assert "query(plan(" in Path(__file__).read_text().splitlines()[int(line) - 1]


# Samples ------------------------------------------------------------------------------


def test_frequent_executions_are_remembered():
    text = QueryCounters(b"a", "SELECT", frozenset({"t"}), None)
    for number in range(400):
        text.add_sample(b"often", "SELECT", ("often",), ("multi", 1, False))
        text.add_sample(b"%d" % number, "SELECT", (number,), ("multi", 1, False))

    assert len(text.samples) == MOST_SAMPLES
    assert text.samples[b"often"].params == ("often",)
    assert text.samples[b"often"].seen == 400


def test_a_frequent_execution_that_comes_late_is_remembered_too():
    text = QueryCounters(b"a", "SELECT", frozenset({"t"}), None)
    for number in range(MOST_SAMPLES):
        for _ in range(5):
            text.add_sample(b"early %d" % number, "SELECT", (), ("multi", 1, False))
    for number in range(100):
        text.add_sample(b"late", "SELECT", ("late",), ("multi", 1, False))
        text.add_sample(b"%d" % number, "SELECT", (number,), ("multi", 1, False))

    assert b"late" in text.samples


# History ------------------------------------------------------------------------------


def totals(hits: float) -> list[float]:
    return [hits, *[0.0] * (len(COLUMNS) - 1)]


def test_growth_belongs_to_its_minute():
    history = History()
    history.record(NOW, totals(5))
    history.record(NOW + 10, totals(7))
    history.record(NOW + FINE, totals(20))

    assert [(point.at, point.seconds, point.hits) for point in history.points(NOW + FINE)] == [
        (int(NOW), FINE, 7),
        (int(NOW) + FINE, FINE, 13),
    ]


def test_history_gets_coarse_and_ends():
    history = History()
    for minute in range(26 * 60):
        history.record(NOW + minute * FINE, totals(minute + 1))
    end = NOW + 26 * 3600
    points = history.points(end)

    assert points[0].at >= end - 24 * 3600 - COARSE
    assert {point.seconds for point in points} == {FINE, COARSE}
    assert all(point.hits * FINE == point.seconds for point in points), "one a minute, whatever the length"
    assert len(points) < 24 * 6 + 80
    assert [point.at for point in points] == sorted(point.at for point in points)


def test_histories_add_up():
    both = History()
    for hits in (3, 4):
        history = History()
        history.record(NOW, totals(hits))
        both.add_rows(history.rows())

    assert [point.hits for point in both.points(NOW)] == [7]


# Reports ------------------------------------------------------------------------------


def payload(process: str, counters: Counters, **others: Any) -> dict[str, Any]:
    about = {"id": process, "host": "h", "pid": 1, "command": "c", "began": NOW - 600, "at": NOW}
    rest = {"queries": [], "history": [], "outages": [], "pending": [], "purges": PurgeCounts(1, 2, 3)._asdict()}
    rest |= {
        "outside": OutsideCounts(
            {"t": OutsideWrite(2, NOW), "u": OutsideWrite(1, NOW - 9)}, 4, 1.0, 0.7, (0,) * 4 + (3, 0, 0, 1, 0, 0, 0, 0)
        ).as_mapping()
    }
    return {"process": about, "alias": "default", **counts_of(counters), **rest, **others}


def report_of(using: str, payloads: list[dict[str, Any]], now: float) -> Report:
    builder = ReportBuilder(using, now)
    for one in payloads:
        builder.add(one)
    return builder.report()


def test_a_report_adds_up():
    one, other = Counters("default"), Counters("default")
    for counters, hits in ((one, 3), (other, 4)):
        text = counters.query(plan("a", "t"), "SELECT")
        for _ in range(hits):
            counters.record_hit(text, 0.001, bytes_read=0, waited=False)
        missed(counters, text, Miss.INVALIDATED, invalidated_by="t", query_seconds=0.1)
        counters.record_write(frozenset({"t"}), {frozenset({"t"}): f"UPDATE {hits}"}, 0.5, marked=True, published=True)

    report = report_of(
        "default",
        [payload("1", one), payload("2", other, pending=["t"], outages=[{"began": NOW, "ended": None, "error": "E"}])],
        NOW,
    )

    assert (report.total.hits, report.total.misses, report.writes, report.write_seconds) == (7, 2, 2, 1.0)
    assert report.saved_seconds == pytest.approx(7 * 0.1)
    assert report.cache_seconds == pytest.approx(0.007 + 0.002 + 1.0)
    assert report.gain_seconds == pytest.approx(0.7 - 1.009)
    relation, other_one = report.relations
    assert (relation.outside_writes, relation.outside_written_at) == (4, NOW)
    assert (other_one.name, other_one.outside_writes, other_one.outside_written_at) == ("u", 2, NOW - 9)
    assert (report.outside_writes, report.outside_written_at) == (6, NOW)
    assert (report.recorded_writes, report.mean_recorded_lag, report.longest_recorded_lag) == (8, 0.25, 0.7)
    assert (report.recorded_lags[4], report.recorded_lags[7], report.p99_recorded_lag) == (6, 2, 0.7)
    assert (relation.name, relation.writes, relation.invalidated, relation.cause) == ("t", 2, 2, "UPDATE 4")
    assert relation.writes_per_minute == pytest.approx(0.2)
    assert report.pending == ("t",)
    assert (report.purges, report.purge_failures, report.unpurged) == (2, 4, 6)
    assert report.outages[0].ended is None
    assert report.since == NOW - 600


def test_executions_of_many_processes_have_a_bound_in_a_report():
    counters = Counters("default")
    text = counters.query(plan("a", "t"), "SELECT")
    processes = []
    for number in range(MOST_SAMPLES_REPORTED + 20):
        sample = {"sql": "SELECT", "params": None, "numbers": {}, "shape": [], "seen": number}
        given = {
            "key": "a",
            "digest": "",
            "sql": "",
            "relations": [],
            "tally": {},
            "caller": None,
            "uses_current_time": False,
        }
        texts = [given | {"adaptive_bypass": None, "samples": [sample]}]
        processes.append(payload(str(number), counters, queries=texts))

    (text,) = report_of("default", processes, NOW).queries

    assert sorted(sample["seen"] for sample in text.samples) == list(range(20, MOST_SAMPLES_REPORTED + 20))


def test_statistics_of_relations_have_a_bound():
    """Where schemas or scratch tables come and go. What was counted stays in the sums."""
    counters, many = Counters("default"), counting.MOST_RELATIONS + 2 * counting.LEAVING
    for number in range(many):
        name = f"scratch_{number}"
        counters.record_write(frozenset({name}), {frozenset({name}): "INSERT"}, 0.0, marked=True, published=True)
        missed(counters, counters.query(plan(name, name), "SELECT"), Miss.INVALIDATED, invalidated_by=name)

    written, invalidated = counters.write_counts(), counters.invalidated_counts()

    assert sum(written.values()) == sum(invalidated.values()) == many
    assert max(len(written), len(invalidated)) <= counting.MOST_RELATIONS + 1
    assert len(counters.tally_by_relation()) <= counting.MOST_RELATIONS + counting.MOST_QUERIES
    assert len(counters.total().invalidated_by) <= counting.MOST_RELATIONS + counting.MOST_QUERIES
    first = [f"scratch_{number}" for number in range(counting.FIRST_RELATIONS)]
    assert list(written)[: len(first)] == list(invalidated)[: len(first)] == first
    assert {f"scratch_{many - 1}", counting.OTHER_RELATIONS} <= written.keys()
    assert len(counts_of(counters)["relations"]) == MOST_RELATIONS_PUBLISHED


def test_the_busiest_relations_are_published():
    counters = Counters("default")
    for number in range(MOST_RELATIONS_PUBLISHED + 5):
        counters.record_write(frozenset({f"t{number}"}), {}, 0.0, marked=True, published=True)
    for _ in range(2):
        counters.record_write(frozenset({"zzz"}), {}, 0.0, marked=True, published=True)

    assert "zzz" in counts_of(counters)["relations"]


def test_hits_of_unpublished_queries_count_with_the_mean():
    total = Tally(hits=10, misses=2, query_seconds=4.0)

    assert saved_seconds([], total) == 20.0
    assert saved_seconds([Tally(hits=4, misses=1, query_seconds=1.0)], total) == 4.0 + 6 * 2.0
    assert saved_seconds([], Tally(hits=10)) == 0.0


def test_a_report_of_nothing():
    report = report_of("default", [], NOW)

    assert report == Report("default", NOW)
    assert (report.since, report.gain_seconds, report.total.hit_rate) == (None, 0.0, None)


def test_statistics_of_another_version_are_read():
    tally = Tally.from_mapping({"hits": 3, "invented_later": 5})

    assert tally == Tally(hits=3)
    assert total_of([tally, tally]).nonzero() == {"hits": 6}


@pytest.mark.parametrize("sql, params", [("x" * 5000, ()), ("SELECT", ("x" * 5000,)), ("SELECT", (["x" * 50] * 100,))])
def test_a_long_execution_is_not_remembered(sql, params):
    """It would be published, and leave no room for anything else."""
    text = QueryCounters(b"", "SELECT", frozenset(), None)
    text.add_sample(b"long", sql, params, ("multi", 1, False))
    text.add_sample(b"short", "SELECT", ("x" * 50, 1, None), ("multi", 1, False))

    assert text.samples.keys() == {b"short"}
