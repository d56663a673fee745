"""Pages of which the toolbar's panel has something to tell."""

from __future__ import annotations

import asyncio

from asgiref.sync import sync_to_async
from debug_toolbar.toolbar import debug_toolbar_urls
from django.http import HttpRequest, HttpResponse
from django.urls import path
from library.models import Shelf, Volume

import ormcache


def page() -> HttpResponse:
    return HttpResponse("<html><body></body></html>")


def everything(request: HttpRequest) -> HttpResponse:
    """Twice the same, two that are similar, a write and what it retires, one past the cache."""
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
    path("slowly/<title>/", slowly),
    *debug_toolbar_urls(),
]
