"""Derived results, without code or clock: every interleaving of writers and callers.

Two queries read one relation each, and have an entry each. What is derived is computed of both results, of which each
is a hit or a miss, and its entry has the stamps of both. Callers look it up, or else read one result, then the other,
validate, and store. With ``nested``, something else is computed of what is derived and of nothing besides, and has an
entry of its own. :func:`explore` stops where a caller is served what was not true at any moment after it began: it is
too old, or a mixture of two states.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

from tests.protocol.search import Search, search

#: What a slot holds: a stamp, the writers that have marked it, or nothing
Slot = int | frozenset[int] | None
EMPTY = None

#: Slots, each with what it held
Stamps = tuple[tuple[int, Slot], ...]
#: Of the rows of each query
Versions = tuple[int, ...]


class Entry(NamedTuple):
    stamps: Stamps
    versions: Versions


class Caller(NamedTuple):
    """Where a caller is, and as much as it needs of what it has read."""

    at: str = "idle"
    is_outside: bool = False  # does it look up or store what is computed of what is derived?
    began: int = 0  # the number of the state that was visible
    entry: Entry | None = None  # whose slots it checks
    checked: int = 0  # slots that it has checked or validated
    stamp: Slot = EMPTY  # of the query that it runs
    stamps: Stamps = ()  # that it has recorded
    versions: Versions = ()  # that it has read


class World(NamedTuple):
    slots: tuple[Slot, Slot]
    history: tuple[Versions, ...]  # the states of the two relations that were visible, oldest first
    queries: tuple[Entry | None, Entry | None]
    inner: Entry | None
    outer: Entry | None
    writers: tuple[str, ...]  # idle, marked, committed, done
    callers: tuple[Caller, ...]
    evictions: int  # that may still come
    uses: int  # likewise


class Rules(NamedTuple):
    """Which rules hold. Each of them switched off must lead to something wrong, but for ``validates``."""

    stamps_before_query: bool = True  # the stamp of a query's relation is read before the query runs
    hits_count: bool = True  # what a hit depends on is recorded as well
    compares: bool = True  # two stamps of one slot are two states: nothing is stored
    refuses_marks: bool = True  # nor is anything that was read while a slot was marked
    #: at the end all slots must hold what was recorded; else it is stored in vain, and what its caller has may be mixed
    validates: bool = True
    passes_on: bool = True  # what a part depends on is recorded by what it is part of


class Setting(NamedTuple):
    writers: tuple[tuple[int, ...], ...]  # the relations that each of them writes
    relations: tuple[int, int]  # of the two queries
    nested: bool
    rules: Rules
    at_once: bool  # can the store read several slots at one moment?


Step = tuple[str, World | None]  # what happens, and the world after it; None: something wrong is served


def explore(
    writers: tuple[tuple[int, ...], ...],
    rules: Rules,
    *,
    relations: tuple[int, int] = (0, 1),
    nested: bool = False,
    callers: int = 2,
    uses: int = 2,
    evictions: int = 0,
    at_once: bool = False,
    warm: bool = False,
) -> Search:
    """Search all worlds with these writers, so many callers and so many uses of theirs, under these rules.

    ``writers``: the relations that each of them writes. ``relations``: those of the two queries; they may be one.
    ``warm``: the results of both queries are stored at first, or else nothing is.
    """
    setting = Setting(writers, relations, nested, rules, at_once)
    stored = tuple(Entry(((slot, 0),), (0,)) for slot in relations)
    start = World(
        (0, 0) if warm else (EMPTY, EMPTY),
        ((0, 0),),
        (stored[0], stored[1]) if warm else (None, None),
        None,
        None,
        ("idle",) * len(writers),
        (Caller(),) * callers,
        evictions,
        uses,
    )
    return search(start, partial(_steps, setting=setting))


def _steps(world: World, setting: Setting) -> Iterator[Step]:
    for number, at in enumerate(world.writers):
        yield from _of_writer(world, setting, number, at)
    if world.evictions:
        for slot in (0, 1):
            if isinstance(world.slots[slot], int):
                lost = _holding(world, slot, EMPTY)
                yield f"slot {slot} is lost", lost._replace(evictions=world.evictions - 1)
    for number, caller in enumerate(world.callers):
        if caller.at == "idle" and not world.uses:
            continue
        for happens, after, to in _of_caller(world, setting, caller):
            # Callers are alike, so that their order makes no difference.
            others = (*world.callers[:number], to, *world.callers[number + 1 :])
            yield happens, after and after._replace(callers=tuple(sorted(others, key=hash)))


def _holding(world: World, slot: int, held: Slot) -> World:
    return world._replace(slots=(held, world.slots[1]) if slot == 0 else (world.slots[0], held))


def _fresh(world: World, slot: int) -> int:
    """Return a stamp that is unlike all that anybody remembers for this slot: nothing else makes a stamp a new one."""
    entries = (*world.queries, world.inner, world.outer, *(caller.entry for caller in world.callers))
    remembered = [entry.stamps for entry in entries if entry is not None]
    remembered += [caller.stamps for caller in world.callers]
    known = {world.slots[slot], *(caller.stamp for caller in world.callers)}
    known |= {stamp for stamps in remembered for one, stamp in stamps if one == slot}
    return next(stamp for stamp in range(len(known) + 1) if stamp not in known)


# Writers ------------------------------------------------------------------------------------------


def _of_writer(world: World, setting: Setting, number: int, at: str) -> Iterator[Step]:
    def moved(world: World, to: str) -> World:
        return world._replace(writers=(*world.writers[:number], to, *world.writers[number + 1 :]))

    written, who, after = setting.writers[number], f"writer {number}", world
    if at == "idle":
        for slot in written:
            held = after.slots[slot]
            after = _holding(after, slot, (held if isinstance(held, frozenset) else frozenset()) | {number})
        yield f"{who} marks", moved(after, "marked")
    elif at == "marked":
        state = tuple(version + (relation in written) for relation, version in enumerate(world.history[-1]))
        yield f"{who} commits", moved(world._replace(history=(*world.history, state)), "committed")
    elif at == "committed":
        for slot in written:
            held = after.slots[slot]
            rest = held - {number} if isinstance(held, frozenset) else frozenset()
            after = _holding(after, slot, rest or _fresh(after, slot))
        yield f"{who} settles", moved(after, "done")


# Callers ------------------------------------------------------------------------------------------

Move = tuple[str, World | None, Caller]


def _of_caller(world: World, setting: Setting, caller: Caller) -> Iterator[Move]:
    if caller.at == "idle":
        began = Caller("looking", setting.nested, len(world.history) - 1)
        yield "a caller begins", world._replace(uses=world.uses - 1), began
    elif caller.at == "looking":
        entry = world.outer if caller.is_outside else world.inner
        if entry is None:
            yield "it finds nothing", world, _missing(caller)
        else:
            yield from _checks(world, setting, caller._replace(at="checking", entry=entry))
    elif caller.at == "checking":
        yield from _checks(world, setting, caller)
    elif caller.at == "reading":
        yield from _reads(world, setting, caller)
    elif caller.at == "querying":
        yield from _queries(world, setting, caller)
    elif caller.at == "stamping":
        query = len(caller.versions) - 1
        yield "it reads the stamp", world, _recorded(setting, caller, query, world.slots[setting.relations[query]])
    elif caller.at == "validating":
        yield from _validates(world, setting, caller)
    else:
        entry = Entry(caller.stamps, caller.versions)
        stored = world._replace(outer=entry) if caller.is_outside else world._replace(inner=entry)
        yield f"it stores {caller.versions}", stored, _after_part(setting, caller)


def _missing(caller: Caller) -> Caller:
    """Return a caller that has looked something up in vain: what is outside is computed of what is inside."""
    if caller.is_outside:
        return Caller("looking", began=caller.began)
    return Caller("reading", began=caller.began)


def _checks(world: World, setting: Setting, caller: Caller) -> Iterator[Move]:
    """Look up an entry and its slots, one after the other where the store cannot read them at one moment."""
    entry = caller.entry
    assert entry is not None
    count = len(entry.stamps) if setting.at_once else 1
    now = entry.stamps[caller.checked : caller.checked + count]
    if any(world.slots[slot] != stamp for slot, stamp in now):
        yield "its slots have changed", world, _missing(caller)
    elif caller.checked + count < len(entry.stamps):
        yield "a slot is as before", world, caller._replace(checked=caller.checked + count)
    else:
        states = world.history[caller.began :]
        was_true = entry.versions in [tuple(state[one] for one in setting.relations) for state in states]
        happens = f"it is served {entry.versions}, and these were visible: {states}"
        part = caller._replace(stamps=entry.stamps, versions=entry.versions)
        to = Caller() if caller.is_outside else _after_part(setting, part)
        yield happens, world if was_true else None, to


def _after_part(setting: Setting, caller: Caller) -> Caller:
    """Return a caller that has what is derived: that is all, or a part of what it computes."""
    if caller.is_outside or not setting.nested:
        return Caller()
    stamps = caller.stamps if setting.rules.passes_on else ()
    return Caller("validating", True, caller.began, stamps=stamps, versions=caller.versions)


def _reads(world: World, setting: Setting, caller: Caller) -> Iterator[Move]:
    """Look up the next of the two queries."""
    query = len(caller.versions)
    slot = setting.relations[query]
    if world.slots[slot] is EMPTY:
        yield f"slot {slot} is filled", _holding(world, slot, _fresh(world, slot)), caller
        return
    held, entry = world.slots[slot], world.queries[query]
    if entry is not None and entry.stamps == ((slot, held),):
        read = caller._replace(versions=(*caller.versions, *entry.versions))
        if setting.rules.hits_count:
            yield f"query {query} is a hit", world, _recorded(setting, read, query, held)
        else:
            yield f"query {query} is a hit", world, _next(setting, read)
    else:
        yield f"query {query} is a miss", world, caller._replace(at="querying", stamp=held)


def _queries(world: World, setting: Setting, caller: Caller) -> Iterator[Move]:
    query, held = len(caller.versions), caller.stamp
    slot = setting.relations[query]
    version = world.history[-1][slot]
    read = caller._replace(versions=(*caller.versions, version), stamp=EMPTY)
    if not setting.rules.stamps_before_query:
        yield f"query {query} reads version {version}", world, read._replace(at="stamping")
        return
    to = _recorded(setting, read, query, held)
    if isinstance(held, int):
        entry = Entry(((slot, held),), (version,))
        world = world._replace(queries=(entry, world.queries[1]) if query == 0 else (world.queries[0], entry))
    yield f"query {query} reads version {version}", world, to


def _recorded(setting: Setting, caller: Caller, query: int, stamp: Slot) -> Caller:
    """Return a caller that has read the result of a query, whose slot held this."""
    rules, slot = setting.rules, setting.relations[query]
    if stamp is EMPTY or (rules.refuses_marks and not isinstance(stamp, int)):
        return Caller()  # it goes on, and nothing of it is stored
    recorded = dict(caller.stamps)
    if rules.compares and recorded.get(slot, stamp) != stamp:
        return Caller()
    recorded[slot] = stamp
    return _next(setting, caller._replace(stamps=tuple(sorted(recorded.items()))))


def _next(setting: Setting, caller: Caller) -> Caller:
    if len(caller.versions) < 2:
        return caller._replace(at="reading")
    return caller._replace(at="validating", checked=0)


def _validates(world: World, setting: Setting, caller: Caller) -> Iterator[Move]:
    storing = caller._replace(at="storing", checked=0)
    if not setting.rules.validates or not caller.stamps:
        yield "it does not validate", world, storing
        return
    count = len(caller.stamps) if setting.at_once else 1
    now = caller.stamps[caller.checked : caller.checked + count]
    if any(world.slots[slot] != stamp for slot, stamp in now):
        yield "it is not valid", world, Caller()
    elif caller.checked + count < len(caller.stamps):
        yield "a slot is valid", world, caller._replace(checked=caller.checked + count)
    else:
        yield "it is valid", world, storing
