"""What is advised about functions, fragments and pages, from figures made by hand."""

from __future__ import annotations

from typing import Any

import pytest

from ormcache import reasons
from ormcache.cache.tracking import Rejection
from ormcache.diagnostics.advice import AdviceContext, Verdict, advise, describe_remedy, judge_derived
from ormcache.diagnostics.advice.derived import PASSING
from ormcache.diagnostics.format.meanings import MEANINGS
from ormcache.telemetry import Miss, Tally
from ormcache.telemetry.derived_stats import OTHER, DerivedCounters
from ormcache.telemetry.report import Report

CONTEXT = AdviceContext(uncacheable_functions=lambda sql: ("levenshtein",))
LAST = Rejection(reasons.RANDOM, "SELECT random()", frozenset({"book"}), "shop/views.py:12")


def page(hits: int = 0, misses: int = 0, kind: str = "page", each: float = 0.1, **more: Any) -> DerivedCounters:
    """One that takes a tenth of a second to compute."""
    return DerivedCounters(
        kind, "/books/", hits=hits, hit_seconds=hits * 0.001, misses=misses, miss_seconds=misses * each, **more
    )


def rejected(reason: str, times: int = 100, **more: Any) -> DerivedCounters:
    return page(misses=times, rejected={reason: times}, last_rejection=LAST._replace(reason=reason), **more)


def invalidated(times: int, hits: int, **more: Any) -> DerivedCounters:
    return page(hits, times, missed={Miss.INVALIDATED: times}, invalidated_by={"book": times}, **more)


@pytest.mark.parametrize("reason", [reasons.RANDOM, reasons.CLOCK, reasons.WRITES, reasons.STATEMENT, reasons.FUNCTION])
def test_what_is_never_stored(reason: str) -> None:
    advice = judge_derived(rejected(reason), CONTEXT)

    assert (advice.kind, advice.subject, advice.verdict) == ("page", "/books/", Verdict.NOT_STORED)
    assert MEANINGS[reason].text in advice.finding
    assert "100 of 100 times" in advice.finding
    assert "a statement on book, run in shop/views.py:12." in advice.finding
    assert ("levenshtein" in advice.finding) == (reason == reasons.FUNCTION)
    assert advice.remedy == describe_remedy(reason)
    assert (advice.callers, advice.sql, advice.bypass_reason) == (("shop/views.py:12",), "SELECT random()", reason)
    assert advice.seconds == pytest.approx(10.0)


@pytest.mark.parametrize("reason", sorted(PASSING))
def test_what_passes_needs_no_remedy(reason: str) -> None:
    advice = judge_derived(rejected(reason), CONTEXT)
    assert (advice.verdict, advice.remedy) == (Verdict.NOT_STORED, "")


def test_nothing_is_not_advised() -> None:
    assert MEANINGS[reasons.LOCKING].remedy == "nothing"
    assert judge_derived(rejected(reasons.LOCKING), CONTEXT).remedy == ""


def test_a_reason_of_another_release() -> None:
    advice = judge_derived(rejected("of tomorrow"), CONTEXT)
    assert (advice.verdict, advice.remedy) == (Verdict.NOT_STORED, "")
    assert "it could not be stored (of tomorrow)." in advice.finding


def test_another_statement_is_not_blamed() -> None:
    """The last one was another reason: whose statement it was is not known any more."""
    counters = rejected(reasons.RANDOM)
    counters.record_miss(0.1, None, None, LAST._replace(reason=reasons.CLOCK, sql="SELECT now()"))
    advice = judge_derived(counters, CONTEXT)
    assert (advice.bypass_reason, advice.callers, advice.sql) == (reasons.RANDOM, (), "")
    assert "shop/views.py" not in advice.finding


def test_a_reason_without_a_statement() -> None:
    counters = page(misses=100, rejected={reasons.TOO_LARGE: 100}, last_rejection=Rejection(reasons.TOO_LARGE))
    assert "statement" not in judge_derived(counters, CONTEXT).finding
    no_line = page(misses=100, rejected={reasons.RANDOM: 100}, last_rejection=LAST._replace(caller=None))
    assert "statement on book." in judge_derived(no_line, CONTEXT).finding


def test_a_reason_that_is_something_else() -> None:
    last = Rejection(reasons.VARIABLE, subject="request is a request: pass what you need of it")
    counters = page(misses=100, kind="fragment", rejected={reasons.VARIABLE: 100}, last_rejection=last)
    advice = judge_derived(counters, CONTEXT)
    assert advice.finding.endswith(" The last time: request is a request: pass what you need of it.")
    assert (advice.sql, advice.callers) == ("", ())


def test_what_is_not_stored_now_and_then() -> None:
    counters = page(900, 100, rejected={reasons.RANDOM: 40}, last_rejection=LAST)
    assert judge_derived(counters, CONTEXT).verdict == Verdict.GOOD
    assert judge_derived(rejected(reasons.RANDOM, 29), CONTEXT).verdict == Verdict.TOO_EARLY


def test_what_is_invalidated_more_often_than_hit() -> None:
    advice = judge_derived(invalidated(600, 400), CONTEXT)
    assert advice.verdict == Verdict.OFTEN_INVALIDATED
    assert "600 times, 600 of them to book; there were 400 hits" in advice.finding
    assert "as fragments" in advice.remedy
    assert "as fragments" not in judge_derived(invalidated(600, 400, kind="fragment"), CONTEXT).remedy
    assert judge_derived(invalidated(400, 600), CONTEXT).verdict == Verdict.GOOD
    assert judge_derived(invalidated(50, 40), CONTEXT).verdict == Verdict.TOO_EARLY


@pytest.mark.parametrize("by", [{}, {OTHER: 600}])
def test_it_is_not_known_which_writes(by: dict[str, int]) -> None:
    counters = page(0, 600, missed={Miss.INVALIDATED: 600}, invalidated_by=by)
    assert "of them" not in judge_derived(counters, CONTEXT).finding


def test_what_is_new_each_time() -> None:
    assert judge_derived(page(0, 300, missed={Miss.COLD: 300}), CONTEXT).verdict == Verdict.NEVER_HITS
    assert judge_derived(page(0, 150, missed={Miss.COLD: 150}), CONTEXT).verdict == Verdict.TOO_EARLY


def test_what_pays_and_what_does_not() -> None:
    assert judge_derived(page(900, 100), CONTEXT).verdict == Verdict.GOOD
    assert judge_derived(page(900, 100, each=1e-5), CONTEXT).verdict == Verdict.NO_GAIN
    assert judge_derived(page(), CONTEXT).verdict == Verdict.TOO_EARLY


def test_nothing_is_advised_where_little_time_is_at_stake() -> None:
    assert judge_derived(rejected(reasons.RANDOM, each=1e-4), CONTEXT).remedy == ""


def test_it_is_among_all_advice() -> None:
    report = Report("default", at=1e9, derived=[rejected(reasons.RANDOM), page(900, 100)])
    assert [(one.kind, one.verdict) for one in advise(report, CONTEXT)] == [("page", Verdict.NOT_STORED)]


def test_one_cause_is_named_once() -> None:
    """Where most reads of the database bypass the cache for it, that is said, and not of each page."""
    report = Report(
        "default", at=1e9, derived=[rejected(reasons.SNAPSHOT)], total=Tally(bypassed={reasons.SNAPSHOT: 10_000})
    )
    assert [one.kind for one in advise(report, CONTEXT)] == ["database"]
