"""However a transaction begins and ends: what it has written is seen by everybody, and what it undid by nobody."""

from __future__ import annotations

import contextlib
import threading
import time

import pytest
from django.db import DatabaseError, IntegrityError, connection, connections, transaction
from django.db.backends.signals import connection_created
from django.test import Client, override_settings
from django.urls import path

import ormcache
from ormcache import reasons
from tests import environment
from tests.integration import actors
from tests.integration.actors import Actor
from tests.integration.calls import add, genres, is_cached, kill, leftovers, names, run, session_id
from tests.shop.models import Author, Book, Genre
from tests.waiting import eventually

ENGINE = environment.current().engine
HERE = "tests.integration.write_path.test_transactions"
NAMES = "tests.integration.calls.names"

pytestmark = pytest.mark.usefixtures("interleaved")


@pytest.fixture
def everywhere():
    """``everywhere()``: the names, once they are the same for all: this connection, another one and the database."""

    def read(function=names):
        expected = function("plain")
        assert function() == expected
        assert function() == expected
        assert Actor(function).finish() == expected
        return expected

    return read


def only_on(*engines):
    """A test of what only these engines have."""
    return pytest.mark.skipif(ENGINE not in engines, reason=f"{ENGINE} has no such thing")


def bypassed(reason):
    return connection.ormcache.observer.counters.snapshot()["bypassed"].get(reason, 0)


def rejected(reason):
    return connection.ormcache.observer.counters.snapshot()["rejected"].get(reason, 0)


# Endings ------------------------------------------------------------------------------


def test_commit(everywhere):
    names()
    with transaction.atomic():
        Author.objects.create(name="A")
    assert everywhere() == ["A"]


def test_rollback_tells_nothing_to_the_store(everywhere, queries):
    names()
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        Author.objects.create(name="A")
        assert names() == ["A"]
        raise ZeroDivisionError
    with queries(0):
        assert names() == []
    assert everywhere() == []


def test_set_rollback(everywhere):
    names()
    with transaction.atomic():
        Author.objects.create(name="A")
        transaction.set_rollback(True)
    assert everywhere() == []


def test_nested_blocks_and_a_rollback_to_a_savepoint(everywhere):
    names(), genres()
    with transaction.atomic():
        Author.objects.create(name="A")
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            Author.objects.create(name="B")
            Genre.objects.create(name="G")
            raise ZeroDivisionError
        assert names() == ["A"]
        assert genres() == []
        assert Actor(genres).finish() == []
    assert everywhere() == ["A"]
    assert everywhere(genres) == []


def test_all_but_the_savepoint_is_undone(everywhere):
    names()
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        with transaction.atomic():
            Author.objects.create(name="A")
        raise ZeroDivisionError
    assert everywhere() == []


def test_a_nested_block_without_savepoint(everywhere):
    names()
    with transaction.atomic():
        Author.objects.create(name="A")
        with transaction.atomic(savepoint=False):
            Author.objects.create(name="B")
    assert everywhere() == ["A", "B"]


def test_savepoints_by_hand(everywhere):
    savepoint = getattr(transaction, "savepoint_create", None) or transaction.savepoint  # its name until Django 6.1
    names()
    with transaction.atomic():
        Author.objects.create(name="A")
        kept = savepoint()
        Author.objects.create(name="B")
        transaction.savepoint_commit(kept)
        undone = savepoint()
        Author.objects.create(name="C")
        assert names() == ["A", "B", "C"]
        transaction.savepoint_rollback(undone)
        transaction.clean_savepoints()
        assert names() == ["A", "B"]
    assert everywhere() == ["A", "B"]


def test_a_durable_block(everywhere):
    names()
    with transaction.atomic(durable=True):
        Author.objects.create(name="A")
    with pytest.raises(RuntimeError, match="durable"), transaction.atomic(), transaction.atomic(durable=True):
        pass
    assert everywhere() == ["A"]


def test_an_error_that_is_caught_inside(everywhere):
    Author.objects.create(name="A", email="a@example.com")
    names()
    with transaction.atomic():
        Author.objects.create(name="B")
        with pytest.raises(IntegrityError), transaction.atomic():
            Author.objects.create(name="C", email="a@example.com")
    assert everywhere() == ["A", "B"]


def test_a_statement_that_fails_in_autocommit(everywhere):
    Author.objects.create(name="A", email="a@example.com")
    names()
    with pytest.raises(IntegrityError):
        Author.objects.create(name="B", email="a@example.com")
    assert everywhere() == ["A"]
    assert is_cached(names)  # the mark is gone: the database has answered


def test_a_broken_transaction_serves_nothing(everywhere):
    names()
    with pytest.raises(transaction.TransactionManagementError), transaction.atomic():
        transaction.set_rollback(True)
        names()
    assert everywhere() == []


def test_without_autocommit(everywhere):
    names()
    transaction.set_autocommit(False)
    try:
        Author.objects.create(name="A")
        assert names() == ["A"]
        assert Actor(names).finish() == []
        transaction.commit()
        assert Actor(names).finish() == ["A"]
        Author.objects.create(name="B")
        transaction.rollback()
        assert names() == ["A"]
        Author.objects.create(name="C")
        with transaction.atomic():
            Author.objects.create(name="D")
        assert Actor(names).finish() == ["A"]
        transaction.commit()
        assert Actor(names).finish() == ["A", "C", "D"]
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)
    assert everywhere() == ["A", "C", "D"]


@only_on("sqlite", "mysql")
def test_autocommit_switched_on_commits(everywhere):
    names()
    transaction.set_autocommit(False)
    Author.objects.create(name="A")
    transaction.set_autocommit(True)
    assert everywhere() == ["A"]


def test_closing_the_connection_undoes(everywhere):
    names()
    transaction.set_autocommit(False)
    Author.objects.create(name="A")
    connection.close()
    assert connection.ormcache_writes.transaction.dirty == frozenset()
    assert everywhere() == []


def test_closing_the_connection_inside_a_block_undoes(everywhere):
    names()
    with transaction.atomic():
        Author.objects.create(name="A")
        connection.close()
        with pytest.raises(DatabaseError):
            names()
    assert everywhere() == []
    add("B")
    assert everywhere() == ["B"]


# Raw statements ---------------------------------------------------------------------------


BEGINS = ["BEGIN", "begin transaction", "START TRANSACTION", "/* x */ Begin;"]


@pytest.mark.parametrize("begin", BEGINS)
@pytest.mark.parametrize("end", ["COMMIT", "commit work", "END"])
def test_raw_begin_and_commit(everywhere, engine, begin, end):
    if engine == "sqlite":
        begin, end = begin.replace("START", "BEGIN").replace("BEGIN TRANSACTION", "BEGIN"), end.replace(" work", "")
    if engine == "mysql":
        begin, end = begin.replace("begin transaction", "BEGIN WORK"), end.replace("END", "COMMIT")
    names()
    run(begin)
    run("INSERT INTO shop_author (name, active) VALUES ('A', true)")
    assert names() == ["A"]
    assert Actor(names).finish() == []
    run(end)
    assert everywhere() == ["A"]


def test_raw_rollback(everywhere):
    names()
    run("BEGIN")
    run("INSERT INTO shop_author (name, active) VALUES ('A', true)")
    assert names() == ["A"]
    run("ROLLBACK")
    assert everywhere() == []


def test_raw_savepoints(everywhere):
    names()
    run("BEGIN")
    run("INSERT INTO shop_author (name, active) VALUES ('A', true)")
    run("SAVEPOINT one")
    run("INSERT INTO shop_author (name, active) VALUES ('B', true)")
    run("ROLLBACK TO SAVEPOINT one")
    assert names() == ["A"]
    run("RELEASE SAVEPOINT one")
    assert Actor(names).finish() == []
    run("COMMIT")
    assert everywhere() == ["A"]


@only_on("sqlite")
def test_the_outermost_savepoint_commits_when_it_is_released(everywhere):
    names()
    run("SAVEPOINT one")
    run("INSERT INTO shop_author (name, active) VALUES ('A', true)")
    run("SAVEPOINT two")
    run("RELEASE two")
    assert Actor(names).finish() == []
    assert connection.ormcache_writes.transaction.dirty
    run("RELEASE one")
    assert everywhere() == ["A"]


@only_on("sqlite")
def test_nobody_is_served_old_rows_while_a_savepoint_is_released(everywhere):
    names()

    def write():
        run("SAVEPOINT one")
        run("INSERT INTO shop_author (name, active) VALUES ('A', true)")
        actors.reach("written")
        run("RELEASE one")

    writer = Actor(write).to("written").to("after execute")
    assert names() == names("plain") == ["A"]
    writer.finish()
    assert everywhere() == ["A"]


@only_on("postgresql", "mysql")
@pytest.mark.parametrize("end", ["COMMIT AND CHAIN", "ROLLBACK AND CHAIN"])
def test_a_chained_transaction(everywhere, end):
    names()
    run("BEGIN")
    run("INSERT INTO shop_author (name, active) VALUES ('A', true)")
    run(end)
    first = ["A"] if end.startswith("COMMIT") else []
    assert names() == Actor(names).finish() == first
    run("INSERT INTO shop_author (name, active) VALUES ('B', true)")
    assert names() == [*first, "B"]
    assert Actor(names).finish() == first
    run("COMMIT")
    assert everywhere() == [*first, "B"]


@only_on("postgresql")
def test_two_phase_commit(everywhere):
    names()
    run("BEGIN")
    run("INSERT INTO shop_author (name, active) VALUES ('A', true)")
    run("PREPARE TRANSACTION 'one'")
    assert not connection.ormcache_writes.transaction.is_open
    assert names() == Actor(names).finish() == []
    run("COMMIT PREPARED 'one'")
    assert everywhere() == ["A"]


@only_on("mysql")
def test_two_phase_commit_of_mysql(everywhere):
    names()
    run("XA START 'one'")
    run("INSERT INTO shop_author (name, active) VALUES ('A', true)")
    assert names() == ["A"]
    assert Actor(names).finish() == []
    run("XA END 'one'")
    run("XA PREPARE 'one'")
    assert Actor(names).finish() == []
    run("XA COMMIT 'one'")
    assert everywhere() == ["A"]


@only_on("mysql")
def test_two_phase_rollback_of_mysql(everywhere):
    names()
    run("XA BEGIN 'one'")
    run("INSERT INTO shop_author (name, active) VALUES ('A', true)")
    assert names() == ["A"]
    run("XA END 'one'")
    run("XA ROLLBACK 'one'")
    assert everywhere() == []


def test_a_schema_change_in_a_transaction(everywhere):
    """PostgreSQL and SQLite commit it with the rest, MySQL at once."""
    names()
    try:
        with transaction.atomic():
            Author.objects.create(name="A")
            run("CREATE VIEW shop_seen AS SELECT name FROM shop_author")
            assert names() == ["A"]
        assert everywhere() == ["A"]
        assert is_cached(names)
    finally:
        run("DROP VIEW shop_seen")


@only_on("postgresql", "sqlite")
def test_a_schema_change_that_is_undone_leaves_nothing_in_the_catalog(everywhere):
    names()
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        run("CREATE TABLE shop_short_lived (id integer)")
        connection.ormcache.database.catalog_cache.forget()  # by another thread, say
        run("INSERT INTO shop_short_lived VALUES (1)")
        raise ZeroDivisionError
    names()
    assert connection.ormcache.database.catalog_cache.find("shop_short_lived") == []


@only_on("mysql")
@pytest.mark.parametrize(
    "statement", ["CREATE TABLE shop_meanwhile (id integer)", "ANALYZE TABLE shop_genre", "FLUSH TABLES", "BEGIN"]
)
def test_statements_that_commit_implicitly(everywhere, statement):
    names()
    try:
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            Author.objects.create(name="A")
            run(statement)
            assert Actor(names).finish() == ["A"]
            raise ZeroDivisionError
        assert everywhere() == ["A"]
    finally:
        run("DROP TABLE IF EXISTS shop_meanwhile")


@only_on("mysql")
def test_an_implicit_commit_ends_a_raw_transaction(everywhere):
    names()
    run("BEGIN")
    try:
        run("CREATE TABLE shop_meanwhile (id integer)")
        assert Actor(names).finish() == []
        run("INSERT INTO shop_author (name, active) VALUES ('A', true)")
        assert Actor(names).finish() == ["A"]
    finally:
        run("DROP TABLE shop_meanwhile")
        run("COMMIT")
    assert everywhere() == ["A"]


@only_on("mysql")
@pytest.mark.parametrize("value", ["@before", "DEFAULT", '"ON"', "1 * 1", "%s"])
def test_autocommit_is_switched_on_by_what_only_the_server_knows(everywhere, value):
    names()
    run("SET @before = @@autocommit, @other = 1")
    run(f"SET autocommit = {value}", *([1] if value == "%s" else []))
    add("A")
    assert everywhere() == ["A"]
    run("SET autocommit = 0")
    add("B")
    assert Actor(names).finish() == ["A"]
    run(f"SET autocommit = {value}", *([1] if value == "%s" else []))
    assert everywhere() == ["A", "B"]
    add("C")
    assert everywhere() == ["A", "B", "C"]


@only_on("mysql")
@pytest.mark.parametrize(
    "switch",
    ["CALL shop_switch()", "EXECUTE IMMEDIATE 'SET autocommit = 0'", "SET autocommit = @off", "SET autocommit = 1 - 1"],
)
def test_autocommit_is_switched_off_by_what_cannot_be_read(everywhere, ddl, switch):
    ddl("CREATE PROCEDURE shop_switch() BEGIN SET autocommit = 0; END", "DROP PROCEDURE shop_switch")
    names()
    run("SET @off = 0")
    run(switch)
    add("A")
    assert Actor(names).finish() == Actor(names).finish() == []
    run("COMMIT")
    assert Actor(names).finish() == names("plain") == ["A"]
    add("B")
    run("SET autocommit = 1")
    assert everywhere() == ["A", "B"]


@only_on("mysql")
def test_a_deadlock_ends_a_raw_transaction(everywhere):
    """What follows it is committed one by one."""
    add("A"), Genre.objects.create(name="G")
    Author.objects.using("plain").bulk_create(Author(name=f"{n}") for n in range(30))
    ormcache.invalidate()
    names()
    run("BEGIN")
    run("UPDATE shop_genre SET name = 'H'")

    def other():
        with transaction.atomic(using="plain"):
            Author.objects.using("plain").update(active=False)  # more than the other one: that one has to go
            held.set()
            with contextlib.suppress(DatabaseError):
                Genre.objects.using("plain").update(name="I")
            transaction.set_rollback(True, using="plain")

    held = threading.Event()
    thread = threading.Thread(target=lambda: (other(), connections.close_all()))
    thread.start()
    held.wait()
    eventually(waits_for_a_lock)
    with pytest.raises(DatabaseError):
        run("SELECT * FROM shop_author FOR UPDATE")
    thread.join()
    add("B")
    assert "B" in Actor(names).finish() == names("plain")
    run("COMMIT")
    everywhere()


def waits_for_a_lock():
    time.sleep(0.2)  # InnoDB shows what it showed before, until nobody has looked for a tenth of a second
    with connections["second_plain"].cursor() as cursor:
        cursor.execute("SELECT 1 FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'")
        return cursor.fetchall()


# Hooks, requests, aliases -------------------------------------------------------------------


def test_hooks_after_commit_see_the_rows_in_another_process(other_process):
    other_process(NAMES)
    seen = []
    with transaction.atomic():
        Author.objects.create(name="A")
        transaction.on_commit(lambda: seen.append(names()))
        transaction.on_commit(lambda: seen.append(other_process(NAMES)))
    assert seen == [["A"], ["A"]]
    assert other_process(NAMES) == ["A"]


def test_a_failing_hook_leaves_nothing_behind(everywhere):
    def fail():
        assert not leftovers()
        raise ZeroDivisionError

    names()
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        Author.objects.create(name="A")
        transaction.on_commit(fail)
    assert everywhere() == ["A"]


def test_a_hook_that_writes(everywhere):
    names()
    with transaction.atomic():
        Author.objects.create(name="A")
        transaction.on_commit(lambda: add("B"))
    assert everywhere() == ["A", "B"]


def view(request):
    from django.http import HttpResponse

    Author.objects.create(name="A")
    if "fail" in request.GET:
        raise ZeroDivisionError
    return HttpResponse(",".join(names()))


urlpatterns = [path("", view)]


@pytest.mark.parametrize("query", ["", "?fail=1"])
@override_settings(ROOT_URLCONF=HERE, ALLOWED_HOSTS=["*"])
def test_a_request_in_a_transaction(everywhere, monkeypatch, query):
    names()
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    for second in ("second", "plain", "second_plain"):
        monkeypatch.setitem(connections[second].settings_dict, "ATOMIC_REQUESTS", False)
    response = Client(raise_request_exception=False).get("/" + query)

    assert response.status_code == (500 if query else 200)
    assert everywhere() == ([] if query else ["A"])


def test_two_databases_know_nothing_of_each_other(everywhere):
    names(), names("second")
    with transaction.atomic(using="second"), transaction.atomic():
        Author.objects.using("second").create(name="S")
        assert connection.ormcache_writes.transaction.dirty == frozenset()
        assert names() == []
        assert names("second") == ["S"]
        assert Actor(lambda: names("second")).finish() == []
    assert everywhere() == []
    assert names("second") == names("second") == Actor(lambda: names("second")).finish() == ["S"]


def test_two_aliases_of_one_database(everywhere):
    """What one connection has not committed the other one does not see."""
    names()
    second = connections["default"].copy(alias="default")
    connections["default_again"] = second
    try:
        with transaction.atomic(using="default_again"):
            Author.objects.using("default_again").create(name="A")
            assert names() == []
            assert names("default_again") == ["A"]
        assert names("default_again") == ["A"]
    finally:
        second.close()
        del connections["default_again"]
    assert everywhere() == ["A"]


# Failures of the database --------------------------------------------------------------------


@only_on("postgresql", "sqlite")
def test_a_commit_that_is_refused(everywhere):
    """A deferred constraint: COMMIT raises, and nothing of it is left."""
    names()
    before = Book.objects.count()
    with pytest.raises(IntegrityError), transaction.atomic():
        Author.objects.create(name="A")
        Book.objects.create(author_id=10**6, title="T")
    assert everywhere() == []
    assert is_cached(names)  # the database has answered, so the marks are gone
    assert Book.objects.count() == before


@only_on("postgresql")
def test_a_commit_that_is_refused_without_autocommit_leaves_no_transaction(everywhere):
    """What follows a refused COMMIT can only run where nothing has begun another transaction."""
    names()
    transaction.set_autocommit(False)
    Author.objects.create(name="A")
    Book.objects.create(author_id=10**6, title="T")
    with pytest.raises(IntegrityError):
        transaction.commit()
    assert connection.connection.info.transaction_status.name == "IDLE"
    transaction.set_autocommit(True)
    assert everywhere() == []
    assert is_cached(names)


@only_on("postgresql")
@pytest.mark.parametrize("end", ["commit", "COMMIT", "PREPARE TRANSACTION 'refused'"])
def test_a_refused_commit_takes_back_what_was_set(everywhere, end):
    """The rows of one tenant must not be stored as the other's, whose setting was undone along with the transaction."""
    run("SET app.tenant = 'a'")
    before = connection.ormcache.prefix(connection.ormcache.known())
    transaction.set_autocommit(False)
    try:
        run("SET app.tenant = 'b'")
        assert connection.ormcache.prefix(connection.ormcache.known()) != before
        Book.objects.create(author_id=10**6, title="T")
        with pytest.raises(IntegrityError):
            transaction.commit() if end == "commit" else run(end)
        assert connection.ormcache.prefix(connection.ormcache.known()) == before
        with connection.cursor() as cursor:
            cursor.execute("SHOW app.tenant")
            assert cursor.fetchone() == ("a",)
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)


@only_on("postgresql", "mysql")
def test_a_failure_of_what_may_change_anything_leaves_no_marks(everywhere):
    """In PostgreSQL the transaction is broken by then; the database has answered all the same."""
    fails = {
        "postgresql": "DO $$ BEGIN RAISE EXCEPTION 'no'; END $$",
        "mysql": "SIGNAL SQLSTATE '45000'",
    }[ENGINE]
    names()
    with pytest.raises(DatabaseError), transaction.atomic():
        Author.objects.create(name="A")
        run(fails)
    assert is_cached(names)
    with pytest.raises(DatabaseError):
        run(fails)
    assert is_cached(names)
    assert everywhere() == []


@only_on("sqlite")
def test_a_commit_that_found_the_database_locked_can_be_tried_again(everywhere):
    Genre.objects.bulk_create([Genre(name=name) for name in "ABC"])
    names()
    transaction.set_autocommit(False)
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA busy_timeout = 0")
    Author.objects.create(name="A")
    with connections["plain"].cursor() as cursor:
        cursor.execute("SELECT id FROM shop_genre")
        cursor.fetchone()  # and no further: a lock that keeps others from committing
        with pytest.raises(DatabaseError, match="locked"):
            transaction.commit()
    transaction.commit()
    transaction.set_autocommit(True)
    assert everywhere() == ["A"]


@only_on("postgresql", "mysql")
def test_a_session_that_is_killed_in_a_transaction(everywhere):
    names()
    with pytest.raises(DatabaseError), transaction.atomic():
        Author.objects.create(name="A")
        kill(session_id())
        Author.objects.create(name="B")
    assert everywhere() == []
    assert is_cached(names)


@only_on("postgresql", "mysql")
def test_a_session_that_is_killed_at_commit_leaves_its_mark(everywhere, configure):
    """The COMMIT may still be on its way: its outcome is known to nobody."""
    configure(LEASE=1)
    names()
    with pytest.raises(DatabaseError), transaction.atomic():
        Author.objects.create(name="A")
        session = session_id()
        kill(session)
    before = rejected(reasons.MARKED)
    assert Actor(names).finish() == names("plain") == []
    assert rejected(reasons.MARKED) == before + 1
    assert everywhere() == []
    eventually(lambda: is_cached(names))


@only_on("postgresql", "mysql")
def test_a_session_that_is_killed_in_an_autocommit_statement_leaves_its_mark(everywhere, configure):
    configure(LEASE=1)
    names()
    marking = connection.ormcache_writes._invalidator
    session = session_id()
    original = marking.mark

    def mark(*args, **options):
        marked = original(*args, **options)
        kill(session)
        return marked

    marking.mark = mark
    with pytest.raises(DatabaseError):
        Author.objects.create(name="A")
    marking.mark = original
    connection.close()
    before = rejected(reasons.MARKED)
    assert names() == []
    assert rejected(reasons.MARKED) == before + 1
    eventually(lambda: is_cached(names))
    assert everywhere() == []


@only_on("postgresql", "mysql")
def test_a_database_that_is_away(everywhere, monkeypatch):
    """A block that cannot be entered leaves no state behind."""
    names()
    connection.close()
    port = connection.settings_dict["PORT"]
    monkeypatch.setitem(connection.settings_dict, "PORT", 1)
    with pytest.raises(DatabaseError), transaction.atomic():
        pass
    with pytest.raises(DatabaseError):
        add("A")
    assert not connection.in_atomic_block
    monkeypatch.setitem(connection.settings_dict, "PORT", port)
    assert leftovers() == []
    add("B")
    assert everywhere() == ["B"]


def test_a_connection_whose_set_up_failed_halfway(everywhere):
    """Django goes on with it, so its writes must be told all the same."""
    names()
    connection.close()

    def fail(connection, **kwargs):
        if connection.alias == "default":
            raise ZeroDivisionError

    connection_created.connect(fail)
    try:
        with pytest.raises(ZeroDivisionError):
            names()
            add("A")
    finally:
        connection_created.disconnect(fail)
    Actor(names).finish()
    add("B")
    assert everywhere() == names("plain")
    assert "B" in names()


# Snapshots ------------------------------------------------------------------------------------


SNAPSHOTS = {
    "postgresql": [
        "BEGIN ISOLATION LEVEL REPEATABLE READ",
        "START TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "BEGIN; SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "BEGIN; SET LOCAL transaction_isolation = 'repeatable read'",
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE; BEGIN",
        "SET default_transaction_isolation = 'serializable'; BEGIN",
        "BEGIN ISOLATION LEVEL SERIALIZABLE; BEGIN",
    ],
    "mysql": [
        "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ; BEGIN",
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; START TRANSACTION",
        "SET SESSION tx_isolation = 'REPEATABLE-READ'; START TRANSACTION WITH CONSISTENT SNAPSHOT",
    ],
    "sqlite": ["BEGIN", "SAVEPOINT one", "BEGIN DEFERRED"],
}


@pytest.mark.parametrize("begin", SNAPSHOTS[ENGINE])
def test_a_snapshot_is_neither_kept_nor_left_for_the_cache(everywhere, wal, begin):
    names()
    for statement in begin.split("; "):
        run(statement)
    run("SELECT 1 FROM shop_genre")  # here the snapshot is taken
    Actor(lambda: add("A")).finish()
    assert Actor(names).finish() == ["A"]
    before = bypassed(reasons.SNAPSHOT)
    assert names() == []  # the snapshot's own rows, not what the others have kept
    assert genres() == []
    assert bypassed(reasons.SNAPSHOT) == before + 2
    assert Actor(names).finish() == ["A"]
    run("ROLLBACK")
    assert everywhere() == ["A"]
    connection.close()


@only_on("postgresql", "mysql")
def test_a_snapshot_by_the_options(everywhere, engine, monkeypatch):
    names()
    connection.close()
    if engine == "postgresql":
        from django.db.backends.postgresql.psycopg_any import IsolationLevel

        level = IsolationLevel.REPEATABLE_READ
    else:
        level = "repeatable read"
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "isolation_level", level)
    try:
        with transaction.atomic():
            assert genres() == []
            Actor(lambda: add("A")).finish()
            assert Actor(names).finish() == ["A"]
            assert names() == []
            assert Actor(names).finish() == ["A"]
        assert everywhere() == ["A"]
        assert is_cached(names)
    finally:
        connection.close()


@only_on("postgresql")
def test_a_raw_transaction_has_the_level_of_the_session_not_of_the_driver(everywhere, monkeypatch):
    from django.db.backends.postgresql.psycopg_any import IsolationLevel

    names()
    connection.close()
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "isolation_level", IsolationLevel.READ_COMMITTED)
    run("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    run("BEGIN")
    run("SELECT 1 FROM shop_genre")
    Actor(lambda: add("A")).finish()
    assert names() == []
    assert Actor(names).finish() == ["A"]
    assert names() == []
    run("COMMIT")
    connection.close()
    assert everywhere() == ["A"]


def test_the_first_statement_of_an_sqlite_transaction_is_kept(queries):
    """It takes the snapshot after the stamps; PostgreSQL and MySQL keep every one under READ COMMITTED."""
    with transaction.atomic():
        assert names() == []
    with queries(0):
        assert names() == []


@only_on("sqlite")
def test_what_the_snapshot_does_not_have_is_not_stored(wal, everywhere):
    with transaction.atomic():
        assert genres() == []
        Actor(lambda: add("A")).finish()
        before = bypassed(reasons.SNAPSHOT)
        assert names() == []
        assert bypassed(reasons.SNAPSHOT) == before + 1
    assert everywhere() == ["A"]


@only_on("sqlite")
def test_what_was_stored_after_the_snapshot_is_not_served(wal, everywhere):
    """By another thread of this process, so that this one knows the stamp too."""
    names()
    with transaction.atomic():
        assert genres() == []
        Actor(lambda: add("A")).finish()
        assert Actor(names).finish() == ["A"]
        assert names() == names() == []
    assert everywhere() == ["A"]


@only_on("sqlite")
def test_all_of_a_transaction_comes_from_the_cache_if_nobody_writes(queries, everywhere):
    names(), genres()
    with transaction.atomic(), queries(0):
        assert genres() == []
        assert names() == []


@only_on("sqlite")
def test_transactions_alone_fill_the_cache(queries):
    """As with ATOMIC_REQUESTS. What one asked for first after its snapshot, the next may store."""
    Author.objects.create(name="A")
    for _ in range(2):
        with transaction.atomic():
            genres(), names()
    with transaction.atomic(), queries(0):
        assert (genres(), names()) == ([], ["A"])
    # From then on the first one after a write stores all that it reads.
    Author.objects.create(name="B")
    with transaction.atomic(), queries(1):
        assert (genres(), names()) == ([], ["A", "B"])
    with transaction.atomic(), queries(0):
        assert (genres(), names()) == ([], ["A", "B"])


@only_on("sqlite")
@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_a_hit_fixes_what_the_transaction_sees(request, journal):
    """An update on top of what somebody else has changed meanwhile is refused, as it is without a cache."""
    if journal == "wal":
        request.getfixturevalue("wal")
    Author.objects.create(name="0")

    def count_up(stop):
        with transaction.atomic():
            (before,) = names()
            stop()
            Author.objects.update(name=str(int(before) + 1))

    def other():
        try:
            count_up(lambda: None)
        except DatabaseError:
            return "refused"
        return "done"

    outcomes = []
    names()
    try:
        count_up(lambda: outcomes.append(Actor(other).finish()))
    except DatabaseError:
        outcomes.append("refused")
    else:
        outcomes.append("done")
    assert sorted(outcomes) == ["done", "refused"]
    assert names("plain") == names() == ["1"]


@only_on("sqlite")
@pytest.mark.parametrize("ends", ["OR ROLLBACK", "RAISE"])
def test_a_hit_fixes_what_a_transaction_sees_that_a_savepoint_has_begun(wal, everywhere, ddl, ends):
    """SQLite has ended the one before it, for a statement that has failed."""
    if ends == "RAISE":
        ddl(
            "CREATE TRIGGER ends BEFORE INSERT ON shop_genre BEGIN SELECT RAISE(ROLLBACK, 'no'); END",
            "DROP TRIGGER ends",
        )
    Author.objects.create(name="0")
    names()
    with transaction.atomic():
        assert names() == ["0"]
        with pytest.raises(DatabaseError):
            run("INSERT OR ROLLBACK INTO shop_genre (id, name) VALUES (1, 'G'), (1, 'G')")
        with pytest.raises(DatabaseError), transaction.atomic():
            assert names() == ["0"]
            Actor(lambda: Author.objects.update(name="1")).finish()
            Author.objects.update(name="2")
        transaction.set_rollback(True)
    connection.close()
    assert everywhere() == ["1"]


@only_on("sqlite")
def test_a_transaction_beside_an_unfinished_cursor_sees_what_that_does(wal, everywhere):
    """Its snapshot is the cursor's, from before the transaction has begun."""
    Genre.objects.bulk_create(Genre(name=str(number)) for number in range(300))
    add("A")
    names()
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM shop_genre")
        cursor.fetchone()
        Actor(lambda: add("B")).finish()
        assert Actor(names).finish() == Actor(names).finish() == ["A", "B"]
        with transaction.atomic():
            assert names() == ["A"]
    assert everywhere() == ["A", "B"]


@only_on("sqlite")
def test_connections_that_share_their_cache_have_no_snapshots(monkeypatch):
    """What a transaction has read is locked in place of that, which a hit would not do."""
    given = {"ENGINE": "ormcache.backends.sqlite3", "NAME": "file:shared?mode=memory&cache=shared"}
    memory = connections.configure_settings({"default": given | {"ORMCACHE": connection.ormcache.settings["ORMCACHE"]}})
    monkeypatch.setitem(connections.settings, "memory", memory["default"])

    def elsewhere():
        try:
            Genre.objects.using("memory").update(name="1")
        finally:  # Django's close() leaves a database in memory open
            connections["memory"].connection.close()

    try:
        with connections["memory"].schema_editor() as editor:
            editor.create_model(Genre)
        Genre.objects.using("memory").create(name="0")
        assert genres("memory") == genres("memory") == ["0"]
        with transaction.atomic(using="memory"):
            assert genres("memory") == ["0"]
            with pytest.raises(DatabaseError):
                Actor(elsewhere).finish()
            Genre.objects.using("memory").update(name="2")
        assert genres("memory") == ["2"]
    finally:
        connections["memory"].connection.close()
        del connections["memory"]


@only_on("sqlite")
def test_a_transaction_sees_one_state(wal, everywhere):
    """Both from the cache, until somebody changes both."""
    Author.objects.create(name="100"), Genre.objects.create(name="0")
    names(), genres()

    def move():
        with transaction.atomic():
            Author.objects.update(name="0")
            Genre.objects.update(name="100")

    with transaction.atomic():
        assert names() == ["100"]
        Actor(move).finish()
        assert Actor(genres).finish() == ["100"]
        assert genres() == ["0"]
        assert names() == ["100"]
    assert everywhere() == ["0"]
    assert everywhere(genres) == ["100"]


@only_on("sqlite")
@pytest.mark.parametrize("statement", ["SELECT nothing", "SELECT 1"], ids=["fails", "reads nothing"])
def test_a_statement_that_fixes_nothing(wal, everywhere, statement):
    """One that fails, or that needs no table: the next one does."""
    names(), genres()
    with transaction.atomic():
        if statement == "SELECT 1":
            run(statement)
        else:
            with pytest.raises(DatabaseError):
                run(statement)
        assert names() == []
        Actor(lambda: add("A")).finish()
        Actor(lambda: Genre.objects.create(name="G")).finish()
        assert genres() == names() == []
    assert everywhere() == ["A"]


@only_on("sqlite")
def test_stamps_from_memory_do_not_count_in_a_transaction(configure, wal, other_process):
    configure(CONSISTENCY="request")
    connection.close()
    with ormcache.as_request():
        for _ in range(2):
            assert names() == genres() == []
        other_process("tests.integration.calls.add", "A")
        assert names() == []  # what this level allows
        with transaction.atomic():
            assert genres() == []
            assert names() == names("plain") == ["A"]


@only_on("sqlite")
def test_a_write_before_the_first_read_fixes_it_too(wal, everywhere, queries):
    names(), genres()
    with transaction.atomic():
        Genre.objects.create(name="G")
        with queries(0):
            assert names() == []
        assert genres() == ["G"]
    assert everywhere(genres) == ["G"]


@only_on("sqlite")
def test_the_catalog_is_read_in_a_transaction_that_has_not_begun_to_see(everywhere, queries):
    """Where all requests are transactions there is no other time."""
    names()
    ormcache.invalidate()
    connection.ormcache.database.catalog_cache.forget()
    for _ in range(3):
        with transaction.atomic():
            assert names() == []
    with transaction.atomic(), queries(0):
        assert names() == []


@only_on("sqlite")
def test_a_transaction_that_is_none_for_the_driver(wal, everywhere):
    """Without autocommit the driver begins one before it writes; until then each SELECT sees what there is."""
    names()
    transaction.set_autocommit(False)
    try:
        assert names() == []
        Actor(lambda: add("A")).finish()
        assert names() == ["A"]
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)
    assert everywhere() == ["A"]


@only_on("sqlite")
def test_an_unfinished_cursor_keeps_its_snapshot_open(wal, everywhere):
    """In autocommit: what is read next to it is as old as it."""
    Genre.objects.bulk_create(Genre(name=str(number)) for number in range(300))
    names()
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM shop_genre")
        cursor.fetchone()
        Actor(lambda: add("A")).finish()
        before = rejected(reasons.OPEN_CURSOR)
        assert names() == []  # not stale: what this connection could see
        assert rejected(reasons.OPEN_CURSOR) == before + 1
        assert Actor(names).finish() == ["A"]
    assert everywhere() == ["A"]


@only_on("sqlite")
def test_an_unfinished_iterator_keeps_its_snapshot_open(wal, everywhere):
    Genre.objects.bulk_create(Genre(name=str(number)) for number in range(300))
    names()
    iterator = Genre.objects.iterator(chunk_size=10)
    try:
        next(iterator)
        Actor(lambda: add("A")).finish()
        assert names() == []
        assert Actor(names).finish() == ["A"]
    finally:
        # To its end: one that is closed leaves its cursor to inner generators of Django, and they to the collector.
        list(iterator)
    assert everywhere() == ["A"]
