"""Statements that begin and end transactions, and COMMIT between marking and settling."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from ormcache.marking import Marking
from ormcache.sql import Statement
from ormcache.state import State
from ormcache.transaction import Transaction

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

T = TypeVar("T")


class TransactionControl:
    """Of one connection. The thread that owns the connection owns this."""

    def __init__(
        self, connection: BaseDatabaseWrapper, state: State, transaction: Transaction, marking: Marking
    ) -> None:
        self._connection: Any = weakref.proxy(connection)
        self._state = state
        self._transaction = transaction
        self._marking = marking

    def run(self, execute: Callable[[], T], statement: Statement) -> T:
        """Run BEGIN, COMMIT, ROLLBACK, SAVEPOINT and their kin, and follow what they do."""
        session, vendor, transaction = self._state.session, self._state.vendor, self._transaction
        word, serial = statement.transaction, session.serial
        if word == "commit" or (word == "autocommit on" and transaction.is_open):
            answer = self.commit(execute)
        elif word == "begin" and statement.commits and transaction.is_open:
            answer = self.commit(execute)  # MySQL commits what is open
        elif word == "release" and vendor == "sqlite" and transaction.dirty and not self._connection.in_atomic_block:
            answer = self._marked(execute, transaction.dirty)  # SQLite commits if it is the outermost one.
        else:
            answer = execute()
        if word == "begin":
            transaction.begins(ran=statement.serial)
            session.serial = session.serial or statement.serial
        elif word == "rollback":
            transaction.ended(committed=False)
        elif word == "prepare":
            transaction.ended(committed=True)
        elif word == "savepoint" and statement.savepoint is not None:
            session.savepoint(statement.savepoint)
            if vendor == "sqlite" and not transaction.is_open:
                transaction.began = True
        elif word == "rollback to" and statement.savepoint is not None:
            if vendor == "postgresql":  # MySQL does not take back what was set
                session.rolled_back_to(statement.savepoint)
        elif word == "release" and vendor == "sqlite" and not self._connection.connection.in_transaction:
            transaction.ended(committed=True)
        elif word == "release" and statement.savepoint is not None:
            session.released(statement.savepoint)
        elif word in ("autocommit off", "autocommit on"):
            transaction.manual = transaction.began = word == "autocommit off"
        if statement.session is not None:
            session.change(statement.session, None, in_transaction=transaction.is_open)
        if statement.chains:
            transaction.began = True
            session.serial = serial
        return answer

    def commit(self, commit: Callable[[], T]) -> T:
        """Run COMMIT between marking and settling what the transaction has written."""
        undone = self._transaction.is_broken  # PostgreSQL answers such a COMMIT with a ROLLBACK
        answer = self._marked(commit, self._transaction.dirty)
        self._transaction.ended(committed=not undone)
        return answer

    def _marked(self, call: Callable[[], T], relations: frozenset[str]) -> T:
        """Run what makes the changes to these relations visible, if there are any."""
        database = self._state.known() if relations else None
        return call() if database is None else self._marking.around(database, call, relations)

    def rollback(self, rollback: Callable[[], T]) -> T:
        """Run ROLLBACK. Nothing was told to the store, so there is nothing to take back."""
        try:
            return rollback()
        finally:
            self._transaction.ended(committed=False)
