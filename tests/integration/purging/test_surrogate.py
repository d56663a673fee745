"""What a page says to CDNs and reverse proxies: its tags, and how long it may be held."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections
from django.http import HttpResponse
from django.utils.cache import patch_cache_control

from ormcache.cache.tracking import Tracker, tracking
from ormcache.pages.surrogate import add_surrogate_headers
from tests.integration.purging.conftest import RECORDING, Cdn
from tests.shop.models import Author


def tracker_of(*aliases: str) -> Tracker:
    with tracking(Tracker()) as tracker:
        for alias in aliases:
            list(Author.objects.using(alias))
    tracker.validate()
    return tracker


def page(tracker: Tracker | None, control: dict[str, Any] | None = None, **arguments: Any) -> HttpResponse:
    response = HttpResponse("page")
    patch_cache_control(response, **(control or {}))
    add_surrogate_headers(response, tracker, **arguments)
    return response


def control(response: HttpResponse) -> set[str]:
    return set(filter(None, response.headers.get("Cache-Control", "").split(", ")))


def test_tags_and_lifetimes(cdn: Cdn) -> None:
    response = page(tracker_of("default"), s_maxage=60, stale_while_revalidate=5)

    assert set(response["CDN-Tag"].split(",")) == cdn.tags(lambda: list(Author.objects.all()))
    assert control(response) == {"s-maxage=60", "stale-while-revalidate=5", "max-age=0", "must-revalidate"}
    assert response["Vary"] == "Cookie"


@pytest.mark.parametrize(
    "backend, header, separator",
    [("varnish", "xkey", " "), ("fastly", "Surrogate-Key", " "), ("cloudflare", "Cache-Tag", ",")],
)
def test_the_header_of_each(configure: Callable[..., None], backend: str, header: str, separator: str) -> None:
    given = {"LOCATION": "http://127.0.0.1:9", "SERVICE": "s", "ZONE": "z", "TOKEN": "t"}
    configure(PURGE=[given | {"BACKEND": backend}])
    response = page(tracker_of("default"))

    assert "ormcache" in response[header].split(separator)
    assert len(response[header].split(separator)) == 3  # everything, the epoch, and the table
    obeyed = {"varnish": None, "fastly": "Surrogate-Control", "cloudflare": "CDN-Cache-Control"}[backend]
    response = page(tracker_of("default"), s_maxage=60, stale_while_revalidate=5)
    if obeyed is not None:
        assert response[obeyed] == "max-age=60, stale-while-revalidate=5"
    for queue in connections["default"].ormcache.known().purge_queues:
        queue.forget()  # there is nobody at that address


def test_lifetimes_by_the_settings(cdn: Cdn, configure: Callable[..., None]) -> None:
    other = RECORDING | {"S_MAXAGE": 50, "STALE_WHILE_REVALIDATE": 7}
    configure(PURGE=[RECORDING | {"S_MAXAGE": 100}, other])
    tracker = tracker_of("default")

    assert control(page(tracker)) == {"s-maxage=50", "stale-while-revalidate=7", "max-age=0", "must-revalidate"}
    assert "s-maxage=9" in control(page(tracker, s_maxage=9))
    assert control(page(tracker, {"s_maxage": 8, "max_age": 4})) == {"s-maxage=8", "max-age=4"}


def test_no_lifetime_is_longer_than_the_timeout(cdn: Cdn, configure: Callable[..., None]) -> None:
    configure(TIMEOUT=1000)
    for seconds, times in ((100, "100"), (2000, "9\\d\\d")):
        header = page(tracker_of("default"), s_maxage=seconds, stale_while_revalidate=2000)["Cache-Control"]
        assert re.search(f"s-maxage={times}, ", header)
        assert sum(int(found) for found in re.findall(r"(?:s-maxage|revalidate)=(\d+)", header)) < 1000


def test_a_page_that_says_nothing_has_tags_all_the_same(cdn: Cdn) -> None:
    """A proxy holds it by rules of its own."""
    response = page(tracker_of("default"))

    assert response["CDN-Tag"]
    assert control(response) == set()


@pytest.mark.parametrize("how", ["rejected", "not tracked"])
def test_what_is_not_sure_may_not_be_held(cdn: Cdn, how: str) -> None:
    tracker = None
    if how == "rejected":
        with tracking(Tracker()) as tracker:
            list(Author.objects.order_by("?"))

    response = page(tracker, s_maxage=60)

    assert control(response) == {"s-maxage=0"}
    assert "CDN-Tag" not in response
    assert control(page(tracker, {"s_maxage": 5})) == {"s-maxage=5"}  # by the view's own choice


@pytest.mark.parametrize("directive", ["private", "no_store", "no_cache"])
def test_what_is_for_nobody_else_stays_so(cdn: Cdn, directive: str) -> None:
    response = page(tracker_of("default"), {directive: True}, s_maxage=60)

    assert control(response) == {directive.replace("_", "-")}
    assert "CDN-Tag" not in response


def test_a_page_of_two_databases_needs_purges_by_both(cdn: Cdn, configure: Callable[..., None]) -> None:
    assert page(tracker_of("default", "second"), s_maxage=60)["CDN-Tag"]

    connections["second"].settings_dict["ORMCACHE"]["PURGE"] = []
    configure(VERSION="2")  # both are read again
    response = page(tracker_of("default", "second"), s_maxage=60)

    assert control(response) == {"s-maxage=0"}
    assert "CDN-Tag" not in response
    assert page(tracker_of("default"), s_maxage=60)["CDN-Tag"]


def test_without_the_setting_nothing_is_changed() -> None:
    for tracker in (tracker_of("default"), None):
        assert dict(page(tracker, s_maxage=60).headers) == dict(HttpResponse("page").headers) | {"Cache-Control": ""}
