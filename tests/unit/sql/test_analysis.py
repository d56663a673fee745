"""What texts are, as far as plans do not show it; the rest is in tests/corpus."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ormcache import reasons
from ormcache.sql import VENDORS, Effect, analyse
from ormcache.sql.lexer import LONGEST_TEXT, TokenKind, lex
from ormcache.sql.names import find_columns
from tests.examples import examples

P, M, S = "postgresql", "mysql", "sqlite"
ALL = (P, M, S)


def names(text: str) -> frozenset:
    """``"a s.b"`` → what sources and targets hold."""
    return frozenset(tuple(name.split(".")) if "." in name else (None, name) for name in text.split())


#: What a plan does not show where the catalog knows all names: where exactly relations stand. (vendors, text, sources)
SOURCES = [
    (ALL, "SELECT * FROM n1 JOIN n2 ON n1.x = n2.x LEFT OUTER JOIN s.n3 USING (x), n4", "n1 n2 s.n3 n4"),
    (
        ALL,
        "SELECT f(n0, (n0)) FROM ((n1 CROSS JOIN n2) JOIN n3 ON (n0.x, 1) IN ((1, n0)), n4), n5 n0",
        "n1 n2 n3 n4 n5",
    ),
    (ALL, "SELECT * FROM n1 WHERE n0 IN (n0, n0) GROUP BY n0, n0 ORDER BY n0, n0 LIMIT 1", "n1"),
    (ALL, "SELECT extract(year FROM n0), trim(n0 FROM (n0)), substring((SELECT 1 FROM n1) FROM n0) FROM n2", "n1 n2"),
    (ALL, "SELECT * FROM n1 x, (SELECT * FROM n2 WHERE x IS NOT NULL), n3", "n1 n2 n3"),
    (ALL, "SELECT * FROM ((SELECT 1 FROM n1) UNION SELECT 2 FROM n2) x, n3", "n1 n2 n3"),
    (ALL, "SELECT ((SELECT 1 FROM n1) + (SELECT 2 FROM n2)) FROM n3", "n1 n2 n3"),
    (ALL, "WITH n0 AS (SELECT * FROM n1), n00 AS (SELECT * FROM n0) SELECT * FROM n00, n0, s.n0", "n1 s.n0"),
    (ALL, "WITH RECURSIVE n0 (x) AS (SELECT 1 UNION SELECT x FROM n0 JOIN n1 ON 1 = 1) SELECT * FROM n0", "n1"),
    (ALL, "SELECT * FROM n0, (WITH n0 AS (SELECT * FROM n1) SELECT * FROM n0) x", "n0 n1"),
    (ALL, "WITH n0 AS (WITH n1 AS (SELECT 1) SELECT * FROM n1) SELECT * FROM n0, n1", "n1"),
    (ALL, "WITH n0 AS SELECT 1 SELECT * FROM n0", "n0"),
    (ALL, "SELECT rank() OVER n0 FROM n1 WINDOW n0 AS (ORDER BY x), n00 AS (ORDER BY y)", "n1"),
    (ALL, "WITH x AS (SELECT 1) SELECT rank() OVER n0 FROM n0 WINDOW n0 AS (ORDER BY x)", "n0"),
    (ALL, "SELECT * FROM n1 JOIN n2 ON n1.order = n2.limit, n3", "n1 n2 n3"),
    ((P, M), "WITH n1 AS (SELECT * FROM n1) SELECT * FROM n1", "n1"),
    ((P, M), "WITH n0 AS (SELECT * FROM n1), n1 AS (SELECT 1) SELECT * FROM n0, n1", "n1"),
    (M, "WITH RECURSIVE n0 AS (SELECT * FROM n1), n1 AS (SELECT 1) SELECT * FROM n0, n1", "n1"),
    (P, "WITH RECURSIVE n0 AS (SELECT * FROM n1), n1 AS (SELECT 1) SELECT * FROM n0, n1", ""),
    (S, "WITH n0 AS (SELECT * FROM n1), n1 AS (SELECT 1 UNION SELECT 1 FROM n1) SELECT * FROM n0, n1", ""),
    (P, 'WITH "N1" AS (SELECT 1) SELECT * FROM n1, N1, "N1"', "n1"),
    (P, "WITH N0 AS (SELECT 1) SELECT * FROM n0", ""),
    (M, "WITH N1 AS (SELECT 1) SELECT * FROM n1", "n1"),
    (S, "WITH `N0` AS (SELECT 1) SELECT * FROM n0", ""),
    (P, "WITH x AS (SELECT 1) SEARCH DEPTH FIRST BY n0, n0 SET n0, n0 AS (SELECT 2 FROM n1) SELECT * FROM n0, x", "n1"),
    (P, "SELECT * FROM ONLY n1, ONLY (n2), LATERAL (SELECT * FROM n3) x, LATERAL f(n0)", "n1 n2 n3"),
    (P, "SELECT * FROM ROWS FROM (f(n0), g(n0)) WITH ORDINALITY AS x (n0, n0), n1", "n1"),
    (P, "SELECT * FROM n1 AS x (n0, n0) JOIN n2 ON x.a = ARRAY[n0, n0], n3", "n1 n2 n3"),
    (P, "SELECT 1 WHERE EXISTS (TABLE n1) UNION TABLE n2", "n1 n2"),
    (P, "WITH n0 AS (TABLE n1) TABLE n0", "n1"),
    (P, "SELECT * FROM n1 set, n2 offset JOIN n3 ON true, n4", "n1 n2 n3 n4"),
    (P, "SELECT n0 AS from, n00 AS join, n000.from FROM n1", "n1"),
    (P, "SELECT x IS NOT DISTINCT FROM n0 FROM n1 WHERE x IS DISTINCT FROM n0", "n1"),
    (M, "SELECT STRAIGHT_JOIN n0 FROM n1 STRAIGHT_JOIN n2", "n1 n2"),
    (
        M,
        "SELECT * FROM n1 PARTITION (n0, n0) USE INDEX FOR JOIN (n0, n0), n2 FORCE KEY FOR GROUP BY (n0), n3",
        "n1 n2 n3",
    ),
    (M, "SELECT * FROM n1 FOR SYSTEM_TIME AS OF now(), n2", "n1 n2"),
    (M, "SELECT * FROM `N1`.`a b`, DUAL", None),
    (S, "SELECT * FROM n1 WHERE x IN n2 OR y NOT IN s.n3 OR z IN (n0, n0)", "n1 n2 s.n3"),
    (S, "SELECT * FROM 'n1', main.'n2', [n3] JOIN `n4`", "n1 main.n2 n3 n4"),
    (S, "SELECT * FROM lateral, only n0, n1", "lateral only n1"),
    (S, "SELECT * FROM n1 window, n2", "n1 n2"),
]


def of_each(table):
    return [(v, *row[1:]) for row in table for v in (row[0] if isinstance(row[0], tuple) else (row[0],))]


@pytest.mark.parametrize("vendor, text, sources", of_each(SOURCES))
def test_sources(vendor, text, sources):
    statement = analyse(text, vendor)

    assert statement.effect is Effect.READ
    assert statement.sources == (names(sources) if sources is not None else {("n1", "a b")})
    assert {name for _, name in statement.sources} <= statement.names


#: The same of writes: (vendors, text, targets), None for "any of the names"
TARGETS = [
    (ALL, "insert into s.n1 (x) select y from n2", "s.n1"),
    (ALL, "WITH x (n0) AS (SELECT * FROM n2) DELETE FROM n1 WHERE y IN (SELECT y FROM x)", "n1"),
    (ALL, "UPDATE n1 SET x = replace(y, 'a', 'b'); DELETE FROM n2", "n1 n2"),
    (P, 'UPDATE db."S"."N1" SET x = 1 FROM n2', "s.n1"),
    (P, "WITH x AS (UPDATE n1 SET y = 1 RETURNING *) INSERT INTO n2 SELECT * FROM x", "n1 n2"),
    (P, "WITH x AS (SELECT delete FROM n1) UPDATE n2 SET y = 1", None),
    (P, "SELECT update FROM n1", None),
    (P, "UPDATE ignore n1 SET x = 1", "ignore"),
    (P, "DELETE FROM ONLY (n1) USING n2", "n1"),
    (P, "TRUNCATE ONLY n1, s.n2 *, ONLY (n3)", "n1 s.n2 n3"),
    (P, "COPY s.n1 FROM STDIN", "s.n1"),
    ((M, S), "WITH x AS (UPDATE n1 SET y = 1) DELETE FROM n2", None),
    (M, "DELETE FROM n1 USING n2 JOIN n1", None),
    (M, "UPDATE n1 JOIN n2 ON 1 = 1 SET n2.x = 1", None),
    (M, "DELETE `n1` FROM `n1` INNER JOIN n2 ON n1.x = n2.x WHERE n2.y = 1", "n1"),
    (M, "DELETE s.n1 FROM s.n1, n2", "s.n1"),
    (M, "DELETE n1 FROM n2 n1 JOIN n3", None),
    (M, "DELETE n1 FROM n2 AS n1, n1 AS n2", None),
    (M, "DELETE n1 FROM n1 n2 JOIN n3 n1", None),
    (M, "DELETE n1 FROM n1.n2 JOIN n3 n1", None),
    (M, "DELETE n1 FROM n1 PARTITION (n3) n2 JOIN n3 n1", None),
    (M, "DELETE n1, n2 FROM n1 JOIN n2", None),
    (M, "INSERT INTO n1 SELECT * FROM n2 FOR UPDATE", "n1"),
    (S, "UPDATE OR REPLACE 'n1' SET x = (SELECT 1 FROM n2)", "n1"),
    (S, "INSERT OR REPLACE INTO [n1] VALUES (1)", "n1"),
]


@pytest.mark.parametrize("vendor, text, targets", of_each(TARGETS))
def test_targets(vendor, text, targets):
    statement = analyse(text, vendor)

    assert statement.effect is Effect.WRITE
    assert statement.targets == (None if targets is None else names(targets))
    assert {name for _, name in statement.targets or ()} <= statement.names


def test_a_name_that_postgresql_cuts():
    long = "n" * 70
    statement = analyse(f"WITH x AS (SELECT delete FROM n1) DELETE FROM {long}", P)

    assert statement.targets is None
    assert "n" * 63 in statement.names


@pytest.mark.parametrize(
    "vendor, text, calls",
    [
        (ALL, "SELECT f(1), g (2), x IN (1) FROM a WHERE (y) = 1", "f g"),
        (P, 'SELECT s.f(1), s."G"(2)', "f g"),
        (M, "SELECT s.f(1), `S`.upper(2), t.x IN (1) FROM t", "s.f s.upper"),
        (ALL, "WITH f (x) AS (SELECT 1) SELECT f(1), g(2) FROM f", "f g"),
        (ALL, "WITH f (x) AS (SELECT 1) SELECT * FROM f", ""),
        (P, "SELECT * FROM g() AS f (x, y), unnest(z) WITH ORDINALITY AS h (i)", "g unnest"),
        (P, 'SELECT "f"(1), "select"(2)', "f select"),
        (S, "SELECT interval(1), key(2), count(*) FILTER (WHERE x) OVER (ORDER BY (y))", "count interval key"),
        (ALL, "INSERT INTO f (x) SELECT f(1)", "f"),
        (ALL, "INSERT INTO f (x) SELECT 1", ""),
    ],
)
def test_calls(vendor, text, calls):
    for one in vendor if vendor is ALL else (vendor,):
        assert analyse(text, one).calls == set(calls.split())


@pytest.mark.parametrize(
    "text, found",
    [
        ("SELECT a FROM b ORDER BY c", {"a", "b", "c", "by"}),
        ('SELECT "order" FROM "a" ORDER BY "group"', {"order", "a", "group", "by"}),
        ("SELECT a.order FROM s.group", {"order", "a", "s", "group"}),
    ],
)
def test_reserved_words_are_no_names(text, found):
    assert analyse(text, P).names == found


@pytest.mark.parametrize("vendor", VENDORS)
def test_texts_that_are_too_long_are_opaque(vendor):
    text = "SELECT 1 --" + "x" * LONGEST_TEXT

    assert analyse(text[:LONGEST_TEXT], vendor).effect is Effect.READ
    assert analyse(text, vendor).effect is Effect.OPAQUE


@pytest.mark.parametrize(
    "text, table",
    [
        ("CREATE TEMP TABLE n1 (x integer)", "n1"),
        ("CREATE LOCAL TEMPORARY TABLE IF NOT EXISTS s.N1 AS SELECT 1", "n1"),
        ("SELECT * INTO TEMP n1 FROM n2", "n1"),
        ("SELECT * INTO LOCAL TEMPORARY TABLE n1 FROM n2", "n1"),
        ("SELECT * INTO n1 FROM n2", None),
        ("CREATE TEMP VIEW n1 AS SELECT 1", None),
        ("CREATE TABLE n1 (temp integer)", None),
    ],
)
def test_temporary_tables(text, table):
    assert analyse(text, P).temporary_table == table


def test_sequences_of_mariadb():
    for word in ("NEXT", "PREVIOUS"):
        assert analyse(f"SELECT {word} VALUE FOR n1", M).bypass_reason == reasons.SEQUENCE
    assert analyse("SELECT next, value FROM n1", M).bypass_reason is None


def test_operators():
    assert analyse("SELECT a @> b, c = d, e <-> f", P).operators == {"@>", "<->"}
    assert analyse("SELECT 1; SELECT a @> b", P).operators == {"@>"}


@pytest.mark.parametrize(
    "text, commits",
    [
        ("TRUNCATE a", True),
        ("CREATE TABLE a (x integer)", True),
        ("LOCK TABLES a READ", True),
        ("INSERT INTO a VALUES (1)", False),
        ("SELECT 1", False),
        ("SELECT 1; DROP TABLE a", True),
        ("BEGIN", True),
        ("BEGIN NOT ATOMIC UPDATE a SET x = 1; END", False),
        ("BEGIN NOT ATOMIC UPDATE a SET x = 1; START TRANSACTION; END", True),
    ],
)
def test_what_mysql_commits_before(text, commits):
    assert analyse(text, M).commits_implicitly is commits
    assert not analyse(text, P).commits_implicitly


def test_temporary_triggers_and_views_hide_what_is_written():
    assert analyse("CREATE TEMP TRIGGER t AFTER UPDATE ON a BEGIN DELETE FROM b; END", S).session.makes_opaque
    assert analyse("CREATE TEMP VIEW v AS SELECT 1", P).session.makes_opaque
    assert not analyse("CREATE TEMP TABLE v (x integer)", P).session.makes_opaque
    assert analyse("SET sql_mode = 'ANSI_QUOTES'", M).session.makes_opaque
    assert analyse("SET SESSION standard_conforming_strings TO off", P).session.makes_opaque


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
@settings(max_examples=examples(600), deadline=None)
def test_any_text(vendor, text):
    """Never an exception; a text with a writing word in it is never a read that may be kept."""
    statement = analyse(text, vendor)

    if statement.effect is Effect.READ and statement.bypass_reason is None:
        assert text.lower().lstrip("(; \t\n").startswith(("select", "with", "values", "table", "-", "/", "#"))
        # Not TRUNCATE: it can stand nowhere in a SELECT, and MySQL has a function of that name.
        assert not {"insert", "merge", "delete"} & statement.names or any(quote in text for quote in '"`[')
    if statement.effect is Effect.WRITE and statement.targets is not None:
        assert {name for _, name in statement.targets} <= statement.names


@pytest.mark.parametrize(
    "text, columns",
    [
        ("SELECT a.b, c FROM a", {("a", "b")}),
        ("SELECT a.b, z.b FROM a, `c` z", {("a", "b"), ("z", "b")}),
        ("SELECT a.b FROM a ORDER BY b", set()),
        ("SELECT x AS b, a.c FROM a AS d", {("", "b"), ("a", "c"), ("", "d")}),
        ("SELECT main.a.b FROM main.a", {("a", "b"), ("main", "a")}),
        ("SELECT z.b FROM a z JOIN .b ON z.x = .b.x, .c", {("z", "x"), ("b", "x")}),
        ("SELECT a.b FROM a WHERE EXISTS (TABLE .b)", set()),
        ("SELECT z.as b FROM z", {("z", "as")}),
        ("SELECT (z).b, z.c(1) FROM z", {("z", "c")}),
    ],
)
def test_names_that_only_columns_have(text, columns):
    tokens = lex(text, "mysql")
    assert tokens is not None

    assert find_columns(tokens, [name.lower() if kind is TokenKind.WORD else "" for kind, name in tokens]) == columns
