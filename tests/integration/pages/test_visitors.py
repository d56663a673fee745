"""Whom a page is shown to: never to somebody whom it does not belong to, and from the cache to all whom it does."""

from __future__ import annotations

import copy
import pickle
import random
import re
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib import messages
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.db import connections
from django.http import HttpResponse
from django.test import Client, RequestFactory, override_settings
from django.urls import path
from django.utils import translation
from django.utils.functional import SimpleLazyObject
from rest_framework.views import APIView

import ormcache
from ormcache import reasons
from ormcache.pages.derivation import Derivation
from tests.integration.calls import count_anew
from tests.integration.pages import site
from tests.shop.models import Author, Book, Genre

PERS = ["anonymous", "user", "session"]

MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]


@pytest.fixture(autouse=True)
def _pages(database: None, configure: Any) -> Iterator[None]:
    configure(ROWS="always")
    count_anew()
    site.ran.clear()
    with override_settings(ROOT_URLCONF=site.__name__, USE_I18N=True, MIDDLEWARE=MIDDLEWARE):
        yield
    translation.deactivate()  # which LocaleMiddleware leaves to the next request


@pytest.fixture(autouse=True)
def iliad(_pages: None) -> Book:
    return Book.objects.create(author=Author.objects.create(name="Homer"), title="Iliad")


def user(name: str) -> Client:
    """A browser in which this user, who is new, is logged in."""
    User.objects.create_user(name, first_name=name.title(), password="x")
    client = Client()
    assert client.get(f"/enter/{name}/").content == b"in"
    return client


def with_cart(client: Client, item: str) -> Client:
    client.get(f"/cart/{item}/")
    show_messages(client)
    return client


def show_messages(client: Client) -> str:
    """What the messages are, which are then gone."""
    return client.get("/anonymous/base/").content.decode()


def runs(client: Client, address: str) -> tuple[int, str]:
    site.ran.clear()
    answer = client.get(address).content.decode()
    return len(site.ran), answer


def why() -> set[str]:
    found: set[str] = set()
    for derived in connections["default"].ormcache.observer.counters.derived:
        found |= set(derived.rejected)
    return found


# A base template ----------------------------------------------------------------------------


@pytest.mark.parametrize("per", PERS)
def test_a_page_without_a_session_is_the_same_for_all(per):
    """Though it reads the user and the messages, as a base template does."""
    assert runs(Client(), f"/{per}/base/") == (1, "Log in||Iliad,|en|")
    assert runs(Client(), f"/{per}/base/") == (0, "Log in||Iliad,|en|")


@pytest.mark.parametrize("per", PERS)
def test_a_cart_without_a_login(per):
    address = f"/{per}/base/"
    one, two = with_cart(Client(), "nails"), with_cart(Client(), "screws")
    assert runs(one, address)[1] == "Log in||Iliad,|en|"
    assert runs(one, address)[0] == 0
    # Those without a login share a page that does not show the cart, but under "session" only with their like.
    assert runs(two, address)[0] == (per == "session")


def test_a_page_per_user():
    ann, bob = user("ann"), user("bob")
    assert runs(ann, "/user/base/") == (1, "Hello Ann||Iliad,|en|")
    assert runs(ann, "/user/base/") == (0, "Hello Ann||Iliad,|en|")
    assert runs(bob, "/user/base/") == (1, "Hello Bob||Iliad,|en|")
    second = Client()
    second.get("/enter/ann/")  # which writes the user's last_login
    assert runs(second, "/user/base/") == (1, "Hello Ann||Iliad,|en|")
    for client in (ann, second):
        assert runs(client, "/user/base/") == (0, "Hello Ann||Iliad,|en|")


def test_a_page_shows_the_user_of_now():
    ann = user("ann")
    for _ in range(2):
        runs(ann, "/user/base/")
    User.objects.filter(username="ann").update(first_name="Anna")
    assert runs(ann, "/user/base/") == (1, "Hello Anna||Iliad,|en|")
    User.objects.filter(username="ann").update(is_active=False)
    assert runs(ann, "/user/base/")[1].startswith("Log in")


class LoadsUser:
    """Middleware that reads the user before the view does."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        assert request.user.is_authenticated in (True, False)
        return self.get_response(request)


def test_a_user_who_was_loaded_before_the_view():
    with override_settings(MIDDLEWARE=[*MIDDLEWARE, f"{__name__}.LoadsUser"]):
        ann = user("ann")
        for _ in range(2):
            assert runs(ann, "/user/base/")[1] == "Hello Ann||Iliad,|en|"
        assert runs(ann, "/user/base/")[0] == 0
        User.objects.filter(username="ann").update(first_name="Anna")
        assert runs(ann, "/user/base/") == (1, "Hello Anna||Iliad,|en|")


def test_logged_in_users_are_shown_no_anonymous_page():
    assert runs(Client(), "/anonymous/base/")[0] == 1
    ann = user("ann")
    for _ in range(2):
        assert runs(ann, "/anonymous/base/") == (1, "Hello Ann||Iliad,|en|")
    assert reasons.LOGGED_IN in why()
    ann.get("/leave/")
    assert runs(ann, "/anonymous/base/") == (0, "Log in||Iliad,|en|")


def test_another_password_is_another_user():
    """Django ends the sessions of before."""
    ann = user("ann")
    for _ in range(2):
        runs(ann, "/user/base/")
    found = User.objects.get(username="ann")
    found.set_password("y")
    found.save()
    again = Client()
    again.get("/enter/ann/")
    for expected in (1, 0):
        assert runs(again, "/user/base/") == (expected, "Hello Ann||Iliad,|en|")
    assert runs(ann, "/user/base/")[1].startswith("Log in")  # although it names the same user


def test_a_session_that_somebody_ends():
    ann = user("ann")
    for _ in range(2):
        runs(ann, "/user/base/")
    Session.objects.all().delete()
    assert runs(ann, "/user/base/")[1].startswith("Log in")


# The session -----------------------------------------------------------------------------------


def test_a_view_that_shows_the_session():
    one, two, three = with_cart(Client(), "nails"), with_cart(Client(), "screws"), Client()
    for client, shown in ((one, "['nails']"), (two, "['screws']"), (three, "[]")):
        for per in PERS:
            site.ran.clear()
            for _ in range(2):
                assert client.get(f"/{per}/cart/").content.decode() == f"nobody has {shown} of Iliad"
            # Stored for those without a session, and under its content.
            assert len(site.ran) == (1 if per == "session" or client is three else 2)
    assert reasons.SESSION in why()


def test_users_and_the_session():
    ann = with_cart(user("ann"), "nails")
    for _ in range(2):
        assert ann.get("/user/cart/").content == b"Ann has ['nails'] of Iliad"
    assert len([path for path in site.ran if path == "/user/cart/"]) == 2
    assert runs(ann, "/session/cart/")[0] == 1
    assert runs(ann, "/session/cart/") == (0, "Ann has ['nails'] of Iliad")
    ann.get("/cart/screws/")
    show_messages(ann)
    assert runs(ann, "/session/cart/") == (1, "Ann has ['nails', 'screws'] of Iliad")


@pytest.mark.parametrize("per", PERS)
def test_the_key_of_a_session_is_in_no_page(per):
    """Reading it leaves no trace, so that it is looked for."""
    address = f"/{per}/reads/?what=session+key"
    one, two = with_cart(Client(), "nails"), with_cart(Client(), "nails")
    for client in (one, two, one):
        key = client.cookies["sessionid"].value
        assert client.get(address).content.decode() == f"{key} Iliad"


@pytest.mark.parametrize("per", PERS)
def test_the_key_of_a_session_that_somebody_has_read_before(per):
    """A log's middleware, say, which keeps it elsewhere than on the request."""
    noted: list[str] = []
    cached = ormcache.cache_page(per=per)(lambda request: HttpResponse(f"Report {noted[-1]}"))
    for client in (with_cart(Client(), "nails"), with_cart(Client(), "nails")) * 2:
        request = request_of(client)
        noted.append(request.session.session_key)
        assert cached(request).content.decode() == f"Report {noted[-1]}"
    assert reasons.SESSION in why()


def test_a_key_of_a_session_that_another_view_has_read():
    """Says nothing about this one, which is of the same request."""
    shows_key = ormcache.cache_page(per="session")(lambda request: HttpResponse(str(request.session.session_key)))
    cached = ormcache.cache_page(per="session")(site.plain)
    one, two = with_cart(Client(), "nails"), with_cart(Client(), "nails")
    request = request_of(one)
    shows_key(request)
    site.ran.clear()
    for each in (request, request_of(two)):
        assert cached(each).content == b"Iliad"
    assert len(site.ran) == 1


@pytest.mark.parametrize("attribute", ["session_key", "_session_key", "cache_key"])
def test_what_a_view_makes_of_the_key_of_a_session(attribute):
    """The key itself is not in the page, but what was looked up by it is, as the rows of a cart are."""
    with override_settings(SESSION_ENGINE="django.contrib.sessions.backends.cached_db"):
        one, two, nobody = with_cart(Client(), "nails"), with_cart(Client(), "nails"), Client()
        Genre.objects.create(name=getattr(request_of(one).session, attribute)[-40:])

        def view(request: Any) -> HttpResponse:
            key = request.session.session_key and getattr(request.session, attribute)
            return HttpResponse(str(Genre.objects.filter(name=str(key)[-40:]).count()))

        for per in (*PERS, lambda request: "all", lambda request: str(request.session.get("cart"))):
            cached = ormcache.cache_page(per=per)(view)
            for client, count in ((one, b"1"), (two, b"0"), (nobody, b"0")) * 2:
                request = request_of(client)
                assert cached(request).content == count
                assert type(request.session).__module__ == "django.contrib.sessions.backends.cached_db"


@pytest.mark.parametrize("per", ["anonymous", "user"])
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda session: pickle.loads(pickle.dumps(session))])
def test_a_copy_of_the_session(copied, per):
    """What is read of it is read of the session."""
    view = ormcache.cache_page(per=per)(lambda request: HttpResponse(str(copied(request.session).get("cart"))))
    for _ in range(2):
        for item in ("a", "b"):
            request = request_of(with_cart(Client(), item))
            cls = type(request.session)
            assert view(request).content.decode() == str([item])
            assert type(copied(request.session)) is type(request.session) is cls


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda session: pickle.loads(pickle.dumps(session))])
def test_the_key_of_a_copy_of_the_session(copied):
    """Is that of the session, of which nothing else is left in the copy."""
    one, two = with_cart(Client(), "nails"), with_cart(Client(), "nails")
    key = request_of(one).session.session_key

    def view(request: Any) -> HttpResponse:
        found = copied(request.session)
        assert not [name for name in vars(found) if name.startswith("_ormcache")]
        return HttpResponse(str(found.session_key == key))

    cached = ormcache.cache_page(per="session")(view)
    for client, is_it in ((one, b"True"), (two, b"False")) * 2:
        assert cached(request_of(client)).content == is_it


def test_a_function_that_names_the_visitor_by_the_key_of_the_session():
    def view(request: Any) -> HttpResponse:
        site.note(request)
        return HttpResponse(f"{request.session.session_key} {request.session.get('cart')}")

    cached = ormcache.cache_page(per=lambda request: request.session.session_key)(view)
    one, two = with_cart(Client(), "nails"), with_cart(Client(), "nails")
    site.ran.clear()
    for client in (one, two) * 2:
        assert cached(request_of(client)).content.decode() == f"{client.cookies['sessionid'].value} ['nails']"
    assert len(site.ran) == 2


def test_data_that_is_signed_in_a_view():
    """By a salt that Django makes of the name of the session's class."""
    request = request_of(Client())
    data = request.session.encode({"cart": 1})
    cached = ormcache.cache_page()(lambda request: HttpResponse(str(request.session.decode(data))))
    assert cached(request).content == b"{'cart': 1}"


@pytest.mark.parametrize("per", ["session", lambda request: "all"])
def test_a_session_that_is_changed_before_the_view_and_in_it(per):
    """As by middleware that moves on when it expires."""

    def view(request: Any) -> HttpResponse:
        request.session["recent"] = 1
        return HttpResponse()

    cached = ormcache.cache_page(per=per)(view)
    for _ in range(3):
        request = request_of(Client())
        request.session.set_expiry(600)
        cached(request)
        assert request.session["recent"] == 1
        assert request.session.modified
    idle = ormcache.cache_page(per=per)(lambda request: HttpResponse())
    for _ in range(2):
        request = request_of(Client())
        request.session.set_expiry(600)
        idle(request)
        assert request.session.modified


@pytest.mark.parametrize("backend", ["cache", "cached_db", "signed_cookies", "file", "db"])
def test_engines_of_sessions(backend, tmp_path):
    with override_settings(
        SESSION_ENGINE=f"django.contrib.sessions.backends.{backend}", SESSION_FILE_PATH=str(tmp_path)
    ):
        ann, bob = user("ann"), with_cart(user("bob"), "nails")
        for client, name, cart in ((ann, "Ann", "[]"), (bob, "Bob", "['nails']")):
            for per in PERS:
                for _ in range(2):
                    assert client.get(f"/{per}/cart/").content.decode() == f"{name} has {cart} of Iliad"
        assert runs(ann, "/user/base/")[1] == runs(ann, "/user/base/")[1]
        assert runs(ann, "/user/base/") == (0, "Hello Ann||Iliad,|en|")


def test_a_view_that_logs_in_or_changes_the_session():
    from django.contrib.auth import login

    def enter(request: Any) -> HttpResponse:
        login(request, User.objects.get(username="ann"), backend="django.contrib.auth.backends.ModelBackend")
        return HttpResponse(request.user.first_name)

    def visits(request: Any) -> HttpResponse:
        request.session["visits"] = request.session.get("visits", 0) + 1
        return HttpResponse(str(request.session["visits"]))

    User.objects.create_user("ann", first_name="Ann")
    for view in (enter, visits):
        for per in PERS:
            for _ in range(2):
                request = request_of(Client())
                ormcache.cache_page(per=per)(view)(request)
                assert request.session.modified
    assert {reasons.SESSION} <= why() | {reasons.WRITES}
    assert not any(derived.hits for derived in connections["default"].ormcache.observer.counters.derived)


def request_of(client: Client, address: str = "/") -> Any:
    """A request as it comes out of the middleware, to be given to a view."""
    from django.contrib.auth.middleware import AuthenticationMiddleware
    from django.contrib.sessions.middleware import SessionMiddleware

    request = RequestFactory().get(address)
    request.COOKIES.update({name: cookie.value for name, cookie in client.cookies.items()})
    SessionMiddleware(lambda request: HttpResponse()).process_request(request)
    AuthenticationMiddleware(lambda request: HttpResponse()).process_request(request)
    return request


def reads_the_cart(get_response: Any) -> Any:
    def middleware(request: Any) -> Any:
        request.session.get("cart")
        return get_response(request)

    return middleware


@pytest.mark.parametrize("per", PERS)
def test_what_is_stored_nowhere_varies_as_without_the_cache(per):
    """Or a proxy would show one visitor's page to others."""
    client = with_cart(Client(), "nails")
    for _ in range(2):
        response = client.get(f"/{per}/cart/")
        assert (response.content, "Cookie" in response["Vary"]) == (b"nobody has ['nails'] of Iliad", True)
    # What middleware has read before the view counts too, for views that read nothing.
    with override_settings(MIDDLEWARE=[*MIDDLEWARE, f"{__name__}.reads_the_cart"]):
        client, cookies = Client(), client.cookies
        client.cookies = cookies
        for address in (f"/{per}/in-language/", f"/{per}/sets-cookie/"):
            for _ in range(2):
                assert "Cookie" in client.get(address)["Vary"]


def test_a_view_that_keeps_the_session_alive():
    """It has the session saved, with the same data."""

    def view(request: Any) -> HttpResponse:
        site.note(request)
        request.session.modified = True
        return HttpResponse("alive")

    for per in PERS:
        cached = ormcache.cache_page(per=per)(view)
        site.ran.clear()
        for _ in range(2):
            request = request_of(Client())
            request.session = with_data({"cart": ["nails"]})
            assert cached(request).content == b"alive"
            assert request.session.modified
        assert len(site.ran) == 2
    assert reasons.SESSION in why()


def test_vary_and_the_session_middleware():
    """A page that was made by reading the session is marked for proxies, from the cache as well."""
    for _ in range(2):
        assert "Cookie" in Client().get("/anonymous/base/").headers["Vary"]
        assert "Cookie" not in Client().get("/anonymous/in-language/").headers["Vary"]
    assert site.ran.count("/anonymous/base/") == 1


@pytest.mark.parametrize("per", ["session", lambda request: str(request.session.get("cart"))])
def test_a_list_in_the_session_that_a_view_changes(per):
    """Which is saved where middleware changes the session too, or with SESSION_SAVE_EVERY_REQUEST."""

    def view(request: Any) -> HttpResponse:
        request.session["cart"].append("screws")
        return HttpResponse()

    cached, client = ormcache.cache_page(per=per)(view), with_cart(Client(), "nails")
    for _ in range(3):
        request = request_of(client)
        cached(request)
        assert request.session["cart"] == ["nails", "screws"]


async def user_of(request: Any) -> HttpResponse:
    (await request.auser()).seen = "yes"
    found = await request.auser()
    return HttpResponse(f"{found.username} {found.role} {found.seen}")


def test_what_is_set_on_the_user_of_coroutine_functions():
    cached, ann = ormcache.cache_page(per="user")(user_of), user("ann")

    async def ask(role: str) -> Any:
        request = await sync_to_async(request_of)(ann)
        (await request.auser()).role = role
        return request, (await cached(request)).content.decode()

    for role in ("none", "boss") * 2:
        assert async_to_sync(ask)(role)[1] == f"ann {role} yes"
    request, _ = async_to_sync(ask)("chief")
    assert request._acached_user.seen == "yes"


# Messages ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("per", PERS)
@pytest.mark.parametrize("storage", ["fallback.FallbackStorage", "session.SessionStorage", "cookie.CookieStorage"])
def test_messages_are_shown_once_and_to_nobody_else(per, storage):
    with override_settings(MESSAGE_STORAGE=f"django.contrib.messages.storage.{storage}"):
        client, other = Client(), Client()
        for browser in (client, other):
            assert runs(browser, f"/{per}/base/")[1] == "Log in||Iliad,|en|"
        client.get("/cart/nails/")
        assert runs(client, f"/{per}/base/") == (1, "Log in|nails is in the cart;|Iliad,|en|")
        for browser in (client, other, client):
            assert runs(browser, f"/{per}/base/")[1] == "Log in||Iliad,|en|"
        assert runs(client, f"/{per}/base/")[0] == 0
        # By now there is a page for visitors with a cart.
        client.get("/cart/screws/")
        assert runs(client, f"/{per}/base/") == (1, "Log in|screws is in the cart;|Iliad,|en|")


def test_a_message_waits_while_a_page_does_not_show_it():
    client = Client()
    client.get("/cart/nails/")
    for _ in range(2):
        client.get("/anonymous/in-language/")
    assert "nails is in the cart" in show_messages(client)


def greets(get_response: Any) -> Any:
    """Middleware that has a message for those whom a link has brought here."""

    def middleware(request: Any) -> Any:
        if "HTTP_REFERER" in request.META:
            messages.info(request, "Welcome")
        return get_response(request)

    return middleware


@pytest.mark.parametrize("per", PERS)
@pytest.mark.parametrize("storage", ["fallback.FallbackStorage", "session.SessionStorage", "cookie.CookieStorage"])
def test_a_message_from_before_the_view_for_a_new_visitor(per, storage):
    """Who has neither a session nor a cookie."""
    with override_settings(
        MIDDLEWARE=[*MIDDLEWARE, f"{__name__}.greets"],
        MESSAGE_STORAGE=f"django.contrib.messages.storage.{storage}",
    ):
        for _ in range(2):
            guest = Client(headers={"referer": "https://example.org/"})
            assert runs(guest, f"/{per}/base/") == (1, "Log in|Welcome;|Iliad,|en|")
            assert runs(Client(), f"/{per}/base/")[1] == "Log in||Iliad,|en|"
        assert runs(Client(), f"/{per}/base/")[0] == 0
        assert reasons.MESSAGES in why()


def test_a_message_that_a_function_adds_that_names_the_visitor():
    def name(request: Any) -> str:
        messages.info(request, "Named")
        return "all"

    view = ormcache.cache_page(per=name)(site.base)
    with override_settings(ROOT_URLCONF=type("Urls", (), {"urlpatterns": [path("named/", view)]})):
        for _ in range(2):
            assert runs(Client(), "/named/") == (1, "Log in|Named;|Iliad,|en|")


# Functions -----------------------------------------------------------------------------------------


def test_a_function_names_the_visitor():
    client = Client()
    assert [runs(client, f"/tenant/?tenant={name}")[0] for name in ("a", "b", "a")] == [1, 1, 1]
    assert runs(client, "/tenant/")[0] == runs(client, "/tenant/")[0] == 1  # None
    assert {reasons.USER, reasons.UNNAMED} <= why()


def test_a_function_that_has_read_nothing_of_the_visitor_allows_for_nothing():
    ann = with_cart(user("ann"), "nails")
    for client, shown in ((Client(), "nobody has []"), (ann, "Ann has ['nails']"), (Client(), "nobody has []")):
        assert runs(client, "/tenant/cart/?tenant=a") == (1, f"{shown} of Iliad")


def test_a_function_that_has_not_read_the_session_allows_for_nothing_of_it():
    def view(request: Any) -> HttpResponse:
        return HttpResponse(str(request.session.get("cart")))

    cached = ormcache.cache_page(per=lambda request: "all")(view)
    nails, empty = with_cart(Client(), "nails"), Client()
    for client, shown in ((empty, b"None"), (nails, b"['nails']")) * 2:
        assert cached(request_of(client)).content == shown


def test_a_function_that_reads_the_user():
    ann, staff = user("ann"), user("staff")
    User.objects.filter(username="staff").update(is_staff=True)
    assert runs(ann, "/staff/")[0] == 1
    assert runs(ann, "/staff/")[0] == 0
    assert runs(staff, "/staff/")[0] == 1
    User.objects.filter(username="staff").update(is_staff=False)
    assert runs(staff, "/staff/")[0] <= 1


def test_what_has_no_exact_form():
    with pytest.raises(TypeError, match="no exact form"):
        Client().get("/inexact/")


# Users who are not of the session ---------------------------------------------------------------------


@pytest.mark.parametrize("per", PERS)
def test_a_user_whom_middleware_has_found_elsewhere(per):
    """By a cookie of its own, for example: the session does not name this user."""
    ann = User.objects.create_user("ann", first_name="Ann")
    bob = User.objects.create_user("bob", first_name="Bob")

    def view(request: Any) -> HttpResponse:
        return HttpResponse(getattr(request.user, "first_name", "nobody"))

    cached = ormcache.cache_page(per=per)(view)
    for _ in range(2):
        for found, name in ((ann, b"Ann"), (bob, b"Bob"), (AnonymousUser(), b"nobody")):
            for put in (found, SimpleLazyObject(lambda found=found: found)):
                request = request_of(Client())
                request.user = put
                assert cached(request).content == name
                assert request.user is put


@pytest.mark.parametrize("per", PERS)
def test_for_a_user_of_middleware_the_view_runs(per):
    """Whether or not it shows the user."""
    ann = User.objects.create_user("ann")
    cached = ormcache.cache_page(per=per)(site.plain)
    for put, count in ((AnonymousUser(), 1), (ann, 2)):
        site.ran.clear()
        for _ in range(2):
            request = request_of(Client())
            request.user = put
            assert cached(request).content == b"Iliad"
        assert len(site.ran) == count
    assert why() == {reasons.LOGGED_IN if per == "anonymous" else reasons.USER}


@pytest.mark.parametrize("per", [*PERS, lambda request: "all"])
def test_what_stands_for_a_session_and_is_none_of_django(per):
    """Nobody could see what a view reads of it."""

    def view(request: Any) -> HttpResponse:
        site.note(request)
        return HttpResponse(request.session["name"])

    cached = ormcache.cache_page(per=per)(view)
    for make in (lambda data: SimpleLazyObject(lambda: with_data(data)), lambda data: data):
        site.ran.clear()
        for name in ("Ann", "Bob"):
            request = request_of(Client())
            request.session = make({"name": name})
            assert cached(request).content == name.encode()
        assert len(site.ran) == 2
    assert why() == {reasons.SESSION}


def with_data(data: dict[str, Any]) -> SessionStore:
    session = SessionStore()
    session.update(data)
    return session


class Guest(AnonymousUser):
    """A visitor of a site of its own, who has a name."""

    def __init__(self, first_name: str) -> None:
        self.first_name = first_name


@pytest.mark.parametrize("per", PERS)
def test_a_guest_is_not_just_anybody(per):
    def view(request: Any) -> HttpResponse:
        return HttpResponse(request.user.first_name)

    cached = ormcache.cache_page(per=per)(view)
    for name in ("Ann", "Bob") * 2:
        request = request_of(Client())
        request.user = Guest(name)
        assert cached(request).content == name.encode()
    assert reasons.USER in why()


def test_what_middleware_sets_on_an_anonymous_user_is_in_no_page_of_others():
    for per in PERS:
        cached = ormcache.cache_page(per=per)(lambda request: HttpResponse(request.user.country))
        for country in ("DE", "FR"):
            request = request_of(Client())
            request.user = AnonymousUser()
            request.user.country = country
            assert cached(request).content == country.encode()


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("per", [lambda request: request.user.pk, lambda request: str(request.session.get("cart"))])
def test_a_function_that_names_a_user_of_middleware(per, lazy):
    User.objects.create_user("ann", first_name="Ann")
    cached = ormcache.cache_page(per=per)(lambda request: HttpResponse(request.user.first_name))
    for name in ("Ann", "Anna"):
        User.objects.update(first_name=name)
        for _ in range(2):
            request, found = request_of(Client()), User.objects.get()
            request.user = SimpleLazyObject(lambda found=found: found) if lazy else found
            assert cached(request).content == name.encode()


class MarksUser:
    """Middleware that sets an attribute on the user, and reads one that the view has set."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        request.user.role = request.headers.get("X-Role", "none")
        response = self.get_response(request)
        response["X-Seen"] = getattr(request.user, "seen", "")
        return response


@pytest.mark.parametrize("per", PERS)
@pytest.mark.parametrize("enabled", [True, False])
def test_what_middleware_sets_on_the_user_of_the_session(per, enabled, configure):
    configure(ROWS="always", ENABLED=enabled)

    def view(request: Any) -> HttpResponse:
        request.user.seen = "yes"
        return HttpResponse(f"{request.user.username} {request.user.role}")

    cached = ormcache.cache_page(per=per)(view)
    for client, name in ((user("ann"), "ann"), (Client(), "")):
        for role in ("none", "boss") * 2:
            request = request_of(client)
            request.META["HTTP_X_ROLE"] = role
            response = MarksUser(cached)(request)
            assert response.content.decode() == f"{name} {role}"
        request = request_of(client)
        request.user.role = object()  # has no exact form
        assert cached(request).content.decode().startswith(f"{name} <object")
        assert request.user.seen == "yes"
        untouched = request_of(client)
        ormcache.cache_page(per=per)(lambda request: setattr(request.user, "seen", 1) or HttpResponse())(untouched)
        assert untouched.user.seen == 1


@pytest.mark.parametrize("per", PERS)
def test_attributes_of_the_user_with_the_cache_disabled(per):
    """What middleware has set is there in the view, and what the view sets is there for middleware."""

    def view(request: Any) -> HttpResponse:
        site.note(request)
        request.user.seen = "yes"
        return HttpResponse(f"{request.user.username} {request.user.role}")

    cached, ann = ormcache.cache_page(per=per)(view), user("ann")
    for role in ("none", "boss"):
        request = request_of(ann)
        request.META["HTTP_X_ROLE"] = role
        MarksUser(cached)(request)
        request = request_of(ann)
        request.META["HTTP_X_ROLE"] = role
        site.ran.clear()
        with ormcache.disabled():
            response = MarksUser(cached)(request)
        assert (response.content.decode(), response["X-Seen"], len(site.ran)) == (f"ann {role}", "yes", 1)


def test_what_middleware_has_set_on_the_user_costs_no_hit():
    ann = user("ann")
    with override_settings(MIDDLEWARE=[*MIDDLEWARE, f"{__name__}.MarksUser"]):
        assert runs(ann, "/user/base/")[1] == "Hello Ann||Iliad,|en|"
        runs(ann, "/user/base/")
        assert runs(ann, "/user/base/")[0] == 0


def finds_user(request: Any) -> HttpResponse:
    request.user = AnonymousUser() if site.ran else User.objects.get(username="ann")
    return HttpResponse(request.user.username)


@pytest.mark.parametrize("per", [*PERS, lambda request: "all"])
def test_a_user_whom_the_view_finds_elsewhere(per):
    """As an authenticator of Django REST framework does by a token, which expires without a write."""
    User.objects.create_user("ann")
    cached = ormcache.cache_page(per=per)(finds_user)
    for _ in range(2):
        assert cached(request_of(Client())).content == b"ann"
    site.ran.append("expired")
    assert cached(request_of(Client())).content == b""


@pytest.mark.parametrize("per", PERS)
def test_a_site_without_users(per):
    """Django REST framework puts an AnonymousUser on the request, where nobody else has put a user."""

    class Titles(APIView):
        def get(self, request: Any) -> HttpResponse:
            site.note(request)
            return HttpResponse(f"{request.user.is_authenticated} {site.titles()}")

    cached = ormcache.cache_page(per=per)(Titles.as_view())
    assert [cached(RequestFactory().get("/")).content for _ in range(2)] == [b"False Iliad"] * 2
    assert len(site.ran) == 1


@pytest.mark.parametrize("per", [*PERS, lambda request: "all"])
def test_a_guest_whom_the_view_finds(per):
    """By a token, say, whose expiry is no write."""
    names = ["Bob", "Ann"]

    def view(request: Any) -> HttpResponse:
        request.user = Guest(names.pop())
        return HttpResponse(request.user.first_name)

    cached = ormcache.cache_page(per=per)(view)
    assert [cached(RequestFactory().get("/")).content for _ in range(2)] == [b"Ann", b"Bob"]
    assert why() == {reasons.USER}


def test_sessions_that_are_away():
    """Matter to no view that does not use them, as without the cache."""

    class Away(SessionBase):
        def load(self) -> Any:
            raise OSError

    request = request_of(Client())
    request.session = Away("a" * 32)
    for per in PERS:
        assert ormcache.cache_page(per=per)(lambda request: HttpResponse(b"Hello"))(request).content == b"Hello"
    assert reasons.SESSION in why()


# Objects that middleware has put on the request ----------------------------------------------------------


class FindsShop:
    """Puts an object from the database on the request, as Django's own CurrentSiteMiddleware does."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        request.shop = Genre.objects.get(name__startswith=request.headers.get("X-Shop", "A"))
        return self.get_response(request)


def test_an_object_on_the_request_names_the_page():
    one, _ = Genre.objects.create(name="A shop"), Genre.objects.create(name="B shop")
    client = Client()
    with override_settings(MIDDLEWARE=[f"{__name__}.FindsShop", *MIDDLEWARE]):
        for expected in (1, 0):
            assert runs(client, "/anonymous/site-name/") == (expected, "A shop: Iliad")
        assert client.get("/anonymous/site-name/", headers={"x-shop": "B"}).content == b"B shop: Iliad"
        Genre.objects.filter(pk=one.pk).update(name="A better shop")
        assert runs(client, "/anonymous/site-name/") == (1, "A better shop: Iliad")


# All together ------------------------------------------------------------------------------------------------


class Browser:
    """One visitor, who knows what is to be seen."""

    def __init__(self, name: str) -> None:
        User.objects.create_user(name, first_name=name.title(), password="x")
        self.name, self.client = name, Client()
        self.is_in = False
        self.language = "en"
        self.cart: list[str] = []
        self.messages: list[str] = []

    def step(self, chance: random.Random) -> None:
        what = chance.choice(["in", "out", "cart", "language", "page", "page", "page", "page", "page"])
        if what == "in" and not self.is_in:
            self.client.get(f"/enter/{self.name}/")
            self.is_in = True
        elif what == "out" and self.is_in:
            self.client.get("/leave/")
            self.is_in, self.cart = False, []
        elif what == "cart":
            item = f"{self.name}-{len(self.cart)}"
            self.client.get(f"/cart/{item}/")
            self.cart.append(item)
            self.messages.append(f"{item} is in the cart;")
        elif what == "language":
            self.language = chance.choice(["en", "de", "fr"])
            self.client.cookies["django_language"] = self.language
        else:
            self.look(chance)

    def look(self, chance: random.Random) -> None:
        per, page = chance.choice(PERS), chance.choice(["base", "cart", "in-language"])
        seen = self.client.get(f"/{per}/{page}/").content.decode()
        title = Book.objects.using("plain").values_list("title", flat=True).get()
        if page == "base":
            hello = f"Hello {self.name.title()}" if self.is_in else "Log in"
            assert seen == f"{hello}|{''.join(self.messages)}|{title},|{self.language}|"
            self.messages.clear()
        elif page == "cart":
            who = self.name.title() if self.is_in else "nobody"
            assert seen == f"{who} has {sorted(self.cart)} of {title}"
        else:
            assert seen.startswith({"en": "Yes", "de": "Ja", "fr": "Oui"}[self.language])


class Shelf:
    """What is stored of pages: who has asked for it by its name, and whose content it is."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.browser = ""  # that asks now
        self._asked: dict[bytes, set[str]] = {}
        self._names: dict[bytes, set[str]] = {}
        look_up, store = Derivation.look_up, Derivation._stored

        def note_asked(derivation: Derivation) -> Any:
            found = look_up(derivation)
            self._asked.setdefault(derivation.entry, set()).add(self.browser)
            return found

        def note_stored(derivation: Derivation, database: Any, payload: Any) -> Any:
            found = store(derivation, database, payload)
            self._names[derivation.entry] = set(re.findall(r"user\d+", repr(payload).lower()))
            return found

        monkeypatch.setattr(Derivation, "look_up", note_asked)
        monkeypatch.setattr(Derivation, "_stored", note_stored)

    def private(self) -> dict[bytes, set[str]]:
        """Return the names of the users in what is stored, where there are any."""
        return {entry: names for entry, names in self._names.items() if names}

    def shared(self) -> list[set[str]]:
        """Return the names of the users in what was asked for by others as well."""
        return [names for entry, names in self.private().items() if not self._asked.get(entry, set()) <= names]


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["cookie.CookieStorage", "fallback.FallbackStorage"])
def test_fifty_users(storage, iliad, monkeypatch):
    """They log in and out, switch languages, fill carts and are shown messages, while titles change."""
    chance, shelf = random.Random(storage), Shelf(monkeypatch)
    with override_settings(MESSAGE_STORAGE=f"django.contrib.messages.storage.{storage}"):
        browsers = [Browser(f"user{number}") for number in range(50)]
        for number in range(1500):
            browser = chance.choice(browsers)
            shelf.browser = browser.name
            browser.step(chance)
            if number % 100 == 99:
                Book.objects.filter(pk=iliad.pk).update(title=f"Book {number}")
    counters = connections["default"].ormcache.observer.counters.derived
    assert sum(derived.hits for derived in counters) > 100
    assert len(shelf.private()) > 10
    assert shelf.shared() == []
