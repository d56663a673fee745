"""Whatever changes an answer marks a slot of it, in random rounds; and that each of the rules is needed."""

from __future__ import annotations

import pytest

from tests.protocol.coverage_model import Rules, explore

#: Seeds by which a fault is found soon, where that is not the case by the first one
SEEDS = {"expressions": 8, "defaults": 7, "found": 2, "every_column": 2, "enforced": 6, "folded": 9}


def test_a_write_that_changes_an_answer_marks_a_slot_of_it() -> None:
    fault, by_rows, survived = explore(1, 3_000, Rules())

    assert fault is None
    assert by_rows > 5_000
    assert survived > by_rows / 3  # or else one slot for the whole table would do as well


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 5))
def test_for_longer(seed: int) -> None:
    assert explore(seed, 20_000, Rules()).fault is None


@pytest.mark.parametrize("rule", Rules._fields)
def test_each_rule_is_needed(rule: str) -> None:
    assert explore(SEEDS.get(rule, 1), 10_000, Rules()._replace(**{rule: False})).fault is not None
