"""Names of entries: parameters by exact type and value, hashed together with all else that decides a result.

Two parameters that the database could answer differently must never be written alike: ``1``, ``True``, ``"1"`` and
``Decimal(1)`` differ, and so do two JSON documents whose ``repr`` is cut off at the same place. A type that is not
known here has no exact form, and a query with such a parameter is not cached.
"""

from __future__ import annotations

import datetime
import decimal
import hashlib
import json
import uuid
import zoneinfo
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

KEY_LENGTH = 16  # bytes


class Unkeyable(Exception):
    """A parameter whose value cannot be told exactly."""


#: Types whose repr() is exact, so that a tuple of nothing else is told by the tuple's repr
_PLAIN = frozenset(
    {
        int,
        str,
        bool,
        type(None),
        float,
        decimal.Decimal,
        datetime.date,
        datetime.timedelta,
        uuid.UUID,
        bytes,
    }
)

Form = Callable[[Any], str]


def digest(*parts: bytes) -> bytes:
    """16 bytes for a sequence of byte strings; where one ends and the next begins counts."""
    hashed = hashlib.blake2b(digest_size=KEY_LENGTH)
    for part in parts:
        hashed.update(len(part).to_bytes(4, "big"))
        hashed.update(part)
    return hashed.digest()


def entry_name(prefix: bytes, statement: bytes, params: Sequence[Any] | None, shape: tuple[Any, ...]) -> bytes:
    """The name of the result of one statement with these parameters.

    ``prefix`` stands for database, settings and session, ``statement`` for the normalized SQL, ``shape`` for what
    Django cuts out of the result. Raises Unkeyable.
    """
    told = f"{shape!r}{exact(params)}".encode()
    return hashlib.blake2b(prefix + statement + told, digest_size=KEY_LENGTH).digest()


def exact(params: Sequence[Any] | None) -> str:
    """A text that is equal for equal parameters of equal types only. Raises Unkeyable."""
    try:
        if params is None or _PLAIN.issuperset(map(type, params)):
            return repr(tuple(params)) if params is not None else "-"
        return "(" + ",".join(map(_exact, params)) + ")"
    except Unkeyable:
        raise
    except Exception as error:  # an int too long for repr(), a broken __iter__, a json encoder that raises
        raise Unkeyable(repr(error)) from error


def _exact(value: Any) -> str:
    cls = type(value)
    if cls in _PLAIN:
        return repr(value)
    form = _FORMS.get(f"{cls.__module__}.{cls.__qualname__}")
    if form is not None:
        return form(value)
    if isinstance(value, Enum):
        return f"{cls.__module__}.{cls.__qualname__}.{value.name}={_exact(value.value)}"
    raise Unkeyable(f"{cls.__module__}.{cls.__qualname__}")


def _moment(value: datetime.datetime | datetime.time) -> str:
    zone = value.tzinfo
    if zone is not None and type(zone) is not datetime.timezone:
        # A zone that was read from a file has no name to tell it by.
        if type(zone) is not zoneinfo.ZoneInfo or zone.key is None:
            raise Unkeyable(f"time zone {zone!r}")
    return repr(value)


def _content(tag: str) -> Form:
    """A wrapper around one object, told by what it wraps."""
    return lambda value: f"{tag}({_exact(value.obj)})"


def _json(value: Any) -> str:
    """psycopg's Json and Jsonb: the text that the server will be sent."""
    text = (value.dumps or json.dumps)(value.obj)
    return f"{type(value).__name__}({text!r})"


def _psycopg2_json(value: Any) -> str:
    return f"Json2({value.dumps(value.adapted)!r})"


def _psycopg2_binary(value: Any) -> str:
    return f"Binary2({bytes(value.adapted)!r})"


def _bytes(tag: str) -> Form:
    return lambda value: f"{tag}({bytes(value)!r})"


def _sequence(tag: str) -> Form:
    return lambda value: f"{tag}(" + ",".join(map(_exact, value)) + ")"


def _mapping(value: dict[Any, Any]) -> str:
    return "{" + ",".join(f"{_exact(key)}:{_exact(item)}" for key, item in value.items()) + "}"


def _range(tag: str, bounds: str) -> Form:
    def form(value: Any) -> str:
        return f"{tag}({_exact(value.lower)},{_exact(value.upper)},{getattr(value, bounds)!r})"

    return form


def _number(tag: str, base: type) -> Form:
    return lambda value: f"{tag}({base(value)!r})"


#: Name of a type → how a value of it is told exactly. By name, because the drivers need not be installed.
_FORMS: dict[str, Form] = {
    "datetime.datetime": _moment,
    "datetime.time": _moment,
    "builtins.list": _sequence("list"),
    "builtins.tuple": _sequence("tuple"),
    "builtins.dict": _mapping,
    "builtins.bytearray": _bytes("bytearray"),
    "builtins.memoryview": _bytes("memoryview"),
    "django.utils.safestring.SafeString": lambda value: f"Safe({str.__str__(value)!r})",
    "ipaddress.IPv4Address": repr,
    "ipaddress.IPv6Address": repr,
    "ipaddress.IPv4Network": repr,
    "ipaddress.IPv6Network": repr,
    "ipaddress.IPv4Interface": repr,
    "ipaddress.IPv6Interface": repr,
    "psycopg.types.json.Json": _json,
    "psycopg.types.json.Jsonb": _json,
    "psycopg.dbapi20.Binary": _content("Binary"),
    **{
        f"psycopg.types.numeric.{name}": _number(name, base)
        for base, names in (
            (int, ("Int2", "Int4", "Int8", "IntNumeric", "Oid")),
            (float, ("Float4", "Float8")),
        )
        for name in names
    },
    **{
        f"psycopg.types.range.{name}": _range(name, "_bounds")
        for name in (
            "Range",
            "Int4Range",
            "Int8Range",
            "NumericRange",
            "DateRange",
            "TimestampRange",
            "TimestamptzRange",
        )
    },
    "psycopg2.extras.Json": _psycopg2_json,
    "django.db.backends.postgresql.psycopg_any.Jsonb": _psycopg2_json,
    "psycopg2.extensions.Binary": _psycopg2_binary,
    **{
        f"psycopg2._range.{name}": _range(f"{name}2", "_bounds")
        for name in ("NumericRange", "DateRange", "DateTimeRange", "DateTimeTZRange")
    },
}
