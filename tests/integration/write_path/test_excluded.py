"""Writes to tables that one deploy excludes from the cache, and another one caches."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pytest
from django.db import connections, models, transaction

import ormcache
from ormcache.background import excluded_marks
from ormcache.background.worker import worker
from ormcache.exceptions import StoreUnavailable
from ormcache.stores.base import Store
from tests.integration.calls import names, run
from tests.integration.reading import (
    ENGINE,
    model_of,
    not_on_sqlite,
    only_mysql,
    only_postgresql,
    only_sqlite,
    rows_of,
)
from tests.integration.stores.test_end_to_end import SHARED, STORES
from tests.process import stop
from tests.shop.models import Author, Book
from tests.waiting import eventually

#: The alias whose settings exclude the table of authors
OLD = "excluding"


@pytest.fixture
def deploys(configure, monkeypatch) -> Iterator[None]:
    """Two aliases of one database, as two deploys have them: ``default`` caches authors, ``excluding`` does not.

    No mark follows a write here, unless a test shortens the interval.
    """
    configure(LOCAL_SIZE=0)
    worker.reset()
    monkeypatch.setattr(excluded_marks, "INTERVAL", 3600.0)
    given = {key: value for key, value in connections.settings["default"].items() if key != "TEST"}
    given["ORMCACHE"] = {**given["ORMCACHE"], "BLACKLIST": ["shop.Author"]}
    connections.settings[OLD] = connections.configure_settings({"default": given})["default"]
    Author.objects.using("plain").create(name="0")
    for alias in ("default", OLD):
        Author.objects.using(alias).count()  # it invalidates everything when it has got to know these settings
    yield
    # Or the thread would mark the table in the store of a later test.
    if connections[OLD].ormcache.known() is not None:
        excluded()._written.clear()
    worker.reset()
    connections[OLD].close()
    with contextlib.suppress(AttributeError):
        delattr(connections._connections, OLD)
    del connections.settings[OLD]


def excluded():
    return connections[OLD].ormcache.known().excluded


def rename(to: str) -> None:
    Author.objects.using(OLD).update(name=to)


def rename_atomically(to: str) -> None:
    with transaction.atomic(using=OLD):
        rename(to)
        assert names() != [to] or ENGINE == "sqlite"


def rename_and_cascade(to: str) -> None:
    """In one transaction with a write to a table that is cached."""
    with transaction.atomic(using=OLD):
        rename(to)
        Book.objects.using(OLD).update(title=to)


def rename_by_autocommit(to: str) -> None:
    """On MySQL that is no COMMIT."""
    connections[OLD].set_autocommit(False)
    rename(to)
    if ENGINE != "mysql":
        connections[OLD].commit()
    connections[OLD].set_autocommit(True)


WRITES = [rename, rename_atomically, rename_and_cascade, rename_by_autocommit]


def assert_current(queries, expected: str) -> None:
    """It is read from the database twice: what it has returned is not stored."""
    for _ in range(2):
        with queries(1):
            assert names() == [expected]


def let_marks_run_out() -> None:
    """As a lease does that ends, and as the thread that marks does not."""
    database = connections[OLD].ormcache.known()
    database.stamps.store.strict.clear_slots(database.slots.names(frozenset({relation()})))


def relation() -> str:
    """The table of authors, by its name in the catalog."""
    connection = connections[OLD]
    plan = connection.ormcache_writes._planner.plan(connection.ormcache.known(), "UPDATE shop_author SET name = 'x'")
    (found,) = plan.excluded_writes
    return found


def cache_it(queries, expected: str) -> None:
    """Read until it is a hit: a process that gets to know the database meanwhile invalidates everything once."""

    def is_hit() -> bool:
        with queries() as seen:
            assert names() == [expected]
        return not seen

    eventually(is_hit)


@pytest.mark.parametrize("write", WRITES)
def test_a_write_invalidates_what_another_deploy_has_cached(deploys, queries, write):
    for turn in range(2):
        cache_it(queries, str(turn))
        write(str(turn + 1))
        assert_current(queries, str(turn + 1))
        let_marks_run_out()
        excluded()._marks.clear()  # as time does as well


def test_it_is_marked_before_it_is_visible(deploys, queries):
    cache_it(queries, "0")

    def write() -> None:
        Author.objects.using("plain").update(name="1")
        assert_current(queries, "1")

    invalidator = connections[OLD].ormcache_writes._invalidator
    invalidator.run_excluded(connections[OLD].ormcache.known(), write, frozenset({relation()}))


def test_while_it_is_marked_no_write_is_missed(deploys, queries):
    cache_it(queries, "0")
    for turn in range(1, 4):
        rename(str(turn))
        assert_current(queries, str(turn))


def test_many_writes_ask_the_store_once(deploys, monkeypatch):
    calls = []
    writer = threading.current_thread()

    def recorded(name, real):
        def call(*args):
            if threading.current_thread() is writer:  # the background thread marks as well
                calls.append(name)
            return real(*args)

        return call

    for name in ("look_up", "fill_slots", "mark", "settle"):
        monkeypatch.setattr(Store, name, recorded(name, getattr(Store, name)))
    excluded()._marks.clear()
    for turn in range(20):
        rename(str(turn))
    assert [call for call in calls if call != "mark"] == []
    assert 1 <= len(calls) <= 3  # another one for each two seconds that this takes


def test_a_write_is_marked_again_before_long(deploys, queries, monkeypatch):
    """If the store has lost the mark, that is how what was stored meanwhile ends."""
    monkeypatch.setattr(excluded_marks, "INTERVAL", 0.2)
    rename("1")
    let_marks_run_out()
    cache_it(queries, "1")
    rename("2")  # it relies on the mark that is gone
    eventually(lambda: names() == ["2"])
    assert_current(queries, "2")


def test_it_is_cached_again_when_its_last_writer_has_been_silent_for_a_lease(deploys, monkeypatch):
    monkeypatch.setattr(excluded(), "_lease", 0.05)
    monkeypatch.setattr(excluded(), "_relied_on", 0.05)
    rename("1")

    def is_cached() -> bool:
        before = ormcache.stats("default")["hits"]
        assert names() == ["1"]
        return ormcache.stats("default")["hits"] > before

    eventually(is_cached)


def test_a_statement_that_takes_longer_than_the_lease(deploys, monkeypatch, queries):
    monkeypatch.setattr(excluded(), "_lease", 0.0)  # each mark may have run out after any statement
    database = connections[OLD].ormcache.known()

    def run_slowly() -> None:
        let_marks_run_out()
        cache_it(queries, "0")
        Author.objects.using("plain").update(name="1")

    connections[OLD].ormcache_writes._invalidator.run_excluded(database, run_slowly, frozenset({relation()}))
    assert names() == ["1"]


@pytest.mark.parametrize("on_outage", ["proceed", "refuse"])
def test_while_the_store_is_away_it_is_written_and_marked_afterwards(
    configure, request, queries, monkeypatch, on_outage
):
    configure(ON_OUTAGE=on_outage)
    request.getfixturevalue("deploys")
    cache_it(queries, "0")
    with monkeypatch.context() as away:

        def unavailable(*_: object) -> None:
            raise StoreUnavailable("away")

        away.setattr(Store, "mark", unavailable)
        away.setattr(Store, "settle", unavailable)
        rename("1")
        assert relation() in connections[OLD].ormcache.known().pending.relations
    eventually(lambda: not connections[OLD].ormcache.known().pending.relations)
    assert_current(queries, "1")


def test_what_is_rolled_back_marks_nothing(deploys, queries):
    cache_it(queries, "0")
    with pytest.raises(RuntimeError), transaction.atomic(using=OLD):
        rename("1")
        raise RuntimeError
    with queries(0):
        assert names() == ["0"]
    assert not connections[OLD].ormcache_writes.transaction.excluded


@only_postgresql
@pytest.mark.parametrize("begun", [False, True])
def test_copy(deploys, queries, begun):
    cache_it(queries, "0")
    with transaction.atomic(using=OLD) if begun else contextlib.nullcontext(), connections[OLD].cursor() as cursor:
        cursor.execute("SELECT 1")
        with cursor.copy("COPY shop_author (id, name, active) FROM STDIN") as copy:
            copy.write_row((1_000_000, "1", True))
    assert names() == ["0", "1"]
    with queries(1):
        assert names() == ["0", "1"]


@only_mysql
def test_a_statement_that_commits(deploys, queries):
    cache_it(queries, "0")
    connections[OLD].set_autocommit(False)
    rename("1")
    run("ANALYZE TABLE shop_review", using=OLD)  # commits
    assert names() == ["1"]
    connections[OLD].rollback()
    connections[OLD].set_autocommit(True)


@not_on_sqlite
def test_truncate(deploys, queries):
    cache_it(queries, "0")
    table = "shop_author CASCADE" if ENGINE == "postgresql" else "shop_author"
    checks = ["SET FOREIGN_KEY_CHECKS = 0"] if ENGINE == "mysql" else []
    for sql in [*checks, f"TRUNCATE TABLE {table}"]:
        run(sql, using=OLD)
    assert names() == []


@only_sqlite
def test_the_levels_that_remember_stamps_rely_on_no_mark(configure, request):
    configure(CONSISTENCY="request")
    request.getfixturevalue("deploys")
    rename("1")
    with ormcache.as_request():
        let_marks_run_out()
        assert names() == names() == ["1"]
        rename("2")
        assert names() == ["2"]


def test_invalidate_reaches_those_who_cache_it(deploys, queries):
    cache_it(queries, "0")
    Author.objects.using("plain").update(name="1")
    ormcache.invalidate(Author, using=OLD)
    assert names() == ["1"]


@only_sqlite
def test_a_schema_change_meanwhile_is_noticed_with_the_next_mark(deploys, queries, ddl):
    """What a statement of an outdated plan sets off is not known."""
    rename("1")
    excluded()._marks.clear()
    ddl("CREATE TABLE shouts (id integer PRIMARY KEY, name varchar(50))", "DROP TABLE shouts")
    ddl(
        "CREATE TRIGGER shout AFTER UPDATE ON shop_author BEGIN INSERT INTO shouts (name) VALUES (new.name); END",
        "DROP TRIGGER shout",
    )

    shouts = rows_of(model_of("shouts", name=models.CharField(max_length=50)))
    assert shouts("default") == shouts("default") == []
    rename("2")
    assert shouts("default") == [(1, "2")]


@pytest.mark.parametrize("store", SHARED)
def test_a_schema_change_that_adds_nothing_is_no_outage(configure, request, ddl, store):
    configure(**STORES[store])
    request.getfixturevalue("deploys")
    rename("1")
    excluded()._marks.clear()
    ddl("CREATE TABLE unrelated (id integer)", "DROP TABLE unrelated")
    rename("2")
    assert connections[OLD].ormcache.database.stamps.store.outage_count == 0
    assert names() == ["2"]


# Two processes ------------------------------------------------------------------------------


@pytest.mark.parametrize("store", SHARED)
def test_two_deploys_back_and_forth(configure, queries, other_process, store):
    """The table is on the list of the old deploy, then on that of the new one."""
    configure(**STORES[store], LOCAL_SIZE=0, BLACKLIST=["shop.Author"])
    Author.objects.using("plain").create(name="0")
    old = other_process.start(f"{__name__}.write_in_steps", stops=["begun", "once"])
    configure(BLACKLIST=[])
    old.wait_for("begun")
    cache_it(queries, "0")
    old.go()
    old.wait_for("once")
    assert_current(queries, "once")
    old.go()
    old.result()
    assert_current(queries, "twice")


def write_in_steps() -> None:
    """One write, and another one that relies on its mark."""
    Author.objects.count()
    stop("begun")
    Author.objects.update(name="once")
    stop("once")
    Author.objects.update(name="twice")
