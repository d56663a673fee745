"""Counts of functions, fragments and pages: what they add up to, and their bounds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ormcache import reasons
from ormcache.cache.tracking import Rejection
from ormcache.reasons import Miss
from ormcache.telemetry import Counters
from ormcache.telemetry import counters as counting
from ormcache.telemetry import derived_stats as module
from ormcache.telemetry.derived_stats import OTHER, DerivedCounters, snapshot_of
from ormcache.telemetry.payload import counts_of

RANDOM = Rejection(reasons.RANDOM, "SELECT random()", frozenset({"t"}), "shop/views.py:12")


def missed(counters: Counters, label: str = "/", seconds: float = 1.0, **others: Any) -> None:
    given = {"cause": Miss.COLD, "invalidated_by": None, "rejection": None} | others
    counters.record_derived_miss("page", label, seconds, **given)


def test_what_is_counted_of_one_page() -> None:
    counters = Counters("default")
    missed(counters, seconds=3.0)
    missed(counters, seconds=1.0, cause=Miss.INVALIDATED, invalidated_by="t")
    missed(counters, seconds=2.0, cause=None, rejection=RANDOM)
    counters.record_derived_hit("page", "/", 0.25, outdated=False)
    counters.record_derived_hit("page", "/", 0.25, outdated=True)

    (found,) = counters.derived
    assert (found.kind, found.label) == ("page", "/")
    assert (found.hits, found.outdated_hits, found.misses, found.stored, found.uses) == (2, 1, 3, 2, 5)
    assert (found.missed, found.invalidated, found.invalidated_by) == (
        {Miss.COLD: 1, Miss.INVALIDATED: 1},
        1,
        {"t": 1},
    )
    assert (found.rejected, found.last_rejection) == ({reasons.RANDOM: 1}, RANDOM)
    assert (found.mean_seconds, found.saved_seconds, found.hit_rate) == (2.0, 2 * 2.0 - 0.5, 0.4)
    assert found.seconds_at_stake == 6.0 + 4.0


def test_nothing_is_divided_by_zero() -> None:
    found = DerivedCounters("page", "/")
    assert (found.hit_rate, found.mean_seconds, found.saved_seconds, found.seconds_at_stake) == (None, None, 0.0, 0.0)


def test_copies_stay_as_they_are() -> None:
    counters = Counters("default")
    missed(counters, rejection=RANDOM, cause=Miss.INVALIDATED, invalidated_by="t")
    (before,) = counters.derived
    missed(counters, rejection=RANDOM, cause=Miss.INVALIDATED, invalidated_by="t")
    assert (before.misses, before.rejected, before.missed, before.invalidated_by) == (
        1,
        {reasons.RANDOM: 1},
        {Miss.INVALIDATED: 1},
        {"t": 1},
    )


def test_a_long_statement_is_cut() -> None:
    counters = Counters("default")
    missed(counters, rejection=RANDOM._replace(sql="SELECT " + "x" * 10_000))
    (found,) = counters.derived
    assert found.last_rejection is not None
    assert len(found.last_rejection.sql or "") == counting.LONGEST_SQL
    missed(counters, rejection=Rejection(reasons.VARIABLE, subject="x" * 10_000))
    (found,) = counters.derived
    assert found.last_rejection is not None
    assert found.last_rejection.subject == "x" * counting.LONGEST_SUBJECT


def test_labels_that_come_late_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """None makes room: what was exported of it once must not fall."""
    monkeypatch.setattr(module, "MOST_DERIVED", 3)
    counters = Counters("default")
    for number in range(8):
        missed(counters, f"/{number}/")
    counters.record_derived_hit("function", "late", 0.0, outdated=False)

    assert [(one.kind, one.label, one.uses) for one in counters.derived] == [
        ("page", "/0/", 1),
        ("page", "/1/", 1),
        ("page", "/2/", 1),
        ("page", OTHER, 5),
        ("function", OTHER, 1),
    ]
    assert counters.derived_uses == 9


def test_relations_that_come_late_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_INVALIDATING", 2)
    counters = Counters("default")
    for name in ("a", "b", "c", "d", "a"):
        missed(counters, cause=Miss.INVALIDATED, invalidated_by=name)
    assert counters.derived[0].invalidated_by == {"a": 2, "b": 1, OTHER: 2}


def test_what_is_published_comes_back_and_adds_up() -> None:
    counters = Counters("default")
    missed(counters, rejection=RANDOM)
    counters.record_derived_hit("page", "/", 0.5, outdated=True)
    (published,) = json.loads(json.dumps(counts_of(counters)["derived"]))
    total = DerivedCounters.from_mapping(published).empty()
    total.add(DerivedCounters.from_mapping(published))
    total.add(DerivedCounters.from_mapping(published))

    (one,) = counters.derived
    assert (total.hits, total.outdated_hits, total.hit_seconds) == (2, 2, 1.0)
    assert (total.misses, total.miss_seconds) == (2, 2.0)
    assert (total.missed, total.rejected) == ({Miss.COLD: 2}, {reasons.RANDOM: 2})
    assert total.last_rejection == one.last_rejection == RANDOM


def test_the_slowest_are_published_with_their_last_rejection() -> None:
    counters = Counters("default")
    for number in range(5):
        missed(counters, f"/{number}/", float(number), rejection=RANDOM)
    published = counts_of(counters, 2)["derived"]
    assert [one["label"] for one in published] == [f"/{number}/" for number in range(5)]
    assert [one["label"] for one in published if one["last_rejection"]] == ["/3/", "/4/"]
    assert all(one["rejected"] == {reasons.RANDOM: 1} for one in published)


def test_the_snapshot_is_by_kind_and_label() -> None:
    counters = Counters("default")
    missed(counters, rejection=RANDOM)
    counters.record_derived_hit("function", "shop.best", 0.0, outdated=False)
    found = snapshot_of(counters.derived)
    assert {kind: list(by_label) for kind, by_label in found.items()} == {"page": ["/"], "function": ["shop.best"]}
    assert found["page"]["/"]["last_rejection"] == RANDOM._asdict()
    assert counters.snapshot()["derived"] == found
