"""Serves pages of the cache, or has them computed by the view and stores them, if they are right for other requests.

What a page is named by besides its address is learned: the headers that responses name in ``Vary``, and the headers,
cookies and attributes that the view was seen to read of the request. A page is looked up by the list of its time, and
stored by one that has all that it depends on itself, so that a list which is lost, or grows in another process, costs a
miss and no more.
"""

from __future__ import annotations

import io
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final

from asgiref.sync import sync_to_async
from django.core.handlers.wsgi import LimitedStream
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers
from django.utils.translation import get_language

from ormcache import reasons
from ormcache.cache.keys import digest
from ormcache.cache.tracking import Tracker, current_tracker, tracking
from ormcache.pages import responses
from ormcache.pages.computing import acompute, compute, serve_stored
from ormcache.pages.derivation import Derivation, NotStorable, Use
from ormcache.pages.faults import Fault
from ormcache.pages.page_names import IGNORED, compile_patterns, is_named_by_address, request_name, strip_query
from ormcache.pages.replacing import replaced
from ormcache.pages.request_facts import RequestReads, attribute_of, facts_of, headers_of
from ormcache.pages.surrogate import add_surrogate_headers, are_pages_held
from ormcache.pages.view_names import NamedByParts, function_name, name_of_negotiated
from ormcache.pages.visitors import ANONYMOUS, SESSION, USER, PassedBy, Per, Visitor
from ormcache.utils.bounded import Bounded

#: Headers and cookies by which the pages of one view are named at most: what reads more is not stored
MOST_FACTS: Final = 32
#: Views whose headers and cookies one process remembers
MOST_VIEWS: Final = 1024

#: On the request while its view runs for the cache: whom the page is for
_MARK: Final = "_ormcache_page"
#: What Django notes in META when it makes a CSRF token
_CSRF: Final = "CSRF_COOKIE_NEEDS_UPDATE"


class PageCache(NamedByParts):
    """The pages of one decorator, or of one middleware. Threads and tasks share it."""

    def __init__(
        self,
        per: Per = ANONYMOUS,
        timeout: float | None = None,
        grace: float | None = None,
        using: str | None = None,
        ignore: Sequence[str] = IGNORED,
        statuses: Sequence[int] = (200,),
        s_maxage: int | None = None,
        stale_while_revalidate: int | None = None,
    ) -> None:
        """Raises TypeError and ValueError for arguments that have no meaning."""
        if not (callable(per) or per in (ANONYMOUS, USER, SESSION)):
            raise ValueError(f'per must be "anonymous", "user", "session" or a function of the request, not {per!r}')
        if isinstance(ignore, str):
            raise TypeError(f"ignore must be a list of names of parameters, not {ignore!r}")
        if not all(type(status) is int and 200 <= status < 600 and status != 304 for status in statuses):
            raise ValueError(f"statuses must be status codes of whole pages, not {statuses!r}")
        for seconds in (s_maxage, stale_while_revalidate):
            if seconds is not None and (type(seconds) is not int or seconds < 0):
                raise ValueError(f"Cache-Control has whole numbers of seconds, not {seconds!r}")
        lifetimes = timeout, grace, s_maxage, stale_while_revalidate
        super().__init__(per, using, *lifetimes, tuple(ignore), frozenset(statuses))
        self.per = per
        #: a deploy that changes the function names other visitors alike, whom no page of before is for
        self.per_name = function_name(per) if callable(per) else ""
        self.s_maxage = s_maxage
        self.stale_while_revalidate = stale_while_revalidate
        self.timeout = timeout
        self.grace = grace
        self.using = using
        self.ignored = compile_patterns(ignore)
        self.statuses = frozenset(statuses)
        #: of each view, the headers and cookies by which its pages are named
        self._facts: Bounded[str, tuple[str, ...]] = Bounded(MOST_VIEWS)

    def serve(self, request: Any, label: str, name: Callable[[], str], view: Callable[[], Any]) -> Any:
        """Return the stored page, or what ``view`` returns, which is stored if that is possible.

        ``request``: as the view is given it, Django's or Django REST framework's. ``label``: of the statistics.
        ``name``: returns what decides the page besides the request, or raises PassedBy. Raises what ``view`` raises.
        """
        page = self._page(request, label, name)
        if page is None:
            return view()
        try:
            page.begin()
        except PassedBy as error:
            began = time.perf_counter()
            response = view()
            page.report_passed_by(error, time.perf_counter() - began)
            return page.share(response)
        if page.request.method == "HEAD":
            with page.tracked():
                is_there, response = serve_stored(page.use, page.load)
            return page.share(response if is_there else view())
        with page.tracked():
            response = compute(page.use, lambda: page.render(view), page.dump, page.load)
        return page.share(page.end(response))

    async def aserve(
        self, request: Any, label: str, name: Callable[[], str], view: Callable[[], Awaitable[Any]]
    ) -> Any:
        """Do the same for a view that is a coroutine function."""
        page = self._page(request, label, name)
        if page is None:
            return await view()
        try:
            if page.needs_loading:
                await sync_to_async(page.begin)()
            else:
                page.begin()
        except PassedBy as error:
            began = time.perf_counter()
            response = await view()
            page.report_passed_by(error, time.perf_counter() - began)
            return page.share(response)
        if page.request.method == "HEAD":
            with page.tracked():
                is_there, response = await sync_to_async(serve_stored)(page.use, page.load)
            return page.share(response if is_there else await view())
        with page.tracked():
            response = await acompute(page.use, lambda: page.arender(view), page.dump, page.load)
        return page.share(page.end(response))

    def _page(self, request: Any, label: str, name: Callable[[], str]) -> _Page | None:
        """Return the page that is asked for; None: it is answered as without the cache."""
        given, request = request, getattr(request, "_request", request)  # as Django REST framework wraps it
        if request.method not in ("GET", "HEAD"):
            return None
        if _MARK in vars(request):
            self._restrict(vars(request)[_MARK])
            return None
        return _Page(self, request, given, label, name)

    def _restrict(self, per: Per) -> None:
        """Restrict the page around this one, which is for ``per``, to what this one may be stored for."""
        tracker = current_tracker()
        if tracker is None:
            return
        if self.timeout is not None:
            tracker.record_expiry(time.time() + self.timeout)
        if callable(self.per) and per != self.per:  # the others are judged by what the view reads, here as there
            tracker.reject(reasons.UNNAMED)

    # Headers and cookies ------------------------------------------------------------------

    def knows(self, label: str) -> bool:
        """Return whether this process has a list of headers and cookies for a view."""
        return label in self._facts

    def facts(self, label: str) -> tuple[str, ...]:
        """Return the headers and cookies by which the pages of a view are named; from the store, at the first time."""
        known = self._facts.get(label)
        if known is None:
            known = self._stored_facts(self._derivation_of_facts(label))
            self._facts.put(label, known)
        return known

    def learn(self, label: str, names: set[str]) -> tuple[str, ...]:
        """Name the pages of a view by these headers and cookies as well, in all processes. Return the whole list."""
        derivation = self._derivation_of_facts(label)
        known = tuple(sorted({*names, *self._facts.get(label, ()), *self._stored_facts(derivation)}))
        self._facts.put(label, known)
        with derivation.computing():
            pass  # it depends on nothing
        derivation.store(known)
        return known

    def _derivation_of_facts(self, label: str) -> Derivation:
        return Derivation(Use("page", label, digest(b"facts"), using=self.using))

    def _stored_facts(self, derivation: Derivation) -> tuple[str, ...]:
        found = derivation.look_up()
        names = () if found is None else found.payload
        is_right = type(names) is tuple and len(names) <= MOST_FACTS and all(type(name) is str for name in names)
        return names if is_right else ()


class _Page:
    """The page that one request asks for."""

    use: Use

    def __init__(self, cache: PageCache, request: HttpRequest, given: Any, label: str, name: Callable[[], str]) -> None:
        """``given``: the request as the view is given it. ``name``: see :meth:`PageCache.serve`."""
        self.request = request
        self._cache = cache
        self._given = given
        self._label = label
        self._name = name
        self._visitor = Visitor(request, given, cache.per)
        self._facts: tuple[str, ...] = ()
        self._query: str | None = None  # that the view sees; None: the request's
        self._language: str | None = None  # when the view was called
        self._has_token = False  # whether the view has made a CSRF token
        self._parts: tuple[str, ...] = ()  # of the key
        # META, COOKIES and the exact forms of attributes before the view was called
        self._before: tuple[dict[str, Any], dict[str, str]] = ({}, {})
        self._attributes: dict[str, str | None] = {}
        self._is_rendered = self._is_dumped = False
        self._is_valid = False  # whether what was computed was right at one moment
        self._tracker: Tracker | None = None  # of what is served; None: nobody else holds pages

    @property
    def needs_loading(self) -> bool:
        """Whether :meth:`begin` may read from a database or a store, which an event loop must not."""
        return self._visitor.needs_loading or not self._cache.knows(self._label)

    def begin(self) -> None:
        """Name the page. Raises PassedBy, and what a function raises that names the visitor."""
        request, cache = self.request, self._cache
        meta = request.META
        if "HTTP_AUTHORIZATION" in meta:
            raise PassedBy(reasons.AUTHORIZATION)
        if meta.get("CONTENT_LENGTH") not in (None, "", "0") or "HTTP_TRANSFER_ENCODING" in meta:
            raise PassedBy(reasons.REQUEST_BODY)
        if "scope" in vars(request) and _has_body(request):
            raise PassedBy(reasons.REQUEST_BODY)
        query = meta.get("QUERY_STRING", "")
        stripped = strip_query(query, cache.ignored)
        if stripped != query:
            self._query = stripped
        self._parts = (self._name(), request_name(request, stripped), cache.per_name, self._visitor.name())
        if self._given is not request:
            self._parts += (name_of_negotiated(self._given),)
        self._facts = cache.facts(self._label)
        try:
            key = self._key(meta, request.COOKIES) if self._facts else self._key({}, {})
        except Fault as fault:
            raise PassedBy(reasons.UNNAMED, fault.described()) from None
        self.use = Use("page", self._label, key, cache.timeout, cache.grace, cache.using, self._key_after)

    def _key(self, meta: dict[str, Any], cookies: dict[str, str]) -> bytes:
        facts = self._facts
        parts = [*self._parts, repr((facts, facts_of(meta, cookies, self._attribute, facts)) if facts else "")]
        return digest(*[part.encode("utf-8", "surrogatepass") for part in parts])

    def _attribute(self, name: str) -> str | None:
        """Return the exact form of an attribute as it was when it was first asked for. Raises Fault."""
        if name not in self._attributes:
            self._attributes[name] = attribute_of(self.request, self._given, name)
        return self._attributes[name]

    def _key_after(self) -> bytes:
        """Return the key by all that the view has read. Called for a page that may be stored."""
        self._is_valid = True
        try:
            return self._key(*self._before)
        except Fault as fault:
            raise NotStorable(reasons.UNNAMED, fault.described()) from None

    def report_passed_by(self, error: PassedBy, seconds: float) -> None:
        """Report that the request was answered without the cache."""
        use = Use("page", self._label, b"", using=self._cache.using)
        Derivation(use).report_uncached(error.reason, seconds, error.subject)

    # The block that is tracked ----------------------------------------------------------------

    def render(self, view: Callable[[], Any]) -> Any:
        """Return the whole response of the view, and reject it if it is not one for other requests."""
        reads = RequestReads()
        with self._inside(reads):
            response = view()
            if responses.prepare(response, self._given):
                response = response.render()
        self._judge(response, reads)
        return response

    async def arender(self, view: Callable[[], Awaitable[Any]]) -> Any:
        """Do the same for a view that is a coroutine function."""
        reads = RequestReads()
        with self._inside(reads):
            response = await view()
            if responses.prepare(response, self._given):
                response = await sync_to_async(response.render)()
        await sync_to_async(self._judge)(response, reads)
        return response

    @contextmanager
    def _inside(self, reads: RequestReads) -> Iterator[None]:
        self._is_rendered = True
        meta = self.request.META
        had_token = meta.pop(_CSRF, None)
        self._language = get_language()
        try:
            request = self.request
            with (
                self._visitor.inside(),
                reads.recording(request, self._given, self._query),
                replaced(request, {_MARK: self._cache.per}),
            ):
                yield
        finally:
            self._has_token = _CSRF in meta
            if had_token is not None:
                meta.setdefault(_CSRF, had_token)

    def _judge(self, response: Any, reads: RequestReads) -> None:
        """Reject what the block has computed if it is not right for all other requests of this name."""
        reason = responses.rejection(response, self._cache.statuses)
        if reason is None:
            if self._has_token:
                reason = reasons.CSRF
            elif getattr(self.request, "_csp_nonce", None):
                reason = reasons.NONCE
            else:
                reason = self._visitor.rejection(response.content) or self._reject_facts(response, reads)
        tracker, fault = current_tracker(), reads.fault
        if tracker is None:
            return
        if reason is not None:
            tracker.reject(reason)
        elif fault is not None:
            tracker.reject(reasons.UNNAMED, subject=fault.described())

    def _reject_facts(self, response: HttpResponse, reads: RequestReads) -> str | None:
        """Name the page by all that it depends on of the request, or return why it cannot be named."""
        self._before = reads.before
        self._attributes = {**reads.attributes, **self._attributes}
        needed = reads.names | responses.varied_headers(response)
        if reads.has_read_all or len(needed.union(self._facts)) > MOST_FACTS:
            return reasons.VARY
        if needed <= set(self._facts):
            return None
        self._facts = self._cache.learn(self._label, needed)
        return None

    # CDNs and reverse proxies -----------------------------------------------------------------

    def tracked(self) -> AbstractContextManager[object]:
        """Find out what the page depends on that the block looks up or has computed, if somebody else may hold it."""
        if not are_pages_held():
            return nullcontext()
        self._tracker = Tracker()
        return tracking(self._tracker)

    def share(self, response: Any) -> Any:
        """Return the response with the headers by which others may hold it, or may not."""
        if not are_pages_held() or not isinstance(response, HttpResponseBase):
            return response
        cache, tracker, headers = self._cache, self._tracker, headers_of(self._facts, self._attributes)
        if (
            cache.per != ANONYMOUS
            or (self._is_rendered and not self._is_valid)
            or headers is None
            or not is_named_by_address(self.request)
            or self._visitor.is_named_by_attributes
        ):
            tracker = None
        elif headers:
            patch_vary_headers(response, headers)
        add_surrogate_headers(
            response, tracker, s_maxage=cache.s_maxage, stale_while_revalidate=cache.stale_while_revalidate
        )
        return response

    # What is stored ----------------------------------------------------------------------------

    def dump(self, response: HttpResponse) -> Any:
        """Return what is to be stored of a response."""
        language = get_language()
        if language != self._language and language is not None:
            response.setdefault("Content-Language", language)  # as LocaleMiddleware would
        self._is_dumped = True
        visitor = self._visitor
        return responses.dump(response, is_private=visitor.is_private, varies_on_cookie=visitor.is_varied)

    def load(self, payload: Any) -> HttpResponse:
        """Return the response of what is stored. Raises Unreadable."""
        return responses.load(self.request, payload)

    def end(self, response: Any) -> Any:
        """Return the response to the request: the one that was computed or loaded, or a 304 in place of the former."""
        return responses.without_body(self.request, response) if self._is_dumped else response


def instance_of(view: Any) -> Any:
    """Return the class-based view whose method this is, as ``method_decorator()`` makes one; None: it is a function."""
    return getattr(getattr(view, "func", None), "__self__", None)


def _has_body(request: HttpRequest) -> bool:
    """Return whether there is a body of a length that no header says, as there may be under ASGI alone."""
    attributes = vars(request)
    if "_body" in attributes:
        return bool(attributes["_body"])
    stream: Any = attributes.get("_stream")
    if attributes.get("_read_started") or stream is None or stream.closed:
        return True  # nobody knows how much of it there was
    if isinstance(stream, LimitedStream):
        return False  # which ends where the header says
    if not stream.seekable():
        return True
    at = stream.tell()
    end = stream.seek(0, io.SEEK_END)
    stream.seek(at)
    return bool(end != at)
