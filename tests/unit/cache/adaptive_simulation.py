"""Executions of one statement, with writes in between: what they take with an adaptive bypass, with it and without.

No clock and no chance: what a lookup and a query take is given, and the keys come from a seed.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ormcache.cache.adaptive import AdaptiveBypass


@dataclass(frozen=True)
class Costs:
    """In seconds."""

    hit: float
    miss: float  # in addition to the query
    query: float


class Phase(NamedTuple):
    reads: int
    writes: float  # for each read


class Execution(NamedTuple):
    is_lookup: bool
    seconds: float


def simulate(
    adaptive: AdaptiveBypass | None, costs: Costs, phases: Sequence[Phase], *, keys: int, seed: int = 1
) -> list[Execution]:
    """What becomes of each execution. ``adaptive``: None if all of them are looked up."""
    chance = random.Random(seed)
    stored: dict[int, int] = {}  # key → the version of the table
    version, due = 0, 0.0
    done: list[Execution] = []
    for reads, writes in phases:
        for _ in range(reads):
            due += writes
            version, due = version + int(due), due - int(due)
            key = chance.randrange(keys)
            if adaptive is not None and adaptive.is_active and not adaptive.is_probe_due():
                adaptive.record_query(costs.query)
                done.append(Execution(False, costs.query))
            elif stored.get(key) == version:
                if adaptive is not None:
                    adaptive.record_hit(costs.hit)
                done.append(Execution(True, costs.hit))
            else:
                if adaptive is not None:
                    vector = version.to_bytes(8, "big")
                    adaptive.record_miss(costs.miss, costs.query, invalidated=key in stored, vector=vector)
                stored[key] = version
                done.append(Execution(True, costs.miss + costs.query))
    return done


def seconds(done: Sequence[Execution]) -> float:
    return sum(one.seconds for one in done)


def regret(costs: Costs, phases: Sequence[Phase], *, keys: int) -> float:
    """The part of the better one's time by which it takes longer than always to look up, or never to."""
    never = costs.query * sum(phase.reads for phase in phases)
    always = seconds(simulate(None, costs, phases, keys=keys))
    return seconds(simulate(AdaptiveBypass(), costs, phases, keys=keys)) / min(never, always) - 1
