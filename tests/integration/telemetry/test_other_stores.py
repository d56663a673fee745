"""Processes of one database that use different stores are noticed: on their host, and through the stores."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import caches
from django.db import connection

from ormcache.diagnostics.health.examination import examine
from ormcache.telemetry import other_stores
from ormcache.telemetry.publisher import publisher
from ormcache.utils.bounded import Bounded
from tests import environment
from tests.integration import calls

HERE = "tests.integration.telemetry.test_other_stores.announced"


def clear(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


@pytest.fixture(autouse=True)
def notes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of notes, empty, in a process that has warned of nothing."""
    folder = environment.current().own_folder / environment.NOTES
    clear(folder)
    monkeypatch.setattr(other_stores, "_warned", Bounded(256))
    yield folder
    clear(folder)


def announced() -> list[str]:
    """The other stores that this process finds, after it has left its note."""
    calls.names()
    database = connection.ormcache.known()  # type: ignore[attr-defined]
    return [use.place for use in other_stores.announce(database)]


def found() -> list[str]:
    """The levels of what ``check`` says of other stores."""
    (one,) = examine(["default"], rounds=1).databases
    return [finding.level for finding in one.findings if "used another store" in finding.text]


def test_two_folders_of_the_embedded_store(other_process: Any, configure: Callable[..., None], tmp_path: Path) -> None:
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    configure(LOCATION=one)
    assert announced() == []
    assert announced() == []
    configure(LOCATION=two)
    other_process(HERE)
    configure(LOCATION=one)
    assert announced() == [f"embedded {two}"]
    configure(LOCATION=two)
    assert other_process(HERE) == [f"embedded {one}"]


def test_redis_and_the_embedded_store(
    other_process: Any, configure: Callable[..., None], redis_server: Any, tmp_path: Path, notes: Path
) -> None:
    configure(STORE="redis", CACHE="redis", LOCATION=str(tmp_path))
    assert announced() == []
    configure(STORE="embedded")
    other_process(HERE)
    configure(STORE="redis")
    assert announced() == [f"embedded {tmp_path}"]
    clear(notes)  # as on another host, where all use Redis
    assert other_process(HERE) == [f"embedded {tmp_path}"]
    assert found() == ["warning"]


def test_one_store_by_two_paths(other_process: Any, configure: Callable[..., None], tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    configure(LOCATION=str(tmp_path / "real" / "store"))
    assert announced() == []
    configure(LOCATION=str(tmp_path / "link" / "store"))
    assert other_process(HERE) == []
    configure(LOCATION=str(tmp_path / "real" / "store"))
    assert announced() == []


def test_a_store_that_was_emptied_is_no_other_one(
    other_process: Any, configure: Callable[..., None], redis_server: Any
) -> None:
    configure(STORE="redis", CACHE="redis")
    assert other_process(HERE) == []
    caches["redis"].clear()
    assert found() == []
    assert announced() == []
    assert found() == []


def test_another_database_is_of_no_concern(other_process: Any, configure: Callable[..., None], tmp_path: Path) -> None:
    configure(LOCATION=str(tmp_path / "one"), NAME="one")
    assert announced() == []
    configure(LOCATION=str(tmp_path / "two"), NAME="two")
    other_process(HERE)
    configure(LOCATION=str(tmp_path / "one"), NAME="one")
    assert announced() == []


def test_the_log_and_check_warn(
    other_process: Any, configure: Callable[..., None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    configure(LOCATION=str(tmp_path / "one"))
    assert announced() == []
    assert found() == []
    configure(LOCATION=str(tmp_path / "two"))
    other_process(HERE)
    configure(LOCATION=str(tmp_path / "one"), STATISTICS_INTERVAL=3600)
    calls.names()
    with caplog.at_level(logging.WARNING, "ormcache"):
        publisher.publish()
        announced()
    (said,) = [
        record.getMessage()
        for record in caplog.records
        if record.getMessage().startswith("processes of one database use different stores")
    ]
    assert f"uses embedded {tmp_path / 'two'};" in said
    assert found() == ["warning"]


def test_check_leaves_no_note(configure: Callable[..., None], notes: Path) -> None:
    calls.names()
    assert found() == []
    assert list(notes.iterdir()) == []


def test_a_thread_leaves_the_note_again(
    configure: Callable[..., None], notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(STATISTICS_INTERVAL=3600)
    calls.names()
    publisher.publish()
    (note,) = notes.iterdir()
    note.unlink()
    publisher.publish()
    assert list(notes.iterdir()) == []
    monkeypatch.setattr(other_stores.time, "monotonic", lambda now=other_stores.time.monotonic: now() + 601)
    publisher.publish()
    assert list(notes.iterdir()) == [note]


def test_where_no_note_can_be_left(configure: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(other_stores, "shared_folder", lambda: Path("/proc/self"))
    assert announced() == []
