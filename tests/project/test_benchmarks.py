"""The benchmark suite's own arithmetic: what it says of measurements, not what it measures."""

from __future__ import annotations

import ast
import copy
import json
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchmarks import charts, report, tables
from benchmarks.candidates import CANDIDATES, COUNTER, LEVELS, REFERENCE, STORES, Places
from benchmarks.candidates import select as select_candidates
from benchmarks.data import Rows
from benchmarks.figures import Spread, is_tie, ratio, ratios, seconds, size, summary, total
from benchmarks.lobsters import traffic
from benchmarks.lobsters.witness import COMMENTS, VOTES, Witness, make_board
from benchmarks.sizes import SIZES
from benchmarks.workloads import EXPERIMENTS, GROUPS, WORKLOADS
from benchmarks.workloads import select as select_workloads
from benchmarks.zipf import Zipf

ROOT = Path(__file__).parents[2]


# Statistics ---------------------------------------------------------------------------


def test_a_spread_is_the_middle_and_the_half_around_it() -> None:
    assert Spread.of([5, 1, 4, 2, 3]) == Spread(3, 2, 4)
    assert Spread.of([7]) == Spread(7, 7, 7)
    with pytest.raises(ValueError, match="no values"):
        Spread.of([])


def test_a_ratio_is_that_of_neighbours() -> None:
    # Everything took ten times as long in the second round, for both.
    assert ratios([1, 10, 1], [2, 20, 2]) == Spread(0.5, 0.5, 0.5)
    assert ratios([1.0], [0.0]) is None


def test_a_ratio_that_is_nearer_to_one_than_its_rounds_are_to_one_another_is_a_tie() -> None:
    assert is_tie(Spread(0.9, 0.85, 0.96))
    assert not is_tie(Spread(0.9, 0.88, 0.96))
    assert is_tie(Spread(1.1, 1.0, 1.1))
    assert is_tie(Spread(1, 1, 1))
    assert not is_tie(Spread(0.5, 0.5, 0.5))
    assert not is_tie(None)


def test_servers_times_are_summed_over_rounds() -> None:
    rounds = [{"wall": 1, "database": 0.0, "calls": 10}, {"wall": 1, "database": 0.02, "calls": 10}]

    assert total(rounds, "database") == pytest.approx(0.001)
    assert total(rounds, "cache") is None


def test_a_summary_adds_up_all_processes() -> None:
    plain = [{"wall": 2.0, "application": 1.0, "database": 1.0, "calls": 10}] * 3
    cached = [{"wall": 1.0, "application": 0.5, "database": 0.0, "cache": 0.1, "calls": 10}] * 3

    found = summary(cached, plain)

    assert found["wall"] == Spread(0.1, 0.1, 0.1)
    assert found["ratio"] == Spread(0.5, 0.5, 0.5)
    assert found["cpu"] == pytest.approx(0.06)
    assert found["cpu_ratio"] == pytest.approx(0.3)


@pytest.mark.parametrize(
    "value, text",
    [(1.234, "1.23 s"), (0.0456, "45.6 ms"), (0.000789, "789 µs"), (0.0000001, "0.1 µs"), (0, "0 µs"), (None, "n/a")],
)
def test_seconds_have_three_digits(value: float | None, text: str) -> None:
    assert seconds(value) == text


def test_other_units() -> None:
    assert [ratio(one) for one in (0.456, 12.34, 1234.5, None)] == ["0.46", "12.3", "1,234", "n/a"]
    assert [size(one) for one in (12, 2048, 3 * 2**20)] == ["12 B", "2.00 KiB", "3.00 MiB"]


# Keys ---------------------------------------------------------------------------------


def draws(seed: int, count: int = 2000) -> list[int]:
    zipf = Zipf(100, seed)
    return [zipf.draw() for _ in range(count)]


def test_the_same_seed_gives_the_same_keys() -> None:
    assert draws(1) == draws(1)
    assert draws(1) != draws(2)
    assert draws(1, 8) == [58, 38, 8, 77, 18, 12, 3, 66]


def test_a_few_keys_are_asked_for_often_by_everyone() -> None:
    popular = [{key for key, _ in Counter(draws(seed)).most_common(3)} for seed in (1, 2, 3)]
    counts = sorted(Counter(draws(1)).values(), reverse=True)

    assert popular[0] == popular[1] == popular[2]
    assert sum(counts[:10]) > 1000
    assert {1 <= key <= 100 for key in draws(1)} == {True}


# Candidates and workloads -------------------------------------------------------------

PLACES = Places({"HOST": "127.0.0.1", "PORT": 5432}, "redis://127.0.0.1:6379", "127.0.0.1:11211", Path("/nowhere"))


def test_candidates() -> None:
    names = [one.name for one in CANDIDATES]

    assert names[0] == REFERENCE
    assert len(set(names)) == len(names)
    assert sum(one.is_ours for one in CANDIDATES) == sum(map(len, LEVELS.values()))
    assert [one.name for one in select_candidates(["ormcache"])] == [
        "plain",
        *(f"ormcache-{one}" for one in STORES),
        "ormcache-redis-near",
    ]
    assert len(select_candidates([])) == len(CANDIDATES)
    with pytest.raises(LookupError, match="'nobody'"):
        select_candidates(["nobody"])


def test_settings_can_be_handed_to_a_process() -> None:
    for candidate in CANDIDATES:
        settings = candidate.settings(PLACES)

        assert json.loads(json.dumps(settings)) == settings
        assert settings["DATABASES"]["default"]["NAME"] == candidate.database_name


def test_no_two_candidates_share_a_cache() -> None:
    addresses = [
        one.settings(PLACES).get("CACHEOPS_REDIS", one.settings(PLACES)["CACHES"]["default"].get("LOCATION"))
        for one in CANDIDATES
        if "redis" in one.cache_servers
    ]

    assert len(set(addresses)) == len(addresses) == 5


def test_counting_statements_does_not_keep_ormcache_from_caching() -> None:
    module, _, name = COUNTER.rpartition(".")
    tree = ast.parse((ROOT / module.replace(".", "/")).with_suffix(".py").read_text(encoding="utf-8"))

    assert name in {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    for candidate in CANDIDATES:
        assert not candidate.is_ours or COUNTER in candidate.settings(PLACES)["ORMCACHE"]["TRANSPARENT"]


def test_every_workload_has_its_function() -> None:
    functions = {
        node.name
        for node in ast.parse((ROOT / "benchmarks" / "calls.py").read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef)
    }
    names = [one.name for one in WORKLOADS] + list(EXPERIMENTS)

    assert {one.function for one in WORKLOADS} <= functions
    assert {one.group for one in WORKLOADS} == set(GROUPS)
    assert len(set(names)) == len(names)


def test_workloads_are_selected_by_name_beginning_and_wildcard() -> None:
    assert [one.name for one in select_workloads(["miss"])[0]] == ["miss-get", "miss-20", "miss-1000"]
    assert [one.name for one in select_workloads(["get"])[0]] == ["get"]
    assert select_workloads(["growth"]) == ([], ["growth-tables", "growth-entries", "growth-schema"])
    assert [one.name for one in select_workloads(["*-get"])[0]] == ["miss-get", "blacklisted-get"]
    assert select_workloads([]) == (list(WORKLOADS), list(EXPERIMENTS))
    with pytest.raises(LookupError, match="'nothing'"):
        select_workloads(["nothing"])


def test_there_are_rows_enough_for_the_workloads() -> None:
    for one in SIZES.values():
        counts = Rows(one.items).counts()

        assert counts["Product"] >= 1000
        assert counts["Item"] == max(counts.values()) == 4 * counts["Order"]
    assert Rows(SIZES["full"].items).counts()["Item"] == 200_000


# The report ---------------------------------------------------------------------------


def rounds(*walls: float) -> list[dict[str, float]]:
    return [{"wall": wall, "application": wall / 2, "database": wall / 2, "calls": 10} for wall in walls]


def load(calls: int, stale: int = 0) -> dict[str, Any]:
    return {"rounds": [{"calls": calls, "wall": 2.0, "reads": 90, "hits": 45, "stale": stale, "application": 1.0}]}


@pytest.fixture
def results() -> dict[str, Any]:
    """Of a run of three candidates, one of which was not installed."""
    return {
        "format": 1,
        "date": "2026-01-02T03:04:05+00:00",
        "options": {"size": "quick", "rounds": 3},
        "load": [0.5, 0.4, 0.3],
        "machine": {"system": "Linux 6", "architecture": "x86_64", "cpu": "some CPU", "cores": 2, "memory": 2**34},
        "versions": {"Python": "3.11", "Django": "5.2"},
        "candidates": [
            {"name": "plain", "title": "plain Django", "blacklist": ""},
            {"name": "cacheops", "title": "django-cacheops", "blacklist": ""},
            {"name": "cachalot", "title": "django-cachalot", "blacklist": ""},
            {"name": "ormcache-redis", "title": "ormcache, redis", "blacklist": ""},
        ],
        "absent": {"cachalot": "not installed: cachalot"},
        "failures": {},
        "workloads": [
            {
                "name": "get",
                "group": "hits",
                "title": "get() by primary key",
                "write": None,
                "results": {
                    "plain": {"rounds": rounds(0.01, 0.02, 0.01)},
                    "cacheops": {"rounds": [], "failed": "ValueError: it broke"},
                    "ormcache-redis": {"rounds": rounds(0.005, 0.01, 0.005)},
                },
            },
            {
                "name": "update",
                "group": "writes",
                "title": "update()",
                "write": "update()",
                "results": {
                    "plain": {"rounds": rounds(0.01, 0.01, 0.01)},
                    "cacheops": {"rounds": rounds(0.01, 0.01, 0.01)},
                    "ormcache-redis": {"rounds": rounds(0.02, 0.02, 0.02)},
                },
            },
        ],
        "experiments": {
            "freshness": {
                "writes": {
                    "update()": {
                        "plain": {"stale": []},
                        "cacheops": {"stale": ["get", "rows"]},
                        "ormcache-redis": {"stale": []},
                    }
                }
            },
            "mixed": [
                {
                    "writes": 0.1,
                    "processes": 2,
                    "results": {"plain": load(200), "cacheops": load(300, 7), "ormcache-redis": load(400)},
                }
            ],
            "web": {"skipped": "left out: no wrk"},
        },
    }


def cells(results: dict[str, Any], title: str) -> list[list[str]]:
    return next(table.rows for table in tables.all_tables(results) if table.title == title)


def test_a_table_has_ratios_and_what_failed(results: dict[str, Any]) -> None:
    row = cells(results, GROUPS["hits"])[0]

    assert row == ["get() by primary key", "1.00 ms CPU 1.33 ms", "failed", "0.50 (0.50 to 0.50) CPU 0.50"]


def test_a_ratio_within_the_spread_of_its_rounds_is_printed_as_a_tie(results: dict[str, Any]) -> None:
    update = results["workloads"][1]["results"]
    update["ormcache-redis"]["rounds"] = rounds(0.009, 0.0095, 0.011)

    assert cells(results, GROUPS["writes"])[0][3] == "= (0.92 to 1.02) CPU ="


def test_other_figures_within_the_spread_of_their_rounds_are_ties(results: dict[str, Any]) -> None:
    experiments = results["experiments"]
    mixed = experiments["mixed"][0]["results"]
    mixed["plain"] = {"rounds": [*load(200)["rounds"], *load(300)["rounds"]]}
    mixed["ormcache-redis"] = {"rounds": [*load(240)["rounds"], *load(290)["rounds"]]}
    experiments["growth-tables"] = [
        {
            "at": 1,
            "results": {
                "plain": {"rounds": [{"hit": 0.5, "miss": 0.5}] * 2},
                "cacheops": {"rounds": [{"hit": 0.6, "miss": 0.4}, {"hit": 0.4, "miss": 0.4}]},
                "ormcache-redis": {"rounds": [{"hit": 0.1, "miss": 0.5}, {"hit": 0.2, "miss": 0.5}]},
            },
        }
    ]

    assert cells(results, "Mixed load")[0][1:] == ["125/s 50% hits", "150/s 50% hits STALE: 7", "132/s = 50% hits"]
    assert cells(results, "Tables of one query") == [
        ["hit, 1", "500 ms", "500 ms =", "150 ms"],
        ["miss, 1", "500 ms", "400 ms", "500 ms ="],
    ]


def test_phases_are_compared_with_the_better_of_always_and_never(results: dict[str, Any]) -> None:
    def way(*walls: float) -> dict[str, Any]:
        return {
            "ormcache-redis": {
                "rounds": [{"wall": wall, "writing": wall * 0.75, "reading": wall / 4, "calls": 10} for wall in walls]
            }
        }

    results["experiments"]["phases"] = [
        {"reads": 5, "ways": {"always": way(0.1, 0.1), "never": way(0.2, 0.1), "adaptive": way(0.05, 0.06)}},
        {"reads": 50, "ways": {"always": way(0.3, 0.4), "never": way(0.2, 0.2), "adaptive": way(0.19, 0.22)}},
    ]

    assert cells(results, "Phases of reading and writing by turns") == [
        ["5, always", "15.0 ms writing, 5.00 ms reading"],
        ["5, never", "22.5 ms writing, 7.50 ms reading"],
        ["5, adaptive", "8.25 ms writing, 2.75 ms reading: 0.55"],
        ["50, always", "52.5 ms writing, 17.5 ms reading"],
        ["50, never", "30.0 ms writing, 10.0 ms reading"],
        ["50, adaptive", "30.8 ms writing, 10.2 ms reading: ="],
    ]


def test_who_serves_old_rows_is_marked(results: dict[str, Any]) -> None:
    assert cells(results, GROUPS["writes"])[0][2:] == [
        "= (1.00 to 1.00) CPU = STALE",
        "2.00 (2.00 to 2.00) CPU 2.00",
    ]
    assert cells(results, "The first read after a write")[0] == ["update()", "right", "STALE: get, rows", "right"]
    assert cells(results, "Mixed load")[0] == [
        "10.0%, 2",
        "100/s 50% hits",
        "150/s 50% hits STALE: 7",
        "200/s 50% hits",
    ]


def test_what_was_not_measured_is_said(results: dict[str, Any]) -> None:
    assert tables.notes(results) == [
        "cachalot was not measured: not installed: cachalot",
        "web: left out: no wrk",
        "get() by primary key, cacheops: ValueError: it broke",
        "cacheops shows old rows after update(); its times leave out what that takes",
    ]


def test_only_ormcache_is_at_fault(results: dict[str, Any]) -> None:
    assert report.faults(results) == []


def wrong_answer(results: dict[str, Any]) -> None:
    results["workloads"][0]["results"]["ormcache-redis"]["wrong"] = "its answer is not plain Django's"


def stale_read(results: dict[str, Any]) -> None:
    results["experiments"]["freshness"]["writes"]["update()"]["ormcache-redis"]["stale"] = ["get"]


def stale_in_the_mixed_load(results: dict[str, Any]) -> None:
    results["experiments"]["mixed"][0]["results"]["ormcache-redis"]["rounds"][0]["stale"] = 1


def crash(results: dict[str, Any]) -> None:
    results["workloads"][0]["results"]["ormcache-redis"] = {"rounds": [], "failed": "crashed"}


def crash_at_the_start(results: dict[str, Any]) -> None:
    results["absent"]["ormcache-redis"] = "ImproperlyConfigured: no"


@pytest.mark.parametrize("break_it", [wrong_answer, stale_read, stale_in_the_mixed_load, crash, crash_at_the_start])
def test_every_fault_of_ormcache_is_found(break_it: Any, results: dict[str, Any]) -> None:
    break_it(results)

    assert len(report.faults(results)) == 1


def test_markdown(results: dict[str, Any]) -> None:
    text = report.markdown(results, [Path("charts/ratios-hits.svg")], "benchmarks")

    assert "2026-01-02, size `quick`, 3 rounds, some CPU, 2 cores" in text
    assert "![ratios hits](benchmarks/ratios-hits.svg)" in text
    assert "| update() | 1.00 ms CPU 1.00 ms | = (1.00 to 1.00) CPU = **STALE** | 2.00" in text


def test_the_page_is_filled_again_and_again() -> None:
    page = report.DOCS.read_text(encoding="utf-8")

    once = report.fill(page, "figures")
    assert "figures" in once
    assert report.fill(once, "others") == report.fill(page, "others")
    with pytest.raises(ValueError, match="markers"):
        report.fill("no markers", "figures")


def test_the_report_from_a_file(results: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "results.json"
    file.write_text(json.dumps(results), encoding="utf-8")

    assert report.main([str(file)]) == 0

    assert "STALE: get, rows" in capsys.readouterr().out
    charts = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.glob("*.svg")}
    assert sorted(charts) == ["mixed.svg", "ratios-hits.svg", "ratios-writes.svg"]
    assert all("fill: #ffffff" not in chart for chart in charts.values())  # transparent
    assert "stale" in charts["ratios-writes.svg"]


def test_a_report_needs_only_what_was_measured(results: dict[str, Any]) -> None:
    less = copy.deepcopy(results)
    less["workloads"], less["experiments"] = [], {}

    assert list(tables.all_tables(less)) == []
    assert report.faults(less) == []


# The request mix of lobste.rs -----------------------------------------------------------


def test_the_mix_is_the_published_one() -> None:
    asked = traffic.mix()

    assert sum(asked.values()) == 2_893_183
    assert asked["story"] > sum(asked.values()) / 2  # all of which write: the reader is logged in
    assert set(asked) == set(traffic.PAGES.values())


def test_at_scale_1_the_site_is_as_large_as_it_was() -> None:
    site = traffic.Site(1)

    assert (site.stories, site.users) == (40_000, 9_000)
    assert 270_000 < sum(site.comments_of) < 310_000
    assert sum(site.story_votes) < sum(site.comment_votes) < 1_200_000
    assert max(site.comments_of) < 180
    assert traffic.spread("votes_per_story", 100, within=1) == traffic.spread("votes_per_story", 100, within=1)


def test_requests_are_the_same_for_every_candidate_and_others_for_every_process() -> None:
    site = traffic.Site(0.005)
    first, again = (list(traffic.Traffic(site).requests(500, "round 0, 0")) for _ in range(2))
    pages = Counter(one.page for one in first)

    assert first == again != list(traffic.Traffic(site).requests(500, "round 0, 1"))
    assert 0.5 < pages["story"] / 500 < 0.62  # all of which note what was read
    assert {1 <= one.reader <= site.users for one in first} == {True}
    assert {1 <= one.about <= site.stories for one in first if one.page == "story"} == {True}
    assert {one.about for one in first if one.page in ("front", "comments", "recent")} == {0}


def test_what_is_popular_is_drawn_by_its_weight() -> None:
    popular, chance = traffic.Popular([1, 0, 8, 1]), random.Random(1)
    drawn = Counter(popular.draw(chance) for _ in range(1000))

    assert set(drawn) == {1, 3, 4}
    assert 750 < drawn[3] < 850


def test_a_page_has_to_show_what_any_process_committed_before(tmp_path: Path) -> None:
    def witness(number: int, lag: float = 0) -> Witness:
        return Witness(tmp_path / "board", stories=9, processes=2, number=number, lag=lag)

    make_board(tmp_path / "board", stories=9, processes=2)
    with witness(0) as first, witness(1) as second, witness(1, lag=3600) as later:
        early = time.monotonic_ns()
        first.note(VOTES, 9, 5)
        second.note(VOTES, 9, 7)
        first.note(VOTES, 9, 6)
        first.note(COMMENTS, 10, 3)  # a story of which there was nothing at the beginning
        now = time.monotonic_ns() + 1

        assert first.least(VOTES, 9, now) == second.least(VOTES, 9, now) == 7
        assert first.least(VOTES, 9, early) == later.least(VOTES, 9, now) == 0
        assert first.least(COMMENTS, 9, now) == first.least(VOTES, 8, now) == first.least(COMMENTS, 10, now) == 0


def site_rounds(*walls: float, reads: int = 100, stale: int = 0) -> dict[str, Any]:
    one = {"calls": 200, "reads": reads, "writes": 9, "checked": 80, "stale": stale}
    rounds = [one | {"wall": each, "application": each / 2} for each in walls]
    return {"rounds": rounds, "compared": 60, "wrong": []}


@pytest.fixture
def with_lobsters(results: dict[str, Any]) -> dict[str, Any]:
    measured = {
        "plain": site_rounds(2, 2),
        "cacheops": site_rounds(1.6, 2.5, stale=4),
        "ormcache-redis": site_rounds(1, 0.8, reads=40),
    }
    results["experiments"]["lobsters"] = {"scale": 1, "processes": 2, "rows": {"Story": 40_000}, "results": measured}
    return results


def test_the_request_mix_is_compared_with_plain_django(with_lobsters: dict[str, Any]) -> None:
    assert cells(with_lobsters, "The request mix of lobste.rs") == [
        ["requests a second", "100/s", "= (0.91 to 1.14)", "2.25 (2.12 to 2.38)"],
        ["CPU of one request", "5.00 ms", "=", "0.45"],
        ["SELECTs saved", "", "0%", "60%"],
        ["pages", "right", "STALE: 8 of 160", "right"],
    ]
    assert report.faults(with_lobsters) == []


def test_what_a_cache_could_reach_at_most_stands_below_the_request_mix(with_lobsters: dict[str, Any]) -> None:
    found = with_lobsters["experiments"]["lobsters"]
    (table,) = [one for one in tables.all_tables(with_lobsters) if one.title == "The request mix of lobste.rs"]
    assert "no cache below the ORM" not in table.caption

    found["floor"] = {"database": 0.004, "given": 0.0025, "statements": 8.5}

    (table,) = [one for one in tables.all_tables(with_lobsters) if one.title == "The request mix of lobste.rs"]
    assert "Django alone would take 2.50 ms" in table.caption
    assert "more than 2.00 times as many requests" in table.caption


def test_a_stale_or_wrong_page_of_ormcache_is_a_fault(with_lobsters: dict[str, Any]) -> None:
    ours = with_lobsters["experiments"]["lobsters"]["results"]["ormcache-redis"]
    ours["rounds"][0]["stale"] = 2
    ours["wrong"] = ["story 7 for 3"]

    assert report.faults(with_lobsters) == [
        "lobsters, ormcache-redis: 2 stale pages",
        "lobsters, ormcache-redis: other pages than the database's: story 7 for 3",
    ]
    assert cells(with_lobsters, "The request mix of lobste.rs")[3][3] == "STALE: 2 of 160, WRONG: 1 of 60"


def test_the_request_mix_has_a_chart(with_lobsters: dict[str, Any], tmp_path: Path) -> None:
    report.render(with_lobsters, tmp_path)

    chart = (tmp_path / "lobsters.svg").read_text(encoding="utf-8")
    assert "ormcache, redis" in chart
    assert "plain Django" not in chart.replace("ratio to plain Django", "")


def test_a_candidate_that_failed_at_the_request_mix_is_said_to_have(
    with_lobsters: dict[str, Any], tmp_path: Path
) -> None:
    failed = {"rounds": [], "failed": "ValueError: no"}
    with_lobsters["experiments"]["lobsters"]["results"]["ormcache-redis"] = failed

    assert {row[3] for row in cells(with_lobsters, "The request mix of lobste.rs")} == {"failed"}
    assert report.faults(with_lobsters) == ["lobsters, ormcache-redis: ValueError: no"]
    assert len(charts.draw(with_lobsters, tmp_path)) == 4  # with what the others have done
