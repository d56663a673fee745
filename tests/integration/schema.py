"""A small schema that a test fills with views, triggers and the like, and what a write then reaches.

Four tables, ``a`` to ``d``, each with the rows (1, 'one', 1) and (2, 'two', 2). What the test makes besides is gone
after it. On every write that is checked, the database's own word is asked for as well: see :mod:`tests.oracle.locks`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection, connections, models, transaction

from ormcache.catalog import EPOCH
from tests.integration.reading import ENGINE, Reading, execute, model_of, rows_of, stats
from tests.oracle import locks
from tests.oracle.authorizer import Authorizer

TABLES = ("a", "b", "c", "d")

_SCHEMA = "public" if ENGINE == "postgresql" else "main"

_POSTGRESQL_OBJECTS = """
    SELECT 'TABLE', c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
    WHERE relkind IN ('r', 'p') AND nspname = 'public' AND NOT relispartition
    UNION SELECT 'VIEW', c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
    WHERE relkind = 'v' AND nspname = 'public'
    UNION SELECT 'SEQUENCE', c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
    WHERE relkind = 'S' AND nspname = 'public'
    UNION SELECT CASE prokind WHEN 'a' THEN 'AGGREGATE' ELSE 'ROUTINE' END, p.oid::regprocedure::text FROM pg_proc p
    JOIN pg_namespace n ON n.oid = pronamespace WHERE nspname = 'public'
    UNION SELECT 'TYPE', t.oid::regtype::text FROM pg_type t JOIN pg_namespace n ON n.oid = typnamespace
    WHERE nspname = 'public' AND typtype IN ('c', 'd', 'e', 'r') AND (typrelid = 0 OR
    EXISTS (SELECT FROM pg_class c WHERE c.oid = typrelid AND relkind = 'c'))
    UNION SELECT 'SCHEMA', quote_ident(nspname) FROM pg_namespace WHERE nspname !~ '^pg_'
    UNION SELECT 'EXTENSION', quote_ident(extname) FROM pg_extension
    UNION SELECT 'SERVER', quote_ident(srvname) FROM pg_foreign_server
    UNION SELECT 'FOREIGN DATA WRAPPER', quote_ident(fdwname) FROM pg_foreign_data_wrapper
    UNION SELECT 'ROLE', quote_ident(rolname) FROM pg_roles WHERE rolname !~ '^pg_'
"""
_MYSQL_OBJECTS = """
    SELECT CASE TABLE_TYPE WHEN 'VIEW' THEN 'VIEW' WHEN 'SEQUENCE' THEN 'SEQUENCE' ELSE 'TABLE' END,
           CONCAT('`', TABLE_NAME, '`') FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()
    UNION SELECT ROUTINE_TYPE, ROUTINE_NAME FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = DATABASE()
    UNION SELECT 'DATABASE', CONCAT('`', SCHEMA_NAME, '`') FROM information_schema.SCHEMATA
"""
_SQLITE_OBJECTS = (
    "SELECT upper(type), name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%'"
)

_OBJECTS = {"postgresql": _POSTGRESQL_OBJECTS, "mysql": _MYSQL_OBJECTS, "sqlite": _SQLITE_OBJECTS}[ENGINE]

#: What has to go before what
_ORDER = [
    "EXTENSION", "FOREIGN DATA WRAPPER", "SCHEMA", "DATABASE", "VIEW", "TABLE", "SEQUENCE",
    "AGGREGATE", "ROUTINE", "FUNCTION", "PROCEDURE", "TYPE", "SERVER", "ROLE",
]  # fmt: skip


def row_model(table: str) -> type[models.Model]:
    """A model of any relation that has the columns ``id``, ``name`` and ``ref``."""
    return model_of(table, name=models.TextField(null=True), ref=models.IntegerField(null=True))


class World:
    """The schema of one test."""

    def __init__(self, queries: Any) -> None:
        self.queries = queries

    def cursor(self) -> Any:
        return connections["plain"].cursor()

    def make(self, *statements: str) -> None:
        """Run each of these through the cache, in a session without any settings."""
        connection.close()
        for statement in statements:
            execute(statement)
        connection.close()

    def reading(self, relation: str) -> Reading:
        return Reading(self.queries, rows_of(row_model(relation)))

    def check(self, write: str, *, changed: str = "", stale: str = "", kept: str = "") -> None:
        """A write invalidates the rows of ``changed`` and not those of ``kept``, space between the names of each.

        ``stale``: their rows may have changed, and have not.
        """
        names = f"{changed} {stale} {kept}".split()
        for name in names:
            self._ask_witness_of_reading(name)
        readings = {name: self.reading(name) for name in names}
        self._ask_witness_of_writing(write)
        execute(write)
        for name in changed.split():
            readings[name].assert_fresh()
        for name in stale.split():
            readings[name].assert_fresh(changed=False)
        for name in kept.split():
            readings[name].assert_hit()

    def assert_uncached(self, relation: str, reason: str) -> None:
        """Every read of the relation goes to the database, for this reason."""
        connection.close()
        for _ in range(2):
            before = stats()["bypassed"].get(reason, 0)
            with self.queries(1):
                list(row_model(relation).objects.values_list("id"))
            assert stats()["bypassed"].get(reason, 0) == before + 1, stats()["bypassed"]

    def assert_uncached_now(self, relation: str) -> None:
        """On this connection, as it is, reads go to the database."""
        for _ in range(2):
            with self.queries(1):
                list(row_model(relation).objects.values_list("id"))

    def assert_shared_now(self, reading: Reading) -> None:
        """This connection, as it is, shares what others have cached."""
        with self.queries(0):
            assert reading.read() == reading.before

    # What the database itself says ---------------------------------------------------

    def _ask_witness_of_reading(self, relation: str) -> None:
        sql = str(row_model(relation).objects.values_list("id", "name").query)
        told = _touched(sql)
        known = plan_of(sql)
        # A partition is invalidated along with what it is a part of.
        scope = known.catalog.resolver_for()
        missing = {name for name in told.touched if scope.written([name]).isdisjoint(known.relations)}
        assert not missing, f"reading {relation} reads {sorted(missing)} as well"

    def _ask_witness_of_writing(self, sql: str) -> None:
        if sql.split(maxsplit=1)[0].upper() not in ("INSERT", "UPDATE", "DELETE", "SELECT", "WITH", "MERGE", "REPLACE"):
            return  # may end the transaction in which it is tried
        told = _touched(sql)
        known = plan_of(sql)
        if EPOCH not in known.written:
            missing = _folded(told.written) - _folded(known.written)
            assert not missing, f"it writes {sorted(missing)} as well"


def plan_of(sql: str) -> Any:
    """What ormcache makes of a text on the connection under test."""
    connection.ensure_connection()
    state = connection.ormcache
    assert state.known().catalog_cache.ensure_loaded(connection, state.resolution_context(), sql)
    return state.known().plans.plan(sql, state.resolution_context())[0]


def _touched(sql: str) -> locks.Locked:
    """What the database has touched for a statement, which is undone."""
    plain = connections["plain"]
    if ENGINE == "sqlite":
        return _authorized(sql)
    locks.prepare(plain, plain.vendor)
    with transaction.atomic(using="plain"):
        with locks.locked(plain) as found:
            execute(sql, using="plain")
            if ENGINE == "postgresql":
                execute("SET CONSTRAINTS ALL IMMEDIATE", using="plain")
        transaction.set_rollback(True, using="plain")
    return found


def _authorized(sql: str) -> locks.Locked:
    plain = connections["plain"]
    plain.close()
    plain.ensure_connection()
    authorizer = Authorizer(plain.connection)
    with transaction.atomic(using="plain"):
        authorizer.forget()
        execute(sql, using="plain")
        found = locks.Locked(authorizer.told("read"), authorizer.told("written"))
        transaction.set_rollback(True, using="plain")
    plain.close()
    return found


def _folded(names: frozenset[str]) -> set[str]:
    return {name.lower() for name in names}


# The schema ------------------------------------------------------------------------


@contextmanager
def made(queries: Any) -> Iterator[World]:
    """A :class:`World`; after the block everything that was made inside is gone."""
    before = _objects()
    for table in TABLES:
        tail = " ENGINE=InnoDB" if ENGINE == "mysql" else ""
        execute(f"CREATE TABLE {table} (id integer PRIMARY KEY, name varchar(100), ref integer){tail}", using="plain")
        execute(f"INSERT INTO {table} VALUES (1, 'one', 1), (2, 'two', 2)", using="plain")
    try:
        yield World(queries)
    finally:
        connections.close_all()
        _sweep(before)


def _objects() -> set[tuple[str, str]]:
    with connections["plain"].cursor() as cursor:
        cursor.execute(_OBJECTS)
        return {(kind, name) for kind, name in cursor.fetchall()}


def _sweep(before: set[tuple[str, str]]) -> None:
    if ENGINE == "sqlite":
        execute("PRAGMA foreign_keys = OFF", using="plain")
    elif ENGINE == "mysql":
        execute("SET foreign_key_checks = 0", using="plain")
    cascade = " CASCADE" if ENGINE == "postgresql" else ""
    for kind in _ORDER:
        # Asked anew for each kind: with a schema or an extension others have gone.
        for found, name in sorted(_objects() - before):
            if found != kind:
                continue
            if kind == "ROLE":
                execute(f"DROP OWNED BY {name}", using="plain")
            quoted = f'"{name}"' if ENGINE == "sqlite" else name
            tail = "" if kind == "ROLE" else cascade
            execute(f"DROP {kind} IF EXISTS {quoted}{tail}", using="plain")
    connections["plain"].close()


def run(statements: list[str]) -> None:
    """For another process."""
    for statement in statements:
        execute(statement)
