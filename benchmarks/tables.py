"""The tables of a report, from its results: plain text in cells, for the terminal and for Markdown alike."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from benchmarks.candidates import REFERENCE
from benchmarks.figures import Spread, is_tie, of_rounds, ratio, ratios, seconds, size, summary
from benchmarks.workloads import GROUPS

Results = dict[str, Any]

STALE = "STALE"
WRONG = "WRONG"
FAILED = "failed"
#: In place of a ratio, or after a figure: no different from plain Django's, as far as was seen
TIE = "="
_TIES = f" {TIE} stands where the rounds were further apart than the figure is from the one compared with."


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
    for name, one in _of(results["experiments"].get("lobsters", {"results": {}}), ours):
        stale = sum(each["stale"] for each in one["rounds"])
        if stale:
            found.append(f"lobsters, {name}: {stale} stale pages")
        if one.get("wrong"):
            found.append(f"lobsters, {name}: other pages than the database's: {', '.join(one['wrong'])}")
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
        " CPU time of application, database and cache together. Plain Django: time of one call." + _TIES,
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
    wall = TIE if is_tie(spread) else ratio(spread.median)
    cpu = TIE if is_tie(figures["cpu_spread"]) else ratio(figures["cpu_ratio"])
    text = f"{wall} ({ratio(spread.low)} to {ratio(spread.high)}) CPU {cpu}"
    return f"{text} {mark(results, workload, name)}".rstrip()


def _tie(values: list[float], compared: list[float]) -> str:
    """What is to stand behind a figure: that it is no different from the one that it is compared with, if it is not."""
    return f" {TIE}" if len(values) > 1 and is_tie(ratios(values, compared)) else ""


def _tie_with_plain(answers: dict[str, Any], name: str, value: Callable[[Any], float]) -> str:
    """The same of a candidate's rounds and plain Django's."""
    plain = answers.get(REFERENCE, {}).get("rounds")
    if name == REFERENCE or not plain:
        return ""
    return _tie(list(map(value, answers[name]["rounds"])), list(map(value, plain)))


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
            row.append(_load(rounds, _tie_with_plain(load["results"], one["name"], _rate)) if rounds else FAILED)
        table.rows.append(row)
    yield table


def _load(rounds: list[Any], tie: str) -> str:
    stale = sum(one["stale"] for one in rounds)
    hits = sum(one["hits"] for one in rounds) / max(1, sum(one["reads"] for one in rounds))
    return f"{throughput(rounds):,.0f}/s{tie} {hits:.0%} hits" + (f" {STALE}: {stale:,}" if stale else "")


def throughput(rounds: list[Any]) -> float:
    return statistics.median(map(_rate, rounds))


def _rate(one: Any) -> float:
    return float(one["calls"] / one["wall"])


def _phases(results: Results, found: Any) -> Iterator[Table]:
    ours = [one for one in candidates(results) if one["name"].startswith("ormcache")]
    table = Table(
        "Phases of reading and writing by turns",
        "Time of one read of a list, in phases with a write before each read and in phases without: with every read"
        " looked up (always), with none (never), and as ormcache decides (adaptive), with its ratio to the better one."
        + _TIES,
        ["reads in a phase", *(one["title"] for one in ours)],
    )
    for point in found:
        ways = point["ways"]
        for way in ways:
            cells = [_way({each: answers.get(one["name"], {}) for each, answers in ways.items()}, way) for one in ours]
            table.rows.append([f"{point['reads']:,}, {way}", *cells])
    yield table


def _way(ways: dict[str, dict[str, Any]], way: str) -> str:
    """Of one candidate."""
    rounds = ways[way].get("rounds")
    if not rounds:
        return FAILED
    calls = statistics.median(one["calls"] for one in rounds) / 2
    parts = ", ".join(f"{seconds(_median(rounds, phase) / calls)} {phase}" for phase in ("writing", "reading"))
    fixed = [ways[each]["rounds"] for each in ways if each != "adaptive" and ways[each].get("rounds")]
    if way != "adaptive" or not fixed:
        return parts
    better = min((of_rounds(each, "wall") for each in fixed), key=statistics.median)
    spread = ratios(of_rounds(rounds, "wall"), better)
    return f"{parts}: {'n/a' if spread is None else TIE if is_tie(spread) else ratio(spread.median)}"


def _web(results: Results, found: Any) -> Iterator[Table]:
    table = Table(
        "A page of 15 queries through gunicorn",
        "Requests a second under wrk, the middle and the 99th percentile of their latencies, CPU of one request. A"
        " cached page: by ormcache.cache_page(), by hand by Django's cache_page; other candidates run the view. One"
        " that the client has: it sends the ETag that it was given.",
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
            tie = _tie_with_plain(answers, one["name"], _rate)
            row.append(f"{throughput(rounds):,.0f}/s{tie} {latencies} CPU {seconds(cpu)}")
        table.rows.append(row)
    yield table


def _lobsters(results: Results, found: Any) -> Iterator[Table]:
    measured = [one for one in candidates(results) if one["name"] in found["results"]]
    table = Table(
        "The request mix of lobste.rs",
        f"At scale {found['scale']:g}, by {found['processes']} processes. Requests a second (of plain Django; of the"
        " others the ratio to it, above 1 is faster, and the middle half of the rounds), CPU time of application,"
        " database and cache for one request (ratio, below 1 is less), the part of plain Django's SELECTs that did not"
        " reach the database, and pages that showed less than was committed before they were begun, or at the end"
        " something else than the database." + _TIES + _lobsters_floor(found),
        ["", *(one["title"] for one in measured)],
    )
    plain = found["results"].get(REFERENCE, {}).get("rounds")
    rows = [
        _lobsters_column(found["results"][one["name"]], None if one["name"] == REFERENCE else plain) for one in measured
    ]
    titles = ("requests a second", "CPU of one request", "SELECTs saved", "pages")
    table.rows += [[title, *cells] for title, *cells in zip(titles, *rows, strict=True)]
    yield table


def _lobsters_floor(found: Any) -> str:
    """How fast a cache below the ORM could be at most, in a sentence or two; none without plain Django's figures."""
    floor, rounds = found.get("floor"), found["results"].get(REFERENCE, {}).get("rounds")
    if not floor or not rounds:
        return ""
    whole = summary(rounds, rounds)["cpu"]
    return (
        f" If all rows were there already and writing took no time, Django alone would take {seconds(floor['given'])}"
        f" of CPU for a request ({seconds(floor['database'])} with the database, whose own work is not counted here):"
        f" no cache below the ORM can answer more than {ratio(whole / floor['given'])} times as many requests."
    )


def _lobsters_column(answer: dict[str, Any], plain: list[Any] | None) -> tuple[str, str, str, str]:
    """Of one candidate. ``plain``: the rounds of plain Django, which it is compared with."""
    rounds = answer["rounds"]
    if not rounds:
        return (FAILED,) * 4
    figures = summary(rounds, plain or rounds)
    checked, stale = (sum(one[key] for one in rounds) for key in ("checked", "stale"))
    seen = [f"{STALE}: {stale:,} of {checked:,}"] if stale else []
    seen += [f"{WRONG}: {len(answer['wrong'])} of {answer['compared']}"] if answer.get("wrong") else []
    pages = ", ".join(seen) or "right"
    if plain is None:
        return f"{throughput(rounds):,.0f}/s", seconds(figures["cpu"]), "", pages
    rates = rate_ratios(rounds, plain)
    if rates is None:
        return (FAILED,) * 4
    rate = TIE if len(rounds) > 1 and is_tie(rates) else ratio(rates.median)
    cpu = TIE if len(rounds) > 1 and is_tie(figures["cpu_spread"]) else ratio(figures["cpu_ratio"])
    saved = 1 - sum(one["reads"] for one in rounds) / max(1, sum(one["reads"] for one in plain[: len(rounds)]))
    return f"{rate} ({ratio(rates.low)} to {ratio(rates.high)})", cpu, f"{saved:.0%}", pages


def is_marked(answer: dict[str, Any]) -> bool:
    """Did a candidate show anything else than it had to, under the request mix?"""
    return bool(answer.get("wrong")) or any(one["stale"] for one in answer["rounds"])


def rate_ratios(rounds: list[Any], plain: list[Any]) -> Spread | None:
    """Calls a second, as ratios to plain Django's in the same rounds."""
    return ratios(list(map(_rate, rounds)), list(map(_rate, plain)))


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
            tie = _tie_with_plain(found[way], one["name"], itemgetter("wall"))
            row.append(f"{executions:.0f} times, {seconds(_median(rounds, 'wall'))}{tie}")
        table.rows.append(row)
    yield table


def _memory(results: Results, found: Any) -> Iterator[Table]:
    others = [one for one in candidates(results) if one["name"] != REFERENCE]
    table = Table(
        "Memory for one entry",
        f"In the store, and in the memory of the process; means over {found['entries']:,} entries.",
        ["", *(one["title"] for one in others)],
    )
    for shape, title in (
        ("one", "a result of one row"),
        ("twenty", "a result of 20 rows"),
        ("page", "a page of 15 queries"),
    ):
        if shape not in found:  # results of before it was measured
            continue
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
        if not rounds:
            row.append(FAILED)
            continue
        tie = _tie_with_plain(found, one["name"], itemgetter("wall"))
        row.append(f"{seconds(_median(rounds, 'wall'))}{tie} ({seconds(_median(rounds, 'imports'))})")
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
                    tie = _tie_with_plain(point["results"], one["name"], itemgetter(step)) if rounds else ""
                    row.append(_point(rounds, step) + tie if rounds else FAILED)
                table.rows.append(row)
        yield table

    return make


def _point(rounds: list[Any], step: str) -> str:
    evicted = "hit rate" in rounds[0] and 0 < rounds[0]["hit rate"] < 0.999
    return seconds(_median(rounds, step)) + (f" ({rounds[0]['hit rate']:.0%} hits)" if evicted else "")


_EXPERIMENTS: dict[str, Callable[[Results, Any], Iterator[Table]]] = {
    "freshness": _freshness,
    "mixed": _mixed,
    "phases": _phases,
    "web": _web,
    "lobsters": _lobsters,
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
