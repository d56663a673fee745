"""A small site whose pages are cached, for the tests beside this file and for processes of their own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login, logout
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, HttpResponseNotFound, JsonResponse, StreamingHttpResponse
from django.middleware.csrf import get_token
from django.template import engines
from django.template.response import TemplateResponse
from django.test import Client, override_settings
from django.urls import include, path
from django.utils import timezone, translation
from django.utils.cache import patch_cache_control, patch_vary_headers
from django.utils.decorators import method_decorator
from django.views.generic import ListView, View

import ormcache
from tests.shop.models import Author, Book, Review

#: Counts how often views have run, so that a test can see which did
runs: Iterator[int] = itertools.count()
ran: list[str] = []


def note(request: HttpRequest) -> None:
    ran.append(request.path)


def titles() -> str:
    return ", ".join(Book.objects.order_by("pk").values_list("title", flat=True))


def template(source: str) -> Any:
    return engines["django"].from_string(source)


@ormcache.cache_page()
def books(request: HttpRequest) -> HttpResponse:
    note(request)
    return HttpResponse(f"Books: {titles()} ({request.GET.urlencode()})")


@ormcache.cache_page()
def book(request: HttpRequest, pk: int) -> HttpResponse:
    note(request)
    found = Book.objects.select_related("author").get(pk=pk)
    texts = Review.objects.filter(book_id=pk).order_by("pk").values_list("text", flat=True)
    return HttpResponse(f"{found.title} by {found.author.name}: {', '.join(texts)}")


#: What a site's base template has, and a list from the database
BASE = (
    "{% if user.is_authenticated %}Hello {{ user.first_name }}{% else %}Log in{% endif %}|"
    "{% for message in messages %}{{ message }};{% endfor %}|"
    "{% for book in books %}{{ book.title }},{% endfor %}|{{ LANGUAGE_CODE }}|"
)


def base(request: HttpRequest) -> TemplateResponse:
    """Uses the user and the messages as a site's base template does, and no session."""
    note(request)
    context = {"books": Book.objects.order_by("pk"), "LANGUAGE_CODE": translation.get_language()}
    return TemplateResponse(request, template(BASE), context)


def cart(request: HttpRequest) -> HttpResponse:
    """Shows what is in the session."""
    note(request)
    user = request.user.first_name if request.user.is_authenticated else "nobody"
    return HttpResponse(f"{user} has {sorted(request.session.get('cart', []))} of {titles()}")


def in_language(request: HttpRequest) -> HttpResponse:
    note(request)
    return HttpResponse(f"{translation.gettext('Yes')} {timezone.get_current_timezone_name()} {titles()}")


def forms(request: HttpRequest) -> HttpResponse:
    note(request)
    return HttpResponse(f"{get_token(request)} {titles()}")


def with_message(request: HttpRequest) -> HttpResponse:
    note(request)
    messages.info(request, "Saved")
    return HttpResponse(titles())


def sets_cookie(request: HttpRequest) -> HttpResponse:
    note(request)
    response = HttpResponse(titles())
    response.set_cookie("visited", "yes")
    return response


def private(request: HttpRequest) -> HttpResponse:
    note(request)
    response = HttpResponse(titles())
    patch_cache_control(response, **{request.GET["directive"]: True})
    return response


def streams(request: HttpRequest) -> StreamingHttpResponse:
    note(request)
    return StreamingHttpResponse([titles()])


def varies(request: HttpRequest) -> HttpResponse:
    note(request)
    response = HttpResponse(f"{titles()} in short" if request.headers.get("X-Short") else titles())
    patch_vary_headers(response, [request.GET.get("on", "X-Short")])
    return response


def reads(request: HttpRequest) -> HttpResponse:
    """Reads a header or a cookie, and says nothing of it."""
    note(request)
    what = request.GET["what"]
    value = {
        "header": lambda: request.headers.get("X-Theme", ""),
        "meta": lambda: request.META.get("HTTP_X_THEME", ""),
        "environ": lambda: request.environ.get("HTTP_X_THEME", ""),
        "cookie": lambda: request.COOKIES.get("theme", ""),
        "address": lambda: request.META["REMOTE_ADDR"],
        "accepts": lambda: str(request.accepts("application/json")),
        "all": lambda: str(len(dict(request.META))),
        "all headers": lambda: str(list(request.headers.items())),
        "session key": lambda: str(request.session.session_key),
    }[what]()
    return HttpResponse(f"{value} {titles()}")


def missing(request: HttpRequest) -> HttpResponse:
    note(request)
    return HttpResponseNotFound(f"Not among {titles()}")


def fails(request: HttpRequest) -> HttpResponse:
    note(request)
    raise ValueError(titles())


def own_headers(request: HttpRequest) -> HttpResponse:
    note(request)
    response = HttpResponse(titles(), content_type="text/plain; charset=utf-8", reason="Fine")
    response["ETag"] = '"own"'
    response["Cache-Control"] = "max-age=300"
    response["X-Own"] = "yes"
    response["Content-Length"] = "1"
    response.xframe_options_exempt = True
    return response


def writes(request: HttpRequest) -> HttpResponse:
    note(request)
    Author.objects.create(name="Written by a page")
    return HttpResponse(titles())


def at_random(request: HttpRequest) -> HttpResponse:
    note(request)
    return HttpResponse(str(Book.objects.order_by("?").first()))


def site_name(request: HttpRequest) -> HttpResponse:
    """Shows what middleware has read before."""
    note(request)
    return HttpResponse(f"{request.shop.name}: {titles()}")


async def by_coroutine(request: HttpRequest) -> HttpResponse:
    note(request)
    found = [book.title async for book in Book.objects.order_by("pk")]
    user = await request.auser()
    return HttpResponse(f"{user.first_name if user.is_authenticated else 'nobody'}: {', '.join(found)}")


class Books(ListView):
    queryset = Book.objects.order_by("pk")

    def render_to_response(self, context: Any, **kwargs: Any) -> TemplateResponse:
        note(self.request)
        return TemplateResponse(self.request, template("{% for book in books %}{{ book }},{% endfor %}"), context)

    def get_context_object_name(self, object_list: Any) -> str:
        return "books"


@method_decorator(ormcache.cache_page(), name="dispatch")
class CachedBooks(Books):
    pass


@method_decorator(ormcache.cache_page(), name="dispatch")
class AsyncBooks(View):
    async def get(self, request: HttpRequest) -> HttpResponse:
        note(request)
        return HttpResponse(", ".join([book.title async for book in Book.objects.order_by("pk")]))


@ormcache.cache_page_exempt
def exempt(request: HttpRequest) -> HttpResponse:
    note(request)
    return HttpResponse(titles())


def plain(request: HttpRequest) -> HttpResponse:
    note(request)
    return HttpResponse(titles())


def enter(request: HttpRequest, name: str) -> HttpResponse:
    login(request, User.objects.get(username=name), backend="django.contrib.auth.backends.ModelBackend")
    return HttpResponse("in")


def leave(request: HttpRequest) -> HttpResponse:
    logout(request)
    return HttpResponse("out")


def put_into_cart(request: HttpRequest, item: str) -> HttpResponse:
    request.session["cart"] = [*request.session.get("cart", []), item]
    messages.info(request, f"{item} is in the cart")
    return HttpResponse("put")


def comment(request: HttpRequest, pk: int) -> JsonResponse:
    return JsonResponse({"review": Review.objects.create(book_id=pk, text=request.POST["text"]).pk})


def per(view: Any, **kwargs: Any) -> list[Any]:
    """The paths of a view with each ``per``."""
    name = view.__name__.replace("_", "-")
    return [
        path(f"{who}/{name}/", ormcache.cache_page(per=who, **kwargs)(view)) for who in ("anonymous", "user", "session")
    ]


urlpatterns = [
    path("books/", books),
    path("books/<int:pk>/", book),
    path("books/<int:pk>/comment/", comment),
    path("class/", CachedBooks.as_view()),
    path("async-class/", AsyncBooks.as_view()),
    path("enter/<str:name>/", enter),
    path("leave/", leave),
    path("cart/<str:item>/", put_into_cart),
    path("i18n/", include("django.conf.urls.i18n")),
    path("exempt/", exempt),
    path("plain/", plain),
    path("tenant/", ormcache.cache_page(per=lambda request: request.GET.get("tenant"))(base)),
    path("tenant/cart/", ormcache.cache_page(per=lambda request: request.GET.get("tenant"))(cart)),
    path("staff/", ormcache.cache_page(per=lambda request: request.user.is_staff)(base)),
    path("inexact/", ormcache.cache_page(per=lambda request: request)(base)),
    path("with-404/missing/", ormcache.cache_page(statuses=(200, 404))(missing)),
    *itertools.chain.from_iterable(
        map(
            per,
            [
                *(base, cart, in_language, forms, with_message, sets_cookie, private, streams, varies, reads, missing),
                *(fails, own_headers, writes, at_random, site_name, by_coroutine),
            ],
        )
    ),
]


def fetch(address: str, **headers: str) -> tuple[int, str, dict[str, str], list[str]]:
    """The answer to one request in this process, and which views have run for it."""
    ran.clear()
    with override_settings(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["testserver"]):
        response = Client(headers=headers).get(address)
    return response.status_code, response.content.decode(), dict(response.headers), [*ran]


def fetch_by(version: str, address: str) -> list[str]:
    """Which views run for a request to a new process of this ``VERSION``."""
    settings.DATABASES["default"]["ORMCACHE"]["VERSION"] = version
    return fetch(address)[3]
