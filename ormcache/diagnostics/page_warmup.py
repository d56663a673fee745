"""Requests pages in this process, so that the first visitors find them in the cache.

They are requested through Django's test client, as a visitor without cookies would request them, with all of the
project's middleware. The paths come from the caller or from a sitemap (https://www.sitemaps.org/protocol.html).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum
from urllib.parse import urlsplit
from xml.etree import ElementTree

from django.conf import settings
from django.http import HttpResponse
from django.http.request import split_domain_port
from django.test import Client

from ormcache.diagnostics.aliases import cached_aliases, connection_to
from ormcache.telemetry.listener import HIT
from ormcache.telemetry.recorder import RecordedUse, Recorder

#: Pages that are taken from sitemaps, and sitemaps that one index may name. The protocol allows 50,000 of each
MOST_PAGES, MOST_SITEMAPS = 50_000, 1_000


class PageResult(Enum):
    """What became of one page."""

    STORED = "stored"  # computed and stored
    PRESENT = "present"  # in the cache already
    NOT_STORED = "not stored"
    NOT_CACHED = "not cached"  # nothing of it is cached as a page, a fragment or a function
    FAILED = "failed"  # it was answered with an error, or with a redirection


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A page to request."""

    path: str  # with its query string
    host: str
    secure: bool = False  # by HTTPS


@dataclass(frozen=True, slots=True)
class PageOutcome:
    request: PageRequest
    status: int  # of HTTP
    result: PageResult
    reason: str | None = None  # of ormcache.reasons, or the status in words
    caller: str | None = None  # "path:line" of the project that ran the statement that is the reason


class SitemapError(Exception):
    """A sitemap could not be read. The message says why."""


def default_host() -> str:
    """Return the first host of ALLOWED_HOSTS that is one, not a pattern; ``"localhost"`` if there is none."""
    return next((host for host in settings.ALLOWED_HOSTS if host[:1] not in ("", ".", "*")), "localhost")


def page_request(url: str, host: str, *, secure: bool) -> PageRequest:
    """Make a request of a path, or of a URL with a host. ``host``, ``secure``: for paths.

    Raises ValueError for anything else.
    """
    parts = urlsplit(url)
    path = parts.path or "/"
    if parts.netloc and parts.scheme in ("http", "https"):
        host, secure = parts.netloc, parts.scheme == "https"
    elif parts.netloc or parts.scheme or not path.startswith("/"):
        raise ValueError(f"{url!r} is neither a path that begins with a slash nor a URL")
    if not split_domain_port(host)[0]:
        raise ValueError(f"{host!r} is not the name of a host")
    return PageRequest(f"{path}?{parts.query}" if parts.query else path, host, secure)


def sitemap_requests(sitemap: PageRequest, headers: Mapping[str, str]) -> list[PageRequest]:
    """Return the pages that a sitemap names, or that the sitemaps of an index name. Raises SitemapError."""
    tag, locations = _read_sitemap(sitemap, headers)
    if tag == "sitemapindex":
        found: dict[str, None] = {}
        for location in locations[:MOST_SITEMAPS]:
            inner, pages = _read_sitemap(_request_of(location, sitemap), headers)
            if inner == "urlset":  # an index may not name another one
                found |= dict.fromkeys(pages)
        locations = list(found)
    return [_request_of(location, sitemap) for location in dict.fromkeys(locations[:MOST_PAGES])]


def _request_of(location: str, sitemap: PageRequest) -> PageRequest:
    try:
        return page_request(location, sitemap.host, secure=sitemap.secure)
    except ValueError as error:
        raise SitemapError(f"The sitemap {sitemap.path} names a page that cannot be requested: {error}.") from error


def _read_sitemap(sitemap: PageRequest, headers: Mapping[str, str]) -> tuple[str, list[str]]:
    """Return the name of the outermost element, and the locations. Raises SitemapError."""
    response = _get(sitemap, headers)
    status = response.status_code
    if status != 200:
        raise SitemapError(f"The sitemap {sitemap.path} of {sitemap.host} was answered with the status {status}.")
    try:
        root = ElementTree.fromstring(response.getvalue())  # noqa: S314  # the project's own
    except ElementTree.ParseError as error:
        raise SitemapError(f"The sitemap {sitemap.path} is not XML: {error}.") from error
    tag = root.tag.rpartition("}")[2]
    if tag not in ("urlset", "sitemapindex"):
        raise SitemapError(f"{sitemap.path} is not a sitemap: its outermost element is {tag}.")
    found = [(entry.text or "").strip() for child in root for entry in child if entry.tag.rpartition("}")[2] == "loc"]
    return tag, [location for location in found if location]


def warm_pages(requests: Iterable[PageRequest], headers: Mapping[str, str]) -> Iterator[PageOutcome]:
    """Request these pages one by one, each as a new visitor. They do not count in the statistics.

    ``headers``: of each request, by name.
    """
    for request in requests:
        yield _warm_page(request, headers)


def _warm_page(request: PageRequest, headers: Mapping[str, str]) -> PageOutcome:
    with ExitStack() as stack:
        for alias in cached_aliases():
            stack.enter_context(connection_to(alias).ormcache.observer.uncounted())
        recorder = stack.enter_context(Recorder())
        response = _get(request, headers)
        response.close()  # of what is streamed, which is not cached as a whole, nothing is read: it may never end
    return _outcome(request, response, recorder.uses)


def _get(request: PageRequest, headers: Mapping[str, str]) -> HttpResponse:
    client = Client(raise_request_exception=False, headers=headers)
    server = split_domain_port(request.host)[0]
    return client.get(request.path, secure=request.secure, HTTP_HOST=request.host, SERVER_NAME=server)  # type: ignore[return-value]  # with attributes for tests


def _outcome(request: PageRequest, response: HttpResponse, uses: Sequence[RecordedUse]) -> PageOutcome:
    status = response.status_code
    pages = [use for use in uses if use.kind == "page"]
    # What a page consists of says nothing of the page; where none is cached, it is all there is.
    decisive = pages[-1:] or uses
    rejected = next((use for use in decisive if use.rejected is not None), None)
    if status >= 300 and not (pages and rejected is None):
        return PageOutcome(request, status, PageResult.FAILED, _reason_of(response))
    if rejected is not None:
        return PageOutcome(request, status, PageResult.NOT_STORED, rejected.rejected, rejected.caller)
    if not decisive:
        return PageOutcome(request, status, PageResult.NOT_CACHED)
    is_present = all(use.outcome == HIT for use in decisive)
    return PageOutcome(request, status, PageResult.PRESENT if is_present else PageResult.STORED)


def _reason_of(response: HttpResponse) -> str:
    location = response.headers.get("Location")
    words = f"HTTP {response.status_code} {response.reason_phrase}"
    return f"{words}: {location}" if location else words
