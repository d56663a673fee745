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
from ormcache import conf, keeping, publishing, reasons
from ormcache.figures import Tally
from ormcache.figures.counting import Event
from ormcache.figures.report import Process, RelationReport, Report, TextReport
from ormcache.insight import gathering
from ormcache.insight.listing import ORDERS, SORTS
from ormcache.management import watching
from ormcache.publishing import publisher
from ormcache.stores.base import Outage
from tests.live.calls import count_anew
from tests.live.reading import execute
from tests.live.test_commands import STORES, Terminal, error_of, run, run_json
from tests.process import ROOT
from tests.shop.models import Author, Book, Genre

COMMANDS = ["stats", "tables", "queries", "advise", "warm"]
each_command = pytest.mark.parametrize("name", COMMANDS)
each_store = pytest.mark.parametrize("given", [STORES["embedded"], STORES["redis"]], ids=["embedded", "redis"])


@pytest.fixture(autouse=True)
def telling(configure) -> None:
    """Processes tell their figures, by hand and at their end; this one has counted nothing."""
    configure(FIGURES_INTERVAL=3600)
    count_anew()


def meet() -> None:
    """Everything is retired when a process first meets a database after its settings have changed; now, not later."""
    connection.ensure_connection()


def work(name: str = "Ann") -> int:
    """For another process: hits, misses, writes and reads past the cache, told."""
    Author.objects.create(name=name)
    for _ in range(4):
        list(Author.objects.filter(name=name))
    Author.objects.update(name=name)
    list(Author.objects.filter(name=name))
    list(Author.objects.iterator())
    list(Book.objects.all())
    publisher.publish()
    return os.getpid()


WORK = "tests.live.test_commands_figures.work"


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
    assert found.keys() == {"databases", "not_cached", "away"}
    assert [one["using"] for one in found["databases"]] == ["default", "second"]
    assert [one["using"] for one in run_json(name, "--using", "second")["databases"]] == ["second"]
    assert "'plain' does not go through ormcache" in error_of(name, "--using", "plain")
    assert run(name).count("Nothing was counted yet.") == 2


@each_command
def test_where_nothing_is_cached(name, configure):
    configure(ENABLED=False)
    connections.close_all()
    assert error_of(name).startswith("There are no figures, because nothing is cached here: default: disabled, ")


@each_command
def test_where_one_of_two_is_cached(name, settings):
    own = settings.DATABASES["second"]["ORMCACHE"]
    own["ENABLED"] = False
    conf._forget(setting="ORMCACHE")
    connections.close_all()
    try:
        assert run_json(name)["not_cached"].keys() == {"second"}
        assert "second: nothing of it is cached (disabled" in run(name)
    finally:
        del own["ENABLED"]
        conf._forget(setting="ORMCACHE")


@each_command
def test_where_processes_tell_nothing(name, configure):
    configure(FIGURES_INTERVAL=0)
    assert "FIGURES_INTERVAL is 0" in run(name)


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
        assert message.startswith("The store does not answer, and the figures are there (default: ")
        found = json.loads(out.getvalue())
        assert (found["databases"], found["away"].keys()) == ([], {"default"})
        server.restart()
        connections.close_all()


@each_command
def test_another_projects_name_of_the_database(name, other_process, monkeypatch):
    other_process(WORK)
    told = publishing._told

    def told_by_another(*args: Any) -> dict[str, Any]:
        return told(*args) | {"alias": "shop_of_another"}

    monkeypatch.setattr(publishing, "_told", told_by_another)
    list(Genre.objects.all())
    found = run_json(name, "--using", "default")["databases"]
    if name == "warm":  # it warms what its own project asks for
        assert [one["using"] for one in found] == ["default"]
        return
    assert [(one["using"], one["asked"]) for one in found] == [("default", "default"), ("shop_of_another", "default")]
    assert "shop_of_another: what other processes call the database 'default'" in run(name)


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
    assert " ".join(lines[3].split()[1:]) == "15.8M 78.1 % 988 1157 d 3.0M 5.1 d 2.8 d good"


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
        misses=3_456_789,
        hit_seconds=123_456.7,
        miss_seconds=54_321.5,
        query_seconds=98_765.4,
        uncached=222_222,
        uncached_seconds=33_333.3,
        waited=77_777,
        waited_seconds=88_888.8,
        kept=999_999,
        damaged=3,
        bytes_read=2**44,
        bytes_written=2**43,
        missed={"retired": 3_000_000, "cold": 400_000, "marked": 1},
        bypassed=dict.fromkeys((reasons.CHUNKED, reasons.DIRTY, reasons.CLOCK, reasons.RANDOM), 11111),
        refused={reasons.TOO_LARGE: 99_999, reasons.MARKED: 7},
        retired_by={f"{long}{number}": 1_000_000 for number in range(5)},
    )
    relations = [RelationReport(name, tally, 5_000_000, 1e9, "UPDATE x", 987.65, 3_000_000) for name in (long, "*")]
    past = Tally(bypassed={reasons.CLOCK: 50_000}, uncached=50_000, uncached_seconds=5_000.0)
    texts = [
        TextReport("d1", f'SELECT "{long}"."id" FROM "{long}"', (long,), tally, {f"{long}/views.py:12": None}),
        TextReport("d2", "SELECT now()", ("small",), past, {f"{long}/{n}.py:1": None for n in range(9)}),
    ]
    report = Report(
        "default",
        at=1.1e9,
        processes=[Process(str(pid), f"{long}.example", pid, long, 1e9, 1.1e9 - pid) for pid in range(1, 30)],
        unread=4,
        total=tally,
        writes=5_000_000,
        untold=12,
        write_seconds=60_000.0,
        saved_seconds=5e6,
        texts=texts,
        relations=relations,
        outages=[Outage(1e9 + n, None if n == 0 else 1e9 + 9 * n, "no route to " + long) for n in range(5)],
        pending=(long,),
        events=[Event(1e9, "invalidation")],
    )
    with pytest.MonkeyPatch.context() as context:
        context.setattr(gathering, "gathered", lambda database: {"default": report})
        yield report


# stats ------------------------------------------------------------------------------------


@each_store
def test_stats(given, configure, other_process):
    configure(**given)
    pids = {other_process(WORK), other_process(WORK, "Bob")}
    one = first("stats")
    assert {process["pid"] for process in one["processes"]} == pids
    assert all(process["host"] and process["command"] and process["began"] for process in one["processes"])
    assert (one["reads"], one["misses"] + one["hits"], one["bypasses"]) == (14, 12, 2)
    assert one["hit_rate"] == one["hits"] / 12
    assert one["missed"].keys() == {"cold", "retired"}
    assert set(one["retired_by"]) <= {"shop_author", "shop_book", "*"}
    assert one["bypassed"] == {reasons.CHUNKED: 2}
    assert (one["writes"], one["untold"], one["unread"], one["pending"]) == (4, 0, 0, [])
    assert one["saved_seconds"] > 0
    assert one["gain_seconds"] == pytest.approx(one["saved_seconds"] - one["read_seconds"] - one["write_seconds"])
    assert one["bytes_written"] > 0
    assert one["change"] is None
    text = run("stats", "--using", "default")
    assert f"reads      14: {one['hits']} hit" in text
    assert "past it    2 chunked" in text
    assert "by 2 processes on 1 host since" in text
    assert all(str(pid) in text for pid in pids)


def test_stats_tells_of_everything():
    with crowded() as report:
        text = " ".join(run("stats", "--using", "default").split())
        one = first("stats")
    for words in ("waited 77,777 reads", "3 entries damaged", "5,000,000, 12 told the store later", "UTC until now:"):
        assert words in text
    assert "UTC for 8 s: no route to" in text
    assert "2 more counted by 29 processes on 1 host" in text
    assert "4 more could not be read" in text
    assert "and 19 more that told before them" in text
    assert len(one["processes"]) == 29
    assert len(one["outages"]) == len(report.outages)
    assert one["outages"][0] == {
        "began": "2001-09-09T01:46:40+00:00",
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
        until("just now")
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
    watching.repeated(lambda: next(looks), None, str, out, 1.5, pause)
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
        context.setattr(watching.repeated, "__defaults__", (pause,))
        configure(STORE="redis", CACHE="own")
        text = run("stats", "--watch", "--using", "default")
        connections.close_all()
    assert "Nothing was counted yet." in text
    assert "default: the store does not answer (" in text


@pytest.mark.parametrize("seconds", ["0", "-1", "x", "inf", "nan"])
def test_watch_refuses(seconds):
    assert "0.1 or more" in error_of("stats", f"--watch={seconds}")


def looked(at: float, reads: int) -> Any:
    report = Report("default", at, total=Tally(hits=reads))
    database = SimpleNamespace(config=SimpleNamespace(figures_interval=10))
    return watching_statistics(gathering.Known("default", "default", database, report))


def watching_statistics(known: Any) -> Any:
    from ormcache.insight.statistics import statistics_of

    return {("default", "default"): statistics_of(known)}


def test_change_is_told_over_the_time_in_which_all_processes_tell():
    window = watching.Window()
    found = []
    for second in range(0, 30, 2):
        reads = second // 10 * 100  # told every ten seconds
        changes = window.changes(looked(1e9 + second, reads), 10)
        found += [(change.seconds, change.hits) for change in changes.values()]
    assert found[0] == (2, 0)
    assert found[4:] == [(10, 100)] * 10


def test_what_is_gone_is_no_change():
    window = watching.Window()
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
    assert (author["reads"], author["writes"]) == (5, 2)
    assert author["hit_rate"] == author["hits"] / 5
    assert author["writes_per_minute"] == 2
    assert author["written"].endswith("+00:00")
    assert author["cause"].startswith("UPDATE")
    assert author["retired"] == 1
    assert author["verdict"] == "too early to say"
    text = run("tables", "--using", "default")
    assert re.search(r"^shop_author +5 +\d+ % +2 ", text, re.MULTILINE)
    assert "UPDATE" not in text
    text = run("tables", "--verbose", "--using", "default")
    assert "last write: UPDATE" in " ".join(text.split())
    assert "The cache was asked 5 times." in text


@pytest.mark.parametrize("sort", SORTS)
def test_tables_can_be_sorted(sort):
    def table(name: str, number: int, **more: Any) -> RelationReport:
        tally = Tally(hits=number * 60, misses=100, hit_seconds=number, query_seconds=1)
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
    assert query["callers"][0].startswith("tests/live/test_commands_figures.py:")
    assert (query["reads"], query["misses"], query["missed"]["retired"]) == (5, 2, 1)
    assert query["retired_by"] == {"shop_author": 1}
    assert query["verdict"] == "too early to say"
    text = run("queries", "--using", "default")
    assert [text.count(title) for title, _ in list(ORDERS.values())[:3]] == [1, 1, 1]
    assert "asked for in tests/live/test_commands_figures.py:" in text
    assert "SELECT … FROM" in text
    assert "…" not in run("queries", "--full", "--using", "default")


@pytest.mark.parametrize("order", ORDERS)
def test_queries_by_one_order(order):
    def query(number: int) -> TextReport:
        tally = Tally(
            hits=number, misses=number, query_seconds=number, uncached=1, uncached_seconds=number, missed={"cold": 1}
        )
        return TextReport(str(number), f"SELECT {number}", ("x",), tally)

    with crowded() as report:
        report.texts = [query(number) for number in (1, 3, 2)]
        one = first("queries", "--by", order, "--limit", "2")
        text = run("queries", "--by", order, "--using", "default")
    assert list(one["queries"]) == [order]
    assert [query["digest"] for query in one["queries"][order]] == ["3", "2"]
    assert text.count("SELECT ?") == 3


def test_what_to_do_is_said():
    with crowded():
        text = " ".join(run("queries", "--by", "uncached", "--using", "default").split())
    assert "past the cache: 50,000 clock" in text
    assert "What you can do: " in text
    assert "6 more" in text  # callers


@pytest.mark.parametrize(
    "name, more", [("queries", ["--full"]), ("tables", ["--verbose"]), ("advise", []), ("warm", [])]
)
def test_values_are_not_shown(name, more, configure, queries):
    with crowded() as report:
        report.relations[0].cause = "UPDATE x SET y = 'secret'"
        for text in report.texts:
            text.sql = "SELECT x FROM shop_author WHERE y = 'secret'"
        sample = {"sql": report.texts[0].sql, "params": None, "numbers": {}, "shape": ["multi", 1, False], "seen": 1}
        report.texts[0].samples = [sample]
        for form in ([], ["--json"]):
            assert "secret" not in run(name, *more, *form)
        configure(SHOW_PARAMETERS=True)
        connection.close()
        assert "secret" in run(name, *more, "--json")


# advise -----------------------------------------------------------------------------------


def advised(**tables: tuple[int, int, int]) -> Any:
    """Relations by hits, misses and writes; each write has retired a result, a query takes no time at all."""
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
    assert "Nothing to advise, from 7 reads and 2 writes of 1 process since 20" in text


def test_advice_comes_with_a_list_to_paste(configure):
    configure(BLACKLIST=["shop.Genre", "audit_*"])
    connection.close()
    with crowded() as report:
        report.texts, report.total = [], Tally(hits=1)
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


def test_a_name_that_would_be_a_pattern(configure):
    connection.close()
    with crowded() as report:
        report.texts, report.total = [], Tally(hits=1)
        report.relations = advised(**{"odd[1]*": (10, 300, 200)})
        (one,) = first("advise")["advice"]
    from ormcache.selection import Selection

    selection = Selection(pasted(one["snippet"])["BLACKLIST"])
    assert ("odd[1]*" in selection, "odd1" in selection, "odd[1]x" in selection) == (True, False, False)


def test_a_long_list_has_lines(configure):
    names = [f"table_{number:02}" for number in range(20)]
    configure(BLACKLIST=names)
    connection.close()
    with crowded() as report:
        report.texts, report.total = [], Tally(hits=1)
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
        report.texts, report.total, report.relations = [], tally, [RelationReport("shop_author", tally)]
        (one,) = first("advise")["advice"]
    if expected is None:
        assert one["snippet"] is None
    else:
        assert eval(f"{{{one['snippet']['text']}}}") == expected


@pytest.mark.parametrize(
    "refused, setting, value",
    [(reasons.TOO_MANY_ROWS, "MAX_ROWS", 20_000), (reasons.TOO_LARGE, "MAX_BYTES", 2 * 2**20)],
)
def test_bounds_are_raised(refused, setting, value):
    with crowded() as report:
        tally = Tally(misses=500, refused={refused: 500}, query_seconds=50, missed={"cold": 500})
        report.relations, report.total = [], tally
        report.texts = [TextReport("d", "SELECT 1", ("x",), tally, {"views.py:3": None})]
        (one,) = first("advise")["advice"]
    assert pasted(one["snippet"])[setting] == value
    assert conf.problems("default", settings.DATABASES["default"] | {"ORMCACHE": pasted(one["snippet"])}) == []
    assert one["callers"] == ["views.py:3"]


def test_settings_of_another_project_are_not_known():
    with crowded() as report:
        report.texts, report.total = [], Tally(hits=1)
        report.relations = advised(shop_book=(20, 900, 700))
        with pytest.MonkeyPatch.context() as context:
            context.setattr(gathering, "gathered", lambda database: {"other": report})
            _, other = run_json("advise", "--using", "default")["databases"]
    (one,) = other["advice"]
    assert (one["subject"], one["snippet"]) == ("shop_book", None)


# warm -------------------------------------------------------------------------------------


def read(name: str, times: int = 1) -> int:
    """For another process: how many of these reads came from the cache."""
    for _ in range(times):
        list(Author.objects.filter(name=name))
    return int(ormcache.stats("default")["hits"])


READ = "tests.live.test_commands_figures.read"


@each_store
@pytest.mark.parametrize("share", ["auto", "always"])
def test_warm_fills_the_store_for_others(given, share, configure, other_process):
    configure(**given, SHARE=share)
    meet()
    other_process(READ, "Ann", 4)
    execute("UPDATE shop_author SET name = name")  # which retires them
    command = program("warm", "--json", "--using", "default")
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    (one,) = json.loads(done.stdout)["databases"]
    assert one["results"] == {"read": 1, "there": 0, "not kept": 0, "failed": 0}
    assert (one["dry_run"], one["warmed"][0]["result"], one["warmed"][0]["why"]) == (False, "read", None)
    assert one["warmed"][0]["worth"] > 0
    assert other_process(READ, "Ann") == 1


def test_warm_shares_what_is_cheap(configure, other_process, monkeypatch):
    """Which else is in the memory of one process until it is asked for again."""
    monkeypatch.setattr(keeping, "WORTH", 10**9)
    configure(SHARE="auto", FLIGHT_WAIT=0)  # nobody else can be waiting for it
    meet()
    other_process(READ, "Ann", 4)
    execute("UPDATE shop_author SET name = name")
    assert first("warm")["results"]["read"] == 1
    assert other_process(READ, "Ann") == 1


def test_warm_tells_what_it_did(other_process, configure):
    meet()
    other_process(READ, "Ann", 4)
    other_process(READ, "Bob", 40)
    assert "2 reads would be run:" in run("warm", "--dry-run", "--using", "default")
    assert first("warm", "--dry-run")["results"] == {"read": 0, "there": 0, "not kept": 0, "failed": 0}
    one = first("warm", "--dry-run", "--most", "1")
    assert [(read["result"], read["why"]) for read in one["warmed"]] == [(None, None)]
    execute("UPDATE shop_author SET name = name")
    text = run("warm", "--most", "1", "--using", "default")
    assert re.search(r"^1 +from the database, and kept$", text, re.MULTILINE)
    text = run("warm", "--using", "default")
    assert re.search(r"^1 +from the database, and kept$", text, re.MULTILINE)
    assert re.search(r"^1 +in the cache already$", text, re.MULTILINE)


def sampled(*statements: str) -> list[TextReport]:
    tally = Tally(hits=9, misses=1, query_seconds=1)
    shape = ["multi", 1, False]
    return [
        TextReport(sql, sql, ("x",), tally, samples=[
            {"sql": sql, "params": None, "numbers": {}, "shape": shape, "seen": 1}
        ])
        for sql in statements
    ]  # fmt: skip


def test_what_fails_is_listed_without_values():
    with crowded() as report:
        report.texts = sampled(
            "SELECT nothing_of_the_kind FROM shop_author WHERE name = 'secret'",
            "SELECT now_gone FROM shop_author WHERE name = 'secret' AND",
            "SELECT name FROM shop_author WHERE random() > 2",
        )
        text = run("warm", "--using", "default")
        one = first("warm")
    assert re.search(r"^2 +failed: tables or code have changed since$", text, re.MULTILINE)
    assert re.search(r"^1 +not kept \(1 random\)$", text, re.MULTILINE)
    assert "nothing_of_the_kind" in text
    assert "secret" not in text
    assert "secret" not in json.dumps(one)
    assert [read["result"] for read in one["warmed"]].count("failed") == 2
    assert one["results"]["not kept"] == 1


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
