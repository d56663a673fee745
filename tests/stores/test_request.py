"""The level request: what a request remembers, for how long, and what it must not believe."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.signals import request_finished, request_started

from ormcache.context import request_scope as module
from ormcache.context.request_scope import RequestScope, as_request, current_scope
from ormcache.exceptions import StoreUnavailable
from ormcache.stores import request as request_module
from ormcache.stores.base import Store, decode_marks
from ormcache.stores.request import RequestStore
from tests.stores.helpers import Child, Clock, name, names, stamp, writer

Make = Callable[..., Store]


@pytest.fixture
def other(make_store: Make) -> Store:
    """The store as another process has it."""
    return make_store("embedded")


@pytest.fixture
def store(other: Store) -> RequestStore:
    return RequestStore(other)


@pytest.fixture(autouse=True)
def _no_request() -> Iterator[None]:
    yield
    request_finished.send(sender=None)


def settled(store: Store, count: int = 1) -> tuple[list[bytes], list[bytes]]:
    slots, stamps = names(count), [stamp() for _ in range(count)]
    for slot, value in zip(slots, stamps, strict=True):
        store.settle([slot], writer(), value)
    return slots, stamps


def held(store: Store, slots: list[bytes]) -> list[bytes | None]:
    return store.look_up(None, slots)[1]


# What is remembered ---------------------------------------------------------------


def test_a_request_asks_once(store: RequestStore, other: Store) -> None:
    slots, stamps = settled(other, 2)
    with as_request():
        assert held(store, slots) == stamps
        other.settle(slots, writer(), stamp())
        assert held(store, slots) == stamps
        assert held(store, slots[1:]) == stamps[1:]


def test_outside_of_requests_the_store_is_asked(store: RequestStore, other: Store) -> None:
    slots, stamps = settled(other)
    with as_request():
        assert held(store, slots) == stamps
    new = stamp()
    other.settle(slots, writer(), new)
    assert held(store, slots) == [new]


def test_what_it_does_not_know_is_asked_for(store: RequestStore, other: Store) -> None:
    (known, unknown), (old, value) = settled(other, 2)
    with as_request():
        assert held(store, [known]) == [old]
        assert held(store, [known, unknown]) == [old, value]


def test_a_look_up_with_an_entry_is_fresh_and_is_remembered(store: RequestStore, other: Store) -> None:
    """A request does not see a write and then not see it."""
    slots, stamps = settled(other)
    new = stamp()
    with as_request():
        assert held(store, slots) == stamps
        other.settle(slots, writer(), new)
        assert store.look_up(name(), slots)[1] == [new]
        other.settle(slots, writer(), stamp())
        assert held(store, slots) == [new]


def test_marks_and_nothing_are_never_remembered(store: RequestStore, other: Store) -> None:
    (slot,), (old,) = settled(other)
    empty, who, new = name(), writer(), stamp()
    with as_request():
        assert held(store, [slot, empty]) == [old, None]
        other.fill_slots([empty], new)
        assert held(store, [slot, empty]) == [old, new]
        other.mark([slot], who, 60)
        assert decode_marks(store.look_up(name(), [slot])[1][0])
        assert decode_marks(held(store, [slot])[0])
        other.settle([slot], who, new)
        assert held(store, [slot]) == [new]


def test_two_stores_do_not_share_what_they_remember(make_store: Make) -> None:
    first, second = RequestStore(make_store("embedded")), RequestStore(make_store("django, locmem"))
    (slot,), (old,) = settled(first)
    with as_request():
        assert held(first, [slot]) == [old]
        assert held(second, [slot]) == [None]


def test_the_store_behind_is_strict(store: RequestStore, other: Store) -> None:
    slots, _ = settled(other)
    new = stamp()
    with as_request():
        held(store, slots)
        other.settle(slots, writer(), new)
        assert held(store.strict, slots) == [new]


# Own writes -----------------------------------------------------------------------


def in_a_thread(work: Callable[[], Any]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "in another thread"])
def test_a_process_sees_its_own_writes(store: RequestStore, elsewhere: bool) -> None:
    (slot,), _ = settled(store)
    who, new = writer(), stamp()
    run = in_a_thread if elsewhere else lambda work: work()
    with as_request():
        held(store, [slot])
        run(lambda: store.mark([slot], who, 60))
        assert decode_marks(held(store, [slot])[0])
        run(lambda: store.settle([slot], who, new))
        assert held(store, [slot]) == [new]


def test_other_slots_stay_remembered(store: RequestStore, other: Store) -> None:
    (written, untouched), (_, same) = settled(store, 2)
    with as_request():
        held(store, [written, untouched])
        store.settle([written], writer(), stamp())
        other.settle([untouched], writer(), stamp())
        assert held(store, [untouched]) == [same]


def test_also_writes_that_failed(store: RequestStore, other: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    (slot,), _ = settled(store)
    new = stamp()

    def settle_and_lose_the_answer(slots: list[bytes], *args: Any) -> None:
        Store.settle(other, slots, writer(), new)
        raise StoreUnavailable

    with as_request():
        held(store, [slot])
        monkeypatch.setattr(other, "settle", settle_and_lose_the_answer)
        with pytest.raises(StoreUnavailable):
            store.settle([slot], writer(), stamp())
        assert held(store, [slot]) == [new]


def test_what_was_read_before_an_own_write_is_not_believed_after_it(
    store: RequestStore, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    (slot,), (old,) = settled(store)
    new = stamp()
    look_up = other.look_up

    def written_meanwhile(*args: Any) -> Any:
        answer = look_up(*args)
        monkeypatch.undo()
        in_a_thread(lambda: store.settle([slot], writer(), new))
        return answer

    with as_request():
        monkeypatch.setattr(other, "look_up", written_meanwhile)
        assert held(store, [slot]) == [old]
        assert held(store, [slot]) == [new]


def test_writes_are_not_counted_for_ever(store: RequestStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_module, "MAX_WRITES", 3)
    slots, stamps = settled(store, 2)
    new = stamp()
    with as_request():
        assert held(store, slots) == stamps
        store.settle(slots[:1], writer(), new)
        for slot in names(3):
            store.settle([slot], writer(), stamp())
        assert held(store, slots) == [new, stamps[1]]
        assert len(store._last_writes) <= 3


def test_it_remembers_no_more_than_so_many_slots(store: RequestStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_module, "MAX_SLOTS", 4)
    first, _ = settled(store, 3)
    second, stamps = settled(store, 3)
    with as_request():
        held(store, first)
        assert held(store, second) == stamps
        new = stamp()
        store.strict.settle([first[0], second[0]], writer(), new)
        assert held(store, [second[0]]) == [stamps[0]]
        assert held(store, [first[0]]) == [new]


# How long -------------------------------------------------------------------------


def test_a_request_of_django_is_one(store: RequestStore, other: Store) -> None:
    slots, stamps = settled(other)
    new = stamp()
    request_started.send(sender=None)
    assert held(store, slots) == stamps
    other.settle(slots, writer(), new)
    assert held(store, slots) == stamps
    request_finished.send(sender=None)
    assert held(store, slots) == [new]


def test_a_request_that_was_never_ended_is_over_when_the_next_one_begins(store: RequestStore, other: Store) -> None:
    slots, stamps = settled(other)
    new = stamp()
    request_started.send(sender=None)
    assert held(store, slots) == stamps
    other.settle(slots, writer(), new)
    request_started.send(sender=None)
    assert held(store, slots) == [new]


def test_or_after_a_while(store: RequestStore, other: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(module, "RequestScope", lambda: RequestScope(clock))
    slots, stamps = settled(other)
    first, second = stamp(), stamp()
    request_started.send(sender=None)
    assert held(store, slots) == stamps
    other.settle(slots, writer(), first)
    clock.advance(module.LONGEST)
    assert held(store, slots) == [first]
    other.settle(slots, writer(), second)
    assert held(store, slots) == [first]  # remembered anew


def test_a_block_inside_a_request_is_a_new_beginning(store: RequestStore, other: Store) -> None:
    slots, stamps = settled(other)
    new, newest = stamp(), stamp()
    with as_request():
        assert held(store, slots) == stamps
        other.settle(slots, writer(), new)
        with as_request():
            assert held(store, slots) == [new]
            other.settle(slots, writer(), newest)
        assert held(store, slots) == [new]  # never an older one than it has seen
    assert held(store, slots) == [newest]


def test_what_outlives_a_request_asks_the_store(store: RequestStore, other: Store) -> None:
    """A task that a coroutine leaves behind has a copy of its context."""
    slots, stamps = settled(other)
    new = stamp()

    async def later(over: asyncio.Event) -> list[bytes | None]:
        assert held(store, slots) == stamps
        await over.wait()
        return held(store, slots)

    async def serve() -> list[bytes | None]:
        over = asyncio.Event()
        with as_request():
            held(store, slots)
            left_behind = asyncio.create_task(later(over))
            await asyncio.sleep(0)
            other.settle(slots, writer(), new)
        over.set()
        return await left_behind

    assert asyncio.run(serve()) == [new]


def test_nor_does_what_outlives_a_request_of_django(store: RequestStore, other: Store) -> None:
    slots, _ = settled(other)
    new = stamp()
    request_started.send(sender=None)
    scope = current_scope()
    held(store, slots)
    other.settle(slots, writer(), new)
    request_finished.send(sender=None)

    assert scope is not None
    assert scope.memory_of(store) is None


def test_functions_and_coroutines(store: RequestStore, other: Store) -> None:
    slots, stamps = settled(other)

    @as_request()
    def work() -> list[bytes | None]:
        held(store, slots)
        other.settle(slots, writer(), stamp())
        return held(store, slots)

    @as_request()
    async def work_as_coroutine() -> list[bytes | None]:
        await asyncio.sleep(0)
        return work.__wrapped__()  # type: ignore[attr-defined,no-any-return]

    assert work() == stamps
    now = held(store, slots)
    assert asyncio.run(work_as_coroutine()) == now
    assert held(store, slots) != now


def test_a_child_goes_on_with_what_the_request_knows(store: RequestStore, other: Store) -> None:
    slots, stamps = settled(other)
    new = stamp()

    def child() -> list[Any]:
        before = held(store, slots)
        store.settle(slots, writer(), new)
        return [before, held(store, slots)]

    with as_request():
        held(store, slots)
        assert Child(child).result() == [stamps, [new]]
