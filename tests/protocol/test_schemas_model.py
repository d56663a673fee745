"""The argument for slots of schemas, in every interleaving; and that each of its rules is needed."""

from __future__ import annotations

import pytest

from tests.protocol.schemas_model import BY_NAME, CHANGES, Rules, explore

(
    CREATE,  # a table in the schema of the readers
    CREATE_ELSEWHERE,
    RENAME,  # a change that is not confined
    INSERT_PUBLIC,
    INSERT_OWN,
    CALL,
) = CHANGES
BLOCK, LATER_BLOCK, AUTOCOMMIT = BY_NAME

#: Rule → writers for whom it is needed, or with whom readers need it
NEEDED_FOR = {
    "marks": [CREATE],
    "own_slots": [CREATE],
    "epoch": [RENAME],
    "schema_slot": [CREATE, BLOCK],
    "dated_before": [CREATE, INSERT_OWN],
    "own_undated": [CREATE, INSERT_PUBLIC],
    "asked_again": [CREATE_ELSEWHERE, RENAME, LATER_BLOCK],
    "in_vector": [CREATE],
    "compared": [CREATE, INSERT_OWN],
    "watched": [CREATE, BLOCK],
    "watched_again": [CREATE, AUTOCOMMIT],
}


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize(
    "writers",
    [
        [CREATE, INSERT_OWN],
        [RENAME, INSERT_OWN],
        [CREATE_ELSEWHERE, RENAME],
        pytest.param([RENAME, CALL], marks=pytest.mark.slow),
    ],
)
def test_no_hit_is_older_than_what_was_visible_when_its_read_began(writers, at_once):
    worlds, wrong = explore(writers, Rules(), at_once=at_once)

    assert wrong is None
    assert worlds > 2_000


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("change", [CREATE, RENAME])
@pytest.mark.parametrize("writer", [BLOCK, LATER_BLOCK])
def test_a_transaction_marks_what_its_names_mean(writer, change, at_once):
    _, wrong = explore([CREATE_ELSEWHERE, change, writer], Rules(), readers=0, at_once=at_once)

    assert wrong is None


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("writer", [INSERT_PUBLIC, BLOCK, AUTOCOMMIT])
@pytest.mark.parametrize("change", [CREATE, RENAME])
def test_a_writer_and_a_reader(change, writer, at_once):
    assert explore([change, writer], Rules(), at_once=at_once).history is None


@pytest.mark.slow
@pytest.mark.parametrize("change", [CREATE, CREATE_ELSEWHERE, RENAME])
def test_two_readers_and_a_writer_that_may_die(change):
    assert explore([change], Rules(), readers=2, crashes=True).history is None
    assert explore([change, INSERT_OWN], Rules(), crashes=True).history is None


@pytest.mark.parametrize("rule", Rules._fields)
def test_each_rule_is_needed(rule):
    is_of_writer = rule == "asked_again"
    _, wrong = explore(
        NEEDED_FOR[rule], Rules()._replace(**{rule: False}), readers=not is_of_writer, at_once=not is_of_writer
    )

    assert wrong is not None
    assert "is served" in wrong[-1] or "is not marked" in wrong[-1]
