"""Pages that are cached: what is served, what is not stored and why, and what browsers are told."""

from __future__ import annotations

import copy
import functools
import io
import pickle
from types import MethodType
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.core.handlers.asgi import ASGIRequest
from django.core.handlers.wsgi import WSGIRequest
from django.db import connections
from django.db.models import Value
from django.db.models.functions import Concat
from django.http import HttpResponse, QueryDict
from django.test import Client, RequestFactory, override_settings
from django.urls import ResolverMatch, path
from django.utils import translation
from django.utils.decorators import method_decorator
from django.utils.functional import SimpleLazyObject
from django.views.decorators.gzip import gzip_page
from django.views.generic import View
from rest_framework.decorators import api_view

import ormcache
from ormcache import reasons
from ormcache.pages.page_cache import MOST_FACTS
from ormcache.pages.view_names import MOST_OBJECTS
from tests.integration.calls import count_anew
from tests.integration.pages import site
from tests.shop.models import Author, Book, Review

pytestmark = pytest.mark.usefixtures("pages")


@pytest.fixture
def pages(database: None, configure: Any) -> Any:
    configure(ROWS="always")
    count_anew()
    site.ran.clear()
    with override_settings(ROOT_URLCONF=site.__name__, USE_I18N=True):
        yield


@pytest.fixture
def iliad() -> Book:
    return Book.objects.create(author=Author.objects.create(name="Homer"), title="Iliad")


@pytest.fixture
def client() -> Client:
    return Client()


def views_run(client: Client, address: str, *, times: int = 2, **kwargs: Any) -> list[int]:
    """How often the view has run for each of several equal requests, which must be answered alike."""
    found, answers = [], []
    for _ in range(times):
        site.ran.clear()
        answers.append(client.get(address, **kwargs).content)
        found.append(len(site.ran))
    assert len(set(answers)) == 1
    return found


def why() -> dict[str, int]:
    """Why pages were not stored, of all views together."""
    counters = connections["default"].ormcache.observer.counters
    found: dict[str, int] = {}
    for derived in counters.derived:
        for reason, count in derived.rejected.items():
            found[reason] = found.get(reason, 0) + count
    return found


def reject_reasons(client: Client, address: str, **kwargs: Any) -> set[str]:
    """Why a page is not stored, which is asked for twice: both times the view runs."""
    before = why()
    assert views_run(client, address, **kwargs) == [1, 1]
    return {reason for reason, count in why().items() if count > before.get(reason, 0)}


# What is served ---------------------------------------------------------------------------


def test_a_page_is_computed_once(iliad, client, queries):
    assert client.get("/books/").content == b"Books: Iliad ()"
    with queries(0):
        assert client.get("/books/").content == b"Books: Iliad ()"
    assert site.ran == ["/books/"]


def test_a_write_shows_in_the_next_request_and_other_pages_stay(iliad, client):
    odyssey = Book.objects.create(author=iliad.author, title="Odyssey")
    addresses = [f"/books/{iliad.pk}/", f"/books/{odyssey.pk}/", "/books/"]
    for address in addresses:
        assert views_run(client, address) == [1, 0]
    client.post(f"/books/{iliad.pk}/comment/", {"text": "Long"})
    assert b"Long" in client.get(addresses[0]).content
    assert [views_run(client, address)[0] for address in addresses] == [0, 0, 0]


def test_a_page_depends_on_rows(iliad, client):
    odyssey = Book.objects.create(author=iliad.author, title="Odyssey")
    addresses = [f"/books/{iliad.pk}/", f"/books/{odyssey.pk}/"]
    for address in addresses:
        views_run(client, address, times=3)
    Review.objects.create(book=iliad, text="Long")
    assert views_run(client, addresses[1]) == [0, 0]
    assert views_run(client, addresses[0]) == [1, 0]


@pytest.mark.parametrize(
    "address",
    ["/anonymous/base/", "/user/base/", "/session/base/", "/class/", "/async-class/", "/anonymous/by-coroutine/"],
)
def test_kinds_of_views(iliad, client, address):
    assert views_run(client, address, times=3) == [1, 0, 0]
    Book.objects.filter(pk=iliad.pk).update(title="Odyssey")
    assert b"Odyssey" in client.get(address).content
    assert views_run(client, address) == [0, 0]


def test_parameters(iliad, client):
    assert views_run(client, "/books/?a=1&b=2") == [1, 0]
    assert views_run(client, "/books/?b=2&a=1") == [1, 0]
    # Ignored parameters are none that the view could show.
    for address in ("/books/?a=1&utm_source=x&b=2", "/books/?utm_campaign=y&a=1&b=2", "/books/?a=1&b=2&gclid=z"):
        assert client.get(address).content == b"Books: Iliad (a=1&b=2)"
    assert views_run(client, "/books/?a=1&utm_source=x&b=2") == [0, 0]


def test_a_view_does_not_see_ignored_parameters(iliad, client):
    assert client.get("/books/?utm_source=x&a=1").content == b"Books: Iliad (a=1)"
    response = client.get("/books/?utm_source=y&a=1")
    assert response.content == b"Books: Iliad (a=1)"
    assert response.wsgi_request.META["QUERY_STRING"] == "utm_source=y&a=1"
    assert response.wsgi_request.GET["utm_source"] == "y"


def test_host_and_scheme(iliad, client):
    with override_settings(ALLOWED_HOSTS=["one.example", "two.example"]):
        assert views_run(client, "/books/", headers={"host": "one.example"}) == [1, 0]
        assert views_run(client, "/books/", headers={"host": "two.example"}) == [1, 0]
        assert views_run(client, "/books/", headers={"host": "two.example"}, secure=True) == [1, 0]


def test_language_and_time_zone(iliad, client):
    from django.utils import timezone

    for language, expected in (("en", b"Yes"), ("de", b"Ja")):
        with translation.override(language):
            assert views_run(client, "/anonymous/in-language/") == [1, 0]
            assert client.get("/anonymous/in-language/").content.startswith(expected)
    with timezone.override("Asia/Tokyo"):
        assert views_run(client, "/anonymous/in-language/") == [1, 0]


def test_head_is_answered_from_a_get(iliad, client):
    assert client.head("/books/").status_code == 200
    assert views_run(client, "/books/") == [1, 0]
    site.ran.clear()
    response = client.head("/books/")
    assert (response.status_code, response.content, site.ran) == (200, b"", [])
    assert response["ETag"] == client.get("/books/")["ETag"]


def test_other_methods_run_the_view(iliad, client):
    assert views_run(client, "/books/") == [1, 0]
    site.ran.clear()
    client.post("/books/")
    client.options("/books/")
    assert len(site.ran) == 2


def test_headers_and_notes_of_the_response(iliad, client):
    first, second = (client.get("/anonymous/own-headers/") for _ in range(2))
    assert len(site.ran) == 1
    assert dict(first.headers) == dict(second.headers)
    assert second["X-Own"] == "yes"
    assert second["Content-Length"] == "5"
    assert second.reason_phrase == "Fine"
    assert second.xframe_options_exempt is True
    assert (second["ETag"], second["Cache-Control"]) == ('"own"', "max-age=300")


def test_statuses(iliad, client):
    assert reject_reasons(client, "/anonymous/missing/") == {reasons.STATUS}
    assert views_run(client, "/with-404/missing/") == [1, 0]
    assert client.get("/with-404/missing/").status_code == 404


def test_an_exception_stores_nothing(iliad, client):
    for _ in range(2):
        with pytest.raises(ValueError, match="Iliad"):
            client.get("/anonymous/fails/")
    assert len(site.ran) == 2


def test_the_label_is_the_route(iliad, client):
    client.get(f"/books/{iliad.pk}/")
    labels = {derived.label for derived in connections["default"].ormcache.observer.counters.derived}
    assert "/books/<int:pk>/" in labels


# What is not stored -------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["anonymous", "user", "session"])
@pytest.mark.parametrize(
    "address, reason",
    [
        ("sets-cookie/", reasons.COOKIE),
        ("private/?directive=private", reasons.PRIVATE),
        ("private/?directive=no_store", reasons.PRIVATE),
        ("private/?directive=no_cache", reasons.PRIVATE),
        ("varies/?on=*", reasons.VARY),
        ("reads/?what=all", reasons.VARY),
        ("reads/?what=all+headers", reasons.VARY),
        ("at-random/", reasons.RANDOM),
    ],
)
def test_what_is_not_stored(iliad, client, who, address, reason):
    assert reject_reasons(client, f"/{who}/{address}") == {reason}


@pytest.mark.parametrize("who", ["anonymous", "user", "session"])
def test_streaming(iliad, client, who):
    for _ in range(2):
        assert b"".join(client.get(f"/{who}/streams/").streaming_content) == b"Iliad"
    assert len(site.ran) == 2
    assert reasons.STREAMING in why()


def test_a_view_that_writes(client):
    assert reject_reasons(client, "/anonymous/writes/") == {reasons.WRITES}
    assert Author.objects.count() == 2


@pytest.mark.parametrize("who", ["anonymous", "user", "session"])
def test_csrf_tokens(iliad, who):
    client = Client()
    for _ in range(2):
        assert client.get(f"/{who}/forms/").status_code == 200
    assert len(site.ran) == 2
    assert reasons.CSRF in why()


def test_the_token_of_earlier_middleware_is_no_reason(iliad):
    request = RequestFactory().get("/books/")
    request.META["CSRF_COOKIE_NEEDS_UPDATE"] = True
    for _ in range(2):
        assert site.books(request).status_code == 200
        assert request.META["CSRF_COOKIE_NEEDS_UPDATE"] is True
    assert len(site.ran) == 1


def test_nonces(iliad):
    def view(request: Any) -> HttpResponse:
        request._csp_nonce = "abc"
        return HttpResponse("abc")

    ormcache.cache_page()(view)(RequestFactory().get("/"))
    assert reasons.NONCE in why()


def test_a_message_that_the_view_adds(iliad):
    for number in range(2):
        client = Client()  # it has no message yet
        client.get("/anonymous/with-message/")
        assert len(site.ran) == number + 1
    assert reasons.MESSAGES in why()


def test_authorization(iliad, client):
    assert views_run(client, "/books/") == [1, 0]
    assert reject_reasons(client, "/books/", headers={"authorization": "Token abc"}) == {reasons.AUTHORIZATION}


def test_a_request_with_a_body(iliad, client):
    assert views_run(client, "/books/") == [1, 0]
    site.ran.clear()
    for _ in range(2):
        client.generic("GET", "/books/", b"{}")
    assert len(site.ran) == 2
    assert reasons.REQUEST_BODY in why()


def test_a_request_whose_body_has_no_length(iliad, client):
    """It comes in chunks."""
    assert views_run(client, "/books/") == [1, 0]
    assert reject_reasons(client, "/books/", headers={"transfer-encoding": "chunked"}) == {reasons.REQUEST_BODY}


# Headers and cookies ----------------------------------------------------------------------------


def test_vary(iliad):
    """The first page of a view teaches what the others are named by."""
    view = ormcache.cache_page()(site.varies)
    found = []
    for headers in ({}, {}, {}, {"x-short": "1"}, {"x-short": "1"}, {}):
        site.ran.clear()
        content = view(RequestFactory().get("/varies/", headers=headers)).content
        assert content == (b"Iliad in short" if headers else b"Iliad")
        found.append(len(site.ran))
    assert found == [1, 0, 0, 1, 0, 0]


@pytest.mark.parametrize("what", ["header", "meta", "environ"])
def test_a_header_that_the_view_reads_and_does_not_say(iliad, client, what):
    address = f"/anonymous/reads/?what={what}"
    views_run(client, address, times=2, headers={"x-theme": "dark"})
    for theme in ("dark", "light", "dark"):
        assert client.get(address, headers={"x-theme": theme}).content == f"{theme} Iliad".encode()
    assert views_run(client, address, headers={"x-theme": "light"}) == [0, 0]


def test_a_cookie_that_the_view_reads(iliad):
    address = "/anonymous/reads/?what=cookie"
    dark, light = Client(), Client()
    dark.cookies["theme"], light.cookies["theme"] = "dark", "light"
    views_run(dark, address)
    for client, theme in ((dark, "dark"), (light, "light")) * 2:
        assert client.get(address).content == f"{theme} Iliad".encode()
    assert views_run(light, address) == [0, 0]


def test_the_address_of_the_visitor(iliad, client):
    address = "/anonymous/reads/?what=address"
    views_run(client, address)
    for number in (1, 2, 1):
        answer = client.get(address, REMOTE_ADDR=f"192.0.2.{number}").content
        assert answer == f"192.0.2.{number} Iliad".encode()


def test_what_django_has_parsed_of_a_header_before(iliad):
    answers = set()
    for _ in range(2):
        for accept in ("text/html", "application/json"):
            request = RequestFactory().get("/", headers={"accept": accept})
            assert request.accepts("text/plain") is False

            def view(request: WSGIRequest) -> HttpResponse:
                return HttpResponse(str(request.accepts("application/json")))

            answers.add((accept, ormcache.cache_page()(view)(request).content))
    assert answers == {("text/html", b"False"), ("application/json", b"True")}


def test_the_request_is_as_before_after_the_view(iliad):
    request = RequestFactory().get("/books/?a=1&utm_source=x")
    before = {name: id(value) for name, value in vars(request).items()}
    site.books(request)
    after = {name: id(value) for name, value in vars(request).items() if name in before}
    assert after == before
    assert type(request.META) is dict
    assert request.environ is request.META


def test_what_the_view_writes_into_the_request_stays(iliad):
    def view(request: Any) -> HttpResponse:
        request.META["HTTP_X_NEW"] = "new"
        del request.META["HTTP_X_OLD"]
        request.META["QUERY_STRING_BEFORE"] = request.META["QUERY_STRING"]
        request.note = "left"
        return HttpResponse("")

    request = RequestFactory().get("/?a=1&gclid=2", headers={"x-old": "old"})
    ormcache.cache_page()(view)(request)
    assert request.META["HTTP_X_NEW"] == "new"
    assert "HTTP_X_OLD" not in request.META
    assert (request.META["QUERY_STRING_BEFORE"], request.META["QUERY_STRING"]) == ("a=1", "a=1&gclid=2")
    assert request.note == "left"


def test_a_view_that_reads_many_headers(iliad, client):
    """So many name its pages, and no more: what reads more is not stored, and does no harm to what reads fewer."""

    def reads(request: Any) -> HttpResponse:
        site.note(request)
        first, last = map(int, request.GET["of"].split("-"))
        return HttpResponse(",".join(request.headers.get(f"X-{number}", "") for number in range(first, last)))

    view = ormcache.cache_page()(reads)

    def times(of: str) -> list[int]:
        found = []
        for value in "abab":
            site.ran.clear()
            headers = {f"x-{number}": value for number in range(100)}
            answer = view(RequestFactory().get(f"/?of={of}", headers=headers)).content.decode()
            assert set(answer.split(",")) == {value}
            found.append(len(site.ran))
        return found

    assert times(f"0-{MOST_FACTS + 1}") == [1, 1, 1, 1]
    assert why() == {reasons.VARY: 4}
    assert times(f"0-{MOST_FACTS}") == [1, 1, 0, 0]
    # It is one list for all pages of the view.
    assert times(f"{MOST_FACTS}-{MOST_FACTS + 1}") == [1, 1, 1, 1]
    assert times(f"0-{MOST_FACTS}") == [0, 0, 0, 0]
    assert times("3-5") == [1, 1, 0, 0]


def test_a_view_that_reads_another_header_later(iliad):
    """The list of headers grows, and what was learned first stays."""

    def reads(request: Any) -> HttpResponse:
        site.note(request)
        return HttpResponse(request.headers.get(request.GET["name"], "none"))

    view = ormcache.cache_page()(reads)
    for name in ("X-A", "X-B", "X-C", "X-A"):
        for value in ("1", "2"):
            site.ran.clear()
            for _ in range(2):
                assert view(RequestFactory().get(f"/?name={name}", headers={name: value})).content == value.encode()
            assert len(site.ran) == 1
    assert why() == {}


def test_the_language_that_a_view_has_chosen(iliad, client):
    """As LocaleMiddleware says on its own, which at a hit sees the language of the request."""

    def chooses(request: Any) -> HttpResponse:
        site.note(request)
        translation.activate(request.GET["language"])
        response = HttpResponse(translation.gettext("Yes"))
        if "said" in request.GET:
            response["Content-Language"] = request.GET["said"]
        return response

    def in_a_block(request: Any) -> HttpResponse:
        site.note(request)
        with translation.override("de"):
            return HttpResponse(translation.gettext("Yes"))

    urls = [path("chooses/", ormcache.cache_page()(chooses)), path("block/", ormcache.cache_page()(in_a_block))]
    middleware = ["django.middleware.locale.LocaleMiddleware"]
    with override_settings(ROOT_URLCONF=type("Urls", (), {"urlpatterns": urls}), MIDDLEWARE=middleware):
        for address, expected in {
            "/chooses/?language=de": ("Ja", "de"),
            "/chooses/?language=en": ("Yes", "en"),
            "/chooses/?language=de&said=de-AT": ("Ja", "de-AT"),
            "/block/": ("Ja", "en"),
        }.items():
            site.ran.clear()
            for _ in range(3):
                response = client.get(address)
                assert (response.content.decode(), response["Content-Language"]) == expected
                known = client.get(address, headers={"if-none-match": response["ETag"]})
                assert known.status_code == 304
            assert len(site.ran) == 1
    translation.deactivate()


def test_a_header_that_the_view_changes(iliad):
    """The page is named by what the browser has sent."""

    def view(request: Any) -> HttpResponse:
        theme = request.META.get("HTTP_X_THEME", "none")
        request.META["HTTP_X_THEME"] = "dark"
        return HttpResponse(theme)

    cached = ormcache.cache_page()(view)
    for theme in (None, "dark", "light", None, "dark"):
        headers = {} if theme is None else {"x-theme": theme}
        assert cached(RequestFactory().get("/", headers=headers)).content == (theme or "none").encode()


# Browsers -----------------------------------------------------------------------------------------


def test_a_browser_asks_each_time(iliad, client):
    first, second = client.get("/books/"), client.get("/books/")
    assert first["Cache-Control"] == second["Cache-Control"] == "max-age=0, must-revalidate"
    assert first["ETag"] == second["ETag"]
    assert "Age" not in second
    assert "Last-Modified" not in second
    private = client.get("/user/base/")
    assert private["Cache-Control"] == "private, max-age=0, must-revalidate"
    assert private["Vary"] == "Cookie"


def test_not_modified(iliad, client):
    etag = client.get("/books/")["ETag"]
    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        response = client.get("/books/", headers={"if-none-match": known})
        assert (response.status_code, response.content) == (304, b"")
        assert response["ETag"] == etag
        assert response["Cache-Control"] == "max-age=0, must-revalidate"
    assert len(site.ran) == 1
    assert client.get("/books/", headers={"if-none-match": '"other"'}).status_code == 200
    assert client.head("/books/", headers={"if-none-match": etag}).status_code == 304

    Book.objects.filter(pk=iliad.pk).update(title="Odyssey")
    response = client.get("/books/", headers={"if-none-match": etag})
    assert (response.status_code, response.content) == (200, b"Books: Odyssey ()")
    assert response["ETag"] != etag


def test_a_page_that_comes_out_the_same_is_not_sent_again(iliad, client):
    etag = client.get("/books/")["ETag"]
    Book.objects.filter(pk=iliad.pk).update(title="Iliad")
    response = client.get("/books/", headers={"if-none-match": etag})
    assert len(site.ran) == 2
    assert (response.status_code, response.content) == (304, b"")


def test_the_etag_of_the_view(iliad, client):
    for _ in range(2):
        assert client.get("/anonymous/own-headers/", headers={"if-none-match": '"own"'}).status_code == 304
    assert len(site.ran) == 1


def test_what_is_not_stored_is_left_as_it_is(iliad, client):
    for _ in range(2):
        assert "ETag" not in client.get("/anonymous/sets-cookie/")


@pytest.mark.parametrize("middleware", ["ConditionalGetMiddleware", "GZipMiddleware"])
def test_middleware_around(iliad, client, middleware):
    Book.objects.filter(pk=iliad.pk).update(title="Iliad" * 39)
    name = {
        "ConditionalGetMiddleware": "django.middleware.http.ConditionalGetMiddleware",
        "GZipMiddleware": "django.middleware.gzip.GZipMiddleware",
    }[middleware]
    with override_settings(MIDDLEWARE=[name]):
        for _ in range(2):
            response = client.get("/books/", headers={"accept-encoding": "gzip"})
            assert response.status_code == 200
            known = client.get("/books/", headers={"accept-encoding": "gzip", "if-none-match": response["ETag"]})
            assert known.status_code == 304
    assert len(site.ran) == 1


# Arguments ------------------------------------------------------------------------------------------


def test_arguments_without_a_meaning():
    with pytest.raises(ValueError, match="per must be"):
        ormcache.cache_page(per="everybody")
    with pytest.raises(ValueError, match="per must be"):
        ormcache.cache_page(60)
    with pytest.raises(TypeError, match="ignore must be"):
        ormcache.cache_page(ignore="utm_*")
    with pytest.raises(ValueError, match="statuses must be"):
        ormcache.cache_page(statuses=(304,))
    with pytest.raises(TypeError, match="decorates views"):
        ormcache.cache_page(len)(None)


def test_two_views_of_one_path(iliad):
    """One chooses between two others, by what it likes."""
    one, two = (ormcache.cache_page()(view) for view in (site.plain, site.exempt))
    request = RequestFactory().get("/")
    assert one(request).content == two(request).content == b"Iliad"
    assert len(site.ran) == 2


def test_arguments_that_are_not_of_the_path(iliad):
    def view(request: Any, number: int) -> HttpResponse:
        return HttpResponse(str(number))

    cached = ormcache.cache_page()(view)
    request = RequestFactory().get("/")
    assert [cached(request, number).content for number in (1, 2, 1)] == [b"1", b"2", b"1"]
    assert cached(request, number=3).content == b"3"


def test_a_timeout(iliad, client, monkeypatch):
    import time

    cached = ormcache.cache_page(timeout=60)(site.plain)
    request = RequestFactory().get("/")
    for _ in range(2):
        cached(request)
    assert len(site.ran) == 1
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 61)
    monkeypatch.setattr(connections["default"].ormcache.known().stamps, "_clock", time.time)
    cached(request)
    assert len(site.ran) == 2


def test_a_user_with_a_session_in_the_page(iliad):
    User.objects.create_user("ann", first_name="Ann", password="x")
    client = Client()
    client.get("/enter/ann/")
    assert b"Hello Ann" in client.get("/user/base/").content


class Word(View):
    word = "one"

    def get(self, request: Any) -> HttpResponse:
        return HttpResponse(self.word)


class OtherWord(View):
    def get(self, request: Any) -> HttpResponse:
        return HttpResponse("two")


class Said:
    """A view that is an object."""

    def __init__(self, word: str) -> None:
        self.word = word

    def __call__(self, request: Any) -> HttpResponse:
        site.note(request)
        return HttpResponse(self.word)

    def say(self, request: Any) -> HttpResponse:
        return self(request)


def saying(word: str) -> Any:
    return lambda request: HttpResponse(word)


def says(request: Any, word: str) -> HttpResponse:
    site.note(request)
    return HttpResponse(word)


def made(base: type) -> Any:
    """A view of a class that is made at run time."""
    return type("Made", (base,), {"__module__": __name__}).as_view()  # type: ignore[attr-defined]


def bound(word: str) -> Any:
    """A method that the class of its object does not have."""
    if word == "one":
        return MethodType(lambda self, request: HttpResponse("one"), Said(""))
    return MethodType(lambda self, request: HttpResponse("two"), Said(""))


def api_saying(word: str) -> Any:
    @api_view(["GET"])
    def say(request: Any) -> HttpResponse:
        return HttpResponse(word)

    return say


@pytest.mark.parametrize(
    "one, two",
    [
        (Word.as_view(), OtherWord.as_view()),
        (Word.as_view(), Word.as_view(word="two")),
        (saying("one"), saying("two")),
        (lambda request, word="one": HttpResponse(word), lambda request, word="two": HttpResponse(word)),
        (functools.partial(says, word="one"), functools.partial(says, word="two")),
        (Said("one"), Said("two")),
        (Said("one").say, Said("two").say),
        (bound("one"), bound("two")),
        (made(Word), made(OtherWord)),
        (api_saying("one"), api_saying("two")),
        (gzip_page(saying("one")), gzip_page(saying("two"))),
    ],
)
def test_views_of_the_same_code_share_no_page(one, two):
    one, two = ormcache.cache_page()(one), ormcache.cache_page()(two)
    for _ in range(2):
        request = RequestFactory().get("/")
        assert (one(request).content, two(request).content) == (b"one", b"two")
    assert reasons.UNNAMED not in why()


def test_views_without_a_name_of_their_own():
    for view in (Said("one"), functools.partial(says, word="one")):
        cached = ormcache.cache_page()(view)
        site.ran.clear()
        assert [cached(RequestFactory().get("/")).content for _ in range(2)] == [b"one", b"one"]
        assert len(site.ran) == 1


def test_a_view_of_what_has_no_exact_form_runs():
    cached = ormcache.cache_page()(Said(object()))  # type: ignore[arg-type]
    for _ in range(2):
        cached(RequestFactory().get("/"))
    assert (len(site.ran), why()) == (2, {reasons.UNNAMED: 2})


def test_a_view_of_too_many_objects_runs():
    cached = ormcache.cache_page()(Said([Said(str(number)) for number in range(MOST_OBJECTS)]))  # type: ignore[arg-type]
    for _ in range(2):
        cached(RequestFactory().get("/"))
    assert (len(site.ran), why()) == (2, {reasons.UNNAMED: 2})


@method_decorator(ormcache.cache_page(), name="dispatch")
class SetUp(View):
    """Reads before its dispatch() begins."""

    def setup(self, request: Any, *args: Any, **kwargs: Any) -> None:
        super().setup(request, *args, **kwargs)
        self.author = Author.objects.get()
        self.theme = request.COOKIES.get("theme")

    def get(self, request: Any) -> HttpResponse:
        site.note(request)
        return HttpResponse(f"{self.author.name} {self.theme}")


def test_the_state_of_a_class_based_view_names_its_pages(iliad):
    view = SetUp.as_view()

    def ask(theme: str) -> bytes:
        request = RequestFactory().get("/")
        request.COOKIES["theme"] = theme
        return view(request).content

    assert [ask(theme) for theme in ("dark", "light", "dark", "light")] == [b"Homer dark", b"Homer light"] * 2
    assert len(site.ran) == 2
    Author.objects.update(name="Virgil")
    assert ask("dark") == b"Virgil dark"


def test_the_state_of_an_instance_names_its_pages(iliad, monkeypatch):
    method = method_decorator(ormcache.cache_page())(lambda self, request: HttpResponse(self.name))
    monkeypatch.setattr(Author, "serve", method, raising=False)
    for name in ("Homer", "Virgil"):
        Author.objects.update(name=name)
        assert Author.objects.get().serve(RequestFactory().get("/")).content == name.encode()


def test_what_a_converter_has_read_names_the_page(iliad):
    def view(request: Any, author: Author) -> HttpResponse:
        return HttpResponse(author.name)

    cached = ormcache.cache_page()(view)
    for name in ("Homer", "Virgil"):
        Author.objects.update(name=name)
        author = Author.objects.get()
        request = RequestFactory().get("/")
        request.resolver_match = ResolverMatch(view, (), {"author": author}, route="x")
        assert cached(request, author=author).content == name.encode()


def test_a_plain_value_that_a_converter_has_read_names_the_page(iliad):
    cached = ormcache.cache_page()(lambda request, pk: HttpResponse(str(pk)))
    for pk in (1, 2, True, 1):  # of one path: the text that it has now belongs to another row
        request = RequestFactory().get("/homer/")
        request.resolver_match = ResolverMatch(cached, (), {"pk": pk}, route="<author:pk>/")
        assert cached(request, pk=pk).content == str(pk).encode()


# What decides a page besides its address -----------------------------------------------------------------


def answers(read: Any, requests: list[Any]) -> list[str]:
    """What a cached view answers that shows what it reads of each request."""
    cached = ormcache.cache_page()(lambda request: HttpResponse(str(read(request))))
    return [cached(request).content.decode() for request in requests]


def with_attributes(**attributes: Any) -> WSGIRequest:
    request = RequestFactory().get("/")
    for name, value in attributes.items():
        setattr(request, name, value)
    return request


@pytest.mark.parametrize("read", [lambda request: request.content_type, lambda request: request.content_params])
def test_the_content_type_of_a_get(iliad, read):
    kinds = ["", "text/html", "text/html; version=2", ""]
    requests = [RequestFactory().get("/", CONTENT_TYPE=kind) for kind in kinds]
    assert answers(read, requests) == [str(read(request)) for request in requests]


def test_the_encoding_of_parameters(iliad):
    requests = [RequestFactory().get("/?a=%E9", CONTENT_TYPE=kind) for kind in ("", "text/html; charset=latin-1", "")]
    assert answers(lambda request: request.GET["a"], requests) == ["\ufffd", "é", "\ufffd"]


def test_the_encoding_that_middleware_chooses(iliad):
    requests = [RequestFactory().get("/?a=%E9") for _ in range(3)]
    for request, encoding in zip(requests, ("utf-8", "latin-1", "utf-8"), strict=True):
        request.encoding = encoding
    assert answers(lambda request: request.GET["a"], requests) == ["\ufffd", "é", "\ufffd"]


def test_a_scheme_that_a_proxy_names(iliad):
    headers = {"HTTP_X_FORWARDED_PROTO": "https"}
    with override_settings(SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https")):
        requests = [RequestFactory().get("/", **{**headers, "wsgi.url_scheme": own}) for own in ("http", "https") * 2]
        assert answers(lambda request: request.META["wsgi.url_scheme"], requests) == ["http", "https"] * 2


def test_the_scheme_under_asgi(iliad):
    """It stands in no header."""
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "server": ("testserver", 80)}
    scope |= {"headers": [(b"host", b"testserver")]}
    requests = [ASGIRequest(scope | {"scheme": scheme}, io.BytesIO()) for scheme in ("http", "https") * 2]
    found = answers(lambda request: request.build_absolute_uri(), requests)
    assert found == ["http://testserver/", "https://testserver/"] * 2


def test_where_the_site_is_mounted(iliad):
    requests = [RequestFactory().get("/x/", SCRIPT_NAME=name) for name in ("/a", "/b") * 2]
    assert answers(lambda request: request.path, requests) == ["/a/x/", "/b/x/"] * 2


def test_a_path_that_middleware_changes(iliad):
    requests = [with_attributes(path_info=path) for path in ("/", "/other", "/")]
    assert answers(lambda request: request.path_info, requests) == ["/", "/other", "/"]


def test_parameters_that_middleware_changes(iliad):
    requests = [with_attributes(GET=QueryDict(query)) for query in ("", "page=1", "page=2", "")]
    assert answers(lambda request: request.GET.get("page"), requests) == ["None", "1", "2", "None"]
    assert why() == {reasons.UNNAMED: 2}


def test_lists_of_urls_that_middleware_chooses(iliad):
    """Django has no name for them that would tell two apart."""
    lists = [(path("", saying(word)),) for word in ("one", "two")]
    requests = [with_attributes(urlconf=urls) for urls in lists]
    assert answers(lambda request: request.urlconf[0].callback(request).content, requests) == ["b'one'", "b'two'"]
    assert why() == {reasons.UNNAMED: 2}


@pytest.mark.parametrize("key", ["HTTP_HOST", "SERVER_PORT", "SERVER_NAME", "wsgi.url_scheme"])
def test_the_address_of_the_server(iliad, key):
    values = {"HTTP_HOST": ["a", "b"], "SERVER_PORT": ["80", "8000"], "SERVER_NAME": ["a", "b"]}
    asked = [*values.get(key, ["http", "https"])] * 2
    headers = {"HTTP_X_FORWARDED_HOST": "front"}
    with override_settings(USE_X_FORWARDED_HOST=True, ALLOWED_HOSTS=["front"]):
        requests = [RequestFactory().get("/", **{**headers, key: value}) for value in asked]
        assert answers(lambda request: request.META[key], requests) == asked


@pytest.mark.parametrize(
    "read",
    [
        lambda request: bool(request.COOKIES),
        lambda request: len(request.COOKIES),
        lambda request: request.COOKIES != {},
        lambda request: list(reversed(request.COOKIES)),
        lambda request: request.COOKIES and request.COOKIES.popitem(),
        lambda request: len(request.headers),
        lambda request: len(copy.deepcopy(request.headers)),
        lambda request: pickle.loads(pickle.dumps(request.headers)).get("a"),
        lambda request: pickle.loads(pickle.dumps(request.COOKIES)).get("a"),
    ],
)
def test_how_many_headers_and_cookies_there_are(iliad, read):
    requests = [with_attributes(COOKIES=cookies) for cookies in ({}, {"a": "1"}, {"a": "1", "b": "2"})]
    answers(read, requests)
    assert why() == {reasons.VARY: 3}


class LazyAuthor(SimpleLazyObject):
    pass


def evaluated(value: Any) -> Any:
    bool(value)
    return value


@pytest.mark.parametrize(
    "put, read",
    [
        (lambda: evaluated(LazyAuthor(Author.objects.get)), lambda put: put.name),
        (lambda: evaluated(SimpleLazyObject(lambda: SimpleLazyObject(Author.objects.get))), lambda put: put.name),
        (lambda: [Author.objects.get()], lambda put: put[0].name),
        (lambda: {"x": (Author.objects.get(),)}, lambda put: put["x"][0].name),
        (lambda: evaluated(Author.objects.all()), lambda put: put[0].name),
        (lambda: evaluated(Author.objects.values()), lambda put: put[0]["name"]),
        (lambda: Author.objects.annotate(label=Concat("name", Value("!"))).only("pk").get(), lambda put: put.label),
        (lambda: Author.objects.prefetch_related("books").get(), lambda put: put.name),
    ],
)
def test_objects_that_middleware_has_read(iliad, put, read):
    found = set()
    for name in ("Homer", "Virgil"):
        Author.objects.update(name=name)
        found.add(answers(lambda request: read(request.put), [with_attributes(put=put())])[0].rstrip("!"))
    assert found == {"Homer", "Virgil"}


class Basket:
    def __init__(self, size: Any, request: Any = None) -> None:
        self.size = size
        self.request = request


def computed(size: int) -> Any:
    return SimpleLazyObject(lambda: Basket(size))


@pytest.mark.parametrize(
    "put, read",
    [
        (lambda size: size, lambda put: put),
        (lambda size: {"a": [size]}, lambda put: put["a"]),
        (Basket, lambda put: put.size),
        (computed, lambda put: put.size),
        (lambda size: evaluated(computed(size)), lambda put: put.size),
        (lambda size: lambda: size, lambda put: put()),
        (lambda size: functools.partial(str, size), lambda put: put()),
        (lambda size: Basket(size).__eq__, lambda put: put.__self__.size),
    ],
)
def test_what_middleware_has_read_of_the_visitor(iliad, put, read):
    """A basket of the session, say, of which the view reads no more than what is on the request."""
    requests = [with_attributes(put=put(size)) for size in (1, 2, 1)]
    assert answers(lambda request: read(request.put), requests) == [str(read(put(size))) for size in (1, 2, 1)]


def test_an_attribute_that_not_all_requests_have(iliad):
    requests = [with_attributes(**attributes) for attributes in ({}, {"put": "one"}, {}, {"put": "two"})]
    assert answers(lambda request: getattr(request, "put", ""), requests) == ["", "one", "", "two"]


def test_a_method_that_middleware_replaces(iliad):
    requests = [with_attributes(is_secure=answer) for answer in (lambda: 1, lambda: 2)]
    assert answers(lambda request: request.is_secure(), requests) == ["1", "2"]


def test_an_object_that_refers_to_the_request_is_no_hindrance(iliad, client):
    """As that of django-htmx does."""
    cached = ormcache.cache_page()(lambda request: HttpResponse(request.htmx.request.headers.get("X-Theme", "")))
    found = []
    for theme in ("dark", "dark", "light"):
        request = RequestFactory().get("/", headers={"x-theme": theme})
        request.htmx = Basket(0, request)  # type: ignore[attr-defined]
        found.append(cached(request))
    assert [one.content for one in found] == [b"dark", b"dark", b"light"]
    counters = connections["default"].ormcache.observer.counters
    assert ({derived.hits for derived in counters.derived}, why()) == ({1}, {})


def test_what_the_view_itself_sets_on_the_request_names_no_page(iliad):
    def read(request: Any) -> int:
        site.note(request)
        request.put = len(site.ran)
        return request.put

    assert answers(read, [with_attributes(put=put) for put in (5, 6)]) == ["1", "1"]


def test_an_attribute_without_an_exact_form(iliad):
    requests = [with_attributes(put=iter("ab")) for _ in range(2)]
    assert answers(lambda request: next(request.put), requests) == ["a", "a"]
    assert why() == {reasons.UNNAMED: 2}
    (counters,) = connections["default"].ormcache.observer.counters.derived
    assert "request.put is of type str_ascii_iterator" in str(counters.last_rejection)


def test_the_request_is_of_its_own_class_after_the_view(iliad):
    request = with_attributes(put=1)
    cls, before = type(request), {*vars(request), "COOKIES"}
    answers(lambda request: request.put, [request])
    assert (type(request), set(vars(request))) == (cls, before)


class Identity:
    """What middleware of WSGI puts into the environment."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __str__(self) -> str:
        return "an identity"


def test_objects_in_the_environment(iliad):
    def read(request: Any) -> str:
        return request.META["repoze.who.identity"].name

    requests = [RequestFactory().get("/", **{"repoze.who.identity": Identity(name)}) for name in ("ann", "bob", "ann")]
    assert answers(read, requests) == ["ann", "bob", "ann"]
    assert why() == {reasons.UNNAMED: 3}


def test_numbers_in_the_environment_are_no_texts(iliad):
    requests = [RequestFactory().get("/", **{"own.number": number}) for number in (1, "1", True, 1)]
    assert answers(lambda request: repr(request.META["own.number"]), requests) == ["1", "'1'", "True", "1"]


def test_a_function_that_names_visitors_is_known_by_its_code(iliad):
    """After a deploy it names by something else."""

    def ask(per: Any, **data: str) -> str:
        session = SessionStore()
        session.update(data)
        view = ormcache.cache_page(per=per)(lambda request: HttpResponse(request.session["plan"]))
        return view(with_attributes(session=session)).content.decode()

    assert ask(lambda request: request.session["plan"], plan="gold", role="guest") == "gold"
    assert ask(lambda request: request.session["role"], plan="free", role="gold") == "free"


def test_an_attribute_that_middleware_sets_on_an_object(iliad):
    authors = []
    for price in (1, 2):
        authors.append(Author.objects.get())
        vars(authors[-1])["price"] = price
    requests = [with_attributes(author=author) for author in authors]
    assert answers(lambda request: request.author.price, requests) == ["1", "2"]


class Pipe(io.BytesIO):
    """A stream that can be read once."""

    def seekable(self) -> bool:
        return False

    def seek(self, *args: Any) -> int:
        raise io.UnsupportedOperation


def by_asgi(body: io.BytesIO) -> ASGIRequest:
    scope = {"type": "http", "http_version": "2", "method": "GET", "path": "/", "query_string": b""}
    scope |= {"headers": [(b"host", b"testserver")], "server": ("testserver", 80)}
    return ASGIRequest(scope, body)


@pytest.mark.parametrize("stream", [io.BytesIO, Pipe])
def test_a_view_that_reads_the_body_under_asgi_itself(iliad, stream):
    requests = [by_asgi(stream(body)) for body in (b"one", b"two")]
    assert answers(lambda request: request.read().decode(), requests) == ["one", "two"]
    assert why() == {reasons.REQUEST_BODY: 2}


def test_a_body_under_asgi_that_was_read_before(iliad):
    """Nobody knows what it was, unless it was read as a whole, and was empty."""
    read, empty = by_asgi(io.BytesIO(b"three")), by_asgi(io.BytesIO(b""))
    assert (read.read(), empty.body) == (b"three", b"")
    assert answers(lambda request: request.path, [read]) == ["/"]
    assert why() == {reasons.REQUEST_BODY: 1}
    assert answers(lambda request: request.path, [empty]) == ["/"]
    assert why() == {reasons.REQUEST_BODY: 1}


def test_a_body_under_asgi_whose_length_no_header_says(iliad):
    scope = {"type": "http", "http_version": "2", "method": "GET", "path": "/", "query_string": b""}
    scope |= {"headers": [(b"host", b"testserver")], "server": ("testserver", 80)}
    bodies = [b"", b"one", b"two"]
    requests = [ASGIRequest(scope, io.BytesIO(body)) for body in bodies]
    assert answers(lambda request: request.body.decode(), requests) == ["", "one", "two"]
    read = ASGIRequest(scope, io.BytesIO(b"three"))
    assert read.body == b"three"
    assert answers(lambda request: request.body.decode(), [read]) == ["three"]
    assert why() == {reasons.REQUEST_BODY: 3}
