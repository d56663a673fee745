"""What a tracker records of slots, sessions and timeouts, of its own block and of those inside."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ormcache import reasons
from ormcache.cache import tracking as module
from ormcache.cache.stamps import new_stamp
from ormcache.cache.tracking import Tracker, current_tracker, tracking, untracked
from ormcache.exceptions import StoreUnavailable
from ormcache.stores.base import Store

A, B = b"a" * 16, b"b" * 16


class Slots(Store):
    """The slots of a store, in a dict; None for the whole of it: it is away."""

    kind = "slots"

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[bytes, bytes | None] | None = {}

    def _look_up(self, entry: bytes | None, slots: Sequence[bytes]) -> tuple[bytes | None, list[bytes | None]]:
        if self.held is None:
            raise StoreUnavailable("away")
        return None, [self.held.get(slot) for slot in slots]


@pytest.fixture
def store():
    return Slots()


def reason(tracker):
    return None if tracker.rejection is None else tracker.rejection.reason


def test_it_is_valid_while_all_slots_hold_what_was_recorded(store):
    first, second = new_stamp(), new_stamp()
    store.held = {A: first, B: second}
    tracker = Tracker()
    tracker.record("default", b"session", store, (A, B), first + second)

    assert tracker.validate() is None
    store.held[B] = new_stamp()
    assert not tracker.is_current()
    assert tracker.validate().reason == reasons.WRITTEN_MEANWHILE


@pytest.mark.parametrize("held", [None, b"", b"M" + b"x" * 16, b"M" + b"x" * 32])
def test_what_is_no_stamp_is_not_what_was_recorded(store, held):
    """Nor do two of them make up for it together."""
    first, second = new_stamp(), new_stamp()
    tracker = Tracker()
    tracker.record("default", b"session", store, (A, B), first + second)
    store.held = {A: held, B: first + second}

    assert not tracker.is_current()


def test_a_vector_that_is_too_short_is_never_current(store):
    tracker = Tracker()
    tracker.record("default", b"session", store, (A, B), new_stamp())
    store.held = {}

    assert not tracker.is_current()


def test_a_store_that_is_away(store):
    tracker = Tracker()
    tracker.record("default", b"session", store, (A,), new_stamp())
    store.held = None

    assert tracker.validate().reason == reasons.STORE_UNAVAILABLE


def test_two_stamps_of_one_slot(store):
    tracker = Tracker()
    tracker.record("default", b"session", store, (A,), new_stamp())
    tracker.record("default", b"session", store, (A,), new_stamp())

    assert reason(tracker) == reasons.WRITTEN_MEANWHILE


def test_two_sessions_of_one_alias(store):
    tracker = Tracker()
    tracker.record("default", b"session", store, (), b"")
    tracker.record("second", b"another", store, (), b"")
    assert reason(tracker) is None
    tracker.record("default", b"another", store, (), b"")

    assert reason(tracker) == reasons.SEVERAL_SESSIONS


def test_the_first_reason_stays():
    tracker = Tracker()
    tracker.reject(reasons.WRITES)
    tracker.reject(reasons.FAILED)

    assert reason(tracker) == reasons.WRITES


@pytest.mark.parametrize("first, second, least", [(None, None, None), (5.0, None, 5.0), (7.0, 6.0, 6.0)])
def test_it_expires_with_the_first_of_its_parts(store, first, second, least):
    outer, inner = Tracker(), Tracker.of_stored({}, store, (), b"", expires=second)
    outer.record("default", b"session", store, (), b"", expires=first)
    outer.absorb(inner)

    assert outer.expires == least


def test_a_block_inside_reports_to_the_one_around_it(store):
    stamp = new_stamp()
    with tracking(Tracker()) as outer:
        with pytest.raises(ValueError, match="inside"), tracking(Tracker()) as inner:
            inner.record("default", b"session", store, (A,), stamp)
            inner.reject(reasons.WRITES)
            raise ValueError("inside")
        assert current_tracker() is outer
    assert outer.stores == {store: {A: stamp}}
    assert outer.sessions == {"default": b"session"}
    assert reason(outer) == reasons.WRITES
    assert current_tracker() is None


def test_one_tracker_for_a_block_within_its_own():
    tracker = Tracker()
    with tracking(tracker):
        with tracking(tracker):
            pass
        assert current_tracker() is tracker
    assert current_tracker() is None
    assert tracker.find_open() is None
    assert reason(tracker) is None


def test_untracked():
    with tracking(Tracker()) as tracker:
        with untracked():
            assert current_tracker() is None
        assert current_tracker() is tracker


def test_it_records_no_more_slots_than_it_may(store, monkeypatch):
    monkeypatch.setattr(module, "MOST_SLOTS", 10)
    tracker = Tracker()
    for number in range(1000):
        tracker.record("default", b"session", store, (number.to_bytes(16, "big"),), new_stamp())

    assert reason(tracker) == reasons.TOO_LARGE
    assert len(tracker.stores[store]) <= 10
