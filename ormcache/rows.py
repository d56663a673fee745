"""Rows of a result to bytes and back, equal in value and in type, or not at all.

Pickle writes and reads every type that drivers hand out exactly; what it must not do is to run what a stranger put into
the store. So it reads through an allow-list: a global that is not on it makes the bytes unreadable.
"""

from __future__ import annotations

import datetime
import decimal
import hashlib
import hmac
import io
import pickle
import uuid
import zlib
import zoneinfo
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, NamedTuple

Row = tuple[Any, ...]

MAC_LENGTH = 16  # bytes
#: What compressed bytes begin with; a pickle begins otherwise
COMPRESSED = b"z"
MOST_DECOMPRESSED = 2**30  # bytes; what claims to be more was not written by us
FEW = 4  # rows up to which it does not pay to look at them by columns


class Unencodable(Exception):
    """A value that would not come back equal in value and type."""


class Unreadable(Exception):
    """Bytes that are not what :func:`encode` wrote under this name: damaged, foreign or forged."""


#: Immutable types that pickle keeps exactly, whatever their value
_PLAIN = frozenset(
    {
        int,
        str,
        bool,
        type(None),
        float,
        complex,
        bytes,
        decimal.Decimal,
        datetime.date,
        datetime.timedelta,
        uuid.UUID,
    }
)
_CONTAINERS = frozenset({list, tuple, dict, set, frozenset})
_MOMENTS = frozenset({datetime.datetime, datetime.time})

_PLAIN_AND_MOMENTS = _PLAIN | _MOMENTS
_PLAIN_ZONES = frozenset({type(None), datetime.timezone})

#: Classes of optional libraries that a row may hold, by module; their parts are looked at one by one
_RANGES = {
    "psycopg.types.range": (
        "Range",
        "Int4Range",
        "Int8Range",
        "NumericRange",
        "DateRange",
        "TimestampRange",
        "TimestamptzRange",
    ),
    "psycopg2._range": ("Range", "NumericRange", "DateRange", "DateTimeRange", "DateTimeTZRange"),
}
_MULTIRANGES = {"psycopg.types.multirange": ("Multirange",)}
_ADDRESSES = {
    "ipaddress": ("IPv4Address", "IPv6Address", "IPv4Network", "IPv6Network", "IPv4Interface", "IPv6Interface"),
}

_ALLOWED = frozenset(
    {
        ("builtins", "complex"),
        ("builtins", "set"),
        ("builtins", "frozenset"),
        ("builtins", "bytearray"),
        ("builtins", "memoryview"),
        ("datetime", "date"),
        ("datetime", "datetime"),
        ("datetime", "time"),
        ("datetime", "timedelta"),
        ("datetime", "timezone"),
        ("decimal", "Decimal"),
        ("uuid", "UUID"),
        ("uuid", "SafeUUID"),
        ("zoneinfo", "ZoneInfo"),
        *(
            (module, name)
            for table in (_RANGES, _MULTIRANGES, _ADDRESSES)
            for module in table
            for name in table[module]
        ),
    }
)


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise Unreadable(f"{module}.{name} is not a type of rows")
        return super().find_class(module, name)


class _Pickler(pickle.Pickler):
    """Writes what pickle itself has no form for, or only one that needs getattr()."""

    dispatch_table = {  # noqa: RUF012  # an instance attribute of the base class
        memoryview: lambda value: (memoryview, (bytes(value),)),
        zoneinfo.ZoneInfo: lambda value: (zoneinfo.ZoneInfo, (value.key,)),
    }

    def reducer_override(self, value: Any) -> Any:
        cls = type(value)
        if cls.__name__ in _MULTIRANGES.get(cls.__module__, ()):
            # psycopg makes them as Multirange[T](…), which leaves the type in the object's own dict.
            return cls, (list(value),)
        return NotImplemented


class Content(NamedTuple):
    """What is in a result, from a look at each of its values."""

    cells: int  # how many values
    immutable: bool  # are all of them?
    plain: bool  # does pickle itself keep all of them exactly?


def content(rows: Sequence[Row] | Row | None) -> Content:
    """Look at a result that is to be kept. Raises Unencodable if it would not come back equal in value and type.

    ``rows`` is what Django's compiler returned, flattened: a list of rows, one row, or None for no row.
    """
    cells, immutable, plain = 0, True, True
    for column in _columns(rows):
        cells += len(column)
        types = set(map(type, column))
        if types <= _PLAIN:
            continue
        if types <= _PLAIN_AND_MOMENTS:
            # One look at each moment is half the price of one at each value.
            zones = {cell.tzinfo for cell in column if type(cell) in _MOMENTS}
            for zone in zones:
                _check_zone(zone)
            plain = plain and all(type(zone) in _PLAIN_ZONES for zone in zones)
        else:
            try:
                immutable = _check(column) and immutable
            except RecursionError as error:
                raise Unencodable(repr(error)) from error
            plain = False
    return Content(cells, immutable, plain)


def encode(rows: Sequence[Row] | Row | None, *, plain: bool = False) -> bytes:
    """The bytes of a result that :func:`content` has looked at, and what it said of it. Raises Unencodable."""
    try:
        if plain:
            return pickle.dumps(rows, 5)
        buffer = io.BytesIO()
        _Pickler(buffer, 5).dump(rows)
    except Exception as error:
        raise Unencodable(repr(error)) from error
    return buffer.getvalue()


def _columns(rows: Sequence[Row] | Row | None) -> Iterable[Sequence[Any]]:
    """The values of a result; those of one column, which are mostly of one type, together."""
    if rows is None:
        return ()
    if type(rows) is tuple:
        return (rows,)
    if type(rows) is not list or not set(map(type, rows)) <= {tuple}:
        raise Unencodable("rows that are no tuples")
    if len(rows) <= FEW:
        return (list(chain.from_iterable(rows)),)
    try:
        return list(zip(*rows, strict=True))
    except ValueError as error:
        raise Unencodable("rows of different lengths") from error


def _check(values: Iterable[Any]) -> bool:
    """True if all values are immutable, False if some are not; raises Unencodable for what has no exact form."""
    immutable = True
    for value in values:
        cls = type(value)
        if cls in _PLAIN:
            continue
        if cls in _MOMENTS:
            _check_zone(value.tzinfo)
        elif cls in _CONTAINERS:
            inside = _check(chain.from_iterable(value.items()) if cls is dict else value)
            immutable = immutable and inside and cls in (tuple, frozenset)
        elif cls is memoryview:
            if value.format != "B" or value.ndim != 1:
                raise Unencodable("a memoryview of other things than bytes")
            immutable = immutable and value.readonly
        elif cls is bytearray:
            immutable = False
        elif cls.__name__ in _ADDRESSES.get(cls.__module__, ()):
            continue
        elif cls.__name__ in _RANGES.get(cls.__module__, ()):
            immutable = _check((value.lower, value.upper)) and immutable
        elif cls.__name__ in _MULTIRANGES.get(cls.__module__, ()):
            _check(value)
            immutable = False
        else:
            raise Unencodable(f"{cls.__module__}.{cls.__qualname__}")
    return immutable


def _check_zone(zone: datetime.tzinfo | None) -> None:
    if zone is None or type(zone) is datetime.timezone:
        return
    if type(zone) is not zoneinfo.ZoneInfo or zone.key is None:
        raise Unencodable(f"time zone {zone!r}")


def compress(data: bytes) -> bytes:
    """The bytes of a result in less room, if they get smaller; :func:`decode` reads both."""
    smaller = COMPRESSED + zlib.compress(data, 1)  # higher levels take three times as long for a tenth less
    return smaller if len(smaller) < len(data) else data


def _decompressed(data: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    found = unpacker.decompress(data[1:], MOST_DECOMPRESSED)
    if not unpacker.eof:
        raise Unreadable("cut off, or larger than any result")
    return found


def decode(data: bytes) -> Any:
    """What :func:`encode` was given, made anew at every call. Raises Unreadable."""
    try:
        if data.startswith(COMPRESSED):
            data = _decompressed(data)
        return _Unpickler(io.BytesIO(data)).load()
    except Unreadable:
        raise
    except Exception as error:  # foreign bytes can make pickle raise anything
        raise Unreadable(repr(error)) from error


def mac(key: bytes, name: bytes, data: bytes) -> bytes:
    """A keyed digest of an entry. The entry's name is inside, so that two entries cannot be swapped."""
    return hashlib.blake2b(name + data, key=key, digest_size=MAC_LENGTH).digest()


def verified(key: bytes, name: bytes, signed: bytes) -> bytes:
    """The data behind its MAC. Raises Unreadable if the MAC is not right."""
    data = signed[MAC_LENGTH:]
    if not hmac.compare_digest(signed[:MAC_LENGTH], mac(key, name, data)):
        raise Unreadable("the signature does not fit")
    return data
