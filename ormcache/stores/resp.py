"""What a Redis server says, cut out of its bytes: RESP3 as far as this package hears it.

The client library has parsers too, but none that can be asked, without waiting, for what has come so far.
"""

from __future__ import annotations

from typing import Any


class Incomplete(Exception):
    """The rest of the message is still to come."""


class Refusal(Exception):
    """An error that the server answered with."""


class Push(list[Any]):
    """A message that is no reply."""


def parse(data: bytes, at: int = 0) -> tuple[Any, int]:
    """The message that begins at ``at``, and where the next one begins. A :class:`Refusal` is returned, not raised.

    Texts and numbers are bytes, a map is a list of keys and values by turns. Raises Incomplete, and ValueError for what
    is not RESP3.
    """
    end = data.find(b"\r\n", at)
    if end < 0:
        raise Incomplete
    kind, line, at = data[at : at + 1], data[at + 1 : end], end + 2
    if kind in (b"$", b"="):
        length = int(line)
        if length < 0:
            return None, at
        if len(data) < at + length + 2:
            raise Incomplete
        value = data[at : at + length]
        return (value if kind == b"$" else value[4:]), at + length + 2  # a verbatim text begins with "txt:"
    if kind in (b"*", b">", b"~", b"%"):
        items: list[Any] = Push() if kind == b">" else []
        if line == b"-1":
            return None, at
        for _ in range(int(line) * (2 if kind == b"%" else 1)):
            item, at = parse(data, at)
            items.append(item)
        return items, at
    if kind in (b"+", b":", b",", b"#", b"("):
        return line, at
    if kind == b"-":
        return Refusal(line.decode("utf-8", "replace")), at
    if kind == b"_":
        return None, at
    raise ValueError(f"not a message of RESP3: {kind + line!r}")


def pack(*words: bytes) -> bytes:
    """A command as the server reads it."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)
