"""Results that replicas answer: stored once the replica has replayed what their stamps stand for, and not before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connections, models, transaction

import ormcache
from ormcache import reasons
from ormcache.catalog import wal_positions
from ormcache.database import replica_positions
from ormcache.read_path import replica_fills
from tests.integration.reading import execute, model_of, only_postgresql
from tests.integration.session.test_identity import add_alias, furnish, leads_to
from tests.shop.models import Genre
from tests.waiting import eventually

pytestmark = only_postgresql

TABLE = Genre._meta.db_table
REPLICAS = ("one", "two")


class Cluster:
    """A primary with two streaming replicas, behind the aliases ``main``, ``plain_main``, ``one`` and ``two``."""

    def __init__(self, start_server: Callable[..., Any]) -> None:
        self._start_server = start_server
        self.main = start_server("postgresql")
        leads_to(self.main, "main", "default")
        leads_to(self.main, "plain_main", "plain")
        furnish("plain_main")
        self.replicas = {name: start_server("postgresql-node", behind=self.main) for name in REPLICAS}
        for name, server in self.replicas.items():
            self.add_replica(name, server)

    def add_replica(self, name: str, server: Any, primary: str = "main", **keys: Any) -> None:
        leads_to(server, name, "default")
        leads_to(server, f"plain_{name}", "plain")
        given = connections.settings[name]
        add_alias(name, **given | {"ORMCACHE": given["ORMCACHE"] | {"PRIMARY": primary, "REPLICA_FILLS": True} | keys})

    def pause(self, name: str) -> None:
        """Let a replica receive all, and replay nothing more."""
        execute("SELECT pg_wal_replay_pause()", using=f"plain_{name}")
        eventually(lambda: ask(f"plain_{name}", "SELECT pg_get_wal_replay_pause_state()") == "paused")

    def resume(self, name: str) -> None:
        execute("SELECT pg_wal_replay_resume()", using=f"plain_{name}")

    def catch_up(self, *names: str) -> None:
        """Wait until these replicas, or all of them, have replayed all that the primary has written."""
        for name in names or REPLICAS:

            def has_all(name: str = name) -> bool:
                execute("SET synchronous_commit = on", using="plain_main")
                ask("plain_main", "SELECT pg_logical_emit_message(true, 'tests', '')::text")
                return replayed(name).reaches(written())

            eventually(has_all)


@pytest.fixture
def cluster(
    start_server: Callable[..., Any], configure: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Cluster]:
    configure(ROWS="always")
    monkeypatch.setattr(replica_positions, "RETRY", 0.0)
    known = set(connections.settings)
    cluster = Cluster(start_server)
    for alias in ("main", *REPLICAS):
        connections[alias].ensure_connection()  # an alias that is new to a process under changed settings begins anew
    yield cluster
    for alias in set(connections.settings) - known:
        connections[alias].close()
        del connections[alias], connections.settings[alias]


def ask(using: str, sql: str) -> Any:
    with connections[using].cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]


def written() -> Any:
    connections["plain_main"].ensure_connection()
    return wal_positions.written(connections["plain_main"].connection)


def replayed(name: str) -> Any:
    connections[f"plain_{name}"].ensure_connection()
    return wal_positions.replayed(connections[f"plain_{name}"].connection)


def names(using: str = "one") -> list[str]:
    return list(Genre.objects.using(using).order_by("pk").values_list("name", flat=True))


def rejected(reason: str, using: str = "one") -> int:
    return int(ormcache.stats(using)["rejected"].get(reason, 0))


def is_stored(queries: Any, read: Callable[[], Any] = names, using: str = "one") -> bool:
    """Whether the read is answered from the cache, into which it may come by this."""
    with queries(using=using) as seen:
        read()
    return not seen


def cache_old(cluster: Cluster, queries: Any) -> None:
    """Write a row, and have what a replica returns of it stored."""
    Genre.objects.using("main").create(name="old")
    cluster.catch_up()
    eventually(lambda: is_stored(queries))


def raw_statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The positions that are asked for from now on."""
    asked: list[str] = []
    for name in ("written", "replayed"):
        real = getattr(wal_positions, name)
        monkeypatch.setattr(wal_positions, name, lambda *args, _n=name, _r=real: asked.append(_n) or _r(*args))
    return asked


def test_what_a_replica_answers_is_stored_once_it_has_replayed_the_writes(cluster, queries):
    cache_old(cluster, queries)
    assert names() == ["old"]
    with queries(0, using="main"), queries(0, using="two"):
        assert names("main") == names("two") == ["old"]


def test_a_replica_that_lags_fills_nothing(cluster, queries):
    cache_old(cluster, queries)
    cluster.pause("one")
    Genre.objects.using("main").update(name="new")
    before = rejected(reasons.REPLICA_BEHIND)

    assert names() == names() == ["old"]  # as old as the replica, as without a cache

    assert rejected(reasons.REPLICA_BEHIND) == before + 2
    with queries(1, using="main"):
        assert names("main") == ["new"]
    cluster.resume("one")
    assert names() == ["new"]  # a hit


def test_a_write_that_is_replayed_ends_the_wait(cluster, queries):
    cache_old(cluster, queries)
    cluster.pause("one")
    Genre.objects.using("main").update(name="new")
    assert names() == ["old"]
    cluster.resume("one")
    cluster.catch_up("one")
    eventually(lambda: is_stored(queries))
    with queries(0, using="main"):
        assert names("main") == ["new"]


# What it costs -------------------------------------------------------------------------------


def test_one_statement_on_a_miss_and_none_on_a_hit(cluster, queries, monkeypatch):
    cache_old(cluster, queries)
    asked = raw_statements(monkeypatch)

    names()
    assert asked == []
    Genre.objects.using("one").count()  # under the same stamps, of which the position is known
    assert asked == ["replayed"]


def test_the_primary_is_asked_once_for_each_stamp_by_all_processes(cluster, queries, monkeypatch):
    cluster.pause("one")
    cluster.pause("two")
    Genre.objects.using("main").create(name="new")
    asked = raw_statements(monkeypatch)
    names()
    assert asked == ["replayed", "written"]
    names()
    assert asked == ["replayed", "written", "replayed"]
    # What another process would know: what is in the store.
    for alias in REPLICAS:
        connections[alias].ormcache.known().replica_positions._bounds.clear()
    names()
    names("two")
    assert asked == ["replayed", "written"] + 3 * ["replayed"]


def test_without_the_setting_nothing_is_asked_or_stored(cluster, queries, monkeypatch):
    cluster.add_replica("other", cluster.replicas["one"], REPLICA_FILLS=False)
    cluster.catch_up()
    asked = raw_statements(monkeypatch)
    before = rejected(reasons.ON_REPLICA, "other")
    names("other")
    names("other")
    assert rejected(reasons.ON_REPLICA, "other") == before + 2
    assert asked == []


def test_writes_and_hits_ask_for_no_position(cluster, queries, monkeypatch):
    asked = raw_statements(monkeypatch)
    Genre.objects.using("main").create(name="new")
    names("main")
    names("main")
    assert asked == []


# Where it is not known what the query sees ---------------------------------------------------------


def test_two_replicas_behind_one_router(cluster, queries):
    """Each read of a router goes to one of them; what the one that lags answers is not stored."""
    cache_old(cluster, queries)
    cluster.pause("two")
    Genre.objects.using("main").update(name="new")
    cluster.catch_up("one")
    assert names("two") == ["old"]
    assert names("two") == ["old"]
    eventually(lambda: is_stored(queries))
    with queries(0, using="two"):
        assert names("two") == ["new"]


def test_a_connection_that_is_replaced_before_the_query(cluster, queries, monkeypatch):
    """As by CONN_HEALTH_CHECKS: behind one address there can be several replicas."""
    cache_old(cluster, queries)
    cluster.pause("two")
    Genre.objects.using("main").update(name="new")
    cluster.catch_up("one")
    replica = connections["one"]
    replica.health_check_enabled, replica.health_check_done = True, False
    real = wal_positions.replayed

    def then_the_server_goes(driver_connection: Any) -> Any:
        position = real(driver_connection)
        ended = driver_connection.info.backend_pid
        execute(f"SELECT pg_terminate_backend({ended}, 10000)", using="plain_one")
        replica.settings_dict["PORT"] = str(cluster.replicas["two"].port)
        return position

    monkeypatch.setattr(wal_positions, "replayed", then_the_server_goes)
    before = rejected(reasons.ON_REPLICA)
    assert names() == ["old"]
    assert rejected(reasons.ON_REPLICA) == before + 1
    with queries(1, using="main"):
        assert names("main") == ["new"]


def test_behind_a_pooler_nothing_is_stored(cluster, queries, start_server):
    pooler = start_server("pgbouncer", behind=cluster.replicas["one"])
    cluster.add_replica("pooled", pooler)
    cluster.catch_up()
    before = rejected(reasons.ON_REPLICA, "pooled")
    names("pooled")
    names("pooled")
    assert rejected(reasons.ON_REPLICA, "pooled") == before + 2


def test_a_server_that_replays_nothing_fills_nothing(cluster, queries):
    """A second alias of the primary itself, or a logical replica, whose positions are its own."""
    cluster.add_replica("other", cluster.main)
    before = rejected(reasons.ON_REPLICA, "other")
    names("other")
    names("other")
    assert rejected(reasons.ON_REPLICA, "other") == before + 2


def test_a_primary_that_cannot_be_asked(cluster, queries):
    """Not in a transaction: the question could be the statement by which it takes its snapshot."""
    cluster.catch_up()
    Genre.objects.using("main").create(name="new")
    cluster.catch_up()
    before = rejected(reasons.REPLICA_BEHIND)
    with transaction.atomic(using="main"):
        Genre.objects.using("plain_main").count()
        execute("SELECT 1", using="main")
        assert names() == names() == ["new"]
    assert rejected(reasons.REPLICA_BEHIND) == before + 2
    eventually(lambda: is_stored(queries))


def test_a_primary_that_is_away_is_asked_once_in_a_while(cluster, monkeypatch):
    Genre.objects.using("main").create(name="old")
    cluster.catch_up()
    names()
    monkeypatch.setattr(replica_positions, "RETRY", 3600.0)
    asked: list[str] = []
    real = replica_fills.position_behind
    monkeypatch.setattr(replica_fills, "position_behind", lambda *args: asked.append(args[0]) or real(*args))
    for alias in ("main", "plain_main"):
        connections[alias].close()
    cluster.main.kill()
    connections["one"].ormcache.known().renew(frozenset({TABLE}))
    before = rejected(reasons.REPLICA_BEHIND)

    assert names() == names() == ["old"]

    assert asked == ["main"]
    assert rejected(reasons.REPLICA_BEHIND) == before + 2


def test_in_a_transaction_on_the_replica(cluster, queries):
    cache_old(cluster, queries)
    cluster.pause("one")
    Genre.objects.using("main").update(name="new")
    with transaction.atomic(using="one"):
        assert names() == ["old"]
        cluster.resume("one")
        cluster.catch_up("one")

        def is_stored_by_now() -> bool:
            return is_stored(queries, lambda: Genre.objects.using("one").get(name="new"))

        eventually(is_stored_by_now)


# Rows ----------------------------------------------------------------------------------------


def test_results_by_key_outlive_writes_to_other_rows(cluster, queries):
    first = Genre.objects.using("main").create(name="first")
    second = Genre.objects.using("main").create(name="second")
    cluster.catch_up()

    def read() -> Genre:
        return Genre.objects.using("one").get(pk=first.pk)

    eventually(lambda: is_stored(queries, read))
    cluster.pause("one")
    Genre.objects.using("main").filter(pk=second.pk).update(name="other")
    assert is_stored(queries, read)
    Genre.objects.using("main").filter(pk=first.pk).update(name="new")
    assert read().name == "first"
    with queries(1, using="main"):
        assert Genre.objects.using("main").get(pk=first.pk).name == "new"


# Schema --------------------------------------------------------------------------------------


def test_a_plan_by_a_catalog_that_the_replica_had_before(cluster, queries):
    """The view reads another table by now, which the replica's catalog does not show yet."""
    execute("CREATE TABLE a (id int, name text)", using="main")
    execute("CREATE TABLE b (id int, name text)", using="main")
    execute("INSERT INTO a VALUES (1, 'a')", using="main")
    execute("INSERT INTO b VALUES (1, 'b')", using="main")
    execute("CREATE VIEW v AS SELECT id, name FROM a", using="main")
    row = model_of("v", id=models.IntegerField(primary_key=True), name=models.TextField())

    def read() -> list[str]:
        return list(row.objects.using("one").values_list("name", flat=True))

    cluster.catch_up()
    names()  # by which it notices that the schema has changed
    eventually(lambda: is_stored(queries, read))
    cluster.pause("one")
    execute("CREATE OR REPLACE VIEW v AS SELECT id, name FROM b", using="main")
    assert read() == ["a"]  # which reads the catalog anew
    cluster.resume("one")
    cluster.catch_up("one")
    assert read() == ["b"]
    eventually(lambda: is_stored(queries, read))
    execute("UPDATE b SET name = 'c'", using="main")
    cluster.catch_up("one")
    assert read() == ["c"]


def test_a_catalog_that_lags_finds_no_entry_of_a_newer_one(cluster, queries):
    """By the catalog of the replica a view reads another table, which happens to have the same stamp."""
    cluster.add_replica("other", cluster.replicas["one"], REPLICA_FILLS=False)
    names("other")
    for table in "ab":
        execute(f"CREATE TABLE {table} (id int, name text)", using="main")
        execute(f"INSERT INTO {table} VALUES (1, '{table}')", using="main")
    execute("CREATE VIEW v AS SELECT id, name FROM a", using="main")
    row = model_of("v", id=models.IntegerField(primary_key=True), name=models.TextField())

    def read(using: str) -> list[str]:
        return list(row.objects.using(using).values_list("name", flat=True))

    cluster.catch_up("one")
    cluster.pause("one")
    execute("CREATE OR REPLACE VIEW v AS SELECT id, name FROM b", using="main")
    ormcache.invalidate("a", "b", using="main")
    assert read("main") == ["b"]
    assert is_stored(queries, lambda: read("main"), using="main")
    names("other")  # by which it notices that the schema has changed
    read("other")
    cluster.resume("one")
    cluster.catch_up("one")
    execute("UPDATE b SET name = 'c'", using="main")
    cluster.catch_up("one")
    assert read("main") == ["c"]
    assert read("other") == ["c"]


# Failover ------------------------------------------------------------------------------------


def promote(cluster: Cluster, name: str) -> None:
    """The primary is gone, and a replica takes its place."""
    cluster.main.kill()
    for alias in ("main", "plain_main", *REPLICAS):
        connections[alias].close()
    execute("SELECT pg_promote()", using=f"plain_{name}")
    for alias, like in (("main", "default"), ("plain_main", "plain")):
        del connections[alias]
        leads_to(cluster.replicas[name], alias, like)


def test_a_replica_of_the_timeline_before_fills_nothing(cluster, queries):
    """The one that is promoted lacks what the other one has: positions of both are not to be compared."""
    Genre.objects.using("main").create(name="old")
    cluster.catch_up()
    connections["plain_two"].close()
    connections["two"].close()
    cluster.replicas["two"].stop()  # it misses what follows
    for number in range(50):
        execute(f"UPDATE {TABLE} SET name = 'lost {number}'", using="plain_main")
    cluster.catch_up("one")
    cluster.main.kill()
    cluster.replicas["two"].start()
    promote(cluster, "two")

    Genre.objects.using("main").update(name="new")
    assert replayed("one").lsn > written().lsn  # farther, along another way
    before = rejected(reasons.REPLICA_BEHIND)
    assert names() == names() == ["lost 49"]
    assert rejected(reasons.REPLICA_BEHIND) == before + 2
    assert names("main") == ["new"]
    with queries(0, using="one"):
        assert names() == ["new"]


def test_a_replica_that_follows_the_promoted_one(cluster, queries):
    """Once it has replayed a checkpoint of the new timeline, what it answers is stored again."""
    Genre.objects.using("main").create(name="old")
    cluster.catch_up()
    names()
    promote(cluster, "two")
    place = f"host={cluster.replicas['two'].host} port={cluster.replicas['two'].port} user=postgres"
    execute(f"ALTER SYSTEM SET primary_conninfo = '{place}'", using="plain_one")
    execute("SELECT pg_reload_conf()", using="plain_one")
    Genre.objects.using("main").update(name="new")

    def follows() -> bool:
        execute("CHECKPOINT", using="plain_main")
        execute("CHECKPOINT", using="plain_one")
        return bool(replayed("one").timeline == written().timeline)

    eventually(follows)
    cluster.catch_up("one")
    eventually(lambda: is_stored(queries))
    with queries(0, using="main"):
        assert names("main") == ["new"]
