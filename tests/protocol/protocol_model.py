"""The protocol on one relation, without code or clock: every interleaving of writers and readers.

The state of the world is a tuple. :func:`explore` goes to every one that can be reached, and stops at the first in
which a reader is served a version older than the newest one that was visible when it began.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

from tests.protocol.search import Search, search

EMPTY: tuple[str, Any] = ("empty", None)


class World(NamedTuple):
    slot: tuple[str, Any]  # EMPTY, ("stamp", number) or ("marks", writers)
    fresh: int  # the next stamp
    visible: int  # the newest committed version
    entry: tuple[int, int] | None  # (stamp, version)
    # idle, marked, committed, done or dead; one that found no store and got no answer: lost, or lost and visible; the
    # same once the store is back: doubtful, or doubtful and visible
    writers: tuple[str, ...]
    readers: tuple[tuple[str, Any, Any], ...]  # (where it is, its stamp, its rows)
    evictions: int  # that may still come
    outage: str = "past"  # of the store: to come, now or past
    full: str = "past"  # that it has no room for a new value: to come, now or past


class Rules(NamedTuple):
    """Which rules hold. Each of them switched off must lead to a wrong read."""

    marks: bool = True  # a writer marks the slot before its write becomes visible
    merges: bool = True  # a mark leaves the marks of others alone, and so does settling
    stamps_before_query: bool = True  # a result is stored under the stamp that was read before its query ran
    adds: bool = True  # a reader fills the slot only if it is still empty
    doubts: bool = True  # what has no answer and no mark is marked once the store is back, and not settled
    # Of a store without room
    empties_before: bool = True  # a slot that cannot be marked is emptied before the write becomes visible
    empties_after: bool = True  # and once more after it, where it cannot be settled
    leaves: bool = True  # whoever cannot fill a slot stores nothing, and never offers that stamp again


Step = tuple[str, World | None]  # what happens, and the world after it; None: a wrong read


def explore(
    writers: int,
    readers: int,
    rules: Rules,
    *,
    crashes: bool,
    evictions: int,
    outage: bool = False,
    full: bool = False,
    whenever: bool = False,
) -> Search:
    """Search all worlds with so many writers and readers, under these rules.

    ``full``: the store has no room for a while. ``whenever``: it may have room again, and none once more, while a
    writer has no mark. Then a reader may be served what is one write behind, until that writer has settled.
    """
    idle = ("idle",) * writers, (("idle", None, None),) * readers
    start = World(EMPTY, 1, 0, None, *idle, evictions, *("to come" if one else "past" for one in (outage, full)))
    return search(start, partial(_steps, rules=rules, crashes=crashes, whenever=whenever))


def _steps(world: World, rules: Rules, crashes: bool, whenever: bool = False) -> Iterator[Step]:
    for happens, after in _steps_of_now(world, rules, crashes, whenever):
        if after is None and whenever and not _all_are_marked(world):
            continue  # one write behind
        yield happens, after


def _all_are_marked(world: World) -> bool:
    """Return whether each writer whose write may be visible and is not settled has its mark in the slot."""
    marks = world.slot[1] if world.slot[0] == "marks" else frozenset()
    return all(number in marks for number, at in enumerate(world.writers) if at in ("marked", "committed"))


def _steps_of_now(world: World, rules: Rules, crashes: bool, whenever: bool) -> Iterator[Step]:
    if world.full == "to come":
        yield "the store is full", world._replace(full="now")
    elif world.full == "now" and (whenever or _all_are_marked(world)):
        yield "the store has room", world._replace(full="to come" if whenever else "past")
    if world.outage == "to come":
        yield "the store goes away", world._replace(outage="now")
    elif world.outage == "now":
        # For everybody. Nothing happens at the database alone but this, and queries that are under way.
        yield "the store is back", _back(world, rules)
        for number, at in enumerate(world.writers):
            yield from _without_store(world, number, at)
        for number, (at, stamp, rows) in enumerate(world.readers):
            if at == "looked":
                yield from steps_of_reader(world, rules, number, at, stamp, rows)
        return
    for number, at in enumerate(world.writers):
        yield from _of_writer(world, rules, crashes, number, at)
    if world.slot[0] == "marks":
        dead = frozenset(number for number in world.slot[1] if world.writers[number] == "dead")
        if dead:
            rest = world.slot[1] - dead
            yield "a lease ends", world._replace(slot=("marks", rest) if rest else EMPTY)
    if world.evictions and world.slot[0] == "stamp":
        yield "the slot is lost", world._replace(slot=EMPTY, evictions=world.evictions - 1)
    for number, (at, stamp, rows) in enumerate(world.readers):
        yield from steps_of_reader(world, rules, number, at, stamp, rows)


def _writer(world: World, number: int, to: str) -> World:
    return world._replace(writers=(*world.writers[:number], to, *world.writers[number + 1 :]))


def _without_store(world: World, number: int, at: str) -> Iterator[Step]:
    """What a writer does while the store is away."""
    if at == "idle":
        yield f"writer {number} gets no answer", _writer(world, number, "lost")
    elif at == "lost":
        yield from _becomes_visible(world, number, "lost, visible")


def _becomes_visible(world: World, number: int, to: str) -> Iterator[Step]:
    yield f"writer {number}'s change becomes visible", _writer(world, number, to)._replace(visible=world.visible + 1)


def _back(world: World, rules: Rules) -> World:
    """The store is back: what waits for it in the writers is told at once."""
    lost = frozenset(number for number, at in enumerate(world.writers) if at.startswith("lost"))
    writers = tuple(at.replace("lost", "doubtful") for at in world.writers)
    world = world._replace(outage="past", writers=writers)
    if not lost:
        return world
    if rules.doubts:
        others = world.slot[1] if world.slot[0] == "marks" else frozenset()
        return world._replace(slot=("marks", others | lost))
    return world._replace(slot=("stamp", world.fresh), fresh=world.fresh + 1)


def _of_writer(world: World, rules: Rules, crashes: bool, number: int, at: str) -> Iterator[Step]:
    moved = partial(_writer, number=number)

    if at == "idle":
        marked = world
        if rules.marks and world.full == "now":
            marked = world._replace(slot=EMPTY) if rules.empties_before else world
        elif rules.marks:
            others = world.slot[1] if world.slot[0] == "marks" and rules.merges else frozenset()
            marked = world._replace(slot=("marks", others | {number}))
        yield f"writer {number} marks", moved(marked, to="marked")
    elif at in ("marked", "committed"):
        if at == "marked":
            yield f"writer {number} commits", moved(world._replace(visible=world.visible + 1), to="committed")
        yield f"writer {number} settles ({at})", moved(_settled(world, rules, number), to="done")
        if crashes:
            yield f"writer {number} dies ({at})", moved(world, to="dead")
    elif at.startswith("doubtful"):
        if at == "doubtful":
            yield from _becomes_visible(world, number, "doubtful, visible")
        yield f"writer {number} is over ({at})", moved(world, to="dead")


def _settled(world: World, rules: Rules, number: int) -> World:
    if world.full == "now":
        return world._replace(slot=EMPTY) if rules.empties_after else world
    rest = world.slot[1] - {number} if world.slot[0] == "marks" and rules.merges else frozenset()
    if rest:
        return world._replace(slot=("marks", rest))
    return world._replace(slot=("stamp", world.fresh), fresh=world.fresh + 1)


def steps_of_reader(world: Any, rules: Rules, number: int, at: str, stamp: Any, rows: Any) -> Iterator[Step]:
    """What a reader may do, in a world of this model or of one like it."""

    def moved(world: Any, *to: Any) -> Any:
        return world._replace(readers=(*world.readers[:number], to, *world.readers[number + 1 :]))

    who, slot = f"reader {number}", world.slot
    if at == "idle":
        if slot[0] == "stamp" and world.entry is not None and world.entry[0] == slot[1]:
            stale = world.entry[1] < world.visible
            happens = f"{who} is served version {world.entry[1]}, visible {world.visible}"
            yield happens, None if stale else moved(world, "done", None, None)
        elif slot[0] == "stamp":
            yield f"{who} looks up stamp {slot[1]}", moved(world, "looked", slot[1], None)
        elif slot == EMPTY:
            yield f"{who} finds nothing", moved(world, "filling", None, None)
        else:
            yield f"{who} finds marks", moved(world, "done", None, None)
    elif at == "filling" and getattr(world, "full", "past") == "now":
        if rules.leaves:
            yield f"{who} cannot fill the slot", moved(world, "done", None, None)
        else:
            yield f"{who} offers stamp {world.fresh} in vain", moved(world, "looked", world.fresh, None)
    elif at == "filling":
        if slot == EMPTY or not rules.adds:
            filled = world._replace(slot=("stamp", world.fresh), fresh=world.fresh + 1)
            yield f"{who} adds stamp {world.fresh}", moved(filled, "looked", world.fresh, None)
        elif slot[0] == "stamp":
            yield f"{who} reads back stamp {slot[1]}", moved(world, "looked", slot[1], None)
        else:
            yield f"{who} reads back marks", moved(world, "done", None, None)
    elif at == "looked":
        yield f"{who} queries version {world.visible}", moved(world, "queried", stamp, world.visible)
    elif at == "queried":
        if not rules.stamps_before_query:
            stamp = slot[1] if slot[0] == "stamp" else None
        kept = world if stamp is None else world._replace(entry=(stamp, rows))
        yield f"{who} keeps version {rows} under stamp {stamp}", moved(kept, "done", None, None)
        if getattr(world, "full", "past") == "now":  # which may have room for entries, and for slots none
            yield f"{who} cannot keep version {rows}", moved(world, "done", None, None)
