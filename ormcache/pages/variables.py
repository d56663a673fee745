"""The exact form of variables that a template uses: of views' querysets and objects too, and what becomes of them.

What a variable has loaded was read before the fragment began. So it is part of the fragment's name. What it has not
loaded is read inside of the fragment, and tracked: a queryset that was not evaluated counts by its query.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db.models import Field, Model, Prefetch, QuerySet
from django.db.models.fields.files import FieldFile
from django.db.models.manager import BaseManager
from django.http import HttpRequest
from django.template import Node
from django.template.context import BaseContext
from django.utils.functional import Promise

from ormcache.cache.value_types import PLAIN
from ormcache.pages.arguments import ExactForm
from ormcache.pages.faults import Fault, type_of
from ormcache.utils.interruptions import let_through

#: What to do about a variable without an exact form
ADVICE = "give the fragment what it needs of it, as name=value"

#: Attributes of a queryset that say nothing of what it reads, or that are named apart
_QUERYSET_INTERNAL = frozenset(
    {"model", "_query", "_deferred_filter", "_fetch_mode", "_cloning_enabled", "_prefetch_done"}
)
_PREFETCHED = "_prefetched_objects_cache"


class VariableForm(ExactForm):
    """Writes the exact form of one variable, and knows afterwards whether anything in it has changed since."""

    def __init__(self, outer: ExactForm | None = None) -> None:
        """``outer``: the form of which this is a part."""
        super().__init__(outer)
        self._before: list[tuple[Any, Any]] = []  # objects, and what they consisted of

    def text(self, value: Any) -> str:
        """Return the exact text of a value. Raises Fault for one without an exact form."""
        cls = type(value)  # isinstance() would evaluate a lazy object
        for kinds, write in _FORMS:
            if issubclass(cls, kinds):
                return write(self, value)
        return super().text(value)

    def is_unchanged(self) -> bool:
        """Return whether all objects are still what they were, though they may have loaded more."""
        return all(_is_unchanged(value, before) for value, before in self._before)

    def _numbered(self, value: Any, write: Callable[[Any], str]) -> str:
        if id(value) not in self._numbers:
            self._before.append((value, _content(value)))
        return super()._numbered(value, write)

    def _instance(self, instance: Model) -> str:
        state, loaded = instance._state, dict(vars(instance))
        del loaded["_state"]
        prefetched = loaded.pop(_PREFETCHED, {})
        parts = [self.text(type(instance)), repr(state.db), repr(state.adding)]
        parts += [
            self._attributes({name: some[name] for name in sorted(some)}) for some in (loaded, state.fields_cache)
        ]
        parts += [f"{name!r}:{self._part(prefetched[name], f'.{name}')}" for name in sorted(prefetched)]
        return f"instance({','.join(parts)})"

    def _queryset(self, queryset: QuerySet[Any]) -> str:
        return self._numbered(queryset, self._new_queryset)

    def _new_queryset(self, queryset: QuerySet[Any]) -> str:
        query = queryset.query
        try:
            sql, params = query.get_compiler(using=queryset.db).as_sql()
            compiled = f"{sql}{self.text(tuple(params))}"
        except EmptyResultSet:
            compiled = "nothing"
        names = sorted(vars(queryset).keys() - _QUERYSET_INTERNAL)
        parts = [
            self.text(type(queryset)),
            self.text(queryset.model),
            compiled,
            *(f"{name}:{type_of(one.output_field)}" for name, one in query.annotation_select.items()),
            *(f"{name}={self._part(vars(queryset)[name], f'.{name}')}" for name in names),
        ]
        return f"queryset({','.join(parts)})"

    def _manager(self, manager: BaseManager[Any]) -> str:
        model: Any = manager.model
        name: Any = getattr(manager, "name", None)
        if model is None or model._meta.managers_map.get(name) is not manager:
            raise Fault("a manager", "give the fragment a queryset: .all() of it")
        return f"manager({self.text(model)},{name!r})"

    def _promise(self, value: Any) -> str:
        _, parts = value.__reduce__()
        return f"lazy({self._items(parts)})"

    def _prefetch(self, value: Prefetch[Any, Any, Any]) -> str:
        return f"prefetch({self._attributes(vars(value))})"

    def _field(self, field: Field[Any, Any]) -> str:
        return f"field({field})"

    def _named_function(self, value: FunctionType) -> str:
        found: Any = sys.modules.get(value.__module__)
        for name in value.__qualname__.split("."):
            found = getattr(found, name, None)
        if found is not value:
            raise Fault("a function that is made at run time", ADVICE)
        return f"function({value.__module__}.{value.__qualname__})"

    def _without(self, value: Any) -> str:
        raise Fault(f"of type {type_of(value)}", ADVICE)


_FORMS: list[tuple[Any, Callable[[VariableForm, Any], str]]] = [
    (Promise, VariableForm._promise),
    (QuerySet, VariableForm._queryset),
    (BaseManager, VariableForm._manager),
    (Prefetch, VariableForm._prefetch),
    (Field, VariableForm._field),
    (FunctionType, VariableForm._named_function),
    ((Node, BaseContext, HttpRequest), VariableForm._without),
]


def form_of(value: Any) -> tuple[str, VariableForm]:
    """Return the exact text of a value, and what can say later whether it has changed. Raises Fault."""
    form = VariableForm()
    try:
        return form.text(value), form
    except Fault:
        raise
    except Exception as error:  # code of a project that was asked for attributes, or an object that is too deep
        let_through(error)
        raise Fault(f"of type {type_of(value)}, which raises {type(error).__name__}", ADVICE) from error


def _content(value: Any) -> Any:
    """Return what an object consists of, as deep as its own parts."""
    if isinstance(value, dict):
        return list(value.items())
    if isinstance(value, (list, tuple, set, frozenset)):
        return list(value)
    if isinstance(value, QuerySet):
        return None  # evaluating it is no change
    return dict(getattr(value, "__dict__", {}))


def _is_unchanged(value: Any, before: Any) -> bool:
    if before is None:
        return True
    if isinstance(before, list):
        return _are_same(_flat(before), _flat(_content(value)))
    now = getattr(value, "__dict__", {})
    if any(_is_set(value, name) for name in now.keys() - before.keys()):
        return False
    return all(
        name in now and (now[name] is old or _is_equal(old, now[name]) or _has_loaded(old, now[name]))
        for name, old in before.items()
        if name != _PREFETCHED
    )


def _is_set(value: Any, name: str) -> bool:
    """Return whether a new attribute was set, rather than loaded or remembered by the object itself."""
    if name.startswith("_"):
        return False
    known = inspect.getattr_static(type(value), name, None)  # a cached property, or the descriptor of a field
    return not hasattr(type(known), "__get__")


def _is_equal(before: Any, now: Any) -> bool:
    """Return whether this is the same plain value: an instance that loads a field reads its primary key again."""
    return type(before) in PLAIN and type(now) is type(before) and repr(now) == repr(before)


def _has_loaded(before: Any, now: Any) -> bool:
    """Return whether an attribute has become what it stood for: a page's queryset its list, a name its file."""
    return (isinstance(before, QuerySet) and type(now) is list) or (
        isinstance(before, str) and isinstance(now, FieldFile) and now.name == before
    )


def _flat(items: Iterable[Any]) -> list[Any]:
    return [part for item in items for part in (item if type(item) is tuple else (item,))]


def _are_same(before: list[Any], now: list[Any]) -> bool:
    return len(before) == len(now) and all(one is other for one, other in zip(before, now, strict=True))
