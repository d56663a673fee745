"""Pages of which the toolbar's panel has something to tell."""

from __future__ import annotations

import asyncio

from asgiref.sync import sync_to_async
from debug_toolbar.toolbar import debug_toolbar_urls
from django.http import HttpRequest, HttpResponse
from django.urls import path
from library.models import Shelf, Volume

import ormcache
from ormcache.pages.computing import compute
from ormcache.pages.derivation import Use


def page() -> HttpResponse:
    return HttpResponse("<html><body></body></html>")


def everything(request: HttpRequest) -> HttpResponse:
    """Twice the same, two that are similar, a write and what it invalidates, one past the cache."""
    list(Shelf.objects.order_by("pk"))
    list(Shelf.objects.order_by("pk"))
    for title in ("<script>alert(1)</script>", "b"):
        list(Volume.objects.filter(title=title))
    Shelf.objects.filter(name="nobody's").update(name="somebody's")
    list(Shelf.objects.order_by("pk"))
    with ormcache.disabled():
        Shelf.objects.count()
    return page()


def nothing(request: HttpRequest) -> HttpResponse:
    return page()


def shelves() -> tuple[str, ...]:
    return tuple(Shelf.objects.values_list("name", flat=True))


def shuffled() -> tuple[str, ...]:
    return tuple(Shelf.objects.order_by("?").values_list("name", flat=True))


def cached(request: HttpRequest) -> HttpResponse:
    """A function that hits and is invalidated, and a fragment that cannot be stored."""
    compute(Use("function", "library.<i>shelves</i>", b"shelves"), shelves)
    Shelf.objects.filter(name="nobody's").update(name="somebody's")
    compute(Use("function", "library.<i>shelves</i>", b"shelves"), shelves)
    compute(Use("function", "library.<i>shelves</i>", b"shelves"), shelves)
    compute(Use("fragment", "shuffled", b"shuffled"), shuffled)
    return page()


@ormcache.cache_page()
def cached_page(request: HttpRequest) -> HttpResponse:
    list(Shelf.objects.order_by("pk"))
    return page()


#: Both requests are under way when the first of them asks
_both = asyncio.Barrier(2)


async def slowly(request: HttpRequest, title: str) -> HttpResponse:
    await _both.wait()
    await Volume.objects.filter(title=title).afirst()
    await sync_to_async(lambda: Volume.objects.filter(title=title).count())()
    await _both.wait()
    return page()


urlpatterns = [
    path("everything/", everything),
    path("nothing/", nothing),
    path("cached/", cached),
    path("cached-page/", cached_page),
    path("slowly/<title>/", slowly),
    *debug_toolbar_urls(),
]
