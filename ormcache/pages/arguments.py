"""The exact form of arguments: a text that is equal only for arguments of which a function can make nothing different.

A value that a query can have as a parameter has the exact text that :mod:`ormcache.cache.keys` gives it. A model
instance brings along rows that were read before the function began, whose changes would not invalidate what is computed
of them. So it is named by all that it has loaded: fields, related objects and attributes. The same holds for any other
object of a class that is written in Python: it is named by its class and its attributes, never by its identity.
"""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import sys
import zoneinfo
from collections.abc import Callable, Iterable, Mapping
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from django.apps import apps
from django.core.files.base import File
from django.db.models import Model, QuerySet
from django.db.models.fields.files import FieldFile
from django.db.models.manager import BaseManager
from django.db.models.query import RawQuerySet
from django.http import HttpRequest
from django.utils.functional import LazyObject, Promise, empty

from ormcache.cache import keys
from ormcache.cache.value_types import PLAIN
from ormcache.pages.code_digest import code_digest
from ormcache.pages.faults import Fault, type_of
from ormcache.utils.interruptions import let_through

_PREFETCHED = "_prefetched_objects_cache"
#: What a model instance has in its ``__dict__`` besides fields and attributes
_INTERNAL = frozenset({"_state", _PREFETCHED})
#: The flag of types that are made at run time, as those written in Python are
_HEAP_TYPE = 1 << 9
#: What a class may define to be pickled in a way of its own: then its attributes need not be all that it has
_PICKLING = ("__reduce_ex__", "__reduce__", "__getstate__")


class FunctionWrapper:
    """What stands for a function, and is named by it where another function has it in its closure."""

    uncached: Any


class ExactForm:
    """Writes values as exact texts. Make one for each name: it numbers the objects that it has come by."""

    def __init__(self, outer: ExactForm | None = None) -> None:
        """``outer``: the form of which this is a part, whose numbers it knows and does not change."""
        self._outer = outer
        self._first: int = 0 if outer is None else outer._first + len(outer._met)
        self._numbers: dict[int, int] = {}  # id of an object → its number
        self._met: list[Any] = []  # these objects, so that no other one gets the same id

    def text(self, value: Any) -> str:
        """Return the exact text of a value. Raises Fault for one without an exact form."""
        cls = type(value)
        if cls in PLAIN:
            return _plain(value)
        write = _CONTAINERS.get(cls)
        if write is not None:
            return write(self, value)
        if issubclass(cls, LazyObject):
            return self.text(unwrapped(value))
        if issubclass(cls, Model):
            return self._numbered(value, self._instance)
        if issubclass(cls, type):
            return f"class {_name_of_class(value)}"
        if issubclass(cls, BaseManager):
            return _manager(value)
        for kinds, what, advice in _WITHOUT:
            if issubclass(cls, kinds):
                raise Fault(what or f"of type {type_of(value)}", advice)
        try:
            text = keys.exact_text((value,))
        except keys.Unkeyable:
            return self._numbered(value, self._object)
        return text + _zone(value) if issubclass(cls, (datetime.datetime, datetime.time)) else text

    def all(self, values: Mapping[str, Any]) -> str:
        """Return the exact text of values by name, in their order. Raises Fault, whose path begins with the name."""
        return "(" + ",".join(f"{name}={self._part(value, name)}" for name, value in values.items()) + ")"

    # Closures -----------------------------------------------------------------------------------------

    def function(self, function: FunctionType) -> str:
        """Return the exact text of a function: its name, its code, and the values that its closure has now.

        Functions in the closure, such as one that a decorator has wrapped, are written in the same way, and with their
        defaults. Those of the function itself are arguments. Raises Fault, whose path begins with a variable.
        """
        return self._numbered(function, self._function)

    def _function(self, function: FunctionType) -> str:
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        texts = [
            f"{function.__module__}.{function.__qualname__}",
            code_digest(function.__code__).hex(),
            *(self._cell(name, cell) for name, cell in cells),
        ]
        return f"function({','.join(texts)})"

    def _function_with_defaults(self, function: FunctionType) -> str:
        defaults = (*(function.__defaults__ or ()), *sorted((function.__kwdefaults__ or {}).items()))
        texts = [self._enclosed(value, f".__defaults__[{at}]") for at, value in enumerate(defaults)]
        return f"{self._function(function)}({','.join(texts)})"

    def _cell(self, name: str, cell: Any) -> str:
        try:
            value = cell.cell_contents
        except ValueError:
            return f"{name} is empty"
        return f"{name}={self._enclosed(value, name)}"

    def _enclosed(self, value: Any, step: str) -> str:
        found = value.uncached if isinstance(value, FunctionWrapper) else value
        if type(found) is FunctionType:
            try:
                return self._numbered(found, self._function_with_defaults)
            except Fault as fault:
                raise fault.within(f"{step}: ") from None
        if type(value) is ModuleType:
            return f"module {value.__name__}"
        if type(value) is BuiltinFunctionType and type(value.__self__) in (ModuleType, type(None)):
            return f"builtin {value.__module__}.{value.__qualname__}"
        return self._part(value, step)

    # Parts --------------------------------------------------------------------------------------------

    def _part(self, value: Any, step: str) -> str:
        try:
            return self.text(value)
        except Fault as fault:
            raise fault.within(step) from None

    def _numbered(self, value: Any, write: Callable[[Any], str]) -> str:
        """Write an object, or its number if it was written before: objects may refer to each other."""
        number = self._number_of(value)
        if number is not None:
            return f"#{number}"
        self._numbers[id(value)] = self._first + len(self._met)
        self._met.append(value)
        return write(value)

    def _number_of(self, value: Any) -> int | None:
        form: ExactForm | None = self
        while form is not None:
            number = form._numbers.get(id(value))
            if number is not None:
                return number
            form = form._outer
        return None

    def _items(self, values: Iterable[Any]) -> str:
        return ",".join(self._part(value, f"[{at}]") for at, value in enumerate(values))

    def _list(self, values: list[Any]) -> str:
        return self._numbered(values, lambda _: f"list({self._items(values)})")

    def _tuple(self, values: tuple[Any, ...]) -> str:
        return f"tuple({self._items(values)})"

    def _dict(self, values: dict[Any, Any]) -> str:
        def write(_: Any) -> str:
            pairs = (f"{self._part(key, '.keys()')}:{self._part(value, f'[{key!r}]')}" for key, value in values.items())
            return "dict(" + ",".join(pairs) + ")"

        return self._numbered(values, write)

    def _set(self, values: set[Any]) -> str:
        return self._numbered(values, lambda _: f"set({self._members(values)})")

    def _frozenset(self, values: frozenset[Any]) -> str:
        return f"frozenset({self._members(values)})"

    def _within(self) -> ExactForm:
        """Return a form for a part of this one."""
        return type(self)(self)

    def _members(self, values: Iterable[Any]) -> str:
        """Write the members of a set in an order that depends on nothing but their texts.

        Each is written by itself first: in the order of the set, the numbers of objects in it would be by chance.
        Raises Fault for members that are objects with equal texts, which therefore have no order.
        """
        alone = []
        for value in values:
            form = self._within()
            alone.append((form._part(value, "{…}"), bool(form._met), value))
        alone.sort(key=lambda one: one[0])
        for (text, has_objects, _), (following, _, _) in itertools.pairwise(alone):
            if has_objects and text == following:
                raise Fault("a set of objects that look the same", "pass a list of them").within("{…}")
        return ",".join(self._part(value, "{…}") if has_objects else text for text, has_objects, value in alone)

    def _instance(self, instance: Model) -> str:
        state, loaded = instance._state, vars(instance)
        if loaded.get(_PREFETCHED):
            names = ", ".join(sorted(loaded[_PREFETCHED]))
            raise Fault(
                f"an instance with prefetched objects ({names})",
                "pass its primary key, or prefetch into a list: Prefetch(…, to_attr=…)",
            )
        attributes = {name: loaded[name] for name in sorted(loaded.keys() - _INTERNAL)}
        related = {name: state.fields_cache[name] for name in sorted(state.fields_cache)}
        origin = f"{_name_of_class(type(instance))},{state.db!r},{state.adding!r}"
        return f"instance({origin},{self._attributes(attributes)},{self._attributes(related)})"

    def _attributes(self, values: Mapping[str, Any]) -> str:
        return ",".join(f"{name!r}:{self._part(_plain_file(value), f'.{name}')}" for name, value in values.items())

    def _object(self, value: Any) -> str:
        cls = type(value)
        if cls.__mro__[1:2] == (tuple,) and hasattr(cls, "_fields"):
            return f"{_name_of_class(cls)}({self._items(value)})"
        state = _state_of(value)
        if state is None:
            raise Fault(f"of type {type_of(value)}", ADVICE)
        return f"object({_name_of_class(cls)},{self._attributes(state)})"


#: What to do about an argument of a type that nothing is known of
ADVICE = "pass what the function needs of it: a primary key, numbers, texts, dates, or lists and dicts of these"

_CONTAINERS: dict[Any, Callable[[ExactForm, Any], str]] = {
    list: ExactForm._list,
    tuple: ExactForm._tuple,
    dict: ExactForm._dict,
    set: ExactForm._set,
    frozenset: ExactForm._frozenset,
}

#: Types without an exact form → what to say of them
_WITHOUT: list[tuple[Any, str, str]] = [
    (
        (QuerySet, RawQuerySet),
        "a queryset",
        "pass what it is made of (a primary key, the values that it filters by), or list(queryset)",
    ),
    (
        HttpRequest,
        "a request",
        "pass what the function needs of it, such as request.user.pk or request.GET['page']",
    ),
    (Promise, "a lazy translation", "pass str(…) of it"),
    (File, "", "pass its name, or what it contains"),
]


#: Time zones of libraries whose ``repr()`` is exact: the package, and the classes if not all of them
_ZONES = (
    ("pytz", None),
    ("pendulum", None),
    ("dateutil", frozenset({"tzutc", "tzoffset", "tzfile", "tzstr"})),
)


def _plain(value: Any) -> str:
    try:
        return repr(value)
    except ValueError:  # Python writes no integer of so many digits
        raise Fault("an int of thousands of digits", "pass hex(…) of it") from None


def _zone(value: datetime.datetime | datetime.time) -> str:
    """Return the exact text of a time zone, for a function may ask for other moments of it. Raises Fault."""
    zone = value.tzinfo
    if zone is None or type(zone) in (datetime.timezone, zoneinfo.ZoneInfo):
        return ""  # it is in the text of the moment
    package, text = type(zone).__module__.partition(".")[0], repr(zone)
    is_known = any(package == name and (names is None or type(zone).__name__ in names) for name, names in _ZONES)
    if not is_known or " at 0x" in text:
        raise Fault(f"in a time zone of type {type_of(zone)}", "use zoneinfo.ZoneInfo")
    return text


def unwrapped(value: Any) -> Any:
    """Return the object that a lazy one of Django, such as ``request.user``, stands for."""
    if value._wrapped is empty:
        value._setup()
    return value._wrapped


def _manager(manager: Any) -> str:
    """Return the exact text of a manager of a model: all that it consists of. Raises Fault for that of an object."""
    model = manager.model
    known = None if model is None else model._meta.managers_map.get(manager.name)
    if known is None or type(known) is not type(manager) or manager._hints:
        raise Fault("a manager of an object", "pass the primary key of the object")
    return f"manager {_name_of_class(model)}.{manager.name} {manager._db!r}"


def _plain_file(value: Any) -> Any:
    """Return the name of a file field's stored file; any other value as it is."""
    if isinstance(value, FieldFile) and getattr(value, "_committed", False):
        return ("file", value.name)
    return value


def _name_of_class(cls: Any) -> str:
    """Return the name of a class that can be found by its name. Raises Fault for any other one."""
    found: Any = sys.modules.get(cls.__module__)
    for name in cls.__qualname__.split("."):
        found = getattr(found, name, None)
    if found is not cls and not _is_registered(cls):
        raise Fault(
            f"of the class {cls.__module__}.{cls.__qualname__}, which cannot be found by that name",
            "define the class at the top of a module, or pass what the function needs of it",
        )
    return f"{cls.__module__}.{cls.__qualname__}"


def _is_registered(cls: Any) -> bool:
    return (
        issubclass(cls, Model)
        and cls._meta.apps is apps
        and apps.all_models.get(cls._meta.app_label, {}).get(cls._meta.model_name) is cls
    )


def _state_of(value: Any) -> dict[str, Any] | None:
    """Return the attributes of an object by name, sorted, if they are all that it consists of; or else None."""
    cls = type(value)
    if cls is object or not all(one.__flags__ & _HEAP_TYPE for one in cls.__mro__[:-1]):
        return None
    fields: dict[str, Any] = {}
    if dataclasses.is_dataclass(cls):
        try:
            fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(cls)}
        except AttributeError:
            return None
        if not hasattr(value, "__dict__"):  # slots, of which there may be others
            names = {name for one in cls.__mro__[:-1] for name in one.__dict__.get("__slots__", ())}
            return dict(sorted(fields.items())) if names - {"__weakref__"} == fields.keys() else None
    if any(getattr(cls, name) is not getattr(object, name) for name in _PICKLING):
        return None
    if any(hasattr(cls, name) for name in ("__getnewargs__", "__getnewargs_ex__")):
        return None
    try:
        # What pickle would store: it raises TypeError for an object with state that only C code can see.
        state = object.__reduce_ex__(value, 2)[2]
    except Exception as error:  # noqa: BLE001  # or a class has attributes of its own making
        let_through(error)
        return None
    attributes, slots = state if isinstance(state, tuple) else (state, None)
    found = {**(attributes or {}), **(slots or {}), **fields}
    return {name: found[name] for name in sorted(found)}
