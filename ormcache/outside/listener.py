"""Listens for what triggers record in the outbox of one database, and invalidates it at once.

It reads the outbox whenever the database notifies it, when it begins, after each break of its connection, and every two
seconds in any case. So nothing is lost while nobody listens; it is only invalidated later.
"""

from __future__ import annotations

import logging
import select
from collections.abc import Callable
from contextlib import closing

from django.core.exceptions import ImproperlyConfigured
from django.db import Error

from ormcache.catalog.outbox import find_outbox
from ormcache.database.database import Database
from ormcache.exceptions import StoreUnavailable
from ormcache.outside.connections import OwnConnection, connect
from ormcache.outside.notifications import WakeUp, waiter_for
from ormcache.outside.recorded_writes import SettledWrites, settle_recorded
from ormcache.utils.interruptions import UNEXPECTED, let_through
from ormcache.utils.log_throttle import LogThrottle

logger = logging.getLogger("ormcache")

RETRY_INTERVAL = 1.0  # seconds after a failure

#: Called after each invalidation, and when a connection was made (None)
Report = Callable[[SettledWrites | None], None]


def _ignore(settled: SettledWrites | None) -> None:
    """Report to nobody."""


class Listener:
    """Listens to one database until it is stopped. Any thread may stop it; one thread runs it."""

    def __init__(self, alias: str, report: Report = _ignore) -> None:
        self.alias = alias
        self._report = report
        self._wake_up = WakeUp()
        self._failure_log = LogThrottle()

    def stop(self) -> None:
        """Have :meth:`run` return after the statement that it is running. A signal's handler may call it."""
        self._wake_up.set()

    def close(self) -> None:
        """Free what it holds, after :meth:`run` has returned."""
        self._wake_up.close()

    def run(self) -> None:
        """Listen until :meth:`stop`. What fails is logged and tried again."""
        while not self._wake_up.is_set:
            try:
                own = connect(self.alias)
                if own is not None:
                    with closing(own):
                        self._listen(own)
            except (Error, StoreUnavailable, ImproperlyConfigured, *UNEXPECTED) as error:
                let_through(error)
                more = self._failure_log.due()
                if more is not None:
                    logger.warning(
                        "listening to the database %r failed, and is tried again: %s%s", self.alias, error, more
                    )
            if not self._wake_up.is_set:
                select.select([self._wake_up], [], [], RETRY_INTERVAL)

    def _listen(self, own: OwnConnection) -> None:
        database = own.connection.ormcache.known()
        with own.connection.wrap_database_errors:
            table = find_outbox(own.driver_connection, own.vendor)
            if database is None or table is None:
                return
            waiter = waiter_for(own.driver_connection, own.vendor)
        self._report(None)
        while not self._wake_up.is_set:
            self._settle(own, database, table)
            with own.connection.wrap_database_errors:
                waiter.wait(self._wake_up)

    def _settle(self, own: OwnConnection, database: Database, table: str) -> None:
        while not self._wake_up.is_set:
            settled = settle_recorded(own, database, table)
            if settled is None:
                return
            self._report(settled)
            if settled.is_all:
                return
