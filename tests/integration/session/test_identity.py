"""Whose rows are these: servers that are started again, replaced, or lie behind something that outlives them."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.db import Error, connections, transaction
from django.db.models.functions import Now

from ormcache import reasons
from ormcache.catalog import READERS
from ormcache.session import addresses
from tests.integration.reading import (
    ENGINE,
    execute,
    in_thread,
    not_on_sqlite,
    only_mysql,
    only_postgresql,
    only_sqlite,
)
from tests.shop.models import Genre

PER_SERVER = {
    "postgresql": {"NAME": "postgres", "USER": "postgres"},
    "mysql": {"NAME": "moved", "USER": "root"},
}


def add_alias(name: str, **changes: Any) -> None:
    connections.settings[name] = connections.configure_settings({"default": changes})["default"]


def leads_to(server: Any, alias: str, like: str) -> None:
    given = {key: value for key, value in settings.DATABASES[like].items() if key != "TEST"}
    place = {"HOST": server.host, "PORT": str(server.port), "PASSWORD": "", **PER_SERVER[ENGINE]}
    add_alias(alias, **{**given, **place})


def furnish(alias: str) -> None:
    """Make the database behind an alias that goes past ormcache, and a table of genres."""
    if ENGINE == "mysql":
        name, connections.settings[alias]["NAME"] = connections.settings[alias]["NAME"], ""
        execute(f"CREATE DATABASE {name}", using=alias)
        connections[alias].close()
        connections.settings[alias]["NAME"] = name
    with connections[alias].schema_editor() as editor:
        editor.create_model(Genre)


@pytest.fixture
def server(start_server: Any) -> Iterator[Any]:
    """A server of its own: the aliases ``moved`` through ormcache, ``plain_moved`` past it, and a table of genres."""
    server = start_server(ENGINE)
    leads_to(server, "moved", "default")
    leads_to(server, "plain_moved", "plain")
    furnish("plain_moved")
    yield server
    for alias in ("moved", "plain_moved"):
        connections[alias].close()
        del connections[alias], connections.settings[alias]


def names(using: str = "moved") -> list[str]:
    return list(Genre.objects.using(using).order_by("pk").values_list("name", flat=True))


def begin_again(server: Any, name: str) -> None:
    """Start the server anew, as after a crash; then one genre of this name is all there is.

    It stands for what can be lost, which depends on the moment: the cache cannot see that it is written.
    """
    if ENGINE == "postgresql":
        execute("CHECKPOINT", using="plain_moved")  # the table is not to be lost
    connections["plain_moved"].close()
    server.kill()
    server.restart()
    execute(f"DELETE FROM {Genre._meta.db_table}", using="plain_moved")
    Genre.objects.using("plain_moved").create(name=name)


@not_on_sqlite
def test_a_server_that_was_started_again_begins_with_an_empty_cache(server, queries):
    """What it had committed last may be lost; what was read of it must not be served."""
    Genre.objects.using("moved").create(name="old")
    assert names() == names() == ["old"]
    identity = connections["moved"].ormcache.known().identity
    connections["moved"].close()
    begin_again(server, "new")
    connections["moved"].ensure_connection()
    assert names() == ["new"]
    assert connections["moved"].ormcache.known().identity != identity


@not_on_sqlite
def test_each_connection_to_one_server_comes_to_the_same_answer(server):
    identities = set()
    for _ in range(3):
        connections["moved"].ensure_connection()
        identities.add(connections["moved"].ormcache.known().identity)
        connections["moved"].close()
    assert len(identities) == 1


# Asking again -------------------------------------------------------------------------------

#: At every read, and as soon as a millisecond has passed
AT_ONCE = pytest.mark.parametrize("max_age", [0, 0.001])


def forget_addresses() -> None:
    """What this process knows of them, as another process would not know it."""
    addresses._addresses.clear()


@AT_ONCE
@not_on_sqlite
def test_reads_that_all_hit_without_a_connection(server, configure, max_age):
    configure(IDENTITY_MAX_AGE=max_age)
    Genre.objects.using("moved").create(name="old")
    for _ in range(3):  # the first connection, which has read the catalog, is not remembered
        assert names() == names() == ["old"]
        connections["moved"].close()
        connections["moved"].ensure_connection()
    connections["moved"].close()
    begin_again(server, "new")
    assert names() == ["new"]


@AT_ONCE
@not_on_sqlite
def test_reads_that_all_hit_on_a_connection_that_is_dead(server, configure, max_age):
    """They fail as they do without the cache, and Django makes another connection for the next request."""
    configure(IDENTITY_MAX_AGE=max_age)
    Genre.objects.using("moved").create(name="old")
    assert names() == names() == ["old"]
    begin_again(server, "new")
    with pytest.raises(Error):
        names()
    connections["moved"].close_if_unusable_or_obsolete()
    assert names() == ["new"]


@not_on_sqlite
def test_within_its_time_nobody_is_asked(server, configure, monkeypatch):
    configure(IDENTITY_MAX_AGE=3600)
    names()
    asked = counting(monkeypatch)
    for _ in range(3):
        names()
        Genre.objects.using("moved").create(name="x")
        with transaction.atomic(using="moved"):
            names()
    assert asked == []
    configure(IDENTITY_MAX_AGE=0)
    connections["moved"].close()
    connections["moved"].ensure_connection()
    names()
    names()
    assert len(asked) == 2


@only_postgresql
def test_a_connection_that_has_just_answered_is_not_asked(server, configure, monkeypatch):
    """It does not outlive its server; only reads that all hit leave it open whether that is there."""
    configure(IDENTITY_MAX_AGE=60)
    monkeypatch.setattr(addresses.Address, "_noted_by_others", lambda *args: None)
    names()
    asked = counting(monkeypatch)
    state = connections["moved"].ormcache

    def answered(statement: Any) -> list[Any]:
        """What is asked by a read that hits, after time has passed and then this statement was answered."""
        statement()
        names()
        del asked[:]
        state.confirmation.due = addresses.NEVER
        forget_addresses()
        statement()
        names()
        return list(asked)

    assert answered(lambda: Genre.objects.using("moved").update(name="x")) == []
    assert answered(lambda: Genre.objects.using("moved").annotate(now=Now()).first()) == []
    assert len(answered(lambda: None)) == 1


def counting(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The questions to open connections from now on."""
    asked: list[Any] = []
    reader = READERS[connections["moved"].vendor]
    ask = reader.is_same

    def counted(connection: Any, server: Any) -> bool:
        asked.append(server)
        return ask(connection, server)

    monkeypatch.setattr(reader, "is_same", counted)
    return asked


@only_postgresql
def test_in_a_transaction_that_keeps_its_snapshot_nothing_is_asked(server, configure, monkeypatch):
    """The question could be what fixes it."""
    configure(IDENTITY_MAX_AGE=0)
    names()
    asked = counting(monkeypatch)
    with transaction.atomic(using="moved"):
        execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", using="moved")
        names()
    assert asked == []


@only_sqlite
def test_a_file_that_is_replaced_while_reads_all_hit(configure, tmp_path):
    configure(IDENTITY_MAX_AGE=0)
    path = tmp_path / "site.sqlite3"
    given = {key: value for key, value in settings.DATABASES["default"].items() if key != "TEST"}
    add_alias("moved", **{**given, "NAME": str(path)})
    add_alias("plain_moved", **{**settings.DATABASES["plain"], "NAME": str(path)})
    try:
        for name in ("old", "new"):
            with connections["plain_moved"].schema_editor() as editor:
                editor.create_model(Genre)
            Genre.objects.using("plain_moved").create(name=name)
            connections["plain_moved"].close()
            assert names() == names() == [name]
            connections["moved"].close()
            assert names() == [name]
            assert connections["moved"].connection is None
            path.rename(tmp_path / "kept")
    finally:
        for alias in ("moved", "plain_moved"):
            connections[alias].close()
            del connections[alias], connections.settings[alias]


# An address that comes to lead elsewhere -----------------------------------------------------


class Switch:
    """A proxy that leads each new connection to the server of the moment; those that are there stay where they are."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection((self.server.host, self.server.port))
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@pytest.fixture
def switch(server: Any, start_server: Any) -> Iterator[Switch]:
    """The alias ``moved`` leads through it, and ``plain_other`` to the other server, on ``other``."""
    switch = Switch(server)
    switch.other = start_server(ENGINE)
    leads_to(switch.other, "plain_other", "plain")
    furnish("plain_other")
    connections.settings["moved"] |= {"HOST": "127.0.0.1", "PORT": str(switch.port)}
    yield switch
    connections["moved"].close()
    switch.close()
    connections["plain_other"].close()
    del connections["plain_other"], connections.settings["plain_other"]


@not_on_sqlite
def test_an_open_connection_does_not_tell_where_the_next_one_leads(server, switch, configure, monkeypatch):
    """It stays with its server for as long as that runs, whatever the address leads to by now."""
    configure(IDENTITY_MAX_AGE=3600)
    Genre.objects.using("moved").create(name="one")
    Genre.objects.using("plain_other").create(name="other")
    for _ in range(3):  # the first connection, which has read the catalog, is not remembered
        connections["moved"].close()
        connections["moved"].ensure_connection()
        assert names() == names() == ["one"]
    switch.server = switch.other
    monkeypatch.setattr(addresses.Address, "_noted_by_others", lambda *args: None)
    forget_addresses()  # as after some time
    connections["moved"].ormcache.confirmation.due = addresses.NEVER
    assert names() == ["one"]
    assert in_thread(names) == ["other"]


@not_on_sqlite
def test_a_server_that_is_found_again_has_an_empty_cache(server, switch, configure):
    """It got what the other one was told meanwhile, as replication does it, and was not started again."""
    configure(IDENTITY_MAX_AGE=3600)
    Genre.objects.using("moved").create(name="one")
    assert names() == names() == ["one"]
    switch.server = switch.other
    in_thread(lambda: write("two"))
    assert names() == names() == ["one"]  # by a connection that stays, and stores it once more
    Genre.objects.using("plain_moved").update(name="two")
    switch.server = server
    assert in_thread(names) == ["two"]
    assert names() == ["two"]


@only_mysql
def test_a_server_that_is_made_a_replica_while_it_runs(server, configure):
    configure(IDENTITY_MAX_AGE=0)
    Genre.objects.using("moved").create(name="one")
    assert names() == names() == ["one"]
    execute("SET GLOBAL read_only = 1", using="plain_moved")
    Genre.objects.using("plain_moved").update(name="two")  # as replication does
    assert names() == names() == ["two"]
    assert connections["moved"].ormcache.bypass_reason == reasons.REPLICA


# Behind a pooler that outlives the server ----------------------------------------------------


@pytest.fixture
def pooler(server: Any, start_server: Any) -> Any:
    """The alias ``moved`` leads through PgBouncer, which keeps its clients when the server is started again."""
    pooler = start_server("pgbouncer", behind=server)
    connections["moved"].close()
    connections.settings["moved"] |= {"HOST": pooler.host, "PORT": str(pooler.port)}
    return server


def in_another_process(call: Any) -> Any:
    """The result of ``call`` where nothing of this process is known but its store."""
    forget_addresses()
    return in_thread(call)


def write(name: str) -> None:
    Genre.objects.using("moved").update(name=name)


def start_again(server: Any) -> None:
    connections["plain_moved"].close()
    server.stop()
    server.start()
    # PgBouncer notices at the next statement that its connection is gone, and tells nobody else of it
    in_another_process(lambda: suppressed(names))


def suppressed(call: Any) -> None:
    try:
        call()
    except Error:
        pass


@only_postgresql
def test_who_finds_the_new_server_tells_those_who_write_to_the_old_one(pooler, configure):
    """At once, however long what they know counts."""
    configure(IDENTITY_MAX_AGE=3600)
    Genre.objects.using("moved").create(name="one")
    assert names() == names() == ["one"]
    start_again(pooler)
    assert in_another_process(lambda: [names(), names()]) == [["one"], ["one"]]
    write("two")
    assert in_another_process(names) == ["two"]
    write("three")
    assert in_another_process(names) == ["three"]
    assert names() == ["three"]


@only_postgresql
def test_who_finds_the_new_server_tells_those_who_read_of_the_old_one(pooler, configure):
    configure(IDENTITY_MAX_AGE=3600)
    Genre.objects.using("moved").create(name="one")
    assert names() == names() == ["one"]
    start_again(pooler)
    in_another_process(lambda: write("two"))
    assert names() == ["two"]


@only_postgresql
def test_a_writer_that_nobody_tells_asks_when_it_is_time(pooler, configure, monkeypatch):
    """And then invalidates what others have of the new server: its writes since the last answer went there unseen."""
    configure(IDENTITY_MAX_AGE=3600)
    monkeypatch.setattr(addresses.Address, "_note", lambda *args: None)
    Genre.objects.using("moved").create(name="one")
    assert names() == names() == ["one"]
    start_again(pooler)
    assert in_another_process(lambda: [names(), names()]) == [["one"], ["one"]]
    write("two")
    assert in_another_process(names) == ["one"]  # the limit: it is told by nobody, and it is not time yet
    connections["moved"].ormcache.confirmation.due = addresses.NEVER
    forget_addresses()
    write("three")
    assert in_another_process(names) == ["three"]


@only_postgresql
def test_a_writer_that_is_gone_by_then(pooler, configure, monkeypatch):
    """Its process remembers that its connection was given up unconfirmed."""
    configure(IDENTITY_MAX_AGE=3600)
    monkeypatch.setattr(addresses.Address, "_note", lambda *args: None)
    Genre.objects.using("moved").create(name="one")
    assert names() == ["one"]
    start_again(pooler)
    kept = addresses._addresses.copy()
    assert in_another_process(lambda: [names(), names()]) == [["one"], ["one"]]
    addresses._addresses.update(kept)
    write("two")
    connections["moved"].close()
    connections["moved"].ensure_connection()
    assert in_another_process(names) == ["two"]
