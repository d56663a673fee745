"""Names of entries: different for whatever the database could answer differently, the same in every process."""

from __future__ import annotations

import datetime
import decimal
import enum
import ipaddress
import subprocess
import sys
import uuid
import zoneinfo
from collections import OrderedDict
from typing import NamedTuple

import pytest
from django.utils.safestring import SafeString
from hypothesis import given
from hypothesis import strategies as st

from ormcache import keys
from ormcache.sql import collapsed

D, UTC = decimal.Decimal, datetime.UTC


class Colour(enum.Enum):
    RED = 1


class Size(enum.IntEnum):
    ONE = 1


class Letter(enum.StrEnum):
    ONE = "1"


class OddInt(int):
    pass


class OddStr(str):
    __slots__ = ()


class OddDict(dict):
    pass


class Reprless:
    def __repr__(self) -> str:
        return "1"


class Pair(NamedTuple):
    a: int
    b: int


def postgresql() -> list:
    from psycopg import Binary
    from psycopg.types import json, numeric
    from psycopg.types import range as ranges

    return [
        json.Jsonb({"a": "x" * 100 + "1"}),
        json.Jsonb({"a": "x" * 100 + "2"}),
        json.Json({"a": 1}),
        json.Jsonb({"a": 1}),
        json.Jsonb({"a": 1.0}),
        json.Jsonb({"a": True}),
        json.Jsonb({"a": "1"}),
        json.Jsonb([1]),
        json.Jsonb("1"),
        json.Jsonb(1),
        json.Jsonb(None),
        json.Jsonb([]),
        Binary(b"x" * 100 + b"1"),
        Binary(b"x" * 100 + b"2"),
        Binary(b""),
        numeric.Int2(1),
        numeric.Int4(1),
        numeric.Int8(1),
        numeric.IntNumeric(1),
        numeric.Oid(1),
        numeric.Float4(1),
        numeric.Float8(1),
        ranges.Range(1, 2),
        ranges.Range(1, 2, "[]"),
        ranges.Range(1, None),
        ranges.Range(None, 1),
        ranges.Range(empty=True),
        ranges.Range(1.0, 2.0),
        ranges.Range("1", "2"),
        ranges.Int4Range(1, 2),
        ranges.Int8Range(1, 2),
        ranges.NumericRange(1, 2),
        ranges.NumericRange(D(1), D(2)),
        ranges.DateRange(datetime.date(2020, 1, 1), None),
        ranges.TimestampRange(None, None),
        ranges.TimestamptzRange(None, None),
    ]


VALUES = [
    1,
    True,
    "1",
    D(1),
    1.0,
    b"1",
    0,
    False,
    "",
    b"",
    0.0,
    -0.0,
    D(0),
    D("-0"),
    D("0.0"),
    D("1.0"),
    D("1.00"),
    D("1E+1"),
    D("10"),
    D("NaN"),
    D("Infinity"),
    float("inf"),
    float("-inf"),
    float("nan"),
    10**30,
    2**63,
    -1,
    1e30,
    0.1,
    0.1 + 0.2,
    0.3,
    None,
    "None",
    "True",
    " ",
    "a",
    "a ",
    "A",
    "\x00",
    "a\x00",
    "%s",
    "'",
    "ü",
    "u\u0308",
    "\ud800",
    b"a",
    bytearray(b"a"),
    memoryview(b"a"),
    "b'a'",
    datetime.date(2020, 1, 1),
    datetime.datetime(2020, 1, 1),
    datetime.datetime(2020, 1, 1, tzinfo=UTC),
    "2020-01-01",
    datetime.datetime(2020, 1, 1, fold=1),
    datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(0), "Z")),
    datetime.datetime(2020, 1, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=1))),
    datetime.datetime(2020, 1, 1, tzinfo=zoneinfo.ZoneInfo("UTC")),
    datetime.datetime(2020, 1, 1, tzinfo=zoneinfo.ZoneInfo("Etc/UTC")),
    datetime.datetime(2020, 10, 25, 2, 30, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
    datetime.datetime(2020, 10, 25, 2, 30, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"), fold=1),
    datetime.time(1),
    datetime.time(1, fold=1),
    datetime.time(1, tzinfo=UTC),
    datetime.timedelta(days=1),
    datetime.timedelta(seconds=1),
    uuid.UUID(int=1),
    str(uuid.UUID(int=1)),
    [],
    (),
    [1],
    (1,),
    [1, 2],
    (1, 2),
    [[1], 2],
    [[1, 2]],
    [(1, 2)],
    ["1, 2"],
    ["1", "2"],
    [None],
    [True],
    {},
    {"a": 1},
    {"a": 1.0},
    {"a": True},
    {"a": None},
    {"a": {"b": 1}},
    {1: 1},
    {"1": 1},
    "{'a': 1}",
    "[1]",
    "(1,)",
    Colour.RED,
    Size.ONE,
    Letter.ONE,
    SafeString("1"),
    SafeString("a"),
    ipaddress.ip_address("1.1.1.1"),
    ipaddress.ip_interface("1.1.1.1/32"),
    ipaddress.ip_network("1.1.1.1/32"),
    "1.1.1.1",
    ipaddress.ip_address("::1"),
]


def name(*params) -> bytes:
    return keys.entry_name(b"prefix", b"statement", params, ("multi", 1, False))


def test_different_values_have_different_names():
    values = VALUES + postgresql()
    names = {}
    for value in values:
        try:
            told = name(value)
        except keys.Unkeyable:
            assert type(value) is str, value  # what UTF-8 cannot write
            continue
        assert told not in names, (value, names[told])
        names[told] = value
    assert len(names) >= len(values) - 1
    # The same inside a list, and beside each other.
    inside = {}
    for value in values:
        for params in ([value], [value, 77], [77, value]):
            told = keys.exact([params])
            assert told not in inside, (params, inside[told])
            inside[told] = params


@pytest.mark.parametrize(
    "params",
    [
        ((), ("",), (None,), ((),), ([],)),
        (("a", "b"), ("a, b",), ("a', 'b",), (["a", "b"],), (("a", "b"),), ("a", "b", "")),
        ((1, 23), (12, 3), (123,), ("1, 23",)),
        ((b"a", b"b"), (b"a, b",), (b"a', b'b",)),
        (("\\",), ("\\\\",), ("\\'",)),
    ],
)
def test_boundaries_between_parameters(params):
    assert len({name(*one) for one in params}) == len(params)
    assert name() != keys.entry_name(b"prefix", b"statement", None, ("multi", 1, False))


def test_everything_else_counts():
    one = ("p" * 16).encode(), ("s" * 16).encode(), (1,), ("multi", 1, False)
    others = [
        (b"q" * 16, *one[1:]),
        (one[0], b"t" * 16, *one[2:]),
        (*one[:3], ("single", 1, False)),
        (*one[:3], ("multi", 2, False)),
        (*one[:3], ("multi", 1, True)),
        (*one[:3], ("multi", None, False)),
    ]
    assert len({keys.entry_name(*parts) for parts in [one, *others]}) == len(others) + 1


class Zone(datetime.tzinfo):
    def utcoffset(self, when):
        return datetime.timedelta(0)


@pytest.mark.parametrize(
    "value",
    [
        OddInt(1),
        OddStr("1"),
        OddDict(),
        OrderedDict(),
        Pair(1, 2),
        Reprless(),
        object(),
        {1},
        frozenset({1}),
        1j,
        int,
        range(3),
        iter([]),
        datetime.datetime(2020, 1, 1, tzinfo=Zone()),
        datetime.time(1, tzinfo=Zone()),
        [Reprless()],
        {"a": Reprless()},
        lambda: 1,
        Ellipsis,
        type("Decimal", (D,), {})(1),
        type("UUID", (uuid.UUID,), {})(int=1),
        type("date", (datetime.date,), {})(2020, 1, 1),
        10**5000,
    ],
    ids=lambda value: type(value).__name__,
)
def test_unknown_types_have_no_name(value):
    with pytest.raises(keys.Unkeyable):
        name(value)


def test_a_class_that_only_has_the_name_of_a_known_one():
    fake = type("Jsonb", (), {"__module__": "somewhere", "__repr__": lambda self: "Jsonb(1)"})
    with pytest.raises(keys.Unkeyable):
        name(fake())


def test_a_list_that_contains_itself():
    endless: list = []
    endless.append(endless)
    with pytest.raises(keys.Unkeyable):
        name(endless)


def test_json_of_an_encoder():
    import json

    from psycopg.types.json import Jsonb

    plain, odd = Jsonb({"a": 1}), Jsonb({"a": 1}, dumps=lambda value: json.dumps({"b": value}))
    assert name(plain) != name(odd)
    with pytest.raises(keys.Unkeyable):
        name(Jsonb({"a": object()}))


def _print_names() -> None:
    """What another process prints."""
    values = [value for value in VALUES if value != "\ud800"] + postgresql()
    print([name(value).hex() for value in values])


def test_names_are_the_same_in_every_process():
    outputs = set()
    for seed in ("0", "1", "4242"):
        command = [sys.executable, "-c", "from tests.unit.test_keys import _print_names; _print_names()"]
        done = subprocess.run(
            command,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        outputs.add(done.stdout)
    assert len(outputs) == 1


# Lists of parameters -----------------------------------------------------------------------------


def test_lists_share_a_plan_and_never_a_name():
    texts = [
        "a IN (%s) AND b IN (%s, %s, %s)",
        "a IN (%s, %s, %s) AND b IN (%s)",
        "a IN (%s, %s) AND b IN (%s, %s)",
        "a IN (%s, %s) AND b IN (%s)",
        "a IN (%s) AND b IN (%s, %s)",
        "a IN (%s, %s, %s, %s)",
        "a IN (%s, %s, %s)",
        "a IN (%s, %s)",
        "a IN (%s)",
        "a IN ((%s, %s), (%s, %s))",
        "a IN ((%s, %s), (%s, %s), (%s, %s))",
        "a IN ((%s, %s, %s), (%s, %s, %s))",
        "VALUES (%s, %s), (%s, %s)",
        "VALUES (%s, %s, %s), (%s)",
        "VALUES (%s), (%s), (%s)",
        "VALUES (%s), (%s)",
        "VALUES (%s, NULL), (%s, NULL)",
        "VALUES (%s, NULL), (%s, NULL), (%s, NULL)",
        "f(%s, %s, %s), g(%s)",
        "f(%s), g(%s, %s, %s)",
        "'%s, %s, %s'",
        "'%s, %s'",
        "'%s, %s, %s, %s', 1",
        "f(%s, %s, %s, 1)",
        "f(%s, %s, 1, %s)",
    ]
    assert len({collapsed(text) for text in texts}) == len(texts)
    assert collapsed(texts[5])[0] == collapsed(texts[6])[0]


PARTS = st.sampled_from(["%s", ", ", "(", ")", "), (", " IN ", "NULL", "DEFAULT", "a", " ", ",", "'"])


@given(st.lists(PARTS, max_size=25).map("".join), st.lists(PARTS, max_size=25).map("".join))
def test_collapsing_keeps_different_texts_apart(one, other):
    assert (one == other) == (collapsed(one) == collapsed(other))


@given(
    st.lists(
        st.sampled_from(["(%s)", "(%s, %s)", "(%s, %s, %s)", ", ", "%s, ", " AND ", "(NULL, %s)"]), max_size=12
    ).map("".join)
)
def test_collapsing_keeps_the_shape(text):
    from ormcache.sql.lexer import lex

    # The collapsed text has parameters where the whole one has them.
    short, _ = collapsed(text)
    assert len(short) <= len(text)
    assert (lex(short, "postgresql") is None) == (lex(text, "postgresql") is None)
