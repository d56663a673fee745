"""A site of one page, for gunicorn: fifteen queries, and their answers as text; once more as a page that is cached."""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.cache import cache_page

import ormcache
from benchmarks.candidates import TIMEOUT

application = get_wsgi_application()


def page(request: HttpRequest) -> HttpResponse:
    from benchmarks import calls

    return HttpResponse("\n".join(str(answer) for answer in calls.page_15()), content_type="text/plain")


def cached(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """As its users would: with ormcache's or Django's decorator; other caches of queries leave pages alone."""
    if settings.BENCHMARK_BY_HAND:
        return cache_page(TIMEOUT)(view)
    if settings.BENCHMARK_CANDIDATE.startswith("ormcache"):
        return ormcache.cache_page()(view)
    return view


urlpatterns = [path("", page), path("cached/", cached(page))]
