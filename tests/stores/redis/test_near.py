"""The level near: what may be answered from the mirror, and what may come into it.

``delayed``: the server's pushes are on their way for as long as a test likes.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ormcache.exceptions import StoreUnavailable
from ormcache.stores.base import decode_marks, is_stamp
from ormcache.stores.redis import near as module
from ormcache.stores.redis.near import NearStore
from ormcache.stores.redis.store import RedisStore
from tests.servers import Server, free_port
from tests.stores.conftest import DJANGO_REDIS, DJANGOS_REDIS, PATIENT, TIMEOUT
from tests.stores.helpers import Child, Clock, name, names, row_names, stamp, unavailable, writer
from tests.stores.redis.test_redis import NEEDED, due, with_tls
from tests.waiting import eventually

LAG = 5.0  # seconds of the tests' clock

Make = Callable[..., NearStore]


@pytest.fixture
def make(
    use_cache: Callable[..., str], server: Server, clock: Clock, closed_at_end: Callable[[NearStore], NearStore]
) -> Make:
    def make(location: str = "", backend: str = DJANGO_REDIS, timeout: float = PATIENT) -> NearStore:
        alias = use_cache(backend, location or f"redis://{server.host}:{server.port}/0")
        return closed_at_end(NearStore(RedisStore(alias, timeout, clock), alias, timeout, LAG, clock))

    return make


@pytest.fixture
def near(make: Make) -> NearStore:
    return make()


@pytest.fixture
def other(make: Make) -> RedisStore:
    """The same store as another process has it."""
    return make().strict


def asked(near: NearStore, slots: list[bytes]) -> bool:
    """Does a look-up ask the store?"""
    asking = []
    look_up = near._store.look_up_with_prefix
    near._store.look_up_with_prefix = lambda *args: asking.append(args) or look_up(*args)  # type: ignore[method-assign]
    try:
        near.look_up(None, slots)
    finally:
        del near._store.look_up_with_prefix
    return bool(asking)


def warmed(near: NearStore, count: int = 1) -> tuple[list[bytes], list[bytes]]:
    """Slots that are answered from the mirror, and their stamps."""
    slots, stamps = names(count), [stamp() for _ in range(count)]
    for slot, value in zip(slots, stamps, strict=True):
        near.strict.settle([slot], writer(), value)
    eventually(lambda: not asked(near, slots))
    return slots, stamps


@pytest.fixture
def delayed(monkeypatch: pytest.MonkeyPatch) -> Callable[[NearStore], None]:
    def delay(near: NearStore) -> None:
        assert near._connection is not None
        monkeypatch.setattr(near._connection, "_receive", lambda: None)

    return delay


class Standing:
    """A look-up, in a thread of its own, that has its answer from the server and does not know it yet."""

    def __init__(self, near: NearStore, slots: list[bytes]) -> None:
        self._go, self._stands = threading.Event(), threading.Event()
        look_up = near._store.look_up_with_prefix

        def answered(*args: Any) -> Any:
            answer = look_up(*args)
            if threading.current_thread() is self._thread:
                self._stands.set()
                assert self._go.wait(PATIENT)
            return answer

        near._store.look_up_with_prefix = answered  # type: ignore[method-assign]
        self._near = near
        self.held: list[bytes | None] = []
        self._thread = threading.Thread(target=lambda: self.held.extend(near.look_up(name(), slots)[1]))
        self._thread.start()
        assert self._stands.wait(PATIENT)

    def go(self) -> list[bytes | None]:
        self._go.set()
        self._thread.join()
        del self._near._store.look_up_with_prefix
        return self.held


# Answers --------------------------------------------------------------------------


@pytest.mark.parametrize("backend", [DJANGO_REDIS, DJANGOS_REDIS])
@pytest.mark.parametrize("way", ["port", "socket"])
def test_the_mirror_answers_for_slots(make: Make, server: Server, backend: str, way: str) -> None:
    near = make(f"unix://{server.unix_socket}" if way == "socket" else "", backend)
    slots, stamps = warmed(near, 3)

    assert near.look_up(None, slots) == (None, stamps)
    assert near.look_up(None, [slots[2], slots[0]]) == (None, [stamps[2], stamps[0]])
    assert asked(near, [*slots, name()])


def test_it_does_over_tls(make: Make, other: RedisStore, raw: Any, tmp_path: Path) -> None:
    port, certificate = with_tls(raw, tmp_path)
    near = make(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificate}")
    slots, stamps = warmed(near, 3)

    assert near.look_up(None, slots) == (None, stamps)
    for _ in range(50):
        other.settle(slots[:1], writer(), new := stamp())
        eventually(lambda new=new: near.look_up(None, slots)[1] == [new, *stamps[1:]])


def test_what_a_user_has_to_be_allowed(make: Make, server: Server, raw: Any) -> None:
    raw.acl_setuser(
        "ormcache",
        enabled=True,
        passwords=["+s3cret"],
        keys=["ormcache:*"],
        commands=[*NEEDED, "+client|tracking"],
    )
    near = make(f"redis://ormcache:s3cret@{server.host}:{server.port}/0")
    slots, stamps = warmed(near)

    assert near.look_up(None, slots) == (None, stamps)


def test_a_look_up_with_an_entry_asks_the_store(near: NearStore, other: RedisStore, delayed: Any) -> None:
    (slot,), _ = warmed(near)
    entry, new = name(), stamp()
    delayed(near)
    other.settle([slot], writer(), new)
    other.put_entry(entry, b"rows", None)

    assert near.look_up(entry, [slot]) == (b"rows", [new])


def test_a_process_that_keeps_nothing_in_memory_needs_no_pushes(near: NearStore) -> None:
    for _ in range(3):
        near.look_up(name(), names(2))
    assert near._connection is None


def test_the_strict_store_behind_asks_the_store(near: NearStore, other: RedisStore, delayed: Any) -> None:
    (slot,), _ = warmed(near)
    new = stamp()
    delayed(near)
    other.settle([slot], writer(), new)

    assert near.strict.look_up(None, [slot])[1] == [new]


def test_marks_and_nothing_are_never_remembered(near: NearStore, other: RedisStore) -> None:
    (known,), _ = warmed(near)
    marked, empty = names(2)
    other.mark([marked], writer(), 60)
    for slot in (marked, empty):
        for _ in range(3):
            assert asked(near, [known, slot])
    assert not asked(near, [known])


@pytest.mark.parametrize("change", ["mark", "settle", "loss", "flush"])
def test_a_push_removes_what_has_changed(near: NearStore, other: RedisStore, raw: Any, change: str) -> None:
    (slot, untouched), (old, same) = warmed(near, 2)
    who, new = writer(), stamp()
    if change == "mark":
        other.mark([slot], who, 60)
        assert eventually(lambda: decode_marks(near.look_up(None, [slot])[1][0]))[0][0] == who
    elif change == "settle":
        other.settle([slot], who, new)
        assert eventually(lambda: near.look_up(None, [slot])[1] != [old])
        assert near.look_up(None, [slot])[1] == [new]
    elif change == "loss":
        raw.delete(*(key for key in raw.keys("*:s:*") if key.endswith(slot)))
        eventually(lambda: near.look_up(None, [slot])[1] == [None])
    else:
        raw.flushall()
        eventually(lambda: near.look_up(None, [slot])[1] == [None])
        eventually(lambda: near.look_up(None, [untouched])[1] == [None])
        return
    assert near.look_up(None, [untouched])[1] == [same]
    assert not asked(near, [untouched])


def test_a_mirror_that_is_full_begins_anew(near: NearStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SLOTS", 4)
    first, _ = warmed(near, 2)
    second, stamps = warmed(near, 3)

    assert len(near._mirror) <= 4
    assert near.look_up(None, second)[1] == stamps
    assert asked(near, first)


def test_rows_push_no_relations_out_of_the_mirror(near: NearStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SLOTS", 10)
    relations, stamps = warmed(near, 3)
    rows = row_names(20)
    near.strict.settle(rows, writer(), new := stamp())
    for row in rows:
        eventually(lambda row=row: not asked(near, [row]))
        assert len(near._mirror) <= 10
    assert not asked(near, relations)
    assert near.look_up(None, [*relations, rows[0]])[1] == [*stamps, new]


def test_a_push_removes_a_row(near: NearStore, other: RedisStore) -> None:
    row, untouched = row_names(2)
    near.strict.settle([row, untouched], writer(), old := stamp())
    eventually(lambda: not asked(near, [row, untouched]))
    other.settle([row], writer(), new := stamp())
    assert eventually(lambda: near.look_up(None, [row])[1] != [old])
    assert near.look_up(None, [row, untouched])[1] == [new, old]


# The bound ------------------------------------------------------------------------


def test_within_the_bound_the_server_is_not_needed(make: Make, server: Server, clock: Clock) -> None:
    near = make(timeout=TIMEOUT)
    slots, stamps = warmed(near)
    server.pause()
    try:
        clock.advance(LAG * 0.99)
        assert near.look_up(None, slots)[1] == stamps
        clock.advance(LAG * 0.02)
        unavailable(lambda: near.look_up(None, slots))
    finally:
        server.resume()


def test_pushes_that_stay_away_are_missed_for_no_longer_than_the_bound(
    near: NearStore, other: RedisStore, clock: Clock, delayed: Any
) -> None:
    (slot,), (old,) = warmed(near)
    new = stamp()
    delayed(near)
    other.settle([slot], writer(), new)
    assert near.look_up(None, [slot])[1] == [old]  # another process's write, within the bound
    clock.advance(LAG)

    assert near.look_up(None, [slot])[1] == [new]


def test_the_bound_counts_from_the_moment_of_asking(near: NearStore, raw: Any, clock: Clock) -> None:
    """What was changed while the proof was on its way may be missing from it."""
    slots, _ = warmed(near)
    clock.advance(LAG / 2)
    raw.client_pause(60_000, all=False)  # writes wait, reads do not: so does the proof
    try:
        assert not asked(near, slots)  # asks for the proof on the way
        clock.advance(LAG / 4)
        assert not asked(near, slots)
    finally:
        raw.client_unpause()
    eventually(lambda: asked(near, slots) or near._connection.fresh_until > clock.now + LAG / 4)

    assert near._connection.fresh_until == clock.now - LAG / 4 + LAG


def test_an_earlier_push_of_the_same_key_is_no_proof(near: NearStore, raw: Any, clock: Clock) -> None:
    slots, _ = warmed(near)
    link: Any = near._connection
    until, receive = link.fresh_until, link._receive
    link._receive = lambda: None
    raw.delete(link._own_key)
    raw.client_pause(60_000, all=False)
    try:
        clock.advance(LAG / 2)
        near.look_up(None, slots)  # asks for a proof
        link._receive = receive
        eventually(lambda: near.look_up(None, slots) and link._pending_replies == 1)
    finally:
        raw.client_unpause()

    assert link.fresh_until == until


def test_a_busy_process_never_waits_for_a_proof(near: NearStore, clock: Clock) -> None:
    slots, _ = warmed(near)
    for _ in range(10):
        until = near._connection.fresh_until
        clock.advance(LAG / 2)
        assert not asked(near, slots)
        eventually(lambda until=until: asked(near, slots) or near._connection.fresh_until > until)


def test_an_idle_process_asks_once(near: NearStore, clock: Clock) -> None:
    slots, stamps = warmed(near)
    clock.advance(LAG * 100)
    assert asked(near, slots)
    eventually(lambda: near._connection.fresh_until > clock.now or near.look_up(None, slots) is None)

    assert not asked(near, slots)
    assert near.look_up(None, slots)[1] == stamps


def test_a_silent_push_connection_is_given_up(near: NearStore, raw: Any, clock: Clock, caplog: Any) -> None:
    slots, stamps = warmed(near)
    raw.client_pause(60_000, all=False)
    try:
        clock.advance(LAG)
        assert asked(near, slots)
        link = near._connection
        clock.advance(PATIENT)
        assert asked(near, slots)
    finally:
        raw.client_unpause()
    assert link.closed.is_set()
    assert near._connection is None
    assert near.look_up(None, slots)[1] == stamps
    clock.advance(60)
    eventually(lambda: not asked(near, slots))
    assert [record.message[:24] for record in caplog.records] == [
        "the store does not push,",
        "the store pushes again: ",
    ]


# The connection -------------------------------------------------------------------


def test_a_push_connection_that_is_killed(near: NearStore, other: RedisStore, raw: Any, clock: Clock) -> None:
    (slot,), _ = warmed(near)
    new = stamp()
    tracking = [client["id"] for client in raw.client_list() if "t" in client["flags"]]
    assert len(tracking) == 1
    raw.client_kill_filter(_id=tracking[0])
    other.settle([slot], writer(), new)  # pushed to nobody
    eventually(lambda: near._connection is None or near.look_up(None, [slot])[1] == [new])

    assert near.look_up(None, [slot])[1] == [new]
    assert near.is_available
    assert asked(near, [slot])
    clock.advance(60)
    eventually(lambda: not asked(near, [slot]))


def test_a_restarted_server_has_no_mirror(near: NearStore, server: Server, clock: Clock) -> None:
    slots, _ = warmed(near)
    server.kill()
    server.start()
    clock.advance(60)
    with contextlib.suppress(StoreUnavailable):
        near.look_up(None, slots)  # its connections are dead, which it may know by now
    clock.advance(60)
    assert near.look_up(None, slots)[1] == [None]
    clock.advance(60)
    new = stamp()
    near.fill_slots(slots, new)
    eventually(lambda: not asked(near, slots))
    assert near.look_up(None, slots)[1] == [new]


def test_a_server_that_was_a_replica_meanwhile(near: NearStore, raw: Any, clock: Clock) -> None:
    """It may have lost the last stamps, and its connections were never closed."""
    slots, _ = warmed(near)
    raw.replicaof("127.0.0.1", free_port())
    raw.replicaof("NO", "ONE")
    clock.advance(LAG / 2)
    eventually(lambda: near._connection is None or near.look_up(None, slots) is None)

    due()
    assert near.look_up(None, slots)[1] == [None]


def test_what_another_server_has_answered_does_not_come_in(
    near: NearStore, raw: Any, delayed: Any, clock: Clock
) -> None:
    slots, _ = warmed(near)
    raw.replicaof("127.0.0.1", free_port())
    raw.replicaof("NO", "ONE")
    delayed(near)
    due()
    new = stamp()
    near.strict.fill_slots(slots, new)
    assert near.look_up(name(), slots)[1] == [new]

    assert near._connection is None
    assert near._mirror == {}


def test_a_server_that_refuses_to_track(make: Make, server: Server, raw: Any, caplog: Any) -> None:
    raw.acl_setuser("plain", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-client|tracking"])
    near = make(f"redis://plain:any@{server.host}:{server.port}/0")
    slot, old = name(), stamp()
    near.fill_slots([slot], old)

    for _ in range(5):
        assert near.look_up(None, [slot])[1] == [old]
        assert asked(near, [slot])
    assert len(caplog.records) == 1
    assert "'near' is 'strict'" in caplog.records[0].message


def test_an_idle_process_does_not_let_pushes_pile_up(
    make: Make, raw: Any, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    monkeypatch.setattr(module, "IDLE_TIMEOUT", 0.01)
    monkeypatch.setattr("tests.stores.redis.test_near.LAG", 0.01)
    near = make()
    slots, stamps = warmed(near)
    link = near._connection
    clock.advance(1)
    assert link.closed.wait(PATIENT)
    eventually(lambda: not any("t" in client["flags"] for client in raw.client_list()))

    assert near.look_up(None, slots)[1] == stamps
    assert near._connection is not None


def test_a_child_has_a_mirror_of_its_own(near: NearStore) -> None:
    slots, stamps = warmed(near)
    link = near._connection

    def child() -> Any:
        empty = (near._mirror == {}, near._connection)
        eventually(lambda: not asked(near, slots))
        return empty, near.look_up(None, slots)[1]

    assert Child(child).result() == ((True, None), stamps)
    assert near._connection is link
    assert not asked(near, slots)


def test_a_handler_of_the_log_may_use_the_cache(near: NearStore, raw: Any, clock: Clock) -> None:
    slots, stamps = warmed(near)
    seen = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            near.settle([name()], writer(), stamp())
            seen.append(near.look_up(None, slots)[1])

    handler = Handler()
    module.logger.addHandler(handler)
    try:
        raw.client_kill_filter(_id=next(client["id"] for client in raw.client_list() if "t" in client["flags"]))
        eventually(lambda: near.look_up(None, slots) and near._connection is None)
        clock.advance(60)
        eventually(lambda: not asked(near, slots))
    finally:
        module.logger.removeHandler(handler)
    assert seen == [stamps, stamps]


class Interruption(BaseException):
    pass


def test_an_interrupted_look_up_leaves_no_mirror(near: NearStore, monkeypatch: pytest.MonkeyPatch) -> None:
    slots, stamps = warmed(near)

    def interrupt(now: float) -> None:
        raise Interruption

    monkeypatch.setattr(near._connection, "poll", interrupt)
    monkeypatch.setattr(near._connection, "readable", lambda: True)
    with pytest.raises(Interruption):
        near.look_up(None, slots)

    assert near._mirror == {}
    assert near.look_up(None, slots)[1] == stamps


# What may come in -----------------------------------------------------------------


def test_what_was_pushed_during_a_fetch_does_not_come_in(near: NearStore, other: RedisStore, delayed: Any) -> None:
    (slot, elsewhere), (old, _) = warmed(near, 2)
    new = stamp()
    near._record_write([slot])  # whatever made it fall out of the mirror
    fetch = Standing(near, [slot])
    other.settle([slot], writer(), new)
    # Another thread takes in the push.
    eventually(lambda: near.look_up(None, [elsewhere]) and near._fetching == {slot: None})
    delayed(near)

    assert fetch.go() == [old]
    assert near.look_up(None, [slot])[1] == [new]


def test_what_this_process_wrote_during_a_fetch_does_not_come_in(near: NearStore, delayed: Any) -> None:
    (slot,), (old,) = warmed(near)
    who, new = writer(), stamp()
    delayed(near)
    near._record_write([slot])
    fetch = Standing(near, [slot])
    near.mark([slot], who, 60)
    near.settle([slot], who, new)

    assert fetch.go() == [old]
    assert near.look_up(None, [slot])[1] == [new]


def test_what_was_all_lost_during_a_fetch_does_not_come_in(near: NearStore) -> None:
    (slot,), (old,) = warmed(near)
    near._record_write([slot])
    fetch = Standing(near, [slot])
    near._forget(None)

    assert fetch.go() == [old]
    assert near._mirror == {}


def test_a_slow_fetch_does_not_bring_back_what_a_quick_one_has_replaced(
    near: NearStore, other: RedisStore, delayed: Any
) -> None:
    (slot,), (old,) = warmed(near)
    new = stamp()
    delayed(near)
    near._record_write([slot])
    fetch = Standing(near, [slot])
    other.settle([slot], writer(), new)
    assert near.look_up(name(), [slot])[1] == [new]

    assert fetch.go() == [old]
    assert near.look_up(None, [slot])[1] == [new]


def test_a_quick_fetch_that_is_newer_than_the_mirror_empties_it(
    near: NearStore, other: RedisStore, delayed: Any
) -> None:
    (slot, elsewhere), _ = warmed(near, 2)
    new = stamp()
    delayed(near)
    fetch = Standing(near, [elsewhere])
    other.settle([slot], writer(), new)
    assert near.look_up(name(), [slot])[1] == [new]

    assert near.look_up(None, [slot])[1] == [new]
    fetch.go()


def test_fetches_that_agree_come_in(near: NearStore, delayed: Any) -> None:
    (slot,), (old,) = warmed(near)
    delayed(near)
    near._record_write([slot])
    fetch = Standing(near, [slot])
    assert near.look_up(name(), [slot])[1] == [old]
    assert fetch.go() == [old]

    assert not asked(near, [slot])


def test_a_fetch_that_fails_leaves_room_for_the_next(make: Make, server: Server, clock: Clock) -> None:
    near = make(timeout=TIMEOUT)
    slots, stamps = warmed(near)
    server.pause()
    try:
        unavailable(lambda: near.look_up(name(), slots))
    finally:
        server.resume()
    clock.advance(60)
    assert near._fetching is None
    eventually(lambda: not asked(near, slots))
    assert near.look_up(None, slots)[1] == stamps


# Own writes -----------------------------------------------------------------------


def test_a_process_sees_its_own_writes_at_once(near: NearStore, delayed: Any) -> None:
    slots, _ = warmed(near, 2)
    who, new = writer(), stamp()
    delayed(near)
    near.mark(slots, who, 60)
    assert not any(map(is_stamp, near.look_up(None, slots)[1]))
    near.settle(slots, who, new)
    assert near.look_up(None, slots)[1] == [new, new]


@pytest.mark.parametrize("operation", ["mark", "settle"])
def test_also_those_that_failed(make: Make, server: Server, clock: Clock, operation: str) -> None:
    near = make(timeout=TIMEOUT)
    (slot, elsewhere), (_, same) = warmed(near, 2)
    server.pause()
    try:
        with pytest.raises(StoreUnavailable):
            near.mark([slot], writer(), 60) if operation == "mark" else near.settle([slot], writer(), stamp())
        assert near.look_up(None, [elsewhere])[1] == [same]
        unavailable(lambda: near.look_up(None, [slot]))
    finally:
        server.resume()


@pytest.mark.parametrize("operation", ["mark", "settle"])
def test_also_while_another_thread_reads(near: NearStore, delayed: Any, operation: str) -> None:
    """What that thread has read before the change comes into the mirror before the call returns."""
    (slot,), (old,) = warmed(near)
    delayed(near)
    change = getattr(near.strict, operation)

    def read_first(*args: Any) -> Any:
        assert near.look_up(name(), [slot])[1] == [old]
        assert near.look_up(None, [slot])[1] == [old]
        return change(*args)

    setattr(near.strict, operation, read_first)
    if operation == "mark":
        near.mark([slot], writer(), 60)
        assert decode_marks(near.look_up(None, [slot])[1][0])
    else:
        new = stamp()
        near.settle([slot], writer(), new)
        assert near.look_up(None, [slot])[1] == [new]


def test_threads_share_a_mirror(near: NearStore) -> None:
    shared, _ = warmed(near, 20)
    start, problems = threading.Barrier(6), []

    def work(number: int) -> None:
        own = name()
        start.wait()
        try:
            for turn in range(300):
                if turn % 3 == number % 3:
                    new = stamp()
                    near.settle([own], writer(), new)
                    assert near.look_up(None, [own])[1] == [new]
                near.look_up(None, shared[turn % 17 : turn % 17 + 3])
                near.look_up(name() if turn % 5 == 0 else None, [shared[number], own])
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert near._fetching is None
    eventually(lambda: not asked(near, shared))
