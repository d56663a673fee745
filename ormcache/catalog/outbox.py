"""Statements on the outbox: the table of ormcache's own in which writes leave what no store could be notified of.

A row names a relation as the catalog spells it, or ``*`` for everything. Whoever reads it invalidates what depends on
that relation, and deletes the row afterwards. Rows of ``unfinished`` writes were committed before the write itself: it
may still become visible.

All statements go to a connection of the driver's, so that nobody counts, logs or caches them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import Any, NamedTuple

from ormcache.catalog.facts import EPOCH, SCHEMA

#: Its table, of the app ``ormcache``
OUTBOX_TABLE = "ormcache_outbox"

MOST_ROWS = 1000  # that are read at once
MOST_NAMED = 64  # relations of one write that have rows of their own; of more, the row of everything is enough
LONGEST_NAME = 255  # characters of a relation in a row

#: In place of the null character in names of relations of other databases, which PostgreSQL's texts cannot hold
_SEPARATOR = "\x1f"

# The one of the schema ``public``, or else the oldest: the same one for all sessions, whatever their search path is.
_FIND_ON_POSTGRESQL = """
    SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname)
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relname = %s AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
    ORDER BY n.nspname <> 'public', c.oid LIMIT 1
"""
_FIND_ON_MYSQL = """
    SELECT CONCAT('`', REPLACE(TABLE_SCHEMA, '`', '``'), '`.`', TABLE_NAME, '`') FROM information_schema.TABLES
    WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = %s
"""
_FIND_ON_SQLITE = "SELECT 'main.' || name FROM main.sqlite_master WHERE type = 'table' AND name = ?"

#: Django's name of a kind of database → what finds the table
_FIND = {"postgresql": _FIND_ON_POSTGRESQL, "mysql": _FIND_ON_MYSQL, "sqlite": _FIND_ON_SQLITE}


class OutboxRow(NamedTuple):
    """One row of the outbox."""

    id: int
    relation: str
    unfinished: bool  # the write may still become visible


def is_outbox(relation: str) -> bool:
    """Return whether a relation, by its name in the catalog, is an outbox."""
    return relation == OUTBOX_TABLE or relation.endswith(f".{OUTBOX_TABLE}")


def run(driver_connection: Any, sql: str, params: Sequence[Any] = ()) -> list[Any]:
    """Run a statement on a connection of the driver's and return its rows. Raises the driver's errors."""
    with closing(driver_connection.cursor()) as cursor:
        cursor.execute(sql, tuple(params))
        return [tuple(row) for row in cursor.fetchall()] if cursor.description is not None else []


def find_outbox(driver_connection: Any, vendor: str) -> str | None:
    """Return the name of the table as statements may use it; None: there is none. Raises the driver's errors."""
    query = _FIND.get(vendor)
    rows = [] if query is None else run(driver_connection, query, [OUTBOX_TABLE])
    return str(rows[0][0]) if rows else None


def relations_in_rows(relations: frozenset[str]) -> list[str]:
    """Return the names for the rows of a write to these relations.

    The schema may have changed meanwhile without this process knowing: so everything is among them.
    """
    named = {name for name in relations if len(name) <= LONGEST_NAME and _SEPARATOR not in name} | {EPOCH}
    pseudo = {name for name in named if name.partition("\0")[0] in (EPOCH, SCHEMA)}
    return [name.replace("\0", _SEPARATOR) for name in sorted(named if len(named) <= MOST_NAMED else pseudo)]


def insert(driver_connection: Any, vendor: str, table: str, names: Iterable[str], *, unfinished: bool) -> list[int]:
    """Insert a row for each of these names and return their ids. Raises the driver's errors."""
    ids = []
    placeholder = "?" if vendor == "sqlite" else "%s"
    sql = f"INSERT INTO {table} (relation, unfinished) VALUES ({placeholder}, {'1' if unfinished else '0'})"
    if vendor == "postgresql":
        sql = f"INSERT INTO {table} (relation, unfinished) VALUES (%s, {unfinished}) RETURNING id"
    for name in names:
        with closing(driver_connection.cursor()) as cursor:
            cursor.execute(sql, (name,))
            ids.append(int(cursor.fetchone()[0] if vendor == "postgresql" else cursor.lastrowid))
    return ids


def finish(driver_connection: Any, vendor: str, table: str, ids: Sequence[int]) -> None:
    """Record that the write of these rows is over. Raises the driver's errors."""
    no = "false" if vendor == "postgresql" else "0"
    for condition in _conditions(vendor, ids):
        run(driver_connection, f"UPDATE {table} SET unfinished = {no} {condition}")


def read(driver_connection: Any, table: str) -> list[OutboxRow]:
    """Return the oldest rows. Raises the driver's errors."""
    rows = run(driver_connection, f"SELECT id, relation, unfinished FROM {table} ORDER BY id LIMIT {MOST_ROWS}")
    return [OutboxRow(int(key), str(name).replace(_SEPARATOR, "\0"), bool(flag)) for key, name, flag in rows]


def count_rows(driver_connection: Any, table: str) -> int:
    """Return how many rows there are. Raises the driver's errors."""
    return int(run(driver_connection, f"SELECT COUNT(*) FROM {table}")[0][0])


def delete(driver_connection: Any, vendor: str, table: str, ids: Sequence[int]) -> None:
    """Delete exactly these rows. Raises the driver's errors."""
    for condition in _conditions(vendor, ids):
        run(driver_connection, f"DELETE FROM {table} {condition}")


def _conditions(vendor: str, ids: Sequence[int]) -> list[str]:
    """Return conditions for statements that change these rows and lock no others.

    MySQL may read the whole table for a list of keys, and locks all that it reads, or waits for it.
    """
    groups = [[key] for key in ids] if vendor == "mysql" else [list(ids)] if ids else []
    return [f"WHERE id IN ({', '.join(str(int(key)) for key in group)})" for group in groups]
