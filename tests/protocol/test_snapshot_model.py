"""What a transaction that keeps its snapshot may use of the cache, in every order of events."""

from __future__ import annotations

import pytest

from tests.protocol.snapshot_model import Rules, explore


def test_no_transaction_is_shown_two_states() -> None:
    worlds, wrong = explore(Rules())
    assert wrong is None
    assert worlds > 10_000


@pytest.mark.parametrize("rule", Rules._fields)
def test_every_rule_is_needed(rule: str) -> None:
    _, wrong = explore(Rules()._replace(**{rule: False}))
    assert wrong is not None
