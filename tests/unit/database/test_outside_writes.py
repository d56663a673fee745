"""How writes of other programs are counted in one process."""

from __future__ import annotations

import json

import pytest

from ormcache.database import outside_writes as counting
from ormcache.database.outside_writes import (
    OTHER_RELATIONS,
    OutsideCounts,
    OutsideWrite,
    OutsideWrites,
    lag_not_exceeded,
)
from ormcache.telemetry import Counters


def test_writes_are_counted_by_relation(monkeypatch: pytest.MonkeyPatch) -> None:
    writes = OutsideWrites()
    for relation, now in (("b", 10.0), ("a", 11.0), ("b", 12.0)):
        monkeypatch.setattr(counting.time, "time", lambda now=now: now)
        writes.record(relation)
    assert writes.counts.noticed == {"b": OutsideWrite(2, 12.0), "a": OutsideWrite(1, 11.0)}
    assert list(writes.counts.times) == ["b", "a"]  # the first ones have names of their own in metrics


def test_there_is_a_bound_and_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "MOST_RELATIONS", 3)
    writes = OutsideWrites()
    for number in range(5):
        writes.record(f"t{number}")
        writes.record("t0")
    assert writes.counts.times == {"t0": 6, "t1": 1, "t2": 1, OTHER_RELATIONS: 2}
    assert len(OutsideCounts({"x": OutsideWrite(1, 1.0)}).at_least(writes.counts).noticed) == 4


def test_lags_add_up() -> None:
    writes = OutsideWrites()
    writes.record_lags([])
    writes.record_lags([0.5, 0.25])
    writes.record_lags([0.25])
    counts = writes.counts
    assert (counts.recorded, counts.lag_seconds, counts.longest_lag) == (3, 1.0, 0.5)
    assert counts.within == {
        **dict.fromkeys(("0.005", "0.01", "0.025", "0.05", "0.1"), 0),
        "0.25": 2,
        **dict.fromkeys(("0.5", "1.0", "2.5", "5.0", "10.0", "+Inf"), 3),
    }


@pytest.mark.parametrize(
    "lags, expected",
    [
        ([], None),
        ([0.003] * 98 + [0.07, 0.08], 0.08),  # no bound is above the longest
        ([0.003] * 99 + [7.0], 0.005),
        ([0.003] * 98 + [0.03, 7.0], 0.05),
        ([70.0], 70.0),
    ],
)
def test_what_99_of_100_do_not_exceed(lags: list[float], expected: float | None) -> None:
    writes = OutsideWrites()
    writes.record_lags(lags)
    assert lag_not_exceeded(0.99, writes.counts.lags, writes.counts.longest_lag) == expected


def test_counts_come_back_from_json() -> None:
    writes = OutsideWrites()
    writes.record("a")
    writes.record_lags([0.5])
    writes.record_doubt()
    assert writes.counts.doubts == 1
    assert OutsideCounts.from_mapping(json.loads(json.dumps(writes.counts.as_mapping()))) == writes.counts


def test_counts_of_a_process_never_fall() -> None:
    """Another database takes the place of the last one, such as after a change of settings."""
    counters = Counters("default")
    first = OutsideCounts({"a": OutsideWrite(3, 5.0)}, 4, 2.0, 1.5, (0,) * 8 + (4, 0, 0, 0), 6)
    assert counters.count_outside(first) == first
    second = OutsideCounts({"b": OutsideWrite(1, 9.0), "a": OutsideWrite(1, 8.0)}, 1, 0.5, 0.5)
    assert counters.count_outside(second).times == {"a": 3, "b": 1}
    assert counters.count_outside(second).recorded == 4
    assert counters.count_outside(second).within["2.5"] == 4
    assert counters.count_outside(second).doubts == 6
    assert counters.count_outside(OutsideCounts()).longest_lag == 1.5
    counters.reset()  # as in a forked child
    assert counters.count_outside(OutsideCounts()) == OutsideCounts()
