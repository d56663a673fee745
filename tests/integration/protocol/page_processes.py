"""Random pages in several processes: what one of them is shown and writes, at its turns or at will.

See ``row_processes`` for what is right. Where one other write came while a page was asked for, all that was served of
it has to be as before that write or as after it, and what was computed consists of such parts.
"""

from __future__ import annotations

import random
from contextlib import nullcontext
from typing import Any

import pytest
from django.db import transaction
from django.db.models import Count
from django.test import override_settings

import ormcache
from tests.integration.protocol.page_programs import VIEWS, Part, Screen, Shown, read
from tests.integration.protocol.row_processes import Process, turns_of
from tests.integration.protocol.row_programs import WRITES, insert_review, try_to
from tests.process import resolve, stop
from tests.shop.models import Genre, Upper


def write_second(rng: random.Random) -> None:
    """Write to the other database."""
    pk = rng.randrange(1, 6)
    if rng.random() < 0.3:
        Genre.objects.using("second").filter(pk=pk).delete()
    else:
        Genre.objects.using("second").update_or_create(pk=pk, defaults={"name": rng.choice("ABC")})


def any_view(rng: random.Random) -> int:
    """One without writes of its own: other processes may hold locks."""
    return rng.randrange(1, VIEWS)


class PageProcess(Process):
    """What one process is shown and writes, and what it was shown that is not so."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, 0.0)
        self._shown: list[Shown] = []
        self._screen = Screen(seed, self._shown.append)

    def report(self) -> dict[str, Any]:
        return super().report() | {"unmodified": self._screen.unmodified}

    def _write(self, rng: random.Random) -> None:
        write = write_second if not self._in_transaction and rng.random() < 0.2 else rng.choice(WRITES)
        self._log.append(write.__name__)
        with transaction.atomic() if write is insert_review else nullcontext():  # of two statements
            try_to(write, rng, self._in_transaction)
        self._read["writes"] += 1

    def _journal(self) -> dict[str, int] | None:
        """How many entries there are, past a transaction of its own: others write to another database as well."""
        found = dict(Upper.objects.using("plain").values_list("label").annotate(Count("pk")))
        return found if found.get("begun", 0) == found.get("ended", 0) else None

    def _show(self, number: int, rng: random.Random) -> None:
        self._log.append(f"view {number}")
        self._shown.clear()
        with override_settings(ALLOWED_HOSTS=["testserver"]):
            self._screen.show(number, asks=rng.random() < 0.3)
        self._read["served"] += self._shown[-1].computed is None

    def _lines(self, number: int) -> dict[Part, str]:
        """What the parts of a view show now, without the cache."""
        using, second = ("default", "second") if self._in_transaction else ("plain", "second_plain")
        program = self._screen.program
        with ormcache.disabled():
            return {leaf: read(leaf, using, second) for leaf in set(program.leaves(program.views[number]))}

    def _judge(self, *states: dict[Part, str]) -> None:
        """Note what was shown that is as in none of these states."""
        for text, parts, computed in self._shown:
            allowed = {self._screen.program.text(parts, state.__getitem__) for state in states}
            if computed is not None:
                allowed = {computed}
            if text not in allowed:
                self._note_wrong(repr(parts), self._screen.seed, text, allowed)

    def _read_in_request(self, rng: random.Random) -> None:
        with ormcache.as_request():
            for _ in range(rng.choice([1, 2])):
                number = any_view(rng)
                self._show(number, rng)
                self._judge(self._lines(number))
                self._read["reads"] += 1

    def _check_if_quiet(self, rng: random.Random) -> None:
        number = any_view(rng)
        with ormcache.as_request():
            first = self._journal()
            before = self._lines(number)
            second = self._journal()
            self._show(number, rng)
            third = self._journal()
            after = self._lines(number)
            last = self._journal()
        if first is None or first != second or third is None or third != last:
            self._read["disturbed"] += 1
        elif second == third:
            self._judge(before)
            self._read["reads"] += 1
        elif sum(third.values()) - sum(second.values()) == 2 - (third.get("committed") != second.get("committed")):
            self._judge(before, after)
            self._read["reads while one write came"] += 1
        else:
            self._read["disturbed"] += 1


def break_rule(fault: str | None) -> None:
    """Break a rule in this process, by the name of a function in ``test_random_pages``."""
    if fault is not None:
        resolve(f"tests.integration.protocol.test_random_pages.{fault}")(pytest.MonkeyPatch())


def take_turns(seed: int, who: int, processes: int, count: int) -> dict[str, Any]:
    """Take the turns of one process: each when the test says so."""
    process = PageProcess(seed)
    block = transaction.atomic()
    for turn in turns_of(seed, processes, count):
        if turn.who == who:
            stop("turn")
            process.take(turn, block)
    return process.report()


def act_at_will(seed: int, who: int, count: int, fault: str | None = None) -> dict[str, Any]:
    """Act as the other processes do, at the same time. ``fault``: see :func:`break_rule`."""
    break_rule(fault)
    process = PageProcess(seed)
    rng = random.Random(seed * 100 + who)
    stop("begin")
    for _ in range(count):
        process.act(rng)
    return process.report()
