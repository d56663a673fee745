"""Waits for notifications of new rows in the outbox, for a listener.

PostgreSQL notifies it at the writer's COMMIT (``NOTIFY``). MySQL has nothing of the kind: its outbox is looked at every
few milliseconds.
"""

from __future__ import annotations

import select
import socket
from typing import Any, Protocol

from ormcache.catalog.write_triggers import CHANNEL

#: Seconds after which the outbox is looked at in any case
POLL_INTERVAL = 2.0
#: The same without notifications: a question to an empty table takes a thousandth of it
SHORT_POLL_INTERVAL = 0.02


class WakeUp:
    """Ends the wait of a listener, from another thread or from a signal's handler."""

    def __init__(self) -> None:
        self._receiver, self._sender = socket.socketpair()
        self._sender.setblocking(False)
        self.is_set = False

    def set(self) -> None:
        """End the wait, and every later one."""
        self.is_set = True
        try:
            self._sender.send(b"x")
        except BlockingIOError:
            pass  # it has been woken up often enough

    def fileno(self) -> int:
        """Return what can be waited for beside other files."""
        return self._receiver.fileno()

    def close(self) -> None:
        """Close its sockets."""
        self._receiver.close()
        self._sender.close()


class Waiter(Protocol):
    """Waits for new rows in the outbox of one database."""

    def wait(self, wake_up: WakeUp) -> None:
        """Return when there may be new rows, after a while in any case, or when it is woken up.

        Raises the driver's errors if the connection is lost.
        """


class PollingWaiter:
    """Waits for a moment, because nothing says when there are new rows."""

    def wait(self, wake_up: WakeUp) -> None:
        select.select([wake_up], [], [], SHORT_POLL_INTERVAL)


class PsycopgWaiter:
    """Waits for notifications on a connection of psycopg 3."""

    def __init__(self, driver_connection: Any) -> None:
        self._connection = driver_connection
        self._is_notified = False  # since the last wait; a statement's answer may bring a notification along
        driver_connection.add_notify_handler(self._record)
        driver_connection.execute(f"LISTEN {CHANNEL}")

    def wait(self, wake_up: WakeUp) -> None:
        if not self._is_notified:
            select.select([self._connection.fileno(), wake_up], [], [], POLL_INTERVAL)
            server = self._connection.pgconn
            server.consume_input()
            while server.notifies() is not None:
                pass
        self._is_notified = False

    def _record(self, notification: Any) -> None:
        self._is_notified = True


class Psycopg2Waiter:
    """Waits for notifications on a connection of psycopg2."""

    def __init__(self, driver_connection: Any) -> None:
        self._connection = driver_connection
        with driver_connection.cursor() as cursor:
            cursor.execute(f"LISTEN {CHANNEL}")

    def wait(self, wake_up: WakeUp) -> None:
        notifications = self._connection.notifies  # those that a statement's answer has brought along are there already
        if not notifications:
            select.select([self._connection, wake_up], [], [], POLL_INTERVAL)
            self._connection.poll()
        notifications.clear()


def waiter_for(driver_connection: Any, vendor: str) -> Waiter:
    """Begin to wait on a connection that nobody else uses. Raises the driver's errors."""
    if vendor != "postgresql":
        return PollingWaiter()
    if hasattr(driver_connection, "add_notify_handler"):
        return PsycopgWaiter(driver_connection)
    return Psycopg2Waiter(driver_connection)
