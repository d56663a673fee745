"""What texts are: by a table of statements, each judged by hand."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ormcache import reasons
from ormcache.sql import VENDORS, Effect, analyse

P, M, S = "postgresql", "mysql", "sqlite"
ALL = (P, M, S)


def names(text: str) -> frozenset:
    """``"a s.b"`` → what sources and targets hold."""
    return frozenset(tuple(name.split(".")) if "." in name else (None, name) for name in text.split())


READS = [
    # vendors, text, sources, obstacle
    (ALL, "SELECT 1", "", None),
    (ALL, "select * from a", "a", None),
    (ALL, "SELECT * FROM a, b c, d AS e", "a b d", None),
    (ALL, "SELECT * FROM a JOIN b ON a.x = b.x LEFT OUTER JOIN s.c USING (x)", "a b s.c", None),
    (ALL, "SELECT * FROM (a JOIN b ON 1 = 1), c", "a b c", None),
    (ALL, "SELECT * FROM ((a CROSS JOIN b) JOIN c ON 1 = 1)", "a b c", None),
    (ALL, "SELECT * FROM (SELECT * FROM a) x, b", "a b", None),
    (ALL, "SELECT (SELECT max(y) FROM b) FROM a", "a b", None),
    (ALL, "SELECT * FROM a WHERE x IN (SELECT y FROM b WHERE EXISTS (SELECT 1 FROM c))", "a b c", None),
    (ALL, "SELECT * FROM a WHERE x BETWEEN (SELECT 1 FROM b) AND (SELECT 2 FROM c)", "a b c", None),
    (ALL, "SELECT x FROM a GROUP BY x HAVING count(*) > (SELECT 1 FROM b) ORDER BY (SELECT y FROM c)", "a b c", None),
    (ALL, "SELECT x FROM a UNION ALL SELECT y FROM b", "a b", None),
    (ALL, "(SELECT x FROM a) UNION (SELECT y FROM b)", "a b", None),
    (ALL, "SELECT CASE WHEN EXISTS (SELECT 1 FROM b) THEN 1 ELSE 2 END FROM a", "a b", None),
    (ALL, "WITH c AS (SELECT * FROM a) SELECT * FROM c, b", "a b", None),
    (ALL, "WITH RECURSIVE c (x) AS (SELECT 1 UNION SELECT x FROM c JOIN a ON 1 = 1) SELECT * FROM c", "a", None),
    (ALL, "WITH c AS (SELECT 1), d AS (SELECT * FROM c) SELECT * FROM d, s.c", "s.c", None),
    (ALL, "SELECT /* FROM b */ * FROM a -- , c", "a", None),
    (ALL, "SELECT 'FROM b' FROM a", "a", None),
    (ALL, "SELECT * FROM a WHERE t LIKE %s ESCAPE '|'", "a", None),
    (ALL, "SELECT * FROM a WHERE x IS DISTINCT FROM y", "a", None),
    (ALL, "SELECT extract(year FROM x), substring(t FROM 2) FROM a", "a", None),
    (ALL, "SELECT trim(BOTH 'x' FROM t) FROM a", "a", None),
    (ALL, "SELECT count(*) FROM a WHERE b = 'x' LIMIT 1 OFFSET 2", "a", None),
    (ALL, "SELECT cast(x AS varchar(10)), coalesce(sum(x), 0) FROM a", "a", None),
    (ALL, "SELECT rank() OVER (PARTITION BY x ORDER BY y) FROM a", "a", None),
    (P, 'SELECT * FROM "A"."b" x', "a.b", None),
    (P, "SELECT * FROM ONLY a, LATERAL (SELECT * FROM b) x", "a b", None),
    (P, "SELECT * FROM a, unnest(x) WITH ORDINALITY", "a", None),
    (P, "TABLE a", "a", None),
    (P, "VALUES (1), ((SELECT x FROM a))", "a", None),
    (P, "WITH c AS NOT MATERIALIZED (SELECT * FROM a) SELECT * FROM c", "a", None),
    (P, "SELECT a # b FROM c", "c", None),
    (P, "SELECT '\\', x FROM a WHERE t LIKE '\\'", "a", None),
    (P, "SELECT $$ FROM b $$ FROM a", "a", None),
    (P, "SELECT ARRAY(SELECT x FROM b) FROM a", "a b", None),
    (M, "SELECT * FROM a STRAIGHT_JOIN b", "a b", None),
    (M, "SELECT * FROM `A`.`b c`", "a.b c", None),
    (M, 'SELECT "FROM b" FROM a', "a", None),
    (M, "SELECT 5--1 FROM a", "a", None),
    (M, "SELECT x FROM a # , b\n, c", "a c", None),
    (S, "SELECT * FROM [a b], `c`", None, None),
    (S, "SELECT * FROM a WHERE x LIKE '%%' ESCAPE '\\' AND EXISTS (SELECT 1 FROM b WHERE y LIKE '\\')", "a b", None),
    # The clock
    (ALL, "SELECT CURRENT_TIMESTAMP FROM a", "a", reasons.CLOCK),
    (ALL, "SELECT * FROM a WHERE x < current_date", "a", reasons.CLOCK),
    (ALL, "SELECT (SELECT max(CURRENT_TIME) FROM b) FROM a", "a b", reasons.CLOCK),
    ((P, M), "SELECT now()", "", reasons.CLOCK),
    ((P, M), "SELECT NOW /* */ ( )", "", reasons.CLOCK),
    ((P, M), "SELECT coalesce(NULL, greatest(1, NOW()))", "", reasons.CLOCK),
    (P, "SELECT 'today'::date", "", reasons.CLOCK),
    (P, "SELECT E'\\x6eow'::date", "", reasons.CLOCK),
    (P, 'SELECT pg_catalog."now"()', "", reasons.CLOCK),
    (P, "SELECT 'nowhere'::text", "", None),
    (P, "SELECT a.current_date FROM a", "a", None),
    (P, "SELECT clock_timestamp()", "", reasons.CLOCK),
    (M, "SELECT utc_date", "", reasons.CLOCK),
    (M, "SELECT sysdate()", "", reasons.CLOCK),
    (S, "SELECT date('now')", "", reasons.CLOCK),
    (S, "SELECT datetime()", "", reasons.CLOCK),
    (S, "SELECT time()", "", reasons.CLOCK),
    (S, "SELECT strftime('%%Y', x) FROM a", "a", reasons.CLOCK),
    (S, "SELECT django_date_trunc('month', x) FROM a", "a", None),
    # Dice, sequences, the session
    ((P, S), "SELECT random()", "", reasons.RANDOM),
    (M, "SELECT rand(), uuid()", "", reasons.RANDOM),
    (M, "SELECT uuid()", "", reasons.RANDOM),
    (P, "SELECT gen_random_uuid()", "", reasons.RANDOM),
    (P, "SELECT * FROM a TABLESAMPLE system (1)", "a", reasons.RANDOM),
    (P, "SELECT nextval('s')", "", reasons.SEQUENCE),
    (M, "SELECT LAST_INSERT_ID()", "", reasons.SEQUENCE),
    (S, "SELECT changes()", "", reasons.SEQUENCE),
    (P, "SELECT current_user", "", reasons.SESSION_FUNCTION),
    (P, "SELECT current_setting('a.b')", "", reasons.SESSION_FUNCTION),
    (P, "SELECT pg_advisory_lock(1)", "", reasons.SESSION_FUNCTION),
    (P, "SELECT pg_sleep(1)", "", reasons.SESSION_FUNCTION),
    (M, "SELECT @x", "", reasons.SESSION_FUNCTION),
    (M, "SELECT @@version", "", reasons.SESSION_FUNCTION),
    (M, "SELECT get_lock('a', 1)", "", reasons.SESSION_FUNCTION),
    (ALL, "SELECT what(1) FROM a", "a", reasons.FUNCTION),
    (ALL, "SELECT s.what(1) FROM a", "a", reasons.FUNCTION),
    # Locks
    ((P, M), "SELECT * FROM a FOR UPDATE", "a", reasons.LOCKING),
    ((P, M), "SELECT * FROM a FOR UPDATE SKIP LOCKED", "a", reasons.LOCKING),
    (P, "SELECT * FROM a FOR NO KEY UPDATE OF a NOWAIT", "a", reasons.LOCKING),
    (P, "SELECT * FROM a FOR KEY SHARE", "a", reasons.LOCKING),
    (P, "SELECT * FROM (SELECT * FROM a FOR SHARE) x", "a", reasons.LOCKING),
    (M, "SELECT * FROM a LOCK IN SHARE MODE", "a", reasons.LOCKING),
    # Several
    (ALL, "SELECT 1; SELECT 2", None, reasons.NOT_UNDERSTOOD),
    (ALL, "SELECT * FROM a;", "a", None),
]


@pytest.mark.parametrize(
    "vendor, text, sources, obstacle",
    [(v, *row[1:]) for row in READS for v in (row[0] if isinstance(row[0], tuple) else (row[0],))],
)
def test_reads(vendor, text, sources, obstacle):
    statement = analyse(text, vendor)

    assert statement.effect is Effect.READ
    assert statement.obstacle == obstacle
    if text == "SELECT * FROM `A`.`b c`":
        assert statement.sources == {("a", "b c")}
    elif sources is not None:
        assert statement.sources == names(sources)
    assert {name for _, name in statement.sources} <= statement.names


#: targets: names, or None for "any of the names"
WRITES = [
    (ALL, "INSERT INTO a VALUES (1)", "a"),
    (ALL, "INSERT INTO a (x, y) SELECT x, y FROM b", "a"),
    (ALL, "insert into s.a (x) values (%s)", "s.a"),
    (ALL, "UPDATE a SET x = (SELECT y FROM b)", "a"),
    (ALL, "DELETE FROM a WHERE x IN (SELECT y FROM b)", "a"),
    (ALL, "/* c */ UPDATE /* d */ a SET x = 1", "a"),
    (ALL, "-- c\nDELETE FROM a", "a"),
    (ALL, "UPDATE a SET x = 1; DELETE FROM b", "a b"),
    (ALL, "SELECT 1; UPDATE a SET x = 1;", "a"),
    (ALL, "WITH c AS (SELECT 1) UPDATE a SET x = 1", None),
    (ALL, "WITH c AS (SELECT * FROM b) INSERT INTO a SELECT * FROM c", None),
    (P, 'UPDATE "S"."A" SET x = 1', "s.a"),
    (P, "UPDATE db.s.a SET x = 1", "s.a"),
    (P, "UPDATE ONLY a SET x = 1", "a"),
    (P, "UPDATE a SET x = 1 FROM b", "a"),
    (P, "DELETE FROM ONLY a USING b", None),
    (P, "INSERT INTO a VALUES (1) ON CONFLICT (x) DO UPDATE SET x = 2", "a"),
    (P, "WITH d AS (DELETE FROM a RETURNING *) SELECT * FROM d", None),
    (P, "WITH d AS (DELETE FROM a RETURNING *) INSERT INTO b SELECT * FROM d", None),
    (P, "INSERT INTO b WITH d AS (UPDATE a SET x = 1 RETURNING *) SELECT * FROM d", None),
    (P, "MERGE INTO a USING b ON 1 = 1 WHEN MATCHED THEN DELETE", None),
    (P, "TRUNCATE a, b", None),
    (P, "COPY a (x) FROM STDIN", None),
    (P, "REFRESH MATERIALIZED VIEW CONCURRENTLY a", None),
    (M, "UPDATE a, b SET a.x = b.x", None),
    (M, "UPDATE a JOIN b ON 1 = 1 SET b.x = 1", None),
    (M, "UPDATE LOW_PRIORITY IGNORE a SET x = 1", "a"),
    (M, "DELETE a FROM a JOIN b ON 1 = 1", None),
    (M, "DELETE FROM a, b USING a JOIN b", None),
    (M, "DELETE FROM a USING b JOIN a", None),
    (M, "INSERT a SET x = 1", "a"),
    (M, "INSERT INTO a VALUES (1) ON DUPLICATE KEY UPDATE x = 2", "a"),
    (M, "REPLACE INTO a VALUES (1)", "a"),
    (M, "REPLACE a SET x = 1", "a"),
    (S, "REPLACE INTO a VALUES (1)", "a"),
    (S, "INSERT OR REPLACE INTO [a b] VALUES (1)", "a\xa0b"),
    (S, "UPDATE OR IGNORE a SET x = 1", "a"),
    (S, "UPDATE a SET x = 1 FROM b RETURNING x", "a"),
    (S, "WITH n AS (SELECT 1) REPLACE INTO a SELECT * FROM n", None),
]


@pytest.mark.parametrize(
    "vendor, text, targets",
    [(v, *row[1:]) for row in WRITES for v in (row[0] if isinstance(row[0], tuple) else (row[0],))],
)
def test_writes(vendor, text, targets):
    statement = analyse(text, vendor)

    assert statement.effect is Effect.WRITE
    assert statement.obstacle is not None
    if targets is None:
        assert statement.targets is None
        assert "a" in statement.names
    else:
        assert statement.targets == frozenset((s, n.replace("\xa0", " ")) for s, n in _split(targets))


def _split(targets: str):
    return [tuple(t.split(".")) if "." in t else (None, t) for t in targets.split(" ")]


OTHERS = [
    (ALL, "", Effect.HARMLESS),
    (ALL, " ; -- x", Effect.HARMLESS),
    (ALL, "what is this", Effect.OPAQUE),
    (ALL, "UPDATE a SET x = 'no end", Effect.OPAQUE),
    (ALL, "SELECT 1; what", Effect.OPAQUE),
    (ALL, "CREATE TABLE a (x integer)", Effect.SCHEMA),
    (ALL, "ALTER TABLE a ADD x integer", Effect.SCHEMA),
    (ALL, "DROP VIEW a", Effect.SCHEMA),
    (ALL, "CREATE TEMPORARY TABLE a (x integer)", Effect.SESSION),
    (ALL, "BEGIN", Effect.TRANSACTION),
    (ALL, "COMMIT", Effect.TRANSACTION),
    (ALL, "ROLLBACK TO SAVEPOINT a", Effect.TRANSACTION),
    (ALL, "SAVEPOINT a", Effect.TRANSACTION),
    (ALL, "EXPLAIN SELECT 1", Effect.HARMLESS),
    (ALL, "BEGIN; UPDATE a SET x = 1; COMMIT", Effect.OPAQUE),
    (P, "EXPLAIN ANALYZE UPDATE a SET x = 1", Effect.OPAQUE),
    (P, "EXPLAIN (ANALYZE) CREATE TABLE b AS SELECT 1", Effect.OPAQUE),
    (P, "EXPLAIN UPDATE a SET x = 1", Effect.HARMLESS),
    (P, "DO $$ BEGIN END $$", Effect.OPAQUE),
    (P, "CALL p()", Effect.OPAQUE),
    (P, "EXECUTE p", Effect.OPAQUE),
    (P, "SELECT * INTO b FROM a", Effect.OPAQUE),
    (P, "COPY a TO STDOUT", Effect.HARMLESS),
    (P, "COPY (SELECT * FROM a) TO STDOUT", Effect.HARMLESS),
    (P, "COPY (DELETE FROM a RETURNING *) TO STDOUT", Effect.OPAQUE),
    (P, "COPY", Effect.HARMLESS),
    (P, "VACUUM a", Effect.HARMLESS),
    (P, "NOTIFY a", Effect.HARMLESS),
    (P, "PREPARE TRANSACTION 'a'", Effect.TRANSACTION),
    (P, "COMMIT PREPARED 'a'", Effect.OPAQUE),
    (P, "SET search_path TO a", Effect.SESSION),
    (P, "SET LOCAL a.b = 'c'", Effect.SESSION),
    (P, "RESET ALL", Effect.SESSION),
    (P, "DISCARD ALL", Effect.SESSION),
    (P, "SELECT set_config('a.b', %s, false)", Effect.SESSION),
    (P, "SET statement_timeout = 1", Effect.HARMLESS),
    (P, "CREATE TEMP VIEW a AS SELECT 1", Effect.SESSION),
    (P, "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END", Effect.SCHEMA),
    (M, "CREATE TRIGGER t AFTER UPDATE ON a FOR EACH ROW BEGIN UPDATE b SET x = 1; SET @y = 2; END", Effect.SCHEMA),
    (M, "CREATE PROCEDURE p() BEGIN START TRANSACTION; DELETE FROM a; COMMIT; END", Effect.SCHEMA),
    (M, "RENAME TABLE a TO b", Effect.SCHEMA),
    (M, "SET @x = 1", Effect.HARMLESS),
    (M, "SET @@sql_mode = ''", Effect.SESSION),
    (M, "SET foreign_key_checks = 0", Effect.HARMLESS),
    (M, "SET foreign_key_checks = 0, time_zone = '+00:00'", Effect.SESSION),
    (M, "SET @x = 1, sql_mode = 'ANSI_QUOTES'", Effect.SESSION),
    (M, "SET autocommit = 0", Effect.TRANSACTION),
    (M, "SELECT 1 INTO @x", Effect.OPAQUE),
    (M, "/*! UPDATE a SET x = 1 */", Effect.OPAQUE),
    (M, "LOAD DATA INFILE 'x' INTO TABLE a", Effect.OPAQUE),
    (M, "HANDLER a OPEN", Effect.OPAQUE),
    (M, "ANALYZE UPDATE a SET x = 1", Effect.OPAQUE),
    (M, "ANALYZE TABLE a", Effect.HARMLESS),
    (M, "USE b", Effect.SESSION),
    (M, "XA COMMIT 'a'", Effect.OPAQUE),
    (S, "CREATE TRIGGER t AFTER UPDATE ON a BEGIN UPDATE b SET x = 1; END", Effect.SCHEMA),
    (S, "PRAGMA foreign_keys = ON", Effect.HARMLESS),
    (S, "PRAGMA writable_schema = 1", Effect.SESSION),
    (S, "ATTACH 'x' AS b", Effect.SESSION),
]


@pytest.mark.parametrize(
    "vendor, text, effect",
    [(v, *row[1:]) for row in OTHERS for v in (row[0] if isinstance(row[0], tuple) else (row[0],))],
)
def test_others(vendor, text, effect):
    statement = analyse(text, vendor)

    assert statement.effect is effect
    assert statement.obstacle is not None


def test_temporary_triggers_and_views_hide_what_is_written():
    assert analyse("CREATE TEMP TRIGGER t AFTER UPDATE ON a BEGIN DELETE FROM b; END", S).session.hides
    assert analyse("CREATE TEMP VIEW v AS SELECT 1", P).session.hides
    assert not analyse("CREATE TEMP TABLE v (x integer)", P).session.hides
    assert analyse("SET sql_mode = 'ANSI_QUOTES'", M).session.hides
    assert analyse("SET SESSION standard_conforming_strings TO off", P).session.hides


@pytest.mark.parametrize(
    "one, other",
    [
        ("SET search_path TO tenant", 'SET search_path TO "Tenant"'),
        ("SET search_path TO a", 'SET search_path TO "to"'),
        ('SET search_path TO "TO"', 'SET search_path TO "to"'),
        ("SET search_path TO a, b", 'SET search_path TO "a, b"'),
        ("SET search_path TO 'a'", "SET search_path TO 'b'"),
        ("SET LOCAL search_path TO a", "SET search_path TO a"),
        ("SET ROLE a", "SET SESSION AUTHORIZATION a"),
        ("SELECT set_config('a.b', 'x', true)", "SELECT set_config('a.b', 'x', false)"),
        ("SELECT set_config('a.b', 'x', false)", "SELECT set_config('a.c', 'x', false)"),
    ],
)
def test_different_settings(one, other):
    assert analyse(one, P).session != analyse(other, P).session


@pytest.mark.parametrize(
    "one, other",
    [
        ("SET TIME ZONE 'UTC'", "set timezone to 'UTC'"),
        ("SET search_path TO a", "SET search_path = a"),
        ("SET search_path = A", "SET search_path = a"),
        ("SET SCHEMA 'a'", "SET search_path = 'a'"),
        ("SET SESSION a.b = 'x'", "SET a.b TO 'x'"),
    ],
)
def test_equal_settings(one, other):
    assert analyse(one, P).session == analyse(other, P).session


@pytest.mark.parametrize("vendor", VENDORS)
def test_digests(vendor):
    def digest(text: str) -> bytes:
        return analyse(text, vendor).digest

    same = ["SELECT a FROM b", "SELECT  a\nFROM b", "SELECT /* x */ a FROM b -- y\n"]
    assert len({digest(text) for text in same}) == 1
    different = [
        "SELECT a FROM b",
        "SELECT a FROM B",
        "SELECT A FROM b",
        "SELECT 'a' FROM b",
        "SELECT 'a ' FROM b",
        "SELECT 'a  ' FROM b",
        "SELECT a, b",
        "SELECT 'a, b'",
        "SELECT 'a', 'b'",
        "SELECT 1",
        "SELECT '1'",
        "SELECT 1.0",
        "SELECT %s",
        "SELECT '%s'",
        "SELECT a b FROM c",
        "SELECT ab FROM c",
        "SELECT '/* x */'",
        "SELECT '/* y */'",
        "SELECT ''",
        "SELECT",
        "SELECT 'a''b'",
        "SELECT 'a' 'b'",
        "SELECT (a) FROM b",
        "SELECT a FROM b;SELECT a",
        "what",
        "'no end",
        "'no end ",
        "SELECT x'ab'",
        "SELECT x 'ab'",
        'SELECT "a" FROM b' if vendor != "mysql" else "SELECT `a` FROM b",
    ]
    assert len({digest(text) for text in different}) == len(different)


WORDS = st.sampled_from(
    (
        "select insert update delete from into set values with as ( ) , ; . a b c 'x' 1 %s * = begin commit "
        "create temp table view trigger copy truncate merge replace explain analyze for share of on do key "
        "set_config session local transaction isolation search_path to release savepoint declare cursor call "
        "do $$ -- /* */ \" ` [ ] @x :: e'\\\\' materialized recursive "
    ).split()
)


@pytest.mark.parametrize("vendor", VENDORS)
@given(text=st.one_of(st.text(max_size=40), st.lists(WORDS, max_size=14).map(" ".join)))
@settings(max_examples=600, deadline=None)
def test_any_text(vendor, text):
    """Never an exception; a text with a writing word in it is never a read that may be kept."""
    statement = analyse(text, vendor)

    if statement.effect is Effect.READ and statement.obstacle is None:
        assert text.lower().lstrip("(; \t\n").startswith(("select", "with", "values", "table", "-", "/", "#"))
        # Not TRUNCATE: it can stand nowhere in a SELECT, and MySQL has a function of that name.
        assert not {"insert", "merge", "delete"} & statement.names or any(quote in text for quote in '"`[')
    if statement.effect is Effect.WRITE and statement.targets is not None:
        assert {name for _, name in statement.targets} <= statement.names
