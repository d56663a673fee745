"""Middleware: cached pages, and the consistency level ``"request"`` under ASGI with Django before 6.1."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import Http404, HttpRequest
from django.urls import resolve
from django.utils.decorators import sync_and_async_middleware

from ormcache.context.request_scope import as_request
from ormcache.pages.cache_page import DECIDED, label_of
from ormcache.pages.page_cache import PageCache
from ormcache.pages.page_names import IGNORED
from ormcache.pages.visitors import ANONYMOUS, Per


@sync_and_async_middleware
def request_scope(get_response: Callable[..., Any]) -> Callable[..., Any]:
    """Run each request in a scope of its own. Under WSGI, and from Django 6.1 on, requests have one without this."""
    return as_request()(get_response)


class CachePageMiddleware:
    """Caches the pages of all views as :func:`ormcache.cache_page` does for one; the last in ``MIDDLEWARE``.

    A view that has that decorator, or :func:`ormcache.cache_page_exempt`, decides by itself. For other arguments than
    the defaults, name a subclass of your own that sets them.
    """

    sync_capable = True
    async_capable = True

    per: Per = ANONYMOUS
    timeout: float | None = None
    grace: float | None = None
    using: str | None = None
    ignore: Sequence[str] = IGNORED
    statuses: Sequence[int] = (200,)
    s_maxage: int | None = None
    stale_while_revalidate: int | None = None

    def __init__(self, get_response: Callable[..., Any]) -> None:
        """Raises ValueError and TypeError for arguments that have no meaning."""
        self.get_response = get_response
        cls = type(self)
        # By way of the class: a function there is no method.
        per = vars(next(one for one in cls.__mro__ if "per" in vars(one)))["per"]
        per = per.__func__ if isinstance(per, staticmethod) else per
        lifetimes = cls.s_maxage, cls.stale_while_revalidate
        self._cache = PageCache(per, cls.timeout, cls.grace, cls.using, cls.ignore, cls.statuses, *lifetimes)
        self._name = f"{cls.__module__}.{cls.__qualname__}"
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        """Return the response, or a coroutine that returns it."""
        if iscoroutinefunction(self):
            return self._acall(request)
        label = self._label(request)
        if label is None:
            return self.get_response(request)
        return self._cache.serve(request, label, lambda: self._name, lambda: self.get_response(request))

    async def _acall(self, request: HttpRequest) -> Any:
        label = self._label(request)
        if label is None:
            return await self.get_response(request)
        return await self._cache.aserve(request, label, lambda: self._name, lambda: self.get_response(request))

    def _label(self, request: HttpRequest) -> str | None:
        """Return the name of the view in the statistics; None: there is none, or its pages are not cached here."""
        if request.method not in ("GET", "HEAD"):
            return None
        try:
            match = resolve(request.path_info, getattr(request, "urlconf", None))
        except Http404:
            return None
        if hasattr(match.func, DECIDED):
            return None
        vars(request)["resolver_match"] = (
            match  # other middleware may look at it, and a hit never gets to where it is set
        )
        return label_of(match, match.func)
