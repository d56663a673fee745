"""The triggers of PostgreSQL that record writes: one for each table, which runs once a statement."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from django.db import Error

from ormcache.catalog.outbox import OUTBOX_TABLE
from ormcache.catalog.write_triggers import POSTGRESQL_NAME, WRITER_SETTING, is_postgresql_function, postgresql_body

if TYPE_CHECKING:
    from ormcache.connection.protocol import CachedConnection

LOCK_TIMEOUT = "1s"  # for which writers of a table wait behind the installation at most

#: A relation as the catalog names it
_RELATION = "CASE n.nspname WHEN 'public' THEN '' ELSE n.nspname || '.' END || c.relname"
_TABLES = f"""
    SELECT {_RELATION}, format('%%I.%%I', n.nspname, c.relname)
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND c.relname <> %s
      AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      AND NOT EXISTS (
          SELECT FROM pg_catalog.pg_depend d
          WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
      )
"""
_TRIGGERS = f"""
    SELECT {_RELATION}, t.tgtype, t.tgenabled::text, pg_catalog.encode(t.tgargs, 'escape'),
           p.prosrc, p.prosecdef AND p.proconfig IS NOT NULL
    FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
    WHERE t.tgname = %s AND NOT t.tgisinternal
"""
_FUNCTIONS = """
    SELECT pg_catalog.format('%%I.%%I', n.nspname, p.proname), p.prosrc,
           EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgfoid = p.oid)
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE p.proname = %s
"""
# After INSERT, DELETE, UPDATE or TRUNCATE, for each statement:
# https://doxygen.postgresql.org/pg__trigger_8h.html
_EVERY_STATEMENT = 4 | 8 | 16 | 32
_ALWAYS = "A"  # also in sessions that apply changes of another server (session_replication_role)

#: SQLSTATE of a lock that was not to be had in time
_LOCK_NOT_AVAILABLE = "55P03"


class PostgreSQLTriggers:
    """See :class:`ormcache.outside.triggers.Dialect`."""

    def __init__(self, connection: CachedConnection) -> None:
        self._connection = connection
        self._function = ""

    def tables(self) -> Mapping[str, str]:
        return dict(self._run(_TABLES, OUTBOX_TABLE))

    def problems(self, writer: int) -> Mapping[str, str]:
        rows = self._run(_TRIGGERS, POSTGRESQL_NAME)
        return {relation: _problem(writer, *described) for relation, *described in rows}

    def prepare(self, outbox: str) -> None:
        self._function = outbox.replace(OUTBOX_TABLE, POSTGRESQL_NAME)
        # Its owner inserts: who writes to a table need not have any right to the outbox.
        self._run(
            f"CREATE OR REPLACE FUNCTION {self._function}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER"
            f" SET search_path = pg_catalog, pg_temp AS $function${postgresql_body(outbox)}$function$"
        )

    def install(self, relation: str, table: str, writer: int) -> None:
        self._run_locking(
            f"CREATE OR REPLACE TRIGGER {POSTGRESQL_NAME} AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table}"
            f" FOR EACH STATEMENT"
            f" WHEN (pg_catalog.current_setting('{WRITER_SETTING}', true) IS DISTINCT FROM '{writer}')"
            f" EXECUTE FUNCTION {self._function}('{writer}')",
            # Not those of its partitions, which have their own.
            f"ALTER TABLE ONLY {table} ENABLE ALWAYS TRIGGER {POSTGRESQL_NAME}",
        )

    def remove(self, relation: str, table: str) -> None:
        self._run_locking(f"DROP TRIGGER IF EXISTS {POSTGRESQL_NAME} ON {table}")

    def clean_up(self) -> None:
        for function, source, is_used in self._run(_FUNCTIONS, POSTGRESQL_NAME):
            if not is_used and is_postgresql_function(POSTGRESQL_NAME, source):
                self._run(f"DROP FUNCTION IF EXISTS {function}()")

    def is_locked(self, error: Error) -> bool:
        cause = error.__cause__
        return _LOCK_NOT_AVAILABLE in (getattr(cause, "sqlstate", None), getattr(cause, "pgcode", None))

    def _run(self, sql: str, *params: Any) -> list[Any]:
        """Run a statement on the driver's connection: it changes nothing that is cached."""
        with self._connection.wrap_database_errors, self._connection.connection.cursor() as cursor:
            cursor.execute(sql, params or None)  # else the driver would look for placeholders
            return list(cursor.fetchall()) if cursor.description is not None else []

    def _run_locking(self, *statements: str) -> None:
        """Run statements in a transaction that waits for its locks no longer than others may wait for it."""
        self._run("BEGIN")
        try:
            self._run(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
            for statement in statements:
                self._run(statement)
            self._run("COMMIT")
        except BaseException:
            with suppress(Error):
                self._run("ROLLBACK")
            raise


def _problem(writer: int, events: int, enabled: str, arguments: str, source: str, is_protected: bool) -> str:
    """Return why a trigger is outdated, "" if it is not."""
    if enabled != _ALWAYS:
        return "disabled, or not run by every session"
    if events != _EVERY_STATEMENT or not is_protected or not is_postgresql_function(POSTGRESQL_NAME, source):
        return "changed, or of another version of ormcache"
    if arguments != f"{writer}\\000":
        return "installed under another BLACKLIST or ONLY"
    return ""
