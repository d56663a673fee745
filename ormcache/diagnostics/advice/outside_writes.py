"""Judgements on writes of other programs that were noticed without triggers."""

from __future__ import annotations

from collections.abc import Iterator

from ormcache.catalog import EPOCH
from ormcache.diagnostics.advice.advice import Advice, AdviceContext, Verdict
from ormcache.diagnostics.advice.thresholds import ENOUGH_WRITES
from ormcache.diagnostics.format.quantities import count
from ormcache.telemetry.report import RelationReport, Report

#: Tables that are named as those that other programs have written
MOST_TABLES = 8


def judge_outside_writes(report: Report, context: AdviceContext) -> Iterator[Advice]:
    """Judge what all processes have noticed of tables that may be cached."""
    written = sorted(
        (one for one in report.relations if one.outside_writes and not context.excludes(one.name)),
        key=lambda one: one.outside_writes,
        reverse=True,
    )
    tables = [one for one in written if one.name != EPOCH]
    if tables:
        yield _install_triggers(tables, report)
    for one in written:
        if one.outside_writes >= ENOUGH_WRITES:
            yield _write_through_ormcache(one, report) if one.name == EPOCH else _blacklist(one)


def _install_triggers(tables: list[RelationReport], report: Report) -> Advice:
    named = ", ".join(f"{one.name} ({one.outside_writes:,})" for one in tables[:MOST_TABLES])
    more = f" and {count(len(tables) - MOST_TABLES, 'other table')}" if len(tables) > MOST_TABLES else ""
    return Advice(
        "database",
        report.using,
        Verdict.WRITTEN_OUTSIDE,
        f"Other programs have written to {named}{more}. Until that was noticed, results were stale.",
        "Have triggers record such writes, which are then invalidated at once: manage.py ormcache triggers install. Or "
        "let these programs write through ormcache.",
        statistics={"outside_writes": sum(one.outside_writes for one in tables)},
    )


def _blacklist(relation: RelationReport) -> Advice:
    return Advice(
        "relation",
        relation.name,
        Verdict.WRITTEN_OUTSIDE,
        f"{count(relation.outside_writes, 'write')} of other programs to it were noticed.",
        f'Unless triggers record them, exclude the table from caching: add "{relation.name}" to BLACKLIST.',
        "BLACKLIST",
        statistics={"outside_writes": relation.outside_writes},
    )


def _write_through_ormcache(everything: RelationReport, report: Report) -> Advice:
    return Advice(
        "database",
        report.using,
        Verdict.WRITTEN_OUTSIDE,
        f"Other programs have written to the file {count(everything.outside_writes, 'time')}, and everything was "
        "invalidated each time.",
        "Let these programs write through ormcache, which invalidates no more than what depends on their tables.",
        statistics={"outside_writes": everything.outside_writes},
    )
