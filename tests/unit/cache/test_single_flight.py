"""Who leads a flight and who waits, in one process and between two: each has its own Flights on one store."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from ormcache import reasons
from ormcache.cache import single_flight as module
from ormcache.cache.single_flight import Flight, Flights
from ormcache.exceptions import StoreUnavailable
from ormcache.stores.embedded.store import CLAIM, EmbeddedStore

NAME, VECTOR, TEXT = b"name", b"vector", b"text"
PATIENCE = 30.0  # seconds; a thread that takes longer will never come


class Claims(EmbeddedStore):
    """Remembers the claims that it was asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, 8 * 2**20)
        self.asked: list[bytes] = []

    def _claim(self, name: bytes, owner: bytes, seconds: float) -> bytes:
        self.asked.append(name)
        return super()._claim(name, owner, seconds)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Claims]:
    store = Claims(tmp_path / "store")
    yield store
    store.close()


@pytest.fixture
def flights(store: Claims) -> Flights:
    return Flights(store, PATIENCE)


@pytest.fixture
def elsewhere(store: Claims) -> Flights:
    """As another process has them."""
    return Flights(store, PATIENCE)


class Reader:
    """One reader, in a thread of its own; ``waits`` is set right before it waits."""

    pool = ThreadPoolExecutor(32)

    def __init__(self, flights: Flights, vector: bytes = VECTOR, *, news: Callable[[], bool] = lambda: False) -> None:
        self.waits = threading.Event()
        self.answer = self.pool.submit(join, flights, self._deadline, news, vector)

    def _deadline(self) -> float:
        self.waits.set()
        return time.monotonic() + PATIENCE

    def wait(self) -> Reader:
        assert self.waits.wait(PATIENCE)
        return self

    @property
    def flight(self) -> Flight | None:
        return self.answer.result(PATIENCE)


def join(
    flights: Flights,
    deadline: Callable[[], float],
    has_landed: Callable[[], bool],
    vector: bytes = VECTOR,
    text: bytes = TEXT,
) -> Flight | None:
    """A flight to lead, or None: look up again."""
    flight = Flight(NAME, vector, text)
    try:
        if flights.join(flight, deadline, has_landed):
            return flight
        flights.end(flight)
    except BaseException:
        flights.end(flight)
        raise
    return None


def lead(flights: Flights, vector: bytes = VECTOR) -> Flight:
    """A flight of somebody who must not wait."""
    flight = join(flights, lambda: 0.0, lambda: False, vector)
    assert flight is not None
    return flight


def land(flights: Flights, flight: Flight, rejected: str | None = None, took: float = 0.0) -> None:
    flight.rejected = rejected
    flight.began -= took
    flights.end(flight)


def elsewhere_lead(flights: Flights) -> Flight:
    """Another thread's: nobody waits for a flight of his own thread."""
    flight = Reader(flights).flight
    assert flight is not None
    return flight


# In one process -----------------------------------------------------------------------


def test_others_wait_until_the_leader_has_landed(flights):
    leader = lead(flights)
    followers = [Reader(flights).wait() for _ in range(8)]
    land(flights, leader)

    assert [follower.flight for follower in followers] == [None] * 8
    assert len(flights) == 0


def test_another_vector_is_another_flight(flights):
    leader = lead(flights)
    newer = Reader(flights, b"newer").flight

    assert newer is not None
    assert not newer.gave_up
    assert len(flights) == 2
    land(flights, leader)
    land(flights, newer)


@pytest.mark.parametrize(
    "rejected", ["", reasons.TOO_LARGE, reasons.STORE_UNAVAILABLE], ids=["raised", "rejected", "away"]
)
def test_a_result_that_nobody_can_look_up_sends_all_off_at_once(flights, rejected):
    leader = lead(flights)
    followers = [Reader(flights).wait() for _ in range(8)]
    land(flights, leader, rejected)

    # None of them has come to an end, and each has a flight.
    assert all(follower.flight is not None for follower in followers)
    assert len(flights) == 0


def test_a_statement_whose_result_was_rejected_is_not_waited_for_until_one_is_stored(flights, store):
    land(flights, lead(flights), reasons.TOO_LARGE)
    first = lead(flights)
    second = Reader(flights)
    assert second.flight is not None  # has not waited
    assert not second.waits.is_set()
    assert len(store.asked) == 1  # the first one's of all

    land(flights, first)
    leader = lead(flights)
    follower = Reader(flights).wait()
    land(flights, leader)
    assert follower.flight is None


@pytest.mark.parametrize("rejected", ["", reasons.STORE_UNAVAILABLE], ids=["raised", "away"])
def test_a_text_that_failed_once_flies_again(flights, rejected):
    land(flights, lead(flights), rejected)
    leader = lead(flights, b"later")
    follower = Reader(flights, b"later").wait()
    land(flights, leader)

    assert follower.flight is None


def test_who_must_not_wait_does_not(flights):
    leader = Reader(flights).flight
    assert leader is not None

    land(flights, lead(flights))
    assert len(flights) == 1  # the leader's, still
    land(flights, leader)


def test_nobody_waits_for_his_own_thread(flights):
    leader = lead(flights)
    inner = join(flights, lambda: time.monotonic() + PATIENCE, lambda: False)

    assert inner is not None
    land(flights, inner)
    assert len(flights) == 1
    land(flights, leader)
    assert len(flights) == 0


def test_the_wait_ends(flights):
    leader = elsewhere_lead(flights)

    assert join(flights, lambda: time.monotonic() + 0.01, lambda: False) is not None
    land(flights, leader)


def test_a_leader_that_hangs_is_replaced(store):
    flights = Flights(store, 0.05)
    hanging = elsewhere_lead(flights)
    hanging.began -= 1
    store.delete_entries([CLAIM + hanging.claim])
    leader = lead(flights)
    follower = Reader(flights).wait()
    land(flights, hanging)  # is no longer the one that is waited for
    assert len(flights) == 1
    land(flights, leader)
    assert follower.flight is None


def test_what_is_remembered_is_bounded(store, monkeypatch):
    monkeypatch.setattr(module, "MOST_STATEMENTS", 10)
    monkeypatch.setattr(module, "MOST_FLIGHTS", 10)
    flights = Flights(store, PATIENCE)
    for number in range(50):
        flight = join(flights, lambda: 0.0, lambda: False, b"%d" % number, text=b"%d" % number)
        flight.rejected = reasons.TOO_LARGE
        if number % 2:
            flights.end(flight)

    assert len(flights) <= 10
    assert 0 < len(flights._durations) <= 10


# Among processes ----------------------------------------------------------------------


def test_another_process_waits_until_the_leader_has_landed(flights, elsewhere):
    leader = lead(flights)
    assert leader.claim is not None
    landed = threading.Event()
    follower = Reader(elsewhere, news=landed.is_set).wait()
    beside = Reader(elsewhere, news=landed.is_set).wait()
    landed.set()

    assert (follower.flight, beside.flight) == (None, None)
    land(flights, leader)


def test_who_comes_right_after_the_landing_looks_again(flights, elsewhere):
    """It has looked up before the result was there, and claims after the leader has ended."""
    land(flights, lead(flights))

    assert join(elsewhere, lambda: 0.0, lambda: True) is None
    # The store has lost the result meanwhile.
    flight = join(elsewhere, lambda: 0.0, lambda: False)
    assert flight is not None
    land(elsewhere, flight)


@pytest.mark.parametrize("rejected", ["", reasons.TOO_LARGE], ids=["raised", "rejected"])
def test_other_processes_learn_that_the_leader_gave_up(flights, elsewhere, rejected):
    leader = lead(flights)
    followers = [Reader(elsewhere).wait() for _ in range(4)]
    land(flights, leader, rejected)

    assert all(follower.flight is not None for follower in followers)
    assert len(elsewhere) == 0


def test_one_takes_over_from_a_leader_that_died(flights, store):
    dead = lead(flights)
    landed = threading.Event()
    readers = [Reader(Flights(store, PATIENCE), news=landed.is_set).wait() for _ in range(4)]
    store.delete_entries([CLAIM + dead.claim])  # its lease ends
    taken = wait({reader.answer for reader in readers}, PATIENCE, FIRST_COMPLETED).done
    landed.set()

    assert len(taken) == 1
    assert [reader.flight for reader in readers].count(None) == 3


def test_a_quick_text_is_not_claimed(flights, elsewhere, store):
    land(flights, lead(flights))  # nobody knew
    assert len(store.asked) == 1
    for number in range(5):
        land(flights, lead(flights, b"%d" % number))
    assert len(store.asked) == 1


def test_a_slow_text_is_claimed_for_as_long_as_it_took(flights, store, monkeypatch):
    leases = []
    monkeypatch.setattr(store, "claim", lambda name, owner, seconds: leases.append(seconds) or owner)
    for number, took in enumerate([0.0, 2.0, 0.0, 100.0, 0.0]):
        land(flights, lead(flights, b"%d" % number), took=took)

    # Unknown; quick, and so not claimed; 2 s; a half of that, since it was quick once; no longer than anybody waits.
    assert leases == [
        module.FIRST_LEASE,
        pytest.approx(6.0, abs=0.5),
        pytest.approx(3.0, abs=0.5),
        PATIENCE,
    ]


def test_a_store_that_is_away_holds_nobody_up(tmp_path):
    (tmp_path / "store").mkdir(mode=0o777)
    (tmp_path / "store").chmod(0o777)  # which the store refuses
    store = EmbeddedStore(tmp_path / "store", 8 * 2**20)
    with pytest.raises(StoreUnavailable):
        store.look_up(None, [])
    flights = Flights(store, PATIENCE)
    readers = [Reader(flights) for _ in range(4)]

    for reader in readers:
        assert reader.flight is not None
        land(flights, reader.flight, reasons.STORE_UNAVAILABLE)
    assert len(flights) == 0


def test_whatever_ends_the_wait_ends_the_flight(flights, elsewhere):
    def interrupted() -> bool:
        raise KeyboardInterrupt

    leader = lead(flights)
    beside = None
    with contextlib.suppress(KeyboardInterrupt):
        join(elsewhere, lambda: time.monotonic() + PATIENCE, interrupted)
        beside = "not interrupted"

    assert beside is None
    assert len(elsewhere) == 0
    land(flights, leader)
