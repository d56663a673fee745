"""SQLite: commits of other programs are noticed at the next read, and those of ormcache are not taken for them."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, connections, transaction

import ormcache
from ormcache.database import commits as commits_module
from ormcache.database.commits import Commits
from ormcache.diagnostics.health.examination import examine
from ormcache.diagnostics.metrics.readings import process_readings
from ormcache.outside.connections import OwnConnections
from tests.integration.calls import count_anew, genres, names, printed, printed_document
from tests.shop.models import Author

MODES = ("DELETE", "WAL")


@pytest.fixture(autouse=True)
def _watched(engine: str, configure: Callable[..., None]) -> None:
    if engine != "sqlite":
        pytest.skip("other databases have no file to look at")
    configure(OUTSIDE_WRITES_INTERVAL=5)


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest, database: None) -> Iterator[str]:
    connections.close_all()
    with closing(outside()) as other:
        assert other.execute(f"PRAGMA journal_mode = {request.param}").fetchone()[0].upper() == request.param
    yield request.param
    connections.close_all()
    with closing(outside()) as other:
        assert other.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)


def outside() -> sqlite3.Connection:
    """A connection of another program."""
    return sqlite3.connect(connections["default"].settings_dict["NAME"], isolation_level=None)


def write_outside(name: str) -> None:
    with closing(outside()) as other:
        other.execute("INSERT INTO shop_author (name, active) VALUES (?, 1)", [name])


def commits() -> Commits:
    connections["default"].ensure_connection()
    found = connections["default"].ormcache.known().commits  # type: ignore[attr-defined]
    assert isinstance(found, Commits)
    return found


def test_an_outside_write_is_seen_by_the_next_read(mode: str, queries: Any, caplog: pytest.LogCaptureFixture) -> None:
    names()
    with queries(0):
        assert names() == []
    write_outside("Ann")
    caplog.clear()
    assert names() == ["Ann"]
    if mode == "DELETE":  # in WAL mode it may have been opened again by ormcache
        assert "another program has written to " in caplog.text
    with queries(0):
        names()


def test_an_outside_write_is_shown(queries: Any) -> None:
    names()
    before = commits().outside
    write_outside("Ann")
    names()
    assert commits().outside == before + 1
    document = printed_document("stats")
    assert document["outside_writes"] == {"*": before + 1}
    assert document["outside_written"] is not None
    document = printed_document("tables")
    assert [one["outside_writes"] for one in document["tables"] if one["name"] == "*"] == [before + 1]
    sentence = "of other programs noticed, the last at "
    assert sentence in printed("stats")
    assert sentence in printed("report")
    assert "writes of other programs: " in printed("tables", "--verbose")
    (found,) = (one for one in examine(["default"], 1).findings if one.about == "outside")
    assert sentence in found.text
    assert found.level == "note"
    (reading,) = (one for one in process_readings() if one.alias == "default")
    assert reading.outside == {"*": before + 1}


def test_doubt_is_shown(mode: str) -> None:
    count_anew()
    names()
    before = printed_document("stats")["outside_doubts"]
    connections["default"].ormcache.known().own_commits.invalidate()  # type: ignore[attr-defined]
    assert printed_document("stats")["outside_doubts"] == before + 1
    assert "another program may have written" in printed("stats")


def test_it_is_seen_while_the_other_program_stays_connected(mode: str, queries: Any) -> None:
    names()
    with closing(outside()) as other:
        for count in range(1, 4):
            other.execute("INSERT INTO shop_author (name, active) VALUES (?, 1)", [f"A{count}"])
            assert len(names()) == count
            with queries(0):
                names()


def test_own_writes_keep_what_does_not_depend_on_them(mode: str, queries: Any) -> None:
    genres()
    names()
    before = commits().outside, commits().in_doubt
    Author.objects.create(name="Ann")
    Author.objects.filter(name="Ann").update(name="Bea")
    Author.objects.filter(name="Bea").update(name="Bea")  # SQLite commits nothing
    Author.objects.filter(name="nobody").update(name="Bea")
    with transaction.atomic():
        Author.objects.create(name="Cid")
        with transaction.atomic():
            Author.objects.filter(name="Bea").delete()
    with transaction.atomic():
        list(Author.objects.all())
    with transaction.atomic():
        Author.objects.create(name="Dan")
        transaction.set_rollback(True)
    Author.objects.bulk_create([Author(name=f"E{n}") for n in range(3)])
    with connections["default"].cursor() as cursor:
        cursor.executemany("UPDATE shop_author SET name = ? WHERE name = ?", [("F0", "E0"), ("F1", "E1")])
    with queries(0):
        genres()
    assert names() == ["Cid", "E2", "F0", "F1"]
    assert (commits().outside, commits().in_doubt) == before


def test_a_connection_that_is_closed_loses_nothing(mode: str, queries: Any) -> None:
    genres()
    for number in range(3):
        Author.objects.create(name=f"A{number}")
        connections.close_all()
        names()
        connections.close_all()
    with queries(0):
        genres()
    write_outside("Zoe")
    assert "Zoe" in names()


def test_an_outside_write_between_own_ones_is_noticed(mode: str) -> None:
    names()
    for number in range(3):
        Author.objects.create(name=f"A{number}")
        write_outside(f"B{number}")
        Author.objects.create(name=f"C{number}")
        assert len(names()) == 3 * (number + 1)
        genres()
        with closing(outside()) as other:
            other.execute("INSERT INTO shop_genre (name) VALUES ('G')")
        Author.objects.filter(name=f"A{number}").update(name=f"D{number}")  # not what genres() depends on
        assert len(genres()) == number + 1


def test_an_outside_write_after_the_last_connection_was_closed(mode: str) -> None:
    Author.objects.create(name="Ann")
    names()
    connections.close_all()
    write_outside("Zoe")
    assert names() == ["Ann", "Zoe"]


@pytest.mark.parametrize("mode", ["DELETE", "WAL"], indirect=True)
def test_other_processes_account_for_each_other(mode: str, other_process: Any, queries: Any) -> None:
    genres()
    names()
    before = commits().outside, commits().in_doubt
    other_process("tests.integration.calls.add", "Ann")
    other_process("tests.integration.calls.add_atomically", "Bea")
    with queries(0):
        genres()
    assert names() == ["Ann", "Bea"]
    assert (commits().outside, commits().in_doubt) == before


@pytest.mark.parametrize("mode", ["DELETE", "WAL"], indirect=True)
def test_what_is_committed_and_not_settled_is_neither_served_nor_an_alarm(
    mode: str, other_process: Any, queries: Any
) -> None:
    names()
    before = commits().outside, commits().in_doubt
    writer = other_process.start(
        "tests.integration.calls.add", "Ann", stops=["before:ormcache.database.own_commits.OwnCommits.end"]
    )
    writer.wait_for("before:ormcache.database.own_commits.OwnCommits.end")
    for _ in range(2):
        with queries(1):
            assert names() == ["Ann"]
    writer.go()
    writer.result()
    assert names() == ["Ann"]
    assert (commits().outside, commits().in_doubt) == before


@pytest.mark.parametrize("mode", ["DELETE", "WAL"], indirect=True)
def test_own_load_of_several_processes_raises_no_alarm(mode: str, other_process: Any) -> None:
    writers = [other_process.start("tests.integration.calls.write_many", f"{n}-", 40) for n in range(3)]
    found = [writer.result() for writer in writers]
    assert [(outside, wrong) for outside, _, wrong in found] == [(0, 0)] * 3
    # SQLite lets one after the other write, and may let others before it is known whose commit it was.
    assert sum(in_doubt for _, in_doubt, _ in found) < 360 / 4


@pytest.mark.parametrize("mode", ["DELETE", "WAL"], indirect=True)
def test_a_writer_that_is_killed_after_its_commit(
    mode: str, other_process: Any, monkeypatch: pytest.MonkeyPatch, queries: Any
) -> None:
    genres()
    names()
    writer = other_process.start(
        "tests.integration.calls.add", "Ann", stops=["before:ormcache.database.own_commits.OwnCommits.end"]
    )
    writer.wait_for("before:ormcache.database.own_commits.OwnCommits.end")
    writer.kill()
    with queries(1):
        genres()
    with queries(1):
        assert names() == ["Ann"]
    monkeypatch.setattr(commits_module, "PATIENCE", -1)
    with queries(1):
        genres()
    with queries(0):
        genres()  # the table that it wrote is marked for longer
    assert names() == ["Ann"]
    assert commits().outside == 0


def test_a_table_that_another_program_has_made(mode: str) -> None:
    names()
    with closing(outside()) as other:
        other.execute("CREATE TABLE made_outside (id INTEGER PRIMARY KEY)")
    names()
    assert connections["default"].ormcache_writes.explicit.affected_by(frozenset({"made_outside"}))  # type: ignore[attr-defined]
    with closing(outside()) as other:
        other.execute("DROP TABLE made_outside")


def test_a_page_notices_it(mode: str) -> None:
    @ormcache.cached
    def count() -> int:
        return Author.objects.count()

    assert (count(), count()) == (0, 0)
    write_outside("Ann")
    assert count() == 1


def test_a_table_on_the_blacklist(mode: str, configure: Callable[..., None], queries: Any) -> None:
    configure(BLACKLIST=["shop.Author"])
    genres()
    before = commits().outside, commits().in_doubt
    Author.objects.create(name="Ann")
    with transaction.atomic():
        Author.objects.create(name="Bea")
    with queries(0):
        genres()
    assert (commits().outside, commits().in_doubt) == before


def test_statements_that_fail_in_autocommit(mode: str, engine: str) -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute(
            "CREATE TABLE failing (id INTEGER PRIMARY KEY, parent INTEGER REFERENCES failing "
            "DEFERRABLE INITIALLY DEFERRED)"
        )
        try:
            with pytest.raises(IntegrityError):
                cursor.execute("INSERT INTO failing (id) VALUES (1), (1)")
            with pytest.raises(IntegrityError):
                cursor.execute("INSERT OR FAIL INTO failing (id) VALUES (2), (2)")
            with pytest.raises(IntegrityError):
                cursor.execute("INSERT OR ROLLBACK INTO failing (id) VALUES (3), (3)")
            with pytest.raises(IntegrityError):
                cursor.execute("INSERT INTO failing (id, parent) VALUES (4, 99)")
            assert not connections["default"].connection.in_transaction
            cursor.execute("INSERT INTO failing (id) VALUES (5) RETURNING id")
            assert cursor.fetchall() == [(5,)]
            cursor.execute("SELECT id FROM failing ORDER BY id")
            assert cursor.fetchall() == [(2,), (5,)]
        finally:
            cursor.execute("DROP TABLE failing")


def test_locks_are_kept(mode: str) -> None:
    """What has read the file while this process holds a lock has not dropped it."""
    names()
    with transaction.atomic():
        Author.objects.create(name="Ann")
        commits().check()
        commits()._file.read(is_own=True)
        commits()._file.at_rest()
        # SQLite in this process knows of its locks without the operating system, so another one has to try.
        probe = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('BEGIN IMMEDIATE')"
        path = str(connections["default"].settings_dict["NAME"])
        answer = subprocess.run([sys.executable, "-c", probe, path], capture_output=True, text=True, check=False)
        assert "locked" in answer.stderr


def test_the_check_of_a_hit_is_cheap(mode: str, engine: str) -> None:
    names()
    assert commits().check()
    check, calls = commits().check, []
    sys.setprofile(lambda frame, event, arg: calls.append(event) if event in ("call", "c_call") else None)
    check()
    sys.setprofile(None)
    assert len(calls) <= 7, calls  # two of them switch the profile off


def calls_of(run: Callable[[], Any]) -> int:
    """How many functions of Python and C are called, in the cheapest of some runs."""
    found = []
    for _ in range(12):
        calls: list[str] = []
        sys.setprofile(lambda frame, event, arg, calls=calls: calls.append(event) if "call" in event else None)
        try:
            run()
        finally:
            sys.setprofile(None)
        found.append(len(calls))
    return min(found)


def test_a_write_is_cheap(mode: str, configure: Callable[..., None]) -> None:
    numbers = iter(range(10_000))
    author = Author.objects.create(name="Ann")

    def save() -> None:
        author.name = f"A{next(numbers)}"
        author.save()

    def update() -> None:
        with connections["default"].cursor() as cursor:
            cursor.execute("UPDATE shop_author SET name = %s WHERE id = %s", [f"A{next(numbers)}", author.pk])

    def save_twice() -> None:
        with transaction.atomic():
            save()
            save()

    costs = []
    for interval in (0, 5):
        configure(OUTSIDE_WRITES_INTERVAL=interval)
        names()
        costs.append([calls_of(write) for write in (save, update, save_twice)])
    assert [on - off for off, on in zip(*costs, strict=True)] <= [60, 60, 60], costs


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the store is asked from here on: to mark, and to settle."""
    connections["default"].ensure_connection()
    store, found = connections["default"].ormcache.known().stamps.store.strict, []  # type: ignore[attr-defined]
    for name in ("mark", "settle"):
        real = getattr(store, name)
        monkeypatch.setattr(
            store, name, lambda *args, name=name, real=real, **more: (found.append(name), real(*args, **more))[1]
        )
    return found


def test_a_write_asks_the_store_no_more_often(mode: str, asked: list[str]) -> None:
    names()
    author = Author.objects.create(name="Ann")
    for write in (author.save, lambda: names() and Author.objects.filter(name="Ann").update(name="Bea")):
        asked.clear()
        write()
        assert asked == ["mark", "settle"]
    asked.clear()
    with transaction.atomic():
        author.save()
        Author.objects.create(name="Cid")
    assert asked == ["mark", "settle"]


def test_a_transaction_that_only_reads_announces_nothing(mode: str, asked: list[str]) -> None:
    names()
    asked.clear()
    with transaction.atomic():
        list(Author.objects.all())
    assert asked == []


def test_an_excluded_write_is_recorded_once_it_is_visible(
    mode: str, configure: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the mark that follows it could be made before it is."""
    configure(BLACKLIST=["shop.Author"])
    connection = connections["default"]
    connection.ensure_connection()
    excluded, seen = connection.ormcache.known().excluded, []  # type: ignore[attr-defined]
    real = excluded.record_write

    def record_write(*args: Any) -> None:
        seen.append(connection.connection.in_transaction)
        real(*args)

    monkeypatch.setattr(excluded, "record_write", record_write)
    Author.objects.create(name="Ann")
    with transaction.atomic():
        Author.objects.create(name="Bea")
    assert seen == [False, False]


def test_a_statement_that_fails_leaves_no_cause(mode: str) -> None:
    author = Author.objects.create(name="Ann")
    with pytest.raises(IntegrityError):
        Author.objects.create(pk=author.pk, name="Bea")
    assert connections["default"].ormcache_writes.transaction.causes == {}  # type: ignore[attr-defined]


def test_an_attached_database_is_written_while_this_one_is_locked(mode: str, tmp_path: Path) -> None:
    with closing(outside()) as other, connections["default"].cursor() as cursor:
        cursor.execute("ATTACH %s AS archive", [str(tmp_path / "archive.sqlite3")])
        cursor.execute("CREATE TABLE archive.kept (id INTEGER)")
        cursor.execute("PRAGMA busy_timeout = 0")
        other.execute("BEGIN IMMEDIATE")
        cursor.execute("INSERT INTO archive.kept VALUES (1)")
        other.execute("ROLLBACK")
        cursor.execute("SELECT count(*) FROM archive.kept")
        assert cursor.fetchone() == (1,)
    connections["default"].close()


def test_a_script_is_accounted_for(mode: str, queries: Any) -> None:
    genres()
    before = commits().outside, commits().in_doubt
    with connections["default"].cursor() as cursor:
        cursor.executescript("INSERT INTO shop_author (name, active) VALUES ('Ann', 1)")
    genres()  # a script may write anything
    assert names() == ["Ann"]
    assert (commits().outside, commits().in_doubt) == before


def test_it_can_be_switched_off(mode: str, configure: Callable[..., None]) -> None:
    configure(OUTSIDE_WRITES_INTERVAL=0)
    names()
    write_outside("Ann")
    assert names() == []


def test_statements_of_its_own(mode: str, queries: Any) -> None:
    genres()
    own, before = OwnConnections(), (commits().outside, commits().in_doubt)
    connection = own.get("default", connections["default"].ormcache.known())  # type: ignore[attr-defined]
    assert connection is not None
    connection.execute("DELETE FROM shop_author")
    connection.execute("INSERT INTO shop_author (name, active) VALUES (?, 1)", ["Ann"])
    with queries(0):
        genres()
    own.close_all()
    assert (commits().outside, commits().in_doubt) == before
