"""The argument for results that depend on rows, in every interleaving; and that each of its rules is needed."""

from __future__ import annotations

import pytest

from tests.protocol.rows_model import QUESTIONS, Rules, explore

#: A question, and two writers that can make its answer a stale one
SCENES = [
    ("key", ("UPDATE 1", "UPDATE all")),
    ("key", ("UPDATE 1", "DELETE 1")),
    ("partial", ("1 to y", "2 to x")),
    pytest.param("complete", ("1 to y", "2 to x"), marks=pytest.mark.slow),
    ("complete", ("1 to y", "1 to x")),
]
#: Rule → a question and writers for which it is needed
NEEDED_FOR = {
    "marks": ("key", ["UPDATE 1"]),
    "merges": ("key", ["UPDATE 1", "UPDATE 1"]),
    "stamps_before_query": ("key", ["UPDATE 1"]),
    "adds": ("key", ["UPDATE 1"]),
    "rows_are_marked": ("key", ["UPDATE 1"]),
    "arrivals": ("complete", ["2 to x"]),
    "departures": ("partial", ["UPDATE 1"]),
    "bulk": ("key", ["UPDATE all"]),
    "returned": ("complete", ["UPDATE 1", "2 to x"]),
    "table_last": ("complete", ["UPDATE 1"]),
    "table_again": ("complete", ["UPDATE 1"]),
    "refuses_marks": ("complete", ["UPDATE 1"]),
}


@pytest.mark.parametrize("question, writers", SCENES)
def test_no_hit_is_older_than_what_was_visible_when_its_read_began(question, writers):
    assert explore(question, writers, Rules(), at_once=True).history is None


@pytest.mark.parametrize("question, writers", SCENES)
def test_nor_where_slots_are_read_and_marked_one_after_the_other(question, writers):
    worlds, wrong = explore(question, writers, Rules(), readers=1)

    assert wrong is None
    assert worlds > 500


@pytest.mark.parametrize("question, writer", [("key", "DELETE 1"), ("partial", "2 to x"), ("complete", "1 to y")])
def test_nor_where_writers_die_and_slots_are_lost(question, writer):
    assert explore(question, [writer], Rules(), readers=1, crashes=True, evictions=1).history is None


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("question, writers", SCENES[:4])
def test_two_readers(question, writers):
    assert explore(question, writers, Rules()).history is None


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("question, writers", SCENES)
def test_two_writers_that_may_die(question, writers):
    evictions = int(question != "complete")
    assert explore(question, writers, Rules(), readers=1, crashes=True, evictions=evictions).history is None


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("question", QUESTIONS)
def test_three_writers(question, at_once):
    writers = ("1 to y", "1 to x", "UPDATE all") if question == "key" else ("1 to y", "2 to x", "UPDATE 1")
    assert explore(question, writers, Rules(), readers=1, at_once=at_once).history is None


@pytest.mark.parametrize("question", QUESTIONS)
def test_an_answer_is_served_while_its_relation_is_marked(question):
    _, found = explore(question, ["INSERT y", "UPDATE 1"], Rules(), at_once=True, seeks=True)

    assert found is not None
    assert "by rows" in found[-1]


@pytest.mark.parametrize("rule", Rules._fields)
def test_each_rule_is_needed(rule):
    question, writers = NEEDED_FOR[rule]
    _, wrong = explore(question, writers, Rules()._replace(**{rule: False}))

    assert wrong is not None
    assert "is served" in wrong[-1]
