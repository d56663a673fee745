"""Describes what a driver makes of values: by the converters registered with it, for a connection or the process.

Two connections to one database can answer one query by values of different types: one was taught to read ``numeric``
as ``float``, or binds parameters on the server. So a digest of all that is registered is part of an entry's name. It is
the same in every process that has the same libraries. Code that is in none of the libraries known here has no digest:
what it does could differ from one process to the next.
"""

from __future__ import annotations

import datetime
import sys
import zoneinfo
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from operator import is_
from types import BuiltinFunctionType, FunctionType, MethodType, MethodWrapperType, ModuleType
from typing import Any

from ormcache.cache.keys import digest, has_form, may_be_exact
from ormcache.utils.bounded import Bounded
from ormcache.utils.interruptions import UNEXPECTED, let_through

#: Packages whose converters do the same wherever they have the same name. What is made of them counts in.
_KNOWN = frozenset(
    """
    MySQLdb django mysqlclient ormcache pgvector psycopg psycopg2 psycopg_binary psycopg_c psycopg_pool pymysql
    """.split()
) | (sys.stdlib_module_names - {"__main__"})

#: What every class has, or what has no part in what it does
_NO_PART = frozenset(
    """
    __abstractmethods__ __annotations__ __annotate_func__ __annotations_cache__ __dict__ __doc__ __firstlineno__
    __module__ __non_callable_proto_members__ __orig_bases__ __parameters__ __protocol_attrs__ __qualname__ __slots__
    __static_attributes__ __subclasshook__ __weakref__ _abc_impl _is_protocol _is_runtime_protocol
    """.split()
)

#: What sqlite3 does with declared types where the options do not say so: Django's
_DETECTED = "declared"


class Converters:
    """The converters that were registered for one connection at one moment. Never changed."""

    __slots__ = ("are_current", "digest")

    def __init__(self, description: str | None, is_current: Callable[[Any], bool]) -> None:
        #: 16 bytes, equal for connections whose driver makes the same of every value; None: that is unknown
        self.digest = None if description is None else digest(description.encode("utf-8", "surrogatepass"))
        #: returns whether the same are registered now for a DB-API connection, or, for None, for one still to be made
        self.are_current = is_current


def converters_of(driver_connection: Any, options: Mapping[str, Any]) -> Converters:
    """Return what is registered for a DB-API connection that was made with these ``OPTIONS`` of its alias."""
    try:
        return _of_driver(driver_connection, options)
    except (AttributeError, KeyError, TypeError, ValueError):
        return Converters(None, lambda now: True)  # of a version that is not known


def _of_driver(driver_connection: Any, options: Mapping[str, Any]) -> Converters:
    if hasattr(driver_connection, "adapters") and hasattr(driver_connection, "row_factory"):
        return _of_psycopg(driver_connection)
    if hasattr(driver_connection, "string_types"):
        return _of_psycopg2(driver_connection)
    if hasattr(driver_connection, "text_factory"):
        return _of_sqlite(driver_connection, options)
    if hasattr(driver_connection, "encoders"):
        return _of_mysql(driver_connection)
    if hasattr(driver_connection, "outputtypehandler"):
        return _of_oracle(driver_connection)
    return Converters("", lambda now: True)  # of a driver whose converters are not accessible


# Drivers ----------------------------------------------------------------------------------


def _of_psycopg(driver_connection: Any) -> Converters:
    adapters = driver_connection.adapters
    # Shared with another map, as with every cursor's, its dicts are copied before they are changed.
    type(adapters)(adapters)
    loaders, dumpers = list(adapters._loaders), dict(adapters._dumpers)  # those by oid are for COPY alone
    cursor, server_cursor, row = (
        driver_connection.cursor_factory,
        driver_connection.server_cursor_factory,
        driver_connection.row_factory,
    )
    described = [_describe_psycopg(items) for items in (*loaders, *dumpers.values())]
    described.append(repr([_name(one) for one in (cursor, server_cursor, row)]))

    def is_current(now: Any) -> bool:
        if now is None:
            return True
        adapters = now.adapters
        return bool(
            adapters._loaders == loaders
            and adapters._dumpers == dumpers
            and now.cursor_factory is cursor
            and now.server_cursor_factory is server_cursor
            and now.row_factory is row
        )

    return Converters(_together(described), is_current)


def _of_psycopg2(driver_connection: Any) -> Converters:
    extensions = sys.modules["psycopg2.extensions"]
    shared = (extensions.string_types, extensions.binary_types, extensions.adapters)
    registered = [dict(items) for items in (*shared, driver_connection.string_types, driver_connection.binary_types)]
    values = [list(items.values()) for items in registered]
    own = {id(one) for name in _OF_PSYCOPG2 for one in vars(sys.modules[name]).values()}
    for ranges in vars(sys.modules["psycopg2._range"]).values():
        own |= {id(getattr(ranges, "typecaster", None)), id(getattr(ranges, "array_typecaster", None))}

    def typecaster(caster: Any) -> str | None:
        if id(caster) in own:
            return str(caster.name)
        return str(caster.name) if _converts_alike(caster, _OF_DJANGO.get(caster.name)) else None

    described = [
        _pairs((repr(oid), typecaster(caster)) for oid, caster in items.items())
        for items in (*registered[:2], *registered[3:])
    ]
    cursor = driver_connection.cursor_factory
    described += [_describe_dict(registered[2]), repr(_name(cursor))]

    def is_current(now: Any) -> bool:
        return all(map(_has_values, shared, values)) and (
            now is None
            or (
                now.cursor_factory is cursor
                and _has_values(now.string_types, values[3])
                and _has_values(now.binary_types, values[4])
            )
        )

    return Converters(_together(described), is_current)


def _has_values(items: dict[Any, Any], values: list[Any]) -> bool:
    """Return whether these are the dict's values: psycopg2's typecasters are equal if they are for equal types."""
    return len(items) == len(values) and all(map(is_, items.values(), values))


#: Where the typecasters stand that come with psycopg2 and Django
_OF_PSYCOPG2 = ("psycopg2.extensions", "psycopg2._psycopg", "django.db.backends.postgresql.base")

#: Typecasters that Django registers with psycopg2, by name → a text, and what they make of it. It has the text of JSON
#: handed on as it is; the others come from ``django.contrib.postgres``
_JSON, _HSTORE = ' {"b": 1.0, "a": [null, "É"] }\t', '"B"=>"1", "a"=>NULL'
_OF_DJANGO: dict[str, tuple[str, Any]] = {
    "JSONB": (_JSON, _JSON),
    "JSONBARRAY": ("{1,NULL,[ 2.0 ]}", ["1", None, "[ 2.0 ]"]),
    "HSTORE": (_HSTORE, {"B": "1", "a": None}),
    "HSTOREARRAY": ('{"\\"B\\"=>\\"1\\""}', [{"B": "1"}]),
    "citext[]": ('{B,NULL," a "}', ["B", None, " a "]),
}


def _converts_alike(caster: Any, known: tuple[str, Any] | None) -> bool:
    """Return whether a typecaster makes of a string what the known one of its name does."""
    try:
        return known is not None and bool(caster(known[0], None) == known[1])
    except (sys.modules["psycopg2"].Error, *UNEXPECTED) as error:
        let_through(error)
        return False  # it is another one


def _of_sqlite(driver_connection: Any, options: Mapping[str, Any]) -> Converters:
    module = sys.modules["sqlite3"]
    shared = (module.converters, module.adapters)
    registered = [dict(items) for items in shared]
    values = [list(items.values()) for items in registered]
    converters, adapters = shared
    converting, adapting = values
    text, row = driver_connection.text_factory, driver_connection.row_factory
    described = [_describe_dict(items) for items in registered]
    described += [
        _describe(text),
        _describe(row),
        _describe(type(driver_connection)),
        repr(options.get("detect_types", _DETECTED)),
    ]

    def is_current(now: Any) -> bool:
        # Keys are pairs, whose hashes cost more than all the rest.
        if [*converters.values()] != converting or [*adapters.values()] != adapting:
            return False
        return now is None or (now.text_factory is text and now.row_factory is row)

    return Converters(_together(described), is_current)


def _of_mysql(driver_connection: Any) -> Converters:
    """mysqlclient and PyMySQL."""
    decoding = "converter" if hasattr(driver_connection, "converter") else "decoders"
    decoders, encoders = dict(getattr(driver_connection, decoding)), dict(driver_connection.encoders)
    decoded, encoded = list(decoders.values()), list(encoders.values())
    unicode = getattr(driver_connection, "use_unicode", None)
    cursor = getattr(driver_connection, "cursorclass", None)

    def is_current(now: Any) -> bool:
        return now is None or (
            list(getattr(now, decoding).values()) == decoded
            and list(now.encoders.values()) == encoded
            and getattr(now, "use_unicode", None) == unicode
            and getattr(now, "cursorclass", None) is cursor
        )

    described = [_describe_dict(decoders), _describe_dict(encoders), repr(unicode), repr(_name(cursor))]
    return Converters(_together(described), is_current)


def _of_oracle(driver_connection: Any) -> Converters:
    handlers = (driver_connection.inputtypehandler, driver_connection.outputtypehandler)

    def is_current(now: Any) -> bool:
        return now is None or handlers == (now.inputtypehandler, now.outputtypehandler)

    return Converters(_describe(handlers), is_current)


# Describing what something is ----------------------------------------------------------------


def _together(parts: Iterable[str | None]) -> str | None:
    """Join descriptions; None if one of them is None."""
    found = list(parts)
    return None if None in found else repr(found)


def _pairs(pairs: Iterable[tuple[str, str | None]]) -> str | None:
    """Join descriptions of keys and values, in whatever order they come; None if one value is None."""
    found = sorted(pairs, key=repr)
    return None if any(value is None for _, value in found) else repr(found)


#: What psycopg's dicts hold, keys and ids of values → the values, and the description. By what they hold, because
#: ``django.contrib.postgres`` makes dicts of its own, with equal contents, for every connection
_descriptions: Bounded[tuple[Any, ...], tuple[list[Any], str | None]] = Bounded(64)


def _describe_psycopg(items: dict[Any, Any]) -> str | None:
    """Describe a dict of psycopg's converters, whose classes are never changed; None: that is not possible."""
    held = (tuple(items), tuple(map(id, items.values())))
    known = _descriptions.get(held)
    if known is None:
        described = _describe_dict(items)
        text = None if described is None else digest(described.encode("utf-8", "surrogatepass")).hex()
        known = (list(items.values()), text)  # they are kept, so that no other object gets an id of theirs
        _descriptions.put(held, known)
    return known[1]


def _describe_dict(items: dict[Any, Any]) -> str | None:
    """Describe a dict of converters; None: that is not possible."""
    return _pairs(
        (_describe_key(key), _describe(value) or _describe_by_name(key, value))
        for key, value in items.items()
        if not _is_irrelevant(key, value)
    )


def _describe_by_name(key: Any, value: Any) -> str | None:
    """Describe, by its name, what sends values of a class that is not known here, and so has no part in any others."""
    cls = _sent_class(key)
    return _name(value) if cls is not None and not _is_known(cls) else None


def _is_irrelevant(key: Any, value: Any) -> bool:
    """Return whether a converter sends values with which no query is cached, or those of the library that it is from.

    Which libraries a process has imported must not keep its results from being shared: freezegun and pendulum
    register something with sqlite3 when they are imported.
    """
    cls = _sent_class(key)
    if cls is None or _is_known(cls):
        return False
    library = cls.__module__.partition(".")[0]
    return not may_be_exact(cls) or (has_form(cls) and (_name(value) or "").partition(".")[0] == library)


def _sent_class(key: Any) -> type[Any] | None:
    """Return the class whose values a converter sends; None: it makes values, or its class is not imported yet."""
    cls = key[0] if isinstance(key, tuple) else key
    return cls if isinstance(cls, type) else None


def _describe_key(key: Any) -> str:
    """Describe the key of a converter. psycopg has names for types of libraries that are not imported yet."""
    if isinstance(key, tuple):
        return repr([_describe_key(one) for one in key])
    return (_name(key) or repr(key)) if isinstance(key, type) else str(key)


def _name(value: Any) -> str | None:
    """Return the dotted name of a class or a function; None: it has none."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    return None if name is None else f"{module}.{name}"


def _describe(value: Any, around: tuple[Any, ...] = ()) -> str | None:
    """Describe a value: equal texts for what does the same, in every process; None where that cannot be known.

    ``around``: what the value is a part of, the outermost first.
    """
    if value is None or isinstance(value, (bool, int, float, str, bytes, datetime.timezone)):
        return f"{type(value).__name__} {value!r}"
    if isinstance(value, zoneinfo.ZoneInfo):
        return None if value.key is None else f"zone {value.key}"
    if any(value is one for one in around):
        return f"part of itself, {next(at for at, one in enumerate(around) if one is value)}"
    if len(around) > _DEEPEST:
        return None
    around = (*around, value)
    if isinstance(value, (list, tuple, frozenset, set)):
        parts = [_describe(one, around) for one in value]
        if isinstance(value, (frozenset, set)):
            parts.sort(key=str)
        return _together(parts)
    if isinstance(value, (staticmethod, classmethod)):
        return _describe(value.__func__, around)
    if isinstance(value, partial):
        return _together(_describe(one, around) for one in (value.func, value.args, sorted(value.keywords.items())))
    if isinstance(value, (BuiltinFunctionType, MethodType, MethodWrapperType)):
        owner = value.__self__
        bound = _name(value) if owner is None or isinstance(owner, ModuleType) else _describe(owner, around)
        return _together([_name(value), bound]) if _is_known(value) else None
    return _describe_code(value, around) if isinstance(value, (type, FunctionType)) else None


_DEEPEST = 12


def _describe_code(value: Any, around: tuple[Any, ...]) -> str | None:
    """Describe a class or a function of a library that is known; None: it is of none."""
    name = _name(value)
    if not _is_known(value):
        return None
    if _imported(value.__module__, value.__qualname__) is value:
        return name
    if isinstance(value, FunctionType):
        # Made by a function: by what it closes over.
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        return _together([name, *(_describe_held(one, around) for one in cells)])
    if not isinstance(value, type):
        return None
    # Made by a function: by what it was made of.
    bases = [_describe(base, around) for base in value.__bases__]
    own = [(key, _describe_held(one, around)) for key, one in vars(value).items() if key not in _NO_PART]
    return _together([name, *bases, _pairs(own)])


def _is_known(value: Any) -> bool:
    """Return whether a class or a function is from a library that is known here."""
    module = getattr(value, "__module__", None) or "builtins"
    return str(module).partition(".")[0] in _KNOWN


def _describe_held(value: Any, around: tuple[Any, ...]) -> str | None:
    """Describe what a closure or a class holds; a lock, a buffer or a connection of the library by its class alone."""
    described = _describe(value, around)
    if described is None and not callable(value) and type(value).__module__.partition(".")[0] in _KNOWN - {"builtins"}:
        return _name(type(value))
    return described


def _imported(module: str | None, name: str) -> Any:
    """Return what is imported by this name; None: nothing is."""
    found: Any = sys.modules.get(module or "builtins")
    for part in name.split("."):
        found = getattr(found, part, None)
    return found
