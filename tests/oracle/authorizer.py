"""SQLite: what a compiled statement reads and writes, as ``set_authorizer`` is told while it is compiled."""

from __future__ import annotations

import sqlite3
from typing import Any

_WRITES = {sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE}


class Authorizer:
    """Allows everything and notes it. Statements that the driver has compiled before pass it unseen.

    It stays on its connection for good: with every change of the authorizer SQLite compiles all statements anew.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._actions: set[tuple[str, str, str | None]] = set()
        connection.set_authorizer(self._note)

    def _note(self, action: int, first: Any, second: Any, database: Any, inner: Any) -> int:
        # In the schema "temp" are tables of the session, in none those of the statement itself.
        if database is not None and database != "temp" and not str(first).startswith(("sqlite_", "pragma_")):
            if action == sqlite3.SQLITE_READ:
                self._actions.add(("read", first, inner))
            elif action in _WRITES:
                self._actions.add(("written", first, inner))
        return sqlite3.SQLITE_OK

    def forget(self) -> None:
        self._actions.clear()

    def told(self, kind: str, *, direct: bool = False) -> frozenset[str]:
        """The tables ``"read"`` or ``"written"``; ``direct``: those that no view or trigger named."""
        return frozenset(table for what, table, inner in self._actions if what == kind and not (direct and inner))
