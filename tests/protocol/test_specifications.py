"""The specifications in TLA+ say what the models in Python say."""

from __future__ import annotations

import re

import pytest

from tests.protocol import protocol_model, rows_model
from tests.protocol.tla import rules_of, text_of

#: Rule of the models in Python → its name in the specifications
RULES = {
    "marks": "mark",
    "merges": "merge",
    "stamps_before_query": "stamps before query",
    "adds": "fill empty only",
    "rows_are_marked": "mark rows",
    "arrivals": "mark arrivals",
    "departures": "mark departures",
    "bulk": "mark bulk",
    "returned": "depend on returned rows",
    "table_last": "table last",
    "table_again": "table again",
    "refuses_marks": "refuse marks",
}
#: Slot of the model in Python → its name in the specification
SLOTS = {
    "t": "table",
    "#1": "row 1",
    "#2": "row 2",
    "departures": "departures",
    "c=x": "arrivals at x",
    "bulk": "bulk",
}


@pytest.mark.parametrize(
    "module, model, left_out",
    [
        # Outages, and stores without room, are in the model in Python alone.
        ("Stamps", protocol_model, {"doubts", "empties_before", "empties_after", "leaves"}),
        ("Rows", rows_model, set()),
    ],
)
def test_the_specification_has_the_rules_of_the_model(module, model, left_out):
    assert rules_of(module) == [RULES[rule] for rule in model.Rules._fields if rule not in left_out]


def test_the_specification_has_the_statements_of_the_model():
    cases = re.findall(
        r'name = "(.*?)" -> by\(\{(.*?)\}, (\S+), (\S+), \{(.*?)\}\)',
        text_of("Rows"),
    )

    def value(text):
        return None if text == "same" else text.strip('"')

    found = {
        name: (
            frozenset(re.findall('"(.*?)"', marks)),
            (value(first), value(second)),
            tuple(str(row) in touches for row in (1, 2)),
        )
        for name, marks, first, second, touches in cases
    }
    assert found == {
        name: (frozenset(SLOTS[slot] for slot in write.marks), write.after, write.touches)
        for name, write in rows_model.WRITES.items()
    }
