"""``manage.py ormcache warm``."""

from __future__ import annotations

from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table
from rich.text import Text

from ormcache.diagnostics.aliases import connection_to
from ormcache.diagnostics.format.quantities import count, duration
from ormcache.diagnostics.format.sql import to_line
from ormcache.diagnostics.stats.collection import DatabaseReport
from ormcache.diagnostics.warmup import WarmupOutcome, WarmupRead, WarmupResult, most_valuable, warm
from ormcache.management.common import add_json, add_using, collect_requested_reports, number, reaching
from ormcache.management.formatting import named_lines, no_statistics, not_cached, numbered_list, title
from ormcache.management.output import Output
from ormcache.management.progress import with_bar
from ormcache.management.subcommands import warm_pages as pages

HELP = """Repeats the reads that have saved the most time, so that the cache has their results before visitors come.

With --pages or --sitemap, requests pages instead, as a visitor who is not logged in.

For deployments: run it with the new code and settings, before the new processes take traffic. It runs only reads whose
results may be cached."""

MOST = 500  # reads, without --most
LONGEST = 200  # characters of a statement
MOST_SHOWN = 20  # reads that are listed; JSON has all


def add_arguments(parser: ArgumentParser) -> None:
    add_using(parser)
    add_json(parser)
    parser.add_argument(
        "--most",
        type=number(1),
        metavar="N",
        help=f"Run at most N reads on each database ({MOST}), or request at most N pages (all).",
    )
    parser.add_argument("--dry-run", action="store_true", help="Run nothing; show what would be run.")
    pages.add_arguments(parser)


@dataclass(slots=True)
class _Warmup:
    """What is run on one database, and what became of it."""

    known: DatabaseReport
    reads: Sequence[WarmupRead]
    outcomes: list[WarmupOutcome] = field(default_factory=list)


def run(options: Mapping[str, Any], out: Output) -> None:
    if options["pages"] or options["sitemap"]:
        pages.run(options, out)
        return
    collected = collect_requested_reports(options)
    # Under another name, another project uses the database, with settings of its own: it warms its cache itself.
    own = [known for known in collected.reports if known.is_own_alias]
    warmups = [
        _Warmup(known, [] if known.report is None else most_valuable(known.report, options["most"] or MOST))
        for known in own
    ]
    if not options["dry_run"]:
        for one in warmups:
            alias = one.known.using
            with reaching(alias):
                outcomes = warm(connection_to(alias), one.known.database, list(one.reads))
                one.outcomes.extend(outcomes if options["json"] else with_bar(outcomes, len(one.reads), alias, out))
    if options["json"]:
        out.json(collected.as_json([_as_json(one, dry=options["dry_run"]) for one in warmups]))
    else:
        for place, one in enumerate(warmups):
            out.show(*([""] if place else []), title(one.known))
            out.show(*(_plan(one) if options["dry_run"] else _summary(one)))
        out.show(*not_cached(collected.not_cached))
    collected.raise_errors()


def _statement(one: _Warmup, read: WarmupRead) -> str:
    return one.known.masker.mask(read.sql)


def _reason(one: _Warmup, outcome: WarmupOutcome) -> str | None:
    if outcome.result is not WarmupResult.FAILED or outcome.reason is None:
        return outcome.reason
    return one.known.masker.mask_error(outcome.reason, outcome.read.sql, outcome.read.params)


def _as_json(one: _Warmup, *, dry: bool) -> dict[str, Any]:
    results = Counter(outcome.result for outcome in one.outcomes)
    reads = (
        [
            {"sql": _statement(one, read), "saved_seconds": read.saved_seconds, "result": None, "reason": None}
            for read in one.reads
        ]
        if dry
        else [
            {
                "sql": _statement(one, outcome.read),
                "saved_seconds": outcome.read.saved_seconds,
                "result": outcome.result.value,
                "reason": _reason(one, outcome),
            }
            for outcome in one.outcomes
        ]
    )
    return {
        "using": one.known.using,
        "dry_run": dry,
        "results": {result.value: results[result] for result in WarmupResult},
        "reads": reads,
    }


# Layout -----------------------------------------------------------------------------------


def _plan(one: _Warmup) -> Iterator[Table | str]:
    if not one.reads:
        yield _no_reads(one.known)
        return
    yield f"{count(len(one.reads), 'read')} would be run. Each is listed with the time that it has saved:"
    table = numbered_list()
    for read in one.reads[:MOST_SHOWN]:
        table.add_row(duration(read.saved_seconds), Text(to_line(_statement(one, read), LONGEST)))
    yield table
    if len(one.reads) > MOST_SHOWN:
        yield f"and {len(one.reads) - MOST_SHOWN:,} more"


def _no_reads(known: DatabaseReport) -> str:
    return no_statistics(known) if known.report is None else "There is no read that has hit more than once."


_RESULTS = {
    WarmupResult.STORED: "read from the database and stored",
    WarmupResult.PRESENT: "in the cache already",
    WarmupResult.NOT_STORED: "not stored",
    WarmupResult.FAILED: "failed: tables or code have changed since",
}


def _summary(one: _Warmup) -> Iterator[Table | str]:
    if not one.outcomes:
        yield _no_reads(one.known)
        return
    results = Counter(outcome.result for outcome in one.outcomes)
    reasons = Counter(outcome.reason for outcome in one.outcomes if outcome.result is WarmupResult.NOT_STORED)
    table = named_lines()
    for result in WarmupResult:
        if results[result]:
            why = ", ".join(f"{times} {reason}" for reason, times in reasons.most_common() if reason is not None)
            more = f" ({why})" if result is WarmupResult.NOT_STORED and why else ""
            table.add_row(f"{results[result]:,}", _RESULTS[result] + more)
    yield table
    failures = [outcome for outcome in one.outcomes if outcome.result is WarmupResult.FAILED]
    if failures:
        lines = named_lines()
        for outcome in failures[:MOST_SHOWN]:
            lines.add_row("failed", Text(f"{_reason(one, outcome)}\n{to_line(_statement(one, outcome.read), LONGEST)}"))
        yield lines
    if len(failures) > MOST_SHOWN:
        yield f"and {len(failures) - MOST_SHOWN:,} more that failed"
