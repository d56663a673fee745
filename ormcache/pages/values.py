"""What a cached function may return: made of plain values for the store, and made again of what the store has.

:func:`dump` writes a value as a tree of plain values and, apart from it, the model instances in it. A leaf of the tree
is itself; anything else is a tuple of a tag and its parts. Instances of one model with the same fields form a group,
with a column for each field; the tree refers to them by place. So they may refer to each other.

Whoever can write to the store can have written what :func:`load` reads: it gives values of these types or Unreadable.
It makes instances only of models of this project, as Django makes them of rows, and calls nothing that the bytes name.
A field that makes its values of texts may do so by any code, so it is asked only where all that is read is signed.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from functools import lru_cache
from typing import Any, NamedTuple

from django.apps import apps
from django.conf import settings
from django.db.models import Field, Model, QuerySet
from django.db.models.fields.files import FieldFile
from django.db.models.manager import BaseManager
from django.db.models.query import RawQuerySet
from django.utils.functional import LazyObject, Promise, cached_property
from django.utils.safestring import SafeString

from ormcache.cache import serializer
from ormcache.cache.serializer import Unreadable, Unserializable
from ormcache.cache.value_codec import MOST_HASHED
from ormcache.cache.value_types import PLAIN
from ormcache.pages.arguments import unwrapped
from ormcache.pages.faults import Fault, type_of
from ormcache.utils.interruptions import let_through

try:
    from django.db.models import fetch_modes as _fetch_modes
except ImportError:  # before Django 6.1
    _fetch_modes = None  # type: ignore[assignment]

#: Name of a way in which Django fetches what an instance has not loaded → the way; the default one is not written
_MODES: dict[str, Any] = {
    name: getattr(_fetch_modes, name) for name in ("FETCH_PEERS", "FETCH_RAISE") if hasattr(_fetch_modes, name)
}

_PREFETCHED = "_prefetched_objects_cache"
_INTERNAL = frozenset({"_state", _PREFETCHED})

# Tags
LIST, TUPLE, SET, FROZENSET, DICT, SAFE, INSTANCE, FIELD = "l", "t", "s", "f", "d", "h", "m", "v"
#: In place of an attribute that is not stored: the model itself sets it on each instance that is made of a row
_LEFT_OUT = ("o",)
#: Immutable types that are leaves, whatever the value
_LEAVES = PLAIN | {complex}

#: A tree and the groups of instances in it, and FIELD after these if there are texts in it that fields have written
Payload = tuple[Any, ...]


class Shape(NamedTuple):
    """What the instances of one group have in common."""

    model: type[Model]
    alias: str  # of the database that they came from
    mode: str | None  # see _MODES
    fields: tuple[str, ...]  # names of the fields that are loaded, in the order of the model
    attributes: tuple[str, ...]  # names of what else was set on them, such as annotations
    related: tuple[str, ...]  # names of the relations whose objects are loaded


def dump(value: Any) -> Payload:
    """Return what is stored of a value. Raises Fault for one that cannot be stored, and RecursionError."""
    return _Dump().payload(value)


def needs_signature(payload: Any) -> bool:
    """Return whether code of fields makes values of what is stored, so that nobody else may have written it."""
    return type(payload) is tuple and payload[2:] == (FIELD,)


def load(payload: Any, *, is_signed: bool = False) -> Any:
    """Return the value that was dumped, with new objects where it is mutable. Raises Unreadable for anything else.

    ``is_signed``: nobody else can have written it.
    """
    try:
        tree, groups, *_ = payload
        return _Load(groups, is_signed).value(tree)
    except Unreadable:
        raise
    except Exception as error:  # of foreign values anything may be raised, by a model's own code too
        let_through(error)
        raise Unreadable(repr(error)) from error


# Writing ----------------------------------------------------------------------------------------------


class _Dump:
    """Writes one value."""

    def __init__(self) -> None:
        self._groups: dict[Shape, tuple[int, list[list[Any]]]] = {}  # with the number and the rows of each
        self._places: dict[int, tuple[str, int, int]] = {}  # id of an instance → the reference to it
        self._open: set[int] = set()  # ids of the containers that are being written
        self._has_texts = False  # whether fields have written texts

    def payload(self, value: Any) -> Payload:
        tree = self._tree(value)
        groups = tuple(
            (shape.model._meta.label, *shape[1:], tuple(zip(*rows, strict=True)))
            for shape, (_, rows) in self._groups.items()
        )
        return (tree, groups, FIELD) if self._has_texts else (tree, groups)

    def _tree(self, value: Any) -> Any:
        cls = type(value)
        if cls in _LEAVES:
            return value
        write = _WRITERS.get(cls)
        if write is not None:
            return self._container(value, write)
        if cls is SafeString:
            return (SAFE, str.__str__(value))
        if issubclass(cls, Model):
            return self._instance(value)
        for kinds, what, advice in _WITHOUT:
            if issubclass(cls, kinds):
                raise Fault(what or f"of type {type_of(value)}", advice)
        try:
            serializer.examine((value,))
        except Unserializable:
            raise Fault(f"of type {type_of(value)}", ADVICE) from None
        return value

    def _container(self, value: Any, write: Callable[[_Dump, Any], Any]) -> Any:
        if id(value) in self._open:
            raise Fault("a container that contains itself", ADVICE)
        self._open.add(id(value))
        try:
            return write(self, value)
        finally:
            self._open.discard(id(value))

    def _all(self, values: Iterable[Any]) -> tuple[Any, ...]:
        values = tuple(values)
        if _LEAVES.issuperset(map(type, values)):
            return values
        return tuple([self._part(value, f"[{at}]") for at, value in enumerate(values)])

    def _part(self, value: Any, step: str) -> Any:
        try:
            return self._tree(value)
        except Fault as fault:
            raise fault.within(step) from None

    def _list(self, value: list[Any]) -> Any:
        return LIST, self._all(value)

    def _tuple(self, value: tuple[Any, ...]) -> Any:
        return TUPLE, self._all(value)

    def _set(self, value: Any) -> Any:
        return SET if type(value) is set else FROZENSET, tuple(self._part(item, "{…}") for item in value)

    def _dict(self, value: dict[Any, Any]) -> Any:
        names = tuple(value)
        if not _LEAVES.issuperset(map(type, names)):
            names = tuple(self._part(name, ".keys()") for name in names)
        return DICT, names, tuple([self._part(item, f"[{name!r}]") for name, item in value.items()])

    def _instance(self, instance: Model) -> Any:
        place = self._places.get(id(instance))
        if place is not None:
            return place
        shape, loaded = _shape_of(instance), vars(instance)
        number, rows = self._groups.setdefault(shape, (len(self._groups), []))
        row: list[Any] = []
        rows.append(row)
        # The value that is dumped keeps all of them alive.
        place = self._places[id(instance)] = (INSTANCE, number, len(rows) - 1)
        fields = [field for field in _fields_of(shape.model) if field.attname in loaded]
        row += [self._field(instance, field, loaded[field.attname]) for field in fields]
        row += [self._attribute(instance, name, shape) for name in shape.attributes]
        related = ((name, instance._state.fields_cache[name]) for name in shape.related)
        row += [self._part(_without_proxy(value), f".{name}") for name, value in related]
        return place

    def _attribute(self, instance: Model, name: str, shape: Shape) -> Any:
        loaded = vars(instance)
        try:
            return self._part(loaded[name], f".{name}")
        except Fault:
            fields = [loaded[field] for field in shape.fields]
            if name in vars(shape.model.from_db(shape.alias, list(shape.fields), fields)):
                return _LEFT_OUT
            raise

    def _field(self, instance: Model, field: Any, value: Any) -> Any:
        """Write the value of a field; one of a type of the field's own as the text that fixtures have of it."""
        if isinstance(value, FieldFile):
            if not getattr(value, "_committed", False):
                raise Fault("a file that is not saved", "save the instance").within(f".{field.name}")
            return value.name
        try:
            return self._tree(value)
        except Fault as fault:
            try:
                text = field.value_to_string(instance)
                again = field.to_python(text)
            except Exception as error:  # a field's own code
                let_through(error)
                raise fault.within(f".{field.name}") from error
            if type(text) is str and type(again) is type(value) and again == value:
                self._has_texts = True
                return FIELD, text
            raise fault.within(f".{field.name}") from None


def _shape_of(instance: Model) -> Shape:
    """Return the shape of an instance. Raises Fault for one that cannot be stored."""
    model, state, loaded = type(instance), instance._state, vars(instance)
    if _registered(model._meta.label) is not model:
        raise Fault(f"an instance of {type_of(instance)}, which is no model of an installed app", ADVICE)
    if state.adding or state.db is None:
        raise Fault("an instance that is not saved", "save it first, or return a dict of its values")
    if loaded.get(_PREFETCHED):
        names = ", ".join(sorted(loaded[_PREFETCHED]))
        raise Fault(
            f"an instance with prefetched objects ({names})",
            "prefetch into a list: Prefetch(…, to_attr=…), or return lists and dicts",
        )
    known = [field.attname for field in _fields_of(model)]
    attributes = sorted(
        name
        for name in loaded.keys() - _INTERNAL - set(known)
        if type(inspect.getattr_static(model, name, None)).__name__ != cached_property.__name__  # computed again on use
    )
    for name in attributes:
        if not _may_be_attribute(model, name):
            raise Fault(f"an instance whose attribute {name!r} hides one of its class", "give it another name")
    mode = next((name for name, mode in _MODES.items() if getattr(state, "fetch_mode", None) is mode), None)
    fields = tuple(name for name in known if name in loaded)
    related = sorted(state.fields_cache.keys() & _relations_of(model).keys()) if state.fields_cache else ()
    return Shape(model, state.db, mode, fields, tuple(attributes), tuple(related))


def _without_proxy(value: Any) -> Any:
    """Return a related object in place of a lazy one such as ``request.user``; it was read when it was set."""
    return unwrapped(value) if issubclass(type(value), LazyObject) else value


def _fields_of(model: type[Model]) -> Sequence[Field[Any, Any]]:
    return model._meta.concrete_fields


@lru_cache(maxsize=1024)
def _relations_of(model: type[Model]) -> dict[str, Any]:
    """Return the relations that lead to a single object, by the name under which instances remember it."""
    meta = model._meta
    found: dict[str, Any] = {}
    for field in (*meta.get_fields(include_hidden=True), *meta.private_fields):
        name = getattr(field, "cache_name", None)
        if type(name) is str:
            found[name] = field
    return found


def _may_be_attribute(model: type[Model], name: str) -> bool:
    """Return whether a value of this name may be set on an instance: its class has none, or a plain one as default."""
    if not name.isidentifier() or name in _INTERNAL or (name.startswith("__") and name.endswith("__")):
        return False
    default = inspect.getattr_static(model, name, None)
    return type(default) in _LEAVES or type(default) in _WRITERS


def _registered(label: str) -> type[Model] | None:
    """Return the model of a label, among those of installed apps; None: there is none."""
    app_label, _, name = label.rpartition(".")
    return apps.all_models.get(app_label, {}).get(name.lower())


#: What to do about a value of a type that nothing is known of
ADVICE = "return numbers, texts, dates, model instances, or lists, tuples, dicts and sets of these"

_WRITERS: dict[Any, Callable[[_Dump, Any], Any]] = {
    list: _Dump._list,
    tuple: _Dump._tuple,
    set: _Dump._set,
    frozenset: _Dump._set,
    dict: _Dump._dict,
}

#: Types that cannot be stored → what to say of them
_WITHOUT: list[tuple[Any, str, str]] = [
    ((QuerySet, RawQuerySet), "a queryset, which would run its query later", "return list(queryset)"),
    (BaseManager, "a manager", "return list(manager.all())"),
    (Promise, "a lazy translation", "return str(…) of it"),
    (LazyObject, "a lazy object", "return the object that it stands for"),
    ((types.GeneratorType, types.AsyncGeneratorType, map, filter, zip), "an iterator", "return list(…) of it"),
    (types.CoroutineType, "a coroutine", "define the function with async def"),
    (Enum, "", "return its value"),
    (tuple, "", "return tuple(…) of it"),
    (dict, "", "return dict(…) of it"),
]


# Reading ----------------------------------------------------------------------------------------------


class _Load:
    """Reads one value. Its instances are made first, and then what they refer to."""

    def __init__(self, groups: Any, is_signed: bool) -> None:
        self._is_signed = is_signed
        self._instances: list[list[Model]] = []
        instances = []
        if type(groups) is not tuple:
            raise Unreadable("no groups")
        shapes = [_read_shape(*group) for group in groups]
        for shape, columns in shapes:
            instances.append(self._make(shape, columns))
        self._instances = instances
        for (shape, columns), made in zip(shapes, instances, strict=True):
            at = len(shape.fields)
            for name, column in zip(shape.attributes, columns[at:], strict=False):
                for instance, tree in zip(made, column, strict=True):
                    if tree != _LEFT_OUT:
                        vars(instance)[name] = self.value(tree)
            relations = _relations_of(shape.model) if shape.related else {}
            at += len(shape.attributes)
            for name, column in zip(shape.related, columns[at:], strict=True):
                for instance, tree in zip(made, column, strict=True):
                    instance._state.fields_cache[name] = _related(relations[name], self.value(tree))

    def _make(self, shape: Shape, columns: Sequence[Any]) -> list[Model]:
        model = shape.model
        fields = [field for field in _fields_of(model) if field.attname in shape.fields]
        if shape.fields != tuple(field.attname for field in fields):
            raise Unreadable("fields that the model does not have")
        mode = {} if shape.mode is None else {"fetch_mode": _MODES[shape.mode]}
        read = [
            column if _LEAVES.issuperset(map(type, column)) else [self._field(field, tree) for tree in column]
            for field, column in zip(fields, columns, strict=False)
        ]
        return [model.from_db(shape.alias, list(shape.fields), row, **mode) for row in zip(*read, strict=True)]

    def _field(self, field: Any, tree: Any) -> Any:
        if type(tree) is tuple and tree[0] == FIELD:
            _, text = tree
            if type(text) is not str or not self._is_signed:
                raise Unreadable("no text")
            return field.to_python(text)
        return self.value(tree)

    def value(self, tree: Any) -> Any:
        """Return the value of a tree."""
        cls = type(tree)
        if cls in _LEAVES:
            return tree
        if cls is not tuple:
            if cls in _WRITERS:
                raise Unreadable("a container that is not written as one")
            return tree
        tag, *parts = tree
        if tag in _SEQUENCES:
            (items,) = parts
            return _SEQUENCES[tag](self._all(items))
        if tag in _SETS:
            (items,) = parts
            return _SETS[tag](_checked(self._all(items)))
        if tag == DICT:
            names, items = parts
            return dict(zip(_checked(self._all(names)), self._all(items), strict=True))
        if tag == SAFE:
            (text,) = parts
            if type(text) is not str:
                raise Unreadable("no text")
            return SafeString(text)
        if tag == INSTANCE:
            group, row = parts
            if type(group) is not int or type(row) is not int or group < 0 or row < 0:
                raise Unreadable("no place")
            return self._instances[group][row]
        raise Unreadable("an unknown tag")

    def _all(self, trees: Any) -> Sequence[Any]:
        if type(trees) is not tuple:
            raise Unreadable("no items")
        return trees if _LEAVES.issuperset(map(type, trees)) else [self.value(tree) for tree in trees]


def _read_shape(
    label: Any, alias: Any, mode: Any, fields: Any, attributes: Any, related: Any, columns: Any
) -> tuple[Shape, Sequence[Any]]:
    """Return the shape of a group, and its columns. Raises Unreadable, or what foreign values raise."""
    for names in (fields, attributes, related):
        if type(names) is not tuple or not set(map(type, names)) <= {str}:
            raise Unreadable("no names")
    if type(columns) is not tuple or not set(map(type, columns)) <= {tuple}:
        raise Unreadable("no columns")
    if len(columns) != len(fields) + len(attributes) + len(related) or len(set(map(len, columns))) != 1:
        raise Unreadable("columns that do not fit the names")
    model = _registered(label)
    if model is None or alias not in settings.DATABASES or not fields:
        raise Unreadable("a model, a database or fields that there are not")
    known = {field.attname for field in _fields_of(model)}
    if not all(_may_be_attribute(model, name) and name not in known for name in attributes):
        raise Unreadable("attributes that hide others")
    if not set(related) <= _relations_of(model).keys():
        raise Unreadable("relations that the model does not have")
    return Shape(model, alias, mode, fields, attributes, related), columns


def _related(field: Any, value: Any) -> Any:
    """Return the object of a relation, or None. Raises Unreadable for anything else."""
    model = getattr(field, "related_model", None)
    expected = Model if model is None else model._meta.concrete_model
    if value is not None and not isinstance(value, expected):
        raise Unreadable("no object of that relation")
    return value


def _checked(members: Sequence[Any]) -> Sequence[Any]:
    """Return what is to be hashed, unless so many of them have the same hash that this would take very long."""
    if len(members) > MOST_HASHED and len(set(map(hash, members))) < len(members) - MOST_HASHED:
        raise Unreadable("too many members with the same hash")
    return members


_SEQUENCES: dict[str, Callable[[Iterable[Any]], Any]] = {LIST: list, TUPLE: tuple}
_SETS: dict[str, Callable[[Iterable[Any]], Any]] = {SET: set, FROZENSET: frozenset}
