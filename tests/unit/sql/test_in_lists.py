"""Lists of parameters whose order does not matter, and their look-alikes."""

from __future__ import annotations

import datetime
import decimal
import sqlite3
import uuid
from collections import Counter
from typing import Any

import psycopg.types.numeric
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ormcache.cache.keys import exact_text
from ormcache.sql import VENDORS, analyse, collapse_lists
from ormcache.sql.in_lists import MOST_VALUES
from tests.examples import examples

Int4, Int8 = psycopg.types.numeric.Int4, psycopg.types.numeric.Int8


class Sku(str):
    """A project's own."""

    __slots__ = ()


class Number(int):
    """Likewise."""


ONE, TWO = uuid.UUID(int=1), uuid.UUID(int=2)


def named(sql: str, params: Any, vendor: str = "sqlite") -> tuple[bytes, bytes, str]:
    """What a read is named by, as far as its text and its parameters decide."""
    text, lengths = collapse_lists(sql)
    statement = analyse(text, vendor)
    values = params if statement.in_lists is None else statement.in_lists.sort(params, lengths)
    return statement.digest, lengths, exact_text(values)


# What has one name under each order -----------------------------------------------------------------


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(
    "sql, one, other",
    [
        ("SELECT x FROM a WHERE x IN (%s, %s)", (1, 2), (2, 1)),
        ("SELECT x FROM a WHERE x IN (%s, %s, %s)", (1, 2, 3), (3, 1, 2)),
        ("SELECT x FROM a WHERE a.x IN (%s, %s, %s) ORDER BY a.y", ("a", "b", "c"), ("c", "b", "a")),
        ("SELECT x FROM a WHERE NOT (a.x IN (%s, %s, %s))", (ONE, TWO, ONE), (ONE, ONE, TWO)),
        ("SELECT x FROM a WHERE x NOT IN (%s, %s)", (1, 2), (2, 1)),
        ("SELECT x FROM a WHERE y = %s AND x IN (%s, %s, %s) AND y = %s", (9, 1, 2, 3, 8), (9, 3, 2, 1, 8)),
        ("SELECT x FROM a WHERE x IN (%s, %s) AND y IN (%s, %s, %s)", (1, 2, 3, 4, 5), (2, 1, 5, 3, 4)),
        ("SELECT x FROM a WHERE y IN (%s) AND x IN (%s, %s)", (7, 1, 2), (7, 2, 1)),
        ("SELECT a.x FROM a INNER JOIN b ON (a.x = b.x) WHERE b.y IN (%s, %s, %s)", (1, 2, 3), (2, 3, 1)),
        ("SELECT x FROM a WHERE (a.x) IN ((%s), (%s))", (1, 2), (2, 1)),
        ("SELECT x FROM a WHERE (a.x) IN ((%s), (%s), (%s))", (1, 2, 3), (3, 2, 1)),
        ("SELECT x FROM a WHERE y IN (%s, %s) AND (x) NOT IN ((%s), (%s), (%s))", (8, 7, 1, 2, 3), (7, 8, 3, 2, 1)),
        ("SELECT x FROM a WHERE (x) IN ((%s), (%s)) AND y IN (%s, %s, %s)", (8, 7, 1, 2, 3), (7, 8, 3, 2, 1)),
        ("SELECT x FROM a WHERE (y, x) = (%s, %s) AND x IN (%s, %s, %s)", (1, 2, 3, 4, 5), (1, 2, 5, 4, 3)),
    ],
)
def test_one_name(vendor, sql, one, other):
    assert named(sql, one, vendor) == named(sql, other, vendor)
    assert named(sql, list(one), vendor) == named(sql, other, vendor)


# What has not ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT x FROM a WHERE x BETWEEN %s AND %s",
        "SELECT x FROM a WHERE x > %s AND x < %s",
        "SELECT x FROM a WHERE (x, y) IN ((%s, %s))",
        "SELECT x FROM a WHERE (x, y) IN ((%s, %s), (1, 2))",
        "SELECT x FROM a WHERE (x, y) = (%s, %s)",
        "SELECT x FROM a WHERE x IN (%s, 1, %s)",
        "SELECT x FROM a WHERE x IN (%s, %s + 1)",
        "SELECT x FROM a WHERE x IN (1, %s, %s)",
        "SELECT x FROM a WHERE x IN (%s, %s, 1)",
        "SELECT x FROM a WHERE x IN ((%s, %s))",
        "SELECT x FROM a WHERE x IN (VALUES (%s), (%s))",
        "SELECT x FROM a WHERE x IN ((%s), (%s), 1)",
        "SELECT x FROM a WHERE x IN ((%s), (%s) + 1)",
        "SELECT x FROM a WHERE x IN ((%s), (%s, %s))",
        "SELECT x FROM a WHERE x > (%s) AND x < (%s)",
        "SELECT s.in((%s), (%s)) FROM a",
        "SELECT (%s), (%s) FROM a",
        "SELECT x FROM a ORDER BY (%s), (%s), (%s)",
        "SELECT x FROM a WHERE x IN (SELECT y FROM b WHERE y IN (%s, %s))",
        "SELECT x FROM a WHERE x IN (%s, %s) LIMIT 1",
        "SELECT x FROM a WHERE x IN (%s, %s) OFFSET 1",
        "SELECT x FROM a WHERE x IN (%s, %s) FETCH FIRST 1 ROW ONLY",
        "SELECT DISTINCT x FROM a WHERE x IN (%s, %s)",
        "SELECT x FROM a WHERE x IN (%s, %s) GROUP BY x",
        "SELECT max(x) FROM a WHERE x IN (%s, %s)",
        "SELECT x, count(*) FROM a WHERE x IN (%s, %s)",
        "SELECT x FROM a WHERE x IN (%s, %s) UNION SELECT 1",
        "WITH b AS (SELECT 1) SELECT x FROM a WHERE x IN (%s, %s)",
        "SELECT x FROM a ORDER BY field(x, %s, %s)",
        "SELECT x FROM a WHERE coalesce(%s, %s) = x",
        "SELECT s.in(%s, %s) FROM a",
        "SELECT %s, %s FROM a",
        "SELECT x FROM a ORDER BY %s, %s",
        "SELECT x FROM a WHERE x = ANY (ARRAY[%s, %s])",
        "SELECT x FROM a WHERE x IN (%s, %s) AND 'x' = '%s, %s, %s'",
    ],
)
def test_look_alikes_keep_their_order(vendor, sql):
    one = tuple(range(sql.count("%s")))
    names = {named(sql, params, vendor) for params in (one, one[::-1])}

    assert len(names) == 2


LIST = "SELECT x FROM a WHERE x IN (%s, %s, %s)"


@pytest.mark.parametrize(
    "params",
    [
        (1, "2", 3),
        (1, True, 0),
        (True, False, True),
        (1.5, 2.5, 3.5),
        (decimal.Decimal(1), decimal.Decimal("1.0"), decimal.Decimal(2)),
        (None, 1, 2),
        ("a", None, "b"),
        (ONE, "2", TWO),
        (datetime.date(2026, 1, 1), datetime.date(2025, 1, 1), datetime.date(2024, 1, 1)),
        (b"a", b"b", b"c"),
        (Int8(1), 2, Int8(3)),
        (Int8(1), Int4(2), Int8(3)),
        (Sku("a"), Sku("b"), Sku("c")),
        (Number(1), Number(2), Number(3)),
    ],
)
def test_values_of_other_types_and_of_several_keep_their_order(params):
    assert named(LIST, params) != named(LIST, params[::-1]) or params == params[::-1]
    assert named(LIST, params)[2] == exact_text(params)


def test_numbers_of_psycopg_are_sorted():
    one, other = (Int8(3), Int8(1), Int8(2)), (Int8(1), Int8(2), Int8(3))

    assert named(LIST, one) == named(LIST, other)
    assert named(LIST, one) != named(LIST, (1, 2, 3))
    assert named(LIST, one) != named(LIST, tuple(map(Int4, one)))


def test_values_count_as_often_as_they_stand_there():
    names = [named(LIST, params) for params in ((1, 1, 2), (1, 2, 2), (1, 2, 3), ("1", "1", "2"), (True, True, False))]

    assert len(set(names)) == len(names)


def test_values_do_not_move_from_one_list_into_another():
    sql = "SELECT x FROM a WHERE x IN (%s, %s, %s) AND y IN (%s, %s, %s)"

    assert named(sql, (1, 2, 3, 4, 5, 6)) != named(sql, (4, 5, 6, 1, 2, 3))
    assert named(sql, (1, 2, 3, 4, 5, 6)) != named(sql, (1, 2, 4, 3, 5, 6))
    mirrored = "SELECT x FROM a WHERE x IN (%s, %s) AND y IN (%s, %s, %s, %s)"
    assert named(mirrored, (1, 2, 3, 4, 5, 6)) != named(mirrored.replace("%s, %s, %s, %s", "%s"), (1, 2, 3))


def test_a_list_as_long_as_mariadb_makes_tables_of():
    for length, is_one in ((MOST_VALUES, True), (MOST_VALUES + 1, False)):
        sql = f"SELECT x FROM a WHERE x IN ({', '.join(['%s'] * length)})"
        params = tuple(range(length))
        assert (named(sql, params) == named(sql, params[::-1])) is is_one


@pytest.mark.parametrize(
    "sql, params",
    [
        ("SELECT x FROM a WHERE x IN (%s,%s,%s)", (1, 2, 3)),
        ("SELECT x FROM a WHERE x IN (%s,%s) AND y IN (%s, %s, %s)", (1, 2, 3, 4, 5)),
        ("SELECT x FROM a WHERE x IN (%s, %s, %s) AND '%s, %s, %s' = y", (1, 2, 3, 4, 5, 6)),
        ("SELECT x FROM a WHERE x IN (%s, %s) AND (y, z) IN ((%s, %s), (%s, %s), (%s, %s))", (*range(8),)),
        ("SELECT x FROM a WHERE x IN ((%s),(%s),(%s))", (1, 2, 3)),
        ("SELECT x FROM a WHERE x IN ((%s),(%s)) AND y IN (%s, %s, %s)", (1, 2, 3, 4, 5)),
        ("SELECT x FROM a WHERE x IN ((%s), (%s), (%s)) AND '(%s), (%s), (%s)' = y", (*range(6),)),
        ("SELECT x FROM a WHERE x IN ((%s), (%s)) AND (NULL), (NULL), (NULL)", (1, 2)),
        ("SELECT x FROM a WHERE x IN (%s,%s,%s) AND y IN (%s, %s)", (1, 2, 3, 4, 5)),
        ("SELECT x FROM a WHERE x IN (%s,%s) AND y = '(%s), (%s)'", (1, 2, 3, 4)),
        ("SELECT x FROM a WHERE x IN (%b, %b)", (1, 2)),
        ("SELECT x FROM a WHERE x IN (%(a)s, %(b)s)", {"a": 1, "b": 2}),
        ("SELECT x FROM a WHERE x IN (%s, %s)", {"a": 1, "b": 2}),
        ("SELECT x FROM a WHERE x IN (%s, %s)", (2,)),
        ("SELECT x FROM a WHERE x IN (%s, %s)", (3, 2, 1)),
        ("SELECT x FROM a WHERE x IN (%s, %s)", None),
    ],
)
def test_where_lists_are_not_found_for_certain_all_keeps_its_order(sql, params):
    backwards = params[::-1] if isinstance(params, tuple) else params

    for values in (params, backwards):
        text, lengths = collapse_lists(sql)
        in_lists = analyse(text, "postgresql").in_lists
        assert (values if in_lists is None else in_lists.sort(values, lengths)) is values


def test_a_list_of_one_costs_nothing():
    assert analyse("SELECT x FROM a WHERE x IN (%s) AND y = %s", "sqlite").in_lists is None


# By chance ------------------------------------------------------------------------------------------

_VALUES = st.one_of(st.integers(0, 4), st.sampled_from(["0", "1", "2", "a"]))


def _holes(count: int) -> str:
    return ", ".join(["%s"] * count)


_CONDITIONS = st.one_of(
    st.builds(lambda column, count: f"{column} IN ({_holes(count)})", st.sampled_from("xy"), st.integers(1, 4)),
    st.builds(lambda column, count: f"{column} NOT IN ({_holes(count)})", st.sampled_from("xy"), st.integers(1, 4)),
    st.builds(lambda count: f"(x, y) IN (VALUES ({_holes(2)}){f', ({_holes(2)})' * count})", st.integers(0, 2)),
    st.builds(lambda count: f"x = coalesce({_holes(count)})", st.integers(2, 3)),
    st.builds(lambda count: f"y = max({_holes(count)})", st.integers(2, 3)),
    st.sampled_from(
        ["x BETWEEN %s AND %s", "x = %s", "y < %s", "(x, y) = (%s, %s)", "x IN (%s, 1, %s)", "x IN (%s, %s + 1)"]
    ),
)
_BEFORE = st.sampled_from(
    ["SELECT x, y FROM a", "SELECT DISTINCT y FROM a", "SELECT %s, %s, x FROM a", "SELECT x IN (%s, %s) FROM a"]
)
_BEHIND = st.sampled_from(
    ["", "", "", " ORDER BY y", " ORDER BY x, y LIMIT %s", " LIMIT 2 OFFSET %s", " ORDER BY x IN (%s, %s)"]
)


@st.composite
def _reads(draw: Any) -> tuple[str, list[Any], list[Any]]:
    """A text, parameters, and the same in another order."""
    conditions = draw(st.lists(_CONDITIONS, min_size=1, max_size=3))
    sql = f"{draw(_BEFORE)} WHERE {draw(st.sampled_from([' AND ', ' OR '])).join(conditions)}{draw(_BEHIND)}"
    kind = draw(st.sampled_from([st.integers(0, 4), _VALUES]))
    params = draw(st.lists(kind, min_size=sql.count("%s"), max_size=sql.count("%s")))
    return sql, params, draw(st.permutations(params))


@settings(max_examples=examples(1500), deadline=None)
@given(_reads())
def test_reads_of_one_name_have_the_same_rows(read):
    sql, one, other = read
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE a (x, y)")
    connection.executemany("INSERT INTO a VALUES (?, ?)", [(x, y) for x in (0, 1, 2, 3, "a") for y in (0, 1, 2, "1")])

    def rows(params: list[Any]) -> Any:
        try:
            return Counter(connection.execute(sql.replace("%s", "?"), params).fetchall())
        except sqlite3.Error as error:
            return str(error)

    if named(sql, one) == named(sql, other):
        assert rows(one) == rows(other)
    connection.close()
