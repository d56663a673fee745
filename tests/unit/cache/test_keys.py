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

import dateutil.tz
import freezegun
import numpy
import pytest
import pytz
from django.utils.safestring import SafeString
from hypothesis import given
from hypothesis import strategies as st

try:
    import pendulum
except ModuleNotFoundError:  # has no wheels for the newest Python
    pendulum = None
    assert sys.version_info >= (3, 14)

from ormcache.cache import keys
from ormcache.cache.stamps import Stamps
from ormcache.catalog.row_keys import KeyColumn, KeyKind
from ormcache.database.row_slots import RowSlots
from ormcache.sql import collapse_lists
from ormcache.stores.base import PARTITION_LENGTH, ROW_SLOT_LENGTH, is_row_slot

D, UTC = decimal.Decimal, datetime.UTC


class Colour(enum.Enum):
    RED = 1


class Size(enum.IntEnum):
    ONE = 1


class Letter(enum.StrEnum):
    ONE = "1"


class Sku(str):
    __slots__ = ()


class Number(int):
    """Made from another form, which does not matter once it is a number."""

    def __new__(cls, text: str):
        return super().__new__(cls, text)


class Shouting(str):
    __slots__ = ()

    def __str__(self) -> str:
        return self.upper()


class Adapting(str):
    __slots__ = ()

    def __conform__(self, protocol: object) -> str:
        return "other"


class Remembering(int):
    seen = 0


class InSlots(str):
    __slots__ = ("more",)


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
            told = keys.exact_text([params])
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


def with_attributes(value: Remembering) -> Remembering:
    value.seen = 1
    return value


def of_libraries() -> list:
    """Values that the database could answer differently, each another one."""
    berlin = pytz.timezone("Europe/Berlin")
    summer, winter = datetime.datetime(2020, 7, 1), datetime.datetime(2020, 1, 1)
    found = [
        berlin.localize(summer),
        berlin.localize(winter),
        summer.replace(tzinfo=berlin),  # local mean time, as everybody does once
        summer.replace(tzinfo=pytz.utc),
        summer.replace(tzinfo=pytz.FixedOffset(60)),
        summer.replace(tzinfo=pytz.FixedOffset(61)),
        summer.replace(tzinfo=dateutil.tz.gettz("Europe/Berlin")),
        summer.replace(tzinfo=dateutil.tz.tzoffset(None, 60)),
        summer.replace(tzinfo=dateutil.tz.UTC),
        datetime.datetime(2020, 10, 25, 2, 30, tzinfo=dateutil.tz.gettz("Europe/Berlin")),
        dateutil.tz.enfold(datetime.datetime(2020, 10, 25, 2, 30, tzinfo=dateutil.tz.gettz("Europe/Berlin"))),
        *(kind(1) for kind in (numpy.int8, numpy.int64, numpy.uint8, numpy.float32, numpy.float64)),
        numpy.bool_(1),
        numpy.float64("nan"),
        numpy.float64(-0.0),
        numpy.str_("1"),
        Sku("1"),
        Sku("2"),
        Number("1"),
        Remembering(1),
        type("Decimal", (D,), {})(1),
        type("UUID", (uuid.UUID,), {})(int=1),
        type("date", (datetime.date,), {})(2020, 1, 1),
    ]
    if pendulum is not None:
        zone = pendulum.timezone("Europe/Berlin")
        found += [
            pendulum.datetime(2020, 7, 1, tz=zone),
            pendulum.datetime(2020, 7, 1, tz="UTC"),
            pendulum.datetime(2020, 7, 1, 0, 0, 0, 1, tz="UTC"),
            pendulum.naive(2020, 7, 1),
            pendulum.datetime(2020, 10, 25, 2, 30, tz=zone, fold=0),
            pendulum.datetime(2020, 10, 25, 2, 30, tz=zone, fold=1),
            pendulum.date(2020, 7, 1),
            summer.replace(tzinfo=zone),
            datetime.datetime(2020, 7, 1, tzinfo=pendulum.timezone("UTC")),
        ]
    return found


def test_values_of_libraries_and_of_projects():
    values = of_libraries()
    assert len({name(value) for value in [*values, *VALUES]}) == len(values) + len(VALUES)
    assert [name(value) for value in values] == [name(value) for value in of_libraries()]


class Zone(datetime.tzinfo):
    def utcoffset(self, when):
        return datetime.timedelta(0)


@pytest.mark.parametrize(
    "value",
    [
        Shouting("a"),
        Adapting("a"),
        InSlots("a"),
        with_attributes(Remembering(1)),
        numpy.datetime64("2020-01-01"),
        numpy.longdouble(1),
        numpy.array([1]),
        freezegun.api.FakeDatetime(2020, 1, 1),
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
    for seed in ("0", "4242"):
        command = [sys.executable, "-c", "from tests.unit.cache.test_keys import _print_names; _print_names()"]
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


def test_a_digest_is_no_name_of_a_row_slot():
    name = keys.digest(b"a relation")
    assert not is_row_slot(name)
    assert is_row_slot(name + b"r")
    assert keys.KEY_LENGTH + 1 == ROW_SLOT_LENGTH


def test_all_names_of_a_database_begin_alike():
    stamps = Stamps(None, b"PostgreSQL 1")
    namespace = keys.name_beside(stamps.partition, b"entry")
    slot = stamps.slot("shop_book")
    rows = RowSlots(slot)
    by_number = rows.rows_by(KeyColumn("id", KeyKind.INTEGER))
    by_text = rows.arrivals_by(KeyColumn("name", KeyKind.TEXT))
    named = [
        slot,
        stamps.slot("*"),
        rows.bulk,
        rows.departures,
        by_number(1),
        by_text("one"),
        keys.entry_name(namespace + b"session", b"statement", (1,), ()),
        keys.name_beside(slot, b"a claim"),
    ]
    assert {name[:PARTITION_LENGTH] for name in named} == {stamps.partition}
    assert len(set(named)) == len(named)
    assert stamps.slot("shop_book", b"PostgreSQL 2")[:PARTITION_LENGTH] == keys.partition_of(b"PostgreSQL 2")
    assert keys.partition_of(b"PostgreSQL 2") != stamps.partition


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
    assert len({collapse_lists(text) for text in texts}) == len(texts)
    assert collapse_lists(texts[5])[0] == collapse_lists(texts[6])[0]


PARTS = st.sampled_from(["%s", ", ", "(", ")", "), (", " IN ", "NULL", "DEFAULT", "a", " ", ",", "'"])


@given(st.lists(PARTS, max_size=25).map("".join), st.lists(PARTS, max_size=25).map("".join))
def test_collapsing_keeps_different_texts_apart(one, other):
    assert (one == other) == (collapse_lists(one) == collapse_lists(other))


@given(
    st.lists(
        st.sampled_from(["(%s)", "(%s, %s)", "(%s, %s, %s)", ", ", "%s, ", " AND ", "(NULL, %s)"]), max_size=12
    ).map("".join)
)
def test_collapsing_keeps_the_shape(text):
    from ormcache.sql.lexer import lex

    # The collapsed text has parameters where the whole one has them.
    short, _ = collapse_lists(text)
    assert len(short) <= len(text)
    assert (lex(short, "postgresql") is None) == (lex(text, "postgresql") is None)
