"""Judges a history: was anything read that was older than what had been acknowledged before the read began?"""

from __future__ import annotations

import bisect
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

#: How a line begins that says that an operation does; half of all
BEGINNING = '{"op": "begin"'


class Outage(NamedTuple):
    """A time within which a worker's writes may have become visible without the store's knowledge.

    So may those of the seconds after it, until the worker has noticed that the store is back.
    """

    worker: str
    began: float  # by time.monotonic
    ended: float


class StaleRead(NamedTuple):
    """A read that returned an older number than one that was acknowledged before it began."""

    read: dict[str, Any]
    author: str
    found: int
    acknowledged: float  # by time.monotonic: when the first newer write was
    writer: str
    excused: bool  # by an outage of the writer's store

    def __str__(self) -> str:
        late = self.read["began"] - self.acknowledged
        return (
            f"{self.read['worker']} ({self.read['kind']}) at {self.read['began']:.3f}: author {self.author} is "
            f"{self.found}, but {self.writer} had acknowledged a newer one {late:.3f} s before"
        )


class Verdict(NamedTuple):
    reads: int
    writes: int  # acknowledged
    failed: int  # operations that raised
    stale: list[StaleRead]
    errors: dict[str, int]


def lines_of(folder: Path) -> list[dict[str, Any]]:
    """Return what all processes have done and counted. The last one of a process that was killed may be cut off."""
    found = []
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text().splitlines():
            if line.startswith(BEGINNING):
                continue  # for people who look for what a process was doing when it was killed
            try:
                found.append(json.loads(line))
            except json.JSONDecodeError:
                continue
    return found


def judge(lines: Iterable[dict[str, Any]], outages: Sequence[Outage] = (), *, grace: float = 0.0) -> Verdict:
    """Judge a history. ``outages`` excuse stale reads until ``grace`` seconds after their end, whatever was written."""
    done = [line for line in lines if line["op"] == "end"]
    # author → the writes that were acknowledged: their times, and the newest number until each
    times: dict[str, list[float]] = defaultdict(list)
    newest: dict[str, list[int]] = defaultdict(list)
    writes = sorted((one for one in done if one["kind"] == "write" and one["error"] is None), key=lambda w: w["ended"])
    of_author: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for write in writes:
        for author, number in write["values"].items():
            times[author].append(write["ended"])
            newest[author].append(max(number, newest[author][-1] if newest[author] else number))
            of_author[author].append(write)

    stale, reads, errors = [], 0, defaultdict(int)
    for line in done:
        if line["error"] is not None:
            errors[line["error"].split(":")[0]] += 1
        elif line["found"] is not None:
            reads += 1
            for author, number in line["found"].items():
                count = bisect.bisect_left(times[author], line["began"])
                if not count or newest[author][count - 1] <= number:
                    continue
                newer = [one for one in of_author[author][:count] if one["values"][author] > number]
                excused = all(_is_excused(one, line, outages, grace) for one in newer)
                stale.append(StaleRead(line, author, number, newer[0]["ended"], newer[0]["worker"], excused=excused))
    return Verdict(reads, len(writes), sum(errors.values()), stale, dict(errors))


def _is_excused(write: dict[str, Any], read: dict[str, Any], outages: Sequence[Outage], grace: float) -> bool:
    return any(
        outage.worker == write["worker"] and outage.began <= write["ended"] and read["began"] <= outage.ended + grace
        for outage in outages
    )
