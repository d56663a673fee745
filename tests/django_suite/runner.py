"""The test runner inside Django's ``runtests.py``: notes what became of each test, and can make TestCase commit."""

from __future__ import annotations

import json
import os
from typing import Any

import django.test
from django.contrib.contenttypes.models import ContentType
from django.core.management.color import no_style
from django.db import connections
from django.test.runner import DiscoverRunner

import ormcache
from tests import shadow

#: Filled when the databases are made, and expected to be there by the tests
KEPT_TABLES = {"django_content_type", "auth_permission", "django_migrations", "django_site"}


class Result:
    """Mixin of a unittest result."""

    def startTest(self, test: Any) -> None:  # noqa: N802  # unittest's name
        shadow.current = test.id()
        super().startTest(test)


class Runner(DiscoverRunner):
    def setup_test_environment(self, **kwargs: Any) -> None:
        if os.environ.get("ORMCACHE_SUITE_COMMITS"):
            django.test.TestCase._databases_support_transactions = classmethod(lambda cls: False)
            django.test.TestCase._fixture_teardown = empty_tables
        super().setup_test_environment(**kwargs)

    def get_test_runner_kwargs(self) -> dict[str, Any]:
        kwargs = super().get_test_runner_kwargs()
        from unittest import TextTestResult

        base = kwargs.get("resultclass") or TextTestResult
        return kwargs | {"resultclass": type(base.__name__, (Result, base), {})}

    def suite_result(self, suite: Any, result: Any, **kwargs: Any) -> Any:
        bad = {}
        for kind in ("failures", "errors"):
            for test, trace in getattr(result, kind):
                bad.setdefault(test.id(), f"{kind}\n{trace}")
        bad.update({test.id(): "unexpected success" for test in result.unexpectedSuccesses})
        told = {"run": result.testsRun, "skipped": len(result.skipped), "bad": bad, "counts": ormcache.stats()}
        with open(os.environ["ORMCACHE_SUITE_RESULT"], "w") as file:
            json.dump(told, file, indent=1, default=str)
        return super().suite_result(suite, result, **kwargs)


def empty_tables(test: Any) -> None:
    """What takes the place of a TestCase's rollback: faster than a flush, which makes permissions anew each time."""
    ContentType.objects.clear_cache()
    for alias in test._databases_names(include_mirrors=False):
        connection = connections[alias]
        if hasattr(connection, "shadow_asked"):
            connection.shadow_asked.ask_again()
        with connection.cursor() as cursor:
            filled = filled_tables(connection, cursor)
        if not filled:
            continue
        if connection.vendor == "postgresql":
            # TRUNCATE costs milliseconds a table.
            flush = [f"DELETE FROM {connection.ops.quote_name(table)}" for table in filled]
            flush += [
                f"SELECT setval(pg_get_serial_sequence('{connection.ops.quote_name(table)}', '{column}'), 1, false)"
                for table in filled
                for column in SEQUENCES.get(table, ())
            ]
        else:
            flush = connection.ops.sql_flush(no_style(), filled, reset_sequences=True)
        connection.ops.execute_sql_flush(flush)


#: Table → its columns that are filled from a sequence
SEQUENCES: dict[str, list[str]] = {}


def filled_tables(connection: Any, cursor: Any) -> list[str]:
    if connection.vendor == "postgresql":
        cursor.execute(FILES_WITH_ROWS)
        candidates = {table for (table,) in cursor.fetchall()}
    else:
        candidates = set(connection.introspection.table_names(cursor))
    tables = sorted(candidates - KEPT_TABLES)
    found: list[str] = []
    for at in range(0, len(tables), 100):
        cursor.execute(
            " UNION ALL ".join(
                f"SELECT '{table}' WHERE EXISTS (SELECT 1 FROM {connection.ops.quote_name(table)})"
                for table in tables[at : at + 100]
            )
        )
        found += [table for (table,) in cursor.fetchall()]
    if connection.vendor == "postgresql":
        for table in set(found) - SEQUENCES.keys():
            cursor.execute(SERIAL_COLUMNS, [table])
            SEQUENCES[table] = [column for (column,) in cursor.fetchall()]
    return found


FILES_WITH_ROWS = """
    SELECT relname FROM pg_class
    WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND pg_relation_size(oid) > 0
"""
SERIAL_COLUMNS = """
    SELECT attname FROM pg_attribute
    WHERE attrelid = to_regclass(quote_ident(%s)) AND (attidentity <> '') AND attnum > 0 AND NOT attisdropped
"""
