"""The databases of a test run: made from nothing, and emptied between tests.

All of it goes through Django's stock backends (the ``plain`` aliases): a fault in ormcache shows in the
tests of it, not in their preparation.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import django.conf
from django.core.management import call_command
from django.core.management.color import no_style
from django.db import OperationalError, connections

from ormcache.cache import invalidation_queue
from tests import environment

#: Alias through ormcache → alias of the same database through Django's own backend
PLAIN = {"default": "plain", "second": "second_plain"}

#: Filled once when the tables are made, and expected by Django's own apps
KEPT_TABLES = {"django_content_type", "auth_permission", "django_migrations"}

#: Open connections that empty the databases
_emptying: dict[str, Any] = {}

LOCK_TIMEOUT = 10  # seconds; a test that leaves a lock behind fails the next one instead of stopping it


def create(run: environment.Run) -> None:
    for alias, plain in PLAIN.items():
        _create_database(run, run.database_name(alias))
        _create_tables(plain)


def drop(run: environment.Run) -> None:
    connections.close_all()
    while _emptying:
        _emptying.popitem()[1].close()
    if run.engine == "sqlite":
        return  # goes with the folder
    force = " WITH (FORCE)" if run.engine == "postgresql" else ""
    with _administration(run) as execute:
        for alias in PLAIN:
            execute(f"DROP DATABASE IF EXISTS {run.database_name(alias)}{force}")


def flush() -> None:
    """Empty all tables, in both databases."""
    for plain in PLAIN.values():
        try:
            _empty(_emptying_connection(plain))
        except OperationalError:  # a test has ended all connections
            if plain not in _emptying:
                raise
            _emptying.pop(plain).close()
            _empty(_emptying_connection(plain))


def _emptying_connection(plain: str) -> Any:
    """A connection that stays open from test to test if opening one takes longer than the emptying."""
    if connections[plain].vendor == "sqlite":
        return connections[plain]
    if plain not in _emptying:
        connection = connections[plain].copy()
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}s'")
                cursor.execute("SET session_replication_role = replica")  # no foreign keys, triggers and rules
            else:
                cursor.execute(f"SET lock_wait_timeout = {LOCK_TIMEOUT}, innodb_lock_wait_timeout = {LOCK_TIMEOUT}")
        _emptying[plain] = connection
    return _emptying[plain]


def _empty(connection: Any) -> None:
    with connection.cursor() as cursor:
        tables = set(connection.introspection.table_names(cursor)) - KEPT_TABLES
        quoted = {table: connection.ops.quote_name(table) for table in tables}
        # Emptying costs milliseconds a table, asking next to nothing.
        questions = [f"SELECT '{table}' WHERE EXISTS (SELECT 1 FROM {name})" for table, name in quoted.items()]
        cursor.execute(" UNION ALL ".join(questions))
        filled = [table for (table,) in cursor.fetchall()]
    if filled and connection.vendor == "postgresql":
        # TRUNCATE takes as long as a hundred of these: it makes new files for all tables that refer to a filled one.
        with connection.cursor() as cursor:
            cursor.execute("; ".join(f"DELETE FROM {quoted[table]}" for table in filled))
    elif filled:
        connection.ops.execute_sql_flush(connection.ops.sql_flush(no_style(), filled))


def forget_pending() -> None:
    """Let nothing wait any longer for a store that a test has left away: a thread would ask it until the run ends.

    The threads end at their next attempt, and are not waited for.
    """
    for queue in list(invalidation_queue._queues):
        with queue._lock:
            queue._replace(lambda before: {})


def forget_connections() -> None:
    """Close this thread's connections and forget the objects: whatever a test did to them ends with it."""
    for connection in connections.all(initialized_only=True):
        connection.close()
        del connections[connection.alias]


def _create_database(run: environment.Run, name: str) -> None:
    if run.engine == "sqlite":
        return
    characters = " CHARACTER SET utf8mb4" if run.engine == "mysql" else ""
    with _administration(run) as execute:
        execute(f"CREATE DATABASE {name}{characters}")
    if run.engine == "postgresql":
        # Before Django's first connection: it asks for the types of an extension once.
        with _administration(run, name) as execute:
            execute("CREATE EXTENSION hstore")


def _create_tables(alias: str) -> None:
    # Here, because models can be imported only when Django is set up.
    from tests.shop.models import LEGACY_STOCK_ID, LEGACY_STOCK_SQL

    connection = connections[alias]
    call_command("migrate", database=alias, run_syncdb=True, interactive=False, skip_checks=True, verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute(LEGACY_STOCK_SQL.format(id=LEGACY_STOCK_ID[connection.vendor]))


@contextlib.contextmanager
def _administration(run: environment.Run, database: str | None = None) -> Iterator[Any]:
    """Runs statements outside any transaction, through the driver; without a name, outside any test database."""
    settings = django.conf.settings.DATABASES["plain"]
    address: dict[str, Any] = {"host": settings["HOST"], "port": settings["PORT"], "user": settings["USER"]}
    if settings["PASSWORD"]:
        address["password"] = settings["PASSWORD"]
    if run.engine == "postgresql":
        import psycopg as driver

        address["dbname"] = database or "postgres"
    else:
        import pymysql as driver
    connection = driver.connect(**address, autocommit=True)
    try:
        yield connection.cursor().execute
    finally:
        connection.close()
