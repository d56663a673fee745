"""Reads how much was ever written to each table, by any program, as far as a database counts that.

PostgreSQL counts rows: https://www.postgresql.org/docs/current/monitoring-stats.html. Those of writes that are rolled
back count too. A session adds what it has written up to a second after its transaction, or up to a minute later if it
is never idle. MySQL and MariaDB have the second in which InnoDB committed the last write to a table, in memory.
"""

from __future__ import annotations

from typing import Any

from ormcache.catalog.outbox import run

#: Seconds after a write within which all of it is counted
LATEST = 75.0

# A TRUNCATE counts no rows, but begins another file. Partitioned tables have none: their partitions do.
_ON_POSTGRESQL = """
    SELECT CASE n.nspname WHEN 'public' THEN c.relname ELSE n.nspname || '.' || c.relname END,
        pg_stat_get_tuples_inserted(c.oid) || ' ' || pg_stat_get_tuples_updated(c.oid) || ' '
        || pg_stat_get_tuples_deleted(c.oid) || ' ' || c.relfilenode
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'm') AND c.relpersistence = 'p'
    AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
"""
# What is written later in the same second would not be seen, so the last seconds have values of their own.
_ON_MYSQL = """
    SELECT TABLE_NAME, COALESCE(CONCAT(UPDATE_TIME, IF(UPDATE_TIME > NOW() - INTERVAL 3 SECOND, ' or later', '')), '')
    FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_TYPE = 'BASE TABLE'
"""
_IS_MYSQL_8 = "SELECT VERSION() NOT LIKE '%%MariaDB%%'"
_FRESH = "SET SESSION information_schema_stats_expiry = 0"

_OR_LATER = " or later"

_QUERIES = {"postgresql": _ON_POSTGRESQL, "mysql": _ON_MYSQL}


def is_counted(vendor: str) -> bool:
    """Return whether a kind of database counts what is written to its tables. ``vendor``: Django's name of it."""
    return vendor in _QUERIES


def read_activity(driver_connection: Any, vendor: str) -> dict[str, str]:
    """Return what stands for all writes to each table until now, by its name in the catalog.

    A table to which nothing was written may be missing. Raises the driver's errors.
    """
    if vendor == "mysql" and run(driver_connection, _IS_MYSQL_8)[0][0]:
        run(driver_connection, _FRESH)
    return {str(name): str(value) for name, value in run(driver_connection, _QUERIES[vendor])}


def is_doubtful(before: str, now: str) -> bool:
    """Return whether nobody need have written where these two values differ.

    The database has begun to count anew, or what is seen now is the end of the second that was seen before.
    """
    if not now or before == now + _OR_LATER:
        return True
    numbers = [value.split(" ")[:3] for value in (before, now)]
    if not all(number.isdigit() for value in numbers for number in value):
        return False
    return any(int(earlier) > int(later) for earlier, later in zip(*numbers, strict=False))
