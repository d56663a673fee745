"""What only the Redis store has: its server's death, rebirth, moods and disguises."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
from django.core.exceptions import ImproperlyConfigured

from ormcache.exceptions import StoreFull, StoreUnavailable
from ormcache.stores.base import decode_marks, is_stamp
from ormcache.stores.redis import connection as module
from ormcache.stores.redis.store import RedisStore
from tests.servers import Server, find_program, free_port
from tests.stores.conftest import DJANGO_REDIS, DJANGOS_REDIS, LOCMEM, PATIENT, TIMEOUT
from tests.stores.helpers import Clock, answered, name, names, quickest, row_names, stamp, unavailable, writer
from tests.waiting import eventually

Make = Callable[..., RedisStore]


@pytest.fixture
def make(
    use_cache: Callable[..., str], server: Server, clock: Clock, closed_at_end: Callable[[RedisStore], RedisStore]
) -> Make:
    """``make()``: a store on this test's own server; ``make(location, backend, **cache settings)`` for others."""

    def make(location: str = "", backend: str = DJANGO_REDIS, timeout: float = PATIENT, **keys: Any) -> RedisStore:
        alias = use_cache(backend, location or f"redis://{server.host}:{server.port}/0", **keys)
        return closed_at_end(RedisStore(alias, timeout, clock))

    return make


@pytest.fixture
def store(make: Make) -> RedisStore:
    return make()


@pytest.fixture
def hasty(make: Make) -> RedisStore:
    """A store with the timeout that is the default."""
    return make(timeout=TIMEOUT)


def due() -> None:
    """Until the store asks again who its server is."""
    time.sleep(module.VERIFY_INTERVAL)


# Outages ------------------------------------------------------------------------


def test_a_server_that_hangs_costs_one_timeout_then_nothing(hasty: RedisStore, server: Server, clock: Clock) -> None:
    slot, old = name(), stamp()
    answered(lambda: hasty.fill_slots([slot], old), clock)
    server.pause()
    try:
        assert unavailable(lambda: hasty.look_up(None, [slot])) > TIMEOUT * 0.9
        assert quickest(lambda: hasty.look_up(None, [slot]), clock, past_back_off=False, enough=0.05) < 0.05
        # Each later probe has to connect first.
        assert TIMEOUT * 0.9 < quickest(lambda: hasty.look_up(None, [slot]), clock, enough=0.6) < 0.6
    finally:
        server.resume()
    clock.advance(60)
    assert answered(lambda: hasty.look_up(None, [slot])[1], clock) == [old]
    assert hasty.is_available


@pytest.mark.parametrize("operation", ["fill", "put", "mark", "settle", "remove", "claim", "release"])
def test_every_operation_gives_up_after_the_timeout(
    hasty: RedisStore, server: Server, clock: Clock, operation: str
) -> None:
    calls: dict[str, Callable[[], Any]] = {
        "fill": lambda: hasty.fill_slots([name()], stamp()),
        "put": lambda: hasty.put_entry(name(), b"rows", None),
        "mark": lambda: hasty.mark([name()], writer(), 60),
        "settle": lambda: hasty.settle([name()], writer(), stamp()),
        "remove": lambda: hasty.delete_entries([name()]),
        "claim": lambda: hasty.claim(name(), b"owner", 60),
        "release": lambda: hasty.release(name(), b"word", 60),
    }
    answered(lambda: hasty.look_up(None, [name()]), clock)
    server.pause()
    try:
        assert quickest(calls[operation], clock, enough=0.6) < 0.6
    finally:
        server.resume()


def test_a_late_reply_is_never_taken_for_the_next_one(hasty: RedisStore, server: Server, clock: Clock) -> None:
    slots = names(2)
    stamps = [stamp(), stamp()]
    for slot, value in zip(slots, stamps, strict=True):
        answered(partial(hasty.settle, [slot], writer(), value), clock)
    for _ in range(3):
        server.pause()
        try:
            unavailable(lambda: hasty.look_up(None, slots[:1]))
        finally:
            server.resume()
        clock.advance(60)
        assert answered(lambda: hasty.look_up(None, slots[1:])[1], clock) == [stamps[1]]
        assert answered(lambda: hasty.look_up(None, slots[:1])[1], clock) == [stamps[0]]


class Interruption(BaseException):
    pass


def test_nor_is_the_reply_to_an_interrupted_call(store: RedisStore, server: Server) -> None:
    """A worker's time limit raises in the middle of a call; what it raises is no Exception."""
    slots = names(2)
    stamps = [stamp(), stamp()]
    for slot, value in zip(slots, stamps, strict=True):
        store.settle([slot], writer(), value)

    def interrupt(*args: Any) -> None:
        raise Interruption

    before = signal.signal(signal.SIGALRM, interrupt)
    server.pause()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(Interruption):
            store.look_up(None, slots[:1])
    finally:
        signal.signal(signal.SIGALRM, before)
        server.resume()
    assert store.is_available
    assert store.look_up(None, slots[1:])[1] == [stamps[1]]
    assert store.look_up(None, slots[:1])[1] == [stamps[0]]


def test_nor_does_the_client_connect_again_by_itself(
    store: RedisStore, server: Server, raw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would go on with the names of the server that was."""
    monkeypatch.setattr(module, "VERIFY_INTERVAL", 3600)
    slot, old = name(), stamp()
    store.fill_slots([slot], old)
    raw.save()

    def interrupt(*args: Any) -> None:
        raise Interruption

    before = signal.signal(signal.SIGALRM, interrupt)
    server.pause()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(Interruption):
            store.look_up(None, [slot])
    finally:
        signal.signal(signal.SIGALRM, before)
        server.resume()
    server.kill()
    server.start()
    assert raw.dbsize() >= 1
    assert store.look_up(None, [slot])[1] == [None]


def test_a_port_without_server(make: Make, clock: Clock) -> None:
    store = make(f"redis://127.0.0.1:{free_port()}/0")
    assert quickest(lambda: store.look_up(None, [name()]), clock, enough=0.5) < 0.5
    assert not store.is_available


def test_an_idle_connection_that_the_server_closed_is_no_failure(store: RedisStore, raw: Any) -> None:
    slot, old = name(), stamp()
    store.fill_slots([slot], old)
    raw.client_kill_filter(_type="normal", skipme=True)
    due()
    assert store.look_up(None, [slot])[1] == [old]


def test_threads_that_end_leave_no_connections(store: RedisStore, raw: Any) -> None:
    def connections() -> int:
        return len(raw.client_list())

    before = connections()
    for _ in range(5):
        threads = [threading.Thread(target=lambda: store.look_up(None, names(3))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert connections() - before <= 4
    store.close()
    eventually(lambda: connections() == before)


# Rebirth ------------------------------------------------------------------------


def test_a_restarted_server_is_found_again_and_is_empty(store: RedisStore, server: Server, clock: Clock) -> None:
    slot, entry = name(), name()
    store.fill_slots([slot], stamp())
    store.put_entry(entry, b"rows", None)
    server.kill()
    unavailable(lambda: store.look_up(entry, [slot]))
    clock.advance(60)
    unavailable(lambda: store.look_up(entry, [slot]))
    server.start()
    clock.advance(60)
    assert store.look_up(entry, [slot]) == (None, [None])
    new = stamp()
    assert store.fill_slots([slot], new) == [new]


def test_an_old_snapshot_revives_nothing(make: Make, server: Server, raw: Any, clock: Clock) -> None:
    store = make()
    slot, entry, old, new = name(), name(), stamp(), stamp()
    store.fill_slots([slot], old)
    store.put_entry(entry, b"rows from before the write", None)
    raw.save()
    store.settle([slot], writer(), new)
    server.kill()
    server.start()
    assert raw.dbsize() >= 2  # the snapshot was read
    clock.advance(60)
    with contextlib.suppress(StoreUnavailable):
        store.look_up(entry, [slot])  # its connection is dead, which it may know by now
    clock.advance(60)
    assert store.look_up(entry, [slot]) == (None, [None])
    assert make().look_up(entry, [slot]) == (None, [None])


def test_nor_does_it_on_a_connection_that_was_idle_meanwhile(make: Make, server: Server, raw: Any) -> None:
    """The client must not reconnect in silence and go on with the names of the server that was."""
    store = make()
    slot, entry, old = name(), name(), stamp()
    store.fill_slots([slot], old)
    store.put_entry(entry, b"rows", None)
    raw.save()
    store.settle([slot], writer(), stamp())
    server.kill()
    server.start()
    due()
    assert store.look_up(entry, [slot]) == (None, [None])


def replicate(replica: Any, primary: Server) -> None:
    with redis.Redis(host=primary.host, port=primary.port) as client:
        client.config_set("repl-diskless-sync-delay", 0)  # seconds that it waits for further replicas
    replica.replicaof(primary.host, primary.port)
    eventually(lambda: replica.info("replication")["master_link_status"] == "up")


def test_a_primary_that_became_a_replica_is_left(
    store: RedisStore, server: Server, raw: Any, start_server: Callable[[str], Server]
) -> None:
    other = start_server("redis")
    slot, entry, old = name(), name(), stamp()
    store.fill_slots([slot], old)
    store.put_entry(entry, b"rows", None)
    with redis.Redis(host=other.host, port=other.port) as elsewhere:
        replicate(elsewhere, server)
        elsewhere.replicaof("NO", "ONE")
        replicate(raw, other)
        assert raw.dbsize() >= 2  # everything is still there to be read, on a connection that is still open
        due()
        unavailable(lambda: store.look_up(entry, [slot]))


def test_a_primary_that_was_a_replica_meanwhile_is_another_one(
    store: RedisStore, server: Server, raw: Any, start_server: Callable[[str], Server]
) -> None:
    other = start_server("redis")
    slot, entry, old = name(), name(), stamp()
    store.fill_slots([slot], old)
    store.put_entry(entry, b"rows", None)
    with redis.Redis(host=other.host, port=other.port) as elsewhere:
        replicate(elsewhere, server)
        elsewhere.replicaof("NO", "ONE")
        replicate(raw, other)
        raw.replicaof("NO", "ONE")
    due()
    assert store.look_up(entry, [slot]) == (None, [None])
    new, who = stamp(), writer()
    store.mark([slot], who, 60)
    store.settle([slot], who, new)
    assert store.look_up(None, [slot])[1] == [new]


def test_what_is_written_while_the_server_changes_is_written_to_the_new_one(
    make: Make, server: Server, raw: Any, start_server: Callable[[str], Server]
) -> None:
    other = start_server("redis")
    store = make()
    slot = name()
    store.fill_slots([slot], stamp())
    with redis.Redis(host=other.host, port=other.port) as elsewhere:
        replicate(raw, other)
        raw.replicaof("NO", "ONE")
        elsewhere.ping()
    due()
    who, new = writer(), stamp()
    store.mark([slot], who, 60)
    assert [mark for mark, _ in decode_marks(make().look_up(None, [slot])[1][0])] == [who]
    store.settle([slot], who, new)
    assert make().look_up(None, [slot])[1] == [new]


def test_a_server_that_takes_no_writes_is_not_read_from_either(store: RedisStore, raw: Any, clock: Clock) -> None:
    slot, old = name(), stamp()
    store.fill_slots([slot], old)
    raw.config_set("min-replicas-to-write", 1)
    due()
    unavailable(lambda: store.look_up(None, [slot]))
    raw.config_set("min-replicas-to-write", 0)
    clock.advance(60)
    assert store.look_up(None, [slot])[1] == [old]


# Room ---------------------------------------------------------------------------


def test_a_full_server_empties_what_it_cannot_write(store: RedisStore, raw: Any, clock: Clock) -> None:
    settled, marked, empty, entry = name(), name(), name(), name()
    old = stamp()
    store.fill_slots([settled, marked], old)
    store.put_entry(entry, b"rows", None)
    raw.config_set("maxmemory-policy", "noeviction")
    raw.config_set("maxmemory", 1)
    who = writer()
    with pytest.raises(StoreFull):
        store.put_entry(name(), b"rows", None)
    assert store.claim(name(), b"owner", 60) == b"owner"  # nobody is to wait for what cannot be told
    store.release(name(), b"word", 60)
    clock.advance(60)
    with pytest.raises(StoreFull):
        store.fill_slots([empty], stamp())
    store.mark([marked], who, 60)
    store.settle([settled, marked], who, stamp())
    # Without room for the new value the slot is emptied, which invalidates every entry as well.
    assert store.look_up(entry, [settled, marked]) == (b"rows", [None, None])
    assert store.is_available
    raw.config_set("maxmemory", 0)
    clock.advance(60)
    new = stamp()
    assert store.fill_slots([settled, marked], new) == [new, new]


def test_scripts_are_loaded_again_when_the_server_forgot_them(store: RedisStore, raw: Any) -> None:
    slot, who, new = name(), writer(), stamp()
    store.mark([slot], who, 60)
    raw.script_flush()
    store.mark([slot], who, 60)
    raw.script_flush()
    store.settle([slot], who, new)
    assert store.look_up(None, [slot])[1] == [new]


def test_foreign_values_of_other_types_are_nothing(store: RedisStore, raw: Any) -> None:
    slot, entry = name(), name()
    store.fill_slots([slot], stamp())
    store.put_entry(entry, b"rows", None)
    for key in raw.keys("ormcache:*"):
        raw.delete(key)
        raw.rpush(key, "a list")
    assert store.look_up(entry, [slot]) == (None, [None])
    who, new = writer(), stamp()
    store.mark([slot], who, 60, slot)
    store.settle([slot], who, new)
    store.put_entry(entry, b"rows", None)
    assert store.look_up(entry, [slot]) == (b"rows", [new])
    store.claim(entry, b"owner", 60)
    for key in raw.keys("ormcache:*:c:*"):
        raw.delete(key)
        raw.rpush(key, "a list")
    assert store.claim(entry, b"owner", 60) == b""
    store.release(entry, b"word", 60)
    assert store.claim(entry, b"owner", 60) == b"word"


def test_stamps_never_expire_and_marks_do(store: RedisStore, raw: Any) -> None:
    slot, who = name(), writer()

    def remaining() -> int:
        (key,) = raw.keys("ormcache:*:s:*")
        return int(raw.pttl(key))

    store.fill_slots([slot], stamp())
    assert remaining() == -1
    store.mark([slot], who, 60)
    assert 59_000 < remaining() <= 60_000
    store.mark([slot], writer(), 10)
    assert 50_000 < remaining() <= 60_000  # the longer lease counts
    store.settle([slot], who, stamp())
    assert 0 < remaining() <= 10_000  # the shorter one is left
    store.settle([slot], writer(), stamp())
    assert 0 < remaining() <= 10_000
    for other in decode_marks(store.look_up(None, [slot])[1][0]):
        store.settle([slot], other[0], stamp())
    assert remaining() == -1


# One round trip -----------------------------------------------------------------


def commands_of(raw: Any, call: Callable[[], Any]) -> list[str]:
    with raw.monitor() as monitor:
        call()
        raw2 = redis.Redis(connection_pool=raw.connection_pool)
        raw2.echo("the end")
        seen = []
        for command in monitor.listen():
            if "the end" in command["command"]:
                return seen
            verb = command["command"].split()[0]
            if command["client_type"] != "lua" and verb not in ("HELLO", "CLIENT"):  # our own new connection
                seen.append(verb)
    raise AssertionError("unreachable")


def test_operations_take_one_command(store: RedisStore, raw: Any) -> None:
    slots, entry, who = [*names(2), *row_names(40)], name(), writer()
    store.mark(slots, who, 60)
    store.settle(slots, who, stamp())  # the scripts are there now

    def commands(call: Callable[[], Any]) -> list[str]:
        store.look_up(None, [name()])  # has asked just now who the server is
        return commands_of(raw, call)

    # Whether the question who the server is falls into a call depends on the time that has passed.
    questions = ["INFO", "INFO", "DEL"]
    for call, expected in {
        (lambda: store.look_up(entry, slots)): ["MGET"],
        (lambda: store.mark(slots, who, 60, slots[0])): ["EVALSHA"],
        (lambda: store.settle(slots, who, stamp())): ["EVALSHA"],
        (lambda: store.put_entry(entry, b"rows", 5)): ["SET"],
        (lambda: store.claim(entry, b"owner", 5)): ["SET", "MGET"],
        (lambda: store.release(entry, b"word", 5)): ["SET"],
        (lambda: store.fill_slots(slots, stamp())): ["SETNX"] * 2 + ["SET"] * 40 + ["MGET"],
    }.items():
        assert commands(call) in (expected, questions + expected)


# The ways that an alias can lead ------------------------------------------------


def works(store: RedisStore) -> None:
    slot, entry, who, new = name(), name(), writer(), stamp()
    store.mark([slot], who, 60)
    store.settle([slot], who, new)
    store.put_entry(entry, b"rows", None)
    assert store.look_up(entry, [slot]) == (b"rows", [new])


@pytest.mark.parametrize("backend", [DJANGO_REDIS, DJANGOS_REDIS])
def test_password_and_database(make: Make, server: Server, raw: Any, backend: str) -> None:
    raw.config_set("requirepass", "s3cret")
    works(make(f"redis://:s3cret@{server.host}:{server.port}/5", backend))
    with redis.Redis(host=server.host, port=server.port, password="s3cret", db=5) as five:
        assert five.dbsize() == 2
    assert raw.dbsize() == 0
    unavailable(lambda: make(f"redis://:wrong@{server.host}:{server.port}/5", backend).look_up(None, [name()]))


#: What the guide says that a user of the store needs
NEEDED = [f"+{command}" for command in ("info", "time", "mget", "set", "setnx", "del", "eval", "evalsha", "select")]


def test_a_user_who_may_do_no_more_than_the_store_needs(make: Make, server: Server, raw: Any) -> None:
    raw.acl_setuser("ormcache", enabled=True, passwords=["+s3cret"], keys=["ormcache:*"], commands=NEEDED)
    works(make(f"redis://ormcache:s3cret@{server.host}:{server.port}/0"))


#: What a server says that refuses a command to a script
BY_A_SCRIPT = "can.t run this command"


@pytest.mark.parametrize("command", NEEDED)
def test_the_refusal_of_a_command_is_in_the_message(make: Make, server: Server, raw: Any, command: str) -> None:
    """And none of those that the guide lists could be left out."""
    allowed = [each for each in NEEDED if each != command]
    raw.acl_setuser("ormcache", enabled=True, passwords=["+s3cret"], keys=["ormcache:*"], commands=allowed)
    store = make(f"redis://ormcache:s3cret@{server.host}:{server.port}/{1 if command == '+select' else 0}")
    raw.script_flush()
    with pytest.raises(StoreUnavailable, match=f"(?i){command[1:]}|{BY_A_SCRIPT}"):
        works(store)
        store.fill_slots([name()], stamp())


def tls_settings(folder: Path) -> dict[str, str]:
    """Make a certificate of an authority of our own; settings of a server that uses it."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    # Python 3.13 asks for what each of the two may be used for.
    authority = ["-addext", "keyUsage=critical,keyCertSign"]
    signed = ["-CA", folder / "authority.pem", "-CAkey", folder / "authority.key"]
    signed += ["-addext", "basicConstraints=critical,CA:FALSE", "-addext", "keyUsage=critical,digitalSignature"]
    for file, extensions in (("authority", authority), ("server", signed)):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={file}"]
            + ["-addext", "subjectAltName=IP:127.0.0.1", *extensions]
            + ["-keyout", folder / f"{file}.key", "-out", folder / f"{file}.pem"],
            check=True,
            capture_output=True,
        )
    files = {"tls-cert-file": "server.pem", "tls-key-file": "server.key", "tls-ca-cert-file": "authority.pem"}
    return {"tls-auth-clients": "no"} | {setting: str(folder / file) for setting, file in files.items()}


def with_tls(raw: Any, tmp_path: Path) -> tuple[int, str]:
    """Let a server speak TLS too; the port, and the certificate of the authority."""
    settings, port = tls_settings(tmp_path), free_port()
    try:
        raw.config_set(*(part for pair in settings.items() for part in pair))
        raw.config_set("tls-port", port)
    except redis.ResponseError as error:
        pytest.skip(f"this Redis has no TLS: {error}")
    return port, settings["tls-ca-cert-file"]


@pytest.mark.parametrize("backend", [DJANGO_REDIS, DJANGOS_REDIS])
def test_tls(make: Make, raw: Any, backend: str, tmp_path: Path) -> None:
    port, certificate = with_tls(raw, tmp_path)
    works(make(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificate}", backend))
    unavailable(lambda: make(f"rediss://127.0.0.1:{port}/0", backend).look_up(None, [name()]))


def test_the_options_of_the_alias_do_not_decide_its_timeouts(make: Make, server: Server, clock: Clock) -> None:
    location = f"redis://{server.host}:{server.port}/0?socket_timeout=20&socket_connect_timeout=20"
    store = make(location, DJANGO_REDIS, TIMEOUT, OPTIONS={"CONNECTION_POOL_KWARGS": {"retry_on_timeout": True}})
    store.look_up(None, [name()])
    server.pause()
    try:
        assert quickest(lambda: store.look_up(None, [name()]), clock, enough=0.6) < 0.6
    finally:
        server.resume()


def test_values_are_bytes_even_where_the_alias_decodes(make: Make, server: Server) -> None:
    works(make(f"redis://{server.host}:{server.port}/0?decode_responses=True"))


def test_the_pool_of_the_alias_is_left_alone(make: Make, server: Server) -> None:
    store = make(f"redis://{server.host}:{server.port}/0?max_connections=1")
    barrier = threading.Barrier(4)

    def look() -> None:
        barrier.wait()
        for _ in range(20):
            store.look_up(None, [name()])

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.is_available
    for _ in range(3):
        store.close()
        works(store)


def started(command: list[str], port: int) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    eventually(listens)
    return process


def ended(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def test_a_cluster_is_refused(make: Make, tmp_path: Path) -> None:
    program, port = find_program("redis"), free_port()
    command = [str(program), "--port", str(port), "--dir", str(tmp_path), "--cluster-enabled", "yes"]
    command += ["--cluster-port", str(free_port()), "--save", ""]
    process = started(command, port)
    try:
        with pytest.raises(StoreUnavailable, match="cluster"):
            make(f"redis://127.0.0.1:{port}/0").look_up(None, [name()])
    finally:
        ended(process)


@pytest.mark.parametrize("called", [b"redis_mode", b"server_mode"])
def test_a_cluster_is_known_by_either_of_its_names(called: bytes) -> None:
    """Valkey says ``server_mode`` since its version 8."""
    server = b"# Server\r\n%b:%b\r\nrun_id:abc\r\n"
    replication = b"# Replication\r\nrole:master\r\nmaster_replid:def\r\nmaster_replid2:000\r\n"
    assert module._parse_incarnation(server % (called, b"standalone"), replication, 0) == (b"abc", b"def")
    with pytest.raises(StoreUnavailable, match="cluster"):
        module._parse_incarnation(server % (called, b"cluster"), replication, 0)


def test_sentinel_leads_to_the_primary_and_to_the_next_one(
    make: Make, server: Server, start_server: Callable[[str], Server], raw: Any, clock: Clock, tmp_path: Path
) -> None:
    program, port = find_program("redis"), free_port()
    other = start_server("redis")
    configuration = tmp_path / "sentinel.conf"
    configuration.write_text(
        f"port {port}\ndir {tmp_path}\nsentinel monitor site {server.host} {server.port} 1\n"
        "sentinel down-after-milliseconds site 60000\nsentinel failover-timeout site 2000\n"
    )
    with redis.Redis(host=other.host, port=other.port) as replica:
        replicate(replica, server)  # first: it asks only every ten seconds which replicas there are
    sentinel = started([str(program), str(configuration), "--sentinel"], port)
    try:
        with redis.Redis(port=port) as control:
            store = make(
                "redis://site/0",
                timeout=TIMEOUT,
                OPTIONS={
                    "CLIENT_CLASS": "django_redis.client.SentinelClient",
                    "CONNECTION_POOL_CLASS": "redis.sentinel.SentinelConnectionPool",
                    "CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory",
                    "SENTINELS": [("127.0.0.1", port)],
                },
            )
            slot, old = name(), stamp()
            answered(lambda: store.fill_slots([slot], old), clock)
            assert answered(lambda: store.look_up(None, [slot])[1], clock) == [old]
            assert raw.dbsize() >= 1
            eventually(lambda: control.sentinel_slaves("site"), within=20)
            server.kill()
            unavailable(lambda: store.look_up(None, [slot]))
            control.sentinel_set("site", "down-after-milliseconds", 500)

            def taken_over() -> bool:
                clock.advance(60)
                try:
                    return store.look_up(None, [slot])[1] == [None]
                except StoreUnavailable:
                    return False

            eventually(taken_over, within=40)
            control.sentinel_set("site", "down-after-milliseconds", 60000)
            answered(lambda: works(store), clock)
            other.pause()
            try:
                assert quickest(lambda: store.look_up(None, [slot]), clock, enough=0.6) < 0.6
            finally:
                other.resume()
            sentinel.send_signal(signal.SIGSTOP)
            store.close()
            clock.advance(60)
            try:
                assert quickest(lambda: store.look_up(None, [slot]), clock, enough=1.0) < 1.0
            finally:
                sentinel.send_signal(signal.SIGCONT)
    finally:
        ended(sentinel)


def test_an_alias_that_is_no_redis_is_refused(use_cache: Callable[..., str]) -> None:
    with pytest.raises(ImproperlyConfigured, match="not a Redis cache"):
        RedisStore(use_cache(LOCMEM), TIMEOUT)


def test_a_client_that_spreads_its_keys_is_refused(use_cache: Callable[..., str], server: Server) -> None:
    alias = use_cache(
        DJANGO_REDIS,
        [f"redis://{server.host}:{server.port}/0", f"redis://{server.host}:{server.port}/1"],
        OPTIONS={"CLIENT_CLASS": "django_redis.client.ShardClient"},
    )
    with pytest.raises(ImproperlyConfigured, match="several servers"):
        RedisStore(alias, TIMEOUT)


def test_replicas_in_the_alias_are_not_read(make: Make, server: Server, start_server: Callable[[str], Server]) -> None:
    """Both backends read from the other addresses of an alias, which may be behind."""
    other = start_server("redis")
    locations = [f"redis://{each.host}:{each.port}/0" for each in (server, other)]
    for backend in (DJANGO_REDIS, DJANGOS_REDIS):
        store = make(locations, backend)  # type: ignore[arg-type]
        for _ in range(10):
            works(store)
    with redis.Redis(host=other.host, port=other.port) as elsewhere:
        assert elsewhere.dbsize() == 0


def test_many_names_at_once(store: RedisStore) -> None:
    slots, new, who = names(2000), stamp(), writer()
    assert store.fill_slots(slots, new) == [new] * 2000
    store.mark(slots, who, 60)
    assert not any(map(is_stamp, store.look_up(None, slots)[1]))
    store.settle(slots, who, new)
    chosen = random.sample(slots, 500)
    assert store.look_up(os.urandom(16), chosen) == (None, [new] * 500)
