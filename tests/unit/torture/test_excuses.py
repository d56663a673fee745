"""What excuses stale reads in a run of the torture, and what does not."""

from __future__ import annotations

import pytest

from tests.torture.excuses import MARKED_AGAIN, NOTICED, UNDER_WAY, Excuses, excluding
from tests.torture.history import judge
from tests.torture.torture import DEPLOYS, GRACE, WORKERS
from tests.unit.torture.test_history import read, write

BEGAN, ENDED = 10.0, 11.0  # of the outage


def is_excused(excuses, *, wrote=10.5, read_at=11.1, worker="w1"):
    """Whether a stale read is, of what a worker had written within 0.01 seconds from a moment on."""
    lines = [write(worker, wrote, wrote + 0.01, _11=5), read(read_at, _11=4)]
    (stale,) = judge(lines, excuses.outages(), grace=GRACE).stale
    return stale.excused


def excuses(on_outage, *, workers=("w1",), excluding=()):
    made = Excuses(on_outage)
    made.record(workers, BEGAN, ENDED, excluding)
    return made


def test_an_outage_excuses_those_alone_who_proceed():
    assert is_excused(excuses("proceed"))
    assert not is_excused(excuses("refuse"))


@pytest.mark.parametrize("on_outage", ["proceed", "refuse"])
def test_nothing_excuses_where_nothing_happened(on_outage):
    assert not is_excused(Excuses(on_outage))
    assert not is_excused(excuses(on_outage, workers=(), excluding=["w1"]))  # as while a process stands still


@pytest.mark.parametrize("on_outage", ["proceed", "refuse"])
def test_an_outage_excuses_who_writes_an_excluded_table(on_outage):
    assert is_excused(excuses(on_outage, excluding=["w1"]))
    assert is_excused(excuses(on_outage, workers=("w1", "w2"), excluding=["w2"]), worker="w2")


def test_it_excuses_nobody_else():
    assert not is_excused(excuses("proceed"), worker="w2")
    assert not is_excused(excuses("proceed", excluding=["w2"]), worker="w2")  # its own store was there
    assert not is_excused(excuses("refuse", workers=("w1", "w2"), excluding=["w2"]))


@pytest.mark.parametrize("on_outage, last", [("proceed", NOTICED), ("refuse", MARKED_AGAIN), ("both", MARKED_AGAIN)])
def test_for_how_long_it_excuses(on_outage, last):
    made = excuses("proceed" if on_outage == "both" else on_outage, excluding=[] if on_outage == "proceed" else ["w1"])
    # by when the write was made …
    assert is_excused(made, wrote=BEGAN - UNDER_WAY, read_at=ENDED)
    assert not is_excused(made, wrote=BEGAN - UNDER_WAY - 0.02, read_at=ENDED)
    # … and by when it was read, also if its writer had not noticed yet that the store was back
    assert is_excused(made, wrote=ENDED + last + 0.02, read_at=ENDED + last + GRACE - 0.01)
    assert is_excused(made, read_at=ENDED + last + GRACE - 0.01)
    assert not is_excused(made, read_at=ENDED + last + GRACE + 0.01)


def test_each_write_that_was_missed_needs_an_excuse():
    made = excuses("proceed")
    lines = [write("w1", 10.5, 10.6, _11=5), write("w2", 10.7, 10.8, _11=6), read(11.1, _11=4)]
    (stale,) = judge(lines, made.outages(), grace=GRACE).stale
    assert not stale.excused
    made.record(["w2"], BEGAN, ENDED, ())
    (stale,) = judge(lines, made.outages(), grace=GRACE).stale
    assert stale.excused


def test_outages_of_different_times_are_not_one():
    made = excuses("proceed")
    made.record(["w1"], 20.0, 21.0, ())
    assert is_excused(made, wrote=20.5, read_at=21.1)
    assert not is_excused(made, wrote=15.0, read_at=15.1)
    assert not is_excused(made, wrote=10.5, read_at=20.5)  # stale for as long as that


def test_who_excludes_authors():
    deployed = dict(zip(("none", *map(str, range(len(DEPLOYS)))), ({}, *DEPLOYS), strict=True))
    assert excluding(deployed) == {"3"}
    assert excluding({worker: {} for worker in WORKERS}) == frozenset()
