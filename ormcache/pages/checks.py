"""Registers the system checks of cached pages: what is set wrong in ``MIDDLEWARE``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core import checks
from django.utils.module_loading import import_string

#: The middleware that caches pages, which other classes may inherit from
_OURS = "ormcache.middleware.CachePageMiddleware"

#: Middleware that finds out who the visitor is, or what is to be shown to this visitor, before it calls the view
_BEFORE = {
    "django.contrib.sessions.middleware.SessionMiddleware": "the session",
    "django.contrib.auth.middleware.AuthenticationMiddleware": "the user",
    "django.contrib.auth.middleware.LoginRequiredMiddleware": "that a login is required",
    "django.contrib.messages.middleware.MessageMiddleware": "the messages",
    "django.middleware.csrf.CsrfViewMiddleware": "the CSRF token",
}

#: Django's middleware that stores pages for a time
_DJANGOS = (
    "django.middleware.cache.UpdateCacheMiddleware",
    "django.middleware.cache.FetchFromCacheMiddleware",
    "django.middleware.cache.CacheMiddleware",
)


@checks.register(checks.Tags.caches)
def check_middleware(**kwargs: Any) -> list[checks.CheckMessage]:
    """Check the place of the middleware that caches pages."""
    names = [_names_of(path) for path in settings.MIDDLEWARE]
    places = [place for place, ones in enumerate(names) if _OURS in ones]
    if not places:
        return []
    return [*_too_early(names, places[0]), *_beside_djangos(names), *_twice(places)]


def _names_of(path: str) -> set[str]:
    """Return the dotted names of a middleware and of all that it inherits from."""
    try:
        found = import_string(path)
    except ImportError:
        return {path}  # Django itself reports it
    return {path, *(f"{cls.__module__}.{cls.__qualname__}" for cls in getattr(found, "__mro__", ()))}


def _too_early(names: Sequence[set[str]], place: int) -> list[checks.CheckMessage]:
    late = [what for name, what in _BEFORE.items() if any(name in ones for ones in names[place + 1 :])]
    if not late:
        return []
    return [
        checks.Error(
            "CachePageMiddleware comes before middleware that finds " + ", ".join(late) + " of a request: it does not "
            "know for whom a page is.",
            hint="Move it to the end of MIDDLEWARE.",
            id="ormcache.E021",
        )
    ]


def _beside_djangos(names: Sequence[set[str]]) -> list[checks.CheckMessage]:
    if not any(name in ones for name in _DJANGOS for ones in names):
        return []
    return [
        checks.Warning(
            "Django's cache middleware is in MIDDLEWARE beside ormcache's: what the one does not store the other does, "
            "for as long as CACHE_MIDDLEWARE_SECONDS says, whatever is written.",
            hint="Remove UpdateCacheMiddleware and FetchFromCacheMiddleware.",
            id="ormcache.W015",
        )
    ]


def _twice(places: Sequence[int]) -> list[checks.CheckMessage]:
    if len(places) == 1:
        return []
    return [
        checks.Warning(
            "CachePageMiddleware is in MIDDLEWARE more than once: the first decides, and the others do nothing.",
            hint="Leave one of them.",
            id="ormcache.W016",
        )
    ]
