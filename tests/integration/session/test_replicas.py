"""Servers that are replicas, and servers that do not tell who they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.conf import settings
from django.db import connection, connections
from django.test.signals import setting_changed

import ormcache
from ormcache import reasons
from ormcache.catalog import READERS
from ormcache.session.addresses import NEVER
from ormcache.session.primary import identity_behind
from tests.shop.models import Author


def names() -> list[str]:
    return [author.name for author in Author.objects.order_by("name")]


def counted(kind: str, reason: str) -> int:
    return int(ormcache.stats("default")[kind].get(reason, 0))


@pytest.fixture
def identify(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[Any], Any]], None]]:
    """``identify(change)``: connections made from now on are told ``change(server)`` in place of the truth."""
    reader = READERS[connection.vendor]
    truth = reader.identify

    def instead(change: Callable[[Any], Any]) -> None:
        connection.close()
        monkeypatch.setattr(reader, "identify", lambda *args: change(truth(*args)))

    yield instead
    monkeypatch.undo()
    connection.close()


def test_a_replica_without_a_primary_is_not_cached(identify: Any) -> None:
    Author.objects.create(name="A")
    identify(lambda server: replace(server, replica=True))
    before = counted("bypassed", reasons.REPLICA)
    assert names() == names() == ["A"]
    assert counted("bypassed", reasons.REPLICA) == before + 2


def test_a_replica_of_a_primary_keeps_nothing(identify: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    Author.objects.create(name="A")
    monkeypatch.setitem(settings.DATABASES["default"]["ORMCACHE"], "PRIMARY", "second")
    setting_changed.send(sender=None, setting="ORMCACHE", value=None, enter=True)
    connections["second"].ensure_connection()
    assert connections["second"].ormcache.known() is not None  # the primary tells the truth
    identify(lambda server: replace(server, replica=True))
    before = counted("rejected", reasons.ON_REPLICA), ormcache.stats("default")["stored"]
    assert names() == names() == ["A"]
    assert counted("rejected", reasons.ON_REPLICA) == before[0] + 2
    assert ormcache.stats("default")["stored"] == before[1]


def test_a_replica_whose_primary_is_not_cached_is_not_either(identify: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(settings.DATABASES["default"]["ORMCACHE"], "PRIMARY", "plain")
    setting_changed.send(sender=None, setting="ORMCACHE", value=None, enter=True)
    Author.objects.create(name="A")
    identify(lambda server: replace(server, replica=True))
    before = counted("bypassed", reasons.REPLICA)
    assert names() == names() == ["A"]
    assert counted("bypassed", reasons.REPLICA) == before + 2


def test_a_primary_is_asked_again_once_it_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its open connection may by now lead to another server."""
    state = connections["second"].ormcache
    connections["second"].ensure_connection()
    identity = state.known().identity
    assert identity_behind("second") == identity
    monkeypatch.setattr(READERS[connection.vendor], "is_same", lambda *args: False)
    monkeypatch.setattr(state.confirmation, "good_until", lambda *args: NEVER)  # nothing else shows where it leads
    monkeypatch.setattr(state.confirmation, "due", time.monotonic() + 3600)
    assert identity_behind("second") == identity
    monkeypatch.setattr(state.confirmation, "due", NEVER)
    assert identity_behind("second") is None
    connections["second"].close()


def test_a_replica_whose_primary_was_not_reached_is_not_cached(
    identify: Any, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = {"NAME": "/nowhere/at/all"} if engine == "sqlite" else {"HOST": "127.0.0.1", "PORT": "1"}
    monkeypatch.setitem(connections.settings, "away", connections.settings["second"] | away)
    monkeypatch.setitem(settings.DATABASES["default"]["ORMCACHE"], "PRIMARY", "away")
    setting_changed.send(sender=None, setting="ORMCACHE", value=None, enter=True)
    Author.objects.create(name="A")
    identify(lambda server: replace(server, replica=True))
    connection.ensure_connection()
    before = counted("bypassed", reasons.REPLICA)
    assert names() == names() == ["A"]
    assert counted("bypassed", reasons.REPLICA) == before + 2


def test_a_server_that_does_not_tell_is_not_cached_and_works(identify: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(server: Any) -> Any:
        raise connection.Database.OperationalError("it does not tell")

    Author.objects.create(name="A")
    assert names() == names() == ["A"]  # cached by now
    identify(fails)
    # The way of connections that this process has met before leads past it: connect.
    connection.ensure_connection()
    before = counted("bypassed", reasons.UNIDENTIFIED)
    assert names() == ["A"]
    assert counted("bypassed", reasons.UNIDENTIFIED) == before + 1
    monkeypatch.undo()
    Author.objects.update(name="B")  # it tells by now, and so does the write
    assert names() == names() == ["B"]


def test_nodes_of_a_cluster_that_have_one_name(queries: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write on one node invalidates what was read on the other; without the name they are two databases."""
    for name, read_again in ((None, 0), ("cluster", 1)):
        for alias in ("default", "second"):
            monkeypatch.setitem(settings.DATABASES[alias]["ORMCACHE"], "NAME", name)
            connections[alias].close()
        setting_changed.send(sender=None, setting="ORMCACHE", value=None, enter=True)
        names()
        with queries(0):
            names()
        Author.objects.using("second").create(name="B")
        with queries(read_again):
            names()
