"""Results that depend on rows, in many orders of readers and writers; and with single rules of theirs taken out."""

from __future__ import annotations

import itertools
import random

import pytest
from django.db import connection, transaction

from ormcache.cache.stamps import Stamps
from ormcache.database.row_plans import RowReader
from ormcache.read_path.admission import Dependence
from ormcache.read_path.row_results import RowResult
from ormcache.stores.base import STAMP_LENGTH, add_mark, is_stamp, remove_mark
from tests.examples import examples
from tests.integration import actors
from tests.integration.calls import leftovers, run
from tests.integration.protocol import explorer
from tests.integration.protocol.explorer import Enumeration, Explorer, MemoryStore
from tests.integration.reading import shown_on_sqlite
from tests.shop.models import Author, Book

SLOTS = frozenset({"before slot"})
SEEDS = range(examples(30))
#: More steps than any actor takes
MOST_STEPS = 80
#: What is in the store when a schedule begins
KEPT = ("everything", "slots", "nothing")


class SlotBySlot(MemoryStore):
    """Reads, fills, marks and settles one slot after the other, in an order that it is given."""

    kind = "slot by slot"
    reads_at_once = False
    #: returns the slots in the order in which they are written
    order = list

    def _look_up(self, entry, slots):
        value = None if entry is None else self.entries.get(entry)
        return value, [self._read(slot) for slot in slots]

    def _read(self, slot):
        actors.reach("before slot")
        return self._living(slot)

    def _fill_slots(self, slots, stamp):
        return [super(SlotBySlot, self)._fill_slots([slot], stamp)[0] for slot in self._each(slots)]

    def _mark(self, slots, writer, lease, watch):
        watched = None if watch is None else self._living(watch)
        for slot in self._each(self.order(slots)):
            now = self._now()
            self.slots[slot] = add_mark(self.slots.get(slot), writer, now, now + int(lease * 1e6))
        return watched

    def _settle(self, slots, writer, stamp, watch, last):
        for slot in self._each(self.order(slots)):
            self.slots[slot] = remove_mark(self.slots.get(slot), writer, self._now(), stamp)
        return None if watch is None else self._living(watch)

    def _each(self, slots):
        for slot in slots:
            actors.reach("before slot")
            yield slot


class FillsSlotBySlot(MemoryStore):
    """Reads at once, and fills one slot after the other."""

    def _fill_slots(self, slots, stamp):
        found = []
        for slot in slots:
            actors.reach("before slot")
            found += super()._fill_slots([slot], stamp)
        return found


# What is asked and written ----------------------------------------------------------------

QUESTIONS = {
    "primary key": lambda using: list(Author.objects.using(using).filter(pk=1).values_list("id", "name")),
    "unique column": lambda using: list(Author.objects.using(using).filter(email="a").values_list("id", "name")),
    "related": lambda using: sorted(Book.objects.using(using).filter(author=1).values_list("id", "copies")),
    "count": lambda using: Book.objects.using(using).filter(author=1).count(),
    "if": lambda using: sorted(Book.objects.using(using).filter(author=1, copies__gt=0).values_list("copies")),
    "joined": lambda using: [
        (book.copies, book.author.name) for book in Book.objects.using(using).filter(pk=1).select_related("author")
    ],
}
#: those that are promoted
PROMOTED = (
    "unique column",
    pytest.param("related", marks=pytest.mark.slow),
    pytest.param("joined", marks=pytest.mark.slow),
)

_numbers = itertools.count(1)  # what is written is new each time


def rename():
    Author.objects.filter(pk=1).update(name=f"name {next(_numbers)}")


def sell():
    Book.objects.filter(pk=1).update(copies=next(_numbers))


def sell_another():
    Book.objects.filter(pk=2).update(copies=next(_numbers))


def change_email():
    Author.objects.filter(pk=1).update(email=f"email {next(_numbers)}")


def take_email():
    Author.objects.filter(pk=1).update(email=None)
    Author.objects.filter(pk=2).update(email="a", name=f"name {next(_numbers)}")


def add_book():
    number = next(_numbers)
    Book.objects.bulk_create([Book(pk=100 + number, author_id=1, title="new", copies=number)])


def move_in():
    Book.objects.filter(pk=2).update(author=1, copies=next(_numbers))


def move_out():
    Book.objects.filter(pk=1).update(author=2)


def remove():
    run("DELETE FROM shop_book WHERE id = 1")


def write_unknown_rows():
    Author.objects.filter(active=True).update(name=f"name {next(_numbers)}")
    Book.objects.filter(in_print=True).update(copies=next(_numbers))


WRITES = [
    *(rename, sell, sell_another, change_email, take_email, add_book),
    *(move_in, move_out, remove, write_unknown_rows),
]


#: a write to a row of the answer
WRITE_OF = {"unique column": rename, "related": sell, "joined": rename}


def atomically(*writes, undone=False):
    """These writes in one transaction."""

    def write_all():
        with transaction.atomic():
            for write in writes:
                write()
            transaction.set_rollback(undone)

    write_all.__name__ = f"{' and '.join(write.__name__ for write in writes)}, {'undone' if undone else 'atomically'}"
    return write_all


def any_write(chosen):
    kind = chosen.random()
    if kind < 0.3:
        # In autocommit each statement is a write of its own.
        return chosen.choice([write for write in WRITES if write not in (take_email, write_unknown_rows)])
    return atomically(*chosen.sample(WRITES, chosen.choice([1, 1, 2])), undone=kind > 0.9)


# Schedules ------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _points(monkeypatch, configure):
    # What is judged by time would make one schedule another one when it is run again.
    configure(FLIGHT_WAIT=0, LOCAL_SIZE=0, ROWS="always", ADAPTIVE=False, IDENTITY_MAX_AGE=3600)
    # Nothing changes the schema here, so that results by row may be stored whatever marks the relation.
    monkeypatch.setattr(RowResult, "_knows_keys_of_writers", lambda self: True)
    with actors.points(monkeypatch):
        yield
    assert leftovers() == []


@pytest.fixture
def open_store(monkeypatch):
    """``open_store(MemoryStore)``: a new one, which is the one under test."""

    def open_one(kind):
        memory = kind()
        monkeypatch.setattr("ormcache.session.registry.open_store", lambda config, name: memory)
        return memory

    return open_one


@pytest.fixture
def explore(engine):
    """``explore(store, question)``: an explorer that stands still before each slot as well."""
    explorers = []

    def make(store, question):
        monitor = Explorer(engine, store, QUESTIONS[question], meet=True)
        monitor._steps = monitor._steps | SLOTS
        explorers.append(monitor)
        return monitor

    yield make
    for monitor in explorers:
        monitor.close()


def begin(store, explore, kept):
    """Two authors with a book each. ``kept`` in the store: "everything", "slots" without an answer, or "nothing"."""
    with transaction.atomic("plain"):
        for table in ("shop_book", "shop_author"):
            run(f"DELETE FROM {table}", using="plain")
        Author.objects.using("plain").bulk_create(
            [Author(pk=pk, name=name, email=name) for pk, name in enumerate("ab", 1)]
        )
        Book.objects.using("plain").bulk_create([Book(pk=pk, author_id=pk, title="T", copies=0) for pk in (1, 2)])
    explore.question("default")  # the process knows its database from now on
    slots = connection.ormcache.database.slots
    kept_slots = {slots.name(name) for name in ("*", "*schema")}  # or the catalog is read again
    for slot in [slot for slot in store.slots if slot not in kept_slots]:
        del store.slots[slot]
    store.entries.clear()
    if kept != "nothing":
        explore.question("default")
    if kept == "slots":
        store.entries.clear()


def reader(explore, times=1):
    def read():
        for _ in range(times):
            found = explore.question("default")
        return found

    return read


def random_run(store, explore, seed, *, writes=any_write, evict=True):
    """One schedule of two writers and two readers."""
    chosen = random.Random(seed)
    store.order = lambda slots: chosen.sample(list(slots), len(slots))
    begin(store, explore, chosen.choice(KEPT))
    work = [writes(chosen), writes(chosen), reader(explore), reader(explore, times=2)]
    order = explorer.any_order if chosen.random() < 0.5 else explorer.few_changes
    return explore.run(work, order(chosen), evict=chosen if evict else None, only_rows=chosen.random() < 0.7)


def in_pieces(reader_steps, writer_steps):
    """Some steps of the reader, some of the writer, the rest of the reader, the rest of the writer."""
    pieces = [["1", reader_steps], ["0", writer_steps], ["1", MOST_STEPS], ["0", MOST_STEPS]]

    def choose(able):
        numbers = [name.split()[0] for name in able]
        while not pieces[0][1] or pieces[0][0] not in numbers:
            pieces.pop(0)
        pieces[0][1] -= 1
        return numbers.index(pieces[0][0])

    return choose


def search(store, explore, write):
    """The first wrong schedule of a reader and a writer, one of which is left standing somewhere for the other."""
    orders = (list, lambda slots: list(reversed(slots))) if isinstance(store, SlotBySlot) else (list,)
    for store.order, kept, first in itertools.product(orders, ("slots", "nothing"), "01"):
        for steps in range(MOST_STEPS):
            begin(store, explore, kept)
            pieces = (0, steps) if first == "0" else (steps, MOST_STEPS)
            found = explore.run([write, reader(explore)], in_pieces(*pieces))
            if found.wrong is not None:
                return found
            if sum(step.startswith(first) for step in found.path) <= steps:
                break  # it has come to its end
    return None


# The rules as they are --------------------------------------------------------------------


@pytest.mark.parametrize("kind", [MemoryStore, SlotBySlot, FillsSlotBySlot])
@pytest.mark.parametrize("question", QUESTIONS)
def test_random_schedules_of_rows(explore, open_store, kind, question):
    store = open_store(kind)
    explorer_of_rows = explore(store, question)
    for seed in SEEDS:
        found = random_run(store, explorer_of_rows, seed)
        assert found.wrong is None, f"seed {seed}: {found}"


@shown_on_sqlite
@pytest.mark.slow
@pytest.mark.parametrize(
    "question, write",
    [
        ("primary key", rename),
        ("unique column", change_email),
        ("related", move_in),
        ("count", move_out),
    ],
)
@pytest.mark.parametrize("kept", KEPT)
def test_all_orders_of_a_reader_and_a_writer_of_rows(explore, open_store, question, write, kept):
    store = open_store(MemoryStore)
    one = explore(store, question)
    enumeration = Enumeration(10_000)
    for choose in enumeration:
        begin(store, one, kept)
        found = one.run([atomically(write), reader(one)], choose, judged=enumeration.repeated)
        assert found.wrong is None, str(found)
    assert 20 < enumeration.count < 10_000


@shown_on_sqlite
@pytest.mark.parametrize("kind", [MemoryStore, SlotBySlot, FillsSlotBySlot])
@pytest.mark.parametrize("question", PROMOTED)
def test_a_reader_or_a_writer_of_rows_left_standing_anywhere(explore, open_store, kind, question):
    """The schedules in which the faults below are found."""
    store = open_store(kind)

    assert search(store, explore(store, question), atomically(WRITE_OF[question])) is None


# Rules taken out --------------------------------------------------------------------------


@shown_on_sqlite
@pytest.mark.parametrize("question", PROMOTED)
def test_with_relations_read_before_the_rows_a_stale_read_is_found(explore, open_store, monkeypatch, question):
    """To promote, the slots of the relations are read in the round trip of the rows', where that is not one moment."""
    store = open_store(SlotBySlot)
    monkeypatch.setattr(SlotBySlot, "reads_at_once", True)

    assert search(store, explore(store, question), atomically(WRITE_OF[question])) is not None


@shown_on_sqlite
@pytest.mark.parametrize("question", PROMOTED)
def test_with_no_second_look_after_filling_a_stale_read_is_found(explore, open_store, monkeypatch, question):
    store = open_store(FillsSlotBySlot)
    begin_lookup = Stamps._begin
    monkeypatch.setattr(Stamps, "_begin", lambda *args: begin_lookup(*args)._replace(filled=False))

    assert search(store, explore(store, question), atomically(WRITE_OF[question])) is not None


@shown_on_sqlite
@pytest.mark.parametrize("question", PROMOTED)
def test_with_the_relations_of_after_the_query_a_stale_read_is_found(explore, open_store, monkeypatch, question):
    """The stamps of the relations need not be those of before the query."""
    store = open_store(MemoryStore)
    promoted = RowResult._promoted

    def late(self, rows, vector):
        now = self._database.strict_stamps.look_up(None, self._plan.slots).vector
        return now and promoted(self, rows, now)

    monkeypatch.setattr(RowResult, "_promoted", late)

    assert search(store, explore(store, question), atomically(WRITE_OF[question])) is not None


@shown_on_sqlite
@pytest.mark.parametrize("question", PROMOTED)
def test_with_marked_rows_left_out_a_stale_read_is_found(explore, open_store, monkeypatch, question):
    """A result is promoted while rows of it are marked, and does not depend on those."""
    store = open_store(SlotBySlot)

    def careless(self, rows, vector):
        plan, stamps = self._plan, self._database.strict_stamps
        slots = self._reader.known_after(self._params, rows)
        stamps.look_up(None, plan.slots, slots, plan.shared_slots)  # fills those that are empty
        held = stamps.store.look_up(None, slots)[1]
        if None in held:
            return None
        found = [(slot, value) for slot, value in zip(slots, held, strict=True) if is_stamp(value)]
        if stamps.look_up(None, plan.slots).vector != vector:
            return None
        shared = vector[: plan.shared_slots * STAMP_LENGTH]
        return Dependence(b"".join([shared, *(value for _, value in found)]), tuple(slot for slot, _ in found))

    monkeypatch.setattr(RowResult, "_promoted", careless)

    assert search(store, explore(store, question), atomically(WRITE_OF[question])) is not None


@shown_on_sqlite
@pytest.mark.parametrize("question", PROMOTED)
def test_with_rows_not_depended_on_a_stale_read_is_found(explore, open_store, monkeypatch, question):
    """A promoted result does not depend on the rows that it has."""
    store = open_store(MemoryStore)
    monkeypatch.setattr(RowReader, "_returned", lambda self, rows: frozenset())

    assert search(store, explore(store, question), atomically(WRITE_OF[question])) is not None
