"""What only the memcached store has: whole seconds, items of a bounded size, and several servers."""

from __future__ import annotations

import binascii
import contextlib
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from pymemcache.client.base import Client

from ormcache.exceptions import StoreBusy, StoreFull, StoreUnavailable
from ormcache.stores.base import decode_marks, is_stamp
from ormcache.stores.memcached.connection import MemcachedConnection
from ormcache.stores.memcached.store import MAX_ATTEMPTS, MAX_BATCH, MemcachedStore
from tests.servers import Server, find_program
from tests.stores.conftest import LOCMEM, PATIENT, PYMEMCACHE, TIMEOUT
from tests.stores.helpers import Clock, answered, name, names, quickest, row_names, stamp, unavailable, writer
from tests.waiting import eventually

Make = Callable[..., MemcachedStore]


@pytest.fixture
def servers(start_server: Callable[[str], Server]) -> list[Server]:
    return [start_server("memcached") for _ in range(3)]


@pytest.fixture
def server(start_server: Callable[[str], Server]) -> Server:
    return start_server("memcached")


@pytest.fixture
def make(
    use_cache: Callable[..., str], clock: Clock, closed_at_end: Callable[[MemcachedStore], MemcachedStore]
) -> Make:
    def make(
        servers: list[Server],
        *,
        timeout: float = PATIENT,
        options: dict[str, Any] | None = None,
        **arguments: Any,
    ) -> MemcachedStore:
        locations = [f"{server.host}:{server.port}" for server in servers]
        alias = use_cache(PYMEMCACHE, locations, OPTIONS=options or {})
        return closed_at_end(MemcachedStore(alias, timeout, **{"clock": clock} | arguments))

    return make


def raw(server: Server) -> Client:
    return Client((server.host, server.port), timeout=5)


def items(server: Server) -> int:
    with closing(raw(server)) as client:
        return int(client.stats()[b"curr_items"])


# Several servers ----------------------------------------------------------------


def spread(store: MemcachedStore) -> list[bytes]:
    """Three slots, one on each server."""
    found: dict[int, bytes] = {}
    while len(found) < 3:
        slot = name()
        found.setdefault(store._server(_key(slot))._address[1], slot)
    return list(found.values())


def _key(slot: bytes) -> bytes:
    return b"ormcache:s:" + binascii.hexlify(slot)


def test_a_slot_is_never_looked_for_on_another_server(make: Make, servers: list[Server], clock: Clock) -> None:
    store = make(servers)
    slots = spread(store)
    old = stamp()
    store.fill_slots(slots, old)
    assert [items(server) for server in servers] == [1, 1, 1]
    servers[1].kill()
    alive = 0
    for slot in slots:
        clock.advance(60)
        try:
            assert store.look_up(None, [slot])[1] == [old]
            alive += 1
        except StoreUnavailable:
            for _ in range(3):
                clock.advance(60)
                unavailable(lambda slot=slot: store.mark([slot], writer(), 60))
                clock.advance(60)
                unavailable(lambda slot=slot: store.settle([slot], writer(), stamp()))
                clock.advance(60)
                unavailable(lambda slot=slot: store.fill_slots([slot], stamp()))
    assert alive == 2
    assert [items(servers[0]), items(servers[2])] == [1, 1]
    servers[1].start()
    clock.advance(60)
    assert sorted(map(bool, store.look_up(None, slots)[1])) == [False, True, True]


def test_the_order_of_the_servers_does_not_matter(make: Make, servers: list[Server]) -> None:
    one, other = make(servers), make(servers[::-1])
    slots, old = names(30), stamp()
    one.fill_slots(slots, old)
    assert other.look_up(None, slots)[1] == [old] * 30
    who, new = writer(), stamp()
    other.mark(slots, who, 60)
    other.settle(slots, who, new)
    assert one.look_up(None, slots)[1] == [new] * 30
    assert sum(map(items, servers)) == 30
    assert min(map(items, servers)) > 0


# Outages ------------------------------------------------------------------------


def test_a_server_that_hangs_costs_one_timeout_then_nothing(make: Make, server: Server, clock: Clock) -> None:
    store = make([server], timeout=TIMEOUT)
    slot, old = name(), stamp()
    answered(lambda: store.fill_slots([slot], old), clock)
    server.pause()
    try:
        assert unavailable(lambda: store.look_up(None, [slot])) > TIMEOUT * 0.9
        assert quickest(lambda: store.look_up(None, [slot]), clock, past_back_off=False, enough=0.05) < 0.05
        # Each later probe has to connect first.
        assert TIMEOUT * 0.9 < quickest(lambda: store.look_up(None, [slot]), clock, enough=0.6) < 0.6
    finally:
        server.resume()
    clock.advance(60)
    assert eventually(lambda: answered(lambda: store.look_up(None, [slot])[1][0], clock) is not None)


def test_a_late_reply_is_never_taken_for_the_next_one(make: Make, server: Server, clock: Clock) -> None:
    store = make([server], timeout=TIMEOUT)
    slots = names(2)
    stamps = [stamp(), stamp()]
    for slot, value in zip(slots, stamps, strict=True):
        answered(partial(store.settle, [slot], writer(), value), clock)
    for _ in range(3):
        server.pause()
        try:
            unavailable(lambda: store.look_up(None, slots[:1]))
        finally:
            server.resume()
        clock.advance(60)
        assert answered(lambda: store.look_up(None, slots[1:])[1], clock) == [stamps[1]]
        assert answered(lambda: store.look_up(None, slots[:1])[1], clock) == [stamps[0]]


class Interruption(BaseException):
    pass


def test_nor_is_the_reply_to_an_interrupted_call(make: Make, server: Server) -> None:
    """A worker's time limit raises in the middle of a call; what it raises is no Exception."""
    store = make([server])
    slots = names(2)
    stamps = [stamp(), stamp()]
    for slot, value in zip(slots, stamps, strict=True):
        store.settle([slot], writer(), value)
    store.put_entry(name(), b"rows", None)

    def interrupt(*args: Any) -> None:
        raise Interruption

    before = signal.signal(signal.SIGALRM, interrupt)
    server.pause()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.03)  # soon, so that the connection does not look idle
        with pytest.raises(Interruption):
            store.put_entry(name(), b"rows", None)
    finally:
        signal.signal(signal.SIGALRM, before)
        server.resume()
    for _ in range(3):
        assert store.put_entry(name(), b"rows", None) is True
        assert store.look_up(None, slots)[1] == stamps


def test_a_restarted_server_is_found_again_and_is_empty(make: Make, server: Server, clock: Clock) -> None:
    store = make([server])
    slot, entry = name(), name()
    store.fill_slots([slot], stamp())
    store.put_entry(entry, b"rows", None)
    server.kill()
    unavailable(lambda: store.look_up(entry, [slot]))
    server.start()
    clock.advance(60)
    assert store.look_up(entry, [slot]) == (None, [None])


def test_an_idle_connection_that_the_server_closed_is_no_failure(make: Make, server: Server) -> None:
    store = make([server])
    store.fill_slots([name()], stamp())
    server.restart()
    time.sleep(0.1)  # a connection that was used this moment is not looked at
    assert store.look_up(None, [name()])[1] == [None]


def test_the_options_of_the_alias_do_not_decide_its_timeouts(make: Make, server: Server, clock: Clock) -> None:
    options = {"timeout": 20, "connect_timeout": 20, "ignore_exc": True, "retry_attempts": 5, "default_noreply": True}
    store = make([server], timeout=TIMEOUT, options=options)
    slot, old = name(), stamp()
    assert store.fill_slots([slot], old) == [old]
    server.pause()
    try:
        assert quickest(lambda: store.look_up(None, [slot]), clock, enough=0.6) < 0.6
    finally:
        server.resume()


# Room ---------------------------------------------------------------------------


def test_a_value_above_the_item_size_is_rejected_and_stored_to_the_last_byte_below(make: Make, server: Server) -> None:
    store = make([server])
    for size in (2**20 - 600, 2**20 - 512, 2**20 - 511, 2**20, 2**20 + 1, 5 * 2**20):
        entry = name()
        kept = store.put_entry(entry, b"x" * size, None)
        assert kept == (size <= 2**20 - 512)
        assert store.look_up(entry, [])[0] == (b"x" * size if kept else None)
    assert store.is_available


def test_a_full_server_empties_what_it_cannot_write(make: Make, start_server: Callable[..., Server]) -> None:
    """One that says no when it is full, instead of forgetting something."""
    store = make([start_server("memcached", options=["-m", "2", "-M", "-I", "512k"])])
    settled, marked, old = name(), name(), b"S" * 17
    assert store.put_entry(name(), bytes(600_000), None) is False  # asked the server for its limit
    store.fill_slots([settled, marked], old)
    for size in (400_000, 100_000, 30_000, 10_000, 3000, 1000, 300, 200, 150, 120, 100, 90, 80, 70, 60, 50, 40, 30, 17):
        with pytest.raises(StoreFull):
            while True:
                store.put_entry(name(), bytes(size), None)
    assert store.is_available
    assert store.claim(name(), b"owner", 60) == b"owner"
    store.release(name(), b"word", 60)
    assert store.is_available
    # A mark needs more room than the stamp that it replaces once it holds some writers.
    writers = [writer() for _ in range(40)]
    for who in writers:
        with contextlib.suppress(StoreFull):
            store.mark([marked], who, 60)
    held = store.look_up(None, [marked])[1][0]
    assert held != old
    store.settle([settled], writer(), stamp())
    assert store.look_up(None, [settled])[1] != [old]
    assert store.is_available


@pytest.fixture
def before_replacing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], list[int]]:
    """``before_replacing(call)``: it runs between every reading and replacing; returns a list that grows with that."""
    original = MemcachedConnection.replace

    def forced(call: Callable[[], object]) -> list[int]:
        turns: list[int] = []

        def replace(link: MemcachedConnection, *arguments: Any) -> Any:
            monkeypatch.setattr(MemcachedConnection, "replace", original)  # not for what the call itself does
            turns.append(1)
            call()
            monkeypatch.setattr(MemcachedConnection, "replace", replace)
            return original(link, *arguments)

        monkeypatch.setattr(MemcachedConnection, "replace", replace)
        return turns

    return forced


def once(call: Callable[[], object]) -> Callable[[], object]:
    left = [call]
    return lambda: left.pop()() if left else None


def test_settles_over_a_slot_that_changes_meanwhile(
    make: Make, server: Server, before_replacing: Callable[..., list[int]]
) -> None:
    """The change between reading and storing is seen, and the slot read again."""
    store, other = make([server]), make([server])
    slot, one, two = name(), writer(), writer()
    before_replacing(once(lambda: other.mark([slot], two, 60)))
    store.settle([slot], one, stamp())
    assert [who for who, _ in decode_marks(store.look_up(None, [slot])[1][0])] == [two]
    before_replacing(once(lambda: other.settle([slot], two, stamp())))
    store.mark([slot], one, 60)
    assert [who for who, _ in decode_marks(store.look_up(None, [slot])[1][0])] == [one]
    before_replacing(once(lambda: other.mark([slot], two, 60)))
    store.mark([slot], one, 60)
    assert {who for who, _ in decode_marks(store.look_up(None, [slot])[1][0])} == {one, two}


def test_gives_up_on_a_slot_that_always_changes(
    make: Make, server: Server, before_replacing: Callable[..., list[int]]
) -> None:
    store, other = make([server]), make([server])
    slot = name()
    turns = before_replacing(lambda: other.settle([slot], writer(), stamp()))
    with pytest.raises(StoreBusy):
        store.mark([slot], writer(), 60)
    assert len(turns) == MAX_ATTEMPTS
    assert store.is_available


# What a mark has learned ----------------------------------------------------------


def exchanges(call: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the exchanges with a server while ``call`` runs."""
    seen: list[str] = []

    def noted(verb: str, original: Any) -> Any:
        def exchange(link: MemcachedConnection, *arguments: Any) -> Any:
            if verb != "delete" or arguments[0]:
                seen.append(verb)
            return original(link, *arguments)

        return exchange

    with monkeypatch.context() as patched:
        for verb in ("get", "put", "add", "replace", "delete"):
            patched.setattr(MemcachedConnection, verb, noted(verb, getattr(MemcachedConnection, verb)))
        call()
    return seen


def test_settling_is_one_round_trip_where_the_mark_was_set(
    make: Make, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make([server])
    slots, watched, who, old = [*names(2), *row_names(2)], name(), writer(), stamp()
    store.fill_slots([watched], old)
    marking = exchanges(lambda: store.mark(slots, who, 60, watched), monkeypatch)
    assert marking == ["get", "replace"]
    seen: list[bytes | None] = []
    settling = exchanges(lambda: seen.append(store.settle(slots, who, stamp(), watched)), monkeypatch)
    assert settling == ["replace"]
    assert seen == [old]


def test_what_a_mark_has_learned_may_be_out_of_date(make: Make, server: Server) -> None:
    """The watched slot is asked for anew, and the mark of another stays."""
    store, other = make([server]), make([server])
    slot, watched, one, two, new = name(), name(), writer(), writer(), stamp()
    store.fill_slots([watched], stamp())
    store.mark([slot], one, 60, watched)
    other.mark([slot], two, 60)
    other.settle([watched], two, new)
    assert store.settle([slot], one, stamp(), watched) == new
    assert [who for who, _ in decode_marks(store.look_up(None, [slot])[1][0])] == [two]


def test_nothing_learned_outlives_its_server(make: Make, server: Server, clock: Clock) -> None:
    """Born again, it counts versions from the beginning: the same number may be another value's."""
    store, other = make([server]), make([server])
    slot, one, two = name(), writer(), writer()
    store.mark([slot], one, 60)
    server.restart()
    other.mark([slot], two, 60)
    try:
        store.settle([slot], one, stamp())
    except StoreUnavailable:  # its connection is dead
        clock.advance(60)
        store.settle([slot], one, stamp())
    assert [who for who, _ in decode_marks(other.look_up(None, [slot])[1][0])] == [two]


# Clocks -------------------------------------------------------------------------


@pytest.mark.parametrize("skew", [-20, 20])
def test_hosts_whose_clocks_differ_keep_each_others_marks(make: Make, server: Server, skew: float) -> None:
    here, there = make([server]), make([server], wall_clock=lambda: time.time() + skew)
    slot, one, two = name(), writer(), writer()
    here.mark([slot], one, 60)
    there.mark([slot], two, 60)
    there.settle([slot], two, stamp())
    assert [who for who, _ in decode_marks(here.look_up(None, [slot])[1][0])] == [one]
    new = stamp()
    here.settle([slot], one, new)
    assert there.look_up(None, [slot])[1] == [new]


def test_a_lease_and_a_timeout_of_more_than_a_month(make: Make, server: Server) -> None:
    """memcached takes such a number for a date, which is in the past."""
    store = make([server])
    slot, entry, who = name(), name(), writer()
    store.mark([slot], who, 40 * 24 * 3600)
    store.put_entry(entry, b"rows", 40 * 24 * 3600)
    value, (held,) = store.look_up(entry, [slot])
    assert value == b"rows"
    assert [other for other, _ in decode_marks(held)] == [who]


def test_a_mark_never_goes_before_its_lease_ends(make: Make, server: Server) -> None:
    """memcached's seconds begin when they like: one that is asked for is between none and one."""
    store = make([server])
    start = time.monotonic()
    marked: list[tuple[list[bytes], float]] = []
    while len(marked) < 4 or time.monotonic() - marked[-1][1] < 1:
        if len(marked) < 4 and time.monotonic() - start >= 0.25 * len(marked):  # at four moments of the server's second
            marked.append((names(5), time.monotonic()))
            store.mark(marked[-1][0], writer(), 1)
        for slots, began in marked:
            held = store.look_up(None, slots)[1]
            if time.monotonic() - began < 1:
                assert None not in held


def test_names_that_are_too_long_for_memcached(make: Make, server: Server) -> None:
    store = make([server])
    slots = [bytes([number]) * 400 for number in range(5)]
    for number, slot in enumerate(slots):
        store.settle([slot], writer(), b"S" + bytes([number]) * 16)
    assert store.look_up(None, slots)[1] == [b"S" + bytes([number]) * 16 for number in range(5)]


def test_an_alias_that_is_no_memcached_is_refused(use_cache: Callable[..., str]) -> None:
    with pytest.raises(ImproperlyConfigured, match="not a memcached"):
        MemcachedStore(use_cache(LOCMEM), TIMEOUT)


def listens(path: Any) -> bool:
    """The file is there a moment before that."""
    with socket.socket(socket.AF_UNIX) as one:
        return path.exists() and one.connect_ex(str(path)) == 0


def test_a_unix_socket(use_cache: Callable[..., str], tmp_path: Any) -> None:
    program, path = find_program("memcached"), tmp_path / "socket"
    process = subprocess.Popen([str(program), "-s", str(path), "-u", "root"])
    try:
        eventually(lambda: listens(path))
        for location in (f"unix:{path}", str(path)):
            store = MemcachedStore(use_cache(PYMEMCACHE, location), TIMEOUT)
            slot, old = name(), stamp()
            assert store.fill_slots([slot], old) == [old]
            store.close()
    finally:
        process.kill()
        process.wait()


def test_many_names_at_once(make: Make, server: Server) -> None:
    """More than memcached is asked for in one exchange."""
    store = make([server])
    slots, new, who = names(3 * MAX_BATCH + 1), stamp(), writer()
    assert store.fill_slots(slots, new) == [new] * len(slots)
    store.mark(slots, who, 60, slots[0])
    assert not any(map(is_stamp, store.look_up(None, slots)[1]))
    store.settle(slots, who, new)
    assert store.look_up(None, slots)[1] == [new] * len(slots)
