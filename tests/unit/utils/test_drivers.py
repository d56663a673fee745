"""What drivers tell without being asked, each in its own way."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from types import SimpleNamespace

import pytest
from django.db import DatabaseError, IntegrityError, InterfaceError, InternalError, OperationalError, ProgrammingError

from ormcache.utils import drivers


def libpq(status: int) -> object:
    return SimpleNamespace(info=SimpleNamespace(transaction_status=status))


def caused(sqlstate: str) -> Exception:
    error = OperationalError()
    error.__cause__ = type("Error", (Exception,), {"sqlstate": sqlstate})()
    return error


def wrapper(connection: object) -> object:
    return SimpleNamespace(connection=connection, Database=sqlite3)


MYSQL = SimpleNamespace(server_status=0)


@pytest.mark.parametrize(
    "connection, error, answered",
    [
        (libpq(0), IntegrityError(), True),
        (libpq(3), caused("P0001"), True),
        (libpq(2), TypeError(), True),
        (libpq(1), KeyboardInterrupt(), False),
        (libpq(4), OperationalError(), False),
        (libpq(0), caused("08006"), False),
        (libpq(0), caused("40003"), False),
        (MYSQL, IntegrityError(1062, "Duplicate entry"), True),
        (MYSQL, OperationalError(1205, "Lock wait timeout exceeded"), True),
        (MYSQL, OperationalError(3572, "NOWAIT"), True),
        (MYSQL, OperationalError(2013, "Lost connection during query"), False),
        (MYSQL, OperationalError(2006, "gone away"), False),
        (MYSQL, InterfaceError(0, ""), False),
        (MYSQL, InternalError("Packet sequence number wrong"), False),
        (MYSQL, OperationalError(1927, "Lost connection to backend server"), False),
        (MYSQL, OperationalError(1053, "Server shutdown in progress"), False),
        (MYSQL, ProgrammingError("not enough arguments for format string"), True),
        (MYSQL, RuntimeError(), False),
        (SimpleNamespace(), IntegrityError("unique"), True),
        (SimpleNamespace(), OperationalError("lost"), False),
        (SimpleNamespace(), DatabaseError("ORA-03113: end-of-file on communication channel"), False),
        (SimpleNamespace(), KeyboardInterrupt(), False),
        (None, OperationalError(), False),
    ],
)
def test_which_errors_are_answers(connection, error, answered):
    assert drivers.has_answered(connection, error) is answered


def test_sqlite_has_always_answered():
    with closing(sqlite3.connect(":memory:")) as connection:
        assert drivers.has_answered(connection, KeyboardInterrupt())


def test_the_servers_session():
    assert drivers.session_id_reader(SimpleNamespace(thread_id=lambda: 7))() == 7
    assert drivers.session_id_reader(SimpleNamespace(connection_id=8))() == 8
    assert drivers.session_id_reader(libpq(0)) is None
    assert drivers.session_id_reader(None) is None


class SSCursor:
    description = ()


class Wrapper:
    """Django's, around a driver's cursor."""

    def __init__(self, cursor: object = None, description: object = None) -> None:
        self.cursor = cursor
        self.description = description


def closed() -> bool:
    raise sqlite3.ProgrammingError("closed")


def pymysql(*, has_next: bool) -> object:
    return SimpleNamespace(server_status=2, _result=SimpleNamespace(has_next=has_next))


@pytest.mark.parametrize(
    "connection, cursor, to_come",
    [
        (SimpleNamespace(more_results=lambda: True), Wrapper(), True),
        (SimpleNamespace(more_results=lambda: False), Wrapper(), False),
        (SimpleNamespace(more_results=closed), Wrapper(), True),
        (pymysql(has_next=True), Wrapper(), True),
        (pymysql(has_next=False), Wrapper(), False),
        (pymysql(has_next=False), Wrapper(Wrapper(SSCursor()), ()), True),
        (pymysql(has_next=False), Wrapper(Wrapper(SSCursor())), False),
        (SimpleNamespace(unread_result=True, have_next_result=False), Wrapper(), True),
        (SimpleNamespace(unread_result=False, have_next_result=True), Wrapper(), True),
        (SimpleNamespace(unread_result=False, have_next_result=False), Wrapper(), False),
        (SimpleNamespace(), Wrapper(), True),
    ],
    ids=lambda value: None,
)
def test_results_to_come(connection, cursor, to_come):
    assert drivers.has_results_to_come(wrapper(connection), cursor) is to_come


@pytest.mark.parametrize("status, is_in", [(0, False), (1, True), (2, True)], ids=["off", "on", "aborted"])
def test_pipelines(status, is_in):
    assert drivers.in_pipeline(SimpleNamespace(pgconn=SimpleNamespace(pipeline_status=status))) is is_in
    assert not drivers.in_pipeline(None)
