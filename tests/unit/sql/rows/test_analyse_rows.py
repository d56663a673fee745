"""What is known of the rows that a statement reads or writes, by its text."""

from __future__ import annotations

from typing import Any

import pytest

from ormcache.sql import (
    DEFAULT,
    NULL,
    UNKNOWN,
    UNKNOWN_VENDOR,
    VENDORS,
    Column,
    Comparison,
    Elements,
    Join,
    Literal,
    Placeholder,
    RowDelete,
    RowInsert,
    RowRead,
    RowUpdate,
    Table,
    analyse_rows,
)

_LETTERS = {"P": "postgresql", "M": "mysql", "S": "sqlite"}


def each(*rows: tuple[Any, ...]) -> list[Any]:
    """One row of parameters for each vendor among the letters that a row begins with."""
    return [
        pytest.param(_LETTERS[letter], *row, id=f"{letter}: {row[0]}") for letters, *row in rows for letter in letters
    ]


def read(text: str, vendor: str = "postgresql") -> RowRead:
    found = analyse_rows(text, vendor)
    assert isinstance(found, RowRead), text
    return found


def shown(operand: Any) -> str:
    """An operand as a text would have it, placeholders with their positions."""
    if isinstance(operand, Placeholder):
        return f"%{operand.position}"
    return repr(operand.value) if isinstance(operand, Literal) else operand.name


def comparisons(found: Any) -> str:
    return " ".join(f"{one.column.name}={','.join(map(shown, one.operands))}" for one in found.comparisons)


# Conditions ----------------------------------------------------------------------------------------

#: Comparisons, and "…" if there is more in WHERE
CONDITIONS = each(
    # Plain ones
    ("PMS", "a = %s", "a=%0"),
    ("PMS", "t.a = %s", "a=%0"),
    ("PS", '"t"."a" = %s AND "b" = %s', "a=%0 b=%1"),
    ("MS", "`t`.`a` = %s", "a=%0"),
    ("S", "[t].[a] = %s", "a=%0"),
    ("PMS", "T.A = %s", "a=%0"),
    ("PS", '"T"."A" = %s', "a=%0"),
    ("PMS", "%s = a", "a=%0"),
    ("PMS", "a IN (%s, %s)", "a=%0,%1"),
    ("PMS", "a in(%s)", "a=%0"),
    ("PMS", "a = 5 AND b = -5 AND c = - 6", "a=5 b=-5 c=-6"),
    ("PMS", "a = 'x' AND b = 'it''s'", 'a=\'x\' b="it\'s"'),
    ("PMS", "a = NULL AND b IN (1, NULL)", "a=NULL b=1,NULL"),
    ("PMS", "a = 007", "a=7"),
    ("PMS", "a = 9223372036854775807", "a=9223372036854775807"),
    # Parentheses
    ("PMS", "(a = %s)", "a=%0"),
    ("PMS", "((a = %s) AND (b = %s))", "a=%0 b=%1"),
    ("PMS", "(a = %s AND (b = %s AND (c = %s)))", "a=%0 b=%1 c=%2"),
    ("PMS", "a = (%s)", "a=%0"),
    ("PMS", "a IN ((%s), (2))", "a=%0,2"),
    ("PMS", "(a) = %s", "…"),
    ("PMS", "(a, b) = (%s, %s)", "…"),
    ("PMS", "(a, b) IN ((%s, %s))", "…"),
    # Links
    ("PMS", "a = %s OR b = %s", "…"),
    ("PMS", "a = %s AND b = %s OR c = %s", "…"),
    ("PMS", "a = %s AND (b = %s OR c = %s)", "a=%0 …"),
    ("PMS", "a = %s AND (b = %s AND c = %s OR d = %s) AND e = %s", "a=%0 e=%4 …"),
    ("PMS", "NOT a = %s", "…"),
    ("PMS", "NOT (a = %s AND b = %s)", "…"),
    ("PMS", "NOT a = %s AND b = %s", "b=%1 …"),
    ("M", "a = %s XOR b = %s", "…"),
    ("M", "a = %s AND b = %s XOR c = %s", "…"),
    ("M", "a = %s AND b = %s || c = %s", "…"),
    ("PS", "a = %s AND b = %s || c", "a=%0 …"),
    ("M", "a = %s && b = %s", "…"),
    ("M", "a = %s AND b = %s && c = %s", "a=%0 …"),
    ("M", "! a = %s", "…"),
    # BETWEEN has an AND of its own
    ("PMS", "a BETWEEN 1 AND 2", "…"),
    ("PMS", "a BETWEEN 1 AND b AND c = %s", "c=%0 …"),
    ("PMS", "a BETWEEN b = 1 AND c = 2", "…"),
    ("PMS", "a NOT BETWEEN 1 AND 2 AND b = %s AND c BETWEEN %s AND %s", "b=%0 …"),
    ("MS", "a BETWEEN 1 AND b BETWEEN 2 AND 3 AND c = %s", "c=%0 …"),
    ("S", "a BETWEEN b BETWEEN 1 AND 2 AND 3 AND c = %s", "c=%0 …"),
    ("S", "a BETWEEN b BETWEEN 1 AND 2 AND c = 3", "…"),
    ("P", "a BETWEEN SYMMETRIC 1 AND 2 AND b = %s", "b=%0 …"),
    ("M", "x.between AND a = 1 AND b = 2", "a=1 b=2 …"),
    # CASE as well
    ("PMS", "CASE WHEN a = 1 AND b = 2 AND c = 3 THEN 1 ELSE 0 END = 1", "…"),
    ("PMS", "d = %s AND CASE WHEN a = 1 AND b = 2 AND c = 3 THEN d ELSE e END", "…"),
    ("PMS", "d = %s AND (CASE WHEN a = 1 AND b = 2 AND c = 3 THEN d ELSE e END)", "d=%0 …"),
    # Other comparisons
    ("PMS", "a <> %s AND b > %s AND c <= %s AND d != %s", "…"),
    ("PMS", "a IS NULL AND b IS NOT NULL", "…"),
    ("PMS", "a NOT IN (%s)", "…"),
    ("PMS", "a LIKE %s", "…"),
    ("M", "a <=> %s", "…"),
    ("S", "a == %s", "…"),
    ("S", "a IS %s", "…"),
    ("P", "a = ANY(%s)", "…"),
    ("P", "a OPERATOR(pg_catalog.=) %s", "…"),
    ("P", "a @> %s AND b ? 'x'", "…"),
    ("MS", "a = b = %s", "…"),
    ("MS", "a = 1 = 1", "…"),
    ("PMS", "a = %s IS TRUE", "…"),
    ("P", "a = %s ISNULL", "…"),
    ("MS", "a = 1 BETWEEN 0 AND 1", "…"),
    ("MS", "a IN (1) = 1", "…"),
    ("MS", "a IN (1) IN (1)", "…"),
    # Other operands
    ("PMS", "a = b", "…"),
    ("PMS", "a = %s + 1", "…"),
    ("PMS", "a + 1 = %s", "…"),
    ("PMS", "- a = %s", "…"),
    ("PMS", "a = - %s", "…"),
    ("MS", "a=-5", "…"),
    ("PMS", "a = 1.0 AND b = 1e3 AND c = 0x10", "…"),
    ("PMS", "a = 9223372036854775808", "…"),
    ("PMS", "a = TRUE AND b = false", "…"),
    ("PMS", "a = CURRENT_DATE", "…"),
    ("PMS", "a IN (%s, b)", "…"),
    ("PMS", "a IN (%s, 1 + 1)", "…"),
    ("S", "a IN ()", "…"),
    ("PMS", "lower(a) = %s", "…"),
    ("PMS", "a = lower(%s)", "…"),
    ("PMS", "CAST(a AS char) = %s", "…"),
    ("P", "a = %s::text AND b::text = %s", "…"),
    ("P", "a = E'x' AND b = $$x$$ AND c = B'1'", "…"),
    ("P", "a = 'x'\n'y'", "…"),
    ("M", "a = 'x' 'y'", "…"),
    ("M", "a = \"x\" AND b = _latin1'x' AND c = N'x' AND d = x'00'", "…"),
    ("M", "a = DATE '2020-01-01'", "…"),
    ("M", r"a = 'x\'y'", "…"),
    ("PS", r"a = 'x\y'", "…"),
    ("PMS", "a = 'x%%y'", "…"),
    ("P", "a = %s COLLATE \"C\" AND b COLLATE \"C\" = 'x'", "…"),
    ("MS", "a = 'x' COLLATE nocase AND b COLLATE nocase = 'x'", "…"),
    ("M", "BINARY a = %s AND b = BINARY 'x'", "…"),
    ("S", "a = \"x\"", "…"),
    ("P", "a[1] = %s AND (b).c = %s AND t.a.b = %s", "…"),
    ("PMS", "%s = %s AND 1 = 1", "…"),
    # Words that are no columns, and columns of nothing that is read
    ("PMS", "current_user = %s AND null = %s AND user = %s", "…"),
    ("PMS", "u.a = %s AND s.t.a = %s", "…"),
    # Comments
    ("PMS", "a = /* AND b = 1 */ %s", "a=%0"),
    ("PMS", "a = %s -- OR b = 1\n AND c = %s", "a=%0 c=%1"),
)  # fmt: skip


@pytest.mark.parametrize("vendor, condition, expected", CONDITIONS)
def test_conditions(vendor, condition, expected):
    found = read(f"SELECT a FROM t WHERE {condition}", vendor)
    more = [] if found.is_all else ["…"]

    assert " ".join([*filter(None, [comparisons(found)]), *more]) == expected
    for start, kind in (("UPDATE t SET a = 1", RowUpdate), ("DELETE FROM t", RowDelete)):
        write = analyse_rows(f"{start} WHERE {condition}", vendor)
        assert isinstance(write, kind)
        assert write.comparisons == found.comparisons


UNCLEAR_CONDITIONS = each(
    ("PMS", ""),
    ("PMS", "AND a = 1"),
    ("PMS", "a = 1 AND"),
    ("PMS", "a = 1 AND AND b = 1"),
    ("PMS", "()"),
    ("PMS", "(a = 1"),
    ("PMS", "a = 1)"),
    ("P", "a[1) = 1"),
    ("PMS", "a BETWEEN 1"),
    ("PMS", "(a = 1 AND b, c)"),
    ("PMS", "a = 1 AND b, c"),
    ("PMS", "a = %(name)s"),
    ("P", "a = $1"),
    ("S", "a = ?"),
    ("S", "a = :name"),
    ("S", "a = ? AND b = '%s'"),
    ("PMS", "a = '%s'"),
    ("PMS", "a = 'x%%s' AND b = '%s'"),
    ("PMS", "a = b %sc"),
    ("PMS", "a = b %d"),
    ("PMS", "a = 1 /* %s */ AND b = %s"),
    ("PMS", "a = 'x%'"),
    ("M", "a = @x"),
    ("M", "@x := a = 1 AND b = 1"),
    ("M", "a = 1 /*! OR 1 = 1 */"),
    ("M", "a = 1 /*M! OR 1 = 1 */"),
    ("PMS", "a = 1; DELETE FROM t"),
    ("PMS", "a = 1; COMMIT"),
    ("PMS", "a = 1 AND b IN (SELECT c FROM u)"),
    ("PMS", "EXISTS (SELECT 1 FROM u) AND a = 1"),
    ("PMS", "a = 1 AND ((SELECT 1))"),
    ("P", "a = ANY(ARRAY(SELECT 1))"),
    ("PM", "a IN (TABLE u)"),
    ("PMS", "a IN (VALUES (1))"),
    ("PMS", "a = 1 AND b IN (WITH u AS (SELECT 1) SELECT 1)"),
    ("S", "a = 1 AND b IN u"),
    ("P", "a = %s AND b IN %s"),
    ("PS", "a = 1 AND b IS DISTINCT FROM c"),
    ("P", f'a = 1 AND "{"x" * 64}" = 2'),
    ("PM", "a = 1 AND É = 2"),
    ("M", "a = 1 AND `é` = 2"),
    ("PS", 'a = 1 AND "x%%" = 2'),
)  # fmt: skip


@pytest.mark.parametrize("vendor, condition", UNCLEAR_CONDITIONS)
def test_unclear_conditions(vendor, condition):
    assert analyse_rows("SELECT a FROM t WHERE a = 1", vendor) is not None
    assert analyse_rows(f"SELECT a FROM t WHERE {condition}", vendor) is None
    assert analyse_rows(f"UPDATE t SET a = 1 WHERE {condition}", vendor) is None
    assert analyse_rows(f"DELETE FROM t WHERE {condition}", vendor) is None


# SELECT --------------------------------------------------------------------------------------------


def test_a_select():
    assert read('SELECT "a"."id", "a"."x" FROM "a" WHERE "a"."id" IN (%s, %s)') == RowRead(
        tables=(Table((None, "a"), "a"),),
        joins=(),
        comparisons=(Comparison(Column(0, "id"), (Placeholder(0), Placeholder(1))),),
        is_all=True,
        columns=(Column(0, "id"), Column(0, "x")),
        has_calls=False,
        ordered_by=(),
        limit=None,
        has_offset=False,
    )


def test_placeholders_are_counted_in_all_of_the_text():
    found = read("SELECT %s, a FROM t WHERE a = %s AND b < %s AND c = %s ORDER BY d + %s LIMIT %s")

    assert comparisons(found) == "a=%1 c=%3"
    assert found.limit == Placeholder(5)


@pytest.mark.parametrize(
    "vendor, item, name",
    each(
        ("PMS", "a", "a"),
        ("PMS", "t.a", "a"),
        ("PMS", "(t.a) AS x", "a"),
        ("PMS", "a AS b", "a"),
        ("PS", '"t"."A"', "a"),
        ("PMS", "a b", None),
        ("PMS", "a + 1", None),
        ("PMS", "1 AS a", None),
        ("PMS", "%s AS a", None),
        ("PMS", "count(*)", None),
        ("PMS", "count(t.a) AS a", None),
        ("PMS", "count(DISTINCT a)", None),
        ("PMS", "max(a) + b", None),
        ("PMS", "NULL", None),
        ("PMS", "current_date", None),
        ("PMS", "'a'", None),
        ("PMS", "u.a", None),
        ("P", "a::text", None),
        ("P", "(t).a", None),
        ("P", "ARRAY[a, b]", None),
        ("PMS", "(a, b)", None),
        ("PMS", "coalesce(a, b)", None),
        ("M", "SQL_NO_CACHE a", None),
        ("M", "HIGH_PRIORITY a", None),
    ),
)
def test_select_lists(vendor, item, name):
    column = None if name is None else Column(0, name)
    found = read(f"SELECT id, {item}, z FROM t", vendor)

    assert found.columns == (Column(0, "id"), column, Column(0, "z"))
    assert found.has_calls is (column is None)


@pytest.mark.parametrize("item", ["*", "t.*", "*, a", '"t" . *', "a, t.*"])
@pytest.mark.parametrize("vendor", VENDORS)
def test_unknown_columns(vendor, item):
    assert analyse_rows(f"SELECT {item} FROM t", vendor) is None


def test_aggregates_in_disguise():
    """PostgreSQL reads "t.count" as count(t) if there is no such column."""
    assert read("SELECT t.count FROM t").has_calls is True
    assert read("SELECT t.count, t.max FROM t").has_calls is True
    assert read("SELECT t.id, t.count FROM t").has_calls is False
    assert read("SELECT t.count FROM t", "sqlite").has_calls is False


def test_aggregates_in_order_by():
    assert read("SELECT id FROM t ORDER BY count(*)", "sqlite").has_calls is True


@pytest.mark.parametrize(
    "order, expected",
    [
        ("a", [Column(0, "a")]),
        ("t.a DESC, b ASC", [Column(0, "a"), Column(0, "b")]),
        ("a DESC NULLS LAST", [Column(0, "a")]),
        ("2, 1 DESC", [Column(0, "x"), Column(0, "id")]),
        ("3, 0, 'a'", [None, None, None]),
        ("x, y", [Column(0, "x"), None]),
        ("t.y", [Column(0, "y")]),
        ("a + 1, lower(a), a IS NULL", [None, None, None]),
        ('a COLLATE "C"', [None]),
    ],
)
def test_orders(order, expected):
    assert read(f"SELECT id, x AS y FROM t ORDER BY {order}").ordered_by == tuple(expected)


def test_an_order_by_a_name_that_an_expression_may_have():
    assert read("SELECT lower(a) FROM t ORDER BY lower").ordered_by == (None,)
    assert read("SELECT a AS 'b' FROM t ORDER BY b", "sqlite").ordered_by == (None,)


@pytest.mark.parametrize(
    "vendor, limit, expected",
    each(
        ("PMS", "LIMIT 5", (Literal(5), False)),
        ("PMS", "LIMIT %s", (Placeholder(0), False)),
        ("PMS", "LIMIT 5 OFFSET 10", (Literal(5), True)),
        ("PMS", "LIMIT %s OFFSET %s", (Placeholder(0), True)),
        ("PMS", "LIMIT 5 OFFSET 0", (Literal(5), True)),
        ("MS", "LIMIT 10, 5", (Literal(5), True)),
        ("PMS", "LIMIT 0", (UNKNOWN, False)),
        ("PS", "LIMIT -1", (UNKNOWN, False)),
        ("PS", "LIMIT NULL", (UNKNOWN, False)),
        ("PS", "LIMIT 1 + 1", (UNKNOWN, False)),
        ("PS", "LIMIT '5'", (UNKNOWN, False)),
        ("PMS", "LIMIT 18446744073709551615 OFFSET 5", (UNKNOWN, True)),
        ("P", "OFFSET 5", (None, True)),
        ("PMS", "", (None, False)),
    ),
)
def test_limits(vendor, limit, expected):
    found = read(f"SELECT id FROM t {limit}", vendor)

    assert (found.limit, found.has_offset) == expected


@pytest.mark.parametrize(
    "relations, tables, joins",
    [
        ("a", ["a a"], []),
        ('"A" "X"', ["a x"], []),
        ("a AS x", ["a x"], []),
        ("a JOIN b ON a.x = b.y", ["a a", "b b"], [(1, (0, "x"), (1, "y"), False)]),
        ("a INNER JOIN b ON (b.y = a.x)", ["a a", "b b"], [(1, (1, "y"), (0, "x"), False)]),
        ("a LEFT JOIN b T4 ON (a.x = T4.y)", ["a a", "b t4"], [(1, (0, "x"), (1, "y"), True)]),
        (
            "a LEFT OUTER JOIN b ON (a.x = b.y) INNER JOIN a c ON (b.z = c.id)",
            ["a a", "b b", "a c"],
            [(1, (0, "x"), (1, "y"), True), (2, (1, "z"), (2, "id"), False)],
        ),
    ],
)
def test_joins(relations, tables, joins):
    found = read(f"SELECT 1 FROM {relations}")

    assert [f"{table.name[1]} {table.alias}" for table in found.tables] == tables
    assert found.joins == tuple(Join(at, Column(*left), Column(*right), outer) for at, left, right, outer in joins)


def test_columns_of_several_tables():
    """Without the name of a table before it, a column may be of any."""
    found = read("SELECT a.x, y, z.x FROM a JOIN b z ON a.id = z.id WHERE x = %s AND z.w = %s AND b.w = %s ORDER BY y")

    assert found.columns == (Column(0, "x"), None, Column(1, "x"))
    assert found.comparisons == (Comparison(Column(1, "w"), (Placeholder(1),)),)
    assert not found.is_all
    assert found.ordered_by == (None,)


def test_schemas():
    found = read('SELECT "s"."t"."id", t.id, u.t.id FROM "s"."t" WHERE "s"."t"."id" = %s')

    assert found.tables == (Table(("s", "t"), "t"),)
    assert found.columns == (Column(0, "id"), Column(0, "id"), None)
    assert comparisons(found) == "id=%0"
    assert read("SELECT s.t.id FROM s.t x").columns == (None,)


@pytest.mark.parametrize(
    "vendor, text",
    each(
        ("PMS", "SELECT 1"),
        ("PMS", "SELECT a WHERE a = 1"),
        ("PMS", "SELECT FROM t"),
        ("PMS", "SELECT a, FROM t"),
        ("PMS", "SELECT DISTINCT a FROM t"),
        ("PMS", "WITH x AS (SELECT 1) SELECT a FROM t"),
        ("PMS", "(SELECT a FROM t)"),
        ("PMS", "VALUES (1)"),
        ("PM", "TABLE t"),
        ("PMS", "SELECT (SELECT 1), a FROM t"),
        ("PMS", "SELECT a FROM (SELECT a FROM t) x"),
        ("PMS", "SELECT a FROM t UNION SELECT a FROM u"),
        ("PMS", "SELECT a FROM t EXCEPT SELECT a FROM u"),
        ("PMS", "SELECT a FROM t WHERE a = 1 GROUP BY a"),
        ("PMS", "SELECT a FROM t HAVING count(*) > 1"),
        ("PMS", "SELECT row_number() OVER (ORDER BY a), a FROM t"),
        ("PMS", "SELECT coalesce(sum(a) OVER (), 0), a FROM t"),
        ("PMS", "SELECT coalesce(sum(a) OVER w, 0), a FROM t WINDOW w AS (ORDER BY a)"),
        ("PM", "SELECT a FROM t WHERE a = 1 FOR UPDATE"),
        ("P", "SELECT a FROM t FOR NO KEY UPDATE"),
        ("M", "SELECT a FROM t WHERE a = 1 LOCK IN SHARE MODE"),
        ("M", "SELECT a FROM t WHERE a = 1 INTO @x"),
        ("M", "SELECT a INTO OUTFILE 'x' FROM t"),
        ("P", "SELECT a INTO u FROM t"),
        ("PMS", "SELECT a FROM t, u"),
        ("PMS", "SELECT a FROM t CROSS JOIN u"),
        ("PMS", "SELECT a FROM t NATURAL JOIN u"),
        ("PMS", "SELECT a FROM t RIGHT JOIN u ON t.x = u.y"),
        ("PMS", "SELECT a FROM t FULL JOIN u ON t.x = u.y"),
        ("PMS", "SELECT a FROM t JOIN u USING (x)"),
        ("PMS", "SELECT a FROM t JOIN u"),
        ("M", "SELECT a FROM t STRAIGHT_JOIN u ON t.x = u.y"),
        ("PMS", "SELECT a FROM t JOIN u ON t.x = u.y AND t.z = u.z"),
        ("PMS", "SELECT a FROM t JOIN u ON (t.x = u.y OR t.z = u.z)"),
        ("PMS", "SELECT a FROM t JOIN u ON t.x > u.y"),
        ("PMS", "SELECT a FROM t JOIN u ON t.x = %s"),
        ("PMS", "SELECT a FROM t JOIN u ON x = y"),
        ("PMS", "SELECT a FROM t JOIN u ON t.x = t.y"),
        ("PMS", "SELECT a FROM t JOIN u ON u.x = u.y"),
        ("PMS", "SELECT a FROM t JOIN u ON t.x = v.y JOIN v ON v.x = u.y"),
        ("PMS", "SELECT a FROM t LEFT JOIN u JOIN v ON u.x = v.y ON t.x = u.y"),
        ("PMS", "SELECT a FROM (t JOIN u ON t.x = u.y)"),
        ("PMS", "SELECT a FROM t JOIN (SELECT 1 AS y) u ON t.x = u.y"),
        ("PMS", "SELECT t.a FROM t JOIN t ON t.x = t.y"),
        ("PMS", "SELECT t.a FROM s.t JOIN u.t ON s.t.x = u.t.y"),
        ("PMS", 'SELECT t.a FROM t "T" JOIN u t ON t.x = t.y'),
        ("P", "SELECT a FROM ONLY t"),
        ("P", "SELECT a FROM t *"),
        ("P", "SELECT x FROM t AS u (x)"),
        ("P", "SELECT a FROM t TABLESAMPLE SYSTEM (10)"),
        ("P", "SELECT a FROM LATERAL f(1)"),
        ("PMS", "SELECT a FROM f(1)"),
        ("PMS", "SELECT a FROM r.s.t"),
        ("M", "SELECT a FROM dual"),
        ("M", "SELECT a FROM t USE INDEX (i)"),
        ("M", "SELECT a FROM t PARTITION (p)"),
        ("M", "SELECT a FROM t FOR SYSTEM_TIME AS OF '2020-01-01'"),
        ("S", "SELECT a FROM t INDEXED BY i"),
        ("S", "SELECT a FROM t NOT INDEXED"),
        ("S", "SELECT a FROM 't'"),
        ("PMS", "SELECT a FROM t ORDER a"),
        ("PMS", "SELECT a FROM t LIMIT"),
        ("PMS", "SELECT a FROM t LIMIT 1, 2, 3"),
        ("P", "SELECT a FROM t LIMIT 1, 2"),
        ("P", "SELECT a FROM t LIMIT ALL"),
        ("P", "SELECT a FROM t OFFSET 5 LIMIT 5"),
        ("P", "SELECT a FROM t OFFSET 5 ROWS"),
        ("PM", "SELECT a FROM t FETCH FIRST 5 ROWS ONLY"),
        ("M", "SELECT a FROM t LIMIT 5 ROWS EXAMINED 10"),
        ("PMS", "SELECT a FROM t WHERE a = 1 WHERE b = 2"),
        ("PMS", "SELECT a FROM t; SELECT b FROM t"),
        ("PMS", "EXPLAIN SELECT a FROM t"),
    ),
)
def test_other_reads(vendor, text):
    assert analyse_rows(text, vendor) is None


# INSERT --------------------------------------------------------------------------------------------


def test_an_insert():
    assert analyse_rows('INSERT INTO "s"."T" ("X", "y") VALUES (%s, 1), (%s, \'z\')', "sqlite") == RowInsert(
        ("s", "t"), ("x", "y"), ((Placeholder(0), Literal(1)), (Placeholder(1), Literal("z")))
    )


@pytest.mark.parametrize(
    "vendor, value, expected",
    each(
        ("PMS", "%s", Placeholder(0)),
        ("PMS", "(%s)", Placeholder(0)),
        ("PMS", "-1", Literal(-1)),
        ("PMS", "NULL", NULL),
        ("PM", "DEFAULT", DEFAULT),
        ("PMS", "%s + 1", UNKNOWN),
        ("PMS", "lower(%s)", UNKNOWN),
        ("PMS", "TRUE", UNKNOWN),
        ("PMS", "1.5", UNKNOWN),
        ("PMS", "current_timestamp", UNKNOWN),
        ("P", "%s::integer", UNKNOWN),
        ("M", "'a' 'b'", UNKNOWN),
        ("PMS", "CASE WHEN 1 = 1 THEN 2 ELSE 3 END", UNKNOWN),
    ),
)
def test_inserted_values(vendor, value, expected):
    found = analyse_rows(f"INSERT INTO t (a, b) VALUES ({value}, 2)", vendor)

    assert isinstance(found, RowInsert)
    assert found.rows == ((expected, Literal(2)),)


@pytest.mark.parametrize(
    "array, expected",
    [
        ("(%s)::integer[]", Elements(0)),
        ("%s::uuid[]", Elements(0)),
        ("(%s)::VARCHAR [ ]", Elements(0)),
        ("(%s)::varchar(3)[]", UNKNOWN),
        ("(%s)::numeric[]", UNKNOWN),
        ("(%s)::double precision[]", UNKNOWN),
        ("(%s)::public.text[]", UNKNOWN),
        ("(%s)::integer", UNKNOWN),
        ("(%s)::integer[][]", UNKNOWN),
        ("(%s || %s)::text[]", UNKNOWN),
        ("ARRAY[1, 2]", UNKNOWN),
        ("%s", UNKNOWN),
    ],
)
def test_inserted_arrays(array, expected):
    text = f"INSERT INTO t (a, b) SELECT * FROM UNNEST({array}, (%s)::bigint[])"
    second = Elements(2 if "||" in array else 1 if "%" in array else 0)
    found = RowInsert((None, "t"), ("a", "b"), ((expected, second),))

    assert analyse_rows(text, "postgresql") == found
    assert analyse_rows(f"{text} ON CONFLICT DO NOTHING RETURNING t.id", "postgresql") == found
    assert analyse_rows(text, "sqlite") is None


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM UNNEST((%s)::integer[], (%s)::integer[])",
        "SELECT a FROM UNNEST((%s)::integer[])",
        "SELECT DISTINCT * FROM UNNEST((%s)::integer[])",
        "SELECT * FROM UNNEST((%s)::integer[]) WHERE 1 = 0",
        "SELECT * FROM UNNEST((%s)::integer[]) x",
        "SELECT * FROM UNNEST((%s)::integer[]), u",
        "SELECT * FROM UNNEST((%s)::integer[]) LIMIT 1",
        "SELECT * FROM s.UNNEST((%s)::integer[])",
        'SELECT * FROM "unnest"((%s)::integer[])',
        "SELECT * FROM f((%s)::integer[])",
        "SELECT * FROM u",
        "SELECT *",
    ],
)
def test_other_queries_that_are_inserted(query):
    assert analyse_rows(f"INSERT INTO t (a) {query}", "postgresql") is None


@pytest.mark.parametrize(
    "vendor, tail",
    each(
        ("PS", "RETURNING t.id"),
        ("PS", "ON CONFLICT DO NOTHING"),
        ("PS", "ON CONFLICT (a, b) DO NOTHING RETURNING id, lower(a)"),
        ("P", "ON CONFLICT ON CONSTRAINT x DO NOTHING"),
        ("M", "RETURNING id"),
        ("PMS", ";"),
    ),
)
def test_inserts_with_a_tail(vendor, tail):
    expected = RowInsert((None, "t"), ("a",), ((Placeholder(0),), (Placeholder(1),)))
    assert analyse_rows(f"INSERT INTO t (a) VALUES (%s), (%s) {tail}", vendor) == expected


@pytest.mark.parametrize(
    "vendor, text",
    each(
        ("PMS", "INSERT INTO t VALUES (1)"),
        ("PMS", "INSERT INTO t (a) SELECT 1"),
        ("MS", "INSERT INTO t (a) SELECT * FROM UNNEST(%s)"),
        ("PMS", "INSERT INTO t (a) VALUES ((SELECT 1))"),
        ("PMS", "INSERT INTO t DEFAULT VALUES"),
        ("M", "INSERT INTO t () VALUES ()"),
        ("M", "INSERT INTO t SET a = 1"),
        ("M", "INSERT t (a) VALUES (1)"),
        ("M", "INSERT IGNORE INTO t (a) VALUES (1)"),
        ("M", "INSERT LOW_PRIORITY INTO t (a) VALUES (1)"),
        ("M", "INSERT INTO t PARTITION (p) (a) VALUES (1)"),
        ("M", "INSERT INTO t (a) VALUE (1)"),
        ("M", "INSERT INTO t (a) VALUES ROW(1)"),
        ("M", "INSERT INTO t (a) VALUES (1) AS new ON DUPLICATE KEY UPDATE a = 2"),
        ("M", "INSERT INTO t (a) VALUES (1) ON DUPLICATE KEY UPDATE a = 2"),
        ("M", "INSERT INTO t (a) VALUES (1) ON CONFLICT DO NOTHING"),
        ("M", "INSERT INTO t (t.a) VALUES (1)"),
        ("MS", "REPLACE INTO t (a) VALUES (1)"),
        ("S", "INSERT OR REPLACE INTO t (a) VALUES (1)"),
        ("S", "INSERT OR IGNORE INTO t (a) VALUES (1)"),
        ("S", "INSERT INTO t ('a') VALUES (1)"),
        ("S", "INSERT INTO t (rowid) VALUES (1)"),
        ("P", "INSERT INTO t AS x (a) VALUES (1)"),
        ("P", "INSERT INTO t (a) OVERRIDING SYSTEM VALUE VALUES (1)"),
        ("P", "INSERT INTO t (a[1]) VALUES (1)"),
        ("P", "WITH x AS (SELECT 1) INSERT INTO t (a) VALUES (1)"),
        ("PS", "INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET a = 2"),
        ("PS", "INSERT INTO t (a) VALUES (1) ON CONFLICT (a) WHERE b DO NOTHING"),
        ("S", "INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO NOTHING ON CONFLICT DO UPDATE SET a = 2"),
        ("PS", "INSERT INTO t (a) VALUES (1) ON DO NOTHING"),
        ("PS", "INSERT INTO t (a) VALUES (1) ON x DO NOTHING"),
        ("PS", "INSERT INTO t (a) VALUES (1) ON CONFLICT a DO NOTHING"),
        ("PS", "INSERT INTO t (a) VALUES (1) DO NOTHING"),
        ("PS", "INSERT INTO t (a) VALUES ON"),
        ("PMS", "INSERT INTO t (a, b) VALUES (1)"),
        ("PMS", "INSERT INTO t (a) VALUES (1), (1, 2)"),
        ("PMS", "INSERT INTO t (a) VALUES (1,)"),
        ("PMS", "INSERT INTO t (a, A) VALUES (1, 2)"),
        ("PMS", "INSERT INTO t (a) VALUES"),
        ("PMS", "INSERT INTO t (a)"),
        ("PMS", "INSERT INTO"),
        ("PMS", "INSERT"),
    ),
)
def test_other_inserts(vendor, text):
    assert analyse_rows(text, vendor) is None


# UPDATE and DELETE ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "vendor, text, assigned, expected",
    each(
        ("PMS", "UPDATE t SET a = %s WHERE id = %s", "a=%0", "id=%1"),
        ("PMS", "UPDATE t SET a = %s, B = 2, c = NULL WHERE id IN (%s, 3)", "a=%0 b=2 c=NULL", "id=%1,3"),
        ("PMS", "UPDATE t SET a = a + 1, b = lower(%s), c = (%s) WHERE id = %s", "a=UNKNOWN b=UNKNOWN c=%1", "id=%2"),
        ("PM", "UPDATE t SET a = DEFAULT", "a=UNKNOWN", ""),
        ("MS", "UPDATE t SET a = b = 1", "a=UNKNOWN", ""),
        ("PMS", "UPDATE t SET a = CASE WHEN (id = %s) THEN %s ELSE NULL END WHERE id = %s", "a=UNKNOWN", "id=%2"),
        ("PMS", "UPDATE t AS x SET a = 1 WHERE x.id = %s AND t.id = 2", "a=1", "id=%0"),
        ("PMS", "UPDATE t x SET a = 1 WHERE x.id = %s", "a=1", "id=%0"),
        ("M", "UPDATE `t` SET `t`.`a` = %s WHERE `t`.`id` = %s", "a=%0", "id=%1"),
        ("M", "UPDATE t x SET x.a = 1", "a=1", ""),
        ("PS", 'UPDATE "t" SET "a" = %s WHERE "t"."id" = %s RETURNING "t"."a"', "a=%0", "id=%1"),
        ("PMS", "UPDATE t SET a = 1 WHERE id = 1 OR b = 2", "a=1", ""),
    ),
)
def test_updates(vendor, text, assigned, expected):
    found = analyse_rows(text, vendor)

    assert isinstance(found, RowUpdate)
    assert found.table == (None, "t")
    assert " ".join(f"{name}={shown(operand)}" for name, operand in found.assigned.items()) == assigned
    assert comparisons(found) == expected


@pytest.mark.parametrize(
    "vendor, text",
    each(
        ("PMS", "UPDATE t, u SET a = 1"),
        ("PMS", "UPDATE t JOIN u ON t.x = u.y SET a = 1"),
        ("PS", "UPDATE t SET a = 1 FROM u WHERE id = 1"),
        ("MS", "UPDATE t SET a = 1 WHERE id = 1 ORDER BY a"),
        ("MS", "UPDATE t SET a = 1 WHERE id = 1 LIMIT 1"),
        ("M", "UPDATE IGNORE t SET a = 1"),
        ("M", "UPDATE LOW_PRIORITY t SET a = 1"),
        ("M", "UPDATE t PARTITION (p) SET a = 1"),
        ("M", "UPDATE t SET u.a = 1"),
        ("M", "UPDATE t x SET t.a = 1"),
        ("M", "UPDATE t SET a := 1"),
        ("PS", "UPDATE t SET t.a = 1"),
        ("S", "UPDATE OR IGNORE t SET a = 1"),
        ("S", "UPDATE t INDEXED BY i SET a = 1"),
        ("S", "UPDATE t SET rowid = 1"),
        ("S", "UPDATE t SET _ROWID_ = 1"),
        ("S", "UPDATE t SET 'a' = 1"),
        ("P", "UPDATE ONLY t SET a = 1"),
        ("P", "UPDATE t * SET a = 1"),
        ("P", "UPDATE t SET a[1] = 1"),
        ("PS", "UPDATE t SET (a, b) = (1, 2)"),
        ("P", "UPDATE t SET a = 1 WHERE CURRENT OF c"),
        ("PMS", "UPDATE t SET a = (SELECT 1) WHERE id = 1"),
        ("PMS", "UPDATE t SET a = 1, a = 2"),
        ("PMS", "UPDATE t SET a = 1, A = 2"),
        ("PMS", "UPDATE t SET a = 1 SET b = 2"),
        ("PMS", "UPDATE t SET a"),
        ("PMS", "UPDATE t SET a ="),
        ("PMS", "UPDATE t SET"),
        ("PMS", "UPDATE SET a = 1"),
        ("PMS", "UPDATE t"),
        ("P", f"UPDATE t SET {'x' * 64} = 1"),
        ("M", "UPDATE t SET `İd` = 1"),
        ("P", "UPDATE t SET İd = 1"),
        ("PMS", "WITH x AS (SELECT 1) UPDATE t SET a = 1"),
        ("PMS", "EXPLAIN UPDATE t SET a = 1"),
    ),
)
def test_other_updates(vendor, text):
    assert analyse_rows(text, vendor) is None


@pytest.mark.parametrize(
    "vendor, text, expected",
    each(
        ("PMS", "DELETE FROM t WHERE id = %s", "id=%0"),
        ("PMS", "DELETE FROM t AS x WHERE x.id IN (%s, %s) AND a > 1", "id=%0,%1"),
        ("PMS", "DELETE FROM t", ""),
        ("PMS", "DELETE FROM t RETURNING a", ""),
    ),
)
def test_deletes(vendor, text, expected):
    found = analyse_rows(text, vendor)

    assert isinstance(found, RowDelete)
    assert found.table == (None, "t")
    assert comparisons(found) == expected


@pytest.mark.parametrize(
    "vendor, text",
    each(
        ("PM", "DELETE FROM t USING u WHERE t.id = u.id"),
        ("M", "DELETE t FROM t WHERE id = 1"),
        ("M", "DELETE FROM t, u USING t JOIN u ON t.x = u.y"),
        ("M", "DELETE QUICK FROM t WHERE id = 1"),
        ("MS", "DELETE FROM t WHERE id = 1 LIMIT 1"),
        ("MS", "DELETE FROM t WHERE id = 1 ORDER BY a"),
        ("M", "DELETE FROM t FOR PORTION OF p FROM 1 TO 2 WHERE id = 1"),
        ("P", "DELETE FROM ONLY t WHERE id = 1"),
        ("P", "DELETE FROM t WHERE CURRENT OF c"),
        ("S", "DELETE FROM t INDEXED BY i WHERE id = 1"),
        ("PMS", "DELETE FROM"),
        ("PMS", "DELETE"),
        ("PMS", "TRUNCATE t"),
        ("P", "MERGE INTO t USING u ON t.x = u.y WHEN MATCHED THEN DELETE"),
    ),
)
def test_other_deletes(vendor, text):
    assert analyse_rows(text, vendor) is None


# All -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", " ", ";", ";;", "/* x */", "\0", "SELECT '", "SELECT", "a"])
@pytest.mark.parametrize("vendor", [*VENDORS, UNKNOWN_VENDOR])
def test_texts_that_say_nothing(vendor, text):
    assert analyse_rows(text, vendor) is None


def test_unknown_vendors():
    assert analyse_rows("SELECT a FROM t WHERE a = 1", UNKNOWN_VENDOR) is None


def test_long_statements():
    def of(count: int, space: int = 1) -> Any:
        return analyse_rows(f"SELECT a FROM t WHERE a IN ({', '.join(['%s'] * count)}){' ' * space}", "postgresql")

    assert of(256) is not None
    assert of(257) is None
    assert of(1, 130_000) is not None
    assert of(1, 132_000) is None


@pytest.mark.parametrize("vendor", VENDORS)
def test_deep_statements(vendor):
    """However deep, it takes no stack, and time that is linear in the length of the text."""
    for start, end in [("(", ")"), ("NOT (", ")"), ("(b = 1 AND ", ")"), ("f(", ")")]:
        depth = 5000
        assert analyse_rows(f"SELECT a FROM t WHERE {start * depth}a = 1{end * depth}", vendor) is not None
        assert analyse_rows(f"SELECT a FROM t WHERE {start * depth}a = 1{end * (depth - 1)}", vendor) is None
