"""Statements that are given the current time are recognized, and others are not."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from ormcache.database.current_time import SUSPICIOUS, CurrentTimeDetector, has_current_time

NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=123456)


@pytest.mark.parametrize(
    "params, expected",
    [
        ([NOW], True),
        ([1, [NOW]], True),
        ([NOW.replace(tzinfo=None)], True),
        ([NOW.replace(tzinfo=None).isoformat(" ")], True),
        ([NOW.replace(microsecond=0)], False),
        ([NOW - datetime.timedelta(days=3)], False),
        ([NOW.date(), "2026-01-01 is no time at all, is it?", "x" * 26, 7, None], False),
    ],
)
def test_the_current_time_among_parameters(params: list[Any], expected: bool) -> None:
    assert has_current_time(params) is expected


def test_it_is_found_after_some_misses() -> None:
    detector = CurrentTimeDetector()

    assert [detector.missed([NOW]) for _ in range(SUSPICIOUS)] == [False] * (SUSPICIOUS - 1) + [True]
    assert detector.found
    assert not detector.missed([NOW])  # it is reported once


def test_a_statement_that_has_hit_is_not_examined() -> None:
    detector = CurrentTimeDetector()
    detector.hit()

    assert not any(detector.missed([NOW]) for _ in range(2 * SUSPICIOUS))
    assert not detector.found


@pytest.mark.parametrize("params", [(), None, (7,)])
def test_other_parameters(params: Any) -> None:
    detector = CurrentTimeDetector()

    assert not any(detector.missed(params) for _ in range(2 * SUSPICIOUS))
    assert not detector.found
