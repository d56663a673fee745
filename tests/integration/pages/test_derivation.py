"""What is derived is served while all that it was computed of is unchanged, and never mixes two states."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import connection, connections, models, transaction
from django.test import override_settings

import ormcache
from ormcache import reasons
from ormcache.cache import serializer, single_flight
from ormcache.cache.serializer import Unreadable
from ormcache.pages import grace
from ormcache.pages.derivation import Derivation
from ormcache.session.registry import registry
from ormcache.testing import override_cache
from tests.integration.actors import Actor, reach
from tests.integration.calls import add, add_atomically, genres, names
from tests.integration.pages.derived import Computed, cached_page, page, pages, use
from tests.integration.reading import ENGINE, execute, in_thread, model_of, not_on_sqlite, only_sqlite
from tests.shop.models import Author, Book, Genre
from tests.waiting import eventually

pytestmark = pytest.mark.usefixtures("interleaved")


@pytest.fixture(params=["embedded", "redis", "memcached", "django"])
def store(request, configure):
    """Stores that read several slots at one moment, and such that read them one by one."""
    kind = request.param
    if kind != "embedded":
        configure(STORE=kind, CACHE={"django": "file"}.get(kind, kind), STORE_TIMEOUT=10)
    connections.close_all()
    return kind


@pytest.fixture(params=[add, add_atomically], ids=["autocommit", "atomic"])
def write(request):
    return request.param


def stopping_page(name: str = "page") -> Computed:
    """A page whose computing stops between its two reads, and at its end."""

    def slowly() -> str:
        first = names()
        reach("between")
        second = genres()
        reach("at the end")
        return pages(first, second)

    return Computed(slowly, name)


# One reader, one writer --------------------------------------------------------------------------


def test_it_is_computed_once(store, queries):
    function = Computed(page)
    assert function() == function() == " | "
    assert function.times == 1
    with queries(0):
        function()


def test_a_write_to_any_of_its_tables_ends_it(store, write):
    function = Computed(page)
    function()
    write("A")
    assert function() == function() == "A | "
    in_thread(lambda: Genre.objects.create(name="G"))
    assert function() == function() == "A | G"
    assert function.times == 3


def test_processes_share_it(store, other_process):
    function = Computed(page)
    function()
    assert other_process("tests.integration.pages.derived.cached_page") == " | "
    other_process("tests.integration.calls.add", "A")
    assert function() == "A | "
    assert cached_page() == "A | "
    other_process("tests.integration.calls.add", "B")
    assert other_process("tests.integration.pages.derived.cached_page") == "A,B | "
    assert cached_page() == "A,B | "


@pytest.mark.parametrize("point", ["between", "at the end"])
def test_a_write_while_it_is_computed(point, write, store):
    """It may mix two states, or be one that has gone."""
    function = stopping_page()
    reader = Actor(function).to(point)
    write("A")
    reader.finish()

    assert function.rejected == reasons.WRITTEN_MEANWHILE
    assert function() == "A | "


@pytest.mark.parametrize("point", ["before look_up", "after look_up", "before put", "after put"])
def test_a_write_around_its_validation(point, write, store):
    """Before the slots are looked up it is rejected; after that it is stored, and dead at once."""
    function = stopping_page()
    reader = Actor(function).to("at the end").to(point)
    write("A")
    reader.finish()

    assert function.rejected == (reasons.WRITTEN_MEANWHILE if point == "before look_up" else None)
    assert function() == "A | "


@pytest.mark.parametrize("point", ["after mark", "before commit", "after commit", "before settle"])
def test_it_is_computed_while_a_writer_commits(point):
    if ENGINE == "sqlite" and point in ("after mark", "before commit"):
        pytest.skip("the writer's lock holds up all readers")
    function = Computed(page)
    function()
    writer = Actor(lambda: add_atomically("A")).to(point)
    function()
    assert function.rejected in (reasons.MARKED, reasons.WRITTEN_MEANWHILE)
    writer.finish()

    assert function() == "A | "


@pytest.mark.parametrize("point", ["between", "at the end"])
def test_a_write_that_is_marked_before_it_ends_and_committed_after(point):
    function = stopping_page()
    reader = Actor(function).to(point)
    writer = Actor(lambda: add_atomically("A")).to("after mark")
    if ENGINE == "sqlite" and point == "between":
        writer.finish()  # its lock would hold up the reader's second query
    reader.finish()
    assert function.rejected in (reasons.MARKED, reasons.WRITTEN_MEANWHILE)
    writer.finish()

    assert function() == "A | "


def test_a_write_that_is_undone_ends_nothing():
    function = stopping_page()
    reader = Actor(function).to("between")

    def undone() -> None:
        with transaction.atomic():
            Author.objects.create(name="A")
            transaction.set_rollback(True)

    in_thread(undone)
    reader.finish()
    assert function.rejected is None
    function()
    assert function.times == 1


def test_a_write_between_two_reads_of_one_table():
    """The two have seen different states: the stamps of one slot differ."""

    def twice() -> str:
        first = names()
        reach("between")
        return pages(first, [str(pk) for pk in Author.objects.values_list("pk", flat=True)])

    function = Computed(twice)
    reader = Actor(function).to("between")
    add("A")
    reader.finish()

    assert function.rejected == reasons.WRITTEN_MEANWHILE


def test_a_slot_that_is_lost_while_it_is_computed():
    function = stopping_page()
    names()
    reader = Actor(function).to("between")
    database = connection.ormcache.known()
    database.stamps.store.clear_slots([database.slots.name(_relation(Author))])
    reader.finish()

    assert function.rejected == reasons.WRITTEN_MEANWHILE
    function()
    assert function.rejected is None


def _relation(model):
    database = connection.ormcache.known()
    return next(iter(database.catalog_cache.find(model._meta.db_table)))


def test_a_slot_that_is_lost_ends_what_is_stored():
    function = Computed(page)
    function()
    database = connection.ormcache.known()
    database.stamps.store.clear_slots([database.slots.name(_relation(Author))])
    function()
    assert function.times == 2


@only_sqlite
def test_a_schema_that_changes_while_it_is_computed(ddl):
    ddl("CREATE TABLE extra (id integer PRIMARY KEY, text text)", "DROP TABLE extra")
    extra = model_of("extra", text=models.TextField())

    def slowly() -> str:
        first = names()
        reach("between")
        return pages(first, list(extra.objects.values_list("text", flat=True)))

    function = Computed(slowly)
    reader = Actor(function).to("between")
    execute("ALTER TABLE extra ADD COLUMN number integer")
    reader.finish()

    assert function.rejected == reasons.WRITTEN_MEANWHILE
    function()
    assert function.rejected is None
    in_thread(lambda: execute("INSERT INTO extra (text) VALUES ('x')"))
    assert function() == " | x"


def test_by_row_it_outlives_writes_to_other_rows(configure):
    configure(ROWS="always", ADAPTIVE=False)
    connections.close_all()
    one, other = Author.objects.create(name="A"), Author.objects.create(name="B")
    function = Computed(lambda: Author.objects.get(pk=one.pk).name)
    function()
    Author.objects.filter(pk=other.pk).update(name="C")
    assert function() == "A"
    assert function.times == 1
    Author.objects.filter(pk=one.pk).update(name="D")
    assert function() == "D"


@pytest.mark.parametrize("point", ["before query", "after query", "after look_up", "at the end"])
def test_a_write_to_its_row_while_it_is_promoted(configure, point):
    configure(ROWS="always", ADAPTIVE=False)
    connections.close_all()
    book = Book.objects.create(title="T", author=Author.objects.create(name="A"))

    def read() -> list[str]:
        found = list(Book.objects.filter(author=book.author_id).values_list("title", flat=True))
        reach("at the end")
        return found

    function = Computed(read)
    reader = Actor(function).to(point)
    Book.objects.filter(pk=book.pk).update(title="U")
    reader.finish()

    assert function() == ["U"]


# Sessions, transactions and databases ---------------------------------------------------------------


def test_two_databases():
    def both() -> str:
        first = names()
        reach("between")
        return pages(first, names("second"))

    function = Computed(both)
    assert function() == " | "
    assert function.rejected is None
    add("A", "second")
    assert function() == " | A"
    add("B")
    assert function() == function() == "B | A"
    assert function.times == 3


def test_a_write_to_the_other_database_while_it_is_computed():
    def both() -> str:
        first = names()
        reach("between")
        second = names("second")
        reach("at the end")
        return pages(first, second)

    function = Computed(both)
    reader = Actor(function).to("at the end")
    add("A", "second")
    reader.finish()
    assert function.rejected == reasons.WRITTEN_MEANWHILE
    assert function() == " | A"


def test_databases_of_two_stores(configure, tmp_path):
    settings.DATABASES["second"]["ORMCACHE"]["LOCATION"] = str(tmp_path)
    configure()
    connections.close_all()
    function = Computed(lambda: pages(names(), names("second")))
    function()
    assert function.rejected == reasons.SEVERAL_STORES


def test_a_transaction_that_has_written_neither_looks_up_nor_stores():
    function = Computed(page)
    function()
    with transaction.atomic():
        Author.objects.create(name="A")
        assert function() == "A | "
        transaction.set_rollback(True)
    assert function() == " | "


@only_sqlite
def test_a_transaction_that_sees_an_older_state_is_served_nothing_newer(wal):
    function = Computed(page)
    with transaction.atomic():
        names()
        in_thread(lambda: (add("A"), Computed(page)()))
        assert function() == " | "
    assert function() == "A | "


@only_sqlite
def test_nor_is_one_on_another_database_that_it_reads(wal):
    both = lambda: pages(names("second"), names())  # noqa: E731  # twice the same function
    function = Computed(both)
    with connections["second"].cursor() as cursor:
        cursor.execute("PRAGMA journal_mode = WAL")
    with transaction.atomic("second"):
        names("second")
        in_thread(lambda: (add("A", "second"), Computed(both)()))
        assert function() == " | "
    assert function() == "A | "
    connections["second"].close()
    execute("PRAGMA journal_mode = DELETE", using="second")


def test_a_transaction_of_another_database_is_none_of_its():
    function = Computed(page)
    function()
    with transaction.atomic("second"):
        Author.objects.using("second").create(name="A")
        assert function() == " | "
        assert function.times == 1


def test_what_reads_a_database_is_not_served_in_a_transaction_that_has_written_it():
    """Also if that is not the database whose store has it."""
    function = Computed(lambda: pages(names(), names("second")))
    function()
    with transaction.atomic("second"):
        Author.objects.using("second").create(name="A")
        assert function() == " | A"
        transaction.set_rollback(True, using="second")
    assert function() == " | "


def test_it_may_begin_and_end_transactions_itself():
    def read() -> str:
        with transaction.atomic():
            first = names()
            with transaction.atomic():
                second = genres()
        return pages(first, second)

    function = Computed(read)
    function()
    in_thread(lambda: add("A"))
    assert function() == function() == "A | "
    assert function.times == 2


def test_hooks_that_run_at_its_commit_belong_to_it():
    def read() -> list[str]:
        found: list[str] = []
        with transaction.atomic():
            names()
            transaction.on_commit(lambda: found.extend(genres()))
        return found

    function = Computed(read)
    function()
    Genre.objects.create(name="G")
    assert function() == ["G"]


@not_on_sqlite
def test_a_session_of_its_own():
    """A setting that could decide what rows say."""
    sql = "SET TIME ZONE 'Asia/Tokyo'" if connection.vendor == "postgresql" else "SET time_zone = '+09:00'"
    function = Computed(page)
    function()
    execute(sql)
    function()
    assert function.times == 2
    connections.close_all()
    function()
    assert function.times == 2


def test_the_session_of_another_database_it_reads():
    """Two sessions of the other one take turns under one name: each is served its own, or computes it."""
    function = Computed(lambda: pages(names(), names("second")))
    function()
    zone = connections["second"].settings_dict
    before = zone["TIME_ZONE"]
    connections["second"].close()
    try:
        zone["TIME_ZONE"] = "Asia/Tokyo"
        connections["second"].__dict__.pop("timezone", None)
        connections["second"].__dict__.pop("timezone_name", None)
        function()
        assert function.rejected is None
    finally:
        zone["TIME_ZONE"] = before
        connections["second"].__dict__.pop("timezone", None)
        connections["second"].__dict__.pop("timezone_name", None)
        connections["second"].close()


def test_disabled():
    function = Computed(page)
    function()
    with ormcache.disabled():
        function()
    assert function.times == 2
    assert function.rejected == reasons.DISABLED


def test_in_shadow_mode_it_is_computed_of_what_the_database_answers(monkeypatch):
    function = Computed(page)
    page()
    with override_cache("shadow"):
        assert function() == " | "
    add("A")
    assert function() == "A | "


# Parts within parts -----------------------------------------------------------------------------------


def nested() -> tuple[Computed, Computed, Computed]:
    authors = Computed(lambda: ",".join(names()), "authors")
    all_genres = Computed(lambda: ",".join(genres()), "genres")
    return Computed(lambda: f"{authors()} | {all_genres()}", "whole"), authors, all_genres


def test_a_write_ends_the_parts_that_read_it_and_all_around_them(store):
    whole, authors, all_genres = nested()
    assert whole() == " | "
    add("A")
    assert whole() == whole() == "A | "
    assert (whole.times, authors.times, all_genres.times) == (2, 2, 1)
    in_thread(lambda: Genre.objects.create(name="G"))
    assert whole() == whole() == "A | G"
    assert (whole.times, authors.times, all_genres.times) == (3, 2, 2)


def test_a_part_that_was_stored_before_passes_on_what_it_depends_on(store):
    whole, authors, _ = nested()
    authors()
    connections.close_all()
    whole()
    add("A")
    assert whole() == "A | "


def test_a_write_after_a_part_was_served():
    whole, authors, _ = nested()
    authors()
    reader = Actor(whole).to("before put")
    add("A")
    reader.finish()
    assert whole() == "A | "


def test_a_part_expires_and_so_does_what_it_is_part_of(configure):
    inner = Computed(lambda: ",".join(names()), "inner", timeout=0.2)
    outer = Computed(inner, "outer")
    outer()
    began = time.monotonic()
    eventually(lambda: (outer(), outer.times > 1)[1])
    assert time.monotonic() - began < 30


def test_results_that_expire_are_part_of_it(configure):
    """A result of before may be served for what is left of its time, and so may what is computed of it."""
    configure(TIMEOUT=1000)
    connections.close_all()
    names()
    database = connection.ormcache.known()
    for entry in list(database.local._entries.values()):
        assert entry.expires is not None
    now = time.time()
    function = Computed(page)
    function()
    assert function.found is not None
    assert function.found.tracker.expires is not None
    assert function.found.tracker.expires <= now + 1000


def test_what_has_expired_before_its_end_is_not_stored():
    function = Computed(page, timeout=1e-9)
    function()
    assert function.rejected == reasons.EXPIRED_MEANWHILE


# Values ------------------------------------------------------------------------------------------------


def test_what_is_read_as_the_value_is_made_storable_belongs_to_it():
    """A query set is no value; what makes one of it evaluates it, after the function has returned."""
    function = Computed(lambda: Author.objects.order_by("name").values_list("name", flat=True))
    assert function.compute(dump=list).count() == 0
    add("A")
    assert list(function.compute(dump=list)) == ["A"]
    assert list(function.compute(dump=list)) == ["A"]
    assert function.times == 2


def test_a_write_while_the_value_is_made_storable():
    function = Computed(names)

    def dump(found: list[str]) -> list[str]:
        in_thread(lambda: add("A"))
        return found

    function.compute(dump=dump)
    assert function.compute() == ["A"]


def test_what_cannot_be_stored_is_returned():
    function = Computed(object)
    assert type(function()) is object
    assert function.rejected == reasons.UNSERIALIZABLE


def test_nobody_changes_what_is_stored(configure):
    function = Computed(lambda: {"names": names()})
    function()["names"].append("changed")
    assert function() == {"names": []}
    function()["names"].append("changed")
    assert function() == {"names": []}
    assert function.times == 1


def test_the_tag_follows_the_content():
    """Under the same stamps it may have been computed anew, and say something else."""
    values = iter(["a", "b", "b"])
    function = Computed(lambda: (names(), next(values))[1])
    function()
    tags = [function.found.tag]
    for _ in range(2):
        _forget(function)
        function()
        tags.append(function.found.tag)
    function()
    tags.append(function.found.tag)
    assert tags[0] != tags[1]
    assert tags[1] == tags[2] == tags[3]


def _forget(function):
    database = connection.ormcache.known()
    database.local.drop(function.found.entry)
    database.stamps.remove_entry(function.found.entry)


@pytest.mark.parametrize("options", [{"COMPRESS": 1}, {"SIGN": True}, {"LOCAL_SIZE": 0}, {"COMPRESS": 1, "SIGN": True}])
def test_settings_of_what_is_stored(configure, options, other_process):
    configure(**options)
    connections.close_all()
    function = Computed(lambda: "x" * 1000 + page())
    first = function()
    _drop_locally(function)
    assert function() == first
    assert function.times == 1
    add("A")
    assert function().endswith("A | ")


def _drop_locally(function):
    connection.ormcache.known().local.drop(function.found.entry)


def _forgeries(entry: bytes, vector: bytes, rows: tuple[bytes, ...]) -> list[bytes]:
    whole = serializer.encode(({"default": b"x"}, "forged"))
    return [
        whole,
        serializer.encode(None),
        serializer.encode([]),
        serializer.encode(("a", "forged")),
        serializer.encode(({}, "forged")),
        serializer.encode(({1: 2, "plain": b"", "none": b"", "second": b"x", "default": b"y"}, "forged")),
        serializer.encode(({"default": b"x"}, "forged", 1)),
        serializer.encode([({"default": b"x"}, "forged")]),
        whole[:-1],
        whole + b"\0",
        b"",
        b"z\0\0\0\1",
    ]


@pytest.mark.parametrize("number", range(12))
def test_forged_bytes_are_never_served(number, configure):
    configure(LOCAL_SIZE=0)
    connections.close_all()
    function = Computed(page)
    function()
    found = function.found
    database = connection.ormcache.known()
    slots = tuple(slot for held in found.tracker.stores.values() for slot in held)
    forged = _forgeries(found.entry, found.vector, slots[1:])[number]
    database.stamps.store_entry(found.entry, found.vector, forged, None, slots[1:])
    assert function() == " | "
    assert function.times == 2
    assert function() == " | "
    assert function.times == 2


@pytest.mark.parametrize(
    "damage", [lambda value: value[:-1], lambda value: b"", lambda value: value + b"x", bytes.swapcase]
)
def test_damaged_entries(damage, configure):
    configure(LOCAL_SIZE=0)
    connections.close_all()
    function = Computed(lambda: "text " + page())
    function()
    store, entry = connection.ormcache.known().stamps.store, function.found.entry
    value, _ = store.look_up(entry, ())
    store.put_entry(entry, damage(value), None)
    assert function() == "text  | "
    assert function.times == 2
    function()
    assert function.times == 2


def test_what_is_signed_for_another_name_is_not_served(configure):
    configure(SIGN=True, LOCAL_SIZE=0)
    connections.close_all()
    one, other = Computed(page, "one"), Computed(lambda: "other" + page(), "other")
    one(), other()
    store = connection.ormcache.known().stamps.store
    store.put_entry(one.found.entry, store.look_up(other.found.entry, ())[0], None)
    assert one() == " | "


def test_what_load_cannot_read_is_computed_anew():
    def load(payload):
        raise Unreadable("of another version")

    function = Computed(page)
    function.compute()
    assert function.compute(load=load) == " | "
    assert function.times == 2


# The store is away ------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", ["before look_up", "after look_up", "between", "at the end", "before put"])
def test_the_store_goes_away(start_server, configure, point):
    server = start_server("redis")
    own = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": server.url}
    with override_settings(CACHES=settings.CACHES | {"own": own}):
        configure(STORE="redis", CACHE="own", STORE_TIMEOUT=0.25)
        connections.close_all()
        names(), genres()
        function = stopping_page()
        reader = Actor(function)
        if point == "before put":
            reader.to("at the end")
        reader.to(point)
        server.pause()
        try:
            assert reader.finish() == " | "
            if point != "after look_up":
                assert function.rejected == reasons.STORE_UNAVAILABLE
        finally:
            server.resume()
        connections.close_all()


# Flights and grace -------------------------------------------------------------------------------------


@pytest.fixture
def slow(monkeypatch):
    """Whatever is computed is worth waiting for."""
    monkeypatch.setattr(single_flight, "TRIVIAL", 0.0)
    monkeypatch.setattr(single_flight, "QUICK", 0.0)


def in_threads(number: int, call: Callable[[], object]) -> list[object]:
    results: list[object] = []
    threads = [threading.Thread(target=lambda: results.append(_closing(call))) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def _closing(call):
    try:
        return call()
    finally:
        connections.close_all()


def test_one_of_many_callers_computes(slow, configure):
    configure(FLIGHT_WAIT=30)
    connections.close_all()
    names(), genres()
    function = stopping_page()
    leader = Actor(function.compute).to("between")
    others: list[object] = []
    follower = threading.Thread(target=lambda: others.extend(in_threads(4, function.compute)))
    follower.start()
    flights = connection.ormcache.known().flights
    eventually(lambda: any(flight.followers == 4 for flight in flights._flights.values()))
    leader.finish()
    follower.join()
    assert others == [" | "] * 4
    assert function.times == 1


def test_followers_are_not_served_what_was_written_meanwhile(slow, configure):
    configure(FLIGHT_WAIT=30)
    connections.close_all()
    names(), genres()
    function = stopping_page()
    leader = Actor(function.compute).to("between")
    others: list[object] = []
    follower = threading.Thread(target=lambda: others.extend(in_threads(2, function.compute)))
    follower.start()
    flights = connection.ormcache.known().flights
    eventually(lambda: any(flight.followers == 2 for flight in flights._flights.values()))
    add("A")
    leader.finish()
    follower.join()
    assert others == ["A | "] * 2


def test_the_leader_fails_and_followers_compute(slow, configure):
    configure(FLIGHT_WAIT=30)
    connections.close_all()
    names(), genres()
    is_first = iter([True])

    def fails_once() -> str:
        if next(is_first, False):
            reach("between")
            raise ZeroDivisionError
        return page()

    function = Computed(fails_once)
    leader = Actor(function.compute).to("between")
    others: list[object] = []
    follower = threading.Thread(target=lambda: others.extend(in_threads(2, function.compute)))
    follower.start()
    flights = connection.ormcache.known().flights
    eventually(lambda: any(flight.followers == 2 for flight in flights._flights.values()))
    with pytest.raises(ZeroDivisionError):
        leader.finish()
    follower.join()
    assert others == [" | "] * 2


def test_another_process_that_leads_is_killed(slow, configure, other_process):
    """Its claim ends with its lease."""
    configure(FLIGHT_WAIT=30)
    connections.close_all()
    process = other_process.start("tests.integration.pages.derived.page_with_stop", stops=["read once"])
    process.wait_for("read once")
    process.kill()
    function = Computed(page)
    assert function.compute() == " | "


def test_tasks_of_one_loop_wait_for_each_other(slow):
    function = Computed(lambda: None)

    async def read():
        return pages(await sync_to_async(names)(), await sync_to_async(genres)())

    async def many():
        return await asyncio.gather(*(function.acompute(read) for _ in range(5)))

    assert asyncio.run(many()) == [" | "] * 5
    assert function.times == 1
    add("A")
    assert asyncio.run(many()) == ["A | "] * 5
    assert function.times == 2


def test_tasks_do_not_wait_in_turns_for_what_cannot_be_stored(slow):
    computing_now, most = [], []

    async def read():
        computing_now.append(1)
        most.append(len(computing_now))
        await asyncio.sleep(0.05)
        computing_now.pop()
        return object()

    function = Computed(lambda: None)

    async def many():
        return await asyncio.gather(*(function.acompute(read) for _ in range(4)))

    asyncio.run(many())
    assert function.times == 4
    assert max(most) == 3


def test_outdated_content_is_served_while_one_caller_computes():
    function = stopping_page()
    function._use = use("page", grace=60)
    assert function.compute() == " | "
    add("A")
    leader = Actor(function.compute).to("between")
    assert function.compute() == " | "
    assert leader.finish() == "A | "
    assert function.compute() == "A | "


def test_it_is_part_of_nothing_that_is_stored():
    function = stopping_page()
    function._use = use("page", grace=60)
    function.compute()
    add("A")
    leader = Actor(function.compute).to("between")
    outer = Computed(function.compute, "outer")
    assert outer() == " | "
    assert outer.rejected == reasons.WRITTEN_MEANWHILE
    leader.finish()
    assert outer() == "A | "


def test_it_is_counted_from_when_it_was_last_known_to_be_current(monkeypatch):
    """Not from the last write: many may have come since the first one."""
    function = stopping_page()
    function._use = use("page", grace=60)
    function.compute()
    add("A")
    clock = time.monotonic() + 61
    add("B")
    monkeypatch.setattr(grace.time, "monotonic", lambda: clock)
    leader = Actor(function.compute).to("between")
    assert function.compute() == "A,B | "
    leader.finish()


def test_a_process_that_has_never_seen_it_current_serves_nothing_outdated():
    function = stopping_page()
    function._use = use("page", grace=60)
    function.compute()
    add("A")
    grace._last_current.pop(function_entry(function), None)
    leader = Actor(function.compute).to("between")
    assert function.compute() == "A | "
    leader.finish()


def function_entry(function):
    derivation = Derivation(function._use)
    derivation.look_up()
    return derivation.entry


def test_without_grace_nothing_outdated_is_served():
    function = stopping_page()
    function.compute()
    add("A")
    leader = Actor(function.compute).to("between")
    assert function.compute() == "A | "
    leader.finish()


# What a use needs ---------------------------------------------------------------------------------------


def test_a_database_that_cannot_be_reached_breaks_nothing(monkeypatch):
    """What is computed may not need it."""
    connections.close_all()
    registry.forget()

    def unreachable(*args, **kwargs):
        raise connection.Database.OperationalError("away")

    for error in (unreachable, _raise(RuntimeError), _raise(AssertionError)):
        with monkeypatch.context() as patch:
            patch.setattr(connection, "get_new_connection", error)
            function = Computed(lambda: "no query")
            assert function() == "no query"
            assert function.rejected is not None


def _raise(kind):
    def fail(*args, **kwargs):
        raise kind("forbidden")

    return fail


def test_an_alias_that_nobody_can_use_breaks_nothing(monkeypatch):
    monkeypatch.setitem(connections.settings, "broken", {**connections.settings["plain"], "ENGINE": "no.such.engine"})
    function = Computed(page)
    function()
    assert function.rejected is None


def test_names_differ_by_kind_label_and_key():
    entries = set()
    for changed in ({}, {"kind": "page"}, {"label": "other"}, {"key": b"other"}):
        derivation = Derivation(use()._replace(**changed))
        derivation.look_up()
        entries.add(derivation.entry)
    assert len(entries) == 4
