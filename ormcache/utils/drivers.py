"""The state of a connection as its database driver knows it, without asking the server.

Nothing here may use the network: a query begins a transaction where autocommit is off and fails in a broken one, and
some drivers reconnect for it, so that another session answers.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

from django.db import DatabaseError, InternalError, OperationalError

# libpq's PQTransactionStatusType
_IDLE, _IN_TRANSACTION, _IN_ERROR = 0, 2, 3
_SETTLED_STATUS = frozenset({_IDLE, _IN_TRANSACTION, _IN_ERROR})
_SERVER_IN_TRANSACTION = 1  # MySQL's SERVER_STATUS_IN_TRANS

#: Classes of mysqlclient's and PyMySQL's cursors whose rows are read when they are fetched
_UNBUFFERED = frozenset({"CursorUseResultMixIn", "SSCursor"})

#: SQLSTATEs, or their classes, of errors that leave open how the statement ended: a pooler lost its connection to the
#: server, the server shut down, or it does not know either (CockroachDB's 40003).
#: https://www.postgresql.org/docs/current/errcodes-appendix.html
_VAGUE_STATES = ("08", "58", "57P01", "57P02", "57P03", "40003")
#: The same among MySQL's error numbers: the server shuts down, the session was killed or timed out, or MaxScale or
#: Vitess has lost the server. https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html
_VAGUE_NUMBERS = frozenset(
    {1053, 1077, 1078, 1079, 1105, 1152, 1153, 1158, 1159, 1160, 1161, 1184, 1815, 1927, 3169, 4031}
)


def transaction_status(driver_connection: Any) -> int | None:
    """Return libpq's PQTransactionStatusType; None for a driver of another database.

    https://www.postgresql.org/docs/current/libpq-status.html#LIBPQ-PQTRANSACTIONSTATUS
    """
    # mysqlclient's connections have a method ``info``.
    status: int | None = getattr(getattr(driver_connection, "info", None), "transaction_status", None)
    return status


def is_in_failed_transaction(driver_connection: Any) -> bool:
    """PostgreSQL: return whether a statement has failed in the open transaction, which can only be ended then."""
    return transaction_status(driver_connection) == _IN_ERROR


def commits_by_itself(driver_connection: Any) -> bool | None:
    """MySQL: return whether each statement is a transaction of its own; None where the driver does not say.

    The server includes it in each of its answers, whatever has switched it.
    """
    ask = getattr(driver_connection, "get_autocommit", None)  # PyMySQL, mysqlclient
    return None if ask is None else bool(ask())


def has_open_transaction(driver_connection: Any) -> bool:
    """Return whether the driver sees an open transaction; False where it does not say."""
    status = transaction_status(driver_connection)
    if status is not None:
        return status != _IDLE
    if hasattr(driver_connection, "in_transaction"):  # sqlite3
        return bool(driver_connection.in_transaction)
    return bool(getattr(driver_connection, "server_status", 0) & _SERVER_IN_TRANSACTION)  # PyMySQL


def has_answered(driver_connection: Any, error: BaseException) -> bool:
    """Return whether it is certain that the database has finished what failed with this error.

    False: the statement may still be running, or its COMMIT may still follow. ``error``: as Django raises it.
    """
    if isinstance(driver_connection, sqlite3.Connection):
        return True  # there is no server
    status = transaction_status(driver_connection)
    if status is not None:
        # In pipeline mode, and while a statement is running, libpq says "active"; of a lost connection "unknown".
        return status in _SETTLED_STATUS and not _sqlstate(error).startswith(_VAGUE_STATES)
    if not isinstance(error, DatabaseError):
        return False  # something from outside, at any moment
    number = error.args[0] if error.args else None
    if isinstance(number, int) and 1000 <= number < 5000:
        # MySQL: a number of the server's; those of its clients (lost connections, timeouts) are 2000 to 2999.
        return not 2000 <= number < 3000 and number not in _VAGUE_NUMBERS
    # PEP 249: all other errors mean that the statement was rejected. These two include lost connections and unforeseen
    # states. https://peps.python.org/pep-0249/#exceptions
    return not isinstance(error, (OperationalError, InternalError)) and type(error) is not DatabaseError


def _sqlstate(error: BaseException) -> str:
    cause = error.__cause__ or error
    return getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None) or ""


def session_id_reader(driver_connection: Any) -> Callable[[], Any] | None:
    """Return a function that returns the server's id of the session; None for a driver that never reconnects.

    MySQL's drivers can reconnect by themselves under the same connection object, and the session is another one then.
    The function raises the driver's ``Error`` if the connection is closed.
    """
    read_id: Callable[[], Any] | None = getattr(driver_connection, "thread_id", None)  # PyMySQL, mysqlclient
    if read_id is None and hasattr(driver_connection, "connection_id"):  # MySQL Connector
        return lambda: driver_connection.connection_id
    return read_id


def in_pipeline(driver_connection: Any) -> bool:
    """psycopg 3: return whether the connection is in pipeline mode, where statements return before they have run.

    https://www.psycopg.org/psycopg3/docs/advanced/pipeline.html
    """
    return bool(getattr(getattr(driver_connection, "pgconn", None), "pipeline_status", 0))


@contextlib.contextmanager
def watch_notices(driver_connection: Any) -> Iterator[set[str]]:
    """psycopg 3: yield a set that gets the SQLSTATEs of the server's own notices; other drivers do not say them.

    A notice that comes from code has a context. https://www.postgresql.org/docs/current/protocol-error-fields.html
    """
    states: set[str] = set()

    def note(diagnostic: Any) -> None:
        if diagnostic.severity_nonlocalized == "NOTICE" and diagnostic.context is None and diagnostic.sqlstate:
            states.add(diagnostic.sqlstate)

    add = getattr(driver_connection, "add_notice_handler", None)
    if add is None:
        yield states
        return
    add(note)
    try:
        yield states
    finally:
        driver_connection.remove_notice_handler(note)


def is_idle(driver_connection: Any) -> bool:
    """PostgreSQL: return whether the server has run everything that it was sent, and no transaction is open."""
    return transaction_status(driver_connection) == _IDLE


def is_in_transaction(driver_connection: Any) -> bool:
    """PostgreSQL: return the same of a transaction that is open and has not failed."""
    return transaction_status(driver_connection) == _IN_TRANSACTION


def has_results_to_come(wrapper: Any, cursor: Any) -> bool:
    """MySQL: return whether the server may still be running what a cursor of Django's was given.

    It is as long as there are further results (of a procedure, or of several statements in one string), and as long as
    rows are read when they are fetched. True where the driver does not say.
    """
    connection = wrapper.connection
    if hasattr(connection, "unread_result"):  # MySQL Connector
        return bool(connection.unread_result or getattr(connection, "have_next_result", True))
    if cursor.description is not None and not _UNBUFFERED.isdisjoint(_class_names(cursor)):
        return True
    ask = getattr(connection, "more_results", None)  # mysqlclient
    if ask is not None:
        try:
            return bool(ask())
        except wrapper.Database.Error:
            return True
    # PyMySQL has no method for it; its server_status is that before a result with rows.
    return bool(getattr(getattr(connection, "_result", None), "has_next", True))


def _class_names(cursor: Any) -> set[str]:
    """Return the names of the classes of the driver's cursor, inside all wrappers."""
    while (inner := getattr(cursor, "cursor", None)) is not None:
        cursor = inner
    return {cls.__name__ for cls in cursor.__class__.__mro__}
