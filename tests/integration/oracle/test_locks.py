"""The database's own word on what a statement reaches: by the locks that it takes, see :mod:`tests.oracle.locks`.

SQLite has no such locks and tells the same when it compiles a statement, see :mod:`tests.oracle.authorizer`.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import DatabaseError, connections, transaction

from ormcache.sql import analyse
from tests.integration.reading import ENGINE, QUOTE, execute, not_on_sqlite
from tests.oracle import generated, mutated
from tests.oracle.authorizer import Authorizer
from tests.oracle.judge import against_tables, may_be_kept
from tests.oracle.locks import Locked, held, locked, prepare
from tests.oracle.planning import plan_of
from tests.shop.models import Author, Book, Genre, Review


@pytest.fixture(autouse=True)
def _prepared() -> None:
    for alias in ("default", "plain"):
        connections[alias].ensure_connection()
    if ENGINE == "sqlite":
        return
    try:
        prepare(connections["plain"].connection, ENGINE)
    except Exception as error:
        pytest.skip(f"the server does not show its locks: {error}")


@pytest.fixture
def tables() -> Iterator[None]:
    """Those of the texts made by chance, empty."""
    names = [f"{QUOTE}{table}{QUOTE}" for table in [*generated.TABLES, "narrow"]]
    for statement in generated.schema(ENGINE):
        execute(statement, using="plain")
    read_catalog_again()
    yield
    connections.close_all()
    for name in names:
        execute(f"DROP TABLE {name}", using="plain")


# What it sees --------------------------------------------------------------------------------------


@not_on_sqlite
def test_tables_that_are_read():
    with transaction.atomic("plain"), locked(connections["plain"]) as found:
        list(Book.objects.using("plain").filter(author__name="x", genres__name="y"))

    through = Book.genres.through._meta.db_table
    assert found.touched == {table(Book), table(Author), table(Genre), through}
    assert found.written == set()


@not_on_sqlite
def test_tables_that_are_written():
    with transaction.atomic("plain"):
        list(Genre.objects.using("plain").all())
        with locked(connections["plain"]) as found:
            Review.objects.using("plain").filter(book__title="x").delete()
            list(Genre.objects.using("plain").all())

    assert found.written == {table(Review)}
    assert found.touched == {table(Review), table(Book)}


@not_on_sqlite
def test_views_and_triggers(ddl):
    ddl(f"CREATE VIEW shown AS SELECT stars FROM {table(Review)}", "DROP VIEW shown")
    body = f"INSERT INTO {table(Genre)} (name) VALUES ('by trigger')"
    if ENGINE == "postgresql":
        ddl(
            f"CREATE FUNCTION fired() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN {body.replace(chr(39), chr(39) * 2)};"
            " RETURN NULL; END'",
            "DROP FUNCTION fired()",
        )
        ddl(
            f"CREATE TRIGGER fires AFTER INSERT ON {table(Author)} EXECUTE FUNCTION fired()",
            f"DROP TRIGGER fires ON {table(Author)}",
        )
    else:
        ddl(f"CREATE TRIGGER fires AFTER INSERT ON {table(Author)} FOR EACH ROW {body}", "DROP TRIGGER fires")

    with transaction.atomic("plain"):
        with locked(connections["plain"]) as read:
            execute("SELECT * FROM shown", using="plain")
        with locked(connections["plain"]) as written:
            Author.objects.using("plain").create(name="x", email="x@x.org")
        transaction.set_rollback(True, "plain")

    assert read.touched == {"shown", table(Review)}
    assert written.written == {table(Author), table(Genre)}


def table(model: Any) -> str:
    return model._meta.db_table


# Texts by chance -----------------------------------------------------------------------------------


def test_generated_reads(tables):
    driver = hasty(connections["plain"])
    misses, taken, kept = [], 0, 0
    for seed in range(500):
        text = generated.text(ENGINE, seed, depth=1 if ENGINE == "mysql" else 2)  # MariaDB plans them for minutes
        found = run_alone(driver, text)
        if found is None:
            continue
        taken += 1
        plan = plan_of(connections["default"], text)
        wrong = against_tables(analyse(text, ENGINE), found.touched)
        kept += plan.bypass_reason is None
        if plan.bypass_reason is None and found.touched - plan.relations:
            wrong.append(f"not in the plan: {found.touched - plan.relations}")
        if wrong:
            misses.append((text, wrong))

    assert not misses, min(misses, key=lambda miss: len(miss[0]))
    assert taken > 300
    assert kept > taken * 0.7  # texts in the place of names, which SQLite takes, are not all understood


def test_generated_views(tables):
    """What lies under a view is what the database made of its query, and what the catalog makes of that."""
    views, driver = [], hasty(connections["plain"])
    for seed in range(100):
        text = generated.text(ENGINE, seed, depth=1 if ENGINE == "mysql" else 2)
        under = f" UNION SELECT a, b FROM {views[-1]}" if views and seed % 3 == 2 else ""
        try:
            execute(f"CREATE VIEW v{seed} AS SELECT s.a, s.b FROM ({text}) s{under}", using="plain")
        except DatabaseError:
            continue
        views.append(f"v{seed}")
    read_catalog_again()
    try:
        misses, kept = [], 0
        for view in views:
            text = f"SELECT * FROM {view}"
            plan, found = plan_of(connections["default"], text), run_alone(driver, text)
            if found is None or plan.bypass_reason is not None:
                continue
            kept += 1
            if found.touched - plan.relations:
                misses.append((view, found.touched - plan.relations))
    finally:
        for view in reversed(views):
            execute(f"DROP VIEW {view}", using="plain")

    assert not misses, misses
    assert kept > 50


@not_on_sqlite
def test_nothing_that_may_be_kept_writes(tables):
    driver = hasty(connections["plain"])
    misses, taken = [], 0
    for seed in range(1500):
        text = mutated.mutated(ENGINE, random.Random(seed))
        if not may_be_kept(analyse(text, ENGINE)):
            continue
        found = run_alone(driver, text)
        if found is None:
            continue
        taken += 1
        if found.written:
            misses.append((text, found.written))

    assert not misses, min(misses, key=lambda miss: len(miss[0]))
    assert taken > 100


#: A join of twenty tables is not to be thought about
_HASTY = {
    "postgresql": ["SET from_collapse_limit = 1", "SET join_collapse_limit = 1", "SET jit = off"],
    "mysql": ["SET optimizer_search_depth = 1", "SET max_statement_time = 5"],
    "sqlite": [],
}


def hasty(connection: Any) -> Any:
    for setting in _HASTY[ENGINE]:
        execute(setting, using=connection.alias)
    return connection.connection


def read_catalog_again() -> None:
    """What came past the cache is not known otherwise."""
    connections["default"].ensure_connection()
    connections["default"].ormcache.database.catalog_cache.forget()


def run_alone(driver: Any, text: str) -> Locked | None:
    """What a text locks, in a transaction of its own that is undone; None if the database refuses the text."""
    if ENGINE == "sqlite":
        return compiled(driver, text)
    cursor = driver.cursor()
    try:
        cursor.execute("ROLLBACK")
        cursor.execute("BEGIN")
        try:
            cursor.execute(text)
            cursor.fetchall()
        except Exception:
            return None
        found = held(driver, ENGINE)
        cursor.execute(
            "SELECT pg_current_xact_id_if_assigned() IS NULL" if ENGINE == "postgresql" else "SELECT @@in_transaction"
        )
        (unwritten,) = cursor.fetchone()
        if not unwritten:
            found.written |= {"something"}
        return found
    finally:
        cursor.execute("ROLLBACK")
        cursor.close()


def compiled(driver: Any, text: str) -> Locked | None:
    authorizer = Authorizer(driver)
    try:
        driver.execute(f"EXPLAIN {text}").close()
    except sqlite3.Error:
        return None
    # A table of which no column is read is named as the text spells it.
    read, written = (frozenset(map(str.lower, authorizer.told(kind))) for kind in ("read", "written"))
    return Locked(read, written)
