"""Encodes single values as JSON and decodes them, equal in value and in type.

It serves values that no stream of one plain type can hold. A value that JSON itself represents exactly stands for
itself; every other one is a list of a tag and its parts. :class:`ValueDecoder` knows the tags of one closed table:
foreign bytes can choose among these types, and can neither name a class, call anything else, nor set an attribute.
"""

from __future__ import annotations

import datetime
import decimal
import re
import struct
import sys
import uuid
import zoneinfo
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain, repeat
from typing import Any

from ormcache.cache.value_types import ADDRESSES, MULTIRANGE, RANGES

#: Types that JSON itself represents exactly
SCALARS = frozenset({int, str, float, bool, type(None)})

#: Most members of a set, and most keys of a dict that are not str: numbers can be chosen so that all of them collide
MOST_HASHED = 100
#: Levels of nested lists and dicts that are checked together
DEEPEST = 20
_JSON_CONTAINERS = frozenset({list, dict})
STATE_LENGTH = 10  # bytes
_STATE = struct.Struct(f"{STATE_LENGTH}s")
#: Keys of time zones that are accepted; the longest in the IANA database has three parts
_ZONE_KEY = re.compile(r"[A-Za-z0-9_+\-]{1,32}(?:/[A-Za-z0-9_+\-]{1,32}){0,3}")

_MICROSECOND = datetime.timedelta(microseconds=1)

_ADDRESS_TAGS = {cls: tag for tag, cls in ADDRESSES.items()}
_RANGE_TAGS = {name: tag for tag, name in RANGES.items()}

_SEQUENCE_TAGS: dict[type[Any], str] = {list: "l", tuple: "t", set: "s", frozenset: "f"}
_SEQUENCES: dict[str, Callable[[list[Any]], Any]] = {"l": list, "t": tuple}
_SETS: dict[str, Callable[[list[Any]], Any]] = {"s": set, "f": frozenset}


def is_address(cls: type[Any]) -> bool:
    """Return whether this is one of the types of IP addresses, networks and interfaces."""
    return cls in _ADDRESS_TAGS


def is_range(cls: type[Any]) -> bool:
    """Return whether this is a class of ranges of psycopg 3 or psycopg2."""
    return (cls.__module__, cls.__name__) in _RANGE_TAGS


def is_multirange(cls: type[Any]) -> bool:
    """Return whether this is psycopg 3's class of multiranges."""
    return (cls.__module__, cls.__name__) == MULTIRANGE


def encode_value(value: Any) -> Any:
    """Encode a value as what JSON represents exactly: a scalar, or a list of a tag and parts.

    Raises TypeError for a type without an exact form, and ValueError for a value without one.
    """
    cls = type(value)
    if cls in SCALARS:
        return value
    if cls in _ENCODERS:
        return _ENCODERS[cls](value)
    if cls in _SEQUENCE_TAGS:
        check_members(value)
        return [_SEQUENCE_TAGS[cls], _encode_all(value)]
    if cls is dict:
        check_members(value)
        return ["d", _encode_all(chain.from_iterable(value.items()))]
    if cls in _ADDRESS_TAGS:
        return [_ADDRESS_TAGS[cls], str(value)]
    if is_range(cls):
        bounds = value._bounds  # which says more than lower_inc and upper_inc do; falsy: empty
        return [_RANGE_TAGS[cls.__module__, cls.__name__], encode_value(value.lower), encode_value(value.upper), bounds]
    if is_multirange(cls):
        return ["m", _encode_all(value)]
    raise TypeError(f"{cls.__module__}.{cls.__qualname__}")


def _encode_all(values: Iterable[Any]) -> list[Any]:
    values = list(values)
    return values if set(map(type, values)) <= SCALARS else list(map(encode_value, values))


def is_json(values: Sequence[Any]) -> bool:
    """Return whether JSON represents all of these lists, dicts and None exactly.

    It does if all keys are str and all members are of such types or scalars. Checks level by level rather than value by
    value; returns False for anything nested deeper than :data:`DEEPEST` levels, which has to be checked in another way.
    """
    for _ in range(DEEPEST):
        found = set(map(type, values))
        types = found - SCALARS
        if not types:
            return True
        if not types <= _JSON_CONTAINERS:
            return False
        lists = values if found == {list} else [value for value in values if type(value) is list]
        dicts = [value for value in values if type(value) is dict] if dict in types else []
        if dicts and set(map(type, chain.from_iterable(dicts))) - {str}:
            return False
        values = [*chain.from_iterable(lists), *chain.from_iterable(map(dict.values, dicts))]
    return False


def datetime_state(moment: datetime.datetime) -> bytes:
    """Return what pickle stores of a datetime besides its time zone: ten bytes, whose third has the fold too."""
    reduced: Any = moment.__reduce_ex__(4)
    state: bytes = reduced[1][0]
    return state


def _check_states(states: bytes) -> None:
    """Raise ValueError unless each ten bytes are the state of a datetime. (Its class checks nothing but the month.)"""
    years, days, hours, minutes, seconds, fractions = (states[at::STATE_LENGTH] for at in (0, 3, 4, 5, 6, 7))
    if max(hours) > 23 or max(minutes) > 59 or max(seconds) > 59:
        raise ValueError("not a time of day")
    # What these bytes alone do not decide is checked one by one.
    suspects: set[int] = set()
    if min(days) < 1 or max(days) > 28:
        suspects.update(at for at, day in enumerate(days) if not 1 <= day <= 28)
    if min(years) < 1 or max(years) > 38:
        suspects.update(at for at, year in enumerate(years) if not 1 <= year <= 38)
    if max(fractions) > 14:
        suspects.update(at for at, fraction in enumerate(fractions) if fraction > 14)
    for at in suspects:
        state = states[at * STATE_LENGTH : (at + 1) * STATE_LENGTH]
        year, fraction = int.from_bytes(state[:2], "big"), int.from_bytes(state[7:], "big")
        datetime.date(year, state[2] & 127, state[3])
        datetime.time(microsecond=fraction)


def check_members(container: Any) -> None:
    """Raise ValueError if a container has so many hashed members that an attacker could make them all collide."""
    if len(container) <= MOST_HASHED or type(container) in (list, tuple):
        return
    if type(container) is not dict or set(map(type, container)) != {str}:
        raise ValueError("a set, or a dict, of too many members")


def _encode_datetime(value: datetime.datetime) -> Any:
    return ["dt", value.replace(tzinfo=None, fold=0).isoformat(), value.fold, encode_zone(value.tzinfo)]


def _encode_time(value: datetime.time) -> Any:
    return ["ti", value.replace(tzinfo=None, fold=0).isoformat(), value.fold, encode_zone(value.tzinfo)]


def encode_zone(zone: datetime.tzinfo | None) -> Any:
    """Encode a time zone: None, its key, or a list of its offset in microseconds and its name if it was given one.

    Raises TypeError for a type of zones without an exact form, and ValueError for a key of an unusual form.
    """
    if zone is None:
        return None
    if type(zone) is zoneinfo.ZoneInfo and zone.key is not None:
        if _ZONE_KEY.fullmatch(zone.key) is None:
            raise ValueError(f"time zone {zone!r}")
        return zone.key
    if type(zone) is datetime.timezone:
        offset = zone.utcoffset(None) // _MICROSECOND
        return [offset] if has_default_name(zone) else [offset, zone.tzname(None)]
    raise TypeError(f"time zone {zone!r}")


def has_default_name(zone: datetime.timezone) -> bool:
    """Return whether a fixed-offset zone has the name that follows from its offset."""
    return zone is datetime.UTC or len(zone.__getinitargs__()) == 1  # type: ignore[attr-defined]  # what pickle asks for


#: Formats of memoryviews of single bytes: Python's own, and the one in which psycopg2 returns a bytea
_BUFFERS = {"B": "bm", "c": "bc"}

_ENCODERS: dict[type[Any], Callable[[Any], Any]] = {
    decimal.Decimal: lambda value: ["n", str(value)],
    datetime.datetime: _encode_datetime,
    datetime.date: lambda value: ["da", value.toordinal()],
    datetime.time: _encode_time,
    datetime.timedelta: lambda value: ["td", value // _MICROSECOND],
    uuid.UUID: lambda value: ["u", value.hex],
    bytes: lambda value: ["b", to_base64(value)],
    bytearray: lambda value: ["ba", to_base64(value)],
    memoryview: lambda value: [_BUFFERS[value.format], to_base64(value)],
    complex: lambda value: ["c", value.real, value.imag],
}


class ValueDecoder:
    """Decodes the values of one result, each time zone once."""

    def __init__(self) -> None:
        self._zones: dict[str, datetime.tzinfo] = {}

    def decode(self, encoded: Any) -> Any:
        """Return the value that was encoded.

        Raises ValueError, TypeError, ArithmeticError or LookupError for what :func:`encode_value` does not return.
        """
        cls = type(encoded)
        if cls in SCALARS:
            return encoded
        if cls is not list:
            raise TypeError("not a value")
        tag, *parts = encoded
        if tag in _DECODERS:
            (part,) = parts
            return _DECODERS[tag](part)
        if tag in _SEQUENCES:
            (items,) = parts
            return _SEQUENCES[tag](self._decode_all(items))
        if tag in _SETS:
            (items,) = parts
            if len(items) > MOST_HASHED:
                raise ValueError("a set of too many members")
            return _SETS[tag](self._decode_all(items))
        if tag == "d":
            (items,) = parts
            found = self._decode_all(items)
            names = found[::2]
            if len(names) > MOST_HASHED and set(map(type, names)) != {str}:
                raise ValueError("a dict of too many members")
            return dict(zip(names, found[1::2], strict=True))
        if tag in ("dt", "ti"):
            text, fold, zone = parts
            kind = datetime.datetime if tag == "dt" else datetime.time
            return kind.fromisoformat(text).replace(tzinfo=self._zone(zone), fold=fold)
        if tag == "c":
            real, imaginary = parts
            return complex(_float(real), _float(imaginary))
        if tag in RANGES:
            lower, upper, bounds = parts
            cls = _imported_class(*RANGES[tag])
            return cls(empty=True) if not bounds else cls(self.decode(lower), self.decode(upper), bounds)
        if tag == "m":
            (items,) = parts
            ranges = self._decode_all(items)
            if not all(is_range(type(one)) for one in ranges):
                raise TypeError("a multirange of other things than ranges")
            return _imported_class(*MULTIRANGE)(ranges)
        raise ValueError("an unknown tag")

    def decode_datetimes(self, states: bytes, number: int, zone: Any) -> list[datetime.datetime]:
        """Return so many datetimes from their states and the key of their zone. Raises as :meth:`decode` does."""
        if len(states) != number * STATE_LENGTH:
            raise ValueError("not a state for each datetime")
        _check_states(states)
        from_state: Any = datetime.datetime
        return list(map(from_state, chain.from_iterable(_STATE.iter_unpack(states)), repeat(self._zone(_str(zone)))))

    def _decode_all(self, encoded: Any) -> list[Any]:
        items = _list(encoded)
        return items if set(map(type, items)) <= SCALARS else list(map(self.decode, items))

    def _zone(self, encoded: Any) -> datetime.tzinfo | None:
        if encoded is None:
            return None
        if type(encoded) is list:
            offset, *name = encoded
            return datetime.timezone(_timedelta(offset), *name)
        zone = self._zones.get(encoded)
        if zone is None:
            if _ZONE_KEY.fullmatch(encoded) is None:
                raise ValueError("no time zone")
            try:
                zone = zoneinfo.ZoneInfo(encoded)
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError) as error:
                raise ValueError("no time zone") from error
            self._zones[encoded] = zone
        return zone


def _list(value: Any) -> list[Any]:
    if type(value) is not list:
        raise TypeError("not a list")
    return value


def _float(value: Any) -> float:
    if type(value) is not float:
        raise TypeError("not a float")
    return value


def _int(value: Any) -> int:
    if type(value) is not int:
        raise TypeError("not an int")
    return value


def _str(value: Any) -> str:
    if type(value) is not str:
        raise TypeError("not a str")
    return value


def _timedelta(value: Any) -> datetime.timedelta:
    return datetime.timedelta(microseconds=_int(value))


def _imported_class(module: str, name: str) -> Any:
    """Return a class by its module, which foreign bytes must not make this process import."""
    return getattr(sys.modules[module], name)


def to_base64(value: bytes | bytearray | memoryview) -> str:
    """Return the base64 text of bytes, on one line."""
    return b2a_base64(value, newline=False).decode("ascii")


def from_base64(text: str) -> bytes:
    """Return the bytes of a base64 text. Raises ValueError for anything that :func:`to_base64` does not return."""
    return a2b_base64(text, strict_mode=True)


def uuid_from_hex(text: str) -> uuid.UUID:
    """Return the UUID of 32 hexadecimal digits."""
    return uuid.UUID(int=int(text, 16))


def _address(cls: type[Any], text: Any) -> Any:
    return cls(_str(text))


_DECODERS: dict[Any, Callable[[Any], Any]] = {
    "n": lambda part: decimal.Decimal(_str(part)),
    "da": lambda part: datetime.date.fromordinal(_int(part)),
    "td": _timedelta,
    "u": uuid_from_hex,
    "b": from_base64,
    "ba": lambda part: bytearray(from_base64(part)),
    "bm": lambda part: memoryview(from_base64(part)),
    "bc": lambda part: memoryview(from_base64(part)).cast("c"),
    **{tag: partial(_address, cls) for tag, cls in ADDRESSES.items()},
}
