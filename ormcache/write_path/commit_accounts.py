"""Announces what one connection commits to a SQLite file, and accounts for it afterwards.

:mod:`ormcache.database.commits` has the reasons.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from ormcache.cache.stamps import new_writer
from ormcache.catalog.sqlite_file import Sighting
from ormcache.database.database import Database
from ormcache.database.own_commits import PendingCommit
from ormcache.exceptions import StoreUnavailable, WriteRefused
from ormcache.stores.base import STAMP, Last
from ormcache.utils.interruptions import UNEXPECTED, let_through

if TYPE_CHECKING:
    from ormcache.connection.protocol import CachedConnection

T = TypeVar("T")

#: Runs something that commits, between marking and settling what it makes visible
RunCommit = Callable[[Callable[[], None]], None]


class CommitAccounts:
    """Accounts for what commits on one connection. The thread that owns the connection owns this."""

    def __init__(self, connection: CachedConnection) -> None:
        self._connection: CachedConnection = weakref.proxy(connection)
        #: the state that the last commit has led to, and what SQLite said of other connections then
        self._last: tuple[Sighting, Any] | None = None

    # One commit -----------------------------------------------------------------------------

    def announce(self, database: Database, *, is_locked: bool = False) -> PendingCommit | None:
        """Return what has to be marked before something commits on this connection.

        ``is_locked``: it has SQLite's lock for writers. None: nothing has to be, or it is not known what; then readers
        find out.
        """
        own_commits, last = database.own_commits, self._last
        if own_commits is None:
            return None
        current = own_commits.current()
        if last is not None and current is last[0]:
            version = last[1]  # nobody else has committed since, so SQLite would say the same
        else:
            version = self._version()
            if version is None:
                return None
            current = own_commits.current()
        try:
            return own_commits.begin(current, version, is_locked=is_locked)
        except StoreUnavailable:
            return None

    def end(
        self, database: Database, pending: PendingCommit, writer: bytes, marked: tuple[bytes, ...]
    ) -> tuple[tuple[bytes, ...], Last | None]:
        """Return which slots to settle for what was announced and is over, and how. Raises StoreUnavailable.

        ``marked``: all slots that ``writer`` has marked, of which the last one is that of the commit.
        """
        own_commits, self._last = database.own_commits, None
        if pending.is_locked and self._connection.connection.in_transaction:
            return marked, pending.undone  # the COMMIT has failed
        ended = None if own_commits is None else own_commits.end(pending, writer, self._version)
        if ended is None:
            return marked[:-1], None  # readers wait for the mark, and then invalidate everything
        seen, is_alone, slot = ended
        if is_alone:
            self._last = seen, pending.version
        return (*marked, slot), (2, STAMP + seen.state.encode())

    def _version(self) -> Any:
        """Return what changes when another connection commits; None: that is not known."""
        try:
            return self._connection.connection.execute("PRAGMA data_version").fetchone()[0]
        except (self._connection.Database.Error, *UNEXPECTED) as error:
            let_through(error)
            return None

    # Running what commits -------------------------------------------------------------------

    def run(self, database: Database, call: Callable[[], T], *, is_locked: bool = False) -> T:
        """Run what may commit and changes nothing that is cached. Returns what it returns, and raises what it raises.

        ``is_locked``: it ends a transaction that has SQLite's lock for writers.
        """
        pending = self.announce(database, is_locked=is_locked)
        if pending is None:
            return call()
        store, writer, marked = database.strict_stamps.store, new_writer(), (pending.mark,)
        try:
            store.mark(marked, writer, database.config.lease)
        except StoreUnavailable:
            pass  # then readers find out, once it answers again
        try:
            return call()
        finally:
            try:
                slots, last = self.end(database, pending, writer, marked)
                if last is not None:
                    store.settle(slots, writer, last[1], None, last)
            except StoreUnavailable:
                pass  # its marks expire

    def run_write(self, database: Database, call: Callable[[], T]) -> T:
        """Do the same for a statement that writes rows, in a transaction of its own."""
        return self.run_statement(call, partial(self.run, database, is_locked=True))

    def run_statement(self, call: Callable[[], T], run_commit: RunCommit) -> T:
        """Run a statement that writes rows in a transaction of its own, which has SQLite's lock for writers.

        So it is known which commit is the next one. ``run_commit``: runs its COMMIT. Returns what ``call`` returns, and
        raises what both raise.
        """
        made, has_run = self._connection.connection, False
        try:
            try:
                made.execute("BEGIN IMMEDIATE")
            except self._connection.Database.Error:
                with self._connection.wrap_database_errors:
                    raise
            answer = call()
            has_run = True
            run_commit(self._commit)
        except BaseException:
            # As in autocommit nothing is open after it, wherever it was interrupted.
            if made.in_transaction and has_run:
                made.rollback()
            elif made.in_transaction:
                # By ON CONFLICT FAIL and RAISE(FAIL) a statement keeps the rows that it has written so far.
                self._commit_after_failure(made, run_commit)
            raise
        return answer

    def _commit(self) -> None:
        connection = self._connection
        try:
            connection.connection.execute("COMMIT")
        except connection.Database.Error:
            connection.connection.rollback()
            with connection.wrap_database_errors:
                raise

    def _commit_after_failure(self, made: Any, run_commit: RunCommit) -> None:
        """Commit what a statement has left that has failed. Its own error is the one to be raised."""
        try:
            run_commit(lambda: made.execute("COMMIT"))
        except (self._connection.Database.Error, WriteRefused) as error:
            let_through(error)
        finally:
            if made.in_transaction:
                made.rollback()

    # The connection -------------------------------------------------------------------------

    def close(self, database: Database | None) -> None:
        """Account for the state in which the file lies once this connection is closed."""
        self._last = None
        made: Any = self._connection.connection
        if database is None or database.own_commits is None or made is None:
            return
        try:
            database.own_commits.rest(lambda: made.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall())
        except (StoreUnavailable, self._connection.Database.Error, *UNEXPECTED) as error:
            let_through(error)  # then everything is invalidated when it is opened again
