"""When a statement bypasses the cache, when it does not any more, and what it costs to find out."""

from __future__ import annotations

import itertools
import time

import pytest

from ormcache.cache.adaptive import (
    HITS,
    LONG_WINDOW,
    LONGEST_WINDOW,
    WINDOW,
    YOUTH,
    AdaptiveBypass,
    AdaptiveBypasses,
    Kind,
)
from ormcache.cache.probes import LONGEST_GAP, RUN
from tests.unit.cache.adaptive_simulation import Costs, Phase, regret, simulate

QUERY = 200e-6  # seconds

EMBEDDED = Costs(hit=40e-6, miss=60e-6, query=300e-6)
REDIS = Costs(hit=150e-6, miss=180e-6, query=300e-6)
CLOSE = Costs(hit=200e-6, miss=230e-6, query=250e-6)  # hits save little
DISTANT = Costs(hit=250e-6, miss=280e-6, query=200e-6)  # hits save nothing
LARGE = Costs(hit=100e-6, miss=400e-6, query=2e-3)
SLOW = Costs(hit=100e-6, miss=300e-6, query=200e-3)
ALL_COSTS = {
    "embedded": EMBEDDED,
    "redis": REDIS,
    "close": CLOSE,
    "distant": DISTANT,
    "large": LARGE,
    "slow": SLOW,
}

_versions = itertools.count()


def misses(
    asked: AdaptiveBypass,
    number: int,
    *,
    written: bool,
    took: float = 50e-6,
    query: float = QUERY,
    kind: Kind = Kind.TABLE,
) -> None:
    for _ in range(number):
        vector = b"%d" % next(_versions) if written else b"same"
        asked.record_miss(took, query, invalidated=written, vector=vector, kind=kind)


def hits(asked: AdaptiveBypass, number: int, took: float = 40e-6) -> None:
    for _ in range(number):
        asked.record_hit(took)


def bypassed(**more: float) -> AdaptiveBypass:
    """One that has just begun."""
    asked = AdaptiveBypass("a query")
    misses(asked, WINDOW + 1, written=True, **more)
    assert asked.is_active
    return asked


def executions_until_probe(asked: AdaptiveBypass) -> int:
    return next(number for number in range(1000) if asked.is_probe_due())


# When it begins -----------------------------------------------------------------------


def test_results_that_are_invalidated_before_they_are_read():
    asked = AdaptiveBypass()
    misses(asked, WINDOW, written=True)
    assert not asked.is_active  # the last one may be read before the next write
    misses(asked, 1, written=True)
    assert asked.is_active
    assert asked.judgement.misses == asked.judgement.invalidated == WINDOW
    assert asked.judgement.spent == pytest.approx(WINDOW * 50e-6)
    assert asked.judgement.since == pytest.approx(time.time(), abs=60)


@pytest.mark.parametrize("vectors", [[None] * WINDOW, [b"%d" % number for number in range(WINDOW + 1)]])
def test_first_reads_between_writes_count_as_invalidated(vectors):
    """Nothing was there, but what had been there would have been invalidated."""
    asked = AdaptiveBypass()
    for vector in vectors[:-1]:
        asked.record_miss(50e-6, QUERY, invalidated=False, vector=vector)
    assert not asked.is_active
    asked.record_miss(50e-6, QUERY, invalidated=False, vector=vectors[-1])
    assert asked.is_active


def test_hits_that_save_more_than_misses_cost():
    asked = AdaptiveBypass()
    for _ in range(10 * WINDOW):
        misses(asked, 3, written=True)  # 150 us
        hits(asked, 1)  # 160 us
    assert not asked.is_active
    assert asked.judgement is None


def test_hits_that_save_less():
    asked = AdaptiveBypass()
    for _ in range(10 * WINDOW):
        misses(asked, 4, written=True)
        hits(asked, 1)
    assert asked.judgement is not None
    assert asked.judgement.saved < asked.judgement.spent


def test_all_misses_since_the_last_write_are_in_vain():
    """Also those whose own entry had not been there."""
    asked = AdaptiveBypass()
    misses(asked, WINDOW, written=False)
    assert not asked.is_active
    misses(asked, 1, written=True)
    assert asked.is_active


def test_a_query_that_is_quicker_than_the_store():
    asked = AdaptiveBypass()
    misses(asked, 1, written=False, query=100e-6)
    hits(asked, 5 * HITS, took=150e-6)
    assert asked.is_active


def test_nothing_is_judged_while_it_is_not_known_what_the_query_takes():
    asked = AdaptiveBypass()
    hits(asked, 100 * HITS, took=1.0)
    assert not asked.is_active


def test_one_lookup_that_had_to_wait_decides_nothing():
    asked = AdaptiveBypass()
    misses(asked, 1, written=False)
    hits(asked, 1, took=5.0)
    hits(asked, HITS)
    misses(asked, 1, written=True, took=5.0)
    misses(asked, 1, written=True)
    assert not asked.is_active


def test_the_time_of_a_query_is_followed():
    asked = AdaptiveBypass()
    misses(asked, 40, written=False, query=50e-6)
    misses(asked, 40, written=False, query=1e-3)
    hits(asked, 10 * HITS, took=100e-6)
    assert not asked.is_active


def test_a_cache_that_fills_is_left_in_peace():
    asked = AdaptiveBypass()
    misses(asked, LONG_WINDOW - 1, written=False)
    assert not asked.is_active
    misses(asked, 1, written=False)
    assert asked.is_active
    assert (asked.judgement.misses, asked.judgement.invalidated) == (LONG_WINDOW, 0)


def test_a_cache_that_filled_with_use():
    asked = AdaptiveBypass()
    misses(asked, LONG_WINDOW // 2, written=False)
    hits(asked, LONG_WINDOW)
    assert not asked.is_active


def test_a_judgement_says_why():
    assert str(bypassed().judgement).startswith("0 hits saved 0.0 ms and 32 misses, 32 of them")


# What never bypasses the cache --------------------------------------------------------


def test_a_lookup_that_costs_next_to_nothing_is_never_spared():
    asked = AdaptiveBypass()
    misses(asked, 10 * WINDOW, written=True, took=29e-6, query=1e-3)
    assert not asked.is_active
    misses(asked, 10 * WINDOW, written=True, took=33e-6, query=1e-3)
    assert asked.is_active


def test_a_slow_query_is_always_looked_up():
    """However much it costs to store its result: only who looks it up waits for another reader of it."""
    asked = AdaptiveBypass()
    misses(asked, 10 * WINDOW, written=True, took=10e-3, query=20e-3)
    assert not asked.is_active
    misses(asked, 10 * WINDOW, written=True, took=10e-3, query=15e-3)
    assert asked.is_active


def test_a_query_that_becomes_slow_is_looked_up_from_then_on():
    asked = bypassed()
    asked.record_query(200e-3)
    assert not asked.is_active
    assert asked.judgement is None


# When it ends -------------------------------------------------------------------------


@pytest.mark.parametrize("keys", [1, 10, 1000])
@pytest.mark.parametrize("writes", [20, 100, 1000, pytest.param(100_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("costs", [EMBEDDED, REDIS, LARGE])
def test_the_end_of_a_phase_of_writes_is_noticed_within_a_hundred_executions(costs, writes, keys):
    asked = AdaptiveBypass()
    simulate(asked, costs, [Phase(WINDOW + writes, 1.0)], keys=keys)
    assert asked.is_active
    done = simulate(asked, costs, [Phase(100 + RUN, 0.0)], keys=keys, seed=2)
    lookups = "".join("x" if one.is_lookup else " " for one in done)
    assert "x" * (RUN + 1) in lookups
    if keys <= 10:
        assert not asked.is_active


@pytest.mark.parametrize("costs", [EMBEDDED, REDIS, LARGE])
def test_a_phase_of_reads_hits_from_then_on(costs):
    for keys in (1, 10):
        asked = AdaptiveBypass()
        phases = [Phase(1000, 1.0), Phase(1000, 0.0)] * 3
        done = simulate(asked, costs, phases, keys=keys)
        for begin in (1000, 3000, 5000):
            assert all(one.is_lookup for one in done[begin + 100 : begin + 1000])


def test_few_executions_are_looked_up_while_writes_go_on():
    done = simulate(AdaptiveBypass(), REDIS, [Phase(10_000, 1.0)], keys=1)
    looked_up = sum(one.is_lookup for one in done[-5000:])
    assert 5000 / (LONGEST_GAP + 1) - 1 <= looked_up <= 5000 * 0.03


def test_probes_become_rarer():
    asked = bypassed()
    waits = []
    for _ in range(8):
        waits.append(executions_until_probe(asked))
        misses(asked, 1, written=True)
        while asked.is_probe_due():
            misses(asked, 1, written=True)
    assert waits[0] < 10
    assert waits == sorted(waits)
    assert waits[-1] <= LONGEST_GAP


def test_a_probe_that_is_not_recorded_is_made_again():
    """It raised, or had to wait for another reader."""
    asked = bypassed()
    executions_until_probe(asked)
    assert asked.is_probe_due()


def test_a_probation_that_fails_is_no_new_bypass(caplog):
    caplog.set_level("INFO", "ormcache")
    asked = AdaptiveBypass("a query")
    simulate(asked, REDIS, [Phase(1000, 1.0)] + [Phase(60, 0.0), Phase(500, 1.0)] * 10, keys=1000)
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["adaptive bypass began"]
    since = asked.judgement.since
    simulate(asked, REDIS, [Phase(60, 0.0), Phase(500, 1.0)], keys=1000)
    assert asked.judgement.since == since


def test_hits_that_save_nothing_end_nothing():
    asked = AdaptiveBypass()
    done = simulate(asked, DISTANT, [Phase(5000, 0.0)], keys=1)
    assert sum(one.is_lookup for one in done[-2000:]) < 2000 * 0.03


def test_phases_that_are_short_are_sat_out():
    """Where the cache pays for longer than it does not, it waits longer before it gives up."""
    done = simulate(AdaptiveBypass(), EMBEDDED, [Phase(100, 1.0), Phase(100, 0.0)] * 20, keys=1)
    assert LONGEST_WINDOW > 100
    assert all(one.is_lookup for one in done[-1000:])


# Statements that are too many to learn about each -------------------------------------


def statements(all_of_them: AdaptiveBypasses, number: int) -> list[AdaptiveBypass]:
    return [all_of_them.of_statement(frozenset({"shop_book"})) for _ in range(number)]


def test_statements_that_come_once_are_judged_together():
    adaptive = AdaptiveBypasses()
    for one in statements(adaptive, WINDOW + 1):
        assert not one.is_active
        misses(one, 1, written=True)
    (new,) = statements(adaptive, 1)
    assert new.is_active
    assert new.judgement.misses == WINDOW


def test_only_by_others_of_the_same_relations_and_kind():
    adaptive = AdaptiveBypasses()
    for one in statements(adaptive, WINDOW + 1):
        misses(one, 1, written=True)
    assert not adaptive.of_statement(frozenset({"shop_author"})).is_active
    (by_key,) = statements(adaptive, 1)
    misses(by_key, 1, written=False, kind=Kind.ROWS)
    assert not by_key.is_active


def test_their_probes_are_those_of_all():
    adaptive = AdaptiveBypasses()
    for one in statements(adaptive, WINDOW + 1):
        misses(one, 1, written=True)
    probes = sum(one.is_probe_due() for one in statements(adaptive, 100) if one.is_active)
    assert probes >= 1
    for one in statements(adaptive, 200):
        if not one.is_active or one.is_probe_due():
            misses(one, 1, written=False)
    assert not statements(adaptive, 1)[0].is_active


def test_who_comes_often_is_judged_alone():
    adaptive = AdaptiveBypasses()
    (often,) = statements(adaptive, 1)
    misses(often, 1, written=False)
    hits(often, YOUTH)
    for one in statements(adaptive, 2 * WINDOW):
        misses(one, 1, written=True)
    assert not often.is_active
    misses(often, 1, written=False)
    assert not often.is_active


def test_no_single_one_speaks_for_the_others():
    adaptive = AdaptiveBypasses()
    (often, other) = statements(adaptive, 2)
    misses(often, 2 * WINDOW, written=True)
    assert often.is_active
    assert not other.is_active
    assert not statements(adaptive, 1)[0].is_active


def test_who_grows_up_begins_with_what_the_others_know():
    adaptive = AdaptiveBypasses()
    for one in statements(adaptive, WINDOW + 1):
        misses(one, 1, written=True)
    (often,) = statements(adaptive, 1)
    asked = 0
    for _ in range(500):
        if not often.is_active or often.is_probe_due():
            asked += 1
            misses(often, 1, written=True)
    assert often.is_active
    assert asked < 40


# Results that depend on rows ----------------------------------------------------------


def test_rows_of_their_own():
    """Different vectors are those of different rows."""
    asked = AdaptiveBypass("a query")
    for number in range(10 * WINDOW):
        asked.record_miss(50e-6, QUERY, invalidated=False, vector=b"%d" % number, kind=Kind.ROWS)
    assert not asked.is_active
    for _ in range(WINDOW):
        assert not asked.is_active
        misses(asked, 1, written=True, kind=Kind.ROWS)
    assert asked.is_active
    assert asked.judgement.misses == asked.judgement.invalidated == WINDOW


# What it costs ------------------------------------------------------------------------

PHASES = {
    f"{reads} each": [Phase(reads, 1.0), Phase(reads, 0.0)] * max(2, 3000 // reads)
    for reads in (20, 50, 100, 200, 1000)
}
PHASES |= {f"one write in {reads}": [Phase(5000, 1 / reads)] for reads in (1, 2, 10, 50, 200)}
PHASES |= {
    "reads alone": [Phase(5000, 0.0)],
    "writes, then reads": [Phase(1500, 1.0), Phase(5000, 0.0)],
    "few writes and none": [Phase(1000, 0.1), Phase(1000, 0.0)] * 3,
    "many writes and few": [Phase(1000, 1.0), Phase(1000, 0.02)] * 3,
}


@pytest.mark.parametrize("keys", [1, pytest.param(30, marks=pytest.mark.slow), 1000])
@pytest.mark.parametrize("phases", PHASES.values(), ids=PHASES)
@pytest.mark.parametrize("costs", ALL_COSTS.values(), ids=ALL_COSTS)
def test_it_is_hardly_worse_than_the_better_of_always_and_never(costs, phases, keys):
    """With results so many that they are hardly read again, it takes longer to find out."""
    assert regret(costs, phases, keys=keys) <= (0.15 if keys < 1000 else 0.20)


@pytest.mark.slow
def test_on_the_whole_it_is_as_good_as_the_better_one():
    found = [regret(costs, phases, keys=10) for costs in ALL_COSTS.values() for phases in PHASES.values()]
    assert sum(found) / len(found) < 0.01
