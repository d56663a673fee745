"""The levels of consistency other than strict, from the query down to the store."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import django
import pytest
from django.core.handlers.asgi import ASGIHandler
from django.core.signals import request_finished
from django.db import connection, transaction
from django.http import HttpResponse, StreamingHttpResponse
from django.test import AsyncClient, Client, override_settings
from django.urls import path

import ormcache
from ormcache.session import registry as registry_module
from ormcache.stores.redis.near import NearStore
from ormcache.stores.request import RequestStore
from tests.integration import actors
from tests.integration.calls import leftovers
from tests.integration.protocol import explorer
from tests.integration.protocol.explorer import Enumeration, Explorer, MemoryStore
from tests.shop.models import Author, Book
from tests.waiting import eventually

STORES = {
    "near, redis": {"STORE": "redis", "CACHE": "redis", "CONSISTENCY": "near", "NEAR_MAX_LAG": 60},
    "request, redis": {"STORE": "redis", "CACHE": "redis", "CONSISTENCY": "request"},
    "request, embedded": {"CONSISTENCY": "request"},
}


@pytest.fixture
def level(request, configure):
    configure(**STORES[request.param])
    connection.close()
    return request.param


on_each = pytest.mark.parametrize("level", STORES, indirect=True)
on_request = pytest.mark.parametrize("level", ["request, redis", "request, embedded"], indirect=True)
on_near = pytest.mark.parametrize("level", ["near, redis"], indirect=True)


def names():
    return list(Author.objects.order_by("pk").values_list("name", flat=True))


def rename(to):
    Author.objects.update(name=to)


def store():
    names()
    return connection.ormcache.database.stamps.store


@contextlib.contextmanager
def asking():
    """The look-ups that reach the store behind."""
    behind = store().strict
    asked = []
    for name in ("look_up", "look_up_with_prefix"):
        look_up = getattr(behind, name, None)
        if look_up is not None:
            setattr(behind, name, lambda *args, look_up=look_up: asked.append(args) or look_up(*args))
    try:
        yield asked
    finally:
        for name in ("look_up", "look_up_with_prefix"):
            vars(behind).pop(name, None)


def answered_from_memory():
    with asking() as asked:
        names()
    return not asked


# The story of every store, on each level ----------------------------------------------


@on_each
def test_hits_and_own_writes(level, queries):
    author = Author.objects.create(name="A")
    with ormcache.as_request():
        names()
        with queries(0):
            assert names() == ["A"]
        author.name = "B"
        author.save()
        assert names() == ["B"]
        rename("C")
        assert names() == ["C"]
        with connection.cursor() as cursor:
            cursor.execute("UPDATE shop_author SET name = 'D'")
        assert names() == ["D"]
        with transaction.atomic():
            rename("E")
            assert names() == ["E"]
        assert names() == ["E"]
        with transaction.atomic():
            rename("F")
            transaction.set_rollback(True)
        with queries(0):
            assert names() == ["E"]
        Book.objects.create(author=author, title="Iliad")
        with queries(0):
            assert names() == ["E"]
        author.delete()
        assert names() == []


@on_each
def test_a_write_of_another_thread_of_this_process(level):
    def write():
        rename("B")
        connection.close()

    Author.objects.create(name="A")
    with ormcache.as_request():
        assert names() == ["A"]
        if level.startswith("near"):
            eventually(answered_from_memory)
        assert names() == ["A"]
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
        assert names() == ["B"]


@on_each
def test_what_may_be_old_does_not_decide_what_is_kept(level, queries, other_process):
    """The vector of a new result is always the store's."""
    Author.objects.create(name="A")
    with ormcache.as_request():
        assert names() == ["A"]
        other_process("tests.integration.stores.test_consistency.rename", "B")
        connection.ormcache.database.local.drop(next(iter(connection.ormcache.database.local._entries)))
        assert names() == ["B"]
    assert names() == ["B"]
    with queries(0):
        assert names() == ["B"]


@on_each
def test_an_epoch_of_now_is_not_paired_with_a_schema_of_before(level, other_process):
    Author.objects.create(name="A")
    with ormcache.as_request():
        names()
        if level.startswith("near"):
            eventually(answered_from_memory)
        other_process("tests.integration.stores.test_consistency.stamp_epoch")
        list(Author.objects.filter(name="A"))  # asks for the schema's stamp, which could now be remembered
        database = connection.ormcache.database
        before = database.catalog_cache.catalog
        if level.startswith("near"):
            database.stamps.store._connection._receive = lambda: None  # and no push of what follows arrives
        other_process("tests.integration.stores.test_consistency.change_schema")
        list(Author.objects.filter(name="B"))
        assert database.catalog_cache.catalog is not before


@on_each
def test_an_epoch_of_before_is_not_paired_with_a_catalog_of_now(level, other_process, queries):
    Author.objects.create(name="A")
    with ormcache.as_request():
        names()
        if level.startswith("near"):
            eventually(answered_from_memory)
        else:
            names()
        database = connection.ormcache.database
        before = database.catalog_cache.catalog
        if level.startswith("near"):
            database.stamps.store._connection._receive = lambda: None
        other_process("tests.integration.stores.test_consistency.change_schema")
        # Another thread has noticed.
        database.catalog_cache.load(connection, connection.ormcache.resolution_context())
        assert database.catalog_cache.catalog is not before
        with queries(1):
            assert names() == ["A"]


def stamp_epoch():
    """Retire everything, for another reason than a change of the schema."""
    from ormcache.catalog import EPOCH

    names()
    connection.ormcache.database.renew(frozenset({EPOCH}))


def change_schema():
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE consistency_changed (id integer)")
        cursor.execute("DROP TABLE consistency_changed")


@on_each
def test_the_last_write_comes_from_the_store(level, other_process):
    Author.objects.create(name="A")
    with ormcache.as_request():
        names()
        names()
        before = ormcache.last_write(Author, using="default")
        other_process("tests.integration.stores.test_consistency.rename", "B")
        assert ormcache.last_write(Author, using="default") > before


# near ---------------------------------------------------------------------------------


@on_near
def test_a_hit_asks_nobody(level, queries):
    Author.objects.create(name="A")
    assert isinstance(store(), NearStore)
    eventually(answered_from_memory)
    with queries(0), asking() as asked:
        assert names() == ["A"]
    assert asked == []


@on_near
def test_a_write_of_another_process_is_pushed(level, other_process):
    Author.objects.create(name="A")
    names()
    eventually(answered_from_memory)
    other_process("tests.integration.stores.test_consistency.rename", "B")
    eventually(lambda: names() == ["B"])


@on_near
def test_without_pushes_it_is_seen_after_the_bound(level, configure, other_process, monkeypatch):
    configure(NEAR_MAX_LAG=0.05)
    connection.close()
    Author.objects.create(name="A")
    names()
    eventually(answered_from_memory)
    monkeypatch.setattr(store()._connection, "_receive", lambda: None)
    other_process("tests.integration.stores.test_consistency.rename", "B")  # takes longer than the bound
    assert names() == ["B"]


# request ------------------------------------------------------------------------------


@on_request
def test_a_request_asks_for_a_relation_once(level, queries):
    Author.objects.create(name="A")
    assert isinstance(store(), RequestStore)
    with ormcache.as_request():
        names()
        with queries(0), asking() as asked:
            assert names() == ["A"]
        assert asked == []
    with asking() as asked:
        names()
    assert len(asked) == 1


@on_request
def test_a_request_sees_what_was_written_before_it_began(level, other_process):
    Author.objects.create(name="A")
    with ormcache.as_request():
        assert names() == ["A"]
    other_process("tests.integration.stores.test_consistency.rename", "B")
    with ormcache.as_request():
        assert names() == ["B"]


@on_request
def test_what_others_write_meanwhile_is_seen_in_the_next_one(level, other_process):
    Author.objects.create(name="A")
    names()
    with ormcache.as_request():
        assert names() == ["A"]
        other_process("tests.integration.stores.test_consistency.rename", "B")
        assert names() == ["A"]
    assert names() == ["B"]


# Requests of Django -------------------------------------------------------------------

_seen: list[bool] = []


def look(request):
    """Whether the second of two equal reads was answered from memory."""
    names()
    _seen.append(answered_from_memory())
    return HttpResponse()


async def look_async(request):
    from asgiref.sync import sync_to_async

    return await sync_to_async(look)(request)


def fail(request):
    look(request)
    raise RuntimeError


def stream(request):
    def rows():
        names()
        _seen.append(answered_from_memory())
        yield b"."

    return StreamingHttpResponse(rows())


urlpatterns = [path("look", look), path("async", look_async), path("fail", fail), path("stream", stream)]
SITE = {"ROOT_URLCONF": "tests.integration.stores.test_consistency", "ALLOWED_HOSTS": ["*"]}
BY_ASGI = {**SITE, "MIDDLEWARE": ["ormcache.middleware.request_scope"]}


@pytest.fixture
def seen():
    _seen.clear()
    yield _seen
    request_finished.send(sender=None)


@on_request
@pytest.mark.parametrize("view", ["look", "async", "fail", "stream"])
def test_a_request_of_wsgi(level, seen, view):
    Author.objects.create(name="A")
    with override_settings(**SITE):
        response = Client(raise_request_exception=False).get(f"/{view}")
        if response.streaming:
            assert response.getvalue() == b"."
    assert seen == [True]
    assert not answered_from_memory()  # it is over


@on_request
@pytest.mark.parametrize("view", ["look", "async"])
@pytest.mark.parametrize(
    "settings, expected", [(SITE, django.VERSION >= (6, 1)), (BY_ASGI, True)], ids=["signals", "middleware"]
)
def test_a_request_of_asgi(level, seen, view, settings, expected):
    """Before Django 6.1 signals are sent in another context there: without the middleware it is strict."""
    Author.objects.create(name="A")
    with override_settings(**settings):
        asyncio.run(_serve(f"/{view}"))
    assert seen == [expected]
    assert not answered_from_memory()


async def _serve(url):
    from asgiref.testing import ApplicationCommunicator

    client = AsyncClient()
    scope = {**client._base_scope(path=url), "type": "http", "method": "GET", "query_string": b""}
    communicator = ApplicationCommunicator(ASGIHandler(), scope)
    await communicator.send_input({"type": "http.request"})
    await communicator.receive_output(10)
    await communicator.receive_output(10)
    await communicator.wait(10)


# The explorers ------------------------------------------------------------------------


def test_outside_of_requests_every_order_is_as_right_as_on_strict(engine, monkeypatch, configure):
    with actors.points(monkeypatch):
        memory = MemoryStore()
        level = RequestStore(memory)
        monkeypatch.setattr(registry_module, "open_store", lambda config, kind: level)
        configure(CONSISTENCY="request")
        explore = Explorer(engine, memory)
        try:
            for choose in Enumeration(60):
                explorer.read()
                run = explore.run([explorer.write, explorer.read], choose)
                assert run.wrong is None, str(run)
        finally:
            explore.close()
    assert leftovers() == []
