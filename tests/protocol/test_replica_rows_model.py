"""The argument about rows that replicas answer, checked in every interleaving; and that each of its rules is needed."""

from __future__ import annotations

import pytest

from tests.protocol.replica_rows_model import Rules, explore


def test_nothing_that_is_served_is_older_than_what_was_visible():
    worlds, wrong = explore(1, 2, Rules())

    assert wrong is None
    assert worlds > 10_000


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_three_readers():
    worlds, wrong = explore(1, 3, Rules())

    assert wrong is None
    assert worlds > 100_000


@pytest.mark.parametrize("rule", Rules._fields)
def test_each_rule_is_needed(rule):
    _, wrong = explore(1, 3, Rules(**{rule: False}))

    assert wrong is not None
    assert "is served" in wrong[-1]
