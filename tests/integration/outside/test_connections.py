"""The background thread's own connections to the project's databases."""

from __future__ import annotations

import pytest
from django.db import Error, connection, connections
from django.test.utils import CaptureQueriesContext

from ormcache.outside import connections as own_connections_module
from ormcache.outside.connections import OwnConnections
from ormcache.session.registry import registry
from tests.shop.models import Author


@pytest.fixture
def own():
    one = OwnConnections()
    yield one
    one.close_all()


@pytest.fixture
def subject():
    Author.objects.count()
    return connection.ormcache.database


def test_statements_are_neither_counted_nor_logged(own, subject):
    counters = connection.ormcache.observer.counters
    before = counters.snapshot()
    with CaptureQueriesContext(connection) as captured:
        one = own.get("default", subject)
        assert one.execute("SELECT count(*) FROM shop_author") == [(0,)]

    assert len(captured) == 0
    assert counters.snapshot() == before


def test_what_is_committed_is_seen_and_nothing_else(own, subject):
    one = own.get("default", subject)
    connection.set_autocommit(False)
    try:
        Author.objects.create(name="A")
        assert one.execute("SELECT count(*) FROM shop_author") == [(0,)]
        connection.commit()
        assert one.execute("SELECT count(*) FROM shop_author") == [(1,)]
    finally:
        connection.rollback()
        connection.set_autocommit(True)


def test_one_connection_is_used_again_and_closed_when_it_is_idle_or_old(own, subject, monkeypatch):
    one = own.get("default", subject)
    assert own.get("default", subject) is one
    own.close_idle()
    assert own.get("default", subject) is one
    monkeypatch.setattr(own_connections_module, "LONGEST_IDLE", -1.0)
    own.close_idle()
    assert one.driver_connection is None
    one = own.get("default", subject)
    monkeypatch.setattr(own_connections_module, "LONGEST_LIFE", -1.0)
    assert own.get("default", subject) is not one
    assert one.driver_connection is None


def test_none_is_made_to_a_test_database(own, subject):
    registry.record_test_database("default", exists=True)
    try:
        assert own.get("default", subject) is None
    finally:
        registry.record_test_database("default", exists=False)
    assert own.get("default", subject) is not None


def test_none_is_made_to_another_database_than_the_one_that_is_meant(own, subject):
    Author.objects.using("second").count()

    assert own.get("default", connections["second"].ormcache.database) is None
    assert own.get("plain", subject) is None


def test_errors_are_those_of_django(own, subject):
    with pytest.raises(Error):
        own.get("default", subject).execute("SELECT * FROM no_such_table")
