"""What a driver makes of values, told alike in every process or not at all."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import subprocess
import sys
import zoneinfo
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import django.db.backends.sqlite3.base  # noqa: F401 - registers what each process of Django's has
import pytest

from ormcache.session.converters import converters_of


@pytest.fixture
def connection() -> Iterator[Any]:
    made = sqlite3.connect(":memory:")
    yield made
    made.close()


@pytest.fixture
def converter() -> Iterator[Callable[[Any], None]]:
    """``converter(function)``: what sqlite3 makes of columns of the type "unheard of"."""
    yield partial(sqlite3.register_converter, "unheard of")
    sqlite3.converters.pop("UNHEARD OF", None)  # type: ignore[attr-defined]  # the stubs leave it out


def digest(connection: Any, **options: Any) -> bytes | None:
    return converters_of(connection, options).digest


def test_what_counts(connection):
    found = [digest(connection), digest(connection, detect_types=0), digest(connection, detect_types=1)]
    connection.text_factory = bytes
    found.append(digest(connection))
    connection.row_factory = sqlite3.Row
    found.append(digest(connection))
    assert None not in found
    assert len(set(found)) == 5


#: A list that is a part of itself
_LOOP: list[Any] = []
_LOOP.append(_LOOP)


def _nested(depth: int) -> Any:
    return [_nested(depth - 1)] if depth else 1


def _zone_without_a_name() -> zoneinfo.ZoneInfo:
    empty = (
        b"TZif" + bytes(16) + b"".join(count.to_bytes(4, "big") for count in (0, 0, 0, 0, 1, 4)) + bytes(6) + b"UTC\0"
    )
    return zoneinfo.ZoneInfo.from_file(io.BytesIO(empty))


def _own(data: bytes) -> int:
    return int(data)


def _made(function: Any) -> Any:
    return lambda data: function(data) + 0


@pytest.mark.parametrize(
    "function, is_told",
    [
        (json.loads, True),
        (int, True),
        (b"1".__eq__, True),
        (partial(json.loads, parse_float=str), True),
        (partial(int, base=16), True),
        (partial(int, base=frozenset({8, 16})), True),
        (partial(int, base=_LOOP), True),
        (partial(int, base=zoneinfo.ZoneInfo("Europe/Paris")), True),
        (partial(int, base=_zone_without_a_name()), False),
        (partial(int, base=_nested(5)), True),
        (partial(int, base=_nested(50)), False),
        ({b"1": 1}.get, False),
        (partial(json.loads, object_hook=_own), False),
        (_own, False),
        (_made(int), False),
        (lambda data: data, False),
        (type("Own", (int,), {}), False),
    ],
)
def test_code_that_is_known(connection, converter, function, is_told):
    plain = converters_of(connection, {})
    converter(function)
    assert not plain.are_current(connection)
    assert not plain.are_current(None)
    taught = converters_of(connection, {})
    assert (taught.digest is not None) is is_told
    assert taught.digest != plain.digest
    assert taught.are_current(connection)
    assert taught.are_current(None)


def test_what_sends_values_of_unknown_classes(connection):
    """Libraries register some for their own: freezegun for its dates. No query with such a parameter is cached."""

    class Own:
        pass

    plain = digest(connection)
    try:
        sqlite3.register_adapter(Own, lambda value: "own")
        assert digest(connection) == plain
        sqlite3.register_adapter(complex, lambda value: "own")
        assert digest(connection) is None
    finally:
        for cls in (Own, complex):
            sqlite3.adapters.pop((cls, sqlite3.PrepareProtocol), None)  # type: ignore[attr-defined]  # left out


def test_arguments_count(connection, converter):
    converter(partial(int, base=16))
    hexadecimal = digest(connection)
    converter(partial(int, base=8))
    assert digest(connection) != hexadecimal


def test_a_connection_of_its_own_kind(connection):
    class Connection(sqlite3.Connection):
        pass

    other = sqlite3.connect(":memory:", factory=Connection)
    assert digest(other) is None
    other.close()
    connection.text_factory = lambda data: data
    assert digest(connection) is None


LIBRARIES = [("1", ""), ("2", ""), ("1", "import freezegun;"), ("1", "import pytz, numpy;")]
if sys.version_info < (3, 14):
    LIBRARIES.append(("1", "import pendulum;"))


def test_the_same_in_every_process():
    """Whatever else it has imported: some libraries teach sqlite3 to send their own classes when they are."""
    code = (
        "import json, sqlite3; from functools import partial; from ormcache.session.converters import converters_of;"
        "import django.db.backends.sqlite3.base;"
        "sqlite3.register_converter('unheard of', partial(json.loads, parse_int=float));"
        "print(converters_of(sqlite3.connect(':memory:'), {}).digest.hex())"
    )
    told = [
        subprocess.run(
            [sys.executable, "-c", library + code],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed, library in LIBRARIES
    ]
    assert len(set(told)) == 1


def test_what_sends_values_of_a_projects_own_text(connection):
    """They can be parameters of a query that is cached, so it counts what is sent for them."""
    before = digest(connection)

    class Sku(str):
        __slots__ = ()

    class Odd(str):
        __slots__ = ("more",)

    try:
        sqlite3.register_adapter(Odd, lambda value: "odd")
        assert digest(connection) == before
        sqlite3.register_adapter(Sku, lambda value: "sku")
        assert digest(connection) != before
    finally:
        for cls in (Odd, Sku):
            sqlite3.adapters.pop((cls, sqlite3.PrepareProtocol), None)  # type: ignore[attr-defined]  # left out


def test_a_driver_that_does_not_tell():
    class Connection:
        adapters = None
        row_factory = None

    assert converters_of(Connection(), {}).digest is None
    assert converters_of(object(), {}).digest == converters_of(object(), {}).digest


def test_what_is_registered_with_the_driver_of_oracle():
    """As far as its connection shows: no such server is among those of the tests."""

    class Connection:
        inputtypehandler: Any = None
        outputtypehandler: Any = None

    connection = Connection()
    plain = converters_of(connection, {})
    assert plain.digest is not None
    assert plain.are_current(connection)
    assert plain.are_current(None)
    connection.outputtypehandler = _own
    assert not plain.are_current(connection)
    assert converters_of(connection, {}).digest is None
