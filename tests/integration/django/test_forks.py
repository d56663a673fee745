"""Servers that load the site once and fork their workers from it: gunicorn --preload, Celery's prefork pool."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.conf import settings
from django.db import close_old_connections, connection, connections

import ormcache
from ormcache.telemetry import counters_of
from tests.shop.models import Author, Genre

TIMEOUT = 20  # seconds

# A fork in a process with threads is what is tried here; Python 3.12 and later warn of it.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


class Child:
    """A forked worker that runs one function after another, at the parent's word."""

    def __init__(self, *functions: Callable[[], Any]) -> None:
        self._functions = functions
        self._go, self._told = os.pipe(), os.pipe()
        self.pid = os.fork()
        if not self.pid:
            self._work()
        os.close(self._go[0])
        os.close(self._told[1])
        self._answers = os.fdopen(self._told[0])

    def _work(self) -> None:
        # Whatever happens, a child must never come back into pytest.
        try:
            signal.alarm(TIMEOUT)
            for function in self._functions:
                os.read(self._go[0], 1)
                try:
                    answer = {"result": function()}
                except BaseException:
                    answer = {"error": traceback.format_exc()}
                os.write(self._told[1], json.dumps(answer).encode() + b"\n")
        finally:
            os._exit(0)

    def next(self) -> Any:
        os.write(self._go[1], b".")
        line = self._answers.readline()
        assert line, "the child ended, or took too long"
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def end(self) -> None:
        os.kill(self.pid, signal.SIGKILL)  # it may have more to do than it was told to
        os.close(self._go[1])
        self._answers.close()
        os.waitpid(self.pid, 0)


@pytest.fixture
def fork():
    children = []

    def start(*functions: Callable[[], Any]) -> Child:
        children.append(Child(*functions))
        return children[-1]

    yield start
    for child in children:
        child.end()


def names(using: str = "default") -> list[str]:
    return list(Author.objects.using(using).order_by("name").values_list("name", flat=True))


def names_and_hits() -> list[Any]:
    return [names(), ormcache.stats("default")["hits"]]


def add(name: str) -> None:
    Author.objects.create(name=name)


def close() -> None:
    """What gunicorn's workers come to with the first request, and what every recipe says to do before a fork."""
    connections.close_all()


def close_like_celery() -> None:
    """Its workers close the descriptor under the inherited connection, for the server not to be told, then that."""
    for inherited in connections.all(initialized_only=True):
        if inherited.connection is not None and hasattr(inherited.connection, "fileno"):
            os.close(inherited.connection.fileno())
        try:
            inherited.close()
        except Exception:
            inherited.connection = None


def close_like_a_request() -> None:
    """With CONN_MAX_AGE = 0 the connection that the parent has opened is too old for the first request."""
    close_old_connections()


@pytest.fixture(params=["embedded", "redis", "memcached"])
def store(request, configure) -> None:
    if request.param != "embedded":
        configure(STORE=request.param, CACHE=request.param)


WAYS = [close, close_like_celery, close_like_a_request]


@pytest.mark.parametrize("way", WAYS)
def test_workers_forked_after_a_query(store, fork, engine, way):
    if engine != "postgresql" and way is close_like_celery:
        pytest.skip("this driver has no fileno()")
    add("A")
    assert names() == names() == ["A"]
    if way is close:
        close()
    first, second = (fork(way, names, names_and_hits, lambda: add("C"), names, names) for _ in range(2))
    for child in (first, second):
        child.next()
        assert child.next() == ["A"]
        result, hits = child.next()
        assert result == ["A"]
        assert hits >= 1
    if way is not close:
        connections.close_all()

    add("B")
    first.next()
    assert first.next() == names() == ["A", "B", "C"]
    second.next()
    assert second.next() == names() == names("plain") == ["A", "B", "C", "C"]
    assert first.next() == ["A", "B", "C", "C"]


def test_a_pool_of_multiprocessing(store):
    add("A")
    names()
    connections.close_all()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(_work, range(6), chunksize=1) == [True] * 6
    assert sorted(names()) == sorted(["A", *(f"worker {number}" for number in range(6))])


def _work(number: int) -> bool:
    before = names()
    add(f"worker {number}")
    return before == sorted(before) and f"worker {number}" in names() and set(before) <= set(names())


def test_a_child_counts_from_zero(fork):
    add("A")
    assert names() == names()
    connections.close_all()
    child = fork(lambda: ormcache.stats("default")["hits"], names_and_hits, names_and_hits)

    assert child.next() == 0
    hits = child.next()[1]
    assert child.next() == [["A"], hits + 1]


def test_a_fork_while_another_thread_counts(fork):
    """The lock that the thread holds is never given back in the child."""
    add("A")
    names()
    connections.close_all()
    with counters_of("default")._lock:
        child = fork(names)

    assert child.next() == ["A"]


@pytest.mark.parametrize("name", [":memory:", "file:forked?mode=memory&cache=shared"])
def test_each_process_has_its_own_copy_of_a_database_in_memory(monkeypatch, fork, name):
    """As the workers of ``manage.py test --parallel`` have it: nothing of the one is true of the other."""
    memory = connections.configure_settings(
        {"default": {"ENGINE": "ormcache.backends.sqlite3", "NAME": name} | _own_store()}
    )["default"]
    monkeypatch.setitem(settings.DATABASES, "memory", memory)
    monkeypatch.setitem(connections.settings, "memory", memory)
    genres = Genre.objects.using("memory").order_by("pk")

    def read() -> list[str]:
        return [genre.name for genre in genres.all()]

    def rename(to: str) -> int:
        return genres.update(name=to)

    try:
        with connections["memory"].schema_editor() as editor:
            editor.create_model(Genre)
        Genre.objects.using("memory").create(name="parent's")
        assert read() == read() == ["parent's"]
        first, second = (fork(read, partial(rename, f"child {number}'s"), read, read) for number in (1, 2))
        for child in (first, second):
            assert child.next() == ["parent's"]
        first.next()
        assert first.next() == ["child 1's"]
        assert second.next() == 1
        assert second.next() == second.next() != ["parent's"]
        assert first.next() == ["child 1's"]
        assert read() == ["parent's"]
    finally:
        connections["memory"].connection.close()
        del connections["memory"]


def _own_store() -> dict[str, Any]:
    return {"ORMCACHE": {"LOCATION": settings.DATABASES["default"]["ORMCACHE"]["LOCATION"]}}


def test_the_parent_goes_on(fork, queries):
    add("A")
    assert names() == ["A"]
    connection.close()
    child = fork(lambda: add("B"))
    with queries(0):
        assert names() == ["A"]
    child.next()

    assert names() == ["A", "B"]
