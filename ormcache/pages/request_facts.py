"""What a view reads of the request: two requests in which any of it differs share no page.

A *fact* is a header, another key of ``request.META``, a cookie, or an attribute that middleware may have set on the
request. What a view reads is recorded while it runs, and what its response names in ``Vary`` counts as read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from django.http import HttpRequest
from django.http.request import HttpHeaders

from ormcache.cache.value_types import PLAIN
from ormcache.pages.faults import Fault, type_of
from ormcache.pages.replacing import MISSING, replaced
from ormcache.pages.request_watch import RequestForm, watched

#: What a fact begins with that is a cookie, before its name
COOKIE_PREFIX: Final = "cookie "
#: What a fact begins with that is an attribute of Django's request, and of that of Django REST framework around it
ATTRIBUTE_PREFIX: Final = "attribute "
OUTER_PREFIX: Final = "outer attribute "

#: Keys of META that are in the names of pages anyway, or are the same in all requests for which there are pages
_NAMED = frozenset(
    {
        *("REQUEST_METHOD", "PATH_INFO", "SCRIPT_NAME", "QUERY_STRING", "HTTP_HOST", "SERVER_PORT"),
        *("CONTENT_LENGTH", "HTTP_AUTHORIZATION", "CSRF_COOKIE_NEEDS_UPDATE", "wsgi.url_scheme"),
    }
)
#: Attributes that decide nothing which is not in the address and the headers of a request
_OF_ADDRESS = frozenset({f"{ATTRIBUTE_PREFIX}LANGUAGE_CODE", f"{ATTRIBUTE_PREFIX}current_app"})
#: How attributes begin in which libraries remember something for one request: no middleware sets them for others
_REMEMBERED = (f"{ATTRIBUTE_PREFIX}_", f"{OUTER_PREFIX}_")


#: Exact forms of attributes by the names of their facts; None: the request has none of that name
Attributes = Mapping[str, str | None]


def facts_of(
    meta: dict[str, Any], cookies: dict[str, str], attribute: Callable[[str], str | None], names: Iterable[str]
) -> tuple[Any, ...]:
    """Return the exact forms of the facts of these names; None: the request has none of that name. Raises Fault.

    ``attribute``: returns that of an attribute, by the name of the fact.
    """
    length = len(COOKIE_PREFIX)
    found: list[Any] = []
    for name in names:
        if name.startswith(COOKIE_PREFIX):
            found.append(cookies.get(name[length:]))
        elif is_attribute(name):
            found.append(attribute(name))
        else:
            value = meta.get(name)
            found.append(value if value is None or type(value) is str else _form_of_key(name, value))
    return tuple(found)


def _form_of_key(name: str, value: Any) -> tuple[str]:
    """Return the exact form of what a server or middleware of WSGI has put into the environment. Raises Fault."""
    if type(value) not in PLAIN:
        raise Fault(f"of type {type_of(value)}", "let the view read a header instead").within(f"META[{name!r}]")
    return (repr(value),)  # no text that a header could have


def is_attribute(name: str) -> bool:
    """Return whether a fact is an attribute."""
    return name.startswith((ATTRIBUTE_PREFIX, OUTER_PREFIX))


def attribute_of(request: HttpRequest, given: Any, name: str) -> str | None:
    """Return the exact form of the attribute that a fact is; None: there is none. Raises Fault."""
    prefix = OUTER_PREFIX if name.startswith(OUTER_PREFIX) else ATTRIBUTE_PREFIX
    attributes = vars(given if prefix == OUTER_PREFIX else request)
    attribute = name.removeprefix(prefix)
    return RequestForm(given).of(attribute, attributes.get(attribute, MISSING))


def headers_of(names: Iterable[str], attributes: Attributes) -> list[str] | None:
    """Return the headers that ``Vary`` has to name for these facts; None: there is one that is in no header.

    ``attributes``: those of the request before its view.
    """
    found = set()
    for name in names:
        if name.startswith(COOKIE_PREFIX):
            found.add("Cookie")
        elif name.startswith("HTTP_"):
            found.add(name.removeprefix("HTTP_").replace("_", "-").title())
        elif name not in _OF_ADDRESS and (attributes.get(name) is not None or not name.startswith(_REMEMBERED)):
            return None
    return sorted(found)


class RequestReads:
    """The facts that a block of code has read of one request."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        #: META and COOKIES as they were before the block
        self.before: tuple[dict[str, Any], dict[str, str]] = ({}, {})
        #: exact forms of the attributes that it has read, as they were before it
        self.attributes: dict[str, str | None] = {}
        #: why one of them has no exact form; None: all have one
        self.fault: Fault | None = None
        #: whether it has read all headers or all cookies, whatever they were
        self.has_read_all = False

    def record(self, name: str) -> None:
        """Record that the fact of this name was read."""
        if name not in _NAMED:
            self.names.add(name)

    def record_all(self) -> None:
        """Record that all facts were read."""
        self.has_read_all = True

    def record_attribute(self, form: RequestForm, name: str, attribute: str, value: Any) -> None:
        """Record that an attribute was read, which had this value before the block; ``MISSING``: there was none.

        ``name``: of the fact.
        """
        if name in self.names:
            return
        self.names.add(name)
        try:
            self.attributes[name] = form.of(attribute, value)
        except Fault as fault:
            self.fault = self.fault or fault

    @contextmanager
    def recording(self, request: HttpRequest, given: Any, query: str | None = None) -> Iterator[None]:
        """Record what the block reads of the request.

        ``given``: the request as the view is given it. ``query``: the query string that it sees instead.
        """
        meta, cookies = request.META, request.COOKIES
        self.before = dict(meta), dict(cookies)
        recorded = _RecordedDict(meta, self)
        values: dict[str, Any] = {
            "META": recorded,
            "COOKIES": _RecordedDict(cookies, self, COOKIE_PREFIX),
            "headers": _RecordedHeaders(meta, self),
            # What was derived of headers before is derived anew.
            "accepted_types": MISSING,
            "accepted_types_by_precedence": MISSING,
        }
        if vars(request).get("environ") is meta:
            values["environ"] = recorded
        query_before = meta.get("QUERY_STRING")
        if query is not None:
            dict.__setitem__(recorded, "QUERY_STRING", query)
            values["GET"] = MISSING
        try:
            with replaced(request, values), self._watching(request, given):
                yield
        finally:
            recorded.copy_changes_to(meta)
            if query is not None:
                meta["QUERY_STRING"] = query_before

    @contextmanager
    def _watching(self, request: HttpRequest, given: Any) -> Iterator[None]:
        """Record which attributes are read that others have set on the request."""

        def recorder(prefix: str) -> Callable[[str, Any], None]:
            def record(attribute: str, value: Any) -> None:
                self.record_attribute(RequestForm(given), prefix + attribute, attribute, value)

            return record

        with watched(request, recorder(ATTRIBUTE_PREFIX)):
            if given is request:
                yield
            else:
                with watched(given, recorder(OUTER_PREFIX), request):
                    yield


class _RecordedDict(dict[str, Any]):  # noqa: PLW1641  # a dict has no hash
    """A copy of ``request.META`` or of ``request.COOKIES`` that records which of its keys are read."""

    __slots__ = ("_prefix", "_reads")

    def __init__(self, values: dict[str, Any], reads: RequestReads, prefix: str = "") -> None:
        super().__init__(values)
        self._reads = reads
        self._prefix = prefix

    def copy_changes_to(self, values: dict[str, Any]) -> None:
        """Change another dict to what this one has become."""
        for key in values.keys() - dict.keys(self):
            del values[key]
        values.update(dict.items(self))

    def _record(self, key: Any) -> None:
        if isinstance(key, str):
            self._reads.record(self._prefix + key)

    def __getitem__(self, key: str) -> Any:
        self._record(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self._record(key)
        return super().__contains__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self._record(key)
        return super().get(key, default)

    def pop(self, key: str, *default: Any) -> Any:
        self._record(key)
        return super().pop(key, *default)

    def setdefault(self, key: str, default: Any = None) -> Any:
        self._record(key)
        return super().setdefault(key, default)

    # dict() and ** ask for these two where __iter__ is overridden.
    def __iter__(self) -> Iterator[str]:
        self._reads.record_all()
        return super().__iter__()

    def keys(self) -> Any:
        self._reads.record_all()
        return super().keys()

    def values(self) -> Any:
        self._reads.record_all()
        return super().values()

    def items(self) -> Any:
        self._reads.record_all()
        return super().items()

    def copy(self) -> dict[str, Any]:
        self._reads.record_all()
        return super().copy()

    def __or__(self, other: Any) -> Any:
        self._reads.record_all()
        return super().__or__(other)

    def __ror__(self, other: Any) -> Any:
        self._reads.record_all()
        return super().__ror__(other)

    def __eq__(self, other: object) -> bool:
        self._reads.record_all()
        return super().__eq__(other)

    def __ne__(self, other: object) -> bool:
        self._reads.record_all()
        return super().__ne__(other)

    def __len__(self) -> int:  # whether it is empty as well
        self._reads.record_all()
        return super().__len__()

    def __reversed__(self) -> Iterator[str]:
        self._reads.record_all()
        return super().__reversed__()

    def popitem(self) -> tuple[str, Any]:
        self._reads.record_all()
        return super().popitem()

    def __repr__(self) -> str:
        self._reads.record_all()
        return super().__repr__()


class _RecordedHeaders(HttpHeaders):
    """The headers of a request; records which of them are read."""

    def __init__(self, environ: dict[str, Any], reads: RequestReads) -> None:
        super().__init__(environ)
        self._reads = reads

    def __getitem__(self, key: str) -> str:
        self._reads.record(self.to_wsgi_name(key))
        return super().__getitem__(key)

    def __iter__(self) -> Iterator[str]:
        self._reads.record_all()
        return super().__iter__()

    def __repr__(self) -> str:
        self._reads.record_all()
        return super().__repr__()

    def __len__(self) -> int:
        self._reads.record_all()
        return super().__len__()

    def __reduce_ex__(self, protocol: Any) -> Any:
        self._reads.record_all()  # by copies and pickles
        return HttpHeaders, ({self.to_wsgi_name(name): value for name, value in self.items()},)
