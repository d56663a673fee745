"""The open transaction of one connection, as far as it can be told from outside."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from ormcache.catalog import ANYWHERE, SCHEMA, Catalog, Standpoint
from ormcache.state import State

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper


class Transaction:
    """What the transaction that is open on a connection, or none, has written and is shown.

    The thread that owns the connection owns this.
    """

    def __init__(self, connection: BaseDatabaseWrapper, state: State) -> None:
        self._connection: Any = weakref.proxy(connection)
        self._state = state
        #: relations that it has written
        self.dirty: frozenset[str] = frozenset()
        #: from which the statements were planned that have written what is not settled yet
        self.standpoints: frozenset[Standpoint] = frozenset({ANYWHERE})
        #: by which they were; None: without one
        self.catalogs: frozenset[Catalog | None] = frozenset()
        #: what they have written → the first of them that did, for people
        self.causes: dict[frozenset[str], str] = {}
        self._planned: tuple[Catalog | None, Standpoint] | None = None  # the last one
        #: has a statement run since it began? (SQLite: then it has its snapshot)
        self.ran = False
        #: it was begun by a BEGIN that Django has not sent
        self.began = False
        #: MySQL may have ended what began that way, by a statement that commits
        self.unsure = False
        #: begun by something that cannot be read
        self.found_open = False
        #: by SET autocommit = 0: one follows the other
        self.manual = False
        #: SQLite: cursors with a SELECT that may be unfinished, each of which keeps the snapshot it began with
        self.open_cursors: weakref.WeakSet[Any] = weakref.WeakSet()

    @property
    def is_open(self) -> bool:
        connection = self._connection
        return connection.in_atomic_block or not connection.autocommit or self.began

    def may_be_over(self, sql: str = "") -> bool:
        """Could what this statement writes be committed at once although a transaction counts as open?

        SQLite tells. It ends a transaction by ON CONFLICT ROLLBACK and by scripts, and where the driver is to begin
        one it does so before some kinds of statements only:
        https://docs.python.org/3/library/sqlite3.html#sqlite3-transaction-control-isolation-level
        """
        if self._state.vendor != "sqlite":
            return self.unsure
        connection = self._connection.connection
        if _has_open_transaction(connection):
            return False
        begins = getattr(connection, "isolation_level", None) is not None
        return not (begins and sql.lstrip()[:7].lower().startswith(_BEGUN_BEFORE))

    @property
    def in_old_snapshot(self) -> bool:
        """May what it is shown be older than what others have committed?"""
        return self.is_open and (self._state.vendor == "sqlite" or self.keeps_snapshot)

    @property
    def keeps_snapshot(self) -> bool:
        """PostgreSQL and MySQL: does it see what it began with, whatever others commit?"""
        session = self._state.session
        # In autocommit BEGIN is the program's; else psycopg sends its own, with its own level if it has one.
        level = getattr(self._connection.connection, "isolation_level", None)
        if level is None or self._state.vendor != "postgresql" or self._connection.autocommit:
            return session.snapshots()
        # psycopg 3 has an enum; psycopg 2 has numbers, 1 and 4 for READ COMMITTED and READ UNCOMMITTED
        per_statement = level.name.endswith("COMMITTED") if hasattr(level, "name") else level in (1, 4)
        return session.serial or not per_statement

    @property
    def is_broken(self) -> bool:
        """PostgreSQL: has a statement failed in it, so that nothing but its end is possible?"""
        return _status(self._connection.connection) == _IN_ERROR

    @property
    def has_open_cursors(self) -> bool:
        return bool(self.open_cursors)

    def planned(self, catalog: Catalog | None, standpoint: Standpoint) -> None:
        """A statement was."""
        if (catalog, standpoint) == self._planned:
            return
        self._planned = (catalog, standpoint)
        if catalog not in self.catalogs or standpoint not in self.standpoints:
            kept = bool(self.dirty)
            self.catalogs = self.catalogs | {catalog} if kept else frozenset({catalog})
            self.standpoints = self.standpoints | {standpoint} if kept else frozenset({standpoint})

    def begins(self, *, ran: bool) -> None:
        """By a statement of the program's own."""
        self.began = True
        self.unsure = self.found_open = False
        self.ran = ran

    def ended(self, *, committed: bool) -> None:
        self._forget()
        self.began = self.manual
        undone = not committed and self._state.vendor == "postgresql"
        self._state.session.ended(undone=undone)

    def forget(self) -> None:
        """There is none any more, and nothing of it was committed."""
        self._forget()
        self.began = self.manual = False
        self.open_cursors.clear()

    def _forget(self) -> None:
        if SCHEMA in self.dirty and self._state.database is not None:
            # The catalog may have been read inside the transaction, whose changes are undone, or before them.
            self._state.database.forget_catalog()
        self.dirty = frozenset()
        self.causes = {}
        self.standpoints, self.catalogs, self._planned = frozenset({ANYWHERE}), frozenset(), None
        self.ran = False
        self.unsure = self.found_open = False

    # Transactions that the driver knows of ------------------------------------------------

    def look(self, written: frozenset[str]) -> None:
        """Something that cannot be read has run and was settled: it may have begun a transaction, or ended that one."""
        if not self.is_open and _has_open_transaction(self._connection.connection):
            # What it has written is still to come. Any further such thing is settled for itself: it may commit.
            self.began = self.unsure = self.found_open = True
            self.dirty |= written
        elif self.found_open and not _has_open_transaction(self._connection.connection):
            self.ended(committed=True)


def _status(connection: Any) -> int | None:
    """libpq's, where the driver is one of PostgreSQL's. (mysqlclient's connections have a method ``info``.)"""
    status: int | None = getattr(getattr(connection, "info", None), "transaction_status", None)
    return status


def _has_open_transaction(connection: Any) -> bool:
    """As the driver sees it; False where the driver does not tell."""
    status = _status(connection)
    if status is not None:
        return status != _IDLE
    if hasattr(connection, "in_transaction"):  # sqlite3
        return bool(connection.in_transaction)
    return bool(getattr(connection, "server_status", 0) & _IN_TRANSACTION)  # PyMySQL


_BEGUN_BEFORE = ("insert", "update", "delete", "replace")
_IDLE, _IN_ERROR = 0, 3  # libpq's PQTRANS_IDLE and PQTRANS_INERROR
_IN_TRANSACTION = 1  # MySQL's SERVER_STATUS_IN_TRANS
