"""The mirror of the level near, for one slot, without code or clock: every interleaving of threads, writes and pushes.

Time is counted in versions of the slot. A proof that was asked for when the slot had version 2 says, once it is there,
that an answer from the mirror is version 2 or a later one. :func:`explore` stops at the first answer that is older than
the last proof, than a write of the process itself, or than what was answered before it was asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

from tests.protocol.search import Search, search

REFUSED = -1  # what is being fetched must not come in, whatever it is


class World(NamedTuple):
    version: int = 0  # of the slot on the server
    line: tuple[tuple[str, int], ...] = ()  # what is pushed and not taken in: ("change", 0) or ("proof", asked)
    asked: int | None = None  # the version at the moment of asking, until the server has heard the question
    proven: int | None = None
    mirror: int | None = None
    #: what the one that is to fill the mirror must bring; None: anything, REFUSED: nothing
    noted: int | None = None
    filler: int | None = None  # its number
    fetches: tuple[tuple[str, int], ...] = (("idle", 0), ("idle", 0))  # where it is, the version that it has fetched
    writes: int = 2  # of other processes, still to come
    own: str = "idle"  # the process's own write: idle, begun, changed or done
    known: int = 0  # the newest version that a read that begins now must not fall behind


class Rules(NamedTuple):
    """Which rules hold. Each of them switched off must lead to a wrong answer."""

    pushes_are_noted: bool = True  # for the fetch that is under way
    own_writes_forget: bool = True
    own_writes_are_noted: bool = True
    answers_are_compared: bool = True  # with the mirror, by a fetch that does not fill it
    answers_are_noted: bool = True  # by such a fetch, for the one that does
    one_fills: bool = True
    proofs_queue: bool = True  # behind the changes from before them
    proven_when_asked: bool = True  # not when the proof arrives


Step = tuple[str, World | None]  # what happens, and the world after it; None: a wrong answer


def explore(rules: Rules) -> Search:
    """Search all worlds, under these rules."""
    return search(World(), partial(_steps, rules=rules))


def _steps(world: World, rules: Rules) -> Iterator[Step]:
    if world.mirror is not None and world.proven is not None:
        wrong = world.mirror < max(world.proven, world.known)
        happens = f"the mirror answers {world.mirror}, proven {world.proven}, known {world.known}"
        yield happens, None if wrong else world._replace(known=world.mirror)
    if world.writes:
        yield "another process writes", _changed(world)._replace(writes=world.writes - 1)
    if world.asked is None and all(kind != "proof" for kind, _ in world.line):
        yield f"a proof is asked for at {world.version}", world._replace(asked=world.version)
    elif world.asked is not None:
        proof = (("proof", world.asked),)
        line = world.line + proof if rules.proofs_queue else proof + world.line
        yield "the server hears the question", world._replace(asked=None, line=line)
    if world.line:
        yield _taken_in(world, rules)
    yield from _of_own_write(world, rules)
    for number, (at, fetched) in enumerate(world.fetches):
        yield from _of_fetch(world, rules, number, at, fetched)


def _changed(world: World) -> World:
    return world._replace(version=world.version + 1, line=(*world.line, ("change", 0)))


def _taken_in(world: World, rules: Rules) -> Step:
    (kind, asked), *line = world.line
    after = world._replace(line=tuple(line))
    if kind == "proof":
        return "a proof arrives", after._replace(proven=asked if rules.proven_when_asked else world.version)
    return "a push arrives", _forgotten(after, noted=rules.pushes_are_noted)


def _forgotten(world: World, *, noted: bool, forgets: bool = True) -> World:
    if forgets:
        world = world._replace(mirror=None)
    return world._replace(noted=REFUSED) if noted and world.filler is not None else world


def _of_own_write(world: World, rules: Rules) -> Iterator[Step]:
    noted, forgets = rules.own_writes_are_noted, rules.own_writes_forget
    if world.own == "idle":
        yield "an own write begins", _forgotten(world, noted=noted, forgets=forgets)._replace(own="begun")
    elif world.own == "begun":
        yield "it is at the server", _changed(world)._replace(own=f"changed {world.version + 1}")
    elif world.own.startswith("changed"):
        known = max(world.known, int(world.own.split()[1]))
        yield "it is over", _forgotten(world, noted=noted, forgets=forgets)._replace(own="done", known=known)


def _of_fetch(world: World, rules: Rules, number: int, at: str, fetched: int) -> Iterator[Step]:
    def moved(world: World, *to: str | int) -> World:
        return world._replace(fetches=(*world.fetches[:number], to, *world.fetches[number + 1 :]))  # type: ignore[arg-type]

    if at == "idle":
        after = moved(world, "begun", 0)
        if world.filler is None or not rules.one_fills:
            after = after._replace(filler=number, noted=None)
        yield f"fetch {number} begins", after
    elif at == "begun":
        yield f"fetch {number} fetches {world.version}", moved(world, "fetched", world.version)
    elif at == "fetched":
        after = moved(world, "done", 0)._replace(known=max(world.known, fetched))
        if world.filler == number or not rules.one_fills:
            fits = world.noted in (None, fetched)
            after = after._replace(mirror=fetched if fits else None, filler=None, noted=None)
        else:
            if rules.answers_are_compared and world.mirror not in (None, fetched):
                after = after._replace(mirror=None)
            if rules.answers_are_noted and world.filler is not None:
                after = after._replace(noted=fetched if world.noted in (None, fetched) else REFUSED)
        yield f"fetch {number} ends with {fetched}", after
