"""What a server is told from others by, and how long it is taken for granted that it is there."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ormcache.cache.keys import digest
from ormcache.catalog import ALL_ROWS_AND_SCHEMA, mysql
from ormcache.session import addresses
from ormcache.session.addresses import NEVER, Address

MARIADB = {"old_mode": "", "server_uid": "same"}
MYSQL = {"server_uuid": "same"}


class Answers:
    """A cursor on which a server answers, that was started at a second and is asked at another one."""

    def __init__(self, started: int, now: int = 1_800_000_000, drawn: str = "b1c2", card: str = "0242ac120002") -> None:
        self._row = (
            "db",
            3306,
            "/var/lib/mysql/",
            now,
            str((now - started) % 2**64),
            f"5f1-63f-11f1-{drawn}-{card}",
            7,
            0,
        )

    def execute(self, sql: str) -> None:
        self.sql = sql

    def fetchone(self) -> tuple[Any, ...]:
        return self._row


def instance(variables: dict[str, str], *args: Any, **kwargs: Any) -> str:
    return mysql._instance(Answers(*args, **kwargs), variables)[2]


@pytest.mark.parametrize("variables", [MARIADB, MYSQL], ids=["MariaDB", "MySQL"])
def test_a_server_is_another_one_after_a_start(variables):
    assert instance(variables, 1_700_000_000) == instance(variables, 1_700_000_000, now=1_800_000_999)
    assert instance(variables, 1_700_000_000) != instance(variables, 1_700_000_001)


@pytest.mark.parametrize("variables", [MARIADB, MYSQL], ids=["MariaDB", "MySQL"])
def test_a_time_that_the_session_has_set_changes_nothing(variables):
    """Before the start of the server, its time of running overflows."""
    assert instance(variables, 1_700_000_000, now=1_000_000_000) == instance(variables, 1_700_000_000)


def test_two_servers_of_one_description_that_were_started_together():
    """As containers are: id, host name, port, data directory and even network address can be equal."""
    assert instance(MARIADB, 1_700_000_000, drawn="b1c2") != instance(MARIADB, 1_700_000_000, drawn="b1c3")
    assert instance(MYSQL, 1_700_000_000, card="0242ac120002") != instance(MYSQL, 1_700_000_000, card="0242ac120003")


def test_mysql_draws_a_number_anew_when_its_clock_is_set_back():
    assert instance(MYSQL, 1_700_000_000, drawn="b1c2") == instance(MYSQL, 1_700_000_000, drawn="b1c3")


# Where connections lead ----------------------------------------------------------------------


class Memory:
    """A store with one kind of thing."""

    def __init__(self) -> None:
        self.held: dict[bytes, bytes] = {}
        self.timeouts: list[float | None] = []
        self.strict = self

    def look_up(self, name: bytes, slots: list[bytes]) -> tuple[bytes | None, list[bytes | None]]:
        return self.held.get(name), []

    def put_entry(self, name: bytes, value: bytes, timeout: float | None) -> bool:
        self.held[name] = value
        self.timeouts.append(timeout)
        return True


class Known:
    """As much of a Database as an address looks at; ``renewed`` is what all processes see, ``store`` is shared."""

    def __init__(self, identity: str, store: Memory, renewed: list[bytes]) -> None:
        self.server = SimpleNamespace(identity=identity)
        self.config = SimpleNamespace(identity_max_age=5.0)
        epoch, schema = (digest(identity.encode(), kind) for kind in (b"*", b"*schema"))
        self.slots = SimpleNamespace(epoch=epoch, schema=schema)
        self.stamps = SimpleNamespace(store=store, renew=renewed.extend)
        self._renewed = renewed

    def renew(self, relations: frozenset[str]) -> None:
        assert relations == ALL_ROWS_AND_SCHEMA
        self._renewed += [self.slots.epoch, self.slots.schema]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    now = SimpleNamespace(value=1000.0)
    monkeypatch.setattr(addresses, "time", SimpleNamespace(monotonic=lambda: now.value))
    return now


@pytest.fixture
def world(clock: Any) -> Any:
    store, renewed = Memory(), []
    return SimpleNamespace(
        clock=clock,
        renewed=renewed,
        process=lambda: Address(b"name"),
        server=lambda identity: Known(identity, store, renewed),
    )


def test_what_was_learned_counts_for_a_while(world):
    address, server = world.process(), world.server("one")
    until = address.answered(server, world.clock.value)
    assert 1002.5 <= until <= 1004.5
    assert address.good_until(server) == until
    world.clock.value = until
    assert address.good_until(server) == NEVER  # this thread goes and asks
    assert address.good_until(server) > until  # others go on meanwhile, but not for longer than they may
    world.clock.value = 1005.0
    assert address.good_until(server) == NEVER
    assert address.good_until(server) == NEVER


def test_another_process_of_the_same_place_confirms_it(world):
    one, other, server = world.process(), world.process(), world.server("one")
    one.answered(server, 1000.0)
    world.clock.value = 1100.0
    assert one.good_until(server) == NEVER
    other.answered(server, 1099.0)
    assert one.good_until(server) > 1100.0


def test_another_server_confirms_nothing(world):
    one, other = world.process(), world.process()
    one.answered(world.server("one"), 1000.0)
    world.clock.value = 1001.0
    other.answered(world.server("two"), 1001.0)
    world.clock.value = 1100.0
    assert one.good_until(world.server("one")) == NEVER
    assert one.good_until(world.server("two")) == NEVER  # it was not this process that asked it


def test_a_note_from_before_the_last_answer_is_no_news(world):
    one, other = world.process(), world.process()
    other.answered(world.server("one"), 1000.0)
    one.answered(world.server("two"), 1001.0)
    world.clock.value = 1002.0
    assert one.good_until(world.server("one")) == NEVER


def test_the_first_to_find_a_new_server_retires_the_old_one_and_no_other_does(world):
    one, other, third = world.process(), world.process(), world.process()
    old, new = world.server("one"), world.server("two")
    one.answered(old, 1000.0)
    assert world.renewed == []
    other.answered(new, 1001.0)
    assert set(world.renewed) == {old.slots.epoch, old.slots.schema, new.slots.epoch, new.slots.schema}
    del world.renewed[:]
    third.answered(new, 1002.0)
    one.answered(new, 1003.0)
    assert world.renewed == []


def test_a_server_that_comes_back_begins_an_empty_cache(world):
    """It was not started again, but may have got rows of the other one's that were marked there alone."""
    one, other = world.process(), world.process()
    old, new = world.server("one"), world.server("two")
    one.answered(old, 1000.0)
    other.answered(new, 1001.0)
    del world.renewed[:]
    world.process().answered(old, 1002.0)
    assert {old.slots.epoch, old.slots.schema} <= set(world.renewed)
    del world.renewed[:]
    one.answered(old, 1003.0)
    assert world.renewed == []


def test_servers_that_answer_by_turns_are_said_once(world, caplog):
    address, servers = world.process(), [world.server("one"), world.server("two")]
    with caplog.at_level("WARNING", "ormcache"):
        for turn in range(10):
            world.clock.value += 1
            address.answered(servers[turn % 2], world.clock.value)
    assert [record.message.partition(",")[0] for record in caplog.records] == [
        "the settings of a database lead to several servers by turns"
    ]


@pytest.mark.parametrize("more", [b"x", b"x" * 40])
def test_a_note_of_another_size_says_nothing(world, more):
    """Somebody else wrote it: it names no slots that are to be renewed, and confirms nothing."""
    old, new = world.server("one"), world.server("two")
    for server in (old, new, world.server("three"), world.server("four")):
        world.process().answered(server, 1000.0)
    del world.renewed[:]
    (name,) = old.stamps.store.held
    old.stamps.store.held[name] += more
    world.clock.value = 1001.0
    world.process().answered(old, 1001.0)
    assert world.renewed == []


def test_a_note_stays_as_long_as_what_it_tells_counts(world):
    server = world.server("one")
    world.process().answered(server, 1000.0)
    server.config.identity_max_age = 30 * 24 * 3600.0
    world.process().answered(server, 1000.0)
    assert server.stamps.store.timeouts == [24 * 3600.0, 60 * 24 * 3600.0]


def test_a_clock_that_was_frozen_in_the_future(world):
    address, server = world.process(), world.server("one")
    world.clock.value = 1_800_000_000.0
    address.answered(server, world.clock.value)
    world.clock.value = 1000.0
    assert address.good_until(server) == NEVER
    world.clock.value = 1_800_000_000.0
    address.answered(server, world.clock.value)
    world.clock.value = 1000.0
    address.answered(server, world.clock.value)
    assert 1000.0 < address.good_until(server) < 1005.0


def test_what_was_given_up_unconfirmed_is_settled_on_both_sides(world):
    """It may have written to the new server under the old identity, and have read from it."""
    address, old, new = world.process(), world.server("one"), world.server("two")
    address.answered(old, 1000.0)
    address.leave(old)
    world.clock.value = 1001.0
    address.answered(new, 1001.0)
    assert set(world.renewed) == {old.slots.epoch, old.slots.schema, new.slots.epoch, new.slots.schema}
    assert world.renewed.count(old.slots.epoch) > 1  # not only because it is gone from here
    del world.renewed[:]
    address.answered(new, 1002.0)
    assert world.renewed == []


def test_what_was_given_up_is_confirmed_by_the_same_server_asked_later(world):
    address, old, new = world.process(), world.server("one"), world.server("two")
    address.answered(old, 1000.0)
    world.clock.value = 1002.0
    address.leave(old)
    address.answered(old, 1001.0)  # by another connection, which was asked before that
    world.clock.value = 1003.0
    address.answered(new, 1003.0)
    assert world.renewed.count(new.slots.epoch) == 2  # once for what was given up, and once because it is found here
    del world.renewed[:]
    address.leave(new)
    world.clock.value = 1004.0
    address.answered(new, 1004.0)
    world.clock.value = 1005.0
    address.answered(world.server("three"), 1005.0)
    assert world.renewed.count(world.server("three").slots.epoch) == 1
