"""All advice on one database."""

from __future__ import annotations

from ormcache.diagnostics.advice.advice import Advice, AdviceContext, Verdict
from ormcache.diagnostics.advice.databases import judge_database
from ormcache.diagnostics.advice.derived import judge_derived
from ormcache.diagnostics.advice.outside_writes import judge_outside_writes
from ormcache.diagnostics.advice.queries import judge_query
from ormcache.diagnostics.advice.tables import judge_table
from ormcache.telemetry.report import Report


def advise(report: Report, context: AdviceContext) -> list[Advice]:
    """Return what there is to change, in the order of the time at stake; what is wrong comes before all that.

    One cause is named once, where it lies.
    """
    advice = judge_database(report)
    named_reasons = {one.bypass_reason for one in advice} - {None}
    advice += judge_outside_writes(report, context)
    advice += [judge_table(relation, report, context) for relation in report.relations]
    to_blacklist = {one.subject for one in advice if one.verdict in (Verdict.WRITE_HEAVY, Verdict.RARELY_READ)}
    for text in report.queries:
        one = judge_query(text, context)
        if one.bypass_reason not in named_reasons and to_blacklist.isdisjoint(text.relations):
            advice.append(one)
    derived = [judge_derived(counters, context) for counters in report.derived]
    advice += [one for one in derived if one.bypass_reason not in named_reasons]
    found = [one for one in advice if one.remedy]
    return sorted(found, key=lambda one: (_FIRST.get(one.verdict, 0), one.seconds), reverse=True)


#: Verdict → its place before all others; the highest is the first
_FIRST = {Verdict.STALE: 2, Verdict.WRITTEN_OUTSIDE: 1}
