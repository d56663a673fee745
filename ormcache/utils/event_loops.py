"""Whether the running code is in an event loop, where nothing may block."""

from __future__ import annotations

import asyncio


def is_in_event_loop() -> bool:
    """Return whether this thread runs an event loop: what it waits for may be a task of that very loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
