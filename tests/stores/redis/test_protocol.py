"""What a Redis sends, however it arrives: in pieces, cut off, very large, with errors among the answers."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis.exceptions import NoPermissionError, ResponseError

from ormcache.exceptions import StoreUnavailable
from ormcache.stores.redis.near import NearStore
from ormcache.stores.redis.store import RedisStore
from tests.servers import Server
from tests.stores.conftest import DJANGO_REDIS, PATIENT
from tests.stores.helpers import Clock, Relay, name, names, stamp, writer
from tests.waiting import eventually

LARGE = 32 * 2**20  # bytes

Make = Callable[..., NearStore]


@pytest.fixture
def relay(server: Server) -> Iterator[Relay]:
    with Relay(server.host, server.port) as relay:
        yield relay


@pytest.fixture
def make(use_cache: Callable[..., str], clock: Clock, closed_at_end: Callable[[NearStore], NearStore]) -> Make:
    """``make(port)``: a store on the level near; the store behind it is its ``strict``."""

    def make(port: int, options: str = "") -> NearStore:
        alias = use_cache(DJANGO_REDIS, f"redis://127.0.0.1:{port}/0{options}")
        return closed_at_end(NearStore(RedisStore(alias, PATIENT, clock), alias, PATIENT, PATIENT, clock))

    return make


@pytest.fixture
def near(make: Make, server: Server) -> NearStore:
    return make(server.port)


def mirrored(near: NearStore, slots: list[bytes]) -> None:
    """Wait until the mirror answers for these slots."""
    eventually(lambda: near.look_up(None, slots) and near._look_up_mirror(slots) is not None)


def pushed(near: NearStore, slots: list[bytes], stamps: list[bytes]) -> None:
    """Wait until the pushes of these stamps, and nothing else, have changed what the mirror answers."""
    eventually(lambda: near.look_up(None, slots)[1] == stamps)
    mirrored(near, slots)
    assert near.look_up(None, slots)[1] == stamps


@pytest.mark.parametrize("piece", [1, 7])
def test_answers_and_pushes_arrive_in_pieces(make: Make, near: NearStore, relay: Relay, piece: int) -> None:
    relay.piece = piece
    in_pieces = make(relay.port)
    slots, entry, old, new = names(2), name(), stamp(), stamp()
    rows = b"$4\r\n\r\n+OK\r\n" * 50
    in_pieces.put_entry(entry, rows, None)
    in_pieces.fill_slots(slots, old)
    assert in_pieces.look_up(entry, slots) == (rows, [old, old])
    mirrored(in_pieces, slots)
    link = in_pieces._connection

    near.settle(slots, writer(), new)

    pushed(in_pieces, slots, [new, new])
    assert in_pieces._connection is link


@pytest.mark.parametrize("sent", [2, 12, 30])
def test_a_push_that_has_come_in_part_is_read_when_the_rest_is_there(
    make: Make, near: NearStore, relay: Relay, sent: int
) -> None:
    late = make(relay.port)
    (slot,), old, new = names(1), stamp(), stamp()
    late.fill_slots([slot], old)
    mirrored(late, [slot])
    link: Any = late._connection

    relay.hold_after(sent)
    near.settle([slot], writer(), new)
    eventually(lambda: late.look_up(None, [slot]) and link._reader.has_data())
    assert late.look_up(None, [slot])[1] == [old]

    relay.go()
    pushed(late, [slot], [new])
    assert late._connection is link


@pytest.mark.parametrize("sent", [0, 1, 20, 200])
def test_a_connection_that_is_cut_within_an_answer(make: Make, relay: Relay, clock: Clock, sent: int) -> None:
    store = make(relay.port).strict
    slot, entry, old = name(), name(), stamp()
    store.fill_slots([slot], old)
    store.put_entry(entry, b"rows" * 100, None)

    relay.cut_after(sent)
    with pytest.raises(StoreUnavailable):
        store.look_up(entry, [slot])

    clock.advance(60)
    assert store.look_up(entry, [slot]) == (b"rows" * 100, [old])


@pytest.mark.parametrize("sent", [0, 5, 40])
def test_a_push_connection_that_is_cut_within_a_push(
    make: Make, near: NearStore, relay: Relay, clock: Clock, sent: int
) -> None:
    cut = make(relay.port)
    (slot,), new = names(1), stamp()
    cut.fill_slots([slot], stamp())
    mirrored(cut, [slot])

    relay.cut_after(sent)
    near.settle([slot], writer(), new)

    eventually(lambda: cut._look_up_mirror([slot]) is None)
    with contextlib.suppress(StoreUnavailable):
        cut.look_up(None, [slot])  # all of its connections are gone, which it may know by now
    clock.advance(60)
    pushed(cut, [slot], [new])


def test_very_large_answers(near: NearStore) -> None:
    entry, slots, old = name(), names(20_000), stamp()
    value = b"\r\n" * (LARGE // 2)
    near.put_entry(entry, value, None)
    near.fill_slots(slots, old)

    assert near.look_up(entry, slots) == (value, [old] * len(slots))


def test_many_pushes_at_once(make: Make, near: NearStore, server: Server) -> None:
    slots = names(20_000)
    near.fill_slots(slots, stamp())
    mirrored(near, slots)
    link = near._connection

    make(server.port).strict.clear_slots(slots)

    eventually(lambda: near.look_up(None, slots)[1] == [None] * len(slots))
    assert near._connection is link
    assert not near._mirror


def test_a_server_that_speaks_its_newest_protocol_unasked(make: Make, server: Server) -> None:
    near = make(server.port, "?protocol=3")
    slots, entry, old = names(2), name(), stamp()
    near.put_entry(entry, b"rows", None)
    near.fill_slots(slots, old)
    mirrored(near, slots)

    assert near.claim(name(), b"owner", 60) == b"owner"
    assert near.look_up(entry, slots) == (b"rows", [old, old])
    assert near.look_up(None, slots)[1] == [old, old]
    assert near.strict.describe().servers[0].version is not None


def test_errors_among_answers(near: NearStore) -> None:
    """Every answer is read before the first error is raised, so that the next call gets its own."""
    link = near.strict._connect()
    word = link.slot_prefix + name()
    try:
        with pytest.raises(ResponseError, match="not an integer"):
            link.call_many([(b"SET", word, b"word"), (b"INCR", word), (b"GET", word)])
        assert link.call(b"GET", word) == b"word"

        *_, (error, value) = link.call_many([(b"MULTI",), (b"INCR", word), (b"GET", word), (b"EXEC",)])
        assert isinstance(error, ResponseError)
        assert value == b"word"

        with pytest.raises(ResponseError, match="not an integer"):
            link.call(b"INCR", word)
        assert link.call(b"GET", word) == b"word"
    finally:
        link.close()


def test_a_right_that_is_taken_away_meanwhile(make: Make, server: Server, raw: Any, clock: Clock) -> None:
    store = make(server.port).strict
    slot, old = name(), stamp()
    store.fill_slots([slot], old)
    raw.execute_command("ACL", "SETUSER", "default", "-mget")

    with pytest.raises(StoreUnavailable) as failed:
        store.look_up(None, [slot])
    assert isinstance(failed.value.__cause__, NoPermissionError)

    raw.execute_command("ACL", "SETUSER", "default", "+mget")
    clock.advance(60)
    assert store.look_up(None, [slot])[1] == [old]


def test_a_server_that_speaks_something_else(make: Make, caplog: Any) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as other:
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        near = make(other.server_address[1])
        try:
            with pytest.raises(StoreUnavailable):
                near.look_up(None, [name()])
            near._connect()
        finally:
            other.shutdown()
            thread.join()

    assert near._connection is None
    assert not near.is_available
