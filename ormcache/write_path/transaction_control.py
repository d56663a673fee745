"""Statements that begin and end transactions, with every COMMIT between marking and settling."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from django.db import Error

from ormcache.session.state import ConnectionState
from ormcache.session.transaction import ANY_ROWS, Transaction, WrittenRows
from ormcache.sql import Statement
from ormcache.utils import drivers
from ormcache.write_path.invalidation import Announces, Invalidator

if TYPE_CHECKING:
    from ormcache.connection.protocol import CachedConnection

T = TypeVar("T")

#: Databases all of whose drivers know whether a transaction is open
_KNOWING = frozenset({"postgresql", "sqlite"})

#: What MySQL's ``SET autocommit`` switches it to; None: the value cannot be read
_AUTOCOMMIT = {"autocommit on": True, "autocommit off": False, "autocommit ?": None}


class TransactionControl:
    """Runs what begins and ends transactions on one connection. The thread that owns the connection owns this."""

    def __init__(
        self, connection: CachedConnection, state: ConnectionState, transaction: Transaction, invalidator: Invalidator
    ) -> None:
        self._connection: CachedConnection = weakref.proxy(connection)
        self._state = state
        self._transaction = transaction
        self._invalidator = invalidator

    # Statements of the program --------------------------------------------------------------

    def run(self, execute: Callable[[], T], statement: Statement) -> T:
        """Run BEGIN, COMMIT, ROLLBACK, SAVEPOINT or another statement of their kind, and follow what it does."""
        was_serial = self._state.session.wants_snapshot
        try:
            answer = self._run(execute, statement)
            self._follow(statement, was_serial=was_serial)
        except Error:
            self._record_error()
            raise
        except BaseException:
            # Interrupted from outside. Whether a transaction is open now, some drivers know.
            self._state.session.interrupt_transaction()
            if self._state.vendor not in _KNOWING or drivers.has_open_transaction(self._connection.connection):
                self._transaction.assume_open()
            raise
        return answer

    def _run(self, execute: Callable[[], T], statement: Statement) -> T:
        """Run the statement, between marking and settling if it commits."""
        word, transaction = statement.transaction, self._transaction
        if word == "commit" or (word == "autocommit on" and transaction.is_open):
            return self.commit(execute)
        if word == "begin" and statement.commits_implicitly and transaction.is_open:
            return self.commit(execute)  # MySQL commits the open transaction
        if word == "release" and self._state.vendor == "sqlite" and not self._connection.in_atomic_block:
            # SQLite commits if it is the outermost savepoint.
            return self._run_marked(execute, transaction.dirty, announces=self._announces())
        if word == "autocommit ?":
            return self._run_marked(execute, transaction.dirty)  # it may be on now, and may have been off
        return execute()

    def _follow(self, statement: Statement, *, was_serial: bool) -> None:
        """Follow what a statement that has run means for the transaction and for the session's settings."""
        word, session, transaction = statement.transaction, self._state.session, self._transaction

        # The transaction
        if word == "begin":
            transaction.begin(with_snapshot=statement.takes_snapshot)
            session.begin_transaction(serial=statement.takes_snapshot)
        elif word == "rollback":
            transaction.end(committed=False)
        elif word == "prepare":
            transaction.end(committed=True)
        elif word in _AUTOCOMMIT:
            is_on = _AUTOCOMMIT[word]
            if is_on is None:
                is_on = drivers.commits_by_itself(self._connection.connection) or None
            transaction.set_autocommit(is_on)
        elif statement.savepoint is not None:
            self._follow_savepoint(word, statement.savepoint)

        # The session's settings, and the transaction that AND CHAIN begins
        if statement.session is not None:
            session.record_change(statement.session, None, in_transaction=transaction.is_open)
        if statement.chains:
            transaction.continue_open()
            session.begin_transaction(serial=was_serial)

    def _follow_savepoint(self, word: str | None, name: str) -> None:
        session, vendor, transaction = self._state.session, self._state.vendor, self._transaction
        if word == "savepoint":
            session.savepoint(name)
            if vendor == "sqlite" and not transaction.is_open:
                transaction.continue_open()
        elif word == "rollback to":
            transaction.forget_tables()
            if vendor == "postgresql":  # MySQL keeps what was set
                session.roll_back_to(name)
        elif word == "release":
            if vendor == "sqlite" and not self._connection.connection.in_transaction:
                transaction.end(committed=True)
            else:
                session.release(name)

    # What Django calls ----------------------------------------------------------------------

    def commit(self, commit: Callable[[], T]) -> T:
        """Run COMMIT between marking and settling what the transaction has written. Raises WriteRefused."""
        if self._state.is_connecting:
            return commit()  # by a signal's handler: what it has written is settled once the connection is made
        transaction, session = self._transaction, self._state.session
        is_undone = transaction.is_broken  # PostgreSQL answers such a COMMIT with a ROLLBACK
        dirty, rows = transaction.dirty, transaction.rows
        try:
            answer = self._run_marked(commit, dirty, rows, announces=self._announces())
            if transaction.dirty != dirty or transaction.rows is not rows:
                # A signal's handler has written while the slots were being marked. It is visible already.
                self._run_marked(lambda: None, transaction.dirty)
            if session.has_set and drivers.in_pipeline(self._connection.connection):
                session.mark_untracked()  # the COMMIT may still be answered with a ROLLBACK
            transaction.end(committed=not is_undone)
        except Error:
            self._record_error()
            raise
        except BaseException:
            session.interrupt_transaction()
            raise
        return answer

    def rollback(self, rollback: Callable[[], T]) -> T:
        """Run ROLLBACK. The store has nothing of the transaction, so there is nothing to take back."""
        if self._state.is_connecting:
            self._state.session.mark_untracked()  # it is not known what was set before the transaction began or after
            return rollback()
        try:
            answer = rollback()
        except Error:
            self._transaction.end(committed=False)
            raise
        except BaseException:
            # It may not have run, and MySQL commits the open transaction when autocommit is switched on: its relations
            # stay dirty.
            self._state.session.interrupt_transaction()
            raise
        self._transaction.end(committed=False)
        return answer

    def _announces(self) -> Announces | None:
        """Return how a COMMIT is accounted for; None: not at all."""
        if not self._transaction.may_have_written:
            return None  # or the database is not SQLite
        return Announces.LOCKED if self._connection.connection.in_transaction else Announces.UNLOCKED

    def _run_marked(
        self,
        call: Callable[[], T],
        relations: frozenset[str],
        rows: WrittenRows = ANY_ROWS,
        *,
        announces: Announces | None = None,
    ) -> T:
        """Run what makes the changes to these relations visible, if there are any, between marking and settling.

        And those to excluded relations. ``announces``: how the commit is accounted for.
        """
        excluded, invalidator = self._transaction.excluded, self._invalidator
        database = self._state.known() if relations or excluded or announces is not None else None
        if database is None:
            return call()
        if relations:
            call = partial(invalidator.run_marked, database, call, relations, rows, is_commit=True, announces=announces)
        elif announces is not None:
            call = partial(invalidator.accounts.run, database, call, is_locked=announces is Announces.LOCKED)
        return invalidator.run_excluded(database, call, excluded) if excluded else call()

    def _record_error(self) -> None:
        """Record that the database has refused to end a transaction, or another statement about one.

        PostgreSQL rolls the transaction back all the same, with what was set in it: then none is open any more.
        """
        transaction = self._transaction
        if self._state.vendor == "postgresql" and transaction.is_open and drivers.is_idle(self._connection.connection):
            transaction.end(committed=False)
        else:
            transaction.record_failure()
