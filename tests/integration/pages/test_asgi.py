"""Pages on one event loop: many visitors at the same time, responses that are streamed, and visitors who leave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from asgiref.testing import ApplicationCommunicator
from django.contrib.auth.models import User
from django.core.asgi import get_asgi_application
from django.db import connections
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import AsyncClient, AsyncRequestFactory, Client, override_settings
from django.urls import path

import ormcache
from ormcache import reasons
from tests.integration.calls import count_anew
from tests.integration.pages import site
from tests.shop.models import Author, Book

MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
CACHES_PAGES = "ormcache.middleware.CachePageMiddleware"


@pytest.fixture(autouse=True)
def iliad(database: None, configure: Any) -> Iterator[Book]:
    configure(ROWS="always")
    count_anew()
    site.ran.clear()
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=MIDDLEWARE, ALLOWED_HOSTS=["testserver"]):
        yield Book.objects.create(author=Author.objects.create(name="Homer"), title="Iliad")


def why() -> set[str]:
    return {reason for one in connections["default"].ormcache.observer.counters.derived for reason in one.rejected}


async def hello(request: HttpRequest) -> HttpResponse:
    """Lets others run between all that it reads."""
    site.note(request)
    first = [book.title async for book in Book.objects.order_by("pk")]
    await asyncio.sleep(0)
    user = await request.auser()
    await asyncio.sleep(0)
    return HttpResponse(f"{user.first_name if user.is_authenticated else 'nobody'}: {', '.join(first)}")


async def letters() -> AsyncIterator[str]:
    async for book in Book.objects.order_by("pk"):
        for letter in book.title:
            yield letter


def streams(request: HttpRequest, how: str) -> Any:
    site.note(request)
    if how == "file":
        return FileResponse(Path(__file__).open("rb"))
    if how == "letters":
        return StreamingHttpResponse(letters())
    return StreamingHttpResponse(book.title for book in Book.objects.order_by("pk"))


def missing(request: HttpRequest) -> HttpResponse:
    site.note(request)
    if Book.objects.filter(title="Odyssey").exists():
        return HttpResponse("there")
    raise Http404("Not there")


#: What the first request for the next view sets
arrived: list[asyncio.Event] = []


async def waits(request: HttpRequest) -> HttpResponse:
    """Waits for as long as its visitor."""
    site.note(request)
    title = (await Book.objects.aget()).title
    if len(site.ran) == 1:
        arrived[0].set()
        await asyncio.Event().wait()
    return HttpResponse(title)


def cached(per: str, view: Any) -> Any:
    return ormcache.cache_page(per=per, statuses=(200, 404))(view)


urlpatterns = [
    *[path(f"{per}/hello/", cached(per, hello)) for per in ("anonymous", "user", "session")],
    path("enter/<str:name>/", site.enter),
    path("streams/<str:how>/", cached("anonymous", streams)),
    path("by-middleware/streams/<str:how>/", streams),
    path("missing/", cached("anonymous", missing)),
    path("by-middleware/missing/", missing),
    path("waits/", cached("anonymous", waits)),
]


def test_a_function_that_reads_the_database_to_name_the_visitor(iliad):
    """In no event loop, though there is no session to be loaded."""

    async def view(request: HttpRequest) -> HttpResponse:
        site.note(request)
        return HttpResponse("shown")

    cached = ormcache.cache_page(per=lambda request: Book.objects.get().title)(view)

    async def ask() -> bytes:
        return bytes((await cached(AsyncRequestFactory().get("/"))).content)

    for count in (1, 1):
        assert async_to_sync(ask)() == b"shown"
        assert len(site.ran) == count
    Book.objects.update(title="Odyssey")
    assert async_to_sync(ask)() == b"shown"
    assert len(site.ran) == 2


@pytest.mark.parametrize("per", ["anonymous", "user", "session"])
def test_visitors_at_the_same_time(per, iliad):
    names = [f"user{number}" for number in range(6)]
    cookies = {"nobody": Client().cookies}
    for name in names:
        User.objects.create_user(name, first_name=name)
        client = Client()
        client.get(f"/enter/{name}/")
        cookies[name] = client.cookies

    async def ask(name: str) -> tuple[str, str]:
        client = AsyncClient()
        client.cookies = cookies[name]
        return name, (await client.get(f"/{per}/hello/")).content.decode()

    async def all_ask() -> list[tuple[str, str]]:
        return await asyncio.gather(*(ask(name) for name in [*names, "nobody"] * 3))

    for title in ("Iliad", "Odyssey"):
        Book.objects.update(title=title)
        found = async_to_sync(all_ask)()
        assert [shown for _, shown in found] == [f"{name}: {title}" for name, _ in found]


@pytest.mark.parametrize("prefix", ["", "/by-middleware"])
def test_what_is_streamed_is_made_for_each(prefix):
    async def ask() -> bytes:
        response: Any = await AsyncClient().get(f"{prefix}/streams/letters/")
        return b"".join([part async for part in response])

    def ask_by_wsgi(how: str) -> bytes:
        response: Any = Client().get(f"{prefix}/streams/{how}/")
        try:
            return b"".join(response)
        finally:
            response.close()

    with override_settings(MIDDLEWARE=[*MIDDLEWARE, CACHES_PAGES]):
        for _ in range(2):
            assert async_to_sync(ask)() == ask_by_wsgi("rows") == b"Iliad"
            assert ask_by_wsgi("file") == Path(__file__).read_bytes()
    assert (len(site.ran), why()) == (6, {reasons.STREAMING})


def test_an_exception_is_no_response_to_a_decorator(iliad):
    """So that a page which comes to be is there at once."""
    for _ in range(2):
        assert Client().get("/missing/").status_code == 404
    assert len(site.ran) == 2
    Book.objects.update(title="Odyssey")
    assert [Client().get("/missing/").content for _ in range(2)] == [b"there"] * 2
    assert len(site.ran) == 3


def test_a_visitor_who_leaves_while_a_page_is_made(iliad):
    """The page is made anew for the next one, who does not wait for what never comes."""

    async def work() -> tuple[bytes, bytes]:
        scope = {"type": "http", "http_version": "1.1", "method": "GET", "path": "/waits/", "query_string": b""}
        scope |= {"headers": [(b"host", b"testserver")], "server": ("testserver", 80)}
        arrived[:] = [asyncio.Event()]
        leaving = ApplicationCommunicator(get_asgi_application(), scope)
        await leaving.send_input({"type": "http.request", "body": b""})
        await arrived[0].wait()
        await leaving.send_input({"type": "http.disconnect"})
        await leaving.wait(10)
        client = AsyncClient()
        return (await client.get("/waits/")).content, (await client.get("/waits/")).content

    assert async_to_sync(work)() == (b"Iliad", b"Iliad")
    assert len(site.ran) == 2
