"""Reads and writes of ten tables with Zipf keys, by several processes at once: throughput, hit rate, stale reads.

Every row has one process that writes it, counts its ``version`` up, and notes in shared memory what it has committed.
A reader looks there first. What it then reads may be newer, never older: an older one is a stale read. From a candidate
that promises less, it is one only if nothing was committed for as long as that candidate may lag behind.
"""

from __future__ import annotations

import mmap
import random
import time
from pathlib import Path
from typing import Any

from benchmarks.candidates import Candidate
from benchmarks.data import Rows
from benchmarks.suite import Suite
from benchmarks.worker import Worker, WorkerError

KEYS = 20_000  # of a table at most
TABLES = 10
LISTS = 0.2  # of the reads are lists of 20 neighbours, the others get()


def run(suite: Suite) -> list[dict[str, Any]]:
    """For each part of writes and number of processes: candidate → rounds."""
    board = suite.bench.places.folder / "board"
    found = []
    for writes in suite.size.mixed_writes:
        for processes in suite.size.mixed_processes:
            suite.say(f"mixed load: {writes:.1%} writes, {processes} process{'es' if processes > 1 else ''}")
            results = suite.by_turns(
                suite.size.mixed_rounds,
                lambda candidate, writes=writes, processes=processes: _slice(
                    suite, candidate, writes, processes, board
                ),
            )
            found.append({"writes": writes, "processes": processes, "results": results})
    return found


def _slice(suite: Suite, candidate: Candidate, writes: float, processes: int, board: Path) -> dict[str, Any]:
    path = board.with_name(f"board-{candidate.name}")
    if not path.exists():
        path.write_bytes(bytes(2 * 8 * TABLES * (KEYS + 1)))  # versions, and when they were noted
    team = suite.team(candidate, processes)
    meter = suite.meter(candidate)
    before = meter.read()
    try:
        answers = _together(suite, team, writes, path, candidate.lag)
    except WorkerError:
        for worker in team:
            worker.close()  # one that still works would give its answer to the next call
        raise
    summed = {key: sum(answer[key] for answer in answers) for key in answers[0]}
    return summed | {"wall": summed["wall"] / processes} | meter.since(before)


def _together(suite: Suite, team: list[Worker], writes: float, board: Path, lag: float) -> list[dict[str, Any]]:
    for number, worker in enumerate(team):
        worker.begin(
            "benchmarks.mixed.work",
            number=number,
            processes=len(team),
            writes=writes,
            seconds=suite.size.mixed_seconds,
            items=suite.size.items,
            board=str(board),
            lag=lag,
        )
    return [worker.finish() for worker in team]


# In the worker --------------------------------------------------------------------------


def work(
    number: int, processes: int, writes: float, seconds: float, items: int, board: str, lag: float
) -> dict[str, float]:
    from benchmarks.reading import read
    from benchmarks.shop.models import MIXED
    from benchmarks.tasks import counted
    from benchmarks.zipf import Zipf

    counts = Rows(items).counts()
    sizes = [min(KEYS, counts[model.__name__]) for model in MIXED]
    keys = [Zipf(size, seed=number * TABLES + table) for table, size in enumerate(sizes)]
    chance = random.Random(number)
    done = {"reads": 0, "writes": 0, "stale": 0, "hits": 0}

    with (
        Path(board).open("r+b") as file,
        mmap.mmap(file.fileno(), 0) as memory,
        memoryview(memory) as view,
        view.cast("Q") as noted,
    ):
        when = TABLES * (KEYS + 1)  # where the times begin, in nanoseconds of the clock that all processes share

        def is_stale(place: int, version: int, due: int, began: int) -> bool:
            return version < due and (not lag or began - noted[when + place] > lag * 1e9)

        def one_read(table: int, key: int) -> None:
            model, place, before = MIXED[table], table * (KEYS + 1), statements.reads
            began = time.monotonic_ns()
            if chance.random() < LISTS:
                first = key - key % 20
                due = noted[place + first + 1 : place + min(first + 20, sizes[table] + 1)].tolist()
                rows = read(
                    f"mixed {table} from {first}",
                    lambda: list(model.objects.filter(pk__gt=first, pk__lt=first + 20).order_by("pk")),
                )
                done["stale"] += any(
                    is_stale(place + first + 1 + at, row.version, version, began)
                    for at, (row, version) in enumerate(zip(rows, due, strict=False))
                )
            else:
                version = noted[place + key]
                row = read(f"mixed {table} {key}", lambda: model.objects.get(pk=key))
                done["stale"] += is_stale(place + key, row.version, version, began)
            done["reads"] += 1
            done["hits"] += statements.reads == before

        def one_write(table: int, key: int) -> None:
            key = min(key - key % processes + number, sizes[table] - processes + number)
            if key < 1:
                key += processes
            place = table * (KEYS + 1) + key
            # A site reads what it changes; whether that was a hit is not counted.
            row = read(f"mixed {table} {key}", lambda: MIXED[table].objects.get(pk=key))
            row.version = noted[place] + 1
            row.save(update_fields=["version"])
            noted[when + place] = time.monotonic_ns()
            noted[place] = row.version
            done["writes"] += 1

        with counted() as statements:
            began, cpu = time.perf_counter(), time.process_time()
            until = began + seconds
            while time.perf_counter() < until:
                table = chance.randrange(TABLES)
                (one_write if chance.random() < writes else one_read)(table, keys[table].draw())
            wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    return {**done, "calls": done["reads"] + done["writes"], "wall": wall, "application": cpu}
