"""What only the store on a Redis Cluster has: nodes that come and go, and hash slots that move between them."""

from __future__ import annotations

import itertools
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pytest
import redis
from django.core.exceptions import ImproperlyConfigured
from redis.exceptions import AskError, MovedError, ResponseError, TryAgainError

from ormcache.cache.stamps import Stamps, new_stamp, new_writer
from ormcache.exceptions import StoreUnavailable
from ormcache.stores.base import decode_marks, is_stamp
from ormcache.stores.redis.cluster import RedisClusterStore
from ormcache.stores.redis.cluster_node import redirected_to, redirection_of
from ormcache.stores.redis.cluster_operations import token_key
from tests.clusters import Cluster, Node, slot_of
from tests.servers import Server, free_port
from tests.stores.conftest import DJANGO_REDIS, DJANGOS_REDIS, PATIENT, TIMEOUT
from tests.stores.helpers import Clock, answered, unavailable
from tests.stores.redis.test_redis import BY_A_SCRIPT, tls_settings
from tests.waiting import eventually

Make = Callable[..., RedisClusterStore]

LEASE = 0.4  # seconds for which a new period stores nothing


@pytest.fixture
def make(
    use_cache: Callable[..., str], clock: Clock, closed_at_end: Callable[[RedisClusterStore], RedisClusterStore]
) -> Make:
    """``make(cluster)``: a store on it, as another process would have it."""

    def make(
        cluster: Cluster, backend: str = DJANGO_REDIS, location: Any = None, lease: float = 0, **keys: Any
    ) -> RedisClusterStore:
        timeout = keys.pop("timeout", PATIENT)
        alias = use_cache(backend, cluster.seeds if location is None else location, **keys)
        return closed_at_end(RedisClusterStore(alias, timeout, lease, clock))

    return make


class Names:
    """Names of one database, as a process makes them; no other test has the same."""

    def __init__(self, partition: bytes) -> None:
        self.partition = partition
        self._numbers = itertools.count(time.time_ns())

    def __call__(self) -> bytes:
        return self.partition + next(self._numbers).to_bytes(14, "big")


@pytest.fixture
def of_node(redis_cluster: Cluster) -> list[Names]:
    """Names on each node of the run's cluster, in partitions that no other test has."""
    found = {}
    for number in range(next(_partitions), 65536, 64):
        partition = number.to_bytes(2, "big")
        found.setdefault(redis_cluster.owner(partition).id, Names(partition))
        if len(found) == len(redis_cluster.nodes):
            break
    return [found[node.id] for node in redis_cluster.nodes]


_partitions = iter(range(64))


# Where keys are -----------------------------------------------------------------------


def keys_on(node: Node) -> set[bytes]:
    return set(node.client.keys("ormcache:*"))


def test_a_database_is_on_one_node_and_databases_are_spread(
    redis_cluster: Cluster, make: Make, of_node: list[Names]
) -> None:
    store = make(redis_cluster)
    for node, name in zip(redis_cluster.nodes, of_node, strict=True):
        before = {each.id: keys_on(each) for each in redis_cluster.nodes}
        slots, entry, who = [name(), name()], name(), new_writer()
        store.fill_slots(slots, new_stamp())
        store.put_entry(entry, b"rows", None)
        store.claim(name(), b"owner", 60)
        store.mark(slots, who, 60, slots[0])
        store.settle(slots, who, new_stamp())
        added = {each.id: len(keys_on(each) - before[each.id]) for each in redis_cluster.nodes}
        assert added == {each.id: 5 if each is node else 0 for each in redis_cluster.nodes}  # the token is one of them


def test_names_of_several_databases_take_a_round_trip_for_each(
    redis_cluster: Cluster, make: Make, of_node: list[Names]
) -> None:
    store, other = make(redis_cluster), make(redis_cluster)
    slots, stamp, who = [name() for name in (*of_node, *of_node)], new_stamp(), new_writer()
    entry = of_node[1]()
    assert store.fill_slots(slots, stamp) == [stamp] * 6
    store.put_entry(entry, b"rows", None)
    assert other.look_up(entry, slots) == (b"rows", [stamp] * 6)
    assert store.mark(slots[:1], who, 60, slots[1]) == stamp
    assert not is_stamp(other.look_up(None, slots)[1][0])
    assert store.settle(slots[:2], who, new := new_stamp(), slots[2]) == stamp
    assert other.look_up(None, slots)[1] == [new, new, *[stamp] * 4]
    other.clear_slots(slots)
    other.delete_entries([entry])
    assert store.look_up(entry, slots) == (None, [None] * 6)


def commands_of(node: Node, call: Callable[[], Any]) -> list[str]:
    """Return the commands that a node gets during a call, without those that verify its incarnation."""
    with node.client.monitor() as monitor:
        call()
        redis.Redis(connection_pool=node.client.connection_pool).echo("the end")
        seen: list[str] = []
        for command in monitor.listen():
            if "the end" in command["command"]:
                return seen[3:] if seen[:3] == ["INFO", "INFO", "DEL"] else seen
            if command["client_type"] != "lua":
                seen.append(command["command"].split()[0])
    raise AssertionError("unreachable")


def test_operations_take_one_command(redis_cluster: Cluster, make: Make, of_node: list[Names]) -> None:
    store, name, node = make(redis_cluster), of_node[0], redis_cluster.nodes[0]
    slots, entry, who = [name(), name()], name(), new_writer()
    for _ in range(2):
        calls = {
            "EVALSHA fill": lambda: store.fill_slots(slots, new_stamp()),
            "EVALSHA mark": lambda: store.mark(slots, who, 60, slots[0]),
            "EVALSHA settle": lambda: store.settle(slots, who, new_stamp(), None),
            "MGET": lambda: store.look_up(entry, slots),
            "SET": lambda: store.put_entry(entry, b"rows", 5),
            "DEL": lambda: store.delete_entries([entry]),
        }
        seen = {
            expected: commands_of(node, call) for expected, call in calls.items()
        }  # scripts are sent the first time
    assert seen == {expected: [expected.split()[0]] for expected in calls}


# The ways that an alias can lead ------------------------------------------------------


def works(store: RedisClusterStore, name: Names) -> None:
    slot, entry, who, new = name(), name(), new_writer(), new_stamp()
    store.mark([slot], who, 60)
    store.settle([slot], who, new)
    store.put_entry(entry, b"rows", None)
    assert store.look_up(entry, [slot]) == (b"rows", [new])


@pytest.mark.parametrize("backend", [DJANGO_REDIS, DJANGOS_REDIS])
@pytest.mark.parametrize("addresses", ["one", "all", "a list in a string"])
def test_addresses_of_nodes(
    redis_cluster: Cluster, make: Make, of_node: list[Names], backend: str, addresses: str
) -> None:
    seeds = redis_cluster.seeds
    location = {"one": seeds[1], "all": seeds, "a list in a string": ",".join(seeds)}[addresses]
    store = make(redis_cluster, backend, location)
    for name in of_node:
        works(store, name)


def test_a_client_for_clusters(redis_cluster: Cluster, make: Make, of_node: list[Names]) -> None:
    options = {
        "REDIS_CLIENT_CLASS": "redis.cluster.RedisCluster",
        "CONNECTION_FACTORY": "tests.stores.redis.test_cluster.ClusterConnectionFactory",
    }
    store = make(redis_cluster, DJANGO_REDIS, redis_cluster.seeds[0], OPTIONS=options)
    for name in of_node:
        works(store, name)


class ClusterConnectionFactory:
    """What projects write to use django-redis with a cluster: the client has pools of its own."""

    def __init__(self, options: dict[str, Any]) -> None:
        pass

    def connect(self, url: str) -> Any:
        return redis.RedisCluster.from_url(url)

    def disconnect(self, connection: Any) -> None:
        connection.close()


def test_tls(start_server: Callable[..., Server], make: Make, tmp_path: Path) -> None:
    """A node names the ports of others as a client with TLS needs them."""
    settings = tls_settings(tmp_path) | {"tls-port": str(port := free_port()), "tls-cluster": "yes"}
    try:
        server = start_server(
            "redis-node", options=[part for key, value in settings.items() for part in (f"--{key}", value)]
        )
    except RuntimeError as error:
        pytest.skip(f"this Redis has no TLS: {error}")
    with redis.Redis(host=server.host, port=server.port) as client:
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        eventually(lambda: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
    authority = settings["tls-ca-cert-file"]
    for backend in (DJANGO_REDIS, DJANGOS_REDIS):
        works(make(None, backend, f"rediss://127.0.0.1:{port}?ssl_ca_certs={authority}"), Names(b"ab"))
        with pytest.raises(StoreUnavailable, match="certificate"):
            make(None, backend, f"rediss://127.0.0.1:{port}").look_up(None, [b"slot"])


@pytest.mark.parametrize("location", ["redis://127.0.0.1:1/2", "unix:///nowhere"])
def test_what_no_cluster_has_is_refused(make: Make, location: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="the number 0"):
        make(None, DJANGO_REDIS, location)


def test_a_server_that_is_in_no_cluster(make: Make, server: Server) -> None:
    store = make(None, DJANGO_REDIS, f"redis://{server.host}:{server.port}")
    with pytest.raises(StoreUnavailable, match="cluster support disabled"):
        store.look_up(None, [b"slot"])


#: What the guide says that a user of the store needs
NEEDED = [
    f"+{command}" for command in ("info", "del", "mget", "set", "eval", "evalsha", "time", "asking", "cluster|slots")
]


def test_a_user_who_may_do_no_more_than_the_store_needs(
    redis_cluster: Cluster, make: Make, of_node: list[Names]
) -> None:
    for node in redis_cluster.nodes:
        node.client.acl_setuser("ormcache", enabled=True, passwords=["+s3cret"], keys=["ormcache:*"], commands=NEEDED)
    location = redis_cluster.seeds[0].replace("//", "//ormcache:s3cret@")
    store = make(redis_cluster, DJANGO_REDIS, location)
    for name in of_node:
        works(store, name)
        store.fill_slots([name()], new_stamp())
        store.claim(name(), b"owner", 60)
    assert len(store.describe().servers) == 3


def test_a_cluster_of_valkey(start_cluster: Callable[..., Cluster], make: Make) -> None:
    cluster = start_cluster(kind="valkey-node")
    source, target, _ = cluster.nodes
    name, store = Names(cluster.partition_on(source)), make(cluster)
    works(store, name)
    slot, who = name(), new_writer()
    store.mark([slot], who, 60)
    cluster.move(slot_of(name.partition), source, target)
    assert make(cluster, lease=60).fill_slots([slot], new_stamp()) == [None]
    assert store.look_up(None, [slot])[1] == [None]
    assert (store.describe().servers[0].version or "").partition(".")[0] >= "8"


@pytest.mark.parametrize("command", [command for command in NEEDED if command != "+asking"])
def test_the_refusal_of_a_command_is_in_the_message(
    redis_cluster: Cluster, make: Make, of_node: list[Names], command: str
) -> None:
    """And none of those that the guide lists could be left out."""
    allowed = [each for each in NEEDED if each != command]
    for node in redis_cluster.nodes:
        node.client.acl_deluser("other")
        node.client.acl_setuser("other", enabled=True, passwords=["+s3cret"], keys=["ormcache:*"], commands=allowed)
        node.client.script_flush()
    store = make(redis_cluster, DJANGO_REDIS, redis_cluster.seeds[0].replace("//", "//other:s3cret@"))
    with pytest.raises(StoreUnavailable, match=f"(?i){re.escape(command[1:])}|{BY_A_SCRIPT}"):
        works(store, of_node[0])


# Periods ------------------------------------------------------------------------------


def test_a_new_period_stores_nothing_for_a_lease(redis_cluster: Cluster, make: Make, of_node: list[Names]) -> None:
    """A mark of the last one may have been lost."""
    store, name = make(redis_cluster, lease=LEASE), of_node[0]
    began = time.monotonic()
    slots, who = [name(), name()], new_writer()
    assert store.fill_slots(slots, new_stamp()) == [None, None]
    store.settle(slots, who, new_stamp())
    held = store.look_up(None, slots)[1]
    store.mark(slots[:1], who, 60)
    marked = store.look_up(None, slots)[1]
    assert time.monotonic() < began + LEASE, "the machine is too busy to show it"
    assert held == [None, None]
    assert marked[0] is not None
    eventually(lambda: store.fill_slots(slots, new_stamp())[1] is not None)
    assert time.monotonic() >= began + LEASE
    store.settle(slots, who, new := new_stamp())
    assert store.look_up(None, slots)[1] == [new, new]


def test_a_token_that_is_evicted_ends_the_period(redis_cluster: Cluster, make: Make, of_node: list[Names]) -> None:
    name = of_node[0]
    store, other = make(redis_cluster), make(redis_cluster, lease=60)
    slot, entry = name(), name()
    store.fill_slots([slot], new_stamp())
    store.put_entry(entry, b"rows", None)
    assert other.look_up(entry, [slot])[0] == b"rows"
    redis_cluster.nodes[0].client.delete(token_key(name.partition))
    assert other.look_up(entry, [slot]) == (None, [None])
    assert other.fill_slots([slot], new_stamp()) == [None]
    assert store.look_up(entry, [slot]) == (None, [None])
    assert store.fill_slots([slot], new_stamp()) == [None]


@pytest.mark.parametrize("operation", ["fill", "mark", "settle"])
def test_what_is_written_belongs_to_the_period_of_all(
    redis_cluster: Cluster, make: Make, of_node: list[Names], operation: str
) -> None:
    """A process that has not noticed the end of a period writes nothing that others do not see."""
    name = of_node[0]
    idle, other = make(redis_cluster), make(redis_cluster)
    slot, who, new = name(), new_writer(), new_stamp()
    idle.fill_slots([name()], new_stamp())
    redis_cluster.nodes[0].client.delete(token_key(name.partition))
    if operation != "fill":
        other.fill_slots([slot], new_stamp())
    else:
        other.look_up(None, [slot])
    {
        "fill": lambda: idle.fill_slots([slot], new),
        "mark": lambda: idle.mark([slot], who, 60),
        "settle": lambda: idle.settle([slot], who, new),
    }[operation]()
    (held,) = other.look_up(None, [slot])[1]
    assert held == new or [writer for writer, _ in decode_marks(held)] == [who]


# Resharding ---------------------------------------------------------------------------


def test_a_mark_is_not_lost_when_its_hash_slot_moves(redis_cluster: Cluster, make: Make, of_node: list[Names]) -> None:
    """It is not seen on the other node, and nothing is stored there for as long as it lasts."""
    name, (source, target, _) = of_node[0], redis_cluster.nodes
    writer, reader = make(redis_cluster), make(redis_cluster, lease=60)
    slot, entry, who = name(), name(), new_writer()
    writer.fill_slots([slot], new_stamp())
    writer.put_entry(entry, b"rows", None)
    writer.mark([slot], who, 60)
    redis_cluster.move(slot_of(name.partition), source, target)
    assert reader.look_up(entry, [slot]) == (None, [None])
    assert reader.fill_slots([slot], new_stamp()) == [None]
    writer.settle([slot], who, new_stamp())
    assert reader.fill_slots([slot], new_stamp()) == [None]
    assert reader.look_up(entry, [slot]) == (None, [None])


def test_what_moved_away_and_back_is_not_what_it_was(redis_cluster: Cluster, make: Make, of_node: list[Names]) -> None:
    """Else a write on the other node would be forgotten."""
    name, (source, target, _) = of_node[0], redis_cluster.nodes
    idle, writer = make(redis_cluster), make(redis_cluster)
    slot, entry, who, hash_slot = name(), name(), new_writer(), slot_of(name.partition)
    idle.fill_slots([slot], new_stamp())
    idle.put_entry(entry, b"rows", None)
    assert idle.look_up(entry, [slot])[0] == b"rows"
    redis_cluster.move(hash_slot, source, target)
    writer.mark([slot], who, 60)
    writer.settle([slot], who, new_stamp())
    redis_cluster.move(hash_slot, target, source)
    assert idle.look_up(entry, [slot]) == (None, [None])  # it never learned that the keys were away
    assert make(redis_cluster).look_up(entry, [slot]) == (None, [None])


def test_nor_is_it_lost_where_nobody_wrote_meanwhile(redis_cluster: Cluster, make: Make, of_node: list[Names]) -> None:
    name, (source, target, _) = of_node[0], redis_cluster.nodes
    store = make(redis_cluster)
    slot, entry, hash_slot, stamp = name(), name(), slot_of(name.partition), new_stamp()
    store.fill_slots([slot], stamp)
    store.put_entry(entry, b"rows", None)
    redis_cluster.move(hash_slot, source, target)
    redis_cluster.move(hash_slot, target, source)
    assert store.look_up(entry, [slot]) == (b"rows", [stamp])


MOVED = ["nothing", "the token", "the slot", "the other slot", "all but the token", "everything"]


@pytest.mark.parametrize("moved", MOVED)
@pytest.mark.parametrize("end", ["completed", "given up"])
def test_a_write_to_a_hash_slot_on_the_move(
    redis_cluster: Cluster, make: Make, of_node: list[Names], moved: str, end: str
) -> None:
    """Whichever keys have been moved, readers see the mark, or nothing is stored from then on."""
    name, (source, target, _) = of_node[0], redis_cluster.nodes
    writer, reader = make(redis_cluster), make(redis_cluster, lease=60)
    slot, other, entry, who, hash_slot = name(), name(), name(), new_writer(), slot_of(name.partition)
    writer.fill_slots([slot, other], new_stamp())
    writer.put_entry(entry, b"rows", None)
    assert reader.look_up(entry, [slot, other])[0] == b"rows"
    found = source.client.execute_command("CLUSTER", "GETKEYSINSLOT", hash_slot, 100)
    which = {
        "nothing": [],
        "the token": [key for key in found if key == token_key(name.partition)],
        "the slot": [key for key in found if key.endswith(b":s:" + slot)],
        "the other slot": [key for key in found if key.endswith(b":s:" + other)],
        "all but the token": [key for key in found if key != token_key(name.partition)],
        "everything": found,
    }[moved]
    redis_cluster.begin_move(hash_slot, source, target)
    redis_cluster.move_these(which, source, target)

    writer.mark([slot], who, 60)

    def nothing_is_served_or_stored() -> None:
        try:
            held = reader.look_up(entry, [slot, other])[1]
            assert not is_stamp(held[0])
            assert not is_stamp(reader.fill_slots([slot, other], new_stamp())[0])
        except StoreUnavailable:
            pass

    nothing_is_served_or_stored()
    if end == "completed":
        while redis_cluster.move_keys(hash_slot, source, target):
            nothing_is_served_or_stored()
        redis_cluster.end_move(hash_slot, source, target)
    else:
        source.client.execute_command("CLUSTER", "SETSLOT", hash_slot, "STABLE")
        nothing_is_served_or_stored()
        redis_cluster.move_keys(hash_slot, target, source)
        target.client.execute_command("CLUSTER", "SETSLOT", hash_slot, "STABLE")
    nothing_is_served_or_stored()

    def settled() -> bool:
        try:
            writer.settle([slot], who, new_stamp())
        except StoreUnavailable:  # for a moment the nodes may disagree on whose it is
            writer.retry_now()
            return False
        return True

    eventually(settled)
    value, held = reader.look_up(entry, [slot, other])
    assert value is None or held[0] != held[1]  # where the mark was an ordinary one, so is its end


@pytest.mark.parametrize("moved", ["the token", "all but the token", "everything"])
def test_settling_a_hash_slot_on_the_move(redis_cluster: Cluster, make: Make, of_node: list[Names], moved: str) -> None:
    name, (source, target, _) = of_node[0], redis_cluster.nodes
    writer, reader = make(redis_cluster), make(redis_cluster)
    slot, entry, hash_slot = name(), name(), slot_of(name.partition)
    writer.fill_slots([slot], new_stamp())
    writer.put_entry(entry, b"rows", None)
    redis_cluster.begin_move(hash_slot, source, target)
    found = source.client.execute_command("CLUSTER", "GETKEYSINSLOT", hash_slot, 100)
    is_token = token_key(name.partition).__eq__
    redis_cluster.move_these(
        [key for key in found if moved == "everything" or is_token(key) == (moved == "the token")], source, target
    )
    writer.settle([slot], new_writer(), new_stamp())
    unavailable(lambda: reader.look_up(entry, [slot]))
    assert reader.is_available  # for other databases
    redis_cluster.move_keys(hash_slot, source, target)
    redis_cluster.end_move(hash_slot, source, target)
    assert reader.look_up(entry, [slot]) == (None, [None])


@pytest.mark.parametrize(
    "reply, kind",
    [
        (ResponseError("MOVED 285 127.0.0.1:7001"), MovedError),
        (ResponseError("ASK 285 127.0.0.1:7001"), AskError),
        (ResponseError("TRYAGAIN Multiple keys request during rehashing of slot"), TryAgainError),
        (MovedError("285 127.0.0.1:7001"), MovedError),
        (ResponseError("OOM command not allowed"), type(None)),
    ],
)
def test_redirections_are_known_with_any_version_of_the_client(reply: ResponseError, kind: type) -> None:
    found = redirection_of(reply)
    assert type(found) is kind
    if isinstance(found, AskError):
        assert redirected_to(found, ("host", 1)) == ("127.0.0.1", 7001)


# Nodes that are away ------------------------------------------------------------------


def test_a_node_that_is_away_concerns_its_databases_alone(
    start_cluster: Callable[..., Cluster], make: Make, clock: Clock
) -> None:
    cluster = start_cluster()
    store = make(cluster, timeout=TIMEOUT)
    here, gone = Names(cluster.partition_on(cluster.nodes[0])), Names(cluster.partition_on(cluster.nodes[1]))
    slots = [here(), gone()]
    answered(lambda: store.fill_slots(slots, new_stamp()), clock)
    answered(lambda: works(store, here), clock)
    cluster.nodes[1].server.kill()
    unavailable(lambda: store.look_up(None, slots[1:]))
    assert not store.is_answering
    assert store.outage_count == 1
    assert len(store.outages) == 1
    for call in (
        lambda: store.look_up(None, slots[1:]),
        lambda: store.mark(slots[1:], new_writer(), 60),
        lambda: store.settle(slots[1:], new_writer(), new_stamp()),
        lambda: store.fill_slots(slots, new_stamp()),
        lambda: store.put_entry(slots[1], b"rows", None),
    ):
        unavailable(call)
        assert is_stamp(answered(lambda: store.look_up(None, slots[:1])[1][0], clock))
    works(store, here)
    cluster.nodes[1].server.start()

    def is_back() -> bool:
        clock.advance(60)
        try:
            return store.look_up(None, slots)[1][1] is None  # it comes back empty
        except StoreUnavailable:
            return False  # it waits a moment before it takes up its hash slots

    eventually(is_back, within=20)
    answered(lambda: works(store, gone), clock)
    assert store.is_answering


def test_a_replica_that_takes_over_begins_an_empty_cache(
    start_cluster: Callable[..., Cluster], make: Make, clock: Clock
) -> None:
    """It may lack the last stamps, and marks: nothing is stored for a lease."""
    cluster = start_cluster()
    primary = cluster.nodes[0]
    replica = cluster.add_replica(primary)
    name = Names(cluster.partition_on(primary))
    store, careful = make(cluster, timeout=TIMEOUT), make(cluster, timeout=TIMEOUT, lease=60)
    slot, entry = name(), name()
    answered(lambda: store.fill_slots([slot], new_stamp()), clock)
    answered(lambda: store.put_entry(entry, b"rows", None), clock)
    answered(lambda: careful.look_up(entry, [slot]), clock)
    eventually(lambda: replica.client.dbsize() >= 3)
    primary.server.kill()
    unavailable(lambda: store.look_up(entry, [slot]))
    cluster.take_over(replica)

    def taken_over(by: RedisClusterStore) -> bool:
        clock.advance(60)
        try:
            return by.look_up(entry, [slot]) == (None, [None])
        except StoreUnavailable:
            return False

    eventually(lambda: taken_over(careful))
    assert careful.fill_slots([slot], new_stamp()) == [None]
    eventually(lambda: taken_over(store))

    # What was the primary comes back as a replica, takes over again, and has nothing of before.
    primary.server.start()
    eventually(lambda: primary.client.info("replication").get("master_link_status") == "up", within=30)
    cluster.take_over(primary)
    eventually(lambda: taken_over(store))


# Under load ---------------------------------------------------------------------------


class Load:
    """A row in a database that is written and read by the protocol, and a judge who knows when which value was there.

    A write whose mark is refused does not take place, as ``ON_OUTAGE = "refuse"`` has it.
    """

    LEASE = 1.0  # seconds

    def __init__(self, make_store: Callable[[], RedisClusterStore], partition: bytes) -> None:
        self._make, self._partition = make_store, partition
        self.committed = 0
        self.writes = self.hits = self.refused = 0
        self.stale: list[str] = []
        self._stops = threading.Event()
        self._threads = [
            threading.Thread(target=self._until_stopped, args=(work,)) for work in (self.write, *[self.read] * 3)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stops.set()
        for thread in self._threads:
            thread.join()

    def _until_stopped(self, work: Callable[[Stamps, bytes, bytes], None]) -> None:
        store = self._make()
        stamps = Stamps(store, b"database", lease=self.LEASE)
        slot, entry = (self._partition + rest * 14 for rest in (b"s", b"e"))
        try:
            while not self._stops.is_set():
                try:
                    work(stamps, slot, entry)
                except StoreUnavailable:
                    self.refused += 1
                    time.sleep(0.002)
        except BaseException as error:
            self.stale.append(repr(error))
        finally:
            store.close()

    def write(self, stamps: Stamps, slot: bytes, entry: bytes) -> None:
        time.sleep(0.005)
        marked_at = time.monotonic()
        writer, _ = stamps.mark([slot])
        time.sleep(0.001)
        if time.monotonic() < marked_at + self.LEASE / 2:
            self.committed += 1
            self.writes += 1
        stamps.settle([slot], writer)

    def read(self, stamps: Stamps, slot: bytes, entry: bytes) -> None:
        least = self.committed
        found = stamps.look_up(entry, [slot])
        if found.data is not None:
            self.hits += 1
            if int(found.data) < least:
                self.stale.append(f"{int(found.data)} was served when {least} was committed")
            return
        value = self.committed
        time.sleep(0.001)
        if found.vector is not None:
            stamps.store_entry(entry, found.vector, b"%d" % value, None)


def test_nothing_stale_is_served_while_hash_slots_move(
    redis_cluster: Cluster, use_cache: Callable[..., str], of_node: list[Names]
) -> None:
    cluster, partition = redis_cluster, of_node[0].partition
    alias = use_cache(DJANGO_REDIS, cluster.seeds)
    first, second, _ = cluster.nodes
    hash_slot = slot_of(partition)
    with Load(lambda: RedisClusterStore(alias, PATIENT, Load.LEASE), partition) as load:
        eventually(lambda: load.hits > 20)
        for source, target in [(first, second), (second, first), (first, second)]:
            hits, writes = load.hits, load.writes
            cluster.begin_move(hash_slot, source, target)
            while cluster.move_keys(hash_slot, source, target, 1):
                time.sleep(0.01)
            cluster.end_move(hash_slot, source, target)
            eventually(lambda writes=writes: load.writes > writes + 10)
        eventually(lambda hits=hits: load.hits > hits + 20)
    assert load.stale == []


def test_nothing_stale_is_served_while_replicas_take_over(
    start_cluster: Callable[..., Cluster], use_cache: Callable[..., str]
) -> None:
    cluster = start_cluster()
    alias = use_cache(DJANGO_REDIS, cluster.seeds)
    primary = cluster.nodes[0]
    replica = cluster.add_replica(primary)
    partition = cluster.partition_on(primary)
    with Load(lambda: RedisClusterStore(alias, PATIENT, Load.LEASE), partition) as load:
        eventually(lambda: load.hits > 20)
        primary.server.kill()
        cluster.take_over(replica)
        hits, writes = load.hits, load.writes
        eventually(lambda: load.writes > writes + 10, within=20)
        eventually(lambda: load.hits > hits + 20, within=20)
    assert load.stale == []
