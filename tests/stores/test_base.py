"""The breaker, on a store that fails when it is told to; and what marks are made of."""

from __future__ import annotations

import errno
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from ormcache.exceptions import StoreBusy, StoreFull, StoreUnavailable
from ormcache.stores import base, room
from ormcache.stores.base import (
    Store,
    add_mark,
    decode_marks,
    encode_marks,
    is_stamp,
    last_lease_end,
    remove_mark,
)
from tests.stores.helpers import Clock, stamp


class Shaky(Store):
    kind = "shaky"

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.fails: BaseException | None = None
        self.calls = 0
        self.resets = 0
        self.at_work = threading.Semaphore(0)
        self.go_on: threading.Event | None = None

    def _look_up(self, entry: bytes | None, slots: Sequence[bytes]) -> tuple[bytes | None, list[bytes | None]]:
        self.calls += 1
        if self.go_on is not None:
            self.at_work.release()
            self.go_on.wait()
        if self.fails is not None:
            raise self.fails
        return b"rows", []

    def _reset(self) -> None:
        self.resets += 1


@pytest.fixture
def shaky(clock: Clock) -> Shaky:
    return Shaky(clock)


def fail(store: Shaky) -> None:
    with pytest.raises(StoreUnavailable):
        store.look_up(None, [])


def test_a_failure_costs_one_call_until_the_back_off_is_over(shaky: Shaky, clock: Clock) -> None:
    shaky.fails = OSError("gone")
    assert shaky.is_available
    with pytest.raises(StoreUnavailable, match="gone") as raised:
        shaky.look_up(None, [])
    assert raised.value.__cause__ is shaky.fails
    assert not shaky.is_available
    for _ in range(5):
        fail(shaky)
    assert shaky.calls == 1
    assert shaky.resets == 1
    clock.advance(base.MIN_BACK_OFF)
    assert shaky.is_available
    fail(shaky)
    assert shaky.calls == 2


def test_the_back_off_doubles_up_to_a_bound_and_begins_anew_after_a_success(shaky: Shaky, clock: Clock) -> None:
    shaky.fails = OSError("gone")
    waits = []
    for _ in range(12):
        fail(shaky)
        before, began = shaky.calls, clock.now
        while shaky.calls == before:
            clock.advance(0.25)
            fail(shaky)
        waits.append(clock.now - began)
        shaky.calls -= 1
        clock.advance(base.MAX_BACK_OFF)
    assert waits[0] <= 2 * base.MIN_BACK_OFF
    assert waits == sorted(waits)
    assert waits[-1] == base.MAX_BACK_OFF
    shaky.fails = None
    clock.advance(base.MAX_BACK_OFF)
    assert shaky.look_up(None, []) == (b"rows", [])
    assert shaky.is_available
    shaky.fails = OSError("gone again")
    fail(shaky)
    clock.advance(base.MIN_BACK_OFF)
    assert shaky.is_available


def test_retry_now_ends_the_back_off(shaky: Shaky, clock: Clock) -> None:
    shaky.fails = OSError("gone")
    fail(shaky)
    shaky.fails = None
    fail(shaky)
    shaky.retry_now()
    assert shaky.look_up(None, []) == (b"rows", [])


def test_all_errors_become_store_unavailable(shaky: Shaky) -> None:
    for error in (ValueError("x"), KeyError("x"), RecursionError("x"), StoreUnavailable("x")):
        shaky.fails = error
        fail(shaky)
        shaky._failures = 0


def test_what_must_end_a_program_is_let_through(shaky: Shaky) -> None:
    shaky.fails = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        shaky.look_up(None, [])
    assert shaky.is_available


def test_a_busy_store_is_not_away(shaky: Shaky) -> None:
    shaky.fails = StoreBusy("contended")
    fail(shaky)
    fail(shaky)
    assert shaky.calls == 2
    assert shaky.is_available


def test_a_full_store_is_not_away(shaky: Shaky, clock: Clock) -> None:
    shaky.fails = StoreFull("no room")
    fail(shaky)
    fail(shaky)
    assert shaky.calls == 2
    assert shaky.is_available
    assert shaky.is_full
    clock.advance(room.FULL_MEMORY)
    assert not shaky.is_full


def test_one_that_answers_and_denies_is_asked_again_soon(shaky: Shaky, clock: Clock) -> None:
    shaky.fails = OSError(errno.EROFS, "read-only")
    for _ in range(12):
        fail(shaky)
        clock.advance(base.MAX_BACK_OFF_ANSWERED)
    assert shaky.calls == 12


def test_says_so_once_when_a_store_goes_and_once_when_it_comes(
    shaky: Shaky, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    shaky.fails = OSError("gone")
    for _ in range(5):
        fail(shaky)
        clock.advance(60)
    shaky.fails = None
    shaky.look_up(None, [])
    shaky.look_up(None, [])
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert "away" in caplog.messages[0]
    assert "answers again" in caplog.messages[1]


def run_in_threads(count: int, store: Shaky) -> tuple[list[threading.Thread], list[Any]]:
    answers: list[Any] = []

    def work() -> None:
        try:
            answers.append(store.look_up(None, []))
        except StoreUnavailable as error:
            answers.append(error)

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads, answers


def test_threads_that_fail_together_count_as_one_failure(shaky: Shaky, clock: Clock) -> None:
    shaky.fails = OSError("gone")
    shaky.go_on = threading.Event()
    threads, answers = run_in_threads(8, shaky)
    for _ in threads:
        shaky.at_work.acquire()
    shaky.go_on.set()
    for thread in threads:
        thread.join()
    assert len(answers) == 8
    shaky.go_on = None
    clock.advance(base.MIN_BACK_OFF)
    assert shaky.is_available
    fail(shaky)  # the second time
    clock.advance(2 * base.MIN_BACK_OFF)
    assert shaky.is_available


def test_one_thread_probes_while_the_others_fail_at_once(shaky: Shaky, clock: Clock) -> None:
    shaky.fails = OSError("gone")
    fail(shaky)
    clock.advance(base.MIN_BACK_OFF)
    shaky.go_on = threading.Event()
    threads, answers = run_in_threads(1, shaky)
    shaky.at_work.acquire()
    for _ in range(3):
        fail(shaky)  # returns while the probe is still at work
    assert shaky.calls == 2
    shaky.fails = None
    shaky.go_on.set()
    threads[0].join()
    assert answers == [(b"rows", [])]
    assert shaky.look_up(None, []) == (b"rows", [])


def test_stamps_and_marks_are_distinguished() -> None:
    one = stamp()
    mark = encode_marks([(b"w" * 8, 5)])
    assert len(mark) == len(one)
    assert is_stamp(one)
    assert not is_stamp(mark)
    assert not is_stamp(one + b"x")
    assert not is_stamp(None)
    assert decode_marks(one) == decode_marks(None) == decode_marks(b"") == decode_marks(mark + b"x") == []
    assert decode_marks(mark) == [(b"w" * 8, 5)]


def test_marks_are_merged_and_taken_away() -> None:
    one, other, fresh = b"1" * 8, b"2" * 8, stamp()
    value = add_mark(stamp(), one, now=10, lease_end=70)
    assert decode_marks(value) == [(one, 70)]
    value = add_mark(value, other, now=20, lease_end=60)
    assert decode_marks(value) == [(one, 70), (other, 60)]
    assert last_lease_end(value) == 70
    assert decode_marks(remove_mark(value, one, 30, fresh)) == [(other, 60)]
    assert remove_mark(value, one, 60, fresh) == fresh  # the other's lease is over
    assert decode_marks(add_mark(value, one, now=65, lease_end=200)) == [(one, 200)]
    assert remove_mark(None, one, 0, fresh) == remove_mark(b"rubbish", one, 0, fresh) == fresh


class Limit(Exception):
    """As Celery's and RQ's."""


@pytest.mark.parametrize(
    "error", [Limit(), MemoryError(), KeyboardInterrupt(), SystemExit()], ids=lambda error: type(error).__name__
)
@pytest.mark.parametrize("away", [False, True])
def test_what_is_no_error_of_the_store_passes(shaky: Shaky, clock: Clock, away: bool, error: BaseException) -> None:
    if away:
        shaky.fails = OSError()
        fail(shaky)
        clock.advance(60)
    met = shaky.outage_count
    shaky.fails = error
    with pytest.raises(type(error)):
        shaky.look_up(None, [])

    assert shaky.outage_count == met
    assert shaky.is_available  # for the next one, at once
    shaky.fails = None
    assert shaky.look_up(None, []) == (b"rows", [])
    assert shaky.is_answering
