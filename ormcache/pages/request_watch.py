"""Notes which attributes a block reads of a request that middleware may have set on it, as ``request.site``.

What is in such an attribute was read before the block, of the database, the session or elsewhere, so that nothing else
would show that the page depends on it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from django.contrib.sessions.backends.base import SessionBase
from django.utils.functional import LazyObject, empty

from ormcache.pages.faults import Fault, type_of
from ormcache.pages.replacing import MISSING
from ormcache.pages.variables import ADVICE
from ormcache.pages.view_names import ViewForm
from ormcache.utils.interruptions import let_through

#: In the ``__dict__`` of a request while it is watched: what is called with the name and the value of what is read
_RECORD: Final = "_ormcache_record"
#: Classes of requests that one process remembers
_MOST_CLASSES = 16

#: What Django itself puts on a request: it is named otherwise, found anew in the block, or judged by what becomes of it
_DJANGOS = frozenset(
    {"environ", "scope", "META", "COOKIES", "GET", "POST", "FILES", "_post", "_files", "_body", "_stream"}
    | {"path", "path_info", "script_name", "method", "content_type", "content_params", "encoding", "_encoding"}
    | {"headers", "accepted_types", "accepted_types_by_precedence", "_upload_handlers", "_post_parse_error"}
    | {"_current_scheme_host", "_read_started", "resolver_match", "urlconf", "session", "_messages", "_csp_nonce"}
    | {"user", "auser", "_cached_user", "_acached_user", "csrf_processing_done", "_dont_enforce_csrf_checks"}
    | {"csrf_cookie_needs_reset", "_request", "_ormcache_page", _RECORD}
)
#: What Django REST framework itself puts on its requests, besides what it asks Django's for
_FRAMEWORKS = _DJANGOS | frozenset(
    {
        "_request",
        "parsers",
        "authenticators",
        "negotiator",
        "parser_context",
        "_data",
        "_files",
        "_full_data",
        "_stream",
    }
    | {"_content_type", "_user", "_auth", "_authenticator", "accepted_renderer", "accepted_media_type"}
    | {"version", "versioning_scheme"}
)


class RequestForm(ViewForm):
    """Writes what middleware has set on a request as exact texts, and evaluates nothing for that."""

    def of(self, name: str, value: Any) -> str | None:
        """Return the exact text of the attribute of this name; None: it is ``MISSING``. Raises Fault."""
        if value is MISSING:
            return None
        try:
            return self.text(value)
        except Fault as fault:
            raise fault.within(f"request.{name}") from None
        except Exception as error:  # code of a project that was asked for attributes
            let_through(error)
            raise Fault(f"of type {type_of(value)}", ADVICE).within(f"request.{name}") from error

    def text(self, value: Any) -> str:
        """Return the exact text of a value. Raises Fault for one without an exact form."""
        cls = type(value)
        if issubclass(cls, LazyObject):
            attributes = vars(value)
            if attributes.get("_wrapped", empty) is not empty:
                return self.text(attributes["_wrapped"])
            # It is evaluated in the block, by this function.
            return f"lazy({self.text(attributes.get('_setupfunc', cls))})"
        if issubclass(cls, SessionBase) and any(value is vars(one).get("session") for one in self.requests):
            return "session"  # of which the block is seen to read
        return super().text(value)


class WatchedRequest:
    """The first base of the class that a request has while it is watched."""

    def __getattribute__(self, name: str) -> Any:
        """Return an attribute, and report that it was read if others may have set it."""
        cls: Any = type(self)
        if name not in cls.ormcache_known and name[:2] != "__":
            attributes = object.__getattribute__(self, "__dict__")
            record = attributes.get(_RECORD)
            if record is not None:
                record(name, attributes.get(name, MISSING))
        return super().__getattribute__(name)


@contextmanager
def watched(request: Any, record: Callable[[str, Any], None], inner: Any = None) -> Iterator[None]:
    """Call ``record`` with each attribute that the block reads and has not set, and its value from before the block.

    ``MISSING``: there was none. ``inner``: Django's request, if this is one of Django REST framework around it.
    """
    cls: Any = type(request)
    attributes = vars(request)
    own = _DJANGOS if inner is None else _FRAMEWORKS | _names_of(inner.__class__)
    before = dict(attributes)

    def report(name: str, value: Any) -> None:
        was = before.get(name, MISSING)
        if value is was:  # else the block itself has set it
            record(name, was)

    # What is set on a request in the place of a method of its class is reported as well.
    hidden = frozenset(before.keys() - own)
    attributes[_RECORD] = report
    request.__class__ = _watched_class(cls, own, hidden & _names_of(cls))
    try:
        yield
    finally:
        request.__class__ = cls
        attributes.pop(_RECORD, None)


@functools.lru_cache(maxsize=_MOST_CLASSES)
def _names_of(cls: Hashable) -> frozenset[str]:
    return frozenset(dir(cls))


@functools.lru_cache(maxsize=_MOST_CLASSES)
def _watched_class(cls: Any, own: frozenset[str], hidden: frozenset[str]) -> Any:
    if issubclass(cls, WatchedRequest):
        return cls
    names = {
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "ormcache_known": (own | _names_of(cls) | {"ormcache_known"}) - hidden,
    }
    return type(cls)(cls.__name__, (WatchedRequest, cls), names)
