"""Rows to bytes and back: equal in value and type, or not at all; and nothing in the bytes can run code."""

from __future__ import annotations

import array
import ast
import codecs
import datetime
import decimal
import enum
import functools
import importlib
import inspect
import ipaddress
import json
import os
import pickle
import re
import sys
import tracemalloc
import uuid
import zlib
import zoneinfo
from collections import OrderedDict
from contextlib import suppress
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ormcache.cache import layout, packer, serializer, stamps, unpacker, value_codec, value_types
from tests.examples import examples

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
    memoryview(b"abc").cast("c"),
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
    for result in (
        [(value,)],
        (value, 1),
        [(1, value, value), ("x", None, value)],
        [(1, value), (2, value)] * 3,
        [(value, None), (None, 1)] * 3,
        [(value,), ("x",)] * 3,
    ):
        looked = serializer.examine(result)
        data = serializer.encode(result)
        back = serializer.decode(data)

        assert typed(back) == typed(result)
        if looked.immutable:
            assert not isinstance(value, (list, dict, set, bytearray))
        # Made anew every time.
        if isinstance(value, (list, dict, set, bytearray)):
            assert serializer.decode(data) is not serializer.decode(data)


@pytest.mark.parametrize(
    "result", [None, [], (), [()], [()] * 9, [(1,)] * 3, [(1,)] * 9, [(None,)] * 9, [(None, None)]]
)
def test_results_of_any_shape(result):
    back = serializer.decode(serializer.encode(result))
    assert typed(back) == typed(result)


def test_immutable_only_if_all_of_it_is():
    for value in (None, 1, "a", D(1), b"a", (1, ("a",)), frozenset({1}), datetime.datetime(2020, 1, 1, tzinfo=BERLIN)):
        assert serializer.examine([(value,)]).immutable, value
    for value in ([], {}, set(), bytearray(), (1, []), memoryview(bytearray(b"a")), postgresql()[-2]):
        assert not serializer.examine([(value,)]).immutable, value


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
        with pytest.raises(serializer.Unserializable):
            serializer.examine(result)


@pytest.mark.parametrize(
    "result", [iter([]), "rows", {}, [[1]], [(1,), [1]], [Pair(1, 2)], type("list", (list,), {})(), 1, [1]]
)
def test_what_are_no_rows(result):
    with pytest.raises(serializer.Unserializable):
        serializer.examine(result)


def test_a_value_that_contains_itself():
    endless: list = []
    endless.append(endless)
    with pytest.raises(serializer.Unserializable):
        serializer.examine([(endless,)])


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

    with pytest.raises(serializer.Unreadable):
        serializer.decode(data)
    assert RAN == []


@pytest.mark.parametrize(
    "module",
    [serializer, layout, packer, unpacker, value_codec, value_types, stamps],
    ids=lambda module: module.__name__.rpartition(".")[2],
)
def test_nothing_that_reads_entries_can_call_what_they_name(module):
    tree = ast.parse(inspect.getsource(module))
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    imported = {
        alias.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    }
    assert not imported & {"pickle", "marshal", "shelve", "copyreg", "importlib", "yaml"}
    assert not names & {"eval", "exec", "compile", "setattr", "__import__"}
    if "getattr" in names:
        assert module is value_codec  # of a class in a closed table


def test_every_class_by_name_is_one_of_values():
    for module, name in [*value_types.RANGES.values(), value_types.MULTIRANGE]:
        assert module.split(".")[0] in {"psycopg", "psycopg2"}
        try:
            found = getattr(importlib.import_module(module), name)
        except ImportError:
            continue
        assert isinstance(found, type), (module, name)


def test_a_driver_that_is_not_there_is_not_imported_for_foreign_bytes(monkeypatch):
    data = serializer.encode([(value,) for value in postgresql()])
    monkeypatch.delitem(sys.modules, "psycopg.types.range")
    with pytest.raises(serializer.Unreadable):
        serializer.decode(data)
    assert "psycopg.types.range" not in sys.modules


def forged(frozen: object, number: int = 1) -> bytes:
    """An entry of one value a row, with this JSON in the place of the frozen values."""
    data = serializer.encode([(1j,)] * number)
    good = json.dumps([["c", 0.0, 1.0]] * number, separators=(",", ":")).encode()
    if number > layout.FEW:
        good = b"[" + good + b"]"
    assert data.endswith(good)
    return data[: -len(good)] + (frozen if isinstance(frozen, bytes) else json.dumps(frozen).encode())


@pytest.mark.parametrize(
    "frozen",
    [
        [],
        {},
        1,
        "c",
        [["c"]],
        [["c", 1, 2]],
        [["c", 1.0, "2"]],
        [{"c": 1}],
        [["os.system", "echo ran"]],
        [["__class__", 1]],
        [[["l"], []]],
        [["l"]],
        [["l", {}]],
        [["l", "abc"]],
        [["l", None]],
        [["s", [["l", []]]]],
        [["d", [1]]],
        [["d", [["l", []], 1]]],
        [["n", 1]],
        [["n", [0, [1], 1]]],
        [["n", "x"]],
        [["da", "2020-01-01"]],
        [["da", True]],
        [["da", 10**9]],
        [["td", 1.5]],
        [["td", 10**30]],
        [["u", 1]],
        [["u", "-1"]],
        [["u", "f" * 33]],
        [["b", "!"]],
        [["b", ["eA=="]]],
        [["a4", 1]],
        [["a4", "::1"]],
        [["n4", ["10.0.0.0", 8]]],
        [["dt", "2020-01-01", 2, None]],
        [["dt", "2020-01-01", 0, "../../etc/passwd"]],
        [["dt", "2020-01-01", 0, "/etc/localtime"]],
        [["dt", "2020-01-01", 0, "Nowhere/Else"]],
        [["dt", "2020-01-01", 0, "Europe"]],
        [["dt", "2020-01-01", 0, [10**15]]],
        [["dt", "2020-01-01", 0, [0, 1]]],
        [["dt", 1, 0, None]],
        [["ti", "25:00", 0, None]],
        [["r", 1, 2, "x"]],
        [["r", 1, 2]],
        [["m", [1]]],
        [["m", [["l", []]]]],
        b"",
        b"[",
        b"[1]x",
        b"\xff",
        b"[" * 100_000,
        b"[" + b'["l",[' * 20_000 + b"]]" * 20_000 + b"]",
        b"[" + b"1" * 100_000 + b"]",
    ],
    ids=lambda frozen: repr(frozen)[:40],
)
def test_forged_values(frozen):
    for number in (1, 5):
        data = frozen if isinstance(frozen, bytes) or number == 1 else [frozen * 5 if type(frozen) is list else frozen]
        with pytest.raises(serializer.Unreadable):
            serializer.decode(forged(data, number))


def test_members_that_could_be_chosen_to_collide_are_few():
    many = list(range(value_codec.MOST_HASHED + 1))
    for value in (set(many), frozenset(many), dict.fromkeys(many), [set(many)]):
        for call in (serializer.examine, serializer.encode):
            with pytest.raises(serializer.Unserializable):
                call([(value,)])
    for frozen in (["s", many], ["f", many], ["d", many * 2]):
        with pytest.raises(serializer.Unreadable):
            serializer.decode(forged([frozen]))
    names = dict.fromkeys(map(str, many))  # whose hashes nobody can choose
    assert serializer.decode(serializer.encode([(names,)])) == [(names,)]


def test_classes_stay_as_they_are():
    """Whatever is done to the bytes of values of all types."""
    values = [*VALUES, *postgresql()]
    before = {cls: dict(vars(cls)) for cls in {type(value) for value in values}}
    for value in values:
        data = serializer.encode([(value,)])
        for at in range(0, len(data), 1 + len(data) // 100):
            with suppress(serializer.Unreadable):
                serializer.decode(data[:at] + b"is_private" + data[at:])
    assert {cls: dict(vars(cls)) for cls in before} == before


def test_what_is_raised_from_outside_goes_on(monkeypatch):
    """A time limit is no damage, and no value without a form."""

    class TimeLimit(Exception):
        pass

    def raises(*args):
        raise TimeLimit

    monkeypatch.setattr(serializer, "unpack", raises)
    monkeypatch.setattr(serializer, "pack", raises)
    with pytest.raises(TimeLimit):
        serializer.decode(b"N")
    with pytest.raises(TimeLimit):
        serializer.encode([(1,)])


GOOD = serializer.encode(
    [(1, "text", b"bytes", D("1.5"), datetime.datetime(2020, 1, 1, tzinfo=BERLIN), uuid.UUID(int=1), [1, {"a": None}])]
    * 3
)


@pytest.mark.parametrize("length", [0, 1, 2, 5, len(GOOD) // 3, len(GOOD) // 2, len(GOOD) - 2, len(GOOD) - 1])
def test_truncated(length):
    with pytest.raises(serializer.Unreadable):
        serializer.decode(GOOD[:length])


@pytest.mark.parametrize(
    "header",
    [
        # more of something than there are bytes
        layout.UNIFORM_HEADER.pack(b"l", b"i", 65_535, 2**32 - 1),
        layout.UNIFORM_HEADER.pack(b"l", b"i", 0, 2**32 - 1),
        layout.UNIFORM_HEADER.pack(b"l", b"0", 65_535, 2**32 - 1),
        layout.UNIFORM_HEADER.pack(b"r", b"i", 1, 2),
        *(
            layout.HEADER.pack(b"L", b"i", b"0", 1, number, *(2**32 - 1 if at == place else 0 for place in range(6)))
            for number in (1, 9, 2**32 - 1)
            for at in range(7)
        ),
        layout.HEADER.pack(b"L", b"i", b"0", 65_535, 60_000, 65_535, 0, 0, 0, 0, 0) + b"N" * 65_535,
        layout.HEADER.pack(b"L", b"i", b"0", 65_535, 60_000, 65_535, 60_000, 0, 0, 0, 0) + b"N" * 125_535,
    ],
    ids=lambda header: header[:40].hex(),
)
def test_what_claims_to_be_more_than_it_is_takes_no_memory(header):
    tracemalloc.start()
    try:
        serializer.decode(header + b"\x01" * 1000)
    except serializer.Unreadable:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 64 * (len(header) + 1000) + 200_000


@given(st.binary(max_size=200), st.sampled_from([b"", b"N", b"R", b"L", b"ri", b"li", b"l0", b"z", b"Li0", b"Ri0"]))
@settings(max_examples=examples(500), deadline=None)
def test_any_bytes(data, begin):
    try:
        serializer.decode(begin + data)
    except serializer.Unreadable:
        pass


#: Entries of each layout
LAYOUTS = [
    GOOD,
    serializer.encode([(1, 2)] * 9),
    serializer.encode([("a", "b")] * 9),
    serializer.encode((2**40, 1)),
    serializer.encode([(None, 1, "a", True, 1.5)] * 9),
    serializer.encode([(None, 1, "a\0b", True, 1.5, D(1)), (2, None, None, None, None, None)] * 9),
    serializer.encode([(value, 1) for value in [*VALUES[:20], *postgresql()]]),
    serializer.encode([([1], datetime.date(2020, 1, 1), datetime.time(1), b"a")] * 9),
    serializer.compress(GOOD * 20),
]


@given(
    st.sampled_from(LAYOUTS), st.integers(0, 2**16), st.integers(0, 255), st.integers(0, 2**16), st.binary(max_size=5)
)
@settings(max_examples=examples(2000), deadline=None)
def test_damaged_bytes(good, at, value, where, more):
    damaged = bytearray(good)
    damaged[at % len(good)] = value
    where %= len(good) + 1
    damaged[where:where] = more
    try:
        serializer.decode(bytes(damaged))
    except serializer.Unreadable:
        pass


PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**31), 2**31),
    st.floats(),
    st.text(),
    st.text(st.characters(), max_size=3),
    st.binary(max_size=20),
    st.decimals(),
    st.dates(),
    st.times(),
    st.datetimes(),
    st.datetimes(timezones=st.timezones(), allow_imaginary=False),
    st.timedeltas(),
    st.uuids(),
)


@given(
    st.lists(st.one_of(PLAIN, st.lists(PLAIN, max_size=3)), min_size=1, max_size=5).flatmap(
        lambda kinds: st.lists(
            st.tuples(*(st.one_of(st.just(kind), PLAIN) if kind is None else st.just(kind) for kind in kinds)),
            max_size=12,
        )
    )
)
@settings(max_examples=examples(300), deadline=None)
def test_whatever_the_rows(result):
    serializer.examine(result)
    assert typed(serializer.decode(serializer.encode(result))) == typed(result)


# Signatures ---------------------------------------------------------------------------------------


def test_signatures():
    key, name, data = b"k" * 16, b"n" * 16, b"data"
    signed = serializer.mac(key, name, data) + data

    assert serializer.verify(key, name, signed) == data
    for wrong in (
        (b"j" * 16, name, signed),
        (key, b"m" * 16, signed),
        (key, name, signed + b"x"),
        (key, name, signed[:-1]),
        (key, name, b"\x00" + signed[1:]),
        (key, name, data),
        (key, name, b""),
    ):
        with pytest.raises(serializer.Unreadable):
            serializer.verify(*wrong)


# Compressed --------------------------------------------------------------------------------------


def test_compressed_results_come_back():
    result = [(number, "a title", D("1.50"), datetime.datetime(2020, 1, 1, tzinfo=BERLIN)) for number in range(1000)]
    data = serializer.encode(result)
    packed = serializer.compress(data)
    assert len(packed) < len(data) / 2
    assert typed(serializer.decode(packed)) == typed(result)


def test_what_would_not_get_smaller_stays_as_it_is():
    data = serializer.encode([(1,)])
    assert serializer.compress(data) == data


@pytest.mark.parametrize("length", [1, 2, 10, -10, -1])
def test_compressed_and_cut_off(length):
    packed = serializer.compress(serializer.encode([("a" * 10_000,)]))
    with pytest.raises(serializer.Unreadable):
        serializer.decode(packed[:length])


def test_compressed_poison():
    with pytest.raises(serializer.Unreadable):
        data = pickle.dumps(print)
        serializer.decode(serializer.COMPRESSED + len(data).to_bytes(4, "big") + zlib.compress(data))


def test_what_claims_to_be_larger_than_any_result(monkeypatch):
    data = serializer.encode([("a" * 100_000,)])
    packed = serializer.compress(data)
    monkeypatch.setattr(serializer, "MOST_DECOMPRESSED", 50_000)
    with pytest.raises(serializer.Unreadable):
        serializer.decode(packed)
    assert serializer.compress(data) == data  # so nobody finds it damaged


@pytest.mark.parametrize("size", [0, 1, 100, len(GOOD) - 1, len(GOOD) + 1, 2**32 - 1])
def test_what_is_compressed_is_as_long_as_it_says(size):
    forged = serializer.COMPRESSED + size.to_bytes(4, "big") + zlib.compress(GOOD)
    with pytest.raises(serializer.Unreadable):
        serializer.decode(forged)


def test_a_compressed_bomb_takes_no_memory():
    bomb = zlib.compress(bytes(2**26))
    tracemalloc.start()
    try:
        for size in (1000, 2**26, 2**32 - 1):
            with pytest.raises(serializer.Unreadable):
                serializer.decode(serializer.COMPRESSED + size.to_bytes(4, "big") + bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


# Columns of datetimes in one zone, and of JSON ----------------------------------------------------

MOMENTS = [
    datetime.datetime(1, 1, 1),
    datetime.datetime(9999, 12, 31, 23, 59, 59, 999999),
    datetime.datetime(2024, 2, 29, 12, 0, 0, 983_040),
    datetime.datetime(2024, 10, 27, 2, 30, fold=1),
    datetime.datetime(255, 12, 31),
    datetime.datetime(256, 1, 30),
]


@pytest.mark.parametrize("number", [1, 3, 6, 1000])
def test_datetimes_in_one_zone(number):
    moments = [moment.replace(tzinfo=BERLIN) for moment in MOMENTS] * number
    rows = [(moment, None if at % 3 else moment, at) for at, moment in enumerate(moments[:number])]

    data = serializer.encode(rows)

    assert typed(serializer.decode(data)) == typed(rows)
    assert data.count(b"Europe/Berlin") <= 2 * min(number, layout.FEW)


@given(st.lists(st.datetimes(timezones=st.sampled_from([BERLIN, zoneinfo.ZoneInfo("Asia/Tokyo")]).map(lambda z: z))))
def test_any_datetimes_in_any_zones(moments):
    rows = [(moment,) for moment in moments]
    assert typed(serializer.decode(serializer.encode(rows))) == typed(rows)


@pytest.mark.parametrize("number", [1, layout.FEW + 1])
@given(state=st.binary(min_size=value_codec.STATE_LENGTH, max_size=value_codec.STATE_LENGTH))
def test_forged_datetimes(number, state):
    """Those that their class would take, and that are none, are as unreadable as all others."""
    good = datetime.datetime(2024, 5, 6, 7, 8, 9, 10, tzinfo=BERLIN)
    data = serializer.encode([(good,)] * number)
    assert data.count(value_codec.datetime_state(good)) == number
    try:
        result = serializer.decode(data.replace(value_codec.datetime_state(good), state))
    except serializer.Unreadable:
        return
    for (moment,) in result:
        naive = moment.replace(tzinfo=None)
        assert datetime.datetime.fromisoformat(naive.isoformat()).replace(fold=naive.fold) == naive
        assert value_codec.datetime_state(moment) == state


@pytest.mark.parametrize(
    "at, value",
    [(0, 40), (2, 0), (2, 13), (2, 141), (3, 0), (3, 32), (4, 24), (5, 60), (6, 60), (7, 16)],
)
@pytest.mark.parametrize("number", [1, layout.FEW + 1])
def test_parts_of_datetimes_that_are_out_of_bounds(number, at, value):
    state = bytearray(value_codec.datetime_state(datetime.datetime(2024, 5, 6, 7, 8, 9, 10, tzinfo=BERLIN)))
    data = serializer.encode([(datetime.datetime(2024, 5, 6, 7, 8, 9, 10, tzinfo=BERLIN),)] * number)
    forged = bytearray(state)
    forged[at] = value
    with pytest.raises(serializer.Unreadable):
        serializer.decode(data.replace(bytes(state), bytes(forged)))


def test_a_day_that_its_month_does_not_have():
    moment = datetime.datetime(2023, 3, 29, tzinfo=BERLIN)
    state = value_codec.datetime_state(moment)
    data = serializer.encode([(moment,)] * 9)
    with pytest.raises(serializer.Unreadable):
        serializer.decode(data.replace(state, state[:2] + b"\x02" + state[3:]))


JSON = [
    [1, "a", None, True, 1.5],
    [[1], [], [[["x"]]]],
    {"a": 1, "b": [1, {"c": None}]},
    {},
    [],
    {"ü\x00\ud800": [float("inf"), -0.0, 2**70]},
    {str(at): at for at in range(2000)},
]
NOT_JSON = [{1: 2}, {"a": (1,)}, [(1,)], [{None: 1}], {"a": D(1)}, [b"x"], [{1}], {"a": {True: 1}}]


@pytest.mark.parametrize("number", [1, 3, 7])
@pytest.mark.parametrize("values", [JSON, [*JSON, None], [*JSON, *NOT_JSON], NOT_JSON, [None, *JSON, "x"]])
def test_lists_and_dicts(values, number):
    rows = [(value, at) for at, value in enumerate(values)][:number]
    rows += [(value, 0) for value in values] if number > layout.FEW else []

    data = serializer.encode(rows)

    assert typed(serializer.decode(data)) == typed(rows)
    assert value_codec.is_json(JSON)
    assert not any(value_codec.is_json([value]) for value in NOT_JSON)


def test_deep_lists_and_one_that_contains_itself_are_looked_at_one_by_one():
    deep: list = []
    for _ in range(value_codec.DEEPEST + 5):
        deep = [deep]
    endless: list = []
    endless.append(endless)
    assert not value_codec.is_json([deep])
    assert not value_codec.is_json([endless])
    assert typed(serializer.decode(serializer.encode([(deep,)] * 9))) == typed([(deep,)] * 9)
    with pytest.raises(serializer.Unserializable):
        serializer.examine([(endless,)] * 9)


@pytest.mark.parametrize(
    "result",
    [(1,), ("a",), [(1, 2)] * 9, [("a", "b\0")] * 9, [(2**80,)] * 9, [(1, "a")] * 9, [(True,)] * 9, [()], [], None],
)
def test_what_was_looked_at_is_written_as_what_was_not(result):
    looked = serializer.examine(result)
    assert serializer.encode(result, uniform=looked.uniform) == serializer.encode(result)
    assert looked.uniform == (
        typed(result) in map(typed, [(1,), ("a",), [(1, 2)] * 9, [("a", "b\0")] * 9, [(2**80,)] * 9])
    )
