"""Writes of a process whose settings exclude the relation, on one slot, without code or clock.

It marks before it writes, relies on that mark for a while, never settles, and marks once more after each write. Others
read as in :mod:`tests.protocol.protocol_model`. The store may lose a mark, and may have no room for one: then it
empties the slot.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

from tests.protocol.protocol_model import EMPTY, steps_of_reader
from tests.protocol.protocol_model import Rules as ReaderRules
from tests.protocol.search import Search, search

MARKED: tuple[str, Any] = ("marks", frozenset({0}))


class World(NamedTuple):
    slot: tuple[str, Any]  # EMPTY, ("stamp", number) or MARKED
    fresh: int  # the next stamp
    visible: int  # the newest committed version
    entry: tuple[int, int] | None  # (stamp, version)
    readers: tuple[tuple[str, Any, Any], ...]  # (where it is, its stamp, its rows)
    #: of the mark, as the process knows it: young, so that it may be relied on; old, so that it may end at any time
    mark: str
    #: the writes of the process that are under way: about to be visible, or visible and not marked since
    begun: int
    unmarked: int
    writes: int  # that may still begin
    losses: int  # of a mark, that may still come
    has_lost: bool  # a mark that was young, or that a write under way relied on, or one that could not be made
    refusals: int = 0  # of a mark, that may still come


class Rules(NamedTuple):
    """Which rules hold. Each of them switched off must lead to a wrong read."""

    marks: bool = True  # before a write becomes visible
    outlives: bool = True  # a mark that may be relied on outlives the writes that rely on it
    leaves: bool = True  # a mark is left to run out: settling would take it from the writes that rely on it
    follows: bool = True  # each write is followed by a mark
    knows: bool = True  # what the store had no room for is no mark, and is tried again


def explore(writes: int, readers: int, rules: Rules, *, losses: int = 0, refusals: int = 0) -> Search:
    """Search all worlds with so many writes of the process, and so many reads of another one."""
    idle = (("idle", None, None),) * readers
    start = World(EMPTY, 1, 0, None, idle, "old", 0, 0, writes, losses, has_lost=False, refusals=refusals)
    return search(start, partial(_steps, rules=rules))


def _steps(world: World, rules: Rules) -> Iterator[tuple[str, World | None]]:
    if world.writes:
        begun = world._replace(writes=world.writes - 1, begun=world.begun + 1)
        if world.mark == "young" or not rules.marks:
            yield "a write begins", begun
        else:
            yield "a write marks", begun._replace(slot=MARKED, mark="young")
            if world.refusals:
                yield "a write cannot mark", _refused(begun, rules)
    if world.begun:
        yield (
            "a write becomes visible",
            world._replace(begun=world.begun - 1, unmarked=world.unmarked + 1, visible=world.visible + 1),
        )
    if world.unmarked:
        if rules.follows and world.refusals:
            unmarked = world.unmarked if rules.knows else 0
            yield "what was written cannot be marked", _refused(world, rules)._replace(unmarked=unmarked)
        if rules.follows:
            yield "what was written is marked", world._replace(slot=MARKED, mark="young", unmarked=0, has_lost=False)
        else:
            yield "nothing follows", world._replace(unmarked=0, has_lost=False)
        if not rules.leaves:
            settled = world._replace(slot=("stamp", world.fresh), fresh=world.fresh + 1)
            yield "a write is settled", settled._replace(unmarked=world.unmarked - 1)
    if world.mark == "young":
        yield "the mark is no longer young", world._replace(mark="old")
    elif world.slot == MARKED and not (rules.outlives and world.begun):
        yield "the lease ends", world._replace(slot=EMPTY)
    if world.losses and world.slot == MARKED:
        yield "the mark is lost", world._replace(slot=EMPTY, losses=world.losses - 1, has_lost=True)
    for number, (at, stamp, rows) in enumerate(world.readers):
        for happens, after in steps_of_reader(world, ReaderRules(), number, at, stamp, rows):
            if after is None and world.has_lost and (world.begun or world.unmarked):
                continue  # as stated in docs/guarantees.md: until the mark that follows
            yield happens, after


def _refused(world: World, rules: Rules) -> World:
    """The store has no room for a mark, and empties the slot."""
    refused = world._replace(slot=EMPTY, refusals=world.refusals - 1)
    return refused._replace(mark="old", has_lost=True) if rules.knows else refused._replace(mark="young")
