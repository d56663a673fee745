"""Pages that a reverse proxy may hold. Each says how often this process has made one."""

from __future__ import annotations

import itertools
import os
import time

from django.http import HttpRequest, HttpResponse
from django.urls import path
from library.models import Shelf

import ormcache
from ormcache.cache.tracking import Tracker, tracking
from ormcache.pages.surrogate import add_surrogate_headers

_numbers = itertools.count(1)


@ormcache.cache_page()
def shelves(request: HttpRequest) -> HttpResponse:
    body = ",".join(Shelf.objects.order_by("pk").values_list("name", flat=True))
    return HttpResponse(f"{next(_numbers)}: {body}")


def shelf(request: HttpRequest, pk: int) -> HttpResponse:
    with tracking(Tracker()) as tracker:
        body = Shelf.objects.get(pk=pk).name
    return _answer(tracker, body)


def slow(request: HttpRequest) -> HttpResponse:
    """A page that was computed, and is on its way for as long as there is a file of this name."""
    with tracking(Tracker()) as tracker:
        body = ",".join(Shelf.objects.order_by("pk").values_list("name", flat=True))
    answer = _answer(tracker, body)
    hold()
    return answer


def random(request: HttpRequest) -> HttpResponse:
    with tracking(Tracker()) as tracker:
        body = ",".join(Shelf.objects.order_by("?").values_list("name", flat=True))
    return _answer(tracker, body)


def add(request: HttpRequest) -> HttpResponse:
    Shelf.objects.create(name=request.GET["name"])
    return HttpResponse("done")


def rename(request: HttpRequest, pk: int) -> HttpResponse:
    Shelf.objects.filter(pk=pk).update(name=request.GET["name"])
    return HttpResponse("done")


def hold() -> None:
    """Stand still while the file that the environment names is there, and say so by another one."""
    file = os.environ["LIBRARY_HOLD"]
    while os.path.exists(file):
        open(f"{file}.held", "w").close()
        time.sleep(0.005)


def _answer(tracker: Tracker, body: str) -> HttpResponse:
    tracker.validate()
    response = HttpResponse(f"{next(_numbers)}: {body}")
    add_surrogate_headers(response, tracker)
    return response


urlpatterns = [
    path("", shelves),
    path("shelf/<int:pk>/", shelf),
    path("slow/", slow),
    path("random/", random),
    path("add/", add),
    path("rename/<int:pk>/", rename),
]
