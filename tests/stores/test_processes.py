"""Many processes at once on one store: what is served is never older than what was committed before the look-up."""

from __future__ import annotations

import mmap
import multiprocessing
import os
import random
import signal
import struct
import time
from collections.abc import Callable
from typing import Any

import pytest

from ormcache.exceptions import StoreBusy
from ormcache.stores.base import ROW_SLOT_LENGTH, Store, is_stamp
from tests.stores.conftest import SHARED_KINDS
from tests.stores.helpers import Child, name, names, row_names, stamp, writer

#: All but the memory of a single process, and the cache that cannot add atomically and so may lose marks


class Database:
    """The number of the last commit of each relation, for all processes. A commit is atomic and seen at once."""

    def __init__(self, relations: int) -> None:
        self._memory = mmap.mmap(-1, 8 * relations + 1)
        self._relations = relations
        self._lock = multiprocessing.get_context("fork").Lock()

    def read(self, relation: int) -> int:
        (version,) = struct.unpack_from("=Q", self._memory, 8 * relation)
        return int(version)

    def commit(self, relations: list[int]) -> None:
        with self._lock:
            for relation in relations:
                struct.pack_into("=Q", self._memory, 8 * relation, self.read(relation) + 1)

    @property
    def is_closed(self) -> bool:
        """Whether the processes that work on it are to end."""
        return bool(self._memory[8 * self._relations])

    def close(self) -> None:
        self._memory[8 * self._relations] = 1


class Site:
    """Reads and writes by the rules of the protocol, in as few lines as it takes."""

    def __init__(self, store: Store, database: Database, slots: list[bytes], entries: list[bytes]) -> None:
        self.store, self.database, self.slots, self.entries = store, database, slots, entries
        self.hits = 0

    def read(self, relation: int) -> None:
        before = self.database.read(relation)
        entry, slot = self.entries[relation], self.slots[relation]
        value, (held,) = self.store.look_up(entry, [slot])
        if held is None:
            (held,) = self.store.fill_slots([slot], stamp())
        elif is_stamp(held) and value is not None and value[: len(held)] == held:
            self.hits += 1
            version = int.from_bytes(value[len(held) :], "big")
            assert version >= before, f"served {version} after {before} had been committed"
            return
        rows = self.database.read(relation)
        if held is not None and is_stamp(held):
            self.store.put_entry(entry, held + rows.to_bytes(8, "big"), None)

    def write(self, relations: list[int], between: Callable[[], Any] = lambda: None) -> None:
        slots, who = [self.slots[relation] for relation in relations], writer()
        while True:
            try:
                self.store.mark(slots, who, 30)
                break
            except StoreBusy:
                pass
        between()
        self.database.commit(relations)
        between()
        while True:
            try:
                self.store.settle(slots, who, stamp())
                break
            except StoreBusy:
                pass

    def work(self, seed: int, seconds: float, share_of_writes: float) -> int:
        chance = random.Random(seed)
        end = time.monotonic() + seconds
        relations = range(len(self.slots))
        while time.monotonic() < end and not self.database.is_closed:
            if chance.random() < share_of_writes:
                self.write(chance.sample(relations, chance.randint(1, 2)))
            else:
                self.read(chance.choice(relations))
        return self.hits


@pytest.mark.slow
@pytest.mark.parametrize("kind", SHARED_KINDS)
def test_nothing_older_than_the_last_commit_is_served(kind: str, make_store: Callable[..., Store]) -> None:
    store = make_store(kind)
    site = Site(store, Database(3), [name(), *row_names(2)], names(3))
    site.read(0)
    children = [Child(site.work, seed, 3.0, 0.3) for seed in range(5)]
    hits = sum(child.result() for child in children)
    assert hits > 20
    # And when all is quiet, what is stored is served.
    for relation in range(3):
        for _ in range(3):
            site.read(relation)
    assert site.hits >= 6


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in SHARED_KINDS if not kind.startswith("django")])
def test_processes_killed_at_any_moment_leave_nothing_stale(kind: str, make_store: Callable[..., Store]) -> None:
    store = make_store(kind)
    site = Site(store, Database(2), [name(), *row_names(1)], names(2))
    site.read(0)
    survivors = [Child(site.work, seed, 60.0, 0.0) for seed in range(2)]
    chance = random.Random(0)
    for seed in range(25):
        # Reads only, after a while writes: a killed writer leaves a mark that hides its relation for the whole lease.
        victim = Child(site.work, 100 + seed, 60.0, 0.02)
        time.sleep(chance.uniform(0.01, 0.1))
        os.kill(victim.pid, signal.SIGKILL)
        victim.killed()
    site.database.close()
    for child in survivors:
        child.result()
    # The store itself is whole: it takes marks, stamps and entries as ever.
    slot, entry, who, new = name(), name(), writer(), stamp()
    store.mark([slot], who, 60)
    store.settle([slot], who, new)
    assert store.put_entry(entry, b"rows", None)
    assert store.look_up(entry, [slot]) == (b"rows", [new])


@pytest.mark.parametrize("kind", SHARED_KINDS)
def test_of_many_fills_one_wins(kind: str, make_store: Callable[..., Store]) -> None:
    store = make_store(kind)
    store.look_up(None, [name()])
    slots = [*names(100), *(os.urandom(ROW_SLOT_LENGTH) for _ in range(100))]

    def fill() -> list[bytes | None]:
        held = []
        for slot in slots:
            held += store.fill_slots([slot], stamp())
        return held

    answers = [child.result() for child in [Child(fill) for _ in range(4)]]
    assert answers[0] == answers[1] == answers[2] == answers[3]
    assert answers[0] == store.look_up(None, slots)[1]


@pytest.mark.parametrize("kind", SHARED_KINDS)
def test_no_mark_is_lost_among_many_writers(kind: str, make_store: Callable[..., Store]) -> None:
    store = make_store(kind)
    store.look_up(None, [name()])
    slots = [name(), *row_names(1)]

    def mark_and_settle() -> int:
        lost = 0
        for _ in range(60):
            who = writer()
            store.mark(slots, who, 60)
            for value in store.look_up(None, slots)[1]:
                assert value is not None
                lost += who not in value
            store.settle(slots, who, stamp())
        return lost

    assert sum(child.result() for child in [Child(mark_and_settle) for _ in range(4)]) == 0
    assert all(is_stamp(value) for value in store.look_up(None, slots)[1])
