"""Names of views: what decides the pages of a view besides the request, which is its code and what it was given."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any, Final

from ormcache import reasons
from ormcache.cache.value_types import PLAIN
from ormcache.pages.arguments import ADVICE, ExactForm
from ormcache.pages.faults import Fault
from ormcache.pages.variables import VariableForm
from ormcache.pages.visitors import PassedBy
from ormcache.utils.interruptions import let_through

#: Objects of which a view may consist, with all that is within them: what consists of more has no name
MOST_OBJECTS: Final = 256

#: What Python itself writes into each class, or what says nothing of what its instances do
_OF_EVERY_CLASS = frozenset(
    {"__module__", "__qualname__", "__doc__", "__dict__", "__weakref__", "__firstlineno__", "__static_attributes__"}
    | {"__annotations__", "__annotate__", "__annotate_func__", "__annotations_cache__"}
)

#: Where Django REST framework has what describes its views, and is no part of what they do
_SCHEMAS = "rest_framework.schemas."


class NamedByParts:
    """Base of objects that are named by some of their parts, where a view encloses them."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts


def dotted_name(view: Any) -> str:
    """Return the module and name of a view, or of its class if it has none itself."""
    named = view if hasattr(view, "__qualname__") else type(view)
    return f"{named.__module__}.{named.__qualname__}"


def constant_name(view: Any) -> str | None:
    """Return the name of a function that consists of nothing but its code; None: it has to be named at each request."""
    if type(view) is not FunctionType or view.__code__.co_freevars:
        return None
    defaults = (*(view.__defaults__ or ()), *(view.__kwdefaults__ or {}).values())
    return ViewForm(None).text(view) if PLAIN.issuperset(map(type, defaults)) else None


def function_name(function: Any) -> str:
    """Return an exact text of a function with what it encloses now, or its dotted name if there is none."""
    try:
        return ViewForm(None).text(function)
    except Exception as error:  # noqa: BLE001  # Fault, or what the code of a project raises that is asked for attributes
        let_through(error)
        return dotted_name(function)


def view_name(view: Any, constant: str | None, request: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Return an exact text of a view and the arguments that it is called with. Raises PassedBy if there is none.

    ``constant``: the constant name of the view. ``request``: as the view is given it.
    """
    try:
        name = ViewForm(request).text(view) if constant is None else constant
        return name + _arguments(request, args, kwargs) if args or kwargs else name
    except Exception as error:  # Fault, or what the code of a project raises that is asked for attributes
        let_through(error)
        raise PassedBy(reasons.UNNAMED) from error


def name_of_negotiated(request: Any) -> str:
    """Return an exact text of what Django REST framework has negotiated for a request before it calls a handler.

    Raises PassedBy if there is none.
    """
    negotiated = [getattr(request, name, None) for name in ("accepted_media_type", "version", "accepted_renderer")]
    try:
        return ViewForm(request).text(negotiated)
    except Exception as error:  # Fault, or what the code of a project raises that is asked for attributes
        let_through(error)
        raise PassedBy(reasons.UNNAMED) from error


def _arguments(request: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Return the exact text of arguments. A converter of paths may have read them from the database, plain ones too."""
    if PLAIN.issuperset(map(type, (*args, *kwargs.values()))):
        return repr((args, kwargs))
    return ViewForm(request).text([args, kwargs])


class ViewForm(VariableForm):
    """Writes views as exact texts: functions with what they enclose, bound methods with the state of their objects."""

    def __init__(self, request: Any, outer: ExactForm | None = None) -> None:
        """``request``: as a view is given it. ``outer``: the form of which this is a part."""
        super().__init__(outer)
        self._request = request
        inner = getattr(request, "_request", None)
        #: these are no part of what is written: it is named by what it reads of them
        self.requests = [one for one in (request, inner) if one is not None]

    def _within(self) -> ExactForm:
        return type(self)(self._request, self)

    def text(self, value: Any) -> str:
        """Return the exact text of a value. Raises Fault for one without an exact form."""
        if any(value is request for request in self.requests):
            return "request"
        cls = type(value)
        if cls is FunctionType:
            return self._numbered(value, self._function_with_defaults)
        if cls is MethodType:
            return self._method(value)
        if cls is functools.partial:
            parts = value.func, value.args, value.keywords
            return f"partial({self._items(parts)})"
        if issubclass(cls, NamedByParts):
            return f"{cls.__qualname__}({self._items(value.parts)})"
        if issubclass(cls, type):
            return self._class(value)
        return super().text(value)

    def _numbered(self, value: Any, write: Callable[[Any], str]) -> str:
        if len(self._met) >= MOST_OBJECTS:
            raise Fault("of too many objects", ADVICE)
        return super()._numbered(value, write)

    def _method(self, method: MethodType) -> str:
        owner, function = method.__self__, method.__func__
        name = getattr(function, "__name__", "")
        is_found = vars(type(owner)).get(name) is function  # a class is named as a whole
        return f"method({self.text(owner)},{name if is_found else self.text(function)})"

    def _class(self, cls: Any) -> str:
        try:
            return super().text(cls)
        except Fault:  # it was made at run time, as Django REST framework's api_view() makes one
            return self._numbered(cls, self._made_class)

    def _made_class(self, cls: Any) -> str:
        own = {
            name: value
            for name, value in vars(cls).items()
            if not (name in _OF_EVERY_CLASS or type(value).__module__.startswith(_SCHEMAS))
        }
        return f"class({cls.__module__}.{cls.__qualname__},{self._items(cls.__bases__)},{self._attributes(own)})"
