"""The relations that a transaction holds locks on: the database's own word about what a statement reaches.

Locks stay until the transaction ends, so what a statement came to lock is what is locked after it and was not before.
Statements in autocommit leave nothing to be seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

# Named as the catalog names them. Not: indexes, sequences, system catalogs, temporary tables.
_POSTGRESQL = """
    SELECT CASE n.nspname WHEN 'public' THEN c.relname ELSE n.nspname || '.' || c.relname END, l.mode
    FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE l.locktype = 'relation' AND l.granted AND l.pid = pg_backend_pid()
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relpersistence <> 't'
      AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
"""
_POSTGRESQL_READS = frozenset({"AccessShareLock", "RowShareLock"})

_MYSQL = """
    SELECT IF(TABLE_SCHEMA = DATABASE(), TABLE_NAME, CONCAT(TABLE_SCHEMA, '.', TABLE_NAME)), LOCK_MODE
    FROM information_schema.METADATA_LOCK_INFO
    WHERE LOCK_TYPE = 'Table metadata lock' AND THREAD_ID = CONNECTION_ID()
      AND TABLE_SCHEMA NOT IN ('mysql', 'information_schema', 'performance_schema', 'sys')
"""
_MYSQL_READS = frozenset({"MDL_SHARED", "MDL_SHARED_HIGH_PRIO", "MDL_SHARED_READ"})

_QUERIES = {"postgresql": (_POSTGRESQL, _POSTGRESQL_READS), "mysql": (_MYSQL, _MYSQL_READS)}


@dataclass
class Locked:
    """Relations; those that are written are among those that are touched."""

    touched: frozenset[str] = frozenset()
    written: frozenset[str] = frozenset()

    def __sub__(self, other: Locked) -> Locked:
        return Locked(self.touched - other.touched, self.written - other.written)


def held(connection: Any, vendor: str) -> Locked:
    """What the open transaction of a DB-API connection holds locks on."""
    query, reads = _QUERIES[vendor]
    cursor = connection.cursor()
    try:
        cursor.execute(query)
        rows = cursor.fetchall()
    finally:
        cursor.close()
    touched = frozenset(relation for relation, _ in rows)
    return Locked(touched, frozenset(relation for relation, mode in rows if mode not in reads))


@contextmanager
def locked(connection: Any) -> Iterator[Locked]:
    """``with locked(connection) as found:`` what the statements inside come to lock; a Django connection in a
    transaction. What the transaction had locked before is left out."""
    driver = connection.connection
    before = held(driver, connection.vendor)
    found = Locked()
    yield found
    after = held(driver, connection.vendor) - before
    found.touched, found.written = after.touched, after.written


def prepare(connection: Any, vendor: str) -> None:
    """MariaDB: have the plugin that shows metadata locks, which comes with the server. Raises where it does not."""
    if vendor == "mysql":
        cursor = connection.cursor()
        try:
            cursor.execute("SELECT 1 FROM information_schema.PLUGINS WHERE PLUGIN_NAME = 'METADATA_LOCK_INFO'")
            if cursor.fetchone() is None:
                cursor.execute("INSTALL SONAME 'metadata_lock_info'")
        finally:
            cursor.close()
