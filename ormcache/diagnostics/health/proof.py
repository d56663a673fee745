"""What a store does, measured and proved: on an entry and slots of its own, which are removed again."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ormcache.cache.keys import name_beside
from ormcache.cache.stamps import Stamps
from ormcache.stores.base import Store, is_stamp


@dataclass(frozen=True, slots=True)
class Latency:
    """How long something takes, in seconds, and how often it was measured."""

    best: float
    median: float
    rounds: int


@dataclass(frozen=True, slots=True)
class ProofStep:
    """One statement about the store, and whether it holds."""

    text: str
    passed: bool


@dataclass(frozen=True, slots=True)
class _Sandbox:
    """An entry and slots under names that nothing else uses."""

    stamps: Stamps
    entry: bytes
    slots: list[bytes]  # the epoch's first


@contextmanager
def _sandbox(store: Store, lease: float) -> Iterator[_Sandbox]:
    stamps = Stamps(store, b"ormcache check " + os.urandom(8), lease=lease)
    sandbox = _Sandbox(stamps, name_beside(stamps.partition, os.urandom(16)), [stamps.slot("*"), stamps.slot("check")])
    try:
        yield sandbox
    finally:
        store.delete_entries([sandbox.entry])
        store.clear_slots(sandbox.slots)


def measure(rounds: int, call: Callable[[], object]) -> Latency:
    """Measure how long a call takes. A first call, which may have to connect, is not counted."""
    call()
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return Latency(min(seconds), statistics.median(seconds), rounds)


def measure_operations(store: Store, lease: float, rounds: int) -> dict[str, Latency]:
    """Measure a lookup, storing an entry of 1 KiB, and a mark with its settling. Raises StoreUnavailable."""
    with _sandbox(store, lease) as sandbox:
        stamps, entry, slots = sandbox.stamps, sandbox.entry, sandbox.slots
        vector = stamps.look_up(entry, slots).vector

        def mark_and_settle() -> None:
            writer, _ = stamps.mark(slots[1:])
            stamps.settle(slots[1:], writer)

        return {
            "look_up": measure(rounds, lambda: stamps.look_up(entry, slots)),
            "put": measure(rounds, lambda: stamps.store_entry(entry, vector or b"", b"x" * 1024, lease)),
            "mark_and_settle": measure(rounds, mark_and_settle),
        }


def prove(store: Store, lease: float) -> tuple[ProofStep, ...]:
    """Try the rules of the protocol one after the other, up to the first one that does not hold.

    Raises StoreUnavailable.
    """
    steps: list[ProofStep] = []
    with _sandbox(store, lease) as sandbox:
        for step in _steps(sandbox):
            steps.append(step)
            if not step.passed:
                break
    remains = store.look_up(sandbox.entry, sandbox.slots)
    steps.append(ProofStep("what was stored for this proof can be removed", remains == (None, [None, None])))
    return tuple(steps)


def _steps(sandbox: _Sandbox) -> Iterator[ProofStep]:
    stamps, entry, slots = sandbox.stamps, sandbox.entry, sandbox.slots
    first = stamps.look_up(entry, slots)
    yield ProofStep("empty slots are filled with stamps", first.vector is not None and first.data is None)
    vector = first.vector or b""
    yield ProofStep("a result is stored", stamps.store_entry(entry, vector, b"one", None))
    yield ProofStep("it is served", stamps.look_up(entry, slots).data == b"one")
    writer, _ = stamps.mark(slots[1:])
    marked = stamps.look_up(entry, slots)
    is_uncached = marked.data is None and marked.vector is None
    yield ProofStep("while a writer's mark is there, nothing is served or stored", is_uncached)
    stamps.settle(slots[1:], writer)
    settled = stamps.look_up(entry, slots)
    is_new = settled.vector is not None and settled.vector != vector and is_stamp(settled.epoch)
    yield ProofStep("once the write is settled, the old result is not served", settled.data is None and is_new)
    is_stored = stamps.store_entry(entry, vector, b"late", None)
    is_served = stamps.look_up(entry, slots).data is not None
    yield ProofStep("nor is one that was read before the write and stored after it", is_stored and not is_served)
    is_stored = stamps.store_entry(entry, settled.vector or b"", b"two", None)
    yield ProofStep("a new result is served", is_stored and stamps.look_up(entry, slots).data == b"two")
