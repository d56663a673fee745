"""Writes to a relation that one deploy excludes and another one caches, in every interleaving."""

from __future__ import annotations

import pytest

from tests.protocol.excluded_model import Rules, explore


def test_no_read_is_older_than_what_was_visible_when_it_began():
    worlds, wrong = explore(3, 2, Rules())

    assert wrong is None
    assert worlds > 1000


def test_after_a_lost_mark_none_is_once_the_write_was_followed_by_another_mark():
    worlds, wrong = explore(2, 2, Rules(), losses=2)

    assert wrong is None
    assert worlds > 1000


def test_what_could_not_be_marked_is_marked_before_long():
    worlds, wrong = explore(2, 2, Rules(), refusals=2)

    assert wrong is None
    assert worlds > 1000


@pytest.mark.parametrize("rule", Rules._fields)
def test_each_rule_is_needed(rule):
    _, wrong = explore(3, 2, Rules(**{rule: False}), losses=rule == "follows", refusals=rule == "knows")

    assert wrong is not None
    assert "is served" in wrong[-1]
