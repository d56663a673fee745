"""Schema changes where each schema has a slot of its own, without code or clock: every interleaving.

Sessions have the search path "a, public" and ask for ``notes``. That is ``public.notes`` until there is an ``a.notes``.
``*`` is the epoch, ``*schema`` the slot that every schema change stamps, ``*schema a`` the one for changes that are
confined to the schema a. Each process has a part of the catalog, dated by what these three held before it was read; its
statements are planned by it. :func:`explore` stops at the first hit that is older than what was visible when its read
began, and at the first COMMIT of a table that is not marked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

from tests.protocol.search import Search, search

#: What a slot holds: a stamp, the writers that have marked it, or nothing
Slot = int | frozenset[int] | None
Stamps = tuple[tuple[str, int], ...]  # slots, and what they held

NAMES = ("*", "*schema", "*schema a", "public.notes", "a.notes")
DATES = ("*", "*schema", "*schema a")
TABLES = ("public.notes", "a.notes")  # which one the name means: 0 or 1


class Change(NamedTuple):
    """A writer that does not go by the name alone, so that it knows what to mark."""

    marks: frozenset[str]
    hides: bool = False  # is there an a.notes from then on?
    writes: int | None = None  # which of the tables


CHANGES = {
    "CREATE TABLE a.notes": Change(frozenset({"*schema", "*schema a"}), hides=True),
    "CREATE TABLE b.notes": Change(frozenset({"*schema"})),  # and the slot of b, which concerns nobody here
    "ALTER TABLE a.others RENAME TO notes": Change(frozenset({"*", "*schema"}), hides=True),  # it is not confined
    "INSERT INTO public.notes": Change(frozenset({"public.notes"}), writes=0),
    "INSERT INTO a.notes": Change(frozenset({"a.notes"}), writes=1),
    "CALL": Change(frozenset({"*"}), writes=1),  # it cannot be understood
}
#: Writers by the name, which rely on their process's part: in a transaction, whose statement has run when it is marked;
#: the same in a process that writes something else before; and in autocommit
BY_NAME = (
    "BEGIN; INSERT INTO notes; COMMIT",
    "INSERT INTO others; BEGIN; INSERT INTO notes; COMMIT",
    "INSERT INTO notes",
)


class Part(NamedTuple):
    means: int  # which table is notes?
    dates: tuple[int, int, int] | None  # None: they are not known


class Entry(NamedTuple):
    vector: Stamps
    seen: frozenset[int]  # writers whose changes are in it


class Process(NamedTuple):
    """A reader, or a writer by the name: where it is, and what it needs of what it has read."""

    at: str = "idle"
    part: Part | None = None
    wanted: tuple[str, ...] = ()  # slots that it has still to read
    read: Stamps = ()
    # Of a reader
    began: frozenset[int] = frozenset()  # writers whose changes had to be seen
    found: Entry | None = None
    vector: Stamps = ()
    is_replanned: bool = False
    seen: frozenset[int] = frozenset()
    # Of a writer
    left: frozenset[str] = frozenset()  # slots that are still to be marked or settled
    marked: frozenset[str] = frozenset()
    written: int | None = None
    is_elsewhere: bool = False  # does it write something else?
    # Of both, while they ask whether their part is right: the stamp that has made them ask
    known: tuple[str, int] | None = None
    first: Stamps = ()  # what they were answered before they asked again


class World(NamedTuple):
    slots: tuple[Slot, ...]
    means: int
    seen: frozenset[int]  # writers whose changes of the answer are visible
    entry: Entry | None
    writers: tuple[Process, ...]
    readers: tuple[Process, ...]


class Rules(NamedTuple):
    """Which rules hold. Each of them switched off must lead to a wrong hit."""

    # Schema changes
    marks: bool = True  # they mark before they become visible
    own_slots: bool = True  # a confined one marks the slot of its schema
    epoch: bool = True  # any other one marks the epoch
    schema_slot: bool = True  # each marks the slot of the schema
    # Parts
    dated_before: bool = True  # by stamps from before the catalog is read
    own_undated: bool = True  # what a transaction has read that changes the schema is never dated
    asked_again: bool = True  # if slots are read one by one and one has changed, until two answers are the same
    # Readers
    in_vector: bool = True  # the slot of the schema is in the vector
    compared: bool = True  # the plan's part is compared with the vector
    # Writers by a name
    watched: bool = True  # they learn with their mark whether there was a schema change
    watched_again: bool = True  # in autocommit once more when they settle


class Setting(NamedTuple):
    writers: tuple[str, ...]
    rules: Rules
    at_once: bool  # can the store read several slots at one moment?
    crashes: bool


Step = tuple[str, World | None]  # what happens, and the world after it; None: a wrong hit
Move = tuple[str, World | None, Process]


def explore(
    writers: Sequence[str], rules: Rules, *, readers: int = 1, at_once: bool = True, crashes: bool = False
) -> Search:
    """Search all worlds with these writers and so many readers, each in a process of its own, under these rules."""
    setting = Setting(tuple(writers), rules, at_once, crashes)
    loaded = Process(part=Part(0, (0, 0, 0)))
    begun = tuple(
        loaded._replace(is_elsewhere="others;" in name)
        if name in BY_NAME
        else Process("idle", left=_marks_of(name, setting.rules))
        for name in writers
    )
    start = World((0,) * len(NAMES), 0, frozenset(), None, begun, (loaded,) * readers)
    return search(start, partial(_steps, setting=setting))


def _steps(world: World, setting: Setting) -> Iterator[Step]:
    for number, writer in enumerate(world.writers):
        moves = _of_writer_by_name if setting.writers[number] in BY_NAME else _of_change
        for happens, after, to in moves(world, setting, number, writer):
            others = (*world.writers[:number], to, *world.writers[number + 1 :])
            yield f"{setting.writers[number]}: {happens}", after and after._replace(writers=others)
    yield from _own_catalog(world, setting)
    for number, slot in enumerate(world.slots):
        if isinstance(slot, frozenset):
            dead = frozenset(writer for writer in slot if world.writers[writer].at == "dead")
            if dead:
                yield f"a lease ends in {NAMES[number]}", _holding(world, NAMES[number], slot - dead or None)
    for number, reader in enumerate(world.readers):
        for happens, after, to in _of_reader(world, setting, reader):
            others = (*world.readers[:number], to, *world.readers[number + 1 :])
            yield happens, after and after._replace(readers=tuple(sorted(others, key=hash)))


# Slots --------------------------------------------------------------------------------------------


def _held(world: World, name: str) -> Slot:
    return world.slots[NAMES.index(name)]


def _holding(world: World, name: str, slot: Slot) -> World:
    number = NAMES.index(name)
    return world._replace(slots=(*world.slots[:number], slot, *world.slots[number + 1 :]))


def _fresh(world: World, name: str) -> int:
    """Return a stamp that is unlike all that anybody remembers for this slot: nothing else makes a stamp a new one."""
    known: set[object] = {_held(world, name)}
    for process in (*world.readers, *world.writers):
        known.update(
            stamp
            for slot, stamp in (
                *process.read,
                *process.first,
                *process.vector,
                *((process.known,) if process.known else ()),
            )
            if slot == name
        )
        if process.found is not None:
            known.update(stamp for slot, stamp in process.found.vector if slot == name)
        if process.part is not None and process.part.dates is not None and name in DATES:
            known.add(process.part.dates[DATES.index(name)])
    if world.entry is not None:
        known.update(stamp for slot, stamp in world.entry.vector if slot == name)
    return next(stamp for stamp in range(len(known) + 1) if stamp not in known)


def _marked(world: World, name: str, writer: int) -> World:
    held = _held(world, name)
    return _holding(world, name, (held if isinstance(held, frozenset) else frozenset()) | {writer})


def _settled(world: World, name: str, writer: int) -> World:
    held = _held(world, name)
    rest = held - {writer} if isinstance(held, frozenset) else frozenset()
    return _holding(world, name, rest or _fresh(world, name))


def _reads(world: World, setting: Setting, process: Process) -> tuple[World, Process] | None:
    """Read what is wanted, or the next of it, and fill what is empty; None: it finds marks."""
    names = process.wanted if setting.at_once else process.wanted[:1]
    read = process.read
    for name in names:
        if _held(world, name) is None:
            world = _holding(world, name, _fresh(world, name))
        held = _held(world, name)
        if not isinstance(held, int):
            return None
        read = (*read, (name, held))
    return world, process._replace(wanted=process.wanted[len(names) :], read=read)


# Writers ------------------------------------------------------------------------------------------


def _marks_of(name: str, rules: Rules) -> frozenset[str]:
    marks = CHANGES[name].marks
    if "*schema a" in marks and not rules.own_slots:
        marks -= {"*schema a"}
    if "*schema" in marks and not rules.epoch:
        marks -= {"*"}
    return marks if rules.schema_slot else marks - {"*schema"}


def _of_change(world: World, setting: Setting, number: int, writer: Process) -> Iterator[Move]:
    change = CHANGES[setting.writers[number]]
    if writer.at == "idle":
        if not setting.rules.marks:
            yield "begins", world, writer._replace(at="marked")
        for name in writer.left if setting.rules.marks else ():
            left = writer.left - {name}
            yield (
                f"marks {name}",
                _marked(world, name, number),
                writer._replace(at="idle" if left else "marked", left=left),
            )
    elif writer.at == "marked":
        settling = Process("settling", left=_marks_of(setting.writers[number], setting.rules))
        if change.hides or change.writes is not None:
            yield "is rolled back", world, settling
        if change.hides:
            yield "is visible", world._replace(means=1, seen=world.seen | {number}), settling
        elif change.writes != 1 or world.means == 1:  # or else there is no such table
            is_other = change.writes == world.means
            seen = world.seen | {number} if is_other else world.seen
            yield "is visible", world._replace(seen=seen), settling
    elif writer.at == "settling":
        for name in writer.left:
            left = writer.left - {name}
            yield f"settles {name}", _settled(world, name, number), Process("settling" if left else "done", left=left)
    if setting.crashes and writer.at in ("marked", "settling"):
        yield "dies", world, Process("dead")


def _own_catalog(world: World, setting: Setting) -> Iterator[Step]:
    """A transaction that has changed the schema reads the catalog, in the process of a reader."""
    may = any(
        name in CHANGES
        and CHANGES[name].hides
        and writer.at == "idle"
        and writer.left == _marks_of(name, setting.rules)
        for name, writer in zip(setting.writers, world.writers, strict=True)
    )
    if not may or not world.readers or world.readers[0].at != "idle":
        return
    dates = None
    if not setting.rules.own_undated:
        held = [_held(world, name) for name in DATES]
        if not all(isinstance(stamp, int) for stamp in held):
            return
        dates = tuple(held)
    own = world.readers[0]._replace(part=Part(1, dates))  # type: ignore[arg-type]
    yield "a transaction reads its own catalog", world._replace(readers=(own, *world.readers[1:]))


def _of_writer_by_name(world: World, setting: Setting, number: int, writer: Process) -> Iterator[Move]:
    is_transaction = "BEGIN" in setting.writers[number]
    part = writer.part
    if writer.at == "idle" and writer.is_elsewhere:
        yield "begins with something else", world, writer._replace(at="watching")
    elif writer.at == "idle":
        assert part is not None
        written = world.means if is_transaction else None
        marking = writer._replace(at="watching", left=frozenset({TABLES[part.means]}), written=written)
        yield f"is planned for {TABLES[part.means]}", world, marking
    elif writer.at in ("watching", "watching again"):
        # Before the mark, because a store may read it first.
        yield from _watches(world, setting, writer)
    elif writer.at == "marking":
        for name in writer.left:
            left, marked = writer.left - {name}, writer.marked | {name}
            to = writer._replace(left=left, marked=marked, at="marking" if left else "marked")
            yield f"marks {name}", _marked(world, name, number), to
    elif writer.at in ("asking", "dating", "cataloguing"):
        yield from _catalog(world, setting, writer)
    elif writer.at == "marked":
        written = world.means if writer.written is None else writer.written
        seen = world.seen | {number} if written == world.means else world.seen
        at = "settling" if is_transaction or not setting.rules.watched_again else "watching again"
        settling = Process(at, part, left=writer.marked, marked=writer.marked, written=written)
        happens, after = f"writes {TABLES[written]}", world._replace(seen=seen)
        if is_transaction and writer.marked.isdisjoint({TABLES[written], "*"}):
            yield f"{happens}, which is not marked", None, settling
        else:
            yield happens, after, settling
    elif writer.at == "settling":
        for name in writer.left:
            left = writer.left - {name}
            to = writer._replace(left=left) if left else Process("done")
            yield f"settles {name}", _settled(world, name, number), to


def _watches(world: World, setting: Setting, writer: Process) -> Iterator[Move]:
    """Compare the slot of the schema with the date of the part."""
    held, part = _held(world, "*schema"), writer.part
    assert part is not None
    if not setting.rules.watched or (part.dates is not None and held == part.dates[1]):
        yield "sees no schema change", world, _goes_on(writer, frozenset())
    elif isinstance(held, int):
        for happens, asking in _asks(writer._replace(known=("*schema", held)), setting):
            yield f"sees that there was a schema change, and {happens}", world, asking
    else:
        yield "sees a schema change under way", world, _goes_on(writer, frozenset({"*"}))


def _goes_on(writer: Process, more: frozenset[str]) -> Process:
    """Mark, or settle if it is visible, what was planned and this."""
    if writer.is_elsewhere:
        return Process(part=writer.part)
    left = writer.left | more
    at = "settling" if writer.marked else "marking"
    return writer._replace(at=at, left=left, wanted=(), read=(), first=(), known=None)


# Parts of the catalog -----------------------------------------------------------------------------


def _catalog(world: World, setting: Setting, process: Process) -> Iterator[Move]:
    """Go on asking whether a part is still right, or reading it."""
    is_reader, rules = process in world.readers, setting.rules
    if process.at == "cataloguing":
        read = dict(process.read)
        dates = (read["*"], read["*schema"], read["*schema a"]) if len(read) == len(DATES) else None
        after = process._replace(part=Part(world.means, dates), read=())
        happens = f"reads the catalog: it is {TABLES[world.means]}"
        if not rules.dated_before and dates is None:
            yield happens, world, after._replace(at="dating", wanted=DATES)
        elif is_reader:
            yield happens, world, _looking(world, after, rules)
        else:
            yield happens, world, _goes_on(after, frozenset({TABLES[world.means]}))
        return
    found = _reads(world, setting, process)
    if process.at == "dating":
        yield from _dates(world, setting, process, found, is_reader=is_reader)
    elif found is None:
        # A reader goes to the database, a writer has the part read again.
        yield "is in doubt", world, _ended(process) if is_reader else _outdated(process, rules)
    elif found[1].wanted:
        yield f"asks for {process.wanted[0]}", found[0], found[1]
    else:
        yield from _judged(found[0], setting, found[1], is_reader=is_reader)


def _asks(process: Process, setting: Setting) -> Iterator[tuple[str, Process]]:
    """Ask whether a part is still right. Slots on several servers are read in an order that cannot be chosen."""
    yield "asks", process._replace(at="asking", wanted=DATES, read=())
    if not setting.at_once:
        yield "asks in another order", process._replace(at="asking", wanted=DATES[::-1], read=())


def _dates(
    world: World, setting: Setting, process: Process, found: tuple[World, Process] | None, *, is_reader: bool
) -> Iterator[Move]:
    if setting.rules.dated_before:
        if found is None:
            yield "finds no dates", world, process._replace(at="cataloguing", wanted=(), read=())
        elif found[1].wanted:
            yield f"reads the date of {process.wanted[0]}", *found
        else:
            yield "reads the dates", found[0], found[1]._replace(at="cataloguing")
        return
    assert process.part is not None
    if found is not None and found[1].wanted:
        yield f"reads the date of {process.wanted[0]}", *found
        return
    read = {} if found is None else dict(found[1].read)
    dates = (read["*"], read["*schema"], read["*schema a"]) if read else None
    after = process._replace(part=process.part._replace(dates=dates), wanted=(), read=())
    world = world if found is None else found[0]
    more = frozenset({TABLES[process.part.means]})
    yield "dates it", world, _looking(world, after, setting.rules) if is_reader else _goes_on(after, more)


def _judged(world: World, setting: Setting, process: Process, *, is_reader: bool) -> Iterator[Move]:
    """Decide whether a part is right at the stamps that were read."""
    rules, part, read = setting.rules, process.part, dict(process.read)
    assert part is not None
    is_right = part.dates is not None and read["*schema a"] == part.dates[2]
    if part.dates is not None:
        changed = [name for name in DATES[:2] if read[name] != part.dates[DATES.index(name)]]
        is_right &= len(changed) < 2
        is_torn = not setting.at_once and any((name, read[name]) != process.known for name in changed)
        if is_right and is_torn and rules.asked_again and not process.first:
            first = tuple(sorted(process.read))
            for happens, asking in _asks(process._replace(first=first), setting):
                yield f"{happens} again", world, asking
            return
        is_right &= process.first in ((), tuple(sorted(process.read)))
    if not is_right:
        to = _ended(process) if process.is_replanned else _outdated(process, rules)
        yield "finds its part outdated", world, to
        return
    to = process._replace(
        part=part._replace(dates=(read["*"], read["*schema"], read["*schema a"])), read=(), known=None, first=()
    )
    if is_reader:
        yield "finds its part right", world, to._replace(at="answering")
    else:
        yield "finds its part right", world, _goes_on(to, frozenset())


def _outdated(process: Process, rules: Rules) -> Process:
    process = process._replace(part=None, read=(), first=(), is_replanned=True, known=None)
    if rules.dated_before:
        return process._replace(at="dating", wanted=DATES)
    return process._replace(at="cataloguing", wanted=())


# Readers ------------------------------------------------------------------------------------------


def _ended(reader: Process) -> Process:
    return Process(part=reader.part)


def _looking(world: World, reader: Process, rules: Rules) -> Process:
    assert reader.part is not None
    slots = ("*", *(("*schema a",) if rules.in_vector else ()), TABLES[reader.part.means])
    return reader._replace(at="looking", found=world.entry, wanted=slots, read=())


def _of_reader(world: World, setting: Setting, reader: Process) -> Iterator[Move]:
    rules = setting.rules
    if reader.at == "idle":
        began = reader._replace(began=_acknowledged(world, setting))
        to = (
            _outdated(began, rules)._replace(is_replanned=False)
            if reader.part is None
            else _looking(world, began, rules)
        )
        yield "a reader begins", world, to
    elif reader.at == "looking":
        found = _reads(world, setting, reader)
        if found is None:
            yield "it finds marks", world, _ended(reader)
        elif found[1].wanted:
            yield f"it looks up {reader.wanted[0]}", *found
        else:
            yield from _compares(*found, setting)
    elif reader.at == "answering":
        if reader.found is not None and reader.found.vector == reader.vector:
            is_wrong = not reader.began <= reader.found.seen
            happens = f"a reader is served {sorted(reader.found.seen)}, has to see {sorted(reader.began)}"
            yield happens, None if is_wrong else world, _ended(reader)
        else:
            yield f"it reads {TABLES[world.means]}", world, reader._replace(at="storing", found=None, seen=world.seen)
    elif reader.at == "storing":
        entry = Entry(reader.vector, reader.seen)
        yield f"it stores that under {TABLES[_part(reader).means]}", world._replace(entry=entry), _ended(reader)
    else:
        for happens, after, to in _catalog(world, setting, reader):
            yield f"it {happens}", after, to


def _part(process: Process) -> Part:
    assert process.part is not None
    return process.part


def _compares(world: World, reader: Process, setting: Setting) -> Iterator[Move]:
    """Compare the part with what was looked up."""
    vector, dates = reader.read, _part(reader).dates
    held = dict(vector)
    looked = reader._replace(vector=vector, read=(), known=("*", held["*"]))
    is_current = dates is not None and held["*"] == dates[0] and held.get("*schema a", dates[2]) == dates[2]
    if is_current or not setting.rules.compared:
        yield "it looks up", world, looked._replace(at="answering")
        return
    for happens, asking in _asks(looked, setting):
        yield f"it looks up, and {happens}", world, asking


def _acknowledged(world: World, setting: Setting) -> frozenset[int]:
    """Return whose changes have to be seen.

    In autocommit a statement by a name is one of them when its writer has been answered: it may wait for a lock after
    its mark, and then write another table than the marked one.
    """
    return frozenset(
        number
        for number in world.seen
        if setting.writers[number] != "INSERT INTO notes" or world.writers[number].at == "done"
    )
