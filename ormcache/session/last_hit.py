"""Remembers the last hit, for statements that ask what the query before them has left behind in the session.

``FOUND_ROWS()`` and its kind do. If that query was answered from the cache, it runs when such a statement comes: the
one time that it matters, in place of every time.
"""

from __future__ import annotations

from typing import Any

from ormcache.sql import UNKNOWN_VENDOR, read_aftermath

#: Vendors of databases in which a query leaves something behind in its session; of other kinds it is not known
VENDORS_WITH_AFTERMATH = frozenset({"mysql", UNKNOWN_VENDOR})


class LastHit:
    """The last hit of one connection, for as long as it counts. The thread that owns the connection owns this."""

    def __init__(self, vendor: str) -> None:
        self._vendor = vendor
        #: the SQL and the parameters of the last query that was answered from the cache; None: it does not count
        self.query: Any = None
        self._is_latest = False  # nothing has run since

    def record(self, query: Any) -> None:
        """Record that a query was answered from the cache. ``query``: its SQL and its parameters."""
        self.query = query
        self._is_latest = True

    def forget(self) -> None:
        """Forget it: the session is another one."""
        self.query = None

    def query_before(self, sql: str) -> Any:
        """Return the query that has to run before this statement, for what it leaves behind; None: none has to.

        Records that the statement is about to run.
        """
        query, is_latest = self.query, self._is_latest
        self._is_latest = False
        aftermath = read_aftermath(sql, self._vendor)
        is_needed = aftermath.reads_found_rows or (aftermath.reads_diagnostics and is_latest)
        if is_needed or not aftermath.preserves_found_rows:
            self.query = None
        return query if is_needed else None
