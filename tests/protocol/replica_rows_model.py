"""Results that depend on rows and that replicas answer: every interleaving of writers and readers of one row.

A table has a slot, and so has its only row. Each is marked, settled and read at a moment of its own. What a replica
answers depends on the row's slot if the bound of that is reached; if that of the table's is, it depends on the table's,
and is promoted. The position in the log is the number of commits.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.protocol.search import Search, search

EMPTY: tuple[str, Any] = ("empty", None)
TABLE, ROW = 0, 1


class Reader(NamedTuple):
    at: str = "idle"  # idle, looking, looked, positioned, queried, promoting or done
    stamps: tuple[int | None, int | None] = (None, None)  # of both slots; None: marked
    by: int = TABLE  # whose bound is reached
    rows: int = 0  # the version that was read
    promoted: int | None = None  # the stamp of the row's slot after the query


class World(NamedTuple):
    slots: tuple[tuple[str, Any], tuple[str, Any]]
    fresh: int
    visible: int  # commits on the primary
    replayed: int  # on the replica
    entries: tuple[tuple[int, int] | None, tuple[int, int] | None]  # (stamp, version), by what they depend on
    bounds: tuple[tuple[int, int], ...]
    writers: tuple[tuple[str, tuple[bool, bool]], ...]  # (where it is, which slots it has marked or settled)
    readers: tuple[Reader, ...]


class Rules(NamedTuple):
    """Which rules hold. Each of them switched off must lead to a wrong read."""

    own_bounds: bool = True  # what depends on the row's slot needs the bound of that slot, not the table's
    looks_again: bool = True  # the table's slot is read after the row's, before a result is promoted
    compares: bool = True  # the replica has to have replayed the bound


Step = tuple[str, World | None]  # what happens, and the world after it; None: a wrong read


def explore(writers: int, readers: int, rules: Rules) -> Search:
    """Search all worlds with so many writers and readers, under these rules."""
    start = World(
        (("stamp", 1), ("stamp", 2)), 3, 0, 0, (None, None), (), (("idle", (False, False)),) * writers,
        (Reader(),) * readers,
    )  # fmt: skip

    def steps(world: World) -> Iterator[Step]:
        for happens, after in _steps(world, rules):
            yield happens, None if after is None else _plain(after)

    return search(start, steps)


def _plain(world: World) -> World:
    """The same world, with alike actors in one order, and without the bounds of stamps that nobody has any more."""
    named = {world.slots[TABLE][1], world.slots[ROW][1]}.union(*(reader.stamps for reader in world.readers))
    return world._replace(
        bounds=tuple(sorted(item for item in world.bounds if item[0] in named)),
        readers=tuple(sorted(world.readers, key=repr)),
    )


def _put(items: tuple[Any, ...], number: int, item: Any) -> tuple[Any, ...]:
    return (*items[:number], item, *items[number + 1 :])


def _steps(world: World, rules: Rules) -> Iterator[Step]:
    if world.replayed < world.visible:
        yield "the replica replays a commit", world._replace(replayed=world.replayed + 1)
    for number, (at, slots) in enumerate(world.writers):
        yield from _of_writer(world, number, at, slots)
    for number, reader in enumerate(world.readers):
        yield from _of_reader(world, rules, number, reader)


def _of_writer(world: World, number: int, at: str, have: tuple[bool, bool]) -> Iterator[Step]:
    def moved(world: World, at: str, have: tuple[bool, bool]) -> World:
        return world._replace(writers=_put(world.writers, number, (at, have)))

    for one in (TABLE, ROW):
        slot = world.slots[one]
        if at == "idle" and not have[one]:
            others = slot[1] if slot[0] == "marks" else frozenset()
            marked = world._replace(slots=_put(world.slots, one, ("marks", others | {number})))  # type: ignore[arg-type]  # two
            yield f"writer {number} marks slot {one}", moved(marked, at, _put(have, one, True))  # type: ignore[arg-type]  # two
        elif at == "committed" and have[one]:
            rest = slot[1] - {number}
            held = ("marks", rest) if rest else ("stamp", world.fresh)
            settled = world._replace(slots=_put(world.slots, one, held), fresh=world.fresh + (not rest))  # type: ignore[arg-type]  # two
            yield f"writer {number} settles slot {one}", moved(settled, at, _put(have, one, False))  # type: ignore[arg-type]  # two
    if at == "idle" and all(have):
        yield f"writer {number} commits", moved(world._replace(visible=world.visible + 1), "committed", have)


def _of_reader(world: World, rules: Rules, number: int, reader: Reader) -> Iterator[Step]:
    who = f"reader {number}"
    held = tuple(slot[1] if slot[0] == "stamp" else None for slot in world.slots)

    def moved(world: World, **changes: Any) -> World:
        return world._replace(readers=_put(world.readers, number, reader._replace(**changes)))

    done = world._replace(readers=_put(world.readers, number, Reader("done")))
    if reader.at == "idle":
        for one in (TABLE, ROW):
            entry = world.entries[one]
            if entry is not None and entry[0] == held[one]:
                happens = f"{who} is served version {entry[1]}, visible {world.visible}"
                yield happens, None if entry[1] < world.visible else done
        for one in (TABLE, ROW):
            stamps = _put((None, None), one, held[one])
            yield f"{who} looks up slot {one}", moved(world, at=f"looking {1 - one}", stamps=stamps)
    elif reader.at.startswith("looking"):
        one = int(reader.at[-1])
        yield f"{who} looks up slot {one}", moved(world, at="looked", stamps=_put(reader.stamps, one, held[one]))
    elif reader.at == "looked":
        bounds = dict(world.bounds)
        for one in (TABLE, ROW):
            stamp = reader.stamps[one]
            bound = bounds.get(reader.stamps[one if rules.own_bounds else TABLE])  # type: ignore[arg-type]  # None: none
            if stamp is not None and stamp not in bounds:
                asked = world._replace(bounds=(*world.bounds, (stamp, world.visible)))
                yield f"{who} has the bound {world.visible} for slot {one}", asked
            elif stamp is not None and bound is not None and (world.replayed >= bound or not rules.compares):
                yield f"{who} finds the replica at {world.replayed}", moved(world, at="positioned", by=one)
        if reader.stamps == (None, None):
            yield f"{who} stores nothing", done
    elif reader.at == "positioned":
        yield f"{who} queries version {world.replayed}", moved(world, at="queried", rows=world.replayed)
    else:
        yield from _storing(world, rules, number, reader)


def _storing(world: World, rules: Rules, number: int, reader: Reader) -> Iterator[Step]:
    """What a reader does with what the replica has answered."""
    who = f"reader {number}"
    held = tuple(slot[1] if slot[0] == "stamp" else None for slot in world.slots)
    done = world._replace(readers=_put(world.readers, number, Reader("done")))
    if reader.at == "queried":
        stored = world._replace(entries=_put(world.entries, reader.by, (reader.stamps[reader.by], reader.rows)))  # type: ignore[arg-type]  # two
        yield f"{who} stores version {reader.rows}", stored._replace(readers=done.readers)
        if reader.by == TABLE and held[ROW] is not None:
            after = reader._replace(at="promoting", promoted=held[ROW])
            yield f"{who} reads the slot of the row", world._replace(readers=_put(world.readers, number, after))
    elif reader.at == "promoting":
        if held[TABLE] == reader.stamps[TABLE] or not rules.looks_again:
            stored = world._replace(entries=_put(world.entries, ROW, (reader.promoted, reader.rows)))  # type: ignore[arg-type]  # two
            yield f"{who} promotes version {reader.rows}", stored._replace(readers=done.readers)
        else:
            yield f"{who} promotes nothing", done
