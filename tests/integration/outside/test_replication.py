"""Rows that arrive by replication from another server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from django.db import connections

from ormcache.outside import write_watch as write_watch_module
from ormcache.outside.connections import own_connections
from ormcache.outside.write_watch import WriteWatch
from tests.integration.calls import names
from tests.integration.outside.outbox import outbox
from tests.integration.reading import ENGINE, execute, not_on_sqlite
from tests.waiting import eventually

pytestmark = [not_on_sqlite, pytest.mark.slow]

OTHER = "another_shop"


@pytest.fixture
def other_server(start_server: Callable[..., Any], database: None) -> Iterator[Callable[[str], None]]:
    """``other_server("INSERT …")``: runs it on another server, from which the database follows the table of authors."""
    yield from (_publishing if ENGINE == "postgresql" else _logging)(start_server)


def _publishing(start_server: Callable[..., Any]) -> Iterator[Callable[[str], None]]:
    server = start_server("postgresql")
    with psycopg.connect(server.url, autocommit=True) as altering:
        altering.execute("ALTER SYSTEM SET wal_level = logical")
    server.restart()
    with psycopg.connect(server.url, autocommit=True) as publishing:
        publishing.execute("CREATE TABLE shop_author (id bigint PRIMARY KEY, name text, email text, active boolean)")
        publishing.execute("CREATE PUBLICATION authors FOR TABLE shop_author")
        publishing.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [OTHER])
        # The slot exists already, because subscribing cannot make one in a transaction with other statements.
        source = f"host={server.host} port={server.port} user=postgres dbname=postgres"
        execute(
            f"CREATE SUBSCRIPTION {OTHER} CONNECTION '{source}' PUBLICATION authors "
            f"WITH (create_slot = false, copy_data = false, slot_name = {OTHER})",
            using="plain",
        )
        yield lambda sql: publishing.execute(sql) and None
        for statement in ("DISABLE", "SET (slot_name = NONE)"):
            execute(f"ALTER SUBSCRIPTION {OTHER} {statement}", using="plain")
        execute(f"DROP SUBSCRIPTION {OTHER}", using="plain")


def _logging(start_server: Callable[..., Any]) -> Iterator[Callable[[str], None]]:
    server = start_server("mysql", options=["--log-bin=log", "--server-id=2", "--binlog-format=ROW"])
    plain, source = connections["plain"], connections["plain"].copy()
    source.settings_dict = {**source.settings_dict, "HOST": server.host, "PORT": server.port, "NAME": ""}
    with plain.cursor() as here, source.cursor() as there:
        here.execute("SHOW CREATE TABLE shop_author")
        created = here.fetchone()[1]
        there.execute(f"CREATE DATABASE {plain.settings_dict['NAME']}")
        there.execute(f"USE {plain.settings_dict['NAME']}")
        there.execute(created)
        there.execute("SHOW MASTER STATUS")
        file, position = there.fetchone()[:2]
        here.execute(
            f"CHANGE MASTER '{OTHER}' TO MASTER_HOST = '{server.host}', MASTER_PORT = {server.port}, "
            f"MASTER_USER = 'root', MASTER_LOG_FILE = '{file}', MASTER_LOG_POS = {position}"
        )
        here.execute(f"START SLAVE '{OTHER}'")
        yield lambda sql: there.execute(sql) and None
    source.close()
    execute(f"STOP SLAVE '{OTHER}'", using="plain")
    execute(f"RESET SLAVE '{OTHER}' ALL", using="plain")


STATEMENTS = (
    ("INSERT INTO shop_author (id, name, active) VALUES (1, 'A', true), (2, 'B', true)", ["A", "B"]),
    ("UPDATE shop_author SET name = 'C' WHERE id = 2", ["A", "C"]),
    ("DELETE FROM shop_author WHERE id = 1", ["C"]),
    ("DELETE FROM shop_author", []),
)


def test_they_are_counted(
    other_server: Callable[[str], None], configure: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(OUTSIDE_WRITES_INTERVAL=3600)
    monkeypatch.setattr(write_watch_module, "LATEST", -1.0)
    watch = WriteWatch()

    def look() -> list[str]:
        connections["default"].ensure_connection()
        watch.run({"default": connections["default"].ormcache.database})  # type: ignore[attr-defined]
        return names()

    look()
    for statement, expected in STATEMENTS:
        other_server(statement)
        eventually(lambda: look() == expected)  # noqa: B023
        assert names("plain") == expected
    own_connections.close_all()


def test_no_trigger_records_them(other_server: Callable[[str], None], installed: None) -> None:
    """The documented limit: PostgreSQL runs there the triggers of rows, and none of statements."""
    for statement, expected in STATEMENTS:
        other_server(statement)
        eventually(lambda: names("plain") == expected)  # noqa: B023
    assert outbox() == []
