"""PostgreSQL, MySQL and MariaDB: what other programs write is noticed by what the database counts for its tables."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection, connections, transaction

from ormcache.database.database import Database
from ormcache.diagnostics.health.examination import examine
from ormcache.diagnostics.metrics.readings import process_readings
from ormcache.outside import write_watch as write_watch_module
from ormcache.outside.connections import own_connections
from ormcache.outside.write_watch import TableWatch, WriteWatch
from tests.integration.calls import genres, names, printed, printed_document
from tests.shop.models import Author, Genre
from tests.waiting import eventually


@pytest.fixture
def watch(engine: str, configure: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> Iterator[WriteWatch]:
    if engine == "sqlite":
        pytest.skip("SQLite counts commits")
    configure(OUTSIDE_WRITES_INTERVAL=3600)
    monkeypatch.setattr(write_watch_module, "LATEST", -1.0)
    yield WriteWatch()
    own_connections.close_all()


def subject() -> Database:
    connections["default"].ensure_connection()
    found: Database = connections["default"].ormcache.database  # type: ignore[attr-defined]
    return found


def look(watch: WriteWatch) -> None:
    watch.run({"default": subject()})


def outside(sql: str, *params: Any) -> None:
    with connections["plain"].cursor() as cursor:
        cursor.execute(sql, params or None)
    if connections["plain"].vendor == "postgresql":
        connections["plain"].close()  # at its end a session has counted all


def add_outside(name: str) -> None:
    outside("INSERT INTO shop_author (name, active) VALUES (%s, true)", name)


def is_noticed(watch: WriteWatch, table: str, times: int = 1) -> bool:
    look(watch)
    return subject().outside_writes.counts.times.get(table, 0) >= times


def settle_counts() -> None:
    """Until what was written so far is counted: a session may take a second."""
    connections["default"].close()
    connections["plain"].close()


def test_an_outside_write_is_noticed_and_invalidated(
    watch: WriteWatch, caplog: pytest.LogCaptureFixture, queries: Any
) -> None:
    look(watch)
    genres()
    names()
    with queries(0):
        assert (genres(), names()) == ([], [])
    for number in (1, 2):
        add_outside(f"A{number}")
        eventually(lambda: (look(watch), len(names()) == number)[1])  # noqa: B023
    assert subject().outside_writes.counts.times["shop_author"] >= 1
    genres()  # MySQL may have counted by now what emptied it before the test
    add_outside("A3")
    eventually(lambda: (look(watch), len(names()) == 3)[1])
    with queries(0):
        genres()
    assert "another program has written to shop_author of 'default': it was invalidated" in caplog.text


def test_it_is_shown(watch: WriteWatch) -> None:
    look(watch)
    names()
    before = subject().outside_writes.counts.times.get("shop_author", 0)
    # Again and again: MySQL has the time of the last write, in seconds
    eventually(lambda: (add_outside("A"), is_noticed(watch, "shop_author", before + 1))[1])
    times = subject().outside_writes.counts.times
    document = printed_document("stats")
    assert document["outside_writes"] == times
    document = printed_document("tables")
    shown = {one["name"]: one["outside_writes"] for one in document["tables"] if one["outside_written"] is not None}
    assert shown == times
    document = printed_document("advise")
    advised = [one["finding"] for one in document["advice"] if one["verdict"] == "written by other programs"]
    assert any("shop_author" in finding for finding in advised)
    (found,) = (one for one in examine(["default"], 1).findings if one.about == "outside")
    assert (found.level, "triggers install" in found.hint) == ("warning", True)
    assert "shop_author" in found.text
    assert found.text[:-1] in printed("report")
    (reading,) = (one for one in process_readings() if one.alias == "default")
    assert reading.outside == times


def test_own_writes_raise_no_alarm(watch: WriteWatch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_watch_module, "LATEST", 75.0)
    look(watch)
    for number in range(5):
        Author.objects.create(name=f"A{number}")
        with transaction.atomic():
            Genre.objects.create(name=f"G{number}")
            transaction.set_rollback(True)
        settle_counts()
        look(watch)
    assert subject().outside_writes.counts.times == {}


def test_what_is_rolled_back_is_known_as_own(watch: WriteWatch) -> None:
    """With no time to be counted later, so that the slot of what was undone has to be seen by this very look."""
    look(watch)
    with transaction.atomic():
        Genre.objects.create(name="G")
        transaction.set_rollback(True)
    settle_counts()
    time.sleep(0.2)
    before = write_watch_module._own_stamps(subject(), ["shop_genre"])
    with transaction.atomic():
        Genre.objects.create(name="G")
        transaction.set_rollback(True)
    assert write_watch_module._own_stamps(subject(), ["shop_genre"]) != before


def test_doubt_is_ended_by_one_invalidation(watch: WriteWatch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_watch_module, "LATEST", 75.0)
    look(watch)
    Author.objects.create(name="A")
    names()
    add_outside("B")
    look(watch)
    assert names() == ["A"]  # it may have been the write of ormcache that was counted
    monkeypatch.setattr(write_watch_module, "LATEST", -1.0)
    eventually(lambda: (look(watch), len(names()) == 2)[1])


def test_a_new_leader_goes_on_where_the_last_one_was(watch: WriteWatch) -> None:
    look(watch)
    names()
    add_outside("A")
    watch.reset()
    subject().strict_stamps.store.release(watch._leader._name(subject()), b"", 0.001)
    time.sleep(0.01)
    eventually(lambda: (look(watch), names() == ["A"])[1])


def test_truncate_and_copy(watch: WriteWatch, engine: str) -> None:
    Author.objects.create(name="A")
    settle_counts()
    look(watch)
    assert names() == ["A"]
    seen = subject().outside_writes.counts.times.get("shop_book_genres", 0)
    outside("TRUNCATE shop_book_genres")
    if engine == "postgresql":
        eventually(lambda: is_noticed(watch, "shop_book_genres", seen + 1))
        with connections["plain"].cursor() as cursor, cursor.copy("COPY shop_genre (name) FROM STDIN") as copy:
            copy.write("G\n")
        connections["plain"].close()
        eventually(lambda: is_noticed(watch, "shop_genre"))


def test_it_is_due_by_the_setting(watch: WriteWatch, configure: Callable[..., None]) -> None:
    assert watch.interval({"default": subject()}) == 3600
    configure(OUTSIDE_WRITES_INTERVAL=0)
    connection.close()
    assert watch.interval({"default": subject()}) is None


# What is concluded, without a database ----------------------------------------------------------


def at(seconds: float) -> float:
    return 1000.0 + seconds


def test_a_count_that_comes_late() -> None:
    tables = TableWatch()
    tables.look({"t": "1 0 0 9"}, {"t": (b"one", None)}, at(0))
    assert tables.look({"t": "1 0 0 9"}, {"t": (b"two", None)}, at(100)) == (frozenset(), frozenset())
    assert tables.look({"t": "2 0 0 9"}, {"t": (b"two", None)}, at(170)) == (frozenset(), frozenset())
    assert tables.look({"t": "2 0 0 9"}, {"t": (b"two", None)}, at(176)) == (frozenset(), {"t"})
    assert tables.look({"t": "3 0 0 9"}, {"t": (b"two", None)}, at(181)) == ({"t"}, frozenset())
    assert tables.look({"t": "3 0 0 9"}, {"t": (b"two", None)}, at(186)) == (frozenset(), frozenset())


def test_a_write_that_is_undone_late() -> None:
    tables = TableWatch()
    tables.look({"t": "1 0 0 9"}, {"t": (b"one", None)}, at(0))
    assert tables.look({"t": "2 0 0 9"}, {"t": (b"one", b"undone")}, at(100)) == (frozenset(), frozenset())


def test_a_table_that_is_always_written_is_invalidated_in_the_end() -> None:
    tables, found = TableWatch(), []
    for number in range(400):
        own = f"own {number // 2}".encode()
        found.append(tables.look({"t": f"{number} 0 0 9"}, {"t": (own, None)}, at(5 * number)).doubtful)
    assert len([one for one in found if one]) == 3
    assert not any(tables.look({"t": "400 0 0 9"}, {"t": (b"x", None)}, at(2000)).outside)


def test_counting_that_begins_anew() -> None:
    tables = TableWatch()
    tables.look({"t": "5 0 0 9", "m": "2026-11-30 18:00:00"}, {"t": (b"one", None), "m": (b"one", None)}, at(0))
    own = {"t": (b"one", None), "m": (b"one", None)}
    assert tables.look({"t": "0 0 0 9", "m": ""}, own, at(100)) == (frozenset(), {"t", "m"})


def test_the_last_seconds_of_mysql() -> None:
    tables, own = TableWatch(), {"t": (b"one", None)}
    tables.look({"t": "2026-11-30 18:00:00"}, own, at(0))
    assert tables.look({"t": "2026-11-30 18:10:00 or later"}, own, at(600)) == ({"t"}, frozenset())
    assert tables.look({"t": "2026-11-30 18:10:00"}, own, at(605)) == (frozenset(), {"t"})
    assert tables.look({"t": "2026-11-30 18:10:00"}, own, at(610)) == (frozenset(), frozenset())


def test_what_this_process_has_invalidated_is_no_write_of_its_own() -> None:
    tables, own = TableWatch(), {"t": (b"one", None)}
    tables.look({"t": "1 0 0 9"}, own, at(0))
    assert tables.look({"t": "2 0 0 9"}, own, at(100)).outside == {"t"}
    tables.record_own({"t"}, b"ours")
    assert tables.look({"t": "3 0 0 9"}, {"t": (b"ours", None)}, at(105)).outside == {"t"}


def test_an_own_invalidation_leaves_writes_that_were_undone_known() -> None:
    tables = TableWatch()
    tables.look({"t": "1 0 0 9"}, {"t": (b"one", b"undone")}, at(0))
    tables.record_own({"t"}, b"ours")
    assert tables.look({"t": "2 0 0 9"}, {"t": (b"ours", b"undone")}, at(100)).outside == {"t"}


def test_a_table_that_was_dropped_is_a_new_one_when_it_is_made_again() -> None:
    tables, own = TableWatch(), {"t": (b"one", None)}
    tables.look({"t": "1 0 0 9"}, own, at(0))
    assert tables.look({}, {}, at(100)) == (frozenset(), frozenset())
    assert tables.values == {}
    assert tables.look({"t": "2 0 0 9"}, own, at(200)) == (frozenset(), frozenset())


def test_what_is_certain_is_not_in_doubt_as_well() -> None:
    tables = TableWatch()
    tables.look({"t": "1 0 0 9"}, {"t": (b"one", None)}, at(0))
    tables.look({"t": "1 0 0 9"}, {"t": (b"two", None)}, at(100))
    assert tables.look({"t": "2 0 0 9"}, {"t": (b"two", None)}, at(170)) == (frozenset(), frozenset())
    assert tables.look({"t": "3 0 0 9"}, {"t": (b"two", None)}, at(176)) == ({"t"}, frozenset())
