"""Leaves a write in the outbox that no store could be notified of, on the connection that writes.

Rows for a COMMIT go into the transaction that it ends, so they become visible with its changes, or not at all. Any
other statement commits by itself: its rows are committed before it, as those of an unfinished write, which whoever
reads them does not take for visible until the statement is over.

Nothing that goes wrong here makes the write fail: without a row it is left to this process to notify the store.
"""

from __future__ import annotations

import logging
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import Error

from ormcache.catalog.outbox import run
from ormcache.database.database import Database
from ormcache.exceptions import StoreUnavailable
from ormcache.session.registry import registry
from ormcache.utils import drivers
from ormcache.utils.interruptions import UNEXPECTED, let_through
from ormcache.write_path.commit_accounts import CommitAccounts

if TYPE_CHECKING:
    from ormcache.connection.protocol import CachedConnection

logger = logging.getLogger("ormcache")

_SAVEPOINT = "ormcache_outbox"


class OutboxRows(NamedTuple):
    """The rows of one write."""

    ids: tuple[int, ...] = ()
    unfinished: bool = False  # they were committed before the write


class OutboxWriter:
    """Writes to the outbox on one connection. The thread that owns the connection owns this."""

    def __init__(self, connection: CachedConnection) -> None:
        self._connection: CachedConnection = weakref.proxy(connection)

    def add(self, database: Database, relations: frozenset[str], *, unfinished: bool) -> OutboxRows:
        """Insert rows for a write to these relations that is about to become visible."""
        driver_connection = self._connection.connection
        if not self._is_possible(database) or drivers.is_in_failed_transaction(driver_connection):
            return OutboxRows()
        try:
            ids = self._add(driver_connection, database, relations, unfinished=unfinished)
        except (self._connection.Database.Error, *UNEXPECTED) as error:
            let_through(error)
            if registry.should_log("outbox", self._connection.alias):
                logger.exception("a write on %r could not be left in the outbox", self._connection.alias)
            return OutboxRows()
        return OutboxRows(ids, unfinished)

    def _add(
        self, driver_connection: Any, database: Database, relations: frozenset[str], *, unfinished: bool
    ) -> tuple[int, ...]:
        outbox = database.outbox
        if self._connection.vendor == "postgresql" and drivers.has_open_transaction(driver_connection):
            # An error must not break the transaction.
            run(driver_connection, f"SAVEPOINT {_SAVEPOINT}")
            try:
                ids = outbox.add(driver_connection, relations, unfinished=unfinished)
            except self._connection.Database.Error:
                run(driver_connection, f"ROLLBACK TO SAVEPOINT {_SAVEPOINT}")
                raise
            run(driver_connection, f"RELEASE SAVEPOINT {_SAVEPOINT}")
            return ids
        if self._connection.vendor == "mysql":
            # What the program's own INSERT has made of it
            ((last,),) = run(driver_connection, "SELECT LAST_INSERT_ID()")
            ids = outbox.add(driver_connection, relations, unfinished=unfinished)
            run(driver_connection, "SELECT LAST_INSERT_ID(%s)", [last])
            return ids
        return outbox.add(driver_connection, relations, unfinished=unfinished)

    def end(self, database: Database, rows: OutboxRows, *, published: bool) -> None:
        """Record that the write of these rows is over. ``published``: the store has been notified of it after all."""
        driver_connection = self._connection.connection
        if not rows.ids or not (published or rows.unfinished) or not self._is_possible(database):
            return
        if drivers.has_open_transaction(driver_connection):
            return  # whoever reads them waits for the end of the lease, or invalidates it once more
        try:
            if published:
                database.outbox.remove(driver_connection, rows.ids)
            else:
                database.outbox.finish(driver_connection, rows.ids)
            if not self._connection.autocommit:  # the statement has begun a transaction
                driver_connection.commit()
        except (self._connection.Database.Error, *UNEXPECTED) as error:
            let_through(error)  # the same

    def read_first(self, database: Database, accounts: CommitAccounts) -> None:
        """Settle what other processes have left, before this one serves anything of a database, as far as possible."""
        connection, session = self._connection, self._connection.ormcache.session
        if (
            not self._is_possible(database)
            or connection.in_atomic_block
            or not connection.autocommit
            or session.isolation == "read uncommitted"  # what is not committed is not visible to others
        ):
            return
        try:
            database.outbox.settle(connection.connection, lambda delete: accounts.run(database, delete))
        except (Error, connection.Database.Error, StoreUnavailable, *UNEXPECTED) as error:
            let_through(error)  # the background thread, or the next process, tries again

    def _is_possible(self, database: Database) -> bool:
        driver_connection = self._connection.connection
        return (
            driver_connection is not None
            and database.outbox.is_shared
            and not drivers.in_pipeline(driver_connection)  # where an error would make the program's statements fail
        )
