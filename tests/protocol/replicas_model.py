"""The protocol with replicas that fill the cache, on one relation: every interleaving, with lag, crashes and failover.

A commit is the number of its writer. A server's log is what it has replayed, in order, and the length of a log is the
position in it. What a query returns is all of the log of the server that answers it. A read is wrong if it is served
something that lacks a commit of the primary of now.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.protocol.search import Search, search

EMPTY: tuple[str, Any] = ("empty", None)
Log = tuple[int, ...]
Position = tuple[int, int]  # timeline, length of the log


class Replica(NamedTuple):
    log: Log = ()
    timeline: int = 1  # of the last checkpoint that it has replayed, which is the one that it shows


class Reader(NamedTuple):
    at: str = "idle"  # idle, filling, looked, positioned, queried or done
    stamp: int | None = None
    asked: Position | None = None  # what the primary said before the look-up, where that rule is off
    replica: int | None = None  # which one answers; None: the primary
    replayed: Position | None = None
    rows: Log | None = None


class World(NamedTuple):
    slot: tuple[str, Any]  # EMPTY, ("stamp", number) or ("marks", writers)
    fresh: int  # the next stamp
    log: Log  # of the primary
    timeline: int
    fork: int  # the position at which this timeline began
    replicas: tuple[Replica | None, ...]  # None: it has become the primary
    entry: tuple[int, Log] | None  # (stamp, rows)
    bounds: tuple[tuple[int, Position], ...]  # of stamps: what a replica must have replayed
    writers: tuple[str, ...]  # idle, marked, committed, done or dead
    readers: tuple[Reader, ...]
    evictions: int  # that may still come
    failovers: int  # likewise


class Rules(NamedTuple):
    """Which rules hold. Each of them switched off must lead to a wrong read."""

    compares: bool = True  # a replica's answer is stored only if it had replayed the bound of the stamp
    asks_after: bool = True  # the primary is asked for its position after the stamp was read
    by_stamp: bool = True  # a bound belongs to a stamp, not to the slot
    position_first: bool = True  # the position of a replica is read before the query
    same_session: bool = True  # ... on the session that answers the query
    timelines: bool = True  # positions of different timelines are not compared
    marks: bool = True  # a writer marks the slot before its write becomes visible


Step = tuple[str, World | None]  # what happens, and the world after it; None: a wrong read


def explore(
    writers: int,
    readers: int,
    replicas: int,
    rules: Rules,
    *,
    crashes: bool = False,
    evictions: int = 0,
    failovers: int = 0,
) -> Search:
    """Search all worlds with so many of each, under these rules."""
    start = World(
        EMPTY, 1, (), 1, 0, (Replica(),) * replicas, None, (), ("idle",) * writers, (Reader(),) * readers, evictions,
        failovers,
    )  # fmt: skip

    def steps(world: World) -> Iterator[Step]:
        for happens, after in _steps(world, rules, crashes):
            yield happens, None if after is None else _plain(after)

    return search(start, steps)


def _plain(world: World) -> World:
    """The same world, with alike readers in one order, and without the bounds of stamps that nobody has any more."""
    named = {world.slot[1], 0, *(reader.stamp for reader in world.readers)}
    bounds = tuple(sorted(item for item in world.bounds if item[0] in named))
    return world._replace(readers=tuple(sorted(world.readers, key=repr)), bounds=bounds)


def _steps(world: World, rules: Rules, crashes: bool) -> Iterator[Step]:
    for number, at in enumerate(world.writers):
        yield from _of_writer(world, rules, crashes, number, at)
    if world.slot[0] == "marks":
        dead = frozenset(number for number in world.slot[1] if world.writers[number] == "dead")
        if dead:
            rest = world.slot[1] - dead
            yield "a lease ends", world._replace(slot=("marks", rest) if rest else EMPTY)
    if world.evictions:
        if world.slot[0] == "stamp":
            yield "the slot is lost", world._replace(slot=EMPTY, evictions=world.evictions - 1)
        if world.bounds:
            yield "the bounds are lost", world._replace(bounds=(), evictions=world.evictions - 1)
    for number, replica in enumerate(world.replicas):
        if replica is not None:
            yield from _of_replica(world, number, replica)
    for number, reader in enumerate(world.readers):
        yield from _of_reader(world, rules, number, reader)


def _put(items: tuple[Any, ...], number: int, item: Any) -> tuple[Any, ...]:
    return (*items[:number], item, *items[number + 1 :])


def _of_writer(world: World, rules: Rules, crashes: bool, number: int, at: str) -> Iterator[Step]:
    def moved(world: World, to: str) -> World:
        return world._replace(writers=_put(world.writers, number, to))

    if at == "idle":
        others = world.slot[1] if world.slot[0] == "marks" else frozenset()
        marked = world._replace(slot=("marks", others | {number})) if rules.marks else world
        yield f"writer {number} marks", moved(marked, "marked")
    elif at in ("marked", "committed"):
        if at == "marked":
            yield f"writer {number} commits", moved(world._replace(log=(*world.log, number)), "committed")
        rest = world.slot[1] - {number} if world.slot[0] == "marks" else frozenset()
        if rest:
            settled = world._replace(slot=("marks", rest))
        else:
            settled = world._replace(slot=("stamp", world.fresh), fresh=world.fresh + 1)
        yield f"writer {number} settles ({at})", moved(settled, "done")
        if crashes:
            yield f"writer {number} dies ({at})", moved(world, "dead")


def _of_replica(world: World, number: int, replica: Replica) -> Iterator[Step]:
    follows = world.log[: len(replica.log)] == replica.log
    if follows and len(replica.log) < len(world.log):
        after = replica._replace(log=world.log[: len(replica.log) + 1])
        yield f"replica {number} replays a commit", world._replace(replicas=_put(world.replicas, number, after))
    if follows and replica.timeline < world.timeline and len(replica.log) >= world.fork:
        after = replica._replace(timeline=world.timeline)
        yield f"replica {number} replays a checkpoint", world._replace(replicas=_put(world.replicas, number, after))
    if world.failovers and number == 0:
        # Another primary is another database: nothing that was stored before is looked at.
        yield (
            f"replica {number} is promoted",
            world._replace(
                slot=EMPTY,
                log=replica.log,
                timeline=world.timeline + 1,
                fork=len(replica.log),
                replicas=_put(world.replicas, number, None),
                entry=None,
                bounds=(),
                writers=tuple("dead" if at in ("marked", "committed") else at for at in world.writers),
                readers=tuple(Reader("done") if reader.at != "idle" else reader for reader in world.readers),
                failovers=world.failovers - 1,
            ),
        )


def _of_reader(world: World, rules: Rules, number: int, reader: Reader) -> Iterator[Step]:
    who, slot = f"reader {number}", world.slot

    def moved(world: World, **changes: Any) -> World:
        return world._replace(readers=_put(world.readers, number, reader._replace(**changes)))

    done = world._replace(readers=_put(world.readers, number, Reader("done")))
    if reader.at == "idle":
        asked = None if rules.asks_after else (world.timeline, len(world.log))
        if not rules.asks_after and reader.asked is None:
            yield f"{who} asks the primary", moved(world, asked=asked)
        elif slot[0] == "stamp" and world.entry is not None and world.entry[0] == slot[1]:
            missing = set(world.log) - set(world.entry[1])
            yield f"{who} is served {world.entry[1]}, visible {world.log}", None if missing else done
        elif slot[0] == "stamp":
            yield f"{who} looks up stamp {slot[1]}", moved(world, at="looked", stamp=slot[1])
        elif slot == EMPTY:
            filled = world._replace(slot=("stamp", world.fresh), fresh=world.fresh + 1)
            yield f"{who} adds stamp {world.fresh}", moved(filled, at="looked", stamp=world.fresh)
        else:
            yield f"{who} finds marks", done
    elif reader.at == "looked":
        yield f"{who} queries the primary", moved(world, at="queried", rows=world.log)
        yield from _positions(world, rules, number, reader)
    elif reader.at == "positioned":
        answers = [reader.replica] if rules.same_session else range(len(world.replicas))
        for one in answers:
            replica = world.replicas[one]  # type: ignore[index]  # a reader that has a position has a replica
            if replica is not None:
                happens = f"{who} queries replica {one}, which has {replica.log}"
                if rules.position_first:
                    yield happens, moved(world, at="queried", rows=replica.log)
    elif reader.at == "queried":
        if reader.rows is not None and reader.replayed is None and reader.replica is not None:
            # The rule that is off: the position is read after the query.
            replica = world.replicas[reader.replica]
            if replica is None or not _covers(world, rules, reader, (replica.timeline, len(replica.log))):
                yield f"{who} does not store it", done
                return
        kept = done._replace(entry=(reader.stamp, reader.rows))  # type: ignore[arg-type]  # both are there by now
        yield f"{who} stores {reader.rows} under stamp {reader.stamp}", kept


def _positions(world: World, rules: Rules, number: int, reader: Reader) -> Iterator[Step]:
    """What a reader does before a replica answers its query."""
    who = f"reader {number}"

    def moved(world: World, **changes: Any) -> World:
        return world._replace(readers=_put(world.readers, number, reader._replace(**changes)))

    name = reader.stamp if rules.by_stamp else 0
    if dict(world.bounds).get(name) is None:  # type: ignore[arg-type]  # it has looked up, and has a stamp
        said = reader.asked or (world.timeline, len(world.log))
        bounds = (*world.bounds, (name, said))
        yield f"{who} has the bound {said}", world._replace(bounds=bounds)  # type: ignore[arg-type]  # as above
        return
    for one, replica in enumerate(world.replicas):
        if replica is None:
            continue
        position = (replica.timeline, len(replica.log))
        if not rules.position_first:
            yield f"{who} queries replica {one}", moved(world, at="queried", replica=one, rows=replica.log)
        elif _covers(world, rules, reader, position):
            happens = f"{who} finds replica {one} at {position}"
            yield happens, moved(world, at="positioned", replica=one, replayed=position)


def _covers(world: World, rules: Rules, reader: Reader, replayed: Position) -> bool:
    if not rules.compares:
        return True
    bound = dict(world.bounds).get(reader.stamp if rules.by_stamp else 0)  # type: ignore[arg-type]  # as above
    if bound is None:
        return False
    return replayed[1] >= bound[1] and (replayed[0] == bound[0] or not rules.timelines)
