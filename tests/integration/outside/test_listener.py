"""Writes of other programs, from their COMMIT to the invalidation of what depends on them."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import threading
from collections.abc import Iterator

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection, connections

import ormcache
from ormcache.database.database import Database
from ormcache.diagnostics.health.examination import examine
from ormcache.diagnostics.metrics.readings import process_readings
from ormcache.outside.leader import Leader
from ormcache.outside.listener import Listener
from ormcache.outside.listening import ListenerTask
from tests.integration import actors
from tests.integration.calls import printed, printed_document
from tests.integration.outside.outbox import outbox, triggers
from tests.integration.reading import ENGINE, execute, not_on_sqlite, only_sqlite
from tests.shop.models import Author, Book, Genre, LegacyStock
from tests.waiting import eventually


@contextlib.contextmanager
def listening(report=None) -> Iterator[Listener]:
    """A listener in a thread, from when it listens."""
    begun = threading.Event()

    def record(settled):
        begun.set()
        if settled is not None and report is not None:
            report(settled)

    listener = Listener("default", record)
    thread = threading.Thread(target=listener.run)
    thread.start()
    try:
        assert begun.wait(30)
        yield listener
    finally:
        listener.stop()
        thread.join(30)
        assert not thread.is_alive()
        listener.close()


def names() -> list[str]:
    return sorted(Genre.objects.values_list("name", flat=True))


def is_empty() -> bool:
    with connections["plain"].cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM ormcache_outbox")
        return cursor.fetchone() == (0,)


@not_on_sqlite
def test_a_write_is_invalidated(installed):
    settled = []
    with listening(settled.append):
        assert names() == []
        execute("INSERT INTO shop_genre (name) VALUES ('one')", using="plain")
        eventually(lambda: names() == ["one"])
        eventually(is_empty)

    assert [one.relations for one in settled] == [{"shop_genre"}]
    assert "shop_book_genres" not in settled[0].affected
    assert 0 <= settled[0].lags[0] < 60


@not_on_sqlite
def test_lags_are_counted(installed):
    def counts():
        (found,) = (one for one in process_readings() if one.alias == "default")
        return found.recorded, found.recorded_lag_seconds, found.recorded_within["+Inf"]

    names()
    before, lags = counts(), []
    with listening(lambda settled: lags.extend(settled.lags)):
        for name in ("one", "two"):
            execute("INSERT INTO shop_genre (name) VALUES (%s)", [name], using="plain")
            eventually(lambda: name in names())  # noqa: B023
        eventually(is_empty)
    after = counts()
    assert after[0] - before[0] == len(lags) == 2
    assert after[1] - before[1] == pytest.approx(sum(lags))
    document = printed_document("stats")
    assert document["recorded_writes"] == after[0]
    assert document["mean_recorded_lag"] == pytest.approx(after[1] / after[0])
    assert after[2] - before[2] == 2
    assert document["longest_recorded_lag"] >= max(lags)
    assert 0 < document["p99_recorded_lag"] <= document["longest_recorded_lag"]
    assert "of other programs, invalidated after " in printed("stats")
    assert "<dt>Recorded writes</dt>" in printed("report")


@not_on_sqlite
def test_what_was_written_while_nobody_listened(installed):
    assert names() == []
    execute("INSERT INTO shop_genre (name) VALUES ('one')", using="plain")
    assert names() == []  # stale, until somebody listens

    with listening():
        eventually(lambda: names() == ["one"])


@not_on_sqlite
def test_cascades_of_the_database(installed):
    """MySQL runs no triggers for rows that go with others: what the table reaches is invalidated with it."""
    author = Author.objects.create(name="A")
    Book.objects.create(author=author, title="B")
    execute("INSERT INTO legacy_stock (book_id, quantity) SELECT id, 1 FROM shop_book", using="plain")

    list(triggers().install(["shop_book"]))
    assert LegacyStock.objects.count() == 1
    execute("DELETE FROM shop_book", using="plain")
    assert LegacyStock.objects.count() == 1  # stale, until somebody listens
    with listening():
        eventually(lambda: LegacyStock.objects.count() == 0)


@not_on_sqlite
def test_a_break_of_the_connection(installed, caplog):
    """The listener connects again, and reads what came meanwhile."""
    begun = []

    listener = Listener("default", lambda settled: begun.append(settled) if settled is None else None)
    thread = threading.Thread(target=listener.run)
    thread.start()
    try:
        eventually(lambda: begun)
        assert names() == []
        end_other_sessions()
        execute("INSERT INTO shop_genre (name) VALUES ('one')", using="plain")
        eventually(lambda: names() == ["one"])
        assert len(begun) == 2
        assert "listening to the database 'default' failed, and is tried again: " in caplog.text
    finally:
        listener.stop()
        thread.join(30)
        listener.close()


def end_other_sessions() -> None:
    """All but the one of the alias ``plain``."""
    connection.close()
    with connections["plain"].cursor() as cursor:
        if ENGINE == "postgresql":
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE '%%ormcache_outbox%%'"
            )
        else:
            cursor.execute(
                "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
            )
            for (number,) in cursor.fetchall():
                with contextlib.suppress(Exception):
                    cursor.execute(f"KILL {number}")


@not_on_sqlite
def test_a_table_that_is_not_known(installed):
    """By its name of before: everything is invalidated."""
    assert names() == []
    execute("INSERT INTO shop_genre (name) VALUES ('one')", using="plain")
    outbox()
    execute("INSERT INTO ormcache_outbox (relation) VALUES ('long_gone')", using="plain")
    with listening():
        eventually(lambda: names() == ["one"])


@not_on_sqlite
def test_rows_stay_while_the_store_is_unavailable(installed, monkeypatch):
    assert names() == []
    execute("INSERT INTO shop_genre (name) VALUES ('one')", using="plain")
    stamps = type(connection.ormcache.known().stamps)
    renew = stamps.renew

    def fail(self, slots):
        raise ormcache.StoreUnavailable("away")

    monkeypatch.setattr(stamps, "renew", fail)
    monkeypatch.setattr("ormcache.outside.listener.RETRY_INTERVAL", 0.01)
    with listening():
        assert not is_empty()
        monkeypatch.setattr(stamps, "renew", renew)
        eventually(lambda: names() == ["one"])
        eventually(is_empty)


@not_on_sqlite
def test_a_result_of_before_that_is_stored_after_the_invalidation(installed, monkeypatch):
    """R6: its stamps were read before its query, so the invalidation has replaced them."""
    with actors.points(monkeypatch):
        reader = actors.Actor(names).to("after query")  # the database has answered, nothing is stored
        execute("INSERT INTO shop_genre (name) VALUES ('one')", using="plain")
        with listening():
            eventually(is_empty)
        assert reader.finish() == []

        assert names() == ["one"]


@not_on_sqlite
@pytest.mark.parametrize("point", ["before look_up", "after look_up", "before query", "after query", "before put"])
def test_every_moment_of_a_reader(installed, monkeypatch, point):
    with actors.points(monkeypatch):
        reader = actors.Actor(names).to(point)
        execute("INSERT INTO shop_genre (name) VALUES ('one')", using="plain")
        with listening():
            eventually(is_empty)
        reader.finish()

        assert names() == ["one"]


# The command ------------------------------------------------------------------------------


@only_sqlite
def test_there_is_nothing_to_listen_to_on_sqlite():
    with pytest.raises(CommandError, match="nothing to listen to"):
        call_command("ormcache", "listen", "--using", "default")
    with pytest.raises(CommandError, match="SQLite needs no triggers"):
        call_command("ormcache", "triggers", "install", "--using", "default")


def listen(path: str) -> None:
    """In a process of its own, until a signal ends it. ``path``: of the file for what it prints."""
    with open(path, "w", buffering=1) as out:
        call_command("ormcache", "listen", "--using", "default", stdout=out)


@not_on_sqlite
def test_a_process_that_is_killed(installed, other_process, tmp_path):
    """The next one catches up, and SIGTERM ends it cleanly."""
    first = other_process.start("tests.integration.outside.test_listener.listen", str(tmp_path / "first"))
    assert names() == []
    execute("INSERT INTO shop_genre (name) VALUES ('one')", using="plain")
    eventually(lambda: names() == ["one"])
    first.kill()

    execute("INSERT INTO shop_genre (name) VALUES ('two')", using="plain")
    out = tmp_path / "second"
    second = other_process.start("tests.integration.outside.test_listener.listen", str(out))
    eventually(lambda: names() == ["one", "two"])
    eventually(lambda: out.exists() and "listening" in out.read_text())  # and a signal has its handler
    os.kill(second.pid, signal.SIGTERM)
    assert second.result() is None


@not_on_sqlite
@pytest.mark.parametrize("form", ["text", "json", "quiet"])
def test_what_it_prints(installed, monkeypatch, form):
    execute("INSERT INTO shop_genre (name) VALUES ('one')", using="plain")
    out = io.StringIO()
    stopped = threading.Event()

    class Once(Listener):
        def __init__(self, alias, report):
            def report_and_stop(settled):
                report(settled)
                if settled is not None:
                    stopped.set()
                    self.stop()

            super().__init__(alias, report_and_stop)

    monkeypatch.setattr("ormcache.management.subcommands.listen.Listener", Once)
    options = {"text": [], "json": ["--json"], "quiet": ["--verbosity", "0"]}[form]
    call_command("ormcache", "listen", "--using", "default", *options, stdout=out)

    lines = out.getvalue().splitlines()
    if form == "text":
        assert lines[0] == "default: listening"
        assert re.fullmatch(r"default: shop_genre invalidated .+ after the write", lines[1])
    elif form == "json":
        assert [json.loads(line)["event"] for line in lines] == ["listening", "invalidated"]
    else:
        assert lines == []


# manage.py ormcache check -----------------------------------------------------------------


def findings() -> list[str]:
    (health,) = examine(["default"], rounds=1).databases
    return [finding.text for finding in health.findings if finding.about == "triggers"]


@not_on_sqlite
def test_check_says_which_tables_lack_triggers(installed):
    (text,) = findings()
    assert "without current triggers: " in text
    list(triggers().install(triggers().find([])))
    assert findings() == ["All tables that may be cached have triggers."]


@not_on_sqlite
def test_check_says_that_nobody_listens(installed, monkeypatch):
    assert not any("nobody listens" in text for text in findings())
    execute("INSERT INTO shop_genre (name) VALUES ('one')", using="plain")
    assert not any("nobody listens" in text for text in findings())
    monkeypatch.setattr("ormcache.diagnostics.health.recorded_writes.LONGEST_WAIT", 0.0)
    assert any("nobody listens" in text for text in findings())


def test_check_says_nothing_without_triggers():
    assert findings() == []


# The background thread ---------------------------------------------------------------------


@pytest.fixture
def task(monkeypatch, configure):
    one = ListenerTask()
    configure(LISTEN=True)
    yield one
    one.pause()


def databases() -> dict[str, Database]:
    connection.ensure_connection()
    return {"default": connection.ormcache.known()}


@not_on_sqlite
def test_one_process_listens(installed, task):
    other = ListenerTask()
    assert names() == []
    try:
        task.run(databases())
        other.run(databases())
        assert len(task._running) == 1
        assert not other._running
        execute("INSERT INTO shop_genre (name) VALUES ('one')", using="plain")
        eventually(lambda: names() == ["one"])
    finally:
        other.pause()


@not_on_sqlite
def test_it_ends_when_another_process_listens(installed, task, monkeypatch):
    task.run(databases())
    (running,) = task._running.values()
    monkeypatch.setattr(Leader, "leads", lambda self, database: False)
    task.run(databases())

    assert not task._running
    running.thread.join(30)
    assert not running.thread.is_alive()


@not_on_sqlite
def test_nobody_listens_without_triggers(task):
    assert task.interval(databases()) is None
    task.run(databases())
    assert not task._running


@not_on_sqlite
def test_nobody_listens_where_the_settings_say_so(installed, task, configure):
    assert task.interval(databases()) is not None
    configure(LISTEN=False)
    assert task.interval(databases()) is None
