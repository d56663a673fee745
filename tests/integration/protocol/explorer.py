"""The real reading and writing code, step by step, in any order.

An :class:`Explorer` runs readers and writers as actors, one step at a time (from one point to the next). After every
step it judges what a reader that came just now would be served, and what the readers were served that have come to
their end: all of them ask the same question, and an answer is right that was the database's at a moment since they
began. Writers write something new each time, so that no answer comes back.

A reader that comes just now is the costly part of a schedule. It does not come where it would be served as one step
before, and where it came in an earlier schedule, of which this one repeats the beginning.
"""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from django.db import connections, transaction

from ormcache.stores.base import ROW_SLOT_LENGTH, Last, Store, add_mark, decode_marks, last_lease_end, remove_mark
from tests.integration.actors import PATIENCE, Actor
from tests.integration.calls import leftovers
from tests.shop.models import Genre

#: Where an explored actor stands still: before everything that others could notice or that could notice others
STEPS = frozenset(
    {"before look_up", "before fill", "before query", "before put", "before mark", "before commit", "before settle"}
    | {"before rollback"}
)
MOST_ACTORS = 4


class MemoryStore(Store):
    """The contract of a store in two dicts. A test may take slots away, and freeze it to look without touching."""

    kind = "memory"

    def __init__(self) -> None:
        super().__init__()
        self.slots: dict[bytes, bytes] = {}
        self.entries: dict[bytes, bytes] = {}
        self.frozen = False

    def _look_up(self, entry: bytes | None, slots: Sequence[bytes]) -> tuple[bytes | None, list[bytes | None]]:
        value = None if entry is None else self.entries.get(entry)
        return value, [self._living(slot) for slot in slots]

    def _fill_slots(self, slots: Sequence[bytes], stamp: bytes) -> list[bytes | None]:
        if not self.frozen:
            for slot in slots:
                if self._living(slot) is None:
                    self.slots[slot] = stamp
        return [self._living(slot) for slot in slots]

    def _put_entry(self, entry: bytes, value: bytes, timeout: float | None) -> bool:
        if not self.frozen:
            self.entries[entry] = value
        return not self.frozen

    def _mark(self, slots: Sequence[bytes], writer: bytes, lease: float, watch: bytes | None) -> bytes | None:
        watched = None if watch is None else self._living(watch)
        now = self._now()
        for slot in slots:
            self.slots[slot] = add_mark(self.slots.get(slot), writer, now, now + int(lease * 1e6))
        return watched

    def _settle(
        self, slots: Sequence[bytes], writer: bytes, stamp: bytes, watch: bytes | None, last: Last | None
    ) -> bytes | None:
        stamped = len(slots) - (0 if last is None else last[0])
        for number, slot in enumerate(slots):
            new = stamp if last is None or number < stamped else last[1]
            self.slots[slot] = remove_mark(self.slots.get(slot), writer, self._now(), new)
        return None if watch is None else self._living(watch)

    def _delete_entries(self, entries: Sequence[bytes]) -> None:
        for entry in entries:
            self.entries.pop(entry, None)

    def _claim(self, name: bytes, owner: bytes, seconds: float) -> bytes:
        return owner  # as a store without room does: which readers wait decides nothing about what they are served

    def _release(self, name: bytes, word: bytes, seconds: float) -> None:
        pass

    def evict(self, chosen: random.Random, *, only_rows: bool = False) -> None:
        """Lose a stamp. (The loss of a mark is a limit that the protocol names.)"""
        stamps = [
            slot
            for slot, value in sorted(self.slots.items())
            if not decode_marks(value) and not (only_rows and len(slot) != ROW_SLOT_LENGTH)
        ]
        if stamps:
            del self.slots[chosen.choice(stamps)]

    def _now(self) -> int:
        return int(self._clock() * 1e6)

    def _living(self, slot: bytes) -> bytes | None:
        value = self.slots.get(slot)
        return None if decode_marks(value) and last_lease_end(value or b"") <= self._now() else value


# What actors do ---------------------------------------------------------------------


#: What all readers of a schedule ask, of the database behind this alias
Question = Callable[[str], Any]


def count(using: str = "default") -> int:
    return Genre.objects.using(using).count()


def read() -> int:
    return count()


def write() -> None:
    Genre.objects.create(name="g")


def write_atomically() -> None:
    with transaction.atomic():
        Genre.objects.create(name="g")


def write_twice() -> None:
    with transaction.atomic():
        Genre.objects.create(name="g")
        read()
        with transaction.atomic():
            Genre.objects.create(name="g")


def write_and_undo() -> None:
    with transaction.atomic():
        Genre.objects.create(name="g")
        read()
        transaction.set_rollback(True)


WRITES = (write, write_atomically, write_twice, write_and_undo)


@dataclass
class Run:
    """One schedule and what came of it."""

    path: list[str] = field(default_factory=list)
    wrong: str | None = None

    def __str__(self) -> str:
        return f"{self.wrong}\n" + "\n".join(f"  {step}" for step in self.path)


class Explorer:
    """Schedules on one database and one store.

    SQLite lets one writer in at a time, and so do schedules. So do all of those whose writers ``meet`` in a row.
    """

    def __init__(
        self, engine: str, store: MemoryStore | None, question: Question = count, *, meet: bool = False
    ) -> None:
        self._one_writer = engine == "sqlite" or meet
        self._steps = STEPS | {"before write"} if self._one_writer else STEPS
        self.question = question
        self._store = store
        #: the last one that was judged
        self._state: Any = None
        self._workers = ThreadPoolExecutor(MOST_ACTORS)

    def close(self) -> None:
        """Close the connections of the workers, each of them in its own thread."""
        together = threading.Barrier(MOST_ACTORS)

        def leave() -> list[str]:
            together.wait(PATIENCE)
            found = leftovers()
            connections.close_all()
            return found

        found = [self._workers.submit(leave) for _ in range(MOST_ACTORS)]
        left = [item for future in found for item in future.result()]
        self._workers.shutdown()
        assert left == []

    def visible(self) -> Any:
        return self.question("plain")

    def run(
        self,
        work: Sequence[Callable[[], Any]],
        choose: Choose,
        *,
        evict: random.Random | None = None,
        only_rows: bool = False,
        judged: int = 0,
    ) -> Run:
        """Run ``work`` as actors in the order that ``choose`` picks. Ends at the first wrong read.

        ``evict``: by which a stamp is lost now and then, ``only_rows``: of a row. ``judged``: how many of the first
        steps were judged when they were the same in an earlier run.
        """
        run = Run()
        self._state = None
        actors = [
            Actor(function, name=f"{number} {function.__name__}", workers=self._workers)
            for number, function in enumerate(work)
        ]
        answers = [self.visible()]  # the database's so far
        began: dict[str, int] = {}  # name of an actor → the place in them where it began
        writing: Actor | None = None
        try:
            while waiting := [actor for actor in actors if actor.at != "end"]:
                able = [
                    actor
                    for actor in waiting
                    if not (self._one_writer and writing not in (None, actor) and _is_write(actor))
                ]
                actor = able[choose([actor.name for actor in able])]
                if actor.at == "start":
                    began[actor.name] = len(answers) - 1
                stood = actor.at
                if _is_write(actor):
                    writing = actor
                actor.on(self._steps.__contains__)
                # An autocommit statement is over when it is to be settled.
                if writing is actor and (stood in ("before commit", "before rollback") or actor.at in _NOT_WRITING):
                    writing = None
                run.path.append(f"{actor.name}: {stood} -> {actor.at}")
                if evict is not None and self._store is not None and evict.random() < 0.1:
                    self._store.evict(evict, only_rows=only_rows)
                    run.path.append("a stamp is lost")
                if stood in _MAY_WRITE or actor.at == "end":
                    visible = self.visible()
                    if visible != answers[-1]:
                        answers.append(visible)
                if len(run.path) <= judged:
                    continue
                run.wrong = self._judge(actor, answers[began[actor.name] :])
                if run.wrong is not None:
                    break
        finally:
            for actor in actors:
                actor.let_go()
        for actor in actors:
            if actor.error is not None and run.wrong is None:
                raise actor.error
        return run

    def _judge(self, actor: Actor, answers: list[Any]) -> str | None:
        """Return what is wrong. ``answers``: the database's, since the actor began."""
        if actor.at == "end" and actor.result is not None and actor.result not in answers:
            return f"{actor.name} read {actor.result}, but since it began the answers were {answers}"
        if self._is_as_before(actor, answers[-1]):
            return None
        served = self._served_now()
        if served != answers[-1]:
            return f"a reader is served {served}, visible {answers[-1]}"
        return None

    def _is_as_before(self, actor: Actor, visible: Any) -> bool:
        """Would a reader be served what the last one was? Not sure at an actor's end, where it leaves its process."""
        if self._store is None:
            return False
        before, self._state = self._state, (visible, dict(self._store.slots), dict(self._store.entries))
        return actor.at != "end" and self._state == before

    def _served_now(self) -> Any:
        """What a read that begins now returns, without leaving a trace in the store."""
        if self._store is None:
            return self.visible()
        self._store.frozen = True
        try:
            return self.question("default")
        finally:
            self._store.frozen = False


_NOT_WRITING = ("before settle", "end")
#: A step that others see the data of begins here, or ends its actor
_MAY_WRITE = ("before mark", "before write", "before commit")


def _is_write(actor: Actor) -> bool:
    return actor.at == "before write"


# Choices ------------------------------------------------------------------------------

#: The names of the actors that could go on → which one does
Choose = Callable[[list[str]], int]


class Enumeration:
    """All sequences of choices, depth first: ``for choose in Enumeration(1000): ...`` until no order is left."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.count = 0
        #: how many of the first choices of this order are those of the one before it
        self.repeated = 0

    def __iter__(self) -> Iterator[Choose]:
        prefix: list[int] = []
        while self.count < self._limit:
            self.count += 1
            self.repeated = max(0, len(prefix) - 1)
            made: list[tuple[int, int]] = []  # (choice, number of choices)
            yield _replaying(prefix, made)
            while made and made[-1][0] + 1 >= made[-1][1]:
                made.pop()
            if not made:
                return
            prefix = [choice for choice, _ in made]
            prefix[-1] += 1


def _replaying(prefix: list[int], made: list[tuple[int, int]]) -> Choose:
    def choose(able: list[str]) -> int:
        choice = prefix[len(made)] if len(made) < len(prefix) else 0
        made.append((choice, len(able)))
        return choice

    return choose


def any_order(chosen: random.Random) -> Choose:
    return lambda able: chosen.randrange(len(able))


def few_changes(chosen: random.Random, changes: int = 3, steps: int = 30) -> Choose:
    """By priority, with a few moments at which the running one falls behind: finds deep faults soon.

    (S. Burckhardt et al., "A randomized scheduler with probabilistic guarantees of finding bugs")
    """
    priorities: dict[str, float] = {}
    moments = {chosen.randrange(steps) for _ in range(changes)}
    step = itertools.count()

    def choose(able: list[str]) -> int:
        for name in able:
            if name not in priorities:
                priorities[name] = chosen.random()
        first = max(able, key=priorities.__getitem__)
        if next(step) in moments:
            priorities[first] = min(priorities.values()) - 1
        return able.index(first)

    return choose


def read_twice() -> int:
    read()
    return read()
