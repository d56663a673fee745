"""What is advised, from figures made by hand; as important as what is said is what is not."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from ormcache import reasons
from ormcache.catalog.neighbours import in_neighbour
from ormcache.figures import Miss, Tally, total_of
from ormcache.figures.report import RelationReport, Report, TextReport
from ormcache.insight.advice import (
    AVOIDABLE,
    ENOUGH_READS,
    NOT_KEPT,
    Facts,
    Verdict,
    advice_on,
    on_query,
    on_relation,
    remedy_of,
)
from ormcache.insight.quantities import duration, percent

FACTS = Facts(
    excludes=lambda relation: relation == "session",
    functions=lambda sql: ("levenshtein",),
    max_rows=5_000,
    max_bytes=1_000,
    timeout=60,
)


def report(*relations: RelationReport, texts: tuple[TextReport, ...] = (), **total: Any) -> Report:
    """One whose writes took a tenth of a millisecond each."""
    writes = sum(relation.writes for relation in relations)
    return Report(
        "default",
        at=1e9,
        total=Tally(**total),
        writes=writes,
        write_seconds=writes * 1e-4,
        relations=list(relations),
        texts=list(texts),
    )


def reads(hits: int = 0, misses: int = 0, query: float = 0.01, cache: float = 1e-4, **more: Any) -> Tally:
    """``query`` and ``cache``: seconds of one."""
    return Tally(
        hits=hits,
        misses=misses,
        hit_seconds=hits * cache,
        miss_seconds=misses * cache,
        query_seconds=misses * query,
        **more,
    )


def past(reason: str, times: int, seconds: float = 0.1) -> Tally:
    return Tally(bypassed={reason: times}, uncached=times, uncached_seconds=times * seconds)


def text(tally: Tally, *relations: str, **more: Any) -> TextReport:
    return TextReport("d1", "SELECT 1", relations or ("book",), tally, {"shop/views.py:12": None}, **more)


def verdict(relation: RelationReport) -> tuple[str, bool]:
    """The judgement, and whether there is something to do."""
    advice = on_relation(relation, report(relation), FACTS)
    return advice.verdict, bool(advice.remedy)


# Tables -------------------------------------------------------------------------------


def test_another_database_is_no_table():
    for name in ("*", "*schema"):
        assert verdict(RelationReport(in_neighbour("other", name), writes=1000)) == (Verdict.QUIET, False)


def test_a_table_that_pays():
    assert verdict(RelationReport("book", reads(900, 100), writes=10, retired=5)) == (Verdict.GOOD, False)


def test_a_table_that_is_written_often_and_pays_all_the_same():
    relation = RelationReport("book", reads(5_000, 5_000), writes=5_000, retired=5_000)

    assert verdict(relation) == (Verdict.GOOD, False)


def test_a_table_that_its_writes_make_useless():
    relation = RelationReport("book", reads(5, 995, query=1e-4), writes=1_000, retired=990, writes_per_minute=12.5)

    advice = on_relation(relation, report(relation), FACTS)

    assert advice.verdict == Verdict.WRITE_HEAVY
    assert advice.setting == "BLACKLIST"
    assert '"book"' in advice.remedy
    assert "12.5 writes a minute" in advice.finding
    assert advice.figures["writes"] == 1_000
    assert advice.seconds > 0


def test_a_table_that_is_retired_by_another_one_is_not_blamed():
    """Joined with one that is written all the time."""
    relation = RelationReport("author", reads(5, 995, query=1e-5), writes=60, retired=0)

    assert verdict(relation) == (Verdict.COSTLY, False)


def test_a_table_that_is_only_written():
    relation = RelationReport("log", reads(0, 3), writes=10_000)

    advice = on_relation(relation, report(relation), FACTS)

    assert (advice.verdict, advice.setting) == (Verdict.HARDLY_READ, "BLACKLIST")


def test_a_table_that_is_hardly_read_by_a_query_that_takes_long():
    """A report over the log: every hit saves more than a thousand writes cost."""
    relation = RelationReport("log", reads(50, 3, query=5.0), writes=10_000)

    assert verdict(relation) == (Verdict.HARDLY_READ, False)


@pytest.mark.parametrize(
    "tally, writes", [(reads(0, 99), 0), (reads(0, 3), 49), (reads(1, 0), 0), (reads(10, 80, query=1e-6), 80)]
)
def test_little_is_known_of_a_table(tally, writes):
    assert verdict(RelationReport("book", tally, writes=writes, retired=tally.misses)) == (Verdict.EARLY, False)


def test_nobody_reads_a_table():
    assert verdict(RelationReport("book", Tally(), writes=3)) == (Verdict.QUIET, False)


def test_a_blacklisted_table_is_told_of_only_if_it_is_read_much():
    assert verdict(RelationReport("session", past(reasons.BLACKLISTED, 500))) == (Verdict.LISTED, True)
    assert verdict(RelationReport("session", past(reasons.BLACKLISTED, 99))) == (Verdict.LISTED, False)
    assert verdict(RelationReport("session", past(reasons.BLACKLISTED, 500, 1e-5))) == (Verdict.LISTED, False)


def test_a_blacklisted_table_that_is_written_much_stays_there():
    assert verdict(RelationReport("session", past(reasons.BLACKLISTED, 500), writes=50)) == (Verdict.LISTED, True)
    assert verdict(RelationReport("session", past(reasons.BLACKLISTED, 500), writes=51)) == (Verdict.LISTED, False)


# Queries ------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", sorted(AVOIDABLE))
def test_a_query_that_goes_past_the_cache(reason):
    advice = on_query(text(past(reason, 200)), FACTS)

    assert (advice.verdict, advice.reason, advice.remedy) == (Verdict.PAST, reason, remedy_of(reason))
    assert advice.callers == ("shop/views.py:12",)
    assert advice.seconds == pytest.approx(20)


@pytest.mark.parametrize("reason", [reasons.LOCKING, reasons.EXPLAIN, reasons.SEQUENCE, reasons.BLACKLISTED])
def test_nothing_is_to_be_done_about_what_is_meant_so(reason):
    assert on_query(text(past(reason, 200)), FACTS).remedy == ""


def test_every_reason_with_a_remedy_is_one():
    known = {value for name, value in vars(reasons).items() if name.isupper()}

    assert AVOIDABLE | NOT_KEPT.keys() <= known
    assert not [reason for reason in AVOIDABLE if remedy_of(reason) == "Nothing."]


def test_the_function_is_named():
    assert "levenshtein" in on_query(text(past(reasons.FUNCTION, 200)), FACTS).finding


def test_a_query_that_goes_past_the_cache_now_and_then():
    """Inside of transactions that have written, say; most of its reads are fine."""
    tally = total_of([reads(1_000, 10), past(reasons.DIRTY, 100)])

    assert on_query(text(tally), FACTS).verdict == Verdict.GOOD


def test_a_query_that_is_rare_or_quick():
    assert on_query(text(past(reasons.CLOCK, ENOUGH_READS - 1)), FACTS).remedy == ""
    assert on_query(text(past(reasons.CLOCK, 200, 1e-4)), FACTS).remedy == ""


@pytest.mark.parametrize("reason, setting", [(reasons.TOO_MANY_ROWS, "MAX_ROWS"), (reasons.TOO_LARGE, "MAX_BYTES")])
def test_a_result_that_is_not_kept(reason, setting):
    advice = on_query(text(reads(0, 100, refused={reason: 100})), FACTS)

    assert (advice.verdict, advice.setting) == (Verdict.NOT_KEPT, setting)
    assert f"{setting} (now {getattr(FACTS, setting.lower()):,})" in advice.remedy


def test_a_marked_table_is_no_fault_of_the_query():
    advice = on_query(text(reads(0, 100, refused={reasons.MARKED: 100}), moment=False), FACTS)

    assert advice.remedy == ""


def test_a_query_with_the_present_moment():
    advice = on_query(text(reads(0, 100), moment=True), FACTS)

    assert advice.verdict == Verdict.NOW
    assert "Round" in advice.remedy


def test_a_query_with_a_moment_that_hits():
    """It is rounded already, or was the present one by chance."""
    assert on_query(text(reads(300, 100), moment=True), FACTS).verdict == Verdict.GOOD


def test_a_query_that_never_hits():
    advice = on_query(text(reads(0, 300, missed={Miss.COLD: 300})), FACTS)

    assert (advice.verdict, bool(advice.remedy)) == (Verdict.NEVER_HIT, True)


def test_a_cache_that_fills():
    assert on_query(text(reads(0, 199, missed={Miss.COLD: 199})), FACTS).verdict == Verdict.EARLY


def test_a_query_whose_table_is_written_is_not_told_to_change_its_parameters():
    assert on_query(text(reads(0, 300, missed={Miss.RETIRED: 290})), FACTS).remedy == ""


def test_a_short_timeout():
    tally = reads(100, 100, missed={Miss.EXPIRED: 90})

    assert on_query(text(tally), FACTS).setting == "TIMEOUT"
    assert on_query(text(tally), Facts()).verdict == Verdict.GOOD


def test_a_query_that_is_left_alone():
    assert on_query(text(reads(1, 200), resting={"hits": 1}), FACTS).verdict == Verdict.RESTING
    assert on_query(text(past(reasons.NOT_WORTH, 200)), FACTS).verdict == Verdict.RESTING


# Together -----------------------------------------------------------------------------


def test_nothing_is_said_of_nothing():
    assert advice_on(report(), FACTS) == []


def test_nothing_is_said_of_a_site_that_is_well():
    book = RelationReport("book", reads(9_000, 300, missed={Miss.COLD: 200, Miss.RETIRED: 100}), writes=30, retired=100)

    found = report(book, texts=(text(book.tally),), hits=9_000, misses=300, query_seconds=3.0)

    assert advice_on(found, FACTS) == []


def test_one_cause_is_told_once():
    """The table, and not each query that it spoils as well."""
    spoiled = reads(0, 1_000, query=1e-3, cache=2e-3)
    relation = RelationReport("book", spoiled, writes=1_000, retired=900)
    texts = (text(reads(0, 1_000, query=1e-3, missed={Miss.COLD: 600})),)

    advice = advice_on(report(relation, texts=texts, misses=1_000), FACTS)

    assert [one.kind for one in advice] == ["relation"]


def test_a_reason_of_the_connection_is_told_once():
    tally = past(reasons.SNAPSHOT, 500)

    advice = advice_on(report(texts=(text(tally),), bypassed={reasons.SNAPSHOT: 500}), FACTS)

    assert [(one.kind, one.reason) for one in advice] == [("database", reasons.SNAPSHOT)]


def test_a_few_transactions_are_no_reason_to_change_their_isolation():
    tally = past(reasons.SNAPSHOT, 500)

    assert not [one for one in advice_on(report(bypassed=tally.bypassed, hits=9_000), FACTS) if one.kind == "database"]


def test_what_matters_most_comes_first():
    quick, slow = text(past(reasons.CLOCK, 100)), text(past(reasons.RANDOM, 900))

    assert [one.reason for one in advice_on(report(texts=(quick, slow)), FACTS)] == [reasons.RANDOM, reasons.CLOCK]


def test_everything_is_retired():
    everything = RelationReport("*", writes=100)
    total = {"misses": 1_000, "query_seconds": 10.0, "retired_by": {"*": 900}}

    assert [one.verdict for one in advice_on(report(everything, **total), FACTS)] == [Verdict.EVERYTHING]
    total["retired_by"] = {"*": 100}
    assert advice_on(report(everything, **total), FACTS) == []


def test_a_store_that_is_too_small():
    total = {"hits": 1_000, "misses": 1_000, "query_seconds": 10.0}

    assert [one.verdict for one in advice_on(report(**total, missed={Miss.LOST: 200}), FACTS)] == [Verdict.LOSING]
    assert advice_on(report(**total, missed={Miss.LOST: 99}), FACTS) == []


def test_advice_goes_into_json():
    found = advice_on(report(texts=(text(past(reasons.CLOCK, 200)),)), FACTS)

    assert json.loads(json.dumps([asdict(one) for one in found]))[0]["reason"] == reasons.CLOCK


# Words --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "seconds, words",
    [
        (0, "0 s"),
        (1.5e-6, "1.5 µs"),
        (0.00099, "990 µs"),
        (0.0009999, "1 ms"),
        (0.25, "250 ms"),
        (0.9999, "1 s"),
        (59.9, "59.9 s"),
        (59.99, "1 min"),
        (61, "1 min 1 s"),
        (3599.9, "1 h"),
        (3660, "1 h 1 min"),
        (86_400, "1 d"),
        (90_000, "1 d 1 h"),
        (-2, "-2 s"),
    ],
)
def test_durations(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize(
    "share, words", [(0, "0 %"), (0.5, "50 %"), (0.99996, "99.9 %"), (1, "100 %"), (0.0012, "0.12 %")]
)
def test_percents(share, words):
    assert percent(share) == words


def test_every_judgement_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "admin.md").read_text(encoding="utf-8")
    table = page.split("## The advice", 1)[1]
    judgements = {value for name, value in vars(Verdict).items() if name.isupper()}

    assert [judgement for judgement in sorted(judgements) if judgement not in table] == []
