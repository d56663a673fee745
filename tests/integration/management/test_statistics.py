"""``manage.py ormcache stats``, ``tables``, ``queries``, ``advise`` and ``warm``: the figures of real processes."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection, connections
from django.test import override_settings

import ormcache
from ormcache import conf, reasons
from ormcache.cache.keys import digest
from ormcache.cache.tracking import Rejection
from ormcache.diagnostics.stats import collection
from ormcache.diagnostics.stats.derived import DERIVED_SORTS
from ormcache.diagnostics.stats.rankings import ORDERS, SORTS
from ormcache.management import watch
from ormcache.pages.computing import compute
from ormcache.pages.derivation import Use
from ormcache.read_path import admission
from ormcache.stores.base import StoreOutage
from ormcache.telemetry import Tally
from ormcache.telemetry import publisher as publishing
from ormcache.telemetry.counters import Event
from ormcache.telemetry.derived_stats import DerivedCounters
from ormcache.telemetry.publisher import publisher
from ormcache.telemetry.report import ProcessInfo, QueryReport, RelationReport, Report
from tests.integration.calls import count_anew
from tests.integration.management.test_commands import STORES, Terminal, error_of, run, run_json
from tests.integration.outside.outbox import outbox
from tests.integration.reading import execute
from tests.process import ROOT
from tests.shop.models import Author, Book, Genre

COMMANDS = ["stats", "tables", "queries", "pages", "advise", "warm"]
each_command = pytest.mark.parametrize("name", COMMANDS)
each_store = pytest.mark.parametrize("given", [STORES["embedded"], STORES["redis"]], ids=["embedded", "redis"])


@pytest.fixture(autouse=True)
def telling(configure) -> None:
    """Processes tell their figures, by hand and at their end; this one has counted nothing."""
    configure(STATISTICS_INTERVAL=3600)
    count_anew()


def meet() -> None:
    """Everything is invalidated when a process first meets a database after a change of settings; now, not later."""
    connection.ensure_connection()


def work(name: str = "Ann") -> int:
    """For another process: hits, misses, writes and reads past the cache, told."""
    Author.objects.create(name=name)
    for _ in range(4):
        list(Author.objects.filter(name=name))
    Author.objects.update(name=name)
    list(Author.objects.filter(name=name))
    list(Author.objects.order_by("?"))
    list(Book.objects.all())
    publisher.publish()
    return os.getpid()


WORK = "tests.integration.management.test_statistics.work"


def first(*args: str, **options: Any) -> Any:
    """What is told of the database ``default``."""
    (one,) = run_json(*args, "--using", "default", **options)["databases"]
    return one


def program(*args: str) -> list[str]:
    return [sys.executable, "-m", "django", "ormcache", *args]


def environment() -> dict[str, str]:
    return os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings", "PYTHONPATH": ROOT, "PYTHONUNBUFFERED": "1"}


# All of them ----------------------------------------------------------------------------


@each_command
def test_they_are_of_all_databases_or_of_one(name):
    found = run_json(name)
    assert found.keys() == {"databases", "not_cached", "store_errors", "unreachable"}
    assert [one["using"] for one in found["databases"]] == ["default", "second"]
    assert [one["using"] for one in run_json(name, "--using", "second")["databases"]] == ["second"]
    assert "'plain' does not go through ormcache" in error_of(name, "--using", "plain")
    assert run(name).count("No statistics yet.") == 2


@each_command
def test_where_nothing_is_cached(name, configure):
    configure(ENABLED=False)
    connections.close_all()
    assert error_of(name).startswith("There are no statistics, because nothing is cached: default: disabled: ")


@each_command
def test_where_one_of_two_is_cached(name, settings):
    own = settings.DATABASES["second"]["ORMCACHE"]
    own["ENABLED"] = False
    conf.reload()
    connections.close_all()
    try:
        assert run_json(name)["not_cached"].keys() == {"second"}
        assert "second: nothing is cached (disabled" in run(name)
    finally:
        del own["ENABLED"]
        conf.reload()


@each_command
def test_where_processes_tell_nothing(name, configure):
    configure(STATISTICS_INTERVAL=0)
    assert "STATISTICS_INTERVAL is 0" in run(name)


@each_command
def test_the_store_is_away(name, configure, start_server):
    server = start_server("redis")
    own = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": server.url}
    with override_settings(CACHES=settings.CACHES | {"own": own}):
        configure(STORE="redis", CACHE="own")
        list(Author.objects.all())  # this process's own figures mean nothing
        server.stop()
        out = io.StringIO()
        message = error_of(name, "--using", "default", "--json", out=out)
        assert message.startswith("The store, which has the statistics, does not answer (default: ")
        found = json.loads(out.getvalue())
        assert (found["databases"], found["store_errors"].keys()) == ([], {"default"})
        server.restart()
        connections.close_all()


@each_command
def test_another_projects_name_of_the_database(name, other_process, monkeypatch):
    other_process(WORK)
    payload_of = publishing.payload_of

    def payload_of_another(*args: Any) -> dict[str, Any]:
        return payload_of(*args) | {"alias": "shop_of_another"}

    monkeypatch.setattr(publishing, "payload_of", payload_of_another)
    list(Genre.objects.all())
    found = run_json(name, "--using", "default")["databases"]
    if name == "warm":  # it warms what its own project asks for
        assert [one["using"] for one in found] == ["default"]
        return
    assert [(one["using"], one["own_alias"]) for one in found] == [
        ("default", "default"),
        ("shop_of_another", "default"),
    ]
    assert "shop_of_another: the name of the database 'default' in other processes" in run(name)


@each_command
def test_lines_fit(name, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    with crowded():
        for more in ([], ["--verbose"]) if name == "tables" else ([], ["--full"]) if name == "queries" else ([],):
            text = run(name, *more)
            assert max(map(len, text.splitlines())) <= 80, text


def test_figures_are_not_cut():
    with crowded():
        lines = run("tables", "--using", "default").splitlines()
    assert " ".join(lines[3].split()[1:]) == "15.8M 78.1 % 83.8 % 988 1157 d 3.0M 5.1 d 2.8 d good"


@each_command
def test_colours_only_decorate(name):
    with crowded():
        plain, coloured = (run(name, "--using", "default", *more) for more in ([], ["--force-color"]))
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured).split() == plain.split()


@contextlib.contextmanager
def crowded() -> Iterator[Report]:
    """A report that has something of everything, in wide numbers."""
    long = "a_rather_long_name_of_an_application_" * 3
    tally = Tally(
        hits=12_345_678,
        row_hits=10_345_678,
        row_invalidated=1_234_567,
        misses=3_456_789,
        hit_seconds=123_456.7,
        miss_seconds=54_321.5,
        query_seconds=98_765.4,
        uncached=222_222,
        uncached_seconds=33_333.3,
        waited=77_777,
        waited_seconds=88_888.8,
        stored=999_999,
        damaged=3,
        bytes_read=2**44,
        bytes_written=2**43,
        missed={"invalidated": 3_000_000, "cold": 400_000, "marked": 1},
        bypassed=dict.fromkeys((reasons.LOCKING, reasons.DIRTY, reasons.CLOCK, reasons.RANDOM), 11111),
        rejected={reasons.TOO_LARGE: 99_999, reasons.MARKED: 7},
        invalidated_by={f"{long}{number}": 1_000_000 for number in range(5)},
    )
    relations = [RelationReport(name, tally, 5_000_000, 1e9, "UPDATE x", 987.65, 3_000_000) for name in (long, "*")]
    past = Tally(bypassed={reasons.CLOCK: 50_000}, uncached=50_000, uncached_seconds=5_000.0)
    texts = [
        QueryReport("d1", f'SELECT "{long}"."id" FROM "{long}"', (long,), tally, {f"{long}/views.py:12": None}),
        QueryReport("d2", "SELECT now()", ("small",), past, {f"{long}/{n}.py:1": None for n in range(9)}),
    ]
    report = Report(
        "default",
        at=1.1e9,
        processes=[ProcessInfo(str(pid), f"{long}.example", pid, long, 1e9, 1.1e9 - pid) for pid in range(1, 30)],
        unreadable=4,
        total=tally,
        writes=5_000_000,
        unpublished=12,
        write_seconds=60_000.0,
        saved_seconds=5e6,
        queries=texts,
        relations=relations,
        derived=[
            DerivedCounters(
                kind,
                f"{long}/<int:pk>/",
                hits=12_345_678,
                hit_seconds=12_345.6,
                outdated_hits=123_456,
                misses=7_654_321,
                miss_seconds=98_765_432.1,
                missed={"invalidated": 7_000_000, "cold": 654_321},
                invalidated_by={f"{long}{number}": 1_000_000 for number in range(5)},
                rejected={reasons.RANDOM: 5_000_000, reasons.TOO_LARGE: 99_999},
                last_rejection=Rejection(
                    reasons.RANDOM, f'SELECT "{long}"."id" FROM "{long}"', frozenset({long}), f"{long}/views.py:12"
                ),
            )
            for kind in ("page", "fragment", "function")
            for _ in range(5)
        ],
        outages=[StoreOutage(1e9 + n, None if n == 0 else 1e9 + 9 * n, "no route to " + long) for n in range(5)],
        pending=(long,),
        events=[Event(1e9, "invalidation")],
    )
    with pytest.MonkeyPatch.context() as context:
        context.setattr(collection, "collect_reports", lambda database: {"default": report})
        yield report


# stats ------------------------------------------------------------------------------------


def test_rows_of_the_outbox():
    Author.objects.count()
    with connections["plain"].cursor() as cursor:
        for _ in range(3):
            cursor.execute("INSERT INTO ormcache_outbox (relation, unfinished) VALUES ('shop_genre', '0')")
    assert first("stats")["outbox_rows"] == 3
    publisher.publish()
    assert "3 rows of writes that no process has invalidated yet" in run("stats", "--using", "default")
    outbox()
    assert first("stats")["outbox_rows"] == 0
    assert "outbox" not in run("stats", "--using", "default")


@each_store
def test_stats(given, configure, other_process):
    configure(**given)
    pids = {other_process(WORK), other_process(WORK, "Bob")}
    one = first("stats")
    assert {process["pid"] for process in one["processes"]} == pids
    assert all(process["host"] and process["command"] and process["began"] for process in one["processes"])
    assert (one["reads"], one["misses"] + one["hits"], one["bypasses"]) == (14, 12, 2)
    assert one["hit_rate"] == one["hits"] / 12
    assert one["missed"].keys() == {"cold", "invalidated"}
    assert set(one["invalidated_by"]) <= {"shop_author", "shop_book", "*"}
    assert one["bypassed"] == {reasons.RANDOM: 2}
    assert (one["writes"], one["unpublished"], one["unreadable"], one["pending"]) == (4, 0, 0, [])
    assert one["saved_seconds"] > 0
    assert one["gain_seconds"] == pytest.approx(one["saved_seconds"] - one["read_seconds"] - one["write_seconds"])
    assert one["bytes_written"] > 0
    assert one["change"] is None
    text = run("stats", "--using", "default")
    assert f"reads      14: {one['hits']} hit" in text
    assert "bypasses   2 random" in text
    assert "2 processes on 1 host since" in text
    assert all(str(pid) in text for pid in pids)


def test_stats_tells_of_everything():
    with crowded() as report:
        text = " ".join(run("stats", "--using", "default").split())
        one = first("stats")
    for words in (
        "waited 77,777 reads",
        "3 entries damaged",
        "5,000,000, 12 of them invalidated later",
        "UTC until now:",
    ):
        assert words in text
    assert "UTC for 8 s: no route to" in text
    assert "2 more source 29 processes on 1 host" in text
    assert "4 more could not be read" in text
    assert "and 19 more that published before them" in text
    assert len(one["processes"]) == 29
    assert len(one["outages"]) == len(report.outages)
    assert one["outages"][0] == {
        "began": "2001-09-09T01:46:40Z",
        "ended": None,
        "error": report.outages[0].error,
    }


#: Where the tests themselves run in the background, Ctrl-C is ignored, and children inherit that.
LISTENING = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""


@contextlib.contextmanager
def watched(*args: str, **more: Any) -> Iterator[subprocess.Popen[str]]:
    """``stats --watch`` in a process of its own, until Ctrl-C: which is no failure."""
    command = [sys.executable, "-c", LISTENING, "ormcache", "stats", "--watch", "0.1", "--using", "default", *args]
    more["env"] = environment() | {"TERM": "xterm", "COLUMNS": "80"}
    with subprocess.Popen(command, **more) as process:
        try:
            yield process
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=30) == 0
        finally:
            process.kill()


def test_watch_tells_lines_of_json(other_process):
    """With what has come since."""
    other_process(WORK)
    with watched("--json", stdout=subprocess.PIPE, text=True) as process:
        documents = (json.loads(line)["databases"][0] for line in process.stdout)
        begun = next(documents)
        assert (begun["reads"], begun["change"]) == (7, None)
        assert next(documents)["change"]["reads"] == 0
        other_process(WORK)
        grown = next(one for one in documents if one["reads"] == 14)
        assert grown["change"]["reads"] == 7
        assert grown["change"]["writes"] == 2
        assert grown["change"]["seconds"] > 0


def test_watch_draws_over_again(other_process):
    other_process(WORK)
    ours, theirs = pty.openpty()
    shown = ""

    def until(words: str) -> None:
        nonlocal shown
        while words not in shown:
            shown += os.read(ours, 65536).decode()

    with watched("--no-color", stdin=theirs, stdout=theirs, stderr=theirs):
        os.close(theirs)
        until("reads      7: ")
        until("recently")
        other_process(WORK)
        until("reads      14: ")
    with contextlib.suppress(OSError):  # it is closed
        while rest := os.read(ours, 65536):
            shown += rest.decode()
    os.close(ours)
    assert "Traceback" not in shown
    assert "\x1b[1A" in shown  # up again
    assert shown.rstrip().endswith("\x1b[?25h")  # and the cursor is back


def test_watch_without_a_terminal_goes_on_below(monkeypatch):
    looks = iter([1, 2, 3])
    pauses = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            raise KeyboardInterrupt

    told = []
    out = SimpleNamespace(is_terminal=False, show=lambda *drawn: told.append(drawn[0]))
    watch.repeat(lambda: next(looks), None, str, out, 1.5, pause)
    assert (told, pauses) == (["1", "2", "3"], [1.5, 1.5, 1.5])


def test_a_watch_outlives_an_outage_of_the_store(configure, start_server):
    server = start_server("redis")
    own = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": server.url}
    stops = iter([server.stop, None])

    def pause(seconds: float) -> None:
        stop = next(stops)
        if stop is None:
            raise KeyboardInterrupt
        stop()

    with override_settings(CACHES=settings.CACHES | {"own": own}), pytest.MonkeyPatch.context() as context:
        context.setattr(watch.repeat, "__defaults__", (pause,))
        configure(STORE="redis", CACHE="own")
        text = run("stats", "--watch", "--using", "default")
        connections.close_all()
    assert "No statistics yet." in text
    assert "default: the store does not answer (" in text


@pytest.mark.parametrize("seconds", ["0", "-1", "x", "inf", "nan"])
def test_watch_refuses(seconds):
    assert "0.1 or more" in error_of("stats", f"--watch={seconds}")


def looked(at: float, reads: int) -> Any:
    report = Report("default", at, total=Tally(hits=reads))
    database = SimpleNamespace(config=SimpleNamespace(statistics_interval=10))
    return watching_statistics(collection.DatabaseReport("default", "default", database, report))


def watching_statistics(known: Any) -> Any:
    from ormcache.diagnostics.stats.statistics import summarize

    return {("default", "default"): summarize(known)}


def test_change_is_told_over_the_time_in_which_all_processes_tell():
    window = watch.Window()
    found = []
    for second in range(0, 30, 2):
        reads = second // 10 * 100  # told every ten seconds
        changes = window.changes(looked(1e9 + second, reads), 10)
        found += [(change.seconds, change.hits) for change in changes.values()]
    assert found[0] == (2, 0)
    assert found[4:] == [(10, 100)] * 10


def test_what_is_gone_is_no_change():
    window = watch.Window()
    window.changes(looked(1e9, 100), 0)
    (change,) = window.changes(looked(1e9 + 1, 60), 0).values()
    assert change.hits == 0


# tables -----------------------------------------------------------------------------------


@each_store
def test_tables(given, configure, other_process):
    configure(**given)
    other_process(WORK)
    one = first("tables")
    assert [table["name"] for table in one["tables"]][:2] == ["shop_author", "shop_book"]
    author = one["tables"][0]
    assert (author["reads"], author["writes"]) == (6, 2)  # one of them past the cache
    assert author["hit_rate"] == author["hits"] / 5
    assert author["writes_per_minute"] == 2
    assert author["written"].endswith("Z")
    assert author["cause"].startswith("UPDATE")
    assert author["invalidated"] == 1
    assert author["verdict"] == "too early to say"
    text = run("tables", "--using", "default")
    assert re.search(r"^shop_author +6 +\d+ % +2 ", text, re.MULTILINE)
    assert "UPDATE" not in text
    text = run("tables", "--verbose", "--using", "default")
    assert "last write: UPDATE" in " ".join(text.split())
    assert "There were only 5 lookups so far." in text


@pytest.mark.parametrize("sort", SORTS)
def test_tables_can_be_sorted(sort):
    def table(name: str, number: int, **more: Any) -> RelationReport:
        tally = Tally(hits=number * 60, row_hits=number, misses=100, hit_seconds=number, query_seconds=1)
        return RelationReport(name, tally, number, 1e9 + number, "", number, number, **more)

    relations = [table("b", 2), table("c", 1), table("a", 3), RelationReport("none")]
    with crowded() as report:
        report.relations = relations
        found = [table["name"] for table in first("tables", "--sort", sort)["tables"]]
        assert "and 3 more" in run("tables", "--sort", sort, "--limit", "1", "--using", "default")
        limited = first("tables", "--sort", sort, "--limit", "1")
    expected = {"name": ["a", "b", "c", "none"], "verdict": None}.get(sort, ["a", "b", "c", "none"])
    assert expected in (found, None)
    assert sorted(found) == ["a", "b", "c", "none"]
    assert ([table["name"] for table in limited["tables"]], limited["total"]) == (found[:1], 4)


# queries ----------------------------------------------------------------------------------


@each_store
def test_queries(given, configure, other_process):
    configure(**given)
    other_process(WORK)
    one = first("queries")
    assert list(one["queries"]) == ["saved", "misses", "uncached"]
    query = one["queries"]["misses"][0]
    assert query["sql"].startswith("SELECT")
    assert query["relations"] == ["shop_author"]
    assert query["callers"][0].startswith("tests/integration/management/test_statistics.py:")
    assert (query["reads"], query["misses"], query["missed"]["invalidated"]) == (5, 2, 1)
    assert query["invalidated_by"] == {"shop_author": 1}
    assert query["verdict"] == "too early to say"
    text = run("queries", "--using", "default")
    assert [text.count(title) for title, _ in list(ORDERS.values())[:3]] == [1, 1, 1]
    assert "run in tests/integration/management/test_statistics.py:" in text
    assert "SELECT … FROM" in text
    assert "…" not in run("queries", "--full", "--using", "default")


@pytest.mark.parametrize("order", ORDERS)
def test_queries_by_one_order(order):
    def query(number: int) -> QueryReport:
        tally = Tally(
            hits=number, misses=number, query_seconds=number, uncached=1, uncached_seconds=number, missed={"cold": 1}
        )
        return QueryReport(str(number), f"SELECT {number}", ("x",), tally)

    with crowded() as report:
        report.queries = [query(number) for number in (1, 3, 2)]
        one = first("queries", "--by", order, "--limit", "2")
        text = run("queries", "--by", order, "--using", "default")
    assert list(one["queries"]) == [order]
    assert [query["digest"] for query in one["queries"][order]] == ["3", "2"]
    assert text.count("SELECT ?") == 3


def test_what_to_do_is_said():
    with crowded():
        text = " ".join(run("queries", "--by", "uncached", "--using", "default").split())
    assert "bypasses: 50,000 clock" in text
    assert "What to do: " in text
    assert "6 more" in text  # callers


@pytest.mark.parametrize(
    "name, more", [("queries", ["--full"]), ("tables", ["--verbose"]), ("advise", []), ("warm", [])]
)
def test_values_are_not_shown(name, more, configure, queries):
    with crowded() as report:
        report.relations[0].cause = "UPDATE x SET y = 'secret'"
        for text in report.queries:
            text.sql = "SELECT x FROM shop_author WHERE y = 'secret'"
        sample = {"sql": report.queries[0].sql, "params": None, "numbers": {}, "shape": ["multi", 1, False], "seen": 1}
        report.queries[0].samples = [sample]
        for form in ([], ["--json"]):
            assert "secret" not in run(name, *more, *form)
        configure(SHOW_PARAMETERS=True)
        connection.close()
        assert "secret" in run(name, *more, "--json")


# pages ------------------------------------------------------------------------------------


def use_functions() -> None:
    """For another process: a function that hits and is invalidated, and one that cannot be stored."""

    def names() -> tuple[str, ...]:
        return tuple(Author.objects.values_list("name", flat=True))

    def shuffled() -> tuple[str, ...]:
        return tuple(Author.objects.order_by("?").values_list("name", flat=True))

    for _ in range(3):
        compute(Use("function", "shop.names", digest(b"names")), names)
    Author.objects.create(name="Bea")
    compute(Use("function", "shop.names", digest(b"names")), names)
    for _ in range(2):
        compute(Use("fragment", "shuffled", digest(b"shuffled")), shuffled)
    publisher.publish()


USE_FUNCTIONS = "tests.integration.management.test_statistics.use_functions"


@each_store
def test_pages(given, configure, other_process):
    configure(**given)
    other_process(USE_FUNCTIONS)
    other_process(USE_FUNCTIONS)
    found = first("pages", sort="uses")
    assert found["total"] == 2
    names, shuffled = found["derived"]
    assert (names["kind"], names["label"], names["uses"]) == ("function", "shop.names", 8)
    assert names["hits"] + names["misses"] == 8
    assert names["missed"]["invalidated"] == names["invalidated"] >= 2
    assert set(names["invalidated_by"]) <= {"shop_author", "*"}
    assert (names["rejected"], names["last_rejection"]) == ({}, None)
    assert (shuffled["kind"], shuffled["hits"], shuffled["stored"]) == ("fragment", 0, 0)
    assert shuffled["rejected"] == {reasons.RANDOM: 4}
    last = shuffled["last_rejection"]
    assert (last["reason"], last["relations"]) == (reasons.RANDOM, ["shop_author"])
    assert last["caller"].startswith("tests/integration/management/test_statistics.py:")
    assert "ORDER BY RAND" in last["sql"].upper()

    assert [one["label"] for one in first("pages", kind="fragment")["derived"]] == ["shuffled"]
    assert [one["label"] for one in first("pages", sort="rejected", limit=1)["derived"]] == ["shuffled"]
    text = " ".join(run("pages", "--using", "default").split())
    assert "function shop.names 8 uses:" in text
    assert f"last not stored because of this query (random, run in {last['caller']}): SELECT" in text
    assert "No page was used." in run("pages", "--using", "default", "--kind", "page")
    text = run("stats", "--using", "default")
    assert re.search(r"^function\s+shop\.names\s+8 ", text, re.MULTILINE)
    assert re.search(r"^fragment\s+shuffled\s+4\s+0 %\s+4 ", text, re.MULTILINE)
    assert {one["label"] for one in first("stats")["derived"]} == {"shop.names", "shuffled"}


@pytest.mark.parametrize("sort", DERIVED_SORTS)
def test_pages_are_sorted_highest_first(sort):
    with crowded() as report:
        report.derived[7].record_hit(1e6, outdated=False)
        report.derived[8].record_miss(1e9, "invalidated", None, Rejection(reasons.RANDOM))
        ranked = first("pages", sort=sort)["derived"]
    value = {
        "saved": lambda one: one["saved_seconds"],
        "computed": lambda one: one["miss_seconds"],
        "rejected": lambda one: sum(one["rejected"].values()),
    }.get(sort, lambda one: one[sort])
    assert [value(one) for one in ranked] == sorted(map(value, ranked), reverse=True)


def test_values_in_the_statement_of_a_page_are_masked():
    with crowded() as report:
        report.derived[0].record_miss(
            1.0, None, None, Rejection(reasons.CLOCK, "SELECT now() WHERE name = 'Ann'", frozenset())
        )
        assert "Ann" not in run("pages", "--using", "default", "--limit", "50")
        assert "Ann" not in json.dumps(first("pages", limit=50))
        assert "Ann" not in json.dumps(first("stats"))
        assert "Ann" not in json.dumps(first("advise"))


def test_what_is_no_statement_is_said_in_words():
    with crowded() as report:
        report.derived[0].record_miss(1.0, None, None, Rejection(reasons.VARIABLE, subject="request is a request"))
        text = " ".join(run("pages", "--using", "default", "--limit", "50").split())
        ranked = first("pages", limit=50)["derived"]
    assert "last not stored (variable): request is a request" in text
    assert "request is a request" in {one["last_rejection"]["subject"] for one in ranked}


def test_advise_names_what_is_never_stored():
    with crowded():
        text = " ".join(run("advise", "--using", "default").split())
    assert "Page a_rather_long" in text
    assert "it could not be stored (random)" in text


# advise -----------------------------------------------------------------------------------


def advised(**tables: tuple[int, int, int]) -> Any:
    """Relations by hits, misses and writes; each write has invalidated a result, a query takes no time at all."""
    relations = []
    for name, (hits, misses, writes) in tables.items():
        tally = Tally(
            hits=hits, misses=misses, hit_seconds=hits * 0.01, miss_seconds=misses * 0.01, query_seconds=misses * 1e-5
        )
        relations.append(RelationReport(name, tally, writes, 1e9, "", 60.0, min(writes, misses)))
    return relations


def pasted(snippet: Any, alias: str = "default") -> dict[str, Any]:
    """What the settings are once it was pasted."""
    values: dict[str, Any] = eval(f"{{{snippet['text']}}}")
    return settings.DATABASES[alias]["ORMCACHE"] | values


@each_store
def test_nothing_to_advise(given, configure, other_process):
    configure(**given)
    other_process(WORK)
    one = first("advise")
    assert (one["advice"], one["reads"], one["writes"], one["processes"]) == ([], 7, 2, 1)
    text = " ".join(run("advise", "--using", "default").split())
    assert "No recommendations, based on 7 reads and 2 writes in 1 process since 20" in text


def test_advice_comes_with_a_list_to_paste(configure):
    configure(BLACKLIST=["shop.Genre", "audit_*"])
    connection.close()
    with crowded() as report:
        report.queries, report.derived, report.total = [], [], Tally(hits=1)
        report.relations = advised(shop_author=(10, 300, 200), shop_book=(20, 900, 700), audit_old=(1, 2, 0))
        advice = first("advise")["advice"]
        text = run("advise", "--using", "default")
    assert [one["subject"] for one in advice] == ["shop_book", "shop_author"]
    (snippet,) = {json.dumps(one["snippet"]) for one in advice}
    snippet = json.loads(snippet)
    values = pasted(snippet)
    assert values["BLACKLIST"] == ["audit_*", "shop.Genre", "shop_book", "shop_author"]
    assert snippet["place"] == 'DATABASES["default"]["ORMCACHE"]'
    given = settings.DATABASES["default"] | {"ORMCACHE": values}
    assert conf.problems("default", given) == []
    assert text.count('"shop_book"') == 2  # in words, and once in the list
    assert text.count("BLACKLIST as above") == 1


def test_a_table_that_other_programs_write_often_comes_with_a_list_to_paste(configure):
    configure(BLACKLIST=[])
    connection.close()
    with crowded() as report:
        report.queries, report.derived, report.total = [], [], Tally(hits=1)
        report.relations = [RelationReport("shop_book", outside_writes=50, outside_written_at=1e9)]
        advice = first("advise")["advice"]
    assert [one["kind"] for one in advice] == ["database", "relation"]
    assert advice[0]["snippet"] is None
    assert pasted(advice[1]["snippet"])["BLACKLIST"] == ["shop_book"]


def test_a_name_that_would_be_a_pattern(configure):
    connection.close()
    with crowded() as report:
        report.queries, report.derived, report.total = [], [], Tally(hits=1)
        report.relations = advised(**{"odd[1]*": (10, 300, 200)})
        (one,) = first("advise")["advice"]
    from ormcache.database.table_filter import TableFilter

    selection = TableFilter(pasted(one["snippet"])["BLACKLIST"])
    assert ("odd[1]*" in selection, "odd1" in selection, "odd[1]x" in selection) == (True, False, False)


def test_a_long_list_has_lines(configure):
    names = [f"table_{number:02}" for number in range(20)]
    configure(BLACKLIST=names)
    connection.close()
    with crowded() as report:
        report.queries, report.derived, report.total = [], [], Tally(hits=1)
        report.relations = advised(shop_book=(20, 900, 700))
        (one,) = first("advise")["advice"]
    assert one["snippet"]["text"].count("\n") == 22
    assert pasted(one["snippet"])["BLACKLIST"] == [*names, "shop_book"]


@pytest.mark.parametrize(
    "given, expected",
    [
        ({"BLACKLIST": ["shop.Author", "x"]}, {"BLACKLIST": ["x"]}),
        ({"BLACKLIST": ["shop_author"]}, {"BLACKLIST": []}),
        ({"BLACKLIST": ["shop.*"]}, None),  # others would leave too
        ({"BLACKLIST": ["shop_a*"]}, None),
        ({"BLACKLIST": ["shop_author", "shop.Author"]}, None),
        ({"ONLY": ["shop.Book"]}, {"ONLY": ["shop.Book", "shop_author"]}),
        ({"ONLY": ["shop.Book"], "BLACKLIST": ["shop_author"]}, None),
    ],
)
def test_taking_off_a_list(given, expected, configure):
    configure(**given)
    connection.close()
    with crowded() as report:
        tally = Tally(bypassed={reasons.BLACKLISTED: 5000}, uncached=5000, uncached_seconds=50)
        report.queries, report.derived, report.total = [], [], tally
        report.relations = [RelationReport("shop_author", tally)]
        (one,) = first("advise")["advice"]
    if expected is None:
        assert one["snippet"] is None
    else:
        assert eval(f"{{{one['snippet']['text']}}}") == expected


@pytest.mark.parametrize(
    "rejected, setting, value",
    [(reasons.TOO_MANY_ROWS, "MAX_ROWS", 20_000), (reasons.TOO_LARGE, "MAX_BYTES", 2 * 2**20)],
)
def test_bounds_are_raised(rejected, setting, value):
    with crowded() as report:
        tally = Tally(misses=500, rejected={rejected: 500}, query_seconds=50, missed={"cold": 500})
        report.relations, report.derived, report.total = [], [], tally
        report.queries = [QueryReport("d", "SELECT 1", ("x",), tally, {"views.py:3": None})]
        (one,) = first("advise")["advice"]
    assert pasted(one["snippet"])[setting] == value
    assert conf.problems("default", settings.DATABASES["default"] | {"ORMCACHE": pasted(one["snippet"])}) == []
    assert one["callers"] == ["views.py:3"]


def test_settings_of_another_project_are_not_known():
    with crowded() as report:
        report.queries, report.derived, report.total = [], [], Tally(hits=1)
        report.relations = advised(shop_book=(20, 900, 700))
        with pytest.MonkeyPatch.context() as context:
            context.setattr(collection, "collect_reports", lambda database: {"other": report})
            _, other = run_json("advise", "--using", "default")["databases"]
    (one,) = other["advice"]
    assert (one["subject"], one["snippet"]) == ("shop_book", None)


# warm -------------------------------------------------------------------------------------


def read(name: str, times: int = 1) -> int:
    """For another process: how many of these reads came from the cache."""
    for _ in range(times):
        list(Author.objects.filter(name=name))
    return int(ormcache.stats("default")["hits"])


READ = "tests.integration.management.test_statistics.read"


@each_store
@pytest.mark.parametrize("share", [pytest.param("auto", marks=pytest.mark.slow), "always"])
def test_warm_fills_the_store_for_others(given, share, configure, other_process):
    configure(**given, SHARE=share)
    meet()
    other_process(READ, "Ann", 4)
    execute("UPDATE shop_author SET name = name")  # which invalidates them
    command = program("warm", "--json", "--using", "default")
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    (one,) = json.loads(done.stdout)["databases"]
    assert one["results"] == {"stored": 1, "present": 0, "not stored": 0, "failed": 0}
    assert (one["dry_run"], one["reads"][0]["result"], one["reads"][0]["reason"]) == (False, "stored", None)
    assert one["reads"][0]["saved_seconds"] > 0
    assert other_process(READ, "Ann") == 1


def test_warm_shares_what_is_cheap(configure, other_process, monkeypatch):
    """Which else is in the memory of one process until it is asked for again."""
    monkeypatch.setattr(admission, "SHARED_AT_ONCE", 10**9)
    configure(SHARE="auto", FLIGHT_WAIT=0)  # nobody else can be waiting for it
    meet()
    other_process(READ, "Ann", 4)
    execute("UPDATE shop_author SET name = name")
    assert first("warm")["results"]["stored"] == 1
    assert other_process(READ, "Ann") == 1


def test_warm_tells_what_it_did(other_process, configure):
    meet()
    other_process(READ, "Ann", 4)
    other_process(READ, "Bob", 40)
    assert "2 reads would be run." in run("warm", "--dry-run", "--using", "default")
    assert first("warm", "--dry-run")["results"] == {"stored": 0, "present": 0, "not stored": 0, "failed": 0}
    one = first("warm", "--dry-run", "--most", "1")
    assert [(read["result"], read["reason"]) for read in one["reads"]] == [(None, None)]
    execute("UPDATE shop_author SET name = name")
    text = run("warm", "--most", "1", "--using", "default")
    assert re.search(r"^1 +read from the database and stored$", text, re.MULTILINE)
    text = run("warm", "--using", "default")
    assert re.search(r"^1 +read from the database and stored$", text, re.MULTILINE)
    assert re.search(r"^1 +in the cache already$", text, re.MULTILINE)


def sampled(*statements: str) -> list[QueryReport]:
    tally = Tally(hits=9, misses=1, query_seconds=1)
    shape = ["multi", 1, False]
    return [
        QueryReport(sql, sql, ("x",), tally, samples=[
            {"sql": sql, "params": None, "numbers": {}, "shape": shape, "seen": 1}
        ])
        for sql in statements
    ]  # fmt: skip


def test_what_fails_is_listed_without_values():
    with crowded() as report:
        report.queries = sampled(
            "SELECT nothing_of_the_kind FROM shop_author WHERE name = 'secret'",
            "SELECT now_gone FROM shop_author WHERE name = 'secret' AND",
            "SELECT name FROM shop_author WHERE random() > 2",
        )
        text = run("warm", "--using", "default")
        one = first("warm")
    assert re.search(r"^2 +failed: tables or code have changed since$", text, re.MULTILINE)
    assert re.search(r"^1 +not stored \(1 random\)$", text, re.MULTILINE)
    assert "nothing_of_the_kind" in text
    assert "secret" not in text
    assert "secret" not in json.dumps(one)
    assert [read["result"] for read in one["reads"]].count("failed") == 2
    assert one["results"]["not stored"] == 1


def test_the_bar_is_for_a_terminal(other_process, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    meet()
    other_process(READ, "Ann", 4)
    out = Terminal()
    call_command("ormcache", "warm", "--using", "default", stdout=out)
    assert "1/1" in out.getvalue()
    assert "1/1" not in run("warm", "--using", "default")


@pytest.mark.parametrize("most", ["0", "-1", "x"])
def test_warm_refuses(most):
    assert "1 or more" in error_of("warm", f"--most={most}")


# Rows -------------------------------------------------------------------------------------


def test_hits_by_row_are_shown(configure):
    configure(ROWS="always", ADAPTIVE=False, SHARE="always", STATISTICS_INTERVAL=3600)
    Author.objects.create(pk=7, name="Homer", email="h@example.org")
    for name in ("Homer", "Homeros"):
        Author.objects.filter(pk=7).update(name=name)
        for _ in range(3):
            assert list(Author.objects.filter(pk=7).values_list("name", flat=True)) == [name]
    publisher.publish()
    (table,) = (one for one in first("tables")["tables"] if one["name"] == "shop_author")
    (query,) = (one for one in first("queries", "--by", "reads")["queries"]["reads"] if one["hits"])
    for one in (first("stats"), table, query):
        assert (one["hits"], one["row_hits"], one["row_invalidated"]) == (4, 4, 1)
    shown = {command: " ".join(run(*command, "--using", "default").split()) for command in _SHOWING_ROWS}
    for command, text in _SHOWING_ROWS.items():
        assert text in shown[command]


#: Command → what it says of rows
_SHOWING_ROWS = {
    ("stats",): "rows 4 hits of results that depend on single rows; writes ended 1 such result",
    ("queries", "--by", "reads"): "4 hits (66.7 %, 4 by row)",
    ("tables",): "shop_author 6 66.7 % 100 % 3",
    ("explain", "SELECT id FROM shop_author WHERE id = 7"): "rows results depend on writes to unknown rows of "
    "shop_author; row 7 of shop_author",
    ("explain", "shop.Author"): "rows results depend on their tables as a whole: no condition says which value a key "
    "column has",
}
