"""Drivers that return before the server is done: psycopg's pipelines, MySQL's results to come."""

from __future__ import annotations

import pytest
from django.db import connection, transaction

from ormcache import reasons
from ormcache.stores.base import decode_marks
from tests import environment
from tests.integration.actors import Actor
from tests.integration.calls import add, genres, is_cached, kill, names, no_leftovers, run, session_id
from tests.shop.models import Author
from tests.waiting import eventually

ENGINE = environment.current().engine

RENAME = "UPDATE shop_author SET name = 'B'"


@pytest.fixture(autouse=True)
def _author():
    """One author, A, whose name is cached."""
    add("A")
    names()
    assert is_cached(names)
    with no_leftovers():
        yield


def elsewhere(read=names):
    """What another connection reads, twice: what the first has left behind shows in the second."""
    first = Actor(read).finish()
    assert Actor(read).finish() == first
    return first


def counted(what, reason):
    return connection.ormcache.observer.counters.snapshot()[what].get(reason, 0)


class Locked:
    """The author's row is locked past the cache while this is open."""

    def __enter__(self):
        self._block = transaction.atomic(using="plain")
        self._block.__enter__()
        list(Author.objects.using("plain").select_for_update())

    def __exit__(self, *error):
        self._block.__exit__(*error)


# Pipelines ----------------------------------------------------------------------------------


pipelines = pytest.mark.skipif(ENGINE != "postgresql", reason="psycopg alone has pipelines")


@pipelines
def test_a_statement_in_a_pipeline_is_not_settled_before_its_end():
    with connection.connection.pipeline():
        run(RENAME)
        assert elsewhere() == ["A"]
    assert elsewhere() == ["B"]
    assert names() == ["B"]
    assert is_cached(names)  # its own statement has told that what came before it is over
    assert elsewhere() == ["B"]


@pipelines
def test_a_commit_in_a_pipeline_is_not_settled_before_its_end():
    with connection.connection.pipeline():
        with transaction.atomic():
            run(RENAME)
        assert connection.ormcache_writes._invalidator.unfinished is not None
    assert elsewhere() == ["B"]
    assert names() == ["B"]
    assert is_cached(names)


@pipelines
def test_a_pipeline_leaves_one_mark_whatever_runs_in_it():
    database = connection.ormcache.database
    with connection.connection.pipeline():
        for _ in range(20):
            run(RENAME)
        run("DELETE FROM shop_genre")
        _, held = database.stamps.store.look_up(
            None, [database.slots.name("shop_author"), database.slots.name("shop_genre")]
        )
        assert [len(decode_marks(value)) for value in held] == [1, 1]
    assert elsewhere() == names() == ["B"]
    assert is_cached(names)
    assert is_cached(genres)


@pipelines
def test_a_pipeline_that_fails():
    with pytest.raises(Exception, match="no_such"), connection.connection.pipeline():
        run(RENAME)
        run("UPDATE no_such SET name = 'B'")
    assert elsewhere() == names() == names("plain")
    assert is_cached(names)


@pipelines
def test_the_connection_is_closed_after_the_pipeline():
    with connection.connection.pipeline():
        run(RENAME)
    connection.close()
    assert is_cached(lambda: Actor(names).finish())
    assert elsewhere() == ["B"]


@pipelines
def test_the_session_ends_in_the_pipeline(configure):
    configure(LEASE=1)
    connection.close()
    names()
    session = session_id()
    pipeline = connection.connection.pipeline()
    pipeline.__enter__()
    run(RENAME)
    kill(session)
    with pytest.raises(connection.Database.OperationalError):
        pipeline.__exit__(None, None, None)
    connection.close()
    before = counted("rejected", reasons.MARKED)
    assert Actor(names).finish() == ["A"]
    assert counted("rejected", reasons.MARKED) == before + 1
    eventually(lambda: is_cached(names))
    assert elsewhere() == names() == names("plain")


@pipelines
def test_what_is_read_in_a_pipeline_is_not_kept():
    genres()
    connection.ormcache.database.renew(frozenset({"shop_genre"}))
    before = counted("rejected", reasons.PIPELINE)
    with connection.connection.pipeline():
        run("INSERT INTO shop_author (name) SELECT 'C' WHERE false")
        assert genres() == []
    assert counted("rejected", reasons.PIPELINE) == before + 1
    assert is_cached(genres)


@pipelines
def test_a_pipeline_keeps_to_its_snapshot_under_such_a_level():
    run("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    names()
    assert is_cached(names)
    before = counted("bypassed", reasons.PIPELINE)
    with connection.connection.pipeline():
        assert names() == names() == ["A"]
    assert counted("bypassed", reasons.PIPELINE) == before + 2
    assert is_cached(names)


@pipelines
def test_what_is_set_in_a_pipeline_may_come_to_nothing():
    with connection.connection.pipeline():
        run("SET app.tenant = '1'")
    before = counted("bypassed", reasons.UNTRACKED_SESSION)
    assert names() == ["A"]
    assert counted("bypassed", reasons.UNTRACKED_SESSION) == before + 1


@pipelines
def test_what_was_set_before_a_commit_in_a_pipeline_may_be_undone():
    with transaction.atomic():
        run("SET app.tenant = '1'")
        pipeline = connection.connection.pipeline()
        pipeline.__enter__()
    pipeline.__exit__(None, None, None)
    before = counted("bypassed", reasons.UNTRACKED_SESSION)
    assert names() == ["A"]
    assert counted("bypassed", reasons.UNTRACKED_SESSION) == before + 1


# Results to come ------------------------------------------------------------------------------


results = pytest.mark.skipif(ENGINE != "mysql", reason="only MySQL sends results before it is done")

TAIL = "DO GET_LOCK('go on', 30); UPDATE shop_author SET name = 'B'; DO RELEASE_LOCK('go on')"


@pytest.fixture
def several(monkeypatch):
    """Connections that take several statements in one text."""
    from pymysql.constants import CLIENT

    options = {**connection.settings_dict["OPTIONS"], "client_flag": CLIENT.MULTI_STATEMENTS}
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", options)
    connection.close()
    yield
    connection.close()


@pytest.fixture
def procedure(ddl):
    ddl(f"CREATE PROCEDURE tardy() BEGIN SELECT 1; {TAIL}; END", "DROP PROCEDURE tardy")
    names()


class Standing:
    """What takes the tail's lock stands still while this is open."""

    def __enter__(self):
        run("SELECT GET_LOCK('go on', 0)", using="plain")

    def __exit__(self, *error):
        run("SELECT RELEASE_LOCK('go on')", using="plain")


def by_callproc(cursor):
    cursor.callproc("tardy")


def by_call(cursor):
    cursor.execute("CALL tardy()")


def by_several(cursor):
    cursor.execute(f"SELECT 1; {TAIL}")


def by_updates(cursor):
    cursor.execute(f"UPDATE shop_genre SET name = 'B'; {TAIL}")


def by_nextset(cursor):
    while cursor.nextset():
        pass


def by_close(cursor):
    cursor.close()


def by_another_statement(cursor):
    run("SELECT 1")


@results
@pytest.mark.parametrize("end", [by_nextset, by_close, by_another_statement])
@pytest.mark.parametrize("call", [by_callproc, by_call, by_several, by_updates])
def test_what_comes_after_the_first_result(several, procedure, call, end):
    cursor = connection.cursor()
    with Standing():
        call(cursor)
        assert elsewhere() == ["A"]  # not stored: the rest is still to come
    end(cursor)
    assert elsewhere() == ["B"]
    assert is_cached(lambda: Actor(names).finish())
    assert names() == ["B"]


@results
def test_in_a_block(several, procedure):
    with transaction.atomic():
        cursor = connection.cursor()
        with Standing():
            by_call(cursor)
            assert elsewhere() == ["A"]
        cursor.close()
    assert elsewhere() == names() == ["B"]


@results
def test_nobody_reads_on(several, procedure, configure):
    """The connection is closed: how far the server gets then is not known."""
    configure(LEASE=1)
    connection.close()
    names()
    with Standing():
        by_call(connection.cursor())
        connection.close()
        assert elsewhere() == ["A"]
    eventually(lambda: is_cached(names))
    assert elsewhere() == names() == names("plain")


@results
def test_rows_that_are_read_as_they_are_fetched(monkeypatch):
    from pymysql.cursors import SSCursor

    connection.ensure_connection()
    monkeypatch.setattr(connection.connection, "cursorclass", SSCursor)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM shop_author RETURNING name")
        assert connection.ormcache_writes._invalidator.unfinished is not None
        assert cursor.fetchall() == [("A",)]
    assert connection.ormcache_writes._invalidator.unfinished is None
    assert elsewhere() == names() == []
