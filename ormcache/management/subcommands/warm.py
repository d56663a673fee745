"""``manage.py ormcache warm``."""

from __future__ import annotations

from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import connections
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from ormcache.insight.gathering import Known
from ormcache.insight.quantities import count, duration
from ormcache.insight.statements import short
from ormcache.management.common import add_json, add_using, gather, number, reaching
from ormcache.management.output import Output
from ormcache.management.words import lines_table, not_cached, nothing, title
from ormcache.warming import Outcome, Read, Warmed, most_valuable, warm

HELP = """Runs the reads again that have saved the most, so that the cache has them before visitors ask.

For deployments: run it with the new code and settings, before the new processes take traffic. It runs nothing but reads
that may be cached."""

MOST = 500  # reads, if nobody says
LONGEST = 200  # characters of a statement
MOST_SHOWN = 20  # reads that are listed; JSON has all


def add_arguments(parser: ArgumentParser) -> None:
    add_using(parser)
    add_json(parser)
    parser.add_argument(
        "--most", type=number(1), default=MOST, metavar="N", help=f"Run at most N reads on each database ({MOST})."
    )
    parser.add_argument("--dry-run", action="store_true", help="Run nothing; show what would be run.")


@dataclass(slots=True)
class _Warmed:
    """What was done on one database."""

    known: Known
    reads: Sequence[Read]
    outcomes: list[Outcome] = field(default_factory=list)


def run(options: Mapping[str, Any], out: Output) -> None:
    gathered = gather(options)
    # Under another name, another project asks for them, with other settings: it warms them itself.
    own = [known for known in gathered.known if known.is_own]
    found = [
        _Warmed(known, [] if known.report is None else most_valuable(known.report, options["most"])) for known in own
    ]
    if not options["dry_run"]:
        for one in found:
            alias = one.known.using
            with reaching(alias):
                outcomes = warm(connections[alias], one.known.database, list(one.reads))
                one.outcomes += outcomes if options["json"] else _with_bar(outcomes, len(one.reads), alias, out)
    if options["json"]:
        out.json(gathered.as_json([_as_json(one, dry=options["dry_run"]) for one in found]))
    else:
        for place, one in enumerate(found):
            out.show(*([""] if place else []), title(one.known))
            out.show(*(_planned(one) if options["dry_run"] else _done(one)))
        out.show(*not_cached(gathered.not_cached))
    gathered.complain()


def _with_bar(outcomes: Iterable[Outcome], total: int, alias: str, out: Output) -> Iterator[Outcome]:
    if not out.is_terminal or not total:
        yield from outcomes
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, console=out.terminal(), transient=True, redirect_stdout=False, redirect_stderr=False
    ) as progress:
        yield from progress.track(outcomes, total=total, description=alias)


def _statement(one: _Warmed, read: Read) -> str:
    return one.known.statements.shown(read.sql)


def _error(one: _Warmed, outcome: Outcome) -> str | None:
    if outcome.result is not Warmed.FAILED or outcome.why is None:
        return outcome.why
    return one.known.statements.error(outcome.why, outcome.read.sql, outcome.read.params)


def _as_json(one: _Warmed, *, dry: bool) -> dict[str, Any]:
    results = Counter(outcome.result for outcome in one.outcomes)
    told = (
        [{"sql": _statement(one, read), "worth": read.worth, "result": None, "why": None} for read in one.reads]
        if dry
        else [
            {
                "sql": _statement(one, outcome.read),
                "worth": outcome.read.worth,
                "result": outcome.result.value,
                "why": _error(one, outcome),
            }
            for outcome in one.outcomes
        ]
    )
    return {
        "using": one.known.using,
        "dry_run": dry,
        "results": {result.value: results[result] for result in Warmed},
        "warmed": told,
    }


# How it looks -----------------------------------------------------------------------------


def _cut(sql: str) -> str:
    text = short(sql)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _planned(one: _Warmed) -> Iterator[Table | str]:
    if not one.reads:
        yield _no_reads(one.known)
        return
    yield f"{count(len(one.reads), 'read')} would be run:"
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for read in one.reads[:MOST_SHOWN]:
        table.add_row(duration(read.worth), Text(_cut(_statement(one, read))))
    yield table
    if len(one.reads) > MOST_SHOWN:
        yield f"and {len(one.reads) - MOST_SHOWN:,} more"


def _no_reads(known: Known) -> str:
    return nothing(known) if known.report is None else "No read is known that has hit more than once."


_TOLD = {
    Warmed.READ: "from the database, and kept",
    Warmed.THERE: "in the cache already",
    Warmed.NOT_KEPT: "not kept",
    Warmed.FAILED: "failed: tables or code have changed since",
}


def _done(one: _Warmed) -> Iterator[Table | str]:
    if not one.outcomes:
        yield _no_reads(one.known)
        return
    results = Counter(outcome.result for outcome in one.outcomes)
    reasons = Counter(outcome.why for outcome in one.outcomes if outcome.result is Warmed.NOT_KEPT)
    table = lines_table()
    for result in Warmed:
        if results[result]:
            why = ", ".join(f"{times} {reason}" for reason, times in reasons.most_common() if reason is not None)
            more = f" ({why})" if result is Warmed.NOT_KEPT and why else ""
            table.add_row(f"{results[result]:,}", _TOLD[result] + more)
    yield table
    failed = [outcome for outcome in one.outcomes if outcome.result is Warmed.FAILED]
    if failed:
        listed = lines_table()
        for outcome in failed[:MOST_SHOWN]:
            listed.add_row("failed", Text(f"{_error(one, outcome)}\n{_cut(_statement(one, outcome.read))}"))
        yield listed
    if len(failed) > MOST_SHOWN:
        yield f"and {len(failed) - MOST_SHOWN:,} more that failed"
