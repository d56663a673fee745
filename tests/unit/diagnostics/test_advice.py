"""What is advised, from figures made by hand; as important as what is said is what is not."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from ormcache import reasons
from ormcache.catalog.other_databases import name_in_database
from ormcache.diagnostics.advice import AdviceContext, Verdict, advise, describe_remedy, judge_query, judge_table
from ormcache.diagnostics.advice.queries import AVOIDABLE, REJECTION_REMEDIES
from ormcache.diagnostics.advice.thresholds import ENOUGH_READS
from ormcache.diagnostics.format.quantities import duration, percent
from ormcache.telemetry import Miss, Tally, total_of
from ormcache.telemetry.report import QueryReport, RelationReport, Report

CONTEXT = AdviceContext(
    excludes=lambda relation: relation == "session",
    uncacheable_functions=lambda sql: ("levenshtein",),
    max_rows=5_000,
    max_bytes=1_000,
    timeout=60,
)


def report(*relations: RelationReport, queries: tuple[QueryReport, ...] = (), **total: Any) -> Report:
    """One whose writes took a tenth of a millisecond each."""
    writes = sum(relation.writes for relation in relations)
    return Report(
        "default",
        at=1e9,
        total=Tally(**total),
        writes=writes,
        write_seconds=writes * 1e-4,
        relations=list(relations),
        queries=list(queries),
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


def text(tally: Tally, *relations: str, **more: Any) -> QueryReport:
    return QueryReport("d1", "SELECT 1", relations or ("book",), tally, {"shop/views.py:12": None}, **more)


def verdict(relation: RelationReport) -> tuple[str, bool]:
    """The judgement, and whether there is something to do."""
    advice = judge_table(relation, report(relation), CONTEXT)
    return advice.verdict, bool(advice.remedy)


# Tables -------------------------------------------------------------------------------


def test_another_database_is_no_table():
    for name in ("*", "*schema"):
        assert verdict(RelationReport(name_in_database("other", name), writes=1000)) == (Verdict.NOT_READ, False)


def test_a_table_that_pays():
    assert verdict(RelationReport("book", reads(900, 100), writes=10, invalidated=5)) == (Verdict.GOOD, False)


def test_a_table_that_is_written_often_and_pays_all_the_same():
    relation = RelationReport("book", reads(5_000, 5_000), writes=5_000, invalidated=5_000)

    assert verdict(relation) == (Verdict.GOOD, False)


def test_a_table_that_its_writes_make_useless():
    relation = RelationReport("book", reads(5, 995, query=1e-4), writes=1_000, invalidated=990, writes_per_minute=12.5)

    advice = judge_table(relation, report(relation), CONTEXT)

    assert advice.verdict == Verdict.WRITE_HEAVY
    assert advice.setting == "BLACKLIST"
    assert '"book"' in advice.remedy
    assert "12.5 writes a minute" in advice.finding
    assert advice.statistics["writes"] == 1_000
    assert advice.seconds > 0


def test_a_table_that_is_retired_by_another_one_is_not_blamed():
    """Joined with one that is written all the time."""
    relation = RelationReport("author", reads(5, 995, query=1e-5), writes=60, invalidated=0)

    assert verdict(relation) == (Verdict.NO_GAIN, False)


def test_a_table_that_is_only_written():
    relation = RelationReport("log", reads(0, 3), writes=10_000)

    advice = judge_table(relation, report(relation), CONTEXT)

    assert (advice.verdict, advice.setting) == (Verdict.RARELY_READ, "BLACKLIST")


def test_a_table_that_is_read_as_often_as_it_is_written_is_not_called_rarely_read():
    """Most of its reads bypass the cache by themselves, since caching it does not pay."""
    tally = total_of([reads(0, 150, query=1e-4), past(reasons.ADAPTIVE_BYPASS, 2_850, 1e-4)])
    relation = RelationReport("view", tally, writes=3_000)

    advice = judge_table(relation, report(relation), CONTEXT)

    assert (advice.verdict, advice.setting) == (Verdict.WRITE_HEAVY, "BLACKLIST")
    assert "Of its 3,000 reads, only 150 looked in the cache" in advice.finding
    assert '"view"' in advice.remedy


def test_a_table_that_is_hardly_read_by_a_query_that_takes_long():
    """A report over the log: every hit saves more than a thousand writes cost."""
    relation = RelationReport("log", reads(50, 3, query=5.0), writes=10_000)

    assert verdict(relation) == (Verdict.RARELY_READ, False)


@pytest.mark.parametrize(
    "tally, writes", [(reads(0, 99), 0), (reads(0, 3), 49), (reads(1, 0), 0), (reads(10, 80, query=1e-6), 80)]
)
def test_little_is_known_of_a_table(tally, writes):
    assert verdict(RelationReport("book", tally, writes=writes, invalidated=tally.misses)) == (Verdict.TOO_EARLY, False)


def test_nobody_reads_a_table():
    assert verdict(RelationReport("book", Tally(), writes=3)) == (Verdict.NOT_READ, False)


def test_a_blacklisted_table_is_told_of_only_if_it_is_read_much():
    assert verdict(RelationReport("session", past(reasons.BLACKLISTED, 500))) == (Verdict.BLACKLISTED, True)
    assert verdict(RelationReport("session", past(reasons.BLACKLISTED, 99))) == (Verdict.BLACKLISTED, False)
    assert verdict(RelationReport("session", past(reasons.BLACKLISTED, 500, 1e-5))) == (Verdict.BLACKLISTED, False)


def test_a_blacklisted_table_that_is_written_much_stays_there():
    assert verdict(RelationReport("session", past(reasons.BLACKLISTED, 500), writes=50)) == (Verdict.BLACKLISTED, True)
    assert verdict(RelationReport("session", past(reasons.BLACKLISTED, 500), writes=51)) == (Verdict.BLACKLISTED, False)


BY_KEY = "SELECT * FROM session WHERE id = 1"
BY_ROW = "UPDATE session SET data = 1 WHERE id = 1"
FOLLOWING_ROWS = replace(CONTEXT, follows_rows={BY_KEY, BY_ROW}.__contains__)


@pytest.mark.parametrize(
    "by_key, others, writes, cause, is_advised",
    [
        (500, 0, 250, BY_ROW, True),
        (500, 0, 251, BY_ROW, False),
        (500, 0, 250, "UPDATE session SET data = 1", False),
        (500, 500, 200, BY_ROW, True),
        (499, 501, 200, BY_ROW, False),
        (99, 0, 20, BY_ROW, False),
    ],
)
def test_a_blacklisted_table_that_is_read_by_key(by_key, others, writes, cause, is_advised):
    queries = [
        QueryReport("k", BY_KEY, ("session",), past(reasons.BLACKLISTED, by_key)),
        QueryReport("o", "SELECT * FROM session", ("session",), past(reasons.BLACKLISTED, others)),
    ]
    tally = past(reasons.BLACKLISTED, by_key + others)
    relation = RelationReport("session", tally, writes=writes, cause=cause)
    advice = judge_table(relation, report(relation, queries=tuple(queries)), FOLLOWING_ROWS)
    assert (advice.verdict, bool(advice.remedy)) == (Verdict.BLACKLISTED, is_advised)
    assert ("are by key: their results outlive writes to other rows" in advice.finding) == is_advised
    assert advice.seconds == (pytest.approx(by_key * 0.1) if is_advised else 0)


def test_a_blacklisted_table_whose_queries_read_another_one():
    context = replace(FOLLOWING_ROWS, excludes={"session", "other"}.__contains__)
    query = QueryReport("k", BY_KEY, ("session", "other"), past(reasons.BLACKLISTED, 500))
    relation = RelationReport("session", past(reasons.BLACKLISTED, 500), writes=200, cause=BY_ROW)
    assert not judge_table(relation, report(relation, queries=(query,)), context).remedy


@pytest.mark.parametrize(
    "row_hits, expected", [(0, Verdict.WRITE_HEAVY), (100, Verdict.WRITE_HEAVY), (2_000, "no gain")]
)
def test_a_table_that_is_written_much_and_served_by_row(row_hits, expected):
    """Its pages cost more than they save; what is read by key saves more than its writes cost."""
    pages = reads(5, 9_995, query=1e-4)
    by_key = reads(row_hits, 10, query=1e-3, row_hits=row_hits, row_invalidated=10)
    relation = RelationReport("book", total_of([pages, by_key]), writes=10_000, invalidated=9_995)
    queries = (text(pages), QueryReport("k", "SELECT", ("book",), by_key))
    advice = judge_table(relation, report(relation, queries=queries), CONTEXT)
    assert advice.verdict == expected
    assert bool(advice.remedy) == (expected == Verdict.WRITE_HEAVY)


@pytest.mark.parametrize("by_row", [{"row_hits": 1, "hits": 2_000}, {"row_hits": 2_000, "hits": 2_000, "of": "author"}])
def test_other_hits_do_not_count_as_being_served_by_row(by_row):
    pages = reads(5, 9_995, query=1e-4)
    query = QueryReport("k", "SELECT", (by_row.pop("of", "book"),), reads(misses=10, query=1e-3, **by_row))
    relation = RelationReport("book", pages, writes=10_000, invalidated=9_995)
    advice = judge_table(relation, report(relation, queries=(text(pages), query)), CONTEXT)
    assert (advice.verdict, bool(advice.remedy)) == (Verdict.WRITE_HEAVY, True)


# Queries ------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", sorted(AVOIDABLE))
def test_a_query_that_goes_past_the_cache(reason):
    advice = judge_query(text(past(reason, 200)), CONTEXT)

    assert (advice.verdict, advice.bypass_reason, advice.remedy) == (Verdict.BYPASSED, reason, describe_remedy(reason))
    assert advice.callers == ("shop/views.py:12",)
    assert advice.seconds == pytest.approx(20)


@pytest.mark.parametrize("reason", [reasons.LOCKING, reasons.EXPLAIN, reasons.SEQUENCE, reasons.BLACKLISTED])
def test_nothing_is_to_be_done_about_what_is_meant_so(reason):
    assert judge_query(text(past(reason, 200)), CONTEXT).remedy == ""


def test_every_reason_with_a_remedy_is_one():
    known = {value for name, value in vars(reasons).items() if name.isupper()}

    assert AVOIDABLE | REJECTION_REMEDIES.keys() <= known
    assert not [reason for reason in AVOIDABLE if describe_remedy(reason) == "Nothing."]


def test_the_function_is_named():
    assert "levenshtein" in judge_query(text(past(reasons.FUNCTION, 200)), CONTEXT).finding


def test_a_query_that_goes_past_the_cache_now_and_then():
    """Inside of transactions that have written, say; most of its reads are fine."""
    tally = total_of([reads(1_000, 10), past(reasons.DIRTY, 100)])

    assert judge_query(text(tally), CONTEXT).verdict == Verdict.GOOD


def test_a_query_that_is_rare_or_quick():
    assert judge_query(text(past(reasons.CLOCK, ENOUGH_READS - 1)), CONTEXT).remedy == ""
    assert judge_query(text(past(reasons.CLOCK, 200, 1e-4)), CONTEXT).remedy == ""


@pytest.mark.parametrize("reason, setting", [(reasons.TOO_MANY_ROWS, "MAX_ROWS"), (reasons.TOO_LARGE, "MAX_BYTES")])
def test_a_result_that_is_not_kept(reason, setting):
    advice = judge_query(text(reads(0, 100, rejected={reason: 100})), CONTEXT)

    assert (advice.verdict, advice.setting) == (Verdict.NOT_STORED, setting)
    assert f"{setting} (now {getattr(CONTEXT, setting.lower()):,})" in advice.remedy


def test_a_marked_table_is_no_fault_of_the_query():
    advice = judge_query(text(reads(0, 100, rejected={reasons.MARKED: 100}), uses_current_time=False), CONTEXT)

    assert advice.remedy == ""


def test_a_query_with_the_present_moment():
    advice = judge_query(text(reads(0, 100), uses_current_time=True), CONTEXT)

    assert advice.verdict == Verdict.CURRENT_TIME
    assert "Round" in advice.remedy


@pytest.mark.parametrize("count", ["missed", "bypassed"])
@pytest.mark.parametrize(
    "relation, callers, word",
    [
        ("shop_offer", {"shop/views.py:3": None}, "Round the time"),
        ("shop_offer", {}, '"shop_offer", add that to BLACKLIST'),  # no line of the project asks
        ("django_session", {}, "cached_db"),
        ("django_session", {"site/auth.py:3": None}, "cached_db"),
    ],
)
def test_what_can_be_done_about_the_present_moment(count, relation, callers, word):
    given = text(
        reads(0, 100) if count == "missed" else past(reasons.CURRENT_TIME, 200), relation, uses_current_time=True
    )
    given.callers = callers
    advice = judge_query(given, CONTEXT)

    assert advice.verdict == Verdict.CURRENT_TIME
    assert word in advice.remedy


def test_a_query_with_a_moment_that_hits():
    """It is rounded already, or was the present one by chance."""
    assert judge_query(text(reads(300, 100), uses_current_time=True), CONTEXT).verdict == Verdict.GOOD


def test_a_query_that_never_hits():
    advice = judge_query(text(reads(0, 300, missed={Miss.COLD: 300})), CONTEXT)

    assert (advice.verdict, bool(advice.remedy)) == (Verdict.NEVER_HITS, True)


def test_a_cache_that_fills():
    assert judge_query(text(reads(0, 199, missed={Miss.COLD: 199})), CONTEXT).verdict == Verdict.TOO_EARLY


def test_a_query_whose_table_is_written_is_not_told_to_change_its_parameters():
    assert judge_query(text(reads(0, 300, missed={Miss.INVALIDATED: 290})), CONTEXT).remedy == ""


def test_a_short_timeout():
    tally = reads(100, 100, missed={Miss.EXPIRED: 90})

    assert judge_query(text(tally), CONTEXT).setting == "TIMEOUT"
    assert judge_query(text(tally), AdviceContext()).verdict == Verdict.GOOD


def test_a_query_that_is_left_alone():
    assert judge_query(text(reads(1, 200), adaptive_bypass={"hits": 1}), CONTEXT).verdict == Verdict.ADAPTIVE_BYPASS
    assert judge_query(text(past(reasons.ADAPTIVE_BYPASS, 200)), CONTEXT).verdict == Verdict.ADAPTIVE_BYPASS


# Together -----------------------------------------------------------------------------


def test_nothing_is_said_of_nothing():
    assert advise(report(), CONTEXT) == []


def test_nothing_is_said_of_a_site_that_is_well():
    book = RelationReport(
        "book", reads(9_000, 300, missed={Miss.COLD: 200, Miss.INVALIDATED: 100}), writes=30, invalidated=100
    )

    found = report(book, queries=(text(book.tally),), hits=9_000, misses=300, query_seconds=3.0)

    assert advise(found, CONTEXT) == []


def test_one_cause_is_told_once():
    """The table, and not each query that it spoils as well."""
    spoiled = reads(0, 1_000, query=1e-3, cache=2e-3)
    relation = RelationReport("book", spoiled, writes=1_000, invalidated=900)
    texts = (text(reads(0, 1_000, query=1e-3, missed={Miss.COLD: 600})),)

    advice = advise(report(relation, queries=texts, misses=1_000), CONTEXT)

    assert [one.kind for one in advice] == ["relation"]


def test_a_reason_of_the_connection_is_told_once():
    tally = past(reasons.SNAPSHOT, 500)

    advice = advise(report(queries=(text(tally),), bypassed={reasons.SNAPSHOT: 500}), CONTEXT)

    assert [(one.kind, one.bypass_reason) for one in advice] == [("database", reasons.SNAPSHOT)]


def test_advice_on_connections_names_the_code_that_is_affected_most():
    rarely, often = text(past(reasons.DIRTY, 100), "rare"), text(past(reasons.DIRTY, 400), "frequent")
    often.callers = {"shop/cart.py:7": None, "shop/views.py:12": None}

    (advice,) = advise(report(queries=(rarely, often), bypassed={reasons.DIRTY: 500}), CONTEXT)

    assert (advice.kind, advice.callers) == ("database", ("shop/cart.py:7", "shop/views.py:12"))
    assert "queries of frequent." in advice.finding


def test_a_few_transactions_are_no_reason_to_change_their_isolation():
    tally = past(reasons.SNAPSHOT, 500)

    assert not [one for one in advise(report(bypassed=tally.bypassed, hits=9_000), CONTEXT) if one.kind == "database"]


def test_what_matters_most_comes_first():
    quick, slow = text(past(reasons.CLOCK, 100)), text(past(reasons.RANDOM, 900))

    assert [one.bypass_reason for one in advise(report(queries=(quick, slow)), CONTEXT)] == [
        reasons.RANDOM,
        reasons.CLOCK,
    ]


def test_everything_is_retired():
    everything = RelationReport("*", writes=100)
    total = {"misses": 1_000, "query_seconds": 10.0, "invalidated_by": {"*": 900}}

    assert [one.verdict for one in advise(report(everything, **total), CONTEXT)] == [Verdict.ALL_INVALIDATED]
    total["invalidated_by"] = {"*": 100}
    assert advise(report(everything, **total), CONTEXT) == []


def test_a_store_that_is_too_small():
    total = {"hits": 1_000, "misses": 1_000, "query_seconds": 10.0}

    assert [one.verdict for one in advise(report(**total, missed={Miss.LOST: 200}), CONTEXT)] == [
        Verdict.STORE_TOO_SMALL
    ]
    assert advise(report(**total, missed={Miss.LOST: 99}), CONTEXT) == []


def test_advice_goes_into_json():
    found = advise(report(queries=(text(past(reasons.CLOCK, 200)),)), CONTEXT)

    assert json.loads(json.dumps([asdict(one) for one in found]))[0]["bypass_reason"] == reasons.CLOCK


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
    page = (Path(__file__).parents[3] / "docs" / "admin.md").read_text(encoding="utf-8")
    table = page.split("## The advice", 1)[1]
    judgements = {value for name, value in vars(Verdict).items() if name.isupper()}

    assert [judgement for judgement in sorted(judgements) if judgement not in table] == []


# Writes of other programs ---------------------------------------------------------------


def written_outside(name: str, times: int) -> RelationReport:
    return RelationReport(name, outside_writes=times, outside_written_at=1e9)


def test_tables_that_other_programs_write_should_have_triggers():
    relations = (written_outside("a", 2), written_outside("b", 3), written_outside("session", 900))
    (one,) = advise(report(*relations), CONTEXT)
    assert (one.kind, one.subject, one.verdict) == ("database", "default", Verdict.WRITTEN_OUTSIDE)
    assert "written to b (3), a (2). Until" in one.finding
    assert "manage.py ormcache triggers install" in one.remedy


def test_a_table_that_other_programs_write_often_should_not_be_cached():
    found = advise(report(written_outside("a", 49), written_outside("b", 50)), CONTEXT)
    (one,) = (advice for advice in found if advice.setting == "BLACKLIST")
    assert (one.kind, one.subject, one.verdict) == ("relation", "b", Verdict.WRITTEN_OUTSIDE)


def test_stale_results_come_before_time_at_stake():
    busy = RelationReport("heavy", reads(misses=200), writes=900, invalidated=200)
    found = advise(report(busy, written_outside("a", 1)), CONTEXT)
    assert [one.verdict for one in found] == [Verdict.WRITTEN_OUTSIDE, Verdict.WRITE_HEAVY]


def test_a_file_that_other_programs_write_often():
    assert advise(report(written_outside("*", 49)), CONTEXT) == []
    (one,) = advise(report(written_outside("*", 50)), CONTEXT)
    assert "triggers" not in one.remedy
    assert one.setting is None


def test_no_advice_where_no_other_program_writes():
    assert advise(report(RelationReport("a")), CONTEXT) == []
