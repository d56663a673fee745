"""The protocol on one relation, without code or clock: every interleaving of writers and readers.

The state of the world is a tuple. :func:`explore` goes to every one that can be reached, and stops at the first in
which a reader is served a version older than the newest one that was visible when it began.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

EMPTY: tuple[str, Any] = ("empty", None)


class World(NamedTuple):
    slot: tuple[str, Any]  # EMPTY, ("stamp", number) or ("marks", writers)
    fresh: int  # the next stamp
    visible: int  # the newest committed version
    entry: tuple[int, int] | None  # (stamp, version)
    writers: tuple[str, ...]  # idle, marked, committed, done or dead
    readers: tuple[tuple[str, Any, Any], ...]  # (where it is, its stamp, its rows)
    evictions: int  # that may still come


class Rules(NamedTuple):
    """Which rules hold. Each of them switched off must lead to a wrong read."""

    marks: bool = True  # W3
    merges: bool = True  # a mark leaves the marks of others alone, and so does settling
    stamps_before_query: bool = True  # R6
    adds: bool = True  # R4: fill only what is empty


Step = tuple[str, World | None]  # what happens, and the world after it; None: a wrong read


def explore(writers: int, readers: int, rules: Rules, *, crashes: bool, evictions: int) -> tuple[int, list[str] | None]:
    """The number of worlds, and the first wrong history if there is one."""
    start = World(EMPTY, 1, 0, None, ("idle",) * writers, (("idle", None, None),) * readers, evictions)
    came_from: dict[World, tuple[World, str] | None] = {start: None}
    todo = deque([start])
    while todo:
        world = todo.popleft()
        for happens, after in _steps(world, rules, crashes):
            if after is None:
                return len(came_from), [*_history(came_from, world), happens]
            if after not in came_from:
                came_from[after] = (world, happens)
                todo.append(after)
    return len(came_from), None


def _history(came_from: dict[World, tuple[World, str] | None], world: World) -> list[str]:
    history = []
    while (step := came_from[world]) is not None:
        world, happened = step
        history.append(happened)
    return history[::-1]


def _steps(world: World, rules: Rules, crashes: bool) -> Iterator[Step]:
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
        yield from _of_reader(world, rules, number, at, stamp, rows)


def _of_writer(world: World, rules: Rules, crashes: bool, number: int, at: str) -> Iterator[Step]:
    def moved(world: World, to: str) -> World:
        return world._replace(writers=(*world.writers[:number], to, *world.writers[number + 1 :]))

    if at == "idle":
        marked = world
        if rules.marks:
            others = world.slot[1] if world.slot[0] == "marks" and rules.merges else frozenset()
            marked = world._replace(slot=("marks", others | {number}))
        yield f"writer {number} marks", moved(marked, "marked")
    elif at in ("marked", "committed"):
        if at == "marked":
            yield f"writer {number} commits", moved(world._replace(visible=world.visible + 1), "committed")
        yield f"writer {number} settles ({at})", moved(_settled(world, rules, number), "done")
        if crashes:
            yield f"writer {number} dies ({at})", moved(world, "dead")


def _settled(world: World, rules: Rules, number: int) -> World:
    rest = world.slot[1] - {number} if world.slot[0] == "marks" and rules.merges else frozenset()
    if rest:
        return world._replace(slot=("marks", rest))
    return world._replace(slot=("stamp", world.fresh), fresh=world.fresh + 1)


def _of_reader(world: World, rules: Rules, number: int, at: str, stamp: Any, rows: Any) -> Iterator[Step]:
    def moved(world: World, *to: Any) -> World:
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
