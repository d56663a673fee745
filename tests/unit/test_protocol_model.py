"""The argument of the protocol, checked in every interleaving; and that each of its rules is needed."""

from __future__ import annotations

import pytest

from tests.unit.protocol_model import Rules, explore


@pytest.mark.parametrize("crashes", [False, True])
@pytest.mark.parametrize("evictions", [0, 1])
def test_no_read_is_older_than_what_was_visible_when_it_began(crashes, evictions):
    worlds, wrong = explore(2, 2, Rules(), crashes=crashes, evictions=evictions)

    assert wrong is None
    assert worlds > 2000


@pytest.mark.slow
def test_three_readers():
    _, wrong = explore(2, 3, Rules(), crashes=True, evictions=1)

    assert wrong is None


@pytest.mark.parametrize("rule", Rules._fields)
def test_each_rule_is_needed(rule):
    _, wrong = explore(2, 2, Rules(**{rule: False}), crashes=False, evictions=0)

    assert wrong is not None
    assert "is served" in wrong[-1]
