"""A transaction that keeps its snapshot, beside writers and another reader: every interleaving, without code or clock.

One relation, whose slot holds a stamp, or a mark (None). Numbers are versions: of the rows, and of stamps, each of
which is used once. :func:`explore` stops where the transaction is shown two states of the database, or another reader
is served something older than what was visible when it began.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

from tests.protocol.search import Search, search


class Reading(NamedTuple):
    at: str = "idle"  # idle, looked or read
    stamp: int | None = None
    rows: int = 0
    least: int = 0  # the version that was visible when it began


class World(NamedTuple):
    rows: int = 0  # the version that is committed
    stamp: int | None = 0
    fresh: int = 1  # the next stamp
    writer: str = "idle"  # idle, marked or committed
    writes: int = 2  # still to come
    entries: frozenset[tuple[int, int]] = frozenset()  # stamp, rows
    other: Reading = Reading()  # reads in autocommit, again and again
    seen: frozenset[int] = frozenset()  # stamps that the transaction's process has seen
    before: frozenset[int] | None = None  # ... when the snapshot was about to be taken
    snapshot: int | None = None
    shown: int | None = None  # the version that the transaction has been shown, whoever did
    mine: Reading = Reading()  # of the transaction
    reads: int = 2  # of the transaction, still to come


class Rules(NamedTuple):
    """Which rules hold. Each of them switched off must lead to a wrong answer."""

    snapshot_is_taken: bool = True  # before anything is served
    seen_before: bool = True  # only stamps that were
    noted_before: bool = True  # what was seen before the snapshot, not by the time of the look-up
    looked_up_after: bool = True  # not what the slot held before the snapshot
    marks_first: bool = True  # before the commit


Step = tuple[str, World | None]  # what happens, and the world after it; None: a wrong answer


def explore(rules: Rules) -> Search:
    """Search all worlds, under these rules."""
    return search(World(), partial(_steps, rules=rules))


def _steps(world: World, rules: Rules) -> Iterator[Step]:
    yield from _writer(world, rules)
    yield from _other(world)
    yield from _transaction(world, rules)


def _writer(world: World, rules: Rules) -> Iterator[Step]:
    if world.writer == "idle" and world.writes:
        marked = None if rules.marks_first else world.stamp
        yield "a writer marks", world._replace(writer="marked", writes=world.writes - 1, stamp=marked)
    elif world.writer == "marked":
        yield "it commits", world._replace(writer="committed", rows=world.rows + 1)
    elif world.writer == "committed":
        yield "it settles", world._replace(writer="idle", stamp=world.fresh, fresh=world.fresh + 1)


def _other(world: World) -> Iterator[Step]:
    other = world.other
    if other.at == "idle":
        begun = Reading("looked", world.stamp, 0, world.rows)
        served = [rows for stamp, rows in world.entries if stamp == world.stamp]
        if any(rows < world.rows for rows in served):
            yield "the other reader is served something old", None
        seen = world.seen if world.stamp is None else world.seen | {world.stamp}
        yield "the other reader looks up", world._replace(other=begun, seen=seen)
        yield "a reader elsewhere looks up", world._replace(other=begun)
    elif other.at == "looked":
        yield "it reads", world._replace(other=other._replace(at="read", rows=world.rows))
    else:
        entries = world.entries if other.stamp is None else world.entries | {(other.stamp, other.rows)}
        yield "it stores", world._replace(other=Reading(), entries=entries)


def _transaction(world: World, rules: Rules) -> Iterator[Step]:
    mine = world.mine
    if world.before is None:
        seen = world.seen if world.stamp is None else world.seen | {world.stamp}
        looked = Reading("idle", world.stamp)
        yield "the transaction looks before its snapshot", world._replace(before=seen, seen=seen, mine=looked)
    elif world.snapshot is None and rules.snapshot_is_taken:
        yield "it takes its snapshot", world._replace(snapshot=world.rows)
    elif mine.at == "idle" and world.reads:
        stamp = world.stamp if rules.looked_up_after else mine.stamp
        seen = world.seen if stamp is None else world.seen | {stamp}
        usable = stamp is not None
        if usable and rules.seen_before:
            usable = stamp in (world.before if rules.noted_before else seen)
        world = world._replace(seen=seen, reads=world.reads - 1)
        served = {rows for kept, rows in world.entries if kept == stamp} if usable else set()
        taken = world.rows if world.snapshot is None else world.snapshot
        for rows in served or {taken}:
            if world.shown not in (None, rows) or (served and world.snapshot not in (None, rows)):
                yield "the transaction is shown two states", None
                return
            shown = world._replace(shown=rows)
            if served:
                yield "the transaction is served", shown
            else:
                found = Reading("looked", stamp if usable else None, taken)
                yield "the transaction reads", shown._replace(mine=found, snapshot=taken)
    elif mine.at == "looked":
        entries = world.entries if mine.stamp is None else world.entries | {(mine.stamp, mine.rows)}
        done = Reading("idle", mine.stamp)
        yield "what it has read is stored", world._replace(mine=done, entries=entries)
