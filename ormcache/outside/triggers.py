"""Installs, examines and removes the triggers that record writes of programs that ormcache does not see.

They add a row to the outbox in the writer's own transaction. A listener invalidates what the row names after the
COMMIT, see :mod:`ormcache.outside.listener`.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from django.db import Error

from ormcache.catalog import ALL_ROWS_AND_SCHEMA, is_pseudo
from ormcache.catalog.outbox import OUTBOX_TABLE, find_outbox
from ormcache.database.database import Database
from ormcache.database.table_filter import TableFilter, unmatched
from ormcache.exceptions import UnknownTable
from ormcache.outside.mysql_triggers import MySQLTriggers
from ormcache.outside.postgresql_triggers import PostgreSQLTriggers

if TYPE_CHECKING:
    from ormcache.connection.protocol import CachedConnection

MOST_ATTEMPTS = 30  # to lock a table
PAUSE = 0.5  # seconds between two attempts, in which the writers that have waited go on


class TriggersUnavailable(Exception):
    """No triggers can be installed in this database. The message says why."""


class TriggerState(StrEnum):
    """How the triggers of a table are."""

    CURRENT = "current"
    OUTDATED = "outdated"  # they are there, and have to be installed again
    MISSING = "missing"
    SUPERFLUOUS = "superfluous"  # they are there, and nothing that is cached depends on the table


@dataclass(frozen=True, slots=True)
class TableTriggers:
    """The triggers of one table. ``reason``: why they are outdated, in words; "" if they are not."""

    relation: str
    state: TriggerState
    reason: str = ""


@dataclass(frozen=True, slots=True)
class TriggerChange:
    """What became of the triggers of one table. ``error``: why they are as before, in words; "" if they are not."""

    relation: str
    error: str = ""


class Dialect(Protocol):
    """Speaks to one kind of database about triggers. All methods raise ``django.db.Error``."""

    def tables(self) -> Mapping[str, str]:
        """Return the tables that can have triggers: relation → its name as SQL writes it."""

    def problems(self, writer: int) -> Mapping[str, str]:
        """Return the tables that have triggers: relation → why they are outdated, "" if they are not.

        ``writer``: the sessions that they are to leave out, see TableRules.writer.
        """

    def prepare(self, outbox: str) -> None:
        """Create what all triggers share. ``outbox``: the name of the table, as SQL writes it."""

    def install(self, relation: str, table: str, writer: int) -> None:
        """Create the triggers of a table in place of those that it has."""

    def remove(self, relation: str, table: str) -> None:
        """Drop the triggers of a table."""

    def clean_up(self) -> None:
        """Drop what all triggers share, if no table has any."""

    def is_locked(self, error: Error) -> bool:
        """Return whether a statement has failed because others have locked the table."""


class WriteTriggers:
    """The triggers of one database, through a connection on which no transaction is open."""

    def __init__(self, connection: CachedConnection, database: Database) -> None:
        """Raises TriggersUnavailable, and ``django.db.Error``."""
        if connection.vendor == "sqlite":
            raise TriggersUnavailable(
                "SQLite needs no triggers: its change counter shows what any program writes, and ormcache looks at it."
            )
        if connection.vendor not in ("postgresql", "mysql"):
            raise TriggersUnavailable("ormcache has triggers for PostgreSQL, MySQL and MariaDB.")
        self._connection = connection
        self._database = database
        self._dialect: Dialect = (
            PostgreSQLTriggers(connection) if connection.vendor == "postgresql" else MySQLTriggers(connection)
        )

    def status(self) -> list[TableTriggers]:
        """Return the state of all tables that need triggers or have some, by name. Raises ``django.db.Error``."""
        problems = self._dialect.problems(self._database.rules.writer)
        wanted = self._wanted(self._dialect.tables())
        return [
            _state(relation, problems.get(relation), is_wanted=relation in wanted)
            for relation in sorted(wanted | problems.keys())
        ]

    def find(self, names: Collection[str]) -> list[str]:
        """Return the tables that these names mean, as ``BLACKLIST`` has them; without names, all that need triggers.

        Raises UnknownTable, and ``django.db.Error``.
        """
        tables = self._dialect.tables()
        if not names:
            return sorted(self._wanted(tables))
        unknown = unmatched(names, tables)
        if unknown:
            raise UnknownTable(f"{', '.join(unknown)}: no table that can have triggers", unknown)
        return sorted(relation for relation in tables if relation in TableFilter(names))

    def installed(self) -> list[str]:
        """Return the tables that have triggers. Raises ``django.db.Error``."""
        return sorted(self._dialect.problems(self._database.rules.writer))

    def install(self, relations: Collection[str]) -> Iterator[TriggerChange]:
        """Create the triggers of these tables, one table at a time, and yield what became of each.

        A table is locked for a moment, when all transactions that have written to it have ended. What was cached of it
        before is invalidated then: nobody has recorded who wrote to it. Raises TriggersUnavailable and
        ``django.db.Error``.
        """
        outbox = find_outbox(self._connection.connection, self._connection.vendor)
        if outbox is None:
            raise TriggersUnavailable(
                f"The table {OUTBOX_TABLE} is missing: add 'ormcache' to INSTALLED_APPS and run 'manage.py migrate'."
            )
        self._dialect.prepare(outbox)
        tables = self._dialect.tables()
        for relation in relations:
            change = self._attempt(relation, tables[relation], installs=True)
            if not change.error:
                self._database.renew(self._database.plans.closure(frozenset({relation})))
            yield change
        self._database.renew(ALL_ROWS_AND_SCHEMA)  # whoever reads the catalog now says that it is ormcache's

    def remove(self, relations: Collection[str]) -> Iterator[TriggerChange]:
        """Drop the triggers of these tables, one table at a time, and yield what became of each.

        Raises ``django.db.Error``.
        """
        tables = self._dialect.tables()
        for relation in relations:
            yield self._attempt(relation, tables.get(relation, relation), installs=False)
        self._dialect.clean_up()
        self._database.renew(ALL_ROWS_AND_SCHEMA)

    def _attempt(self, relation: str, table: str, *, installs: bool) -> TriggerChange:
        """Change the triggers of a table, in several attempts if others have locked it."""
        for attempt in range(MOST_ATTEMPTS):
            try:
                if installs:
                    self._dialect.install(relation, table, self._database.rules.writer)
                else:
                    self._dialect.remove(relation, table)
            except Error as error:
                if self._dialect.is_locked(error) and attempt < MOST_ATTEMPTS - 1:
                    time.sleep(PAUSE)
                    continue
                return TriggerChange(relation, str(error).strip())
            return TriggerChange(relation)
        raise AssertionError("the last attempt returns")

    def _wanted(self, tables: Mapping[str, str]) -> set[str]:
        """Return those of the tables whose writes invalidate something that may be cached."""
        rules, closure = self._database.rules, self._database.plans.closure
        return {
            relation
            for relation in tables
            if any(not is_pseudo(other) and not rules.excludes(other) for other in closure(frozenset({relation})))
        }


def _state(relation: str, problem: str | None, *, is_wanted: bool) -> TableTriggers:
    if problem is None:
        return TableTriggers(relation, TriggerState.MISSING)
    if not is_wanted:
        return TableTriggers(relation, TriggerState.SUPERFLUOUS)
    return TableTriggers(relation, TriggerState.OUTDATED if problem else TriggerState.CURRENT, problem)
