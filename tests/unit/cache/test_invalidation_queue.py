"""Writes that the store could not be told of."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ormcache.cache.invalidation_queue import InvalidationQueue
from ormcache.exceptions import StoreFull, StoreUnavailable

PROGRAM = """
from ormcache.cache.invalidation_queue import InvalidationQueue
from ormcache.exceptions import StoreUnavailable

awake = []

def settle(relations):
    if not awake:
        raise StoreUnavailable
    print(*relations)

pending = InvalidationQueue(settle, lambda relations, lease: None, lambda: awake.append(True))
pending.add(frozenset({"shop_author"}))
"""


def test_what_waits_is_published_at_an_orderly_end() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)

    assert done.stdout == "shop_author\n"


class Told:
    """A store that takes notes, and may be away."""

    def __init__(self) -> None:
        self.away = True
        self.calls: list[tuple[object, ...]] = []

    def settle(self, relations: frozenset[str]) -> None:
        self._note("settle", relations)

    def mark(self, relations: frozenset[str], lease: float) -> None:
        self._note("mark", relations, round(lease))

    def _note(self, *call: object) -> None:
        if self.away:
            raise StoreUnavailable
        self.calls.append(call)


@pytest.fixture
def now(monkeypatch):
    """``now[0]`` is the time; the thread that tries again stands still."""
    time = [1000.0]
    monkeypatch.setattr("ormcache.cache.invalidation_queue.time.monotonic", lambda: time[0])
    monkeypatch.setattr(InvalidationQueue, "_work", lambda self: None)
    return time


A, B = frozenset({"a"}), frozenset({"b"})


def test_what_may_still_come_is_marked_for_the_rest_of_its_lease(now):
    store = Told()
    pending = InvalidationQueue(store.settle, store.mark, lambda: None)
    pending.add(A, unanswered=60)
    pending.add(B)
    pending.add(A)  # a later write of the same relation takes nothing of that away
    now[0] += 20
    with pytest.raises(StoreUnavailable):
        pending.retry()
    assert pending.relations == A | B

    store.away = False
    pending.retry()
    assert store.calls == [("mark", A, 40), ("settle", B)]
    assert not pending.relations


def test_what_can_no_longer_come_is_settled(now):
    store = Told()
    pending = InvalidationQueue(store.settle, store.mark, lambda: None)
    pending.add(A, unanswered=60)
    now[0] += 60
    store.away = False

    pending.retry()

    assert store.calls == [("settle", A)]


def test_a_handler_that_interrupts_a_change_loses_nothing(now):
    """The lock lets the same thread in once more."""
    told = Told()
    queue = InvalidationQueue(told.settle, told.mark, lambda: None)
    write = iter([frozenset({"inner"})])

    class Interrupted(frozenset):
        def __iter__(self):
            for relations in write:  # once
                queue.add(relations)
            return super().__iter__()

    queue.add(Interrupted({"outer"}))

    assert queue.relations == {"inner", "outer"}


def test_what_there_is_no_room_to_mark_is_tried_again_and_holds_nothing_up(now, monkeypatch):
    """Its slots were emptied, and a reader may fill them before the write becomes visible."""
    store = Told()
    store.away = False
    pending = InvalidationQueue(store.settle, store.mark, lambda: None)
    pending.add(A, unanswered=60)
    pending.add(B)

    def full(relations: frozenset[str], lease: float) -> None:
        store.mark(relations, lease)
        raise StoreFull("full")

    with monkeypatch.context() as patch:
        patch.setattr(pending, "_mark", full)
        pending.retry()
        assert pending.relations == A
        now[0] += 20
        pending.retry()
    assert pending.relations == A
    assert store.calls == [("mark", A, 60), ("settle", B), ("mark", A, 40)]
    pending.retry()
    assert pending.relations == frozenset()
