"""Rows that arrive by logical replication from another server."""

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
from tests.integration.reading import execute, only_postgresql
from tests.waiting import eventually

pytestmark = only_postgresql

SLOT = "another_shop"


@pytest.fixture
def publisher(start_server: Callable[..., Any], database: None) -> Iterator[Callable[[str], None]]:
    """``publisher("INSERT …")``: runs it on another server, from which the database follows the table of authors."""
    server = start_server("postgresql")
    with psycopg.connect(server.url, autocommit=True) as altering:
        altering.execute("ALTER SYSTEM SET wal_level = logical")
    server.restart()
    with psycopg.connect(server.url, autocommit=True) as publishing:
        publishing.execute("CREATE TABLE shop_author (id bigint PRIMARY KEY, name text, email text, active boolean)")
        publishing.execute("CREATE PUBLICATION authors FOR TABLE shop_author")
        publishing.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [SLOT])
        # The slot exists already, because subscribing cannot make one in a transaction with other statements.
        source = f"host={server.host} port={server.port} user=postgres dbname=postgres"
        execute(
            f"CREATE SUBSCRIPTION {SLOT} CONNECTION '{source}' PUBLICATION authors "
            f"WITH (create_slot = false, copy_data = false, slot_name = {SLOT})",
            using="plain",
        )
        yield lambda sql: publishing.execute(sql) and None
        for statement in ("DISABLE", "SET (slot_name = NONE)"):
            execute(f"ALTER SUBSCRIPTION {SLOT} {statement}", using="plain")
        execute(f"DROP SUBSCRIPTION {SLOT}", using="plain")


STATEMENTS = (
    ("INSERT INTO shop_author VALUES (1, 'A', NULL, true), (2, 'B', NULL, true)", ["A", "B"]),
    ("UPDATE shop_author SET name = 'C' WHERE id = 2", ["A", "C"]),
    ("DELETE FROM shop_author WHERE id = 1", ["C"]),
    ("DELETE FROM shop_author", []),
)


def test_what_a_subscription_applies_is_counted(
    publisher: Callable[[str], None], configure: Callable[..., None], monkeypatch: pytest.MonkeyPatch
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
        publisher(statement)
        eventually(lambda: look() == expected)  # noqa: B023
        assert names("plain") == expected
    own_connections.close_all()


def test_triggers_do_not_run_for_a_subscription(publisher: Callable[[str], None], installed: None) -> None:
    """The documented limit: PostgreSQL runs those of rows there, and none of statements."""
    for statement, expected in STATEMENTS:
        publisher(statement)
        eventually(lambda: names("plain") == expected)  # noqa: B023
    assert outbox() == []
