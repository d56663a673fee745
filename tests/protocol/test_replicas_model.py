"""The argument about replicas, checked in every interleaving; and that each of its rules is needed."""

from __future__ import annotations

import pytest

from tests.protocol.replicas_model import Rules, explore


@pytest.mark.parametrize("crashes, evictions", [(False, 0), (True, 0), (False, 1)])
def test_nothing_that_is_served_lacks_a_commit(crashes, evictions):
    worlds, wrong = explore(2, 2, 1, Rules(), crashes=crashes, evictions=evictions)

    assert wrong is None
    assert worlds > 2000


def test_a_failover_to_a_replica_that_had_less():
    worlds, wrong = explore(2, 2, 2, Rules(), failovers=1)

    assert wrong is None
    assert worlds > 10_000


@pytest.mark.slow
def test_crashes_and_evictions_together():
    _, wrong = explore(2, 2, 1, Rules(), crashes=True, evictions=1)

    assert wrong is None


@pytest.mark.parametrize("rule", Rules._fields)
def test_each_rule_is_needed(rule):
    # One that asks for a bound before the write, one that relies on it after, and one that is served what that stores
    writers, readers, replicas = (1, 3, 1) if rule == "by_stamp" else (2, 2, 2)
    failovers = 1 if rule == "timelines" else 0
    _, wrong = explore(writers, readers, replicas, Rules(**{rule: False}), failovers=failovers)

    assert wrong is not None
    assert "is served" in wrong[-1]
