"""Long phases of reading and writing by turns: does ormcache notice in time whether to ask the cache?

One list is read again and again; in every other phase its table is written before each read. The same is done with
every read looked up (``ADAPTIVE = False``), with none (``ormcache.disabled()``), and with ormcache's own judgement.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

from benchmarks.candidates import Candidate
from benchmarks.suite import Suite

WAYS = ("always", "never", "adaptive")
ALTERNATIONS = 4  # of a phase of writing and one of reading, in one slice


def run(suite: Suite) -> list[dict[str, Any]]:
    """For each length of phases: way → candidate → rounds, with the time of reads alone."""
    found = []
    for reads in suite.size.phases:
        suite.say(f"phases of {reads:,} reads")
        ways: dict[str, dict[str, Any]] = {way: {} for way in WAYS}
        # The ways take turns as well, so that what disturbs the machine disturbs all of them.
        for _ in range(suite.size.phase_rounds):
            for way in WAYS:
                with suite.configured(ADAPTIVE=way == "adaptive"):
                    answers = suite.by_turns(1, _slice(suite, way, reads), leave_out=lambda one: not one.is_ours)
                for name, answer in answers.items():
                    before = ways[way].setdefault(name, {"rounds": []})
                    before["rounds"] += answer["rounds"]
                    before |= {key: value for key, value in answer.items() if key != "rounds"}
        found.append({"reads": reads, "ways": ways})
    return found


def _slice(suite: Suite, way: str, reads: int) -> Callable[[Candidate], dict[str, Any]]:
    return lambda candidate: suite.worker(candidate).call("benchmarks.phases.work", way=way, reads=reads)


# In the worker --------------------------------------------------------------------------


def work(way: str, reads: int) -> dict[str, float]:
    """Seconds of the reads in phases of writing and of reading, and how many reached the database."""
    import ormcache
    from benchmarks.shop.models import Review
    from benchmarks.tasks import counted

    query = Review.objects.filter(product_id=21).select_related("customer").order_by("-written", "pk")
    written = Review.objects.filter(product_id=21).order_by("pk").values_list("pk", flat=True)[0]
    spent = {"writing": 0.0, "reading": 0.0}
    with counted() as statements:
        for number in range(2 * ALTERNATIONS):
            phase = "reading" if number % 2 else "writing"
            for serial in range(reads):
                if phase == "writing":
                    Review.objects.filter(pk=written).update(stars=1 + serial % 5)
                with ormcache.disabled() if way == "never" else contextlib.nullcontext():
                    began = time.perf_counter()
                    list(query[:10])
                    spent[phase] += time.perf_counter() - began
    calls = 2 * ALTERNATIONS * reads
    return {**spent, "wall": sum(spent.values()), "calls": calls, "executions": statements.reads}
