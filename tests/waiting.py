"""Waiting for what another process, a server or a thread is about to do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def eventually(check: Callable[[], Any], within: float = 20.0) -> Any:
    """Return the first true answer of ``check``; fail when there is none within so many seconds."""
    deadline = time.monotonic() + within
    while True:
        answer = check()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {within} seconds"
        time.sleep(0.01)
