"""What people get to know of purges: counts, and whether a CDN takes them at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from ormcache.background.worker import worker
from ormcache.diagnostics.health.examination import NO_TAG, examine
from ormcache.diagnostics.metrics.readings import process_readings
from ormcache.telemetry.publisher import publisher
from tests.integration.purging import recording
from tests.integration.purging.conftest import Cdn
from tests.shop.models import Author
from tests.waiting import eventually


def purge_findings() -> list[tuple[str, str]]:
    return [(one.level, one.text) for one in examine(["default"], 1).findings if one.about == "purges"]


def test_check_asks_the_purger(cdn: Cdn) -> None:
    assert purge_findings() == [("ok", "tests.integration.purging.recording.Recording takes purges.")]
    assert {NO_TAG} in recording.purged


def test_check_says_what_is_wrong(cdn: Cdn, monkeypatch: pytest.MonkeyPatch) -> None:
    def purge(self: Any, tags: Any) -> None:
        raise ConnectionRefusedError("nobody there")

    with monkeypatch.context() as patched:
        patched.setattr(recording.Recording, "purge", purge)
        ((level, text),) = purge_findings()
        with pytest.raises(CommandError):
            call_command("ormcache", "check", "--using", "default", stdout=StringIO())

    assert level == "error"
    assert text.endswith("Recording cannot be purged: nobody there.")


def test_check_says_nothing_where_there_is_no_purger() -> None:
    assert purge_findings() == []


def test_counts(cdn: Cdn, configure: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    configure(STATISTICS_INTERVAL=3600)
    connection.ensure_connection()
    Author.objects.create(name="first")
    cdn.purged()
    (queue,) = connection.ormcache.known().purge_queues
    with monkeypatch.context() as patched:
        patched.setattr(recording.Recording, "purge", lambda self, tags: 1 / 0)
        Author.objects.create(name="second")
        eventually(lambda: queue.failures)
    cdn.purged()

    publisher.publish()
    out = StringIO()
    call_command("ormcache", "stats", "--using", "default", "--json", stdout=out)
    (found,) = json.loads(out.getvalue())["databases"]
    (reading,) = [one for one in process_readings() if one.alias == "default"]

    assert (reading.purges, reading.purge_failures) == (found["purges"], found["purge_failures"])
    assert found["purges"] >= 2
    assert found["purge_failures"] >= 1
    assert found["unpurged"] == 0
    out = StringIO()
    call_command("ormcache", "stats", "--using", "default", stdout=out)
    assert "of CDNs and reverse proxies" in out.getvalue()
    worker.reset()
