"""What is wrong with the settings: said by a system check, and refused at the first use."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, connections
from django.test import override_settings

import ormcache
from ormcache import conf
from ormcache.checks import check_settings
from tests.shop.models import Author

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
        ({"ENABLED": 1}, 4, "['ENABLED'] is 1", "True or False"),
        ({"ENABLED": "no"}, 4, "['ENABLED'] is 'no'", "True or False"),
        ({"STORE": "memory"}, 4, "['STORE'] is 'memory'", "'embedded', 'redis', 'memcached', 'django'"),
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
        ({"CONSISTENCY": "near"}, 5, "level 'near' of database 'other' needs the store 'redis', not None", "'strict'"),
        (
            {"CONSISTENCY": "near", "STORE": "memcached"},
            5,
            "the store 'redis', not 'memcached'",
            "set STORE to 'redis'",
        ),
        ({"NEAR_MAX_LAG": 0}, 4, "['NEAR_MAX_LAG'] is 0", "positive number of seconds"),
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
        ({"SIGN": "yes"}, 4, "['SIGN'] is 'yes'", "True or False"),
        ({"ENGINE": 5}, 4, "['ENGINE'] is 5", "dotted path"),
        ({"STORE": "redis", "CACHE": "rediss"}, 6, "The cache 'rediss' of ORMCACHE", "Did you mean 'redis'?"),
        ({"STORE": "django", "CACHE": "xyz"}, 6, "The cache 'xyz' of ORMCACHE", "Add it to CACHES"),
        ({"PRIMARY": "defualt"}, 7, "The primary 'defualt' of database 'other'", "Name the alias"),
        ({"PRIMARY": "other"}, 7, "of database 'other' is that database itself", "Name the alias"),
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
    with pytest.raises(ImproperlyConfigured) as raised:
        list(Author.objects.using(alias))
    assert str(raised.value) == f"{error.msg} {error.hint}"


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


@pytest.mark.parametrize("key", ["ENGINE", "NAME", "PRIMARY"])
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
    assert messages(add_database(ENGINE="tests.projects.engines.own")) == {}


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
    alias = add_database({"ENGINE": "tests.projects.engines.unknown"}, ENGINE="ormcache.backends.wrap", NAME=":memory:")

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


@pytest.mark.parametrize("kind, library", [("redis", "redis"), ("memcached", "pymemcache")])
def test_a_client_library_that_is_not_installed(add_database, monkeypatch, kind, library):
    monkeypatch.setitem(sys.modules, library, None)

    found = only_message(add_database({"STORE": kind, "CACHE": kind}, **ELSEWHERE))

    assert found.id == "ormcache.E013"
    assert f"needs the library {library!r}, which is not installed" in found.msg
    assert found.hint == f"pip install 'ormcache[{kind}]'"


@pytest.mark.parametrize("kind, cache", [("redis", "memcached"), ("memcached", "redis"), ("redis", "default")])
def test_a_cache_of_another_kind(add_database, kind, cache):
    alias = add_database({"STORE": kind, "CACHE": cache})

    found = only_message(alias)

    assert found.id == "ormcache.E014"
    assert f"The store {kind!r} of database 'other' cannot use the cache {cache!r}" in found.msg
    assert "STORE = 'django'" in found.hint
    with pytest.raises(ImproperlyConfigured, match=repr(cache)):
        list(Author.objects.using(alias))


@pytest.mark.parametrize("kind, cache", [("redis", "redis"), ("redis", "redis_django"), ("memcached", "memcached")])
def test_the_caches_that_the_stores_are_made_for(add_database, kind, cache):
    assert messages(add_database({"STORE": kind, "CACHE": cache})) == {}


@pytest.mark.parametrize(
    "backend, debug, expected, said",
    [
        ("locmem.LocMemCache", False, "ormcache.E015", "lives in one process"),
        ("locmem.LocMemCache", True, "ormcache.W004", "lives in one process"),
        ("db.DatabaseCache", False, "ormcache.E016", "is a table in a database"),
        ("dummy.DummyCache", False, "ormcache.W005", "keeps nothing"),
        ("filebased.FileBasedCache", False, "ormcache.W006", "one mark can be lost"),
    ],
)
def test_what_other_caches_of_django_cannot_promise(add_database, tmp_path, backend, debug, expected, said):
    tried = {"BACKEND": f"django.core.cache.backends.{backend}", "LOCATION": str(tmp_path)}
    with override_settings(CACHES=settings.CACHES | {"tried": tried}, DEBUG=debug):
        found = only_message(add_database({"STORE": "django", "CACHE": "tried"}))

    assert found.id == expected
    assert found.level == (checks.ERROR if expected[9] == "E" else checks.WARNING)
    assert said in found.msg
    assert "'tried'" in found.msg
    assert found.hint


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


def test_writers_that_are_not_seen():
    found = [message for message in check_settings() if message.id == "ormcache.W008"]

    assert [("'plain'" in message.msg, "'second_plain'" in message.msg) for message in found] == [
        (True, False),
        (False, True),
    ]
    assert "does not retire what is cached of 'default'" in found[0].msg
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
    assert f"{name!r} in {key} of database 'other' is no model, no app and matches no table" in found.msg
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
        assert found.hint == "Take it out, or correct it."
    finally:
        with connections["plain"].cursor() as cursor:
            cursor.execute("DROP TABLE audit_log")


@pytest.mark.parametrize("names", [["shop.Review"], ["shop.*"], ["SHOP_*"], ["shop_book_genres"], ["sessions.Session"]])
def test_names_that_match_something(add_database, names):
    assert messages(add_database({"BLACKLIST": names})) == {}


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
