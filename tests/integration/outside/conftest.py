from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connections


@pytest.fixture
def installed() -> Iterator[None]:
    """Triggers on two tables, and sessions of ormcache that know of them."""
    from tests.integration.outside.outbox import reconnect, triggers  # models, which need Django to be set up

    one = triggers()
    assert not [change for change in one.install(["shop_author", "shop_genre"]) if change.error]
    reconnect()
    yield
    connections.close_all()
    left = triggers()
    list(left.remove(left.installed()))
    assert left.installed() == []
