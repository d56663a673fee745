"""What is derived is never older than its caller, and never a mixture, in every interleaving; each rule is needed."""

from __future__ import annotations

import pytest

from tests.protocol.derived_model import Rules, explore

BOTH, FIRST, SECOND = (0, 1), (0,), (1,)


@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "one by one"])
@pytest.mark.parametrize("warm", [True, False], ids=["hits", "misses"])
@pytest.mark.parametrize("nested", [False, True], ids=["alone", "nested"])
@pytest.mark.parametrize("writers", [(BOTH,), pytest.param((FIRST, SECOND), marks=pytest.mark.slow)])
def test_what_is_served_was_true_at_one_moment_since_the_caller_began(writers, nested, warm, at_once):
    worlds, wrong = explore(writers, Rules(), nested=nested, warm=warm, at_once=at_once)

    assert wrong is None
    assert worlds > 500


@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "one by one"])
def test_slots_that_are_lost(at_once):
    _, wrong = explore((BOTH,), Rules(), evictions=1, at_once=at_once)

    assert wrong is None


@pytest.mark.parametrize("nested", [False, True], ids=["alone", "nested"])
def test_two_queries_of_one_relation(nested):
    _, wrong = explore((FIRST, FIRST), Rules(), relations=FIRST * 2, nested=nested)

    assert wrong is None


@pytest.mark.slow
@pytest.mark.parametrize("warm", [True, False], ids=["hits", "misses"])
def test_writers_of_overlapping_relations_and_slots_that_are_lost(warm):
    _, wrong = explore((BOTH, FIRST), Rules(), evictions=1, warm=warm)

    assert wrong is None


@pytest.mark.slow
def test_more_uses():
    _, wrong = explore((BOTH,), Rules(), uses=4)

    assert wrong is None


@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "one by one"])
@pytest.mark.parametrize("rule", sorted({*Rules._fields} - {"validates"}))
def test_each_rule_is_needed(rule, at_once):
    relations, writers = (FIRST * 2, (FIRST, FIRST)) if rule == "compares" else (BOTH, (BOTH,))
    _, wrong = explore(
        writers,
        Rules(**{rule: False}),
        relations=relations,
        nested=rule == "passes_on",
        warm=rule == "hits_count",
        at_once=at_once,
    )

    assert wrong is not None
    assert "it is served" in wrong[-1]


def test_what_is_not_validated_is_stored_in_vain():
    """Nothing is served unless all of its slots hold what was recorded, and that is when it was true."""
    _, wrong = explore((BOTH, FIRST), Rules(validates=False), warm=True)

    assert wrong is None
