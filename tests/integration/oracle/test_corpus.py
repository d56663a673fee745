"""The statements of tests/corpus on a real database: each is real SQL, and does no more than its row says."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import django.conf
import pytest

from ormcache.catalog import Catalog, ResolutionContext, reader_of
from ormcache.database.catalog_parts import CatalogPart
from ormcache.sql import analyse
from tests import corpus
from tests.oracle import locks
from tests.oracle.authorizer import Authorizer

PLACEHOLDER = re.compile(r"%(?:\((?P<name>\w+)\))?[sbt](?!\w|\()")

#: Says what is wrong with a row
Judge = Callable[[corpus.Row], list[str]]


def with_parameters(sql: str) -> tuple[Any, ...]:
    names = [match["name"] for match in PLACEHOLDER.finditer(sql)]
    if not names:
        return (sql,)
    return (sql, dict.fromkeys(names, "1") if names[0] else ["1"] * len(names))


def error_of(call: Callable[[], Any]) -> Exception | None:
    try:
        call()
    except Exception as error:
        return error
    return None


def unexpected(row: corpus.Row, error: Exception) -> list[str]:
    """Nothing if it is one of those that the row accepts."""
    if any(part.lower() in str(error).lower() for part in row.errors):
        return []
    return [f"{type(error).__name__}: {error}"]


def beyond(row: corpus.Row, read: frozenset[str], written: frozenset[str]) -> list[str]:
    """What the database has read and written that the row does not say."""
    found = []
    if row.verdict == "kept" and (missing := read - row.reads):
        found.append(f"it reads {sorted(missing)}")
    if row.kind in ("read", "write") and "*" not in row.writes and (missing := written - row.writes):
        found.append(f"it writes {sorted(missing)}")
    return found


# PostgreSQL: everything in a transaction that is rolled back -----------------------------------------


@pytest.fixture
def on_postgresql() -> Iterator[tuple[Judge, Any]]:
    import psycopg

    address = _address("dbname", "postgres")
    with psycopg.connect(**address, autocommit=True) as administration:
        administration.execute("CREATE DATABASE corpus")
        connection = psycopg.connect(
            **address | {"dbname": "corpus"}, autocommit=True, prepare_threshold=None, options="-c statement_timeout=5s"
        )
        connection.execute("CREATE SCHEMA s")
        for statement in corpus.schema("postgresql"):
            connection.execute(statement)
        yield lambda row: _judge_postgresql(connection, row), connection
        connection.close()
        administration.execute("DROP DATABASE corpus")


def _judge_postgresql(connection: Any, row: corpus.Row) -> list[str]:
    connection.execute("BEGIN")
    try:
        error = error_of(lambda: _execute_postgresql(connection, row.sql))
        if error is not None:
            return unexpected(row, error)
        (wrote,) = connection.execute("SELECT pg_current_xact_id_if_assigned() IS NOT NULL").fetchone()
        held = locks.held(connection, "postgresql")
        found = beyond(row, held.touched, held.written if row.verdict != "locking" else frozenset())
        return [*found, "it has written"] if wrote and row.verdict == "kept" else found
    finally:
        connection.execute("ROLLBACK")
        if row.sql.startswith("PREPARE TRANSACTION") and error is None:
            connection.execute("ROLLBACK PREPARED 'z'")
        connection.execute("DISCARD ALL")


def _execute_postgresql(connection: Any, sql: str) -> None:
    cursor = connection.cursor()
    if re.search("STDIN|STDOUT", sql) is None:
        cursor.execute(*with_parameters(sql))
        return
    with cursor.copy(sql) as copy:
        if "STDOUT" in sql:
            list(copy)


# MySQL: what commits by itself is only prepared ---------------------------------------------------------


@pytest.fixture
def on_mysql() -> Iterator[tuple[Judge, Any]]:
    import pymysql

    def connect(database: str | None = "main") -> Any:
        return pymysql.connect(**_address("database", database), charset="utf8mb4")

    with connect(None) as administration, administration.cursor() as cursor:
        locks.prepare(administration, "mysql")
        for database in ("main", "s"):
            cursor.execute(f"CREATE DATABASE {database} CHARACTER SET utf8mb4")
        connection = connect()
        for statement in corpus.schema("mysql"):
            connection.cursor().execute(statement)
        connection.commit()
        yield lambda row: _judge_mysql(connect, row), connection
        connection.close()
        for database in ("main", "s"):
            cursor.execute(f"DROP DATABASE {database}")


def _judge_mysql(connect: Callable[[], Any], row: corpus.Row) -> list[str]:
    import pymysql

    with connect() as connection, connection.cursor() as cursor:
        if row.kind == "schema":
            text = connection.escape(row.sql)
            error = error_of(lambda: cursor.execute(f"PREPARE statement FROM {text}"))
            # Understood, and not to be prepared
            unprepared = isinstance(error, pymysql.err.MySQLError) and error.args[0] == 1295
            return [] if error is None or unprepared else unexpected(row, error)
        error = error_of(lambda: (cursor.execute(*with_parameters(row.sql)), cursor.fetchall()))
        if error is not None:
            return unexpected(row, error)
        held = locks.held(connection, "mysql")
        # Of sequences no result is ever kept.
        written = held.written - {"counter"} if row.verdict != "locking" else frozenset()
        return beyond(row, held.touched, written)


# SQLite: a database in memory for each statement ----------------------------------------------------------


@pytest.fixture
def on_sqlite() -> Iterator[tuple[Judge, Any]]:
    connection = _sqlite()
    yield _judge_sqlite, connection
    connection.close()


def _sqlite() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("ATTACH ':memory:' AS s")
    for statement in corpus.schema("sqlite"):
        connection.execute(statement)
    return connection


def _judge_sqlite(row: corpus.Row) -> list[str]:
    connection = _sqlite()
    try:
        if row.kind in ("read", "write", "transaction"):
            connection.execute("BEGIN")
        authorizer = Authorizer(connection)
        sql, *parameters = with_parameters(row.sql)
        if parameters:
            sql = PLACEHOLDER.sub("?", sql).replace("%%", "%")
        before = connection.total_changes
        error = error_of(lambda: connection.execute(sql, *parameters).fetchall())
        if error is not None:
            return unexpected(row, error)
        found = beyond(row, authorizer.told("read") - {"json_each", "json_tree"}, authorizer.told("written"))
        wrote = connection.total_changes != before and row.verdict == "kept"
        return [*found, "it has written"] if wrote else found
    finally:
        connection.close()


def _address(key: str, database: str | None) -> dict[str, Any]:
    settings = django.conf.settings.DATABASES["plain"]
    address = {"host": settings["HOST"], "port": settings["PORT"], "user": settings["USER"], key: database}
    return address | ({"password": settings["PASSWORD"]} if settings["PASSWORD"] else {})


# The tests ------------------------------------------------------------------------------------------------


@pytest.fixture
def real(engine: str, request: pytest.FixtureRequest) -> tuple[Judge, Any]:
    answer: tuple[Judge, Any] = request.getfixturevalue(f"on_{engine}")
    return answer


def rows_of(engine: str) -> list[corpus.Row]:
    return [row for row in corpus.rows() if row.vendor == engine]


def test_the_database_agrees(engine: str, real: tuple[Judge, Any]) -> None:
    judge, _ = real
    faults = [f"{row}\n    {fault}" for row in rows_of(engine) for fault in judge(row)]

    assert not faults, "\n".join(faults)


def test_the_real_catalog_leads_to_the_same_plans(engine: str, real: tuple[Judge, Any]) -> None:
    _, connection = real
    catalog = Catalog(engine, reader_of(engine).load(SimpleNamespace(connection=connection)))
    user, path = None, None
    if engine == "postgresql":
        (user,) = connection.execute("SELECT current_user").fetchone()
        path = ("public",)
    scope = catalog.resolver_for(ResolutionContext(path, user and user.lower()))
    planner = corpus.planner(engine)
    faults = [
        f"{row}\n    {told}"
        for row in rows_of(engine)
        if (told := corpus.told(planner.plan(analyse(row.sql, engine), CatalogPart(catalog), scope), row))
        != corpus.expected(row)
    ]

    assert not faults, "\n".join(faults)
