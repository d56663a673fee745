"""``manage.py ormcache check``."""

from __future__ import annotations

from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django.core.management.base import CommandError
from rich.table import Table
from rich.text import Text

from ormcache.diagnostics.format.encoder import items_of
from ormcache.diagnostics.health.examination import ROUNDS, DatabaseHealth, Health, examine
from ormcache.diagnostics.health.findings import ERROR, LEVELS, NOTE, OK, WARNING, Finding
from ormcache.diagnostics.health.proof import Latency
from ormcache.management.common import add_json, add_using, aliases_of, number
from ormcache.management.formatting import named_lines, size
from ormcache.management.output import Output
from ormcache.stores.info import ServerInfo

HELP = """Checks that databases, stores, clocks and settings are in order.

Proves that each store does what the protocol needs, with an entry of its own, which is removed again; and compares the
rows of a small table in the cache with those in the database. The exit status is 1 if there is an error."""

_STYLES = {OK: "green", NOTE: "cyan", WARNING: "yellow", ERROR: "red"}


def add_arguments(parser: ArgumentParser) -> None:
    add_using(parser)
    add_json(parser)
    parser.add_argument(
        "--rounds",
        type=number(1),
        default=ROUNDS,
        metavar="N",
        help=f"How often each round trip is measured ({ROUNDS}).",
    )


def run(options: Mapping[str, Any], out: Output) -> None:
    health = examine(aliases_of(options), options["rounds"])
    if options["json"]:
        out.json({**items_of(health), "worst": health.worst})
    else:
        for one in health.databases:
            out.show(*_drawn(one), "")
        _show_settings(health, out)
    errors = Counter(finding.level for finding in health.findings)[ERROR]
    if errors:
        raise CommandError(f"{errors} error{'s' if errors > 1 else ''} found.")


def _drawn(health: DatabaseHealth) -> Iterator[Table | Text]:
    yield Text(health.using, style="bold")
    lines = named_lines()
    for name, text in _lines(health):
        lines.add_row(name, text)
    yield lines
    yield _findings(health.findings)


def _lines(health: DatabaseHealth) -> Iterator[tuple[str, str]]:
    text = " ".join(filter(None, (health.vendor, health.version)))
    if health.round_trip is not None:
        text += f"; round trip {_latency(health.round_trip)}"
    if health.clock is not None:
        text += f"; {_clock(health.clock.offset, health.clock.error)}"
    yield "database", text
    if health.store is None:
        return
    for server in health.store.servers:
        yield "store", f"{health.store.kind}: {'; '.join(_server(server))}"
    yield "", "; ".join(f"{name.replace('_', ' ')} {_latency(took)}" for name, took in health.operations.items())
    passed = sum(step.passed for step in health.proof)
    yield "proof", f"{passed} of {len(health.proof)} steps passed"


def _server(server: ServerInfo) -> Iterator[str]:
    yield server.address
    if server.version:
        yield server.version
    if server.used_bytes is not None:
        limit = "no limit" if not server.max_bytes else size(server.max_bytes)
        yield f"{size(server.used_bytes)} of {limit}"
    if server.eviction_policy:
        yield server.eviction_policy
    if server.evicted_keys is not None:
        rate = f", {server.evicted_keys / server.uptime:.2g}/s" if server.uptime else ""
        yield f"{server.evicted_keys} evicted{rate}"
    if server.clock_offset is not None:
        yield _clock(server.clock_offset, server.clock_error)
    for name, value in server.details.items():
        if name in ("role", "aof_enabled", "connected_slaves", "backend"):
            yield f"{name} {value}"
        elif name == "disk_free":
            yield f"{size(int(value))} free on disk"


def _clock(ahead: float, ahead_by: float) -> str:
    if abs(ahead) <= ahead_by:
        return f"clock equal to this host's (within {_seconds(ahead_by)})"
    return f"clock {_seconds(abs(ahead))} {'ahead' if ahead > 0 else 'behind'} (within {_seconds(ahead_by)})"


def _latency(latency: Latency) -> str:
    return f"{_seconds(latency.median)} (best {_seconds(latency.best)})"


def _seconds(seconds: float) -> str:
    for unit, least in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= least:
            return f"{seconds / least:.1f} {unit}"
    return f"{seconds * 1e6:.0f} µs"


def _findings(findings: Sequence[Finding]) -> Table:
    table = named_lines(style="")
    for finding in sorted(findings, key=lambda finding: LEVELS.index(finding.level)):
        hint = f"\n{finding.hint}" if finding.hint else ""
        table.add_row(Text(finding.level, style=_STYLES[finding.level]), f"{finding.about}: {finding.text}{hint}")
    return table


def _show_settings(health: Health, out: Output) -> None:
    out.show(Text("settings", style="bold"))
    out.show(_findings(health.settings or [Finding(OK, "settings", "The system checks report nothing.")]))
