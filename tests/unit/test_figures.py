"""Figures of one process, and what is made of those of several."""

from __future__ import annotations

import datetime
import threading
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ormcache.figures import Figures, Miss, Tally, Text, counting, has_present_moment, total_of
from ormcache.figures.history import COARSE, COLUMNS, FINE, History
from ormcache.figures.report import Report, report_of, saved_seconds, told_of
from ormcache.figures.text import MOST_SAMPLES

NOW = 1_800_000_000.0


def plan(text: str, *relations: str) -> Any:
    """As much of a plan as figures look at."""
    return SimpleNamespace(statement=SimpleNamespace(digest=text.encode()), relations=frozenset(relations))


def missed(figures: Figures, text: Text, cause: str = Miss.COLD, **others: Any) -> None:
    given = {"by": None, "seconds": 0.001, "query": 0.01, "refused": None, "written": 0, "waited": False} | others
    figures.missed(text, cause, **given)


# Counting -----------------------------------------------------------------------------


def test_total_is_all_there_is():
    figures = Figures("default")
    first, second = figures.text(plan("a", "t"), "SELECT 1"), figures.text(plan("b", "t", "u"), "SELECT 2")
    figures.hit(first, 0.5, read=10, waited=False)
    figures.waits(second)
    figures.hit(second, 0.25, read=0, waited=True)
    missed(figures, first, Miss.RETIRED, by="t", written=7)
    missed(figures, second, Miss.MARKED, refused="marked")
    figures.bypassed("disabled", None)
    figures.bypassed("blacklisted", second)
    figures.uncached(second, 2.0)
    figures.shared(first, 5, "too large")

    assert figures.total() == Tally(
        hits=2,
        hit_seconds=0.5,
        misses=2,
        miss_seconds=0.002,
        query_seconds=0.02,
        kept=1,
        waited=1,
        waited_seconds=0.25,
        uncached=1,
        uncached_seconds=2.0,
        bytes_read=10,
        bytes_written=12,
        missed={"retired": 1, "marked": 1},
        bypassed={"disabled": 1, "blacklisted": 1},
        refused={"marked": 1, "too large": 1},
        retired_by={"t": 1},
    )
    relations = figures.relations()
    assert {name: tally.hits for name, tally in relations.items()} == {"t": 2, "u": 1}
    assert relations["u"].bypassed == {"blacklisted": 1}


def test_nothing_is_lost_when_texts_make_room(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(counting, "MOST_TEXTS", 8)
    monkeypatch.setattr(counting, "LEAVING", 3)
    figures = Figures("default")
    often = figures.text(plan("often", "t"), "SELECT 0")
    for _ in range(5):
        figures.hit(often, 1.0, read=0, waited=False)
    for number in range(50):
        figures.hit(figures.text(plan(str(number), "t"), "SELECT 1"), 1.0, read=0, waited=False)

    assert len(figures.texts()) <= 8
    assert figures.text(plan("often", "t"), "SELECT 0") is often
    assert figures.total().hits == 55
    assert figures.relations()["t"].hits == 55


def test_savings_are_what_hits_would_have_taken_at_the_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(counting, "MOST_TEXTS", 2)
    monkeypatch.setattr(counting, "LEAVING", 1)
    figures = Figures("default")
    text = figures.text(plan("a", "t"), "SELECT")
    figures.hit(text, 0.0, read=0, waited=False)
    assert figures.saved_seconds() == 0  # nobody knows yet what it takes
    missed(figures, text, query=8.0)
    assert figures.saved_seconds() == 8
    assert figures.saved_seconds() == 8
    missed(figures, text, query=2.0)
    assert figures.saved_seconds() == 8
    figures.hit(text, 0.0, read=0, waited=False)
    for name in ("b", "c", "d"):  # it makes room, and is not forgotten
        other = figures.text(plan(name, "t"), "SELECT")
        for _ in range(9):
            figures.hit(other, 0.0, read=0, waited=False)
    assert text.digest not in {one.digest for one in figures.texts()}
    assert figures.saved_seconds() == 8 + 5


def test_one_text_of_two_tenants_is_two():
    figures = Figures("default")
    figures.hit(figures.text(plan("a", "one.t"), "SELECT"), 1.0, read=0, waited=False)
    figures.hit(figures.text(plan("a", "two.t"), "SELECT"), 1.0, read=0, waited=False)

    assert {name: tally.hits for name, tally in figures.relations().items()} == {"one.t": 1, "two.t": 1}


def test_threads_lose_no_count():
    figures = Figures("default")
    text = figures.text(plan("a", "t"), "SELECT")

    def count() -> None:
        for _ in range(5000):
            figures.hit(text, 1.0, read=1, waited=False)
            figures.bypassed("disabled", None)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    total = figures.total()
    assert (total.hits, total.hit_seconds, total.bytes_read, total.bypassed) == (
        20000,
        20000,
        20000,
        {"disabled": 20000},
    )


def test_writes_by_relation_with_their_cause():
    figures = Figures("default")
    causes = {frozenset({"a", "b"}): "UPDATE a", frozenset({"c"}): "INSERT INTO c"}
    figures.wrote(frozenset({"a", "b", "c", "*schema"}), causes, 0.5, marked=True, told=True)
    figures.wrote(frozenset({"c"}), {}, 0.25, marked=False, told=False)

    written = figures.written()
    assert {name: one.writes for name, one in written.items()} == {"a": 1, "b": 1, "c": 2, "*schema": 1}
    assert (written["b"].cause("b"), written["a"].cause("a"), written["c"].cause("c")) == ("UPDATE a", "UPDATE a", "")
    assert asdict(figures.writing) == {"writes": 2, "untold": 1, "seconds": 0.75, "marks": 1}
    assert [(event.kind, event.relations, event.cause) for event in figures.events()] == [
        ("schema change", ("a", "b", "c"), "UPDATE a"),
        ("invalidation", ("c",), ""),
    ]


def test_events_of_one_kind_leave_room_for_others():
    figures = Figures("default")
    figures.wrote(frozenset({"rare"}), {}, 0.0, marked=True, told=True)
    for number in range(1000):
        often = frozenset({"often"})
        figures.wrote(often, {often: f"UPDATE {number % 3}"}, 0.0, marked=True, told=True)

    events = figures.events()
    assert [(event.relations, event.cause, event.times) for event in events] == [
        (("rare",), "", 1),
        (("often",), "UPDATE 1", 333),
        (("often",), "UPDATE 2", 333),
        (("often",), "UPDATE 0", 334),
    ]
    both = report_of("default", [told("1", figures), told("2", figures)], NOW).events
    assert [(event.cause, event.times) for event in both] == [
        ("UPDATE 0", 668),
        ("UPDATE 2", 666),
        ("UPDATE 1", 666),
        ("", 2),
    ]


def test_events_are_bounded():
    figures = Figures("default")
    for number in range(3 * counting.MOST_EVENTS):
        figures.wrote(frozenset({"t"}), {frozenset({"t"}): f"UPDATE {number}"}, 0.0, marked=True, told=True)

    assert [event.cause for event in figures.events()][-1] == f"UPDATE {3 * counting.MOST_EVENTS - 1}"
    assert len(figures.events()) == counting.MOST_EVENTS


def test_the_project_s_line_is_found():
    text = Figures("default").text(plan("a", "t"), "SELECT")

    assert text.caller is not None
    path, line = text.caller.split(":")
    assert path == "tests/unit/test_figures.py"
    assert "text(plan(" in Path(__file__).read_text().splitlines()[int(line) - 1]


# Samples ------------------------------------------------------------------------------


def test_frequent_executions_are_remembered():
    text = Text(b"a", "SELECT", frozenset({"t"}), None)
    for number in range(400):
        text.sample(b"often", "SELECT", ("often",), ("multi", 1, False))
        text.sample(b"%d" % number, "SELECT", (number,), ("multi", 1, False))

    assert len(text.samples) == MOST_SAMPLES
    assert text.samples[b"often"].params == ("often",)
    assert text.samples[b"often"].seen == 400


def test_a_frequent_execution_that_comes_late_is_remembered_too():
    text = Text(b"a", "SELECT", frozenset({"t"}), None)
    for number in range(MOST_SAMPLES):
        for _ in range(5):
            text.sample(b"early %d" % number, "SELECT", (), ("multi", 1, False))
    for number in range(100):
        text.sample(b"late", "SELECT", ("late",), ("multi", 1, False))
        text.sample(b"%d" % number, "SELECT", (number,), ("multi", 1, False))

    assert b"late" in text.samples


@pytest.mark.parametrize(
    "params, is_moment",
    [
        (lambda now: [now], True),
        (lambda now: [1, [now]], True),
        (lambda now: [now.replace(tzinfo=None)], True),
        (lambda now: [now.replace(tzinfo=None).isoformat(" ")], True),
        (lambda now: [now.replace(microsecond=0)], False),
        (lambda now: [now - datetime.timedelta(days=3)], False),
        (lambda now: [now.date(), "2026-01-01 is no moment at all, is it?", "x" * 26, 7, None], False),
    ],
)
def test_a_present_moment_among_parameters(params: Any, is_moment: bool):
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=123456)

    assert has_present_moment(params(now)) is is_moment


# History ------------------------------------------------------------------------------


def totals(hits: float) -> list[float]:
    return [hits, *[0.0] * (len(COLUMNS) - 1)]


def test_growth_belongs_to_its_minute():
    history = History()
    history.reached(NOW, totals(5))
    history.reached(NOW + 10, totals(7))
    history.reached(NOW + FINE, totals(20))

    assert [(point.at, point.seconds, point.hits) for point in history.points(NOW + FINE)] == [
        (int(NOW), FINE, 7),
        (int(NOW) + FINE, FINE, 13),
    ]


def test_history_gets_coarse_and_ends():
    history = History()
    for minute in range(26 * 60):
        history.reached(NOW + minute * FINE, totals(minute + 1))
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
        history.reached(NOW, totals(hits))
        both.heard(history.told())

    assert [point.hits for point in both.points(NOW)] == [7]


# Reports ------------------------------------------------------------------------------


def told(process: str, figures: Figures, **others: Any) -> dict[str, Any]:
    about = {"id": process, "host": "h", "pid": 1, "command": "c", "began": NOW - 600, "at": NOW}
    rest = {"texts": [], "history": [], "outages": [], "pending": []}
    return {"process": about, "alias": "default", **told_of(figures), **rest, **others}


def test_a_report_adds_up():
    one, other = Figures("default"), Figures("default")
    for figures, hits in ((one, 3), (other, 4)):
        text = figures.text(plan("a", "t"), "SELECT")
        for _ in range(hits):
            figures.hit(text, 0.001, read=0, waited=False)
        missed(figures, text, Miss.RETIRED, by="t", query=0.1)
        figures.wrote(frozenset({"t"}), {frozenset({"t"}): f"UPDATE {hits}"}, 0.5, marked=True, told=True)

    report = report_of("default", [told("1", one), told("2", other, pending=["t"], outages=[[NOW, None, "E"]])], NOW)

    assert (report.total.hits, report.total.misses, report.writes, report.write_seconds) == (7, 2, 2, 1.0)
    assert report.saved_seconds == pytest.approx(7 * 0.1)
    assert report.cache_seconds == pytest.approx(0.007 + 0.002 + 1.0)
    assert report.gain_seconds == pytest.approx(0.7 - 1.009)
    (relation,) = report.relations
    assert (relation.name, relation.writes, relation.retired, relation.cause) == ("t", 2, 2, "UPDATE 4")
    assert relation.writes_per_minute == pytest.approx(0.2)
    assert report.pending == ("t",)
    assert report.outages[0].ended is None
    assert report.since == NOW - 600


def test_what_is_not_told_of_texts_counts_with_the_mean():
    total = Tally(hits=10, misses=2, query_seconds=4.0)

    assert saved_seconds([], total) == 20.0
    assert saved_seconds([Tally(hits=4, misses=1, query_seconds=1.0)], total) == 4.0 + 6 * 2.0
    assert saved_seconds([], Tally(hits=10)) == 0.0


def test_a_report_of_nothing():
    report = report_of("default", [], NOW)

    assert report == Report("default", NOW)
    assert (report.since, report.gain_seconds, report.total.hit_rate) == (None, 0.0, None)


def test_figures_of_another_version_are_read():
    tally = Tally.from_dict({"hits": 3, "invented_later": 5})

    assert tally == Tally(hits=3)
    assert total_of([tally, tally]).as_dict() == {"hits": 6}


@pytest.mark.parametrize("sql, params", [("x" * 5000, ()), ("SELECT", ("x" * 5000,)), ("SELECT", (["x" * 50] * 100,))])
def test_a_long_execution_is_not_remembered(sql, params):
    """It would be told to all others, and would leave no room there for anything else."""
    text = Text(b"", "SELECT", frozenset(), None)
    text.sample(b"long", sql, params, ("multi", 1, False))
    text.sample(b"short", "SELECT", ("x" * 50, 1, None), ("multi", 1, False))

    assert text.samples.keys() == {b"short"}
