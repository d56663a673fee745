"""A signal's handler, or a destructor, that uses the ORM while this very thread is in the middle of the cache.

It can run between any two instructions. So here it runs wherever a lock of the package has just been taken, found
by looking, and in the middle of what the embedded store does.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.db.backends.signals import connection_created

import ormcache
from ormcache import reasons
from ormcache.exceptions import WriteRefused
from ormcache.stores.embedded import store as embedded
from ormcache.stores.embedded.files import StoreFiles
from ormcache.write_path import connecting
from tests.shop.models import Author, Genre
from tests.waiting import eventually

PATIENCE = 30  # seconds
RLOCK, LOCK = type(threading.RLock()), type(threading.Lock())

STORES: dict[str, dict[str, Any]] = {
    "embedded": {},
    "embedded, request": {"CONSISTENCY": "request"},
    "redis": {"STORE": "redis", "CACHE": "redis"},
    "near": {"STORE": "redis", "CACHE": "redis", "CONSISTENCY": "near", "NEAR_MAX_LAG": 60},
    "memcached": {"STORE": "memcached", "CACHE": "memcached"},
    "django": {"STORE": "django", "CACHE": "file"},
}


@pytest.fixture(params=STORES)
def store(request, configure):
    configure(**STORES[request.param])
    connection.close()
    return request.param


class Interrupted:
    """A lock after whose taking a handler runs."""

    def __init__(self, lock: Any, handle: Callable[[], None]) -> None:
        self._lock = lock
        self._handle = handle

    def acquire(self, *args: Any, **kwargs: Any) -> bool:
        taken = self._lock.acquire(*args, **kwargs)
        if taken:
            self._handle()
        return bool(taken)

    def release(self) -> None:
        self._lock.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self.release()


class Handler:
    """Reads what is cached, reads what is not, and writes, in the thread that it interrupts; never in itself."""

    def __init__(self) -> None:
        self.ran = 0
        self.thread = 0
        self.problems: list[str] = []
        self._inside = False

    def __call__(self) -> None:
        if self._inside or threading.get_ident() != self.thread:
            return
        if not connection.autocommit and not connection.in_atomic_block:
            return  # Django is about to begin or end a transaction, and would find one
        self._inside = True
        try:
            self.ran += 1
            before = list(Genre.objects.values_list("name", flat=True))
            Genre.objects.update(name=f"genre {self.ran}")
            after = list(Genre.objects.values_list("name", flat=True))
            if before != [f"genre {self.ran - 1}"] or after != [f"genre {self.ran}"]:
                self.problems.append(f"{before} {after} of {self.ran}")
            list(Author.objects.filter(pk__gt=self.ran))
        finally:
            self._inside = False


def places() -> Iterator[tuple[Any, str, Any]]:
    """Owner, attribute and lock of every lock that something of the package holds at the moment."""
    modules = [module for name, module in sys.modules.items() if name.startswith("ormcache")]
    owners = [*modules, *(one for module in modules for one in vars(module).values() if isinstance(one, type))]
    gc.unfreeze()  # or get_objects() leaves out what was there before this module
    owners += [one for one in gc.get_objects() if str(type(one).__module__).startswith("ormcache")]
    seen = set()
    for owner in owners:
        if id(owner) in seen:
            continue
        seen.add(id(owner))
        for name, value in list(getattr(owner, "__dict__", {}).items()):
            if type(value) in (RLOCK, LOCK):  # not isinstance(), which asks what a weak proxy stands for
                yield owner, name, value


def use() -> None:
    """Everything once: a miss, hits, writes in both ways, a connection."""
    author = Author.objects.get(email="a@example.org")
    for number in range(3):
        assert Author.objects.get(pk=author.pk).name == author.name
        author.name = f"name {number}"
        author.save()
        with transaction.atomic():
            Author.objects.filter(pk=author.pk).update(name=f"again {number}")
        for _ in range(3):
            assert list(Author.objects.values_list("name", flat=True)) == [f"again {number}"]
        author.refresh_from_db()
    ormcache.invalidate(Author)
    ormcache.stats()
    connection.close()
    assert list(Author.objects.values_list("name", flat=True)) == [author.name]


def run(call: Callable[[], None], handler: Handler) -> None:
    """In a thread of its own, so that one that hangs is a failure."""
    raised: list[BaseException] = []

    def work() -> None:
        handler.thread = threading.get_ident()
        try:
            call()
        except BaseException as error:
            raised.append(error)
        finally:
            connections.close_all()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive(), "it waits for itself"
    for error in raised:
        raise error


def begin() -> None:
    Author.objects.create(name="a", email="a@example.org")
    Genre.objects.create(name="genre 0")
    list(Genre.objects.values_list("name", flat=True))


def test_wherever_a_lock_is_held(store, monkeypatch):
    begin()
    use()
    handler = Handler()
    found = list(places())
    for owner, name, lock in found:
        monkeypatch.setattr(owner, name, Interrupted(lock, handler))

    run(use, handler)

    assert {f"{type(owner).__name__}.{name}" for owner, name, _ in found} >= {"LocalCache._lock", "Counters._lock"}
    assert handler.ran > 20
    assert handler.problems == []
    local = connection.ormcache.known().local
    assert local.weight == sum(kept.weight for kept in local._entries.values())


def test_no_lock_is_one_that_its_holder_would_wait_for():
    begin()
    use()

    own = [place for place in places() if place[1] != "_thread_sharing_lock"]  # that one is Django's
    assert [f"{owner}.{name}" for owner, name, lock in own if isinstance(lock, LOCK)] == []


def interrupt_changes(monkeypatch: pytest.MonkeyPatch, handler: Callable[[], None]) -> None:
    """Have the handler run before each slot is marked or settled, in the transaction that does so."""
    places_of = StoreFiles.places_of

    def interrupted(*args: Any) -> Iterator[Any]:
        for place in places_of(*args):
            handler()
            yield place

    monkeypatch.setattr(StoreFiles, "places_of", interrupted)


def interrupt_lookups(monkeypatch: pytest.MonkeyPatch, handler: Callable[[], None]) -> None:
    """Have the handler run before each slot is read, in the transaction that does so."""
    look_up = embedded._look_up

    class Slots(tuple[bytes, ...]):
        __slots__ = ()

        def __iter__(self) -> Iterator[bytes]:
            for slot in super().__iter__():
                handler()
                yield slot

    monkeypatch.setattr(embedded, "_look_up", lambda files, entry, slots: look_up(files, entry, Slots(slots)))


@pytest.mark.parametrize("interrupt", [interrupt_changes, interrupt_lookups])
def test_in_the_middle_of_the_embedded_store(monkeypatch, interrupt):
    """It may hold LMDB's lock: who would wait for it does without the store, and no write is forgotten."""
    begin()
    use()
    handler = Handler()
    interrupt(monkeypatch, handler)
    run(use, handler)
    monkeypatch.undo()

    assert handler.ran > 1
    assert handler.problems == []
    database = connection.ormcache.known()
    assert database.stamps.store.is_answering
    assert database.stamps.store.outages == []
    eventually(lambda: not database.pending.relations)
    assert list(Genre.objects.values_list("name", flat=True)) == [f"genre {handler.ran}"]
    assert database.stamps.store._files.users == set()


def test_what_interrupts_the_embedded_store_reads_the_database(monkeypatch, queries):
    begin()
    reads: list[int] = []

    def read() -> None:
        if not reads:
            reads.append(0)
            with queries() as seen:
                list(Genre.objects.values_list("name", flat=True))
            reads[0] = len(seen)

    interrupt_changes(monkeypatch, read)
    run_stats = ormcache.stats()["default"]["bypassed"].get(reasons.STORE_UNAVAILABLE, 0)
    Author.objects.update(name="b")

    assert reads == [1]
    assert ormcache.stats()["default"]["bypassed"][reasons.STORE_UNAVAILABLE] == run_stats + 1


def test_a_write_that_interrupts_the_embedded_store_is_refused_where_the_settings_say_so(monkeypatch, configure):
    configure(ON_OUTAGE="refuse")
    connection.close()
    begin()
    refused: list[BaseException] = []

    def write() -> None:
        if not refused:
            try:
                Genre.objects.update(name="b")
            except WriteRefused as error:
                refused.append(error)

    interrupt_changes(monkeypatch, write)
    Author.objects.update(name="b")

    assert len(refused) == 1
    assert list(Genre.objects.values_list("name", flat=True)) == ["genre 0"]


def test_a_receiver_that_writes_while_the_connection_is_made(queries):
    """Whatever way the statement goes, and with no more told to the store than it may have written."""
    begin()
    list(Author.objects.values_list("name", flat=True))

    def write(connection: Any, **kwargs: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("UPDATE shop_genre SET name = 'received'")

    connection.close()
    connection_created.connect(write)
    try:
        connection.ensure_connection()
    finally:
        connection_created.disconnect(write)
    assert list(Genre.objects.values_list("name", flat=True)) == ["received"]
    with queries() as seen:
        list(Author.objects.values_list("name", flat=True))
    assert len(seen) == 0


@pytest.mark.parametrize("way", ["block", "undone", "many", "script"])
def test_other_ways_to_write_while_the_connection_is_made(way, engine):
    if way == "script" and engine != "sqlite":
        pytest.skip("no method of this driver")
    begin()
    local: Any = connection

    def write(connection: Any, **kwargs: Any) -> None:
        if way == "script":
            with connection.cursor() as cursor:
                cursor.executescript("UPDATE shop_genre SET name = 'received'")
        elif way == "many":
            with connection.cursor() as cursor:
                for number in range(connecting.MOST_WHILE_CONNECTING + 1):
                    cursor.execute(f"UPDATE shop_author SET name = '{number}'")
                cursor.execute("UPDATE shop_genre SET name = 'received'")
        else:
            with transaction.atomic():
                Genre.objects.update(name="received")
                transaction.set_rollback(way == "undone")

    connection.close()
    connection_created.connect(write)
    try:
        connection.ensure_connection()
    finally:
        connection_created.disconnect(write)
    assert list(Genre.objects.values_list("name", flat=True)) == ["genre 0" if way == "undone" else "received"]
    assert local.ormcache_writes.connecting._statements == []
    assert local.ormcache_writes.transaction.dirty == frozenset()


def test_an_exception_while_the_server_is_asked_anew(monkeypatch, configure):
    """The next statement asks again: no write passes unseen until the connection is closed."""
    begin()
    configure(FLIGHT_WAIT=1.5)

    class Limit(BaseException):
        pass

    def interrupted(*args: Any) -> Any:
        raise Limit

    monkeypatch.setattr(connection.ormcache, "_learn_database", interrupted)
    with pytest.raises(Limit):
        Genre.objects.update(name="never")
    monkeypatch.undo()

    Genre.objects.update(name="later")
    assert list(Genre.objects.values_list("name", flat=True)) == ["later"]
    assert connection.ormcache.database is not None
