from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection

from ormcache.cache.tracking import Tracker, tracking
from ormcache.database.tags import tags_of_page
from ormcache.session.registry import registry
from tests.integration.purging import recording

RECORDING = {"BACKEND": "tests.integration.purging.recording.Recording", "REPEAT_AFTER": 0}


class Cdn:
    """What the CDN has been asked for."""

    @staticmethod
    def purged() -> set[str]:
        """The tags of all purges since the last time.

        Queues of earlier settings count: a connection that is made after a change of settings invalidates everything.
        """
        for database in registry.databases():
            assert all(purges.flush(20) for purges in database.purge_queues)
        found = set().union(*recording.purged)
        recording.purged.clear()
        return found

    def tags(self, read: Callable[[], Any]) -> set[str]:
        """Those of a page that shows this. Nothing counts as purged any more."""
        with tracking(Tracker()) as tracker:
            read()
        assert tracker.validate() is None
        self.purged()
        return set(tags_of_page(slot for stamps in tracker.stores.values() for slot in stamps))


@pytest.fixture
def cdn(configure: Callable[..., None], _live: None) -> Iterator[Cdn]:
    configure(PURGE=RECORDING)
    connection.ensure_connection()
    recording.purged.clear()
    yield Cdn()
    recording.purged.clear()
