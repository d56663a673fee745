"""Messages of a Redis server, whole, in pieces and broken."""

from __future__ import annotations

from typing import Any

import pytest

from ormcache.stores.resp import Incomplete, Push, Refusal, pack, parse

MESSAGES: list[tuple[bytes, Any]] = [
    (b"+OK\r\n", b"OK"),
    (b":-7\r\n", b"-7"),
    (b"_\r\n", None),
    (b"$-1\r\n", None),
    (b"*-1\r\n", None),
    (b"$0\r\n\r\n", b""),
    (b"$4\r\na\r\nb\r\n", b"a\r\nb"),
    (b"=8\r\ntxt:role\r\n", b"role"),
    (b"*2\r\n+a\r\n*1\r\n#t\r\n", [b"a", [b"t"]]),
    (b"~1\r\n,1.5\r\n", [b"1.5"]),
    (b"%2\r\n+proto\r\n:3\r\n+role\r\n+master\r\n", [b"proto", b"3", b"role", b"master"]),
    (b">2\r\n$10\r\ninvalidate\r\n*2\r\n$1\r\na\r\n$2\r\n\r\n\r\n", [b"invalidate", [b"a", b"\r\n"]]),
    (b">2\r\n$10\r\ninvalidate\r\n_\r\n", [b"invalidate", None]),
]


@pytest.mark.parametrize("data, meant", MESSAGES)
def test_a_message_is_read_whole_or_not_at_all(data: bytes, meant: Any) -> None:
    message, end = parse(b"before" + data + b"after", 6)

    assert message == meant
    assert isinstance(message, Push) == (data[:1] == b">")
    assert end == 6 + len(data)
    for length in range(len(data)):
        with pytest.raises(Incomplete):
            parse(data[:length])


def test_an_error_is_an_answer() -> None:
    reply, _ = parse(b"-NOPERM no\r\n")

    assert isinstance(reply, Refusal)
    assert str(reply) == "NOPERM no"


@pytest.mark.parametrize("data", [b"HTTP/1.1 400\r\n", b"$x\r\n", b"*1.5\r\n", b"\r\n", b"$?\r\n"])
def test_what_is_no_message_is_an_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"not a message|invalid literal"):
        parse(data)


def test_a_command_is_a_list_of_texts() -> None:
    assert pack(b"SET", b"\r\n", b"") == b"*3\r\n$3\r\nSET\r\n$2\r\n\r\n\r\n$0\r\n\r\n"
    assert parse(pack(b"SET", b"\r\n", b""))[0] == [b"SET", b"\r\n", b""]
