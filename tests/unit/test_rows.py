"""Rows to bytes and back: equal in value and type, or not at all; and nothing in the bytes can run code."""

from __future__ import annotations

import array
import codecs
import datetime
import decimal
import enum
import functools
import importlib
import ipaddress
import os
import pickle
import re
import uuid
import zlib
import zoneinfo
from collections import OrderedDict
from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ormcache import rows

D, UTC = decimal.Decimal, datetime.UTC
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")


def postgresql() -> list:
    from psycopg.types.multirange import Multirange
    from psycopg.types.range import DateRange, Int4Range, NumericRange, Range, TimestamptzRange

    return [
        Range(1, 2),
        Range(1, None, "[]"),
        Range(None, None),
        Range(empty=True),
        Range(D("1.5"), D(2)),
        Range(datetime.date(2020, 1, 1), None),
        Range(datetime.datetime(2020, 1, 1, tzinfo=BERLIN), None),
        Int4Range(1, 2),
        NumericRange(D(1), D(2)),
        DateRange(None, None),
        TimestamptzRange(None, datetime.datetime(2020, 1, 1, tzinfo=UTC)),
        Multirange([Range(1, 2), Range(5, 9)]),
        Multirange(),
        Multirange[int]([Range(1, 2)]),
    ]


def psycopg2() -> list:
    try:
        from psycopg2.extras import DateRange, DateTimeTZRange, NumericRange
    except ImportError:
        return []  # the driver's successor is the one that the tests need

    return [
        NumericRange(1, 2),
        NumericRange(1, 2, "[]"),
        NumericRange(empty=True),
        DateRange(datetime.date(2020, 1, 1), None),
        DateTimeTZRange(),
    ]


VALUES = [
    None,
    True,
    False,
    0,
    1,
    -1,
    2**63,
    -(10**40),
    0.0,
    -0.0,
    0.1,
    float("inf"),
    float("-inf"),
    1e-320,
    D(0),
    D("-0"),
    D("1.00"),
    D("NaN"),
    D("1E+400"),
    D("sNaN"),
    D("Infinity"),
    "",
    "a",
    "ü\u2028\x00",
    "\ud800",
    "x" * 100_000,
    b"",
    b"\x00\xff",
    bytearray(b"a"),
    memoryview(b"abc"),
    memoryview(b""),
    memoryview(bytearray(b"abc")),
    datetime.date.min,
    datetime.date.max,
    datetime.datetime(2020, 1, 1),
    datetime.datetime(2020, 1, 1, tzinfo=UTC),
    datetime.datetime(2020, 10, 25, 2, 30, 1, 2, tzinfo=BERLIN),
    datetime.datetime(2020, 10, 25, 2, 30, tzinfo=BERLIN, fold=1),
    datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=-3, minutes=-30, seconds=7))),
    datetime.time(1, 2, 3, 4),
    datetime.time(1, fold=1),
    datetime.time(1, tzinfo=UTC),
    datetime.timedelta(days=-3, microseconds=1),
    datetime.timedelta.max,
    uuid.UUID(int=7),
    ipaddress.ip_address("10.0.0.1"),
    ipaddress.ip_network("10.0.0.0/8"),
    ipaddress.ip_interface("::1/64"),
    [],
    [1, [2, None]],
    (),
    (1, (2,)),
    {},
    {"a": [1, {"b": None}], 1: "x"},
    {1, 2},
    frozenset({1}),
    1j,
    [datetime.datetime(2020, 1, 1, tzinfo=BERLIN)],
]


def typed(value):
    if isinstance(value, dict):
        return (type(value), [(typed(key), typed(item)) for key, item in value.items()])
    if isinstance(value, (list, tuple)):
        return (type(value), [typed(item) for item in value])
    if isinstance(value, (datetime.datetime, datetime.time)):
        return (type(value), repr(value), value.fold, type(value.tzinfo), str(value.tzinfo))
    if isinstance(value, memoryview):
        return (type(value), bytes(value), value.format)
    if hasattr(value, "lower_inc"):
        return (type(value), typed(value.lower), typed(value.upper), value._bounds)
    if type(value).__name__ == "Multirange":
        return (type(value), [typed(item) for item in value])
    return (type(value), repr(value) if isinstance(value, (float, D)) else value)


@pytest.mark.parametrize(
    "value",
    [*VALUES, *postgresql(), *psycopg2()],
    ids=lambda value: f"{type(value).__name__} {re.sub('0x[0-9a-f]+', '', repr(value))}"[:40],
)
def test_round_trip(value):
    for result in ([(value,)], [(1, value, value), ("x", None, value)], (value, 1)):
        looked = rows.content(result)
        data = rows.encode(result, plain=looked.plain)
        back = rows.decode(data)

        assert typed(back) == typed(result)
        assert typed(rows.decode(rows.encode(result))) == typed(result)
        if looked.immutable:
            assert not isinstance(value, (list, dict, set, bytearray))
        # Made anew every time.
        if isinstance(value, (list, dict, set, bytearray)):
            assert rows.decode(data) is not rows.decode(data)


@pytest.mark.parametrize("result", [None, [], (), [()], [(1,)] * 3])
def test_results_of_any_shape(result):
    back = rows.decode(rows.encode(result, plain=rows.content(result).plain))
    assert typed(back) == typed(result)


def test_immutable_only_if_all_of_it_is():
    for value in (None, 1, "a", D(1), b"a", (1, ("a",)), frozenset({1}), datetime.datetime(2020, 1, 1, tzinfo=BERLIN)):
        assert rows.content([(value,)]).immutable, value
    for value in ([], {}, set(), bytearray(), (1, []), memoryview(bytearray(b"a")), postgresql()[-2]):
        assert not rows.content([(value,)]).immutable, value


class Odd(int):
    pass


class Colour(enum.Enum):
    RED = 1


class Zone(datetime.tzinfo):
    def utcoffset(self, when):
        return datetime.timedelta(0)


class SameUUID(uuid.UUID):
    pass


class Pair(NamedTuple):
    a: int
    b: int


@pytest.mark.parametrize(
    "value",
    [
        Odd(1),
        Colour.RED,
        Pair(1, 2),
        OrderedDict(),
        object(),
        Zone(),
        datetime.datetime(2020, 1, 1, tzinfo=Zone()),
        datetime.time(1, tzinfo=Zone()),
        [Odd(1)],
        {"a": Odd(1)},
        (Pair(1, 2),),
        lambda: 1,
        int,
        array.array("i"),
        memoryview(array.array("i", [1])),
        SameUUID(int=1),
        functools.partial(int),
        iter([]),
        Exception(),
        type("str", (str,), {})("x"),
        zoneinfo.ZoneInfo("UTC"),
        range(2),
        slice(1),
        ...,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_would_not_come_back_exactly_is_refused(value):
    for result in ([(value,)], (value,)):
        with pytest.raises(rows.Unencodable):
            rows.content(result)


@pytest.mark.parametrize(
    "result", [iter([]), "rows", {}, [[1]], [(1,), [1]], [Pair(1, 2)], type("list", (list,), {})(), 1, [1]]
)
def test_what_are_no_rows(result):
    with pytest.raises(rows.Unencodable):
        rows.content(result)


def test_a_value_that_contains_itself():
    endless: list = []
    endless.append(endless)
    with pytest.raises(rows.Unencodable):
        rows.content([(endless,)])


# Poison ------------------------------------------------------------------------------------------

RAN: list = []


def ran(*args) -> str:
    RAN.append(args)
    return "ran"


class Gadget:
    """Pickled as a call of ``function(*args)``."""

    def __init__(self, function, *args) -> None:
        self.reduced = (function, args)

    def __reduce__(self):
        return self.reduced


def gadgets() -> dict[str, object]:
    return {
        "os.system": Gadget(os.system, "echo ran"),
        "our own function": Gadget(ran, 1),
        "eval": Gadget(eval, "__import__('os').system('echo ran')"),
        "getattr": Gadget(getattr, object, "__subclasses__"),
        "import": Gadget(importlib.import_module, "antigravity"),
        "codecs": Gadget(codecs.decode, b"x", "rot13"),
        "codecs.encode": Gadget(codecs.encode, "x", "utf-8"),
        "open": Gadget(open, "/etc/passwd"),
        "partial": Gadget(functools.partial, ran),
        "the type of a class": Gadget(type, "X", (), {}),
        "object": Gadget(object),
        "pickle": Gadget(pickle.loads, b""),
        "zoneinfo from file": Gadget(zoneinfo.ZoneInfo.no_cache, "UTC"),
        "a bound method": Gadget("".join, ["a"]),
        "a class method": Gadget(datetime.datetime.now),
        "inside a row": [(1, [Gadget(ran, 2)])],
        "a key of a dict": {1: Gadget(ran, 3)},
    }


@pytest.mark.parametrize("name", gadgets())
@pytest.mark.parametrize("protocol", range(6))
def test_poison_does_not_run(name, protocol):
    RAN.clear()
    data = pickle.dumps(gadgets()[name], protocol)

    with pytest.raises(rows.Unreadable):
        rows.decode(data)
    assert RAN == []


@pytest.mark.parametrize(
    "data",
    [
        b"cos\nsystem\n(S'echo ran'\ntR.",
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"c__builtin__\neval\n(S'1'\ntR.",
        b"(S'echo ran'\nios\nsystem\n.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x08echo ran\x85R.",
        b"\x80\x04\x8c\x08datetime\x8c\x0ddatetime.now__\x93)R.",
        b"\x80\x04\x8c\x04uuid\x8c\x07os.path\x93.",
        b"\x80\x04\x8c\x04uuid\x8c\x09UUID.hex\x2e\x93.",
        b"\x80\x04\x8c\x08datetime\x8c\x08sys.exit\x93)R.",
        b"\x82\x01.",  # an extension code
        b"P1\n.",  # a persistent id
        b"\x80\x05\x97.",  # an out-of-band buffer
        b"cdatetime\ndatetime\n.",
        b"",
        b".",
        b"\x80\x05N",
        b"\x80\x99N.",
    ],
)
def test_forged_bytes(data):
    RAN.clear()
    try:
        value = rows.decode(data)
    except rows.Unreadable:
        return
    assert value is datetime.datetime  # an allowed class, never called
    assert data == b"cdatetime\ndatetime\n."


def test_every_allowed_name_is_harmless():
    """A class of values: no function, nothing that takes code or opens anything."""
    for module, name in rows._ALLOWED:
        try:
            found = getattr(importlib.import_module(module), name)
        except ImportError:
            continue
        assert isinstance(found, type), (module, name)
        assert module.split(".")[0] in {
            "builtins",
            "datetime",
            "decimal",
            "uuid",
            "zoneinfo",
            "ipaddress",
            "psycopg",
            "psycopg2",
        }


GOOD = rows.encode(
    [(1, "text", b"bytes", D("1.5"), datetime.datetime(2020, 1, 1, tzinfo=BERLIN), uuid.UUID(int=1), [1, {"a": None}])]
    * 3
)


@pytest.mark.parametrize("length", [0, 1, 2, 5, len(GOOD) // 3, len(GOOD) // 2, len(GOOD) - 2, len(GOOD) - 1])
def test_truncated(length):
    with pytest.raises(rows.Unreadable):
        rows.decode(GOOD[:length])


@given(st.binary(max_size=200))
@settings(max_examples=500, deadline=None)
@example(b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\xff.")
@example(b"\x80\x05\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.")
@example(b"\x80\x05r\xff\xff\xff\x7f.")
@example(b"(" * 100 + b".")
def test_any_bytes(data):
    try:
        rows.decode(data)
    except rows.Unreadable:
        pass


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255), st.integers(0, len(GOOD)), st.binary(max_size=5))
@settings(max_examples=500, deadline=None)
def test_damaged_bytes(at, value, where, more):
    damaged = bytearray(GOOD)
    damaged[at] = value
    damaged[where:where] = more
    try:
        rows.decode(bytes(damaged))
    except rows.Unreadable:
        pass


# Signatures ---------------------------------------------------------------------------------------


def test_signatures():
    key, name, data = b"k" * 16, b"n" * 16, b"data"
    signed = rows.mac(key, name, data) + data

    assert rows.verified(key, name, signed) == data
    for wrong in (
        (b"j" * 16, name, signed),
        (key, b"m" * 16, signed),
        (key, name, signed + b"x"),
        (key, name, signed[:-1]),
        (key, name, b"\x00" + signed[1:]),
        (key, name, data),
        (key, name, b""),
    ):
        with pytest.raises(rows.Unreadable):
            rows.verified(*wrong)


# Compressed --------------------------------------------------------------------------------------


def test_compressed_results_come_back():
    result = [(number, "a title", D("1.50"), datetime.datetime(2020, 1, 1, tzinfo=BERLIN)) for number in range(1000)]
    data = rows.encode(result)
    packed = rows.compress(data)
    assert len(packed) < len(data) / 2
    assert typed(rows.decode(packed)) == typed(result)


def test_what_would_not_get_smaller_stays_as_it_is():
    data = rows.encode([(1,)])
    assert rows.compress(data) == data


@pytest.mark.parametrize("length", [1, 2, 10, -10, -1])
def test_compressed_and_cut_off(length):
    packed = rows.compress(rows.encode([("a" * 10_000,)]))
    with pytest.raises(rows.Unreadable):
        rows.decode(packed[:length])


def test_compressed_poison():
    with pytest.raises(rows.Unreadable):
        rows.decode(rows.COMPRESSED + zlib.compress(pickle.dumps(print)))


def test_what_claims_to_be_larger_than_any_result(monkeypatch):
    packed = rows.compress(rows.encode([("a" * 100_000,)]))
    monkeypatch.setattr(rows, "MOST_DECOMPRESSED", 50_000)
    with pytest.raises(rows.Unreadable):
        rows.decode(packed)
