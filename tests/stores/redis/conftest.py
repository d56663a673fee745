"""A Redis for each test, and a client of its own to look into it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from tests.servers import Server


@pytest.fixture
def server(start_server: Callable[[str], Server]) -> Server:
    return start_server("redis")


@pytest.fixture
def raw(server: Server) -> Iterator[Any]:
    with redis.Redis(host=server.host, port=server.port) as client:
        yield client
