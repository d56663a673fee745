"""The protocol where results depend on rows, without code or clock: every interleaving of writers and readers.

There are two rows, each with a value in the key column c: x, y, or no row at all. Readers ask one question again and
again, and share one entry:

* ``key``: row 1, by its primary key. Depends on ``#1``.
* ``complete``: all rows with c = x. Depends on ``t``, the slot of the relation, and after promotion on ``c=x``, where
  rows that come to have the value are marked, and on the slot of each row that was returned.
* ``partial``: how many rows with c = x fulfil something else. Depends on ``c=x`` and on ``departures``, where rows that
  are changed or deleted are marked.

All of them depend on ``bulk`` besides, where writes to rows that are not known are marked. :func:`explore` stops at the
first hit that is older than what was visible when its read began. ``docs/how-it-works.md``, "Rows", has the argument.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

from tests.protocol.search import Search, search

#: What a slot holds: a stamp, the writers that have marked it, or nothing
Slot = int | frozenset[int] | None
EMPTY = None

QUESTIONS = {"key": ("#1", "bulk"), "complete": ("t",), "partial": ("c=x", "departures", "bulk")}


class Write(NamedTuple):
    marks: frozenset[str]
    after: tuple[str | None, str | None]  # the value of c in each row; None: the row is left alone
    touches: tuple[bool, bool]  # is something else changed in it?


def _write(marks: str, after: Sequence[str | None] = (None, None), touches: Sequence[bool] = (False, False)) -> Write:
    return Write(frozenset(marks.split()), tuple(after), tuple(touches))  # type: ignore[arg-type]


#: What writers do. Row 1 has x at first, row 2 has y unless it is inserted
WRITES = {
    "UPDATE 1": _write("t #1 departures", touches=(True, False)),
    "UPDATE 2": _write("t #2 departures", touches=(False, True)),
    "1 to y": _write("t #1 departures", after=("y", None)),
    "1 to x": _write("t #1 departures c=x", after=("x", None)),
    "2 to x": _write("t #2 departures c=x", after=(None, "x")),
    "INSERT 2": _write("t c=x", after=(None, "x")),
    "INSERT y": _write("t", after=(None, "y")),
    "DELETE 1": _write("t #1 departures", after=("none", None)),
    "UPDATE all": _write("t bulk", touches=(True, True)),
}


class Entry(NamedTuple):
    stamps: tuple[tuple[int, int], ...]  # number of the slot, and its stamp
    version: int
    rows: tuple[int, ...]  # numbers of the slots of the rows that were returned


class Reader(NamedTuple):
    """Where a reader is, and as much as it still needs of what it has read."""

    at: str = "idle"
    began: int = 0  # the version that was visible
    entry: Entry | None = None  # that it checks or promotes
    wanted: tuple[int, ...] = ()  # slots that it has still to read
    stamps: tuple[tuple[int, int], ...] = ()  # that it has read
    empty: tuple[int, ...] = ()  # slots that it has still to fill


class World(NamedTuple):
    slots: tuple[Slot, ...]
    rows: tuple[str, str]  # the values of c
    visible: int  # how often the answer has changed
    entry: Entry | None
    # marking, marked, settling, done or dead; and the slots that are still to be marked or settled
    writers: tuple[tuple[str, frozenset[int]], ...]
    readers: tuple[Reader, ...]
    evictions: int  # that may still come


class Rules(NamedTuple):
    """Which rules hold. Each of them switched off must lead to a wrong hit."""

    marks: bool = True  # a writer marks before its write becomes visible
    merges: bool = True  # a mark leaves the marks of others alone, and so does settling
    stamps_before_query: bool = True
    adds: bool = True  # a reader fills a slot only if it is still empty
    rows_are_marked: bool = True  # not the relation alone
    arrivals: bool = True
    departures: bool = True
    bulk: bool = True
    returned: bool = True  # a complete answer depends on the rows that were returned
    table_last: bool = True  # to promote, the slot of the relation is read after the slots of the rows
    table_again: bool = True  # ... and once more after one of these was filled
    refuses_marks: bool = True  # ... and one that is marked ends the promotion


class Setting(NamedTuple):
    question: str
    writers: tuple[Write, ...]
    names: tuple[str, ...]  # of the slots
    rules: Rules
    crashes: bool
    at_once: bool  # can the store read several slots at one moment, and mark and settle them?
    seeks: bool  # stop at a hit while the relation is marked, instead of at a wrong one


Step = tuple[str, World | None]  # what happens, and the world after it; None: a wrong hit, or the one that is sought


def explore(
    question: str,
    writers: Sequence[str],
    rules: Rules,
    *,
    readers: int = 2,
    crashes: bool = False,
    evictions: int = 0,
    at_once: bool = False,
    seeks: bool = False,
) -> Search:
    """Search all worlds with these writers and so many readers, under these rules."""
    writes = tuple(WRITES[name] for name in writers)
    # Slots that nobody marks or nobody asks for make no difference.
    asked = {*QUESTIONS[question], *(("c=x", "#1", "#2", "bulk") if question == "complete" else ())}
    marked = frozenset().union(*(write.marks for write in writes))
    names = tuple(sorted(asked & marked | (marked & {"t"} if seeks else set())))
    setting = Setting(question, writes, names, rules, crashes, at_once, seeks)
    rows = ("x", "none" if any(name.startswith("INSERT") for name in writers) else "y")
    begun = tuple(_marking(_marks(setting, write)) if rules.marks else ("marked", frozenset()) for write in writes)
    start = World((EMPTY,) * len(names), rows, 0, None, begun, (Reader(),) * readers, evictions)
    return search(start, partial(_steps, setting=setting))


def _steps(world: World, setting: Setting) -> Iterator[Step]:
    for number, (at, left) in enumerate(world.writers):
        yield from _of_writer(world, setting, number, at, left)
    for number, slot in enumerate(world.slots):
        if isinstance(slot, frozenset):
            dead = frozenset(writer for writer in slot if world.writers[writer][0] == "dead")
            if dead:
                yield f"a lease ends in {setting.names[number]}", _holding(world, number, slot - dead or EMPTY)
        elif world.evictions and slot is not EMPTY:
            lost = _holding(world, number, EMPTY)
            yield f"{setting.names[number]} is lost", lost._replace(evictions=world.evictions - 1)
    for number, reader in enumerate(world.readers):
        for happens, after, to in _of_reader(world, setting, reader):
            # Readers are alike, so that their order makes no difference.
            others = (*world.readers[:number], to, *world.readers[number + 1 :])
            yield happens, after and after._replace(readers=tuple(sorted(others, key=hash)))


def _holding(world: World, number: int, slot: Slot) -> World:
    return world._replace(slots=(*world.slots[:number], slot, *world.slots[number + 1 :]))


def _fresh(world: World, number: int) -> int:
    """Return a stamp that is unlike all that anybody remembers for this slot: nothing else makes a stamp a new one."""
    known = {world.slots[number]}
    for entry in (world.entry, *(reader.entry for reader in world.readers)):
        if entry is not None:
            known.update(stamp for slot, stamp in entry.stamps if slot == number)
    for reader in world.readers:
        known.update(stamp for slot, stamp in reader.stamps if slot == number)
    return next(stamp for stamp in range(len(known) + 1) if stamp not in known)


# Writers ------------------------------------------------------------------------------------------


def _marks(setting: Setting, write: Write) -> frozenset[int]:
    rules, marks = setting.rules, write.marks
    if not rules.rows_are_marked:
        marks &= {"t"}
    for name, holds in (("c=x", rules.arrivals), ("departures", rules.departures), ("bulk", rules.bulk)):
        marks = marks if holds else marks - {name}
    return frozenset(number for number, name in enumerate(setting.names) if name in marks)


def _marking(left: frozenset[int]) -> tuple[str, frozenset[int]]:
    return ("marking" if left else "marked"), left


def _settling(left: frozenset[int]) -> tuple[str, frozenset[int]]:
    return ("settling" if left else "done"), left


def _of_writer(world: World, setting: Setting, number: int, at: str, left: frozenset[int]) -> Iterator[Step]:
    def moved(world: World, to: tuple[str, frozenset[int]]) -> World:
        return world._replace(writers=(*world.writers[:number], to, *world.writers[number + 1 :]))

    who = f"writer {number}"
    if at == "marking":
        for happens, after, rest in _each(world, setting, left, number, partial(_marked, rules=setting.rules)):
            yield f"{who} marks {happens}", moved(after, _marking(rest))
    elif at == "marked":
        marks = _marks(setting, setting.writers[number])
        yield f"{who} commits", moved(_committed(world, setting, number), _settling(marks))
        yield f"{who} rolls back", moved(world, _settling(marks))
    elif at == "settling":
        for happens, after, rest in _each(world, setting, left, number, partial(_settled, rules=setting.rules)):
            yield f"{who} settles {happens}", moved(after, _settling(rest))
    if setting.crashes and at not in ("done", "dead"):
        yield f"{who} dies", moved(world, ("dead", frozenset()))


def _each(
    world: World, setting: Setting, left: frozenset[int], writer: int, change: Any
) -> Iterator[tuple[str, World, frozenset[int]]]:
    """Change one slot after another, in any order, or all at once."""
    if setting.at_once:
        after = world
        for slot in left:
            after = change(after, slot, writer)
        yield "all", after, frozenset()
        return
    for slot in left:
        yield setting.names[slot], change(world, slot, writer), left - {slot}


def _marked(world: World, slot: int, writer: int, rules: Rules) -> World:
    held = world.slots[slot]
    others = held if isinstance(held, frozenset) and rules.merges else frozenset()
    return _holding(world, slot, others | {writer})


def _settled(world: World, slot: int, writer: int, rules: Rules) -> World:
    held = world.slots[slot]
    rest = held - {writer} if isinstance(held, frozenset) and rules.merges else frozenset()
    return _holding(world, slot, rest or _fresh(world, slot))


def _committed(world: World, setting: Setting, number: int) -> World:
    write = setting.writers[number]
    rows = tuple(after or before for after, before in zip(write.after, world.rows, strict=True))
    changed = [row for row in (0, 1) if rows[row] != world.rows[row] or (write.touches[row] and rows[row] != "none")]
    if setting.question == "key":
        is_other = 0 in changed
    else:
        is_other = any("x" in (rows[row], world.rows[row]) for row in changed)
    return world._replace(rows=rows, visible=world.visible + is_other)


# Readers ------------------------------------------------------------------------------------------

Move = tuple[str, World | None, Reader]


def _of_reader(world: World, setting: Setting, reader: Reader) -> Iterator[Move]:
    if reader.at == "idle":
        misses = Reader("missing", wanted=_asked(setting, QUESTIONS[setting.question]))
        if world.entry is None:
            yield "a reader finds no entry", world, misses
        else:
            wanted = tuple(slot for slot, _ in world.entry.stamps)
            looking = Reader("checking", world.visible, world.entry, wanted)
            if setting.at_once:
                yield from _checks(world, setting, looking)
            else:
                yield "a reader finds an entry", world, looking
    elif reader.at == "checking":
        yield from _checks(world, setting, reader)
    elif reader.at == "missing":
        yield from _misses(world, setting, reader)
    elif reader.at == "querying":
        yield from _queries(world, setting, reader)
    elif reader.at == "storing":
        yield from _stores(world, setting, reader)
    else:
        yield from _promotes(world, setting, reader)


def _asked(setting: Setting, names: Sequence[str]) -> tuple[int, ...]:
    """Return the numbers of these slots, but for those that nobody marks."""
    return tuple(number for number, name in enumerate(setting.names) if name in names)


def _checks(world: World, setting: Setting, reader: Reader) -> Iterator[Move]:
    entry = reader.entry
    assert entry is not None
    count = len(reader.wanted) if setting.at_once else 1
    if any((slot, world.slots[slot]) not in entry.stamps for slot in islice(reader.wanted, count)):
        yield "its slots have changed", world, Reader("missing", wanted=_asked(setting, QUESTIONS[setting.question]))
    elif len(reader.wanted) > count:
        yield "a slot is as before", world, reader._replace(wanted=reader.wanted[count:])
    else:
        table = setting.names.index("t") if "t" in setting.names else None
        by_rows = all(slot != table for slot, _ in entry.stamps)
        happens = f"a reader is served version {entry.version}{' by rows' if by_rows else ''}, {reader.began} visible"
        if setting.seeks:
            is_fault = by_rows and table is not None and isinstance(world.slots[table], frozenset)
        else:
            is_fault = entry.version < reader.began
        yield happens, None if is_fault else world, Reader()
        if setting.question == "complete" and not by_rows:
            yield f"{happens}, and promotes", None if is_fault else world, _promoting(setting, entry)


def _misses(world: World, setting: Setting, reader: Reader) -> Iterator[Move]:
    """Read the slots that the answer is to depend on, and fill those that are empty."""
    if reader.empty:
        slot = reader.empty[0]
        after = _filled(world, slot) if world.slots[slot] is EMPTY or not setting.rules.adds else world
        held = after.slots[slot]
        if isinstance(held, int):
            read = reader._replace(stamps=(*reader.stamps, (slot, held)), empty=reader.empty[1:])
            yield f"it fills {setting.names[slot]}", after, read._replace(at=_after_look_up(read))
        else:
            yield "it reads back marks", after, Reader()
        return
    count = len(reader.wanted) if setting.at_once else 1
    slots, read = reader.wanted[:count], reader._replace(wanted=reader.wanted[count:])
    for slot in slots:
        held = world.slots[slot]
        if isinstance(held, frozenset):
            yield "it finds marks", world, Reader()
            return
        if held is EMPTY:
            read = read._replace(empty=(*read.empty, slot))
        else:
            read = read._replace(stamps=(*read.stamps, (slot, held)))
    yield f"it reads {', '.join(setting.names[slot] for slot in slots)}", world, read._replace(at=_after_look_up(read))


def _after_look_up(reader: Reader) -> str:
    return "missing" if reader.wanted or reader.empty else "querying"


def _filled(world: World, slot: int) -> World:
    return _holding(world, slot, _fresh(world, slot))


def _queries(world: World, setting: Setting, reader: Reader) -> Iterator[Move]:
    found = tuple(f"#{row + 1}" for row in (0, 1) if world.rows[row] == "x")
    rows = _asked(setting, found) if setting.question == "complete" else ()
    if setting.question != "key" or world.rows[0] != "none":
        entry = Entry(tuple(sorted(reader.stamps)), world.visible, rows)
        yield f"it reads version {world.visible}", world, Reader("storing", entry=entry)
    else:
        yield "it finds no row", world, Reader()


def _stores(world: World, setting: Setting, reader: Reader) -> Iterator[Move]:
    entry = reader.entry
    assert entry is not None
    if not setting.rules.stamps_before_query:
        held = tuple((slot, world.slots[slot]) for slot, _ in entry.stamps)
        if not all(isinstance(stamp, int) for _, stamp in held):
            yield "it finds marks", world, Reader()
            return
        entry = entry._replace(stamps=held)  # type: ignore[arg-type]
    stored = world._replace(entry=entry)
    yield f"it stores version {entry.version}", stored, Reader()
    if setting.question == "complete":
        yield f"it stores version {entry.version}, and promotes it", stored, _promoting(setting, entry)


def _promoting(setting: Setting, entry: Entry) -> Reader:
    rows = entry.rows if setting.rules.returned else ()
    slots = (*_asked(setting, ("c=x", "bulk")), *rows)
    return Reader("reading rows" if slots else "reading the table", entry=entry, wanted=slots)


def _promotes(world: World, setting: Setting, reader: Reader) -> Iterator[Move]:
    rules, entry, names = setting.rules, reader.entry, setting.names
    assert entry is not None
    if reader.at == "reading rows":
        count = len(reader.wanted) if setting.at_once else 1
        slots, read = reader.wanted[:count], reader._replace(wanted=reader.wanted[count:])
        for slot in slots:
            held = world.slots[slot]
            if isinstance(held, int):
                read = read._replace(stamps=(*read.stamps, (slot, held)))
            elif held is EMPTY or not rules.refuses_marks:
                read = read._replace(empty=(*read.empty, slot))
            else:
                yield "it finds marks, and gives up", world, Reader()
                return
        if not read.wanted:
            read = read._replace(at="reading the table")
            if setting.at_once:
                yield from _compares(world, setting, read)
                return
        yield f"it reads {', '.join(names[slot] for slot in slots)}", world, read
    elif reader.at == "reading the table":
        yield from _compares(world, setting, reader)
    else:
        slot = reader.empty[0]
        held = world.slots[slot]
        may_fill = held is EMPTY or (isinstance(held, frozenset) and not rules.refuses_marks)
        after = _filled(world, slot) if may_fill else world
        held = after.slots[slot]
        if not isinstance(held, int):
            yield "it reads back marks, and gives up", world, Reader()
            return
        read = reader._replace(stamps=(*reader.stamps, (slot, held)), empty=reader.empty[1:])
        if read.empty:
            yield f"it fills {names[slot]}", after, read
        elif rules.table_again:
            yield f"it fills {names[slot]}", after, read._replace(at="reading the table")
        else:
            yield f"it fills {names[slot]}, and promotes", _promoted(after, read), Reader()


def _compares(world: World, setting: Setting, reader: Reader) -> Iterator[Move]:
    """Compare the stamp of the relation with the one from before the query."""
    entry = reader.entry
    assert entry is not None
    if setting.rules.table_last and any(world.slots[slot] != stamp for slot, stamp in entry.stamps):
        yield "the table has changed", world, Reader()
    elif reader.empty:
        yield "the table is as before", world, reader._replace(at="filling")
    elif not reader.stamps:
        yield "there is nothing to depend on", world, Reader()
    else:
        yield f"version {entry.version} depends on its rows from now on", _promoted(world, reader), Reader()


def _promoted(world: World, reader: Reader) -> World:
    assert reader.entry is not None
    return world._replace(entry=reader.entry._replace(stamps=tuple(sorted(reader.stamps)), rows=()))
