"""States of SQLite files, as the files themselves show them."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ormcache.catalog import sqlite_file
from ormcache.catalog.sqlite_file import AT_REST, JOURNAL, Descriptors, FileState, SQLiteFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "db.sqlite3"


@pytest.fixture
def made(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to the file, in which a table is."""
    with closing(connect(path)) as made:
        made.execute("CREATE TABLE a (text)")
        yield made


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Descriptors:
    """The descriptors of a process that has none. They stay open: SQLite may have locks on these files."""
    fresh = Descriptors()
    monkeypatch.setattr(sqlite_file, "descriptors", fresh)
    return fresh


def connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None, timeout=0)


def shown(file: SQLiteFile) -> FileState:
    seen = file.read()
    assert seen is not None
    return seen.state


# What is read -----------------------------------------------------------------------------------


def test_an_empty_file_that_is_filled(path: Path) -> None:
    path.touch()
    file = SQLiteFile(str(path))
    seen = file.read()
    assert seen is not None
    assert seen.is_current()
    with closing(connect(path)) as made:
        made.execute("CREATE TABLE a (text)")
        assert not seen.is_current()
        assert shown(file) != seen.state


def test_a_journal_that_is_not_in_use(path: Path, made: sqlite3.Connection) -> None:
    """PERSIST and TRUNCATE leave the file."""
    for mode in ("PERSIST", "TRUNCATE"):
        made.execute(f"PRAGMA journal_mode = {mode}")
        made.execute("INSERT INTO a VALUES ('x')")
        assert Path(f"{path}-journal").exists()
        assert SQLiteFile(str(path)).read() is not None


def test_the_journal_is_closed_again(path: Path, made: sqlite3.Connection) -> None:
    made.execute("PRAGMA journal_mode = PERSIST")
    made.execute("INSERT INTO a VALUES ('x')")
    file = SQLiteFile(str(path))
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for _ in range(10):
        file.read()
    assert not before or len(os.listdir("/proc/self/fd")) == before


def test_files_that_share_a_number_are_told_apart(path: Path, made: sqlite3.Connection) -> None:
    """Rollback journal: the header says more than the number, as the number of pages."""
    other = path.with_name("other.sqlite3")
    with closing(connect(other)) as two:
        two.execute("CREATE TABLE a (text)")
        two.execute("INSERT INTO a VALUES (?)", ["x" * 10_000])
        made.execute("INSERT INTO a VALUES ('x')")
        states = shown(SQLiteFile(str(path))), shown(SQLiteFile(str(other)))
    assert states[0][:2] == states[1][:2]
    assert states[0] != states[1]


def test_a_header_that_changes_while_it_is_read(
    path: Path, made: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only who has the lock for writers, or finds out whether it had it, takes it as it is."""
    for mode in ("DELETE", "WAL"):
        made.execute(f"PRAGMA journal_mode = {mode}")
        made.execute("INSERT INTO a VALUES ('x')")
        file, before = SQLiteFile(str(path)), shown(SQLiteFile(str(path)))
        real, writes = sqlite_file.FileState, [1]

        def state(*parts, real=real, writes=writes):  # type: ignore[no-untyped-def]  # of any
            while writes:
                writes.pop()
                made.execute("INSERT INTO a VALUES ('y')")
            return real(*parts)

        monkeypatch.setattr(sqlite_file, "FileState", state)
        assert shown(file).number == before.number + 1
        writes.append(1)
        own = file.read(is_own=True)
        assert own is not None
        assert own.state.number == before.number + 1
        assert shown(file).number == before.number + 2
        monkeypatch.setattr(sqlite_file, "FileState", real)


# WAL --------------------------------------------------------------------------------------------


def test_wal_states(path: Path, made: sqlite3.Connection) -> None:
    made.execute("PRAGMA journal_mode = WAL")
    made.execute("INSERT INTO a VALUES ('x')")
    file = SQLiteFile(str(path))
    before = shown(file)
    assert file.at_rest() is None  # the log holds what the database does not
    made.execute("INSERT INTO a VALUES ('x')")
    after = shown(file)
    assert after.may_follow(before)
    assert after.number == before.number + 1
    made.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    assert shown(file) == after
    resting = file.at_rest()
    assert resting is not None
    made.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    emptied = file.at_rest()
    assert emptied is not None
    assert emptied.state == resting.state
    made.close()
    seen = file.read()
    assert seen is not None
    assert seen.state == resting.state
    assert file.at_rest() is None
    with closing(connect(path)) as again:
        assert seen.is_current()
        again.execute("SELECT * FROM a").fetchall()
        assert not seen.is_current()


def test_a_database_at_rest_is_known_by_header_size_and_time(path: Path, made: sqlite3.Connection) -> None:
    made.execute("PRAGMA journal_mode = WAL")
    made.close()
    file, found = SQLiteFile(str(path)), []
    for change in range(4):
        seen = file.read()
        assert seen is not None
        assert seen.state.series == AT_REST
        assert seen.is_current()
        found.append(seen.state)
        status = path.stat()
        with path.open("r+b") as written:
            if change == 0:
                os.pwrite(written.fileno(), b"\1", 70)  # a number of the application's
            elif change == 1:
                os.ftruncate(written.fileno(), status.st_size + 1)
        later = status.st_mtime_ns + (1 if change == 2 else 0)
        os.utime(path, ns=(later, later))
        assert seen.is_current() is (change in (1, 3))  # whose size is never looked at alone
    assert len(set(found)) == 4


def test_an_index_beside_a_rollback_journal_means_nothing(path: Path, made: sqlite3.Connection) -> None:
    Path(f"{path}-shm").write_bytes(bytes(32768))
    assert SQLiteFile(str(path)).at_rest() is None


@pytest.mark.parametrize("content", [b"", bytes(3), bytes(96), b"\1" * 40, bytes(32768), b"\1" * 48 + bytes(48)])
def test_an_index_that_is_being_made_shows_nothing(path: Path, made: sqlite3.Connection, content: bytes) -> None:
    made.execute("PRAGMA journal_mode = WAL")
    made.close()
    Path(f"{path}-shm").write_bytes(content)
    assert SQLiteFile(str(path)).read() is None
    if len(content) < 100:
        assert SQLiteFile(str(path)).at_rest() is None


def test_the_log_is_written_while_the_database_is_looked_at(
    path: Path, made: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.execute("PRAGMA journal_mode = WAL")
    made.execute("INSERT INTO a VALUES ('x')")
    made.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    file = SQLiteFile(str(path))
    assert file.at_rest() is not None
    real = file._read_at_rest
    monkeypatch.setattr(
        file, "_read_at_rest", lambda header: (made.execute("INSERT INTO a VALUES (1)"), real(header))[1]
    )
    assert file.at_rest() is None


def test_indexes_of_two_files_are_two_series(path: Path, made: sqlite3.Connection, tmp_path: Path) -> None:
    other = tmp_path / "other.sqlite3"
    with closing(connect(other)) as two:
        series = []
        for one, connection in ((path, made), (other, two)):
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("CREATE TABLE b (text)")
            series.append(shown(SQLiteFile(str(one))).series)
    assert series[0] != series[1]


# Orders of states -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "known, state, may",
    [
        ((b"abcd", 1), (b"abcd", 2), True),
        ((b"abcd", 2), (b"abcd", 2), False),  # the index was made anew
        ((b"abcd", 2), (b"abcd", 1), False),
        ((b"abcd", 2**32 - 1), (b"abcd", 0), True),
        ((b"abcd", 1), (b"efgh", 2), False),
        ((AT_REST, 1), (AT_REST, 2), False),
        ((JOURNAL, 1), (JOURNAL, 2), True),
        ((JOURNAL, 2), (JOURNAL, 1), True),  # another file was copied over it
        ((b"abcd", 1), (JOURNAL, 2), False),
        ((JOURNAL, 1), (b"abcd", 2), False),
    ],
)
def test_what_commits_alone_can_have_led_to(known: tuple[bytes, int], state: tuple[bytes, int], may: bool) -> None:
    assert FileState(*state, bytes(8)).may_follow(FileState(*known, b"\1" * 8)) is may


# Descriptors ------------------------------------------------------------------------------------


def test_a_file_has_one_descriptor_until_it_is_deleted(tmp_path: Path) -> None:
    descriptors, path = Descriptors(), tmp_path / "a"
    path.write_text("1")
    first, _ = descriptors.open(str(path))
    assert descriptors.open(str(path))[0] == first
    kept = tmp_path / "kept"
    os.link(path, kept)
    path.unlink()
    path.write_text("2")
    assert os.pread(descriptors.open(str(path))[0], 1, 0) == b"2"
    assert os.pread(first, 1, 0) == b"1"  # it has another name
    kept.unlink()
    (tmp_path / "b").write_text("3")
    descriptors.open(str(tmp_path / "b"))
    assert len(descriptors._open) == 2
    assert all(os.fstat(one).st_nlink for one, _ in descriptors._open.values())


def test_a_file_that_is_replaced_while_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By one that is known: nobody's descriptor of that one may be closed, or take another's place."""
    descriptors, known, path = Descriptors(), tmp_path / "known", tmp_path / "path"
    known.write_text("known")
    path.write_text("path")
    first, _ = descriptors.open(str(known))
    real = os.open
    with monkeypatch.context() as patched:
        patched.setattr(sqlite_file.os, "open", lambda *args: (known.replace(path), real(*args))[1])
        assert descriptors.open(str(path))[0] == first


def test_more_files_than_are_watched(path: Path, fresh: Descriptors, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_file, "MOST_FILES", 2)
    paths = [path.with_name(f"{number}.sqlite3") for number in range(3)]
    for one in paths:
        one.touch()
    for one in paths[:2]:
        SQLiteFile(str(one))
    with pytest.raises(OSError, match="2 database files are open"):
        SQLiteFile(str(paths[2]))
    SQLiteFile(str(paths[0]))
    paths[1].unlink()
    SQLiteFile(str(paths[2]))
