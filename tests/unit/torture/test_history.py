"""The judge of histories."""

from __future__ import annotations

import pytest

from tests.torture.history import Outage, judge


def write(worker, began, ended, error=None, **values):
    values = {name[1:]: number for name, number in values.items()}
    return {
        "op": "end",
        "worker": worker,
        "kind": "write",
        "began": began,
        "ended": ended,
        "values": values,
        "found": None,
        "error": error,
    }


def read(began, **found):
    found = {name[1:]: number for name, number in found.items()}
    return {
        "op": "end",
        "worker": "w2",
        "kind": "all",
        "began": began,
        "ended": began + 0.1,
        "values": {},
        "found": found,
        "error": None,
    }


def test_a_read_is_stale_that_misses_what_was_acknowledged_before_it_began():
    verdict = judge([write("w1", 1.0, 1.1, _11=5), read(1.2, _11=4)])

    (stale,) = verdict.stale
    assert (stale.author, stale.found, stale.writer, stale.excused) == ("11", 4, "w1", False)
    assert "0.100 s before" in str(stale)


@pytest.mark.parametrize(
    "lines",
    [
        [write("w1", 1.0, 1.1, _11=5), read(1.2, _11=5)],
        [write("w1", 1.0, 1.3, _11=5), read(1.2, _11=4)],  # not acknowledged yet
        [write("w1", 1.0, 1.1, "OperationalError: lost", _11=5), read(1.2, _11=4)],  # nor ever
        [write("w1", 1.0, 1.1, _12=5), read(1.2, _11=4)],  # of another author
    ],
)
def test_no_other_read_is(lines):
    assert judge(lines).stale == []


@pytest.mark.parametrize(
    "outage, excused",
    [
        (Outage("w1", 0.5, 2.0), True),
        (Outage("w1", 0.5, 1.05), True),  # it began while the write ran
        (Outage("w3", 0.5, 2.0), False),  # of another writer
        (Outage("w1", 0.1, 0.9), False),  # before
        (Outage("w1", 0.5, 1.02), False),  # ended long before the read
    ],
)
def test_an_outage_excuses_reads_until_a_while_after_its_end(outage, excused):
    (stale,) = judge([write("w1", 1.0, 1.1, _11=5), read(2.04, _11=4)], [outage], grace=1.0).stale

    assert stale.excused is excused


@pytest.mark.parametrize("at, excused", [(1.89, True), (1.91, False)])
def test_a_worker_may_notice_late_that_the_store_is_back(at, excused):
    (stale,) = judge([write("w1", 1.0, 1.1, _11=5), read(at, _11=4)], [Outage("w1", 0.5, 0.9)], grace=1.0).stale

    assert stale.excused is excused


def test_what_is_counted():
    lines = [
        {"op": "begin", "kind": "write"},
        write("w1", 1.0, 1.1, _11=5),
        write("w1", 1.0, 1.1, "WriteRefused: the store", _11=6),
        read(1.2, _11=5),
    ]
    assert judge(lines)[:3] == (1, 1, 1)
    assert judge(lines).errors == {"WriteRefused": 1}
