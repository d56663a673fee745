"""Drivers that reconnect by themselves: the connection object is the same, the session of the server is another one."""

from __future__ import annotations

import warnings

import pytest
from django.db import DatabaseError, connection, transaction

from ormcache import reasons
from tests import environment
from tests.integration.actors import Actor
from tests.integration.calls import add, genres, is_cached, kill, names, run, session_id
from tests.shop.models import Author
from tests.waiting import eventually

pytestmark = [
    pytest.mark.skipif(environment.current().engine != "mysql", reason="only drivers of MySQL reconnect"),
    pytest.mark.usefixtures("interleaved"),
]


def reconnect():
    """What ping() of older PyMySQL does by itself, Django's health checks with it, and of newer ones when asked to."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        connection.connection.ping(reconnect=True)


def rejected(reason):
    return connection.ormcache.observer.counters.snapshot()["rejected"].get(reason, 0)


def bypassed(reason):
    return connection.ormcache.observer.counters.snapshot()["bypassed"].get(reason, 0)


def test_a_statement_without_answer_stays_marked_whatever_the_driver_answers_next(configure):
    """The statement may still run in the session of before, however well the new one answers."""
    configure(LEASE=1)
    names()
    session = session_id()
    original = connection.ormcache_writes._invalidator.mark

    def mark(*args, **options):
        marked = original(*args, **options)
        kill(session)
        return marked

    connection.ormcache_writes._invalidator.mark = mark
    with pytest.raises(DatabaseError):
        add("A")
    connection.ormcache_writes._invalidator.mark = original
    reconnect()
    before = rejected(reasons.MARKED)
    assert names() == []
    assert rejected(reasons.MARKED) == before + 1
    add("A", "plain")  # as if it had run only now
    assert names() == ["A"]
    eventually(lambda: is_cached(names))


def test_the_new_session_is_not_the_one_that_was_set_up():
    run("SET time_zone = '+05:00'")
    run("SET @before = 1")  # nothing that can be followed
    names()
    before = connection.ormcache.session
    kill(session_id())
    reconnect()
    assert is_cached(names)
    session = connection.ormcache.session
    assert session is not before
    assert session.isolation == "repeatable read"  # Django has set another one, in the session of before
    run("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")


def test_snapshots_of_the_new_session_are_not_kept():
    names()
    kill(session_id())
    reconnect()
    with transaction.atomic():
        genres()  # fixes the snapshot
        Actor(lambda: add("A")).finish()
        before = bypassed(reasons.SNAPSHOT)
        assert names() == names() == []
        assert bypassed(reasons.SNAPSHOT) == before + 2
    assert Actor(names).finish() == ["A"]
    assert names() == ["A"]


def test_no_other_connection_is_taken_to_begin_like_it():
    names()
    connection.close()
    add("A")  # by a second connection, which is remembered
    kill(session_id())
    reconnect()
    names()
    connection.close()
    assert connection.ormcache.known() is not None  # remembered from the last connection that Django has made
    assert connection.ormcache.session.isolation == "read committed"
    assert names() == ["A"]


def test_a_transaction_that_ended_with_its_session_hides_no_write():
    names()
    run("BEGIN")
    Author.objects.create(name="lost")
    assert connection.ormcache_writes.transaction.is_open
    kill(session_id())
    reconnect()
    add("A")  # in autocommit again
    assert Actor(names).finish() == ["A"]
    assert names() == ["A"]


def test_a_block_around_it_hides_no_write_either():
    names()
    with transaction.atomic():
        Author.objects.create(name="lost")
        kill(session_id())
        reconnect()
        connection.connection.autocommit(True)  # as drivers leave it that do not know what Django has asked for
        add("A")
        assert Actor(names).finish() == ["A"]
    assert Actor(names).finish() == names() == ["A"]
