"""Many readers of one result that nobody has kept: the query runs once, and never in place of a newer one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, connections, transaction

import ormcache
from ormcache import reasons
from ormcache.cache import single_flight as flights
from ormcache.read_path.read import MOST_FOLLOWED
from ormcache.stores.base import Store
from tests.integration import actors
from tests.integration.actors import Actor
from tests.integration.calls import add, add_atomically, names
from tests.integration.stores.test_end_to_end import SHARED, STORES
from tests.shop.models import Author
from tests.waiting import eventually

#: When it has missed
JOIN = "before:ormcache.cache.single_flight.Flights.join"
QUERY = "before:ormcache.connection.compiler.CachedCompiler.read_uncached"
#: Asked once by each reader, right before it begins to wait
WAIT = "before:ormcache.read_path.read.ReadExecution._wait_until"
#: Seconds; who waits for somebody who stands still is found by the end of the test's own patience
FOR_EVER = 40

pytestmark = pytest.mark.timeout(30)


@pytest.fixture(autouse=True)
def _points(monkeypatch, configure):
    configure(FLIGHT_WAIT=FOR_EVER)
    monkeypatch.setattr(flights, "TRIVIAL", 0)  # these tests' queries are quick
    with actors.points(monkeypatch):
        yield
    connections.close_all()


@pytest.fixture
def pool():
    pool = ThreadPoolExecutor(32)
    yield pool
    pool.shutdown(wait=False)  # leaders that a failure left standing are let go only now


def read() -> list[Any]:
    """The names, and how often they were asked of the database."""
    seen = []

    def count(execute: Any, sql: str, *args: Any) -> Any:
        if sql.startswith(('SELECT "shop_author"', "SELECT `shop_author`")):
            seen.append(sql)
        return execute(sql, *args)

    with connection.execute_wrapper(count):
        return [names(), len(seen)]


def read_and_close() -> list[Any]:
    try:
        return read()
    finally:
        connections.close_all()


def fail() -> None:
    def refuse(*args: Any) -> Any:
        raise ZeroDivisionError

    connection.ensure_connection()
    with connection.execute_wrapper(refuse):
        names()


def count(event: str) -> int:
    return ormcache.stats("default")[event]


def followers(pool: ThreadPoolExecutor, number: int, read: Any = read_and_close) -> list[Any]:
    """Readers in threads, once all of them wait."""
    before = count("waited")
    answers = [pool.submit(read) for _ in range(number)]
    eventually(lambda: count("waited") == before + number)
    return answers


def all_at_the_query(pool: ThreadPoolExecutor, number: int) -> tuple[list[Actor], list[Any]]:
    """Readers that wait, and their arrival at their own query."""
    readers = [Actor(names, name=f"follower {each}") for each in range(number)]
    before = count("waited")
    arrivals = [pool.submit(reader.to, "before query") for reader in readers]
    eventually(lambda: count("waited") == before + number)
    return readers, arrivals


def in_processes(other_process: Any, lead: str = "read", stops: Sequence[str] = ()) -> tuple[Any, list[Any]]:
    """A leader at its query, and others that begin to wait just now: a process takes as long to start as a lease."""
    leader = other_process.start(f"tests.integration.cache.test_single_flight.{lead}", stops=[JOIN, QUERY])
    waiting = [other_process.start(f"{__name__}.read", stops=[JOIN, WAIT, *stops]) for _ in range(3)]
    for process in (leader, *waiting):
        process.wait_for(JOIN)
    leader.go()
    leader.wait_for(QUERY)
    for process in waiting:
        process.go()
    for process in waiting:
        process.wait_for(WAIT)
    for process in waiting:
        process.go()
    return leader, waiting


def _each(names: Iterable[str]) -> list[Any]:
    """One store with every database engine, the others with any: who runs a query is agreed upon without a database."""
    return [name if name == "embedded" else pytest.param(name, marks=pytest.mark.any_engine) for name in names]


# One execution ------------------------------------------------------------------------


@pytest.mark.parametrize("name", _each(STORES))
def test_threads(name, configure, pool):
    configure(**STORES[name], LOCAL_SIZE=0)
    add("A")
    before = ormcache.stats("default")
    leader = Actor(names).to("before query")
    answers = followers(pool, 20)
    assert leader.finish() == ["A"]

    assert [answer.result() for answer in answers] == [[["A"], 0]] * 20
    after = ormcache.stats("default")
    assert {event: after[event] - before[event] for event in ("hits", "misses", "stored", "waited")} == {
        "hits": 20,
        "misses": 1,
        "stored": 1,
        "waited": 20,
    }


@pytest.mark.parametrize("name", _each(SHARED))
def test_processes(name, configure, other_process):
    configure(**STORES[name])
    add("A")
    leader, waiting = in_processes(other_process)
    leader.go()

    assert leader.result() == [["A"], 1]
    assert [process.result() for process in waiting] == [[["A"], 0]] * 3


def test_threads_of_two_processes(other_process, pool):
    """In each process one thread asks the store, for all the others there."""
    add("A")
    leader = other_process.start("tests.integration.cache.test_single_flight.read", stops=[QUERY])
    leader.wait_for(QUERY)
    answers = followers(pool, 10)
    leader.go()

    assert [answer.result() for answer in answers] == [[["A"], 0]] * 10
    assert leader.result() == [["A"], 1]


# What a leader leaves -----------------------------------------------------------------


@pytest.mark.parametrize("name", _each(["embedded", "redis by django-redis", "memcached, one server"]))
def test_a_leader_is_killed(name, configure, other_process):
    configure(**STORES[name])
    add("A")
    leader, waiting = in_processes(other_process)
    leader.kill()

    found = [process.result() for process in waiting]
    assert [rows for rows, _ in found] == [["A"]] * 3
    assert sum(executions for _, executions in found) == 1  # one has taken over


def test_the_query_raises(pool):
    add("A")
    leader = Actor(fail).to("before query")
    readers, arrivals = all_at_the_query(pool, 4)
    with pytest.raises(ZeroDivisionError):
        leader.finish()

    for arrival in arrivals:
        arrival.result()  # each of them stands at its query, so none waits for another
    assert [reader.finish() for reader in readers] == [["A"]] * 4


def test_the_query_raises_in_another_process(other_process):
    add("A")
    leader, waiting = in_processes(other_process, "fail", stops=[QUERY])
    leader.go()

    for process in waiting:
        process.wait_for(QUERY)
    for process in waiting:
        process.go()
    assert [process.result() for process in waiting] == [[["A"], 1]] * 3


def test_a_result_is_refused(configure, pool):
    configure(MAX_ROWS=1)
    Author.objects.bulk_create([Author(name="A"), Author(name="B")])
    leader = Actor(names).to("before query")
    readers, arrivals = all_at_the_query(pool, 4)
    assert leader.finish() == ["A", "B"]

    for arrival in arrivals:
        arrival.result()
    assert [reader.finish() for reader in readers] == [["A", "B"]] * 4
    # From now on nobody waits for this text ...
    standing = Actor(names).to("before query")
    assert names() == ["A", "B"]
    standing.finish()
    # ... until a result of it was kept.
    Author.objects.get(name="B").delete()
    assert names() == ["A"]
    Author.objects.update(name="C")
    leader = Actor(names).to("before query")
    answers = followers(pool, 2)
    leader.finish()
    assert [answer.result() for answer in answers] == [[["C"], 0]] * 2


def test_the_wait_is_over(configure):
    configure(FLIGHT_WAIT=0.2)
    add("A")
    leader = Actor(names).to("before query")

    assert read() == [["A"], 1]
    assert leader.finish() == ["A"]


def test_the_store_goes_away(pool, monkeypatch):
    """Who waits looks up again, as any reader does, and goes to the database."""
    add("A")
    leader = Actor(names).to("before query")
    answers = followers(pool, 4)

    def away(*args: Any) -> Any:
        raise ConnectionError

    with monkeypatch.context() as patch:
        for operation in ("_look_up", "_put_entry", "_claim", "_release"):
            patch.setattr(type(connection.ormcache.known().stamps.store), operation, away)
        assert leader.finish() == ["A"]
        assert [answer.result() for answer in answers] == [[["A"], 1]] * 4


# Who does not wait --------------------------------------------------------------------


@pytest.fixture
def standing():
    """A leader at its query; whoever waited for it would do so for ever."""
    add("A")
    leader = Actor(names).to("before query")
    before = count("waited")
    yield leader
    assert count("waited") == before
    assert leader.finish() == ["A"]


def test_not_in_a_transaction(standing):
    with transaction.atomic():
        assert read() == [["A"], 1]


def test_not_without_autocommit(standing):
    connection.set_autocommit(False)
    try:
        assert read() == [["A"], 1]
    finally:
        connection.rollback()
        connection.set_autocommit(True)


def test_not_in_an_event_loop(standing, monkeypatch):
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")

    async def task() -> Any:
        return read_and_close()  # a task has connections of its own

    assert asyncio.run(task()) == [["A"], 1]


def test_not_on_a_connection_that_threads_share(standing):
    connection.inc_thread_sharing()
    try:
        assert read() == [["A"], 1]
    finally:
        connection.dec_thread_sharing()


def test_not_where_it_is_switched_off(configure):
    configure(FLIGHT_WAIT=0)
    add("A")
    leader = Actor(names).to("before query")

    assert read() == [["A"], 1]
    assert leader.finish() == ["A"]


def test_not_for_one_self():
    """A wrapper that runs the very query that it is around."""
    add("A")
    inner = []

    def again(execute: Any, sql: str, *args: Any) -> Any:
        if not inner:
            inner.append(None)
            inner.append(names())
        return execute(sql, *args)

    connection.ensure_connection()
    with connection.execute_wrapper(again):
        assert names() == ["A"]
    assert inner == [None, ["A"]]


def test_a_transaction_in_another_process_does_not_wait(other_process):
    add("A")
    leader = other_process.start("tests.integration.cache.test_single_flight.read", stops=[QUERY])
    leader.wait_for(QUERY)

    with transaction.atomic():
        assert read() == [["A"], 1]
    leader.go()
    assert leader.result() == [["A"], 1]


# Never the older rows -----------------------------------------------------------------


@pytest.fixture(params=[add, add_atomically], ids=["autocommit", "atomic"])
def write(request):
    return request.param


def test_who_comes_after_a_write_does_not_take_the_flight_from_before(write, pool, wal):
    add("A")
    leader = Actor(names).to("after query")  # it has the old rows in its hands
    older = followers(pool, 2)
    write("B")

    # Nor wait for it.
    assert read() == [["A", "B"], 1]
    assert leader.finish() == ["A"]
    # They have begun before the write; what they are served is what is there now.
    assert [answer.result()[0] for answer in older] == [["A", "B"]] * 2
    assert names() == ["A", "B"]


def test_nor_from_another_process(write, other_process, wal):
    add("A")
    after = QUERY.replace("before", "after")
    leader = other_process.start("tests.integration.cache.test_single_flight.read", stops=[JOIN, after])
    older = other_process.start("tests.integration.cache.test_single_flight.read", stops=[JOIN, WAIT])
    leader.wait_for(JOIN)
    older.wait_for(JOIN)
    leader.go()
    leader.wait_for(after)
    older.go()
    older.wait_for(WAIT)
    write("B")
    older.go()
    older.wait_for(JOIN)
    older.go()

    assert older.result() == [["A", "B"], 1]  # another vector: a flight of its own
    assert read() == [["A", "B"], 0]
    leader.go()
    assert leader.result() == [["A"], 1]
    assert names() == ["A", "B"]


def test_under_a_mark_all_run_at_once(standing, pool):
    """There is no vector to name a flight by, and nothing will be kept."""
    writer = Actor(lambda: add("B")).to("after mark")
    before = ormcache.stats("default")["rejected"].get(reasons.MARKED, 0)
    reader = Actor(names).to("before query")

    assert reader.finish() == ["A"]
    assert ormcache.stats("default")["rejected"][reasons.MARKED] == before + 1
    standing.finish()
    writer.finish()


def test_where_writes_follow_one_another_a_reader_runs_its_query_at_last(pool):
    """Each flight that it follows lands behind a write."""
    add("A")
    flights = connection.ormcache.known().flights
    reader = Actor(names)
    leaders = [Actor(names).to("before query")]
    arrival = pool.submit(reader.to, "before query")
    for number in range(MOST_FOLLOWED):
        eventually(lambda: [flight for flight in flights._flights.values() if flight.ended is not None])
        add(str(number))
        leaders.append(Actor(names).to("before query"))
        leaders[-2].finish()

    arrival.result()  # the last leader still stands there
    assert reader.finish() == leaders[-1].finish() == ["0", "1", "2", "A"]


def test_nobody_waits_for_a_query_that_is_over_at_once(monkeypatch):
    monkeypatch.setattr(flights, "TRIVIAL", 60)
    add("A")
    names()
    add("B")
    leader = Actor(names).to("before query")

    assert read() == [["A", "B"], 1]
    leader.finish()


def test_a_query_that_was_and_is_no_more(monkeypatch, pool):
    monkeypatch.setattr(flights, "TRIVIAL", 60)
    add("A")
    names()
    monkeypatch.setattr(flights, "TRIVIAL", 0)
    add("B")
    names()
    add("C")
    leader = Actor(names).to("before query")
    (answer,) = followers(pool, 1)
    leader.finish()
    assert answer.result() == [["A", "B", "C"], 0]


def test_a_cheap_text_asks_the_store_for_nothing(monkeypatch):
    """Once it is known to be cheap, as every text is here."""
    monkeypatch.setattr(flights, "TRIVIAL", FOR_EVER)
    add("A")
    names()
    asked = []
    for operation in ("claim", "release"):
        monkeypatch.setattr(Store, operation, lambda *args, operation=operation: asked.append(operation))
    add("B")

    assert read() == [["A", "B"], 1]
    assert asked == []
