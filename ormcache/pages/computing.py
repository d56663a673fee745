"""Serves what is stored of something derived, or has it computed by one caller for all that ask at the same moment."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from asgiref.sync import sync_to_async

from ormcache.cache.serializer import Unreadable
from ormcache.cache.single_flight import Flight, Flights
from ormcache.pages.derivation import Derivation, Use
from ormcache.pages.grace import Grace

T = TypeVar("T")

#: Nothing may be served
_NOTHING: tuple[bool, Any] = (False, None)

#: Flights that one caller follows before it computes itself: where writes come one after the other, none helps it
MOST_FOLLOWED = 3

#: Event loop → name of an entry → the task that computes it sets this, to whether it was stored
_awaited: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[bytes, asyncio.Future[bool]]] = (
    weakref.WeakKeyDictionary()
)


def compute(
    use: Use, function: Callable[[], T], dump: Callable[[T], Any] | None = None, load: Callable[[Any], T] | None = None
) -> T:
    """Return what is stored, or what ``function`` returns, which is stored if that is possible.

    ``dump``: makes a payload of it, see :meth:`Derivation.store`; ``load``: makes it of a payload, and raises
    Unreadable if it cannot. Raises what ``function`` raises.
    """
    deadline: float | None = None  # for all flights that are followed

    def wait_until() -> float:
        nonlocal deadline
        if deadline is None:
            deadline = derivation.wait_until()
        return deadline

    for attempt in range(MOST_FOLLOWED + 1):
        derivation = Derivation(use)
        is_there, value = _look_up(derivation, load)
        if is_there:
            return value
        grace = Grace(derivation)
        is_there, value = grace.look_up(load)
        if is_there:
            return value
        try:
            flights = derivation.flights if attempt < MOST_FOLLOWED else None
            if flights is None or not flights.pays(derivation.statement):
                return _compute(derivation, function, dump, flights)
            flight = Flight(derivation.entry, b"", derivation.statement)
            try:
                if flights.join(flight, wait_until, derivation.has_landed):
                    return _compute(derivation, function, dump, None, flight)
            finally:
                flights.end(flight)
        finally:
            grace.end()
    raise AssertionError("the last attempt computes")


def _compute(
    derivation: Derivation,
    function: Callable[[], T],
    dump: Callable[[T], Any] | None,
    flights: Flights | None = None,
    flight: Flight | None = None,
) -> T:
    began = time.perf_counter()
    with derivation.computing():
        value = function()
    derivation.finish(value, dump, time.perf_counter() - began)
    if flight is not None:
        flight.record_rejection(derivation.rejected)
    elif flights is not None:
        flights.learn(derivation.statement, time.perf_counter() - began, derivation.rejected)
    return value


def serve_stored(use: Use, load: Callable[[Any], T] | None = None) -> tuple[bool, T]:
    """Return whether something may be served, and what. Computes nothing."""
    return _look_up(Derivation(use), load)


async def acompute(
    use: Use,
    function: Callable[[], Awaitable[T]],
    dump: Callable[[T], Any] | None = None,
    load: Callable[[Any], T] | None = None,
) -> T:
    """Do the same for a coroutine function. One task of an event loop computes; the others wait for it."""
    awaited = _awaited.setdefault(asyncio.get_running_loop(), {})
    deadline: float | None = None  # for all tasks that are waited for
    waits = True
    for attempt in range(MOST_FOLLOWED + 1):
        derivation = Derivation(use)
        is_there, value = await sync_to_async(_look_up)(derivation, load)
        if is_there:
            return value
        grace = Grace(derivation)
        is_there, value = await sync_to_async(grace.look_up)(load) if use.grace else _NOTHING
        if is_there:
            return value
        try:
            other, flights = awaited.get(derivation.entry), derivation.flights
            waits = waits and attempt < MOST_FOLLOWED
            if other is None or not waits or flights is None or not flights.pays(derivation.statement):
                return await _acompute(derivation, function, dump, awaited)
            if deadline is None:
                deadline = await sync_to_async(derivation.wait_until)()
            done, _ = await asyncio.wait([other], timeout=max(0.0, deadline - time.monotonic()))
            waits = other.result() if done else False  # what could not be stored, all compute at once
        finally:
            if use.grace:
                await sync_to_async(grace.end)()
    raise AssertionError("the last attempt computes")


async def _acompute(
    derivation: Derivation,
    function: Callable[[], Awaitable[T]],
    dump: Callable[[T], Any] | None,
    awaited: dict[bytes, asyncio.Future[bool]],
) -> T:
    flights = derivation.flights
    landed = awaited[derivation.entry] = asyncio.get_running_loop().create_future()
    began, is_stored = time.perf_counter(), False
    try:
        with derivation.computing():
            value = await function()
        took = time.perf_counter() - began
        is_stored = await sync_to_async(derivation.finish)(value, dump, took) is not None
        if flights is not None:
            flights.learn(derivation.statement, took, derivation.rejected)
        return value
    finally:
        landed.set_result(is_stored)
        if awaited.get(derivation.entry) is landed:
            del awaited[derivation.entry]


def _look_up(derivation: Derivation, load: Callable[[Any], T] | None) -> tuple[bool, T]:
    """Return whether something may be served, and what."""
    began = time.perf_counter()
    found = derivation.look_up()
    if found is None:
        return _NOTHING
    try:
        value = found.payload if load is None else load(found.payload)
    except Unreadable:
        derivation.remove()
        return _NOTHING
    derivation.record_hit(time.perf_counter() - began)
    return True, value
