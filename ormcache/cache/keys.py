"""Names of entries: a digest of everything that decides a result, with parameters by exact type and value.

Two parameters to which the database could give different answers must never have the same text: ``1``, ``True``,
``"1"`` and ``Decimal(1)`` differ, and so do two JSON documents whose ``repr`` is truncated at the same place. A type
that is not known here has no exact text, and a query with such a parameter is not cached.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import zoneinfo
from collections.abc import Callable, Sequence
from enum import Enum
from functools import lru_cache
from typing import Any

from ormcache.cache.value_types import ADDRESSES, PLAIN, PSYCOPG_RANGE, RANGES
from ormcache.stores.base import PARTITION_LENGTH
from ormcache.utils.interruptions import let_through

KEY_LENGTH = 16  # bytes
_REST_LENGTH = KEY_LENGTH - PARTITION_LENGTH  # bytes of a name behind its partition


class Unkeyable(Exception):
    """Raised for a parameter that has no exact text."""


#: Types that may have a subclass which differs from them in name alone
_SUBCLASSED = PLAIN - {bool, type(None)}
#: What such a subclass may define: nothing that decides what a value is
_HARMLESS_ATTRIBUTES = frozenset(
    {"__annotations__", "__dict__", "__doc__", "__module__", "__new__", "__init__", "__slots__", "__weakref__"}
    | {"__firstlineno__", "__static_attributes__", "__hash__", "__init_subclass__", "__orig_bases__", "__parameters__"}
)
#: Attributes by which a value could decide what a driver makes of it
_READ_BY_DRIVERS = ("__conform__", "__getattr__", "__html__", "getquoted", "prepare")

#: Libraries of whose zones nothing but the offset at a moment counts
_ZONES = frozenset({"dateutil", "pendulum", "pytz"})

#: Returns the exact text of a value of one type
Form = Callable[[Any], str]


def digest(*parts: bytes) -> bytes:
    """Return 16 bytes for a sequence of byte strings; where one ends and the next begins counts."""
    hashed = hashlib.blake2b(digest_size=KEY_LENGTH)
    for part in parts:
        hashed.update(len(part).to_bytes(4, "big"))
        hashed.update(part)
    return hashed.digest()


def partition_of(identity: bytes) -> bytes:
    """Return the bytes that the names of all slots, entries and claims of one database begin with."""
    return digest(b"partition", identity)[:PARTITION_LENGTH]


def name_beside(other: bytes, *parts: bytes) -> bytes:
    """Return a name for a sequence of byte strings, in the partition of another name (or in that partition itself)."""
    return other[:PARTITION_LENGTH] + digest(*parts)[PARTITION_LENGTH:]


def entry_name(prefix: bytes, statement: bytes, params: Sequence[Any] | None, shape: tuple[Any, ...]) -> bytes:
    """Return the name of the entry of one statement with these parameters.

    ``prefix`` stands for database, settings and session, and begins with the partition; ``statement`` for the
    normalized SQL, ``shape`` for what Django takes from the result. Raises Unkeyable.
    """
    text = f"{shape!r}{exact_text(params)}".encode()
    return prefix[:PARTITION_LENGTH] + hashlib.blake2b(prefix + statement + text, digest_size=_REST_LENGTH).digest()


def exact_text(params: Sequence[Any] | None) -> str:
    """Return a text that is equal only for equal parameters of equal types; "-" for None. Raises Unkeyable."""
    try:
        if params is None or PLAIN.issuperset(map(type, params)):
            return repr(tuple(params)) if params is not None else "-"
        return "(" + ",".join(map(_exact, params)) + ")"
    except Unkeyable:
        raise
    except Exception as error:  # an int too long for repr(), a broken __iter__, a json encoder that raises
        let_through(error)
        raise Unkeyable(repr(error)) from error


def _exact(value: Any) -> str:
    """Return the exact text of one value. Raises Unkeyable."""
    cls: Any = type(value)
    if cls in PLAIN:
        return repr(value)
    form = _FORMS.get(f"{cls.__module__}.{cls.__qualname__}")
    if form is not None:
        return form(value)
    if isinstance(value, Enum):
        return f"{cls.__module__}.{cls.__qualname__}.{value.name}={_exact(value.value)}"
    base: Any = _base_of_renamed(cls)
    if base is None or getattr(value, "__dict__", None):
        raise Unkeyable(f"{cls.__module__}.{cls.__qualname__}")
    return f"{cls.__module__}.{cls.__qualname__}({base.__repr__(value)})"


def may_be_exact(cls: Any) -> bool:
    """Return whether values of a class can have an exact text. Queries with others as parameters are not cached."""
    return cls in PLAIN or has_form(cls) or issubclass(cls, Enum) or _base_of_renamed(cls) is not None


def has_form(cls: type[Any]) -> bool:
    """Return whether it is a class of Python, Django, a driver or another library with a form of its own."""
    return f"{cls.__module__}.{cls.__qualname__}" in _FORMS


@lru_cache(maxsize=1024)
def _base_of_renamed(cls: type[Any]) -> type[Any] | None:
    """Return the plain type that a class merely gives another name, such as ``class Sku(str)`` of a project.

    Returns None for any other class. Such a class defines no method that a driver could call in place of its base's,
    and its values have no attributes of their own, so that each means what it means as a value of the base.
    """
    base = next((one for one in cls.__mro__ if one in _SUBCLASSED), None)
    if base is None:
        return None
    own = {name for one in cls.__mro__[: cls.__mro__.index(base)] for name in vars(one)}
    slots = {name for one in cls.__mro__[: cls.__mro__.index(base)] for name in vars(one).get("__slots__", ())}
    means_more = (own - _HARMLESS_ATTRIBUTES).intersection([*dir(base), *_READ_BY_DRIVERS]) or slots
    return None if means_more else base


def _moment(value: datetime.datetime | datetime.time) -> str:
    """Return the exact text of a datetime or a time. Raises Unkeyable for an unknown kind of time zone."""
    zone = value.tzinfo
    if zone is None or type(zone) is datetime.timezone:
        return repr(value)
    # A zone that was read from a file has no key that could identify it.
    if type(zone) is zoneinfo.ZoneInfo and zone.key is not None:
        return repr(value)
    kind = type(zone)
    if kind.__module__.partition(".")[0] not in _ZONES:
        raise Unkeyable(f"time zone {zone!r}")
    # Drivers and Django use nothing of such a zone but its offset from UTC at that moment.
    return f"{value.replace(tzinfo=None)!r}{kind.__module__}.{kind.__qualname__}{value.utcoffset()!r}"


def _pendulum(value: Any) -> str:
    """Return the exact text of pendulum's DateTime, by way of Python's datetime, from which it inherits."""
    moment = datetime.datetime.combine(value.date(), datetime.time(), value.tzinfo)
    exact_time = {name: getattr(value, name) for name in ("hour", "minute", "second", "microsecond", "fold")}
    return f"pendulum {_moment(moment.replace(**exact_time))}"


def _content(tag: str) -> Form:
    """Return the form of a wrapper around one object: by the object."""
    return lambda value: f"{tag}({_exact(value.obj)})"


def _json(value: Any) -> str:
    """Return the exact text of psycopg's Json and Jsonb: by the JSON that the server is sent."""
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


def _scalar(tag: str) -> Form:
    """Return the form of a numpy scalar: by the Python value that it stands for."""
    return lambda value: f"numpy.{tag}({value.item()!r})"


def _number(tag: str, base: type) -> Form:
    return lambda value: f"{tag}({base(value)!r})"


def _postgis(value: Any) -> str:
    """A geometry or a raster as PostGIS is sent it: EWKB, which has the SRID in it, and as what it is to be read."""
    return f"PostGIS({value.ewkb!r},{value.srid!r},{value.geography!r},{value.is_geometry!r})"


def _wkt(value: Any) -> str:
    """A geometry as SpatiaLite and MySQL are sent it."""
    return f"WKT({value.wkt!r},{value.srid!r})"


#: Name of a type → its form. By name, because drivers and libraries need not be installed.
_FORMS: dict[str, Form] = {
    "datetime.datetime": _moment,
    "datetime.time": _moment,
    "builtins.list": _sequence("list"),
    "builtins.tuple": _sequence("tuple"),
    "builtins.dict": _mapping,
    "builtins.bytearray": _bytes("bytearray"),
    "builtins.memoryview": _bytes("memoryview"),
    "django.utils.safestring.SafeString": lambda value: f"Safe({str.__str__(value)!r})",
    "django.contrib.gis.db.backends.base.adapter.WKTAdapter": _wkt,
    "django.contrib.gis.db.backends.postgis.adapter.PostGISAdapter": _postgis,
    "django.contrib.gis.db.backends.spatialite.adapter.SpatiaLiteAdapter": _wkt,
    "pendulum.datetime.DateTime": _pendulum,
    "pendulum.date.Date": lambda value: f"pendulum {datetime.date.__repr__(value)}",
    **{
        f"numpy.{name}": _scalar(name)
        for name in (
            *("bool", "bool_", "str_", "bytes_", "float16", "float32", "float64", "longlong", "ulonglong"),
            *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
        )
    },
    **{f"ipaddress.{cls.__name__}": repr for cls in ADDRESSES.values()},
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
        f"{module}.{name}": _range(name if module == PSYCOPG_RANGE else f"{name}2", "_bounds")
        for module, name in RANGES.values()
    },
    "psycopg2.extras.Json": _psycopg2_json,
    "django.db.backends.postgresql.psycopg_any.Jsonb": _psycopg2_json,
    "psycopg2.extensions.Binary": _psycopg2_binary,
}
