"""Connections that are not one session: behind PgBouncer, out of psycopg's pool, and lost ones."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connections, models, transaction
from django.db.utils import OperationalError

from ormcache import reasons
from tests import environment
from tests.integration.reading import execute, in_thread, model_of, only_postgresql, stats
from tests.shop.models import Genre

pytestmark = only_postgresql

Note = model_of("notes", owner=models.CharField(max_length=20))


@pytest.fixture
def bouncer(start_server) -> Iterator[None]:
    """The alias ``pooled``: the default database behind PgBouncer, which lends one session to all its clients."""
    server = start_server("pgbouncer", behind=environment.current().first("postgresql"))
    settings = connections.settings
    settings["pooled"] = {**settings["default"], "HOST": server.host, "PORT": server.port}
    yield
    connections["pooled"].close()
    del connections["pooled"], settings["pooled"]


@pytest.fixture
def schemas(ddl):
    for schema in ("one", "two"):
        ddl(f"CREATE SCHEMA {schema}", f"DROP SCHEMA {schema} CASCADE")
        ddl(f"CREATE TABLE {schema}.notes (id integer, owner text)")
        execute(f"INSERT INTO {schema}.notes VALUES (1, %s)", [schema])


def owners(using: str = "pooled") -> list[str]:
    return list(Note.objects.using(using).values_list("owner", flat=True))


def bypassed() -> int:
    return stats("pooled")["bypassed"].get(reasons.UNTRACKED_SESSION, 0)


def test_hits_behind_a_pooler(bouncer, queries):
    Genre.objects.create(name="x")
    for counted in (None, 0):
        with queries(counted, using="pooled"):
            assert [genre.name for genre in Genre.objects.using("pooled").all()] == ["x"]
    Genre.objects.using("pooled").update(name="y")
    assert [genre.name for genre in Genre.objects.all()] == ["y"]


def test_a_pooler_is_known_where_another_alias_leads_straight_to_the_database(bouncer):
    """The database is one, and what an answer on a connection shows is the connection's own."""
    Genre.objects.count()
    Genre.objects.using("pooled").count()
    straight, pooled = connections["default"].ormcache, connections["pooled"].ormcache
    assert pooled.database.identity == straight.database.identity
    for state, is_steady in ((straight, True), (pooled, False)):
        state.confirmation.extend(1.0)
        state.confirmation.record_answer(state.database, 5.0)
        assert (state.confirmation.due > 5.0) is is_steady


@pytest.mark.parametrize("switch", ["SET search_path TO {}", "SELECT set_config('search_path', '{}', false)"])
def test_what_is_set_for_good_is_not_relied_on(bouncer, schemas, switch):
    """The server's session goes to the next client with all that was set on it."""
    execute(switch.format("one"), using="pooled")
    before = bypassed()
    assert owners() == ["one"]

    def other_client() -> None:
        execute(switch.format("two"), using="pooled")

    in_thread(other_client)
    assert owners() == ["two"]
    assert bypassed() == before + 2
    execute("RESET ALL", using="pooled")
    execute("DISCARD ALL", using="pooled")


def test_what_is_set_for_a_transaction_is(bouncer, schemas, queries):
    for counted in (None, 0):
        for schema in ("one", "two"):
            with transaction.atomic(using="pooled"):
                execute(f"SET LOCAL search_path TO {schema}", using="pooled")
                with queries(counted, using="pooled"):
                    assert owners() == [schema]


def test_what_the_pooler_looks_after(bouncer, queries):
    Genre.objects.create(name="x")
    execute("SET TimeZone TO 'Asia/Tokyo'", using="pooled")
    list(Genre.objects.using("pooled").all())

    def other_client() -> None:
        with connections["pooled"].cursor() as cursor:
            cursor.execute("SHOW TimeZone")
            assert cursor.fetchone() == ("UTC",)

    in_thread(other_client)
    with queries(0, using="pooled"):
        list(Genre.objects.using("pooled").all())
    with connections["pooled"].cursor() as cursor:
        cursor.execute("SHOW TimeZone")
        assert cursor.fetchone() == ("Asia/Tokyo",)


def test_a_role_that_django_assumes(bouncer, ddl, configure):
    configure(STORE="embedded")  # the role may not ask what shows that the server is on this host
    ddl("CREATE ROLE pooled_ann", "DROP ROLE pooled_ann")
    ddl("GRANT ALL ON ALL TABLES IN SCHEMA public TO pooled_ann", "DROP OWNED BY pooled_ann")
    connections.settings["pooled"]["OPTIONS"] = {"assume_role": "pooled_ann"}
    before = bypassed()
    list(Genre.objects.using("pooled").all())
    assert bypassed() > before


# psycopg's pool -------------------------------------------------------------------------------


@pytest.fixture
def pool() -> Iterator[Callable[..., Any]]:
    """``pool(max_size=1)``: the alias ``pooled``, whose connections come out of a pool with such options."""

    def make(**options: Any) -> Any:
        connections.settings["pooled"] = {**connections.settings["default"], "OPTIONS": {"pool": options}}
        return connections["pooled"]

    yield make
    connections["pooled"].close()
    connections["pooled"].close_pool()
    del connections["pooled"], connections.settings["pooled"]


SWITCHES = [
    "SET search_path TO {}",
    "SELECT set_config('search_path', '{}', false)",
    "SET search_path TO {}, public",
]


@pytest.mark.parametrize("switch", SWITCHES)
def test_what_is_set_on_a_pooled_connection_stays_on_it(pool, schemas, switch):
    pooled = pool(min_size=1, max_size=1)
    execute(switch.format("one"), using="pooled")
    assert owners() == ["one"]
    pooled.close()
    # The pool has one connection, and it is still that of the first.
    pooled.ensure_connection()
    execute("SELECT 1", using="pooled")
    assert owners() == ["one"]
    execute(switch.format("two"), using="pooled")
    assert owners() == ["two"]
    pooled.close()
    pooled.ensure_connection()
    assert owners() == ["two"]


def test_another_thread_gets_what_the_first_has_set(pool, schemas):
    pooled = pool(min_size=1, max_size=1)
    for schema in ("one", "two"):
        execute(f"SET search_path TO {schema}", using="pooled")
        pooled.close()
        assert in_thread(owners) == [schema]
        assert in_thread(owners) == [schema]


def test_a_connection_that_is_given_back_in_a_transaction(pool, schemas):
    """The pool rolls back what is open, and that takes back what was set."""
    pooled = pool(min_size=1, max_size=1)
    execute("SET search_path TO one", using="pooled")
    for _ in range(2):
        assert owners() == ["one"]
        execute("BEGIN", using="pooled")
        execute("SET search_path TO two", using="pooled")
        execute("SET LOCAL TimeZone TO 'Asia/Tokyo'", using="pooled")
        assert owners() == ["two"]
        pooled.close()
        pooled.ensure_connection()
        assert pooled.ormcache.resolution_context().path == ("one",)


def test_a_pool_that_resets_its_connections(pool, schemas, ddl):
    """Nobody tells of what it does; so it is not relied on."""

    def reset(connection: Any) -> None:
        connection.execute("RESET app.who")
        connection.commit()

    ddl("CREATE VIEW who AS SELECT 1 AS id, current_setting('app.who', true) AS owner", "DROP VIEW who")
    pooled = pool(min_size=1, max_size=1, reset=reset)
    execute("SET app.who = 'ann'", using="pooled")
    before = bypassed()
    list(Genre.objects.using("pooled").all())
    assert bypassed() == before
    pooled.close()
    pooled.ensure_connection()
    list(Genre.objects.using("pooled").all())
    assert bypassed() == before + 1


def test_a_pool_whose_reset_sets_something(pool, schemas):
    """The next connection begins with what it has set then: it is made, and asked."""
    turns = itertools.cycle(("one", "two"))

    def reset(connection: Any) -> None:
        connection.execute(f"SET search_path TO {next(turns)}")
        connection.commit()

    pooled = pool(min_size=1, max_size=1, reset=reset)
    pooled.ensure_connection()
    for turn in range(6):
        pooled.close()
        assert owners("pooled") == [("one", "two")[turn % 2]]
    assert stats("pooled")["hits"] > 0


def test_a_pool_has_hits(pool, queries):
    pooled = pool(min_size=1, max_size=2)
    Genre.objects.using("pooled").create(name="x")
    list(Genre.objects.using("pooled").all())
    pooled.close()
    with queries(0, using="pooled"):
        assert [genre.name for genre in Genre.objects.using("pooled").all()] == ["x"]


# Lost connections -----------------------------------------------------------------------------


@pytest.mark.parametrize("age", [0, None])
def test_a_connection_after_one_that_was_lost(schemas, monkeypatch, age):
    """Nothing of what was set on it is left."""
    connection = connections["default"]
    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", age)
    execute("ALTER TABLE one.notes SET SCHEMA public")
    for _ in range(2):
        execute("SET search_path TO two")
        assert owners("default") == ["two"]
        with connections["plain"].cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s)", [connection.connection.info.backend_pid])
        with pytest.raises(OperationalError):
            execute("SELECT 1")
        connection.close_if_unusable_or_obsolete()
        assert owners("default") == ["one"]
    execute("DROP TABLE public.notes")
