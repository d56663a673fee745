"""Which statements of MySQL ask for what the one before them has left behind, and which leave FOUND_ROWS() alone."""

from __future__ import annotations

import pytest

from ormcache.sql import UNKNOWN_VENDOR, read_aftermath


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT FOUND_ROWS()",
        "select found_rows ( ) as n",
        "SET @n = FOUND_ROWS()",
        "UPDATE a SET n = FOUND_ROWS()",
        "INSERT INTO a VALUES (FOUND_ROWS())",
        "DO FOUND_ROWS()",
        "SELECT own()",
        "SELECT shop.own()",
        "CALL p()",
        "EXECUTE s",
    ],
)
def test_asking_for_rows(sql):
    assert read_aftermath(sql, "mysql").reads_found_rows


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT ROW_COUNT()",
        "SELECT @@warning_count",
        "SELECT @@session.error_count",
        "SELECT @@`warning_count`",
        "SHOW WARNINGS",
        "SHOW COUNT(*) ERRORS",
        "GET DIAGNOSTICS @n = ROW_COUNT",
        "CALL p()",
        "EXECUTE s",
        "SELECT 1; SHOW WARNINGS",
    ],
)
def test_asking_for_the_rest(sql):
    assert read_aftermath(sql, "mysql").reads_diagnostics


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "UPDATE a SET n = 1",
        "SHOW TABLES",
        "SAVEPOINT s",
        "SELECT warning_count FROM a",
        "SELECT NOW(), LENGTH('a')",
    ],
)
def test_asking_for_nothing(sql):
    assert not read_aftermath(sql, "mysql").reads_found_rows
    assert not read_aftermath(sql, "mysql").reads_diagnostics


#: Each was tried on a server of MariaDB
KEEPING = [
    "SET @x = 1",
    "SAVEPOINT s",
    "COMMIT",
    "DO 1",
    "SHOW WARNINGS",
    "CREATE TABLE c (n int)",
    "ANALYZE TABLE a",
    "UPDATE a SET n = 1",
    "DELETE FROM a WHERE n = 1",
    "DELETE FROM a WHERE n = 1 RETURNING n",
    "INSERT INTO a (n) VALUES (1), (2)",
    "INSERT INTO a SET n = 1",
    "INSERT INTO a (n) VALUES (1) RETURNING n",
    "INSERT INTO a (n) VALUES (1) ON DUPLICATE KEY UPDATE n = VALUES(n)",
]
REPLACING = [
    "SELECT 1",
    "WITH c AS (SELECT 1) SELECT * FROM c",
    "SHOW TABLES",
    "EXPLAIN SELECT 1",
    "INSERT INTO a (n) SELECT 1",
    "INSERT INTO a (n) SELECT 1 ON DUPLICATE KEY UPDATE n = VALUES(n)",
    "UPDATE a SET n = 1 WHERE n IN (SELECT n FROM b)",
    "REPLACE INTO a (n) SELECT 1",
    "UPDATE a, b SET a.n = 1 WHERE a.n = b.n",
    "UPDATE a JOIN b ON a.n = b.n SET a.n = 1",
    "DELETE a FROM a JOIN b ON a.n = b.n",
    "CREATE TABLE c AS SELECT 1",
]


@pytest.mark.parametrize("sql", KEEPING)
def test_leaving_rows_alone(sql):
    assert read_aftermath(sql, "mysql").preserves_found_rows


@pytest.mark.parametrize("sql", REPLACING)
def test_leaving_rows_anew(sql):
    assert not read_aftermath(sql, "mysql").preserves_found_rows


@pytest.mark.parametrize("sql", ["SELECT @@ROWCOUNT", "EXEC p", "this is 'no SQL"])
def test_in_databases_of_other_kinds_whatever_is_not_understood_may_ask(sql):
    assert read_aftermath(sql, UNKNOWN_VENDOR).reads_diagnostics
    assert not read_aftermath("SELECT 1", UNKNOWN_VENDOR).reads_diagnostics
