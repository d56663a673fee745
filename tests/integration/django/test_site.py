"""A site's own pages: the admin, logging in, sessions that live in the cached database."""

from __future__ import annotations

import datetime

import pytest
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client, override_settings
from django.utils import timezone

import ormcache
from ormcache import reasons
from ormcache.database.current_time import SUSPICIOUS
from tests.integration.calls import count_anew
from tests.shop.models import Author, Book, Genre

AUTHOR = {"email": "author@example.org", "born": "1900-01-01", "active": "on"}


@pytest.fixture
def client() -> Client:
    User.objects.create_superuser("ann", "ann@example.org", "secret")
    client = Client()
    answer = client.post("/admin/login/", {"username": "ann", "password": "secret", "next": "/admin/"}, follow=True)
    assert answer.redirect_chain == [("/admin/", 302)]
    return client


def test_the_admin_adds_changes_and_deletes(client):
    for path in ("/admin/", "/admin/shop/author/", "/admin/shop/author/add/"):
        for _ in range(2):
            assert client.get(path).status_code == 200

    assert client.post("/admin/shop/author/add/", AUTHOR | {"name": "Homer"}).status_code == 302
    author = Author.objects.using("plain").get()
    assert "Homer" in client.get("/admin/shop/author/").content.decode()
    change = f"/admin/shop/author/{author.pk}/change/"
    assert 'value="Homer"' in client.get(change).content.decode()

    assert client.post(change, AUTHOR | {"name": "Hesiod"}).status_code == 302
    assert 'value="Hesiod"' in client.get(change).content.decode()
    listed = client.get("/admin/shop/author/").content.decode()
    assert "Hesiod" in listed
    assert "Homer" not in listed.partition("<table")[2]

    delete = {"action": "delete_selected", "_selected_action": author.pk}
    assert "Hesiod" in client.post("/admin/shop/author/", delete).content.decode()
    client.post("/admin/shop/author/", delete | {"post": "yes"})
    assert "0 authors" in client.get("/admin/shop/author/").content.decode()
    assert Author.objects.using("plain").count() == 0
    assert "Hesiod" in client.get(f"/admin/shop/author/{author.pk}/history/", follow=True).content.decode()


def test_the_admin_shows_what_others_have_written(client):
    author = Author.objects.create(name="Homer")
    book = Book.objects.create(author=author, title="Iliad")
    change = f"/admin/shop/book/{book.pk}/change/"
    assert "Homer" in client.get(change).content.decode()
    genre = Genre.objects.create(name="Poetry")
    assert "Poetry" in client.get(change).content.decode()
    book.genres.add(genre)
    assert f'<option value="{genre.pk}" selected>Poetry' in client.get(change).content.decode()
    assert "Iliad" in client.get(f"/admin/shop/author/{author.pk}/delete/").content.decode()
    book.delete()
    assert "Iliad" not in client.get(f"/admin/shop/author/{author.pk}/delete/").content.decode()


def test_sessions_in_the_cached_database(client, queries):
    assert client.get("/admin/").status_code == 200
    with queries(1) as seen:
        assert client.get("/admin/").status_code == 200
    assert "expire_date" in seen[0]  # of the moment of asking, which is never the same again
    connection.close()
    assert client.get("/admin/password_change/").status_code == 200

    client.post("/admin/logout/")
    assert Session.objects.count() == Session.objects.using("plain").count() == 0
    assert client.get("/admin/").status_code == 302


def test_the_present_moment_is_not_looked_up(queries):
    """After the first few times. Neither is a result stored that nobody could ever be given."""

    count_anew()

    def sessions(moment: datetime.datetime) -> list[Session]:
        return list(Session.objects.filter(expire_date__gt=moment))

    before = ormcache.stats("default")
    for _ in range(SUSPICIOUS + 5):
        sessions(timezone.now())
    after = ormcache.stats("default")
    assert after["misses"] - before["misses"] == SUSPICIOUS
    assert after["bypassed"].get(reasons.CURRENT_TIME, 0) - before["bypassed"].get(reasons.CURRENT_TIME, 0) == 5
    longer_ago = timezone.now() - datetime.timedelta(days=3)
    sessions(longer_ago)
    with queries(0):
        sessions(longer_ago)


def test_a_session_that_is_saved_with_every_request(client):
    with override_settings(SESSION_SAVE_EVERY_REQUEST=True):
        for number in range(3):
            session = client.session
            session["number"] = number
            session.save()
            assert client.get("/admin/").status_code == 200
            assert client.session["number"] == number


def test_a_session_that_somebody_else_ends(client):
    assert client.get("/admin/").status_code == 200
    Session.objects.all().delete()
    assert client.get("/admin/").status_code == 302


def test_a_user_who_is_locked_out_is_out(client):
    assert client.get("/admin/").status_code == 200
    User.objects.update(is_active=False)
    assert client.get("/admin/").status_code == 302


def test_permissions_count_at_once():
    User.objects.create_user("bob", password="secret", is_staff=True)
    client = Client()
    assert client.login(username="bob", password="secret")
    assert client.get("/admin/shop/author/").status_code == 403
    User.objects.get().user_permissions.add(Permission.objects.get(codename="view_author"))
    assert client.get("/admin/shop/author/").status_code == 200
    User.objects.get().user_permissions.clear()
    assert client.get("/admin/shop/author/").status_code == 403


def test_atomic_requests(monkeypatch):
    """A view that fails takes back what it has written, and what was cached before is served again."""
    from django.db import connections

    monkeypatch.setitem(connections["default"].settings_dict, "ATOMIC_REQUESTS", True)
    client = Client(raise_request_exception=False)
    assert client.get("/books/").json() == {"books": []}
    Book.objects.create(author=Author.objects.create(name="Homer"), title="Iliad")
    assert client.get("/books/").json() == client.get("/books/").json() == {"books": ["Iliad"]}
