"""When a statement is left alone, and for how long."""

from __future__ import annotations

import pytest

from ormcache import worth
from ormcache.worth import FIRST_REST, LONG_WINDOW, LONGEST_REST, WINDOW, Worth

QUERY = 200e-6  # seconds


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1000.0

    monkeypatch.setattr(worth.time, "monotonic", lambda: Clock.now)
    return Clock


def misses(asked: Worth, number: int, *, retired: bool, took: float = 50e-6, query: float = QUERY) -> None:
    for _ in range(number):
        asked.missed(took, query, retired=retired, vector=b"same")


def hits(asked: Worth, number: int, took: float = 40e-6) -> None:
    for _ in range(number):
        asked.hit(took)


def test_results_that_are_retired_before_they_are_asked_for(clock):
    asked = Worth()
    misses(asked, WINDOW - 1, retired=True)
    assert not asked.rests
    misses(asked, 1, retired=True)
    assert asked.rests
    assert asked.judgement.retired == asked.judgement.misses == WINDOW
    assert asked.judgement.spent == pytest.approx(WINDOW * 50e-6)


def test_hits_that_save_more_than_the_rest_costs(clock):
    asked = Worth()
    misses(asked, WINDOW * 3 // 4, retired=True)
    hits(asked, WINDOW // 4)
    assert not asked.rests  # 16 * 160 us saved, 48 * 50 us lost
    assert asked.judgement is None


def test_hits_that_save_less(clock):
    asked = Worth()
    misses(asked, WINDOW - 8, retired=True)
    hits(asked, 8)
    assert asked.rests
    assert (asked.judgement.hits, asked.judgement.retired) == (8, WINDOW - 8)
    assert asked.judgement.saved == pytest.approx(8 * QUERY)


def test_a_query_that_is_quicker_than_the_store(clock):
    asked = Worth()
    misses(asked, 1, retired=False, query=100e-6)
    hits(asked, WINDOW, took=150e-6)
    assert asked.rests


def test_nothing_is_judged_while_it_is_not_known_what_the_query_takes(clock):
    asked = Worth()
    hits(asked, 10 * WINDOW, took=1.0)
    assert not asked.rests
    misses(asked, 1, retired=True)
    assert asked.rests


def test_one_hit_that_had_to_wait_decides_nothing(clock):
    asked = Worth()
    misses(asked, 1, retired=False)
    hits(asked, 1, took=5.0)
    hits(asked, WINDOW - 1)
    assert not asked.rests


def test_one_miss_that_had_to_wait_decides_nothing(clock):
    asked = Worth()
    misses(asked, 1, retired=True, took=5.0)
    hits(asked, WINDOW - 1)
    assert not asked.rests


def test_a_cache_that_fills_is_left_in_peace(clock):
    asked = Worth()
    misses(asked, LONG_WINDOW - 2, retired=False)
    hits(asked, 1)
    assert not asked.rests
    misses(asked, 1, retired=False)
    assert asked.rests
    assert asked.judgement.misses == LONG_WINDOW - 1
    assert asked.judgement.retired == 0


def test_a_cache_that_filled_with_use(clock):
    asked = Worth()
    misses(asked, LONG_WINDOW // 2, retired=False)
    hits(asked, 20 * WINDOW)
    assert not asked.rests


def test_it_is_tried_again_and_the_rests_grow(clock):
    asked = Worth()
    expected = FIRST_REST
    for _ in range(8):
        misses(asked, WINDOW, retired=True)
        clock.now += expected - 0.01
        assert asked.rests
        clock.now += 0.02
        assert not asked.rests
        expected = min(2 * expected, LONGEST_REST)
    hits(asked, WINDOW)  # it pays again
    assert asked.judgement is None
    misses(asked, WINDOW, retired=True)
    clock.now += FIRST_REST + 0.01
    assert not asked.rests


def test_the_time_of_a_query_is_followed(clock):
    asked = Worth()
    misses(asked, 40, retired=False, query=50e-6)
    misses(asked, 40, retired=False, query=1e-3)
    hits(asked, WINDOW, took=100e-6)
    assert not asked.rests


def test_a_judgement_says_why():
    asked = Worth()
    misses(asked, WINDOW, retired=True)
    assert str(asked.judgement).startswith("0 hits saved 0.0 ms and 64 misses, 64 of them")


@pytest.mark.parametrize("vectors", [[None] * WINDOW, [bytes([number]) for number in range(WINDOW + 1)]])
def test_first_reads_between_writes_are_as_good_as_retired(clock, vectors):
    """Nothing was there, but what had been there would have been retired."""
    asked = Worth()
    for vector in vectors[:-1]:
        asked.missed(50e-6, QUERY, retired=False, vector=vector)
    assert not asked.rests
    asked.missed(50e-6, QUERY, retired=False, vector=vectors[-1])
    assert asked.rests
