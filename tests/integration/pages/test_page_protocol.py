"""Writes at every point of a page's way into the cache, other processes, deploys, and what it costs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connections, transaction
from django.http import HttpResponse
from django.test import AsyncClient, Client, RequestFactory, override_settings

import ormcache
from ormcache import reasons
from ormcache.cache.serializer import Unreadable
from ormcache.cache.stamps import Stamps
from ormcache.cache.tracking import Tracker
from ormcache.pages import responses
from ormcache.pages.derivation import Derivation
from ormcache.stores.base import Store
from tests.integration.actors import Actor, points, reach
from tests.integration.calls import count_anew
from tests.integration.pages import site
from tests.integration.reading import in_thread, shown_on_sqlite
from tests.shop.models import Author, Book, Genre


@pytest.fixture(autouse=True)
def _pages(database: None, configure: Any) -> Iterator[None]:
    configure(ROWS="always")
    count_anew()
    site.ran.clear()
    with override_settings(ROOT_URLCONF=site.__name__):
        yield


@pytest.fixture(autouse=True)
def iliad(_pages: None) -> Book:
    Genre.objects.create(name="Epic")
    return Book.objects.create(author=Author.objects.create(name="Homer"), title="Iliad")


def rejected() -> set[str]:
    found: set[str] = set()
    for derived in connections["default"].ormcache.observer.counters.derived:
        found |= set(derived.rejected)
    return found


def rename(title: str) -> None:
    in_thread(lambda: Book.objects.update(title=title))


# Writes at named points -----------------------------------------------------------------------


def two_reads(between: Callable[[], None], after: Callable[[], None]) -> Callable[[Any], HttpResponse]:
    def view(request: Any) -> HttpResponse:
        site.note(request)
        first = site.titles()
        between()
        genres = ", ".join(Genre.objects.values_list("name", flat=True))
        after()
        return HttpResponse(f"{first} {genres} {Book.objects.count()}")

    return view


def nothing() -> None:
    """Do nothing."""


@pytest.mark.parametrize(
    "place", ["between two reads", "after the last read", "before it is validated", "before it is stored"]
)
def test_a_write_in_the_middle_of_a_page(place, monkeypatch):
    """The page may mix two states, or is one behind: the next request is shown none of it."""
    done: list[str] = []

    def write_once() -> None:
        if not done:
            done.append(place)
            rename("Odyssey")

    if place == "before it is validated":
        patch_before(monkeypatch, Tracker, "validate", write_once)
    elif place == "before it is stored":
        patch_before(monkeypatch, Stamps, "store_entry", lambda: write_once() if finishing else None)
    view = ormcache.cache_page()(
        two_reads(
            write_once if place == "between two reads" else nothing,
            write_once if place == "after the last read" else nothing,
        )
    )
    request = RequestFactory().get("/")
    view(request)
    assert done
    for _ in range(2):
        assert view(request).content == b"Odyssey Epic 1"
    assert len(site.ran) == 2


#: not empty while a page is being stored
finishing: list[bool] = []


@pytest.fixture(autouse=True)
def _note_finishing(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Derivation.finish

    def finish(self: Any, *args: Any) -> Any:
        finishing.append(True)
        try:
            return real(self, *args)
        finally:
            finishing.pop()

    monkeypatch.setattr(Derivation, "finish", finish)


def patch_before(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: Callable[[], None]) -> None:
    real = getattr(owner, name)

    def patched(*args: Any, **kwargs: Any) -> Any:
        call()
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, name, patched)


@shown_on_sqlite
def test_a_write_during_a_flight(monkeypatch):
    """Who waits for another caller's page is not given one of before its own request."""
    view = ormcache.cache_page()(two_reads(lambda: reach("between reads"), nothing))
    request = RequestFactory().get("/")
    with points(monkeypatch):
        first = Actor(lambda: view(RequestFactory().get("/")).content)
        first.to("between reads")
        rename("Odyssey")
        second = Actor(lambda: view(RequestFactory().get("/")).content)
        second.on(lambda point: point == "between reads")
        first.finish()
        assert second.finish() == b"Odyssey Epic 1"
    assert view(request).content == b"Odyssey Epic 1"


@shown_on_sqlite
def test_a_writer_that_is_committing(monkeypatch, wal):
    """Between its mark and its commit nothing is stored, and afterwards the new page is."""
    view = ormcache.cache_page()(two_reads(nothing, nothing))
    request = RequestFactory().get("/")

    def write() -> None:
        with transaction.atomic():
            Book.objects.update(title="Odyssey")

    with points(monkeypatch):
        writer = Actor(write).to("before commit")
        assert view(request).content == b"Iliad Epic 1"
        writer.finish()
        assert view(request).content == b"Odyssey Epic 1"
    assert reasons.MARKED in rejected()


# Other processes -------------------------------------------------------------------------------


@pytest.mark.parametrize("store", ["embedded", "redis"])
def test_two_hosts_serve_the_same_pages(store, configure, other_process, iliad):
    if store == "redis":
        configure(STORE="redis", CACHE="redis")
    client = Client()
    assert client.get("/books/").content == b"Books: Iliad ()"
    etag = client.get("/books/")["ETag"]
    status, content, headers, ran = other_process("tests.integration.pages.site.fetch", "/books/")
    assert (status, content, headers["ETag"], ran) == (200, "Books: Iliad ()", etag, [])
    Book.objects.filter(pk=iliad.pk).update(title="Odyssey")
    status, content, _, ran = other_process("tests.integration.pages.site.fetch", "/books/")
    assert (content, ran) == ("Books: Odyssey ()", ["/books/"])
    site.ran.clear()
    assert client.get("/books/").content == b"Books: Odyssey ()"
    assert site.ran == []


def test_headers_and_cookies_are_learned_by_all_processes(other_process):
    client = Client(headers={"x-short": "1"})
    for _ in range(2):
        client.get("/anonymous/varies/")
    for expected in ([], ["/anonymous/varies/"]):
        theme = {} if expected else {"x-short": "1"}
        _, _, _, ran = other_process("tests.integration.pages.site.fetch", "/anonymous/varies/", **theme)
        assert ran == expected


def test_a_deploy_mixes_nothing(other_process):
    """Nor does rolling it back, which finds the pages of before."""
    found = [
        other_process("tests.integration.pages.site.fetch_by", version, "/books/") for version in ("1", "2", "1", "2")
    ]
    assert found == [["/books/"], ["/books/"], [], []]


def test_a_view_that_a_deploy_has_changed():
    found = []
    for word in ("before", "after", "before"):
        scope: dict[str, Any] = {"HttpResponse": HttpResponse}
        exec(f"def view(request): return HttpResponse({word!r})", scope)
        found.append(ormcache.cache_page()(scope["view"])(RequestFactory().get("/")).content)
    assert found == [b"before", b"after", b"before"]


def test_an_entry_that_somebody_else_has_written(iliad, monkeypatch):
    """Whatever is in the store, it is a page, or the view runs."""
    request = RequestFactory().get("/")
    for payload in (
        None,
        b"",
        (200,),
        (200, None, '"a"', (), b"", ()),
        (200, None, 5, (), b"", (), None),
        ("x", None, '"a"', (), b"", (), None),
        (200, None, '"a"', (("X-A", "b\r\nSet-Cookie: c=d"),), b"", (), None),
        (200, None, '"a"', (("X-A",),), b"", (), None),
        (9999, None, '"a"', (), b"", (), None),
        (200, None, '"a"', (), b"", 5, None),
        (200, None, '"a"', (), b"", (), 5),
    ):
        with pytest.raises(Unreadable):
            responses.load(request, payload)
    loaded = responses.load(request, (200, None, '"a"', (), b"x", (("headers", {}), ("mine", 1)), None))
    assert "Content-Type" not in loaded
    assert (loaded.headers, loaded.mine) == ({}, 1)

    real = responses.dump
    monkeypatch.setattr(responses, "dump", lambda response, **kwargs: real(response, **kwargs)[:1])
    client = Client()
    assert [client.get("/books/").content for _ in range(2)] == [b"Books: Iliad ()"] * 2
    assert len(site.ran) == 2


# Without a cache -----------------------------------------------------------------------------------


def test_disabled():
    client = Client()
    client.get("/books/")
    with ormcache.disabled():
        client.get("/books/")
    assert len(site.ran) == 2


def test_an_outage_of_the_store(monkeypatch):
    from ormcache.exceptions import StoreUnavailable

    client = Client()
    client.get("/books/")

    def away(*args: Any, **kwargs: Any) -> Any:
        raise StoreUnavailable("away")

    for name in ("look_up", "put_entry", "fill_slots"):
        for cls in [Store, *Store.__subclasses__()]:
            if name in vars(cls):
                monkeypatch.setattr(cls, name, away)
    assert client.get("/books/").content == b"Books: Iliad ()"
    assert len(site.ran) == 2


def test_a_database_without_ormcache():
    cached = ormcache.cache_page(using="plain")(site.plain)
    for _ in range(2):
        assert cached(RequestFactory().get("/")).content == b"Iliad"
    assert len(site.ran) == 2


# Coroutines --------------------------------------------------------------------------------------------


def test_a_page_by_asgi(iliad):
    async def work() -> list[bytes]:
        client = AsyncClient()
        addresses = ("/anonymous/by-coroutine/", "/user/by-coroutine/", "/async-class/", "/books/")
        found = [(await client.get(address)).content for address in addresses * 2]
        await Book.objects.filter(pk=iliad.pk).aupdate(title="Odyssey")
        found.append((await client.get("/anonymous/by-coroutine/")).content)
        return found

    found = async_to_sync(work)()
    assert found[:4] == found[4:8] == [b"nobody: Iliad", b"nobody: Iliad", b"Iliad", b"Books: Iliad ()"]
    assert found[8] == b"nobody: Odyssey"
    assert len(site.ran) == 5


def test_the_user_of_a_coroutine():
    from django.contrib.auth.models import User

    User.objects.create_user("ann", first_name="Ann")
    client = Client()
    client.get("/enter/ann/")

    async def work() -> list[bytes]:
        asynchronous = AsyncClient()
        asynchronous.cookies = client.cookies
        found = [(await asynchronous.get("/user/by-coroutine/")).content for _ in range(2)]
        await User.objects.aupdate(first_name="Anna")
        found.append((await asynchronous.get("/user/by-coroutine/")).content)
        return found

    assert async_to_sync(work)() == [b"Ann: Iliad", b"Ann: Iliad", b"Anna: Iliad"]
    assert len(site.ran) == 2


# What it costs ---------------------------------------------------------------------------------------------


def calls(function: Callable[[], Any]) -> int:
    """How many functions of Python are called."""
    count = 0

    def note(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(before)
    return count


@shown_on_sqlite
def test_what_a_hit_costs():
    view = ormcache.cache_page()(site.plain)
    etag = view(RequestFactory().get("/"))["ETag"]
    hit, known = (RequestFactory().get("/") for _ in range(2))
    known.META["HTTP_IF_NONE_MATCH"] = etag
    for request in (hit, known):
        view(request)
    assert calls(lambda: view(hit)) < 215  # it takes 191; other libraries that the process has loaded add a few
    assert calls(lambda: view(known)) < 215
