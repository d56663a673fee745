"""The middleware, which caches the pages of all views, and class-based views of Django REST framework."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any, ClassVar

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import AnonymousUser, User
from django.db import connection, connections, transaction
from django.http import HttpResponse, JsonResponse
from django.template.response import TemplateResponse
from django.test import AsyncClient, Client, RequestFactory, override_settings
from django.urls import path
from django.utils.decorators import method_decorator
from django.views.generic import View
from rest_framework.authentication import BaseAuthentication
from rest_framework.decorators import api_view
from rest_framework.generics import ListAPIView
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.response import Response
from rest_framework.serializers import ModelSerializer
from rest_framework.versioning import BaseVersioning
from rest_framework.views import APIView

import ormcache
from ormcache import reasons
from ormcache.cache.tracking import Tracker
from ormcache.middleware import CachePageMiddleware
from ormcache.pages.checks import check_middleware
from tests.integration.calls import count_anew
from tests.integration.pages import site
from tests.shop.models import Author, Book, Genre

MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]


class PerUser(CachePageMiddleware):
    per = "user"


class PerShop(CachePageMiddleware):
    @staticmethod
    def per(request: Any) -> str:  # type: ignore[override]
        return request.headers.get("X-Shop", "")

    statuses = (200, 404)


class Renders:
    """Reads the database for the context of every template, before it is rendered."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        return self.get_response(request)

    def process_template_response(self, request: Any, response: Any) -> Any:
        response.context_data["genres"] = [genre.name for genre in Genre.objects.order_by("pk")]
        return response

    def process_exception(self, request: Any, exception: Exception) -> Any:
        return HttpResponse(f"failed: {exception}") if isinstance(exception, KeyError) else None


class Titles(ModelSerializer):
    class Meta:
        model = Book
        fields = ("title",)


class Api(ListAPIView):
    queryset = Book.objects.order_by("pk")
    serializer_class = Titles
    renderer_classes = (JSONRenderer,)

    def list(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        site.note(request)
        return super().list(request, *args, **kwargs)


@method_decorator(ormcache.cache_page(), name="dispatch")
class ByDispatch(Api):
    pass


@method_decorator(ormcache.cache_page(), name="list")
class ByHandler(Api):
    pass


class PlainRenderer(BaseRenderer):
    media_type = "text/plain"
    format = "txt"

    def render(self, data: Any, accepted_media_type: Any = None, renderer_context: Any = None) -> bytes:
        return str(data).encode()


class Whoami(APIView):
    renderer_classes = (JSONRenderer, PlainRenderer)

    def get(self, request: Any) -> Response:
        site.note(request)
        return Response({"name": request.user.first_name if request.user.is_authenticated else None})


@method_decorator(ormcache.cache_page(per="user"), name="dispatch")
class WhoamiByDispatch(Whoami):
    pass


@method_decorator(ormcache.cache_page(per="user"), name="get")
class WhoamiByHandler(Whoami):
    pass


class Tenants(APIView):
    """Sets an attribute on the framework's own request, before the handler that is decorated."""

    def initial(self, request: Any, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        request.tenant = request.headers.get("X-Tenant", "")

    @method_decorator(ormcache.cache_page())
    def get(self, request: Any) -> Response:
        site.note(request)
        return Response({"tenant": request.tenant})


class ShoutingRenderer(JSONRenderer):
    """Of the same media type as the one that it inherits from."""

    def render(self, data: Any, *args: Any, **kwargs: Any) -> bytes:
        return bytes(super().render(data, *args, **kwargs).upper())


class ByHeader(BaseVersioning, DefaultContentNegotiation):  # type: ignore[misc]
    """Chooses version and renderer by headers that no handler reads."""

    def determine_version(self, request: Any, *args: Any, **kwargs: Any) -> str:
        return str(request.headers.get("X-Version", "1"))

    def select_renderer(self, request: Any, renderers: Any, format_suffix: Any = None) -> Any:
        renderer = renderers["X-Loud" in request.headers]
        return renderer, renderer.media_type + ("; indent=1" if "X-Wide" in request.headers else "")


class Negotiated(APIView):
    renderer_classes = (JSONRenderer, ShoutingRenderer)
    versioning_class = ByHeader
    content_negotiation_class = ByHeader

    @method_decorator(ormcache.cache_page())
    def get(self, request: Any) -> Response:
        site.note(request)
        return Response({"version": f"v{request.version}"})


class ByKey(BaseAuthentication):
    """Finds a guest by a cookie."""

    def authenticate(self, request: Any) -> Any:
        key = request.COOKIES["key"]
        return (AnonymousUser(), key) if type(self) is ByKey or key == "a" else None


class ByFirstKey(ByKey):
    """Finds only one of them."""


class Keys(APIView):
    """Shows what was found before its handlers are called, of which no page is named."""

    authentication_classes = (ByFirstKey, ByKey)
    renderer_classes = (JSONRenderer,)

    @method_decorator(ormcache.cache_page())
    def get(self, request: Any, part: str) -> Response:
        site.note(request)
        site.titles()
        found = request.auth if part == "auth" else type(request.successful_authenticator).__name__
        return Response([found])


class ByCoroutine(View):
    async def get(self, request: Any) -> HttpResponse:
        site.note(request)
        return HttpResponse(", ".join([book.title async for book in Book.objects.order_by("pk")]))


def with_template(request: Any) -> TemplateResponse:
    site.note(request)
    return TemplateResponse(request, site.template("{{ genres }} {{ book }}"), {"book": site.titles()})


def failing(request: Any) -> HttpResponse:
    site.note(request)
    raise KeyError(site.titles())


@api_view(["GET"])
@ormcache.cache_page_exempt
def exempt_below(request: Any) -> HttpResponse:
    return site.plain(request)


class ExemptHandler(View):
    @ormcache.cache_page_exempt
    def get(self, request: Any) -> HttpResponse:
        return site.plain(request)


@ormcache.cache_page_exempt
async def exempt_coroutine(request: Any) -> HttpResponse:
    return await sync_to_async(site.plain)(request)


class ExemptCoroutine(View):
    @ormcache.cache_page_exempt
    async def get(self, request: Any) -> HttpResponse:
        return await sync_to_async(site.plain)(request)


def hello(request: Any) -> HttpResponse:
    return HttpResponse(request.user.first_name)


def item_of(request: Any) -> HttpResponse:
    return HttpResponse(vars(request)["session"].load()["item"])  # which leaves no trace on the session


def isolated(request: Any) -> JsonResponse:
    site.note(request)
    return JsonResponse({"atomic": connection.in_atomic_block, "titles": site.titles()})


def nobody(request: Any) -> None:
    """Name no page: a function for ``per``."""


for_nobody, for_a_minute = ormcache.cache_page(per=nobody)(site.plain), ormcache.cache_page(timeout=60)(site.plain)


def hidden(request: Any, *, has_timeout: bool) -> HttpResponse:
    """Call a view with a decorator that the middleware does not see."""
    return for_a_minute(request) if has_timeout else for_nobody(request)


urlpatterns = [
    path("hidden/", hidden, {"has_timeout": False}),
    path("hidden/timeout/", hidden, {"has_timeout": True}),
    *site.urlpatterns,
    path("api/", ByDispatch.as_view()),
    path("api/list/", ByHandler.as_view()),
    path("whoami/", WhoamiByDispatch.as_view()),
    path("whoami/get/", WhoamiByHandler.as_view()),
    path("tenants/", Tenants.as_view()),
    path("negotiated/", Negotiated.as_view()),
    path("keys/<str:part>/", Keys.as_view()),
    path("coroutine/", ByCoroutine.as_view()),
    path("template/", with_template),
    path("failing/", failing),
    path("hello/", hello),
    path("exempt/below-api-view/", exempt_below),
    path("exempt/handler/", ExemptHandler.as_view()),
    path("exempt/coroutine/", exempt_coroutine),
    path("exempt/coroutine-handler/", ExemptCoroutine.as_view()),
    path("item/", item_of),
    path("isolated/", isolated),
    path("isolated/decorated/", ormcache.cache_page()(isolated)),
]


@pytest.fixture(autouse=True)
def _pages(database: None, configure: Any) -> Iterator[None]:
    configure(ROWS="always")
    count_anew()
    site.ran.clear()
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[*MIDDLEWARE, "ormcache.middleware.CachePageMiddleware"]):
        yield


@pytest.fixture(autouse=True)
def iliad(_pages: None) -> Book:
    return Book.objects.create(author=Author.objects.create(name="Homer"), title="Iliad")


def runs(client: Client, address: str, **kwargs: Any) -> tuple[int, str]:
    site.ran.clear()
    answer = client.get(address, **kwargs).content.decode()
    return len(site.ran), answer


def middleware(name: str, *others: str) -> Any:
    return override_settings(MIDDLEWARE=[*MIDDLEWARE, *others, f"{__name__}.{name}"])


def derived() -> list[Any]:
    return connections["default"].ormcache.observer.counters.derived


# The middleware -----------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["/plain/", "/coroutine/", "/class/", "/books/"])
def test_all_views(address, iliad):
    client = Client()
    assert [runs(client, address)[0] for _ in range(3)] == [1, 0, 0]
    Book.objects.filter(pk=iliad.pk).update(title="Odyssey")
    assert "Odyssey" in runs(client, address)[1]


def test_a_view_that_is_exempt():
    client = Client()
    assert [runs(client, "/exempt/")[0] for _ in range(2)] == [1, 1]


@pytest.mark.parametrize("name", ["below-api-view", "handler", "coroutine", "coroutine-handler"])
def test_a_view_that_is_exempt_where_the_middleware_does_not_see_it(name):
    assert [runs(Client(), f"/exempt/{name}/")[0] for _ in range(2)] == [1, 1]
    assert all(set(one.rejected) == {reasons.DISABLED} for one in derived())


def test_an_exempt_coroutine_function_is_one():
    async def ask() -> bytes:
        return (await AsyncClient().get("/exempt/coroutine/")).content

    assert [async_to_sync(ask)() for _ in range(2)] == [b"Iliad"] * 2
    assert len(site.ran) == 2


def test_a_view_with_a_decorator_decides_by_itself():
    User.objects.create_user("ann", first_name="Ann")
    client = Client()
    client.get("/enter/ann/")
    for expected in (1, 0):
        assert runs(client, "/user/base/") == (expected, "Hello Ann||Iliad,|en-us|")


def test_a_decorator_that_the_middleware_does_not_see():
    assert [runs(Client(), "/hidden/")[0] for _ in range(2)] == [1, 1]
    assert set(derived()[0].rejected) == {reasons.UNNAMED}


def test_the_timeout_of_a_decorator_that_the_middleware_does_not_see(monkeypatch):
    expiries: list[float | None] = []
    real = Tracker.validate

    def validate(self: Tracker) -> Any:
        expiries.append(self.expires)
        return real(self)

    monkeypatch.setattr(Tracker, "validate", validate)
    assert [runs(Client(), "/hidden/timeout/")[0] for _ in range(2)] == [1, 0]
    assert any(one is not None for one in expiries)


def test_what_the_middleware_does_not_understand():
    client = Client()
    assert client.get("/nowhere/").status_code == 404
    assert client.post("/plain/").status_code == 200
    assert client.get("/plain/").resolver_match.route == "plain/"
    assert client.get("/plain/").wsgi_request.resolver_match.route == "plain/"
    assert [one.label for one in derived()] == ["/plain/"]


def test_the_middleware_is_asynchronous_as_well():
    async def work() -> list[Any]:
        client = AsyncClient()
        return [(await client.get(address)).content for address in ("/coroutine/", "/plain/") * 2]

    assert async_to_sync(work)() == [b"Iliad"] * 4
    assert site.ran == ["/coroutine/", "/plain/"]


def test_a_subclass_has_arguments():
    User.objects.create_user("ann", first_name="Ann")
    client = Client()
    client.get("/enter/ann/")
    with middleware("PerUser"):
        another = Client()
        another.cookies = client.cookies
        assert [runs(another, "/plain/")[0] for _ in range(2)] == [1, 0]
    assert [runs(client, "/plain/")[0] for _ in range(2)] == [1, 1]
    with middleware("PerShop"):
        found = [runs(Client(), "/plain/", headers={"x-shop": name})[0] for name in ("a", "b", "a")]
        assert found == [1, 1, 0]


def test_other_middleware_is_inside(iliad):
    with (
        middleware("Renders"),
        override_settings(MIDDLEWARE=[*MIDDLEWARE, f"{__name__}.PerUser", f"{__name__}.Renders"]),
    ):
        client = Client()
        assert [runs(client, "/template/") for _ in range(2)] == [(1, "[] Iliad"), (0, "[] Iliad")]
        Genre.objects.create(name="Epic")
        assert runs(client, "/template/") == (1, "[&#x27;Epic&#x27;] Iliad")
        assert [runs(client, "/failing/") for _ in range(2)] == [(1, "failed: 'Iliad'"), (0, "failed: 'Iliad'")]


def test_template_responses(iliad):
    client = Client()
    for expected in (1, 0):
        assert runs(client, "/user/base/") == (expected, "Log in||Iliad,|en-us|")


# Transactions -------------------------------------------------------------------------------


def test_atomic_requests(monkeypatch, engine, queries):
    """A hit of the middleware begins no transaction; on SQLite one of the decorator would not be safe."""
    monkeypatch.setitem(connections["default"].settings_dict, "ATOMIC_REQUESTS", True)
    client = Client()
    for expected in (1, 0):
        assert runs(client, "/isolated/") == (expected, '{"atomic": true, "titles": "Iliad"}')
    found = [runs(client, "/isolated/decorated/")[0] for _ in range(2)]
    assert found == [1, 1 if engine == "sqlite" else 0]
    Book.objects.update(title="Odyssey")
    for address in ("/isolated/", "/isolated/decorated/"):
        assert "Odyssey" in runs(client, address)[1]


def test_in_a_transaction_that_has_written(iliad):
    """Its own writes show, and are not stored for others."""
    view = ormcache.cache_page()(site.plain)
    request = RequestFactory().get("/")
    assert view(request).content == b"Iliad"
    with transaction.atomic():
        Book.objects.filter(pk=iliad.pk).update(title="Odyssey")
        assert view(request).content == b"Odyssey"
        transaction.set_rollback(True)
    assert view(request).content == b"Iliad"


# Django REST framework ------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["/api/", "/api/list/"])
def test_lists(address, iliad):
    client = Client()
    runs(client, address)  # it reads Accept
    assert [runs(client, address) for _ in range(2)] in (
        [(1, '[{"title":"Iliad"}]'), (0, '[{"title":"Iliad"}]')],
        [(0, '[{"title":"Iliad"}]')] * 2,
    )
    response = client.get(address)
    assert response["Content-Type"] == "application/json"
    assert client.get(address, headers={"if-none-match": response["ETag"]}).status_code == 304
    Book.objects.filter(pk=iliad.pk).update(title="Odyssey")
    assert runs(client, address)[1] == '[{"title":"Odyssey"}]'


@pytest.mark.parametrize("address", ["/whoami/", "/whoami/get/"])
def test_the_user_of_a_request_of_the_framework(address):
    browsers = []
    for name in ("ann", "bob"):
        User.objects.create_user(name, first_name=name.title())
        client = Client(headers={"accept": "application/json"})
        client.get(f"/enter/{name}/")
        browsers.append((client, name.title()))
    for _ in range(3):
        found = [runs(client, address) for client, _ in browsers]
        assert [answer for _, answer in found] == [f'{{"name":"{name}"}}' for _, name in browsers]
    assert [count for count, _ in found] == [0, 0]
    User.objects.filter(username="ann").update(first_name="Anna")
    assert runs(browsers[0][0], address) == (1, '{"name":"Anna"}')


def test_what_is_set_on_a_request_of_the_framework():
    def ask(tenant: str) -> tuple[int, str]:
        return runs(Client(headers={"accept": "application/json", "x-tenant": tenant}), "/tenants/")

    with override_settings(MIDDLEWARE=MIDDLEWARE):  # the decorator alone
        for expected in (1, 0):
            for tenant in ("a", "b"):
                assert ask(tenant) == (expected, f'{{"tenant":"{tenant}"}}')


@pytest.mark.parametrize("address", ["/whoami/", "/whoami/get/"])
def test_formats_of_the_framework(address):
    client = Client()
    for _ in range(3):
        assert client.get(address, headers={"accept": "application/json"}).content == b'{"name":null}'
        assert client.get(address, headers={"accept": "text/plain"}).content == b"{'name': None}"
    assert len(site.ran) < 6


def test_what_the_framework_has_negotiated_before_a_handler():
    """The version, the media type, and a renderer that has its media type in common with another one."""
    expected = {
        (): '{"version":"v1"}',
        (("x-version", "2"),): '{"version":"v2"}',
        (("x-loud", "1"),): '{"VERSION":"V1"}',
        (("x-wide", "1"),): '{\n "version": "v1"\n}',
        (("x-version", "2"), ("x-loud", "1")): '{"VERSION":"V2"}',
    }
    with override_settings(MIDDLEWARE=MIDDLEWARE):  # the decorator alone
        for ran in (1, 0):
            for headers, answer in expected.items():
                assert runs(Client(headers=dict(headers)), "/negotiated/") == (ran, answer)


@pytest.mark.parametrize("part, found", [("auth", ["a", "b"]), ("authenticator", ["ByFirstKey", "ByKey"])])
def test_what_the_framework_has_found_of_the_visitor_before_a_handler(part, found, iliad):
    with override_settings(MIDDLEWARE=MIDDLEWARE):  # the decorator alone
        for ran in (1, 0):
            for key, answer in zip("ab", found, strict=True):
                client = Client()
                client.cookies["key"] = key
                assert runs(client, f"/keys/{part}/") == (ran, f'["{answer}"]')


def test_an_authorization_goes_its_own_way():
    client = Client(headers={"authorization": "Token abc", "accept": "application/json"})
    assert [runs(client, "/whoami/")[0] for _ in range(2)] == [1, 1]
    assert reasons.AUTHORIZATION in derived()[0].rejected


# What is set wrong -------------------------------------------------------------------------------


def found_wrong(*names: str) -> list[str | None]:
    with override_settings(MIDDLEWARE=names):
        return [message.id for message in check_middleware()]


def test_checks():
    ours = "ormcache.middleware.CachePageMiddleware"
    assert found_wrong(*MIDDLEWARE, ours) == found_wrong(*MIDDLEWARE) == found_wrong(ours) == []
    assert found_wrong(ours, *MIDDLEWARE) == found_wrong(*MIDDLEWARE[:2], ours, *MIDDLEWARE[2:]) == ["ormcache.E021"]
    assert found_wrong(f"{__name__}.PerUser", *MIDDLEWARE) == ["ormcache.E021"]
    assert found_wrong("django.middleware.cache.UpdateCacheMiddleware", *MIDDLEWARE, ours) == ["ormcache.W015"]
    assert found_wrong(*MIDDLEWARE, ours, f"{__name__}.PerUser") == ["ormcache.W016"]


def test_a_middleware_that_comes_too_early():
    """It does not know whose page it is, and stores none that anybody has a part in."""
    for name in ("ann", "bob"):
        User.objects.create_user(name, first_name=name.title())
    with override_settings(MIDDLEWARE=["ormcache.middleware.CachePageMiddleware", *MIDDLEWARE]):
        for _ in range(2):
            for name in ("ann", "bob"):
                client = Client()
                client.get(f"/enter/{name}/")
                assert client.get("/hello/").content.decode() == name.title()
    assert reasons.LATE_MIDDLEWARE in next(one for one in derived() if one.label == "/hello/").rejected


def test_a_middleware_that_comes_before_the_sessions():
    """Of which it sees nothing, whether or not there are users."""
    sessions = "django.contrib.sessions.middleware.SessionMiddleware"
    with override_settings(MIDDLEWARE=["ormcache.middleware.CachePageMiddleware", sessions]):
        for item in ("a", "b"):
            client = Client()
            session = client.session
            session["item"] = item
            session.save()
            assert client.get("/item/").content.decode() == item
    assert reasons.LATE_MIDDLEWARE in next(one for one in derived() if one.label == "/item/").rejected


def test_a_middleware_that_comes_before_the_users():
    """They are found in the session, which it sees."""
    sessions, users = MIDDLEWARE[0], MIDDLEWARE[2]
    with override_settings(MIDDLEWARE=[sessions, f"{__name__}.PerUser", users]):
        assert [runs(Client(), "/plain/")[0] for _ in range(2)] == [1, 1]
    assert set(derived()[0].rejected) == {reasons.LATE_MIDDLEWARE}


class ChoosesUrls:
    """Middleware that finds out by the host, say, which list of URLs a request is for."""

    lists: ClassVar[list[ModuleType]] = []

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        request.urlconf = self.lists[0]
        return self.get_response(request)


def urls_of(word: str) -> Any:
    found: Any = ModuleType(f"urls_{word}")
    found.urlpatterns = [path("", lambda request: HttpResponse(word))]
    return found


def test_a_list_of_urls_names_the_page(monkeypatch):
    """Django sets it up only after all middleware."""
    chooses = f"{__name__}.{ChoosesUrls.__qualname__}"
    one, two = urls_of("one"), urls_of("two")
    with override_settings(MIDDLEWARE=[chooses, "ormcache.middleware.CachePageMiddleware"]):
        for urls in (one, two) * 2:
            monkeypatch.setattr(ChoosesUrls, "lists", [urls])
            assert Client().get("/").content.decode() == urls.__name__.removeprefix("urls_")
    assert sum(one.hits for one in derived()) == 2


def test_a_middleware_twice():
    client = Client()
    with override_settings(MIDDLEWARE=[*MIDDLEWARE, *["ormcache.middleware.CachePageMiddleware"] * 2]):
        assert [runs(client, "/plain/")[0] for _ in range(2)] == [1, 0]
