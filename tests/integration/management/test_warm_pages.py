"""``manage.py ormcache warm --pages`` and ``--sitemap``: pages are requested, and what becomes of them is reported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.sitemaps import Sitemap
from django.contrib.sitemaps.views import index, sitemap
from django.core.management import call_command
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.test import override_settings
from django.urls import path

import ormcache
from ormcache import reasons
from ormcache.cache.keys import digest
from ormcache.pages.computing import compute
from ormcache.pages.derivation import Use
from ormcache.telemetry import counters_of
from tests.integration.calls import count_anew
from tests.integration.management.test_commands import Terminal, error_of, run, run_json
from tests.shop.models import Author

HERE = "tests/integration/management/test_warm_pages.py:"

#: What the views were asked with: path, host, scheme, Accept-Encoding
asked: list[tuple[str, str, str, str | None]] = []


def view(kind: str, function: Callable[[], Any]) -> Callable[..., HttpResponse]:
    """A view of something derived, named by its URL."""

    def answer(request: HttpRequest, **named: str) -> HttpResponse:
        asked.append(
            (request.get_full_path(), request.get_host(), request.scheme, request.headers.get("Accept-Encoding"))
        )
        assert request.user.is_anonymous
        assert not request.COOKIES
        request.session["seen"] = True  # whose cookie the next request must not have
        url = request.build_absolute_uri()
        return HttpResponse(repr(compute(Use(kind, request.path, digest(url.encode())), function)))

    return answer


def names() -> tuple[str, ...]:
    return tuple(Author.objects.values_list("name", flat=True))


def shuffled() -> tuple[str, ...]:
    return tuple(Author.objects.order_by("?").values_list("name", flat=True))


def mixed(request: HttpRequest) -> HttpResponse:
    """A page that is stored, with a fragment that is not, and a fragment that is stored and is no page."""
    compute(Use("fragment", "shuffled", b"shuffled"), shuffled)
    return view("page", names)(request)


def broken(request: HttpRequest) -> HttpResponse:
    raise ZeroDivisionError


def endless(request: HttpRequest) -> StreamingHttpResponse:
    def lines() -> Any:
        while True:
            yield b"again\n"

    return StreamingHttpResponse(lines())


@ormcache.cache_page()
def page(request: HttpRequest, kind: str) -> HttpResponse:
    """A page by the decorator for it."""
    if kind == "session":
        request.session["seen"] = True
    if kind == "language":
        kind = request.headers.get("Accept-Language", "")
    if kind == "random":
        return HttpResponse(repr(shuffled()))
    return HttpResponse(f"{kind}: {names()}")


class Names(Sitemap):
    def items(self) -> list[str]:
        return ["/names/", "/names/?page=2", "/names/"]

    def location(self, item: str) -> str:
        return item


def xml(text: str) -> Callable[[HttpRequest], HttpResponse]:
    return lambda request: HttpResponse(text, content_type="application/xml")


SITEMAPS = {"names": Names}

urlpatterns = [
    path("names/", view("page", names)),
    path("pages/<kind>/", page),
    path("fragments/", view("fragment", names)),
    path("shuffled/", view("page", shuffled)),
    path("mixed/", mixed),
    path("plain/", lambda request: HttpResponse("plain")),
    path("moved/", lambda request: HttpResponseRedirect("/names/")),
    path("broken/", broken),
    path("endless/", endless),
    path("sitemap.xml", sitemap, {"sitemaps": SITEMAPS}),
    path("sitemaps.xml", index, {"sitemaps": SITEMAPS, "sitemap_url_name": "of-names"}),
    path("sitemap-<section>.xml", sitemap, {"sitemaps": SITEMAPS}, name="of-names"),
    path("no-xml/", xml("names")),
    path("no-sitemap/", xml("<html/>")),
    path("wrong/", xml("<urlset><url><loc>names</loc></url></urlset>")),
    path("circle/", xml("<sitemapindex><sitemap><loc>/circle/</loc></sitemap></sitemapindex>")),
]


@pytest.fixture(autouse=True)
def _site(configure, settings) -> Any:
    configure(ADAPTIVE=False)
    count_anew()
    asked.clear()
    Author.objects.using("plain").create(name="Ann")
    settings.ALLOWED_HOSTS = [".example.org", "shop.example.org", "second.example.org"]
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "django.contrib.sitemaps"]
    settings.ROOT_URLCONF = __name__
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"


def warmed(*args: str) -> list[tuple[str, str, str | None]]:
    return [(page["path"], page["result"], page["reason"]) for page in run_json("warm", *args)["pages"]]


def test_what_becomes_of_pages():
    pages = ("--pages", "/names/", "/shuffled/", "/mixed/", "/fragments/", "/plain/", "/moved/", "/broken/", "/gone/")
    first = run_json("warm", *pages)
    assert [(page["path"], page["status"], page["result"], page["reason"]) for page in first["pages"]] == [
        ("/names/", 200, "stored", None),
        ("/shuffled/", 200, "not stored", reasons.RANDOM),
        ("/mixed/", 200, "stored", None),
        ("/fragments/", 200, "stored", None),
        ("/plain/", 200, "not cached", None),
        ("/moved/", 302, "failed", "HTTP 302 Found: /names/"),
        ("/broken/", 500, "failed", "HTTP 500 Internal Server Error"),
        ("/gone/", 404, "failed", "HTTP 404 Not Found"),
    ]
    assert first["pages"][1]["caller"] == f"{HERE}{shuffled.__code__.co_firstlineno + 1}"
    assert first["results"] == {"stored": 3, "present": 0, "not stored": 1, "not cached": 1, "failed": 3}
    assert [result for _, result, _ in warmed(*pages)][:4] == ["present", "not stored", "present", "present"]

    text = " ".join(run("warm", *pages).split())
    assert "3 in the cache already" in text
    assert "1 not stored 1 not cached: no page" in text
    assert f"http://shop.example.org/shuffled/: not stored (random, run in {HERE}" in text
    assert "http://shop.example.org/plain/: not cached" in text
    assert "http://shop.example.org/broken/: failed (HTTP 500 Internal Server Error)" in text
    assert "shop.example.org/names/" not in text


def test_pages_by_the_decorator(client):
    pages = ("--pages", "/pages/language/", "/pages/plain/", "/pages/random/", "/pages/session/")
    languages = ("--header", "Accept-Language:de")
    assert warmed(*pages, *languages) == [
        ("/pages/language/", "stored", None),
        ("/pages/plain/", "stored", None),
        ("/pages/random/", "not stored", reasons.RANDOM),
        ("/pages/session/", "not stored", reasons.SESSION),
    ]
    assert [result for _, result, _ in warmed(*pages, *languages)] == ["present", "present", "not stored", "not stored"]
    assert counters_of("default").derived == []

    headers = {"host": "shop.example.org", "accept-language": "de"}
    assert client.get("/pages/language/", headers=headers).content == b"de: ('Ann',)"
    client.get("/pages/random/", headers=headers)
    (counted,) = counters_of("default").derived
    assert (counted.kind, counted.label, counted.hits, counted.misses) == ("page", "/pages/<kind>/", 1, 1)
    assert counted.last_rejection is not None
    assert counted.last_rejection.caller == f"{HERE}{shuffled.__code__.co_firstlineno + 1}"


def test_a_visitor_finds_what_was_warmed(client):
    warmed("--pages", "/names/", "--host", "second.example.org", "--https", "--header", "Accept-Encoding: gzip")
    assert asked == [("/names/", "second.example.org", "https", "gzip")]
    client.get("/names/", secure=True, headers={"host": "second.example.org"})
    (page,) = counters_of("default").derived
    assert (page.hits, page.misses) == (1, 0)  # and what was warmed did not count


def test_urls_have_a_host_of_their_own():
    warmed("--pages", "https://second.example.org/names/?page=2", "/names/", "http://shop.example.org:8000")
    assert [one[:3] for one in asked] == [
        ("/names/?page=2", "second.example.org", "https"),
        ("/names/", "shop.example.org", "http"),
    ]


@pytest.mark.parametrize("hosts, expected", [([], "localhost"), (["*", ".example.org"], "localhost"), (["a"], "a")])
def test_the_host_of_paths(hosts, expected, settings):
    settings.ALLOWED_HOSTS = hosts
    (page,) = run_json("warm", "--pages", "/plain/", "--dry-run")["pages"]
    assert page["host"] == expected


@pytest.mark.parametrize("where", ["/sitemap.xml", "/sitemaps.xml", "http://shop.example.org/sitemap.xml"])
def test_a_sitemap(where):
    assert warmed("--sitemap", where) == [("/names/", "stored", None), ("/names/?page=2", "stored", None)]
    assert {host for _, host, _, _ in asked} == {"shop.example.org"}


def test_a_sitemap_and_pages():
    assert [path for path, _, _ in warmed("--sitemap", "/sitemap.xml", "--pages", "/shuffled/", "--most", "2")] == [
        "/shuffled/",
        "/names/",
    ]


@pytest.mark.parametrize(
    "where, words",
    [
        ("/gone.xml", "was answered with the status 404"),
        ("/no-xml/", "is not XML"),
        ("/no-sitemap/", "is not a sitemap: its outermost element is html"),
        ("/wrong/", "names a page that cannot be requested: 'names' is neither a path"),
        ("sitemap.xml", "'sitemap.xml' is neither a path that begins with a slash nor a URL"),
    ],
)
def test_what_is_no_sitemap(where, words):
    assert words in error_of("warm", "--sitemap", where)


def test_an_index_that_names_an_index():
    assert warmed("--sitemap", "/circle/") == []
    assert "There is no page to request." in run("warm", "--sitemap", "/circle/")


@pytest.mark.parametrize(
    "args, words",
    [
        (["--pages", "names/"], "neither a path"),
        (["--pages", "ftp://example.org/"], "neither a path"),
        (["--pages", "/", "--host", "a b"], "not the name of a host"),
        (["--pages", "/", "--using", "default"], "--using is for reads"),
        (["--pages", "/", "--header", "gzip"], "a name and a value"),
    ],
)
def test_what_cannot_be_requested(args, words):
    assert words in error_of("warm", *args)


def test_a_dry_run_requests_nothing():
    assert warmed("--pages", "/names/", "--dry-run") == [("/names/", None, None)]
    text = run("warm", "--pages", "/names/", "--dry-run")
    assert "1 page would be requested." in text
    assert "http://shop.example.org/names/" in text
    assert asked == []


def test_what_is_streamed_is_not_read_to_its_end():
    assert warmed("--pages", "/endless/") == [("/endless/", "not cached", None)]


def test_the_bar_is_for_a_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    call_command("ormcache", "warm", "--pages", "/names/", stdout=out)
    assert "1/1" in out.getvalue()
    assert "1/1" not in run("warm", "--pages", "/names/")


@override_settings(ALLOWED_HOSTS=["other.example.org"])
def test_a_host_that_is_not_allowed():
    assert warmed("--pages", "/names/", "--host", "shop.example.org") == [("/names/", "failed", "HTTP 400 Bad Request")]
