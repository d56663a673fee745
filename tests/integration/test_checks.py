"""What is wrong with the settings: said by a system check, and refused at the first use."""

from __future__ import annotations

import ctypes
import logging
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, connections
from django.test import override_settings

import ormcache
from ormcache import conf, reasons
from ormcache.checks import check_deployment, check_settings
from ormcache.session import identification
from ormcache.stores import close_all
from ormcache.stores.serializer import BytesSerializer
from ormcache.utils import host
from tests.shop.models import Author
from tests.stores.helpers import Child

CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 1 << 18

#: A database that none of the others is, so that no check about a pair of them speaks
ELSEWHERE = {"NAME": "elsewhere"}


@pytest.fixture
def add_database(monkeypatch) -> Iterator[Callable[..., str]]:
    """``add_database(ENGINE=…)``: one more database in the settings, on the file, server and store under test."""

    def add(own: Any = None, **changes: Any) -> str:
        given = dict(settings.DATABASES["default"])
        given["ORMCACHE"] = given["ORMCACHE"] | own if isinstance(own, dict) else own or given["ORMCACHE"]
        given.pop("TEST", None)
        completed = connections.configure_settings({"default": given | changes})["default"]
        monkeypatch.setitem(settings.DATABASES, "other", completed)
        monkeypatch.setitem(connections.settings, "other", completed)
        forget()
        return "other"

    def forget() -> None:
        if hasattr(connections._connections, "other"):
            connections["other"].close()
            if connections["other"].connection is not None:  # Django leaves one to a database in memory open
                connections["other"].connection.close()
            del connections["other"]
        conf._configs.pop("other", None)

    yield add
    forget()


def messages(about: str, databases: list[str] | None = None) -> dict[str, checks.CheckMessage]:
    """What the checks say of one database, by id. That it shares its rows with the others here is not the point."""
    return {
        message.id: message
        for message in check_settings(databases)
        if repr(about) in message.msg and message.id != "ormcache.W008"
    }


def only_message(about: str, databases: list[str] | None = None) -> checks.CheckMessage:
    found = messages(about, databases)
    assert len(found) == 1, found
    return next(iter(found.values()))


# One by one ------------------------------------------------------------------------


def test_nothing_is_said_of_good_settings(add_database):
    assert messages(add_database()) == {}


@pytest.mark.parametrize(
    "value, number, message, hint",
    [
        (["shop.*"], 1, "must be a dict, not ['shop.*']", "table of settings"),
        ({"BLAKLIST": []}, 2, "has the unknown key 'BLAKLIST'", "Did you mean 'BLACKLIST'?"),
        ({"blacklist": []}, 2, "has the unknown key 'blacklist'", "Did you mean 'BLACKLIST'?"),
        ({"STOR": "redis"}, 2, "has the unknown key 'STOR'", "Did you mean 'STORE'?"),
        ({"WHATEVER": 1}, 2, "has the unknown key 'WHATEVER'", "Valid keys: ENABLED, STORE, CACHE, LOCATION"),
        ({7: 1}, 2, "has the unknown key 7", "Valid keys: ENABLED"),
        ({"ENABLED": 1}, 4, "['ENABLED'] is 1", "True, False or 'observe'"),
        ({"ENABLED": "no"}, 4, "['ENABLED'] is 'no'", "True, False or 'observe'"),
        ({"VERIFY": 2}, 4, "['VERIFY'] is 2", "a share of hits, from 0 to 1, or 'raise'"),
        ({"SHADOW": True}, 2, "unknown key 'SHADOW'", "Use 'VERIFY': 'raise' in place of 'SHADOW': True."),
        (
            {"STORE": "memory"},
            4,
            "['STORE'] is 'memory'",
            "'embedded', 'redis', 'redis-cluster', 'memcached', 'django'",
        ),
        ({"STORE": ["redis"]}, 4, "['STORE'] is ['redis']", "'embedded'"),
        ({"CACHE": 7}, 4, "['CACHE'] is 7", "an alias in CACHES"),
        ({"CACHE": None}, 4, "['CACHE'] is None", "an alias in CACHES"),
        ({"LOCATION": 7}, 4, "['LOCATION'] is 7", "the path of a folder"),
        ({"MAX_SIZE": 4096}, 4, "['MAX_SIZE'] is 4096", "4 MiB or more"),
        ({"MAX_SIZE": "256M"}, 4, "['MAX_SIZE'] is '256M'", "a number of bytes"),
        ({"BLACKLIST": "shop.Review"}, 4, "['BLACKLIST'] is 'shop.Review'", "a list of model labels"),
        ({"BLACKLIST": [Author]}, 4, "['BLACKLIST'] is [<class", "a list of model labels"),
        ({"BLACKLIST": [""]}, 4, "['BLACKLIST'] is ['']", "a list of model labels"),
        ({"ONLY": {"shop": "*"}}, 4, "['ONLY'] is {'shop': '*'}", "a list of model labels"),
        ({"CONSISTENCY": "eventual"}, 4, "['CONSISTENCY'] is 'eventual'", "'strict', 'request', 'near'"),
        (
            {"STORE": "redis-cluster", "CACHE": "redis", "CONSISTENCY": "near"},
            5,
            "level 'near' of database 'other' needs the store 'redis', not 'redis-cluster'",
            "'request'",
        ),
        ({"CONSISTENCY": "near"}, 5, "level 'near' of database 'other' needs the store 'redis', not None", "'strict'"),
        (
            {"CONSISTENCY": "near", "STORE": "memcached"},
            5,
            "the store 'redis', not 'memcached'",
            "set STORE to 'redis'",
        ),
        ({"NEAR_MAX_LAG": 0}, 4, "['NEAR_MAX_LAG'] is 0", "positive number of seconds"),
        ({"IDENTITY_MAX_AGE": -1}, 4, "['IDENTITY_MAX_AGE'] is -1", "a number of seconds, 0 for at every read"),
        ({"ON_OUTAGE": "retry"}, 4, "['ON_OUTAGE'] is 'retry'", "'proceed', 'refuse'"),
        ({"STORE_TIMEOUT": -1}, 4, "['STORE_TIMEOUT'] is -1", "positive number of seconds"),
        ({"STORE_TIMEOUT": None}, 4, "['STORE_TIMEOUT'] is None", "positive number of seconds"),
        ({"LEASE": 0.5}, 4, "['LEASE'] is 0.5", "1 or more"),
        ({"LEASE": float("inf")}, 4, "['LEASE'] is inf", "1 or more"),
        ({"LEASE": float("nan")}, 4, "['LEASE'] is nan", "1 or more"),
        ({"TIMEOUT": 0}, 4, "['TIMEOUT'] is 0", "None for 'until a write'"),
        ({"TIMEOUT": True}, 4, "['TIMEOUT'] is True", "None for 'until a write'"),
        ({"MAX_ROWS": -1}, 4, "['MAX_ROWS'] is -1", "a number of rows"),
        ({"MAX_ROWS": 1.5}, 4, "['MAX_ROWS'] is 1.5", "a number of rows"),
        ({"MAX_BYTES": "1M"}, 4, "['MAX_BYTES'] is '1M'", "a number of bytes"),
        ({"LOCAL_SIZE": None}, 4, "['LOCAL_SIZE'] is None", "0 for none"),
        ({"VERSION": 7}, 4, "['VERSION'] is 7", "a string"),
        ({"NAME": ""}, 4, "['NAME'] is ''", "no other database has"),
        ({"PRIMARY": 1}, 4, "['PRIMARY'] is 1", "an alias in DATABASES"),
        ({"REPLICA_FILLS": 1}, 4, "['REPLICA_FILLS'] is 1", "True or False"),
        ({"REPLICA_FILLS": True}, 7, "REPLICA_FILLS of database 'other' is True", "in PRIMARY, or leave"),
        ({"SIGN": "yes"}, 4, "['SIGN'] is 'yes'", "True or False"),
        ({"ENGINE": 5}, 4, "['ENGINE'] is 5", "dotted path"),
        ({"STORE": "redis", "CACHE": "rediss"}, 6, "The cache 'rediss' of ORMCACHE", "Did you mean 'redis'?"),
        ({"STORE": "django", "CACHE": "xyz"}, 6, "The cache 'xyz' of ORMCACHE", "Add it to CACHES"),
        ({"PRIMARY": "defualt"}, 7, "The primary 'defualt' of database 'other'", "Name the alias"),
        ({"PRIMARY": "other"}, 7, "of database 'other' is that database itself", "Name the alias"),
        ({"PURGE": "varnish"}, 8, "['PURGE'] is neither a dict nor a list", "one dict for each CDN"),
        ({"PURGE": ["varnish"]}, 8, "['PURGE'][0] is not a dict", "one dict for each CDN"),
        ({"PURGE": {"LOCATION": "http://a"}}, 8, "['PURGE'] has no 'BACKEND'", "'varnish', 'fastly', 'cloudflare'"),
        ({"PURGE": {"BACKEND": "varnich", "LOCATION": "http://a"}}, 8, "is 'varnich'", "Did you mean 'varnish'?"),
        ({"PURGE": {"BACKEND": "akamai"}}, 8, "['BACKEND'] is 'akamai'", "the dotted path of a class"),
        ({"PURGE": {"BACKEND": "varnish"}}, 8, "has no 'LOCATION', which 'varnish' needs", "a URL"),
        ({"PURGE": {"BACKEND": "varnish", "LOCATION": "a:80"}}, 8, "['LOCATION'] is not valid", "http://"),
        ({"PURGE": {"BACKEND": "fastly", "TOKEN": "t"}}, 8, "has no 'SERVICE'", "the id of a service"),
        ({"PURGE": {"BACKEND": "cloudflare", "ZONE": "z"}}, 8, "has no 'TOKEN'", "a string of printable"),
        ({"PURGE": {"BACKEND": "a.B", "TIMEOUT": 0}}, 8, "['TIMEOUT'] is not valid", "positive number of seconds"),
        ({"PURGE": {"BACKEND": "a.B", "S_MAXAGE": 0.5}}, 8, "['S_MAXAGE'] is not valid", "a whole number"),
        ({"PURGE": {"BACKEND": "a.B", "REPEAT_AFTER": -1}}, 8, "['REPEAT_AFTER'] is not valid", "0 for never"),
        ({"PURGE": {"BACKEND": "a.B", "OPTIONS": [1]}}, 8, "['OPTIONS'] is not valid", "by name"),
        ({"PURGE": {"BACKEND": "a.B", "SMAXAGE": 1}}, 8, "has the unknown key 'SMAXAGE'", "Did you mean 'S_MAXAGE'?"),
    ],
)
def test_a_wrong_setting_is_an_error_and_is_refused_at_the_first_use(add_database, value, number, message, hint):
    alias = add_database(value)

    found = messages(alias)

    assert set(found) == {f"ormcache.E{number:03}"}
    error = found[f"ormcache.E{number:03}"]
    assert error.level == checks.ERROR
    assert message in error.msg
    assert hint in error.hint
    if number == conf.NO_CACHE:
        return  # that is a store that is away
    with pytest.raises(ImproperlyConfigured) as raised:
        list(Author.objects.using(alias))
    assert str(raised.value) == f"{error.msg} {error.hint}"


def test_no_check_shows_a_secret(add_database):
    """Not even where it is what is wrong."""
    given = {"BACKEND": "fastly", "SERVICE": "s"}
    for wrong in ({"TOKEN": "top-secret\n"}, {"TOKEN": "top-secret", "SERVICE": None}, {"TOKEN": ["top-secret"]}):
        (found,) = messages(add_database({"PURGE": given | wrong})).values()
        assert "top-secret" not in found.msg + found.hint
    config = conf.config_for("secret", {"ORMCACHE": {"PURGE": given | {"TOKEN": "top-secret"}}})
    assert config.purge[0].token == "top-secret"
    assert "top-secret" not in repr(config)
    (purger,) = conf.config_for(
        "other secret", {"ORMCACHE": {"PURGE": {"BACKEND": "varnish", "LOCATION": "http://me:top-secret@a:80/x"}}}
    ).purge
    assert purger.name == "varnish http://a:80/x"


@pytest.mark.parametrize(
    "backend, message", [("no.such.Purger", "cannot be imported"), ("datetime.date", "has no header and no separator")]
)
def test_a_purger_that_is_none(add_database, backend, message):
    error = only_message(add_database({"PURGE": {"BACKEND": backend}}))

    assert (error.id, error.level) == ("ormcache.E020", checks.ERROR)
    assert message in error.msg


@pytest.mark.parametrize(
    "value",
    [{"CONSISTENCY": "request"}, {"CONSISTENCY": "near", "STORE": "redis", "CACHE": "redis"}],
    ids=lambda value: value["CONSISTENCY"],
)
def test_nothing_is_said_of_a_level_that_the_store_has(add_database, value):
    assert messages(add_database(value)) == {}


def test_every_wrong_key_is_named(add_database):
    add_database({"BLAKLIST": [], "SIGN": 1, "TIMEOUT": "1h"})

    found = sorted(message.id for message in check_settings() if "['other']" in message.msg)
    assert found == ["ormcache.E002", "ormcache.E004", "ormcache.E004"]


@pytest.mark.parametrize("key", ["ENGINE", "NAME", "PRIMARY", "REPLICA_FILLS"])
def test_what_belongs_to_one_database_may_not_stand_in_the_projects_setting(key):
    with override_settings(ORMCACHE={key: "default"}):
        found = {message.id: message for message in check_settings()}
        assert f"ORMCACHE['{key}'] belongs to one database" in found["ormcache.E003"].msg
        assert "Move it into DATABASES" in found["ormcache.E003"].hint
        with pytest.raises(ImproperlyConfigured, match="belongs to one database"):
            Author.objects.count()


def test_the_projects_setting_is_checked_too():
    with override_settings(ORMCACHE={"TIMEOUT": "1h"}):
        assert {message.id for message in check_settings()} == {"ormcache.E004"}
        with pytest.raises(ImproperlyConfigured, match=r"ORMCACHE\['TIMEOUT'\] is '1h'"):
            Author.objects.count()
    assert Author.objects.count() == 0


def test_a_write_is_refused_under_a_wrong_setting():
    with override_settings(ORMCACHE={"TIMEOT": 5}), pytest.raises(ImproperlyConfigured, match="Did you mean 'TIMEOUT'"):
        Author.objects.create(name="A")

    assert Author.objects.using("plain").count() == 0


# Engines ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "own, said",
    [
        ({}, "does not say what to wrap"),
        ({"ENGINE": "no.such.backend"}, "'no.such.backend' isn't an available database backend"),
        ({"ENGINE": "ormcache.backends.sqlite3"}, "has the cache in front already"),
    ],
)
def test_an_engine_that_cannot_be_wrapped(add_database, own, said):
    alias = add_database(own, ENGINE="ormcache.backends.wrap")

    found = messages(alias)

    assert set(found) == {"ormcache.E010"}
    assert said in found["ormcache.E010"].msg
    assert "DATABASES['other']['ORMCACHE']['ENGINE']" in found["ormcache.E010"].hint
    with pytest.raises(ImproperlyConfigured, match=said):
        connections[alias].ensure_connection()


def test_an_engine_in_front_of_ormcache(add_database):
    found = only_message(add_database(ENGINE="tests.projects.engines.in_front"))

    assert (found.id, found.level) == ("ormcache.E011", checks.ERROR)
    assert "tests.projects.engines.in_front.base.DatabaseWrapper in front of ormcache" in found.msg
    assert "'ormcache.backends.wrap'" in found.hint


def test_an_engine_of_ones_own_is_the_outermost(add_database):
    own = "tests.projects.engines.own"
    assert messages(add_database({"TRANSPARENT": [own]}, ENGINE=own)) == {}


def test_a_base_engine_that_nobody_asks_for(add_database):
    alias = add_database({"ENGINE": "django.db.backends.sqlite3"})

    found = only_message(alias)

    assert found.id == "ormcache.E012"
    assert "has no meaning with the engine 'ormcache.backends." in found.msg
    assert "'ormcache.backends.wrap'" in found.hint


def test_ormcache_without_any_engine_of_it(monkeypatch):
    for alias, stock in {"default": "plain", "second": "second_plain"}.items():
        monkeypatch.setitem(settings.DATABASES, alias, settings.DATABASES[stock])
        monkeypatch.setitem(connections.settings, alias, settings.DATABASES[stock])
        connections[alias].close()
        del connections[alias]

    assert check_settings() == []
    with override_settings(ORMCACHE={"TIMEOUT": 5}):
        [found] = check_settings()

    assert (found.id, found.level) == ("ormcache.W001", checks.WARNING)
    assert "nothing is cached" in found.msg
    assert "ormcache.backends.postgresql" in found.hint


def test_a_kind_of_database_that_ormcache_does_not_know(add_database):
    own = {"ENGINE": "tests.projects.engines.unknown"}
    alias = add_database(own, ENGINE="ormcache.backends.wrap", NAME=":memory:", OPTIONS={})

    found = only_message(alias)

    assert found.id == "ormcache.W002"
    assert "unheard_of" in found.msg
    assert "postgresql, mysql, sqlite" in found.hint
    with connections[alias].cursor() as cursor:
        cursor.execute("CREATE TABLE shop_genre (id integer PRIMARY KEY, name text)")
    from tests.shop.models import Genre

    Genre.objects.using(alias).create(name="Poetry")
    assert [genre.name for genre in Genre.objects.using(alias)] == ["Poetry"]
    assert ormcache.stats(alias)["bypassed"].get("no store")  # where such a database is cannot be told


# Stores ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"HOST": "db.example.org"},
        {"HOST": "10.1.2.3"},
        {"HOST": "localhost,db.example.org"},
        {"HOST": "", "OPTIONS": {"host": "db.example.org"}},
        {"HOST": "", "OPTIONS": {"service": "shop"}},
        {"HOST": "localhost", "OPTIONS": {"read_default_file": "/etc/mysql/shop.cnf"}},
    ],
)
def test_a_database_elsewhere_needs_a_store_to_be_named(add_database, engine, changes):
    if engine == "sqlite":
        pytest.skip("a file is on this host")
    found = only_message(add_database(**changes, **ELSEWHERE))

    assert (found.id, found.level) == ("ormcache.W003", checks.WARNING)
    assert "no STORE is named: nothing is cached" in found.msg
    assert "'STORE': 'redis'" in found.hint
    assert messages(add_database({"STORE": "embedded"}, **changes, **ELSEWHERE)) == {}


@pytest.mark.parametrize("host", ["", "localhost", "127.0.0.1", "::1", "/var/run/postgresql", "127.0.0.1,localhost"])
def test_a_database_on_this_host_needs_no_store(add_database, host):
    assert messages(add_database(HOST=host, **ELSEWHERE)) == {}


def test_the_host_of_libpqs_environment_counts(add_database, engine, monkeypatch):
    if engine != "postgresql":
        pytest.skip("only libpq reads it")
    monkeypatch.setenv("PGHOST", "db.example.org")

    assert only_message(add_database(HOST="", **ELSEWHERE)).id == "ormcache.W003"


def test_a_remote_database_without_a_store_is_not_cached_and_says_why(add_database, engine, queries, caplog):
    if engine == "sqlite":
        pytest.skip("a file is on this host")
    # A name that means another host, and the way to the server beside it.
    server = settings.DATABASES["default"]
    way = {"hostaddr": server["HOST"]} if engine == "postgresql" else {"unix_socket": _unix_socket(engine)}
    alias = add_database({"STORE": None}, HOST="db.example.org", OPTIONS=way)
    Author.objects.using(alias).create(name="A")

    before = ormcache.stats(alias)

    with caplog.at_level(logging.WARNING, "ormcache"):
        for _ in range(2):  # one request and the next one
            with queries(2, using=alias):
                assert [Author.objects.using(alias).get().name for _ in range(2)] == ["A", "A"]
            connections[alias].close()

    after = ormcache.stats(alias)
    assert after["bypassed"]["no store"] == before["bypassed"].get("no store", 0) + 4
    assert after["hits"] == before["hits"]
    assert len([record for record in caplog.messages if "no STORE is named" in record]) <= 1


def _unix_socket(engine: str) -> str:
    from tests import environment

    path = environment.current().first(engine).unix_socket
    if path is None:
        pytest.skip("this server tells no socket")
    return path


@pytest.mark.slow
def test_a_port_of_this_host_that_leads_elsewhere_is_no_local_database(
    add_database, engine, monkeypatch, start_server, caplog
):
    """HOST is loopback, and the server behind it says another address: a tunnel, a proxy, a forwarded port."""
    if engine == "sqlite":
        pytest.skip("a file is on this host")
    if engine == "mysql":
        monkeypatch.setattr(socket, "gethostname", lambda: "another-host")
        alias = add_database({"STORE": None})
    else:
        server = _on_own_address(start_server("postgresql"))
        changes = {"NAME": "postgres", "HOST": "localhost", "PORT": server.port, "USER": "postgres"}
        alias = add_database({"STORE": None}, **changes, OPTIONS={"hostaddr": server.host})
        with connections[alias].schema_editor() as editor:
            editor.create_model(Author)
        connections[alias].close()

    with caplog.at_level(logging.WARNING, "ormcache"):
        before = ormcache.stats(alias)
        for _ in range(3):  # three requests
            assert [Author.objects.using(alias).count() for _ in range(2)] == [0, 0]
            connections[alias].close()

    after = ormcache.stats(alias)
    assert after["hits"] == before["hits"]
    assert after["bypassed"]["no store"] == before["bypassed"].get("no store", 0) + 6
    assert len([record for record in caplog.messages if "no STORE is named" in record]) <= 1


def test_the_servers_of_the_tests_are_on_this_host(add_database, engine):
    alias = add_database({"STORE": None})
    assert [author.name for author in Author.objects.using(alias)] == []
    database = connections[alias].ormcache.database
    assert database.server.local
    assert database.stamps.store.kind == "embedded"


@pytest.mark.skipif(not host.HAS_PROC or os.geteuid() != 0, reason="mounts, which takes root, and looks into /proc")
def test_a_server_that_has_not_this_containers_memory_is_not_local(add_database, engine):
    """Containers that share the host's network, its processes and its name, and have a /dev/shm each."""
    if engine == "sqlite":
        pytest.skip("a file is on this host")
    alias = add_database({"STORE": None})
    connections.close_all()

    def contained():
        libc = ctypes.CDLL(None)
        if libc.unshare(CLONE_NEWNS) or libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None):
            return "not allowed"
        if libc.mount(b"tmpfs", b"/dev/shm", b"tmpfs", 0, None):
            return "not allowed"
        connection = connections[alias]
        connection.ensure_connection()
        return connection.ormcache.bypass_reason, connection.ormcache.database is None

    answer = Child(contained).result()
    if answer == "not allowed":
        pytest.skip("this machine makes no mount namespaces")
    assert answer == (reasons.NO_STORE, True)


def test_a_process_outside_uses_what_a_container_has_put_beside_the_file(add_database, engine, monkeypatch):
    if engine != "sqlite":
        pytest.skip("SQLite alone has a file that containers share")
    monkeypatch.setattr(identification, "in_container", lambda: False)
    alias = add_database({"STORE": None, "LOCATION": None})
    folder = identification.folder_beside(settings.DATABASES[alias]["NAME"])

    def location():
        connections[alias].close()
        connections[alias].ensure_connection()
        return connections[alias].ormcache.database.config.location

    assert location() is None
    os.mkdir(folder, 0o700)
    try:
        assert location() == folder
        list(Author.objects.using(alias))
        assert connections[alias].ormcache.database.stamps.store.is_answering
    finally:
        close_all()
        shutil.rmtree(folder)


def test_behind_a_tunnel_the_server_sees_another_port(engine, monkeypatch):
    """Where processes cannot be looked at, the port is what there is."""
    if engine != "postgresql":
        pytest.skip("PostgreSQL alone tells the port")
    from ormcache.catalog import postgresql

    connection.ensure_connection()
    driver = connection.connection
    port = host.local_port(driver.fileno())
    monkeypatch.setattr(postgresql, "HAS_PROC", False)
    assert postgresql._is_here(driver, "127.0.0.1", port, 1, None)
    assert not postgresql._is_here(driver, "127.0.0.1", 1, 1, None)
    assert postgresql._is_here(driver, None, None, 1, None)
    monkeypatch.setattr(postgresql, "HAS_PROC", True)
    assert postgresql._is_here(driver, "127.0.0.1", port, 1, None) is None  # the role may not know when it began
    assert postgresql._is_here(driver, "10.1.2.3", port, os.getpid(), time.time()) is False


def _on_own_address(server: Any) -> Any:
    """Let a PostgreSQL server listen on this host's own address alone."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            pytest.skip("this machine has no address but loopback")
        address = probe.getsockname()[0]
    server.stop()
    with (server.folder / "data" / "pg_hba.conf").open("a") as rules:
        rules.write("host all all samehost trust\n")
    server.host = address
    server.start()
    return server


LIBRARIES = [("redis", "redis"), ("redis", "hiredis"), ("redis-cluster", "hiredis"), ("memcached", "pymemcache")]


@pytest.mark.parametrize("kind, library", LIBRARIES)
def test_a_client_library_that_is_not_installed(add_database, monkeypatch, kind, library):
    monkeypatch.setitem(sys.modules, library, None)

    extra = kind.partition("-")[0]
    cache = settings.CACHES[extra] | {"LOCATION": ["redis://127.0.0.1:1"]}

    with override_settings(CACHES=settings.CACHES | {"own": cache}):
        found = only_message(add_database({"STORE": kind, "CACHE": "own"}, **ELSEWHERE))

    assert found.id == "ormcache.E013"
    assert f"needs the library {library!r}, which is not installed" in found.msg
    assert found.hint == f"pip install 'ormcache[{extra}]'"


NODES = ["redis://127.0.0.1:1", "rediss://user:word@127.0.0.1:2/0?ssl_cert_reqs=none"]


@pytest.mark.parametrize(
    "store, location, options, is_right",
    [
        ("redis-cluster", NODES, {}, True),
        ("redis-cluster", ",".join(NODES), {}, True),
        ("redis-cluster", NODES[:1], {"REDIS_CLIENT_CLASS": "redis.cluster.RedisCluster"}, True),
        ("redis-cluster", "redis://127.0.0.1:1/2", {}, False),
        ("redis-cluster", "redis://127.0.0.1:1?db=2", {}, False),
        ("redis-cluster", "unix:///run/redis", {}, False),
        ("redis-cluster", "redis://site/0", {"SENTINELS": [("127.0.0.1", 1)]}, False),
        ("redis", NODES[0], {"REDIS_CLIENT_CLASS": "redis.cluster.RedisCluster"}, False),
        ("redis", "redis://127.0.0.1:1/2", {}, True),
    ],
)
def test_a_store_and_a_cache_that_disagree_about_a_cluster(add_database, store, location, options, is_right):
    cache = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": location, "OPTIONS": options}
    with override_settings(CACHES=settings.CACHES | {"own": cache}):
        found = messages(add_database({"STORE": store, "CACHE": "own"}, **ELSEWHERE))

    assert [message.id for message in found.values()] == ([] if is_right else ["ormcache.E022"])


@pytest.mark.parametrize("kind, cache", [("redis", "memcached"), ("memcached", "redis"), ("redis", "default")])
def test_a_cache_of_another_kind(add_database, kind, cache):
    alias = add_database({"STORE": kind, "CACHE": cache})

    found = only_message(alias)

    assert found.id == "ormcache.E014"
    assert f"The store {kind!r} of database 'other' cannot use the cache {cache!r}" in found.msg
    assert "STORE = 'django'" in found.hint


@pytest.mark.parametrize("kind, cache", [("redis", "redis"), ("redis", "redis_django"), ("memcached", "memcached")])
def test_the_caches_that_the_stores_are_made_for(add_database, kind, cache):
    assert messages(add_database({"STORE": kind, "CACHE": cache})) == {}


@pytest.mark.parametrize(
    "backend, debug, expected, said",
    [
        ("locmem.LocMemCache", False, "ormcache.E015", "in the memory of one process"),
        ("locmem.LocMemCache", True, "ormcache.W004", "in the memory of one process"),
        ("db.DatabaseCache", False, "ormcache.E016", "is a table in a database"),
        ("dummy.DummyCache", False, "ormcache.W005", "stores nothing"),
        ("filebased.FileBasedCache", False, "ormcache.W006", "one mark can be lost"),
    ],
)
def test_what_other_caches_of_django_cannot_promise(add_database, tmp_path, backend, debug, expected, said):
    tried = {"BACKEND": f"django.core.cache.backends.{backend}", "LOCATION": str(tmp_path)}
    with override_settings(CACHES=settings.CACHES | {"tried": tried}, DEBUG=debug):
        found = messages(add_database({"STORE": "django", "CACHE": "tried"}))[expected]

    assert found.level == (checks.ERROR if expected[9] == "E" else checks.WARNING)
    assert said in found.msg
    assert "'tried'" in found.msg
    assert found.hint


SERIALIZER = "ormcache.stores.serializer.BytesSerializer"


def test_signatures_without_a_key(add_database):
    with override_settings(SECRET_KEY=""):
        assert "ormcache.E019" in messages(add_database({"SIGN": True}))
        assert "ormcache.E019" not in messages(add_database({}))
    assert "ormcache.E019" not in messages(add_database({"SIGN": True}))


@pytest.mark.parametrize(
    "backend, options, warned",
    [
        ("filebased.FileBasedCache", {}, True),
        ("filebased.FileBasedCache", {"serializer": SERIALIZER}, True),
        ("redis.RedisCache", {}, True),
        ("redis.RedisCache", {"serializer": SERIALIZER}, False),
        ("redis.RedisCache", {"serializer": BytesSerializer}, False),
        ("redis.RedisCache", {"serializer": "django.core.cache.backends.redis.RedisSerializer"}, True),
        ("memcached.PyMemcacheCache", {}, True),
        ("memcached.PyMemcacheCache", {"serde": BytesSerializer()}, False),
        ("locmem.LocMemCache", {}, False),
        ("dummy.DummyCache", {}, False),
    ],
)
def test_a_cache_that_unpickles(add_database, tmp_path, backend, options, warned):
    location = "redis://127.0.0.1:1/0" if backend.startswith("redis") else str(tmp_path)
    tried = {"BACKEND": f"django.core.cache.backends.{backend}", "LOCATION": location, "OPTIONS": options}
    with override_settings(CACHES=settings.CACHES | {"tried": tried}):
        found = messages(add_database({"STORE": "django", "CACHE": "tried"}))
        signed = messages(add_database({"STORE": "django", "CACHE": "tried", "SIGN": True}))

    assert ("ormcache.W010" in found) is warned
    assert ("ormcache.E018" in signed) is warned
    if warned:
        assert found["ormcache.W010"].level == checks.WARNING
        assert signed["ormcache.E018"].level == checks.ERROR
        assert "SIGN" not in found["ormcache.W010"].msg
        assert "SIGN" in signed["ormcache.E018"].msg


def test_a_folder_of_another_user(add_database, tmp_path):
    folder = "/" if os.getuid() else str(tmp_path)
    if not os.getuid():
        os.chown(tmp_path, 4321, -1)

    alias = add_database({"LOCATION": folder})
    found = only_message(alias)

    assert found.id == "ormcache.E017"
    assert repr(folder) in found.msg
    assert "Name a folder of the user" in found.hint
    # It is not used either, and the site works.
    hits = ormcache.stats(alias)["hits"]
    Author.objects.using(alias).create(name="A")
    for _ in range(2):
        assert Author.objects.using(alias).get().name == "A"
    assert ormcache.stats(alias)["hits"] == hits


# Databases -------------------------------------------------------------------------


@pytest.mark.parametrize("name", [":memory:", "file:shop?mode=memory&cache=shared"])
def test_a_database_in_memory_with_a_shared_store(add_database, name):
    memory = {"ENGINE": "ormcache.backends.sqlite3", "NAME": name, "HOST": "", "PORT": ""}

    found = only_message(add_database({"STORE": "redis", "CACHE": "redis"}, **memory))

    assert found.id == "ormcache.W007"
    assert "can serve no other process" in found.msg
    assert "embedded" in found.hint
    assert messages(add_database({}, **memory)) == {}


def test_replicas_of_other_databases_fill_nothing(add_database, engine):
    found = messages(add_database({"PRIMARY": "default", "REPLICA_FILLS": True}))

    assert ("ormcache.W018" in {message.id for message in found.values()}) == (engine != "postgresql")


def test_writers_that_are_not_seen():
    found = [message for message in check_settings() if message.id == "ormcache.W008"]

    assert [("'plain'" in message.msg, "'second_plain'" in message.msg) for message in found] == [
        (True, False),
        (False, True),
    ]
    assert "does not invalidate what is cached of 'default'" in found[0].msg
    assert "only read through the other one" in found[0].hint


@pytest.mark.parametrize("key", ["BLACKLIST", "ONLY"])
@pytest.mark.parametrize(
    "name, near",
    [
        ("shop.Reviw", "'shop.Review'"),
        ("shop.reviews", "'shop.Review'"),
        ("shopp.*", "'shop.*'"),
        ("shop_reviw", "'shop_review'"),
        ("Shop_Authr", "'shop_author'"),
    ],
)
def test_a_name_that_matches_nothing(add_database, key, name, near):
    found = only_message(add_database({key: [name, "shop.Author"]}))

    assert (found.id, found.level) == ("ormcache.W009", checks.WARNING)
    assert f"{name!r} in {key} of database 'other' is not a model, not an app, and matches no table" in found.msg
    assert found.hint.startswith("Did you mean ")
    assert near in found.hint


def test_a_table_that_has_no_model_is_known_to_the_database_alone(add_database):
    with connections["plain"].cursor() as cursor:
        cursor.execute("CREATE TABLE audit_log (id integer)")
    try:
        alias = add_database({"BLACKLIST": ["audit_*", "billing_*"]})
        assert messages(alias) == {}  # nobody was asked, and nothing is near

        found = only_message(alias, ["other"])
        assert found.id == "ormcache.W009"
        assert "'billing_*'" in found.msg
        assert found.hint == "Remove or correct it."
    finally:
        with connections["plain"].cursor() as cursor:
            cursor.execute("DROP TABLE audit_log")


@pytest.mark.parametrize("names", [["shop.Review"], ["shop.*"], ["SHOP_*"], ["shop_book_genres"], ["sessions.Session"]])
def test_names_that_match_something(add_database, names):
    assert messages(add_database({"BLACKLIST": names})) == {}


def test_a_shared_store_without_an_outbox_in_production(add_database, settings):
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "ormcache"]

    def found(**given):
        alias = add_database({"STORE": "redis", "CACHE": "redis"} | given)
        assert "ormcache.W017" not in messages(alias)  # in development nobody is bothered
        return [one for one in check_deployment() if repr(alias) in one.msg]

    (message,) = found()
    assert (message.id, message.level) == ("ormcache.W017", checks.WARNING)
    assert "INSTALLED_APPS" in message.hint
    assert found(ON_OUTAGE="refuse") == []
    assert found(ENABLED=False) == []
    assert found(LEASE="long") == []  # which is another check's
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "ormcache"]
    assert found() == []


# Elsewhere -------------------------------------------------------------------------


def test_the_checks_do_not_connect():
    connection.close()
    check_settings()

    assert connection.connection is None


def test_checks_that_may_ask_the_database_do_so_only_for_names_that_no_model_has(add_database):
    connections[add_database({"BLACKLIST": ["shop.Review"]})].close()
    assert messages("other", ["other"]) == {}
    assert connections["other"].connection is None


def test_checks_that_may_ask_a_database_that_is_away(add_database, engine, tmp_path):
    """As where an image is built; Django 6.1 lets its checks ask by default."""
    away = {"NAME": str(tmp_path / "missing" / "shop")} if engine == "sqlite" else {"PORT": "1"}
    alias = add_database({"BLACKLIST": ["audit_*", "shop.Reviw"]}, **away)

    assert "'shop.Reviw'" in only_message(alias, [alias]).msg


def test_the_checks_are_silent_where_ormcache_is_switched_off(add_database):
    assert messages(add_database({"ENABLED": False, "BLACKLIST": ["shop.Reviw"]})) == {}


def test_the_checks_are_registered_without_the_app_being_installed():
    """By the engine's package: see tests/projects for a site without "ormcache" in INSTALLED_APPS."""
    assert check_settings in checks.registry.registry.get_checks()
