"""``manage.py ormcache check``."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django.core.management.base import CommandError
from rich.table import Table
from rich.text import Text

from ormcache.insight.health import ROUNDS, DatabaseHealth, Health, Latency, examine
from ormcache.insight.plain import plain
from ormcache.insight.verdicts import ERROR, LEVELS, NOTE, OK, WARNING, Finding
from ormcache.management.common import add_json, add_using, aliases_of
from ormcache.management.output import Output
from ormcache.stores.facts import ServerFacts

HELP = """Looks whether all is well: databases, stores, clocks, settings.

Fills, hits, writes and settles an entry of its own in each store, which it takes away again, and compares the rows of a
small table through the cache with those around it. Exit status 1 if there is an error."""

_STYLES = {OK: "green", NOTE: "cyan", WARNING: "yellow", ERROR: "red"}


def add_arguments(parser: ArgumentParser) -> None:
    add_using(parser)
    add_json(parser)
    parser.add_argument(
        "--rounds",
        type=_rounds,
        default=ROUNDS,
        metavar="N",
        help=f"Times that each round trip is measured ({ROUNDS}).",
    )


def _rounds(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError("it must be a number, 1 or more")
    return int(text)


def run(options: Mapping[str, Any], out: Output) -> None:
    health = examine(aliases_of(options), options["rounds"])
    if options["json"]:
        out.json({**plain(health), "worst": health.worst})
    else:
        for one in health.databases:
            out.show(*_drawn(one), "")
        _show_settings(health, out)
    errors = Counter(finding.level for finding in health.findings)[ERROR]
    if errors:
        raise CommandError(f"{errors} error{'s' if errors > 1 else ''} found.")


def _drawn(health: DatabaseHealth) -> Iterator[Table | Text]:
    yield Text(health.using, style="bold")
    lines = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    lines.add_column(min_width=9, style="dim")
    lines.add_column(overflow="fold")
    for name, text in _lines(health):
        lines.add_row(name, text)
    yield lines
    yield _findings(health.findings)


def _lines(health: DatabaseHealth) -> Iterator[tuple[str, str]]:
    told = " ".join(filter(None, (health.vendor, health.version)))
    if health.round_trip is not None:
        told += f"; round trip {_took(health.round_trip)}"
    if health.clock is not None:
        told += f"; {_clock(health.clock.ahead, health.clock.ahead_by)}"
    yield "database", told
    if health.store is None:
        return
    for server in health.store.servers:
        yield "store", f"{health.store.kind}: {'; '.join(_server(server))}"
    yield "", "; ".join(f"{name.replace('_', ' ')} {_took(took)}" for name, took in health.operations.items())
    passed = sum(step.passed for step in health.proof)
    yield "proof", f"{passed} of {len(health.proof)} steps hold"


def _server(server: ServerFacts) -> Iterator[str]:
    yield server.address
    if server.version:
        yield server.version
    if server.used is not None:
        limit = "no bound" if not server.limit else _size(server.limit)
        yield f"{_size(server.used)} of {limit}"
    if server.policy:
        yield server.policy
    if server.evicted is not None:
        rate = f", {server.evicted / server.running:.2g}/s" if server.running else ""
        yield f"{server.evicted} evicted{rate}"
    if server.ahead is not None:
        yield _clock(server.ahead, server.ahead_by)
    for name, value in server.more.items():
        if name in ("role", "aof_enabled", "connected_slaves", "backend"):
            yield f"{name} {value}"
        elif name == "disk_free":
            yield f"{_size(int(value))} free on its disk"


def _clock(ahead: float, ahead_by: float) -> str:
    if abs(ahead) <= ahead_by:
        return f"clock as here (within {_seconds(ahead_by)})"
    return f"clock {_seconds(abs(ahead))} {'ahead' if ahead > 0 else 'behind'} (within {_seconds(ahead_by)})"


def _took(latency: Latency) -> str:
    return f"{_seconds(latency.median)} (best {_seconds(latency.best)})"


def _seconds(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds * 1e6:.0f} µs"


def _size(size: int) -> str:
    for unit, bytes_ in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= bytes_:
            return f"{size / bytes_:.1f} {unit}"
    return f"{size} bytes"


def _findings(findings: Sequence[Finding]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(min_width=9)
    table.add_column(overflow="fold")
    for finding in sorted(findings, key=lambda finding: LEVELS.index(finding.level)):
        hint = f"\n{finding.hint}" if finding.hint else ""
        table.add_row(Text(finding.level, style=_STYLES[finding.level]), f"{finding.about}: {finding.text}{hint}")
    return table


def _show_settings(health: Health, out: Output) -> None:
    out.show(Text("settings", style="bold"))
    out.show(_findings(health.settings or [Finding(OK, "settings", "The system checks have nothing to say.")]))
