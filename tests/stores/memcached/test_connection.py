"""How the replies of memcached are read: in any pieces, and never past what is wrong in them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from ormcache.stores.memcached.connection import MemcachedConnection, NewItem

FOUND = b"VALUE one 0 5 7\r\nE\r\nND\r\nVALUE two 0 0 8\r\n\r\nEND\r\n"


class Connected:
    """What pymemcache's client is here for."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.close = sock.close

    def version(self) -> bytes:
        return b"1"


@pytest.fixture
def ends() -> Iterator[tuple[MemcachedConnection, socket.socket]]:
    """A link, and the other end of it."""
    here, there = socket.socketpair()
    here.settimeout(10)
    client: Any = Connected(here)
    link = MemcachedConnection(client)
    yield link, there
    link.close()
    there.close()


def test_a_reply_may_come_in_any_pieces(ends: tuple[MemcachedConnection, socket.socket]) -> None:
    link, there = ends

    def answer() -> None:
        for at in range(len(FOUND)):
            there.send(FOUND[at : at + 1])

    thread = threading.Thread(target=answer)
    thread.start()
    assert link.get([b"one", b"two"]) == {b"one": (b"E\r\nND", b"7"), b"two": (b"", b"8")}
    thread.join()


@pytest.mark.parametrize("answer", [b"ERROR\r\n", b"CLIENT_ERROR bad\r\n", b"SERVER_ERROR full\r\n", b"STORED\r\n"])
def test_what_is_no_answer_to_a_question_is_an_error(
    ends: tuple[MemcachedConnection, socket.socket], answer: bytes
) -> None:
    link, there = ends
    there.send(answer)
    with pytest.raises(ConnectionError):
        link.get([b"one", b"two"])


@pytest.mark.parametrize("length", range(len(FOUND)))
def test_a_reply_that_ends_too_early_is_an_error(ends: tuple[MemcachedConnection, socket.socket], length: int) -> None:
    link, there = ends
    there.send(FOUND[:length])
    there.shutdown(socket.SHUT_WR)
    with pytest.raises(ConnectionError):
        link.get([b"one", b"two"])


@pytest.mark.parametrize("answer", [b"", b"STOR", b"ERROR\r\n", b"CLIENT_ERROR bad data chunk\r\n"])
def test_nothing_is_taken_for_stored_that_is_not(
    ends: tuple[MemcachedConnection, socket.socket], answer: bytes
) -> None:
    link, there = ends
    there.send(answer)
    there.shutdown(socket.SHUT_WR)
    with pytest.raises(ConnectionError):
        link.put(NewItem(b"one", b"value", 0))


def test_no_room_is_an_answer(ends: tuple[MemcachedConnection, socket.socket]) -> None:
    link, there = ends
    there.send(b"SERVER_ERROR object too large for cache\r\n")
    assert link.put(NewItem(b"one", b"value", 0)) is False
    assert there.recv(100) == b"set one 0 0 5\r\nvalue\r\n"


def test_what_has_no_room_is_deleted_and_what_has_changed_is_named(
    ends: tuple[MemcachedConnection, socket.socket],
) -> None:
    link, there = ends
    full = b"SERVER_ERROR out of memory storing object\r\n"
    answers = [full, b"EXISTS\r\nSTORED\r\nVALUE full 0 5 1\r\nother\r\nEND\r\n", b"DELETED\r\n", full, b"END\r\n"]
    there.send(b"".join([*answers, b"DELETED\r\n"]))
    news = [NewItem(name, b"value", 0) for name in (b"full", b"changed", b"absent")]
    before = {b"full": (b"x", b"1"), b"changed": (b"x", b"2")}
    assert link.replace(news, before, [b"full"]) == ({b"changed"}, {}, {b"full"})
    sent = there.recv(1000).decode().split("\r\n")
    assert sent == (
        ["cas full 0 0 5 1", "value", "cas changed 0 0 5 2", "value", "add absent 0 0 5", "value"]
        + ["gets full", "delete full", "add full 0 0 5", "value", "gets full", "delete full", ""]
    )  # fmt: skip


@pytest.mark.parametrize(
    "answer, held, changed",
    [
        (b"STORED\r\nVALUE full 0 5 7\r\nvalue\r\nEND\r\n", {b"full": (b"value", b"7")}, set()),
        (b"NOT_STORED\r\nVALUE full 0 5 8\r\nother\r\nEND\r\n", {b"full": (b"other", b"8")}, {b"full"}),
    ],
    ids=["it is in the room of the old one", "another client was first"],
)
def test_what_was_deleted_has_made_room(
    ends: tuple[MemcachedConnection, socket.socket],
    answer: bytes,
    held: dict[bytes, tuple[bytes, bytes]],
    changed: set[bytes],
) -> None:
    link, there = ends
    there.send(b"SERVER_ERROR out of memory storing object\r\nVALUE full 0 1 1\r\nx\r\nEND\r\nDELETED\r\n" + answer)
    found = link.replace([NewItem(b"full", b"value", 0)], {b"full": (b"x", b"1")}, [b"full"])
    assert found == (changed, held, set())
