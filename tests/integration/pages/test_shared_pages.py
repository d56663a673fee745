"""What cached pages say to CDNs and reverse proxies: which may hold them, by which tags, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.auth.models import User
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.functional import SimpleLazyObject
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response
from rest_framework.views import APIView

import ormcache
from ormcache.cache.tracking import untracked
from ormcache.stores.base import Store
from tests.integration.purging.conftest import RECORDING
from tests.shop.models import Author, Genre

NOT_HELD = "s-maxage=0"


@pytest.fixture(autouse=True)
def _held(configure: Callable[..., None], _live: None) -> None:
    configure(PURGE=RECORDING | {"S_MAXAGE": 600})
    Author.objects.create(name="Homer")


def authors(request: HttpRequest) -> HttpResponse:
    return HttpResponse(",".join(Author.objects.values_list("name", flat=True)))


class Api(APIView):
    renderer_classes = (JSONRenderer,)

    def get(self, request: Any) -> Response:
        found = request.GET, request.method, request.version, request.path, request.build_absolute_uri(), request.scheme
        return Response([*found, Author.objects.count()])


def ask(view: Callable[..., Any], prepare: Callable[[Any], Any] = lambda request: None, **headers: Any) -> HttpResponse:
    request = RequestFactory().get("/authors/", **headers)
    prepare(request)
    found = view(request)
    assert isinstance(found, HttpResponse)
    return found


def held(response: HttpResponse) -> bool:
    """Whether a CDN may hold the response; it has tags if so, and says that it may not if not."""
    control = response["Cache-Control"].split(", ")
    assert ("CDN-Tag" in response) != (NOT_HELD in control)
    return "CDN-Tag" in response


def test_a_page_that_is_made_and_one_of_the_cache_are_alike() -> None:
    view = ormcache.cache_page(s_maxage=60, stale_while_revalidate=5)(authors)
    made, served = ask(view), ask(view)

    assert dict(made.items()) == dict(served.items())
    assert len(made["CDN-Tag"].split(",")) == 3
    assert {"s-maxage=60", "stale-while-revalidate=5", "max-age=0", "must-revalidate"} == set(
        made["Cache-Control"].split(", ")
    )
    assert made["Vary"] == "Cookie"


def test_an_answer_without_a_body_has_the_tags_of_now() -> None:
    view = ormcache.cache_page()(authors)
    made = ask(view)
    known = ask(view, HTTP_IF_NONE_MATCH=made["ETag"])

    assert known.status_code == 304
    assert known["CDN-Tag"] == made["CDN-Tag"]
    assert "s-maxage=600" in known["Cache-Control"]


def test_a_coroutine_function() -> None:
    @ormcache.cache_page()
    async def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(",".join([name async for name in Author.objects.values_list("name", flat=True)]))

    async def both() -> list[HttpResponse]:
        return [await view(RequestFactory().get("/")) for _ in range(2)]

    made, served = asyncio.run(both())
    assert made["CDN-Tag"] == served["CDN-Tag"]
    assert held(made)


def test_a_fragment_of_the_cache_is_among_what_a_page_depends_on() -> None:
    inner = ormcache.cache_page()(lambda request: HttpResponse(str(Genre.objects.count())))
    inner(RequestFactory().get("/inner/"))  # from now on of the cache

    @ormcache.cache_page()
    def view(request: HttpRequest) -> HttpResponse:
        inner(RequestFactory().get("/inner/"))
        return authors(request)

    assert len(ask(view)["CDN-Tag"].split(",")) == 4


@pytest.mark.parametrize("per", ["user", "session", lambda request: 1])
def test_pages_that_are_for_some_are_not_held(per: Any) -> None:
    view = ormcache.cache_page(per=per, s_maxage=60)(authors)

    for _ in range(2):
        assert "CDN-Tag" not in ask(view)


@pytest.mark.parametrize("per", ["user", "session", lambda request: 1])
def test_nor_where_the_view_itself_says_nothing_of_that(per: Any) -> None:
    @ormcache.cache_page(per=per, s_maxage=60)
    def view(request: HttpRequest) -> HttpResponse:
        response = authors(request)
        response["Cache-Control"] = "max-age=5"
        return response

    for _ in range(2):
        assert not held(ask(view))


def test_who_is_logged_in_gets_a_page_that_is_not_held() -> None:
    user = User.objects.create_user("me")
    view = ormcache.cache_page()(authors)

    assert held(ask(view))
    assert not held(ask(view, lambda request: setattr(request, "user", user)))
    assert not held(ask(view, HTTP_AUTHORIZATION="Basic x"))


@pytest.mark.parametrize("reason", ["random", "writes", "cookie", "status", "session"])
def test_what_is_not_stored_is_not_held(reason: str) -> None:
    @ormcache.cache_page(s_maxage=60)
    def view(request: Any) -> HttpResponse:
        response = authors(request)
        if reason == "random":
            list(Author.objects.order_by("?"))
        elif reason == "writes":
            Author.objects.create(name="new")
        elif reason == "cookie":
            response.set_cookie("a", "b")
        elif reason == "status":
            response.status_code = 404
        elif reason == "session":
            request.session["a"] = 1
        return response

    for _ in range(2):
        assert not held(ask(view, SessionMiddleware(lambda request: HttpResponse()).process_request))


def test_a_page_that_was_written_while_it_was_made_is_not_held() -> None:
    @ormcache.cache_page()
    def view(request: HttpRequest) -> HttpResponse:
        response = authors(request)
        with untracked():
            Author.objects.create(name="new")
        return response

    assert not held(ask(view))


def test_an_outdated_page_that_is_served_meanwhile_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    view = ormcache.cache_page(grace=60)(authors)
    assert held(ask(view))
    Author.objects.create(name="new")
    # Another process is computing it.
    monkeypatch.setattr(Store, "claim", lambda *args: b"another")
    response = ask(view)

    assert response.content == b"Homer"
    assert not held(response)


def test_headers_that_a_view_reads_are_named_in_vary() -> None:
    @ormcache.cache_page()
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(f"{request.headers.get('X-Theme')} {Author.objects.count()}")

    ask(view)  # learns it
    for _ in range(2):
        response = ask(view, HTTP_X_THEME="dark")
        assert held(response)
        assert set(response["Vary"].split(", ")) == {"Cookie", "X-Theme"}


def test_what_stands_in_no_header_is_nothing_to_name_a_page_by() -> None:
    @ormcache.cache_page()
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(f"{request.META.get('REMOTE_ADDR')} {Author.objects.count()}")

    for _ in range(3):
        assert not held(ask(view))


def test_a_page_by_an_object_that_middleware_has_read_is_not_held() -> None:
    """It is stored under another name once that object is written, and nobody would purge it then."""
    view, found = ormcache.cache_page()(lambda request: HttpResponse(request.site.name)), Author.objects.get()

    for value in (found, SimpleLazyObject(lambda: found)):
        str(value)

        def prepare(request: Any, value: Any = value) -> None:
            request.site = value

        assert [held(ask(view, prepare)) for _ in range(2)] == [False, False]


@pytest.mark.parametrize(
    "name, value, is_held",
    [
        ("theme", "dark", False),
        ("theme", None, False),  # others may have one
        ("LANGUAGE_CODE", "en", True),
        ("_remembered", None, True),  # by a library, for this request
        ("_remembered", "yes", False),
    ],
)
def test_a_page_by_an_attribute_of_the_request(name: str, value: Any, is_held: bool) -> None:
    def prepare(request: Any) -> None:
        if value is not None:
            setattr(request, name, value)

    def read(request: Any) -> HttpResponse:
        if not hasattr(request, name):
            setattr(request, name, "none")
        return authors(request)

    view = ormcache.cache_page()(read)
    assert [held(ask(view, prepare)) for _ in range(2)] == [is_held, is_held]


def test_an_object_on_the_request_that_the_view_does_not_use() -> None:
    view = ormcache.cache_page()(authors)
    assert held(ask(view, lambda request: vars(request).update(site=Author.objects.get())))


def test_a_page_by_what_middleware_has_set_on_the_user_is_not_held() -> None:
    def prepare(request: Any) -> None:
        SessionMiddleware(authors).process_request(request)
        AuthenticationMiddleware(authors).process_request(request)
        request.user.country = "DE"

    view = ormcache.cache_page()(authors)
    assert not held(ask(view, prepare))
    assert not held(ask(view, prepare))


def test_a_page_in_another_time_zone_is_not_held() -> None:
    view = ormcache.cache_page()(authors)
    with timezone.override("Asia/Tokyo"):
        assert not held(ask(view))
    assert held(ask(view))


def test_what_a_proxy_does_not_name_a_page_by() -> None:
    """Each is in the name that the cache has of the page."""
    view = ormcache.cache_page()(authors)

    def put(**attributes: Any) -> Callable[[Any], None]:
        return lambda request: [setattr(request, *one) for one in attributes.items()] and None

    assert not held(ask(view, CONTENT_TYPE="text/plain"))
    assert not held(ask(view, put(encoding="latin-1")))
    assert not held(ask(view, put(path_info="/elsewhere/")))
    assert held(ask(view))


def test_a_view_of_the_framework_that_reads_the_request() -> None:
    """Reading what the framework itself has put there, or what is Django's, is no fact of its own."""

    view = ormcache.cache_page()(Api.as_view())
    by_handler = method_decorator(ormcache.cache_page(), name="get")(Api).as_view()
    for each in (view, view, by_handler, by_handler):
        assert held(ask(each, HTTP_HOST="testserver"))


def test_a_request_with_a_cookie_on_a_site_without_sessions() -> None:
    view = ormcache.cache_page()(authors)

    for _ in range(2):
        assert held(ask(view, lambda request: request.COOKIES.update(a="b")))


def test_a_lifetime_ends_with_that_of_the_page() -> None:
    view = ormcache.cache_page(timeout=20, s_maxage=60, stale_while_revalidate=60)(authors)

    for _ in range(2):
        control = dict(part.partition("=")[::2] for part in ask(view)["Cache-Control"].split(", "))
        assert 0 < int(control["s-maxage"]) <= 20
        assert 0 <= int(control["stale-while-revalidate"]) <= 20


@pytest.mark.parametrize("wrong", [-1, 1.5, "60", True])
def test_lifetimes_that_have_no_meaning(wrong: Any) -> None:
    for name in ("s_maxage", "stale_while_revalidate"):
        with pytest.raises(ValueError, match="whole numbers of seconds"):
            ormcache.cache_page(**{name: wrong})


def test_without_the_setting_nothing_is_added(configure: Callable[..., None]) -> None:
    configure(PURGE=None)
    view = ormcache.cache_page(s_maxage=60, stale_while_revalidate=5)(authors)

    for _ in range(2):
        response = ask(view)
        assert response["Cache-Control"] == "max-age=0, must-revalidate"
        assert "Vary" not in response
