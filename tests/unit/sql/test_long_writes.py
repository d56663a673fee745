"""Long writes are read as what they are, in a time that their length bounds."""

from __future__ import annotations

import pytest

from ormcache.sql import VENDORS, Effect, analyse, collapse_lists
from ormcache.sql.lexer import LONGEST_TEXT
from ormcache.sql.long_writes import LONGEST_WRITE, SHORT, strip_values
from ormcache.sql.statement import Parameter

each_vendor = pytest.mark.parametrize("vendor", VENDORS)

ROW = "(1, 'it''s; DELETE FROM c', -2.5e3, %s, NULL, true)"
ROWS = ", ".join([ROW] * (LONGEST_TEXT // len(ROW) + 1))


@each_vendor
@pytest.mark.parametrize(
    "text, targets",
    [
        (f"INSERT INTO a VALUES {ROWS}", {"a"}),
        (f"INSERT INTO a (x, y) VALUES {ROWS}; DELETE FROM b", {"a", "b"}),
        (f"INSERT INTO a VALUES {ROWS}, ('x'), {ROWS}; UPDATE b SET x = 1", {"a", "b"}),
        (f"INSERT INTO a VALUES {ROWS}, (lower('x'), (1, 2)), (3); DELETE FROM b", {"a", "b"}),
        (f"INSERT INTO a VALUES ('{'x' * LONGEST_TEXT}'); DELETE FROM b", {"a", "b"}),
        (f"INSERT INTO a VALUES ('{'(1), ' * LONGEST_TEXT}'); DELETE FROM b", {"a", "b"}),
    ],
)
def test_what_a_long_write_changes(vendor, text, targets):
    statement = analyse(text, vendor)

    assert statement.effect is Effect.WRITE
    assert {name for _, name in statement.targets or ()} == targets


@pytest.mark.parametrize("literal", ["E'\\'{}'", "$${}'$$", "$t$ {}' $t$", "x'{}'"])
def test_long_literals_of_postgresql(literal):
    text = f"INSERT INTO a VALUES ({literal.format('a' * LONGEST_TEXT)}, 'b'); DELETE FROM b"

    assert {name for _, name in analyse(text, "postgresql").targets or ()} == {"a", "b"}


@each_vendor
@pytest.mark.parametrize(
    "text",
    [
        f"INSERT INTO a VALUES {ROWS}, 'no end; DELETE FROM b",
        f"INSERT INTO a VALUES ('{'x' * LONGEST_TEXT}",
        f"INSERT INTO a VALUES ('{chr(39) * 2 * LONGEST_TEXT}",
        f"INSERT INTO a VALUES {ROWS} /* no end",
        "INSERT INTO a VALUES (" + "f(x), " * LONGEST_TEXT + "1)",
        "INSERT INTO a VALUES ('" + "x" * LONGEST_WRITE + "')",
    ],
)
def test_what_is_not_understood_stays_so(vendor, text):
    assert analyse(text, vendor).effect is Effect.OPAQUE


@each_vendor
def test_calls_and_names_outside_of_the_values_stay(vendor):
    statement = analyse(f"INSERT INTO a SELECT f(x) FROM b, (VALUES {ROWS}) v UNION VALUES (g(1))", vendor)

    assert {"f", "g"} <= statement.calls
    assert {"a", "b", "x"} <= statement.names


@each_vendor
@pytest.mark.parametrize("between", ["", " ", "/* x */", "\n-- x\n"])
def test_calls_with_plain_arguments_are_no_rows(vendor, between):
    statement = analyse(
        f"INSERT INTO a VALUES {ROWS}, (f{between}(1), g{between}(2, 'x'), 3) RETURNING h(1), 2", vendor
    )

    assert {"f", "g", "h"} <= statement.calls


@pytest.mark.parametrize("value", [f"'{'x' * 2000}'", "%s"])
@pytest.mark.parametrize(
    "form", ["INSERT INTO a VALUES {}; SET app.x = {}", "INSERT INTO a SELECT {} FROM b; SET app.x = {}"]
)
def test_what_is_set_beside_a_long_write_is_told_by_all_of_it(form, value):
    """A long value is not cut, and parameters are counted with those of all rows."""
    row = "(%s, 'a')"
    rows = ", ".join([row] * (SHORT // len(row) + 1))
    change = analyse(form.format(rows, value), "postgresql").session

    assert change is not None
    assert change.is_tracked
    assert change.value == ((value,) if value != "%s" else (Parameter(rows.count("%s"), rows.count("%s") + 1),))


@each_vendor
def test_long_reads_are_told_by_all_that_they_say(vendor):
    values = ", ".join(["(1, 'a')"] * (SHORT // 8))
    one, other = (analyse(f"WITH v AS (VALUES (2, '{x}'), {values}) SELECT * FROM v, a", vendor) for x in "xy")

    assert one.effect is other.effect is Effect.READ
    assert one.digest != other.digest


def test_short_texts_are_left_alone():
    text = f"INSERT INTO a VALUES {ROW}, {ROW}"

    assert strip_values(text, "postgresql") is text


@pytest.mark.parametrize("quote", ['"', "`", ""])
@pytest.mark.parametrize("value", ["%s", "(CAST(%s AS NUMERIC))"])
def test_cases_of_an_update_of_many_rows_are_cut_to_two(quote, value):
    def updated(number: int) -> str:
        cases = f" WHEN ({quote}a{quote}.{quote}id{quote} = %s) THEN {value}" * number
        return f"UPDATE a SET x = (CASE{cases} ELSE NULL END)::integer WHERE id IN ({', '.join(['%s'] * number)})"

    short, long = collapse_lists(updated(3)), collapse_lists(updated(6000))

    assert short[0] == long[0]
    assert len(long[0]) < 250
    assert short[1] != long[1]


@pytest.mark.parametrize("between", ["'", '"', "--", "/*"])
def test_cases_that_hide_something_are_not_cut(between):
    text = f"SELECT CASE{f' WHEN (a{between}b = %s) THEN %s' * 4} END WHERE x IN (%s, %s, %s)"

    assert collapse_lists(text)[0] == text.replace("(%s, %s, %s)", "(%s, %s)")
