"""Whether a socket has something to read."""

from __future__ import annotations

import select
import socket

import pytest

from ormcache.utils.sockets import readable_probe


@pytest.mark.parametrize("has_poll", [True, False], ids=["poll", "as on Windows"])
def test_what_came_and_the_end_can_be_read(monkeypatch: pytest.MonkeyPatch, has_poll: bool) -> None:
    if not has_poll:
        monkeypatch.delattr(select, "poll", raising=False)
    one, other = socket.socketpair()
    with one:
        is_readable = readable_probe(one)
        assert not is_readable()
        other.send(b"x")
        assert is_readable()
        assert one.recv(1) == b"x"
        assert not is_readable()
        other.close()
        assert is_readable()
