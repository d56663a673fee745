"""The decorator for views whose pages are cached."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction

from ormcache import reasons
from ormcache.cache.tracking import current_tracker
from ormcache.pages.page_cache import PageCache, instance_of
from ormcache.pages.page_names import IGNORED
from ormcache.pages.view_names import constant_name, dotted_name, view_name
from ormcache.pages.visitors import ANONYMOUS, Per

V = TypeVar("V", bound=Callable[..., Any])

#: On a view: its decorators decide, and the middleware does not
DECIDED = "ormcache_decided"


def cache_page(
    per: Per = ANONYMOUS,
    timeout: float | None = None,
    grace: float | None = None,
    using: str | None = None,
    ignore: Sequence[str] = IGNORED,
    statuses: Sequence[int] = (200,),
    s_maxage: int | None = None,
    stale_while_revalidate: int | None = None,
) -> Callable[[V], V]:
    """Cache the pages of a view until what they were made of is written: a decorator with arguments.

    ``per``: whom a page is for: ``"anonymous"`` (everybody who is not logged in; for others the view runs), ``"user"``,
    ``"session"`` (whoever has the same data in the session), or a function of the request that returns what else names
    the page, as a str, an int or a tuple of such, or None for a request that is not to be cached. ``timeout``: seconds;
    None: until a write. ``grace``: seconds for which an outdated page may be served while one caller computes it.
    ``using``: the database whose store has the pages; None: the default one. ``ignore``: patterns of query parameters
    that the view does not get to see. ``statuses``: status codes of responses that are stored.
    ``s_maxage``, ``stale_while_revalidate``: seconds for which a CDN or reverse proxy may hold a page until it is
    purged, and for which it may then serve it while it fetches it; None: what the setting ``PURGE`` says.

    For functions, coroutine functions, and by ``method_decorator`` for the ``dispatch`` of class-based views and of
    those of Django REST framework. A page is only stored if it is right for all who will be served it; the statistics
    have the reason if it is not. Raises ValueError and TypeError for arguments that have no meaning.
    """
    if callable(per) and iscoroutinefunction(per):
        raise TypeError("per must be a plain function, not a coroutine function")
    cache = PageCache(per, timeout, grace, using, ignore, statuses, s_maxage, stale_while_revalidate)

    def decorate(view: V) -> V:
        if not callable(view):
            raise TypeError(f"cache_page() decorates views, not {view!r}: it takes its arguments first")
        constant = constant_name(view)

        def arguments(request: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
            match = getattr(request, "resolver_match", None)
            return (
                request,
                label_of(match, view),
                lambda: view_name(view, constant, request, args, kwargs),
                lambda: view(request, *args, **kwargs),
            )

        async def aserve(request: Any, *args: Any, **kwargs: Any) -> Any:
            return await cache.aserve(*arguments(request, args, kwargs))

        def serve(request: Any, *args: Any, **kwargs: Any) -> Any:
            return cache.serve(*arguments(request, args, kwargs))

        # The dispatch() of a class-based view with coroutine functions is none itself, but returns a coroutine.
        is_async = iscoroutinefunction(view) or getattr(instance_of(view), "view_is_async", False)
        serving: Any = aserve if is_async else serve
        decorated = functools.wraps(view)(serving)
        vars(decorated)[DECIDED] = True
        return cast(V, decorated)

    return decorate


def cache_page_exempt(view: V) -> V:
    """Let the middleware leave a view out: a decorator, also for handlers of class-based views.

    No page, fragment or function that calls it is cached either. So it may be below a decorator that hides it from the
    middleware.
    """

    @functools.wraps(view)
    def exempt(*args: Any, **kwargs: Any) -> Any:
        tracker = current_tracker()
        if tracker is not None:
            tracker.reject(reasons.DISABLED)
        return view(*args, **kwargs)

    vars(exempt)[DECIDED] = True
    return cast(V, markcoroutinefunction(exempt) if iscoroutinefunction(view) else exempt)


def label_of(match: Any, view: Any) -> str:
    """Return the name of a view in the statistics: its route, or where there is none, its dotted name."""
    route = getattr(match, "route", None)
    return dotted_name(view) if route is None else f"/{route}"
