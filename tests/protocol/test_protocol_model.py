"""The argument of the protocol, checked in every interleaving; and that each of its rules is needed."""

from __future__ import annotations

import pytest

from tests.protocol.protocol_model import Rules, explore


@pytest.mark.parametrize("crashes", [False, True])
@pytest.mark.parametrize("evictions", [0, 1])
def test_no_read_is_older_than_what_was_visible_when_it_began(crashes, evictions):
    worlds, wrong = explore(2, 2, Rules(), crashes=crashes, evictions=evictions)

    assert wrong is None
    assert worlds > 2000


def test_a_write_without_mark_and_answer_is_marked_when_the_store_is_back():
    worlds, wrong = explore(2, 2, Rules(), crashes=True, evictions=0, outage=True)

    assert wrong is None
    assert worlds > 2000


@pytest.mark.parametrize("crashes", [False, True])
def test_a_store_that_has_no_room_for_marks_and_fills(crashes):
    """As long as it has none from the mark that was not made to the settling."""
    worlds, wrong = explore(2, 2, Rules(), crashes=crashes, evictions=0, full=True)

    assert wrong is None
    assert worlds > 2000


def test_a_store_that_has_room_again_under_a_writer_without_mark():
    """What a reader stores then is served until that writer has settled, and no longer."""
    worlds, wrong = explore(2, 2, Rules(), crashes=False, evictions=0, full=True, whenever=True)

    assert wrong is None
    assert worlds > 2000


@pytest.mark.slow
def test_three_readers():
    _, wrong = explore(2, 3, Rules(), crashes=True, evictions=1)

    assert wrong is None


#: Those of a store without room; whether it is needed only where there is room again under a writer without mark
OF_A_FULL_STORE = {"empties_before": False, "empties_after": True, "leaves": False}


@pytest.mark.parametrize("rule", Rules._fields)
def test_each_rule_is_needed(rule):
    _, wrong = explore(
        2,
        2,
        Rules(**{rule: False}),
        crashes=False,
        evictions=0,
        outage=rule == "doubts",
        full=rule in OF_A_FULL_STORE,
        whenever=OF_A_FULL_STORE.get(rule, False),
    )

    assert wrong is not None
    assert "is served" in wrong[-1]
