"""Marks once more what was written of excluded relations: see :mod:`ormcache.database.excluded_writes`."""

from __future__ import annotations

from ormcache.background.worker import Databases, worker
from ormcache.catalog import ALL_ROWS
from ormcache.database.database import Database
from ormcache.exceptions import StoreUnavailable

#: Seconds between a write and the mark that follows it, where the thread does not wait for something else
INTERVAL = 1.0


class ExcludedMarks:
    """The task of the background thread that does so."""

    title = "marking of excluded tables"

    def interval(self, databases: Databases) -> float | None:
        """Return the seconds until the next mark; None: nothing was written."""
        return INTERVAL if any(database.excluded.has_written for database in databases.values()) else None

    def run(self, databases: Databases) -> None:
        """Mark what was written."""
        for database in set(databases.values()):
            try:
                if database.excluded.mark_written():
                    database.renew(ALL_ROWS)
            except StoreUnavailable:
                pass  # tried again after the interval

    def reset(self) -> None:
        """Nothing is remembered."""


#: The one of this process
excluded_marks = ExcludedMarks()


def mark_before_long(alias: str, database: Database) -> None:
    """Have the thread mark what was written of this database, which this alias leads to."""
    worker.register(alias, database)
