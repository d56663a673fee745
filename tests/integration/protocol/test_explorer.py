"""The protocol as it is written, in a hundred random orders and in all orders of small cases.

And with single rules switched off, to show that a fault of that kind would be found.
"""

from __future__ import annotations

import random

import pytest
from django.db import connection, connections

from ormcache import reasons
from ormcache.cache.stamps import Stamps
from ormcache.read_path import eligibility, read
from ormcache.session.transaction import Transaction
from ormcache.stores.base import Store
from tests.examples import examples
from tests.integration import actors
from tests.integration.calls import leftovers
from tests.integration.protocol import explorer
from tests.integration.protocol.explorer import Enumeration, Explorer, MemoryStore
from tests.shop.models import Genre

SEEDS = range(examples(100))
#: Bounds a search that is expected to find something soon
MOST_SCHEDULES = 400


@pytest.fixture(autouse=True)
def _points(monkeypatch, configure):
    # Who waits for another reader stands nowhere, and decides nothing about what is served. What is judged by time
    # would make one schedule another one when it is run again.
    configure(FLIGHT_WAIT=0, ADAPTIVE=False, IDENTITY_MAX_AGE=3600)
    with actors.points(monkeypatch):
        yield
    assert leftovers() == []


@pytest.fixture
def store(monkeypatch, configure):
    """The protocol in the process's memory, so that a schedule costs no more than its queries."""
    memory = MemoryStore()
    monkeypatch.setattr("ormcache.session.registry.open_store", lambda config, kind: memory)
    configure(LOCAL_SIZE=0)
    return memory


@pytest.fixture
def explore(engine, store):
    explorer = Explorer(engine, store)
    yield explorer
    explorer.close()


def begin(store, *, warm):
    """The same beginning for every schedule: the result is in the store, or the slot of its relation is empty."""
    explorer.read()
    if not warm:
        del store.slots[connection.ormcache.database.slots.name("shop_genre")]


def search(explore, store, work, limit=MOST_SCHEDULES):
    """The first wrong schedule of all orders of ``work``, from an empty and a filled store; how many there were."""
    count = 0
    for warm in (False, True):
        enumeration = Enumeration(limit)
        for choose in enumeration:
            begin(store, warm=warm)
            run = explore.run(work, choose, judged=enumeration.repeated)
            if run.wrong is not None:
                return run, count
        count += enumeration.count
    return None, count


def schedule(seed):
    """Two writers and two readers, and their order."""
    chosen = random.Random(seed)
    work = [chosen.choice(explorer.WRITES), chosen.choice(explorer.WRITES), explorer.read, explorer.read_twice]
    order = explorer.any_order if chosen.random() < 0.5 else explorer.few_changes
    return work, order(chosen), chosen


# The rules as they are ---------------------------------------------------------------


@pytest.mark.parametrize("seeds", [SEEDS[at : at + 20] for at in range(0, len(SEEDS), 20)], ids=str)
def test_random_schedules(explore, store, seeds):
    for seed in seeds:
        work, choose, chosen = schedule(seed)
        begin(store, warm=chosen.random() < 0.5)
        run = explore.run(work, choose, evict=chosen)
        assert run.wrong is None, f"seed {seed}: {run}"
    assert explorer.read() == explore.visible()


@pytest.mark.parametrize(
    "write", [explorer.write, explorer.write_atomically, explorer.write_and_undo], ids=lambda write: write.__name__
)
def test_all_orders_of_a_reader_and_a_writer(explore, store, write):
    wrong, count = search(explore, store, [write, explorer.read], limit=5000)

    assert wrong is None, str(wrong)
    assert 20 < count < 5000


@pytest.mark.parametrize("local_size, share", [(0, "always"), (2**20, "always"), (2**20, "auto")])
def test_random_schedules_on_the_embedded_store(engine, configure, request, local_size, share):
    configure(LOCAL_SIZE=local_size, SHARE=share)
    explore = Explorer(engine, None)
    request.addfinalizer(explore.close)
    for seed in range(1000, 1010):
        work, choose, _ = schedule(seed)
        run = explore.run(work, choose)
        assert run.wrong is None, f"seed {seed}: {run}"
        assert explorer.read() == explorer.read() == explore.visible()


# Rules switched off ---------------------------------------------------------------------


def test_without_marks_a_stale_read_is_found(explore, store, monkeypatch):
    """Writers do not mark."""
    monkeypatch.setattr(MemoryStore, "_mark", lambda self, slots, writer, lease, watch: self._living(watch))

    wrong, _ = search(explore, store, [explorer.write_atomically, explorer.read])
    assert wrong is not None


def test_with_stamps_read_after_the_query_a_stale_read_is_found(explore, store, monkeypatch):
    """A result is stored under stamps that were read after its query ran."""
    asked = {}
    look_up, keep = Stamps.look_up, Stamps.store_entry

    def remembering(self, entry, slots, *rows):
        if entry is not None:
            asked[entry] = slots
        return look_up(self, entry, slots, *rows)

    def late(self, entry, vector, data, timeout, rows):
        return keep(self, entry, look_up(self, None, asked[entry]).vector or vector, data, timeout, rows)

    monkeypatch.setattr(Stamps, "look_up", remembering)
    monkeypatch.setattr(Stamps, "store_entry", late)

    wrong, _ = search(explore, store, [explorer.write_atomically, explorer.read])
    assert wrong is not None


def test_with_dirty_reads_kept_a_wrong_read_is_found(explore, store, monkeypatch):
    """A transaction stores what depends on its own writes. (SQLite's rule for snapshots would cover for it.)"""
    connection_reason = eligibility.connection_reason

    def blind(*args):
        reason = connection_reason(*args)
        return None if reason in (reasons.DIRTY, reasons.SNAPSHOT) else reason

    monkeypatch.setattr(eligibility, "connection_reason", blind)
    monkeypatch.setattr(read.ReadExecution, "_is_of_snapshot", lambda *args, **kwargs: True)

    wrong, _ = search(explore, store, [explorer.write_and_undo])
    assert wrong is not None


def test_without_merging_of_marks_a_stale_read_is_found(explore, store, monkeypatch):
    def mark(self, slots, writer, lease, watch):
        watched = self._living(watch)
        for slot in slots:
            self.slots.pop(slot, None)
        original(self, slots, writer, lease, None)
        return watched

    def settle(self, slots, writer, stamp, watch, last):
        self.slots.update(dict.fromkeys(slots, stamp))
        return None if watch is None else self._living(watch)

    original = MemoryStore._mark
    monkeypatch.setattr(MemoryStore, "_mark", mark)
    monkeypatch.setattr(MemoryStore, "_settle", settle)

    found = None
    for seed in range(MOST_SCHEDULES):
        begin(store, warm=True)
        work = [explorer.write_atomically, explorer.write_atomically, explorer.read]
        found = explore.run(work, explorer.few_changes(random.Random(seed), steps=16))
        if found.wrong is not None:
            break
    assert found is not None
    assert found.wrong is not None


def test_with_filling_by_overwriting_a_stale_read_is_found(explore, store, monkeypatch):
    """A reader overwrites what has come into a slot since it found it empty."""

    def fill(self, slots, stamp):
        if not self.frozen:
            self.slots.update(dict.fromkeys(slots, stamp))
        return [self._living(slot) for slot in slots]

    monkeypatch.setattr(MemoryStore, "_fill_slots", fill)

    wrong, _ = search(explore, store, [explorer.write_atomically, explorer.read])
    assert wrong is not None


def test_with_snapshots_kept_a_stale_read_is_found(wal, explore, store, monkeypatch):
    """A transaction that keeps to one snapshot must not keep what it reads late."""
    monkeypatch.setattr(eligibility, "connection_reason", lambda *args: None)
    monkeypatch.setattr(read.ReadExecution, "_is_of_snapshot", lambda *args, **kwargs: True)
    monkeypatch.setattr(Transaction, "has_open_cursors", False)

    def read_in_a_snapshot():
        with connections["default"].cursor() as cursor:
            if connection.vendor == "mysql":
                cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            cursor.execute(SNAPSHOT[connection.vendor])
            cursor.execute("SELECT 1 FROM shop_genre")
            cursor.fetchall()
            actors.reach("before look_up")
            Genre.objects.count()
            cursor.execute("COMMIT")

    wrong, _ = search(explore, store, [explorer.write_atomically, read_in_a_snapshot])
    assert wrong is not None


SNAPSHOT = {
    "sqlite": "BEGIN",
    "postgresql": "BEGIN ISOLATION LEVEL REPEATABLE READ",
    "mysql": "START TRANSACTION",
}


def test_the_memory_store_keeps_the_contract():
    """Nothing but the hooks is its own."""
    assert {name for name in vars(MemoryStore) if not name.startswith("_")} == {"kind", "evict"}
    assert issubclass(MemoryStore, Store)
