"""The context in which a fragment of a Django template is rendered: it records what the fragment uses of the outer one.

Variables that the fragment sets are its own, as in ``{% with %}``: a fragment that is not rendered could not set them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any

from django.template import Context
from django.template.context import RenderContext
from django.template.defaulttags import URLNode
from django.template.library import InclusionNode
from django.utils.functional import SimpleLazyObject

from ormcache import reasons
from ormcache.pages.fragments import CSRF_TOKEN, Variables
from ormcache.pages.nodes import examine_template

# Names of what is no variable, and is used like one
_REQUEST, _CURRENT_APP = "context.request", "the namespace for {% url %}"
#: What ``{% for %}`` and inclusion tags take from the context whether or not the template uses it
_PASSED_ON = frozenset({"forloop", CSRF_TOKEN})
_BUILTIN = frozenset({"True", "False", "None"})
#: Where Django's contexts and ours remember the variables around the fragment that is being rendered
_VARIABLES = "_ormcache_variables"


class OuterContext:
    """Reads what the context around a fragment has. Called with the name of a variable; raises KeyError."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._dicts = context.dicts[1:]
        #: whether there is a ``{% for %}`` around it, a CSRF token, and a request
        self.has = ("forloop" in self, CSRF_TOKEN in self, "request" in vars(context))

    def __contains__(self, name: str) -> bool:
        return any(name in each for each in self._dicts)

    def __call__(self, name: str) -> Any:
        if name in (_REQUEST, _CURRENT_APP):
            return self._request(name)
        for each in reversed(self._dicts):
            if name in each:
                value = each[name]
                return value.use() if isinstance(value, _PassedOn) else value
        raise KeyError(name)

    def names(self) -> set[str]:
        """Return the names of all variables."""
        return {name for each in self._dicts for name in each}

    def _request(self, name: str) -> Any:
        attributes = vars(self._context)
        around = attributes.get(_VARIABLES)
        if around is not None:
            return around.use(name)
        request = attributes["request"]
        if name == _REQUEST:
            return request
        match = getattr(request, "resolver_match", None)
        return getattr(request, "current_app", None) or getattr(match, "namespace", None)


class _PassedOn(MutableMapping[Any, Any]):
    """The dict of a ``{% for %}`` around a fragment: used once somebody looks into it."""

    def __init__(self, use: Callable[[], Any]) -> None:
        self.use = use

    def __getitem__(self, key: Any) -> Any:
        return self.use()[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self.use()[key] = value

    def __delitem__(self, key: Any) -> None:
        del self.use()[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.use())

    def __len__(self) -> int:
        return len(self.use())


class _OuterVariables(MutableMapping[str, Any]):
    """The variables around a fragment, in the place of the dicts that a context consists of."""

    def __init__(self, outer: OuterContext, variables: Variables) -> None:
        self._outer = outer
        self._variables = variables
        self._own: dict[str, Any] = {}  # set by the fragment in place of outer ones

    def __contains__(self, name: object) -> bool:
        if name in self._own:
            return True
        if type(name) is not str or (name in _BUILTIN | _PASSED_ON):
            return name in self._outer if isinstance(name, str) else False
        try:
            self._variables.use(name)
        except KeyError:
            return False
        return True

    def __getitem__(self, name: str) -> Any:
        if name in self._own:
            return self._own[name]
        if name in _PASSED_ON and name in self._outer:
            if name == CSRF_TOKEN:
                return SimpleLazyObject(lambda: str(self._variables.use(CSRF_TOKEN)))
            return _PassedOn(lambda: self._variables.use(name))
        return self._variables.use(name)

    def __setitem__(self, name: str, value: Any) -> None:
        self._own[name] = value

    def __delitem__(self, name: str) -> None:
        del self._own[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._own.keys() | self._outer.names())

    def __len__(self) -> int:
        return len(self._own.keys() | self._outer.names())


class _TemplateState(RenderContext):
    """The state of the templates that are being rendered: a fragment that uses it is not the same each time.

    It is what ``{% cycle %}`` and ``{% ifchanged %}`` remember, and the blocks of templates that extend this one.
    """

    def __init__(self, around: RenderContext, variables: Variables) -> None:
        super().__init__()
        self.template = around.template
        watched: Any = _WatchedState(around.dicts[-1], variables)
        self.dicts = [*around.dicts[:-1], watched]
        self._around = around
        self._variables = variables

    def push_state(self, template: Any, isolated_context: bool = True) -> AbstractContextManager[None]:
        self.examine(template)
        return super().push_state(template, isolated_context)

    def examine(self, template: Any) -> None:
        """Record what can be seen in a template that is about to be rendered in the fragment."""
        rejection = examine_template(template).rejection
        if rejection is not None:
            self._variables.reject(*rejection)
        if isinstance(self._around, _TemplateState):
            self._around.examine(template)


class _WatchedState(MutableMapping[Any, Any]):
    """The state of the template that the fragment is in."""

    def __init__(self, state: Any, variables: Variables) -> None:
        self._state = state
        self._variables = variables

    def _of(self, key: Any) -> Any:
        if isinstance(key, InclusionNode):
            return self._state  # it remembers its template, which is the same each time
        self._variables.reject(reasons.TEMPLATE_STATE, str(getattr(getattr(key, "token", None), "contents", key)))
        return self._state

    def __getitem__(self, key: Any) -> Any:
        return self._of(key)[key]

    def __contains__(self, key: object) -> bool:
        return key in self._of(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._of(key)[key] = value

    def __delitem__(self, key: Any) -> None:
        del self._of(key)[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._of("all of it"))

    def __len__(self) -> int:
        return len(self._of("all of it"))


class _WithRequest:
    """A context whose ``request`` is recorded when it is used."""

    @property
    def request(self) -> Any:
        attributes = vars(self)
        if "request" not in attributes:
            raise AttributeError("request")
        # Whatever else the request says, {% url %} takes the current application from it.
        is_url = sys._getframe(1).f_code is URLNode.render.__code__
        attributes[_VARIABLES].use(_CURRENT_APP if is_url else _REQUEST)
        return attributes["request"]

    @request.setter
    def request(self, value: Any) -> None:
        vars(self)["request"] = value


@lru_cache(maxsize=64)
def _with_request(cls: type[Any]) -> type[Any]:
    """Return a class of contexts with a request that is watched."""
    if issubclass(cls, _WithRequest):
        return cls
    return type(cls.__name__, (_WithRequest, cls), {"__module__": cls.__module__})


def inner_context(context: Context, outer: OuterContext, variables: Variables, values: dict[str, Any]) -> Context:
    """Return the context of a fragment. ``values``: the variables that its tag gives it."""
    around: Any = _OuterVariables(outer, variables)
    inner: Context = context.new(around)
    inner.__class__ = _with_request(type(context))
    vars(inner)[_VARIABLES] = variables
    inner.render_context = _TemplateState(context.render_context, variables)
    inner.update(values)
    return inner
