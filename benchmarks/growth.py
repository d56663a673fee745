"""How costs grow: with the tables of a query, the entries of the store, the tables of the database."""

from __future__ import annotations

import random
import time
from typing import Any

from benchmarks.candidates import Candidate
from benchmarks.suite import Suite, explain
from benchmarks.worker import WorkerError

Points = list[dict[str, Any]]

LOOKS = 300  # reads of which the time is taken at each point


def tables(suite: Suite) -> Points:
    """A hit and a miss of a query over so many tables."""
    found = []
    for count in suite.size.tables:
        suite.say(f"a query over {count} tables")
        found.append(
            {
                "at": count,
                "results": suite.by_turns(
                    suite.rounds,
                    lambda candidate, count=count: suite.worker(candidate).call(
                        "benchmarks.growth.chain", tables=count
                    ),
                ),
            }
        )
    return found


def entries(suite: Suite) -> Points:
    """A hit on any of so many entries. The store is filled once, by the first process of each candidate."""
    with suite.configured(SHARE="always"):  # or all but the last entries are nowhere when they are asked for again
        return _entries(suite)


def _entries(suite: Suite) -> Points:
    found = []
    filled = 0
    for wanted in suite.size.entries:
        count = min(wanted, suite.size.items)  # an entry is an item
        results: dict[str, Any] = {}
        for candidate in suite.candidates:
            suite.say(f"{count:,} entries: {candidate.title}")
            try:
                results[candidate.name] = {
                    "rounds": [suite.worker(candidate).call("benchmarks.growth.among", first=filled + 1, last=count)]
                }
            except WorkerError as error:
                results[candidate.name] = {"rounds": [], "failed": explain(error)}
        found.append({"at": count, "results": results})
        filled = count
    return found


def schema(suite: Suite) -> Points:
    """The first query of a connection, a hit and a save, with so many tables in the database. Leaves them there."""
    found = []
    there = 0
    for count in suite.size.relations:
        suite.say(f"{count:,} tables in the database")
        for candidate in suite.candidates:
            _add_tables(suite, candidate, there, count)
        there = count
        found.append({"at": count, "results": suite.by_turns(1, lambda candidate: _fresh_process(suite, candidate))})
    return found


def _add_tables(suite: Suite, candidate: Candidate, first: int, last: int) -> None:
    with suite.bench.administration(candidate.database_name) as connection:
        for start in range(first, last, 100):  # a transaction locks them all; there is a limit
            connection.execute(
                "".join(
                    f"CREATE TABLE filler_{number} (id int PRIMARY KEY, name text, amount numeric);"
                    for number in range(start, min(start + 100, last))
                ).encode()
            )


def _fresh_process(suite: Suite, candidate: Candidate) -> dict[str, Any]:
    """A process that knows nothing of the database yet."""
    for worker in suite.team(candidate, 1):
        worker.close()
    answer: dict[str, Any] = suite.worker(candidate).call("benchmarks.growth.first_steps")
    return answer


# In the worker --------------------------------------------------------------------------


def chain(tables: int) -> dict[str, float]:
    """Seconds of a hit and of a miss."""
    from benchmarks.reading import read
    from benchmarks.shop.models import CHAIN

    path = "__".join(["previous"] * (tables - 1))
    query = CHAIN[tables - 1].objects.order_by("pk")
    if path:
        query = query.select_related(path)
    serial = time.time_ns()

    def look(bound: int) -> Any:
        return read(f"chain {tables} {bound}", lambda: list(query.filter(pk__lt=bound)))

    times = []
    for _ in range(2):
        began = time.perf_counter()
        look(serial)
        times.append(time.perf_counter() - began)
        serial += 1
    look(serial)
    hits = 5
    began = time.perf_counter()
    for _ in range(hits):
        look(serial)
    return {"hit": (time.perf_counter() - began) / hits, "miss": times[1], "calls": 1}


def among(first: int, last: int) -> dict[str, float]:
    """Fill up to ``last`` entries and look at some of all of them."""
    from benchmarks.tasks import counted

    for key in range(first, last + 1):
        _item(key)
    keys = random.Random(last).choices(range(1, last + 1), k=LOOKS)
    with counted() as statements:
        began = time.perf_counter()
        for key in keys:
            _item(key)
        spent = time.perf_counter() - began
    return {"hit": spent / LOOKS, "hit rate": 1 - statements.reads / LOOKS, "calls": 1}


def _item(key: int) -> Any:
    from benchmarks.reading import read
    from benchmarks.shop.models import Item

    return read(f"item {key}", lambda: Item.objects.get(pk=key))


def first_steps() -> dict[str, float]:
    from benchmarks import calls

    steps = {}
    for name, step in (("first", calls.get), ("hit", calls.get), ("first save", calls.save), ("save", calls.save)):
        began = time.perf_counter()
        step()
        steps[name] = time.perf_counter() - began
    return {**steps, "calls": 1}
