"""The triggers of MySQL and MariaDB that record writes: three for each table, which run for each row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.db import Error

from ormcache.catalog.outbox import OUTBOX_TABLE
from ormcache.catalog.write_triggers import EVENTS, is_mysql_trigger, mysql_body, mysql_name

if TYPE_CHECKING:
    from ormcache.connection.protocol import CachedConnection

LOCK_TIMEOUT = 1  # seconds for which everybody who uses a table waits behind the installation at most

# Where rows change at COMMIT and not before; nothing else is cached.
_TABLES = """
    SELECT TABLE_NAME FROM information_schema.TABLES
    WHERE TABLE_SCHEMA = DATABASE() AND TABLE_TYPE = 'BASE TABLE' AND TABLE_NAME <> %s
      AND LOWER(ENGINE) IN ('innodb', 'rocksdb', 'tokudb', 'ndbcluster', 'ndb')
"""
_TRIGGERS = """
    SELECT EVENT_OBJECT_TABLE, TRIGGER_NAME, EVENT_MANIPULATION, ACTION_TIMING, ACTION_STATEMENT
    FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = DATABASE() AND TRIGGER_NAME LIKE 'ormcache%%'
"""

#: Numbers of errors: a lock was not to be had in time
_LOCK_WAIT_TIMEOUT = 1205


class MySQLTriggers:
    """See :class:`ormcache.outside.triggers.Dialect`."""

    def __init__(self, connection: CachedConnection) -> None:
        self._connection = connection

    def tables(self) -> Mapping[str, str]:
        return {name: _quoted(name) for (name,) in self._run(_TABLES, OUTBOX_TABLE)}

    def problems(self, writer: int) -> Mapping[str, str]:
        found: dict[str, set[tuple[str, str, str, str]]] = defaultdict(set)
        for table, *described in self._own_triggers():
            found[table].add(tuple(described))
        return {
            table: "" if all_ == _expected(table, writer) else _problem(table, all_) for table, all_ in found.items()
        }

    def prepare(self, outbox: str) -> None:
        """Nothing is shared."""

    def install(self, relation: str, table: str, writer: int) -> None:
        self.remove(relation, table)
        self._set_timeout()
        for name, event, moment, body in sorted(_expected(relation, writer)):
            # One of this name may have gone with a table that was renamed.
            self._run(f"DROP TRIGGER IF EXISTS {name}")
            self._run(f"CREATE TRIGGER {name} {moment} {event} ON {table} FOR EACH ROW {body}")

    def remove(self, relation: str, table: str) -> None:
        self._set_timeout()
        for owner, name, *_ in self._own_triggers():
            if owner == relation:
                self._run(f"DROP TRIGGER IF EXISTS {_quoted(name)}")

    def clean_up(self) -> None:
        """Nothing is shared."""

    def is_locked(self, error: Error) -> bool:
        return bool(error.args) and error.args[0] == _LOCK_WAIT_TIMEOUT

    def _own_triggers(self) -> list[Any]:
        """Return the triggers of ormcache, whatever version made them: table, name, event, moment, body."""
        return [row for row in self._run(_TRIGGERS) if is_mysql_trigger(row[1], row[4]) or OUTBOX_TABLE in row[4]]

    def _set_timeout(self) -> None:
        self._run(f"SET SESSION lock_wait_timeout = {LOCK_TIMEOUT}")

    def _run(self, sql: str, *params: Any) -> list[Any]:
        """Run a statement on the driver's connection: it changes nothing that is cached."""
        with self._connection.wrap_database_errors, self._connection.connection.cursor() as cursor:
            cursor.execute(sql, params or None)  # else the driver would look for placeholders
            return list(cursor.fetchall()) if cursor.description is not None else []


def _expected(table: str, writer: int) -> set[tuple[str, str, str, str]]:
    """Return the triggers that a table is to have: name, event, moment, body."""
    body = mysql_body(table, writer)
    return {(mysql_name(event, table), event, "AFTER", body) for event in EVENTS}


def _problem(table: str, found: set[tuple[str, str, str, str]]) -> str:
    """Return why the triggers of a table are not as expected."""
    names = {mysql_name(event, table) for event in EVENTS}
    if not {name for name, *_ in found} & names:
        return "of a table that had another name"
    if {name for name, *_ in found} != names:
        return "incomplete"
    if all(is_mysql_trigger(name, body) for name, _, _, body in found):
        return "installed under another BLACKLIST or ONLY"
    return "changed, or of another version of ormcache"


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
