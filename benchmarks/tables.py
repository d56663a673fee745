"""The tables of a report, from its results: plain text in cells, for the terminal and for Markdown alike."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from benchmarks.candidates import REFERENCE
from benchmarks.figures import ratio, seconds, size, summary
from benchmarks.workloads import GROUPS

Results = dict[str, Any]

STALE = "STALE"
WRONG = "WRONG"
FAILED = "failed"


@dataclass
class Table:
    title: str
    #: what the cells are, in a sentence
    caption: str
    columns: list[str]
    rows: list[list[str]] = field(default_factory=list)


def all_tables(results: Results) -> Iterator[Table]:
    for group, title in GROUPS.items():
        found = [one for one in results["workloads"] if one["group"] == group]
        if found:
            yield _workloads(results, title, found)
    for name, make in _EXPERIMENTS.items():
        found = results["experiments"].get(name)
        if found and "skipped" not in found:
            yield from make(results, found)


def notes(results: Results) -> list[str]:
    """What did not work, in full sentences."""
    said = [f"{name} was not measured: {why}" for name, why in results["absent"].items()]
    said += [f"{name} failed: {why}" for name, why in results["failures"].items()]
    said += [
        f"{name}: {found['skipped']}"
        for name, found in results["experiments"].items()
        if isinstance(found, dict) and "skipped" in found
    ]
    said += [f"{where}, {name}: {why}" for where, name, why in _every_failure(results)]
    for one in candidates(results):
        writes = [
            write
            for write in results["experiments"].get("freshness", {}).get("writes", {})
            if stale_after(results, write, one["name"])
        ]
        if writes:
            said.append(f"{one['name']} shows old rows after {', '.join(writes)}; its times leave out what that takes")
    return said


def faults(results: Results) -> list[str]:
    """Wrong and stale answers of ormcache, and where it did not work."""
    ours = [one["name"] for one in results["candidates"] if one["name"].startswith("ormcache")]
    found = [f"{name}: {why}" for name, why in results["absent"].items() if name in ours and "not installed" not in why]
    found += [f"{where}, {name}: {why}" for where, name, why in _every_failure(results) if name in ours]
    for workload in results["workloads"]:
        found += [f"{workload['title']}, {name}: {one['wrong']}" for name, one in _of(workload, ours) if "wrong" in one]
    for write, answers in results["experiments"].get("freshness", {}).get("writes", {}).items():
        found += [
            f"after {write}, {name}: stale {', '.join(answer['stale'])}"
            for name, answer in answers.items()
            if name in ours and answer.get("stale")
        ]
    for load in results["experiments"].get("mixed", []):
        for name, one in _of(load, ours):
            stale = sum(each["stale"] for each in one["rounds"])
            if stale:
                found.append(f"mixed load, {name}: {stale} stale reads")
    return found


def candidates(results: Results) -> list[dict[str, Any]]:
    return [one for one in results["candidates"] if one["name"] not in results["absent"]]


def stale_after(results: Results, write: str | None, name: str) -> bool:
    """Did a check find old rows after this kind of write?"""
    answers = results["experiments"].get("freshness", {}).get("writes", {}).get(write, {})
    return bool(answers.get(name, {}).get("stale"))


def mark(results: Results, workload: dict[str, Any], name: str) -> str:
    """What is to stand beside a figure that was not earned honestly."""
    if workload["results"].get(name, {}).get("wrong"):
        return WRONG
    return STALE if stale_after(results, workload["write"], name) else ""


# Workloads ------------------------------------------------------------------------------


def _workloads(results: Results, title: str, workloads: list[dict[str, Any]]) -> Table:
    table = Table(
        title,
        "Ratio to plain Django in the same run, below 1 is faster: wall time (and the middle half of the rounds), then"
        " CPU time of application, database and cache together. Plain Django: time of one call.",
        ["", *(one["title"] for one in candidates(results))],
    )
    for workload in workloads:
        reference = workload["results"].get(REFERENCE, {}).get("rounds", [])
        cells = [_cell(results, workload, one["name"], reference) for one in candidates(results)]
        table.rows.append([workload["title"], *cells])
    return table


def _cell(results: Results, workload: dict[str, Any], name: str, reference: list[Any]) -> str:
    found = workload["results"].get(name, {})
    if "unavailable" in found:
        return "not available"
    if not found.get("rounds"):
        return FAILED
    figures = summary(found["rounds"], reference)
    if name == REFERENCE:
        return f"{seconds(figures['wall'].median)} CPU {seconds(figures['cpu'])}"
    spread = figures["ratio"]
    if spread is None:
        return FAILED
    text = f"{ratio(spread.median)} ({ratio(spread.low)} to {ratio(spread.high)}) CPU {ratio(figures['cpu_ratio'])}"
    return f"{text} {mark(results, workload, name)}".rstrip()


# Experiments ----------------------------------------------------------------------------


def _floor(results: Results, found: Any) -> Iterator[Table]:
    table = Table(
        "The floor",
        "Plain Django's time of one call, with PostgreSQL, with rows out of a stub, and with SQL not even compiled.",
        ["", "PostgreSQL", "stubbed database", "stubbed, not compiled"],
    )
    for shape, rounds in found["shapes"].items():
        middle = [_median(rounds, key) for key in ("database", "stubbed", "not compiled")]
        table.rows.append([shape.replace("_", " "), *map(seconds, middle)])
    if found["redis"]:
        table.rows.append(["a round trip to Redis", seconds(statistics.median(found["redis"])), "", ""])
    yield table


def _freshness(results: Results, found: Any) -> Iterator[Table]:
    table = Table(
        "The first read after a write",
        "Which reads, kept before, were out of date right after it; the database itself is the judge.",
        ["after", *(one["title"] for one in candidates(results))],
    )
    for write, answers in found["writes"].items():
        table.rows.append([write, *(_fresh(answers.get(one["name"], {})) for one in candidates(results))])
    yield table


def _fresh(answer: dict[str, Any]) -> str:
    if "stale" not in answer:
        return FAILED
    return f"{STALE}: {', '.join(answer['stale'])}" if answer["stale"] else "right"


def _mixed(results: Results, found: Any) -> Iterator[Table]:
    table = Table(
        "Mixed load",
        "Operations a second on 10 tables with Zipf keys, the part of the reads that did not reach the database, and"
        " reads that showed less than was committed before they began.",
        ["writes, processes", *(one["title"] for one in candidates(results))],
    )
    for load in found:
        row = [f"{load['writes']:.1%}, {load['processes']}"]
        for one in candidates(results):
            rounds = load["results"].get(one["name"], {}).get("rounds")
            row.append(_load(rounds) if rounds else FAILED)
        table.rows.append(row)
    yield table


def _load(rounds: list[Any]) -> str:
    stale = sum(one["stale"] for one in rounds)
    hits = sum(one["hits"] for one in rounds) / max(1, sum(one["reads"] for one in rounds))
    return f"{throughput(rounds):,.0f}/s {hits:.0%} hits" + (f" {STALE}: {stale:,}" if stale else "")


def throughput(rounds: list[Any]) -> float:
    return statistics.median(one["calls"] / one["wall"] for one in rounds)


def _web(results: Results, found: Any) -> Iterator[Table]:
    table = Table(
        "A page of 15 queries through gunicorn",
        "Requests a second under wrk, the middle and the 99th percentile of their latencies, CPU of one request.",
        ["", *(one["title"] for one in candidates(results))],
    )
    for way, answers in found.items():
        row = [way]
        for one in candidates(results):
            rounds = answers.get(one["name"], {}).get("rounds")
            if not rounds:
                row.append(FAILED)
                continue
            cpu = summary(rounds, rounds)["cpu"]
            latencies = f"{seconds(_median(rounds, 'median'))}, {seconds(_median(rounds, 'slowest'))}"
            row.append(f"{throughput(rounds):,.0f}/s {latencies} CPU {seconds(cpu)}")
        table.rows.append(row)
    yield table


def _herd(results: Results, found: Any) -> Iterator[Table]:
    table = Table(
        f"{found['readers']} readers of one slow query at once",
        f"How often a query of about {found['milliseconds']:g} ms ran, and how long it took until all had the answer.",
        ["", *(one["title"] for one in candidates(results))],
    )
    for way in ("threads", "processes"):
        row = [f"in {way}"]
        for one in candidates(results):
            rounds = found[way].get(one["name"], {}).get("rounds")
            if not rounds:
                row.append(FAILED)
                continue
            executions = statistics.median(one["executions"] for one in rounds)
            row.append(f"{executions:.0f} times, {seconds(_median(rounds, 'wall'))}")
        table.rows.append(row)
    yield table


def _memory(results: Results, found: Any) -> Iterator[Table]:
    others = [one for one in candidates(results) if one["name"] != REFERENCE]
    table = Table(
        "Memory for one entry",
        f"In the store, and in the memory of the process; means over {found['entries']:,} entries.",
        ["", *(one["title"] for one in others)],
    )
    for shape, title in (("one", "a result of one row"), ("twenty", "a result of 20 rows")):
        cells = []
        for one in others:
            used = found[shape].get(one["name"], {})
            cells.append(f"{size(used['store'])}, {size(used['process'])}" if "store" in used else FAILED)
        table.rows.append([title, *cells])
    yield table


def _startup(results: Results, found: Any) -> Iterator[Table]:
    table = Table(
        "A fresh process",
        "Import and first query, wall time; of that, the imports and django.setup().",
        ["", *(one["title"] for one in candidates(results))],
    )
    row = ["import and first query"]
    for one in candidates(results):
        rounds = found.get(one["name"], {}).get("rounds")
        row.append(f"{seconds(_median(rounds, 'wall'))} ({seconds(_median(rounds, 'imports'))})" if rounds else FAILED)
    table.rows.append(row)
    yield table


def _growth(title: str, caption: str, steps: tuple[str, ...]) -> Callable[[Results, Any], Iterator[Table]]:
    def make(results: Results, found: Any) -> Iterator[Table]:
        table = Table(title, caption, ["", *(one["title"] for one in candidates(results))])
        for step in steps:
            for point in found:
                row = [f"{step}, {point['at']:,}"]
                for one in candidates(results):
                    rounds = point["results"].get(one["name"], {}).get("rounds")
                    row.append(_point(rounds, step) if rounds else FAILED)
                table.rows.append(row)
        yield table

    return make


def _point(rounds: list[Any], step: str) -> str:
    evicted = "hit rate" in rounds[0] and 0 < rounds[0]["hit rate"] < 0.999
    return seconds(_median(rounds, step)) + (f" ({rounds[0]['hit rate']:.0%} hits)" if evicted else "")


_EXPERIMENTS: dict[str, Callable[[Results, Any], Iterator[Table]]] = {
    "freshness": _freshness,
    "mixed": _mixed,
    "web": _web,
    "herd": _herd,
    "memory": _memory,
    "startup": _startup,
    "growth-tables": _growth(
        "Tables of one query", "Time of a hit and of a miss, by number of tables.", ("hit", "miss")
    ),
    "growth-entries": _growth("Entries in the store", "Time of a hit on any of them.", ("hit",)),
    "growth-schema": _growth(
        "Tables in the database",
        "In a fresh process: its first query, a hit, its first save and the next one.",
        ("first", "hit", "first save", "save"),
    ),
    "floor": _floor,
}


def _median(rounds: list[Any], key: str) -> float:
    return statistics.median(one[key] for one in rounds)


def _of(measured: dict[str, Any], names: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    return ((name, one) for name, one in measured["results"].items() if name in names)


def _every_failure(results: Results) -> Iterator[tuple[str, str, str]]:
    """Where, which candidate, and why."""
    for workload in results["workloads"]:
        yield from _failures(workload["title"], workload["results"])
    for name, found in results["experiments"].items():
        yield from _failures(name, found)


def _failures(where: str, found: Any) -> Iterator[tuple[str, str, str]]:
    if isinstance(found, list):
        for one in found:
            yield from _failures(where, one)
    elif isinstance(found, dict):
        for name, one in found.items():
            if isinstance(one, dict) and "failed" in one:
                yield where, name, one["failed"]
            elif name != "rounds":
                yield from _failures(where, one)
