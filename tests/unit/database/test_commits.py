"""Accounts of commits to a SQLite file: several processes and another program on one real file, step by step.

A process of the site is a connection, with its own knowledge of the file; all steps run in one thread, in every order
that a test or chance asks for.
"""

from __future__ import annotations

import errno
import os
import random
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ormcache.cache.stamps import Stamps, new_writer
from ormcache.catalog import sqlite_file
from ormcache.catalog.sqlite_file import SQLiteFile
from ormcache.database import commits as commits_module
from ormcache.database import own_commits as own_commits_module
from ormcache.database.commits import Commits
from ormcache.database.own_commits import OwnCommits
from ormcache.stores.base import MARK, STAMP, Store, decode_marks
from ormcache.stores.embedded.store import EmbeddedStore
from ormcache.write_path.commit_accounts import CommitAccounts

LEASE = 60.0


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = EmbeddedStore(tmp_path_factory.mktemp("store"), 8 * 2**20)
    yield store
    store.close()


@pytest.fixture(params=["DELETE", "WAL"])
def site(request: pytest.FixtureRequest, tmp_path: Path, store: Store) -> Iterator[Site]:
    site = Site(tmp_path / "db.sqlite3", store, request.param)
    yield site
    site.close()


class Site:
    """One file, and the relations ``a``, which ormcache writes, and ``b``, which it never does."""

    def __init__(self, path: Path, store: Store, mode: str) -> None:
        self.path, self.mode = path, mode
        self.stamps = Stamps(store, uuid.uuid4().bytes, lease=LEASE)
        self.slots = (self.stamps.slot("*"), self.stamps.slot("a"), self.stamps.slot("b"))
        self.opened: list[sqlite3.Connection] = []
        #: rows that were read → the vector that they are stored under, over all processes
        self.cache: dict[str, tuple[bytes, int]] = {}
        other = self.connect()
        other.execute(f"PRAGMA journal_mode = {mode}")
        for table in "ab":
            other.execute(f"CREATE TABLE {table} (text)")
        self.other = other  # a connection of another program
        self.outside = 0  # what it has committed

    def connect(self) -> sqlite3.Connection:
        made = sqlite3.connect(self.path, isolation_level=None, timeout=0)
        made.execute("PRAGMA synchronous = OFF")
        self.opened.append(made)
        return made

    def process(self) -> Process:
        return Process(self)

    def write_outside(self, table: str = "b") -> None:
        self.other.execute(f"INSERT INTO {table} VALUES ('outside')")
        self.outside += 1

    def held(self, slot: bytes) -> bytes | None:
        return self.stamps.store.look_up(None, [slot])[1][0]

    def close(self) -> None:
        for made in self.opened:
            made.close()
        for path in self.path.parent.glob(f"{self.path.name}*"):
            path.unlink()


class Process:
    """A process of the site."""

    def __init__(self, site: Site) -> None:
        self.site, stamps = site, site.stamps
        file = SQLiteFile(str(site.path))
        self.commits = Commits(
            file,
            str(site.path),
            stamps,
            renew=lambda: void(stamps.renew(site.slots)),
            on_outside=lambda: None,
            on_doubt=lambda: None,
        )
        self.own = OwnCommits(file, self.commits)
        self.connection = site.connect()
        self.Database, self.wrap_database_errors = sqlite3, nullcontext()
        self.accounts = CommitAccounts(self)  # type: ignore[arg-type]  # all that it asks a connection for
        self.database: Any = SimpleNamespace(
            own_commits=self.own, strict_stamps=stamps, config=SimpleNamespace(lease=LEASE)
        )

    @property
    def counts(self) -> tuple[int, int]:
        return self.commits.outside, self.commits.in_doubt

    # A write, in steps ----------------------------------------------------------------------

    def write(self, sql: str = "INSERT INTO a VALUES ('own')") -> None:
        for _ in self.steps_of_write(sql):
            pass

    def steps_of_write(self, sql: str = "INSERT INTO a VALUES ('own')", *, is_locked: bool = True) -> Iterator[str]:
        """A write to ``a``: what the write path does, with a pause after each step."""
        site, store = self.site, self.site.stamps.store
        if is_locked:
            self.connection.execute("BEGIN IMMEDIATE")
            self.connection.execute(sql)
            yield "written"
        pending, writer = self.accounts.announce(self.database, is_locked=is_locked), new_writer()
        own_slots = site.slots[1:2]
        store.mark(own_slots if pending is None else (*own_slots, pending.mark), writer, LEASE)
        yield "marked"
        if is_locked:
            self.connection.execute("COMMIT")
        else:
            with suppress(sqlite3.OperationalError):  # it is locked: then nothing is written
                self.connection.execute(sql)
        yield "committed"
        slots, last = own_slots, None
        if pending is not None:
            slots, last = self.accounts.end(self.database, pending, writer, (*own_slots, pending.mark))
        yield "judged"
        site.stamps.settle(slots, writer, last=last)

    # A read, in steps -----------------------------------------------------------------------

    def count(self, table: str) -> int:
        return int(self.connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])

    def read(self, table: str) -> bool:
        """Read, and return whether it was a hit."""
        steps = list(self.steps_of_read(table))
        return steps[-1] == "hit"

    def steps_of_read(self, table: str) -> Iterator[str]:
        """Read a table's number of rows as the read path does. What is served has to be what the file holds."""
        slots = (self.site.slots[0], self.site.slots["*ab".index(table)])
        vector = self.site.stamps.look_up(None, slots).vector if self.commits.check() else None
        stored = self.site.cache.get(table)
        if vector is not None and stored is not None and stored[0] == vector:
            assert stored[1] == self.count(table), "stale"
            yield "hit"
            return
        yield "missed"
        found = self.count(table)
        yield "queried"
        if vector is not None:
            self.site.cache[table] = vector, found
        yield "stored"


def void(_: object) -> None:
    pass


def until(steps: Iterator[str], point: str) -> None:
    """Take steps until one of them has led to this point."""
    for reached in steps:
        if reached == point:
            return
    raise AssertionError(f"{point} was not reached")


def finish(steps: Iterator[str]) -> None:
    for _ in steps:
        pass


def cached(process: Process) -> None:
    """Have both tables in the cache."""
    for table in "ab":
        process.read(table)
        process.read(table)
        assert process.read(table)


# Single orders of steps -------------------------------------------------------------------------


def test_own_writes_of_two_processes(site: Site) -> None:
    one, two = site.process(), site.process()
    cached(one)
    before = one.counts, two.commits.outside
    for number in range(6):
        (one, two)[number % 2].write()
        assert one.read("b")
        assert two.read("b")
    assert (one.counts, two.counts) == (before[0], (0, two.commits.in_doubt))
    assert two.commits.in_doubt <= 1  # when it knew nothing


def test_an_outside_write_at_each_step_of_a_write(site: Site) -> None:
    one, two = site.process(), site.process()
    for point in ("committed", "judged", "settled"):
        cached(one)
        steps = two.steps_of_write()
        if point == "settled":
            finish(steps)
        else:
            until(steps, point)
        site.write_outside("b")
        finish(steps)
        assert not one.read("b"), point
        assert not site.process().read("a")


def test_nobody_is_alone_after_an_outside_write_before_its_state_is_read(site: Site) -> None:
    one, two = site.process(), site.process()
    cached(one)
    two.write()
    steps = two.steps_of_write()
    until(steps, "committed")
    site.write_outside("b")
    before = two.counts
    finish(steps)
    assert two.counts == (before[0], before[1] + 1)


def test_a_commit_of_nothing_before_an_outside_write(site: Site) -> None:
    """The next number is the other program's."""
    one, two = site.process(), site.process()
    cached(one)
    steps = two.steps_of_write("UPDATE a SET text = 'x' WHERE text = 'nobody'")
    until(steps, "committed")
    site.write_outside("b")
    finish(steps)
    assert not one.read("b")


def test_a_commit_of_nothing_before_another_one(site: Site) -> None:
    """The next number is another process's, which settles first."""
    one, two, three = site.process(), site.process(), site.process()
    cached(one)
    three.read("b")
    two.write()
    one.read("b")
    before = one.counts
    nothing = two.steps_of_write("UPDATE a SET text = 'x' WHERE text = 'nobody'")
    until(nothing, "judged")
    three.write()
    assert one.read("b")  # the mark of who has committed nothing does not keep the state out
    finish(nothing)
    assert site.process().commits.check()
    assert one.read("b")
    assert one.counts == before


def test_a_writer_that_settles_while_it_is_judged(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not every store reads all slots at one moment."""
    one, two = site.process(), site.process()
    cached(one)
    two.write()
    before = one.counts
    steps = two.steps_of_write()
    until(steps, "judged")
    real = one.commits.look_up

    def look_up(*slots: bytes) -> list[bytes | None]:
        first = real(slots[0])
        finish(steps)
        return first + real(*slots[1:]) if slots[1:] else first

    monkeypatch.setattr(one.commits, "look_up", look_up)
    assert one.commits.check()
    assert one.counts == before


def test_a_statement_that_locks_by_itself(site: Site) -> None:
    one, two = site.process(), site.process()
    cached(one)
    before = one.counts
    steps = two.steps_of_write(is_locked=False)
    until(steps, "committed")
    assert not one.read("b")  # it is not known whose commit it is
    finish(steps)
    assert one.read("b")
    assert one.counts == before
    steps = two.steps_of_write(is_locked=False)
    until(steps, "marked")
    site.write_outside("b")
    finish(steps)
    assert not one.read("b")


@pytest.mark.parametrize("is_locked", [True, False])
def test_what_comes_is_waited_for(site: Site, monkeypatch: pytest.MonkeyPatch, is_locked: bool) -> None:
    one, two, three = site.process(), site.process(), site.process()
    cached(one)
    two.write()
    three.read("b")
    before = three.counts
    first = two.steps_of_write(is_locked=is_locked)
    until(first, "judged")
    second = three.steps_of_write()
    until(second, "committed")
    monkeypatch.setattr(own_commits_module.time, "sleep", lambda _: finish(first))
    finish(second)
    assert three.counts == before
    assert one.read("b")
    assert one.commits.outside == 0


@pytest.mark.parametrize("is_locked", [True, False])
def test_what_never_comes_is_doubt(site: Site, monkeypatch: pytest.MonkeyPatch, is_locked: bool) -> None:
    monkeypatch.setattr(own_commits_module, "LONGEST_WAIT", 0.0)
    one, two, three = site.process(), site.process(), site.process()
    cached(one)
    two.write()
    three.read("b")
    before = three.counts
    until(two.steps_of_write(is_locked=is_locked), "committed")  # and it dies
    three.write()
    assert three.counts == (before[0], before[1] + 1)
    assert not one.read("b")
    assert one.commits.outside == 0


def test_nobody_waits_for_its_own_mark(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    one, writer = site.process(), new_writer()
    site.write_outside("b")
    pending = one.own.begin(one.own.current(), 1, is_locked=False)
    assert pending is not None
    site.stamps.store.mark([pending.mark], writer, LEASE)
    monkeypatch.setattr(own_commits_module.time, "sleep", lambda _: pytest.fail("it waits"))
    assert not one.own._has_come(pending, writer)


def test_who_invalidates_everything_accounts_for_it(site: Site) -> None:
    one, two = site.process(), site.process()
    site.write_outside("b")
    one.own.invalidate()
    assert one.counts == (0, 1)
    assert two.commits.check()
    assert two.counts == (0, 0)


def test_own_marks_are_none_of_others(site: Site) -> None:
    """Who has found a state that nobody accounts for does not wait for itself."""
    one, two = site.process(), site.process()
    cached(one)
    site.write_outside("b")
    two.write()
    assert two.commits.in_doubt == 1
    assert not one.read("b")


def test_a_state_that_was_not_accounted_for_is_not_taken_over(site: Site) -> None:
    one, two = site.process(), site.process()
    cached(one)
    two.write()
    site.write_outside("b")
    two.write()
    assert not one.read("b")


def test_a_known_state_is_taken_over(site: Site) -> None:
    one, two = site.process(), site.process()
    cached(one)
    one.write()
    two.write()  # it has never looked, and finds the state in its slot
    assert two.counts == (0, 0)
    assert one.read("b")


def test_what_is_marked_is_not_judged_until_its_writer_is_given_up(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = site.process(), site.process()
    cached(one)
    before = one.counts
    until(two.steps_of_write(), "committed")
    for _ in range(2):
        assert not one.commits.check()
    monkeypatch.setattr(commits_module, "PATIENCE", -1.0)
    assert one.commits.check()
    assert one.counts == (before[0], before[1] + 1)
    assert not one.read("b")
    assert site.process().commits.check()


def test_patience_begins_anew_with_each_state(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, three = site.process(), site.process(), site.process()
    cached(one)
    now = 1000.0
    monkeypatch.setattr(commits_module.time, "monotonic", lambda: now)
    until(two.steps_of_write(), "committed")
    assert not one.commits.check()
    until(three.steps_of_write(), "committed")
    now += commits_module.PATIENCE + 1
    assert not one.commits.check()
    now += commits_module.PATIENCE + 1
    assert one.commits.check()


def test_a_lost_slot_is_doubt_and_no_alarm(site: Site) -> None:
    one, two = site.process(), site.process()
    cached(one)
    two.write()
    assert one.commits.seen is not None
    assert two.commits.seen is not None
    site.stamps.store.clear_slots([one.commits.slot(seen.state) for seen in (one.commits.seen, two.commits.seen)])
    assert not one.read("b")
    assert one.commits.outside == 0


def test_what_was_written_while_the_store_was_away_is_no_alarm(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = site.process(), site.process()
    cached(one)
    two.connection.execute("INSERT INTO a VALUES ('unannounced')")
    monkeypatch.setattr(site.stamps.store, "outage_count", site.stamps.store.outage_count + 1)
    assert not one.read("b")
    assert one.commits.outside == 0


def test_an_outside_write_is_an_alarm(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    one, two = site.process(), site.process()
    cached(one)
    two.write()
    assert one.read("b")
    site.write_outside("b")
    caplog.clear()
    assert not one.read("b")
    assert one.commits.outside == 1
    assert "another program has written" in caplog.text
    assert site.process().read("a") is False
    assert one.read("b")


def test_doubt_is_not_logged(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    one = site.process()
    site.write_outside("b")
    one.write()
    assert one.commits.in_doubt == 1
    assert "another program" not in caplog.text


def test_have_moved(site: Site) -> None:
    one = site.process()
    cached(one)
    assert not one.commits.have_moved()
    site.write_outside("b")
    assert one.commits.have_moved()
    assert not one.commits.have_moved()


def test_a_commit_that_fails_is_none(site: Site) -> None:
    one, two = site.process(), site.process()
    two.connection.execute("PRAGMA foreign_keys = ON")
    site.other.execute("CREATE TABLE c (id INTEGER PRIMARY KEY, c REFERENCES c DEFERRABLE INITIALLY DEFERRED)")
    two.read("b")
    cached(one)
    before = one.counts
    two.connection.execute("BEGIN IMMEDIATE")
    two.connection.execute("INSERT INTO c VALUES (1, 99)")
    with pytest.raises(sqlite3.IntegrityError):
        two.accounts.run(two.database, lambda: two.connection.execute("COMMIT"), is_locked=True)
    assert one.commits.seen is not None
    marks = map(site.held, (one.commits.mark(one.commits.seen.state, 1), one.commits.any_mark))
    assert not any(map(decode_marks, marks))
    two.connection.execute("ROLLBACK")
    assert one.read("b")
    assert (one.counts, two.commits.outside) == (before, 0)


def test_a_refused_statement_is_rolled_back(site: Site) -> None:
    one = site.process()

    def refuse(commit: Callable[[], None]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        one.accounts.run_statement(lambda: one.connection.execute("INSERT INTO a VALUES (1)"), refuse)
    assert not one.connection.in_transaction
    assert one.count("a") == 0


def test_what_sqlite_said_on_another_connection_counts_no_more(site: Site) -> None:
    one = site.process()
    cached(one)
    for _ in range(3):
        site.write_outside("b")  # so that the next connection begins with another number
    one.write()
    one.write()
    one.accounts.close(one.database)
    one.connection.close()
    one.connection = site.connect()
    before = one.counts
    one.write()
    assert one.counts == before


def test_what_is_written_of_a_commit_that_is_undone(tmp_path: Path, store: Store) -> None:
    """A rollback journal: SQLite writes the next number to the file before another program's commit is complete."""
    site = Site(tmp_path / "db.sqlite3", store, "DELETE")
    one = site.process()
    cached(one)
    pending = one.own.begin(one.own.current(), 1, is_locked=True)
    assert pending is not None
    file = os.open(site.path, os.O_RDWR)  # closed at the end: that drops SQLite's locks
    header = os.pread(file, 100, 0)
    number = int.from_bytes(header[24:28], "big")
    site.other.execute("BEGIN IMMEDIATE")
    site.other.execute("INSERT INTO b VALUES ('outside')")
    os.pwrite(file, (number + 1).to_bytes(4, "big"), 24)

    assert one.own.end(pending, new_writer(), lambda: None) is None  # SQLite does not say whose it is

    def undo() -> int:
        os.pwrite(file, header[24:28], 24)
        site.other.execute("ROLLBACK")
        return 1

    ended = one.own.end(pending, new_writer(), undo)
    assert ended is not None
    assert (ended[0].state.number, ended[1]) == (number, False)
    site.close()
    os.close(file)


def test_a_transaction_larger_than_the_cache(site: Site) -> None:
    """SQLite writes of it before the COMMIT, but not the number."""
    one, two = site.process(), site.process()
    cached(one)
    two.read("b")
    before = one.counts, two.counts
    two.connection.execute("PRAGMA cache_size = 1")
    size = site.path.stat().st_size
    wal = site.path.with_name(f"{site.path.name}-wal")
    rows = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n LIMIT 500) SELECT printf('%900d', n) FROM n"
    steps = two.steps_of_write(f"INSERT INTO a {rows}")
    until(steps, "written")
    written = wal if site.mode == "WAL" else site.path
    assert written.stat().st_size > size + 100_000
    assert two.own.current() is not None
    finish(steps)
    assert one.read("b")
    assert (one.counts, two.counts) == before


def test_wal_while_no_connection_is_open(tmp_path: Path, store: Store) -> None:
    site = Site(tmp_path / "db.sqlite3", store, "WAL")
    one = site.process()
    cached(one)
    one.write()
    site.other.close()
    before = one.counts
    one.accounts.close(one.database)
    one.connection.close()
    assert one.commits.check()
    one.connection = site.connect()
    one.write()  # whose state before is the one at rest
    assert one.commits.check()
    assert one.counts == before
    one.accounts.close(one.database)
    one.connection.close()
    with closing(sqlite3.connect(site.path)) as other:
        other.execute("INSERT INTO b VALUES ('outside')")
        other.commit()
    one.connection = site.connect()
    one.read("b")
    assert sum(one.counts) == sum(before) + 1
    site.close()


# A disk that fails, and files that are busy -----------------------------------------------------


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], int]:
    """Have the disk fail at each read of a state, or not any more. Returns 1."""

    def switch(fails: bool) -> int:
        def pread(*_: int) -> bytes:
            raise OSError(errno.EIO, "the disk has failed")

        monkeypatch.setattr(sqlite_file.os, "pread", pread if fails else real)
        return 1

    real = os.pread
    return switch


def test_a_file_that_cannot_be_read_is_unknown(site: Site, fail: Callable[[bool], int]) -> None:
    one = site.process()
    cached(one)
    fail(True)
    assert not one.commits.check()
    assert one.commits.have_moved()
    assert not one.read("b")
    one.own.invalidate()
    one.accounts.close(one.database)
    fail(False)
    site.write_outside("b")
    assert not one.read("b")


def test_a_write_to_a_file_that_cannot_be_read(site: Site, fail: Callable[[bool], int]) -> None:
    one, two = site.process(), site.process()
    cached(one)
    fail(True)
    two.write()
    fail(False)
    assert not one.read("a")
    before = one.counts
    for point in ("marked", "committed"):
        cached(one)
        steps = two.steps_of_write()
        until(steps, point)
        fail(True)
        finish(steps)
        fail(False)
        assert not one.read("a")
        assert not one.commits.check()  # the mark is left
        assert one.counts == before
        two.own.invalidate()
        assert one.commits.check()


def test_nobody_is_alone_if_the_file_cannot_be_read_again(
    tmp_path: Path, store: Store, fail: Callable[[bool], int]
) -> None:
    site = Site(tmp_path / "db.sqlite3", store, "DELETE")
    one = site.process()
    cached(one)
    pending = one.own.begin(one.own.current(), 1, is_locked=True)
    assert pending is not None
    one.connection.execute("INSERT INTO a VALUES ('own')")
    assert one.own.end(pending, new_writer(), lambda: fail(True)) is None
    fail(False)
    site.close()


def test_what_is_committed_after_the_question_is_not_in_the_state(wal: Site) -> None:
    """WAL: what was read of the index was committed, so it is read once."""
    one, two = wal.process(), wal.process()
    cached(one)
    pending = one.own.begin(one.own.current(), 1, is_locked=True)
    assert pending is not None
    one.connection.execute("INSERT INTO a VALUES ('own')")
    ended = one.own.end(pending, new_writer(), lambda: (wal.write_outside("b"), 1)[1])
    assert ended is not None
    assert ended[1]
    assert ended[0].state.number == pending.before.number + 1
    assert not two.read("b")


def test_a_commit_that_is_under_way_is_waited_for(tmp_path: Path, store: Store, monkeypatch: Any) -> None:
    site = Site(tmp_path / "db.sqlite3", store, "DELETE")
    one, two = site.process(), site.process()
    site.other.execute("BEGIN IMMEDIATE")
    site.other.execute("INSERT INTO b VALUES ('outside')")
    assert not one.commits.check()
    monkeypatch.setattr(own_commits_module.time, "sleep", lambda _: site.other.execute("COMMIT"))
    one.own.invalidate()
    assert two.commits.check()
    assert (one.counts, two.counts) == ((0, 1), (0, 0))
    site.close()


# What single rules are for ----------------------------------------------------------------------


def test_the_state_that_was_seen_last_is_not_looked_up(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    one = site.process()
    cached(one)
    monkeypatch.setattr(one.commits, "look_up", lambda *_: pytest.fail("it is looked up"))
    one.write()
    one.write()


def test_a_doubtful_state_is_put_into_its_slot_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = site.process(), site.process()
    cached(one)
    site.write_outside("b")
    monkeypatch.setattr(two.commits, "publish", lambda *_: pytest.fail("with a question of its own"))
    two.write()
    assert one.commits.check()


def test_who_knows_the_number_marks_no_other(site: Site) -> None:
    one, two = site.process(), site.process()
    cached(one)
    until(two.steps_of_write(), "marked")
    two.connection.close()  # it dies
    site.write_outside("b")
    assert not one.commits.check()
    site.write_outside("b")
    assert one.commits.check()
    assert not one.read("b")


def test_who_has_looked_at_nothing_cannot_say_that_nothing_has_moved(site: Site) -> None:
    assert site.process().commits.have_moved()


def test_an_outside_write_while_sqlite_is_asked(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite counts it as one from before: so the state is looked at once more."""
    one, two = site.process(), site.process()
    cached(one)
    two.read("b")
    real, outside = two.accounts._version, [site.write_outside]

    def version() -> Any:
        while outside:
            outside.pop()("b")
        return real()

    monkeypatch.setattr(two.accounts, "_version", version)
    finish(two.steps_of_write(is_locked=False))
    assert not outside
    assert not one.read("b")


def test_what_sqlite_does_not_answer_is_unknown(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = site.process(), site.process()
    cached(one)
    two.read("b")
    monkeypatch.setattr(two.accounts, "_version", lambda: None)
    steps = two.steps_of_write(is_locked=False)
    until(steps, "marked")
    site.write_outside("b")
    finish(steps)
    assert not one.read("b")


def test_everything_is_invalidated_before_a_state_counts_as_known(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = site.process(), site.process()
    cached(one)
    site.write_outside("b")
    monkeypatch.setattr(two.commits, "_renew", lambda: pytest.fail("known") if one.read("b") else None)
    monkeypatch.setattr(one.commits, "_judge", lambda: stands(one))

    def stands(process: Process) -> bool:
        seen = process.commits._file.read()
        assert seen is not None
        return commits_module.stands_for(process.commits.look_up(process.commits.slot(seen.state))[0], seen.state)

    assert two.commits.check()


def test_a_full_store_is_no_alarm(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    one = site.process()
    cached(one)
    site.write_outside("b")
    monkeypatch.setattr(type(site.stamps.store), "is_full", True)
    before = one.counts
    assert one.commits.check()
    assert one.counts == (before[0], before[1] + 1)


def test_only_the_state_itself_stands_for_it(site: Site) -> None:
    one = site.process()
    assert one.commits.check()
    assert one.commits.seen is not None
    state = one.commits.seen.state
    assert commits_module.stands_for(STAMP + state.encode(), state)
    later = state._replace(number=state.number + commits_module.SLOTS)  # in the same slot
    for held in (None, b"", MARK + state.encode(), STAMP + later.encode(), state.encode()):
        assert not commits_module.stands_for(held, state)


# WAL: programs that are killed, or hold the file while others close it ---------------------------


#: Another program: keeps a connection open, on which it has read
HOLDS = "{}; made.execute('SELECT * FROM a').fetchall(); print('open', flush=True); sys.stdin.read()"
OPENS = "import os, sqlite3, sys; made = sqlite3.connect(sys.argv[1], isolation_level=None)"


@contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another program in a process of its own, with a connection, until it is killed at the end."""
    program = [sys.executable, "-c", HOLDS.format(OPENS), str(path)]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as held:
        assert held.stdout is not None
        try:
            assert held.stdout.readline() == "open\n"
            yield held
        finally:
            held.kill()


@pytest.fixture
def wal(tmp_path: Path, store: Store) -> Iterator[Site]:
    site = Site(tmp_path / "db.sqlite3", store, "WAL")
    yield site
    site.close()


def left_by_the_killed(site: Site, one: Process) -> None:
    """Have nobody connected, and the files of WAL mode left by a program that was killed while it was alone."""
    with holder(site.path):
        site.other.close()
        one.connection.close()
    assert site.path.with_name(f"{site.path.name}-shm").exists()


def test_numbers_that_begin_anew_are_no_alarm(wal: Site) -> None:
    """Who opens what a killed program has left makes the index anew, in the same file: it counts from 0."""
    one = wal.process()
    one.write()
    cached(one)
    before = one.counts
    left_by_the_killed(wal, one)
    one.connection = wal.connect()
    one.count("b")
    assert not one.read("b")
    assert one.counts == (before[0], before[1] + 1)


def test_a_number_that_another_program_reaches_anew(wal: Site) -> None:
    """The same number, and a log that has begun anew: as if nothing had been committed."""
    one = wal.process()
    one.write()
    one.write()
    cached(one)
    assert one.commits.seen is not None
    number = one.commits.seen.state.number
    left_by_the_killed(wal, one)
    file, other = SQLiteFile(str(wal.path)), wal.connect()
    while (seen := file.read()) is None or seen.state.number != number:
        other.execute("INSERT INTO b VALUES ('outside')")
    other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    one.connection = wal.connect()
    assert not one.read("b")


def test_an_index_of_nothing_stands_for_what_the_database_holds(wal: Site) -> None:
    one = wal.process()
    with holder(wal.path):
        wal.other.close()
        one.connection.close()
        # The last one to close it deletes the index.
    with closing(sqlite3.connect(wal.path)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    one.connection = wal.connect()
    one.count("a")
    cached(one)
    assert one.commits.seen is not None
    assert one.commits.seen.state.number == 0
    left_by_the_killed(wal, one)
    writes = f"{OPENS}; made.execute('INSERT INTO b VALUES (1)')"
    kills = f"{writes}; made.execute('PRAGMA wal_checkpoint(TRUNCATE)').fetchall(); os._exit(9)"
    assert subprocess.run([sys.executable, "-c", kills, wal.path], check=False).returncode == 9
    one.connection = wal.connect()
    one.count("a")
    assert not one.read("b")


@pytest.mark.parametrize("kind", ["RESTART", "TRUNCATE"])
def test_a_log_that_begins_anew_is_no_commit(wal: Site, kind: str) -> None:
    one, two = wal.process(), wal.process()
    cached(one)
    one.write()
    cached(one)
    before = one.counts
    for _ in range(3):
        wal.other.execute(f"PRAGMA wal_checkpoint({kind})")
        assert one.read("b")
        assert two.commits.check()
        two.write()
        assert one.read("b")
    assert (one.counts, two.counts) == (before, (0, 0))


def test_who_opens_a_file_that_is_accounted_for_at_rest(wal: Site) -> None:
    one, two = wal.process(), wal.process()
    one.write()
    cached(one)
    before = one.counts
    two.connection.close()
    wal.other.close()
    one.accounts.close(one.database)
    one.connection.close()
    one.connection = wal.connect()
    one.count("b")
    assert one.read("b")
    assert one.counts == before


def test_a_file_that_was_written_at_rest_is_doubt(wal: Site) -> None:
    """By whom is not known: also one of ormcache's own processes may not have accounted for it."""
    one, two = wal.process(), wal.process()
    cached(one)
    wal.other.close()
    two.connection.close()
    one.accounts.close(one.database)
    one.connection.close()
    assert one.commits.check()
    before = one.counts
    with closing(sqlite3.connect(wal.path)) as other:
        other.execute("INSERT INTO b VALUES ('outside')")
        other.commit()
    assert one.commits.check()
    assert one.counts == (before[0], before[1] + 1)


def test_what_is_committed_while_a_connection_is_closed_is_not_accounted_for(wal: Site) -> None:
    one = wal.process()
    cached(one)
    one.write()
    cached(one)
    before = sum(one.counts)

    def checkpoint() -> None:
        wal.write_outside("b")
        one.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    one.own.rest(checkpoint)
    one.connection.close()
    wal.other.close()
    one.connection = wal.connect()
    assert not one.read("b")
    assert sum(one.counts) == before + 1


def test_what_is_not_accounted_for_is_not_when_a_connection_is_closed(wal: Site) -> None:
    one, two = wal.process(), wal.process()
    cached(one)
    wal.write_outside("b")
    for process in (one, two):  # the one has seen another state, and the other one none
        process.accounts.close(process.database)
        process.connection.close()
    wal.other.close()
    one.connection = wal.connect()
    assert not one.read("b")


def test_a_connection_that_is_closed_writes_the_log_only_where_that_is_needed(wal: Site) -> None:
    one, asked = wal.process(), []
    cached(one)
    one.write()
    with holder(wal.path):
        one.own.rest(lambda: asked.append("beside another process"))
    assert asked == []
    one.own.rest(lambda: asked.append("alone"))
    assert asked == ["alone"]
    one.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    one.own.rest(lambda: asked.append("of nothing"))
    assert asked == ["alone"]


def test_a_connection_to_a_rollback_journal_is_closed(tmp_path: Path, store: Store) -> None:
    site = Site(tmp_path / "db.sqlite3", store, "DELETE")
    one = site.process()
    cached(one)
    one.own.rest(lambda: pytest.fail("there is no log"))
    site.close()


# By chance --------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
def test_by_chance(tmp_path: Path, store: Store, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the order: nothing stale is served, and there is no alarm but after an outside write."""
    monkeypatch.setattr(own_commits_module, "LONGEST_WAIT", 0.0)
    hits = alarms = doubts = 0
    for seed in range(60):
        site = Site(tmp_path / f"{seed}.sqlite3", store, mode)
        found = run_by_chance(site, random.Random(seed))
        hits, alarms, doubts = hits + found[0], alarms + found[1], doubts + found[2]
        site.close()
    assert hits > 100
    assert alarms > 20
    assert doubts > 5


def run_by_chance(site: Site, chosen: random.Random) -> tuple[int, int, int]:
    writes_outside, dies = chosen.random() < 0.6, chosen.random() < 0.3
    processes = [site.process() for _ in range(3)]
    under_way: dict[Process, Iterator[str]] = {}
    hits = 0
    for _ in range(80):
        if writes_outside and chosen.random() < 0.05:
            with suppress(sqlite3.OperationalError):  # it is locked
                site.write_outside(chosen.choice("ab"))
            continue
        process = chosen.choice(processes)
        steps = under_way.get(process)
        if steps is None:
            kind = chosen.random()
            if kind < 0.6:
                steps = process.steps_of_read(chosen.choice("ab"))
            else:
                sql = chosen.choice(
                    ["INSERT INTO a VALUES ('own')", "UPDATE a SET text = 'own'", "DELETE FROM a WHERE text = 'nobody'"]
                )
                steps = process.steps_of_write(sql, is_locked=kind < 0.9)
            under_way[process] = steps
        try:
            hits += next(steps) == "hit"
            if dies and chosen.random() < 0.02:
                process.connection.close()
                processes[processes.index(process)] = site.process()
                del under_way[process]
        except StopIteration:
            del under_way[process]
        except sqlite3.OperationalError:  # it is locked
            del under_way[process]
            process.connection.close()
            processes[processes.index(process)] = site.process()
    alarms = sum(process.commits.outside for process in processes)
    if not site.outside:
        assert not alarms
    return hits, alarms, sum(process.commits.in_doubt for process in processes)
