"""Random programs by key in several processes: what one of them does, at its turns or at will.

A read is right if it is what the database answers while nothing is committed. Processes that take turns need no more
than that. Those that do not keep a journal, in a table of its own: a transaction notes its commit in itself, and a
statement in autocommit is noted before it and after it. If the journal shows no statement under way before a read, and
is the same after it, then nothing was committed meanwhile, and the database's answer of between is the right one.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, OperationalError, connections, transaction
from django.db.models import Count

import ormcache
from tests.integration.calls import leftovers
from tests.integration.protocol.row_programs import READS, WRITES, read_with, try_to
from tests.process import resolve, stop
from tests.shop.models import Upper


@dataclass(frozen=True)
class Turn:
    """One turn of one process. ``seed``: what it writes, or reads within its request."""

    who: int
    what: str  # "read", "write", "begin", "commit" or "rollback"
    seed: int


def turns_of(seed: int, processes: int, count: int) -> list[Turn]:
    """The turns of all processes. While one of them is in a transaction no other one writes: it could wait for ever."""
    rng = random.Random(seed)
    turns, inside = [], None
    for _ in range(count):
        who, chance = rng.randrange(processes), rng.random()
        if chance < 0.7 or inside not in (None, who):
            what = "read"
        elif chance < 0.93:
            what = "write"
        elif inside is None:
            what, inside = "begin", who
        else:
            what, inside = rng.choice(["commit", "commit", "rollback"]), None
        turns.append(Turn(who, what, rng.randrange(2**20)))
    return [*turns, Turn(inside, "commit", 0)] if inside is not None else turns


class Process:
    """What one process reads and writes, and what it read that is not so."""

    def __init__(self, seed: int, lag: float) -> None:
        """``seed``: of what all processes ask. ``lag``: seconds for which another one's writes may go unnoticed."""
        rng = random.Random(seed)
        self._favourites = [(rng.choice(list(READS)), rng.randrange(3)) for _ in range(6)]
        self._lag = lag
        self._in_transaction = False
        self._read: Counter[str] = Counter()
        self._log: list[str] = []
        self._wrong: list[str] = []

    def report(self) -> dict[str, Any]:
        """What it has done, as JSON carries it. Closes its connections."""
        left = leftovers()
        hits = ormcache.stats("default")["hits"]
        connections.close_all()
        return {"wrong": self._wrong + left, "hits": hits, **self._read}

    # Turns --------------------------------------------------------------------------

    def take(self, turn: Turn, block: Any) -> None:
        """Take a turn. ``block``: the transaction that it may begin or end."""
        rng = random.Random(turn.seed)
        self._log.append(f"{turn}")
        if turn.what == "read":
            self._read_in_request(rng)
        elif turn.what == "write":
            self._write(rng)
        elif turn.what == "begin":
            block.__enter__()
            self._in_transaction = True
        else:
            self._in_transaction = False
            error = (ValueError, ValueError("undone"), None) if turn.what == "rollback" else (None, None, None)
            with suppress(IntegrityError):  # foreign keys are looked at now
                block.__exit__(*error)

    def _read_in_request(self, rng: random.Random) -> None:
        with ormcache.as_request():
            for _ in range(rng.choice([1, 2, 3])):
                name, seed = rng.choice(self._favourites)
                self._log.append(f"{name} {seed}")
                self._check(name, seed)

    def _write(self, rng: random.Random) -> None:
        write = rng.choice(WRITES)
        self._log.append(write.__name__)
        try_to(write, rng, self._in_transaction)
        self._read["writes"] += 1

    def _check(self, name: str, seed: int) -> None:
        found, true = read_with(name, "default", seed), self._truth(name, seed)
        self._read["reads"] += 1
        if found != true and self._lag:
            time.sleep(self._lag)  # the promise is about what was committed so long ago
            found, true = read_with(name, "default", seed), self._truth(name, seed)
        if found != true:
            self._note_wrong(name, seed, found, true)

    def _truth(self, name: str, seed: int) -> Any:
        if not self._in_transaction:
            return read_with(name, "plain", seed)
        with ormcache.disabled():
            return read_with(name, "default", seed)

    # At will ------------------------------------------------------------------------

    def act(self, rng: random.Random) -> None:
        """Do something, and begin with another connection if this one breaks: psycopg's does, by a deadlock."""
        try:
            self._act(rng)
        except OperationalError:
            self._read["broken"] += 1
            connections["default"].close()

    def _act(self, rng: random.Random) -> None:
        """Read, write a statement, or run a transaction of a few of both."""
        chance = rng.random()
        if chance < 0.75:
            self._check_if_quiet(rng)
        elif chance < 0.9:
            self._write_noted(rng)
        else:
            with suppress(DatabaseError, ValueError), transaction.atomic():
                self._in_transaction = True
                self._log.append("begin")
                try:
                    for _ in range(rng.randrange(1, 5)):
                        rng.choice([self._check_if_quiet, self._write])(rng)
                    Upper.objects.create(label="committed")
                    if rng.random() < 0.3:
                        raise ValueError("undone")
                finally:
                    self._in_transaction = False
                    self._log.append("end")

    def _write_noted(self, rng: random.Random) -> None:
        try:
            Upper.objects.using("plain").create(label="begun")
        except DatabaseError:
            return  # SQLite was locked for too long
        self._write(rng)
        while True:
            with suppress(DatabaseError):
                Upper.objects.using("plain").create(label="ended")
                return

    def _check_if_quiet(self, rng: random.Random) -> None:
        name, seed = rng.choice(self._favourites)
        self._log.append(f"{name} {seed}")
        with ormcache.as_request():
            for lag in dict.fromkeys((0.0, self._lag)):
                before = self._journal()
                time.sleep(lag)
                found, true = read_with(name, "default", seed), self._truth(name, seed)
                if before is None or self._journal() != before:
                    self._read["disturbed"] += 1
                    return
                if found == true:
                    self._read["reads"] += 1
                    return
        self._note_wrong(name, seed, found, true)

    def _note_wrong(self, name: str, seed: int, found: Any, true: Any) -> None:
        where = "in a transaction" if self._in_transaction else "in autocommit"
        self._wrong.append(f"{name} {seed} {where}: {found} is not {true}, after {self._log[-20:]}")

    def _journal(self) -> dict[str, int] | None:
        """How many entries of each kind there are; None while a statement is under way."""
        using = "default" if self._in_transaction else "plain"
        with ormcache.disabled():
            found = dict(Upper.objects.using(using).values_list("label").annotate(Count("pk")))
        return found if found.get("begun", 0) == found.get("ended", 0) else None


def break_rule(fault: str | None) -> None:
    """Break a rule in this process, by the name of a function in ``test_random_rows``."""
    if fault is not None:
        resolve(f"tests.integration.protocol.test_random_rows.{fault}")(pytest.MonkeyPatch())


def take_turns(seed: int, who: int, processes: int, count: int, lag: float, fault: str | None = None) -> dict[str, Any]:
    """Take the turns of one process: each when the test says so. ``fault``: see :func:`break_rule`."""
    break_rule(fault)
    process = Process(seed, lag)
    block = transaction.atomic()
    for turn in turns_of(seed, processes, count):
        if turn.who == who:
            stop("turn")
            process.take(turn, block)
    return process.report()


def act_at_will(seed: int, who: int, count: int, lag: float, fault: str | None = None) -> dict[str, Any]:
    """Act as the other processes do, at the same time. ``fault``: see :func:`break_rule`."""
    break_rule(fault)
    process = Process(seed, lag)
    rng = random.Random(seed * 100 + who)
    stop("begin")
    for _ in range(count):
        process.act(rng)
    return process.report()
