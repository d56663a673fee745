"""Questions about a socket that are answered without waiting."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable


def readable_probe(end: socket.socket) -> Callable[[], bool]:
    """Return a function that returns whether there is something to read, or the other end has closed the connection.

    It does not wait. By ``poll``, which works for every descriptor; by ``select`` on Windows, where there is no poll
    and select is not limited to small descriptors.
    """
    if not hasattr(select, "poll"):
        return lambda: bool(select.select([end], (), (), 0)[0])
    poll = select.poll()
    poll.register(end, select.POLLIN)
    ask = poll.poll
    return lambda: bool(ask(0))
