"""The argument of the level near, checked in every interleaving; and that each of its rules is needed."""

from __future__ import annotations

import pytest

from tests.protocol.near_model import Rules, explore


@pytest.mark.slow
def test_no_answer_is_older_than_the_proof_than_own_writes_and_than_earlier_answers():
    worlds, wrong = explore(Rules())

    assert wrong is None
    assert worlds > 10_000


@pytest.mark.slow
@pytest.mark.parametrize("rule", Rules._fields)
def test_each_rule_is_needed(rule):
    _, wrong = explore(Rules()._replace(**{rule: False}))

    assert wrong is not None
    assert "the mirror answers" in wrong[-1]
